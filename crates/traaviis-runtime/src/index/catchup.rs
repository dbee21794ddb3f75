//! What a start owes the index: the rows of everything that the log holds past its position.
//!
//! The same fold that restores the owners gives the rows. A checkpoint keeps no whole state of
//! ended instances, so an index that is behind it is made again from the whole log; so is one that
//! is ahead of the log, which is then an older copy.

use std::collections::HashMap;

use traaviis_model::{Seq, Snapshot};
use traaviis_ports::{Archive, Index, IndexError, LogStore, Position, index::Row};

use super::overlay::row_of;
use crate::{
    error::Error,
    limits::INDEX_BATCH_ROWS,
    owner::{Key, SeededHasher},
    recovery::{Recovery, States},
};

/// Records between two calls of a rebuild's progress.
const PROGRESS_EVERY: u64 = 10_000;

/// What a rebuild did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rebuilt {
    /// Records read.
    pub records: u64,
    /// Instances in the index now.
    pub instances: u64,
    /// Instances left out because their history is damaged.
    pub damaged: u64,
    /// Position of the index now.
    pub position: Position,
}

/// Makes the index again from the whole log; `progress` is told the position now and then.
pub fn rebuild(
    log: &dyn LogStore,
    index: &dyn Index,
    progress: &mut dyn FnMut(Position),
) -> Result<Rebuilt, Error> {
    index.clear().map_err(Error::Index)?;
    let mut recovery = Recovery::new(0);
    let archive = log.archive();
    let mut catchup = Catchup::new(index, archive);
    let mut records = 0;
    let mut failed = None;
    let position = log.scan(0, &mut |line| {
        if failed.is_some() {
            return;
        }
        records += 1;
        if records % PROGRESS_EVERY == 0 {
            progress(line.position);
        }
        failed = recovery.line(line, Some(&mut catchup), None).err();
    })?;
    if let Some(error) = failed {
        return Err(error);
    }
    let instances = catchup.finish(&recovery, position, None)?;
    recovery.pass_over_archived(archive)?;
    let damaged = recovery.fault_count() as u64;
    Ok(Rebuilt { records, instances, damaged, position })
}

/// Rows of what a recovery reads.
pub(crate) struct Catchup<'a> {
    index: &'a dyn Index,
    /// What is archived has no row, also while the log still holds records of it.
    archive: Option<&'a dyn Archive>,
    from: Position,
    touched: HashMap<Key, Places, SeededHasher>,
    rows: Vec<Row>,
    count: u64,
    failed: Option<IndexError>,
}

/// Where the records of an instance stand, as far as they were read.
#[derive(Default)]
struct Places {
    first: Option<Position>,
    last: Position,
}

impl<'a> Catchup<'a> {
    /// Returns a catch-up of everything.
    pub(crate) fn new(index: &'a dyn Index, archive: Option<&'a dyn Archive>) -> Catchup<'a> {
        let archive = archive.filter(|it| !it.is_empty().unwrap_or(false));
        let (touched, rows) = (HashMap::default(), Vec::new());
        Catchup { index, archive, from: 0, touched, rows, count: 0, failed: None }
    }

    /// Makes the index again when it does not fit the log and its checkpoint; says why, if so.
    pub(crate) fn begin(
        &mut self,
        log: &dyn LogStore,
        checkpoint: Option<Position>,
    ) -> Result<Option<&'static str>, Error> {
        let position = self.index.position().map_err(Error::Index)?;
        let why = if position > log.tail() {
            "it is ahead of the log"
        } else if checkpoint.is_some_and(|it| position < it || (position == 0 && log.tail() > 0)) {
            // Also when it stands at the very beginning: a checkpoint may hold more than its
            // position says.
            "it is missing, of another release, or behind the checkpoint"
        } else {
            self.from = position;
            return Ok(None);
        };
        self.from = rebuild(log, self.index, &mut |_| ())?.position;
        Ok(Some(why))
    }

    /// Notes a record of an instance.
    pub(crate) fn record(&mut self, key: Key, seq: Seq, position: Position) {
        if position < self.from {
            return;
        }
        let places = self.touched.entry(key).or_default();
        places.last = position;
        if seq == 1 {
            places.first = Some(position);
        }
    }

    /// Takes the whole state of an instance that has ended.
    pub(crate) fn ended(&mut self, snapshot: &Snapshot) {
        let key = Key::of(snapshot);
        let Some(places) = self.touched.remove(&key) else { return };
        // A row too many is taken out when the log is next looked through.
        let is_archived = |it: &dyn Archive| it.holds(key.tenant, key.id).unwrap_or(false);
        if !self.archive.is_some_and(is_archived) {
            self.put(snapshot, &places);
        }
    }

    /// Takes the open instances, and sets the position.
    pub(crate) fn finish(
        mut self,
        recovery: &Recovery,
        position: Position,
        states: Option<States<'_>>,
    ) -> Result<u64, Error> {
        let touched = std::mem::take(&mut self.touched);
        let read: HashMap<Key, &Snapshot, SeededHasher> =
            recovery.snapshots().map(|it| (Key::of(it), it)).collect();
        let mut open: Vec<Key> = read.keys().copied().chain(recovery.resting()).collect();
        open.retain(|key| touched.contains_key(key));
        // In the order of the table: rows put anywhere in it cost several times as much.
        open.sort_unstable();
        for key in open {
            match read.get(&key) {
                Some(snapshot) => self.put(snapshot, &touched[&key]),
                None => {
                    if let Some(state) = recovery.load(key, states)? {
                        self.put(&state.snapshot, &touched[&key]);
                    }
                }
            }
        }
        if let Some(error) = self.failed {
            return Err(Error::Index(error));
        }
        self.index.put(&mut self.rows.drain(..), position).map_err(Error::Index)?;
        Ok(self.count)
    }

    fn put(&mut self, snapshot: &Snapshot, places: &Places) {
        self.count += 1;
        self.rows.push(row_of(snapshot, places.first, places.last));
        if self.rows.len() >= INDEX_BATCH_ROWS && self.failed.is_none() {
            self.failed = self.index.put(&mut self.rows.drain(..), 0).err();
        }
        if self.failed.is_some() {
            self.rows.clear();
        }
    }
}
