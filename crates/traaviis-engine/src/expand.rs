//! Components: documents merged into a document before anything else looks at it.
//!
//! [`read`] takes a text and a [`Shelf`] that finds components, and returns what
//! [`document::read`] returns for the expanded document, which is the one that is hashed, compiled
//! and run. The stages, for each component, those inside it first:
//!
//! 1. it is found, and its form is checked as that of any document;
//! 2. a state that is to take it as a region and has none yet gets regions (`wrap`);
//! 3. its parameters get the values of `with` and its names those of the workflow (`rename`, and
//!    `expression` for what stands in expressions);
//! 4. its states, events, effects, validations, triggers, data and tests (`cases`) are added; a
//!    name that is taken is E120.
//!
//! A component on its own is read as if an empty workflow used it: its exits are final states, its
//! parameters have the first of their `examples`. So it can be checked and tested, but not run.
//!
//! Invariants: places of findings stay right, because every node keeps its line and its file; what
//! is merged is bounded by [`DOCUMENT_NODES_MAX`] over the whole expansion; nothing is left of a
//! component that the rest of the system would have to know.

mod cases;
mod expression;
mod merge;
mod rename;
mod wrap;

#[cfg(test)]
mod tests;

use std::collections::VecDeque;

use traaviis_model::{
    Diagnostic, Severity, Text, Value,
    document::{
        self, Format, Read,
        tree::{Key, Node, NodeKind},
    },
    limits::{COMPONENT_DEPTH_MAX, DOCUMENT_NODES_MAX},
};

use crate::machine::Schema;
use rename::Rename;

/// Where the documents stand that a document may refer to.
pub trait Shelf {
    /// Finds a document by `NAME@RANGE`; the error is one sentence.
    fn find(&self, reference: &str) -> Result<Found<'_>, String>;
}

/// A document on a shelf.
#[derive(Debug)]
pub struct Found<'a> {
    /// Its file, for findings.
    pub file: &'a str,
    /// The document as written.
    pub tree: &'a Node,
}

/// Reads a document and merges its components into it.
pub fn read(text: &str, format: Format, shelf: &dyn Shelf) -> Read {
    let tree = match document::read_tree(text, format) {
        Ok(tree) if needs_merging(&tree) => tree,
        _ => return document::read(text, format),
    };
    let found = document::check_uses(&tree);
    if found.iter().any(|it| it.severity == Severity::Error) {
        return Read::refused(tree, Vec::new(), found);
    }
    let mut expander =
        Expander { shelf, files: Vec::new(), found: Vec::new(), above: Vec::new(), nodes: 0 };
    let written = tree.clone();
    let mut tree = expander.expand(tree);
    if is_component(&tree) {
        tree = expander.alone(tree);
    }
    if expander.found.is_empty() {
        document::read_merged(tree, expander.files)
    } else {
        let found = expander.diagnostics();
        Read::refused(written, expander.files, found)
    }
}

fn needs_merging(tree: &Node) -> bool {
    tree.entry("components").is_some() || is_component(tree)
}

/// Says whether a document can only be merged.
pub fn is_component(tree: &Node) -> bool {
    let kind = tree.entry("kind").and_then(|(_, it)| it.as_text());
    kind.is_some_and(|it| &**it == "component")
}

struct Expander<'s> {
    shelf: &'s dyn Shelf,
    /// Files of components, by `Node::file` from 1.
    files: Vec<String>,
    found: Vec<Finding>,
    /// Files of the components that are being expanded, outermost first.
    above: Vec<u16>,
    /// Nodes merged so far.
    nodes: usize,
}

