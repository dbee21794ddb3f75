//! Alerts, storage, budgets and maintenance of a served directory, over a kill.

use serde_json::{Value as Json, json};

use crate::{
    cli::{World, wait_until},
    server::{PASSWORD, Server},
};

/// Fails by itself.
const BROKEN: &str = r#"traaviis: "1"
name: Broken
version: 1.0.0
initial: working
events: {go: {}}
states:
  working:
    on: {go: failed}
    always: {target: failed}
  failed: {type: final, status: failed}
"#;

/// Asks a model.
const ASKS: &str = r#"traaviis: "1"
name: Asks
version: 1.0.0
initial: asking
states:
  asking:
    invoke:
      - id: ask
        effect: {type: call_llm, provider: openai, model: gpt-4o, prompt: hello, max_tokens: 100}
        onDone: done
        onError: refused
  done: {type: final}
  refused: {type: final, output: {code: "${event.data.code}"}}
"#;

fn serve(world: &World) -> Server {
    let variables = [("TRAAVIIS_ADMIN_PASSWORD", PASSWORD)];
    Server::with(world, &["--admin-email", "root@example.org"], &variables)
}

fn log_in(api: &Server, email: &str) -> String {
    let login = json!({ "email": email, "password": PASSWORD });
    api.call("", "POST", "/auth/login", login).text("/access_token")
}

fn alerts(api: &Server, who: &str) -> Vec<String> {
    let told = api.get(who, "/tenants/current/alerts");
    let items = told.body["items"].as_array().unwrap_or_else(|| panic!("{told:?}"));
    items.iter().map(|it| it["rule"].as_str().unwrap().to_owned()).collect()
}

fn metric(api: &Server, who: &str, metric: &str) -> u64 {
    let told = api.get(who, "/tenants/current/usage");
    let all = told.body["metrics"].as_array().unwrap_or_else(|| panic!("{told:?}"));
    all.iter().find(|it| it["metric"] == metric).unwrap()["used"].as_u64().unwrap()
}

#[test]
fn a_rule_is_broken_once_and_what_is_used_is_counted_over_a_kill() {
    let world = World::new();
    let api = serve(&world);
    let ada = api.register("ada@example.org");
    api.publish(&ada, "Broken", BROKEN);
    let rule = json!({
        "name": "failures", "measure": "failed_instances", "above": 1, "cool_down": "1h",
    });
    assert_eq!(api.post(&ada, "/alerts/rules", rule).status, 201);
    api.start(&ada, "Broken");
    api.start(&ada, "Broken");
    // It may have been looked at, or not.
    api.kill();
    let api = serve(&world);
    let ada = log_in(&api, "ada@example.org");
    wait_until("the alert is raised", || !alerts(&api, &ada).is_empty());
    (0..3).for_each(|_| drop(api.start(&ada, "Broken")));
    api.kill();
    let api = serve(&world);
    let ada = log_in(&api, "ada@example.org");
    wait_until("the log was read", || metric(&api, &ada, "workflow_executions") == 5);
    assert_eq!(alerts(&api, &ada), ["failed_instances"]);
    wait_until("what is kept was weighed", || metric(&api, &ada, "storage") > 0);
    assert!(metric(&api, &ada, "api_calls") >= 1);
}

/// Nothing performs models in this release: what can be seen is that nothing is spent, and that the
/// budget refuses before anything goes out.
#[test]
fn a_call_of_a_model_is_refused_by_a_budget_before_it_goes_out() {
    let world = World::new();
    let api = serve(&world);
    let ada = api.register("ada@example.org");
    api.publish(&ada, "Asks", ASKS);
    let outcome = || {
        let body = json!({ "workflow": "Asks" });
        let told = api.call(&ada, "POST", "/tenants/current/instances?wait=final", body);
        told.body["output"]["code"].as_str().unwrap_or_default().to_owned()
    };
    let unlimited = outcome();
    assert!(!["", "budget_exceeded"].contains(&&*unlimited), "{unlimited}");
    let set = |body: Json| api.call(&ada, "PUT", "/tenants/current/budgets", body);
    assert_eq!(set(json!({ "day": { "usd": "0.000001" } })).status, 200);
    assert_eq!(outcome(), "budget_exceeded");
    assert_eq!(set(json!({ "day": { "usd": "1" } })).status, 200);
    assert_eq!(outcome(), unlimited);
    let budgets = api.get(&ada, "/tenants/current/budgets");
    assert_eq!(budgets.text("/day/spent_usd"), "0.000000", "{budgets:?}");
    assert_eq!(budgets.body["day"]["reserved_tokens"], json!(0));
}

#[test]
fn a_server_under_maintenance_is_read_backed_up_and_opened_again() {
    let world = World::new();
    let target = world.path("backups");
    let target = target.to_str().unwrap();
    let api = serve(&world);
    let ada = api.register("ada@example.org");
    api.publish(&ada, "Broken", BROKEN);
    let root = log_in(&api, "root@example.org");
    let told = api.call(&root, "POST", "/admin/backup", Json::Null);
    assert_eq!((told.status, told.code()), (409, "invalid_state"));
    let scheduled =
        world.run(&["backup", "schedule", target, "--daily", "00:00", "--data", "data"]);
    assert!(scheduled.status.success(), "{}", world.shown(&scheduled));
    let on = json!({ "on": true, "reason": "a new disk" });
    assert_eq!(api.call(&root, "POST", "/admin/maintenance", on).status, 200);
    let refused = api.post(&ada, "/instances", json!({ "workflow": "Broken" }));
    assert_eq!((refused.status, refused.code()), (503, "maintenance"));
    assert_eq!(api.get(&ada, "/tenants/current/workflows").status, 200);
    let told = api.call(&root, "POST", "/admin/backup", Json::Null);
    assert_eq!(told.status, 202, "{told:?}");
    wait_until("the backup is made", || {
        let told = api.get(&root, "/admin/backup");
        told.body["running"] == json!(false) && told.body["made_at"].is_string()
    });
    // It lasts over a restart.
    api.kill();
    let api = serve(&world);
    let (ada, root) = (log_in(&api, "ada@example.org"), log_in(&api, "root@example.org"));
    let start = || api.post(&ada, "/instances", json!({ "workflow": "Broken" }));
    assert_eq!(start().code(), "maintenance");
    assert_eq!(api.call(&root, "POST", "/admin/maintenance", json!({ "on": false })).status, 200);
    assert_eq!(start().status, 201);
}
