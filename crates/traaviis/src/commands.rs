//! One file per command: its arguments, what it does, what it prints.

pub mod bench;
pub mod cancel;
pub mod doctor;
pub mod edit;
pub mod import;
pub mod incidents;
pub mod log;
pub mod logs;
pub mod move_to;
pub mod pause;
pub mod ps;
pub mod replay;
pub mod resolve;
pub mod retry;
pub mod run;
pub mod schema;
pub mod send;
pub mod show;
pub mod simulate;
pub mod test;
pub mod validate;
pub mod version;
