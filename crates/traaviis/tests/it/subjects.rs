//! What is kept about a person, at a server and on the command line: in a tenant, and of oneself.

use serde_json::{Value as Json, json};

use crate::{
    cli::{World, wait_until},
    server::{Server, bash},
};

const SEEN: &str = r#"traaviis: "1"
name: Seen
version: 1.0.0
correlation: {key: input.email}
input: {schema: {type: object, properties: {email: {type: string}, share: {type: number}}}}
data: {initial: {share: "${input.share}"}}
initial: asking
states:
  asking:
    invoke:
      - id: ask
        effect: {type: human_task, title: "Look?", outcomes: [seen], assignees: ["role:developer"]}
        onDone: seen
        onError: seen
  seen: {type: final}
"#;

/// Returns the names of the parts in which something is.
fn full(export: &Json) -> Vec<&str> {
    let parts = export["parts"].as_object().unwrap();
    parts.iter().filter(|it| it.1["count"] != 0).map(|it| &**it.0).collect()
}

fn me(server: &Server, who: &str) -> String {
    server.get(who, "/me").text("/id")
}

#[test]
fn a_person_is_taken_out_of_every_place_of_one_tenant_and_of_no_other() {
    let world = World::new();
    let server = Server::serve(&world);
    let ada = server.register("ada@example.org");
    let bob = server.join(&ada, "bob@example.org", "developer");
    let bob_id = me(&server, &bob);
    server.publish(&ada, "Seen", SEEN);
    let input =
        json!({ "workflow": "Seen", "input": { "email": "eve@example.org", "share": 1.0 } });
    let begun = server.post(&ada, "/instances", input);
    assert_eq!(begun.status, 201, "{begun:?}");
    let id = begun.text("/id");
    let task = || server.get(&bob, &format!("/tenants/current/tasks/{id}"));
    wait_until("the task is there", || task().status == 200);
    let claimed = server.post(&bob, &format!("/tasks/{id}/claim"), Json::Null);
    assert_eq!(claimed.status, 200, "{claimed:?}");
    let key = json!({ "name": "of bob", "scopes": ["workflow_monitor"] });
    let key = server.post(&bob, "/api-keys", key);
    assert_eq!(key.status, 201, "{key:?}");
    let secret = key.text("/key");
    server.post(&ada, "/invitations", json!({ "email": "eve@example.org", "role": "viewer" }));

    let export = |who: &str, subject: &str| {
        server.post(who, "/privacy/export-subject", json!({ "subject": subject }))
    };
    // By the id, and by the address of a member, the same.
    let by_id = export(&ada, &bob_id);
    assert_eq!(by_id.status, 200, "{by_id:?}");
    for told in [&by_id, &export(&ada, "Bob@example.org")] {
        let found = full(&told.body);
        for part in ["api_keys", "audit", "membership", "task_acts", "tasks"] {
            assert!(found.contains(&part), "{part} is not in {found:?}");
        }
        assert_eq!(told.body["user"], bob_id);
        assert_eq!(told.body["parts"]["api_keys"]["items"][0]["name"], "of bob");
        assert_eq!(told.body["parts"]["membership"]["items"][0]["role"], "developer");
        let empty = told.body["empty"].as_array().unwrap();
        assert!(empty.contains(&json!("usage")) && empty.contains(&json!("instances")));
        let text = told.body.to_string();
        assert!(!text.contains(&secret) && !text.contains("hash\":\"$"), "{text}");
    }
    // Somebody with no account: by what instances and invitations say.
    let eve = export(&ada, "eve@example.org");
    assert_eq!(full(&eve.body), ["instances_named", "invitations"], "{eve:?}");
    let named = &eve.body["parts"]["instances_named"]["items"][0];
    assert_eq!(named["snapshot"]["id"], id);
    assert!(!named["records"].as_array().unwrap().is_empty());

    // A stranger, and a member of another tenant, are the same nobody.
    let carl = server.register("carl@example.org");
    let nobody = export(&ada, "nobody@example.org");
    assert_eq!((nobody.status, nobody.code()), (404, "subject_unknown"), "{nobody:?}");
    for meant in ["carl@example.org", &me(&server, &carl)] {
        let told = export(&ada, meant);
        assert_eq!((told.status, told.code()), (404, "subject_unknown"), "{told:?}");
    }
    assert_eq!(export(&carl, &bob_id).code(), "subject_unknown");
    assert_eq!(export(&bob, &bob_id).code(), "insufficient_permissions");
}

