//! The index in the simulation: fed as a runtime feeds it, drained now and then, and lost in parts
//! or whole when the process ends.
//!
//! Checked: a list shows every durable state, whatever of it was drained; an index that lived
//! through any crash is the one that a rebuild makes.

use std::collections::BTreeMap;

use traaviis_model::{InstanceId, Snapshot};
use traaviis_ports::{Index, LogStore, Position, index::Query};
use traaviis_runtime::{
    Committed,
    index::{
        overlay::{Overlay, summary_row},
        rebuild,
    },
};
use traaviis_testkit::{memory_index::MemoryIndex, rng::Rng};

use crate::support::ctx;

/// The index and what waits for it.
#[derive(Default)]
pub struct SimulatedIndex {
    index: MemoryIndex,
    overlay: Overlay,
}

impl SimulatedIndex {
    /// What recovery brings to the end of the log.
    pub fn port(&self) -> &dyn Index {
        &self.index
    }

    pub fn take(&mut self, committed: &Committed) {
        self.overlay.note(committed);
    }

    /// Drains; `reached` is a position before which everything was taken.
    pub fn drain(&mut self, reached: Position) {
        let changes = self.overlay.begin_drain();
        self.index.put(&mut changes.rows(), reached).unwrap();
        self.overlay.end_drain();
    }

    /// Drains and makes durable, as a checkpoint demands.
    pub fn sync(&mut self, reached: Position) {
        self.drain(reached);
        self.index.sync().unwrap();
    }

    /// The process ends. What was put survives it, but not a power cut; now and then the file is
    /// gone, or is one of a log that went further.
    pub fn crash(&mut self, power: bool, rng: &mut Rng) {
        self.overlay = Overlay::default();
        if power {
            self.index.cut_power();
        }
        match rng.below(48) {
            0 => self.index.clear().unwrap(),
            1 => self.index.put(&mut std::iter::empty(), Position::MAX).unwrap(),
            _ => {}
        }
    }

    /// Compares the list with the folds of what is durable.
    pub fn check_list(&self, folds: &BTreeMap<InstanceId, Snapshot>) {
        let all = Query { limit: folds.len() + 1, ..Query::default() };
        let rows = self.overlay.recent(ctx().tenant()).list(&self.index, &ctx(), &all).unwrap();
        let ids: Vec<InstanceId> = rows.iter().map(|it| it.id).collect();
        let missing = folds.values().find(|it| !ids.contains(&it.id));
        assert!(ids.iter().eq(folds.keys().rev()), "listed are {ids:?}, not {missing:?}");
        for (row, folded) in rows.iter().zip(folds.values().rev()) {
            assert_eq!(*row, summary_row(folded, row.first, row.last));
        }
    }

    /// Compares what recovery left with an index made from the whole log.
    pub fn check_rebuild(&self, log: &dyn LogStore) {
        let again = MemoryIndex::default();
        let rebuilt = rebuild(log, &again, &mut |_| ()).unwrap();
        assert_eq!(self.index.rows(), again.rows());
        assert_eq!(self.index.position(), Ok(rebuilt.position));
    }
}
