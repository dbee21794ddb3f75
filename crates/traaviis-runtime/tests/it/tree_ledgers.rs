//! Documents of ledgers in the document tree, on a simulated disk: every kind has its place, what
//! is no more leaves it, and nothing of a credential is in any file.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use expect_test::expect;
use serde_json::{Value as Json, json};
use traaviis_model::{
    Body, DefinitionHash, Header, InstanceId, Record, TenantCtx, TenantId, Text, Timestamp, Value,
    record::RECORD_VERSION,
};
use traaviis_ports::{
    Append, Lines, LogStore as _, Position, Tree, TreeError, append_alone,
    tree::{Batch, Checked, Document, Notice},
};
use traaviis_runtime::{
    past::Past,
    tree::{
        Policy,
        projector::{Open, Projector, World},
        states::FromLog,
    },
};
use traaviis_store::tree::{Found, What};
use traaviis_testkit::{
    disk::{Fault, SimDisk},
    memory_log::MemoryLog,
};

use crate::tree::{Prefix, assert_same, compare, feed, files, made};

/// Stands in every field that must not be shown.
const CANARY: &str = "canary-of-a-credential";

/// A log with ledgers only.
struct Ledgers {
    log: Arc<MemoryLog>,
    seqs: BTreeMap<InstanceId, u64>,
    stages: Vec<Position>,
}

fn uuid(number: u128) -> String {
    uuid::Uuid::from_u128(0x0199_0000_0000_7000_8000_0000_0000_0000 + number).to_string()
}

impl Ledgers {
    fn new() -> Ledgers {
        Ledgers { log: Arc::new(MemoryLog::new()), seqs: BTreeMap::new(), stages: Vec::new() }
    }

    /// Appends documents as one step.
    fn put(&mut self, ctx: &TenantCtx, documents: &[(&str, String, Json)]) {
        let stream = InstanceId(uuid::Uuid::from_u128(ctx.tenant().0.as_u128() + 1_000));
        let last = self.seqs.entry(stream).or_default();
        let first = *last + 1;
        let records = documents.iter().map(|(kind, id, body)| {
            *last += 1;
            let header = Header {
                tenant_id: ctx.tenant(),
                instance_id: stream,
                seq: *last,
                v: RECORD_VERSION,
                // Each step of the log takes 40 minutes.
                at: Timestamp(self.stages.len() as i64 * 2_400_000_000),
                step: first,
                definition_hash: DefinitionHash([0; 32]),
                actor: ctx.actor().clone(),
                causation_id: None,
                correlation_id: None,
                origin: None,
            };
            let (document, id) = ((*kind).into(), id.as_str().into());
            Record { header, body: Body::DocumentPut { document, id, body: Value::from(body) } }
        });
        let append = Append {
            stream,
            first_seq: first,
            count: documents.len() as u32,
            lines: Lines::Of(Arc::new(records.collect())),
            ends_stream: false,
            known_to: 0,
            subject: None,
        };
        let commit = append_alone(&*self.log, ctx, append).recv().unwrap();
        assert!(commit.is_ok(), "{commit:?}");
        self.stages.push(self.log.tail());
    }

