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
//! no position before which something is missing in it; of a ledger of which records are lost
//! nothing is shown and nothing is changed, since what is left may be what was taken back.

mod asking;
mod changes;
mod documents;
mod fresh;
mod known;
mod step;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, mpsc::Receiver},
    time::Instant,
};

use serde_json::Value as Json;

use traaviis_model::{Seq, TenantCtx, TenantId, tenant::PLATFORM};
use traaviis_ports::{Clock, Commit, DocumentRow, DocumentStore, LogStore, Position, append_alone};

use crate::{
    audit::{self, AUDIT, CHECKPOINT, Via},
    error::Error,
    meters::Meters,
    privacy::{Sightings, Sink},
    repeated::{ANSWER, USED_KEY},
};
pub use changes::{Changes, Put};
pub use documents::{Document, Documents, Versioned};
pub(crate) use fresh::Fresh;
use known::{Doubt, Gap, Known};
use step::Step;
pub use step::stream_of;

/// Kinds that are not kept in memory: there is no bound to how many there are, or to their size.
pub const HEAVY: &[&str] = &[
    AUDIT, CHECKPOINT, VERSION, DRAFT, COUNTS, PURSE, ALERT_FEED, WEIGHT, JOB_PLAN, DELIVERY,
    USED_KEY, ANSWER,
];
/// Those of them that people make and that are documents of their own: an export of what is about
/// somebody looks through them beside those in memory.
pub(crate) const MADE_BY_PEOPLE: &[&str] = &[VERSION, DRAFT, JOB_PLAN, USED_KEY];
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
/// Kind of the rows that say what parts of the log weigh; no documents either.
pub const WEIGHT: &str = "storage_weight";
/// Kind of the documents that hold what a job is to do.
pub const JOB_PLAN: &str = "job_plan";
/// Kind of the documents that say what became of something that was told to a webhook.
pub const DELIVERY: &str = "webhook_delivery";
/// Kind of the row that remembers where a ledger stands; no document.
const HEAD: &str = "ledger";

/// Kind of the row that says what is missing in a ledger; no document either.
const GAP: &str = "ledger_gap";

/// Kinds of the rows that are no documents: numbers, which are never sealed.
pub const OPEN_ROWS: &[&str] = &[HEAD, GAP, COUNTS, PURSE, ALERT_FEED, WEIGHT];

/// One ledger.
#[derive(Debug)]
struct Ledger {
    writing: Mutex<Head>,
    documents: RwLock<Documents>,
    fresh: Mutex<Fresh>,
    /// What is missing in it.
    gap: Option<Gap>,
}

impl Ledger {
    fn fresh(&self) -> MutexGuard<'_, Fresh> {
        self.fresh.lock().unwrap_or_else(PoisonError::into_inner)
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
    meters: Arc<Meters>,
}

#[derive(Debug, Default)]
struct UnderWay {
    begun: BTreeSet<(Position, u64)>,
    last: u64,
    /// What the projection could not take; it goes first the next time.
    left: Vec<DocumentRow>,
}

impl Ledgers {
    /// Returns how many changes are durable that the projection could not take yet.
    pub(crate) fn rows_left(&self) -> usize {
        self.under_way.lock().unwrap_or_else(PoisonError::into_inner).left.len()
    }

