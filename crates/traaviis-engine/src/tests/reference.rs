//! The engine against a naive interpreter of the same algorithm, over random charts and events.
//!
//! A failure prints the document and the events, shrunk; the bytes in `proptest-regressions` and
//! the seed that proptest prints make it again.

use std::sync::Arc;

use proptest::prelude::*;
use traaviis_model::{
    Diagnostic, InstanceId, Snapshot, TenantCtx, Timestamp, Value,
    document::{self, Format},
    record::Status,
};

use super::{
    chart::{Chart, chart},
    context,
    interpreter::{Interpreter, Overrun},
};
use crate::{
    Machine,
    step::{Input, start, step},
};

/// Compiles a chart; some have a cycle of `always`, or targets that cannot be active together.
pub(crate) fn machine(chart: &Chart) -> Result<Machine, Vec<Diagnostic>> {
    let read = document::read(&chart.document(), Format::Json);
    let definition = read.definition.ok_or(read.diagnostics)?;
    Machine::compile(Arc::new(definition))
}

/// What both must agree about.
#[derive(Debug, PartialEq)]
struct Seen {
    configuration: Vec<String>,
    n: i64,
    status: Status,
}

fn seen(snapshot: &Snapshot) -> Seen {
    Seen {
        configuration: snapshot.configuration.iter().map(ToString::to_string).collect(),
        n: snapshot.data.get("n").and_then(Value::as_i64).unwrap_or(-1),
        status: snapshot.status,
    }
}

fn expected(chart: &Chart, interpreter: &Interpreter<'_>) -> Seen {
    let leaves = interpreter.configuration.iter().filter(|it| chart.children(**it).is_empty());
    Seen {
        configuration: leaves.map(|it| chart.path(*it)).collect(),
        n: interpreter.n,
        status: match interpreter.ended {
            None => Status::Running,
            Some(false) => Status::Completed,
            Some(true) => Status::Failed,
        },
    }
}

/// Runs both; the text says where they differ.
fn differs(chart: &Chart, events: &[&str]) -> Result<(), String> {
    let Ok(machine) = machine(chart) else { return Ok(()) };
    let (ctx, id) = (TenantCtx::for_test(1), InstanceId(uuid::Uuid::nil()));
    let begun = start(&machine, &ctx, id, Value::empty_map(), &context(Timestamp(0)));
    let (mut snapshot, mut interpreter) = match (begun, Interpreter::start(chart)) {
        (Ok(begun), Ok(interpreter)) => (begun.snapshot, interpreter),
        (Err(why), Err(Overrun)) if why.code == "macrostep_overrun" => return Ok(()),
        (begun, reference) => {
            return Err(format!("start: {:?} but {reference:?}", begun.map(|it| it.snapshot)));
        }
    };
    for (at, event) in ["start"].iter().chain(events).enumerate() {
        if at > 0 && interpreter.ended.is_none() {
            let before = interpreter.clone();
            let input = Input::Event { event: (*event).into(), data: Value::Null, id: None };
            let taken = step(&machine, &snapshot, input, &context(Timestamp(0)));
            match (taken, interpreter.send(event)) {
                (Ok(step), Ok(true)) => snapshot = step.snapshot,
                (Err(why), Ok(false)) if why.code == "event_not_accepted" => {}
                (Err(why), Err(Overrun)) if why.code == "macrostep_overrun" => interpreter = before,
                (taken, reference) => {
                    let taken = taken.map(|it| it.snapshot);
                    return Err(format!("event {at} `{event}`: {taken:?} but {reference:?}"));
                }
            }
        }
        let (is, should) = (seen(&snapshot), expected(chart, &interpreter));
        if is != should {
            return Err(format!("after {at} `{event}`:\n engine    {is:?}\n reference {should:?}"));
        }
    }
    Ok(())
}

proptest! {
    // As many cases as `PROPTEST_CASES` says.
    #[test]
    fn the_engine_does_what_scxml_says(
        bytes in proptest::collection::vec(any::<u8>(), 0..400),
    ) {
        let (chart, events) = chart(&bytes);
        if let Err(why) = differs(&chart, &events) {
            prop_assert!(false, "{why}\nevents {events:?}\n{}", chart.document());
        }
    }
}

/// Returns bytes that look random, the same for the same seed.
pub(crate) fn bytes(seed: u64, count: usize) -> Vec<u8> {
    let mut next = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    std::iter::repeat_with(|| {
        next = next.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (next >> 56) as u8
    })
    .take(count)
    .collect()
}

/// Were most charts refused, or did most never move, the test above would say nothing.
#[test]
fn most_random_charts_compile_and_move() {
    let (mut compiled, mut moved) = (0, 0);
    for seed in 0..300 {
        let (chart, events) = chart(&bytes(seed, 400));
        compiled += usize::from(machine(&chart).is_ok());
        let Ok(mut interpreter) = Interpreter::start(&chart) else { continue };
        let is_open = interpreter.ended.is_none();
        moved += usize::from(is_open && events.iter().any(|it| interpreter.send(it) == Ok(true)));
    }
    assert!(compiled > 200 && moved > 100, "{compiled} compiled, {moved} moved, of 300");
}
