//! The server in process: requests through the whole router, without a socket.

mod admin;
mod browsers;
mod factors;
mod flow;
mod interface;
mod limits;
mod lists;
mod matrix;
mod operating;
mod promises;
mod refusals;
mod rights;
mod sockets;
mod usage;
mod versions;
mod world;
