//! The commit log in memory: what the log promises, without a disk.
//!
//! Outcomes are told at once by the appending thread, or when a test says so
//! ([`MemoryLog::manual`], [`MemoryLog::pump`]), so that a simulation decides when an append
//! becomes durable.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use traaviis_model::{InstanceId, Seq, TenantCtx, TenantId};
use traaviis_ports::{Append, Commit, CommitSink, Line, LogError, LogStore, NO_KEYS, Position};

/// The log.
#[derive(Default)]
pub struct MemoryLog {
    state: Mutex<State>,
    is_manual: bool,
}

#[derive(Default)]
struct State {
    records: Vec<Record>,
    streams: HashMap<(TenantId, InstanceId), Seq>,
    waiting: VecDeque<Waiting>,
    checkpoint: Option<(Position, Vec<u8>)>,
    tail: Position,
    failure: Option<LogError>,
    reads: usize,
    lost: Option<(InstanceId, Seq)>,
}

#[derive(Clone)]
struct Record {
    tenant: TenantId,
    stream: InstanceId,
    seq: Seq,
    line: Vec<u8>,
}

struct Waiting {
    tenant: TenantId,
    append: Append,
    sink: Arc<dyn CommitSink>,
    token: u64,
}

impl MemoryLog {
    /// Makes a log that commits inside `append`.
    pub fn new() -> MemoryLog {
        MemoryLog::default()
    }

    /// Makes a log that commits when [`MemoryLog::pump`] is called.
    pub fn manual() -> MemoryLog {
        MemoryLog { is_manual: true, ..MemoryLog::default() }
    }

    /// Returns how often a history was asked for.
    pub fn reads(&self) -> usize {
        self.state().reads
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Commits up to `max` waiting appends as one group and tells their outcomes; returns how many.
    pub fn pump(&self, max: usize) -> usize {
        let mut state = self.state();
        let count = max.min(state.waiting.len());
        let group: Vec<Waiting> = state.waiting.drain(..count).collect();
        let outcomes: Vec<Commit> =
            group.iter().map(|waiting| state.commit(waiting.tenant, &waiting.append)).collect();
        let tail = state.records.len() as Position;
        drop(state);
        // Told without the lock, so that a sink may append.
        let mut outcomes = outcomes.into_iter();
        for run in group.chunk_by(|a, b| Arc::ptr_eq(&a.sink, &b.sink)) {
            let mut told = run.iter().map(|waiting| waiting.token).zip(outcomes.by_ref());
            run[0].sink.committed(&mut told);
            told.for_each(drop);
        }
        let mut state = self.state();
        state.tail = state.tail.max(tail);
        count
    }

    /// Returns how many appends wait.
    pub fn waiting(&self) -> usize {
        self.state().waiting.len()
    }

    /// Makes every later commit answer with `failure`, or work again.
    pub fn set_failure(&self, failure: Option<LogError>) {
        self.state().failure = failure;
    }

    /// Loses the records of a stream from `from` on, as when a file is cut short.
    pub fn lose(&self, stream: InstanceId, from: Seq) {
        self.state().lost = Some((stream, from));
    }

    /// Returns the number of the last record of a stream, 0 when there is none.
    pub fn last_of(&self, stream: InstanceId) -> Seq {
        let state = self.state();
        let found = state.streams.iter().filter(|it| it.0.1 == stream);
        found.map(|it| *it.1).max().unwrap_or(0)
    }

    /// Loses one record of a stream for good, as when its frame is damaged; what stood behind it
    /// is still there.
    pub fn lose_one(&self, stream: InstanceId, seq: Seq) {
        let mut state = self.state();
        for record in state.records.iter_mut().filter(|it| (it.stream, it.seq) == (stream, seq)) {
            record.line.clear();
        }
    }

    /// Returns the log as it is after a crash: what was committed, nothing of what waited.
    pub fn after_crash(&self) -> MemoryLog {
        let state = self.state();
        let records = state.records.clone();
        let tail = records.len() as Position;
        let streams = records.iter().map(|record| ((record.tenant, record.stream), record.seq));
        let state = State {
            streams: streams.collect(),
            records,
            tail,
            checkpoint: state.checkpoint.clone(),
            ..State::default()
        };
        MemoryLog { state: Mutex::new(state), is_manual: self.is_manual }
    }
}

impl State {
    fn commit(&mut self, tenant: TenantId, append: &Append) -> Commit {
        if let Some(failure) = &self.failure {
            return Err(failure.clone());
        }
        let key = (tenant, append.stream);
        let last = match self.streams.get(&key) {
            Some(last) => *last,
            None if append.first_seq == 1 => 0,
            None => self.last_seq(key),
        };
        if append.first_seq != last + 1 {
            let (stream, first) = (append.stream, append.first_seq);
            return Err(LogError::SeqMismatch { stream, last, first });
        }
        let text = append.lines.written().strip_suffix(b"\n");
        let lines: Vec<&[u8]> =
            text.map(|text| text.split(|byte| *byte == b'\n').collect()).unwrap_or_default();
        if append.subject.is_some() {
            return Err(LogError::Refused(NO_KEYS.into()));
        }
        if lines.is_empty() || lines.len() != append.count as usize {
            return Err(LogError::Refused("its lines do not fit its count".into()));
        }
        for (seq, line) in (append.first_seq..).zip(lines) {
            let (stream, line) = (append.stream, line.to_vec());
            self.records.push(Record { tenant, stream, seq, line });
        }
        if append.ends_stream {
            self.streams.remove(&key);
        } else {
            self.streams.insert(key, append.first_seq + Seq::from(append.count) - 1);
        }
        Ok(self.records.len() as Position)
    }

