//! States: their kind, what only that kind may have, and everything that happens in them.

use std::collections::BTreeSet;

use crate::{
    definition::{Action, After, FinalStatus, Invoke, State, StateKind},
    document::read::{
        At, Fields, Keys, Reader,
        effect::Tree,
        event::{self, UNHANDLED},
        is_name,
    },
    ids::Text,
    limits::STATE_DEPTH_MAX,
};

pub(super) const KNOWN: &[&str] = &[
    "type",
    "id",
    "title",
    "description",
    "labels",
    "initial",
    "states",
    "history",
    "target",
    "actions",
    "on",
    "always",
    "after",
    "entry",
    "exit",
    "invoke",
    "onDone",
    "onError",
    "unhandled",
    "status",
    "output",
    "budgets",
    "permissions",
];
const KEYS: Keys<'_> = Keys::new("a state", KNOWN);
pub(super) const INVOKE_KNOWN: &[&str] =
    &["id", "effect", "when", "onDone", "onError", "onProgress", "on_exit"];
const INVOKE_KEYS: Keys<'_> = Keys::new("an invoke", INVOKE_KNOWN);

const TYPES: &[(&str, Type)] =
    &[("parallel", Type::Parallel), ("final", Type::Final), ("history", Type::History)];

#[derive(Clone, Copy, PartialEq)]
enum Type {
    Atomic,
    Compound,
    Parallel,
    Final,
    History,
}

impl Type {
    fn words(self) -> &'static str {
        match self {
            Type::Atomic => "a state without children",
            Type::Compound => "a compound state",
            Type::Parallel => "a parallel state",
            Type::Final => "a final state",
            Type::History => "a history state",
        }
    }

    /// Says whether a state of this type may have `key`; keys not named here fit all.
    fn takes(self, key: &str) -> bool {
        use Type::{Atomic, Compound, Final, History, Parallel};
        match key {
            "initial" => self == Compound,
            "states" => matches!(self, Compound | Parallel),
            "history" | "target" | "actions" => self == History,
            "status" | "output" => self == Final,
            "onDone" => matches!(self, Compound | Parallel),
            "on" | "always" | "after" | "invoke" | "onError" | "unhandled" | "budgets"
            | "permissions" => {
                matches!(self, Atomic | Compound | Parallel)
            }
            "entry" | "exit" => self != History,
            _ => true,
        }
    }
}

impl Reader {
    /// Reads a map of states.
    pub(super) fn states(&mut self, at: &At<'_>, depth: usize) -> Vec<State> {
        let entries = self.map(at);
        if at.is_map() && entries.is_empty() {
            self.report(at.error("E101", "`states` is empty").hint("a workflow needs a state"));
        }
        let mut states = Vec::new();
        for (key, entry) in entries {
            self.states += 1;
            if !is_name(&key.text) {
                let message = format!("`{}` is not a name for a state", key.text);
                let hint = "use a letter or `_`, then letters, digits, `_` and `-`";
                self.report(entry.key_error("E109", message).hint(hint));
            }
            if depth > STATE_DEPTH_MAX {
                let message = format!("states are nested deeper than {STATE_DEPTH_MAX}");
                self.report(entry.key_error("E160", message));
                return states;
            }
            states.extend(self.state(&key.text, &entry, depth));
        }
        states
    }

