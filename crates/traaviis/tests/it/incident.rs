//! A step that cannot be taken: what an operator sees, and how the run goes on.

use expect_test::expect;

use crate::cli::World;

const ENDLESS: &str = r#"
traaviis: "1"
name: Endless
version: 1.0.0
initial: waiting
data: {initial: {mended: false}}
events: {mend: {}}
states:
  waiting:
    on: {mend: {actions: [{assign: {mended: true}}]}}
    after: {10ms: left}
  left: {always: [{target: done, guard: "data.mended"}, right]}
  right: {always: [{target: left, guard: "!data.mended"}]}
  done: {type: final}
"#;

#[test]
fn a_timer_that_cannot_be_taken_is_answered_by_an_operator() {
    let world = World::new().file("endless.yaml", ENDLESS);
    world.check("run endless.yaml --data d", expect![[r#"
        exit 1
        T  ● Endless 1.0.0
        T  → waiting
        T  ⏲ T at most in waiting
        T  ! incident macrostep_overrun at t3: the step did not come to rest within 1000 microsteps
        error: incident macrostep_overrun at t3: the step did not come to rest within 1000 microsteps
        answer: traaviis resolve ID t3 --retry|--fail --data d (incident)
    "#]]);
    world.check(
        "show 0 --data d",
        expect![[r#"
            exit 0
            instance  ID
            workflow  Endless 1.0.0
            by        user:local
            status    incident, record 4, created T ago
            moved     1 transition, T ago
            state     waiting
            data      {"mended":false}
            timer     after in waiting waits for an answer (TIME)
            incident  macrostep_overrun at t3: the step did not come to rest within 1000 microsteps
                      traaviis resolve ID t3 --retry|--fail
            last 4 records
            T  ● Endless 1.0.0
            T  → waiting
            T  ⏲ T at most in waiting
            T  ! incident macrostep_overrun at t3: the step did not come to rest within 1000 microsteps
        "#]],
    );
    world.check(
        "resolve 0 t3 --retry --data d",
        expect![[r#"
        exit 1
        error: the step did not come to rest within 1000 microsteps (macrostep_overrun)
    "#]],
    );
    world.check(
        "resolve 0 t9 --retry --data d",
        expect![[r#"
            exit 1
            error: instance `ID` has no incident about `t9`; there are about: `t3` (ID:4) (invalid_state)
        "#]],
    );
    world.check(
        "send 0 mend --data d",
        expect![[r#"
        exit 0
        event `mend` taken: ID is incident in `waiting` at record 7
        no process runs `d`; it goes on with the next `traaviis run FILE --data d`
    "#]],
    );
    world.check(
        "resolve 0 t3 --retry --data d",
        expect![[r#"
        exit 0
        `t3` to be tried again: ID is completed in `done` at record 12
    "#]],
    );
    assert_eq!(world.run(&["replay", "0", "--data", "d"]).status.code(), Some(0));
}

#[test]
fn without_an_answer_to_come_the_run_ends_with_the_incident() {
    let world = World::new().file("endless.yaml", ENDLESS);
    world.check("run endless.yaml", expect![[r#"
        exit 1
        T  ● Endless 1.0.0
        T  → waiting
        T  ⏲ T at most in waiting
        T  ! incident macrostep_overrun at t3: the step did not come to rest within 1000 microsteps
        error: incident macrostep_overrun at t3: the step did not come to rest within 1000 microsteps
        a run that can be answered needs `--data DIR` (incident)
    "#]]);
}
