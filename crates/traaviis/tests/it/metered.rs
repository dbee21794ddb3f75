//! What tenants of a served directory use, counted over kills, and told by commands.

use std::{
    io::{Read as _, Write as _},
    net::TcpListener,
    thread,
};

use serde_json::{Value as Json, json};

use crate::{
    cli::{World, wait_until},
    server::{PASSWORD, Server, bash},
};

/// Waits for somebody, after it has asked a peer.
const WAITS: &str = r#"traaviis: "1"
name: Waits
version: 1.0.0
initial: asking
events: {go: {}}
states:
  asking:
    invoke:
      - id: ask
        effect: {type: call_api, url: "http://PEER/things", method: POST, body: {text: "TEXT"}}
        onDone: waiting
        onError: waiting
  waiting: {on: {go: done}}
  done: {type: final}
"#;

/// Answers whatever is asked, and says so in the end.
fn peer() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let (mut stream, mut piece) = (stream.unwrap(), [0; 8_192]);
            let mut text = Vec::new();
            while !text.ends_with(b"}") {
                let read = stream.read(&mut piece).unwrap();
                text.extend_from_slice(&piece[..read]);
            }
            let head = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}";
            stream.write_all(head.as_bytes()).unwrap();
        }
    });
    address
}

fn used(api: &Server, who: &str, metric: &str) -> u64 {
    let told = api.get(who, "/tenants/current/usage");
    let all = told.body["metrics"].as_array().unwrap_or_else(|| panic!("{told:?}"));
    all.iter().find(|it| it["metric"] == metric).unwrap()["used"].as_u64().unwrap()
}

fn log_in(api: &Server) -> String {
    let login = json!({ "email": "ada@example.org", "password": PASSWORD });
    api.call("", "POST", "/auth/login", login).text("/access_token")
}

const COUNTED: [(&str, u64); 4] = [
    ("workflow_executions", 3),
    ("effect_executions", 3),
    ("human_tasks", 0),
    ("state_transitions", 7),
];

#[test]
fn what_a_tenant_uses_is_counted_over_kills_and_told_by_commands() {
    let (world, peer) = (World::new(), peer());
    let more = ["--allow-private", peer.as_str()];
    let api = Server::with(&world, &more, &[]);
    let ada = api.register("ada@example.org");
    let waits = WAITS.replace("PEER", &peer).replace("TEXT", &"x".repeat(2_000));
    api.publish(&ada, "Waits", &waits);
    let first = api.start(&ada, "Waits");
    api.start(&ada, "Waits");
    api.start(&ada, "Waits");
    let is_there = |api: &Server, who: &str, all: &[(&str, u64)]| {
        all.iter().all(|it| used(api, who, it.0) == it.1)
    };
    wait_until("all of them wait", || used(&api, &ada, "state_transitions") == 6);
    wait_until("what was sent is counted", || used(&api, &ada, "egress") > 6_000);
    assert!(used(&api, &ada, "egress") < 8_000);
    let path = format!("/tenants/current/instances/{first}/events");
    assert_eq!(api.call(&ada, "POST", &path, json!({ "event": "go" })).status, 200);
    api.kill();
    for _ in 0..2 {
        api_kill_and(&world, &more, |api, ada| {
            wait_until("the log is counted", || is_there(api, ada, &COUNTED));
            let told = api.get(ada, "/tenants/current/usage?by=workflow");
            let part = &told.body["parts"][0];
            assert_eq!(part["key"], json!("Waits"), "{told:?}");
            assert_eq!(part["used"]["workflow_executions"], json!(3), "{told:?}");
            let told = api.get(ada, "/tenants/current/usage?by=day");
            assert!(!told.body["parts"].as_array().unwrap().is_empty(), "{told:?}");
            let refused = api.get(ada, "/tenants/current/usage?by=colour");
            assert_eq!(refused.code(), "validation_failed", "{refused:?}");
            // Two are open: what they come to grows.
            let before = used(api, ada, "active_machines");
            wait_until("time passes", || used(api, ada, "active_machines") > before);
        });
    }
    let api = Server::with(&world, &more, &[]);
    let script = "
        traaviis login ada@example.org >/dev/null
        traaviis usage | sed 's/  */ /g' | grep -E 'METRIC|workflow_executions'
        traaviis usage --by workflow | sed 's/  */ /g' | tail -1
        traaviis usage --month 1999-01 2>&1 >/dev/null || echo \"exit $?\"
        traaviis invoices | sed 's/  */ /g' | cut -d' ' -f2-
        traaviis invoices $(date -u +%Y-%m) | sed 's/  */ /g' | tail -1
        traaviis usage --json | grep -c active_machines";
    let (code, lines) = bash(&world, &api, script);
    assert_eq!(code, 0, "{lines:?}");
    assert_eq!(lines[0].trim(), "METRIC USED UNIT IN THE PLAN OF IT FORECAST");
    assert!(lines[1].starts_with("workflow_executions 3 run - -"), "{lines:?}");
    assert!(lines[2].starts_with("Waits ") && lines[2].contains("workflow_executions 3"));
    assert!(lines[3].starts_with("error") || lines[3].starts_with("exit"), "{lines:?}");
    assert!(lines.iter().any(|it| it.starts_with("STATUS PLAN TOTAL DUE")), "{lines:?}");
    assert!(lines.iter().any(|it| it.starts_with("draft self_hosted 0.000000")), "{lines:?}");
    assert!(lines.iter().any(|it| it.starts_with("due 0.000000")), "{lines:?}");
}

/// Serves the directory, does something, and kills the process.
fn api_kill_and(world: &World, more: &[&str], then: impl FnOnce(&Server, &str)) {
    let api = Server::with(world, more, &[]);
    let ada = log_in(&api);
    then(&api, &ada);
    api.kill();
}

#[test]
fn a_time_zone_is_chosen_and_a_plan_that_is_used_up_is_told() {
    let world = World::new();
    let api = Server::serve(&world);
    let ada = api.register("ada@example.org");
    let set = |zone: Json| {
        let wanted = json!({ "timezone": zone });
        api.call_with(&ada, "PATCH", "/tenants/current/config", "if-match: *\r\n", wanted)
    };
    let refused = set(json!("Mars/Olympus"));
    assert_eq!(refused.code(), "validation_failed", "{refused:?}");
    let told = set(json!("Pacific/Auckland"));
    assert_eq!(told.status, 200, "{told:?}");
    let usage = api.get(&ada, "/tenants/current/usage");
    assert_eq!(usage.text("/timezone"), "Pacific/Auckland");
    let begins = usage.text("/from");
    assert!(begins.contains("T11:00:00") || begins.contains("T12:00:00"), "{begins}");
    let free = api.call(&ada, "PUT", "/tenants/current/plan", json!({ "plan": "free" }));
    assert_eq!(free.status, 200, "{free:?}");
    let account = json!({ "name": "robot", "role": "viewer" });
    assert_eq!(api.post(&ada, "/service-accounts", account).status, 201);
    // The free plan lets nobody ask as often as this: one answer has to be enough.
    let mut alert = Json::Null;
    wait_until("two of three members are told of", || {
        alert = api.get(&ada, "/tenants/current/alerts").body["items"][0].clone();
        alert["rule"] == "plan"
    });
    let month = usage.text("/month");
    assert_eq!(alert["id"], json!(format!("plan-members-{month}-50")), "{alert}");
    assert_eq!(alert["value"], json!(2));
}
