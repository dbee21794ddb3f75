//! What runs instances of many tenants: the runtime of a data directory behind the platform's port,
//! and the definitions that children may run.

use std::{
    collections::{BTreeSet, HashMap},
    ops::Range,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
};

use semver::VersionReq;
use serde_json::{Map, Value as Json, json};
use traaviis_design::graph;
use traaviis_engine::{Machine, Marks, machine::Arrived};
use traaviis_model::{
    Call, CallId, DefinitionHash, EffectError, InstanceId, Snapshot, Span, TenantCtx, TenantId,
    Text, Timestamp, Value,
};
use traaviis_platform::{
    Error, Platform,
    ask::{Ask, ListFilter},
    engine::{
        Accepted, Checked, Component, Engine, EventAsk, HookDeed, Knock, Listing, LogPart, OnStep,
        Picture, PostAsk, Reply, StartAsk, Started, Study,
    },
    standing_alerts::Condition,
    storage::Stored,
};
use traaviis_ports::{Connector, Position};
use traaviis_runtime::{Command, Filter, Given};
use traaviis_store::{LocalSecrets, SegmentInfo, keys, weigh_files};

use crate::{
    children::compile_entry,
    clock,
    data::Data,
    document,
    exit::{Exit, Failure},
    histories::compile_document,
    library::Library,
    operations,
    scrub::Scrub,
    standing::Standing,
    studies,
    telemetry::{
        numbers::{self, Numbers},
        traces::{self, Traces},
    },
};

/// Longest time that the receiver of a webhook may take.
const POST_TIMEOUT: Span = Span::secs(15);
/// Bytes of its answer that are read; nobody looks at them.
const RESPONSE_BYTES_MAX: i64 = 64 << 10;

/// Compiled definitions that are kept; beyond it all are forgotten, and made again when needed.
const MACHINES_MAX: usize = 1_000;

/// Compiled definitions by hash, for starts and for children.
#[derive(Default)]
pub struct Machines {
    compiled: Mutex<HashMap<DefinitionHash, Arc<Machine>>>,
}

impl Machines {
    /// Returns the machine of a definition; its document is asked for when it is not known.
    fn get(
        &self,
        hash: &str,
        document: impl FnOnce() -> Result<Value, Error>,
    ) -> Result<Arc<Machine>, Error> {
        if let Some(machine) = self.known(hash) {
            return Ok(machine);
        }
        let machine = Arc::new(compile_document(&document()?).map_err(refused)?);
        let mut compiled = self.compiled();
        if compiled.len() >= MACHINES_MAX {
            compiled.clear();
        }
        compiled.insert(machine.definition().hash, Arc::clone(&machine));
        Ok(machine)
    }

    fn known(&self, hash: &str) -> Option<Arc<Machine>> {
        hash.parse().ok().and_then(|it| self.compiled().get(&it).cloned())
    }

    fn compiled(&self) -> MutexGuard<'_, HashMap<DefinitionHash, Arc<Machine>>> {
        self.compiled.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The runtime of a data directory, for many tenants.
pub struct Served {
    data: Arc<Data>,
    machines: Arc<Machines>,
    /// What makes calls to the outside; the same rules hold for webhooks.
    connector: Arc<dyn Connector>,
    numbers: Arc<Numbers>,
    traces: Option<Traces>,
    /// Where the files of tenants are; none: they are not weighed.
    dir: Option<PathBuf>,
    /// What surrounds the directory; none: nobody asks.
    standing: Option<Standing>,
    scrub: Arc<Scrub>,
}

impl Served {
    /// Returns what runs the instances of a data directory.
    pub fn new(data: Arc<Data>, machines: Arc<Machines>, connector: Arc<dyn Connector>) -> Served {
        let (numbers, traces, dir, standing) = (Arc::default(), None, None, None);
        let scrub = Arc::default();
        Served { data, machines, connector, numbers, traces, dir, standing, scrub }
    }

    /// Returns the same, which tells what a look at what rests has found.
    pub fn scrubbed(self, scrub: Arc<Scrub>) -> Served {
        Served { scrub, ..self }
    }

    /// Returns the same, which weighs the files of tenants in a data directory.
    pub fn weighing(self, dir: &Path) -> Served {
        Served { dir: Some(dir.to_path_buf()), ..self }
    }

