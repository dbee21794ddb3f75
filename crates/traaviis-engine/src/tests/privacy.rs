//! Personal data: what is recorded of events, calls and log lines. Every trace is replayed.

use expect_test::expect;
use traaviis_model::{Body, Record, Text, Value, definition::Plugin};

use super::{World, check, context, machine, replayed, with_head};
use crate::{
    replay,
    step::{Birth, Input, Step, StepContext, start_born, step},
};

const ASKED: &str = r#"
plugins: [{use: redaction, with: {WITH}}]
initial: waiting
events:
  asked:
    schema: {type: object, properties: {mail: {type: string, pattern: "@"}}}
    pii: {/who: PERSON, /note: auto}
states:
  waiting:
    on:
      asked:
        - {target: seen, guard: "event.data.mail == '[EMAIL]'", actions: [{assign: {got: "${event.data}"}}]}
        - {target: raw, actions: [{assign: {got: "${event.data}"}}]}
  seen: {type: final, output: "${data.got}"}
  raw: {type: final, output: "${data.got}"}
"#;

#[test]
fn guards_and_records_see_the_redacted_payload_of_a_checked_event() {
    // The schema wants an `@`: it is checked before, and not again in replay.
    check(
        &ASKED.replace("WITH", ""),
        r#"send asked {"mail": "ann@example.com", "who": "xq", "note": "card 4111111111111111", "n": 3}
        "#,
        expect![[r#"
            > start
              - -> waiting
            > send asked {"mail": "ann@example.com", "who": "xq", "note": "card 4111111111111111", "n": 3}
              asked -> seen
              {"op":"add","path":"/got","value":{"mail":"[EMAIL]","n":3,"note":"card [CREDIT_CARD]","who":"[PERSON]"}}
              finished completed {"mail":"[EMAIL]","n":3,"note":"card [CREDIT_CARD]","who":"[PERSON]"}
        "#]],
    );
    check(
        &ASKED.replace("WITH", "types: [CREDIT_CARD], fields: [/mail]"),
        r#"send asked {"mail": "ann@example.com", "note": "ann@example.com 4111111111111111"}"#,
        expect![[r#"
            > start
              - -> waiting
            > send asked {"mail": "ann@example.com", "note": "ann@example.com 4111111111111111"}
              asked -> raw
              {"op":"add","path":"/got","value":{"mail":"[CUSTOM]","note":"[EMAIL] [CREDIT_CARD]"}}
              finished completed {"mail":"[CUSTOM]","note":"[EMAIL] [CREDIT_CARD]"}
        "#]],
    );
}

#[test]
fn a_payload_that_does_not_fit_is_refused_as_it_was_sent() {
    check(
        &ASKED.replace("WITH", ""),
        r#"send asked {"mail": "nobody"}"#,
        expect![[r#"
        > start
          - -> waiting
        > send asked {"mail": "nobody"}
          refused event_payload_invalid: the payload of `asked` does not fit its schema: /mail: "nobody" does not match "@"
    "#]],
    );
}

#[test]
fn a_payload_with_what_is_blocked_is_refused() {
    check(
        &ASKED.replace("WITH", "mode: block, types: [SECRET]"),
        r#"send asked {"mail": "a@b.example", "note": "AKIAIOSFODNN7EXAMPLE"}
           send asked {"mail": "a@b.example"}"#,
        expect![[r#"
            > start
              - -> waiting
            > send asked {"mail": "a@b.example", "note": "AKIAIOSFODNN7EXAMPLE"}
              refused guardrail_blocked: the payload of `asked` is refused: personal data of type `SECRET` must not be here
            > send asked {"mail": "a@b.example"}
              asked -> raw
              {"op":"add","path":"/got","value":{"mail":"a@b.example"}}
              finished completed {"mail":"a@b.example"}
        "#]],
    );
}

/// Feeds an input to an instance that waits.
fn fed(body: &str, input: Input) -> (Vec<Record>, Step) {
    let machine = machine(&with_head(body));
    let world = World::new(&machine, Value::empty_map());
    let step = step(&machine, &world.snapshot, input, &context(world.now)).unwrap();
    let records = [world.records, step.records.clone()].concat();
    replayed(&machine, &records).unwrap_or_else(|why| panic!("{why}"));
    (records, step)
}

fn lines(records: &[Record]) -> String {
    let mut bytes = Vec::new();
    records.iter().for_each(|it| it.write_line(&mut bytes));
    String::from_utf8(bytes).unwrap()
}

#[test]
fn a_delivery_is_recorded_redacted_also_when_it_is_refused() {
    let delivered = |data: &str| Input::Delivered {
        event: "asked".into(),
        data: serde_json::from_str(data).unwrap(),
        id: "x:1".into(),
        refused: None,
    };
    let taken = r#"{"mail": "ann@example.com", "who": "xq"}"#;
    let (records, step) = fed(&ASKED.replace("WITH", ""), delivered(taken));
    assert!(!lines(&records).contains("ann@"), "{}", lines(&records));
    assert_eq!(step.snapshot.output.to_json(), r#"{"mail":"[EMAIL]","who":"[PERSON]"}"#);

    let unfit = r#"{"mail": 5, "note": "ann@example.com"}"#;
    let (records, _) = fed(&ASKED.replace("WITH", ""), delivered(unfit));
    assert!(!lines(&records).contains("ann@"), "{}", lines(&records));
    assert!(matches!(
        &records.last().unwrap().body,
        Body::EventIgnored { refused: Some(why), .. } if &*why.code == "event_payload_invalid"
    ));

    let with = "mode: block, types: [EMAIL]";
    let (records, _) = fed(&ASKED.replace("WITH", with), delivered(taken));
    assert!(!lines(&records).contains("ann@"), "{}", lines(&records));
    assert!(matches!(
        &records.last().unwrap().body,
        Body::EventIgnored { data: Value::Null, refused: Some(why), .. }
            if &*why.code == "guardrail_blocked"
    ));
}

#[test]
fn a_delivery_to_a_paused_instance_waits_redacted() {
    let machine = machine(&with_head(&ASKED.replace("WITH", "")));
    let mut world = World::new(&machine, Value::empty_map());
    world.line("pause");
    let event = Input::Delivered {
        event: "asked".into(),
        data: serde_json::from_str(r#"{"mail": "ann@example.com"}"#).unwrap(),
        id: "x:1".into(),
        refused: None,
    };
    let held = step(&machine, &world.snapshot, event, &context(world.now)).unwrap();
    world.took(held);
    world.line("resume");
    assert!(!lines(&world.records).contains("ann@"), "{}", lines(&world.records));
    // It fits no more as it waits, and is taken even so: it was checked when it came.
    assert_eq!(world.snapshot.output.to_json(), r#"{"mail":"[EMAIL]"}"#);
    replay(&machine, &world.records).unwrap_or_else(|why| panic!("{why}"));
}

const CALL: &str = r#"
initial: calling
states:
  calling:
    invoke: [{id: work, effect: {type: call, function: f, args: {note: "ann@example.com, 10.20.30.40"}, redact: REDACT}, onDone: ok, onError: bad}]
  ok: {type: final, output: "${result}"}
  bad: {type: final, status: failed, output: "${event.data.message}"}
"#;

#[test]
fn a_call_sends_and_brings_back_what_is_redacted() {
    let body = CALL.replace("REDACT", "{in: mask, out: mask}");
    let machine = machine(&with_head(&body));
    let world = World::new(&machine, Value::empty_map());
    let asked = world.records.iter().find_map(|it| match &it.body {
        Body::EffectScheduled { input, .. } => input.get("args"),
        _ => None,
    });
    assert_eq!(asked.unwrap().to_json(), r#"{"note":"[EMAIL], [IP]"}"#);

    check(
        &body,
        r#"ok work {"answer": "ask bob@example.com"}"#,
        expect![[r#"
        > start
          - -> calling
          start work#1
        > ok work {"answer": "ask bob@example.com"}
          done work = {"answer":"ask [EMAIL]"}
          done.invoke.work -> ok
          finished completed {"answer":"ask [EMAIL]"}
    "#]],
    );
    check(
        &CALL.replace("REDACT", "{out: none}"),
        r#"ok work "bob@example.com""#,
        expect![[r#"
        > start
          - -> calling
          start work#1
        > ok work "bob@example.com"
          done work = "bob@example.com"
          done.invoke.work -> ok
          finished completed "bob@example.com"
    "#]],
    );
}

#[test]
fn a_call_with_what_is_blocked_is_not_begun() {
    check(
        &CALL.replace("REDACT", "{in: block}"),
        "",
        expect![[r#"
        > start
          - -> calling
          failed work: guardrail_blocked
          error.invoke.work -> bad
          finished failed "the call is refused: personal data of type `EMAIL`, `IP` must not be here"
    "#]],
    );
    check(
        &CALL.replace("REDACT", "{out: block}"),
        r#"ok work "bob@example.com""#,
        expect![[r#"
        > start
          - -> calling
          start work#1
        > ok work "bob@example.com"
          failed work: guardrail_blocked
          error.invoke.work -> bad
          finished failed "the value is refused: personal data of type `EMAIL` must not be here"
    "#]],
    );
}

const LOG: &str = r#"
initial: a
states:
  a:
    entry: [{log: {message: "order 4711 of ${input.mail}", data: {phone: "+44 20 7946 0958", qty: 2}}}]
    always: b
  b: {type: final}
"#;

#[test]
fn log_lines_are_masked_and_older_histories_still_replay() {
    let machine = machine(&with_head(LOG));
    let input = Value::map([("mail", Value::from("ann@example.com"))]);
    let mut records = World::new(&machine, input).records;
    let logged = records.iter_mut().find_map(|it| match &mut it.body {
        Body::Logged { message, data, .. } => Some((message, data)),
        _ => None,
    });
    let (message, data) = logged.unwrap();
    assert_eq!(&**message, "order 4711 of [EMAIL]");
    assert_eq!(data.to_json(), r#"{"phone":"[PHONE]","qty":2}"#);
    replay(&machine, &records).unwrap();

    // As releases wrote it that did not mask.
    for record in &mut records {
        if let Body::Logged { message, data, .. } = &mut record.body {
            *message = "order 4711 of ann@example.com".into();
            *data = serde_json::from_str(r#"{"phone":"+44 20 7946 0958","qty":2}"#).unwrap();
        }
    }
    replay(&machine, &records).unwrap();
    for record in &mut records {
        if let Body::Logged { message, .. } = &mut record.body {
            *message = "order 4712 of ann@example.com".into();
        }
    }
    assert!(replay(&machine, &records).is_err(), "another text is another text");
}

#[test]
fn every_type_is_the_default_of_the_plugin() {
    let machine = machine(&with_head(&ASKED.replace("WITH", "")));
    let [Plugin::Redaction { types, fields, .. }] = &machine.definition().plugins[..] else {
        panic!("{:?}", machine.definition().plugins)
    };
    assert_eq!(types.len(), traaviis_model::privacy::PiiType::ALL.len());
    assert_eq!(*fields, Vec::<Text>::new());
}

#[test]
fn digests_and_tokens_are_made_with_the_key_of_the_tenant() {
    let send =
        r#"send asked {"mail": "ann@example.com", "note": "mail ann@example.com", "who": "xq"}"#;
    check(
        &ASKED.replace("WITH", "mode: hash"),
        send,
        expect![[r#"
        > start
          - -> waiting
        > send asked {"mail": "ann@example.com", "note": "mail ann@example.com", "who": "xq"}
          asked -> raw
          {"op":"add","path":"/got","value":{"mail":"[EMAIL#4f5b2ea286de6a69]","note":"mail [EMAIL#4f5b2ea286de6a69]","who":"[PERSON#9c16e0c271c1007f]"}}
          finished completed {"mail":"[EMAIL#4f5b2ea286de6a69]","note":"mail [EMAIL#4f5b2ea286de6a69]","who":"[PERSON#9c16e0c271c1007f]"}
    "#]],
    );
    check(
        &ASKED.replace("WITH", "mode: tokenise"),
        send,
        expect![[r#"
        > start
          - -> waiting
        > send asked {"mail": "ann@example.com", "note": "mail ann@example.com", "who": "xq"}
          asked -> raw
          {"op":"add","path":"/got","value":{"mail":"[EMAIL:ec873bf01930c2ae0641460e96d4b15dc19e7caf02de994c2f13b38f9e5da2]","note":"mail [EMAIL:ec873bf01930c2ae0641460e96d4b15dc19e7caf02de994c2f13b38f9e5da2]","who":"[PERSON:2f1443e017dd22f0babea761ba945399998f]"}}
          finished completed {"mail":"[EMAIL:ec873bf01930c2ae0641460e96d4b15dc19e7caf02de994c2f13b38f9e5da2]","note":"mail [EMAIL:ec873bf01930c2ae0641460e96d4b15dc19e7caf02de994c2f13b38f9e5da2]","who":"[PERSON:2f1443e017dd22f0babea761ba945399998f]"}
    "#]],
    );
    check(
        &CALL.replace("REDACT", "{in: tokenise, out: hash}"),
        r#"ok work {"answer": "ask bob@example.com"}"#,
        expect![[r#"
            > start
              - -> calling
              start work#1
            > ok work {"answer": "ask bob@example.com"}
              done work = {"answer":"ask [EMAIL#b809ba3537ef60bb]"}
              done.invoke.work -> ok
              finished completed {"answer":"ask [EMAIL#b809ba3537ef60bb]"}
        "#]],
    );
}

#[test]
fn a_history_with_tokens_in_calls_replays_with_the_key_alone() {
    let machine = machine(&with_head(&CALL.replace("REDACT", "{in: tokenise}")));
    assert!(machine.needs_key());
    let world = World::new(&machine, Value::empty_map());
    replayed(&machine, &world.records).unwrap();
    assert!(replay(&machine, &world.records).is_err());
    let masks = super::machine(&with_head(&CALL.replace("REDACT", "{in: mask, out: block}")));
    assert!(!masks.needs_key());
}

const BORN: &str = r#"
plugins: [{use: redaction, with: {fields: [/remark], MODE}}]
input: {schema: {type: object, required: [mail], properties: {mail: {type: string, pattern: "@"}, n: {default: 1}}}}
correlation: {key: input.mail}
data: {initial: {mail: "${input.mail}"}}
initial: a
states:
  a: {}
"#;

#[test]
fn a_start_input_is_checked_then_redacted_and_then_read() {
    let body = BORN.replace("MODE", "mode: hash");
    let machine = machine(&with_head(&body));
    let input = Value::map([("mail", "ann@example.com".into()), ("remark", "loud".into())]);
    let world = World::new(&machine, input.clone());
    replayed(&machine, &world.records).unwrap_or_else(|why| panic!("{why}"));
    let taken = world.snapshot.input.clone();
    expect![[r#"{"mail":"[EMAIL#4f5b2ea286de6a69]","n":1,"remark":"[CUSTOM#704f86c1e554a9ec]"}"#]]
        .assert_eq(&taken.to_json());
    // Who asks for the same thing later is told that it is there.
    assert_eq!(world.snapshot.correlation.as_deref(), taken.get("mail").unwrap().as_str());
    assert_eq!(world.snapshot.data.get("mail"), taken.get("mail"));
    assert!(!lines(&world.records).contains("ann@"), "{}", lines(&world.records));

    let ctx = traaviis_model::TenantCtx::for_test(9);
    let id = world.snapshot.id;
    // What does not fit is refused as it was given; what was taken fits no more, and is.
    let refused =
        |input| start_born(&machine, &ctx, id, input, Birth::default(), &context(world.now));
    assert_eq!(refused(Value::map([("mail", "nobody".into())])).unwrap_err().code, "input_invalid");
    assert_eq!(refused(taken.clone()).unwrap_err().code, "input_invalid");
    let birth = Birth { is_taken: true, ..Birth::default() };
    let again = start_born(&machine, &ctx, id, taken, birth, &context(world.now)).unwrap();
    assert_eq!(again.snapshot.input, world.snapshot.input);

    let blocks = super::machine(&with_head(&BORN.replace("MODE", "mode: block")));
    let refused = start_born(&blocks, &ctx, id, input, Birth::default(), &context(world.now));
    assert_eq!(refused.unwrap_err().code, "guardrail_blocked");
}

#[test]
fn a_history_whose_start_input_was_kept_as_it_was_still_replays() {
    let plain = BORN.replace("plugins: [{use: redaction, with: {fields: [/remark], MODE}}]", "");
    let input = Value::map([("mail", Value::from("ann@example.com"))]);
    let machine = machine(&with_head(&BORN.replace("MODE", "")));
    let ctx = traaviis_model::TenantCtx::for_test(9);
    // As releases began it that did not redact.
    let birth = Birth { is_taken: true, ..Birth::default() };
    let old = super::machine(&with_head(&plain));
    let input = crate::checked_input(&old, input, None).unwrap();
    let context = StepContext { key: None, ..context(traaviis_model::Timestamp(0)) };
    let id = traaviis_model::InstanceId(uuid::Uuid::from_u128(7));
    let begun = start_born(&machine, &ctx, id, input, birth, &context).unwrap();
    assert!(lines(&begun.records).contains("ann@"));
    replay(&machine, &begun.records).unwrap();
}

const BY_HAND: &str = r#"
plugins: [{use: redaction, with: {MODE}}]
initial: asking
events:
  told: {pii: {/who: PERSON}}
states:
  asking:
    invoke:
      - id: ask
        effect: {type: human_task, title: Who?, assignees: ["user:kim"], form: {type: object, properties: {mail: {type: string, pattern: "@"}}}, outcomes: [yes, no]}
        onDone: {target: telling, actions: [{assign: {form: "${result.form}", said: "${result.comment}"}}]}
  telling:
    entry: [{emit: {event: told, data: {mail: bob@example.com, who: xq, n: 1}}}]
    invoke: [{id: out, effect: {type: emit, event: told, data: {mail: eve@example.com}}, onDone: end}]
  end: {type: final}
"#;

#[test]
fn what_people_write_and_what_is_published_is_redacted() {
    let script = r#"edit [{"op": "add", "path": "/customer", "value": {"ann@example.com": 1, "name": "xq zz"}}, {"op": "add", "path": "/mail", "value": "ann@example.com"}]
           by kim
           decide ask yes {"mail": "kim@example.com"}"#;
    check(
        &BY_HAND.replace("MODE", ""),
        script,
        expect![[r#"
        > start
          - -> asking
          task ask
        > edit [{"op": "add", "path": "/customer", "value": {"ann@example.com": 1, "name": "xq zz"}}, {"op": "add", "path": "/mail", "value": "ann@example.com"}]
          edited [{"op":"add","path":"/customer","value":{"[EMAIL]":1,"name":"[PERSON]"}},{"op":"add","path":"/mail","value":"[EMAIL]"}]
        > decide ask yes {"mail": "kim@example.com"}
          decided ask
          done ask = {"at":"1970-01-01T00:00:00.000000Z","by":"user:kim","comment":"because","form":{"mail":"[EMAIL]"},"outcome":"yes"}
          done.invoke.ask -> telling
          {"op":"add","path":"/form","value":{"mail":"[EMAIL]"}}
          {"op":"add","path":"/said","value":"because"}
          emit told {"mail":"[EMAIL]","n":1,"who":"[PERSON]"}
          done out = null
          emit told {"mail":"[EMAIL]"}
          done.invoke.out -> end
          finished completed null
    "#]],
    );
    check(
        &BY_HAND.replace("MODE", "mode: hash"),
        script,
        expect![[r#"
        > start
          - -> asking
          task ask
        > edit [{"op": "add", "path": "/customer", "value": {"ann@example.com": 1, "name": "xq zz"}}, {"op": "add", "path": "/mail", "value": "ann@example.com"}]
          edited [{"op":"add","path":"/customer","value":{"[EMAIL#4f5b2ea286de6a69]":1,"name":"[PERSON#f423bda10e849577]"}},{"op":"add","path":"/mail","value":"[EMAIL#4f5b2ea286de6a69]"}]
        > decide ask yes {"mail": "kim@example.com"}
          decided ask
          done ask = {"at":"1970-01-01T00:00:00.000000Z","by":"user:kim","comment":"because","form":{"mail":"[EMAIL#004b76f0cc38129e]"},"outcome":"yes"}
          done.invoke.ask -> telling
          {"op":"add","path":"/form","value":{"mail":"[EMAIL#004b76f0cc38129e]"}}
          {"op":"add","path":"/said","value":"because"}
          emit told {"mail":"[EMAIL#b809ba3537ef60bb]","n":1,"who":"[PERSON#9c16e0c271c1007f]"}
          done out = null
          emit told {"mail":"[EMAIL#d6e873cddd61f92b]"}
          done.invoke.out -> end
          finished completed null
    "#]],
    );
    check(
        &BY_HAND.replace("MODE", "mode: block"),
        script,
        expect![[r#"
        > start
          - -> asking
          task ask
        > edit [{"op": "add", "path": "/customer", "value": {"ann@example.com": 1, "name": "xq zz"}}, {"op": "add", "path": "/mail", "value": "ann@example.com"}]
          refused guardrail_blocked: the value is refused: personal data of type `PERSON`, `EMAIL` must not be here
        > decide ask yes {"mail": "kim@example.com"}
          refused guardrail_blocked: the form is refused: personal data of type `EMAIL` must not be here
    "#]],
    );
}

#[test]
fn a_payload_that_redaction_makes_too_long_is_refused() {
    let machine = machine(&with_head(&ASKED.replace("WITH", "mode: tokenise")));
    let world = World::new(&machine, Value::empty_map());
    let ages = traaviis_model::limits::PAYLOAD_BYTES_MAX / 20;
    let asked = |count: usize| Input::Event {
        event: "asked".into(),
        data: Value::map([("age", Value::list((0..count).map(|_| Value::Int(44))))]),
        id: None,
    };
    let refused = step(&machine, &world.snapshot, asked(ages), &context(world.now)).unwrap_err();
    assert_eq!(refused.code, "payload_too_large", "{refused}");
    assert!(step(&machine, &world.snapshot, asked(100), &context(world.now)).is_ok());
}
