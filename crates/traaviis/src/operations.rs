//! Questions about a data directory, answered by whoever can: the running process through its
//! socket, or this one by opening the directory. The answers are the same.

mod again;
mod classify;
mod effects;
mod fork;
mod looks;
mod registry;
pub mod tasks;

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use serde_json::{Value as Json, json};
use traaviis_engine::{Resolution, Retry};
use traaviis_model::{
    Seq, Snapshot, TenantCtx, TenantId, Text, Timestamp, Value,
    permission::Role,
    privacy::PiiMode,
    record::{Held, Operation, Status},
    snapshot::Incident,
};
use traaviis_platform::{engine::Listing, tenant::Payloads};
use traaviis_policy::pii::{Policy, redact};
use traaviis_ports::index::{Query, Row};
use traaviis_runtime::index::overlay::{row_of, row_of_ended};
use traaviis_runtime::{Accepted, Command, Filter, Summary, Until};

use crate::{
    clock,
    control::{
        client::Client,
        protocol::{Ask, By, Decision, HISTORY_LIMIT, LIST_DEFAULT, LIST_MAX, ListFilter, Wait},
    },
    data::{Data, Resting},
    erasure::{self, Open},
    exit::{Exit, Failure},
    histories::{Damaged, Histories, Page, Place, absent, compile_document},
    memory,
    output::{self, Output},
    terminal::{clip, quoted},
    tree,
};

/// Which data directory a command means.
#[derive(Clone, Debug, clap::Args)]
pub struct DataArgs {
    /// Data directory.
    #[arg(long, value_name = "DIR", default_value = "./data")]
    data: PathBuf,
    /// Act as somebody else; the name stands in the history.
    #[arg(long = "as", value_name = "NAME")]
    name: Option<String>,
    /// Act with the rights of a role: owner, admin, developer, viewer.
    #[arg(long, value_name = "ROLE")]
    role: Option<Role>,
    /// The tenant in which is looked, of those who can choose one.
    #[arg(skip)]
    tenant: Option<TenantId>,
}

/// Which data directory a command means that only reads, and which tenant of it.
#[derive(Clone, Debug)]
pub struct ReadArgs(DataArgs);

/// As they stand on the command line.
#[derive(clap::Args)]
struct ReadParts {
    #[command(flatten)]
    data: DataArgs,
    /// Tenant of a server, by its id; without accounts there is only one.
    #[arg(long, value_name = "TENANT", conflicts_with_all = ["name", "role"])]
    tenant: Option<TenantId>,
}

impl std::ops::Deref for ReadArgs {
    type Target = DataArgs;

    fn deref(&self) -> &DataArgs {
        &self.0
    }
}

impl clap::FromArgMatches for ReadArgs {
    fn from_arg_matches(matches: &clap::ArgMatches) -> Result<ReadArgs, clap::Error> {
        let ReadParts { data, tenant } = ReadParts::from_arg_matches(matches)?;
        Ok(ReadArgs(DataArgs { tenant, ..data }))
    }

    fn update_from_arg_matches(&mut self, matches: &clap::ArgMatches) -> Result<(), clap::Error> {
        *self = ReadArgs::from_arg_matches(matches)?;
        Ok(())
    }
}

impl clap::Args for ReadArgs {
    fn augment_args(command: clap::Command) -> clap::Command {
        ReadParts::augment_args(command)
    }

    fn augment_args_for_update(command: clap::Command) -> clap::Command {
        ReadParts::augment_args_for_update(command)
    }
}

impl DataArgs {
    /// Returns a directory, and the tenant of it in which is looked.
    pub fn of(dir: &Path, tenant: Option<TenantId>) -> DataArgs {
        DataArgs { data: dir.to_path_buf(), name: None, role: None, tenant }
    }

    /// Returns who acts.
    fn by(&self) -> By {
        By { name: self.name.clone(), role: self.role, tenant: self.tenant }
    }

