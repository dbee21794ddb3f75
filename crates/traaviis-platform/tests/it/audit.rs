//! The audit trail: acts on instances entered once, refusals counted, ends signed, and every kind
//! of tampering found.

use std::sync::Arc;

use serde_json::{Value as Json, json};
use traaviis_model::{
    Body, DefinitionHash, Header, InstanceId, Record, Span, TenantCtx, TenantId, Timestamp, Value,
    permission::Permission,
    record::{Actor, ActorKind, EventSource, Origin, RECORD_VERSION},
};
use traaviis_platform::{
    Entered,
    audit::{self, AUDIT, CHECKPOINT, SHEET_BYTES_MAX, entries_of, hash_of},
    expected::Expected,
    ledger::stream_of,
    proof::{ExportProof, Kept, prove_log},
    trail_file::Format,
};
use traaviis_policy::access::{Action, Freshness};
use traaviis_ports::{Append, LogStore, append_alone};
use traaviis_testkit::memory_log::MemoryLog;

use crate::world::{World, code, via};

/// Somebody who may read the trail of their tenant.
fn reader(world: &World) -> Entered {
    let ada = world.register("ada@example.org");
    let tenant = ada.tenant.as_ref().unwrap().tenant.id;
    let caller = world.caller(&ada);
    world.enter(&caller, tenant, Action::Needs(Permission::AuditLogsView)).unwrap()
}

fn instance(number: u128) -> InstanceId {
    InstanceId(uuid::Uuid::from_u128(number))
}

/// Appends one record of an instance, as a runtime would; with an origin it is an act.
fn append(log: &MemoryLog, tenant: TenantId, number: u128, seq: u64, origin: Option<&str>) {
    let header = Header {
        tenant_id: tenant,
        instance_id: instance(number),
        seq,
        v: RECORD_VERSION,
        at: Timestamp(1_800_000_000_000_000 + seq as i64),
        step: seq,
        definition_hash: DefinitionHash([7; 32]),
        actor: Actor { kind: ActorKind::User, id: "7".into() },
        causation_id: None,
        correlation_id: None,
        origin: origin.map(|request| {
            Box::new(Origin {
                via: "session".into(),
                ip_address: Some("192.0.2.9".into()),
                user_agent: None,
                request_id: Some(request.into()),
                request_key: None,
            })
        }),
    };
    // A payload that looks like an origin is none.
    let data = Value::from(&json!({ "origin": { "via": "session" } }));
    let (event, source) = ("go".into(), EventSource::External);
    let body = Body::EventReceived { event, data, id: None, source };
    put(log, tenant, instance(number), seq, Record { header, body });
}

fn put(log: &MemoryLog, tenant: TenantId, stream: InstanceId, seq: u64, record: Record) {
    let mut lines = Vec::new();
    record.write_line(&mut lines);
    let append = Append {
        stream,
        first_seq: seq,
        count: 1,
        lines: lines.into(),
        ends_stream: false,
        known_to: 0,
        subject: None,
    };
    append_alone(log, &TenantCtx::keeper_of(tenant), append).recv().unwrap().unwrap();
}

fn follow(world: &World) {
    world.platform.follow(Arc::clone(&world.log) as Arc<_>);
}

/// Returns the requests that the entries of acts name, the oldest first.
fn acts(world: &World, entered: &Entered) -> Vec<String> {
    let mut found: Vec<Json> = world.platform.audit(entered, None, 200).unwrap();
    found.reverse();
    let sent = found.iter().filter(|it| it["action"] == "event.sent");
    sent.map(|it| it["request_id"].as_str().unwrap_or("-").to_owned()).collect()
}

#[test]
fn an_act_is_entered_once_with_who_and_from_where() {
    let world = World::new();
    let entered = reader(&world);
    follow(&world);
    let tenant = entered.ctx.tenant();
    append(&world.log, tenant, 1, 1, Some("r1"));
    append(&world.log, tenant, 1, 2, None);
    append(&world.log, tenant, 2, 1, Some("r2"));
    let found = world.platform.audit(&entered, None, 1).unwrap();
    let entry = &found[0];
    assert_eq!(entry["actor"], json!({ "type": "user", "id": "7", "via": "session" }));
    assert_eq!(entry["ip_address"], "192.0.2.9");
    assert_eq!(entry["resource_id"], instance(2).to_string());
    assert_eq!(entry["metadata"], json!({ "seq": 1, "event": "go" }));
    assert_eq!(entry["timestamp"], json!(Timestamp(1_800_000_000_000_001)), "when it was done");
    assert_eq!(acts(&world, &entered), ["r1", "r2"]);
    assert_eq!(acts(&world, &entered), ["r1", "r2"], "asked again");
    assert_eq!(world.platform.verify_audit(&entered).unwrap().broken, None);
}

