//! Gives the parts of a component the names they have in the workflow that uses it.
//!
//! One method for each kind of part, in the order of the language: states, candidates, actions,
//! effects, then names, templates and expressions. Nothing is judged that the compiler judges
//! afterwards: what is not understood stays as it is.

use std::collections::{BTreeMap, BTreeSet};

use traaviis_model::{
    Text,
    document::{
        ChildForm, ParamUse, child_form, param_use,
        tree::{Key, Node, NodeKind},
    },
};

use super::{
    Finding,
    expression::{self, Names},
    is_map, map_values, retext,
    wrap::{MAIN, Moved},
};
use crate::machine::is_reserved;

/// What the names of one component become.
pub(super) struct Rename<'a> {
    /// The prefix; none when the component stands alone.
    pub prefix: Option<&'a str>,
    /// Where its top states stand: empty, or a path that ends with a dot.
    pub above: String,
    /// Its exits, each with the path it leads to; none for an exit that nobody bound.
    pub exits: BTreeMap<Text, Option<Text>>,
    /// Names of events that are not prefixed.
    pub events: BTreeMap<Text, Text>,
    /// Values of its parameters; none where `param` stays.
    pub params: Option<&'a Node>,
    /// Where states of the document have gone; none for a component.
    pub moved: Option<&'a Moved>,
    /// Names from the top down to the state that is being renamed.
    pub here: Vec<Text>,
    /// Names of its top states.
    pub tops: Vec<Text>,
    /// Inside a named effect `param` belongs to `use`.
    pub in_named_effect: bool,
    /// What could not be renamed.
    pub found: Vec<Finding>,
    /// Which of `events` were met.
    pub met: BTreeSet<Text>,
}

/// The maps of states from the top down to the siblings of the one being renamed.
type Levels<'a> = Vec<&'a Node>;

impl<'a> Rename<'a> {
    /// Renames a map of states; `levels` ends with the map itself as written.
    pub fn states(&mut self, written: &'a Node, levels: &mut Levels<'a>) -> Node {
        levels.push(written);
        let is_top = levels.len() == 1;
        let entries = written.entries().iter().map(|(key, state)| {
            self.here.push(key.text.clone());
            let key = if is_top { renamed(key, self.prefixed(&key.text)) } else { key.clone() };
            let state = self.state(state, levels);
            self.here.pop();
            (key, state)
        });
        let kind = NodeKind::Map(entries.collect());
        levels.pop();
        Node { kind, ..*written }
    }

    fn state(&mut self, written: &'a Node, levels: &mut Levels<'a>) -> Node {
        map_values(written, |key, it| match key {
            "states" => self.states(it, levels),
            "on" => self.on(it, levels),
            "always" | "onError" => self.candidates(it, levels),
            "onDone" => self.on_done(it, levels),
            "after" => self.after(it, levels),
            "entry" | "exit" | "actions" => self.actions(it),
            "initial" if is_map(it) => map_values(it, |key, it| match key {
                "actions" => self.actions(it),
                _ => self.initial(it),
            }),
            "initial" => self.initial(it),
            "target" => self.targets(it, levels),
            "invoke" => each(it, |it| self.invoke(it, levels)),
            "output" => self.template(it),
            _ => it.clone(),
        })
    }

    /// Renames descriptors; `*` and families come to mean every event of the component.
    fn on(&mut self, written: &'a Node, levels: &mut Levels<'a>) -> Node {
        let mut entries: Vec<(Key, Node)> = Vec::new();
        let mut families = Vec::new();
        for (key, it) in written.entries() {
            let candidates = self.candidates(it, levels);
            let mut names = self.descriptor(&key.text).into_iter();
            let Some(first) = names.next() else { continue };
            if entries.iter().any(|(have, _)| have.text == first) {
                let message = format!("two events that this state takes become `{first}`");
                self.fail(it, message);
            }
            families.extend(names.map(|name| (renamed(key, name), candidates.clone())));
            entries.push((renamed(key, first), candidates));
        }
        for (key, candidates) in families {
            // A name of its own beats the family, as it did in the component.
            if !entries.iter().any(|(have, _)| have.text == key.text) {
                entries.push((key, candidates));
            }
        }
        Node { kind: NodeKind::Map(entries), ..*written }
    }

    /// Renames what follows the end of a state; it goes along with the states below.
    fn on_done(&mut self, written: &Node, levels: &Levels<'a>) -> Node {
        let is_moved = self.moved.is_some_and(|it| it.is_at(&self.here));
        if is_moved {
            self.here.push(MAIN.into());
        }
        let candidates = self.candidates(written, levels);
        if is_moved {
            self.here.pop();
        }
        candidates
    }

