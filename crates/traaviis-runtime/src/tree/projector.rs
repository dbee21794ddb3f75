//! What goes from the log into the tree, and when. No threads, no clock: the time is a parameter.
//!
//! Records are read in the order of the log. Those of an instance wait until it rests, ends, has
//! waited long, or space is needed; then they go into its file of events together with its state.
//!
//! Invariants: the position of a batch is never past a record that waits; what waits has a limit in
//! bytes and in instances, beyond it the log is simply not read on; an archived instance is not
//! written, and while it is found out which are archived, none leaves the tree.

use std::{
    collections::{HashMap, HashSet, VecDeque, hash_map::Entry},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use traaviis_model::{
    Header, InstanceId, Record, Seq, Snapshot, TenantCtx, TenantId, Text,
    limits::TREE_FILE_RECORDS, tenant::PLATFORM,
};
use traaviis_ports::{
    Line, LogStore, Position, Tree, TreeError,
    tree::{
        Batch, Lines, Notice, Place,
        shown::{COPIES_MAX, List},
    },
};

use super::{
    Policy, documents,
    ledgers::{Ledgers, changed_hour},
    states::{State, States},
};
use crate::{
    error::Error,
    limits::{
        TREE_AGE_MAX, TREE_BATCH_MAX, TREE_LIST_RESTS, TREE_PENDING_BYTES_MAX, TREE_PENDING_MAX,
        TREE_REST,
    },
    owner::{Key, SeededHasher},
};

/// What an entry takes beside its records.
const ENTRY_BYTES: usize = 200;
/// Records between two calls of a progress.
const PROGRESS_EVERY: u64 = 10_000;

/// Which instances are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which {
    /// Those whose time it is.
    Due,
    /// All that wait.
    All,
}

/// When the states of open instances are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Open {
    /// With their records.
    Shown,
    /// By the caller, once the whole log is read.
    Later,
}

/// Ways out of the projector.
pub struct World<'a> {
    /// Where records come from.
    pub log: &'a dyn LogStore,
    /// Where they go.
    pub tree: &'a dyn Tree,
    /// Where states come from.
    pub states: &'a mut dyn States,
    /// Returns the time since some moment.
    pub now: &'a dyn Fn() -> Duration,
    /// Waits after a write that took some time; false when there is no more time for the tree.
    pub rest: &'a dyn Fn(Duration) -> bool,
    /// Held by whoever writes or forgets, from finding out what is archived on.
    pub writing: &'a Mutex<()>,
    /// Told of everything that a person should know.
    pub tell: &'a dyn Fn(&Notice),
}

/// Records of an instance that wait.
#[derive(Debug)]
struct Waiting {
    since: Duration,
    touched: Duration,
    /// Position of the first of them.
    first: Position,
    first_seq: Seq,
    last_seq: Seq,
    /// The first one tells the whole state.
    is_whole: bool,
    has_ended: bool,
    /// Records between them are missing.
    has_gap: bool,
    lines: Vec<u8>,
}

/// The projector.
#[derive(Debug)]
pub struct Projector {
    policy: Policy,
    open: Open,
    waiting: HashMap<Key, Waiting, SeededHasher>,
    ledgers: Ledgers,
    contexts: HashMap<TenantId, TenantCtx, SeededHasher>,
    bytes: usize,
    /// Position up to which the log is read.
    read_to: Position,
    /// Position that the tree has.
    position: Position,
    left_out: u64,
    /// From when on lists are written again.
    lists_due: Duration,
    /// Hour of the newest copy of documents.
    copied: Text,
    /// Copies are made from this hour on; those of before would be removed again.
    copies_from: Text,
}

impl Projector {
    /// Returns a projector that begins at the position of a tree.
    pub fn new(policy: Policy, open: Open, position: Position) -> Projector {
        Projector {
            policy,
            open,
            waiting: HashMap::default(),
            ledgers: Ledgers::default(),
            contexts: HashMap::default(),
            bytes: 0,
            read_to: position,
            position,
            left_out: 0,
            lists_due: Duration::ZERO,
            copied: "".into(),
            copies_from: "".into(),
        }
    }

