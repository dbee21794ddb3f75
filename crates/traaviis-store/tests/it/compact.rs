//! Compaction on a simulated disk: what stays is what it was, where it was, whatever breaks.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use traaviis_model::{InstanceId, Seq, Timestamp};
use traaviis_ports::{
    Archive, Archived, ArchivedHistory, Compacted, Compaction, LogError, Position, archive::Mode,
};
use traaviis_store::{FileArchive, LogCore};
use traaviis_testkit::{
    disk::{Fault, SimDisk},
    rng::Rng,
};

use crate::support::{DATA, append, commit, ctx, in_each_codec, open, scanned, stream};

type Lines = Vec<(Position, String)>;

fn archive(disk: &SimDisk) -> FileArchive<SimDisk> {
    FileArchive::new(disk.clone(), Path::new(DATA))
}

fn compact(
    core: &LogCore<SimDisk>,
    disk: &SimDisk,
    expired: &[InstanceId],
    mode: Mode,
) -> Result<Compacted, LogError> {
    let expired: Vec<_> = expired.iter().map(|it| (ctx().tenant(), *it)).collect();
    let (pace, tell) = (&mut |_| true, &mut |_| ());
    core.compact(&archive(disk), &mut Compaction { expired: &expired, mode, pace, tell })
}

/// Streams that begin and end at random, over some segments; returns the log and what is in it.
fn grown(disk: &SimDisk, seed: u64) -> (LogCore<SimDisk>, Lines) {
    let mut rng = Rng::new(seed);
    let (mut core, _) = open(disk).unwrap();
    let mut next: BTreeMap<u128, Seq> = BTreeMap::new();
    for round in 0..60 {
        let number = 1 + u128::from(rng.below(3 + round / 4));
        let first = *next.entry(number).or_insert(1);
        let count = 1 + rng.below(4) as u32;
        let noise: String = (0..rng.below(12)).map(|_| format!("{:x}", rng.next_u64())).collect();
        let append = append(stream(number), first, count, &format!("{number}-{noise}"));
        commit(&mut core, &[append])[0].as_ref().unwrap();
        next.insert(number, first + Seq::from(count));
        if round % 20 == 19 || round == 50 {
            core.put_checkpoint(core.tail(), b"body").unwrap();
        }
    }
    let lines = scanned(&core);
    (core, lines)
}

fn id_of(line: &str) -> InstanceId {
    traaviis_model::record::peek_line(line.as_bytes()).unwrap().instance_id
}

/// Puts the histories of some streams into the archive.
fn put(disk: &SimDisk, lines: &Lines, streams: &BTreeSet<InstanceId>) -> Result<(), LogError> {
    for id in streams {
        let own = lines.iter().filter(|(_, line)| id_of(line) == *id);
        let lines: Vec<Vec<u8>> = own.map(|(_, line)| line.clone().into_bytes()).collect();
        let entry = Archived {
            id: *id,
            seq: lines.len() as Seq,
            finished_at: Timestamp(1),
            delete_at: Timestamp(2),
            summary: b"{}".to_vec(),
        };
        archive(disk).put(&ctx(), &ArchivedHistory { entry, lines })?;
    }
    Ok(())
}

fn every_second(lines: &Lines) -> BTreeSet<InstanceId> {
    let all: BTreeSet<InstanceId> = lines.iter().map(|(_, line)| id_of(line)).collect();
    all.into_iter().step_by(2).collect()
}

/// Checks that all is where it was, but for records of `gone`, of which the oldest go first.
fn check(before: &Lines, after: &Lines, gone: &BTreeSet<InstanceId>, what: &str) {
    let mut left = after.iter().peekable();
    let mut seen = BTreeSet::new();
    for record in before {
        let id = id_of(&record.1);
        if left.peek() == Some(&record) {
            left.next();
            seen.insert(id);
        } else {
            assert!(gone.contains(&id), "{what}: a record that nobody archived is gone");
            assert!(!seen.contains(&id), "{what}: what is left looks like an open instance");
        }
    }
    assert_eq!(left.next(), None, "{what}: a record came from nowhere");
}

