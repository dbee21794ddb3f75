//! Instances that are deleted one by one.

use serde_json::json;

use super::DOOR;
use crate::{cli::World, server::Server};

#[test]
fn a_deleted_instance_is_shown_nowhere_and_the_act_stays_in_the_trail() {
    let world = World::new();
    let api = Server::serve(&world);
    let ada = api.register("ada@example.org");
    let bob = api.join(&ada, "bob@example.org", "developer");
    let eve = api.register("eve@example.org");
    api.publish(&ada, "Door", DOOR);
    let (id, other) = (api.start(&ada, "Door"), api.start(&ada, "Door"));
    let path = format!("/tenants/current/instances/{id}");
    let delete = |who: &str| api.call(who, "DELETE", &path, json!(null));
    let told = delete(&ada);
    assert_eq!((told.status, told.code()), (409, "invalid_state"), "{told:?}");
    assert_eq!(api.send(&ada, &id, "lock").status, 200);
    assert_eq!(delete(&bob).code(), "insufficient_permissions");
    assert_eq!((delete(&eve).status, delete("").status), (404, 401));
    assert_eq!(api.get(&ada, &path).status, 200, "nothing was done yet");
    let told = delete(&ada);
    assert_eq!(told.status, 204, "{told:?}");

    let check = |api: &Server| {
        for view in ["", "/events", "/replay", "/tree", "/effects", "/state", "/transitions"] {
            let told = api.get(&ada, &format!("{path}{view}"));
            assert_eq!((told.status, told.code()), (404, "not_found"), "{view} {told:?}");
        }
        assert_eq!(api.get(&ada, &format!("{path}/stream")).status, 404);
        for act in ["/retry", "/fork", "/events", "/cancel"] {
            let told = api.post(&ada, &format!("/instances/{id}{act}"), json!({ "event": "open" }));
            assert!(matches!(told.status, 404 | 422), "{act} {told:?}");
        }
        let told = api.call(&ada, "DELETE", &path, json!(null));
        assert_eq!((told.status, told.code()), (404, "not_found"), "{told:?}");
        let listed = api.get(&ada, "/tenants/current/instances?all=true");
        let ids = listed.body["items"].as_array().unwrap().iter().map(|it| it["id"].clone());
        assert_eq!(ids.collect::<Vec<_>>(), [json!(other)], "{listed:?}");
        let again = api.post(&ada, "/instances", json!({ "workflow": "Door", "id": id }));
        assert_eq!((again.status, again.code()), (409, "already_exists"), "{again:?}");
        let trail = api.get(&ada, "/tenants/current/audit?limit=200");
        let entries = trail.body["items"].as_array().unwrap();
        let of = |action: &str| {
            let is_it =
                |it: &&serde_json::Value| it["action"] == action && it["resource_id"] == json!(id);
            entries.iter().filter(is_it).count()
        };
        assert_eq!((of("instance.deleted"), of("instance.started")), (1, 1), "{trail:?}");
    };
    check(&api);
    api.kill();
    check(&Server::serve(&world));
}
