//! The workflow document of a chart: its states, transitions and data.
//!
//! Executable content is written by `content.rs`, names of events by `events.rs`.

use std::collections::{BTreeMap, BTreeSet};

use roxmltree::{Document, Node};

use super::{
    Import, ScxmlError,
    content::{FAILING, escaped, failing},
    ecma::{self, Cel, Names, quote},
    events::{Descriptor, Events},
    states::{Chart, Kind, State, StateIndex, to_name},
};
use crate::{
    loss::{Loss, Place},
    tree::Tree,
};

/// Transitions of one state, in bytes of the chart, counted once for each event that they stand
/// under. More is no document that could be read.
const WRITTEN_BYTES_MAX: usize = 4 << 20;

/// Writes the document.
pub fn document<'x>(xml: &'x Document<'x>, chart: &Chart<'x>) -> Result<Import, ScxmlError> {
    let mut writer = Writer {
        xml,
        chart,
        loss: Loss::default(),
        events: Events::of(chart),
        variables: BTreeSet::new(),
        texts: BTreeSet::new(),
        functions: BTreeMap::new(),
        data: Tree::Map(Vec::new()),
        bindings: BTreeMap::new(),
        helpers: 0,
    };
    writer.bind_data();
    writer.tell_reserved();
    let initial = writer.initial(0)?;
    let mut states = Tree::Map(Vec::new());
    for child in &chart.states[0].children {
        let written = writer.state(*child)?;
        states.put(chart.states[*child].name.clone(), written);
    }
    let root = chart.states[0].node;
    let name: String = to_name(root.attribute("name").unwrap_or("Imported"));
    let mut document = Tree::map([
        ("traaviis", Tree::text("1")),
        ("name", Tree::text(name.trim_start_matches('_').to_string())),
        ("version", Tree::text("1.0.0")),
        // SCXML drops what no state takes, errors as well.
        ("unhandled", Tree::text("ignore")),
        ("errors", Tree::map([("unhandled", Tree::text("ignore"))])),
        ("initial", initial),
    ]);
    if !writer.data.is_empty() {
        document.put("data", Tree::map([("initial", writer.data)]));
    }
    let events = writer.events.declared();
    if !events.is_empty() {
        let declared = events.into_iter().map(|it| (it, Tree::Map(Vec::new())));
        document.put("events", Tree::Map(declared.collect()));
    }
    document.put("states", states);
    Ok(Import { document, loss: writer.loss })
}

pub(super) struct Writer<'x, 'c> {
    xml: &'x Document<'x>,
    chart: &'c Chart<'x>,
    pub(super) loss: Loss,
    events: Events,
    pub(super) variables: BTreeSet<String>,
    /// Variables that hold text whenever they are read.
    texts: BTreeSet<String>,
    /// Variables that always hold the same function, and the function.
    functions: BTreeMap<String, &'x str>,
    /// What the data begin with.
    data: Tree,
    /// Actions that give data their first values, by the state whose entry runs them.
    bindings: BTreeMap<StateIndex, Vec<Tree>>,
    /// Fields of `data` that only the conversion needs.
    helpers: usize,
}

impl Names for Writer<'_, '_> {
    fn is_variable(&self, name: &str) -> bool {
        self.variables.contains(name)
    }
    fn state_path(&self, id: &str) -> Option<String> {
        self.chart.find(id).map(|it| self.chart.states[it].path.clone())
    }
    fn state_paths(&self) -> Vec<(String, String)> {
        let states = self.chart.ids().take(ecma::IN_STATES_MAX + 1);
        states.map(|(id, it)| (id.into(), self.chart.states[it].path.clone())).collect()
    }
    fn field(&self, name: &str) -> String {
        to_name(name)
    }
    fn is_text(&self, name: &str) -> bool {
        self.texts.contains(name)
    }
    fn function(&self, name: &str) -> Option<&str> {
        self.functions.get(name).copied()
    }
    fn event(&self, name: &str) -> String {
        self.events.name(name)
    }
}

