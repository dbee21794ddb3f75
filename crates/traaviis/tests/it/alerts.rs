//! Alerts of a server as a person sees them: raised by a login from elsewhere, listed, seen to.

use serde_json::json;

use crate::{
    cli::{World, wait_until},
    server::{PASSWORD, Server, bash},
};

#[test]
fn a_login_from_elsewhere_is_listed_until_somebody_has_seen_to_it() {
    let world = World::new().file("countries.csv", "192.0.2.0/24,DE\n198.51.100.0/24,FR\n");
    let more = ["--trust-proxy", "127.0.0.0/8"];
    let variables = [("TRAAVIIS_AUTH__COUNTRIES_FILE", "countries.csv")];
    let server = Server::with(&world, &more, &variables);
    let ada = server.register("ada@example.org");
    let log_in = |from: &str| {
        let body = json!({ "email": "ada@example.org", "password": PASSWORD });
        let via = format!("x-forwarded-for: {from}\r\n");
        let told = server.call_with("", "POST", "/auth/login", &via, body);
        assert_eq!(told.status, 200, "{told:?}");
    };
    log_in("192.0.2.1");
    log_in("198.51.100.1");
    wait_until("the alert is raised", || {
        server.get(&ada, "/tenants/current/alerts").text("/items/0/rule")
            == "login_from_new_country"
    });
    let script = "
        traaviis login ada@example.org >/dev/null
        traaviis alerts | sed 's/  */ /g' | cut -d' ' -f1,5-
        id=$(traaviis alerts --json | sed 's/.*\"id\":\"\\([^\"]*\\)\".*/\\1/' | tr -d '\\n')
        traaviis alerts --ack \"$id\" >/dev/null
        traaviis alerts
        traaviis alerts --all | wc -l
        traaviis alerts --ack nothing 2>&1 || echo \"exit $?\"";
    let (code, lines) = bash(&world, &server, script);
    assert_eq!(code, 0, "{lines:?}");
    assert_eq!(lines[0], "SEVERITY WHAT", "{lines:?}");
    assert!(lines[1].starts_with("high somebody has logged in from a country"), "{lines:?}");
    assert_eq!(lines[2], "nothing that nobody has seen to", "{lines:?}");
    assert_eq!(lines[3].trim(), "2", "{lines:?}");
    assert!(lines[4].contains("not_found"), "{lines:?}");
    assert!(lines.last().unwrap().starts_with("exit "), "{lines:?}");
}

#[test]
fn a_list_of_countries_that_is_none_stops_the_start() {
    let world = World::new().file("countries.csv", "network,country\n192.0.2.0/24,DE\n");
    let mut command = world.command(&["serve", "--data", "data", "--listen", "127.0.0.1:0"]);
    let output = command.env("TRAAVIIS_AUTH__COUNTRIES_FILE", "countries.csv").output().unwrap();
    let text = world.shown(&output);
    assert!(text.starts_with("exit 2"), "{text}");
    assert!(text.contains("`countries.csv`: line 1 is neither"), "{text}");
}
