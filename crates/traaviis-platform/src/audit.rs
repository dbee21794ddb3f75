//! The audit trail: an entry for each act, chained by hashes, one chain a tenant.
//!
//! Entries are documents of the ledger whose change they tell of, so both are committed together or
//! not at all; those of one change stand on common sheets (docs/decisions/0052). The hash of an
//! entry covers its canonical JSON (RFC 8785) with the hash of the entry before, so whoever keeps
//! one hash can tell whether anything before it was changed, taken out, put in or put elsewhere.
//!
//! Facts of an entry are looked through for personal data first: free text for every type, other
//! values for what has a form or check digits, since words there are names that the platform gave.

use std::{
    collections::BTreeMap,
    net::IpAddr,
    sync::{Arc, LazyLock},
};

use serde::{Deserialize, Serialize};
use serde_json::Value as Json;
use sha2::{Digest as _, Sha256};
use traaviis_model::{
    TenantId, Text, Timestamp, Value,
    document::{canonical, canonical_without},
    privacy::{PiiMode, PiiType},
    record::{Actor, ActorKind, Origin},
};
use traaviis_policy::{
    pii::{Policy, WITH_FORM, redact},
    watch::Seen,
};

use crate::{
    alert_rules::{ALERT_MAIL, NOTICES, RULE_STATE},
    alerts::{ALERT, WATCH},
    privacy::REPORT,
    repeated::{ANSWER, RequestKey, USED_KEY},
};

/// Kind of the documents.
pub const AUDIT: &str = "audit";
/// Kind of the documents that remember how far something has read.
pub const PLACE: &str = "audit_place";
/// Kind of the documents that hold signed ends of a chain.
pub const CHECKPOINT: &str = "audit_checkpoint";
/// Kinds whose changes concern nobody's rights.
pub const SILENT: &[&str] = &[
    AUDIT, PLACE, CHECKPOINT, ALERT, WATCH, REPORT, USED_KEY, ANSWER, RULE_STATE, ALERT_MAIL,
    NOTICES,
];
/// Hash before the first entry.
pub const NO_HASH: &str = "0000000000000000000000000000000000000000000000000000000000000000";

/// Where an act came from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Via {
    /// How it came in: `session`, `api_key`, `command_line`, `engine`.
    pub way: &'static str,
    /// Address of the caller.
    pub ip_address: Option<Text>,
    /// What the caller says it is.
    pub user_agent: Option<Text>,
    /// Id of the request.
    pub request_id: Option<Text>,
    /// By what a repetition of the request is known.
    pub request_key: Option<RequestKey>,
}

impl Via {
    /// Returns it as records keep it.
    pub fn origin(&self) -> Origin {
        Origin {
            via: self.way.into(),
            ip_address: self.ip_address.clone(),
            user_agent: self.user_agent.clone(),
            request_id: self.request_id.clone(),
            request_key: self.request_key.as_ref().map(RequestKey::text),
        }
    }

    /// Returns what a record has kept.
    pub fn of_origin(origin: Origin) -> Via {
        let Origin { via, ip_address, user_agent, request_id, request_key } = origin;
        let way = WAYS.iter().find(|it| ***it == *via).copied().unwrap_or("request");
        let request_key = request_key.and_then(|it| RequestKey::read(&it));
        Via { way, ip_address, user_agent, request_id, request_key }
    }
}

/// Ways in.
const WAYS: &[&str] =
    &["session", "api_key", "command_line", "engine", "request", "socket", "hook"];

/// How an act ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Done.
    Ok,
    /// Not allowed.
    Denied,
    /// Allowed, and not done.
    Failed,
}

impl Outcome {
    /// Returns its word.
    fn as_str(self) -> &'static str {
        match self {
            Outcome::Ok => "ok",
            Outcome::Denied => "denied",
            Outcome::Failed => "failed",
        }
    }
}

