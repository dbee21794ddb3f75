//! Time that does not begin before the last commit.

use std::sync::Arc;

use traaviis_model::{Span, Timestamp};
use traaviis_ports::Clock;

/// A clock that is ahead of another by a fixed span.
struct Ahead {
    clock: Arc<dyn Clock>,
    by: Span,
}

impl Clock for Ahead {
    fn now(&self) -> Timestamp {
        self.clock.now().plus(self.by)
    }
}

/// Returns a clock that begins no earlier than `floor`.
///
/// A wall clock that was set back while the process was away would otherwise make every timer late
/// by as much; so time goes on from the last commit.
pub(crate) fn not_before(clock: Arc<dyn Clock>, floor: Timestamp) -> Arc<dyn Clock> {
    let by = floor.since(clock.now());
    if by.0 <= 0 {
        return clock;
    }
    Arc::new(Ahead { clock, by })
}
