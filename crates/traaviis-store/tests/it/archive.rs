//! The archive on a simulated disk: what is put is whole or absent, whatever breaks.

use std::path::{Path, PathBuf};

use traaviis_model::{
    InstanceId, TenantCtx, Timestamp,
    limits::{ARCHIVE_BYTES_MAX, ARCHIVE_DIR_ENTRIES_MAX, BLOB_BYTES_MIN},
};
use traaviis_ports::{Archive, Archived, ArchivedHistory, LogError};
use traaviis_store::FileArchive;
use traaviis_testkit::{
    disk::{Fault, SimDisk},
    log_contract,
};

use crate::support::{DATA, ctx, stream};

fn archive(disk: &SimDisk) -> FileArchive<SimDisk> {
    FileArchive::new(disk.clone(), Path::new(DATA))
}

fn history(id: InstanceId, count: u32) -> ArchivedHistory {
    let lines = log_contract::lines(&ctx(), id, 1, count, "x");
    let entry = Archived {
        id,
        seq: count.into(),
        finished_at: Timestamp(5),
        delete_at: Timestamp(1_000_000),
        summary: br#"{"workflow":"W","output":{"body":",\"body\":"}}"#.to_vec(),
    };
    let lines = lines.split(|it| *it == b'\n').filter(|it| !it.is_empty());
    ArchivedHistory { entry, lines: lines.map(<[u8]>::to_vec).collect() }
}

fn file_of(disk: &SimDisk, id: InstanceId) -> PathBuf {
    let name = format!("{id}.json.gz");
    disk.paths().into_iter().find(|it| it.ends_with(&name)).unwrap()
}

#[test]
fn what_is_put_is_read_back_byte_for_byte() {
    let disk = SimDisk::new(1);
    let kept = archive(&disk);
    assert!(kept.is_empty().unwrap());
    assert_eq!(kept.get(&ctx(), stream(1)).unwrap(), None);
    for number in 1..=3 {
        kept.put(&ctx(), &history(stream(number), 4 * number as u32)).unwrap();
    }
    assert!(!kept.is_empty().unwrap());
    assert_eq!(kept.get(&ctx(), stream(2)).unwrap(), Some(history(stream(2), 8)));
    let path = file_of(&disk, stream(1));
    let tenant = ctx().tenant();
    let expected = format!("{DATA}/tenants/{tenant}/archived/instances/{}.json.gz", stream(1));
    assert_eq!(path, Path::new(&expected));

    let before = disk.bytes(&path).unwrap();
    kept.put(&ctx(), &history(stream(1), 4)).unwrap();
    assert_eq!(disk.bytes(&path).unwrap(), before, "one that is whole stays as it is");

    let ids = |after, limit| kept.ids(&ctx(), after, limit).unwrap();
    assert_eq!(ids(None, 2), [stream(3), stream(2)]);
    assert_eq!(ids(Some(stream(2)), 2), [stream(1)]);
    let other = TenantCtx::for_test(2);
    assert_eq!(kept.get(&other, stream(1)).unwrap(), None, "tenants are apart");
    assert_eq!(kept.size().unwrap().instances, 3);

    assert_eq!(kept.expired(Timestamp(999_999), 9).unwrap(), []);
    assert_eq!(kept.expired(Timestamp(1_000_000), 2).unwrap().len(), 2);
    kept.remove(tenant, stream(1)).unwrap();
    kept.remove(tenant, stream(1)).unwrap();
    assert_eq!(kept.get(&ctx(), stream(1)).unwrap(), None);
}

#[test]
fn a_damaged_file_is_told_of_its_instance_only_and_made_again() {
    let disk = SimDisk::new(1);
    let kept = archive(&disk);
    (1..=2).for_each(|it| kept.put(&ctx(), &history(stream(it), 4)).unwrap());
    let path = file_of(&disk, stream(1));
    let whole = disk.bytes(&path).unwrap();
    for bit in 0..whole.len() * 8 {
        disk.set_bytes(&path, whole.clone());
        disk.flip_bit(&path, bit);
        match kept.get(&ctx(), stream(1)) {
            Err(LogError::ArchiveDamaged { stream: of, .. }) => assert_eq!(of, stream(1)),
            // Bits of the wrapping that say nothing about the content.
            Ok(Some(read)) => assert_eq!(read, history(stream(1), 4), "bit {bit}"),
            other => panic!("bit {bit}: {other:?}"),
        }
    }
    for len in 0..whole.len() {
        disk.set_bytes(&path, whole[..len].to_vec());
        assert_eq!(kept.get(&ctx(), stream(1)).unwrap_err().code(), "archive_damaged", "{len}");
        assert_eq!(kept.whole(ctx().tenant(), stream(1)).unwrap(), None);
    }
    assert!(kept.get(&ctx(), stream(2)).unwrap().is_some());
    disk.set_bytes(&path, disk.bytes(&file_of(&disk, stream(2))).unwrap());
    assert!(kept.get(&ctx(), stream(1)).is_err(), "the file of another instance");
    kept.put(&ctx(), &history(stream(1), 4)).unwrap();
    assert_eq!(kept.get(&ctx(), stream(1)).unwrap(), Some(history(stream(1), 4)));
}

