//! Starts: the definition is made durable first, then the instance.
//!
//! The same id twice gives the same instance: while the first start is on its way to the log the
//! others wait for it, later ones meet the instance.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    mem,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use traaviis_engine::{Birth, Machine, Marks, Rejection, Request, StepContext};
use traaviis_model::{
    Body, DefinitionHash, EventIds, InstanceId, Record, Snapshot, Span, TenantCtx, TenantId, Text,
    Timestamp, Value, definition::Retention, record::WHOLE,
};
use traaviis_ports::{Append, Commit, LogError, Position};

use super::{
    Commitment, Found, Key, Outbox, Owner, Reply, SeededHasher, Start, StartOutcome, Upgrade,
    guarded,
};
use crate::{
    correlation::Unique,
    error::Error,
    limits::{DEFINITION_OFFERS_MAX, FULL_RETRY, KEY_RETRY, STARTS_WAITING_MAX},
    owner::{Committed, in_order, to_append, to_document},
    summary::hash_value,
};

/// Definitions that are in the log, and machines made from them.
#[derive(Default)]
pub(super) struct Definitions {
    pub stored: HashMap<(TenantId, DefinitionHash), Value, SeededHasher>,
    pub machines: HashMap<DefinitionHash, Arc<Machine>, SeededHasher>,
    /// Who waits for a definition to be durable.
    waiting: HashMap<(TenantId, DefinitionHash), Vec<Needs>, SeededHasher>,
    /// How often a definition was offered to the log and met another one.
    met: HashMap<(TenantId, DefinitionHash), u32, SeededHasher>,
}

impl Definitions {
    /// Returns how many wait.
    pub(super) fn waiting_count(&self) -> usize {
        self.waiting.values().map(Vec::len).sum()
    }

    /// Takes out all who wait.
    pub(super) fn take_waiting(&mut self) -> Vec<Needs> {
        in_order(mem::take(&mut self.waiting)).into_values().flatten().collect()
    }
}

/// What needs a definition that is durable.
pub(super) enum Needs {
    Start(Start),
    Upgrade(Upgrade),
}

impl Needs {
    fn ctx(&self) -> &TenantCtx {
        match self {
            Needs::Start(it) => &it.ctx,
            Needs::Upgrade(it) => &it.ctx,
        }
    }

    fn machine(&self) -> &Machine {
        match self {
            Needs::Start(it) => &it.machine,
            Needs::Upgrade(it) => &it.machine,
        }
    }

    pub(super) fn refuse(self, error: Error) {
        match self {
            Needs::Start(it) => (it.reply)(Err(error)),
            Needs::Upgrade(it) => (it.reply)(Err(error)),
        }
    }
}

/// What was met where a definition should stand.
enum Met {
    /// The definition, durable.
    Stored,
    /// Nothing yet: another shard has offered it, and may fail.
    OnItsWay,
    /// Something else, or nothing for too long.
    Refused(Error),
}

/// Definitions that some shard of the process knows to be durable.
#[derive(Debug, Default)]
pub struct Stored {
    known: Mutex<HashMap<(TenantId, DefinitionHash), Retention, SeededHasher>>,
    /// Tenants of which nothing is kept any more.
    gone: Mutex<BTreeMap<TenantId, TenantCtx>>,
    /// Single instances that are not kept, once they have ended.
    discarded: Mutex<BTreeSet<(TenantId, InstanceId)>>,
    /// Some were added since upkeep has looked.
    discarded_anew: AtomicBool,
}

/// How long instances of a tenant stay that is gone.
pub(crate) const NO_TIME: Retention = Retention { completed: Span(0), archive: Span(0) };

impl Stored {
    pub(super) fn add(&self, name: (TenantId, DefinitionHash), retention: Retention) {
        self.lock().entry(name).or_insert(retention);
    }

    fn has(&self, name: &(TenantId, DefinitionHash)) -> bool {
        self.lock().contains_key(name)
    }

