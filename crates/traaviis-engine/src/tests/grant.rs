//! Permissions: what is not granted is not begun.

use expect_test::{Expect, expect};
use traaviis_model::Value;

use super::trace;

const RUN: &str = r#"
permissions: {WORKFLOW}
initial: a
states:
  a:
    permissions: {OUTER}
    initial: b
    states:
      b:
        permissions: {INNER}
        invoke: [{id: work, effect: EFFECT, onDone: '#ok', onError: '#bad'}]
  ok: {type: final, output: "${result}"}
  bad: {type: final, status: failed, output: "${event.data.message}"}
"#;

/// Tells what becomes of an effect that reads the name `input.it`.
fn outcome(grants: [&str; 3], effect: &str, it: &str, script: &str) -> String {
    let body = RUN
        .replace("WORKFLOW", grants[0])
        .replace("OUTER", grants[1])
        .replace("INNER", grants[2])
        .replace("EFFECT", effect);
    trace(&body, script, Value::map([("it", Value::from(it))]))
}

#[test]
fn a_computed_name_that_is_not_listed_is_not_begun() {
    let check = |list: &str, it: &str, script: &str, expected: Expect| {
        let effect = "{type: call, function: '${input.it}', retry: {attempts: 3}}";
        expected.assert_eq(&outcome([list, "", ""], effect, it, script));
    };
    check(
        "tools: [mail.*]",
        "pay.out",
        "",
        expect![[r#"
            > start
              - -> a.b
              failed work: permission_denied
              error.invoke.work -> bad
              finished failed "the tool `pay.out` was computed, and `permissions.tools` of the workflow does not list it"
        "#]],
    );
    check(
        "tools: [mail.*]",
        "mail.send",
        "ok work 1",
        expect![[r#"
        > start
          - -> a.b
          start work#1
        > ok work 1
          done work = 1
          done.invoke.work -> ok
          finished completed 1
    "#]],
    );
}

#[test]
fn a_refusal_is_an_error_like_others() {
    let effect = "{type: fallback, on: [permission_denied], effects: [{type: call, function: '${input.it}'}, {type: value, value: other}]}";
    expect![[r#"
        > start
          - -> a.b
          failed work/0: permission_denied
          done work/1 = "other"
          done work = "other"
          done.invoke.work -> ok
          finished completed "other"
    "#]]
    .assert_eq(&outcome(["tools: []", "", ""], effect, "f", ""));
}

/// Pairs of what may be reached and what is asked for, with who refuses.
#[test]
fn workflow_and_states_must_all_grant() {
    let api = "{type: call_api, url: 'http${input.it}'}";
    let spawn = "{type: spawn_fsm, workflow: '${input.it}'}";
    let ask = "{type: invoke_fsm, correlation: {workflow: '${input.it}', key: k}, event: e}";
    let call = "{type: call, function: '${input.it}'}";
    let mcp = "{type: mcp_call, server: crm, tool: '${input.it}'}";
    let model = "{type: call_llm, provider: openai, model: '${input.it}', prompt: p}";
    let literal =
        "{type: call_api, url: 'https://a.org/${input.it}', headers: {x: '${secret(\"key\")}'}}";
    for (grants, effect, it, refused) in [
        (["hosts: [a.org]", "", ""], api, "s://a.org/x", None),
        (["hosts: ['a.org:443']", "", ""], api, "s://A.ORG./x", None),
        (["hosts: ['a.org:443']", "", ""], api, "://a.org/x", Some("workflow")),
        (["hosts: [a.org]", "", ""], api, "s://b.org/a.org", Some("workflow")),
        (["hosts: [a.org]", "", ""], api, "s://b.org\\@a.org", Some("workflow")),
        (["hosts: ['*.org']", "hosts: [a.org]", ""], api, "s://b.org", Some("a")),
        (
            ["hosts: ['*.org']", "hosts: ['?.org', '*.org']", "hosts: [b.org]"],
            api,
            "s://a.org",
            Some("a.b"),
        ),
        (["hosts: ['*.org']", "", "hosts: ['*.org:443']"], api, "s://a.org", None),
        (["", "", "hosts: [a.org]"], literal, "x", None),
        (["", "", "secrets: [key]"], literal, "x", None),
        (["workflows: [Billing]", "", ""], spawn, "Billing", None),
        (["workflows: [Billing]", "", ""], spawn, "Payout", Some("workflow")),
        (["workflows: ['*']", "workflows: []", ""], ask, "Billing", Some("a")),
        (["tools: ['*']", "", "tools: [b]"], call, "c", Some("a.b")),
        (["tools: ['mcp:crm/find*']", "", ""], mcp, "find_one", None),
        (["tools: ['mcp:crm/find*']", "", ""], mcp, "delete", Some("workflow")),
        (["models: ['openai/gpt-*']", "", ""], model, "gpt-5", None),
        (["models: ['openai/gpt-*']", "", ""], model, "o3", Some("workflow")),
    ] {
        let told = outcome(grants, effect, it, "");
        let by = match told.contains("start work") {
            true => None,
            false => {
                assert!(told.contains("failed work: permission_denied"), "{told}");
                let state = told.split("of state `").nth(1).and_then(|it| it.split('`').next());
                Some(state.unwrap_or("workflow").to_string())
            }
        };
        assert_eq!(by.as_deref(), refused, "{grants:?} {effect} {it}\n{told}");
    }
}
