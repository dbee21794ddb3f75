//! A server whose disk is full: what was acknowledged is safe, who is logged in reads on, and
//! everything works again once there is space.

use std::{
    fs,
    io::Write as _,
    path::PathBuf,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use serde_json::json;

use crate::{
    cli::{DOOR, World},
    server::{PASSWORD, Server},
};

/// A small disk at `data`, gone with the test.
struct Disk(PathBuf);

impl Disk {
    /// Mounts it; nothing for a user who cannot.
    fn mount(world: &World, size: &str) -> Option<Disk> {
        let at = world.path("data");
        fs::create_dir(&at).unwrap();
        let options = format!("size={size}");
        let mut mount = Command::new("mount");
        let mounted = mount.args(["-t", "tmpfs", "-o", &options, "tmpfs"]).arg(&at).output();
        if !mounted.is_ok_and(|it| it.status.success()) {
            eprintln!("skipped: this user cannot mount a file system");
            return None;
        }
        Some(Disk(at))
    }

    /// Takes all the space that is left.
    fn fill(&self) {
        let mut file = fs::File::create(self.0.join("filler")).unwrap();
        while file.write_all(&[7; 4096]).is_ok() {}
    }

    /// Gives more space.
    fn grow(&self, size: &str) {
        let options = format!("remount,size={size}");
        let grown = Command::new("mount").args(["-o", &options]).arg(&self.0).status().unwrap();
        assert!(grown.success());
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // What the server still holds goes with its process.
        let _ = Command::new("umount").args(["-l"]).arg(&self.0).status();
    }
}

/// Returns text that cannot be packed.
fn noise(seed: u64, bytes: usize) -> String {
    let mut state = seed | 1;
    let mut text = String::new();
    while text.len() < bytes {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        text += &format!("{:08x}", state >> 32);
    }
    text
}

/// Sends events with so much in them until one is refused; returns how many were taken, with those
/// before, and the refusal with the time it took.
fn send_until_refused(
    (server, who, id): (&Server, &str, &str),
    bytes: usize,
    before: u64,
) -> (u64, crate::server::Told, Duration) {
    for at in before..before + 400 {
        let event = if at % 2 == 0 { "open" } else { "close" };
        let body = json!({ "event": event, "data": { "noise": noise(at + 1, bytes) } });
        let begun = Instant::now();
        let told = server.post(who, &format!("/instances/{id}/events"), body);
        if told.status >= 300 {
            return (at, told, begun.elapsed());
        }
    }
    panic!("the disk does not run full");
}

#[test]
fn on_a_full_disk_who_is_logged_in_reads_and_nothing_acknowledged_is_lost() {
    let world = World::embedded();
    // Less than a segment: the log takes what there is.
    let Some(disk) = Disk::mount(&world, "6m") else { return };
    let log = fs::File::create(world.path("lines")).unwrap();
    let server = Server::logging(&world, &[], &[], Stdio::from(log));
    let ada = server.register("ada@example.org");
    let login = json!({ "email": "ada@example.org", "password": PASSWORD });
    let session = server.call("", "POST", "/auth/login", login.clone());
    let refresh = session.text("/refresh_token");
    server.publish(&ada, "Door", DOOR);
    let id = server.start(&ada, "Door");
    disk.fill();
    let to = (&server, &*ada, &*id);
    let (mut taken, mut refused) = (0, None);
    // What is small still fits when what is large does not.
    for bytes in [40 << 10, 4 << 10, 8] {
        let told = send_until_refused(to, bytes, taken);
        (taken, refused) = (told.0, Some(told.1));
    }
    let refused = refused.unwrap();
    assert!(taken > 0);
    assert_eq!((refused.status, refused.code()), (507, "storage_full"), "{refused:?}");

    let path = format!("/tenants/current/instances/{id}");
    assert_eq!(server.get(&ada, &path).status, 200, "an access token that is in force");
    let renew = json!({ "refresh_token": refresh });
    for _ in 0..2 {
        let renewed = server.call("", "POST", "/auth/refresh", renew.clone());
        assert_eq!(renewed.status, 200, "{renewed:?}");
        assert_eq!(renewed.text("/refresh_token"), refresh, "nothing could be put down");
        assert_eq!(server.get(&renewed.text("/access_token"), &path).status, 200);
    }
    let wrong = json!({ "refresh_token": format!("{}x", &refresh[..refresh.len() - 1]) });
    assert!(server.call("", "POST", "/auth/refresh", wrong).status >= 400);
    let told = server.call("", "POST", "/auth/login", login.clone());
    assert_eq!((told.status, told.code()), (507, "storage_full"), "{told:?}");
    assert!(told.text("/detail").contains("frees space"), "{told:?}");
    assert_eq!(told.header("retry-after"), "30");
    let ready = server.get("", "/ready");
    assert_eq!(ready.status, 200, "it answers");
    let parts = ready.body["components"].as_array().unwrap().clone();
    let log = parts.iter().find(|it| it["name"] == "log").unwrap();
    assert_eq!(log["status"], "degraded", "{parts:?}");

    assert_eq!(server.stop(), Some(0), "it was told to end, and nothing is wrong with that");
    let lines = fs::read_to_string(world.path("lines")).unwrap();
    let last: Vec<&str> = lines.lines().filter(|it| it.contains("no checkpoint is")).collect();
    assert_eq!(last.len(), 1, "{lines}");
    assert!(last[0].contains("everything that was acknowledged is saved"), "{lines}");

    disk.grow("200m");
    let server = Server::serve(&world);
    let told = server.call("", "POST", "/auth/refresh", renew);
    assert_eq!(told.status, 200, "{told:?}");
    assert_ne!(told.text("/refresh_token"), refresh, "from now on it works once");
    assert_eq!(server.call("", "POST", "/auth/login", login).status, 200);
    let state = server.get(&ada, &path);
    let opened = state.body.pointer("/snapshot/data/opened").and_then(serde_json::Value::as_u64);
    assert_eq!(opened, Some(taken.div_ceil(2)), "every event that was taken counts: {state:?}");
    assert_eq!(server.send(&ada, &id, if taken % 2 == 0 { "open" } else { "close" }).status, 200);
    server.kill();
}

#[test]
fn kept_as_json_a_full_disk_answers_at_once() {
    let world = World::new();
    let Some(disk) = Disk::mount(&world, "8m") else { return };
    let variables = [("TRAAVIIS_STORAGE__MODE", "json_only")];
    let server = Server::with(&world, &[], &variables);
    let ada = server.register("ada@example.org");
    server.publish(&ada, "Door", DOOR);
    let id = server.start(&ada, "Door");
    disk.fill();
    // Whichever of the two is full first: nobody waits for what does not come.
    let (taken, refused, took) = send_until_refused((&server, &ada, &id), 40 << 10, 0);
    assert!(matches!((refused.status, refused.code()), (507, "storage_full") | (503, "not_shown")));
    assert!(took < Duration::from_secs(20), "{took:?}");
    // What is small may still fit, so it need not be refused.
    let counts = |told: &crate::server::Told| match (told.status, told.code()) {
        (200, _) | (503, "not_shown") => 1,
        (507, "storage_full") => 0,
        _ => panic!("{told:?}"),
    };
    let mut taken = taken + counts(&refused);
    let next = |taken: u64| if taken.is_multiple_of(2) { "open" } else { "close" };
    for _ in 0..3 {
        let begun = Instant::now();
        taken += counts(&server.send(&ada, &id, next(taken)));
        assert!(begun.elapsed() < Duration::from_secs(20));
    }
    disk.grow("200m");
    let event = next(taken);
    crate::cli::wait_until("changes are taken again", || {
        server.send(&ada, &id, event).status == 200
    });
    server.kill();
}
