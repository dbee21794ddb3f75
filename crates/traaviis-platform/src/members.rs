//! Use cases of members: who is in a tenant, with which role, and who must go.
//!
//! Laws: the last owner cannot leave, be removed, suspended, or given another role or less than all
//! permissions; nobody grants more than they hold or shows more than they see; nobody changes who
//! stands above them.

use serde_json::json;
use traaviis_model::{
    RoleId, Text, UserId,
    permission::{Permission, PermissionSet, Role},
};
use traaviis_policy::access::{Standing, may_grant};

use crate::{
    audit::Act,
    caller::{Caller, Entered, role_of, standing_of},
    error::Error,
    expected::Expected,
    ledger::{Changes, Document, Documents, Versioned},
    platform::Platform,
    service_accounts,
    tenant::{
        ApiKey, CustomRole, DataAccess, Invitation, Member, MemberStatus, ROLES_MAX, ServiceAccount,
    },
};

/// What is changed about a member; what is absent stays.
#[derive(Clone, Debug, Default)]
pub struct MemberChange {
    /// Role; the list of permissions is that of the new role then, unless one is given.
    pub role: Option<Text>,
    /// Permissions.
    pub permissions: Option<PermissionSet>,
    /// What they see.
    pub data_access: Option<DataAccess>,
    /// How they stand.
    pub status: Option<MemberStatus>,
}

/// A role that is made or replaced.
#[derive(Clone, Debug)]
pub struct RoleGiven {
    /// Name.
    pub name: String,
    /// How high it stands.
    pub base: Role,
    /// What it carries.
    pub permissions: PermissionSet,
    /// What of the data it sees.
    pub data_access: Option<DataAccess>,
}

impl Platform {
    /// Returns the members of a tenant, by id.
    pub fn members(&self, entered: &Entered) -> Result<Vec<Versioned<Member>>, Error> {
        self.ledgers.read(&entered.ctx, |it| it.list::<Member>(""))
    }

    /// Returns a member.
    pub fn member(&self, entered: &Entered, id: UserId) -> Result<Versioned<Member>, Error> {
        let found = self.ledgers.get::<Member>(&entered.ctx, &id.to_string())?;
        found.ok_or_else(|| Error::not_found(Member::KIND, &id.to_string()))
    }

    /// Changes what a member may do.
    pub fn change_member(
        &self,
        entered: &Entered,
        id: UserId,
        expected: Expected,
        change: &MemberChange,
    ) -> Result<Versioned<Member>, Error> {
        self.ledgers.change(&entered.ctx, &entered.via, |documents, changes| {
            let found = found(documents, id)?;
            expected.check(&found)?;
            let mut member = found.it;
            let (before, saw) = standing(documents, id)?;
            if let Some(role) = &change.role {
                member.role.clone_from(role);
                member.permissions = None;
            }
            member.permissions = change.permissions.or(member.permissions);
            member.data_access = change.data_access.or(member.data_access);
            member.status = change.status.unwrap_or(member.status);
            let (role, permissions, sees) = role_of(documents, &member.role)?;
            let permissions = member.permissions.unwrap_or(permissions);
            granted(&entered.standing, role, permissions, Some(before.role))?;
            let sees = member.data_access.unwrap_or(sees);
            shown(entered, sees, Some(saw))?;
            if role == Role::Owner {
                service_accounts::no_owner(documents, id)?;
            }
            if !is_owner(&member) {
                not_last_owner(documents, id)?;
            }
            changes.put(&member);
            let action = match change.status {
                Some(MemberStatus::Suspended) => "member.suspended",
                Some(MemberStatus::Active) => "member.activated",
                None => "member.changed",
            };
            let facts = json!({
                "role": member.role, "permissions": permissions, "data_access": sees,
            });
            changes.act(Act::done(action, Member::KIND, id.to_string()).with(facts));
            Ok(())
        })?;
        self.member(entered, id)
    }

    /// Takes somebody out of a tenant.
    pub fn remove_member(
        &self,
        entered: &Entered,
        id: UserId,
        expected: &Expected,
    ) -> Result<(), Error> {
        self.ledgers.change(&entered.ctx, &entered.via, |documents, changes| {
            expected.check(&found(documents, id)?)?;
            let (before, _) = standing(documents, id)?;
            granted(&entered.standing, before.role, PermissionSet::EMPTY, Some(before.role))?;
            not_last_owner(documents, id)?;
            departs(documents, changes, id)?;
            changes.act(Act::done("member.removed", Member::KIND, id.to_string()));
            Ok(())
        })
    }

