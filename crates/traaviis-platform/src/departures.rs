//! Who and what goes for ever: users who delete their account, tenants whose grace is over.
//!
//! Each is marked first, which takes effect at once, and taken apart then in steps that can be
//! repeated; whatever a crash leaves is finished by [`Platform::finish_departures`].

use serde_json::json;
use traaviis_model::{TenantCtx, TenantId, UserId};

use crate::{
    audit::{Act, Via},
    caller::{Caller, named_in},
    engine::Engine,
    error::Error,
    ledger::{Document, Documents},
    members::{departs, not_last_owner},
    platform::{Platform, engine},
    session::Session,
    tenant::{Invitation, Member, Slug, Tenant, TenantStatus},
    tenants::DELETE_GRACE,
    user::{PlatformRole, User, UserStatus},
};

/// Whether the last owner of a tenant may go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Owners {
    /// One stays.
    OneStays,
    /// Their account is deleted already.
    MayGo,
}

/// Says whether a tenant would be without an owner. One that is being deleted needs none.
fn is_last_owner(documents: &Documents, id: UserId) -> Result<bool, Error> {
    let found = documents.get::<Tenant>("tenant")?;
    let is_going = found.is_none_or(|it| it.status == TenantStatus::Deleting);
    Ok(!is_going && not_last_owner(documents, id).is_err())
}

fn last_owner_of(tenants: &[TenantId]) -> Error {
    let message = "you are the last owner of a tenant; hand it over with `POST \
                   /tenants/{t}/transfer`, or delete it, then repeat this";
    Error::new("last_owner", message).with_details(json!({ "tenants": tenants }))
}

impl Platform {
    /// Deletes the caller's account: sessions end, all tenants are left, and what is about the
    /// person is erased with their key. Audit entries keep the id.
    pub fn delete_account(&self, caller: &Caller) -> Result<(), Error> {
        caller.session()?;
        let id = caller.user;
        let owned = self.owned_alone(id)?;
        if !owned.is_empty() {
            return Err(last_owner_of(&owned));
        }
        // Two owners who go at the same moment have each seen the other; who is second stays.
        for tenant in self.lookup(|it| it.tenants(id)) {
            self.depart(&named_in(caller, tenant), &caller.via, id, Owners::OneStays)?;
        }
        self.ledgers.change(&caller.on_platform(), &caller.via, |documents, changes| {
            let mut user = documents.get::<User>(&id.to_string())?.ok_or_else(absent)?;
            let admins = self.lookup(|it| it.admins().clone());
            if admins.len() == 1 && admins.contains(&id) {
                let message = "nobody else looks after the platform; make somebody first";
                return Err(Error::new("last_owner", message));
            }
            user.status = UserStatus::Deleted;
            user.platform_role = PlatformRole::User;
            user.updated_at = self.now();
            changes.put(&user);
            for session in documents.list::<Session>(&format!("{id}/"))? {
                changes.remove::<Session>(&session.it.id());
            }
            changes.act(Act::done("user.deleted", User::KIND, user.id()));
            Ok(())
        })?;
        self.take_apart(id, Some(caller))
    }

    /// Returns the tenants that would be without an owner. One that is being deleted needs none.
    fn owned_alone(&self, id: UserId) -> Result<Vec<TenantId>, Error> {
        let mut owned = Vec::new();
        for tenant in self.lookup(|it| it.tenants(id)) {
            let ctx = TenantCtx::keeper_of(tenant);
            let is_last = self.ledgers.read(&ctx, |it| is_last_owner(it, id))?;
            owned.extend(is_last.then_some(tenant));
        }
        Ok(owned)
    }

    /// Takes a user out of one tenant, if they are in it.
    fn depart(&self, ctx: &TenantCtx, via: &Via, id: UserId, owners: Owners) -> Result<(), Error> {
        self.ledgers.change(ctx, via, |documents, changes| {
            if documents.get::<Member>(&id.to_string())?.is_none() {
                return Ok(());
            }
            if owners == Owners::OneStays && is_last_owner(documents, id)? {
                return Err(last_owner_of(&[ctx.tenant()]));
            }
            departs(documents, changes, id)?;
            changes.act(Act::done("member.left", Member::KIND, id.to_string()));
            Ok(())
        })
    }

