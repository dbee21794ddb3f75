//! What two definitions do differently: states, transitions, timers, effects, events, data.
//!
//! States are the same by [`Matching`], so a renamed state is one that moved, and transitions to it
//! did not change. Titles, descriptions, labels, tests, layout and `x-` keys do nothing when a
//! workflow runs, so they do not count; neither does the version.

mod matching;
mod parts;

use std::fmt;

use serde::Serialize;
use traaviis_model::{Text, Value, definition::Definition};

pub use matching::Matching;

/// A part of a definition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Part {
    /// Name, policies, validations and other keys of the document itself.
    Workflow,
    /// A declared event.
    Event,
    /// Start input and instance data.
    Data,
    /// A state, its kind and its actions.
    State,
    /// A candidate of `on`, `always`, `onDone` or `onError`.
    Transition,
    /// A candidate of `after`.
    Timer,
    /// An effect tree.
    Effect,
}

impl Part {
    /// Returns the heading of a list of such parts.
    pub fn heading(self) -> &'static str {
        match self {
            Part::Workflow => "workflow",
            Part::Event => "events",
            Part::Data => "data",
            Part::State => "states",
            Part::Transition => "transitions",
            Part::Timer => "timers",
            Part::Effect => "effects",
        }
    }
}

/// What became of a part.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    /// Only the second definition has it.
    Added,
    /// Only the first definition has it.
    Removed,
    /// It stands elsewhere or has another name.
    Moved,
    /// It is something else.
    Changed,
    /// The same candidates in another order, which decides between those that are true together.
    Reordered,
}

/// One thing that two definitions do differently.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Difference {
    /// Part concerned.
    pub part: Part,
    /// What became of it.
    pub change: Change,
    /// Where: a state and a key, by the names of the second definition where it has them.
    pub place: Text,
    /// In the first definition.
    #[serde(skip_serializing_if = "Value::is_null")]
    pub before: Value,
    /// In the second definition.
    #[serde(skip_serializing_if = "Value::is_null")]
    pub after: Value,
}

/// Returns what `new` does differently from `old`, by part, in document order.
pub fn diff(old: &Definition, new: &Definition) -> Vec<Difference> {
    if old.hash == new.hash {
        return Vec::new();
    }
    let mut found = parts::differences(old, new);
    found.sort_by_key(|it| it.part);
    found
}

/// One line for people, without its part.
impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = &self.place;
        let (before, after) = (shown(&self.before), shown(&self.after));
        match self.change {
            Change::Added if after.is_empty() => write!(f, "+ {place}"),
            Change::Added => write!(f, "+ {place}: {after}"),
            Change::Removed if before.is_empty() => write!(f, "- {place}"),
            Change::Removed => write!(f, "- {place}: {before}"),
            Change::Moved => write!(f, "~ {place}: was `{before}`"),
            Change::Changed => write!(f, "~ {place}: {before} => {after}"),
            Change::Reordered => write!(f, "~ {place}: the order of its candidates"),
        }
    }
}

/// Returns a value as people read it; candidates as `-> paid if data.n > 3`.
fn shown(value: &Value) -> String {
    const CHARS_MAX: usize = 100;
    let text = match (value, value.get("target"), value.get("actions")) {
        (Value::Null, ..) => String::new(),
        (Value::String(text), ..) => text.to_string(),
        (_, None, None) => value.to_json(),
        (_, target, actions) => {
            let targets = target.and_then(Value::as_list).unwrap_or_default();
            let names: Vec<&str> = targets.iter().filter_map(Value::as_str).collect();
            let mut text = match names.as_slice() {
                [] => "stays".to_string(),
                names => format!("-> {}", names.join(", ")),
            };
            if let Some(guard) = value.get("guard").and_then(Value::as_str) {
                text += &format!(" if {guard}");
            }
            if let Some(reenter) = value.get("reenter") {
                text += &format!(" reenter {reenter}");
            }
            if let Some(actions) = actions {
                text += &format!(" do {}", actions.to_json());
            }
            text
        }
    };
    match text.char_indices().nth(CHARS_MAX) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text,
    }
}

#[cfg(test)]
mod tests;
