//! The top of the document: who it is, its data, its policies, and the parts below.

use std::collections::{BTreeMap, BTreeSet};

use semver::Version;

use crate::{
    definition::{
        Correlation, Definition, EffectDefaults, ErrorsUnhandled, NamedEffect, Subject, Unhandled,
    },
    document::{
        read::{At, Fields, Keys, Reader, effect::Tree, event::UNHANDLED, is_name},
        tree::{Node, NodeKind},
    },
    ids::Text,
    limits::{LABELS_MAX, STATES_MAX, TAGS_MAX},
    value::Value,
};

pub(super) const KNOWN: &[&str] = &[
    "traaviis",
    "kind",
    "name",
    "version",
    "title",
    "description",
    "category",
    "tags",
    "labels",
    "input",
    "data",
    "output",
    "events",
    "unhandled",
    "initial",
    "states",
    "validations",
    "effects",
    "errors",
    "defaults",
    "correlation",
    "subject",
    "budgets",
    "permissions",
    "plugins",
    "retention",
    "migrations",
    "triggers",
    "subscribe",
    "tests",
    "layout",
    "components",
    "parameters",
    "exits",
];
const KEYS: Keys<'_> = Keys::new("a workflow", KNOWN);

const NAME_CHARS_MAX: usize = 63;

impl Reader {
    pub(super) fn workflow(&mut self, at: &At<'_>) -> Option<Definition> {
        self.refuse_secrets(at.node, at);
        let fields = self.fields(at, &KEYS)?;
        self.format(&fields);
        self.reuse(&fields);
        self.waive(&fields);
        let name = self.required(&fields, "name", "the workflow").and_then(|it| self.name(&it));
        let version =
            self.required(&fields, "version", "the workflow").and_then(|it| self.version(&it));
        let title = self.about(&fields);
        let (tags, labels) = (self.tags(&fields), self.labels(&fields));
        let input_schema = self.input(&fields);
        let (data_schema, data_initial) = self.data(&fields);
        let events = fields.get("events").map_or_else(Vec::new, |it| self.events(&it));
        let unhandled = fields.get("unhandled").and_then(|it| self.choice(&it, "E101", UNHANDLED));
        let errors = fields.get("errors").and_then(|it| self.errors(&it));
        let defaults = fields.get("defaults").map(|it| self.defaults(&it)).unwrap_or_default();
        let correlation = fields.get("correlation").and_then(|it| self.correlation(&it));
        let subject = fields.get("subject").and_then(|it| self.subject(&it));
        let plugins = fields.get("plugins").map_or_else(Vec::new, |it| self.plugins(&it));
        let budgets = fields.get("budgets").and_then(|it| self.budgets(&it));
        let grant = fields.get("permissions").map(|it| self.grant(&it)).unwrap_or_default();
        let validations =
            fields.get("validations").map_or_else(Vec::new, |it| self.validations(&it));
        let effects = fields.get("effects").map_or_else(Vec::new, |it| self.named_effects(&it));
        let states = match self.required(&fields, "states", "the workflow") {
            Some(states) => self.states(&states, 1),
            None => Vec::new(),
        };
        let initial = self.initial(&fields, "the workflow");
        let triggers = fields.get("triggers").map(|it| self.triggers(&it)).unwrap_or_default();
        let subscriptions =
            fields.get("subscribe").map_or_else(Vec::new, |it| self.subscriptions(&it));
        let migrations = fields.get("migrations").map_or_else(Vec::new, |it| self.migrations(&it));
        let retention = fields.get("retention").map(|it| self.retention(&it)).unwrap_or_default();
        let tests = fields.get("tests").map_or_else(Vec::new, |it| self.tests(&it));
        if self.states > STATES_MAX {
            let count = self.states;
            let message =
                format!("the workflow has {count} states; at most {STATES_MAX} are allowed");
            self.report(at.error("E160", message));
        }
        Some(Definition {
            hash: self.hash(at.node),
            document: Value::from(at.node.to_json()),
            name: name?,
            version: version?,
            title,
            tags,
            labels,
            input_schema,
            data_schema,
            data_initial,
            output: fields.get("output").map(|it| it.value()),
            events,
            unhandled: unhandled.unwrap_or(Unhandled::Reject),
            initial,
            states,
            validations,
            effects,
            errors_unhandled: errors.unwrap_or(ErrorsUnhandled::Fail),
            defaults,
            budgets,
            grant,
            plugins,
            correlation,
            subject,
            migrations,
            schedules: triggers.schedules,
            listeners: triggers.listeners,
            hooks: triggers.hooks,
            manual: triggers.manual,
            subscriptions,
            retention,
            waivers: std::mem::take(&mut self.waivers),
            tests,
        })
    }

