//! Gates in workflows, as tests of documents see them: on virtual time, over crashes.

use std::sync::Arc;

use traaviis_model::{
    DeliveryClass, TenantCtx,
    document::{self, Format},
};

use crate::{Machine, replay, testing::run};

/// Runs the tests of a document with one invoke.
fn check(effect: &str, tests: &str) {
    let text = format!(
        "traaviis: \"1\"\nname: Gated\nversion: 1.0.0\ninitial: working\nstates:\n  working:\n    \
         invoke:\n      - {{id: work, effect: {effect}, onDone: done, onError: failed}}\n    \
         on: {{stop: stopped}}\n  done: {{type: final, output: \"${{event.data}}\"}}\n  \
         stopped: {{type: final}}\n  failed: {{type: final, status: failed, output: \"${{event.data.code}}\"}}\n\
         events: {{stop: {{}}}}\ntests:\n{tests}"
    );
    let read = document::read(&text, Format::Yaml);
    let shown: Vec<String> = read.diagnostics.iter().map(ToString::to_string).collect();
    let definition = read.definition.unwrap_or_else(|| panic!("{}", shown.join("\n")));
    let machine = Machine::compile(Arc::new(definition)).unwrap_or_else(|it| panic!("{it:?}"));
    assert!(!machine.definition().tests.is_empty());
    for test in &machine.definition().tests {
        let class = |_: &str, _: &_| DeliveryClass::KeyedWrite;
        let run = run(&machine, &TenantCtx::for_test(1), test, &class);
        replay(&machine, &run.records).unwrap_or_else(|why| panic!("{}: {why}", test.name));
        let found: Vec<String> = run.findings.iter().map(ToString::to_string).collect();
        assert!(run.is_passed(), "{}: {}", test.name, found.join("\n"));
    }
}

#[test]
fn a_rate_limit_spreads_calls_over_time() {
    check(
        r#"{type: batch, items: [1, 2, 3, 4, 5], effect: {type: rate_limit, key: peer, requests: 2, window: 10s, effect: {type: call, function: ask}}}"#,
        r#"
  - {name: takes its time, mocks: {ask: {}}, steps: [{advance: 14s}], expect: {called: {ask: 4}, state: working}}
  - {name: comes to its end, mocks: {ask: {}}, steps: [{advance: 15s}], expect: {called: {ask: 5}, status: completed, min_virtual_delay: 15s}}
"#,
    );
    check(
        r#"{type: batch, fail_fast: false, items: [1, 2], effect: {type: call, function: ask, rate_limit: {key: peer, requests: 1, window: 10s, on_limit: fail}}}"#,
        r#"
  - {name: refuses, mocks: {ask: [7]}, expect: {called: {ask: 1}, status: completed}}
"#,
    );
}

#[test]
fn concurrency_lets_one_after_the_other_in_also_after_a_crash() {
    check(
        r#"{type: parallel, effects: {a: {type: call, function: f, concurrency: {key: k, limit: 1}}, b: {type: call, function: g, concurrency: {key: k, limit: 1}}}}"#,
        r#"
  - {name: never both, mocks: {f: [{value: 1, delay: 3s}], g: [{value: 2, delay: 3s}]}, steps: [{advance: 2s}], expect: {called: {f: 1}, not_called: [g]}}
  - {name: then the other, mocks: {f: [{value: 1, delay: 3s}], g: [{value: 2, delay: 3s}]}, steps: [{advance: 10s}], expect: {status: completed, order: [f, g], output: {a: 1, b: 2}}}
  - {name: a crash lets nobody else in, mocks: {f: [{value: 1, delay: 3s}], g: [{value: 2, delay: 3s}]}, steps: [{advance: 1s}, {crash: true}, {advance: 2s}], expect: {not_called: [g]}}
  - {name: who waited waits again, mocks: {f: [{value: 1, delay: 3s}], g: [{value: 2, delay: 3s}]}, steps: [{advance: 1s}, {crash: true}, {advance: 10s}], expect: {status: completed, output: {a: 1, b: 2}}}
  - {name: leaving the state frees the key, mocks: {f: [{value: 1, delay: 3s}], g: [{value: 2, delay: 3s}]}, steps: [{advance: 1s}, {send: stop}], expect: {state: stopped, not_called: [g]}}
"#,
    );
}

#[test]
fn a_breaker_saves_calls_and_tries_again() {
    check(
        r#"{type: retry, attempts: 6, backoff: constant, base_delay: 1s, max_delay: 60s, jitter: none, effect: {type: circuit_breaker, name: peer, failure_threshold: 2, recovery_timeout: 30s, effect: {type: call, function: ask}}}"#,
        r#"
  - {name: opens, mocks: {ask: [{error: {code: call_failed, retryable: true}}, {error: {code: call_failed, retryable: true}}, 7]}, steps: [{advance: 20s}], expect: {called: {ask: 2}, state: working}}
  - {name: closes, mocks: {ask: [{error: {code: call_failed, retryable: true}}, {error: {code: call_failed, retryable: true}}, 7]}, steps: [{advance: 60s}], expect: {called: {ask: 3}, status: completed, output: 7}}
"#,
    );
}

