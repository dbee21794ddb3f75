//! The log of a data directory behind the [`LogStore`] port.
//!
//! One thread writes. It takes everything that waits, commits it in groups, tells the sinks, and
//! only then moves the tail. Nothing is delayed to make groups larger: while one group is synced
//! the next one gathers. Large values are made durable by a second thread before the writer sees
//! their records ([`large`]). Reading happens on the callers' threads, beside the writer.
//!
//! Invariant: outcomes are told in the order of the log, which is that of the appends of one
//! stream, and of all appends of a sink but those behind large values; each exactly once.

mod large;

use std::{
    collections::BTreeSet,
    ops::Range,
    path::Path,
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    thread::{self, JoinHandle, ThreadId},
    time::{Duration, Instant},
};

use traaviis_model::{
    InstanceId, Seq, TenantCtx, TenantId,
    limits::{GROUP_BYTES_MAX, GROUP_RECORDS_MAX, PART_BYTES_MAX},
    record::peek_line,
};
use traaviis_ports::{
    Append, Archive, Commit, CommitSink, Compacted, Compaction, Line, LogError, LogStore, Part,
    Position, archive::Mode,
};

use large::{Large, Waiting as WaitingForValues, Worker};

use crate::{
    archive::{self, FileArchive},
    blobs, compact,
    disk::OsDisk,
    error::io_error,
    lock::DirLock,
    log::{Durability, Entry, LogCore, Options, Recovery, Written},
    reader::{EVERYWHERE, Reader, SegmentInfo},
    scrub::{self, Scrubbed},
    walk::{self, Damage},
};

/// Appends that may wait; as many as the groups of a second. More callers wait their turn.
const WAITING_APPENDS_MAX: usize = 65_536;
/// Bytes that may wait; bounds memory when the disk is slow.
const WAITING_BYTES_MAX: usize = 64 << 20;
/// How long `Durability::Relaxed` may leave a write without its sync.
const RELAXED_SYNC_EVERY: Duration = Duration::from_millis(50);

/// The commit log of one data directory, held for this process.
pub struct LocalLog {
    shared: Arc<Shared>,
    core: Arc<Mutex<LogCore<OsDisk>>>,
    reader: Arc<Reader<OsDisk>>,
    archive: FileArchive<OsDisk>,
    writer: Mutex<Option<JoinHandle<()>>>,
    writer_id: ThreadId,
    large: Arc<Large>,
    blob_writer: Mutex<Option<JoinHandle<()>>>,
    durability: Durability,
    written: Arc<Written>,
}

struct Shared {
    queue: Mutex<Queue>,
    /// The writer waits here for appends.
    filled: Condvar,
    /// Callers wait here for room.
    emptied: Condvar,
    tail: AtomicU64,
}

#[derive(Default)]
struct Queue {
    waiting: Waiting,
    is_writer_idle: bool,
    callers_blocked: usize,
    is_closed: bool,
    writer: Option<ThreadId>,
}

/// Appends and who is to be told, side by side.
#[derive(Default)]
struct Waiting {
    entries: Vec<Entry>,
    tickets: Vec<Ticket>,
    bytes: usize,
}

