//! Turns the tree of a document into a definition and collects everything wrong with it.
//!
//! This file holds the tools: a value with its place ([`At`]), the keys of a map checked against
//! what the language knows ([`Keys`], [`Fields`]), and readers of plain values. The parts of the
//! language follow in files of their own. Nothing stops at the first mistake: what cannot be read
//! is reported and left out, and the caller drops the definition.

mod workflow;

mod state;

mod candidate;

mod action;

mod event;

mod effect;

mod kinds;

mod budget;

mod grant;

mod plugin;

mod retention;
mod retry;

mod migration;

mod subscription;
mod test_case;
mod trigger;

mod waive;

mod component;

pub use event::is_event_name;
pub use kinds::{Form, KindFacts, ParamUse, child_form, effect_kinds, param_use};

use std::collections::BTreeSet;

use crate::{
    definition::{Definition, Effect, Mock, Pointer, Waivers},
    diagnostic::Diagnostic,
    document::{
        canonical::hash_of,
        tree::{Key, Node, NodeKind, escape, place_of},
    },
    ids::{DefinitionHash, Text},
    value::Value,
};

/// Reads a definition; it is whole only when no finding is an error.
pub(super) fn definition(root: &Node) -> (Option<Definition>, Vec<Diagnostic>) {
    let mut reader = Reader::default();
    let definition = reader.workflow(&At::root(root));
    (definition, reader.diagnostics)
}

/// Returns what is wrong with the form of a document before its components are merged, or of a
/// component.
pub(super) fn written(root: &Node) -> Vec<Diagnostic> {
    let mut reader = Reader { written: true, ..Reader::default() };
    reader.workflow(&At::root(root));
    reader.diagnostics
}

/// Returns what is wrong with how a document uses components, or is one.
pub(super) fn uses(root: &Node) -> Vec<Diagnostic> {
    let mut reader = Reader { written: true, ..Reader::default() };
    reader.reuse(&Fields { at: At::root(root) });
    reader.diagnostics
}

/// Reads an effect tree that stands in no document.
pub(super) fn effect(root: &Node) -> (Option<Effect>, Vec<Diagnostic>) {
    let mut reader = Reader::default();
    let at = At::root(root);
    reader.refuse_secrets(root, &at);
    let effect = reader.effect(&at, &mut effect::Tree::default(), 1);
    (effect, reader.diagnostics)
}

/// Reads mocks that stand in no test.
pub(super) fn mocks(root: &Node) -> (Vec<Mock>, Vec<Diagnostic>) {
    let mut reader = Reader::default();
    let mocks = reader.mocks(&At::root(root));
    (mocks, reader.diagnostics)
}

/// Returns the identity of a document.
pub(super) fn hash(root: &Node) -> DefinitionHash {
    let mut reader = Reader::default();
    reader.workflow(&At::root(root));
    reader.hash(root)
}

/// A value of the document, its key and its pointer.
#[derive(Clone)]
pub(super) struct At<'a> {
    node: &'a Node,
    key: Option<&'a Key>,
    pointer: Pointer,
}

impl<'a> At<'a> {
    fn root(node: &'a Node) -> At<'a> {
        At { node, key: None, pointer: "".into() }
    }

    fn child(&self, key: &'a Key, node: &'a Node) -> At<'a> {
        let pointer = format!("{}/{}", self.pointer, escape(&key.text)).into();
        At { node, key: Some(key), pointer }
    }

    fn item(&self, at: usize, node: &'a Node) -> At<'a> {
        At { node, key: None, pointer: format!("{}/{at}", self.pointer).into() }
    }

    /// Returns the items of a list, or the value itself as the only item.
    fn one_or_many(&self) -> Vec<At<'a>> {
        self.items().unwrap_or_else(|| vec![self.clone()])
    }