    /// Brings all ledgers back: what the projection has, then the tail of the log. A projection
    /// that cannot be read is made again. Refused is a log that has lost what the platform knew.
    pub fn open(
        log: Arc<dyn LogStore>,
        store: Arc<dyn DocumentStore>,
        clock: Arc<dyn Clock>,
        on_change: OnChange,
    ) -> Result<Ledgers, Error> {
        let known =
            Known::read(&*log, &*store, Doubt::Closes).or_else(|error| match &*error.code {
                "documents_failed" => {
                    store.clear()?;
                    Known::read(&*log, &*store, Doubt::Closes)
                }
                _ => Err(error),
            })?;
        let gaps = known.gaps;
        let meters = Arc::<Meters>::default();
        if let Some(gap) = gaps.get(&PLATFORM) {
            return Err(gap.refusal("the platform"));
        }
        let ledgers = known.ledgers.into_iter().map(|(tenant, (mut head, mut documents))| {
            head.known_to = known.tail;
            let gap = gaps.get(&tenant).copied();
            if gap.is_some() {
                documents = Documents::default();
            }
            documents.meters = Arc::clone(&meters);
            for (kind, of_kind) in &documents.by_kind {
                let rows: Vec<_> = of_kind
                    .iter()
                    .map(|(id, it)| (kind.clone(), id.clone(), Some((*it.body).clone())))
                    .collect();
                on_change(tenant, &rows, &mut std::iter::empty());
            }
            let (writing, documents) = (Mutex::new(head), RwLock::new(documents));
            let ledger = Ledger { writing, documents, fresh: Mutex::default(), gap };
            (tenant, Arc::new(ledger))
        });
        let ledgers = RwLock::new(ledgers.collect());
        let (under_way, sightings) = (Mutex::default(), Sightings::default());
        Ok(Ledgers { log, store, clock, ledgers, under_way, on_change, sightings, meters })
    }

    /// Returns what is counted of documents, and beside them.
    pub(crate) fn meters(&self) -> &Meters {
        &self.meters
    }

    /// Makes the projection of all ledgers what the log has, and opens those of which nothing shows
    /// that something is missing. Returns what is closed all the same, each with a sentence.
    pub fn accept_losses(
        log: &dyn LogStore,
        store: &dyn DocumentStore,
    ) -> Result<Vec<(TenantId, String)>, Error> {
        let known = Known::read(log, store, Doubt::IsAccepted)?;
        let of = |(tenant, gap): (&TenantId, &Gap)| {
            let whose = match *tenant {
                PLATFORM => "the platform".into(),
                _ => format!("tenant `{tenant}`"),
            };
            (*tenant, gap.refusal(&whose).message)
        };
        Ok(known.gaps.iter().map(of).collect())
    }

    /// Returns what was found of personal data.
    pub(crate) fn sightings(&self) -> &Sightings {
        &self.sightings
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
        let (value, begun) = self.begin_change(&ledger, ctx, via, decide)?;
        let decided = begun.is_some().then(Instant::now);
        self.end_changes(begun.into_iter().collect())?;
        if let Some(decided) = decided {
            self.meters.changes().note(decided.elapsed());
        }
        Ok(value)
    }

    /// Changes several ledgers at once, each for itself: they share a sync of the log and a
    /// transaction of the projection. Of those before an error everything is done.
    ///
    /// Ledgers are held in the order of their tenants, so two who change several never wait for
    /// each other.
    pub(crate) fn change_each<F>(
        &self,
        via: &Via,
        decisions: BTreeMap<TenantId, (TenantCtx, F)>,
    ) -> Result<(), Error>
    where
        F: FnOnce(&Documents, &mut Changes) -> Result<(), Error>,
    {
        let of = |(tenant, (ctx, decide))| (self.find_or_make(tenant), ctx, decide);
        let (mut ledgers, mut asked) = (Vec::new(), Vec::new());
        for (ledger, ctx, decide) in decisions.into_iter().map(of) {
            ledgers.push(ledger);
            asked.push((ctx, decide));
        }
        let (mut begun, mut refused) = (Vec::new(), Ok(()));
        for (ledger, (ctx, decide)) in ledgers.iter().zip(asked) {
            match self.begin_change(ledger, &ctx, via, decide) {
                Ok(((), more)) => begun.extend(more),
                Err(error) => {
                    refused = Err(error);
                    break;
                }
            }
        }
        self.end_changes(begun)?;
        refused
    }

