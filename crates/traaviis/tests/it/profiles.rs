//! What profiles and settings of a server do: what is refused, how much somebody may, and how the
//! parts of a server say that they are not well.

use std::{io::Write as _, net::TcpStream, process::Stdio};

use serde_json::{Value as Json, json};

use crate::{
    cli::{World, wait_until},
    server::{PASSWORD, Server, Told, read},
};

#[test]
fn without_a_profile_a_server_is_strict() {
    let world = World::new();
    for (profile, variables, expected) in [
        (&[][..], &[][..], 10),
        (&["--profile", "dev"], &[], 14),
        (&[], &[("TRAAVIIS_LIMITS__LOGIN_PER_ACCOUNT", "12")], 12),
    ] {
        let args = ["serve", "--data", "data", "--listen", "127.0.0.1:0", "--admin-listen", "off"];
        let args = [&args[..], profile].concat();
        let server = Server::started(&world, &args, variables, Stdio::inherit());
        let body = json!({ "email": "eve@example.org", "password": "wrong horse" });
        let login = || server.call("", "POST", "/auth/login", body.clone());
        let limited = |told: &Told| told.code() == "rate_limit_exceeded";
        let answered = (0..14).filter(|_| !limited(&login())).count();
        assert_eq!(answered, expected, "{profile:?} {variables:?}");
        server.kill();
    }
}

#[test]
fn production_refuses_what_is_unsafe_and_says_what_to_set() {
    let base = "[http]\nbase_url = \"https://flows.example.org\"\n";
    let open = "[http]\nbase_url = \"http://flows.example.org\"\n";
    let key = "0".repeat(64);
    for (toml, variable, parts) in [
        ("", None, ["`http.base_url` is not set", "https://flows.example.org"]),
        (open, None, ["`http.base_url` from `traaviis.toml`, line 3", "`http.trust_proxy`"]),
        (
            &format!("{base}[auth]\nissuer = \"http://id.example.org\""),
            None,
            ["`auth.issuer`", "in the clear"],
        ),
        (
            &format!("{base}metrics_token = \"changeme-changeme\""),
            None,
            ["`http.metrics_token`", "openssl rand"],
        ),
        (base, Some(("TRAAVIIS_MAIL__SMTP_URL", "file:mails")), ["`mail.smtp_url`", "smtps://"]),
        (base, Some(("TRAAVIIS_ROOT_KEY", &*key)), ["`TRAAVIIS_ROOT_KEY`", "openssl rand"]),
        (base, Some(("TRAAVIIS_ROOT_KEY_FILE", "zeros")), ["`auth.root_key_file`", "openssl"]),
    ] {
        let toml = format!("profile = \"production\"\n{toml}");
        let world = World::new().file("traaviis.toml", &toml).file("zeros", &key);
        let mut command = world.command(&["serve", "--data", "data"]);
        let told = world.shown(&command.envs(variable).output().unwrap());
        assert!(told.starts_with("exit 2") && told.contains("config_invalid"), "{toml}: {told}");
        for part in parts {
            assert!(told.contains(part), "{toml}: {part} in {told}");
        }
        assert!(!world.path("data").exists());
    }
    // Good: loopback, and a proxy that is named.
    for toml in [
        "[http]\nbase_url = \"http://localhost:8080\"\n",
        "[http]\nbase_url = \"http://[::1]:8080\"\n",
        "[http]\nbase_url = \"http://flows.internal\"\ntrust_proxy = [\"10.0.0.0/8\"]\n",
        base,
    ] {
        let toml = format!("profile = \"production\"\n{toml}");
        let world = World::new().file("traaviis.toml", &toml);
        let told = world.shown(&world.run(&["serve", "--print-config"]));
        assert!(told.starts_with("exit 0"), "{toml}: {told}");
    }
}

#[test]
fn the_shortest_password_and_the_root_key_are_where_settings_say() {
    let world = World::new();
    let key = "9f8e7d6c5b4a39281706f5e4d3c2b1a0".repeat(2);
    std::fs::create_dir(world.path("keys")).unwrap();
    let variables = [
        ("TRAAVIIS_AUTH__PASSWORD_LENGTH_MIN", "15"),
        ("TRAAVIIS_AUTH__ROOT_KEY_FILE", "keys/root.key"),
    ];
    let server = Server::with(&world, &[], &variables);
    let register = |password: &str| {
        let body = json!({ "email": "ada@example.org", "password": password });
        server.call("", "POST", "/auth/register", body)
    };
    let short = register("fourteen-chars");
    assert_eq!((short.status, short.code()), (422, "validation_failed"));
    assert!(short.body.to_string().contains("at least 15 characters"), "{short:?}");
    assert_eq!(register(PASSWORD).status, 201);
    server.kill();
    assert!(world.path("keys/root.key").exists());
    assert!(!world.path("config/traaviis/root.key").exists());
    // Another file holds another key, and opens nothing.
    let other = world.path("keys/other.key");
    std::fs::copy(world.path("keys/root.key"), &other).unwrap();
    std::fs::write(&other, format!("{key}\n")).unwrap();
    let mut command = world.command(&["serve", "--data", "data", "--listen", "127.0.0.1:0"]);
    let told = command.env("TRAAVIIS_AUTH__ROOT_KEY_FILE", "keys/other.key").output().unwrap();
    let told = world.shown(&told);
    assert!(told.contains("the root key is missing"), "{told}");
}

