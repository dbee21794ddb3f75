//! `traaviis ps`: the instances of a data directory.

use serde_json::{Value as Json, json};
use traaviis_model::{InstanceId, record::Status};

use crate::{
    control::protocol::{Ask, LIST_DEFAULT, LIST_MAX, ListFilter},
    data::Resting,
    exit::{Exit, Failure},
    operations::{self, DataArgs, ReadArgs},
    output::{self, Output},
    terminal::{clip, table},
    trace::relative,
    tree,
};

/// Lists instances.
///
/// One of which records are lost has the status `damaged`, with the reason on standard error or,
/// with --json, as its `error`. The list is whole, so the exit code is 0; `traaviis doctor` is the
/// check that fails.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    data: ReadArgs,
    /// Those of every tenant of the directory: the newest ones, each with its tenant.
    #[arg(long, conflicts_with_all = ["tenant", "name", "role", "count", "health", "cursor"])]
    all_tenants: bool,
    /// Finished ones too.
    #[arg(long)]
    all: bool,
    /// Those in the archive instead: they ended long ago.
    #[arg(long, conflicts_with = "all")]
    archived: bool,
    /// Only of this workflow.
    #[arg(long, value_name = "NAME")]
    workflow: Option<String>,
    /// Only of this version of the workflow.
    #[arg(long, value_name = "VERSION")]
    of_version: Option<String>,
    /// Only with this status; finished ones too when it is one of theirs.
    #[arg(long, value_parser = STATUSES)]
    status: Option<String>,
    /// Only in this state, written as the list shows it.
    #[arg(long)]
    state: Option<String>,
    /// Only with this business key.
    #[arg(long, value_name = "KEY")]
    correlation: Option<String>,
    /// Only what belongs to this request or first of a line, itself included.
    #[arg(long, value_name = "ID")]
    correlation_id: Option<String>,
    /// Only with this tag; may be repeated, then all must be there.
    #[arg(long = "tag", value_name = "TAG")]
    tags: Vec<String>,
    /// Count them by workflow, status and state instead.
    #[arg(long, conflicts_with_all = ["limit", "cursor"])]
    count: bool,
    /// Tell how the directory fares as a whole instead: whether somebody must look, how many
    /// instances are open, when something happened last, and the memory of the process.
    #[arg(long, conflicts_with_all = ["all", "workflow", "of_version", "status", "state",
        "correlation", "correlation_id", "tags", "count", "limit", "cursor"])]
    health: bool,
    /// At most so many, the newest ones; a child counts as old as its parent.
    #[arg(long, value_name = "COUNT", default_value_t = LIST_DEFAULT as u64,
        value_parser = clap::value_parser!(u64).range(1..=LIST_MAX as u64))]
    limit: u64,
    /// Go on where a list ended: its `next`. Instances that come or move meanwhile shift nothing.
    #[arg(long, value_name = "ID")]
    cursor: Option<InstanceId>,
}

/// Bytes of a mebibyte.
const MIB: f64 = (1u32 << 20) as f64;
/// Characters of the tags of one instance in the list; all stand in `--json`.
const TAGS_CHARS_MAX: usize = 40;
/// The words of [`Status`], which help shows.
const STATUSES: [&str; 8] = [
    "running",
    "paused",
    "incident",
    "completing",
    "completed",
    "failed",
    "compensated",
    "cancelled",
];

impl Args {
    fn filter(&self) -> ListFilter {
        let status = self.status.as_deref();
        ListFilter {
            workflow: self.workflow.clone(),
            version: self.of_version.clone(),
            tags: self.tags.iter().map(|it| it.as_str().into()).collect(),
            status: status.and_then(|word| Status::ALL.into_iter().find(|it| it.as_str() == word)),
            state: self.state.clone(),
            correlation: self.correlation.clone(),
            correlation_id: self.correlation_id.as_ref().map(|it| it.to_lowercase()),
            limit: usize::try_from(self.limit).unwrap_or(LIST_MAX),
            cursor: self.cursor,
        }
    }
}

/// Runs the command.
pub fn run(args: &Args, output: &Output) -> anyhow::Result<Exit> {
    if args.health {
        return health(&args.data, output);
    }
    if args.count {
        return count(args, output);
    }
    let (all, archived) = (args.all, args.archived);
    let mut answer = match args.all_tenants {
        true => every_tenant(args)?,
        false => operations::ask(&args.data, Ask::Ps { all, archived, filter: args.filter() })?,
    };
    if output.is_json()
        && answer["tree"].is_null()
        && let Some(status) = tree::resting(args.data.dir())
    {
        answer["tree"] = status;
    }
    if output.is_json() {
        output.json(&answer);
        return Ok(Exit::Ok);
    }
    let empty = Vec::new();
    let items = answer["instances"].as_array().unwrap_or(&empty);
    warn(items, answer["unreadable"].as_array().unwrap_or(&empty));
    if items.is_empty() {
        let (what, more) = match (args.all, args.archived) {
            (_, true) => ("archived instances", ""),
            (true, _) => ("instances", ""),
            _ => ("instances", "; `--all` shows finished ones"),
        };
        output.line(&format!("no {what} in `{}`{more}", args.data.dir().display()));
        return Ok(Exit::Ok);
    }
    let mut rows: Vec<Vec<String>> = items.iter().map(row).collect();
    let mut headings = vec!["ID", "WORKFLOW", "VERSION", "STATUS", "STATE", "AGE", "SEQ"];
    if items.iter().any(|it| it["tags"].as_array().is_some_and(|it| !it.is_empty())) {
        headings.push("TAGS");
        for (row, item) in rows.iter_mut().zip(items) {
            let tags = item["tags"].as_array().map(Vec::as_slice).unwrap_or_default();
            let tags: Vec<&str> = tags.iter().filter_map(Json::as_str).collect();
            row.push(clip(&tags.join(","), TAGS_CHARS_MAX));
        }
    }
    if args.all_tenants {
        headings.push("TENANT");
        for (row, item) in rows.iter_mut().zip(items) {
            row.push(item["tenant"].as_str().unwrap_or_default().to_string());
        }
    }
    if items.iter().any(|it| it["parent_id"].is_string()) {
        headings.push("PARENT");
        for (row, item) in rows.iter_mut().zip(items) {
            row.push(item["parent_id"].as_str().unwrap_or_default().to_string());
        }
    }
    output.text(&table(&headings, &rows));
    if args.all_tenants && answer["more"] == true {
        output.line("there are older ones: raise `--limit`, or name a `--tenant`");
    }
    if let Some(next) = answer["next"].as_str() {
        output.line(&format!("older ones: add --cursor {next}"));
    }
    Ok(Exit::Ok)
}