    /// Returns who acts, and with which rights.
    pub fn ctx(&self) -> TenantCtx {
        self.by().ctx()
    }

    /// Returns the directory.
    pub fn dir(&self) -> &Path {
        &self.data
    }
}

/// Whoever answers questions about a data directory.
#[derive(Debug)]
pub struct Asker {
    source: Source,
}

#[derive(Debug)]
enum Source {
    Live(Client),
    Resting(Resting),
}

impl Asker {
    /// Finds the running process, or opens the directory for reading.
    pub fn open(args: &DataArgs) -> Result<Asker, Failure> {
        let dir = args.dir().to_path_buf();
        let source = match Client::connect(&dir, &args.by())? {
            Some(client) => Source::Live(client),
            None => {
                let Resting { histories } = Resting::open(&dir)?;
                Source::Resting(Resting { histories: histories.of(args.ctx()) })
            }
        };
        Ok(Asker { source })
    }

    /// Asks one question that changes nothing.
    pub fn ask(&mut self, ask: Ask) -> Result<Json, Failure> {
        match &self.source {
            Source::Live(client) => client.ask(ask),
            Source::Resting(resting) => answer(&resting.histories, None, ask),
        }
    }

    /// Returns every record line of one instance.
    pub fn history(&mut self, id: &str) -> Result<Vec<String>, Failure> {
        let (mut place, mut lines) = (Place::before(1), Vec::new());
        loop {
            lines.extend(self.history_part(id, &mut place)?);
            if !place.has_more {
                return Ok(lines);
            }
        }
    }

    /// Returns the next record lines of one instance, at most `HISTORY_LIMIT`, and moves the place
    /// behind them.
    pub fn history_part(&mut self, id: &str, place: &mut Place) -> Result<Vec<String>, Failure> {
        let Place { seq: from, position, .. } = *place;
        let answer = self.ask(Ask::History { id: id.into(), from, position })?;
        let part = answer["lines"].as_array().map(Vec::as_slice).unwrap_or_default();
        let lines: Vec<String> =
            part.iter().filter_map(|it| it.as_str().map(str::to_string)).collect();
        place.seq += lines.len() as Seq;
        place.position = answer["next"].as_u64().unwrap_or(position);
        place.has_more = answer["more"] == true;
        if answer["archived"] == true {
            output::warn(format_args!("note: instance `{id}` is archived"));
        }
        Ok(lines)
    }
}

/// Asks one question that changes nothing.
pub fn ask(args: &DataArgs, ask: Ask) -> Result<Json, Failure> {
    Asker::open(args)?.ask(ask)
}

/// Whoever makes changes in a data directory.
#[derive(Debug)]
pub enum Changer {
    /// The running process.
    Live(Client),
    /// This one, which holds the directory until [`Changer::close`].
    Held(Box<Data>),
}

impl Changer {
    /// Finds the running process, or opens the directory.
    pub fn open(args: &DataArgs) -> Result<Changer, Failure> {
        Ok(match Client::connect(args.dir(), &args.by())? {
            Some(client) => Changer::Live(client),
            None => Changer::Held(Box::new(Data::hold(args.dir())?.acting_as(&args.by()))),
        })
    }

    /// Asks for a change, or for something to decide it by.
    pub fn ask(&self, ask: Ask) -> Result<Json, Failure> {
        match self {
            Changer::Live(client) => client.ask(ask),
            Changer::Held(data) => answer(&data.histories, Some(data), ask),
        }
    }

    /// Lets go of the directory.
    pub fn close(&self) -> Result<(), Failure> {
        match self {
            Changer::Live(_) => Ok(()),
            Changer::Held(data) => data.close(),
        }
    }
}

