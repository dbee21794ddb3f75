//! Upkeep: instances that ended long ago leave the log for the archive, and the log is compacted.
//!
//! What is due shows in the log: the record with which an instance ended says when, and its
//! definition says how long it stays after that. So upkeep looks through the log once in the life
//! of a process, and from then on only at what has become due since.
//!
//! The order makes every step safe to end anywhere: the owner lets go, the file is durable, the
//! index and the document tree forget, a checkpoint without the instance is durable, and only then
//! are records dropped.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::{
        Arc, PoisonError, Weak,
        mpsc::{Receiver, RecvTimeoutError, channel},
    },
    thread,
    time::Duration,
};

use traaviis_model::{
    Header, Record, Seq, Snapshot, Span, TenantCtx, Timestamp,
    definition::Retention,
    limits::{
        ARCHIVE_BYTES_MAX, ARCHIVE_HISTORY_BYTES_MAX, RECORD_LOG_BYTES_MAX, UPKEEP_BYTES_PER_SEC,
    },
    record::peek_line,
};
use traaviis_ports::{
    Archive, Archived, ArchivedHistory, Compacted, Compaction, Line, LogError, LogStore, Position,
    archive::Mode,
};

use crate::{
    error::Error,
    handle::Inner,
    limits::{
        ARCHIVE_BATCH_BYTES_MAX, ARCHIVE_BATCH_MAX, COMPACT_EVERY, EXPIRED_MAX, POSTPONED_MAX,
        UPKEEP_EVERY,
    },
    owner::{Key, Leave, NO_TIME, SeededHasher, Stored},
    summary::Summary,
    threads::{self, OnFatal},
};

/// What upkeep did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Upkept {
    /// Instances that went to the archive.
    pub archived: u64,
    /// Instances that are due and stay: damaged, or too large for a file.
    pub kept: u64,
    /// Instances whose archive files were deleted.
    pub deleted: u64,
    /// What became of the log.
    pub compacted: Compacted,
}

/// Bytes between two pauses: a quarter of a second.
const PIECE_BYTES: u64 = UPKEEP_BYTES_PER_SEC / 4;

/// What upkeep remembers between two looks.
#[derive(Default)]
pub(crate) struct Upkeep {
    /// For each length of time that ended instances stay: the position before which all that is
    /// due was archived.
    seen_to: BTreeMap<Span, Position>,
    /// Instances that are due and could not leave yet.
    postponed: Vec<Due>,
    /// Archived instances that the index and the document tree may still show; of one batch.
    leaving: Vec<Key>,
    /// Something was archived since the log was last compacted.
    has_more: bool,
    compacted_at: Option<Timestamp>,
}

/// Whether the log is compacted now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum When {
    /// In any case.
    Now,
    /// When enough time has passed.
    InTime,
}

/// An instance that is due.
#[derive(Clone)]
struct Due {
    ctx: TenantCtx,
    key: Key,
    seq: Seq,
    finished_at: Timestamp,
    retention: Retention,
    /// It certainly ended with this record.
    is_sure: bool,
}

/// Keeps work on the log below so many bytes a second.
pub(crate) struct Pace {
    pause: fn(Duration),
}

impl Pace {
    /// Sleeps as long as the bytes would take.
    pub(crate) const SLOW: Pace = Pace { pause: thread::sleep };
    /// For a directory that nobody else works in, and for virtual time.
    pub(crate) const FAST: Pace = Pace { pause: |_| () };

    fn passed(&self, bytes: u64) {
        (self.pause)(Duration::from_micros(bytes * 1_000_000 / UPKEEP_BYTES_PER_SEC));
    }
}

