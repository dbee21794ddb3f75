//! Coordinates of the items of a box, and with them its size.
//!
//! Each layer in turn is moved to where its neighbours want it: the items keep their order and
//! distance, and the sum of squares of what is missing to the wanted places is least, which is what
//! pooling neighbours that want to stand in each other's way finds.

use crate::graph::{
    layout::{
        LOOP_WIDTH, NAME_HEIGHT, NAME_SIZE, PADDING, Words,
        plan::{ItemId, ItemKind, Level},
        room,
    },
    picture::{NodeId, NodeKind, Picture},
    text,
};

/// Passes over all layers, down and up in turn.
const PASSES: usize = 24;
/// Width of a box with a short name.
const NAME_WIDTH_MIN: f64 = 56.0;
/// Between two boxes of a layer.
const BOX_GAP: f64 = 26.0;
/// Between two arrows of a layer, or an arrow and a box.
const LINE_GAP: f64 = 14.0;
/// Between two layers, at least.
const LAYER_GAP: f64 = 13.0;
/// Between two layers without arrows from one to the other.
const EMPTY_GAP: f64 = 5.0;
/// Between two layers whose arrows run far to the side, at most.
const LAYER_GAP_MAX: f64 = 44.0;
/// Between words of an arrow and its line.
pub(super) const WORDS_GAP: f64 = 6.0;
/// Height of words around an arrow: those of arrows to the same state keep apart.
const WORDS_PADDING: f64 = 4.0;

/// Size of a node, and the room around it.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Size {
    pub width: f64,
    pub height: f64,
    /// Room to the right for arrows to itself.
    pub loops: f64,
    /// Height of those arrows.
    pub loops_height: f64,
}

/// Finds the size of a node; what stands inside has been sized before.
pub(super) fn size(
    picture: &Picture,
    words: &Words,
    node: NodeId,
    levels: &mut [Level],
    sizes: &[Size],
) -> Size {
    let mut size = match picture.nodes[node].kind {
        NodeKind::Initial => Size { width: 14.0, height: 14.0, ..Size::default() },
        NodeKind::Fork => Size { width: 56.0, height: 6.0, ..Size::default() },
        NodeKind::History { .. } => Size { width: 28.0, height: 28.0, ..Size::default() },
        _ => heading(picture, words, node),
    };
    for (edge, it) in picture.edges.iter().enumerate() {
        if it.from == node && it.to == node {
            let (width, height) = room(&words.edges[edge]);
            size.loops = size.loops.max(LOOP_WIDTH + 2.0 * WORDS_GAP + width);
            size.loops_height += loop_height(height);
        }
    }
    if !levels[node].layers.is_empty() {
        let offsets = Offsets::of(levels, node, sizes);
        let (width, height) = fill(&mut levels[node], words, sizes, &size, &offsets);
        (size.width, size.height) = (width, height);
    }
    size
}

/// Returns the height that an arrow to itself takes.
pub(super) fn loop_height(words: f64) -> f64 {
    words.max(20.0) + 2.0 * WORDS_PADDING
}

/// Returns the room of a name and the lines below it.
fn heading(picture: &Picture, words: &Words, node: NodeId) -> Size {
    let it = &picture.nodes[node];
    let mut width = text::width(&it.name, NAME_SIZE);
    let mut height = NAME_HEIGHT;
    let lines: Vec<String> = words.nodes[node].concat();
    if !lines.is_empty() {
        let (lines_width, lines_height) = room(&lines);
        width = width.max(lines_width);
        height += lines_height + PADDING;
    }
    // The second border of a final state.
    let more = if matches!(it.kind, NodeKind::Final(_)) { 8.0 } else { 0.0 };
    let width = (width + 2.0 * PADDING).max(NAME_WIDTH_MIN) + more;
    let height = height + more;
    Size { width, height: height.max(30.0), ..Size::default() }
}

/// Where arrows touch the boxes of a level, counted from the middle of each box.
pub(super) struct Offsets {
    /// For each item, the offset of each piece above and below.
    above: Vec<Vec<f64>>,
    below: Vec<Vec<f64>>,
}

impl Offsets {
    /// Finds them for the box of a node whose inside is ordered.
    pub(super) fn of(levels: &[Level], node: NodeId, sizes: &[Size]) -> Offsets {
        let level = &levels[node];
        let mut place = vec![0; level.items.len()];
        for layer in &level.layers {
            for (at, item) in layer.iter().enumerate() {
                place[*item] = at;
            }
        }
        let mut offsets = Offsets { above: Vec::new(), below: Vec::new() };
        for item in &level.items {
            let spread = |ends: &[(ItemId, usize)]| -> Vec<f64> {
                let ItemKind::Node(child) = item.kind else { return vec![0.0; ends.len()] };
                let ports = &levels[child];
                let of_port = |edge: usize| {
                    let port = *ports.ports.get(&edge)?;
                    Some(ports.items[port].x - sizes[child].width / 2.0)
                };
                let width = if sizes[child].width < 30.0 { 0.0 } else { sizes[child].width };
                spread(ends, &place, width)
                    .into_iter()
                    .zip(ends)
                    .map(|(even, (_, piece))| of_port(level.pieces[*piece].edge).unwrap_or(even))
                    .collect()
            };
            offsets.above.push(spread(&item.above));
            offsets.below.push(spread(&item.below));
        }
        offsets
    }

