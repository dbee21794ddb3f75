//! Instances that failed go on, effects are left out, forks go their own way.

use expect_test::expect;

use crate::cli::World;

const WORK: &str = r#"
traaviis: "1"
name: Work
version: 1.0.0
initial: work
data: {initial: {n: 0}}
events: {go: {}}
states:
  work:
    invoke:
      - id: w
        effect:
          type: sequence
          effects:
            - {type: call, function: missing, args: {}}
            - {type: transform, expr: "10 / data.n"}
        onDone: {target: waiting, actions: [{assign: {n: "${event.data[1]}"}}]}
  waiting: {on: {go: done}}
  done: {type: final, output: "${data.n}"}
x-waive: {W209: an event comes}
"#;

fn failed() -> World {
    let world = World::new().file("work.yaml", WORK);
    assert_eq!(world.run(&["run", "work.yaml", "--data", "d"]).status.code(), Some(1));
    world
}

#[test]
fn a_call_that_failed_is_left_out_and_the_data_are_mended() {
    let world = failed();
    world.check(
        "skip 0 w/0 7 --data d",
        expect![[r#"
        exit 2
        error: the following required arguments were not provided:
          --reason <REASON>

        Usage: traaviis skip --reason <REASON> --data <DIR> <ID> <PATH> <VALUE>

        For more information, try '--help'.
    "#]],
    );
    world.check(
        "skip 0 w/1 7 --reason by-hand --data d",
        expect![[r#"
        exit 1
        error: the call that failed is `w/0`, not `w/1` (invalid_state)
    "#]],
    );
    world.check(
        "skip 0 w/0 7 --reason by-hand --data d",
        expect![[r#"
        exit 0
        `w/0` left out: ID is failed in `work` at record 14
    "#]],
    );
    world.check(
        "retry 0 --paused --reason mend --data d",
        expect![[r#"
        exit 0
        tried again: ID is paused in `work` at record 16
        it takes no step until `traaviis resume ID --data d`
    "#]],
    );
    let patch = r#"[{"op":"replace","path":"/n","value":5}]"#;
    let edited = world.run(&["edit", "0", patch, "--reason", "zero", "--data", "d"]);
    assert_eq!(edited.status.code(), Some(0));
    world.check(
        "resume 0 --data d",
        expect![[r#"
        exit 0
        resumed: ID is running in `work` at record 18
        no process runs `d`; it goes on with the next `traaviis run FILE --data d`
    "#]],
    );
    world.check(
        "retry 0 --data d",
        expect![[r#"
        exit 1
        error: instance `ID` has not failed, and has no incident to try again (invalid_state)
    "#]],
    );
    world.check(
        "logs 0 --data d",
        expect![[r#"
        exit 0
        T  ● Work 1.0.0
        T  → work
        T    w sequence
        T      → 0  missing  {}
        T      ✗ 0  unknown_function: function `missing` is not known: there is no connectors file
        T    ✗ w  unknown_function: function `missing` is not known: there is no connectors file
        T  ■ failed
        T  ✎ goes on from record 6: by-hand
        T      ✓ 0   7
        T      ✗ 1  expression_error: division by zero
        T    ✗ w  expression_error: division by zero
        T  ■ failed
        T  ✎ goes on from record 6: mend
        T  ‖ paused: mend
        T  ✎ data n=5: zero
        T  ‖ goes on
        T      ✓ 0   7
        T      ✓ 1   2
        T    ✓ w
        T  work → waiting  on done.invoke.w
        T  data n=2
    "#]],
    );
    world.check(
        "replay 0 --data d",
        expect![[r#"
        exit 0
        instance  ID
        record    24
        status    running
        state     waiting
        data      {"n":2}
        24 records, 7 steps: byte-identical
    "#]],
    );
    assert_eq!(world.run(&["doctor", "--data", "d"]).status.code(), Some(0));
}

#[test]
fn a_fork_goes_its_own_way() {
    let world = failed();
    let run = |line: &str| {
        let output = world.run(&line.split(' ').collect::<Vec<_>>());
        assert_eq!(output.status.code(), Some(0), "{line}: {}", world.shown(&output));
        serde_json::from_slice::<serde_json::Value>(&output.stdout).unwrap_or_default()
    };
    world.check(
        "fork 0 --data d",
        expect![[r#"
        exit 1
        error: after record 9 the instance is failed; fork at record 6 or earlier (invalid_state)
    "#]],
    );
    world.check("fork 0 --at 4 --data d", expect![[r#"
        exit 1
        error: record 4 lies inside a step, which happens as a whole; fork at record 6 (validation_failed)
    "#]]);
    let id = run("ps --all --json --data d")["instances"][0]["id"].as_str().unwrap().to_string();
    let fork = run(&format!("fork {id} --at 6 --reason try --json --data d"));
    let fork = fork["instance"].as_str().unwrap();
    world.check(
        &format!("fork {id} --at 6 --dry-run --live --data d"),
        expect![[r#"
        exit 0
        from record 6
        status    running in `work`
        data      {"n":0}
        calls     w/0 (call) with key ID.3.w/0
    "#]],
    );
    world.check(
        &format!("logs {fork} --data d"),
        expect![[r#"
        exit 0
        T  ● Work 1.0.0
        T  → work
        T    w sequence
        T      → 0  missing  {}
        T  ⑂ fork of ID from record 6: try
        T      ⑂ 0  missing  {}  as record 7 of the original
        T      ✗ 0  unknown_function: function `missing` is not known: there is no connectors file
        T    ✗ w  unknown_function: function `missing` is not known: there is no connectors file
        T  ■ failed
    "#]],
    );
    world.check(
        &format!("replay {fork} --data d"),
        expect![[r#"
        exit 0
        instance  ID
        record    12
        status    failed
        state     work
        data      {"n":0}
        12 records, 3 steps: byte-identical
    "#]],
    );
    world.check(
        &format!("compare {id} {fork} --data d"),
        expect![[r#"
        exit 0
                     ID  ID
           workflow  Work 1.0.0                            Work 1.0.0
        *  took      T                                T
           path 1    work                                  work
           status    failed                                failed
           data n    0                                     0
           output    null                                  null
           error     unknown_function                      unknown_function
    "#]],
    );
}

#[test]
fn a_job_leaves_out_what_failed() {
    let world = failed();
    world.check(
        "bulk retry --error network_error --data d",
        expect![[r#"
        exit 0
        retry is about 0 instances
    "#]],
    );
    world.check(
        "bulk skip 7 --error unknown_function --reason by-hand --data d",
        expect![[r#"
        exit 0
        skip: 1 of 1 done, 0 refused, 0 left (job ID)
    "#]],
    );
    world.check(
        "bulk retry --status failed --dry-run --data d",
        expect![[r#"
        exit 0
        retry is about 1 instance
          1 Work 1.0.0 failed in `work`
    "#]],
    );
}
