//! Runs the inputs of a history through another version, and says where that does something else.
//!
//! Numbers of records, trees and timers may differ between versions, so inputs are addressed anew:
//! a timer by what it is for, an effect by its state, invoke and path.

use std::sync::Arc;

use serde::Serialize;
use traaviis_model::{
    Body, Record, Seq, Snapshot, Text,
    privacy::RedactionKey,
    record::{Operation, TimerKind},
};

use super::{ReplayError, begin, context_of, input_of, version_of};
use crate::{
    Machine,
    step::{Input, Rejection, step},
    upgrade::Mapping,
};

/// The first place where another version does something else.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Divergence {
    /// First record of the step.
    pub seq: Seq,
    /// `status`, `state`, `data`, `calls`, or `input` when the other version does not take it.
    pub what: &'static str,
    /// In the history, by the names of the other version.
    pub recorded: String,
    /// In the other version.
    pub replayed: String,
}

/// Runs a history through `new`; none when each step ends in the same state. Data are compared
/// unless a migration converts them.
pub fn replay_against(
    versions: &[&Machine],
    new: &Machine,
    records: &[Record],
    key: Option<&RedactionKey>,
) -> Result<Option<Divergence>, ReplayError> {
    let mut pair: Option<(Snapshot, Arc<Snapshot>)> = None;
    let mut rest = records;
    while let Some(first) = rest.first() {
        let count = rest.iter().take_while(|it| it.header.step == first.header.step).count();
        let (taken, later) = rest.split_at(count);
        rest = later;
        let context = context_of(taken, key);
        let seq = first.header.seq;
        let refused = |why: Rejection| {
            let recorded = first.body.kind().to_string();
            Ok(Some(Divergence { seq, what: "input", recorded, replayed: why.message }))
        };
        let Some((mut recorded, mut mine)) = pair.take() else {
            let Some(recorded) = Snapshot::fold(taken)? else { break };
            let both = match begin(new, first, &context) {
                Some(Ok(begun)) => (recorded, begun.snapshot),
                Some(Err(why)) => return refused(why),
                None => break,
            };
            let old = version_of(versions, both.0.definition_hash, seq)?;
            if let Some(found) = compared(old, new, &both, seq) {
                return Ok(Some(found));
            }
            pair = Some(both);
            continue;
        };
        // Who changes the version asks for nothing that another version could do otherwise.
        if !matches!(first.body, Body::Upgraded(_)) {
            let old = version_of(versions, recorded.definition_hash, seq)?;
            let mapping = Mapping::of(old, new, &recorded);
            let input = input_of(&recorded, taken);
            let Some(input) = readdressed(input, &mapping, &recorded, &mine) else {
                let recorded = first.body.kind().to_string();
                let replayed = "nothing waits for it".to_string();
                return Ok(Some(Divergence { seq, what: "input", recorded, replayed }));
            };
            match step(new, &mine, input, &context) {
                Ok(step) => mine = step.snapshot,
                Err(why) => return refused(why),
            }
        }
        taken.iter().try_for_each(|record| recorded.apply(record))?;
        let both = (recorded, mine);
        let old = version_of(versions, both.0.definition_hash, seq)?;
        if let Some(found) = compared(old, new, &both, seq) {
            return Ok(Some(found));
        }
        pair = Some(both);
    }
    Ok(None)
}

/// Says what two states do not have in common.
fn compared(
    old: &Machine,
    new: &Machine,
    (recorded, mine): &(Snapshot, Arc<Snapshot>),
    seq: Seq,
) -> Option<Divergence> {
    let mapping = Mapping::of(old, new, recorded);
    let converts = mapping.migration.is_some_and(|it| it.data.is_some());
    let path = |it: &Text| mapping.state(it).map_or(it.clone(), |it| mapping.path(it));
    let mut states: Vec<Text> = recorded.configuration.iter().map(path).collect();
    let mut mine_states = mine.configuration.clone();
    states.sort();
    mine_states.sort();
    let differs = |what, recorded: String, replayed: String| {
        (recorded != replayed).then_some(Divergence { seq, what, recorded, replayed })
    };
    differs("status", recorded.status.as_str().into(), mine.status.as_str().into())
        .or_else(|| differs("state", states.join(", "), mine_states.join(", ")))
        .or_else(|| match converts {
            true => None,
            false => differs("data", recorded.data.to_json(), mine.data.to_json()),
        })
        .or_else(|| differs("calls", calls(recorded), calls(mine)))
}

/// Returns the open calls as text.
fn calls(snapshot: &Snapshot) -> String {
    let calls = snapshot.calls().filter(|(_, _, node)| !node.status.is_over());
    let calls: Vec<String> =
        calls.map(|(_, path, node)| format!("{path} {}", node.input)).collect();
    calls.join("; ")
}