impl Expander<'_> {
    /// Returns a document with its components merged into it.
    fn expand(&mut self, mut tree: Node) -> Node {
        let uses = take(&mut tree, "components");
        let mut uses: VecDeque<Node> = uses.iter().flat_map(Node::items).cloned().collect();
        let mut ends: Vec<(Text, Node)> = Vec::new();
        // Whether the states of the document itself are in a region already.
        let mut is_around = false;
        while let Some(mut item) = uses.pop_front() {
            // One mistake is enough: everything after it would only follow from it.
            if !self.found.is_empty() {
                break;
            }
            let is_whole = merge::is_region(&item) && item.entry("at").is_none();
            if !(is_whole && is_around) && merge::needs_regions(&tree, &item) {
                match wrap::wrap(&tree, &item) {
                    Ok((wrapped, moved)) => {
                        tree = wrapped;
                        item = merge::moved_item(&item, &moved);
                        uses = uses.iter().map(|it| merge::moved_item(it, &moved)).collect();
                        ends.iter_mut().for_each(|(path, _)| *path = moved.path(path).into());
                    }
                    Err(found) => {
                        self.found.push(found);
                        break;
                    }
                }
            }
            if is_whole {
                is_around = true;
                let (key, all) = (key_like("at", &item), retext(&item, wrap::ALL.into()));
                put(&mut item, key, all);
            }
            self.one(&mut tree, &item, &mut ends);
        }
        for (path, at) in ends {
            if !merge::has_path(&tree, &path) {
                let message = format!("`{path}` is no state of this document");
                self.found.push(finding("E102", &at, message).hint("write its path from the top"));
            }
        }
        tree
    }

    /// Merges the component of one entry of `components`.
    fn one(&mut self, host: &mut Node, item: &Node, ends: &mut Vec<(Text, Node)>) {
        let (Some(reference), Some(prefix)) = (text_at(item, "use"), text_at(item, "as")) else {
            return;
        };
        let at = item.entry("use").map_or(item, |(_, it)| it);
        let found = match self.shelf.find(reference) {
            Ok(found) => found,
            Err(message) => return self.fail("E121", at, message),
        };
        if !is_component(found.tree) {
            let message = format!("`{reference}` is a workflow; only a component can be merged");
            return self.fail("E121", at, message);
        }
        let file = self.file(found.file);
        if self.above.contains(&file) || self.above.len() >= COMPONENT_DEPTH_MAX {
            let chain = self.above.iter().chain([&file]).map(|it| self.name(*it));
            let chain = chain.collect::<Vec<_>>().join(" -> ");
            let (code, what) = match self.above.contains(&file) {
                true => ("E121", "components use each other in a circle".to_string()),
                false => {
                    ("E160", format!("components are nested deeper than {COMPONENT_DEPTH_MAX}"))
                }
            };
            return self.fail(code, at, format!("{what}: {chain}"));
        }
        self.nodes += count(found.tree);
        if self.nodes > DOCUMENT_NODES_MAX {
            let message =
                format!("the components have more than {DOCUMENT_NODES_MAX} values together");
            return self.fail("E160", at, message);
        }
        let part = found.tree.clone().of_file(file);
        self.wrong(file, document::check_uses(&part));
        self.above.push(file);
        let part = if self.found.is_empty() { self.expand(part) } else { part };
        self.above.pop();
        if !self.found.is_empty() {
            return;
        }
        match merge::prepare(item, prefix, &part) {
            Err(found) => self.found.extend(found),
            Ok(renamed) => {
                self.wrong(file, document::check_written(&renamed));
                if self.found.is_empty() {
                    self.found.extend(merge::merge(host, item, prefix, &renamed, ends));
                }
            }
        }
    }

    /// Returns a component as a workflow of its own.
    fn alone(&mut self, part: Node) -> Node {
        let schema = part.entry("parameters").map(|(_, it)| it.clone());
        let example = schema.as_ref().and_then(|it| it.entry("examples")?.1.items().first());
        let given = example.cloned().unwrap_or_else(|| empty_map(&part));
        let params = match parameters(schema.as_ref(), &given) {
            Ok(params) => params,
            Err(errors) => {
                let at = schema.unwrap_or_else(|| part.clone());
                let message = format!("the parameters have no values to check with: {errors}");
                let hint = "give the schema `examples` whose first fits, or defaults";
                self.found.push(finding("E121", &at, message).hint(hint));
                return part;
            }
        };
        let mut rename = Rename {
            prefix: None,
            above: String::new(),
            exits: Default::default(),
            events: Default::default(),
            params: Some(&params),
            moved: None,
            here: Vec::new(),
            tops: merge::tops(&part),
            in_named_effect: false,
            found: Vec::new(),
            met: Default::default(),
        };
        let mut renamed = merge::renamed(&mut rename, &part);
        self.found.append(&mut rename.found);
        self.wrong(0, document::check_written(&renamed));
        let exits = take(&mut renamed, "exits");
        take(&mut renamed, "parameters");
        take(&mut renamed, "kind");
        if let Some(states) = renamed.entry_mut("states") {
            for exit in exits.iter().flat_map(Node::items) {
                let Some(name) = exit.as_text() else { continue };
                if states.entry(name).is_some() {
                    self.fail("E107", exit, format!("the exit `{name}` has the name of a state"));
                }
                let kind = (key_like("type", exit), retext(exit, "final".into()));
                let last = Node { kind: NodeKind::Map(vec![kind]), ..*exit };
                put(states, key_like(name, exit), last);
            }
        }
        renamed
    }

    /// Takes over what the reader of documents found wrong.
    fn wrong(&mut self, file: u16, found: Vec<Diagnostic>) {
        let errors = found.into_iter().filter(|it| it.severity == Severity::Error);
        self.found.extend(errors.map(|diagnostic| Finding { file, diagnostic }));
    }

    fn file(&mut self, name: &str) -> u16 {
        let at = self.files.iter().position(|it| it == name).unwrap_or_else(|| {
            self.files.push(name.into());
            self.files.len() - 1
        });
        u16::try_from(at + 1).unwrap_or(u16::MAX)
    }

    fn name(&self, file: u16) -> String {
        let at = usize::from(file).checked_sub(1);
        at.and_then(|at| self.files.get(at)).cloned().unwrap_or_default()
    }

    fn fail(&mut self, code: &'static str, at: &Node, message: String) {
        self.found.push(finding(code, at, message));
    }

    /// Names the files of all findings.
    fn diagnostics(&self) -> Vec<Diagnostic> {
        let named = |it: &Finding| Diagnostic {
            file: (it.file > 0).then(|| self.name(it.file)),
            ..it.diagnostic.clone()
        };
        self.found.iter().map(named).collect()
    }
}

