//! The workflow document of a chart.

use std::collections::{BTreeMap, BTreeSet};

use roxmltree::{Document, Node};
use traaviis_engine::machine::is_reserved;

use super::{
    Import, ScxmlError,
    ecma::{self, Cel, Names, quote},
    states::{Chart, Kind, State, StateIndex, to_name},
};
use crate::{
    loss::{Loss, Place},
    tree::Tree,
};

/// Writes the document.
pub fn document<'x>(xml: &'x Document<'x>, chart: &Chart<'x>) -> Result<Import, ScxmlError> {
    let mut writer = Writer {
        xml,
        chart,
        loss: Loss::default(),
        variables: BTreeSet::new(),
        events: BTreeSet::new(),
        flags: Vec::new(),
    };
    let data = writer.data();
    writer.collect_events();
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
        // SCXML drops what no state takes.
        ("unhandled", Tree::text("ignore")),
    ]);
    document.put("initial", writer.initial(0)?);
    let mut data = data;
    for flag in &writer.flags {
        data.put(flag.clone(), Tree::Plain("false".into()));
    }
    if !data.is_empty() {
        document.put("data", Tree::map([("initial", data)]));
    }
    let events: Vec<(String, Tree)> =
        writer.events.iter().map(|it| (it.clone(), Tree::Map(Vec::new()))).collect();
    if !events.is_empty() {
        document.put("events", Tree::Map(events));
    }
    document.put("states", states);
    Ok(Import { document, loss: writer.loss })
}

struct Writer<'x, 'c> {
    xml: &'x Document<'x>,
    chart: &'c Chart<'x>,
    loss: Loss,
    variables: BTreeSet<String>,
    /// Names that callers may send or the document raises, without those of the engine.
    events: BTreeSet<String>,
    /// Variables that hold the conditions of `<if>`.
    flags: Vec<String>,
}

impl Names for Writer<'_, '_> {
    fn is_variable(&self, name: &str) -> bool {
        self.variables.contains(name)
    }
    fn state_path(&self, id: &str) -> Option<String> {
        self.chart.find(id).map(|it| self.chart.states[it].path.clone())
    }
    fn field(&self, name: &str) -> String {
        to_name(name)
    }
}

/// A transition that can be written.
struct Transition {
    descriptors: Vec<String>,
    candidate: Tree,
}

fn elements<'x>(node: Node<'x, 'x>, name: &'static str) -> impl Iterator<Item = Node<'x, 'x>> {
    node.children().filter(move |it| it.is_element() && it.tag_name().name() == name)
}

