//! What calls have sent, counted as egress of their tenant.

use std::sync::{Arc, OnceLock};

use traaviis_connect::OnSent;
use traaviis_model::TenantId;
use traaviis_platform::Platform;

/// Has bytes counted, once there is a platform; those that go out before are few.
#[derive(Debug, Default)]
pub struct SentBytes {
    platform: OnceLock<Arc<Platform>>,
}

impl SentBytes {
    /// Tells who counts, once the platform is open.
    pub fn serve(&self, platform: &Arc<Platform>) {
        // Called once.
        let _ = self.platform.set(Arc::clone(platform));
    }
}

impl OnSent for SentBytes {
    fn sent(&self, tenant: TenantId, bytes: u64) {
        if let Some(platform) = self.platform.get() {
            platform.count_sent(tenant, bytes);
        }
    }
}
