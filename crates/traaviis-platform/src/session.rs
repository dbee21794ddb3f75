//! Sessions: one login on one device, and the tokens that it has given out.
//!
//! An access token is short-lived and names its session, which every request looks up: ending the
//! session ends the token. A refresh token is used once; the one that replaces it is told in the
//! same answer. Whoever shows one that was used up has stolen it, or was stolen from, so the
//! session ends; only within [`REUSE_GRACE`], and while the successor is unused, is it taken for a
//! lost answer.

use serde::{Deserialize, Serialize};
use traaviis_model::{SessionId, Span, TenantId, Text, Timestamp, UserId};

use crate::{
    ledger::Document,
    token::{self, Opaque},
};

/// Within this a used refresh token is taken for a repetition.
pub const REUSE_GRACE: Span = Span::secs(10);
/// A proof of who one is counts as fresh for so long.
pub const FRESH: Span = Span::secs(10 * 60);
/// Sessions of one user; beyond it the one unused for longest ends.
pub const SESSIONS_MAX: usize = 50;

/// A session as it rests.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Session {
    /// Identity.
    pub id: SessionId,
    /// Whose it is.
    pub user_id: UserId,
    /// Tenant that its tokens are scoped to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant_id: Option<TenantId>,
    /// When it began.
    pub authenticated_at: Timestamp,
    /// When the user last proved who they are.
    pub proved_at: Timestamp,
    /// When its refresh token was last used.
    pub last_used_at: Timestamp,
    /// When it ends whatever happens.
    pub expires_at: Timestamp,
    /// Address of the login.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ip_address: Option<Text>,
    /// What the device says it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_agent: Option<Text>,
    /// How the user proved who they are (RFC 8176).
    pub amr: Vec<Text>,
    /// Hash of the refresh token in use.
    pub refresh: Text,
    /// Hash of the one before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<Text>,
    /// Where alone it counts, when an issuer of a tenant vouches for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confined: Option<Confined>,
}

/// The one tenant that a session counts in, and the issuer of that tenant which vouches for it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Confined {
    /// The tenant.
    pub tenant_id: TenantId,
    /// Name of the issuer there.
    pub issuer: Text,
}

impl Document for Session {
    const KIND: &'static str = "session";

    fn id(&self) -> Text {
        id_of(self.user_id, self.id)
    }
}

/// Returns the id of the document of a session; those of a user stand together.
pub fn id_of(user: UserId, session: SessionId) -> Text {
    format!("{user}/{session}").into()
}

/// What a refresh token is to a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shown {
    /// The one in use.
    Current,
    /// The one before, soon enough to be the repetition of a lost answer.
    Repeated,
    /// One that was used up.
    Spent,
}

impl Session {
    /// Says whether it has ended at a time.
    pub fn is_over(&self, idle: Span, now: Timestamp) -> bool {
        now >= self.expires_at || now.since(self.last_used_at) > idle
    }

    /// Says whether the user has proved who they are a short while ago.
    pub fn is_fresh(&self, now: Timestamp) -> bool {
        now.since(self.proved_at) <= FRESH
    }

    /// Returns the kind of its refresh tokens: an earlier release, which does not know that a
    /// session can count in one tenant alone, must not renew such a one.
    pub fn refreshed_by(&self) -> Opaque {
        match self.confined {
            None => Opaque::Refresh,
            Some(_) => Opaque::RefreshConfined,
        }
    }

    /// Says what a refresh token is to it.
    pub fn shown(&self, refresh: &str, now: Timestamp) -> Shown {
        if token::is_of(refresh, &self.refresh) {
            return Shown::Current;
        }
        let is_before = self.before.as_ref().is_some_and(|it| token::is_of(refresh, it));
        match is_before && now.since(self.last_used_at) <= REUSE_GRACE {
            true => Shown::Repeated,
            false => Shown::Spent,
        }
    }
}
