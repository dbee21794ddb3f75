//! `traaviis schedules`: what runs when in a data directory.

use serde_json::{Value as Json, json};
use traaviis_model::Value;

use super::run::triggers::{WORKFLOW, times, upcoming};
use crate::{
    control::protocol::{Ask, ListFilter},
    exit::{Exit, Failure},
    operations::{self, DataArgs},
    output::Output,
    terminal::table,
};

/// Schedules listed; more belong into a calendar of their own.
const SCHEDULES_MAX: usize = 1_000;
/// Times shown of each schedule unless told otherwise.
const NEXT: usize = 3;
/// Most times shown of each; who wants more writes a calendar.
const NEXT_MAX: usize = 1_000;

/// Lists schedules with their next times.
///
/// A schedule is an instance of the workflow `Schedule`: `traaviis pause ID` stops it, `resume`
/// lets it go on, `cancel` ends it, `logs` tells every run.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    data: DataArgs,
    /// How many times to show of each.
    #[arg(long, value_name = "COUNT", default_value_t = NEXT)]
    next: usize,
}

/// Runs the command.
pub fn run(args: &Args, output: &Output) -> anyhow::Result<Exit> {
    if args.next > NEXT_MAX {
        let message = format!("`--next` shows at most {NEXT_MAX} times");
        return Err(Failure::new(Exit::Usage, "usage", message).into());
    }
    let filter = ListFilter {
        workflow: Some(WORKFLOW.into()),
        limit: SCHEDULES_MAX,
        ..ListFilter::default()
    };
    let mut schedules = Vec::new();
    let listed = operations::ask(&args.data, Ask::Ps { all: false, archived: false, filter })?;
    for item in listed["instances"].as_array().into_iter().flatten() {
        if item["workflow"] == WORKFLOW
            && let Some(id) = item["id"].as_str()
        {
            let shown = operations::ask(&args.data, Ask::Show { id: id.into() })?;
            schedules.push(describe(item, &shown, args.next));
        }
    }
    if output.is_json() {
        output.json(&json!({ "schedules": schedules }));
        return Ok(Exit::Ok);
    }
    if schedules.is_empty() {
        let dir = args.data.dir().display();
        output
            .line(&format!("no schedules in `{dir}`; `traaviis run FILE --triggers` starts them"));
        return Ok(Exit::Ok);
    }
    let rows: Vec<Vec<String>> = schedules.iter().map(row).collect();
    let headings = ["ID", "WORKFLOW", "TIMES", "STATUS", "STARTED", "SKIPPED", "FAILED", "NEXT"];
    output.text(&table(&headings, &rows));
    Ok(Exit::Ok)
}

fn describe(item: &Json, shown: &Json, count: usize) -> Json {
    let snapshot = &shown["snapshot"];
    let input = Value::from(&snapshot["input"]);
    json!({
        "id": item["id"],
        "workflow": snapshot["input"]["workflow"],
        "times": times(&input),
        "cron": snapshot["input"]["cron"],
        "timezone": snapshot["input"]["timezone"],
        "status": item["status"],
        "started": snapshot["data"]["started"],
        "skipped": snapshot["data"]["skipped"],
        "failed": snapshot["data"]["failed"],
        "next": upcoming(&input, count),
    })
}

fn row(schedule: &Json) -> Vec<String> {
    let text = |key: &str| schedule[key].as_str().unwrap_or_default().to_string();
    let next = schedule["next"].as_array().into_iter().flatten().filter_map(Json::as_str);
    let next = match &*text("status") {
        "paused" => "when it is resumed".to_string(),
        _ => next.collect::<Vec<_>>().join(", "),
    };
    vec![
        text("id"),
        text("workflow"),
        text("times"),
        text("status"),
        schedule["started"].to_string(),
        schedule["skipped"].to_string(),
        schedule["failed"].to_string(),
        next,
    ]
}
