//! What a socket chooses to hear of, what becomes of calls, and counts.

use serde_json::{Value as Json, json};

use super::{DOOR, owner, start_with};
use crate::{
    cli::World,
    server::Server,
    websocket::{Channel, Told},
};

/// Pays somewhere where nobody listens, twice.
const PAY: &str = r#"
traaviis: "1"
name: Pay
version: 1.0.0
initial: paying
states:
  paying:
    invoke:
      - id: charge
        effect:
          type: sequence
          effects:
            - {type: call, function: pay.charge, args: {mail: "${data.mail}"}}
        onDone: done
        onError: failed
  done: {type: final}
  failed: {type: final, status: failed}
data: {initial: "${input}"}
defaults: {retry: {attempts: 2, base_delay: 50ms, jitter: none}}
"#;

const NOBODY: &str = "traaviis: \"1\"\nkind: connectors\nbase_url: http://127.0.0.1:1\n\
    egress: {allow_private: [\"127.0.0.1:1\"]}\n\
    functions:\n  pay.charge: {method: POST, path: /charge, side_effect: true, idempotent: true}\n";

/// Waits for so many messages, and returns all that have come by then: each event with its machine.
fn told_of(socket: &mut Channel, count: usize) -> Vec<(String, String)> {
    while socket.heard.len() < count {
        match socket.read() {
            Told::Frame(frame) => socket.heard.push_back(frame),
            end => panic!("{end:?} after {:?}", socket.heard),
        }
    }
    // What is told and what is answered may pass each other; twice in a row they hardly do.
    socket.granted("phoenix", "heartbeat", json!({}));
    socket.granted("phoenix", "heartbeat", json!({}));
    let word = |it: &Json| it.as_str().unwrap_or_default().to_owned();
    socket.heard.drain(..).map(|it| (word(&it[3]), word(&it[4]["fsm_id"]))).collect()
}

#[test]
fn a_socket_hears_of_the_machines_that_it_has_chosen() {
    let world = World::new();
    let server = Server::serve(&world);
    let (ada, tenant) = owner(&server, "ada@example.org");
    server.publish(&ada, "Door", DOOR);
    let [one, two, three] = [(); 3].map(|()| start_with(&server, &ada, "Door", json!({})));
    let fsm = format!("fsm:{tenant}");
    let (mut all, mut some) = (Channel::open(&server, &ada), Channel::open(&server, &ada));
    all.join(&fsm);
    some.granted(&fsm, "phx_join", json!({ "fsm_ids": [] }));
    let open = |id: &String| assert_eq!(server.send(&ada, id, "open").status, 200);
    let shut = |id: &String| assert_eq!(server.send(&ada, id, "shut").status, 200);
    let moved = |id: &String| ("fsm_state_changed".to_owned(), id.clone());

    open(&one);
    assert!(told_of(&mut some, 0).is_empty(), "it has chosen none yet");
    let answer = some.granted(&fsm, "subscribe_to_fsm", json!({ "fsm_id": two }));
    assert_eq!((&answer["fsm_id"], &answer["subscribed"]), (&json!(two), &json!(1)));
    assert_eq!(answer["details"]["state"], "shut", "how it is, with nothing in between");
    [&one, &two, &three].into_iter().for_each(|id| if *id == one { shut(id) } else { open(id) });
    assert_eq!(told_of(&mut some, 1), [moved(&two)]);
    let unseen = uuid::Uuid::now_v7();
    let many = json!({ "fsm_ids": [one, two, unseen] });
    assert_eq!(some.granted(&fsm, "subscribe_to_fsm", many)["subscribed"], 3);
    // An id that is chosen before its machine is made.
    let born = json!({ "workflow": "Door", "id": unseen, "input": {} });
    assert_eq!(server.post(&ada, "/instances", born).status, 201);
    assert_eq!(some.next(&fsm, "fsm_created")["fsm_id"], json!(unseen));
    told_of(&mut some, 1);
    let left = some.granted(&fsm, "unsubscribe_from_fsm", json!({ "fsm_ids": [two, unseen] }));
    assert_eq!(left["subscribed"], 1);
    open(&one);
    shut(&two);
    assert_eq!(told_of(&mut some, 1), [moved(&one)]);

    // What is nobody's in particular is for those who hear of all.
    let events = json!({ "events": [{ "fsm_id": three, "event": "shut" }] });
    all.granted(&fsm, "batch_send_events", events);
    assert_eq!(all.next(&fsm, "batch_events_processed")["taken"], 1);
    assert!(told_of(&mut some, 0).is_empty());
    for id in [&one, &two, &three] {
        all.until(|it| it[3] == "fsm_state_changed" && it[4]["fsm_id"] == *id);
    }

    // Joined anew it hears of all again, and has chosen nothing that it could leave out.
    some.join(&fsm);
    let refused = some.refused(&fsm, "unsubscribe_from_fsm", json!({ "fsm_id": one }));
    assert_eq!(refused.0, "invalid_payload");
    told_of(&mut some, 1);
    open(&three);
    assert_eq!(told_of(&mut some, 1), [moved(&three)]);
}

