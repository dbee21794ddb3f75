//! What evaluations may spend, and how often they have drawn.

use traaviis_model::limits::EXPRESSION_COST_MAX;

use super::fault::Fault;

/// What evaluations may still spend, and how often they have drawn.
///
/// Sharing one budget among the expressions of a step keeps their `uuid()` apart;
/// [`Budget::refill`] gives the next of them the full cost again.
#[derive(Clone, Debug)]
pub struct Budget {
    left: u64,
    limit: u64,
    draws: u64,
}

impl Default for Budget {
    fn default() -> Self {
        Budget::new()
    }
}

impl Budget {
    /// Returns the budget of one evaluation.
    pub fn new() -> Self {
        Budget::with_cost(EXPRESSION_COST_MAX)
    }

    /// Returns a budget of `limit` units.
    pub fn with_cost(limit: u64) -> Self {
        Budget { left: limit, limit, draws: 0 }
    }

    /// Returns the units spent since the start or the last refill.
    pub fn spent(&self) -> u64 {
        self.limit - self.left
    }

    /// Restores the units and keeps the count of draws.
    pub fn refill(&mut self) {
        self.left = self.limit;
    }

    pub(in crate::expr) fn draw(&mut self) -> u64 {
        self.draws += 1;
        self.draws
    }

    #[inline]
    pub(in crate::expr) fn charge(&mut self, units: usize) -> Result<(), Fault> {
        match self.left.checked_sub(units as u64) {
            Some(left) => {
                self.left = left;
                Ok(())
            }
            None => {
                self.left = 0;
                Err(Fault::limit(format!("expression costs more than {} units", self.limit)))
            }
        }
    }
}
