//! `traaviis pause` and `traaviis resume`: stops an instance between two steps, and lets it go on.

use traaviis_model::record::Operation;

use crate::{
    control::protocol::Ask,
    exit::Exit,
    operations::{self, DataArgs},
    output::Output,
};

/// Pauses or resumes an instance.
///
/// A paused instance takes no event, no timer and begins no call. Calls that run end, and what they
/// gave is kept and taken when it is resumed.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Instance: its id or a unique beginning or end of it.
    id: String,
    /// Why; kept in the history.
    #[arg(long)]
    reason: Option<String>,
    #[command(flatten)]
    data: DataArgs,
}

/// Runs `pause`.
pub fn pause(args: &Args, output: &Output) -> anyhow::Result<Exit> {
    let reason = args.reason.as_deref().map(Into::into);
    let ask = Ask::Operate { id: args.id.clone(), operation: Operation::Pause { reason } };
    operations::change(&args.data, ask, "pause asked for", output)
}

/// Runs `resume`.
pub fn resume(args: &Args, output: &Output) -> anyhow::Result<Exit> {
    let reason = args.reason.as_deref().map(Into::into);
    let ask = Ask::Operate { id: args.id.clone(), operation: Operation::Resume { reason } };
    operations::change(&args.data, ask, "resumed", output)
}
