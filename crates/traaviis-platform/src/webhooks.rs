//! Webhooks: what happens to the instances of a tenant, told to an address of theirs, signed as
//! Standard Webhooks has it.
//!
//! Reading order: here (what there is, and who may do what with it), [`message`] (what is told, and
//! its signature), [`send`] (how it gets there).
//!
//! Invariants: the secret is told once and rests sealed; what was not delivered is told again, in
//! the order of the log; a webhook is told of nothing that happened before it was made.

pub mod message;
pub mod send;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::{Deserialize, Serialize};
use serde_json::json;
use traaviis_model::{InstanceId, Seq, TenantCtx, Text, Timestamp, UserId, form};
use traaviis_ports::{
    DocumentQuery, Position,
    vault::{Place, Unsealed},
};
use zeroize::Zeroizing;

use crate::{
    audit::Act,
    caller::{Caller, Entered},
    error::Error,
    ledger::{DELIVERY, Document, Versioned},
    platform::Platform,
};

/// Webhooks of a tenant: each reads along with the log.
pub const WEBHOOKS_MAX: usize = 20;
/// Deliveries of a webhook that are remembered.
pub const DELIVERIES_MAX: usize = 200;
/// Characters of an address.
pub const URL_CHARS_MAX: usize = form::URL_CHARS_MAX;
/// What a secret begins with.
const SECRET_PREFIX: &str = "whsec_";

/// What can be told: kinds of records, and alerts.
pub const KINDS: &[&str] = form::WEBHOOK_EVENTS;

/// A webhook.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Webhook {
    /// Identity.
    pub id: Text,
    /// Where it is told.
    pub url: String,
    /// What is told.
    pub events: Vec<Text>,
    /// What it is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Its secret, sealed.
    pub secret: Text,
    /// Where in the log it begins.
    pub from: Position,
    /// When it was made.
    pub made_at: Timestamp,
    /// By whom.
    pub made_by: UserId,
    /// The receiver has said that it is gone (status 410).
    #[serde(default)]
    pub is_gone: bool,
}

impl Document for Webhook {
    const KIND: &'static str = "webhook";

    fn id(&self) -> Text {
        self.id.clone()
    }
}

/// How far a webhook has come.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Progress {
    /// The webhook.
    pub id: Text,
    /// Before this position of the log everything was told, or given up.
    pub position: Position,
}

impl Document for Progress {
    const KIND: &'static str = "webhook_progress";

    fn id(&self) -> Text {
        self.id.clone()
    }
}

/// What became of one thing that was told.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Delivery {
    /// The webhook.
    pub webhook: Text,
    /// Position of the record in the log.
    pub position: Position,
    /// Instance.
    pub instance: InstanceId,
    /// Record.
    pub seq: Seq,
    /// Kind of the record.
    pub kind: Text,
    /// Whether the receiver has taken it.
    pub delivered: bool,
    /// Attempts.
    pub attempts: u32,
    /// Status of the last answer, if there was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// Why the last attempt failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// When the last attempt was.
    pub at: Timestamp,
}

impl Document for Delivery {
    const KIND: &'static str = DELIVERY;

    fn id(&self) -> Text {
        delivery_id(&self.webhook, self.position)
    }
}

fn delivery_id(webhook: &str, position: Position) -> Text {
    format!("{webhook}/{position:020}").into()
}

/// A webhook that is asked for.
#[derive(Clone, Debug)]
pub struct WebhookAsk {
    /// Where it is told; the caller has seen that it is an address.
    pub url: String,
    /// What is told.
    pub events: Vec<String>,
    /// What it is for.
    pub description: Option<String>,
}

