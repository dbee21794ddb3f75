//! What the outside sees: the table of operations, the types on the wire, the codes of refusals.
//!
//! Everything that can be reached stands as one row in [`operation`]: routes, permissions, the
//! OpenAPI document and the matrix of rights are made from it, so nothing can be reachable and
//! unprotected. There are no handlers here.

pub mod channels;
pub mod example;
pub mod openapi;
pub mod operation;
pub mod problem;
mod shape;
pub mod types;

pub use operation::{Access, Method, Op, Operation};
pub use problem::Problem;
