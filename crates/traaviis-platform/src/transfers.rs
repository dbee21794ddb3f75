//! Use cases of handing a tenant over: one side offers, the other accepts, both with a fresh proof
//! of who they are.
//!
//! Who offers stays an owner, and may leave once there is another one.

use serde_json::json;
use traaviis_model::{Span, UserId, permission::Role};

use crate::{
    audit::Act,
    caller::{Caller, Entered, no_tenant},
    error::Error,
    ledger::{Document, Documents},
    members::found,
    platform::Platform,
    service_accounts::no_owner,
    tenant::{Member, MemberStatus, Tenant, Transfer},
};

/// How long an offer stands.
pub const TRANSFER_LIFE: Span = Span::secs(7 * 24 * 3_600);

impl Platform {
    /// Offers an active member to become an owner; an offer before it is replaced.
    pub fn offer_transfer(
        &self,
        caller: &Caller,
        entered: &Entered,
        to: UserId,
    ) -> Result<Transfer, Error> {
        let expires_at = self.now().plus(TRANSFER_LIFE);
        let offer = Transfer { from: caller.user, to, expires_at };
        self.ledgers.change(&entered.ctx, &entered.via, |documents, changes| {
            let member = found(documents, to)?.it;
            no_owner(documents, to)?;
            if member.status != MemberStatus::Active {
                return Err(Error::new("invalid_state", "only an active member can be an owner"));
            }
            changes.put(&offer);
            changes.act(Act::done("transfer.offered", Member::KIND, to.to_string()));
            Ok(())
        })?;
        Ok(offer)
    }

    /// Makes the caller an owner beside the one who has offered it; the tenant is theirs then.
    pub fn accept_transfer(&self, caller: &Caller, entered: &Entered) -> Result<(), Error> {
        caller.session()?;
        self.ledgers.change(&entered.ctx, &entered.via, |documents, changes| {
            let offer = self.open_offer(documents)?.filter(|it| it.to == caller.user);
            let offer = offer.ok_or_else(nothing_offered)?;
            // Whoever has offered it may be no owner any more.
            let giver = documents.get::<Member>(&offer.from.to_string())?;
            let is_owner = |it: &Member| {
                *it.role == *Role::Owner.as_str() && it.status == MemberStatus::Active
            };
            giver.filter(is_owner).ok_or_else(nothing_offered)?;
            let mut tenant = documents.get::<Tenant>("tenant")?.ok_or_else(no_tenant)?;
            let mut member = found(documents, caller.user)?.it;
            member.role = Role::Owner.as_str().into();
            member.permissions = None;
            member.data_access = None;
            tenant.owner_id = caller.user;
            changes.put(&tenant);
            changes.put(&member);
            changes.remove::<Transfer>(&offer.id());
            let act = Act::done("tenant.transferred", Member::KIND, caller.user.to_string());
            changes.act(act.with(json!({ "from": offer.from })));
            Ok(())
        })
    }

    /// Takes an offer back, as who has made it or another owner, or declines it.
    pub fn withdraw_transfer(&self, caller: &Caller, entered: &Entered) -> Result<(), Error> {
        caller.session()?;
        self.ledgers.change(&entered.ctx, &entered.via, |documents, changes| {
            let is_owner = entered.standing.role == Role::Owner;
            let offer = self.open_offer(documents)?;
            let offer = offer.filter(|it| is_owner || it.to == caller.user);
            let offer = offer.ok_or_else(nothing_offered)?;
            changes.remove::<Transfer>(&offer.id());
            changes.act(Act::done("transfer.withdrawn", Member::KIND, offer.to.to_string()));
            Ok(())
        })
    }

    fn open_offer(&self, documents: &Documents) -> Result<Option<Transfer>, Error> {
        let offer = documents.get::<Transfer>("transfer")?;
        Ok(offer.filter(|it| it.expires_at > self.now()))
    }
}

fn nothing_offered() -> Error {
    Error::new("not_found", "nobody offers you this tenant; ask an owner to")
}
