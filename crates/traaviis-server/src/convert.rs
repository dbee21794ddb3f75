//! Domain to wire and back: plain code, one function a type.

use serde_json::json;
use traaviis_api::types::{
    identity::{LoginAnswer, PermissionsAnswer, SessionAnswer, TenantBrief, UserAnswer},
    jobs::{JobAnswer, JobProgress},
    tenants::{
        ApiKeyAnswer, DataAccessBody, InvitationAnswer, MemberAnswer, RoleAnswer,
        ServiceAccountAnswer, TenantAnswer, TransferAnswer,
    },
    workflows::{CheckAnswer, DraftAnswer, VersionBrief, WorkflowAnswer},
};
use traaviis_model::{
    SessionId, Timestamp,
    permission::{Permission, PermissionSet, Role},
};
use traaviis_platform::{
    Entered, Error,
    accounts::{Account, LoggedIn, TenantOf},
    engine::Checked,
    invitations::Invited,
    jobs::Job,
    service_accounts::ServiceAccountOf,
    session::Session,
    tenant::{ApiKey, CustomRole, DataAccess, Member, MemberStatus, Payloads, Tenant, Transfer},
    user::Profile,
    workflows::{Draft, Published, Workflow},
};

pub(crate) fn time(at: Timestamp) -> String {
    at.to_string()
}

fn words(permissions: PermissionSet) -> Vec<String> {
    permissions.iter().map(|it| it.as_str().to_owned()).collect()
}

/// Reads permissions that stand in a field.
pub fn permissions(field: &str, words: &[String]) -> Result<PermissionSet, Error> {
    let mut all = Vec::new();
    for (at, word) in words.iter().enumerate() {
        let known = aliased(word).parse::<Permission>();
        all.push(known.map_err(|error| Error::invalid(&format!("/{field}/{at}"), error))?);
    }
    Ok(all.into_iter().collect())
}

/// Returns the word that an older one stands for.
fn aliased(word: &str) -> &str {
    match word {
        "deploy" => "workflow_deploy",
        "scale" | "infrastructure_management" => "workflow_scale",
        "monitoring" => "workflow_monitor",
        "logs" => "audit_logs_view",
        "settings" => "tenant_settings",
        "billing" => "tenant_billing",
        "user_management" => "tenant_user_management",
        "delete_applications" => "workflow_delete",
        other => other,
    }
}

/// Reads what somebody sees.
pub fn data_access(body: &DataAccessBody) -> Result<DataAccess, Error> {
    let payloads = match &*body.payloads {
        "full" => Payloads::Full,
        "masked" => Payloads::Masked,
        "none" => Payloads::None,
        _ => {
            let rule = "this is `full`, `masked` or `none`";
            return Err(Error::invalid("/data_access/payloads", rule));
        }
    };
    Ok(DataAccess { payloads, pii_unmask: body.pii_unmask })
}

/// Returns the word for what somebody sees.
pub fn payloads(access: DataAccess) -> &'static str {
    match access.payloads {
        Payloads::Full => "full",
        Payloads::Masked => "masked",
        Payloads::None => "none",
    }
}

/// Tells what somebody may do in the tenant that they have entered.
pub fn permissions_of(entered: &Entered) -> PermissionsAnswer {
    PermissionsAnswer {
        tenant_id: entered.ctx.tenant().0,
        permissions: words(entered.standing.permissions),
        payloads: payloads(entered.data_access).into(),
    }
}

/// Tells what somebody sees.
fn data_access_body(it: DataAccess) -> DataAccessBody {
    DataAccessBody { payloads: payloads(it).into(), pii_unmask: it.pii_unmask }
}

/// Returns an account as its user sees it.
pub fn user(account: &Account) -> UserAnswer {
    let Account { user, personal, .. } = account;
    UserAnswer {
        id: user.id.0,
        email: personal.email.clone(),
        email_verified: personal.email_verified,
        name: personal.name.clone(),
        avatar_url: personal.avatar_url.clone(),
        locale: personal.locale.clone(),
        timezone: personal.timezone.clone(),
        status: user.status.as_str().into(),
        platform_role: user.platform_role.as_str().into(),
        created_at: time(user.created_at),
        last_login: user.last_login.map(time),
    }
}

/// Returns a tenant in short.
pub fn tenant_brief(of: &TenantOf) -> TenantBrief {
    TenantBrief {
        id: of.tenant.id.0,
        name: of.tenant.name.clone(),
        slug: of.tenant.slug.to_string(),
        role: of.role.to_string(),
        status: of.tenant.status.as_str().into(),
    }
}

/// Returns what a login gives.
pub fn login(logged_in: LoggedIn) -> LoginAnswer {
    LoginAnswer {
        access_token: logged_in.access_token,
        refresh_token: Some(logged_in.refresh_token),
        token_type: "Bearer".into(),
        expires_in: logged_in.expires_in.as_millis() / 1_000,
        user: user(&logged_in.account),
        tenant: logged_in.tenant.as_ref().map(tenant_brief),
        tenants: logged_in.tenants.iter().map(tenant_brief).collect(),
    }
}

/// Returns a session.
pub fn session(it: &Session, own: SessionId) -> SessionAnswer {
    SessionAnswer {
        id: it.id.0,
        current: it.id == own,
        authenticated_at: time(it.authenticated_at),
        last_used_at: time(it.last_used_at),
        expires_at: time(it.expires_at),
        ip_address: it.ip_address.as_ref().map(ToString::to_string),
        user_agent: it.user_agent.as_ref().map(ToString::to_string),
        amr: it.amr.iter().map(ToString::to_string).collect(),
    }
}

