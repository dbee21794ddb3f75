//! Faults at every persistence call, and many random runs.

use std::{collections::HashMap, path::Path};

use traaviis_model::{InstanceId, Seq};
use traaviis_ports::{Append, LogError};
use traaviis_store::{Durability, LogCore, Options};
use traaviis_testkit::{
    disk::{Fault, SimDisk},
    rng::Rng,
};

use crate::support::{DATA, Known, append, commit, in_each_codec, open, scanned, small, stream};

/// One caller with some streams, who goes on from what he was told.
struct Caller {
    known: Known,
    next: HashMap<InstanceId, Seq>,
    number: u64,
}

impl Caller {
    fn new() -> Caller {
        Caller { known: Known::default(), next: HashMap::new(), number: 0 }
    }

    /// Makes a group of appends; the text is unique, its size random.
    fn group(&mut self, rng: &mut Rng, appends: u64) -> Vec<Append> {
        let mut next = self.next.clone();
        let mut group = Vec::new();
        for _ in 0..appends {
            let of = stream(1 + u128::from(rng.below(4)));
            let first = *next.entry(of).or_insert(1);
            let count = 1 + rng.below(4) as u32;
            self.number += 1;
            // Random digits, so that compression leaves sizes that cross sectors.
            let noise: String =
                (0..rng.below(30)).map(|_| format!("{:x}", rng.next_u64())).collect();
            group.push(append(of, first, count, &format!("{}-{noise}", self.number)));
            next.insert(of, first + Seq::from(count));
        }
        group
    }

    fn commit(&mut self, core: &mut LogCore<SimDisk>, group: &[Append]) -> bool {
        let outcomes = commit(core, group);
        for (append, outcome) in group.iter().zip(&outcomes) {
            self.known.told(append, outcome);
            if outcome.is_ok() {
                *self.next.entry(append.stream).or_insert(1) += Seq::from(append.count);
            }
        }
        let failed = outcomes.iter().any(|outcome| matches!(outcome, Err(LogError::Failed(_))));
        if failed {
            let mut more = group[0].clone();
            more.stream = stream(99);
            let after = commit(core, std::slice::from_ref(&more));
            assert!(
                matches!(after[0], Err(LogError::Failed(_))),
                "it acknowledges after a failure"
            );
        }
        !failed
    }

    /// Opens the log, checks what is there and learns from it where to go on.
    fn open(&mut self, disk: &SimDisk, what: &str) -> Option<LogCore<SimDisk>> {
        let core = match open(disk) {
            Ok((core, recovery)) => {
                assert_eq!(recovery.damage, [], "{what}");
                core
            }
            Err(_) => return None,
        };
        let last = self.known.check(&scanned(&core), what);
        self.next = last.into_iter().map(|(stream, last)| (stream, last + 1)).collect();
        Some(core)
    }
}

/// Runs some groups, with checkpoints and one proper restart, as far as the disk lets it.
fn script(caller: &mut Caller, disk: &SimDisk, seed: u64, what: &str) {
    let mut rng = Rng::new(seed);
    for _ in 0..2 {
        let Some(mut core) = caller.open(disk, what) else { return };
        for round in 0..8 {
            let appends = 1 + rng.below(4);
            let group = caller.group(&mut rng, appends);
            if !caller.commit(&mut core, &group) {
                return;
            }
            if round % 3 == 2 && core.put_checkpoint(core.tail(), b"body").is_err() {
                assert!(!caller.known.acknowledged.is_empty());
            }
        }
        drop(core);
        disk.kill_process();
    }
}

#[test]
fn a_fault_at_every_call_loses_nothing() {
    in_each_codec(|| {
        let clean = SimDisk::new(1);
        script(&mut Caller::new(), &clean, 7, "clean");
        let calls = clean.calls();
        assert!(calls > 60, "{calls}");
        for fault in [Fault::Crash, Fault::Eio, Fault::Enospc, Fault::ShortWrite] {
            for call in 1..=calls {
                for then_crash in [true, false] {
                    let what = format!("{fault:?} at {call}, crash {then_crash}");
                    let disk = SimDisk::new(call);
                    disk.fail_at(call, fault);
                    let mut caller = Caller::new();
                    script(&mut caller, &disk, 7, &what);
                    if then_crash || disk.is_crashed() {
                        disk.restart();
                    } else {
                        disk.kill_process();
                    }
                    let mut core = caller.open(&disk, &what).expect(&what);
                    let group = caller.group(&mut Rng::new(call), 3);
                    assert!(caller.commit(&mut core, &group), "{what}");
                    let checkpoint = core.checkpoint().unwrap();
                    assert!(checkpoint.is_none_or(|(_, body)| body == b"body"), "{what}");
                    drop(core);
                    disk.restart();
                    caller.open(&disk, &what).expect(&what);
                }
            }
        }
    });
}