#[test]
fn a_fault_at_every_call_leaves_it_whole_or_absent() {
    let script = |disk: &SimDisk| {
        let kept = archive(disk);
        (1..=3).map(|it| kept.put(&ctx(), &history(stream(it), 6)).is_ok()).collect::<Vec<_>>()
    };
    let clean = SimDisk::new(1);
    assert_eq!(script(&clean), [true; 3]);
    let calls = clean.calls();
    assert!(calls >= 15, "{calls}");
    for fault in [Fault::Crash, Fault::Eio, Fault::Enospc, Fault::ShortWrite] {
        for call in 1..=calls {
            let what = format!("{fault:?} at {call}");
            let disk = SimDisk::new(call);
            disk.fail_at(call, fault);
            let told = script(&disk);
            disk.restart();
            let kept = archive(&disk);
            for (number, is_told) in (1..).zip(told) {
                let found = kept.get(&ctx(), stream(number));
                match found.unwrap_or_else(|error| panic!("{what}: {error}")) {
                    Some(found) => assert_eq!(found, history(stream(number), 6), "{what}"),
                    None => assert!(!is_told, "{what}: what was told durable is gone"),
                }
                kept.put(&ctx(), &history(stream(number), 6)).unwrap();
            }
            assert_eq!(kept.size().unwrap().instances, 3, "{what}");
        }
    }
}

/// A history whose records share a large value.
fn large(id: InstanceId) -> ArchivedHistory {
    let mut history = history(id, 3);
    let (from, to) = (r#""text":"x""#, format!(r#""v":1,"text":"{}""#, "x".repeat(BLOB_BYTES_MIN)));
    for line in &mut history.lines {
        *line = String::from_utf8_lossy(line).replace(from, &to).into_bytes();
    }
    history
}

#[test]
fn a_fault_at_every_call_leaves_no_file_without_its_blob() {
    let script = |disk: &SimDisk| {
        let kept = archive(disk);
        (1..=2).map(|it| kept.put(&ctx(), &large(stream(it))).is_ok()).collect::<Vec<_>>()
    };
    let clean = SimDisk::new(1);
    assert_eq!(script(&clean), [true; 2]);
    let is_blob = |it: &PathBuf| it.to_string_lossy().contains("/blobs/");
    assert_eq!(clean.paths().iter().filter(|it| is_blob(it)).count(), 1, "it is there once");
    assert!(clean.bytes(&file_of(&clean, stream(1))).unwrap().len() < 2_000);
    for fault in [Fault::Crash, Fault::Eio, Fault::Enospc, Fault::ShortWrite] {
        for call in 1..=clean.calls() {
            let what = format!("{fault:?} at {call}");
            let disk = SimDisk::new(call);
            disk.fail_at(call, fault);
            let told = script(&disk);
            disk.restart();
            let kept = archive(&disk);
            for (number, is_told) in (1..).zip(told) {
                match kept.get(&ctx(), stream(number)).unwrap() {
                    Some(found) => assert_eq!(found, large(stream(number)), "{what}"),
                    None => assert!(!is_told, "{what}: what was told durable is gone"),
                }
                kept.put(&ctx(), &large(stream(number))).unwrap();
                let found = kept.get(&ctx(), stream(number)).unwrap();
                assert_eq!(found, Some(large(stream(number))), "{what}");
            }
        }
    }
}

#[test]
fn a_full_directory_is_passed_by() {
    let data = tempfile::tempdir().unwrap();
    let kept = FileArchive::new(traaviis_store::disk::OsDisk, data.path());
    let root = data.path().join("tenants").join(ctx().tenant().to_string());
    let root = root.join("archived/instances");
    std::fs::create_dir_all(&root).unwrap();
    for number in 0..ARCHIVE_DIR_ENTRIES_MAX {
        std::fs::write(root.join(format!("{number}")), "").unwrap();
    }
    kept.put(&ctx(), &history(stream(1), 4)).unwrap();
    let digits = stream(1).0.simple().to_string();
    assert!(root.join(&digits[..6]).join(format!("{}.json.gz", stream(1))).is_file());
    assert_eq!(kept.get(&ctx(), stream(1)).unwrap(), Some(history(stream(1), 4)));
    assert_eq!(kept.ids(&ctx(), None, 9).unwrap(), [stream(1)]);
}

#[test]
fn a_file_that_unpacks_beyond_the_limit_is_damage() {
    let disk = SimDisk::new(1);
    let kept = archive(&disk);
    let mut large = history(stream(1), 1);
    large.entry.summary = vec![b' '; ARCHIVE_BYTES_MAX as usize];
    kept.put(&ctx(), &large).unwrap();
    assert_eq!(kept.get(&ctx(), stream(1)).unwrap_err().code(), "archive_damaged");
}