type Ticket = (Arc<dyn CommitSink>, u64);

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl LocalLog {
    /// Takes the data directory, recovers its log and starts the writer.
    pub fn open(data: &Path, options: Options) -> Result<(Arc<LocalLog>, Recovery), LogError> {
        let dir_lock = DirLock::take(data)?;
        let (core, recovery) = LogCore::open(OsDisk, data, options)?;
        let (reader, written) = (core.reader(), core.written());
        let shared = Arc::new(Shared {
            queue: Mutex::default(),
            filled: Condvar::new(),
            emptied: Condvar::new(),
            tail: AtomicU64::new(core.tail()),
        });
        let (archive, large) = (FileArchive::new(OsDisk, data), Arc::<Large>::default());
        let blob_writer = Worker {
            large: large.clone(),
            shared: shared.clone(),
            blobs: archive.blobs().clone(),
            reader: reader.clone(),
        };
        let not_begun = |error| io_error("start the writer of", data, error);
        let blob_writer = blob_writer.spawn().map_err(not_begun)?;
        let core = Arc::new(Mutex::new(core));
        let writer = Writer {
            shared: shared.clone(),
            core: core.clone(),
            reader: reader.clone(),
            outcomes: Vec::new(),
            _dir_lock: dir_lock,
        };
        let spawned = thread::Builder::new().name("log-writer".into()).spawn(|| writer.run());
        let thread = spawned.map_err(not_begun).inspect_err(|_| large.close())?;
        lock(&shared.queue).writer = Some(thread.thread().id());
        let durability = options.durability;
        let writer_id = thread.thread().id();
        let (writer, blob_writer) = (Mutex::new(Some(thread)), Mutex::new(Some(blob_writer)));
        let log = LocalLog {
            shared,
            core,
            reader,
            archive,
            writer,
            writer_id,
            large,
            blob_writer,
            durability,
            written,
        };
        Ok((Arc::new(log), recovery))
    }

    /// Returns what was written since it was opened.
    pub fn written(&self) -> &Written {
        &self.written
    }

    /// Returns the segments, the oldest first; the last is the one that is written.
    pub fn segments(&self) -> Result<Vec<SegmentInfo>, LogError> {
        self.reader.segment_infos()
    }

    /// Counts the lines of a part of the log, with how many bytes each has before it is packed.
    pub fn weigh(
        &self,
        within: Range<Position>,
        add: &mut dyn FnMut(TenantId, u64),
    ) -> Result<(), LogError> {
        self.reader.scan_while(within.start, &mut |line| {
            let is_in = line.position < within.end;
            if let (true, Ok(key)) = (is_in, peek_line(line.bytes)) {
                // Each ends with a newline.
                add(key.tenant_id, line.bytes.len() as u64 + 1);
            }
            is_in
        })
    }

    /// Returns the tenants of whom large values or archive files came or went since this was
    /// called last.
    pub fn take_changed_files(&self) -> BTreeSet<TenantId> {
        self.archive.blobs().take_changed()
    }

    /// Commits what waits, ends the writer and lets go of the directory. Later appends are refused.
    pub fn close(&self) {
        // First what waits for its values, which still has to reach the log.
        self.large.close();
        end(lock(&self.blob_writer).take());
        lock(&self.shared.queue).is_closed = true;
        self.shared.filled.notify_all();
        self.shared.emptied.notify_all();
        end(lock(&self.writer).take());
    }

    /// Returns why the log stopped, if it did; the process must then end.
    pub fn failed(&self) -> Option<Arc<str>> {
        self.reader.failed()
    }

    /// Says whether the last write found no space; the next one tries again.
    pub fn is_full(&self) -> bool {
        self.reader.is_full()
    }

    /// Notes that records were there before the end of this log, as something beside it shows.
    pub fn note_shortened(&self, to: Position, what: &str) {
        let from = self.shared.tail.load(Ordering::Acquire);
        if from < to {
            let why = format!("the log ends before {what}");
            self.reader.note_shortened(from..to, why);
        }
    }

    /// Reads everything that rests and says what is damaged; nothing when `pace`, which is told how
    /// many bytes were read, wants no more.
    pub fn scrub(&self, pace: &mut dyn FnMut(u64) -> bool) -> Result<Option<Scrubbed>, LogError> {
        scrub::scrub(&self.reader, &self.archive, pace)
    }

    /// Returns the damage met so far, at opening and in reading since.
    pub fn damage(&self) -> Vec<Damage> {
        self.reader.damage()
    }

    /// Returns the streams of which records are lost, as far as they can be told.
    pub fn damaged_streams(&self) -> Vec<(TenantId, InstanceId)> {
        self.reader.damaged_streams()
    }

    /// Puts appends into the queue of the writer; a closed log refuses them.
    fn enqueue(&self, appends: impl IntoIterator<Item = (Entry, u64)>, sink: &Arc<dyn CommitSink>) {
        let refused = self.shared.enqueue(appends.into_iter(), sink);
        refuse(&self.reader, refused, sink);
    }
}

