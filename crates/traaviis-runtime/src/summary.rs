//! What a list shows of an instance, and what is remembered of one that has ended.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use traaviis_model::{
    EffectError, InstanceId, Seq, Snapshot, TenantId, Text, Timestamp, Value, record::Status,
};

use crate::limits::{LIST_MAX, SUMMARY_VALUE_BYTES_MAX};

/// An instance in short.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// Identity.
    pub id: InstanceId,
    /// Tenant.
    pub tenant_id: TenantId,
    /// Workflow name.
    pub workflow: Text,
    /// Workflow version.
    pub version: Text,
    /// How it stands.
    pub status: Status,
    /// Active states as one text.
    pub state: Text,
    /// Last record.
    pub seq: Seq,
    /// Output, unless it is too large to keep here.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub output: Value,
    /// Error, without what is too large to keep here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<EffectError>,
    /// Business key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub correlation: Option<Text>,
    /// Request or root that it belongs to; absent when that is itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub correlation_id: Option<Text>,
    /// Words that it is found by.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub tags: BTreeSet<Text>,
    /// Its parent, when another instance started it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent_id: Option<InstanceId>,
    /// Who started it, as `kind:id`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created_by: Option<Text>,
    /// It was ended without exit actions and compensation.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub terminated: bool,
    /// Output and error stand here in full; otherwise the log has the rest.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub whole: bool,
    /// FNV-1a of the start input's JSON; tells a repeated start from another one.
    pub input_hash: u64,
    /// When it was created.
    pub created_at: Timestamp,
    /// Commit time of the last step.
    pub updated_at: Timestamp,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finished_at: Option<Timestamp>,
    /// Due time of the earliest timer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_due: Option<Timestamp>,
}

impl Summary {
    /// Returns an instance in short.
    ///
    /// Of what is sealed nothing stands in it, because summaries are kept outside of the log.
    pub fn of(snapshot: &Snapshot) -> Summary {
        let Some(_) = &snapshot.subject else { return Summary::of_shown(snapshot) };
        let shown = snapshot.withheld(&snapshot.mark());
        let input_hash = hash_value(&snapshot.input);
        Summary { input_hash, whole: false, ..Summary::of_shown(&shown) }
    }

    fn of_shown(snapshot: &Snapshot) -> Summary {
        let output = match snapshot.output.json_len() <= SUMMARY_VALUE_BYTES_MAX {
            true => snapshot.output.clone(),
            false => Value::Null,
        };
        let error = snapshot.error.as_deref().map(shorten);
        Summary {
            whole: output == snapshot.output && error.as_ref() == snapshot.error.as_deref(),
            id: snapshot.id,
            tenant_id: snapshot.tenant_id,
            workflow: snapshot.workflow.clone(),
            version: snapshot.version.clone(),
            status: snapshot.status,
            state: snapshot.state().into(),
            seq: snapshot.seq,
            output,
            error,
            correlation: snapshot.correlation.clone(),
            correlation_id: snapshot.correlation_id.clone(),
            tags: snapshot.tags.clone(),
            created_by: snapshot.created_by.clone(),
            parent_id: snapshot.lineage.as_ref().map(|it| it.parent_id),
            terminated: snapshot.terminated,
            input_hash: hash_value(&snapshot.input),
            created_at: snapshot.created_at,
            updated_at: snapshot.updated_at,
            finished_at: snapshot.finished_at,
            next_due: snapshot.next_due(),
        }
    }
}

fn shorten(error: &EffectError) -> EffectError {
    let mut short = error.clone();
    if short.details.json_len() > SUMMARY_VALUE_BYTES_MAX {
        short.details = Value::Null;
    }
    short.cause = None;
    short
}

