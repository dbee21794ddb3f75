//! Writes the tree: two spaces for each level, quotes only where they are needed.

use crate::format::yaml::{
    scan::{Form, Scalar},
    tree::{Above, CollectionId, Document, EntryId, Value},
};

pub(super) fn write(document: Document) -> String {
    let mut writer = Writer { document: &document, out: String::new(), kept: usize::MAX };
    writer.above(&document.header, 0, true);
    match &document.root {
        Some(Value::Collection { id, anchor: None }) if !document.collections[*id].is_flow => {
            writer.collection(*id, 0, false);
        }
        Some(root) => {
            let begin = writer.out.len();
            writer.after(root, 0, None, None);
            if writer.out[begin..].starts_with(' ') {
                writer.out.remove(begin);
            }
        }
        None => {}
    }
    if let Some(Value::Collection { id, .. }) = &document.root
        && document.collections[*id].is_flow
    {
        writer.above(&document.collections[*id].below, 0, false);
    }
    writer.out
}

struct Writer<'a> {
    document: &'a Document,
    out: String,
    /// Length after a text that keeps the empty lines below it, so that none may be added.
    kept: usize,
}

impl Writer<'_> {
    /// Writes comments and blank lines.
    fn above(&mut self, list: &[Above], indent: usize, is_first: bool) {
        let mut may_be_blank = !is_first;
        for it in list {
            match it {
                Above::Blank if may_be_blank && self.out.len() != self.kept => {
                    self.out.push('\n');
                    may_be_blank = false;
                }
                Above::Blank => {}
                Above::Comment(text) => {
                    self.indent(indent);
                    self.out.push_str(text);
                    self.out.push('\n');
                    may_be_blank = true;
                }
            }
        }
    }

    fn indent(&mut self, indent: usize) {
        self.out.extend(std::iter::repeat_n(' ', indent));
    }

    /// Writes the entries of a collection, the first behind what stands on the line already.
    fn collection(&mut self, id: CollectionId, indent: usize, is_behind: bool) {
        let collection = &self.document.collections[id];
        for (at, entry) in collection.entries.iter().enumerate() {
            if at > 0 || !is_behind {
                self.above(&self.document.entries[*entry].above, indent, at == 0);
                self.indent(indent);
            }
            self.entry(*entry, indent);
        }
        self.above(&collection.below, indent, false);
    }

    /// Writes an entry from its key or dash on.
    fn entry(&mut self, id: EntryId, indent: usize) {
        let entry = &self.document.entries[id];
        let (head, tail) = (entry.head.as_deref(), entry.tail.as_deref());
        match &entry.key {
            Some(key) => {
                self.out.push_str(&key_text(key));
                self.out.push(':');
            }
            None => {
                self.out.push('-');
                if let Some(inner) = self.behind_dash(&entry.value)
                    && head.is_none()
                {
                    self.out.push(' ');
                    self.collection(inner, indent + 2, true);
                    return;
                }
            }
        }
        self.after(&entry.value, indent, head, tail);
    }

    /// Returns the collection whose first entry can stand behind the dash.
    fn behind_dash(&self, value: &Value) -> Option<CollectionId> {
        let Value::Collection { id, anchor: None } = value else { return None };
        let collection = &self.document.collections[*id];
        let first = self.document.entries.get(*collection.entries.first()?)?;
        let is_bare = !first.above.iter().any(|it| matches!(it, Above::Comment(_)));
        (!collection.is_flow && is_bare).then_some(*id)
    }

    /// Writes a value behind its key or dash, and ends the line.
    fn after(&mut self, value: &Value, indent: usize, head: Option<&str>, tail: Option<&str>) {
        match value {
            Value::Collection { id, anchor } if !self.document.collections[*id].is_flow => {
                if let Some(anchor) = anchor {
                    self.out.push(' ');
                    self.out.push_str(anchor);
                }
                self.end_line(head);
                self.collection(*id, indent + 2, false);
            }
            Value::Scalar(Scalar { form: Form::Block { header, lines }, anchor, .. }) => {
                for part in anchor.iter().chain([header]) {
                    self.out.push(' ');
                    self.out.push_str(part);
                }
                self.end_line(tail);
                for line in lines {
                    if !line.is_empty() {
                        self.indent(indent + 2);
                    }
                    self.out.push_str(line);
                    self.out.push('\n');
                }
                if header.contains('+') {
                    self.kept = self.out.len();
                }
            }
            Value::Scalar(scalar) if scalar.is_absent() => self.end_line(tail),
            other => {
                self.out.push(' ');
                self.inline(other, indent + 2);
                self.end_line(tail);
            }
        }
    }

    fn end_line(&mut self, comment: Option<&str>) {
        if let Some(comment) = comment {
            self.out.push(' ');
            self.out.push_str(comment);
        }
        self.out.push('\n');
    }

    /// Writes a value that begins on this line.
    fn inline(&mut self, value: &Value, indent: usize) {
        match value {
            Value::Alias(text) => self.out.push_str(text),
            Value::Scalar(scalar) => {
                let text = scalar_text(scalar);
                for (at, line) in text.split('\n').enumerate() {
                    if at > 0 {
                        self.out.push('\n');
                    }
                    let line = if at > 0 { line.trim_start_matches([' ', '\t']) } else { line };
                    if at > 0 && !line.is_empty() {
                        self.indent(indent);
                    }
                    self.out.push_str(line);
                }
            }
            Value::Collection { id, anchor } => {
                if let Some(anchor) = anchor {
                    self.out.push_str(anchor);
                    self.out.push(' ');
                }
                self.flow(*id, indent);
            }
        }
    }

    fn flow(&mut self, id: CollectionId, indent: usize) {
        let collection = &self.document.collections[id];
        let (open, close) = if collection.is_map { ('{', '}') } else { ('[', ']') };
        self.out.push(open);
        for (at, entry) in collection.entries.iter().enumerate() {
            if at > 0 {
                self.out.push_str(", ");
            }
            let entry = &self.document.entries[*entry];
            if let Some(key) = &entry.key {
                self.out.push_str(&key_text(key));
                self.out.push_str(": ");
            }
            match &entry.value {
                Value::Scalar(scalar) if scalar.is_absent() => self.out.push_str("null"),
                // An alias takes everything up to a space for its name.
                Value::Alias(text) => {
                    self.out.push_str(text);
                    self.out.push(' ');
                }
                other => self.inline(other, indent),
            }
        }
        self.out.push(close);
    }
}

