//! Expressions and templates of a component, rewritten for the workflow that uses it.
//!
//! The text is parsed, and only the places that name `data`, `param` or a state are edited; all
//! else stays as its author wrote it. A text that does not parse is left alone, because the
//! compiler says so at its place.

use traaviis_model::{
    Text,
    document::tree::{Node, NodeKind},
};

use super::wrap::Moved;
use crate::expr::{
    compile::loop_kind,
    lexer::closing_brace,
    parser::{self, Kind},
};

/// What the names in an expression become.
pub(super) struct Names<'a> {
    /// The prefix of the component, which is also its key under `data`; none leaves both.
    pub data: Option<&'a str>,
    /// Values of the parameters; none where `param` is something else.
    pub params: Option<&'a Node>,
    /// Where the component's top states stand: empty, or a path that ends with a dot.
    pub above: &'a str,
    /// Where states of the document have gone; none for a component.
    pub moved: Option<&'a Moved>,
}

struct Edit {
    start: usize,
    end: usize,
    text: String,
}

/// Returns an expression with its names replaced.
pub(super) fn expression(source: &str, names: &Names<'_>) -> Result<String, String> {
    let Ok(tree) = parser::parse(source) else { return Ok(source.into()) };
    let mut walk = Walk { names, locals: Vec::new(), edits: Vec::new() };
    walk.node(&tree)?;
    let mut edits = walk.edits;
    edits.sort_by_key(|it| it.start);
    let mut text = source.to_string();
    for edit in edits.iter().rev() {
        text.replace_range(edit.start..edit.end, &edit.text);
    }
    Ok(text)
}

/// Returns a template with its names replaced; a text that is only a parameter becomes its value.
pub(super) fn template(text: &Text, names: &Names<'_>) -> Result<NodeKind, String> {
    let mut out = String::new();
    let mut at = 0;
    while let Some(found) = text[at..].find("${").map(|found| at + found) {
        let start = found + 2;
        if found > at && text.as_bytes()[found - 1] == b'$' {
            out.push_str(&text[at..start]);
            at = start;
            continue;
        }
        let Ok(end) = closing_brace(text, start) else { break };
        let source = &text[start..end - 1];
        if (found, end) == (0, text.len())
            && let Some(value) = names.params.and_then(|it| parameter(source, it))
        {
            return Ok(value.kind.clone());
        }
        out.push_str(&text[at..start]);
        out.push_str(&expression(source, names)?);
        out.push('}');
        at = end;
    }
    out.push_str(&text[at..]);
    Ok(NodeKind::String(out.into()))
}

/// Returns the value of an expression that is nothing but a path into the parameters.
fn parameter<'p>(source: &str, params: &'p Node) -> Option<&'p Node> {
    let tree = parser::parse(source).ok()?;
    let mut fields = Vec::new();
    let mut node = &tree;
    while let Kind::Select { of, field, optional: false } = &node.kind {
        fields.push(field);
        node = of;
    }
    let is_param = matches!(&node.kind, Kind::Name(name) if &**name == "param");
    is_param.then_some(())?;
    fields.iter().rev().try_fold(params, |at, field| Some(&at.entry(field)?.1))
}

/// Returns the variables that the expressions of a value read.
pub(super) fn variables(node: &Node) -> Vec<Text> {
    let mut found = Vec::new();
    match &node.kind {
        NodeKind::String(text) => {
            for source in expressions(text) {
                if let Ok(tree) = parser::parse(source) {
                    collect(&tree, &mut Vec::new(), &mut found);
                }
            }
        }
        _ => {
            node.items().iter().for_each(|it| found.extend(variables(it)));
            node.entries().iter().for_each(|(_, it)| found.extend(variables(it)));
        }
    }
    found
}

/// Says whether a `case` is an expression over `value` rather than a text to compare with.
pub(super) fn reads_value(source: &str) -> bool {
    let mut found = Vec::new();
    if let Ok(tree) = parser::parse(source) {
        collect(&tree, &mut Vec::new(), &mut found);
    }
    found.iter().any(|it| &**it == "value")
}

fn expressions(text: &str) -> Vec<&str> {
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(open) = text[at..].find("${").map(|found| at + found) {
        at = open + 2;
        if open > 0 && text.as_bytes()[open - 1] == b'$' {
            continue;
        }
        let Ok(end) = closing_brace(text, at) else { break };
        found.push(&text[at..end - 1]);
        at = end;
    }
    found
}

fn collect(node: &parser::Node, locals: &mut Vec<Text>, found: &mut Vec<Text>) {
    match &node.kind {
        Kind::Name(name) if !locals.contains(name) => found.push(name.clone()),
        _ => below(node, locals, &mut |it, locals| {
            collect(it, locals, found);
            Ok(())
        })
        .unwrap_or_default(),
    }
}

/// Looks at a part of an expression under the names that macros give there.
type Visit<'v> = &'v mut dyn FnMut(&parser::Node, &mut Vec<Text>) -> Result<(), String>;