/// Which instances a list shows, or a job is about. Everything given must hold.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Filter {
    /// Workflow name, without regard to case.
    pub workflow: Option<Text>,
    /// Workflow version.
    pub version: Option<Text>,
    /// How it stands.
    pub status: Option<Status>,
    /// Active states as one text.
    pub state: Option<Text>,
    /// Business key.
    pub correlation: Option<Text>,
    /// Tags that it has, all of them.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub tags: BTreeSet<Text>,
    /// It was created before this time.
    pub created_before: Option<Timestamp>,
    /// Kind of an open incident.
    pub incident: Option<Text>,
    /// Code of the error that it ended with, or that an open incident is about.
    pub error: Option<Text>,
    /// Open or ended ones only.
    pub ended: Option<bool>,
    /// How many at most, the newest first; 0 and more than `LIST_MAX` mean `LIST_MAX`.
    pub limit: usize,
}

impl Filter {
    /// Says whether an instance belongs to the list.
    pub fn matches(&self, snapshot: &Snapshot) -> bool {
        match snapshot.status.is_finished() {
            true => self.takes_ended(&Summary::of(snapshot)),
            false => self.takes(snapshot),
        }
    }

    /// Says whether an open instance belongs to the list, without making its summary.
    pub(crate) fn takes(&self, snapshot: &Snapshot) -> bool {
        self.ended != Some(true)
            && self.status.is_none_or(|status| status == snapshot.status)
            && self.workflow.as_ref().is_none_or(|it| same_name(it, &snapshot.workflow))
            && self.version.as_ref().is_none_or(|it| *it == snapshot.version)
            && self.tags.is_subset(&snapshot.tags)
            && self.created_before.is_none_or(|it| snapshot.created_at < it)
            && (self.correlation.is_none() || self.correlation == snapshot.correlation)
            && self.state.as_ref().is_none_or(|state| **state == *snapshot.state())
            && self.takes_incident(snapshot)
    }

    /// Says whether instances of a workflow can belong to the list.
    pub(crate) fn takes_workflow(&self, workflow: &str) -> bool {
        self.workflow.as_ref().is_none_or(|it| same_name(it, workflow))
    }

    /// Says whether an ended instance belongs to the list.
    pub(crate) fn takes_ended(&self, summary: &Summary) -> bool {
        self.ended != Some(false)
            && self.status.is_none_or(|status| status == summary.status)
            && self.workflow.as_ref().is_none_or(|it| same_name(it, &summary.workflow))
            && self.version.as_ref().is_none_or(|it| *it == summary.version)
            && self.tags.is_subset(&summary.tags)
            && self.created_before.is_none_or(|it| summary.created_at < it)
            && (self.correlation.is_none() || self.correlation == summary.correlation)
            && self.state.as_ref().is_none_or(|state| *state == summary.state)
            && self.incident.is_none()
            && self
                .error
                .as_ref()
                .is_none_or(|code| summary.error.as_ref().is_some_and(|error| error.code == *code))
    }

    fn takes_incident(&self, snapshot: &Snapshot) -> bool {
        if self.incident.is_none() && self.error.is_none() {
            return true;
        }
        snapshot.incidents.iter().any(|it| {
            let code = it.error.as_ref().map(|error| &error.code);
            self.incident.as_ref().is_none_or(|kind| *kind == it.kind)
                && self.error.as_ref().is_none_or(|wanted| Some(wanted) == code)
        })
    }

    pub(crate) fn limit(&self) -> usize {
        if self.limit == 0 { LIST_MAX } else { self.limit.min(LIST_MAX) }
    }
}

fn same_name(a: &str, b: &str) -> bool {
    a == b || a.to_lowercase() == b.to_lowercase()
}

/// Keeps the newest `limit` summaries, newest first.
pub(crate) fn newest(mut summaries: Vec<Summary>, limit: usize) -> Vec<Summary> {
    summaries.sort_unstable_by_key(|it| std::cmp::Reverse((it.created_at, it.id)));
    summaries.truncate(limit);
    summaries
}

/// Returns FNV-1a of a value's JSON; written to checkpoints and histories, so it never changes.
pub fn hash_value(value: &Value) -> u64 {
    value.to_json().bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}