#[test]
fn after_a_crash_no_act_is_missing_and_none_stands_there_twice() {
    let mut world = World::new();
    let entered = reader(&world);
    let tenant = entered.ctx.tenant();
    let mut expected = Vec::new();
    for round in 0..6 {
        follow(&world);
        for number in 0..5 {
            let request = format!("r{round}.{number}");
            append(&world.log, tenant, 100 + round, number + 1, Some(&request));
            expected.push(request);
            // Some are entered before the crash, some are not.
            if number == 2 {
                world.platform.keep_audit().unwrap();
            }
        }
        world = if round % 2 == 0 { world.restarted() } else { world.rebuilt() };
    }
    follow(&world);
    assert_eq!(acts(&world, &entered), expected);
    assert_eq!(world.platform.verify_audit(&entered).unwrap().broken, None);
}

/// Entries of one change share documents, which nobody who reads the trail can tell.
#[test]
fn entries_on_sheets_read_as_entries_that_stand_alone() {
    let world = World::new();
    let entered = reader(&world);
    follow(&world);
    let tenant = entered.ctx.tenant();
    let count = 150;
    for number in 1..=count {
        append(&world.log, tenant, 1, number, Some("r"));
    }
    world.platform.keep_audit().unwrap();
    let mut sheets = Vec::new();
    world
        .log
        .scan(0, &mut |line| {
            let record = Record::read_line(line.bytes).unwrap();
            if let Body::DocumentPut { document, body, .. } = record.body
                && &*document == AUDIT
            {
                assert!(body.json_len() < SHEET_BYTES_MAX + 1_000);
                sheets.push(entries_of(Json::from(&body)).len());
            }
        })
        .unwrap();
    let most = sheets.iter().max().copied().unwrap_or_default();
    assert!(most > 10 && sheets.len() < 30, "{sheets:?}");
    assert_eq!(world.platform.verify_audit(&entered).unwrap().broken, None);
    let mut all = trail_of(&world.log, tenant);
    all.reverse();
    let total = all.len() as u64;
    for before in [None, Some(1), Some(2), Some(40), Some(41), Some(total), Some(total + 9)] {
        for limit in [1, 2, 37, 200] {
            let found = world.platform.audit(&entered, before, limit).unwrap();
            let behind = total - before.map_or(total, |it| (it - 1).min(total));
            let expected: Vec<_> = all.iter().skip(behind as usize).take(limit).cloned().collect();
            assert!(found == expected, "before {before:?}, {limit} at most");
        }
    }
}

/// What was looked at as it was made and what was read back are the same to the rules.
#[test]
fn alerts_of_fresh_entries_are_those_of_entries_read_back() {
    let raised = |is_read_back: bool| {
        let mut world = World::new();
        let entered = reader(&world);
        follow(&world);
        world.platform.keep_audit().unwrap();
        for round in 0..8 {
            drop(world.platform.export_audit(&entered, Format::Jsonl).unwrap());
            append(&world.log, entered.ctx.tenant(), 1, round + 1, Some("r"));
            if !is_read_back {
                world.platform.keep_audit().unwrap();
            }
        }
        if is_read_back {
            world = world.restarted();
            follow(&world);
        }
        world.platform.keep_audit().unwrap();
        let alerts = world.platform.alerts(&entered).unwrap().into_iter().map(|it| it.it);
        alerts.map(|it| (it.rule, it.actor, it.entry)).collect::<Vec<_>>()
    };
    let (fresh, again) = (raised(false), raised(true));
    assert!(!fresh.is_empty());
    assert_eq!(fresh, again);
}

