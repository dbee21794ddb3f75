//! `traaviis replay`: executes a history again and compares every byte.

use std::{
    collections::BTreeMap,
    fs,
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
};

use serde_json::json;
use traaviis_engine::{Divergence, Machine, ReplayError};
use traaviis_model::{
    DefinitionHash, InstanceId, Record, Seq, Snapshot, TenantCtx, Value, privacy::RedactionKey,
};

use crate::{
    control::protocol::Ask,
    document,
    exit::{Exit, Failure},
    histories::{compile_document, document_of, is_document, read_record},
    operations::{self, DataArgs, ReadArgs},
    output::Output,
    secrets::{self, TenantKeys},
    terminal::clip,
};

/// Executes a recorded history again.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Instance (its id or a unique beginning or end of it), or a file of record lines.
    source: String,
    /// Stop after this record and show the state there.
    #[arg(long, value_name = "SEQ")]
    until: Option<Seq>,
    /// Workflow file to use when a file of records holds no definition.
    #[arg(long, value_name = "FILE")]
    workflow: Option<PathBuf>,
    /// Run the inputs of the history through this workflow file instead, and say where it does
    /// something else.
    #[arg(long, value_name = "FILE", conflicts_with = "until")]
    against: Option<PathBuf>,
    #[command(flatten)]
    data: ReadArgs,
}

/// Runs the command.
pub fn run(args: &Args, output: &Output) -> anyhow::Result<Exit> {
    let histories = match Path::new(&args.source).is_file() {
        true => from_file(Path::new(&args.source), args.workflow.as_deref(), args.data.dir())?,
        false => vec![from_data(&args.source, &args.data)?],
    };
    if histories.is_empty() {
        let message = format!("`{}` holds no history of an instance", args.source);
        return Err(Failure::finding("history_absent", message).into());
    }
    let mut exit = Exit::Ok;
    if let Some(file) = &args.against {
        let machine = document::compile(&document::check(file)?)?;
        for history in &histories {
            if !replay_other(history, &machine, output)? {
                exit = Exit::Finding;
            }
        }
        return Ok(exit);
    }
    for history in &histories {
        if !replay_one(history, args.until, output)? {
            exit = Exit::Finding;
        }
    }
    Ok(exit)
}

/// Records of one instance and what decided them.
pub struct History {
    lines: Vec<Vec<u8>>,
    /// Every version that decided a step.
    versions: Vec<Machine>,
    /// What redacts where it was made.
    keys: TenantKeys,
}

/// Replays one history; says whether it is the same.
fn replay_one(history: &History, until: Option<Seq>, output: &Output) -> Result<bool, Failure> {
    let records = history.records()?;
    let broken = |it: String| Failure::finding("history_broken", it);
    let until = until.unwrap_or(Seq::MAX);
    let shown = records.iter().filter(|it| it.header.seq <= until);
    let Some(shown) = Snapshot::fold(shown).map_err(|it| broken(it.to_string()))? else {
        return Err(Failure::usage(format!("record `{until}` is before the first one")));
    };
    // A step is decided as a whole, so the comparison covers the step that `until` falls into.
    let compared: Vec<Record> =
        records.into_iter().filter(|it| it.header.step <= shown.step).collect();
    let steps = compared.last().map_or(0, |it| it.header.step);
    let versions: Vec<&Machine> = history.versions.iter().collect();
    let key = history.key(&versions)?;
    let replay = || traaviis_engine::replay_versions(&versions, &compared, key.as_ref()).map(drop);
    let outcome = rewritten(&compared, &history.lines).map_or_else(replay, Err);
    let divergence = outcome.err();
    if matches!(divergence, Some(ReplayError::Erased)) {
        told_erased(&shown, compared.len(), steps, output);
        return Ok(true);
    }
    if output.is_json() {
        output.json(&json!({
            "instance": shown.id,
            "records": compared.len(),
            "steps": steps,
            "identical": divergence.is_none(),
            "divergence": divergence.as_ref().map(ToString::to_string),
            "snapshot": shown,
        }));
        return Ok(divergence.is_none());
    }
    output.line(&format!("instance  {}", shown.id));
    output.line(&format!("record    {}", shown.seq));
    output.line(&format!("status    {}", shown.status.as_str()));
    output.line(&format!("state     {}", shown.state()));
    output.line(&format!("data      {}", clip(&shown.data.to_json(), 4_000)));
    match &divergence {
        None => output.line(&format!("{} records, {steps} steps: byte-identical", compared.len())),
        Some(error) => output.line(&format!("diverges: {error}")),
    };
    Ok(divergence.is_none())
}

/// Shows what is left of an erased history: it folds, and that is all that can be said of it.
fn told_erased(shown: &Snapshot, records: usize, steps: u64, output: &Output) {
    if output.is_json() {
        output.json(&json!({
            "instance": shown.id,
            "records": records,
            "steps": steps,
            "erased": true,
            "identical": null,
            "divergence": null,
            "snapshot": shown,
        }));
        return;
    }
    output.line(&format!("instance  {}", shown.id));
    output.line(&format!("record    {}", shown.seq));
    output.line(&format!("status    {}", shown.status.as_str()));
    output.line(&format!("state     {}", shown.state()));
    output.line(&format!(
        "{records} records, {steps} steps: they fold; the values that decided them are erased"
    ));
}

