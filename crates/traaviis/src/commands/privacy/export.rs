//! `traaviis privacy export`: what is kept about a person, of files or of a tenant of a server.

use std::{
    fs::OpenOptions,
    io::Write as _,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use serde_json::{Value as Json, json};

use crate::{
    control::protocol::Ask,
    exit::{Exit, Failure},
    operations::{self, DataArgs},
    output::Output,
    remote::asking::TenantArgs,
};

/// Whom it is about, where, and whereto.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The person: as `subject` of the workflow names them; at a server their id or e-mail address,
    /// too.
    #[arg(long = "subject", value_name = "ID")]
    subject: String,
    /// File to write, which only you can read; standard output without it.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    #[command(flatten)]
    data: DataArgs,
    #[command(flatten)]
    tenant: TenantArgs,
}

/// Runs the command.
pub fn run(args: &Args, output: &Output) -> anyhow::Result<Exit> {
    let found = match args.tenant.is_named() {
        true => {
            let body = json!({ "subject": args.subject });
            args.tenant.open()?.ask("POST", "/privacy/export-subject", Some(&body))?.body
        }
        false => {
            let names = vec![args.subject.clone()];
            let ask = Ask::ExportSubject { subject: args.subject.clone(), names };
            operations::ask(&args.data, ask)?
        }
    };
    write(&found, args.out.as_deref(), output)
}

/// Writes what is kept about somebody, to a file that is not there yet or to standard output.
pub fn write(found: &Json, out: Option<&Path>, output: &Output) -> anyhow::Result<Exit> {
    let Some(path) = out else {
        match output.is_json() {
            true => output.json(found),
            false => output.line(&serde_json::to_string_pretty(found)?),
        };
        return Ok(Exit::Ok);
    };
    let failed = |error: std::io::Error| {
        let message = format!("cannot write `{}`: {error}", path.display());
        Failure::new(Exit::Denied, "storage_failed", message)
    };
    let mut options = OpenOptions::new();
    let mut file = options.write(true).create_new(true).mode(0o600).open(path).map_err(failed)?;
    file.write_all(serde_json::to_string_pretty(found)?.as_bytes()).map_err(failed)?;
    file.write_all(b"\n").and_then(|()| file.sync_all()).map_err(failed)?;
    match output.is_json() {
        true => output.json(&json!({ "file": path })),
        false => output.line(&format!("written to `{}`", path.display())),
    };
    Ok(Exit::Ok)
}
