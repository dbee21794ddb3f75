//! Handlers of running the installation: feature flags.

use std::collections::BTreeMap;

use traaviis_api::types::{
    Page,
    admin::{FlagAnswer, FlagRequest},
};
use traaviis_model::TenantId;
use traaviis_platform::{
    Error,
    flags::{FlagChange, FlagSet},
};
use traaviis_policy::flag::{Flag, Setting};

use super::{Answer, Call};

fn flag((flag, set): &(&'static Flag, FlagSet)) -> FlagAnswer {
    FlagAnswer {
        name: flag.name.into(),
        what: flag.what.into(),
        default: flag.default.to_string(),
        setting: set.setting.as_ref().map(ToString::to_string),
        tenants: set.tenants.iter().map(|(id, it)| (id.0, it.to_string())).collect(),
    }
}

pub(super) fn flags(call: &Call<'_>) -> Result<Answer, Error> {
    let set = call.platform().flags_set(call.caller()?)?;
    call.tell(&Page::whole(set.iter().map(flag).collect()))
}

pub(super) fn set_flag(call: &Call<'_>) -> Result<Answer, Error> {
    let FlagRequest { setting, tenants } = call.request.json()?;
    let read = |pointer: &str, text: &str| {
        text.parse::<Setting>().map_err(|rule| Error::invalid(pointer, rule))
    };
    let setting = match setting.as_deref() {
        None => None,
        Some("default") => Some(None),
        Some(text) => Some(Some(read("/setting", text)?)),
    };
    let mut change = FlagChange { setting, tenants: BTreeMap::new() };
    for (id, text) in tenants {
        let setting = text.as_deref().map(|it| read(&format!("/tenants/{id}"), it));
        change.tenants.insert(TenantId(id), setting.transpose()?);
    }
    let name = call.request.part("name");
    call.tell(&flag(&call.platform().set_flag(call.caller()?, name, &change)?))
}
