//! From places inside each box to places in the whole picture, and the way of each arrow.

use crate::graph::{
    layout::{
        LOOP_WIDTH, Layout, PADDING, Rect, Route, Words,
        place::{self, Offsets, Size, WORDS_GAP},
        plan::{ItemKind, Level, Piece},
        room,
    },
    picture::{NodeId, Picture},
};

/// Room around the whole picture.
const MARGIN: f64 = 8.0;

/// Puts everything in its place.
pub(super) fn layout(picture: &Picture, words: Words, levels: &[Level], sizes: &[Size]) -> Layout {
    let mut boxes = vec![Rect::default(); picture.nodes.len()];
    let (width, height) = (sizes[0].width, sizes[0].height + PADDING);
    boxes[0] = Rect { x: MARGIN, y: MARGIN, width, height };
    let mut parts: Vec<Vec<Part>> = picture.edges.iter().map(|_| Vec::new()).collect();
    for node in 0..picture.nodes.len() {
        if !levels[node].layers.is_empty() {
            let origin = (boxes[node].x, boxes[node].y);
            Inside { picture, node, levels, sizes, origin }.put(&mut boxes, &mut parts);
        }
    }
    let mut routes: Vec<Route> = Vec::new();
    let mut loops = vec![0.0; picture.nodes.len()];
    for ((edge, words), parts) in picture.edges.iter().zip(&words.edges).zip(parts) {
        let words = words.clone();
        routes.push(match edge.from == edge.to {
            true => to_itself(&boxes[edge.from], &sizes[edge.from], words, &mut loops[edge.from]),
            false => joined(parts, words),
        });
    }
    Layout { boxes, routes, lines: words.nodes }
}

/// The piece of an arrow in one box, in the direction of the arrow.
struct Part {
    /// Leads out of the box of the source, rather than across or into the target.
    is_at_source: bool,
    lanes: Vec<(f64, f64, f64)>,
    label: Option<(f64, f64)>,
}

struct Inside<'a> {
    picture: &'a Picture,
    node: NodeId,
    levels: &'a [Level],
    sizes: &'a [Size],
    origin: (f64, f64),
}

impl Inside<'_> {
    fn put(&self, boxes: &mut [Rect], parts: &mut [Vec<Part>]) {
        let level = &self.levels[self.node];
        let offsets = Offsets::of(self.levels, self.node, self.sizes);
        let bounds = place::bounds(level, &offsets);
        for (child, item) in &level.of_node {
            let (item, size) = (&level.items[*item], &self.sizes[*child]);
            let (top, bottom) = bounds[item.layer];
            let (width, height) = (size.width, size.height);
            let x = self.origin.0 + item.x - width / 2.0;
            let y = self.origin.1 + (top + bottom - height) / 2.0;
            boxes[*child] = Rect { x, y, width, height };
        }
        for (at, piece) in level.pieces.iter().enumerate() {
            parts[piece.edge].push(self.part(at, piece, &offsets, &bounds, boxes));
        }
    }

    fn part(
        &self,
        at: usize,
        piece: &Piece,
        offsets: &Offsets,
        bounds: &[(f64, f64)],
        boxes: &[Rect],
    ) -> Part {
        let level = &self.levels[self.node];
        let edge = &self.picture.edges[piece.edge];
        let holds = |end: NodeId| end == self.node || self.picture.is_inside(end, self.node);
        let is_at_source = holds(edge.from) && !holds(edge.to);
        let mut part = Part { is_at_source, lanes: Vec::new(), label: None };
        for (index, item) in piece.chain.iter().enumerate() {
            let is_first = index == 0;
            let x = self.origin.0 + offsets.at(level, *item, at, is_first);
            let (top, bottom) = bounds[level.items[*item].layer];
            let (top, bottom) = (self.origin.1 + top, self.origin.1 + bottom);
            part.lanes.push(match level.items[*item].kind {
                ItemKind::Node(child) if is_first => {
                    (x, boxes[child].y + boxes[child].height, bottom)
                }
                ItemKind::Node(child) => (x, top, boxes[child].y),
                _ => (x, top, bottom),
            });
            if matches!(level.items[*item].kind, ItemKind::Words { .. }) {
                part.label = Some((x + WORDS_GAP, (top + bottom) / 2.0));
            }
        }
        if piece.is_up {
            part.lanes.reverse();
            part.lanes.iter_mut().for_each(|it| *it = (it.0, it.2, it.1));
        }
        part
    }
}

/// Joins the parts of an arrow: out of its source, across, into its target. They come from the
/// outside in, the part across first.
fn joined(parts: Vec<Part>, words: Vec<String>) -> Route {
    let (mut inward, mut outward) = (Vec::new(), Vec::new());
    for part in parts {
        if part.is_at_source { outward.push(part) } else { inward.push(part) }
    }
    let parts: Vec<Part> = outward.into_iter().rev().chain(inward).collect();
    let label = parts.iter().find_map(|it| it.label).map(|(x, middle)| {
        let (width, height) = room(&words);
        Rect { x, y: middle - height / 2.0, width, height }
    });
    let mut lanes: Vec<(f64, f64, f64)> = Vec::new();
    for lane in parts.into_iter().flat_map(|it| it.lanes) {
        match lanes.last_mut() {
            Some(last) if (last.0 - lane.0).abs() < 0.05 => last.2 = lane.2,
            _ => lanes.push(lane),
        }
    }
    Route { lanes, label, words }
}

/// An arrow that leaves its box on the right and comes back below.
fn to_itself(around: &Rect, size: &Size, words: Vec<String>, used: &mut f64) -> Route {
    let (width, height) = room(&words);
    let middle = around.y + around.height / 2.0;
    // The arrows share the height of the box, or stand out of it together.
    let top = middle - size.loops_height / 2.0 + *used;
    *used += place::loop_height(height);
    let center = top + place::loop_height(height) / 2.0;
    let inside = |y: f64| y.clamp(around.y + 4.0, around.y + around.height - 4.0);
    let right = around.x + around.width;
    let label = Rect { x: right + LOOP_WIDTH + WORDS_GAP, y: center - height / 2.0, width, height };
    Route {
        lanes: vec![(right, inside(center - 6.0), inside(center + 6.0))],
        label: (!words.is_empty()).then_some(label),
        words,
    }
}
