//! Budgets: reserved before an attempt, settled after it, never overshot but by undoing.

use expect_test::expect;

use super::check;

/// A run with a budget; `EFFECT` is invoked, `ON` says what happens to `budget.exceeded`.
const RUN: &str = r#"
budgets: {BUDGETS}
initial: a
states:
  a:
    invoke: [{id: work, effect: EFFECT, onDone: ok, onError: bad}]
    on: {ON}
  ok: {type: final, output: "${result}"}
  bad: {type: final, status: failed, output: "${event.data.code}"}
  broke: {type: final, output: "${event.data}"}
"#;

fn check_run(budgets: &str, on: &str, effect: &str, script: &str, expected: expect_test::Expect) {
    let body = RUN.replace("BUDGETS", budgets).replace("ON}", &format!("{on}}}"));
    check(&body.replace("EFFECT", effect), script, expected);
}

const TWO: &str =
    "{type: sequence, effects: [{type: call, function: f}, {type: call, function: g}]}";
const BROKE: &str = "budget.exceeded: broke";

#[test]
fn a_call_beyond_the_budget_is_not_begun_and_raises_an_event() {
    check_run(
        "calls: 1",
        BROKE,
        TWO,
        "ok work/0 1",
        expect![[r#"
            > start
              - -> a
              reserve work/0 calls 1
              start work/0#1
            > ok work/0 1
              settle work/0 calls 1
              emit budget.warning {"effect_id":"work/0","kind":"calls","limit":1,"place":"","reserved":0,"scope":"run","spent":1}
              done work/0 = 1
              exceeded the run by work/1
              failed work/1: budget_exceeded
              failed work: budget_exceeded
              budget.exceeded -> broke
              finished completed {"code":"budget_exceeded","effect_id":"work/1","kind":"calls","limit":1,"message":"the run has a budget of `calls: 1`; spent 1, reserved by what runs 0, and this attempt may need 1","place":"","reserved":0,"scope":"run","spent":1}
        "#]],
    );
}

#[test]
fn without_a_transition_for_the_event_the_run_fails() {
    check_run(
        "calls: 1",
        "",
        TWO,
        "ok work/0 1",
        expect![[r#"
        > start
          - -> a
          reserve work/0 calls 1
          start work/0#1
        > ok work/0 1
          settle work/0 calls 1
          emit budget.warning {"effect_id":"work/0","kind":"calls","limit":1,"place":"","reserved":0,"scope":"run","spent":1}
          done work/0 = 1
          exceeded the run by work/1
          failed work/1: budget_exceeded
          failed work: budget_exceeded
          finished failed null
    "#]],
    );
}

#[test]
fn a_try_costs_as_much_as_a_first_one() {
    let effect = "{type: call, function: f, retry: {attempts: 5, base_delay: 1s, jitter: none}}";
    check_run(
        "calls: 2",
        BROKE,
        effect,
        "fail work boom retryable\n+1s\nfail work boom retryable\n+1h",
        expect![[r#"
            > start
              - -> a
              reserve work calls 1
              start work#1
            > fail work boom retryable
              settle work calls 1
              work#1 failed: boom, next at 1s
            > at 1s
              reserve work calls 1
              start work#2
            > fail work boom retryable
              settle work calls 1
              emit budget.warning {"effect_id":"work","kind":"calls","limit":2,"place":"","reserved":0,"scope":"run","spent":2}
              work#2 failed: boom, next at 3s
            > at 3s
              exceeded the run by work
              failed work: budget_exceeded <- boom
              budget.exceeded -> broke
              finished completed {"code":"budget_exceeded","effect_id":"work","kind":"calls","limit":2,"message":"the run has a budget of `calls: 2`; spent 2, reserved by what runs 0, and this attempt may need 1","place":"","reserved":0,"scope":"run","spent":2}
        "#]],
    );
}

#[test]
fn wall_time_is_reserved_as_the_limit_of_the_attempt_and_settled_as_it_was() {
    let effect = "{type: sequence, effects: [{type: call, function: f, timeout: 20s}, {type: call, function: g, timeout: 25s}]}";
    check_run(
        "wall_time: 30s",
        BROKE,
        effect,
        "+3s\nok work/0 1\n+1s\nok work/1 2",
        expect![[r#"
        > start
          - -> a
          reserve work/0 calls 1, wall_time 20s
          start work/0#1
        > ok work/0 1
          settle work/0 calls 1, wall_time 3s
          done work/0 = 1
          reserve work/1 calls 1, wall_time 25s
          start work/1#1
        > ok work/1 2
          settle work/1 calls 1, wall_time 1s
          done work/1 = 2
          done work = [1,2]
          done.invoke.work -> ok
          finished completed [1,2]
    "#]],
    );
    check_run(
        "wall_time: 30s",
        BROKE,
        effect,
        "+6s\nok work/0 1",
        expect![[r#"
            > start
              - -> a
              reserve work/0 calls 1, wall_time 20s
              start work/0#1
            > ok work/0 1
              settle work/0 calls 1, wall_time 6s
              done work/0 = 1
              exceeded the run by work/1
              failed work/1: budget_exceeded
              failed work: budget_exceeded
              budget.exceeded -> broke
              finished completed {"code":"budget_exceeded","effect_id":"work/1","kind":"wall_time","limit":30000,"message":"the run has a budget of `wall_time: 30s`; spent 6s, reserved by what runs 0s, and this attempt may need 25s","place":"","reserved":0,"scope":"run","spent":6000}
        "#]],
    );
}

#[test]
fn branches_side_by_side_never_overshoot() {
    let effect = "{type: batch, items: \"${range(5)}\", concurrency: 5, fail_fast: false, effect: {type: call, function: f}}";
    check_run(
        "calls: 2",
        "",
        effect,
        "",
        expect![[r#"
        > start
          - -> a
          reserve work/0 calls 1
          start work/0#1
          reserve work/1 calls 1
          start work/1#1
          exceeded the run by work/2
          failed work/2: budget_exceeded
          failed work/3: budget_exceeded
          failed work/4: budget_exceeded
          settle work/0 calls 1
          cancelled work/0: state_left
          settle work/1 calls 1
          emit budget.warning {"effect_id":"work/1","kind":"calls","limit":2,"place":"","reserved":0,"scope":"run","spent":2}
          cancelled work/1: state_left
          cancelled work: state_left
          finished failed null
    "#]],
    );
    check_run(
        "calls: 2",
        "budget.exceeded: {actions: [{log: {message: \"${event.data.limit}\"}}]}",
        effect,
        "ok work/0 1\nok work/1 1",
        expect![[r#"
            > start
              - -> a
              reserve work/0 calls 1
              start work/0#1
              reserve work/1 calls 1
              start work/1#1
              exceeded the run by work/2
              failed work/2: budget_exceeded
              failed work/3: budget_exceeded
              failed work/4: budget_exceeded
              budget.exceeded -> a
              log info 2
            > ok work/0 1
              settle work/0 calls 1
              done work/0 = 1
            > ok work/1 1
              settle work/1 calls 1
              emit budget.warning {"effect_id":"work/1","kind":"calls","limit":2,"place":"","reserved":0,"scope":"run","spent":2}
              done work/1 = 1
              done work = [{"ok":1},{"ok":1},{"error":{"attempt":0,"cause":null,"code":"budget_exceeded","compensated":false,"compensations":[],"details":{"effect_id":"work/2","kind":"calls","limit":2,"place":"","reserved":2,"scope":"run","spent":0},"kind":"call","message":"the run has a budget of `calls: 2`; spent 0, reserved by what runs 2, and this attempt may need 1","path":"work/2","retryable":false}},{"error":{"attempt":0,"cause":null,"code":"budget_exceeded","compensated":false,"compensations":[],"details":{"effect_id":"work/3","kind":"calls","limit":2,"place":"","reserved":2,"scope":"run","spent":0},"kind":"call","message":"the run has a budget of `calls: 2`; spent 0, reserved by what runs 2, and this attempt may need 1","path":"work/3","retryable":false}},{"error":{"attempt":0,"cause":null,"code":"budget_exceeded","compensated":false,"compensations":[],"details":{"effect_id":"work/4","kind":"calls","limit":2,"place":"","reserved":2,"scope":"run","spent":0},"kind":"call","message":"the run has a budget of `calls: 2`; spent 0, reserved by what runs 2, and this attempt may need 1","path":"work/4","retryable":false}}]
              done.invoke.work -> ok
              finished completed [{"ok":1},{"ok":1},{"error":{"attempt":0,"cause":null,"code":"budget_exceeded","compensated":false,"compensations":[],"details":{"effect_id":"work/2","kind":"calls","limit":2,"place":"","reserved":2,"scope":"run","spent":0},"kind":"call","message":"the run has a budget of `calls: 2`; spent 0, reserved by what runs 2, and this attempt may need 1","path":"work/2","retryable":false}},{"error":{"attempt":0,"cause":null,"code":"budget_exceeded","compensated":false,"compensations":[],"details":{"effect_id":"work/3","kind":"calls","limit":2,"place":"","reserved":2,"scope":"run","spent":0},"kind":"call","message":"the run has a budget of `calls: 2`; spent 0, reserved by what runs 2, and this attempt may need 1","path":"work/3","retryable":false}},{"error":{"attempt":0,"cause":null,"code":"budget_exceeded","compensated":false,"compensations":[],"details":{"effect_id":"work/4","kind":"calls","limit":2,"place":"","reserved":2,"scope":"run","spent":0},"kind":"call","message":"the run has a budget of `calls: 2`; spent 0, reserved by what runs 2, and this attempt may need 1","path":"work/4","retryable":false}}]
        "#]],
    );
}

#[test]
fn a_budget_that_fails_ends_the_run_whatever_its_states_say() {
    check_run(
        "calls: 1, on_exceeded: fail",
        BROKE,
        TWO,
        "ok work/0 1",
        expect![[r#"
        > start
          - -> a
          reserve work/0 calls 1
          start work/0#1
        > ok work/0 1
          settle work/0 calls 1
          emit budget.warning {"effect_id":"work/0","kind":"calls","limit":1,"place":"","reserved":0,"scope":"run","spent":1}
          done work/0 = 1
          exceeded the run by work/1
          failed work/1: budget_exceeded
          failed work: budget_exceeded
          finished failed null
    "#]],
    );
}

#[test]
fn who_resumes_a_run_that_a_budget_paused_grants_it_once_more() {
    check_run(
        "calls: 1, on_exceeded: pause",
        BROKE,
        TWO,
        "ok work/0 1\n+1h\nresume\nok work/1 2",
        expect![[r#"
            > start
              - -> a
              reserve work/0 calls 1
              start work/0#1
            > ok work/0 1
              settle work/0 calls 1
              emit budget.warning {"effect_id":"work/0","kind":"calls","limit":1,"place":"","reserved":0,"scope":"run","spent":1}
              done work/0 = 1
              exceeded the run by work/1
              paused
            > resume
              resumed
              granted the run
              reserve work/1 calls 1
              start work/1#1
            > ok work/1 2
              settle work/1 calls 1
              emit budget.warning {"effect_id":"work/1","kind":"calls","limit":2,"place":"","reserved":0,"scope":"run","spent":2}
              done work/1 = 2
              done work = [1,2]
              done.invoke.work -> ok
              finished completed [1,2]
        "#]],
    );
}

#[test]
fn undoing_is_charged_and_never_refused() {
    let effect = "{type: saga, steps: [{id: x, action: {type: call, function: f}, compensation: {type: call, function: u}}, {id: y, action: {type: call, function: g}}]}";
    check_run(
        "calls: 1, on_exceeded: event",
        "budget.exceeded: {actions: [{log: {message: seen}}]}",
        effect,
        "ok work/x 1\nok work/undo:x null",
        expect![[r#"
            > start
              - -> a
              reserve work/x calls 1
              start work/x#1
            > ok work/x 1
              settle work/x calls 1
              emit budget.warning {"effect_id":"work/x","kind":"calls","limit":1,"place":"","reserved":0,"scope":"run","spent":1}
              done work/x = 1
              exceeded the run by work/y
              failed work/y: budget_exceeded
              undo work
              reserve work/undo:x calls 1
              start work/undo:x#1
              budget.exceeded -> a
              log info seen
            > ok work/undo:x null
              settle work/undo:x calls 1
              done work/undo:x = null
              failed work: budget_exceeded (compensated)
              error.invoke.work -> bad
              finished failed "budget_exceeded"
        "#]],
    );
}

#[test]
fn the_budget_of_an_effect_is_a_matter_of_its_tree() {
    let effect = "{type: fallback, effects: [{type: batch, items: \"${[1, 2]}\", concurrency: 1, budget: {calls: 1}, effect: {type: call, function: f}}, {type: call, function: cheap}]}";
    check_run(
        "calls: 10",
        "",
        effect,
        "ok work/0/body/0 1\nok work/1 2",
        expect![[r#"
        > start
          - -> a
          reserve work/0/body/0 calls 1
          start work/0/body/0#1
        > ok work/0/body/0 1
          settle work/0/body/0 calls 1
          emit budget.warning {"effect_id":"work/0/body/0","kind":"calls","limit":1,"place":"work/0","reserved":0,"scope":"effect","spent":1}
          done work/0/body/0 = 1
          exceeded effect `work/0` by work/0/body/1
          failed work/0/body/1: budget_exceeded
          failed work/0/body: budget_exceeded
          failed work/0: budget_exceeded
          reserve work/1 calls 1
          start work/1#1
        > ok work/1 2
          settle work/1 calls 1
          done work/1 = 2
          done work = 2
          done.invoke.work -> ok
          finished completed 2
    "#]],
    );
}

#[test]
fn an_unknown_attempt_keeps_its_reservation_until_it_is_decided() {
    let effect =
        "{type: parallel, effects: [{type: call, function: f}, {type: delay, duration: 1h}]}";
    check_run(
        "calls: 1",
        BROKE,
        effect,
        "unknown work/0 other\nretry work/0",
        expect![[r#"
            > start
              - -> a
              reserve work/0 calls 1
              start work/0#1
            > unknown work/0 other
              unknown work/0: ask
              incident unknown_outcome work/0
            > retry work/0
              resolved unknown_outcome: retry
              settle work/0 calls 1
              emit budget.warning {"effect_id":"work/0","kind":"calls","limit":1,"place":"","reserved":0,"scope":"run","spent":1}
              exceeded the run by work/0
              failed work/0: budget_exceeded
              cancelled work/1: sibling_failed
              failed work: budget_exceeded
              budget.exceeded -> broke
              finished completed {"code":"budget_exceeded","effect_id":"work/0","kind":"calls","limit":1,"message":"the run has a budget of `calls: 1`; spent 1, reserved by what runs 0, and this attempt may need 1","place":"","reserved":0,"scope":"run","spent":1}
        "#]],
    );
    check_run(
        "calls: 2",
        BROKE,
        effect,
        "unknown work/0 other\nhappened work/0 1\n+1h",
        expect![[r#"
            > start
              - -> a
              reserve work/0 calls 1
              start work/0#1
            > unknown work/0 other
              unknown work/0: ask
              incident unknown_outcome work/0
            > happened work/0 1
              resolved unknown_outcome: happened
              settle work/0 calls 1
              done work/0 = 1
            > at 1h
              done work/1 = null
              done work = [1,null]
              done.invoke.work -> ok
              finished completed [1,null]
        "#]],
    );
}

#[test]
fn an_activation_of_a_state_has_its_own_budget() {
    check(
        r#"
events: {again: {}}
initial: a
states:
  a:
    budgets: {calls: 1}
    invoke: [{id: work, effect: {type: call, function: f}}]
    on: {again: a, done.invoke.work: b}
  b: {on: {again: a}}
"#,
        "send again\nok work 1\nsend again\nok work 2",
        expect![[r#"
            > start
              - -> a
              reserve work calls 1
              start work#1
            > send again
              again -> a
              settle work calls 1
              cancelled work: state_left
              reserve work calls 1
              start work#1
            > ok work 1
              settle work calls 1
              emit budget.warning {"effect_id":"work","kind":"calls","limit":1,"place":"a","reserved":0,"scope":"state","spent":1}
              done work = 1
              done.invoke.work -> b
            > send again
              again -> a
              reserve work calls 1
              start work#1
            > ok work 2
              settle work calls 1
              emit budget.warning {"effect_id":"work","kind":"calls","limit":1,"place":"a","reserved":0,"scope":"state","spent":1}
              done work = 2
              done.invoke.work -> b
        "#]],
    );
}

#[test]
fn most_of_a_budget_is_told_once() {
    let effect =
        "{type: batch, items: \"${range(5)}\", concurrency: 1, effect: {type: call, function: f}}";
    check_run(
        "calls: 5",
        BROKE,
        effect,
        "ok work/0 1\nok work/1 1\nok work/2 1\nok work/3 1\nok work/4 1",
        expect![[r#"
            > start
              - -> a
              reserve work/0 calls 1
              start work/0#1
            > ok work/0 1
              settle work/0 calls 1
              done work/0 = 1
              reserve work/1 calls 1
              start work/1#1
            > ok work/1 1
              settle work/1 calls 1
              done work/1 = 1
              reserve work/2 calls 1
              start work/2#1
            > ok work/2 1
              settle work/2 calls 1
              done work/2 = 1
              reserve work/3 calls 1
              start work/3#1
            > ok work/3 1
              settle work/3 calls 1
              emit budget.warning {"effect_id":"work/3","kind":"calls","limit":5,"place":"","reserved":0,"scope":"run","spent":4}
              done work/3 = 1
              reserve work/4 calls 1
              start work/4#1
            > ok work/4 1
              settle work/4 calls 1
              done work/4 = 1
              done work = [1,1,1,1,1]
              done.invoke.work -> ok
              finished completed [1,1,1,1,1]
        "#]],
    );
}

#[test]
fn an_error_of_a_state_that_was_left_ends_nothing() {
    check_run(
        "calls: 1",
        "",
        "{type: value, value: 1}",
        "",
        expect![[r#"
        > start
          - -> a
          done work = 1
          done.invoke.work -> ok
          finished completed 1
    "#]],
    );
    check(
        r#"
budgets: {calls: 1}
initial: a
states:
  a:
    invoke: [{id: one, effect: {type: call, function: f}}, {id: two, effect: {type: call, function: g}}]
    on: {budget.exceeded: b}
  b: {after: {1h: c}}
  c: {type: final}
"#,
        "+1h",
        expect![[r#"
            > start
              - -> a
              reserve one calls 1
              start one#1
              exceeded the run by two
              failed two: budget_exceeded
              budget.exceeded -> b
              settle one calls 1
              emit budget.warning {"effect_id":"one","kind":"calls","limit":1,"place":"","reserved":0,"scope":"run","spent":1}
              cancelled one: state_left
            > at 1h
              after.b -> c
              finished completed null
        "#]],
    );
}

/// Four letters are one token, so this prompt is ten.
const ASK: &str =
    "type: call_llm, model: gpt-4o, prompt: \"0123456789012345678901234567890123456789\"";

#[test]
fn money_and_tokens_are_reserved_at_worst_and_settled_by_what_was_used() {
    let effect = format!(
        "{{type: sequence, returns: last, effects: [{{{ASK}, max_tokens: 990}}, {{{ASK}, max_tokens: 990}}, {{{ASK}, max_tokens: 100}}]}}"
    );
    check_run(
        "usd: 0.05, tokens: 2500",
        BROKE,
        &effect,
        "ok work/0 {\"text\": \"a\", \"usage\": {\"input_tokens\": 12, \"output_tokens\": 100}}\nok work/1 {\"text\": \"b\", \"cost_usd\": 0.03}\nfail work/2 rate_limit_exceeded",
        expect![[r#"
            > start
              - -> a
              reserve work/0 usd $0.009925, tokens 1000, calls 1
              start work/0#1
            > ok work/0 {"text": "a", "usage": {"input_tokens": 12, "output_tokens": 100}}
              settle work/0 usd $0.00103, tokens 112, calls 1
              done work/0 = {"text":"a","usage":{"input_tokens":12,"output_tokens":100}}
              reserve work/1 usd $0.009925, tokens 1000, calls 1
              start work/1#1
            > ok work/1 {"text": "b", "cost_usd": 0.03}
              settle work/1 usd $0.03, tokens 1000, calls 1
              done work/1 = {"cost_usd":0.03,"text":"b"}
              reserve work/2 usd $0.001025, tokens 110, calls 1
              start work/2#1
            > fail work/2 rate_limit_exceeded
              settle work/2 calls 1
              failed work/2: rate_limit_exceeded
              failed work: rate_limit_exceeded
              error.invoke.work -> bad
              finished failed "rate_limit_exceeded"
        "#]],
    );
}

#[test]
fn a_call_is_given_fewer_tokens_before_it_is_refused() {
    let effect = format!("{{type: sequence, effects: [{{{ASK}}}, {{{ASK}}}, {{{ASK}}}]}}");
    let half = "{\"usage\": {\"input_tokens\": 10, \"output_tokens\": 400}}";
    check_run(
        "tokens: 890",
        BROKE,
        &effect,
        &format!("ok work/0 {half}\nok work/1 {half}"),
        expect![[r#"
            > start
              - -> a
              reserve work/0 usd $0.008825, tokens 890, calls 1; max_tokens 880
              start work/0#1
            > ok work/0 {"usage": {"input_tokens": 10, "output_tokens": 400}}
              settle work/0 usd $0.004025, tokens 410, calls 1
              done work/0 = {"usage":{"input_tokens":10,"output_tokens":400}}
              reserve work/1 usd $0.004725, tokens 480, calls 1; max_tokens 470
              start work/1#1
            > ok work/1 {"usage": {"input_tokens": 10, "output_tokens": 400}}
              settle work/1 usd $0.004025, tokens 410, calls 1
              emit budget.warning {"effect_id":"work/1","kind":"tokens","limit":890,"place":"","reserved":0,"scope":"run","spent":820}
              done work/1 = {"usage":{"input_tokens":10,"output_tokens":400}}
              exceeded the run by work/2
              failed work/2: budget_exceeded
              failed work: budget_exceeded
              budget.exceeded -> broke
              finished completed {"code":"budget_exceeded","effect_id":"work/2","kind":"tokens","limit":890,"message":"the run has a budget of `tokens: 890`; spent 820, reserved by what runs 0, and this attempt may need 74","place":"","reserved":0,"scope":"run","spent":820}
        "#]],
    );
    // 0.0025 per thousand tokens read, 0.01 written: the money is for 97 tokens.
    check_run(
        "usd: \"0.001\"",
        BROKE,
        &effect,
        "ok work/0 {\"cost_usd\": \"0.0005\"}",
        expect![[r#"
            > start
              - -> a
              reserve work/0 usd $0.000995, tokens 107, calls 1; max_tokens 97
              start work/0#1
            > ok work/0 {"cost_usd": "0.0005"}
              settle work/0 usd $0.0005, tokens 107, calls 1
              done work/0 = {"cost_usd":"0.0005"}
              exceeded the run by work/1
              failed work/1: budget_exceeded
              failed work: budget_exceeded
              budget.exceeded -> broke
              finished completed {"code":"budget_exceeded","effect_id":"work/1","kind":"usd","limit":"0.001","message":"the run has a budget of `usd: $0.001`; spent $0.0005, reserved by what runs $0.00, and this attempt may need $0.000665","place":"","reserved":"0.00","scope":"run","spent":"0.0005"}
        "#]],
    );
}

#[test]
fn what_nobody_knows_counts_as_all_that_was_reserved() {
    let effect = format!("{{{ASK}, max_tokens: 90}}");
    for (outcome, spent) in [
        ("ok work {}", "usd $0.000925, tokens 100"),
        ("fail work timeout", "usd $0.000925, tokens 100"),
        ("fail work output_invalid", "usd $0.000925, tokens 100"),
        ("cancel", "usd $0.000925, tokens 100"),
        ("unknown work other\ngive-up work", "usd $0.000925, tokens 100"),
        (
            "unknown work other\nhappened work {\"usage\": {\"input_tokens\": 7}}",
            "usd $0.000018, tokens 7",
        ),
        ("fail work provider_unavailable", "calls 1"),
    ] {
        let body = RUN
            .replace("BUDGETS", "tokens: 1000, calls: 9")
            .replace("ON}", "}")
            .replace("EFFECT", &effect);
        let trace = super::trace(&body, outcome, traaviis_model::Value::empty_map());
        let settled = trace.lines().find(|it| it.contains("settle work")).unwrap_or_default();
        let found = settled.trim().trim_start_matches("settle work ").trim_end_matches(", calls 1");
        assert_eq!(found, spent, "{outcome}\n{trace}");
    }
}

#[test]
fn a_model_without_price_counts_as_nothing_in_money_and_is_named() {
    let effect = "{type: call_llm, tier: small, prompt: hi}";
    check_run(
        "usd: 1",
        BROKE,
        effect,
        "ok work {\"cost_usd\": 0.9}",
        expect![[r#"
            > start
              - -> a
              reserve work tokens 1001, calls 1; no price of tier small
              start work#1
            > ok work {"cost_usd": 0.9}
              settle work usd $0.90, tokens 1001, calls 1
              emit budget.warning {"effect_id":"work","kind":"usd","limit":"1.00","place":"","reserved":"0.00","scope":"run","spent":"0.90"}
              done work = {"cost_usd":0.9}
              done.invoke.work -> ok
              finished completed {"cost_usd":0.9}
        "#]],
    );
    // Other calls have no price, whatever they answer.
    let call = "{type: call, function: f}";
    check_run(
        "usd: 1",
        BROKE,
        call,
        "ok work {\"cost_usd\": 0.9}",
        expect![[r#"
        > start
          - -> a
          reserve work calls 1
          start work#1
        > ok work {"cost_usd": 0.9}
          settle work calls 1
          done work = {"cost_usd":0.9}
          done.invoke.work -> ok
          finished completed {"cost_usd":0.9}
    "#]],
    );
}

#[test]
fn side_by_side_calls_of_models_share_what_is_left() {
    let effect = format!(
        "{{type: batch, items: \"${{range(4)}}\", concurrency: 4, fail_fast: false, budget: {{tokens: 250}}, effect: {{{ASK}, max_tokens: 90}}}}"
    );
    check_run(
        "calls: 9",
        "",
        &effect,
        "ok work/body/0 {}\nok work/body/1 {}\nok work/body/2 {}",
        expect![[r#"
            > start
              - -> a
              reserve work/body/0 usd $0.000925, tokens 100, calls 1
              start work/body/0#1
              reserve work/body/1 usd $0.000925, tokens 100, calls 1
              start work/body/1#1
              exceeded effect `work` by work/body/2
              failed work/body/2: budget_exceeded
              exceeded effect `work` by work/body/3
              failed work/body/3: budget_exceeded
            > ok work/body/0 {}
              settle work/body/0 usd $0.000925, tokens 100, calls 1
              done work/body/0 = {}
            > ok work/body/1 {}
              settle work/body/1 usd $0.000925, tokens 100, calls 1
              emit budget.warning {"effect_id":"work/body/1","kind":"tokens","limit":250,"place":"work","reserved":0,"scope":"effect","spent":200}
              done work/body/1 = {}
              done work/body = [{"ok":{}},{"ok":{}},{"error":{"attempt":0,"cause":null,"code":"budget_exceeded","compensated":false,"compensations":[],"details":{"effect_id":"work/body/2","kind":"tokens","limit":250,"place":"work","reserved":200,"scope":"effect","spent":0},"kind":"call_llm","message":"effect `work` has a budget of `tokens: 250`; spent 0, reserved by what runs 200, and this attempt may need 74","path":"work/body/2","retryable":false}},{"error":{"attempt":0,"cause":null,"code":"budget_exceeded","compensated":false,"compensations":[],"details":{"effect_id":"work/body/3","kind":"tokens","limit":250,"place":"work","reserved":200,"scope":"effect","spent":0},"kind":"call_llm","message":"effect `work` has a budget of `tokens: 250`; spent 0, reserved by what runs 200, and this attempt may need 74","path":"work/body/3","retryable":false}}]
              done work = [{"ok":{}},{"ok":{}},{"error":{"attempt":0,"cause":null,"code":"budget_exceeded","compensated":false,"compensations":[],"details":{"effect_id":"work/body/2","kind":"tokens","limit":250,"place":"work","reserved":200,"scope":"effect","spent":0},"kind":"call_llm","message":"effect `work` has a budget of `tokens: 250`; spent 0, reserved by what runs 200, and this attempt may need 74","path":"work/body/2","retryable":false}},{"error":{"attempt":0,"cause":null,"code":"budget_exceeded","compensated":false,"compensations":[],"details":{"effect_id":"work/body/3","kind":"tokens","limit":250,"place":"work","reserved":200,"scope":"effect","spent":0},"kind":"call_llm","message":"effect `work` has a budget of `tokens: 250`; spent 0, reserved by what runs 200, and this attempt may need 74","path":"work/body/3","retryable":false}}]
              done.invoke.work -> ok
              finished completed [{"ok":{}},{"ok":{}},{"error":{"attempt":0,"cause":null,"code":"budget_exceeded","compensated":false,"compensations":[],"details":{"effect_id":"work/body/2","kind":"tokens","limit":250,"place":"work","reserved":200,"scope":"effect","spent":0},"kind":"call_llm","message":"effect `work` has a budget of `tokens: 250`; spent 0, reserved by what runs 200, and this attempt may need 74","path":"work/body/2","retryable":false}},{"error":{"attempt":0,"cause":null,"code":"budget_exceeded","compensated":false,"compensations":[],"details":{"effect_id":"work/body/3","kind":"tokens","limit":250,"place":"work","reserved":200,"scope":"effect","spent":0},"kind":"call_llm","message":"effect `work` has a budget of `tokens: 250`; spent 0, reserved by what runs 200, and this attempt may need 74","path":"work/body/3","retryable":false}}]
            > ok work/body/2 {}
        "#]],
    );
}

#[test]
fn what_a_model_costs_is_recorded_also_without_a_budget() {
    let effect = "{type: call_llm, provider: openai, model: gpt-4o, prompt: hi, max_tokens: 100}";
    let body = "initial: a\nstates:\n  a:\n    invoke: [{id: work, effect: EFFECT, onDone: ok}]\n  \
                ok: {type: final}\n";
    let told = r#"ok work {"text": "", "usage": {"input_tokens": 3, "output_tokens": 7}}"#;
    check(
        &body.replace("EFFECT", effect),
        told,
        expect![[r#"
        > start
          - -> a
          reserve work usd $0.001003, tokens 101, calls 1
          start work#1
        > ok work {"text": "", "usage": {"input_tokens": 3, "output_tokens": 7}}
          settle work usd $0.000078, tokens 10, calls 1
          done work = {"text":"","usage":{"input_tokens":3,"output_tokens":7}}
          done.invoke.work -> ok
          finished completed null
    "#]],
    );
    // Nothing is told of what asks no model.
    check(
        &body.replace("EFFECT", "{type: call, function: f}"),
        "ok work 1",
        expect![[r#"
        > start
          - -> a
          start work#1
        > ok work 1
          done work = 1
          done.invoke.work -> ok
          finished completed null
    "#]],
    );
}