    fn after(&mut self, written: &'a Node, levels: &mut Levels<'a>) -> Node {
        if !is_map(written) {
            return self.candidates(written, levels);
        }
        let entries = written.entries().iter().map(|(key, it)| {
            let delay = Node { kind: NodeKind::String(key.text.clone()), ..*written };
            let delay = match self.template(&delay).kind {
                NodeKind::String(text) => text,
                other => Node { kind: other, ..*written }.to_json().into(),
            };
            (renamed(key, delay), self.candidates(it, levels))
        });
        Node { kind: NodeKind::Map(entries.collect()), ..*written }
    }

    fn invoke(&mut self, written: &Node, levels: &Levels<'a>) -> Node {
        map_values(written, |key, it| match key {
            "effect" => self.effect(it),
            "when" => self.cel(it),
            "onDone" | "onError" | "onProgress" => self.candidates(it, levels),
            _ => it.clone(),
        })
    }

    fn candidates(&mut self, written: &Node, levels: &Levels<'a>) -> Node {
        match &written.kind {
            NodeKind::List(_) => each(written, |it| self.candidates(it, levels)),
            NodeKind::String(_) => self.targets(written, levels),
            _ => map_values(written, |key, it| match key {
                "target" => self.targets(it, levels),
                "guard" => self.cel(it),
                "actions" => self.actions(it),
                "delay" => self.template(it),
                _ => it.clone(),
            }),
        }
    }

    /// Renames what an `initial` names below the state it belongs to.
    fn initial(&self, it: &Node) -> Node {
        let Some(moved) = self.moved else { return it.clone() };
        match &it.kind {
            NodeKind::List(_) => each(it, |it| self.initial(it)),
            NodeKind::String(text) => retext(it, moved.initial(&self.here, text)),
            _ => it.clone(),
        }
    }

    fn targets(&mut self, written: &Node, levels: &Levels<'a>) -> Node {
        match &written.kind {
            NodeKind::List(_) => each(written, |it| self.targets(it, levels)),
            NodeKind::String(text) => match self.target(text, levels) {
                Some(target) => retext(written, target),
                None => {
                    let message =
                        format!("target `{text}` names no state that can be seen from here");
                    self.found.push(super::finding("E102", written, message));
                    written.clone()
                }
            },
            _ => written.clone(),
        }
    }

    /// Finds a target as the compiler does, nearest first; names inside the component stay.
    ///
    /// What is neither there nor an exit must not be looked up among the states of the workflow.
    fn target(&self, text: &Text, levels: &Levels<'a>) -> Option<Text> {
        if let Some(moved) = self.moved {
            let level = levels.iter().rposition(|it| has_state(it, text));
            return Some(moved.target(&self.here, text, level));
        }
        if let Some(path) = text.strip_prefix('#') {
            return Some(format!("#{}", self.path(path)).into());
        }
        if text.starts_with('.') {
            return Some(text.clone());
        }
        match levels.iter().rposition(|it| has_state(it, text)) {
            Some(0) if self.prefix.is_some() => Some(format!("#{}", self.path(text)).into()),
            Some(_) => Some(text.clone()),
            None => match self.exits.get(text) {
                Some(Some(path)) => Some(format!("#{path}").into()),
                // The compiler judges what stands alone; an exit without a state was told already.
                Some(None) => Some(text.clone()),
                None => self.prefix.is_none().then(|| text.clone()),
            },
        }
    }

    fn actions(&mut self, written: &Node) -> Node {
        each(written, |it| self.action(it))
    }

    fn action(&mut self, written: &Node) -> Node {
        if let (Some((_, merged)), Some(prefix)) = (written.entry("merge"), self.prefix) {
            return self.merge_action(written, merged, prefix);
        }
        map_values(written, |key, it| match key {
            "when" => self.cel(it),
            "assign" => self.assign(it),
            "raise" => map_values(it, |key, it| match key {
                "event" => self.event_name(it),
                "id" => self.id(it),
                _ => self.template(it),
            }),
            "cancel" => self.id(it),
            "emit" => map_values(it, |key, it| match key {
                "event" => self.event_name(it),
                _ => self.template(it),
            }),
            "choose" => each(it, |it| map_values(it, |key, it| self.branch(key, it))),
            "for_each" => map_values(it, |key, it| self.branch(key, it)),
            "block" => self.actions(it),
            _ => self.template(it),
        })
    }

    fn branch(&mut self, key: &str, it: &Node) -> Node {
        match key {
            "when" => self.cel(it),
            "actions" => self.actions(it),
            _ => self.template(it),
        }
    }

