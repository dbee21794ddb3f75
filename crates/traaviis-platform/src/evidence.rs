//! Evidence of a period for who reviews an installation: who had access, what was changed and by
//! whom, whether the audit trail is whole, each with the SOC 2 criteria that it speaks to.
//!
//! It is read off the log alone, as it stood when the period ended: what came later changes none of
//! it, so the same period gives the same bytes. It prepares a review, and is no attestation.
//!
//! Invariants: nothing of a person is told but ids, and what the audit trail tells anyhow; entries
//! of the platform are those that are about the whole installation, or about members of the tenant.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::{Map, Value as Json, json};
use traaviis_model::{
    Body, Record, TenantId, Text, Timestamp, UserId, Value, document::canonical, record::peek_line,
    tenant::PLATFORM,
};
use traaviis_ports::{LogStore, vault::Vault};

use crate::{
    alerts::Alert,
    audit::{AUDIT, Check, entries_of},
    checkpoints::{AuditKey, AuditSigner, PublicKey},
    error::Error,
    ledger::{Document, stream_of},
    tenant::{CustomRole, Member, ServiceAccount, Tenant},
    user::User,
};

/// Version of the form.
const VERSION: u64 = 1;

/// A part of the evidence that is made of audit entries.
struct Acts {
    name: &'static str,
    criteria: &'static [&'static str],
    /// What actions begin with.
    actions: &'static [&'static str],
}

/// Which acts speak to which criteria. One act may stand in one part only: the first that takes it.
const PARTS: &[Acts] = &[
    Acts {
        name: "confidentiality",
        criteria: &["C1.1", "C1.2"],
        actions: &["subject.", "data.unmasked", "tenant.deleted", "tenant.destroyed", "audit."],
    },
    Acts {
        name: "key_rotations",
        criteria: &["CC6.1", "C1.1"],
        actions: &["signing_key.", "audit_key.", "secret.set", "secret.deleted"],
    },
    Acts {
        name: "access_changes",
        criteria: &["CC6.1", "CC6.2", "CC6.3"],
        actions: &[
            "member.",
            "invitation.",
            "role.",
            "service_account.",
            "api_key.",
            "transfer.",
            "tenant.transferred",
            "mfa.",
            "issuer.",
            "identity.",
            "break_glass.",
            "password.",
            "user.",
            "token.exchanged",
        ],
    },
    Acts { name: "backups", criteria: &["A1.2"], actions: &["backup."] },
    Acts {
        name: "security_events",
        criteria: &["CC7.2", "CC7.3"],
        actions: &[
            "permission.denied",
            "egress.refused",
            "login.failed",
            "token.reused",
            "tenant.refused",
            "incident.",
            "alert.",
        ],
    },
    Acts {
        name: "changes",
        criteria: &["CC8.1"],
        actions: &[
            "workflow.",
            "tenant.",
            "flag.",
            "maintenance.",
            "plan.",
            "budgets.",
            "alert_rule.",
            "webhook.",
            "schedule.",
            "named_effect.",
        ],
    },
];

/// What an installation does not keep, and a review asks for.
const ELSEWHERE: &[(&str, &str)] = &[
    ("access_reviews", "who has reviewed the access list, and when: kept by who reviews"),
    ("backup_drills", "`traaviis backup verify` and `restore` tell their result to who runs them"),
    ("tests_and_sbom", "test results and the list of components belong to the release"),
    ("vulnerabilities", "the report of known vulnerabilities belongs to the release"),
];

/// A time from one moment, up to and without another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Period {
    /// The first moment.
    pub from: Timestamp,
    /// The moment behind the last.
    pub to: Timestamp,
}

impl Period {
    fn has(self, at: &str) -> bool {
        at.parse::<Timestamp>().is_ok_and(|it| (self.from..self.to).contains(&it))
    }
}

/// Evidence with who vouches for it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Evidence {
    /// What it tells.
    pub evidence: Json,
    /// The key that has signed it.
    pub key: PublicKey,
    /// Ed25519 over the canonical JSON of what it tells, base64url.
    pub signature: Text,
}

