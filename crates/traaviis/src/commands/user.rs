//! `traaviis user`: who looks after the platform, decided by whoever may read its files; and the
//! users of a server, for who does.

mod served;

use std::{path::Path, sync::Arc};

use serde_json::json;
use traaviis_platform::{Platform, admin::Promoted, audit::Via, user::PlatformRole};

use super::secrets::Dir;
use crate::{
    data::{needs_log, open_log, sealed},
    exit::{Exit, Failure},
    output::Output,
    platform,
};

/// Looks after users: of a data directory that nobody holds, or of a server.
///
/// `promote` and `demote` work on the files. The others ask the server that `traaviis login` was
/// for, as somebody who looks after the platform.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Lets a user look after the platform: all users and tenants, though not their data.
    ///
    /// No process may hold the directory.
    #[command(after_help = "Example: traaviis user promote root@example.org --data ./data")]
    Promote(Who),
    /// Takes that away again.
    #[command(after_help = "Example: traaviis user demote root@example.org --data ./data")]
    Demote(Who),
    #[command(flatten)]
    Served(served::Command),
}

#[derive(Debug, clap::Args)]
struct Who {
    /// E-mail address of the account.
    email: String,
    #[command(flatten)]
    dir: Dir,
}

/// Runs the command.
pub fn run(args: &Args, output: &Output) -> anyhow::Result<Exit> {
    let (who, role) = match &args.command {
        Command::Promote(who) => (who, PlatformRole::PlatformAdmin),
        Command::Demote(who) => (who, PlatformRole::User),
        Command::Served(command) => return served::run(command, output),
    };
    let promoted = with_platform(&who.dir.data, |platform| {
        let via = Via { way: "command_line", ..Via::default() };
        platform.promote(&who.email, role, &via).map_err(refused)
    })?;
    let changed = promoted != Promoted::Already;
    if output.is_json() {
        let role = role.as_str();
        output.json(&json!({ "email": who.email, "platform_role": role, "changed": changed }));
        return Ok(Exit::Ok);
    }
    let (email, word) = (&who.email, if changed { "now" } else { "already" });
    output.line(&match role {
        PlatformRole::PlatformAdmin => format!("{email} {word} looks after the platform"),
        PlatformRole::User => format!("{email} is {word} a user like others"),
    });
    Ok(Exit::Ok)
}

/// Opens the platform of a directory that nobody else holds, and closes it again.
fn with_platform<T>(
    dir: &Path,
    work: impl FnOnce(&Platform) -> Result<T, Failure>,
) -> Result<T, Failure> {
    needs_log(dir)?;
    let (log, _) = open_log(dir)?;
    let done = platform::open(dir, sealed(dir, Arc::clone(&log)), dir, refused)
        .and_then(|platform| work(&platform));
    log.close();
    done
}

fn refused(error: traaviis_platform::Error) -> Failure {
    let exit = match &*error.code {
        "not_found" | "validation_failed" | "invalid_state" => Exit::Finding,
        _ => Exit::Internal,
    };
    Failure::new(exit, &error.code, error.message)
}
