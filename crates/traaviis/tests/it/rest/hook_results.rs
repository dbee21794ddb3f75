//! Messages whose senders are told how what they have started has ended.

use serde_json::{Value as Json, json};

use crate::{
    cli::{World, wait_until},
    server::{Server, Told, read},
};

/// Ends at once, fails, or waits for an event, as it is told.
const QUOTE: &str = r#"traaviis: "1"
name: Quote
version: 1.0.0
correlation: {key: input.ref}
input: {schema: {type: object, properties: {how: {type: string}, ref: {}, n: {}}}}
events: {answer: {schema: {type: object}}}
triggers:
  - {type: webhook, name: quote, verify: none, reply: result, timeout: 2s}
  - {type: webhook, name: patient, verify: none, reply: result, timeout: 60s}
  - type: webhook
    name: answer
    verify: none
    reply: result
    event: answer
    correlation: "${event.data.ref}"
  - {type: webhook, name: told, verify: none}
initial: deciding
states:
  deciding:
    always:
      - {guard: "input.how == 'now'", target: done}
      - {guard: "input.how == 'fail'", target: failed}
      - {target: waiting}
  waiting:
    on: {answer: {target: done}}
  done: {type: final, output: {price: "${input.n}"}}
  failed: {type: final, status: failed, output: {why: sold out}}
"#;

struct Here {
    api: Server,
    ada: String,
    slug: String,
}

impl Here {
    fn over(world: &World) -> Here {
        let api = Server::serve(world);
        let ada = api.register("ada@example.org");
        let etag = api.get(&ada, "/tenants/current/config").header("etag");
        let more = format!("if-match: {etag}\r\n");
        let open = json!({ "open_hooks": true });
        api.call_with(&ada, "PATCH", "/tenants/current/config", &more, open);
        api.publish(&ada, "Quote", QUOTE);
        let slug = api.get(&ada, "/tenants/current").text("/slug");
        Here { api, ada, slug }
    }

    fn path(&self, hook: &str) -> String {
        format!("/hooks/{}/{hook}", self.slug)
    }

    fn send(&self, hook: &str, more: &str, body: Json) -> Told {
        self.api.call_with("", "POST", &self.path(hook), more, body)
    }
}

#[test]
fn a_sender_is_told_how_it_has_ended_or_that_it_has_arrived_when_the_time_is_over() {
    let world = World::new();
    let here = Here::over(&world);
    let told = here.send("quote", "", json!({ "how": "now", "n": 7, "ref": "a" }));
    assert_eq!((told.status, told.text("/status")), (200, "completed".into()), "{told:?}");
    assert_eq!(told.body["output"], json!({ "price": 7 }));
    let told = here.send("quote", "", json!({ "how": "fail", "ref": "b" }));
    assert_eq!((told.status, told.text("/status")), (200, "failed".into()), "{told:?}");
    assert_eq!(told.body["output"], json!({ "why": "sold out" }));
    // Who does not wait is told as before.
    let told = here.send("told", "", json!({ "how": "now", "ref": "c" }));
    assert_eq!((told.status, told.body.as_object().unwrap().len()), (202, 1), "{told:?}");
    // The time is over; what comes then is told to whoever sends the same message again.
    let id = "webhook-id: m1\r\n";
    let body = json!({ "how": "wait", "n": 9, "ref": "d" });
    let late = here.send("quote", id, body.clone());
    assert_eq!((late.status, late.body.as_object().unwrap().len()), (202, 1), "{late:?}");
    let told = here.send("answer", "", json!({ "ref": "d" }));
    assert_eq!((told.status, told.text("/status")), (200, "completed".into()), "{told:?}");
    assert_eq!(told.text("/instance"), late.text("/instance"));
    let again = here.send("quote", id, body);
    assert_eq!((again.status, &again.body), (200, &told.body), "{again:?}");
    let open = here.api.get(&here.ada, "/tenants/current/instances?workflow=Quote&all=true");
    assert_eq!(open.body["items"].as_array().unwrap().len(), 4, "nothing was started twice");
    // Of an instance that was deleted nothing is told any more.
    let path = format!("/tenants/current/instances/{}", told.text("/instance"));
    assert_eq!(here.api.call(&here.ada, "DELETE", &path, Json::Null).status, 204);
    let gone = here.send("quote", id, json!({ "how": "wait", "n": 9, "ref": "d" }));
    assert_eq!((gone.status, gone.body.as_object().unwrap().len()), (202, 1), "{gone:?}");
    // What is refused is refused at once.
    let told = here.send("answer", "", json!({ "ref": "nobody" }));
    assert_eq!((told.status, told.code()), (404, "not_found"), "{told:?}");
}

#[test]
fn senders_who_wait_hold_no_thread_and_one_that_hangs_up_stops_nothing() {
    // With json-only storage looks are answered from the tree, on a thread for each.
    let world = World::embedded();
    let here = Here::over(&world);
    let before = here.api.threads();
    let begin = |n: usize| {
        let body = json!({ "how": "wait", "n": n, "ref": format!("r{n}") });
        let more = format!("webhook-id: w{n}\r\n");
        here.api.begin("", "POST", &here.path("patient"), &more, &body)
    };
    let count = || {
        let told = here.api.get(&here.ada, "/tenants/current/instances?limit=200&state=waiting");
        told.body["items"].as_array().map_or(0, Vec::len)
    };
    // One after the other, since a message is taken on a thread that goes a while later.
    let mut waiting = Vec::new();
    for n in 0..50 {
        waiting.push(begin(n));
        wait_until("it has started", || count() == n + 1);
    }
    let during = here.api.threads();
    assert!(during <= before + 32, "{before} threads before, {during} with 50 who wait");
    drop(waiting.pop());
    for n in 0..50 {
        let told = here.send("answer", "", json!({ "ref": format!("r{n}") }));
        assert_eq!(told.status, 200, "{n}: {told:?}");
    }
    for (n, stream) in waiting.into_iter().enumerate() {
        let told = read(stream);
        assert_eq!((told.status, &told.body["output"]["price"]), (200, &json!(n)), "{told:?}");
    }
    let again = read(begin(49));
    assert_eq!((again.status, &again.body["output"]["price"]), (200, &json!(49)), "{again:?}");
}

#[test]
fn a_workflow_that_never_ends_answers_with_no_result() {
    let world = World::new();
    let api = Server::serve(&world);
    let ada = api.register("ada@example.org");
    let endless = "traaviis: '1'\nname: Endless\nversion: 1.0.0\ninitial: a\nstates: {a: {}}\n\
                   triggers: [{type: webhook, name: x, secret: s, reply: result}]\n";
    let told = api.post(&ada, "/workflows/validate", json!({ "document": endless }));
    let found = told.body.to_string();
    assert!(found.contains("no state of this workflow is `final`"), "{told:?}");
}
