//! Tenants whose instances are not kept in memory: the same answers, and the memory is free.

use crate::{
    cli::{DOOR, World, wait_until},
    server::Server,
};

/// Returns how many states of open instances are in memory.
fn active(world: &World) -> Option<u64> {
    let told = world.json("metrics --data data");
    let text = told["text"].as_str()?.to_owned();
    let line = text.lines().find(|it| it.starts_with("traaviis_memory_states_active"))?;
    line.split_whitespace().last()?.parse().ok()
}

#[test]
fn instances_leave_memory_and_come_back_when_they_are_asked_for() {
    let world = World::embedded();
    let server = Server::with(&world, &[], &[("TRAAVIIS_HOT__SHARE", "off")]);
    let ada = server.register("ada@example.org");
    server.publish(&ada, "Door", DOOR);
    let ids: Vec<String> = (0..20).map(|_| server.start(&ada, "Door")).collect();
    wait_until("they have left", || active(&world) == Some(0));
    for id in &ids {
        assert!(server.send(&ada, id, "open").status < 300);
        let told = server.get(&ada, &format!("/tenants/current/instances/{id}"));
        assert_eq!((told.status, told.text("/state")), (200, "opened".into()), "{told:?}");
    }
    wait_until("they have left again", || active(&world) == Some(0));
}

#[test]
fn single_tenants_are_named_and_what_cannot_be_is_refused() {
    let world = World::embedded();
    let one = "00000000-0000-0000-0000-000000000007=off";
    let server = Server::with(&world, &[], &[("TRAAVIIS_HOT__TENANTS", one)]);
    let ada = server.register("ada@example.org");
    server.publish(&ada, "Door", DOOR);
    server.start(&ada, "Door");
    std::thread::sleep(std::time::Duration::from_secs(3));
    assert_eq!(active(&world), Some(1), "another tenant keeps its own");
    drop(server);
    for (variable, value, storage, why) in [
        ("TRAAVIIS_HOT__SHARE", "half", "embedded", "nor a share such as `25%`"),
        ("TRAAVIIS_HOT__SHARE", "101%", "embedded", "nor a share such as `25%`"),
        ("TRAAVIIS_HOT__TENANTS", "acme=off", "embedded", "is no id of a tenant"),
        ("TRAAVIIS_HOT__SHARE", "off", "json-only", "json-only storage keeps states in memory"),
    ] {
        let args = ["serve", "--data", "other", "--listen", "127.0.0.1:0"];
        let mut command = world.command(&args);
        let refused = command.env(variable, value).env("TRAAVIIS_STORAGE", storage).output();
        let refused = refused.unwrap();
        let text = world.shown(&refused);
        assert!(text.starts_with("exit 2") && text.contains(why), "{value}: {text}");
    }
}
