//! `traaviis api`: one request to a server, as who has logged in there.

use std::path::PathBuf;

use serde_json::{Value as Json, json};

use crate::{
    document,
    exit::{Exit, Failure},
    input,
    output::Output,
    remote::{self, Asked, ServerArgs},
};

/// Sends one request to the server that `traaviis login` was for, and prints the answer.
///
/// What can be asked for lists `GET /api/v1/openapi.json` of the server. With the variables
/// `TRAAVIIS_SERVER` and `TRAAVIIS_TOKEN` no login is needed.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: traaviis api POST /tenants/current/instances \
                        --body '{\"workflow\": \"Door\"}'")]
pub struct Args {
    /// Method: GET, POST, PUT, PATCH or DELETE.
    method: String,
    /// Path below `/api/v1`, such as `/tenants/current/instances`.
    path: String,
    /// Body: a JSON file, `-` for standard input, or JSON text.
    #[arg(long, value_name = "FILE|-|JSON", conflicts_with = "document")]
    body: Option<String>,
    /// A workflow file, sent as `{"document": TEXT}`.
    #[arg(long, value_name = "FILE")]
    document: Option<PathBuf>,
    /// `ETag` of what was read; `current` reads it first.
    #[arg(long, value_name = "ETAG")]
    if_match: Option<String>,
    /// Print only this part of the answer, by its JSON pointer; a text without quotes.
    #[arg(long, value_name = "POINTER")]
    select: Option<String>,
    #[command(flatten)]
    server: ServerArgs,
}

/// Runs the command.
pub fn run(args: &Args, output: &Output) -> anyhow::Result<Exit> {
    if !args.path.starts_with('/') {
        return Err(Failure::usage("a path begins with `/`, such as `/me`").into());
    }
    let body: Option<Json> = match (&args.body, &args.document) {
        (Some(source), _) => Some(Json::from(&input::value(source)?)),
        (None, Some(file)) => Some(json!({ "document": document::read_text(file)? })),
        (None, None) => None,
    };
    let etag = match args.if_match.as_deref() {
        Some("current") => {
            let read = Asked { method: "GET", path: &args.path, body: None, if_match: None };
            remote::ask_as_login(&args.server, &read)?.etag
        }
        other => other.map(str::to_owned),
    };
    let asked = Asked {
        method: &args.method,
        path: &args.path,
        body: body.as_ref(),
        if_match: etag.as_deref(),
    };
    let answered = remote::ask_as_login(&args.server, &asked)?;
    if answered.status >= 400 {
        return Err(remote::refused(&answered).into());
    }
    let shown = match &args.select {
        Some(pointer) => {
            let found = answered.body.pointer(pointer).cloned();
            found.ok_or_else(|| {
                Failure::finding("not_found", format!("the answer has nothing at `{pointer}`"))
            })?
        }
        None => answered.body,
    };
    match shown {
        Json::Null => {}
        Json::String(text) if !output.is_json() => drop(output.line(&text)),
        shown => drop(output.json(&shown)),
    }
    Ok(Exit::Ok)
}
