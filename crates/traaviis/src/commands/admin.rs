//! `traaviis admin`: what an operator does to a whole data directory, or to a server.

mod served;

use std::path::{Path, PathBuf};

use serde_json::json;

use crate::{
    commands::secrets::Dir,
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
    /// No process may hold the data directory, except for --dry-run.
    ImportTree {
        /// Directory to read.
        #[arg(value_name = "DIR")]
        source: PathBuf,
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
        Command::ImportTree { source, dry_run, force, dir } => {
            import(source, &dir.data, (*dry_run, *force), output)
        }
        Command::Served(command) => served::run(command, output),
    }
}

fn import(
    source: &Path,
    data: &Path,
    (dry, force): (bool, bool),
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
    let imported = match (dry, refusal) {
        (false, Some(refusal)) => return Err(refusal.into()),
        (true, _) => plan.compare(data, scratch.dir())?,
        (false, None) => plan.import(data, scratch.dir())?,
    };
    tell(&plan, &imported, (dry, data), output);
    Ok(if plan.left_out.is_empty() { Exit::Ok } else { Exit::Finding })
}

fn tell(plan: &Plan, imported: &Imported, (dry, data): (bool, &Path), output: &Output) {
    let Imported { placed, people } = imported;
    if output.is_json() {
        output.json(&json!({
            "dry_run": dry,
            "came": { "instances": placed.instances, "records": placed.records },
            "present": placed.present,
            "resumed": placed.is_resumed,
            "people": people.json(),
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
