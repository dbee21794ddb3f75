//! Documents in memory: what a document store promises, without a database; and what they promise.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use traaviis_model::{TenantCtx, TenantId, Text};
use traaviis_ports::{DocumentError, DocumentQuery, DocumentRow, DocumentStore, Position};

/// The documents.
#[derive(Debug, Default)]
pub struct MemoryDocuments {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    rows: BTreeMap<(TenantId, Text, Text), DocumentRow>,
    position: Position,
    failure: Option<DocumentError>,
}

impl MemoryDocuments {
    /// Fails every later call in this way, or no more.
    pub fn fail(&self, failure: Option<DocumentError>) {
        self.state().failure = failure;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn working(&self) -> Result<MutexGuard<'_, State>, DocumentError> {
        let state = self.state();
        state.failure.clone().map_or(Ok(state), Err)
    }
}

impl DocumentStore for MemoryDocuments {
    fn position(&self) -> Result<Position, DocumentError> {
        Ok(self.working()?.position)
    }

    fn put(&self, rows: &[DocumentRow], position: Position) -> Result<(), DocumentError> {
        let mut state = self.working()?;
        for row in rows {
            let key = (row.tenant, row.kind.clone(), row.id.clone());
            if state.rows.get(&key).is_none_or(|it| it.version <= row.version) {
                state.rows.insert(key, row.clone());
            }
        }
        state.position = state.position.max(position);
        Ok(())
    }

    fn get(
        &self,
        ctx: &TenantCtx,
        kind: &str,
        id: &str,
    ) -> Result<Option<DocumentRow>, DocumentError> {
        let state = self.working()?;
        let found = state.rows.get(&(ctx.tenant(), kind.into(), id.into()));
        Ok(found.filter(|it| it.body.is_some()).cloned())
    }

    fn list(
        &self,
        ctx: &TenantCtx,
        query: &DocumentQuery<'_>,
    ) -> Result<Vec<DocumentRow>, DocumentError> {
        let state = self.working()?;
        let takes = |row: &&DocumentRow| {
            let is_behind = query.after.is_none_or(|after| match query.descending {
                true => *row.id < *after,
                false => *row.id > *after,
            });
            row.tenant == ctx.tenant()
                && *row.kind == *query.kind
                && row.body.is_some()
                && row.id.starts_with(query.prefix)
                && is_behind
        };
        let mut found: Vec<DocumentRow> = state.rows.values().filter(takes).cloned().collect();
        if query.descending {
            found.reverse();
        }
        found.truncate(query.limit);
        Ok(found)
    }

    fn forget(&self, ctx: &TenantCtx, kind: &str, before: &str) -> Result<(), DocumentError> {
        let mut state = self.working()?;
        let is_kept = |(tenant, of, id): &(TenantId, Text, Text)| {
            *tenant != ctx.tenant() || **of != *kind || **id >= *before
        };
        state.rows.retain(|key, _| is_kept(key));
        Ok(())
    }

    fn visit(&self, but: &[&str], visit: &mut dyn FnMut(DocumentRow)) -> Result<(), DocumentError> {
        let state = self.working()?;
        state.rows.values().filter(|it| !but.contains(&&*it.kind)).cloned().for_each(visit);
        Ok(())
    }

    fn clear(&self) -> Result<(), DocumentError> {
        *self.state() = State::default();
        Ok(())
    }
}

/// Checks an empty store against everything that the port promises.
pub fn check(store: &dyn DocumentStore) {
    let (ctx, other) = (TenantCtx::for_test(1), TenantCtx::for_test(2));
    let row = |ctx: &TenantCtx, kind: &str, id: &str, version, body: Option<&str>| DocumentRow {
        tenant: ctx.tenant(),
        kind: kind.into(),
        id: id.into(),
        version,
        body: body.map(|it| it.as_bytes().to_vec()),
    };
    assert_eq!(store.position(), Ok(0));
    let rows = ["a", "b", "ba", "bb", "c"]
        .map(|id| row(&ctx, "note", id, 1, Some(&format!("\"{id}\""))))
        .into_iter()
        .chain([row(&other, "note", "a", 9, Some("1")), row(&ctx, "audit", "a", 2, Some("2"))])
        .collect::<Vec<_>>();
    store.put(&rows, 10).unwrap();
    assert_eq!(store.position(), Ok(10));
    assert_eq!(store.get(&ctx, "note", "b").unwrap(), Some(rows[1].clone()));
    assert_eq!(store.get(&other, "note", "b"), Ok(None), "another tenant's looks absent");

    let older = row(&ctx, "note", "b", 0, Some("0"));
    store.put(&[older], 5).unwrap();
    assert_eq!(store.position(), Ok(10), "no way back");
    assert_eq!(store.get(&ctx, "note", "b").unwrap().unwrap().version, 1);
    store.put(&[row(&ctx, "note", "b", 3, None)], 11).unwrap();
    assert_eq!(store.get(&ctx, "note", "b"), Ok(None), "removed");
    store.put(&[row(&ctx, "note", "b", 1, Some("1"))], 11).unwrap();
    assert_eq!(store.get(&ctx, "note", "b"), Ok(None), "and an older version comes too late");

    let query =
        DocumentQuery { kind: "note", prefix: "", after: None, descending: false, limit: 9 };
    let ids = |query: &DocumentQuery<'_>| {
        let found = store.list(&ctx, query).unwrap();
        found.iter().map(|it| it.id.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(ids(&query), ["a", "ba", "bb", "c"]);
    assert_eq!(ids(&DocumentQuery { prefix: "b", ..query.clone() }), ["ba", "bb"]);
    assert_eq!(ids(&DocumentQuery { after: Some("ba"), limit: 1, ..query.clone() }), ["bb"]);
    let down = DocumentQuery { descending: true, ..query };
    assert_eq!(ids(&down), ["c", "bb", "ba", "a"]);
    assert_eq!(ids(&DocumentQuery { after: Some("bb"), ..down }), ["ba", "a"]);

    let old = [row(&ctx, "old", "1", 1, Some("1")), row(&ctx, "old", "2", 1, Some("2"))];
    store.put(&[old.as_slice(), &[row(&other, "old", "1", 1, Some("1"))]].concat(), 12).unwrap();
    store.forget(&ctx, "old", "2").unwrap();
    assert_eq!(store.get(&ctx, "old", "1"), Ok(None));
    assert_eq!(store.get(&ctx, "old", "2"), Ok(Some(old[1].clone())));
    assert!(store.get(&other, "old", "1").unwrap().is_some(), "another tenant's stays");
    store.forget(&ctx, "old", "3").unwrap();
    store.forget(&other, "old", "3").unwrap();

    let mut visited = 0;
    store.visit(&["audit"], &mut |it| visited += usize::from(it.body.is_some())).unwrap();
    assert_eq!(visited, 5);
    store.clear().unwrap();
    assert_eq!(store.position(), Ok(0));
    assert!(ids(&down).is_empty());
}

#[cfg(test)]
mod tests {
    #[test]
    fn documents_in_memory_keep_what_the_port_promises() {
        super::check(&super::MemoryDocuments::default());
    }
}
