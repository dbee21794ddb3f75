//! What the tests share: small logs on a simulated disk, and a check of all that must hold.

use std::{cell::Cell, collections::HashMap, path::Path};

use traaviis_model::{InstanceId, Seq, TenantCtx};
use traaviis_ports::{Append, Commit, LogError, Position};
use traaviis_store::{Codec, Durability, Entry, LogCore, Options, Recovery};
use traaviis_testkit::{disk::SimDisk, log_contract};

pub const DATA: &str = "/data";

thread_local! {
    static CODEC: Cell<Codec> = const { Cell::new(Codec::Packed) };
}

/// Runs a check with each codec that a log can have; [`small`] then says it.
pub fn in_each_codec(check: impl Fn()) {
    for codec in [Codec::Packed, Codec::Text] {
        write_in(codec);
        check();
    }
}

/// Lets logs that are opened from now on by this test write in a codec.
pub fn write_in(codec: Codec) {
    CODEC.set(codec);
}

/// Segments so small that a script of some groups rotates.
pub fn small() -> Options {
    Options { durability: Durability::Commit, segment_bytes: 2048, codec: CODEC.get() }
}

pub fn open(disk: &SimDisk) -> Result<(LogCore<SimDisk>, Recovery), LogError> {
    LogCore::open(disk.clone(), Path::new(DATA), small())
}

pub fn ctx() -> TenantCtx {
    TenantCtx::for_test(1)
}

pub fn stream(number: u128) -> InstanceId {
    log_contract::stream(number)
}

/// An append whose text says who wrote it, so that a reader notices a swap.
pub fn append(of: InstanceId, first_seq: Seq, count: u32, text: &str) -> Append {
    let lines = log_contract::lines(&ctx(), of, first_seq, count, text).into();
    Append { stream: of, first_seq, count, lines, ends_stream: false, known_to: 0, subject: None }
}

pub fn entry(append: Append) -> Entry {
    Entry { tenant: ctx().tenant(), append }
}

pub fn commit(core: &mut LogCore<SimDisk>, appends: &[Append]) -> Vec<Commit> {
    let group: Vec<Entry> = appends.iter().cloned().map(entry).collect();
    let mut outcomes = Vec::new();
    core.commit(&group, &mut outcomes);
    assert_eq!(outcomes.len(), group.len());
    outcomes
}

pub fn scanned(core: &LogCore<SimDisk>) -> Vec<(Position, String)> {
    let mut lines = Vec::new();
    let mut visit = |line: traaviis_ports::Line<'_>| {
        lines.push((line.position, String::from_utf8(line.bytes.to_vec()).unwrap()));
    };
    core.scan(0, &mut visit).unwrap();
    lines
}

/// What a caller knows: which appends were acknowledged, and which may or may not be there.
#[derive(Default)]
pub struct Known {
    /// Lines of every append ever offered, by first line.
    pub steps: HashMap<String, Vec<String>>,
    /// Acknowledged lines by position.
    pub acknowledged: HashMap<Position, String>,
    /// Lines of appends refused as not written; they must never appear.
    pub refused: Vec<String>,
}

impl Known {
    pub fn offer(&mut self, append: &Append) -> Vec<String> {
        let text = String::from_utf8(append.lines.written().to_vec()).unwrap();
        let lines: Vec<String> = text.lines().map(str::to_owned).collect();
        self.steps.insert(lines[0].clone(), lines.clone());
        lines
    }

    pub fn told(&mut self, append: &Append, outcome: &Commit) {
        let lines = self.offer(append);
        match outcome {
            Ok(position) => {
                let first = position - lines.len() as Position;
                self.acknowledged.extend((first..).zip(lines));
            }
            Err(LogError::Full) => self.refused.extend(lines),
            Err(_) => {}
        }
    }

    /// Checks what was read back; returns the last number of each stream.
    pub fn check(&self, lines: &[(Position, String)], what: &str) -> HashMap<InstanceId, Seq> {
        let mut last: HashMap<InstanceId, Seq> = HashMap::new();
        for (index, (position, line)) in lines.iter().enumerate() {
            assert_eq!(*position, index as Position, "{what}: positions are not dense");
            let key = traaviis_model::record::peek_line(line.as_bytes()).unwrap();
            let before = last.insert(key.instance_id, key.seq).unwrap_or(0);
            assert_eq!(key.seq, before + 1, "{what}: numbers are not dense");
        }
        for (position, line) in &self.acknowledged {
            let found = lines.get(*position as usize).map(|(_, line)| line);
            assert_eq!(found, Some(line), "{what}: an acknowledged record is lost");
        }
        let texts: Vec<&String> = lines.iter().map(|(_, line)| line).collect();
        for refused in &self.refused {
            assert!(!texts.contains(&refused), "{what}: a refused record is there: {refused}");
        }
        let mut at = 0;
        while at < texts.len() {
            let step = self.steps.get(texts[at]);
            let step = step.unwrap_or_else(|| panic!("{what}: `{}` starts no step", texts[at]));
            let found = texts.get(at..at + step.len()).unwrap_or_default();
            assert!(found.iter().copied().eq(step), "{what}: a step is there in part");
            at += step.len();
        }
        last
    }
}