/// Makes a change and tells what it led to.
pub fn change(args: &DataArgs, ask: Ask, what: &str, output: &Output) -> anyhow::Result<Exit> {
    debug_assert!(ask.is_change());
    let dir = args.dir();
    let changer = Changer::open(args)?;
    let is_live = matches!(changer, Changer::Live(_));
    let result = changer.ask(ask);
    changer.close()?;
    let mut answer = result?;
    let exit = match answer["waited"]["is_met"].as_bool() {
        Some(false) => Exit::Finding,
        _ => Exit::Ok,
    };
    if output.is_json() {
        answer["live"] = json!(is_live);
        output.json(&answer);
        return Ok(exit);
    }
    let text = |key: &str| answer[key].as_str().unwrap_or_default().to_string();
    let place = match &*text("state") {
        "" => String::new(),
        state => format!(" in `{state}`"),
    };
    let again = if answer["replayed"] == true { " before, and not again" } else { "" };
    output.line(&format!(
        "{what}{again}: {} is {}{place} at record {}",
        text("instance"),
        text("status"),
        answer["seq"]
    ));
    if let (Exit::Finding, Ok(until)) =
        (exit, serde_json::from_value(answer["waited"]["until"].clone()))
    {
        output.line(&missed(&until, &text("status")));
    }
    let is_open = !matches!(&*text("status"), "completed" | "failed" | "compensated" | "cancelled");
    let dir = dir.display();
    if text("status") == "paused" {
        output.line(&format!(
            "it takes no step until `traaviis resume {} --data {dir}`",
            text("instance")
        ));
    } else if !is_live && is_open {
        output.line(&format!(
            "no process runs `{dir}`; it goes on with the next `traaviis run FILE --data {dir}`"
        ));
    }
    Ok(exit)
}

/// Says what a caller waited for in vain.
fn missed(until: &Until, status: &str) -> String {
    let place = match until {
        Until::Step => "the step",
        Until::Final => "the end",
        Until::State(path) => &format!("state `{path}`"),
    };
    let is_open = Status::ALL.into_iter().any(|it| it.as_str() == status && !it.is_finished());
    match is_open {
        true => format!("the wait for {place} ran out; the event is taken all the same"),
        false => format!("it ended without being in {place} between two steps"),
    }
}

