//! Steps of the instance's own that cannot be taken, and what a person can answer.

use expect_test::expect;

use super::check;

const ENDLESS: &str = r#"
initial: a
data: {initial: {n: 0}}
events: {stop: {}, leave: {}, note: {}}
states:
  a:
    on:
      leave: {target: done}
      stop: {actions: [{assign: {n: 1}}]}
    after:
      1s: b
      3s: {actions: [{log: {message: "still here"}}]}
  b: {always: [{target: c, guard: "data.n == 0"}]}
  c: {always: [{target: b, guard: "data.n == 0"}]}
  done: {}
"#;

#[test]
fn a_timer_that_cannot_be_taken_waits_and_others_fire() {
    check(
        ENDLESS,
        "+2s\nhappened t3 1\nretry t3\n+2s\nsend stop\nretry t3",
        expect![[r#"
            > start
              - -> a
            > at 1s
              incident macrostep_overrun t3
            > happened t3 1
              refused validation_failed: incident `macrostep_overrun` at `t3` is not about a call, so nothing can have happened or be skipped; answer `retry` or `fail`
            > retry t3
              refused macrostep_overrun: the step did not come to rest within 1000 microsteps
            > at 3s
              after.a -> a
              log info still here
            > send stop
              stop -> a
              {"op":"replace","path":"/n","value":1}
            > retry t3
              resolved macrostep_overrun: retry
              after.a -> b
        "#]],
    );
}

#[test]
fn leaving_the_state_closes_the_incident_of_its_timer() {
    check(
        ENDLESS,
        "+1s\nsend leave",
        expect![[r#"
        > start
          - -> a
        > at 1s
          incident macrostep_overrun t3
        > send leave
          leave -> done
          resolved macrostep_overrun: cancelled
    "#]],
    );
}

#[test]
fn giving_up_a_timer_of_a_state_ends_the_instance() {
    check(
        ENDLESS,
        "+1s\ngive-up t3",
        expect![[r#"
            > start
              - -> a
            > at 1s
              incident macrostep_overrun t3
            > give-up t3
              resolved macrostep_overrun: fail
              finished failed null
        "#]],
    );
}

const CHARGE: &str = r#"
initial: pay
data:
  schema: {type: object, properties: {paid: {type: integer}}}
  initial: {}
events: {leave: {}}
states:
  pay:
    on: {leave: {target: left}}
    invoke:
      - id: charge
        effect: {type: call, function: pay.charge, args: {}}
        onDone: {target: paid, actions: [{assign: {paid: "${event.data.amount}"}}]}
        onError: {target: failed}
  paid: {type: final}
  left: {type: final}
  failed: {type: final, status: failed, output: "${event.data.code}"}
"#;

#[test]
fn an_outcome_that_cannot_be_taken_is_kept_and_no_crash_asks_for_it_again() {
    check(
        CHARGE,
        "ok charge {\"amount\": \"ten\"}\nunknown charge keyed\nretry charge\nhappened charge {\"amount\": 10}",
        expect![[r#"
            > start
              - -> pay
              start charge#1
            > ok charge {"amount": "ten"}
              incident step_rejected charge
            > unknown charge keyed
            > retry charge
              refused step_rejected: after the step the data would not fit their schema: /paid: "ten" is not of type "integer"
            > happened charge {"amount": 10}
              resolved step_rejected: happened
              done charge = {"amount":10}
              done.invoke.charge -> paid
              {"op":"add","path":"/paid","value":10}
              finished completed null
        "#]],
    );
}

#[test]
fn giving_up_an_outcome_fails_its_effect() {
    check(
        CHARGE,
        "ok charge {\"amount\": \"ten\"}\ngive-up charge",
        expect![[r#"
        > start
          - -> pay
          start charge#1
        > ok charge {"amount": "ten"}
          incident step_rejected charge
        > give-up charge
          resolved step_rejected: fail
          failed charge: step_rejected
          error.invoke.charge -> failed
          finished failed "step_rejected"
    "#]],
    );
}

#[test]
fn leaving_the_state_closes_the_incident_of_its_effect() {
    check(
        CHARGE,
        "ok charge {\"amount\": \"ten\"}\nsend leave",
        expect![[r#"
            > start
              - -> pay
              start charge#1
            > ok charge {"amount": "ten"}
              incident step_rejected charge
            > send leave
              leave -> left
              done charge = {"amount":"ten"}
              finished completed null
        "#]],
    );
}

#[test]
fn a_delay_that_cannot_end_can_be_given_up() {
    check(
        r#"
initial: a
data:
  schema: {type: object, properties: {n: {type: integer}}}
  initial: {}
states:
  a:
    invoke:
      - id: work
        effect:
          type: sequence
          effects:
            - {type: delay, duration: 1s}
            - {type: put_data, key: n, value: "text"}
        onDone: done
        onError: {target: failed}
  done: {type: final}
  failed: {type: final, status: failed}
"#,
        "+1s\ngive-up t6",
        expect![[r#"
            > start
              - -> a
            > at 1s
              incident step_rejected t6
            > give-up t6
              resolved step_rejected: fail
              failed work/0: step_rejected
              failed work: step_rejected
              error.invoke.work -> failed
              finished failed null
        "#]],
    );
}

#[test]
fn an_error_that_nothing_handles_can_only_be_given_up() {
    check(
        r#"
initial: a
errors: {unhandled: incident}
states:
  a: {invoke: [{id: work, effect: {type: call, function: f.g, args: {}}}]}
"#,
        "fail work boom\nretry error.invoke.work\ngive-up error.invoke.work",
        expect![[r#"
            > start
              - -> a
              start work#1
            > fail work boom
              failed work: boom
              incident effect_failed error.invoke.work
            > retry error.invoke.work
              refused validation_failed: `error.invoke.work` has happened and no transition handles it; answer `fail` to end the instance, or send an event that leads on
            > give-up error.invoke.work
              resolved effect_failed: fail
              finished failed null
        "#]],
    );
}

const BOOKING: &str = r#"
initial: booking
events: {leave: {}}
states:
  booking:
    on: {leave: left}
    invoke:
      - id: trip
        effect:
          type: saga
          steps:
            - id: hotel
              action: {type: call, function: hotel.book, args: {}}
              compensation: {type: call, function: hotel.cancel, args: {}}
            - id: car
              action: {type: call, function: car.book, args: {}}
  left: {}
"#;

#[test]
fn a_cleanup_that_takes_an_hour_asks_and_may_have_another() {
    check(
        BOOKING,
        "ok trip/hotel {}\nsend leave\n+1h\nretry trip\n+59m\n+1m\ngive-up trip\n+2h",
        expect![[r#"
            > start
              - -> booking
              start trip/hotel#1
            > ok trip/hotel {}
              done trip/hotel = {}
              start trip/car#1
            > send leave
              leave -> left
              cancelled trip/car: state_left
              undo trip
              start trip/undo:hotel#1
            > at 1h
              incident cleanup_timeout trip
            > retry trip
              resolved cleanup_timeout: retry
            > at 2h
              incident cleanup_timeout trip
            > give-up trip
              resolved cleanup_timeout: fail
              cancelled trip: given_up
        "#]],
    );
}

#[test]
fn a_cleanup_that_is_done_has_no_limit() {
    check(
        BOOKING,
        "ok trip/hotel {}\nsend leave\nok trip/undo:hotel {}\n+2h",
        expect![[r#"
        > start
          - -> booking
          start trip/hotel#1
        > ok trip/hotel {}
          done trip/hotel = {}
          start trip/car#1
        > send leave
          leave -> left
          cancelled trip/car: state_left
          undo trip
          start trip/undo:hotel#1
        > ok trip/undo:hotel {}
          done trip/undo:hotel = {}
          cancelled trip: cancelled
    "#]],
    );
}

#[test]
fn detached_effects_end_with_a_cancelled_instance() {
    let detached = r#"
initial: a
events: {go: {}}
states:
  a:
    on: {go: b}
    invoke:
      - {id: mail, effect: {type: call, function: mail.send, args: {}}, on_exit: detach}
  b: {}
"#;
    check(
        detached,
        "send go\ncancel",
        expect![[r#"
        > start
          - -> a
          start mail#1
        > send go
          go -> b
        > cancel
          - -> 
          cancelled mail: cancelled
          finished cancelled null
    "#]],
    );
}

#[test]
fn an_effect_is_left_out_with_a_value() {
    check(
        r#"
initial: work
states:
  work:
    invoke:
      - id: w
        effect:
          type: sequence
          effects:
            - {type: call, function: a, args: {}}
            - {type: call, function: b, args: {}}
"#,
        "unknown w/0 other\nskip w/0 5\nok w/1 6",
        expect![[r#"
            > start
              - -> work
              start w/0#1
            > unknown w/0 other
              unknown w/0: ask
              incident unknown_outcome w/0
            > skip w/0 5
              resolved unknown_outcome: skip
              done w/0 = 5
              start w/1#1
            > ok w/1 6
              done w/1 = 6
              done w = [5,6]
        "#]],
    );
}

#[test]
fn an_incident_is_given_to_somebody_by_its_number() {
    let body = r#"
initial: a
data: {schema: {type: object, properties: {n: {type: integer}}}, initial: {n: 0, next: text}}
states:
  a: {after: {1s: {target: b, actions: [{assign: {n: "${data.next}"}}]}}}
  b: {type: final}
"#;
    let long = "x".repeat(traaviis_model::limits::ASSIGNEE_CHARS_MAX + 1);
    check(
        body,
        &format!(
            "+1s\nassign 9 mari\nassign 0 mari\nassign 4 {long}\nassign 4 mari\nassign 4 mari\npause\nassign 4 kati"
        ),
        expect![[r#"
            > start
              - -> a
            > at 1s
              incident step_rejected t3
            > assign 9 mari
              refused not_found: no incident is open that record 9 opened
            > assign 0 mari
              refused not_found: no incident is open that record 0 opened
            > assign 4 xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx
              refused validation_failed: the name of an assignee has 1 to 128 characters
            > assign 4 mari
              assigned 4 mari
            > assign 4 mari
            > pause
              paused
            > assign 4 kati
              assigned 4 kati
        "#]],
    );
}
