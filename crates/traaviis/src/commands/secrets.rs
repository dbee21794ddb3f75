//! `traaviis secrets`: values that only calls are told, set and deleted.

use std::{
    fs::File,
    io::{IsTerminal as _, Read},
    path::PathBuf,
};

use serde_json::{Value as Json, json};
use traaviis_model::{TenantCtx, limits::SECRET_BYTES_MAX};
use traaviis_store::SecretInfo;
use zeroize::Zeroizing;

use crate::{
    clock,
    exit::{Exit, Failure},
    output::{self, Output},
    secrets::kept,
    terminal::table,
};

/// Sets and deletes secrets, which `secret("NAME")` names in workflows; never shows one.
///
/// They are sealed in the data directory, with a key that the root key wraps. A process that runs
/// the directory takes a change at its next call.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Sets a secret to what standard input or a file holds, without the line end at its end.
    Set(SetArgs),
    /// Lists the names of secrets, how often and when they were set, and the key that seals them.
    List(Dir),
    /// Deletes a secret. Backups that were made before still hold it, sealed.
    Delete {
        /// Name.
        name: String,
        #[command(flatten)]
        dir: Dir,
    },
}

#[derive(Debug, clap::Args)]
struct SetArgs {
    /// Name: a small letter, then small letters, digits and `_`.
    name: String,
    /// File with the value, instead of standard input.
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    #[command(flatten)]
    dir: Dir,
}

/// Which data directory is meant.
#[derive(Debug, clap::Args)]
pub struct Dir {
    /// Data directory.
    #[arg(long, value_name = "DIR", default_value = "./data")]
    pub data: PathBuf,
}

/// Runs the command.
pub fn run(args: &Args, output: &Output) -> anyhow::Result<Exit> {
    match &args.command {
        Command::Set(args) => set(args, output),
        Command::List(dir) => list(dir, output),
        Command::Delete { name, dir } => delete(name, dir, output),
    }
}

fn set(args: &SetArgs, output: &Output) -> anyhow::Result<Exit> {
    let value = value(args)?;
    let ctx = TenantCtx::local_operator();
    let secrets = kept(&args.dir.data);
    let set = secrets.set(&ctx, &args.name, &value, clock::now()).map_err(Failure::from)?;
    match output.is_json() {
        true => output.json(&json!({ "secret": of(&set) })),
        false => output.line(&format!("secret `{}` is set, version {}", set.name, set.version)),
    };
    Ok(Exit::Ok)
}

fn delete(name: &str, dir: &Dir, output: &Output) -> anyhow::Result<Exit> {
    let ctx = TenantCtx::local_operator();
    kept(&dir.data).delete(&ctx, name).map_err(Failure::from)?;
    match output.is_json() {
        true => output.json(&json!({ "deleted": name })),
        false => output.line(&format!("secret `{name}` is deleted")),
    };
    Ok(Exit::Ok)
}

fn list(dir: &Dir, output: &Output) -> anyhow::Result<Exit> {
    let ctx = TenantCtx::local_operator();
    let (mut rows, mut items, mut exit) = (Vec::new(), Vec::new(), Exit::Ok);
    for (_, found) in kept(&dir.data).list(&ctx).map_err(Failure::from)? {
        match found {
            Ok(it) => {
                items.push(of(&it));
                rows.push(vec![
                    it.name,
                    it.version.to_string(),
                    it.updated_at.map(|it| it.to_string()).unwrap_or_default(),
                    it.key.to_string(),
                ]);
            }
            Err(error) => {
                exit = Exit::Finding;
                output::warn(format_args!("warning: {error} ({})", error.code()));
            }
        }
    }
    if output.is_json() {
        output.json(&json!({ "secrets": items }));
    } else if rows.is_empty() {
        output.line(&format!("no secrets in `{}`", dir.data.display()));
    } else {
        output.text(&table(&["NAME", "VERSION", "SET", "KEY"], &rows));
    }
    Ok(exit)
}

fn of(it: &SecretInfo) -> Json {
    json!({ "name": it.name, "version": it.version, "updated_at": it.updated_at, "key": it.key })
}

/// Reads the value. It is no argument, because other users see the arguments of a process.
fn value(args: &SetArgs) -> Result<Zeroizing<String>, Failure> {
    let unread = |name: &str, error: &dyn std::fmt::Display| {
        Failure::finding("file_unreadable", format!("cannot read {name}: {error}"))
    };
    let (bytes, name) = match &args.file {
        Some(path) => {
            let name = format!("`{}`", path.display());
            let file = File::open(path).map_err(|error| unread(&name, &error))?;
            (limited(file).map_err(|error| unread(&name, &error))?, name)
        }
        None if std::io::stdin().is_terminal() => {
            let message = "standard input is a terminal, which would show the value; pipe it in, \
                           or name a file with --file";
            return Err(Failure::usage(message));
        }
        None => {
            let name = "standard input".to_string();
            (limited(std::io::stdin().lock()).map_err(|error| unread(&name, &error))?, name)
        }
    };
    let text = str::from_utf8(&bytes).map_err(|_| {
        let message = format!("{name} is no text; encode the value, for example with `base64`");
        Failure::finding("file_not_utf8", message)
    })?;
    let text = text.strip_suffix('\n').unwrap_or(text);
    Ok(Zeroizing::new(text.strip_suffix('\r').unwrap_or(text).to_owned()))
}

/// Reads what can be a value, with its line end, and a byte more to tell what is too long.
fn limited(from: impl Read) -> std::io::Result<Zeroizing<Vec<u8>>> {
    const MOST: usize = SECRET_BYTES_MAX + 3;
    // Reserved, so that no copy is left behind by growing.
    let mut bytes = Zeroizing::new(Vec::with_capacity(MOST + 1));
    from.take(MOST as u64).read_to_end(&mut bytes)?;
    Ok(bytes)
}
