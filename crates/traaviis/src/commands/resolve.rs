//! `traaviis resolve`: a person's answer to an incident.

use crate::{
    control::protocol::{Ask, Decision},
    exit::Exit,
    input,
    operations::{self, DataArgs},
    output::Output,
};

/// Answers an incident: an outcome nobody recorded, or a step that could not be taken.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Incident, as `traaviis incidents` names it: `INSTANCE:NUMBER`. Or an instance: its id or a
    /// unique beginning or end of it.
    id: String,
    /// Effect or timer that the incident names, when the instance has several incidents.
    path: Option<String>,
    #[command(flatten)]
    decision: DecisionArgs,
    /// Why; kept in the history.
    #[arg(long)]
    reason: Option<String>,
    #[command(flatten)]
    data: DataArgs,
}

#[derive(Debug, clap::Args)]
#[group(required = true, multiple = false)]
struct DecisionArgs {
    /// The call happened, and gave this value.
    #[arg(long, value_name = "JSON")]
    happened: Option<String>,
    /// Try again: the call with the same idempotency key, or the step that could not be taken.
    #[arg(long)]
    retry: bool,
    /// The effect has failed; without an effect, the instance.
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
    let reason = args.reason.as_deref().map(Into::into);
    let ask = Ask::Resolve { id: args.id.clone(), path: args.path.clone(), decision, reason };
    let named = args.path.as_deref().map_or("incident".to_string(), |it| format!("`{it}`"));
    operations::change(&args.data, ask, &format!("{named} {what}"), output)
}