    fn last_seq(&self, (tenant, stream): (TenantId, InstanceId)) -> Seq {
        let mut of_stream = self.records.iter().rev();
        let last = of_stream.find(|record| record.tenant == tenant && record.stream == stream);
        last.map_or(0, |record| record.seq)
    }
}

impl LogStore for MemoryLog {
    fn append(&self, ctx: &TenantCtx, mut append: Append, sink: &Arc<dyn CommitSink>, token: u64) {
        append.lines.write();
        let waiting = Waiting { tenant: ctx.tenant(), append, sink: sink.clone(), token };
        self.state().waiting.push_back(waiting);
        if !self.is_manual {
            self.pump(usize::MAX);
        }
    }

    fn read(
        &self,
        ctx: &TenantCtx,
        stream: InstanceId,
        from: Seq,
        limit: usize,
    ) -> Result<Vec<Vec<u8>>, LogError> {
        let mut state = self.state();
        state.reads += 1;
        let lost = state.lost;
        let records = state.records.iter();
        let found = records.filter(|record| {
            let is_lost = lost.is_some_and(|(of, seq)| record.stream == of && record.seq >= seq);
            let is_theirs = record.tenant == ctx.tenant() && record.stream == stream;
            is_theirs && record.seq >= from && !is_lost
        });
        Ok(found.take(limit).map(|record| record.line.clone()).collect())
    }

    fn scan(&self, from: Position, visit: &mut dyn FnMut(Line<'_>)) -> Result<Position, LogError> {
        // A copy, so that the visitor may use the log.
        let records = self.state().records.clone();
        for (position, record) in (0..).zip(&records) {
            if position >= from && !record.line.is_empty() {
                visit(Line { position, bytes: &record.line, is_sealed: false });
            }
        }
        Ok(records.len() as Position)
    }

    fn tail(&self) -> Position {
        self.state().tail
    }

    fn seed(&self, streams: &mut dyn Iterator<Item = (TenantId, InstanceId, Seq)>) {
        let mut state = self.state();
        for (tenant, stream, last) in streams {
            let known = state.streams.entry((tenant, stream)).or_insert(last);
            *known = last.max(*known);
        }
    }

    fn put_checkpoint(&self, position: Position, body: &[u8]) -> Result<(), LogError> {
        let mut state = self.state();
        if position > state.records.len() as Position {
            return Err(LogError::Damaged("a checkpoint is ahead of the log".into()));
        }
        // As on disk, the newest is the one furthest on.
        if state.checkpoint.as_ref().is_none_or(|(kept, _)| *kept <= position) {
            state.checkpoint = Some((position, body.to_vec()));
        }
        Ok(())
    }

    fn checkpoint(&self) -> Result<Option<(Position, Vec<u8>)>, LogError> {
        Ok(self.state().checkpoint.clone())
    }
}
