//! `traaviis edit`: changes the data of an instance by hand.

use traaviis_model::record::Operation;

use crate::{
    control::protocol::Ask,
    exit::Exit,
    input,
    operations::{self, DataArgs},
    output::Output,
};

/// Changes the data of an instance by hand.
///
/// The data must fit their schema afterwards. What follows from them happens in the same step,
/// unless the instance is paused.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Instance: its id or a unique beginning or end of it.
    id: String,
    /// JSON Patch with `add`, `replace` and `remove`: a JSON file, `-` for standard input, or JSON
    /// text such as '[{"op": "replace", "path": "/amount", "value": 10}]'.
    #[arg(value_name = "FILE|-|JSON")]
    patch: String,
    /// Why; kept in the history.
    #[arg(long)]
    reason: String,
    #[command(flatten)]
    data: DataArgs,
}

/// Runs the command.
pub fn run(args: &Args, output: &Output) -> anyhow::Result<Exit> {
    let patch = input::patch(&args.patch)?;
    let operation = Operation::EditData { patch, reason: args.reason.as_str().into() };
    let ask = Ask::Operate { id: args.id.clone(), operation };
    operations::change(&args.data, ask, "data changed", output)
}
