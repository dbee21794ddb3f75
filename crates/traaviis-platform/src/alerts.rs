//! Alerts: what of an audit trail somebody should be told, as documents of the tenant.
//!
//! The rules are pure ([`traaviis_policy::watch`]); here the trails are read for them. An alert is
//! named by the entry that raised it, so reading a part of a trail again, as after a crash, raises
//! nothing twice. What the trail of the platform tells about a user is told to their tenants.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

use serde::{Deserialize, Serialize};
use serde_json::Value as Json;
use sha2::{Digest as _, Sha256};
use traaviis_model::{
    TenantCtx, TenantId, Text, Timestamp, UserId, record::Actor, tenant::PLATFORM,
};
use traaviis_policy::{
    access::{Action, Freshness},
    watch::{Networks, Rule, Seen, Watch},
};

use crate::{
    audit::{Act, Check, Head, NO_HASH, Noted},
    caller::{Caller, Entered},
    error::Error,
    ledger::{Document, Documents, Versioned},
    platform::{Platform, engine},
};

/// Kind of the documents that hold alerts.
pub(crate) const ALERT: &str = "alert";
/// Kind of the document that remembers how far the rules have seen.
pub(crate) const WATCH: &str = "audit_watch";
/// Alerts of a tenant that are kept; beyond it the oldest goes, those that were acknowledged first.
pub const ALERTS_MAX: usize = 1_000;
/// Tenants of a user that are told of something about the user.
const TOLD_MAX: usize = 20;
/// How far the rules have seen is kept after so many entries, which a start reads again at most.
const KEPT_EVERY: u64 = 1_000;

/// An alert.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Alert {
    /// Its id: trail, entry and rule.
    pub id: Text,
    /// The rule.
    pub rule: Text,
    /// How soon somebody should look.
    pub severity: Text,
    /// What has happened.
    pub message: String,
    /// When.
    pub at: Timestamp,
    /// Who, as `kind:id`.
    pub actor: Text,
    /// The trail that tells of it: `tenant`, or `platform`; `rules` when none does, but a rule of
    /// the tenant or a budget was broken.
    pub trail: Text,
    /// Number of the entry in that trail.
    pub entry: u64,
    /// The rule of the tenant that was broken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule_id: Option<Text>,
    /// The number that was too high, where it was looked at as it stands.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<u64>,
    /// When what stands was well again; none of what has happened once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resolved_at: Option<Timestamp>,
    /// When somebody has seen to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub acknowledged_at: Option<Timestamp>,
    /// Who.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub acknowledged_by: Option<Text>,
}

impl Alert {
    /// Returns one that no trail tells of.
    pub(crate) fn by_itself(id: Text, rule: &str, severity: &str, at: Timestamp) -> Alert {
        Alert {
            id,
            rule: rule.into(),
            severity: severity.into(),
            message: String::new(),
            at,
            actor: Actor::engine().text(),
            trail: "rules".into(),
            entry: 0,
            rule_id: None,
            value: None,
            resolved_at: None,
            acknowledged_at: None,
            acknowledged_by: None,
        }
    }
}

impl Document for Alert {
    const KIND: &'static str = ALERT;

    fn id(&self) -> Text {
        self.id.clone()
    }
}

/// How far the rules have seen a trail.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct WatchedTo {
    head: Head,
    networks: Networks,
    #[serde(default, skip_serializing_if = "Networks::is_empty")]
    countries: Networks,
}

impl Document for WatchedTo {
    const KIND: &'static str = WATCH;

    fn id(&self) -> Text {
        "watch".into()
    }
}

/// A trail that is watched.
#[derive(Debug)]
struct Trail {
    check: Check,
    watch: Watch,
    kept: u64,
}

impl Trail {
    /// Takes the next entry; says whether it is not what it was. The check goes on behind it,
    /// whatever number it has.
    fn is_broken_by(&mut self, entry: &Json) -> bool {
        let is_broken = self.check.entry(entry).is_err();
        if is_broken {
            let hash = entry["hash"].as_str().unwrap_or(NO_HASH).into();
            let seq = self.check.head().seq + 1;
            self.check = Check::after(Head { seq, hash });
        }
        is_broken
    }
}

/// All trails that are watched.
#[derive(Debug, Default)]
pub(crate) struct Watching {
    trails: Mutex<HashMap<TenantId, Trail>>,
}

