//! What all requests share.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use ipnet::IpNet;
use traaviis_model::Timestamp;
use traaviis_platform::{
    Error, Platform,
    engine::{Component, Engine},
};

use crate::{
    followers::Followers,
    host::Known,
    idempotency::Answers,
    limits::{Attempts, Limits},
    looked::Looked,
    metrics::Metrics,
    operate::Operations,
    socket::{hub::Hub, limits::SocketLimits},
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
    /// Limits of sockets.
    pub(crate) sockets: SocketLimits,
    /// Numbers about requests and sockets.
    pub metrics: Metrics,
    pub(crate) operations: Operations,
    /// How many requests somebody may make.
    pub limits: Limits,
    /// Networks of proxies that are believed where a request comes from.
    pub(crate) proxies: Vec<IpNet>,
    /// By which names it is called.
    pub(crate) own_host: Known,
    /// People reach it over TLS.
    pub(crate) is_secure: bool,
    pub(crate) followers: Arc<Followers>,
    pub(crate) looked: Arc<Looked>,
    /// Requests that wait for what follows an event.
    pub(crate) waits: Arc<AtomicUsize>,
    /// Streams that are open.
    pub(crate) streams: Arc<AtomicUsize>,
    /// When it began.
    pub(crate) begun_at: Timestamp,
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
            begun_at: platform.now(),
            platform,
            engine,
            version,
            tell,
            answers: Answers::default(),
            tickets: Tickets::default(),
            hub: Arc::default(),
            sockets: SocketLimits::default(),
            metrics: Metrics::default(),
            operations: Operations::default(),
            limits: Limits::new(Attempts::STRICT),
            proxies: Vec::new(),
            own_host: Known::Any,
            is_secure: false,
            followers: Arc::default(),
            looked: Arc::default(),
            waits: Arc::default(),
            streams: Arc::default(),
        }
    }

    /// Returns the same with what operators add.
    pub fn operated(self, operations: Operations) -> App {
        App { operations, ..self }
    }

    /// Returns it with other limits of attempts.
    #[must_use]
    pub fn with_limits(self, attempts: Attempts) -> App {
        App { limits: Limits::new(attempts), ..self }
    }

    /// Returns it with other limits of sockets.
    #[must_use]
    pub fn with_sockets(self, sockets: SocketLimits) -> App {
        App { sockets, ..self }
    }

    /// Returns it as one that believes proxies in these networks where a request comes from.
    #[must_use]
    pub fn behind(self, proxies: Vec<IpNet>) -> App {
        App { proxies, ..self }
    }

    /// Returns it as one that is called as this address says, and answers to no other name.
    #[must_use]
    pub fn called(self, base_url: Option<&str>) -> App {
        let is_secure = base_url.is_some_and(|it| it.starts_with("https://"));
        App { own_host: base_url.map_or(Known::Any, Known::of), is_secure, ..self }
    }
}

/// Requests that wait at once: none holds a thread, each a connection and a short queue, and two
/// fifths of the connections are enough for those who wait.
pub const WAITS_MAX: usize = 4_096;
/// Streams at once: each holds a connection and at most 64 KiB that its reader has not taken.
pub const STREAMS_MAX: usize = 1_024;

/// The right to wait, or to hold a stream.
#[derive(Debug)]
pub(crate) struct Turn(Arc<AtomicUsize>);

impl Turn {
    fn take(taken: &Arc<AtomicUsize>, max: usize, refusal: &str) -> Result<Turn, Error> {
        // Given back when it is dropped, also where it is refused.
        let turn = Turn(Arc::clone(taken));
        match taken.fetch_add(1, Ordering::SeqCst) < max {
            true => Ok(turn),
            false => Err(Error::new("busy", format!("{max} {refusal}"))),
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl App {
    /// Says how the parts of the process stand; it may wait for them.
    pub(crate) fn components(&self) -> Vec<Component> {
        let mut parts = self.engine.components();
        parts.extend(self.platform.components());
        parts
    }

    /// Lets a request wait, unless too many do.
    pub(crate) fn wait(&self) -> Result<Turn, Error> {
        Turn::take(&self.waits, WAITS_MAX, "requests wait already; ask without `wait`")
    }

    /// Lets a request hold a stream, unless too many do.
    pub(crate) fn stream(&self) -> Result<Turn, Error> {
        Turn::take(&self.streams, STREAMS_MAX, "streams are open already; try again later")
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
    fn so_many_take_a_turn_and_no_more_until_one_is_done() {
        let taken = Arc::default();
        let take = || Turn::take(&taken, 3, "wait");
        let mut all: Vec<Turn> = (0..3).map(|_| take().unwrap()).collect();
        for _ in 0..2 {
            assert_eq!(take().unwrap_err().code, "busy");
        }
        all.pop();
        assert!(take().is_ok());
        drop(all);
        assert_eq!(taken.load(Ordering::SeqCst), 0);
    }
}
