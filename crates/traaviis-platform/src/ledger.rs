//! Ledgers: the documents of a tenant, or of the platform, changed one decision at a time.
//!
//! Each tenant has one stream of the log for its documents. [`Ledgers::change`] decides on what is
//! durable, appends everything that follows from the decision, the audit entry among it, as one
//! step, and shows it to others once it is durable.
//!
//! ```text
//! decide(documents) -> changes + acts -> one append -> memory, projection, answer
//! ```
//!
//! Documents of most kinds stay in memory, which the access checks of every request ask; those of
//! [`HEAVY`] kinds are read from the projection.
//!
//! Invariants: nobody sees a document that is not durable; a change and its audit entries are
//! committed together or not at all; two changes of one ledger never overlap; the projection tells
//! no position before which something is missing in it.

use std::{
    any::Any,
    collections::{BTreeMap, BTreeSet, HashMap},
    ops::Bound,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock},
};

use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value as Json;
use sha2::{Digest as _, Sha256};
use traaviis_model::{
    Body, DefinitionHash, Header, InstanceId, Record, Seq, TenantCtx, TenantId, Text, Timestamp,
    Value,
    record::{RECORD_VERSION, peek_line},
};
use traaviis_ports::{
    Append, Clock, DocumentQuery, DocumentRow, DocumentStore, Lines, LogStore, Position,
    append_alone,
};

use crate::{
    audit::{self, AUDIT, Act, Around, By, CHECKPOINT, Noted, Via},
    error::Error,
    privacy::{Sightings, Sink},
    repeated::{ANSWER, USED_KEY, UsedKey},
    tenant::Tenant,
};

/// Kinds that are not kept in memory: there is no bound to how many there are, or to their size.
pub const HEAVY: &[&str] = &[
    AUDIT, CHECKPOINT, VERSION, DRAFT, COUNTS, PURSE, ALERT_FEED, JOB_PLAN, DELIVERY, USED_KEY,
    ANSWER,
];
/// Kind of the documents that hold a published version of a workflow.
pub const VERSION: &str = "workflow_version";
/// Kind of the documents that hold what an author works on.
pub const DRAFT: &str = "workflow_draft";
/// Kind of the rows that count what tenants use; no documents, but made from the log.
pub const COUNTS: &str = "usage_counts";
/// Kind of the rows that hold what tenants spend on models; no documents either.
pub const PURSE: &str = "usage_purse";
/// Kind of the rows that say how far rules for alerts have looked; no documents either.
pub const ALERT_FEED: &str = "alert_feed";
/// Kind of the documents that hold what a job is to do.
pub const JOB_PLAN: &str = "job_plan";
/// Kind of the documents that say what became of something that was told to a webhook.
pub const DELIVERY: &str = "webhook_delivery";
/// Kind of the row that remembers where a ledger stands; no document.
const HEAD: &str = "ledger";

/// Names of documents read at once.
const STORED_PAGE: usize = 1_000;

/// A kind of document that is kept in a ledger.
pub trait Document: Serialize + DeserializeOwned + Clone + Send + Sync + 'static {
    /// Word for the kind.
    const KIND: &'static str;

    /// Returns the id inside the kind.
    fn id(&self) -> Text;
}

/// A document with the version that it has.
#[derive(Clone, Debug, PartialEq)]
pub struct Versioned<T> {
    /// Number of the record that put it.
    pub version: u64,
    /// The document.
    pub it: T,
}

/// A document in memory.
#[derive(Clone, Debug)]
struct Stored {
    version: u64,
    body: Arc<Json>,
    /// The same as it is used: every request asks for the same few.
    it: OnceLock<Arc<dyn Any + Send + Sync>>,
}

impl Stored {
    /// Returns the document, which is read only once.
    fn shared<T: Document>(&self) -> Result<Arc<T>, Error> {
        if let Some(known) = self.it.get()
            && let Ok(it) = Arc::downcast(Arc::clone(known))
        {
            return Ok(it);
        }
        let it: Arc<T> = Arc::new(read(&self.body)?);
        // Whoever was first has read the same.
        let _ = self.it.set(Arc::clone(&it) as Arc<dyn Any + Send + Sync>);
        Ok(it)
    }
}

/// What is durable in one ledger, of the kinds that are kept in memory.
#[derive(Debug, Default)]
pub struct Documents {
    by_kind: HashMap<Text, BTreeMap<Text, Stored>>,
}

