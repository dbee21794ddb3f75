//! `traaviis upgrade`: open instances go on with another version of their workflow.

use std::{
    collections::{BTreeMap, btree_map::Entry},
    path::Path,
};

use serde_json::{Value as Json, json};
use traaviis_engine::{Class, Divergence, Machine, classify};
use traaviis_model::{DefinitionHash, Snapshot, Value, record::Operation};

use crate::{
    commands::replay,
    control::protocol::{Ask, LIST_MAX, ListFilter},
    document,
    exit::{Exit, Failure},
    histories::compile_document,
    operations::{self, Asker, Changer, DataArgs},
    output::Output,
};

/// Takes open instances over to another version of their workflow.
///
/// An instance goes on only when everything it holds has its counterpart in the new version, by the
/// `id` or name of states or by a migration. The others stay as they are, with the reason. The exit
/// code is 1 when one stays.
#[derive(Debug, clap::Args)]
#[command(override_usage = "traaviis upgrade [OPTIONS] <ID> <FILE>\n       \
                            traaviis upgrade [OPTIONS] --all <FILE>\n       \
                            traaviis upgrade [OPTIONS] --rollback <ID>")]
pub struct Args {
    /// Instance (its id or a unique beginning or end of it) and the workflow file to go on with.
    #[arg(value_name = "ID|FILE", required = true, num_args = 1..=2)]
    names: Vec<String>,
    /// Every open instance of the workflow.
    #[arg(long, conflicts_with = "rollback")]
    all: bool,
    /// Change nothing; say what would happen, and run the history of each safe instance through
    /// the new version to say where that would have done something else.
    #[arg(long, conflicts_with = "rollback")]
    dry_run: bool,
    /// Take the instance back to the version before, as long as no transition followed.
    #[arg(long)]
    rollback: bool,
    #[command(flatten)]
    data: DataArgs,
}

/// Runs the command.
pub fn run(args: &Args, output: &Output) -> anyhow::Result<Exit> {
    match (args.names.as_slice(), args.all, args.rollback) {
        ([id], false, true) => {
            let ask = Ask::Operate { id: id.clone(), operation: Operation::Rollback };
            operations::change(&args.data, ask, "taken back", output)
        }
        ([file], true, false) => all(args, None, Path::new(file), output),
        ([id, file], false, false) => all(args, Some(id), Path::new(file), output),
        _ => {
            let message = "name an instance and a file, `--all` and a file, or `--rollback` and an \
                           instance";
            Err(Failure::usage(message).into())
        }
    }
}

fn all(args: &Args, id: Option<&str>, file: &Path, output: &Output) -> anyhow::Result<Exit> {
    let checked = document::check(file)?;
    if checked.has_errors() && !output.is_json() {
        output.text(&checked.report(output.style()));
    }
    let machine = document::compile(&checked)?;
    let standings = if args.dry_run {
        let mut asker = Asker::open(&args.data)?;
        let mut found = find(&machine, id, &mut |ask| asker.ask(ask))?;
        for it in found.iter_mut().filter(|it| matches!(it.class, Class::Safe(_))) {
            let id = it.snapshot.id.to_string();
            it.divergence =
                replay::history_of(&mut asker, args.data.dir(), &id)?.against(&machine)?;
        }
        found
    } else {
        let changer = Changer::open(&args.data)?;
        let mut standings = find(&machine, id, &mut |ask| changer.ask(ask));
        for it in standings.iter_mut().flatten() {
            it.go_on(&machine, &changer);
        }
        changer.close()?;
        standings?
    };
    tell(args, &machine, &standings, output);
    let stays = |it: &Standing| !matches!(it.class, Class::Current) && !it.goes(args.dry_run);
    Ok(if standings.iter().any(stays) { Exit::Finding } else { Exit::Ok })
}

/// An instance and what becomes of it.
struct Standing {
    snapshot: Snapshot,
    class: Class,
    /// Where the new version would have done something else; looked for in a dry run.
    divergence: Option<Divergence>,
    /// How it stands after the upgrade, or why it was refused after all.
    taken: Option<Result<Json, Failure>>,
}

impl Standing {
    fn go_on(&mut self, machine: &Machine, changer: &Changer) {
        if matches!(self.class, Class::Safe(_)) {
            let definition = machine.definition().document.clone();
            let id = self.snapshot.id.to_string();
            self.taken = Some(changer.ask(Ask::Upgrade { id, definition }));
        }
    }

    fn goes(&self, dry_run: bool) -> bool {
        match &self.taken {
            Some(taken) => taken.is_ok(),
            None => dry_run && matches!(self.class, Class::Safe(_)),
        }
    }

