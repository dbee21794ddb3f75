//! The tree of a document as written: order kept, every value with its place.
//!
//! Both readers, YAML and JSON, build this tree, so everything after them is written once.
//! Depth never exceeds [`limits::DOCUMENT_DEPTH_MAX`](crate::limits::DOCUMENT_DEPTH_MAX),
//! which is why recursion over it is safe.

use crate::{ids::Text, value::Value};

/// A value and where it stands.
#[derive(Clone, Debug)]
pub struct Node {
    /// What it is.
    pub kind: NodeKind,
    /// Line, from 1.
    pub line: u32,
    /// Column in characters, from 1.
    pub column: u32,
    /// Which file: 0 is the document itself, others were merged into it.
    pub file: u16,
}

/// The kinds of values in a document.
#[derive(Clone, Debug)]
pub enum NodeKind {
    /// Nothing.
    Null,
    /// True or false.
    Bool(bool),
    /// A whole number that fits 64 bits with sign.
    Int(i64),
    /// A whole number above `i64::MAX`.
    Uint(u64),
    /// Any other finite number.
    Float(f64),
    /// Text.
    String(Text),
    /// A list.
    List(Vec<Node>),
    /// A map in document order, keys unique.
    Map(Vec<(Key, Node)>),
}

/// A key of a map and where it stands.
#[derive(Clone, Debug)]
pub struct Key {
    /// The key as written.
    pub text: Text,
    /// Line, from 1.
    pub line: u32,
    /// Column in characters, from 1.
    pub column: u32,
}

impl Node {
    /// Returns the value, without places; maps become sorted.
    pub fn to_value(&self) -> Value {
        match &self.kind {
            NodeKind::Null => Value::Null,
            NodeKind::Bool(it) => Value::Bool(*it),
            NodeKind::Int(it) => Value::Int(*it),
            NodeKind::Uint(it) => Value::Uint(*it),
            NodeKind::Float(it) => Value::Float(*it),
            NodeKind::String(it) => Value::String(it.clone()),
            NodeKind::List(items) => Value::list(items.iter().map(Node::to_value)),
            NodeKind::Map(entries) => {
                Value::map(entries.iter().map(|(key, it)| (key.text.clone(), it.to_value())))
            }
        }
    }

    /// Returns a tree of `value`, without places.
    pub fn from_value(value: &Value) -> Node {
        let kind = match value {
            Value::Bool(it) => NodeKind::Bool(*it),
            Value::Int(it) => NodeKind::Int(*it),
            Value::Uint(it) => NodeKind::Uint(*it),
            Value::Float(it) if it.is_finite() => NodeKind::Float(*it),
            Value::String(it) => NodeKind::String(it.clone()),
            Value::List(items) => NodeKind::List(items.iter().map(Node::from_value).collect()),
            Value::Map(map) => NodeKind::Map(
                map.iter()
                    .map(|(key, it)| {
                        let key = Key { text: key.clone(), line: 1, column: 1 };
                        (key, Node::from_value(it))
                    })
                    .collect(),
            ),
            _ => NodeKind::Null,
        };
        Node { kind, line: 1, column: 1, file: 0 }
    }

    /// Returns compact JSON text with keys in document order.
    pub fn to_json(&self) -> String {
        let mut out = String::new();
        self.write_json(&mut out);
        out
    }

    fn write_json(&self, out: &mut String) {
        match &self.kind {
            NodeKind::List(items) => {
                out.push('[');
                for (at, item) in items.iter().enumerate() {
                    if at > 0 {
                        out.push(',');
                    }
                    item.write_json(out);
                }
                out.push(']');
            }
            NodeKind::Map(entries) => {
                out.push('{');
                for (at, (key, item)) in entries.iter().enumerate() {
                    if at > 0 {
                        out.push(',');
                    }
                    out.push_str(&Value::String(key.text.clone()).to_json());
                    out.push(':');
                    item.write_json(out);
                }
                out.push('}');
            }
            _ => out.push_str(&self.to_value().to_json()),
        }
    }

    /// Returns the entry under `key` of a map.
    pub fn entry(&self, key: &str) -> Option<&(Key, Node)> {
        match &self.kind {
            NodeKind::Map(entries) => entries.iter().find(|(have, _)| &*have.text == key),
            _ => None,
        }
    }

    /// Returns the entry under `key` of a map, to change it.
    pub fn entry_mut(&mut self, key: &str) -> Option<&mut Node> {
        match &mut self.kind {
            NodeKind::Map(entries) => {
                entries.iter_mut().find(|(have, _)| &*have.text == key).map(|(_, it)| it)
            }
            _ => None,
        }
    }

    /// Returns the text.
    pub fn as_text(&self) -> Option<&Text> {
        match &self.kind {
            NodeKind::String(text) => Some(text),
            _ => None,
        }
    }

    /// Returns the entries of a map; none for anything else.
    pub fn entries(&self) -> &[(Key, Node)] {
        match &self.kind {
            NodeKind::Map(entries) => entries,
            _ => &[],
        }
    }

    /// Returns the items of a list; none for anything else.
    pub fn items(&self) -> &[Node] {
        match &self.kind {
            NodeKind::List(items) => items,
            _ => &[],
        }
    }

    /// Returns this with everything below it as part of another file.
    pub fn of_file(mut self, file: u16) -> Node {
        self.file = file;
        self.kind = match self.kind {
            NodeKind::List(items) => {
                NodeKind::List(items.into_iter().map(|it| it.of_file(file)).collect())
            }
            NodeKind::Map(entries) => NodeKind::Map(
                entries.into_iter().map(|(key, it)| (key, it.of_file(file))).collect(),
            ),
            plain => plain,
        };
        self
    }

    /// Says whether this is neither null, list nor map.
    pub fn is_plain(&self) -> bool {
        !matches!(self.kind, NodeKind::Null | NodeKind::List(_) | NodeKind::Map(_))
    }

    /// Returns the words for this kind of value, as used in messages.
    pub fn words(&self) -> &'static str {
        match self.kind {
            NodeKind::Null => "nothing",
            NodeKind::Bool(_) => "a truth value",
            NodeKind::Int(_) | NodeKind::Uint(_) | NodeKind::Float(_) => "a number",
            NodeKind::String(_) => "text",
            NodeKind::List(_) => "a list",
            NodeKind::Map(_) => "a map",
        }
    }
}

/// Returns where a value stands in the eyes of a person: plain values at themselves, others at
/// their key, since a block below a key starts a line too late.
pub(crate) fn place_of(key: Option<&Key>, node: &Node) -> (u32, u32) {
    match key {
        Some(key) if !node.is_plain() => (key.line, key.column),
        _ => (node.line, node.column),
    }
}

/// Returns `key` as a segment of a JSON pointer (RFC 6901).
pub(crate) fn escape(key: &str) -> String {
    key.replace('~', "~0").replace('/', "~1")
}
