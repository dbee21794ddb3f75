//! Permissions and the roles that carry them.

use serde::{Deserialize, Serialize};

macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$of:meta])* $variant:ident = $word:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(rename_all = "snake_case")]
        pub enum $name { $($(#[$of])* $variant,)* }

        impl $name {
            /// All of them.
            pub const ALL: &[$name] = &[$($name::$variant),*];

            /// Returns the word on the wire.
            pub fn as_str(self) -> &'static str {
                match self { $($name::$variant => $word,)* }
            }
        }

        impl std::str::FromStr for $name {
            type Err = String;
            fn from_str(text: &str) -> Result<Self, String> {
                let found = $name::ALL.iter().find(|it| it.as_str() == text).copied();
                let words: Vec<&str> = $name::ALL.iter().map(|it| it.as_str()).collect();
                found.ok_or_else(|| format!("`{text}` is none of `{}`", words.join("`, `")))
            }
        }
    };
}

words! {
    /// What somebody may do.
    Permission {
        /// Make workflows.
        WorkflowCreate = "workflow_create",
        /// Change workflows, and instances by hand.
        WorkflowEdit = "workflow_edit",
        /// Delete workflows.
        WorkflowDelete = "workflow_delete",
        /// Start instances, send events, operate them.
        WorkflowExecute = "workflow_execute",
        /// Publish versions and take instances over to them.
        WorkflowDeploy = "workflow_deploy",
        /// Change how much runs.
        WorkflowScale = "workflow_scale",
        /// See workflows and instances.
        WorkflowMonitor = "workflow_monitor",
        /// Make named effects.
        EffectsCreate = "effects_create",
        /// Change them.
        EffectsEdit = "effects_edit",
        /// Delete them.
        EffectsDelete = "effects_delete",
        /// Run effects outside a state.
        EffectsExecute = "effects_execute",
        /// Change the tenant.
        TenantSettings = "tenant_settings",
        /// See and pay bills.
        TenantBilling = "tenant_billing",
        /// Invite and remove people.
        TenantUserManagement = "tenant_user_management",
        /// Use models.
        AiModelAccess = "ai_model_access",
        /// Use agents.
        AiCoordinationAccess = "ai_coordination_access",
        /// Make templates.
        TemplateCreate = "template_create",
        /// Publish them.
        TemplatePublish = "template_publish",
        /// Change them.
        TemplateManage = "template_manage",
        /// See analytics.
        AnalyticsView = "analytics_view",
        /// Take analytics along.
        AnalyticsExport = "analytics_export",
        /// See the audit log.
        AuditLogsView = "audit_logs_view",
        /// See the metrics of the system.
        SystemMetricsView = "system_metrics_view",
    }
}

words! {
    /// What somebody is in a tenant.
    Role {
        /// May do everything.
        Owner = "owner",
        /// Everything but the bills.
        Admin = "admin",
        /// Makes and runs workflows.
        Developer = "developer",
        /// Looks.
        Viewer = "viewer",
    }
}

impl Role {
    /// Says whether the role carries a permission.
    pub fn may(self, permission: Permission) -> bool {
        use Permission::{
            AiCoordinationAccess, AiModelAccess, AnalyticsView, EffectsCreate, EffectsEdit,
            EffectsExecute, SystemMetricsView, TemplateCreate, TemplateManage, TenantBilling,
            WorkflowCreate, WorkflowDeploy, WorkflowEdit, WorkflowExecute, WorkflowMonitor,
        };
        let looks = matches!(permission, WorkflowMonitor | AnalyticsView | SystemMetricsView);
        match self {
            Role::Owner => true,
            Role::Admin => permission != TenantBilling,
            Role::Developer => {
                looks
                    || matches!(
                        permission,
                        WorkflowCreate
                            | WorkflowEdit
                            | WorkflowExecute
                            | WorkflowDeploy
                            | EffectsCreate
                            | EffectsEdit
                            | EffectsExecute
                            | AiModelAccess
                            | AiCoordinationAccess
                            | TemplateCreate
                            | TemplateManage
                    )
            }
            Role::Viewer => looks,
        }
    }
}

