//! How API keys are used: from where they may be, and when they last were.
//!
//! A use is noted in memory; the document of the key follows once in an hour, so that a request
//! writes nothing. What a crash loses of it is an hour at most. Only the first use from a network
//! since the process began is entered in the audit trail, where rules look whether that is new.

use std::{
    collections::{BTreeSet, HashMap},
    net::IpAddr,
    sync::{
        Mutex, PoisonError, RwLock,
        atomic::{AtomicI64, Ordering},
    },
};

use ipnet::IpNet;
use serde_json::json;
use traaviis_model::{ApiKeyId, Span, TenantCtx, TenantId, Text, Timestamp, form::NETWORKS_MAX};
use traaviis_policy::watch::{self, network_of};

use crate::{
    audit::Act,
    caller::{Caller, named_in},
    error::Error,
    ledger::Document,
    platform::{Platform, engine},
    tenant::ApiKey,
};

/// How far the document of a key may be behind its use.
pub const NOTED_EVERY: Span = Span::secs(3_600);
/// Refusals of one key for its network are in the audit trail once in so long, so that whoever has
/// found a key cannot fill it.
pub const REFUSALS_NOTED_EVERY: Span = Span::secs(60);

/// Uses since the process began.
#[derive(Debug, Default)]
pub(crate) struct KeyUse {
    keys: RwLock<HashMap<ApiKeyId, Uses>>,
}

#[derive(Debug)]
struct Uses {
    tenant: TenantId,
    used: AtomicI64,
    /// When a refusal was last noted.
    refused: AtomicI64,
    /// Networks that it was used from.
    from: Mutex<BTreeSet<String>>,
}

impl KeyUse {
    /// Returns when a key was last used since the process began.
    pub fn last(&self, key: ApiKeyId) -> Option<Timestamp> {
        let keys = self.keys.read().unwrap_or_else(PoisonError::into_inner);
        let at = keys.get(&key)?.used.load(Ordering::Relaxed);
        (at > 0).then_some(Timestamp(at))
    }

    fn with<T>(&self, tenant: TenantId, key: ApiKeyId, ask: impl Fn(&Uses) -> T) -> T {
        let keys = self.keys.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(uses) = keys.get(&key) {
            return ask(uses);
        }
        drop(keys);
        // Once for each key; one that has ended is taken out when uses are noted.
        let mut keys = self.keys.write().unwrap_or_else(PoisonError::into_inner);
        ask(keys.entry(key).or_insert_with(|| Uses {
            tenant,
            used: AtomicI64::default(),
            refused: AtomicI64::default(),
            from: Mutex::default(),
        }))
    }

    /// Notes a use; says whether it is the first from a network. Of a key that moves more than
    /// may be remembered, nothing more is said: it was told of often enough.
    fn used(&self, tenant: TenantId, key: ApiKeyId, from: Option<IpAddr>, now: Timestamp) -> bool {
        self.with(tenant, key, |it| {
            it.used.store(now.0, Ordering::Relaxed);
            let Some(network) = from.map(network_of) else { return false };
            let mut known = it.from.lock().unwrap_or_else(PoisonError::into_inner);
            known.len() < watch::NETWORKS_MAX && known.insert(network)
        })
    }

    /// Says whether a refusal is to be noted.
    fn refused(&self, tenant: TenantId, key: ApiKeyId, now: Timestamp) -> bool {
        self.with(tenant, key, |it| {
            let last = it.refused.load(Ordering::Relaxed);
            let is_due = now.since(Timestamp(last)) >= REFUSALS_NOTED_EVERY;
            let order = Ordering::Relaxed;
            is_due && it.refused.compare_exchange(last, now.0, order, order).is_ok()
        })
    }

    fn all(&self) -> Vec<(TenantId, ApiKeyId, Timestamp)> {
        let keys = self.keys.read().unwrap_or_else(PoisonError::into_inner);
        let of = |(key, it): (&ApiKeyId, &Uses)| {
            (it.tenant, *key, Timestamp(it.used.load(Ordering::Relaxed)))
        };
        keys.iter().map(of).collect()
    }

    fn forget(&self, key: ApiKeyId) {
        self.keys.write().unwrap_or_else(PoisonError::into_inner).remove(&key);
    }
}

impl Platform {
    /// Notes a use of a key, and refuses one from a network that the key is not for.
    pub(crate) fn used_from(
        &self,
        caller: &Caller,
        tenant: TenantId,
        key: &ApiKey,
    ) -> Result<(), Error> {
        let (address, now) = (caller.via.ip_address.as_deref(), self.now());
        if is_allowed(&key.ip_allow, address) {
            let from = address.and_then(|it| it.parse().ok());
            if self.key_use.used(tenant, key.id, from, now) {
                let act = Act::done("api_key.used", ApiKey::KIND, key.id.to_string());
                let noted =
                    self.ledgers.change(&named_in(caller, tenant), &caller.via, |_, changes| {
                        changes.act(act);
                        Ok(())
                    });
                // Whoever only reads can do so while nothing can be written.
                drop(noted);
            }
            return Ok(());
        }
        if self.key_use.refused(tenant, key.id, now) {
            let act = Act::done("api_key.refused", ApiKey::KIND, key.id.to_string()).denied();
            let noted =
                self.ledgers.change(&named_in(caller, tenant), &caller.via, |_, changes| {
                    changes.act(act.with(json!({ "why": "network" })));
                    Ok(())
                });
            // The refusal stands whether or not there was room to note it.
            drop(noted);
        }
        Err(Error::new("forbidden", "this key may not be used from where you are"))
    }

