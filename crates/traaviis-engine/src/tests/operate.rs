//! What an operator does by hand: pause, resume, edit, move.

use expect_test::expect;

use super::check;

const WORK: &str = r#"
initial: work
data:
  schema: {type: object, properties: {n: {type: integer}}}
  initial: {n: 0}
events: {go: {}}
states:
  work:
    on: {go: rest}
    after: {10s: late}
    always: [{target: rest, guard: "data.n > 5"}]
    invoke:
      - id: w
        effect:
          type: sequence
          effects:
            - {type: call, function: a, args: {}}
            - {type: call, function: b, args: {}}
        onDone: {target: rest, actions: [{assign: {n: "${data.n + 1}"}}]}
  late: {}
  rest: {}
"#;

#[test]
fn a_paused_instance_keeps_outcomes_and_takes_them_when_it_goes_on() {
    check(
        WORK,
        "pause\nok w/0 1\nunknown w/0 keyed\nsend go\n+1m\nresume\nok w/1 2",
        expect![[r#"
            > start
              - -> work
              start w/0#1
            > pause
              paused
            > ok w/0 1
              held
            > unknown w/0 keyed
            > send go
              refused instance_paused: the instance is paused; resume it first
            > resume
              resumed
              released
              done w/0 = 1
              start w/1#1
            > ok w/1 2
              done w/1 = 2
              done w = [1,2]
              done.invoke.w -> rest
              {"op":"replace","path":"/n","value":1}
        "#]],
    );
}

/// A peer may answer twice: what was recorded of an attempt stays what became of it.
#[test]
fn an_answer_that_nobody_waits_for_is_late_also_while_paused() {
    let document = r#"
initial: pay
states:
  pay:
    invoke:
      - {id: p, effect: {type: call, function: charge, args: {}, retry: {base_delay: 1s, jitter: none}}}
"#;
    check(
        document,
        "fail p no_luck retryable\npause\nok p 1\nresume\n+1s\nok p 2",
        expect![[r#"
            > start
              - -> pay
              start p#1
            > fail p no_luck retryable
              p#1 failed: no_luck, next at 1s
            > pause
              paused
            > ok p 1
              late p
            > resume
              resumed
            > at 1s
              start p#2
            > ok p 2
              done p = 2
        "#]],
    );
}

#[test]
fn timers_that_fall_due_while_paused_fire_at_the_end_of_the_pause() {
    check(
        WORK,
        "pause\n+1m\nresume\n+0s",
        expect![[r#"
        > start
          - -> work
          start w/0#1
        > pause
          paused
        > resume
          resumed
        > at 1m
          after.work -> late
          cancelled w/0: state_left
          cancelled w: state_left
    "#]],
    );
}

#[test]
fn pausing_and_resuming_twice_changes_nothing() {
    check(
        WORK,
        "resume\npause\npause\nresume\nresume",
        expect![[r#"
        > start
          - -> work
          start w/0#1
        > resume
        > pause
          paused
        > pause
        > resume
          resumed
        > resume
    "#]],
    );
}

#[test]
fn cancelling_a_paused_instance_undoes_what_is_known_to_have_happened() {
    let trip = r#"
initial: booking
states:
  booking:
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
"#;
    check(
        trip,
        "pause\nok trip/hotel 7\ncancel\nok trip/undo:hotel 8",
        expect![[r#"
            > start
              - -> booking
              start trip/hotel#1
            > pause
              paused
            > ok trip/hotel 7
              held
            > cancel
              resumed
              - -> 
              done trip/hotel = 7
              undo trip
              start trip/undo:hotel#1
              completing cancelled
              released
              late trip/hotel
            > ok trip/undo:hotel 8
              done trip/undo:hotel = 8
              cancelled trip: cancelled
              finished cancelled null
        "#]],
    );
}

#[test]
fn data_are_edited_and_what_follows_from_them_happens() {
    check(
        WORK,
        r#"edit [{"op":"replace","path":"/n","value":"text"}]
        edit [{"op":"remove","path":"/missing"}]
        edit []
        edit [{"op":"replace","path":"/n","value":{"$secret":"x"}}]
        edit [{"op":"replace","path":"/n","value":6}]"#,
        expect![[r#"
            > start
              - -> work
              start w/0#1
            > edit [{"op":"replace","path":"/n","value":"text"}]
              refused step_rejected: after the step the data would not fit their schema: /n: "text" is not of type "integer"
            > edit [{"op":"remove","path":"/missing"}]
              refused validation_failed: the data hold nothing at `/missing` that could be changed
            > edit []
              refused validation_failed: the patch changes nothing
            > edit [{"op":"replace","path":"/n","value":{"$secret":"x"}}]
              refused validation_failed: the value holds an object with the reserved key `$secret`; only a workflow names secrets
            > edit [{"op":"replace","path":"/n","value":6}]
              edited [{"op":"replace","path":"/n","value":6}]
              - -> rest
              cancelled w/0: state_left
              cancelled w: state_left
        "#]],
    );
}

const TWO: &str = r#"
initial: p
data: {initial: {n: 0}}
states:
  p:
    type: parallel
    states:
      x:
        initial: x1
        states: {x1: {}, x2: {entry: [{assign: {n: 1}}]}}
      y:
        initial: y1
        states: {y1: {exit: [{assign: {n: 2}}]}, y2: {}}
  q:
    initial: q1
    states: {q1: {}, q2: {}}
  end: {type: final}
"#;

#[test]
fn a_paused_instance_is_moved_and_what_stays_is_not_restarted() {
    check(
        TWO,
        "move p.x.x2\npause\nmove p.x.x2 p.y.y1\nmove q.q2\nmove end",
        expect![[r#"
        > start
          - -> p.x.x1 p.y.y1
        > move p.x.x2
          refused invalid_state: only a paused instance can be moved; pause it first
        > pause
          paused
        > move p.x.x2 p.y.y1
          moved to p.x.x2 p.y.y1
          - -> p.x.x2 p.y.y1
          {"op":"replace","path":"/n","value":1}
        > move q.q2
          moved to q.q2
          - -> q.q2
          {"op":"replace","path":"/n","value":2}
        > move end
          moved to end
          - -> end
          finished completed null
    "#]],
    );
}

#[test]
fn states_that_cannot_be_active_together_are_refused() {
    check(
        TWO,
        "pause\nmove q.q1 q.q2\nmove p.x.x1 q\nmove nowhere\nmove",
        expect![[r#"
        > start
          - -> p.x.x1 p.y.y1
        > pause
          paused
        > move q.q1 q.q2
          refused validation_failed: `q.q1`, `q.q2` cannot be active together: `q` must have one active child, this would be 2
        > move p.x.x1 q
          refused validation_failed: `p.x.x1`, `q` cannot be active together: the workflow must have one active child, this would be 2
        > move nowhere
          refused validation_failed: workflow `Test` has no state `nowhere`
        > move
          refused validation_failed: `` cannot be active together: the workflow must have one active child, this would be 0
    "#]],
    );
}