impl Inner {
    /// Archives what is due, compacts the log, and deletes archive files that are due for that.
    pub(crate) fn upkeep(
        &self,
        when: When,
        pace: &Pace,
        tell: &mut dyn FnMut(Compacted),
    ) -> Result<Upkept, Error> {
        let mut state = self.upkeep.lock().unwrap_or_else(PoisonError::into_inner);
        if self.is_ending() {
            return Err(Error::Stopping);
        }
        let log = Arc::clone(&self.shared.ports.log);
        let Some(archive) = log.archive() else { return Ok(Upkept::default()) };
        let now = self.shared.ports.clock.now();
        let mut upkept = Upkept::default();
        if self.definitions.take_discarded_anew() {
            // They may have ended anywhere.
            state.seen_to.remove(&NO_TIME.completed);
            state.has_more = true;
        }
        self.leave(&state.leaving)?;
        state.leaving.clear();
        let postponed = std::mem::take(&mut state.postponed);
        self.archive_all(&mut state, postponed, archive, pace, &mut upkept)?;
        for length in self.definitions.lengths() {
            self.archive_due(&mut state, length, (archive, now), pace, &mut upkept)?;
        }
        state.has_more |= upkept.archived > 0;
        let is_time = state.compacted_at.is_none_or(|at| now.since(at) >= COMPACT_EVERY);
        if self.is_ending() || when == When::InTime && !is_time {
            return Ok(upkept);
        }
        state.compacted_at = Some(now);
        let mut expired = archive.expired(now, EXPIRED_MAX)?;
        for ctx in self.definitions.gone() {
            let ids = archive.ids(&ctx, None, EXPIRED_MAX)?;
            expired.extend(ids.into_iter().map(|id| (ctx.tenant(), id)));
        }
        for (tenant, id) in self.definitions.discarded() {
            if archive.holds(tenant, id)? {
                expired.push((tenant, id));
            }
        }
        expired.sort_unstable();
        expired.dedup();
        if expired.is_empty() && !state.has_more && when == When::InTime {
            return Ok(upkept);
        }
        // What it leaves out must be durably left out before its records go.
        self.checkpoint()?;
        let mut compaction = Compaction {
            expired: &expired,
            mode: Mode::Write,
            pace: &mut |bytes| {
                if !self.is_ending() {
                    pace.passed(bytes);
                }
                !self.is_ending()
            },
            tell,
        };
        upkept.compacted = log.compact(&mut compaction)?;
        state.has_more = false;
        let left: HashSet<_> = upkept.compacted.left.iter().copied().collect();
        for (tenant, id) in &expired {
            if !left.contains(&(*tenant, *id)) {
                archive.remove(*tenant, *id)?;
                self.definitions.is_gone(*tenant, *id);
                upkept.deleted += 1;
            }
        }
        Ok(upkept)
    }

    /// Keeps nothing of a tenant from now on: what has ended leaves the log at the next looks, and
    /// the archive with them.
    pub(crate) fn forget(&self, ctx: &TenantCtx) {
        let mut state = self.upkeep.lock().unwrap_or_else(PoisonError::into_inner);
        self.definitions.forget(ctx);
        // Everything is looked at again: what was not due by then is due now.
        state.seen_to.clear();
        state.has_more = true;
    }

    /// Archives instances that stay for `length` after their end, as far as they are due.
    fn archive_due(
        &self,
        state: &mut Upkeep,
        length: Span,
        (archive, now): (&dyn Archive, Timestamp),
        pace: &Pace,
        upkept: &mut Upkept,
    ) -> Result<(), Error> {
        loop {
            let from = state.seen_to.get(&length).copied().unwrap_or(0);
            let (due, to) = self.due(from, length, now, pace)?;
            let count = due.len();
            self.archive_all(state, due, archive, pace, upkept)?;
            state.seen_to.insert(length, to);
            if count < ARCHIVE_BATCH_MAX || self.is_ending() {
                return Ok(());
            }
        }
    }

    /// Archives instances in as many batches as it takes.
    fn archive_all(
        &self,
        state: &mut Upkeep,
        mut waiting: Vec<Due>,
        archive: &dyn Archive,
        pace: &Pace,
        upkept: &mut Upkept,
    ) -> Result<(), Error> {
        while !waiting.is_empty() && !self.is_ending() {
            let before = waiting.len();
            waiting = self.archive_some(state, waiting, archive, pace, upkept)?;
            // One that no batch has room for stays where it is.
            if waiting.len() == before {
                upkept.kept += 1;
                waiting.remove(0);
            }
        }
        Ok(())
    }

