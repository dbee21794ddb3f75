//! Values with their text, and comments: what the parser says, and what stands between.

use std::collections::VecDeque;

use saphyr_parser::{Event, Parser, ScalarStyle, Span};

/// A text in parts.
#[derive(Debug)]
pub(super) struct Scan {
    pub events: VecDeque<Token>,
    pub comments: Vec<Comment>,
    /// Where the items of block lists begin, in the order of the text.
    pub dashes: VecDeque<Place>,
    /// Whether nothing stands on each line.
    pub is_blank: Vec<bool>,
}

/// A place in the text: character, line and column, all from 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    pub at: usize,
    pub line: usize,
    pub column: usize,
}

/// A comment, from `#` to the end of its line.
#[derive(Clone, Debug)]
pub(super) struct Comment {
    pub place: Place,
    pub text: String,
    /// Nothing stands before it on its line.
    pub is_alone: bool,
}

/// An event of the parser that matters here.
#[derive(Clone, Debug)]
pub(super) enum Token {
    Scalar(Scalar),
    Alias { begin: Place, text: String },
    Open { is_map: bool, is_flow: bool, begin: Place, end: Place, anchor: Option<String> },
    Close { end: Place },
}

/// A plain value, quoted text or block of text.
#[derive(Clone, Debug)]
pub(super) struct Scalar {
    pub begin: Place,
    pub anchor: Option<String>,
    /// What it says.
    pub value: String,
    pub form: Form,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Form {
    Plain(String),
    Quoted(String),
    /// Header without indentation, and lines without it.
    Block {
        header: String,
        lines: Vec<String>,
    },
}

/// Takes a text apart that the parser of documents has accepted.
pub(super) fn scan(text: &str) -> Option<Scan> {
    let chars: Vec<char> = text.chars().collect();
    let mut source = Source { line_starts: vec![0], chars };
    for (at, c) in source.chars.iter().enumerate() {
        if *c == '\n' {
            source.line_starts.push(at + 1);
        }
    }
    let mut raw = Vec::new();
    for event in Parser::new_from_str(text) {
        raw.push(event.ok()?);
    }
    let mut events = VecDeque::new();
    let mut gaps = Gaps::new(&source);
    for (event, span) in raw {
        match event {
            Event::Scalar(value, style, anchor, _) => {
                let is_block = matches!(style, ScalarStyle::Literal | ScalarStyle::Folded);
                let scalar = match is_block {
                    true => gaps.block(&value)?,
                    false => gaps.inline(&value, style, anchor > 0, span)?,
                };
                events.push_back(Token::Scalar(scalar));
            }
            Event::Alias(_) => {
                let (begin, end) = (span.start.index(), span.end.index());
                gaps.pass(begin, end);
                let text = source.text(begin, end).trim().to_string();
                events.push_back(Token::Alias { begin: source.place(begin), text });
            }
            Event::SequenceStart(anchor, _) => {
                events.push_back(gaps.open(false, anchor > 0, span));
            }
            Event::MappingStart(anchor, _) => events.push_back(gaps.open(true, anchor > 0, span)),
            Event::SequenceEnd | Event::MappingEnd => {
                let begin = span.start.index();
                if span.end.index() > begin {
                    // The bracket; the parser's span goes on to the next value.
                    gaps.pass(begin, begin + 1);
                }
                events.push_back(Token::Close { end: source.place(begin) });
            }
            _ => {}
        }
    }
    gaps.skip_to(source.chars.len());
    let lines = 0..source.line_starts.len();
    let mut is_blank: Vec<bool> = lines.map(|line| source.line(line).trim().is_empty()).collect();
    for event in &events {
        if let Token::Scalar(Scalar { begin, form: Form::Block { lines, .. }, .. }) = event {
            // An empty line of a text is no empty line between entries.
            is_blank[begin.line + 1..][..lines.len()].fill(false);
        }
    }
    Some(Scan { events, comments: gaps.comments, dashes: gaps.dashes, is_blank })
}

struct Source {
    chars: Vec<char>,
    line_starts: Vec<usize>,
}

impl Source {
    fn place(&self, at: usize) -> Place {
        let line = self.line_starts.partition_point(|it| *it <= at).saturating_sub(1);
        Place { at, line, column: at - self.line_starts[line] }
    }