#[test]
fn a_cache_asks_once() {
    check(
        r#"{type: sequence, effects: [{type: batch, items: [a, b, a, b], effect: {type: cache, key: "${item}", ttl: 1m, effect: {type: call, function: ask}}}, {type: delay, duration: 2m}, {type: call, function: ask, cache: {key: a, ttl: 1m}}]}"#,
        r#"
  - {name: once for each key while it holds, mocks: {ask: [{value: 1, delay: 1s}, {value: 2, delay: 1s}, 3]}, steps: [{advance: 3m}], expect: {called: {ask: 3}, status: completed, output: [[1, 2, 1, 2], null, 3]}}
  - {name: a failure is not kept, mocks: {ask: {error: {code: x}}}, steps: [], expect: {called: {ask: 2}, status: failed, output: x}}
"#,
    );
}

#[test]
fn who_is_terminated_frees_what_it_held() {
    check(
        r#"{type: race, effects: [{type: timeout, duration: 2s, effect: {type: call, function: slow, concurrency: {key: k, limit: 1}}}, {type: sequence, effects: [{type: delay, duration: 3s}, {type: call, function: next, concurrency: {key: k, limit: 1}}]}]}"#,
        r#"
  - {name: after its timeout the key is free, mocks: {slow: [{value: 1, delay: 1m}], next: [2]}, steps: [{advance: 4s}], expect: {status: completed, called: {slow: 1, next: 1}}}
"#,
    );
}

#[test]
fn a_breaker_tells_how_it_changes() {
    check(
        r#"{type: retry, attempts: 6, backoff: constant, base_delay: 1s, max_delay: 60s, jitter: none, effect: {type: circuit_breaker, name: peer, failure_threshold: 2, recovery_timeout: 30s, effect: {type: call, function: ask}}}"#,
        r#"
  - {name: opens, mocks: {ask: [{error: {code: call_failed, retryable: true}}, {error: {code: call_failed, retryable: true}}]}, steps: [{advance: 20s}], expect: {emitted: [{event: traaviis.breaker, data: {name: peer, from: closed, to: open}}]}}
  - {name: is tried, mocks: {ask: [{error: {code: call_failed, retryable: true}}, {error: {code: call_failed, retryable: true}}, 7]}, steps: [{advance: 60s}], expect: {status: completed, emitted: [{event: traaviis.breaker, data: {to: open}}, {event: traaviis.breaker, data: {from: open, to: half_open}}]}}
"#,
    );
    let two = r#"{type: circuit_breaker, name: peer, failure_threshold: 1, recovery_timeout: 1s, effect: {type: call, function: ask}}"#;
    check(
        &format!(
            "{{type: sequence, returns: last, effects: [{{type: batch, fail_fast: false, items: [1, 2], concurrency: 1, effect: {two}}}, {{type: delay, duration: 2s}}, {{type: batch, items: [1, 2], concurrency: 1, effect: {two}}}]}}"
        ),
        r#"
  - {name: closes, mocks: {ask: [{error: {code: x}}, 7, 8]}, steps: [{advance: 10s}], expect: {status: completed, output: [7, 8], emitted: [{event: traaviis.breaker, data: {from: closed, to: open}}, {event: traaviis.breaker, data: {from: open, to: half_open}}, {event: traaviis.breaker, data: {from: half_open, to: closed}}]}}
"#,
    );
}

#[test]
fn an_event_makes_cached_values_stale() {
    let ask = r#"{type: call, function: ask, cache: {key: a, invalidate_on: [prices.changed]}}"#;
    let effect = format!(
        "{{type: sequence, effects: [{ask}, {ask}, {{type: emit, event: prices.checked}}, {ask}, {{type: emit, event: prices.changed}}, {ask}, {ask}]}}"
    );
    check(
        &effect,
        r#"
  - {name: asks again after the event alone, mocks: {ask: [1, 2]}, expect: {status: completed, called: {ask: 2}, output: [1, 1, null, 1, null, 2, 2]}}
"#,
    );
    let running = format!(
        "{{type: sequence, returns: last, effects: [{{type: parallel, effects: [{ask}, {{type: sequence, effects: [{{type: delay, duration: 1s}}, {{type: emit, event: prices.changed}}]}}]}}, {ask}]}}"
    );
    check(
        &running,
        r#"
  - {name: what was asked before the event is not kept, mocks: {ask: [{value: 1, delay: 3s}, 2]}, steps: [{advance: 6s}], expect: {status: completed, called: {ask: 2}, output: 2}}
"#,
    );
}
