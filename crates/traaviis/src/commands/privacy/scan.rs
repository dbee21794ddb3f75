//! `traaviis privacy scan`: where personal data lies, in files and in instances; never what it is.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::Read as _,
    path::PathBuf,
};

use serde_json::{Value as Json, json};
use traaviis_model::{Snapshot, Value};
use traaviis_policy::pii::{Finding, find, find_in_text};

use crate::{
    commands::export,
    control::protocol::Ask,
    exit::{Exit, Failure},
    operations::{Asker, DataArgs},
    output::{self, Output},
    terminal::table,
};

/// Bytes of one file that are looked through.
const FILE_BYTES_MAX: u64 = 64 << 20;

/// Finds personal data in files, or in what instances of a data directory hold, and says where.
///
/// What it is, is shown nowhere. Of instances it tells how many of a workflow hold what in which
/// place, and whether they are about somebody: only then it rests sealed with a key of that person,
/// and can be erased. Exit code 1 when something was found.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: traaviis privacy scan fixtures/*.json --min-confidence 0.8")]
pub struct Args {
    /// Files, JSON by their ending `.json`, JSON lines by `.jsonl`, any text otherwise; `-` is
    /// standard input. Without one the instances of the data directory are looked through.
    files: Vec<PathBuf>,
    /// Tell only of what is found with at least this certainty, from 0 to 1.
    #[arg(long, value_name = "SHARE", default_value_t = 0.0, value_parser = share)]
    min_confidence: f32,
    /// Only instances of this workflow.
    #[arg(long, value_name = "NAME", conflicts_with = "files")]
    workflow: Option<String>,
    #[command(flatten)]
    data: DataArgs,
}

fn share(text: &str) -> Result<f32, String> {
    let share = text.parse().ok().filter(|it| (0.0..=1.0).contains(it));
    share.ok_or_else(|| "this is a number from 0 to 1, such as 0.8".into())
}

/// Runs the command.
pub fn run(args: &Args, output: &Output) -> anyhow::Result<Exit> {
    match args.files.is_empty() {
        true => scan_instances(args, output),
        false => scan_files(args, output),
    }
}

/// Something in a file.
struct Place {
    file: String,
    /// Line of a file of lines.
    line: Option<usize>,
    finding: Finding,
}

fn scan_files(args: &Args, output: &Output) -> anyhow::Result<Exit> {
    let mut found = Vec::new();
    for path in &args.files {
        let file = path.display().to_string();
        let mut take = |line, findings: Vec<Finding>| {
            let certain = findings.into_iter().filter(|it| it.confidence >= args.min_confidence);
            found.extend(certain.map(|finding| Place { file: file.clone(), line, finding }));
        };
        let text = read(path)?;
        match path.extension().and_then(|it| it.to_str()) {
            Some("json") => take(None, find(&value(&text, &file)?)),
            Some("jsonl" | "ndjson") => {
                for (at, line) in text.lines().enumerate().filter(|it| !it.1.trim().is_empty()) {
                    take(Some(at + 1), find(&value(line, &format!("{file}:{}", at + 1))?));
                }
            }
            _ => {
                for (at, line) in text.lines().enumerate() {
                    take(Some(at + 1), find_in_text(line));
                }
            }
        }
    }
    let exit = if found.is_empty() { Exit::Ok } else { Exit::Finding };
    if output.is_json() {
        let findings: Vec<Json> = found.iter().map(of).collect();
        output.json(&json!({ "findings": findings }));
        return Ok(exit);
    }
    for Place { file, line, finding } in &found {
        let line = line.map(|it| format!(":{it}")).unwrap_or_default();
        let Finding { pointer, start, end, kind, confidence, detector } = finding;
        let place = if pointer.is_empty() { String::new() } else { format!(" at {pointer}") };
        output.line(&format!(
            "{file}{line}: {}{place}, characters {start} to {end} ({detector}, {confidence:.2})",
            kind.as_str()
        ));
    }
    if found.is_empty() {
        output.line("no personal data found");
    }
    Ok(exit)
}

fn of(place: &Place) -> Json {
    let Place { file, line, finding } = place;
    json!({
        "file": file,
        "line": line,
        "pointer": finding.pointer,
        "start": finding.start,
        "end": finding.end,
        "type": finding.kind.as_str(),
        "confidence": finding.confidence,
        "detector": finding.detector,
    })
}

