//! The port: classes, abandoning, crashes, one outcome each.

use std::{
    sync::mpsc,
    time::{Duration, Instant},
};

use traaviis_connect::{HttpConnector, Options};
use traaviis_model::{DeliveryClass, Span, TenantCtx};
use traaviis_ports::Connector;

use crate::peer::{Outcomes, call, connector, connector_with, perform, start};

#[test]
fn delivery_classes_follow_method_and_flags() {
    use DeliveryClass::*;
    let connector = connector_with(
        "{traaviis: '1', kind: connectors, base_url: 'http://a.example', functions: {
            read: {method: get, path: /}, lookup: {method: post, path: /, side_effect: false},
            put: {method: put, path: /}, keyed: {method: post, path: /, side_effect: true, idempotent: true},
            post: {method: post, path: /}}}",
    );
    for (kind, input, class) in [
        ("call_api", r#"{}"#, SafeRead),
        ("call_api", r#"{"method": "HEAD"}"#, SafeRead),
        ("call_api", r#"{"method": "options"}"#, SafeRead),
        ("call_api", r#"{"method": "put"}"#, KeyedWrite),
        ("call_api", r#"{"method": "delete"}"#, KeyedWrite),
        ("call_api", r#"{"method": "post"}"#, OtherWrite),
        ("call_api", r#"{"method": "post", "idempotent": true}"#, KeyedWrite),
        ("call_api", r#"{"method": "patch"}"#, OtherWrite),
        ("call_api", r#"{"method": "nonsense"}"#, OtherWrite),
        ("call", r#"{"function": "read"}"#, SafeRead),
        ("call", r#"{"function": "lookup"}"#, SafeRead),
        ("call", r#"{"function": "put"}"#, KeyedWrite),
        ("call", r#"{"function": "keyed"}"#, KeyedWrite),
        ("call", r#"{"function": "post"}"#, OtherWrite),
        ("call", r#"{"function": "gone"}"#, OtherWrite),
        ("call_llm", r#"{"prompt": "p"}"#, SafeRead),
        ("invoke_agent", r#"{"agent": "a"}"#, SafeRead),
        ("vector_search", r#"{}"#, SafeRead),
        ("store_document", r#"{}"#, KeyedWrite),
        ("mcp_call", r#"{"server": "s", "tool": "t"}"#, OtherWrite),
        ("other", r#"{}"#, OtherWrite),
    ] {
        let input = serde_json::from_str(input).unwrap();
        let found = connector.delivery_class(&TenantCtx::for_test(7), kind, &input);
        assert_eq!(found, class, "{kind} {input}");
    }
}

#[test]
fn an_abandoned_attempt_ends_at_once_and_only_for_its_tenant() {
    let peer = start();
    let connector = connector(&[peer]);
    let call = call("call_api", &format!(r#"{{"url": "http://{peer}/hang"}}"#));
    let id = call.id.clone();
    let (tx, rx) = mpsc::channel();
    let started = Instant::now();
    connector.perform(&TenantCtx::for_test(7), call, Box::new(move |it| tx.send(it).unwrap()));
    connector.abandon(&TenantCtx::for_test(8), &id);
    assert!(rx.recv_timeout(Duration::from_millis(200)).is_err());
    connector.abandon(&TenantCtx::for_test(7), &id);
    let error = rx.recv_timeout(Duration::from_secs(5)).unwrap().unwrap_err();
    assert_eq!(&*error.code, "cancelled");
    assert!(started.elapsed() < Duration::from_secs(5));
    connector.abandon(&TenantCtx::for_test(7), &id);
}

#[test]
fn a_crash_is_an_error_and_the_connector_goes_on() {
    let peer = start();
    let connector = HttpConnector::new(Options {
        secrets: std::sync::Arc::new(|_: &str| panic!("the vault fell over")),
        egress: traaviis_connect::EgressPolicy {
            allow_private: vec![peer.to_string().parse().unwrap()],
            ..Default::default()
        },
        ..Options::default()
    })
    .unwrap();
    let url = format!("http://{peer}/text");
    let input = format!(r#"{{"url": "{url}", "headers": {{"X": {{"$secret": "key"}}}}}}"#);
    let error = perform(&connector, call("call_api", &input)).unwrap_err();
    assert_eq!((&*error.code, error.retryable), ("execution_crashed", true));
    assert!(perform(&connector, call("call_api", &format!(r#"{{"url": "{url}"}}"#))).is_ok());
}

#[test]
fn the_nodes_timeout_beats_the_parameters() {
    let peer = start();
    let mut call =
        call("call_api", &format!(r#"{{"url": "http://{peer}/hang", "timeout": "1h"}}"#));
    call.timeout = Some(Span::millis(100));
    assert_eq!(&*perform(&connector(&[peer]), call).unwrap_err().code, "timeout");
}

#[test]
fn unknown_kinds_are_refused() {
    let code = |kind| perform(&connector::<&str>(&[]), call(kind, "{}")).unwrap_err().code;
    assert_eq!(&*code("teleport"), "unknown_effect");
    assert_eq!(&*code("call_llm"), "feature_unavailable");
}

#[test]
fn every_attempt_of_many_has_one_outcome() {
    let peer = start();
    let connector = connector(&[peer]);
    let outcomes = Outcomes::default();
    let (tx, rx) = mpsc::channel();
    for attempt in 1..=200 {
        let mut call = call("call_api", &format!(r#"{{"url": "http://{peer}/text"}}"#));
        call.id.attempt = attempt;
        let (outcomes, tx) = (outcomes.clone(), tx.clone());
        let done = Box::new(move |it| {
            outcomes.lock().unwrap().push(it);
            tx.send(()).unwrap();
        });
        connector.perform(&TenantCtx::for_test(7), call, done);
    }
    drop(tx);
    assert_eq!(rx.iter().count(), 200);
    assert!(outcomes.lock().unwrap().iter().all(Result::is_ok));
}
