//! Declared events, the names and descriptors of events, and validations.

use std::collections::BTreeSet;

use crate::{
    definition::{EventDeclaration, Unhandled, Validation},
    document::read::{At, Keys, Reader, is_name},
    ids::Text,
    limits::{EVENT_ID_WINDOW_MAX, EVENT_NAME_CHARS_MAX, EVENTS_MAX, PII_FIELDS_MAX},
    permission::Permission,
    privacy::PiiType,
    time::Span,
};

pub(super) const KNOWN: &[&str] =
    &["schema", "description", "examples", "source", "merge", "requires", "pii", "dedup_window"];
const KEYS: Keys<'_> = Keys::new("an event", KNOWN);
const VALIDATION_KEYS: Keys<'_> =
    Keys::new("a validation", &["name", "events", "check", "message", "code"]);

/// First segments that only the engine uses.
pub(super) const RESERVED: &[&str] =
    &["done", "error", "after", "progress", "budget", "human", "signal", "child", "traaviis"];
pub(super) const UNHANDLED: &[(&str, Unhandled)] =
    &[("reject", Unhandled::Reject), ("ignore", Unhandled::Ignore), ("defer", Unhandled::Defer)];
pub(super) const NAME_HINT: &str = "use a letter or `_`, then letters, digits, `_` and `-`";

impl Reader {
    pub(super) fn events(&mut self, at: &At<'_>) -> Vec<EventDeclaration> {
        let entries = self.map(at);
        self.at_most(at, entries.len(), EVENTS_MAX, "events");
        let mut events = Vec::new();
        for (key, entry) in entries {
            let family = key.text.strip_suffix(".*").unwrap_or(&key.text);
            if &*key.text != "*" && !is_event_name(family) {
                self.bad_name(&key.text, &entry);
            } else if let Some(hint) = reserved(&key.text) {
                let message = format!("the event name `{}` is reserved", key.text);
                self.report(entry.key_error("E109", message).hint(hint));
            }
            events.extend(self.event(&key.text, &entry));
        }
        events
    }

    fn event(&mut self, name: &Text, at: &At<'_>) -> Option<EventDeclaration> {
        let fields = self.fields(at, &KEYS)?;
        if let Some(it) = fields.get("description") {
            self.text(&it);
        }
        if let Some(it) = fields.get("examples") {
            self.list(&it);
        }
        let internal = fields
            .get("source")
            .and_then(|it| self.choice(&it, "E101", &[("external", false), ("internal", true)]));
        Some(EventDeclaration {
            name: name.clone(),
            schema: fields.get("schema").and_then(|it| self.schema(&it)),
            internal: internal.unwrap_or(false),
            requires: fields.get("requires").map_or_else(Vec::new, |it| self.permissions_of(&it)),
            pii: fields.get("pii").map_or_else(Vec::new, |it| self.pii_labels(&it)),
            merge: fields.get("merge").and_then(|it| self.flag(&it)).unwrap_or(false),
            dedup_window: fields.get("dedup_window").and_then(|it| self.dedup_window(&it)),
            pointer: at.pointer.clone(),
        })
    }

    /// Reads which places of the payload hold personal data.
    fn pii_labels(&mut self, at: &At<'_>) -> Vec<(Text, Option<PiiType>)> {
        let mut choices: Vec<(&str, Option<PiiType>)> =
            PiiType::ALL.iter().map(|it| (it.as_str(), Some(*it))).collect();
        choices.push(("auto", None));
        let entries = self.map(at);
        self.at_most(at, entries.len(), PII_FIELDS_MAX, "labels");
        let mut labels = Vec::new();
        for (key, entry) in entries {
            let fits = self.is_pointer(&key.text, &entry);
            let kind = self.choice(&entry, "E101", &choices);
            labels.extend(kind.filter(|_| fits).map(|kind| (key.text.clone(), kind)));
        }
        labels
    }

    fn dedup_window(&mut self, at: &At<'_>) -> Option<Span> {
        let span = self.span(at)?;
        if span.0 > 0 && span <= EVENT_ID_WINDOW_MAX {
            return Some(span);
        }
        let message =
            format!("`dedup_window` is `{span}`; at least 1ms, at most `{EVENT_ID_WINDOW_MAX}`");
        self.report(at.error("E101", message));
        None
    }

