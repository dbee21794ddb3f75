//! The way in over HTTP: every row of the table of operations as a route.
//!
//! ```text
//! connection -> front -> router (of the table) -> request -> caller -> right -> handler -> answer
//! ```
//!
//! Reading order: [`app`] (what is shared), [`routes`] (the table becomes a router), [`request`]
//! (what a caller sent, checked), [`limits`] (how often), [`handle`] (who may, then what is done),
//! `live` (histories that go on), [`socket`] (channels), `front` (what stands before the router),
//! [`mod@listen`] (connections and their limits).
//!
//! Invariants: a handler runs only after the right of its row was checked; a thing of another
//! tenant is answered like one that is not there; what a caller sent is never told to a log.

mod address;
pub mod app;
pub mod convert;
mod followers;
mod front;
pub mod handle;
mod host;
mod idempotency;
pub mod limits;
pub mod listen;
mod live;
mod looked;
pub mod metrics;
pub mod operate;
mod parts;
mod payloads;
pub mod request;
pub mod routes;
pub mod socket;

mod tickets;
mod whole;

pub use app::App;
pub use axum::Router;
pub use front::Front;
pub use listen::{Bound, Listening, listen};
pub use routes::{admin_router, router};
