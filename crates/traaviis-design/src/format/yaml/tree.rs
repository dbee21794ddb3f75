//! Entries of lists and maps, each with the comments that belong to it.
//!
//! A comment on a line of its own belongs to the entry below it, unless it is indented deeper than
//! that entry: then it ends the list or map that stands as deep as it does. A comment behind
//! something belongs to what stands before it. What comes before the first entry is the header of
//! the document and stays there.

use std::collections::VecDeque;

use crate::format::{
    order::{Looks, Shape},
    yaml::scan::{Comment, Form, Place, Scalar, Scan, Token},
};

pub(super) type EntryId = usize;
pub(super) type CollectionId = usize;

/// A document in parts.
#[derive(Debug, Default)]
pub(super) struct Document {
    pub entries: Vec<Entry>,
    pub collections: Vec<Collection>,
    pub root: Option<Value>,
    pub header: Vec<Above>,
    pub has_anchors: bool,
}

/// What stands above an entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Above {
    Blank,
    Comment(String),
}

/// An item of a list, or a key and its value.
#[derive(Debug)]
pub(super) struct Entry {
    pub key: Option<Scalar>,
    pub value: Value,
    pub above: Vec<Above>,
    /// Comment behind the key or dash, before entries on lines of their own.
    pub head: Option<String>,
    /// Comment behind the value.
    pub tail: Option<String>,
    place: Place,
    /// Where the value begins.
    begin: Place,
    collection: CollectionId,
}

/// A list or map.
#[derive(Debug)]
pub(super) struct Collection {
    pub is_map: bool,
    /// Written in brackets on one line.
    pub is_flow: bool,
    pub entries: Vec<EntryId>,
    /// What stands below the last entry.
    pub below: Vec<Above>,
    /// The collection around it.
    parent: Option<CollectionId>,
}

#[derive(Clone, Debug)]
pub(super) enum Value {
    Scalar(Scalar),
    Alias(String),
    Collection { id: CollectionId, anchor: Option<String> },
}

/// Builds the tree, with its keys in canonical order.
pub(super) fn build(scan: Scan) -> Option<Document> {
    let Scan { events, comments, dashes, is_blank } = scan;
    let mut builder = Builder { events, dashes, document: Document::default() };
    let (root, _) = builder.value(None)?;
    let mut document = builder.document;
    document.root = Some(root.clone());
    let lines = document.lines();
    for comment in comments {
        let has_blank = is_blank_above(&is_blank, comment.place.line);
        document.attach(comment, has_blank, &lines);
    }
    document.keep_blank_lines(&is_blank, &lines);
    // An alias must stand after its anchor, so a document that has them keeps its order.
    if !document.has_anchors {
        document.sort(&root, Shape::document());
    }
    Some(document)
}

fn is_blank_above(is_blank: &[bool], line: usize) -> bool {
    line > 0 && is_blank[line - 1]
}

struct Builder {
    events: VecDeque<Token>,
    dashes: VecDeque<Place>,
    document: Document,
}

impl Builder {
    /// Takes one value; says where it begins.
    fn value(&mut self, parent: Option<CollectionId>) -> Option<(Value, Place)> {
        match self.events.pop_front()? {
            Token::Scalar(scalar) => {
                self.document.has_anchors |= scalar.anchor.is_some();
                let begin = scalar.begin;
                Some((Value::Scalar(scalar), begin))
            }
            Token::Alias { begin, text } => {
                self.document.has_anchors = true;
                Some((Value::Alias(text), begin))
            }
            Token::Open { is_map, is_flow, begin, end, anchor } => {
                self.document.has_anchors |= anchor.is_some();
                let id = self.document.collections.len();
                let is_inside_flow = parent.is_some_and(|it| self.document.collections[it].is_flow);
                let (entries, below) = (Vec::new(), Vec::new());
                let collection =
                    Collection { is_map, is_flow: is_inside_flow, entries, below, parent };
                self.document.collections.push(collection);
                if is_flow && !is_inside_flow {
                    self.document.collections[id].is_flow = self.closes_on(end.line);
                }
                self.entries(id, is_map, is_flow)?;
                let list = &self.document.collections[id].entries;
                if list.is_empty() {
                    self.document.collections[id].is_flow = true;
                }
                Some((Value::Collection { id, anchor }, begin))
            }
            Token::Close { .. } => None,
        }
    }

    /// Says whether the collection whose inside comes next ends on this line.
    fn closes_on(&self, line: usize) -> bool {
        let mut depth = 1;
        for event in &self.events {
            match event {
                Token::Open { .. } => depth += 1,
                Token::Close { end } => {
                    depth -= 1;
                    if depth == 0 {
                        return end.line == line;
                    }
                }
                _ => {}
            }
        }
        false
    }

    fn entries(&mut self, id: CollectionId, is_map: bool, is_flow: bool) -> Option<()> {
        loop {
            if let Some(Token::Close { .. }) = self.events.front() {
                self.events.pop_front();
                return Some(());
            }
            // The place in the list is taken before what stands inside, so that entries are
            // numbered in the order of the text.
            let entry = self.document.entries.len();
            let key = match is_map {
                true => match self.events.pop_front()? {
                    Token::Scalar(key) => Some(key),
                    _ => return None,
                },
                false => None,
            };
            let dash = if is_map || is_flow { None } else { Some(self.dashes.pop_front()?) };
            let value = Value::Alias(String::new());
            let place = key.as_ref().map(|it| it.begin).or(dash).unwrap_or_default();
            self.document.entries.push(Entry {
                key,
                value,
                above: Vec::new(),
                head: None,
                tail: None,
                place,
                begin: place,
                collection: id,
            });
            let (value, begin) = self.value(Some(id))?;
            let it = &mut self.document.entries[entry];
            (it.value, it.begin) = (value, begin);
            if it.key.is_none() && dash.is_none() {
                it.place = begin;
            }
            self.document.collections[id].entries.push(entry);
        }
    }
}