fn key_text(key: &Scalar) -> String {
    match &key.form {
        Form::Plain(text) | Form::Quoted(text) if text.contains('\n') => quoted(&key.value),
        Form::Block { .. } => quoted(&key.value),
        Form::Plain(text) if text.is_empty() => "\"\"".into(),
        Form::Plain(text) => text.clone(),
        Form::Quoted(text) if is_plain(&key.value) && !text.contains('\n') => key.value.clone(),
        Form::Quoted(text) => text.clone(),
    }
}

fn scalar_text(scalar: &Scalar) -> String {
    let text = match &scalar.form {
        Form::Quoted(text) if is_plain(&scalar.value) && !text.contains('\n') => {
            scalar.value.clone()
        }
        Form::Plain(text) | Form::Quoted(text) => text.clone(),
        Form::Block { .. } => quoted(&scalar.value),
    };
    match &scalar.anchor {
        Some(anchor) => format!("{anchor} {text}").trim_end().to_string(),
        None => text,
    }
}

fn quoted(text: &str) -> String {
    serde_json::to_string(text).unwrap_or_default()
}

/// Says whether text needs no quotes anywhere, for this parser and for those that still take `yes`
/// and `on` for truth values.
fn is_plain(text: &str) -> bool {
    const WORDS: [&str; 10] = ["true", "false", "null", "yes", "no", "on", "off", "y", "n", "inf"];
    let may_stand = |it: char| it.is_ascii_alphanumeric() || " _-./".contains(it);
    text.starts_with(|it: char| it.is_ascii_alphabetic() || it == '_')
        && !text.ends_with(' ')
        && text.chars().all(may_stand)
        && !WORDS.iter().any(|it| it.eq_ignore_ascii_case(text))
}
