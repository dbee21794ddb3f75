//! Failures of nodes: something is missing, costs too much, or makes no sense.

use crate::expr::EvalError;

/// Why a node gave no value.
#[derive(Debug)]
pub struct Fault(Box<Problem>);

#[derive(Debug)]
struct Problem {
    sort: Sort,
    message: String,
}

#[derive(Debug, PartialEq, Eq)]
enum Sort {
    /// Something asked for is not there; `default` and `coalesce` absorb it.
    Missing,
    Limit,
    Other,
}

impl Fault {
    #[cold]
    pub(in crate::expr) fn other(message: impl Into<String>) -> Fault {
        Fault(Box::new(Problem { sort: Sort::Other, message: message.into() }))
    }

    #[cold]
    pub(in crate::expr) fn limit(message: impl Into<String>) -> Fault {
        Fault(Box::new(Problem { sort: Sort::Limit, message: message.into() }))
    }

    #[cold]
    pub(in crate::expr) fn missing(message: impl Into<String>) -> Fault {
        Fault(Box::new(Problem { sort: Sort::Missing, message: message.into() }))
    }

    pub(super) fn is_missing(&self) -> bool {
        self.0.sort == Sort::Missing
    }

    pub(super) fn is_limit(&self) -> bool {
        self.0.sort == Sort::Limit
    }
}

impl From<Fault> for EvalError {
    fn from(fault: Fault) -> EvalError {
        let code = if fault.is_limit() { EvalError::LIMIT } else { EvalError::ERROR };
        EvalError { code, message: fault.0.message }
    }
}
