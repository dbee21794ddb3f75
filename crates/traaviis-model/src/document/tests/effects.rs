//! Findings of effects, and what they read into.

use super::{check_effect, good_effect};
use crate::{definition::Children, value::Value};

#[test]
fn effects_are_checked_by_the_table_of_kinds() {
    check_effect(
        "{type: cal, function: f}",
        "5:48: E140 unknown effect kind `cal` (at /states/s/invoke/0/effect/type); did you mean `call`?",
    );
    check_effect(
        "{function: f}",
        "5:33: E140 `type` is missing in the effect (at /states/s/invoke/0/effect)",
    );
    check_effect(
        "{type: call, functon: f}",
        "5:33: E140 `function` is missing in effect `call` (at /states/s/invoke/0/effect)\n5:54: E140 unknown key `functon` in effect `call` (at /states/s/invoke/0/effect/functon); did you mean `function`?",
    );
    check_effect(
        "{type: call_api, url: u, method: GOT, redirects: 99, retry: {attempts: 0}}",
        "5:74: E140 `method` must be one of `get`, `post`, `put`, `patch`, `delete`, `head`, `options`, not `GOT` (at /states/s/invoke/0/effect/method); did you mean `get`?\n5:90: E140 `redirects` of effect `call_api` must be a whole number from 0 to 20, found `99` (at /states/s/invoke/0/effect/redirects)\n5:112: E140 `attempts` must be a whole number from 1 (at /states/s/invoke/0/effect/retry/attempts); 1 means a single try",
    );
    check_effect(
        "{type: while_loop, cond: true, effect: {type: value, value: 1}}",
        "5:33: E142 `max_iterations` is missing in effect `while_loop` (at /states/s/invoke/0/effect); give a whole number from 1 to 10000",
    );
    check_effect(
        "{type: while_loop, cond: true, max_iterations: 10001, effect: {type: value, value: 1}}",
        "5:88: E142 `max_iterations` cannot be `10001` (at /states/s/invoke/0/effect/max_iterations); give a whole number from 1 to 10000",
    );
    check_effect(
        "{type: delay}",
        "5:33: E140 effect `delay` takes exactly one of `duration`, `ms`, `until` (at /states/s/invoke/0/effect)",
    );
    check_effect(
        "{type: race, effects: {a: {type: value, value: 1}}}",
        "5:54: E140 `effects` must be a list of effects, found a map (at /states/s/invoke/0/effect/effects)",
    );
    check_effect(
        "{type: parallel, effects: []}",
        "5:58: E140 `effects` is empty (at /states/s/invoke/0/effect/effects)",
    );
    check_effect(
        "{type: batch, effect: {type: value, value: 1}}",
        "5:33: E140 `items` is missing in effect `batch` (at /states/s/invoke/0/effect)",
    );
    check_effect(
        "{type: retry, retry: {}, effect: {type: value, value: 1}}",
        "5:55: E140 `retry` does not belong on effect `retry` (at /states/s/invoke/0/effect/retry); write its keys on the effect itself: `attempts`, `backoff`, ...",
    );
    check_effect(
        "{type: saga, steps: [{id: a, timeout: 1s, action: {type: value, value: 1, timeout: 2s}}]}",
        "5:70: E140 `timeout` stands on the step and on its action (at /states/s/invoke/0/effect/steps/0/timeout); keep one of them",
    );
}

#[test]
fn effects_that_only_mocks_answer_are_checked_like_the_others() {
    let at = "5:48: W190 feature_unavailable: effect";
    let rest = "is checked, and tests answer it with mocks, but this release does not perform it (at /states/s/invoke/0/effect/type)";
    check_effect(
        "{type: call_llm, prompt: hi, temperature: \"${data.t}\"}",
        &format!("{at} `call_llm` {rest}"),
    );
    check_effect(
        "{type: call_llm, prompt: hi, prompt_ref: p, temperature: 3, tier: huge}",
        &format!(
            "5:33: E140 effect `call_llm` takes exactly one of `prompt`, `messages`, `prompt_ref` (at /states/s/invoke/0/effect)\n\
             {at} `call_llm` {rest}\n\
             5:98: E140 `temperature` of effect `call_llm` must be a number from 0 to 2 or a template, found `3` (at /states/s/invoke/0/effect/temperature)\n\
             5:107: E140 `tier` must be one of `small`, `medium`, `large`, not `huge` (at /states/s/invoke/0/effect/tier)"
        ),
    );
    check_effect(
        "{type: coordinate_agents, agents: [{id: a, role: r, task: t}, {id: a, rôle: r, task: t}]}",
        &format!(
            "{at} `coordinate_agents` {rest}\n\
             5:103: E140 `role` is missing in the agent (at /states/s/invoke/0/effect/agents/1)\n\
             5:108: E107 another agent has this id already (at /states/s/invoke/0/effect/agents/1/id)\n\
             5:111: E140 unknown key `rôle` in an agent (at /states/s/invoke/0/effect/agents/1/rôle); did you mean `role`?"
        ),
    );
}

#[test]
fn effects_read_into_params_and_children() {
    let effect = good_effect(
        "{type: retry, attempts: 5, on: [timeout], effect: {type: call_api, url: u, method: POST, save: a.b}}",
    );
    let policy = effect.retry.as_ref().unwrap();
    assert_eq!((policy.attempts, &*policy.on[0]), (5, "timeout"));
    let [(_, Children::One(child))] = effect.children.as_slice() else { panic!() };
    assert_eq!(
        format!("{:?}", child.params),
        r#"[("url", String("u")), ("method", String("post"))]"#
    );
    let effect = good_effect(
        "{type: batch, items: \"${data.l}\", concurrency: 3, effect: {type: delay, ms: 5}}",
    );
    assert_eq!(
        format!("{:?}", effect.params),
        r#"[("items", String("${data.l}")), ("concurrency", Int(3))]"#
    );
    let [(_, Children::One(child))] = effect.children.as_slice() else { panic!() };
    assert_eq!(format!("{:?}", child.params), r#"[("duration", Int(5))]"#);
    let effect = good_effect(
        "{type: case_condition, value: 1, cases: [{when: 1, effect: {type: value, value: null}}], default: {type: sequence, effects: {z: {type: transform, expr: 1}, a: {type: get_result}}}}",
    );
    let [(_, Children::Cases(cases)), (_, Children::One(default))] = effect.children.as_slice()
    else {
        panic!()
    };
    assert_eq!((cases.len(), &cases[0].0), (1, &Value::Int(1)));
    let [(_, Children::Map(effects))] = default.children.as_slice() else { panic!() };
    assert_eq!((&*effects[0].0, &*effects[1].0), ("z", "a"));
    let effect = good_effect(
        "{type: with_compensation, action: {type: value, value: 1, compensation: {type: get_result}}, compensation: {type: get_result}}",
    );
    assert!(effect.compensation.is_none());
    let [(_, Children::One(action)), (role, _)] = effect.children.as_slice() else { panic!() };
    assert!(action.compensation.is_some());
    assert_eq!(&**role, "compensation");
}