    fn text(&self, begin: usize, end: usize) -> String {
        self.chars[begin.min(end)..end].iter().collect()
    }

    /// Returns where the quoted text that begins here, or behind its anchor, ends: the parser's
    /// span may take in a comment behind it.
    fn closing_quote(&self, begin: usize) -> Option<usize> {
        let is_quote = |it: &char| matches!(it, '"' | '\'');
        let open = begin + self.chars[begin..].iter().position(is_quote)?;
        let quote = self.chars[open];
        let mut at = open + 1;
        while let Some(c) = self.chars.get(at) {
            match *c {
                '\\' if quote == '"' => at += 1,
                '\'' if quote == '\'' && self.chars.get(at + 1) == Some(&'\'') => at += 1,
                it if it == quote => return Some(at),
                _ => {}
            }
            at += 1;
        }
        None
    }

    /// Returns a line without its end.
    fn line(&self, line: usize) -> String {
        let begin = self.line_starts[line];
        let end = self.line_starts.get(line + 1).map_or(self.chars.len(), |it| it - 1);
        self.text(begin, end)
    }
}

/// Reads what stands between values.
struct Gaps<'a> {
    source: &'a Source,
    /// Everything before is read.
    at: usize,
    comments: Vec<Comment>,
    dashes: VecDeque<Place>,
    /// Headers of block texts, and anchors before them.
    headers: VecDeque<(Place, String)>,
    anchor: Option<String>,
}

