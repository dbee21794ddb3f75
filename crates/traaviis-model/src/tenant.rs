//! The proof that a call acts for one tenant.
//!
//! Every port that reaches data takes a [`TenantCtx`]. There is no public field and no way to make
//! one from an id alone: the constructors name the authority they rest on, and `cargo xtask tidy`
//! keeps the list of files that may call them.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{
    ids::{InstanceId, Seq, TenantId, Text},
    permission::{Permission, PermissionSet, Role},
    record::{Actor, ActorKind, Header, Origin},
};

/// The tenant of what belongs to no tenant: users, and which tenants there are.
pub const PLATFORM: TenantId = TenantId(Uuid::nil());

/// One tenant, who acts in it with which rights, the record that made them act, and the request or
/// root that this belongs to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TenantCtx {
    tenant: TenantId,
    actor: Actor,
    /// Nothing for the engine, which carries out what somebody was allowed to start.
    role: Option<Role>,
    /// What they may do, where that is not what the role carries.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    permissions: Option<PermissionSet>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    cause: Option<Text>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    correlation: Option<Text>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    origin: Option<Box<Origin>>,
}

impl TenantCtx {
    /// The tenant of a single-user data directory, where whoever may read the files is the
    /// operator.
    pub fn local_operator() -> Self {
        TenantCtx::of(TenantId(Uuid::from_u128(1)), Actor::local(), Some(Role::Owner))
    }

    /// Somebody in a tenant who may do what the role carries; the engine without one.
    fn of(tenant: TenantId, actor: Actor, role: Option<Role>) -> Self {
        let (permissions, cause, correlation, origin) = (None, None, None, None);
        TenantCtx { tenant, actor, role, permissions, cause, correlation, origin }
    }

    /// Somebody whom the platform has recognised as acting in a tenant, and what they may do there.
    pub fn authenticated(
        tenant: TenantId,
        actor: Actor,
        role: Role,
        permissions: PermissionSet,
    ) -> Self {
        let permissions = Some(permissions).filter(|it| *it != PermissionSet::of(role));
        TenantCtx { permissions, ..TenantCtx::of(tenant, actor, Some(role)) }
    }

    /// The platform itself, which stands above all tenants and keeps who there is.
    pub fn platform() -> Self {
        TenantCtx::keeper_of(PLATFORM)
    }

    /// One tenant, for the platform, which looks after its documents.
    pub fn keeper_of(tenant: TenantId) -> Self {
        TenantCtx::of(tenant, Actor::engine(), None)
    }

    /// One tenant of a data directory, for its operator, who takes it out or in as a whole.
    pub fn operator_of(tenant: TenantId) -> Self {
        TenantCtx { tenant, ..TenantCtx::local_operator() }
    }

    /// Somebody whom the operator of a single-user data directory vouches for.
    pub fn local_member(name: Text, role: Role) -> Self {
        let actor = Actor { kind: ActorKind::User, id: name };
        TenantCtx { actor, role: Some(role), ..TenantCtx::local_operator() }
    }

    /// The tenant that a committed record names; for the scheduler, which acts for records only.
    pub fn of_record(header: &Header) -> Self {
        TenantCtx::of(header.tenant_id, Actor::engine(), None)
    }

    /// A tenant made up by a test.
    pub fn for_test(number: u128) -> Self {
        TenantCtx::of(TenantId(Uuid::from_u128(number)), Actor::local(), Some(Role::Owner))
    }

    /// The engine in the same tenant: what it does by itself is nobody's act.
    pub fn as_engine(&self) -> Self {
        TenantCtx::of(self.tenant, Actor::engine(), None)
    }

    /// The same because of a record of the tenant, which the records of the act will name. It is no
    /// act of somebody outside any more.
    pub fn because_of(&self, instance: InstanceId, seq: Seq) -> Self {
        let cause = Some(format!("{instance}:{seq}").into());
        TenantCtx { cause, origin: None, ..self.clone() }
    }

    /// The same for an act that came from somewhere, which the record of the act will tell.
    pub fn coming_from(self, origin: Origin) -> Self {
        TenantCtx { origin: Some(Box::new(origin)), ..self }
    }

    /// The same for a request or root, which the records of the act will name.
    pub fn belonging_to(&self, correlation: Text) -> Self {
        TenantCtx { correlation: Some(correlation), ..self.clone() }
    }

    /// Returns the tenant.
    pub fn tenant(&self) -> TenantId {
        self.tenant
    }

    /// Returns the role of who acts; none is the engine.
    pub fn role(&self) -> Option<Role> {
        self.role
    }

    /// Says whether who acts has a permission.
    pub fn may(&self, permission: Permission) -> bool {
        match self.permissions {
            Some(permissions) => permissions.has(permission),
            None => self.role.is_none_or(|it| it.may(permission)),
        }
    }

    /// Returns who acts.
    pub fn actor(&self) -> &Actor {
        &self.actor
    }

    /// Returns the record that made them act, as `INSTANCE:SEQ`.
    pub fn cause(&self) -> Option<&Text> {
        self.cause.as_ref()
    }

    /// Returns from where the act came, when somebody outside does it through an interface.
    pub fn origin(&self) -> Option<&Origin> {
        self.origin.as_deref()
    }

    /// Returns the request or root that the act belongs to.
    pub fn correlation(&self) -> Option<&Text> {
        self.correlation.as_ref()
    }
}
