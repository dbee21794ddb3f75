//! Large values: beside the log, and whole for whoever reads it.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use traaviis_model::{
    Actor, DefinitionHash, Header, InstanceId, Record, Seq, TenantCtx, Text, Timestamp, Value,
    limits::{BLOB_BYTES_MIN, PART_BYTES_MAX},
    record::{Body, EventSource, LineError, RECORD_VERSION},
};
use traaviis_ports::{
    Append, Archived, ArchivedHistory, Commit, Compaction, Line, Lines, LogStore, archive::Mode,
};
use traaviis_store::{
    Keys, LocalLog, Options, ReadOnlyLog, RootSource, SealedLog, Subjects,
    backup::{self, Folder, Identities, Until},
    blobs, visit_frames,
};
use traaviis_testkit::log_contract::{self, stream};

fn ctx() -> TenantCtx {
    TenantCtx::for_test(1)
}

fn open(dir: &Path) -> Arc<LocalLog> {
    LocalLog::open(dir, Options::default()).unwrap().0
}

fn records(ctx: &TenantCtx, id: InstanceId, data: &[Value]) -> Vec<Record> {
    let header = |seq: Seq| Header {
        tenant_id: ctx.tenant(),
        instance_id: id,
        seq,
        v: RECORD_VERSION,
        at: Timestamp(seq as i64 * 1_000_000),
        step: 1,
        definition_hash: DefinitionHash([3; 32]),
        actor: Actor::local(),
        causation_id: None,
        correlation_id: None,
        origin: None,
    };
    let body = |data: &Value| Body::EventReceived {
        event: "go".into(),
        data: data.clone(),
        id: None,
        source: EventSource::External,
    };
    (1..).zip(data).map(|(seq, data)| Record { header: header(seq), body: body(data) }).collect()
}

fn commit(log: &dyn LogStore, ctx: &TenantCtx, id: InstanceId, data: &[Value]) -> Vec<Vec<u8>> {
    let records = records(ctx, id, data);
    let (told, lines) = offer(log, ctx, records, None);
    told.unwrap();
    lines
}

fn offer(
    log: &dyn LogStore,
    ctx: &TenantCtx,
    records: Vec<Record>,
    subject: Option<Text>,
) -> (Commit, Vec<Vec<u8>>) {
    let line = |record: &Record| {
        let mut line = Vec::new();
        record.write_line(&mut line);
        line.trim_ascii_end().to_vec()
    };
    let written = records.iter().map(line).collect();
    let append = Append {
        stream: records[0].header.instance_id,
        first_seq: 1,
        count: records.len() as u32,
        lines: Lines::Of(Arc::new(records)),
        ends_stream: false,
        known_to: 0,
        subject,
    };
    (log_contract::commit(log, ctx, append), written)
}

fn read(log: &dyn LogStore, id: InstanceId) -> Vec<Vec<u8>> {
    log.read(&ctx(), id, 1, usize::MAX).unwrap()
}

fn text(letter: &str) -> Value {
    Value::map([("text", Value::from(letter.repeat(BLOB_BYTES_MIN).as_str()))])
}

fn files(dir: &Path) -> Vec<PathBuf> {
    let (mut found, mut folders) = (Vec::new(), vec![dir.to_path_buf()]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true => folders.push(path),
                false if path.to_string_lossy().contains("/blobs/") => found.push(path),
                false => {}
            }
        }
    }
    found.sort();
    found
}

fn compact(log: &LocalLog) {
    let (pace, tell) = (&mut |_| true, &mut |_| ());
    log.compact(&mut Compaction { expired: &[], mode: Mode::Write, pace, tell }).unwrap();
}