    /// Everything that a server keeps, changed and removed in part.
    fn lived() -> Ledgers {
        let mut it = Ledgers::new();
        let (platform, acme, other) =
            (TenantCtx::platform(), TenantCtx::for_test(1), TenantCtx::for_test(2));
        let id = uuid;
        let user = |number: u128, status: &str| {
            let body = json!({
                "id": id(number), "status": status, "sealed": "1.ab.1.cd", "updated_at": "x",
                "password_hash": CANARY, "totp": CANARY,
            });
            ("user", id(number), body)
        };
        for number in 1..=7 {
            it.put(&platform, &[user(number, "active"), audit(number as u64, "2026-01")]);
        }
        let session = |number: u128| {
            let body = json!({
                "id": id(number), "user_id": id(1), "refresh": CANARY, "before": CANARY,
                "ip_address": CANARY, "amr": ["pwd"],
            });
            ("session", format!("{}/{}", id(1), id(number)), body)
        };
        it.put(&platform, &[session(50), session(51)]);
        it.put(&platform, &[("signing_key", "k".into(), json!({ "sealed": CANARY }))]);
        it.put(&platform, &[("feature_flag", "learning".into(), json!({ "setting": "on" }))]);
        it.put(&platform, &[("maintenance", "maintenance".into(), json!({ "is_on": false }))]);
        for (at, ctx) in [&acme, &other].into_iter().enumerate() {
            let tenant = |status: &str| {
                let (name, slug) = (format!("Acme {at}"), format!("acme-{at}"));
                let body = json!({ "name": name, "slug": slug, "status": status, "plan": "pro" });
                ("tenant", "tenant".to_owned(), body)
            };
            it.put(ctx, &[tenant("active"), member(1, "owner"), audit(1, "2026-01")]);
            it.put(ctx, &[tenant("suspended"), audit(2, "2026-01")]);
        }
        let whole = [
            ("role", id(20), json!({ "id": id(20), "name": "Auditor", "base": "viewer" })),
            ("api_key", id(21), json!({ "id": id(21), "hash": CANARY })),
            ("issuer", "corp".into(), json!({ "client_secret": CANARY })),
            ("invitation", id(22), json!({ "email": CANARY, "token_hash": CANARY, "role": "x" })),
            ("invitation", id(23), json!({ "email": CANARY, "role": "viewer" })),
            ("workflow_draft", "order".into(), json!({ "name": "Order", "text": "x: 1" })),
            ("workflow_version", "order/1.0.0".into(), json!({ "name": "Order", "text": "x" })),
            ("schedule", id(24), json!({ "id": id(24), "input": { "cron": "* * * * *" } })),
            ("webhook", id(25), json!({ "id": id(25), "url": "https://x", "secret": CANARY })),
            ("webhook", id(26), json!({ "id": id(26), "url": "https://y", "secret": CANARY })),
            ("secret", "payment_key".into(), json!({ "name": "payment_key", "value": CANARY })),
            ("alert", "tenant-3-r".into(), json!({ "id": "tenant-3-r", "rule": "r" })),
            ("usage_month", "2026-01".into(), json!({ "month": "2026-01", "members": 2 })),
            ("plan_change", "0000020484".into(), json!({ "from": "free", "to": "pro" })),
            ("payment", "2026-01".into(), json!({ "invoice": "2026-01" })),
        ];
        for some in whole.chunks(3) {
            it.put(&acme, some);
        }
        for number in 2..=6 {
            it.put(&acme, &[member(number, "viewer"), audit(number as u64 + 1, "2026-02")]);
        }
        let checkpoint = json!({ "seq": 7, "hash": "0a", "signature": "s" });
        it.put(&acme, &[("audit_checkpoint", "7".into(), checkpoint)]);
        // Some go, and some come back.
        it.put(&acme, &[gone("member", 3), gone("invitation", 22), gone("webhook", 26)]);
        it.put(&acme, &[member(4, "developer"), audit(8, "2026-02")]);
        it.put(&acme, &[gone("role", 20), member(3, "admin")]);
        it.put(&platform, &[user(2, "deleted"), ("session", session(50).1, Json::Null)]);
        it.put(&platform, &[gone("user", 2), audit(8, "2026-02")]);
        it
    }
}

fn member(number: u128, role: &str) -> (&'static str, String, Json) {
    let body = json!({ "user_id": uuid(number), "role": role, "status": "active" });
    ("member", uuid(number), body)
}

fn audit(seq: u64, month: &str) -> (&'static str, String, Json) {
    let timestamp = format!("{month}-03T00:00:00.000000Z");
    ("audit", format!("{seq:016}"), json!({ "seq": seq, "timestamp": timestamp, "action": "x" }))
}

fn gone(kind: &'static str, number: u128) -> (&'static str, String, Json) {
    (kind, uuid(number), Json::Null)
}

/// The files of a tree as people see them, ids shortened.
fn listing(disk: &SimDisk) -> String {
    let shown = |it: PathBuf| {
        let text = it.strip_prefix("/data/tree").unwrap().to_string_lossy().into_owned();
        text.replace("01990000-0000-7000-8000-0000000000", "")
            .replace(&TenantCtx::for_test(1).tenant().to_string(), "ACME")
    };
    let names: Vec<String> = files(disk).into_keys().map(shown).collect();
    names.join("\n")
}

