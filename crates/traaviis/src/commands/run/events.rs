//! Events of the command line: read, refused, and those that a run did not take.

use traaviis_engine::Machine;
use traaviis_model::{Body, InstanceId, Record, Text, Value, record::EventSource};
use traaviis_runtime::summary::hash_value;

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
    /// Deduplication id: the same command line, given again, does not send it again.
    pub id: Text,
}

/// Reads the events of a command line, each `NAME` or `NAME=JSON`.
pub(super) fn events(texts: &[String]) -> Result<Vec<Event>, Failure> {
    texts.iter().enumerate().map(|(at, text)| event(at + 1, text)).collect()
}

fn event(number: usize, text: &str) -> Result<Event, Failure> {
    let (name, data) = match text.split_once('=') {
        Some((name, data)) => (name, input::json(data, &format!("the payload of `{name}`"))?),
        None => (text, Value::Null),
    };
    let id = format!("run-{number}-{name}-{:016x}", hash_value(&data)).into();
    Ok(Event { name: name.to_string(), data, id })
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

/// Takes away the event that a record has taken; returns its name.
pub(super) fn take_away(left: &mut Vec<Event>, record: &Record) -> Option<String> {
    let (Body::EventReceived { id: Some(id), source: EventSource::External, .. }
    | Body::EventIgnored { id: Some(id), .. }
    | Body::EventDeferred { id: Some(id), .. }) = &record.body
    else {
        return None;
    };
    let at = left.iter().position(|it| it.id == *id)?;
    Some(left.remove(at).name)
}

/// Tells which events an earlier call of the same command line sent.
pub(super) fn sent_before_text(id: InstanceId, names: &[String]) -> String {
    let all: Vec<String> = names.iter().map(|it| format!("`{it}`")).collect();
    format!(
        "not sent again: {}, which this run has taken; another goes by `traaviis send {id} NAME`",
        all.join(", ")
    )
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
        assert_eq!(event(1, "go").unwrap().data, Value::Null);
        assert_eq!(event(1, r#"go={"a":1}"#).unwrap().data.to_json(), r#"{"a":1}"#);
        assert_eq!(event(1, "go={").err().unwrap().exit, Exit::Usage);
    }
}
