//! Children as facts of their parent: what is recorded, and what their end means.

use std::sync::Arc;

use expect_test::expect;
use traaviis_model::{
    EffectError, InstanceId, TenantCtx, Timestamp, Value,
    limits::{CHILD_DEPTH_MAX, CHILDREN_MAX},
    record::{Ending, Lineage, ParentClose, Status},
};

use super::{check, context, machine, with_head};
use crate::{
    Birth,
    step::{Input, Request, Step, start_born, step},
};

const FAMILY: &str = r#"
initial: working
events: {stop: {}}
states:
  working:
    on: {stop: off}
    invoke:
      - id: ask
        effect:
          type: parallel
          effects:
            a: {type: spawn_fsm, workflow: Offer, input: {n: 1}, wait: true}
            b: {type: spawn_fsm, workflow: Note, parent_close: abandon}
        onDone: {target: done}
        onError: {target: bad}
  done: {type: final, output: "${event.data.a}"}
  bad: {type: final, status: failed, output: "${event.data.cause.code}"}
  off: {type: final}
"#;

#[test]
fn a_node_that_waits_ends_with_its_child() {
    check(
        FAMILY,
        r#"ok ask/b {"instance_id": "b"}
        ended ask/a completed 7"#,
        expect![[r#"
            > start
              - -> working
              start ask/a#1
              child ask/a Offer
              start ask/b#1
              child ask/b Note
            > ok ask/b {"instance_id": "b"}
              done ask/b = {"instance_id":"b"}
            > ended ask/a completed 7
              child ended completed
              done ask/a = 7
              done ask = {"a":7,"b":{"instance_id":"b"}}
              done.invoke.ask -> done
              finished completed 7
        "#]],
    );
}

#[test]
fn a_child_that_fails_fails_its_node_and_the_others_are_told() {
    check(
        FAMILY,
        "ended ask/a failed",
        expect![[r#"
            > start
              - -> working
              start ask/a#1
              child ask/a Offer
              start ask/b#1
              child ask/b Note
            > ended ask/a failed
              child ended failed
              failed ask/a: child_failed <- no_luck
              cancelled ask/b: sibling_failed
              failed ask: child_failed <- no_luck
              error.invoke.ask -> bad
              finished failed "no_luck"
        "#]],
    );
}

#[test]
fn a_node_that_is_called_off_closes_its_child_unless_it_is_abandoned() {
    check(
        FAMILY,
        "send stop",
        expect![[r#"
            > start
              - -> working
              start ask/a#1
              child ask/a Offer
              start ask/b#1
              child ask/b Note
            > send stop
              stop -> off
              child closing
              cancelled ask/a: state_left
              cancelled ask/b: state_left
              cancelled ask: state_left
              finished completed null
        "#]],
    );
}

#[test]
fn a_paused_parent_keeps_the_end_of_a_child() {
    check(
        FAMILY,
        r#"ok ask/b 1
        pause
        ended ask/a completed 7
        ended ask/a completed 7
        resume"#,
        expect![[r#"
            > start
              - -> working
              start ask/a#1
              child ask/a Offer
              start ask/b#1
              child ask/b Note
            > ok ask/b 1
              done ask/b = 1
            > pause
              paused
            > ended ask/a completed 7
              held
            > ended ask/a completed 7
            > resume
              resumed
              released
              child ended completed
              done ask/a = 7
              done ask = {"a":7,"b":1}
              done.invoke.ask -> done
              finished completed 7
        "#]],
    );
}

#[test]
fn a_retry_starts_another_child() {
    check(
        r#"
initial: working
states:
  working:
    invoke:
      - id: ask
        effect: {type: spawn_fsm, workflow: Offer, wait: true, retry: {attempts: 2, on: [child_failed], base_delay: 1s, jitter: none}}
        onDone: {target: done}
        onError: {target: done}
  done: {type: final, output: "${event.name}"}
"#,
        "ended ask/body failed\n+1s\nended ask/body completed 1",
        expect![[r#"
            > start
              - -> working
              key .3.ask/body.5
              start ask/body#1
              child ask/body Offer
            > ended ask/body failed
              child ended failed
              failed ask/body: child_failed <- no_luck
              ask#1 failed: child_failed, next at 1s
            > at 1s
              key .3.ask/body.14
              start ask/body#1
              child ask/body Offer
            > ended ask/body completed 1
              child ended completed
              done ask/body = 1
              done ask = 1
              done.invoke.ask -> done
              finished completed "done.invoke.ask"
        "#]],
    );
}

/// Starts a child of instance 1 that has children of its own.
fn born(depth: u32, parent_close: ParentClose) -> (crate::Machine, Step) {
    let machine = machine(&with_head(FAMILY));
    let (parent_id, root_id) = (id(1), id(1));
    let lineage = Some(Box::new(Lineage { parent_id, root_id, depth, parent_close }));
    let birth = Birth { lineage, correlation: Some("key".into()), marks: None };
    let ctx = TenantCtx::for_test(1);
    let begun =
        start_born(&machine, &ctx, id(2), Value::empty_map(), birth, &context(Timestamp(0)));
    let step = begun.unwrap();
    (machine, step)
}

fn id(number: u128) -> InstanceId {
    InstanceId(uuid::Uuid::from_u128(number))
}

#[test]
fn the_end_of_the_parent_cancels_unless_the_child_is_abandoned() {
    for (parent_close, terminated, expected) in [
        (ParentClose::Cancel, false, "cancelled, 1 closed"),
        (ParentClose::Cancel, true, "cancelled, 0 closed"),
        (ParentClose::RequestCancel, true, "cancelled, 1 closed"),
        (ParentClose::Abandon, true, "running, 0 closed"),
    ] {
        let (machine, begun) = born(1, parent_close);
        assert_eq!(begun.snapshot.correlation.as_deref(), Some("key"));
        let ending =
            Ending { status: Status::Failed, output: Value::Null, error: None, terminated };
        let input = Input::Ended { instance: id(1), ending };
        let after = step(&machine, &begun.snapshot, input, &context(Timestamp(1))).unwrap();
        let closed = after.requests.iter().filter(|it| matches!(it, Request::Close(_))).count();
        let found = format!("{}, {closed} closed", after.snapshot.status.as_str());
        assert_eq!(found, expected, "{parent_close:?} {terminated}");
    }
}

#[test]
fn children_have_limits() {
    let failed = |step: &Step| {
        step.records.iter().find_map(|it| match &it.body {
            traaviis_model::Body::EffectFailed { error, .. } => Some(error.clone()),
            _ => None,
        })
    };
    let (_, deepest) = born(CHILD_DEPTH_MAX - 1, ParentClose::Cancel);
    assert_eq!(failed(&deepest), None::<EffectError>);
    let (machine, too_deep) = born(CHILD_DEPTH_MAX, ParentClose::Cancel);
    assert_eq!(&*failed(&too_deep).unwrap().code, "child_limit");

    // A parent with as many children as there may be, whose next one waits for a slot.
    let no_slots = crate::StepContext { start_slots: 0, ..context(Timestamp(0)) };
    let ctx = TenantCtx::for_test(1);
    let begun = crate::start(&machine, &ctx, id(2), Value::empty_map(), &no_slots).unwrap();
    let mut snapshot = Arc::unwrap_or_clone(begun.snapshot);
    let (tree, path) = (snapshot.trees[0].id, traaviis_model::Text::from("ask/a"));
    for number in 0..CHILDREN_MAX as u128 {
        snapshot.children.insert(
            id(1_000 + number),
            traaviis_model::snapshot::Child {
                tree,
                path: "gone".into(),
                workflow: "Offer".into(),
                parent_close: ParentClose::Cancel,
                closing: false,
            },
        );
    }
    let input = Input::Starting { tree, path };
    let step = step(&machine, &snapshot, input, &context(Timestamp(0))).unwrap();
    assert_eq!(&*failed(&step).unwrap().code, "child_limit");
    assert!(!step.requests.iter().any(|it| matches!(it, Request::Perform(_))));
}
