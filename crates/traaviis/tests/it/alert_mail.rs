//! Mail of alerts, over the built server that is killed again and again: none is lost, and one that
//! comes twice has the same `Message-ID`.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
    thread,
    time::Duration,
};

use serde_json::json;

use crate::{
    cli::{World, wait_until},
    server::Server,
};

const FAILS: &str = r#"traaviis: "1"
name: Fails
version: 1.0.0
initial: a
states: {a: {type: final, status: failed}}
"#;

/// Returns the letters whose text holds a word, as address and `Message-ID`.
fn letters(folder: &Path, word: &str) -> Vec<(String, String)> {
    let files = fs::read_dir(folder).into_iter().flatten();
    let texts = files.filter_map(|it| fs::read_to_string(it.unwrap().path()).ok());
    let header = |text: &str, name: &str| {
        let line = text.lines().find_map(|it| it.strip_prefix(name));
        line.unwrap_or_default().trim().to_owned()
    };
    texts
        .filter(|it| it.contains(word))
        .map(|it| (header(&it, "To:"), header(&it, "Message-ID:")))
        // A kill may leave the beginning of a letter behind.
        .filter(|it| !it.0.is_empty() && !it.1.is_empty())
        .collect()
}

fn token_in(folder: &Path) -> String {
    let mut token = String::new();
    wait_until("the letter has come", || {
        let files = fs::read_dir(folder).into_iter().flatten();
        let texts = files.filter_map(|it| fs::read_to_string(it.unwrap().path()).ok());
        let mut lines = texts.filter_map(|text| {
            text.lines().find(|it| it.starts_with("trv_vfy_")).map(str::to_owned)
        });
        token = lines.next().unwrap_or_default();
        !token.is_empty()
    });
    token
}

#[test]
fn every_alert_is_written_to_its_people_whenever_the_server_is_killed() {
    let world = World::new();
    let folder = world.path("mail");
    let serve = || Server::with(&world, &["--mail-url", "file:mail"], &[]);
    let server = serve();
    let ada = server.register("ada@example.org");
    let token = token_in(&folder);
    let told = server.call("", "POST", "/auth/verify", json!({ "token": token }));
    assert_eq!(told.status, 204, "{told:?}");
    server.publish(&ada, "Fails", FAILS);
    const RULES: usize = 6;
    for number in 0..RULES {
        let rule = json!({
            "name": format!("rule {number}"), "measure": "failed_instances", "above": 0,
            "mail": true,
        });
        let made = server.post(&ada, "/alerts/rules", rule);
        assert_eq!(made.status, 201, "{made:?}");
    }
    server.start(&ada, "Fails");
    server.kill();
    // The time at which one dies moves over all that there is to be done.
    for wait in [5, 20, 60, 120, 250, 400, 700, 1_000, 1_300] {
        let server = serve();
        thread::sleep(Duration::from_millis(wait));
        server.kill();
    }
    let server = serve();
    let alerts = || {
        let told = server.get(&ada, "/tenants/current/alerts?limit=100");
        told.body["items"].as_array().unwrap().iter().filter(|it| it["rule_id"].is_string()).count()
    };
    wait_until("all alerts are raised", || alerts() == RULES);
    let ids = |all: &[(String, String)]| -> BTreeSet<String> {
        all.iter().map(|it| it.1.clone()).collect()
    };
    wait_until("all are written", || ids(&letters(&folder, "have failed")).len() >= RULES);
    // What was noted is not written again.
    let mut before = letters(&folder, "have failed").len();
    wait_until("nothing more is written", || {
        thread::sleep(Duration::from_secs(3));
        let now = letters(&folder, "have failed").len();
        std::mem::replace(&mut before, now) == now
    });
    let all = letters(&folder, "have failed");
    assert_eq!(ids(&all).len(), RULES, "a double has the same id: {all:?}");
    assert!(all.iter().all(|it| it.0 == "ada@example.org"), "{all:?}");
    assert!(all.iter().all(|it| it.1.starts_with("<alert-")), "{all:?}");
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    all.iter().for_each(|it| *counts.entry(&it.1).or_default() += 1);
    println!("{} letters for {RULES} alerts: {counts:?}", all.len());
}