/// What an entry says besides who, when and where.
#[derive(Clone, Debug, PartialEq)]
pub struct Act {
    /// What was done, such as `member.invited`.
    pub action: &'static str,
    /// Kind of thing it was done to.
    pub resource_type: &'static str,
    /// Id of that thing.
    pub resource_id: Text,
    /// How it ended.
    pub outcome: Outcome,
    /// Facts; nothing that may not be read by whoever reads the audit.
    pub metadata: Json,
}

impl Act {
    /// Returns an act that was done.
    pub fn done(
        action: &'static str,
        resource_type: &'static str,
        resource_id: impl Into<Text>,
    ) -> Act {
        let (resource_id, outcome) = (resource_id.into(), Outcome::Ok);
        Act { action, resource_type, resource_id, outcome, metadata: Json::Null }
    }

    /// Returns it with facts.
    #[must_use]
    pub fn with(self, metadata: Json) -> Act {
        Act { metadata, ..self }
    }

    /// Returns it as one that was refused.
    #[must_use]
    pub fn denied(self) -> Act {
        Act { outcome: Outcome::Denied, ..self }
    }

    /// Returns it as one that did not succeed.
    #[must_use]
    pub fn failed(self) -> Act {
        Act { outcome: Outcome::Failed, ..self }
    }
}

/// Who did something earlier, which is noted only now.
#[derive(Clone, Debug, PartialEq)]
pub struct By {
    /// Who.
    pub actor: Actor,
    /// From where.
    pub via: Via,
    /// When.
    pub at: Timestamp,
}

/// Keys of facts under which people have written.
const FREE_TEXT: &[&str] = &["reason", "comment", "message"];

static EVERYTHING: LazyLock<Policy> = LazyLock::new(|| Policy::all(PiiMode::Mask));
static FORMS: LazyLock<Policy> = LazyLock::new(|| Policy {
    // Addresses of machines are what an audit trail is asked for.
    types: WITH_FORM.iter().copied().filter(|it| *it != PiiType::Ip).collect(),
    ..Policy::all(PiiMode::Mask)
});

/// Returns facts with personal data masked, and how often each type was found.
pub(crate) fn masked(facts: &Json) -> (Json, BTreeMap<PiiType, usize>) {
    let mut found = BTreeMap::new();
    let mut mask = |it: &Json, policy: &Policy| match redact(&Value::from(it), policy) {
        Ok(redacted) => {
            for (kind, count) in redacted.counts {
                *found.entry(kind).or_default() += count;
            }
            Json::from(&redacted.value)
        }
        Err(_) => Json::Null,
    };
    let plain = match facts {
        Json::Object(map) => map
            .iter()
            .map(|(key, it)| match FREE_TEXT.contains(&&**key) {
                true => (key.clone(), mask(it, &EVERYTHING)),
                false => (key.clone(), mask(it, &FORMS)),
            })
            .collect(),
        Json::Null => Json::Null,
        other => mask(other, &EVERYTHING),
    };
    (plain, found)
}

/// The end of a chain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    /// Number of the last entry; 0 when there is none.
    pub seq: u64,
    /// Its hash.
    pub hash: Text,
}

impl Default for Head {
    fn default() -> Head {
        Head { seq: 0, hash: NO_HASH.into() }
    }
}

/// Facts of the change that an entry stands beside.
#[derive(Clone, Debug, Default)]
pub(crate) struct Around {
    pub before_hash: Option<String>,
    pub after_hash: Option<String>,
}

/// Names of what an entry says, in the order in which [`Head::next`] says it; they are shared by
/// all entries, which have sixteen each.
static FACTS: LazyLock<[Text; 16]> = LazyLock::new(|| {
    [
        "action",
        "actor",
        "after_hash",
        "before_hash",
        "ip_address",
        "metadata",
        "outcome",
        "prev_hash",
        "request_id",
        "resource_id",
        "resource_type",
        "seq",
        "tenant_id",
        "timestamp",
        "user_agent",
        "user_id",
    ]
    .map(Text::from)
});
static ACTOR: LazyLock<[Text; 3]> = LazyLock::new(|| ["id", "type", "via"].map(Text::from));
static HASH: LazyLock<Text> = LazyLock::new(|| "hash".into());

