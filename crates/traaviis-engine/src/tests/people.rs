//! Effects that wait for events and for people, and named effects.

use std::sync::Arc;

use expect_test::expect;
use traaviis_model::{Body, Map, Text, Value, limits};

use super::{World, check, machine, person, trace, with_head};

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
fn whoever_started_the_instance_neither_claims_nor_answers() {
    check(
        REVIEW,
        r#"by mari
        claim ask
        decide ask good {"score": 5}
        by local
        decide ask good {"score": 5}
        by jaan
        claim ask
        release ask
        decide ask good {"score": 5}"#,
        expect![[r#"
            > start
              - -> review
              task ask
            > claim ask
              refused separation_of_duties: `user:mari` started the instance and may not answer task `ask`; somebody else must
            > decide ask good {"score": 5}
              refused separation_of_duties: `user:mari` started the instance and may not answer task `ask`; somebody else must
            > decide ask good {"score": 5}
              refused separation_of_duties: say who answers task `ask`: `user:mari`, who started the instance, may not, and an answer without a name could be theirs
            > claim ask
              claimed ask user:jaan
            > release ask
              released ask
            > decide ask good {"score": 5}
              decided ask
              done ask = {"at":"1970-01-01T00:00:00.000000Z","by":"user:jaan","comment":"because","form":{"score":5},"outcome":"good"}
              done.invoke.ask -> done
              finished completed "good 5 user:jaan"
        "#]],
    );
}

#[test]
fn separation_is_given_up_by_saying_so() {
    let review = REVIEW.replace("deadline: 2d", "separation: false");
    check(
        &review,
        "by mari\ndecide ask good {\"score\": 5}",
        expect![[r#"
        > start
          - -> review
          task ask
        > decide ask good {"score": 5}
          decided ask
          done ask = {"at":"1970-01-01T00:00:00.000000Z","by":"user:mari","comment":"because","form":{"score":5},"outcome":"good"}
          done.invoke.ask -> done
          finished completed "good 5 user:mari"
    "#]],
    );
}

#[test]
fn one_person_decides_once_of_several() {
    let review = REVIEW.replace("deadline: 2d", "quorum: 2");
    check(
        &review,
        r#"by jaan
        decide ask good {"score": 5}
        by mari
        decide ask good {"score": 5}
        decide ask good {"score": 4}
        by kati
        decide ask good {"score": 3}"#,
        expect![[r#"
            > start
              - -> review
              task ask
            > decide ask good {"score": 5}
              refused separation_of_duties: `user:jaan` started the instance and may not answer task `ask`; somebody else must
            > decide ask good {"score": 5}
              decided ask
            > decide ask good {"score": 4}
              refused validation_failed: `user:mari` has answered this task already
            > decide ask good {"score": 3}
              decided ask
              done ask = {"decisions":[{"at":"1970-01-01T00:00:00.000000Z","by":"user:mari","comment":"because","form":{"score":5},"outcome":"good"},{"at":"1970-01-01T00:00:00.000000Z","by":"user:kati","comment":"because","form":{"score":3},"outcome":"good"}],"outcome":"good"}
              done.invoke.ask -> done
              warning expression_error: no such key `form` in `event.data`
              finished completed null
        "#]],
    );
}

#[test]
fn whoever_forks_has_started_the_fork_and_the_first_starter_stays_away() {
    check(
        REVIEW,
        r#"by mari
           by jaan
           fork
           decide ask good {"score": 5}
           by mari
           decide ask good {"score": 5}
           by kati
           decide ask good {"score": 5}"#,
        expect![[r#"
            > start
              - -> review
              task ask
            > fork
              fork from 6, 0 recorded
            > decide ask good {"score": 5}
              refused separation_of_duties: `user:jaan` started the instance and may not answer task `ask`; somebody else must
            > decide ask good {"score": 5}
              refused separation_of_duties: `user:mari` started the instance and may not answer task `ask`; somebody else must
            > decide ask good {"score": 5}
              decided ask
              done ask = {"at":"1970-01-01T00:00:00.000000Z","by":"user:kati","comment":"because","form":{"score":5},"outcome":"good"}
              done.invoke.ask -> done
              finished completed "good 5 user:kati"
        "#]],
    );
}

#[test]
fn a_fork_from_before_it_was_kept_who_forks_is_replayed_as_it_is() {
    let machine = machine(&with_head(REVIEW));
    let mut world = World::started_by(person("mari"), &machine, Value::empty_map());
    world.line("by jaan");
    world.line("fork");
    assert_eq!(world.snapshot.created_by.as_deref(), Some("user:jaan"));
    let forked = world.records.iter_mut().find_map(|it| match &mut it.body {
        Body::Forked(forked) => Some(forked),
        _ => None,
    });
    assert_eq!(forked.unwrap().by.take().as_deref(), Some("user:jaan"));
    let replayed = crate::replay(&machine, &world.records).unwrap().unwrap();
    assert_eq!(replayed.created_by.as_deref(), Some("user:mari"));
    assert_eq!(replayed.forked_from.unwrap().started_by, None);
}

/// In a history from before it was kept who starts an instance, nobody in particular has.
#[test]
fn a_history_without_its_starter_is_replayed_as_it_is() {
    let machine = machine(&with_head(REVIEW));
    let mut world = World::started_by(person("mari"), &machine, Value::empty_map());
    world.line("+1d");
    let Body::Created { created_by, .. } = &mut world.records[0].body else { panic!("no start") };
    assert_eq!(created_by.take().as_deref(), Some("user:mari"));
    let replayed = crate::replay(&machine, &world.records).unwrap().unwrap();
    assert_eq!(replayed.created_by, None);
    world.snapshot = Arc::new(replayed);
    world.line("by mari");
    world.line("decide ask good {\"score\": 5}");
    assert_eq!(world.snapshot.output.to_json(), "\"good 5 user:mari\"");
}

const REMINDING: &str = r#"
initial: review
states:
  review:
    invoke:
      - id: ask
        effect:
          type: human_task
          title: Review
          assignees: ["user:mari"]
          deadline: 5d
          reminders: [2d, {before: 1d}, {after: 1d}, 2d]
          escalation: {after: 3d, to: ["role:managers", "user:mari"]}
        onDone: {target: done}
        onError: {target: late}
  done: {type: final, output: "${event.data.by}"}
  late: {type: final, output: "${event.data.code}"}
"#;

#[test]
fn people_are_reminded_and_then_others_are_asked() {
    check(
        REMINDING,
        "claim ask\n+5d",
        expect![[r#"
        > start
          - -> review
          task ask
        > claim ask
          claimed ask user:local
        > at 1d
          reminded ask 1
          emit traaviis.task_reminded {"assignees":["user:mari"],"due":"1970-01-06T00:00:00.000000Z","instance_id":"00000000-0000-0000-0000-000000000007","number":1,"path":"ask","title":"Review","workflow":"Test"}
        > at 2d
          reminded ask 2
          emit traaviis.task_reminded {"assignees":["user:mari"],"due":"1970-01-06T00:00:00.000000Z","instance_id":"00000000-0000-0000-0000-000000000007","number":2,"path":"ask","title":"Review","workflow":"Test"}
        > at 3d
          escalated ask ["role:managers","user:mari"]
          released ask
          emit traaviis.task_escalated {"assignees":["user:mari","role:managers"],"due":"1970-01-06T00:00:00.000000Z","instance_id":"00000000-0000-0000-0000-000000000007","path":"ask","title":"Review","to":["role:managers","user:mari"],"workflow":"Test"}
        > at 4d
          reminded ask 3
          emit traaviis.task_reminded {"assignees":["user:mari","role:managers"],"due":"1970-01-06T00:00:00.000000Z","instance_id":"00000000-0000-0000-0000-000000000007","number":3,"path":"ask","title":"Review","workflow":"Test"}
        > at 5d
          expired ask
          failed ask: human_task_expired
          error.invoke.ask -> late
          finished completed "human_task_expired"
    "#]],
    );
}

#[test]
fn nobody_is_told_of_a_task_that_is_over() {
    check(
        REMINDING,
        "+1d\ndecide ask approved\n+5d",
        expect![[r#"
        > start
          - -> review
          task ask
        > at 1d
          reminded ask 1
          emit traaviis.task_reminded {"assignees":["user:mari"],"due":"1970-01-06T00:00:00.000000Z","instance_id":"00000000-0000-0000-0000-000000000007","number":1,"path":"ask","title":"Review","workflow":"Test"}
        > decide ask approved
          decided ask
          done ask = {"at":"1970-01-02T00:00:00.000000Z","by":"user:local","comment":"because","form":null,"outcome":"approved"}
          done.invoke.ask -> done
          finished completed "user:local"
    "#]],
    );
    check(
        REMINDING,
        "+1d\ncancel\n+5d",
        expect![[r#"
        > start
          - -> review
          task ask
        > at 1d
          reminded ask 1
          emit traaviis.task_reminded {"assignees":["user:mari"],"due":"1970-01-06T00:00:00.000000Z","instance_id":"00000000-0000-0000-0000-000000000007","number":1,"path":"ask","title":"Review","workflow":"Test"}
        > cancel
          - -> 
          cancelled ask: state_left
          finished cancelled null
    "#]],
    );
}

#[test]
fn a_paused_instance_reminds_when_it_goes_on() {
    check(
        REMINDING,
        "pause\n+3d\nresume\n+0s",
        expect![[r#"
        > start
          - -> review
          task ask
        > pause
          paused
        > resume
          resumed
        > at 3d
          reminded ask 1
          emit traaviis.task_reminded {"assignees":["user:mari"],"due":"1970-01-06T00:00:00.000000Z","instance_id":"00000000-0000-0000-0000-000000000007","number":1,"path":"ask","title":"Review","workflow":"Test"}
        > at 3d
          reminded ask 2
          emit traaviis.task_reminded {"assignees":["user:mari"],"due":"1970-01-06T00:00:00.000000Z","instance_id":"00000000-0000-0000-0000-000000000007","number":2,"path":"ask","title":"Review","workflow":"Test"}
        > at 3d
          escalated ask ["role:managers","user:mari"]
          emit traaviis.task_escalated {"assignees":["user:mari","role:managers"],"due":"1970-01-06T00:00:00.000000Z","instance_id":"00000000-0000-0000-0000-000000000007","path":"ask","title":"Review","to":["role:managers","user:mari"],"workflow":"Test"}
    "#]],
    );
}

#[test]
fn what_would_come_too_late_never_comes() {
    let reminding = REMINDING.replace("deadline: 5d", "deadline: \"${'36h'}\"");
    check(
        &reminding,
        "+5d",
        expect![[r#"
        > start
          - -> review
          task ask
        > at 12h
          reminded ask 1
          emit traaviis.task_reminded {"assignees":["user:mari"],"due":"1970-01-02T12:00:00.000000Z","instance_id":"00000000-0000-0000-0000-000000000007","number":1,"path":"ask","title":"Review","workflow":"Test"}
        > at 1d
          reminded ask 2
          emit traaviis.task_reminded {"assignees":["user:mari"],"due":"1970-01-02T12:00:00.000000Z","instance_id":"00000000-0000-0000-0000-000000000007","number":2,"path":"ask","title":"Review","workflow":"Test"}
        > at 1d12h
          expired ask
          failed ask: human_task_expired
          error.invoke.ask -> late
          finished completed "human_task_expired"
    "#]],
    );
}

#[test]
fn what_is_attached_is_carried_with_the_task_and_bounded() {
    let document = r#"
initial: a
states:
  a:
    invoke:
      - id: ok
        effect: {type: approval, title: Pay?, attachments: "${input.files}"}
        onDone: {target: paid}
        onError: {target: off}
  paid: {type: final}
  off: {type: final, output: "${event.data.code}: ${event.data.message}"}
"#;
    let with = |files: Vec<(String, Value)>| {
        let files = files.into_iter().map(|(name, it)| (Text::from(name), it));
        let files = Value::Map(files.collect::<Map>().into());
        trace(document, "", Value::map([("files", files)]))
    };
    let named = |count: usize| (0..count).map(|it| (format!("f{it}"), Value::Int(1))).collect();
    let sized = |bytes: usize| vec![("a".to_string(), Value::from("x".repeat(bytes)))];
    assert!(with(named(limits::TASK_ATTACHMENTS_MAX)).contains("task ok"));
    assert!(with(sized(limits::TASK_ATTACHMENTS_BYTES_MAX - 9)).contains("task ok"));
    expect![[r#"
        > start
          - -> a
          failed ok: payload_too_large
          error.invoke.ok -> off
          finished completed "payload_too_large: a task has at most 20 attachments, this has 21"
    "#]]
    .assert_eq(&with(named(limits::TASK_ATTACHMENTS_MAX + 1)));
    expect![[r#"
        > start
          - -> a
          failed ok: payload_too_large
          error.invoke.ok -> off
          finished completed "payload_too_large: the attachments of a task take at most 262144 bytes"
    "#]].assert_eq(&with(sized(limits::TASK_ATTACHMENTS_BYTES_MAX - 8)));
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
    let read = document::read(&with_head(body), Format::Yaml);
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
        "{type: approval, title: T, escalation: {after: 1d, to: []}}",
        "{type: approval, title: T, escalation: {after: 1d, to: mari}}",
        "{type: approval, title: T, reminders: 1d}",
        "{type: approval, title: T, reminders: [{before: 1d}]}",
        "{type: approval, title: T, reminders: [{before: 1d, after: 1d}]}",
        "{type: approval, title: T, reminders: [soon]}",
        "{type: human_task}",
    ]);
    expect![[r#"
        14:18: E140 effect `wait_signal` takes exactly one of `event`, `events` (at /states/a/invoke/0/effect)
        15:53: E140 `to` is missing in `escalation` (at /states/a/invoke/1/effect/escalation)
        16:77: E140 `to` is empty (at /states/a/invoke/2/effect/escalation/to); write whom to ask, such as `to: ["role:managers"]`
        17:81: E140 `to` must be a list or a template, found text (at /states/a/invoke/3/effect/escalation/to)
        18:64: E140 `reminders` must be a list of durations, or of maps with `after` or `before`, found text (at /states/a/invoke/4/effect/reminders)
        19:65: E140 a reminder `before` the deadline of a task that has none (at /states/a/invoke/5/effect/reminders/0); give the task a `deadline`, or write `after`
        20:65: E140 a reminder takes exactly one of `after`, `before` (at /states/a/invoke/6/effect/reminders/0)
        22:18: E140 `title` is missing in effect `human_task` (at /states/a/invoke/8/effect)
    "#]].assert_eq(&findings(&read));
    let many = |name: &str, items: Vec<String>, ends: [char; 2]| {
        let [open, close] = ends;
        let items = items.join(", ");
        invokes(&[&format!("{{type: approval, title: T, {name}: {open}{items}{close}}}")])
    };
    let reminders = vec!["1d".to_string(); limits::TASK_REMINDERS_MAX + 1];
    let attached = (0..=limits::TASK_ATTACHMENTS_MAX).map(|it| format!("a{it}: 1")).collect();
    expect![[r#"
        14:53: E160 21 reminders of one task; at most 20 are allowed (at /states/a/invoke/0/effect/reminders)
    "#]].assert_eq(&findings(&many("reminders", reminders, ['[', ']'])));
    expect![[r#"
        14:53: E160 21 attachments of one task; at most 20 are allowed (at /states/a/invoke/0/effect/attachments)
    "#]].assert_eq(&findings(&many("attachments", attached, ['{', '}'])));
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

#[test]
fn a_task_that_is_handed_on_is_answered_by_whom_it_was_handed_to() {
    check(
        REVIEW,
        r#"by mari
        by jaan
        delegate ask user:jaan
        delegate ask role:finance
        delegate ask user:mari
        delegate ask user:kati on leave
        decide ask good {"score": 5}
        comment ask see page 3
        by mari
        delegate ask user:liis
        by kati
        release ask
        by jaan
        claim ask
        by kati
        delegate ask user:liis
        by jaan
        delegate ask user:kati
        by kati
        decide ask good {"score": 5}
        comment ask too late"#,
        expect![[r#"
            > start
              - -> review
              task ask
            > delegate ask user:jaan
              refused validation_failed: `user:jaan` hands the task to themselves; claim it
            > delegate ask role:finance
              refused validation_failed: a task is handed to one person, named as `user:ID` with at most 128 characters
            > delegate ask user:mari
              refused separation_of_duties: `user:mari` started the instance and may not answer task `ask`; somebody else must
            > delegate ask user:kati on leave
              delegated ask user:jaan to user:kati: on leave
            > decide ask good {"score": 5}
              refused task_claimed: `user:kati` has claimed task `ask`
            > comment ask see page 3
              commented ask {"at":"1970-01-01T00:00:00.000000Z","by":"user:jaan","text":"see page 3"}
            > delegate ask user:liis
              refused task_claimed: `user:kati` has claimed task `ask`
            > release ask
              released ask
            > claim ask
              claimed ask user:jaan
            > delegate ask user:liis
              refused task_claimed: `user:jaan` has claimed task `ask`
            > delegate ask user:kati
              delegated ask user:jaan to user:kati: -
            > decide ask good {"score": 5}
              decided ask
              done ask = {"at":"1970-01-01T00:00:00.000000Z","by":"user:kati","comment":"because","form":{"score":5},"outcome":"good"}
              done.invoke.ask -> done
              finished completed "good 5 user:kati"
            > comment ask too late
              refused instance_finished: the instance has ended with status `completed`
        "#]],
    );
}

#[test]
fn comments_and_handing_on_have_an_end() {
    let machine = machine(&with_head(REVIEW));
    let mut world = World::new(&machine, Value::empty_map());
    let long = "x".repeat(limits::TASK_COMMENT_CHARS_MAX);
    world.line(&format!("comment ask {long}x"));
    for at in 0..=limits::TASK_COMMENTS_MAX {
        world.line(&format!("comment ask number {at}"));
    }
    for at in 0..=limits::TASK_DELEGATIONS_MAX {
        world.line(&format!("delegate ask user:n{at} {long}"));
        world.line(&format!("by n{at}"));
    }
    let refused: Vec<&str> = world.out.lines().filter(|it| it.contains("refused")).collect();
    assert_eq!(
        refused,
        [
            "  refused validation_failed: a comment has 1 to 2000 characters",
            "  refused validation_failed: a task has at most 100 comments",
            "  refused validation_failed: a task is handed on 20 times at most",
        ]
    );
}

#[test]
fn what_is_said_to_a_task_is_redacted_as_answers_are_and_is_the_same_in_a_replay() {
    let review = format!("plugins: [{{use: redaction}}]\n{REVIEW}");
    check(
        &review,
        "by mari\nby jaan\ncomment ask write to ada@example.org\n\
         delegate ask user:kati ask ada@example.org",
        expect![[r#"
            > start
              - -> review
              task ask
            > comment ask write to ada@example.org
              commented ask {"at":"1970-01-01T00:00:00.000000Z","by":"user:jaan","text":"write to [EMAIL]"}
            > delegate ask user:kati ask ada@example.org
              delegated ask user:jaan to user:kati: ask [EMAIL]
        "#]],
    );
}
