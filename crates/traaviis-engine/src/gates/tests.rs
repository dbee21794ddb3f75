use super::*;
use traaviis_model::InstanceId;

fn id(number: u128) -> CallId {
    let instance = InstanceId(uuid::Uuid::from_u128(number));
    CallId { instance, tree: 1, path: "i/ask".into(), scheduled: 2, attempt: 1 }
}

fn ask(json: &str) -> Value {
    serde_json::from_str(json).unwrap()
}

fn secs(at: i64) -> Timestamp {
    Timestamp(at * 1_000_000)
}

fn word(entry: &Entry) -> String {
    match entry {
        Entry::Pass => "pass".into(),
        Entry::Hit(value) => format!("hit {}", value.to_json()),
        Entry::Wait => "wait".into(),
        Entry::Changed(changes) => format!("pass {}", changes.to_json()),
        Entry::Refuse(error) => format!("{} {}", error.code, error.details.to_json()),
    }
}

fn told(answers: &Answers) -> Vec<(u128, String)> {
    answers.iter().map(|(id, entry)| (id.instance.0.as_u128(), word(entry))).collect()
}

/// Passes of asks at these seconds, one each, which never leave.
fn entries(json: &str, at: &[i64]) -> Vec<String> {
    let (mut gates, ask) = (Gates::default(), ask(json));
    let enter = |(n, at): (usize, &i64)| word(&gates.enter(&id(n as u128), &ask, secs(*at)));
    at.iter().enumerate().map(enter).collect()
}