    /// Puts into the documents of keys when they were last used; called from time to time.
    pub fn note_key_use(&self) -> Result<(), Error> {
        for (tenant, id, at) in self.key_use.all() {
            let ctx = TenantCtx::keeper_of(tenant);
            let key = self.ledgers.read(&ctx, |it| it.get::<ApiKey>(&id.to_string()))?;
            let Some(key) = key else {
                self.key_use.forget(id);
                continue;
            };
            let is_new = |it: &ApiKey| {
                at.0 > 0 && it.last_used_at.is_none_or(|last| at.since(last) >= NOTED_EVERY)
            };
            if !is_new(&key) {
                continue;
            }
            self.ledgers.change(&ctx, &engine(), |documents, changes| {
                if let Some(mut key) = documents.get::<ApiKey>(&id.to_string())? {
                    key.last_used_at = Some(at);
                    changes.put(&key);
                }
                Ok(())
            })?;
        }
        Ok(())
    }
}

/// Reads the networks that a key may be used from; a single address is a network of one.
pub(crate) fn networks(given: &[String]) -> Result<Vec<Text>, Error> {
    if given.len() > NETWORKS_MAX {
        let rule = format!("a key is limited to at most {NETWORKS_MAX} networks");
        return Err(Error::invalid("/ip_allow", rule));
    }
    let read = |(at, text): (usize, &String)| {
        let network = text.trim().parse::<IpNet>().ok();
        let network = network.or_else(|| Some(text.trim().parse::<IpAddr>().ok()?.into()));
        let rule = "this is a network such as 192.0.2.0/24, or an address";
        let network = network.ok_or_else(|| Error::invalid(&format!("/ip_allow/{at}"), rule))?;
        Ok(network.trunc().to_string().into())
    };
    given.iter().enumerate().map(read).collect()
}

/// Says whether an address lies in one of the networks. Where there are some, an address that is
/// not known lies in none.
fn is_allowed(networks: &[Text], address: Option<&str>) -> bool {
    if networks.is_empty() {
        return true;
    }
    let address = address.and_then(|it| it.parse::<IpAddr>().ok()).map(|it| it.to_canonical());
    let Some(address) = address else { return false };
    networks.iter().filter_map(|it| it.parse::<IpNet>().ok()).any(|it| it.contains(&address))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_use_from_a_network_is_told_and_those_after_are_not() {
        let (uses, tenant) = (KeyUse::default(), TenantId(uuid::Uuid::from_u128(1)));
        let key = ApiKeyId(uuid::Uuid::from_u128(2));
        let used = |from: &str| uses.used(tenant, key, from.parse().ok(), Timestamp(7));
        for (from, is_first) in [
            ("192.0.2.1", true),
            ("192.0.2.200", false),
            ("198.51.100.1", true),
            ("192.0.2.1", false),
            ("nowhere", false),
        ] {
            assert_eq!(used(from), is_first, "{from}");
        }
        let told = (0..100).filter(|it| used(&format!("10.0.{it}.1"))).count();
        assert_eq!(told, watch::NETWORKS_MAX - 2);
    }

    #[test]
    fn networks_are_read_and_addresses_lie_in_them_or_not() {
        let given = ["192.0.2.77/24".to_owned(), " 2001:db8::/32".into(), "198.51.100.7".into()];
        let allowed = networks(&given).unwrap();
        assert_eq!(
            allowed.iter().map(|it| &**it).collect::<Vec<_>>(),
            ["192.0.2.0/24", "2001:db8::/32", "198.51.100.7/32"]
        );
        for (address, expected) in [
            (Some("192.0.2.1"), true),
            (Some("::ffff:192.0.2.1"), true),
            (Some("192.0.3.1"), false),
            (Some("2001:db8:1::9"), true),
            (Some("2001:db9::9"), false),
            (Some("198.51.100.7"), true),
            (Some("198.51.100.8"), false),
            (Some("nowhere"), false),
            (None, false),
        ] {
            assert_eq!(is_allowed(&allowed, address), expected, "{address:?}");
        }
        assert!(is_allowed(&[], None));
        for bad in ["", "300.1.1.1", "10.0.0.0/33", "host.example.org"] {
            assert_eq!(networks(&[bad.into()]).unwrap_err().code, "validation_failed", "{bad}");
        }
        let many = vec!["10.0.0.1".to_owned(); NETWORKS_MAX + 1];
        assert!(networks(&many).is_err());
    }
}
