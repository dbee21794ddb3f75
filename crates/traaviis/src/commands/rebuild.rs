//! `traaviis rebuild`: index and document tree of a data directory, made again from its log.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use serde_json::json;
use traaviis_platform::ledger::Ledgers;
use traaviis_ports::{DocumentError, LogStore};
use traaviis_runtime::index::Rebuilt;
use traaviis_store::{LocalLog, LocalTree, SealedLog, SqliteDocuments, SqliteIndex};

use crate::{
    data::{needs_log, open_log, sealed},
    exit::{Exit, Failure},
    lookup::Aside,
    operations::DataArgs,
    output::{self, Output},
    platform,
    storage::StorageMode,
    tree::{self, Compared, TreeMode},
};

/// Time between two lines of progress.
const TELL_EVERY: Duration = Duration::from_secs(1);

/// Makes the index and the document tree of a data directory again from its log.
///
/// The index answers `ps`, `show` and others without reading the log. It is kept by the running
/// process and made again by itself when it is missing, damaged or does not fit the log; this
/// command does it now. A directory that is kept as JSON has no index, and gets none. The document
/// tree is made again if there is one or the last run kept one; files that say what the log says
/// stay as they are, and what was changed stays beside them as `NAME.damaged-N`. No process may
/// hold the directory.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    data: DataArgs,
    /// Make the document tree even if there is none.
    #[arg(long)]
    tree: bool,
    /// Go on with what the log has of the documents of a server, when nobody can tell whether the
    /// last ones are lost: a right that was taken away may be there again.
    #[arg(long)]
    accept_lost_documents: bool,
}

/// Runs the command.
pub fn run(args: &Args, output: &Output) -> anyhow::Result<Exit> {
    let dir = args.data.dir();
    needs_log(dir)?;
    let storage = StorageMode::resolve(dir, None)?;
    let log = sealed(dir, open_log(dir)?.0);
    let begun = Instant::now();
    if args.accept_lost_documents {
        accept_losses(dir, &log)?;
    }
    let index = match storage {
        StorageMode::Embedded => Some(index(dir, &log)?),
        StorageMode::JsonOnly => None,
    };
    let is_shown = args.tree
        || storage == StorageMode::JsonOnly
        || LocalTree::open(dir).exists()
        || TreeMode::remembered(dir) != TreeMode::Off;
    let shown = match is_shown {
        true => Some(tree::compare(dir, &*log, true, &|_| ())?),
        false => None,
    };
    let seconds = (begun.elapsed().as_secs_f64() * 1_000.0).round() / 1_000.0;
    let position = log.tail();
    log.inner().close();
    let rebuilt = index.as_ref().map(|it| it.0);
    if output.is_json() {
        output.json(&json!({
            "storage": storage,
            "records": rebuilt.map(|it| it.records),
            "instances": rebuilt.map(|it| it.instances),
            "damaged": rebuilt.map(|it| it.damaged),
            "position": rebuilt.map_or(position, |it| it.position),
            "seconds": seconds,
            "set_aside": index.as_ref().and_then(|it| it.1.as_ref()),
            "tree": shown.map(|it| json!({
                "documents": it.found.documents,
                "line_files": it.found.line_files,
                "made_again": it.found.count(),
                "set_aside": it.found.set_aside,
            })),
        }));
        return Ok(Exit::Ok);
    }
    output.line(&match rebuilt {
        Some(rebuilt) => format!(
            "index of `{}` made again: {} instances from {} records in {seconds} s",
            dir.display(),
            rebuilt.instances,
            rebuilt.records
        ),
        None => format!("`{}` is kept as JSON, so it has no index", dir.display()),
    });
    if let Some(Compared { found, .. }) = &shown {
        output.line(&format!(
            "document tree: {} of {} documents and {} files of lines made again",
            found.count(),
            found.documents,
            found.line_files
        ));
    }
    if let Some(rebuilt) = rebuilt.filter(|it| it.damaged > 0) {
        output.line(&format!(
            "{} damaged instances are left out; `traaviis doctor` names the places",
            rebuilt.damaged
        ));
    }
    Ok(Exit::Ok)
}

/// Opens the ledgers that a server closed in doubt; says which stay closed.
fn accept_losses(dir: &Path, log: &Arc<SealedLog<LocalLog>>) -> Result<(), Failure> {
    let failed =
        |error: DocumentError| Failure::new(Exit::Internal, "documents_failed", error.to_string());
    let documents = SqliteDocuments::open(dir).map_err(failed)?;
    let ways = platform::ways(dir, Arc::clone(log) as Arc<dyn LogStore>, documents);
    let closed = Ledgers::accept_losses(&*ways.log, &*ways.documents)
        .map_err(|it| Failure::new(Exit::Finding, &it.code, it.message))?;
    for (_, why) in closed {
        output::warn(format_args!("warning: {why} (data_directory_damaged)"));
    }
    Ok(())
}

/// Makes the index again; returns what was done, and where an index is that could not be used.
fn index(dir: &Path, log: &SealedLog<LocalLog>) -> Result<(Rebuilt, Option<PathBuf>), Failure> {
    let (index, aside) = SqliteIndex::open(dir).map_err(Failure::from)?;
    if let Some(aside) = &aside {
        output::warn(format_args!("warning: {} (index_failed)", Aside(aside)));
    }
    let (mut told, tail) = (Instant::now(), log.tail());
    let rebuilt = traaviis_runtime::index::rebuild(log, &index, &mut |position| {
        if told.elapsed() >= TELL_EVERY {
            told = Instant::now();
            output::warn(format_args!("{position} of {tail} records"));
        }
    })
    .map_err(|error| Failure::new(Exit::Finding, error.code(), error.to_string()))?;
    Ok((rebuilt, aside.map(|it| it.path)))
}
