//! `traaviis admin`: what an operator does to a whole data directory, or to a server.

mod served;

use std::path::{Path, PathBuf};

use serde_json::json;
use traaviis_ports::Position;
use traaviis_store::backup;

use crate::{
    backups, clock,
    commands::secrets::Dir,
    data::needs_log,
    exit::{Exit, Failure},
    import_tree::{self, Imported, Plan, Said, said},
    output::Output,
    scratch::Scratch,
};

/// Looks after a whole data directory, or a server.
///
/// `import-tree` works on the files. The others ask the server that `traaviis login` was for, as
/// somebody who looks after the platform.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Puts a document tree, or data of an earlier layout, into a data directory.
    ///
    /// DIR is a tree, a data directory with one, or a directory in the layout of an earlier
    /// release. Everything is read and checked before anything is changed, and every file that is
    /// not taken is named with the reason. Ids stay; one that is taken by something else refuses
    /// the import. What is there already stays as it is, so the same import again changes nothing.
    /// No process may hold the data directory, except for --dry-run and --backup-only.
    ///
    /// Before the first change to a directory that is in use it is backed up, beside it unless you
    /// say where; `traaviis restore` brings it back as it was.
    ImportTree {
        /// Directory to read.
        #[arg(value_name = "DIR")]
        source: PathBuf,
        /// Make the backup of the data directory and import nothing.
        #[arg(long, conflicts_with_all = ["dry_run", "force", "no_backup"])]
        backup_only: bool,
        /// Where it is backed up: a folder of backups or `s3://BUCKET/PREFIX`. Default: the data
        /// directory with `.backups` behind its name
        #[arg(long, value_name = "TARGET", conflicts_with_all = ["dry_run", "no_backup"])]
        backup_into: Option<PathBuf>,
        /// Import without a backup before.
        #[arg(long, conflicts_with = "dry_run")]
        no_backup: bool,
        /// Change nothing; say what would come, and what would not.
        #[arg(long)]
        dry_run: bool,
        /// Import although some files cannot be taken; they are left out, and named.
        #[arg(long)]
        force: bool,
        #[command(flatten)]
        dir: Dir,
    },
    #[command(flatten)]
    Served(served::Command),
}

/// Runs the command.
pub fn run(args: &Args, output: &Output) -> anyhow::Result<Exit> {
    match &args.command {
        Command::ImportTree { backup_only: true, backup_into, dir, .. } => {
            needs_log(&dir.data)?;
            let made = back_up(&dir.data, backup_into.as_deref())?;
            if output.is_json() {
                output.json(&json!({ "backup": made.shown, "position": made.position }));
            } else {
                made.tell(&dir.data, output);
            }
            Ok(Exit::Ok)
        }
        Command::ImportTree { source, dry_run, force, dir, backup_into, no_backup, .. } => {
            let backup = if *no_backup { Before::Nothing } else { Before::Backup(backup_into) };
            import(source, &dir.data, (*dry_run, *force), backup, output)
        }
        Command::Served(command) => served::run(command, output),
    }
}

/// What is done before the first change.
enum Before<'a> {
    Nothing,
    Backup(&'a Option<PathBuf>),
}

/// A backup that was made before an import.
struct Made {
    shown: String,
    place: PathBuf,
    position: Position,
}

impl Made {
    fn tell(&self, data: &Path, output: &Output) {
        let (place, data, position) = (self.place.display(), data.display(), self.position);
        output.line(&format!(
            "`{data}` is backed up into `{place}` up to position {position}; `traaviis restore \
             {place} --backup {position} --data NEW` brings it back as it was"
        ));
    }
}

/// Backs a data directory up, beside it unless somebody said where.
fn back_up(data: &Path, into: Option<&Path>) -> Result<Made, Failure> {
    let place = match into {
        Some(place) => place.to_path_buf(),
        None => {
            let data = std::path::absolute(data).map_err(|it| Failure::usage(it.to_string()))?;
            let name = data.file_name().unwrap_or_default().to_string_lossy().into_owned();
            data.with_file_name(format!("{name}.backups"))
        }
    };
    let target = backups::target(&place)?;
    let options = backup::Options::default();
    let taken = backup::take(data, &*target, &options, clock::now(), &mut |_, _| ())?;
    let shown = target.show(&taken.name);
    Ok(Made { shown, place, position: taken.manifest.position })
}

fn import(
    source: &Path,
    data: &Path,
    (dry, force): (bool, bool),
    before: Before<'_>,
    output: &Output,
) -> anyhow::Result<Exit> {
    let above = data.parent().filter(|it| !it.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let scratch = Scratch::below(above)?;
    let plan = import_tree::plan(source, data, scratch.dir())?;
    if plan.is_empty() && plan.left_out.is_empty() {
        let message = format!("`{}` holds nothing that can be imported", source.display());
        return Err(Failure::finding("import_refused", message).into());
    }
    let refusal = plan.refusal().filter(|_| !force);
    let mut made = None;
    let imported = match (dry, refusal) {
        (false, Some(refusal)) => return Err(refusal.into()),
        (true, _) => plan.compare(data, scratch.dir())?,
        (false, None) => {
            // What refuses an import refuses it before anything is written, a backup included.
            let is_in_use = data.join("log").is_dir();
            if is_in_use && plan.compare(data, scratch.dir())?.changes() {
                made = match before {
                    Before::Backup(into) => Some(back_up(data, into.as_deref())?),
                    Before::Nothing => None,
                };
            }
            plan.import(data, scratch.dir())?
        }
    };
    if let Some(made) = made.as_ref().filter(|_| !output.is_json()) {
        made.tell(data, output);
    }
    tell(&plan, &imported, (dry, data), made.as_ref(), output);
    Ok(if plan.left_out.is_empty() { Exit::Ok } else { Exit::Finding })
}

fn tell(
    plan: &Plan,
    imported: &Imported,
    (dry, data): (bool, &Path),
    made: Option<&Made>,
    output: &Output,
) {
    let Imported { placed, people } = imported;
    if output.is_json() {
        output.json(&json!({
            "dry_run": dry,
            "backup": made.map(|it| &it.shown),
            "came": { "instances": placed.instances, "records": placed.records },
            "present": placed.present,
            "resumed": placed.is_resumed,
            "people": people.json(),
            "plans": people.plans_json(),
            "changed": said(&plan.changed),
            "left_out": said(&plan.left_out),
            "passed_over": said(&plan.passed_over),
        }));
        return;
    }
    output.line(&format!(
        "{} `{}`: {} instances with {} records, {} users, {} tenants, {} roles, {} members; {} \
         were there already",
        if dry { "would come into" } else { "came into" },
        data.display(),
        placed.instances,
        placed.records,
        people.users,
        people.tenants,
        people.roles,
        people.members,
        placed.present + people.present as u64,
    ));
    for it in &people.plans {
        output.line(&format!(
            "plan: tenant {} had `{}`, and has `{}` here; `traaviis tenant plan` gives it another",
            it.tenant,
            it.from,
            it.to.as_str(),
        ));
    }
    let groups = [
        ("came otherwise than it was", &plan.changed),
        ("left out", &plan.left_out),
        ("passed over", &plan.passed_over),
    ];
    for (word, files) in groups {
        for Said { path, why } in files {
            output.line(&format!("{word}: {path}: {why}"));
        }
    }
}
