//! Events of the command line: read, refused, and those that a run did not take.

use traaviis_engine::Machine;
use traaviis_model::{Body, Record, Value, record::EventSource};

use crate::{
    exit::{Exit, Failure},
    input,
    terminal::clip,
};

/// An event from the command line.
pub(super) struct Event {
    /// Name.
    pub name: String,
    /// Payload.
    pub data: Value,
}

/// Reads `NAME` or `NAME=JSON`.
pub(super) fn event(text: &str) -> Result<Event, Failure> {
    let (name, data) = match text.split_once('=') {
        Some((name, data)) => (name, input::json(data, &format!("the payload of `{name}`"))?),
        None => (text, Value::Null),
    };
    Ok(Event { name: name.to_string(), data })
}

/// Refuses an event that the workflow never takes, before anything is begun.
pub(super) fn declared(machine: &Machine, event: &Event) -> Result<(), Failure> {
    if machine.takes_event(&event.name) {
        return Ok(());
    }
    let definition = machine.definition();
    let mut names = definition.events.iter().filter(|it| !it.internal).map(|it| &*it.name);
    let known = match names.next() {
        None => "it declares none".to_string(),
        Some(first) => {
            let mut known: Vec<&str> = std::iter::once(first).chain(names).collect();
            known.sort_unstable();
            format!("declared are: {}", known.join(", "))
        }
    };
    let name = clip(&event.name, 120);
    let message = format!(
        "event `{name}` is not declared in workflow `{}`; {known}; nothing was run",
        definition.name
    );
    Err(Failure::new(Exit::Usage, "unknown_event", message))
}

/// Returns the events that are still to be received after a record of a finished run.
pub(super) fn left_after<'a>(left: &'a [Event], record: &Record) -> &'a [Event] {
    let (Body::EventReceived { event, source: EventSource::External, .. }
    | Body::EventIgnored { event, .. }
    | Body::EventDeferred { event, .. }) = &record.body
    else {
        return left;
    };
    match left {
        [first, rest @ ..] if first.name == **event => rest,
        _ => left,
    }
}

/// Tells which events were not taken.
pub(super) fn unsent_text(unsent: &[&str]) -> String {
    let names: Vec<String> = unsent.iter().map(|it| format!("`{it}`")).collect();
    format!("the run ended before it took {}", names.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_carry_json_or_nothing() {
        assert_eq!(event("go").unwrap().data, Value::Null);
        assert_eq!(event(r#"go={"a":1}"#).unwrap().data.to_json(), r#"{"a":1}"#);
        assert_eq!(event("go={").err().unwrap().exit, Exit::Usage);
    }
}