    /// Learns from a line, if it holds a definition.
    pub(crate) fn learn(&self, line: &[u8]) {
        // The header comes first and is short; the same words in a payload would stand escaped.
        const MARK: &[u8] = br#""kind":"document_put""#;
        if !line[..line.len().min(600)].windows(MARK.len()).any(|it| it == MARK) {
            return;
        }
        if let Ok(Record { header, body: Body::DocumentPut { document, body, .. } }) =
            Record::read_line(line)
            && &*document == "definition"
        {
            let name = (header.tenant_id, header.definition_hash);
            self.add(name, Retention::of_document(&body));
        }
    }

    /// Returns how long the instances of a definition stay.
    pub(crate) fn retention(&self, name: &(TenantId, DefinitionHash)) -> Retention {
        if self.gone_lock().contains_key(&name.0) {
            return NO_TIME;
        }
        self.lock().get(name).copied().unwrap_or_default()
    }

    /// Returns how long ended instances stay in the log: every length that some definition names,
    /// and the one that holds where none does.
    pub(crate) fn lengths(&self) -> BTreeSet<Span> {
        let of_all = self.lock().values().map(|it| it.completed).collect::<BTreeSet<Span>>();
        let is_any_gone = !self.gone_lock().is_empty() || !self.discarded_lock().is_empty();
        let of_gone = is_any_gone.then_some(NO_TIME.completed);
        of_all.into_iter().chain([Retention::default().completed]).chain(of_gone).collect()
    }

    /// Keeps nothing of a tenant from now on.
    pub(crate) fn forget(&self, ctx: &TenantCtx) {
        self.gone_lock().insert(ctx.tenant(), ctx.clone());
    }

    /// Returns the tenants of which nothing is kept.
    pub(crate) fn gone(&self) -> Vec<TenantCtx> {
        self.gone_lock().values().cloned().collect()
    }

    /// Says whether nothing is kept of a tenant.
    pub(crate) fn has_gone(&self, tenant: TenantId) -> bool {
        self.gone_lock().contains_key(&tenant)
    }

    /// Keeps nothing of an instance from now on, once it has ended.
    pub(crate) fn discard(&self, ctx: &TenantCtx, id: InstanceId) {
        if self.discarded_lock().insert((ctx.tenant(), id)) {
            self.discarded_anew.store(true, Ordering::SeqCst);
        }
    }

    /// Says whether an instance is not kept.
    pub(crate) fn is_discarded(&self, tenant: TenantId, id: InstanceId) -> bool {
        self.discarded_lock().contains(&(tenant, id))
    }

    /// Returns the instances that are not kept.
    pub(crate) fn discarded(&self) -> Vec<(TenantId, InstanceId)> {
        self.discarded_lock().iter().copied().collect()
    }

    /// Says whether there are more of them than the last time.
    pub(crate) fn take_discarded_anew(&self) -> bool {
        self.discarded_anew.swap(false, Ordering::SeqCst)
    }

    /// Remembers no longer that an instance is not kept: nothing of it is left.
    pub(crate) fn is_gone(&self, tenant: TenantId, id: InstanceId) {
        self.discarded_lock().remove(&(tenant, id));
    }