    fn items(&self) -> Option<Vec<At<'a>>> {
        match &self.node.kind {
            NodeKind::List(items) => {
                Some(items.iter().enumerate().map(|(at, it)| self.item(at, it)).collect())
            }
            _ => None,
        }
    }

    fn entries(&self) -> Option<Vec<(&'a Key, At<'a>)>> {
        match &self.node.kind {
            NodeKind::Map(entries) => {
                Some(entries.iter().map(|(key, it)| (key, self.child(key, it))).collect())
            }
            _ => None,
        }
    }

    fn text(&self) -> Option<&'a Text> {
        match &self.node.kind {
            NodeKind::String(text) => Some(text),
            _ => None,
        }
    }

    fn is_map(&self) -> bool {
        matches!(self.node.kind, NodeKind::Map(_))
    }

    fn is_list(&self) -> bool {
        matches!(self.node.kind, NodeKind::List(_))
    }

    fn value(&self) -> Value {
        self.node.to_value()
    }

    /// Returns what messages call this value: its key, or its position in the list.
    fn name(&self) -> String {
        match self.key {
            Some(key) => format!("`{}`", key.text),
            None => match self.pointer.rsplit_once('/') {
                Some((above, at)) => {
                    format!("item {at} of `{}`", above.rsplit('/').next().unwrap_or_default())
                }
                None => "the document".into(),
            },
        }
    }

    fn error(&self, code: &'static str, message: impl Into<String>) -> Diagnostic {
        let (line, column) = place_of(self.key, self.node);
        Diagnostic::error(code, &*self.pointer, message).at(line, column)
    }

    /// Returns an error about the key rather than the value.
    fn key_error(&self, code: &'static str, message: impl Into<String>) -> Diagnostic {
        let diagnostic = self.error(code, message);
        match self.key {
            Some(key) => diagnostic.at(key.line, key.column),
            None => diagnostic,
        }
    }

    /// Returns an error about `text`, which is either the key or the value.
    fn text_error(&self, code: &'static str, text: &str, message: String) -> Diagnostic {
        match self.key {
            Some(key) if *key.text == *text => self.key_error(code, message),
            _ => self.error(code, message),
        }
    }
}

/// The keys one kind of map may have.
pub(super) struct Keys<'k> {
    /// What messages call the map: `a candidate`.
    what: &'k str,
    /// Code of an unknown key.
    code: &'static str,
    known: &'k [&'k str],
    /// Keys of the language that this release does not carry out.
    unavailable: &'k [&'k str],
}

impl<'k> Keys<'k> {
    const fn new(what: &'k str, known: &'k [&'k str]) -> Keys<'k> {
        Keys { what, code: "E101", known, unavailable: &[] }
    }

    const fn without(mut self, unavailable: &'k [&'k str]) -> Keys<'k> {
        self.unavailable = unavailable;
        self
    }
}

/// A map whose keys are checked.
pub(super) struct Fields<'a> {
    at: At<'a>,
}

impl<'a> Fields<'a> {
    fn get(&self, key: &str) -> Option<At<'a>> {
        let (key, node) = self.at.node.entry(key)?;
        Some(self.at.child(key, node))
    }

    fn has(&self, key: &str) -> bool {
        self.at.node.entry(key).is_some()
    }
}

/// Collects findings while parts of the document are read.
#[derive(Default)]
pub(super) struct Reader {
    diagnostics: Vec<Diagnostic>,
    /// The document may be a component, and have components of its own.
    written: bool,
    /// Pointers of `x-` keys that the language skips; they are not part of the hash.
    extensions: BTreeSet<Pointer>,
    states: usize,
    state_ids: BTreeSet<Text>,
    waivers: Waivers,
}

impl Reader {
    fn report(&mut self, diagnostic: Diagnostic) {
        self.diagnostics.push(diagnostic);
    }

    /// Checks that a value is a map with known keys only.
    fn fields<'a>(&mut self, at: &At<'a>, keys: &Keys<'_>) -> Option<Fields<'a>> {
        let Some(entries) = at.entries() else {
            self.expected(at, keys.code, &format!("{} written as a map", keys.what));
            return None;
        };
        for (key, entry) in entries {
            let name = &*key.text;
            if name.starts_with("x-") {
                self.extensions.insert(entry.pointer.clone());
            } else if keys.unavailable.contains(&name) {
                self.unavailable(&entry, name);
            } else if !keys.known.contains(&name) {
                let message = format!("unknown key `{name}` in {}", keys.what);
                let diagnostic = entry.key_error(keys.code, message);
                let hint = match nearest(name, keys.known.iter().copied()) {
                    Some(near) => Some(format!("did you mean `{near}`?")),
                    None if name == "<<" => {
                        Some("YAML 1.2 has no merge keys; write the keys out".into())
                    }
                    None if keys.known.len() <= 12 => {
                        Some(format!("known keys: {}", join(keys.known)))
                    }
                    None => None,
                };
                self.report(Diagnostic { hint, ..diagnostic });
            }
        }
        Some(Fields { at: at.clone() })
    }

