//! `traaviis effects`: effects of all open instances, and those that somebody has one run.

use clap::builder::PossibleValuesParser;
use serde_json::Value as Json;
use traaviis_model::{
    document::{Format, read_tree},
    record::Asked,
    snapshot::NodeStatus,
};

use crate::{
    control::protocol::{Ask, EffectFilter},
    exit::{Exit, Failure},
    input,
    operations::{self, Changer, DataArgs},
    output::Output,
    terminal::{clip, table},
};

/// Lists effects of open instances that run, wait or failed; has an instance run one.
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Args {
    #[command(subcommand)]
    command: Option<Command>,
    /// Only those of this instance: its id or a unique beginning or end of it.
    #[arg(long, value_name = "ID")]
    instance: Option<String>,
    /// Only those of this kind.
    #[arg(long)]
    kind: Option<String>,
    /// Only those that stand so.
    #[arg(long, value_parser = PossibleValuesParser::new(NodeStatus::OPEN_WORDS))]
    status: Option<String>,
    /// How many at most.
    #[arg(long, value_name = "COUNT", default_value_t = 1_000)]
    limit: usize,
    /// Where the page before ended.
    #[arg(long, value_name = "ID")]
    after: Option<String>,
    #[command(flatten)]
    data: DataArgs,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Has an instance run an effect outside of its states.
    Run {
        /// Instance: its id or a unique beginning or end of it.
        id: String,
        /// Name of an effect of its workflow.
        #[arg(required_unless_present = "tree", conflicts_with = "tree")]
        effect: Option<String>,
        /// The effect itself, as workflows have them, in YAML or JSON.
        #[arg(long = "do", value_name = "EFFECT")]
        tree: Option<String>,
        /// What it reads as `param`.
        #[arg(long, value_name = "JSON")]
        with: Option<String>,
        #[command(flatten)]
        data: DataArgs,
    },
    /// Shows an effect and what became of it.
    Show {
        /// Effect, as the list names it: `INSTANCE:NUMBER`.
        id: String,
        #[command(flatten)]
        data: DataArgs,
    },
    /// Calls off an effect that an instance was asked to run.
    Cancel {
        /// Effect, as the list names it: `INSTANCE:NUMBER`.
        id: String,
        /// Why; it is kept in the history.
        #[arg(long)]
        reason: Option<String>,
        #[command(flatten)]
        data: DataArgs,
    },
}

/// Runs the command.
pub fn run(args: &Args, output: &Output) -> anyhow::Result<Exit> {
    match &args.command {
        None => list(args, output),
        Some(Command::Run { id, effect, tree, with, data }) => {
            let with = with.as_deref().map(|it| input::json(it, "what it reads")).transpose()?;
            let tree = tree.as_deref().map(read).transpose()?;
            let effect = effect.as_deref().map(Into::into);
            let asked = Box::new(Asked { effect, tree, with: with.unwrap_or_default() });
            change(data, Ask::RunEffect { id: id.clone(), asked, shared: None }, output)
        }
        Some(Command::Show { id, data }) => {
            let answer = operations::ask(data, Ask::Effect { id: id.clone() })?;
            Ok(shown(&answer, output))
        }
        Some(Command::Cancel { id, reason, data }) => {
            let taken_apart =
                id.rsplit_once(':').and_then(|(id, seq)| Some((id, seq.parse().ok()?)));
            let Some((instance, seq)) = taken_apart else {
                let message = format!("`{}` is no effect; write `INSTANCE:NUMBER`", clip(id, 80));
                return Err(Failure::new(Exit::Usage, "usage", message).into());
            };
            let reason = reason.as_deref().map(Into::into);
            change(data, Ask::CancelEffect { id: instance.into(), seq, reason }, output)
        }
    }
}

/// Reads an effect; its keys keep their order.
fn read(text: &str) -> Result<traaviis_model::Text, Failure> {
    let read = read_tree(text, Format::Yaml).map_err(|found| {
        let why = found.first().map(ToString::to_string).unwrap_or_default();
        Failure::finding("effect_invalid", format!("the effect cannot be read: {why}"))
    })?;
    Ok(read.to_json().into())
}

fn change(data: &DataArgs, ask: Ask, output: &Output) -> anyhow::Result<Exit> {
    let changer = Changer::open(data)?;
    let answer = changer.ask(ask);
    changer.close()?;
    Ok(shown(&answer?, output))
}

fn shown(answer: &Json, output: &Output) -> Exit {
    if output.is_json() {
        output.json(answer);
        return Exit::Ok;
    }
    let effect = &answer["effect"];
    let text = |key: &str| effect[key].as_str().unwrap_or_default().to_string();
    let (id, kind, path) = (text("id"), text("kind"), text("path"));
    let status = text("status");
    output.line(&format!("{id}  {kind} `{}` is {status}", clip(&path, 80)));
    for key in ["value", "error"] {
        if !effect[key].is_null() {
            output.line(&format!("{key}: {}", clip(&effect[key].to_string(), 400)));
        }
    }
    Exit::Ok
}

fn list(args: &Args, output: &Output) -> anyhow::Result<Exit> {
    let filter = EffectFilter {
        instance: args.instance.clone(),
        kind: args.kind.as_deref().map(Into::into),
        status: args.status.as_deref().map(Into::into),
        limit: args.limit,
        cursor: args.after.clone(),
    };
    let answer = operations::ask(&args.data, Ask::OpenEffects { filter })?;
    if output.is_json() {
        output.json(&answer);
        return Ok(Exit::Ok);
    }
    let items = answer["effects"].as_array().map(Vec::as_slice).unwrap_or_default();
    if items.is_empty() {
        output.line(&format!("no open effects in `{}`", args.data.dir().display()));
    } else {
        let rows: Vec<Vec<String>> = items.iter().map(row).collect();
        output.text(&table(&["ID", "WORKFLOW", "STATE", "KIND", "PATH", "STATUS"], &rows));
    }
    if let Some(next) = answer["next"].as_str() {
        output.line(&format!("there may be more: traaviis effects --after {next}"));
    }
    Ok(Exit::Ok)
}

fn row(item: &Json) -> Vec<String> {
    let text = |key: &str| item[key].as_str().unwrap_or_default().to_string();
    let state = if item["outside"] == true { "-".to_string() } else { text("state") };
    vec![
        text("id"),
        text("workflow"),
        clip(&state, 60),
        text("kind"),
        clip(&text("path"), 80),
        text("status"),
    ]
}
