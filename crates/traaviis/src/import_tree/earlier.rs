//! Instances of earlier layouts, which have no records: a state, and events by day, become a
//! history that tells the same.
//!
//! The definition that decided is not in such data. An instance goes on when the data directory
//! has a workflow of its name with its state; otherwise it is kept as an incident.

use std::{collections::BTreeMap, fs, path::Path};

use serde_json::{Value as Json, json};
use traaviis_model::{
    Actor, Body, DefinitionHash, Header, InstanceId, Record, TenantId, Text, Timestamp, Value,
    record::{ActorKind, EventSource, RECORD_VERSION, Status},
};

use super::{
    Said,
    files::{DOCUMENT_BYTES_MAX, File, What},
    histories::{History, Laid},
};

/// A workflow that is in the data directory.
#[derive(Clone, Debug)]
pub struct Known {
    /// Tenant.
    pub tenant: TenantId,
    /// Name.
    pub name: Text,
    /// Version.
    pub version: Text,
    /// Hash.
    pub hash: DefinitionHash,
    /// The document.
    pub document: Value,
}

/// Version of a workflow of which only the name is known.
const VERSION: &str = "0.0.0";

/// Lays out what has no document of ours.
pub fn lay_out(
    root: &Path,
    files: &[File],
    known: &[Known],
    laid: &mut Laid,
    (left_out, changed): (&mut Vec<Said>, &mut Vec<Said>),
) {
    let mut days: BTreeMap<(TenantId, String), Vec<&File>> = BTreeMap::new();
    for file in files {
        if let What::Days(tenant, id) = &file.what {
            // By path, which is by day.
            days.entry((*tenant, id.clone())).or_default().push(file);
        }
    }
    let has_records = |tenant: TenantId, id: InstanceId| {
        files.iter().any(|it| it.what == What::Records(tenant, id))
    };
    for file in files {
        let What::State(tenant, id) = &file.what else { continue };
        let Some(id) = id else {
            left_out.push(Said::new(&file.path, "its name is no id, and ids stay what they are"));
            continue;
        };
        if has_records(*tenant, *id) {
            continue;
        }
        let of_days = days.remove(&(*tenant, id.to_string())).unwrap_or_default();
        match take(root, (*tenant, *id), file, &of_days, known, laid) {
            Ok(notes) => changed.extend(notes.into_iter().map(|it| Said::new(&file.path, it))),
            Err(why) => {
                left_out.extend(of_days.iter().map(|it| Said::new(&it.path, why.clone())));
                left_out.push(Said::new(&file.path, why));
            }
        }
    }
    for file in days.into_values().flatten() {
        left_out.push(Said::new(&file.path, "the state of its instance is missing"));
    }
}

/// Reads JSON of a bounded size.
pub fn read_json(path: &Path) -> Result<Json, String> {
    let len = fs::metadata(path).map_err(|it| it.to_string())?.len();
    if len > DOCUMENT_BYTES_MAX {
        return Err(format!("it has more than {DOCUMENT_BYTES_MAX} bytes"));
    }
    let bytes = fs::read(path).map_err(|it| it.to_string())?;
    serde_json::from_slice(&bytes).map_err(|it| format!("it is no JSON: {it}"))
}

/// Reads a time as these layouts write it.
pub fn time(value: &Json) -> Option<Timestamp> {
    value.as_str()?.parse().ok()
}

fn take(
    root: &Path,
    (tenant, id): (TenantId, InstanceId),
    file: &File,
    days: &[&File],
    known: &[Known],
    laid: &mut Laid,
) -> Result<Vec<String>, String> {
    let state = read_json(&root.join(&file.path))?;
    if state["checksum"].is_string() && state["format"].is_u64() {
        return Err("the history of this instance is missing".into());
    }
    let text = |key: &str| {
        let text = state[key].as_str().filter(|it| !it.is_empty());
        text.ok_or_else(|| format!("it has no `{key}`, so it is no instance of a known layout"))
    };
    let (module, current) = (text("module")?, text("current_state")?);
    for (key, expected) in [("id", id.to_string()), ("tenant_id", tenant.to_string())] {
        if state[key].as_str().is_some_and(|it| it != expected) {
            return Err(format!("its `{key}` is `{}`, not that of its path", state[key]));
        }
    }
    if laid.has(id) {
        return Err(format!("instance `{id}` stands there twice"));
    }
    let events = events(root, days)?;
    let mut told = Told::new((tenant, id), module, &state, known);
    told.happened(&events, current)?;
    let notes = told.end(current);
    let history = History::of(&told.records)?;
    if let Some(known) = told.known {
        laid.define(tenant, known.hash, &known.document, Timestamp(0));
    }
    laid.put(&history).map_err(|failure| failure.message)?;
    Ok(notes)
}

