//! `traaviis usage`: what a tenant of a server has used in a month, and what its plan holds.

use std::fmt::Write as _;

use serde_json::Value as Json;

use crate::{
    exit::Exit,
    output::Output,
    remote::asking::{TenantArgs, quoted},
    terminal::table,
};

/// Shows how much the tenant has used in a month, how much its plan holds, and how much it will be
/// at the end of the month if it goes on like that.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: traaviis usage --month 2026-11 --by workflow")]
pub struct Args {
    /// Month, such as `2026-11`; the present one unless it is given.
    #[arg(long, value_name = "MONTH")]
    month: Option<String>,
    /// Tell it in parts.
    #[arg(long, value_name = "PART", value_parser = ["day", "workflow", "model"])]
    by: Option<String>,
    #[command(flatten)]
    tenant: TenantArgs,
}

/// Runs the command.
pub fn run(args: &Args, output: &Output) -> anyhow::Result<Exit> {
    let mut asked = Vec::new();
    for (key, value) in [("month", &args.month), ("by", &args.by)] {
        asked.extend(value.as_ref().map(|it| format!("{key}={}", quoted(it))));
    }
    let path = format!("/usage?{}", asked.join("&"));
    let told = args.tenant.open()?.ask("GET", &path, None)?.body;
    if output.is_json() {
        output.json(&told);
        return Ok(Exit::Ok);
    }
    let text = |key: &str| told[key].as_str().unwrap_or("-");
    let state = if told["closed"] == true { "closed" } else { "so far" };
    output.line(&format!(
        "{} ({}) on the plan {}, {state}",
        text("month"),
        text("timezone"),
        text("plan")
    ));
    output.text(&match told["parts"].as_array() {
        Some(parts) => of_parts(parts),
        None => of_metrics(&told),
    });
    Ok(Exit::Ok)
}

fn of_metrics(told: &Json) -> String {
    let number = |it: &Json| it.as_u64().map_or_else(|| "-".into(), |it| it.to_string());
    let row = |it: &Json| {
        let text = |key: &str| it[key].as_str().unwrap_or("-").to_owned();
        let percent = it["percent"].as_u64().map_or_else(|| "-".into(), |it| format!("{it} %"));
        let (used, included) = (number(&it["used"]), number(&it["included"]));
        vec![text("metric"), used, text("unit"), included, percent, number(&it["forecast"])]
    };
    let rows: Vec<_> = told["metrics"].as_array().into_iter().flatten().map(row).collect();
    table(&["METRIC", "USED", "UNIT", "IN THE PLAN", "OF IT", "FORECAST"], &rows)
}

fn of_parts(parts: &[Json]) -> String {
    let row = |it: &Json| {
        let mut used = String::new();
        for (metric, count) in it["used"].as_object().into_iter().flatten() {
            let _ = write!(used, "{}{metric} {count}", if used.is_empty() { "" } else { ", " });
        }
        vec![it["key"].as_str().unwrap_or("-").to_owned(), used]
    };
    table(&["WHAT", "USED"], &parts.iter().map(row).collect::<Vec<_>>())
}
