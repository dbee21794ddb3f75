//! A connector that has refused targets noted in the audit trail of their tenant.

use std::sync::{Arc, OnceLock};

use serde_json::json;
use traaviis_model::{Call, CallId, DeliveryClass, TenantCtx, Value};
use traaviis_platform::{Platform, egress::RefusedTarget};
use traaviis_ports::{Connector, OnOutcome};

/// Makes calls, and notes those that the egress policy refuses.
pub struct RefusedTargets {
    inner: Arc<dyn Connector>,
    platform: Arc<OnceLock<Arc<Platform>>>,
}

impl RefusedTargets {
    /// Returns a connector that has them noted, once there is a platform.
    pub fn noted(inner: Arc<dyn Connector>) -> Arc<RefusedTargets> {
        Arc::new(RefusedTargets { inner, platform: Arc::default() })
    }

    /// Tells who keeps the trails, once the platform is open.
    pub fn serve(&self, platform: &Arc<Platform>) {
        // Called once.
        let _ = self.platform.set(Arc::clone(platform));
    }
}

impl Connector for RefusedTargets {
    fn perform(&self, ctx: &TenantCtx, call: Call, done: OnOutcome) {
        let (platform, tenant) = (Arc::clone(&self.platform), ctx.tenant());
        let CallId { instance, path, .. } = &call.id;
        // What tells webhooks is a call of no workflow.
        let by = match &*call.workflow {
            "" => json!({ "by": "webhook" }),
            workflow => json!({
                "by": "effect", "workflow": workflow, "instance": instance, "path": path,
                "kind": call.kind,
            }),
        };
        let told: OnOutcome = Box::new(move |outcome| {
            if let Err(error) = &outcome
                && &*error.code == "egress_denied"
                && let Some(platform) = platform.get()
            {
                let target = error.details.get("target").and_then(Value::as_str);
                let (target, at) = (target.unwrap_or_default(), platform.now());
                platform.note_refused_target(RefusedTarget { tenant, target, by, at });
            }
            done(outcome);
        });
        self.inner.perform(ctx, call, told);
    }

    fn abandon(&self, ctx: &TenantCtx, id: &CallId) {
        self.inner.abandon(ctx, id);
    }

    fn delivery_class(&self, ctx: &TenantCtx, kind: &str, input: &Value) -> DeliveryClass {
        self.inner.delivery_class(ctx, kind, input)
    }
}
