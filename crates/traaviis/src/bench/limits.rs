//! The limits that the engine is compared with: a raw loop of write and `fdatasync`, and the bare
//! log fed with ready-made lines. Both use the bytes and group sizes of the real transitions.

use std::{
    io::Write as _,
    path::Path,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use traaviis_model::{InstanceId, Seq, TenantCtx, limits};
use traaviis_ports::{Append, Commit, CommitSink, LogStore};
use uuid::Uuid;

use crate::disk::{RawFile, percentile};

/// Bytes of the file that the raw loop writes over and over.
const RAW_FILE_BYTES: u64 = 64 << 20;

/// What one durable transition weighs.
#[derive(Clone, Debug)]
pub struct Weight {
    /// Its record lines.
    pub lines: Vec<u8>,
    /// Its records.
    pub records: u32,
}

impl Weight {
    /// Returns what follows the number of its record in each line.
    fn tails(&self) -> Vec<&[u8]> {
        const SEQ: &[u8] = br#","seq":"#;
        let lines = self.lines.split_inclusive(|it| *it == b'\n');
        lines
            .map(|line| {
                let seq =
                    line.windows(SEQ.len()).position(|it| it == SEQ).map_or(0, |it| it + SEQ.len());
                let digits = line[seq..].iter().take_while(|it| it.is_ascii_digit()).count();
                &line[seq + digits..]
            })
            .collect()
    }

    /// Returns how many transitions fit one group commit when `callers` wait at once.
    pub fn group(&self, callers: usize) -> usize {
        let by_bytes = limits::GROUP_BYTES_MAX / self.lines.len().max(1);
        let by_records = limits::GROUP_RECORDS_MAX / self.records.max(1) as usize;
        callers.min(by_bytes).min(by_records).max(1)
    }
}

/// Speed of the raw loop.
#[derive(Clone, Copy, Debug)]
pub struct Raw {
    /// Transitions of that weight per second.
    pub rate: f64,
    /// Median of one durable write.
    pub p50: Duration,
    /// 99 of 100 writes are at most this.
    pub p99: Duration,
}

/// Times durable writes of groups as `callers` waiting at once would form them.
pub fn raw(dir: &Path, weight: &Weight, callers: usize, time: Duration) -> anyhow::Result<Raw> {
    let group = weight.group(callers);
    let bytes = weight.lines.repeat(group);
    let mut file = RawFile::create(dir, RAW_FILE_BYTES.max(bytes.len() as u64))?;
    let begun = Instant::now();
    let mut times = Vec::new();
    while begun.elapsed() < time || times.len() < 3 {
        times.push(file.write_durably(&bytes)?);
    }
    let rate = (times.len() * group) as f64 / begun.elapsed().as_secs_f64();
    times.sort();
    Ok(Raw { rate, p50: percentile(&times, 0.5), p99: percentile(&times, 0.99) })
}

/// Appends per second of the bare log with `callers` streams that each wait for their last append.
pub fn bare_log(
    log: &dyn LogStore,
    weight: &Weight,
    callers: usize,
    time: Duration,
) -> anyhow::Result<f64> {
    let ctx = TenantCtx::local_operator();
    let inbox = Arc::new(Inbox::default());
    let sink: Arc<dyn CommitSink> = Arc::clone(&inbox) as Arc<dyn CommitSink>;
    let tails = weight.tails();
    let mut streams: Vec<(InstanceId, Seq)> =
        (0..callers).map(|_| (InstanceId(Uuid::now_v7()), 1)).collect();
    let begun = Instant::now();
    let append = |streams: &mut [(InstanceId, Seq)], at: usize| {
        let (stream, next) = &mut streams[at];
        let first_seq = *next;
        let mut lines = Vec::with_capacity(weight.lines.len() + 64);
        for tail in &tails {
            let tenant = ctx.tenant();
            // Writing to memory cannot fail.
            let _ =
                write!(lines, r#"{{"tenant_id":"{tenant}","instance_id":"{stream}","seq":{next}"#);
            lines.extend_from_slice(tail);
            *next += 1;
        }
        let (stream, count, lines) = (*stream, weight.records, lines.into());
        let append = Append {
            stream,
            first_seq,
            count,
            lines,
            ends_stream: false,
            known_to: 0,
            subject: None,
        };
        log.append(&ctx, append, &sink, at as u64);
    };
    for at in 0..callers {
        append(&mut streams, at);
    }
    let (mut done, mut open) = (0u64, callers);
    while open > 0 {
        let outcomes = inbox.take();
        let is_over = begun.elapsed() >= time;
        for (token, commit) in outcomes {
            commit?;
            done += 1;
            if is_over {
                open -= 1;
            } else {
                append(&mut streams, usize::try_from(token)?);
            }
        }
    }
    Ok(done as f64 / begun.elapsed().as_secs_f64())
}

/// Outcomes that wait for the loop. Appending from the log's own thread would hold it up.
#[derive(Debug, Default)]
struct Inbox {
    outcomes: Mutex<Vec<(u64, Commit)>>,
    filled: Condvar,
}

impl Inbox {
    fn lock(&self) -> MutexGuard<'_, Vec<(u64, Commit)>> {
        self.outcomes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self) -> Vec<(u64, Commit)> {
        let mut outcomes = self.lock();
        while outcomes.is_empty() {
            outcomes = self.filled.wait(outcomes).unwrap_or_else(PoisonError::into_inner);
        }
        std::mem::take(&mut *outcomes)
    }
}

impl CommitSink for Inbox {
    fn committed(&self, outcomes: &mut dyn Iterator<Item = (u64, Commit)>) {
        self.lock().extend(outcomes);
        self.filled.notify_one();
    }
}
