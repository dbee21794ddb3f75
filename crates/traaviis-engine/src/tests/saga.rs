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
fn a_compensation_that_a_person_gives_up_did_not_undo() {
    check(
        SAGA,
        "ok s/one {\"id\":1}\nfail s/three boom\nfail s/undo:one down\ngive-up s/undo:one",
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
            > give-up s/undo:one
              resolved compensation_failed: fail
              skipped s/undo:one
              failed s: compensation_failed <- boom
              error.invoke.s -> bad
              finished compensated ["s/undo:two"]
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

#[test]
fn a_compensation_reads_the_item_and_the_steps_that_it_undoes() {
    check(
        r#"
initial: a
states:
  a:
    invoke:
      - id: s
        effect:
          type: saga
          steps:
            - id: seats
              action:
                type: batch
                items: [ann, bob]
                concurrency: 1
                effect:
                  type: sequence
                  effects:
                    - {id: seat, type: value, value: "seat of ${item}"}
                    - type: value
                      value: "${index}"
                      compensation: {type: log, message: "${index} ${item}: ${steps.seat.value}, ${result}"}
            - id: note
              action: {type: use, effect: note, with: {about: seats}}
            - {id: pay, action: {type: call, function: f, args: {}}}
        onError: {target: bad}
  bad: {type: final, status: failed}
effects:
  note: {type: value, value: "note", compensation: {type: log, message: "no note about ${param.about}"}}
"#,
        "fail s/pay boom",
        expect![[r#"
            > start
              - -> a
              done s/seats/0/0 = "seat of ann"
              done s/seats/0/1 = 0
              done s/seats/0 = ["seat of ann",0]
              done s/seats/1/0 = "seat of bob"
              done s/seats/1/1 = 1
              done s/seats/1 = ["seat of bob",1]
              done s/seats = [["seat of ann",0],["seat of bob",1]]
              done s/note/body = "note"
              done s/note = "note"
              start s/pay#1
            > fail s/pay boom
              failed s/pay: boom
              undo s
              done s/undo:note>body = null
              log info no note about seats
              done s/undo:seats>1>1 = null
              log info 1 bob: seat of bob, seat of bob
              done s/undo:seats>0>1 = null
              log info 0 ann: seat of ann, seat of ann
              failed s: boom (compensated)
              error.invoke.s -> bad
              finished failed null
        "#]],
    );
}

#[test]
fn a_step_in_a_batch_is_the_one_of_the_own_item() {
    check(
        r#"
initial: a
states:
  a:
    invoke:
      - id: b
        effect:
          type: batch
          items: [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10]
          effect:
            type: sequence
            returns: last
            effects:
              - {id: twice, type: value, value: "${item * 2}"}
              - {type: transform, expr: "[item, steps.twice.value, steps['twice'].value]"}
        onDone: {target: good}
  good: {type: final, output: "${event.data}"}
"#,
        "",
        expect![[r#"
            > start
              - -> a
              done b/0/0 = 0
              done b/0/1 = [0,0,0]
              done b/0 = [0,0,0]
              done b/1/0 = 2
              done b/1/1 = [1,2,2]
              done b/1 = [1,2,2]
              done b/2/0 = 4
              done b/2/1 = [2,4,4]
              done b/2 = [2,4,4]
              done b/3/0 = 6
              done b/3/1 = [3,6,6]
              done b/3 = [3,6,6]
              done b/4/0 = 8
              done b/4/1 = [4,8,8]
              done b/4 = [4,8,8]
              done b/5/0 = 10
              done b/5/1 = [5,10,10]
              done b/5 = [5,10,10]
              done b/6/0 = 12
              done b/6/1 = [6,12,12]
              done b/6 = [6,12,12]
              done b/7/0 = 14
              done b/7/1 = [7,14,14]
              done b/7 = [7,14,14]
              done b/8/0 = 16
              done b/8/1 = [8,16,16]
              done b/8 = [8,16,16]
              done b/9/0 = 18
              done b/9/1 = [9,18,18]
              done b/9 = [9,18,18]
              done b/10/0 = 20
              done b/10/1 = [10,20,20]
              done b/10 = [10,20,20]
              done b = [[0,0,0],[1,2,2],[2,4,4],[3,6,6],[4,8,8],[5,10,10],[6,12,12],[7,14,14],[8,16,16],[9,18,18],[10,20,20]]
              done.invoke.b -> good
              finished completed [[0,0,0],[1,2,2],[2,4,4],[3,6,6],[4,8,8],[5,10,10],[6,12,12],[7,14,14],[8,16,16],[9,18,18],[10,20,20]]
        "#]],
    );
}
