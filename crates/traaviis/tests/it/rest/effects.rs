//! Effects over REST: those that are open, those that instances are asked to run, named ones.

use std::{io::Write as _, net::TcpStream};

use serde_json::{Value as Json, json};

use crate::{
    cli::{World, wait_until},
    server::{Server, Told, read},
};

/// A shop that waits in its only state for two people and for a long time.
const SHOP: &str = r#"traaviis: "1"
name: Shop
version: 1.0.0
initial: open
data: {initial: {sum: 1}}
events: {close: {}}
effects:
  later:
    type: sequence
    effects:
      - {type: delay, duration: "${param.after}"}
      - {type: put_data, key: sum, value: "${data.sum + param.more}"}
      - {type: transform, expr: "data.sum * 10"}
  wait: {type: delay, duration: 1h}
states:
  open:
    on: {close: closed}
    invoke:
      - {id: ask, effect: {type: human_task, title: Ada, assignees: ["role:owner"]}}
      - id: both
        effect:
          type: parallel
          effects:
            - {type: delay, duration: 1h}
            - {type: wait_signal, event: close}
  closed: {type: final}
"#;

/// A desk that waits for somebody, and so ends a run without a terminal.
const DESK: &str = r#"traaviis: "1"
name: Desk
version: 1.0.0
initial: open
effects:
  wait: {type: delay, duration: 1h}
states:
  open:
    invoke: [{id: ask, effect: {type: human_task, title: Ada, assignees: ["role:owner"]}}]
"#;

struct Shop {
    world: World,
    api: Server,
    ada: String,
    id: String,
}

impl Shop {
    fn open() -> Shop {
        let world = World::new();
        let api = Server::serve(&world);
        let ada = api.register("ada@example.org");
        api.publish(&ada, "Shop", SHOP);
        let id = api.start(&ada, "Shop");
        Shop { world, api, ada, id }
    }

    fn get(&self, path: &str) -> Told {
        self.api.get(&self.ada, &format!("/tenants/current{path}"))
    }

    fn list(&self, query: &str) -> Vec<Json> {
        let told = self.get(&format!("/effects{query}"));
        assert_eq!(told.status, 200, "{told:?}");
        told.body["items"].as_array().unwrap().clone()
    }

    fn run(&self, body: Json) -> Told {
        self.api.post(&self.ada, &format!("/instances/{}/effects", self.id), body)
    }

    /// Sends a body as it is: a value of JSON forgets the order of keys.
    fn run_text(&self, body: &str) -> Told {
        let mut stream = TcpStream::connect(&self.api.address).unwrap();
        let head = format!(
            "POST /api/v1/tenants/current/instances/{}/effects HTTP/1.1\r\nhost: x\r\n\
             connection: close\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\
             authorization: Bearer {}\r\n\r\n",
            self.id,
            body.len(),
            self.ada
        );
        stream.write_all(format!("{head}{body}").as_bytes()).unwrap();
        read(stream)
    }

    fn cancel(&self, effect: &str) -> Told {
        let path = format!("/tenants/current/instances/{}/effects/{effect}", self.id);
        self.api.call(&self.ada, "DELETE", &path, Json::Null)
    }

    fn state(&self) -> Json {
        self.get(&format!("/instances/{}/state", self.id)).body
    }
}

fn kinds(items: &[Json]) -> Vec<&str> {
    items.iter().map(|it| it["kind"].as_str().unwrap()).collect()
}