#[test]
fn two_hundred_random_runs_lose_nothing() {
    in_each_codec(|| {
        for seed in 0..200 {
            let mut rng = Rng::new(seed);
            let disk = SimDisk::new(seed);
            let mut caller = Caller::new();
            for life in 0..6 {
                let what = format!("seed {seed}, life {life}");
                let faults =
                    [Fault::Crash, Fault::Crash, Fault::Eio, Fault::Enospc, Fault::ShortWrite];
                for _ in 0..rng.below(3) {
                    let fault = faults[rng.index(faults.len())];
                    disk.fail_at(disk.calls() + 1 + rng.below(40), fault);
                }
                script(&mut caller, &disk, rng.next_u64(), &what);
                disk.restart();
            }
            caller.open(&disk, &format!("seed {seed}")).unwrap();
        }
    });
}

#[test]
fn a_full_disk_recovers_without_a_restart() {
    in_each_codec(|| {
        let disk = SimDisk::new(3);
        let mut caller = Caller::new();
        let mut rng = Rng::new(3);
        let mut core = caller.open(&disk, "full").unwrap();
        let mut refused = 0;
        for round in 0..200 {
            // Room for one segment more, then none, then room again.
            match round % 20 {
                0 => disk.set_space(None),
                5 => disk.set_space(Some(disk.paths().len() as u64 * 512)),
                _ => {}
            }
            let group = caller.group(&mut rng, 2);
            let before = caller.known.refused.len();
            assert!(caller.commit(&mut core, &group), "a full disk must not stop the log");
            refused += usize::from(caller.known.refused.len() > before);
        }
        assert!(refused > 10, "{refused}");
        caller.known.check(&scanned(&core), "full");
        disk.set_space(None);
        disk.restart();
        caller.open(&disk, "full").unwrap();
    });
}

#[test]
fn a_failed_sync_stops_the_log_for_ever() {
    in_each_codec(|| {
        for fault in [Fault::Eio, Fault::Enospc] {
            let disk = SimDisk::new(3);
            let (mut core, _) = open(&disk).unwrap();
            commit(&mut core, &[append(stream(1), 1, 1, "a")])[0].as_ref().unwrap();
            // The next commit is a write, then its sync.
            disk.fail_at(disk.calls() + 2, fault);
            for number in 2..5 {
                let outcomes = commit(&mut core, &[append(stream(number), 1, 1, "b")]);
                assert!(matches!(outcomes[0], Err(LogError::Failed(_))), "{outcomes:?}");
            }
            assert!(matches!(core.put_checkpoint(1, b""), Err(LogError::Failed(_))));
            assert_eq!(scanned(&core).len(), 1);
        }
    });
}

#[test]
fn relaxed_loses_only_the_end() {
    in_each_codec(|| {
        let options = Options { durability: Durability::Relaxed, ..small() };
        for seed in 0..100 {
            let disk = SimDisk::new(seed);
            let mut rng = Rng::new(seed);
            let mut caller = Caller::new();
            let (mut core, _) = LogCore::open(disk.clone(), Path::new(DATA), options).unwrap();
            let mut synced = 0;
            for round in 0..12 {
                let group = caller.group(&mut rng, 2);
                assert!(caller.commit(&mut core, &group));
                if round % 5 == 4 {
                    core.sync().unwrap();
                    synced = core.tail();
                }
            }
            disk.restart();
            let (core, recovery) = LogCore::open(disk.clone(), Path::new(DATA), options).unwrap();
            assert_eq!(recovery.damage, [], "seed {seed}");
            assert!(recovery.tail >= synced, "seed {seed}");
            caller.known.acknowledged.retain(|position, _| *position < synced);
            caller.known.check(&scanned(&core), &format!("seed {seed}"));
        }
    });
}

#[test]
fn a_read_only_disk_is_an_error() {
    in_each_codec(|| {
        let disk = SimDisk::new(1);
        disk.set_read_only(true);
        let refused = open(&disk).err().unwrap();
        assert!(matches!(refused, LogError::Io { what: "create", .. }), "{refused}");
        disk.set_read_only(false);
        drop(open(&disk).unwrap());
        disk.set_read_only(true);
        assert!(matches!(open(&disk).err().unwrap(), LogError::Io { .. }));
    });
}
