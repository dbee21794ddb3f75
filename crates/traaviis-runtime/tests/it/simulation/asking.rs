//! Effects that instances are asked to run outside of their states.

use std::collections::BTreeMap;

use traaviis_model::{
    Body, Record, Seq, Text, Value,
    record::{Asked, Operation},
    snapshot::NodeStatus,
};

use super::{Op, OpState, Sim, What};

/// Functions that a workflow grants, of which one does something and another takes it back.
fn functions(workflow: &str) -> Option<[&'static str; 3]> {
    Some(match workflow {
        "Payment" => ["charge", "charge", "charge"],
        "Trip" => ["hotel", "unhotel", "charge"],
        "Picky" | "Child" => ["hold", "release", "hold"],
        "Fan" | "Gated" => ["left", "right", "right"],
        _ => return None,
    })
}

impl Sim<'_> {
    /// Somebody has an instance run an effect, or calls one off.
    pub(super) fn ask_effect(&mut self) {
        if self.rng.chance(1, 4) {
            return self.call_off();
        }
        let Some((id, machine)) = self.some_instance() else { return };
        let workflow = self.machines[machine].definition().name.clone();
        let call = |name: &str, more: &str| {
            format!(r#"{{"type":"call","function":"{name}","args":{{}}{more}}}"#)
        };
        let retry = r#","retry":{"attempts":3,"base_delay":"1s","jitter":"none"}"#;
        let tree = match (self.rng.below(3), functions(&workflow)) {
            (0, Some([does, _, more])) => {
                let (does, more) = (call(does, retry), call(more, r#","on_unknown":"fail""#));
                format!(r#"{{"type":"parallel","effects":{{"z":{does},"a":{more}}}}}"#)
            }
            (_, Some([does, undoes, more])) => {
                let (does, undoes) = (call(does, ""), call(undoes, retry));
                let more = call(more, "");
                let kept = format!(r#"{{"id":"a","action":{does},"compensation":{undoes}}}"#);
                let fails = format!(r#"{{"id":"b","action":{more}}}"#);
                format!(r#"{{"type":"saga","steps":[{kept},{fails}]}}"#)
            }
            (_, None) => {
                let put = r#"{"type":"put_data","key":"asked","value":"${param.op}"}"#;
                format!(
                    r#"{{"type":"sequence","effects":[{{"type":"delay","duration":"4s"}},{put}]}}"#
                )
            }
        };
        // By the number it is known in the history.
        let with = Value::map([("op", Value::Int(self.ops.len() as i64))]);
        let asked = Box::new(Asked { effect: None, tree: Some(tree.into()), with });
        let what = What::Operate(Operation::RunEffect { asked });
        self.ops.push(Op { id, what, state: OpState::Ready });
        self.send(self.ops.len() - 1);
    }

    fn call_off(&mut self) {
        let open = self.folds.values().flat_map(|it| {
            it.trees.iter().filter(|tree| tree.asked.is_some()).map(|tree| (it.id, tree.id))
        });
        let open: Vec<_> = open.collect();
        if open.is_empty() {
            return;
        }
        let (id, tree) = open[self.rng.index(open.len())];
        let what = What::Operate(Operation::CancelEffect { tree, reason: None });
        self.ops.push(Op { id, what, state: OpState::Ready });
        self.send(self.ops.len() - 1);
    }

    /// What was acknowledged is in its history; each came to its end before its instance did, and
    /// one that broke off has undone what it had done.
    pub(super) fn check_asked(&mut self) {
        let mut taken: BTreeMap<i64, usize> = BTreeMap::new();
        for records in self.histories.values() {
            let is_retried = records.iter().any(|it| matches!(it.body, Body::Retried(_)));
            for record in records {
                let Body::EffectRequested(asked) = &record.body else { continue };
                let op = asked.with.get("op").and_then(Value::as_i64).unwrap();
                *taken.entry(op).or_default() += 1;
                let tree = record.header.seq;
                let end = last_of(records, tree, &asked.root());
                let end = end.filter(|it| it.is_over());
                let end = end.unwrap_or_else(|| panic!("effect {op} has no end"));
                self.facts.asked += 1;
                let saga = format!("{}/body", asked.root());
                let [kept, undone] = ["a", "undo:a"].map(|it| format!("{saga}/{it}"));
                let kept = last_of(records, tree, &kept) == Some(NodeStatus::Completed);
                let undone = last_of(records, tree, &undone);
                self.facts.undone += u64::from(undone == Some(NodeStatus::Completed));
                let is_saga = asked.tree.as_deref().is_some_and(|it| it.contains("saga"));
                // An end that was taken back counts the steps of both lives.
                if is_saga && !is_retried && kept {
                    assert_eq!(undone.is_some(), end != NodeStatus::Completed, "effect {op}");
                }
            }
        }
        for (at, op) in self.ops.iter().enumerate() {
            let What::Operate(Operation::RunEffect { .. }) = &op.what else { continue };
            let count = taken.get(&(at as i64)).copied().unwrap_or(0);
            assert!(op.state != OpState::Acknowledged || count > 0, "effect {at} is lost");
        }
    }
}

/// Returns how a node stood at last.
fn last_of(records: &[Record], tree: Seq, path: &str) -> Option<NodeStatus> {
    let path: Text = path.into();
    let is_it = |it: &&Record| it.body.node() == Some((tree, &path));
    records.iter().filter(is_it).filter_map(|it| it.body.becomes()).next_back()
}