    /// Returns where a piece touches an item at its lower or upper border, from the left edge of
    /// the box around.
    pub(super) fn at(&self, level: &Level, item: ItemId, piece: usize, is_below: bool) -> f64 {
        let it = &level.items[item];
        let (ends, offsets) = match is_below {
            true => (&it.below, &self.below[item]),
            false => (&it.above, &self.above[item]),
        };
        it.x + ends.iter().position(|it| it.1 == piece).map_or(0.0, |at| offsets[at])
    }
}

/// Spreads the ends of arrows over the border of a box, in the order of where they go.
fn spread(ends: &[(ItemId, usize)], place: &[usize], width: f64) -> Vec<f64> {
    const STEP: f64 = 18.0;
    let mut order: Vec<usize> = (0..ends.len()).collect();
    order.sort_by_key(|it| place[ends[*it].0]);
    let step = STEP.min(0.8 * width / ends.len().max(1) as f64);
    let middle = (ends.len().max(1) - 1) as f64 / 2.0;
    let mut offsets = vec![0.0; ends.len()];
    for (rank, at) in order.into_iter().enumerate() {
        offsets[at] = (rank as f64 - middle) * step;
    }
    offsets
}

/// Places the items of a box; returns its width and height.
fn fill(
    level: &mut Level,
    words: &Words,
    sizes: &[Size],
    heading: &Size,
    offsets: &Offsets,
) -> (f64, f64) {
    for item in &mut level.items {
        (item.left, item.right, item.height) = match item.kind {
            ItemKind::Heading => (0.0, heading.width, heading.height),
            ItemKind::Node(child) => {
                let it = &sizes[child];
                let half = it.width / 2.0;
                (half, half + it.loops, it.height.max(it.loops_height))
            }
            ItemKind::Words { edge } => {
                let (width, height) = room(&words.edges[edge]);
                (0.0, WORDS_GAP + width, height + 2.0 * WORDS_PADDING)
            }
            ItemKind::Port { .. } | ItemKind::Bend => (0.0, 0.0, 0.0),
        };
    }
    pack(level);
    for pass in 0..PASSES {
        let count = level.layers.len();
        for step in 0..count {
            match pass % 2 {
                0 => settle(level, step, Pull::Above, offsets),
                _ => settle(level, count - 1 - step, Pull::Below, offsets),
            }
        }
    }
    for layer in 0..level.layers.len() {
        settle(level, layer, Pull::Both, offsets);
    }
    straighten(level);
    let edge = |it: &ItemId| level.items[*it].x - level.items[*it].left;
    let left = level.layers.iter().flatten().map(edge).fold(f64::INFINITY, f64::min);
    let mut width = heading.width;
    for item in &mut level.items {
        item.x += PADDING - left;
        width = width.max(item.x + item.right + PADDING);
    }
    (width, bounds(level, offsets).last().map_or(0.0, |it| it.1))
}

/// Returns top and bottom of each layer. Gaps are wider where arrows run far to the side.
pub(super) fn bounds(level: &Level, offsets: &Offsets) -> Vec<(f64, f64)> {
    let mut bounds = Vec::new();
    let mut y = 0.0;
    for (at, layer) in level.layers.iter().enumerate() {
        let height = layer.iter().map(|it| level.items[*it].height).fold(0.0, f64::max);
        bounds.push((y, y + height));
        y += height;
        if at + 1 == level.layers.len() {
            break;
        }
        let mut far: f64 = 0.0;
        let mut is_crossed = false;
        for item in layer {
            for (end, (below, piece)) in level.items[*item].below.iter().enumerate() {
                is_crossed = true;
                let from = level.items[*item].x + offsets.below[*item][end];
                let to = offsets.at(level, *below, *piece, false);
                far = far.max((from - to).abs());
            }
        }
        y += match is_crossed {
            true => (LAYER_GAP + 0.12 * far).min(LAYER_GAP_MAX),
            false => EMPTY_GAP,
        };
    }
    bounds
}

/// Begins with every layer packed to the left.
fn pack(level: &mut Level) {
    for layer in level.layers.clone() {
        let mut x = 0.0;
        let mut before: Option<ItemId> = None;
        for item in layer {
            if let Some(before) = before {
                x += distance(level, before, item);
            }
            level.items[item].x = x;
            before = Some(item);
        }
    }
}

/// Returns how far the lines of two neighbours stand apart, at least.
fn distance(level: &Level, left: ItemId, right: ItemId) -> f64 {
    let is_box = |it: ItemId| matches!(level.items[it].kind, ItemKind::Node(_));
    let gap = if is_box(left) && is_box(right) { BOX_GAP } else { LINE_GAP };
    level.items[left].right + gap + level.items[right].left
}

/// Which neighbours an item follows.
#[derive(Clone, Copy, PartialEq)]
enum Pull {
    Above,
    Below,
    Both,
}

