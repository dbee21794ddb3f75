//! The order of items in each layer, so that few arrows cross.
//!
//! Layers are swept down and up; each item goes to the mean of its neighbours in the layer before.
//! The order with the fewest crossings is kept.

use crate::graph::layout::plan::{ItemId, ItemKind, Level};

/// Sweeps over all layers; later ones hardly change anything.
const SWEEPS: usize = 16;
/// Items above which fewer sweeps must do.
const ITEMS_MANY: usize = 20_000;

/// Sorts the layers of a box.
pub(super) fn sort(level: &mut Level) {
    if level.layers.is_empty() {
        return;
    }
    start(level);
    let sweeps = if level.items.len() > ITEMS_MANY { 4 } else { SWEEPS };
    let mut best = (crossings(level), level.layers.clone());
    let mut place = vec![0.0; level.items.len()];
    for sweep in 0..sweeps {
        if best.0 == 0 {
            break;
        }
        let count = level.layers.len();
        for step in 1..count {
            match sweep % 2 {
                0 => sweep_layer(level, step, true, &mut place),
                _ => sweep_layer(level, count - 1 - step, false, &mut place),
            }
        }
        let found = crossings(level);
        if found < best.0 {
            best = (found, level.layers.clone());
        }
    }
    level.layers = best.1;
}

/// Begins with the order in which arrows reach the items, so that trees have no crossings.
fn start(level: &mut Level) {
    let mut seen = vec![false; level.items.len()];
    let mut order = vec![Vec::new(); level.layers.len()];
    let roots: Vec<ItemId> = level.layers.iter().flatten().copied().collect();
    for root in roots {
        let mut stack = vec![root];
        while let Some(item) = stack.pop() {
            if std::mem::replace(&mut seen[item], true) {
                continue;
            }
            order[level.items[item].layer].push(item);
            stack.extend(level.items[item].below.iter().rev().map(|(it, _)| *it));
        }
    }
    level.layers = order;
    keep_heading_first(level);
}

fn keep_heading_first(level: &mut Level) {
    let items = &level.items;
    level.layers[0].sort_by_key(|it| items[*it].kind != ItemKind::Heading);
}

fn positions(level: &Level, layer: usize) -> Vec<(ItemId, usize)> {
    level.layers[layer].iter().enumerate().map(|(at, item)| (*item, at)).collect()
}

fn sweep_layer(level: &mut Level, layer: usize, is_down: bool, place: &mut [f64]) {
    let before = if is_down { layer - 1 } else { layer + 1 };
    for (item, at) in positions(level, before) {
        place[item] = at as f64;
    }
    let mut wanted: Vec<(f64, ItemId)> = Vec::new();
    for (item, at) in positions(level, layer) {
        let it = &level.items[item];
        let near = if is_down { &it.above } else { &it.below };
        let sum: f64 = near.iter().map(|(it, _)| place[*it]).sum();
        // What nothing pulls stays where it is.
        wanted.push((if near.is_empty() { at as f64 } else { sum / near.len() as f64 }, item));
    }
    wanted.sort_by(|a, b| a.0.total_cmp(&b.0));
    level.layers[layer] = wanted.into_iter().map(|(_, item)| item).collect();
    keep_heading_first(level);
}

/// Counts the crossings between all layers.
fn crossings(level: &Level) -> usize {
    let mut place = vec![0; level.items.len()];
    for layer in &level.layers {
        for (at, item) in layer.iter().enumerate() {
            place[*item] = at;
        }
    }
    level.layers.iter().map(|layer| crossings_below(level, layer, &place)).sum()
}

/// Counts the pairs of ends in the wrong order with a tree of sums.
fn crossings_below(level: &Level, layer: &[ItemId], place: &[usize]) -> usize {
    let mut ends = Vec::new();
    for item in layer {
        let mut below: Vec<usize> =
            level.items[*item].below.iter().map(|(it, _)| place[*it]).collect();
        below.sort_unstable();
        ends.extend(below);
    }
    let size = ends.iter().max().map_or(0, |it| it + 1);
    let mut sums = vec![0usize; size + 1];
    let mut count = 0;
    for (seen, end) in ends.iter().enumerate() {
        let mut at = end + 1;
        let mut not_right = 0;
        while at > 0 {
            not_right += sums[at];
            at &= at - 1;
        }
        count += seen - not_right;
        let mut at = end + 1;
        while at <= size {
            sums[at] += 1;
            at += at & at.wrapping_neg();
        }
    }
    count
}
