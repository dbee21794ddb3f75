//! A connector that does nothing, from a thread of its own, as fast as it can.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
        mpsc::{Sender, channel},
    },
    thread,
};

use traaviis_model::{Call, CallId, DeliveryClass, TenantCtx, Value};
use traaviis_ports::{Connector, OnOutcome};

/// Ends every call with null.
pub struct Nothing {
    calls: Mutex<Sender<OnOutcome>>,
    performed: Arc<AtomicU64>,
}

impl Nothing {
    /// Starts the thread.
    pub fn start() -> std::io::Result<Nothing> {
        let (calls, waiting) = channel::<OnOutcome>();
        let performed = Arc::new(AtomicU64::new(0));
        let counter = Arc::clone(&performed);
        thread::Builder::new().name("nothing".into()).spawn(move || {
            for done in waiting {
                counter.fetch_add(1, Ordering::Relaxed);
                done(Ok(Value::Null));
            }
        })?;
        Ok(Nothing { calls: Mutex::new(calls), performed })
    }

    /// Returns how many calls were made.
    pub fn performed(&self) -> u64 {
        self.performed.load(Ordering::Relaxed)
    }
}

impl Connector for Nothing {
    fn perform(&self, _: &TenantCtx, _: Call, done: OnOutcome) {
        let calls = self.calls.lock().unwrap_or_else(PoisonError::into_inner);
        // The thread lives as long as the sender.
        let _ = calls.send(done);
    }

    fn abandon(&self, _: &TenantCtx, _: &CallId) {}

    fn delivery_class(&self, _: &TenantCtx, _: &str, _: &Value) -> DeliveryClass {
        DeliveryClass::SafeRead
    }
}
