//! What the tree shows of documents: definitions, and those of ledgers that stand in the tables of
//! [`shown`].
//!
//! Changes wait here until they are written. Of a document the last one counts; a list gets what
//! changed of its entries; lines are kept in their order.
//!
//! Invariants: what stands in no table is not shown; of what is sealed in the log only kind and id
//! are; what waits is the same whether it is read in one piece or in many, so a tree that is made
//! again has the same bytes.

use std::collections::BTreeMap;

use traaviis_model::{
    Body, Record, TenantId, Text, Timestamp, Value,
    record::{ERASED, SEALED},
    tenant::PLATFORM,
};
use traaviis_ports::{
    Position,
    tree::{
        Batch, Document, Lines, Listed, Place,
        shown::{self, Book, CHECKPOINTS, Entries, Kind, List},
    },
};

use super::{documents, projector::Open};

/// Bytes that an entry takes beside its text.
const ENTRY_BYTES: usize = 200;
/// Letters of the hour in a time.
const HOUR_LEN: usize = 13;
/// What stands in the place of a value that is sealed.
const WITHHELD: &str = "\"[SEALED]\"";

type Tenant = Option<TenantId>;

/// Changes that wait.
#[derive(Debug, Default)]
pub(super) struct Ledgers {
    /// Definitions, and documents of ledgers; none for what is removed.
    documents: BTreeMap<(Tenant, Place), Option<Document>>,
    lists: BTreeMap<(Tenant, &'static List), Listed>,
    /// Position of the first change that waits for a list.
    lists_first: Option<Position>,
    list_bytes: usize,
    lines: BTreeMap<(Tenant, Place), Lines>,
    bytes: usize,
}

impl Ledgers {
    /// Returns about how many bytes wait.
    pub(super) fn bytes(&self) -> usize {
        self.bytes + self.list_bytes
    }

    /// Says whether something beside lists is to be written now.
    pub(super) fn has_any(&self, open: Open) -> bool {
        self.documents.iter().any(|it| is_due(it.0, open)) || !self.lines.is_empty()
    }

    /// Returns the position of the first change that waits for a list.
    pub(super) fn lists_first(&self) -> Option<Position> {
        self.lists_first
    }

    /// Takes a record, if it puts or removes a document.
    pub(super) fn note(&mut self, position: Position, record: &Record, is_sealed: bool) {
        if let Some(definition) = documents::definition(record, is_sealed) {
            self.put((definition.tenant, definition.place.clone()), Some(definition));
            return;
        }
        let Body::DocumentPut { document, id, body } = &record.body else { return };
        let owner = record.header.tenant_id;
        let change = Change { record, id, body, is_sealed: is_sealed || is_mark(body, SEALED) };
        if let Some(kind) = shown::kind(document, owner) {
            self.put((change.tenant(), change.place(kind)), change.document(kind));
        }
        if let Some(list) = shown::list(document, owner) {
            self.entry(list, &change);
            self.lists_first.get_or_insert(position);
        }
        if let Some(book) = shown::book(document, owner) {
            for (file, number, line) in change.lines(book, document) {
                self.line(change.tenant(), Place::Book { book, file }, number, &line);
            }
        }
    }

    /// Takes a record only if it is about a list.
    pub(super) fn note_list(&mut self, list: &'static List, record: &Record, is_sealed: bool) {
        let Body::DocumentPut { document, id, body } = &record.body else { return };
        if **document == *list.kind {
            let is_sealed = is_sealed || is_mark(body, SEALED);
            self.entry(list, &Change { record, id, body, is_sealed });
        }
    }

    fn put(&mut self, key: (Tenant, Place), document: Option<Document>) {
        let size = |it: &Option<Document>| it.as_ref().map_or(0, |it| it.body.len()) + ENTRY_BYTES;
        self.bytes += size(&document);
        if let Some(before) = self.documents.insert(key, document) {
            self.bytes = self.bytes.saturating_sub(size(&before));
        }
    }

    fn entry(&mut self, list: &'static List, change: &Change<'_>) {
        let (tenant, header) = (change.tenant(), &change.record.header);
        let listed = self.lists.entry((tenant, list)).or_insert_with(|| Listed {
            tenant,
            list,
            entries: BTreeMap::new(),
            is_whole: false,
            seq: 0,
            updated_at: None,
        });
        listed.seq = header.seq;
        listed.updated_at = Some(header.at);
        let entry = change.fields(list.fields);
        self.list_bytes += entry.as_ref().map_or(0, Vec::len) + ENTRY_BYTES;
        listed.entries.insert(change.id.clone(), entry);
    }

