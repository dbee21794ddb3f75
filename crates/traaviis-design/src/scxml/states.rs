//! The states of an SCXML document: their ids, their places, and what is inside.

use std::collections::BTreeMap;

use roxmltree::{Document, Node};

use super::{DEPTH_MAX, ScxmlError};

/// Index of a state; 0 is the root.
pub type StateIndex = usize;

/// What a state is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `<scxml>` or `<state>`.
    State,
    /// `<parallel>`.
    Parallel,
    /// `<final>`.
    Final,
    /// `<history>`.
    History,
}

/// A state.
#[derive(Debug)]
pub struct State<'x> {
    /// Its element.
    pub node: Node<'x, 'x>,
    /// What it is.
    pub kind: Kind,
    /// Name in the workflow: its id, as far as names may have it.
    pub name: String,
    /// Path in the workflow; empty for the root.
    pub path: String,
    /// The state around it.
    pub parent: StateIndex,
    /// States directly inside, in document order.
    pub children: Vec<StateIndex>,
}

/// All states.
#[derive(Debug)]
pub struct Chart<'x> {
    /// In document order, the root first.
    pub states: Vec<State<'x>>,
    by_id: BTreeMap<&'x str, StateIndex>,
}

/// Reads the states of a document.
pub fn read<'x>(xml: &'x Document<'x>) -> Result<Chart<'x>, ScxmlError> {
    let root = xml.root_element();
    if root.tag_name().name() != "scxml" {
        return Err(ScxmlError::Root(root.tag_name().name().into()));
    }
    let root_state = State {
        node: root,
        kind: Kind::State,
        name: String::new(),
        path: String::new(),
        parent: 0,
        children: Vec::new(),
    };
    let mut chart = Chart { states: vec![root_state], by_id: BTreeMap::new() };
    chart.children(xml, 0, 1)?;
    if chart.states.len() == 1 {
        return Err(ScxmlError::NoState);
    }
    // Depth of anything else inside, such as executable content.
    for node in root.descendants() {
        if node.ancestors().nth(DEPTH_MAX).is_some() {
            return Err(ScxmlError::Depth(xml.text_pos_at(node.range().start).row));
        }
    }
    Ok(chart)
}

impl<'x> Chart<'x> {
    fn children(
        &mut self,
        xml: &'x Document<'x>,
        parent: StateIndex,
        depth: usize,
    ) -> Result<(), ScxmlError> {
        let around = self.states[parent].node;
        for node in around.children().filter(Node::is_element) {
            let kind = match node.tag_name().name() {
                "state" => Kind::State,
                "parallel" => Kind::Parallel,
                "final" => Kind::Final,
                "history" => Kind::History,
                _ => continue,
            };
            if depth >= DEPTH_MAX {
                return Err(ScxmlError::Depth(xml.text_pos_at(node.range().start).row));
            }
            let index = self.states.len();
            let name = match node.attribute("id") {
                Some(id) => {
                    self.by_id.entry(id).or_insert(index);
                    to_name(id)
                }
                None => format!("state_{index}"),
            };
            let path = match &*self.states[parent].path {
                "" => name.clone(),
                above => format!("{above}.{name}"),
            };
            self.states.push(State { node, kind, name, path, parent, children: Vec::new() });
            self.states[parent].children.push(index);
            self.children(xml, index, depth + 1)?;
        }
        Ok(())
    }

    /// Returns the state with an id.
    pub fn find(&self, id: &str) -> Option<StateIndex> {
        self.by_id.get(id).copied()
    }

    /// Returns all ids with their states.
    pub fn ids(&self) -> impl Iterator<Item = (&'x str, StateIndex)> {
        self.by_id.iter().map(|(id, at)| (*id, *at))
    }

    /// Says whether `state` is inside `around`, at any depth.
    pub fn is_inside(&self, state: StateIndex, around: StateIndex) -> bool {
        let mut at = state;
        while at != 0 {
            at = self.states[at].parent;
            if at == around {
                return true;
            }
        }
        false
    }
}

/// Returns a name that workflows accept.
pub fn to_name(id: &str) -> String {
    let part =
        |it: char| if it.is_ascii_alphanumeric() || it == '_' || it == '-' { it } else { '_' };
    let name: String = id.trim().chars().map(part).collect();
    match name.chars().next() {
        Some(first) if first.is_ascii_alphabetic() || first == '_' => name,
        _ => format!("_{name}"),
    }
}
