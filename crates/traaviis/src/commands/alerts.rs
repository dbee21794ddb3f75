//! `traaviis alerts`: what a server has told the people of a tenant to look at.

use serde_json::Value as Json;

use crate::{
    exit::Exit,
    output::Output,
    remote::{self, Asked, ServerArgs},
    terminal::table,
};

/// Lists the alerts of the tenant that one has logged in to, the newest first, or says that
/// somebody has seen to one.
///
/// Rules over the audit trail raise them, rules of the tenant, and budgets.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: traaviis alerts --ack tenant-17-mass_export")]
pub struct Args {
    /// Say that somebody has seen to this one.
    #[arg(long, value_name = "ID", conflicts_with_all = ["all", "limit", "cursor"])]
    ack: Option<String>,
    /// Show those that somebody has seen to, too.
    #[arg(long)]
    all: bool,
    /// How many to look at, from 1 to 200.
    #[arg(long, value_name = "COUNT", default_value_t = 200)]
    limit: u8,
    /// Where the page before ended.
    #[arg(long, value_name = "CURSOR")]
    cursor: Option<String>,
    #[command(flatten)]
    server: ServerArgs,
}

/// Runs the command.
pub fn run(args: &Args, output: &Output) -> anyhow::Result<Exit> {
    match &args.ack {
        Some(id) => acknowledge(args, id, output),
        None => list(args, output),
    }
}

fn acknowledge(args: &Args, id: &str, output: &Output) -> anyhow::Result<Exit> {
    let path = format!("/tenants/current/alerts/{}/ack", encoded(id));
    let seen = ask(args, "POST", &path)?;
    match output.is_json() {
        true => drop(output.json(&seen)),
        false => drop(output.line(&format!("{}: seen to", text(&seen, "id")))),
    }
    Ok(Exit::Ok)
}

fn list(args: &Args, output: &Output) -> anyhow::Result<Exit> {
    let mut path = format!("/tenants/current/alerts?limit={}", args.limit);
    if let Some(cursor) = &args.cursor {
        path += &format!("&cursor={}", encoded(cursor));
    }
    let mut page = ask(args, "GET", &path)?;
    if let Some(alerts) = page["items"].as_array_mut() {
        alerts.retain(|it| args.all || it["acknowledged_at"].is_null());
    }
    if output.is_json() {
        output.json(&page);
        return Ok(Exit::Ok);
    }
    let rows: Vec<Vec<String>> = page["items"].as_array().into_iter().flatten().map(row).collect();
    match rows.is_empty() {
        true => drop(output.line("nothing that nobody has seen to")),
        false => drop(output.text(&table(&["SEVERITY", "AT", "ID", "WHO", "WHAT"], &rows))),
    }
    if let Some(cursor) = page["next_cursor"].as_str() {
        output.line(&format!("more with `--cursor {cursor}`"));
    }
    Ok(Exit::Ok)
}

fn row(alert: &Json) -> Vec<String> {
    ["severity", "at", "id", "actor", "message"].map(|it| text(alert, it).to_owned()).into()
}

fn text<'a>(alert: &'a Json, key: &str) -> &'a str {
    alert[key].as_str().unwrap_or("-")
}

fn ask(args: &Args, method: &str, path: &str) -> anyhow::Result<Json> {
    let asked = Asked { method, path, body: None, if_match: None };
    let answered = remote::ask_as_login(&args.server, &asked)?;
    match answered.status {
        200 => Ok(answered.body),
        _ => Err(remote::refused(&answered).into()),
    }
}

/// What somebody types is one part of an address.
fn encoded(text: &str) -> String {
    url::form_urlencoded::byte_serialize(text.as_bytes()).collect()
}
