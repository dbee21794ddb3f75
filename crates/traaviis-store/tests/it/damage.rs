//! Bytes that changed: torn tails are cut, everything else is found, kept and reported.

use std::path::{Path, PathBuf};

use traaviis_ports::{LogError, Position};
use traaviis_store::{Codec, frame::FrameHeader, segment};
use traaviis_testkit::{
    disk::{Fault, SimDisk},
    rng::Rng,
};

use crate::support::{DATA, append, commit, ctx, in_each_codec, open, scanned, stream, write_in};

fn path(first: Position) -> PathBuf {
    Path::new(DATA).join("log").join(segment::name(first))
}

/// A log of `groups` groups of two records each, streams 1 to 3 in turn, and its segments.
fn log_of(groups: u64) -> (SimDisk, Vec<Position>, Vec<(Position, String)>) {
    let disk = SimDisk::new(1);
    let (mut core, _) = open(&disk).unwrap();
    for group in 0..groups {
        let of = stream(1 + u128::from(group % 3));
        let first = group / 3 * 2 + 1;
        let text = format!("{group:x}").repeat(60);
        commit(&mut core, &[append(of, first, 2, &text)])[0].as_ref().unwrap();
    }
    let lines = scanned(&core);
    let names = disk
        .paths()
        .into_iter()
        .filter_map(|path| path.file_name()?.to_str()?.strip_suffix(".seg")?.parse().ok());
    disk.settle();
    (disk.clone(), names.collect(), lines)
}

/// Offsets of the frames of a segment.
fn frames(bytes: &[u8]) -> Vec<(usize, FrameHeader)> {
    let mut at = 0;
    let mut frames = Vec::new();
    while let Ok(header) = FrameHeader::decode(&bytes[at..]) {
        frames.push((at, header));
        at += header.frame_bytes() as usize;
    }
    frames
}

/// Opens a damaged copy; nothing read may differ from what was written at its position.
fn check_found(disk: &SimDisk, lines: &[(Position, String)], what: &str) {
    let (core, recovery) = open(disk).unwrap();
    assert!(!recovery.damage.is_empty(), "{what}: not found");
    let read = scanned(&core);
    for (position, line) in &read {
        assert_eq!(&lines[*position as usize].1, line, "{what}: read wrong");
    }
    let lost: Vec<Position> = lines
        .iter()
        .map(|(position, _)| *position)
        .filter(|position| !read.iter().any(|(read, _)| read == position))
        .collect();
    for position in &lost {
        let is_told = recovery.damage.iter().any(|d| d.from <= *position && *position < d.to);
        assert!(is_told, "{what}: {position} is lost silently: {recovery:?}");
    }
    for number in 1..=3 {
        let key = (ctx().tenant(), stream(number));
        let Ok(history) = core.read(key, 1, usize::MAX) else { continue };
        let text = format!("\"instance_id\":\"{}\"", stream(number));
        let written: Vec<_> = lines.iter().filter(|(_, line)| line.contains(&text)).collect();
        // A history that is answered is right as far as it goes.
        for (read, (_, written)) in history.iter().zip(&written) {
            assert_eq!(read, written.as_bytes(), "{what}");
        }
    }
}

#[test]
fn three_hundred_flips_in_closed_segments_are_found() {
    in_each_codec(|| {
        let (disk, segments, lines) = log_of(40);
        assert!(segments.len() > 3, "{segments:?}");
        let mut rng = Rng::new(5);
        for round in 0..300 {
            let disk = disk.copy(round);
            let path = path(segments[rng.index(segments.len() - 1)]);
            let bits = disk.bytes(&path).unwrap().len() * 8;
            let flips: Vec<usize> = (0..1 + rng.below(3)).map(|_| rng.index(bits)).collect();
            flips.iter().for_each(|bit| disk.flip_bit(&path, *bit));
            check_found(&disk, &lines, &format!("flips {flips:?} in {}", path.display()));
        }
    });
}

#[test]
fn every_truncation_of_a_closed_segment_is_found() {
    in_each_codec(|| {
        let (disk, segments, lines) = log_of(40);
        let bytes = disk.bytes(&path(segments[1])).unwrap();
        for len in 0..bytes.len() {
            let disk = disk.copy(1);
            disk.set_bytes(&path(segments[1]), bytes[..len].to_vec());
            check_found(&disk, &lines, &format!("cut to {len}"));
        }
    });
}

