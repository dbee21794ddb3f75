//! What is asked about instances: states, lists, ids.

use std::sync::PoisonError;

use traaviis_engine::Machine;
use traaviis_model::{InstanceId, Snapshot, TenantCtx, Timestamp, privacy::RedactionKey};
use traaviis_ports::{
    RedactionKeys as _,
    index::{Query, Row},
};
use traaviis_runtime::{Error, Filter, HotStats, Summary, tree::TreeStatus};

use super::{Data, refused, stopped};
use crate::exit::Failure;

/// Ids read from the index at once.
const IDS_PAGE: usize = 10_000;

impl Data {
    /// Returns the state of an instance, open or ended.
    pub fn state(&self, id: InstanceId) -> Result<Option<Snapshot>, Failure> {
        if let Some(error) = &*self.fatal.lock().unwrap_or_else(PoisonError::into_inner) {
            return Err(stopped(error));
        }
        let found = self.handle.get(&self.ctx, id).map_err(refused)?;
        Ok(found.map(|it| (*it).clone()))
    }

    /// Returns the state of an instance if it is at hand.
    pub fn snapshot(&self, id: InstanceId) -> Option<Snapshot> {
        self.state(id).ok().flatten()
    }

    /// Returns the key that redacts for a tenant, which is made when a machine needs it first.
    pub fn redaction_key(
        &self,
        ctx: &TenantCtx,
        machine: &Machine,
    ) -> Result<Option<RedactionKey>, Failure> {
        match machine.needs_key() {
            true => {
                let key = self.histories.keys.redaction_key(ctx);
                Ok(Some(key.map_err(|error| refused(Error::NoKey(error)))?))
            }
            false => Ok(None),
        }
    }

    /// Returns instances in short, the newest first.
    pub fn list(&self, filter: &Filter) -> Result<Vec<Summary>, Failure> {
        self.handle.list(&self.ctx, filter).map_err(refused)
    }

    /// Returns the open instances of a workflow, oldest first.
    pub fn open_instances(&self, workflow: &str) -> Vec<Snapshot> {
        let workflow = Some(workflow.into());
        let filter = Filter { ended: Some(false), workflow, ..Filter::default() };
        let mut open: Vec<Snapshot> = self
            .handle
            .list(&self.ctx, &filter)
            .unwrap_or_default()
            .iter()
            .filter_map(|it| self.snapshot(it.id))
            .collect();
        open.sort_by_key(|it| it.id);
        open
    }

    /// Returns a page of instances from the index.
    pub fn page(&self, query: &Query) -> Result<Vec<Row>, Failure> {
        let page = self.handle.page(&self.ctx, query);
        page.map_err(|error| refused(Error::Index(error)))
    }

    /// Returns the ids of all instances, from the index, page by page.
    pub fn all_ids(&self) -> Result<Vec<InstanceId>, Failure> {
        let mut ids: Vec<InstanceId> = Vec::new();
        loop {
            let query = Query { after: ids.last().copied(), limit: IDS_PAGE, ..Query::default() };
            let page = self.page(&query)?;
            ids.extend(page.iter().map(|it| it.id));
            if page.len() < IDS_PAGE {
                return Ok(ids);
            }
        }
    }

    /// Says how many states of open instances are in memory.
    pub fn memory(&self) -> Result<HotStats, Failure> {
        self.handle.memory().map_err(refused)
    }

    /// Says since when the oldest work of a tenant waits.
    pub fn oldest_work(&self, ctx: &TenantCtx) -> Result<Option<Timestamp>, Failure> {
        self.handle.oldest_work(ctx).map_err(refused)
    }

    /// Returns how the document tree stands, if one is kept.
    pub fn tree(&self) -> Option<TreeStatus> {
        self.handle.tree()
    }

    /// Says whether the index still follows the log, if there is one.
    pub fn has_index(&self) -> Option<bool> {
        self.handle.has_index()
    }
}
