//! A document being written: JSON whose maps keep the order in which they are filled, because the
//! order of states has a meaning.

use std::fmt::Write as _;

use traaviis_model::document::tree::{Node, NodeKind};

/// A value of the document.
#[derive(Clone, Debug, PartialEq)]
pub enum Tree {
    /// Text.
    Text(String),
    /// Anything else without parts: number, boolean or null, as JSON text.
    Plain(String),
    /// List.
    List(Vec<Tree>),
    /// Map.
    Map(Vec<(String, Tree)>),
}

impl Tree {
    /// Returns a document that was read.
    pub fn of(node: &Node) -> Tree {
        match &node.kind {
            NodeKind::String(text) => Tree::Text(text.to_string()),
            NodeKind::List(items) => Tree::List(items.iter().map(Tree::of).collect()),
            NodeKind::Map(entries) => Tree::Map(
                entries.iter().map(|(key, it)| (key.text.to_string(), Tree::of(it))).collect(),
            ),
            _ => Tree::Plain(node.to_json()),
        }
    }

    /// Returns text.
    pub fn text(text: impl Into<String>) -> Tree {
        Tree::Text(text.into())
    }

    /// Returns a map of pairs.
    pub fn map<const N: usize>(pairs: [(&str, Tree); N]) -> Tree {
        Tree::Map(pairs.into_iter().map(|(key, value)| (key.to_string(), value)).collect())
    }

    /// Adds a pair to a map, in the place of one with the same key; anything else stays as it is.
    pub fn put(&mut self, key: impl Into<String>, value: Tree) {
        let key = key.into();
        if let Tree::Map(pairs) = self {
            match pairs.iter_mut().find(|(own, _)| *own == key) {
                Some((_, held)) => *held = value,
                None => pairs.push((key, value)),
            }
        }
    }

    /// Returns the value under a key of a map.
    pub fn get(&self, key: &str) -> Option<&Tree> {
        match self {
            Tree::Map(pairs) => pairs.iter().find(|(own, _)| own == key).map(|(_, it)| it),
            _ => None,
        }
    }

    /// Says whether there is nothing inside.
    pub fn is_empty(&self) -> bool {
        match self {
            Tree::List(items) => items.is_empty(),
            Tree::Map(pairs) => pairs.is_empty(),
            _ => false,
        }
    }

    /// Returns the document as JSON on one line.
    pub fn to_json(&self) -> String {
        let mut out = String::new();
        self.json(&mut out);
        out
    }

    fn json(&self, out: &mut String) {
        let parts =
            |out: &mut String, open, close, each: &mut dyn FnMut(&mut String, usize), count| {
                out.push(open);
                for at in 0..count {
                    if at > 0 {
                        out.push(',');
                    }
                    each(out, at);
                }
                out.push(close);
            };
        match self {
            Tree::Text(text) => out.push_str(&quoted(text)),
            Tree::Plain(text) => out.push_str(text),
            Tree::List(items) => {
                parts(out, '[', ']', &mut |out, at| items[at].json(out), items.len());
            }
            Tree::Map(pairs) => parts(
                out,
                '{',
                '}',
                &mut |out, at| {
                    let _ = write!(out, "{}:", quoted(&pairs[at].0));
                    pairs[at].1.json(out);
                },
                pairs.len(),
            ),
        }
    }

    /// Returns the document as YAML.
    pub fn to_yaml(&self) -> String {
        let mut out = String::new();
        self.yaml(&mut out, 0);
        out
    }

    fn yaml(&self, out: &mut String, depth: usize) {
        let indent = "  ".repeat(depth);
        match self {
            Tree::Map(pairs) if !pairs.is_empty() => {
                for (key, value) in pairs {
                    let _ = write!(out, "{indent}{}:", plain_or_quoted(key));
                    value.yaml_after_key(out, depth + 1);
                }
            }
            Tree::List(items) if !items.is_empty() => {
                for item in items {
                    let _ = write!(out, "{indent}-");
                    item.yaml_after_key(out, depth + 1);
                }
            }
            other => {
                let _ = writeln!(out, "{indent}{}", other.to_json());
            }
        }
    }

    /// Small values go on the line of their key.
    fn yaml_after_key(&self, out: &mut String, depth: usize) {
        const FLOW_MAX: usize = 60;
        match self {
            Tree::Text(text) => {
                let _ = writeln!(out, " {}", plain_or_quoted(text));
            }
            Tree::Map(_) | Tree::List(_) if !self.is_empty() && self.to_json().len() > FLOW_MAX => {
                out.push('\n');
                self.yaml(out, depth);
            }
            other => {
                let _ = writeln!(out, " {}", other.to_json());
            }
        }
    }
}

fn quoted(text: &str) -> String {
    serde_json::to_string(text).unwrap_or_default()
}

/// Writes text without quotes where YAML reads it as the same text.
fn plain_or_quoted(text: &str) -> String {
    let starts = text.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_');
    let is_plain =
        starts && text.chars().all(|it| it.is_ascii_alphanumeric() || "_-.".contains(it));
    let means_more = ["true", "false", "null"].iter().any(|it| it.eq_ignore_ascii_case(text));
    if is_plain && !means_more { text.to_string() } else { quoted(text) }
}
