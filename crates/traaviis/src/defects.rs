//! Work that goes on after a defect of this program: the next turn begins anew.

use std::panic::{AssertUnwindSafe, catch_unwind};

/// Takes a turn of some work; none when it has panicked.
///
/// What is shared by turns is what requests share, too, which go on in the same way.
pub fn outlive<T>(work: &str, turn: impl FnOnce() -> T) -> Option<T> {
    let taken = catch_unwind(AssertUnwindSafe(turn));
    if taken.is_err() {
        tracing::error!(
            code = "internal",
            work,
            "a turn of this work has met a defect; it goes on"
        );
    }
    taken.ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_turn_that_panics_is_outlived() {
        let turns: Vec<Option<u32>> = (0..3)
            .map(|it| outlive("test", || if it == 1 { panic!("as planned") } else { it }))
            .collect();
        assert_eq!(turns, [Some(0), None, Some(2)]);
    }
}
