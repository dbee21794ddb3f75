//! Use cases of service accounts: members without a login, which act through API keys.
//!
//! A service account is a member like others, so roles, lists of permissions and suspensions hold
//! for it; it is never an owner, since nobody could prove that it is them.

use serde_json::json;
use traaviis_model::{UserId, permission::Role};
use traaviis_policy::plan::Metric;

use crate::{
    audit::Act,
    caller::{Caller, Entered, role_of},
    error::Error,
    ledger::{Document, Documents},
    members::{departs, granted, shown},
    platform::Platform,
    tenant::{ApiKey, Member, MemberStatus, SERVICE_ACCOUNTS_MAX, ServiceAccount, name},
    user::Profile,
};

/// A service account with how it stands.
#[derive(Clone, Debug, PartialEq)]
pub struct ServiceAccountOf {
    /// The account.
    pub account: ServiceAccount,
    /// The member that it is.
    pub member: Member,
    /// Keys through which it acts.
    pub key_count: usize,
}

impl Platform {
    /// Makes a service account.
    pub fn make_service_account(
        &self,
        caller: &Caller,
        entered: &Entered,
        given: &str,
        role: &str,
    ) -> Result<ServiceAccountOf, Error> {
        let (id, now) = (UserId(self.fresh_id()?), self.now());
        let name = name(given)?;
        let account = ServiceAccount { id, name, created_by: caller.user, created_at: now };
        let member = Member {
            user_id: id,
            role: role.into(),
            permissions: None,
            data_access: None,
            status: MemberStatus::Active,
            joined_at: now,
            invited_by: Some(caller.user),
        };
        self.ledgers.change(&entered.ctx, &entered.via, |documents, changes| {
            let (base, carried, sees) = role_of(documents, role)?;
            if base == Role::Owner {
                return Err(no_owner_error());
            }
            granted(&entered.standing, base, carried, None)?;
            shown(entered, sees, None)?;
            if documents.count::<ServiceAccount>() >= SERVICE_ACCOUNTS_MAX {
                let message = format!("a tenant has at most {SERVICE_ACCOUNTS_MAX} of them");
                return Err(Error::new("quota_exceeded", message));
            }
            self.admit(documents, Metric::Members, documents.count::<Member>() as u64)?;
            changes.put(&account);
            changes.put(&member);
            let act = Act::done("service_account.created", ServiceAccount::KIND, id.to_string());
            changes.act(act.with(json!({ "name": account.name, "role": role })));
            Ok(())
        })?;
        Ok(ServiceAccountOf { account, member, key_count: 0 })
    }

    /// Returns the service accounts of a tenant, by id.
    pub fn service_accounts(&self, entered: &Entered) -> Result<Vec<ServiceAccountOf>, Error> {
        self.ledgers.read(&entered.ctx, |documents| {
            let keys = documents.list::<ApiKey>("")?;
            let mut found = Vec::new();
            for account in documents.list::<ServiceAccount>("")? {
                let id = account.it.id;
                let Some(member) = documents.get::<Member>(&id.to_string())? else { continue };
                let key_count = keys.iter().filter(|it| it.it.acts_for() == id).count();
                found.push(ServiceAccountOf { account: account.it, member, key_count });
            }
            Ok(found)
        })
    }

    /// Deletes a service account and its keys.
    pub fn delete_service_account(&self, entered: &Entered, id: UserId) -> Result<(), Error> {
        self.ledgers.change(&entered.ctx, &entered.via, |documents, changes| {
            let found = documents.get::<ServiceAccount>(&id.to_string())?;
            found.ok_or_else(|| Error::not_found("service account", &id.to_string()))?;
            if let Some(member) = documents.get::<Member>(&id.to_string())? {
                let (base, ..) = role_of(documents, &member.role)?;
                granted(&entered.standing, base, Default::default(), Some(base))?;
            }
            departs(documents, changes, id)?;
            let act = Act::done("service_account.deleted", ServiceAccount::KIND, id.to_string());
            changes.act(act);
            Ok(())
        })
    }

    /// Returns what others see of a member, and whether it is a service account.
    pub fn profile_in(&self, entered: &Entered, id: UserId) -> Result<(Profile, bool), Error> {
        let account =
            self.ledgers.read(&entered.ctx, |it| it.get::<ServiceAccount>(&id.to_string()));
        match account? {
            Some(ServiceAccount { name, .. }) => Ok((Profile { id, name, avatar_url: None }, true)),
            None => Ok((self.profile(id)?, false)),
        }
    }
}

/// Refuses to make an owner of a service account.
pub(crate) fn no_owner(documents: &Documents, id: UserId) -> Result<(), Error> {
    match documents.get::<ServiceAccount>(&id.to_string())? {
        Some(_) => Err(no_owner_error()),
        None => Ok(()),
    }
}

fn no_owner_error() -> Error {
    Error::new("forbidden", "a service account is never an owner; give it another role")
}