    /// Returns the same, which tells how what surrounds its directory stands.
    pub fn standing(self, standing: Standing) -> Served {
        Served { standing: Some(standing), ..self }
    }

    /// Returns the same, observed.
    pub fn observed(self, numbers: Arc<Numbers>, traces: Option<Traces>) -> Served {
        Served { numbers, traces, ..self }
    }
}

/// Returns what a caller gives an instance besides its input.
fn given(tags: Vec<Text>, correlation: Option<Text>) -> Given {
    let marks = Marks { tags: tags.into_iter().collect(), ..Marks::default() };
    Given { marks, correlation }
}

fn unweighed(error: impl std::fmt::Display) -> Error {
    Error::new("storage_failed", error.to_string())
}

impl Engine for Served {
    fn check(&self, _: &TenantCtx, text: &str) -> Checked {
        let (format, library) = (studies::format_of(text), Library::built_in());
        let checked = document::check_text("document".into(), text, format, &library);
        let definition = checked.definition.as_ref();
        let is_valid = definition.is_some() && !checked.has_errors() && !checked.is_component;
        let diagnostics = checked.diagnostics.iter().map(|it| json!(it)).collect();
        Checked {
            diagnostics,
            is_valid,
            name: definition.map(|it| it.name.clone()),
            version: definition.map(|it| it.version.to_string().into()),
            hash: definition.map(|it| it.hash.to_string()),
            description: None,
            document: definition.filter(|_| is_valid).map(|it| it.document.clone()),
        }
    }

    fn study(&self, ctx: &TenantCtx, study: Study<'_>) -> Result<Json, Error> {
        match study {
            Study::Outline { hash, document } => {
                Ok(studies::outline(&*self.machines.get(hash, document)?))
            }
            study => studies::answer(ctx, study).map_err(refused),
        }
    }

    fn draw(&self, _: &TenantCtx, document: &Value, picture: Picture) -> Result<String, Error> {
        let machine = compile_document(document).map_err(refused)?;
        let drawn = graph::Picture::of(machine.definition());
        match picture {
            Picture::Mermaid => Ok(graph::mermaid(&drawn)),
            Picture::Dot => Ok(graph::dot(&drawn)),
            Picture::Svg => {
                graph::svg(&drawn).map_err(|error| Error::new("graph_failed", error.to_string()))
            }
        }
    }

    fn hook(
        &self,
        hash: &str,
        document: &dyn Fn() -> Result<Value, Error>,
        knock: Knock<'_>,
    ) -> Result<HookDeed, Error> {
        let machine = self.machines.get(hash, document)?;
        let Knock { name, id, data, at } = knock;
        let deed = machine.hook(name, &Arrived { id, data, at });
        let deed = deed.ok_or_else(|| Error::not_found("hook", name))?;
        deed.map_err(|error| Error::new(error.code, error.message))
    }

    fn start(&self, ctx: &TenantCtx, start: StartAsk<'_>) -> Result<Json, Error> {
        let machine = self.machines.get(start.hash, start.document)?;
        let given = given(start.tags, start.correlation);
        let data = self.data.acting_in(ctx.clone());
        let span = tracing::info_span!("instance.start", workflow = &*machine.definition().name);
        let _entered = span.enter();
        let started = data.start_marked(&machine, start.id, start.input, given).map_err(refused)?;
        tracing::Span::current().record("instance_id", tracing::field::display(started.id));
        if self.traces.is_some() {
            traces::link(started.id);
        }
        let snapshot = &started.snapshot;
        Ok(json!({
            "id": started.id,
            "existing": started.existing,
            "workflow": snapshot.workflow,
            "version": snapshot.version,
            "status": snapshot.status,
            "state": snapshot.state(),
            "seq": snapshot.seq,
            "output": snapshot.output,
        }))
    }

    fn log_parts(&self) -> Result<Vec<LogPart>, Error> {
        let segments = self.data.log().inner().segments().map_err(unweighed)?;
        let part = |it: SegmentInfo| LogPart { within: it.first..it.end, mark: it.bytes };
        Ok(segments.into_iter().map(part).collect())
    }

    fn weigh_log(
        &self,
        within: Range<Position>,
        add: &mut dyn FnMut(TenantId, u64),
    ) -> Result<(), Error> {
        self.data.log().inner().weigh(within, add).map_err(unweighed)
    }

