//! Makes room for a region beside states that have none: what is there becomes the region `main`.
//!
//! The state at a path, or the document itself, gets a parallel state whose first region holds the
//! states that were there. What the document says about their paths is said about the new ones, so
//! it goes on doing what it did:
//!
//! - of a state, `onDone` goes into the region: it comes when the states that were there are done;
//! - of the document, final states stay where they are: they end it.

use traaviis_model::{
    Text,
    document::tree::{Key, Node, NodeKind},
};

use super::{Finding, Rename, empty_map, finding, key_like, merge, put, retext, take, text_at};

/// The region of what was there.
pub(super) const MAIN: &str = "main";
/// The state around the regions of a whole document.
pub(super) const ALL: &str = "all";

/// Where states of a document have gone.
#[derive(Debug)]
pub(super) struct Moved {
    /// Names from the top down to the state that becomes parallel; none for the document.
    at: Vec<Text>,
    /// Names of the two regions, which hide states of the same names further up.
    regions: [Text; 2],
    /// Names of states that stay.
    kept: Vec<Text>,
}

impl Moved {
    fn segments(&self, path: &str) -> Option<Vec<Text>> {
        let mut names: Vec<Text> = path.split('.').map(Text::from).collect();
        let depth = self.at.len();
        if names.len() <= depth || names[..depth] != self.at[..] {
            return None;
        }
        if self.at.is_empty() {
            if self.kept.contains(&names[0]) {
                return None;
            }
            names.insert(0, ALL.into());
            names.insert(1, MAIN.into());
        } else {
            names.insert(depth, MAIN.into());
        }
        Some(names)
    }

    /// Says whether the state `here` is the one that becomes parallel.
    pub(super) fn is_at(&self, here: &[Text]) -> bool {
        !self.at.is_empty() && here == self.at
    }

    /// Returns the path that a state has now.
    pub(super) fn path(&self, path: &str) -> String {
        let is_absolute = path.strip_prefix('#');
        match self.segments(is_absolute.unwrap_or(path)) {
            Some(names) => {
                let mark = if is_absolute.is_some() { "#" } else { "" };
                format!("{mark}{}", names.join("."))
            }
            None => path.into(),
        }
    }

    /// Returns the path of the state that is done when the one at a path was.
    pub(super) fn done(&self, path: &str) -> String {
        match !self.at.is_empty() && path == self.at.join(".") {
            true => format!("{path}.{MAIN}"),
            false => self.path(path),
        }
    }

    /// Returns an `initial` of the state `here`.
    pub(super) fn initial(&self, here: &[Text], text: &str) -> Text {
        let text = text.strip_prefix('.').unwrap_or(text);
        // What goes into the region goes with its `initial`.
        if here.len() >= self.at.len() {
            return text.into();
        }
        self.below(here, text).into()
    }

    /// Returns a target written in the state `here`; `level` is how far from the top it was found.
    pub(super) fn target(&self, here: &[Text], text: &Text, level: Option<usize>) -> Text {
        if text.starts_with('#') {
            return self.path(text).into();
        }
        if let Some(below) = text.strip_prefix('.') {
            return match self.is_at(here) || here.len() < self.at.len() {
                true => format!(".{}", self.below(here, below)).into(),
                false => text.clone(),
            };
        }
        let Some(level) = level else { return text.clone() };
        let path = here[..level].iter().map(|it| &**it).chain([&**text]).collect::<Vec<_>>();
        let path = path.join(".");
        let is_inside = here.len() > self.at.len() && here[..self.at.len()] == self.at[..];
        let (is_beside, moved) = (level >= self.at.len(), self.segments(&path).is_some());
        let first = text.split('.').next().unwrap_or_default();
        let is_hidden = is_inside && self.regions.iter().any(|it| **it == *first);
        match (is_inside && is_beside, moved) {
            // Both go along.
            (true, true) => text.clone(),
            (_, true) => format!("#{}", self.path(&path)).into(),
            (_, false) if is_hidden => format!("#{path}").into(),
            (_, false) => text.clone(),
        }
    }

    /// Returns the path below `here` that a state below it has now.
    fn below(&self, here: &[Text], path: &str) -> String {
        let path = here.iter().map(|it| &**it).chain([path]).collect::<Vec<_>>().join(".");
        let path = self.path(&path);
        path.split('.').skip(here.len()).collect::<Vec<_>>().join(".")
    }
}

