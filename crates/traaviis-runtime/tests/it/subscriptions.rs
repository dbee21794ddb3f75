//! Emitted events arrive at who subscribes: once, in order, and by the state of the moment.

use std::sync::Arc;

use expect_test::{Expect, expect};
use traaviis_model::{Body, InstanceId, Record, Value, limits::MAILBOX_MAX, record::Operation};
use traaviis_runtime::{
    Command,
    owner::{Message, Settings},
};

use crate::support::{Letters, NEWS, READER, World, ctx, event, id, machine};

/// Hears what is for it alone, and says so.
const PICKY_READER: &str = r#"
traaviis: "1"
name: Picky
version: 1.0.0
initial: closed
events: {open: {}, urgent: {}, close: {}, hello: {schema: {type: object, properties: {n: {type: integer, maximum: 3}}}}}
data: {initial: {zone: north, heard: [], publisher: "${input.peer}"}}
subscribe:
  - {from: {instance: "${data.publisher}"}, event: news, match: event.data.n == 2, as: urgent}
  - {from: {workflow: NEWS}, event: news, key: "${data.zone}", as: hello}
states:
  closed: {on: {open: open}}
  open:
    on:
      hello: {actions: [{assign: {heard: "${data.heard + [event.data.n]}"}}]}
      urgent: {actions: [{assign: {heard: "${data.heard + [event.id]}"}}]}
      close: done
  done: {type: final}
"#;

struct Town {
    world: World,
    letters: Letters,
}

impl Town {
    fn new() -> Town {
        Town::with(Settings::default())
    }

    fn with(settings: Settings) -> Town {
        let letters = Letters::default();
        let settings = Settings { post: Arc::new(letters.clone()), ..settings };
        Town { world: World::with(settings), letters }
    }

    fn start(&mut self, document: &str, id: InstanceId, peer: InstanceId) {
        let input = Value::map([("peer", Value::from(peer.to_string()))]);
        self.world.start_as(&ctx(), &machine(document), id, input);
        self.rest();
    }

    fn send(&mut self, id: InstanceId, command: Command) {
        self.world.command(id, command);
        self.rest();
    }

    fn rest(&mut self) {
        loop {
            self.world.commit_all();
            let Some((_, letter)) = self.letters.take() else { return };
            self.world.handle(letter);
        }
    }

    /// What an instance recorded of events, with those of the instances that emit them as `N:SEQ`.
    fn check(&self, id: InstanceId, expected: Expect) {
        let own = self.world.records.iter().filter(|it| it.header.instance_id == id);
        let lines: String = own.filter_map(told).collect();
        expected.assert_eq(&lines);
    }

    fn data(&self, id: InstanceId, key: &str) -> String {
        self.world.snapshot(id).data.get(key).map(Value::to_json).unwrap_or_default()
    }
}

fn told(record: &Record) -> Option<String> {
    let mut value = serde_json::to_value(&record.body).unwrap();
    let is_event = record.body.kind().starts_with("event_")
        || matches!(record.body, Body::InputHeld { .. } | Body::InputReleased);
    let map = value.as_object_mut().unwrap();
    map.remove("source");
    let text = serde_json::Value::Object(map.clone()).to_string();
    is_event.then(|| text.replace("00000000-0000-0000-0000-00000000000", "") + "\n")
}

