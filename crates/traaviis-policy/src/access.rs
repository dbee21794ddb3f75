//! Who may do what: one decision for every interface, with its reason.
//!
//! The decision depends on nothing but its arguments, and denies by default. Its order is that of
//! the laws: who is suspended may nothing; another tenant looks absent; then the permission; then
//! what narrows it. Nothing that comes later can allow what an earlier law denies.

use traaviis_model::{
    TenantId,
    permission::{Permission, PermissionSet, Role},
};

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Something of one's own: profile, sessions, tenants.
    Own,
    /// Reading what every member may read.
    TenantAccess,
    /// Something that needs a permission.
    Needs(Permission),
    /// Something that only an owner may do: deleting a tenant, handing it over.
    OwnerOnly,
    /// Looking after the platform.
    Platform,
}

/// Whether the act is one that asks for a fresh proof of who one is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Freshness {
    /// It is not.
    Any,
    /// It is.
    Fresh,
}

/// How somebody stands in the tenant that the act is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// The tenant.
    pub tenant: TenantId,
    /// It is neither suspended nor being deleted.
    pub is_tenant_active: bool,
    /// The membership is neither an invitation nor suspended.
    pub is_member_active: bool,
    /// Their role; the base of a custom one.
    pub role: Role,
    /// What they may do: their own list, or that of the role.
    pub permissions: PermissionSet,
}

/// Who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subject {
    /// The user, key or session is neither suspended nor revoked.
    pub is_active: bool,
    /// Looks after the platform.
    pub is_platform_admin: bool,
    /// How they stand in the tenant, if they are a member.
    pub standing: Option<Standing>,
    /// What an API key is limited to.
    pub scopes: Option<PermissionSet>,
    /// They have proved who they are a short while ago.
    pub is_fresh: bool,
}

/// Why not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Denial {
    /// The user, the membership, the tenant or the key is not active.
    Inactive,
    /// They are no member, so for them there is no such tenant.
    Elsewhere,
    /// A permission is missing.
    Missing(Permission),
    /// Only an owner may.
    OwnerOnly,
    /// Only who looks after the platform may.
    AdminOnly,
    /// They must prove who they are again.
    Stale,
}

impl Subject {
    /// Returns what they may do in a tenant, within the scopes of a key.
    pub fn permissions(&self) -> PermissionSet {
        let own = self.standing.map_or(PermissionSet::EMPTY, |it| it.permissions);
        self.scopes.map_or(own, |scopes| own.and(scopes))
    }
}

/// Decides.
pub fn can(
    subject: &Subject,
    action: Action,
    tenant: Option<TenantId>,
    freshness: Freshness,
) -> Result<(), Denial> {
    if !subject.is_active {
        return Err(Denial::Inactive);
    }
    match action {
        Action::Own => {}
        Action::Platform if subject.is_platform_admin && subject.scopes.is_none() => {}
        Action::Platform => return Err(Denial::AdminOnly),
        Action::TenantAccess | Action::Needs(_) | Action::OwnerOnly => {
            in_tenant(subject, action, tenant)?;
        }
    }
    match freshness {
        Freshness::Fresh if !subject.is_fresh => Err(Denial::Stale),
        _ => Ok(()),
    }
}

fn in_tenant(subject: &Subject, action: Action, tenant: Option<TenantId>) -> Result<(), Denial> {
    let standing = subject.standing.filter(|it| Some(it.tenant) == tenant);
    let standing = standing.ok_or(Denial::Elsewhere)?;
    if !standing.is_member_active {
        return Err(Denial::Elsewhere);
    }
    // An owner must be able to bring a tenant back that is about to be deleted.
    if !standing.is_tenant_active && action != Action::OwnerOnly {
        return Err(Denial::Inactive);
    }
    match action {
        Action::Needs(permission) if !subject.permissions().has(permission) => {
            Err(Denial::Missing(permission))
        }
        // A key never acts as an owner.
        Action::OwnerOnly if standing.role != Role::Owner || subject.scopes.is_some() => {
            Err(Denial::OwnerOnly)
        }
        _ => Ok(()),
    }
}

/// Says whether somebody may give a role and permissions to a member, or take them away: nobody
/// grants more than they hold, and nobody changes who stands above them.
pub fn may_grant(
    giver: &Standing,
    to: Role,
    permissions: PermissionSet,
    now: Option<Role>,
) -> Result<(), &'static str> {
    if rank(to) > rank(giver.role) || now.is_some_and(|it| rank(it) > rank(giver.role)) {
        return Err("nobody changes a member above their own role, or raises one above it");
    }
    match giver.permissions.covers(permissions) {
        true => Ok(()),
        false => Err("nobody grants more than they hold"),
    }
}

