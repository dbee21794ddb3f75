//! Users, tenants, roles and members of a document tree of ours.
//!
//! What is about a user rests sealed in their document. It comes if the keys of the directory that
//! the tree is in open it, or those of the directory that it comes into; it is sealed anew there.
//! Nobody gets more rights than they had: who was suspended stays so, what restricts a member comes
//! along, and who looked after the platform comes as a plain user.

use serde::de::DeserializeOwned;
use traaviis_model::TenantId;
use traaviis_platform::{
    importing::{FormerMember, FormerTenant, FormerUser},
    tenant::{CustomRole, Member, MemberStatus, Tenant, TenantStatus},
    user::{PlatformRole, User, UserStatus},
};
use traaviis_ports::Vault;
use traaviis_store::tree::{FileDocument, read_document};

/// What was taken, and what is said about it.
pub type Taken<T> = Result<(T, Option<String>), String>;

/// Says whether a file is a document of a tree of ours.
pub fn is_document(file: &serde_json::Value) -> bool {
    file["checksum"].is_string() && file["format"].is_u64()
}

/// Reads what is shown of a document.
fn read<T: DeserializeOwned>(bytes: &[u8], kind: &str) -> Result<(FileDocument, T), String> {
    let document = read_document(bytes)?;
    if document.kind != kind {
        return Err(format!("it is a document of kind `{}`, not `{kind}`", document.kind));
    }
    if document.body == b"\"[SEALED]\"" {
        return Err(
            "its tenant has everything sealed; move it with `traaviis tenant export`".into()
        );
    }
    let body = serde_json::from_slice(&document.body).map_err(|it| it.to_string())?;
    Ok((document, body))
}

fn tenant_of(document: &FileDocument) -> Result<TenantId, String> {
    document.tenant.ok_or_else(|| "it names no tenant".into())
}

/// Reads a user.
pub fn user(bytes: &[u8], vault: &dyn Vault) -> Taken<FormerUser> {
    let (_, user): (_, User) = read(bytes, "user")?;
    let is_suspended = match user.status {
        UserStatus::Active => false,
        UserStatus::Suspended => true,
        UserStatus::PendingVerification => return Err("the address was never confirmed".into()),
        UserStatus::Deleted => return Err("the account is being deleted".into()),
    };
    let personal = match user.personal(vault) {
        Ok(Some(personal)) => personal,
        Ok(None) => return Err("what is about the person was erased".into()),
        Err(error) => {
            let why = error.message;
            return Err(format!("what is about the person is sealed, and no key opens it: {why}"));
        }
    };
    let mut notes = Vec::new();
    if !personal.factors.is_empty() {
        notes.push("second factors are set up anew");
    }
    if user.platform_role == PlatformRole::PlatformAdmin {
        notes.push("whoever looked after the platform there does not by that here");
    }
    let former = FormerUser {
        id: user.id,
        email: personal.email,
        name: personal.name,
        password: personal.password,
        created_at: Some(user.created_at),
        is_suspended,
    };
    Ok((former, Some(notes.join("; ")).filter(|it| !it.is_empty())))
}

/// Reads a tenant.
pub fn tenant(bytes: &[u8]) -> Taken<FormerTenant> {
    let (_, tenant): (_, Tenant) = read(bytes, "tenant")?;
    if tenant.status != TenantStatus::Active {
        return Err(format!("it is {} there", tenant.status.as_str()));
    }
    let former = FormerTenant {
        id: tenant.id,
        name: tenant.name,
        slug: Some(tenant.slug.to_string()),
        owner: tenant.owner_id,
        created_at: Some(tenant.created_at),
        plan: Some(tenant.plan),
    };
    let is_plain = tenant.domain.is_none() && tenant.settings == serde_json::json!({});
    let note = "its domain and its settings are set anew".to_owned();
    Ok((former, Some(note).filter(|_| !is_plain)))
}

/// Reads a role.
pub fn role(bytes: &[u8]) -> Taken<(TenantId, CustomRole)> {
    let (document, role) = read(bytes, "role")?;
    Ok(((tenant_of(&document)?, role), None))
}

/// Reads a member.
pub fn member(bytes: &[u8]) -> Taken<FormerMember> {
    let (document, member): (_, Member) = read(bytes, "member")?;
    let former = FormerMember {
        tenant: tenant_of(&document)?,
        user: member.user_id,
        role: member.role,
        permissions: member.permissions,
        data_access: member.data_access,
        is_suspended: member.status == MemberStatus::Suspended,
        joined_at: Some(member.joined_at),
    };
    Ok((former, None))
}
