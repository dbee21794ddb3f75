//! Reads whole histories back from the log.

use std::sync::Arc;

use traaviis_model::{InstanceId, Record, Snapshot, TenantCtx};
use traaviis_ports::LogStore;

use crate::{error::Error, limits::READ_RECORDS_MAX};

/// Returns the whole history of an instance; empty when there is none in this tenant.
pub(crate) fn read(
    log: &dyn LogStore,
    ctx: &TenantCtx,
    id: InstanceId,
) -> Result<Vec<Record>, Error> {
    let mut records: Vec<Record> = Vec::new();
    loop {
        let from = records.last().map_or(1, |it| it.header.seq + 1);
        let lines = log.read(ctx, id, from, READ_RECORDS_MAX)?;
        let count = lines.len();
        for line in lines {
            let record = Record::read_line(&line).map_err(|error| Error::Line(Arc::new(error)))?;
            if record.header.tenant_id != ctx.tenant() {
                let (expected, found) = (ctx.tenant(), record.header.tenant_id);
                return Err(Error::TenantMismatch { id, expected, found });
            }
            records.push(record);
        }
        if count < READ_RECORDS_MAX {
            return Ok(records);
        }
    }
}

/// Returns the state that the history of an instance folds to.
pub(crate) fn fold(
    log: &dyn LogStore,
    ctx: &TenantCtx,
    id: InstanceId,
) -> Result<Option<Arc<Snapshot>>, Error> {
    let records = read(log, ctx, id)?;
    let folded = Snapshot::fold(&records);
    let snapshot = folded.map_err(|error| Error::Damaged { id, source: Arc::new(error) })?;
    Ok(snapshot.map(Arc::new))
}
