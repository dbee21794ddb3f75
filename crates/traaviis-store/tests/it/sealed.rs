//! Records about a person: sealed in the log, the same bytes to whoever reads it, gone with the
//! key.

use std::{path::Path, sync::Arc};

use traaviis_model::{
    Actor, DefinitionHash, Header, InstanceId, Record, Seq, TenantCtx, Text, Timestamp, Value,
    record::{Body, ERASED, EventSource, RECORD_VERSION},
};
use traaviis_ports::{Append, Commit, LogError, LogStore};
use traaviis_store::{Keys, LocalLog, Options, RootSource, SealedLog, Subjects};
use traaviis_testkit::log_contract::{self, LogStoreUnderTest, stream};

const ROOT: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";
const CANARY: &str = "canary_anna";

struct Test {
    log: SealedLog<LocalLog>,
    dir: tempfile::TempDir,
}

fn root() -> RootSource {
    RootSource::Given(ROOT.to_owned().into())
}

fn open(dir: &Path, root: RootSource) -> SealedLog<LocalLog> {
    let (log, _) = LocalLog::open(dir, Options::default()).unwrap();
    SealedLog::new(log, Arc::new(Subjects::new(Keys::new(dir, root))))
}

impl Test {
    fn new() -> Test {
        let dir = tempfile::tempdir().unwrap();
        Test { log: open(dir.path(), root()), dir }
    }

    fn reopened(self, root: RootSource) -> Test {
        let Test { log, dir } = self;
        log.inner().close();
        drop(log);
        Test { log: open(dir.path(), root), dir }
    }

    /// Appends the whole life of an instance; returns its lines.
    fn live(&self, id: InstanceId, subject: Option<&str>) -> Vec<Vec<u8>> {
        let records = records(id, subject);
        let lines = written(&records);
        commit(&self.log, append(id, records, subject)).unwrap();
        lines
    }

    fn read(&self, id: InstanceId) -> Result<Vec<Vec<u8>>, LogError> {
        self.log.read(&ctx(), id, 1, usize::MAX)
    }

    /// Returns the lines as they rest.
    fn resting(&self) -> Vec<Vec<u8>> {
        let mut lines = Vec::new();
        self.log.inner().scan(0, &mut |it| lines.push(it.bytes.to_vec())).unwrap();
        lines
    }
}

fn ctx() -> TenantCtx {
    TenantCtx::for_test(1)
}

fn commit(log: &dyn LogStore, append: Append) -> Commit {
    log_contract::commit(log, &ctx(), append)
}

fn append(stream: InstanceId, records: Vec<Record>, subject: Option<&str>) -> Append {
    let (count, first_seq) = (records.len() as u32, records[0].header.seq);
    let (lines, subject) = (traaviis_ports::Lines::Of(Arc::new(records)), subject.map(Text::from));
    Append { stream, first_seq, count, lines, ends_stream: false, known_to: 0, subject }
}

fn records(id: InstanceId, subject: Option<&str>) -> Vec<Record> {
    let header = |seq: Seq| Header {
        tenant_id: ctx().tenant(),
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
    let personal =
        Value::map([("email", Value::from(CANARY)), ("big", "x".repeat(5_000).as_str().into())]);
    let created = Body::Created {
        workflow: "W".into(),
        version: "1.0.0".into(),
        input: personal.clone(),
        data: personal.clone(),
        correlation: Some("order-7".into()),
        lineage: None,
        tags: Default::default(),
        labels: [("who".into(), personal.clone())].into(),
        created_by: None,
        subject: subject.map(Text::from),
    };
    let event = Body::EventReceived {
        event: "go".into(),
        data: personal,
        id: Some(CANARY.into()),
        source: EventSource::External,
    };
    let bodies = [created, event, Body::TimerFired { timer: "t".into() }];
    (1..).zip(bodies).map(|(seq, body)| Record { header: header(seq), body }).collect()
}

fn written(records: &[Record]) -> Vec<Vec<u8>> {
    let line = |it: &Record| {
        let mut line = Vec::new();
        it.write_line(&mut line);
        line.trim_ascii_end().to_vec()
    };
    records.iter().map(line).collect()
}

fn holds(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|it| it == text.as_bytes())
}

#[test]
fn what_is_sealed_reads_back_byte_for_byte_and_rests_closed() {
    let test = Test::new();
    let (sealed, plain) = (test.live(stream(1), Some("anna")), test.live(stream(2), None));
    let resting = test.resting();
    assert_eq!(resting[3..], plain[..], "what is about nobody rests as it is");
    assert_eq!(resting[2], sealed[2], "a record without values needs no seal");
    for line in &resting[..2] {
        assert!(!holds(line, CANARY) && !holds(line, "anna"), "{}", String::from_utf8_lossy(line));
        assert!(line.len() < 2_000, "it is packed before it is sealed");
    }
    let test = test.reopened(root());
    assert_eq!(test.read(stream(1)).unwrap(), sealed);
    assert_eq!(test.read(stream(2)).unwrap(), plain);
    let mut scanned = Vec::new();
    test.log.scan(0, &mut |it| scanned.push(it.bytes.to_vec())).unwrap();
    assert_eq!(scanned, [sealed, plain].concat());
    let part = test.log.read_within(&ctx(), stream(1), 2, 1, 0..9).unwrap();
    assert_eq!(part.lines.len(), 1);
    let name = test.log.subjects().find(ctx().tenant(), "anna").unwrap().unwrap();
    assert_eq!(test.log.instances_of(&ctx(), name).unwrap(), [stream(1)].into());
}