    fn discarded_lock(&self) -> MutexGuard<'_, BTreeSet<(TenantId, InstanceId)>> {
        self.discarded.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn gone_lock(&self) -> MutexGuard<'_, BTreeMap<TenantId, TenantCtx>> {
        self.gone.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<(TenantId, DefinitionHash), Retention, SeededHasher>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A first step on its way to the log.
pub(super) struct Begun {
    pub(super) ctx: TenantCtx,
    pub(super) key: Key,
    pub(super) machine: Arc<Machine>,
    pub(super) snapshot: Arc<Snapshot>,
    pub(super) records: Arc<Vec<Record>>,
    pub(super) requests: Vec<Request>,
    /// It begins from a history.
    pub(super) reopened: bool,
    pub(super) reply: Reply<StartOutcome>,
}

/// Returns the stream of a definition: the first half of its hash.
pub fn definition_stream(hash: &DefinitionHash) -> InstanceId {
    InstanceId::of_hash(&hash.0)
}

impl Owner {
    pub(super) fn start(&mut self, start: Start, now: Timestamp, outbox: &mut dyn Outbox) {
        let key = Key { tenant: start.ctx.tenant(), id: start.id };
        self.tenant(&start.ctx);
        if let Some(waiting) = self.starting.get_mut(&key) {
            if waiting.len() >= STARTS_WAITING_MAX {
                return (start.reply)(Err(Error::Busy));
            }
            return waiting.push(start);
        }
        match self.find(key.tenant, key.id) {
            Ok(found) => return self.meet(start, found, now),
            Err(Error::NotFound { .. }) => {}
            Err(error) => return (start.reply)(Err(error)),
        }
        // Whoever starts with an id of their own has looked; a child's id is not chosen.
        if start.birth.lineage.is_some()
            && let Some(ended) = self.forgotten(&start.ctx, start.id)
        {
            let found = Found::Ended(Arc::new(ended));
            return (start.reply)(Ok(StartOutcome { existing: true, found }));
        }
        if self.retired.contains_key(&key) {
            return (start.reply)(Err(Error::has_ended(start.id)));
        }
        if start.birth.lineage.is_none() && self.is_short_of_memory() {
            return self.await_memory(start, now);
        }
        let (tenant, machine) = (key.tenant, Arc::clone(&start.machine));
        match self.is_stored(tenant, &machine) {
            true => self.first_step(start, now, outbox),
            false => self.wait_for_definition(Needs::Start(start), now, outbox),
        }
    }

    /// Says whether the definition of a machine is durable.
    pub(super) fn is_stored(&mut self, tenant: TenantId, machine: &Machine) -> bool {
        let definition = machine.definition();
        let name = (tenant, definition.hash);
        if self.settings.definitions.has(&name) {
            let document = || definition.document.clone();
            self.definitions.stored.entry(name).or_insert_with(document);
        }
        self.definitions.stored.contains_key(&name)
    }

    /// Goes on once the definition is durable.
    pub(super) fn wait_for_definition(
        &mut self,
        needs: Needs,
        now: Timestamp,
        outbox: &mut dyn Outbox,
    ) {
        let name = (needs.ctx().tenant(), needs.machine().definition().hash);
        let waiting = self.definitions.waiting.entry(name).or_default();
        waiting.push(needs);
        if waiting.len() == 1 {
            self.store_definition(name, now, outbox);
        }
    }

    /// Returns whom an instance is about in a tenant that has everything sealed, unless somebody
    /// else is named.
    fn sealed_for(&self, start: &Start) -> Result<Option<Text>, Error> {
        if start.birth.subject.is_some() {
            return Ok(None);
        }
        let is_all = self.settings.keys.seals_all(&start.ctx).map_err(Error::NoKey)?;
        Ok(is_all.then(|| WHOLE.into()))
    }