impl Evidence {
    /// What is signed, in a word.
    const KIND: &'static str = "traaviis.evidence";

    /// Says whether it is what its key has signed.
    pub fn is_signed(&self) -> bool {
        self.evidence["what"] == Evidence::KIND
            && self.key.verifies(text_of(&self.evidence).as_bytes(), &self.signature)
    }
}

fn text_of(evidence: &Json) -> String {
    canonical(&Value::from(evidence))
}

/// Reads a log, with the documents of people opened, into what can be signed.
pub fn collect(
    log: &dyn LogStore,
    vault: &dyn Vault,
    tenant: TenantId,
    period: Period,
) -> Result<Collected, Error> {
    let mut collected = Collected::of(tenant, period);
    let streams = [tenant, PLATFORM].map(|it| (it, stream_of(it)));
    let mut failed = None;
    log.scan_while(0, &mut |line| {
        let Ok(key) = peek_line(line.bytes) else { return true };
        if !streams.contains(&(key.tenant_id, key.instance_id)) {
            return true;
        }
        let taken = Record::read_line(line.bytes)
            .map_err(|error| Error::new("record_unreadable", error.to_string()))
            .and_then(|record| collected.take(record));
        failed = taken.err();
        failed.is_none()
    })?;
    match failed {
        Some(error) => Err(error),
        None => collected.see_factors(vault).map(|()| collected),
    }
}

/// What a log tells of a period.
#[derive(Debug)]
pub struct Collected {
    tenant: TenantId,
    period: Period,
    trails: BTreeMap<TenantId, Trail>,
    members: BTreeMap<Text, Member>,
    /// Everybody who was a member at any time up to the end of the period.
    known: BTreeSet<Text>,
    services: BTreeMap<Text, ServiceAccount>,
    roles: BTreeMap<Text, CustomRole>,
    users: BTreeMap<Text, User>,
    /// Whether a user has a second factor; nothing of who was erased.
    factors: BTreeMap<UserId, Option<bool>>,
    alerts: BTreeMap<Text, Alert>,
    has_tenant: bool,
    newest: Option<AuditKey>,
}

/// A trail up to the end of the period.
#[derive(Debug, Default)]
struct Trail {
    check: Check,
    broken: Option<(u64, String)>,
    /// Entries of the period.
    entries: Vec<Json>,
}

/// Takes a document as it stands then; without a body it was removed.
fn put<D: Document + DeserializeOwned>(
    all: &mut BTreeMap<Text, D>,
    id: &Text,
    body: &Json,
) -> Result<(), Error> {
    if body.is_null() {
        all.remove(id);
        return Ok(());
    }
    // What cannot be read must not be missing silently.
    let read = D::deserialize(body).map_err(|error| {
        let message = format!("{} `{id}` cannot be read: {error}", D::KIND);
        Error::new("record_unreadable", message)
    })?;
    all.insert(id.clone(), read);
    Ok(())
}

impl Collected {
    fn of(tenant: TenantId, period: Period) -> Collected {
        Collected {
            tenant,
            period,
            trails: BTreeMap::new(),
            members: BTreeMap::new(),
            known: BTreeSet::new(),
            services: BTreeMap::new(),
            roles: BTreeMap::new(),
            users: BTreeMap::new(),
            factors: BTreeMap::new(),
            alerts: BTreeMap::new(),
            has_tenant: false,
            newest: None,
        }
    }

    fn take(&mut self, record: Record) -> Result<(), Error> {
        let (of, at) = (record.header.tenant_id, record.header.at);
        let Body::DocumentPut { document, id, body } = record.body else { return Ok(()) };
        let body = Json::from(&body);
        if &*document == AuditKey::KIND && of == PLATFORM {
            // The key counts whenever it was made: it vouches now.
            let key: Option<AuditKey> = serde_json::from_value(body).ok();
            self.newest = key.filter(|it| !it.sealed.is_empty()).or(self.newest.take());
            return Ok(());
        }
        if at >= self.period.to {
            return Ok(());
        }
        let is_own = of == self.tenant;
        match &*document {
            AUDIT => self.take_entries(of, body),
            Tenant::KIND if is_own => self.has_tenant = true,
            Member::KIND if is_own => {
                self.known.insert(id.clone());
                put(&mut self.members, &id, &body)?;
            }
            ServiceAccount::KIND if is_own => put(&mut self.services, &id, &body)?,
            CustomRole::KIND if is_own => put(&mut self.roles, &id, &body)?,
            Alert::KIND if is_own => put(&mut self.alerts, &id, &body)?,
            User::KIND if of == PLATFORM => put(&mut self.users, &id, &body)?,
            _ => {}
        }
        Ok(())
    }

