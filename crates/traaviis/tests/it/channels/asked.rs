//! What is asked for on the topic of a tenant: effects outside of states, and monitoring.

use serde_json::{Value as Json, json};

use super::{DOOR, owner, start_with};
use crate::{cli::World, server::Server, websocket::Channel};

#[test]
fn an_effect_is_run_on_the_topic_of_a_tenant_as_over_http() {
    let world = World::new();
    let server = Server::serve(&world);
    let (ada, tenant) = owner(&server, "ada@example.org");
    server.publish(&ada, "Door", DOOR);
    let id = start_with(&server, &ada, "Door", json!({ "n": 1 }));
    let topic = format!("tenant:{tenant}");
    let mut socket = Channel::open(&server, &ada);
    socket.join(&topic);
    // The order of keys is the order of steps, so the frame is sent as it stands here.
    let steps = r#"{"z": {"type": "put_data", "key": "n", "value": 100},
        "a": {"type": "transform", "expr": "data.n + param.more"}}"#;
    socket.say(&format!(
        r#"["1", "77", "{topic}", "effects:execute", {{"workflow_id": "{id}",
           "do": {{"type": "sequence", "effects": {steps}}}, "with": {{"more": 1}}}}]"#
    ));
    let reply = socket.until(|it| it[1] == "77")[4].clone();
    assert_eq!(reply["status"], "ok", "{reply}");
    let told = &reply["response"];
    assert_eq!((&told["value"], &told["outside"]), (&json!({ "a": 101, "z": 100 }), &json!(true)));
    let shown =
        server.get(&ada, &format!("/tenants/current/effects/{}", told["id"].as_str().unwrap()));
    assert_eq!(shown.body, *told, "the answer of the operation");

    // Each refusal is that of the operation, by its code.
    let path = format!("/instances/{id}/effects");
    let wrong = [
        json!({}),
        json!({ "effect": "nothing" }),
        json!({ "do": { "type": "dleay" } }),
        json!({ "do": { "type": "call", "function": "other", "args": {} } }),
        json!({ "do": { "type": "value", "value": 1 }, "with": 7 }),
        json!({ "more": 1 }),
    ];
    for body in wrong {
        let code = server.post(&ada, &path, body.clone()).code().to_owned();
        let mut asked = body.clone();
        asked["workflow_id"] = json!(id);
        let refused = socket.refused(&topic, "effects:execute", asked);
        assert_eq!(refused, ("invalid_payload".into(), code), "{body}");
    }
    let value = json!({ "type": "value", "value": 1 });
    let nowhere = json!({ "workflow_id": uuid::Uuid::now_v7(), "do": value });
    assert_eq!(socket.refused(&topic, "effects:execute", nowhere).0, "not_found");
    let (eve, elsewhere) = owner(&server, "eve@example.org");
    let mut of_eve = Channel::open(&server, &eve);
    of_eve.join(&format!("tenant:{elsewhere}"));
    let asked = json!({ "workflow_id": id, "do": value });
    let refused = of_eve.refused(&format!("tenant:{elsewhere}"), "effects:execute", asked.clone());
    assert_eq!(refused.0, "not_found");
    let viewer = server.join(&ada, "vic@example.org", "viewer");
    let mut of_vic = Channel::open(&server, &viewer);
    of_vic.join(&topic);
    let refused = of_vic.refused(&topic, "effects:execute", asked);
    assert_eq!(refused.1, "insufficient_permissions");
}

#[test]
fn monitoring_is_asked_for_on_the_topic_of_a_tenant() {
    let world = World::new();
    let server = Server::serve(&world);
    let (ada, tenant) = owner(&server, "ada@example.org");
    server.publish(&ada, "Door", DOOR);
    let topic = format!("tenant:{tenant}");
    let mut socket = Channel::open(&server, &ada);
    let types = |all: &[&str]| json!({ "resource_types": all });
    let refused = socket.refused(&topic, "monitoring:subscribe", types(&["instances"]));
    assert_eq!(refused.0, "not_found", "it has not joined");
    socket.join(&topic);
    for wrong in [json!({}), types(&["disks"]), json!({ "resource_types": "instances" })] {
        let refused = socket.refused(&topic, "monitoring:subscribe", wrong.clone());
        assert_eq!(refused, ("invalid_payload".into(), "validation_failed".into()), "{wrong}");
    }
    let answer = socket.granted(&topic, "monitoring:subscribe", types(&["instances", "security"]));
    assert_eq!(answer, types(&["instances", "security"]));
    start_with(&server, &ada, "Door", json!({}));
    let mut started = 0;
    while started == 0 {
        let sample = socket.next(&topic, "monitoring:sample");
        assert_eq!(sample["resource_type"], "instances");
        started += sample["started"].as_u64().unwrap();
    }
    assert_eq!(started, 1);
    // Each choice takes the place of the one before, also an empty one.
    assert_eq!(socket.granted(&topic, "monitoring:subscribe", types(&[])), types(&[]));
    socket.granted(&topic, "monitoring:subscribe", types(&["instances"]));

    let key = json!({ "name": "k", "scopes": ["workflow_monitor"] });
    let key = server.post(&ada, "/api-keys", key).text("/key");
    let mut blind = Channel::open(&server, &key);
    blind.join(&topic);
    let refused = blind.refused(&topic, "monitoring:subscribe", types(&["instances"]));
    assert_eq!(refused.1, "insufficient_permissions");

    // A right that ends takes with it what was asked for by it, and leaves the topic.
    let bob = server.join(&ada, "bob@example.org", "developer");
    let me = server.get(&bob, "/me").text("/id");
    let mut of_bob = Channel::open(&server, &bob);
    of_bob.join(&topic);
    of_bob.granted(&topic, "monitoring:subscribe", types(&["security"]));
    let member = format!("/tenants/current/members/{me}");
    let etag = server.get(&ada, &member).header("etag");
    let less = json!({ "permissions": ["workflow_monitor"] });
    let more = format!("if-match: {etag}\r\n");
    let told = server.call_with(&ada, "PATCH", &member, &more, less);
    assert_eq!(told.status, 200, "{told:?}");
    assert_eq!(of_bob.next(&topic, "monitoring:closed"), json!({ "reason": "unauthorized" }));
    of_bob.granted(&topic, "presence:update", json!({ "status": "here" }));
    let other: Vec<&Json> = of_bob.heard.iter().filter(|it| it[3] == "phx_close").collect();
    assert!(other.is_empty(), "{other:?}");
}

