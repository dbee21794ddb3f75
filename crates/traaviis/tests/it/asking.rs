//! Commands that ask a server: keys, members, roles, tenants, users, flags, as people type them.

use serde_json::Value as Json;

use crate::{
    cli::World,
    server::{self, PASSWORD, Server},
};

fn serve(world: &World) -> Server {
    let variables = [("TRAAVIIS_ADMIN_PASSWORD", PASSWORD)];
    Server::with(world, &["--admin-email", "root@example.org"], &variables)
}

/// Runs a script that must go well; what is refused on its way is looked at by the next command.
fn bash(world: &World, server: &Server, script: &str) -> Vec<String> {
    let (code, lines) = server::bash(world, server, &format!("set +o pipefail\n{script}"));
    assert_eq!(code, 0, "{lines:?}");
    lines
}

const LOGIN: &str = "traaviis login ada@example.org --register --organisation Acme >/dev/null\n";

#[test]
fn a_key_is_made_used_listed_and_ended() {
    let world = World::new();
    let server = serve(&world);
    let script = format!(
        "{LOGIN}
traaviis token list
key=$(traaviis token create ci --scope workflow_monitor,workflow_execute --expires 30d \
    --from 127.0.0.0/8 2>note)
grep -c 'told this once' note
traaviis token list --json
TRAAVIIS_TOKEN=$key traaviis api GET /tenants/current/instances --select /items
TRAAVIIS_TOKEN=$key traaviis api GET /tenants/current/secrets 2>&1 \
    | grep -o insufficient_permissions
traaviis token revoke ci
TRAAVIIS_TOKEN=$key traaviis member list 2>&1 || echo $?
traaviis token revoke ci 2>&1 || echo $?
traaviis token create x --scope fly 2>&1 || echo $?
traaviis token create x --scope workflow_monitor --expires 1ms 2>&1 || echo $?"
    );
    let lines = bash(&world, &server, &script);
    assert_eq!(lines[0], "no API keys; `traaviis token create` makes one");
    assert_eq!(lines[1], "1");
    let listed: Json = serde_json::from_str(&lines[2]).unwrap();
    let key = &listed["items"][0];
    assert_eq!((&key["name"], &key["key"]), (&"ci".into(), &Json::Null), "{listed}");
    assert_eq!(key["ip_allow"][0], "127.0.0.0/8");
    let rest = lines[3..].join("\n");
    let expected = [
        "[]",
        "insufficient_permissions",
        "API key `ci` works no more",
        "(HTTP 401)",
        "4",
        "there is no API key `ci`; the list names those there are (not_found)",
        "1",
        "validation_failed",
        "1",
        "`1ms` is shorter than a second (usage)",
        "2",
    ];
    let mut at = 0;
    for part in expected {
        at += rest[at..].find(part).unwrap_or_else(|| panic!("{part} behind {at} in {rest}"));
    }
}

