//! Use cases of a tenant: making one, its settings, handing it over, giving it up.

use serde_json::{Value as Json, json};
use traaviis_model::{Span, TenantCtx, TenantId, Text, UserId, Zone, form, zone::UTC};
use traaviis_policy::access::{Action, Freshness};

use crate::{
    audit::{Act, Via},
    caller::{Caller, Entered, WANTS_MFA, as_user, no_tenant},
    error::Error,
    expected::Expected,
    ledger::{Document, Documents, Versioned},
    platform::Platform,
    rules::Rules,
    tenant::{
        self, ENCRYPTION, FORMER_SLUGS_MAX, Member, MemberStatus, OPEN_HOOKS, REQUIRE_MFA, Slug,
        TENANTS_MADE_MAX, TIMEZONE, Tenant, TenantStatus, slug_of,
    },
};

/// How long a tenant that is to be deleted can be brought back.
pub const DELETE_GRACE: Span = Span::secs(30 * 24 * 3_600);
/// Bytes of the settings of a tenant as JSON.
pub const SETTINGS_BYTES_MAX: usize = 64 << 10;
/// Short names that are tried before a random one is taken.
const SLUG_TRIES: u32 = 50;

/// What of a tenant is changed; what is absent stays.
#[derive(Clone, Debug, Default)]
pub struct TenantChange {
    /// Name.
    pub name: Option<String>,
    /// Short name; the one before still means the tenant.
    pub slug: Option<String>,
    /// Domain; an empty text takes it away.
    pub domain: Option<String>,
}

impl Platform {
    /// Makes a tenant for the caller.
    pub fn create_tenant(
        &self,
        caller: &Caller,
        name: &str,
        slug: Option<&str>,
    ) -> Result<Versioned<Tenant>, Error> {
        self.permit(caller, Action::Own, Freshness::Any)?;
        caller.session()?;
        let tenant = self.make_tenant(caller.user, name, slug, &caller.via)?;
        self.tenant(&TenantCtx::keeper_of(tenant.id))
    }

    pub(crate) fn make_tenant(
        &self,
        owner: UserId,
        name: &str,
        slug: Option<&str>,
        via: &Via,
    ) -> Result<Tenant, Error> {
        let name = tenant::name(name)?;
        let made = self.tenants_of(owner)?.iter().filter(|it| it.tenant.owner_id == owner).count();
        if made >= TENANTS_MADE_MAX {
            let message = format!("one user makes at most {TENANTS_MADE_MAX} tenants");
            return Err(Error::new("quota_exceeded", message));
        }
        let (id, now) = (TenantId(self.fresh_id()?), self.now());
        let slug = match slug {
            Some(slug) => {
                let slug = tenant::slug(slug)?;
                self.claim(id, &slug, via)?.then_some(slug).ok_or_else(taken)?
            }
            None => self.claim_any(id, &slug_of(&name), via)?,
        };
        let tenant = Tenant {
            id,
            name,
            slug,
            former_slugs: Vec::new(),
            domain: None,
            owner_id: owner,
            status: TenantStatus::Active,
            plan: self.settings.default_plan.as_str().into(),
            settings: json!({}),
            created_at: now,
            deleting_since: None,
        };
        let member = Member {
            user_id: owner,
            role: "owner".into(),
            permissions: None,
            data_access: None,
            status: MemberStatus::Active,
            joined_at: now,
            invited_by: None,
        };
        self.ledgers.change(&as_user(id, owner), via, |_, changes| {
            changes.put(&tenant);
            changes.put(&member);
            let act = Act::done("tenant.created", Tenant::KIND, id.to_string());
            changes.act(act.with(json!({ "owner": owner, "slug": tenant.slug })));
            Ok(())
        })?;
        Ok(tenant)
    }

    /// Takes a short name for a tenant; says whether it was free. One that was taken for a tenant
    /// that never came to be is free.
    fn claim(&self, tenant_id: TenantId, slug: &Text, via: &Via) -> Result<bool, Error> {
        self.ledgers.change(&TenantCtx::platform(), via, |documents, changes| {
            if let Some(taken) = documents.get::<Slug>(slug)?
                && taken.tenant_id != tenant_id
                && self.tenant(&TenantCtx::keeper_of(taken.tenant_id)).is_ok()
            {
                return Ok(false);
            }
            changes.put(&Slug { slug: slug.clone(), tenant_id });
            Ok(true)
        })
    }

    fn claim_any(&self, id: TenantId, wanted: &str, via: &Via) -> Result<Text, Error> {
        for number in 1..=SLUG_TRIES {
            let slug: Text = match number {
                1 => wanted.into(),
                number => format!("{wanted}-{number}").into(),
            };
            if self.claim(id, &slug, via)? {
                return Ok(slug);
            }
        }
        let digits = self.entropy.bytes::<4>()?.map(|it| format!("{it:02x}")).concat();
        let slug: Text = format!("{}-{digits}", &wanted[..wanted.len().min(30)]).into();
        match self.claim(id, &slug, via)? {
            true => Ok(slug),
            false => Err(Error::new("already_exists", "no short name is free; choose one")),
        }
    }

