//! Signed ends of audit chains: what an installation has vouched for.
//!
//! A checkpoint names the last entry of a chain with its hash, and is signed with Ed25519 by a key
//! of the installation, which rests sealed like those of tokens and is never replaced. Whoever
//! keeps one checkpoint elsewhere can tell whether anything up to it was changed since.
//!
//! Invariant: a checkpoint is signed only over entries that are durable.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, UnparsedPublicKey};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize};
use serde_json::{Value as Json, json};
use traaviis_model::{Span, TenantCtx, TenantId, Text, Timestamp, Value, document::canonical};
use traaviis_ports::{
    DocumentQuery,
    vault::{Place, Unsealed, Vault},
};

use crate::{
    audit::{self, Act, CHECKPOINT, id_of},
    error::Error,
    ledger::Document,
    platform::{Platform, engine},
    token::make_key,
};

/// Entries after which there is a new checkpoint.
pub const EVERY_ENTRIES: u64 = 1_000;
/// Time after which there is a new checkpoint, if there is a new entry.
pub const EVERY: Span = Span::secs(60);
/// Checkpoints of one answer.
pub const LISTED_MAX: usize = 200;
/// Subject whose key seals the private half.
const SIGNING: &str = "platform:audit";

/// A key that signs checkpoints, as it rests: the private half sealed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AuditKey {
    /// Its id.
    pub kid: Text,
    /// Public half, base64url.
    pub x: Text,
    /// Private half, sealed; empty for a key of another installation.
    pub sealed: Text,
    /// When it was made.
    pub made_at: Timestamp,
}

impl Document for AuditKey {
    const KIND: &'static str = "audit_key";

    fn id(&self) -> Text {
        self.kid.clone()
    }
}

impl AuditKey {
    /// Returns the half that everybody may know.
    pub fn public(&self) -> PublicKey {
        PublicKey { kid: self.kid.clone(), x: self.x.clone() }
    }

    /// Returns the key of another installation, whose private half stays there.
    pub(crate) fn of_elsewhere(kid: Text, x: Text, made_at: Timestamp) -> AuditKey {
        AuditKey { kid, x, sealed: Text::default(), made_at }
    }

    /// Opens it for signing.
    pub fn open(&self, vault: &dyn Vault) -> Result<AuditSigner, Error> {
        let place = Place { subject: SIGNING, kind: AuditKey::KIND, id: &self.kid };
        let failed = || {
            let message = format!("the key `{}` of the audit trail cannot be opened", self.kid);
            Error::new("secret_unreadable", message)
        };
        match vault.open(&TenantCtx::platform(), place, &self.sealed)? {
            Unsealed::Plain(private) => {
                let pair = Ed25519KeyPair::from_pkcs8(&private).map_err(|_| failed())?;
                Ok(AuditSigner { public: self.public(), pair })
            }
            Unsealed::Erased => Err(failed()),
        }
    }
}

/// The half of a key that everybody may know.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PublicKey {
    /// Its id.
    pub kid: Text,
    /// Ed25519 public key, base64url.
    pub x: Text,
}

impl PublicKey {
    /// Says whether it has signed a text.
    pub fn verifies(&self, text: &[u8], signature: &str) -> bool {
        let (Ok(x), Ok(signature)) =
            (URL_SAFE_NO_PAD.decode(&*self.x), URL_SAFE_NO_PAD.decode(signature))
        else {
            return false;
        };
        UnparsedPublicKey::new(&ED25519, x).verify(text, &signature).is_ok()
    }
}

/// Signs.
pub struct AuditSigner {
    public: PublicKey,
    pair: Ed25519KeyPair,
}

impl AuditSigner {
    /// Returns the public half.
    pub fn public(&self) -> &PublicKey {
        &self.public
    }

    /// Vouches for the end of a chain.
    pub fn checkpoint(&self, tenant: TenantId, head: &audit::Head, at: Timestamp) -> Checkpoint {
        self.signed(Checkpoint::KIND, tenant, head, at)
    }

