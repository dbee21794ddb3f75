//! `traaviis privacy`: what is kept about a person, its erasure, tokens turned back, and where
//! personal data lies.

pub mod export;
mod reveal;
mod scan;

use serde_json::Value as Json;

use crate::{
    control::protocol::Ask,
    exit::Exit,
    operations::{Changer, DataArgs},
    output::Output,
};

/// Shows and erases what is kept about a person, turns tokens back, and finds personal data.
///
/// Whom an instance is about, its workflow says with `subject`. Its values rest sealed with a key
/// of that person; erasing destroys the key.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    Reveal(reveal::Args),
    Scan(scan::Args),
    /// Prints what is kept about a person, as JSON.
    ///
    /// On files: the state and all records of the instances whose values are sealed with the key
    /// of the person, and of those whose business key or a tag is the text. With `--server` or
    /// `--tenant` a server is asked, which looks through everything of the tenant: membership,
    /// invitations, keys, tasks, the audit trail and all other documents.
    #[command(after_help = "Example: traaviis privacy export --subject ada@example.org \
                            --tenant acme --out ada.json")]
    Export(export::Args),
    /// Destroys the key of a person: the values of all their instances are gone for good.
    ///
    /// Ids, states, times, names of events, business keys and tags stay, and so do histories,
    /// which then show `[ERASED]`. Backups from before still hold the key.
    Erase {
        /// The person, as `subject` of the workflow names them.
        #[arg(long = "subject", value_name = "ID", required_unless_present = "unfinished")]
        subject: Option<String>,
        /// Finish erasures that were broken off after the key was destroyed, whoever they were
        /// about; `doctor` tells of them.
        #[arg(long, conflicts_with_all = ["subject", "terminate"])]
        unfinished: bool,
        /// End the instances about the person that are open, without exit actions and
        /// compensation.
        #[arg(long)]
        terminate: bool,
        #[command(flatten)]
        data: DataArgs,
    },
}

/// Runs the command.
pub fn run(args: &Args, output: &Output) -> anyhow::Result<Exit> {
    match &args.command {
        Command::Reveal(args) => reveal::run(args, output),
        Command::Scan(args) => scan::run(args, output),
        Command::Export(args) => export::run(args, output),
        Command::Erase { subject: Some(subject), terminate, data, .. } => {
            erase(subject, *terminate, data, output)
        }
        Command::Erase { data, .. } => finish(data, output),
    }
}

fn finish(data: &DataArgs, output: &Output) -> anyhow::Result<Exit> {
    let changer = Changer::open(data)?;
    let result = changer.ask(Ask::FinishErasures);
    changer.close()?;
    let found = result?;
    match output.is_json() {
        true => output.json(&found),
        false => {
            let count = found["finished"].as_array().map_or(0, Vec::len);
            output.line(&format!("erasures finished: {count}"))
        }
    };
    Ok(Exit::Ok)
}

fn erase(subject: &str, terminate: bool, data: &DataArgs, output: &Output) -> anyhow::Result<Exit> {
    let changer = Changer::open(data)?;
    let result = changer.ask(Ask::EraseSubject { subject: subject.into(), terminate });
    changer.close()?;
    let found = result?;
    if output.is_json() {
        output.json(&found);
        return Ok(Exit::Ok);
    }
    let count = |key: &str| found[key].as_array().map_or(0, Vec::len);
    let when = found["erased"].as_array().and_then(|it| it.last()).map(|it| &it["at"]);
    let when = when.and_then(Json::as_str).unwrap_or_default();
    output.line(&match found["is_new"] == true {
        true => format!("subject `{subject}` is erased: its key is destroyed"),
        false => format!("subject `{subject}` was erased at {when}"),
    });
    output.line(&format!("instances concerned: {}", count("instances")));
    if count("terminated") > 0 {
        output.line(&format!("of them ended for it: {}", count("terminated")));
    }
    output.line("backups from before hold the key; see `docs/guides/erasing-a-person.md`");
    Ok(Exit::Ok)
}