#[test]
fn with_the_key_the_values_are_gone_and_the_records_stay() {
    let test = Test::new();
    let (lines, other) = (test.live(stream(1), Some("anna")), test.live(stream(2), Some("berta")));
    let erased = test.log.subjects().erase(ctx().tenant(), "anna", Timestamp(9)).unwrap().unwrap();
    assert!(erased.is_new);
    let mark = ERASED.into();
    let expected: Vec<Record> =
        lines.iter().map(|it| Record::read_line(it).unwrap().withheld(&mark)).collect();
    assert_eq!(test.read(stream(1)).unwrap(), written(&expected));
    assert_eq!(test.read(stream(2)).unwrap(), other);
    let test = test.reopened(root());
    assert_eq!(test.read(stream(1)).unwrap(), written(&expected));
    assert_eq!(test.read(stream(2)).unwrap(), other);
}

/// A step that a guard let through.
fn transition(id: InstanceId, seq: Seq) -> Record {
    let mut record = records(id, None).remove(0);
    record.header.seq = seq;
    let texts = |it: &str| [Text::from(it)].into();
    record.body = Body::Transition {
        from: texts("open"),
        to: texts("done"),
        event: Some("go".into()),
        candidates: texts("/states/open/on/go/0"),
        guards: texts(&format!("event.data.email == '{CANARY}'")),
        exited: texts("open"),
        entered: texts("done"),
        remembered: Vec::new(),
        microstep: 1,
    };
    record
}

#[test]
fn text_of_guards_is_sealed_and_that_of_before_still_opens() {
    let test = Test::new();
    let id = stream(1);
    let mut lines = test.live(id, Some("anna"));
    // As it was written before guards were sealed.
    let [before, after] = [4, 5].map(|seq| transition(id, seq));
    commit(&**test.log.inner(), append(id, vec![before.clone()], None)).unwrap();
    commit(&test.log, append(id, vec![after.clone()], Some("anna"))).unwrap();
    lines.extend(written(&[before.clone(), after.clone()]));
    let resting = test.resting();
    assert!(holds(&resting[3], CANARY), "it stands in the open");
    assert!(!holds(&resting[4], CANARY), "{}", String::from_utf8_lossy(&resting[4]));
    assert!(holds(&resting[4], "/states/open/on/go/0"), "which guard it was stays");
    let test = test.reopened(root());
    assert_eq!(test.read(id).unwrap(), lines);
    test.log.subjects().erase(ctx().tenant(), "anna", Timestamp(9)).unwrap().unwrap();
    let left = test.read(id).unwrap();
    assert_eq!(left[3..], written(&[before, after.withheld(&ERASED.into())]));
    assert!(!holds(&left[4], CANARY));
}

#[test]
fn without_the_root_key_nothing_is_read_and_nothing_looks_erased() {
    let test = Test::new();
    test.live(stream(1), Some("anna"));
    let test = test.reopened(RootSource::Nowhere("a test".into()));
    let error = test.read(stream(1)).unwrap_err();
    assert_eq!(error.code(), "root_key_missing", "{error}");
    assert!(test.log.scan(0, &mut |_| ()).is_err());
    let refused = commit(&test.log, append(stream(2), records(stream(2), Some("x")), Some("x")));
    assert!(matches!(refused, Err(LogError::Refused(_))), "{refused:?}");
}

#[test]
fn a_lost_key_makes_its_instances_unreadable_and_no_others() {
    let test = Test::new();
    test.live(stream(1), Some("anna"));
    let plain = test.live(stream(2), None);
    let name = test.log.subjects().find(ctx().tenant(), "anna").unwrap().unwrap().to_string();
    let tenant = ctx().tenant().to_string();
    let key = test.dir.path().join("system/keys").join(tenant).join(&name[..2]);
    std::fs::remove_file(key.join(format!("{name}.json"))).unwrap();
    let test = test.reopened(root());
    for (seq, line) in (1..).zip(test.read(stream(1)).unwrap()) {
        let header: Header = serde_json::from_slice(&line).unwrap();
        assert_eq!(header.seq, seq);
        // The last one holds no value, and is not sealed.
        assert_eq!(Record::read_line(&line).is_err(), seq < 3);
    }
    assert_eq!(test.read(stream(2)).unwrap(), plain);
}

