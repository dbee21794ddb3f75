//! What is durable, asked of memory, the projection or the log.

use std::{
    collections::BTreeMap,
    sync::{Arc, PoisonError},
};

use traaviis_model::{InstanceId, Seq, TenantCtx, TenantId, Text, Timestamp};
use traaviis_ports::{DocumentQuery, DocumentRow, LogStore, Position};

use super::{
    DRAFT, HEAVY, Ledger, Ledgers, VERSION,
    documents::{Document, Documents, Stored, Versioned},
    fresh::Fresh,
};
use crate::{audit, error::Error, tenant::Tenant};

/// Names of documents read at once.
const STORED_PAGE: usize = 1_000;

impl Ledgers {
    /// Returns the time.
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Returns what the wall clock shows.
    pub fn wall(&self) -> Timestamp {
        self.clock.wall()
    }

    /// Returns the tenants that have documents, but for those of which some are lost.
    pub fn tenants(&self) -> Vec<TenantId> {
        let ledgers = self.ledgers.read().unwrap_or_else(PoisonError::into_inner);
        ledgers.iter().filter(|it| it.1.gap.is_none()).map(|it| *it.0).collect()
    }

    /// Returns the tenants of whose documents some are lost, each with a sentence about it.
    pub fn lost(&self) -> Vec<(TenantId, String)> {
        let ledgers = self.ledgers.read().unwrap_or_else(PoisonError::into_inner);
        let of = |(tenant, ledger): (&TenantId, &Arc<Ledger>)| {
            Some((*tenant, ledger.gap?.refusal(&format!("tenant `{tenant}`")).message))
        };
        let mut lost: Vec<_> = ledgers.iter().filter_map(of).collect();
        lost.sort_unstable();
        lost
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
}