    /// Merging into `data` becomes assigning the merged map to the component's part of it.
    fn merge_action(&mut self, written: &Node, merged: &Node, prefix: &str) -> Node {
        let value = self.merged(merged, prefix);
        let key = Key { text: prefix.into(), line: merged.line, column: merged.column };
        let assign = Node { kind: NodeKind::Map(vec![(key, value)]), ..*merged };
        let NodeKind::Map(entries) = &written.kind else { return written.clone() };
        let entries = entries.iter().map(|(key, it)| match &*key.text {
            "merge" => (renamed(key, "assign".into()), assign.clone()),
            "when" => (key.clone(), self.cel(it)),
            _ => (key.clone(), it.clone()),
        });
        Node { kind: NodeKind::Map(entries.collect()), ..*written }
    }

    fn merged(&mut self, merged: &Node, prefix: &str) -> Node {
        let value = self.template(merged);
        match expression::literal(&value, &[]) {
            Ok(value) => retext(merged, format!("${{merge(data.{prefix}, {value})}}").into()),
            Err(message) => {
                self.fail(merged, format!("{message}; write `assign` with one key for each"));
                merged.clone()
            }
        }
    }

    fn assign(&mut self, written: &Node) -> Node {
        let entries = written.entries().iter().map(|(key, it)| match &it.kind {
            NodeKind::List(_) if &*key.text == "remove" => {
                (key.clone(), each(it, |it| self.data_path(it)))
            }
            _ => (renamed(key, self.below_data(&key.text)), self.template(it)),
        });
        Node { kind: NodeKind::Map(entries.collect()), ..*written }
    }

    /// Renames an effect and everything below it.
    pub fn effect(&mut self, written: &Node) -> Node {
        let kind = written.entry("type").and_then(|(_, it)| it.as_text()).cloned();
        let kind = kind.unwrap_or_else(|| "".into());
        if let (true, Some(prefix), Some((_, value))) =
            (&*kind == "merge_data", self.prefix, written.entry("value"))
        {
            return self.merge_effect(written, value, prefix);
        }
        map_values(written, |key, it| match (child_form(&kind, key), key) {
            (Some(form), _) => self.child(form, it),
            (None, "type" | "id") => it.clone(),
            (None, "effect") if &*kind == "use" => match it.as_text() {
                Some(name) => retext(it, self.prefixed(name)),
                None => it.clone(),
            },
            (None, _) => match param_use(&kind, key) {
                ParamUse::Cel => self.cel(it),
                ParamUse::Path => self.data_path(it),
                ParamUse::Event => self.event_name(it),
                ParamUse::Value => self.template(it),
            },
        })
    }

    fn merge_effect(&mut self, written: &Node, value: &Node, prefix: &str) -> Node {
        let mut entries: Vec<(Key, Node)> = Vec::new();
        for (key, it) in written.entries() {
            match &*key.text {
                "type" => entries.push((key.clone(), retext(it, "put_data".into()))),
                "value" => {
                    entries.push((renamed(key, "key".into()), retext(value, prefix.into())));
                    entries.push((key.clone(), self.merged(value, prefix)));
                }
                "when" => entries.push((key.clone(), self.cel(it))),
                "save" => entries.push((key.clone(), self.data_path(it))),
                "compensation" => entries.push((key.clone(), self.effect(it))),
                _ => entries.push((key.clone(), it.clone())),
            }
        }
        Node { kind: NodeKind::Map(entries), ..*written }
    }

    fn child(&mut self, form: ChildForm, it: &Node) -> Node {
        match form {
            ChildForm::One => self.effect(it),
            ChildForm::List | ChildForm::ListOrMap if is_map(it) => {
                map_values(it, |_, it| self.effect(it))
            }
            ChildForm::List | ChildForm::ListOrMap => each(it, |it| self.effect(it)),
            ChildForm::Saga => each(it, |it| {
                map_values(it, |key, it| match key {
                    "action" | "compensation" => self.effect(it),
                    "id" => it.clone(),
                    _ => self.template(it),
                })
            }),
            ChildForm::Cases => each(it, |it| {
                map_values(it, |key, it| match key {
                    "effect" => self.effect(it),
                    _ if it.as_text().is_some_and(|it| expression::reads_value(it)) => self.cel(it),
                    _ => it.clone(),
                })
            }),
        }
    }

    /// Returns the name of a state, effect or validation of the component.
    pub fn prefixed(&self, name: &str) -> Text {
        match self.prefix {
            Some(prefix) => format!("{prefix}_{name}").into(),
            None => name.into(),
        }
    }

    /// Returns the path of a state of the component.
    pub fn path(&self, path: &str) -> String {
        match self.moved {
            Some(moved) => moved.path(path),
            None => format!("{}{}", self.above, self.prefixed(path)),
        }
    }

