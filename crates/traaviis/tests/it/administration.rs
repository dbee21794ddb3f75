//! Looking after a server, as people do it: the guide, tasks for those who are asked, sockets of
//! who is suspended, and counts that survive a kill.

use std::time::{Duration, Instant};

use crate::{
    cli::World,
    server::{self, PASSWORD, Server, commands},
    websocket::Channel,
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
    let mut lines = bash(&world, &server, &commands(GUIDE));
    let kid = lines.remove(5);
    assert_eq!(kid.len(), 36, "the id of a key: {kid}");
    let keys = lines.drain(7..9).collect::<Vec<_>>().join("\n");
    assert!(keys.contains("workflow_deploy") && keys.contains("192.0.2.7/32"), "{keys}");
    assert_eq!(
        lines,
        [
            "logged in as Ada in tenant `acme`",
            "logged in as Root; choose a tenant with `--tenant`",
            "Ada is suspended now",
            "Ada is active now",
            "tenant `acme` has the plan starter now",
            "[]",
            "logged in as Ada in tenant `acme`",
            "starter",
            "USD",
            "5.000000",
            "5m",
            "logged in as Root; choose a tenant with `--tenant`",
            "changes are refused: a new disk",
            "starter",
            "changes are let in",
            "flag `hot_store` is 25%; set for single tenants: 0",
            "flag `hot_store` is on (the default); set for single tenants: 0",
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

/// Returns how long it took until the server has closed a socket because a right has ended.
fn closed(mut socket: Channel, since: Instant) -> Duration {
    assert_eq!(socket.closed(), 4001);
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
    let by_key = Channel::open(&server, key);
    let by_session = Channel::open(&server, token);
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
    let socket = Channel::open(&server, token);
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