    fn first_step(&mut self, start: Start, now: Timestamp, outbox: &mut dyn Outbox) {
        let key = Key { tenant: start.ctx.tenant(), id: start.id };
        let found = self.redaction_key(key.tenant, &start.machine).and_then(|redaction| {
            let sealed_for = self.sealed_for(&start)?;
            Ok((redaction, sealed_for))
        });
        let (redaction, sealed_for) = match found {
            Ok(found) => found,
            // A child waits for it like any work of its parent.
            Err(_) if start.birth.lineage.is_some() => {
                self.full.insert((now.plus(KEY_RETRY), key));
                self.unborn.insert(key, start);
                return;
            }
            Err(error) => return (start.reply)(Err(error)),
        };
        let Start { ctx, machine, id, input, mut birth, reply } = start;
        birth.subject = birth.subject.or(sealed_for);
        // One compiled machine serves all instances of a definition.
        let hash = machine.definition().hash;
        let machine = Arc::clone(self.definitions.machines.entry(hash).or_insert(machine));
        let slots = match self.draining {
            true => 0,
            false => self.tenants.get(&key.tenant).map_or(0, |it| it.slots.free()),
        };
        let context = StepContext {
            start_slots: u32::try_from(slots).unwrap_or(u32::MAX),
            causation: ctx.cause().cloned(),
            correlation: ctx.correlation().cloned(),
            origin: ctx.origin().cloned().map(Box::new),
            key: redaction,
            ..StepContext::new(now, ctx.actor().clone())
        };
        let born = || traaviis_engine::start_born(&machine, &ctx, id, input, birth, &context);
        let step = match guarded::ask(born) {
            Ok(step) => step,
            Err(rejection) => return reply(Err(Error::Rejected(rejection))),
        };
        let (snapshot, records, requests) = (step.snapshot, Arc::new(step.records), step.requests);
        let reopened = false;
        let begun = Begun { ctx, key, machine, snapshot, records, requests, reopened, reply };
        self.offer_start(begun, 0, outbox);
    }

    /// Offers a first step to the log, unless the tenant has too many instances or another one has
    /// the business key; `known_to` is how far its history was read.
    pub(super) fn offer_start(
        &mut self,
        begun: Begun,
        known_to: Position,
        outbox: &mut dyn Outbox,
    ) {
        let key = begun.key;
        if let Err(error) = self.admit(key) {
            return (begun.reply)(Err(error));
        }
        if let Err(rejection) = self.note_correlation(&begun.machine, &begun.snapshot) {
            self.dismiss(key);
            return (begun.reply)(Err(Error::Rejected(rejection)));
        }
        self.reserve(key.tenant, &begun.requests);
        self.starting.insert(key, Vec::new());
        let append = Append { known_to, ..to_append(key, &begun.records, &begun.snapshot) };
        let ctx = begun.ctx.clone();
        self.append(&ctx, append, Commitment::Start(Box::new(begun)), outbox);
    }

    fn note_correlation(&self, machine: &Machine, snapshot: &Snapshot) -> Result<(), Rejection> {
        let Some(key) = &snapshot.correlation else { return Ok(()) };
        let unique = match &machine.definition().correlation {
            Some(it) if it.unique => Unique::Yes,
            _ => Unique::No,
        };
        let (tenant, workflow) = (snapshot.tenant_id, &snapshot.workflow);
        let noted = self.settings.correlations.open(tenant, workflow, key, snapshot.id, unique);
        noted.map_err(|open| Rejection {
            code: "correlation_conflict",
            message: format!(
                "workflow `{workflow}` has an open instance with correlation `{key}`: `{open}`"
            ),
            details: Value::map([
                ("instance_id", Value::from(open.to_string().as_str())),
                ("correlation", Value::String(key.clone())),
            ]),
        })
    }

    /// Answers a start whose id exists.
    fn meet(&mut self, start: Start, found: Found, now: Timestamp) {
        let Start { ctx, machine, id, input, birth, reply } = start;
        let (workflow, hash): (Text, u64) = match &found {
            Found::Open(it) => (it.workflow.clone(), hash_value(&it.input)),
            Found::Ended(it) => (it.workflow.clone(), it.input_hash),
        };
        let parent = match &found {
            Found::Open(it) => it.lineage.as_ref().map(|it| it.parent_id),
            Found::Ended(it) => it.parent_id,
        };
        // The id of a child stands for the words in which it was asked for.
        if parent.is_some() && parent == birth.lineage.map(|it| it.parent_id) {
            return reply(Ok(StartOutcome { existing: true, found }));
        }
        // Starting once more, for nobody, fills in the same defaults.
        let redaction = match self.redaction_key(ctx.tenant(), &machine) {
            Ok(redaction) => redaction,
            Err(error) => return reply(Err(error)),
        };
        let context = StepContext { key: redaction, ..StepContext::new(now, ctx.actor().clone()) };
        let same = machine.definition().name == workflow
            && guarded::ask(|| traaviis_engine::start(&machine, &ctx, id, input, &context))
                .is_ok_and(|step| hash_value(&step.snapshot.input) == hash);
        if same {
            return reply(Ok(StartOutcome { existing: true, found }));
        }
        let message = format!("instance `{id}` exists with another workflow or input");
        reply(Err(Error::rejected("already_exists", message, Value::Null)));
    }