    fn state(&mut self, name: &Text, at: &At<'_>, depth: usize) -> Option<State> {
        let fields = self.fields(at, &KEYS)?;
        let state_type = self.state_type(&fields)?;
        self.check_keys(&fields, state_type);
        for key in ["title", "description"] {
            if let Some(it) = fields.get(key) {
                self.text(&it);
            }
        }
        let id = fields.get("id").and_then(|it| Some((self.text(&it)?, it)));
        if let Some((id, it)) = &id
            && !self.state_ids.insert(id.clone())
        {
            self.report(it.error("E107", format!("the state id `{id}` stands twice")));
        }
        self.labels(&fields);
        self.waive(&fields);
        let kind = self.state_kind(&fields, state_type, name, depth);
        let get = |key: &str| fields.get(key).filter(|_| state_type.takes(key));
        Some(State {
            name: name.clone(),
            id: id.map(|(id, _)| id),
            kind,
            on: get("on").map_or_else(Vec::new, |it| self.on(&it)),
            always: get("always").map_or_else(Vec::new, |it| self.candidates(&it)),
            after: get("after").map_or_else(Vec::new, |it| self.after(&it)),
            entry: get("entry").map_or_else(Vec::new, |it| self.actions(&it)),
            exit: get("exit").map_or_else(Vec::new, |it| self.actions(&it)),
            invoke: get("invoke").map_or_else(Vec::new, |it| self.invokes(&it)),
            on_done: get("onDone").map_or_else(Vec::new, |it| self.candidates(&it)),
            on_error: get("onError").map_or_else(Vec::new, |it| self.candidates(&it)),
            unhandled: get("unhandled").and_then(|it| self.choice(&it, "E101", UNHANDLED)),
            budgets: get("budgets").and_then(|it| self.budgets(&it)),
            grant: get("permissions").map(|it| self.grant(&it)).unwrap_or_default(),
            pointer: at.pointer.clone(),
        })
    }

    fn state_type(&mut self, fields: &Fields<'_>) -> Option<Type> {
        match fields.get("type") {
            None if fields.has("states") => Some(Type::Compound),
            None => Some(Type::Atomic),
            Some(at) => {
                if let Some(text @ ("atomic" | "compound")) = at.text().map(|it| &**it) {
                    let message = format!("`type` must not be `{text}`");
                    let hint = "leave `type` out; it follows from `states`";
                    self.report(at.error("E101", message).hint(hint));
                    return None;
                }
                self.choice(&at, "E101", TYPES)
            }
        }
    }

    fn check_keys(&mut self, fields: &Fields<'_>, state_type: Type) {
        for (key, entry) in fields.at.entries().unwrap_or_default() {
            if !KNOWN.contains(&&*key.text) || state_type.takes(&key.text) {
                continue;
            }
            let message = format!("`{}` does not belong to {}", key.text, state_type.words());
            let code = match state_type {
                Type::Final => "E104",
                _ => "E101",
            };
            let diagnostic = entry.key_error(code, message);
            self.report(match (state_type, &*key.text) {
                (Type::Final, _) => diagnostic.hint("a final state ends its parent; leave it out"),
                (Type::Atomic, "status" | "output") => diagnostic.hint("add `type: final`"),
                (Type::Atomic, "history") => diagnostic.hint("add `type: history`"),
                (Type::Atomic, "target") => {
                    diagnostic.hint("put it under an event: `on: {EVENT: STATE}`")
                }
                _ => diagnostic,
            });
        }
    }

    fn state_kind(
        &mut self,
        fields: &Fields<'_>,
        state_type: Type,
        name: &Text,
        depth: usize,
    ) -> StateKind {
        match state_type {
            Type::Atomic => StateKind::Atomic,
            Type::Compound => {
                let (initial, actions) = self.default_child(fields, name);
                let states =
                    fields.get("states").map_or_else(Vec::new, |it| self.states(&it, depth + 1));
                StateKind::Compound { initial, actions, states }
            }
            Type::Parallel => {
                let what = format!("parallel state `{name}`");
                let states = self.required(fields, "states", &what);
                StateKind::Parallel {
                    states: states.map_or_else(Vec::new, |it| self.states(&it, depth + 1)),
                }
            }
            Type::Final => StateKind::Final {
                status: fields.get("status").and_then(|it| self.status(&it)).unwrap_or_default(),
                output: fields.get("output").map(|it| it.value()),
            },
            Type::History => {
                let deep = fields
                    .get("history")
                    .and_then(|it| self.choice(&it, "E101", &[("shallow", false), ("deep", true)]));
                let target = self.required(fields, "target", &format!("history state `{name}`"));
                StateKind::History {
                    deep: deep.unwrap_or(false),
                    target: target.map_or_else(Vec::new, |it| self.targets(&it)),
                    actions: fields.get("actions").map_or_else(Vec::new, |it| self.actions(&it)),
                }
            }
        }
    }