#[test]
fn what_cannot_be_chosen_is_refused() {
    let world = World::new();
    let server = Server::serve(&world);
    let (ada, tenant) = owner(&server, "ada@example.org");
    let (eve, _) = owner(&server, "eve@example.org");
    server.publish(&eve, "Door", DOOR);
    let foreign = start_with(&server, &eve, "Door", json!({}));
    let fsm = format!("fsm:{tenant}");
    let mut socket = Channel::open(&server, &ada);
    let choose = |ids: usize| {
        let ids = (0..ids).map(|_| uuid::Uuid::now_v7()).collect::<Vec<_>>();
        json!({ "fsm_ids": ids })
    };
    let bad = [
        json!({}),
        json!({ "fsm_id": "x" }),
        json!({ "fsm_ids": ["x"] }),
        json!({ "fsm_ids": "x" }),
        json!({ "fsm_id": foreign, "fsm_ids": [] }),
        choose(1_501),
    ];
    assert_eq!(socket.refused(&fsm, "phx_join", bad[2].clone()).1, "validation_failed");
    socket.granted(&fsm, "phx_join", json!({ "fsm_ids": [] }));
    for payload in bad {
        let refused = socket.refused(&fsm, "subscribe_to_fsm", payload.clone());
        assert_eq!(refused.1, "validation_failed", "{payload}");
    }
    // Of another tenant is as not there, and is not chosen.
    let refused = socket.refused(&fsm, "subscribe_to_fsm", json!({ "fsm_id": foreign }));
    assert_eq!(refused.0, "not_found");
    assert_eq!(socket.granted(&fsm, "subscribe_to_fsm", choose(0))["subscribed"], 0);
    for round in 1..=6 {
        let told = socket.granted(&fsm, "subscribe_to_fsm", choose(1_500));
        assert_eq!(told["subscribed"], 1_500 * round);
    }
    let refused = socket.refused(&fsm, "subscribe_to_fsm", choose(1_001));
    assert_eq!(refused, ("rate_limited".into(), "quota_exceeded".into()));
    assert_eq!(socket.granted(&fsm, "subscribe_to_fsm", choose(1_000))["subscribed"], 10_000);
}

#[test]
fn calls_are_followed_from_their_beginning_to_their_end() {
    let world = World::new().file("c.yaml", NOBODY);
    let server = Server::with(&world, &["--connectors", "c.yaml"], &[]);
    let (ada, tenant) = owner(&server, "ada@example.org");
    let viewer = server.join(&ada, "vic@example.org", "viewer");
    server.publish(&ada, "Pay", PAY);
    let (fsm, effects) = (format!("fsm:{tenant}"), format!("tenant:{tenant}:effects"));
    let mut socket = Channel::open(&server, &ada);
    let mut masked = Channel::open(&server, &viewer);
    socket.join(&fsm);
    socket.join(&effects);
    masked.join(&effects);
    let id = start_with(&server, &ada, "Pay", json!({ "mail": "eve@example.org" }));

    let mut told = Vec::new();
    while told.last().is_none_or(|it: &Json| it["status"] != "failed") {
        told.push(socket.next(&fsm, "effect_progress"));
    }
    let words: Vec<_> = told.iter().map(|it| it["status"].as_str().unwrap()).collect();
    assert_eq!(words, ["started", "waiting", "started", "failed"], "{told:#?}");
    let listed = server.get(&ada, &format!("/tenants/current/instances/{id}/effects"));
    let calls = listed.body["items"].as_array().unwrap().iter();
    let call = calls.clone().find(|it| !it["key"].is_null()).unwrap();
    for it in &told {
        for (key, as_listed) in [("effect_id", "id"), ("kind", "kind"), ("path", "path")] {
            assert_eq!(it[key], call[as_listed], "{it:#}");
        }
        assert_eq!((&it["fsm_id"], &it["workflow"]), (&json!(id), &json!("Pay")));
    }
    assert_eq!((&told[0]["attempt"], &told[2]["attempt"]), (&json!(1), &json!(2)));
    assert!(told[1]["next_due"].is_string() && told[1]["error"]["code"].is_string());
    for (event, on_machines) in ["started", "waiting", "started", "failed"].iter().zip(&told) {
        let it = socket.next(&effects, &format!("effect:{event}"));
        assert_eq!(it, *on_machines);
    }
    let failed = masked.next(&effects, "effect:failed");
    assert_eq!(failed["effect_id"], told[3]["effect_id"]);

    let key = json!({ "name": "r", "scopes": ["workflow_execute"] });
    let key = server.post(&ada, "/api-keys", key).text("/key");
    let refused = Channel::open(&server, &key).refused(&effects, "phx_join", json!({}));
    assert_eq!(refused.0, "insufficient_permissions");
}