    /// Refuses the key under which values keep references to secrets, so that no document can forge
    /// one; only `secret()` makes them.
    pub(super) fn refuse_secrets(&mut self, node: &Node, at: &At<'_>) {
        match &node.kind {
            NodeKind::List(items) => {
                for (index, item) in items.iter().enumerate() {
                    if matches!(item.kind, NodeKind::List(_) | NodeKind::Map(_)) {
                        self.refuse_secrets(item, &at.item(index, item));
                    }
                }
            }
            NodeKind::Map(entries) => {
                for (key, item) in entries {
                    let child = at.child(key, item);
                    if &*key.text == "$secret" {
                        let message = "the key `$secret` is reserved";
                        let hint = "write `${secret(\"NAME\")}` in a field that takes secrets";
                        self.report(child.key_error("E101", message).hint(hint));
                    }
                    self.refuse_secrets(item, &child);
                }
            }
            _ => {}
        }
    }

    fn format(&mut self, fields: &Fields<'_>) {
        let Some(at) = self.required(fields, "traaviis", "the workflow") else { return };
        match &at.node.kind {
            NodeKind::String(text) if &**text == "1" => {}
            NodeKind::String(text) => {
                let message = format!("`traaviis` is `{text}`; this release reads format `1`");
                self.report(at.error("E101", message));
            }
            _ => {
                self.text(&at);
            }
        }
    }

    fn name(&mut self, at: &At<'_>) -> Option<Text> {
        let name = self.text(at)?;
        if !is_name(&name) || name.starts_with('_') || name.len() > NAME_CHARS_MAX {
            let message = format!("`{name}` is not a name for a workflow");
            self.report(at.error("E109", message).hint(format!(
                "use a letter, then letters, digits, `_` and `-`; at most {NAME_CHARS_MAX}"
            )));
            return None;
        }
        Some(name)
    }

    fn version(&mut self, at: &At<'_>) -> Option<Version> {
        let hint = "write three numbers, such as 1.0.0";
        let Some(text) = at.text() else {
            let message = format!("`version` must be a version, found {}", at.node.words());
            self.report(at.error("E101", message).hint(hint));
            return None;
        };
        let version = Version::parse(text);
        if version.is_err() {
            let message = format!("`{text}` is not a version");
            self.report(at.error("E101", message).hint(hint));
        }
        version.ok()
    }

    /// Reads what is for people and search; returns the title.
    fn about(&mut self, fields: &Fields<'_>) -> Option<Text> {
        for key in ["description", "category"] {
            if let Some(it) = fields.get(key) {
                self.text(&it);
            }
        }
        fields.get("title").and_then(|it| self.text(&it))
    }

    /// Reads the words that instances are found by.
    fn tags(&mut self, fields: &Fields<'_>) -> BTreeSet<Text> {
        let Some(at) = fields.get("tags") else { return BTreeSet::new() };
        let tags = self.list(&at);
        self.at_most(&at, tags.len(), TAGS_MAX, "tags");
        tags.iter().filter_map(|it| self.words(it)).collect()
    }

    /// Reads facts for people, by name.
    pub(super) fn labels(&mut self, fields: &Fields<'_>) -> BTreeMap<Text, Value> {
        let Some(at) = fields.get("labels") else { return BTreeMap::new() };
        let labels = self.map(&at);
        for (_, label) in labels.iter().filter(|(_, it)| !it.node.is_plain()) {
            self.expected(label, "E101", "text");
        }
        self.at_most(&at, labels.len(), LABELS_MAX, "labels");
        labels.into_iter().map(|(key, it)| (key.text.clone(), it.value())).collect()
    }

    pub(super) fn at_most(&mut self, at: &At<'_>, count: usize, most: usize, what: &str) {
        if count > most {
            let message = format!("{count} {what}; at most {most} are allowed");
            self.report(at.key_error("E160", message));
        }
    }

