//! `traaviis token`: API keys of a tenant of a server, and tokens that may do less.

use serde_json::{Map, Value as Json, json};
use traaviis_model::Span;
use uuid::Uuid;

use crate::{
    exit::{Exit, Failure},
    output::{self, Output},
    remote::asking::{Column, TenantArgs, cell, find, show_list},
};

/// What is asked for with RFC 8693.
const EXCHANGE: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
/// What is exchanged.
const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";

const COLUMNS: &[Column] = &[
    ("ID", "/id"),
    ("NAME", "/name"),
    ("MAY", "/scopes"),
    ("FROM", "/ip_allow"),
    ("USED", "/last_used_at"),
    ("EXPIRES", "/expires_at"),
];

/// Makes, lists and ends API keys of a tenant, and exchanges tokens for ones that may do less.
///
/// They are those of the server that `traaviis login` was for.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Makes an API key and prints it; it is told once, and never again.
    ///
    /// Programs show it as `TRAAVIIS_TOKEN`, or as `Authorization: Bearer`. It asks for a proof of
    /// who you are that is at most ten minutes old.
    #[command(after_help = "Example: key=$(traaviis token create ci --scope workflow_execute)")]
    Create(CreateArgs),
    /// Lists your API keys; those of everybody for who manages users.
    #[command(after_help = "Example: traaviis token list")]
    List {
        #[command(flatten)]
        tenant: TenantArgs,
    },
    /// Ends an API key at once.
    #[command(after_help = "Example: traaviis token revoke ci")]
    Revoke {
        /// Key: its id, a unique beginning or end of it, or its name.
        key: String,
        #[command(flatten)]
        tenant: TenantArgs,
    },
    /// Exchanges the token of your login for one that may do less and lives shorter, and prints it.
    #[command(after_help = "Example: traaviis token exchange --scope workflow_monitor \
                            --expires 10m")]
    Exchange {
        /// Permission that it keeps; may be repeated, or several with commas. All when absent.
        #[arg(long, value_name = "PERMISSION", value_delimiter = ',')]
        scope: Vec<String>,
        /// How long it lives: an hour at most.
        #[arg(long, value_name = "DURATION")]
        expires: Option<Span>,
        #[command(flatten)]
        tenant: TenantArgs,
    },
}

#[derive(Debug, clap::Args)]
struct CreateArgs {
    /// What it is for.
    name: String,
    /// Permission that it has; may be repeated, or several with commas. Never more than yours.
    #[arg(long, value_name = "PERMISSION", value_delimiter = ',', required = true)]
    scope: Vec<String>,
    /// How long it lives. Default: 90d
    #[arg(long, value_name = "DURATION")]
    expires: Option<Span>,
    /// Network or address from which alone it works; may be repeated.
    #[arg(long, value_name = "NETWORK")]
    from: Vec<String>,
    /// Id of the service account that acts through it. Default: you
    #[arg(long, value_name = "ID")]
    service_account: Option<Uuid>,
    #[command(flatten)]
    tenant: TenantArgs,
}

/// Runs the command.
pub fn run(args: &Args, output: &Output) -> anyhow::Result<Exit> {
    match &args.command {
        Command::Create(args) => create(args, output),
        Command::List { tenant } => {
            let keys = tenant.open()?.all("/api-keys")?;
            show_list(output, &keys, COLUMNS, "no API keys; `traaviis token create` makes one");
            Ok(Exit::Ok)
        }
        Command::Revoke { key, tenant } => revoke(key, tenant, output),
        Command::Exchange { scope, expires, tenant } => exchange(scope, *expires, tenant, output),
    }
}

/// Returns a time in whole seconds, as servers take it.
fn secs(span: Span) -> Result<i64, Failure> {
    match span.as_millis() / 1_000 {
        0 => Err(Failure::usage(format!("`{span}` is shorter than a second"))),
        secs => Ok(secs),
    }
}

fn create(args: &CreateArgs, output: &Output) -> anyhow::Result<Exit> {
    let mut body = json!({ "name": args.name, "scopes": args.scope, "ip_allow": args.from });
    if let Some(expires) = args.expires {
        body["expires_in"] = json!(secs(expires)?);
    }
    if let Some(id) = args.service_account {
        body["service_account"] = json!(id);
    }
    let made = args.tenant.open()?.ask("POST", "/api-keys", Some(&body))?.body;
    if output.is_json() {
        output.json(&made);
        return Ok(Exit::Ok);
    }
    // The key alone goes to standard output, for `key=$(...)`.
    output.line(made["key"].as_str().unwrap_or_default());
    output::warn(format_args!(
        "API key `{}` works until {}; it is told this once",
        cell(&made, "/name"),
        cell(&made, "/expires_at")
    ));
    Ok(Exit::Ok)
}

fn revoke(key: &str, tenant: &TenantArgs, output: &Output) -> anyhow::Result<Exit> {
    let tenant = tenant.open()?;
    let keys = tenant.all("/api-keys")?;
    let found = find(&keys, "id", key, "API key")?;
    let (id, name) = (cell(found, "/id"), cell(found, "/name"));
    tenant.ask("DELETE", &format!("/api-keys/{id}"), None)?;
    match output.is_json() {
        true => output.json(&json!({ "revoked": id })),
        false => output.line(&format!("API key `{name}` works no more")),
    };
    Ok(Exit::Ok)
}

fn exchange(
    scope: &[String],
    expires: Option<Span>,
    tenant: &TenantArgs,
    output: &Output,
) -> anyhow::Result<Exit> {
    let tenant = tenant.open()?;
    let session = tenant.session();
    if !session.is_login() {
        let message = "only the token of a login is exchanged; unset `TRAAVIIS_TOKEN`, and log in \
                       with `traaviis login EMAIL`";
        return Err(Failure::new(Exit::Denied, "forbidden", message).into());
    }
    // One that has expired is renewed before it stands in the request.
    session.good("GET", "/me", None)?;
    let mut body = Map::new();
    body.insert("grant_type".into(), json!(EXCHANGE));
    body.insert("subject_token".into(), json!(session.access_token()));
    body.insert("subject_token_type".into(), json!(ACCESS_TOKEN));
    if tenant.tenant() != "current" {
        body.insert("audience".into(), json!(tenant.tenant()));
    }
    if !scope.is_empty() {
        body.insert("scope".into(), json!(scope.join(" ")));
    }
    if let Some(expires) = expires {
        body.insert("expires_in".into(), json!(secs(expires)?));
    }
    let given = session.good("POST", "/auth/token-exchange", Some(&Json::Object(body)))?.body;
    if output.is_json() {
        output.json(&given);
        return Ok(Exit::Ok);
    }
    output.line(given["access_token"].as_str().unwrap_or_default());
    let (secs, tenant) = (cell(&given, "/expires_in"), cell(&given, "/tenant"));
    output::warn(format_args!("it lives for {secs} s, in tenant {tenant} alone"));
    Ok(Exit::Ok)
}
