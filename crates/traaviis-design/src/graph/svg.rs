//! A picture as SVG, with colours for light and dark backgrounds.

use std::fmt::Write as _;

use traaviis_model::definition::FinalStatus;

use crate::graph::{
    layout::{LINE_HEIGHT, LOOP_WIDTH, Layout, NAME_HEIGHT, PADDING, Rect, Route},
    picture::{Edge, Node, NodeKind, Picture},
};

/// Colours by class; a viewer that prefers dark replaces them.
const STYLE: &str = "\
text{font-family:'DejaVu Sans',Verdana,Geneva,sans-serif;font-size:11px;fill:#1f2933}\
.back{fill:#ffffff}\
.name{font-size:13px}\
.box{fill:#f4f6f8;stroke:#7b8794;stroke-width:1.2}\
.group{fill:#7b8794;fill-opacity:.07;stroke:#7b8794;stroke-width:1.2}\
.region{stroke-dasharray:5 4}\
.inner{fill:none}\
.good{stroke:#2f8f5b}.bad{stroke:#c0392b}\
.rule{stroke:#7b8794;stroke-width:.8;stroke-opacity:.6}\
.dot{fill:#52606d}\
.line{fill:none;stroke:#52606d;stroke-width:1.2}\
.words{fill:#3e4c59;paint-order:stroke;stroke:#ffffff;stroke-width:3;stroke-linejoin:round}";
const DARK: &str = "\
@media(prefers-color-scheme:dark){\
text{fill:#e4e7eb}.back{fill:#14181d}.box{fill:#222932}\
.dot{fill:#9aa5b1}.line{stroke:#9aa5b1}.good{stroke:#57c78a}.bad{stroke:#e5695b}\
.words{fill:#cbd2d9;stroke:#14181d}}";

pub(super) fn write(picture: &Picture, layout: &Layout) -> String {
    let Rect { x, y, width, height } = layout.boxes[0];
    let (width, height) = (number(width + 2.0 * x), number(height + 2.0 * y));
    let root = &picture.nodes[0];
    let states = picture.nodes.iter().skip(1).filter(|it| !it.kind.is_mark()).count();
    let transitions = picture.edges.iter().filter(|it| it.transition.is_some()).count()
        + picture
            .nodes
            .iter()
            .flat_map(|it| &it.lines)
            .filter(|it| it.transition.is_some())
            .count();
    let mut out = String::new();
    let _ = write!(
        out,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" \
         viewBox=\"0 0 {width} {height}\" role=\"img\" aria-labelledby=\"title desc\">\n\
         <title id=\"title\">{}</title>\n\
         <desc id=\"desc\">Statechart with {states} states and {transitions} transitions.</desc>\n\
         <style>{STYLE}{DARK}</style>\n\
         <defs><marker id=\"head\" viewBox=\"0 0 10 8\" refX=\"9.5\" refY=\"4\" \
         markerWidth=\"9\" markerHeight=\"8\" markerUnits=\"userSpaceOnUse\" orient=\"auto\">\
         <path class=\"dot\" d=\"M0 0L10 4L0 8Z\"/></marker></defs>\n\
         <rect class=\"back\" width=\"{width}\" height=\"{height}\"/>\n",
        escaped(&root.name)
    );
    heading(&mut out, root, &layout.boxes[0], &layout.lines[0]);
    for (at, node) in picture.nodes.iter().enumerate().skip(1) {
        state(&mut out, picture, node, &layout.boxes[at], &layout.lines[at]);
    }
    for (edge, route) in picture.edges.iter().zip(&layout.routes) {
        arrow(&mut out, picture, edge, route);
    }
    // Words come last: no arrow is drawn over them.
    for (edge, route) in picture.edges.iter().zip(&layout.routes) {
        words(&mut out, edge, route);
    }
    out.push_str("</svg>\n");
    out
}

fn state(out: &mut String, picture: &Picture, node: &Node, at: &Rect, lines: &[Vec<String>]) {
    let (x, y) = (at.x + at.width / 2.0, at.y + at.height / 2.0);
    match node.kind {
        NodeKind::Initial => {
            let _ = writeln!(
                out,
                "<circle class=\"dot\" cx=\"{}\" cy=\"{}\" r=\"7\"/>",
                number(x),
                number(y)
            );
            return;
        }
        NodeKind::Fork => {
            let _ = writeln!(out, "<rect class=\"dot\" {} rx=\"3\"/>", frame(at));
            return;
        }
        _ => {}
    }
    let _ = write!(
        out,
        "<g class=\"state\" data-path=\"{}\"><title>{}</title>",
        escaped(&node.path),
        escaped(&tooltip(node))
    );
    match node.kind {
        NodeKind::History { deep } => {
            let (word, cx, cy) = (if deep { "H*" } else { "H" }, number(x), number(y));
            let _ = write!(
                out,
                "<circle class=\"box\" cx=\"{cx}\" cy=\"{cy}\" r=\"14\"/>\
                 <text x=\"{cx}\" y=\"{}\" text-anchor=\"middle\">{word}</text>",
                number(y + 4.0)
            );
        }
        NodeKind::Final(status) => {
            let class = match status {
                FinalStatus::Completed => "good",
                FinalStatus::Failed => "bad",
                FinalStatus::Compensated | FinalStatus::Cancelled => "",
            };
            let _ = write!(out, "<rect class=\"box {class}\" {} rx=\"12\"/>", frame(at));
            let _ = write!(
                out,
                "<rect class=\"box inner {class}\" {} rx=\"9\"/>",
                frame(&shrunk(at, 3.0))
            );
            heading(out, node, &shrunk(at, 4.0), lines);
        }
        _ => {
            let is_region = picture.nodes[node.parent].kind == NodeKind::Parallel;
            let class = match (node.kind, is_region) {
                (NodeKind::Atomic, _) => "box",
                (_, true) => "group region",
                (_, false) => "group",
            };
            let _ = write!(out, "<rect class=\"{class}\" {} rx=\"8\"/>", frame(at));
            heading(out, node, at, lines);
        }
    }
    out.push_str("</g>\n");
}

