//! Tasks that are shown, handed on and talked about: over HTTP and on the command line.

use serde_json::{Value as Json, json};

use crate::{
    cli::World,
    server::{Server, Told},
};

const PAY: &str = r#"traaviis: "1"
name: Pay
version: 1.0.0
plugins: [{use: redaction}]
initial: asking
states:
  asking:
    invoke:
      - id: ask
        effect: {type: approval, title: "Pay?", assignees: ["role:admin"]}
        onDone: paid
        onError: off
  paid: {type: final, output: "${event.data.by}"}
  off: {type: final, status: cancelled}
"#;

/// Asks nobody in particular.
const OPEN: &str = r#"traaviis: "1"
name: Open
version: 1.0.0
initial: asking
states:
  asking:
    invoke:
      - id: ask
        effect: {type: human_task, title: "Look?", outcomes: [seen]}
        onDone: seen
        onError: seen
  seen: {type: final}
"#;

struct Here {
    server: Server,
    ada: String,
    _world: World,
}

impl Here {
    fn new() -> Here {
        let world = World::new();
        let server = Server::serve(&world);
        let ada = server.register("ada@example.org");
        server.publish(&ada, "Pay", PAY);
        server.publish(&ada, "Open", OPEN);
        Here { server, ada, _world: world }
    }

    /// Makes somebody a member; returns their token and id.
    fn join(&self, email: &str, role: &str) -> (String, String) {
        let token = self.server.join(&self.ada, email, role);
        let id = self.server.get(&token, "/me").text("/id");
        (token, id)
    }

    fn task(&self, who: &str, id: &str) -> Told {
        self.server.get(who, &format!("/tenants/current/tasks/{id}"))
    }

    fn act(&self, who: &str, id: &str, act: &str, body: Json) -> Told {
        self.server.post(who, &format!("/tasks/{id}/{act}"), body)
    }
}

#[test]
fn a_task_is_handed_to_a_member_who_may_take_it_and_answered_by_them_alone() {
    let here = Here::new();
    let (bob, bob_id) = here.join("bob@example.org", "admin");
    let (max, max_id) = here.join("max@example.org", "viewer");
    let (kim, _) = here.join("kim@example.org", "admin");
    let id = here.server.start(&here.ada, "Pay");
    let delegate = |who: &str, to: &str| here.act(who, &id, "delegate", json!({ "to": to }));
    for (who, to, expected) in [
        // Ada started it, and is asked nothing.
        (&here.ada, "max@example.org", "separation_of_duties"),
        (&max, "bob@example.org", "not_assigned"),
        (&bob, "ada@example.org", "separation_of_duties"),
        (&bob, "user:nobody@example.org", "validation_failed"),
        (&bob, "role:viewer", "validation_failed"),
        (&bob, "", "validation_failed"),
        (&bob, &bob_id, "validation_failed"),
    ] {
        let told = delegate(who, to);
        assert_eq!(told.code(), expected, "{to}: {told:?}");
    }
    let told = here.act(
        &bob,
        &id,
        "delegate",
        json!({ "to": "user:Max@example.org", "comment": "ask eve@example.org" }),
    );
    assert_eq!(told.status, 200, "{told:?}");
    let shown = here.task(&max, &id);
    assert_eq!(shown.text("/claimed_by"), format!("user:{max_id}"), "{shown:?}");
    assert_eq!(shown.body["delegated"], json!([format!("user:{max_id}")]));
    // Max is found by the list as well, and nobody else may answer.
    let listed = here.server.get(&max, "/tenants/current/tasks");
    assert_eq!(listed.text("/items/0/instance"), id);
    let decided = json!({ "outcome": "approved" });
    assert_eq!(here.act(&kim, &id, "decide", decided.clone()).code(), "task_claimed");
    assert_eq!(delegate(&bob, "kim@example.org").code(), "task_claimed");
    let told = here.act(&max, &id, "decide", decided);
    assert_eq!(told.text("/status"), "completed", "{told:?}");
    assert_eq!(told.text("/output"), format!("user:{max_id}"));
    let trail = here.server.get(&here.ada, "/tenants/current/audit?limit=100");
    let entries = trail.body["items"].as_array().unwrap();
    let entry = entries.iter().find(|it| it["action"] == "task.delegated").unwrap();
    assert_eq!(entry["metadata"]["to"], json!(format!("user:{max_id}")), "{entry}");
    assert_eq!(entry["actor"]["id"], json!(bob_id), "{entry}");
    // Personal data in a comment were redacted before they were kept.
    let path = format!("/tenants/current/instances/{id}/events?limit=100");
    let history = here.server.get(&here.ada, &path).body.to_string();
    assert!(history.contains("ask [EMAIL]") && !history.contains("eve@"), "{history}");
}