/// An event of these layouts.
struct Event {
    is_created: bool,
    from: Option<String>,
    to: Option<String>,
    event: Option<String>,
    data: Json,
    at: Timestamp,
    seq: Option<u64>,
}

/// Reads the events of all days, in their order.
fn events(root: &Path, days: &[&File]) -> Result<Vec<Event>, String> {
    let mut events = Vec::new();
    for file in days {
        let bytes = fs::read(root.join(&file.path)).map_err(|it| it.to_string())?;
        let lines = bytes.split(|it| *it == b'\n').enumerate();
        for (at, line) in lines.filter(|it| !it.1.trim_ascii().is_empty()) {
            let place = format!("`{}` line {}", file.path, at + 1);
            let json: Json =
                serde_json::from_slice(line).map_err(|it| format!("{place} is no JSON: {it}"))?;
            events.push(event(&json).map_err(|why| format!("{place}: {why}"))?);
        }
    }
    if events.iter().all(|it: &Event| it.seq.is_some()) {
        events.sort_by_key(|it| it.seq);
        for (before, after) in events.iter().zip(events.iter().skip(1)) {
            let (Some(before), Some(after)) = (before.seq, after.seq) else { continue };
            if after != before + 1 {
                return Err(format!("event {after} follows event {before}"));
            }
        }
    }
    Ok(events)
}

fn event(json: &Json) -> Result<Event, String> {
    let text = |key: &str| json[key].as_str().map(str::to_owned);
    let is_created = match json["type"].as_str() {
        Some("created") => true,
        Some("transition") => false,
        _ => return Err(format!("`type` is {}, which no known layout has", json["type"])),
    };
    let at = time(&json["timestamp"]);
    let at = at.ok_or("`timestamp` is no time such as 2024-03-09T12:00:00Z")?;
    if !is_created && (json["from"].as_str().is_none() || json["to"].as_str().is_none()) {
        return Err("a transition has `from` and `to`".into());
    }
    let (from, to, event) = (text("from"), text("to"), text("event"));
    Ok(Event {
        is_created,
        from,
        to,
        event,
        data: json["event_data"].clone(),
        at,
        seq: json["seq"].as_u64(),
    })
}

/// A history on its way.
struct Told<'k> {
    id: (TenantId, InstanceId),
    module: Text,
    hash: DefinitionHash,
    records: Vec<Record>,
    step: u64,
    at: Timestamp,
    state: Option<Text>,
    known: Option<&'k Known>,
    created: Body,
    notes: Vec<String>,
}

