//! Reads JSON text (RFC 8259) into a tree.
//!
//! A recursive descent of its own, because the tree needs the place of every key and value. Depth
//! is checked on every opening, duplicate keys are reported and the first one is kept.

use std::collections::BTreeSet;

use crate::{
    diagnostic::Diagnostic,
    document::{
        Parsed,
        tree::{Key, Node, NodeKind, escape},
    },
    ids::Text,
    limits::{DOCUMENT_DEPTH_MAX, DOCUMENT_NODES_MAX},
};

/// Reads one JSON document.
pub(crate) fn parse(text: &str) -> Parsed {
    let mut parser = Parser {
        text,
        at: 0,
        line: 1,
        line_start: 0,
        counted: (0, 0),
        depth: 0,
        nodes: 0,
        pointer: String::new(),
        diagnostics: Vec::new(),
    };
    let outcome = parser.document();
    let mut parsed = Parsed { node: None, diagnostics: parser.diagnostics };
    match outcome {
        Ok(node) => parsed.node = Some(node),
        Err(diagnostic) => parsed.diagnostics.push(diagnostic),
    }
    parsed
}

struct Parser<'a> {
    text: &'a str,
    at: usize,
    line: u32,
    /// Byte at which the line starts.
    line_start: usize,
    /// Byte up to which the characters of this line are counted, and their number; keeps places
    /// linear on a long line.
    counted: (usize, u32),
    depth: usize,
    nodes: usize,
    pointer: String,
    diagnostics: Vec<Diagnostic>,
}

