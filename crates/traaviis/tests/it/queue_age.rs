//! The age of work that waits, as a rule for alerts sees it: over the built server.

use std::{net::TcpListener, thread};

use serde_json::json;

use crate::{
    cli::{World, wait_until},
    server::Server,
};

/// More calls than a tenant has slots.
const CROWD: &str = r#"traaviis: "1"
name: Crowd
version: 1.0.0
permissions: {hosts: ["*"]}
input: {schema: {type: object, properties: {url: {type: string}, all: {type: array}}}}
initial: calling
states:
  calling:
    invoke:
      - id: all
        effect:
          type: batch
          items: "${input.all}"
          concurrency: 200
          effect: {type: call_api, url: "${input.url}", timeout: 60s}
        onDone: done
        onError: done
  done: {type: final}
"#;

#[test]
fn calls_that_wait_for_a_slot_for_too_long_raise_an_alert() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    // It answers nobody.
    thread::spawn(move || listener.incoming().map_while(Result::ok).collect::<Vec<_>>());
    let world = World::new();
    let server = Server::with(&world, &["--allow-private", &address], &[]);
    let ada = server.register("ada@example.org");
    server.publish(&ada, "Crowd", CROWD);
    for above in [1, 600] {
        let rule = json!({ "name": above.to_string(), "measure": "queue_age", "above": above });
        let made = server.post(&ada, "/alerts/rules", rule);
        assert_eq!((made.status, made.text("/measure")), (201, "queue_age".into()), "{made:?}");
    }
    let input = json!({ "url": format!("http://{address}/"), "all": vec![0; 200] });
    let start = json!({ "workflow": "Crowd", "input": input });
    for _ in 0..3 {
        let started = server.post(&ada, "/instances", start.clone());
        assert_eq!(started.status, 201, "{started:?}");
    }
    let mut alerts = Vec::new();
    wait_until("the alert is raised", || {
        let told = server.get(&ada, "/tenants/current/alerts");
        alerts = told.body["items"].as_array().unwrap().clone();
        !alerts.is_empty()
    });
    assert_eq!(alerts.len(), 1, "{alerts:?}");
    assert_eq!(alerts[0]["rule"], "queue_age");
    assert_eq!(alerts[0]["message"], "1: work has waited for more than 1 s");
    assert!(alerts[0]["value"].as_u64().is_some_and(|it| (2..60).contains(&it)), "{alerts:?}");
}