    fn take_entries(&mut self, of: TenantId, body: Json) {
        let trail = self.trails.entry(of).or_default();
        for entry in entries_of(body) {
            if trail.broken.is_none()
                && let Err(broken) = trail.check.entry(&entry)
            {
                trail.broken = Some((broken.seq, broken.why));
            }
            if entry["timestamp"].as_str().is_some_and(|it| self.period.has(it)) {
                trail.entries.push(entry);
            }
        }
    }

    fn see_factors(&mut self, vault: &dyn Vault) -> Result<(), Error> {
        let members = self.members.values().map(|it| it.user_id);
        for id in members.collect::<Vec<_>>() {
            let Some(user) = self.users.get(&Text::from(id.to_string())) else { continue };
            let has = user.personal(vault)?.map(|it| it.factors.has_second());
            self.factors.insert(id, has);
        }
        Ok(())
    }

    /// Says whether there is such a tenant at the end of the period.
    pub fn has_tenant(&self) -> bool {
        self.has_tenant
    }

    /// Returns the key that vouches for it.
    pub fn key(&self) -> Option<&AuditKey> {
        self.newest.as_ref()
    }

    /// Says whether both trails are what they were.
    pub fn is_whole(&self) -> bool {
        self.trails.values().all(|it| it.broken.is_none())
    }

    /// Returns it signed; `program` is what has made it.
    pub fn sign(&self, signer: &AuditSigner, program: Json) -> Evidence {
        let evidence = self.told(program);
        let signature = signer.sign(text_of(&evidence).as_bytes());
        Evidence { evidence, key: signer.public().clone(), signature }
    }

    fn told(&self, program: Json) -> Json {
        let mut parts = Map::new();
        parts.insert("access_list".into(), self.access_list());
        parts.insert("second_factors".into(), self.second_factors());
        parts.insert("audit_trail".into(), self.audit_trail());
        parts.insert("alerts".into(), self.told_alerts());
        let mut entries: BTreeMap<&str, Vec<&Json>> = BTreeMap::new();
        for (of, entry) in self.entries() {
            let action = entry["action"].as_str().unwrap_or_default();
            let takes = |it: &&Acts| it.actions.iter().any(|begin| action.starts_with(begin));
            let Some(part) = PARTS.iter().find(takes) else { continue };
            if of == self.tenant || self.concerns(entry, action) {
                entries.entry(part.name).or_default().push(entry);
            }
        }
        for Acts { name, criteria, actions } in PARTS {
            let found = entries.remove(name).unwrap_or_default();
            let part = json!({ "criteria": criteria, "actions": actions, "entries": found });
            parts.insert((*name).into(), part);
        }
        let elsewhere: BTreeMap<&str, &str> = ELSEWHERE.iter().copied().collect();
        json!({
            "what": Evidence::KIND,
            "version": VERSION,
            "tenant_id": self.tenant,
            "from": self.period.from,
            "to": self.period.to,
            "program": program,
            "parts": parts,
            "not_kept_here": elsewhere,
        })
    }

    fn entries(&self) -> impl Iterator<Item = (TenantId, &Json)> {
        self.trails.iter().flat_map(|(of, trail)| trail.entries.iter().map(|it| (*of, it)))
    }

    /// Says whether an entry of the platform is about the whole installation, or about a member.
    fn concerns(&self, entry: &Json, action: &str) -> bool {
        const WHOLE: [&str; 5] = ["signing_key.", "audit_key.", "backup.", "maintenance.", "flag."];
        let names = |key: &str| entry[key].as_str().is_some_and(|it| self.known.contains(it));
        WHOLE.iter().any(|it| action.starts_with(it)) || names("user_id") || names("resource_id")
    }

