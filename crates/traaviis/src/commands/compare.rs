//! `traaviis compare`: two instances side by side.

use serde_json::json;
use traaviis_model::{Body, Record, Snapshot, Value};

use crate::{
    exit::{Exit, Failure},
    histories::read_record,
    operations::{Asker, ReadArgs},
    output::Output,
    terminal::{clip, table},
    trace::relative,
};

/// Characters of a value in a column.
const VALUE_CHARS_MAX: usize = 60;

/// Puts two instances side by side: the way they went, their data, their outputs.
///
/// A line that differs begins with `*`. The exit code is 1 when way, status, data or output differ.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// First instance: its id or a unique beginning or end of it.
    a: String,
    /// Second instance.
    b: String,
    #[command(flatten)]
    data: ReadArgs,
}

/// Runs the command.
pub fn run(args: &Args, output: &Output) -> anyhow::Result<Exit> {
    let mut asker = Asker::open(&args.data)?;
    let (a, b) = (Side::of(&mut asker, &args.a)?, Side::of(&mut asker, &args.b)?);
    let lines = lines(&a, &b);
    let is_same = lines.iter().all(|it| it.a == it.b || !it.counts);
    if output.is_json() {
        let lines: Vec<_> = lines
            .iter()
            .map(|it| json!({ "what": it.what, "a": it.a, "b": it.b, "same": it.a == it.b }))
            .collect();
        output.json(&json!({
            "a": a.snapshot.id,
            "b": b.snapshot.id,
            "same": is_same,
            "lines": lines,
        }));
    } else {
        let (a, b) = (a.snapshot.id.to_string(), b.snapshot.id.to_string());
        let rows: Vec<Vec<String>> = lines.into_iter().map(Line::row).collect();
        output.text(&table(&["", "", &a, &b], &rows));
    }
    Ok(if is_same { Exit::Ok } else { Exit::Finding })
}

/// One of the instances.
struct Side {
    snapshot: Snapshot,
    /// The states after each transition, with the event that led there.
    path: Vec<String>,
}

impl Side {
    fn of(asker: &mut Asker, id: &str) -> Result<Side, Failure> {
        let lines = asker.history(id)?;
        let records: Vec<Record> =
            lines.iter().map(|it| read_record(it.as_bytes())).collect::<Result<_, _>>()?;
        let broken = |why: String| Failure::finding("history_broken", why);
        let snapshot = Snapshot::fold(&records)
            .map_err(|it| broken(it.to_string()))?
            .ok_or_else(|| broken(format!("instance `{id}` has no records")))?;
        let step = |record: &Record| match &record.body {
            Body::Transition { to, event, .. } => {
                let event = event.as_ref().map(|it| format!("{it} -> ")).unwrap_or_default();
                Some(format!("{event}{}", to.join(", ")))
            }
            Body::Upgraded(it) => Some(format!("version {}", it.to_version)),
            _ => None,
        };
        Ok(Side { path: records.iter().filter_map(step).collect(), snapshot })
    }
}

/// One line of the comparison.
struct Line {
    what: String,
    a: String,
    b: String,
    /// A difference here makes the instances different.
    counts: bool,
}

impl Line {
    fn row(self) -> Vec<String> {
        let mark = if self.a == self.b { " " } else { "*" };
        let short = |text: &str| clip(text, VALUE_CHARS_MAX).to_string();
        vec![mark.into(), self.what, short(&self.a), short(&self.b)]
    }
}

fn lines(a: &Side, b: &Side) -> Vec<Line> {
    let mut lines = Vec::new();
    let mut add = |what: String, a: String, b: String, counts: bool| {
        lines.push(Line { what, a, b, counts });
    };
    let version = |it: &Side| format!("{} {}", it.snapshot.workflow, it.snapshot.version);
    let took = |it: &Side| relative(it.snapshot.updated_at.since(it.snapshot.created_at));
    add("workflow".into(), version(a), version(b), false);
    add("took".into(), took(a), took(b), false);
    for at in 0..a.path.len().max(b.path.len()) {
        let step = |it: &Side| it.path.get(at).cloned().unwrap_or_default();
        add(format!("path {}", at + 1), step(a), step(b), true);
    }
    let status = |it: &Side| it.snapshot.status.as_str().to_string();
    add("status".into(), status(a), status(b), true);
    let keys = |it: &Side| -> Vec<String> {
        let map = it.snapshot.data.as_map();
        map.map(|it| it.iter().map(|(key, _)| key.to_string()).collect()).unwrap_or_default()
    };
    let mut names = keys(a);
    names.extend(keys(b));
    names.sort();
    names.dedup();
    let shown = |value: Option<&Value>| value.map(Value::to_json).unwrap_or_default();
    for name in names {
        let of = |it: &Side| shown(it.snapshot.data.get(&name));
        add(format!("data {name}"), of(a), of(b), true);
    }
    let output = |it: &Side| shown(Some(&it.snapshot.output));
    add("output".into(), output(a), output(b), true);
    let error =
        |it: &Side| it.snapshot.error.as_ref().map_or(String::new(), |it| it.code.to_string());
    add("error".into(), error(a), error(b), true);
    lines
}
