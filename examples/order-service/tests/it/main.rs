//! The shop over HTTP: keys, misbehaviour, restart.

use std::{path::Path, process::Stdio, time::Duration};

use order_service::{Ledger, Service, router};
use serde_json::{Value, json};

struct Shop {
    base: String,
    http: reqwest::Client,
}

impl Shop {
    async fn start(ledger: Ledger) -> Shop {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, router(Service::new(ledger))).await });
        Shop::at(base)
    }

    fn at(base: String) -> Shop {
        Shop { base, http: reqwest::Client::builder().no_proxy().build().unwrap() }
    }

    async fn post(&self, path: &str, key: &str, body: Value) -> (u16, Value) {
        let request = self.http.post(format!("{}{path}", self.base)).json(&body);
        let response = request.header("Idempotency-Key", key).send().await.unwrap();
        (response.status().as_u16(), response.json().await.unwrap())
    }

    async fn behave(&self, body: Value) {
        assert_eq!(self.post("/behaviour", "-", body).await.0, 200);
    }

    async fn entry(&self, key: &str) -> Value {
        let response = self.http.get(format!("{}/ledger", self.base)).send().await.unwrap();
        response.json::<Value>().await.unwrap()[key].clone()
    }
}

fn charge() -> Value {
    json!({"amount": 10, "card": "card_ok"})
}

#[tokio::test]
async fn a_key_is_executed_once_and_answers_the_same() {
    let shop = Shop::start(Ledger::default()).await;
    let first = shop.post("/payments", "k", charge()).await;
    assert_eq!(first, (200, json!({"charge_id": "ch-000001"})));
    assert_eq!(shop.post("/payments", "k", charge()).await, first);
    let other = shop.post("/payments", "l", charge()).await;
    assert_eq!(other.1, json!({"charge_id": "ch-000002"}));
    let entry = shop.entry("k").await;
    assert_eq!((&entry["deliveries"], &entry["executions"]), (&json!(2), &json!(1)));
    assert_eq!(entry["operation"], "payment.charge");
    assert_eq!(shop.post("/refunds", "k", json!({"charge_id": "c"})).await.1["code"], "key_reused");
}

#[tokio::test]
async fn concurrent_duplicates_wait_for_the_first() {
    let shop = Shop::start(Ledger::default()).await;
    shop.behave(json!({"operation": "payment.charge", "mode": "slow", "delay_ms": 100})).await;
    let (a, b) =
        tokio::join!(shop.post("/payments", "k", charge()), shop.post("/payments", "k", charge()));
    assert_eq!(a, b);
    let entry = shop.entry("k").await;
    assert_eq!((&entry["deliveries"], &entry["executions"]), (&json!(2), &json!(1)));
}

#[tokio::test]
async fn failures_are_not_remembered_and_flaky_recovers() {
    let shop = Shop::start(Ledger::default()).await;
    shop.behave(json!({"operation": "shipping", "mode": "fail"})).await;
    let book = json!({"order": "o", "address": {}});
    let (status, body) = shop.post("/shipments", "k", book.clone()).await;
    assert_eq!((status, &body["code"]), (422, &json!("address_refused")));
    assert_eq!(shop.entry("k").await["executions"], 0);
    shop.behave(json!({"operation": "shipping", "mode": "flaky", "times": 2})).await;
    assert_eq!(shop.post("/shipments", "k", book.clone()).await.0, 503);
    assert_eq!(shop.post("/shipments", "k", book.clone()).await.0, 503);
    assert_eq!(shop.post("/shipments", "k", book).await.0, 200);
}

#[tokio::test]
async fn a_hanging_request_goes_on_when_the_behaviour_changes() {
    let shop = Shop::start(Ledger::default()).await;
    shop.behave(json!({"operation": "payment.charge", "mode": "hang"})).await;
    let waiting = shop.post("/payments", "k", charge());
    tokio::pin!(waiting);
    assert!(tokio::time::timeout(Duration::from_millis(100), &mut waiting).await.is_err());
    assert_eq!(shop.entry("k").await["executions"], 0);
    shop.behave(json!({"operation": "payment.charge", "mode": "ok"})).await;
    assert_eq!(waiting.await.0, 200);
}

#[tokio::test]
async fn bad_requests_are_refused_with_a_code() {
    let shop = Shop::start(Ledger::default()).await;
    for (path, body, code) in [
        ("/inventory/reservations", json!({"sku": "a", "qty": 0}), "invalid_request"),
        ("/payments", json!({"amount": -1, "card": "c"}), "invalid_request"),
        ("/payments", json!({"amount": 1, "card": "card_declined"}), "card_declined"),
        ("/shipments", json!({"order": "o", "address": "x"}), "invalid_request"),
        ("/behaviour", json!({"operation": "nope", "mode": "ok"}), "unknown_operation"),
        ("/behaviour", json!({"operation": "payment", "mode": "no"}), "invalid_request"),
        ("/behaviour", json!({"operation": "payment", "oops": 1}), "invalid_request"),
    ] {
        assert_eq!(shop.post(path, path, body.clone()).await.1["code"], code, "{path} {body}");
    }
}

async fn spawn(ledger: &Path) -> (tokio::process::Child, Shop) {
    use tokio::io::{AsyncBufReadExt, BufReader};
    let mut child = tokio::process::Command::new(env!("CARGO_BIN_EXE_order-service"))
        .args(["--listen", "127.0.0.1:0", "--ledger"])
        .arg(ledger)
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).await.unwrap();
    let base = line.trim().strip_prefix("listening on ").unwrap().to_owned();
    (child, Shop::at(base))
}

#[tokio::test]
async fn a_killed_service_remembers_its_executions() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = dir.path().join("ledger.jsonl");
    let (mut child, shop) = spawn(&ledger).await;
    let first = shop.post("/payments", "k", charge()).await;
    child.kill().await.unwrap();
    let (_child, shop) = spawn(&ledger).await;
    assert_eq!(shop.post("/payments", "k", charge()).await, first);
    let entry = shop.entry("k").await;
    assert_eq!((&entry["deliveries"], &entry["executions"]), (&json!(2), &json!(1)));
}