#[test]
fn a_missing_segment_and_a_swapped_frame_are_found() {
    in_each_codec(|| {
        let (disk, segments, lines) = log_of(40);
        let without = SimDisk::new(1);
        for path in disk.paths().into_iter().filter(|held| *held != path(segments[1])) {
            without.set_bytes(&path, disk.bytes(&path).unwrap());
        }
        check_found(&without, &lines, "missing segment");

        // A frame whose checksums fit, but which is not the one that the next frame follows.
        let swapped = disk.copy(1);
        let other = SimDisk::new(9);
        let (mut core, _) = open(&other).unwrap();
        commit(&mut core, &[append(stream(1), 1, 2, &"0".repeat(59))])[0].as_ref().unwrap();
        let forged = other.bytes(&path(0)).unwrap();
        let forged_len = frames(&forged)[0].1.frame_bytes() as usize;
        let mut bytes = swapped.bytes(&path(0)).unwrap();
        let first_len = frames(&bytes)[0].1.frame_bytes() as usize;
        bytes.splice(..first_len, forged[..forged_len].iter().copied());
        swapped.set_bytes(&path(0), bytes);
        let (_, recovery) = open(&swapped).unwrap();
        assert!(!recovery.damage.is_empty());
    });
}

#[test]
fn a_torn_tail_of_every_length_is_cut() {
    in_each_codec(|| {
        let (disk, segments, lines) = log_of(9);
        let last = path(*segments.last().unwrap());
        let bytes = disk.bytes(&last).unwrap();
        let (offset, header) = *frames(&bytes).last().unwrap();
        let end = offset + header.frame_bytes() as usize;
        let kept = &lines[..header.first as usize];
        for len in 0..header.frame_bytes() as usize {
            for zeros in [0, 1, 600] {
                let disk = disk.copy(1);
                let mut torn = bytes[..offset + len].to_vec();
                torn.resize(torn.len() + zeros, 0);
                disk.set_bytes(&last, torn);
                let (mut core, recovery) = open(&disk).unwrap();
                assert_eq!(recovery.damage, [], "{len}+{zeros}");
                // Where the rest of the frame happens to be zeros, it is whole.
                if recovery.tail as usize != kept.len() {
                    assert!(bytes[offset + len..end].iter().all(|byte| *byte == 0) && zeros > 0);
                    continue;
                }
                assert_eq!(recovery.cut.is_some(), len > 0, "{len}+{zeros}");
                assert_eq!(scanned(&core), kept);
                let again = commit(&mut core, &[append(stream(7), 1, 1, "again")]);
                assert_eq!(*again[0].as_ref().unwrap(), kept.len() as Position + 1);
                disk.restart();
                assert_eq!(open(&disk).unwrap().1.tail, kept.len() as Position + 1);
            }
        }
    });
}

#[test]
fn zeros_behind_the_tail_are_its_end() {
    in_each_codec(|| {
        let (disk, segments, lines) = log_of(5);
        let last = path(*segments.last().unwrap());
        for more in [0, 1, 83, 84, 4096, 300_000] {
            let disk = disk.copy(1);
            let mut bytes = disk.bytes(&last).unwrap();
            bytes.resize(bytes.len() + more, 0);
            disk.set_bytes(&last, bytes);
            let (core, recovery) = open(&disk).unwrap();
            assert_eq!((recovery.damage, recovery.cut), (vec![], None));
            assert_eq!(scanned(&core), lines);
        }
    });
}

#[test]
fn a_bad_frame_before_a_good_one_is_quarantined() {
    in_each_codec(|| {
        let (disk, segments, lines) = log_of(9);
        let last = path(*segments.last().unwrap());
        let bytes = disk.bytes(&last).unwrap();
        let all = frames(&bytes);
        let (offset, header) = all[all.len() - 2];
        disk.flip_bit(&last, (offset + header.frame_bytes() as usize - 2) * 8);
        let mut damaged = disk.bytes(&last).unwrap();
        let (end, end_header) = all[all.len() - 1];
        damaged.truncate(end + end_header.frame_bytes() as usize);
        for _ in 0..2 {
            let (mut core, recovery) = open(&disk).unwrap();
            assert_eq!(recovery.cut, None);
            assert_eq!(recovery.damage.len(), 1);
            let damage = &recovery.damage[0];
            assert_eq!((damage.from, damage.to), (header.first, header.end()));
            let name = format!("{:020}-{offset}.bin", damage.segment);
            let kept = disk.bytes(&Path::new(DATA).join("log/quarantine").join(name)).unwrap();
            assert_eq!(kept, damaged[offset..offset + header.frame_bytes() as usize]);
            assert_eq!(disk.bytes(&last).unwrap()[..damaged.len()], damaged);
            let read = scanned(&core);
            assert!(read.len() >= lines.len() - 2);
            // Others go on.
            let next = core.read((ctx().tenant(), stream(50)), 1, 9).unwrap().len() as u64 + 1;
            commit(&mut core, &[append(stream(50), next, 1, "on")])[0].as_ref().unwrap();
            disk.restart();
        }
    });
}

