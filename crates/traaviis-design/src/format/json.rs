//! JSON with two spaces for each level.

use traaviis_model::{
    Value,
    document::tree::{Node, NodeKind},
};

use crate::format::order;

pub(super) fn write(node: &Node) -> String {
    let mut out = String::new();
    value(&mut out, &order::sorted(node), 0);
    out.push('\n');
    out
}

fn value(out: &mut String, node: &Node, depth: usize) {
    match &node.kind {
        NodeKind::List(items) if !items.is_empty() => {
            out.push('[');
            for (at, item) in items.iter().enumerate() {
                next(out, at, depth + 1);
                value(out, item, depth + 1);
            }
            end(out, ']', depth);
        }
        NodeKind::Map(entries) if !entries.is_empty() => {
            out.push('{');
            for (at, (key, item)) in entries.iter().enumerate() {
                next(out, at, depth + 1);
                out.push_str(&Value::String(key.text.clone()).to_json());
                out.push_str(": ");
                value(out, item, depth + 1);
            }
            end(out, '}', depth);
        }
        _ => out.push_str(&node.to_json()),
    }
}

fn next(out: &mut String, at: usize, depth: usize) {
    out.push_str(if at > 0 { ",\n" } else { "\n" });
    out.push_str(&"  ".repeat(depth));
}

fn end(out: &mut String, close: char, depth: usize) {
    out.push('\n');
    out.push_str(&"  ".repeat(depth));
    out.push(close);
}