/// An entry that was made.
#[derive(Debug)]
pub(crate) struct Entry {
    /// All that it says.
    pub value: Value,
    /// The chain as it ends with it.
    pub head: Head,
    /// What the rules of alerts look at.
    pub noted: Noted,
}

impl Head {
    /// Makes the next entry.
    pub(crate) fn next(
        &self,
        tenant: TenantId,
        (actor, via): (&Actor, &Via),
        act: &Act,
        around: &Around,
        now: Timestamp,
    ) -> Entry {
        let seq = self.seq + 1;
        let user = matches!(actor.kind, ActorKind::User).then(|| actor.id.clone());
        let text = |it: &Option<Text>| it.clone().map_or(Value::Null, Value::String);
        let hash = |it: &Option<String>| it.as_deref().map_or(Value::Null, Value::from);
        let actor_is =
            [Value::String(actor.id.clone()), actor.kind.as_str().into(), via.way.into()];
        let facts = [
            Value::from(act.action),
            Value::map(ACTOR.iter().cloned().zip(actor_is)),
            hash(&around.after_hash),
            hash(&around.before_hash),
            text(&via.ip_address),
            Value::from(&act.metadata),
            Value::from(act.outcome.as_str()),
            Value::String(self.hash.clone()),
            text(&via.request_id),
            Value::String(act.resource_id.clone()),
            Value::from(act.resource_type),
            Value::Int(seq.cast_signed()),
            Value::from(&*tenant.to_string()),
            Value::from(&*now.to_string()),
            text(&via.user_agent),
            text(&user),
        ];
        let mut value = Value::map(FACTS.iter().cloned().zip(facts));
        let hash: Text = digest_of(&value).into();
        if let Value::Map(facts) = &mut value {
            Arc::make_mut(facts).insert(HASH.clone(), Value::String(hash.clone()));
        }
        let noted = Noted::of_act(seq, (actor, via), act, now);
        Entry { value, head: Head { seq, hash }, noted }
    }
}

/// What the rules of alerts look at of an entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Noted {
    /// Number of the entry.
    pub seq: u64,
    /// When.
    pub at: Timestamp,
    /// Whom it is about, as `kind:id`: whoever acted, or whose login or session it was.
    pub who: String,
    /// By an API key.
    pub is_key: bool,
    /// What was done.
    pub action: Text,
    /// Role that somebody was given.
    pub role: Option<String>,
    /// How many times or things the entry stands for.
    pub count: u64,
    /// From where.
    pub address: Option<IpAddr>,
}

impl Noted {
    /// Reads it from an entry.
    pub fn of_entry(entry: &Json) -> Noted {
        let text = |pointer: &str| entry.pointer(pointer).and_then(Json::as_str);
        let (kind, id) = (text("/actor/type"), text("/actor/id"));
        let action = text("/action").unwrap_or_default();
        let about = (kind.unwrap_or_default(), id.unwrap_or_default());
        Noted {
            seq: entry["seq"].as_u64().unwrap_or_default(),
            at: serde_json::from_value(entry["timestamp"].clone()).unwrap_or_default(),
            who: who_of(action, about, text("/resource_id"), &entry["metadata"]),
            is_key: kind == Some(ActorKind::Key.as_str()),
            action: action.into(),
            role: text("/metadata/role").map(str::to_string),
            count: entry["metadata"]["count"].as_u64().unwrap_or(1),
            address: text("/ip_address").and_then(|it| it.parse().ok()),
        }
    }