/// Opens the log again and checks that it can be read from anywhere, and goes on.
fn check_reopened(disk: &SimDisk, before: &Lines, gone: &BTreeSet<InstanceId>, what: &str) {
    let (mut core, recovery) = open(disk).unwrap_or_else(|error| panic!("{what}: {error}"));
    assert_eq!((recovery.damage, recovery.damaged_streams), (vec![], vec![]), "{what}");
    let after = scanned(&core);
    check(before, &after, gone, what);
    for from in [0, 1, 37, 80] {
        let mut found = Vec::new();
        core.scan(from, &mut |line| found.push(line.position)).unwrap();
        let expected = after.iter().map(|it| it.0).filter(|it| *it >= from);
        assert!(expected.eq(found.iter().copied()), "{what}: from {from}");
    }
    for id in after.iter().map(|(_, line)| id_of(line)).collect::<BTreeSet<_>>() {
        if !gone.contains(&id) {
            let own = before.iter().filter(|(_, line)| id_of(line) == id);
            let read = core.read((ctx().tenant(), id), 1, usize::MAX).unwrap();
            assert!(own.map(|it| it.1.as_bytes()).eq(read.iter().map(Vec::as_slice)), "{what}");
        }
    }
    let tail = before.last().unwrap().0 + 1;
    let more = commit(&mut core, &[append(stream(500), 1, 1, "more")]);
    assert_eq!(more[0].as_ref().unwrap(), &(tail + 1), "{what}: positions go on");
}

#[test]
fn what_stays_is_what_it_was_where_it_was() {
    in_each_codec(|| {
        let (mut replaced, mut freed) = (0, 0);
        for seed in 0..60 {
            let what = format!("seed {seed}");
            let disk = SimDisk::new(seed);
            let (core, before) = grown(&disk, seed);
            let gone = every_second(&before);
            put(&disk, &before, &gone).unwrap();
            let dry = compact(&core, &disk, &[], Mode::DryRun).unwrap();
            assert_eq!(scanned(&core), before, "{what}: a dry run changes nothing");
            let wet = compact(&core, &disk, &[], Mode::Write).unwrap();
            assert_eq!(dry, wet, "{what}: a dry run says what would come of it");
            check(&before, &scanned(&core), &gone, &what);
            replaced += wet.replaced;
            freed += wet.bytes_before - wet.bytes_after;
            let again = compact(&core, &disk, &[], Mode::Write).unwrap();
            assert_eq!((again.replaced, again.bytes_before), (0, wet.bytes_after), "{what}");
            drop(core);
            disk.restart();
            check_reopened(&disk, &before, &gone, &what);
            // Without a checkpoint all of it is read.
            disk.kill_process();
            for path in disk.paths().iter().filter(|it| it.ends_with("checkpoint")) {
                disk.set_bytes(path, Vec::new());
            }
            let (core, recovery) = open(&disk).unwrap();
            assert_eq!((recovery.damage, recovery.damaged_streams), (vec![], vec![]), "{what}");
            let mut after = scanned(&core);
            after.pop();
            check(&before, &after, &gone, &what);
        }
        assert!(replaced > 100 && freed > 30_000, "{replaced} {freed}");
    });
}

#[test]
fn a_fault_at_every_call_leaves_the_old_segment_or_the_new_one() {
    in_each_codec(|| {
        let clean = SimDisk::new(1);
        let (core, before) = grown(&clean, 5);
        let gone = every_second(&before);
        let from = clean.calls();
        put(&clean, &before, &gone).unwrap();
        compact(&core, &clean, &[], Mode::Write).unwrap();
        let calls = clean.calls() - from;
        assert!(calls > 60, "{calls}");
        for fault in [Fault::Crash, Fault::Eio, Fault::Enospc, Fault::ShortWrite] {
            for call in 1..=calls {
                let what = format!("{fault:?} at {call}");
                let disk = SimDisk::new(call);
                let (core, before) = grown(&disk, 5);
                disk.fail_at(disk.calls() + call, fault);
                // What follows after a fault: upkeep goes no further.
                let done = put(&disk, &before, &gone)
                    .and_then(|()| compact(&core, &disk, &[], Mode::Write).map(drop));
                if fault != Fault::Crash {
                    check(&before, &scanned(&core), &gone, &what);
                }
                assert!(done.is_ok() || fault != Fault::ShortWrite, "{what}");
                drop(core);
                disk.restart();
                let (core, _) = open(&disk).unwrap();
                put(&disk, &before, &gone).unwrap_or_else(|error| panic!("{what}: {error}"));
                compact(&core, &disk, &[], Mode::Write).unwrap();
                drop(core);
                disk.restart();
                check_reopened(&disk, &before, &gone, &what);
                for id in &gone {
                    let own = before.iter().filter(|(_, line)| id_of(line) == *id);
                    let kept = archive(&disk).get(&ctx(), *id).unwrap().expect(&what);
                    assert!(own.map(|it| it.1.as_bytes()).eq(kept.lines.iter().map(Vec::as_slice)));
                }
            }
        }
    });
}

