//! `traaviis audit export`: the audit trail of a tenant, read off a data directory.

use std::{
    collections::BTreeSet,
    fs::File,
    io::{BufWriter, Write},
    path::PathBuf,
};

use traaviis_model::{TenantId, tenant::PLATFORM};
use traaviis_platform::{
    audit::Check,
    checkpoints::AuditKey,
    proof::{Part, visit_trails},
    trail_file::{Format, Item},
};
use traaviis_store::ReadOnlyLog;

use super::tenant_of;
use crate::{
    clock,
    exit::{Exit, Failure},
    output::Output,
    secrets,
};

/// Writes the audit trail of a tenant, with what is signed over it, as `GET T/audit/export` does.
///
/// It is read off the files, so no entry tells of it; whoever may read them is the operator. The
/// root key of the directory is needed to sign the end.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: traaviis audit export --data ./data --out trail.jsonl")]
pub struct Args {
    /// Data directory; a running server may hold it.
    #[arg(long, value_name = "DIR", default_value = "./data")]
    data: PathBuf,
    /// Tenant; `platform` is the trail of the installation. Needed when there are several.
    #[arg(long, value_name = "ID", value_parser = tenant_of)]
    tenant: Option<TenantId>,
    /// Form of the lines.
    #[arg(long, value_name = "FORMAT", default_value = "jsonl", value_parser = format_of)]
    format: Format,
    /// File, instead of standard output.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

fn format_of(word: &str) -> Result<Format, String> {
    Format::of(word).ok_or_else(|| "this is `jsonl`, `csv` or `cloudevents`".into())
}

/// Runs the command.
pub fn run(args: &Args, output: &Output) -> anyhow::Result<Exit> {
    let log = ReadOnlyLog::open(&args.data).map_err(Failure::from)?;
    let tenant = match args.tenant {
        Some(tenant) => tenant,
        None => only_tenant(&log)?,
    };
    let mut out: Box<dyn Write> = match &args.out {
        Some(path) => Box::new(BufWriter::new(File::create(path).map_err(|error| {
            let message = format!("cannot write `{}`: {error}", path.display());
            Failure::new(Exit::Denied, "file_unwritable", message)
        })?)),
        None => Box::new(BufWriter::new(std::io::stdout().lock())),
    };
    let count = write(args, &log, tenant, &mut out)?;
    out.flush()?;
    if args.out.is_some() {
        output.line(&format!("{count} entries are written"));
    }
    Ok(Exit::Ok)
}

fn write(
    args: &Args,
    log: &ReadOnlyLog,
    tenant: TenantId,
    out: &mut dyn Write,
) -> anyhow::Result<u64> {
    let (mut check, mut text, mut newest) = (Check::default(), String::new(), None);
    let mut failed: Option<anyhow::Error> = None;
    Item::Export { tenant, at: clock::now() }.write(args.format, tenant, &mut text);
    out.write_all(text.as_bytes())?;
    visit_trails(log, &mut |of, part| {
        text.clear();
        match part {
            Ok(Part::Key(key)) if of == PLATFORM => {
                Item::Key(key.public()).write(args.format, tenant, &mut text);
                newest = Some(key);
            }
            Ok(Part::Entry(entry)) if of == tenant => {
                if let Err(broken) = check.entry(&entry) {
                    let message =
                        format!("entry {} is not what it was: {}", broken.seq, broken.why);
                    failed = Some(Failure::finding("audit_broken", message).into());
                }
                Item::Entry(entry).write(args.format, tenant, &mut text);
            }
            Ok(Part::Checkpoint(it)) if of == tenant => {
                Item::Checkpoint(it).write(args.format, tenant, &mut text);
            }
            Err(why) if of == tenant => {
                failed = Some(Failure::finding("audit_broken", why).into());
            }
            _ => {}
        }
        if let Err(error) = out.write_all(text.as_bytes()) {
            failed = Some(error.into());
        }
        failed.is_none()
    })
    .map_err(super::refused)?;
    if let Some(error) = failed {
        return Err(error);
    }
    let signer = newest.ok_or_else(unsigned)?;
    let signer = AuditKey::open(&signer, &secrets::subjects(&args.data)).map_err(super::refused)?;
    text.clear();
    Item::End(signer.end(tenant, check.head(), clock::now())).write(args.format, tenant, &mut text);
    out.write_all(text.as_bytes())?;
    Ok(check.head().seq)
}

pub fn unsigned() -> Failure {
    let message = "nothing was signed in this directory yet; let `traaviis serve` run for a minute";
    Failure::finding("not_found", message)
}

/// Returns the tenant that has a trail, if there is one only.
pub fn only_tenant(log: &ReadOnlyLog) -> Result<TenantId, Failure> {
    let mut tenants = BTreeSet::new();
    visit_trails(log, &mut |tenant, _| {
        tenants.insert(tenant);
        true
    })
    .map_err(super::refused)?;
    tenants.remove(&PLATFORM);
    match tenants.first() {
        Some(only) if tenants.len() == 1 => Ok(*only),
        Some(_) => {
            let all: Vec<String> = tenants.iter().take(10).map(ToString::to_string).collect();
            let message = format!("name one with `--tenant`: {}", all.join(", "));
            Err(Failure::usage(message))
        }
        None => Err(Failure::finding("not_audited", "no tenant has an audit trail here")),
    }
}