/// A finding and the file it is about, as in `Node::file`.
struct Finding {
    file: u16,
    diagnostic: Diagnostic,
}

impl Finding {
    fn hint(self, hint: &str) -> Finding {
        Finding { diagnostic: self.diagnostic.hint(hint), ..self }
    }
}

fn finding(code: &'static str, at: &Node, message: impl Into<String>) -> Finding {
    let diagnostic = Diagnostic::error(code, "", message).at(at.line, at.column);
    Finding { file: at.file, diagnostic }
}

/// Returns the values of the parameters: what is given and the defaults of the rest.
///
/// Values with expressions are known at run time only, so they are not compared with the schema.
fn parameters(schema: Option<&Node>, given: &Node) -> Result<Node, String> {
    let Some(schema) = schema else {
        return match given.entries() {
            [] => Ok(given.clone()),
            _ => Err("the component has no parameters".into()),
        };
    };
    let known = schema.entry("properties").map_or(&[][..], |(_, it)| it.entries());
    let known: Vec<&str> = known.iter().map(|(key, _)| &*key.text).collect();
    if let Some((key, _)) = given.entries().iter().find(|(key, _)| !known.contains(&&*key.text)) {
        let known = known.join("`, `");
        return Err(format!("there is no parameter `{}`; there is `{known}`", key.text));
    }
    let is_computed = |it: &Node| !expression::variables(it).is_empty();
    let computed: Vec<&(Key, Node)> =
        given.entries().iter().filter(|(_, it)| is_computed(it)).collect();
    let is_named = |name: &str| computed.iter().any(|(key, _)| &*key.text == name);
    let mut rules = schema.to_value();
    if let (Value::Map(map), Some(required)) = (&mut rules, schema.entry("required")) {
        let required = required.1.items().iter().filter_map(Node::as_text);
        let rest = required.filter(|it| !is_named(it)).map(|it| Value::String(it.clone()));
        std::sync::Arc::make_mut(map).insert("required", Value::list(rest));
    }
    let rules = Schema::compile(&rules)?;
    let known = given.entries().iter().filter(|(key, _)| !is_named(&key.text));
    let value = Value::map(known.map(|(key, it)| (key.text.clone(), it.to_value())));
    let value = rules.fill_defaults(value);
    let errors = rules.errors(&value);
    if !errors.is_empty() {
        return Err(errors.join("; "));
    }
    let mut params = Node { line: given.line, column: given.column, ..Node::from_value(&value) };
    for (key, it) in computed {
        put(&mut params, key.clone(), it.clone());
    }
    Ok(params.of_file(given.file))
}

fn is_map(it: &Node) -> bool {
    matches!(it.kind, NodeKind::Map(_))
}

fn empty_map(at: &Node) -> Node {
    Node { kind: NodeKind::Map(Vec::new()), ..*at }
}

fn text_at<'n>(it: &'n Node, key: &str) -> Option<&'n Text> {
    it.entry(key).and_then(|(_, it)| it.as_text())
}

fn retext(it: &Node, text: Text) -> Node {
    Node { kind: NodeKind::String(text), ..*it }
}

fn key_like(text: &str, at: &Node) -> Key {
    Key { text: text.into(), line: at.line, column: at.column }
}

/// Returns a map with each value changed by its key; anything else stays.
fn map_values<'n>(it: &'n Node, mut change: impl FnMut(&str, &'n Node) -> Node) -> Node {
    match &it.kind {
        NodeKind::Map(entries) => {
            let entries = entries.iter().map(|(key, it)| (key.clone(), change(&key.text, it)));
            Node { kind: NodeKind::Map(entries.collect()), ..*it }
        }
        _ => it.clone(),
    }
}

/// Adds an entry to a map, in the place of one with the same key.
fn put(map: &mut Node, key: Key, value: Node) {
    if let NodeKind::Map(entries) = &mut map.kind {
        match entries.iter_mut().find(|(have, _)| have.text == key.text) {
            Some((_, held)) => *held = value,
            None => entries.push((key, value)),
        }
    }
}

/// Removes an entry of a map.
fn take(map: &mut Node, key: &str) -> Option<Node> {
    let NodeKind::Map(entries) = &mut map.kind else { return None };
    let at = entries.iter().position(|(have, _)| &*have.text == key)?;
    Some(entries.remove(at).1)
}

fn count(it: &Node) -> usize {
    let below = it.items().iter().chain(it.entries().iter().map(|(_, it)| it));
    1 + below.map(count).sum::<usize>()
}
