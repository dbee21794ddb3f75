//! `traaviis rebuild`: index and document tree of a data directory, made again from its log.

use std::time::{Duration, Instant};

use serde_json::json;
use traaviis_ports::LogStore as _;
use traaviis_store::{LocalTree, SqliteIndex};

use crate::{
    data::{needs_log, open_log, sealed},
    exit::{Exit, Failure},
    lookup::Aside,
    operations::DataArgs,
    output::{self, Output},
    tree::{self, Compared, TreeMode},
};

/// Time between two lines of progress.
const TELL_EVERY: Duration = Duration::from_secs(1);

/// Makes the index and the document tree of a data directory again from its log.
///
/// The index answers `ps`, `show` and others without reading the log. It is kept by the running
/// process and made again by itself when it is missing, damaged or does not fit the log; this
/// command does it now. The document tree is made again if there is one or the last run kept one;
/// files that say what the log says stay as they are, and what was changed stays beside them as
/// `NAME.damaged-N`. No process may hold the directory.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    data: DataArgs,
    /// Make the document tree even if there is none.
    #[arg(long)]
    tree: bool,
}

/// Runs the command.
pub fn run(args: &Args, output: &Output) -> anyhow::Result<Exit> {
    let dir = args.data.dir();
    needs_log(dir)?;
    let log = sealed(dir, open_log(dir)?.0);
    let (index, aside) = SqliteIndex::open(dir).map_err(Failure::from)?;
    if let Some(aside) = &aside {
        output::warn(format_args!("warning: {} (index_failed)", Aside(aside)));
    }
    let (begun, tail) = (Instant::now(), log.tail());
    let mut told = begun;
    let rebuilt = traaviis_runtime::index::rebuild(&*log, &index, &mut |position| {
        if told.elapsed() >= TELL_EVERY {
            told = Instant::now();
            output::warn(format_args!("{position} of {tail} records"));
        }
    })
    .map_err(|error| Failure::new(Exit::Finding, error.code(), error.to_string()))?;
    let is_shown =
        args.tree || LocalTree::open(dir).exists() || TreeMode::remembered(dir) != TreeMode::Off;
    let shown = match is_shown {
        true => Some(tree::compare(dir, &*log, true, &|_| ())?),
        false => None,
    };
    let seconds = (begun.elapsed().as_secs_f64() * 1_000.0).round() / 1_000.0;
    log.inner().close();
    if output.is_json() {
        output.json(&json!({
            "records": rebuilt.records,
            "instances": rebuilt.instances,
            "damaged": rebuilt.damaged,
            "position": rebuilt.position,
            "seconds": seconds,
            "set_aside": aside.map(|it| it.path),
            "tree": shown.map(|it| json!({
                "documents": it.found.documents,
                "line_files": it.found.line_files,
                "made_again": it.found.count(),
                "set_aside": it.found.set_aside,
            })),
        }));
        return Ok(Exit::Ok);
    }
    output.line(&format!(
        "index of `{}` made again: {} instances from {} records in {seconds} s",
        dir.display(),
        rebuilt.instances,
        rebuilt.records
    ));
    if let Some(Compared { found, .. }) = &shown {
        output.line(&format!(
            "document tree: {} of {} documents and {} files of lines made again",
            found.count(),
            found.documents,
            found.line_files
        ));
    }
    if rebuilt.damaged > 0 {
        output.line(&format!(
            "{} damaged instances are left out; `traaviis doctor` names the places",
            rebuilt.damaged
        ));
    }
    Ok(Exit::Ok)
}