    fn take_changed_files(&self) -> BTreeSet<TenantId> {
        self.data.log().inner().take_changed_files()
    }

    fn weigh_files(&self, ctx: &TenantCtx) -> Result<Stored, Error> {
        let Some(dir) = &self.dir else { return Ok(Stored::default()) };
        weigh_files(dir, ctx)
            .map(|(blobs, archive)| Stored { log: 0, blobs, archive })
            .map_err(unweighed)
    }

    fn oldest_work(&self, ctx: &TenantCtx) -> Result<Option<Timestamp>, Error> {
        self.data.oldest_work(ctx).map_err(refused)
    }

    fn components(&self) -> Vec<Component> {
        let log = match self.data.log_failure() {
            None if self.data.log().inner().is_full() => Component::degraded(
                "log",
                "its disk is full: changes are refused with `storage_full` until there is space",
            ),
            None => match self.scrub.damage() {
                None => Component::ok("log"),
                Some(damage) => Component::degraded("log", damage),
            },
            Some(failure) => Component::failed("log", failure.message),
        };
        let memory = match self.data.memory() {
            Ok(stats) if stats.pressure.waiting == 0 => Component::ok("instances"),
            Ok(stats) => {
                let why = format!("{} starts wait for memory", stats.pressure.waiting);
                Component::degraded("instances", why)
            }
            Err(failure) => Component::failed("instances", failure.message),
        };
        let tree = self.data.tree().map(|status| match status.failing {
            None => Component::ok("document_tree"),
            Some(error) => Component::degraded("document_tree", error.to_string()),
        });
        let index = self.data.has_index().map(|follows| match follows {
            true => Component::ok("index"),
            false => Component::degraded(
                "index",
                "it has failed (`index_failed`), so lists of instances are slower or refused; a \
                 restart makes it again",
            ),
        });
        let around = self.standing.iter().flat_map(Standing::components);
        [log, memory].into_iter().chain(tree).chain(index).chain(around).collect()
    }

    fn conditions(&self) -> Vec<Condition> {
        let syncs = self.data.log().inner().written().syncs.counted();
        self.standing.iter().flat_map(|it| it.conditions(syncs)).collect()
    }

    fn start_built_in(
        &self,
        ctx: &TenantCtx,
        name: &str,
        id: InstanceId,
        input: Value,
    ) -> Result<Json, Error> {
        let library = Library::built_in();
        let compiled = library.find(name).and_then(|it| compile_entry(it, &library));
        let machine = compiled.map_err(|it| Error::new("internal", it))?;
        let data = self.data.acting_in(ctx.clone());
        let machine = Arc::new(machine);
        let started = data.start_marked(&machine, Some(id), input, Marks::default());
        Ok(json!({ "id": started.map_err(refused)?.id }))
    }

    fn post(&self, ctx: &TenantCtx, post: PostAsk, reply: Reply<u16>) {
        let PostAsk { url, headers, body } = post;
        let headers = headers.into_iter().chain([json_body()]);
        let input = Value::from(&json!({
            "method": "post",
            "url": url,
            "headers": headers.map(|(name, it)| (name, json!(it))).collect::<Map<_, _>>(),
            "body_type": "text",
            "body": body,
            "response": "bytes",
            "max_response": RESPONSE_BYTES_MAX,
            "redirects": 0,
        }));
        // It is about no instance: the name only tells attempts apart.
        let instance = InstanceId(uuid::Uuid::now_v7());
        let path = "webhook".into();
        let id = CallId { instance, tree: 0, path, scheduled: 0, attempt: 1 };
        let key = instance.to_string().into();
        let (kind, timeout, hosts) = ("call_api".into(), Some(POST_TIMEOUT), Vec::new());
        let call = Call { id, workflow: "".into(), kind, input, key, timeout, hosts };
        let done = move |outcome: Result<Value, EffectError>| {
            let status = |value: &Value| {
                let status = value.get("status").and_then(Value::as_i64);
                status.and_then(|it| u16::try_from(it).ok())
            };
            reply(match outcome {
                Ok(value) => Ok(status(&value).unwrap_or(200)),
                // Whatever status it is, there was an answer.
                Err(error) => match status(&error.details) {
                    Some(status) => Ok(status),
                    None => Err(Error::new(error.code.to_string(), error.message.to_string())),
                },
            });
        };
        self.connector.perform(ctx, call, Box::new(done));
    }