    /// Learns which hours bring changes, from what has not been read: of the last ones copies are
    /// kept.
    pub(super) fn find_hours(&mut self, log: &dyn LogStore) -> Result<(), Error> {
        let mut hours: VecDeque<Text> = VecDeque::new();
        log.scan(self.read_to, &mut |line| {
            let peek = serde_json::from_slice::<documents::Peek<'_>>(line.bytes);
            if peek.is_ok_and(|it| it.kind == "document_put")
                && let Ok(record) = Record::read_line(line.bytes)
                && let Some(hour) = changed_hour(&record)
                && hours.back().is_none_or(|it| *it < hour)
            {
                hours.push_back(hour);
                if hours.len() > COPIES_MAX {
                    hours.pop_front();
                }
            }
        })?;
        if let Some(first) = hours.front().filter(|_| hours.len() == COPIES_MAX) {
            self.copies_from = first.clone();
        }
        Ok(())
    }

    /// Returns the position before which everything is in the tree.
    pub fn position(&self) -> Position {
        self.position
    }

    /// Says whether everything that was read of the log is in the tree, but for lists: nobody waits
    /// for those.
    pub fn is_caught_up(&self) -> bool {
        self.waiting.is_empty() && !self.ledgers.has_any(self.open)
    }

    /// Returns how many writes left an instance out because its history is damaged.
    pub fn left_out(&self) -> u64 {
        self.left_out
    }

    /// Reads the log to its end and writes what is due.
    pub fn round(&mut self, world: &mut World<'_>) -> Result<(), Error> {
        if self.is_full() {
            self.write(world, Which::All)?;
        }
        let (log, mut failed, mut goes_on) = (world.log, None, true);
        let end = log.scan(self.read_to, &mut |line| {
            if failed.is_some() || !goes_on {
                return;
            }
            failed = self.note(line, world).err();
            if failed.is_none() && self.is_full() {
                failed = self.write(world, Which::All).err();
                goes_on = (world.rest)(Duration::ZERO);
            }
        })?;
        if goes_on && failed.is_none() {
            self.pass(end);
        }
        match failed {
            Some(error) => Err(error),
            None => self.write(world, Which::Due),
        }
    }

    /// Reads the log to its end and writes all of it; `progress` is told the position now and then.
    pub(super) fn show(
        &mut self,
        world: &mut World<'_>,
        progress: &dyn Fn(Position),
    ) -> Result<(), Error> {
        let (log, mut failed) = (world.log, None);
        let end = log.scan(self.read_to, &mut |line| {
            if failed.is_some() {
                return;
            }
            if line.position % PROGRESS_EVERY == 0 {
                progress(line.position);
            }
            failed = self.note(line, world).err();
            if failed.is_none() && self.is_full() {
                failed = self.write(world, Which::All).err();
            }
        })?;
        if let Some(error) = failed {
            return Err(error);
        }
        self.pass(end);
        self.write(world, Which::All)
    }

    /// Notes that the log was read up to here; its last records may have been compacted away.
    fn pass(&mut self, end: Position) {
        self.read_to = self.read_to.max(end);
    }

    fn is_full(&self) -> bool {
        // What is made again holds its documents to the end, as the process does that made them.
        let has_any = self.open == Open::Shown || self.ledgers.has_any(self.open);
        let ledgers = if has_any { self.ledgers.bytes() } else { 0 };
        self.bytes + ledgers > TREE_PENDING_BYTES_MAX || self.waiting.len() >= TREE_PENDING_MAX
    }

    // --- Reading ----------------------------------------------------------------------------