impl Documents {
    /// Returns a document with its version.
    pub fn versioned<T: Document>(&self, id: &str) -> Result<Option<Versioned<T>>, Error> {
        let Some(stored) = self.by_kind.get(T::KIND).and_then(|it| it.get(id)) else {
            return Ok(None);
        };
        Ok(Some(Versioned { version: stored.version, it: (*stored.shared::<T>()?).clone() }))
    }

    /// Returns a document as all who ask for it share it.
    pub fn shared<T: Document>(&self, id: &str) -> Result<Option<Arc<T>>, Error> {
        self.by_kind.get(T::KIND).and_then(|it| it.get(id)).map(Stored::shared).transpose()
    }

    /// Returns a document.
    pub fn get<T: Document>(&self, id: &str) -> Result<Option<T>, Error> {
        Ok(self.versioned(id)?.map(|it| it.it))
    }

    /// Returns all documents of a kind whose id begins with `prefix`, by id.
    pub fn list<T: Document>(&self, prefix: &str) -> Result<Vec<Versioned<T>>, Error> {
        let from = (Bound::Included(prefix), Bound::Unbounded);
        let all = self.by_kind.get(T::KIND).into_iter().flat_map(|it| it.range::<str, _>(from));
        all.take_while(|(id, _)| id.starts_with(prefix))
            .map(|(_, it)| Ok(Versioned { version: it.version, it: read(&it.body)? }))
            .collect()
    }

    /// Returns documents of a kind behind an id, in the order of their ids.
    pub fn page<T: Document>(
        &self,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<Versioned<T>>, Error> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let all = self.by_kind.get(T::KIND).into_iter();
        all.flat_map(|it| it.range::<str, _>((from, Bound::Unbounded)))
            .take(limit)
            .map(|(_, it)| Ok(Versioned { version: it.version, it: read(&it.body)? }))
            .collect()
    }

    /// Returns how many documents of a kind there are.
    pub fn count<T: Document>(&self) -> usize {
        self.by_kind.get(T::KIND).map_or(0, BTreeMap::len)
    }

    fn body(&self, kind: &str, id: &str) -> Option<&Json> {
        self.by_kind.get(kind)?.get(id).map(|it| &*it.body)
    }

    fn put(&mut self, kind: &Text, id: &Text, version: u64, body: Option<Json>) {
        if HEAVY.contains(&&**kind) {
            return;
        }
        let of_kind = self.by_kind.entry(kind.clone()).or_default();
        if of_kind.get(id).is_some_and(|it| it.version > version) {
            return;
        }
        match body {
            Some(body) => {
                let body = Arc::new(body);
                of_kind.insert(id.clone(), Stored { version, body, it: OnceLock::new() });
            }
            None => drop(of_kind.remove(id)),
        }
    }
}

fn read<T: DeserializeOwned>(body: &Json) -> Result<T, Error> {
    T::deserialize(body).map_err(|error| {
        Error::new("documents_failed", format!("a document cannot be read: {error}"))
    })
}

/// A document that is put or, without a body, removed: its kind and its id.
pub type Put = (Text, Text, Option<Json>);

/// What a decision leads to.
#[derive(Debug, Default)]
pub struct Changes {
    puts: Vec<Put>,
    acts: Vec<(Act, Option<By>)>,
    /// End of the audit chain before them.
    before: audit::Head,
}

impl Changes {
    /// Puts a document in the place of the version before.
    pub fn put<T: Document>(&mut self, document: &T) {
        // Documents are made of plain values and texts; writing one cannot fail.
        let body = serde_json::to_value(document).unwrap_or_default();
        self.puts.push((T::KIND.into(), document.id(), Some(body)));
    }

    /// Removes a document.
    pub fn remove<T: Document>(&mut self, id: &str) {
        self.puts.push((T::KIND.into(), id.into(), None));
    }

    /// Returns the end of the audit chain before these changes.
    pub fn audit_head(&self) -> &audit::Head {
        &self.before
    }

    /// Removes a document of any kind.
    pub fn remove_any(&mut self, (kind, id): (Text, Text)) {
        self.puts.push((kind, id, None));
    }

    /// Notes what was done.
    pub fn act(&mut self, act: Act) {
        self.acts.push((act, None));
    }