    fn knows(&self, hash: &str) -> bool {
        self.machines.known(hash).is_some()
    }

    fn has_state(&self, hash: &str, path: &str) -> Option<bool> {
        self.machines.known(hash).map(|it| it.has_state(path))
    }

    fn start_then(&self, ctx: &TenantCtx, start: StartAsk<'_>, reply: Reply<Started>) {
        let machine = match self.machines.get(start.hash, start.document) {
            Ok(machine) => machine,
            Err(error) => return reply(Err(error)),
        };
        let given = given(start.tags, start.correlation);
        let span = tracing::info_span!("instance.start", workflow = &*machine.definition().name);
        let is_traced = self.traces.is_some();
        let reply: Reply<Started> = Box::new(move |started| {
            if let (Ok(started), true) = (&started, is_traced) {
                span.in_scope(|| traces::link(started.id));
            }
            reply(started);
        });
        self.data.start_marked_then(ctx, &machine, start.input, given, told(reply));
    }

    fn send_then(&self, ctx: &TenantCtx, event: EventAsk, reply: Reply<Accepted>) {
        let EventAsk { id, event, data, event_id, if_seq } = event;
        if self.data.histories.is_known_damaged(ctx, id)
            && let Err(failure) = self.data.histories.of(ctx.clone()).refuse_damaged(id)
        {
            return reply(Err(refused(failure)));
        }
        let event = Command::Event { event, data, id: event_id };
        let command = match if_seq {
            Some(seq) => Command::If { seq, command: Box::new(event) },
            None => event,
        };
        let span = tracing::info_span!("instance.ask");
        let reply: Reply<Accepted> = Box::new(move |accepted| {
            drop(span);
            reply(accepted);
        });
        self.data.command_then(ctx, id, command, told(reply));
    }

    fn find_then(&self, ctx: &TenantCtx, id: InstanceId, reply: Reply<Option<Arc<Snapshot>>>) {
        match self.data.histories.is_known_damaged(ctx, id) {
            true => reply(Ok(None)),
            false => self.data.find_open_then(ctx, id, told(reply)),
        }
    }

    fn listen(&self, on_step: OnStep) {
        let (numbers, traces) = (Arc::clone(&self.numbers), self.traces.clone());
        self.data.listen(Box::new(move |step| {
            numbers.step(step);
            if let Some(traces) = &traces {
                numbers::trace_step(traces, step);
            }
            on_step(step);
        }));
    }

    fn destroy(&self, ctx: &TenantCtx) -> Result<(), Error> {
        let data = self.data.acting_in(ctx.clone());
        end_all(&data)?;
        let subjects = data.log().subjects();
        let secrets = LocalSecrets::new(subjects.keys().clone());
        for (name, _) in secrets.list(ctx).map_err(|it| refused(it.into()))? {
            match secrets.delete(ctx, &name) {
                Ok(()) | Err(keys::Error::Absent(_)) => {}
                Err(error) => return Err(refused(error.into())),
            }
        }
        subjects.erase_all(ctx.tenant(), clock::now()).map_err(|it| refused(it.into()))?;
        data.forget();
        Ok(())
    }

    fn discard(&self, ctx: &TenantCtx, id: InstanceId) -> Result<bool, Error> {
        let data = self.data.acting_in(ctx.clone());
        if data.is_discarded(id) {
            return Ok(true);
        }
        match data.histories.show(id) {
            Ok(_) => {
                data.discard(id);
                Ok(true)
            }
            Err(failure) if matches!(&*failure.code, "history_absent" | "not_found") => Ok(false),
            Err(failure) => Err(refused(failure)),
        }
    }

    fn list(&self, ctx: &TenantCtx, all: bool, filter: &ListFilter) -> Result<Listing, Error> {
        let data = self.data.acting_in(ctx.clone());
        let span = tracing::info_span!("instance.ask");
        let _entered = span.enter();
        operations::listing(&data.histories, all, filter).map_err(refused)
    }