/// Returns a tenant.
pub fn tenant(it: &Tenant, member_count: usize) -> TenantAnswer {
    TenantAnswer {
        id: it.id.0,
        name: it.name.clone(),
        slug: it.slug.to_string(),
        former_slugs: it.former_slugs.iter().map(ToString::to_string).collect(),
        domain: it.domain.clone(),
        owner_id: it.owner_id.0,
        status: it.status.as_str().into(),
        plan: it.plan.to_string(),
        member_count,
        created_at: time(it.created_at),
    }
}

/// Returns a member.
pub fn member(it: &Member, (profile, service_account): (Profile, bool)) -> MemberAnswer {
    MemberAnswer {
        user_id: it.user_id.0,
        name: profile.name,
        avatar_url: profile.avatar_url,
        service_account,
        role: it.role.to_string(),
        permissions: it.permissions.map(words),
        data_access: it.data_access.map(data_access_body),
        status: member_status(it.status).into(),
        joined_at: time(it.joined_at),
        invited_by: it.invited_by.map(|it| it.0),
    }
}

fn member_status(status: MemberStatus) -> &'static str {
    match status {
        MemberStatus::Active => "active",
        MemberStatus::Suspended => "suspended",
    }
}

/// Returns a service account.
pub fn service_account(it: &ServiceAccountOf) -> ServiceAccountAnswer {
    ServiceAccountAnswer {
        id: it.account.id.0,
        name: it.account.name.clone(),
        role: it.member.role.to_string(),
        status: member_status(it.member.status).into(),
        created_by: it.account.created_by.0,
        created_at: time(it.account.created_at),
        key_count: it.key_count,
    }
}

/// Returns an ownership that is offered.
pub fn transfer(it: &Transfer) -> TransferAnswer {
    TransferAnswer { from: it.from.0, to: it.to.0, expires_at: time(it.expires_at) }
}

/// Returns a role that the tenant made.
pub fn role(it: &CustomRole) -> RoleAnswer {
    RoleAnswer {
        id: it.id.to_string(),
        name: it.name.clone(),
        base: it.base.as_str().into(),
        permissions: words(it.permissions),
        data_access: data_access_body(it.data_access.unwrap_or_else(|| DataAccess::of(it.base))),
        custom: true,
    }
}

/// Returns a role that every tenant has.
pub fn fixed_role(it: Role) -> RoleAnswer {
    RoleAnswer {
        id: it.as_str().into(),
        name: it.as_str().into(),
        base: it.as_str().into(),
        permissions: words(PermissionSet::of(it)),
        data_access: data_access_body(DataAccess::of(it)),
        custom: false,
    }
}

/// Returns an invitation.
pub fn invitation(it: Invited) -> InvitationAnswer {
    InvitationAnswer {
        id: it.invitation.id.0,
        email: it.email,
        role: it.invitation.role.to_string(),
        invited_by: it.invitation.invited_by.0,
        expires_at: time(it.invitation.expires_at),
        sent_count: it.invitation.sent_count,
        token: it.token,
    }
}

/// Returns an API key; the key itself only when it was just made.
pub fn api_key(it: &ApiKey, key: Option<String>) -> ApiKeyAnswer {
    ApiKeyAnswer {
        id: it.id.0,
        name: it.name.clone(),
        prefix: it.prefix.to_string(),
        created_by: it.created_by.0,
        scopes: words(it.scopes),
        created_at: time(it.created_at),
        expires_at: time(it.expires_at),
        last_used_at: it.last_used_at.map(time),
        ip_allow: it.ip_allow.iter().map(ToString::to_string).collect(),
        service_account: it.service_account.map(|it| it.0),
        key,
    }
}

/// Returns a published version in short.
pub fn version(it: &Published) -> VersionBrief {
    VersionBrief {
        version: it.version.to_string(),
        hash: it.hash.clone(),
        published_at: time(it.published_at),
        published_by: it.published_by.0,
        notes: it.notes.clone(),
        upgrade_plan: None,
    }
}

/// Returns a job.
pub fn job(it: &Job) -> JobAnswer {
    JobAnswer {
        id: it.id.parse().ok(),
        kind: it.kind.to_string(),
        status: json!(it.status).as_str().unwrap_or_default().to_owned(),
        progress: JobProgress { total: it.total, done: it.done, refused: it.refused },
        about: it.about.clone(),
        result: json!({ "refusals": it.refusals, "canary": it.canary }),
        error: it.error.clone(),
        made_at: Some(time(it.made_at)),
        updated_at: Some(time(it.updated_at)),
        ended_at: it.ended_at.map(time),
    }
}

/// Returns a workflow.
pub fn workflow(it: &Workflow, checked: Option<Checked>) -> WorkflowAnswer {
    WorkflowAnswer {
        name: it.name.to_string(),
        former_names: it.former.iter().map(ToString::to_string).collect(),
        description: it.description.as_ref().map(ToString::to_string),
        created_at: time(it.created_at),
        created_by: it.created_by.0,
        has_draft: it.has_draft,
        latest: it.latest().map(|it| it.version.to_string()),
        versions: it.versions.iter().map(version).collect(),
        diagnostics: checked.map(|it| it.diagnostics).unwrap_or_default(),
    }
}

/// Returns a draft.
pub fn draft(it: &Draft, checked: Option<Checked>) -> DraftAnswer {
    DraftAnswer {
        name: it.name.to_string(),
        text: it.text.clone(),
        updated_at: time(it.updated_at),
        updated_by: it.updated_by.0,
        diagnostics: checked.map(|it| it.diagnostics).unwrap_or_default(),
    }
}

/// Returns what was found in a document.
pub fn checked(it: Checked) -> CheckAnswer {
    CheckAnswer {
        valid: it.is_valid,
        name: it.name.map(|it| it.to_string()),
        version: it.version.map(|it| it.to_string()),
        hash: it.hash,
        diagnostics: it.diagnostics,
    }
}
