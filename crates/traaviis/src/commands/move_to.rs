//! `traaviis move`: puts a paused instance into other states by hand.

use traaviis_model::record::Operation;

use crate::{
    control::protocol::Ask,
    exit::Exit,
    operations::{self, DataArgs},
    output::Output,
};

/// Puts a paused instance into other states by hand.
///
/// States that stay active are not restarted. The others are left and entered as by a transition:
/// exit and entry actions run, timers and effects begin; calls wait until it is resumed.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Instance: its id or a unique beginning or end of it.
    id: String,
    /// Path of the state, such as `fulfil.payment`; one for each region of a parallel state.
    #[arg(required = true)]
    states: Vec<String>,
    /// Why; kept in the history.
    #[arg(long)]
    reason: String,
    #[command(flatten)]
    data: DataArgs,
}

/// Runs the command.
pub fn run(args: &Args, output: &Output) -> anyhow::Result<Exit> {
    let to = args.states.iter().map(|it| it.as_str().into()).collect();
    let operation = Operation::Move { to, reason: args.reason.as_str().into() };
    let ask = Ask::Operate { id: args.id.clone(), operation };
    operations::change(&args.data, ask, "moved", output)
}
