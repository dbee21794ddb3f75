//! The pure engine: `(machine, snapshot, input, now) -> (records, snapshot, requests)`.
//!
//! A [`Machine`] is a compiled definition. [`start`] and [`step()`] decide; they read no clock,
//! touch no file and keep nothing. The runtime commits the records, then performs the requests.
//!
//! Reading order: [`expand`] (components merged into a document), [`machine`] (what a definition
//! compiles to), [`step`](mod@step) (inputs, one macrostep), [`effects`] (effect trees),
//! [`replay`](mod@replay), [`expr`] (CEL), [`analysis`] (what a definition that compiles probably
//! gets wrong), [`query`](mod@query) (what instances read of each other), [`testing`] (the test
//! cases of a document, on [`simulate`]), [`diff`](mod@diff) (what two versions do differently),
//! [`upgrade`](mod@upgrade) (open instances go on with another version).

pub mod analysis;
mod cost;
pub mod diff;
pub mod effects;
pub mod expand;
pub mod expr;
pub mod gates;
pub mod machine;
mod privacy;
pub mod query;
pub mod replay;
pub mod simulate;
pub mod step;
pub mod testing;
pub mod upgrade;

pub use cost::asks_models;
pub use diff::diff;
pub use effects::priority_of;
pub use machine::Machine;
pub use query::{QueryError, query};
pub use replay::{Divergence, ReplayError, replay, replay_against, replay_versions};
pub use step::{
    Birth, Branch, Fork, GuardWatch, Input, Marks, Recovery, Rejection, Request, Resolution, Retry,
    Step, StepContext, checked_input, correlation_key, hold, plan_fork, plan_retry, recover, start,
    start_born, start_watched, step, step_watched,
};
pub use upgrade::{Class, Gap, classify, roll_back, upgrade};

#[cfg(test)]
mod tests;
