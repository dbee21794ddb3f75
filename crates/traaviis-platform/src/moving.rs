//! A tenant that moves to another installation: its people, its short name, who has vouched for its
//! trail, and how far what follows the log has come for it.
//!
//! The ledger of the tenant moves record by record and is none of this module's business. Here is
//! what stands outside of it, in the ledger of the platform, or means something else in another
//! log.
//!
//! Invariants: whoever is there already stays as they are; who was erased there stays erased; an
//! address or a short name that somebody else has is a collision, and changes nothing.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::json;
use traaviis_model::{TenantCtx, TenantId, Text, Timestamp, UserId};
use traaviis_ports::Position;

use crate::{
    acts,
    audit::{Act, Via},
    checkpoints::{AuditKey, PublicKey},
    error::Error,
    ledger::Document,
    platform::Platform,
    tenant::{Member, ServiceAccount, Slug, Tenant},
    user::{Personal, PlatformRole, User, UserStatus},
    webhooks::{Progress, Webhook},
};

/// What moves beside a ledger. It holds what is about people in the open, so it is only ever
/// written into something that is sealed.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Moved {
    slug: Text,
    users: Vec<MovedUser>,
    /// Keys that have signed ends of its trail.
    keys: Vec<(PublicKey, Timestamp)>,
}

/// A member of a tenant that moves.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct MovedUser {
    id: UserId,
    status: UserStatus,
    created_at: Timestamp,
    personal: Personal,
}

/// Who came, or would come.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Met {
    /// Users who are new.
    pub new: usize,
    /// Users who are there.
    pub present: usize,
    /// Why they cannot come.
    pub collisions: Vec<String>,
}

impl Moved {
    /// Returns how many users there are.
    pub fn count(&self) -> usize {
        self.users.len()
    }
}

impl Platform {
    /// Returns what moves with a tenant; none when no server keeps it.
    pub fn take_out(&self, tenant: TenantId) -> Result<Option<Moved>, Error> {
        let ctx = TenantCtx::keeper_of(tenant);
        let (found, members) =
            self.ledgers.read(&ctx, |it| (it.get::<Tenant>("tenant"), it.list::<Member>("")));
        let Some(found) = found? else { return Ok(None) };
        let mut users = Vec::new();
        for member in members? {
            let user = self.user_there(member.it.user_id)?;
            let Some(user) = user.filter(|it| it.status != UserStatus::Deleted) else { continue };
            let Some(personal) = user.personal(&*self.vault)? else { continue };
            let User { id, status, created_at, .. } = user;
            users.push(MovedUser { id, status, created_at, personal });
        }
        let keys = self.ledgers.read(&TenantCtx::platform(), |it| it.list::<AuditKey>(""))?;
        let keys = keys.into_iter().map(|it| (it.it.public(), it.it.made_at)).collect();
        Ok(Some(Moved { slug: found.slug, users, keys }))
    }

    /// Says how what moves with a tenant stands to who is there; changes nothing.
    pub fn meet_moved(&self, tenant: TenantId, moved: &Moved) -> Result<Met, Error> {
        let mut met = Met::default();
        for user in &moved.users {
            let holder = self.lookup(|it| it.user(&user.personal.email));
            match (self.user_there(user.id)?, holder.filter(|it| *it != user.id)) {
                (Some(_), _) => met.present += 1,
                (None, None) => met.new += 1,
                (None, Some(holder)) => met.collisions.push(format!(
                    "the e-mail address of user `{}` is that of `{holder}`, who is there",
                    user.id
                )),
            }
        }
        let holder = self.lookup(|it| it.slug(&moved.slug)).filter(|it| *it != tenant);
        if let Some(holder) = holder {
            met.collisions.push(format!(
                "the short name `{}` of tenant `{tenant}` is that of `{holder}`",
                moved.slug
            ));
        }
        Ok(met)
    }

    /// Takes in who has vouched for the trail of a tenant, before the trail itself comes: whoever
    /// reads the log meets a key before what it has signed.
    pub fn take_moved_keys(&self, moved: &Moved) -> Result<(), Error> {
        self.ledgers.change(&TenantCtx::platform(), &via(), |documents, changes| {
            for (PublicKey { kid, x }, made_at) in &moved.keys {
                if documents.get::<AuditKey>(kid)?.is_none() {
                    changes.put(&AuditKey::of_elsewhere(kid.clone(), x.clone(), *made_at));
                    changes.act(Act::done("audit_key.imported", AuditKey::KIND, kid.clone()));
                }
            }
            Ok(())
        })
    }