#[test]
fn limits_of_a_tenant_are_those_of_the_settings() {
    let world = World::new();
    let variables = [
        ("TRAAVIIS_LIMITS__OPEN_INSTANCES", "2"),
        ("TRAAVIIS_FEATURES__HOT_STORE", "on"),
        ("TRAAVIIS_HOT__TTL", "5m"),
        ("TRAAVIIS_MEMORY__LIMIT_BYTES", "134217728"),
    ];
    let server = Server::with(&world, &[], &variables);
    let ada = server.register("ada@example.org");
    server.publish(&ada, "Door", crate::cli::DOOR);
    let start = || server.post(&ada, "/instances", json!({ "workflow": "Door" }));
    assert_eq!((start().status, start().status), (201, 201));
    let third = start();
    assert_eq!((third.status, third.code()), (429, "quota_exceeded"), "{third:?}");
}

#[test]
fn a_flag_begins_as_the_settings_say() {
    let world = World::embedded();
    let variables =
        [("TRAAVIIS_FEATURES__HOT_STORE", "25%"), ("TRAAVIIS_ADMIN_PASSWORD", PASSWORD)];
    let server = Server::with(&world, &["--admin-email", "root@example.org"], &variables);
    let login = json!({ "email": "root@example.org", "password": PASSWORD });
    let root = server.call("", "POST", "/auth/login", login).text("/access_token");
    let flags = server.get(&root, "/admin/flags");
    assert_eq!(
        (flags.text("/items/0/default"), flags.text("/items/0/setting")),
        ("25%".into(), String::new())
    );
}

fn components(told: &Told) -> Vec<(String, String, String)> {
    let text = |it: &Json, key: &str| it[key].as_str().unwrap_or_default().to_owned();
    let all = told.body["components"].as_array().unwrap();
    all.iter().map(|it| (text(it, "name"), text(it, "status"), text(it, "why"))).collect()
}

/// Asks an address of operators how the parts stand.
fn ready(admin: &str) -> Told {
    let mut stream = TcpStream::connect(admin).unwrap();
    stream
        .write_all(b"GET /ready HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\n\r\n")
        .unwrap();
    read(stream)
}

#[test]
fn readiness_says_what_is_wrong_and_what_to_do() {
    let world = World::embedded();
    let admin = {
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        free.local_addr().unwrap().to_string()
    };
    let variables = [
        ("TRAAVIIS_ADMIN_PASSWORD", PASSWORD),
        ("TRAAVIIS_MEMORY__LIMIT_BYTES", "67108864"),
        ("TRAAVIIS_MAIL__SMTP_URL", "smtp://127.0.0.1:1"),
    ];
    let more = ["--admin-email", "root@example.org", "--admin-listen", &admin];
    let server = Server::with(&world, &more, &variables);
    let names: Vec<String> = components(&ready(&admin)).into_iter().map(|it| it.0).collect();
    let expected =
        ["log", "instances", "index", "disk", "memory", "clock", "root_key", "documents", "mail"];
    assert_eq!(names, expected);

    let login = json!({ "email": "root@example.org", "password": PASSWORD });
    let root = server.call("", "POST", "/auth/login", login).text("/access_token");
    let on = json!({ "on": true, "reason": "a new disk" });
    assert_eq!(server.call(&root, "POST", "/admin/maintenance", on).status, 200);
    // Below a file no folder can be made.
    std::fs::write(world.path("taken"), "").unwrap();
    let schedule = ["backup", "schedule", "taken/kept", "--data", "data", "--daily", "00:00"];
    let told = world.shown(&world.run(&schedule));
    assert!(told.starts_with("exit 0"), "{told}");
    let backups = || components(&ready(&admin)).into_iter().find(|it| it.0 == "backups");
    wait_until("a backup has failed", || backups().is_some_and(|it| it.1 == "degraded"));
    let told = ready(&admin);
    assert_eq!((told.status, told.text("/status")), (200, "ready".into()));
    let found = components(&told);
    let of = |name: &str| found.iter().find(|it| it.0 == name).unwrap();
    let why = &of("backups").2;
    assert!(why.contains("taken/kept") && why.contains("the last one: never"), "{why}");
    let (_, status, why) = of("maintenance");
    assert!(status == "degraded" && why.contains("a new disk"), "{why}");
    assert!(why.contains("`traaviis admin maintenance off`"), "{why}");
}