    /// Returns the name of an event.
    pub fn event(&mut self, name: &str) -> Text {
        if let Some(path) = name.strip_prefix("done.state.") {
            let path = match self.moved {
                Some(moved) => moved.done(path),
                None => self.path(path),
            };
            return format!("done.state.{path}").into();
        }
        if let Some(own) = self.events.get(name) {
            self.met.insert(name.into());
            return own.clone();
        }
        let families = self.events.iter().filter_map(|(theirs, ours)| {
            let rest = name.strip_prefix(theirs.strip_suffix(".*")?)?;
            rest.starts_with('.')
                .then(|| (theirs, format!("{}{rest}", ours.trim_end_matches(".*"))))
        });
        if let Some((theirs, name)) = families.max_by_key(|(theirs, _)| theirs.len()) {
            self.met.insert(theirs.clone());
            return name.into();
        }
        match self.prefix {
            Some(prefix) if !is_reserved(name) => format!("{prefix}.{name}").into(),
            _ => name.into(),
        }
    }

    /// Returns what a descriptor becomes: the first is its own, others are events that were given
    /// names outside of the component's.
    pub fn descriptor(&mut self, text: &str) -> Vec<Text> {
        let Some(prefix) = self.prefix else { return vec![self.event(text)] };
        let family = match text.strip_suffix(".*") {
            Some(family) if !is_reserved(family) => family,
            None if text == "*" => "",
            _ => return vec![self.event(text)],
        };
        let own = match self.events.get(text) {
            Some(_) => self.event(text),
            None => format!("{prefix}.{text}").into(),
        };
        let below = |name: &&Text| {
            let rest = name.strip_prefix(family);
            &***name != text
                && rest.is_some_and(|it| family.is_empty() || it.is_empty() || it.starts_with('.'))
        };
        let named = self.events.iter().filter(|(theirs, _)| below(theirs));
        std::iter::once(own).chain(named.map(|(_, ours)| ours.clone())).collect()
    }

    pub fn event_name(&mut self, it: &Node) -> Node {
        match &it.kind {
            NodeKind::List(_) => each(it, |it| self.event_name(it)),
            NodeKind::String(text) if text.contains("${") => {
                if self.prefix.is_some() {
                    let message = "a component cannot compute the name of an event";
                    self.fail(it, message.into());
                }
                self.template(it)
            }
            NodeKind::String(text) => retext(it, self.event(text)),
            _ => it.clone(),
        }
    }

    /// Renames what an instance keeps under an id of its own.
    fn id(&mut self, it: &Node) -> Node {
        let it = self.template(it);
        match it.as_text() {
            Some(text) => retext(&it, self.prefixed(text)),
            None => it,
        }
    }

    fn below_data(&self, path: &str) -> Text {
        match self.prefix {
            Some(prefix) => format!("{prefix}.{path}").into(),
            None => path.into(),
        }
    }

    fn data_path(&mut self, it: &Node) -> Node {
        let it = self.template(it);
        match it.as_text() {
            Some(text) => retext(&it, self.below_data(text)),
            None => it,
        }
    }

    /// Renames inside the texts of a value.
    pub fn template(&mut self, it: &Node) -> Node {
        match &it.kind {
            NodeKind::String(text) => match expression::template(text, &self.names()) {
                Ok(kind) => Node { kind, ..*it },
                Err(message) => {
                    self.fail(it, message);
                    it.clone()
                }
            },
            NodeKind::List(_) => each(it, |it| self.template(it)),
            NodeKind::Map(_) => map_values(it, |_, it| self.template(it)),
            _ => it.clone(),
        }
    }

    /// Renames inside an expression.
    pub fn cel(&mut self, it: &Node) -> Node {
        let Some(text) = it.as_text() else { return it.clone() };
        match expression::expression(text, &self.names()) {
            Ok(text) => retext(it, text.into()),
            Err(message) => {
                self.fail(it, message);
                it.clone()
            }
        }
    }

    fn names(&self) -> Names<'_> {
        // Borrowed for one call only, which is why it is made anew.
        Names {
            data: self.prefix,
            params: self.params.filter(|_| !self.in_named_effect),
            above: &self.above,
            moved: self.moved,
        }
    }

    pub fn fail(&mut self, it: &Node, message: String) {
        self.found.push(super::finding("E120", it, message));
    }
}

/// Says whether a path of names leads to a state.
fn has_state(states: &Node, path: &str) -> bool {
    let mut at = Some(states);
    path.split('.').all(|name| {
        let Some((_, state)) = at.and_then(|it| it.entry(name)) else { return false };
        at = state.entry("states").map(|(_, it)| it);
        true
    })
}

pub(super) fn renamed(key: &Key, text: Text) -> Key {
    Key { text, ..*key }
}

/// Returns a list with each item changed; a single value counts as its only item.
pub(super) fn each(it: &Node, mut change: impl FnMut(&Node) -> Node) -> Node {
    match &it.kind {
        NodeKind::List(items) => {
            Node { kind: NodeKind::List(items.iter().map(change).collect()), ..*it }
        }
        _ if it.is_plain() || is_map(it) => change(it),
        _ => it.clone(),
    }
}
