//! A picture for Mermaid, as a `stateDiagram-v2`.
//!
//! States have ids of our own, so that no name can mean something to Mermaid; names and words are
//! text, in which everything but letters, digits and a few marks is written as a character code.
//! States are declared before the arrows: Mermaid puts a state where it is named first. Its grammar
//! takes every picture; its layout gives up on some arrows to a composite inside a composite.

use std::fmt::Write as _;

use crate::graph::picture::{NodeId, NodeKind, Picture};

pub(super) fn write(picture: &Picture) -> String {
    let mut out =
        format!("---\ntitle: \"{}\"\n---\nstateDiagram-v2\n", escaped(&picture.nodes[0].name));
    composite(&mut out, picture, 0, 1);
    for edge in &picture.edges {
        if picture.nodes[edge.from].kind == NodeKind::Initial {
            continue;
        }
        let _ = write!(out, "  {} --> {}", id(edge.from), id(edge.to));
        let label = edge.label.parts();
        if !label.is_empty() {
            let label: Vec<String> = label.iter().map(|it| escaped(it)).collect();
            let _ = write!(out, " : {}", label.join("<br/>"));
        }
        out.push('\n');
    }
    out
}

fn id(node: NodeId) -> String {
    format!("s{node}")
}

/// Writes what stands inside a composite.
fn composite(out: &mut String, picture: &Picture, around: NodeId, depth: usize) {
    let indent = "  ".repeat(depth);
    let children = &picture.nodes[around].children;
    let is_parallel = picture.nodes[around].kind == NodeKind::Parallel;
    for (index, child) in children.iter().enumerate() {
        if is_parallel && index > 0 {
            let _ = writeln!(out, "{indent}--");
        }
        state(out, picture, *child, depth);
    }
    for child in children {
        let it = &picture.nodes[*child];
        match it.kind {
            NodeKind::Initial => {
                for edge in picture.edges.iter().filter(|it| it.from == *child) {
                    let _ = writeln!(out, "{indent}[*] --> {}", id(edge.to));
                }
            }
            NodeKind::Final(_) if !is_parallel => {
                let _ = writeln!(out, "{indent}{} --> [*]", id(*child));
            }
            _ => {}
        }
    }
}

fn state(out: &mut String, picture: &Picture, at: NodeId, depth: usize) {
    let it = &picture.nodes[at];
    let indent = "  ".repeat(depth);
    let name = match it.kind {
        NodeKind::Initial => return,
        NodeKind::Fork => {
            let _ = writeln!(out, "{indent}state {} <<fork>>", id(at));
            return;
        }
        NodeKind::History { deep: true } => "H*".to_string(),
        NodeKind::History { deep: false } => "H".to_string(),
        _ => it.name.clone(),
    };
    let _ = write!(out, "{indent}state \"{}\" as {}", escaped(&name), id(at));
    let lines: Vec<String> = it.lines.iter().map(|it| escaped(&it.text)).collect();
    if it.children.is_empty() {
        out.push('\n');
        for line in lines {
            let _ = writeln!(out, "{indent}{} : {line}", id(at));
        }
        return;
    }
    out.push_str(" {\n");
    composite(out, picture, at, depth + 1);
    let _ = writeln!(out, "{indent}}}");
    if !lines.is_empty() {
        // A composite shows its name only; what happens in it stands beside it.
        let _ = writeln!(out, "{indent}note right of {}", id(at));
        for line in lines {
            let _ = writeln!(out, "{indent}  {line}");
        }
        let _ = writeln!(out, "{indent}end note");
    }
}

/// Writes text with character codes, `#34;` for a quote, as Mermaid wants them.
fn escaped(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars() {
        match c {
            c if c.is_alphanumeric() || " .,_/[]()*+=?!".contains(c) => out.push(c),
            c if c.is_control() => out.push('\u{fffd}'),
            c => {
                let _ = write!(out, "#{};", c as u32);
            }
        }
    }
    // These two words end a note wherever they stand.
    out.replace("end note", "end#32;note")
}