    /// Takes a user out of everything, and erases what is about the person.
    fn take_apart(&self, id: UserId, caller: Option<&Caller>) -> Result<(), Error> {
        for tenant in self.lookup(|it| it.tenants(id)) {
            let ctx = match caller {
                Some(caller) => named_in(caller, tenant),
                None => TenantCtx::keeper_of(tenant),
            };
            let via = caller.map_or_else(engine, |it| it.via.clone());
            self.depart(&ctx, &via, id, Owners::MayGo)?;
        }
        let platform = TenantCtx::platform();
        self.vault.destroy(&platform, &id.to_string(), self.now())?;
        // Only now: whoever finds the user knows that there may be more to do.
        self.ledgers.change(&platform, &engine(), |documents, changes| {
            if documents.get::<User>(&id.to_string())?.is_some() {
                changes.remove::<User>(&id.to_string());
                changes.act(Act::done("user.erased", User::KIND, id.to_string()));
            }
            Ok(())
        })
    }

    /// Finishes what a crash has left of deletions, and destroys tenants whose grace is over;
    /// called from time to time. Returns the tenants that were destroyed.
    pub fn finish_departures(&self, engine: &dyn Engine) -> Result<Vec<TenantId>, Error> {
        // One that cannot go yet keeps no other from going.
        let (mut destroyed, mut failed) = (Vec::new(), None);
        let users = self.ledgers.read(&TenantCtx::platform(), |it| it.list::<User>(""))?;
        for user in users.iter().filter(|it| it.it.status == UserStatus::Deleted) {
            failed = self.take_apart(user.it.id, None).err().or(failed);
        }
        for id in self.ledgers.tenants() {
            let ctx = TenantCtx::keeper_of(id);
            let tenant = self.ledgers.read(&ctx, |it| it.get::<Tenant>("tenant"))?;
            let is_over = |it: &Tenant| {
                it.status == TenantStatus::Deleting
                    && it.deleting_since.is_some_and(|at| self.now().since(at) >= DELETE_GRACE)
            };
            if let Some(tenant) = tenant.filter(is_over) {
                match self.destroy(&ctx, &tenant, engine) {
                    Ok(()) => destroyed.push(id),
                    Err(error) => failed = Some(error),
                }
            }
        }
        failed.map_or(Ok(destroyed), Err)
    }

    /// Tells the engine of the tenants that were destroyed, so that it goes on with what it could
    /// not finish; called when a process begins.
    pub fn forget_destroyed(&self, engine: &dyn Engine) -> Result<(), Error> {
        for id in self.ledgers.tenants() {
            let ctx = TenantCtx::keeper_of(id);
            let tenant = self.ledgers.read(&ctx, |it| it.get::<Tenant>("tenant"))?;
            if tenant.is_some_and(|it| it.status == TenantStatus::Destroyed) {
                engine.destroy(&ctx)?;
            }
        }
        Ok(())
    }

    /// Destroys a tenant: what runs is ended, keys and secrets and documents go, the short name is
    /// free. What is left is that it was there.
    fn destroy(&self, ctx: &TenantCtx, tenant: &Tenant, runs: &dyn Engine) -> Result<(), Error> {
        let id = tenant.id;
        runs.destroy(ctx)?;
        for invitation in self.ledgers.read(ctx, |it| it.list::<Invitation>(""))? {
            let subject = crate::invitations::subject_of(invitation.it.id);
            self.vault.destroy(ctx, &subject, self.now())?;
        }
        let stored = self.ledgers.stored(ctx)?;
        let platform = TenantCtx::platform();
        self.ledgers.change(&platform, &engine(), |documents, changes| {
            for slug in &tenant.former_slugs {
                if documents.get::<Slug>(slug)?.is_some_and(|it| it.tenant_id == id) {
                    changes.remove::<Slug>(slug);
                }
            }
            if documents.get::<Slug>(&tenant.slug)?.is_some_and(|it| it.tenant_id == id) {
                changes.remove::<Slug>(&tenant.slug);
                changes.act(Act::done("tenant.destroyed", Tenant::KIND, id.to_string()));
            }
            Ok(())
        })?;
        // Last: until then the tenant is found again, and all of this repeated.
        self.ledgers.change(ctx, &engine(), |_, changes| {
            changes.put(&Tenant {
                name: "(destroyed)".into(),
                slug: "".into(),
                former_slugs: Vec::new(),
                domain: None,
                settings: json!({}),
                status: TenantStatus::Destroyed,
                ..tenant.clone()
            });
            stored.into_iter().for_each(|it| changes.remove_any(it));
            changes.act(Act::done("tenant.destroyed", Tenant::KIND, id.to_string()));
            Ok(())
        })
    }
}

fn absent() -> Error {
    Error::new("user_inactive", "this account is deleted")
}
