use expect_test::expect;

use crate::cli::{DOOR, World};

const LIGHT: &str = r#"<scxml xmlns="http://www.w3.org/2005/07/scxml" name="Light">
  <state id="dark"><transition event="switch" target="lit"/></state>
  <state id="lit">
    <onentry><send event="off" delay="30s"/></onentry>
    <transition event="off" target="dark"/>
    <transition event="burn" target="dark"><script>smoke()</script></transition>
  </state>
</scxml>
"#;

#[test]
fn events_and_time_come_from_a_file() {
    let world = World::new().file("door.yaml", DOOR).file(
        "events.jsonl",
        "{\"event\": \"open\"}\n\n{\"advance\": \"3s\"}\n{\"event\": \"knock\"}\n{\"event\": \"lock\", \"data\": {\"by\": 1}}\n{\"event\": \"close\"}\n",
    );
    world.check("simulate door.yaml --events events.jsonl", expect![[r#"
        exit 1
        closed  running  {"opened":0}
        opened  running  {"opened":1}
        opened  running  {"opened":1}
        opened  running  {"opened":1}
          refused: event `knock` is not declared in workflow `Door`; declared are: close, lock, open (unknown_event)
        opened  running  {"opened":1}
          refused: the payload of `lock` does not fit its schema: /by: 1 is not of type "string" (event_payload_invalid)
        closed  running  {"opened":1}
        2 lines were refused
    "#]]);
    world.check("simulate door.yaml --events events.jsonl --json", expect![[r#"
        exit 0
        {"configuration":["closed"],"data":{"opened":0},"status":"running"}
        {"configuration":["opened"],"data":{"opened":1},"status":"running"}
        {"configuration":["opened"],"data":{"opened":1},"status":"running"}
        {"configuration":["opened"],"data":{"opened":1},"error":{"code":"unknown_event","details":{"declared":["close","lock","open"]},"message":"event `knock` is not declared in workflow `Door`; declared are: close, lock, open"},"status":"running"}
        {"configuration":["opened"],"data":{"opened":1},"error":{"code":"event_payload_invalid","details":{"errors":["/by: 1 is not of type \"string\""]},"message":"the payload of `lock` does not fit its schema: /by: 1 is not of type \"string\""},"status":"running"}
        {"configuration":["closed"],"data":{"opened":1},"status":"running"}
    "#]]);
}

#[test]
fn a_wrong_line_is_named() {
    let world = World::new()
        .file("door.yaml", DOOR)
        .file("both.jsonl", r#"{"event": "open", "advance": "3s"}"#)
        .file("back.jsonl", "{\"advance\": \"1s\"}\n{\"advance\": \"-3s\"}")
        .file("key.jsonl", r#"{"evnt": "open"}"#);
    world.check("simulate door.yaml --events both.jsonl", expect![[r#"
        exit 1
        closed  running  {"opened":0}
        error: line 1 of the events: `event` and `advance` at once; a line is `{"event": NAME, "data": ..}` or `{"advance": "3s"}` (events_invalid)
    "#]]);
    world.check("simulate door.yaml --events back.jsonl", expect![[r#"
        exit 1
        closed  running  {"opened":0}
        closed  running  {"opened":0}
        error: line 2 of the events: time does not go back; a line is `{"event": NAME, "data": ..}` or `{"advance": "3s"}` (events_invalid)
    "#]]);
    world.check("simulate door.yaml --events key.jsonl", expect![[r#"
        exit 1
        closed  running  {"opened":0}
        error: line 1 of the events: unknown field `evnt`, expected one of `event`, `data`, `advance` at line 1 column 7; a line is `{"event": NAME, "data": ..}` or `{"advance": "3s"}` (events_invalid)
    "#]]);
    world.check(
        "simulate door.yaml --events none.jsonl",
        expect![[r#"
        exit 1
        error: cannot read `none.jsonl`: No such file or directory (os error 2) (file_unreadable)
    "#]],
    );
}

#[test]
fn an_scxml_chart_becomes_a_workflow_that_runs() {
    let world = World::new().file("light.scxml", LIGHT).file("bad.scxml", "<scxml><state>");
    world.check(
        "import light.scxml --from scxml",
        expect![[r##"
            exit 0
            traaviis: "1"
            name: Light
            version: "1.0.0"
            unhandled: ignore
            errors: {"unhandled":"ignore"}
            initial: dark
            events: {"burn.*":{},"off.*":{},"switch.*":{}}
            states:
              dark: {"on":{"switch.*":{"target":"#lit"}}}
              lit:
                entry: [{"raise":{"event":"off","delay":"30000ms"}}]
                on:
                  "burn.*":
                    target: "#dark"
                    actions: [{"assign":{"not_converted":"${data.not_converted.field}"}}]
                  "off.*": {"target":"#dark"}
            light.scxml: 7 elements kept, 0 approximated, 1 dropped
            6:44: <script> dropped: `script` has no counterpart; it fails when it is run
        "##]],
    );
    world.check("import light.scxml --from scxml --json", expect![[r##"
        exit 0
        {"document":{"traaviis":"1","name":"Light","version":"1.0.0","unhandled":"ignore","errors":{"unhandled":"ignore"},"initial":"dark","events":{"burn.*":{},"off.*":{},"switch.*":{}},"states":{"dark":{"on":{"switch.*":{"target":"#lit"}}},"lit":{"entry":[{"raise":{"event":"off","delay":"30000ms"}}],"on":{"burn.*":{"target":"#dark","actions":[{"assign":{"not_converted":"${data.not_converted.field}"}}]},"off.*":{"target":"#dark"}}}}},"loss":{"kept":7,"approximated":[],"dropped":[{"line":6,"column":44,"element":"<script>","message":"`script` has no counterpart; it fails when it is run"}]}}
    "##]]);
    world.check("import bad.scxml --from scxml", expect![[r#"
        exit 1
        error: bad.scxml: the root node was opened but never closed; document types and their entities are not read (import_failed)
    "#]]);
    let imported = world.run(&["import", "light.scxml", "--from", "scxml"]);
    std::fs::write(world.path("light.yaml"), imported.stdout).unwrap();
    std::fs::write(
        world.path("events.jsonl"),
        "{\"event\": \"switch\"}\n{\"advance\": \"29s\"}\n{\"advance\": \"1s\"}\n",
    )
    .unwrap();
    world.check(
        "simulate light.yaml --events events.jsonl",
        expect![[r#"
        exit 0
        dark  running  {}
        lit  running  {}
        lit  running  {}
        dark  running  {}
    "#]],
    );
}

#[test]
fn lines_that_are_all_taken_are_no_finding() {
    let world = World::new()
        .file("door.yaml", DOOR)
        .file("taken.jsonl", "{\"event\": \"open\"}\n")
        .file("refused.jsonl", "{\"event\": \"close\"}\n{\"event\": \"open\"}\n");
    world.check(
        "simulate door.yaml --events taken.jsonl",
        expect![[r#"
        exit 0
        closed  running  {"opened":0}
        opened  running  {"opened":1}
    "#]],
    );
    world.check("simulate door.yaml --events refused.jsonl", expect![[r#"
        exit 1
        closed  running  {"opened":0}
        closed  running  {"opened":0}
          refused: state `closed` does not accept event `close` now; accepted are: lock, open (event_not_accepted)
        opened  running  {"opened":1}
        1 line was refused
    "#]]);
    world.check("simulate door.yaml --events refused.jsonl --json", expect![[r#"
        exit 0
        {"configuration":["closed"],"data":{"opened":0},"status":"running"}
        {"configuration":["closed"],"data":{"opened":0},"error":{"code":"event_not_accepted","details":{"accepted":["lock","open"]},"message":"state `closed` does not accept event `close` now; accepted are: lock, open"},"status":"running"}
        {"configuration":["opened"],"data":{"opened":1},"status":"running"}
    "#]]);
}
