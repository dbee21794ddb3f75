//! What must hold for any bytes: the bodies of the fuzz targets.
//!
//! Each function takes bytes from anywhere and panics when a promise is broken. `targets/` drives
//! them with libFuzzer, `tests/seeds.rs` with the seeds and mutations of them, in every test run.

use std::sync::Arc;

use traaviis_engine::{
    Machine, StepContext,
    expr::{Env, Expr, Scope, Template, Var},
    replay, start,
};
use traaviis_model::{
    Actor, InstanceId, Record, Snapshot, TenantCtx, Timestamp, Value,
    document::{self, Format},
    record::{peek_line, write_lines},
};

/// A workflow document: it is refused with diagnostics, or it is stored, read again, compiled and
/// started, and its first step replays.
pub fn document(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    for format in [Format::Yaml, Format::Json] {
        let read = document::read(text, format);
        let Some(definition) = read.definition else {
            assert!(!read.diagnostics.is_empty(), "refused without a reason");
            continue;
        };
        let again = document::read_value(&definition.document);
        let stored = again.definition.expect("what was accepted is accepted again");
        assert_eq!(stored.hash, definition.hash, "a stored definition is another one");
        // Whatever is told about it, it is told without a panic.
        Machine::analyse(&definition);
        match Machine::compile(Arc::new(definition)) {
            Ok(machine) => first_step(&machine),
            Err(diagnostics) => assert!(!diagnostics.is_empty(), "refused without a reason"),
        }
    }
}

fn first_step(machine: &Machine) {
    let now = Timestamp(1_772_875_815_250_000);
    let context = StepContext { start_slots: 8, ..StepContext::new(now, Actor::local()) };
    let id: InstanceId = "00000000-0000-0000-0000-000000000007".parse().expect("an id");
    let begun = start(machine, &TenantCtx::for_test(9), id, Value::empty_map(), &context);
    let Ok(step) = begun else { return };
    let replayed = replay(machine, &step.records).expect("a step replays");
    assert!(replayed.as_ref() == Some(&step.snapshot), "a replay gives another state");
    let mut lines = Vec::new();
    write_lines(&step.records, &mut lines);
    record(&lines);
}

/// An expression and a template: refused, or evaluated twice within its budget to the same value.
pub fn expression(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let scope = Scope::EVERYWHERE.union(Scope::EVENT);
    let same = |a: &dyn std::fmt::Debug, b: &dyn std::fmt::Debug| {
        assert_eq!(format!("{a:?}"), format!("{b:?}"), "another value the second time");
    };
    if let Ok(expr) = Expr::parse(text, scope) {
        same(&expr.eval(&World), &expr.eval(&World));
    }
    if let Ok(template) = Template::compile_text(text, scope) {
        same(&template.render(&World), &template.render(&World));
    }
}

/// What expressions see.
struct World;

impl Env for World {
    fn var(&self, var: Var) -> Option<Value> {
        match var {
            Var::Data | Var::Event | Var::Input => Some(Value::map([
                ("n", Value::Int(7)),
                ("f", Value::Float(0.5)),
                ("s", Value::from("häßlich 7")),
                ("l", Value::List(Arc::new(vec![Value::Int(1), Value::Null, Value::from("x")]))),
                ("m", Value::map([("k", Value::Bool(true))])),
                ("at", Value::from("2026-03-07T09:30:15.25Z")),
            ])),
            Var::Now => Some(Value::Time(Timestamp(1_772_875_815_250_000))),
            _ => None,
        }
    }

    fn random_seed(&self) -> (u64, u64) {
        (1, 2)
    }
}

/// Lines of a history: each is refused, or written again it reads as the same record; folding them
/// is an error or a state.
pub fn record(bytes: &[u8]) {
    let mut snapshot: Option<Snapshot> = None;
    for line in bytes.split(|it| *it == b'\n') {
        let Ok(record) = Record::read_line(line) else { continue };
        let mut written = Vec::new();
        record.write_line(&mut written);
        let again = Record::read_line(&written).expect("what was written can be read");
        let mut rewritten = Vec::new();
        again.write_line(&mut rewritten);
        assert!(written == rewritten, "a record changes when it is written again");
        let key = peek_line(&written).expect("a line has a key");
        assert_eq!(key.seq, record.header.seq);
        match &mut snapshot {
            None => snapshot = Snapshot::create(&record).ok(),
            // A record that does not follow is refused; the state may be half changed, and nobody
            // goes on with it.
            Some(state) => {
                if state.apply(&record).is_err() {
                    return;
                }
            }
        }
    }
    if let Some(state) = snapshot {
        let text = state.canonical();
        let read: Snapshot = serde_json::from_slice(&text).expect("a state can be read back");
        assert!(read.canonical() == text, "a state changes when it is read back");
    }
}

/// Bytes of a segment: they are refused, or they are a frame whose lines have the stated length.
pub fn frame(bytes: &[u8]) {
    traaviis_store::fuzz_decode(bytes);
}