#[test]
fn a_seal_opens_at_its_place_alone() {
    let test = Test::new();
    test.live(stream(1), Some("anna"));
    let resting = test.resting();
    let text = |at: usize| String::from_utf8(resting[at].clone()).unwrap();
    let (first, second) = (text(0), text(1));
    let cut = |it: &str| it.find(",\"sealed\":").unwrap();
    let swapped = first[..cut(&first)].to_owned() + &second[cut(&second)..];
    let opened = test.log.unseal(swapped.as_bytes()).unwrap();
    assert!(Record::read_line(&opened).is_err(), "{}", String::from_utf8_lossy(&opened));
    let elsewhere = first.replace(&stream(1).to_string(), &stream(5).to_string());
    let opened = test.log.unseal(elsewhere.as_bytes()).unwrap();
    assert!(Record::read_line(&opened).is_err());
    // What only looks like a seal is left alone.
    for plain in [r#"{"a":"b","sealed":"#, r#"{"x":"y"}"#, r#"{"d":{"sealed":"1.a.1.AA"}}"#] {
        assert_eq!(&*test.log.unseal(plain.as_bytes()).unwrap(), plain.as_bytes());
    }
    // As it rests, a reader without keys takes it for nothing else.
    assert!(Record::read_line(first.as_bytes()).is_err());
}

#[test]
fn a_log_without_keys_takes_nothing_to_seal() {
    let dir = tempfile::tempdir().unwrap();
    let (log, _) = LocalLog::open(dir.path(), Options::default()).unwrap();
    let refused = commit(&*log, append(stream(1), records(stream(1), Some("x")), Some("x")));
    assert!(matches!(refused, Err(LogError::Refused(_))), "{refused:?}");
    assert!(log.seal((ctx().tenant(), stream(1)), &"x".into(), b"{}", b"{}").is_err());
}

impl LogStoreUnderTest for Test {
    fn log(&self) -> &dyn LogStore {
        &self.log
    }

    fn reopen(self: Box<Self>) -> Box<dyn LogStoreUnderTest> {
        Box::new(self.reopened(root()))
    }
}

#[test]
fn a_sealed_log_keeps_the_contract() {
    log_contract::run(&mut || Box::new(Test::new()));
}

/// Documents, as a ledger and a definition put them.
fn documents(id: InstanceId, kinds: &[&str]) -> Vec<Record> {
    let template = records(id, None).remove(0).header;
    let record = |(seq, kind): (Seq, &&str)| {
        let header = Header { seq, ..template.clone() };
        let body = Value::map([("text", Value::from(CANARY))]);
        let body = Body::DocumentPut { document: (**kind).into(), id: "7".into(), body };
        Record { header, body }
    };
    (1..).zip(kinds).map(record).collect()
}

#[test]
fn documents_rest_sealed_where_everything_does_but_for_some() {
    let test = Test::new();
    let kinds = ["definition", "schedule", "tenant", "audit"];
    let put = |test: &Test, number: u128| {
        let records = documents(stream(number), &kinds);
        let lines = written(&records);
        commit(&test.log, append(stream(number), records, None)).unwrap();
        lines
    };
    let before = put(&test, 1);
    test.log.subjects().keys().set_seals_all(&ctx(), true, Timestamp(1)).unwrap();
    let sealed = put(&test, 2);
    // Lines that are ready rest as they come, as those of an import do.
    let ready = written(&documents(stream(3), &kinds)).join(&b'\n');
    let it = append(stream(3), documents(stream(3), &kinds), None);
    commit(&test.log, Append { lines: [ready, b"\n".to_vec()].concat().into(), ..it }).unwrap();
    test.log.subjects().keys().set_seals_all(&ctx(), false, Timestamp(2)).unwrap();
    let after = put(&test, 4);
    let is_open = test.resting().iter().map(|it| holds(it, CANARY)).collect::<Vec<_>>();
    assert_eq!(is_open[..4], [true; 4]);
    assert_eq!(is_open[4..8], [false, false, true, true]);
    assert_eq!(is_open[8..], [true; 8]);
    let test = test.reopened(root());
    for (number, lines) in [(1, &before), (2, &sealed), (4, &after)] {
        assert_eq!(test.read(stream(number)).unwrap(), *lines, "{number}");
    }
    let mut told = Vec::new();
    test.log.scan(0, &mut |it| told.push(it.is_sealed)).unwrap();
    assert_eq!(told, is_open.iter().map(|it| !it).collect::<Vec<_>>());
    assert_eq!(test.log.documents_sealed_for(ctx().tenant()).unwrap(), Some("[TENANT]".into()));
    let other = TenantCtx::for_test(9).tenant();
    assert_eq!(test.log.documents_sealed_for(other).unwrap(), None);
    // With its keys the tenant's documents are gone, and what says that it was there stays.
    test.log.subjects().erase_all(ctx().tenant(), Timestamp(9)).unwrap();
    let left = test.read(stream(2)).unwrap();
    let is_left = left.iter().map(|it| holds(it, CANARY)).collect::<Vec<_>>();
    assert_eq!(is_left, [false, false, true, true]);
    assert!(holds(&left[0], ERASED));
}