/// Returns the document with room for the region of a component, and where its states went.
pub(super) fn wrap(host: &Node, item: &Node) -> Result<(Node, Moved), Finding> {
    let prefix = text_at(item, "as").map_or("", |it| &**it);
    let at = text_at(item, "at").map(|it| merge::without_hash(it));
    let at: Vec<Text> = at.iter().flat_map(|it| it.split('.')).map(Text::from).collect();
    let is_final = |it: &Node| text_at(it, "type").is_some_and(|it| &**it == "final");
    let tops = host.entry("states").map_or(&[][..], |(_, it)| it.entries());
    let kept: Vec<Text> = match at.is_empty() {
        true => {
            tops.iter().filter(|(_, it)| is_final(it)).map(|(key, _)| key.text.clone()).collect()
        }
        false => Vec::new(),
    };
    let taken = |message: String| {
        let at = item.entry("as").map_or(item, |(_, it)| it);
        finding("E120", at, message)
    };
    if prefix == MAIN {
        let message = format!("`{MAIN}` is the region of the states that are there already");
        return Err(taken(message).hint("use the component under another name with `as`"));
    }
    if at.is_empty() {
        if tops.iter().any(|(key, _)| &*key.text == ALL) {
            let message = format!("the state `{ALL}` exists, and the regions would stand in one");
            return Err(taken(message).hint("rename it, or name a state in `at`"));
        }
        let first = host.entry("initial").map(|(_, it)| first_name(it));
        if first.is_none_or(|it| kept.iter().any(|kept| **kept == it)) {
            return Err(taken("the document starts in a final state, so no region runs".into()));
        }
    }
    let moved = Moved { at, regions: [MAIN.into(), prefix.into()], kept };
    let mut rename = Rename {
        prefix: None,
        above: String::new(),
        exits: Default::default(),
        events: Default::default(),
        params: None,
        moved: Some(&moved),
        here: Vec::new(),
        tops: merge::tops(host),
        in_named_effect: false,
        found: Vec::new(),
        met: Default::default(),
    };
    let mut renamed = merge::renamed(&mut rename, host);
    if let Some(found) = rename.found.into_iter().next() {
        return Err(found);
    }
    match moved.at.is_empty() {
        true => around_document(&mut renamed, &moved),
        false => around_state(&mut renamed, &moved),
    }
    Ok((renamed, moved))
}

fn first_name(initial: &Node) -> String {
    let text = initial.as_text().or_else(|| initial.items().first()?.as_text());
    text.map(|it| it.split('.').next().unwrap_or_default().to_string()).unwrap_or_default()
}

/// Puts what is in a state into its first region.
fn around_state(host: &mut Node, moved: &Moved) {
    let mut state = host;
    for name in &moved.at {
        let Some(below) = state.entry_mut("states").and_then(|it| it.entry_mut(name)) else {
            return;
        };
        state = below;
    }
    let mut main = empty_map(state);
    for key in ["initial", "states", "onDone"] {
        let place = state.entry(key).map(|(key, _)| key.clone());
        if let (Some(place), Some(it)) = (place, take(state, key)) {
            put(&mut main, place, it);
        }
    }
    let at = empty_map(state);
    put(state, key_like("type", &at), retext(&at, "parallel".into()));
    put(state, key_like("states", &at), one(key_like(MAIN, &at), main));
}

/// Puts the states of a document, but for its ends, into the first region of a state around them.
fn around_document(host: &mut Node, moved: &Moved) {
    let (Some(states), Some(initial)) = (take(host, "states"), take(host, "initial")) else {
        return;
    };
    let is_kept = |key: &Key| moved.kept.contains(&key.text);
    let (ends, rest): (Vec<_>, Vec<_>) =
        states.entries().iter().cloned().partition(|(key, _)| is_kept(key));
    let rest = Node { kind: NodeKind::Map(rest), ..states };
    let mut main = one(key_like("initial", &initial), initial.clone());
    put(&mut main, key_like("states", &rest), rest);
    let mut all = one(key_like("type", &initial), retext(&initial, "parallel".into()));
    put(&mut all, key_like("states", &initial), one(key_like(MAIN, &initial), main));
    let mut tops = one(key_like(ALL, &initial), all);
    ends.into_iter().for_each(|(key, it)| put(&mut tops, key, it));
    put(host, key_like("initial", &initial), retext(&initial, ALL.into()));
    put(host, key_like("states", &initial), tops);
}

fn one(key: Key, value: Node) -> Node {
    Node { kind: NodeKind::Map(vec![(key, value.clone())]), ..value }
}