    /// Makes a started instance true.
    pub(super) fn begin(
        &mut self,
        begun: Begun,
        position: Position,
        now: Timestamp,
        outbox: &mut dyn Outbox,
    ) {
        let Begun { ctx, key, machine, snapshot, records, requests, reopened, reply } = begun;
        if reopened {
            self.reopened(key, &snapshot);
        }
        self.open(Arc::clone(&snapshot), Some(machine), EventIds::of(&records), reopened);
        self.took_step(key, &snapshot, &records);
        let found = Found::Open(Arc::clone(&snapshot));
        let committed =
            Committed { position, records, snapshot: Arc::clone(&snapshot), before: None };
        outbox.publish(committed);
        reply(Ok(StartOutcome { existing: false, found }));
        match reopened {
            true => self.meet_family(&ctx, &snapshot),
            false => self.attend_parent(&ctx, &snapshot),
        }
        self.request(key, snapshot.seq, requests, now, outbox);
        self.start_again(key, now, outbox);
    }

    /// Undoes a start that was not committed.
    pub(super) fn unbegin(
        &mut self,
        begun: Begun,
        error: LogError,
        now: Timestamp,
        outbox: &mut dyn Outbox,
    ) {
        let Begun { ctx, key, machine, snapshot, requests, reopened, reply, .. } = begun;
        self.release(key.tenant, &requests);
        self.dismiss(key);
        if reopened {
            self.not_reopened(key, &snapshot);
            reply(Err(Error::Log(error)));
            return self.start_again(key, now, outbox);
        }
        if let Some(correlation) = &snapshot.correlation {
            let correlations = &self.settings.correlations;
            correlations.forget(key.tenant, &snapshot.workflow, correlation, key.id);
        }
        let Snapshot { id, input, lineage, correlation, tags, labels, created_by, subject, .. } =
            Arc::unwrap_or_clone(snapshot);
        let marks = Some(Marks { tags, labels });
        let birth = Birth { lineage, correlation, marks, created_by, subject, is_taken: true };
        self.not_started(Start { ctx, machine, id, input, birth, reply }, error, now);
        self.start_again(key, now, outbox);
    }

    /// A start found no way into the log. A child waits for space like any work of its parent.
    fn not_started(&mut self, start: Start, error: LogError, now: Timestamp) {
        if matches!(error, LogError::SeqMismatch { .. }) {
            let message = format!("something else in the log has the id `{}`", start.id);
            return (start.reply)(Err(Error::rejected("already_exists", message, Value::Null)));
        }
        if !matches!(error, LogError::Full) || start.birth.lineage.is_none() {
            return (start.reply)(Err(Error::Log(error)));
        }
        let key = Key { tenant: start.ctx.tenant(), id: start.id };
        self.full.insert((now.plus(FULL_RETRY), key));
        self.unborn.insert(key, start);
    }

    fn start_again(&mut self, key: Key, now: Timestamp, outbox: &mut dyn Outbox) {
        for start in self.starting.remove(&key).unwrap_or_default() {
            self.start(start, now, outbox);
        }
    }

