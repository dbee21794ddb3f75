//! Reads YAML 1.2 text into a tree.
//!
//! Events come from `saphyr-parser`; plain scalars follow the core schema, so `on`, `yes` and `no`
//! stay text, and map keys are always the text as written. Tags, several documents and keys that
//! are not text are refused. Aliases are copied in place and counted: nodes, bytes and depth are
//! bounded as if the copies had been written out, so a small text cannot become a large tree.

use std::collections::{BTreeMap, BTreeSet};

use saphyr_parser::{Event, Parser, ScalarStyle, Span};

use crate::{
    diagnostic::Diagnostic,
    document::{
        Parsed,
        tree::{Key, Node, NodeKind, escape},
    },
    ids::Text,
    limits::{DOCUMENT_BYTES_MAX, DOCUMENT_DEPTH_MAX, DOCUMENT_NODES_MAX},
};

/// Reads one YAML document.
pub(crate) fn parse(text: &str) -> Parsed {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    if let Some(diagnostic) = find_control_character(text) {
        return Parsed { node: None, diagnostics: vec![diagnostic] };
    }
    let mut builder = Builder::default();
    let mut parser = Parser::new_from_str(text);
    let outcome = loop {
        match parser.next_event() {
            None => break Ok(()),
            Some(Ok((event, span))) => {
                if let Err(diagnostic) = builder.take(event, span) {
                    break Err(diagnostic);
                }
            }
            Some(Err(error)) => {
                let (line, column) = (error.marker().line(), error.marker().col());
                let message = format!("the YAML does not parse: {}", error.info());
                break Err(
                    Diagnostic::error("E101", "", message).at(number(line), number(column + 1))
                );
            }
        }
    };
    let mut parsed = Parsed { node: builder.root, diagnostics: builder.diagnostics };
    match outcome {
        Ok(()) if parsed.node.is_none() => {
            parsed
                .diagnostics
                .push(Diagnostic::error("E101", "", "the document is empty").at(1, 1));
        }
        Ok(()) => {}
        Err(diagnostic) => {
            parsed.node = None;
            parsed.diagnostics.push(diagnostic);
        }
    }
    parsed
}

/// YAML forbids these, and a NUL would end the parser's input without a word.
fn find_control_character(text: &str) -> Option<Diagnostic> {
    let (mut line, mut column) = (1, 1);
    for c in text.chars() {
        if c == '\n' {
            (line, column) = (line + 1, 1);
            continue;
        }
        if c.is_control() && !matches!(c, '\t' | '\r' | '\u{85}') {
            let message = format!("the control character U+{:04X} is not allowed", c as u32);
            return Some(Diagnostic::error("E101", "", message).at(line, column));
        }
        column += 1;
    }
    None
}

fn number(it: usize) -> u32 {
    u32::try_from(it).unwrap_or(u32::MAX)
}

/// A finished value and what it weighs with its aliases written out.
#[derive(Clone)]
struct Weighed {
    node: Node,
    nodes: usize,
    bytes: usize,
    /// Containers on the longest way down, itself included.
    height: usize,
}

/// A list or map that is still open.
struct Frame {
    weighed: Weighed,
    anchor: usize,
    seen: BTreeSet<Text>,
    /// Key that waits for its value.
    key: Option<Key>,
    /// The key was there before; its value is read and dropped.
    duplicate: bool,
}

#[derive(Default)]
struct Builder {
    stack: Vec<Frame>,
    anchors: BTreeMap<usize, Weighed>,
    nodes: usize,
    bytes: usize,
    documents: usize,
    root: Option<Node>,
    diagnostics: Vec<Diagnostic>,
}