    /// Returns what says that the request with the key of `via` was carried out; nothing when it
    /// has none, or when nothing was done that it asks for.
    fn used_key(&self, via: &Via, now: Timestamp) -> Option<UsedKey> {
        let key = via.request_key.as_ref()?;
        let done = self.acts.iter().filter(|it| it.1.is_none()).map(|it| &it.0);
        let first = done.into_iter().find(|it| it.outcome == audit::Outcome::Ok)?;
        Some(UsedKey::of_act(key, first, now))
    }

    /// Notes what somebody did earlier.
    pub fn act_by(&mut self, act: Act, by: By) {
        self.acts.push((act, Some(by)));
    }
}

/// One ledger.
#[derive(Debug)]
struct Ledger {
    writing: Mutex<Head>,
    documents: RwLock<Documents>,
    fresh: Mutex<Fresh>,
}

impl Ledger {
    fn fresh(&self) -> MutexGuard<'_, Fresh> {
        self.fresh.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Audit entries that nobody has looked at yet, so that they need not be read back. There is no
/// need of them: whoever misses some finds them in the projection.
#[derive(Debug, Default)]
pub(crate) struct Fresh {
    /// In their order, without a hole.
    pub noted: Vec<Noted>,
    /// The chain behind the last.
    pub head: audit::Head,
}

/// Entries that are kept for whoever looks at them, a few hundred bytes each.
const FRESH_MAX: usize = 4_096;

impl Fresh {
    fn add(&mut self, noted: Vec<Noted>, head: &audit::Head) {
        if self.noted.len() + noted.len() > FRESH_MAX {
            self.noted.clear();
        }
        self.noted.extend(noted);
        self.head = head.clone();
    }
}

/// Where a ledger stands.
#[derive(Clone, Debug, Default)]
struct Head {
    seq: Seq,
    audit: audit::Head,
    /// Before this position nothing of it is missing in memory.
    known_to: Position,
}

/// Told the documents that changed, once they are durable, and the audit entries beside them, which
/// are made only for who takes them.
pub type OnChange = Box<dyn Fn(TenantId, &[Put], &mut dyn Iterator<Item = Json>) + Send + Sync>;

/// All ledgers of a data directory.
pub struct Ledgers {
    log: Arc<dyn LogStore>,
    store: Arc<dyn DocumentStore>,
    clock: Arc<dyn Clock>,
    ledgers: RwLock<HashMap<TenantId, Arc<Ledger>>>,
    /// Appends that are not in the projection yet: before which position each was begun.
    under_way: Mutex<UnderWay>,
    on_change: OnChange,
    sightings: Sightings,
}

#[derive(Debug, Default)]
struct UnderWay {
    begun: BTreeSet<(Position, u64)>,
    last: u64,
    /// What the projection could not take; it goes first the next time.
    left: Vec<DocumentRow>,
}

impl Ledgers {
    /// Brings all ledgers back: what the projection has, then the tail of the log.
    pub fn open(
        log: Arc<dyn LogStore>,
        store: Arc<dyn DocumentStore>,
        clock: Arc<dyn Clock>,
        on_change: OnChange,
    ) -> Result<Ledgers, Error> {
        let known = Known::read(&*log, &*store).or_else(|_| {
            store.clear()?;
            Known::read(&*log, &*store)
        })?;
        let ledgers = known.ledgers.into_iter().map(|(tenant, (mut head, documents))| {
            head.known_to = known.tail;
            for (kind, of_kind) in &documents.by_kind {
                let rows: Vec<_> = of_kind
                    .iter()
                    .map(|(id, it)| (kind.clone(), id.clone(), Some((*it.body).clone())))
                    .collect();
                on_change(tenant, &rows, &mut std::iter::empty());
            }
            let (writing, documents) = (Mutex::new(head), RwLock::new(documents));
            let ledger = Ledger { writing, documents, fresh: Mutex::default() };
            (tenant, Arc::new(ledger))
        });
        let ledgers = RwLock::new(ledgers.collect());
        let (under_way, sightings) = (Mutex::default(), Sightings::default());
        Ok(Ledgers { log, store, clock, ledgers, under_way, on_change, sightings })
    }

    /// Returns what was found of personal data.
    pub(crate) fn sightings(&self) -> &Sightings {
        &self.sightings
    }