impl Platform {
    /// Makes a webhook; the second part of the answer is its secret, which is told only now.
    pub fn make_webhook(
        &self,
        caller: &Caller,
        entered: &Entered,
        ask: WebhookAsk,
    ) -> Result<(Versioned<Webhook>, String), Error> {
        for (at, event) in ask.events.iter().enumerate() {
            if !KINDS.contains(&event.as_str()) {
                let rule = format!("this is one of {}", KINDS.join(", "));
                return Err(Error::invalid(&format!("/events/{at}"), rule));
            }
        }
        if ask.events.is_empty() {
            return Err(Error::invalid("/events", "name what is to be told"));
        }
        let (id, now) = (Text::from(self.fresh_id()?.to_string()), self.now());
        let secret = Zeroizing::new(self.entropy.bytes::<32>()?);
        let subject = subject_of(&id);
        let place = Place { subject: &subject, kind: Webhook::KIND, id: &id };
        let keeper = TenantCtx::keeper_of(entered.ctx.tenant());
        let sealed = self.vault.seal(&keeper, place, &*secret, now)?;
        let webhook = Webhook {
            id: id.clone(),
            url: ask.url,
            events: ask.events.into_iter().map(Text::from).collect(),
            description: ask.description,
            secret: sealed,
            from: self.ledgers.tail(),
            made_at: now,
            made_by: caller.user,
            is_gone: false,
        };
        self.ledgers.change(&entered.ctx, &entered.via, |documents, changes| {
            if documents.count::<Webhook>() >= WEBHOOKS_MAX {
                let message = format!("a tenant has at most {WEBHOOKS_MAX} webhooks");
                return Err(Error::new("quota_exceeded", message));
            }
            changes.put(&webhook);
            let act = Act::done("webhook.created", Webhook::KIND, id.clone());
            changes.act(act.with(json!({ "events": webhook.events })));
            Ok(())
        })?;
        let told = format!("{SECRET_PREFIX}{}", STANDARD.encode(*secret));
        Ok((self.webhook(entered, &id)?, told))
    }

    /// Returns the webhooks of a tenant.
    pub fn webhooks(&self, entered: &Entered) -> Result<Vec<Versioned<Webhook>>, Error> {
        self.ledgers.read(&entered.ctx, |it| it.list::<Webhook>(""))
    }

    /// Returns a webhook.
    pub fn webhook(&self, entered: &Entered, id: &str) -> Result<Versioned<Webhook>, Error> {
        self.ledgers.get::<Webhook>(&entered.ctx, id)?.ok_or_else(|| absent(id))
    }

    /// Removes a webhook; nothing more is told, and its secret cannot be read any more.
    pub fn remove_webhook(&self, entered: &Entered, id: &str) -> Result<(), Error> {
        self.webhook(entered, id)?;
        let old = self.deliveries(entered, id, usize::MAX)?;
        self.ledgers.change(&entered.ctx, &entered.via, |_, changes| {
            changes.remove::<Webhook>(id);
            changes.remove::<Progress>(id);
            old.iter().for_each(|it| changes.remove::<Delivery>(&it.id()));
            changes.act(Act::done("webhook.removed", Webhook::KIND, id));
            Ok(())
        })?;
        let keeper = TenantCtx::keeper_of(entered.ctx.tenant());
        Ok(self.vault.destroy(&keeper, &subject_of(id), self.now())?)
    }

    /// Returns what was told to a webhook, the newest first.
    pub fn deliveries(
        &self,
        entered: &Entered,
        id: &str,
        limit: usize,
    ) -> Result<Vec<Delivery>, Error> {
        self.webhook(entered, id)?;
        self.deliveries_of(&entered.ctx, id, limit)
    }

    fn deliveries_of(
        &self,
        ctx: &TenantCtx,
        id: &str,
        limit: usize,
    ) -> Result<Vec<Delivery>, Error> {
        let prefix = format!("{id}/");
        let limit = limit.min(DELIVERIES_MAX * 2);
        let query =
            DocumentQuery { kind: DELIVERY, prefix: &prefix, after: None, descending: true, limit };
        let rows = self.ledgers.rows(ctx, &query)?;
        let read = rows.iter().map(|row| {
            serde_json::from_slice(row.body.as_deref().unwrap_or_default()).map_err(|error| {
                Error::new("documents_failed", format!("a delivery cannot be read: {error}"))
            })
        });
        read.collect()
    }

    /// Returns the secret of a webhook; none when its key is destroyed.
    fn secret_of(
        &self,
        keeper: &TenantCtx,
        webhook: &Webhook,
    ) -> Result<Option<Zeroizing<Vec<u8>>>, Error> {
        let subject = subject_of(&webhook.id);
        let place = Place { subject: &subject, kind: Webhook::KIND, id: &webhook.id };
        Ok(match self.vault.open(keeper, place, &webhook.secret)? {
            Unsealed::Plain(secret) => Some(secret),
            Unsealed::Erased => None,
        })
    }
}

fn subject_of(id: &str) -> String {
    format!("webhook:{id}")
}

fn absent(id: &str) -> Error {
    Error::not_found(Webhook::KIND, id)
}