impl Drop for LocalLog {
    fn drop(&mut self) {
        self.close();
    }
}

impl Shared {
    /// Puts appends into the queue, waiting for room; gives back what a closed log does not take.
    fn enqueue(
        &self,
        appends: impl Iterator<Item = (Entry, u64)>,
        sink: &Arc<dyn CommitSink>,
    ) -> Vec<u64> {
        let mut refused = Vec::new();
        let mut queue = lock(&self.queue);
        for (entry, token) in appends {
            while queue.is_full()
                && !queue.is_closed
                && queue.writer != Some(thread::current().id())
            {
                if queue.take_wake() {
                    self.filled.notify_one();
                }
                queue.callers_blocked += 1;
                let waited = self.emptied.wait(queue);
                queue = waited.unwrap_or_else(PoisonError::into_inner);
                queue.callers_blocked -= 1;
            }
            if queue.is_closed {
                refused.push(token);
                continue;
            }
            queue.waiting.bytes += entry.append.lines.weight();
            queue.waiting.entries.push(entry);
            queue.waiting.tickets.push((sink.clone(), token));
        }
        let wakes = queue.take_wake();
        drop(queue);
        if wakes {
            self.filled.notify_one();
        }
        refused
    }
}

/// Tells that appends are refused by a log that is closed or has failed.
fn refuse(reader: &Reader<OsDisk>, tokens: Vec<u64>, sink: &Arc<dyn CommitSink>) {
    if tokens.is_empty() {
        return;
    }
    let why = reader.failed().unwrap_or_else(|| "it is closed".into());
    let refused = |token| (token, Err(LogError::Failed(why.clone())));
    sink.committed(&mut tokens.into_iter().map(refused));
}

/// Waits for a thread to end. The last handle may be dropped by a sink, on that very thread.
fn end(thread: Option<JoinHandle<()>>) {
    if let Some(thread) = thread
        && thread.thread().id() != thread::current().id()
    {
        // One that panicked has closed its queue; there is nobody left to tell.
        let _ = thread.join();
    }
}

impl Queue {
    /// Says whether the writer sleeps while something waits. One wake-up is enough; the flag is
    /// lowered so that others in this group make none.
    fn take_wake(&mut self) -> bool {
        !self.waiting.entries.is_empty() && std::mem::take(&mut self.is_writer_idle)
    }

    fn is_full(&self) -> bool {
        self.waiting.entries.len() >= WAITING_APPENDS_MAX || self.waiting.bytes >= WAITING_BYTES_MAX
    }
}

impl LogStore for LocalLog {
    fn append(&self, ctx: &TenantCtx, append: Append, sink: &Arc<dyn CommitSink>, token: u64) {
        let tenant = ctx.tenant();
        if self.large.takes(tenant, &append) {
            let it = WaitingForValues { tenant, append, sink: Arc::clone(sink), token };
            return self.large.put(it, &self.reader, self.writer_id);
        }
        self.enqueue(std::iter::once((Entry { tenant, append }, token)), sink);
    }