    /// Vouches for an export that ends here.
    pub fn end(&self, tenant: TenantId, head: &audit::Head, at: Timestamp) -> Checkpoint {
        self.signed(Checkpoint::END, tenant, head, at)
    }

    fn signed(
        &self,
        what: &'static str,
        tenant_id: TenantId,
        head: &audit::Head,
        at: Timestamp,
    ) -> Checkpoint {
        let audit::Head { seq, hash } = head.clone();
        let kid = self.public.kid.clone();
        let mut made = Checkpoint { tenant_id, seq, hash, at, kid, signature: Text::default() };
        made.signature = self.sign(made.text(what).as_bytes());
        made
    }

    /// Signs a text, which says itself what it is; base64url.
    pub(crate) fn sign(&self, text: &[u8]) -> Text {
        URL_SAFE_NO_PAD.encode(self.pair.sign(text).as_ref()).into()
    }
}

impl std::fmt::Debug for AuditSigner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AuditSigner").field("public", &self.public).finish_non_exhaustive()
    }
}

/// A signed end of a chain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checkpoint {
    /// Whose chain.
    pub tenant_id: TenantId,
    /// Number of its last entry.
    pub seq: u64,
    /// Hash of that entry.
    pub hash: Text,
    /// When it was signed.
    pub at: Timestamp,
    /// The key.
    pub kid: Text,
    /// Ed25519 over the canonical JSON of the rest, base64url.
    pub signature: Text,
}

impl Checkpoint {
    /// What is signed, in a word.
    const KIND: &'static str = "traaviis.audit.checkpoint";
    /// What is signed at the end of an export.
    const END: &'static str = "traaviis.audit.end";

    fn text(&self, what: &str) -> String {
        let Checkpoint { tenant_id, seq, hash, at, kid, signature: _ } = self;
        canonical(&Value::from(&json!({
            "what": what, "tenant_id": tenant_id, "seq": seq, "hash": hash, "at": at, "kid": kid,
        })))
    }

    /// Says whether a key has signed it as a checkpoint.
    pub fn is_signed_by(&self, key: &PublicKey) -> bool {
        key.kid == self.kid && key.verifies(self.text(Checkpoint::KIND).as_bytes(), &self.signature)
    }

    /// Says whether a key has signed it as the end of an export.
    pub fn is_end_signed_by(&self, key: &PublicKey) -> bool {
        key.kid == self.kid && key.verifies(self.text(Checkpoint::END).as_bytes(), &self.signature)
    }
}

impl Document for Checkpoint {
    const KIND: &'static str = CHECKPOINT;

    fn id(&self) -> Text {
        id_of(self.seq).into()
    }
}

/// The last checkpoints of chains, and the signer.
#[derive(Debug, Default)]
pub(crate) struct Signing {
    signer: Mutex<Option<Arc<AuditSigner>>>,
    last: Mutex<HashMap<TenantId, Last>>,
}

/// What the last checkpoint of a chain vouches for.
#[derive(Clone, Copy, Debug)]
struct Last {
    seq: u64,
    at: Timestamp,
}

impl Platform {
    /// Returns what signs checkpoints; its key is made when there is none.
    pub fn audit_signer(&self) -> Result<Arc<AuditSigner>, Error> {
        let mut held = self.auditing.signing.signer.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(signer) = &*held {
            return Ok(Arc::clone(signer));
        }
        let ctx = TenantCtx::platform();
        let keys = self.ledgers.read(&ctx, |it| it.list::<AuditKey>(""))?;
        let own = keys.into_iter().map(|it| it.it).filter(|it| !it.sealed.is_empty());
        let newest = own.max_by_key(|it| it.made_at);
        let key = match newest {
            Some(key) => key,
            None => self.make_audit_key()?,
        };
        let signer = Arc::new(key.open(&*self.vault)?);
        *held = Some(Arc::clone(&signer));
        Ok(signer)
    }