#[test]
fn acts_of_many_tenants_are_entered_together_and_each_in_its_trail() {
    let mut world = World::new();
    let tenant = |number: u64| TenantId(uuid::Uuid::from_u128(0x7000 + u128::from(number)));
    // More tenants than are changed at once, and one with more acts than are entered at once.
    let acts = |number: u64| if number == 70 { 600 } else { 1 + number % 3 };
    let tenants = 0..150;
    let total: u64 = tenants.clone().map(acts).sum();
    for round in 0..2 {
        follow(&world);
        for number in tenants.clone() {
            for at in 1..=acts(number) {
                let seq = round * acts(number) + at;
                append(&world.log, tenant(number), u128::from(number) + 1, seq, Some("r"));
            }
        }
        assert_eq!(world.platform.enter_acts().unwrap() as u64, total);
        assert_eq!(world.platform.enter_acts().unwrap(), 0);
        world = if round == 0 { world.restarted() } else { world.rebuilt() };
    }
    let mut entries = 0;
    let found = prove_log(&*world.log, None, None, &mut || entries += 1).unwrap();
    assert!(found.broken.is_empty(), "{:?}", found.broken);
    // The platform has a trail, too.
    assert_eq!(entries, found.proven.iter().map(|it| it.count).sum::<u64>());
    for number in tenants {
        let mut proven = found.proven.iter();
        let trail = proven.find(|it| it.tenant == Some(tenant(number))).unwrap();
        assert_eq!(trail.count, 2 * acts(number));
    }
}

#[test]
fn a_start_reads_little_again() {
    let world = World::new();
    let entered = reader(&world);
    follow(&world);
    let tenant = entered.ctx.tenant();
    for seq in 1..=10_500 {
        append(&world.log, tenant, 5, seq, (seq % 100 == 0).then_some("r"));
    }
    assert_eq!(world.platform.enter_acts().unwrap(), 105);
    let world = world.restarted();
    follow(&world);
    let before = world.log.reads();
    assert_eq!(world.platform.enter_acts().unwrap(), 0);
    assert_eq!(world.log.reads(), before, "nothing is read one by one");
}

#[test]
fn refusals_that_repeat_are_two_entries_a_minute() {
    let world = World::new();
    let ada = world.register("ada@example.org");
    let bob = world.join("bob@example.org", "viewer", &ada);
    let tenant = ada.tenant.as_ref().unwrap().tenant.id;
    let (owner, viewer) = (world.caller(&ada), world.caller(&bob));
    let entered = world.enter(&owner, tenant, Action::Needs(Permission::AuditLogsView)).unwrap();
    let denied = |permission| {
        let refused = world.enter(&viewer, tenant, Action::Needs(permission));
        assert_eq!(code(refused), "insufficient_permissions");
    };
    for _ in 0..500 {
        denied(Permission::WorkflowDelete);
    }
    denied(Permission::TenantBilling);
    let entries = || -> Vec<(String, u64)> {
        let found = world.platform.audit(&entered, None, 200).unwrap();
        let denied = found.iter().rev().filter(|it| it["action"] == "permission.denied");
        denied
            .map(|it| {
                let count = it["metadata"]["count"].as_u64().unwrap_or(1);
                (it["resource_id"].as_str().unwrap().to_owned(), count)
            })
            .collect()
    };
    let one = |what: &str, count| (what.to_owned(), count);
    let first = [one("workflow_delete", 1), one("tenant_billing", 1)];
    assert_eq!(entries(), first);
    world.clock.advance(Span::secs(61));
    world.platform.keep_audit().unwrap();
    let [a, b] = first.clone();
    assert_eq!(entries(), [a, b, one("workflow_delete", 499)]);
    denied(Permission::WorkflowDelete);
    assert_eq!(entries().len(), 4, "the next minute begins with an entry");
    assert_eq!(world.platform.verify_audit(&entered).unwrap().broken, None);
}

#[test]
fn failed_logins_are_counted_by_account_and_address() {
    let world = World::new();
    world.register("ada@example.org");
    let log_in = |email: &str| world.platform.log_in(email, "wrong", None, &via());
    for _ in 0..5 {
        assert_eq!(code(log_in("ada@example.org")), "invalid_credentials");
        assert_eq!(code(log_in("nobody@example.org")), "invalid_credentials");
    }
    world.platform.end_audit().unwrap();
    let found = trail_of(&world.log, traaviis_model::tenant::PLATFORM);
    let failed = found.iter().filter(|it| it["action"] == "login.failed");
    let counts: Vec<u64> = failed.map(|it| it["metadata"]["count"].as_u64().unwrap_or(1)).collect();
    let (sum, entries) = (counts.iter().sum::<u64>(), counts.len());
    assert_eq!((sum, entries), (10, 4), "one at once and one for the rest, of each");
}