impl Builder {
    fn take(&mut self, event: Event<'_>, span: Span) -> Result<(), Diagnostic> {
        let (line, column) = (number(span.start.line()), number(span.start.col() + 1));
        let wrong = |message: &str| Err(Diagnostic::error("E101", "", message).at(line, column));
        match event {
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => Ok(()),
            Event::DocumentStart(_) => {
                self.documents += 1;
                if self.documents > 1 {
                    return wrong("the text holds more than one YAML document");
                }
                Ok(())
            }
            Event::Scalar(_, _, _, Some(_))
            | Event::SequenceStart(_, Some(_))
            | Event::MappingStart(_, Some(_)) => wrong("YAML tags are not part of the language"),
            Event::Scalar(text, style, anchor, None) => {
                self.scalar(&text, style, anchor, (line, column))
            }
            Event::SequenceStart(anchor, None) => {
                self.open(NodeKind::List(Vec::new()), anchor, (line, column))
            }
            Event::MappingStart(anchor, None) => {
                self.open(NodeKind::Map(Vec::new()), anchor, (line, column))
            }
            Event::SequenceEnd | Event::MappingEnd => self.close(),
            Event::Alias(_) if self.expects_key() => wrong("a key must be text, not an alias"),
            Event::Alias(anchor) => match self.anchors.get(&anchor) {
                None => wrong("an alias stands inside its own anchor"),
                Some(weighed) if self.stack.len() + weighed.height > DOCUMENT_DEPTH_MAX => {
                    Err(too_deep(line, column))
                }
                Some(weighed) => {
                    let weighed = weighed.clone();
                    self.count(weighed.nodes, weighed.bytes, (line, column))?;
                    self.place(weighed);
                    Ok(())
                }
            },
        }
    }

    fn expects_key(&self) -> bool {
        self.stack.last().is_some_and(|frame| {
            matches!(frame.weighed.node.kind, NodeKind::Map(_)) && frame.key.is_none()
        })
    }

    fn count(&mut self, nodes: usize, bytes: usize, place: (u32, u32)) -> Result<(), Diagnostic> {
        self.nodes += nodes;
        self.bytes += bytes;
        let message = if self.nodes > DOCUMENT_NODES_MAX {
            format!("the document has more than {DOCUMENT_NODES_MAX} values")
        } else if self.bytes > DOCUMENT_BYTES_MAX {
            format!("the document has more than {DOCUMENT_BYTES_MAX} bytes with its aliases")
        } else {
            return Ok(());
        };
        Err(Diagnostic::error("E160", "", message).at(place.0, place.1))
    }

    fn scalar(
        &mut self,
        text: &str,
        style: ScalarStyle,
        anchor: usize,
        (line, column): (u32, u32),
    ) -> Result<(), Diagnostic> {
        if self.expects_key() {
            self.count(0, text.len(), (line, column))?;
            return self.key(Key { text: text.into(), line, column });
        }
        self.count(1, text.len(), (line, column))?;
        let kind = match style {
            ScalarStyle::Plain => resolve(text).map_err(|message| {
                Diagnostic::error("E101", self.pointer(), message).at(line, column)
            })?,
            _ => NodeKind::String(text.into()),
        };
        let node = Node { kind, line, column, file: 0 };
        self.finish(Weighed { node, nodes: 1, bytes: text.len(), height: 0 }, anchor)
    }

    fn key(&mut self, key: Key) -> Result<(), Diagnostic> {
        let Some(frame) = self.stack.last_mut() else { return Ok(()) };
        frame.weighed.bytes += key.text.len();
        frame.duplicate = !frame.seen.insert(key.text.clone());
        let (line, column) = (key.line, key.column);
        let message = format!("the key `{}` stands twice in one map", key.text);
        let duplicate = frame.duplicate;
        frame.key = Some(key);
        if duplicate {
            let diagnostic = Diagnostic::error("E101", self.pointer(), message).at(line, column);
            self.diagnostics.push(diagnostic);
        }
        Ok(())
    }

    fn open(
        &mut self,
        kind: NodeKind,
        anchor: usize,
        (line, column): (u32, u32),
    ) -> Result<(), Diagnostic> {
        if self.expects_key() {
            let message = "a key must be text, not a list or map";
            return Err(Diagnostic::error("E101", self.pointer(), message)
                .at(line, column)
                .hint("quote a template used as a value: \"${...}\""));
        }
        if self.stack.len() >= DOCUMENT_DEPTH_MAX {
            return Err(too_deep(line, column));
        }
        self.count(1, 0, (line, column))?;
        let node = Node { kind, line, column, file: 0 };
        self.stack.push(Frame {
            weighed: Weighed { node, nodes: 1, bytes: 0, height: 1 },
            anchor,
            seen: BTreeSet::new(),
            key: None,
            duplicate: false,
        });
        Ok(())
    }

