//! Crashes: what is lost with the process or the power, and what the next life finds.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use traaviis_model::{Record, TenantCtx, Value, record::peek_line};
use traaviis_ports::{LogStore as _, Position, SnapshotStore};
use traaviis_runtime::{
    owner::{Key, Owner, Settings},
    past::Past,
    recovery::{Recovery, Sources},
};
use traaviis_testkit::disk::Fault;

use super::{FULL_BYTES, HOT_BYTES, OpState, Sim, class, log, shard};
use crate::{
    simulated_index::SimulatedIndex,
    support::{Known, Letters, Outside},
};

impl Sim<'_> {
    /// The process ends, with the machine's power or without, and starts again.
    pub(super) fn crash(&mut self, power: bool) {
        self.facts.crashes += 1;
        self.life += 1;
        self.trace.add(b"crash");
        // Answers told before the end have been heard.
        self.take_answers();
        self.shards.clear();
        self.answers = Arc::default();
        self.letters = Letters::default();
        self.checkpoint_from = None;
        self.collected = None;
        self.checkpoints = [0; 2];
        for op in &mut self.ops {
            if op.state == OpState::Sent {
                op.state = OpState::Ready;
            }
        }
        let power = power || self.disk.is_crashed();
        if let Some(index) = &mut self.index {
            index.crash(power, &mut self.rng);
        }
        if power {
            self.disk.restart();
        } else {
            self.disk.kill_process();
        }
        self.squeezed = false;
        self.disk.set_space(None);
        if !self.calm && self.rng.chance(1, 4) {
            self.disk.fail_at(self.disk.calls() + 1 + self.rng.below(5), Fault::Crash);
        }
        loop {
            match log::open(&self.disk, self.codecs[self.life as usize % 2]) {
                Ok(log) => break self.log = log,
                Err(error) if self.disk.is_crashed() => {
                    self.trace.add(error.code());
                    self.disk.restart();
                }
                Err(error) => panic!("the log does not open: {error}"),
            }
        }
        self.recover();
    }

    pub(super) fn recover(&mut self) {
        // The end each time, everything now and then, and at last: what is gone stays gone.
        const END: usize = 300;
        self.look_for_half_archived();
        let held = self.acknowledged.len();
        let whole = self.calm || self.rng.chance(1, 24);
        let from = if whole { 0 } else { held.saturating_sub(END) };
        let mut found: Vec<Vec<u8>> = Vec::new();
        self.log
            .scan(from as Position, &mut |line| {
                // A dropped record leaves its position, and is not visited.
                found.resize(line.position as usize - from, Vec::new());
                found.push(line.bytes.to_vec());
            })
            .expect("the log is readable");
        assert!(from + found.len() >= held, "acknowledged records are gone");
        for (at, line) in self.acknowledged[from..].iter().enumerate() {
            let at = from + at;
            // What was dropped is in the archive.
            let is_dropped = found[at - from].is_empty()
                && peek_line(line).is_ok_and(|it| self.archived.contains(&it.instance_id));
            assert!(
                is_dropped || *line == found[at - from],
                "record {at} is another one than was acknowledged"
            );
        }
        // What was written and not acknowledged is true from now on.
        self.hearing.round += 1;
        for line in found.split_off(held - from) {
            self.note(Record::read_line(&line).unwrap());
            self.trace.add(&line);
            self.acknowledged.push(line);
        }
        self.clock.begun.push(self.now);
        self.lose_states();
        let index = self.index.as_ref().map(SimulatedIndex::port);
        let snapshots = self.snapshots.clone();
        let sources = Sources {
            log: &*self.log,
            damaged: &[],
            lost: &[],
            index,
            snapshots: snapshots.as_ref().map(|it| &**it as &dyn SnapshotStore),
        };
        let recovery = Recovery::read_all(sources, 1_000).expect("recovery works");
        let post = Arc::new(self.letters.clone());
        let past = Some(Past::of(Arc::clone(&self.log) as _));
        let library = Arc::new(Known(self.machines.to_vec()));
        self.forgets = Arc::new(AtomicBool::new(recovery.forgets()));
        let forgets = Arc::clone(&self.forgets);
        let snapshots = snapshots.map(|it| it as Arc<dyn SnapshotStore>);
        let settings = Settings {
            slots: 4,
            post,
            library,
            past,
            forgets,
            snapshots,
            hot_bytes: HOT_BYTES,
            full_bytes: FULL_BYTES,
            ..Settings::default()
        };
        let count = 1 + (self.life as usize) % 2;
        self.letters.1.store(count, Ordering::SeqCst);
        let (parts, report) = recovery.divide(count, &|key: &Key| shard(key.id, count));
        assert!(report.faults.is_empty(), "{report:?}");
        assert!(report.definitions_missing.is_empty(), "{report:?}");
        assert_eq!(report.index_failed, None);
        assert!(self.states_lost || report.snapshots_rebuilt.is_none(), "{report:?}");
        if (self.calm || self.rng.chance(1, 32))
            && let Some(index) = &self.index
        {
            index.check_rebuild(&*self.log);
        }
        self.shards = parts
            .into_iter()
            .map(|part| (Owner::new(settings.clone(), part), Outside::default()))
            .collect();
        self.check_state();
        let class = |_: &TenantCtx, kind: &str, input: &Value| class(kind, input);
        for (owner, outside) in &mut self.shards {
            owner.resume(&class, self.now, outside);
        }
        self.settle();
    }
}