impl Document {
    /// Returns the entries that get a line of their own, in the order of the text.
    fn lines(&self) -> Vec<EntryId> {
        let is_line = |it: &EntryId| !self.collections[self.entries[*it].collection].is_flow;
        (0..self.entries.len()).filter(is_line).collect()
    }

    /// Returns the collection below an entry whose entries get lines of their own.
    fn lines_of(&self, value: &Value) -> Option<CollectionId> {
        match value {
            Value::Collection { id, .. } if !self.collections[*id].is_flow => Some(*id),
            _ => None,
        }
    }

    fn attach(&mut self, comment: Comment, has_blank: bool, lines: &[EntryId]) {
        let at = lines.partition_point(|it| self.entries[*it].place.at < comment.place.at);
        let next = lines.get(at).copied();
        let Some(previous) = at.checked_sub(1).map(|it| lines[it]) else {
            return push(&mut self.header, comment, has_blank);
        };
        let is_collection = self.lines_of(&self.entries[previous].value).is_some();
        let entry = &mut self.entries[previous];
        let is_before_value = !is_collection && comment.place.at < entry.begin.at;
        if !comment.is_alone {
            let slot = if is_collection { &mut entry.head } else { &mut entry.tail };
            if slot.is_none() {
                *slot = Some(comment.text);
                return;
            }
            let below = &mut self.collections[entry.collection].below;
            return push(below, comment, false);
        }
        if is_before_value {
            return push(&mut entry.above, comment, has_blank);
        }
        match self.ended_by(&comment, previous, next) {
            Some(collection) => {
                push(&mut self.collections[collection].below, comment, has_blank);
            }
            None => match next {
                Some(next) => push(&mut self.entries[next].above, comment, has_blank),
                None => push(&mut self.collections[0].below, comment, has_blank),
            },
        }
    }

    /// Returns the collection that a comment stands at the end of.
    fn ended_by(
        &self,
        comment: &Comment,
        previous: EntryId,
        next: Option<EntryId>,
    ) -> Option<CollectionId> {
        let column = |id: CollectionId| {
            self.collections[id].entries.first().map_or(0, |it| self.entries[*it].place.column)
        };
        if next.is_some_and(|it| comment.place.column <= self.entries[it].place.column) {
            return None;
        }
        let above =
            |id: Option<CollectionId>| std::iter::successors(id, |it| self.collections[*it].parent);
        let goes_on: Vec<CollectionId> =
            above(next.map(|it| self.entries[it].collection)).collect();
        above(Some(self.entries[previous].collection))
            .take_while(|it| !goes_on.contains(it))
            .find(|it| column(*it) <= comment.place.column)
    }

    /// Keeps one blank line where there were some, but none before the first entry of anything.
    fn keep_blank_lines(&mut self, is_blank: &[bool], lines: &[EntryId]) {
        let mut line_before = None;
        for (index, id) in lines.iter().enumerate() {
            let entry = &mut self.entries[*id];
            let line = entry.place.line;
            let is_first = self.collections[entry.collection].entries.first() == Some(id);
            if line_before != Some(line) && is_blank_above(is_blank, line) {
                match (is_first, index) {
                    (true, 0) if !self.header.is_empty() => self.header.push(Above::Blank),
                    (true, _) if entry.above.is_empty() => {}
                    _ => entry.above.push(Above::Blank),
                }
            }
            if is_first && entry.above.first() == Some(&Above::Blank) {
                entry.above.remove(0);
            }
            line_before = Some(line);
        }
    }

    fn sort(&mut self, value: &Value, shape: Shape) {
        let Value::Collection { id, .. } = value else { return };
        let entries = self.collections[*id].entries.clone();
        if !self.collections[*id].is_map {
            let item = shape.of(Looks::List).item();
            for entry in entries {
                self.sort(&self.entries[entry].value.clone(), item);
            }
            return;
        }
        let key = |it: &EntryId| self.entries[*it].key.as_ref().map_or("", |it| &*it.value);
        let kind = entries.iter().find(|it| key(it) == "type").and_then(|it| {
            match &self.entries[*it].value {
                Value::Scalar(scalar) => Some(scalar.value.clone()),
                _ => None,
            }
        });
        let shape = shape.of(Looks::Map(kind.as_deref()));
        let mut sorted = entries.clone();
        sorted.sort_by_key(|it| shape.rank(key(it)));
        let below: Vec<(EntryId, Shape)> =
            sorted.iter().map(|it| (*it, shape.at(key(it)))).collect();
        self.collections[*id].entries = sorted;
        for (entry, shape) in below {
            self.sort(&self.entries[entry].value.clone(), shape);
        }
    }
}

fn push(list: &mut Vec<Above>, comment: Comment, has_blank: bool) {
    if has_blank && list.last() != Some(&Above::Blank) {
        list.push(Above::Blank);
    }
    list.push(Above::Comment(comment.text));
}

impl Scalar {
    /// Says whether there is nothing written.
    pub(super) fn is_absent(&self) -> bool {
        self.form == Form::Plain(String::new()) && self.anchor.is_none()
    }
}