    /// Offers the definition of the first that waits for it.
    fn store_definition(
        &mut self,
        name: (TenantId, DefinitionHash),
        now: Timestamp,
        outbox: &mut dyn Outbox,
    ) {
        let (tenant, hash) = name;
        let Some(first) = self.definitions.waiting.get(&name).and_then(|it| it.first()) else {
            return;
        };
        let ctx = first.ctx().clone();
        let body = Body::DocumentPut {
            document: "definition".into(),
            id: hash.to_string().into(),
            body: first.machine().definition().document.clone(),
        };
        let append = to_document(&ctx, definition_stream(&hash), now, hash, body);
        self.append(&ctx, append, Commitment::Definition(tenant, hash), outbox);
    }

    /// Says what stands in the stream of a definition, where something does.
    fn definition_met(&mut self, name: (TenantId, DefinitionHash)) -> Met {
        if self.settings.definitions.has(&name) {
            return Met::Stored;
        }
        let (tenant, hash) = name;
        match self.first_in_stream(tenant, hash) {
            Some(Body::DocumentPut { document, id, .. })
                if &*document == "definition" && *id == *hash.to_string() =>
            {
                return Met::Stored;
            }
            Some(_) => {
                let message = format!(
                    "instance `{}` has the id that definition `{hash}` needs in the log; change \
                     anything in the workflow, such as its description, and it needs another",
                    definition_stream(&hash)
                );
                return Met::Refused(Error::rejected("already_exists", message, Value::Null));
            }
            None => {}
        }
        let met = self.definitions.met.entry(name).or_default();
        *met += 1;
        match *met < DEFINITION_OFFERS_MAX {
            true => Met::OnItsWay,
            false => Met::Refused(Error::Busy),
        }
    }

    fn refuse_definition(&mut self, name: (TenantId, DefinitionHash), error: &Error) {
        self.definitions.met.remove(&name);
        for needs in self.definitions.waiting.remove(&name).unwrap_or_default() {
            needs.refuse(error.clone());
        }
    }

    pub(super) fn definition_committed(
        &mut self,
        tenant: TenantId,
        hash: DefinitionHash,
        commit: Commit,
        now: Timestamp,
        outbox: &mut dyn Outbox,
    ) {
        let name = (tenant, hash);
        let commit = match commit {
            // Another shard offered the same document. Its append may still fail, in the very group
            // that refused ours, so it counts only once that shard was told, or the log holds it.
            Err(LogError::SeqMismatch { last: 1.., .. }) => match self.definition_met(name) {
                Met::Stored => Ok(0),
                Met::OnItsWay => return self.store_definition(name, now, outbox),
                Met::Refused(error) => return self.refuse_definition(name, &error),
            },
            other => other,
        };
        self.definitions.met.remove(&name);
        let waiting = self.definitions.waiting.remove(&name).unwrap_or_default();
        match commit {
            Ok(_) => {
                // Whoever waits may have to wait on, for memory; a checkpoint must hold the
                // definition all the same, since recovery reads nothing before it.
                if let Some(definition) = waiting.first().map(|it| it.machine().definition()) {
                    self.settings.definitions.add(name, definition.retention);
                    let document = || definition.document.clone();
                    self.definitions.stored.entry(name).or_insert_with(document);
                }
                for needs in waiting {
                    match needs {
                        Needs::Start(start) => self.start(start, now, outbox),
                        Needs::Upgrade(upgrade) => self.upgrade(upgrade, now, outbox),
                    }
                }
            }
            Err(error @ (LogError::Full | LogError::Damaged(_) | LogError::Refused(_))) => {
                for needs in waiting {
                    match needs {
                        Needs::Start(start) => self.not_started(start, error.clone(), now),
                        other => other.refuse(Error::Log(error.clone())),
                    }
                }
            }
            Err(error) => {
                self.definitions.waiting.insert(name, waiting);
                self.die(error, outbox);
            }
        }
    }
}
