//! Test cases of documents: what passes, what each failing expectation says, what is covered, and
//! that the tests of the examples notice a changed guard.

use std::sync::Arc;

use expect_test::{Expect, expect};
use traaviis_model::{
    DeliveryClass, TenantCtx, Value,
    definition::{Candidate, Definition, State, StateKind},
    document::{self, Format},
};

use crate::{
    Machine,
    machine::Schema,
    replay,
    testing::{Coverage, run},
};

const EXAMPLES: [(&str, &str); 3] = [
    ("door", include_str!("../../../../catalogue/workflows/SmartDoor.yaml")),
    ("delivery-tour", include_str!("../../../../examples/delivery-tour/workflow.yaml")),
    ("order-saga", include_str!("../../../../examples/order-saga/workflow.yaml")),
];

/// Transitions of the examples that no test can reach: effects that never fail.
const OUT_OF_REACH: [&str; 2] =
    ["loading: onError of prepare → failed", "signing: onError of sign → failed"];

/// Runs every test of a document; each line is a test with its findings.
fn outcome(machine: &Machine) -> (String, Coverage) {
    let mut text = String::new();
    let mut coverage = Coverage::of(machine);
    for test in &machine.definition().tests {
        let run = run(machine, &TenantCtx::for_test(1), test, &class);
        if !run.records.is_empty() {
            replay(machine, &run.records).unwrap_or_else(|why| panic!("{}: {why}", test.name));
        }
        coverage.add_run(&run);
        text += &format!("{}: {} after {}\n", test.name, word(run.is_passed()), run.elapsed);
        for finding in &run.findings {
            text += &format!("  {}: {finding}\n", finding.pointer);
        }
    }
    (text, coverage)
}

/// Functions honour the key, other calls do not.
fn class(kind: &str, _: &Value) -> DeliveryClass {
    match kind {
        "call" => DeliveryClass::KeyedWrite,
        _ => DeliveryClass::OtherWrite,
    }
}

fn word(is_passed: bool) -> &'static str {
    if is_passed { "passed" } else { "failed" }
}

fn check(body: &str, expected: Expect) {
    let machine = super::machine(&super::with_head(body));
    expected.assert_eq(&outcome(&machine).0);
}

fn example(text: &str) -> Definition {
    document::read(text, Format::Yaml).definition.unwrap()
}

#[test]
fn the_tests_of_the_examples_pass_and_reach_everything() {
    for (name, text) in EXAMPLES {
        let machine = Machine::compile(Arc::new(example(text))).unwrap();
        let (outcome, coverage) = outcome(&machine);
        assert!(!outcome.contains("failed"), "{name}\n{outcome}");
        let missed: Vec<String> = coverage
            .candidates
            .iter()
            .filter(|it| {
                it.taken == 0
                    || it.guard.as_ref().is_some_and(|(_, it)| it.when_true * it.when_false == 0)
            })
            .filter(|it| !OUT_OF_REACH.contains(&&*it.name))
            .map(|it| format!("{it:?}\n"))
            .collect();
        assert!(missed.is_empty(), "{name} does not reach\n{}", missed.concat());
    }
}

/// Every guard of the examples, turned into its opposite, makes a test of its document fail.
#[test]
fn a_negated_guard_makes_a_test_fail() {
    let mut guards = 0;
    for (name, text) in EXAMPLES {
        for at in 0.. {
            let mut definition = example(text);
            let Some(guard) = negate(&mut definition.states, at) else { break };
            guards += 1;
            let machine = Machine::compile(Arc::new(definition)).unwrap();
            let found = outcome(&machine).0;
            assert!(found.contains("failed"), "{name}: nobody notices that `{guard}` is negated");
        }
    }
    assert_eq!(guards, 7);
}