    fn append_all(&self, appends: &mut Vec<(TenantCtx, Append, u64)>, sink: &Arc<dyn CommitSink>) {
        type Offered = (TenantCtx, Append, u64);
        let plain = |(ctx, append, token): Offered| (Entry { tenant: ctx.tenant(), append }, token);
        if self.large.is_empty() && !appends.iter().any(|it| blobs::may_be_large(&it.1.lines)) {
            return self.enqueue(appends.drain(..).map(plain), sink);
        }
        let mut before = Vec::new();
        for (ctx, append, token) in appends.drain(..) {
            let tenant = ctx.tenant();
            if !self.large.takes(tenant, &append) {
                before.push((Entry { tenant, append }, token));
                continue;
            }
            // It must not overtake what comes before it in its stream.
            self.enqueue(std::mem::take(&mut before), sink);
            let it = WaitingForValues { tenant, append, sink: Arc::clone(sink), token };
            self.large.put(it, &self.reader, self.writer_id);
        }
        self.enqueue(before, sink);
    }

    fn read(
        &self,
        ctx: &TenantCtx,
        stream: InstanceId,
        from: Seq,
        limit: usize,
    ) -> Result<Vec<Vec<u8>>, LogError> {
        let everything = (EVERYWHERE, usize::MAX);
        let part =
            archive::part(&self.archive, &self.reader, ctx, stream, (from, limit), everything)?;
        Ok(part.lines)
    }

    fn read_within(
        &self,
        ctx: &TenantCtx,
        stream: InstanceId,
        from: Seq,
        limit: usize,
        within: Range<Position>,
    ) -> Result<Part, LogError> {
        let within = (within, PART_BYTES_MAX);
        archive::part(&self.archive, &self.reader, ctx, stream, (from, limit), within)
    }

