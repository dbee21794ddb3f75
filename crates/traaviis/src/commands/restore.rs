//! `traaviis restore`: a data directory, made from a backup.

use std::path::PathBuf;

use serde_json::json;
use traaviis_model::Timestamp;
use traaviis_ports::Position;
use traaviis_store::backup::{self, Until};

use crate::{
    backups::target,
    commands::backup::{IdentityArgs, Told, Which, size},
    exit::{Exit, Failure},
    output::Output,
};

/// Makes a data directory from a backup: whole, or up to a position or time.
///
/// Nothing runs yet; whoever opens the directory next carries on what is open in it. If the
/// original still runs, both do the same work from then on.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Folder of backups, or `s3://BUCKET/PREFIX`.
    target: PathBuf,
    /// Directory to make; it must not exist, or be empty.
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    #[command(flatten)]
    which: Which,
    #[command(flatten)]
    identities: IdentityArgs,
    /// Leave out this record of the log and everything after it, by whole commits.
    #[arg(long, value_name = "POSITION", conflicts_with = "time")]
    position: Option<Position>,
    /// Leave out what was committed after this time, such as 2026-01-31T10:00:00Z.
    #[arg(long, value_name = "TIME")]
    time: Option<Timestamp>,
}

/// Runs the command.
pub fn run(args: &Args, output: &Output) -> anyhow::Result<Exit> {
    let identities = args.identities.read()?;
    let target = target(&args.target)?;
    let (name, manifest) = args.which.find(&*target)?;
    let until = match (args.position, args.time) {
        (Some(position), _) => Until::Position(position),
        (None, Some(time)) => Until::Time(time),
        (None, None) => Until::End,
    };
    let mut told = Told::new("restored");
    let progress: backup::Progress<'_> = &mut |done, all| told.tell(done, all);
    let restored = backup::restore(&*target, &manifest, &identities, until, &args.data, progress)
        .map_err(Failure::from)?;
    if output.is_json() {
        output.json(&json!({
            "manifest": target.show(&name),
            "data": args.data,
            "position": restored.position,
            "files": restored.files,
            "bytes": restored.bytes,
            "root_keys": manifest.root_keys,
        }));
    } else {
        output.line(&format!(
            "`{}` restored up to position {} of {}: {} files, {}",
            args.data.display(),
            restored.position,
            manifest.position,
            restored.files,
            size(restored.bytes),
        ));
        let needed: Vec<String> = manifest.root_keys.iter().map(|it| format!("`{it}`")).collect();
        if !needed.is_empty() {
            output.line(&format!(
                "its secrets need the root key {}; `traaviis doctor --data {}` tries them",
                needed.join(" and "),
                args.data.display()
            ));
        }
    }
    Ok(Exit::Ok)
}