/// Visits the parts of a node with the names that macros give in each.
fn below(node: &parser::Node, locals: &mut Vec<Text>, visit: Visit<'_>) -> Result<(), String> {
    match &node.kind {
        Kind::Literal(_) | Kind::Name(_) => Ok(()),
        Kind::Select { of, .. } | Kind::Not(of) | Kind::Negate(of) => visit(of, locals),
        Kind::Index { of, key, .. } => {
            visit(of, locals)?;
            visit(key, locals)
        }
        Kind::Call { name, target: Some(target), args, .. } if loop_kind(name, args).is_some() => {
            visit(target, locals)?;
            let Some((Kind::Name(local), rest)) =
                args.split_first().map(|(it, rest)| (&it.kind, rest))
            else {
                return Ok(());
            };
            locals.push(local.clone());
            let done = rest.iter().try_for_each(|it| visit(it, locals));
            locals.pop();
            done
        }
        Kind::Call { target, args, .. } => {
            target.iter().try_for_each(|it| visit(it, locals))?;
            args.iter().try_for_each(|it| visit(it, locals))
        }
        Kind::List(items) => items.iter().try_for_each(|(it, _)| visit(it, locals)),
        Kind::Map(entries) => entries.iter().try_for_each(|(key, it, _)| {
            visit(key, locals)?;
            visit(it, locals)
        }),
        Kind::Binary(_, left, right) => {
            visit(left, locals)?;
            visit(right, locals)
        }
        Kind::And(parts) | Kind::Or(parts) => parts.iter().try_for_each(|it| visit(it, locals)),
        Kind::If(parts) => parts.iter().try_for_each(|it| visit(it, locals)),
    }
}

struct Walk<'a> {
    names: &'a Names<'a>,
    locals: Vec<Text>,
    edits: Vec<Edit>,
}

impl Walk<'_> {
    fn node(&mut self, node: &parser::Node) -> Result<(), String> {
        if let Some((path, ends)) = self.param_path(node) {
            let (value, depth) = self.deepest(&path);
            let text = literal(value, &self.locals)?;
            self.edits.push(Edit { start: node.start, end: ends[depth], text });
            return Ok(());
        }
        match &node.kind {
            Kind::Name(name) if &**name == "data" && !self.locals.contains(name) => {
                if let Some(key) = self.names.data {
                    let text = format!(".{key}");
                    self.edits.push(Edit { start: node.end, end: node.end, text });
                }
                Ok(())
            }
            Kind::Call { name, target: None, args, .. } if &**name == "in_state" => {
                self.in_state(node, args)
            }
            Kind::Call { name, target: None, args, .. } if &**name == "has" && args.len() == 1 => {
                if let Some((path, _)) = self.param_path(&args[0]) {
                    let is_there = self.deepest(&path).1 == path.len();
                    let text = is_there.to_string();
                    self.edits.push(Edit { start: node.start, end: node.end, text });
                    return Ok(());
                }
                self.node(&args[0])
            }
            _ => {
                let mut locals = std::mem::take(&mut self.locals);
                let done = below(node, &mut locals, &mut |it, locals| {
                    std::mem::swap(&mut self.locals, locals);
                    let done = self.node(it);
                    std::mem::swap(&mut self.locals, locals);
                    done
                });
                self.locals = locals;
                done
            }
        }
    }

    /// Returns the fields of a path that starts at `param`, and where each part of it ends.
    fn param_path(&self, node: &parser::Node) -> Option<(Vec<Text>, Vec<usize>)> {
        self.names.params?;
        match &node.kind {
            Kind::Name(name) if &**name == "param" && !self.locals.contains(name) => {
                Some((Vec::new(), vec![node.end]))
            }
            Kind::Select { of, field, optional: false } => {
                let (mut path, mut ends) = self.param_path(of)?;
                path.push(field.clone());
                ends.push(node.end);
                Some((path, ends))
            }
            _ => None,
        }
    }

    /// Returns the value that stands as far down a path as the parameters reach, and how far.
    fn deepest(&self, path: &[Text]) -> (&Node, usize) {
        static NOTHING: Node = Node { kind: NodeKind::Null, line: 1, column: 1, file: 0 };
        let mut found = (self.names.params.unwrap_or(&NOTHING), 0);
        for field in path {
            let Some((_, below)) = found.0.entry(field) else { break };
            found = (below, found.1 + 1);
        }
        found
    }

    fn in_state(&mut self, node: &parser::Node, args: &[parser::Node]) -> Result<(), String> {
        let [parser::Node { kind: Kind::Literal(path), start, end, .. }] = args else {
            let place = match self.names.moved {
                Some(_) => "beside a component in a region of its own",
                None => "in a component",
            };
            return Err(format!(
                "`in_state` {place} takes a literal path, not what starts at byte {}",
                node.start
            ));
        };
        if let Some(path) = path.as_str() {
            let prefix = self.names.data.map(|it| format!("{it}_")).unwrap_or_default();
            let text = match self.names.moved {
                Some(moved) => moved.path(path),
                None => format!("{}{prefix}{path}", self.names.above),
            };
            let text = quoted(&text);
            self.edits.push(Edit { start: *start, end: *end, text });
        }
        Ok(())
    }
}