    fn scan(&self, from: Position, visit: &mut dyn FnMut(Line<'_>)) -> Result<Position, LogError> {
        blobs::scan(self.archive.blobs(), &self.reader, from, visit)
    }

    fn scan_while(
        &self,
        from: Position,
        visit: &mut dyn FnMut(Line<'_>) -> bool,
    ) -> Result<(), LogError> {
        blobs::scan_while(self.archive.blobs(), &self.reader, from, visit)
    }

    fn compact(&self, compaction: &mut Compaction<'_>) -> Result<Compacted, LogError> {
        if let Some(why) = self.failed() {
            return Err(LogError::Failed(why));
        }
        let done = compact::compact(&self.reader, &self.archive, compaction)?;
        if compaction.mode == Mode::Write {
            blobs::sweep(&self.archive, &self.reader, compaction.pace)?;
        }
        Ok(done)
    }

    fn archive(&self) -> Option<&dyn Archive> {
        Some(&self.archive)
    }

    fn tail(&self) -> Position {
        self.shared.tail.load(Ordering::Acquire)
    }

    fn lost(&self) -> Vec<Range<Position>> {
        walk::lost(self.reader.damage())
    }

    fn seed(&self, streams: &mut dyn Iterator<Item = (TenantId, InstanceId, Seq)>) {
        lock(&self.core).seed(streams);
    }

    fn sync(&self) -> Result<(), LogError> {
        match self.durability {
            Durability::Relaxed => lock(&self.core).sync(),
            Durability::Commit => Ok(()),
        }
    }

    fn put_checkpoint(&self, position: Position, body: &[u8]) -> Result<(), LogError> {
        // A checkpoint must not outlive what it stands on.
        self.sync()?;
        self.reader.put_checkpoint(position, body)
    }

    fn checkpoint(&self) -> Result<Option<(Position, Vec<u8>)>, LogError> {
        self.reader.checkpoint()
    }
}

/// The thread that writes.
struct Writer {
    shared: Arc<Shared>,
    core: Arc<Mutex<LogCore<OsDisk>>>,
    reader: Arc<Reader<OsDisk>>,
    outcomes: Vec<Commit>,
    /// Held until the last write is done, whoever still has a handle.
    _dir_lock: DirLock,
}

impl Writer {
    fn run(mut self) {
        let mut taken = Waiting::default();
        let mut sync_due = None;
        while self.take(&mut taken, &mut sync_due) {
            let Waiting { entries, tickets, bytes } = &mut taken;
            let mut rest = (entries.as_mut_slice(), tickets.as_slice());
            while !rest.0.is_empty() {
                let count = group_len(rest.0);
                let (entries, entries_left) = rest.0.split_at_mut(count);
                let (tickets, tickets_left) = rest.1.split_at(entries.len());
                self.commit(entries, tickets, &mut sync_due);
                entries.iter_mut().for_each(|it| it.append.lines.clear());
                rest = (entries_left, tickets_left);
            }
            entries.clear();
            tickets.clear();
            *bytes = 0;
        }
        // A failure here has nobody to be told to: relaxed outcomes were told before.
        let _ = lock(&self.core).sync();
    }

    /// Takes all that waits, and waits while nothing does; says whether there is anything to do.
    fn take(&self, taken: &mut Waiting, sync_due: &mut Option<Instant>) -> bool {
        let mut queue = lock(&self.shared.queue);
        loop {
            if !queue.waiting.entries.is_empty() {
                std::mem::swap(&mut queue.waiting, taken);
                if queue.callers_blocked > 0 {
                    self.shared.emptied.notify_all();
                }
                return true;
            }
            if queue.is_closed {
                return false;
            }
            queue.is_writer_idle = true;
            let Some(due) = *sync_due else {
                let waited = self.shared.filled.wait(queue);
                queue = waited.unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            let left = due.saturating_duration_since(Instant::now());
            let waited = self.shared.filled.wait_timeout(queue, left);
            queue = waited.unwrap_or_else(PoisonError::into_inner).0;
            if queue.waiting.entries.is_empty() && due <= Instant::now() {
                drop(queue);
                self.sync(sync_due);
                queue = lock(&self.shared.queue);
            }
        }
    }

    fn sync(&self, sync_due: &mut Option<Instant>) {
        // The failure is kept by the log and answers every later append.
        let _ = lock(&self.core).sync();
        *sync_due = None;
    }

    fn commit(&mut self, entries: &[Entry], tickets: &[Ticket], sync_due: &mut Option<Instant>) {
        let mut core = lock(&self.core);
        core.commit(entries, &mut self.outcomes);
        let tail = core.tail();
        let is_unsynced = core.is_unsynced();
        drop(core);
        self.tell(tickets);
        self.shared.tail.store(tail, Ordering::Release);
        if is_unsynced {
            let due = *sync_due.get_or_insert_with(|| Instant::now() + RELAXED_SYNC_EVERY);
            if due <= Instant::now() {
                self.sync(sync_due);
            }
        }
    }

    /// Tells outcomes, one call for each run of the same sink.
    fn tell(&mut self, tickets: &[Ticket]) {
        let mut outcomes = self.outcomes.drain(..);
        for run in tickets.chunk_by(|a, b| Arc::ptr_eq(&a.0, &b.0)) {
            let mut told = run.iter().map(|(_, token)| *token).zip(outcomes.by_ref());
            run[0].0.committed(&mut told);
            // A sink that stops early must not shift the others' outcomes.
            told.for_each(drop);
        }
    }
}

impl Drop for Writer {
    /// Refuses further appends however the thread ends, so that nobody waits for ever.
    fn drop(&mut self) {
        if thread::panicking() {
            self.reader.fail("its writer panicked");
        }
        let mut queue = lock(&self.shared.queue);
        queue.is_closed = true;
        self.shared.emptied.notify_all();
    }
}

/// Writes the lines of the appends that make up the next group, and returns how many those are; at
/// least one.
fn group_len(entries: &mut [Entry]) -> usize {
    let mut records = 0;
    let mut bytes = 0;
    let mut fits = |entry: &mut Entry| {
        records += entry.append.count as usize;
        bytes += entry.append.lines.write().len();
        records <= GROUP_RECORDS_MAX && bytes <= GROUP_BYTES_MAX
    };
    let over = entries.iter_mut().position(|it| !fits(it));
    over.unwrap_or(entries.len()).max(1)
}
