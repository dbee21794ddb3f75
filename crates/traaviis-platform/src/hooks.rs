//! Hooks: addresses of a tenant to which others send, by triggers of type `webhook`.
//!
//! The newest published version of a workflow says which hooks there are. What arrives is checked
//! against the secret of the trigger (Standard Webhooks 1.0 with HMAC-SHA256, or a shared token),
//! and enters the tenant as somebody who may start and signal instances and nothing else.
//!
//! Invariants: a name is of one workflow of a tenant; without proof nobody learns whether there is
//! such a hook; a message with an id is carried out once, see [`crate::repeated`].

use aws_lc_rs::{
    constant_time,
    digest::{SHA256, digest},
    hmac,
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;
use traaviis_model::{Span, TenantCtx, TenantId, Text, Value, limits};

use crate::{
    audit::Via,
    caller::Entered,
    error::Error,
    ledger::{Changes, Document, Documents},
    platform::Platform,
    repeated::RequestKey,
    tenant::{OPEN_HOOKS, Tenant, TenantStatus},
    workflows::{Published, Workflow},
};

/// Hooks of a tenant.
pub const HOOKS_MAX: usize = 500;
/// How far the time of a message may be from ours: Standard Webhooks names five minutes.
pub const TOLERANCE: Span = Span::secs(5 * 60);
/// Characters of the id of a message.
pub const ID_CHARS_MAX: usize = 128;
/// Signatures of one message: while a secret is being replaced there are two.
const SIGNATURES_MAX: usize = 10;
/// What the secret of a signature may begin with; base64 follows.
const SECRET_PREFIX: &str = "whsec_";

/// How a sender proves that it may.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verify {
    /// By a signature.
    #[default]
    Hmac,
    /// By a token.
    Token,
    /// Not at all.
    None,
}

/// A hook of the newest version of a workflow.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Hook {
    /// Name.
    pub name: Text,
    /// Workflow.
    pub workflow: Text,
    /// Version.
    pub version: Text,
    /// Hash of its definition.
    pub hash: String,
    /// How a sender proves that it may.
    pub verify: Verify,
    /// Name of the secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<Text>,
    /// How long a sender waits for the end of the instance; none where it is only told that its
    /// message has arrived.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wait: Option<Span>,
}

impl Document for Hook {
    const KIND: &'static str = "hook";

    fn id(&self) -> Text {
        self.name.clone()
    }
}

/// A trigger as a document has it; what is not of its type reads as nothing.
#[derive(Deserialize)]
struct Trigger {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    name: Option<Text>,
    #[serde(default)]
    verify: Verify,
    #[serde(default)]
    secret: Option<Text>,
    #[serde(default)]
    reply: Option<String>,
    #[serde(default)]
    timeout: Option<String>,
}

impl Trigger {
    /// How long a sender waits; the document was checked, so what cannot be read is what is usual.
    fn wait(&self) -> Option<Span> {
        let is_result = self.reply.as_deref() == Some("result");
        let given = self.timeout.as_deref().and_then(|it| it.parse().ok());
        let wait = given.unwrap_or(limits::HOOK_REPLY_WAIT).min(limits::HOOK_REPLY_WAIT_MAX);
        is_result.then_some(wait)
    }
}

/// What a sender has sent besides the body.
#[derive(Clone, Copy, Debug, Default)]
pub struct Message<'a> {
    /// `webhook-id`.
    pub id: Option<&'a str>,
    /// `webhook-timestamp`: seconds.
    pub timestamp: Option<&'a str>,
    /// `webhook-signature`.
    pub signature: Option<&'a str>,
    /// A shared token.
    pub token: Option<&'a str>,
    /// The body, byte for byte.
    pub body: &'a [u8],
}

impl Hook {
    /// Returns the hooks of a published version.
    fn all_of(workflow: &Text, published: &Published, document: &Value) -> Vec<Hook> {
        // Documents keep the order of their keys, so they rest as texts.
        let document: Json = match document.as_str() {
            Some(text) => serde_json::from_str(text).unwrap_or_default(),
            None => Json::from(document),
        };
        let triggers = document["triggers"].as_array().map(Vec::as_slice).unwrap_or_default();
        let read = triggers.iter().filter_map(|it| Trigger::deserialize(it).ok());
        read.filter(|it| it.kind == "webhook")
            .filter_map(|it| {
                let wait = it.wait();
                let Trigger { name, verify, secret, .. } = it;
                let (workflow, version) = (workflow.clone(), published.version.clone());
                let hash = published.hash.clone();
                Some(Hook { name: name?, workflow, version, hash, verify, secret, wait })
            })
            .collect()
    }
}