    /// Returns the time.
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Returns the tenants that have documents.
    pub fn tenants(&self) -> Vec<TenantId> {
        let ledgers = self.ledgers.read().unwrap_or_else(PoisonError::into_inner);
        ledgers.keys().copied().collect()
    }

    /// Asks what is durable.
    pub fn read<T>(&self, ctx: &TenantCtx, ask: impl FnOnce(&Documents) -> T) -> T {
        match self.find(ctx.tenant()) {
            Some(ledger) => ask(&ledger.documents.read().unwrap_or_else(PoisonError::into_inner)),
            None => ask(&Documents::default()),
        }
    }

    /// Returns a document of any kind with its version.
    pub fn get<T: Document>(
        &self,
        ctx: &TenantCtx,
        id: &str,
    ) -> Result<Option<Versioned<T>>, Error> {
        if !HEAVY.contains(&T::KIND) {
            return self.read(ctx, |it| it.versioned(id));
        }
        let Some(row) = self.store.get(ctx, T::KIND, id)? else { return Ok(None) };
        let DocumentRow { version, body: Some(body), .. } = row else { return Ok(None) };
        let it = serde_json::from_slice(&body).map_err(|error| {
            Error::new("documents_failed", format!("a document cannot be read: {error}"))
        })?;
        Ok(Some(Versioned { version, it }))
    }

    /// Returns one row of a kind that is not kept in memory.
    pub fn row(&self, ctx: &TenantCtx, kind: &str, id: &str) -> Result<Option<DocumentRow>, Error> {
        Ok(self.store.get(ctx, kind, id)?)
    }

    /// Keeps rows that are made from the log, beside the documents; all of them or none.
    pub fn keep_rows(&self, rows: &[DocumentRow]) -> Result<(), Error> {
        // The position of the projection is another matter, and never goes back.
        Ok(self.store.put(rows, 0)?)
    }

    /// Forgets rows of a kind that is made from the log, up to an id.
    pub fn forget_rows(&self, ctx: &TenantCtx, kind: &str, before: &str) -> Result<(), Error> {
        Ok(self.store.forget(ctx, kind, before)?)
    }

    /// Returns the log.
    pub fn log(&self) -> &dyn LogStore {
        &*self.log
    }

    /// Names all documents of a tenant but the tenant itself and its audit entries: those in memory
    /// and those that rest.
    pub fn stored(&self, ctx: &TenantCtx) -> Result<Vec<(Text, Text)>, Error> {
        let mut names = self.read(ctx, |documents| {
            let of = |(kind, all): (&Text, &BTreeMap<Text, Stored>)| {
                all.keys().map(|id| (kind.clone(), id.clone())).collect::<Vec<_>>()
            };
            documents
                .by_kind
                .iter()
                .filter(|it| **it.0 != *Tenant::KIND)
                .flat_map(of)
                .collect::<Vec<_>>()
        });
        for kind in [VERSION, DRAFT] {
            let mut after: Option<Text> = None;
            loop {
                let query = DocumentQuery {
                    kind,
                    prefix: "",
                    after: after.as_deref(),
                    descending: false,
                    limit: STORED_PAGE,
                };
                let rows = self.store.list(ctx, &query)?;
                let is_last = rows.len() < STORED_PAGE;
                after = rows.last().map(|it| it.id.clone());
                names.extend(rows.into_iter().map(|it| (it.kind, it.id)));
                if is_last {
                    break;
                }
            }
        }
        Ok(names)
    }

    /// Returns rows of a kind that is not kept in memory.
    pub fn rows(
        &self,
        ctx: &TenantCtx,
        query: &DocumentQuery<'_>,
    ) -> Result<Vec<DocumentRow>, Error> {
        Ok(self.store.list(ctx, query)?)
    }

    /// Returns the end of the log.
    pub fn tail(&self) -> Position {
        self.log.tail()
    }

