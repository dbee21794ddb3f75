//! `traaviis serve` as people use it: the guide of the first hour, and a kill in the middle.

use std::{
    io::{BufRead as _, BufReader},
    process::{Command, Stdio},
};

use sha2::{Digest as _, Sha256};

use crate::{
    cli::{Process, World},
    server::{Server, bash, commands},
};

/// Every command of this page is run.
const GUIDE: &str = include_str!("../../../../docs/guides/first-hour.md");

/// Every command of this page is run, too.
const API: &str = include_str!("../../../../docs/guides/api.md");

#[test]
fn every_command_of_the_first_hour_does_what_the_guide_says() {
    let world = World::new();
    let server = Server::serve(&world);
    let (code, lines) = bash(&world, &server, &commands(GUIDE));
    let expected = [
        "logged in as Ada in tenant `acme`",
        "Ada",
        "true",
        "Approval",
        "1.0.0",
        "waiting",
        "completed",
        "created",
        "logged in as Bob in tenant `acme`",
        "completed",
        "logged in as Ada in tenant `acme`",
        "permission.denied",
        "true",
        "approval.yaml: test `forty-two are approved` passes and stands there now, with 1 step and \
         0 mocks",
        "approval.yaml: Approval 1.0.0",
        "  ✓ forty-two are approved",
        "  1 passed, 0 failed; transitions 1 of 2 (50 %), guard outcomes 0 of 0 (100 %)",
        "    approval.yaml:9:37: never taken: waiting: on reject → rejected",
    ];
    assert_eq!((code, lines), (0, expected.map(str::to_owned).to_vec()));
}

#[test]
fn every_command_about_the_api_does_what_the_guide_says() {
    let world = World::new();
    let server = Server::serve(&world);
    let (code, lines) = bash(&world, &server, &commands(API));
    let expected = [
        "logged in as Ada in tenant `acme`",
        "Door",
        "1.0.0",
        "Door",
        "viewer",
        "true",
        "shut",
        "false",
        "shut",
        "shut",
        "[]",
        "scheduled",
        "cancelled",
        "double",
        "42",
        "Gate",
        "Door",
        "1",
        "2",
        "2",
        "2",
        "running",
        "active",
    ];
    assert_eq!((code, lines), (0, expected.map(str::to_owned).to_vec()));
}

/// What was acknowledged is there after `kill -9`, and nothing personal is in any file.
#[test]
fn a_killed_server_goes_on_with_everything_it_has_acknowledged() {
    let world = World::new();
    let mut server = Server::serve(&world);
    let script = commands(GUIDE);
    let (code, _) = bash(&world, &server, &script);
    assert_eq!(code, 0);
    server.process.0.kill().unwrap();
    server.process.0.wait().unwrap();

    let again = Server::serve(&world);
    let (code, lines) = bash(
        &world,
        &again,
        "traaviis login ada@example.org\n\
         traaviis api GET /tenants/current --select /member_count\n\
         traaviis api GET /tenants/current/workflows/Approval --select /latest\n\
         traaviis api GET '/tenants/current/instances?all=true' --select /items/0/status\n\
         traaviis api POST /tenants/current/audit/verify --select /whole\n\
         traaviis api POST /tenants/current/instances \
           --body '{\"workflow\": \"Approval\", \"input\": {\"amount\": 7}}' --select /state",
    );
    let expected =
        ["logged in as Ada in tenant `acme`", "2", "1.0.0", "completed", "true", "waiting"];
    assert_eq!((code, lines), (0, expected.map(str::to_owned).to_vec()));

    for canary in ["ada@example.org", "bob@example.org", "correct horse", "trv_rt_", "trv_inv_"] {
        let found = Command::new("grep")
            .args(["-r", "-l", "-a", "-i", canary])
            .arg(world.path("data"))
            .output()
            .unwrap();
        let found = String::from_utf8_lossy(&found.stdout).into_owned();
        assert!(found.is_empty(), "`{canary}` stands in {found}");
    }
}

/// The documents of a tenant are a stream of the log as well, with an id that anybody can compute.
#[test]
fn the_ledger_of_a_tenant_is_no_instance() {
    let world = World::new();
    let server = Server::serve(&world);
    let script = "traaviis login ada@example.org --register >/dev/null\n\
                  traaviis api GET /tenants/current --select /id";
    let (_, lines) = bash(&world, &server, script);
    let tenant: uuid::Uuid = lines[0].parse().unwrap();
    let name = [b"ledger ".as_slice(), tenant.as_bytes()].concat();
    let hash = Sha256::digest(name);
    let ledger = uuid::Uuid::from_slice(&hash[..16]).unwrap();
    let absent = uuid::Uuid::from_slice(&hash[16..]).unwrap();
    for path in ["", "/events", "/events?after_seq=1"] {
        let of = |id: uuid::Uuid| {
            let ask =
                format!("traaviis api GET /tenants/current/instances/{id}{path} 2>&1 || true");
            let (_, lines) = bash(&world, &server, &ask);
            assert!(lines.join(" ").contains("not_found"), "{path}: {lines:?}");
            lines.iter().map(|it| it.replace(&id.to_string(), "ID")).collect::<Vec<_>>()
        };
        assert_eq!(of(ledger), of(absent), "{path}");
    }
    // It is there.
    drop(server);
    let cat = world.run(&["log", "cat", "data"]);
    assert!(String::from_utf8_lossy(&cat.stdout).contains(&ledger.to_string()));
}

#[test]
fn dev_makes_an_account_once_and_tells_its_password_once() {
    let world = World::new();
    let begin = || {
        let arguments = ["dev", "data", "--listen", "127.0.0.1:0", "--json"];
        let child = world.command(&arguments).stdout(Stdio::piped()).spawn().unwrap();
        let mut process = Process(child);
        let mut line = String::new();
        BufReader::new(process.0.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let told: serde_json::Value = serde_json::from_str(&line).unwrap();
        let address = told["listening"].as_str().unwrap_or_else(|| panic!("{line}")).to_owned();
        (Server { process, address }, told["account"].clone())
    };
    let (server, account) = begin();
    let (email, password) = (account["email"].as_str(), account["password"].as_str());
    let script = format!(
        "export TRAAVIIS_PASSWORD='{}'\ntraaviis login {}\n\
         traaviis api GET /tenants/current/workflows --select /items/0/latest",
        password.unwrap(),
        email.unwrap()
    );
    let (code, lines) = bash(&world, &server, &script);
    let expected = ["logged in as Demo User in tenant `demo`", "1.0.0"];
    assert_eq!((code, lines), (0, expected.map(str::to_owned).to_vec()));
    drop(server);
    let (_server, account) = begin();
    assert!(account.is_null(), "{account}");
}

#[test]
fn a_port_that_is_taken_and_a_directory_that_is_held_are_told() {
    let world = World::new();
    let server = Server::serve(&world);
    let other = world.run(&["serve", "--data", "other", "--listen", &server.address]);
    let text = world.shown(&other);
    assert!(text.starts_with("exit 3") && text.contains("listen_failed"), "{text}");
    let same = world.run(&["serve", "--data", "data", "--listen", "127.0.0.1:0"]);
    let text = world.shown(&same);
    assert!(text.starts_with("exit 3") && text.contains("in use by process"), "{text}");
}
