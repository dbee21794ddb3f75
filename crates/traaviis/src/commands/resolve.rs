//! `traaviis resolve`: a person's answer to an unknown outcome.

use crate::{
    control::protocol::{Ask, Decision},
    exit::Exit,
    input,
    operations::{self, DataArgs},
    output::Output,
};

/// Decides a call whose outcome nobody recorded.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Instance: its id or a unique beginning or end of it.
    id: String,
    /// Node of the effect, as the incident names it.
    path: String,
    #[command(flatten)]
    decision: DecisionArgs,
    #[command(flatten)]
    data: DataArgs,
}

#[derive(Debug, clap::Args)]
#[group(required = true, multiple = false)]
struct DecisionArgs {
    /// It happened, and gave this value.
    #[arg(long, value_name = "JSON")]
    happened: Option<String>,
    /// It did not happen: try again with the same idempotency key.
    #[arg(long)]
    retry: bool,
    /// Treat it as failed.
    #[arg(long)]
    fail: bool,
}

/// Runs the command.
pub fn run(args: &Args, output: &Output) -> anyhow::Result<Exit> {
    let (decision, what) = match &args.decision {
        DecisionArgs { happened: Some(text), .. } => {
            (Decision::Happened(input::json(text, "the value")?), "recorded as happened")
        }
        DecisionArgs { retry: true, .. } => (Decision::Retry, "to be tried again"),
        _ => (Decision::Fail, "recorded as failed"),
    };
    let ask = Ask::Resolve { id: args.id.clone(), path: args.path.clone(), decision };
    operations::change(&args.data, ask, &format!("`{}` {what}", args.path), output)
}