#[test]
fn one_takes_out_ones_own_account_over_all_tenants() {
    let world = World::new();
    let server = Server::serve(&world);
    let ada = server.register("ada@example.org");
    let bob = server.join(&ada, "bob@example.org", "developer");
    let told = server.call(&bob, "POST", "/me/export", Json::Null);
    assert_eq!(told.status, 200, "{told:?}");
    let account = &told.body["account"];
    assert_eq!(account["email"], "bob@example.org");
    assert_eq!((&account["has_password"], &account["factors"]), (&json!(true), &json!([])));
    assert!(told.body["parts"]["sessions"]["count"].as_u64() >= Some(1), "{told:?}");
    let text = told.body.to_string();
    assert!(!text.contains("argon2") && !text.contains("refresh\""), "{text}");
    // Bob is in the tenant of Ada; of what she did there he is told nothing.
    let tenants = told.body["tenants"].as_array().unwrap();
    let theirs: Vec<&Json> =
        tenants.iter().flat_map(|it| it["parts"]["audit"]["items"].as_array().unwrap()).collect();
    assert!(theirs.iter().all(|it| it["user_id"] == account["id"]), "{theirs:?}");
    assert!(tenants.iter().any(|it| it["parts"]["membership"]["count"] == 1), "{tenants:?}");
    // It stands in the trail of the platform, which the next export shows.
    let again = server.call(&bob, "POST", "/me/export", Json::Null);
    assert!(again.body["parts"]["audit"].to_string().contains("user.exported"), "{again:?}");
    assert_eq!(server.call("", "POST", "/me/export", Json::Null).status, 401);
}

#[test]
fn exports_are_written_to_files_that_nobody_else_reads() {
    let world = World::new();
    let server = Server::serve(&world);
    server.register("ada@example.org");
    let script = "export TRAAVIIS_PASSWORD='correct horse battery'
traaviis login ada@example.org >/dev/null
traaviis user export --out me.json
stat -c %a me.json
grep -c '\"email\": \"ada@example.org\"' me.json
(traaviis user export --out me.json || true) 2>&1 | grep -o storage_failed
traaviis privacy export --subject ada@example.org --tenant current --json \
| grep -o '\"membership\"' \
| head -1
(traaviis privacy export --subject nobody --tenant current || true) 2>&1 \
| grep -o subject_unknown";
    let (code, lines) = bash(&world, &server, script);
    let expected =
        ["written to `me.json`", "600", "1", "storage_failed", "\"membership\"", "subject_unknown"];
    assert_eq!((code, lines), (0, expected.map(str::to_owned).to_vec()));
}

#[test]
fn whole_numbers_are_read_however_they_are_written_and_data_stays_as_it_was() {
    let world = World::new();
    let server = Server::serve(&world);
    let ada = server.register("ada@example.org");
    let rule = |above: Json| {
        let rule = json!({ "name": "many", "measure": "incidents_open", "above": above });
        server.post(&ada, "/alerts/rules", rule)
    };
    let made = rule(json!(846.0));
    assert_eq!((made.status, &made.body["above"]), (201, &json!(846)), "{made:?}");
    assert_eq!(rule(json!(1e3)).body["above"], 1000);
    assert_eq!(rule(json!(1.5)).status, 422);
    server.publish(&ada, "Seen", SEEN);
    let input = json!({ "workflow": "Seen", "input": { "email": "e", "share": 1.0 } });
    let id = server.post(&ada, "/instances", input).text("/id");
    let shown = server.get(&ada, &format!("/tenants/current/instances/{id}"));
    assert!(shown.body.to_string().contains("\"share\":1.0"), "{shown:?}");
}

#[test]
fn the_issuer_of_tokens_is_where_the_server_listens() {
    let world = World::new();
    let server = Server::serve(&world);
    let token = server.register("ada@example.org");
    let claims = token.split('.').nth(1).unwrap();
    let begin = format!("{{\"iss\":\"http://{}\",\"", server.address);
    // As far as it is whole groups of letters.
    let begin = traaviis_model::value::base64(&begin.as_bytes()[..begin.len() / 3 * 3]);
    assert!(claims.starts_with(&begin), "{claims} does not begin with {begin}");
    // At another port it knows its tokens again.
    server.kill();
    let server = Server::serve(&world);
    assert_eq!(server.get(&token, "/me").status, 200);
}
