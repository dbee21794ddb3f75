//! Effects that wait for events and for people, and named effects.

use expect_test::expect;

use super::check;

const COURIER: &str = r#"
initial: waiting
events: {picked: {}, delivered: {}, note: {}}
states:
  waiting:
    on: {picked: {actions: [{log: {message: "picked ${event.data.by}"}}]}}
    invoke:
      - id: route
        effect:
          type: sequence
          effects:
            - {type: wait_signal, event: picked, match: "event.data.by != 'nobody'"}
            - {type: wait_signal, events: [note, delivered], count: 2, exclusive: true}
        onDone: {target: done}
        onError: {target: late}
  done: {type: final}
  late: {type: final, output: "${event.data.code}"}
"#;

#[test]
fn events_reach_waiting_effects_beside_transitions_or_instead() {
    check(
        COURIER,
        r#"send delivered
        send picked {"by": "nobody"}
        send picked {"by": "liis"}
        send note {"text": 1}
        send delivered {"at": 2}"#,
        expect![[r#"
            > start
              - -> waiting
            > send delivered
              refused event_not_accepted: state `waiting` does not accept event `delivered` now; accepted are: picked
            > send picked {"by": "nobody"}
              picked -> waiting
              log info picked nobody
            > send picked {"by": "liis"}
              picked -> waiting
              log info picked liis
              done route/0/body = {"by":"liis"}
              done route/0 = {"by":"liis"}
            > send note {"text": 1}
              signal route/1/body {"text":1}
            > send delivered {"at": 2}
              signal route/1/body {"at":2}
              done route/1/body = [{"text":1},{"at":2}]
              done route/1 = [{"text":1},{"at":2}]
              done route = [{"by":"liis"},[{"text":1},{"at":2}]]
              done.invoke.route -> done
              finished completed null
        "#]],
    );
}

#[test]
fn a_wait_ends_with_timeout_after_a_week() {
    check(
        COURIER,
        "+6d\n+1d",
        expect![[r#"
        > start
          - -> waiting
        > at 7d
          cancelled route/0/body: timeout
          failed route/0: timeout
          failed route: timeout
          error.invoke.route -> late
          finished completed "timeout"
    "#]],
    );
}

#[test]
fn an_event_kept_for_later_reaches_a_wait_that_opens() {
    check(
        r#"
initial: a
unhandled: defer
events: {go: {}}
states:
  a:
    invoke:
      - id: w
        effect:
          type: sequence
          effects: [{type: delay, duration: 1s}, {type: wait_signal, event: go}]
        onDone: {target: done}
  done: {type: final}
"#,
        "send go 7\n+1s",
        expect![[r#"
            > start
              - -> a
            > send go 7
              deferred go
            > at 1s
              done w/0 = null
              recalled go
              done w/1/body = 7
              done w/1 = 7
              done w = [null,7]
              done.invoke.w -> done
              finished completed null
        "#]],
    );
}

const REVIEW: &str = r#"
initial: review
states:
  review:
    invoke:
      - id: ask
        effect:
          type: human_task
          title: "Review order ${workflow.name}"
          outcomes: [good, bad]
          deadline: 2d
          form: {type: object, required: [score], properties: {score: {type: integer}}}
        onDone: {target: done}
        onError: {target: late}
  done: {type: final, output: "${event.data.outcome} ${event.data.form.score} ${event.data.by}"}
  late: {type: final, output: "${event.data.code}"}
"#;

#[test]
fn a_task_is_claimed_checked_and_answered_once() {
    check(
        REVIEW,
        r#"claim ask
        decide ask perfect
        decide ask good {"score": "high"}
        release ask
        decide ask good {"score": 5}
        decide ask bad {"score": 1}"#,
        expect![[r#"
            > start
              - -> review
              task ask
            > claim ask
              claimed ask user:local
            > decide ask perfect
              refused validation_failed: `perfect` is no outcome of this task; it takes `good`, `bad`
            > decide ask good {"score": "high"}
              refused validation_failed: the answer does not fit the form: /score: "high" is not of type "integer"
            > release ask
              released ask
            > decide ask good {"score": 5}
              decided ask
              done ask = {"at":"1970-01-01T00:00:00.000000Z","by":"user:local","comment":"because","form":{"score":5},"outcome":"good"}
              done.invoke.ask -> done
              finished completed "good 5 user:local"
            > decide ask bad {"score": 1}
              refused instance_finished: the instance has ended with status `completed`
        "#]],
    );
}

#[test]
fn a_task_that_nobody_answers_expires() {
    check(
        REVIEW,
        "+2d\ndecide ask good {\"score\": 5}",
        expect![[r#"
        > start
          - -> review
          task ask
        > at 2d
          expired ask
          failed ask: human_task_expired
          error.invoke.ask -> late
          finished completed "human_task_expired"
        > decide ask good {"score": 5}
          refused instance_finished: the instance has ended with status `completed`
    "#]],
    );
}

#[test]
fn a_denied_approval_is_an_error() {
    check(
        r#"
initial: a
states:
  a:
    invoke:
      - id: ok
        effect: {type: approval, title: Pay?}
        onDone: {target: paid}
        onError: {target: off}
  paid: {type: final}
  off: {type: final, output: "${event.data.code} ${event.data.details.comment}"}
"#,
        "decide ok denied",
        expect![[r#"
            > start
              - -> a
              task ok
            > decide ok denied
              decided ok
              failed ok: approval_denied
              error.invoke.ok -> off
              finished completed "approval_denied because"
        "#]],
    );
}

#[test]
fn named_effects_read_their_parameters() {
    check(
        r#"
initial: a
data: {initial: {}}
effects:
  double:
    type: sequence
    returns: last
    effects:
      - {type: value, value: "${param.n + param.n}"}
      - {type: transform, expr: "result + 1"}
  twice:
    type: sequence
    effects:
      - {type: use, effect: double, with: {n: "${param.n}"}}
      - {type: use, effect: double, with: {n: 10}}
states:
  a:
    invoke:
      - {id: x, effect: {type: use, effect: twice, with: {n: 2}, save: got}, onDone: b}
  b: {type: final, output: "${data.got}"}
"#,
        "",
        expect![[r#"
            > start
              - -> a
              done x/body/0/body/0 = 4
              done x/body/0/body/1 = 5
              done x/body/0/body = 5
              done x/body/0 = 5
              done x/body/1/body/0 = 20
              done x/body/1/body/1 = 21
              done x/body/1/body = 21
              done x/body/1 = 21
              done x/body = [5,21]
              done x = [5,21]
              {"op":"add","path":"/got","value":[5,21]}
              done.invoke.x -> b
              finished completed [5,21]
        "#]],
    );
}

fn findings(body: &str) -> String {
    use traaviis_model::document::{self, Format};
    let read = document::read(&super::with_head(body), Format::Yaml);
    let mut found = read.diagnostics;
    if let Some(definition) = &read.definition {
        found.extend(crate::Machine::analyse(definition));
    }
    found.iter().map(|it| format!("{it}\n")).collect()
}

#[test]
fn mistakes_in_named_effects_and_waits_are_found_once() {
    let invokes = |effects: &[&str]| {
        let mut text = String::from(
            r#"
initial: a
events: {go: {}}
effects:
  ping: {type: use, effect: pong}
  pong: {type: use, effect: ping}
  wrong: {type: value, value: "${nothing}"}
states:
  a:
    invoke:
"#,
        );
        for (at, effect) in effects.iter().enumerate() {
            text += &format!("      - {{id: x{at}, effect: {effect}}}\n");
        }
        text
    };
    let read = invokes(&[
        "{type: wait_signal, event: go, events: [go]}",
        "{type: approval, title: T, escalation: {after: 1d}}",
        "{type: human_task}",
    ]);
    expect![[r#"
        14:18: E140 effect `wait_signal` takes exactly one of `event`, `events` (at /states/a/invoke/0/effect)
        15:53: E190 feature_unavailable: `escalation` is part of the language but not available in this release (at /states/a/invoke/1/effect/escalation)
        16:18: E140 `title` is missing in effect `human_task` (at /states/a/invoke/2/effect)
    "#]].assert_eq(&findings(&read));
    let compiled = invokes(&[
        "{type: use, effect: wrong}",
        "{type: use, effect: wrong}",
        "{type: use, effect: wronk}",
        "{type: wait_signal, event: gone}",
        "{type: human_task, title: T, form: {type: 7}}",
        "{type: use, effect: ping}",
    ]);
    expect![[r#"
        E131 unknown variable `nothing`; available are `data`, `input`, `result`, `steps`, `tenant`, `workflow`, `now`, `param` (at /effects/wrong/value); fields of the data are `data.nothing`
        E140 `effects` has no effect `wronk` (at /states/a/invoke/2/effect/effect); did you mean `wrong`?
        E106 event `gone` is not declared (at /states/a/invoke/3/effect); did you mean `go`? Otherwise declare it under `events`
        E101 this is no valid JSON Schema: 7 is not valid under any of the schemas listed in the 'anyOf' keyword (at /states/a/invoke/4/effect/form)
        E141 the named effect `ping` uses itself: `ping` -> `pong` -> `ping` (at /effects/pong/effect)
        E141 the named effect `pong` uses itself: `pong` -> `ping` -> `pong` (at /effects/ping/effect)
    "#]].assert_eq(&findings(&compiled));
}
