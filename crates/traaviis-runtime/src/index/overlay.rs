//! States that are committed and not yet in the index, and lists merged with them.
//!
//! Invariant: from [`Overlay::note`] until [`Overlay::end_drain`] a state is found here, so at any
//! time it is found here or in the index.

use std::{
    collections::{BTreeMap, HashMap, btree_map::Entry},
    sync::Arc,
};

use traaviis_model::{InstanceId, Snapshot, TenantCtx, TenantId};
use traaviis_ports::{
    Index, IndexError, Position,
    index::{Query, Row},
    planted::{self, Bug},
};

use crate::{
    owner::{Committed, Key, SeededHasher},
    summary::Summary,
};

/// What a change takes beside the values of an ended instance: its entry, its key, its row.
const CHANGE_BYTES: usize = 256;

/// The last state of an instance.
#[derive(Clone, Debug)]
struct Change {
    snapshot: Arc<Snapshot>,
    /// Position of the first record, if it was committed since the last drain.
    first: Option<Position>,
    /// Position of the last record.
    last: Position,
    /// Memory that only this change holds: an open instance's state is its owner's anyway.
    bytes: usize,
}

/// How much waits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Load {
    /// Instances.
    pub rows: usize,
    /// Records.
    pub records: u64,
    /// Bytes, estimated.
    pub bytes: usize,
}

/// Changes of one window.
#[derive(Debug, Default)]
pub struct Changes {
    /// By tenant, so that a list costs nothing of what others do.
    tenants: HashMap<TenantId, OfTenant, SeededHasher>,
    load: Load,
}

/// Changes of one tenant.
type OfTenant = BTreeMap<InstanceId, Change>;

impl Changes {
    /// Says whether there are none.
    pub fn is_empty(&self) -> bool {
        self.load.rows == 0
    }

    /// Returns the rows to put.
    pub fn rows(&self) -> impl Iterator<Item = Row> {
        // In the order of the table, so that neighbours are written together.
        let mut tenants: Vec<_> = self.tenants.iter().collect();
        tenants.sort_unstable_by_key(|it| *it.0);
        let changes = tenants.into_iter().flat_map(|it| it.1.values());
        changes.map(|it| row_of(&it.snapshot, it.first, it.last))
    }

    fn of(&self, tenant: TenantId) -> impl Iterator<Item = (InstanceId, &Change)> {
        self.tenants.get(&tenant).into_iter().flatten().map(|(id, change)| (*id, change))
    }

    fn get(&self, key: Key) -> Option<&Change> {
        self.tenants.get(&key.tenant)?.get(&key.id)
    }

    fn note(&mut self, key: Key, change: Change, records: u64) {
        self.load.records += records;
        self.load.bytes += change.bytes;
        match self.tenants.entry(key.tenant).or_default().entry(key.id) {
            Entry::Occupied(mut older) => {
                self.load.bytes -= older.get().bytes;
                let first = change.first.or(older.get().first);
                older.insert(Change { first, ..change });
            }
            Entry::Vacant(place) => {
                self.load.rows += 1;
                place.insert(change);
            }
        }
    }
}

/// Everything that is committed and not yet in the index.
#[derive(Debug, Default)]
pub struct Overlay {
    waiting: Changes,
    draining: Arc<Changes>,
}

impl Overlay {
    /// Takes a committed state.
    pub fn note(&mut self, committed: &Committed) {
        let Committed { records, snapshot, position, .. } = committed;
        let count = records.len() as u64;
        let is_first = records.first().is_some_and(|it| it.header.seq == 1);
        let values = match snapshot.status.is_finished() {
            true => [&snapshot.input, &snapshot.data, &snapshot.output].map(|it| it.json_len()),
            false => [0; 3],
        };
        let change = Change {
            snapshot: Arc::clone(snapshot),
            first: is_first.then(|| position.saturating_sub(count)),
            last: position.saturating_sub(1),
            bytes: CHANGE_BYTES + values.iter().sum::<usize>(),
        };
        self.waiting.note(Key::of(snapshot), change, count);
        if planted::is(Bug::DirtyEvicted) && self.waiting.load.rows > 4 {
            let some = self.waiting.tenants.values_mut().find(|it| !it.is_empty());
            some.and_then(BTreeMap::pop_first);
        }
    }

    /// Says whether nothing waits for a drain to begin.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Returns how much waits or is being drained.
    pub fn load(&self) -> Load {
        let (waiting, draining) = (self.waiting.load, self.draining.load);
        Load {
            rows: waiting.rows + draining.rows,
            records: waiting.records + draining.records,
            bytes: waiting.bytes + draining.bytes,
        }
    }

    /// Takes out what waits; it stays visible until [`Overlay::end_drain`].
    pub fn begin_drain(&mut self) -> Arc<Changes> {
        debug_assert!(self.draining.is_empty(), "one drain at a time");
        self.draining = Arc::new(std::mem::take(&mut self.waiting));
        Arc::clone(&self.draining)
    }

    /// Forgets what is in the index now.
    pub fn end_drain(&mut self) {
        self.draining = Arc::default();
    }

    /// Lets what could not be put wait again; what was committed since wins.
    pub fn undo_drain(&mut self) {
        let since = std::mem::take(&mut self.waiting);
        let draining = std::mem::take(&mut self.draining);
        for changes in [&*draining, &since] {
            for change in changes.tenants.values().flat_map(BTreeMap::values) {
                self.waiting.note(Key::of(&change.snapshot), change.clone(), 0);
            }
            self.waiting.load.records += changes.load.records;
        }
    }

