//! How many bytes of a tenant are kept, as far as they are only that tenant's.
//!
//! - In the log: its records as lines, before segments are packed; values that are too large for a
//!   line count where they are. The log is one for all tenants, so what packing saves cannot be
//!   told apart.
//! - Beside it: the files of its large values and of its archive, as the disk has them.
//!
//! Documents and states that are made from the log count nothing: they can be made again.
//!
//! ```text
//! part of the log, once it is full  ->  a row of its own, weighed again when compaction changed it
//! the part that is written          ->  in memory, from where it was weighed last
//! files                             ->  all once in a process, then those of tenants that changed
//! ```
//!
//! Invariants: the rows of all full parts and what they come to together are put down at once, so
//! no part counts twice; no more than the part that is written is read when a process begins.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Mutex, PoisonError},
};

use serde::{Deserialize, Serialize};
use serde_json::json;
use traaviis_model::{TenantCtx, TenantId, tenant::PLATFORM};
use traaviis_ports::{DocumentRow, Position};

use crate::{
    engine::{Engine, LogPart},
    error::Error,
    ledger::WEIGHT,
    platform::Platform,
};

/// Id of the row with what all full parts come to.
const SUMS: &str = "sums";
/// Full parts that are weighed before they are put down: what a crash takes back.
const PUT_EVERY: usize = 16;

/// Bytes that are kept of a tenant.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stored {
    /// Lines in the log.
    pub log: u64,
    /// Large values beside it.
    pub blobs: u64,
    /// Histories of ended instances.
    pub archive: u64,
}

impl Stored {
    /// Returns all of it together.
    pub fn sum(&self) -> u64 {
        self.log.saturating_add(self.blobs).saturating_add(self.archive)
    }
}

/// What was weighed last.
#[derive(Debug, Default)]
pub(crate) struct Scales {
    stored: Mutex<HashMap<TenantId, Stored>>,
    /// Whoever weighs holds it; nobody else waits for that.
    work: Mutex<Option<Work>>,
}

type Bytes = BTreeMap<TenantId, u64>;

/// Where weighing stands.
#[derive(Debug, Default)]
struct Work {
    full: Full,
    /// The part that is written: where it begins, up to where it is weighed, and what it has.
    written: (Position, Position, Bytes),
    files: HashMap<TenantId, Stored>,
    /// Those of all tenants were weighed; from then on of those that changed.
    are_files_known: bool,
}

/// All full parts.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Full {
    /// Their marks, by where they begin.
    marks: BTreeMap<Position, u64>,
    bytes: Bytes,
}

impl Platform {
    /// Returns how much is kept of a tenant, as it was last weighed.
    pub(crate) fn stored(&self, tenant: TenantId) -> Stored {
        let stored = self.scales.stored.lock().unwrap_or_else(PoisonError::into_inner);
        stored.get(&tenant).copied().unwrap_or_default()
    }

    /// Weighs what is kept of all tenants; called from time to time.
    pub fn weigh(&self, engine: &dyn Engine) -> Result<(), Error> {
        let mut held = self.scales.work.lock().unwrap_or_else(PoisonError::into_inner);
        // What fails half-way is begun again from what was put down.
        let mut work = match held.take() {
            Some(work) => work,
            None => Work { full: self.full_parts()?, ..Work::default() },
        };
        self.weigh_log(engine, &mut work)?;
        self.weigh_files(engine, &mut work)?;
        let mut stored: HashMap<TenantId, Stored> = work.files.clone();
        for (tenant, bytes) in work.full.bytes.iter().chain(&work.written.2) {
            stored.entry(*tenant).or_default().log += bytes;
        }
        self.note_stored(&stored);
        *self.scales.stored.lock().unwrap_or_else(PoisonError::into_inner) = stored;
        *held = Some(work);
        Ok(())
    }

