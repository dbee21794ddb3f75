//! `traaviis cancel`: asks for the end of an instance.

use crate::{
    control::protocol::Ask,
    exit::Exit,
    operations::{self, DataArgs},
    output::Output,
};

/// Cancels an instance: completed work is compensated as the workflow says.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Instance: its id or a unique beginning or end of it.
    id: String,
    /// End at once: no exit actions, no compensation.
    #[arg(long)]
    terminate: bool,
    /// Why; kept in the history.
    #[arg(long)]
    reason: Option<String>,
    #[command(flatten)]
    data: DataArgs,
}

/// Runs the command.
pub fn run(args: &Args, output: &Output) -> anyhow::Result<Exit> {
    let ask =
        Ask::Cancel { id: args.id.clone(), terminate: args.terminate, reason: args.reason.clone() };
    let what = if args.terminate { "termination asked for" } else { "cancellation asked for" };
    operations::change(&args.data, ask, what, output)
}