    /// Takes the caller out of a tenant.
    pub fn leave(&self, caller: &Caller, entered: &Entered) -> Result<(), Error> {
        caller.session()?;
        let id = caller.user;
        self.ledgers.change(&entered.ctx, &entered.via, |documents, changes| {
            found(documents, id)?;
            not_last_owner(documents, id)?;
            departs(documents, changes, id)?;
            changes.act(Act::done("member.left", Member::KIND, id.to_string()));
            Ok(())
        })
    }

    /// Returns the roles that a tenant has made, by id.
    pub fn roles(&self, entered: &Entered) -> Result<Vec<Versioned<CustomRole>>, Error> {
        self.ledgers.read(&entered.ctx, |it| it.list::<CustomRole>(""))
    }

    /// Returns a role that a tenant has made.
    pub fn role(&self, entered: &Entered, id: RoleId) -> Result<Versioned<CustomRole>, Error> {
        let found = self.ledgers.get::<CustomRole>(&entered.ctx, &id.to_string())?;
        found.ok_or_else(|| Error::not_found(CustomRole::KIND, &id.to_string()))
    }

    /// Makes a role, or replaces one.
    pub fn put_role(
        &self,
        entered: &Entered,
        replaced: Option<(RoleId, Expected)>,
        given: RoleGiven,
    ) -> Result<Versioned<CustomRole>, Error> {
        let RoleGiven { name, base, permissions, data_access } = given;
        let name = crate::tenant::name(&name)?;
        let id = match &replaced {
            Some((id, _)) => *id,
            None => RoleId(self.fresh_id()?),
        };
        self.ledgers.change(&entered.ctx, &entered.via, |documents, changes| {
            let roles = documents.list::<CustomRole>("")?;
            match &replaced {
                Some((id, expected)) => {
                    let found = roles.iter().find(|it| it.it.id == *id);
                    let found =
                        found.ok_or_else(|| Error::not_found(CustomRole::KIND, &id.to_string()))?;
                    expected.check(found)?;
                }
                None if roles.len() >= ROLES_MAX => {
                    let message = format!("a tenant makes at most {ROLES_MAX} roles");
                    return Err(Error::new("quota_exceeded", message));
                }
                None => {}
            }
            if roles.iter().any(|it| it.it.id != id && it.it.name.eq_ignore_ascii_case(&name)) {
                return Err(Error::new("already_exists", "there is a role with this name"));
            }
            let before = match replaced {
                Some(_) => Some(role_of(documents, &id.to_string())?),
                None => None,
            };
            // Whoever holds the role stands as high as it did so far.
            granted(&entered.standing, base, permissions, before.map(|it| it.0))?;
            let sees = data_access.unwrap_or_else(|| DataAccess::of(base));
            shown(entered, sees, before.map(|it| it.2))?;
            let role = CustomRole { id, name: name.clone(), base, permissions, data_access };
            changes.put(&role);
            let action = if replaced.is_some() { "role.changed" } else { "role.created" };
            let facts = json!({
                "name": name, "base": base, "permissions": permissions, "data_access": sees,
            });
            changes.act(Act::done(action, CustomRole::KIND, id.to_string()).with(facts));
            Ok(())
        })?;
        let found = self.ledgers.get::<CustomRole>(&entered.ctx, &id.to_string())?;
        found.ok_or_else(|| Error::not_found(CustomRole::KIND, &id.to_string()))
    }

    /// Deletes a role that nobody has.
    pub fn delete_role(
        &self,
        entered: &Entered,
        id: RoleId,
        expected: impl Into<Expected>,
    ) -> Result<(), Error> {
        let expected = expected.into();
        self.ledgers.change(&entered.ctx, &entered.via, |documents, changes| {
            let found = documents.versioned::<CustomRole>(&id.to_string())?;
            let found = found.ok_or_else(|| Error::not_found(CustomRole::KIND, &id.to_string()))?;
            expected.check(&found)?;
            let word = id.to_string();
            let members = documents.list::<Member>("")?;
            let count = members.iter().filter(|it| *it.it.role == *word).count();
            if count > 0 {
                let message =
                    format!("{count} members have this role; give them another one first");
                return Err(Error::new("invalid_state", message));
            }
            changes.remove::<CustomRole>(&word);
            changes.act(Act::done("role.deleted", CustomRole::KIND, word));
            Ok(())
        })
    }

    /// Returns what the caller may do in a tenant, and what they see of its data.
    pub fn permissions(entered: &Entered) -> (PermissionSet, DataAccess) {
        (entered.standing.permissions, entered.data_access)
    }
}

