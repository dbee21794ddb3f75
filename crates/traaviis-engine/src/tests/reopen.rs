//! An instance that failed goes on where it failed.

use expect_test::expect;

use super::check;

const WORK: &str = r#"
initial: work
data: {initial: {n: 0}}
events: {go: {}}
states:
  work:
    on: {go: end}
    invoke:
      - id: w
        effect:
          type: sequence
          effects:
            - {type: call, function: a, args: {}}
            - {type: call, function: b, args: {}}
            - {type: transform, expr: "10 / data.n"}
        onDone: end
  end: {type: final, output: "${data.n}"}
"#;

#[test]
fn the_call_that_failed_is_made_again_and_what_succeeded_is_not() {
    check(
        WORK,
        "ok w/0 1\nfail w/1 down\nagain\nok w/1 2\nagain new",
        expect![[r#"
        > start
          - -> work
          start w/0#1
        > ok w/0 1
          done w/0 = 1
          start w/1#1
        > fail w/1 down
          failed w/1: down
          failed w: down
          finished failed null
        > again
          goes on after 9
          start w/1#1
        > ok w/1 2
          done w/1 = 2
          failed w/2: expression_error
          failed w: expression_error
          finished failed null
        > again new
          goes on after 15
          released
          done w/1 = 2
          failed w/2: expression_error
          failed w: expression_error
          finished failed null
    "#]],
    );
}

#[test]
fn an_outcome_that_could_not_be_used_is_used_again_after_somebody_has_mended_the_data() {
    check(
        WORK,
        "ok w/0 1\nok w/1 2\nagain paused\nedit [{\"op\":\"replace\",\"path\":\"/n\",\"value\":5}]\nresume",
        expect![[r#"
            > start
              - -> work
              start w/0#1
            > ok w/0 1
              done w/0 = 1
              start w/1#1
            > ok w/1 2
              done w/1 = 2
              failed w/2: expression_error
              failed w: expression_error
              finished failed null
            > again paused
              goes on after 9
              paused
            > edit [{"op":"replace","path":"/n","value":5}]
              edited [{"op":"replace","path":"/n","value":5}]
            > resume
              resumed
              released
              done w/1 = 2
              done w/2 = 2
              done w = [1,2,2]
              done.invoke.w -> end
              finished completed 5
        "#]],
    );
}

#[test]
fn a_call_that_failed_is_left_out_with_a_reason() {
    check(
        WORK,
        "fail w/0 down\nleave-out w/1 7\nleave-out w/0 7\nok w/1 8",
        expect![[r#"
        > start
          - -> work
          start w/0#1
        > fail w/0 down
          failed w/0: down
          failed w: down
          finished failed null
        > leave-out w/1 7
          refused invalid_state: the call that failed is `w/0`, not `w/1`
        > leave-out w/0 7
          goes on after 6
          done w/0 = 7
          start w/1#1
        > ok w/1 8
          done w/1 = 8
          failed w/2: expression_error
          failed w: expression_error
          finished failed null
    "#]],
    );
}

#[test]
fn only_an_instance_that_failed_goes_on() {
    check(
        WORK,
        "again\nsend go\nagain",
        expect![[r#"
        > start
          - -> work
          start w/0#1
        > again
          refused invalid_state: only an instance that has failed can be tried again
        > send go
          go -> end
          cancelled w/0: state_left
          cancelled w: state_left
          finished completed 0
        > again
          refused invalid_state: only an instance that has failed can be tried again
    "#]],
    );
}

#[test]
fn a_new_key_is_given_when_asked_for() {
    check(
        WORK,
        "fail w/0 down\nagain new\nfail w/0 down\nagain",
        expect![[r#"
        > start
          - -> work
          start w/0#1
        > fail w/0 down
          failed w/0: down
          failed w: down
          finished failed null
        > again new
          goes on after 6
          key .3.w/0.11
          start w/0#1
        > fail w/0 down
          failed w/0: down
          failed w: down
          finished failed null
        > again
          goes on after 12
          key .3.w/0.11
          start w/0#1
    "#]],
    );
}

#[test]
fn calls_that_ran_beside_it_have_an_unknown_outcome() {
    check(
        r#"
initial: work
states:
  work:
    invoke:
      - id: w
        effect:
          type: parallel
          effects:
            - {type: call, function: a, args: {}}
            - {type: call, function: b, args: {}}
            - {type: call, function: c, args: {}, on_unknown: retry}
"#,
        "ok w/0 1\nfail w/1 down\nagain\nok w/1 2\nhappened w/2 3\nok w/2 3",
        expect![[r#"
            > start
              - -> work
              start w/0#1
              start w/1#1
              start w/2#1
            > ok w/0 1
              done w/0 = 1
            > fail w/1 down
              failed w/1: down
              cancelled w/2: sibling_failed
              failed w: down
              finished failed null
            > again
              goes on after 11
              start w/1#1
              released
              unknown w/2: retry
              start w/2#2
            > ok w/1 2
              done w/1 = 2
            > happened w/2 3
              refused not_found: there is no open incident about `w/2`
            > ok w/2 3
              done w/2 = 3
              done w = [1,2,3]
        "#]],
    );
}

#[test]
fn work_that_was_undone_is_done_again_from_its_beginning() {
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
        onDone: end
  end: {type: final}
"#;
    check(
        trip,
        "ok trip/hotel 7\nfail trip/car down\nok trip/undo:hotel 8\nagain\nok trip/hotel 7\nok trip/car 9",
        expect![[r#"
            > start
              - -> booking
              start trip/hotel#1
            > ok trip/hotel 7
              done trip/hotel = 7
              start trip/car#1
            > fail trip/car down
              failed trip/car: down
              undo trip
              start trip/undo:hotel#1
            > ok trip/undo:hotel 8
              done trip/undo:hotel = 8
              failed trip: down (compensated)
              finished failed null
            > again
              goes on after 13
              start trip/hotel#1
            > ok trip/hotel 7
              done trip/hotel = 7
              start trip/car#1
            > ok trip/car 9
              done trip/car = 9
              done trip = {"car":9,"hotel":7}
              done.invoke.trip -> end
              finished completed null
        "#]],
    );
    let inside = trip.replace(
        "type: saga\n          steps:",
        "type: sequence\n          effects:\n          - type: saga\n            steps:",
    );
    let inside = inside
        .replace("            - id:", "              - id:")
        .replace("              action:", "                action:")
        .replace("              compensation:", "                compensation:");
    check(
        &inside,
        "ok trip/0/hotel 7\nfail trip/0/car down\nok trip/0/undo:hotel 8\nagain",
        expect![[r#"
        > start
          - -> booking
          start trip/0/hotel#1
        > ok trip/0/hotel 7
          done trip/0/hotel = 7
          start trip/0/car#1
        > fail trip/0/car down
          failed trip/0/car: down
          undo trip/0
          start trip/0/undo:hotel#1
        > ok trip/0/undo:hotel 8
          done trip/0/undo:hotel = 8
          failed trip/0: down (compensated)
          failed trip: down (compensated)
          finished failed null
        > again
          refused invalid_state: its failure undid work (`trip/0`) that cannot be taken for done again; fork it before record 15, or start another instance
    "#]],
    );
}

#[test]
fn a_time_limit_begins_anew_and_a_timer_that_is_due_fires_again() {
    check(
        r#"
initial: work
states:
  work:
    invoke:
      - id: w
        effect:
          type: timeout
          duration: 10s
          effect: {type: call, function: a, args: {}, on_unknown: retry}
        onDone: end
  end: {type: final}
"#,
        "+10s\n+1h\nagain\n+9s\nok w/body 1",
        expect![[r#"
            > start
              - -> work
              start w/body#1
            > at 10s
              cancelled w/body: timeout
              failed w: timeout
              finished failed null
            > again
              goes on after 7
              released
              unknown w/body: retry
              start w/body#2
            > ok w/body 1
              done w/body = 1
              done w = 1
              done.invoke.w -> end
              finished completed null
        "#]],
    );
}

#[test]
fn another_child_is_started_for_one_that_failed() {
    check(
        r#"
initial: work
states:
  work:
    invoke:
      - id: w
        effect: {type: spawn_fsm, workflow: Child, wait: true}
        onDone: end
  end: {type: final}
"#,
        "ended w failed\nagain\nended w completed 5",
        expect![[r#"
            > start
              - -> work
              start w#1
              child w Child
            > ended w failed
              child ended failed
              failed w: child_failed <- no_luck
              finished failed null
            > again
              goes on after 6
              key .3.w.11
              start w#1
              child w Child
            > ended w completed 5
              child ended completed
              done w = 5
              done.invoke.w -> end
              finished completed null
        "#]],
    );
}

#[test]
fn an_instance_may_fail_and_go_on_more_than_once() {
    check(
        WORK,
        "fail w/0 a\nagain\nfail w/0 b\nagain\nok w/0 1\nfail w/1 c\nagain\nok w/1 2",
        expect![[r#"
        > start
          - -> work
          start w/0#1
        > fail w/0 a
          failed w/0: a
          failed w: a
          finished failed null
        > again
          goes on after 6
          start w/0#1
        > fail w/0 b
          failed w/0: b
          failed w: b
          finished failed null
        > again
          goes on after 12
          start w/0#1
        > ok w/0 1
          done w/0 = 1
          start w/1#1
        > fail w/1 c
          failed w/1: c
          failed w: c
          finished failed null
        > again
          goes on after 21
          start w/1#1
        > ok w/1 2
          done w/1 = 2
          failed w/2: expression_error
          failed w: expression_error
          finished failed null
    "#]],
    );
}

#[test]
fn an_instance_that_fails_again_at_once_keeps_what_was_left_out() {
    check(
        WORK,
        "ok w/0 1\nfail w/1 down\nleave-out w/1 7\nagain paused\n\
         edit [{\"op\":\"replace\",\"path\":\"/n\",\"value\":5}]\nresume",
        expect![[r#"
            > start
              - -> work
              start w/0#1
            > ok w/0 1
              done w/0 = 1
              start w/1#1
            > fail w/1 down
              failed w/1: down
              failed w: down
              finished failed null
            > leave-out w/1 7
              goes on after 9
              done w/1 = 7
              failed w/2: expression_error
              failed w: expression_error
              finished failed null
            > again paused
              goes on after 9
              paused
            > edit [{"op":"replace","path":"/n","value":5}]
              edited [{"op":"replace","path":"/n","value":5}]
            > resume
              resumed
              released
              done w/1 = 7
              done w/2 = 2
              done w = [1,7,2]
              done.invoke.w -> end
              finished completed 5
        "#]],
    );
}
