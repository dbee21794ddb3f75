//! Plugins that a document asks for.

use std::collections::BTreeMap;

use crate::{
    definition::Plugin,
    document::{
        read::{At, Fields, Keys, Reader, is_name, nearest},
        tree::NodeKind,
    },
    ids::Text,
    limits::{PII_FIELDS_MAX, PLUGIN_LABEL_CHARS_MAX, PLUGIN_LABELS_MAX, PLUGINS_MAX},
    privacy::{PiiMode, PiiType},
};

pub(super) const KNOWN: &[&str] = &["use", "with", "phase"];
const KEYS: Keys<'_> = Keys::new("a plugin", KNOWN);
const BUILT_IN: &[&str] = &["logger", "audit", "metrics", "redaction"];
/// Labels that every counter has.
const OWN_LABELS: &[&str] = &["workflow", "from", "to", "event", "state", "status"];

impl Reader {
    pub(super) fn plugins(&mut self, at: &At<'_>) -> Vec<Plugin> {
        let items = self.list(at);
        self.at_most(at, items.len(), PLUGINS_MAX, "plugins");
        let mut seen: Vec<Text> = Vec::new();
        let mut plugins = Vec::new();
        for item in &items {
            let Some(fields) = self.fields(item, &KEYS) else { continue };
            let Some(at) = self.required(&fields, "use", "the plugin") else { continue };
            let Some(name) = self.words(&at) else { continue };
            if seen.contains(&name) {
                self.report(at.error("E107", format!("the plugin `{name}` stands twice")));
            }
            seen.push(name.clone());
            self.phase(&name, &fields);
            plugins.extend(self.plugin(&name, &at, &fields));
        }
        plugins
    }

    /// What watches cannot veto, so it comes after a transition; what redacts comes before.
    fn phase(&mut self, name: &str, fields: &Fields<'_>) {
        let phases = [("before", false), ("after", true), ("both", false)];
        let Some(at) = fields.get("phase") else { return };
        match (self.choice(&at, "E101", &phases), name) {
            (Some(true), "redaction") => {
                let message = "`redaction` has the phase `before`: what is taken is redacted";
                self.report(at.error("E101", message).hint("leave out `phase`"));
            }
            (Some(false), "logger" | "audit" | "metrics") => self.unavailable(&at, "phase: before"),
            _ => {}
        }
    }

    fn plugin(&mut self, name: &str, at: &At<'_>, fields: &Fields<'_>) -> Option<Plugin> {
        match name {
            "logger" => {
                let with = self.with(fields, &["level", "include_data"])?;
                let levels = ["debug", "info", "warn", "error"].map(|it| (it, it));
                let get = |key: &str| with.as_ref().and_then(|it| it.get(key));
                let level = get("level").and_then(|it| self.choice(&it, "E101", &levels));
                let include_data = get("include_data").and_then(|it| self.flag(&it));
                Some(Plugin::Logger {
                    level: level.unwrap_or("info").into(),
                    include_data: include_data.unwrap_or(false),
                })
            }
            "audit" => {
                let with = self.with(fields, &["events"])?;
                let events = with.as_ref().and_then(|it| it.get("events"));
                let events = events.map_or_else(Vec::new, |it| self.descriptors(&it));
                Some(Plugin::Audit { events })
            }
            "metrics" => {
                let with = self.with(fields, &["labels"])?;
                let labels = with.as_ref().and_then(|it| it.get("labels"));
                Some(Plugin::Metrics {
                    labels: labels.map(|it| self.metric_labels(&it)).unwrap_or_default(),
                })
            }
            "redaction" => {
                let with = self.with(fields, &["mode", "types", "fields"])?;
                let get = |key: &str| with.as_ref().and_then(|it| it.get(key));
                let types = get("types").map(|it| self.pii_types(&it));
                let fields = get("fields").map(|it| self.pointers(&it));
                Some(Plugin::Redaction {
                    mode: get("mode").and_then(|it| self.pii_mode(&it)).unwrap_or(PiiMode::Mask),
                    types: types.unwrap_or_else(|| PiiType::ALL.to_vec()),
                    fields: fields.unwrap_or_default(),
                })
            }
            other => {
                let message = format!("there is no plugin `{other}`");
                let hint = match nearest(other, BUILT_IN.iter().copied()) {
                    Some(near) => format!("did you mean `{near}`?"),
                    None => format!("there is `{}`", BUILT_IN.join("`, `")),
                };
                self.report(at.error("E101", message).hint(hint));
                None
            }
        }
    }