    fn note(&mut self, it: Line<'_>, world: &mut World<'_>) -> Result<(), Error> {
        let Line { position, bytes: line, is_sealed } = it;
        // What cannot be read is told by recovery; its instance is left out.
        let Ok(peek) = serde_json::from_slice::<documents::Peek<'_>>(line) else {
            self.read_to = position + 1;
            return Ok(());
        };
        if peek.kind == "document_put" {
            if let Ok(record) = Record::read_line(line) {
                // Before the record counts as read, which it does not when this fails.
                self.copy(&record, world)?;
                self.ledgers.note(position, &record, is_sealed);
            }
            self.read_to = position + 1;
            return Ok(());
        }
        self.read_to = position + 1;
        let key = Key { tenant: peek.tenant_id, id: peek.instance_id };
        if let Entry::Vacant(context) = self.contexts.entry(key.tenant) {
            let Ok(header) = serde_json::from_slice::<Header>(line) else { return Ok(()) };
            context.insert(TenantCtx::of_record(&header));
        }
        if world.states.notes() {
            world.states.note(key, line);
        }
        self.take(key, position, &peek, line, (world.now)());
        Ok(())
    }

    /// Keeps a copy of the documents before the first change of an hour.
    fn copy(&mut self, record: &Record, world: &mut World<'_>) -> Result<(), Error> {
        let Some(hour) = changed_hour(record).filter(|it| *it > self.copied) else {
            return Ok(());
        };
        if hour >= self.copies_from {
            let notices = match self.open {
                Open::Later => world.tree.keep_copy(&hour, Some(&self.ledgers.copied()))?,
                Open::Shown => {
                    // The tree shows what was before.
                    self.write(world, Which::All)?;
                    world.tree.keep_copy(&hour, None)?
                }
            };
            notices.iter().for_each(|it| (world.tell)(it));
        }
        self.copied = hour;
        Ok(())
    }

    fn take(
        &mut self,
        key: Key,
        position: Position,
        peek: &documents::Peek<'_>,
        line: &[u8],
        now: Duration,
    ) {
        let seq = peek.seq;
        let waiting = self.waiting.entry(key).or_insert_with(|| {
            self.bytes += ENTRY_BYTES;
            Waiting {
                since: now,
                touched: now,
                first: position,
                first_seq: seq,
                last_seq: seq.saturating_sub(1),
                is_whole: seq == 1 || peek.kind == "retried",
                has_ended: false,
                has_gap: false,
                lines: Vec::new(),
            }
        });
        if seq <= waiting.last_seq {
            return;
        }
        waiting.has_gap |= seq != waiting.last_seq + 1;
        waiting.last_seq = seq;
        waiting.touched = now;
        waiting.has_ended = peek.kind == "finished";
        waiting.lines.extend_from_slice(line);
        waiting.lines.push(b'\n');
        self.bytes += line.len() + 1;
    }

    // --- Writing ----------------------------------------------------------------------------

    /// Writes instances, some hundreds at a time.
    pub fn write(&mut self, world: &mut World<'_>, which: Which) -> Result<(), Error> {
        self.write_lists(world, which)?;
        loop {
            let mut due = self.due((world.now)(), which);
            let is_last = due.len() <= TREE_BATCH_MAX;
            due.truncate(TREE_BATCH_MAX);
            let has_moved = self.position != self.end_without(&due);
            if due.is_empty() && !has_moved && !self.ledgers.has_any(self.open) {
                return Ok(());
            }
            let begun = (world.now)();
            let count = due.len();
            let left = self.batch(due, world)?;
            let took = (world.now)().saturating_sub(begun);
            if !(world.rest)(took) || is_last || left == count {
                return Ok(());
            }
        }
    }

    /// Returns the instances to write, those that wait longest first.
    fn due(&self, now: Duration, which: Which) -> Vec<Key> {
        let is_due = |it: &Waiting| {
            which == Which::All
                || self.policy == Policy::Eager
                || it.has_ended
                || now.saturating_sub(it.touched) >= TREE_REST
                || now.saturating_sub(it.since) >= TREE_AGE_MAX
        };
        let due = self.waiting.iter().filter(|(_, it)| is_due(it));
        let mut due: Vec<(Position, Key)> = due.map(|(key, it)| (it.first, *key)).collect();
        due.sort_unstable();
        due.into_iter().map(|(_, key)| key).collect()
    }

    /// Returns the position that holds once some instances do not wait any more.
    fn end_without(&self, keys: &[Key]) -> Position {
        let done: HashSet<&Key> = keys.iter().collect();
        let left = self.waiting.iter().filter(|(key, _)| !done.contains(key));
        let left = left.map(|(_, it)| it.first);
        // What is made again writes lists at the end, with everything else that it holds.
        let lists = self.ledgers.lists_first().filter(|_| self.open == Open::Shown);
        left.chain(lists).min().unwrap_or(self.read_to)
    }

    /// Writes what changes in lists, if it is time. Each is a file that is written whole, however
    /// long it is, so changes are gathered for longer the longer that takes.
    fn write_lists(&mut self, world: &mut World<'_>, which: Which) -> Result<(), Error> {
        let begun = (world.now)();
        let is_due = which == Which::All || begun >= self.lists_due;
        if self.open == Open::Later || self.ledgers.lists_first().is_none() || !is_due {
            return Ok(());
        }
        let (listed, position) = (self.ledgers.listed(), self.position);
        let notices = world.tree.write(&Batch { listed, position, ..Batch::default() })?;
        self.ledgers.lists_written();
        let now = (world.now)();
        self.lists_due = now + now.saturating_sub(begun) * TREE_LIST_RESTS;
        for notice in notices {
            (world.tell)(&notice);
            if let Notice::Lacking { tenant, list } = notice {
                self.fill_list(tenant, list, world)?;
            }
        }
        Ok(())
    }

    /// Writes some instances together; returns how many must wait because nobody tells their state.
    fn batch(&mut self, keys: Vec<Key>, world: &mut World<'_>) -> Result<usize, Error> {
        let writing = world.writing;
        let _writing = writing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut batch = Batch::default();
        self.ledgers.fill(&mut batch, self.open);
        let mut gaps = Vec::new();
        let mut later = 0;
        let (mut done, keys) = archived(world.log, keys)?;
        for (key, state) in self.states(keys, world) {
            let snapshot = match state {
                State::Known(snapshot) => snapshot,
                State::Unknown => {
                    self.left_out += 1;
                    done.push(key);
                    continue;
                }
                State::Later => {
                    later += 1;
                    continue;
                }
            };
            done.push(key);
            let Some(waiting) = self.waiting.get(&key) else { continue };
            if waiting.has_gap {
                gaps.push((key, snapshot.workflow.clone()));
            } else {
                batch.lines.extend(event_lines(&snapshot, waiting));
            }
            if self.open == Open::Shown || snapshot.status.is_finished() {
                batch.documents.push(documents::instance(&snapshot));
                batch.asks.push(documents::asks(&snapshot));
            }
        }
        batch.position = self.end_without(&done);
        for notice in world.tree.write(&batch).map_err(Error::Tree)? {
            match &notice {
                Notice::Gap { tenant, workflow, id } => {
                    gaps.push((Key { tenant: *tenant, id: *id }, workflow.clone()));
                }
                // No list is among what was written.
                Notice::Lacking { .. }
                | Notice::Quarantined { .. }
                | Notice::Missing { .. }
                | Notice::Newer { .. } => {}
            }
            (world.tell)(&notice);
        }
        for key in &done {
            world.states.shown(key);
            if let Some(waiting) = self.waiting.remove(key) {
                self.bytes -= waiting.lines.len() + ENTRY_BYTES;
            }
        }
        self.ledgers.written(self.open);
        self.position = batch.position;
        for (key, workflow) in gaps {
            self.fill(key, &workflow, world)?;
        }
        Ok(later)
    }

    /// Writes what is held until everything was read: documents of ledgers, and lists of them.
    pub(super) fn write_ledgers(&mut self, tree: &dyn Tree) -> Result<(), Error> {
        let (documents, listed) = std::mem::take(&mut self.ledgers).whole();
        let position = self.position;
        for documents in documents.chunks(TREE_BATCH_MAX) {
            let batch = Batch { documents: documents.to_vec(), position, ..Batch::default() };
            tree.write(&batch)?;
        }
        tree.write(&Batch { listed, position, ..Batch::default() })?;
        Ok(())
    }

    /// Writes a list whole, of everything in the log that is about it. Only a file that somebody
    /// has changed asks for that.
    fn fill_list(
        &self,
        tenant: Option<TenantId>,
        list: &'static List,
        world: &mut World<'_>,
    ) -> Result<(), Error> {
        let owner = tenant.unwrap_or(PLATFORM);
        let mut ledgers = Ledgers::default();
        world.log.scan(0, &mut |line| {
            let peek = serde_json::from_slice::<documents::Peek<'_>>(line.bytes);
            if peek.is_ok_and(|it| it.tenant_id == owner && it.kind == "document_put")
                && let Ok(record) = Record::read_line(line.bytes)
            {
                ledgers.note_list(list, &record, line.is_sealed);
            }
        })?;
        let listed = ledgers.whole_list(tenant, list).into_iter().collect();
        let batch = Batch { listed, position: self.position, ..Batch::default() };
        for notice in world.tree.write(&batch)? {
            (world.tell)(&notice);
        }
        Ok(())
    }

    /// Returns the states of instances: of what begins among the waiting records from these, of
    /// everything else from whoever holds them.
    fn states(&self, keys: Vec<Key>, world: &mut World<'_>) -> Vec<(Key, State)> {
        let (mut known, mut asked, mut names) = (Vec::new(), Vec::new(), Vec::new());
        for key in keys {
            let waiting = self.waiting.get(&key).filter(|it| it.is_whole && !it.has_gap);
            let folded = waiting.filter(|_| !world.states.notes()).and_then(fold);
            match (folded, self.contexts.get(&key.tenant)) {
                (Some(snapshot), _) => known.push((key, State::Known(Arc::new(snapshot)))),
                (None, Some(ctx)) => {
                    asked.push((ctx.clone(), key.id));
                    names.push(key);
                }
                (None, None) => known.push((key, State::Unknown)),
            }
        }
        let states = world.states.states(&asked);
        known.extend(names.into_iter().zip(states));
        known
    }

    /// Writes all records of an instance again, a file at a time.
    fn fill(&mut self, key: Key, workflow: &Text, world: &mut World<'_>) -> Result<(), Error> {
        let Some(ctx) = self.contexts.get(&key.tenant) else { return Ok(()) };
        let (mut first, mut is_sealed) = (1, false);
        loop {
            let limit = TREE_FILE_RECORDS as usize;
            let Ok(read) = world.log.read(ctx, key.id, first, limit) else { return Ok(()) };
            if read.is_empty() {
                return Ok(());
            }
            let count = read.len() as u64;
            is_sealed |= first == 1 && read.first().is_some_and(|it| documents::is_sealed(it));
            let lines: Vec<u8> =
                read.into_iter().flat_map(|it| [it, b"\n".to_vec()]).flatten().collect();
            let lines = documents::shown_lines(is_sealed, &lines).into_owned();
            let place = events(workflow, key.id, first);
            let lines = Lines { tenant: Some(key.tenant), place, first, lines };
            let batch = Batch { lines: vec![lines], position: self.position, ..Batch::default() };
            world.tree.write(&batch).map_err(Error::Tree)?;
            first += count;
        }
    }
}

