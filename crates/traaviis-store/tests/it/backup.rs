//! Backups of a log that was compacted: on a real directory, with small segments.

use std::{fs, path::Path, process::Command};

use traaviis_model::{Seq, Timestamp};
use traaviis_ports::{
    Archive, Archived, ArchivedHistory, Compaction, DocumentRow, DocumentStore, Position,
    archive::Mode,
};
use traaviis_store::{
    FileArchive, LogCore, ReadOnlyLog, SqliteDocuments,
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
    let mut told = (0, 0);
    let taken = backup::take(dir, &folder, &options, time, &mut |done, all| told = (done, all));
    let taken = taken.unwrap();
    assert_eq!(told.0, told.1, "all that was counted is what there was");
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

#[test]
fn what_the_target_has_lost_is_written_again() {
    let scratch = tempfile::tempdir().unwrap();
    let (dir, target) = (scratch.path().join("d"), scratch.path().join("b"));
    let _core = grown(&dir);
    check(&dir, &target, 1);
    let mut objects = Vec::new();
    for folder in fs::read_dir(target.join("objects")).unwrap() {
        let files = fs::read_dir(folder.unwrap().path()).unwrap();
        objects.extend(files.map(|it| it.unwrap().path()));
    }
    objects.sort();
    assert!(objects.len() > 3, "{objects:?}");
    // One is gone and another one cut short, whatever they were.
    for (at, object) in objects.iter().enumerate() {
        let bytes = fs::read(object).unwrap();
        match at % 2 {
            0 => fs::remove_file(object).unwrap(),
            _ => fs::write(object, &bytes[..bytes.len() / 2]).unwrap(),
        }
        let told = check(&dir, &target, 2 + at as i64);
        assert_eq!(told, bytes.len() as u64, "{}", object.display());
        assert_eq!(fs::read(object).unwrap(), bytes);
    }
}

fn row(number: u64) -> DocumentRow {
    DocumentRow {
        tenant: ctx().tenant(),
        kind: "member".into(),
        id: format!("{number:05}").into(),
        version: number,
        body: Some(vec![b'x'; 2_000]),
    }
}

#[test]
fn documents_that_somebody_writes_to_are_copied_as_of_one_moment() {
    let scratch = tempfile::tempdir().unwrap();
    let (dir, target) = (scratch.path().join("d"), scratch.path().join("b"));
    let core = grown(&dir);
    let store = SqliteDocuments::open(&dir).unwrap();
    // What is committed stands beside the database and in it.
    (1..=50).for_each(|it| store.put(&[row(it)], it).unwrap());
    let folder = Folder::new(&target);
    let (options, none) = (Options::default(), Identities::default());
    let mut told = 51;
    let mut writes: backup::Progress<'_> = &mut |_, _| {
        for _ in 0..100 {
            store.put(&[row(told)], told).unwrap();
            told += 1;
        }
    };
    let taken = backup::take(&dir, &folder, &options, Timestamp(1), &mut writes).unwrap();
    assert!(told > 51, "{told}");
    let restored = scratch.path().join("r");
    let progress: backup::Progress<'_> = &mut |_, _| ();
    backup::restore(&folder, &taken.manifest, &none, Until::End, &restored, progress).unwrap();
    let copy = SqliteDocuments::open(&restored).unwrap();
    let position = copy.position().unwrap();
    assert!((50..=core.tail()).contains(&position), "{position}");
    let mut seen = 0;
    copy.visit(&[], &mut |_| seen += 1).unwrap();
    assert_eq!(seen, position, "each row before the position, and none behind it");
    // Up to an earlier position they would know what the log does not.
    let before = scratch.path().join("before");
    let until = Until::Position(7);
    backup::restore(&folder, &taken.manifest, &none, until, &before, progress).unwrap();
    assert!(!before.join("documents").exists());
}

#[test]
fn a_directory_and_its_backups_do_not_stand_in_each_other() {
    let scratch = tempfile::tempdir().unwrap();
    let dir = scratch.path().join("d");
    let _core = grown(&dir);
    let (options, none) = (Options::default(), Identities::default());
    let progress: backup::Progress<'_> = &mut |_, _| ();
    std::os::unix::fs::symlink(&dir, scratch.path().join("link")).unwrap();
    for inside in ["d", "d/b", "d/log/../b", "link/b/c"] {
        let folder = Folder::new(&scratch.path().join(inside));
        let refused = backup::take(&dir, &folder, &options, Timestamp(1), progress).err().unwrap();
        assert_eq!(refused.code(), "backup_target_unusable", "{refused}");
        assert!(!dir.join("b").exists());
    }
    let folder = Folder::new(&scratch.path().join("b"));
    let taken = backup::take(&dir, &folder, &options, Timestamp(1), progress).unwrap();
    let inside = scratch.path().join("b/r");
    let refused = backup::restore(&folder, &taken.manifest, &none, Until::End, &inside, progress);
    assert_eq!(refused.err().unwrap().code(), "backup_target_unusable");
    assert!(!inside.exists());
}

#[test]
fn a_backup_is_restored_behind_a_link_and_into_the_root_of_a_file_system() {
    let scratch = tempfile::tempdir().unwrap();
    let (dir, target) = (scratch.path().join("d"), scratch.path().join("b"));
    let _core = grown(&dir);
    let folder = Folder::new(&target);
    let (options, none) = (Options::default(), Identities::default());
    let progress: backup::Progress<'_> = &mut |_, _| ();
    let taken = backup::take(&dir, &folder, &options, Timestamp(1), progress).unwrap();
    let restore = |to: &Path| {
        let until = Until::End;
        backup::restore(&folder, &taken.manifest, &none, until, to, &mut |_, _| ()).unwrap();
        assert_eq!(ReadOnlyLog::open(to).unwrap().damage(), [], "`{}`", to.display());
        assert!(to.join("FORMAT").is_file() && !to.join(".restoring").exists());
        let again = backup::restore(&folder, &taken.manifest, &none, until, to, &mut |_, _| ());
        assert_eq!(again.err().unwrap().code(), "restore_not_empty");
    };
    let beside = scratch.path().join("r.restoring");
    fs::create_dir(&beside).unwrap();
    fs::write(beside.join("mine"), "mine").unwrap();
    let to = scratch.path().join("r");
    let until = Until::End;
    let refused =
        backup::restore(&folder, &taken.manifest, &none, until, &to, &mut |_, _| ()).err().unwrap();
    assert_eq!(refused.code(), "restore_not_empty");
    assert_eq!(fs::read(beside.join("mine")).unwrap(), b"mine");
    let (real, link) = (scratch.path().join("real"), scratch.path().join("link"));
    fs::create_dir(&real).unwrap();
    std::os::unix::fs::symlink(&real, &link).unwrap();
    restore(&link);
    assert!(real.join("log").is_dir());

    let root = scratch.path().join("root");
    fs::create_dir(&root).unwrap();
    let mount = |it: &mut Command| it.output().is_ok_and(|it| it.status.success());
    if !mount(Command::new("mount").args(["-t", "tmpfs", "-o", "size=64m", "tmpfs"]).arg(&root)) {
        eprintln!("skipped: this user cannot mount a file system");
        return;
    }
    let unmounts = Unmounts(&root);
    fs::create_dir(root.join("lost+found")).unwrap();
    fs::create_dir(root.join(".restoring")).unwrap();
    restore(&root);
    drop(unmounts);
}

/// A file system that is gone with the test, also with one that fails.
struct Unmounts<'a>(&'a Path);

impl Drop for Unmounts<'_> {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.0).status();
    }
}