/// Writes a name and the lines below it.
fn heading(out: &mut String, node: &Node, at: &Rect, lines: &[Vec<String>]) {
    let is_box = node.children.is_empty();
    let lines: Vec<&String> = lines.iter().flatten().collect();
    let baseline = match is_box && lines.is_empty() {
        true => at.y + at.height / 2.0 + 4.5,
        false => at.y + 18.0,
    };
    let (x, anchor) = match is_box {
        true => (at.x + at.width / 2.0, " text-anchor=\"middle\""),
        false => (at.x + PADDING, ""),
    };
    let (x, y) = (number(x), number(baseline));
    let _ = write!(
        out,
        "<text class=\"name\" x=\"{x}\" y=\"{y}\"{anchor}>{}</text>",
        escaped(&node.name)
    );
    if lines.is_empty() {
        return;
    }
    if is_box {
        let y = number(at.y + NAME_HEIGHT);
        let (left, right) = (number(at.x), number(at.x + at.width));
        let _ = write!(out, "<path class=\"rule\" d=\"M{left} {y}H{right}\"/>");
    }
    for (index, line) in lines.into_iter().enumerate() {
        let y = number(at.y + NAME_HEIGHT + 14.0 + index as f64 * LINE_HEIGHT);
        let x = number(at.x + PADDING);
        let _ = write!(out, "<text x=\"{x}\" y=\"{y}\">{}</text>", escaped(line));
    }
}

/// Writes the way of an arrow as a path.
fn path(edge: &Edge, route: &Route) -> String {
    /// The last piece is straight at least this far, so that the head points at the box.
    const STRAIGHT: f64 = 7.0;
    let mut path = String::new();
    if edge.from == edge.to {
        let Some(&(x, top, bottom)) = route.lanes.first() else { return path };
        let far = number(x + LOOP_WIDTH);
        let (x, top, bottom) = (number(x), number(top), number(bottom));
        return format!("M{x} {top}C{far} {top} {far} {bottom} {x} {bottom}");
    }
    for (index, (x, begin, end)) in route.lanes.iter().enumerate() {
        let mut begin = *begin;
        let before = index.checked_sub(1).map(|it| route.lanes[it]);
        if let Some((_, _, from)) = before
            && index + 1 == route.lanes.len()
            && (end - begin).abs() < STRAIGHT
        {
            begin = end - STRAIGHT * (end - from).signum();
        }
        let x = number(*x);
        let _ = match before {
            None => write!(path, "M{x} {}", number(begin)),
            Some((before, _, from)) => {
                let (before, middle) = (number(before), number((from + begin) / 2.0));
                write!(path, "C{before} {middle} {x} {middle} {x} {}", number(begin))
            }
        };
        if (end - begin).abs() >= 0.05 {
            let _ = write!(path, "V{}", number(*end));
        }
    }
    path
}

fn arrow(out: &mut String, picture: &Picture, edge: &Edge, route: &Route) {
    let path = path(edge, route);
    let place = match &edge.transition {
        Some(pointer) => format!(" data-transition=\"{}\"", escaped(pointer)),
        None => String::new(),
    };
    let (from, to) = (&picture.nodes[edge.from], &picture.nodes[edge.to]);
    let text = match edge.transition {
        Some(_) => format!("{} to {}: {}", from.path, to.path, edge.label.text()),
        None => format!("to {}", to.path),
    };
    let _ = writeln!(
        out,
        "<path class=\"line\"{place} d=\"{path}\" marker-end=\"url(#head)\"><title>{}</title></path>",
        escaped(&text)
    );
}

fn words(out: &mut String, edge: &Edge, route: &Route) {
    let Some(label) = &route.label else { return };
    let _ = write!(out, "<g><title>{}</title>", escaped(&edge.label.text()));
    for (index, line) in route.words.iter().enumerate() {
        let (x, y) = (number(label.x), number(label.y + 11.0 + index as f64 * LINE_HEIGHT));
        let _ = write!(out, "<text class=\"words\" x=\"{x}\" y=\"{y}\">{}</text>", escaped(line));
    }
    out.push_str("</g>\n");
}

/// Returns everything about a state, for the pointer that rests on it.
fn tooltip(node: &Node) -> String {
    let mut text = node.path.clone();
    for line in &node.lines {
        let _ = write!(text, "\n{}", line.text);
    }
    text
}

fn frame(at: &Rect) -> String {
    let Rect { x, y, width, height } = at;
    let (x, y) = (number(*x), number(*y));
    format!("x=\"{x}\" y=\"{y}\" width=\"{}\" height=\"{}\"", number(*width), number(*height))
}

fn shrunk(at: &Rect, by: f64) -> Rect {
    let (width, height) = (at.width - 2.0 * by, at.height - 2.0 * by);
    Rect { x: at.x + by, y: at.y + by, width, height }
}

/// Writes a coordinate with at most one decimal.
fn number(it: f64) -> String {
    let tenths = (it * 10.0).round() as i64;
    match tenths % 10 {
        0 => (tenths / 10).to_string(),
        rest => {
            let sign = if tenths < 0 { "-" } else { "" };
            format!("{sign}{}.{}", tenths.abs() / 10, rest.abs())
        }
    }
}

/// Escapes text for XML, and leaves out what XML cannot hold.
fn escaped(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            '\n' | '\t' => out.push(c),
            c if c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}') => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}
