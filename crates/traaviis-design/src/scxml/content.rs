//! Executable content: what a chart does on entry, on exit and on the way.

use roxmltree::Node;

use super::{
    ecma::{self, Names, OWN_ADDRESS, PROCESSOR},
    states::to_name,
    write::{Writer, assign, elements, plain, template},
};
use crate::tree::Tree;

/// Reads a field of nothing.
pub const FAILING: &str = "data.not_converted.field";

/// An action that fails when it runs, for what cannot be converted: a run that reaches it gets
/// `error.expression`, as it would get `error.execution`, and does not go on as if all were well.
pub fn failing() -> Tree {
    assign("not_converted".into(), Tree::text(format!("${{{FAILING}}}")))
}

/// Writes text in which nothing is a template.
pub fn escaped(text: &str) -> String {
    text.replace("${", "$${")
}

/// The parts of a `<send>` that every way of sending it needs.
struct Sent {
    event: Tree,
    data: Option<Tree>,
    id: Option<Tree>,
    delay: Tree,
}

impl Sent {
    fn raise(&self, event: Tree, delay: Option<&Tree>) -> Tree {
        let mut raise = Tree::map([("event", event)]);
        let parts = [("data", self.data.as_ref()), ("delay", delay), ("id", self.id.as_ref())];
        for (key, value) in parts {
            if let Some(value) = value {
                raise.put(key, value.clone());
            }
        }
        Tree::map([("raise", raise)])
    }

    /// A timer, also of no time: the event comes after those raised in the same macrostep.
    fn to_itself(&self) -> Tree {
        self.raise(self.event.clone(), Some(&self.delay))
    }

    fn inside(&self) -> Tree {
        self.raise(self.event.clone(), None)
    }

    /// Nobody is there to take it.
    fn unreachable(&self) -> Tree {
        let mut raise = Tree::map([("event", Tree::text("error.communication"))]);
        if let Some(id) = &self.id {
            raise.put("id", id.clone());
        }
        Tree::map([("raise", raise)])
    }

    /// The error carries the id of what was not sent.
    fn failing(&self) -> Tree {
        match &self.id {
            Some(id) => {
                let event = Tree::text(format!("${{{FAILING}}}"));
                Tree::map([("raise", Tree::map([("event", event), ("id", id.clone())]))])
            }
            None => failing(),
        }
    }
}