    /// Returns the row of one instance, if its last state waits.
    pub fn get(&self, tenant: TenantId, id: InstanceId) -> Option<Row> {
        let key = Key { tenant, id };
        let (waiting, draining) = (self.waiting.get(key), self.draining.get(key));
        let change = waiting.or(draining)?;
        let first = change.first.or_else(|| draining.and_then(|it| it.first));
        Some(row_of(&change.snapshot, first, change.last))
    }

    /// Returns the ids that begin or end with some digits.
    pub fn ids(&self, tenant: TenantId, digits: &str) -> Vec<InstanceId> {
        let digits = digits.to_ascii_lowercase();
        let changes = self.waiting.of(tenant).chain(self.draining.of(tenant));
        changes
            .map(|it| it.0)
            .filter(|it| {
                let text = it.0.simple().to_string();
                text.starts_with(&digits) || text.ends_with(&digits)
            })
            .collect()
    }

    /// Returns what waits of one tenant, to be looked at without holding this.
    pub fn recent(&self, tenant: TenantId) -> Recent {
        let mut waiting = self.waiting.tenants.get(&tenant).cloned().unwrap_or_default();
        if planted::is(Bug::TenantDropped) {
            waiting
                .extend(self.waiting.tenants.values().flatten().map(|(id, it)| (*id, it.clone())));
        }
        Recent { tenant, waiting, draining: Arc::clone(&self.draining) }
    }
}

/// What waited of one tenant at one time.
#[derive(Debug)]
pub struct Recent {
    tenant: TenantId,
    waiting: OfTenant,
    draining: Arc<Changes>,
}

impl Recent {
    /// Returns a page of a list as it will be once everything here is in the index.
    pub fn list(
        &self,
        index: &dyn Index,
        ctx: &TenantCtx,
        query: &Query,
    ) -> Result<Vec<Row>, IndexError> {
        let mut rows: Vec<Row> = self.rows().filter(|it| query.takes(it)).collect();
        rows.sort_unstable_by_key(|it| std::cmp::Reverse(it.id));
        rows.truncate(query.limit);
        let mut page = Query { ..query.clone() };
        loop {
            let found = index.list(ctx, &page)?;
            let is_last = found.len() < query.limit;
            page.after = found.last().map(|it| it.id);
            rows.extend(found.into_iter().filter(|it| !self.has(it.id)));
            // Everything down to the end of this page is here.
            let seen = |it: &&Row| page.after.is_none_or(|end| it.id >= end);
            if is_last || rows.iter().filter(seen).count() >= query.limit {
                break;
            }
        }
        rows.sort_unstable_by_key(|it| std::cmp::Reverse(it.id));
        rows.truncate(query.limit);
        Ok(rows)
    }

    fn rows(&self) -> impl Iterator<Item = Row> {
        let draining = self.draining.of(self.tenant);
        let draining = draining.filter(|(id, _)| !self.waiting.contains_key(id));
        let changes = self.waiting.values().chain(draining.map(|(_, change)| change));
        changes.map(|it| Row { snapshot: None, ..summary_row(&it.snapshot, it.first, it.last) })
    }

    fn has(&self, id: InstanceId) -> bool {
        let key = Key { tenant: self.tenant, id };
        self.waiting.contains_key(&id) || self.draining.get(key).is_some()
    }
}

/// Returns the row of a state: whole when the instance has ended or waits for a person, because
/// then it rests and is looked at; short otherwise.
pub fn row_of(snapshot: &Snapshot, first: Option<Position>, last: Position) -> Row {
    let mut row = summary_row(snapshot, first, last);
    // What is sealed in the log stands nowhere else in the open.
    if snapshot.subject.is_none() && (row.asks || row.status.is_finished()) {
        row.snapshot = Some(snapshot.canonical());
    }
    row
}

/// Returns the short row of a state, as lists show it.
pub fn summary_row(snapshot: &Snapshot, first: Option<Position>, last: Position) -> Row {
    Row {
        tenant: snapshot.tenant_id,
        id: snapshot.id,
        workflow: snapshot.workflow.clone(),
        version: snapshot.version.clone(),
        status: snapshot.status,
        state: snapshot.state().into(),
        correlation: snapshot.correlation.clone(),
        correlation_id: snapshot.correlation_id.clone(),
        tags: snapshot.tags.clone(),
        created_by: snapshot.created_by.clone(),
        parent: snapshot.lineage.as_ref().map(|it| it.parent_id),
        asks: !snapshot.status.is_finished()
            && (!snapshot.incidents.is_empty() || snapshot.open_tasks().next().is_some()),
        waits: snapshot.is_waiting(),
        seq: snapshot.seq,
        created_at: snapshot.created_at,
        updated_at: snapshot.updated_at,
        finished_at: snapshot.finished_at,
        due: snapshot.next_due(),
        first,
        last,
        snapshot: None,
    }
}

/// Returns the short row of an instance that has ended and left the log.
pub fn row_of_ended(summary: &Summary) -> Row {
    Row {
        tenant: summary.tenant_id,
        id: summary.id,
        workflow: summary.workflow.clone(),
        version: summary.version.clone(),
        status: summary.status,
        state: summary.state.clone(),
        correlation: summary.correlation.clone(),
        correlation_id: summary.correlation_id.clone(),
        created_by: summary.created_by.clone(),
        tags: summary.tags.clone(),
        parent: summary.parent_id,
        asks: false,
        waits: false,
        seq: summary.seq,
        created_at: summary.created_at,
        updated_at: summary.updated_at,
        finished_at: summary.finished_at,
        due: summary.next_due,
        first: None,
        last: 0,
        snapshot: None,
    }
}
