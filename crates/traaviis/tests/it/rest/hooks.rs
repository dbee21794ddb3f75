//! Messages of others that arrive at hooks, over the built server.

use std::time::{SystemTime, UNIX_EPOCH};

use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::{Value as Json, json};
use sha2::Sha256;

use crate::{
    cli::World,
    server::{Server, Told, bash, commands},
};

/// Started by what a shop sends, and paid by what a bank sends.
const ORDER: &str = r#"traaviis: "1"
name: Order
version: 1.0.0
correlation: {key: input.order, unique: true}
data: {initial: {order: "${input.order}", paid: 0}}
events: {paid: {}}
triggers:
  - type: webhook
    name: new-order
    secret: shop
    input: {order: "${event.data.id}"}
  - type: webhook
    name: paid
    verify: token
    secret: bank
    event: paid
    correlation: "${event.data.order}"
initial: open
states:
  open:
    on:
      paid: {target: done, actions: [{assign: {paid: "${event.data.amount}"}}]}
  done: {type: final}
"#;
/// 24 bytes.
const KEY: &[u8] = b"abcdefghijklmnopqrstuvwx";
const SECRET: &str = "whsec_YWJjZGVmZ2hpamtsbW5vcHFyc3R1dnd4";

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let mut bits = [0_u8; 4];
        bits[1..=chunk.len()].copy_from_slice(chunk);
        let bits = u32::from_be_bytes(bits);
        for at in 0..4 {
            match at <= chunk.len() {
                true => text.push(LETTERS[(bits >> (18 - 6 * at) & 63) as usize] as char),
                false => text.push('='),
            }
        }
    }
    text
}

fn signed(id: &str, at: u64, body: &Json) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(KEY).unwrap();
    mac.update(format!("{id}.{at}.{body}").as_bytes());
    let signature = base64(&mac.finalize().into_bytes());
    format!("webhook-id: {id}\r\nwebhook-timestamp: {at}\r\nwebhook-signature: v1,{signature}\r\n")
}

fn set(api: &Server, who: &str, name: &str, value: &str) {
    let path = format!("/tenants/current/secrets/{name}");
    let told = api.call(who, "PUT", &path, json!({ "value": value }));
    assert_eq!(told.status, 200, "{told:?}");
}

fn tenant(api: &Server, who: &str) -> (String, String) {
    let told = api.get(who, "/tenants/current");
    (told.text("/id"), told.text("/slug"))
}

