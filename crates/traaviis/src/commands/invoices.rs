//! `traaviis invoices`: what a tenant of a server is billed.

use serde_json::Value as Json;

use crate::{
    exit::Exit,
    output::Output,
    remote::asking::{TenantArgs, quoted},
    terminal::table,
};

/// Lists the invoices of the tenant, the newest first, or shows the lines of one.
///
/// That of the present month is a draft. An invoice is made anew whenever it is asked for, and is
/// the same each time.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: traaviis invoices 2026-11")]
pub struct Args {
    /// Month of the invoice to show, such as `2026-11`.
    #[arg(value_name = "MONTH")]
    month: Option<String>,
    #[command(flatten)]
    tenant: TenantArgs,
}

/// Runs the command.
pub fn run(args: &Args, output: &Output) -> anyhow::Result<Exit> {
    let tenant = args.tenant.open()?;
    let told = match &args.month {
        Some(month) => tenant.ask("GET", &format!("/invoices/{}", quoted(month)), None)?.body,
        None => Json::Array(tenant.all("/invoices")?),
    };
    if output.is_json() {
        output.json(&told);
        return Ok(Exit::Ok);
    }
    output.text(&match told.as_array() {
        Some(invoices) => list(invoices),
        None => one(&told),
    });
    Ok(Exit::Ok)
}

fn text(it: &Json, key: &str) -> String {
    it[key].as_str().unwrap_or("-").to_owned()
}

fn list(invoices: &[Json]) -> String {
    let row = |it: &Json| {
        ["id", "status", "plan", "total", "due", "currency"].map(|key| text(it, key)).into()
    };
    let rows: Vec<Vec<String>> = invoices.iter().map(row).collect();
    table(&["MONTH", "STATUS", "PLAN", "TOTAL", "DUE", "CURRENCY"], &rows)
}

fn one(invoice: &Json) -> String {
    let line = |it: &Json| {
        let price = match it["per"].as_u64() {
            Some(1) | None => text(it, "price"),
            Some(per) => format!("{} for {per}", text(it, "price")),
        };
        vec![text(it, "what"), it["quantity"].to_string(), price, text(it, "amount")]
    };
    let sum = |what: &str, key: &str| {
        vec![what.to_owned(), String::new(), String::new(), text(invoice, key)]
    };
    let credit = |it: &Json| {
        let what = format!("credit note {}: {}", text(it, "number"), text(it, "reason"));
        vec![what, String::new(), String::new(), format!("-{}", text(it, "amount"))]
    };
    let items = |key: &str| invoice[key].as_array().into_iter().flatten();
    let mut rows: Vec<Vec<String>> = items("lines").map(line).collect();
    rows.extend([sum("subtotal", "subtotal"), sum("tax", "tax"), sum("total", "total")]);
    rows.extend(items("credits").map(credit));
    rows.push(sum("due", "due"));
    let head = format!(
        "invoice {} of {} to {}, {}, in {}",
        text(invoice, "number"),
        text(invoice, "from"),
        text(invoice, "to"),
        text(invoice, "status"),
        text(invoice, "currency"),
    );
    format!("{head}\n{}", table(&["WHAT", "QUANTITY", "PRICE", "AMOUNT"], &rows))
}