/// Answers a question. Changes need a runtime.
pub fn answer(histories: &Histories, data: Option<&Data>, ask: Ask) -> Result<Json, Failure> {
    match ask {
        Ask::Ps { archived: true, filter, .. } => list_archived(histories, filter),
        Ask::Ps { all, filter, .. } => {
            let mut listed = list(histories, all, filter)?;
            if let Some(status) = data.and_then(Data::tree) {
                listed["tree"] = tree::status(&status);
            }
            if let Some(stats) = data.and_then(|it| it.memory().ok()) {
                listed["memory"] = memory::status(&stats);
            }
            Ok(listed)
        }
        Ask::List { filter } => list_by(histories, data, &filter),
        Ask::Show { id } => {
            let snapshot = snapshot_of(histories, data, &id)?;
            let mut answer = json!({
                "snapshot": snapshot,
                "state": snapshot.state(),
                "waiting": snapshot.is_waiting(),
                "performance": snapshot.performance(),
                "correlation_id": snapshot.belongs_to(),
            });
            if histories.is_archived(snapshot.id)? {
                answer["archived"] = json!(true);
            }
            Ok(answer)
        }
        Ask::History { id, from, position } => {
            let id = histories.find(&id)?;
            let mut place = Place { position, ..Place::before(from.max(1)) };
            let lines = histories.lines(id, &mut place, HISTORY_LIMIT)?;
            let is_there =
                || Ok::<_, Failure>(!histories.lines(id, &mut Place::before(1), 1)?.is_empty());
            if lines.is_empty() && (from <= 1 || !is_there()?) {
                return Err(absent(&id.to_string()));
            }
            let lines: Vec<String> = lines
                .iter()
                .map(|it| String::from_utf8_lossy(it).trim_end_matches('\n').to_string())
                .collect();
            let mut answer =
                json!({ "lines": lines, "next": place.position, "more": place.has_more });
            if from <= 1 && histories.is_archived(id)? {
                answer["archived"] = json!(true);
            }
            Ok(answer)
        }
        Ask::Definition { hash } => Ok(json!({ "definition": histories.definition(hash)? })),
        Ask::Send { id, event, data: payload, event_id, if_seq, wait } => {
            let (data, snapshot) = open_one(histories, data, &id)?;
            let event = Command::Event { event: event.into(), data: payload, id: event_id };
            let command = match if_seq {
                Some(seq) => Command::If { seq, command: Box::new(event) },
                None => event,
            };
            send(histories, data, &snapshot, command, wait.as_ref())
        }
        Ask::Broadcast { event, data: payload, filter, key } => {
            registry::broadcast(data, &filter, &event, &payload, key.as_deref())
        }
        Ask::Query { id, select, sees } => {
            let snapshot = as_seen(snapshot_of(histories, data, &id)?, sees);
            let found = traaviis_engine::query(&snapshot, &select);
            let value = found.map_err(|error| Failure::finding(error.code(), error.to_string()))?;
            Ok(json!({ "instance": snapshot.id, "seq": snapshot.seq, "value": value }))
        }
        Ask::Count { all, filter } => registry::count(histories, &query_of(all, &filter)),
        Ask::Health => registry::health(histories, data),
        Ask::Cancel { id, terminate, reason } => {
            let (data, snapshot) = open_one(histories, data, &id)?;
            Ok(changed(&data.cancel(snapshot.id, terminate, reason.as_deref())?))
        }
        Ask::Resolve { id, path, decision, reason } => {
            let (id, incident) = split_incident(&id);
            let (data, snapshot) = open_one(histories, data, id)?;
            let incident = incident_of(&snapshot, incident, path.as_deref())?;
            let (tree, path) = (incident.tree, incident.path.clone());
            let resolution = match decision {
                Decision::Happened(value) => Resolution::Happened(value),
                Decision::Retry => Resolution::Retry,
                Decision::Fail => Resolution::Fail,
            };
            Ok(changed(&data.resolve(snapshot.id, tree, &path, resolution, reason)?))
        }
        Ask::Assign { id, path, to } => {
            let (id, incident) = split_incident(&id);
            let (data, snapshot) = open_one(histories, data, id)?;
            let incident = incident_of(&snapshot, incident, path.as_deref())?;
            let operation = Operation::Assign { incident: incident.opened, to };
            Ok(changed(&data.operate(snapshot.id, operation)?))
        }
        Ask::Operate { id, operation } => {
            let (data, snapshot) = open_one(histories, data, &id)?;
            Ok(changed(&data.operate(snapshot.id, operation)?))
        }
        Ask::Upgrade { id, definition } => {
            let machine = Arc::new(compile_document(&definition)?);
            let (data, snapshot) = open_one(histories, data, &id)?;
            Ok(changed(&data.upgrade(snapshot.id, &machine)?))
        }
        Ask::Retry { id, reason, as_new, paused } => {
            let retry = Retry { reason, as_new, paused, skip: None };
            Ok(changed(&again::retry(histories, data, &id, retry)?))
        }
        Ask::Skip { id, path, value, reason } => {
            Ok(changed(&again::skip(histories, data, &id, (path, value), reason)?))
        }
        Ask::Fork { id, fork } => fork::answer(histories, data, &id, fork),
        Ask::ShowTask { id, path } => {
            tasks::show(&snapshot_of(histories, data, &id)?, path.as_deref())
        }
        Ask::Task { id, path, act, names, taker } => {
            let (data, snapshot) = open_one(histories, data, &id)?;
            let (tree, path) = tasks::pick(&snapshot, path.as_deref())?;
            if let Some(names) = names {
                tasks::asked(&snapshot, (tree, &path), &act, &names, data.ctx())?;
            }
            if let Some(taker) = taker {
                tasks::may_take(&snapshot, (tree, &path), &taker)?;
            }
            Ok(changed(&data.operate(snapshot.id, Operation::Task { tree, path, act })?))
        }
        Ask::ExportSubject { subject, names } => {
            let ctx = data.map_or_else(|| histories.ctx(), Data::ctx);
            erasure::export(histories, ctx, &subject, &names)
        }
        Ask::NameSubject { subject } => erasure::name(histories, &subject),
        Ask::EraseSubject { subject, terminate } => {
            let open = if terminate { Open::Terminate } else { Open::Refuse };
            erasure::erase(histories, with_runtime(data)?, &subject, open)
        }
        Ask::FinishErasures => erasure::finish(with_runtime(data)?),
        Ask::Metrics => {
            let mut text = histories.metrics()?;
            text.extend(data.and_then(|it| it.memory().ok()).map(|it| memory::metrics(&it)));
            Ok(json!({ "text": text }))
        }
        Ask::ReplayTo { id, until } => looks::replay(histories, &id, until),
        Ask::Effects { id } => effects::of_instance(histories, &id),
        Ask::Effect { id } => effects::one(histories, &id),
        Ask::OpenEffects { filter } => effects::open(histories, data, &filter),
        Ask::EffectBegun { id, seq } => effects::begun(histories, histories.find(&id)?, seq),
        Ask::RunEffect { id, asked, shared } => {
            effects::run(histories, data, &id, (*asked, shared))
        }
        Ask::CancelEffect { id, seq, reason } => {
            effects::cancel(histories, data, &id, (seq, reason))
        }
        Ask::Trees { id } => Ok(looks::trees(&snapshot_of(histories, data, &id)?)),
        Ask::State { id } => Ok(looks::state(&snapshot_of(histories, data, &id)?)),
        Ask::Measures { id } => Ok(looks::measures(&snapshot_of(histories, data, &id)?)),
        Ask::Transitions { id } => {
            looks::transitions(histories, &snapshot_of(histories, data, &id)?)
        }
        Ask::Probe { id, event, data: payload } => {
            let ctx = data.map_or_else(|| histories.ctx(), Data::ctx);
            looks::probe(histories, ctx, &snapshot_of(histories, data, &id)?, event, payload)
        }
        Ask::Classify { workflow, definition } => {
            classify::answer(histories, data, workflow, &definition)
        }
        Ask::NeedsState { id, path } => {
            let snapshot = snapshot_of(histories, data, &id)?;
            looks::needs_state(histories, &snapshot, &path).map(|()| Json::Null)
        }
        Ask::Tasks => Ok(tasks::list(&histories.asking()?)),
        Ask::Incidents => Ok(incidents_of(&histories.asking()?)),
    }
}