    fn ask(&self, ctx: &TenantCtx, ask: Ask) -> Result<Json, Error> {
        let data = self.data.acting_in(ctx.clone());
        let span = tracing::info_span!("instance.ask");
        let _entered = span.enter();
        operations::answer(&data.histories, Some(&data), ask).map_err(refused)
    }
}

/// Times that instances may begin anew while a tenant is being destroyed.
const ROUNDS_MAX: u32 = 5;

/// Ends everything that is open in a tenant, at once.
fn end_all(data: &Data) -> Result<(), Error> {
    let filter = Filter { ended: Some(false), ..Filter::default() };
    for _ in 0..ROUNDS_MAX {
        let open = data.list(&filter).map_err(refused)?;
        if open.is_empty() {
            return Ok(());
        }
        for it in open {
            match data.cancel(it.id, true, Some("the tenant is destroyed")) {
                Ok(_) => {}
                // It has ended by itself.
                Err(failure) if &*failure.code == "instance_finished" => {}
                Err(failure) => return Err(refused(failure)),
            }
        }
    }
    Err(Error::new("busy", "instances of the tenant begin faster than they can be ended"))
}

/// Returns the header that says what the body is.
fn json_body() -> (String, String) {
    ("content-type".into(), "application/json".into())
}

/// Returns the reply that tells somebody in the words of the platform.
fn told<T: 'static>(reply: Reply<T>) -> Box<dyn FnOnce(Result<T, Failure>) + Send> {
    Box::new(move |told| reply(told.map_err(refused)))
}

fn refused(failure: Failure) -> Error {
    let code = match (failure.exit, &*failure.code) {
        // A command line is a usage; a request is a value that breaks a rule.
        (Exit::Usage, _) => "validation_failed".to_owned(),
        // What the engine refuses for want of a right that the workflow asks for.
        (_, "history_absent") => "not_found".to_owned(),
        (_, code) => code.to_owned(),
    };
    // Whoever asks over HTTP has no command line on the server.
    Error::new(code, failure.plain().to_owned()).with_details(failure.details)
}

/// The definitions that children of a tenant may run: what the tenant has published, then the
/// catalogue.
#[derive(Default)]
pub struct TenantLibrary {
    platform: OnceLock<Arc<Platform>>,
    machines: Arc<Machines>,
}

impl TenantLibrary {
    /// Tells where published versions are, once the platform is open.
    pub fn serve(&self, platform: &Arc<Platform>) {
        // Called once.
        let _ = self.platform.set(Arc::clone(platform));
    }

    /// Returns what was compiled for children, so that starts know it, too.
    pub fn machines(&self) -> Arc<Machines> {
        Arc::clone(&self.machines)
    }
}

impl traaviis_runtime::Library for TenantLibrary {
    fn find(
        &self,
        ctx: &TenantCtx,
        workflow: &str,
        version: Option<&str>,
    ) -> Result<Arc<Machine>, String> {
        let range = VersionReq::parse(version.unwrap_or("*"))
            .map_err(|error| format!("`{workflow}@{}`: {error}", version.unwrap_or("*")))?;
        let platform = self.platform.get().ok_or("the platform is not open yet")?;
        let told = |error: Error| error.message;
        let published = platform.published(ctx, workflow, &range).map_err(told)?;
        if let Some(found) = published {
            let document = || platform.document(ctx, workflow, &found.version);
            return self.machines.get(&found.hash, document).map_err(told);
        }
        let library = Library::built_in();
        let reference = version.map_or(workflow.into(), |it| format!("{workflow}@{it}"));
        let entry = library.find(&reference)?;
        if entry.is_component {
            return Err(format!("`{workflow}` is a component, which is not started by itself"));
        }
        compile_entry(entry, &library).map(Arc::new)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{connectors::ConnectorArgs, data::Serving, tree::TreeMode};
    use traaviis_ports::LogStore as _;

    const WORKFLOW: &str = r#"{
        "traaviis": "1", "name": "Wait", "version": "1.0.0", "initial": "waiting",
        "input": {"schema": {"type": "object"}},
        "events": {"go": {}},
        "states": {"waiting": {"on": {"go": "gone"}}, "gone": {"type": "final"}}
    }"#;