    fn close(&mut self) -> Result<(), Diagnostic> {
        match self.stack.pop() {
            Some(frame) => self.finish(frame.weighed, frame.anchor),
            None => Ok(()),
        }
    }

    fn finish(&mut self, weighed: Weighed, anchor: usize) -> Result<(), Diagnostic> {
        if anchor > 0 {
            // The kept copy counts too: nested anchors would otherwise hold depth * size nodes.
            let place = (weighed.node.line, weighed.node.column);
            self.count(weighed.nodes, 0, place)?;
            self.anchors.insert(anchor, weighed.clone());
        }
        self.place(weighed);
        Ok(())
    }

    fn place(&mut self, weighed: Weighed) {
        let Some(frame) = self.stack.last_mut() else {
            self.root = Some(weighed.node);
            return;
        };
        frame.weighed.nodes += weighed.nodes;
        frame.weighed.bytes += weighed.bytes;
        frame.weighed.height = frame.weighed.height.max(weighed.height + 1);
        match &mut frame.weighed.node.kind {
            NodeKind::List(items) => items.push(weighed.node),
            NodeKind::Map(entries) => {
                if let Some(key) = frame.key.take()
                    && !frame.duplicate
                {
                    entries.push((key, weighed.node));
                }
            }
            _ => {}
        }
    }

    /// Returns the pointer of the value that comes next.
    fn pointer(&self) -> String {
        let mut pointer = String::new();
        for frame in &self.stack {
            match (&frame.weighed.node.kind, &frame.key) {
                (NodeKind::List(items), _) => pointer.push_str(&format!("/{}", items.len())),
                (_, Some(key)) => pointer.push_str(&format!("/{}", escape(&key.text))),
                (_, None) => {}
            }
        }
        pointer
    }
}

fn too_deep(line: u32, column: u32) -> Diagnostic {
    let message = format!("the document nests deeper than {DOCUMENT_DEPTH_MAX}");
    Diagnostic::error("E160", "", message).at(line, column)
}

/// Gives a plain scalar its kind by the core schema.
fn resolve(text: &str) -> Result<NodeKind, String> {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Ok(NodeKind::Null),
        "true" | "True" | "TRUE" => return Ok(NodeKind::Bool(true)),
        "false" | "False" | "FALSE" => return Ok(NodeKind::Bool(false)),
        _ => {}
    }
    let body = text.strip_prefix(['+', '-']).unwrap_or(text);
    if matches!(body, ".inf" | ".Inf" | ".INF") || matches!(text, ".nan" | ".NaN" | ".NAN") {
        return Err(format!("`{text}` is no number that JSON can hold"));
    }
    let radix = [("0x", 16), ("0o", 8)].into_iter().find_map(|(prefix, radix)| {
        let digits = text.strip_prefix(prefix)?;
        (!digits.is_empty() && digits.chars().all(|c| c.is_digit(radix))).then_some((digits, radix))
    });
    if let Some((digits, radix)) = radix {
        return u64::from_str_radix(digits, radix)
            .map(whole)
            .map_err(|_| format!("`{text}` does not fit 64 bits"));
    }
    if !body.is_empty() && body.bytes().all(|b| b.is_ascii_digit()) {
        if let Ok(it) = text.parse::<i64>() {
            return Ok(NodeKind::Int(it));
        }
        if let Ok(it) = text.parse::<u64>() {
            return Ok(NodeKind::Uint(it));
        }
    } else if !is_float(body) {
        return Ok(NodeKind::String(text.into()));
    }
    match text.parse::<f64>() {
        Ok(it) if it.is_finite() => Ok(NodeKind::Float(it)),
        _ => Err(format!("`{text}` is too large for a number")),
    }
}

fn whole(it: u64) -> NodeKind {
    i64::try_from(it).map_or(NodeKind::Uint(it), NodeKind::Int)
}