fn incidents_of(open: &[Snapshot]) -> Json {
    let now = clock::now();
    let mut found: Vec<(&Snapshot, &Incident)> = open
        .iter()
        .flat_map(|it| it.incidents.iter().map(move |incident| (it, incident)))
        .collect();
    found.sort_by_key(|(it, incident)| (incident.opened_at, it.id));
    let items: Vec<Json> = found
        .into_iter()
        .map(|(it, incident)| {
            json!({
                "id": incident_id(it, incident),
                "instance": it.id,
                "workflow": it.workflow,
                "assignee": incident.assignee,
                "kind": incident.kind,
                "path": incident.path,
                "message": incident.message,
                "error": incident.error,
                "opened_at": incident.opened_at,
                "age_ms": now.since(incident.opened_at).as_millis(),
                "answer": answer_line(it, incident),
            })
        })
        .collect();
    json!({ "incidents": items })
}

/// Returns a page of instances, shown oldest first.
fn list(histories: &Histories, all: bool, filter: ListFilter) -> Result<Json, Failure> {
    let (query, now) = (query_of(all, &filter), clock::now());
    let page = histories.page(&query)?;
    let mut items: Vec<Json> = page.rows.iter().map(|it| listed(it, now)).collect();
    items.extend(damaged_of(&page, &query, all));
    items.sort_by(|a, b| a["id"].as_str().cmp(&b["id"].as_str()));
    Ok(json!({ "instances": items, "unreadable": page.unreadable, "next": page.next }))
}

