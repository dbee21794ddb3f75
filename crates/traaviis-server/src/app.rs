//! What all requests share.

use std::{fmt, sync::Arc};

use traaviis_platform::{Platform, engine::Engine};

use crate::{idempotency::Answers, metrics::Metrics, socket::hub::Hub, tickets::Tickets};

/// What all requests share.
pub struct App {
    /// Use cases.
    pub platform: Arc<Platform>,
    /// What runs instances.
    pub engine: Arc<dyn Engine>,
    /// Release.
    pub version: &'static str,
    /// Told what an operator should know, in a line.
    pub tell: fn(&str),
    pub(crate) answers: Answers,
    pub(crate) tickets: Tickets,
    pub(crate) hub: Arc<Hub>,
    pub(crate) metrics: Metrics,
}

impl App {
    /// Returns what all requests share.
    pub fn new(
        platform: Arc<Platform>,
        engine: Arc<dyn Engine>,
        version: &'static str,
        tell: fn(&str),
    ) -> App {
        App {
            platform,
            engine,
            version,
            tell,
            answers: Answers::default(),
            tickets: Tickets::default(),
            hub: Arc::default(),
            metrics: Metrics::default(),
        }
    }
}

impl fmt::Debug for App {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("App").field("version", &self.version).finish_non_exhaustive()
    }
}