#[test]
fn a_signed_message_starts_an_instance_once_and_a_token_finds_it_again() {
    let world = World::new();
    let api = Server::serve(&world);
    let ada = api.register("ada@example.org");
    set(&api, &ada, "shop", SECRET);
    set(&api, &ada, "bank", "a long shared token");
    api.publish(&ada, "Order", ORDER);
    let (id, slug) = tenant(&api, &ada);
    let body = json!({ "id": "4711" });
    let send = |api: &Server, path: &str, more: &str, body: &Json| -> Told {
        api.call_with("", "POST", path, more, body.clone())
    };
    let hook = format!("/hooks/{slug}/new-order");
    let (msg, at) = ("msg_1", now());
    let first = send(&api, &hook, &signed(msg, at, &body), &body);
    assert_eq!(first.status, 202, "{first:?}");
    let instance = first.text("/instance");
    let shown = api.get(&ada, &format!("/tenants/current/instances/{instance}"));
    assert_eq!(shown.text("/snapshot/data/order"), "4711", "{shown:?}");

    // The same message again: at once, with a new time, by the other address, after a kill.
    for path in [&hook, &format!("/hooks/{id}/new-order")] {
        let again = send(&api, path, &signed(msg, at + 1, &body), &body);
        assert_eq!((again.status, &again.body), (202, &first.body), "{again:?}");
    }
    api.kill();
    let api = Server::serve(&world);
    let again = send(&api, &hook, &signed(msg, now(), &body), &body);
    assert_eq!((again.status, &again.body), (202, &first.body), "{again:?}");
    api.kill();
    std::fs::remove_dir_all(world.path("data/documents")).unwrap();
    let api = Server::serve(&world);
    let again = send(&api, &hook, &signed(msg, now(), &body), &body);
    assert_eq!((again.status, &again.body), (202, &first.body), "{again:?}");
    let listed = api.get(&ada, "/tenants/current/instances?workflow=Order");
    assert_eq!(listed.body["items"].as_array().unwrap().len(), 1, "{listed:?}");
    // Another message about the same order is refused by the workflow, and can come again.
    let other = send(&api, &hook, &signed("msg_2", now(), &body), &body);
    assert_eq!((other.status, other.code()), (409, "correlation_conflict"), "{other:?}");
    let changed = json!({ "id": "4712" });
    let reused = send(&api, &hook, &signed(msg, now(), &changed), &changed);
    assert_eq!((reused.status, reused.code()), (422, "idempotency_key_reused"), "{reused:?}");

    let paid = json!({ "order": "4711", "amount": 12 });
    let bank = format!("/hooks/{slug}/paid");
    let unknown = json!({ "order": "9", "amount": 12 });
    let token = "webhook-token: a long shared token\r\n";
    let told = send(&api, &bank, token, &unknown);
    assert_eq!((told.status, told.code()), (404, "not_found"), "{told:?}");
    let told = send(&api, &bank, token, &paid);
    assert_eq!((told.status, told.text("/instance")), (202, instance.clone()), "{told:?}");
    let shown = api.get(&ada, &format!("/tenants/current/instances/{instance}"));
    assert_eq!(shown.text("/state"), "done", "{shown:?}");
    assert_eq!(shown.body["snapshot"]["data"]["paid"], 12, "{shown:?}");
    let told = api.call("a long shared token", "POST", &bank, paid);
    assert_eq!((told.status, told.code()), (404, "not_found"), "it is no longer open: {told:?}");

    let trail = api.get(&ada, "/tenants/current/audit?limit=200");
    let items = trail.body["items"].as_array().unwrap();
    let by_hook: Vec<&Json> =
        items.iter().filter(|it| it["actor"]["id"].as_str() == Some("hook:new-order")).collect();
    assert_eq!(by_hook.len(), 1, "{trail:?}");
    assert_eq!(by_hook[0]["action"], "instance.started");
}

#[test]
fn whoever_proves_nothing_learns_nothing() {
    let world = World::new();
    let api = Server::serve(&world);
    let ada = api.register("ada@example.org");
    set(&api, &ada, "shop", SECRET);
    api.publish(&ada, "Order", ORDER);
    let (_, slug) = tenant(&api, &ada);
    let (hook, body) = (format!("/hooks/{slug}/new-order"), json!({ "id": "1" }));
    let good = signed("m", now(), &body);
    let mut answers = Vec::new();
    for (path, more) in [
        (&*hook, ""),
        (&hook, "webhook-token: abcdefghijklmnopqrstuvwx\r\n"),
        (&hook, &signed("m", now() - 600, &body)),
        (&hook, &signed("m", now(), &json!({ "id": "2" }))),
        (&hook, &good.replace("webhook-id: m", "webhook-id: n")),
        // The secret of this one is not set.
        (&*format!("/hooks/{slug}/paid"), "webhook-token: \r\n"),
        (&format!("/hooks/{slug}/nothing"), &good),
        ("/hooks/nobody/new-order", &good),
        ("/hooks/0198c51a-7800-7abc-8000-0123456789ab/new-order", &good),
    ] {
        let mut told = api.call_with("", "POST", path, more, body.clone());
        assert_eq!((told.status, told.code()), (401, "hook_not_verified"), "{path} {told:?}");
        told.body["request_id"] = json!(null);
        told.body["instance"] = json!(null);
        answers.push(told.body.to_string());
    }
    answers.dedup();
    assert_eq!(answers.len(), 1, "{answers:?}");
    // With a proof, the body is looked at.
    for (more, text, status) in
        [("content-type: text/plain\r\n", json!("x"), 415), ("", json!({ "id": null }), 422)]
    {
        let more = format!("{more}{}", signed("m2", now(), &text));
        let told = api.call_with("", "POST", &hook, &more, text);
        assert!(told.status == status || told.status == 202, "{told:?}");
    }
    assert_eq!(api.get("", &hook).status, 405);
    let listed = api.get(&ada, "/tenants/current/instances?workflow=Order");
    assert!(listed.body["items"].as_array().unwrap().len() <= 1, "{listed:?}");
}

