//! Random charts, with and without a region beside one of their states: what was there does the
//! same.
//!
//! Every candidate of these charts leaves a state. One that leaves none conflicts with nothing, so
//! beside a region it is taken through the region's state together with what an inner state takes,
//! as between the regions of every parallel state.

use std::sync::Arc;

use std::collections::BTreeSet;

use proptest::prelude::*;
use serde_json::{Value as Json, json};
use traaviis_model::{InstanceId, Snapshot, TenantCtx, Timestamp, Value};

use super::{Documents, Format, document, read};
use crate::{
    Machine,
    expand::wrap::{ALL, MAIN},
    step::{Input, start, step},
    tests::{
        chart::{Chart, Kind, State, chart},
        context,
        reference::bytes,
    },
};

/// Returns where a component is put, of all places that could take it; none for the document.
fn place(chart: &Chart, byte: u8) -> Option<usize> {
    // A parallel state around is done only when the region is, too.
    let has_room = |at: &usize| {
        let (state, parent) = (&chart.states[*at], &chart.states[chart.states[*at].parent]);
        let is_open = matches!(state.kind, Kind::Atomic | Kind::Compound { .. });
        is_open && parent.kind != Kind::Parallel
    };
    let places: Vec<usize> = (1..chart.states.len()).filter(has_room).collect();
    places.get(usize::from(byte) % (places.len() + 1)).copied()
}

/// Returns the document of a chart, each candidate with a target: its own state where it had none.
fn document_of(chart: &Chart) -> Json {
    fn leave(candidates: &mut Json, path: &str) {
        for it in candidates.as_array_mut().into_iter().flatten() {
            let it = it.as_object_mut().unwrap();
            it.remove("reenter");
            it.entry("target").or_insert_with(|| json!([format!("#{path}")]));
        }
    }
    fn states(state: &mut Json, path: &str) {
        for key in ["always", "onDone"] {
            state.get_mut(key).into_iter().for_each(|it| leave(it, path));
        }
        let on = state.get_mut("on").and_then(Json::as_object_mut);
        on.into_iter().flatten().for_each(|(_, it)| leave(it, path));
        let below = state.get_mut("states").and_then(Json::as_object_mut);
        for (name, child) in below.into_iter().flatten() {
            states(child, &if path.is_empty() { name.clone() } else { format!("{path}.{name}") });
        }
    }
    let mut text: Json = serde_json::from_str(&chart.document()).unwrap();
    states(&mut text, "");
    text
}

/// Compiles the chart with a component beside a state.
fn with_region(chart: &Chart, at: Option<usize>) -> Result<Machine, String> {
    let mut text = document_of(chart);
    text["components"] = json!([{ "use": "Inert", "as": "w", "mode": "region" }]);
    if let Some(at) = at {
        text["components"][0]["at"] = json!(chart.path(at));
    }
    let inert = "{traaviis: \"1\", kind: component, name: Inert, version: 1.0.0, initial: i, states: {i: {}}}";
    let inert = document::read_tree(inert, Format::Yaml).unwrap();
    compile(&text, &Documents(vec![("inert".into(), inert)]))
}

fn compile(text: &Json, shelf: &Documents) -> Result<Machine, String> {
    let read = read(&text.to_string(), Format::Json, shelf);
    let shown = |found: &[traaviis_model::Diagnostic]| {
        found.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
    };
    let definition = read.definition.ok_or_else(|| shown(&read.diagnostics))?;
    Machine::compile(definition.into()).map_err(|found| shown(&found))
}

/// What an instance is, in the paths of the chart.
fn seen(snapshot: &Snapshot, at: Option<String>) -> (BTreeSet<String>, Value, &'static str) {
    let top = at.unwrap_or_else(|| ALL.into());
    let leaf = |path: &str| -> Option<String> {
        let Some(below) = path.strip_prefix(&format!("{top}.")) else { return Some(path.into()) };
        let rest = below.strip_prefix(MAIN)?;
        Some(match (&*top == ALL, rest.strip_prefix('.')) {
            (true, Some(rest)) => rest.into(),
            (_, _) => format!("{top}{rest}"),
        })
    };
    let leaves = snapshot.configuration.iter().filter_map(|it| leaf(it)).collect();
    let n = snapshot.data.get("n").cloned().unwrap_or_default();
    (leaves, n, snapshot.status.as_str())
}

fn differs(chart: &Chart, at: Option<usize>, events: &[&str]) -> Result<bool, String> {
    // A history of the state itself is one of a region afterwards, and remembers what the state's
    // own candidates leave: they leave the region, and did not leave the state.
    let is_of_place =
        |it: &State| it.parent == at.unwrap_or(0) && matches!(it.kind, Kind::History { .. });
    if chart.states[1..].iter().any(is_of_place) {
        return Ok(false);
    }
    let Ok(plain) = compile(&document_of(chart), &Documents(Vec::new())) else { return Ok(false) };
    let beside = match with_region(chart, at) {
        Ok(beside) => beside,
        Err(why) if why.contains("starts in a final state") => return Ok(false),
        Err(why) => return Err(why),
    };
    let at = at.map(|it| chart.path(it));
    let (ctx, id) = (TenantCtx::for_test(1), InstanceId(uuid::Uuid::nil()));
    let begin = |machine: &Machine| {
        start(machine, &ctx, id, Value::empty_map(), &context(Timestamp(0)))
            .map(|it| it.snapshot)
            .map_err(|it| it.code)
    };
    let (mut one, mut other) = match (begin(&plain), begin(&beside)) {
        (Ok(one), Ok(other)) => (one, other),
        (Err(one), Err(other)) if one == other => return Ok(false),
        (one, other) => return Err(format!("start: {one:?} but {other:?}")),
    };
    for event in ["start"].iter().chain(events) {
        if *event != "start" {
            let send = |machine: &Machine, state: &mut Arc<Snapshot>| {
                let input = Input::Event { event: (*event).into(), data: Value::Null, id: None };
                let step = step(machine, state, input, &context(Timestamp(0)));
                step.map(|it| *state = it.snapshot).map_err(|it| it.code)
            };
            let (taken, also) = (send(&plain, &mut one), send(&beside, &mut other));
            if taken != also {
                return Err(format!("{event}: {taken:?} but {also:?}"));
            }
        }
        let (is, should) = (seen(&other, at.clone()), seen(&one, Some("-".into())));
        if is != should {
            return Err(format!("after {event}: {is:?} but {should:?}"));
        }
    }
    Ok(true)
}

proptest! {
    // As many cases as `PROPTEST_CASES` says.
    #[test]
    fn a_region_changes_nothing_of_what_was_there(
        bytes in proptest::collection::vec(any::<u8>(), 0..400),
        at in any::<u8>(),
    ) {
        let (chart, events) = chart(&bytes);
        let at = place(&chart, at);
        if let Err(why) = differs(&chart, at, &events) {
            let at = at.map(|it| chart.path(it));
            prop_assert!(false, "{why}\nat {at:?}, events {events:?}\n{}", chart.document());
        }
    }
}

/// Were most charts refused, the test above would say nothing.
#[test]
fn most_random_charts_take_a_region() {
    let taken = (0..200).filter(|seed| {
        let (chart, events) = chart(&bytes(*seed, 400));
        differs(&chart, place(&chart, (seed % 251) as u8), &events) == Ok(true)
    });
    let taken = taken.count();
    assert!(taken > 100, "{taken} of 200");
}
