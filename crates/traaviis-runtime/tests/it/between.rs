//! What instances ask of each other: messages are taken once, children follow their parents.

use std::sync::Arc;

use traaviis_engine::Machine;
use traaviis_model::{
    Actor, Body, InstanceId, Record, Value,
    limits::BROADCAST_RECEIVERS_MAX,
    record::{Header, Operation, Status},
};
use traaviis_ports::LogError;
use traaviis_runtime::{
    Command,
    limits::FULL_RETRY,
    owner::{Message, Settings},
};

use crate::support::{
    CHILD, COUNTER, Known, Letters, TALKER, World, answer, ctx, event, event_with_id, id, machine,
};

/// Starts one child and waits for it.
const KEEPER: &str = r#"
traaviis: "1"
name: Keeper
version: 1.0.0
initial: working
events: {stop: {}}
states:
  working:
    on: {stop: off}
    invoke:
      - id: raise
        effect: {type: spawn_fsm, workflow: Child, input: {n: 5}, wait: true, parent_close: PARENT_CLOSE}
        onDone: {target: done}
        onError: {target: bad}
  done: {type: final, output: "${event.data}"}
  bad: {type: final, status: failed, output: "${event.data.cause.code}"}
  off: {type: final}
"#;

/// An owner whose letters are delivered to itself.
struct Town {
    world: World,
    letters: Letters,
}

impl Town {
    fn new(known: &[&str]) -> Town {
        let letters = Letters::default();
        let library = Known(known.iter().map(|it| machine(it)).collect());
        let settings = Settings {
            post: Arc::new(letters.clone()),
            library: Arc::new(library),
            ..Settings::default()
        };
        Town { world: World::with(settings), letters }
    }

    /// Commits and delivers until nothing moves.
    fn rest(&mut self) {
        loop {
            self.world.commit_all();
            let Some((_, letter)) = self.letters.take() else { return };
            self.world.handle(letter);
        }
    }

    fn start(&mut self, machine: &Arc<Machine>, id: InstanceId, peer: InstanceId) {
        let input = Value::map([("peer", Value::from(peer.to_string()))]);
        self.world.start_as(&ctx(), machine, id, input);
        self.rest();
    }

    fn kinds(&self, id: InstanceId) -> Vec<&'static str> {
        let own = self.world.records.iter().filter(|it| it.header.instance_id == id);
        own.map(|it| it.body.kind()).collect()
    }

    /// Status and output of an ended instance.
    fn end(&self, id: InstanceId) -> Option<(Status, String)> {
        self.world.records.iter().find_map(|it| match &it.body {
            Body::Finished { status, output, .. } if it.header.instance_id == id => {
                Some((*status, output.to_json()))
            }
            _ => None,
        })
    }

    fn child(&self) -> InstanceId {
        let started = self.world.records.iter().find_map(|it| match &it.body {
            Body::ChildStarted { child, .. } => Some(*child),
            _ => None,
        });
        started.expect("a child is started")
    }
}

fn keeper(parent_close: &str) -> Arc<Machine> {
    machine(&KEEPER.replace("PARENT_CLOSE", parent_close))
}

