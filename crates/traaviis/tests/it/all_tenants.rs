//! One list of the instances of every tenant, for who may read the files.

use crate::{cli::World, server::Server};

const WAITS: &str = "
traaviis: '1'
name: Waits
version: 1.0.0
events: {go: {}}
initial: a
states: {a: {on: {go: b}}, b: {type: final}}
";

#[test]
fn instances_of_all_tenants_stand_in_one_list_each_with_its_tenant() {
    let world = World::new();
    let mut server = Server::serve(&world);
    let mut ids = Vec::new();
    let mut tenants = Vec::new();
    for email in ["ada@example.com", "bob@example.com"] {
        let who = server.register(email);
        server.publish(&who, "Waits", WAITS);
        tenants.push(server.get(&who, "/tenants/current").text("/id"));
        ids.push(server.start(&who, "Waits"));
    }
    // Beside the server, and when there is none.
    for is_served in [true, false] {
        let listed = world.good("ps --all-tenants --data data");
        let found = listed["instances"].as_array().unwrap();
        let pair = |it: &serde_json::Value| {
            (it["id"].as_str().unwrap().to_owned(), it["tenant"].as_str().unwrap().to_owned())
        };
        let expected: Vec<(String, String)> =
            ids.iter().cloned().zip(tenants.iter().cloned()).collect();
        assert_eq!(found.iter().map(pair).collect::<Vec<_>>(), expected, "{is_served}");
        let last = world.good("ps --all-tenants --data data --limit 1");
        assert_eq!(last["instances"].as_array().unwrap().len(), 1);
        assert_eq!(
            (&last["instances"][0]["id"], &last["more"]),
            (&ids[1].clone().into(), &true.into())
        );
        let shown = world.shown(&world.run(&["ps", "--all-tenants", "--data", "data"]));
        assert!(shown.contains("TENANT"), "{shown}");
        if is_served {
            server.kill_in_place();
        }
    }
    let listed = world.good("ps --all-tenants --data data --workflow Other");
    assert_eq!(listed["instances"], serde_json::json!([]));
    let both = world.run(&["ps", "--all-tenants", "--count", "--data", "data"]);
    assert_eq!(both.status.code(), Some(2));
}
