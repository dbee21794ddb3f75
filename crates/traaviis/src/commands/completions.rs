//! `traaviis completions`: what a shell needs to complete command lines.

use clap_complete::Shell;

use crate::{exit::Exit, output::Output};

/// Prints completions for a shell.
///
/// For bash they belong into ~/.local/share/bash-completion/completions/traaviis.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Shell.
    shell: Shell,
}

/// Runs the command.
pub fn run(args: &Args, mut command: clap::Command, output: &Output) -> anyhow::Result<Exit> {
    let mut text = Vec::new();
    clap_complete::generate(args.shell, &mut command, "traaviis", &mut text);
    output.bytes(&text);
    Ok(Exit::Ok)
}
