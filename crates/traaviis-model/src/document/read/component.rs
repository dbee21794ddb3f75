//! What makes a component, and what merges one: `kind`, `parameters`, `exits`, `components`.
//!
//! Only the form is read here. Components are merged into the tree before a definition is made of
//! it, so a definition never has any, and no later part of the system knows of them.

use std::collections::BTreeSet;

use crate::{
    document::read::{At, Fields, Keys, Reader, event::is_reserved, is_name},
    limits::COMPONENTS_MAX,
};

pub(super) const USE_KNOWN: &[&str] =
    &["use", "as", "at", "mode", "with", "events", "targets", "tests"];
const USE_KEYS: Keys<'_> = Keys::new("a use of a component", USE_KNOWN);

/// Keys of a document that a component cannot have: they belong to whole workflows.
const WORKFLOW_ONLY: &[&str] = &[
    "input",
    "output",
    "unhandled",
    "errors",
    "defaults",
    "correlation",
    "subject",
    "budgets",
    "permissions",
    "plugins",
    "retention",
    "subscribe",
    "migrations",
];

impl Reader {
    pub(super) fn reuse(&mut self, fields: &Fields<'_>) {
        let kinds = [("workflow", false), ("component", true)];
        let kind = fields.get("kind").and_then(|it| self.choice(&it, "E101", &kinds));
        let is_component = kind.unwrap_or(false);
        for key in ["parameters", "exits"] {
            if let Some(at) = fields.get(key).filter(|_| !is_component) {
                let message = format!("`{key}` belongs to a component");
                self.report(at.key_error("E101", message).hint("add `kind: component`"));
            }
        }
        if is_component {
            for at in WORKFLOW_ONLY.iter().filter_map(|key| fields.get(key)) {
                let message = format!("{} does not belong to a component", at.name());
                let hint = "it is set by the workflow that uses the component";
                self.report(at.key_error("E101", message).hint(hint));
            }
        }
        if let Some(at) = fields.get("parameters") {
            self.schema(&at);
        }
        if let Some(at) = fields.get("exits") {
            self.exits(&at);
        }
        if let Some(at) = fields.get("components") {
            self.uses(&at);
        }
        // Whoever compiles a document has merged its components before.
        if !self.written {
            let left = [fields.get("components"), fields.get("kind").filter(|_| is_component)];
            for at in left.into_iter().flatten() {
                let message = format!("{} is not merged yet", at.name());
                self.report(at.key_error("E121", message));
            }
        }
    }

    fn exits(&mut self, at: &At<'_>) {
        let mut seen = BTreeSet::new();
        for item in self.list(at) {
            let Some(name) = self.words(&item) else { continue };
            if !is_name(&name) {
                self.report(item.error("E109", format!("`{name}` is not a name for an exit")));
            } else if !seen.insert(name.clone()) {
                self.report(item.error("E107", format!("the exit `{name}` stands twice")));
            }
        }
    }

    fn uses(&mut self, at: &At<'_>) {
        let items = self.list(at);
        self.at_most(at, items.len(), COMPONENTS_MAX, "components");
        let mut seen = BTreeSet::new();
        for item in &items {
            let Some(fields) = self.fields(item, &USE_KEYS) else { continue };
            if let Some(it) = self.required(&fields, "use", "the use of a component") {
                self.words(&it);
            }
            if let Some(it) = self.required(&fields, "as", "the use of a component")
                && let Some(name) = self.words(&it)
            {
                // It becomes a field of `data` in expressions, where `-` is a minus.
                if !is_name(&name) || name.contains('-') || is_reserved(&name) {
                    let message = format!("`{name}` is not a name for a component");
                    let hint = "use a letter or `_`, then letters, digits and `_`; \
                                names of the engine, such as `error`, are reserved";
                    self.report(it.error("E109", message).hint(hint));
                } else if !seen.insert(name.clone()) {
                    self.report(it.error("E120", format!("two components are used as `{name}`")));
                }
            }
            if let Some(it) = fields.get("at") {
                self.words(&it);
            }
            if let Some(it) = fields.get("mode") {
                self.choice(&it, "E101", &[("merge", ()), ("region", ())]);
            }
            if let Some(it) = fields.get("tests") {
                self.choice(&it, "E101", &[("merge", ()), ("skip", ())]);
            }
            for key in ["with", "events", "targets"] {
                let Some(it) = fields.get(key) else { continue };
                for (_, entry) in self.map(&it) {
                    if key != "with" {
                        self.words(&entry);
                    }
                }
            }
        }
    }
}
