//! The log of a real directory: locking, threads, reading beside the writer.

use std::sync::Arc;

use traaviis_model::TenantCtx;
use traaviis_ports::{Append, Commit, CommitSink, LogError, LogStore};
use traaviis_store::{LocalLog, Options, ReadOnlyLog, visit_frames};
use traaviis_testkit::log_contract::{Outcomes, append, commit, scanned, stream};

use crate::support::{in_each_codec, small};

#[test]
fn a_second_process_is_refused_with_the_pid_of_the_first() {
    in_each_codec(|| {
        let dir = tempfile::tempdir().unwrap();
        let (log, _) = LocalLog::open(dir.path(), small()).unwrap();
        let Err(LogError::Locked { pid, .. }) = LocalLog::open(dir.path(), small()) else {
            panic!("the directory was opened twice");
        };
        assert_eq!(pid, std::process::id());
        drop(log);
        LocalLog::open(dir.path(), small()).unwrap();
    });
}

#[test]
fn whoever_removes_the_lock_file_lets_nobody_in() {
    in_each_codec(|| {
        let dir = tempfile::tempdir().unwrap();
        let (log, _) = LocalLog::open(dir.path(), small()).unwrap();
        std::fs::remove_file(dir.path().join("LOCK")).unwrap();
        for _ in 0..2 {
            let Err(refused) = LocalLog::open(dir.path(), small()) else {
                panic!("the directory was opened twice");
            };
            assert!(matches!(refused, LogError::Locked { pid: 0, .. }), "{refused}");
            assert!(refused.to_string().contains("somebody removed"), "{refused}");
        }
        drop(log);
        LocalLog::open(dir.path(), small()).unwrap();
    });
}

#[test]
fn nothing_is_acknowledged_in_a_directory_that_was_removed() {
    in_each_codec(|| {
        let dir = tempfile::tempdir().unwrap();
        let (log, _) = LocalLog::open(dir.path(), small()).unwrap();
        let ctx = TenantCtx::for_test(1);
        commit(&*log, &ctx, append(&ctx, stream(1), 1, 1)).unwrap();
        std::fs::remove_dir_all(dir.path().join("log")).unwrap();
        for first in [2, 2] {
            let refused = commit(&*log, &ctx, append(&ctx, stream(1), first, 1));
            let Err(LogError::Failed(why)) = refused else { panic!("{refused:?}") };
            assert!(why.contains("somebody removed"), "{why}");
        }
    });
}

#[test]
fn a_directory_that_cannot_be_written_is_an_error() {
    in_each_codec(|| {
        let file = tempfile::NamedTempFile::new().unwrap();
        let refused = LocalLog::open(&file.path().join("data"), small()).err().unwrap();
        assert!(matches!(refused, LogError::Io { what: "create", .. }), "{refused}");

        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o500)).unwrap();
        // Permissions do not bind the superuser.
        if std::fs::File::create(dir.path().join("probe")).is_err() {
            let refused = LocalLog::open(dir.path(), small()).err().unwrap();
            assert!(matches!(refused, LogError::Io { .. }), "{refused}");
        }
    });
}

#[test]
fn a_closed_log_refuses() {
    in_each_codec(|| {
        let dir = tempfile::tempdir().unwrap();
        let (log, _) = LocalLog::open(dir.path(), small()).unwrap();
        log.close();
        log.close();
        let ctx = TenantCtx::for_test(1);
        let refused = commit(&*log, &ctx, append(&ctx, stream(1), 1, 1));
        assert!(matches!(refused, Err(LogError::Failed(_))), "{refused:?}");
        LocalLog::open(dir.path(), small()).unwrap();
    });
}

#[test]
fn many_threads_append_while_others_read() {
    in_each_codec(|| {
        let dir = tempfile::tempdir().unwrap();
        let options = Options { segment_bytes: 64 << 10, ..Options::default() };
        let (log, _) = LocalLog::open(dir.path(), options).unwrap();
        std::thread::scope(|scope| {
            for thread in 1..=4_u128 {
                let log = &log;
                scope.spawn(move || {
                    let ctx = TenantCtx::for_test(thread);
                    let outcomes = Outcomes::new();
                    let sink: Arc<dyn CommitSink> = outcomes.clone();
                    for seq in 1..=400 {
                        log.append(&ctx, append(&ctx, stream(7), seq, 1), &sink, seq);
                    }
                    let told = outcomes.wait(400);
                    assert!(told.iter().all(|(_, commit)| commit.is_ok()));
                    let history = log.read(&ctx, stream(7), 1, 1000).unwrap();
                    assert_eq!(history.len(), 400, "what was told can be read");
                });
            }
            for _ in 0..20 {
                let reader = ReadOnlyLog::open(dir.path()).unwrap();
                let mut seen = 0;
                let end = reader.scan(0, &mut |line| {
                    assert_eq!(line.position, seen);
                    seen += 1;
                });
                assert_eq!(end.unwrap(), seen);
                // The reader beside may see what is written and not yet durable.
                scanned(&*log, (seen / 2).min(log.tail()));
            }
        });
        let mut frames = 0;
        let mut records = 0;
        let end = visit_frames(dir.path(), &mut |info, lines| {
            assert!(info.damage.is_none());
            frames += 1;
            records += lines.iter().filter(|byte| **byte == b'\n').count();
        });
        assert_eq!((end.unwrap(), records), (1600, 1600));
        assert!(frames >= 1);
        let reader = ReadOnlyLog::open(dir.path()).unwrap();
        assert_eq!(reader.tail(), 1600);
        assert_eq!(reader.read(&TenantCtx::for_test(2), stream(7), 399, 9).unwrap().len(), 2);
        assert!(reader.damage().is_empty());
    });
}

