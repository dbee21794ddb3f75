//! From where people log in and keys are used: what is new is told.

use std::sync::Arc;

use serde_json::Value as Json;
use traaviis_model::permission::Permission;
use traaviis_platform::{Entered, api_keys::KeyGiven, audit::Via};
use traaviis_policy::{access::Action, countries::Countries};

use crate::world::{PASSWORD, World, via};

fn from(address: &str) -> Via {
    Via { ip_address: Some(address.into()), ..via() }
}

/// Rules that were broken, each with whom it is about.
fn raised(world: &World, entered: &Entered) -> Vec<(String, String)> {
    world.platform.keep_audit().unwrap();
    let mut alerts = world.platform.alerts(entered).unwrap();
    alerts.reverse();
    alerts.into_iter().map(|it| (it.it.rule.to_string(), it.it.actor.to_string())).collect()
}

fn with_countries(world: World) -> World {
    let list = "192.0.2.0/24,DE\n198.51.100.0/24,FR\n203.0.113.0/24,NO\n";
    let World { log, documents, vault, clock, platform } = world;
    let platform = Arc::into_inner(platform).expect("nobody else uses it yet");
    let platform = Arc::new(platform.with_countries(Countries::read(list).unwrap()));
    World { log, documents, vault, clock, platform }
}

#[test]
fn a_login_from_a_country_that_is_new_is_told_to_the_tenants_of_the_user() {
    let world = with_countries(World::new());
    let ada = world.register("ada@example.org");
    let tenant = ada.tenant.as_ref().unwrap().tenant.id;
    let caller = world.caller(&ada);
    let looks = Action::Needs(Permission::SystemMetricsView);
    let entered = world.enter(&caller, tenant, looks).unwrap();
    let log_in = |world: &World, address: &str| {
        world.platform.log_in("ada@example.org", PASSWORD, None, &from(address)).unwrap();
    };
    // Where nobody knows what country it is, nothing is told.
    for address in ["192.0.2.7", "192.0.2.9", "8.8.8.8"] {
        log_in(&world, address);
    }
    assert_eq!(raised(&world, &entered), []);
    log_in(&world, "198.51.100.3");
    let expected = ("login_from_new_country".to_owned(), format!("user:{}", caller.user));
    assert_eq!(raised(&world, &entered), std::slice::from_ref(&expected));
    // What is known is known to a process that begins anew.
    let world = with_countries(world.restarted());
    log_in(&world, "198.51.100.4");
    log_in(&world, "192.0.2.7");
    assert_eq!(raised(&world, &entered), std::slice::from_ref(&expected));
    log_in(&world, "203.0.113.1");
    assert_eq!(raised(&world, &entered), [expected.clone(), expected]);
}

#[test]
fn a_key_that_only_reads_is_told_from_a_network_that_is_new() {
    let world = World::new();
    let ada = world.register("ada@example.org");
    let tenant = ada.tenant.as_ref().unwrap().tenant.id;
    let caller = world.caller(&ada);
    let entered = world.manager(&caller, tenant);
    let given = KeyGiven {
        name: "robot".into(),
        scopes: [Permission::WorkflowMonitor].into_iter().collect(),
        life: None,
        ip_allow: Vec::new(),
        service_account: None,
    };
    let (made, token) = world.platform.make_api_key(&caller, &entered, given).unwrap();
    let used = |world: &World, address: &str| {
        world.platform.authenticate(&token, from(address)).unwrap();
    };
    for address in ["192.0.2.1", "192.0.2.77", "192.0.2.1"] {
        used(&world, address);
    }
    assert_eq!(raised(&world, &entered), []);
    used(&world, "198.51.100.1");
    let expected = ("key_from_new_network".to_owned(), format!("key:{}", made.it.id));
    assert_eq!(raised(&world, &entered), std::slice::from_ref(&expected));
    let uses = |world: &World| {
        let entries = world.platform.audit(&entered, None, 200).unwrap();
        entries.iter().filter(|it: &&Json| it["action"] == "api_key.used").count()
    };
    assert_eq!(uses(&world), 2, "one for each network");
    let world = world.restarted();
    used(&world, "198.51.100.2");
    assert_eq!(raised(&world, &entered), [expected]);
    assert_eq!(uses(&world), 3, "and one for each process");
}