/// A transition that can be written.
struct Transition {
    descriptors: Vec<Descriptor>,
    candidate: Tree,
    /// How much it was in the chart.
    source_bytes: usize,
}

/// Returns the elements of one name directly inside another.
pub(super) fn elements<'x>(
    node: Node<'x, 'x>,
    name: &'static str,
) -> impl Iterator<Item = Node<'x, 'x>> {
    node.children().filter(move |it| it.is_element() && it.tag_name().name() == name)
}

impl<'x> Writer<'x, '_> {
    fn place(&self, node: Node<'x, 'x>, message: impl Into<String>) -> Place {
        let at = self.xml.text_pos_at(node.range().start);
        let element = format!("<{}>", node.tag_name().name());
        Place { line: at.row, column: at.col, element, message: message.into() }
    }

    pub(super) fn dropped(&mut self, node: Node<'x, 'x>, message: impl Into<String>) {
        let place = self.place(node, message);
        self.loss.dropped.push(place);
    }

    pub(super) fn approximated(&mut self, node: Node<'x, 'x>, message: impl Into<String>) {
        let place = self.place(node, message);
        self.loss.approximated.push(place);
    }

    fn line(&self, node: Node<'x, 'x>) -> u32 {
        self.xml.text_pos_at(node.range().start).row
    }

    // --- Data and events --------------------------------------------------------------------

    fn bind_data(&mut self) {
        let root = self.chart.states[0].node;
        let is_late = root.attribute("binding") == Some("late");
        let named = |name: &'static str| {
            root.descendants().filter(move |it| it.is_element() && it.tag_name().name() == name)
        };
        for node in named("data") {
            self.variables.extend(node.attribute("id").map(str::to_string));
        }
        for node in named("foreach") {
            let own = [node.attribute("item"), node.attribute("index")];
            self.variables.extend(own.into_iter().flatten().map(|it| it.trim().to_string()));
        }
        self.find_functions(named("data").collect());
        self.find_texts(named("data").collect());
        for (index, state) in self.chart.states.iter().enumerate() {
            for node in elements(state.node, "datamodel").flat_map(|it| elements(it, "data")) {
                let Some(id) = node.attribute("id") else { continue };
                self.loss.kept += 1;
                let value = self.first_value(node, id);
                if is_late && index != 0 {
                    self.bind_on_entry(index, id, value);
                } else {
                    self.bind_at_start(id, value);
                }
            }
        }
        // What is bound at the start is bound once, also when the first state is entered again.
        let first = self.first_top_state();
        if self.bindings.contains_key(&first) && self.data.get("begun").is_some() {
            let begun = Tree::map([("begun", Tree::Plain("true".into()))]);
            self.binding(first, "begun", Tree::map([("assign", begun)]));
        }
    }

    /// A variable that nothing changes can be replaced by the function that it holds.
    fn find_functions(&mut self, declared: Vec<Node<'x, 'x>>) {
        let places = ["location", "idlocation", "item", "index"];
        let elements = self.chart.states[0].node.descendants().filter(Node::is_element);
        let changed: BTreeSet<&str> = elements
            .flat_map(|it| places.iter().filter_map(move |place| it.attribute(*place)))
            .map(str::trim)
            .collect();
        for node in declared {
            if let (Some(id), Some(source)) = (node.attribute("id"), node.attribute("expr"))
                && !changed.contains(id)
                && ecma::is_function(source)
            {
                self.functions.insert(id.into(), source);
                self.approximated(node, "the function is written out where it is called");
            }
        }
    }

    /// `+` joins text and adds numbers. A variable that begins as text, and gets nothing else, is
    /// text; whether a new value is text can depend on other variables, so it is asked again until
    /// nothing changes.
    fn find_texts(&mut self, declared: Vec<Node<'x, 'x>>) {
        const ROUNDS_MAX: usize = 8;
        let root = self.chart.states[0].node;
        let sources = |node: Node<'x, 'x>| node.attribute("expr").unwrap_or_default();
        let mut values: Vec<(&str, &str)> = declared
            .iter()
            .map(|it| (it.attribute("id").unwrap_or_default(), sources(*it)))
            .collect();
        for node in root.descendants().filter(Node::is_element) {
            match node.tag_name().name() {
                "assign" => {
                    let location = node.attribute("location").unwrap_or_default().trim();
                    values.push((location, sources(node)));
                }
                "foreach" => {
                    let own = [node.attribute("item"), node.attribute("index")];
                    values.extend(own.into_iter().flatten().map(|it| (it.trim(), "")));
                }
                _ => {}
            }
        }
        self.texts = self.variables.clone();
        for _ in 0..ROUNDS_MAX {
            let is_other =
                |source: &str| !ecma::translate(source, self).is_ok_and(|it| it.is_text());
            let others: BTreeSet<&str> = values
                .iter()
                .filter(|(_, source)| is_other(source))
                .map(|(name, _)| *name)
                .collect();
            let before = self.texts.len();
            self.texts.retain(|it| !others.contains(it.as_str()));
            if self.texts.len() == before {
                return;
            }
        }
        self.texts.clear();
    }

    /// Returns what a variable begins with; the error is the action that fails instead.
    fn first_value(&mut self, node: Node<'x, 'x>, id: &str) -> Result<(Tree, bool), Tree> {
        if node.attribute("src").is_some() {
            self.dropped(node, "`src` is not loaded; the variable begins as null");
        }
        if self.functions.contains_key(id) {
            return Ok((Tree::Plain("null".into()), false));
        }
        let content = node.text().map(str::trim).filter(|it| !it.is_empty());
        match (node.attribute("expr"), content) {
            (Some(source), _) => match ecma::translate(source, self) {
                Ok(cel) => Ok((template(&cel), cel.reads)),
                Err(why) => {
                    self.dropped(node, format!("`{source}` fails at the start: {why}"));
                    Err(failing())
                }
            },
            (None, Some(text)) => Ok((self.inline(text), false)),
            (None, None) => Ok((Tree::Plain("null".into()), false)),
        }
    }

    /// Returns what stands between tags: JSON, a literal of ECMAScript, or text.
    pub(super) fn inline(&self, text: &str) -> Tree {
        if let Ok(value) = serde_json::from_str::<serde_json::Value>(text) {
            return plain(&value);
        }
        match ecma::translate(text, self) {
            Ok(cel) if !cel.reads => template(&cel),
            _ => Tree::text(escaped(&text.split_whitespace().collect::<Vec<_>>().join(" "))),
        }
    }

    /// The first data of a workflow know only its input, so what reads other data is set by the
    /// state that is entered first.
    fn bind_at_start(&mut self, id: &str, value: Result<(Tree, bool), Tree>) {
        let (known, action) = match value {
            Ok((value, false)) => (value, None),
            Ok((value, true)) => (Tree::Plain("null".into()), Some(assign(to_name(id), value))),
            Err(failing) => (Tree::Plain("null".into()), Some(failing)),
        };
        self.data.put(to_name(id), known);
        if let Some(action) = action {
            if self.data.get("begun").is_none() {
                self.data.put("begun", Tree::Plain("false".into()));
            }
            self.binding(self.first_top_state(), "begun", action);
        }
    }

    /// Late binding: the variable is there from the first entry of its state.
    fn bind_on_entry(&mut self, state: StateIndex, id: &str, value: Result<(Tree, bool), Tree>) {
        let flag = self.helper("bound");
        let bound = assign(flag.clone(), Tree::Plain("true".into()));
        let action = value.map_or_else(|failing| failing, |(value, _)| assign(to_name(id), value));
        let when = Tree::text(format!("!data.{flag}"));
        let block = Tree::map([("block", Tree::List(vec![bound, action])), ("when", when)]);
        self.bindings.entry(state).or_default().push(block);
    }

    /// Each has a block of its own, so that one that fails does not stop the others.
    fn binding(&mut self, state: StateIndex, unless: &str, action: Tree) {
        let when = Tree::text(format!("!data.{unless}"));
        let block = Tree::map([("block", Tree::List(vec![action])), ("when", when)]);
        self.bindings.entry(state).or_default().push(block);
    }

    /// Returns a field of `data` that no variable has; it begins as false.
    pub(super) fn helper(&mut self, prefix: &str) -> String {
        loop {
            self.helpers += 1;
            let name = format!("{prefix}_{}", self.helpers);
            if !self.variables.contains(&name) {
                self.data.put(name.clone(), Tree::Plain("false".into()));
                return name;
            }
        }
    }

    /// Returns the state directly below the root that is entered at the start.
    fn first_top_state(&self) -> StateIndex {
        let root = &self.chart.states[0];
        let written = root.node.attribute("initial").unwrap_or_default();
        let first = written.split_whitespace().next().and_then(|id| self.chart.find(id));
        let mut at = first.or(root.children.first().copied()).unwrap_or(0);
        while at != 0 && self.chart.states[at].parent != 0 {
            at = self.chart.states[at].parent;
        }
        at
    }

    /// Returns an expression as a template, or one that fails with a note of loss.
    pub(super) fn template_or_fails(&mut self, node: Node<'x, 'x>, source: &str) -> Tree {
        match ecma::translate(source, self) {
            Ok(cel) => template(&cel),
            Err(why) => {
                self.dropped(node, format!("`{source}` fails when it is read: {why}"));
                Tree::text(format!("${{{FAILING}}}"))
            }
        }
    }

    /// Names of the engine work inside the workflow, but nobody can send them.
    fn tell_reserved(&mut self) {
        let root = self.chart.states[0].node;
        for node in root.descendants().filter(|it| it.tag_name().name() == "transition") {
            let words = node.attribute("event").unwrap_or_default().split_whitespace();
            let own = words.filter(|it| !it.starts_with("error") && !it.starts_with("done"));
            for word in own.filter(|it| Events::is_reserved(it)).collect::<Vec<_>>() {
                self.approximated(node, format!("callers cannot send `{word}`"));
            }
        }
    }

    /// Returns the name of an event in the workflow.
    pub(super) fn event_name(&self, name: &str) -> String {
        self.events.name(name)
    }

    // --- States -----------------------------------------------------------------------------

    fn target(&self, node: Node<'x, 'x>, id: &str) -> Result<StateIndex, ScxmlError> {
        let found = self.chart.find(id);
        found.ok_or_else(|| ScxmlError::Target { line: self.line(node), id: id.into() })
    }

    /// Returns `initial` of a state with children: paths below it.
    fn initial(&mut self, index: StateIndex) -> Result<Tree, ScxmlError> {
        let state = &self.chart.states[index];
        let mut ids: Vec<StateIndex> = Vec::new();
        let mut actions = Vec::new();
        if let Some(written) = state.node.attribute("initial") {
            for id in written.split_whitespace() {
                ids.push(self.target(state.node, id)?);
            }
        } else if let Some(initial) = elements(state.node, "initial").next()
            && let Some(transition) = elements(initial, "transition").next()
        {
            for id in transition.attribute("target").unwrap_or_default().split_whitespace() {
                ids.push(self.target(transition, id)?);
            }
            self.actions(transition, &mut actions);
            if index == 0 && !actions.is_empty() {
                self.dropped(transition, "the chart itself has no actions at its start");
            }
        }
        if ids.is_empty() {
            let first = state
                .children
                .iter()
                .find(|it| self.chart.states[**it].kind != Kind::History)
                .or(state.children.first());
            ids.extend(first);
        }
        let prefix = if index == 0 { String::new() } else { format!("{}.", state.path) };
        let mut paths: Vec<Tree> = Vec::new();
        for id in ids {
            let path = &self.chart.states[id].path;
            paths.push(Tree::text(path.strip_prefix(&*prefix).unwrap_or(path)));
        }
        let target = one_or_list(paths);
        Ok(match actions.is_empty() || index == 0 {
            true => target,
            false => Tree::map([("target", target), ("actions", Tree::List(actions))]),
        })
    }

    fn state(&mut self, index: StateIndex) -> Result<Tree, ScxmlError> {
        let chart = self.chart;
        let state = &chart.states[index];
        self.loss.kept += 1;
        if state.node.attribute("id").is_some_and(|id| id != state.name) {
            self.approximated(state.node, format!("the id becomes `{}`", state.name));
        }
        let mut written = Tree::Map(Vec::new());
        match state.kind {
            Kind::History => return self.history(state),
            Kind::Final => written.put("type", Tree::text("final")),
            Kind::Parallel => written.put("type", Tree::text("parallel")),
            Kind::State if !state.children.is_empty() => {
                written.put("initial", self.initial(index)?);
            }
            Kind::State => {}
        }
        for (element, key) in [("onentry", "entry"), ("onexit", "exit")] {
            let mut actions = match element {
                "onentry" => self.bindings.remove(&index).unwrap_or_default(),
                _ => Vec::new(),
            };
            actions.extend(self.blocks(state.node, element));
            if !actions.is_empty() {
                written.put(key, Tree::List(actions));
            }
        }
        if let Some(done) = elements(state.node, "donedata").next()
            && let Some(output) = self.payload(done)
        {
            written.put("output", output);
        }
        for invoke in elements(state.node, "invoke") {
            self.dropped(invoke, "another machine is not started");
        }
        self.transitions(index, &mut written)?;
        if !state.children.is_empty() {
            let mut states = Tree::Map(Vec::new());
            for child in &state.children {
                let inner = self.state(*child)?;
                states.put(chart.states[*child].name.clone(), inner);
            }
            written.put("states", states);
        }
        Ok(written)
    }

    fn history(&mut self, state: &State<'x>) -> Result<Tree, ScxmlError> {
        let depth = if state.node.attribute("type") == Some("deep") { "deep" } else { "shallow" };
        let mut written =
            Tree::map([("type", Tree::text("history")), ("history", Tree::text(depth))]);
        let transition = elements(state.node, "transition").next();
        let (mut targets, mut actions) = (Vec::new(), Vec::new());
        if let Some(transition) = transition {
            for id in transition.attribute("target").unwrap_or_default().split_whitespace() {
                let path = &self.chart.states[self.target(transition, id)?].path;
                targets.push(Tree::text(format!("#{path}")));
            }
            self.actions(transition, &mut actions);
        }
        if targets.is_empty() {
            let parent = &self.chart.states[state.parent];
            let first = parent.children.iter().map(|it| &self.chart.states[*it]);
            let first = first.filter(|it| it.kind != Kind::History).map(|it| &it.path).next();
            targets.extend(first.map(|path| Tree::text(format!("#{path}"))));
            self.approximated(state.node, "without a transition it leads to the first state");
        }
        written.put("target", one_or_list(targets));
        if !actions.is_empty() {
            written.put("actions", Tree::List(actions));
        }
        Ok(written)
    }

    // --- Transitions ------------------------------------------------------------------------

    fn transitions(&mut self, index: StateIndex, written: &mut Tree) -> Result<(), ScxmlError> {
        let mut always = Vec::new();
        let mut found: Vec<Transition> = Vec::new();
        for node in elements(self.chart.states[index].node, "transition") {
            let candidate = self.candidate(index, node)?;
            self.loss.kept += 1;
            let descriptors = self.events.descriptors(node);
            if descriptors.is_empty() {
                always.push(candidate);
            } else {
                let source_bytes = node.range().len();
                found.push(Transition { descriptors, candidate, source_bytes });
            }
        }
        let mut on = Tree::Map(Vec::new());
        let all = found.iter().flat_map(|it| &it.descriptors);
        let mut written_bytes = 0;
        for key in self.events.keys(all) {
            // The most specific key of an event is the only one that is asked, so each lists all
            // transitions that take its events.
            let fitting: Vec<&Transition> = found
                .iter()
                .filter(|it| it.descriptors.iter().any(|own| own.covers(&key)))
                .collect();
            written_bytes += fitting.iter().map(|it| it.source_bytes).sum::<usize>();
            if written_bytes > WRITTEN_BYTES_MAX {
                return Err(ScxmlError::Wide(self.line(self.chart.states[index].node)));
            }
            let fitting = fitting.into_iter();
            on.put(key.to_string(), one_or_list(fitting.map(|it| it.candidate.clone()).collect()));
        }
        if !on.is_empty() {
            written.put("on", on);
        }
        if !always.is_empty() {
            written.put("always", one_or_list(always));
        }
        Ok(())
    }

    fn candidate(&mut self, index: StateIndex, node: Node<'x, 'x>) -> Result<Tree, ScxmlError> {
        let mut candidate = Tree::Map(Vec::new());
        let mut targets = Vec::new();
        let mut stays_inside = true;
        let mut comes_back = false;
        for id in node.attribute("target").unwrap_or_default().split_whitespace() {
            let target = self.target(node, id)?;
            let is_below = self.chart.is_inside(target, index);
            stays_inside &= is_below;
            comes_back |= is_below || target == index;
            targets.push(Tree::text(format!("#{}", self.chart.states[target].path)));
        }
        let has_targets = !targets.is_empty();
        if has_targets {
            candidate.put("target", one_or_list(targets));
        }
        if let Some(source) = node.attribute("cond") {
            match ecma::translate(source, self) {
                Ok(cel) => candidate.put("guard", Tree::text(cel.condition())),
                Err(why) => {
                    // A condition that fails counts as false.
                    self.dropped(node, format!("never taken, `{source}`: {why}"));
                    candidate.put("guard", Tree::text(format!("{FAILING} == true")));
                }
            }
        }
        let is_compound = self.chart.states[index].kind == Kind::State
            && !self.chart.states[index].children.is_empty();
        let is_internal = node.attribute("type") == Some("internal") && is_compound && stays_inside;
        if has_targets && comes_back && !is_internal {
            candidate.put("reenter", Tree::Plain("true".into()));
        }
        let mut actions = Vec::new();
        self.actions(node, &mut actions);
        if !actions.is_empty() {
            candidate.put("actions", Tree::List(actions));
        }
        Ok(candidate)
    }
}

