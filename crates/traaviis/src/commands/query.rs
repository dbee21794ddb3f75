//! `traaviis query`: a question about the state of one instance.

use traaviis_platform::tenant::Payloads;

use crate::{
    control::protocol::Ask,
    exit::Exit,
    operations::{self, ReadArgs},
    output::Output,
};

/// Evaluates an expression over the state of an instance.
///
/// It reads `data`, `configuration`, `status` and `pending` (`timers`, `effects`, `tasks`,
/// `children`, `deferred`), as they are after the last record. Nothing is recorded.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Instance: its id or a unique beginning or end of it.
    id: String,
    /// CEL expression, such as 'data.items.filter(it, it.open)'.
    #[arg(value_name = "CEL")]
    select: String,
    #[command(flatten)]
    data: ReadArgs,
}

/// Runs the command.
pub fn run(args: &Args, output: &Output) -> anyhow::Result<Exit> {
    let ask = Ask::Query { id: args.id.clone(), select: args.select.clone(), sees: Payloads::Full };
    let answer = operations::ask(&args.data, ask)?;
    match output.is_json() {
        true => output.json(&answer),
        false => output.json(&answer["value"]),
    };
    Ok(Exit::Ok)
}