impl<'a> Gaps<'a> {
    fn new(source: &'a Source) -> Gaps<'a> {
        let (comments, dashes, headers) = (Vec::new(), VecDeque::new(), VecDeque::new());
        Gaps { source, at: 0, comments, dashes, headers, anchor: None }
    }

    /// Reads up to a value, and goes on behind it.
    fn pass(&mut self, begin: usize, end: usize) {
        self.skip_to(begin);
        self.at = self.at.max(end);
    }

    fn skip_to(&mut self, end: usize) {
        while self.at < end {
            self.step();
        }
    }

    fn step(&mut self) {
        let chars = &self.source.chars;
        let at = self.at;
        let is_space = |it: Option<&char>| it.is_none_or(|it| it.is_whitespace());
        let before = at.checked_sub(1).and_then(|it| chars.get(it));
        let place = self.source.place(at);
        let line_end = || {
            let rest = chars[at..].iter().position(|it| *it == '\n');
            rest.map_or(chars.len(), |it| at + it)
        };
        match chars[at] {
            // `%YAML 1.2`: says nothing that is not said anyway.
            '%' if place.column == 0 => self.at = line_end(),
            '#' if is_space(before) => {
                let text = self.source.text(at, line_end()).trim_end().to_string();
                let line: String = self.source.text(at - place.column, at);
                self.comments.push(Comment { place, text, is_alone: line.trim().is_empty() });
                self.at = line_end();
            }
            '-' if is_space(before) && is_space(chars.get(at + 1)) => {
                self.dashes.push_back(place);
                self.at += 1;
            }
            '|' | '>' => {
                let rest = chars[at + 1..].iter().take_while(|it| "+-0123456789".contains(**it));
                let end = at + 1 + rest.count();
                self.headers.push_back((place, self.source.text(at, end)));
                self.at = end;
            }
            '&' => {
                let name: String =
                    chars[at..].iter().take_while(|it| !it.is_whitespace()).collect();
                self.at += name.chars().count();
                self.anchor = Some(name);
            }
            _ => self.at += 1,
        }
    }

    fn inline(
        &mut self,
        value: &str,
        style: ScalarStyle,
        is_anchored: bool,
        span: Span,
    ) -> Option<Scalar> {
        let (mut begin, mut end) = (span.start.index(), span.end.index());
        if style == ScalarStyle::Plain && value.is_empty() && !is_anchored {
            // The parser says of nothing that it stands anywhere up to the next value.
            begin = begin.max(self.at);
            end = begin;
        }
        if style != ScalarStyle::Plain {
            end = self.source.closing_quote(begin)? + 1;
        }
        self.pass(begin, end);
        let begin_place = self.source.place(begin);
        let mut text = self.source.text(begin, end);
        let mut anchor = self.anchor.take();
        if is_anchored && text.starts_with('&') {
            let name: String = text.chars().take_while(|it| !it.is_whitespace()).collect();
            text = text[name.len()..].trim_start().to_string();
            anchor = Some(name);
        }
        let trimmed = text.trim_end();
        let form = match style {
            ScalarStyle::Plain => Form::Plain(trimmed.to_string()),
            _ => Form::Quoted(trimmed.to_string()),
        };
        Some(Scalar { begin: begin_place, anchor, value: value.to_string(), form })
    }

    fn block(&mut self, value: &str) -> Option<Scalar> {
        // The header stands before the place that the parser names, or at it when all is empty.
        while self.headers.is_empty() && self.at < self.source.chars.len() {
            self.step();
        }
        let (begin, header) = self.headers.pop_front()?;
        let anchor = self.anchor.take();
        let mut line = begin.line + 1;
        // A comment may follow the header.
        let first = self.source.line_starts.get(line).copied();
        self.skip_to(first.map_or(self.source.chars.len(), |it| it - 1));
        let lines_left = |line: usize| line < self.source.line_starts.len();
        let indent_of = |text: &str| text.chars().take_while(|it| *it == ' ').count();
        let is_text = |text: &str| !text.chars().all(|it| it == ' ');
        let first_said = value.split('\n').find(|it| is_text(it));
        let mut lines = Vec::new();
        let mut cut = 0;
        if let Some(said) = first_said {
            let mut at = line;
            while lines_left(at) && !is_text(&self.source.line(at)) {
                at += 1;
            }
            cut = indent_of(&self.source.line(at)).checked_sub(indent_of(said))?;
        }
        while lines_left(line) {
            let text = self.source.line(line);
            if is_text(&text) && (first_said.is_none() || indent_of(&text) < cut) {
                break;
            }
            lines.push(text.chars().skip(cut).collect::<String>());
            line += 1;
        }
        // The line after the last line end is none.
        if !lines_left(line) && self.source.chars.last() == Some(&'\n') {
            lines.pop();
        }
        if !header.contains('+') {
            while lines.last().is_some_and(|it| it.trim_matches(' ').is_empty()) {
                lines.pop();
            }
        }
        let last = begin.line + lines.len();
        let end =
            self.source.line_starts.get(last + 1).map_or(self.source.chars.len(), |it| it - 1);
        self.at = self.at.max(end);
        let header: String =
            header.chars().map(|it| if it.is_ascii_digit() { '2' } else { it }).collect();
        let form = Form::Block { header, lines };
        Some(Scalar { begin, anchor, value: value.to_string(), form })
    }

    fn open(&mut self, is_map: bool, is_anchored: bool, span: Span) -> Token {
        let (begin, end) = (span.start.index(), span.end.index());
        let last = end.checked_sub(1).map(|it| self.source.chars[it]);
        let is_flow = end > begin && matches!(last, Some('[' | '{'));
        let mut anchor = None;
        if is_anchored {
            let text = self.source.text(begin, end);
            let name: String = text.chars().take_while(|it| !it.is_whitespace()).collect();
            self.pass(begin, begin + name.chars().count());
            anchor = Some(name);
        }
        if is_flow {
            self.pass(end - 1, end);
        }
        let (begin, end) = (self.source.place(begin), self.source.place(end));
        Token::Open { is_map, is_flow, begin, end, anchor }
    }
}
