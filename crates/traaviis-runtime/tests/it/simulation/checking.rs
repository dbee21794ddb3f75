//! Checks of what stands: states, gates, operations.

use traaviis_model::snapshot::NodeStatus;
use traaviis_runtime::{owner::Found, summary::Summary};

use super::{OpState, Sim, What, event_id};
use crate::support::GATED_LIMIT;

impl Sim<'_> {
    /// The owners' state is the fold of what is durable.
    pub(super) fn check_state(&mut self) {
        let folds = std::mem::take(&mut self.folds);
        let mut open = 0;
        for (id, folded) in &folds {
            match self.find(*id) {
                Ok(Found::Open(snapshot)) => {
                    assert!(*snapshot == *folded, "state of `{id}`: {snapshot:#?}, {folded:#?}");
                    open += 1;
                }
                Ok(Found::Ended(summary)) => assert_eq!(*summary, Summary::of(folded)),
                Err(_) if self.archived.contains(id) => {}
                Err(error) => panic!("instance `{id}` is lost: {error}"),
            }
        }
        self.folds = folds;
        // Unpacking takes long: the last ones each time, everything at last.
        let checked = if self.calm { self.archived.len() } else { 2 };
        self.archived.iter().rev().take(checked).for_each(|id| self.check_archived(*id));
        let held: usize = self.shards.iter().map(|(owner, _)| owner.open_instances().count()).sum();
        assert_eq!(held, open, "an instance without history");
        if let Some(index) = &self.index {
            index.check_list(&self.folds);
        }
        self.check_ops();
    }

    /// No more effects than the limit says are behind the gate of a key.
    pub(super) fn check_gates(&self) {
        let mut inside = 0;
        for tree in self.folds.values().flat_map(|it| &it.trees) {
            for (path, node) in tree.nodes.iter().filter(|(_, it)| &*it.kind == "concurrency") {
                let ask = tree.nodes.get(&*format!("{path}/ask"));
                let was_let_in = ask.is_some_and(|it| it.status == NodeStatus::Completed);
                inside += usize::from(was_let_in && !node.status.is_over());
            }
        }
        assert!(inside <= GATED_LIMIT, "{inside} effects are behind the gate");
    }

    pub(super) fn check_ops(&self) {
        for (at, op) in self.ops.iter().enumerate() {
            let acknowledged = op.state == OpState::Acknowledged;
            match op.what {
                What::Event(_) => {
                    let count = self.taken.get(&*event_id(at)).copied().unwrap_or(0);
                    assert!(count <= 1, "event {at} was taken {count} times");
                    assert!(!acknowledged || count == 1, "event {at} is lost");
                }
                What::Start(..) => {
                    let exists = self.histories.contains_key(&op.id);
                    assert!(!acknowledged || exists, "start {at} is lost");
                }
                What::Cancel
                | What::Operate(_)
                | What::Resolve(..)
                | What::Upgrade(_)
                | What::Retry => {}
            }
        }
    }
}
