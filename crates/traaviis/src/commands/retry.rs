//! `traaviis retry`: tries again what waits in incidents, or lets a failed instance go on.

use crate::{
    control::protocol::Ask,
    exit::Exit,
    operations::{self, DataArgs},
    output::Output,
};

/// Tries again what the incidents of an instance are about, or lets an instance that has failed go
/// on where it failed.
///
/// What is recorded is not done again. The call that failed is made again with the same idempotency
/// key; calls that ran beside it follow their policy for unknown outcomes.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Instance: its id or a unique beginning or end of it. Or one incident, as
    /// `traaviis incidents` names it: `INSTANCE:NUMBER`.
    id: String,
    /// Why; kept in the history.
    #[arg(long)]
    reason: Option<String>,
    /// Make the call that failed with another idempotency key: its receiver takes it for a new one.
    #[arg(long)]
    as_new: bool,
    /// Only put a failed instance back, paused, so that you can mend it before `resume`.
    #[arg(long)]
    paused: bool,
    #[command(flatten)]
    data: DataArgs,
}

/// Runs the command.
pub fn run(args: &Args, output: &Output) -> anyhow::Result<Exit> {
    let ask = Ask::Retry {
        id: args.id.clone(),
        reason: args.reason.as_deref().map(Into::into),
        as_new: args.as_new,
        paused: args.paused,
    };
    operations::change(&args.data, ask, "tried again", output)
}
