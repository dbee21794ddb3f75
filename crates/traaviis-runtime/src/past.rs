//! What no owner holds in memory: states and histories of instances, from the index where it knows
//! them, else from the log or its archive.

use std::{fmt, ops::Range, sync::Arc};

use traaviis_model::{Body, InstanceId, Record, Seq, Snapshot, TenantCtx, snapshot::ApplyError};
use traaviis_ports::{IndexError, LogStore, Position, index::Row};

use crate::{error::Error, index::Feeder, limits::READ_RECORDS_MAX};

/// The whole log.
const EVERYWHERE: Range<Position> = 0..Position::MAX;

/// Reads what was.
#[derive(Clone)]
pub struct Past {
    log: Arc<dyn LogStore>,
    feeder: Option<Arc<Feeder>>,
}

impl Past {
    /// Reads from a log alone.
    pub fn of(log: Arc<dyn LogStore>) -> Past {
        Past { log, feeder: None }
    }

    pub(crate) fn new(log: Arc<dyn LogStore>, feeder: Option<Arc<Feeder>>) -> Past {
        Past { log, feeder }
    }

    /// Returns the log.
    pub(crate) fn log(&self) -> &dyn LogStore {
        &*self.log
    }

    /// Returns the last state of an instance; none when there is none in this tenant.
    pub(crate) fn state(
        &self,
        ctx: &TenantCtx,
        id: InstanceId,
    ) -> Result<Option<Arc<Snapshot>>, Error> {
        self.last(ctx, id, &|_| true)
    }

    /// Returns the last state of an instance that has ended; none when there is none in this
    /// tenant. `known` is a record that it has; 0 when all that is known is that no owner holds it.
    ///
    /// # Errors
    ///
    /// [`Error::Damaged`] when the log has lost its last records: what is left is a state that the
    /// instance once had, and not the one that it has.
    pub(crate) fn ended(
        &self,
        ctx: &TenantCtx,
        id: InstanceId,
        known: Seq,
    ) -> Result<Option<Arc<Snapshot>>, Error> {
        let is_whole = |it: &Snapshot| it.seq >= known && it.status.is_finished();
        let found = self.last(ctx, id, &is_whole)?;
        if let Some(snapshot) = found.as_deref().filter(|it| !is_whole(it)) {
            let source = ApplyError::CutShort { instance: id, last: snapshot.seq };
            return Err(Error::Damaged { id, source: Arc::new(source) });
        }
        Ok(found)
    }

    /// Returns the state that the index knows, if it is the one sought, else the one that records
    /// come to.
    fn last(
        &self,
        ctx: &TenantCtx,
        id: InstanceId,
        is_sought: &dyn Fn(&Snapshot) -> bool,
    ) -> Result<Option<Arc<Snapshot>>, Error> {
        let row = match self.row(ctx, id) {
            Ok(None) if !self.is_archived(ctx, id)? => return Ok(None),
            Ok(row) => row,
            Err(_) => None,
        };
        let body = row.as_ref().and_then(|it| it.snapshot.as_deref());
        let told: Option<Snapshot> = body.and_then(|it| serde_json::from_slice(it).ok());
        match told.filter(is_sought) {
            Some(snapshot) => Ok(Some(Arc::new(snapshot))),
            None => Ok(self.folded(ctx, id, places(row.as_ref()))?.map(Arc::new)),
        }
    }

    /// Returns the state that the records of an instance come to.
    fn folded(
        &self,
        ctx: &TenantCtx,
        id: InstanceId,
        within: Range<Position>,
    ) -> Result<Option<Snapshot>, Error> {
        let mut snapshot: Option<Snapshot> = None;
        self.each(ctx, id, within, &mut |record| {
            let applied = match &mut snapshot {
                None => Snapshot::create(&record).map(|it| snapshot = Some(it)),
                Some(it) => it.apply(&record),
            };
            applied.map_err(|error| Error::Damaged { id, source: Arc::new(error) })
        })?;
        Ok(snapshot)
    }

    /// Returns the whole history of an instance; empty when there is none in this tenant.
    pub(crate) fn history(&self, ctx: &TenantCtx, id: InstanceId) -> Result<Vec<Record>, Error> {
        self.history_to(ctx, id).map(|(records, _)| records)
    }

    /// The same, and the position up to which it was read.
    pub(crate) fn history_to(
        &self,
        ctx: &TenantCtx,
        id: InstanceId,
    ) -> Result<(Vec<Record>, Position), Error> {
        let row = self.row(ctx, id).ok().flatten();
        let mut records = Vec::new();
        let read_to = self.each(ctx, id, places(row.as_ref()), &mut |record| {
            records.push(record);
            Ok(())
        })?;
        Ok((records, read_to))
    }

    /// Says whether there ever was such an instance.
    pub(crate) fn has(&self, ctx: &TenantCtx, id: InstanceId) -> bool {
        // What cannot be looked up may be there.
        match self.row(ctx, id) {
            Ok(row) => row.is_some() || self.is_archived(ctx, id).unwrap_or(true),
            Err(_) => self.log.read(ctx, id, 1, 1).map_or(true, |lines| !lines.is_empty()),
        }
    }

    /// Says whether an instance is archived, and so does not go on.
    pub(crate) fn is_archived(&self, ctx: &TenantCtx, id: InstanceId) -> Result<bool, Error> {
        match self.log.archive() {
            Some(archive) => Ok(archive.holds(ctx.tenant(), id)?),
            None => Ok(false),
        }
    }

    fn row(&self, ctx: &TenantCtx, id: InstanceId) -> Result<Option<Row>, IndexError> {
        match &self.feeder {
            Some(feeder) => feeder.get(ctx, id),
            None => Err(IndexError::Failed("there is none".into())),
        }
    }

    /// Visits the records of an instance, a part of them in memory at a time; returns the position
    /// up to which it looked.
    fn each(
        &self,
        ctx: &TenantCtx,
        id: InstanceId,
        mut within: Range<Position>,
        visit: &mut dyn FnMut(Record) -> Result<(), Error>,
    ) -> Result<Position, Error> {
        let mut from = 1;
        loop {
            let part = self.log.read_within(ctx, id, from, READ_RECORDS_MAX, within.clone())?;
            let is_last = !part.is_cut && part.lines.len() < READ_RECORDS_MAX;
            for line in part.lines {
                let record =
                    Record::read_line(&line).map_err(|error| Error::Line(Arc::new(error)))?;
                if record.header.tenant_id != ctx.tenant() {
                    let (expected, found) = (ctx.tenant(), record.header.tenant_id);
                    return Err(Error::TenantMismatch { id, expected, found });
                }
                // A stream of documents, such as the ledger of a tenant, is no instance.
                if matches!(record.body, Body::DocumentPut { .. }) {
                    return Ok(part.next);
                }
                from = record.header.seq + 1;
                visit(record)?;
            }
            if is_last {
                return Ok(part.next);
            }
            within.start = part.next;
        }
    }
}

impl fmt::Debug for Past {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Past").field("feeder", &self.feeder).finish_non_exhaustive()
    }
}

/// Returns where the records of an instance stand.
fn places(row: Option<&Row>) -> Range<Position> {
    match row {
        Some(Row { first: Some(first), last, .. }) => *first..*last + 1,
        _ => EVERYWHERE,
    }
}
