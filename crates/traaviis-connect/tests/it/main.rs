//! The connector against a peer on loopback that does what it is told.

mod call_api;
mod connector;
mod functions;
mod mail;
mod notify;
mod peer;