#[test]
fn the_schema_for_editors_takes_the_tests_of_the_examples() {
    let schema: Value = serde_json::from_str(document::WORKFLOW_SCHEMA).unwrap();
    let schema = Schema::compile(&schema).unwrap();
    let errors = |document: &str| schema.errors(&serde_json::from_str(document).unwrap());
    for (name, text) in EXAMPLES {
        let document = example(text).document;
        assert_eq!(errors(document.as_str().unwrap()), Vec::<String>::new(), "{name}");
    }
    let head =
        r#""traaviis": "1", "name": "A", "version": "1.0.0", "initial": "s", "states": {"s": {}}"#;
    for test in [
        r#"{"name": "a"}"#,
        r#"{"name": "a", "expect": {}}"#,
        r#"{"name": "a", "expect": {"stat": "s"}}"#,
        r#"{"name": "a", "expect": {"state": "s"}, "steps": [{"advance": "1s", "crash": true}]}"#,
    ] {
        assert!(!errors(&format!("{{{head}, \"tests\": [{test}]}}")).is_empty(), "{test}");
    }
}

/// Negates the guard at position `at` of a document; returns it, or nothing when there is none.
fn negate(states: &mut [State], at: usize) -> Option<String> {
    let mut guards = Vec::new();
    states.iter_mut().for_each(|it| collect(it, &mut guards));
    let guard = guards.into_iter().nth(at)?.guard.as_mut()?;
    let was = guard.to_string();
    *guard = format!("!({was})").into();
    Some(was)
}

fn collect<'d>(state: &'d mut State, guarded: &mut Vec<&'d mut Candidate>) {
    let invokes = state.invoke.iter_mut().flat_map(|it| {
        it.on_done.iter_mut().chain(it.on_error.iter_mut()).chain(it.on_progress.iter_mut())
    });
    let all = state
        .on
        .iter_mut()
        .flat_map(|(_, it)| it)
        .chain(state.always.iter_mut())
        .chain(state.after.iter_mut().flat_map(|it| &mut it.candidates))
        .chain(invokes)
        .chain(state.on_done.iter_mut())
        .chain(state.on_error.iter_mut());
    guarded.extend(all.filter(|it| it.guard.is_some()));
    if let StateKind::Compound { states, .. } | StateKind::Parallel { states } = &mut state.kind {
        states.iter_mut().for_each(|it| collect(it, guarded));
    }
}

/// One call, which several tests below make.
const CALLING: &str = r#"
initial: asking
events: {stop: {}, never: {}}
states:
  asking:
    on: {stop: stopped}
    after: {1m: {target: late}}
    invoke:
      - id: ask
        effect: {type: call, function: shop.ask, args: {}, timeout: 30s, retry: {attempts: 3, backoff: constant, base_delay: 10s, jitter: none}}
        onDone: {target: answered, actions: [{emit: {event: shop.answered, data: {got: "${result}"}}}]}
        onError: [{target: odd, guard: "event.data.code == 'odd'"}, {target: broken}]
  answered: {type: final, output: {ok: true}}
  odd: {type: final, status: failed}
  broken: {type: final, status: failed}
  stopped: {type: final, status: cancelled}
  late: {type: final, status: failed}
tests:
"#;

fn check_calling(tests: &str, expected: Expect) {
    check(&format!("{CALLING}{tests}"), expected);
}

