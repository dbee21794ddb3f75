use crate::cli::{DOOR, Process, World, wait_for_socket};

fn verdicts(world: &World, arguments: &[&str]) -> (Option<i32>, Vec<(String, String)>) {
    let output = world.run(&[&["doctor", "--json"], arguments].concat());
    let value: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let text = |it: &serde_json::Value| it.as_str().unwrap().to_string();
    let checks = value["checks"].as_array().unwrap();
    let verdicts = checks.iter().map(|it| (text(&it["check"]), text(&it["verdict"]))).collect();
    (output.status.code(), verdicts)
}

#[test]
fn every_thing_is_checked_before_and_while_it_is_used() {
    let world = World::new().file("door.yaml", DOOR);
    let (code, found) = verdicts(&world, &["--data", "d"]);
    assert_eq!(code, Some(0), "{found:?}");
    let names: Vec<&str> = found.iter().map(|it| &*it.0).collect();
    assert_eq!(names, ["directory", "holder", "log", "space", "fdatasync", "clock", "limits"]);
    let _held =
        Process(world.command(&["run", "door.yaml", "--data", "d", "--wait"]).spawn().unwrap());
    wait_for_socket(&world.path("d"));
    let (code, found) = verdicts(&world, &["--data", "d"]);
    assert_eq!(code, Some(0), "{found:?}");
}

#[test]
fn a_service_that_is_not_there_fails_with_its_address() {
    // Port 1 on loopback is closed on every machine that runs tests.
    let connectors = "traaviis: \"1\"\nkind: connectors\nbase_url: http://127.0.0.1:1\negress: {allow_private: [\"127.0.0.1:1\"]}\nfunctions:\n  a.b: {method: POST, path: /b}\n";
    let world = World::new().file("c.yaml", connectors).file("d", "a file");
    let (code, found) = verdicts(&world, &["--connectors", "c.yaml", "--data", "d"]);
    assert_eq!(code, Some(1));
    assert_eq!(found.first().unwrap().1, "fail", "{found:?}");
    assert_eq!(found.last().unwrap(), &("connector".to_string(), "fail".to_string()));
}
