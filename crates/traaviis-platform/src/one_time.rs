//! Tokens that go out by mail: each works once, for one purpose, for a while.
//!
//! Only the hash rests. A new one of the same purpose takes the place of the one before.

use serde::{Deserialize, Serialize};
use traaviis_model::{Span, Text, Timestamp, UserId};
use uuid::Uuid;

use crate::{
    entropy::Entropy,
    error::Error,
    ledger::Document,
    token::{Opaque, is_of},
};

/// How long an address can be confirmed.
pub const VERIFICATION_LIFE: Span = Span::secs(24 * 3_600);
/// How long a password can be reset.
pub const RESET_LIFE: Span = Span::secs(15 * 60);

/// What a token is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Purpose {
    /// Confirms an address.
    Verification,
    /// Sets a new password.
    Reset,
}

impl Purpose {
    fn kind(self) -> Opaque {
        match self {
            Purpose::Verification => Opaque::Verification,
            Purpose::Reset => Opaque::Reset,
        }
    }

    fn word(self) -> &'static str {
        match self {
            Purpose::Verification => "verification",
            Purpose::Reset => "reset",
        }
    }

    fn life(self) -> Span {
        match self {
            Purpose::Verification => VERIFICATION_LIFE,
            Purpose::Reset => RESET_LIFE,
        }
    }

    /// Returns whose token this says it is.
    pub fn user_in(self, token: &str) -> Option<UserId> {
        self.kind().ids::<1>(token).map(|it| UserId(it[0]))
    }
}

/// A token as it rests.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct OneTime {
    /// What it is for.
    pub purpose: Purpose,
    /// Whose it is.
    pub user_id: UserId,
    /// Hash.
    pub token_hash: Text,
    /// When it ends.
    pub expires_at: Timestamp,
}

impl Document for OneTime {
    const KIND: &'static str = "one_time_token";

    fn id(&self) -> Text {
        id_of(self.purpose, self.user_id)
    }
}

/// Returns the id of the document.
pub fn id_of(purpose: Purpose, user: UserId) -> Text {
    format!("{}/{user}", purpose.word()).into()
}

impl OneTime {
    /// Makes a token; it is told once.
    pub fn make(
        purpose: Purpose,
        user_id: UserId,
        now: Timestamp,
        entropy: &Entropy,
    ) -> Result<(OneTime, String), Error> {
        let ids: [Uuid; 1] = [user_id.0];
        let (token, token_hash) = purpose.kind().make(&ids, entropy)?;
        let expires_at = now.plus(purpose.life());
        Ok((OneTime { purpose, user_id, token_hash, expires_at }, token))
    }

    /// Says whether a token is this one, in time.
    pub fn is(&self, token: &str, now: Timestamp) -> bool {
        now < self.expires_at && is_of(token, &self.token_hash)
    }
}
