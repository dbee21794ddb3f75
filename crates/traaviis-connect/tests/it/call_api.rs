//! `call_api`: statuses, bodies, bounds, redirects, credentials.

use crate::peer::{api, api_error, at, call, connector, perform, start, start_endless, start_raw};

#[test]
fn a_request_carries_method_headers_query_and_body() {
    let value = api(
        start(),
        r#"{"url": "PEER/echo?a=1", "method": "post", "query": {"b": [2, "x y"], "c": null},
            "headers": {"X-Plain": "p", "X-Many": ["1", "2"]}, "body": {"n": 1}}"#,
    )
    .unwrap();
    assert_eq!(at(&value, "status"), "200");
    assert_eq!(at(&value, "body.method"), r#""POST""#);
    assert_eq!(at(&value, "body.uri"), r#""/echo?a=1&b=2&b=x+y""#);
    assert_eq!(at(&value, "body.body"), r#""{\"n\":1}""#);
    assert_eq!(at(&value, "body.headers.content-type"), r#""application/json""#);
    assert_eq!(at(&value, "body.headers.x-plain"), r#""p""#);
    assert_eq!(at(&value, "headers.content-type"), r#""application/json""#);
    assert!(value.get("duration_ms").unwrap().as_i64().is_some());
}

#[test]
fn identity_headers_are_stable_over_attempts_and_differ_by_key() {
    let peer = start();
    let connector = connector(&[peer]);
    let headers = |attempt: u32, key: &str| {
        let mut call = call("call_api", &format!(r#"{{"url": "http://{peer}/echo"}}"#));
        call.id.attempt = attempt;
        call.key = key.into();
        let value = perform(&connector, call).unwrap();
        let read = |name| at(&value, &format!("body.headers.{name}")).trim_matches('"').to_owned();
        (read("idempotency-key"), read("traceparent"))
    };
    let (key, trace) = headers(1, "i.1.0");
    assert_eq!(key, "i.1.0");
    let parts: Vec<&str> = trace.split('-').collect();
    assert_eq!(parts.iter().map(|it| it.len()).collect::<Vec<_>>(), [2, 32, 16, 2]);
    assert_eq!(headers(1, "i.1.0").1, trace);
    let (key, again) = headers(2, "i.1.0");
    assert_eq!(key, "i.1.0");
    assert_eq!(again[..35], trace[..35]);
    assert_ne!(again, trace);
    assert_ne!(headers(1, "i.1.1").1[..35], trace[..35]);
    assert_eq!(headers(1, "grün\n").0, "gr%C3%BCn%0A");
}

#[test]
fn body_types_are_form_and_text() {
    let peer = start();
    let form = api(peer, r#"{"url": "PEER/echo", "method": "put", "body_type": "form", "body": {"a": "x y", "b": [1, 2]}}"#).unwrap();
    assert_eq!(at(&form, "body.body"), r#""a=x+y&b=1&b=2""#);
    assert_eq!(at(&form, "body.headers.content-type"), r#""application/x-www-form-urlencoded""#);
    let text =
        api(peer, r#"{"url": "PEER/echo", "method": "post", "body_type": "text", "body": "hi"}"#)
            .unwrap();
    assert_eq!(at(&text, "body.body"), r#""hi""#);
}

#[test]
fn responses_take_the_asked_shape() {
    let peer = start();
    for (path, response, body) in [
        ("text", "auto", r#""plain""#),
        ("binary", "auto", r#""/wAB""#),
        ("text", "bytes", r#""cGxhaW4=""#),
        ("empty", "auto", r#""""#),
        ("empty", "json", "null"),
    ] {
        let input = format!(r#"{{"url": "PEER/{path}", "response": "{response}"}}"#);
        assert_eq!(at(&api(peer, &input).unwrap(), "body"), body, "{path} {response}");
    }
    let error = api_error(peer, r#"{"url": "PEER/broken-json"}"#);
    assert_eq!((&*error.code, error.retryable), ("output_invalid", false));
}

#[test]
fn unexpected_statuses_are_errors_with_the_start_of_the_body() {
    let peer = start();
    for (status, retryable) in [
        (400, false),
        (401, false),
        (404, false),
        (408, true),
        (409, false),
        (422, false),
        (425, true),
        (429, true),
        (500, true),
        (501, false),
        (502, true),
        (503, true),
        (504, true),
    ] {
        let error = api_error(peer, &format!(r#"{{"url": "PEER/status/{status}"}}"#));
        assert_eq!((&*error.code, error.retryable), ("http_error", retryable), "{status}");
        assert_eq!(at(&error.details, "status"), status.to_string());
        assert_eq!(at(&error.details, "retry_after_ms"), "3000");
        assert_eq!(error.details.get("body").unwrap().as_str().unwrap().len(), 4096);
        assert_eq!((&*error.kind, &*error.path, error.attempt), ("call_api", "0.charge", 1));
    }
}

#[test]
fn expect_widens_and_narrows() {
    let peer = start();
    let input = r#"{"url": "PEER/status/404", "expect": ["2xx", 404]}"#;
    assert_eq!(at(&api(peer, input).unwrap(), "status"), "404");
    let error = api_error(peer, r#"{"url": "PEER/text", "expect": 201}"#);
    assert_eq!((&*error.code, at(&error.details, "status").as_str()), ("http_error", "200"));
}

#[test]
fn larger_responses_than_allowed_are_refused_with_and_without_a_length() {
    let peer = start();
    assert!(api(peer, r#"{"url": "PEER/bytes/1000", "max_response": 1000}"#).is_ok());
    for input in
        [r#"{"url": "PEER/bytes/1001", "max_response": 1000}"#, r#"{"url": "PEER/bytes/10485761"}"#]
    {
        let error = api_error(peer, input);
        assert_eq!((&*error.code, error.retryable), ("payload_too_large", false), "{input}");
    }
    let error = api_error(start_endless(), r#"{"url": "PEER/", "max_response": "64 KiB"}"#);
    assert_eq!(&*error.code, "payload_too_large");
}

#[test]
fn a_peer_that_hangs_ends_in_timeout() {
    let error = api_error(start(), r#"{"url": "PEER/hang", "timeout": "150ms"}"#);
    assert_eq!((&*error.code, error.retryable), ("timeout", true));
    assert_eq!(&*error.message, "no answer within 150ms");
    let silent = start_raw(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc");
    let error = api_error(silent, r#"{"url": "PEER/", "timeout": 150}"#);
    // The peer closes early, or stays silent: either way no half body gets through.
    assert!(["network_error", "timeout"].contains(&&*error.code), "{error:?}");
}

#[test]
fn garbage_and_closed_ports_are_network_errors() {
    for answer in
        [&b"hello there\r\n\r\n"[..], b"", b"HTTP/1.1 999999 X\r\n\r\n", b"\x00\x01\x02\x03"]
    {
        let error = api_error(start_raw(answer), r#"{"url": "PEER/", "timeout": "5s"}"#);
        assert_eq!((&*error.code, error.retryable), ("network_error", true), "{error:?}");
    }
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let error = api_error(closed, r#"{"url": "PEER/"}"#);
    assert_eq!((&*error.code, error.retryable), ("network_error", true));
}

#[test]
fn private_targets_are_denied_directly_by_name_and_by_redirect() {
    let peer = start();
    let other = start();
    for input in [
        r#"{"url": "http://169.254.169.254/latest/meta-data"}"#.to_owned(),
        format!(r#"{{"url": "http://{other}/text"}}"#),
        r#"{"url": "ftp://PEER/x"}"#.to_owned(),
        r#"{"url": "PEER/redirect/302?to=http://169.254.169.254/"}"#.to_owned(),
        format!(r#"{{"url": "PEER/redirect/307?to=http://{other}/text", "method": "post"}}"#),
        r#"{"url": "PEER/redirect/302?to=file:///etc/passwd"}"#.to_owned(),
        r#"{"url": "PEER/redirect/302?to=//[::1]/"}"#.to_owned(),
    ] {
        let error = api_error(peer, &input);
        assert_eq!((&*error.code, error.retryable), ("egress_denied", false), "{input} {error:?}");
    }
}

#[test]
fn localhost_is_reached_by_name_when_the_name_is_listed() {
    let peer = start();
    let name = format!("localhost:{}", peer.port());
    let input = format!(r#"{{"url": "http://{name}/text"}}"#);
    let value = perform(&connector(&[name]), call("call_api", &input)).unwrap();
    assert_eq!(at(&value, "body"), r#""plain""#);
    // The address alone does not open the name, which stands for two addresses.
    assert_eq!(&*api_error(peer, &input).code, "egress_denied");
}

#[test]
fn redirects_are_followed_counted_and_change_the_method_as_browsers_do() {
    let peer = start();
    for (status, method, then) in [
        (301, "post", "GET"),
        (302, "post", "GET"),
        (303, "put", "GET"),
        (307, "post", "POST"),
        (308, "put", "PUT"),
        (302, "get", "GET"),
    ] {
        let input = format!(
            r#"{{"url": "PEER/redirect/{status}?to=/echo", "method": "{method}", "body": {{"a": 1}}}}"#
        );
        let value = api(peer, &input).unwrap();
        assert_eq!(at(&value, "body.method"), format!("\"{then}\""), "{status}");
        let kept = at(&value, "body.body") != r#""""#;
        assert_eq!(kept, then != "GET" || method == "get", "{status}");
    }
    let error = api_error(peer, r#"{"url": "PEER/loop"}"#);
    assert_eq!((&*error.code, error.retryable), ("http_error", false));
    let error = api_error(peer, r#"{"url": "PEER/loop", "redirects": 0}"#);
    assert_eq!(at(&error.details, "status"), "302");
}

#[test]
fn credentials_stay_on_their_origin() {
    let peer = start();
    let other = start();
    let connector = connector(&[peer, other]);
    let fetch = |to: String| {
        let input = format!(
            r#"{{"url": "http://{peer}/redirect/302?to={to}", "auth": {{"type": "bearer", "token": "plain-token"}},
                "headers": {{"Cookie": "a=b", "X-Key": {{"$secret": "key"}}, "X-Plain": "p"}}}}"#
        );
        perform(&connector, call("call_api", &input)).unwrap()
    };
    let same = fetch("/echo".to_owned());
    assert_eq!(at(&same, "body.headers.authorization"), r#""Bearer plain-token""#);
    assert_eq!(at(&same, "body.headers.cookie"), r#""a=b""#);
    assert_eq!(at(&same, "body.headers.x-key"), r#""***""#);
    let away = fetch(format!("http://{other}/echo"));
    for name in ["authorization", "cookie", "x-key"] {
        assert_eq!(at(&away, &format!("body.headers.{name}")), "absent");
    }
    assert_eq!(at(&away, "body.headers.x-plain"), r#""p""#);
}

#[test]
fn secrets_reach_the_peer_and_never_the_outcome() {
    let peer = start();
    for auth in [
        r#"{"type": "bearer", "token": {"$secret": "key"}}"#,
        r#"{"type": "basic", "username": "u", "password": {"$secret": "key"}}"#,
        r#"{"type": "api_key", "key": {"$secret": "key"}}"#,
        r#"{"type": "api_key", "key": {"$secret": "key"}, "in": "query", "name": "k"}"#,
    ] {
        for path in ["echo", "status/500"] {
            let outcome = api(peer, &format!(r#"{{"url": "PEER/{path}", "auth": {auth}}}"#));
            let text = format!("{outcome:?}");
            // Plain, percent-encoded, and as base64 of `u:s3cr3t/value` and `s3cr3t/value`.
            for leak in ["s3cr3t", "dTpzM2NyM3", "czNjcjN0"] {
                assert!(!text.contains(leak), "{auth} {text}");
            }
            if path == "echo" {
                assert!(text.contains("***"), "{auth} {text}");
            }
        }
    }
}

#[test]
fn what_cannot_be_asked_for_is_refused_before_anything_is_sent() {
    let peer = start();
    for (input, code) in [
        (r#"{}"#, "validation_failed"),
        (r#"{"url": 1}"#, "validation_failed"),
        (r#"{"url": "PEER/echo", "method": "trace"}"#, "validation_failed"),
        (r#"{"url": "PEER/echo", "headers": {"Host": "evil"}}"#, "validation_failed"),
        (
            r#"{"url": "PEER/echo", "headers": {"Transfer-Encoding": "chunked"}}"#,
            "validation_failed",
        ),
        (r#"{"url": "PEER/echo", "headers": {"X-A": "a\r\nX-B: b"}}"#, "validation_failed"),
        (r#"{"url": "PEER/echo", "headers": {"X A": "a"}}"#, "validation_failed"),
        (r#"{"url": "PEER/echo", "body": {"a": {"$secret": "key"}}}"#, "validation_failed"),
        (r#"{"url": "PEER/echo", "query": {"a": {"$secret": "key"}}}"#, "validation_failed"),
        (r#"{"url": "PEER/echo", "query": {"a": {}}}"#, "validation_failed"),
        (r#"{"url": "PEER/echo", "redirects": 6}"#, "validation_failed"),
        (r#"{"url": "PEER/echo", "timeout": "-1s"}"#, "validation_failed"),
        (r#"{"url": "PEER/echo", "max_response": "1 GiB"}"#, "validation_failed"),
        (r#"{"url": "PEER/echo", "response": "xml"}"#, "validation_failed"),
        (r#"{"url": "PEER/echo", "auth": {"type": "magic"}}"#, "validation_failed"),
        (r#"{"url": "PEER/echo", "auth": {"type": "bearer"}}"#, "validation_failed"),
        (r#"{"url": "PEER/echo", "auth": {"type": "hmac"}}"#, "feature_unavailable"),
        (r#"{"url": "PEER/echo", "auth": {"type": "aws_sigv4"}}"#, "feature_unavailable"),
        (r#"{"url": "PEER/echo", "auth": {"type": "oauth2_client"}}"#, "feature_unavailable"),
        (r#"{"url": "PEER/echo", "body": {}, "body_type": "multipart"}"#, "feature_unavailable"),
        (
            r#"{"url": "PEER/echo", "auth": {"type": "bearer", "token": {"$secret": "nope"}}}"#,
            "secret_missing",
        ),
        (r#"{"url": "http://u:p@example.com/"}"#, "egress_denied"),
    ] {
        let error = api_error(peer, input);
        assert_eq!((&*error.code, error.retryable), (code, false), "{input} {error:?}");
    }
}

#[test]
fn a_peer_cannot_forge_a_reference_to_a_secret() {
    let error = api_error(start(), r#"{"url": "PEER/forged"}"#);
    assert_eq!(&*error.code, "output_invalid");
}

#[test]
fn a_redirect_leads_only_where_every_state_around_allows() {
    let peer = start();
    let connector = connector(&[peer]);
    let get = |path: &str, hosts: &[&[&str]]| {
        let mut call = call("call_api", &format!(r#"{{"url": "http://{peer}/{path}"}}"#));
        let list = |it: &&[&str]| it.iter().map(|it| (*it).into()).collect();
        call.hosts = hosts.iter().map(list).collect();
        perform(&connector, call).map_err(|it| format!("{}: {}", it.code, it.message))
    };
    let here = peer.to_string();
    assert!(get("text", &[&["*:*"], &[&here]]).is_ok());
    let denied = "`permissions.hosts` of a state around the effect does not list";
    for hosts in [&[&[] as &[&str]] as &[&[&str]], &[&["*:*"], &["127.0.0.1:1"]]] {
        assert_eq!(
            get("text", hosts).unwrap_err(),
            format!("permission_denied: {denied} `{here}`")
        );
    }
}