/// Puts the hooks of a version in the place of those that the workflow had.
pub(crate) fn replace(
    documents: &Documents,
    changes: &mut Changes,
    workflow: &Workflow,
    document: &Value,
) -> Result<(), Error> {
    let Some(newest) = workflow.latest() else { return Ok(()) };
    let all = documents.list::<Hook>("")?;
    let (own, others): (Vec<_>, Vec<_>) = all
        .into_iter()
        .map(|it| it.it)
        .partition(|it| workflow.names().any(|of| *of == it.workflow));
    let hooks = Hook::all_of(&workflow.name, newest, document);
    if others.len() + hooks.len() > HOOKS_MAX {
        let message = format!("a tenant has at most {HOOKS_MAX} hooks");
        return Err(Error::new("quota_exceeded", message));
    }
    let allows_open = documents.get::<Tenant>("tenant")?.is_some_and(|it| allows_open(&it));
    for hook in &hooks {
        if let Some(other) = others.iter().find(|it| it.name == hook.name) {
            let message = format!(
                "the hook `{}` is of workflow `{}`; give the trigger another name",
                hook.name, other.workflow
            );
            return Err(Error::new("already_exists", message));
        }
        if hook.verify == Verify::None && !allows_open {
            let message = format!(
                "the hook `{}` asks for no proof, which the tenant does not allow; see \
                 `{OPEN_HOOKS}` in its settings",
                hook.name
            );
            return Err(Error::new("invalid_state", message));
        }
    }
    let is_gone = |old: &&Hook| hooks.iter().all(|it| it.name != old.name);
    own.iter().filter(is_gone).for_each(|it| changes.remove::<Hook>(&it.name));
    hooks.iter().for_each(|it| changes.put(it));
    Ok(())
}

/// Removes the hooks of a workflow.
pub(crate) fn remove(
    documents: &Documents,
    changes: &mut Changes,
    workflow: &Workflow,
) -> Result<(), Error> {
    for hook in documents.list::<Hook>("")? {
        if workflow.names().any(|it| *it == hook.it.workflow) {
            changes.remove::<Hook>(&hook.it.name);
        }
    }
    Ok(())
}

fn allows_open(tenant: &Tenant) -> bool {
    tenant.settings[OPEN_HOOKS] == Json::Bool(true)
}

impl Platform {
    /// Lets a message in that has arrived at a hook of a tenant, by its id or short name.
    ///
    /// A hook that is not there, in a tenant that is not there or may do nothing now, is refused
    /// like a message without proof.
    pub fn enter_by_hook(
        &self,
        tenant: &str,
        name: &str,
        message: &Message<'_>,
        via: Via,
    ) -> Result<(Entered, Hook), Error> {
        let tenant: Option<TenantId> = match tenant.parse() {
            Ok(id) if tenant.len() == 36 => Some(id),
            _ => self.lookup(|it| it.slug(tenant)),
        };
        let tenant = tenant.ok_or_else(unproved)?;
        let keeper = TenantCtx::keeper_of(tenant);
        let (known, hook) = self.ledgers.read(&keeper, |documents| {
            Ok::<_, Error>((documents.get::<Tenant>("tenant")?, documents.get::<Hook>(name)?))
        })?;
        let known = known.filter(|it| it.status == TenantStatus::Active).ok_or_else(unproved)?;
        let hook = hook.ok_or_else(unproved)?;
        self.check_proof(&keeper, &known, &hook, message)?;
        if let Some(id) = message.id {
            let is_good = !id.is_empty()
                && id.chars().count() <= ID_CHARS_MAX
                && !id.chars().any(char::is_control);
            if !is_good {
                let rule = format!("an id has 1 to {ID_CHARS_MAX} characters");
                return Err(Error::invalid("webhook-id", rule));
            }
        }
        let of = format!("{tenant}/{name}");
        let key = message.id.map(|id| RequestKey::of_message(&of, id, message.body));
        let via = Via { way: "hook", request_key: key.transpose()?, ..via };
        Ok((self.entered_by_hook(tenant, name, via), hook))
    }

    fn check_proof(
        &self,
        keeper: &TenantCtx,
        tenant: &Tenant,
        hook: &Hook,
        message: &Message<'_>,
    ) -> Result<(), Error> {
        let name = match (hook.verify, &hook.secret) {
            (Verify::None, _) if allows_open(tenant) => return Ok(()),
            (Verify::Hmac | Verify::Token, Some(name)) => name,
            _ => return Err(unproved()),
        };
        let secret = self.shared_secret(keeper, &hook.workflow, name)?.ok_or_else(unproved)?;
        let is_proved = match hook.verify {
            Verify::Hmac => is_signed(secret.expose(), message, self.wall().0 / 1_000_000),
            _ => message.token.is_some_and(|it| is_same(secret.expose(), it)),
        };
        is_proved.then_some(()).ok_or_else(unproved)
    }
}

fn unproved() -> Error {
    Error::new(
        "hook_not_verified",
        "there is no such hook, or what was sent is not signed as it asks, or is too old",
    )
}

