//! Places between frames that were met before, so that a read from a position need not begin with
//! its segment.
//!
//! They are kept apart by some bytes of the log; when there are too many, every second one is
//! forgotten and they are kept twice as far apart.

use std::collections::BTreeMap;

use traaviis_ports::Position;

use crate::walk::Mark;

/// Bytes of the log between two marks at first: a read passes over so much in vain, well under a
/// millisecond.
const SPACING: u64 = 64 << 10;
/// Marks that are kept; about 1 MB.
const MARKS_MAX: usize = 8_192;

/// Marks by position.
#[derive(Debug)]
pub(crate) struct Marks {
    by_position: BTreeMap<Position, Mark>,
    spacing: u64,
}

impl Default for Marks {
    fn default() -> Marks {
        Marks { by_position: BTreeMap::new(), spacing: SPACING }
    }
}

impl Marks {
    /// Remembers a place, unless one shortly before it is known.
    pub(crate) fn note(&mut self, mark: Mark) {
        // A place whose frame before it is not known cannot be trusted to follow anything.
        if mark.previous.is_none() || self.is_near(mark) {
            return;
        }
        self.by_position.insert(mark.position, mark);
        if self.by_position.len() > MARKS_MAX {
            self.spacing *= 2;
            let mut is_kept = false;
            self.by_position.retain(|_, _| {
                is_kept = !is_kept;
                is_kept
            });
        }
    }

    /// Returns the last place at or before a position.
    pub(crate) fn before(&self, position: Position) -> Option<Mark> {
        self.by_position.range(..=position).next_back().map(|(_, mark)| *mark)
    }

    fn is_near(&self, mark: Mark) -> bool {
        self.before(mark.position).is_some_and(|it| {
            it.segment == mark.segment && mark.offset.saturating_sub(it.offset) < self.spacing
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::NO_HASH;

    /// The place before a record, when each takes a kilobyte.
    fn mark(position: Position) -> Mark {
        Mark { segment: 0, offset: position << 10, position, previous: Some(NO_HASH), epoch: 1 }
    }

    #[test]
    fn marks_are_kept_apart_and_found_from_behind() {
        let mut marks = Marks::default();
        (0..1_000).for_each(|it| marks.note(mark(it)));
        let cases = [(0, Some(0)), (63, Some(0)), (64, Some(64)), (999, Some(960))];
        for (position, expected) in cases {
            assert_eq!(marks.before(position).map(|it| it.position), expected, "{position}");
        }
        marks.note(Mark { segment: 970, ..mark(970) });
        assert_eq!(marks.before(999).map(|it| it.position), Some(970), "the first of a segment");
        marks.note(Mark { previous: None, ..mark(2_000) });
        assert_eq!(marks.before(3_000).map(|it| it.position), Some(970), "not trusted");
    }

    #[test]
    fn marks_have_a_limit() {
        let mut marks = Marks::default();
        for at in 0..3 * MARKS_MAX as u64 {
            marks.note(mark(at * 64));
        }
        let count = marks.by_position.len();
        assert!((MARKS_MAX / 2..=MARKS_MAX).contains(&count), "{count}");
        assert_eq!(marks.spacing, 4 * SPACING);
        assert_eq!(marks.before(Position::MAX).map(|it| it.position / 64 / 4), Some(6_143));
    }
}