    fn make_audit_key(&self) -> Result<AuditKey, Error> {
        let (private, x) = make_key()?;
        let (ctx, now) = (TenantCtx::platform(), self.now());
        let kid: Text = self.fresh_id()?.to_string().into();
        let place = Place { subject: SIGNING, kind: AuditKey::KIND, id: &kid };
        let sealed = self.vault.seal(&ctx, place, &private, now)?;
        let key = AuditKey { kid: kid.clone(), x, sealed, made_at: now };
        self.ledgers.change(&ctx, &engine(), |_, changes| {
            changes.put(&key);
            changes.act(Act::done("audit_key.made", AuditKey::KIND, kid));
            Ok(())
        })?;
        Ok(key)
    }

    /// Returns the public halves of all keys that have signed checkpoints.
    pub fn audit_keys(&self) -> Result<Vec<PublicKey>, Error> {
        let keys = self.ledgers.read(&TenantCtx::platform(), |it| it.list::<AuditKey>(""))?;
        Ok(keys.iter().map(|it| it.it.public()).collect())
    }

    /// Signs the end of a chain if it is time for that, or whatever the time.
    pub(crate) fn sign_trail(&self, ctx: &TenantCtx, whenever: bool) -> Result<(), Error> {
        let head = self.ledgers.audit_head(ctx);
        let now = self.now();
        let last = self.last_signed(ctx, now)?;
        let entries = head.seq.saturating_sub(last.seq);
        let is_due = entries >= EVERY_ENTRIES || now.since(last.at) >= EVERY || whenever;
        if entries == 0 || !is_due {
            return Ok(());
        }
        let signer = self.audit_signer()?;
        // Of the end as it is when this is put, so that it stands right behind its entry.
        let checkpoint = self.ledgers.change(ctx, &engine(), |_, changes| {
            let checkpoint = signer.checkpoint(ctx.tenant(), changes.audit_head(), now);
            changes.put(&checkpoint);
            Ok(checkpoint)
        })?;
        // Whoever keeps the log of the process has an end that nobody can cut off.
        let Checkpoint { tenant_id, seq, hash, kid, signature, .. } = &checkpoint;
        tracing::info!(
            target: "traaviis::audit", %tenant_id, seq, %hash, %kid, %signature, "checkpoint"
        );
        self.signed().insert(ctx.tenant(), Last { seq: checkpoint.seq, at: now });
        Ok(())
    }

    fn last_signed(&self, ctx: &TenantCtx, now: Timestamp) -> Result<Last, Error> {
        if let Some(last) = self.signed().get(&ctx.tenant()) {
            return Ok(*last);
        }
        let newest = self.checkpoints_of(ctx, None, 1)?;
        // One that was never signed waits for its time, too.
        let last =
            newest.first().map_or(Last { seq: 0, at: now }, |it| Last { seq: it.seq, at: it.at });
        self.signed().insert(ctx.tenant(), last);
        Ok(last)
    }

    /// Returns checkpoints, the newest first, before one with number `before`.
    pub(crate) fn checkpoints_of(
        &self,
        ctx: &TenantCtx,
        before: Option<u64>,
        limit: usize,
    ) -> Result<Vec<Checkpoint>, Error> {
        let after = before.map(id_of);
        let query = DocumentQuery {
            kind: CHECKPOINT,
            prefix: "",
            after: after.as_deref(),
            descending: true,
            limit,
        };
        self.ledgers.rows(ctx, &query)?.iter().map(|row| of_row(row.body.as_deref())).collect()
    }

    fn signed(&self) -> std::sync::MutexGuard<'_, HashMap<TenantId, Last>> {
        self.auditing.signing.last.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Reads a checkpoint as it rests.
pub(crate) fn of_row(body: Option<&[u8]>) -> Result<Checkpoint, Error> {
    serde_json::from_slice(body.unwrap_or_default()).map_err(|error| {
        Error::new("documents_failed", format!("a checkpoint cannot be read: {error}"))
    })
}

/// Returns keys as a JSON Web Key Set.
pub fn key_set(keys: &[PublicKey]) -> Json {
    let key = |it: &PublicKey| {
        json!({
            "kty": "OKP", "crv": "Ed25519", "use": "sig", "alg": "EdDSA",
            "kid": it.kid, "x": it.x,
        })
    };
    json!({ "keys": keys.iter().map(key).collect::<Vec<_>>() })
}
