//! What ran when, read off the records: attempts of calls, and nodes of other kinds.

use std::collections::{BTreeMap, BTreeSet};

use traaviis_model::{Body, Record, Seq, Text, Value, call::GATE};

use super::names::names_of;
use crate::Machine;

/// One attempt of a call, or one opening of another node.
pub(super) struct Activity {
    pub names: Vec<Text>,
    /// Number of the record with which it began.
    pub begun: Seq,
    /// Number of the record that ended it.
    pub ended: Seq,
}

impl Activity {
    pub(super) fn is(&self, name: &str) -> bool {
        self.names.iter().any(|it| **it == *name)
    }
}

/// Returns all activities, by their beginning.
pub(super) fn activities(machine: &Machine, records: &[Record]) -> Vec<Activity> {
    let mut found: Vec<Activity> = Vec::new();
    // Nodes that run: position among the found.
    let mut open: BTreeMap<(Seq, &Text), usize> = BTreeMap::new();
    let mut calls: BTreeMap<(Seq, &Text), &Value> = BTreeMap::new();
    let mut asks: BTreeSet<(Seq, &Text)> = BTreeSet::new();
    for record in records {
        let seq = record.header.seq;
        let Some(node) = record.body.node() else { continue };
        // Asking a gate is part of what waits for it.
        let is_ask =
            matches!(&record.body, Body::EffectScheduled { effect, .. } if &**effect == GATE);
        if is_ask {
            asks.insert(node);
        }
        if asks.contains(&node) {
            continue;
        }
        let mut begin = |input: &Value| {
            let names = names_of(machine, records, node, input);
            found.push(Activity { names, begun: seq, ended: Seq::MAX });
            found.len() - 1
        };
        match &record.body {
            Body::EffectScheduled { input, key: Some(_), .. } => {
                calls.insert(node, input);
            }
            Body::EffectScheduled { input, .. } => {
                let at = begin(input);
                open.insert(node, at);
            }
            Body::EffectStarted { .. } => {
                let at = begin(calls.get(&node).unwrap_or(&&Value::Null));
                if let Some(former) = open.insert(node, at) {
                    found[former].ended = seq;
                }
            }
            // An effect that is over inside its step has no beginning of its own.
            Body::EffectCompleted { .. }
                if !open.contains_key(&node) && !calls.contains_key(&node) =>
            {
                let at = begin(&Value::Null);
                found[at].ended = seq;
            }
            Body::EffectAttemptFailed { .. }
            | Body::EffectCompleted { .. }
            | Body::EffectFailed { .. }
            | Body::EffectCancelled { .. }
            | Body::EffectUnknown { .. } => {
                if let Some(at) = open.remove(&node) {
                    found[at].ended = seq;
                }
            }
            _ => {}
        }
    }
    found
}