    /// Finds instances that are due, the next ones from a position on, and where to go on.
    fn due(
        &self,
        from: Position,
        length: Span,
        now: Timestamp,
        pace: &Pace,
    ) -> Result<(Vec<Due>, Position), Error> {
        let (mut due, mut to, mut bytes) = (Vec::new(), from, 0);
        self.shared.ports.log.scan_while(from, &mut |Line { position, bytes: line, .. }| {
            bytes += line.len() as u64;
            if bytes >= PIECE_BYTES {
                pace.passed(std::mem::take(&mut bytes));
                if self.is_ending() {
                    return false;
                }
            }
            let is_due =
                ended(line, &self.definitions).filter(|it| it.retention.completed == length);
            match is_due {
                Some(it) if it.retention.archived_at(it.finished_at) > now => return false,
                Some(it) => due.push(it),
                None => {}
            }
            to = position + 1;
            due.len() < ARCHIVE_BATCH_MAX
        })?;
        Ok((due, to))
    }

    /// Archives instances, as many as fit; returns the others.
    fn archive_some(
        &self,
        state: &mut Upkeep,
        due: Vec<Due>,
        archive: &dyn Archive,
        pace: &Pace,
        upkept: &mut Upkept,
    ) -> Result<Vec<Due>, Error> {
        let due = self.ask_owners(state, due)?;
        let mut histories = self.collect_histories(&due, archive, pace)?;
        let (mut archived, mut kept, mut waiting) = (Vec::new(), Vec::new(), Vec::new());
        let mut failed = None;
        for it in due {
            let put = match histories.remove(&it.key) {
                _ if failed.is_some() => Ok(false),
                Some(Collected::There) => {
                    // A process before this one did not come to compact it away.
                    state.has_more = true;
                    Ok(true)
                }
                Some(Collected::Lines { lines, .. }) => {
                    self.archive_one(&it, lines, archive, upkept)
                }
                Some(Collected::NoRoom) => {
                    waiting.push(it.clone());
                    Ok(false)
                }
                None => Ok(false),
            };
            match put {
                Ok(true) => archived.push(it.key),
                Ok(false) => kept.push(it.key),
                Err(error) => {
                    kept.push(it.key);
                    failed = Some(error);
                }
            }
        }
        self.tell_owners(&archived, &kept)?;
        // Nothing is compacted before both have let go, or another process would not know.
        state.leaving = archived;
        self.leave(&state.leaving)?;
        state.leaving.clear();
        failed.map_or(Ok(waiting), |error| Err(Error::Log(error)))
    }

    /// Takes archived instances out of what shows those that are not.
    fn leave(&self, archived: &[Key]) -> Result<(), Error> {
        if let Some(feeder) = self.feeder().filter(|_| !archived.is_empty()) {
            // It is tried again, before anything else is archived. Behind an index that is given
            // up nothing is compacted: what it failed to commit may stand in its file all the
            // same, and then the next start takes it as it is.
            feeder.remove(archived).map_err(Error::Index)?;
        }
        self.leave_tree(archived)
    }

    /// Keeps one history; says whether the instance may leave.
    fn archive_one(
        &self,
        due: &Due,
        lines: Vec<Vec<u8>>,
        archive: &dyn Archive,
        upkept: &mut Upkept,
    ) -> Result<bool, LogError> {
        if lines.len() as Seq > due.seq {
            // It went on, and ends later in the log.
            return Ok(false);
        }
        let Some(snapshot) = fold(&lines).filter(|it| it.seq == due.seq) else {
            upkept.kept += 1;
            return Ok(false);
        };
        let summary = serde_json::to_vec(&Summary::of(&snapshot)).unwrap_or_default();
        let entry = Archived {
            id: due.key.id,
            seq: due.seq,
            finished_at: due.finished_at,
            delete_at: due.retention.deleted_at(due.finished_at),
            summary,
        };
        match archive.put(&due.ctx, &ArchivedHistory { entry, lines }) {
            Ok(()) => {
                upkept.archived += 1;
                Ok(true)
            }
            Err(error) => Err(error),
        }
    }

