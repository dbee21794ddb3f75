//! Looking after a server, as people do it: the guide, tasks for those who are asked, sockets of
//! who is suspended, and counts that survive a kill.

use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
    time::{Duration, Instant},
};

use crate::{
    cli::World,
    server::{self, PASSWORD, Server, commands},
};

/// Every command of this page is run.
const GUIDE: &str = include_str!("../../../../docs/guides/administration.md");

fn serve(world: &World) -> Server {
    let variables = [("TRAAVIIS_ADMIN_PASSWORD", PASSWORD)];
    Server::with(world, &["--admin-email", "root@example.org"], &variables)
}

/// Runs a script that must go well.
fn bash(world: &World, server: &Server, script: &str) -> Vec<String> {
    let (code, lines) = server::bash(world, server, script);
    assert_eq!(code, 0, "{lines:?}");
    lines
}

#[test]
fn every_command_of_the_guide_does_what_it_says() {
    let world = World::new();
    let server = serve(&world);
    let lines = bash(&world, &server, &commands(GUIDE));
    assert_eq!(
        lines,
        [
            "logged in as Ada in tenant `acme`",
            "logged in as Root; choose a tenant with `--tenant`",
            "suspended",
            "active",
            "starter",
            "[]",
            "logged in as Ada in tenant `acme`",
            "192.0.2.7/32",
            "starter",
            "USD",
            "5.000000",
            "5m",
            "logged in as Root; choose a tenant with `--tenant`",
            "true",
            "starter",
            "false",
            "25%",
            "on",
        ]
    );
}

#[test]
fn who_looks_after_the_platform_is_decided_offline_too() {
    let world = World::new();
    let mut server = serve(&world);
    bash(&world, &server, "traaviis login ada@example.org --register");
    let held = world.run(&["user", "promote", "ada@example.org", "--data", "data"]);
    assert!(world.shown(&held).contains("in use by process"), "{}", world.shown(&held));
    server.process.0.kill().unwrap();
    server.process.0.wait().unwrap();
    for (command, email, told) in [
        ("promote", "ada@example.org", "ada@example.org now looks after the platform"),
        ("promote", "ada@example.org", "ada@example.org already looks after the platform"),
        ("demote", "root@example.org", "root@example.org is now a user like others"),
        ("promote", "eve@example.org", "not_found"),
    ] {
        let shown = world.shown(&world.run(&["user", command, email, "--data", "data"]));
        assert!(shown.contains(told), "{shown}");
    }
    let script = "traaviis login ada@example.org >/dev/null\n\
                  traaviis api GET /me --select /platform_role";
    assert_eq!(bash(&world, &serve(&world), script), ["platform_admin"]);
}

const APPROVAL: &str = r#"
cat > pay.yaml <<'YAML'
traaviis: "1"
name: Pay
version: 1.0.0
initial: asking
states:
  asking:
    invoke:
      - id: ask
        effect: {type: approval, title: "Pay?", assignees: ["role:Finance", "user:bob@example.org"], separation: false}
        onDone: paid
        onError: paid
  paid: {type: final}
YAML
traaviis login ada@example.org --register --organisation Acme >/dev/null
traaviis api POST /tenants/current/workflows --document pay.yaml >/dev/null
traaviis api POST /tenants/current/workflows/Pay/publish >/dev/null
role=$(traaviis api POST /tenants/current/roles --select /id --body '{"name": "finance", "base": "viewer", "permissions": []}')
invite() {
  traaviis api POST /tenants/current/invitations --select /token --body "{\"email\": \"$1\", \"role\": \"$2\"}"
}
bob=$(invite bob@example.org viewer)
max=$(invite max@example.org "$role")
one=$(traaviis api POST /tenants/current/instances --body '{"workflow": "Pay"}' --select /id)
two=$(traaviis api POST /tenants/current/instances --body '{"workflow": "Pay"}' --select /id)
decide() { traaviis api POST "/tenants/current/tasks/$1/decide" --body '{"outcome": "approved"}' --select /status 2>&1 || true; }
decide "$one" | grep -o not_assigned
traaviis login bob@example.org --invitation "$bob" >/dev/null
traaviis login bob@example.org --tenant acme >/dev/null
traaviis api GET /tenants/current/tasks --select /items/0/assignees/0
decide "$one"
traaviis login max@example.org --invitation "$max" >/dev/null
traaviis login max@example.org --tenant acme >/dev/null
traaviis api GET /tenants/current/tasks --select /items/0/title
decide "$two"
"#;