#[test]
fn a_stream_with_a_gap_is_refused() {
    in_each_codec(|| {
        let disk = SimDisk::new(1);
        let (mut core, _) = open(&disk).unwrap();
        for seq in 1..=4 {
            commit(&mut core, &[append(stream(1), seq, 1, "x")])[0].as_ref().unwrap();
            commit(&mut core, &[append(stream(2), seq, 1, "y")])[0].as_ref().unwrap();
        }
        let bytes = disk.bytes(&path(0)).unwrap();
        let (offset, _) = frames(&bytes)[2];
        disk.settle();
        drop(core);
        disk.flip_bit(&path(0), (offset + 20) * 8);
        let (mut core, recovery) = open(&disk).unwrap();
        let hit = (ctx().tenant(), stream(1));
        assert_eq!(recovery.damaged_streams, [hit]);
        assert!(matches!(core.read(hit, 1, 9), Err(LogError::Damaged(_))));
        let refused = commit(&mut core, &[append(stream(1), 5, 1, "x")]);
        assert!(matches!(refused[0], Err(LogError::Damaged(_))), "{refused:?}");
        assert_eq!(core.read((ctx().tenant(), stream(2)), 1, 9).unwrap().len(), 4);
        commit(&mut core, &[append(stream(2), 5, 1, "y")])[0].as_ref().unwrap();
    });
}

#[test]
fn recovery_starts_at_the_checkpoint() {
    in_each_codec(|| {
        let (disk, _, lines) = log_of(30);
        let (mut core, _) = open(&disk).unwrap();
        core.put_checkpoint(41, b"half").unwrap();
        disk.settle();
        drop(core);
        let (mut core, recovery) = open(&disk).unwrap();
        assert_eq!((recovery.checked_from, recovery.tail), (40, 60));
        assert_eq!(core.checkpoint().unwrap(), Some((41, b"half".to_vec())));
        assert_eq!(scanned(&core), lines);
        core.put_checkpoint(60, b"all").unwrap();
        assert_eq!(open(&disk).unwrap().1.checked_from, 60);
        // The newest cannot be read: the one before it serves.
        let newest = Path::new(DATA).join("log").join(format!("{:020}.checkpoint", 60));
        disk.flip_bit(&newest, 300);
        let (core, recovery) = open(&disk).unwrap();
        assert_eq!(recovery.checked_from, 40);
        assert_eq!(core.checkpoint().unwrap(), Some((41, b"half".to_vec())));
    });
}

#[test]
fn a_log_behind_its_checkpoint_gives_no_position_twice() {
    in_each_codec(|| {
        let (disk, segments, _) = log_of(30);
        let (mut core, _) = open(&disk).unwrap();
        core.put_checkpoint(60, b"all").unwrap();
        drop(core);
        let last = path(*segments.last().unwrap());
        let bytes = disk.bytes(&last).unwrap();
        let (offset, header) = *frames(&bytes).last().unwrap();
        disk.set_bytes(&last, bytes[..offset].to_vec());
        for round in 0..3 {
            let (mut core, recovery) = open(&disk).unwrap();
            assert_eq!(recovery.tail, 60 + round);
            let lost = recovery.damage.iter().find(|damage| damage.from == header.first);
            if round == 0 {
                assert_eq!(lost.unwrap().to, 60);
            }
            let outcomes = commit(&mut core, &[append(stream(9), 1 + round, 1, "z")]);
            assert_eq!(*outcomes[0].as_ref().unwrap(), 61 + round, "round {round}");
            assert_eq!(scanned(&core).last().unwrap().0, 60 + round);
            disk.restart();
        }
    });
}

