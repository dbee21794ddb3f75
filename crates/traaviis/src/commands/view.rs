//! `traaviis view`: the document tree of a data directory, compared with its log.

use std::{
    cell::Cell,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use serde_json::json;
use traaviis_ports::LogStore;
use traaviis_store::{ReadOnlyLog, tree::What};

use crate::{
    data::{lock_holder, needs_log, open_log, sealed},
    exit::{Exit, Failure},
    output::{self, Output},
    terminal::table,
    tree::{self, Compared},
};

/// Time between two lines of progress.
const TELL_EVERY: Duration = Duration::from_secs(1);

/// Compares the document tree, the files under `DIR/tree`, with the log.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    Verify(VerifyArgs),
}

/// Says which files of the document tree differ from the log, and mends them.
///
/// No process may hold the directory. Exit code 1 when files differ and were not mended.
#[derive(Debug, clap::Args)]
struct VerifyArgs {
    /// Data directory.
    dir: PathBuf,
    /// Make files that differ again from the log. What was changed stays beside them as
    /// `NAME.damaged-N`.
    #[arg(long)]
    repair: bool,
}

/// Runs the command.
pub fn run(args: &Args, output: &Output) -> anyhow::Result<Exit> {
    let Action::Verify(args) = &args.action;
    Ok(verify(args, output)?)
}

fn verify(args: &VerifyArgs, output: &Output) -> Result<Exit, Failure> {
    needs_log(&args.dir)?;
    let compared = if args.repair {
        let log = sealed(&args.dir, open_log(&args.dir)?.0);
        let compared = compare(args, &*log);
        log.inner().close();
        compared?
    } else {
        tree::needs_tree(&args.dir)?;
        if let Some(pid) = lock_holder(&args.dir) {
            let message = format!(
                "process `{pid}` holds `{}`, and its tree follows a little behind; stop it first",
                args.dir.display()
            );
            return Err(Failure::new(Exit::Unreachable, "data_directory_locked", message));
        }
        let log = sealed(&args.dir, Arc::new(ReadOnlyLog::open(&args.dir)?));
        compare(args, &*log)?
    };
    report(args, &compared, output);
    let newer = compared.found.counts.contains_key(&What::Newer);
    let is_whole = compared.found.count() == 0 || (args.repair && !newer);
    Ok(if is_whole { Exit::Ok } else { Exit::Finding })
}

fn compare(args: &VerifyArgs, log: &dyn LogStore) -> Result<Compared, Failure> {
    let (tail, told) = (log.tail(), Cell::new(Instant::now()));
    tree::compare(&args.dir, log, args.repair, &|position| {
        if told.get().elapsed() >= TELL_EVERY {
            told.set(Instant::now());
            output::warn(format_args!("{position} of {tail} records"));
        }
    })
}

fn report(args: &VerifyArgs, compared: &Compared, output: &Output) {
    let found = &compared.found;
    if output.is_json() {
        let files: Vec<_> = found
            .differences
            .iter()
            .map(|it| {
                let what = it.what.as_str();
                json!({
                    "path": it.path, "what": what, "detail": it.detail,
                    "repaired": it.is_repaired,
                })
            })
            .collect();
        let counts: serde_json::Map<String, serde_json::Value> = What::ALL
            .iter()
            .map(|it| {
                let count = found.counts.get(it).copied().unwrap_or_default();
                (it.as_str().to_string(), json!(count))
            })
            .collect();
        output.json(&json!({
            "documents": found.documents,
            "line_files": found.line_files,
            "position": compared.position,
            "differences": found.count(),
            "by_kind": counts,
            "files": files,
            "set_aside": found.set_aside,
            "others": found.others,
            "left_out": compared.left_out,
        }));
        return;
    }
    if !found.differences.is_empty() {
        let rows: Vec<Vec<String>> = found
            .differences
            .iter()
            .map(|it| {
                let end = if it.is_repaired { "made again" } else { "" };
                vec![it.what.as_str().into(), it.path.clone(), it.detail.clone(), end.into()]
            })
            .collect();
        output.text(&table(&["WHAT", "FILE", "DETAIL", ""], &rows));
        let more = found.count() - found.differences.len() as u64;
        if more > 0 {
            output.line(&format!("and {more} more"));
        }
    }
    let (documents, lines) = (found.documents, found.line_files);
    let whole = format!("{documents} documents and {lines} files of lines");
    let dir = args.dir.display();
    output.line(&match (found.count(), args.repair) {
        (0, _) => format!("{whole} in `{dir}` say what the log says"),
        (count, true) => format!("{count} of {whole} in `{dir}` differed"),
        (count, false) => format!(
            "{count} of {whole} in `{dir}` differ; `traaviis view verify {dir} --repair` makes \
             them again"
        ),
    });
    if found.set_aside > 0 {
        output.line(&format!(
            "{} files stand aside as `*.damaged-N`; look at them, then delete them",
            found.set_aside
        ));
    }
    for id in &compared.left_out {
        output.line(&format!("instance {id} is damaged; its files were left as they are"));
    }
}
