//! `traaviis send`: an event for a waiting instance.

use crate::{
    control::protocol::Ask,
    exit::Exit,
    input,
    operations::{self, DataArgs},
    output::Output,
};

/// Sends an event to an instance.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Instance: its id or a unique beginning or end of it.
    id: String,
    /// Name of the event.
    event: String,
    /// Payload as JSON.
    payload: Option<String>,
    #[command(flatten)]
    source: DataArgs,
}

/// Runs the command.
pub fn run(args: &Args, output: &Output) -> anyhow::Result<Exit> {
    let data = match &args.payload {
        Some(text) => input::json(text, "the payload")?,
        None => traaviis_model::Value::Null,
    };
    let ask = Ask::Send { id: args.id.clone(), event: args.event.clone(), data, event_id: None };
    operations::change(&args.source, ask, &format!("event `{}` taken", args.event), output)
}