    fn line(&mut self, tenant: Tenant, place: Place, number: u64, line: &str) {
        let first = Lines { tenant, place: place.clone(), first: number, lines: Vec::new() };
        let lines = self.lines.entry((tenant, place)).or_insert(first);
        lines.lines.extend_from_slice(line.as_bytes());
        lines.lines.push(b'\n');
        self.bytes += line.len() + 1;
    }

    /// Puts what waits into a batch. What is made again shows documents of ledgers only as they are
    /// in the end: [`Ledgers::whole`].
    pub(super) fn fill(&self, batch: &mut Batch, open: Open) {
        for ((tenant, place), document) in self.documents.iter().filter(|it| is_due(it.0, open)) {
            match document {
                Some(document) => batch.documents.push(document.clone()),
                None => batch.removed.push((*tenant, place.clone())),
            }
        }
        batch.lines.extend(self.lines.values().cloned());
    }

    /// Forgets what was written.
    pub(super) fn written(&mut self, open: Open) {
        self.documents.retain(|key, _| !is_due(key, open));
        self.lines.clear();
        self.bytes = 0;
    }

    /// Returns what changes in lists.
    pub(super) fn listed(&self) -> Vec<Listed> {
        self.lists.values().cloned().collect()
    }

    /// Forgets the changes of lists, which were written.
    pub(super) fn lists_written(&mut self) {
        self.lists.clear();
        self.lists_first = None;
        self.list_bytes = 0;
    }

    /// Returns the documents that hourly copies hold, when everything before was read.
    pub(super) fn copied(&self) -> Vec<&Document> {
        let is_copied = |it: &&Document| match &it.place {
            Place::Kept { kind, .. } => kind.is_copied,
            _ => false,
        };
        self.documents.values().flatten().filter(is_copied).collect()
    }

    /// Returns the documents that there are, and the lists of them, when everything was read.
    pub(super) fn whole(self) -> (Vec<Document>, Vec<Listed>) {
        let documents = self.documents.into_values().flatten().collect();
        (documents, self.lists.into_values().map(whole).collect())
    }

    /// Returns a list when everything was read that is about it.
    pub(super) fn whole_list(self, tenant: Tenant, list: &'static List) -> Option<Listed> {
        let mut lists = self.lists;
        lists.remove(&(tenant, list)).map(whole)
    }
}

/// Returns the hour in which a record changed a document that hourly copies hold, as in
/// `2026-01-31T12`; none of any other record.
pub(super) fn changed_hour(record: &Record) -> Option<Text> {
    let Body::DocumentPut { document, .. } = &record.body else { return None };
    shown::kind(document, record.header.tenant_id).filter(|it| it.is_copied)?;
    record.header.at.to_string().get(..HOUR_LEN).map(Text::from)
}

fn whole(listed: Listed) -> Listed {
    Listed { is_whole: true, ..listed }
}

/// Says whether a document is written with the next batch.
fn is_due((_, place): &(Tenant, Place), open: Open) -> bool {
    open == Open::Shown || matches!(place, Place::Definition { .. })
}

fn is_mark(body: &Value, mark: &str) -> bool {
    body.as_str() == Some(mark)
}

/// A document that was put or removed.
struct Change<'a> {
    record: &'a Record,
    id: &'a Text,
    body: &'a Value,
    is_sealed: bool,
}