fn one_or_list(mut items: Vec<Tree>) -> Tree {
    if items.len() == 1 { items.remove(0) } else { Tree::List(items) }
}

/// Writes an expression as a template; plain values as themselves.
pub(super) fn template(cel: &Cel) -> Tree {
    let text = &cel.text;
    if matches!(&**text, "true" | "false" | "null") || text.parse::<f64>().is_ok() {
        return Tree::Plain(text.clone());
    }
    match text.strip_prefix('\'').and_then(|it| it.strip_suffix('\'')) {
        Some(inner) if quote(inner) == *text => Tree::text(escaped(inner)),
        _ => Tree::text(format!("${{{text}}}")),
    }
}

/// Writes JSON; text that looks like a template stays text.
pub(super) fn plain(value: &serde_json::Value) -> Tree {
    match value {
        serde_json::Value::String(text) => Tree::text(escaped(text)),
        serde_json::Value::Array(items) => Tree::List(items.iter().map(plain).collect()),
        serde_json::Value::Object(map) => {
            Tree::Map(map.iter().map(|(key, it)| (key.clone(), plain(it))).collect())
        }
        other => Tree::Plain(other.to_string()),
    }
}

/// Writes an action that sets one field of `data`.
pub(super) fn assign(path: String, value: Tree) -> Tree {
    Tree::map([("assign", Tree::Map(vec![(path, value)]))])
}
