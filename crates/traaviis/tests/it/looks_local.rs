//! What the operator of a server sees of its tenants on the machine itself.

use serde_json::json;

use crate::{
    cli::{DOOR, World},
    server::Server,
};

#[test]
fn a_tenant_that_is_named_is_looked_into_and_not_changed() {
    let world = World::new();
    let server = Server::serve(&world);
    let (ada, bob) = (server.register("ada@example.org"), server.register("bob@example.org"));
    let tenant = server.get(&ada, "/tenants/current").text("/id");
    server.publish(&ada, "Door", DOOR);
    let id = server.start(&ada, "Door");
    let own = server.get(&bob, "/tenants/current").text("/id");
    let look = |world: &World| {
        let ids = |line: &str| {
            let listed = world.good(line)["instances"].take();
            listed.as_array().unwrap().iter().map(|it| it["id"].clone()).collect::<Vec<_>>()
        };
        assert_eq!(ids("ps --data data"), [json!(null); 0], "of the directory without accounts");
        assert_eq!(ids(&format!("ps --data data --tenant {tenant}")), [json!(id)]);
        assert_eq!(ids(&format!("ps --data data --tenant {own}")), [json!(null); 0]);
        let shown = world.good(&format!("show {id} --data data --tenant {tenant}"));
        assert_eq!(shown["snapshot"]["id"], id, "{shown}");
        let other = format!("show {id} --data data --tenant {own}");
        assert!(!world.run(&other.split(' ').collect::<Vec<_>>()).status.success());
        world.good(&format!("replay {id} --data data --tenant {tenant}"));
        world.good(&format!("query {id} status --data data --tenant {tenant}"));
        let counted = world.good(&format!("ps --count --data data --tenant {tenant}"));
        assert_eq!(counted["total"], 1);
    };
    look(&world);
    // Changes are made by members, who are asked for their rights.
    let cancel = format!("cancel {id} --data data --tenant {tenant}");
    assert_eq!(world.run(&cancel.split(' ').collect::<Vec<_>>()).status.code(), Some(2));
    server.kill();
    look(&world);
}

#[test]
fn doctor_opens_the_secrets_of_every_tenant() {
    let world = World::new();
    let server = Server::serve(&world);
    for who in ["ada@example.org", "bob@example.org"] {
        let token = server.register(who);
        let secret = json!({ "value": "canary" });
        let put = server.call(&token, "PUT", "/tenants/current/secrets/token", secret);
        assert_eq!(put.status, 200, "{put:?}");
    }
    server.kill();
    let told = world.good("doctor --data data");
    let found = |name: &str| {
        let checks = told["checks"].as_array().unwrap();
        let check = checks.iter().find(|it| it["check"] == name).unwrap();
        check["found"].as_str().unwrap().to_owned()
    };
    assert_eq!(found("secrets"), "2, each opens with its key");
    assert!(found("people").ends_with(" keys, each can be read; 0 destroyed"), "{told}");
}
