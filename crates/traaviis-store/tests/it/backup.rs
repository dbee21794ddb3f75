//! Backups of a log that was compacted: on a real directory, with small segments.

use std::path::Path;

use traaviis_model::{Seq, Timestamp};
use traaviis_ports::{Archive, Archived, ArchivedHistory, Compaction, Position, archive::Mode};
use traaviis_store::{
    FileArchive, LogCore, ReadOnlyLog,
    backup::{self, Folder, Identities, Options, Until},
    disk::OsDisk,
};
use traaviis_testkit::log_contract;

use crate::support::{append, ctx, entry, small, stream};

/// Streams of one record each, over several segments, all but every third in the archive.
fn grown(dir: &Path) -> LogCore<OsDisk> {
    let (mut core, _) = LogCore::open(OsDisk, dir, small()).unwrap();
    let archive = FileArchive::new(OsDisk, dir);
    for number in 1..=60 {
        let (id, mut outcomes) = (stream(number), Vec::new());
        let text = format!("{number}-{:x}", number * 0x9e37_79b9_7f4a_7c15);
        core.commit(&[entry(append(id, 1, 1, &text))], &mut outcomes);
        outcomes[0].as_ref().unwrap();
        if number % 3 > 0 {
            let lines = log_contract::lines(&ctx(), id, 1, 1, &text);
            let lines = vec![lines.strip_suffix(b"\n").unwrap().to_vec()];
            let (finished_at, delete_at) = (Timestamp(1), Timestamp(2));
            let (seq, summary): (Seq, _) = (1, b"{}".to_vec());
            let entry = Archived { id, seq, finished_at, delete_at, summary };
            archive.put(&ctx(), &ArchivedHistory { entry, lines }).unwrap();
        }
        // The newest two are kept, and only what stands before both is compacted.
        if number >= 59 {
            core.put_checkpoint(core.tail(), b"body").unwrap();
        }
    }
    core
}

fn compact(core: &LogCore<OsDisk>, dir: &Path) {
    let (pace, tell) = (&mut |_| true, &mut |_| ());
    let mut compaction = Compaction { expired: &[], mode: Mode::Write, pace, tell };
    let done = core.compact(&FileArchive::new(OsDisk, dir), &mut compaction).unwrap();
    assert!(done.replaced > 1, "{done:?}");
}

/// Makes a backup, restores it, and checks that the copy says what the original says.
fn check(dir: &Path, target: &Path, time: i64) -> u64 {
    let folder = Folder::new(target);
    let (options, none, time) = (Options::default(), Identities::default(), Timestamp(time));
    let taken = backup::take(dir, &folder, &options, time, &mut |_, _| ()).unwrap();
    let restored = target.with_file_name(format!("restored-{}", time.0));
    let progress: backup::Progress<'_> = &mut |_, _| ();
    backup::restore(&folder, &taken.manifest, &none, Until::End, &restored, progress).unwrap();
    let lines = |dir: &Path| {
        let log = ReadOnlyLog::open(dir).unwrap();
        let mut lines: Vec<(Position, Vec<u8>)> = Vec::new();
        traaviis_ports::LogStore::scan(&log, 0, &mut |it| {
            lines.push((it.position, it.bytes.to_vec()))
        })
        .unwrap();
        assert_eq!(log.damage(), [], "`{}`", dir.display());
        lines
    };
    assert_eq!(lines(&restored), lines(dir));
    taken.bytes_new
}

#[test]
fn a_compacted_log_is_restored_whole() {
    let scratch = tempfile::tempdir().unwrap();
    let (dir, target) = (scratch.path().join("d"), scratch.path().join("b"));
    let core = grown(&dir);
    compact(&core, &dir);
    check(&dir, &target, 1);
}

#[test]
fn a_log_that_is_compacted_between_two_backups_is_restored_whole() {
    let scratch = tempfile::tempdir().unwrap();
    let (dir, target) = (scratch.path().join("d"), scratch.path().join("b"));
    let core = grown(&dir);
    check(&dir, &target, 1);
    compact(&core, &dir);
    assert!(check(&dir, &target, 2) > 0);
    assert_eq!(check(&dir, &target, 3), 0, "what has not changed is not written again");
}
