//! Applies `forked`, and what a fork recalls of its original.

use serde::{Deserialize, Serialize};

use super::Snapshot;
use crate::{
    ids::{InstanceId, Seq, Text},
    record::{Forked, Results, Told},
};

/// Where a fork comes from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Origin {
    /// The original.
    pub id: InstanceId,
    /// Last record that both share.
    pub seq: Seq,
    /// Who answers its calls.
    pub results: Results,
    /// What the original was told and the fork was not told yet.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub told: Vec<Told>,
    /// Who started the first of those that it comes from; `created_by` is who forked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_by: Option<Text>,
}

impl Snapshot {
    pub(super) fn fork(&mut self, forked: &Forked) -> Result<(), String> {
        let starter = self.forked_from.take().and_then(|it| it.started_by);
        let started_by = match &forked.by {
            Some(by) => starter.or(self.created_by.replace(by.clone())),
            None => starter,
        };
        self.forked_from = Some(Box::new(Origin {
            id: forked.from,
            seq: forked.shared,
            results: forked.results,
            told: forked.told.clone(),
            started_by,
        }));
        self.lineage = None;
        self.correlation = None;
        self.children.clear();
        self.undo = None;
        for (id, due) in &forked.timers {
            let timer = self.timers.iter_mut().find(|it| it.id == *id);
            timer.ok_or_else(|| id.to_string())?.due = *due;
        }
        Ok(())
    }

    /// Drops what the fork was told now.
    pub(super) fn recall(&mut self, from: Seq) -> Result<(), String> {
        let told = self.forked_from.as_mut().map(|it| &mut it.told);
        let told = told.ok_or_else(|| "an original".to_string())?;
        let at = told.iter().position(|it| it.seq == from);
        told.remove(at.ok_or_else(|| format!("record {from} of the original"))?);
        Ok(())
    }
}