/// Returns how high a role stands.
pub fn rank(role: Role) -> u8 {
    match role {
        Role::Viewer => 0,
        Role::Developer => 1,
        Role::Admin => 2,
        Role::Owner => 3,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use uuid::Uuid;

    use super::*;

    const HERE: TenantId = TenantId(Uuid::from_u128(1));
    const THERE: TenantId = TenantId(Uuid::from_u128(2));

    fn standing(role: Role) -> Standing {
        Standing {
            tenant: HERE,
            is_tenant_active: true,
            is_member_active: true,
            role,
            permissions: PermissionSet::of(role),
        }
    }

    fn member(role: Role) -> Subject {
        Subject {
            is_active: true,
            is_platform_admin: false,
            standing: Some(standing(role)),
            scopes: None,
            is_fresh: true,
        }
    }

    fn ask(subject: &Subject, action: Action) -> Result<(), Denial> {
        can(subject, action, Some(HERE), Freshness::Any)
    }

    #[test]
    fn each_law_denies_with_its_reason() {
        let owner = member(Role::Owner);
        assert_eq!(ask(&owner, Action::OwnerOnly), Ok(()));
        assert_eq!(ask(&member(Role::Admin), Action::OwnerOnly), Err(Denial::OwnerOnly));
        let needs = Action::Needs(Permission::WorkflowExecute);
        let missing = Err(Denial::Missing(Permission::WorkflowExecute));
        assert_eq!(ask(&member(Role::Viewer), needs), missing);
        assert_eq!(ask(&member(Role::Viewer), Action::TenantAccess), Ok(()));
        assert_eq!(ask(&Subject { is_active: false, ..owner }, needs), Err(Denial::Inactive));
        assert_eq!(can(&owner, needs, Some(THERE), Freshness::Any), Err(Denial::Elsewhere));
        assert_eq!(ask(&Subject { standing: None, ..owner }, needs), Err(Denial::Elsewhere));
        let stale = Subject { is_fresh: false, ..owner };
        assert_eq!(can(&stale, needs, Some(HERE), Freshness::Fresh), Err(Denial::Stale));
        assert_eq!(ask(&owner, Action::Platform), Err(Denial::AdminOnly));
        let key = Subject { scopes: Some(PermissionSet::of(Role::Viewer)), ..owner };
        assert_eq!(ask(&key, needs), missing, "a key is held to its scopes");
        assert_eq!(ask(&key, Action::OwnerOnly), Err(Denial::OwnerOnly), "and is no owner");
        let closed = Standing { is_tenant_active: false, ..standing(Role::Owner) };
        let closed = Subject { standing: Some(closed), ..owner };
        assert_eq!(ask(&closed, Action::TenantAccess), Err(Denial::Inactive));
        assert_eq!(ask(&closed, Action::OwnerOnly), Ok(()), "so that it can be brought back");
    }

    fn roles() -> impl Strategy<Value = Role> {
        proptest::sample::select(Role::ALL)
    }

    fn permissions() -> impl Strategy<Value = Permission> {
        proptest::sample::select(Permission::ALL)
    }

    proptest! {
        #[test]
        fn a_higher_role_may_what_a_lower_one_may(a in roles(), b in roles(), p in permissions()) {
            let (low, high) = if rank(a) < rank(b) { (a, b) } else { (b, a) };
            let allowed = |role| ask(&member(role), Action::Needs(p)).is_ok();
            prop_assert!(!allowed(low) || allowed(high));
        }

        #[test]
        fn who_is_suspended_may_nothing(role in roles(), p in permissions(), which in 0..3) {
            let mut subject = member(role);
            match which {
                0 => subject.is_active = false,
                1 => subject.standing.as_mut().unwrap().is_member_active = false,
                _ => subject.standing.as_mut().unwrap().is_tenant_active = false,
            }
            prop_assert!(ask(&subject, Action::Needs(p)).is_err());
        }

        #[test]
        fn nobody_raises_anybody_above_themselves(giver in roles(), to in roles(), now in roles()) {
            let may = may_grant(&standing(giver), to, PermissionSet::of(to), Some(now)).is_ok();
            prop_assert_eq!(may, rank(to) <= rank(giver) && rank(now) <= rank(giver));
        }

        #[test]
        fn scopes_only_take_away(role in roles(), p in permissions(), scope in roles()) {
            let key = Subject { scopes: Some(PermissionSet::of(scope)), ..member(role) };
            let with_key = ask(&key, Action::Needs(p)).is_ok();
            prop_assert!(!with_key || ask(&member(role), Action::Needs(p)).is_ok());
        }
    }
}
