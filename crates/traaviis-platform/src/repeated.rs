//! Requests that come twice: what says that a request with a key was carried out, and the answer
//! that it had.
//!
//! What a request changes holds its key: the change of a ledger puts a [`UsedKey`] beside its
//! documents, and the record of an act on an instance has the key in its `origin`, of which the
//! follower of acts makes the same document. So whatever was committed is known by its key, however
//! the process ended. The answer rests beside the documents, sealed, and can be lost; then a
//! repetition is told what was done, and nothing is done again.
//!
//! ```text
//! request -> answer that rests? -> key that was used? -> carried out, with the key in its records
//! ```
//!
//! Invariants: an answer rests sealed, since it may hold a token that is told once; a refusal is
//! kept by nobody, so it can be tried again; what is older than [`HOOK_KEPT`] is gone.

use std::sync::atomic::Ordering;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use traaviis_model::{InstanceId, Seq, Span, TenantCtx, Text, Timestamp, tenant::PLATFORM};
use traaviis_ports::{
    DocumentRow,
    vault::{Place, Unsealed},
};

use crate::{audit::Act, caller::Entered, error::Error, ledger::Document, platform::Platform};

/// Kind of the documents that say that a key was used.
pub const USED_KEY: &str = "request_key";
/// Kind of the rows that hold answers; no documents, and not made from the log.
pub const ANSWER: &str = "request_answer";
/// How long the key of a request is known.
pub const KEPT: Span = Span::secs(24 * 3_600);
/// How long a message to a hook is known: senders that follow Standard Webhooks try for 28 hours.
pub const HOOK_KEPT: Span = Span::secs(3 * 24 * 3_600);
const DAY: Span = Span::secs(24 * 3_600);
/// Characters of a key: enough for two UUIDs and words between them.
pub const KEY_CHARS_MAX: usize = 128;
/// Bytes of an answer that is kept: the page of a list at most, and no request that changes
/// something answers with more.
pub const ANSWER_BYTES_MAX: usize = 64 << 10;
/// Subject whose key seals the answers of a tenant.
const SUBJECT: &str = "request_answers";
/// Bytes of a hash that are kept: 128 bits, in a space that each caller has for themselves.
const HASH_BYTES: usize = 16;

/// By what a repetition is known: who asks for what with which key, and the body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestKey {
    name: Text,
    body: Text,
    kept: Span,
}

impl RequestKey {
    /// Returns the key of a request.
    pub fn new(caller: &str, path: &str, key: &str, body: &[u8]) -> Result<RequestKey, Error> {
        let is_good = !key.is_empty()
            && key.chars().count() <= KEY_CHARS_MAX
            && !key.chars().any(char::is_control);
        if !is_good {
            let rule = format!("a key has 1 to {KEY_CHARS_MAX} characters");
            return Err(Error::invalid("Idempotency-Key", rule));
        }
        let name = hash(format!("{caller}\n{path}\n{key}").as_bytes());
        Ok(RequestKey { name, body: hash(body), kept: KEPT })
    }

    /// Returns the key of a message to a hook, which its sender has given an id.
    pub fn of_message(hook: &str, id: &str, body: &[u8]) -> Result<RequestKey, Error> {
        let key = RequestKey::new("hook", hook, id, body)?;
        Ok(RequestKey { kept: HOOK_KEPT, ..key })
    }

    /// Returns how long it is known.
    pub fn kept(&self) -> Span {
        self.kept
    }

    /// Returns who asks for what with which key, in one word.
    pub fn name(&self) -> &Text {
        &self.name
    }

    /// Returns it as records hold it.
    pub fn text(&self) -> Text {
        format!("{}.{}", self.name, self.body).into()
    }

    /// Reads what a record holds.
    pub fn read(text: &str) -> Option<RequestKey> {
        let (name, body) = text.split_once('.')?;
        Some(RequestKey { name: name.into(), body: body.into(), kept: KEPT })
    }

    /// Refuses a body that is not the one that the key was used with.
    pub fn needs_body(&self, body: &str) -> Result<(), Error> {
        match *self.body == *body {
            true => Ok(()),
            false => Err(Error::new(
                "idempotency_key_reused",
                "this key was used with another body; take a new one",
            )),
        }
    }

    /// Returns the hash of the body.
    pub fn body(&self) -> &Text {
        &self.body
    }
}

fn hash(bytes: &[u8]) -> Text {
    let digest = Sha256::digest(bytes);
    digest[..HASH_BYTES].iter().map(|it| format!("{it:02x}")).collect::<String>().into()
}

