use expect_test::expect;

use crate::cli::{DOOR, World};

#[test]
fn mermaid_comes_without_being_asked_for() {
    World::new().file("door.yaml", DOOR).check(
        "graph door.yaml",
        expect![[r#"
        exit 0
        ---
        title: "Door 1.0.0"
        ---
        stateDiagram-v2
          state "closed" as s1
          state "opened" as s2
          state "locked" as s3
          [*] --> s1
          s3 --> [*]
          s1 --> s2 : open<br/>/ assign opened
          s1 --> s3 : lock
          s2 --> s1 : close
    "#]],
    );
}

#[test]
fn every_format_goes_to_a_file() {
    let world = World::new().file("door.yaml", DOOR);
    for (format, begin) in [
        ("mermaid", &b"---\ntitle"[..]),
        ("dot", b"digraph "),
        ("svg", b"<svg "),
        ("png", b"\x89PNG"),
    ] {
        let out = world.run(&["graph", "door.yaml", "--format", format, "--output", "picture"]);
        assert_eq!(world.shown(&out), "exit 0\n", "{format}");
        let picture = std::fs::read(world.path("picture")).unwrap();
        assert!(picture.starts_with(begin), "{format}");
    }
    world.check("graph door.yaml --output missing/picture", expect![[r#"
        exit 1
        error: cannot write `missing/picture`: No such file or directory (os error 2) (file_unwritable)
    "#]]);
}

#[test]
fn programs_get_json() {
    let world = World::new().file("door.yaml", DOOR);
    let out = world.run(&["graph", "door.yaml", "--format", "dot", "--json"]);
    let value: serde_json::Value = serde_json::from_slice(&out.stdout).unwrap();
    assert_eq!(value["format"], "dot");
    assert!(value["graph"].as_str().unwrap().starts_with("digraph "));
    world.check("graph door.yaml --format png --json", expect![[r#"
        exit 2
        {"error":{"code":"usage","message":"a PNG is no text that fits into JSON; name a file with `--output`"}}
    "#]]);
}

#[test]
fn a_document_with_errors_is_not_drawn() {
    let broken = DOOR.replace("on: {close: closed}", "on: {close: shut}");
    World::new().file("door.yaml", &broken).check(
        "graph door.yaml",
        expect![[r#"
        exit 1
        door.yaml:14:17: E102 target `shut` names no state that can be seen from here
        error: `door.yaml` has 1 error(s); nothing was done (definition_invalid)
    "#]],
    );
}