impl<'x> Writer<'x, '_> {
    fn place(&self, node: Node<'x, 'x>, message: impl Into<String>) -> Place {
        let at = self.xml.text_pos_at(node.range().start);
        let element = format!("<{}>", node.tag_name().name());
        Place { line: at.row, column: at.col, element, message: message.into() }
    }

    fn dropped(&mut self, node: Node<'x, 'x>, message: impl Into<String>) {
        let place = self.place(node, message);
        self.loss.dropped.push(place);
    }

    fn approximated(&mut self, node: Node<'x, 'x>, message: impl Into<String>) {
        let place = self.place(node, message);
        self.loss.approximated.push(place);
    }

    fn line(&self, node: Node<'x, 'x>) -> u32 {
        self.xml.text_pos_at(node.range().start).row
    }

    // --- Data and events --------------------------------------------------------------------

    fn data(&mut self) -> Tree {
        let root = self.chart.states[0].node;
        let declared: Vec<Node<'x, 'x>> = root
            .descendants()
            .filter(|it| it.is_element() && it.tag_name().name() == "data")
            .collect();
        for node in &declared {
            self.variables.extend(node.attribute("id").map(str::to_string));
        }
        let mut data = Tree::Map(Vec::new());
        for node in declared {
            let Some(id) = node.attribute("id") else { continue };
            self.loss.kept += 1;
            let content = node.text().map(str::trim).filter(|it| !it.is_empty());
            let value = match (node.attribute("expr"), content) {
                (Some(source), _) => self.template_or(node, source, "null"),
                (None, Some(text)) => match serde_json::from_str::<serde_json::Value>(text) {
                    Ok(value) => Tree::Plain(value.to_string()),
                    Err(_) => match ecma::translate(text, self) {
                        Ok(cel) => template(&cel),
                        Err(_) => Tree::text(text.split_whitespace().collect::<Vec<_>>().join(" ")),
                    },
                },
                (None, None) => Tree::Plain("null".into()),
            };
            if node.attribute("src").is_some() {
                self.dropped(node, "`src` is not loaded; the variable begins as null");
            }
            data.put(to_name(id), value);
        }
        data
    }

    /// Returns an expression as a template, or `instead` with a note of loss.
    fn template_or(&mut self, node: Node<'x, 'x>, source: &str, instead: &str) -> Tree {
        match ecma::translate(source, self) {
            Ok(cel) => template(&cel),
            Err(why) => {
                self.dropped(node, format!("`{source}` becomes {instead}: {why}"));
                Tree::Plain(instead.into())
            }
        }
    }

    fn collect_events(&mut self) {
        for node in self.chart.states[0].node.descendants().filter(Node::is_element) {
            match node.tag_name().name() {
                "transition" => {
                    for name in descriptors(node) {
                        self.event(&name);
                    }
                }
                "raise" | "send" => {
                    if let Some(name) = node.attribute("event") {
                        self.event(name);
                    }
                }
                _ => {}
            }
        }
    }

    fn event(&mut self, name: &str) {
        let name = event_name(name);
        if !name.is_empty() && name != "*" && !is_reserved(&name) {
            self.events.insert(name);
        }
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
            if transition.children().any(|it| it.is_element()) {
                self.dropped(transition, "actions of an initial transition are not run");
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
        Ok(if paths.len() == 1 { paths.remove(0) } else { Tree::List(paths) })
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
            let mut actions = Vec::new();
            for block in elements(state.node, element) {
                self.loss.kept += 1;
                self.actions(block, None, &mut actions);
            }
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
        let mut targets = Vec::new();
        if let Some(transition) = transition {
            for id in transition.attribute("target").unwrap_or_default().split_whitespace() {
                let path = &self.chart.states[self.target(transition, id)?].path;
                targets.push(Tree::text(format!("#{path}")));
            }
            if transition.children().any(|it| it.is_element()) {
                self.dropped(transition, "actions of a history's transition are not run");
            }
        }
        if targets.is_empty() {
            let parent = &self.chart.states[state.parent];
            let first = parent.children.iter().map(|it| &self.chart.states[*it]);
            let first = first.filter(|it| it.kind != Kind::History).map(|it| &it.path).next();
            targets.extend(first.map(|path| Tree::text(format!("#{path}"))));
            self.approximated(state.node, "without a transition it leads to the first state");
        }
        let target = if targets.len() == 1 { targets.remove(0) } else { Tree::List(targets) };
        written.put("target", target);
        Ok(written)
    }

    // --- Transitions ------------------------------------------------------------------------

    fn transitions(&mut self, index: StateIndex, written: &mut Tree) -> Result<(), ScxmlError> {
        let mut always = Vec::new();
        let mut found: Vec<Transition> = Vec::new();
        for node in elements(self.chart.states[index].node, "transition") {
            let candidate = self.candidate(index, node)?;
            self.loss.kept += 1;
            let descriptors = descriptors(node);
            if descriptors.is_empty() {
                always.push(candidate);
            } else {
                found.push(Transition { descriptors, candidate });
            }
        }
        let mut on = Tree::Map(Vec::new());
        for (key, covers) in self.keys(&found) {
            let fitting: Vec<Tree> = found
                .iter()
                .filter(|it| it.descriptors.iter().any(|own| covers_event(own, &covers)))
                .map(|it| it.candidate.clone())
                .collect();
            on.put(key, one_or_list(fitting));
        }
        if !on.is_empty() {
            written.put("on", on);
        }
        if !always.is_empty() {
            written.put("always", one_or_list(always));
        }
        Ok(())
    }

    /// Returns the descriptors to write, each with the event that decides which transitions fit.
    ///
    /// An exact name wins over a prefix here and only document order counts there, so each name
    /// that the document knows gets a list of its own.
    fn keys(&self, found: &[Transition]) -> Vec<(String, String)> {
        let mut keys = BTreeMap::new();
        let all: BTreeSet<&String> = found.iter().flat_map(|it| &it.descriptors).collect();
        for own in &all {
            match own.split('.').next().unwrap_or_default() {
                "*" => {
                    keys.insert("*".to_string(), "*".to_string());
                    keys.insert("error.*".into(), "error.*".into());
                    keys.insert("done.*".into(), "done.*".into());
                }
                "error" => {
                    keys.insert("error.*".into(), (*own).clone());
                }
                "done" => {
                    let (key, covers) = self.done_key(own);
                    keys.insert(key, covers);
                }
                _ => {
                    let fitting = self.events.iter().filter(|it| covers_event(own, it));
                    keys.extend(fitting.map(|it| (it.clone(), it.clone())));
                }
            }
        }
        keys.into_iter().collect()
    }

    /// Returns the key for `done.state.ID`, whose event carries the path of the state.
    fn done_key(&self, own: &str) -> (String, String) {
        let id = own.strip_prefix("done.state.");
        match id.and_then(|id| self.chart.find(id)) {
            Some(state) => {
                let key = format!("done.state.{}", self.chart.states[state].path);
                (key, own.to_string())
            }
            None => (format!("{own}.*"), own.to_string()),
        }
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
        self.actions(node, None, &mut actions);
        if !actions.is_empty() {
            candidate.put("actions", Tree::List(actions));
        }
        Ok(candidate)
    }

    // --- Executable content -----------------------------------------------------------------

    fn actions(&mut self, block: Node<'x, 'x>, when: Option<&str>, out: &mut Vec<Tree>) {
        for node in block.children().filter(Node::is_element) {
            // Parts of the element around them are no actions.
            if !matches!(node.tag_name().name(), "transition" | "elseif" | "else") {
                self.action(node, when, out);
            }
        }
    }

    fn action(&mut self, node: Node<'x, 'x>, when: Option<&str>, out: &mut Vec<Tree>) {
        let written = match node.tag_name().name() {
            "raise" => self.raise(node),
            "send" => {
                self.keep_id(node, when, out);
                self.send(node)
            }
            "cancel" => self.cancel(node),
            "log" => self.log(node),
            "assign" => self.assign(node),
            "if" => return self.choose(node, when, out),
            other => {
                self.dropped(
                    node,
                    format!("`{other}` has no counterpart; it fails when it is run"),
                );
                None
            }
        };
        self.loss.kept += usize::from(written.is_some());
        push(written.unwrap_or_else(failing), when, out);
    }

    /// Gives a sent event the id that `idlocation` asks for.
    fn keep_id(&mut self, node: Node<'x, 'x>, when: Option<&str>, out: &mut Vec<Tree>) {
        let Some(location) = node.attribute("idlocation") else { return };
        if self.variables.contains(location) {
            let id = Tree::text(self.send_id(node));
            let assign = Tree::Map(vec![(to_name(location), id)]);
            push(Tree::map([("assign", assign)]), when, out);
        } else {
            self.dropped(node, format!("`{location}` of `idlocation` is not declared"));
        }
    }

    /// Returns the id of a sent event: its own, or one made from its place.
    fn send_id(&self, node: Node<'x, 'x>) -> String {
        match node.attribute("id") {
            Some(id) => to_name(id),
            None => format!("send_{}", node.range().start),
        }
    }

    fn raise(&mut self, node: Node<'x, 'x>) -> Option<Tree> {
        let name = event_name(node.attribute("event").unwrap_or_default());
        if is_reserved(&name) {
            self.dropped(node, format!("`{name}` belongs to the engine"));
            return None;
        }
        Some(Tree::map([("raise", Tree::map([("event", Tree::text(name))]))]))
    }

    fn send(&mut self, node: Node<'x, 'x>) -> Option<Tree> {
        for attribute in ["eventexpr", "targetexpr", "typeexpr"] {
            if node.attribute(attribute).is_some() {
                self.dropped(node, format!("`{attribute}` has no counterpart"));
                return None;
            }
        }
        let target = node.attribute("target").unwrap_or_default();
        if !target.is_empty() && target != "#_internal" {
            self.dropped(node, format!("the target `{target}` is outside the workflow"));
            return None;
        }
        let name = event_name(node.attribute("event").unwrap_or_default());
        if name.is_empty() || is_reserved(&name) {
            self.dropped(node, format!("`{name}` cannot be sent"));
            return None;
        }
        let mut raise = Tree::map([("event", Tree::text(name))]);
        if let Some(data) = self.payload(node) {
            raise.put("data", data);
        }
        let delay = match (node.attribute("delay"), node.attribute("delayexpr")) {
            (Some(delay), _) => duration(delay).map(Tree::text),
            (None, Some(source)) => match ecma::translate(source, self) {
                Ok(cel) => match cel.text.strip_prefix('\'').and_then(|it| it.strip_suffix('\'')) {
                    Some(text) => duration(text).map(Tree::text),
                    None => Some(template(&cel)),
                },
                Err(_) => None,
            },
            (None, None) if target == "#_internal" => {
                return Some(Tree::map([("raise", raise)]));
            }
            (None, None) => Some(Tree::text("0s")),
        };
        let Some(delay) = delay else {
            self.dropped(node, "the delay is not understood");
            return None;
        };
        raise.put("delay", delay);
        if node.attribute("id").or(node.attribute("idlocation")).is_some() {
            raise.put("id", Tree::text(self.send_id(node)));
        }
        Some(Tree::map([("raise", raise)]))
    }

    fn cancel(&mut self, node: Node<'x, 'x>) -> Option<Tree> {
        match node.attribute("sendid") {
            Some(id) => Some(Tree::map([("cancel", Tree::text(to_name(id)))])),
            None => {
                self.dropped(node, "`sendidexpr` has no counterpart");
                None
            }
        }
    }

    fn log(&mut self, node: Node<'x, 'x>) -> Option<Tree> {
        let label = node.attribute("label").unwrap_or_default();
        let source = node.attribute("expr").unwrap_or_default();
        let message = match ecma::translate(source, self) {
            Ok(cel) => template(&cel),
            Err(_) => {
                self.approximated(node, format!("logs the text of `{source}`"));
                Tree::text(format!("{label} {source}").trim().replace("${", "$${"))
            }
        };
        Some(Tree::map([("log", Tree::map([("message", message)]))]))
    }

    fn assign(&mut self, node: Node<'x, 'x>) -> Option<Tree> {
        let location = node.attribute("location").unwrap_or_default().trim();
        let root = location.split('.').next().unwrap_or_default();
        if !self.variables.contains(root) {
            // In SCXML an error; the same here, because the field of a null does not exist.
            // An error there as well.
            return Some(failing());
        }
        let content = node.text().map(str::trim).filter(|it| !it.is_empty());
        let value = match (node.attribute("expr"), content) {
            (Some(source), _) => match ecma::translate(source, self) {
                Ok(cel) => template(&cel),
                Err(why) => {
                    self.dropped(node, format!("`{source}`: {why}"));
                    return None;
                }
            },
            (None, Some(text)) => match serde_json::from_str::<serde_json::Value>(text) {
                Ok(value) => Tree::Plain(value.to_string()),
                Err(_) => Tree::text(text.replace("${", "$${")),
            },
            (None, None) => Tree::Plain("null".into()),
        };
        let path = location.split('.').map(to_name).collect::<Vec<_>>().join(".");
        Some(Tree::map([("assign", Tree::Map(vec![(path, value)]))]))
    }

    /// Conditions are evaluated before any branch runs, so they are kept in variables first.
    fn choose(&mut self, node: Node<'x, 'x>, when: Option<&str>, out: &mut Vec<Tree>) {
        let mut branches: Vec<(Option<&str>, Vec<Node<'x, 'x>>)> =
            vec![(Some(node.attribute("cond").unwrap_or("false")), Vec::new())];
        for child in node.children().filter(Node::is_element) {
            match child.tag_name().name() {
                "elseif" => branches.push((child.attribute("cond"), Vec::new())),
                "else" => branches.push((None, Vec::new())),
                _ => branches.last_mut().into_iter().for_each(|it| it.1.push(child)),
            }
        }
        self.loss.kept += 1;
        let mut before: Vec<String> = Vec::new();
        let mut flags = Vec::new();
        let mut assigned = Tree::Map(Vec::new());
        for (cond, _) in &branches {
            let own = match cond.map(|it| ecma::translate(it, self)) {
                None => None,
                Some(Ok(cel)) => Some(cel.condition()),
                Some(Err(why)) => {
                    self.dropped(node, format!("a branch is never taken: {why}"));
                    Some("false".into())
                }
            };
            let flag = format!("if_{}", self.flags.len() + 1);
            self.flags.push(flag.clone());
            let mut parts: Vec<String> = before.iter().map(|it| format!("!data.{it}")).collect();
            parts.extend(own);
            let cond = if parts.is_empty() { "true".into() } else { parts.join(" && ") };
            assigned.put(flag.clone(), Tree::text(format!("${{{cond}}}")));
            before.push(flag.clone());
            flags.push(flag);
        }
        push(Tree::map([("assign", assigned)]), when, out);
        for ((_, children), flag) in branches.into_iter().zip(flags) {
            let when = match when {
                Some(outer) => format!("{outer} && data.{flag}"),
                None => format!("data.{flag}"),
            };
            for child in children {
                self.action(child, Some(&when), out);
            }
        }
    }

    /// Returns what `<content>`, `<param>` and `namelist` carry.
    fn payload(&mut self, node: Node<'x, 'x>) -> Option<Tree> {
        if let Some(content) = elements(node, "content").next() {
            return Some(match content.attribute("expr") {
                Some(source) => self.template_or(content, source, "null"),
                None => {
                    let text = content.text().unwrap_or_default().trim();
                    match serde_json::from_str::<serde_json::Value>(text) {
                        Ok(value) => Tree::Plain(value.to_string()),
                        Err(_) => Tree::text(text.replace("${", "$${")),
                    }
                }
            });
        }
        let mut fields = Tree::Map(Vec::new());
        for name in node.attribute("namelist").unwrap_or_default().split_whitespace() {
            let value = self.template_or(node, name, "null");
            fields.put(to_name(name), value);
        }
        for param in elements(node, "param") {
            let source = param.attribute("expr").or(param.attribute("location"));
            let value = self.template_or(param, source.unwrap_or("null"), "null");
            fields.put(param.attribute("name").unwrap_or("value"), value);
        }
        (!fields.is_empty()).then_some(fields)
    }
}