/// Several permissions, as one word of bits.
///
/// On the wire a list of words in the order of [`Permission::ALL`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct PermissionSet(u32);

impl PermissionSet {
    /// None of them.
    pub const EMPTY: PermissionSet = PermissionSet(0);

    /// Returns all that a role carries.
    pub fn of(role: Role) -> PermissionSet {
        Permission::ALL.iter().copied().filter(|it| role.may(*it)).collect()
    }

    /// Returns them as bits, for tokens, which are short: bit n is the n-th of [`Permission::ALL`].
    pub fn bits(self) -> u32 {
        self.0
    }

    /// Reads bits; those that stand for no permission are left out.
    pub fn of_bits(bits: u32) -> PermissionSet {
        Permission::ALL.iter().copied().filter(|it| bits & (1 << *it as u32) != 0).collect()
    }

    /// Says whether a permission is among them.
    pub fn has(self, permission: Permission) -> bool {
        self.0 & (1 << permission as u32) != 0
    }

    /// Says whether all of `other` are among them.
    pub fn covers(self, other: PermissionSet) -> bool {
        self.0 & other.0 == other.0
    }

    /// Returns those that are in both.
    #[must_use]
    pub fn and(self, other: PermissionSet) -> PermissionSet {
        PermissionSet(self.0 & other.0)
    }

    /// Visits them in the order of [`Permission::ALL`].
    pub fn iter(self) -> impl Iterator<Item = Permission> {
        Permission::ALL.iter().copied().filter(move |it| self.has(*it))
    }
}

impl FromIterator<Permission> for PermissionSet {
    fn from_iter<I: IntoIterator<Item = Permission>>(permissions: I) -> PermissionSet {
        PermissionSet(permissions.into_iter().fold(0, |bits, it| bits | 1 << it as u32))
    }
}

impl Serialize for PermissionSet {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_seq(self.iter())
    }
}

impl<'de> Deserialize<'de> for PermissionSet {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        Ok(Vec::<Permission>::deserialize(from)?.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_grow_with_the_role_and_read_back() {
        let sets: Vec<PermissionSet> =
            Role::ALL.iter().rev().map(|it| PermissionSet::of(*it)).collect();
        assert!(sets.windows(2).all(|it| it[1].covers(it[0]) && !it[0].covers(it[1])));
        let viewer = serde_json::to_string(&sets[0]).unwrap();
        assert_eq!(viewer, r#"["workflow_monitor","analytics_view","system_metrics_view"]"#);
        assert_eq!(serde_json::from_str::<PermissionSet>(&viewer).unwrap(), sets[0]);
        assert_eq!(sets[3].iter().count(), Permission::ALL.len());
        assert_eq!(sets[3].and(sets[0]), sets[0]);
    }

    /// Tokens hold the bits: a permission that is new is added at the end, so that a token of the
    /// release before means what it meant.
    #[test]
    fn bits_read_back_and_their_places_stay() {
        for role in Role::ALL {
            let set = PermissionSet::of(*role);
            assert_eq!(PermissionSet::of_bits(set.bits()), set);
        }
        assert_eq!(PermissionSet::of_bits(u32::MAX), PermissionSet::of(Role::Owner));
        let places = ["workflow_create", "tenant_settings", "system_metrics_view"];
        let bit = |name: &str| {
            let set: PermissionSet = [name.parse::<Permission>().unwrap()].into_iter().collect();
            set.bits().trailing_zeros()
        };
        assert_eq!(places.map(bit), [0, 11, 22]);
    }

    #[test]
    fn roles_carry_as_many_permissions_as_the_language_says() {
        let count = |role: Role| Permission::ALL.iter().filter(|it| role.may(**it)).count();
        assert_eq!(Role::ALL.iter().map(|it| count(*it)).collect::<Vec<_>>(), [23, 22, 14, 3]);
    }

    #[test]
    fn words_read_back() {
        for it in Permission::ALL {
            assert_eq!(it.as_str().parse(), Ok(*it));
            assert_eq!(serde_json::to_string(it).unwrap(), format!("\"{}\"", it.as_str()));
        }
        assert!("workflow".parse::<Permission>().unwrap_err().contains("`workflow_create`"));
    }
}
