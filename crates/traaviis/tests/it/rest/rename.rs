//! Workflows that are given another name, and drafts that are changed in part.

use serde_json::{Value as Json, json};

use super::DOOR;
use crate::{
    cli::World,
    server::{Server, Told},
};

const DRAFT: &str = "/tenants/current/workflows/Door/draft";
const PATCH: &str = "content-type: application/merge-patch+json\r\n";

fn patch(api: &Server, who: &str, path: &str, more: &str, body: Json) -> Told {
    let etag = api.get(who, path).header("etag");
    let more = format!("if-match: {etag}\r\n{more}");
    api.call_with(who, "PATCH", path, &more, body)
}

#[test]
fn a_merge_patch_changes_what_it_names() {
    let world = World::new();
    let api = Server::serve(&world);
    let ada = api.register("ada@example.org");
    api.publish(&ada, "Door", DOOR);
    let change = json!({
        "version": "1.1.0",
        "title": "A door",
        "events": { "lock": null },
        "states": { "shut": { "on": { "lock": null } }, "locked": null },
    });
    let told = patch(&api, &ada, DRAFT, PATCH, change);
    assert_eq!(told.status, 200, "{told:?}");
    assert!(told.text("/text").contains("name: Door\n"), "it is YAML still: {told:?}");
    assert!(!told.text("/text").contains("lock"), "{told:?}");
    let place = |what: &str| told.text("/text").find(what).unwrap_or_else(|| panic!("{told:?}"));
    assert!(place("version: ") < place("initial: shut"), "keys keep their order: {told:?}");
    assert!(place("\n  shut:") < place("\n  ajar:"), "{told:?}");
    assert_eq!(told.header("etag"), api.get(&ada, DRAFT).header("etag"));
    let told = api.post(&ada, "/workflows/Door/publish", json!(null));
    assert_eq!((told.status, told.text("/version")), (201, "1.1.0".into()), "{told:?}");

    let etag = api.get(&ada, DRAFT).header("etag");
    for (more, body, status, code) in [
        (format!("if-match: {etag}\r\n"), json!({}), 415, "unsupported_media_type"),
        (PATCH.to_owned(), json!({}), 428, "precondition_required"),
        (format!("if-match: \"1\"\r\n{PATCH}"), json!({}), 412, "precondition_failed"),
        (format!("if-match: {etag}\r\n{PATCH}"), json!([]), 422, "validation_failed"),
        (format!("if-match: {etag}\r\n{PATCH}"), json!({ "name": "X" }), 422, "validation_failed"),
    ] {
        let told = api.call_with(&ada, "PATCH", DRAFT, &more, body);
        assert_eq!((told.status, told.code()), (status, code), "{told:?}");
    }
    assert_eq!(api.get(&ada, DRAFT).header("etag"), etag, "nothing was changed");
}

#[test]
fn a_workflow_with_another_name_is_found_by_both() {
    let world = World::new();
    let api = Server::serve(&world);
    let ada = api.register("ada@example.org");
    api.publish(&ada, "Door", DOOR);
    let old = api.start(&ada, "Door");
    let rename = |from: &str, to: &str| {
        api.post(&ada, &format!("/workflows/{from}/rename"), json!({ "name": to }))
    };
    let told = rename("Door", "Gate");
    assert_eq!((told.status, told.text("/name")), (200, "Gate".into()), "{told:?}");
    assert_eq!(told.body["former_names"], json!(["Door"]));
    let draft = api.get(&ada, "/tenants/current/workflows/Gate/draft").text("/text");
    assert_eq!(draft, DOOR.replace("name: Door", "name: Gate"), "all else is as it was");
    for name in ["Gate", "gate", "Door"] {
        let told = api.get(&ada, &format!("/tenants/current/workflows/{name}"));
        assert_eq!((told.status, told.text("/name")), (200, "Gate".into()), "{told:?}");
        api.start(&ada, name);
    }
    // What is published never changes, so its instances have the name that it says.
    let listed = api.get(&ada, "/tenants/current/instances?workflow=Door");
    assert_eq!(listed.body["items"].as_array().unwrap().len(), 4, "{listed:?}");
    assert_eq!(api.send(&ada, &old, "open").status, 200, "an open instance goes on");

    let draft = "/tenants/current/workflows/Gate/draft";
    let told = patch(&api, &ada, draft, PATCH, json!({ "version": "2.0.0" }));
    assert_eq!(told.status, 200, "{told:?}");
    assert_eq!(api.post(&ada, "/workflows/Gate/publish", json!(null)).status, 201);
    let new = api.start(&ada, "Door");
    let shown = api.get(&ada, &format!("/tenants/current/instances/{new}"));
    assert_eq!(shown.text("/snapshot/workflow"), "Gate", "{shown:?}");
    let plan = api.post(&ada, "/workflows/Gate/upgrade-plan", json!(null));
    assert_eq!(plan.body["about"]["counts"]["blocked"], 4, "those of before: {plan:?}");
    assert_eq!(plan.body["about"]["counts"]["current"], 1, "{plan:?}");

    for (from, to, code) in [
        ("Gate", "Gate", "invalid_state"),
        ("Gate", "no name", "validation_failed"),
        ("Nothing", "Else", "not_found"),
    ] {
        let told = rename(from, to);
        assert_eq!(told.code(), code, "{from} {to} {told:?}");
    }
    let make = |name: &str| {
        let document = DOOR.replace("name: Door", &format!("name: {name}"));
        api.post(&ada, "/workflows", json!({ "document": document }))
    };
    assert_eq!(make("Door").code(), "already_exists", "the old name is its name still");
    assert_eq!(make("Hatch").status, 201);
    assert_eq!(rename("Hatch", "door").code(), "already_exists");
    assert_eq!(rename("Gate", "Door").status, 200, "and back");
    assert_eq!(rename("Hatch", "gate").code(), "already_exists");
    let told = api.call(&ada, "DELETE", "/tenants/current/workflows/Door", json!(null));
    assert_eq!(told.status, 428, "{told:?}");
    let etag = api.get(&ada, "/tenants/current/workflows/Door").header("etag");
    let more = format!("if-match: {etag}\r\n");
    let delete =
        || api.call_with(&ada, "DELETE", "/tenants/current/workflows/Gate", &more, json!(null));
    let told = delete();
    assert_eq!(told.code(), "has_open_instances", "whatever name they have: {told:?}");
    for it in api.get(&ada, "/tenants/current/instances").body["items"].as_array().unwrap() {
        let id = it["id"].as_str().unwrap();
        api.post(&ada, &format!("/instances/{id}/terminate"), json!(null));
    }
    let told = delete();
    assert_eq!(told.status, 204, "{told:?}");
    assert_eq!((make("Gate").status, make("Door").status), (201, 201), "all names are free");
}

#[test]
fn schemas_are_published() {
    let world = World::new();
    let api = Server::serve(&world);
    let told = api.call("", "GET", "/schemas/workflow-1.json", json!(null));
    assert_eq!(told.status, 200, "{told:?}");
    assert_eq!(told.text("/$id"), "https://traaviis.dev/schemas/workflow-1.json");
    assert_eq!(told.header("content-type"), "application/schema+json");
    for name in ["workflow-1", "connectors-1.json", "config-1.json"] {
        assert_eq!(api.call("", "GET", &format!("/schemas/{name}"), json!(null)).status, 200);
    }
    let told = api.call("", "GET", "/schemas/nothing", json!(null));
    assert_eq!((told.status, told.code()), (404, "not_found"));
}
