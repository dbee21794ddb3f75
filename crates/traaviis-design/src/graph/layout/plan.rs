//! What stands in each box, which arrows concern it, and in which layer everything is.
//!
//! Layer 0 of a box holds its heading and the ports of its upper border, the last layer the ports
//! of its lower border. Between them even layers hold states and odd ones the words of arrows.

use std::collections::{BTreeMap, BTreeSet};

use crate::graph::{
    GraphError,
    layout::BENDS_MAX,
    picture::{NodeId, NodeKind, Picture},
};

/// Position of an item in [`Level::items`].
pub(super) type ItemId = usize;

/// What stands directly in one box.
#[derive(Debug, Default)]
pub(super) struct Level {
    pub items: Vec<Item>,
    pub layers: Vec<Vec<ItemId>>,
    /// Pieces of arrows.
    pub pieces: Vec<Piece>,
    /// The item of each node that stands here.
    pub of_node: BTreeMap<NodeId, ItemId>,
    /// The item where each arrow crosses the border.
    pub ports: BTreeMap<usize, ItemId>,
}

/// Something with a place in a layer.
#[derive(Debug)]
pub(super) struct Item {
    pub kind: ItemKind,
    pub layer: usize,
    /// Neighbours in the layers above and below, with the piece that joins them.
    pub above: Vec<(ItemId, usize)>,
    pub below: Vec<(ItemId, usize)>,
    /// Room to the left and right of `x`, and height; set when the box is placed.
    pub left: f64,
    pub right: f64,
    pub height: f64,
    /// Middle of a box, or the line of an arrow, counted from the left edge of the box around.
    pub x: f64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ItemKind {
    /// Name and lines of the box itself.
    Heading,
    Node(NodeId),
    /// Where an arrow crosses the border.
    Port {
        edge: usize,
    },
    Bend,
    /// A bend with the words of an arrow.
    Words {
        edge: usize,
    },
}

/// The part of an arrow between two items of a box.
#[derive(Debug)]
pub(super) struct Piece {
    pub edge: usize,
    /// Items from top to bottom.
    pub chain: Vec<ItemId>,
    /// The arrow runs upwards.
    pub is_up: bool,
}

/// A border of a box.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    Top,
    Bottom,
}

/// An arrow that ends, or goes on, inside a box and leaves it through a border.
#[derive(Clone, Copy, Debug)]
struct Crossing {
    edge: usize,
    side: Side,
    /// The end of the arrow here: the box itself or something inside.
    end: NodeId,
    /// The end is where the arrow begins.
    is_source: bool,
}

/// Plans all boxes; those of nodes without an inside are empty.
pub(super) fn levels(picture: &Picture) -> Result<Vec<Level>, GraphError> {
    let mut levels: Vec<Level> = picture.nodes.iter().map(|_| Level::default()).collect();
    let mut crossings: Vec<Vec<Crossing>> = picture.nodes.iter().map(|_| Vec::new()).collect();
    let mut inside: Vec<Vec<usize>> = picture.nodes.iter().map(|_| Vec::new()).collect();
    for (edge, it) in picture.edges.iter().enumerate() {
        if it.from != it.to {
            inside[meeting(picture, it.from, it.to)].push(edge);
        }
    }
    let mut bends = 0;
    for node in outside_in(picture) {
        if picture.nodes[node].children.is_empty() {
            continue;
        }
        let level = Level::default();
        let mut plan = Plan { picture, node, level, spans: Vec::new(), last: 0 };
        for edge in &inside[node] {
            plan.inner(*edge);
        }
        for crossing in std::mem::take(&mut crossings[node]) {
            plan.crossing(crossing);
        }
        let (level, passed) = plan.finish(BENDS_MAX - bends)?;
        for (child, crossing) in passed {
            crossings[child].push(crossing);
        }
        bends += level.items.iter().filter(|it| it.kind == ItemKind::Bend).count();
        levels[node] = level;
    }
    Ok(levels)
}

/// Returns the nodes, each after its parent; marks come last in a picture but have no inside.
fn outside_in(picture: &Picture) -> impl Iterator<Item = NodeId> {
    0..picture.nodes.len()
}

/// Returns the innermost box that holds an arrow: the box around both ends, or one of the ends.
fn meeting(picture: &Picture, from: NodeId, to: NodeId) -> NodeId {
    if picture.is_inside(to, from) {
        return from;
    }
    picture.ancestors(from).find(|it| *it == to || picture.is_inside(to, *it)).unwrap_or(0)
}

/// An end of a piece before layers are known.
#[derive(Clone, Copy, Debug)]
enum End {
    /// A node that stands here, and the end of the arrow in it.
    Node {
        node: NodeId,
        end: NodeId,
    },
    Port(Side),
}

