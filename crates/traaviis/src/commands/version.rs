//! `traaviis version`: the release and the formats it speaks.

use serde_json::json;
use traaviis_model::record::RECORD_VERSION;

use crate::{control::protocol, exit::Exit, output::Output};

/// Prints the version.
#[derive(Debug, clap::Args)]
pub struct Args {}

/// Runs the command.
pub fn run(_: &Args, output: &Output) -> anyhow::Result<Exit> {
    let version = env!("CARGO_PKG_VERSION");
    if output.is_json() {
        output.json(&json!({
            "version": version,
            "record": RECORD_VERSION,
            "control": protocol::VERSION,
        }));
    } else {
        output.line(&format!("traaviis {version} (records {RECORD_VERSION})"));
    }
    Ok(Exit::Ok)
}
