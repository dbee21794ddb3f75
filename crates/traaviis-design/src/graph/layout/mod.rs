//! Finds places for everything in a picture: nested boxes in layers, arrows from top to bottom.
//!
//! Each box is laid out by itself, as a layered graph of what stands directly in it. An arrow that
//! crosses the border of a box does so at a port, which is an item of the first or last layer
//! inside, and the box offers that place to the layout around it. Stages:
//!
//! 1. [`plan`], from the outside in: which arrows concern which box, which way they run, and the
//!    layer of every item. Words of arrows get layers of their own between those of the states.
//! 2. [`order`]: the items of each layer from left to right, with few crossings.
//! 3. [`place`], from the inside out: coordinates of items, and with them the size of each box.
//! 4. [`route`], from the outside in: absolute coordinates, and the points of each arrow.
//!
//! Invariants: an arrow runs straight down or up through the layers and turns only between them,
//! so it crosses no box; items of a layer do not overlap; only additions and comparisons of
//! numbers decide, so the same picture gives the same places.

mod plan;

mod order;

mod place;

mod route;

use crate::graph::{
    GraphError,
    picture::{NodeId, Picture},
};

/// Most bends of arrows that are placed; an arrow has one in each layer that it passes. 420 states
/// in a row, each with a way back to the first, stay below it and take three seconds and 92 MB.
pub const BENDS_MAX: usize = 200_000;

/// Size of names.
pub(super) const NAME_SIZE: f64 = 13.0;
/// Size of all other words.
pub(super) const TEXT_SIZE: f64 = 11.0;
/// From one line of words to the next.
pub(super) const LINE_HEIGHT: f64 = 15.0;
/// Between words and what is around them.
pub(super) const PADDING: f64 = 10.0;
/// Height of the name and the space around it.
pub(super) const NAME_HEIGHT: f64 = 26.0;
/// From a box to the outermost point of an arrow to itself.
pub(super) const LOOP_WIDTH: f64 = 22.0;

/// A box, or the room of some words.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Rect {
    /// Left edge.
    pub x: f64,
    /// Upper edge.
    pub y: f64,
    /// From left to right.
    pub width: f64,
    /// From top to bottom.
    pub height: f64,
}

impl Rect {
    /// Says whether two boxes share an area.
    pub fn overlaps(&self, other: &Rect) -> bool {
        let apart = self.x + self.width <= other.x
            || other.x + other.width <= self.x
            || self.y + self.height <= other.y
            || other.y + other.height <= self.y;
        !apart
    }

    /// Says whether another box stands inside.
    pub fn contains(&self, other: &Rect) -> bool {
        self.x <= other.x
            && self.y <= other.y
            && other.x + other.width <= self.x + self.width
            && other.y + other.height <= self.y + self.height
    }
}

/// The way of an arrow.
#[derive(Clone, Debug, PartialEq)]
pub struct Route {
    /// Straight vertical pieces from the source to the target: x, y of the begin, y of the end.
    /// Curves join them. An arrow to itself has two points at its box instead.
    pub lanes: Vec<(f64, f64, f64)>,
    /// Room of its words, when it has any.
    pub label: Option<Rect>,
    /// The words, broken into lines.
    pub words: Vec<String>,
}

/// Places of everything.
#[derive(Clone, Debug)]
pub struct Layout {
    /// The box of each node; that of the root is the whole picture.
    pub boxes: Vec<Rect>,
    /// The way of each edge.
    pub routes: Vec<Route>,
    /// Lines inside each node, broken to fit.
    pub lines: Vec<Vec<Vec<String>>>,
}

/// Lays out a picture.
pub fn of(picture: &Picture) -> Result<Layout, GraphError> {
    let mut levels = plan::levels(picture)?;
    let words = Words::of(picture);
    for level in &mut levels {
        order::sort(level);
    }
    // A node stands after its parent, so this is from the inside out.
    let mut sizes = vec![place::Size::default(); picture.nodes.len()];
    for node in (0..picture.nodes.len()).rev() {
        sizes[node] = place::size(picture, &words, node, &mut levels, &sizes);
    }
    Ok(route::layout(picture, words, &levels, &sizes))
}

/// Words broken into lines.
struct Words {
    nodes: Vec<Vec<Vec<String>>>,
    edges: Vec<Vec<String>>,
}

impl Words {
    /// Breaks the words of a picture; what is cut off stays in the tooltips of the SVG.
    fn of(picture: &Picture) -> Words {
        const NODE_CHARS_MAX: usize = 40;
        const EDGE_CHARS_MAX: usize = 26;
        const LINES_MAX: usize = 4;
        let wrap = |text: &str, chars| super::text::wrap(text, chars, LINES_MAX);
        let lines = |node: NodeId| {
            picture.nodes[node].lines.iter().map(|it| wrap(&it.text, NODE_CHARS_MAX)).collect()
        };
        let parts = |edge: usize| {
            let parts = picture.edges[edge].label.parts();
            parts.iter().flat_map(|it| wrap(it, EDGE_CHARS_MAX)).collect()
        };
        Words {
            nodes: (0..picture.nodes.len()).map(lines).collect(),
            edges: (0..picture.edges.len()).map(parts).collect(),
        }
    }
}

/// Returns the room that lines of words take.
fn room(lines: &[String]) -> (f64, f64) {
    let width = lines.iter().map(|it| super::text::width(it, TEXT_SIZE)).fold(0.0, f64::max);
    (width, lines.len() as f64 * LINE_HEIGHT)
}