impl Platform {
    /// Looks at what is new in a trail.
    pub(crate) fn watch_trail(&self, ctx: &TenantCtx) -> Result<(), Error> {
        let mut trails =
            self.auditing.watching.trails.lock().unwrap_or_else(PoisonError::into_inner);
        let trail = match trails.entry(ctx.tenant()) {
            std::collections::hash_map::Entry::Occupied(it) => it.into_mut(),
            std::collections::hash_map::Entry::Vacant(it) => {
                let found = self.ledgers.get::<WatchedTo>(ctx, "watch")?.map(|it| it.it);
                let WatchedTo { head, networks, countries } = found.unwrap_or_default();
                let kept = head.seq;
                it.insert(Trail {
                    check: Check::after(head),
                    watch: Watch::knowing(networks, countries),
                    kept,
                })
            }
        };
        let looked = self.look_at_new(ctx, trail);
        if looked.is_err() {
            // It begins again where it is known to have come to, so no alert is missed.
            trails.remove(&ctx.tenant());
        }
        looked
    }

    fn look_at_new(&self, ctx: &TenantCtx, trail: &mut Trail) -> Result<(), Error> {
        if let Some(fresh) = self.ledgers.fresh_after(ctx, trail.check.head().seq) {
            trail.check = Check::after(fresh.head);
            return self.look_at(ctx, trail, fresh.noted.iter().map(|it| (it, false)));
        }
        let end = self.ledgers.audit_head(ctx).seq;
        while trail.check.head().seq < end {
            let entries = self.entries_after(ctx, trail.check.head().seq)?;
            if entries.is_empty() {
                // The projection could not take them yet, and tries again.
                return Ok(());
            }
            let noted: Vec<(Noted, bool)> =
                entries.iter().map(|it| (Noted::of_entry(it), trail.is_broken_by(it))).collect();
            self.look_at(ctx, trail, noted.iter().map(|it| (&it.0, it.1)))?;
        }
        Ok(())
    }

    /// Looks at entries, each with whether it is not what it was; the check of the trail is behind
    /// them.
    fn look_at<'a>(
        &self,
        ctx: &TenantCtx,
        trail: &mut Trail,
        entries: impl Iterator<Item = (&'a Noted, bool)>,
    ) -> Result<(), Error> {
        let known = (trail.watch.networks().clone(), trail.watch.countries().clone());
        let mut alerts = Vec::new();
        for (noted, is_broken) in entries {
            let country = noted.address.and_then(|it| self.countries.of(it));
            let seen = Seen { country, ..noted.seen() };
            let rule = match is_broken {
                true => Some(Rule::AuditGap).filter(|it| trail.watch.is_news(*it, &seen)),
                false => trail.watch.see(&seen),
            };
            if let Some(rule) = rule {
                alerts.push((&*noted.who, alert_of(ctx.tenant(), noted, rule)));
            }
        }
        for (who, alert) in &alerts {
            self.raise(ctx, who, alert)?;
        }
        let head = trail.check.head().clone();
        let (networks, countries) = (trail.watch.networks(), trail.watch.countries());
        let is_new = !alerts.is_empty() || (&known.0, &known.1) != (networks, countries);
        if is_new || head.seq - trail.kept.min(head.seq) >= KEPT_EVERY {
            let (networks, countries) = (networks.clone(), countries.clone());
            trail.kept = head.seq;
            let watched = WatchedTo { head, networks, countries };
            self.ledgers.change(ctx, &engine(), |_, changes| {
                changes.put(&watched);
                Ok(())
            })?;
        }
        Ok(())
    }

    pub(crate) fn raise(&self, ctx: &TenantCtx, who: &str, alert: &Alert) -> Result<(), Error> {
        let mut told = vec![ctx.tenant()];
        let user = who.strip_prefix("user:").and_then(|it| it.parse::<UserId>().ok());
        if let Some(user) = user.filter(|_| ctx.tenant() == PLATFORM) {
            told.extend(self.lookup(|it| it.tenants(user)).into_iter().take(TOLD_MAX));
        }
        tracing::warn!(
            target: "traaviis::audit", rule = %alert.rule, severity = %alert.severity,
            actor = %alert.actor, entry = alert.entry, trail = %alert.trail, "alert"
        );
        for tenant in told {
            self.ledgers.change(
                &TenantCtx::keeper_of(tenant),
                &engine(),
                |documents, changes| {
                    if documents.get::<Alert>(&alert.id)?.is_some() {
                        return Ok(());
                    }
                    if let Some(oldest) = oldest(documents)? {
                        changes.remove::<Alert>(&oldest);
                    }
                    changes.put(alert);
                    Ok(())
                },
            )?;
        }
        Ok(())
    }