#[test]
fn a_rate_limit_lets_so_many_through_in_its_window() {
    for (algorithm, refused) in [
        // Two at once, then one each 5 s.
        ("token_bucket", r#"rate_limit_exceeded {"retry_after_ms":4000}"#),
        // The pass of second 1 leaves the window at second 11.
        ("sliding_window", r#"rate_limit_exceeded {"retry_after_ms":9000}"#),
        // The window of seconds 0 to 9.
        ("fixed_window", r#"rate_limit_exceeded {"retry_after_ms":8000}"#),
    ] {
        let json = format!(
            r#"{{"gate": "rate_limit", "key": "k", "requests": 2, "window": "10s", "algorithm": "{algorithm}", "on_limit": "fail"}}"#
        );
        assert_eq!(
            entries(&json, &[1, 2, 2, 13]),
            ["pass", "pass", refused, "pass"],
            "{algorithm}"
        );
    }
    let burst = r#"{"gate": "rate_limit", "key": "k", "requests": 1, "window": "10s", "burst_limit": 3, "on_limit": "fail"}"#;
    let refused = r#"rate_limit_exceeded {"retry_after_ms":10000}"#;
    assert_eq!(entries(burst, &[0, 0, 0, 0, 10]), ["pass", "pass", "pass", refused, "pass"]);
}

#[test]
fn who_waits_for_a_rate_is_let_in_first_come_first_served() {
    let mut gates = Gates::default();
    let ask = ask(r#"{"gate": "rate_limit", "key": "k", "requests": 1, "window": "10s"}"#);
    let words: Vec<String> = (1..=4).map(|n| word(&gates.enter(&id(n), &ask, secs(0)))).collect();
    assert_eq!(words, ["pass", "wait", "wait", "wait"]);
    assert_eq!(gates.due(), Some(secs(10)));
    assert_eq!(gates.forget(&id(2)), []);
    assert_eq!(told(&gates.advance(secs(9))), []);
    assert_eq!(told(&gates.advance(secs(10))), [(3, "pass".into())]);
    assert_eq!(word(&gates.enter(&id(5), &ask, secs(20))), "wait", "4 was first");
    assert_eq!(
        told(&gates.advance(secs(40))),
        [(4, "pass".into()), (5, "pass".into())].map(|it| it)[..1]
    );
}

#[test]
fn concurrency_counts_who_is_inside() {
    let mut gates = Gates::default();
    let ask = ask(r#"{"gate": "concurrency", "key": "k", "limit": 2}"#);
    let words: Vec<String> = (1..=4).map(|n| word(&gates.enter(&id(n), &ask, secs(0)))).collect();
    assert_eq!(words, ["pass", "pass", "wait", "wait"]);
    assert_eq!(word(&gates.enter(&id(1), &ask, secs(0))), "pass", "asked again");
    let left = gates.leave(&id(1), &ask, Left::Cancelled, secs(1));
    assert_eq!(told(&left), [(3, "pass".into())]);
    assert_eq!(told(&gates.leave(&id(1), &ask, Left::Cancelled, secs(1))), [], "left already");
    assert_eq!(told(&gates.forget(&id(3))), [(4, "pass".into())], "given up before it heard");
}

#[test]
fn a_breaker_opens_after_failures_and_closes_after_a_probe() {
    let mut gates = Gates::default();
    let ask = ask(
        r#"{"gate": "circuit_breaker", "name": "n", "failure_threshold": 2, "window": "60s", "recovery_timeout": "30s", "expected_errors": ["timeout"]}"#,
    );
    let failed = |code: &str| Left::Failed(vec!["max_retries_exceeded".into(), code.into()]);
    let mut go = |n: u128, at: i64, left: Option<Left>| {
        let said = word(&gates.enter(&id(n), &ask, secs(at)));
        if let Some(left) = left {
            gates.leave(&id(n), &ask, left, secs(at));
        }
        said
    };
    assert_eq!(go(1, 0, Some(failed("timeout"))), "pass");
    assert_eq!(go(2, 1, Some(failed("http_error"))), "pass", "is not counted");
    assert_eq!(go(3, 61, Some(failed("timeout"))), "pass", "the first is forgotten");
    assert_eq!(go(4, 62, Some(failed("timeout"))), "pass");
    let opened = |from: &str| {
        let changes = format!(r#"[{{"from":"{from}","name":"n","to":"open"}}]"#);
        format!(r#"circuit_breaker_open {{"changes":{changes},"retry_after_ms":29000}}"#)
    };
    assert_eq!(go(5, 63, None), opened("closed"), "who asks next is told");
    assert_eq!(go(5, 63, None), r#"circuit_breaker_open {"retry_after_ms":29000}"#, "once");
    let tried = r#"pass [{"from":"open","name":"n","to":"half_open"}]"#;
    assert_eq!(go(6, 92, None), tried, "a probe");
    assert_eq!(go(7, 92, None), r#"circuit_breaker_open {"retry_after_ms":30000}"#);
    assert_eq!(go(6, 93, Some(failed("timeout"))), "pass");
    assert_eq!(go(8, 94, None), opened("half_open"));
    assert_eq!(go(9, 123, Some(Left::Cancelled)), tried, "says nothing, and frees the probe");
    assert_eq!(go(10, 123, Some(Left::Done(Value::Null))), "pass");
    assert_eq!(go(11, 124, None), r#"pass [{"from":"half_open","name":"n","to":"closed"}]"#);
    assert_eq!(go(12, 124, None), "pass");
}

#[test]
fn an_event_makes_values_stale_and_those_that_are_being_made() {
    let mut gates = Gates::default();
    let ask = ask(r#"{"gate": "cache", "key": "k", "ttl": "1h", "invalidate_on": ["changed"]}"#);
    let done = |value: i64| Left::Done(Value::from(value));
    assert_eq!(word(&gates.enter(&id(1), &ask, secs(0))), "pass");
    gates.leave(&id(1), &ask, done(1), secs(0));
    gates.heard("other");
    assert_eq!(word(&gates.enter(&id(2), &ask, secs(1))), "hit 1");
    gates.heard("changed");
    assert_eq!(word(&gates.enter(&id(3), &ask, secs(2))), "pass");
    gates.heard("changed");
    assert_eq!(word(&gates.enter(&id(4), &ask, secs(3))), "wait");
    let next = told(&gates.leave(&id(3), &ask, done(2), secs(4)));
    assert_eq!(next, [(4, "pass".into())], "what it made is old already");
    gates.leave(&id(4), &ask, done(3), secs(5));
    assert_eq!(word(&gates.enter(&id(5), &ask, secs(6))), "hit 3");
}

#[test]
fn a_cache_runs_one_body_and_keeps_its_value_for_a_time() {
    let mut gates = Gates::default();
    let ask = ask(r#"{"gate": "cache", "key": "k", "ttl": "10s"}"#);
    let words: Vec<String> = (1..=4).map(|n| word(&gates.enter(&id(n), &ask, secs(0)))).collect();
    assert_eq!(words, ["pass", "wait", "wait", "wait"]);
    let failed = Left::Failed(vec!["timeout".into()]);
    assert_eq!(told(&gates.leave(&id(1), &ask, failed, secs(1))), [(2, "pass".into())]);
    let done = Left::Done(Value::from(7));
    let hits = gates.leave(&id(2), &ask, done, secs(2));
    assert_eq!(told(&hits), [(3, "hit 7".into()), (4, "hit 7".into())]);
    assert_eq!(word(&gates.enter(&id(5), &ask, secs(11))), "hit 7");
    assert_eq!(word(&gates.enter(&id(6), &ask, secs(12))), "pass");
}

#[test]
fn cached_values_take_no_more_memory_than_they_may() {
    let mut gates = Gates::default();
    let big = Value::from("x".repeat(CACHE_VALUE_BYTES - 1_000));
    let ask = |n: u128| ask(&format!(r#"{{"gate": "cache", "key": "k{n}"}}"#));
    for n in 0..20 {
        gates.enter(&id(n), &ask(n), secs(0));
        gates.leave(&id(n), &ask(n), Left::Done(big.clone()), secs(0));
    }
    let mut kept =
        (0..20).filter(|n| matches!(gates.enter(&id(99), &ask(*n), secs(1)), Entry::Hit(_)));
    assert_eq!((kept.next(), kept.count()), (Some(12), 7), "the oldest went");
    let huge = Value::from("x".repeat(CACHE_VALUE_BYTES + 1));
    gates.enter(&id(50), &ask(50), secs(0));
    gates.leave(&id(50), &ask(50), Left::Done(huge), secs(0));
    assert_eq!(word(&gates.enter(&id(51), &ask(50), secs(1))), "pass", "not kept");
}
const CACHE_VALUE_BYTES: usize = traaviis_model::limits::CACHE_VALUE_BYTES_MAX;

#[test]
fn limits_and_wrong_parameters_are_told() {
    let mut gates = Gates::default();
    let crowd = ask(r#"{"gate": "concurrency", "key": "k", "limit": 1}"#);
    for n in 0..=GATE_WAITING_MAX {
        gates.enter(&id(n as u128), &crowd, secs(0));
    }
    let said = gates.enter(&id(u128::MAX), &crowd, secs(0));
    assert!(matches!(said, Entry::Refuse(it) if it.message.contains("wait for this key already")));
    for n in 0..GATES_MAX {
        let one = ask(&format!(r#"{{"gate": "concurrency", "key": "k{n}", "limit": 1}}"#));
        let who = id(1_000_000 + n as u128);
        let said = gates.enter(&who, &one, secs(0));
        assert_eq!(matches!(said, Entry::Refuse(_)), n == GATES_MAX - 1, "{n}");
    }
    for (json, part) in [
        (r#"{"gate": "concurrency", "key": "", "limit": 1}"#, "`key` must not be empty"),
        (r#"{"gate": "concurrency", "key": "k", "limit": 0}"#, "`limit` must be a whole number"),
        (r#"{"gate": "rate_limit", "key": "k", "requests": "x", "window": "1s"}"#, "`requests`"),
        (r#"{"gate": "rate_limit", "key": "k", "requests": 1, "window": "0s"}"#, "`window` must"),
        (r#"{"gate": "cache", "key": "z", "ttl": "soon"}"#, "`ttl`"),
    ] {
        let said = Gates::default().enter(&id(1), &ask(json), secs(0));
        assert!(matches!(&said, Entry::Refuse(it) if it.message.contains(part)), "{said:?}");
    }
}
