//! `traaviis incidents`: what waits for a person, over all instances, and who looks after it.

use serde_json::{Value as Json, json};

use crate::{
    control::protocol::Ask,
    exit::Exit,
    operations::{self, DataArgs},
    output::Output,
    terminal::{clip, table},
    trace::relative,
};

/// Lists what waits for a person, the oldest first, or gives one to somebody.
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Args {
    #[command(subcommand)]
    command: Option<Command>,
    /// Only those that this person looks after.
    #[arg(long, value_name = "NAME")]
    assignee: Option<String>,
    #[command(flatten)]
    data: DataArgs,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Says who looks after an incident.
    Assign {
        /// Incident, as the list names it: `INSTANCE:NUMBER`. Or an instance: its id or a unique
        /// beginning or end of it.
        id: String,
        /// Name of the person.
        #[arg(value_name = "NAME", required_unless_present = "nobody", conflicts_with = "nobody")]
        to: Option<String>,
        /// Nobody in particular looks after it any more.
        #[arg(long)]
        nobody: bool,
        /// Effect or timer that the incident names, when the instance has several incidents.
        #[arg(long, value_name = "PATH")]
        at: Option<String>,
        #[command(flatten)]
        data: DataArgs,
    },
}

/// Runs the command.
pub fn run(args: &Args, output: &Output) -> anyhow::Result<Exit> {
    match &args.command {
        None => list(args, output),
        Some(Command::Assign { id, to, at, data, .. }) => {
            let what = match to {
                Some(name) => format!("incident given to `{}`", clip(name, 60)),
                None => "incident given to nobody in particular".to_string(),
            };
            let to = to.as_deref().map(Into::into);
            let ask = Ask::Assign { id: id.clone(), path: at.clone(), to };
            operations::change(data, ask, &what, output)
        }
    }
}

fn list(args: &Args, output: &Output) -> anyhow::Result<Exit> {
    let mut answer = operations::ask(&args.data, Ask::Incidents)?;
    if let (Some(name), Some(items)) = (&args.assignee, answer["incidents"].as_array_mut()) {
        items.retain(|it| it["assignee"] == json!(name));
    }
    if output.is_json() {
        output.json(&answer);
        return Ok(Exit::Ok);
    }
    let items = answer["incidents"].as_array().map(Vec::as_slice).unwrap_or_default();
    if items.is_empty() {
        output.line(&format!("no incidents in `{}`", args.data.dir().display()));
        return Ok(Exit::Ok);
    }
    let mut rows: Vec<Vec<String>> = items.iter().map(row).collect();
    let mut headings = vec!["ID", "WORKFLOW", "AGE", "INCIDENT", "AT", "WHAT"];
    if items.iter().any(|it| it["assignee"].is_string()) {
        headings.push("ASSIGNEE");
        for (row, item) in rows.iter_mut().zip(items) {
            row.push(clip(item["assignee"].as_str().unwrap_or_default(), 40));
        }
    }
    output.text(&table(&headings, &rows));
    output.line("answer one: traaviis resolve ID --retry|--fail|--happened JSON");
    Ok(Exit::Ok)
}

fn row(item: &Json) -> Vec<String> {
    let text = |key: &str| item[key].as_str().unwrap_or_default().to_string();
    let age = item["age_ms"].as_i64().map(traaviis_model::Span::millis);
    let id = match &*text("id") {
        "" => text("instance"),
        id => id.to_string(),
    };
    vec![
        id,
        text("workflow"),
        age.map(relative).unwrap_or_default(),
        text("kind"),
        text("path"),
        clip(&text("message"), 120),
    ]
}
