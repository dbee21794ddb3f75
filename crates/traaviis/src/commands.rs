//! One file per command: its arguments, what it does, what it prints.

pub mod bench;
pub mod cancel;
pub mod doctor;
pub mod fmt;
pub mod graph;
pub mod import;
pub mod log;
pub mod ps;
pub mod replay;
pub mod resolve;
pub mod run;
pub mod schema;
pub mod send;
pub mod show;
pub mod simulate;
pub mod validate;
pub mod version;
