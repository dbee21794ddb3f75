//! A server whose disk is full: what was acknowledged is safe, who is logged in goes on reading, and
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

/// Sends events with much in them until one is refused; returns how many were taken, and the
/// refusal with the time it took.
fn send_until_refused(
    server: &Server,
    who: &str,
    id: &str,
) -> (u64, crate::server::Told, Duration) {
    for at in 0..400 {
        let event = if at % 2 == 0 { "open" } else { "close" };
        let body = json!({ "event": event, "data": { "noise": noise(at + 1, 40 << 10) } });
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
    let (taken, refused, _) = send_until_refused(&server, &ada, &id);
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
    let events = server.get(&ada, &format!("{path}/events?limit=1000"));
    let all = events.body["items"].as_array().cloned().unwrap_or_default();
    let received = all.iter().filter(|it| it["kind"] == "event_received").count();
    assert_eq!(received as u64, taken, "{}", events.status);
    assert_eq!(server.send(&ada, &id, if taken % 2 == 0 { "open" } else { "close" }).status, 200);
    server.kill();
}