/// Returns the entries of a trail as they stand in the log.
fn trail_of(log: &MemoryLog, tenant: TenantId) -> Vec<Json> {
    let all = ledger_of(log).into_iter().filter(|it| it.tenant == tenant && it.kind == AUDIT);
    all.map(|it| it.body).collect()
}

/// A document as a record of a ledger puts it.
#[derive(Clone, Debug)]
struct Put {
    tenant: TenantId,
    kind: String,
    id: String,
    body: Json,
}

/// Returns every document of every ledger, in the order of the log; each audit entry is one.
fn ledger_of(log: &MemoryLog) -> Vec<Put> {
    let mut found = Vec::new();
    log.scan(0, &mut |line| {
        let record = Record::read_line(line.bytes).unwrap();
        let tenant = record.header.tenant_id;
        if let Body::DocumentPut { document, id, body } = record.body
            && record.header.instance_id == stream_of(tenant)
        {
            let (kind, body) = (document.to_string(), Json::from(&body));
            if kind != AUDIT {
                return found.push(Put { tenant, kind, id: id.to_string(), body });
            }
            for body in entries_of(body) {
                let id = audit::id_of(body["seq"].as_u64().unwrap());
                found.push(Put { tenant, kind: kind.clone(), id, body });
            }
        }
    })
    .unwrap();
    found
}

/// Makes a trail of about thirty entries with checkpoints in it, and one at its end.
fn signed() -> (World, Entered) {
    let world = World::new();
    let entered = reader(&world);
    follow(&world);
    world.platform.keep_audit().unwrap();
    for number in 1..=24_u64 {
        append(&world.log, entered.ctx.tenant(), 9, number, Some(&format!("r{number}")));
        if number % 6 == 0 {
            world.clock.advance(Span::secs(61));
            world.platform.keep_audit().unwrap();
        }
    }
    (world, entered)
}

#[test]
fn the_end_of_a_chain_is_signed_after_a_minute_or_a_thousand_entries() {
    let (world, entered) = signed();
    let checkpoints = world.platform.checkpoints(&entered, None, 10).unwrap();
    let head = world.platform.verify_audit(&entered).unwrap().head;
    assert_eq!((checkpoints[0].seq, &checkpoints[0].hash), (head.seq, &head.hash));
    let seqs: Vec<u64> = checkpoints.iter().rev().map(|it| it.seq).collect();
    assert_eq!(seqs.len(), 4, "{seqs:?}");
    let keys = world.platform.audit_keys().unwrap();
    assert!(checkpoints.iter().all(|it| it.is_signed_by(&keys[0])));
    world.clock.advance(Span::secs(3_600));
    world.platform.keep_audit().unwrap();
    assert_eq!(world.platform.checkpoints(&entered, None, 10).unwrap().len(), 4, "nothing new");
    for seq in 25..=1_024 {
        append(&world.log, entered.ctx.tenant(), 9, seq, Some("r"));
    }
    world.platform.keep_audit().unwrap();
    assert_eq!(world.platform.checkpoints(&entered, None, 10).unwrap().len(), 5, "a thousand");
    let again = world.restarted();
    assert_eq!(again.platform.audit_keys().unwrap(), keys, "the key stays");
}

fn export(world: &World, entered: &Entered, format: Format) -> Vec<String> {
    let parts = world.platform.export_audit(entered, format).unwrap();
    let text: String = parts.map(Result::unwrap).collect();
    text.lines().map(str::to_owned).collect()
}

fn prove(lines: &[String]) -> Result<u64, audit::Broken> {
    let mut proof = ExportProof::new(None);
    lines.iter().try_for_each(|it| proof.line(it))?;
    Ok(proof.finish()?.count)
}

