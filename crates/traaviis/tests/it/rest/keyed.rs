//! Instances that are started with a business key, and found by it.

use serde_json::json;

use super::DOOR;
use crate::{cli::World, server::Server};

#[test]
fn an_instance_has_the_business_key_that_it_is_started_with() {
    let world = World::new();
    let api = Server::serve(&world);
    let ada = api.register("ada@example.org");
    api.publish(&ada, "Door", DOOR);
    let start = |body: serde_json::Value| api.post(&ada, "/instances", body);
    let front = start(json!({ "workflow": "Door", "correlation": "front door" }));
    assert_eq!(front.status, 201, "{front:?}");
    let back = start(json!({ "workflow": "Door", "correlation": "back" })).text("/id");
    start(json!({ "workflow": "Door" }));
    // The first start of a workflow takes another way than the next ones, which wait for no disk.
    let again = start(json!({ "workflow": "Door", "correlation": "front door" })).text("/id");
    let path = "/tenants/current/instances?correlation=front%20door";
    let found = api.get(&ada, path);
    let ids = |told: &crate::server::Told| {
        let items = told.body["items"].as_array().unwrap().iter();
        items.map(|it| it["id"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(ids(&found), [again.clone(), front.text("/id")], "{found:?}");

    let event = json!({ "event": "open", "filter": { "correlation": "back" } });
    let told = api.post(&ada, "/broadcast", event);
    assert_eq!(told.status, 200, "{told:?}");
    let opened = api.get(&ada, "/tenants/current/instances?state=ajar");
    assert_eq!(ids(&opened), [back]);

    for bad in ["", " ", " x", "a\nb", &"x".repeat(257)] {
        let told = start(json!({ "workflow": "Door", "correlation": bad }));
        assert_eq!((told.status, told.text("/errors/0/pointer")), (422, "/correlation".into()));
    }
    let whole = "x".repeat(256);
    assert_eq!(start(json!({ "workflow": "Door", "correlation": whole })).status, 201);
}

/// A workflow of which one instance is open for each key.
const ORDER: &str = r#"traaviis: "1"
name: Order
version: 1.0.0
correlation: {key: input.order, unique: true}
initial: open
states:
  open: {}
"#;

#[test]
fn a_key_that_must_be_the_only_one_is_held_to_it_whoever_gives_it() {
    let world = World::new();
    let api = Server::serve(&world);
    let ada = api.register("ada@example.org");
    api.publish(&ada, "Order", ORDER);
    let start = |order: &str, key: Option<&str>| {
        let body = json!({ "workflow": "Order", "input": { "order": order }, "correlation": key });
        let told = api.post(&ada, "/instances", body);
        (told.status, told.code().to_owned())
    };
    assert_eq!(start("1", None).0, 201);
    assert_eq!(start("2", Some("1")), (409, "correlation_conflict".into()));
    assert_eq!(start("1", Some("one")).0, 201);
    assert_eq!(start("one", None), (409, "correlation_conflict".into()));
}
