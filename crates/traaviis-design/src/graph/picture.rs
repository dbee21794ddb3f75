//! What a picture shows: one node for each state, one edge for each transition that goes somewhere,
//! and lines inside a state for everything that happens without leaving it.
//!
//! Three kinds of nodes are no states: the mark where a composite begins, the bar where a
//! transition with several targets splits, and the root, which is the workflow itself.
//!
//! Invariants: a node stands after its parent; the nodes of states come first and have the numbers
//! of [`Places`].

use traaviis_engine::machine::{Places, StateId};
use traaviis_model::{
    Text,
    definition::{Candidate, Definition, FinalStatus, State, StateKind},
};

use super::label;

/// Position of a node in [`Picture::nodes`]; 0 is the root.
pub type NodeId = usize;

/// Everything that is drawn.
#[derive(Clone, Debug)]
pub struct Picture {
    /// The nodes, the root first.
    pub nodes: Vec<Node>,
    /// The arrows.
    pub edges: Vec<Edge>,
}

/// A state, or a mark.
#[derive(Clone, Debug)]
pub struct Node {
    /// Name without its parents.
    pub name: String,
    /// Names from the top, joined by dots; empty for marks and for the root.
    pub path: String,
    /// What it is.
    pub kind: NodeKind,
    /// The node around it; the root stands around itself.
    pub parent: NodeId,
    /// The nodes inside, marks first, states in document order.
    pub children: Vec<NodeId>,
    /// What happens inside: entry, exit, invokes, transitions without a target.
    pub lines: Vec<Line>,
}

/// The kinds of nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NodeKind {
    /// The workflow.
    Root,
    /// A state without states inside.
    Atomic,
    /// One of its states is active.
    Compound,
    /// All of its states are active.
    Parallel,
    /// The end of its parent.
    Final(FinalStatus),
    /// Where its parent goes back to; deep or shallow.
    History {
        /// The whole subtree rather than the child.
        deep: bool,
    },
    /// Where its parent begins.
    Initial,
    /// Where a transition splits.
    Fork,
}

impl NodeKind {
    /// Says whether it is a mark rather than a state.
    pub fn is_mark(self) -> bool {
        matches!(self, NodeKind::Initial | NodeKind::Fork)
    }
}

/// A line inside a state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// The words.
    pub text: String,
    /// Place in the document, of a transition without a target.
    pub transition: Option<Text>,
}

/// An arrow.
#[derive(Clone, Debug)]
pub struct Edge {
    /// Where it begins.
    pub from: NodeId,
    /// Where it ends.
    pub to: NodeId,
    /// What stands beside it.
    pub label: Label,
    /// Place in the document; none for the arrows of marks and of history.
    pub transition: Option<Text>,
}

/// What stands beside an arrow.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Label {
    /// Event, timer or the like.
    pub trigger: String,
    /// CEL condition; `else` for the last way out.
    pub guard: Option<String>,
    /// What happens on the way.
    pub actions: String,
}

impl Label {
    /// Returns the parts that say something, as `event`, `[guard]` and `/ actions`.
    pub fn parts(&self) -> Vec<String> {
        let mut parts = Vec::new();
        if !self.trigger.is_empty() {
            parts.push(self.trigger.clone());
        }
        parts.extend(self.guard.as_ref().map(|it| format!("[{it}]")));
        if !self.actions.is_empty() {
            parts.push(format!("/ {}", self.actions));
        }
        parts
    }

    /// Returns everything on one line.
    pub fn text(&self) -> String {
        self.parts().join(" ")
    }
}

impl Picture {
    /// Returns the picture of a definition. A target that names no state is left out, so the
    /// definition should be one that compiles.
    pub fn of(definition: &Definition) -> Picture {
        let places = Places::of(definition);
        let root = Node {
            name: format!("{} {}", definition.name, definition.version),
            path: String::new(),
            kind: NodeKind::Root,
            parent: 0,
            children: Vec::new(),
            lines: Vec::new(),
        };
        let mut draft = Draft { places, nodes: vec![root], edges: Vec::new() };
        let states = draft.nodes_of(&definition.states, 0);
        draft.begin(0, &definition.initial);
        for (at, state) in states {
            draft.state(at, state);
        }
        Picture { nodes: draft.nodes, edges: draft.edges }
    }

    /// Returns the nodes around a node, innermost first, the root last.
    pub fn ancestors(&self, node: NodeId) -> impl Iterator<Item = NodeId> + '_ {
        std::iter::successors((node != 0).then(|| self.nodes[node].parent), |at| {
            (*at != 0).then(|| self.nodes[*at].parent)
        })
    }

    /// Says whether a node stands inside another, at any depth.
    pub fn is_inside(&self, node: NodeId, around: NodeId) -> bool {
        self.ancestors(node).any(|it| it == around)
    }
}

struct Draft {
    places: Places,
    nodes: Vec<Node>,
    edges: Vec<Edge>,
}