#[test]
fn an_export_is_whole_in_every_format_and_is_its_own_last_entry() {
    let (world, entered) = signed();
    for format in Format::ALL {
        let lines = export(&world, &entered, format);
        let count = world.platform.verify_audit(&entered).unwrap().count;
        assert_eq!(prove(&lines), Ok(count), "{format:?}");
        let last = lines.iter().rfind(|it| it.contains("audit.exported"));
        assert!(last.is_some_and(|it| it.contains(format.as_str())), "{lines:?}");
    }
}

/// A small source of numbers that is the same each time.
struct Dice(u64);

impl Dice {
    fn below(&mut self, end: usize) -> usize {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % end
    }
}

#[derive(Clone, Copy, Debug)]
enum Tampering {
    Changed,
    Dropped,
    Inserted,
    Swapped,
    CutOrChainedAnew,
}

const KINDS: [Tampering; 5] = [
    Tampering::Changed,
    Tampering::Dropped,
    Tampering::Inserted,
    Tampering::Swapped,
    Tampering::CutOrChainedAnew,
];

/// Changes one value somewhere in an entry.
fn change(entry: &mut Json, dice: &mut Dice) {
    let mut leaves = Vec::new();
    fn walk(value: &Json, at: String, leaves: &mut Vec<String>) {
        match value {
            Json::Object(map) if !map.is_empty() => {
                map.iter().for_each(|(key, it)| walk(it, format!("{at}/{key}"), leaves));
            }
            _ => leaves.push(at),
        }
    }
    walk(entry, String::new(), &mut leaves);
    let leaf = entry.pointer_mut(&leaves[dice.below(leaves.len())]).unwrap();
    *leaf = match leaf {
        Json::String(text) => json!(format!("{text}x")),
        Json::Number(it) => json!(it.as_f64().unwrap() + 1.0),
        _ => json!("x"),
    };
}

/// Computes the chain anew from an entry on, as whoever has no key can.
fn chain_anew<'a>(entries: impl Iterator<Item = &'a mut Json>, mut before: String) {
    for (number, entry) in entries.enumerate() {
        let plain = entry.as_object_mut().unwrap();
        plain.remove("hash");
        if number > 0 {
            plain.insert("prev_hash".into(), json!(before));
        }
        before = hash_of(entry);
        entry["hash"] = json!(before);
    }
}

/// Tampers with a list in which `is_entry` tells what may be touched. Returns what was done.
fn tamper(
    items: &mut Vec<Json>,
    is_entry: fn(&Json) -> bool,
    kind: Tampering,
    dice: &mut Dice,
) -> String {
    let at: Vec<usize> = (0..items.len()).filter(|it| is_entry(&items[*it])).collect();
    let pick = dice.below(at.len());
    let one = at[pick];
    match kind {
        Tampering::Changed => change(&mut items[one], dice),
        Tampering::Dropped => drop(items.remove(one)),
        Tampering::Inserted => {
            let copy = items[at[dice.below(at.len())]].clone();
            items.insert(one, copy);
        }
        Tampering::Swapped => {
            let other = at[(pick + 1 + dice.below(at.len() - 1)) % at.len()];
            items.swap(one, other);
        }
        Tampering::CutOrChainedAnew if dice.below(2) == 0 => items.truncate(one.max(1)),
        Tampering::CutOrChainedAnew => {
            let entry = &mut items[one];
            entry["metadata"] = json!({ "forged": dice.below(1_000) });
            chain_anew(items[one..].iter_mut().filter(|it| is_entry(it)), String::new());
        }
    }
    format!("{kind:?} at {one}")
}

/// Times that each kind is tried.
const TIMES: usize = 1_000;

#[test]
fn every_tampering_with_an_export_is_found() {
    let (world, entered) = signed();
    let lines = export(&world, &entered, Format::Jsonl);
    let items: Vec<Json> = lines.iter().map(|it| serde_json::from_str(it).unwrap()).collect();
    let mut dice = Dice(7);
    for kind in KINDS {
        for number in 0..TIMES {
            let mut tampered = items.clone();
            let done = tamper(&mut tampered, |it| it["action"].is_string(), kind, &mut dice);
            let lines: Vec<String> = tampered.iter().map(Json::to_string).collect();
            let found = prove(&lines);
            assert!(found.is_err(), "{number}: {done} was not found");
        }
    }
}