/// A sink that appends the next record of its stream as soon as the last one is told.
struct Chain {
    log: std::sync::Weak<LocalLog>,
    ctx: TenantCtx,
    done: Arc<Outcomes>,
    me: std::sync::Weak<Chain>,
}

impl CommitSink for Chain {
    fn committed(&self, outcomes: &mut dyn Iterator<Item = (u64, Commit)>) {
        for (seq, outcome) in outcomes {
            outcome.unwrap();
            if seq == 50 {
                self.done.committed(&mut std::iter::once((seq, Ok(0))));
            } else if let (Some(log), Some(me)) = (self.log.upgrade(), self.me.upgrade()) {
                let sink: Arc<dyn CommitSink> = me;
                let append: Append = append(&self.ctx, stream(1), seq + 1, 1);
                log.append(&self.ctx, append, &sink, seq + 1);
            }
        }
    }
}

#[test]
fn a_sink_may_append() {
    in_each_codec(|| {
        let dir = tempfile::tempdir().unwrap();
        let (log, _) = LocalLog::open(dir.path(), small()).unwrap();
        let (ctx, done) = (TenantCtx::for_test(1), Outcomes::new());
        let chain = Arc::new_cyclic(|me| Chain {
            log: Arc::downgrade(&log),
            ctx: ctx.clone(),
            done: done.clone(),
            me: me.clone(),
        });
        let sink: Arc<dyn CommitSink> = chain;
        log.append(&ctx, append(&ctx, stream(1), 1, 1), &sink, 1);
        done.wait(1);
        assert_eq!(log.read(&ctx, stream(1), 1, 100).unwrap().len(), 50);
    });
}

#[test]
fn a_history_is_read_in_parts_each_from_where_the_one_before_ended() {
    in_each_codec(|| {
        let dir = tempfile::tempdir().unwrap();
        let options = Options { segment_bytes: 256 << 10, ..Options::default() };
        let (log, _) = LocalLog::open(dir.path(), options).unwrap();
        let ctx = TenantCtx::for_test(1);
        let (outcomes, mut seqs) = (Outcomes::new(), [0; 3]);
        let sink: Arc<dyn CommitSink> = outcomes.clone();
        // Groups of many sizes, three histories mixed.
        for number in 0..3_000_usize {
            let (of, count) = (number * 7 % 3, 1 + number * 5 % 4);
            let append = append(&ctx, stream(of as u128), seqs[of] + 1, count as u32);
            seqs[of] += count as u64;
            log.append(&ctx, append, &sink, 1);
        }
        outcomes.wait(3_000);
        let beside = ReadOnlyLog::open(dir.path()).unwrap();
        for (of, last) in (0_u128..).zip(seqs) {
            let whole = log.read(&ctx, stream(of), 1, usize::MAX).unwrap();
            assert_eq!(whole.len() as u64, last);
            for reader in [&*log as &dyn LogStore, &beside] {
                for limit in [97, 1_000, usize::MAX] {
                    let (mut lines, mut next) = (Vec::new(), 0);
                    loop {
                        let from = lines.len() as u64 + 1;
                        let part =
                            reader.read_within(&ctx, stream(of), from, limit, next..u64::MAX);
                        let part = part.unwrap();
                        assert!(part.next >= next);
                        next = part.next;
                        let is_last = part.lines.len() < limit;
                        lines.extend(part.lines);
                        if is_last {
                            break;
                        }
                    }
                    assert!(lines == whole, "history {of} in parts of {limit}");
                    assert_eq!(next, reader.tail(), "nothing is left");
                }
                // A part that is asked for again, from before it and from inside.
                let part = reader.read_within(&ctx, stream(of), 500, 3, 0..u64::MAX).unwrap();
                assert_eq!(part.lines, whole[499..502]);
                let again =
                    reader.read_within(&ctx, stream(of), 503, 3, part.next..part.next).unwrap();
                assert!(
                    again.lines.len() <= 3 && again.lines[..] == whole[502..][..again.lines.len()]
                );
            }
        }
        let ended = log.read_within(&ctx, stream(0), seqs[0] + 1, 9, log.tail()..u64::MAX).unwrap();
        assert_eq!((ended.lines.len(), ended.next), (0, log.tail()));
    });
}
