//! `traaviis simulate`: a workflow on a virtual clock, fed from a file of events.
//!
//! Nothing is kept and nothing goes out: calls begin and stay open.

use std::{io::BufRead, path::PathBuf};

use serde::Deserialize;
use serde_json::json;
use traaviis_engine::{Machine, Rejection, simulate::Simulation};
use traaviis_model::{InstanceId, Snapshot, Span, TenantCtx, Text, Timestamp, Value};

use crate::{
    document,
    exit::{Exit, Failure, error_json},
    input,
    output::Output,
};

/// Runs a workflow on a virtual clock; calls begin and stay open.
///
/// One line is printed for the start and one for each line of the events. A line that was refused
/// changes nothing, and the next one is read. Exit code 1 says that a line was refused; with --json
/// it stays 0, because each refusal is the `error` of its own line.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Workflow file, YAML or JSON.
    file: PathBuf,
    /// Lines `{"event": NAME, "data": ..}` or `{"advance": "3s"}`; `-` for standard input.
    #[arg(long, value_name = "FILE|-")]
    events: Option<PathBuf>,
    /// Start input: a JSON file or JSON text.
    #[arg(long, value_name = "FILE|JSON")]
    input: Option<String>,
}

/// One line of the events file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    event: Option<Text>,
    #[serde(default)]
    data: Value,
    advance: Option<Span>,
}

/// Longest line of an events file: a payload at its limit, and its name.
const LINE_BYTES_MAX: usize = traaviis_model::limits::PAYLOAD_BYTES_MAX + 4_096;

/// Runs the command.
pub fn run(args: &Args, output: &Output) -> anyhow::Result<Exit> {
    let checked = document::check(&args.file)?;
    if checked.has_errors() && !output.is_json() {
        output.text(&checked.report(output.style()));
    }
    let machine: Machine = document::compile(&checked)?;
    let start = match &args.input {
        Some(source) => input::value(source)?,
        None => Value::empty_map(),
    };
    let mut lines: Box<dyn BufRead> = match &args.events {
        None => Box::new(std::io::empty()),
        Some(path) if path.as_os_str() == "-" => Box::new(std::io::stdin().lock()),
        Some(path) => match std::fs::File::open(path) {
            Ok(file) => Box::new(std::io::BufReader::new(file)),
            Err(error) => {
                let message = format!("cannot read `{}`: {error}", path.display());
                return Err(Failure::finding("file_unreadable", message).into());
            }
        },
    };
    // The same document and events give the same output: time and id begin alike.
    let id = InstanceId(uuid::Uuid::from_u128(1));
    let ctx = TenantCtx::local_operator();
    let mut run = Simulation::start(&machine, &ctx, id, start, Timestamp(0))
        .map_err(|why| Failure::finding(why.code, why.message))?;
    show(run.snapshot(), None, output);
    let mut text = String::new();
    let mut refused_count = 0;
    for number in 1.. {
        text.clear();
        if std::io::Read::take(&mut lines, LINE_BYTES_MAX as u64).read_line(&mut text)? == 0 {
            break;
        }
        if text.trim().is_empty() {
            continue;
        }
        let refused = match read(&text, number)? {
            Line { event: Some(event), data, .. } => run.send(event, data).err(),
            Line { advance: Some(span), .. } => run.advance(span).err(),
            Line { .. } => None,
        };
        refused_count += usize::from(refused.is_some());
        show(run.snapshot(), refused.as_ref(), output);
    }
    if refused_count == 0 || output.is_json() {
        return Ok(Exit::Ok);
    }
    let lines = if refused_count == 1 { "line was" } else { "lines were" };
    output.note(&format!("{refused_count} {lines} refused"));
    Ok(Exit::Finding)
}

fn read(text: &str, number: usize) -> Result<Line, Failure> {
    let wrong = |what: String| {
        let rule = r#"a line is `{"event": NAME, "data": ..}` or `{"advance": "3s"}`"#;
        Failure::finding("events_invalid", format!("line {number} of the events: {what}; {rule}"))
    };
    let line: Line = serde_json::from_str(text).map_err(|error| wrong(error.to_string()))?;
    match (&line.event, line.advance) {
        (Some(_), Some(_)) => Err(wrong("`event` and `advance` at once".into())),
        (None, None) => Err(wrong("neither `event` nor `advance`".into())),
        (None, Some(span)) if span < Span(0) => Err(wrong("time does not go back".into())),
        _ => Ok(line),
    }
}

fn show(snapshot: &Snapshot, refused: Option<&Rejection>, output: &Output) {
    if output.is_json() {
        let mut line = json!({
            "configuration": snapshot.configuration,
            "status": snapshot.status.as_str(),
            "data": snapshot.data,
        });
        if let Some(why) = refused {
            line["error"] = error_json(why.code, &why.message, &(&why.details).into());
        } else if let Some(error) = &snapshot.error {
            line["error"] = json!({ "code": error.code, "message": error.message });
        }
        output.json(&line);
        return;
    }
    let states = snapshot.configuration.join(", ");
    output.line(&format!("{states}  {}  {}", snapshot.status.as_str(), snapshot.data));
    if let Some(why) = refused {
        output.line(&format!("  refused: {} ({})", why.message, why.code));
    }
}