#[test]
fn the_first_entry_that_is_not_good_is_named() {
    let (world, entered) = signed();
    let lines = export(&world, &entered, Format::Jsonl);
    let at = lines.iter().position(|it| it.contains("\"r9\"")).unwrap();
    let seq = serde_json::from_str::<Json>(&lines[at]).unwrap()["seq"].as_u64().unwrap();
    let mut changed = lines.clone();
    changed[at] = changed[at].replace("\"r9\"", "\"r8\"");
    assert_eq!(prove(&changed).unwrap_err().seq, seq);
    let mut gone = lines.clone();
    gone.remove(at);
    assert_eq!(prove(&gone).unwrap_err().seq, seq);
    let cut = prove(&lines[..lines.len() - 1]).unwrap_err();
    assert!(cut.why.contains("breaks off"), "{cut:?}");
}

/// Writes documents of ledgers into a log of its own, as somebody who may write the files can.
fn log_of(documents: &[Put]) -> MemoryLog {
    let log = MemoryLog::new();
    let mut seqs = std::collections::BTreeMap::new();
    for Put { tenant, kind, id, body } in documents {
        let seq = seqs.entry(*tenant).or_insert(0_u64);
        *seq += 1;
        let header = Header {
            tenant_id: *tenant,
            instance_id: stream_of(*tenant),
            seq: *seq,
            v: RECORD_VERSION,
            at: Timestamp(5),
            step: *seq,
            definition_hash: DefinitionHash([0; 32]),
            actor: Actor::engine(),
            causation_id: None,
            correlation_id: None,
            origin: None,
        };
        let (document, id) = (kind.as_str().into(), id.as_str().into());
        let body = Body::DocumentPut { document, id, body: Value::from(body) };
        put(&log, *tenant, stream_of(*tenant), *seq, Record { header, body });
    }
    log
}

/// In a data directory everything can be rewritten, so the last checkpoint was kept elsewhere.
#[test]
fn every_tampering_with_the_log_is_found() {
    let (world, entered) = signed();
    let tenant = entered.ctx.tenant();
    let checkpoint = world.platform.checkpoints(&entered, None, 1).unwrap().remove(0);
    let key = world.platform.audit_keys().unwrap().pop();
    let kept = Kept { checkpoint, key };
    let all = ledger_of(&world.log);
    let is_part = |it: &&Put| {
        it.kind == "audit_key" || it.tenant == tenant && [AUDIT, CHECKPOINT].contains(&&*it.kind)
    };
    let parts: Vec<_> = all.iter().filter(is_part).cloned().collect();
    let (keys, trail): (Vec<_>, Vec<_>) = parts.into_iter().partition(|it| it.kind == "audit_key");
    let prove = |items: &[Json]| {
        let mut documents = keys.clone();
        for item in items {
            let kind = if item["action"].is_string() { AUDIT } else { CHECKPOINT };
            let id = audit::id_of(item["seq"].as_u64().unwrap_or_default());
            documents.push(Put { tenant, kind: kind.into(), id, body: item.clone() });
        }
        prove_log(&log_of(&documents), None, Some(&kept), &mut || ()).unwrap()
    };
    let items: Vec<Json> = trail.iter().map(|it| it.body.clone()).collect();
    let found = prove(&items);
    let count = world.platform.verify_audit(&entered).unwrap().count;
    assert!(found.broken.is_empty() && found.proven[0].count == count, "{found:?}");
    let mut dice = Dice(11);
    for kind in KINDS {
        for number in 0..TIMES {
            let mut tampered = items.clone();
            let done = tamper(&mut tampered, |it| it["action"].is_string(), kind, &mut dice);
            let found = prove(&tampered);
            assert!(!found.broken.is_empty(), "{number}: {done} was not found");
        }
    }
}

