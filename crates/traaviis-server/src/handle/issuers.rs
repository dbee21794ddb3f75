//! Handlers of issuers that members of a tenant log in at.

use traaviis_api::types::{
    Page,
    issuers::{RoleRule, TenantIssuerAnswer, TenantIssuerRequest},
};
use traaviis_model::Text;
use traaviis_platform::{
    Error,
    oidc::tenants::{IssuerAsk, Rule, Secret, TenantIssuer},
};

use super::{Answer, Call};
use crate::convert::time;

fn shown(call: &Call<'_>, it: TenantIssuer) -> Result<TenantIssuerAnswer, Error> {
    let slug = call.platform().tenant(&call.entered()?.ctx)?.it.slug;
    let base = &call.platform().settings().issuer;
    let address = |what: &str| format!("{base}/api/v1/auth/oidc/{slug}.{}/{what}", it.name);
    let (login_url, redirect_url) = (address("start"), address("callback"));
    let rules = it.rules.into_iter();
    Ok(TenantIssuerAnswer {
        login_url,
        redirect_url,
        name: it.name.to_string(),
        url: it.url,
        client_id: it.client_id,
        has_secret: it.secret.is_some(),
        domains: it.domains,
        rules: rules.map(|it| RoleRule { when: it.when, role: it.role.to_string() }).collect(),
        otherwise: it.otherwise.map(|it| it.to_string()),
        verified_at: time(it.verified_at),
    })
}

pub(super) fn list(call: &Call<'_>) -> Result<Answer, Error> {
    let all = call.platform().tenant_issuers(call.entered()?)?;
    let items: Result<Vec<_>, Error> = all.into_iter().map(|it| shown(call, it.it)).collect();
    call.tell(&Page::whole(items?))
}

pub(super) fn set(call: &Call<'_>) -> Result<Answer, Error> {
    let TenantIssuerRequest { url, client_id, client_secret, domains, rules, otherwise } =
        call.request.json()?;
    let rules = rules.into_iter().map(|it| Rule { when: it.when, role: it.role.into() });
    let ask = IssuerAsk {
        url,
        client_id,
        client_secret: client_secret.map(Secret::new),
        domains,
        rules: rules.collect(),
        otherwise: otherwise.map(Text::from),
    };
    let set = call.platform().set_tenant_issuer(call.entered()?, call.request.part("name"), ask)?;
    call.versioned(&shown(call, set.it)?, set.version)
}

pub(super) fn remove(call: &Call<'_>) -> Result<Answer, Error> {
    call.platform().remove_tenant_issuer(call.entered()?, call.request.part("name"))?;
    call.done()
}
