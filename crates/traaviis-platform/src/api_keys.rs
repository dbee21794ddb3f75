//! Use cases of API keys: programs that act in one tenant with at most the rights of who made them.

use serde_json::json;
use traaviis_model::{
    ApiKeyId, Span, Text, UserId,
    form::KEY_LIFE_SECS_MAX,
    permission::{Permission, PermissionSet},
};

use crate::{
    audit::Act,
    caller::{Caller, Entered, standing_of},
    error::Error,
    key_use,
    ledger::{Document, Versioned},
    members::shown,
    platform::Platform,
    tenant::{API_KEYS_MAX, ApiKey, ServiceAccount, name},
    token::Opaque,
};

/// Life of a key unless another one is asked for.
pub const KEY_LIFE: Span = Span::secs(90 * 24 * 3_600);
/// Longest life of a key.
pub const KEY_LIFE_MAX: Span = Span::secs(KEY_LIFE_SECS_MAX);
/// Letters by which people know a key.
const SHOWN_CHARS: usize = 16;

/// A key that is asked for.
#[derive(Clone, Debug)]
pub struct KeyGiven {
    /// What it is for.
    pub name: String,
    /// What it may do.
    pub scopes: PermissionSet,
    /// Life.
    pub life: Option<Span>,
    /// Networks from which it may be used.
    pub ip_allow: Vec<String>,
    /// Service account that acts through it.
    pub service_account: Option<UserId>,
}

impl Platform {
    /// Makes a key; the second part of the answer is the key itself, which is told only now.
    pub fn make_api_key(
        &self,
        caller: &Caller,
        entered: &Entered,
        given: KeyGiven,
    ) -> Result<(Versioned<ApiKey>, String), Error> {
        caller.any_session()?;
        let (id, now) = (ApiKeyId(self.fresh_id()?), self.now());
        let life = given.life.unwrap_or(KEY_LIFE);
        if life.0 <= 0 || life > KEY_LIFE_MAX {
            let rule = format!("a key lives for at most {KEY_LIFE_MAX}");
            return Err(Error::invalid("/expires_in", rule));
        }
        if !entered.standing.permissions.covers(given.scopes) {
            let message = "nobody gives a key more than they may do themselves";
            return Err(Error::new("insufficient_permissions", message));
        }
        let manages = entered.standing.permissions.has(Permission::TenantUserManagement);
        if given.service_account.is_some() && !manages {
            let message = "a key of a service account is made by who manages users";
            return Err(Error::new("insufficient_permissions", message));
        }
        let ip_allow = key_use::networks(&given.ip_allow)?;
        let (token, hash) = Opaque::ApiKey.make(&[id.0], &self.entropy)?;
        let key = ApiKey {
            id,
            name: name(&given.name)?,
            created_by: caller.user,
            scopes: given.scopes,
            hash,
            prefix: Text::from(&token[..SHOWN_CHARS]),
            created_at: now,
            expires_at: now.plus(life),
            ip_allow,
            service_account: given.service_account,
            last_used_at: None,
        };
        self.ledgers.change(&entered.ctx, &entered.via, |documents, changes| {
            if documents.count::<ApiKey>() >= API_KEYS_MAX {
                let message = format!("a tenant has at most {API_KEYS_MAX} keys");
                return Err(Error::new("quota_exceeded", message));
            }
            if let Some(account) = key.service_account {
                let id = account.to_string();
                let found = documents.get::<ServiceAccount>(&id)?;
                found.ok_or_else(|| Error::not_found("service account", &id))?;
                let standing = standing_of(documents, account)?;
                shown(entered, standing.ok_or_else(|| Error::not_found("member", &id))?.1, None)?;
            }
            changes.put(&key);
            let act = Act::done("api_key.created", ApiKey::KIND, id.to_string());
            changes.act(act.with(json!({
                "name": key.name, "scopes": key.scopes, "ip_allow": key.ip_allow,
                "service_account": key.service_account,
            })));
            Ok(())
        })?;
        let found = self.ledgers.get::<ApiKey>(&entered.ctx, &id.to_string())?;
        Ok((found.ok_or_else(|| absent(id))?, token))
    }

    /// Returns the keys of a tenant that somebody may see: their own, or all of them.
    pub fn api_keys(
        &self,
        caller: &Caller,
        entered: &Entered,
    ) -> Result<Vec<Versioned<ApiKey>>, Error> {
        let mut keys = self.ledgers.read(&entered.ctx, |it| it.list::<ApiKey>(""))?;
        keys.retain(|it| sees(caller, entered, &it.it));
        for key in &mut keys {
            key.it.last_used_at = self.key_use.last(key.it.id).max(key.it.last_used_at);
        }
        Ok(keys)
    }

    /// Ends a key.
    pub fn end_api_key(
        &self,
        caller: &Caller,
        entered: &Entered,
        id: ApiKeyId,
    ) -> Result<(), Error> {
        self.ledgers.change(&entered.ctx, &entered.via, |documents, changes| {
            let found = documents.get::<ApiKey>(&id.to_string())?;
            found.filter(|it| sees(caller, entered, it)).ok_or_else(|| absent(id))?;
            changes.remove::<ApiKey>(&id.to_string());
            changes.act(Act::done("api_key.revoked", ApiKey::KIND, id.to_string()));
            Ok(())
        })
    }
}

fn sees(caller: &Caller, entered: &Entered, key: &ApiKey) -> bool {
    key.created_by == caller.user
        || entered.standing.permissions.has(Permission::TenantUserManagement)
}

fn absent(id: ApiKeyId) -> Error {
    Error::not_found("API key", &id.to_string())
}
