//! Instances that become tests, and runs with mocks instead of an outside.

use expect_test::expect;
use serde_json::json;

use crate::{
    cli::{World, words},
    server::Server,
};

/// Pays, asks somebody, and waits for a parcel or a day.
const ORDER: &str = r#"
traaviis: "1"
name: Order
version: 1.0.0
# What is ordered.
data: {initial: {order: "${input}", paid_at: null}}
events:
  parcel: {}
initial: paying
states:
  paying:
    invoke:
      - id: pay
        effect: {type: call, function: bank.charge, args: {}, retry: {attempts: 2, base_delay: 20ms, jitter: none}}
        onDone: {target: checking, actions: [{assign: {charge: "${result.charge_id}", paid_at: "${now}"}}]}
        onError: refused
  checking:
    invoke:
      - id: ask
        effect: {type: human_task, title: Fine?, assignees: ["role:owner"], outcomes: ["yes", "no"]}
        onDone: [{target: sending, guard: result.outcome == 'yes'}, {target: refused}]
  sending:
    on: {parcel: sent}
    after: {24h: refused}
  sent: {type: final, output: {charge: "${data.charge}", paid_at: "${data.paid_at}"}}
  refused: {type: final, status: failed}
"#;

const MOCKS: &str = "
pay: [{error: {code: timeout}}, {delay: 20ms, value: {charge_id: c-1}}]
";

#[test]
fn a_run_with_mocks_calls_nobody_and_can_be_recorded_as_a_test_that_passes() {
    let world = World::new().file("order.yaml", ORDER).file("mocks.yaml", MOCKS);
    // Without anybody who answers the task, it waits.
    let output = world.run(&words("run order.yaml --mock mocks.yaml --data data --timeout 2s"));
    assert!(!output.status.success(), "{}", world.shown(&output));
    let listed = world.good("ps --data data");
    let id = listed["instances"][0]["id"].as_str().unwrap().to_owned();
    world.good(&format!("tasks decide {id} yes --data data"));
    world.good(&format!("send {id} parcel --data data"));
    let told = world.good(&format!("test order.yaml --record {id} --data data --name seen"));
    assert_eq!(told["test"], "seen");
    assert_eq!(told["mocks"], 1);
    assert_eq!(told["left_out"], json!(["output.paid_at"]));
    let text = std::fs::read_to_string(world.path("order.yaml")).unwrap();
    assert!(text.starts_with(ORDER.trim_end()), "what was there stays: {text}");
    world.check(
        "test order.yaml",
        expect![[r#"
            exit 0
            order.yaml: Order 1.0.0
              ✓ seen
              1 passed, 0 failed; transitions 3 of 6 (50 %), guard outcomes 1 of 2 (50 %)
                order.yaml:16:18: never taken: paying: onError of pay → refused
                order.yaml:21:43: guard never false: result.outcome == 'yes'
                order.yaml:21:69: never taken: checking: onDone of ask → refused
                order.yaml:24:18: never taken: sending: after → refused
        "#]],
    );
    // A test that passes says something: the other way it fails.
    let other = text.replace("guard: result.outcome == 'yes'", "guard: result.outcome == 'no'");
    std::fs::write(world.path("other.yaml"), other).unwrap();
    assert_eq!(world.run(&["test", "other.yaml"]).status.code(), Some(1));
    world.check(
        &format!("test order.yaml --record {id} --data data --name seen"),
        expect![[r#"
            exit 1
            error: `order.yaml` has a test `seen`; give another `--name` (already_exists)
        "#]],
    );
}

const DOOR: &str = r#"
traaviis: "1"
name: Door
version: 1.0.0
events: {open: {}, close: {}}
initial: shut
states:
  shut: {on: {open: ajar}}
  ajar: {on: {close: done}}
  done: {type: final, output: {by: "${data}"}}
"#;

#[test]
fn an_instance_of_a_server_becomes_a_test() {
    let world = World::new().file("door.yaml", DOOR);
    let server = Server::serve(&world);
    let ada = server.register("ada@example.com");
    server.publish(&ada, "Door", DOOR);
    let id = server.start(&ada, "Door");
    let address = format!("http://{}", server.address);
    let record = |token: &str| {
        let mut command = world.command(&["test", "door.yaml", "--record", &id]);
        command.env("TRAAVIIS_SERVER", &address);
        world.shown(&command.env("TRAAVIIS_TOKEN", token).output().unwrap())
    };
    expect![[r#"
        exit 1
        error: the instance has not ended: it is running (not_recordable)
    "#]]
    .assert_eq(&record(&ada));
    for event in ["open", "close"] {
        assert_eq!(server.send(&ada, &id, event).status, 200);
    }
    expect![[r#"
        exit 0
        door.yaml: test `recorded ID` passes and stands there now, with 2 steps and 0 mocks
    "#]]
    .assert_eq(&record(&ada));
    let told = world.run(&["test", "door.yaml"]);
    assert!(world.shown(&told).contains("1 passed, 0 failed; transitions 2 of 2"));
    assert!(record("nobody").starts_with("exit 4"), "{}", record("nobody"));
    server.kill();
    let down = record(&ada);
    assert!(down.starts_with("exit 3"), "{down}");
}

#[test]
fn what_an_operator_did_cannot_be_said_in_a_test() {
    let world = World::new().file("door.yaml", DOOR);
    world.run(&["run", "door.yaml", "--data", "data", "--event", "open", "--timeout", "1s"]);
    let id = world.good("ps --data data")["instances"][0]["id"].as_str().unwrap().to_owned();
    world.good(&format!("cancel {id} --data data"));
    let shown = world.run(&["test", "door.yaml", "--record", &id, "--data", "data"]);
    let shown = world.shown(&shown);
    assert!(shown.starts_with("exit 1"), "{shown}");
    assert!(shown.contains("cancelled from outside, which no step of a test can say"), "{shown}");
    assert_eq!(std::fs::read_to_string(world.path("door.yaml")).unwrap(), DOOR);
}

#[test]
fn a_call_without_a_mock_fails_and_never_goes_out() {
    let world = World::new().file("order.yaml", ORDER).file("none.yaml", "{}\n");
    world.check(
        "run order.yaml --mock none.yaml",
        expect![[r#"
            exit 1
            T  ● Order 1.0.0
            T  → paying
            T    → pay  bank.charge  {}
            T    ✗ pay  mock_absent: no mock answers `call` at `pay`; nothing goes out
            T  paying → refused  on error.invoke.pay
            failed in state refused after T
        "#]],
    );
    let world = world.file("slip.yaml", "pya: 1\n");
    world.check(
        "run order.yaml --mock slip.yaml",
        expect![[r#"
            exit 1
            error: `slip.yaml` holds no mocks: expected `pya` to name an effect or a function, found none of this name; did you mean `pay`? (mocks_invalid)
        "#]],
    );
    let world = world.file("wrong.yaml", "pay: [{error: {code: x}, value: 1}]\n");
    let shown = world.shown(&world.run(&["run", "order.yaml", "--mock", "wrong.yaml"]));
    assert!(shown.contains("a mock gives `error` or `value`, not both"), "{shown}");
}
