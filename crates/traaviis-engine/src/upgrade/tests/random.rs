//! Random charts, histories and edits: an instance that is classed safe goes on without any error.

use std::sync::Arc;

use proptest::prelude::*;
use traaviis_model::{Body, InstanceId, Record, Snapshot, TenantCtx, Timestamp, Value};

use crate::{
    Machine,
    step::{Input, start, step},
    tests::{
        chart::{chart, edited},
        context,
        reference::{bytes, machine},
    },
    upgrade::{Class, classify, roll_back, upgrade},
};

/// Sends an event; the refusals are those of any instance.
fn send(machine: &Machine, state: &mut Arc<Snapshot>, records: &mut Vec<Record>, event: &str) {
    let input = Input::Event { event: event.into(), data: Value::Null, id: None };
    match step(machine, state, input, &context(Timestamp(0))) {
        Ok(step) => {
            let warned = step.records.iter().find(|it| matches!(it.body, Body::Warning { .. }));
            assert!(warned.is_none(), "{warned:?}");
            *state = step.snapshot;
            assert_eq!(machine.misfit(&machine.active_in(state), 0), None, "{}", state.state());
            records.extend(step.records);
        }
        Err(why) => {
            let known = ["event_not_accepted", "macrostep_overrun", "instance_finished"];
            assert!(known.contains(&why.code), "{why:?}");
        }
    }
}

fn begun(machine: &Machine) -> Option<(Arc<Snapshot>, Vec<Record>)> {
    let (ctx, id) = (TenantCtx::for_test(1), InstanceId(uuid::Uuid::nil()));
    let begun = start(machine, &ctx, id, Value::empty_map(), &context(Timestamp(0))).ok()?;
    Some((begun.snapshot, begun.records))
}

/// Were most instances refused, the test below would say nothing.
#[test]
fn many_random_instances_are_safe() {
    let mut safe = 0;
    for seed in 0..200 {
        let (chart, _) = chart(&bytes(seed, 300));
        let (Ok(old), Ok(new)) = (machine(&chart), machine(&edited(&chart, &bytes(seed, 40))))
        else {
            continue;
        };
        let Some((state, _)) = begun(&old) else { continue };
        safe += usize::from(matches!(classify(&old, &new, &state), Class::Safe(_)));
    }
    assert!(safe > 60, "{safe} of 200");
}

proptest! {
    // As many cases as `PROPTEST_CASES` says.

    #[test]
    fn a_safe_instance_goes_on_without_error(
        bytes in proptest::collection::vec(any::<u8>(), 0..300),
        edit in proptest::collection::vec(any::<u8>(), 0..60),
    ) {
        let (chart, events) = chart(&bytes);
        let (Ok(old), Ok(new)) = (machine(&chart), machine(&edited(&chart, &edit))) else {
            return Ok(());
        };
        let Some((mut state, mut records)) = begun(&old) else { return Ok(()) };
        let (before, after) = events.split_at(events.len() / 2);
        before.iter().for_each(|it| send(&old, &mut state, &mut records, it));
        let class = classify(&old, &new, &state);
        let taken = upgrade(&old, &new, &state, &context(Timestamp(0)));
        prop_assert_eq!(matches!(class, Class::Safe(_)), taken.is_ok(), "{:?}", taken);
        let Ok(taken) = taken else { return Ok(()) };
        let back = roll_back(&old, &taken.snapshot, &context(Timestamp(0))).unwrap().snapshot;
        prop_assert_eq!(&back.configuration, &state.configuration);
        prop_assert_eq!(&back.history, &state.history);
        state = taken.snapshot;
        records.extend(taken.records);
        prop_assert_eq!(new.misfit(&new.active_in(&state), 0), None);
        after.iter().for_each(|it| send(&new, &mut state, &mut records, it));
        let replayed = crate::replay_versions(&[&old, &new], &records, None);
        let replayed = replayed.map_err(|why| TestCaseError::fail(why.to_string()))?;
        prop_assert_eq!(replayed.unwrap().canonical(), state.canonical());
    }

    #[test]
    fn a_version_with_other_names_does_the_same(
        bytes in proptest::collection::vec(any::<u8>(), 0..300),
    ) {
        let (chart, events) = chart(&bytes);
        let mut renamed = chart.clone();
        (renamed.letter, renamed.version) = ('t', "2.0.0");
        let (Ok(old), Ok(new)) = (machine(&chart), machine(&renamed)) else { return Ok(()) };
        let Some((mut stays, mut records)) = begun(&old) else { return Ok(()) };
        let (before, after) = events.split_at(events.len() / 2);
        before.iter().for_each(|it| send(&old, &mut stays, &mut records, it));
        if stays.status.is_finished() {
            return Ok(());
        }
        let taken = upgrade(&old, &new, &stays, &context(Timestamp(0)));
        let mut goes = taken.map_err(|why| TestCaseError::fail(why.to_string()))?.snapshot;
        for event in after {
            send(&old, &mut stays, &mut records, event);
            send(&new, &mut goes, &mut Vec::new(), event);
            let names: Vec<String> =
                stays.configuration.iter().map(|it| it.replace('s', "t")).collect();
            let states: Vec<String> = goes.configuration.iter().map(ToString::to_string).collect();
            prop_assert_eq!(names, states);
            prop_assert_eq!(&stays.data, &goes.data);
            prop_assert_eq!(stays.status, goes.status);
        }
    }
}