    /// Returns a tenant.
    pub fn tenant(&self, ctx: &TenantCtx) -> Result<Versioned<Tenant>, Error> {
        self.ledgers.get::<Tenant>(ctx, "tenant")?.ok_or_else(no_tenant)
    }

    /// Changes what a tenant is called.
    pub fn change_tenant(
        &self,
        entered: &Entered,
        expected: impl Into<Expected>,
        change: &TenantChange,
    ) -> Result<Versioned<Tenant>, Error> {
        let name = change.name.as_deref().map(tenant::name).transpose()?;
        if change.domain.as_ref().is_some_and(|it| form::DOMAIN.read(it).is_none()) {
            let rule = format!("a domain has at most {} characters", form::DOMAIN.most);
            return Err(Error::invalid("/domain", rule));
        }
        let expected = expected.into();
        let slug = change.slug.as_deref().map(tenant::slug).transpose()?;
        if let Some(slug) = &slug {
            expected.check(&self.tenant(&entered.ctx)?)?;
            if !self.claim(entered.ctx.tenant(), slug, &entered.via)? {
                return Err(taken());
            }
        }
        let changed = self.alter_tenant(entered, expected, "tenant.changed", |tenant| {
            tenant.name = name.unwrap_or_else(|| tenant.name.clone());
            if let Some(slug) = slug {
                rename(tenant, slug);
            }
            if let Some(domain) = &change.domain {
                tenant.domain = Some(domain.trim().to_lowercase()).filter(|it| !it.is_empty());
            }
            Ok(json!({ "name": tenant.name, "slug": tenant.slug, "domain": tenant.domain }))
        });
        if change.slug.is_some() {
            self.free_slugs(entered)?;
        }
        changed
    }

    /// Frees the short names that a tenant has taken and does not have: the oldest, and one whose
    /// change came to nothing.
    fn free_slugs(&self, entered: &Entered) -> Result<(), Error> {
        let id = entered.ctx.tenant();
        self.ledgers.change(&TenantCtx::platform(), &entered.via, |documents, changes| {
            // Read while no other name can be taken.
            let tenant = self.tenant(&entered.ctx)?.it;
            let taken = documents.list::<Slug>("")?.into_iter().map(|it| it.it);
            let free = taken.filter(|it| {
                it.tenant_id == id
                    && it.slug != tenant.slug
                    && !tenant.former_slugs.contains(&it.slug)
            });
            free.for_each(|it| changes.remove::<Slug>(&it.slug));
            Ok(())
        })
    }

    /// Merges settings into those of a tenant (RFC 7396).
    pub fn change_settings(
        &self,
        entered: &Entered,
        expected: impl Into<Expected>,
        patch: &Json,
    ) -> Result<Versioned<Tenant>, Error> {
        let before = self.tenant(&entered.ctx)?.it.settings;
        let altered = self.alter_documents(entered, expected.into(), "tenant.configured", {
            |documents, tenant| {
                merge(&mut tenant.settings, patch);
                if tenant.settings.get(TIMEZONE) != before.get(TIMEZONE) {
                    self.check_zone(documents, &zone_in(&tenant.settings)?)?;
                }
                check_mfa(&tenant.settings, entered)?;
                check_hooks(&tenant.settings)?;
                Rules::check(&tenant.settings, self.settings.access_ttl)?;
                let is_all = check_encryption(&tenant.settings)?;
                if tenant.settings.to_string().len() > SETTINGS_BYTES_MAX {
                    let rule = format!("settings have at most {SETTINGS_BYTES_MAX} bytes");
                    return Err(Error::invalid("", rule));
                }
                if is_all != check_encryption(&before).unwrap_or_default() {
                    // Before it is said, so that what is said to be sealed is.
                    let keeper = TenantCtx::keeper_of(entered.ctx.tenant());
                    self.vault.seal_all(&keeper, is_all, self.now())?;
                }
                let keys = patch.as_object().into_iter().flat_map(|it| it.keys());
                Ok(json!({ "keys": keys.collect::<Vec<_>>() }))
            }
        })?;
        self.zone_has_changed();
        Ok(altered)
    }

    /// Marks a tenant for deletion; its name must be typed.
    pub fn delete_tenant(
        &self,
        entered: &Entered,
        typed: &str,
    ) -> Result<Versioned<Tenant>, Error> {
        let now = self.now();
        self.alter_tenant(entered, Expected::ANY, "tenant.deleted", |tenant| {
            if typed != &*tenant.slug {
                let rule = format!("type the short name `{}` to confirm", tenant.slug);
                return Err(Error::invalid("/confirm", rule));
            }
            tenant.status = TenantStatus::Deleting;
            tenant.deleting_since = Some(now);
            Ok(json!({ "until": now.plus(DELETE_GRACE) }))
        })
    }