/// Returns a page of instances, the newest first.
pub fn listing(histories: &Histories, all: bool, filter: &ListFilter) -> Result<Listing, Failure> {
    let query = query_of(all, filter);
    let page = histories.page(&query)?;
    let damaged = damaged_of(&page, &query, all);
    Ok(Listing { rows: page.rows, damaged, next: page.next })
}

/// Shows the damaged instances of a page. What one would be is not known, so every list that asks
/// for no more than some instances begins with all of them.
fn damaged_of(page: &Page, query: &Query, all: bool) -> Vec<Json> {
    let all_of_them = query_of(all, &ListFilter::default());
    let is_narrowed = Query { limit: all_of_them.limit, ..query.clone() } != all_of_them;
    if page.damaged.is_empty() || is_narrowed {
        return Vec::new();
    }
    let now = clock::now();
    let shown = page.damaged.iter().map(|it| {
        let snapshot = it.snapshot.as_ref();
        let mut shown =
            snapshot.map_or_else(|| json!({}), |snapshot| listed(&row_of(snapshot, None, 0), now));
        shown["id"] = json!(it.id);
        shown["status"] = json!("damaged");
        shown["seq"] = json!(it.seq);
        let failure = it.failure();
        shown["error"] = json!({ "code": failure.code, "message": failure.message });
        shown
    });
    shown.collect()
}

/// Returns what a list asks the index for.
fn query_of(all: bool, filter: &ListFilter) -> Query {
    let text = |it: &Option<String>| it.as_deref().map(Text::from);
    Query {
        workflow: text(&filter.workflow),
        version: text(&filter.version),
        statuses: match filter.status {
            Some(status) => vec![status],
            None if all => Vec::new(),
            None => Status::ALL.into_iter().filter(|it| !it.is_finished()).collect(),
        },
        state: text(&filter.state),
        correlation: text(&filter.correlation),
        correlation_id: text(&filter.correlation_id),
        tags: filter.tags.clone(),
        asks: false,
        after: filter.cursor,
        limit: if filter.limit == 0 { LIST_DEFAULT } else { filter.limit.min(LIST_MAX) },
    }
}

/// Sends an event, and waits for what follows when somebody wants to.
fn send(
    histories: &Histories,
    data: &Data,
    snapshot: &Snapshot,
    command: Command,
    wait: Option<&Wait>,
) -> Result<Json, Failure> {
    let Some(wait) = wait else {
        let (accepted, after) = data.command(snapshot.id, command)?;
        return Ok(sent(&after, accepted));
    };
    if let Until::State(path) = &wait.until {
        looks::needs_state(histories, snapshot, path)?;
    }
    let waited = data.command_and_wait(snapshot.id, command, wait)?;
    let mut answer = sent(&waited.snapshot, waited.accepted);
    answer["waited"] = json!({ "until": wait.until, "is_met": waited.is_met });
    Ok(answer)
}

fn sent(snapshot: &Snapshot, accepted: Accepted) -> Json {
    let mut answer = changed(snapshot);
    answer["accepted_at"] = json!(accepted.seq);
    if accepted.replayed {
        answer["replayed"] = json!(true);
    }
    answer
}

/// Returns what a list shows of an instance.
fn listed(it: &Row, now: Timestamp) -> Json {
    json!({
        "id": it.id,
        "workflow": it.workflow,
        "version": it.version,
        "status": it.status,
        "waiting": it.waits,
        "state": it.state,
        "age_ms": now.since(it.created_at).as_millis(),
        "seq": it.seq,
        "correlation": it.correlation,
        "correlation_id": it.correlation_id.clone().unwrap_or_else(|| it.id.to_string().into()),
        "tags": it.tags,
        "parent_id": it.parent,
        "created_by": it.created_by,
    })
}

