//! Where the owners find what a child runs.

use std::sync::Arc;

use traaviis_engine::Machine;
use traaviis_model::TenantCtx;

/// Definitions by name.
pub trait Library: Send + Sync {
    /// Returns a workflow of the tenant, the newest that fits the range of versions; the error is
    /// one sentence for its author.
    fn find(
        &self,
        ctx: &TenantCtx,
        workflow: &str,
        version: Option<&str>,
    ) -> Result<Arc<Machine>, String>;
}

/// Knows nothing.
#[derive(Debug)]
pub struct NoLibrary;

impl Library for NoLibrary {
    fn find(&self, _: &TenantCtx, workflow: &str, _: Option<&str>) -> Result<Arc<Machine>, String> {
        Err(format!("there is no workflow `{workflow}`"))
    }
}