    fn of_act(seq: u64, (actor, via): (&Actor, &Via), act: &Act, at: Timestamp) -> Noted {
        let about = (actor.kind.as_str(), &*actor.id);
        Noted {
            seq,
            at,
            who: who_of(act.action, about, Some(&act.resource_id), &act.metadata),
            is_key: matches!(actor.kind, ActorKind::Key),
            action: act.action.into(),
            role: act.metadata["role"].as_str().map(str::to_string),
            count: act.metadata["count"].as_u64().unwrap_or(1),
            address: via.ip_address.as_deref().and_then(|it| it.parse().ok()),
        }
    }

    /// Returns it for the rules.
    pub fn seen(&self) -> Seen<'_> {
        Seen {
            at: self.at,
            actor: &self.who,
            is_key: self.is_key,
            action: &self.action,
            role: self.role.as_deref(),
            count: self.count,
            address: self.address,
            country: None,
        }
    }
}

/// Returns whom an entry is about.
fn who_of(action: &str, (kind, id): (&str, &str), resource: Option<&str>, facts: &Json) -> String {
    match action {
        "login.after_failures" => format!("user:{}", resource.unwrap_or_default()),
        "token.reused" => format!("user:{}", facts["user"].as_str().unwrap_or_default()),
        _ => format!("{kind}:{id}"),
    }
}

/// Bytes of entries of one change that are kept as one document, so that a thousand acts a second
/// are no thousand documents; a value of the log stays where it is up to eight times as many.
pub const SHEET_BYTES_MAX: usize = 32 << 10;

/// Entries that stand in a document together; its id is the number of the last.
#[derive(Debug)]
pub(crate) struct Sheet {
    /// Number of the last entry.
    pub last: u64,
    /// The entries in their order; one that is alone is no list.
    pub value: Value,
}

/// Lays entries that follow each other into documents.
pub(crate) fn sheets(entries: Vec<Value>, last: u64) -> Vec<Sheet> {
    let mut seq = last - entries.len() as u64;
    let (mut sheets, mut open, mut bytes) = (Vec::new(), Vec::new(), 0);
    let mut close = |open: &mut Vec<Value>, last: u64| {
        let value = match open.len() {
            0 => return,
            1 => open.remove(0),
            _ => Value::list(std::mem::take(open)),
        };
        sheets.push(Sheet { last, value });
    };
    for entry in entries {
        let more = entry.json_len();
        if bytes + more > SHEET_BYTES_MAX {
            close(&mut open, seq);
            bytes = 0;
        }
        bytes += more;
        seq += 1;
        open.push(entry);
    }
    close(&mut open, seq);
    sheets
}

/// Returns the entries of a document.
pub fn entries_of(document: Json) -> Vec<Json> {
    match document {
        Json::Array(entries) => entries,
        entry => vec![entry],
    }
}

/// Returns the id of the document whose last entry has this number: digits that sort as it does.
pub fn id_of(seq: u64) -> String {
    format!("{seq:016}")
}

/// Returns the SHA-256 of the canonical JSON of a value, in hexadecimal digits.
pub fn hash_of(value: &Json) -> String {
    digest_of(&Value::from(value))
}

fn digest_of(value: &Value) -> String {
    digits_of(canonical(value).as_bytes())
}

fn digits_of(text: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digest = Sha256::digest(text);
    let digits = |it: u8| [DIGITS[usize::from(it >> 4)], DIGITS[usize::from(it & 15)]];
    digest.iter().flat_map(|it| digits(*it).map(char::from)).collect()
}

/// What a check of a chain found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broken {
    /// Number of the first entry that is not what it was, or where one is missing.
    pub seq: u64,
    /// What is wrong.
    pub why: String,
}

/// Checks entries in the order of their numbers.
#[derive(Clone, Debug, Default)]
pub struct Check {
    head: Head,
    /// The text of the last entry: its place is used again for the next.
    text: Vec<u8>,
}

impl Check {
    /// Begins behind an entry that is trusted.
    pub fn after(head: Head) -> Check {
        Check { head, text: Vec::new() }
    }