impl<'x> Writer<'x, '_> {
    /// Writes all blocks of a state under one name; an error in one does not end the others.
    pub(super) fn blocks(&mut self, state: Node<'x, 'x>, element: &'static str) -> Vec<Tree> {
        let mut blocks: Vec<Vec<Tree>> = Vec::new();
        for block in elements(state, element) {
            self.loss.kept += 1;
            let mut actions = Vec::new();
            self.actions(block, &mut actions);
            if !actions.is_empty() {
                blocks.push(actions);
            }
        }
        let Some(last) = blocks.pop() else { return Vec::new() };
        let before = blocks.into_iter().map(|it| Tree::map([("block", Tree::List(it))]));
        before.chain(last).collect()
    }

    /// Writes the actions inside an element.
    pub(super) fn actions(&mut self, block: Node<'x, 'x>, out: &mut Vec<Tree>) {
        for node in block.children().filter(Node::is_element) {
            // Parts of the element around them are no actions.
            if !matches!(node.tag_name().name(), "transition" | "elseif" | "else") {
                self.action(node, out);
            }
        }
    }

    fn action(&mut self, node: Node<'x, 'x>, out: &mut Vec<Tree>) {
        let written = match node.tag_name().name() {
            "raise" => self.raise(node),
            "send" => self.send(node, out),
            "cancel" => self.cancel(node),
            "log" => Some(self.log(node)),
            "assign" => self.assign(node),
            "if" => Some(self.choose(node)),
            "foreach" => self.for_each(node),
            other => {
                self.dropped(
                    node,
                    format!("`{other}` has no counterpart; it fails when it is run"),
                );
                None
            }
        };
        self.loss.kept += usize::from(written.is_some());
        out.push(written.unwrap_or_else(failing));
    }

    fn raise(&mut self, node: Node<'x, 'x>) -> Option<Tree> {
        let name = self.event_name(node.attribute("event").unwrap_or_default());
        if name.is_empty() {
            self.dropped(node, "an event without name fails when it is raised");
            return None;
        }
        Some(Tree::map([("raise", Tree::map([("event", Tree::text(name))]))]))
    }

    // --- Sending ----------------------------------------------------------------------------

    fn send(&mut self, node: Node<'x, 'x>, out: &mut Vec<Tree>) -> Option<Tree> {
        let id = match (node.attribute("id"), node.attribute("idlocation")) {
            (Some(id), _) => Some(Tree::text(escaped(id))),
            (None, Some(location)) => {
                let Some(path) = self.location(location) else {
                    self.dropped(node, format!("`{location}` cannot keep the id"));
                    return None;
                };
                out.push(assign(path.clone(), Tree::text("${'send_' + uuid()}")));
                Some(Tree::text(format!("${{data.{path}}}")))
            }
            (None, None) => None,
        };
        let event = match (node.attribute("event"), node.attribute("eventexpr")) {
            (Some(name), _) if !self.event_name(name).is_empty() => {
                Tree::text(self.event_name(name))
            }
            (None, Some(source)) => self.computed(node, source),
            _ => {
                self.dropped(node, "an event without name fails when it is sent");
                Tree::text(format!("${{{FAILING}}}"))
            }
        };
        let delay = self.delay(node);
        let data = self.payload(node);
        let sent = Sent { event, data, id, delay: delay.clone().unwrap_or(Tree::text("0s")) };
        if delay.is_none() {
            self.dropped(node, "the delay is not understood");
            return Some(sent.failing());
        }
        if let Some(wrong) = self.wrong_type(node, &sent) {
            out.push(wrong);
        }
        match (node.attribute("target"), node.attribute("targetexpr")) {
            (None, Some(source)) => Some(self.send_to_computed(node, source, &sent, out)),
            (None | Some(""), _) => Some(sent.to_itself()),
            (Some("#_internal"), _) => Some(sent.inside()),
            (Some(target), _) if target.starts_with("#_") => {
                self.dropped(node, format!("nobody is reached at `{target}`"));
                Some(sent.unreachable())
            }
            (Some(target), _) => {
                self.dropped(node, format!("the target `{target}` is outside the workflow"));
                Some(sent.failing())
            }
        }
    }

    /// Where an event goes is known only when it is sent.
    fn send_to_computed(
        &mut self,
        node: Node<'x, 'x>,
        source: &str,
        sent: &Sent,
        out: &mut Vec<Tree>,
    ) -> Tree {
        let target = self.helper("target");
        let computed = self.template_or_fails(node, source);
        out.push(assign(target.clone(), computed));
        let at = format!("data.{target}");
        let branch = |when: Option<String>, action: Tree| {
            let mut branch = Tree::Map(Vec::new());
            if let Some(when) = when {
                branch.put("when", Tree::text(when));
            }
            branch.put("actions", Tree::List(vec![action]));
            branch
        };
        let choices = vec![
            branch(Some(format!("{at} in [null, '', {OWN_ADDRESS}]")), sent.to_itself()),
            branch(Some(format!("{at} == '#_internal'")), sent.inside()),
            branch(Some(format!("string({at}).startsWith('#_')")), sent.unreachable()),
            branch(None, sent.failing()),
        ];
        Tree::map([("choose", Tree::List(choices))])
    }

    /// Returns what fails when an event is sent in a way that does not exist.
    fn wrong_type(&mut self, node: Node<'x, 'x>, sent: &Sent) -> Option<Tree> {
        let short = PROCESSOR.replace('#', "");
        match (node.attribute("type"), node.attribute("typeexpr")) {
            (Some(own), _) if own.is_empty() || own == "scxml" => None,
            (Some(own), _) if own == PROCESSOR || own.trim_end_matches('/') == short => None,
            (Some(own), _) => {
                self.dropped(node, format!("events are not sent by `{own}`"));
                Some(sent.failing())
            }
            (None, Some(source)) => {
                let mut wrong = sent.failing();
                match ecma::translate(source, self) {
                    Ok(cel) => {
                        let known = format!("[null, '', 'scxml', '{PROCESSOR}', '{short}']");
                        wrong.put("when", Tree::text(format!("!({} in {known})", cel.text)));
                    }
                    Err(why) => self.dropped(node, format!("`{source}`: {why}")),
                }
                Some(wrong)
            }
            (None, None) => None,
        }
    }

    /// Returns the delay; none where it cannot be understood.
    fn delay(&mut self, node: Node<'x, 'x>) -> Option<Tree> {
        match (node.attribute("delay"), node.attribute("delayexpr")) {
            (Some(delay), _) => duration(delay).map(Tree::text),
            (None, Some(source)) => {
                let cel = ecma::translate(source, self).ok()?;
                let literal = cel.text.strip_prefix('\'').and_then(|it| it.strip_suffix('\''));
                match literal.and_then(duration) {
                    Some(delay) => Some(Tree::text(delay)),
                    None => Some(Tree::text(format!("${{{}}}", cel.text))),
                }
            }
            (None, None) => Some(Tree::text("0s")),
        }
    }

    /// Returns an expression that is always written as one, for places whose text means more.
    fn computed(&mut self, node: Node<'x, 'x>, source: &str) -> Tree {
        match ecma::translate(source, self) {
            Ok(cel) => Tree::text(format!("${{{}}}", cel.text)),
            Err(_) => self.template_or_fails(node, source),
        }
    }

    fn cancel(&mut self, node: Node<'x, 'x>) -> Option<Tree> {
        let id = match (node.attribute("sendid"), node.attribute("sendidexpr")) {
            (Some(id), _) => Tree::text(escaped(id)),
            (None, Some(source)) => self.computed(node, source),
            (None, None) => {
                self.dropped(node, "it names nothing to cancel");
                return None;
            }
        };
        Some(Tree::map([("cancel", id)]))
    }

    /// Returns what `<content>`, `<param>` and `namelist` carry.
    pub(super) fn payload(&mut self, node: Node<'x, 'x>) -> Option<Tree> {
        if let Some(content) = elements(node, "content").next() {
            return Some(match content.attribute("expr") {
                Some(source) => self.template_or_fails(content, source),
                None => self.inline(content.text().unwrap_or_default().trim()),
            });
        }
        let mut fields = Tree::Map(Vec::new());
        for name in node.attribute("namelist").unwrap_or_default().split_whitespace() {
            let value = self.template_or_fails(node, name);
            fields.put(to_name(name), value);
        }
        for param in elements(node, "param") {
            let source = param.attribute("expr").or(param.attribute("location"));
            let value = self.template_or_fails(param, source.unwrap_or_default());
            fields.put(param.attribute("name").unwrap_or("value"), value);
        }
        (!fields.is_empty()).then_some(fields)
    }

    // --- Data and flow ----------------------------------------------------------------------

    fn log(&mut self, node: Node<'x, 'x>) -> Tree {
        let label = node.attribute("label").unwrap_or_default();
        let message = match node.attribute("expr") {
            None => Tree::text(escaped(label)),
            Some(source) => match ecma::translate(source, self) {
                Ok(cel) => template(&cel),
                Err(_) => {
                    self.approximated(node, format!("logs the text of `{source}`"));
                    Tree::text(escaped(format!("{label} {source}").trim()))
                }
            },
        };
        Tree::map([("log", Tree::map([("message", message)]))])
    }

    fn assign(&mut self, node: Node<'x, 'x>) -> Option<Tree> {
        let written = node.attribute("location").unwrap_or_default();
        let Some(path) = self.location(written) else {
            let root = written.split(['.', '[']).next().unwrap_or_default().trim();
            if self.variables.contains(root) {
                self.dropped(node, format!("`{written}` is not understood"));
                return None;
            }
            // An error there as well.
            return Some(failing());
        };
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
                Ok(value) => plain(&value),
                Err(_) => Tree::text(escaped(text)),
            },
            (None, None) => Tree::Plain("null".into()),
        };
        Some(assign(path, value))
    }

    /// Returns the path in `data` of a place such as `a.b`, `a['b']` or `a[0].b`; its variable must
    /// be declared.
    fn location(&self, written: &str) -> Option<String> {
        let flat = written.trim().replace(']', "").replace('[', ".");
        let mut segments = flat.split('.').map(|it| it.trim_matches(['\'', '"', ' ']));
        let root = segments.next().filter(|it| self.variables.contains(*it))?;
        let mut path = self.field(root);
        for segment in segments {
            let is_fixed = segment.chars().all(|it| it.is_alphanumeric() || "_$".contains(it));
            if segment.is_empty() || !is_fixed {
                return None;
            }
            path.push('.');
            path.push_str(segment);
        }
        // An index that is a variable is not known before it is read.
        let computed = written.split('[').skip(1).any(|it| {
            it.trim_start().starts_with(|first: char| first.is_alphabetic() || first == '_')
        });
        (!computed).then_some(path)
    }

    fn choose(&mut self, node: Node<'x, 'x>) -> Tree {
        let mut branches: Vec<(Option<&str>, Vec<Tree>)> =
            vec![(Some(node.attribute("cond").unwrap_or_default()), Vec::new())];
        for child in node.children().filter(Node::is_element) {
            match child.tag_name().name() {
                "elseif" => {
                    let cond = child.attribute("cond").unwrap_or_default();
                    branches.push((Some(cond), Vec::new()));
                }
                "else" => branches.push((None, Vec::new())),
                _ => {
                    let mut actions = Vec::new();
                    self.action(child, &mut actions);
                    branches.last_mut().into_iter().for_each(|it| it.1.append(&mut actions));
                }
            }
        }
        let written = branches.into_iter().map(|(cond, actions)| {
            let mut branch = Tree::Map(Vec::new());
            if let Some(source) = cond {
                let when = match ecma::translate(source, self) {
                    Ok(cel) => cel.condition(),
                    Err(why) => {
                        self.dropped(node, format!("a branch is never taken: {why}"));
                        format!("{FAILING} == true")
                    }
                };
                branch.put("when", Tree::text(when));
            }
            branch.put("actions", Tree::List(actions));
            branch
        });
        Tree::map([("choose", Tree::List(written.collect()))])
    }

    /// The item and its position are variables in SCXML, which keep the last of them.
    fn for_each(&mut self, node: Node<'x, 'x>) -> Option<Tree> {
        let source = node.attribute("array").unwrap_or_default();
        let list = self.computed(node, source);
        let mut kept = Tree::Map(Vec::new());
        for (attribute, value) in [("item", "${item}"), ("index", "${index}")] {
            let Some(name) = node.attribute(attribute).map(str::trim) else { continue };
            if !is_variable_name(name) {
                self.dropped(node, format!("`{name}` is not a variable"));
                return None;
            }
            kept.put(self.field(name), Tree::text(value));
        }
        let mut actions = vec![Tree::map([("assign", kept)])];
        self.actions(node, &mut actions);
        let each = Tree::map([("in", list), ("actions", Tree::List(actions))]);
        Some(Tree::map([("for_each", each)]))
    }
}

/// Says whether ECMAScript allows a variable of this name.
fn is_variable_name(name: &str) -> bool {
    const WORDS: [&str; 38] = [
        "break",
        "case",
        "catch",
        "class",
        "const",
        "continue",
        "debugger",
        "default",
        "delete",
        "do",
        "else",
        "enum",
        "export",
        "extends",
        "false",
        "finally",
        "for",
        "function",
        "if",
        "import",
        "in",
        "instanceof",
        "new",
        "null",
        "return",
        "super",
        "switch",
        "this",
        "throw",
        "true",
        "try",
        "typeof",
        "var",
        "void",
        "while",
        "with",
        "yield",
        "let",
    ];
    let is_part = |it: char| it.is_alphanumeric() || it == '_' || it == '$';
    !name.is_empty()
        && name.chars().all(is_part)
        && !name.starts_with(|first: char| first.is_ascii_digit())
        // Variables of the system cannot be changed.
        && !matches!(name, "_event" | "_sessionid" | "_name" | "_ioprocessors" | "_x")
        && !WORDS.contains(&name)
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