/// Says that a request with a key was carried out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct UsedKey {
    name: Text,
    body: Text,
    /// When.
    pub at: Timestamp,
    /// What was done, as the audit trail tells it.
    pub action: Text,
    /// Kind of thing that it was done to.
    pub resource_type: Text,
    /// Id of that thing.
    pub resource_id: Text,
    /// Record of an instance that tells of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seq: Option<Seq>,
}

impl UsedKey {
    pub(crate) fn of_act(key: &RequestKey, act: &Act, at: Timestamp) -> UsedKey {
        let RequestKey { name, body, .. } = key.clone();
        let (action, resource_type) = (act.action.into(), act.resource_type.into());
        let resource_id = act.resource_id.clone();
        UsedKey { name, body, at, action, resource_type, resource_id, seq: None }
    }

    pub(crate) fn of_record(
        key: &RequestKey,
        action: &str,
        instance: InstanceId,
        seq: Seq,
        at: Timestamp,
    ) -> UsedKey {
        let RequestKey { name, body, .. } = key.clone();
        let (action, resource_type) = (action.into(), "instance".into());
        let resource_id = instance.to_string().into();
        UsedKey { name, body, at, action, resource_type, resource_id, seq: Some(seq) }
    }

    /// Returns the instance that it was done to, if it was one.
    pub fn instance(&self) -> Option<(InstanceId, Seq)> {
        let seq = self.seq?;
        self.resource_id.parse().ok().map(|it| (it, seq))
    }
}

impl Document for UsedKey {
    const KIND: &'static str = USED_KEY;

    fn id(&self) -> Text {
        id_of(self.at, &self.name)
    }
}

/// An answer as it rests.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Resting {
    body: Text,
    at: Timestamp,
    /// Sealed; none when it was a refusal, which is nothing that was done, or was too long.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    sealed: Option<Text>,
}

/// What is known of a request that may have come before.
#[derive(Debug)]
pub enum Repeated {
    /// It is the first.
    No,
    /// It was carried out, with this answer.
    Answered(Vec<u8>),
    /// It was carried out, and the answer is not known any more.
    Done(UsedKey),
}

/// Rows of one day are forgotten together, so their ids begin with it.
fn id_of(at: Timestamp, name: &str) -> Text {
    format!("{}/{name}", day_of(at)).into()
}

fn day_of(at: Timestamp) -> String {
    format!("{:06}", at.0.max(0) / DAY.0)
}

/// Returns the ledger in which the keys of a request stand: that of the tenant it is about.
fn ledger_of(entered: Option<&Entered>) -> TenantCtx {
    TenantCtx::keeper_of(entered.map_or(PLATFORM, |it| it.ctx.tenant()))
}

impl Platform {
    /// Says whether a request was carried out before, by this process or one before it.
    pub fn find_repeated(
        &self,
        entered: Option<&Entered>,
        key: &RequestKey,
    ) -> Result<Repeated, Error> {
        // Acts of the process before may not be entered yet; those of this one are remembered.
        if !self.auditing.is_caught_up.load(Ordering::Acquire) {
            self.enter_acts()?;
            self.auditing.is_caught_up.store(true, Ordering::Release);
        }
        let (ctx, now) = (ledger_of(entered), self.now());
        let days = (0..=key.kept.0 / DAY.0).map(|it| now.plus(Span(-it * DAY.0)));
        let mut answer: Option<(Text, Resting)> = None;
        let mut used: Option<UsedKey> = None;
        for id in days.map(|it| id_of(it, &key.name)) {
            if answer.is_none() {
                let row = self.ledgers.row(&ctx, ANSWER, &id)?.and_then(|it| it.body);
                let row = row.and_then(|it| serde_json::from_slice::<Resting>(&it).ok());
                answer = row.filter(|it| now.since(it.at) <= key.kept).map(|it| (id.clone(), it));
            }
            if used.is_none() {
                let found = self.ledgers.get::<UsedKey>(&ctx, &id)?.map(|it| it.it);
                used = found.filter(|it| now.since(it.at) <= key.kept);
            }
        }
        if let Some((id, Resting { body, at, sealed })) = answer {
            match sealed {
                Some(sealed) => {
                    key.needs_body(&body)?;
                    if let Some(answer) = self.open_answer(&ctx, &id, &sealed)? {
                        return Ok(Repeated::Answered(answer));
                    }
                }
                // What was done before the refusal was no more than a part of it.
                None => used = used.filter(|it| it.at > at),
            }
        }
        let Some(used) = used else { return Ok(Repeated::No) };
        key.needs_body(&used.body)?;
        Ok(Repeated::Done(used))
    }

