//! Forks: a new instance from a position in the history of another.

use std::sync::Arc;

use expect_test::expect;
use proptest::prelude::*;
use traaviis_model::{
    InstanceId, Record, Snapshot, TenantCtx, Text, Timestamp, Value, record::Results,
    snapshot::NodeStatus,
};

use super::{World, chart::chart, check, context, reference::machine, with_head};
use crate::step::{Branch, Fork, Input, plan_fork, start, step};

const WORK: &str = r#"
initial: work
events: {go: {}}
states:
  work:
    on: {go: end}
    after: {1h: end}
    invoke:
      - id: w
        effect:
          type: sequence
          effects:
            - {type: call, function: a, args: {}}
            - type: call
              function: b
              args: {}
              retry: {attempts: 2, base_delay: 5s, jitter: none}
            - {type: call, function: c, args: {to: "${steps[\"1\"].value}"}, idempotency_key: mine}
  end: {type: final}
"#;

#[test]
fn recorded_results_answer_a_fork_until_it_asks_something_else() {
    check(
        WORK,
        "ok w/0 1\nfail w/1 down retryable\n+5s\nok w/1 2\nok w/2 3\nfork 7\n+5s\nsend go",
        expect![[r#"
            > start
              - -> work
              start w/0#1
            > ok w/0 1
              done w/0 = 1
              start w/1#1
            > fail w/1 down retryable
              w/1#1 failed: down, next at 5s
            > at 5s
              start w/1#2
            > ok w/1 2
              done w/1 = 2
              key mine
              start w/2#1
            > ok w/2 3
              done w/2 = 3
              done w = [1,2,3]
            > fork 7
              fork from 7, 4 recorded
              recall w/0#1 from 8
              done w/0 = 1
              recall w/1#1 from 11
              w/1#1 failed: down, next at 10s
            > at 10s
              recall w/1#2 from 15
              done w/1 = 2
              key mine
              recall w/2#1 from 18
              done w/2 = 3
              done w = [1,2,3]
            > send go
              go -> end
              finished completed null
        "#]],
    );
    // What was asked of `c` after the fork is not what the record holds.
    check(
        WORK,
        "ok w/0 1\nfork\nretry w/1\nok w/1 9\nskip w/2 5",
        expect![[r#"
        > start
          - -> work
          start w/0#1
        > ok w/0 1
          done w/0 = 1
          start w/1#1
        > fork
          fork from 10, 0 recorded
          unknown w/1: ask
          incident result_not_recorded w/1
        > retry w/1
          resolved result_not_recorded: retry
          start w/1#1
        > ok w/1 9
          done w/1 = 9
          key mine
          unknown w/2: ask
          incident result_not_recorded w/2
        > skip w/2 5
          resolved result_not_recorded: skip
          done w/2 = 5
          done w = [1,9,5]
    "#]],
    );
}

#[test]
fn a_live_fork_calls_with_keys_of_its_own() {
    check(
        WORK,
        "ok w/0 1\nfork-live\nok w/1 2\nok w/2 3",
        expect![[r#"
        > start
          - -> work
          start w/0#1
        > ok w/0 1
          done w/0 = 1
          start w/1#1
        > fork-live
          fork from 10, 0 recorded
          start w/1#1
        > ok w/1 2
          done w/1 = 2
          key mine
          start w/2#1
        > ok w/2 3
          done w/2 = 3
          done w = [1,2,3]
    "#]],
    );
}

#[test]
fn a_position_is_the_end_of_a_step_of_an_open_instance() {
    check(
        WORK,
        "fork 0\nfork 2\nfork 99\nsend go\nfork\nfork-paused 7\nresume",
        expect![[r#"
            > start
              - -> work
              start w/0#1
            > fork 0
              refused validation_failed: there is no record 0; the history has records 1 to 7
            > fork 2
              refused validation_failed: record 2 lies inside a step, which happens as a whole; fork at record 7
            > fork 99
              refused validation_failed: there is no record 99; the history has records 1 to 7
            > send go
              go -> end
              cancelled w/0: state_left
              cancelled w: state_left
              finished completed null
            > fork
              refused invalid_state: after record 13 the instance is completed; fork at record 7 or earlier
            > fork-paused 7
              fork from 7, 0 recorded
              paused
            > resume
              resumed
              unknown w/0: ask
              incident result_not_recorded w/0
        "#]],
    );
}

#[test]
fn timers_keep_the_time_that_they_had_left() {
    check(
        WORK,
        "ok w/0 1\n+30m\nfork-live\n+59m\n+2m",
        expect![[r#"
        > start
          - -> work
          start w/0#1
        > ok w/0 1
          done w/0 = 1
          start w/1#1
        > fork-live
          fork from 10, 0 recorded
          start w/1#1
        > at 1h30m
          after.work -> end
          cancelled w/1: state_left
          cancelled w: state_left
          finished completed null
    "#]],
    );
}

#[test]
fn a_fork_has_no_children_of_its_original() {
    check(
        r#"
initial: work
states:
  work:
    invoke:
      - id: w
        effect: {type: spawn_fsm, workflow: Child, wait: true}
        onDone: end
  end: {type: final}
"#,
        "fork-live\nended w completed 5",
        expect![[r#"
            > start
              - -> work
              start w#1
              child w Child
            > fork-live
              fork from 6, 0 recorded
              start w#1
              child w Child
            > ended w completed 5
              child ended completed
              done w = 5
              done.invoke.w -> end
              finished completed null
        "#]],
    );
}

#[test]
fn the_result_of_a_child_is_recalled_without_starting_one() {
    check(
        r#"
initial: work
states:
  work:
    invoke:
      - id: w
        effect: {type: spawn_fsm, workflow: Child, wait: true}
        onDone: end
  end: {on: {}}
"#,
        "ended w completed 5\nfork 6",
        expect![[r#"
            > start
              - -> work
              start w#1
              child w Child
            > ended w completed 5
              child ended completed
              done w = 5
              done.invoke.w -> end
            > fork 6
              fork from 6, 1 recorded
              recall w#1 from 8
              done w = 5
              done.invoke.w -> end
        "#]],
    );
}

fn send(machine: &crate::Machine, state: &mut Arc<Snapshot>, event: &str) -> Vec<Record> {
    let input = Input::Event { event: event.into(), data: Value::Null, id: None };
    match step(machine, state, input, &context(Timestamp(0))) {
        Ok(step) => {
            *state = step.snapshot;
            step.records
        }
        Err(_) => Vec::new(),
    }
}

proptest! {
    #[test]
    fn a_fork_is_its_original_up_to_the_fork_and_does_the_same_after_it(
        bytes in proptest::collection::vec(any::<u8>(), 0..300),
    ) {
        let (chart, events) = chart(&bytes);
        let Ok(machine) = machine(&chart) else { return Ok(()) };
        let (ctx, id) = (TenantCtx::for_test(1), InstanceId(uuid::Uuid::from_u128(1)));
        let begun = start(&machine, &ctx, id, Value::empty_map(), &context(Timestamp(0)));
        let Ok(begun) = begun else { return Ok(()) };
        let (mut state, mut records) = (begun.snapshot, begun.records);
        let (before, after) = events.split_at(events.len() / 2);
        before.iter().for_each(|it| records.extend(send(&machine, &mut state, it)));
        if state.status.is_finished() {
            return Ok(());
        }
        let (at, shared) = (records.last().map(|it| it.header.seq), state.clone());
        after.iter().for_each(|it| records.extend(send(&machine, &mut state, it)));
        let other = InstanceId(uuid::Uuid::from_u128(2));
        let (results, patch) = (Results::Recorded, Vec::new());
        let fork = Fork { id: other, at, reason: None, results, patch, paused: false };
        let Branch { copied, base, forked } = plan_fork(&records, fork).unwrap();
        prop_assert_eq!(&Snapshot { id, ..base.clone() }, &*shared);
        let forked = step(&machine, &base, Input::Fork(forked), &context(Timestamp(0)));
        let forked = forked.map_err(|why| TestCaseError::fail(why.message))?;
        let (mut mine, mut history) = (forked.snapshot, [copied, forked.records].concat());
        after.iter().for_each(|it| history.extend(send(&machine, &mut mine, it)));
        prop_assert_eq!(&mine.configuration, &state.configuration);
        prop_assert_eq!(&mine.data, &state.data);
        prop_assert_eq!(mine.status, state.status);
        let replayed = crate::replay(&machine, &history);
        let replayed = replayed.map_err(|why| TestCaseError::fail(why.to_string()))?;
        prop_assert_eq!(replayed.unwrap().canonical(), mine.canonical());
    }
}

/// A random tree of calls, and whether some of them run at the same time.
fn tree() -> impl Strategy<Value = (String, bool)> {
    let call = any::<bool>().prop_map(|is_tried_again| {
        let retry = match is_tried_again {
            true => ", retry: {attempts: 2, base_delay: 5s, jitter: none}",
            false => "",
        };
        (format!("{{type: call, function: f, args: {{}}{retry}}}"), false)
    });
    call.prop_recursive(3, 8, 3, |inner| {
        let kinds =
            prop_oneof![Just("sequence"), Just("sequence"), Just("fallback"), Just("parallel")];
        (kinds, prop::collection::vec(inner, 1..4)).prop_map(|(kind, parts)| {
            let are_several = kind == "parallel" || parts.iter().any(|it| it.1);
            let parts: Vec<String> = parts.into_iter().map(|it| it.0).collect();
            (format!("{{type: {kind}, effects: [{}]}}", parts.join(", ")), are_several)
        })
    })
}

/// Lets time pass or answers one of the calls that run.
fn happen(world: &mut World<'_>, byte: u8) {
    let running = world.snapshot.trees.iter().flat_map(|tree| &tree.nodes);
    let running = running.filter(|(_, it)| it.status == NodeStatus::Started && &*it.kind == "call");
    let paths: Vec<Text> = running.map(|(path, _)| path.clone()).collect();
    let path = paths.get(usize::from(byte / 4) % paths.len().max(1));
    match (byte % 4, path) {
        (0, _) | (_, None) => world.line("+5s"),
        (1, Some(path)) => world.line(&format!("fail {path} down retryable")),
        (_, Some(path)) if byte == 255 => world.line(&format!("fail {path} odd")),
        (_, Some(path)) => world.line(&format!("ok {path} {byte}")),
    }
}

proptest! {
    /// Recorded results answer every call, so a fork of calls that came one after the other ends as
    /// its original did.
    #[test]
    fn a_fork_of_calls_is_its_original_up_to_the_fork(
        (tree, are_several) in tree(),
        bytes in proptest::collection::vec(any::<u8>(), 1..40),
    ) {
        let body = format!(
            "initial: work\ndata: {{initial: {{got: null}}}}\nstates:\n  work:\n    invoke:\n      \
             - id: w\n        effect: {tree}\n        \
             onDone: {{target: end, actions: [{{assign: {{got: '${{result}}'}}}}]}}\n        \
             onError: bad\n  end: {{type: final}}\n  bad: {{type: final, status: failed}}\n"
        );
        let machine = super::machine(&with_head(&body));
        let mut world = World::new(&machine, Value::empty_map());
        bytes.iter().for_each(|it| happen(&mut world, *it));
        let (records, ended) = (world.records.clone(), world.snapshot.clone());
        let mut forks = 0;
        for at in 1..=records.len() {
            let (results, patch) = (Results::Recorded, Vec::new());
            let (id, position) = (InstanceId(uuid::Uuid::from_u128(8)), at as u64);
            let fork =
                Fork { id, at: Some(position), reason: None, results, patch, paused: false };
            let Ok(Branch { base, .. }) = plan_fork(&records, fork) else { continue };
            forks += 1;
            let shared = Snapshot::fold(&records[..at]).unwrap().unwrap();
            // A call that was being tried again begins anew, with all of its attempts.
            let is_new = shared.calls().all(|(_, _, node)| match node.status {
                NodeStatus::Waiting => false,
                NodeStatus::Started => node.attempt <= 1,
                _ => true,
            });
            prop_assert_eq!(Snapshot { id: shared.id, ..base }, shared);
            if are_several || !is_new || !ended.status.is_finished() {
                continue;
            }
            world.records.clone_from(&records);
            world.line(&format!("fork {at}"));
            (0..40).for_each(|_| world.line("+5s"));
            prop_assert_eq!(&world.snapshot.configuration, &ended.configuration, "{}", world.out);
            prop_assert_eq!(&world.snapshot.data, &ended.data);
            prop_assert_eq!(world.snapshot.status, ended.status);
        }
        prop_assert!(forks > 0);
    }
}
