//! `traaviis privacy`: what is done about personal data by hand.

mod reveal;

use crate::{exit::Exit, output::Output};

/// Turns back tokens that stand for personal data.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    Reveal(reveal::Args),
}

/// Runs the command.
pub fn run(args: &Args, output: &Output) -> anyhow::Result<Exit> {
    match &args.command {
        Command::Reveal(args) => reveal::run(args, output),
    }
}