    fn input(&mut self, fields: &Fields<'_>) -> Option<Value> {
        let at = fields.get("input")?;
        let input = self.fields(&at, &Keys::new("`input`", &["schema", "examples"]))?;
        if let Some(it) = input.get("examples") {
            self.list(&it);
        }
        input.get("schema").and_then(|it| self.schema(&it))
    }

    fn data(&mut self, fields: &Fields<'_>) -> (Option<Value>, Option<Value>) {
        let keys = Keys::new("`data`", &["schema", "initial"]);
        let Some(data) = fields.get("data").and_then(|it| self.fields(&it, &keys)) else {
            return (None, None);
        };
        let schema = data.get("schema").and_then(|it| self.schema(&it));
        let initial = data.get("initial").and_then(|it| {
            if it.is_map() || it.text().is_some_and(|text| text.contains("${")) {
                return Some(it.value());
            }
            self.expected(&it, "E101", "a map or a template");
            None
        });
        (schema, initial)
    }

    fn named_effects(&mut self, at: &At<'_>) -> Vec<NamedEffect> {
        let mut effects = Vec::new();
        for (key, entry) in self.map(at) {
            if !is_name(&key.text) {
                let message = format!("`{}` is not a name for an effect", key.text);
                let hint = "use a letter or `_`, then letters, digits, `_` and `-`";
                self.report(entry.key_error("E109", message).hint(hint));
            }
            let effect = self.effect(&entry, &mut Tree::default(), 1);
            effects.extend(effect.map(|effect| NamedEffect { name: key.text.clone(), effect }));
        }
        effects
    }

    fn errors(&mut self, at: &At<'_>) -> Option<ErrorsUnhandled> {
        let errors = self.fields(at, &Keys::new("`errors`", &["unhandled"]))?;
        let choices = [
            ("fail", ErrorsUnhandled::Fail),
            ("incident", ErrorsUnhandled::Incident),
            ("ignore", ErrorsUnhandled::Ignore),
        ];
        errors.get("unhandled").and_then(|it| self.choice(&it, "E101", &choices))
    }

    fn defaults(&mut self, at: &At<'_>) -> EffectDefaults {
        let keys = Keys::new("`defaults`", &["retry", "timeout", "priority", "on_unknown"]);
        let Some(fields) = self.fields(at, &keys) else { return EffectDefaults::default() };
        EffectDefaults {
            retry: fields.get("retry").and_then(|it| self.retry(&it)),
            timeout: fields.get("timeout").and_then(|it| self.duration(&it)),
            on_unknown: fields.get("on_unknown").and_then(|it| self.on_unknown(&it)),
            priority: fields.get("priority").and_then(|it| self.priority(&it, "E101")),
        }
    }

    fn correlation(&mut self, at: &At<'_>) -> Option<Correlation> {
        if !at.is_map() {
            let key = self.words(at)?;
            return Some(Correlation { key, unique: false, pointer: at.pointer.clone() });
        }
        let fields = self.fields(at, &Keys::new("`correlation`", &["key", "unique"]))?;
        let unique = fields.get("unique").and_then(|it| self.flag(&it)).unwrap_or(false);
        let key = self.required(&fields, "key", "`correlation`")?;
        let pointer = key.pointer.clone();
        Some(Correlation { key: self.words(&key)?, unique, pointer })
    }

    fn subject(&mut self, at: &At<'_>) -> Option<Subject> {
        Some(Subject { key: self.words(at)?, pointer: at.pointer.clone() })
    }

    /// Reads `initial`: a name or path, or a list of them.
    pub(super) fn initial(&mut self, fields: &Fields<'_>, what: &str) -> Vec<Text> {
        let Some(at) = fields.get("initial") else {
            let diagnostic = fields.at.error("E103", format!("`initial` is missing in {what}"));
            let first = fields.get("states").and_then(|it| it.entries()?.into_iter().next());
            self.report(match first {
                Some((key, _)) => diagnostic.hint(format!("for example `initial: {}`", key.text)),
                None => diagnostic,
            });
            return Vec::new();
        };
        let targets = at.one_or_many();
        let empty = targets.is_empty()
            || targets.iter().any(|it| it.text().is_some_and(|it| it.trim().is_empty()))
            || matches!(at.node.kind, NodeKind::Null);
        if empty {
            self.report(at.error("E103", format!("`initial` is empty in {what}")));
            return Vec::new();
        }
        targets.iter().filter_map(|it| self.text(it)).collect()
    }
}