/// Returns a value as an expression; `locals` are the names that must not be caught in it.
pub(super) fn literal(node: &Node, locals: &[Text]) -> Result<String, String> {
    Ok(match &node.kind {
        NodeKind::Int(it) if *it < 0 => format!("({it})"),
        NodeKind::Uint(it) => format!("{it}u"),
        NodeKind::Float(it) => format!("({it:?})"),
        NodeKind::String(text) => match expressions(text).as_slice() {
            [] => quoted(&text.replace("$${", "${")),
            [source] if text.len() == source.len() + "${}".len() => {
                let names = variables(node);
                if let Some(name) = names.iter().find(|it| locals.contains(it)) {
                    return Err(format!("`{name}` in `{text}` means something else here"));
                }
                format!("({source})")
            }
            _ => {
                return Err(format!(
                    "`{text}` mixes text and expressions and cannot become a part of an expression"
                ));
            }
        },
        NodeKind::List(items) => {
            let items: Result<Vec<_>, _> = items.iter().map(|it| literal(it, locals)).collect();
            format!("[{}]", items?.join(", "))
        }
        NodeKind::Map(entries) => {
            let pair = |(key, it): &(traaviis_model::document::tree::Key, Node)| {
                Ok(format!("{}: {}", quoted(&key.text), literal(it, locals)?))
            };
            let pairs: Result<Vec<_>, String> = entries.iter().map(pair).collect();
            format!("{{{}}}", pairs?.join(", "))
        }
        NodeKind::Null | NodeKind::Bool(_) | NodeKind::Int(_) => node.to_json(),
    })
}

fn quoted(text: &str) -> String {
    traaviis_model::Value::from(text).to_json()
}

#[cfg(test)]
mod tests {
    use traaviis_model::Value;

    use super::*;

    fn check(cases: &[(&str, &str)]) {
        let params = Value::map([
            ("delay", Value::from("5s")),
            ("most", Value::from(-3)),
            ("from", Value::from("${input.from}")),
            ("mixed", Value::from("a ${input.b}")),
            ("deep", Value::map([("list", Value::list([Value::from(1)]))])),
        ]);
        let params = Node::from_value(&params);
        let names = Names { data: Some("T"), params: Some(&params), above: "up.", moved: None };
        for (source, expected) in cases {
            let found = expression(source, &names).unwrap_or_else(|it| format!("! {it}"));
            assert_eq!(found, *expected, "{source}");
        }
    }

    #[test]
    fn only_names_are_edited() {
        check(&[
            ("data.a + data['data'] // data", "data.T.a + data.T['data'] // data"),
            (
                "has(data.a) && event.data.a == input.data",
                "has(data.T.a) && event.data.a == input.data",
            ),
            ("data", "data.T"),
            (
                "[1].map(data, data + 1).size() + data.n",
                "[1].map(data, data + 1).size() + data.T.n",
            ),
            ("data.l.filter(it, it > data.n)", "data.T.l.filter(it, it > data.T.n)"),
            ("'data.a' == \"param.b\"", "'data.a' == \"param.b\""),
            ("in_state('run.fast')", "in_state(\"up.T_run.fast\")"),
            (
                "in_state(data.s)",
                "! `in_state` in a component takes a literal path, not what starts at byte 0",
            ),
            ("data.a +", "data.a +"),
        ]);
    }

    #[test]
    fn parameters_become_their_values() {
        check(&[
            ("duration(param.delay)", "duration(\"5s\")"),
            ("1 - param.most", "1 - (-3)"),
            ("param.from.x", "(input.from).x"),
            ("param.deep.list[0]", "[1][0]"),
            ("has(param.delay) || has(param.none)", "true || false"),
            (
                "[1].exists(input, input == param.from)",
                "! `input` in `${input.from}` means something else here",
            ),
            (
                "param.mixed",
                "! `a ${input.b}` mixes text and expressions and cannot become a part of an expression",
            ),
            ("[1].map(param, param.x)", "[1].map(param, param.x)"),
        ]);
    }

    #[test]
    fn templates_keep_what_they_do_not_name() {
        let params = Node::from_value(&Value::map([("n", Value::from(3))]));
        let names = Names { data: Some("T"), params: Some(&params), above: "up.", moved: None };
        for (text, expected) in [
            ("${param.n}", "3"),
            ("${data.a}", "\"${data.T.a}\""),
            ("a ${data.a} $${data.b} ${param.n}", "\"a ${data.T.a} $${data.b} ${3}\""),
            ("${'}' + data.a}", "\"${'}' + data.T.a}\""),
            ("${open", "\"${open\""),
        ] {
            let kind = template(&text.into(), &names).unwrap();
            assert_eq!(Node { kind, line: 1, column: 1, file: 0 }.to_json(), expected, "{text}");
        }
    }
}