/// Whoever signs anew with a key of their own is found by who has kept the right one.
#[test]
fn another_key_is_not_trusted_by_who_has_kept_one() {
    let (world, entered) = signed();
    let (other, elsewhere) = signed();
    let checkpoint = world.platform.checkpoints(&entered, None, 1).unwrap().remove(0);
    let key = world.platform.audit_keys().unwrap().pop();
    let forged = export(&other, &elsewhere, Format::Jsonl);
    assert!(prove(&forged).is_ok(), "it is whole by itself");
    let mut proof = ExportProof::new(Some(Kept { checkpoint: checkpoint.clone(), key }));
    let found = forged.iter().try_for_each(|it| proof.line(it));
    assert!(found.is_err(), "it is signed with another key");
    let mut proof = ExportProof::new(Some(Kept { checkpoint, key: None }));
    let lines = export(&world, &entered, Format::Jsonl);
    lines.iter().try_for_each(|it| proof.line(it)).unwrap();
    assert!(proof.finish().is_ok(), "what was kept stands there");
}

#[test]
fn what_the_trail_gives_reason_to_look_at_is_told_once() {
    let world = World::new();
    let ada = world.register("ada@example.org");
    let tenant = ada.tenant.as_ref().unwrap().tenant.id;
    let caller = world.caller(&ada);
    let settings = Action::Needs(Permission::TenantSettings);
    let entered = world.enter(&caller, tenant, settings).unwrap();
    let bob = world.join("bob@example.org", "admin", &ada);
    let manager = world.manager(&caller, tenant);
    let change = traaviis_platform::members::MemberChange {
        role: Some("owner".into()),
        ..Default::default()
    };
    world.platform.change_member(&manager, bob.account.user.id, Expected::ANY, &change).unwrap();
    for _ in 0..5 {
        let _ = world.platform.log_in("ada@example.org", "wrong", None, &via());
    }
    world.platform.log_in("ada@example.org", crate::world::PASSWORD, None, &via()).unwrap();
    for number in 0..40 {
        let strange = TenantId(uuid::Uuid::from_u128(number));
        let refused = world.platform.enter(&caller, strange, settings, Freshness::Any);
        assert_eq!(code(refused), "no_tenant_context");
    }
    world.clock.advance(Span::secs(61));
    world.platform.keep_audit().unwrap();
    // What it has raised is there at the next look, too.
    world.platform.keep_audit().unwrap();
    let rules = |world: &World| {
        let alerts = world.platform.alerts(&entered).unwrap();
        let mut rules: Vec<String> = alerts.iter().map(|it| it.it.rule.to_string()).collect();
        rules.sort();
        rules
    };
    let expected = ["login_after_failures", "raised_to_owner", "tenant_probes"];
    assert_eq!(rules(&world), expected);
    let world = world.rebuilt();
    world.platform.keep_audit().unwrap();
    assert_eq!(rules(&world), expected, "read again after a crash");
    let id = world.platform.alerts(&entered).unwrap()[0].it.id.clone();
    for _ in 0..2 {
        let seen = world.platform.acknowledge(&entered, &id).unwrap();
        assert_eq!(seen.it.acknowledged_by, Some(entered.ctx.actor().text()));
    }
    let acknowledged = trail_of(&world.log, tenant);
    let count = acknowledged.iter().filter(|it| it["action"] == "alert.acknowledged").count();
    assert_eq!(count, 1);
    assert_eq!(code(world.platform.acknowledge(&entered, "nothing")), "not_found");
}

#[test]
fn an_entry_that_is_not_what_it_was_raises_an_alert() {
    let (world, entered) = signed();
    let tenant = entered.ctx.tenant();
    let mut documents = ledger_of(&world.log);
    let last = documents.iter_mut().rfind(|it| it.tenant == tenant && it.kind == AUDIT).unwrap();
    last.body["outcome"] = json!("denied");
    // The watch has not seen the entries of this log yet.
    documents.retain(|it| it.kind != "audit_watch" && it.kind != "alert");
    let ways = traaviis_platform::Ways {
        log: Arc::new(log_of(&documents)),
        documents: Arc::new(traaviis_testkit::memory_documents::MemoryDocuments::default()),
        vault: Arc::clone(&world.vault) as Arc<_>,
        clock: Arc::clone(&world.clock) as Arc<_>,
        entropy: traaviis_platform::Entropy::seeded(9),
    };
    let settings = traaviis_platform::Settings::default();
    let platform = traaviis_platform::Platform::open(ways, settings).unwrap();
    platform.keep_audit().unwrap();
    let alerts = platform.alerts(&entered).unwrap();
    assert!(alerts.iter().any(|it| &*it.it.rule == "audit_gap"), "{alerts:?}");
}