    fn open_answer(
        &self,
        ctx: &TenantCtx,
        id: &str,
        sealed: &str,
    ) -> Result<Option<Vec<u8>>, Error> {
        let place = Place { subject: SUBJECT, kind: ANSWER, id };
        Ok(match self.vault.open(ctx, place, sealed)? {
            Unsealed::Plain(answer) => Some(answer.to_vec()),
            Unsealed::Erased => None,
        })
    }

    /// Keeps the answer to a request for repetitions. One that is too long is not kept: what was
    /// done is known all the same.
    pub fn keep_answer(
        &self,
        entered: Option<&Entered>,
        key: &RequestKey,
        answer: &[u8],
    ) -> Result<(), Error> {
        if answer.len() > ANSWER_BYTES_MAX {
            // That it was carried out must be known from now on.
            return self.enter_acts().map(drop);
        }
        let (ctx, now) = (ledger_of(entered), self.now());
        let id = id_of(now, &key.name);
        let place = Place { subject: SUBJECT, kind: ANSWER, id: &id };
        let sealed = Some(self.vault.seal(&ctx, place, answer, now)?);
        self.rest(&ctx, id, &Resting { body: key.body.clone(), at: now, sealed })
    }

    /// Notes that a request was refused, so that it can be tried again. Only where something says
    /// that it was carried out there is anything to note.
    pub fn keep_refusal(&self, entered: Option<&Entered>, key: &RequestKey) -> Result<(), Error> {
        let (ctx, now) = (ledger_of(entered), self.now());
        let id = id_of(now, &key.name);
        if self.ledgers.get::<UsedKey>(&ctx, &id)?.is_none() {
            return Ok(());
        }
        self.rest(&ctx, id, &Resting { body: key.body.clone(), at: now, sealed: None })
    }

    fn rest(&self, ctx: &TenantCtx, id: Text, resting: &Resting) -> Result<(), Error> {
        let body = serde_json::to_vec(resting).map_err(|error| {
            Error::new("internal", format!("an answer cannot be written: {error}"))
        })?;
        let (tenant, kind, version) = (ctx.tenant(), ANSWER.into(), 0);
        self.ledgers.keep_rows(&[DocumentRow { tenant, kind, id, version, body: Some(body) }])
    }

    /// Forgets keys and answers whose time is over; called from time to time.
    pub fn forget_old_keys(&self) -> Result<(), Error> {
        let day = day_of(self.now().plus(Span(-HOOK_KEPT.0)));
        let today: i64 = day.parse().unwrap_or_default();
        if self.auditing.keys_forgotten.swap(today, Ordering::SeqCst) == today {
            return Ok(());
        }
        for tenant in self.ledgers.tenants() {
            let ctx = TenantCtx::keeper_of(tenant);
            for kind in [USED_KEY, ANSWER] {
                self.ledgers.forget_rows(&ctx, kind, &day)?;
            }
        }
        Ok(())
    }

    /// Forgets all answers of a tenant: they may hold what is about somebody who is erased.
    pub(crate) fn forget_answers(&self, ctx: &TenantCtx) -> Result<(), Error> {
        self.ledgers.forget_rows(ctx, ANSWER, BEHIND_ALL)
    }
}

/// An id behind those of all days.
const BEHIND_ALL: &str = "~";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_of_one_caller_one_route_and_one_body() {
        let key = |caller, path, key, body: &str| {
            RequestKey::new(caller, path, key, body.as_bytes()).unwrap().text()
        };
        let one = key("user:1", "/a", "k", "{}");
        assert_eq!(one, key("user:1", "/a", "k", "{}"));
        for other in [
            key("user:2", "/a", "k", "{}"),
            key("user:1", "/b", "k", "{}"),
            key("user:1", "/a", "l", "{}"),
            key("user:1", "/a", "k", "{ }"),
        ] {
            assert_ne!(one, other);
        }
        let read = RequestKey::read(&one).unwrap();
        assert_eq!(read.text(), one);
        assert!(read.needs_body(&hash(b"{}")).is_ok());
        assert_eq!(read.needs_body(&hash(b"[]")).unwrap_err().code, "idempotency_key_reused");
        for bad in ["", "\n", &"x".repeat(KEY_CHARS_MAX + 1)] {
            let error = RequestKey::new("user:1", "/a", bad, b"").unwrap_err();
            assert_eq!(error.code, "validation_failed", "{bad}");
        }
    }

    #[test]
    fn ids_sort_by_the_day() {
        let day = |days: i64| id_of(Timestamp(days * Span::secs(86_400).0), "ff");
        assert!(day(9) < day(10) && day(20_000) < day(20_001));
        assert!(*day(20_001) < *BEHIND_ALL);
    }
}