    /// Returns the end of what was found good.
    pub fn head(&self) -> &Head {
        &self.head
    }

    /// Takes the next entry.
    pub fn entry(&mut self, entry: &Json) -> Result<(), Broken> {
        let expected = self.head.seq + 1;
        let broken = |why: String| Err(Broken { seq: expected, why });
        match entry["seq"].as_u64() {
            Some(seq) if seq == expected => {}
            Some(seq) => return broken(format!("entry {seq} stands where {expected} belongs")),
            None => return broken("it has no number".into()),
        }
        if entry["prev_hash"].as_str() != Some(&self.head.hash) {
            return broken("it does not follow the entry before".into());
        }
        self.text.clear();
        canonical_without(entry, "hash", &mut self.text);
        let hash = digits_of(&self.text);
        if entry["hash"].as_str() != Some(&hash) {
            return broken("its content does not have its hash".into());
        }
        self.head = Head { seq: expected, hash: hash.into() };
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn chain(length: u64) -> Vec<Json> {
        let (mut head, mut entries) = (Head::default(), Vec::new());
        let (actor, via) = (Actor::local(), Via { way: "session", ..Via::default() });
        for number in 0..length {
            let act = Act::done("member.invited", "member", number.to_string());
            let act = act.with(json!({ "role": "viewer", "share": 0.5 + number as f64 }));
            let now = Timestamp(number as i64 * 1_000_000);
            let around = Around::default();
            let entry = head.next(TenantId(uuid::Uuid::nil()), (&actor, &via), &act, &around, now);
            entries.push(Json::from(&entry.value));
            head = entry.head;
        }
        entries
    }

    fn check(entries: &[Json]) -> Result<u64, Broken> {
        let mut check = Check::default();
        entries.iter().try_for_each(|it| check.entry(it))?;
        Ok(check.head().seq)
    }

    #[test]
    fn a_chain_that_was_written_is_found_whole_also_after_it_was_read_back() {
        let entries = chain(20);
        assert_eq!(check(&entries), Ok(20));
        let text = serde_json::to_string(&entries).unwrap();
        assert_eq!(check(&serde_json::from_str::<Vec<Json>>(&text).unwrap()), Ok(20));
    }

    #[test]
    fn facts_are_masked_where_they_hold_personal_data() {
        let facts = json!({
            "reason": "asked from 203.0.113.7, ann@example.org",
            "workflow": "Lincoln",
            "name": "key of bob@example.org",
            "seq": 7,
        });
        let (found, counts) = masked(&facts);
        assert_eq!(counts[&PiiType::Email], 2, "{counts:?}");
        assert!(!found.to_string().contains("203.0"), "{found}");
        assert!(!found.to_string().contains("example.org"), "{found}");
        assert_eq!((&found["workflow"], &found["seq"]), (&json!("Lincoln"), &json!(7)));
        assert_eq!(masked(&found), (found, BTreeMap::new()), "twice changes nothing");
    }

    #[test]
    fn every_change_omission_insertion_and_exchange_is_found_where_it_is() {
        for at in 0..20 {
            let seq = at as u64 + 1;
            let mut changed = chain(20);
            changed[at]["metadata"]["role"] = json!("owner");
            assert_eq!(check(&changed).unwrap_err().seq, seq, "changed");
            let mut gone = chain(20);
            gone.remove(at);
            // Without its last entry a chain is a whole one that ends earlier: its head tells.
            match at {
                19 => assert_eq!(check(&gone), Ok(19)),
                _ => assert_eq!(check(&gone).unwrap_err().seq, seq, "gone"),
            }
            let mut twice = chain(20);
            twice.insert(at, twice[at].clone());
            assert_eq!(check(&twice).unwrap_err().seq, seq + 1, "twice");
            if at < 19 {
                let mut exchanged = chain(20);
                exchanged.swap(at, at + 1);
                assert_eq!(check(&exchanged).unwrap_err().seq, seq, "exchanged");
            }
        }
    }
}