fn read(path: &PathBuf) -> Result<String, Failure> {
    let unread = |why: &dyn std::fmt::Display| {
        let message = format!("cannot read `{}`: {why}", path.display());
        Failure::finding("file_unreadable", message)
    };
    let mut text = String::new();
    let limit = FILE_BYTES_MAX + 1;
    match path.as_os_str() == "-" {
        true => std::io::stdin().lock().take(limit).read_to_string(&mut text),
        false => {
            if fs::metadata(path).is_ok_and(|it| it.is_dir()) {
                return Err(unread(&"it is a directory; name the files in it"));
            }
            File::open(path).and_then(|it| it.take(limit).read_to_string(&mut text))
        }
    }
    .map_err(|error| unread(&error))?;
    match text.len() as u64 > FILE_BYTES_MAX {
        true => {
            let message =
                format!("`{}` has more than {FILE_BYTES_MAX} bytes; split it", path.display());
            Err(Failure::finding("payload_too_large", message))
        }
        false => Ok(text),
    }
}

fn value(text: &str, place: &str) -> Result<Value, Failure> {
    serde_json::from_str(text).map_err(|error| {
        Failure::finding("input_invalid", format!("`{place}` is not JSON: {error}"))
    })
}

/// What instances of a workflow hold in a place.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Held {
    workflow: String,
    /// Where, with `*` for places in lists.
    place: String,
    kind: &'static str,
    /// They are about somebody, with whose key it is sealed.
    is_about_person: bool,
}

fn scan_instances(args: &Args, output: &Output) -> anyhow::Result<Exit> {
    let mut asker = Asker::open(&args.data)?;
    let (mut counts, mut looked): (BTreeMap<Held, usize>, usize) = Default::default();
    for id in export::find(&mut asker, args.workflow.as_deref())? {
        let shown = match asker.ask(Ask::Show { id: id.clone() }) {
            Ok(shown) => shown,
            Err(failure) => {
                output::warn(format_args!(
                    "warning: instance {id} is passed over: {failure} ({})",
                    failure.code
                ));
                continue;
            }
        };
        let snapshot: Snapshot = serde_json::from_value(shown["snapshot"].clone())?;
        looked += 1;
        for held in held_by(&snapshot, args.min_confidence) {
            *counts.entry(held).or_default() += 1;
        }
    }
    let exit = if counts.is_empty() { Exit::Ok } else { Exit::Finding };
    if output.is_json() {
        let places: Vec<Json> = counts
            .iter()
            .map(|(it, count)| {
                json!({
                    "workflow": it.workflow, "place": it.place, "type": it.kind,
                    "instances": count, "about_person": it.is_about_person,
                })
            })
            .collect();
        output.json(&json!({ "instances": looked, "places": places }));
        return Ok(exit);
    }
    if counts.is_empty() {
        output.line(&format!("no personal data found in {looked} instances"));
        return Ok(exit);
    }
    let row = |(it, count): (&Held, &usize)| {
        let sealed = if it.is_about_person { "yes" } else { "no" };
        [&it.workflow, &it.place, it.kind, &count.to_string(), sealed].map(str::to_owned).into()
    };
    let rows: Vec<Vec<String>> = counts.iter().map(row).collect();
    output.text(&table(&["WORKFLOW", "PLACE", "TYPE", "INSTANCES", "ABOUT A PERSON"], &rows));
    if counts.keys().any(|it| !it.is_about_person) {
        output.line(
            "what is about nobody cannot be erased for a person: name them with `subject` in the \
             workflow, or mask it with `plugins: [{use: redaction}]`",
        );
    }
    Ok(exit)
}

/// Returns what an instance holds, each place and type once.
fn held_by(snapshot: &Snapshot, least: f32) -> std::collections::BTreeSet<Held> {
    let parts =
        [("input", &snapshot.input), ("data", &snapshot.data), ("output", &snapshot.output)];
    let held = |part: &str, it: Finding| Held {
        workflow: snapshot.workflow.to_string(),
        place: format!("{part}{}", pattern(&it.pointer)),
        kind: it.kind.as_str(),
        is_about_person: snapshot.subject.is_some(),
    };
    let found = parts.iter().flat_map(|(part, value)| {
        let certain = find(value).into_iter().filter(|it| it.confidence >= least);
        certain.map(|it| held(part, it)).collect::<Vec<_>>()
    });
    found.collect()
}

/// Returns a place with `*` in the stead of numbers.
fn pattern(pointer: &str) -> String {
    let is_number = |it: &str| !it.is_empty() && it.bytes().all(|it| it.is_ascii_digit());
    let steps = pointer.split('/').map(|it| if is_number(it) { "*" } else { it });
    steps.collect::<Vec<_>>().join("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_of_lists_are_one_place() {
        for (pointer, shown) in [("", ""), ("/a/0/b", "/a/*/b"), ("/12", "/*"), ("/a1", "/a1")] {
            assert_eq!(pattern(pointer), shown);
        }
    }
}