#[test]
fn reading_goes_on_while_segments_are_replaced() {
    in_each_codec(|| {
        let disk = SimDisk::new(3);
        let (core, before) = grown(&disk, 3);
        let gone = every_second(&before);
        put(&disk, &before, &gone).unwrap();
        // Places that were met lie in segments that are replaced now, and in the middle of a visit.
        let mut seen = Vec::new();
        core.scan(0, &mut |line| {
            if line.position == 5 {
                compact(&core, &disk, &[], Mode::Write).unwrap();
            }
            seen.push((line.position, String::from_utf8(line.bytes.to_vec()).unwrap()));
        })
        .unwrap();
        // Of what is archived just then, a visit that has begun sees the beginning or nothing.
        let stays = |lines: &Lines| {
            lines.iter().filter(|it| !gone.contains(&id_of(&it.1))).cloned().collect::<Lines>()
        };
        assert_eq!(stays(&seen), stays(&before));
        let after = scanned(&core);
        assert!(after.len() < before.len());
        for (from, _) in &before {
            let mut first = None;
            core.scan(*from, &mut |line| first = first.or(Some(line.position))).unwrap();
            assert_eq!(first, after.iter().map(|it| it.0).find(|it| it >= from));
        }
        check_reopened(&disk, &before, &gone, "after");
    });
}

#[test]
fn nothing_goes_that_a_checkpoint_or_a_damaged_archive_still_needs() {
    in_each_codec(|| {
        let disk = SimDisk::new(4);
        let (core, before) = grown(&disk, 4);
        let gone = every_second(&before);
        put(&disk, &before, &gone).unwrap();
        let checkpoints = disk.paths();
        let checkpoints = checkpoints.iter().filter_map(|it| {
            let name = it.file_name()?.to_str()?.strip_suffix(".checkpoint")?;
            name.parse::<Position>().ok()
        });
        let oldest = checkpoints.min().unwrap();
        // All archive files but one are damaged; only what that one has may go.
        let (whole, rest) = (gone.first().unwrap(), gone.iter().skip(1));
        for id in rest {
            let paths = disk.paths();
            let path = paths.iter().find(|it| it.to_str().unwrap().contains(&id.to_string()));
            disk.set_bytes(path.unwrap(), b"damaged".to_vec());
        }
        compact(&core, &disk, &[], Mode::Write).unwrap();
        let after = scanned(&core);
        check(&before, &after, &BTreeSet::from([*whole]), "damaged archive");
        let behind =
            |lines: &Lines| lines.iter().filter(|it| it.0 >= oldest).cloned().collect::<Lines>();
        assert_eq!(behind(&after), behind(&before));
    });
}

#[test]
fn expired_instances_are_dropped_everywhere_or_said_to_be_left() {
    in_each_codec(|| {
        let disk = SimDisk::new(6);
        let (core, before) = grown(&disk, 6);
        let all: BTreeSet<InstanceId> = before.iter().map(|(_, line)| id_of(line)).collect();
        let expired: Vec<InstanceId> = all.iter().copied().collect();
        let done = compact(&core, &disk, &expired, Mode::Write).unwrap();
        let after = scanned(&core);
        check(&before, &after, &all, "expired");
        let left: BTreeSet<InstanceId> = after.iter().map(|(_, line)| id_of(line)).collect();
        let told: BTreeSet<InstanceId> = done.left.iter().map(|it| it.1).collect();
        assert_eq!(left, told);
        assert!(left.len() < all.len(), "some are gone");
    });
}

#[test]
fn a_damaged_segment_stops_it() {
    in_each_codec(|| {
        let disk = SimDisk::new(7);
        let (core, before) = grown(&disk, 7);
        let gone = every_second(&before);
        put(&disk, &before, &gone).unwrap();
        let paths = disk.paths();
        let segments: Vec<_> =
            paths.iter().filter(|it| it.extension().is_some_and(|it| it == "seg")).collect();
        disk.flip_bit(segments[1], 8 * 200);
        let bytes: Vec<_> = segments.iter().map(|it| disk.bytes(it)).collect();
        let done = compact(&core, &disk, &[*gone.first().unwrap()], Mode::Write).unwrap();
        assert_eq!(done.segments, 1);
        assert_eq!(done.left.len(), 1, "nothing is known to be gone");
        let after: Vec<_> = segments.iter().map(|it| disk.bytes(it)).collect();
        assert_eq!(after[1..], bytes[1..]);
    });
}
