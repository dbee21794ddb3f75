//! `run --triggers`: keeps the triggers of a workflow file going until somebody stops it.
//!
//! Each trigger is carried out by an instance: a schedule by one of the built-in workflow
//! `Schedule`,
//! an event by one of a workflow made for it ([`super::listener`]). Both are durable like any
//! other:
//! a process that comes back goes on where the last one stopped. An open one whose words are no
//! longer in the file is cancelled; its runs go on.

use std::{collections::BTreeMap, sync::Arc, time::Duration, time::Instant};

use traaviis_engine::Machine;
use traaviis_model::{Body, InstanceId, Record, Snapshot, Value, cron::Cron, definition::Schedule};

use super::{Note, Notes, Run, identity::Identity, listener};
use crate::{
    children::compile_entry,
    clock,
    exit::{Exit, Failure},
    histories::Place,
    library::Library,
    trace::ink_of,
};

/// Name of the workflow that carries out schedules.
pub const WORKFLOW: &str = "Schedule";

impl Run<'_> {
    pub(super) fn keep_triggers(&self, notes: &Notes) -> anyhow::Result<Exit> {
        let begun = Instant::now();
        let mut shown = self.set_up()?;
        let limit = self.args.timeout.map(|it| Duration::from_micros(it.0.unsigned_abs()));
        loop {
            for (id, place) in &mut shown {
                self.show(*id, place)?;
            }
            let rest = limit.map(|it| it.saturating_sub(begun.elapsed()));
            match notes.next(rest) {
                Note::Commit => (),
                Note::Stop | Note::TimeIsUp => {
                    let dir = self.dir.display();
                    self.output.note(&format!(
                        "stopped; the triggers are kept in `{dir}` and go on with the next \
                         `traaviis run ... --triggers`, or end with `traaviis cancel ID`"
                    ));
                    return Ok(Exit::Ok);
                }
                Note::Failed(failure) => return Err(failure.into()),
            }
        }
    }

    /// Starts the schedules that are not open yet and cancels those that are no longer wanted.
    /// Returns each with the place of the first record that is to be told.
    fn set_up(&self) -> Result<BTreeMap<InstanceId, Place>, Failure> {
        let definition = self.machine.definition();
        if definition.schedules.is_empty() && definition.listeners.is_empty() {
            let message = format!(
                "workflow `{}` has no `triggers` that start it by themselves; write for example \
                 `triggers: [{{type: schedule, cron: \"0 7 * * *\"}}]`",
                definition.name
            );
            return Err(Failure::new(Exit::Usage, "no_triggers", message));
        }
        let schedule = carrier()?;
        let mut wanted = Vec::new();
        for trigger in &definition.schedules {
            wanted.push((Arc::clone(&schedule), self.input_of(trigger, &schedule)?));
        }
        for trigger in &definition.listeners {
            let name = Value::String(definition.name.clone());
            wanted.push((listener::carrier(trigger)?, Value::map([("workflow", name)])));
        }
        let open = CARRIERS.iter().flat_map(|it| self.data.open_instances(it));
        let open = open.filter(|it| carries_out(it, definition));
        let mut kept = BTreeMap::new();
        for snapshot in open {
            // A later release may bring another `Schedule`; what a listener hears is its
            // definition.
            let fits = |(machine, input): &(Arc<Machine>, Value)| {
                let definition = machine.definition();
                definition.name == snapshot.workflow
                    && *input == snapshot.input
                    && (&*definition.name == WORKFLOW
                        || definition.hash == snapshot.definition_hash)
            };
            match wanted.iter().position(fits) {
                Some(at) => {
                    let (machine, _) = wanted.remove(at);
                    let place = Place::before(snapshot.seq + 1);
                    kept.insert(snapshot.id, (machine, place));
                }
                None => {
                    let reason =
                        format!("no longer in the triggers of {}", self.args.file.display());
                    self.data.cancel(snapshot.id, false, Some(&reason))?;
                    let what = match &*snapshot.workflow {
                        WORKFLOW => times(&snapshot.input),
                        _ => "an event".to_string(),
                    };
                    self.output
                        .note(&format!("{what}: no longer in the file, {} cancelled", snapshot.id));
                }
            }
        }
        for (machine, input) in wanted {
            let kind = if &*machine.definition().name == WORKFLOW { "schedule" } else { "event" };
            let id = self.data.start_trigger(&machine, input, kind)?.id;
            kept.insert(id, (machine, Place::before(1)));
        }
        for (id, (machine, _)) in &kept {
            if let Some(snapshot) = self.data.snapshot(*id) {
                self.introduce(&snapshot, machine);
            }
        }
        Ok(kept.into_iter().map(|(id, (_, place))| (id, place)).collect())
    }

    /// Returns the start input of the instance that carries out a trigger. What a run would be
    /// refused for is told now, not at seven in the morning.
    fn input_of(&self, trigger: &Schedule, schedule: &Machine) -> Result<Value, Failure> {
        let mut input = trigger.input.clone();
        let mut of_run = match input.get("input") {
            Some(Value::Map(map)) => (**map).clone(),
            _ => traaviis_model::Map::new(),
        };
        if let Some(Value::String(key)) = input.get("time_as") {
            of_run.insert(key.clone(), Value::from(clock::now().to_string()));
        }
        let of_run = Value::Map(of_run.into());
        Identity::of_start(&self.data, &self.machine, &of_run).map_err(|it| {
            let message = format!("{}: a run could not start: {}", trigger.pointer, it.message);
            it.saying(message)
        })?;
        let name = &self.machine.definition().name;
        input.insert("workflow", Value::String(name.clone()));
        Ok(Identity::of_start(&self.data, schedule, &Value::Map(input.into()))?.input)
    }

    fn introduce(&self, snapshot: &Snapshot, machine: &Machine) {
        if self.output.is_json() {
            return;
        }
        let status = self.output.style().paint(ink_of(snapshot.status), snapshot.status.as_str());
        if &*snapshot.workflow == listener::WORKFLOW {
            let event = listener::event_of(snapshot, machine);
            self.output.line(&format!("{} {event}  {status}", snapshot.id));
            return;
        }
        let next = match next_of(&snapshot.input) {
            Some(next) => format!("next {next}"),
            None => "no time left".to_string(),
        };
        self.output.line(&format!("{} {}  {status}  {next}", snapshot.id, times(&snapshot.input)));
    }

    /// Prints what happened to a schedule since it was last looked at.
    fn show(&self, id: InstanceId, place: &mut Place) -> Result<(), Failure> {
        for line in self.data.histories.lines(id, place, 1_000)? {
            let record = crate::histories::read_record(&line)?;
            if self.output.is_json() {
                let line = line.strip_suffix(b"\n").unwrap_or(&line);
                self.output.bytes(&[line, b"\n"].concat());
            } else if let Some(text) = told(&record) {
                let at = record.header.at.to_string();
                self.output.line(&format!("{}  {text}", at.get(..19).unwrap_or(&at)));
            }
        }
        Ok(())
    }
}

