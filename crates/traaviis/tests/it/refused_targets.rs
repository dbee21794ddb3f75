//! What may not be reached stands in the audit trail: calls, webhooks and issuers of a tenant.

use serde_json::{Value as Json, json};

use crate::{
    cli::{World, wait_until},
    server::Server,
};

const CALLER: &str = r#"traaviis: "1"
name: Caller
version: 1.0.0
permissions: {hosts: ["*"]}
input: {schema: {type: object, properties: {urls: {type: array}}}}
initial: calling
states:
  calling:
    invoke:
      - id: ask
        effect:
          type: batch
          items: "${input.urls}"
          fail_fast: false
          effect: {type: call_api, url: "${item}"}
        onDone: done
        onError: done
  done: {type: final}
"#;

fn refusals(server: &Server, who: &str) -> Vec<Json> {
    let trail = server.get(who, "/tenants/current/audit?limit=200");
    let items = trail.body["items"].as_array().unwrap();
    items.iter().filter(|it| it["action"] == "egress.refused").cloned().collect()
}

fn targets(all: &[Json]) -> Vec<&str> {
    let mut all: Vec<&str> =
        all.iter().map(|it| it["resource_id"].as_str().unwrap_or_default()).collect();
    all.sort_unstable();
    all
}

#[test]
fn each_way_to_a_refused_target_is_in_the_trail_of_its_tenant_and_of_no_other() {
    let world = World::new();
    let server = Server::serve(&world);
    let ada = server.register("ada@example.org");
    let eve = server.register("eve@example.org");
    server.publish(&ada, "Caller", CALLER);
    let hook = json!({ "url": "http://10.0.0.2/", "events": ["created"] });
    assert_eq!(server.post(&ada, "/webhooks", hook).status, 201);
    let issuer = json!({
        "url": "https://10.0.0.3", "client_id": "x", "domains": ["example.org"],
        "otherwise": "viewer",
    });
    let told = server.call(&ada, "PUT", "/tenants/current/issuers/sso", issuer);
    assert_eq!(told.code(), "egress_denied", "{told:?}");
    let urls = ["http://10.0.0.1/?key=s3cret", "ftp://example.org/", "http://example.org:22/"];
    let started =
        server.post(&ada, "/instances", json!({ "workflow": "Caller", "input": { "urls": urls } }));
    assert_eq!(started.status, 201, "{started:?}");
    let expected = ["10.0.0.1", "10.0.0.2", "10.0.0.3", "example.org", "ftp"];
    let mut found = Vec::new();
    wait_until("all are entered", || {
        found = refusals(&server, &ada);
        targets(&found) == expected
    });
    let of = |target: &str| found.iter().find(|it| it["resource_id"] == target).unwrap();
    let call = of("10.0.0.1");
    assert_eq!((&call["outcome"], &call["resource_type"]), (&json!("denied"), &json!("target")));
    assert_eq!(call["metadata"]["instance"], started.body["id"], "{call}");
    assert_eq!(call["metadata"]["workflow"], "Caller", "{call}");
    assert_eq!(of("10.0.0.2")["metadata"]["by"], "webhook");
    assert_eq!(of("10.0.0.3")["metadata"]["by"], "issuer");
    assert!(!json!(found).to_string().contains("s3cret"), "a host, and no more: {found:?}");
    assert_eq!(refusals(&server, &eve), Vec::<Json>::new());
    let checked = server.post(&ada, "/audit/verify", json!(null));
    assert_eq!(checked.status, 200, "{checked:?}");
}

#[test]
fn whoever_is_refused_again_and_again_writes_few_entries() {
    let world = World::new();
    let server = Server::serve(&world);
    let ada = server.register("ada@example.org");
    server.publish(&ada, "Caller", CALLER);
    let mut urls = vec!["http://10.0.0.1/".to_string(); 100];
    urls.extend((0..100).map(|it| format!("http://10.0.1.{it}/")));
    let start = json!({ "workflow": "Caller", "input": { "urls": urls } });
    let id = server.post(&ada, "/instances", start).text("/id");
    let path = format!("/tenants/current/instances/{id}");
    wait_until("it has ended", || server.get(&ada, &path).text("/snapshot/status") == "completed");
    wait_until("they are entered", || refusals(&server, &ada).len() >= 21);
    // A server that ends enters what is counted still.
    let pid = server.process.0.id().to_string();
    std::process::Command::new("kill").args(["-TERM", &pid]).status().unwrap();
    let mut process = server.process;
    process.0.wait().unwrap();
    let server = Server::serve(&world);
    let all = refusals(&server, &ada);
    // Twenty targets, and all others together: each one entry for the first and one for the rest.
    assert!(all.len() <= 42, "{} entries", all.len());
    let count = |it: &Json| it["metadata"]["count"].as_u64().unwrap_or(1);
    assert_eq!(all.iter().map(count).sum::<u64>(), 200, "none is forgotten: {all:?}");
    assert!(targets(&all).contains(&"others"));
}
