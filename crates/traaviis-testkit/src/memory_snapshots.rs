//! States of open instances in memory: what a snapshot store promises, without a database.

use std::{
    collections::BTreeMap,
    ops::RangeInclusive,
    sync::{Mutex, MutexGuard, PoisonError},
};

use traaviis_model::{InstanceId, TenantCtx, TenantId};
use traaviis_ports::{Completion, Position, SnapshotError, SnapshotRow, SnapshotStore};

/// The states.
#[derive(Debug, Default)]
pub struct MemorySnapshots {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    rows: BTreeMap<(TenantId, InstanceId), (Position, SnapshotRow)>,
    covers: Option<(Position, Position)>,
    failure: Option<SnapshotError>,
}

impl MemorySnapshots {
    /// Fails every later call in this way, or no more.
    pub fn fail(&self, failure: Option<SnapshotError>) {
        self.state().failure = failure;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn working(&self) -> Result<MutexGuard<'_, State>, SnapshotError> {
        let state = self.state();
        state.failure.clone().map_or(Ok(state), Err)
    }
}

impl SnapshotStore for MemorySnapshots {
    fn covers(&self) -> Result<Option<RangeInclusive<Position>>, SnapshotError> {
        Ok(self.working()?.covers.map(|(first, last)| first..=last))
    }

    fn put(
        &self,
        rows: &mut dyn Iterator<Item = SnapshotRow>,
        complete: Option<Completion>,
    ) -> Result<(), SnapshotError> {
        let mut state = self.working()?;
        let written = complete.map(|it| it.position).or(state.covers.map(|it| it.1)).unwrap_or(0);
        for row in rows {
            state.rows.insert(row.key(), (written, row));
        }
        if let Some(Completion { position, forget }) = complete {
            let first = state.covers.map_or(position, |it| it.0.max(forget));
            state.covers = Some((first, position));
            state.rows.retain(|_, (written, row)| {
                matches!(row, SnapshotRow::Open(..)) || *written >= forget
            });
        }
        Ok(())
    }

    fn visit(&self, visit: &mut dyn FnMut(SnapshotRow)) -> Result<(), SnapshotError> {
        for (_, row) in self.working()?.rows.values() {
            visit(match row {
                SnapshotRow::Open(head, _) => SnapshotRow::Open(head.clone(), Vec::new()),
                ended => ended.clone(),
            });
        }
        Ok(())
    }

    fn get(&self, ctx: &TenantCtx, id: InstanceId) -> Result<Option<Vec<u8>>, SnapshotError> {
        Ok(match self.working()?.rows.get(&(ctx.tenant(), id)) {
            Some((_, SnapshotRow::Open(_, body))) => Some(body.clone()),
            _ => None,
        })
    }

    fn clear(&self) -> Result<(), SnapshotError> {
        let mut state = self.working()?;
        state.rows.clear();
        state.covers = None;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_store_in_memory_keeps_the_contract() {
        crate::snapshots_contract::check(&MemorySnapshots::default());
    }
}