/// A piece before layers are known, in the direction of the arrow.
#[derive(Debug)]
struct Span {
    edge: usize,
    from: End,
    to: End,
    has_words: bool,
}

struct Plan<'a> {
    picture: &'a Picture,
    node: NodeId,
    level: Level,
    spans: Vec<Span>,
    /// The layer of the lower border, once layers are known.
    last: usize,
}

impl Plan<'_> {
    /// Returns the node directly in this box that holds `end`.
    fn child(&self, end: NodeId) -> NodeId {
        let mut at = end;
        while self.picture.nodes[at].parent != self.node {
            at = self.picture.nodes[at].parent;
        }
        at
    }

    /// Adds an arrow that does not leave this box.
    fn inner(&mut self, edge: usize) {
        let it = &self.picture.edges[edge];
        let side = |end: NodeId, border| match end == self.node {
            true => End::Port(border),
            false => End::Node { node: self.child(end), end },
        };
        let (from, to) = (side(it.from, Side::Top), side(it.to, Side::Bottom));
        let has_words = !it.label.parts().is_empty();
        self.spans.push(Span { edge, from, to, has_words });
    }

    /// Adds the part of an arrow that leaves this box, or a port for one that ends at its border.
    fn crossing(&mut self, crossing: Crossing) {
        let Crossing { edge, side, end, is_source } = crossing;
        if end == self.node {
            // The last layer is not known yet; `finish` puts the item there.
            let layer = if side == Side::Top { 0 } else { usize::MAX };
            self.item(ItemKind::Port { edge }, layer);
            return;
        }
        let (inner, port) = (End::Node { node: self.child(end), end }, End::Port(side));
        let (from, to) = if is_source { (inner, port) } else { (port, inner) };
        self.spans.push(Span { edge, from, to, has_words: false });
    }

    fn item(&mut self, kind: ItemKind, layer: usize) -> ItemId {
        let (above, below) = (Vec::new(), Vec::new());
        let (left, right, height, x) = (0.0, 0.0, 0.0, 0.0);
        self.level.items.push(Item { kind, layer, above, below, left, right, height, x });
        let item = self.level.items.len() - 1;
        if let ItemKind::Port { edge } = kind {
            self.level.ports.insert(edge, item);
        }
        item
    }

    fn finish(mut self, bends_max: usize) -> Result<(Level, Vec<(NodeId, Crossing)>), GraphError> {
        let ranks = self.ranks();
        let last = 2 * ranks.values().max().map_or(0, |it| it + 1) + 2;
        self.last = last;
        self.item(ItemKind::Heading, 0);
        for child in self.picture.nodes[self.node].children.clone() {
            let item = self.item(ItemKind::Node(child), 2 * ranks[&child] + 2);
            self.level.of_node.insert(child, item);
        }
        for item in &mut self.level.items {
            item.layer = item.layer.min(last);
        }
        let mut passed = Vec::new();
        let mut bends = 0;
        // Words of each layer so far, so that they spread over the layers.
        let mut used = vec![0usize; last + 1];
        for span in std::mem::take(&mut self.spans) {
            let from = self.end(&span, span.from);
            let to = self.end(&span, span.to);
            let is_up = self.level.items[from].layer > self.level.items[to].layer;
            for (end, is_source) in [(span.from, true), (span.to, false)] {
                let End::Node { node, end } = end else { continue };
                let side = if is_source != is_up { Side::Bottom } else { Side::Top };
                if !self.picture.nodes[node].children.is_empty() {
                    passed.push((node, Crossing { edge: span.edge, side, end, is_source }));
                }
            }
            let (upper, lower) = if is_up { (to, from) } else { (from, to) };
            bends += self.level.items[lower].layer - self.level.items[upper].layer - 1;
            if bends > bends_max {
                return Err(GraphError::TooManyBends { bends: BENDS_MAX - bends_max + bends });
            }
            let chain = self.chain(&span, upper, lower, &mut used);
            self.join(&chain, self.level.pieces.len());
            self.level.pieces.push(Piece { edge: span.edge, chain, is_up });
        }
        self.level.layers = vec![Vec::new(); last + 1];
        for (at, item) in self.level.items.iter().enumerate() {
            self.level.layers[item.layer].push(at);
        }
        // The heading is the leftmost of its layer.
        self.level.layers[0].sort_by_key(|it| self.level.items[*it].kind != ItemKind::Heading);
        Ok((self.level, passed))
    }

    fn end(&mut self, span: &Span, end: End) -> ItemId {
        match end {
            End::Node { node, .. } => self.level.of_node[&node],
            End::Port(side) => {
                let layer = if side == Side::Top { 0 } else { self.last };
                self.item(ItemKind::Port { edge: span.edge }, layer)
            }
        }
    }

    /// Returns the items of a piece, with a bend in each layer between its ends.
    fn chain(
        &mut self,
        span: &Span,
        upper: ItemId,
        lower: ItemId,
        used: &mut [usize],
    ) -> Vec<ItemId> {
        let (top, bottom) = (self.level.items[upper].layer, self.level.items[lower].layer);
        let words = (top + 1..bottom)
            .filter(|it| it % 2 == 1 && span.has_words)
            .min_by_key(|it| (used[*it], it.abs_diff((top + bottom) / 2)));
        if let Some(layer) = words {
            used[layer] += 1;
        }
        let mut chain = vec![upper];
        for layer in top + 1..bottom {
            let kind = match words {
                Some(it) if it == layer => ItemKind::Words { edge: span.edge },
                _ => ItemKind::Bend,
            };
            chain.push(self.item(kind, layer));
        }
        chain.push(lower);
        chain
    }

    fn join(&mut self, chain: &[ItemId], piece: usize) {
        for pair in chain.windows(2) {
            self.level.items[pair[0]].below.push((pair[1], piece));
            self.level.items[pair[1]].above.push((pair[0], piece));
        }
    }

    /// Returns the rank of each node that stands here: arrows run down, but for those that close a
    /// circle, and a node stands close to what it leads to.
    fn ranks(&self) -> BTreeMap<NodeId, usize> {
        let children = &self.picture.nodes[self.node].children;
        let mut next: BTreeMap<NodeId, Vec<NodeId>> =
            children.iter().map(|it| (*it, Vec::new())).collect();
        for span in &self.spans {
            if let (End::Node { node: from, .. }, End::Node { node: to, .. }) = (span.from, span.to)
                && let Some(list) = next.get_mut(&from)
                && !list.contains(&to)
            {
                list.push(to);
            }
        }
        let sorted = without_circles(&self.starts(), &mut next);
        let mut ranks: BTreeMap<NodeId, usize> = children.iter().map(|it| (*it, 0)).collect();
        let mut has_above = BTreeSet::new();
        for node in &sorted {
            for to in &next[node] {
                ranks.insert(*to, ranks[to].max(ranks[node] + 1));
                has_above.insert(*to);
            }
        }
        for node in sorted.iter().rev().filter(|it| !has_above.contains(*it)) {
            if let Some(rank) = next[node].iter().map(|it| ranks[it]).min() {
                ranks.insert(*node, rank - 1);
            }
        }
        ranks
    }

    /// Returns the nodes in the order in which circles are looked for: where the box begins, where
    /// arrows come in, then the rest, history last.
    fn starts(&self) -> Vec<NodeId> {
        let children = &self.picture.nodes[self.node].children;
        let kind = |it: NodeId| self.picture.nodes[it].kind;
        let mut starts: Vec<NodeId> = children.clone();
        starts.sort_by_key(|it| match kind(*it) {
            NodeKind::Initial => 0,
            NodeKind::History { .. } => 2,
            _ => 1,
        });
        starts
    }
}