    /// Reads what an earlier process has put down.
    fn full_parts(&self) -> Result<Full, Error> {
        let Some(row) = self.ledgers.row(&TenantCtx::platform(), WEIGHT, SUMS)? else {
            return Ok(Full::default());
        };
        // Rows of another log say nothing of this one.
        let is_known = row.version <= self.ledgers.tail();
        let read = row.body.filter(|_| is_known).and_then(|it| serde_json::from_slice(&it).ok());
        Ok(read.unwrap_or_default())
    }

    fn weigh_log(&self, engine: &dyn Engine, work: &mut Work) -> Result<(), Error> {
        let parts = engine.log_parts()?;
        let end = parts.last().map_or(0, |it| it.within.end);
        let mut rows = Vec::new();
        for LogPart { within, mark } in &parts {
            let Some(mark) = *mark else {
                let (first, to, bytes) = &mut work.written;
                if *first != within.start {
                    (*first, *to) = (within.start, within.start);
                    bytes.clear();
                }
                engine.weigh_log(*to..within.end, &mut |tenant, count| {
                    *bytes.entry(tenant).or_default() += count;
                })?;
                *to = within.end;
                continue;
            };
            if work.full.marks.get(&within.start) == Some(&mark) {
                continue;
            }
            let mut bytes = Bytes::new();
            engine.weigh_log(within.clone(), &mut |tenant, count| {
                *bytes.entry(tenant).or_default() += count;
            })?;
            let before = match work.full.marks.contains_key(&within.start) {
                true => self.part(within.start)?,
                false => Bytes::new(),
            };
            work.full.replace(&before, &bytes);
            work.full.marks.insert(within.start, mark);
            rows.push(row(&id_of(within.start), within.end, json!(bytes).to_string()));
            if rows.len() >= PUT_EVERY {
                self.put_parts(std::mem::take(&mut rows), end, &work.full)?;
            }
        }
        match rows.is_empty() {
            true => Ok(()),
            false => self.put_parts(rows, end, &work.full),
        }
    }

    /// Returns what a full part weighed when it was weighed last.
    fn part(&self, first: Position) -> Result<Bytes, Error> {
        let row = self.ledgers.row(&TenantCtx::platform(), WEIGHT, &id_of(first))?;
        let read = row.and_then(|it| serde_json::from_slice(&it.body?).ok());
        Ok(read.unwrap_or_default())
    }

    fn put_parts(
        &self,
        mut rows: Vec<DocumentRow>,
        end: Position,
        full: &Full,
    ) -> Result<(), Error> {
        // Of the end of the log, so that it is never older than what it takes the place of.
        rows.push(row(SUMS, end, json!(full).to_string()));
        self.ledgers.keep_rows(&rows)
    }

    fn weigh_files(&self, engine: &dyn Engine, work: &mut Work) -> Result<(), Error> {
        let mut due = engine.take_changed_files();
        if !work.are_files_known {
            due.extend(self.ledgers.tenants());
        }
        for tenant in due {
            let files = engine.weigh_files(&TenantCtx::keeper_of(tenant))?;
            work.files.insert(tenant, files);
        }
        work.are_files_known = true;
        Ok(())
    }
}

impl Full {
    /// Counts a part as it is now instead of as it was.
    fn replace(&mut self, before: &Bytes, now: &Bytes) {
        for (tenant, bytes) in before {
            let sum = self.bytes.entry(*tenant).or_default();
            *sum = sum.saturating_sub(*bytes);
        }
        for (tenant, bytes) in now {
            *self.bytes.entry(*tenant).or_default() += bytes;
        }
        self.bytes.retain(|_, it| *it > 0);
    }
}

fn id_of(first: Position) -> String {
    format!("part/{first:020}")
}

fn row(id: &str, version: Position, body: String) -> DocumentRow {
    let (kind, id, body) = (WEIGHT.into(), id.into(), Some(body.into_bytes()));
    DocumentRow { tenant: PLATFORM, kind, id, version, body }
}
