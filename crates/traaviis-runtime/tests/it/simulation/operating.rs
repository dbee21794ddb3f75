//! What operators do: they answer incidents, pause, edit, upgrade and try again.

use std::sync::Arc;

use traaviis_engine::{Machine, Resolution};
use traaviis_model::{
    InstanceId, Text, Value,
    record::{Operation, PatchOp, Status},
};

use super::{Op, OpState, Sim, What};

impl Sim<'_> {
    pub(super) fn resolve_incidents(&mut self) {
        let mut questions = Vec::new();
        for (owner, _) in &self.shards {
            for snapshot in owner.open_instances() {
                for incident in &snapshot.incidents {
                    questions.push((snapshot.id, incident.tree, incident.path.clone()));
                }
            }
        }
        questions.sort();
        for (id, tree, path) in questions {
            let resolution = match self.rng.below(3) {
                0 => Resolution::Happened(Value::Null),
                1 if !self.calm => Resolution::Fail,
                _ => Resolution::Retry,
            };
            let what = What::Resolve(tree, path, resolution);
            self.ops.push(Op { id, what, state: OpState::Ready });
            self.send(self.ops.len() - 1);
        }
    }

    /// An operator pauses an instance, or edits its data.
    pub(super) fn operate(&mut self) {
        let path = "/edited".into();
        let patch = vec![PatchOp::Add { path, value: Value::from(true) }];
        let operation = match self.rng.below(3) {
            0 => Operation::EditData { patch, reason: "because".into() },
            _ => Operation::Pause { reason: None },
        };
        self.new_op(What::Operate(operation));
    }

    /// Some instances go on with another version, or back to the one they had.
    pub(super) fn upgrade(&mut self) {
        let open = self.shards.iter().flat_map(|(owner, _)| owner.open_instances());
        let mut open: Vec<(InstanceId, Text)> =
            open.map(|it| (it.id, it.workflow.clone())).collect();
        open.sort_unstable();
        for (id, workflow) in open {
            let named = |it: &Arc<Machine>| it.definition().name == workflow;
            let what = match self.rng.below(6) {
                0 | 1 => What::Upgrade(self.machines.iter().rposition(named).unwrap()),
                2 => What::Upgrade(self.machines.iter().position(named).unwrap()),
                3 => What::Operate(Operation::Rollback),
                _ => continue,
            };
            self.ops.push(Op { id, what, state: OpState::Ready });
            self.send(self.ops.len() - 1);
        }
    }

    /// Some instances that failed go on where they failed.
    pub(super) fn retry_failed(&mut self) {
        let failed = self.folds.values().filter(|it| it.status == Status::Failed);
        let failed: Vec<InstanceId> = failed.map(|it| it.id).collect();
        for id in failed {
            if self.rng.chance(1, 4) {
                self.ops.push(Op { id, what: What::Retry, state: OpState::Ready });
                self.send(self.ops.len() - 1);
            }
        }
    }

    pub(super) fn resume_paused(&mut self) {
        let open = self.shards.iter().flat_map(|(owner, _)| owner.open_instances());
        let paused = open.filter(|it| it.status == Status::Paused);
        let mut paused: Vec<InstanceId> = paused.map(|it| it.id).collect();
        paused.sort_unstable();
        for id in paused {
            let what = What::Operate(Operation::Resume { reason: None });
            self.ops.push(Op { id, what, state: OpState::Ready });
            self.send(self.ops.len() - 1);
        }
    }
}
