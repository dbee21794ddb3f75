//! `call`: the connectors file, arguments, results, errors.

use traaviis_connect::{Connectors, Format};
use traaviis_model::EffectError;

use crate::peer::{api_error, at, call, connector_with, perform, start};

fn file(functions: &str) -> String {
    let peer = start();
    format!(
        "traaviis: \"1\"\nkind: connectors\nbase_url: http://{peer}\n\
         egress: {{allow_private: [\"{peer}\"]}}\nheaders: {{X-File: {{$secret: key}}}}\nfunctions:\n{functions}"
    )
}

const FUNCTIONS: &str = "
  order.put: {method: post, path: '/echo/{id}', side_effect: true, idempotent: true, args: {type: object, required: [id], properties: {id: {type: string}, n: {type: integer}}}}
  order.get: {method: get, path: '/echo/{id}', headers: {X-Own: v}}
  order.refuse: {method: post, path: /status/422, error_code_field: code}
  order.sold: {path: /refuse, error_code_field: why.code}
  order.busy: {method: post, path: /status/503}
  order.slow: {path: /hang, timeout: 100ms}
  order.text: {method: get, path: /text}
  order.checked: {method: get, path: /echo, result: {type: object, required: [nope]}}
  order.away: {method: get, url: 'http://169.254.169.254/'}
";

fn run(input: &str) -> Result<traaviis_model::Value, EffectError> {
    perform(&connector_with(&file(FUNCTIONS)), call("call", input))
}

#[test]
fn arguments_become_path_body_or_query_and_the_result_is_the_body() {
    let put = run(r#"{"function": "order.put", "args": {"id": "a/b c", "n": 1}}"#).unwrap();
    assert_eq!(at(&put, "uri"), r#""/echo/a%2Fb%20c""#);
    assert_eq!(at(&put, "body"), r#""{\"n\":1}""#);
    assert_eq!(at(&put, "headers.idempotency-key"), r#""01890a5d.1.0""#);
    assert_eq!(at(&put, "headers.x-file"), r#""***""#);
    let get = run(r#"{"function": "order.get", "args": {"id": "x", "q": ["a", 2]}}"#).unwrap();
    assert_eq!(at(&get, "uri"), r#""/echo/x?q=a&q=2""#);
    assert_eq!(at(&get, "method"), r#""GET""#);
    assert_eq!(at(&get, "headers.x-own"), r#""v""#);
}

#[test]
fn failures_have_their_codes() {
    for (input, code, retryable) in [
        (r#"{"function": "order.put", "args": {"n": 1}}"#, "validation_failed", false),
        (r#"{"function": "order.put", "args": {"id": ".."}}"#, "validation_failed", false),
        (r#"{"function": "order.put", "args": [1]}"#, "validation_failed", false),
        (r#"{"function": "order.get"}"#, "validation_failed", false),
        (
            r#"{"function": "order.get", "args": {"id": "a", "b": {"$secret": "key"}}}"#,
            "validation_failed",
            false,
        ),
        (r#"{"args": {}}"#, "validation_failed", false),
        (r#"{"function": "order.refuse"}"#, "call_failed", false),
        (r#"{"function": "order.busy"}"#, "call_failed", true),
        (r#"{"function": "order.slow"}"#, "timeout", true),
        (r#"{"function": "order.text"}"#, "output_invalid", false),
        (r#"{"function": "order.checked"}"#, "output_invalid", false),
        (r#"{"function": "order.away"}"#, "egress_denied", false),
        (r#"{"function": "order.putt"}"#, "unknown_function", false),
    ] {
        let error = run(input).unwrap_err();
        assert_eq!((&*error.code, error.retryable), (code, retryable), "{input} {error:?}");
    }
}

#[test]
fn a_refusal_carries_status_code_and_body() {
    let error = run(r#"{"function": "order.sold"}"#).unwrap_err();
    assert_eq!(
        error.details.to_json(),
        r#"{"body":{"why":{"code":"sold_out"}},"code":"sold_out","status":409}"#
    );
    assert_eq!(
        &*error.message,
        "function `order.sold` answered with status 409 and code `sold_out`"
    );
    let error = run(r#"{"function": "order.refuse"}"#).unwrap_err();
    // The long body is cut, so it is text and no longer JSON with a code.
    assert_eq!(at(&error.details, "status"), "422");
    assert_eq!(at(&error.details, "retry_after_ms"), "3000");
    assert!(error.details.get("body").unwrap().as_str().unwrap().contains("told_so"));
}

#[test]
fn an_unknown_function_names_the_nearest() {
    let error = run(r#"{"function": "order.putt"}"#).unwrap_err();
    assert!(error.message.contains("did you mean `order.put`"), "{}", error.message);
    let error =
        perform(&crate::peer::connector::<&str>(&[]), call("call", r#"{"function": "a.b"}"#))
            .unwrap_err();
    assert!(error.message.contains("there is no connectors file"), "{}", error.message);
}

#[test]
fn the_files_private_hosts_are_closed_to_call_api() {
    let peer = start();
    let other = start();
    let file = format!(
        "{{\"traaviis\": \"1\", \"kind\": \"connectors\", \"egress\": {{\"allow_private\": [\"{other}\"]}}, \"functions\": {{}}}}"
    );
    let connector = connector_with(&file);
    let input = format!(r#"{{"url": "http://{other}/text"}}"#);
    assert_eq!(&*perform(&connector, call("call_api", &input)).unwrap_err().code, "egress_denied");
    assert_eq!(&*api_error(peer, &input).code, "egress_denied");
}

#[test]
fn findings_about_the_file_are_all_told_with_their_places() {
    let text = "traaviis: \"2\"\nkind: connectors\nbase_url: ftp://x\nfoo: 1\negress: {allow_private: [nope]}\nfunctions:\n  \
        9bad: {path: /x}\n  a: {path: x, methd: get}\n  b: {url: 'http://{host}/x'}\n  c: {method: jump, url: 'http://a.example/'}\n  \
        d: {url: 'http://a.example/', timeout: 0s, args: {type: 7}}\n  e: {}\n  f: 1\n  g: {url: 'http://a.example/?q={x}'}\n";
    let findings = Connectors::read(text, Format::Yaml).unwrap_err();
    let told: Vec<String> = findings
        .iter()
        .map(|it| format!("{}:{} {}", it.line.unwrap(), it.column.unwrap(), it.path))
        .collect();
    for path in [
        "/traaviis",
        "/base_url",
        "/foo",
        "/egress/allow_private/0",
        "/functions/9bad",
        "/functions/a/methd",
        "/functions/b",
        "/functions/c/method",
        "/functions/d/timeout",
        "/functions/d/args",
        "/functions/e",
        "/functions/f",
        "/functions/g",
    ] {
        assert!(told.iter().any(|it| it.ends_with(&format!(" {path}"))), "{path} in {told:#?}");
    }
    assert!(told.contains(&"4:1 /foo".to_owned()), "{told:#?}");
}

#[test]
fn the_example_file_is_read() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/order-saga/connectors.yaml");
    let functions =
        Connectors::read(&std::fs::read_to_string(path).unwrap(), Format::Yaml).unwrap();
    let names: Vec<&str> = functions.functions.names().collect();
    assert_eq!(
        names,
        [
            "inventory.release",
            "inventory.reserve",
            "payment.charge",
            "payment.refund",
            "shipping.book",
            "shipping.cancel",
        ]
    );
}