#[test]
fn every_kind_has_its_place_and_what_is_no_more_has_none() {
    let ledgers = Ledgers::lived();
    let disk = SimDisk::new(3);
    feed(&ledgers.log, &ledgers.stages, &disk).unwrap();
    let other = TenantCtx::for_test(2).tenant().to_string();
    let listed = listing(&disk).replace(&other, "OTHER");
    expect![[r#"
        ACME/audit/2026-01.jsonl
        ACME/audit/2026-02.jsonl
        ACME/audit/checkpoints.jsonl
        ACME/billing/ledger/1970-01.jsonl
        ACME/billing/usage/2026-01.json
        ACME/config.json
        ACME/members/01/member_01.json
        ACME/members/02/member_02.json
        ACME/members/03/member_03.json
        ACME/members/04/member_04.json
        ACME/members/05/member_05.json
        ACME/members/06/member_06.json
        ACME/members/invitations.json
        ACME/members/roster.json
        ACME/monitoring/alerts/tenant-3-r.json
        ACME/schedules/18.json
        ACME/secrets/payment_key.json
        ACME/webhooks/19.json
        ACME/workflows/definitions/order.draft.json
        ACME/workflows/definitions/order.published-1.0.0.json
        OTHER/audit/2026-01.jsonl
        OTHER/config.json
        OTHER/members/member_01.json
        OTHER/members/roster.json
        index.json
        progress.json
        system/audit/2026-01.jsonl
        system/audit/2026-02.jsonl
        system/feature_flags.json
        system/hot_backups/1970-01-01T07.json.gz
        system/hot_backups/1970-01-01T08.json.gz
        system/hot_backups/1970-01-01T09.json.gz
        system/hot_backups/1970-01-01T10.json.gz
        system/hot_backups/1970-01-01T11.json.gz
        system/hot_backups/1970-01-01T12.json.gz
        system/hot_backups/1970-01-01T13.json.gz
        system/hot_backups/1970-01-01T14.json.gz
        system/hot_backups/1970-01-01T15.json.gz
        system/hot_backups/1970-01-01T16.json.gz
        system/hot_backups/1970-01-01T17.json.gz
        system/hot_backups/1970-01-01T18.json.gz
        system/maintenance.json
        system/sessions/active_sessions.json
        system/users/01/user_01.json
        system/users/03/user_03.json
        system/users/04/user_04.json
        system/users/05/user_05.json
        system/users/06/user_06.json
        system/users/07/user_07.json
        system/users/index.json"#]]
    .assert_eq(&listed);
    for (path, text) in files(&disk) {
        assert!(!text.contains(CANARY), "{}: {text}", path.display());
    }
    let text = |path: &str| files(&disk)[Path::new(path)].clone();
    assert!(text("/data/tree/index.json").contains(r#""name":"Acme 1","slug":"acme-1""#));
    assert!(text("/data/tree/system/users/index.json").contains(r#""body": {"count":6,"#));
    assert!(text("/data/tree/system/sessions/active_sessions.json").contains(r#"{"count":1,"#));
}

#[test]
fn a_tree_that_was_fed_is_the_tree_made_at_once() {
    let ledgers = Ledgers::lived();
    let expected = files(&made(&*ledgers.log));
    for pieces in [1, 2, 5, ledgers.stages.len()] {
        let disk = SimDisk::new(7);
        for stages in ledgers.stages.chunks(ledgers.stages.len().div_ceil(pieces)) {
            feed(&ledgers.log, stages, &disk).unwrap();
        }
        assert_same(&files(&disk), &expected, &format!("fed in {pieces} pieces"));
        let found = compare(&*ledgers.log, &disk, false);
        assert_eq!((found.count(), found.others), (0, 0), "{found:#?}");
    }
}

#[test]
fn a_crash_at_any_call_leaves_a_tree_that_is_completed() {
    let ledgers = Ledgers::lived();
    let expected = files(&made(&*ledgers.log));
    let calls = {
        let disk = SimDisk::new(1);
        feed(&ledgers.log, &ledgers.stages, &disk).unwrap();
        disk.calls()
    };
    assert!(calls > 300, "{calls} calls are too few to mean anything");
    for call in (1..=calls).step_by(3) {
        let disk = SimDisk::new(call);
        disk.fail_at(call, Fault::Crash);
        let crashed = feed(&ledgers.log, &ledgers.stages, &disk);
        assert!(crashed.is_err() && disk.is_crashed(), "call {call}");
        disk.restart();
        feed(&ledgers.log, &ledgers.stages, &disk).unwrap();
        assert_same(&files(&disk), &expected, &format!("crash at call {call}"));
        let found = compare(&*ledgers.log, &disk, false);
        assert_eq!((found.count(), found.set_aside), (0, 0), "crash at call {call}: {found:?}");
    }
}

fn words(found: &Found) -> Vec<(&'static str, u64)> {
    found.counts.iter().map(|(what, count)| (what.as_str(), *count)).collect()
}

#[test]
fn a_file_of_each_kind_that_is_changed_missing_or_unknown_is_told_and_made_again() {
    let ledgers = Ledgers::lived();
    let expected = files(&made(&*ledgers.log));
    // A directory that fans out has many alike.
    let all: Vec<&PathBuf> = expected.keys().filter(|it| !it.ends_with("progress.json")).collect();
    assert!(all.len() > 30);
    for path in all {
        let disk = made(&*ledgers.log);
        let bytes = disk.bytes(path).unwrap();
        let is_lines = path.extension().is_some_and(|it| it == "jsonl");
        let is_packed = path.extension().is_some_and(|it| it == "gz");
        // A digit in a list of times or of numbers is there in all of them.
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let changed = if is_packed {
            let mut changed = bytes.clone();
            changed[bytes.len() / 2] ^= 1;
            changed
        } else {
            let at = text.rfind(|it: char| it.is_ascii_digit() || it == '{').unwrap();
            let changed = format!("{}{}{}", &text[..at], '7', &text[at + 1..]);
            let changed = if changed == text { text.replacen('7', "8", 1) } else { changed };
            changed.into_bytes()
        };
        disk.set_bytes(path, changed);
        let found = compare(&*ledgers.log, &disk, false);
        assert_eq!(words(&found), [("changed", 1)], "{}: {found:#?}", path.display());
        compare(&*ledgers.log, &disk, true);
        assert_same(&files(&disk), &expected, "a change was made good");
        // Beside it, one that the log knows nothing of.
        let strange = path.with_file_name(if is_lines { "1999-01.jsonl" } else { "other.json" });
        let above = path.parent().unwrap();
        let is_root = above.ends_with("tree") || path.ends_with("config.json");
        disk.set_bytes(&strange, bytes);
        let found = compare(&*ledgers.log, &disk, false);
        match is_root {
            true => assert_eq!((found.count(), found.others), (0, 1)),
            false => assert_eq!(words(&found), [("unexpected", 1)], "{}", strange.display()),
        }
    }
    let disk = SimDisk::new(5);
    let found = compare(&*ledgers.log, &disk, true);
    assert_eq!(found.counts[&What::Missing], found.count());
    assert_same(&files(&disk), &expected, "all was missing");
}

#[test]
fn copies_are_those_of_the_last_hours_that_brought_a_change() {
    let mut ledgers = Ledgers::new();
    let acme = TenantCtx::for_test(1);
    for number in 0..80 {
        // The trail and people are no reason for a copy.
        ledgers.put(&acme, &[audit(number, "2026-01")]);
        let name = format!("Role {number}");
        ledgers.put(&acme, &[("role", uuid(20), json!({ "id": uuid(20), "name": name }))]);
    }
    let copies = |disk: &SimDisk| {
        let is_copy = |it: &PathBuf| it.to_string_lossy().contains("/system/hot_backups/");
        let names = files(disk).into_keys().filter(is_copy);
        names.map(|it| it.file_name().unwrap().to_string_lossy().into_owned()).collect::<Vec<_>>()
    };
    let disk = SimDisk::new(3);
    feed(&ledgers.log, &ledgers.stages, &disk).unwrap();
    let kept = copies(&disk);
    assert_eq!((kept.len(), &*kept[23]), (24, "1970-01-05T10.json.gz"), "{kept:?}");
    assert_same(&files(&disk), &files(&made(&*ledgers.log)), "copies are made again");
    let found = compare(&*ledgers.log, &disk, false);
    assert_eq!((found.count(), found.others), (0, 0), "{found:#?}");
}

/// A tree that takes its time with lists.
#[derive(Default)]
struct Slow {
    slow: u64,
    millis: AtomicU64,
    lists: AtomicU64,
}

impl Tree for Slow {
    fn position(&self) -> Result<Position, TreeError> {
        Ok(0)
    }

    fn write(&self, batch: &Batch) -> Result<Vec<Notice>, TreeError> {
        if !batch.listed.is_empty() {
            self.lists.fetch_add(1, Ordering::Relaxed);
            self.millis.fetch_add(self.slow, Ordering::Relaxed);
        }
        Ok(Vec::new())
    }

    fn check(&self, _: &Document) -> Result<Checked, TreeError> {
        Ok(Checked::Same)
    }

    fn mend(&self, _: &Document) -> Result<Vec<Notice>, TreeError> {
        Ok(Vec::new())
    }

    fn keep_copy(&self, _: &Text, _: Option<&[&Document]>) -> Result<Vec<Notice>, TreeError> {
        Ok(Vec::new())
    }

    fn forget(&self, _: &[(TenantId, InstanceId)]) -> Result<(), TreeError> {
        Ok(())
    }

    fn set_aside(&self) -> Result<String, TreeError> {
        Ok(String::new())
    }
}

#[test]
fn a_long_list_is_written_for_a_twentieth_of_the_time() {
    let mut ledgers = Ledgers::new();
    let platform = TenantCtx::platform();
    for number in 0..100 {
        let user = json!({ "id": uuid(number), "status": "active" });
        ledgers.put(&platform, &[("user", uuid(number), user)]);
    }
    let written = |slow: u64| {
        let tree = Slow { slow, ..Slow::default() };
        let mut projector = Projector::new(Policy::Lazy, Open::Shown, 0);
        for end in &ledgers.stages {
            let mut states = FromLog(Past::of(ledgers.log.clone()));
            let mut world = World {
                log: &Prefix { log: &ledgers.log, end: *end },
                tree: &tree,
                states: &mut states,
                now: &|| Duration::from_millis(tree.millis.load(Ordering::Relaxed)),
                rest: &|_| true,
                writing: &Mutex::new(()),
                tell: &|_| (),
            };
            projector.round(&mut world).unwrap();
            // The documents are there all the same.
            assert!(projector.is_caught_up());
            assert!(projector.position() <= *end);
            tree.millis.fetch_add(100, Ordering::Relaxed);
        }
        tree.lists.load(Ordering::Relaxed)
    };
    assert_eq!(written(0), 100);
    // Ten seconds and a bit, 100 ms of every 2,000.
    assert_eq!(written(100), 6);
}

#[test]
fn a_list_that_was_damaged_is_made_again_by_whoever_writes_next() {
    let mut ledgers = Ledgers::lived();
    let disk = SimDisk::new(3);
    feed(&ledgers.log, &ledgers.stages, &disk).unwrap();
    let roster = PathBuf::from(format!(
        "/data/tree/{}/members/roster.json",
        TenantCtx::for_test(1).tenant()
    ));
    let text = String::from_utf8(disk.bytes(&roster).unwrap()).unwrap();
    disk.set_bytes(&roster, text.replacen("admin", "owner", 1).into_bytes());
    ledgers.put(&TenantCtx::for_test(1), &[member(9, "viewer")]);
    let tail = ledgers.log.tail();
    feed(&ledgers.log, &[tail], &disk).unwrap();
    assert_same(&files(&disk), &files(&made(&*ledgers.log)), "the roster is whole");
    let found = compare(&*ledgers.log, &disk, false);
    assert_eq!((found.count(), found.set_aside), (0, 1), "{found:#?}");
}