    fn open(dir: &Path) -> (Arc<Data>, Served) {
        let library = Arc::new(TenantLibrary::default());
        let connector = ConnectorArgs::default();
        let connector = connector.connector(None, Arc::new(crate::secrets::kept(dir))).unwrap();
        let machines = library.machines();
        let kept = (TreeMode::Off, None);
        let serving = Serving {
            hot_bytes: 64 << 20,
            hot_ttl: Span::secs(3_600),
            hot_share: Arc::new(|_| 100),
            running_calls: 256,
            events_per_second: 5_000,
            open_instances: 100_000,
            later: Arc::new(|run: Box<dyn FnOnce() + Send>| run()),
        };
        let outside = Arc::clone(&connector);
        let data = Data::open_serving(dir, connector, library as Arc<_>, kept, serving).unwrap();
        let data = Arc::new(data);
        (Arc::clone(&data), Served::new(data, machines, outside))
    }

    fn start(served: &Served, ctx: &TenantCtx) {
        let checked = served.check(ctx, WORKFLOW);
        let document = checked.document.expect("a good document");
        let hash = checked.hash.unwrap();
        let input = Value::empty_map();
        let document = || Ok(document.clone());
        let tags = Vec::new();
        served
            .start(
                ctx,
                StartAsk {
                    hash: &hash,
                    document: &document,
                    id: None,
                    input,
                    tags,
                    correlation: None,
                },
            )
            .unwrap();
    }

    #[test]
    fn a_discarded_instance_leaves_the_log_and_the_archive_and_others_stay() {
        let dir = tempfile::tempdir().unwrap();
        let ctx = TenantCtx::for_test(7);
        let (data, served) = open(dir.path());
        for _ in 0..3 {
            start(&served, &ctx);
        }
        let mine = data.acting_in(ctx.clone());
        let all = mine.list(&Filter::default()).unwrap();
        let ids: Vec<InstanceId> = all.iter().map(|it| it.id).collect();
        ids[..2].iter().for_each(|it| drop(mine.cancel(*it, true, None).unwrap()));
        // One that has ended, and one that is open, which goes on as if nothing was said.
        assert_eq!(served.discard(&ctx, ids[0]), Ok(true));
        assert_eq!(served.discard(&ctx, ids[2]), Ok(true));
        assert_eq!(data.upkeep(&mut |_| ()).unwrap().archived, 1);
        data.close().unwrap();
        drop((data, mine, served));

        // The last segment is full once a process has ended; another one is told again.
        let (data, served) = open(dir.path());
        assert_eq!(served.discard(&ctx, ids[0]), Ok(true));
        let mut rounds = 0;
        while served.discard(&ctx, ids[0]).unwrap() && rounds < 3 {
            data.upkeep(&mut |_| ()).unwrap();
            rounds += 1;
        }
        let mine = data.acting_in(ctx.clone());
        assert!(mine.histories.show(ids[1]).is_ok() && mine.histories.show(ids[2]).is_ok());
        let archive = data.log().archive().unwrap();
        let is_left = served.discard(&ctx, ids[0]).unwrap();
        assert_eq!(archive.holds(ctx.tenant(), ids[0]).unwrap(), is_left, "both or none");
        data.close().unwrap();
    }

    #[test]
    fn a_destroyed_tenant_runs_nothing_any_more_and_others_go_on() {
        let dir = tempfile::tempdir().unwrap();
        let (here, there) = (TenantCtx::for_test(7), TenantCtx::for_test(8));
        let (data, served) = open(dir.path());
        for _ in 0..3 {
            start(&served, &here);
            start(&served, &there);
        }
        served.destroy(&here).unwrap();
        served.destroy(&here).unwrap();
        let open_of = |served: &Served, ctx: &TenantCtx| {
            let ask = Ask::Ps { all: false, archived: false, filter: Default::default() };
            served.ask(ctx, ask).unwrap()["instances"].as_array().unwrap().len()
        };
        assert_eq!((open_of(&served, &here), open_of(&served, &there)), (0, 3));
        data.close().unwrap();
        drop((data, served));

        // A process that begins anew is told again, and finishes.
        let (data, served) = open(dir.path());
        served.destroy(&here).unwrap();
        // It is due for the archive at once, whatever its workflow says.
        assert_eq!(data.upkeep(&mut |_| ()).unwrap().archived, 3);
        assert_eq!(open_of(&served, &there), 3);
        data.close().unwrap();
    }
}
