//! The server in process: requests through the whole router, without a socket.

mod admin;
mod factors;
mod flow;
mod limits;
mod matrix;
mod refusals;
mod usage;
mod world;