    fn unavailable(&mut self, at: &At<'_>, what: &str) {
        let message = format!(
            "feature_unavailable: `{what}` is part of the language but not available in this release"
        );
        self.report(at.key_error("E190", message));
    }

    /// Says that a key is kept but has no effect yet; the document works without it.
    fn not_applied(&mut self, at: &At<'_>, what: &str) {
        let message =
            format!("feature_unavailable: `{what}` is kept but not applied in this release");
        let diagnostic = at.key_error("W190", message);
        self.report(diagnostic.as_warning());
    }

    fn expected(&mut self, at: &At<'_>, code: &'static str, wanted: &str) {
        let message = format!("{} must be {wanted}, found {}", at.name(), at.node.words());
        self.report(at.error(code, message));
    }

    fn missing(&mut self, fields: &Fields<'_>, code: &'static str, key: &str, what: &str) {
        self.report(fields.at.error(code, format!("`{key}` is missing in {what}")));
    }

    /// Reads a field that must be there.
    fn required<'a>(&mut self, fields: &Fields<'a>, key: &str, what: &str) -> Option<At<'a>> {
        let found = fields.get(key);
        if found.is_none() {
            self.missing(fields, "E101", key, what);
        }
        found
    }

    fn text(&mut self, at: &At<'_>) -> Option<Text> {
        let text = at.text().cloned();
        if text.is_none() {
            let message = format!("{} must be text, found {}", at.name(), at.node.words());
            let diagnostic = at.error("E101", message);
            self.report(match at.node.is_plain() {
                true => diagnostic.hint(format!("write it in quotes: \"{}\"", at.node.to_json())),
                false => diagnostic,
            });
        }
        text
    }

    /// Reads text that says something.
    fn words(&mut self, at: &At<'_>) -> Option<Text> {
        let text = self.text(at)?;
        if text.trim().is_empty() {
            self.report(at.error("E101", format!("{} must not be empty", at.name())));
            return None;
        }
        Some(text)
    }

    /// Reads a CEL expression; YAML turns `true` and `false` into truth values.
    fn cel(&mut self, at: &At<'_>) -> Option<Text> {
        match &at.node.kind {
            NodeKind::Bool(it) => Some(if *it { "true".into() } else { "false".into() }),
            _ => self.words(at),
        }
    }

    fn flag(&mut self, at: &At<'_>) -> Option<bool> {
        match &at.node.kind {
            NodeKind::Bool(it) => Some(*it),
            _ => {
                self.expected(at, "E101", "true or false");
                None
            }
        }
    }

    /// Reads one of a few words.
    fn choice<T: Copy>(
        &mut self,
        at: &At<'_>,
        code: &'static str,
        choices: &[(&str, T)],
    ) -> Option<T> {
        let text = at.text().map(|it| &**it);
        let found = choices.iter().find(|(word, _)| Some(*word) == text);
        if found.is_none() {
            let words: Vec<&str> = choices.iter().map(|(word, _)| *word).collect();
            let message = match text {
                Some(text) => {
                    format!("{} must be one of {}, not `{text}`", at.name(), join(&words))
                }
                None => {
                    let found = at.node.words();
                    format!("{} must be one of {}, found {found}", at.name(), join(&words))
                }
            };
            let near = text.and_then(|text| nearest(text, words.iter().copied()));
            let diagnostic = at.error(code, message);
            self.report(match near {
                Some(near) => diagnostic.hint(format!("did you mean `{near}`?")),
                None => diagnostic,
            });
        }
        found.map(|(_, it)| *it)
    }

    /// Reads a duration as written: text or milliseconds; the engine judges the text.
    fn duration(&mut self, at: &At<'_>) -> Option<Value> {
        match at.node.kind {
            NodeKind::String(_) | NodeKind::Int(_) | NodeKind::Uint(_) | NodeKind::Float(_) => {
                Some(at.value())
            }
            _ => {
                self.expected(at, "E101", "a duration such as `30s`");
                None
            }
        }
    }

    /// Reads a list; says so when something else stands there.
    fn list<'a>(&mut self, at: &At<'a>) -> Vec<At<'a>> {
        at.items().unwrap_or_else(|| {
            let message = format!("{} must be a list, found {}", at.name(), at.node.words());
            let diagnostic = at.error("E101", message);
            self.report(match at.is_map() {
                true => diagnostic.hint("put the map into brackets: `[{...}]`"),
                false => diagnostic,
            });
            Vec::new()
        })
    }

    /// Reads a map whose keys are names.
    fn map<'a>(&mut self, at: &At<'a>) -> Vec<(&'a Key, At<'a>)> {
        at.entries().unwrap_or_else(|| {
            self.expected(at, "E101", "a map");
            Vec::new()
        })
    }

    /// Reads a text or a list of texts.
    fn texts(&mut self, at: &At<'_>) -> Vec<Text> {
        at.one_or_many().iter().filter_map(|it| self.words(it)).collect()
    }

    /// Reads a JSON Schema; its inside is for the engine to judge.
    fn schema(&mut self, at: &At<'_>) -> Option<Value> {
        match at.node.kind {
            NodeKind::Map(_) | NodeKind::Bool(_) => Some(at.value()),
            _ => {
                self.expected(at, "E101", "a JSON Schema");
                None
            }
        }
    }

    /// Reads a dotted path into `data`.
    fn path(&mut self, text: &Text, at: &At<'_>) -> Option<Text> {
        if text.split('.').any(|segment| segment.trim().is_empty()) {
            let message = format!("`{text}` is not a path such as `order.items`");
            self.report(at.text_error("E101", text, message));
            return None;
        }
        Some(text.clone())
    }

    fn hash(&self, root: &Node) -> DefinitionHash {
        let mut pointer = String::new();
        hash_of(&self.without_extensions(root, &mut pointer))
    }

    fn without_extensions(&self, node: &Node, pointer: &mut String) -> Value {
        match &node.kind {
            NodeKind::List(items) => {
                let outer = pointer.len();
                Value::list(items.iter().enumerate().map(|(at, item)| {
                    pointer.push_str(&format!("/{at}"));
                    let value = self.without_extensions(item, pointer);
                    pointer.truncate(outer);
                    value
                }))
            }
            NodeKind::Map(entries) => {
                let outer = pointer.len();
                Value::map(entries.iter().filter_map(|(key, item)| {
                    if outer == 0 && &*key.text == "layout" {
                        return None;
                    }
                    pointer.push('/');
                    pointer.push_str(&escape(&key.text));
                    let skip = self.extensions.contains(pointer.as_str());
                    let value = (!skip).then(|| self.without_extensions(item, pointer));
                    pointer.truncate(outer);
                    Some((key.text.clone(), value?))
                }))
            }
            _ => node.to_value(),
        }
    }
}