#[test]
fn an_instance_tells_what_becomes_of_its_calls() {
    // Slow enough that somebody can join while it waits.
    let slow = PAY.replace("50ms", "1500ms");
    let world = World::new().file("c.yaml", NOBODY);
    let server = Server::with(&world, &["--connectors", "c.yaml"], &[]);
    let (ada, _) = owner(&server, "ada@example.org");
    server.publish(&ada, "Pay", &slow);
    let id = start_with(&server, &ada, "Pay", json!({ "mail": "eve@example.org" }));
    let topic = format!("instance:{id}");
    let mut socket = Channel::open(&server, &ada);
    socket.join(&topic);
    let mut events = Vec::new();
    while events.last().is_none_or(|it| it != "finished") {
        match socket.read() {
            Told::Frame(frame) if frame[3] == "effect_progress" => {
                // The beginning was before anybody listened, and is known all the same.
                assert!(frame[4]["effect_id"].as_str().unwrap().starts_with(&id), "{frame}");
                events.push(frame[4]["status"].as_str().unwrap().to_owned());
            }
            Told::Frame(frame) if frame[3] == "finished" => events.push("finished".into()),
            Told::Frame(_) => {}
            end => panic!("{end:?} after {events:?}"),
        }
    }
    assert!(
        events.ends_with(&["started".into(), "failed".into(), "finished".into()]),
        "{events:?}"
    );
}

#[test]
fn machines_and_tenants_are_counted() {
    let world = World::new();
    let server = Server::serve(&world);
    let (ada, tenant) = owner(&server, "ada@example.org");
    server.publish(&ada, "Door", DOOR);
    let ids = [(); 3].map(|()| start_with(&server, &ada, "Door", json!({})));
    server.send(&ada, &ids[0], "open");
    server.post(&ada, &format!("/instances/{}/cancel", ids[1]), json!({}));
    let fsm = format!("fsm:{tenant}");
    let mut socket = Channel::open(&server, &ada);
    socket.join(&fsm);
    let told = socket.granted(&fsm, "get_fsm_metrics", json!({ "fsm_id": ids[0] }));
    assert_eq!((&told["instance"], &told["state"]), (&json!(ids[0]), &json!("ajar")));
    assert_eq!(told["performance"]["transition_count"], 2);
    assert_eq!(told["open"]["effects"], 0);
    assert!(told["records"].as_u64() > Some(2) && told["age_ms"].as_u64().is_some(), "{told:#}");
    let same = server.get(&ada, &format!("/tenants/current/instances/{}/metrics", ids[1]));
    assert_eq!(same.body["status"], "cancelled");
    let unknown = socket.refused(&fsm, "get_fsm_metrics", json!({ "fsm_id": tenant }));
    assert_eq!(unknown.0, "not_found");

    let stats = socket.granted(&fsm, "get_tenant_stats", json!({}));
    assert_eq!((&stats["tenant_id"], &stats["workflows"]), (&json!(tenant), &json!(1)));
    let counted = &stats["instances"];
    assert_eq!(counted["by_status"], json!({ "cancelled": 1, "running": 2 }));
    assert_eq!(counted["by_workflow"], json!([{ "workflow": "Door", "open": 2, "ended": 1 }]));
    assert_eq!((&counted["total"], &counted["open"]), (&json!(3), &json!(2)));
    assert!(counted["last_activity"].is_string());
}

#[test]
fn who_sends_an_event_on_the_topic_of_a_tenant_is_told_to_those_who_may_see_it() {
    let world = World::new();
    let server = Server::serve(&world);
    let (ada, tenant) = owner(&server, "ada@example.org");
    server.publish(&ada, "Door", DOOR);
    let me = server.get(&ada, "/me").text("/id");
    let id = start_with(&server, &ada, "Door", json!({}));
    let topic = format!("tenant:{tenant}");
    let key = json!({ "name": "r", "scopes": ["workflow_execute"] });
    let key = server.post(&ada, "/api-keys", key).text("/key");
    let (mut socket, mut blind) = (Channel::open(&server, &ada), Channel::open(&server, &key));
    socket.join(&topic);
    blind.join(&topic);
    let event = json!({ "workflow_id": id, "event": "open", "event_data": {} });
    assert_eq!(blind.granted(&topic, "workflow:execute", event)["state"], "ajar");
    let told = socket.next(&topic, "workflow:executed");
    assert_eq!((&told["workflow_id"], &told["event"]), (&json!(id), &json!("open")));
    assert_eq!((&told["state"], &told["user_id"]), (&json!("ajar"), &json!(me)));
    assert!(!told_of(&mut blind, 0).iter().any(|it| it.0 == "workflow:executed"));
}
