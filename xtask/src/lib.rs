//! The commands behind `cargo xtask`, as functions, so that tests can call them.

use std::{
    path::PathBuf,
    process::{Command, Stdio},
};

pub mod ci;
pub mod commands;
pub mod dev;
pub mod faults;
pub mod licences;
mod test_run;
pub mod tidy;

/// Why a command failed, for the person at the terminal.
pub type Error = String;

/// Returns the folder of the workspace.
pub fn root() -> PathBuf {
    let xtask = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    xtask.parent().map_or(xtask.clone(), PathBuf::from)
}

/// Returns `cargo` in the workspace folder, the same one that runs us.
pub(crate) fn cargo(args: &[&str]) -> Command {
    let program = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(program);
    command.args(args).current_dir(root());
    command
}

/// Runs a command with our standard streams and turns a bad end into an error.
pub(crate) fn run(command: &mut Command) -> Result<(), Error> {
    let shown = show(command);
    let status = command.status().map_err(|error| format!("cannot start `{shown}`: {error}"))?;
    if status.success() { Ok(()) } else { Err(format!("`{shown}` ended with {status}")) }
}

/// Runs a command and returns what it wrote to standard output.
pub(crate) fn output(command: &mut Command) -> Result<String, Error> {
    let shown = show(command);
    let output = command
        .stderr(Stdio::inherit())
        .output()
        .map_err(|error| format!("cannot start `{shown}`: {error}"))?;
    if !output.status.success() {
        return Err(format!("`{shown}` ended with {}", output.status));
    }
    String::from_utf8(output.stdout)
        .map_err(|_| format!("`{shown}` wrote something that is not text"))
}

/// Returns what `cargo metadata` says about the members of the workspace.
pub(crate) fn metadata() -> Result<serde_json::Value, Error> {
    let text =
        output(&mut cargo(&["metadata", "--no-deps", "--offline", "--format-version", "1"]))?;
    serde_json::from_str(&text).map_err(|error| format!("cannot read `cargo metadata`: {error}"))
}

/// Returns the folder that holds the release binaries.
pub(crate) fn binaries() -> Result<PathBuf, Error> {
    let metadata = metadata()?;
    let target = metadata["target_directory"].as_str().ok_or("`cargo metadata` names no target")?;
    Ok(PathBuf::from(target).join("release"))
}

fn show(command: &Command) -> String {
    let program = PathBuf::from(command.get_program());
    let name = program.file_name().unwrap_or(command.get_program()).to_string_lossy().into_owned();
    command.get_args().fold(name, |shown, arg| shown + " " + &arg.to_string_lossy())
}
