//! Limits of one instance: what goes over them is refused as a whole.

use traaviis_model::{
    Value,
    limits::{DEFERRED_MAX, TIMERS_MAX},
};

use super::trace;

/// Returns what was refused in a script.
fn refused(body: &str, script: &str) -> Vec<String> {
    let trace = trace(body, script, Value::empty_map());
    let refused = trace.lines().filter_map(|it| it.trim().strip_prefix("refused "));
    refused.map(|it| it.split(':').next().unwrap_or_default().to_string()).collect()
}

#[test]
fn an_instance_keeps_so_many_events_for_later() {
    let body = "initial: a\nunhandled: defer\nevents: {go: {}, later: {}}\n\
        states: {a: {on: {go: b}}, b: {on: {later: {actions: []}}}}";
    let script = "send later {}\n".repeat(DEFERRED_MAX);
    assert_eq!(refused(body, &script), [""; 0]);
    let script = script + "send later {}\n";
    assert_eq!(refused(body, &script), ["deferred_queue_full"], "only what is too much");
}

#[test]
fn a_step_writes_so_much_that_stays_in_the_log() {
    let body = r#"
initial: a
events: {go: {}}
data: {initial: {x: ""}}
states:
  a:
    on:
      go: {actions: [{for_each: {in: "${event.data.times}", actions: [{assign: {x: "${event.data.text + string(item)}"}}]}}]}
"#;
    let script = |times: usize, bytes: usize| {
        let times = serde_json::to_string(&(0..times).collect::<Vec<_>>()).unwrap();
        let text = "x".repeat(bytes);
        format!("send go {{\"times\": {times}, \"text\": \"{text}\"}}\n")
    };
    assert_eq!(refused(body, &script(80, 200_000)), [""; 0]);
    assert_eq!(refused(body, &script(85, 200_000)), ["payload_too_large"]);
    // Of large values little stays there.
    assert_eq!(refused(body, &script(20, 1_400_000)), [""; 0]);
    assert_eq!(refused(body, &script(22, 1_400_000)), ["payload_too_large"]);
}

#[test]
fn an_instance_has_so_many_timers() {
    let body = r#"
initial: a
events: {go: {}, late: {source: internal}}
states:
  a:
    on:
      late: {actions: []}
      go: {actions: [{for_each: {in: "${event.data}", actions: [{raise: {event: late, delay: 1h}}]}}]}
"#;
    let hundred = serde_json::to_string(&(0..100).collect::<Vec<_>>()).unwrap();
    let script = format!("send go {hundred}\n").repeat(TIMERS_MAX / 100);
    assert_eq!(refused(body, &script), [""; 0]);
    // What would be over it changes nothing: once they have fired there is room again.
    let script = script + "send go [1]\n+1h\nsend go [1]\n";
    assert_eq!(refused(body, &script), ["timer_limit"]);
}
