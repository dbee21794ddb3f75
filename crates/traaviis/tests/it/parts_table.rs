//! Every part of a server can be looked at: it says how it stands, is a number, writes a line when
//! that changes, and raises an alert that is resolved again. The page of parts is made from it.

use std::fs;

use expect_test::expect_file;
use serde_json::{Value as Json, json};

use crate::{
    cli::{World, wait_until},
    observed,
    server::{PASSWORD, Server},
};

/// Numbers of single parts, beside how each stands.
const NUMBERS: &[(&str, &str)] = &[
    ("log", "traaviis_fsm_event_store_fsync_duration_seconds"),
    ("instances", "traaviis_memory_states_active"),
    ("document_tree", "traaviis_tree_lag_records"),
    ("memory", "process_resident_memory_bytes"),
    ("documents", "traaviis_storage_change_duration_seconds"),
    ("mail", "traaviis_mails_total"),
];

const HEAD: &str = "\
# Parts of a server

Made by a test from a running server; `UPDATE_EXPECT=1 cargo test every_part` writes it anew.
`/ready` says how each part stands, and so does `traaviis_component_status`: 0 well, 1 not wholly, \
2 failed.
A part that stands otherwise than before writes a line of the log, and one that stands badly for \
10 s raises an alert, which `GET /admin/alerts` lists and which is resolved once the part is well.
During maintenance `maintenance` is a part, too, without an alert.

| Part | Numbers | Alert |
|---|---|---|
";

#[test]
fn every_part_has_health_a_number_a_line_and_an_alert() {
    let world = World::embedded();
    let variables = [("TRAAVIIS_MAIL__SMTP_URL", "smtp://127.0.0.1:1")];
    let server = observed::serve(&world, &["--tree", "lazy"], &variables);
    let scheduled = ["backup", "schedule", "kept", "--data", "data", "--daily", "00:00"];
    let told = world.shown(&world.run(&scheduled));
    assert!(told.starts_with("exit 0"), "{told}");
    let ask = |path: &str| observed::ask(&server.admin, "GET", path, &[], "").body;
    let ready: Json = serde_json::from_str(&ask("/ready")).unwrap();
    let numbers = ask("/metrics");
    let mut page = HEAD.to_owned();
    for part in ready["components"].as_array().unwrap() {
        let name = part["name"].as_str().unwrap();
        let status = format!("traaviis_component_status{{component=\"{name}\"}} ");
        assert!(numbers.contains(&status), "{name} in {numbers}");
        let mut of_part = vec!["traaviis_component_status"];
        for (_, family) in NUMBERS.iter().filter(|it| it.0 == name) {
            assert!(numbers.contains(&format!("# TYPE {family} ")), "{family} in {numbers}");
            of_part.push(family);
        }
        let of_part: Vec<String> = of_part.iter().map(|it| format!("`{it}`")).collect();
        page += &format!("| `{name}` | {} | `part_{name}` |\n", of_part.join(", "));
    }
    for (name, _) in NUMBERS {
        assert!(page.contains(&format!("| `{name}` |")), "{name} in {page}");
    }
    expect_file!["../../../../docs/reference/parts.md"].assert_eq(&page);
}

#[test]
fn an_alert_of_a_part_is_raised_and_resolved_by_itself() {
    let world = World::embedded();
    let variables = [("TRAAVIIS_ADMIN_PASSWORD", PASSWORD)];
    let server = Server::with(&world, &["--admin-email", "root@example.org"], &variables);
    let login = json!({ "email": "root@example.org", "password": PASSWORD });
    let root = server.call("", "POST", "/auth/login", login).text("/access_token");
    let alert = || {
        let told = server.get(&root, "/admin/alerts");
        let all = told.body["items"].as_array().cloned().unwrap_or_default();
        all.into_iter().find(|it| it["rule"] == "part_backups").unwrap_or_default()
    };
    let back_up = || server.call(&root, "POST", "/admin/backup", Json::Null).status;
    // Below a file no folder can be made.
    fs::write(world.path("taken"), "").unwrap();
    let schedule = ["backup", "schedule", "taken/kept", "--data", "data", "--daily", "00:00"];
    let told = world.shown(&world.run(&schedule));
    assert!(told.starts_with("exit 0"), "{told}");
    assert_eq!((alert(), back_up()), (Json::Null, 202));
    wait_until("the alert is raised", || alert() != Json::Null);
    let raised = alert();
    assert_eq!((&raised["severity"], &raised["trail"]), (&json!("high"), &json!("standing")));
    assert_eq!(raised["resolved_at"], Json::Null, "{raised}");
    fs::remove_file(world.path("taken")).unwrap();
    wait_until("another backup is begun", || back_up() == 202);
    wait_until("the alert is resolved", || alert()["resolved_at"].is_string());
    assert_eq!(alert()["id"], raised["id"], "it is the same one");
}