/// Returns the input for another state of the same instance; none when nothing waits for it.
fn readdressed(
    input: Input,
    mapping: &Mapping<'_>,
    recorded: &Snapshot,
    mine: &Snapshot,
) -> Option<Input> {
    let tree_of = |tree: Seq| -> Option<Seq> {
        if tree == 0 {
            return Some(0);
        }
        let was = recorded.tree(tree)?;
        if was.asked.is_some() {
            let mut same = mine.trees.iter().filter(|it| it.asked == was.asked);
            return same.next().map(|it| it.id);
        }
        let state = mapping.path(mapping.state(&was.state)?);
        let mut same = mine.trees.iter().filter(|it| it.invoke == was.invoke && it.state == state);
        same.next().map(|it| it.id)
    };
    Some(match input {
        Input::Timer { timer } => {
            let kind = match &recorded.timers.iter().find(|it| it.id == timer)?.kind {
                TimerKind::After { state, index } => {
                    let state = mapping.path(mapping.state(state)?);
                    TimerKind::After { state, index: *index }
                }
                TimerKind::Delay { tree, path } => {
                    TimerKind::Delay { tree: tree_of(*tree)?, path: path.clone() }
                }
                TimerKind::Retry { tree, path } => {
                    TimerKind::Retry { tree: tree_of(*tree)?, path: path.clone() }
                }
                TimerKind::Deadline { tree, path } => {
                    TimerKind::Deadline { tree: tree_of(*tree)?, path: path.clone() }
                }
                TimerKind::Reminder { tree, path, number } => TimerKind::Reminder {
                    tree: tree_of(*tree)?,
                    path: path.clone(),
                    number: *number,
                },
                TimerKind::Escalation { tree, path } => {
                    TimerKind::Escalation { tree: tree_of(*tree)?, path: path.clone() }
                }
                TimerKind::Cleanup { tree } => TimerKind::Cleanup { tree: tree_of(*tree)? },
                raise @ TimerKind::Raise { .. } => raise.clone(),
            };
            let timer = mine.timers.iter().find(|it| it.kind == kind)?.id.clone();
            Input::Timer { timer }
        }
        Input::Starting { tree, path } => Input::Starting { tree: tree_of(tree)?, path },
        Input::Outcome { tree, path, scheduled, attempt, outcome } => {
            let tree = tree_of(tree)?;
            // A late outcome stays late.
            let scheduled = match scheduled {
                0 => 0,
                _ => mine.node(tree, &path)?.scheduled,
            };
            Input::Outcome { tree, path, scheduled, attempt, outcome }
        }
        Input::Unknown { tree, path, class } => {
            Input::Unknown { tree: tree_of(tree)?, path, class }
        }
        Input::Resolve { tree, path, resolution, reason } => {
            Input::Resolve { tree: tree_of(tree)?, path, resolution, reason }
        }
        // They stand for states of the other version.
        Input::Reopen(_) | Input::Fork(_) => return None,
        Input::Operate(Operation::Task { tree, path, act }) => {
            let tree = tree_of(tree)?;
            Input::Operate(Operation::Task { tree, path, act })
        }
        Input::Operate(Operation::CancelEffect { tree, reason }) => {
            let tree = tree_of(tree)?;
            Input::Operate(Operation::CancelEffect { tree, reason })
        }
        Input::Event { .. }
        | Input::Delivered { .. }
        | Input::Ended { .. }
        | Input::Continue
        | Input::Cancel { .. }
        | Input::Operate(_) => input,
    })
}

impl std::fmt::Display for Divergence {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Divergence { seq, what, recorded, replayed } = self;
        write!(f, "from record {seq} on, {what}: recorded {recorded}; here {replayed}")
    }
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};
    use traaviis_model::{InstanceId, Span, TenantCtx, Timestamp, Value};

    use super::*;
    use crate::{
        simulate::Simulation,
        tests::{machine, with_head},
    };

    const TURNSTILE: &str = r#"
initial: locked
events: {coin: {}, push: {}}
data: {initial: {n: 0}}
states:
  locked: {id: l, on: {coin: {target: open, actions: [{assign: {n: "${data.n + 1}"}}]}}}
  open: {on: {push: locked}, after: {10s: locked}, invoke: [{id: c, effect: {type: call, function: f}}]}
"#;

    fn check(new: &str, expected: Expect) {
        let (old, new) = (machine(&with_head(TURNSTILE)), machine(&with_head(new)));
        let id = InstanceId(uuid::Uuid::from_u128(1));
        let (ctx, time) = (TenantCtx::for_test(1), Timestamp(0));
        let mut run = Simulation::start(&old, &ctx, id, Value::empty_map(), time).unwrap();
        run.send("coin".into(), Value::Null).unwrap();
        run.advance(Span::secs(20)).unwrap();
        run.send("coin".into(), Value::Null).unwrap();
        run.send("push".into(), Value::Null).unwrap();
        let found = replay_against(&[&old], &new, run.records(), None).unwrap();
        expected.assert_eq(&found.map_or_else(|| "the same".into(), |it| it.to_string()));
    }

    #[test]
    fn a_version_that_does_the_same_does_not_diverge() {
        let renamed = TURNSTILE.replace("locked", "closed");
        check(&renamed, expect!["the same"]);
    }

    #[test]
    fn the_first_difference_is_told() {
        check(
            &TURNSTILE.replace("n + 1", "n + 2"),
            expect![[r#"from record 3 on, data: recorded {"n":1}; here {"n":2}"#]],
        );
        check(
            &TURNSTILE.replace("push: locked", "push: open"),
            expect!["from record 20 on, state: recorded locked; here open"],
        );
        check(
            &TURNSTILE.replace("{push: locked}", "{}"),
            expect![
                "from record 20 on, input: recorded event_received; here state `open` does not accept event `push` now; accepted are: none"
            ],
        );
        check(
            &TURNSTILE.replace("10s: locked", "10m: locked"),
            expect!["from record 10 on, state: recorded locked; here open"],
        );
        check(
            &TURNSTILE.replace("function: f", "function: f, args: {a: 1}"),
            expect![[
                r#"from record 3 on, calls: recorded c {"function":"f"}; here c {"args":{"a":1},"function":"f"}"#
            ]],
        );
    }
}