impl<'k> Told<'k> {
    fn new(id: (TenantId, InstanceId), module: &str, state: &Json, known: &'k [Known]) -> Told<'k> {
        let known = known.iter().rfind(|it| it.tenant == id.0 && *it.name == *module);
        let mut labels: BTreeMap<Text, Value> = BTreeMap::new();
        for key in ["metadata", "performance"] {
            if !state[key].is_null() {
                labels.insert(key.into(), Value::from(&state[key]));
            }
        }
        let data = if state["data"].is_null() { json!({}) } else { state["data"].clone() };
        let created = Body::Created {
            workflow: module.into(),
            version: known.map_or(VERSION.into(), |it| it.version.clone()),
            input: Value::from(&json!({})),
            data: Value::from(&data),
            correlation: None,
            lineage: None,
            tags: ["imported".into()].into(),
            labels,
            created_by: None,
            subject: None,
        };
        let times = [&state["created_at"], &state["metadata"]["created_at"], &state["updated_at"]];
        let at = times.into_iter().find_map(time);
        let hash = known.map_or(DefinitionHash([0; 32]), |it| it.hash);
        Told {
            id,
            module: module.into(),
            hash,
            records: Vec::new(),
            step: 0,
            at: at.unwrap_or(Timestamp(0)),
            state: None,
            known,
            created,
            notes: at
                .is_none()
                .then(|| "when it began is not known".to_owned())
                .into_iter()
                .collect(),
        }
    }

    fn put(&mut self, body: Body) {
        let header = Header {
            origin: None,
            tenant_id: self.id.0,
            instance_id: self.id.1,
            seq: self.records.len() as u64 + 1,
            v: RECORD_VERSION,
            at: self.at,
            step: self.step,
            definition_hash: self.hash,
            actor: Actor { kind: ActorKind::Engine, id: "import".into() },
            causation_id: None,
            correlation_id: None,
        };
        self.records.push(Record { header, body });
    }

    fn begin(&mut self, state: &str) {
        self.step = 1;
        self.put(self.created.clone());
        self.enter(state, None);
    }

    fn enter(&mut self, to: &str, event: Option<&str>) {
        let texts = |it: Option<&Text>| it.cloned().into_iter().collect();
        let (from, to): (Option<Text>, Text) = (self.state.take(), to.into());
        self.put(Body::Transition {
            from: texts(from.as_ref()),
            to: texts(Some(&to)),
            event: event.map(Into::into),
            candidates: Default::default(),
            guards: Default::default(),
            exited: texts(from.as_ref()),
            entered: texts(Some(&to)),
            remembered: Vec::new(),
            microstep: 1,
        });
        self.state = Some(to);
    }

    /// Tells what happened; without events the state is all that is known.
    fn happened(&mut self, events: &[Event], current: &str) -> Result<(), String> {
        let first = events.first();
        if let Some(first) = first {
            self.at = first.at;
            self.notes.clear();
        }
        let created = first.filter(|it| it.is_created);
        let next = events.iter().find(|it| !it.is_created).and_then(|it| it.from.as_deref());
        let initial = created.and_then(|it| it.to.as_deref()).or(next).unwrap_or(current);
        self.begin(initial);
        for (at, event) in events.iter().enumerate() {
            if event.is_created {
                match at {
                    0 => continue,
                    _ => return Err(format!("event {} says that it was created again", at + 1)),
                }
            }
            let (from, to) = (event.from.as_deref(), event.to.as_deref().unwrap_or_default());
            if from != self.state.as_deref() {
                return Err(format!(
                    "event {} leaves `{}`, and it was in `{}`",
                    at + 1,
                    from.unwrap_or_default(),
                    self.state.as_deref().unwrap_or_default()
                ));
            }
            self.step += 1;
            // Times of events may stand in another order than the events.
            self.at = self.at.max(event.at);
            if let Some(name) = &event.event {
                self.put(Body::EventReceived {
                    event: name.as_str().into(),
                    data: Value::from(&event.data),
                    id: None,
                    source: EventSource::External,
                });
            }
            self.enter(to, event.event.as_deref());
        }
        match self.state.as_deref() == Some(current) {
            true => Ok(()),
            false => Err(format!(
                "its events end in `{}`, and its state is `{current}`",
                self.state.as_deref().unwrap_or_default()
            )),
        }
    }

    /// Tells whether it can go on; returns what a person should know.
    fn end(&mut self, current: &str) -> Vec<String> {
        let place = self.known.map(|it| {
            let document = Json::from(&it.document);
            document["states"][current].clone()
        });
        let why = match &place {
            None => format!("there is no workflow `{}` in this tenant", self.module),
            Some(Json::Object(state)) if !state.contains_key("states") => {
                self.step += 1;
                if state.get("type").and_then(Json::as_str) == Some("final") {
                    let output = Value::Null;
                    self.put(Body::Finished { status: Status::Completed, output, error: None });
                }
                if ["after", "invoke", "always"].iter().any(|it| state.contains_key(*it)) {
                    let note =
                        format!("timers and calls of `{current}` begin when it is entered anew");
                    self.notes.push(note);
                }
                return std::mem::take(&mut self.notes);
            }
            Some(_) => format!("workflow `{}` has no simple state `{current}`", self.module),
        };
        self.step += 1;
        self.put(Body::IncidentOpened {
            incident: "definition_missing".into(),
            tree: 0,
            path: "".into(),
            message: format!("imported from an earlier layout: {why}").as_str().into(),
            error: None,
            held: None,
        });
        self.notes.push(format!("it is kept as an incident: {why}"));
        std::mem::take(&mut self.notes)
    }
}
