//! `traaviis broadcast`: one event for many instances at once.

use std::collections::BTreeMap;

use traaviis_model::Text;
use traaviis_runtime::Filter;

use crate::{
    control::protocol::Ask,
    exit::{Exit, Failure},
    input,
    operations::{Changer, DataArgs},
    output::Output,
};

/// Sends an event to every open instance that fits, at most 9,999 of them.
///
/// All are sent it at once; `traaviis bulk send` goes at a rate, and can be gone on with. The exit
/// code is 1 when an instance refused.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Name of the event.
    event: String,
    /// Payload as JSON, or `-` to read it from standard input.
    payload: Option<String>,
    /// Those of this workflow.
    #[arg(long, value_name = "NAME")]
    workflow: Option<String>,
    /// Those with this tag; may be repeated, then all must be there.
    #[arg(long = "tag", value_name = "TAG")]
    tags: Vec<String>,
    /// Those in this state, as `traaviis ps` shows it.
    #[arg(long)]
    state: Option<String>,
    /// All open instances.
    #[arg(long)]
    all: bool,
    /// Name of the broadcast: sent again with the same one, it reaches nobody twice.
    #[arg(long, value_name = "KEY")]
    key: Option<String>,
    #[command(flatten)]
    data: DataArgs,
}

/// Runs the command.
pub fn run(args: &Args, output: &Output) -> anyhow::Result<Exit> {
    let text = |it: &Option<String>| it.as_deref().map(Text::from);
    let filter = Filter {
        workflow: text(&args.workflow),
        state: text(&args.state),
        tags: args.tags.iter().map(|it| it.as_str().into()).collect(),
        ..Filter::default()
    };
    if filter == Filter::default() && !args.all {
        let message =
            "name the instances by `--workflow`, `--tag` or `--state`, or all with `--all`";
        return Err(Failure::usage(message).into());
    }
    let data = input::payload(args.payload.as_deref())?;
    let (event, key) = (args.event.as_str().into(), args.key.clone());
    let changer = Changer::open(&args.data)?;
    let result = changer.ask(Ask::Broadcast { event, data, filter, key });
    changer.close()?;
    let answer = result?;
    let empty = Vec::new();
    let refused = answer["refused"].as_array().unwrap_or(&empty);
    let exit = if refused.is_empty() { Exit::Ok } else { Exit::Finding };
    if output.is_json() {
        output.json(&answer);
        return Ok(exit);
    }
    let (event, taken, count) = (&args.event, &answer["taken"], refused.len());
    output.line(&format!("event `{event}`: {taken} took it, {count} refused"));
    let mut groups: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for it in refused {
        let text = |key: &str| it[key].as_str().unwrap_or_default();
        // The same reason is told once, whoever it is about.
        let why = text("message").replace(text("instance"), "ID");
        groups.entry(format!("{why} ({})", text("code"))).or_default().push(text("instance"));
    }
    for (why, ids) in groups {
        output.line(&format!("  {} refused, such as {}: {why}", ids.len(), ids[0]));
    }
    Ok(exit)
}