    /// Visits the records of all tenants from a position on, until `visit` says that it is enough.
    pub fn scan_while(
        &self,
        from: Position,
        visit: &mut dyn FnMut(traaviis_ports::Line<'_>) -> bool,
    ) -> Result<(), Error> {
        Ok(self.log.scan_while(from, visit)?)
    }

    /// Returns one record of an instance as its line.
    pub fn read_stream(
        &self,
        ctx: &TenantCtx,
        stream: InstanceId,
        seq: Seq,
    ) -> Result<Option<Vec<u8>>, Error> {
        Ok(self.log.read(ctx, stream, seq, 1)?.into_iter().next())
    }

    /// Returns the end of the audit chain of a tenant.
    pub fn audit_head(&self, ctx: &TenantCtx) -> audit::Head {
        self.find(ctx.tenant())
            .map(|it| it.writing.lock().unwrap_or_else(PoisonError::into_inner).audit.clone())
            .unwrap_or_default()
    }

    /// Takes the audit entries of a tenant that nobody has looked at yet, if all of those behind
    /// the one with number `after` are known.
    pub(crate) fn fresh_after(&self, ctx: &TenantCtx, after: u64) -> Option<Fresh> {
        let mut fresh = std::mem::take(&mut *self.find(ctx.tenant())?.fresh());
        let first = fresh.noted.iter().position(|it| it.seq == after + 1)?;
        fresh.noted.drain(..first);
        Some(fresh)
    }

    /// Decides on what is durable and makes what follows durable; an error changes nothing.
    ///
    /// The lock of the ledger is held meanwhile, so a decision must not wait for anything.
    pub fn change<T>(
        &self,
        ctx: &TenantCtx,
        via: &Via,
        decide: impl FnOnce(&Documents, &mut Changes) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let ledger = self.find_or_make(ctx.tenant());
        let mut head = ledger.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut changes = Changes { before: head.audit.clone(), ..Changes::default() };
        let documents = ledger.documents.read().unwrap_or_else(PoisonError::into_inner);
        let value = decide(&documents, &mut changes)?;
        for (act, _) in &mut changes.acts {
            let (metadata, found) = audit::masked(&act.metadata);
            act.metadata = metadata;
            self.sightings.count(ctx.tenant(), Sink::Audit, &found);
        }
        if changes.puts.is_empty() && changes.acts.is_empty() {
            return Ok(value);
        }
        let now = self.clock.now();
        if let Some(used) = changes.used_key(via, now) {
            changes.put(&used);
        }
        let step = Step::of(ctx, via, &head, changes, &documents, now);
        drop(documents);
        let token = self.begin();
        match self.commit(ctx, &head, &step) {
            Ok(position) => {
                self.keep(&ledger, ctx.tenant(), &mut head, step, position, token);
                Ok(value)
            }
            Err(error) => {
                self.under_way().begun.remove(&token);
                Err(error)
            }
        }
    }

    fn commit(&self, ctx: &TenantCtx, head: &Head, step: &Step) -> Result<Position, Error> {
        let append = Append {
            stream: stream_of(ctx.tenant()),
            first_seq: head.seq + 1,
            count: u32::try_from(step.records.len()).unwrap_or(u32::MAX),
            lines: Lines::Of(Arc::clone(&step.records)),
            ends_stream: false,
            known_to: head.known_to,
            subject: None,
        };
        // However long it takes: whoever went on without the answer would not know where the
        // ledger stands.
        match append_alone(&*self.log, ctx, append).recv() {
            Ok(commit) => Ok(commit?),
            Err(_) => Err(Error::new("stopping", "the process is stopping; try again")),
        }
    }

    /// Shows what is durable to others, and puts it into the projection.
    fn keep(
        &self,
        ledger: &Ledger,
        tenant: TenantId,
        head: &mut Head,
        mut step: Step,
        position: Position,
        token: (Position, u64),
    ) {
        let mut documents = ledger.documents.write().unwrap_or_else(PoisonError::into_inner);
        for (at, (kind, id, body)) in step.puts.iter().enumerate() {
            documents.put(kind, id, head.seq + 1 + at as u64, body.clone());
        }
        drop(documents);
        let mut rows = step.rows();
        ledger.fresh().add(std::mem::take(&mut step.noted), &step.audit);
        *head = Head {
            seq: head.seq + step.records.len() as u64,
            audit: step.audit.clone(),
            known_to: position,
        };
        rows.push(head.row(tenant));
        (self.on_change)(tenant, &step.puts, &mut step.entries());
        let mut under_way = self.under_way();
        under_way.begun.remove(&token);
        let floor = under_way.begun.first().map_or(position, |it| it.0.min(position));
        let mut all = std::mem::take(&mut under_way.left);
        all.extend(rows);
        // Held so that no other put tells a position that this one does not reach.
        if self.store.put(&all, floor).is_err() {
            under_way.begun.insert(token);
            under_way.left = all;
        }
    }

    fn begin(&self) -> (Position, u64) {
        let mut under_way = self.under_way();
        under_way.last += 1;
        let token = (self.log.tail(), under_way.last);
        under_way.begun.insert(token);
        token
    }

    fn under_way(&self) -> MutexGuard<'_, UnderWay> {
        self.under_way.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn find(&self, tenant: TenantId) -> Option<Arc<Ledger>> {
        let ledgers = self.ledgers.read().unwrap_or_else(PoisonError::into_inner);
        ledgers.get(&tenant).map(Arc::clone)
    }

    fn find_or_make(&self, tenant: TenantId) -> Arc<Ledger> {
        if let Some(found) = self.find(tenant) {
            return found;
        }
        let mut ledgers = self.ledgers.write().unwrap_or_else(PoisonError::into_inner);
        let made = ledgers.entry(tenant).or_insert_with(|| {
            let head = Head { known_to: self.log.tail(), ..Head::default() };
            Arc::new(Ledger {
                writing: Mutex::new(head),
                documents: RwLock::default(),
                fresh: Mutex::default(),
            })
        });
        Arc::clone(made)
    }
}

impl std::fmt::Debug for Ledgers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ledgers").finish_non_exhaustive()
    }
}

