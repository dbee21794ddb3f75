//! `traaviis compact`: the log of a data directory made smaller.

use std::{
    path::PathBuf,
    time::{Duration, Instant},
};

use serde_json::json;
use traaviis_ports::Compacted;

use crate::{
    data::{Data, would_compact},
    exit::Exit,
    output::{self, Output},
    terminal::bytes,
};

/// Time between two lines of progress.
const TELL_EVERY: Duration = Duration::from_secs(1);

/// Archives instances that ended long ago and drops their records from the log.
///
/// `run --data` does this by itself, gently; this command does it now, as fast as it goes. Archived
/// instances can still be shown, replayed and exported. Only segments behind which every kept
/// checkpoint begins are made smaller, so the newest part of the log stays. No process may hold the
/// directory, except for --dry-run.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Data directory.
    #[arg(default_value = "./data")]
    dir: PathBuf,
    /// Change nothing; say how many instances are due and what of the archived ones can be freed.
    #[arg(long)]
    dry_run: bool,
}

/// Runs the command.
pub fn run(args: &Args, output: &Output) -> anyhow::Result<Exit> {
    let mut told = Instant::now();
    let mut tell = |so_far: Compacted| {
        if told.elapsed() >= TELL_EVERY {
            told = Instant::now();
            let Compacted { segments, .. } = so_far;
            output::warn(format_args!("{segments} segments, {} freed", bytes(freed(&so_far))));
        }
    };
    if args.dry_run {
        let (compacted, due) = would_compact(&args.dir, &mut tell)?;
        if output.is_json() {
            output.json(&json!({ "dry_run": true, "due": due, "log": of(&compacted) }));
            return Ok(Exit::Ok);
        }
        output.line(&format!(
            "{due} instances are due for the archive; {} of {} sealed segments can be freed",
            bytes(freed(&compacted)),
            bytes(compacted.bytes_before)
        ));
        return Ok(Exit::Ok);
    }
    let data = Data::open_for_upkeep(&args.dir)?;
    let result = data.upkeep(&mut tell);
    data.close()?;
    let upkept = result?;
    let compacted = &upkept.compacted;
    if output.is_json() {
        output.json(&json!({
            "dry_run": false,
            "archived": upkept.archived,
            "kept": upkept.kept,
            "deleted": upkept.deleted,
            "log": of(compacted),
        }));
        return Ok(Exit::Ok);
    }
    output.line(&format!(
        "{} instances archived, {} archive files deleted; {} records dropped from {} of {} sealed \
         segments, {} freed",
        upkept.archived,
        upkept.deleted,
        compacted.records,
        compacted.replaced,
        compacted.segments,
        bytes(freed(compacted))
    ));
    if upkept.kept > 0 {
        output.line(&format!(
            "{} instances are due and stay in the log: damaged, or too large for a file",
            upkept.kept
        ));
    }
    Ok(Exit::Ok)
}

fn freed(compacted: &Compacted) -> u64 {
    compacted.bytes_before.saturating_sub(compacted.bytes_after)
}

fn of(compacted: &Compacted) -> serde_json::Value {
    json!({
        "segments": compacted.segments,
        "replaced": compacted.replaced,
        "records": compacted.records,
        "bytes_before": compacted.bytes_before,
        "bytes_after": compacted.bytes_after,
    })
}