#[test]
fn a_token_is_exchanged_for_less_in_one_tenant() {
    let world = World::new();
    let server = serve(&world);
    let script = format!(
        "{LOGIN}
less=$(traaviis token exchange --scope workflow_monitor --expires 10m 2>/dev/null)
TRAAVIIS_TOKEN=$less traaviis api GET /tenants/current/permissions --select /permissions
TRAAVIIS_TOKEN=$less traaviis token exchange 2>&1 || echo $?
TRAAVIIS_TOKEN=$less traaviis tenant switch acme 2>&1 || echo $?
traaviis token exchange --tenant nowhere 2>&1 || echo $?"
    );
    let lines = bash(&world, &server, &script);
    assert_eq!(lines[0], r#"["workflow_monitor"]"#);
    assert!(lines[1].contains("unset `TRAAVIIS_TOKEN`"), "{lines:?}");
    assert_eq!((&*lines[2], &*lines[4]), ("4", "4"));
    assert!(lines[5].contains("`traaviis tenant list` names"), "{lines:?}");
}

#[test]
fn members_come_get_roles_and_go() {
    let world = World::new();
    let server = serve(&world);
    let script = format!(
        "{LOGIN}
traaviis role create finance --permission analytics_view,analytics_export >/dev/null
token=$(traaviis member invite bob@example.org --role finance 2>/dev/null)
traaviis member invitations --json | grep -o '\"email\":\"[^\"]*\"'
traaviis login bob@example.org --invitation \"$token\" >/dev/null
traaviis tenant switch acme
traaviis member list | awk '{{print $2, $3, $4}}'
traaviis member remove Ada 2>&1 || echo $?
traaviis login ada@example.org >/dev/null
traaviis role update finance --permission analytics_view --payloads none >/dev/null
traaviis role show finance --json | grep -o '\"payloads\":\"[a-z]*\"'
traaviis role show finance | grep '^may  '
traaviis role delete finance 2>&1 | grep -o invalid_state
traaviis member role Bob developer
traaviis role delete finance
traaviis role delete viewer 2>&1 || echo $?
traaviis member suspend bob
traaviis member activate bob
traaviis member remove bob
traaviis member remove bob 2>&1 || echo $?
traaviis member invite eve@example.org >/dev/null 2>&1
traaviis member withdraw EVE@example.org
traaviis member invitations"
    );
    let lines = bash(&world, &server, &script);
    let expected = [
        r#""email":"bob@example.org""#,
        "acting in tenant `acme` now",
        "NAME ROLE STATUS",
        "Ada owner active",
        "Bob finance active",
        "error: this needs the permission `tenant_user_management`, which you do not have (HTTP \
         403) (insufficient_permissions)",
        "4",
        r#""payloads":"none""#,
        "may         analytics_view",
        "invalid_state",
        "Bob has the role developer now",
        "role `finance` is deleted",
        "error: every tenant has the role `viewer`, so it stays as it is; make one of your own \
         with `traaviis role create` (invalid_state)",
        "1",
        "Bob is kept out",
        "Bob is let in again",
        "Bob is no member any more",
        "error: there is no member `bob`; the list names those there are (not_found)",
        "1",
        "the invitation is taken back",
        "no open invitations",
    ];
    assert_eq!(lines, expected);
}

#[test]
fn tenants_are_made_chosen_and_brought_back() {
    let world = World::new();
    let server = serve(&world);
    let script = format!(
        "{LOGIN}
traaviis tenant create 'Second one' --slug second | cut -d: -f1
traaviis tenant list | awk '{{print $2}}'
traaviis tenant show --json | grep -o '\"slug\":\"[a-z]*\"'
traaviis tenant switch second
traaviis tenant show | grep '^short name'
traaviis tenant show --tenant acme | grep '^short name'
TRAAVIIS_TENANT=acme traaviis tenant show | grep '^short name'
traaviis tenant delete second --confirm other 2>&1 || echo $?
traaviis tenant delete second --confirm second
traaviis tenant undelete second
traaviis tenant show --tenant no/where 2>&1 || echo $?
traaviis tenant list --all 2>&1 || echo $?"
    );
    let lines = bash(&world, &server, &script);
    assert_eq!(lines[0], "tenant `second` is made");
    assert_eq!(lines[1], "SHORT");
    let mut both = [&*lines[2], &*lines[3]];
    both.sort_unstable();
    assert_eq!(both, ["acme", "second"]);
    let rest: Vec<&str> = lines[4..9].iter().map(String::as_str).collect();
    let expected = [
        r#""slug":"acme""#,
        "acting in tenant `second` now",
        "short name  second",
        "short name  acme",
        "short name  acme",
    ];
    assert_eq!(rest, expected);
    let rest = lines[9..].join("\n");
    for part in [
        "validation_failed)\n1\n",
        "tenant `second` goes in 30 days",
        "tenant `second` is active now",
        "a short name such as `acme`",
        "`traaviis user promote` (platform_admin_required)\n4",
    ] {
        assert!(rest.contains(part), "{part} in {rest}");
    }
}

#[test]
fn who_looks_after_the_platform_does_so_by_commands() {
    let world = World::new();
    let server = serve(&world);
    let script = format!(
        "{LOGIN}
traaviis login root@example.org >/dev/null
traaviis user list --email ada@example.org --json | grep -o '\"name\":\"Ada\"'
traaviis user suspend ada@example.org
traaviis user activate ada@example.org
traaviis user reset-factors ada@example.org --reason 'lost phone' 2>&1 || echo $?
traaviis user suspend eve@example.org 2>&1 || echo $?
traaviis tenant suspend acme
traaviis tenant activate acme
traaviis tenant plan acme starter
traaviis tenant plan nowhere starter 2>&1 | grep -o not_found
traaviis member list --tenant acme 2>&1 | grep -o break_glass_required
traaviis admin break-glass acme --reason 'ticket 4711: runs do not end' >/dev/null
traaviis member list --tenant acme | grep -c Ada
traaviis admin flags | awk '{{print $1, $2}}'
traaviis admin flags hot_store 25%
traaviis admin flags hot_store off --for $(traaviis tenant list --all --json \
    | grep -o '\"id\":\"[^\"]*\"' | head -1 | cut -d'\"' -f4)
traaviis admin flags hot_store default
traaviis admin flags hot_store 200% 2>&1 | grep -o validation_failed
traaviis admin maintenance on --reason 'a new disk'
traaviis admin maintenance
traaviis admin maintenance off"
    );
    let lines = bash(&world, &server, &script);
    let expected = [
        r#""name":"Ada""#,
        "Ada is suspended now",
        "Ada is active now",
        "error: this user has no second factor (HTTP 409) (invalid_state)",
        "1",
        "error: there is no user with the address `eve@example.org` (not_found)",
        "1",
        "tenant `acme` is suspended now",
        "tenant `acme` is active now",
        "tenant `acme` has the plan starter now",
        "not_found",
        "break_glass_required",
        "1",
        "FLAG SETTING",
        "hot_store on",
        "flag `hot_store` is 25%; set for single tenants: 0",
        "flag `hot_store` is 25%; set for single tenants: 1",
        "flag `hot_store` is on (the default); set for single tenants: 1",
        "validation_failed",
        "changes are refused: a new disk",
        "changes are refused: a new disk",
        "changes are let in",
    ];
    assert_eq!(lines, expected);
}

#[test]
fn without_a_login_or_a_server_the_next_step_is_said() {
    let world = World::new();
    for line in
        ["token list", "member list", "role list", "tenant list", "user list", "admin flags"]
    {
        let told = world.shown(&world.run(&line.split(' ').collect::<Vec<_>>()));
        assert!(told.starts_with("exit 4") && told.contains("`traaviis login EMAIL`"), "{told}");
        let args = [line, "--server", "http://127.0.0.1:1", "--json"].join(" ");
        let mut command = world.command(&args.split(' ').collect::<Vec<_>>());
        let told = world.shown(&command.env("TRAAVIIS_TOKEN", "x").output().unwrap());
        assert!(told.starts_with("exit 3") && told.contains("server_unreachable"), "{told}");
    }
}