#[test]
fn an_emitted_event_arrives_at_who_subscribes() {
    let mut town = Town::new();
    town.start(NEWS, id(1), id(1));
    town.start(READER, id(2), id(1));
    town.send(id(1), event("more"));
    town.send(id(1), event("more"));
    town.check(
        id(2),
        expect![[r#"
        {"data":{"n":1},"event":"hello","id":"1:7","kind":"event_received"}
        {"data":{"n":2},"event":"hello","id":"1:11","kind":"event_received"}
    "#]],
    );
    assert_eq!(town.data(id(2), "heard"), "2");
    // The publisher has nothing left to send.
    let (sender, receiver) = std::sync::mpsc::channel();
    town.world.handle(Message::Collect(sender));
    assert!(receiver.recv().unwrap().emissions.is_empty());
}

#[test]
fn what_a_reader_takes_names_its_cause_and_the_engine() {
    let mut town = Town::new();
    town.start(NEWS, id(1), id(1));
    town.start(READER, id(2), id(1));
    town.send(id(1), event("more"));
    let taken =
        town.world.records.iter().find(|it| {
            it.header.instance_id == id(2) && matches!(it.body, Body::EventReceived { .. })
        });
    let header = &taken.unwrap().header;
    let emitted = town.world.records.iter().find(|it| it.body.kind() == "emitted").unwrap();
    let cause = format!("{}:{}", id(1), emitted.header.seq);
    assert_eq!(header.causation_id.as_deref(), Some(&*cause));
    assert_eq!(header.actor, traaviis_model::Actor::engine());
}

#[test]
fn the_first_subscription_that_fits_counts() {
    let mut town = Town::new();
    town.start(NEWS, id(1), id(1));
    town.start(NEWS, id(3), id(3));
    town.start(PICKY_READER, id(2), id(1));
    // Nobody takes it now: recorded, with the reason.
    town.send(id(1), event("more"));
    town.send(id(2), event("open"));
    for _ in 0..3 {
        town.send(id(1), event("more"));
    }
    for _ in 0..2 {
        town.send(id(3), event("more"));
    }
    town.check(id(2), expect![[r#"
        {"data":{"n":1},"event":"hello","id":"1:7","kind":"event_ignored","refused":{"code":"event_not_accepted","details":{"accepted":["open"]},"message":"state `closed` does not accept event `hello` now; accepted are: open","retryable":false}}
        {"data":{},"event":"open","kind":"event_received"}
        {"data":{"n":2},"event":"urgent","id":"1:11","kind":"event_received"}
        {"data":{"n":3},"event":"hello","id":"1:15","kind":"event_received"}
        {"data":{"n":4},"event":"hello","id":"1:19","kind":"event_ignored","refused":{"code":"event_payload_invalid","details":{"errors":["/n: 4 is greater than the maximum of 3"]},"message":"the payload of `hello` does not fit its schema: /n: 4 is greater than the maximum of 3","retryable":false}}
        {"data":{"n":1},"event":"hello","id":"3:7","kind":"event_received"}
        {"data":{"n":2},"event":"hello","id":"3:11","kind":"event_received"}
    "#]]);
    let heard = town.data(id(2), "heard").replace("00000000-0000-0000-0000-00000000000", "");
    assert_eq!(heard, r#"["1:11",3,1,2]"#);
}

#[test]
fn what_was_emitted_before_concerns_nobody() {
    let mut town = Town::new();
    town.start(NEWS, id(1), id(1));
    town.send(id(1), event("more"));
    town.start(READER, id(2), id(1));
    town.check(id(2), expect![""]);
}

#[test]
fn who_has_ended_hears_nothing_and_holds_up_nobody() {
    let mut town = Town::new();
    town.start(NEWS, id(1), id(1));
    town.start(READER, id(2), id(1));
    town.start(READER, id(3), id(1));
    town.send(id(2), event("stop"));
    town.send(id(1), event("more"));
    assert_eq!(town.data(id(3), "heard"), "1");
}

#[test]
fn a_paused_reader_takes_events_when_it_goes_on_in_their_order() {
    let mut town = Town::new();
    town.start(NEWS, id(1), id(1));
    town.start(READER, id(2), id(1));
    town.send(id(2), Command::Operate(Operation::Pause { reason: None }));
    town.send(id(1), event("more"));
    town.send(id(1), event("more"));
    assert_eq!(town.data(id(2), "heard"), "0");
    town.send(id(2), Command::Operate(Operation::Resume { reason: None }));
    town.check(
        id(2),
        expect![[r#"
        {"held":{"data":{"n":1},"event":"hello","id":"1:7","input":"event"},"kind":"input_held"}
        {"held":{"data":{"n":2},"event":"hello","id":"1:11","input":"event"},"kind":"input_held"}
        {"kind":"input_released"}
        {"data":{"n":1},"event":"hello","id":"1:7","kind":"event_received"}
        {"kind":"input_released"}
        {"data":{"n":2},"event":"hello","id":"1:11","kind":"event_received"}
    "#]],
    );
    assert_eq!(town.data(id(2), "heard"), "2");
}

#[test]
fn a_full_mailbox_records_how_many_it_missed() {
    let mut town = Town::with(Settings { steps_per_second: None, ..Settings::default() });
    town.start(NEWS, id(1), id(1));
    town.start(READER, id(2), id(1));
    // One is on its way to the log; the others wait behind it.
    for _ in 0..=MAILBOX_MAX {
        town.world.command(id(2), event("more"));
    }
    for _ in 0..3 {
        town.world.command(id(1), event("more"));
        let append = town.world.outside.appends.pop_back().unwrap();
        town.world.outside.appends.push_front(append);
        town.world.commit();
        while let Some((_, letter)) = town.letters.take() {
            town.world.handle(letter);
        }
    }
    town.rest();
    let missed: Vec<String> = town
        .world
        .records
        .iter()
        .filter(|it| matches!(it.body, Body::EventIgnored { refused: Some(_), .. }))
        .filter_map(told)
        .collect();
    expect![[r#"
        {"data":{"missed":3},"event":"news","id":"1:15","kind":"event_ignored","refused":{"code":"instance_backlog_full","message":"3 emitted events came while 10000 inputs waited, the last is this one","retryable":false}}
    "#]].assert_eq(&missed.concat());
}

#[test]
fn two_that_answer_each_other_let_others_be() {
    const PING: &str = r#"
traaviis: "1"
name: Ping
version: 1.0.0
initial: on
events: {news: {}, go: {}}
subscribe: [{event: news}]
states:
  on: {on: {news: {actions: [{emit: {event: news}}]}, go: {actions: [{emit: {event: news}}]}}}
"#;
    let mut town = Town::new();
    town.start(PING, id(1), id(1));
    town.start(PING, id(2), id(1));
    town.world.command(id(1), event("go"));
    for _ in 0..20 {
        town.world.commit_all();
        while let Some((_, letter)) = town.letters.take() {
            town.world.handle(letter);
        }
    }
    // One event goes back and forth; nothing piles up.
    let count =
        |number| town.world.records.iter().filter(move |it| it.header.instance_id == id(number));
    assert!(count(1).count() > 10 && count(2).count() > 10);
    assert_eq!(town.world.outside.appends.len(), 1);
}
