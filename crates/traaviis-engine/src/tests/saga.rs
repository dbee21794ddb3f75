//! Sagas and compensation.

use expect_test::expect;

use super::check;

const SAGA: &str = r#"
initial: a
events: {stop: {}}
states:
  a:
    on: {stop: off}
    invoke:
      - id: s
        effect:
          type: saga
          steps:
            - {id: one, action: {type: call, function: f, args: {}}, compensation: {type: call, function: u, args: {of: "${steps.one.value.id}"}}}
            - {id: two, action: {type: value, value: 2}, compensation: {type: value, value: undone}}
            - {id: three, action: {type: call, function: g, args: {}}}
        onDone: {target: ok}
        onError: {target: bad}
  ok: {type: final, output: "${event.data}"}
  bad: {type: final, status: compensated, output: "${event.data.compensations}"}
  off: {type: final, status: cancelled}
"#;

#[test]
fn a_saga_gives_the_values_of_its_steps() {
    check(
        SAGA,
        "ok s/one {\"id\":1}\nok s/three 3",
        expect![[r#"
            > start
              - -> a
              start s/one#1
            > ok s/one {"id":1}
              done s/one = {"id":1}
              done s/two = 2
              start s/three#1
            > ok s/three 3
              done s/three = 3
              done s = {"one":{"id":1},"three":3,"two":2}
              done.invoke.s -> ok
              finished completed {"one":{"id":1},"three":3,"two":2}
        "#]],
    );
}

#[test]
fn a_failed_step_undoes_the_earlier_ones_in_reverse() {
    check(
        SAGA,
        "ok s/one {\"id\":1}\nfail s/three boom\nok s/undo:one 0",
        expect![[r#"
            > start
              - -> a
              start s/one#1
            > ok s/one {"id":1}
              done s/one = {"id":1}
              done s/two = 2
              start s/three#1
            > fail s/three boom
              failed s/three: boom
              undo s
              done s/undo:two = "undone"
              start s/undo:one#1
            > ok s/undo:one 0
              done s/undo:one = 0
              failed s: boom (compensated)
              error.invoke.s -> bad
              finished compensated ["s/undo:two","s/undo:one"]
        "#]],
    );
}

#[test]
fn leaving_the_state_compensates_before_the_instance_ends() {
    check(
        SAGA,
        "ok s/one {\"id\":1}\nsend stop {}\nok s/undo:one 0",
        expect![[r#"
            > start
              - -> a
              start s/one#1
            > ok s/one {"id":1}
              done s/one = {"id":1}
              done s/two = 2
              start s/three#1
            > send stop {}
              stop -> off
              cancelled s/three: state_left
              undo s
              done s/undo:two = "undone"
              start s/undo:one#1
              completing cancelled
            > ok s/undo:one 0
              done s/undo:one = 0
              cancelled s: cancelled
              finished cancelled null
        "#]],
    );
}

#[test]
fn a_compensation_that_fails_asks_a_person() {
    check(
        SAGA,
        "ok s/one {\"id\":1}\nfail s/three boom\nfail s/undo:one down\nretry s/undo:one\nok s/undo:one 0",
        expect![[r#"
            > start
              - -> a
              start s/one#1
            > ok s/one {"id":1}
              done s/one = {"id":1}
              done s/two = 2
              start s/three#1
            > fail s/three boom
              failed s/three: boom
              undo s
              done s/undo:two = "undone"
              start s/undo:one#1
            > fail s/undo:one down
              failed s/undo:one: down
              undo failed s/undo:one
              incident compensation_failed s/undo:one
            > retry s/undo:one
              resolved compensation_failed: retry
              start s/undo:one#1
            > ok s/undo:one 0
              done s/undo:one = 0
              failed s: boom (compensated)
              error.invoke.s -> bad
              finished compensated ["s/undo:two","s/undo:one"]
        "#]],
    );
}

#[test]
fn with_compensation_undoes_its_own_failed_action() {
    check(
        r#"
initial: a
states:
  a:
    invoke:
      - id: w
        effect: {type: with_compensation, action: {type: call, function: f, args: {}}, compensation: {type: log, message: undo}}
        onError: {target: bad}
  bad: {type: final, status: failed, output: "${event.data.compensated}"}
"#,
        "fail w/action boom",
        expect![[r#"
            > start
              - -> a
              start w/action#1
            > fail w/action boom
              failed w/action: boom
              undo w
              done w/undo:action = null
              log info undo
              failed w: boom (compensated)
              error.invoke.w -> bad
              finished failed true
        "#]],
    );
}

#[test]
fn common_compensations_roll_a_failed_tree_back() {
    check(
        r#"
initial: a
states:
  a:
    invoke:
      - id: w
        effect:
          type: sequence
          effects:
            - {type: value, value: 1, compensation: {type: log, message: undo first}}
            - {type: value, value: 2, compensation: {type: log, message: undo second}}
            - {type: call, function: f, args: {}}
        onError: {target: bad}
  bad: {type: final, status: failed}
"#,
        "fail w/2 boom",
        expect![[r#"
            > start
              - -> a
              done w/0 = 1
              done w/1 = 2
              start w/2#1
            > fail w/2 boom
              failed w/2: boom
              undo w
              done w/undo:1 = null
              log info undo second
              done w/undo:0 = null
              log info undo first
              failed w: boom (compensated)
              error.invoke.w -> bad
              finished failed null
        "#]],
    );
}