/// Matches `(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?`.
fn is_float(text: &str) -> bool {
    let digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent)),
        None => (text, None),
    };
    let (before, after) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let exponent_fits = exponent.is_none_or(|it| {
        let it = it.strip_prefix(['+', '-']).unwrap_or(it);
        !it.is_empty() && digits(it)
    });
    let some = !before.is_empty() || !after.is_empty();
    some && digits(before) && digits(after) && exponent_fits
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: &str) {
        let parsed = parse(text);
        let mut lines: Vec<String> = parsed.diagnostics.iter().map(|it| it.to_string()).collect();
        lines.extend(parsed.node.map(|it| it.to_json()));
        assert_eq!(lines.join("\n"), expected, "{text:?}");
    }

    #[test]
    fn plain_scalars_follow_the_core_schema() {
        check(
            "[on, off, yes, no, y, n, True, null, ~, ]",
            r#"["on","off","yes","no","y","n",true,null,null]"#,
        );
        check("[0x1F, 0o17, 017, -5, +5, 1_000, 1:30]", r#"[31,15,17,-5,5,"1_000","1:30"]"#);
        check(
            "[1.5, .5, 1., 1e3, 1e, ., 1.0.0, 5s, -x]",
            r#"[1.5,0.5,1.0,1000.0,"1e",".","1.0.0","5s","-x"]"#,
        );
        check(
            "[18446744073709551615, '1', \"true\", 2001-01-01]",
            r#"[18446744073709551615,"1","true","2001-01-01"]"#,
        );
        check("a: |\n  x\n  y\nb:", r#"{"a":"x\ny\n","b":null}"#);
        check("[.inf]", "1:2: E101 `.inf` is no number that JSON can hold (at /0)");
        check("[1e999]", "1:2: E101 `1e999` is too large for a number (at /0)");
    }

    #[test]
    fn keys_are_text_as_written_and_keep_their_order() {
        check(
            "{z: 1, 5s: 2, 5: 3, on: 4, true: 5, 1.0: 6}",
            r#"{"z":1,"5s":2,"5":3,"on":4,"true":5,"1.0":6}"#,
        );
    }

    #[test]
    fn what_the_language_leaves_out_is_refused() {
        check("a: !!str 1", "1:4: E101 YAML tags are not part of the language");
        check("--- 1\n--- 2", "2:1: E101 the text holds more than one YAML document");
        check(
            "{[a]: 1}",
            "1:2: E101 a key must be text, not a list or map; quote a template used as a value: \"${...}\"",
        );
        check("", "1:1: E101 the document is empty");
        check(
            "a: 1\nb: {c: 1, c: 2}\na: 3",
            "2:11: E101 the key `c` stands twice in one map (at /b/c)\n3:1: E101 the key `a` stands twice in one map (at /a)\n{\"a\":1,\"b\":{\"c\":1}}",
        );
        check("a: \"x\0y\"", "1:6: E101 the control character U+0000 is not allowed");
    }

    #[test]
    fn aliases_are_copied_and_counted() {
        check("a: &x {k: 1}\nb: *x\nc: [*x]", r#"{"a":{"k":1},"b":{"k":1},"c":[{"k":1}]}"#);
        check("a: &x [*x]", "1:8: E101 an alias stands inside its own anchor");
        let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_string();
        for at in 1..12 {
            let items = vec![format!("*a{}", at - 1); 10].join(", ");
            bomb.push_str(&format!("a{at}: &a{at} [{items}]\n"));
        }
        check(&bomb, "5:5: E160 the document has more than 200000 values");
        let text = format!("a: &x {}\nb: [{}]", "y".repeat(500_000), "*x, ".repeat(10));
        check(&text, "2:9: E160 the document has more than 1048576 bytes with its aliases");
        let mut deep = "a0: &a0 [x]\n".to_string();
        for at in 1..130 {
            deep.push_str(&format!("a{at}: &a{at} [*a{}]\n", at - 1));
        }
        check(&deep, "128:14: E160 the document nests deeper than 128");
    }

    #[test]
    fn hostile_nesting_ends_early() {
        for text in ["[", "{a: ", "- ", "? ", "[a, {b: "] {
            let parsed = parse(&text.repeat(100_000));
            assert!(parsed.node.is_none(), "{text}");
            assert_eq!(parsed.diagnostics.len(), 1, "{text}");
        }
        for text in ["&a ", "*a ", "!a ", "a: b: ", "]", "%", "'", "\"\\", "\t", "#\n", "\n\t- a"] {
            parse(&text.repeat(100_000));
        }
    }

    #[test]
    fn tabs_are_no_indentation() {
        let parsed = parse("a:\n\tb: 1");
        assert!(parsed.node.is_none());
        assert_eq!(parsed.diagnostics[0].line, Some(2));
    }
}