    /// Reads the histories of several instances in one pass.
    fn collect_histories(
        &self,
        due: &[Due],
        archive: &dyn Archive,
        pace: &Pace,
    ) -> Result<HashMap<Key, Collected, SeededHasher>, Error> {
        let mut found: HashMap<Key, Collected, SeededHasher> = HashMap::default();
        let mut from = Position::MAX;
        let mut open = 0;
        for it in due {
            if archive.whole(it.key.tenant, it.key.id)? == Some(it.seq) {
                found.insert(it.key, Collected::There);
                continue;
            }
            let row =
                self.feeder().and_then(|feeder| feeder.get(&it.ctx, it.key.id).ok().flatten());
            from = from.min(row.as_ref().and_then(|row| row.first).unwrap_or(0));
            let is_sure = it.is_sure || row.is_some_and(|row| row.seq == it.seq);
            // What may have gone on is looked for up to the end of the log.
            let until = if is_sure { it.seq } else { Seq::MAX };
            found.insert(
                it.key,
                Collected::Lines { lines: Vec::new(), bytes: 0, in_file: 0, until },
            );
            open += 1;
        }
        let (mut held, mut passed) = (0, 0);
        self.shared.ports.log.scan_while(from, &mut |line: Line<'_>| {
            passed += line.bytes.len() as u64;
            if passed >= PIECE_BYTES {
                pace.passed(std::mem::take(&mut passed));
            }
            if open == 0 || self.is_ending() {
                return false;
            }
            let Ok(name) = peek_line(line.bytes) else { return true };
            let key = Key { tenant: name.tenant_id, id: name.instance_id };
            let Some(collected) = found.get_mut(&key) else { return true };
            let Collected::Lines { lines, bytes, in_file, until } = collected else { return true };
            held += line.bytes.len();
            *bytes += line.bytes.len();
            // One history may be larger than a batch; then it goes alone.
            let is_alone = held == *bytes;
            let is_over = held > ARCHIVE_BATCH_BYTES_MAX && !is_alone;
            *in_file += line.bytes.len().min(RECORD_LOG_BYTES_MAX);
            let is_too_long = *in_file as u64 > ARCHIVE_BYTES_MAX / 2;
            if is_over || is_too_long || *bytes > ARCHIVE_HISTORY_BYTES_MAX {
                held -= *bytes;
                *collected = Collected::NoRoom;
                open -= 1;
                return true;
            }
            lines.push(line.bytes.to_vec());
            if name.seq == *until {
                open -= 1;
            }
            true
        })?;
        // Cut short, nothing that was read counts as whole.
        if self.is_ending() { Err(Error::Stopping) } else { Ok(found) }
    }

    /// Asks the owners to let go; returns those that may leave.
    fn ask_owners(&self, state: &mut Upkeep, due: Vec<Due>) -> Result<Vec<Due>, Error> {
        let mut by_key: HashMap<Key, Due, SeededHasher> = HashMap::default();
        // An instance that went on may have ended more than once; the last time counts.
        due.into_iter().for_each(|it| drop(by_key.insert(it.key, it)));
        let mut ended: Vec<(Key, Seq)> = by_key.values().map(|it| (it.key, it.seq)).collect();
        ended.sort_unstable();
        let mut leaving = Vec::new();
        let (reply, answers) = channel();
        let asked = self.tell_each(
            &ended,
            |it| it.0,
            |ended| crate::owner::Message::Retire { ended, reply: reply.clone() },
        )?;
        for _ in 0..asked {
            let (answers, ended) = self.answer(&answers)?;
            for (answer, (key, _)) in answers.into_iter().zip(ended) {
                let Some(mut due) = by_key.remove(&key) else { continue };
                due.is_sure = answer == Leave::Yes;
                match answer {
                    Leave::Yes | Leave::Forgotten => leaving.push(due),
                    Leave::Later if state.postponed.len() < POSTPONED_MAX => {
                        state.postponed.push(due);
                    }
                    Leave::Later | Leave::No => {}
                }
            }
        }
        leaving.sort_by_key(|it| (it.finished_at, it.key));
        Ok(leaving)
    }

    fn tell_owners(&self, archived: &[Key], kept: &[Key]) -> Result<(), Error> {
        let all: Vec<(Key, bool)> = archived
            .iter()
            .map(|it| (*it, true))
            .chain(kept.iter().map(|it| (*it, false)))
            .collect();
        let (reply, answers) = channel();
        let asked = self.tell_each(
            &all,
            |it| it.0,
            |all| {
                let of =
                    |wanted: bool| all.iter().filter(|it| it.1 == wanted).map(|it| it.0).collect();
                let (archived, kept) = (of(true), of(false));
                crate::owner::Message::Retired { archived, kept, reply: reply.clone() }
            },
        )?;
        (0..asked).try_for_each(|_| self.answer(&answers))
    }
}