    /// Reads permissions that a caller needs.
    fn permissions_of(&mut self, at: &At<'_>) -> Vec<Permission> {
        let choices: Vec<(&str, Permission)> =
            Permission::ALL.iter().map(|it| (it.as_str(), *it)).collect();
        let items = at.one_or_many();
        items.iter().filter_map(|it| self.choice(it, "E101", &choices)).collect()
    }

    fn bad_name(&mut self, name: &str, at: &At<'_>) {
        let hint = match name.chars().count() > EVENT_NAME_CHARS_MAX {
            true => format!("at most {EVENT_NAME_CHARS_MAX} characters"),
            false => format!("segments joined by dots; in each {NAME_HINT}"),
        };
        let shown: String = name.chars().take(EVENT_NAME_CHARS_MAX).collect();
        let message = format!("`{shown}` is not a name for an event");
        self.report(at.text_error("E109", name, message).hint(hint));
    }

    /// Refuses to raise what only the engine raises, so that no outcome can be forged.
    pub(super) fn not_reserved(&mut self, at: &At<'_>) {
        if let Some(name) = at.text()
            // An error is no outcome: whoever handles it need not know whose it is.
            && !name.starts_with("error.")
            && let Some(hint) = reserved(name)
        {
            let message = format!("`{name}` cannot be raised, the name is reserved");
            self.report(at.error("E109", message).hint(hint));
        }
    }

    /// Reads the name of an event that is raised or emitted.
    pub(super) fn event_name(&mut self, at: &At<'_>) -> Option<Text> {
        let name = self.text(at)?;
        if !is_event_name(&name) {
            self.bad_name(&name, at);
            return None;
        }
        Some(name)
    }

    /// Checks a descriptor: a name, `prefix.*` or `*`.
    pub(super) fn descriptor(&mut self, text: &str, at: &At<'_>) {
        let name = text.strip_suffix(".*").unwrap_or(text);
        if text != "*" && !is_event_name(name) {
            self.bad_name(text, at);
        }
    }

    pub(super) fn validations(&mut self, at: &At<'_>) -> Vec<Validation> {
        let items = self.list(at);
        let mut seen = BTreeSet::new();
        let mut validations = Vec::new();
        for item in items {
            let Some(fields) = self.fields(&item, &VALIDATION_KEYS) else { continue };
            let name = self.required(&fields, "name", "the validation").and_then(|it| {
                let name = self.words(&it)?;
                if !seen.insert(name.clone()) {
                    let message = format!("the validation `{name}` stands twice");
                    self.report(it.error("E107", message));
                }
                Some(name)
            });
            let events = fields.get("events").map_or_else(Vec::new, |it| self.descriptors(&it));
            let check =
                self.required(&fields, "check", "the validation").and_then(|it| self.cel(&it));
            let message = self.required(&fields, "message", "the validation");
            let code = fields.get("code").and_then(|it| self.words(&it));
            let (Some(name), Some(check), Some(message)) = (name, check, message) else { continue };
            let (message, pointer) = (message.value(), item.pointer.clone());
            validations.push(Validation { name, events, check, message, code, pointer });
        }
        validations
    }

    pub(super) fn descriptors(&mut self, at: &At<'_>) -> Vec<Text> {
        let items = at.one_or_many();
        items
            .iter()
            .filter_map(|it| {
                let text = self.text(it)?;
                self.descriptor(&text, it);
                Some(text)
            })
            .collect()
    }
}

/// Returns whom a reserved name belongs to; none for a free one.
fn reserved(name: &str) -> Option<String> {
    let segment = name.split('.').next().unwrap_or_default();
    let own = match segment {
        "error" => "; errors of your own are raised without being declared",
        _ => "",
    };
    is_reserved(segment)
        .then(|| format!("names starting with `{segment}` belong to the engine{own}"))
}

/// Says whether events whose name starts with this segment belong to the engine.
pub(super) fn is_reserved(segment: &str) -> bool {
    RESERVED.contains(&segment)
}

/// Says whether text can name an event: segments joined by dots.
pub fn is_event_name(text: &str) -> bool {
    text.split('.').all(is_name) && text.len() <= EVENT_NAME_CHARS_MAX
}