/// Returns a page of archived instances, shown oldest first.
fn list_archived(histories: &Histories, filter: ListFilter) -> Result<Json, Failure> {
    let query = query_of(true, &filter);
    let (mut items, mut cursor, now) = (Vec::new(), query.after, clock::now());
    let next = loop {
        let page = histories.archived(cursor, query.limit)?;
        let is_last = page.len() < query.limit;
        for (id, found) in page {
            if items.len() == query.limit {
                break;
            }
            cursor = Some(id);
            let mut item = match found.map(|it| row_of_ended(&it)) {
                Ok(row) if query.takes(&row) => listed(&row, now),
                Ok(_) => continue,
                Err(failure) => json!({
                    "id": id,
                    "status": "damaged",
                    "error": { "code": failure.code, "message": failure.message },
                }),
            };
            item["archived"] = json!(true);
            items.push(item);
        }
        if items.len() == query.limit {
            break cursor;
        }
        if is_last {
            break None;
        }
    };
    items.sort_by(|a, b| a["id"].as_str().cmp(&b["id"].as_str()));
    Ok(json!({ "instances": items, "unreadable": [], "next": next }))
}

/// Names the instances that a filter takes.
fn list_by(histories: &Histories, data: Option<&Data>, filter: &Filter) -> Result<Json, Failure> {
    let mut found: Vec<Summary> = match data {
        Some(data) => data.list(filter)?,
        None => {
            let whole = histories.list()?.whole;
            whole.iter().filter(|it| filter.matches(it)).map(Summary::of).collect()
        }
    };
    found.sort_by_key(|it| it.id);
    let items = found.iter().map(|it| {
        json!({
            "id": it.id,
            "workflow": it.workflow,
            "version": it.version,
            "status": it.status,
            "state": it.state,
        })
    });
    Ok(json!({ "instances": items.collect::<Vec<_>>() }))
}

fn changed(snapshot: &Snapshot) -> Json {
    json!({
        "instance": snapshot.id,
        "status": snapshot.status,
        "state": snapshot.state(),
        "seq": snapshot.seq,
        "output": snapshot.output,
    })
}

fn snapshot_of(histories: &Histories, data: Option<&Data>, id: &str) -> Result<Snapshot, Failure> {
    let id = histories.find(id)?;
    histories.refuse_damaged(id)?;
    match data.map(|it| it.state(id)).transpose() {
        Ok(Some(Some(snapshot))) => Ok(snapshot),
        Ok(_) => histories.show(id),
        // What the log says of a damaged history is clearer than that it cannot be used.
        Err(failure) => {
            let damaged = histories.list()?.damaged;
            Err(damaged.iter().find(|it| it.id == id).map_or(failure, Damaged::failure))
        }
    }
}

/// Leaves in a state what somebody sees of its data.
fn as_seen(mut snapshot: Snapshot, sees: Payloads) -> Snapshot {
    snapshot.data = match sees {
        Payloads::Full => return snapshot,
        Payloads::Masked => redact(&snapshot.data, &Policy::all(PiiMode::Mask))
            .map_or_else(|_| Value::empty_map(), |it| it.value),
        Payloads::None => Value::empty_map(),
    };
    snapshot
}

fn with_runtime(data: Option<&Data>) -> Result<&Data, Failure> {
    let none = || Failure::new(Exit::Internal, "internal", "a change needs a runtime");
    data.ok_or_else(none)
}

/// Finds the instance that a change is about, open or ended.
fn known_one<'a>(
    histories: &Histories,
    data: Option<&'a Data>,
    id: &str,
) -> Result<(&'a Data, Snapshot), Failure> {
    let data = with_runtime(data)?;
    Ok((data, snapshot_of(histories, Some(data), id)?))
}

