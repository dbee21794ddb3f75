//! Effects that an instance runs outside of its states.

use expect_test::expect;

use super::{Machine, check};

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