#[test]
fn an_older_copy_of_a_segment_under_a_newer_checkpoint_is_found() {
    in_each_codec(|| {
        let (disk, segments, _) = log_of(30);
        let (mut core, _) = open(&disk).unwrap();
        core.put_checkpoint(60, b"all").unwrap();
        drop(core);
        // The segment has its full length in the copy too; where the last frame stands now, were
        // zeros.
        let last = path(*segments.last().unwrap());
        let mut bytes = disk.bytes(&last).unwrap();
        let (offset, header) = *frames(&bytes).last().unwrap();
        bytes[offset..].fill(0);
        disk.set_bytes(&last, bytes);
        // Nothing is written between the openings: the log still says what it lost.
        for round in 0..2 {
            let (core, recovery) = open(&disk).unwrap();
            assert_eq!(recovery.tail, 60, "round {round}");
            let lost: Vec<_> = recovery.damage.iter().map(|it| (it.from, it.to)).collect();
            assert_eq!(lost, [(header.first, 60)], "round {round}");
            assert_eq!(scanned(&core).len() as Position, header.first);
            disk.restart();
        }
    });
}

#[test]
fn an_older_writer_is_refused() {
    in_each_codec(|| {
        let disk = SimDisk::new(1);
        let (mut old, first) = open(&disk).unwrap();
        commit(&mut old, &[append(stream(1), 1, 1, "old")])[0].as_ref().unwrap();
        let (mut new, second) = open(&disk).unwrap();
        assert!(second.epoch > first.epoch);
        commit(&mut new, &[append(stream(2), 1, 1, "new")])[0].as_ref().unwrap();
        // The old one believes to be at the same place; its longer frame is put behind the new
        // one's.
        let bytes = disk.bytes(&path(0)).unwrap();
        let (offset, header) = frames(&bytes)[1];
        let behind = offset + header.frame_bytes() as usize;
        commit(&mut old, &[append(stream(3), 1, 2, "stale")])[0].as_ref().unwrap();
        let stale = disk.bytes(&path(0)).unwrap();
        let (_, stale_header) = frames(&stale)[1];
        let stale_bytes = &stale[offset..offset + stale_header.frame_bytes() as usize];
        let mut both = bytes.clone();
        let end = both.len().min(behind + stale_bytes.len());
        both.splice(behind..end, stale_bytes.iter().copied());
        disk.set_bytes(&path(0), both);
        let (core, recovery) = open(&disk).unwrap();
        assert_eq!(recovery.damage.len(), 1, "{recovery:?}");
        let texts: String = scanned(&core).into_iter().map(|(_, line)| line).collect();
        assert!(texts.contains("new") && !texts.contains("stale"));
    });
}

#[test]
fn newer_formats_are_refused() {
    let (disk, _, _) = log_of(3);
    disk.set_bytes(&Path::new(DATA).join("FORMAT"), b"3\n".to_vec());
    assert!(matches!(open(&disk).err(), Some(LogError::Newer { found: 3, known: 2, .. })));
    disk.set_bytes(&Path::new(DATA).join("FORMAT"), b"1\n".to_vec());
    let mut bytes = disk.bytes(&path(0)).unwrap();
    bytes[8] = 9;
    let crc = crc32c::crc32c(&bytes[..80]);
    bytes[80..84].copy_from_slice(&crc.to_le_bytes());
    disk.set_bytes(&path(0), bytes);
    assert!(matches!(open(&disk).err(), Some(LogError::Newer { found: 9, .. })));
}

#[test]
fn zstdcat_of_sealed_segments_prints_the_lines() {
    let (disk, segments, lines) = log_of(40);
    let mut all = Vec::new();
    for first in &segments {
        let bytes = disk.bytes(&path(*first)).unwrap();
        let frames = frames(&bytes);
        let (offset, header) = frames.last().unwrap();
        let used = offset + header.frame_bytes() as usize;
        let is_sealed = first != segments.last().unwrap();
        assert!(!is_sealed || bytes.len() == used, "a sealed segment is cut to its length");
        all.extend_from_slice(&bytes[..used]);
    }
    let printed = zstd::stream::decode_all(&all[..]).unwrap();
    let expected: String = lines.iter().map(|(_, line)| format!("{line}\n")).collect();
    assert_eq!(String::from_utf8(printed).unwrap(), expected);
}

/// Lines of all segments, as any tool that knows lines has them.
fn cat(disk: &SimDisk) -> Vec<serde_json::Value> {
    let names = disk.paths().into_iter().filter(|it| it.extension().is_some_and(|it| it == "seg"));
    let text: Vec<u8> = names.flat_map(|it| disk.bytes(&it).unwrap()).collect();
    let text = String::from_utf8(text).unwrap();
    text.lines().map(|it| serde_json::from_str(it).unwrap()).collect()
}