#[test]
fn a_task_for_nobody_in_particular_is_handed_to_who_may_operate_and_to_no_account_of_a_service() {
    let here = Here::new();
    let (dev, _) = here.join("dev@example.org", "developer");
    here.join("vic@example.org", "viewer");
    let (sus, sus_id) = here.join("sus@example.org", "developer");
    here.server.post(&here.ada, &format!("/members/{sus_id}/suspend"), json!(null));
    let robot = json!({ "name": "robot", "role": "developer" });
    let robot = here.server.post(&here.ada, "/service-accounts", robot);
    assert_eq!(robot.status, 201, "{robot:?}");
    let stranger = here.server.register("eve@example.org");
    let id = here.server.start(&dev, "Open");
    for (to, expected) in [
        ("vic@example.org", "not_assigned"),
        ("sus@example.org", "validation_failed"),
        ("eve@example.org", "validation_failed"),
        (&robot.text("/id"), "validation_failed"),
        ("dev@example.org", "separation_of_duties"),
    ] {
        let told = here.act(&here.ada, &id, "delegate", json!({ "to": to }));
        assert_eq!(told.code(), expected, "{to}: {told:?}");
    }
    assert_eq!(here.act(&stranger, &id, "comment", json!({ "text": "x" })).status, 404);
    let told = here.act(&sus, &id, "comment", json!({ "text": "x" }));
    assert_eq!(told.code(), "no_tenant_context", "{told:?}");
    let (ben, _) = here.join("ben@example.org", "developer");
    let told = here.act(&here.ada, &id, "delegate", json!({ "to": "ben@example.org" }));
    assert_eq!(told.status, 200, "{told:?}");
    let told = here.act(&ben, &id, "decide", json!({ "outcome": "seen" }));
    assert_eq!(told.text("/status"), "completed", "{told:?}");
}

#[test]
fn those_whom_a_task_asks_talk_about_it_and_others_do_not_see_it() {
    let here = Here::new();
    let (bob, bob_id) = here.join("bob@example.org", "admin");
    let (kim, _) = here.join("kim@example.org", "admin");
    let key = json!({ "name": "r", "scopes": ["workflow_execute"] });
    let blind = here.server.post(&here.ada, "/api-keys", key).text("/key");
    let id = here.server.start(&here.ada, "Pay");
    assert_eq!(here.act(&bob, &id, "claim", json!(null)).status, 200);
    // Who has claimed it keeps nobody from saying something to it.
    let told = here.act(&kim, &id, "comment", json!({ "text": "call me: kim@example.org" }));
    assert_eq!(told.status, 200, "{told:?}");
    for text in ["", "  ", &"x".repeat(2_001)] {
        let told = here.act(&bob, &id, "comment", json!({ "text": text }));
        assert_eq!((told.status, told.code()), (422, "validation_failed"), "{told:?}");
    }
    let told = here.act(&here.ada, &id, "comment", json!({ "text": "hurry" }));
    assert_eq!((told.status, told.code()), (403, "not_assigned"), "she is not asked: {told:?}");
    assert_eq!(here.act(&bob, &id, "comment", json!({ "text": "done" })).status, 200);
    let shown = here.task(&here.ada, &id);
    let said: Vec<_> = shown.body["comments"].as_array().unwrap().iter().collect();
    assert_eq!((said.len(), &said[0]["text"]), (2, &json!("call me: [EMAIL]")), "{shown:?}");
    assert_eq!(said[1]["by"], json!(format!("user:{bob_id}")));
    assert_eq!(shown.text("/title"), "Pay?");
    // Who may not see instances sees those that ask them, and others not even as there.
    let absent = "0198c51a-7800-7abc-8000-0123456789ab";
    let told = here.task(&blind, &id);
    assert_eq!((told.status, told.code()), (404, "not_found"), "{told:?}");
    assert_eq!(here.task(&blind, absent).code(), "not_found");
    assert_eq!(here.act(&bob, &id, "decide", json!({ "outcome": "approved" })).status, 200);
    assert_eq!(here.task(&here.ada, &id).status, 404, "it was answered");
    let trail = here.server.get(&here.ada, "/tenants/current/audit?limit=100").body.to_string();
    assert_eq!(trail.matches("task.commented").count(), 2, "{trail}");
    assert!(!trail.contains("done\""), "what is said stands in the history alone: {trail}");
}

/// The same acts where nobody serves.
#[test]
fn on_the_command_line_a_task_is_shown_handed_on_and_talked_about() {
    let world = World::new().file("pay.yaml", PAY);
    let run = |words: &[&str]| {
        let mut all: Vec<&str> = vec!["tasks"];
        all.extend(words);
        all.extend(["--data", "d"]);
        world.shown(&world.run(&all))
    };
    world.run(&["run", "pay.yaml", "--data", "d", "--as", "bob"]);
    let refused = run(&["delegate", "0", "bob", "--as", "ann"]);
    assert!(refused.contains("separation_of_duties"), "{refused}");
    let said = run(&["comment", "0", "see page 3", "--as", "kim"]);
    assert!(said.starts_with("exit 0\nsaid: "), "{said}");
    let handed = run(&["delegate", "0", "ann", "--comment", "on leave", "--as", "kim"]);
    assert!(handed.starts_with("exit 0\nhanded to `ann`: "), "{handed}");
    let shown = run(&["show", "0"]);
    for line in ["claimed   user:ann", "for       role:admin, user:ann", "user:kim  see page 3"] {
        assert!(shown.contains(line), "{line}: {shown}");
    }
    let refused = run(&["decide", "0", "approved", "--as", "kim"]);
    assert!(refused.contains("task_claimed"), "{refused}");
    let decided = run(&["decide", "0", "approved", "--as", "ann"]);
    assert!(decided.starts_with("exit 0"), "{decided}");
    let log = world.shown(&world.run(&["logs", "0", "--data", "d"]));
    for line in ["handed to user:ann by user:kim", "user:kim: see page 3"] {
        assert!(log.contains(line), "{line}: {log}");
    }
    assert_eq!(world.run(&["replay", "0", "--data", "d"]).status.code(), Some(0));
    let gone = run(&["show", "0"]);
    assert!(gone.contains("not_found"), "{gone}");
}