/// Turns round the arrows that close circles; returns the nodes with all arrows forward.
fn without_circles(starts: &[NodeId], next: &mut BTreeMap<NodeId, Vec<NodeId>>) -> Vec<NodeId> {
    let mut done = BTreeSet::new();
    let mut open = BTreeSet::new();
    let mut sorted = Vec::new();
    let mut turned = Vec::new();
    for start in starts {
        if done.contains(start) || open.contains(start) {
            continue;
        }
        // A stack of its own: a thousand states in a row would go deep.
        let mut stack = vec![(*start, 0)];
        open.insert(*start);
        while let Some((node, at)) = stack.last_mut() {
            let (node, index) = (*node, *at);
            *at += 1;
            match next[&node].get(index).copied() {
                Some(to) if open.contains(&to) => turned.push((node, to)),
                Some(to) if done.contains(&to) => {}
                Some(to) => {
                    open.insert(to);
                    stack.push((to, 0));
                }
                None => {
                    stack.pop();
                    open.remove(&node);
                    done.insert(node);
                    sorted.push(node);
                }
            }
        }
    }
    for (from, to) in turned {
        if let Some(list) = next.get_mut(&from) {
            list.retain(|it| *it != to);
        }
        if let Some(list) = next.get_mut(&to)
            && !list.contains(&from)
        {
            list.push(from);
        }
    }
    sorted.reverse();
    sorted
}