impl Parser<'_> {
    fn document(&mut self) -> Result<Node, Diagnostic> {
        let node = self.value()?;
        self.skip_space();
        match self.peek() {
            None => Ok(node),
            Some(c) => Err(self.wrong(&format!("unexpected `{c}` after the document"))),
        }
    }

    fn peek(&self) -> Option<char> {
        self.text[self.at..].chars().next()
    }

    fn byte(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn place(&mut self) -> (u32, u32) {
        let (from, count) = match self.counted {
            (from, count) if from >= self.line_start && from <= self.at => (from, count),
            _ => (self.line_start, 0),
        };
        let count = count + self.text[from..self.at].chars().count() as u32;
        self.counted = (self.at, count);
        (self.line, count + 1)
    }

    fn wrong(&mut self, message: &str) -> Diagnostic {
        let (line, column) = self.place();
        let message = format!("the JSON does not parse: {message}");
        Diagnostic::error("E101", self.pointer.clone(), message).at(line, column)
    }

    fn unexpected(&mut self, wanted: &str) -> Diagnostic {
        match self.peek() {
            Some(c) => self.wrong(&format!("expected {wanted}, found `{}`", c.escape_default())),
            None => self.wrong(&format!("expected {wanted}, found the end")),
        }
    }

    fn skip_space(&mut self) {
        while let Some(byte @ (b' ' | b'\t' | b'\r' | b'\n')) = self.byte() {
            self.at += 1;
            if byte == b'\n' {
                self.line += 1;
                self.line_start = self.at;
                self.counted = (self.at, 0);
            }
        }
    }

    fn value(&mut self) -> Result<Node, Diagnostic> {
        self.skip_space();
        let (line, column) = self.place();
        self.nodes += 1;
        if self.nodes > DOCUMENT_NODES_MAX {
            let message = format!("the document has more than {DOCUMENT_NODES_MAX} values");
            return Err(Diagnostic::error("E160", "", message).at(line, column));
        }
        let kind = match self.byte() {
            Some(b'{') => self.nested(Parser::map)?,
            Some(b'[') => self.nested(Parser::list)?,
            Some(b'"') => NodeKind::String(self.string()?.into()),
            Some(b'-' | b'0'..=b'9') => self.number()?,
            Some(b't') => self.word("true", NodeKind::Bool(true))?,
            Some(b'f') => self.word("false", NodeKind::Bool(false))?,
            Some(b'n') => self.word("null", NodeKind::Null)?,
            _ => return Err(self.unexpected("a value")),
        };
        Ok(Node { kind, line, column, file: 0 })
    }

    fn nested(
        &mut self,
        read: impl Fn(&mut Self) -> Result<NodeKind, Diagnostic>,
    ) -> Result<NodeKind, Diagnostic> {
        if self.depth >= DOCUMENT_DEPTH_MAX {
            let (line, column) = self.place();
            let message = format!("the document nests deeper than {DOCUMENT_DEPTH_MAX}");
            return Err(Diagnostic::error("E160", "", message).at(line, column));
        }
        self.depth += 1;
        self.at += 1;
        let kind = read(self)?;
        self.depth -= 1;
        Ok(kind)
    }

    fn list(&mut self) -> Result<NodeKind, Diagnostic> {
        let mut items = Vec::new();
        let outer = self.pointer.len();
        self.skip_space();
        if self.byte() == Some(b']') {
            self.at += 1;
            return Ok(NodeKind::List(items));
        }
        loop {
            self.pointer.push_str(&format!("/{}", items.len()));
            items.push(self.value()?);
            self.pointer.truncate(outer);
            self.skip_space();
            match self.byte() {
                Some(b',') => self.at += 1,
                Some(b']') => {
                    self.at += 1;
                    return Ok(NodeKind::List(items));
                }
                _ => return Err(self.unexpected("`,` or `]`")),
            }
        }
    }

    fn map(&mut self) -> Result<NodeKind, Diagnostic> {
        let mut entries: Vec<(Key, Node)> = Vec::new();
        let mut seen: BTreeSet<Text> = BTreeSet::new();
        let outer = self.pointer.len();
        self.skip_space();
        if self.byte() == Some(b'}') {
            self.at += 1;
            return Ok(NodeKind::Map(entries));
        }
        loop {
            self.skip_space();
            if self.byte() != Some(b'"') {
                return Err(self.unexpected("a key in double quotes"));
            }
            let (line, column) = self.place();
            let key = Key { text: self.string()?.into(), line, column };
            self.skip_space();
            if self.byte() != Some(b':') {
                return Err(self.unexpected("`:`"));
            }
            self.at += 1;
            self.pointer.push('/');
            self.pointer.push_str(&escape(&key.text));
            let fresh = seen.insert(key.text.clone());
            if !fresh {
                let message = format!("the key `{}` stands twice in one map", key.text);
                let pointer = self.pointer.clone();
                self.diagnostics.push(Diagnostic::error("E101", pointer, message).at(line, column));
            }
            let node = self.value()?;
            self.pointer.truncate(outer);
            if fresh {
                entries.push((key, node));
            }
            self.skip_space();
            match self.byte() {
                Some(b',') => self.at += 1,
                Some(b'}') => {
                    self.at += 1;
                    return Ok(NodeKind::Map(entries));
                }
                _ => return Err(self.unexpected("`,` or `}`")),
            }
        }
    }

    fn word(&mut self, word: &str, kind: NodeKind) -> Result<NodeKind, Diagnostic> {
        if !self.text[self.at..].starts_with(word) {
            return Err(self.unexpected("a value"));
        }
        self.at += word.len();
        Ok(kind)
    }

    fn string(&mut self) -> Result<String, Diagnostic> {
        self.at += 1;
        let mut out = String::new();
        loop {
            let rest = &self.text[self.at..];
            let plain = rest
                .find(|c: char| matches!(c, '"' | '\\') || (c as u32) < 0x20)
                .unwrap_or(rest.len());
            out.push_str(&rest[..plain]);
            self.at += plain;
            match self.byte() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(out);
                }
                Some(b'\\') => out.push(self.escaped()?),
                Some(_) => return Err(self.unexpected("an escape for a control character")),
                None => return Err(self.unexpected("`\"`")),
            }
        }
    }

    fn escaped(&mut self) -> Result<char, Diagnostic> {
        let letter = self.text.as_bytes().get(self.at + 1).copied();
        let c = match letter {
            Some(c @ (b'"' | b'\\' | b'/')) => char::from(c),
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            Some(b'u') => return self.code_unit(),
            _ => return Err(self.wrong("unknown escape")),
        };
        self.at += 2;
        Ok(c)
    }

    /// Reads `\uXXXX`, or two of them that form a surrogate pair.
    fn code_unit(&mut self) -> Result<char, Diagnostic> {
        let unit = |at: usize| -> Option<u32> {
            let bytes = self.text.as_bytes().get(at..at + 6)?;
            let digits = bytes.strip_prefix(b"\\u")?;
            if !digits.iter().all(u8::is_ascii_hexdigit) {
                return None;
            }
            u32::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
        };
        let Some(first) = unit(self.at) else {
            return Err(self.wrong("`\\u` needs four hexadecimal digits"));
        };
        let (code, length) = match (first, unit(self.at + 6)) {
            (0xD800..=0xDBFF, Some(second @ 0xDC00..=0xDFFF)) => {
                (0x10000 + ((first - 0xD800) << 10) + (second - 0xDC00), 12)
            }
            _ => (first, 6),
        };
        let Some(c) = char::from_u32(code) else {
            return Err(self.wrong("half of a surrogate pair"));
        };
        self.at += length;
        Ok(c)
    }

    fn number(&mut self) -> Result<NodeKind, Diagnostic> {
        let bytes = self.text.as_bytes();
        let start = self.at;
        let digits = |mut at: usize| {
            while bytes.get(at).is_some_and(u8::is_ascii_digit) {
                at += 1;
            }
            at
        };
        let whole_start = start + usize::from(bytes[start] == b'-');
        let mut end = digits(whole_start);
        let mut fits = end > whole_start && (bytes[whole_start] != b'0' || end == whole_start + 1);
        let mut is_whole = true;
        if bytes.get(end) == Some(&b'.') {
            let fraction = end + 1;
            end = digits(fraction);
            (fits, is_whole) = (fits && end > fraction, false);
        }
        if matches!(bytes.get(end), Some(b'e' | b'E')) {
            let sign = matches!(bytes.get(end + 1), Some(b'+' | b'-'));
            let exponent = end + 1 + usize::from(sign);
            end = digits(exponent);
            (fits, is_whole) = (fits && end > exponent, false);
        }
        let text = &self.text[start..end];
        if !fits {
            return Err(self.wrong(&format!("`{text}` is not a number")));
        }
        let kind = match (is_whole, text.parse::<i64>(), text.parse::<u64>()) {
            (true, Ok(it), _) => NodeKind::Int(it),
            (true, _, Ok(it)) => NodeKind::Uint(it),
            _ => match text.parse::<f64>() {
                Ok(it) if it.is_finite() => NodeKind::Float(it),
                _ => return Err(self.wrong("a number is too large")),
            },
        };
        self.at = end;
        Ok(kind)
    }
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
    fn values_read_and_keep_their_order() {
        check(
            r#" {"z":[1,-2,1.0,1e2,18446744073709551615,true,false,null],"a":{"\/":"\"\\\b\f\n\r\t"}} "#,
            r#"{"z":[1,-2,1.0,100.0,18446744073709551615,true,false,null],"a":{"/":"\"\\\b\f\n\r\t"}}"#,
        );
        check(r#""\uD83D\uDE00 \u00e4 ä""#, r#""😀 ä ä""#);
    }

    #[test]
    fn errors_have_a_place() {
        check(
            "{\n \"a\": [1,]}",
            "2:10: E101 the JSON does not parse: expected a value, found `]` (at /a/1)",
        );
        check(
            r#"{"ä": "\ud800"}"#,
            "1:8: E101 the JSON does not parse: half of a surrogate pair (at /ä)",
        );
        check(
            r#"{"a":1,"a":2}"#,
            "1:8: E101 the key `a` stands twice in one map (at /a)\n{\"a\":1}",
        );
        check("01", "1:1: E101 the JSON does not parse: `01` is not a number");
        check("1.", "1:1: E101 the JSON does not parse: `1.` is not a number");
        check("1e999", "1:1: E101 the JSON does not parse: a number is too large");
        check(
            "\"a\nb\"",
            "1:3: E101 the JSON does not parse: expected an escape for a control character, found `\\n`",
        );
        check("\0", "1:1: E101 the JSON does not parse: expected a value, found `\\u{0}`");
        check("1 2", "1:3: E101 the JSON does not parse: unexpected `2` after the document");
        check("", "1:1: E101 the JSON does not parse: expected a value, found the end");
        check(
            "{a: 1}",
            "1:2: E101 the JSON does not parse: expected a key in double quotes, found `a`",
        );
        check(
            r#""\ud83"#,
            "1:2: E101 the JSON does not parse: `\\u` needs four hexadecimal digits",
        );
    }

    #[test]
    fn hostile_inputs_end_early() {
        check(&"[".repeat(100_000), "1:129: E160 the document nests deeper than 128");
        let many = format!("[{}1]", "1,".repeat(300_000));
        check(&many, "1:400000: E160 the document has more than 200000 values");
    }
}