/// An action that fails when it runs, for what cannot be converted: a run that reaches it gets
/// `error.expression`, as it would get `error.execution`, and does not go on as if all were well.
fn failing() -> Tree {
    let wrong = Tree::text(format!("${{{FAILING}}}"));
    Tree::map([("assign", Tree::map([("not_converted", wrong)]))])
}

/// Reads a field of nothing.
const FAILING: &str = "data.not_converted.field";

fn push(mut action: Tree, when: Option<&str>, out: &mut Vec<Tree>) {
    if let Some(when) = when {
        action.put("when", Tree::text(when));
    }
    out.push(action);
}

fn one_or_list(mut items: Vec<Tree>) -> Tree {
    if items.len() == 1 { items.remove(0) } else { Tree::List(items) }
}

/// Writes an expression as a template; plain values as themselves.
fn template(cel: &Cel) -> Tree {
    let text = &cel.text;
    if matches!(&**text, "true" | "false" | "null") || text.parse::<f64>().is_ok() {
        return Tree::Plain(text.clone());
    }
    match text.strip_prefix('\'').and_then(|it| it.strip_suffix('\'')) {
        Some(inner) if quote(inner) == *text => Tree::text(inner.replace("${", "$${")),
        _ => Tree::text(format!("${{{text}}}")),
    }
}