    /// Decides, and begins to make durable what follows, if anything does.
    fn begin_change<'a, T>(
        &self,
        ledger: &'a Ledger,
        ctx: &TenantCtx,
        via: &Via,
        decide: impl FnOnce(&Documents, &mut Changes) -> Result<T, Error>,
    ) -> Result<(T, Option<Begun<'a>>), Error> {
        if let Some(gap) = ledger.gap {
            return Err(gap.refusal(&format!("tenant `{}`", ctx.tenant())));
        }
        let head = ledger.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut changes = Changes { before: head.audit.clone(), ..Changes::default() };
        let documents = ledger.documents.read().unwrap_or_else(PoisonError::into_inner);
        let value = decide(&documents, &mut changes)?;
        for (act, _) in &mut changes.acts {
            let (metadata, found) = audit::masked(&act.metadata);
            act.metadata = metadata;
            self.sightings.count(ctx.tenant(), Sink::Audit, &found);
        }
        if changes.puts.is_empty() && changes.acts.is_empty() {
            return Ok((value, None));
        }
        let now = self.clock.now();
        if let Some(used) = changes.used_key(via, now) {
            changes.put(&used);
        }
        let step = Step::of(ctx, via, &head, changes, &documents, now);
        drop(documents);
        let token = self.begin();
        let commit = append_alone(&*self.log, ctx, step.append(ctx.tenant(), &head));
        Ok((value, Some(Begun { tenant: ctx.tenant(), ledger, head, step, token, commit })))
    }

    /// Waits until changes are durable, shows them to others, and puts them into the projection.
    fn end_changes(&self, mut begun: Vec<Begun<'_>>) -> Result<(), Error> {
        let (mut rows, mut tokens, mut reached, mut ended) = (Vec::new(), Vec::new(), 0, Ok(()));
        for it in &mut begun {
            // However long it takes: whoever went on without the answer would not know where the
            // ledger stands.
            let committed = match it.commit.recv() {
                Ok(commit) => commit.map_err(Error::from),
                Err(_) => Err(Error::new("stopping", "the process is stopping; try again")),
            };
            match committed {
                Ok(position) => {
                    rows.extend(self.show(it, position));
                    tokens.push(it.token);
                    reached = position.max(reached);
                }
                Err(error) => {
                    self.under_way().begun.remove(&it.token);
                    ended = Err(error);
                }
            }
        }
        if !rows.is_empty() {
            self.project(rows, &tokens, reached);
        }
        ended
    }

    /// Shows what is durable to others; returns what the projection has to take.
    fn show(&self, begun: &mut Begun<'_>, position: Position) -> Vec<DocumentRow> {
        let Begun { tenant, ledger, head, step, .. } = begun;
        let mut documents = ledger.documents.write().unwrap_or_else(PoisonError::into_inner);
        for (at, (kind, id, body)) in step.puts.iter().enumerate() {
            self.meters.stored(kind, body.as_ref());
            documents.put(kind, id, head.seq + 1 + at as u64, body.clone());
        }
        drop(documents);
        let mut rows = step.rows();
        ledger.fresh().add(std::mem::take(&mut step.noted), &step.audit);
        **head = Head {
            seq: head.seq + step.records.len() as u64,
            audit: step.audit.clone(),
            known_to: position,
        };
        rows.push(head.row(*tenant));
        (self.on_change)(*tenant, &step.puts, &mut step.entries());
        rows
    }

    /// Puts rows into the projection, with all that it could not take before.
    fn project(&self, rows: Vec<DocumentRow>, tokens: &[(Position, u64)], reached: Position) {
        let mut under_way = self.under_way();
        for token in tokens {
            under_way.begun.remove(token);
        }
        let floor = under_way.begun.first().map_or(reached, |it| it.0.min(reached));
        let mut all = std::mem::take(&mut under_way.left);
        all.extend(rows);
        // Held so that no other put tells a position that this one does not reach.
        if self.store.put(&all, floor).is_err() {
            under_way.begun.extend(tokens);
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
                documents: RwLock::new(Documents::counted_by(&self.meters)),
                fresh: Mutex::default(),
                gap: None,
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

/// A change of one ledger that is being made durable; the ledger is held meanwhile.
struct Begun<'a> {
    tenant: TenantId,
    ledger: &'a Ledger,
    head: MutexGuard<'a, Head>,
    step: Step,
    token: (Position, u64),
    commit: Receiver<Commit>,
}