/// Counts the instances that are due for the archive and not in it, without changing anything.
pub fn due_count(log: &dyn LogStore, now: Timestamp) -> Result<u64, Error> {
    let definitions = Stored::default();
    let mut due: HashMap<Key, Seq, SeededHasher> = HashMap::default();
    log.scan(0, &mut |line| {
        definitions.learn(line.bytes);
        let Ok(name) = peek_line(line.bytes) else { return };
        let key = Key { tenant: name.tenant_id, id: name.instance_id };
        match ended(line.bytes, &definitions) {
            Some(it) if it.retention.archived_at(it.finished_at) <= now => {
                due.insert(key, it.seq);
            }
            // It went on.
            _ => {
                due.remove(&key);
            }
        }
    })?;
    let mut count = 0;
    for key in due.keys() {
        let is_archived = log.archive().map_or(Ok(false), |it| it.holds(key.tenant, key.id))?;
        count += u64::from(!is_archived);
    }
    Ok(count)
}

/// A history on its way to the archive.
enum Collected {
    /// It is archived already.
    There,
    Lines {
        lines: Vec<Vec<u8>>,
        bytes: usize,
        /// Bytes that its archive file may have.
        in_file: usize,
        /// Number of the record that is certainly the last.
        until: Seq,
    },
    /// It waits for another batch.
    NoRoom,
}

/// Reads the record with which an instance ended; none when a line is another one.
fn ended(line: &[u8], definitions: &Stored) -> Option<Due> {
    const MARK: &[u8] = br#""kind":"finished""#;
    // Cheaper than reading every record; the same words in a payload stand escaped.
    if !line.windows(MARK.len()).any(|it| it == MARK) {
        return None;
    }
    let header: Header = serde_json::from_slice(line).ok()?;
    let key = Key { tenant: header.tenant_id, id: header.instance_id };
    let retention = match definitions.is_discarded(key.tenant, key.id) {
        true => NO_TIME,
        false => definitions.retention(&(header.tenant_id, header.definition_hash)),
    };
    let ctx = TenantCtx::of_record(&header);
    let (seq, finished_at) = (header.seq, header.at);
    Some(Due { ctx, key, seq, finished_at, retention, is_sure: false })
}

/// Returns the state at the end of a history that is whole.
fn fold(lines: &[Vec<u8>]) -> Option<Snapshot> {
    let records: Result<Vec<Record>, _> = lines.iter().map(|it| Record::read_line(it)).collect();
    let snapshot = Snapshot::fold(&records.ok()?).ok()??;
    // A history that begins anew, or misses some, does not leave.
    let is_dense = snapshot.seq == lines.len() as Seq;
    (is_dense && snapshot.status.is_finished()).then_some(snapshot)
}

/// Looks after the log until the runtime is gone.
pub(crate) fn start(
    stopped: Receiver<()>,
    inner: Weak<Inner>,
    on_fatal: &OnFatal,
) -> Result<(), Error> {
    let work = move || {
        while let Err(RecvTimeoutError::Timeout) = stopped.recv_timeout(UPKEEP_EVERY) {
            let Some(inner) = inner.upgrade() else { return };
            // What failed is tried again at the next look; the log grows until then.
            let _ = inner.upkeep(When::InTime, &Pace::SLOW, &mut |_| ());
        }
    };
    threads::begin("traaviis-upkeep", on_fatal, work)
}