impl Head {
    fn row(&self, tenant: TenantId) -> DocumentRow {
        let body = serde_json::json!({ "seq": self.seq, "audit": self.audit });
        DocumentRow {
            tenant,
            kind: HEAD.into(),
            id: HEAD.into(),
            version: self.seq,
            body: Some(body.to_string().into_bytes()),
        }
    }

    fn of_row(row: &DocumentRow) -> Option<Head> {
        let body: Json = serde_json::from_slice(row.body.as_deref()?).ok()?;
        let audit = serde_json::from_value(body["audit"].clone()).ok()?;
        Some(Head { seq: body["seq"].as_u64()?, audit, known_to: 0 })
    }
}

/// What one change appends: documents, and audit entries behind them.
struct Step {
    records: Arc<Vec<Record>>,
    puts: Vec<Put>,
    audit: audit::Head,
    noted: Vec<Noted>,
}

impl Step {
    fn of(
        ctx: &TenantCtx,
        via: &Via,
        head: &Head,
        changes: Changes,
        documents: &Documents,
        now: Timestamp,
    ) -> Step {
        let Changes { puts, acts, before: _ } = changes;
        let around = match puts.as_slice() {
            // That a key was used is beside what was done.
            [(kind, ..)] if &**kind == USED_KEY => Around::default(),
            [(kind, id, after), ..] => Around {
                before_hash: documents.body(kind, id).map(audit::hash_of),
                after_hash: after.as_ref().map(audit::hash_of),
            },
            [] => Around::default(),
        };
        let (tenant, mut audit) = (ctx.tenant(), head.audit.clone());
        let (mut entries, mut noted) = (Vec::new(), Vec::new());
        for (act, by) in &acts {
            let entry = match by {
                None => audit.next(tenant, (ctx.actor(), via), act, &around, now),
                // It stands beside no change of a document.
                Some(By { actor, via, at }) => {
                    audit.next(tenant, (actor, via), act, &Around::default(), *at)
                }
            };
            audit = entry.head;
            entries.push(entry.value);
            noted.push(entry.noted);
        }
        let sheets = audit::sheets(entries, audit.seq);
        let mut bodies: Vec<(Text, Text, Value)> = puts
            .iter()
            .map(|(kind, id, body)| {
                let body = body.as_ref().map_or(Value::Null, Value::from);
                (kind.clone(), id.clone(), body)
            })
            .collect();
        bodies.extend(
            sheets.into_iter().map(|it| (AUDIT.into(), audit::id_of(it.last).into(), it.value)),
        );
        let record = |(at, (document, id, body))| Record {
            header: Header {
                tenant_id: tenant,
                instance_id: stream_of(tenant),
                seq: head.seq + 1 + at as u64,
                v: RECORD_VERSION,
                at: now,
                step: head.seq + 1,
                // No definition has decided it.
                definition_hash: DefinitionHash([0; 32]),
                actor: ctx.actor().clone(),
                causation_id: None,
                correlation_id: via.request_id.clone(),
                origin: None,
            },
            body: Body::DocumentPut { document, id, body },
        };
        let records = bodies.into_iter().enumerate().map(record).collect();
        Step { records: Arc::new(records), puts, audit, noted }
    }