    /// Brings a tenant back that was marked for deletion.
    pub fn restore_tenant(&self, entered: &Entered) -> Result<Versioned<Tenant>, Error> {
        self.alter_tenant(entered, Expected::ANY, "tenant.restored", |tenant| {
            if tenant.status != TenantStatus::Deleting {
                return Err(Error::new("invalid_state", "the tenant is not being deleted"));
            }
            tenant.status = TenantStatus::Active;
            tenant.deleting_since = None;
            Ok(Json::Null)
        })
    }

    fn alter_tenant(
        &self,
        entered: &Entered,
        expected: Expected,
        action: &'static str,
        alter: impl FnOnce(&mut Tenant) -> Result<Json, Error>,
    ) -> Result<Versioned<Tenant>, Error> {
        self.alter_documents(entered, expected, action, |_, tenant| alter(tenant))
    }

    fn alter_documents(
        &self,
        entered: &Entered,
        expected: Expected,
        action: &'static str,
        alter: impl FnOnce(&Documents, &mut Tenant) -> Result<Json, Error>,
    ) -> Result<Versioned<Tenant>, Error> {
        self.ledgers.change(&entered.ctx, &entered.via, |documents, changes| {
            let found = documents.versioned::<Tenant>("tenant")?.ok_or_else(no_tenant)?;
            expected.check(&found)?;
            let mut tenant = found.it;
            let facts = alter(documents, &mut tenant)?;
            changes.put(&tenant);
            changes.act(Act::done(action, Tenant::KIND, tenant.id.to_string()).with(facts));
            Ok(())
        })?;
        self.tenant(&entered.ctx)
    }
}

fn taken() -> Error {
    Error::new("already_exists", "this short name is taken; choose another one")
}

/// Gives a tenant another short name; those that it had go on to mean it, unless they are too many.
fn rename(tenant: &mut Tenant, slug: Text) {
    if slug == tenant.slug {
        return;
    }
    tenant.former_slugs.retain(|it| *it != slug);
    tenant.former_slugs.push(std::mem::replace(&mut tenant.slug, slug));
    let too_many = tenant.former_slugs.len().saturating_sub(FORMER_SLUGS_MAX);
    tenant.former_slugs.drain(..too_many);
}

/// Refuses a setting of hooks that is no yes or no.
fn check_hooks(settings: &Json) -> Result<(), Error> {
    match settings.get(OPEN_HOOKS) {
        None | Some(Json::Bool(_)) => Ok(()),
        Some(_) => Err(Error::invalid("/open_hooks", "this is true or false")),
    }
}

/// Returns the time zone that settings name.
fn zone_in(settings: &Json) -> Result<Zone, Error> {
    let name = match settings.get(TIMEZONE) {
        None => UTC,
        Some(it) => it.as_str().unwrap_or_default(),
    };
    Zone::read(name).ok_or_else(|| {
        Error::invalid("/timezone", "this is the name of a time zone such as `Europe/Berlin`")
    })
}

/// Says whether everything is to be sealed.
fn check_encryption(settings: &Json) -> Result<bool, Error> {
    match settings.get(ENCRYPTION).map(Json::as_str) {
        None | Some(Some("people")) => Ok(false),
        Some(Some("all")) => Ok(true),
        Some(_) => Err(Error::invalid("/encryption", "this is `all` or `people`")),
    }
}

/// Refuses a demand for two factors that is no yes or no, or that its author does not meet: they
/// would be the first to stay outside.
fn check_mfa(settings: &Json, entered: &Entered) -> Result<(), Error> {
    match settings.get(REQUIRE_MFA) {
        None | Some(Json::Bool(false)) => Ok(()),
        Some(Json::Bool(true)) if entered.is_mfa => Ok(()),
        Some(Json::Bool(true)) => Err(Error::new("second_factor_required", WANTS_MFA)),
        Some(_) => Err(Error::invalid("/require_mfa", "this is true or false")),
    }
}

/// Merges a patch into a value (RFC 7396).
pub(crate) fn merge(value: &mut Json, patch: &Json) {
    let Json::Object(patch) = patch else {
        *value = patch.clone();
        return;
    };
    if !value.is_object() {
        *value = json!({});
    }
    for (key, patch) in patch {
        match (value.as_object_mut(), patch) {
            (Some(map), Json::Null) => drop(map.remove(key)),
            (Some(map), patch) => merge(map.entry(key).or_insert(Json::Null), patch),
            (None, _) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patches_merge_as_the_rfc_shows() {
        for (value, patch, expected) in [
            (json!({"a": "b"}), json!({"a": "c"}), json!({"a": "c"})),
            (json!({"a": "b"}), json!({"b": "c"}), json!({"a": "b", "b": "c"})),
            (json!({"a": "b"}), json!({"a": null}), json!({})),
            (json!({"a": ["b"]}), json!({"a": "c"}), json!({"a": "c"})),
            (
                json!({"a": {"b": "c"}}),
                json!({"a": {"b": "d", "c": null}}),
                json!({"a": {"b": "d"}}),
            ),
            (json!({"a": [1]}), json!({"a": {"b": null, "c": 1}}), json!({"a": {"c": 1}})),
        ] {
            let mut merged = value;
            merge(&mut merged, &patch);
            assert_eq!(merged, expected);
        }
    }
}
