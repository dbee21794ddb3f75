//! Users: who there is, in all tenants together.
//!
//! What is about the person (address, name, password hash) rests sealed with a key of their own, so
//! that erasing them is destroying that key. Nothing of it is in an index, a log or another user's
//! answer; others see [`Profile`].

use serde::{Deserialize, Serialize};
use traaviis_model::{TenantCtx, Text, Timestamp, UserId, form};
use traaviis_ports::vault::{Place, Unsealed, Vault};

use crate::{
    accounts::ProfileChange, error::Error, factor::Factors, ledger::Document,
    password::PasswordHash,
};

/// How a user stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UserStatus {
    /// May log in.
    Active,
    /// May not.
    Suspended,
    /// May not before the address is confirmed.
    PendingVerification,
    /// Is going, or is gone.
    Deleted,
}

impl UserStatus {
    /// Returns the word on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            UserStatus::Active => "active",
            UserStatus::Suspended => "suspended",
            UserStatus::PendingVerification => "pending_verification",
            UserStatus::Deleted => "deleted",
        }
    }
}

/// What a user is on the platform.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PlatformRole {
    /// Looks after it.
    PlatformAdmin,
    /// Uses it.
    User,
}

impl PlatformRole {
    /// Returns the word on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            PlatformRole::PlatformAdmin => "platform_admin",
            PlatformRole::User => "user",
        }
    }
}

/// A user as it rests.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct User {
    /// Identity.
    pub id: UserId,
    /// How they stand.
    pub status: UserStatus,
    /// What they are.
    pub platform_role: PlatformRole,
    /// Version of their rights: raised whenever sessions of before must end.
    pub rights: u64,
    /// When they registered.
    pub created_at: Timestamp,
    /// When this was changed.
    pub updated_at: Timestamp,
    /// When they last logged in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_login: Option<Timestamp>,
    /// What is about the person, sealed; see [`Personal`].
    pub sealed: Text,
}

impl Document for User {
    const KIND: &'static str = "user";

    fn id(&self) -> Text {
        self.id.to_string().into()
    }
}

/// What is about the person.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Personal {
    /// E-mail address, in lower case.
    pub email: String,
    /// Whether it was confirmed.
    #[serde(default)]
    pub email_verified: bool,
    /// Name.
    pub name: String,
    /// Picture.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub avatar_url: Option<String>,
    /// Language.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub locale: Option<String>,
    /// Time zone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timezone: Option<String>,
    /// Password; none for who logs in elsewhere only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password: Option<PasswordHash>,
    /// What else they prove who they are with.
    #[serde(default, skip_serializing_if = "Factors::is_empty")]
    pub factors: Factors,
}

impl Personal {
    /// Returns what there is about somebody new.
    pub fn new(email: String, name: String) -> Personal {
        Personal {
            email,
            email_verified: false,
            name,
            avatar_url: None,
            locale: None,
            timezone: None,
            password: None,
            factors: Factors::default(),
        }
    }

    /// Seals it for a user.
    pub fn seal(&self, vault: &dyn Vault, id: UserId, now: Timestamp) -> Result<Text, Error> {
        // Plain values and texts; writing them cannot fail.
        let plain = zeroize::Zeroizing::new(serde_json::to_vec(self).unwrap_or_default());
        let subject = id.to_string();
        Ok(vault.seal(&TenantCtx::platform(), place(&subject), &plain, now)?)
    }
}

impl User {
    /// Says whether they look after the platform, and may.
    pub fn is_admin(&self) -> bool {
        self.platform_role == PlatformRole::PlatformAdmin && self.status == UserStatus::Active
    }

    /// Opens what is about the person; none when it is erased.
    pub fn personal(&self, vault: &dyn Vault) -> Result<Option<Personal>, Error> {
        let subject = self.id.to_string();
        match vault.open(&TenantCtx::platform(), place(&subject), &self.sealed)? {
            Unsealed::Erased => Ok(None),
            Unsealed::Plain(plain) => {
                let personal = serde_json::from_slice(&plain).map_err(|_| {
                    Error::new("secret_unreadable", format!("user `{subject}` cannot be read"))
                })?;
                Ok(Some(personal))
            }
        }
    }
}