/// Divides instances into those that are archived and the others.
pub(super) fn archived(log: &dyn LogStore, keys: Vec<Key>) -> Result<(Vec<Key>, Vec<Key>), Error> {
    let Some(archive) = log.archive() else { return Ok((Vec::new(), keys)) };
    if archive.is_empty()? {
        return Ok((Vec::new(), keys));
    }
    let (mut archived, mut others) = (Vec::new(), Vec::new());
    for key in keys {
        match archive.holds(key.tenant, key.id)? {
            true => archived.push(key),
            false => others.push(key),
        }
    }
    Ok((archived, others))
}

fn events(workflow: &Text, id: InstanceId, seq: Seq) -> Place {
    let file = (seq.max(1) - 1) / TREE_FILE_RECORDS + 1;
    Place::Events { workflow: workflow.clone(), id, file }
}

/// Returns the records that wait, those of one file together.
fn event_lines(snapshot: &Snapshot, waiting: &Waiting) -> Vec<Lines> {
    let mut files: Vec<Lines> = Vec::new();
    let lines = documents::shown_lines(snapshot.subject.is_some(), &waiting.lines);
    let lines = lines.split_inclusive(|it| *it == b'\n');
    for (seq, line) in (waiting.first_seq..).zip(lines) {
        let place = events(&snapshot.workflow, snapshot.id, seq);
        match files.last_mut().filter(|it| it.place == place) {
            Some(file) => file.lines.extend_from_slice(line),
            None => files.push(Lines {
                tenant: Some(snapshot.tenant_id),
                place,
                first: seq,
                lines: line.to_vec(),
            }),
        }
    }
    files
}

/// Returns the state that waiting records tell by themselves.
fn fold(waiting: &Waiting) -> Option<Snapshot> {
    let mut snapshot: Option<Snapshot> = None;
    for line in waiting.lines.split(|it| *it == b'\n').filter(|it| !it.is_empty()) {
        let record = Record::read_line(line).ok()?;
        match &mut snapshot {
            None => {
                snapshot = Some(match Snapshot::reopen(&record) {
                    Some(reopened) => reopened,
                    None => Snapshot::create(&record).ok()?,
                });
            }
            Some(it) => it.apply(&record).ok()?,
        }
    }
    snapshot
}

impl From<TreeError> for Error {
    fn from(error: TreeError) -> Error {
        Error::Tree(error)
    }
}
