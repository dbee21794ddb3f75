//! `traaviis audit verify`: says whether an audit trail is what it was, without a server.

use std::{
    fs::{self, File},
    io::{self, BufRead as _, BufReader, IsTerminal as _},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use serde_json::{Value as Json, json};
use traaviis_model::TenantId;
use traaviis_platform::{
    checkpoints::PublicKey,
    proof::{ExportProof, Found, Kept, Proven, prove_log},
};
use traaviis_store::ReadOnlyLog;

use super::{of_tenant, tenant_of};
use crate::{
    exit::{Exit, Failure},
    output::{self, Output},
};

/// Checks an export, or the trails of a data directory: the chain of entries, and what is signed
/// over it.
///
/// Whoever can write the file or the directory can make a trail anew and sign it with a key of
/// their own, or leave out its end. `--checkpoint` names one that was kept elsewhere: it says which
/// key is right, and which entry must be there.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: traaviis audit verify --checkpoint kept.json trail.jsonl")]
pub struct Args {
    /// Export, as `traaviis audit export` or the server wrote it.
    #[arg(value_name = "FILE", required_unless_present = "data", conflicts_with = "data")]
    file: Option<PathBuf>,
    /// Data directory; a running server may hold it.
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Only the trail of this tenant; `platform` is that of the installation.
    #[arg(long, value_name = "ID", requires = "data", value_parser = tenant_of)]
    tenant: Option<TenantId>,
    /// A checkpoint that was kept: the answer of `GET T/audit/checkpoints`, or one item of it.
    #[arg(long, value_name = "FILE")]
    checkpoint: Option<PathBuf>,
}

/// Runs the command.
pub fn run(args: &Args, output: &Output) -> anyhow::Result<Exit> {
    let kept = args.checkpoint.as_deref().map(kept_in).transpose()?;
    let found = match (&args.file, &args.data) {
        (Some(file), _) => of_export(file, kept)?,
        (None, Some(dir)) => {
            let log = ReadOnlyLog::open(dir).map_err(Failure::from)?;
            let mut progress = Progress::begin();
            let found = prove_log(&log, args.tenant, kept.as_ref(), &mut || progress.entry());
            let found = found.map_err(super::refused)?;
            let damage = log.damage();
            if !damage.is_empty() {
                let message = format!(
                    "records of the log in `{}` cannot be read, so a trail may not be whole; \
                     `traaviis doctor` says which",
                    dir.display()
                );
                return Err(Failure::finding("data_directory_damaged", message).into());
            }
            found
        }
        (None, None) => {
            return Err(Failure::usage("name a file, or a directory with --data").into());
        }
    };
    Ok(tell(&found, output))
}

fn of_export(file: &Path, kept: Option<Kept>) -> Result<Found, Failure> {
    let unread = |error: io::Error| {
        let message = format!("cannot read `{}`: {error}", file.display());
        Failure::finding("file_unreadable", message)
    };
    let mut proof = ExportProof::new(kept);
    let mut found = Found::default();
    let lines = BufReader::new(File::open(file).map_err(unread)?).lines();
    let mut progress = Progress::begin();
    let mut checked = Ok(());
    for line in lines {
        progress.entry();
        checked = proof.line(&line.map_err(unread)?);
        if checked.is_err() {
            break;
        }
    }
    match checked.and_then(|()| proof.finish()) {
        Ok(proven) => found.proven.push(proven),
        Err(broken) => found.broken.push((proof.tenant(), broken)),
    }
    found.keys = proof.keys().cloned().collect();
    Ok(found)
}

/// Tells people who wait how far it is.
struct Progress {
    entries: u64,
    told: Instant,
}

impl Progress {
    fn begin() -> Progress {
        Progress { entries: 0, told: Instant::now() }
    }

    /// Counts an entry that is about to be checked.
    fn entry(&mut self) {
        self.entries += 1;
        // The time is asked for rarely: an entry takes less than some clocks do.
        if self.entries.is_multiple_of(LOOK)
            && self.told.elapsed() > PROGRESS
            && io::stderr().is_terminal()
        {
            output::warn(format_args!("{} entries", self.entries));
            self.told = Instant::now();
        }
    }
}

fn tell(found: &Found, output: &Output) -> Exit {
    let exit = if found.broken.is_empty() { Exit::Ok } else { Exit::Finding };
    if output.is_json() {
        let proven = found.proven.iter().map(|it| {
            let Proven { tenant, count, hash, signed_to } = it;
            json!({ "tenant": tenant, "entries": count, "hash": hash, "signed_to": signed_to })
        });
        let broken = found.broken.iter().map(|(tenant, it)| {
            json!({ "tenant": tenant, "seq": it.seq, "why": it.why, "code": BROKEN })
        });
        output.json(&json!({
            "whole": found.broken.is_empty(),
            "trails": proven.collect::<Vec<_>>(),
            "broken": broken.collect::<Vec<_>>(),
            "keys": found.keys,
        }));
        return exit;
    }
    for Proven { tenant, count, signed_to, .. } in &found.proven {
        let of = tenant.map(of_tenant).unwrap_or_default();
        let behind = count - signed_to;
        let rest = match behind {
            0 => String::new(),
            _ => format!(", the last {behind} of them chained and not signed yet"),
        };
        output.line(&format!("whole: {count} entries{of}{rest}"));
    }
    for PublicKey { kid, x } in &found.keys {
        output.line(&format!("signed by key {kid} ({x})"));
    }
    for (tenant, broken) in &found.broken {
        let of = tenant.map(of_tenant).unwrap_or_default();
        let (seq, why) = (broken.seq, &broken.why);
        output::warn(format_args!("error: entry {seq}{of} is not what it was: {why} ({BROKEN})"));
    }
    exit
}

/// Entries from one look at the clock to the next.
const LOOK: u64 = 1_024;
/// Between two lines about the progress.
const PROGRESS: Duration = Duration::from_secs(2);

/// Code of a trail that is not what it was.
const BROKEN: &str = "audit_broken";

/// Reads a checkpoint that was kept.
fn kept_in(file: &Path) -> Result<Kept, Failure> {
    let unread = |why: String| {
        let message = format!("`{}` holds no checkpoint: {why}", file.display());
        Failure::finding("file_unreadable", message)
    };
    let text = fs::read_to_string(file).map_err(|error| unread(error.to_string()))?;
    let json: Json = serde_json::from_str(&text).map_err(|error| unread(error.to_string()))?;
    let newest = json["items"].get(0).or_else(|| json.get("checkpoint")).unwrap_or(&json);
    let checkpoint: traaviis_platform::checkpoints::Checkpoint =
        serde_json::from_value(newest.clone()).map_err(|error| unread(error.to_string()))?;
    let keys = json["keys"]["keys"].as_array().cloned().unwrap_or_default();
    let keys = keys.into_iter().filter_map(|it| serde_json::from_value::<PublicKey>(it).ok());
    let key = keys.into_iter().find(|it| it.kid == checkpoint.kid);
    if let Some(key) = &key
        && !checkpoint.is_signed_by(key)
    {
        return Err(unread("its signature is not good".into()));
    }
    Ok(Kept { checkpoint, key })
}