#[test]
fn open_effects_are_listed_page_by_page_and_shown() {
    let shop = Shop::open();
    let second = shop.api.start(&shop.ada, "Shop");
    let all = shop.list("");
    let of_one = ["human_task", "parallel", "delay", "wait_signal"];
    // `wait_signal` has a limit of its own around it, by default.
    let shown: Vec<&str> = kinds(&all).into_iter().filter(|it| *it != "timeout").collect();
    assert_eq!(shown, [of_one, of_one].concat());
    assert_eq!(all[0]["instance"], json!(second), "the newest instance first");
    let parallel = all.iter().find(|it| it["kind"] == "parallel").unwrap();
    let delay = all.iter().find(|it| it["kind"] == "delay").unwrap();
    assert_eq!(delay["parent"], parallel["id"]);
    assert_eq!((&delay["state"], &delay["outside"]), (&json!("open"), &json!(false)));
    assert_eq!((&delay["status"], delay["next_due"].is_string()), (&json!("scheduled"), true));

    let (mut pages, mut cursor) = (Vec::new(), String::new());
    loop {
        let told = shop.get(&format!("/effects?limit=3{cursor}"));
        let items = told.body["items"].as_array().unwrap();
        assert!(items.len() <= 3);
        pages.extend(items.clone());
        let Some(next) = told.body["next_cursor"].as_str() else { break };
        cursor = format!("&cursor={next}");
    }
    assert_eq!(pages, all, "pages neither repeat nor miss");

    assert_eq!(kinds(&shop.list("?kind=delay")), ["delay", "delay"]);
    let own = shop.list(&format!("?instance={}&kind=human_task", shop.id));
    assert_eq!((own.len(), &own[0]["instance"]), (1, &json!(shop.id)));
    assert_eq!(shop.list("?status=failed"), Vec::<Json>::new());
    for wrong in ["?cursor=x", "?limit=0", "?instance=7"] {
        assert_eq!(shop.get(&format!("/effects{wrong}")).status, 422, "{wrong}");
    }

    let id = own[0]["id"].as_str().unwrap().to_owned();
    let one = shop.get(&format!("/effects/{id}"));
    assert_eq!((&*one.text("/kind"), &*one.text("/state")), ("human_task", "open"), "{one:?}");
    assert!(one.body["scheduled_at"].is_string());
    let eve = shop.api.register("eve@example.org");
    for absent in [&*id, "nothing", &format!("{}:1", shop.id)] {
        let told = shop.api.get(&eve, &format!("/tenants/current/effects/{absent}"));
        assert_eq!((told.status, told.code()), (404, "not_found"), "{absent}");
    }
    assert_eq!(shop.get(&format!("/effects/{}:1", shop.id)).status, 404, "a record of no effect");
    let theirs = shop.api.get(&eve, "/tenants/current/effects");
    assert_eq!(theirs.body["items"], json!([]));
}

#[test]
fn an_effect_is_run_outside_of_the_states_and_its_value_is_found() {
    let shop = Shop::open();
    let given = json!({ "type": "transform", "expr": "data.sum + param.n" });
    let told = shop.run(json!({ "do": given, "with": { "n": 41 } }));
    assert_eq!((told.status, &told.body["value"]), (202, &json!(42)), "{told:?}");
    assert_eq!((told.text("/status"), &told.body["outside"]), ("completed".into(), &json!(true)));
    let location = told.header("location");
    assert!(location.ends_with(&format!("/effects/{}", told.text("/id"))), "{location}");

    let told = shop.run(json!({ "effect": "later", "with": { "after": "1s", "more": 4 } }));
    assert_eq!((told.status, told.text("/status")), (202, "scheduled".into()), "{told:?}");
    let id = told.text("/id");
    assert!(shop.list("").iter().any(|it| it["id"] == json!(id) && it["outside"] == json!(true)));
    wait_until("it is over", || shop.get(&format!("/effects/{id}")).text("/status") == "completed");
    let value = shop.get(&format!("/effects/{id}")).body["value"].clone();
    assert_eq!(value, json!([null, 5, 50]));
    let state = shop.state();
    assert_eq!((&state["data"]["sum"], &state["state"]), (&json!(5), &json!("open")));

    // The order of keys is the order of steps, and it is kept: the body is sent as it stands here.
    let steps = r#"{"z": {"type": "put_data", "key": "sum", "value": 100},
        "a": {"type": "transform", "expr": "data.sum"}}"#;
    let body = format!(r#"{{"do": {{"type": "sequence", "effects": {steps}}}}}"#);
    let told = shop.run_text(&body);
    assert_eq!(told.body["value"], json!({ "a": 100, "z": 100 }), "{told:?}");
    let text = "type: sequence\neffects:\n  z: {type: put_data, key: sum, value: 7}\n  \
                a: {type: transform, expr: data.sum}\n";
    let told = shop.run(json!({ "do": text }));
    assert_eq!(told.body["value"], json!({ "a": 7, "z": 7 }), "{told:?}");

    for (body, status, code) in [
        (json!({}), 422, "validation_failed"),
        (json!({ "effect": "later", "do": given }), 422, "validation_failed"),
        (json!({ "effect": "later", "with": 7 }), 422, "validation_failed"),
        (json!({ "effect": "latr" }), 422, "unknown_effect"),
        (json!({ "do": { "type": "delay", "duration": "soon" } }), 422, "effect_invalid"),
        (
            json!({ "do": { "type": "call", "function": "other", "args": {} } }),
            422,
            "effect_invalid",
        ),
        (json!({ "do": "{type: value" }), 422, "effect_invalid"),
        (json!({ "more": 1 }), 422, "unknown_field"),
    ] {
        let told = shop.run(body.clone());
        assert_eq!((told.status, told.code()), (status, code), "{body}: {told:?}");
    }
    let found = shop.run(json!({ "do": { "type": "delay", "duration": "soon" } }));
    assert_eq!(found.text("/details/diagnostics/0/path"), "/duration", "{found:?}");

    let closed = shop.api.send(&shop.ada, &shop.id, "close");
    assert_eq!(closed.text("/status"), "completed");
    let told = shop.run(json!({ "effect": "wait" }));
    assert_eq!((told.status, told.code()), (409, "invalid_state"), "{told:?}");
    let kept = shop.get(&format!("/effects/{id}"));
    assert_eq!(kept.body["value"], json!([null, 5, 50]), "it stands in the history");
}

