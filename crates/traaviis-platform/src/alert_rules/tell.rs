//! How an alert gets to people: mail to owners and administrators of the tenant.
//!
//! Whom to write to is a document beside the alert until the mails are in the queue of mails. A
//! kill in between writes once more; what waits in that queue is in memory, as all mail is.
//! Webhooks and sockets need nothing here: an alert is a record of the log.

use serde::{Deserialize, Serialize};
use traaviis_model::{TenantCtx, TenantId, Text};

use super::ALERT_MAIL;
use crate::{
    error::Error,
    ledger::Document,
    mail::Letter,
    platform::{Platform, engine},
    tenant::{Member, MemberStatus, Tenant, TenantStatus},
};

/// People of a tenant who are written to.
const WRITTEN_MAX: usize = 20;
/// Roles of those who are written to.
const ROLES: &[&str] = &["owner", "admin"];

/// An alert of which people are still to be written.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct AlertMail {
    /// The alert.
    pub alert: Text,
    /// What has happened.
    pub message: String,
}

impl Document for AlertMail {
    const KIND: &'static str = ALERT_MAIL;

    fn id(&self) -> Text {
        self.alert.clone()
    }
}

impl Platform {
    /// Writes to people of which alerts they are still to be told.
    pub(super) fn write_to_people(&self) -> Result<(), Error> {
        for tenant in self.lookup(|it| it.with_mails()) {
            let ctx = TenantCtx::keeper_of(tenant);
            let mails = self.ledgers.read(&ctx, |it| it.list::<AlertMail>(""))?;
            if mails.is_empty() {
                continue;
            }
            let (name, addresses) = self.addresses(tenant)?;
            for mail in &mails {
                let letter = Letter::Alert { tenant: &name, message: &mail.it.message };
                addresses.iter().for_each(|it| self.write_to(it, letter));
            }
            self.ledgers.change(&ctx, &engine(), |_, changes| {
                mails.iter().for_each(|it| changes.remove::<AlertMail>(&it.it.alert));
                Ok(())
            })?;
        }
        Ok(())
    }

    /// Returns the name of a tenant, and the confirmed addresses of those who are written to.
    fn addresses(&self, id: TenantId) -> Result<(String, Vec<String>), Error> {
        let ctx = TenantCtx::keeper_of(id);
        let (tenant, members) = self.ledgers.read(&ctx, |it| {
            Ok::<_, Error>((it.get::<Tenant>("tenant")?, it.list::<Member>("")?))
        })?;
        let Some(tenant) = tenant.filter(|it| it.status == TenantStatus::Active) else {
            return Ok((String::new(), Vec::new()));
        };
        let mut addresses = Vec::new();
        for member in members.into_iter().map(|it| it.it) {
            let is_meant = member.status == MemberStatus::Active && ROLES.contains(&&*member.role);
            if !is_meant || addresses.len() >= WRITTEN_MAX {
                continue;
            }
            // A service account has no address.
            if let Some(user) = self.user(member.user_id)?
                && let Some(personal) = user.personal(&*self.vault)?
                && personal.email_verified
            {
                addresses.push(personal.email);
            }
        }
        Ok((tenant.name, addresses))
    }
}