/// Appends whatever the lines are; for what no record says.
fn ready(log: &dyn LogStore, id: InstanceId, rest: &str) -> String {
    let tenant = ctx().tenant();
    let line = format!(r#"{{"tenant_id":"{tenant}","instance_id":"{id}","seq":1,"v":1,{rest}}}"#);
    let append = Append {
        stream: id,
        first_seq: 1,
        count: 1,
        lines: format!("{line}\n").into_bytes().into(),
        ends_stream: false,
        known_to: 0,
        subject: None,
    };
    log_contract::commit(log, &ctx(), append).unwrap();
    line
}

#[test]
fn large_values_rest_once_in_a_tenant_and_are_read_whole() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    let data = [text("a"), 1.into(), text("b"), text("a")];
    let first = commit(&*log, &ctx(), stream(1), &data);
    let second = commit(&*log, &ctx(), stream(2), &data);
    commit(&*log, &TenantCtx::for_test(2), stream(3), &data[..1]);
    let found = files(dir.path());
    assert_eq!(found.len(), 3, "two of one tenant, one of the other: {found:?}");
    for path in &found {
        let hash = path.file_name().unwrap().to_str().unwrap();
        assert_eq!(path.parent().unwrap().file_name().unwrap(), &hash[..2]);
    }
    let mut resting = Vec::new();
    visit_frames(dir.path(), &mut |_, lines| resting.extend_from_slice(lines)).unwrap();
    assert!(resting.len() < 9 * 1_024, "{} bytes stay in the log", resting.len());

    let check = |log: &dyn LogStore| {
        assert_eq!(read(log, stream(1)), first);
        assert_eq!(read(log, stream(2)), second);
        let mut scanned = Vec::new();
        log.scan(0, &mut |it: Line<'_>| scanned.push(it.bytes.to_vec())).unwrap();
        assert_eq!(scanned[..8], [first.clone(), second.clone()].concat());
        let mut some = Vec::new();
        log.scan_while(0, &mut |it| {
            some.push(it.bytes.to_vec());
            some.len() < 3
        })
        .unwrap();
        assert_eq!(some, first[..3]);
    };
    check(&*log);
    check(&ReadOnlyLog::open(dir.path()).unwrap());
    log.close();
    drop(log);
    check(&*open(dir.path()));
    let checked = blobs::check(dir.path()).unwrap();
    assert_eq!((checked.files, checked.damaged), (3, Vec::new()));
}

#[test]
fn what_looks_like_a_reference_is_read_as_it_was_written() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    commit(&*log, &ctx(), stream(1), &[text("a")]);
    let hash = files(dir.path())[0].file_name().unwrap().to_str().unwrap().to_owned();
    let like = format!(r#"{{"$blob":{{"sha256":"{hash}","bytes":{}}}}}"#, BLOB_BYTES_MIN + 2);
    let long = "z".repeat(BLOB_BYTES_MIN);
    let bodies = [
        format!(r#""data":{like}"#),
        format!(r#""data":{like},"text":"{long}""#),
        format!(r#""data":{like},"blobs":[140]"#),
        format!(r#""text":"{long}","blobs":[140]"#),
    ];
    for (number, body) in (2..).zip(bodies) {
        let line = ready(&*log, stream(number), &body);
        assert_eq!(read(&*log, stream(number)), [line.into_bytes()]);
    }
}

#[test]
fn a_damaged_blob_is_told_of_the_records_that_name_it_and_written_again() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    let data = [text("a"), 1.into()];
    let lines = commit(&*log, &ctx(), stream(1), &data);
    let other = commit(&*log, &ctx(), stream(2), &[text("b")]);
    let path = &files(dir.path()).into_iter().find(|it| fs::read(it).unwrap()[1] == b'a').unwrap();
    let intact = fs::read(path).unwrap();
    let mut flipped = intact.clone();
    flipped[70_000] ^= 1;
    let spoils: [&dyn Fn(); 3] = [
        &|| fs::write(path, &flipped).unwrap(),
        &|| fs::write(path, &intact[..99]).unwrap(),
        &|| fs::remove_file(path).unwrap(),
    ];
    let whys = ["holds other bytes than its name says", "has another length", "is missing"];
    for (spoil, why) in spoils.into_iter().zip(whys) {
        spoil();
        let found = read(&*log, stream(1));
        let error = Record::read_line(&found[0]).unwrap_err();
        let LineError::Unreadable(told) = &error else { panic!("{error}") };
        assert!(told.contains(why) && told.contains("/blobs/"), "{told}");
        assert_eq!(found[1], lines[1]);
        assert_eq!(read(&*log, stream(2)), other);
        let mut count = 0;
        log.scan(0, &mut |_| count += 1).unwrap();
        assert_eq!(count, 3, "the others are read");
    }
    fs::write(path, &flipped).unwrap();
    assert_eq!(blobs::check(dir.path()).unwrap().damaged.len(), 1);
    // Whoever brings the same value brings its bytes.
    commit(&*log, &ctx(), stream(3), &[text("a")]);
    assert_eq!(read(&*log, stream(1)), lines);
}

#[test]
fn what_no_line_names_is_swept() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    let lines = commit(&*log, &ctx(), stream(1), &[text("a")]);
    let archived = ["b", "c"].map(|it| {
        let record = &records(&ctx(), stream(2), &[text(it)])[0];
        let mut line = Vec::new();
        record.write_line(&mut line);
        line.trim_ascii_end().to_vec()
    });
    let (finished_at, delete_at) = (Timestamp(1), Timestamp(2));
    let entry = Archived { id: stream(2), seq: 1, finished_at, delete_at, summary: b"{}".to_vec() };
    let history = ArchivedHistory { entry, lines: archived[..1].to_vec() };
    let archive = log.archive().unwrap();
    archive.put(&ctx(), &history).unwrap();
    let kept = files(dir.path());
    // What a crash leaves between a value and its line, and in the middle of a value.
    let orphan = kept[0].with_file_name("0".repeat(64));
    let orphan = orphan.parent().unwrap().parent().unwrap().join("00").join("0".repeat(64));
    fs::create_dir_all(orphan.parent().unwrap()).unwrap();
    fs::write(&orphan, "x").unwrap();
    fs::write(kept[0].with_extension("tmp"), "x").unwrap();
    compact(&log);
    assert_eq!(files(dir.path()), kept);
    assert_eq!(read(&*log, stream(1)), lines);
    assert_eq!(archive.get(&ctx(), stream(2)).unwrap(), Some(history));
    archive.remove(ctx().tenant(), stream(2)).unwrap();
    compact(&log);
    assert_eq!(files(dir.path()).len(), 1);
    assert_eq!(read(&*log, stream(1)), lines);
}

#[test]
fn a_blob_of_a_person_is_worth_nothing_without_their_key() {
    const ROOT: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";
    let dir = tempfile::tempdir().unwrap();
    let subjects = || {
        let root = RootSource::Given(ROOT.to_owned().into());
        Arc::new(Subjects::new(Keys::new(dir.path(), root)))
    };
    let log = SealedLog::new(open(dir.path()), subjects());
    // What packs badly, so that it is large when it is sealed.
    let mut noise = 7_u64;
    let mut next = || {
        noise = noise.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        char::from(b'a' + (noise >> 59) as u8 % 26)
    };
    let secret: String = (0..4 * BLOB_BYTES_MIN).map(|_| next()).collect();
    let canary = &secret[..40];
    let records = records(&ctx(), stream(1), &[secret.as_str().into()]);
    let (told, lines) = offer(&log, &ctx(), records, Some("anna".into()));
    told.unwrap();
    assert_eq!(read(&log, stream(1)), lines);
    let found = files(dir.path());
    assert_eq!(found.len(), 1);
    let bytes = fs::read(&found[0]).unwrap();
    assert!(memchr::memmem::find(&bytes, canary.as_bytes()).is_none(), "it is sealed");
    log.subjects().erase(ctx().tenant(), "anna", Timestamp(9)).unwrap();
    let left = read(&log, stream(1));
    Record::read_line(&left[0]).unwrap();
    assert!(memchr::memmem::find(&left[0], canary.as_bytes()).is_none(), "it is erased");
}

#[test]
fn few_large_records_are_read_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    let data = ["a", "b", "c"].map(|it| Value::from(it.repeat(PART_BYTES_MAX / 2).as_str()));
    let lines = commit(&*log, &ctx(), stream(1), &[&data[..], &[1.into()]].concat());
    let part = |from, within| log.read_within(&ctx(), stream(1), from, usize::MAX, within).unwrap();
    let first = part(1, 0..u64::MAX);
    assert!(first.is_cut && first.lines[..] == lines[..2]);
    let second = part(3, first.next..u64::MAX);
    assert!(!second.is_cut && second.lines[..] == lines[2..]);
    assert_eq!(read(&*log, stream(1)).len(), 4, "who asks for all gets all");
}

#[test]
fn a_backup_has_the_blobs() {
    let folder = tempfile::tempdir().unwrap();
    let (dir, target) = (folder.path().join("d"), folder.path().join("b"));
    let log = open(&dir);
    let lines = commit(&*log, &ctx(), stream(1), &[text("a"), text("b")]);
    let (target, restored) = (Folder::new(&target), folder.path().join("r"));
    let (options, none) = (backup::Options::default(), Identities::default());
    let progress: backup::Progress<'_> = &mut |_, _| ();
    let taken = backup::take(&dir, &target, &options, Timestamp(1), progress).unwrap();
    let progress: backup::Progress<'_> = &mut |_, _| ();
    backup::restore(&target, &taken.manifest, &none, Until::End, &restored, progress).unwrap();
    assert_eq!(read(&ReadOnlyLog::open(&restored).unwrap(), stream(1)), lines);
}

/// Told outcomes, in the order in which they come.
#[derive(Default)]
struct Outcomes(std::sync::Mutex<Vec<(u64, bool)>>);

impl traaviis_ports::CommitSink for Outcomes {
    fn committed(&self, outcomes: &mut dyn Iterator<Item = (u64, Commit)>) {
        let mut told = self.0.lock().unwrap();
        told.extend(outcomes.map(|(token, commit)| (token, commit.is_ok())));
    }
}

#[test]
fn records_of_a_stream_keep_their_order_around_large_values() {
    const STREAMS: u128 = 5;
    const RECORDS: u64 = 12;
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    let outcomes = Arc::new(Outcomes::default());
    let sink = Arc::clone(&outcomes) as Arc<dyn traaviis_ports::CommitSink>;
    let value = |stream: u128, seq: u64| match (stream + u128::from(seq)) % 3 {
        0 => text(&format!("{stream} {seq} ")),
        _ => Value::from("small"),
    };
    let mut expected = vec![Vec::new(); STREAMS as usize];
    for seq in 1..=RECORDS {
        let mut appends = Vec::new();
        for number in 0..STREAMS {
            let id = stream(number + 1);
            let mut record = records(&ctx(), id, &[value(number, seq)]).remove(0);
            record.header.seq = seq;
            let mut line = Vec::new();
            record.write_line(&mut line);
            expected[number as usize].push(line.trim_ascii_end().to_vec());
            let lines = Lines::Of(Arc::new(vec![record]));
            let (ends_stream, known_to, subject) = (false, 0, None);
            let (stream, first_seq, count) = (id, seq, 1);
            let append = Append { stream, first_seq, count, lines, ends_stream, known_to, subject };
            appends.push((ctx(), append, seq * 100 + number as u64));
        }
        // One by one and together.
        match seq % 2 {
            0 => log.append_all(&mut appends, &sink),
            _ => appends.drain(..).for_each(|(ctx, it, token)| log.append(&ctx, it, &sink, token)),
        }
    }
    // Whatever is on its way is committed when the log is closed.
    log.close();
    let told = outcomes.0.lock().unwrap().clone();
    assert_eq!(told.len() as u64, RECORDS * STREAMS as u64);
    for number in 0..STREAMS as u64 {
        let of_stream = told.iter().filter(|it| it.0 % 100 == number);
        let expected: Vec<_> = (1..=RECORDS).map(|seq| (seq * 100 + number, true)).collect();
        assert_eq!(of_stream.copied().collect::<Vec<_>>(), expected, "{number}");
    }
    drop(log);
    let log = open(dir.path());
    for (number, lines) in (1..).zip(&expected) {
        assert_eq!(read(&*log, stream(number)), *lines);
    }
    // Large and small alike are refused once it is closed.
    log.close();
    for data in [text("x"), Value::Null] {
        let refused = offer(&*log, &ctx(), records(&ctx(), stream(99), &[data]), None).0;
        assert!(matches!(refused, Err(traaviis_ports::LogError::Failed(_))), "{refused:?}");
    }
}
