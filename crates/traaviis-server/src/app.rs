//! What all requests share.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use ipnet::IpNet;
use traaviis_platform::{Error, Platform, engine::Engine};

use crate::{
    idempotency::Answers,
    limits::{Limits, Strictness},
    metrics::Metrics,
    operate::Operations,
    socket::hub::Hub,
    tickets::Tickets,
};

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
    pub(crate) operations: Operations,
    /// How many requests somebody may make.
    pub limits: Limits,
    /// Networks of proxies that are believed where a request comes from.
    pub(crate) proxies: Vec<IpNet>,
    /// Requests that wait for what follows an event; each holds a thread.
    pub(crate) waits: Arc<AtomicUsize>,
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
            operations: Operations::default(),
            limits: Limits::new(Strictness::Strict),
            proxies: Vec::new(),
            waits: Arc::default(),
        }
    }

    /// Returns the same with what operators add.
    pub fn operated(self, operations: Operations) -> App {
        App { operations, ..self }
    }

    /// Returns it with other limits of attempts.
    #[must_use]
    pub fn with_limits(self, strictness: Strictness) -> App {
        App { limits: Limits::new(strictness), ..self }
    }

    /// Returns it as one that believes proxies in these networks where a request comes from.
    #[must_use]
    pub fn behind(self, proxies: Vec<IpNet>) -> App {
        App { proxies, ..self }
    }
}

/// Requests that wait at once: a quarter of the threads that requests have, so that those who wait
/// keep nobody else from being answered.
pub const WAITS_MAX: usize = 128;

/// The right to wait.
#[derive(Debug)]
pub(crate) struct Waits(Arc<AtomicUsize>);

impl Waits {
    fn take(waiting: &Arc<AtomicUsize>) -> Result<Waits, Error> {
        // Given back when it is dropped, also where it is refused.
        let waits = Waits(Arc::clone(waiting));
        match waiting.fetch_add(1, Ordering::SeqCst) < WAITS_MAX {
            true => Ok(waits),
            false => {
                let message = format!("{WAITS_MAX} requests wait already; ask without `wait`");
                Err(Error::new("busy", message))
            }
        }
    }
}

impl Drop for Waits {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl App {
    /// Lets a request wait, unless too many do.
    pub(crate) fn wait(&self) -> Result<Waits, Error> {
        Waits::take(&self.waits)
    }
}

impl fmt::Debug for App {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("App").field("version", &self.version).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_wait_and_no_more_until_one_is_done() {
        let waiting = Arc::default();
        let mut all: Vec<Waits> = (0..WAITS_MAX).map(|_| Waits::take(&waiting).unwrap()).collect();
        for _ in 0..2 {
            assert_eq!(Waits::take(&waiting).unwrap_err().code, "busy");
        }
        all.pop();
        assert!(Waits::take(&waiting).is_ok());
        drop(all);
        assert_eq!(waiting.load(Ordering::SeqCst), 0);
    }
}
