//! Emitted events reach subscribers and start runs: each once, in order, whatever happens to the
//! process.

use std::{process::Stdio, time::Duration};

use expect_test::expect;
use serde_json::{Value, json};

use crate::cli::{Process, World, wait_until};

const COUNT: i64 = 150;

/// Emits the numbers up to [`COUNT`], one by one.
const SOURCE: &str = r#"
traaviis: "1"
name: Source
version: 1.0.0
data: {initial: {n: 0}}
initial: ticking
states:
  ticking:
    always: {target: done, guard: data.n == 150}
    after: {20ms: {target: ticking, actions: [{assign: {n: "${data.n + 1}"}}, {emit: {event: tick, data: {n: "${data.n}"}, subject: clock}}]}}
  done: {type: final}
"#;

/// Writes down what it hears.
const LEDGER: &str = r#"
traaviis: "1"
name: Ledger
version: 1.0.0
data: {initial: {seen: []}}
events: {heard: {}}
subscribe: [{from: {workflow: Source}, event: tick, key: clock, match: event.data.n > size(data.seen), as: heard}]
initial: open
states:
  open: {on: {heard: {actions: [{assign: {seen: "${data.seen + [event.data.n]}"}}]}}}
"#;

/// A run for each event.
const INTAKE: &str = r#"
traaviis: "1"
name: Intake
version: 1.0.0
input: {schema: {type: object, required: [n], properties: {n: {type: integer}}}}
triggers:
  - {type: event, from: {workflow: Source}, event: tick, match: event.data.n > 0, input: {n: "${event.data.n}"}}
  - {type: manual, input: {n: 0}}
initial: done
states:
  done: {type: final, output: "${input.n}"}
"#;

fn world() -> World {
    let world = World::new().file("source.yaml", SOURCE).file("ledger.yaml", LEDGER);
    world.file("intake.yaml", INTAKE)
}

fn json(world: &World, arguments: &[&str]) -> Value {
    let output = world.run(arguments);
    serde_json::from_slice(&output.stdout).unwrap_or_default()
}

fn spawn(world: &World, arguments: &[&str]) -> Process {
    let mut command = world.command(arguments);
    Process(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap())
}

/// The instances of a workflow, with their states.
fn of(world: &World, workflow: &str) -> Vec<Value> {
    let listed = json(
        world,
        &["ps", "--all", "--json", "--data", "d", "--workflow", workflow, "--limit", "1000"],
    );
    let ids: Vec<String> = listed["instances"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|it| it["id"].as_str().map(str::to_string))
        .collect();
    let show =
        |id: &String| json(world, &["show", id, "--json", "--data", "d"])["snapshot"].clone();
    ids.iter().map(show).collect()
}

fn seen(world: &World) -> Vec<i64> {
    let ledger = of(world, "Ledger");
    let numbers = ledger.first().and_then(|it| it["data"]["seen"].as_array().cloned());
    numbers.into_iter().flatten().filter_map(|it| it.as_i64()).collect()
}

#[test]
fn no_emission_is_lost_or_handled_twice_over_kills() {
    let world = world();
    world.run(&["run", "ledger.yaml", "--data", "d"]);
    let listener = spawn(&world, &["run", "intake.yaml", "--data", "d", "--triggers"]);
    wait_until("the listener is there", || of(&world, "Listener").len() == 1);
    drop(listener);
    let source = spawn(&world, &["run", "source.yaml", "--data", "d"]);
    wait_until("some events were heard", || seen(&world).len() > 5);
    drop(source);
    let mut kills = 2;
    loop {
        let before = seen(&world).len();
        let process = spawn(&world, &["run", "intake.yaml", "--data", "d", "--triggers"]);
        let enough = (before + 25).min(COUNT as usize);
        wait_until("more events were heard", || seen(&world).len() >= enough);
        if enough == COUNT as usize {
            wait_until("all runs have ended", || {
                let runs = of(&world, "Intake");
                runs.len() >= COUNT as usize && runs.iter().all(|it| it["status"] == "completed")
            });
            // What would come twice would come now.
            std::thread::sleep(Duration::from_millis(300));
            drop(process);
            break;
        }
        drop(process);
        kills += 1;
    }
    assert!(kills > 4, "{kills} kills prove little");
    let all: Vec<i64> = (1..=COUNT).collect();
    assert_eq!(seen(&world), all, "in the order of the publisher, each once");
    let mut runs: Vec<i64> =
        of(&world, "Intake").iter().filter_map(|it| it["input"]["n"].as_i64()).collect();
    runs.sort_unstable();
    assert_eq!(runs, all, "a run for each event");
    assert_eq!(of(&world, "Listener").len(), 1, "who came back went on with the same listener");
    assert_eq!(of(&world, "Listener")[0]["data"]["failed"], json!(0));
}

#[test]
fn a_run_without_input_takes_that_of_its_manual_trigger() {
    let world = world();
    world.run(&["run", "intake.yaml", "--data", "d"]);
    world.run(&["run", "intake.yaml", "--data", "d", "--input", r#"{"n": 5}"#]);
    let mut inputs: Vec<Value> =
        of(&world, "Intake").iter().map(|it| it["input"].clone()).collect();
    inputs.sort_by_key(|it| it["n"].as_i64());
    assert_eq!(inputs, [json!({"n": 0}), json!({"n": 5})]);
}

#[test]
fn what_a_subscription_cannot_mean_is_told() {
    let world = World::new().file(
        "wrong.yaml",
        r#"
traaviis: "1"
name: Wrong
version: 1.0.0
events: {heard: {}, own: {source: internal}}
subscribe:
  - {event: tick}
  - {event: tick, as: herd}
  - {event: tick, as: own}
  - {event: tick, as: heard, match: input.n > 1}
  - {event: tick, as: heard, key: "${data.}"}
initial: open
states:
  open: {on: {heard: done, own: done}}
  done: {type: final}
"#,
    );
    world.check(
        "validate wrong.yaml",
        expect![[r#"
            exit 1
            wrong.yaml:7:5: E106 event `tick` is not declared
              hint: declare it: `events: {tick: {}}`, or let it arrive `as` a declared one
            wrong.yaml:8:5: E106 event `herd` is not declared
              hint: did you mean `as: heard`? Otherwise declare it: `events: {herd: {}}`
            wrong.yaml:9:5: E106 event `own` is internal, so it cannot arrive from another instance
              hint: remove `source: internal`, or let it arrive `as` another event
            wrong.yaml:10:37: E131 variable `input` is not available here; available are `data`, `event`
            wrong.yaml:11:35: E130 expected a field name but found the end
              hint: expressions are CEL, such as `data.count + 1 > 3`
        "#]],
    );
    let never = LEDGER.replace(
        "subscribe: [",
        "subscribe: [{event: tick, as: heard, match: false}, {from: {workflow: source}, event: tick, as: heard}, ",
    );
    let world = World::new().file("never.yaml", &never);
    world.check("validate never.yaml", expect![[r#"
        exit 0
        never.yaml:7:45: warning W211 `match` is always false, so nothing arrives
          hint: an event arrives by the first subscription that fits; remove this one
        never.yaml:7:105: warning W211 `tick` is taken by `/subscribe/1` before, so nothing arrives by this one
          hint: an event arrives by the first subscription that fits; remove this one
        never.yaml:9:1: warning W202 no top state is final, so an instance never ends
          hint: add a state with `type: final`; if it is meant to run for ever, say why: `x-waive: {W202: REASON}`
        never.yaml: Ledger 1.0.0 is valid (1 states, 1 events, 0 effects; hash HASH)
    "#]]);
}