/// The owner, who is not asked, may not answer; a viewer by name and somebody by their role may.
#[test]
fn a_task_is_answered_by_those_whom_it_asks() {
    let world = World::new();
    let server = serve(&world);
    let lines = bash(&world, &server, APPROVAL);
    assert_eq!(lines, ["not_assigned", "role:Finance", "completed", "Pay?", "completed"]);
}

/// A socket, spoken by hand: all that is needed is how it begins and how it ends.
fn open_socket(server: &Server, token: &str) -> TcpStream {
    let mut stream = TcpStream::connect(&server.address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let address = &server.address;
    write!(
        stream,
        "GET /socket/websocket?vsn=2.0.0 HTTP/1.1\r\nHost: {address}\r\nConnection: Upgrade\r\n\
         Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nAuthorization: Bearer {token}\r\n\r\n"
    )
    .unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        head.push(byte[0]);
    }
    assert!(head.starts_with(b"HTTP/1.1 101"), "{}", String::from_utf8_lossy(&head));
    stream
}

/// Returns how long it took until the server has closed a socket.
fn closed(mut stream: TcpStream, since: Instant) -> Duration {
    let mut rest = Vec::new();
    let read = stream.read_to_end(&mut rest);
    assert!(read.is_ok() && rest.windows(2).any(|it| it == 4001_u16.to_be_bytes()), "{rest:?}");
    since.elapsed()
}

#[test]
fn sockets_of_who_is_suspended_are_closed_within_two_seconds() {
    let world = World::new();
    let server = serve(&world);
    let script = "traaviis login ada@example.org --register >/dev/null\n\
                  traaviis api POST /tenants/current/api-keys --select /key \
                    --body '{\"name\": \"r\", \"scopes\": [\"workflow_monitor\"]}'\n\
                  traaviis api POST /auth/reauthenticate --select /access_token \
                    --body \"{\\\"password\\\": \\\"$TRAAVIIS_PASSWORD\\\"}\"\n\
                  traaviis api GET /me --select /id\n\
                  traaviis api GET /tenants/current --select /id";
    let told = bash(&world, &server, script);
    let [key, token, user, tenant] = told.as_slice() else { panic!("{told:?}") };
    let suspend = |what: &str| {
        let script = format!(
            "traaviis login root@example.org >/dev/null\n\
             traaviis api PATCH /admin/{what} --body '{{\"status\": \"suspended\"}}' \
             --select /status"
        );
        assert_eq!(bash(&world, &server, &script), ["suspended"]);
    };
    let by_key = open_socket(&server, key);
    let by_session = open_socket(&server, token);
    suspend(&format!("tenants/{tenant}"));
    let since = Instant::now();
    for socket in [by_key, by_session] {
        let took = closed(socket, since);
        assert!(took < Duration::from_secs(2), "{took:?}");
    }
    let script = format!(
        "traaviis login root@example.org >/dev/null\n\
         traaviis api PATCH /admin/tenants/{tenant} --body '{{\"status\": \"active\"}}' >/dev/null"
    );
    bash(&world, &server, &script);
    let socket = open_socket(&server, token);
    suspend(&format!("users/{user}"));
    let took = closed(socket, Instant::now());
    assert!(took < Duration::from_secs(2), "{took:?}");
}

#[test]
fn what_is_used_is_counted_once_also_by_a_process_that_is_killed() {
    let world = World::new();
    let mut server = serve(&world);
    let script = r#"
cat > end.yaml <<'YAML'
traaviis: "1"
name: End
version: 1.0.0
initial: here
states: {here: {always: [{target: there}]}, there: {type: final}}
YAML
traaviis login ada@example.org --register >/dev/null
traaviis api POST /tenants/current/workflows --document end.yaml >/dev/null
traaviis api POST /tenants/current/workflows/End/publish >/dev/null
for _ in 1 2 3; do
  traaviis api POST /tenants/current/instances --body '{"workflow": "End"}' >/dev/null
done
"#;
    bash(&world, &server, script);
    let usage = "traaviis api GET /tenants/current/usage --select /metrics/0/used";
    assert_eq!(bash(&world, &server, usage), ["3"]);
    for _ in 0..2 {
        server.process.0.kill().unwrap();
        server.process.0.wait().unwrap();
        server = serve(&world);
        let login = format!("traaviis login ada@example.org >/dev/null\n{usage}");
        assert_eq!(bash(&world, &server, &login), ["3"]);
    }
}