#[test]
fn what_was_asked_for_is_called_off_and_what_belongs_to_a_state_is_not() {
    let shop = Shop::open();
    let id = shop.run(json!({ "effect": "wait" })).text("/id");
    let own = shop.list("?kind=human_task")[0]["id"].as_str().unwrap().to_owned();
    let inside = shop.list("?kind=delay");
    let inside = inside.iter().find(|it| it["outside"] == json!(true)).unwrap();
    for (effect, status) in
        [(&*own, 409), (inside["id"].as_str().unwrap(), 409), ("999", 404), ("x", 404)]
    {
        assert_eq!(shop.cancel(effect).status, status, "{effect}");
    }
    let told = shop.cancel(&id);
    assert_eq!((told.status, &*told.text("/status")), (200, "cancelled"), "{told:?}");
    let told = shop.cancel(id.rsplit_once(':').unwrap().1);
    assert_eq!((told.status, told.code()), (409, "invalid_state"), "it is over: {told:?}");
    assert_eq!(shop.state()["state"], "open");

    let bob = shop.api.join(&shop.ada, "bob@example.org", "viewer");
    let path = format!("/instances/{}/effects", shop.id);
    let told = shop.api.post(&bob, &path, json!({ "effect": "wait" }));
    assert_eq!((told.status, told.code()), (403, "insufficient_permissions"));
    let key = "idempotency-key: once\r\n";
    let path = format!("/tenants/current{path}");
    let ask = || shop.api.call_with(&shop.ada, "POST", &path, key, json!({ "effect": "wait" }));
    let (first, second) = (ask(), ask());
    assert_eq!(first.text("/id"), second.text("/id"), "{second:?}");

    let trail = shop.get("/audit?limit=50");
    let acts: Vec<(String, Json)> = trail.body["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| (it["action"].as_str().unwrap_or_default().to_owned(), it["metadata"].clone()))
        .filter(|it| it.0.starts_with("effect."))
        .collect();
    let names: Vec<&str> = acts.iter().map(|it| &*it.0).collect();
    assert_eq!(names, ["effect.asked", "effect.cancelled", "effect.asked"], "{trail:?}");
    assert_eq!(acts[0].1["effect"], "wait");
}

#[test]
fn a_kill_takes_nothing_of_it() {
    let mut shop = Shop::open();
    let more = json!({ "after": "1s", "more": 1 });
    let path = format!("/tenants/current/instances/{}/effects", shop.id);
    let key = "idempotency-key: k\r\n";
    let body = json!({ "effect": "later", "with": more });
    let told = shop.api.call_with(&shop.ada, "POST", &path, key, body.clone());
    let id = told.text("/id");
    shop.api.kill_in_place();
    shop.api = Server::serve(&shop.world);
    let again = shop.api.call_with(&shop.ada, "POST", &path, key, body);
    assert_eq!((again.status, again.text("/id")), (202, id.clone()), "{again:?}");
    wait_until("it is over", || shop.get(&format!("/effects/{id}")).text("/status") == "completed");
    assert_eq!(shop.state()["data"]["sum"], json!(2), "it ran once");
    let records = shop.get(&format!("/instances/{}/events", shop.id));
    let records = records.body["items"].as_array().unwrap().clone();
    let asked: Vec<&Json> = records.iter().filter(|it| it["kind"] == "effect_requested").collect();
    assert_eq!((asked.len(), &asked[0]["with"]["more"]), (1, &json!(1)));
    shop.api.kill();
    // The history as the log has it is decided again, to the same bytes.
    let log = shop.world.run(&["log", "cat", "data"]);
    let log = String::from_utf8(log.stdout).unwrap();
    let is_own = |it: &&str| it.contains(&format!(r#""instance_id":"{}""#, shop.id));
    let own: Vec<&str> = log.lines().filter(is_own).collect();
    assert!(own.iter().any(|it| it.contains("effect_requested")), "{log}");
    std::fs::write(shop.world.path("own.jsonl"), own.join("\n") + "\n").unwrap();
    std::fs::write(shop.world.path("shop.yaml"), SHOP).unwrap();
    let replayed = shop.world.run(&["replay", "own.jsonl", "--workflow", "shop.yaml"]);
    assert_eq!(replayed.status.code(), Some(0), "{replayed:?}");
}

#[test]
fn a_tenant_keeps_effects_under_names() {
    let shop = Shop::open();
    let path = "/effects/named";
    let tree = json!({ "type": "transform", "expr": "param.n * 2" });
    let make = |name: &str, tree: &Json| {
        shop.api.post(&shop.ada, path, json!({ "name": name, "do": tree, "description": "twice" }))
    };
    let made = make("double", &tree);
    assert_eq!((made.status, made.text("/name")), (201, "double".into()), "{made:?}");
    assert_eq!((make("double", &tree).status, make("a b", &tree).status), (409, 422));
    let bad = make("bad", &json!({ "type": "transform", "expr": "nothing.n" }));
    assert_eq!((bad.status, bad.code()), (422, "effect_invalid"), "{bad:?}");
    // The workflow's own `wait` comes first.
    assert_eq!(make("wait", &tree).status, 201);
    let told = shop.run(json!({ "effect": "wait" }));
    assert_eq!(told.text("/status"), "scheduled", "{told:?}");
    let told = shop.run(json!({ "effect": "double", "with": { "n": 21 } }));
    assert_eq!(told.body["value"], json!(42), "{told:?}");

    let shown = shop.get("/effects/named/double");
    assert_eq!((shown.status, shown.header("etag")), (200, made.header("etag")));
    let listed = shop.get(path);
    assert_eq!(listed.body["items"].as_array().unwrap().len(), 2, "{listed:?}");
    let replace = |etag: &str| {
        let body = json!({ "do": { "type": "transform", "expr": "param.n * 3" } });
        let more = format!("if-match: {etag}\r\n");
        let path = "/tenants/current/effects/named/double";
        shop.api.call_with(&shop.ada, "PUT", path, &more, body)
    };
    assert_eq!(replace(&made.header("etag")).status, 200);
    assert_eq!(replace(&made.header("etag")).status, 412);
    let told = shop.run(json!({ "effect": "double", "with": { "n": 2 } }));
    assert_eq!(told.body["value"], json!(6), "{told:?}");
    let eve = shop.api.register("eve@example.org");
    let theirs = shop.api.get(&eve, "/tenants/current/effects/named/double");
    assert_eq!((theirs.status, theirs.code()), (404, "not_found"));
    let gone = |name: &str| {
        let path = format!("/tenants/current/effects/named/{name}");
        shop.api.call(&shop.ada, "DELETE", &path, Json::Null).status
    };
    assert_eq!((gone("double"), gone("double")), (204, 404));
    assert_eq!(shop.run(json!({ "effect": "double" })).code(), "unknown_effect");
}

/// What the server does over HTTP, a command line does on the directory.
#[test]
fn the_command_line_lists_runs_and_cancels() {
    let world = World::new().file("desk.yaml", DESK);
    let run = |line: &str| {
        let output = world.run(&line.split(' ').collect::<Vec<_>>());
        let told = String::from_utf8_lossy(&output.stdout).into_owned();
        let told = serde_json::from_str::<Json>(&told).unwrap_or(Json::Null);
        (output.status.code(), told)
    };
    world.run(&["run", "desk.yaml", "--data", "d"]);
    let (code, listed) = run("effects --data d --kind human_task --json");
    assert_eq!((code, listed["effects"].as_array().unwrap().len()), (Some(0), 1), "{listed}");
    let id = listed["effects"][0]["instance"].as_str().unwrap().to_owned();
    let (code, told) = run(&format!("effects run {id} wait --data d --json"));
    assert_eq!((code, &told["effect"]["status"]), (Some(0), &json!("scheduled")), "{told}");
    let effect = told["effect"]["id"].as_str().unwrap().to_owned();
    let (code, told) = run(&format!("effects cancel {effect} --data d --json"));
    assert_eq!((code, &told["effect"]["status"]), (Some(0), &json!("cancelled")), "{told}");
    let (code, told) = run(&format!("effects show {effect} --data d --json"));
    assert_eq!((code, &told["effect"]["reason"]), (Some(0), &json!("cancelled")), "{told}");
    assert_eq!(run(&format!("effects run {id} nothing --data d --json")).0, Some(1));
}