    /// Reads types of personal data; `all` stands for every type.
    fn pii_types(&mut self, at: &At<'_>) -> Vec<PiiType> {
        let mut choices: Vec<(&str, Option<PiiType>)> =
            PiiType::ALL.iter().map(|it| (it.as_str(), Some(*it))).collect();
        choices.push(("all", None));
        let items = at.one_or_many();
        let chosen = items.iter().filter_map(|it| self.choice(it, "E101", &choices));
        let chosen: Vec<Option<PiiType>> = chosen.collect();
        match chosen.contains(&None) {
            true => PiiType::ALL.to_vec(),
            false => chosen.into_iter().flatten().collect(),
        }
    }

    /// Reads what is done with personal data.
    pub(super) fn pii_mode(&mut self, at: &At<'_>) -> Option<PiiMode> {
        let choices: Vec<(&str, PiiMode)> =
            PiiMode::ALL.iter().map(|it| (it.as_str(), *it)).collect();
        self.choice(at, "E101", &choices)
    }

    /// Reads JSON pointers into a payload.
    fn pointers(&mut self, at: &At<'_>) -> Vec<Text> {
        let items = self.list(at);
        self.at_most(at, items.len(), PII_FIELDS_MAX, "fields");
        items
            .iter()
            .filter_map(|it| self.text(it).filter(|text| self.is_pointer(text, it)))
            .collect()
    }

    /// Refuses what is no JSON pointer, or points at the whole.
    pub(super) fn is_pointer(&mut self, text: &str, at: &At<'_>) -> bool {
        let fits = text.starts_with('/') && text.len() > 1;
        if !fits {
            let message = format!("`{text}` is no JSON pointer into the payload");
            self.report(at.text_error("E101", text, message).hint("write it as `/customer/email`"));
        }
        fits
    }

    /// Reads `with`; the outer option says whether it can be used at all.
    fn with<'a>(&mut self, fields: &Fields<'a>, known: &[&str]) -> Option<Option<Fields<'a>>> {
        match fields.get("with") {
            None => Some(None),
            Some(at) => self.fields(&at, &Keys::new("`with`", known)).map(Some),
        }
    }

    fn metric_labels(&mut self, at: &At<'_>) -> BTreeMap<Text, Text> {
        let entries = self.map(at);
        self.at_most(at, entries.len(), PLUGIN_LABELS_MAX, "labels of a plugin");
        let mut labels = BTreeMap::new();
        for (key, entry) in entries {
            if !is_name(&key.text) || key.text.contains('-') || OWN_LABELS.contains(&&*key.text) {
                let message = format!("`{}` is not a name for a label", key.text);
                let hint = format!(
                    "use a letter or `_`, then letters, digits and `_`; `{}` are taken",
                    OWN_LABELS.join("`, `")
                );
                self.report(entry.key_error("E109", message).hint(hint));
            }
            let text = match &entry.node.kind {
                NodeKind::String(text) => text.clone(),
                _ if entry.node.is_plain() => entry.node.to_json().into(),
                _ => Text::default(),
            };
            // A value that is computed would make a series for each value.
            let fits = !text.is_empty()
                && !text.contains("${")
                && text.chars().count() <= PLUGIN_LABEL_CHARS_MAX;
            if !fits {
                let wanted = format!("text of 1 to {PLUGIN_LABEL_CHARS_MAX} characters");
                let message = format!("{} must be {wanted} without an expression", entry.name());
                self.report(entry.error("E101", message));
            }
            labels.insert(key.text.clone(), text);
        }
        labels
    }
}
