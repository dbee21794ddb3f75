//! Parents and children through the command line.

use expect_test::expect;
use serde_json::Value;

use crate::cli::World;

const PURCHASE: &str = include_str!("../../../../examples/purchase/purchase.yaml");
const OFFER: &str = include_str!("../../../../examples/purchase/offer.yaml");
const INPUT: &str = include_str!("../../../../examples/purchase/input.json");

fn example() -> World {
    World::new().file("purchase.yaml", PURCHASE).file("offer.yaml", OFFER).file("i.json", INPUT)
}

fn json(world: &World, arguments: &[&str]) -> Value {
    let output = world.run(arguments);
    serde_json::from_slice(&output.stdout).expect("JSON is printed")
}

#[test]
fn the_example_asks_each_seller_once_and_takes_the_cheapest() {
    let world = example();
    let run = world.run(&["run", "purchase.yaml", "--input", "i.json", "--data", "d"]);
    let shown = String::from_utf8_lossy(&run.stdout);
    assert!(shown.ends_with("output {\"price\":20,\"seller\":\"Jaan\"}\n"), "{shown}");
    let listed = json(&world, &["ps", "--all", "--json", "--data", "d"]);
    let instances = listed["instances"].as_array().unwrap();
    let parent = instances.iter().find(|it| it["workflow"] == "Purchase").unwrap();
    let children: Vec<_> = instances.iter().filter(|it| it["workflow"] == "Offer").collect();
    assert_eq!(children.len(), 3);
    assert!(children.iter().all(|it| it["parent_id"] == parent["id"]), "{listed}");
    let child = children[0]["id"].as_str().unwrap();
    let shown =
        String::from_utf8_lossy(&world.run(&["show", child, "--data", "d"]).stdout).into_owned();
    assert!(shown.contains(&format!("parent    {}", parent["id"].as_str().unwrap())), "{shown}");
    let state = json(&world, &["show", parent["id"].as_str().unwrap(), "--json", "--data", "d"]);
    assert_eq!(state["snapshot"]["data"]["reached"].as_array().unwrap().len(), 3);
}

#[test]
fn the_example_passes_its_tests() {
    let world = example();
    for file in ["purchase.yaml", "offer.yaml"] {
        assert_eq!(world.run(&["test", file]).status.code(), Some(0), "{file}");
    }
}

const WAITS: &str = r#"
traaviis: "1"
name: Waits
version: 1.0.0
initial: asking
states:
  asking:
    invoke:
      - id: ask
        effect: {type: spawn_fsm, workflow: WORKFLOW, wait: true}
        onDone: {target: done}
        onError: {target: bad}
  done: {type: final}
  bad: {type: final, status: failed, output: "${event.data.cause.message}"}
"#;

const DOOR: &str = r#"
traaviis: "1"
name: Door
version: 1.0.0
initial: closed
events: {open: {}}
states:
  closed: {on: {open: opened}}
  opened: {type: final}
"#;

#[test]
fn a_run_says_which_child_it_waits_for() {
    let waits = WAITS.replace("WORKFLOW", "Door");
    let world = World::new().file("waits.yaml", &waits).file("door.yaml", DOOR);
    let run = world.run(&["run", "waits.yaml", "--data", "d"]);
    let told = String::from_utf8_lossy(&run.stderr).into_owned();
    assert!(
        told.contains("waits in state `closed`") && told.contains("(waiting_for_child)"),
        "{told}"
    );
    let listed = json(&world, &["ps", "--json", "--data", "d"]);
    let instances = listed["instances"].as_array().unwrap();
    let child = instances.iter().find(|it| it["workflow"] == "Door").unwrap();
    world.run(&["send", child["id"].as_str().unwrap(), "open", "--data", "d"]);
    let run = world.run(&["run", "waits.yaml", "--data", "d"]);
    assert_eq!(run.status.code(), Some(0), "{}", world.shown(&run));
}

#[test]
fn a_workflow_that_is_nowhere_is_named() {
    let world = World::new().file("waits.yaml", &WAITS.replace("WORKFLOW", "Nowhere"));
    world.check("run waits.yaml", expect![[r#"
        exit 1
        T  ● Waits 1.0.0
        T  → asking
        T    → ask  starts Nowhere
        T    ● ask  child Nowhere ID
        T  ◌ child ID failed
        T    ✗ ask  child_failed: child `ID` ended as failed: there is no document `Nowhere` in `.`, `./components` or the catalogue (not_found: there is no document `Nowhere` in `.`, `./components` or the catalogue)
        T  asking → bad  on error.invoke.ask
        failed in state bad after T  output "there is no document `Nowhere` in `.`, `./components` or the catalogue"
    "#]]);
}
