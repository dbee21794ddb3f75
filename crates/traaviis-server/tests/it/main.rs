//! The server in process: requests through the whole router, without a socket.

mod factors;
mod flow;
mod matrix;
mod refusals;
mod world;