fn open_one<'a>(
    histories: &Histories,
    data: Option<&'a Data>,
    id: &str,
) -> Result<(&'a Data, Snapshot), Failure> {
    let (data, snapshot) = known_one(histories, data, id)?;
    if snapshot.status.is_finished() {
        let message = format!(
            "instance `{}` has ended as {}; it takes nothing more",
            snapshot.id,
            snapshot.status.as_str()
        );
        return Err(Failure::finding("invalid_state", message));
    }
    Ok((data, snapshot))
}

/// Takes the id of an incident, `INSTANCE:SEQ`, apart; what has no number names an instance.
fn split_incident(id: &str) -> (&str, Option<Seq>) {
    match id.rsplit_once(':').map(|(id, seq)| (id, seq.parse())) {
        Some((id, Ok(seq))) => (id, Some(seq)),
        _ => (id, None),
    }
}

/// Returns the id of an incident; none when a checkpoint from before there were ids holds it.
fn incident_id(snapshot: &Snapshot, incident: &Incident) -> Option<String> {
    (incident.opened > 0).then(|| format!("{}:{}", snapshot.id, incident.opened))
}

/// Finds an open incident by its number, by the place that it is about, or as the only one.
fn incident_of<'s>(
    snapshot: &'s Snapshot,
    opened: Option<Seq>,
    path: Option<&str>,
) -> Result<&'s Incident, Failure> {
    let open = &snapshot.incidents;
    let fits = |it: &&Incident| {
        opened.is_none_or(|opened| it.opened == opened) && path.is_none_or(|path| *it.path == *path)
    };
    let found: Vec<&Incident> = open.iter().filter(fits).collect();
    // Several may be about the same effect, each time that its state was entered.
    let shown = |it: &Incident| match incident_id(snapshot, it) {
        Some(id) => format!("`{}` ({id})", it.path),
        None => format!("`{}`", it.path),
    };
    let places: Vec<String> = open.iter().map(shown).collect();
    let next = match places.as_slice() {
        [] => "nothing waits for a decision".to_string(),
        places => format!("there are about: {}", places.join(", ")),
    };
    let id = snapshot.id;
    let message = match (found.as_slice(), path, opened) {
        ([only], ..) => return Ok(only),
        // Those of an older checkpoint have no numbers to tell them apart by.
        ([first, ..], Some(_), _) if first.opened == 0 => return Ok(first),
        ([_, ..], Some(path), _) => {
            let path = clip(path, 120);
            format!(
                "instance `{id}` has several incidents about `{path}`; name one by its id; {next}"
            )
        }
        (_, Some(path), _) => {
            let path = clip(path, 120);
            format!("instance `{id}` has no incident about `{path}`; {next}")
        }
        (_, None, Some(opened)) => format!("instance `{id}` has no incident `{opened}`; {next}"),
        ([], None, None) => format!("instance `{id}` has no incident"),
        (_, None, None) => {
            format!("instance `{id}` has several incidents; name one by its id; {next}")
        }
    };
    Err(Failure::finding("invalid_state", message))
}

/// Returns the events that would be taken, for a message.
pub fn accepted(machine: &traaviis_engine::Machine, snapshot: &Snapshot) -> String {
    let names = machine.accepted_events(snapshot);
    let names: Vec<String> = names.iter().map(|it| format!("`{it}`")).collect();
    match names.as_slice() {
        [] => "no event at all".to_string(),
        names => names.join(", "),
    }
}

/// Returns the command that answers an incident.
pub fn answer_line(snapshot: &Snapshot, incident: &Incident) -> String {
    let answers = match incident.held.as_deref() {
        Some(Held::Timer { .. } | Held::Ended { .. } | Held::Event { .. } | Held::Continue) => {
            "--retry|--fail"
        }
        None if incident.tree == 0 => "--fail",
        None if &*incident.kind == "cleanup_timeout" => "--retry|--fail",
        _ => "--happened JSON|--retry|--fail",
    };
    format!("traaviis resolve {} {} {answers}", snapshot.id, quoted(&incident.path))
}