impl Change<'_> {
    /// Returns whose it is; what is the platform's stands above all tenants.
    fn tenant(&self) -> Tenant {
        Some(self.record.header.tenant_id).filter(|it| *it != PLATFORM)
    }

    fn place(&self, kind: &'static Kind) -> Place {
        Place::Kept { kind, id: self.id.clone() }
    }

    /// Says whether it is no more: removed, or of a tenant whose key is destroyed.
    fn is_gone(&self) -> bool {
        self.body.is_null() || is_mark(self.body, ERASED)
    }

    /// Returns what is shown of it, as JSON; none when it is no more.
    fn fields(&self, fields: &[&str]) -> Option<Vec<u8>> {
        if self.is_gone() {
            return None;
        }
        if self.is_sealed {
            return Some(WITHHELD.into());
        }
        let mut text = vec![b'{'];
        let held = fields.iter().filter_map(|it| Some((it, self.body.get(it)?)));
        for (at, (name, value)) in held.enumerate() {
            let comma = if at == 0 { "" } else { "," };
            text.extend_from_slice(format!("{comma}\"{name}\":").as_bytes());
            value.write_json(&mut text);
        }
        text.push(b'}');
        Some(text)
    }

    fn document(&self, kind: &'static Kind) -> Option<Document> {
        let header = &self.record.header;
        Some(Document {
            tenant: self.tenant(),
            place: self.place(kind),
            version: header.seq,
            seq: header.seq,
            updated_at: Some(header.at),
            body: self.fields(kind.fields)?,
        })
    }

    /// Returns the lines that it adds to a book: file, number, text.
    fn lines(&self, book: &Book, kind: &str) -> Vec<(Text, u64, String)> {
        let header = &self.record.header;
        let entries = match (book.entries, self.body.as_list()) {
            (Entries::Told, _) => {
                let line = self.told(kind);
                return vec![(month(&header.at.to_string()), header.seq, line)];
            }
            (_, Some(entries)) => entries,
            (_, None) => std::slice::from_ref(self.body),
        };
        let line = |it: &Value| {
            let number = u64::try_from(it.get("seq")?.as_i64()?).ok()?;
            let file = match book.entries {
                Entries::Numbered => month(it.get("timestamp")?.as_str()?),
                Entries::Signed | Entries::Told => CHECKPOINTS.into(),
            };
            Some((file, number, it.to_json()))
        };
        entries.iter().filter_map(line).collect()
    }

    /// Returns the line that tells of it. What a book says stays, whatever goes.
    fn told(&self, kind: &str) -> String {
        let header = &self.record.header;
        // Sealed, it is told in the same way before and after its key is destroyed.
        let body = match self.is_sealed || is_mark(self.body, ERASED) {
            true => WITHHELD.into(),
            false => self.body.to_json(),
        };
        let (id, at) = (Value::String(self.id.clone()).to_json(), Timestamp::to_string(&header.at));
        let seq = header.seq;
        format!(r#"{{"seq":{seq},"at":"{at}","kind":"{kind}","id":{id},"body":{body}}}"#)
    }
}

