//! What somebody who sees data masked, or not at all, gets out of a server: no more by computing
//! with it, and nothing by the names under which instances and tasks are found.

use serde_json::{Value as Json, json};

use crate::{cli::World, server::Server};

/// Asks a person, and goes by the address of another.
const CARE: &str = r#"traaviis: "1"
name: Care
version: 1.0.0
correlation: {key: input.email}
data: {initial: {email: "${input.email}", card: "4111 1111 1111 1111", sum: 42}}
events: {}
initial: asking
states:
  asking:
    invoke:
      - id: look
        effect:
          type: human_task
          title: "Call ${data.email}"
          description: "about ${data.email}"
          assignees: ["role:viewer"]
          outcomes: [good, bad]
        onDone: done
        onError: done
  done: {type: final}
"#;

#[test]
fn who_sees_less_computes_with_less_and_finds_nobody_by_a_name() {
    let world = World::new();
    let server = Server::serve(&world);
    let ada = server.register("ada@example.org");
    server.publish(&ada, "Care", CARE);
    let input = json!({ "email": "jane.doe@corp.example" });
    let start = json!({ "workflow": "Care", "input": input, "tags": ["jane.doe@corp.example"] });
    let id = server.post(&ada, "/instances", start).text("/id");

    let bob = server.join(&ada, "bob@example.org", "viewer");
    let blind = json!({ "name": "Blind", "base": "viewer", "permissions": ["workflow_monitor"],
                        "data_access": { "payloads": "none" } });
    let blind = server.post(&ada, "/roles", blind).text("/id");
    let eve = server.join(&ada, "eve@example.org", &blind);

    let query = |who: &str, select: &str| {
        let told = server.post(who, &format!("/instances/{id}/query"), json!({ "select": select }));
        match told.status {
            200 => told.body["value"].clone(),
            _ => json!(told.code()),
        }
    };
    let gone = json!("[WITHHELD]");
    for (select, full, masked, none) in [
        ("data.email", json!("jane.doe@corp.example"), json!("[EMAIL]"), "expression_error"),
        ("data.email.startsWith('jane')", json!(true), json!(false), "expression_error"),
        ("size(data.email)", json!(21), json!(7), "expression_error"),
        (
            "data.card.replace(' ', '-x-')",
            json!("4111-x-1111-x-1111-x-1111"),
            json!("[CREDIT_CARD]"),
            "expression_error",
        ),
        ("data.sum + 1", json!(43), json!(43), "expression_error"),
        ("has(data.email) && data.email != '' ? 1 : data.none", json!(1), json!(1), "x"),
        ("status", json!("running"), json!("running"), ""),
    ] {
        assert_eq!(query(&ada, select), full, "{select}");
        assert_eq!(query(&bob, select), masked, "{select}");
        let none = match none {
            "" => gone.clone(),
            "x" => json!("expression_error"),
            code => json!(code),
        };
        assert_eq!(query(&eve, select), none, "{select}");
    }

    let current = |path: &str| format!("/tenants/current{path}");
    for path in [
        "/instances",
        &format!("/instances/{id}"),
        &format!("/instances/{id}/events"),
        &format!("/instances/{id}/state"),
        &format!("/instances/{id}/tree"),
        &format!("/instances/{id}/effects"),
        "/effects",
        "/tasks",
        &format!("/tasks/{id}"),
        "/instances?correlation=jane.doe%40corp.example",
    ] {
        let told = |who: &str| server.get(who, &current(path)).body;
        assert!(told(&ada).to_string().contains(&id), "{path}");
        for who in [&bob, &eve] {
            let told = told(who).to_string();
            assert!(told.contains(&id) && !told.contains("jane"), "{path}: {told}");
        }
    }
    let unknown = "/instances/0198c51a-7800-7abc-8000-0123456789ab";
    let told = server.get(&ada, &current(unknown));
    assert_eq!((told.status, told.text("/detail").contains("traaviis")), (404, false), "{told:?}");
    // Whoever is asked learns what about, and answers.
    let tasks = server.get(&bob, &current("/tasks")).body;
    assert_eq!(tasks["items"][0]["title"], json!("Call [EMAIL]"), "{tasks}");
    let tasks: Json = server.get(&eve, &current("/tasks")).body;
    assert_eq!(tasks["items"][0]["description"], gone, "{tasks}");
    let answer = json!({ "outcome": "good" });
    assert_eq!(server.post(&bob, &format!("/tasks/{id}/decide"), answer).status, 200);
}