/// Compares hashes, so that the time it takes tells nothing.
fn is_same(secret: &str, token: &str) -> bool {
    let hash = |it: &str| digest(&SHA256, it.as_bytes());
    constant_time::verify_slices_are_equal(hash(secret).as_ref(), hash(token).as_ref()).is_ok()
}

/// Says whether one of the signatures is of the secret, and of a time near `now`, in seconds.
fn is_signed(secret: &str, message: &Message<'_>, now: i64) -> bool {
    let Message { id: Some(id), timestamp: Some(at), signature: Some(signature), body, .. } =
        message
    else {
        return false;
    };
    let tolerance = TOLERANCE.0.unsigned_abs() / 1_000_000;
    let is_now = at.parse::<i64>().is_ok_and(|it| now.abs_diff(it) <= tolerance);
    let key = match secret.strip_prefix(SECRET_PREFIX) {
        Some(encoded) => STANDARD.decode(encoded).ok(),
        None => Some(secret.as_bytes().to_vec()),
    };
    let Some(key) = key.filter(|it| is_now && !it.is_empty()) else { return false };
    let key = hmac::Key::new(hmac::HMAC_SHA256, &key);
    let signed = [id.as_bytes(), b".", at.as_bytes(), b".", *body].concat();
    let all = signature.split(' ').take(SIGNATURES_MAX);
    let mut tags = all.filter_map(|it| STANDARD.decode(it.strip_prefix("v1,")?).ok());
    // The time that each takes tells nothing.
    tags.any(|tag| hmac::verify(&key, &signed, &tag).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of the specification of Standard Webhooks.
    const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    const BODY: &[u8] = br#"{"test": 2432232314}"#;

    fn message<'a>(at: &'a str, signature: &'a str, body: &'a [u8]) -> Message<'a> {
        let id = Some("msg_p5jXN8AQM9LWM0D4loKWxJek");
        let (timestamp, signature) = (Some(at), Some(signature));
        Message { id, timestamp, signature, token: None, body }
    }

    #[test]
    fn a_signature_is_of_the_secret_the_id_the_time_and_the_body() {
        let (at, now) = ("1614265330", 1_614_265_330);
        let good = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";
        let two = format!("v1,AAAA {good} v2,x");
        for (secret, at, signature, body, now, expected) in [
            (SECRET, at, good, BODY, now, true),
            (SECRET, at, &two, BODY, now + 300, true),
            (SECRET, at, good, BODY, now - 300, true),
            (SECRET, at, good, BODY, now + 301, false),
            (SECRET, at, good, BODY, now - 301, false),
            (SECRET, at, good, b"{}".as_slice(), now, false),
            (SECRET, "1614265331", good, BODY, now, false),
            (SECRET, "soon", good, BODY, now, false),
            (SECRET, at, "", BODY, now, false),
            (SECRET, at, &good[3..], BODY, now, false),
            ("whsec_AAAA", at, good, BODY, now, false),
            ("whsec_", at, good, BODY, now, false),
            ("", at, good, BODY, now, false),
        ] {
            let found = is_signed(secret, &message(at, signature, body), now);
            assert_eq!(found, expected, "{secret} {at} {signature} {now}");
        }
        let whole = message(at, good, BODY);
        for part in [
            Message { id: None, ..whole },
            Message { timestamp: None, ..whole },
            Message { signature: None, ..whole },
        ] {
            assert!(!is_signed(SECRET, &part, now));
        }
    }

    #[test]
    fn hooks_are_read_from_the_triggers_of_a_document() {
        let document = serde_json::json!({ "triggers": [
            { "type": "schedule", "cron": "@daily" },
            { "type": "webhook", "name": "a", "secret": "s" },
            { "type": "webhook", "name": "b", "verify": "none", "reply": "ack" },
            { "type": "webhook", "name": "c", "reply": "result" },
            { "type": "webhook", "name": "d", "reply": "result", "timeout": "5s" },
        ]});
        let published = Published {
            version: "1.0.0".into(),
            hash: "h".into(),
            published_at: traaviis_model::Timestamp(0),
            published_by: traaviis_model::UserId(uuid::Uuid::nil()),
            notes: None,
        };
        for document in [Value::from(&document), Value::from(document.to_string())] {
            let found = Hook::all_of(&"W".into(), &published, &document);
            let found: Vec<_> = found.iter().map(|it| (&*it.name, it.verify, it.wait)).collect();
            let all = [
                ("a", Verify::Hmac, None),
                ("b", Verify::None, None),
                ("c", Verify::Hmac, Some(limits::HOOK_REPLY_WAIT)),
                ("d", Verify::Hmac, Some(Span::secs(5))),
            ];
            assert_eq!(found, all);
        }
        let none = serde_json::json!({});
        assert!(Hook::all_of(&"W".into(), &published, &Value::from(&none)).is_empty());
    }
}