    /// Returns the positions of the log that the documents of a tenant name, by what they are for.
    pub fn positions_of(&self, tenant: TenantId) -> Result<Vec<Position>, Error> {
        let ctx = TenantCtx::keeper_of(tenant);
        let mut all: Vec<Position> = acts::place_of(&self.ledgers, &ctx)?.into_iter().collect();
        for (webhook, progress) in self.webhooks_of(&ctx)? {
            all.push(progress.map_or(webhook.from, |it| it.position));
        }
        Ok(all)
    }

    fn webhooks_of(&self, ctx: &TenantCtx) -> Result<Vec<(Webhook, Option<Progress>)>, Error> {
        self.ledgers.read(ctx, |documents| {
            let with = |it: Webhook| {
                let progress = documents.get::<Progress>(&it.id)?;
                Ok((it, progress))
            };
            documents.list::<Webhook>("")?.into_iter().map(|it| with(it.it)).collect()
        })
    }

    /// Takes in everybody who moves with a tenant whose ledger is there, and says in it where
    /// `places` of the log are now that its documents name.
    pub fn take_moved(
        &self,
        tenant: TenantId,
        moved: &Moved,
        places: &BTreeMap<Position, Position>,
    ) -> Result<Met, Error> {
        let (ctx, now) = (TenantCtx::keeper_of(tenant), self.now());
        let claim = Slug { slug: moved.slug.clone(), tenant_id: tenant };
        if self.lookup(|it| it.slug(&moved.slug)) != Some(tenant) {
            self.ledgers.change(&TenantCtx::platform(), &via(), |_, changes| {
                changes.put(&claim);
                Ok(())
            })?;
        }
        let (mut met, mut gone) = (Met::default(), Vec::new());
        for member in self.ledgers.read(&ctx, |it| it.list::<Member>(""))? {
            let id = member.it.user_id;
            let name = id.to_string();
            if self.ledgers.get::<ServiceAccount>(&ctx, &name)?.is_some() {
                continue;
            }
            let comes = moved.users.iter().find(|it| it.id == id);
            match (self.user_there(id)?, comes) {
                (Some(user), _) if user.status != UserStatus::Deleted => met.present += 1,
                (None, Some(comes)) => {
                    self.take_moved_user(comes, now)?;
                    met.new += 1;
                }
                // Erased here, or there before it moved.
                _ => gone.push(name),
            }
        }
        let hooks = self.webhooks_of(&ctx)?;
        let acts = acts::place_of(&self.ledgers, &ctx)?;
        self.ledgers.change(&ctx, &via(), |_, changes| {
            for id in &gone {
                changes.remove::<Member>(id);
                changes.act(Act::done("member.removed", Member::KIND, id.clone()));
            }
            for (webhook, progress) in hooks {
                let at = progress.map_or(webhook.from, |it| it.position);
                let position = places.get(&at).copied().unwrap_or(at);
                changes.put(&Progress { id: webhook.id, position });
            }
            if let Some(place) = acts.and_then(|it| places.get(&it)) {
                acts::put_place(changes, *place);
            }
            let act = Act::done("tenant.imported", Tenant::KIND, tenant.to_string());
            changes.act(act.with(json!({ "users": met.new, "present": met.present })));
            Ok(())
        })?;
        Ok(met)
    }

    fn take_moved_user(&self, comes: &MovedUser, now: Timestamp) -> Result<(), Error> {
        let MovedUser { id, status, created_at, personal } = comes;
        let user = User {
            id: *id,
            status: *status,
            // Who looks after one installation does not look after another.
            platform_role: PlatformRole::User,
            rights: 1,
            created_at: *created_at,
            updated_at: now,
            last_login: None,
            sealed: personal.seal(&*self.vault, *id, now)?,
        };
        self.ledgers.change(&TenantCtx::platform(), &via(), |_, changes| {
            if self.lookup(|it| it.user(&personal.email)).is_some() {
                let message = "an e-mail address of a member is taken meanwhile";
                return Err(Error::new("import_collision", message));
            }
            changes.put(&user);
            changes.act(Act::done("user.imported", User::KIND, user.id()));
            Ok(())
        })
    }

    fn user_there(&self, id: UserId) -> Result<Option<User>, Error> {
        let found = self.ledgers.get::<User>(&TenantCtx::platform(), &id.to_string())?;
        Ok(found.map(|it| it.it))
    }
}

fn via() -> Via {
    Via { way: "import", ..Via::default() }
}
