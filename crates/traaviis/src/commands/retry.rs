//! `traaviis retry`: answers every incident of an instance with another try.

use crate::{
    control::protocol::Ask,
    exit::Exit,
    operations::{self, DataArgs},
    output::Output,
};

/// Tries again what the incidents of an instance are about.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Instance: its id or a unique beginning or end of it.
    id: String,
    #[command(flatten)]
    data: DataArgs,
}

/// Runs the command.
pub fn run(args: &Args, output: &Output) -> anyhow::Result<Exit> {
    let ask = Ask::Retry { id: args.id.clone() };
    operations::change(&args.data, ask, "tried again", output)
}