/// Returns the month of a time.
fn month(at: &str) -> Text {
    at.get(..7).unwrap_or(at).into()
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};
    use serde_json::json;
    use traaviis_model::{
        DefinitionHash, Header, InstanceId,
        record::{Actor, RECORD_VERSION},
    };

    use super::*;

    const TENANT: TenantId = TenantId(uuid::Uuid::from_u128(5));

    fn record(tenant: TenantId, seq: u64, kind: &str, id: &str, body: Value) -> Record {
        let header = Header {
            tenant_id: tenant,
            instance_id: InstanceId(uuid::Uuid::from_u128(1)),
            seq,
            v: RECORD_VERSION,
            at: Timestamp(seq.cast_signed() * 1_000_000),
            step: seq,
            definition_hash: DefinitionHash([0; 32]),
            actor: Actor::engine(),
            causation_id: None,
            correlation_id: None,
            origin: None,
        };
        Record { header, body: Body::DocumentPut { document: kind.into(), id: id.into(), body } }
    }

    fn text(bytes: &[u8]) -> String {
        String::from_utf8_lossy(bytes).into_owned()
    }

    fn shown(ledgers: &Ledgers) -> String {
        let mut batch = Batch::default();
        ledgers.fill(&mut batch, Open::Shown);
        batch.listed = ledgers.listed();
        let mut told = String::new();
        for it in &batch.documents {
            told += &format!("{} {} {}\n", it.place.kind(), it.place.id(), text(&it.body));
        }
        for (_, place) in &batch.removed {
            told += &format!("{} {} gone\n", place.kind(), place.id());
        }
        for it in &batch.listed {
            for (id, entry) in &it.entries {
                let entry = entry.as_ref().map_or("gone".into(), |it| text(it));
                told += &format!("{}[{id}] {entry}\n", it.list.name);
            }
        }
        for it in &batch.lines {
            told += &format!("{} {} {}", it.place.kind(), it.place.id(), text(&it.lines));
        }
        told
    }

    fn check(records: &[(Record, bool)], expected: &Expect) {
        let mut ledgers = Ledgers::default();
        records.iter().for_each(|(it, is_sealed)| ledgers.note(0, it, *is_sealed));
        expected.assert_eq(&shown(&ledgers));
    }

    #[test]
    fn only_what_is_listed_is_shown() {
        let role = json!({ "id": "r", "name": "Auditor", "base": "viewer", "token_hash": "xxx" });
        let key = json!({ "id": "k", "hash": "xxx" });
        let session = json!({ "id": "s", "user_id": "u", "refresh": "xxx", "ip_address": "::1" });
        let one = |tenant, kind, id, body: &serde_json::Value| {
            (record(tenant, 3, kind, id, Value::from(body)), false)
        };
        check(
            &[
                one(TENANT, "role", "r", &role),
                one(TENANT, "api_key", "k", &key),
                one(TENANT, "user", "u", &json!({ "id": "u" })),
                one(PLATFORM, "session", "u/s", &session),
                one(PLATFORM, "member", "m", &json!({ "role": "owner" })),
            ],
            &expect![[r#"
                role r {"base":"viewer","id":"r","name":"Auditor"}
                active_sessions[u/s] {"id":"s","user_id":"u"}
            "#]],
        );
    }

    #[test]
    fn the_last_change_counts_and_sealed_ones_show_no_more_than_their_id() {
        let member = |seq, role: &str| {
            let body = Value::from(&json!({ "user_id": "m", "role": role, "status": "active" }));
            record(TENANT, seq, "member", "m", body)
        };
        let gone = record(TENANT, 3, "member", "m", Value::Null);
        let erased = record(TENANT, 4, "role", "r", ERASED.into());
        check(
            &[(member(1, "owner"), false), (gone, false), (member(4, "viewer"), true)],
            &expect![[r#"
                member m "[SEALED]"
                roster[m] "[SEALED]"
            "#]],
        );
        check(
            &[(member(1, "owner"), false), (erased, true)],
            &expect![[r#"
                member m {"role":"owner","status":"active","user_id":"m"}
                role r gone
                roster[m] {"role":"owner","status":"active"}
            "#]],
        );
    }

    #[test]
    fn entries_become_lines_of_their_month() {
        let entry = |seq: u64, at: &str| json!({ "seq": seq, "timestamp": at, "action": "x" });
        let (one, two) = (entry(1, "2026-01-31T00:00:00Z"), entry(2, "2026-02-01T00:00:00Z"));
        let sheet = Value::from(&json!([one, two]));
        let three = Value::from(&entry(3, "2026-02-02T00:00:00Z"));
        let payment = Value::from(&json!({ "invoice": "2026-01", "reference": "ACME 7" }));
        check(
            &[
                (record(TENANT, 1, "audit", "2", sheet), false),
                (record(TENANT, 2, "audit", "3", three), false),
                (record(TENANT, 3, "audit_checkpoint", "3", json_of(r#"{"seq":3}"#)), false),
                (record(TENANT, 4, "payment", "2026-01", payment.clone()), false),
                (record(TENANT, 5, "payment", "2026-01", payment), true),
                (record(TENANT, 6, "payment", "2026-01", Value::Null), false),
            ],
            &expect![[r#"
                audit 2026-01 {"action":"x","seq":1,"timestamp":"2026-01-31T00:00:00Z"}
                audit 2026-02 {"action":"x","seq":2,"timestamp":"2026-02-01T00:00:00Z"}
                {"action":"x","seq":3,"timestamp":"2026-02-02T00:00:00Z"}
                checkpoints checkpoints {"seq":3}
                billing 1970-01 {"seq":4,"at":"1970-01-01T00:00:04.000000Z","kind":"payment","id":"2026-01","body":{"invoice":"2026-01","reference":"ACME 7"}}
                {"seq":5,"at":"1970-01-01T00:00:05.000000Z","kind":"payment","id":"2026-01","body":"[SEALED]"}
                {"seq":6,"at":"1970-01-01T00:00:06.000000Z","kind":"payment","id":"2026-01","body":null}
            "#]],
        );
    }

    fn json_of(text: &str) -> Value {
        Value::from(&serde_json::from_str::<serde_json::Value>(text).unwrap())
    }
}