#[test]
fn text_segments_are_json_lines_from_end_to_end() {
    write_in(Codec::Text);
    let (disk, segments, lines) = log_of(40);
    assert!(segments.len() > 3, "{segments:?}");
    let (headers, records): (Vec<_>, Vec<_>) =
        cat(&disk).into_iter().partition(|it| it.get("traaviis_frame").is_some());
    assert_eq!(headers.len(), 40);
    assert_eq!(headers.iter().map(|it| it["count"].as_u64().unwrap()).sum::<u64>(), 80);
    for (record, (_, line)) in records.iter().zip(&lines) {
        let crc = format!("{:08x}", crc32c::crc32c(line.as_bytes()));
        let mut written: serde_json::Value = serde_json::from_str(line).unwrap();
        written["crc32c"] = crc.into();
        assert_eq!(*record, written);
    }
    assert_eq!(records.len(), lines.len());
}

#[test]
fn a_log_goes_on_in_the_other_codec_and_back() {
    let disk = SimDisk::new(1);
    let (mut written, mut first) = (Vec::new(), 1);
    for (life, codec) in [Codec::Packed, Codec::Text, Codec::Text, Codec::Packed, Codec::Text]
        .into_iter()
        .enumerate()
    {
        write_in(codec);
        let (mut core, recovery) = open(&disk).unwrap();
        assert_eq!((recovery.damage, recovery.cut), (vec![], None), "life {life}");
        assert_eq!(scanned(&core), written, "life {life}");
        for _ in 0..1 + life {
            commit(&mut core, &[append(stream(1), first, 2, &format!("{life}"))])[0]
                .as_ref()
                .unwrap();
            first += 2;
        }
        written = scanned(&core);
        assert_eq!(written.len() as u64, first - 1);
        drop(core);
        // A process that dies, or a machine.
        match life % 2 {
            0 => disk.restart(),
            _ => disk.kill_process(),
        }
    }
    let names = disk.paths();
    let mut codecs: Vec<Option<Codec>> = names
        .iter()
        .filter(|it| it.extension().is_some_and(|it| it == "seg"))
        .map(|it| Codec::of(&disk.bytes(it).unwrap()))
        .collect();
    codecs.dedup();
    let (packed, text) = (Some(Codec::Packed), Some(Codec::Text));
    assert_eq!(codecs, [packed, text, packed, text]);
    // Once there was text, an earlier release must not cut it off.
    let format = disk.bytes(&Path::new(DATA).join("FORMAT")).unwrap();
    assert_eq!(format, b"2\n");
}

#[test]
fn a_switch_of_codecs_survives_a_fault_at_every_call() {
    let before = SimDisk::new(1);
    write_in(Codec::Packed);
    let (mut core, _) = open(&before).unwrap();
    commit(&mut core, &[append(stream(1), 1, 2, "a")])[0].as_ref().unwrap();
    drop(core);
    before.settle();
    for to in [Codec::Text, Codec::Packed] {
        for fault in [Fault::Crash, Fault::Eio, Fault::Enospc, Fault::ShortWrite] {
            for call in 1..40 {
                let disk = before.copy(call);
                if to == Codec::Packed {
                    write_in(Codec::Text);
                    let (mut core, _) = open(&disk).unwrap();
                    commit(&mut core, &[append(stream(1), 3, 2, "b")])[0].as_ref().unwrap();
                    drop(core);
                    disk.settle();
                }
                write_in(to);
                disk.fail_at(disk.calls() + call, fault);
                let told = match open(&disk) {
                    Ok((mut core, _)) => {
                        commit(&mut core, &[append(stream(2), 1, 2, "c")])[0].is_ok()
                    }
                    Err(_) => false,
                };
                disk.restart();
                let what = format!("{to:?} {fault:?} at {call}");
                for codec in [to, Codec::Packed, Codec::Text] {
                    write_in(codec);
                    let (core, recovery) = open(&disk).expect(&what);
                    assert_eq!(recovery.damage, [], "{what}");
                    let second = core.read((ctx().tenant(), stream(2)), 1, 9).unwrap().len();
                    assert!(second == 2 || second == 0 && !told, "{what}: {second}");
                    let kept = if to == Codec::Packed { 4 } else { 2 };
                    let first = core.read((ctx().tenant(), stream(1)), 1, 9).unwrap().len();
                    assert_eq!(first, kept, "{what}");
                }
            }
        }
    }
}
