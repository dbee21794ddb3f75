//! W208: declared events that nothing uses; W211: subscriptions that deliver nothing.

use std::collections::BTreeSet;

use traaviis_model::{Diagnostic, Value, definition::Effect};

use super::{chart::Chart, warning};
use crate::machine::{ActionKind, Descriptor, EventName};

pub(super) fn check(chart: &Chart<'_>, found: &mut Vec<Diagnostic>) {
    let subscriptions = &chart.machine.subscriptions;
    for (at, subscription) in subscriptions.iter().enumerate() {
        if let Some((pointer, message)) = subscription.never(&subscriptions[..at]) {
            let hint = "an event arrives by the first subscription that fits; remove this one";
            found.push(warning("W211", pointer, message, hint));
        }
    }
    let takers = Takers::of(chart);
    let raised = raised(chart);
    let emitted = emitted(chart);
    // Of a family nobody can say which events it stands for.
    let events = chart.machine.definition().events.iter().filter(|it| !it.name.ends_with('*'));
    for event in events {
        let name = &*event.name;
        let is_taken = takers.take(name);
        let (message, hint) = match (event.internal, is_taken, raised.contains(name)) {
            (true, true, false) => (
                format!("internal event `{name}` is never raised, so nothing of `on` takes it"),
                "raise it, or remove `source: internal` if callers send it",
            ),
            (_, false, true) => (
                format!("event `{name}` is raised, but no state takes it"),
                "take it under `on` of a state, or remove it",
            ),
            // An event that merges its payload or is published does something even so.
            (_, false, false) if !event.merge && !emitted.contains(name) => (
                format!("event `{name}` is declared, but nothing uses it"),
                "take it under `on` of a state, or remove the declaration",
            ),
            _ => continue,
        };
        found.push(warning("W208", &*event.pointer, message, hint));
    }
}

/// The descriptors under which states take events.
struct Takers<'m> {
    exact: BTreeSet<&'m str>,
    prefixes: BTreeSet<&'m str>,
    any: bool,
}

impl<'m> Takers<'m> {
    fn of(chart: &Chart<'m>) -> Takers<'m> {
        let mut takers = Takers { exact: BTreeSet::new(), prefixes: BTreeSet::new(), any: false };
        for (descriptor, _) in chart.states().flat_map(|state| &chart.def(state).on) {
            match descriptor {
                Descriptor::Exact(name) => drop(takers.exact.insert(name)),
                Descriptor::Prefix(prefix) => drop(takers.prefixes.insert(prefix)),
                Descriptor::Any => takers.any = true,
            }
        }
        let invokes = chart.states().filter_map(|it| chart.written(it)).flat_map(|it| &it.invoke);
        let named = chart.machine.definition().effects.iter().map(|it| &it.effect);
        for effect in invokes.map(|it| &it.effect).chain(named) {
            takers.wait(effect);
        }
        takers
    }

    /// Adds what effects wait for.
    fn wait(&mut self, effect: &'m Effect) {
        if &*effect.kind == "wait_signal" {
            let names = effect.param("events").and_then(Value::as_list).unwrap_or_default();
            for name in names.iter().chain(effect.param("event")).filter_map(Value::as_str) {
                match name.strip_suffix(".*") {
                    Some(prefix) => self.prefixes.insert(prefix),
                    None => self.exact.insert(name),
                };
            }
        }
        effect.parts().into_iter().for_each(|it| self.wait(it));
    }

    fn take(&self, name: &str) -> bool {
        let mut starts = name.match_indices('.').map(|(at, _)| &name[..at]);
        self.any
            || self.exact.contains(name)
            || self.prefixes.contains(name)
            || starts.any(|it| self.prefixes.contains(it))
    }
}

/// Returns the events that actions raise.
pub(super) fn raised<'m>(chart: &Chart<'m>) -> BTreeSet<&'m str> {
    let mut raised = BTreeSet::new();
    for action in chart.actions() {
        match &action.kind {
            ActionKind::Raise { event: EventName::Literal(event), .. } => {
                raised.insert(&**event);
            }
            // A computed name can be that of any declared event.
            ActionKind::Raise { event: EventName::Computed(_), .. } => {
                raised.extend(chart.machine.definition().events.iter().map(|it| &*it.name));
            }
            _ => {}
        }
    }
    raised
}

fn emitted<'m>(chart: &Chart<'m>) -> BTreeSet<&'m str> {
    fn of<'m>(effect: &'m Effect, into: &mut BTreeSet<&'m str>) {
        if &*effect.kind == "emit" {
            into.extend(effect.param("event").and_then(Value::as_str));
        }
        effect.parts().into_iter().for_each(|it| of(it, into));
    }
    let event = |it: &'m ActionKind| match it {
        ActionKind::Emit { event, .. } => Some(&**event),
        _ => None,
    };
    let mut found: BTreeSet<&str> =
        chart.actions().iter().filter_map(|it| event(&it.kind)).collect();
    for invoke in chart.states().filter_map(|it| chart.written(it)).flat_map(|it| &it.invoke) {
        of(&invoke.effect, &mut found);
    }
    for named in &chart.machine.definition().effects {
        of(&named.effect, &mut found);
    }
    found
}
