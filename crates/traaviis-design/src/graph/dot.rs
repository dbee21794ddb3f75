//! A picture for Graphviz: a cluster for each composite, arrows cut at its border.
//!
//! Graphviz draws arrows between nodes only. A composite has a node without size inside; an arrow
//! that begins or ends at the composite is drawn to that node, and cut at the border with `ltail`
//! and `lhead`.

use std::fmt::Write as _;

use crate::graph::picture::{NodeId, NodeKind, Picture};

pub(super) fn write(picture: &Picture) -> String {
    let mut out = format!(
        "digraph {} {{\n  compound=true;\n  fontname=\"Helvetica\";\n  labeljust=l;\n  label={};\n  \
         node [shape=box, style=rounded, fontname=\"Helvetica\", fontsize=12];\n  \
         edge [fontname=\"Helvetica\", fontsize=10];\n",
        quoted(&picture.nodes[0].name),
        quoted(&heading(picture, 0))
    );
    for child in &picture.nodes[0].children {
        node(&mut out, picture, *child, 1);
    }
    for edge in &picture.edges {
        let mut attributes = Vec::new();
        let label = edge.label.parts();
        if !label.is_empty() {
            attributes.push(format!("label={}", quoted(&label.join("\n"))));
        }
        let cluster = |end: NodeId, other: NodeId| {
            // Graphviz cuts an arrow only at a border that the other end stands outside of.
            let is_cut = !picture.nodes[end].children.is_empty()
                && end != other
                && !picture.is_inside(other, end);
            is_cut.then(|| format!("cluster_{end}"))
        };
        attributes.extend(cluster(edge.from, edge.to).map(|it| format!("ltail={it}")));
        attributes.extend(cluster(edge.to, edge.from).map(|it| format!("lhead={it}")));
        let (from, to) = (edge.from, edge.to);
        let _ = writeln!(out, "  n{from} -> n{to} [{}];", attributes.join(", "));
    }
    out.push_str("}\n");
    out
}

fn node(out: &mut String, picture: &Picture, at: NodeId, depth: usize) {
    let it = &picture.nodes[at];
    let indent = "  ".repeat(depth);
    if !it.children.is_empty() {
        let style = match picture.nodes[it.parent].kind {
            NodeKind::Parallel => "\"rounded,dashed\"",
            _ => "rounded",
        };
        let _ = writeln!(out, "{indent}subgraph cluster_{at} {{");
        let _ = writeln!(out, "{indent}  label={}; style={style};", quoted(&heading(picture, at)));
        // Stands for the composite where an arrow begins or ends at it.
        let _ = writeln!(out, "{indent}  n{at} [shape=point, style=invis, width=0, label=\"\"];");
        for child in &it.children {
            node(out, picture, *child, depth + 1);
        }
        let _ = writeln!(out, "{indent}}}");
        return;
    }
    let attributes = match it.kind {
        NodeKind::Initial => {
            "shape=circle, style=filled, fillcolor=black, width=0.15, label=\"\"".into()
        }
        NodeKind::Fork => {
            "shape=box, style=filled, fillcolor=black, height=0.06, width=0.8, label=\"\"".into()
        }
        NodeKind::History { deep } => {
            let mark = if deep { "H*" } else { "H" };
            let (label, tooltip) = (quoted(mark), quoted(&it.path));
            format!("shape=circle, width=0.35, fixedsize=true, label={label}, tooltip={tooltip}")
        }
        NodeKind::Final(_) => format!("peripheries=2, label={}", quoted(&heading(picture, at))),
        _ => format!("label={}", quoted(&heading(picture, at))),
    };
    let _ = writeln!(out, "{indent}n{at} [{attributes}];");
}

fn heading(picture: &Picture, at: NodeId) -> String {
    let it = &picture.nodes[at];
    let mut text = it.name.clone();
    for line in &it.lines {
        text.push('\n');
        text.push_str(&line.text);
    }
    text
}

/// Quotes text; each line is left-aligned when there are several.
fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    let is_long = text.contains('\n');
    for c in text.chars() {
        match c {
            '"' | '\\' => {
                out.push('\\');
                out.push(c);
            }
            '\n' => out.push_str("\\l"),
            c if c.is_control() => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out.push_str(if is_long { "\\l\"" } else { "\"" });
    out
}
