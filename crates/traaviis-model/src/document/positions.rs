//! Where the parts of a document stand, so that every finding has a line and a column.

use super::tree::{Node, NodeKind, place_of};
use crate::diagnostic::Diagnostic;

/// Where the parts of a document stand in its text.
#[derive(Clone, Debug, Default)]
pub struct Positions {
    // The tree itself: a table of all pointers would be far larger than the document.
    pub(super) root: Option<Node>,
    // Names of what was merged into it, by `Node::file` without the document itself.
    pub(super) files: Vec<String>,
}

impl Positions {
    /// Returns line and column of a JSON pointer, or of its nearest existing ancestor.
    pub fn find(&self, pointer: &str) -> Option<(u32, u32)> {
        self.walk(pointer).map(|(place, _)| place)
    }

    /// Returns the file of a JSON pointer, when it is not the document itself.
    pub fn file(&self, pointer: &str) -> Option<&str> {
        self.walk(pointer).and_then(|(_, file)| file).map(String::as_str)
    }

    /// Returns the place of a pointer, and the file when it is not the document itself.
    fn walk(&self, pointer: &str) -> Option<((u32, u32), Option<&String>)> {
        let mut node = self.root.as_ref()?;
        let mut place = (node.line, node.column);
        for segment in pointer.split('/').skip(1) {
            let segment = segment.replace("~1", "/").replace("~0", "~");
            let child = match &node.kind {
                NodeKind::List(items) => segment
                    .parse::<usize>()
                    .ok()
                    .and_then(|at| items.get(at))
                    .map(|item| (None, item)),
                _ => node.entry(&segment).map(|(key, item)| (Some(key), item)),
            };
            let Some((key, child)) = child else { break };
            place = place_of(key, child);
            node = child;
        }
        let file = usize::from(node.file).checked_sub(1).and_then(|at| self.files.get(at));
        Some((place, file))
    }

    /// Gives a finding its file, line and column, unless it has them.
    pub fn place(&self, diagnostic: &mut Diagnostic) {
        let Some(((line, column), file)) = self.walk(&diagnostic.path) else { return };
        if diagnostic.line.is_none() {
            (diagnostic.line, diagnostic.column) = (Some(line), Some(column));
        }
        if diagnostic.file.is_none() {
            diagnostic.file = file.cloned();
        }
    }
}