fn place(id: &str) -> Place<'_> {
    Place { subject: id, kind: User::KIND, id }
}

/// What others see of a user.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Profile {
    /// Identity.
    pub id: UserId,
    /// Name.
    pub name: String,
    /// Picture.
    pub avatar_url: Option<String>,
}

/// Checks an e-mail address and returns it as it is kept: trimmed, in lower case.
///
/// Only a message that arrives proves an address, so no more is asked than what keeps typing errors
/// and header injection out.
pub fn email(text: &str) -> Result<String, Error> {
    const CHARS_MAX: usize = 254;
    let text = text.trim();
    let is_plain =
        |it: char| !it.is_whitespace() && !it.is_control() && !"<>,;:\"()[]\\".contains(it);
    let is_good = text.chars().count() <= CHARS_MAX
        && text.chars().all(is_plain)
        && text.split_once('@').is_some_and(|(local, domain)| {
            let labels: Vec<&str> = domain.split('.').collect();
            !local.is_empty()
                && local.chars().count() <= 64
                && !domain.contains('@')
                && labels.len() >= 2
                && labels.iter().all(|it| !it.is_empty() && !it.starts_with('-'))
        });
    match is_good {
        true => Ok(text.to_lowercase()),
        false => Err(Error::invalid("/email", "an e-mail address looks like name@example.org")),
    }
}

/// Checks the name of a person.
pub fn name(text: &str) -> Result<String, Error> {
    match form::PERSON_NAME.read(text) {
        Some(name) => Ok(name.to_owned()),
        None => Err(Error::invalid("/name", "a name has 2 to 100 characters")),
    }
}

/// Refuses what others are not to be shown of somebody, or what would mean nothing; empty texts
/// take away what was there.
pub fn check_profile(change: &ProfileChange) -> Result<(), Error> {
    let said = |it: &Option<String>| it.clone().filter(|it| !it.is_empty());
    // Pages of others show it: nothing but a picture may be at its end.
    let is_picture = |it: &str| {
        let url = url::Url::parse(it).ok().filter(|it| it.scheme() == "https");
        it.len() <= form::PICTURE.most
            && url.is_some_and(|it| it.has_host() && it.username().is_empty())
    };
    if said(&change.avatar_url).is_some_and(|it| !is_picture(&it)) {
        let most = form::PICTURE.most;
        let rule = format!("a picture is at an address of `https`, of {most} bytes");
        return Err(Error::invalid("/avatar_url", rule));
    }
    let is_locale = |it: &str| {
        let part = |it: &str| {
            (1..=8).contains(&it.len()) && it.bytes().all(|it| it.is_ascii_alphanumeric())
        };
        it.len() <= form::LOCALE.most && it.split('-').all(part)
    };
    if said(&change.locale).is_some_and(|it| !is_locale(&it)) {
        return Err(Error::invalid("/locale", "a language is told as in `en` or `de-AT`"));
    }
    if said(&change.timezone).is_some_and(|it| !traaviis_model::cron::is_zone(&it)) {
        let rule = "a time zone has an IANA name such as `Europe/Berlin` or `UTC`";
        return Err(Error::invalid("/timezone", rule));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_kept_in_lower_case_and_typing_errors_refused() {
        assert_eq!(email(" Ada@Example.org ").unwrap(), "ada@example.org");
        for good in ["a@b.co", "ada+tag@mail.example.org", "ünï@exämple.org"] {
            assert!(email(good).is_ok(), "{good}");
        }
        let long = format!("{}@example.org", "x".repeat(65));
        for bad in [
            "",
            "ada",
            "ada@",
            "@example.org",
            "ada@example",
            "a b@c.de",
            "a@b@c.de",
            "a@b..de",
            "a@-b.de",
            "a@b.de\r\nBcc: x@y.z",
            "<a@b.de>",
            &long,
        ] {
            assert_eq!(email(bad).unwrap_err().code, "validation_failed", "{bad}");
        }
    }
}
