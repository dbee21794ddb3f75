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
    world.check("skip 0 w/0 7 --data d", expect![[""]]);
    world.check("skip 0 w/1 7 --reason by-hand --data d", expect![[""]]);
    world.check("skip 0 w/0 7 --reason by-hand --data d", expect![[""]]);
    world.check("retry 0 --paused --reason mend --data d", expect![[""]]);
    let patch = r#"[{"op":"replace","path":"/n","value":5}]"#;
    let edited = world.run(&["edit", "0", patch, "--reason", "zero", "--data", "d"]);
    assert_eq!(edited.status.code(), Some(0));
    world.check("resume 0 --data d", expect![[""]]);
    world.check("retry 0 --data d", expect![[""]]);
    world.check("logs 0 --data d", expect![[""]]);
    world.check("replay 0 --data d", expect![[""]]);
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
    world.check("fork 0 --data d", expect![[""]]);
    world.check("fork 0 --at 4 --data d", expect![[""]]);
    let id = run("ps --all --json --data d")["instances"][0]["id"].as_str().unwrap().to_string();
    let fork = run(&format!("fork {id} --at 5 --reason try --json --data d"));
    let fork = fork["instance"].as_str().unwrap();
    world.check(&format!("fork {id} --at 5 --dry-run --live --data d"), expect![[""]]);
    world.check(&format!("logs {fork} --data d"), expect![[""]]);
    world.check(&format!("replay {fork} --data d"), expect![[""]]);
    world.check(&format!("compare {id} {fork} --data d"), expect![[""]]);
}

#[test]
fn a_job_leaves_out_what_failed() {
    let world = failed();
    world.check("bulk retry --error network_error --data d", expect![[""]]);
    world.check("bulk skip 7 --error unknown_function --reason by-hand --data d", expect![[""]]);
    world.check("bulk retry --status failed --dry-run --data d", expect![[""]]);
}
