//! `traaviis skip`: leaves an effect out and goes on with a given value.

use crate::{
    control::protocol::Ask,
    exit::Exit,
    input,
    operations::{self, DataArgs},
    output::Output,
};

/// Leaves out an effect that waits in an incident, or in which the instance has failed, and goes on
/// with a value for it.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Instance: its id or a unique beginning or end of it. Or the incident, as
    /// `traaviis incidents` names it, where several are about the same effect: `INSTANCE:NUMBER`.
    id: String,
    /// Effect, as the incident or the error names it.
    path: String,
    /// What it gives, as JSON.
    #[arg(default_value = "null")]
    value: String,
    /// Why; kept in the history.
    #[arg(long)]
    reason: String,
    #[command(flatten)]
    data: DataArgs,
}

/// Runs the command.
pub fn run(args: &Args, output: &Output) -> anyhow::Result<Exit> {
    let ask = Ask::Skip {
        id: args.id.clone(),
        path: args.path.as_str().into(),
        value: input::json(&args.value, "the value")?,
        reason: args.reason.as_str().into(),
    };
    operations::change(&args.data, ask, &format!("`{}` left out", args.path), output)
}
