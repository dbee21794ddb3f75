//! `traaviis evidence`: what a review asks for, read off a data directory and signed.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use serde_json::json;
use sha2::{Digest as _, Sha256};
use traaviis_model::{TenantId, Timestamp};
use traaviis_platform::evidence::{self, Collected, Evidence, Period};
use traaviis_store::ReadOnlyLog;

use super::audit::{only_tenant, unsigned};
use crate::{
    clock,
    data::{needs_log, sealed},
    exit::{Exit, Failure},
    output::Output,
    secrets,
};

/// Bytes of a file of evidence that is checked: a year of a busy tenant has less.
const FILE_BYTES_MAX: u64 = 512 << 20;

/// Writes what a review of a period asks for, with the SOC 2 criteria that it speaks to; and checks
/// such a file.
///
/// It prepares a review, and is no attestation.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Writes who had access, what was changed, and whether the audit trail is whole, signed.
    ///
    /// It is read off the files, beside a running server too, as they stood when the period ended:
    /// the same period gives the same bytes. What an installation does not keep, such as test
    /// results, is named. Exit code 1 when an audit trail is not what it was.
    #[command(after_help = "Example: traaviis evidence export --from 2026-01-01 --to 2026-04-01 \
                            --out q1.json")]
    Export(ExportArgs),
    /// Says whether a file of evidence is what its key has signed.
    #[command(after_help = "Example: traaviis evidence verify q1.json --key KEY")]
    Verify {
        /// File that `evidence export` wrote.
        file: PathBuf,
        /// Public key that must have signed it: the `x` of `GET T/audit/checkpoints`.
        #[arg(long, value_name = "KEY")]
        key: Option<String>,
    },
}

#[derive(Debug, clap::Args)]
struct ExportArgs {
    /// First day of the period, UTC, or a moment such as 2026-01-01T00:00:00Z.
    #[arg(long, value_name = "DATE", value_parser = moment)]
    from: Timestamp,
    /// The day behind the last, which is over; or a moment.
    #[arg(long, value_name = "DATE", value_parser = moment)]
    to: Timestamp,
    /// Tenant; needed when there are several.
    #[arg(long, value_name = "ID")]
    tenant: Option<TenantId>,
    /// File, instead of standard output.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Data directory; a running server may hold it.
    #[arg(long, value_name = "DIR", default_value = "./data")]
    data: PathBuf,
}

fn moment(text: &str) -> Result<Timestamp, String> {
    let whole = if text.len() == 10 { format!("{text}T00:00:00Z") } else { text.to_owned() };
    whole.parse().map_err(|_| "this is a day such as 2026-01-31, or a moment in UTC".into())
}

/// Runs the command.
pub fn run(args: &Args, output: &Output) -> anyhow::Result<Exit> {
    match &args.command {
        Command::Export(args) => export(args, output),
        Command::Verify { file, key } => verify(file, key.as_deref(), output),
    }
}

fn refused(error: traaviis_platform::Error) -> Failure {
    Failure::finding(&error.code, error.message)
}

fn export(args: &ExportArgs, output: &Output) -> anyhow::Result<Exit> {
    let period = Period { from: args.from, to: args.to };
    if period.from >= period.to {
        return Err(Failure::usage("the period ends before it begins").into());
    }
    if period.to > clock::now() {
        let message = "the period is not over, so its evidence would change; give a `--to` that \
                       has passed";
        return Err(Failure::usage(message).into());
    }
    let dir = &args.data;
    needs_log(dir)?;
    let log = Arc::new(ReadOnlyLog::open(dir).map_err(Failure::from)?);
    let tenant = match args.tenant {
        Some(tenant) => tenant,
        None => only_tenant(&log)?,
    };
    if !log.damage().is_empty() {
        let message = "records of the log cannot be read, so evidence of it would not be whole; \
                       `traaviis doctor` says which";
        return Err(Failure::finding("data_directory_damaged", message).into());
    }
    let vault = secrets::subjects(dir);
    let collected =
        evidence::collect(&*sealed(dir, log), &vault, tenant, period).map_err(refused)?;
    if !collected.has_tenant() {
        let message = format!("there was no tenant `{tenant}` in that period");
        return Err(Failure::finding("tenant_absent", message).into());
    }
    let signer = collected.key().ok_or_else(unsigned)?.open(&vault).map_err(refused)?;
    let signed = collected.sign(&signer, program()?);
    write(&signed, &collected, args, output)
}

/// Returns what has made it: the release, and the digest of its file.
fn program() -> Result<serde_json::Value, Failure> {
    let bytes = std::env::current_exe().and_then(fs::read).map_err(|error| {
        let message = format!("cannot read this program to tell its digest: {error}");
        Failure::new(Exit::Denied, "file_unreadable", message)
    })?;
    let digest: String = Sha256::digest(&bytes).iter().map(|it| format!("{it:02x}")).collect();
    Ok(json!({ "version": env!("CARGO_PKG_VERSION"), "sha256": digest, "criteria": ["CC8.1"] }))
}

fn write(
    signed: &Evidence,
    collected: &Collected,
    args: &ExportArgs,
    output: &Output,
) -> anyhow::Result<Exit> {
    let text = serde_json::to_string_pretty(signed)?;
    let exit = if collected.is_whole() { Exit::Ok } else { Exit::Finding };
    let Some(path) = &args.out else {
        output.line(&text);
        return Ok(exit);
    };
    fs::write(path, format!("{text}\n")).map_err(|error| {
        let message = format!("cannot write `{}`: {error}", path.display());
        Failure::new(Exit::Denied, "file_unwritable", message)
    })?;
    let key = &signed.key.x;
    match output.is_json() {
        true => output.json(&json!({
            "file": path, "tenant": signed.evidence["tenant_id"], "key": signed.key,
            "whole": collected.is_whole(),
        })),
        false => output.line(&format!("evidence is in `{}`, signed by key {key}", path.display())),
    };
    if !collected.is_whole() {
        let message = "an audit trail is not what it was; the evidence says where";
        return Err(Failure::finding("audit_broken", message).into());
    }
    Ok(exit)
}

fn verify(file: &Path, key: Option<&str>, output: &Output) -> anyhow::Result<Exit> {
    let unread = |why: String| {
        Failure::finding("file_unreadable", format!("cannot read `{}`: {why}", file.display()))
    };
    let size = fs::metadata(file).map_err(|error| unread(error.to_string()))?.len();
    if size > FILE_BYTES_MAX {
        return Err(unread(format!("it has more than {FILE_BYTES_MAX} bytes")).into());
    }
    let bytes = fs::read(file).map_err(|error| unread(error.to_string()))?;
    let read: Evidence = serde_json::from_slice(&bytes)
        .map_err(|error| unread(format!("it is no evidence: {error}")))?;
    let broken = |message: String| Err(Failure::finding("audit_broken", message).into());
    if !read.is_signed() {
        return broken("the evidence is not what its key has signed".into());
    }
    if let Some(key) = key.filter(|it| **it != *read.key.x) {
        return broken(format!("it is signed by key {}, and not by {key}", read.key.x));
    }
    match output.is_json() {
        true => output.json(&json!({ "whole": true, "key": read.key })),
        false => {
            let key = &read.key.x;
            let trust = "compare the key with one that you had before";
            output.line(&format!("the evidence is what key {key} has signed; {trust}"))
        }
    };
    Ok(Exit::Ok)
}