/// Joins words for a message: `a`, `b`, `c`.
fn join(words: &[&str]) -> String {
    words.iter().map(|it| format!("`{it}`")).collect::<Vec<_>>().join(", ")
}

/// Says whether text is `[A-Za-z_][A-Za-z0-9_-]*`.
pub fn is_name(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-'))
}

/// Returns the word that was probably meant: the same but for case, `_` and `-`, or a few typing
/// mistakes away.
pub fn nearest<'k>(text: &str, words: impl Iterator<Item = &'k str>) -> Option<&'k str> {
    // Longer words are no typing mistakes, and the distance costs length times length.
    const CHARS_MAX: usize = 40;
    let plain = |text: &str| -> Vec<char> {
        let letters = text.chars().filter(|c| !matches!(c, '_' | '-' | ' '));
        letters.take(CHARS_MAX + 1).flat_map(char::to_lowercase).collect()
    };
    let wanted = plain(text);
    if wanted.is_empty() || wanted.len() > CHARS_MAX {
        return None;
    }
    words
        .map(|word| (distance(&wanted, &plain(word)), word))
        .filter(|(distance, word)| *distance <= (word.len().min(wanted.len()) / 3).clamp(1, 2))
        .filter(|(distance, word)| *distance < word.len())
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, word)| word)
}