/// Returns what a transition waits for: `*`, or names that stand for all that begin with them.
fn descriptors(transition: Node<'_, '_>) -> Vec<String> {
    let written = transition.attribute("event").unwrap_or_default().split_whitespace();
    written
        .map(|it| event_name(it.trim_end_matches(".*").trim_end_matches('.')))
        .map(|it| if it.is_empty() { "*".to_string() } else { it })
        .collect()
}

fn event_name(name: &str) -> String {
    if name == "*" {
        return name.into();
    }
    let segments = name.split('.').filter(|it| !it.is_empty()).map(to_name);
    segments.collect::<Vec<_>>().join(".")
}

/// Says whether a descriptor takes an event: the same name, or the first segments of it.
fn covers_event(own: &str, event: &str) -> bool {
    let below = |whole: &str| whole.strip_prefix(own).is_some_and(|rest| rest.starts_with('.'));
    own == "*" || own == event || below(event)
}

/// Reads a CSS2 time, such as `1s`, `.5s` or `100ms`, in whole milliseconds.
fn duration(text: &str) -> Option<String> {
    let text = text.trim();
    let (number, factor) = match text.strip_suffix("ms") {
        Some(number) => (number, 1.0),
        None => (text.strip_suffix('s')?, 1_000.0),
    };
    let millis = number.trim().parse::<f64>().ok().filter(|it| it.is_finite() && *it >= 0.0)?;
    Some(format!("{}ms", (millis * factor).round()))
}