#[test]
fn a_call_without_a_mock_or_answer_fails_the_test() {
    check_calling(
        r#"
  - {name: no mock, expect: {status: completed}}
  - {name: too few, mocks: {ask: [{error: {code: network_error}}]}, steps: [{advance: 10s}], expect: {status: completed}}
  - {name: a slip, mocks: {shop.aks: [1], ask: [1]}, expect: {status: completed, not_called: [shop.tell]}}
"#,
        expect![[r#"
            no mock: failed after 0s
              /tests/0: expected a mock for function `shop.ask` at `ask`, found none; add `shop.ask` under `mocks`
            too few: failed after 10s
              /tests/1/mocks/ask: expected no more calls than the 1 answer of `ask`, found one more: attempt 2 of function `shop.ask` at `ask`
            a slip: failed after 0s
              /tests/2/mocks/shop.aks: expected `shop.aks` to name an effect or a function, found none of this name; did you mean `ask`?
              /tests/2/expect/not_called: expected `shop.tell` to name an effect or a function, found none of this name
        "#]],
    );
}

#[test]
fn answers_come_in_order_and_in_their_time() {
    check_calling(
        r#"
  - {name: at once, mocks: {ask: [1]}, expect: {status: completed, output: {ok: true}, emitted: [{event: shop.answered, data: {got: 1}}]}}
  - {name: by function, mocks: {shop.ask: [1]}, expect: {status: completed, called: {shop.ask: 1, ask: 1}}}
  - name: after failures
    mocks: {ask: [{error: {code: network_error}}, {error: {code: timeout}}, 7]}
    steps: [{advance: 10s}, {advance: 10s}]
    expect: {status: completed, called: {ask: 3}, min_virtual_delay: 20s, emitted: {event: shop.answered, data: {got: 7}}}
  - {name: too slow, mocks: {ask: {delay: 30s, value: 1}}, steps: [{advance: 1h}], expect: {state: late, called: {ask: 2}}}
  - {name: still waiting, mocks: {ask: [{delay: 29s}]}, steps: [{advance: 28s}], expect: {state: asking, status: running, called: {ask: 1}}}
  - {name: refused, mocks: {ask: [{error: {code: odd}}]}, expect: {state: odd, status: failed}}
  - {name: called off, mocks: {ask: [{delay: 20s}]}, steps: [{send: stop}, {advance: 1h}], expect: {status: cancelled}}
"#,
        expect![[r#"
            at once: passed after 0s
            by function: passed after 0s
            after failures: passed after 20s
            too slow: passed after 1m
            still waiting: passed after 0s
            refused: passed after 0s
            called off: passed after 0s
        "#]],
    );
}

#[test]
fn every_expectation_says_what_was_there() {
    check_calling(
        r#"
  - name: everything wrong
    mocks: {ask: [1]}
    expect:
      state: [asking, broken]
      status: failed
      data: {a: 1}
      output: {ok: {deep: 1}, more: [1]}
      called: {ask: 2, shop.ask: 1}
      not_called: shop.ask
      order: [ask, ask]
      overlap: [ask, shop.ask, ask]
      min_virtual_delay: 1s
      emitted: [shop.answered, {event: shop.answered, data: {got: 2}}]
  - {name: still open, mocks: {ask: [{delay: 1s}]}, expect: {status: completed}}
  - {name: event refused, mocks: {ask: [{delay: 1s}]}, steps: [{send: never}], expect: {status: completed}}
  - {name: event unknown, mocks: {ask: [{delay: 1s}]}, steps: [{send: nothing, refused: event_not_accepted}], expect: {status: completed}}
  - {name: event taken, mocks: {ask: [{delay: 1s}]}, steps: [{send: stop, refused: event_not_accepted}], expect: {status: completed}}
"#,
        expect![[r#"
            everything wrong: failed after 0s
              /tests/0/expect/state: expected state `asking`, `broken`, found state `answered`
              /tests/0/expect/status: expected status `failed`, found `completed` in state `answered`
              /tests/0/expect/data/a: expected `data.a` to be 1, found nothing
              /tests/0/expect/output/more: expected `output.more` to be [1], found nothing
              /tests/0/expect/output/ok: expected `output.ok` to be {"deep":1}, found true
              /tests/0/expect/called/ask: expected 2 calls of `ask`, found 1 call
              /tests/0/expect/not_called: expected no call of `shop.ask`, found 1 call
              /tests/0/expect/order: expected the order `ask`, `ask`, found `ask`
              /tests/0/expect/overlap: expected `ask`, `shop.ask`, `ask` at the same moment, found one only after another
              /tests/0/expect/min_virtual_delay: expected at least 1s from start to end, found 0s
              /tests/0/expect/emitted: expected event `shop.answered` emitted with {"got":2}, found `shop.answered` with {"got":1}
            still open: failed after 0s
              /tests/1/expect/status: expected status `completed`, found `running` in state `asking`; its next timer is due in 1m; call `ask` is not answered yet
            event refused: failed after 0s
              /tests/2/steps/0: expected event `never` to be taken, found state `asking` does not accept event `never` now; accepted are: stop (event_not_accepted)
            event unknown: failed after 0s
              /tests/3/steps/0: expected event `nothing` to be refused with `event_not_accepted`, found event `nothing` is not declared in workflow `Test`; declared are: never, stop (unknown_event)
            event taken: failed after 0s
              /tests/4/steps/0: expected event `stop` to be refused with `event_not_accepted`, found it taken, in state `stopped`
        "#]],
    );
}

#[test]
fn a_crash_loses_nothing_and_its_answer_comes_again() {
    check_calling(
        r#"
  - {name: keyed, mocks: {ask: [{delay: 5s, value: 1}]}, steps: [{advance: 4s}, {crash: true}, {advance: 4s}, {crash: true}, {advance: 5s}], expect: {status: completed, called: {ask: 3}, min_virtual_delay: 13s}}
  - {name: at rest, mocks: {ask: [1]}, steps: [{crash: true}], expect: {status: completed, called: {ask: 1}}}
  - {name: between tries, mocks: {ask: [{error: {code: timeout}}, 1]}, steps: [{advance: 5s}, {crash: true}, {advance: 5s}], expect: {status: completed, called: {ask: 2}}}
"#,
        expect![[r#"
            keyed: passed after 13s
            at rest: passed after 0s
            between tries: passed after 10s
        "#]],
    );
}

#[test]
fn what_nobody_can_repeat_waits_for_a_person_after_a_crash() {
    check(
        r#"
initial: asking
states:
  asking:
    invoke: [{id: ask, effect: {type: call_api, url: "https://example.com/", method: post}, onDone: done}]
  done: {type: final}
tests:
  - {name: asked, mocks: {ask: [{delay: 5s, value: {status: 200}}]}, steps: [{crash: true}, {advance: 1h}], expect: {status: incident, called: {ask: 1}}}
  - {name: not asked, expect: {status: completed}}
"#,
        expect![[r#"
            asked: passed after 0s
            not asked: failed after 0s
              /tests/1: expected a mock for `call_api` to `https://example.com/` at `ask`, found none; add `ask` under `mocks`
        "#]],
    );
}

#[test]
fn what_runs_at_once_overlaps() {
    let body = |kind: &str| {
        format!(
            r#"
initial: asking
states:
  asking:
    invoke:
      - id: both
        effect:
          type: {kind}
          effects:
            left: {{type: call, function: f, args: {{}}}}
            right: {{type: call, function: f, args: {{}}}}
        onDone: done
  done: {{type: final}}
tests:
  - {{name: together, mocks: {{f: {{delay: 1s, value: 1}}}}, steps: [{{advance: 2s}}], expect: {{status: completed, overlap: [[left, right], [f, f], [both, left]], called: {{f: 2}}}}}}
"#
        )
    };
    check(
        &body("parallel"),
        expect![[r#"
            together: passed after 1s
        "#]],
    );
    check(
        &body("sequence"),
        expect![[r#"
            together: failed after 2s
              /tests/0/expect/overlap: expected `left`, `right` at the same moment, found one only after another
              /tests/0/expect/overlap: expected `f`, `f` at the same moment, found one only after another
        "#]],
    );
}

#[test]
fn thirty_days_pass_with_a_crash_before_their_end() {
    check(
        r#"
initial: trying
data: {initial: {days: 0}}
states:
  trying:
    after: {30d: over}
    initial: day
    states:
      day: {after: {1d: {target: day, actions: [{assign: {days: "${data.days + 1}"}}]}}}
  over: {type: final, output: {days: "${data.days}"}}
tests:
  - {name: a month, steps: [{advance: 29d}, {crash: true}, {advance: 1d}], expect: {status: completed, min_virtual_delay: 30d}}
"#,
        expect![[r#"
            a month: passed after 30d
        "#]],
    );
}

#[test]
fn timers_without_end_fail_the_test() {
    check(
        r#"
initial: a
states: {a: {after: {0s: {target: a}}}}
tests: [{name: spins, expect: {state: a}}]
"#,
        expect![[r#"
            spins: failed after 0s
              /tests/0: expected the run to come to rest, found 10000 answers and timers at one moment
        "#]],
    );
}

#[test]
fn coverage_counts_transitions_and_both_outcomes_of_guards() {
    let machine = super::machine(&super::with_head(
        r#"
initial: a
data: {initial: {n: 0}}
events: {go: {}}
states:
  a:
    on:
      go:
        - {target: b, guard: "data.n > 1"}
        - {guard: "event.data.odd", target: c}
        - {guard: "data.n < 1", actions: [{assign: {n: "${data.n + 1}"}}]}
  b: {type: final}
  c: {type: final}
tests:
  - {name: one, steps: [{send: go, data: {odd: false}}, {send: go, data: {odd: false}, refused: event_not_accepted}], expect: {state: a}}
"#,
    ));
    let coverage = outcome(&machine).1;
    let lines: Vec<String> = coverage
        .candidates
        .iter()
        .map(|it| format!("{} taken {} {:?}", it.name, it.taken, it.guard))
        .collect();
    expect![[r#"
        a: on go → b taken 0 Some(("data.n > 1", GuardCounts { when_true: 0, when_false: 2 }))
        a: on go → c taken 0 Some(("event.data.odd", GuardCounts { when_true: 0, when_false: 2 }))
        a: on go taken 1 Some(("data.n < 1", GuardCounts { when_true: 1, when_false: 1 }))"#]]
    .assert_eq(&lines.join("\n"));
    let (transitions, guards) = (coverage.transitions(), coverage.guard_outcomes());
    assert_eq!((transitions.covered, transitions.total, transitions.percent()), (1, 3, 33));
    assert_eq!((guards.covered, guards.total, guards.percent()), (4, 6, 66));
}

#[test]
fn what_budgets_came_to_is_compared() {
    let body = |budgets: &str| {
        format!(
            "budgets: {{calls: 5, wall_time: 1m}}
initial: a
states:
  a:
    budgets: {{calls: 4}}
    invoke: [{{id: w, effect: {{type: sequence, effects: [{{type: call, function: f}}, {{type: call, function: g, timeout: 9s}}]}}, onDone: b, onError: b}}]
  b: {{type: final}}
tests:
  - name: t
    mocks: {{f: {{value: 1, delay: 2s}}, g: {{value: 1, delay: 1h}}}}
    steps: [{{advance: 3s}}]
    expect: {{budgets: {{{budgets}}}}}
"
        )
    };
    check(
        &body(
            "run: {spent: {calls: 1, wall_time: 2s}, reserved: {calls: 1, wall_time: 9s}}, a: {spent: {calls: 1}}",
        ),
        expect![[r#"
            t: passed after 2s
        "#]],
    );
    check(
        &body("run: {spent: {calls: 2}, reserved: {wall_time: 8s}}, w: {spent: {calls: 0}}"),
        expect![[r#"
            t: failed after 2s
              /tests/0/expect/budgets/run/spent/calls: expected spent `calls: 2` of `run`, found 1
              /tests/0/expect/budgets/run/reserved/wall_time: expected reserved `wall_time: 8s` of `run`, found 9s
              /tests/0/expect/budgets/w: expected a budget of `w`, found none
        "#]],
    );
}

/// Calls of models, one after the other, then one that is never answered.
fn asking(model: &str, tests: &str) -> String {
    format!(
        "initial: a
states:
  a:
    invoke:
      - id: w
        effect:
          type: sequence
          effects:
            - {{id: one, type: call_llm, {model}, prompt: abcd, max_tokens: 99, retry: {{attempts: 2, backoff: constant, base_delay: 1s, jitter: none}}}}
            - {{id: two, type: call_llm, {model}, prompt: abcd, max_tokens: 99}}
        onDone: b
        onError: b
  b: {{type: final}}
tests:
{tests}"
    )
}

#[test]
fn max_usd_is_what_outcomes_say_and_the_most_where_they_say_nothing() {
    check(
        &asking(
            "model: gpt-4o",
            r#"
  - {name: told, mocks: {one: {cost_usd: 0.01}, two: {cost_usd: "0.02"}}, expect: {status: completed, max_usd: 0.03}}
  - {name: more, mocks: {one: {cost_usd: 0.01}, two: {cost_usd: "0.020001"}}, expect: {max_usd: 0.03}}
  - {name: by tokens, mocks: {one: {usage: {input_tokens: 1000, output_tokens: 100}}, two: {cost_usd: 0}}, expect: {max_usd: 0.0034}}
  - {name: the most, mocks: {one: {text: hi}, two: {cost_usd: 0}}, expect: {max_usd: 0.0009}}
  - {name: every try, mocks: {one: [{error: {code: timeout}}, {cost_usd: 1}], two: {cost_usd: 0}}, steps: [{advance: 1s}], expect: {max_usd: 1}}
  - {name: refusals are free, mocks: {one: {error: {code: llm_error}}}, expect: {max_usd: 0}}
  - {name: a crash, mocks: {one: [{delay: 5s, value: {cost_usd: 0}}], two: {cost_usd: 0}}, steps: [{crash: true}, {advance: 5s}], expect: {max_usd: 0}}
"#,
        ),
        expect![[r#"
            told: passed after 0s
            more: failed after 0s
              /tests/1/expect/max_usd: expected a cost of at most $0.03, found $0.030001
            by tokens: failed after 0s
              /tests/2/expect/max_usd: expected a cost of at most $0.0034, found $0.0035
            the most: failed after 0s
              /tests/3/expect/max_usd: expected a cost of at most $0.0009, found $0.000993
            every try: failed after 1s
              /tests/4/expect/max_usd: expected a cost of at most $1.00, found $1.000993
            refusals are free: passed after 0s
            a crash: failed after 0s
              /tests/6/expect/max_usd: expected a cost of at most $0.00, found $0.000993
        "#]],
    );
    check(
        &asking(
            "tier: small",
            r#"
  - {name: no price, mocks: {one: {text: hi}, two: {cost_usd: 0}}, expect: {max_usd: 1}}
  - {name: told, mocks: {one: {cost_usd: 0.5}, two: {cost_usd: 0.5}}, expect: {max_usd: 1}}
"#,
        ),
        expect![[r#"
            no price: failed after 0s
              /tests/0/expect/max_usd: expected a cost of at most $1.00, found no price for model `tier small` of `w/0`; let its mock say `cost_usd`
            told: passed after 0s
        "#]],
    );
}

#[test]
fn money_of_a_budget_is_compared() {
    check(
        &format!(
            "budgets: {{usd: 1, tokens: 500}}\n{}",
            asking(
                "model: gpt-4o",
                r#"
  - {name: so much, mocks: {one: {cost_usd: 0.01, usage: {input_tokens: 5}}, two: {delay: 1h}}, expect: {budgets: {run: {spent: {usd: 0.01, tokens: 5}, reserved: {tokens: 100}}}}}
  - {name: otherwise, mocks: {one: {cost_usd: 0.01, usage: {input_tokens: 5}}, two: {delay: 1h}}, expect: {budgets: {run: {spent: {usd: "0.02", tokens: 6}}}}}
"#
            )
        ),
        expect![[r#"
            so much: passed after 0s
            otherwise: failed after 0s
              /tests/1/expect/budgets/run/spent/usd: expected spent `usd: $0.02` of `run`, found $0.01
              /tests/1/expect/budgets/run/spent/tokens: expected spent `tokens: 6` of `run`, found 5
        "#]],
    );
}

#[test]
fn calls_of_models_have_the_time_of_their_kind() {
    for (effect, seconds) in [
        ("type: call_llm, prompt: a", 60),
        ("type: mcp_call, server: a, tool: b", 60),
        ("type: embed_text, text: a", 30),
        ("type: invoke_agent, agent: a, task: b", 180),
        ("type: coordinate_agents, agents: [{id: a, role: b, task: c}]", 300),
        ("type: call, function: f", 5),
        ("type: call_api, url: 'https://a.example/'", 30),
    ] {
        let body = format!(
            "initial: a\nstates:\n  a: {{invoke: [{{id: w, effect: {{{effect}}}, onError: b}}]}}\n  b: {{type: final}}\ntests:\n  - {{name: just before, mocks: {{w: {{delay: 1h}}}}, steps: [{{advance: {}s}}], expect: {{status: running}}}}\n  - {{name: then, mocks: {{w: {{delay: 1h}}}}, steps: [{{advance: {seconds}s}}], expect: {{status: completed}}}}\n",
            seconds - 1
        );
        let found = outcome(&super::machine(&super::with_head(&body))).0;
        assert!(!found.contains("failed"), "{effect}\n{found}");
    }
}

#[test]
fn a_missing_mock_is_named_so_that_it_can_be_added() {
    let body = |effect: &str| {
        format!(
            "initial: a\nstates:\n  a: {{invoke: [{{id: w, effect: {effect}, onError: b, onDone: b}}]}}\n  b: {{type: final}}\ntests:\n  - {{name: t, expect: {{status: completed}}}}\n"
        )
    };
    let ask = "{type: call_llm, prompt: a}";
    check(
        &body(ask),
        expect![[r#"
        t: failed after 0s
          /tests/0: expected a mock for `call_llm` at `w`, found none; add `w` under `mocks`
    "#]],
    );
    check(
        &body(&format!("{{type: sequence, effects: [{ask}]}}")),
        expect![[r#"
        t: failed after 0s
          /tests/0: expected a mock for `call_llm` at `w/0`, found none; give the effect an `id` and add it, or `w/0`, under `mocks`
    "#]],
    );
    check(
        &body(&format!("{{type: timeout, duration: 1s, effect: {ask}}}")),
        expect![[r#"
        t: failed after 0s
          /tests/0: expected a mock for `call_llm` at `w/body`, found none; give the effect an `id` and add it, or `w/body`, under `mocks`
    "#]],
    );
    check(
        &body("{type: parallel, effects: {mood: {type: call_llm, prompt: a}}}"),
        expect![[r#"
        t: failed after 0s
          /tests/0: expected a mock for `call_llm` at `w/mood`, found none; add `mood` under `mocks`
    "#]],
    );
    check(
        &body("{type: sequence, effects: [{id: ask, type: call_llm, prompt: a}]}"),
        expect![[r#"
            t: failed after 0s
              /tests/0: expected a mock for `call_llm` at `w/0`, found none; add `ask` under `mocks`
        "#]],
    );
}

#[test]
fn incidents_are_named_by_their_kind_and_a_batch_keeps_its_form() {
    check(
        r#"
initial: a
states:
  a:
    invoke:
      - id: w
        effect: {type: batch, fail_fast: false, items: [1, 2, 3, 4], effect: {id: f, type: call_api, url: "https://a.example/", method: post, when: item < 4}}
        onDone: b
  b: {type: final, output: "${event.data.map(it, has(it.ok) ? it.ok : it.error.code)}"}
tests:
  - {name: two wait for a person, mocks: {f: [{delay: 1s, value: 1}, {delay: 1s, value: 2}, {error: {code: x}}]}, steps: [{crash: true}], expect: {status: incident, incidents: [unknown_outcome, unknown_outcome]}}
  - {name: otherwise, mocks: {f: [{delay: 1s, value: 1}, {delay: 1s, value: 2}, {error: {code: x}}]}, steps: [{crash: true}], expect: {incidents: [unknown_outcome, effect_failed]}}
  - {name: none, mocks: {f: 1}, expect: {incidents: []}}
  - {name: none but there is one, mocks: {f: [{delay: 1s, value: 1}, 2, 3]}, steps: [{crash: true}], expect: {incidents: []}}
  - name: each has its own form
    mocks: {f: [{delay: 1s, value: 1}, {delay: 1s, value: 2}, {error: {code: x}}]}
    steps: [{crash: true}, {resolve: w/0, as: {happened: 7}}, {resolve: w/1, as: fail}]
    expect: {status: completed, incidents: [], output: [7, unknown_outcome, x, null]}
"#,
        expect![[r#"
            two wait for a person: passed after 0s
            otherwise: failed after 0s
              /tests/1/expect/incidents: expected open incidents `effect_failed`, `unknown_outcome`, found `unknown_outcome` at `w/0` (attempt 1 of `w/0` was running when the process stopped; nobody recorded whether it happened), `unknown_outcome` at `w/1` (attempt 1 of `w/1` was running when the process stopped; nobody recorded whether it happened)
            none: passed after 0s
            none but there is one: failed after 0s
              /tests/3/expect/incidents: expected no open incident, found `unknown_outcome` at `w/0` (attempt 1 of `w/0` was running when the process stopped; nobody recorded whether it happened)
            each has its own form: passed after 0s
        "#]],
    );
}

#[test]
fn people_have_names_and_are_reminded_on_the_virtual_clock() {
    check(
        r#"
initial: asking
states:
  asking:
    invoke:
      - id: ask
        effect:
          type: approval
          title: Pay?
          assignees: [ann]
          deadline: 4d
          reminders: [1d, {before: 1d}]
          escalation: {after: 2d, to: [boss]}
        onDone: {target: paid}
        onError: {target: off}
  paid: {type: final, output: "${event.data.by}"}
  off: {type: final}
tests:
  - name: whoever asks does not answer
    by: bob
    steps:
      - {complete_task: ask, with: {outcome: approved, by: bob}, refused: separation_of_duties}
      - {complete_task: ask, with: {outcome: approved}, refused: separation_of_duties}
      - {complete_task: ask, with: {outcome: approved, by: ann}}
    expect: {output: user:ann}
  - name: nobody in particular is anybody
    steps: [{complete_task: ask, with: {outcome: approved}}]
    expect: {status: completed}
  - name: the boss is told after a crash, and once
    steps: [{advance: 1d}, {crash: true}, {advance: 1d}, {crash: true}, {advance: 1d}]
    expect:
      emitted:
        - {event: traaviis.task_reminded, data: {number: 1, assignees: [ann]}}
        - {event: traaviis.task_escalated, data: {to: [boss]}}
        - {event: traaviis.task_reminded, data: {number: 2, assignees: [ann, boss]}}
  - name: nobody was told
    steps: [{advance: 1d}]
    expect: {emitted: [{event: traaviis.task_escalated}]}
"#,
        expect![[r#"
            whoever asks does not answer: passed after 0s
            nobody in particular is anybody: passed after 0s
            the boss is told after a crash, and once: passed after 3d
            nobody was told: failed after 1d
              /tests/3/expect/emitted: expected event `traaviis.task_escalated` emitted, found `traaviis.task_reminded` with {"assignees":["ann"],"due":"1970-01-05T00:00:00.000000Z","instance_id":"00000000-0000-0000-0000-000000000001","number":1,"path":"ask","title":"Pay?","workflow":"Test"}
        "#]],
    );
}