/// Lists the instances of every tenant, the newest ones of all. Whoever may read the files may see
/// them; a server shows nobody more than the tenants that they are in.
fn every_tenant(args: &Args) -> Result<Json, Failure> {
    let Resting { histories } = Resting::open(args.data.dir())?;
    let (mut items, mut unreadable, mut has_more) = (Vec::new(), Vec::new(), false);
    for tenant in histories.tenants()? {
        let of_tenant = histories.of(DataArgs::of(args.data.dir(), Some(tenant)).ctx());
        let (all, archived) = (args.all, args.archived);
        let ask = Ask::Ps { all, archived, filter: args.filter() };
        let mut answer = operations::answer(&of_tenant, None, ask)?;
        has_more |= answer["next"].is_string();
        for mut item in list(&mut answer, "instances") {
            item["tenant"] = json!(tenant);
            items.push(item);
        }
        unreadable = list(&mut answer, "unreadable");
    }
    // Ids begin with the time: the newest ones of all, shown as those of one tenant are.
    items.sort_by(|one, other| one["id"].as_str().cmp(&other["id"].as_str()));
    let limit = usize::try_from(args.limit).unwrap_or(LIST_MAX);
    let beyond = items.len().saturating_sub(limit);
    items.drain(..beyond);
    let more = has_more || beyond > 0;
    Ok(json!({ "instances": items, "unreadable": unreadable, "more": more }))
}

fn list(answer: &mut Json, key: &str) -> Vec<Json> {
    match answer[key].take() {
        Json::Array(items) => items,
        _ => Vec::new(),
    }
}

fn count(args: &Args, output: &Output) -> anyhow::Result<Exit> {
    let ask = Ask::Count { all: args.all, filter: args.filter() };
    let answer = operations::ask(&args.data, ask)?;
    if output.is_json() {
        output.json(&answer);
        return Ok(Exit::Ok);
    }
    let empty = Vec::new();
    let rows = answer["counts"].as_array().unwrap_or(&empty).iter().map(|it| {
        let text = |key: &str| it[key].as_str().unwrap_or_default().to_string();
        vec![text("workflow"), text("status"), text("state"), it["count"].to_string()]
    });
    let mut rows: Vec<Vec<String>> = rows.collect();
    let blank = String::new;
    rows.push(vec!["all".into(), blank(), blank(), answer["total"].to_string()]);
    output.text(&table(&["WORKFLOW", "STATUS", "STATE", "COUNT"], &rows));
    Ok(Exit::Ok)
}

fn health(data: &DataArgs, output: &Output) -> anyhow::Result<Exit> {
    let answer = operations::ask(data, Ask::Health)?;
    if output.is_json() {
        output.json(&answer);
        return Ok(Exit::Ok);
    }
    let text = |key: &str| answer[key].as_str().unwrap_or_default();
    output.line(&format!("status         {}", text("status")));
    output.line(&format!("open           {}", answer["count"]));
    output.line(&format!("incidents      {}", answer["incidents"]));
    output.line(&format!("damaged        {}", answer["damaged"]));
    if !text("last_activity").is_empty() {
        output.line(&format!("last activity  {}", text("last_activity")));
    }
    let process = match answer["memory_bytes"].as_u64() {
        Some(bytes) => format!("one runs, with {:.1} MiB in memory", bytes as f64 / MIB),
        None => "none runs".into(),
    };
    output.line(&format!("process        {process}"));
    Ok(Exit::Ok)
}

/// Says what is wrong with what is listed.
fn warn(items: &[Json], unreadable: &[Json]) {
    for error in items.iter().map(|it| &it["error"]).filter(|it| it.is_object()) {
        let text = |key: &str| error[key].as_str().unwrap_or_default();
        output::warn(format_args!("warning: {} ({})", text("message"), text("code")));
    }
    for line in unreadable.iter().filter_map(Json::as_str) {
        output::warn(format_args!("warning: {line} (record_unreadable)"));
    }
}

fn row(item: &Json) -> Vec<String> {
    let text = |key: &str| item[key].as_str().unwrap_or_default().to_string();
    let age = item["age_ms"].as_i64().map(traaviis_model::Span::millis);
    vec![
        text("id"),
        text("workflow"),
        text("version"),
        text("status") + if item["archived"] == true { ", archived" } else { "" },
        text("state"),
        age.map(relative).unwrap_or_default(),
        item["seq"].to_string(),
    ]
}
