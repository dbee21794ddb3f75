//! A small shop backend for examples and tests: inventory, payments and shipping behind one port.
//!
//! It honours `Idempotency-Key`: a key is executed once, whatever the number of deliveries, and the
//! ledger shows both counts. It can be told to fail, hang or answer late, so that a test can choose
//! the moment at which the caller or this service dies. It is no model of a secure service: whoever
//! reaches the port may do everything.
//!
//! Invariants:
//! - An execution is in the ledger file, synced, before its response leaves.
//! - A key that was executed answers with the stored response, also after a restart.
//! - Requests of one key run one after the other; the later ones wait for the first.

mod behaviour;
mod ledger;
mod operation;
mod server;

pub use behaviour::{Behaviour, Mode};
pub use ledger::{Entry, Ledger};
pub use operation::Operation;
pub use server::{Service, router};