/// Takes a member out with everything that acts for them. What is put first is the member, whom the
/// audit entry tells of.
pub(crate) fn departs(
    documents: &Documents,
    changes: &mut Changes,
    id: UserId,
) -> Result<(), Error> {
    changes.remove::<Member>(&id.to_string());
    if documents.get::<ServiceAccount>(&id.to_string())?.is_some() {
        changes.remove::<ServiceAccount>(&id.to_string());
    }
    for key in documents.list::<ApiKey>("")?.into_iter().filter(|it| it.it.acts_for() == id) {
        changes.remove::<ApiKey>(&key.it.id.to_string());
    }
    Ok(())
}

pub(crate) fn found(documents: &Documents, id: UserId) -> Result<Versioned<Member>, Error> {
    let found = documents.versioned::<Member>(&id.to_string())?;
    found.ok_or_else(|| Error::not_found(Member::KIND, &id.to_string()))
}

fn standing(documents: &Documents, id: UserId) -> Result<(Standing, DataAccess), Error> {
    let found = standing_of(documents, id)?;
    found.ok_or_else(|| Error::not_found(Member::KIND, &id.to_string()))
}

/// Refuses to let somebody see more of the data than the giver does; owners decide about all of it.
pub(crate) fn shown(
    giver: &Entered,
    to: DataAccess,
    before: Option<DataAccess>,
) -> Result<(), Error> {
    match may_show(giver.standing.role, giver.data_access, to) || before == Some(to) {
        true => Ok(()),
        false => {
            let message = "nobody lets somebody see more of the data than they see themselves; \
                           ask an owner";
            Err(Error::new("insufficient_permissions", message))
        }
    }
}

/// Says whether somebody of a role who sees so much may let another see so much.
fn may_show(role: Role, own: DataAccess, to: DataAccess) -> bool {
    let is_no_more = to.payloads <= own.payloads && (own.pii_unmask || !to.pii_unmask);
    role == Role::Owner || is_no_more
}

/// Says whether a member could give now what an invitation of theirs gives: what is promised by
/// somebody who has left, or may do less since, is promised by nobody.
pub(crate) fn could_invite(documents: &Documents, invitation: &Invitation) -> Result<bool, Error> {
    if !role_exists(documents, &invitation.role)? {
        return Ok(false);
    }
    let Some((giver, sees)) = standing_of(documents, invitation.invited_by)? else {
        return Ok(false);
    };
    let (base, carried, to) = role_of(documents, &invitation.role)?;
    let permissions = invitation.permissions.unwrap_or(carried);
    Ok(giver.is_member_active
        && giver.permissions.has(Permission::TenantUserManagement)
        && may_grant(&giver, base, permissions, None).is_ok()
        && may_show(giver.role, sees, to))
}

/// Says whether a role is a word, or one that the tenant has made and not deleted.
fn role_exists(documents: &Documents, role: &str) -> Result<bool, Error> {
    Ok(role.parse::<Role>().is_ok() || documents.shared::<CustomRole>(role)?.is_some())
}

/// Refuses a grant that is not the giver's to make.
pub(crate) fn granted(
    giver: &Standing,
    to: Role,
    permissions: PermissionSet,
    now: Option<Role>,
) -> Result<(), Error> {
    // What somebody may pass on is what they may do, and every holder of a role holds its list.
    may_grant(giver, to, permissions, now).map_err(|why| {
        let manages = Permission::TenantUserManagement.as_str();
        let message = format!("{why}; ask somebody who may, with `{manages}` and a higher role");
        Error::new("insufficient_permissions", message)
    })
}

/// Says whether a member can do everything that owners do; one from whom something was taken could
/// not give it back.
fn is_owner(member: &Member) -> bool {
    *member.role == *Role::Owner.as_str()
        && member.status == MemberStatus::Active
        && member.permissions.is_none_or(|it| it == PermissionSet::of(Role::Owner))
}

/// Refuses to leave a tenant without an owner.
pub(crate) fn not_last_owner(documents: &Documents, id: UserId) -> Result<(), Error> {
    let owners = documents.list::<Member>("")?.into_iter().filter(|it| is_owner(&it.it));
    let owners: Vec<UserId> = owners.map(|it| it.it.user_id).collect();
    match owners.as_slice() {
        [only] if *only == id => Err(Error::new(
            "last_owner",
            "a tenant always has an owner; offer that to another member with `POST \
             /tenants/{t}/transfer` first",
        )),
        _ => Ok(()),
    }
}