    /// Returns why it stays.
    fn reasons(&self) -> Vec<String> {
        match (&self.class, &self.taken) {
            (_, Some(Err(failure))) => vec![failure.message.clone()],
            (Class::NeedsMapping(gaps), _) => gaps.iter().map(ToString::to_string).collect(),
            (Class::Blocked(reasons), _) => reasons.iter().map(ToString::to_string).collect(),
            _ => self.divergence.iter().map(|it| format!("its past would differ {it}")).collect(),
        }
    }

    fn to_json(&self) -> Json {
        let mut shown = json!({
            "id": self.snapshot.id,
            "version": self.snapshot.version,
            "state": self.snapshot.state(),
            "class": self.class.as_str(),
            "reasons": self.reasons(),
            "divergence": self.divergence,
            "upgraded": matches!(self.taken, Some(Ok(_))),
        });
        if let Class::NeedsMapping(gaps) = &self.class {
            shown["gaps"] = json!(gaps);
        }
        shown
    }
}

/// Finds the instances that are meant, and compares each with the new version.
fn find(
    machine: &Machine,
    id: Option<&str>,
    ask: &mut dyn FnMut(Ask) -> Result<Json, Failure>,
) -> Result<Vec<Standing>, Failure> {
    let name = &*machine.definition().name;
    let ids: Vec<String> = match id {
        Some(id) => vec![id.to_string()],
        None => open_of(name, ask)?,
    };
    let mut versions: BTreeMap<DefinitionHash, Machine> = BTreeMap::new();
    let mut standings = Vec::new();
    for id in ids {
        let answer = ask(Ask::Show { id })?;
        let snapshot: Snapshot = serde_json::from_value(answer["snapshot"].clone())
            .map_err(|error| Failure::new(Exit::Internal, "internal", error.to_string()))?;
        let hash = snapshot.definition_hash;
        let old = match versions.entry(hash) {
            Entry::Occupied(it) => it.into_mut(),
            Entry::Vacant(it) => {
                let answer = ask(Ask::Definition { hash })?;
                it.insert(compile_document(&Value::from(&answer["definition"]))?)
            }
        };
        let class = classify(old, machine, &snapshot);
        standings.push(Standing { snapshot, class, divergence: None, taken: None });
    }
    Ok(standings)
}

/// Returns the ids of all open instances of a workflow, page by page, oldest first.
fn open_of(
    workflow: &str,
    ask: &mut dyn FnMut(Ask) -> Result<Json, Failure>,
) -> Result<Vec<String>, Failure> {
    let mut filter = ListFilter { limit: LIST_MAX, ..ListFilter::default() };
    let mut ids = Vec::new();
    loop {
        let answer = ask(Ask::Ps { all: false, archived: false, filter: filter.clone() })?;
        let items = answer["instances"].as_array().map(Vec::as_slice).unwrap_or_default();
        let ours = items.iter().filter(|it| it["workflow"] == *workflow);
        ids.extend(ours.filter_map(|it| it["id"].as_str().map(str::to_string)));
        filter.cursor = answer["next"].as_str().and_then(|it| it.parse().ok());
        if filter.cursor.is_none() {
            ids.sort_unstable();
            return Ok(ids);
        }
    }
}

fn tell(args: &Args, machine: &Machine, standings: &[Standing], output: &Output) {
    let definition = machine.definition();
    let count = |word: &str| standings.iter().filter(|it| it.class.as_str() == word).count();
    let counts = json!({
        "current": count("current"),
        "safe": count("safe"),
        "needs_mapping": count("needs_mapping"),
        "blocked": count("blocked"),
    });
    if output.is_json() {
        output.json(&json!({
            "workflow": definition.name,
            "version": definition.version.to_string(),
            "hash": definition.hash,
            "dry_run": args.dry_run,
            "counts": counts,
            "instances": standings.iter().map(Standing::to_json).collect::<Vec<_>>(),
        }));
        return;
    }
    output.line(&format!(
        "{} {}: {} safe, {} in need of mapping, {} blocked, {} current",
        definition.name,
        definition.version,
        counts["safe"],
        counts["needs_mapping"],
        counts["blocked"],
        counts["current"],
    ));
    // What is the same of many instances is told once.
    let mut groups: BTreeMap<(&str, String, Vec<String>), usize> = BTreeMap::new();
    for it in standings {
        let word = match it.class {
            Class::Safe(_) if it.goes(false) => "upgraded",
            Class::Safe(_) if !args.dry_run => "refused",
            _ => it.class.as_str(),
        };
        let place = format!("{} in `{}`", it.snapshot.version, it.snapshot.state());
        *groups.entry((word, place, it.reasons())).or_default() += 1;
    }
    for ((word, place, reasons), count) in groups {
        let word = word.replace('_', " ");
        output.line(&format!("  {count} {word}: {place}"));
        for reason in reasons {
            output.line(&format!("      {reason}"));
        }
    }
}