    /// Reads `initial` of a compound state: targets, or targets with actions.
    fn default_child(&mut self, fields: &Fields<'_>, name: &str) -> (Vec<Text>, Vec<Action>) {
        let what = format!("state `{name}`");
        let Some(at) = fields.get("initial").filter(|it| it.is_map()) else {
            return (self.initial(fields, &what), Vec::new());
        };
        let Some(inner) = self.fields(&at, &Keys::new("`initial`", &["target", "actions"])) else {
            return (Vec::new(), Vec::new());
        };
        let target = self.required(&inner, "target", &format!("`initial` of {what}"));
        let target = target.map_or_else(Vec::new, |it| self.targets(&it));
        (target, inner.get("actions").map_or_else(Vec::new, |it| self.actions(&it)))
    }

    fn status(&mut self, at: &At<'_>) -> Option<FinalStatus> {
        let choices = [
            ("completed", FinalStatus::Completed),
            ("failed", FinalStatus::Failed),
            ("compensated", FinalStatus::Compensated),
            ("cancelled", FinalStatus::Cancelled),
        ];
        self.choice(at, "E101", &choices)
    }

    fn on(&mut self, at: &At<'_>) -> Vec<(Text, Vec<crate::definition::Candidate>)> {
        let entries = self.map(at);
        entries
            .into_iter()
            .map(|(key, entry)| {
                self.descriptor(&key.text, &entry);
                (key.text.clone(), self.candidates(&entry))
            })
            .collect()
    }

    /// Reads timers: a map of delays, or a list of candidates with `delay`.
    fn after(&mut self, at: &At<'_>) -> Vec<After> {
        if at.is_list() {
            let items = self.list(at);
            return items.iter().filter_map(|it| self.after_item(it)).collect();
        }
        let Some(entries) = at.entries() else {
            self.expected(at, "E101", "a map of delays or a list of candidates with `delay`");
            return Vec::new();
        };
        entries
            .into_iter()
            .map(|(key, entry)| After {
                delay: key.text.clone().into(),
                candidates: self.candidates(&entry),
                pointer: entry.pointer.clone(),
            })
            .collect()
    }

    fn after_item(&mut self, at: &At<'_>) -> Option<After> {
        let (candidate, delay) = self.candidate_with_delay(at)?;
        Some(After { delay: delay?, candidates: vec![candidate], pointer: at.pointer.clone() })
    }

    fn invokes(&mut self, at: &At<'_>) -> Vec<Invoke> {
        let items = self.list(at);
        let mut seen = BTreeSet::new();
        let mut invokes = Vec::new();
        for item in items {
            let Some(fields) = self.fields(&item, &INVOKE_KEYS) else { continue };
            if let Some(id) = fields.get("id")
                && let Some(text) = id.text()
                && !seen.insert(text.clone())
            {
                let message = format!("the invoke id `{text}` stands twice in this state");
                self.report(id.error("E107", message));
            }
            invokes.extend(self.invoke(&fields));
        }
        invokes
    }

    fn invoke(&mut self, fields: &Fields<'_>) -> Option<Invoke> {
        let id = self.required(fields, "id", "the invoke").and_then(|it| {
            let text = self.text(&it)?;
            if !is_name(&text) {
                let message = format!("`{text}` is not a name for an invoke");
                self.report(it.error("E109", message).hint(event::NAME_HINT));
                return None;
            }
            Some(text)
        });
        let effect = self.required(fields, "effect", "the invoke");
        let effect = effect.and_then(|it| self.effect(&it, &mut Tree::default(), 1));
        let when = fields.get("when").and_then(|it| self.cel(&it));
        let mut candidates =
            |key: &str| fields.get(key).map_or_else(Vec::new, |it| self.candidates(&it));
        let on_done = candidates("onDone");
        let on_error = candidates("onError");
        let on_progress = candidates("onProgress");
        if let Some(it) = fields.get("onProgress") {
            self.not_applied(&it, "onProgress");
        }
        let detach = fields
            .get("on_exit")
            .and_then(|it| self.choice(&it, "E101", &[("cancel", false), ("detach", true)]));
        Some(Invoke {
            id: id?,
            when,
            effect: effect?,
            on_done,
            on_error,
            on_progress,
            detach: detach.unwrap_or(false),
            pointer: fields.at.pointer.clone(),
        })
    }
}
