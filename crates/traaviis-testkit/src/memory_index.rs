//! The index in memory: what an index promises, without a database, and with power cuts.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use traaviis_model::{InstanceId, TenantCtx, TenantId};
use traaviis_ports::{
    Index, IndexError, Position,
    index::{Count, Query, Row, count_rows},
};

/// The index.
#[derive(Debug, Default)]
pub struct MemoryIndex {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    now: Content,
    /// What a power cut leaves.
    durable: Content,
    failure: Option<IndexError>,
}

#[derive(Clone, Debug, Default)]
struct Content {
    rows: BTreeMap<(TenantId, InstanceId), Row>,
    position: Position,
}

impl MemoryIndex {
    /// Takes away what was put and not synced.
    pub fn cut_power(&self) {
        let mut state = self.state();
        state.now = state.durable.clone();
    }

    /// Fails every later call in this way, or no more.
    pub fn fail(&self, failure: Option<IndexError>) {
        self.state().failure = failure;
    }

    /// Returns every row of every tenant, with its snapshot.
    pub fn rows(&self) -> Vec<Row> {
        self.state().now.rows.values().cloned().collect()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn working(&self) -> Result<MutexGuard<'_, State>, IndexError> {
        let state = self.state();
        state.failure.clone().map_or(Ok(state), Err)
    }
}

impl Index for MemoryIndex {
    fn position(&self) -> Result<Position, IndexError> {
        Ok(self.working()?.now.position)
    }

    fn put(
        &self,
        rows: &mut dyn Iterator<Item = Row>,
        position: Position,
    ) -> Result<(), IndexError> {
        let mut state = self.working()?;
        let content = &mut state.now;
        for mut row in rows {
            let key = (row.tenant, row.id);
            if let Some(older) = content.rows.get(&key) {
                if older.seq > row.seq {
                    continue;
                }
                row.first = row.first.or(older.first);
                row.created_at = older.created_at;
            }
            content.rows.insert(key, row);
        }
        content.position = content.position.max(position);
        Ok(())
    }

    fn remove(
        &self,
        rows: &mut dyn Iterator<Item = (TenantId, InstanceId)>,
    ) -> Result<(), IndexError> {
        let mut state = self.working()?;
        rows.for_each(|key| drop(state.now.rows.remove(&key)));
        Ok(())
    }

    fn list(&self, ctx: &TenantCtx, query: &Query) -> Result<Vec<Row>, IndexError> {
        let state = self.working()?;
        let own = state.now.rows.values().rev().filter(|it| it.tenant == ctx.tenant());
        let found = own.filter(|it| query.takes(it)).take(query.limit);
        Ok(found.map(|it| Row { snapshot: None, ..it.clone() }).collect())
    }

    fn count(&self, ctx: &TenantCtx, query: &Query) -> Result<Vec<Count>, IndexError> {
        let state = self.working()?;
        let own = state.now.rows.values().filter(|it| it.tenant == ctx.tenant());
        Ok(count_rows(own.filter(|it| query.takes(it))))
    }

    fn get(&self, ctx: &TenantCtx, id: InstanceId) -> Result<Option<Row>, IndexError> {
        Ok(self.working()?.now.rows.get(&(ctx.tenant(), id)).cloned())
    }

    fn ids(
        &self,
        ctx: &TenantCtx,
        digits: &str,
        limit: usize,
    ) -> Result<Vec<InstanceId>, IndexError> {
        let digits = digits.to_ascii_lowercase();
        let state = self.working()?;
        let own = state.now.rows.keys().filter(|it| it.0 == ctx.tenant()).map(|it| it.1);
        let fits = |id: &InstanceId| {
            let text = id.0.simple().to_string();
            text.starts_with(&digits) || text.ends_with(&digits)
        };
        Ok(own.filter(fits).take(limit).collect())
    }

    fn sync(&self) -> Result<(), IndexError> {
        let mut state = self.working()?;
        state.durable = state.now.clone();
        Ok(())
    }

    fn clear(&self) -> Result<(), IndexError> {
        self.working()?.now = Content::default();
        Ok(())
    }
}
