//! `traaviis fork`: a new instance from a position in the history of another.

use serde_json::json;
use traaviis_model::{
    Seq,
    record::{PatchOp, Results},
};

use crate::{
    control::protocol::{Ask, ForkAsk},
    exit::Exit,
    input,
    operations::{self, DataArgs},
    output::Output,
};

/// Starts a new instance that goes on from a position in the history of another.
///
/// Until there everything is as recorded. After it, calls are answered from the record of the
/// original as long as they ask the same; one that the record does not hold waits in an incident,
/// so that nothing is done twice unless you say so. With `--live` the fork calls for real.
/// A fork has no parent, no children and no business key; its timers keep the time they had left.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Original: its id or a unique beginning or end of it.
    id: String,
    /// Last record of the original that counts; without it, the last of all.
    #[arg(long, value_name = "SEQ")]
    at: Option<Seq>,
    /// Make calls for real, with idempotency keys of the fork.
    #[arg(long)]
    live: bool,
    /// Change the data of the fork: JSON Patch as for `edit`.
    #[arg(long, value_name = "FILE|-|JSON")]
    patch: Option<String>,
    /// Begin paused, to edit, move or upgrade the fork before it runs.
    #[arg(long)]
    paused: bool,
    /// Start nothing; say what the fork would be and which calls it would make at once.
    #[arg(long)]
    dry_run: bool,
    /// Why; kept in the history.
    #[arg(long)]
    reason: Option<String>,
    #[command(flatten)]
    data: DataArgs,
}

/// Runs the command.
pub fn run(args: &Args, output: &Output) -> anyhow::Result<Exit> {
    let patch: Vec<PatchOp> = match &args.patch {
        Some(text) => input::patch(text)?,
        None => Vec::new(),
    };
    let fork = ForkAsk {
        at: args.at,
        reason: args.reason.as_deref().map(Into::into),
        results: if args.live { Results::Live } else { Results::Recorded },
        patch,
        paused: args.paused,
        dry_run: args.dry_run,
    };
    let ask = Ask::Fork { id: args.id.clone(), fork };
    if !args.dry_run {
        return operations::change(&args.data, ask, "forked", output);
    }
    let answer = operations::ask(&args.data, ask)?;
    if output.is_json() {
        output.json(&answer);
        return Ok(Exit::Ok);
    }
    let text = |key: &str| answer[key].as_str().unwrap_or_default();
    output.line(&format!("from record {}", answer["forked_from"]["seq"]));
    output.line(&format!("status    {} in `{}`", text("status"), text("state")));
    output.line(&format!("data      {}", answer["data"]));
    if !args.live {
        output.line(&format!("recorded  {} results after it", answer["recorded_results"]));
    }
    let calls = answer["calls"].as_array().map(Vec::as_slice).unwrap_or_default();
    for call in calls {
        let text = |key: &str| call[key].as_str().unwrap_or_default();
        output.line(&format!(
            "calls     {} ({}) with key {}",
            text("path"),
            text("kind"),
            text("key")
        ));
    }
    if answer["incidents"] != json!(0) {
        output.line(&format!("incidents {}", answer["incidents"]));
    }
    Ok(Exit::Ok)
}