/// What a person wants to know of the life of a schedule.
fn told(record: &Record) -> Option<String> {
    let id = record.header.instance_id;
    match &record.body {
        Body::ChildStarted { child, workflow, .. } => Some(format!("{workflow} {child} started")),
        Body::ChildFinished { child, status, .. } => Some(format!("{child} {}", status.as_str())),
        Body::EffectFailed { error, .. } => {
            Some(format!("a run did not complete: {} ({})", error.message, error.code))
        }
        Body::Paused { .. } => Some(format!("trigger {id} paused")),
        Body::Resumed { .. } => Some(format!("trigger {id} resumed")),
        Body::Finished { status, .. } => Some(format!("trigger {id} {}", status.as_str())),
        _ => None,
    }
}

/// Returns the workflow that carries out schedules.
fn carrier() -> Result<Arc<Machine>, Failure> {
    let library = Library::built_in();
    let compiled = library.find(WORKFLOW).and_then(|it| compile_entry(it, &library));
    compiled.map(Arc::new).map_err(|it| Failure::new(Exit::Internal, "internal", it))
}

/// Workflows that carry out triggers.
const CARRIERS: [&str; 2] = [WORKFLOW, listener::WORKFLOW];

/// Says whether an instance carries out a trigger of a workflow.
fn carries_out(snapshot: &Snapshot, of: &traaviis_model::definition::Definition) -> bool {
    CARRIERS.contains(&&*snapshot.workflow)
        && snapshot.input.get("workflow").and_then(Value::as_str) == Some(&*of.name)
}

/// Says which times a schedule means.
pub fn times(input: &Value) -> String {
    let text = |key: &str| input.get(key).and_then(Value::as_str).unwrap_or_default();
    format!("{} ({})", text("cron"), text("timezone"))
}

/// Returns the next time of a schedule, on the clock of its zone.
fn next_of(input: &Value) -> Option<String> {
    upcoming(input, 1).into_iter().next()
}

/// Returns the next times of a schedule, on the clock of its zone.
pub fn upcoming(input: &Value, count: usize) -> Vec<String> {
    let text = |key: &str| input.get(key).and_then(Value::as_str).unwrap_or_default();
    let Ok(cron) = Cron::read(text("cron"), text("timezone")) else { return Vec::new() };
    cron.upcoming(clock::now(), count).into_iter().map(|it| cron.local(it)).collect()
}