/// Moves the items of a layer to where their neighbours want them.
fn settle(level: &mut Level, layer: usize, pull: Pull, offsets: &Offsets) {
    let items = level.layers[layer].clone();
    let middle = middle(level);
    let mut shift = 0.0;
    let mut shifts = Vec::new();
    let mut pools: Vec<(f64, f64, usize)> = Vec::new();
    for (at, item) in items.iter().enumerate() {
        if at > 0 {
            shift += distance(level, items[at - 1], *item);
        }
        shifts.push(shift);
        let (wanted, weight) = wanted(level, *item, pull, offsets, middle);
        pools.push(((wanted - shift) * weight, weight, 1));
        while let [.., (sum_a, weight_a, count_a), (sum_b, weight_b, count_b)] = pools[..]
            && sum_a / weight_a > sum_b / weight_b
        {
            pools.pop();
            pools.pop();
            pools.push((sum_a + sum_b, weight_a + weight_b, count_a + count_b));
        }
    }
    let mut at = 0;
    for (sum, weight, count) in pools {
        for _ in 0..count {
            level.items[items[at]].x = sum / weight + shifts[at];
            at += 1;
        }
    }
}

/// Makes arrows straight as far as their neighbours leave room: bends that can stand above each
/// other do.
fn straighten(level: &mut Level) {
    let mut neighbours = vec![(None, None); level.items.len()];
    for layer in &level.layers {
        for pair in layer.windows(2) {
            neighbours[pair[0]].1 = Some(pair[1]);
            neighbours[pair[1]].0 = Some(pair[0]);
        }
    }
    for piece in 0..level.pieces.len() {
        let chain = &level.pieces[piece].chain;
        let bends = chain.get(1..chain.len().saturating_sub(1)).unwrap_or_default().to_vec();
        let mut run: Vec<ItemId> = Vec::new();
        let mut room = (f64::NEG_INFINITY, f64::INFINITY);
        for bend in bends {
            let (left, right) = neighbours[bend];
            let least = left.map_or(f64::NEG_INFINITY, |it: ItemId| {
                level.items[it].x + distance(level, it, bend)
            });
            let most = right
                .map_or(f64::INFINITY, |it: ItemId| level.items[it].x - distance(level, bend, it));
            let both = (room.0.max(least), room.1.min(most));
            if both.0 > both.1 {
                align(level, &run, room);
                run.clear();
                room = (least, most);
            } else {
                room = both;
            }
            run.push(bend);
        }
        align(level, &run, room);
    }
}

/// Puts bends above each other, as near as can be to where they stand in the mean.
fn align(level: &mut Level, bends: &[ItemId], (least, most): (f64, f64)) {
    if bends.is_empty() || least > most {
        return;
    }
    let sum: f64 = bends.iter().map(|it| level.items[*it].x).sum();
    let x = (sum / bends.len() as f64).clamp(least, most);
    bends.iter().for_each(|it| level.items[*it].x = x);
}

/// Returns the middle of the boxes.
fn middle(level: &Level) -> f64 {
    let boxes = || level.of_node.values().map(|it| &level.items[*it]);
    let left = boxes().map(|it| it.x - it.left).fold(f64::INFINITY, f64::min);
    let right = boxes().map(|it| it.x + it.right).fold(f64::NEG_INFINITY, f64::max);
    (left + right) / 2.0
}

/// Returns where an item wants to stand, and how much. A port that nothing inside leads to wants
/// the middle.
fn wanted(level: &Level, item: ItemId, pull: Pull, offsets: &Offsets, middle: f64) -> (f64, f64) {
    const WEAK: f64 = 0.01;
    let it = &level.items[item];
    if it.kind == ItemKind::Heading {
        let edge = |it: &ItemId| level.items[*it].x - level.items[*it].left;
        let left = level.layers[1..].iter().flatten().map(edge).fold(f64::INFINITY, f64::min);
        return (if left.is_finite() { left } else { 0.0 }, WEAK);
    }
    let mut sum = 0.0;
    let mut weight = 0.0;
    let mut add = |ends: &[(ItemId, usize)], own: &[f64], is_above: bool| {
        for (end, (near, piece)) in ends.iter().enumerate() {
            // Long arrows are kept straight before boxes are brought together.
            let strength = match (is_line(it.kind), is_line(level.items[*near].kind)) {
                (true, true) => 8.0,
                (false, false) => 1.0,
                _ => 2.0,
            };
            sum += strength * (offsets.at(level, *near, *piece, is_above) - own[end]);
            weight += strength;
        }
    };
    if pull != Pull::Below {
        add(&it.above, &offsets.above[item], true);
    }
    if pull != Pull::Above {
        add(&it.below, &offsets.below[item], false);
    }
    let is_stub = it.above.is_empty() && it.below.is_empty() && is_line(it.kind);
    match weight {
        0.0 => (if is_stub { middle } else { it.x }, WEAK),
        _ => (sum / weight, weight),
    }
}

fn is_line(kind: ItemKind) -> bool {
    !matches!(kind, ItemKind::Node(_) | ItemKind::Heading)
}