/// Counts insertions, deletions, replacements and swaps of neighbours between two words.
fn distance(a: &[char], b: &[char]) -> usize {
    let mut rows = vec![vec![0; b.len() + 1]; a.len() + 1];
    for i in 0..=a.len() {
        for j in 0..=b.len() {
            if i == 0 || j == 0 {
                rows[i][j] = i + j;
                continue;
            }
            let replaced = rows[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut best = replaced.min(rows[i - 1][j] + 1).min(rows[i][j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(rows[i - 2][j - 2] + 1);
            }
            rows[i][j] = best;
        }
    }
    rows[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys<'v>(value: &'v serde_json::Value, pointer: &str) -> Vec<&'v str> {
        let map = value.pointer(pointer).and_then(|it| it.as_object()).unwrap();
        let mut keys: Vec<&str> = map.keys().map(|it| it.as_str()).collect();
        keys.sort_unstable();
        keys
    }

    fn sorted<'k>(keys: impl IntoIterator<Item = &'k str>) -> Vec<&'k str> {
        let mut keys: Vec<&str> = keys.into_iter().collect();
        keys.sort_unstable();
        keys.dedup();
        keys
    }

    #[test]
    fn the_schema_knows_the_keys_that_the_reader_knows() {
        let schema: serde_json::Value =
            serde_json::from_str(crate::document::WORKFLOW_SCHEMA).unwrap();
        for (at, known) in [
            ("", workflow::KNOWN),
            ("/$defs/state", state::KNOWN),
            ("/$defs/invoke", state::INVOKE_KNOWN),
            ("/$defs/candidate", candidate::KNOWN),
            ("/$defs/event", event::KNOWN),
            ("/$defs/use_of_component", component::USE_KNOWN),
            ("/$defs/retry", retry::KNOWN),
            ("/$defs/plugin", plugin::KNOWN),
            ("/$defs/budgets", budget::BUDGETS_KNOWN),
            ("/$defs/budget", budget::BUDGET_KNOWN),
            ("/$defs/permissions", grant::KNOWN),
            ("/$defs/migration", migration::KNOWN),
            ("/$defs/schedule", trigger::KNOWN),
            ("/$defs/event_trigger", trigger::EVENT_KNOWN),
            ("/$defs/webhook_trigger", trigger::HOOK_KNOWN),
            ("/$defs/manual_trigger", trigger::MANUAL_KNOWN),
            ("/$defs/subscription", subscription::KNOWN),
            ("/$defs/publisher", subscription::FROM_KNOWN),
            ("/$defs/test", test_case::KNOWN),
            ("/$defs/expectations", test_case::EXPECT_KNOWN),
        ] {
            let found = keys(&schema, &format!("{at}/properties"));
            assert_eq!(found, sorted(known.iter().copied()), "{at}");
        }
        let actions = action::KINDS.iter().copied().chain(["when"]);
        assert_eq!(keys(&schema, "/$defs/action/properties"), sorted(actions));
        for kind in kinds::KINDS.iter().chain(kinds::MOCKED) {
            let carried_out =
                kind.params.iter().filter(|it| !matches!(it.shape, kinds::Shape::Later));
            let own = carried_out.map(|it| it.name);
            let own = own.chain(kind.roles.iter().map(|it| it.name));
            let own = own.chain(
                kinds::COMMON.iter().copied().filter(|it| kind.name != "retry" || *it != "retry"),
            );
            let policy = if kind.name == "retry" { retry::KNOWN } else { &[] };
            let own = sorted(own.chain(policy.iter().copied()));
            let found = keys(&schema, &format!("/$defs/effect_{}/properties", kind.name));
            assert_eq!(found, own, "{}", kind.name);
        }
        let called = kinds::MOCKED.iter().map(|it| it.name).chain(["call", "call_api", "notify"]);
        assert_eq!(sorted(called), sorted(crate::call::CALL_KINDS.iter().copied()));
        let branches = schema.pointer("/$defs/effect/allOf").unwrap().as_array().unwrap();
        assert_eq!(branches.len(), kinds::KINDS.len() + kinds::MOCKED.len());
    }

    #[test]
    fn the_nearest_word_is_what_was_meant() {
        let near = |text| {
            nearest(text, ["target", "onDone", "on", "call_api", "if_condition"].into_iter())
        };
        assert_eq!(near("tagret"), Some("target"));
        assert_eq!(near("on_done"), Some("onDone"));
        assert_eq!(near("CallApi"), Some("call_api"));
        assert_eq!(near("elephant"), None);
        assert_eq!(near("é"), None);
        assert_eq!(near(&"x".repeat(1 << 20)), None);
    }
}