    fn access_list(&self) -> Json {
        let member = |it: &Member| {
            let id = Text::from(it.user_id.to_string());
            let user = self.users.get(&id);
            json!({
                "user_id": it.user_id,
                "service_account": self.services.contains_key(&id),
                "role": it.role,
                "permissions": it.permissions,
                "data_access": it.data_access,
                "status": it.status,
                "joined_at": it.joined_at,
                "invited_by": it.invited_by,
                "account": user.map(|it| json!({
                    "status": it.status.as_str(),
                    "platform_role": it.platform_role.as_str(),
                    "last_login": it.last_login,
                })),
            })
        };
        let members: Vec<Json> = self.members.values().map(member).collect();
        let roles: Vec<Json> = self.roles.values().map(|it| json!(it)).collect();
        json!({ "criteria": ["CC6.1", "CC6.2", "CC6.3"], "members": members, "roles": roles })
    }

    fn second_factors(&self) -> Json {
        let people = self.factors.len();
        let covered = self.factors.values().filter(|it| **it == Some(true)).count();
        let without: Vec<&UserId> =
            self.factors.iter().filter(|it| *it.1 == Some(false)).map(|it| it.0).collect();
        json!({ "criteria": ["CC6.1"], "people": people, "covered": covered, "without": without })
    }

    fn audit_trail(&self) -> Json {
        let trail = |of: TenantId, it: &Trail| {
            let head = it.check.head();
            json!({
                "trail": if of == PLATFORM { "platform" } else { "tenant" },
                "entries": it.entries.len(),
                "whole_to": head.seq,
                "hash": head.hash,
                "broken": it.broken.as_ref().map(|(seq, why)| json!({ "seq": seq, "why": why })),
            })
        };
        let trails: Vec<Json> = self.trails.iter().map(|(of, it)| trail(*of, it)).collect();
        json!({ "criteria": ["CC7.2"], "trails": trails })
    }

    fn told_alerts(&self) -> Json {
        let within = |it: &&Alert| (self.period.from..self.period.to).contains(&it.at);
        let alerts: Vec<&Alert> = self.alerts.values().filter(within).collect();
        json!({ "criteria": ["CC7.3", "CC7.4"], "items": alerts })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_act_stands_in_one_part_and_those_of_access_are_all_there() {
        let part = |action: &str| {
            let takes = |it: &&Acts| it.actions.iter().any(|begin| action.starts_with(begin));
            PARTS.iter().find(takes).map(|it| it.name)
        };
        for (action, name) in [
            ("member.changed", Some("access_changes")),
            ("role.created", Some("access_changes")),
            ("mfa.enrolled", Some("access_changes")),
            ("api_key.created", Some("access_changes")),
            ("break_glass.opened", Some("access_changes")),
            ("tenant.transferred", Some("access_changes")),
            ("tenant.deleted", Some("confidentiality")),
            ("tenant.configured", Some("changes")),
            ("subject.erased", Some("confidentiality")),
            ("signing_key.rotated", Some("key_rotations")),
            ("workflow.published", Some("changes")),
            ("permission.denied", Some("security_events")),
            ("backup.asked", Some("backups")),
            ("event.sent", None),
            ("instance.started", None),
        ] {
            assert_eq!(part(action), name, "{action}");
        }
    }

    #[test]
    fn a_period_holds_its_first_moment_and_not_its_last() {
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        let period = Period { from: at("2026-01-01T00:00:00Z"), to: at("2026-02-01T00:00:00Z") };
        for (moment, is_in) in [
            ("2026-01-01T00:00:00Z", true),
            ("2026-01-31T23:59:59.999999Z", true),
            ("2026-02-01T00:00:00Z", false),
            ("2025-12-31T23:59:59Z", false),
            ("soon", false),
        ] {
            assert_eq!(period.has(moment), is_in, "{moment}");
        }
    }
}