/// Runs one history through another version; says whether that does the same.
fn replay_other(history: &History, new: &Machine, output: &Output) -> Result<bool, Failure> {
    let records = history.records()?;
    let found = history.against(new)?;
    let Some(first) = records.first() else { return Ok(true) };
    let id = first.header.instance_id;
    let version = &new.definition().version;
    if output.is_json() {
        output.json(&json!({
            "instance": id,
            "version": version.to_string(),
            "records": records.len(),
            "same": found.is_none(),
            "divergence": found,
        }));
    } else {
        output.line(&match &found {
            None => format!("{id}: version {version} does the same, {} records", records.len()),
            Some(found) => format!("{id}: version {version} differs {found}"),
        });
    }
    Ok(found.is_none())
}

impl History {
    /// Returns the key that some of these machines need to redact what calls send.
    fn key(&self, machines: &[&Machine]) -> Result<Option<RedactionKey>, Failure> {
        self.keys.needed(&TenantCtx::local_operator(), machines)
    }

    fn records(&self) -> Result<Vec<Record>, Failure> {
        self.lines.iter().map(|it| read_record(it)).collect()
    }

    /// Says where another version does something else with the same inputs.
    pub fn against(&self, new: &Machine) -> Result<Option<Divergence>, Failure> {
        let versions: Vec<&Machine> = self.versions.iter().collect();
        let records = self.records()?;
        let key = self.key(&[new])?;
        traaviis_engine::replay_against(&versions, new, &records, key.as_ref())
            .map_err(|it| Failure::finding("history_broken", it.to_string()))
    }
}

/// Says where reading and writing a line again gives other bytes; replay compares records, so this
/// closes the gap to the bytes in the log.
fn rewritten(records: &[Record], lines: &[Vec<u8>]) -> Option<ReplayError> {
    records.iter().zip(lines).find_map(|(record, line)| {
        let mut again = Vec::with_capacity(line.len() + 1);
        record.write_line(&mut again);
        let again = again.strip_suffix(b"\n").unwrap_or(&again);
        let line = line.strip_suffix(b"\n").unwrap_or(line);
        (again != line).then(|| ReplayError::Diverged {
            seq: record.header.seq,
            recorded: String::from_utf8_lossy(line).into_owned(),
            replayed: String::from_utf8_lossy(again).into_owned(),
        })
    })
}

fn from_data(id: &str, data: &DataArgs) -> Result<History, Failure> {
    history_of(&mut operations::Asker::open(data)?, data.dir(), id)
}

/// Reads the history of an instance and every version that decided it.
pub fn history_of(asker: &mut operations::Asker, dir: &Path, id: &str) -> Result<History, Failure> {
    let lines: Vec<Vec<u8>> = asker.history(id)?.into_iter().map(String::into_bytes).collect();
    let mut versions = Vec::new();
    for hash in deciders(&lines)? {
        let answer = asker.ask(Ask::Definition { hash })?;
        versions.push(compile_document(&Value::from(&answer["definition"]))?);
    }
    Ok(History { lines, versions, keys: secrets::redaction(dir) })
}

/// Returns the versions that decided the steps of a history, in order.
fn deciders(lines: &[Vec<u8>]) -> Result<Vec<DefinitionHash>, Failure> {
    let mut hashes = Vec::new();
    for line in lines {
        let hash = read_record(line)?.header.definition_hash;
        if !hashes.contains(&hash) {
            hashes.push(hash);
        }
    }
    Ok(hashes)
}

/// Reads histories from a file of record lines, as `traaviis log cat` prints them.
fn from_file(file: &Path, workflow: Option<&Path>, dir: &Path) -> Result<Vec<History>, Failure> {
    let unreadable = |error: std::io::Error| {
        let message = format!("cannot read `{}`: {error}", file.display());
        Failure::finding("file_unreadable", message)
    };
    let mut instances: BTreeMap<InstanceId, Vec<Vec<u8>>> = BTreeMap::new();
    let mut documents: Vec<Vec<u8>> = Vec::new();
    let reader = BufReader::new(fs::File::open(file).map_err(unreadable)?);
    for (at, line) in reader.split(b'\n').enumerate() {
        let line = line.map_err(unreadable)?;
        if line.trim_ascii().is_empty() {
            continue;
        }
        if is_document(&line) {
            documents.push(line);
            continue;
        }
        let record = read_record(&line).map_err(|it| {
            let message = format!("{}:{}: {}", file.display(), at + 1, it.message);
            Failure::finding(&it.code, message)
        })?;
        instances.entry(record.header.instance_id).or_default().push(line);
    }
    let mut histories = Vec::new();
    for lines in instances.into_values() {
        let mut versions = Vec::new();
        for hash in deciders(&lines)? {
            versions.push(match documents.iter().find_map(|line| document_of(line, hash)) {
                Some(body) => compile_document(&body)?,
                None => machine_of(workflow, hash)?,
            });
        }
        histories.push(History { lines, versions, keys: secrets::redaction(dir) });
    }
    Ok(histories)
}

fn machine_of(workflow: Option<&Path>, hash: DefinitionHash) -> Result<Machine, Failure> {
    let Some(file) = workflow else {
        let message = format!(
            "the file holds no definition with hash `{hash}`; name it with `--workflow FILE`"
        );
        return Err(Failure::finding("definition_absent", message));
    };
    let machine = document::compile(&document::check(file)?)?;
    let found = machine.definition().hash;
    if found == hash {
        return Ok(machine);
    }
    let message = format!(
        "`{}` has hash `{found}`, the history was decided by `{hash}`; give the version that ran",
        file.display()
    );
    Err(Failure::finding("definition_differs", message))
}
