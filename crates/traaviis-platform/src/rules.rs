//! What a tenant asks of who acts in it, besides a membership: two factors, a session that was used
//! lately and is not too old, passwords of a length.
//!
//! A tenant asks for more than the installation, never for less: each rule counts beside the
//! setting of the server.

use serde_json::Value as Json;
use traaviis_model::{Span, Timestamp, UserId};

use crate::{
    caller::standing_of,
    error::Error,
    ledger::Documents,
    password,
    platform::Platform,
    session::Session,
    tenant::{REQUIRE_MFA, Tenant},
};

/// Setting of a tenant: a session that was not renewed for so long stays outside.
pub const SESSION_IDLE: &str = "session_idle";
/// Setting of a tenant: a session that is older stays outside.
pub const SESSION_LIFE: &str = "session_life";
/// Setting of a tenant: shortest password that a member sets.
pub const PASSWORD_LENGTH_MIN: &str = "password_length_min";

/// What is told to a session that stays outside.
const TOO_OLD: &str = "this tenant asks for a session that is younger, or was used since; log in \
                       again";

/// How old a session is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SessionAge {
    /// Since its tokens were renewed last.
    pub unused_for: Span,
    /// Since the login.
    pub old: Span,
}

impl SessionAge {
    /// Returns how old a session is at a time.
    pub fn of(session: &Session, now: Timestamp) -> SessionAge {
        SessionAge {
            unused_for: now.since(session.last_used_at),
            old: now.since(session.authenticated_at),
        }
    }
}

/// The rules of a tenant.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rules {
    /// Two factors.
    pub wants_mfa: bool,
    session_idle: Option<Span>,
    session_life: Option<Span>,
    password_chars_min: Option<usize>,
}

impl Rules {
    /// Reads the rules of the tenant of some documents.
    pub fn of(documents: &Documents) -> Result<Rules, Error> {
        let tenant = documents.shared::<Tenant>("tenant")?;
        Ok(tenant.map(|it| Rules::read(&it.settings)).unwrap_or_default())
    }

    /// What an earlier release has let through, and cannot be read, is no rule.
    fn read(settings: &Json) -> Rules {
        let span = |name| settings[name].as_str().and_then(|it| it.parse::<Span>().ok());
        let chars = settings[PASSWORD_LENGTH_MIN].as_u64();
        Rules {
            wants_mfa: settings[REQUIRE_MFA] == Json::Bool(true),
            session_idle: span(SESSION_IDLE),
            session_life: span(SESSION_LIFE),
            password_chars_min: chars.and_then(|it| it.try_into().ok()),
        }
    }

    /// Refuses settings of a tenant that would be no rule, or one that nobody could keep.
    pub fn check(settings: &Json, renewed_within: Span) -> Result<(), Error> {
        for name in [SESSION_IDLE, SESSION_LIFE] {
            let Some(given) = settings.get(name) else { continue };
            let span = given.as_str().and_then(|it| it.parse::<Span>().ok());
            // A session is known to be used when its tokens are renewed.
            if span.is_none_or(|it| it < renewed_within) {
                let rule =
                    format!("this is a time such as `8h`, of at least {renewed_within}, or absent");
                return Err(Error::invalid(&format!("/{name}"), rule));
            }
        }
        let (least, most) = (password::CHARS_MIN, password::CHARS_MAX);
        let is_good =
            |it: &Json| it.as_u64().is_some_and(|it| (least as u64..=most as u64).contains(&it));
        match settings.get(PASSWORD_LENGTH_MIN) {
            Some(given) if !is_good(given) => {
                let rule = format!("this is a number from {least} to {most}, or absent");
                Err(Error::invalid(&format!("/{PASSWORD_LENGTH_MIN}"), rule))
            }
            _ => Ok(()),
        }
    }

    /// Keeps a session outside that is too old.
    pub fn admit(&self, age: SessionAge) -> Result<(), Error> {
        let is_over = |limit: Option<Span>, time: Span| limit.is_some_and(|it| time > it);
        match is_over(self.session_idle, age.unused_for) || is_over(self.session_life, age.old) {
            true => Err(Error::new("session_expired", TOO_OLD)),
            false => Ok(()),
        }
    }

    /// Returns the length of a password, where `server` is what the installation asks for.
    pub fn password_chars_min(&self, server: usize) -> usize {
        self.password_chars_min.unwrap_or_default().max(server)
    }
}

impl Platform {
    /// Returns the length that a new password of a user has: what the strictest of their tenants
    /// asks for.
    pub(crate) fn password_chars_min(&self, user: UserId) -> Result<usize, Error> {
        let mut most = self.settings.password_chars_min;
        for tenant in self.lookup(|it| it.tenants(user)) {
            let keeper = traaviis_model::TenantCtx::keeper_of(tenant);
            most = self.ledgers.read(&keeper, |documents| {
                Ok::<_, Error>(match standing_of(documents, user)? {
                    Some((standing, _)) if standing.is_member_active => {
                        Rules::of(documents)?.password_chars_min(most)
                    }
                    _ => most,
                })
            })?;
        }
        Ok(most)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn rules_are_read_and_nonsense_is_refused() {
        let check = |settings: &Json| Rules::check(settings, Span::secs(900));
        for good in [
            json!({}),
            json!({ "session_idle": "15m", "session_life": "12h", "password_length_min": 15 }),
            json!({ "colour": "green" }),
        ] {
            assert!(check(&good).is_ok(), "{good}");
        }
        for (bad, pointer) in [
            (json!({ "session_idle": "1m" }), "session_idle"),
            (json!({ "session_idle": 60 }), "session_idle"),
            (json!({ "session_life": "soon" }), "session_life"),
            (json!({ "password_length_min": -4 }), "password_length_min"),
            (json!({ "password_length_min": 129 }), "password_length_min"),
            (json!({ "password_length_min": "15" }), "password_length_min"),
        ] {
            let error = check(&bad).unwrap_err();
            assert!(error.message.contains(pointer), "{bad}: {error}");
            assert_eq!(
                Rules::read(&bad).admit(SessionAge::default()).map_err(|it| it.code),
                Ok(())
            );
        }
    }

    #[test]
    fn a_session_is_admitted_up_to_the_very_moment() {
        let rules = Rules::read(&json!({ "session_idle": "1h", "session_life": "8h" }));
        let admits = |unused: i64, old: i64| {
            let age = SessionAge { unused_for: Span::secs(unused), old: Span::secs(old) };
            rules.admit(age).is_ok()
        };
        assert!(admits(3_600, 28_800));
        assert!(!admits(3_601, 3_601), "unused for too long");
        assert!(!admits(0, 28_801), "too old");
    }
}