    /// Returns the alerts of a tenant, the newest first.
    pub fn alerts(&self, entered: &Entered) -> Result<Vec<Versioned<Alert>>, Error> {
        self.alerts_in(&entered.ctx)
    }

    /// Returns the alerts about the platform, the newest first.
    pub fn platform_alerts(&self, caller: &Caller) -> Result<Vec<Versioned<Alert>>, Error> {
        self.permit(caller, Action::Platform, Freshness::Any)?;
        self.alerts_in(&caller.on_platform())
    }

    fn alerts_in(&self, ctx: &TenantCtx) -> Result<Vec<Versioned<Alert>>, Error> {
        let mut alerts = self.ledgers.read(ctx, |it| it.list::<Alert>(""))?;
        alerts.sort_by(|a, b| (b.it.at, &b.it.id).cmp(&(a.it.at, &a.it.id)));
        Ok(alerts)
    }

    /// Tells who looks after the platform that what rests is damaged: the first of some places that
    /// nobody knew of. The same place raises no second alert.
    pub fn raise_damage(&self, first: &str, count: usize) -> Result<(), Error> {
        let digest = Sha256::digest(first.as_bytes());
        let digits: String = digest[..8].iter().map(|it| format!("{it:02x}")).collect();
        let id = format!("damage-{digits}").into();
        let mut alert = Alert::by_itself(id, "storage_damaged", "critical", self.now());
        alert.message = match count {
            1 => format!("what rests is damaged: {first}"),
            _ => format!("what rests is damaged in {count} places; the first: {first}"),
        };
        alert.value = u64::try_from(count).ok();
        self.raise(&TenantCtx::keeper_of(PLATFORM), &alert.actor.clone(), &alert)
    }

    /// Notes that somebody has seen to an alert; once more changes nothing.
    pub fn acknowledge(&self, entered: &Entered, id: &str) -> Result<Versioned<Alert>, Error> {
        let absent = || Error::not_found(ALERT, id);
        self.ledgers.change(&entered.ctx, &entered.via, |documents, changes| {
            let mut alert = documents.get::<Alert>(id)?.ok_or_else(absent)?;
            if alert.acknowledged_at.is_some() {
                return Ok(());
            }
            alert.acknowledged_at = Some(self.now());
            alert.acknowledged_by = Some(entered.ctx.actor().text());
            changes.put(&alert);
            let act = Act::done("alert.acknowledged", ALERT, alert.id.clone());
            changes.act(act.with(serde_json::json!({ "rule": alert.rule })));
            Ok(())
        })?;
        self.ledgers.get::<Alert>(&entered.ctx, id)?.ok_or_else(absent)
    }
}

/// Returns the alert that makes room for another one, when there are as many as may be.
pub(crate) fn oldest(documents: &Documents) -> Result<Option<Text>, Error> {
    if documents.count::<Alert>() < ALERTS_MAX {
        return Ok(None);
    }
    let all = documents.list::<Alert>("")?;
    let first = all.iter().min_by_key(|it| (it.it.acknowledged_at.is_none(), it.it.at));
    Ok(first.map(|it| it.it.id.clone()))
}

fn alert_of(tenant: TenantId, noted: &Noted, rule: Rule) -> Alert {
    let seq = noted.seq;
    let trail = if tenant == PLATFORM { "platform" } else { "tenant" };
    Alert {
        id: format!("{trail}-{seq}-{}", rule.as_str()).into(),
        rule: rule.as_str().into(),
        severity: rule.severity().into(),
        message: rule.message().into(),
        at: noted.at,
        actor: noted.who.as_str().into(),
        trail: trail.into(),
        entry: seq,
        rule_id: None,
        value: None,
        resolved_at: None,
        acknowledged_at: None,
        acknowledged_by: None,
    }
}