#[test]
fn a_message_is_taken_once_and_answered_alike() {
    let mut town = Town::new(&[]);
    let talker = machine(TALKER);
    town.start(&talker, id(1), id(1));
    let heard = town.world.snapshot(id(1)).data.to_json();
    assert_eq!(heard, r#"{"heard":3}"#);
    let sent: Vec<(String, Value)> = town
        .world
        .records
        .iter()
        .filter_map(|it| match &it.body {
            Body::EffectCompleted { tree, path, value } if value.get("seq").is_some() => {
                Some((format!("{}.{tree}.{path}", id(1)), value.clone()))
            }
            _ => None,
        })
        .collect();
    assert_eq!(sent.len(), 3);
    // What an instance does by itself is nobody's act, and names what made it act.
    let taken: Vec<&Record> = town
        .world
        .records
        .iter()
        .filter(|it| matches!(it.body, Body::EventDeferred { .. }))
        .collect();
    assert_eq!(taken.len(), 3);
    for record in taken {
        let Header { actor, causation_id, .. } = &record.header;
        assert_eq!(*actor, Actor::engine());
        let cause = causation_id.as_ref().and_then(|it| it.split_once(':')).expect("a cause");
        let seq: u64 = cause.1.parse().expect("a number");
        let of =
            |it: &&Record| cause.0 == it.header.instance_id.to_string() && it.header.seq == seq;
        let cause = town.world.records.iter().find(of).expect("the cause is a record");
        assert_eq!(cause.body.kind(), "effect_scheduled");
    }
    // Whoever asks again in the same words is answered in the same words.
    for (key, value) in sent {
        let again = town.world.command(id(1), event_with_id("hello", &key));
        let accepted = again.lock().unwrap().take().unwrap().unwrap();
        assert!(accepted.replayed);
        assert_eq!(value.get("seq"), Some(&Value::Int(accepted.seq.cast_signed())));
    }
    assert_eq!(town.world.snapshot(id(1)).data.to_json(), heard);
}

#[test]
fn refusals_are_errors_of_the_sender() {
    for (peer, prepare, expected) in [
        (id(9), None, "not_found"),
        (id(2), None, "event_rejected unknown_event"),
        (id(2), Some(event("close")), "event_rejected invalid_state"),
    ] {
        let mut town = Town::new(&[]);
        town.start(&machine(COUNTER), id(2), id(2));
        if let Some(command) = prepare {
            town.world.command(id(2), command);
            town.rest();
        }
        town.start(&machine(TALKER), id(1), peer);
        let found = town.world.records.iter().find_map(|it| match &it.body {
            Body::EffectFailed { error, .. } => Some(match error.details.get("code") {
                Some(code) => format!("{} {}", error.code, code.as_str().unwrap_or_default()),
                None => error.code.to_string(),
            }),
            _ => None,
        });
        assert_eq!(found.as_deref(), Some(expected));
    }
}

/// Asks about another one.
const CURIOUS: &str = r#"
traaviis: "1"
name: Curious
version: 1.0.0
initial: asking
states:
  asking:
    invoke:
      - id: ask
        effect: {type: query_fsm, instance_id: "${input.peer}", select: SELECT}
        onDone: {target: done}
        onError: {target: bad}
  done: {type: final, output: "${event.data}"}
  bad: {type: final, output: "${event.data.code}"}
"#;

#[test]
fn a_query_reads_the_latest_state() {
    for (peer, select, expected) in [
        (id(2), "data.n + 1", "2"),
        (id(2), "[status, configuration[0]]", r#"["running","open"]"#),
        (id(2), "data.absent", r#""expression_error""#),
        (id(9), "data", r#""not_found""#),
    ] {
        let mut town = Town::new(&[]);
        town.start(&machine(COUNTER), id(2), id(2));
        town.world.command(id(2), event("bump"));
        town.rest();
        let before = town.kinds(id(2));
        let curious = machine(&CURIOUS.replace("SELECT", &format!("\"{select}\"")));
        town.start(&curious, id(1), peer);
        assert_eq!(town.end(id(1)), Some((Status::Completed, expected.into())), "{select}");
        assert_eq!(town.kinds(id(2)), before, "a query leaves no record");
    }
}

#[test]
fn a_message_waits_for_space_at_its_receiver() {
    let mut town = Town::new(&[]);
    town.start(&machine(COUNTER), id(2), id(2));
    let (_, reply) = answer();
    let command = event_with_id("bump", "m1");
    town.world.handle(Message::Deliver { ctx: ctx(), id: id(2), command, reply });
    town.world.refuse(LogError::Full);
    assert!(town.world.outside.appends.is_empty());
    town.world.pass(FULL_RETRY);
    town.rest();
    assert_eq!(town.world.snapshot(id(2)).data.to_json(), r#"{"fired":0,"n":1}"#);
}

#[test]
fn a_parent_that_waits_ends_with_the_output_of_its_child() {
    let mut town = Town::new(&[CHILD]);
    town.start(&keeper("cancel"), id(1), id(1));
    let child = town.child();
    let lineage = town.world.snapshot(child).lineage.clone().expect("a child has a parent");
    assert_eq!((lineage.parent_id, lineage.root_id, lineage.depth), (id(1), id(1), 1));
    for _ in 0..2 {
        town.world.outcome(Ok(Value::Null));
        town.rest();
    }
    assert_eq!(town.end(child), Some((Status::Completed, "5".into())));
    assert_eq!(town.end(id(1)), Some((Status::Completed, "5".into())));
    let kinds = town.kinds(id(1));
    assert_eq!(kinds.iter().filter(|it| it.starts_with("child_")).count(), 2, "{kinds:?}");
}

#[test]
fn what_cannot_be_started_fails_its_node() {
    let mut town = Town::new(&[]);
    town.start(&keeper("cancel"), id(1), id(1));
    assert_eq!(town.end(id(1)), Some((Status::Failed, r#""not_found""#.into())));
}

#[test]
fn children_follow_their_parent_as_it_was_agreed() {
    for (parent_close, terminate, expected) in [
        ("cancel", false, "cancelled after 1 calls"),
        ("cancel", true, "cancelled after 0 calls"),
        ("request_cancel", true, "cancelled after 1 calls"),
        ("abandon", true, "goes on"),
    ] {
        let mut town = Town::new(&[CHILD]);
        town.start(&keeper(parent_close), id(1), id(1));
        // The child has done something that can be undone.
        town.world.outcome(Ok(Value::Null));
        town.rest();
        town.world.outside.calls.clear();
        town.world.command(id(1), Command::Cancel { terminate, reason: None });
        town.rest();
        let mut undone = 0;
        while town.end(town.child()).is_none() && !town.world.outside.calls.is_empty() {
            town.world.outcome(Ok(Value::Null));
            town.rest();
            undone += 1;
        }
        let found = match town.end(town.child()) {
            Some((status, _)) => format!("{} after {undone} calls", status.as_str()),
            None => "goes on".into(),
        };
        assert_eq!(found, expected, "{parent_close} {terminate}");
    }
}

#[test]
fn a_child_that_its_parent_does_not_list_ends() {
    let mut town = Town::new(&[CHILD]);
    town.world.start_as(&ctx(), &keeper("cancel"), id(1), Value::empty_map());
    town.world.commit_all();
    let (_, start) = town.letters.take().expect("the start of the child is on its way");
    // The parent ends before it arrives.
    town.world.command(id(1), event("stop"));
    town.rest();
    town.world.handle(start);
    town.rest();
    assert_eq!(town.end(town.child()).map(|it| it.0), Some(Status::Cancelled));
}

#[test]
fn a_start_of_a_child_waits_for_space() {
    let mut town = Town::new(&[CHILD]);
    town.world.start_as(&ctx(), &keeper("cancel"), id(1), Value::empty_map());
    town.world.commit_all();
    let (_, start) = town.letters.take().expect("the start of the child is on its way");
    town.world.handle(start);
    town.world.refuse(LogError::Full);
    assert!(town.world.outside.appends.is_empty());
    town.world.pass(FULL_RETRY);
    assert_eq!(town.world.commit(), "document_put");
    town.world.refuse(LogError::Full);
    assert!(town.world.outside.appends.is_empty());
    town.world.pass(FULL_RETRY);
    town.rest();
    assert_eq!(&*town.world.snapshot(town.child()).workflow, "Child");
}

/// Sends an event and waits for what follows.
const INVOKER: &str = r#"
traaviis: "1"
name: Invoker
version: 1.0.0
initial: asking
states:
  asking:
    invoke:
      - id: ask
        effect: {type: invoke_fsm, instance_id: "${input.peer}", event: EVENT, until: UNTIL}
        onDone: {target: done}
        onError: {target: bad}
  done: {type: final, output: "${event.data.state + ' ' + event.data.status}"}
  bad: {type: final, output: "${event.data.code}"}
"#;

fn invoker(event: &str, until: &str) -> Arc<Machine> {
    machine(&INVOKER.replace("EVENT", event).replace("UNTIL", until))
}

#[test]
fn who_invokes_another_one_waits_until_it_is_there() {
    for (sent, until, then, expected) in [
        ("bump", "step", None, Some("open running")),
        ("wait", "waiting", None, Some("waiting running")),
        ("wait", "done", None, None),
        ("wait", "done", Some("close"), Some("done completed")),
        ("close", "final", None, Some("done completed")),
        ("bump", "final", None, None),
        ("bump", "final", Some("close"), Some("done completed")),
        ("dance", "final", None, Some("event_rejected")),
    ] {
        let mut town = Town::new(&[]);
        town.start(&machine(COUNTER), id(2), id(2));
        town.start(&invoker(sent, until), id(1), id(2));
        if let Some(event_sent) = then {
            town.world.command(id(2), event(event_sent));
            town.rest();
        }
        let found = town.end(id(1)).map(|it| it.1.trim_matches('"').to_string());
        assert_eq!(found.as_deref(), expected, "{sent} until {until}");
    }
    let mut town = Town::new(&[]);
    town.start(&invoker("bump", "step"), id(1), id(9));
    assert_eq!(town.end(id(1)).map(|it| it.1), Some(r#""not_found""#.into()));
}

#[test]
fn a_broadcast_reaches_every_open_instance_that_fits_once() {
    let caller = r#"
traaviis: "1"
name: Crier
version: 1.0.0
initial: crying
events: {bump: {}}
states:
  crying:
    invoke:
      - id: cry
        effect: {type: broadcast_event, event: bump, match: MATCH}
        onDone: {target: done}
  done: {type: final, output: "${event.data.count}"}
"#;
    for (to, expected) in [
        ("{workflow: counter}", "2"),
        ("{workflow: Counter, state: waiting}", "1"),
        ("{tag: big}", "1"),
        ("{tag: big, state: waiting}", "0"),
        ("{workflow: Absent}", "0"),
        ("{}", "2"),
    ] {
        let mut town = Town::new(&[]);
        let crier = machine(&caller.replace("MATCH", to));
        for number in 2..5 {
            town.start(&machine(COUNTER), id(number), id(number));
        }
        let tag = Operation::Tag { add: ["big".into()].into(), remove: [].into() };
        town.world.command(id(2), Command::Operate(tag));
        town.world.command(id(3), event("wait"));
        town.world.command(id(4), event("close"));
        town.rest();
        town.start(&crier, id(1), id(1));
        assert_eq!(town.end(id(1)), Some((Status::Completed, expected.into())), "{to}");
    }
}

#[test]
fn a_child_has_the_tags_that_its_parent_gives_it() {
    for (given, expected) in [
        ("[rush, '${workflow.name}']", Ok("Keeper, child, rush")),
        ("[]", Ok("child")),
        ("['']", Err("validation_failed")),
        ("'${[1]}'", Err("validation_failed")),
    ] {
        let child = CHILD.replace("initial: ", "tags: [child]\ninitial: ");
        let keeper = KEEPER
            .replace("wait: true", &format!("wait: true, tags: {given}"))
            .replace("PARENT_CLOSE", "cancel");
        let mut town = Town::new(&[&child]);
        town.start(&machine(&keeper), id(1), id(1));
        town.rest();
        let created = town.world.records.iter().find_map(|it| match &it.body {
            Body::Created { workflow, tags, .. } if &**workflow == "Child" => Some(tags),
            _ => None,
        });
        let found: Option<Vec<&str>> = created.map(|it| it.iter().map(|it| &**it).collect());
        match expected {
            Ok(tags) => assert_eq!(found.map(|it| it.join(", ")).as_deref(), Some(tags)),
            Err(code) => {
                assert_eq!(found, None, "{given}");
                assert_eq!(town.end(id(1)).map(|it| it.1), Some(format!("{code:?}")));
            }
        }
    }
}

#[test]
fn a_child_counts_as_started_by_whoever_started_its_parent() {
    let keeper = KEEPER.replace("PARENT_CLOSE", "cancel");
    let mut town = Town::new(&[CHILD]);
    town.start(&machine(&keeper), id(1), id(1));
    town.rest();
    let created = town.world.records.iter().filter_map(|it| match &it.body {
        Body::Created { workflow, created_by, .. } => Some((&**workflow, created_by.as_deref()?)),
        _ => None,
    });
    let starter = ctx().actor().text();
    let created: Vec<(&str, &str)> = created.collect();
    assert_eq!(created, [("Keeper", &*starter), ("Child", &*starter)]);
}

#[test]
fn a_broadcast_to_too_many_reaches_nobody() {
    let mut town = Town::new(&[]);
    let counter = machine(COUNTER);
    for number in 0..=BROADCAST_RECEIVERS_MAX as u128 {
        town.world.start_as(&ctx(), &counter, id(10 + number), Value::empty_map());
    }
    town.rest();
    let crier = r#"
traaviis: "1"
name: Crier
version: 1.0.0
initial: crying
events: {bump: {}}
states:
  crying:
    invoke:
      - id: cry
        effect: {type: broadcast_event, event: bump, match: {workflow: Counter}}
        onError: {target: bad}
  bad: {type: final, output: "${event.data.code}"}
"#;
    town.start(&machine(crier), id(1), id(1));
    assert_eq!(town.end(id(1)).map(|it| it.1), Some(r#""too_many_receivers""#.into()));
    assert_eq!(town.world.snapshot(id(10)).data.to_json(), r#"{"fired":0,"n":0}"#);
}
