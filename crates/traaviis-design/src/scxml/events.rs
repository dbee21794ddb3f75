//! Names of events, and which of them a transition takes.
//!
//! In SCXML a name stands for all names below it, and only document order decides between
//! transitions. In a workflow the most specific key wins. So each state gets a key for every
//! descriptor that it uses, and below each key stand all transitions that take its events, in
//! document order: the key that wins knows them all.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use roxmltree::Node;
use traaviis_engine::machine::is_reserved;
use traaviis_model::limits::EVENTS_MAX;

use super::states::{Chart, to_name};

/// Which events a transition takes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Descriptor {
    /// Every event.
    Any,
    /// The name, and all below it.
    Below(String),
    /// The name only.
    Exact(String),
}

impl Descriptor {
    /// Says whether this takes every event that `other` takes.
    pub fn covers(&self, other: &Descriptor) -> bool {
        match (self, other) {
            (Descriptor::Any, _) => true,
            (Descriptor::Below(own), Descriptor::Below(it) | Descriptor::Exact(it)) => {
                let rest = it.strip_prefix(own.as_str());
                rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
            }
            _ => self == other,
        }
    }
}

impl fmt::Display for Descriptor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Descriptor::Any => f.write_str("*"),
            Descriptor::Below(name) => write!(f, "{name}.*"),
            Descriptor::Exact(name) => f.write_str(name),
        }
    }
}

/// The events of a chart.
#[derive(Debug, Default)]
pub struct Events {
    /// Paths of states by what `done.state.` says of them.
    paths: BTreeMap<String, String>,
    /// What callers may send and the chart may raise.
    declared: BTreeSet<Descriptor>,
    /// First segments of names of the engine that `*` takes here.
    reserved: BTreeSet<String>,
}

impl Events {
    /// Collects the events that a chart names.
    pub fn of(chart: &Chart<'_>) -> Events {
        let paths = chart.ids().map(|(id, at)| (id.to_string(), chart.states[at].path.clone()));
        let reserved = ["error", "done"].map(str::to_string).into();
        let mut events = Events { paths: paths.collect(), reserved, ..Events::default() };
        for node in chart.states[0].node.descendants().filter(Node::is_element) {
            match node.tag_name().name() {
                "transition" => {
                    let named = events.descriptors(node);
                    named.into_iter().for_each(|it| events.declare(it));
                }
                "raise" | "send" => match node.attribute("event") {
                    Some(name) => events.declare(Descriptor::Exact(events.name(name))),
                    None => events.declare(Descriptor::Any),
                },
                _ => {}
            }
        }
        events
    }

    /// Says whether a name belongs to the engine.
    pub fn is_reserved(name: &str) -> bool {
        is_reserved(name)
    }

    fn declare(&mut self, named: Descriptor) {
        match &named {
            Descriptor::Below(name) | Descriptor::Exact(name) if is_reserved(name) => {
                self.reserved.insert(name.split('.').next().unwrap_or_default().to_string());
            }
            Descriptor::Exact(name) if name.is_empty() => {}
            _ => {
                self.declared.insert(named);
            }
        }
    }

    /// Returns the declarations: what no other declaration covers.
    pub fn declared(&self) -> Vec<String> {
        // What a workflow cannot list, it takes as a whole.
        if self.declared.len() > 4 * EVENTS_MAX {
            return vec!["*".into()];
        }
        let own = |it: &&Descriptor| {
            let among = self.declared.iter();
            **it == Descriptor::Any
                || !among.filter(|a| **a != Descriptor::Any).any(|a| a != *it && a.covers(it))
        };
        let found: Vec<String> =
            self.declared.iter().filter(own).map(ToString::to_string).collect();
        if found.len() > EVENTS_MAX { vec!["*".into()] } else { found }
    }

    /// Returns the name that an event has in the workflow.
    pub fn name(&self, name: &str) -> String {
        let state = name.strip_prefix("done.state.").and_then(|id| self.paths.get(id));
        if let Some(path) = state {
            return format!("done.state.{path}");
        }
        let segments: Vec<String> =
            name.trim().split('.').filter(|it| !it.is_empty()).map(to_name).collect();
        match segments.as_slice() {
            [first, second, rest @ ..] if first == "error" && second == "execution" => {
                let rest: String = rest.iter().map(|it| format!(".{it}")).collect();
                format!("error.expression{rest}")
            }
            _ => segments.join("."),
        }
    }

    /// Returns what a transition waits for.
    pub fn descriptors(&self, transition: Node<'_, '_>) -> Vec<Descriptor> {
        let written = transition.attribute("event").unwrap_or_default().split_whitespace();
        written.map(|it| self.descriptor(it)).collect()
    }

    fn descriptor(&self, written: &str) -> Descriptor {
        let name = written.trim_end_matches(".*").trim_end_matches('.');
        if name == "*" || name.is_empty() {
            return Descriptor::Any;
        }
        match name.strip_prefix("done.state.").and_then(|id| self.paths.get(id)) {
            // The event carries the path of the state, and states inside have longer ones.
            Some(path) => Descriptor::Exact(format!("done.state.{path}")),
            None => Descriptor::Below(self.name(name)),
        }
    }

    /// Returns the keys of a state, each once. `*` of a workflow leaves out the engine's own
    /// events, which `*` of SCXML takes.
    pub fn keys<'d>(&self, named: impl Iterator<Item = &'d Descriptor>) -> BTreeSet<Descriptor> {
        let mut keys: BTreeSet<Descriptor> = named.cloned().collect();
        if keys.contains(&Descriptor::Any) {
            keys.extend(self.reserved.iter().cloned().map(Descriptor::Below));
        }
        keys
    }
}
