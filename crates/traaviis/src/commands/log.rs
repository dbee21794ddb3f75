//! `traaviis log`: what is in the log, record by record or frame by frame, and how its clock went.
//!
//! Reads the segments directly and changes nothing, so it works beside a running process and on a
//! directory that no process can open any more.

use std::path::{Path, PathBuf};

use serde_json::json;
use traaviis_model::{Body, Record, Timestamp, record::peek_line};
use traaviis_runtime::clock::{CLOCK_JUMP, Jump};

use crate::{
    data::{self, Frame, FrameFacts},
    exit::Exit,
    histories::is_document,
    output::{self, Output},
};

/// Looks into the log.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Prints records, or frames with `--headers`.
    Cat(CatArgs),
    /// Prints the jumps of the wall clock that were noticed: when, how far, and how far time
    /// followed.
    Clock(ClockArgs),
}

#[derive(Debug, clap::Args)]
struct ClockArgs {
    /// Data directory.
    #[arg(default_value = "./data")]
    dir: PathBuf,
}

#[derive(Debug, clap::Args)]
struct CatArgs {
    /// Data directory.
    #[arg(default_value = "./data")]
    dir: PathBuf,
    /// Print one line per frame instead of its records.
    #[arg(long)]
    headers: bool,
    /// Only records of this instance: its id or a beginning or end of it.
    #[arg(long, value_name = "ID")]
    instance: Option<String>,
    /// Only records of this kind, such as `transition`.
    #[arg(long)]
    kind: Option<String>,
}

/// Runs the command.
pub fn run(args: &Args, output: &Output) -> anyhow::Result<Exit> {
    match &args.command {
        Command::Cat(args) => cat(args, output),
        Command::Clock(args) => clock(args, output),
    }
}

fn clock(args: &ClockArgs, output: &Output) -> anyhow::Result<Exit> {
    each_good(&args.dir, &mut |_, lines| {
        let lines = lines.split(|it| *it == b'\n').filter(|it| is_document(it));
        lines.filter_map(jump_of).all(|(at, jump)| output.text(&jump_text(at, jump, output)))
    })
}

/// Visits the frames that can be read until `visit` says false, and warns about the others.
fn each_good(
    dir: &Path,
    visit: &mut dyn FnMut(&FrameFacts, &[u8]) -> bool,
) -> anyhow::Result<Exit> {
    data::needs_log(dir)?;
    let mut exit = Exit::Ok;
    data::each_frame(dir, &mut |frame| match frame {
        Frame::Good { header, lines } => visit(&header, lines),
        Frame::Bad { why } => {
            exit = Exit::Finding;
            output::warn(format_args!("damaged: {why}"));
            true
        }
    })?;
    Ok(exit)
}

/// Reads a record of a jump, if it is one.
fn jump_of(line: &[u8]) -> Option<(Timestamp, Jump)> {
    let record = Record::read_line(line).ok()?;
    let Body::DocumentPut { document, body, .. } = record.body else { return None };
    let jump = (*document == *CLOCK_JUMP).then(|| serde_json::from_str(&body.to_json()).ok());
    Some((record.header.at, jump??))
}

fn jump_text(at: Timestamp, jump: Jump, output: &Output) -> String {
    if output.is_json() {
        let Jump { by_us, follows_us, wall } = jump;
        let facts = json!({ "at": at, "by_us": by_us, "follows_us": follows_us, "wall": wall });
        return format!("{facts}\n");
    }
    let (by, follows) = (jump.by(), jump.follows());
    format!("{at}  by {by}, followed by {follows}; the wall clock then showed {}\n", jump.wall)
}

fn cat(args: &CatArgs, output: &Output) -> anyhow::Result<Exit> {
    each_good(&args.dir, &mut |header, lines| {
        if args.headers {
            return output.text(&header_text(header, output));
        }
        lines
            .split(|it| *it == b'\n')
            .filter(|it| !it.is_empty())
            .all(|line| !is_wanted(args, line) || output.bytes(&[line, b"\n"].concat()))
    })
}

fn header_text(header: &FrameFacts, output: &Output) -> String {
    if output.is_json() {
        let value = json!({
            "segment": header.segment,
            "offset": header.offset,
            "epoch": header.epoch,
            "first": header.first,
            "records": header.records,
            "payload_bytes": header.payload_bytes,
            "line_bytes": header.line_bytes,
            "crc": header.crc,
            "codec": header.codec,
        });
        return format!("{value}\n");
    }
    format!(
        "segment {:020} offset {:>9}  epoch {}  first {:>9}  records {:>4}  bytes {:>8} of {:>8}  crc {:08x}  {}\n",
        header.segment,
        header.offset,
        header.epoch,
        header.first,
        header.records,
        header.payload_bytes,
        header.line_bytes,
        header.crc,
        header.codec,
    )
}

fn is_wanted(args: &CatArgs, line: &[u8]) -> bool {
    let kind_fits = args.kind.as_ref().is_none_or(|kind| kind_of(line).as_deref() == Some(kind));
    let instance_fits = args.instance.as_ref().is_none_or(|wanted| {
        let wanted = wanted.to_ascii_lowercase();
        peek_line(line).is_ok_and(|key| {
            let id = key.instance_id.to_string();
            !is_document(line) && (id.starts_with(&wanted) || id.ends_with(&wanted))
        })
    });
    kind_fits && instance_fits
}

fn kind_of(line: &[u8]) -> Option<String> {
    #[derive(serde::Deserialize)]
    struct Kind {
        kind: String,
    }
    serde_json::from_slice::<Kind>(line).ok().map(|it| it.kind)
}
