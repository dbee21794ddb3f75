//! Appends with large values, on their way to the log.
//!
//! A large value is a file of its own, which must be durable before its record is written. Some
//! milliseconds that is, and whoever appends decides for many instances, so it is done by a thread
//! of its own, which hands each append on to the log once its values are durable.
//!
//! ```text
//! append -> has a large value, or its stream has one here -> this queue -> values durable -> log
//!        -> every other                                   ------------------------------> log
//! ```
//!
//! Invariants: appends of one stream reach the log in their order; one that waits here is handed on
//! or refused, also when the log is closed.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Condvar, Mutex},
    thread::{self, JoinHandle, ThreadId},
};

use traaviis_model::TenantId;
use traaviis_ports::{Append, CommitSink, LogError};

use super::{Shared, lock};
use crate::{
    blobs::{self, Blobs, Keeping},
    disk::OsDisk,
    line::StreamKey,
    log::Entry,
    reader::Reader,
};

/// Bytes that may wait here; bounds memory when the disk is slow. More callers wait their turn.
const LARGE_BYTES_MAX: usize = 16 << 20;

/// An append, and who is to be told.
pub(super) struct Waiting {
    pub tenant: TenantId,
    pub append: Append,
    pub sink: Arc<dyn CommitSink>,
    pub token: u64,
}

impl Waiting {
    fn key(&self) -> StreamKey {
        (self.tenant, self.append.stream)
    }
}

/// Appends that wait for their values.
#[derive(Default)]
pub(super) struct Large {
    queue: Mutex<Queue>,
    filled: Condvar,
    emptied: Condvar,
}

#[derive(Default)]
struct Queue {
    waiting: VecDeque<Waiting>,
    bytes: usize,
    /// Streams of which appends are here, the one that is worked on among them, and how many.
    streams: HashMap<StreamKey, u32>,
    is_closed: bool,
}

impl Large {
    /// Says whether an append has to go this way.
    pub(super) fn takes(&self, tenant: TenantId, append: &Append) -> bool {
        let is_large = blobs::may_be_large(&append.lines);
        is_large || lock(&self.queue).streams.contains_key(&(tenant, append.stream))
    }

    /// Takes an append, once what came before it in its stream is here or in the log's queue. On
    /// the thread `writer` of the log nothing waits for room.
    pub(super) fn put(&self, it: Waiting, reader: &Reader<OsDisk>, writer: ThreadId) {
        let mut queue = lock(&self.queue);
        while queue.bytes >= LARGE_BYTES_MAX && !queue.is_closed && writer != thread::current().id()
        {
            queue = self.emptied.wait(queue).unwrap_or_else(|it| it.into_inner());
        }
        if queue.is_closed {
            drop(queue);
            return refuse(&it, reader);
        }
        queue.bytes += it.append.lines.weight();
        *queue.streams.entry(it.key()).or_default() += 1;
        queue.waiting.push_back(it);
        drop(queue);
        self.filled.notify_one();
    }

    /// Says whether nothing is here, so that nobody need look at single appends.
    pub(super) fn is_empty(&self) -> bool {
        lock(&self.queue).streams.is_empty()
    }

    /// Takes nothing more; what waits is handed on.
    pub(super) fn close(&self) {
        lock(&self.queue).is_closed = true;
        self.filled.notify_all();
        self.emptied.notify_all();
    }

    fn next(&self) -> Option<Waiting> {
        let mut queue = lock(&self.queue);
        loop {
            if let Some(it) = queue.waiting.pop_front() {
                queue.bytes -= it.append.lines.weight().min(queue.bytes);
                drop(queue);
                self.emptied.notify_all();
                return Some(it);
            }
            if queue.is_closed {
                return None;
            }
            queue = self.filled.wait(queue).unwrap_or_else(|it| it.into_inner());
        }
    }

    /// Notes that an append of a stream is in the log's queue, or refused.
    fn passed(&self, key: StreamKey) {
        let mut queue = lock(&self.queue);
        if let Some(count) = queue.streams.get_mut(&key) {
            *count -= 1;
            if *count == 0 {
                queue.streams.remove(&key);
            }
        }
    }
}

/// The thread that makes values durable.
pub(super) struct Worker {
    pub large: Arc<Large>,
    pub shared: Arc<Shared>,
    pub blobs: Arc<Blobs<OsDisk>>,
    pub reader: Arc<Reader<OsDisk>>,
}

impl Worker {
    pub(super) fn spawn(self) -> std::io::Result<JoinHandle<()>> {
        thread::Builder::new().name("blob-writer".into()).spawn(|| self.run())
    }

    fn run(self) {
        while let Some(it) = self.large.next() {
            let key = it.key();
            self.hand_on(it);
            // Only now: what follows in the stream must not overtake it.
            self.large.passed(key);
        }
    }

    fn hand_on(&self, mut it: Waiting) {
        let kept = match self.blobs.take_from(it.tenant, &mut it.append) {
            Ok(kept) => kept,
            Err(error) => {
                if let LogError::Failed(why) = &error {
                    self.reader.fail(why.to_string());
                }
                return it.sink.committed(&mut std::iter::once((it.token, Err(error))));
            }
        };
        let Waiting { tenant, append, sink, token } = it;
        // Told by a sink of its own, which lets go of the blobs then.
        let keeping = kept.map(|it| Keeping::sink(&sink, it));
        let sink = keeping.as_ref().unwrap_or(&sink);
        let entry = Entry { tenant, append };
        let refused = self.shared.enqueue(std::iter::once((entry, token)), sink);
        super::refuse(&self.reader, refused, sink);
    }
}

impl Drop for Worker {
    /// Refuses what waits however the thread ends, so that nobody waits for ever.
    fn drop(&mut self) {
        if thread::panicking() {
            self.reader.fail("what writes large values panicked");
        }
        self.large.close();
        let waiting = std::mem::take(&mut lock(&self.large.queue).waiting);
        waiting.iter().for_each(|it| refuse(it, &self.reader));
    }
}

fn refuse(it: &Waiting, reader: &Reader<OsDisk>) {
    super::refuse(reader, vec![it.token], &it.sink);
}