    /// Returns its audit entries.
    fn entries(&self) -> impl Iterator<Item = Json> {
        let sheets = self.records.iter().filter_map(|it| match &it.body {
            Body::DocumentPut { document, body, .. } if &**document == AUDIT => Some(body),
            _ => None,
        });
        sheets.flat_map(|it| audit::entries_of(Json::from(it)))
    }

    /// Returns what the projection keeps of it.
    fn rows(&self) -> Vec<DocumentRow> {
        let row = |record: &Record| {
            let Body::DocumentPut { document, id, body } = &record.body else { return None };
            Some(DocumentRow {
                tenant: record.header.tenant_id,
                kind: document.clone(),
                id: id.clone(),
                version: record.header.seq,
                body: (!body.is_null()).then(|| body.to_json().into_bytes()),
            })
        };
        self.records.iter().filter_map(row).collect()
    }
}

/// Returns the stream of a tenant's documents.
pub fn stream_of(tenant: TenantId) -> InstanceId {
    let name = [b"ledger ".as_slice(), tenant.0.as_bytes()].concat();
    InstanceId::of_hash(&Sha256::digest(name).into())
}

/// What is known of all ledgers at a start.
#[derive(Default)]
struct Known {
    ledgers: HashMap<TenantId, (Head, Documents)>,
    /// Streams of tenants that were met, each hashed once.
    streams: HashMap<TenantId, InstanceId>,
    tail: Position,
}

impl Known {
    fn read(log: &dyn LogStore, store: &dyn DocumentStore) -> Result<Known, Error> {
        let mut known = Known::default();
        let from = store.position()?;
        if from > log.tail() {
            let message = "the projection knows more than the log, so it is of another one";
            return Err(Error::new("documents_failed", message));
        }
        store.visit(HEAVY, &mut |row| {
            let (head, documents) = known.ledgers.entry(row.tenant).or_default();
            if &*row.kind == HEAD {
                *head = Head::of_row(&row).unwrap_or_default();
            } else if let Some(body) = row.body.and_then(|it| serde_json::from_slice(&it).ok()) {
                documents.put(&row.kind, &row.id, row.version, Some(body));
            }
        })?;
        let (mut rows, mut broken) = (Vec::new(), None);
        known.tail = log.scan(from, &mut |line| {
            if let Err(error) = known.line(line.bytes, &mut rows) {
                broken.get_or_insert(error);
            }
        })?;
        if let Some(error) = broken {
            return Err(error);
        }
        rows.extend(known.ledgers.iter().map(|(tenant, (head, _))| head.row(*tenant)));
        store.put(&rows, known.tail)?;
        Ok(known)
    }

    /// Takes a line of the tail of the log, if it is of a ledger.
    fn line(&mut self, line: &[u8], rows: &mut Vec<DocumentRow>) -> Result<(), Error> {
        let unreadable = |error: String| {
            Error::new("record_unreadable", format!("a record of a ledger cannot be read: {error}"))
        };
        let Ok(key) = peek_line(line) else { return Ok(()) };
        let stream = self.streams.entry(key.tenant_id).or_insert_with_key(|it| stream_of(*it));
        if key.instance_id != *stream {
            return Ok(());
        }
        let record = Record::read_line(line).map_err(|error| unreadable(error.to_string()))?;
        let Body::DocumentPut { document, id, body } = record.body else { return Ok(()) };
        let (tenant, seq) = (key.tenant_id, key.seq);
        let body = Some(Json::from(&body)).filter(|it| !it.is_null());
        let (head, documents) = self.ledgers.entry(tenant).or_default();
        if seq <= head.seq {
            return Ok(());
        }
        head.seq = seq;
        if &*document == AUDIT
            && let Some(entry) = &body
        {
            let entry = entry.as_array().and_then(|it| it.last()).unwrap_or(entry);
            let hash = entry["hash"].as_str().unwrap_or_default().into();
            head.audit = audit::Head { seq: entry["seq"].as_u64().unwrap_or_default(), hash };
        }
        documents.put(&document, &id, seq, body.clone());
        let body = body.map(|it| it.to_string().into_bytes());
        rows.push(DocumentRow { tenant, kind: document, id, version: seq, body });
        Ok(())
    }
}
