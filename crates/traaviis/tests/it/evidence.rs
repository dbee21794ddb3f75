//! Evidence of a period: the same bytes each time, whole, signed, and found when it was changed.

use std::{fs, process::Command};

use serde_json::{Value as Json, json};

use crate::{
    cli::World,
    server::{self, Server},
};

/// Returns a moment that lies behind everything so far.
fn now() -> String {
    let output = Command::new("date").args(["-u", "+%Y-%m-%dT%H:%M:%S.%6NZ"]).output().unwrap();
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// Lets a server end in order, which signs the ends of its trails.
fn end(mut server: Server) {
    let pid = server.process.0.id().to_string();
    assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
    assert!(server.process.0.wait().unwrap().success());
}

fn export(world: &World, to: &str, file: &str) -> String {
    let line = ["evidence", "export", "--from", "2020-01-01", "--to", to, "--out", file];
    world.shown(&world.run(&line))
}

fn read(world: &World, file: &str) -> Json {
    serde_json::from_slice(&fs::read(world.path(file)).unwrap()).unwrap()
}

#[test]
fn evidence_is_the_same_bytes_whatever_comes_later_and_tells_when_it_was_changed() {
    let world = World::new();
    let server = Server::serve(&world);
    let script = "traaviis login ada@example.org --register --organisation Acme >/dev/null
traaviis role create finance --permission analytics_view >/dev/null
token=$(traaviis member invite bob@example.org --role finance 2>/dev/null)
traaviis login bob@example.org --invitation \"$token\" >/dev/null
traaviis role list --tenant acme >/dev/null
(traaviis member remove Ada --tenant acme 2>&1 || true) \
    | grep -o insufficient_permissions";
    let (code, lines) = server::bash(&world, &server, script);
    assert_eq!((code, &*lines), (0, &["insufficient_permissions".to_owned()][..]));
    let to = now();
    let told = export(&world, &to, "one.json");
    assert!(told.contains("let `traaviis serve` run for a minute"), "{told}");
    end(server);
    let told = export(&world, &to, "one.json");
    assert!(told.starts_with("exit 0\nevidence is in `one.json`, signed by key "), "{told}");

    // What comes later changes nothing of it, also when the directory is carried on.
    let server = Server::serve(&world);
    let more = "traaviis login ada@example.org >/dev/null
traaviis member role Bob admin";
    assert_eq!(server::bash(&world, &server, more).0, 0);
    server.kill();
    let told = export(&world, &to, "two.json");
    assert!(told.starts_with("exit 0"), "{told}");
    let (one, two) = (fs::read(world.path("one.json")).unwrap(), world.path("two.json"));
    assert!(one == fs::read(&two).unwrap(), "the same period, other bytes");

    let signed = read(&world, "one.json");
    let parts = &signed["evidence"]["parts"];
    let members = parts["access_list"]["members"].as_array().unwrap();
    assert_eq!(members.len(), 2, "{members:?}");
    let role = &parts["access_list"]["roles"][0];
    assert_eq!((&role["name"], members[1]["role"] == role["id"]), (&json!("finance"), true));
    assert_eq!(parts["second_factors"]["without"].as_array().unwrap().len(), 2);
    let actions = |part: &str| {
        let entries = parts[part]["entries"].as_array().unwrap();
        entries.iter().map(|it| it["action"].as_str().unwrap()).collect::<Vec<_>>()
    };
    for action in ["user.registered", "role.created", "member.invited", "member.joined"] {
        assert!(actions("access_changes").contains(&action), "{action}: {parts}");
    }
    assert!(!actions("access_changes").contains(&"member.changed"), "it came later");
    assert!(actions("security_events").contains(&"permission.denied"), "{parts}");
    for trail in parts["audit_trail"]["trails"].as_array().unwrap() {
        assert_eq!(trail["broken"], Json::Null, "{trail}");
    }
    let text = String::from_utf8(one).unwrap();
    assert!(!text.contains("@example.org"), "addresses stand nowhere");

    let key = signed["key"]["x"].as_str().unwrap();
    let verify = |file: &str, key: &str| {
        world.shown(&world.run(&["evidence", "verify", file, "--key", key]))
    };
    assert!(verify("one.json", key).starts_with("exit 0"), "{}", verify("one.json", key));
    assert!(verify("one.json", "another").contains("and not by another"));
    for (from, to) in [("finance", "treasury"), ("\"covered\": 0", "\"covered\": 2")] {
        fs::write(&two, text.replacen(from, to, 1)).unwrap();
        let told = verify("two.json", key);
        assert!(told.starts_with("exit 1") && told.contains("audit_broken"), "{from}: {told}");
    }
    fs::write(&two, "{}").unwrap();
    assert!(verify("two.json", key).contains("it is no evidence"));
}

#[test]
fn what_evidence_cannot_be_of_is_refused() {
    let world = World::new();
    let server = Server::serve(&world);
    let ada = server.register("ada@example.org");
    let eve = server.register("eve@example.org");
    let eve = server.get(&eve, "/me").text("/id");
    let to = now();
    let acme = server.get(&ada, "/tenants/current").text("/id");
    end(server);
    let of = |more: &[&str]| {
        let line = [&["evidence", "export", "--out", "x.json"], more].concat();
        world.shown(&world.run(&line))
    };
    let from = ["--from", "2020-01-01"];
    for (more, part) in [
        (vec!["--to", "2999-01-01"], "the period is not over"),
        (vec!["--to", "2019-01-01"], "ends before it begins"),
        (vec!["--to", "soon"], "a day such as 2026-01-31"),
        (vec!["--to", &to], "name one with `--tenant`"),
        (vec!["--to", "2020-02-01", "--tenant", &acme], "tenant_absent"),
        (vec!["--to", &to, "--data", "nowhere"], "data_directory_absent"),
    ] {
        let told = of(&[&from[..], &more].concat());
        assert!(told.contains(part), "{more:?}: {told}");
        assert!(!world.path("x.json").exists());
    }
    let told = of(&[&from[..], &["--to", &to, "--tenant", &acme]].concat());
    assert!(told.starts_with("exit 0"), "{told}");
    // Nothing of who is in no part of it.
    let text = fs::read_to_string(world.path("x.json")).unwrap();
    assert!(eve.len() == 36 && !text.contains(&eve), "{text}");
}
