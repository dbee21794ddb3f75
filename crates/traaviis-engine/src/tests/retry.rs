//! Tries, waits, timeouts, unknown outcomes.

use expect_test::expect;

use super::check;

const CALL: &str = r#"
initial: a
errors: {unhandled: fail}
states:
  a:
    invoke:
      - id: pay
        effect: {type: call, function: f, args: {}, KEYS}
        onDone: {target: ok}
        onError: {target: bad}
  ok: {type: final}
  bad: {type: final, status: failed, output: "${event.data.code}"}
"#;

fn check_call(keys: &str, script: &str, expected: expect_test::Expect) {
    check(&CALL.replace("KEYS", keys), script, expected);
}

#[test]
fn backoffs_grow_as_documented_and_no_wait_follows_the_last_try() {
    check_call(
        "retry: {attempts: 4, backoff: fibonacci, base_delay: 1s, jitter: none}",
        "fail pay boom retryable\n+1s\nfail pay boom retryable\n+1s\nfail pay boom retryable\n+2s\nfail pay boom retryable",
        expect![[r#"
            > start
              - -> a
              start pay#1
            > fail pay boom retryable
              pay#1 failed: boom, next at 1s
            > at 1s
              start pay#2
            > fail pay boom retryable
              pay#2 failed: boom, next at 2s
            > at 2s
              start pay#3
            > fail pay boom retryable
              pay#3 failed: boom, next at 4s
            > at 4s
              start pay#4
            > fail pay boom retryable
              failed pay: max_retries_exceeded <- boom
              error.invoke.pay -> bad
              finished failed "max_retries_exceeded"
        "#]],
    );
}

#[test]
fn an_error_that_is_not_retryable_is_told_at_once() {
    check_call(
        "retry: {attempts: 4}",
        "fail pay refused",
        expect![[r#"
            > start
              - -> a
              start pay#1
            > fail pay refused
              failed pay: refused
              error.invoke.pay -> bad
              finished failed "refused"
        "#]],
    );
}

#[test]
fn unknown_outcomes_are_retried_asked_or_failed() {
    check_call(
        "",
        "unknown pay keyed\nok pay 1",
        expect![[r#"
            > start
              - -> a
              start pay#1
            > unknown pay keyed
              unknown pay: retry
              start pay#2
            > ok pay 1
              done pay = 1
              done.invoke.pay -> ok
              finished completed null
        "#]],
    );
    check_call(
        "",
        "unknown pay other\nhappened pay 7",
        expect![[r#"
            > start
              - -> a
              start pay#1
            > unknown pay other
              unknown pay: ask
              incident unknown_outcome pay
            > happened pay 7
              resolved unknown_outcome: happened
              done pay = 7
              done.invoke.pay -> ok
              finished completed null
        "#]],
    );
    check_call(
        "on_unknown: ask",
        "unknown pay keyed\nretry pay\nok pay 1",
        expect![[r#"
            > start
              - -> a
              start pay#1
            > unknown pay keyed
              unknown pay: ask
              incident unknown_outcome pay
            > retry pay
              resolved unknown_outcome: retry
              start pay#2
            > ok pay 1
              done pay = 1
              done.invoke.pay -> ok
              finished completed null
        "#]],
    );
    check_call(
        "on_unknown: fail",
        "unknown pay keyed",
        expect![[r#"
            > start
              - -> a
              start pay#1
            > unknown pay keyed
              unknown pay: fail
              failed pay: unknown_outcome
              error.invoke.pay -> bad
              finished failed "unknown_outcome"
        "#]],
    );
}

#[test]
fn a_subtree_is_timed_out_and_its_calls_are_called_off() {
    check(
        r#"
initial: a
states:
  a:
    invoke:
      - id: w
        effect:
          type: fallback
          effects:
            - {type: timeout, duration: 3s, effect: {type: sequence, effects: [{type: call, function: f, args: {}}, {type: value, value: 2}]}}
            - {type: value, value: late}
        onDone: {target: ok}
  ok: {type: final, output: "${event.data}"}
"#,
        "+4s",
        expect![[r#"
            > start
              - -> a
              start w/0/body/0#1
            > at 3s
              cancelled w/0/body/0: timeout
              cancelled w/0/body: timeout
              failed w/0: timeout
              done w/1 = "late"
              done w = "late"
              done.invoke.w -> ok
              finished completed "late"
        "#]],
    );
}

#[test]
fn a_retried_subtree_starts_afresh() {
    check(
        r#"
initial: a
states:
  a:
    invoke:
      - id: w
        effect:
          type: retry
          attempts: 2
          base_delay: 1s
          jitter: none
          effect: {type: sequence, effects: [{type: value, value: 1}, {type: call, function: f, args: {}}]}
        onDone: {target: ok}
  ok: {type: final, output: "${event.data}"}
"#,
        "fail w/body/1 boom retryable\n+1s\nok w/body/1 2",
        expect![[r#"
            > start
              - -> a
              done w/body/0 = 1
              start w/body/1#1
            > fail w/body/1 boom retryable
              failed w/body/1: boom
              failed w/body: boom
              w#1 failed: boom, next at 1s
            > at 1s
              done w/body/0 = 1
              start w/body/1#1
            > ok w/body/1 2
              done w/body/1 = 2
              done w/body = [1,2]
              done w = [1,2]
              done.invoke.w -> ok
              finished completed [1,2]
        "#]],
    );
}