impl Draft {
    /// Adds a node for each state, in the order of [`Places`].
    fn nodes_of<'a>(&mut self, states: &'a [State], parent: NodeId) -> Vec<(StateId, &'a State)> {
        let mut found = Vec::new();
        for state in states {
            let (kind, below): (_, &[State]) = match &state.kind {
                StateKind::Atomic => (NodeKind::Atomic, &[]),
                StateKind::Compound { states, .. } => (NodeKind::Compound, states),
                StateKind::Parallel { states } => (NodeKind::Parallel, states),
                StateKind::Final { status, .. } => (NodeKind::Final(*status), &[]),
                StateKind::History { deep, .. } => (NodeKind::History { deep: *deep }, &[]),
            };
            let at = self.add(kind, parent, state.name.to_string());
            self.nodes[at].path = self.places.path(at).to_string();
            found.push((at, state));
            found.extend(self.nodes_of(below, at));
        }
        found
    }

    fn add(&mut self, kind: NodeKind, parent: NodeId, name: String) -> NodeId {
        let at = self.nodes.len();
        let (path, children, lines) = (String::new(), Vec::new(), Vec::new());
        self.nodes.push(Node { name, path, kind, parent, children, lines });
        match kind {
            NodeKind::Initial => self.nodes[parent].children.insert(0, at),
            _ => self.nodes[parent].children.push(at),
        }
        at
    }

    /// Marks where a composite begins.
    fn begin(&mut self, parent: NodeId, initial: &[Text]) {
        let targets: Vec<StateId> =
            initial.iter().filter_map(|it| self.places.initial(parent, it)).collect();
        let mark = self.add(NodeKind::Initial, parent, String::new());
        for to in targets {
            self.edges.push(Edge { from: mark, to, label: Label::default(), transition: None });
        }
    }

    fn state(&mut self, at: StateId, state: &State) {
        match &state.kind {
            StateKind::Compound { initial, .. } => self.begin(at, initial),
            StateKind::History { target, .. } => {
                for to in target.iter().filter_map(|it| self.places.resolve(at, it)) {
                    let label = Label::default();
                    self.edges.push(Edge { from: at, to, label, transition: None });
                }
            }
            _ => {}
        }
        for (word, actions) in [("entry", &state.entry), ("exit", &state.exit)] {
            if !actions.is_empty() {
                self.line(at, format!("{word} / {}", label::actions(actions)), None);
            }
        }
        for invoke in &state.invoke {
            self.line(at, label::invoke(invoke), None);
        }
        for (event, candidates) in &state.on {
            self.candidates(at, event, candidates);
        }
        self.candidates(at, "always", &state.always);
        for after in &state.after {
            self.candidates(
                at,
                &format!("after {}", label::delay(&after.delay)),
                &after.candidates,
            );
        }
        for invoke in &state.invoke {
            let ways = [
                ("onDone", &invoke.on_done),
                ("onError", &invoke.on_error),
                ("onProgress", &invoke.on_progress),
            ];
            for (word, candidates) in ways {
                self.candidates(at, &format!("{word} {}", invoke.id), candidates);
            }
        }
        self.candidates(at, "onDone", &state.on_done);
        self.candidates(at, "onError", &state.on_error);
    }

    fn line(&mut self, at: NodeId, text: String, transition: Option<Text>) {
        self.nodes[at].lines.push(Line { text, transition });
    }

    fn candidates(&mut self, at: StateId, trigger: &str, candidates: &[Candidate]) {
        for (index, candidate) in candidates.iter().enumerate() {
            let guard = candidate.guard.as_ref().map(|it| it.to_string());
            let label = Label {
                trigger: trigger.to_string(),
                guard: guard.or_else(|| (index > 0).then(|| "else".into())),
                actions: label::actions(&candidate.actions),
            };
            self.candidate(at, label, candidate);
        }
    }

    fn candidate(&mut self, at: StateId, label: Label, candidate: &Candidate) {
        let transition = Some(candidate.pointer.clone());
        let targets = candidate.target.iter().flatten();
        let targets: Vec<StateId> = targets.filter_map(|it| self.places.resolve(at, it)).collect();
        match *targets {
            [] => self.line(at, label.text(), transition),
            [to] => self.edges.push(Edge { from: at, to, label, transition }),
            _ => {
                let fork = self.add(NodeKind::Fork, self.around(&targets), String::new());
                self.edges.push(Edge { from: at, to: fork, label, transition });
                for to in targets {
                    let label = Label::default();
                    self.edges.push(Edge { from: fork, to, label, transition: None });
                }
            }
        }
    }

    /// Returns the node around the parallel state whose regions the targets stand in.
    fn around(&self, targets: &[NodeId]) -> NodeId {
        let above = |at: NodeId| {
            let mut chain = vec![at];
            let mut at = at;
            while at != 0 {
                at = self.nodes[at].parent;
                chain.push(at);
            }
            chain
        };
        let first = above(targets[0]);
        let common = first.into_iter().find(|it| targets.iter().all(|to| above(*to).contains(it)));
        self.nodes[common.unwrap_or(0)].parent
    }
}
