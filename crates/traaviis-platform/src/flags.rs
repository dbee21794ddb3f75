//! Feature flags, for all tenants and for single ones: documents of the platform.
//!
//! [`Flags`] is a handle that anything may hold and ask; it knows what is durable. Who looks after
//! the platform sets them.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, PoisonError, RwLock},
};

use serde::{Deserialize, Serialize};
use serde_json::{Value as Json, json};
use traaviis_model::{TenantCtx, TenantId, Text};
use traaviis_policy::{
    access::{Action, Freshness},
    flag::{FLAGS, Flag, Setting, flag},
};

use crate::{
    audit::Act, caller::Caller, error::Error, ledger::Document, platform::Platform, tenant::Tenant,
};

/// Tenants that one flag is set for by name; a share of all tenants has no such bound.
pub const FLAG_TENANTS_MAX: usize = 1_000;

/// How a flag is set.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FlagSet {
    /// Its name.
    pub name: Text,
    /// For all tenants; none is the default of the flag.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub setting: Option<Text>,
    /// For single tenants, before all others.
    #[serde(default)]
    pub tenants: BTreeMap<TenantId, Text>,
}

impl Document for FlagSet {
    const KIND: &'static str = "feature_flag";

    fn id(&self) -> Text {
        self.name.clone()
    }
}

/// What is changed about a flag; what is absent stays.
#[derive(Clone, Debug, Default)]
pub struct FlagChange {
    /// For all tenants; the inner none goes back to the default.
    pub setting: Option<Option<Setting>>,
    /// For single tenants; none is as for all others.
    pub tenants: BTreeMap<TenantId, Option<Setting>>,
}

#[derive(Debug)]
struct Known {
    setting: Option<Setting>,
    tenants: HashMap<TenantId, Setting>,
}

/// Says which features are on; cheap to clone, asks nobody and waits for nothing.
#[derive(Clone, Debug, Default)]
pub struct Flags {
    known: Arc<RwLock<HashMap<Text, Known>>>,
    /// What operators say in the place of the defaults.
    defaults: Arc<RwLock<HashMap<&'static str, Setting>>>,
}

impl Flags {
    /// Says whether a feature is on for a tenant. What is no flag is off.
    pub fn is_on(&self, tenant: TenantId, name: &str) -> bool {
        let Some(flag) = flag(name) else { return false };
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        let set = known.get(name);
        let own = set.and_then(|it| it.tenants.get(&tenant).copied());
        let setting = own.or(set.and_then(|it| it.setting));
        setting.unwrap_or_else(|| self.default_of(flag)).is_on(name, tenant)
    }

    /// Returns how a flag is while nobody has set it.
    pub fn default_of(&self, flag: &Flag) -> Setting {
        let defaults = self.defaults.read().unwrap_or_else(PoisonError::into_inner);
        defaults.get(flag.name).copied().unwrap_or(flag.default)
    }

    /// Lets a flag be otherwise while nobody has set it.
    pub fn set_default(&self, flag: &Flag, setting: Setting) {
        let mut defaults = self.defaults.write().unwrap_or_else(PoisonError::into_inner);
        defaults.insert(flag.name, setting);
    }

    /// Takes over what is durable now.
    pub(crate) fn put(&self, name: &str, body: Option<&Json>) {
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        let set: Option<FlagSet> = body.and_then(|it| FlagSet::deserialize(it).ok());
        let Some(set) = set else { return drop(known.remove(name)) };
        let read = |it: &Text| it.parse::<Setting>().ok();
        let tenants = set.tenants.iter().filter_map(|(id, it)| Some((*id, read(it)?)));
        let tenants = tenants.collect();
        known.insert(name.into(), Known { setting: set.setting.as_ref().and_then(read), tenants });
    }
}

impl Platform {
    /// Returns what says which features are on.
    pub fn flags(&self) -> Flags {
        self.flags.clone()
    }

    /// Returns all flags and how they are set.
    pub fn flags_set(&self, caller: &Caller) -> Result<Vec<(&'static Flag, FlagSet)>, Error> {
        self.permit(caller, Action::Platform, Freshness::Any)?;
        FLAGS.iter().map(|it| Ok((it, self.flag_set(it)?))).collect()
    }

    fn flag_set(&self, flag: &Flag) -> Result<FlagSet, Error> {
        let set = self.ledgers.get::<FlagSet>(&TenantCtx::platform(), flag.name)?;
        let unset = || FlagSet { name: flag.name.into(), setting: None, tenants: BTreeMap::new() };
        Ok(set.map_or_else(unset, |it| it.it))
    }

    /// Sets a flag, for all tenants or for single ones.
    pub fn set_flag(
        &self,
        caller: &Caller,
        name: &str,
        change: &FlagChange,
    ) -> Result<(&'static Flag, FlagSet), Error> {
        self.permit(caller, Action::Platform, Freshness::Fresh)?;
        let flag = flag(name).ok_or_else(|| Error::not_found("flag", name))?;
        for id in change.tenants.keys() {
            let ctx = TenantCtx::keeper_of(*id);
            if self.ledgers.get::<Tenant>(&ctx, "tenant")?.is_none() {
                return Err(Error::invalid(&format!("/tenants/{id}"), "there is no such tenant"));
            }
        }
        self.ledgers.change(&caller.on_platform(), &caller.via, |documents, changes| {
            let set = documents.get::<FlagSet>(name)?;
            let mut set = set.unwrap_or_else(|| FlagSet {
                name: name.into(),
                setting: None,
                tenants: BTreeMap::new(),
            });
            let text = |it: &Setting| Text::from(it.to_string());
            if let Some(setting) = &change.setting {
                set.setting = setting.as_ref().map(text);
            }
            for (id, setting) in &change.tenants {
                match setting {
                    Some(setting) => drop(set.tenants.insert(*id, text(setting))),
                    None => drop(set.tenants.remove(id)),
                }
            }
            if set.tenants.len() > FLAG_TENANTS_MAX {
                let message = format!("a flag is set for at most {FLAG_TENANTS_MAX} tenants");
                return Err(Error::new("quota_exceeded", message));
            }
            changes.put(&set);
            let facts = json!({ "setting": set.setting, "tenants": change.tenants.len() });
            changes.act(Act::done("flag.set", FlagSet::KIND, name).with(facts));
            Ok(())
        })?;
        Ok((flag, self.flag_set(flag)?))
    }
}