#[test]
fn a_hook_without_proof_needs_the_tenant_to_allow_it_and_a_name_is_of_one_workflow() {
    let open = |name: &str, hook: &str| {
        format!(
            "traaviis: '1'\nname: {name}\nversion: 1.0.0\ninitial: a\nstates: {{a: {{}}}}\n\
             triggers: [{{type: webhook, name: {hook}, verify: none}}]\n"
        )
    };
    let world = World::new();
    let api = Server::serve(&world);
    let ada = api.register("ada@example.org");
    let made = api.post(&ada, "/workflows", json!({ "document": open("Open", "in") }));
    assert_eq!(made.status, 201, "{made:?}");
    let refused = api.post(&ada, "/workflows/Open/publish", json!(null));
    assert_eq!((refused.status, refused.code()), (409, "invalid_state"), "{refused:?}");
    let config = |value: Json| {
        let etag = api.get(&ada, "/tenants/current/config").header("etag");
        let more = format!("if-match: {etag}\r\n");
        let patch = json!({ "open_hooks": value });
        api.call_with(&ada, "PATCH", "/tenants/current/config", &more, patch)
    };
    assert_eq!(config(json!("yes")).status, 422);
    assert_eq!(config(json!(true)).status, 200);
    assert_eq!(api.post(&ada, "/workflows/Open/publish", json!(null)).status, 201);
    let (_, slug) = tenant(&api, &ada);
    let hook = format!("/hooks/{slug}/in");
    let told = api.call("", "POST", &hook, json!({ "n": 1 }));
    assert_eq!(told.status, 202, "{told:?}");
    let shown = api.get(&ada, &format!("/tenants/current/instances/{}", told.text("/instance")));
    assert_eq!(shown.body["snapshot"]["input"]["n"], 1, "the body is the input: {shown:?}");

    api.post(&ada, "/workflows", json!({ "document": open("Other", "in") }));
    let taken = api.post(&ada, "/workflows/Other/publish", json!(null));
    assert_eq!((taken.status, taken.code()), (409, "already_exists"), "{taken:?}");
    // A version without the trigger takes the hook away, and a deleted workflow its hooks.
    assert_eq!(config(json!(false)).status, 200);
    assert_eq!(api.call("", "POST", &hook, json!({})).status, 401);
    assert_eq!(config(json!(true)).status, 200);
    assert_eq!(api.call("", "POST", &hook, json!({})).status, 202);
    let etag = api.get(&ada, "/tenants/current/workflows/Open/draft").header("etag");
    let next = open("Open", "out").replace("1.0.0", "1.1.0");
    let more = format!("if-match: {etag}\r\n");
    let put = json!({ "document": next });
    let told = api.call_with(&ada, "PUT", "/tenants/current/workflows/Open/draft", &more, put);
    assert_eq!(told.status, 200, "{told:?}");
    assert_eq!(api.post(&ada, "/workflows/Open/publish", json!(null)).status, 201);
    assert_eq!(api.call("", "POST", &hook, json!({})).status, 401);
    assert_eq!(api.call("", "POST", &format!("/hooks/{slug}/out"), json!({})).status, 202);
    assert_eq!(api.post(&ada, "/workflows/Other/publish", json!(null)).status, 201);
    assert_eq!(api.call("", "POST", &hook, json!({})).status, 202);
}

#[test]
fn the_guide_of_hooks_works() {
    const GUIDE: &str = include_str!("../../../../../docs/guides/hooks.md");
    let world = World::new().file("order.yaml", ORDER);
    let api = Server::serve(&world);
    api.register("ada@example.org");
    let (code, lines) = bash(&world, &api, &commands(GUIDE));
    assert_eq!(code, 0, "{lines:?}");
    assert_eq!(lines.last().map(String::as_str), Some("1.0.0"), "{lines:?}");
}