#[test]
fn members_tell_each_other_what_they_do_and_hear_what_becomes_of_calls() {
    let world = World::new();
    let server = Server::serve(&world);
    let (ada, tenant) = owner(&server, "ada@example.org");
    server.publish(&ada, "Calls", CALLS);
    let topic = format!("tenant:{tenant}");
    let viewer = server.join(&ada, "vic@example.org", "viewer");
    let [mut of_ada, mut of_vic] = [&ada, &viewer].map(|it| Channel::open(&server, it));
    of_ada.join(&topic);
    of_vic.join(&topic);
    let update = |kind: &str, id: &str| {
        let operation = json!({ "at": "/states/shut" });
        json!({ "resource_type": kind, "resource_id": id, "operation": operation })
    };
    assert_eq!(
        of_ada.granted(&topic, "collaboration:update", update("workflow", "Door")),
        json!({})
    );
    let told = of_vic.next(&topic, "collaboration:updated");
    assert_eq!(
        (&told["resource_type"], &told["resource_id"], &told["operation"]["at"]),
        (&json!("workflow"), &json!("Door"), &json!("/states/shut"))
    );
    assert!(told["user_id"].is_string() && told["timestamp"].is_string(), "{told}");
    for (kind, id) in [("template", "x"), ("workflow", ""), ("effect", &"x".repeat(101))] {
        let refused = of_ada.refused(&topic, "collaboration:update", update(kind, id));
        assert_eq!(refused.1, "validation_failed", "{kind}");
    }
    let refused = of_vic.refused(&topic, "collaboration:update", update("effect", "pause"));
    assert_eq!(refused.1, "insufficient_permissions");

    let id = start_with(&server, &ada, "Calls", json!({}));
    let told = of_vic.next(&topic, "effects:progress");
    assert_eq!((&told["fsm_id"], &told["status"]), (&json!(id), &json!("started")), "{told}");
    // What a member has sent comes back to nobody but the others.
    let own = of_ada.until(|it| it[3] == "effects:progress" || it[3] == "collaboration:updated");
    assert_eq!(own[3], "effects:progress");
}

/// Calls what answers nobody.
const CALLS: &str = r#"traaviis: "1"
name: Calls
version: 1.0.0
initial: calling
states:
  calling:
    invoke:
      - id: call
        effect: {type: call_api, url: "https://nowhere.invalid/"}
        onDone: done
        onError: done
  done: {type: final}
"#;

#[test]
fn everything_that_the_description_names_is_heard_and_nothing_else() {
    let world = World::new();
    let server = Server::serve(&world);
    let (ada, tenant) = owner(&server, "ada@example.org");
    server.publish(&ada, "Door", DOOR);
    let id = start_with(&server, &ada, "Door", json!({ "n": 1 }));
    let me = server.get(&ada, "/me").text("/id");
    let described = server.get("", "/asyncapi.json").body;
    assert_eq!(described["asyncapi"], "3.0.0");
    let mut socket = Channel::open(&server, &ada);
    let mut count = 0;
    for (name, channel) in described["channels"].as_object().unwrap() {
        let topic = channel["address"].as_str().unwrap();
        let topic = topic.replace("{tenant}", &tenant).replace("{id}", &id).replace("{user}", &me);
        socket.join(&topic);
        let refused = socket.refused(&topic, "no_such_event", json!({}));
        assert_eq!(refused, ("invalid_payload".into(), "unknown_event".into()), "{topic}");
        for key in channel["messages"].as_object().unwrap().keys() {
            let Some(event) = key.strip_prefix(&format!("{name}.ask.")) else { continue };
            let (_, reply) = socket.ask(&topic, event, json!({}));
            let message = reply["message"].as_str().unwrap_or_default();
            assert!(!message.contains("on this topic"), "{topic} {event}: {reply}");
            count += 1;
        }
    }
    assert!(count >= 20, "{count}");
}
