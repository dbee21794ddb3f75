//! Alerts about what stands badly with an installation: raised once it has stood so for a moment,
//! resolved once it is well again.
//!
//! ```text
//! parts and conditions -> well | pending since -> firing (an alert of the platform) -> resolved
//! ```
//!
//! An alert that is not resolved is what remembers that its rule fires, so a process that begins
//! anew raises nothing twice and resolves what has become well meanwhile.

use std::{
    collections::{BTreeMap, HashMap},
    sync::PoisonError,
};

use traaviis_model::{Span, TenantCtx, Text, Timestamp, tenant::PLATFORM};

use crate::{
    alerts::Alert,
    engine::{ComponentStatus, Engine},
    error::Error,
    platform::{Platform, engine as by_itself},
};

/// What raises and resolves these alerts, in the place of an audit trail.
pub const TRAIL: &str = "standing";
/// How long something stands badly before it is told: what passes by itself wakes nobody.
pub const PENDING: Span = Span::secs(10);
/// Parts that somebody has put into their state on purpose.
const ON_PURPOSE: &str = "maintenance";

/// Something that holds or does not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Condition {
    /// The rule that is broken while it holds.
    pub rule: &'static str,
    /// How soon somebody should look.
    pub severity: &'static str,
    /// Why, while it holds.
    pub why: Option<String>,
}

/// What is known of rules.
#[derive(Debug, Default)]
pub(crate) struct StandingAlerts {
    /// What an earlier process has left was read.
    is_open: bool,
    pending: HashMap<Text, Timestamp>,
    /// Alerts by their rules.
    firing: BTreeMap<Text, Text>,
}

impl Platform {
    /// Looks how the installation stands; called again and again by one thread.
    pub(crate) fn look_at_standing(
        &self,
        engine: &dyn Engine,
        now: Timestamp,
    ) -> Result<(), Error> {
        let broken = self.broken(engine);
        let mut standing = self.standing.lock().unwrap_or_else(PoisonError::into_inner);
        let ctx = TenantCtx::keeper_of(PLATFORM);
        if !standing.is_open {
            let alerts = self.ledgers.read(&ctx, |it| it.list::<Alert>(""))?;
            let open = alerts.into_iter().map(|it| it.it);
            let open = open.filter(|it| &*it.trail == TRAIL && it.resolved_at.is_none());
            standing.firing = open.map(|it| (it.rule, it.id)).collect();
            standing.is_open = true;
        }
        let well: Vec<(Text, Text)> = standing
            .firing
            .iter()
            .filter(|it| !broken.contains_key(it.0))
            .map(|it| (it.0.clone(), it.1.clone()))
            .collect();
        for (rule, id) in well {
            self.resolve_alert(&ctx, &id, now)?;
            standing.firing.remove(&rule);
        }
        standing.pending.retain(|rule, _| broken.contains_key(rule));
        for (rule, (severity, why)) in broken {
            if standing.firing.contains_key(&rule) {
                continue;
            }
            let since = *standing.pending.entry(rule.clone()).or_insert(now);
            if now.since(since) < PENDING {
                continue;
            }
            let id = Text::from(format!("{TRAIL}-{rule}-{}", since.0));
            let alert = Alert {
                message: why,
                trail: TRAIL.into(),
                ..Alert::by_itself(id.clone(), &rule, severity, since)
            };
            self.raise(&ctx, &alert.actor.clone(), &alert)?;
            standing.pending.remove(&rule);
            standing.firing.insert(rule, id);
        }
        Ok(())
    }

    /// Returns the rules that are broken now.
    fn broken(&self, engine: &dyn Engine) -> BTreeMap<Text, (&'static str, String)> {
        let parts = engine.components().into_iter().chain(self.components());
        let parts = parts.filter(|it| it.name != ON_PURPOSE).filter_map(|it| {
            let severity = match it.status {
                ComponentStatus::Ok => return None,
                ComponentStatus::Degraded => "high",
                ComponentStatus::Failed => "critical",
            };
            Some((Text::from(format!("part_{}", it.name)), (severity, it.why.unwrap_or_default())))
        });
        let conditions = engine.conditions().into_iter();
        let conditions = conditions.filter_map(|it| Some((it.rule.into(), (it.severity, it.why?))));
        parts.chain(conditions).collect()
    }

    fn resolve_alert(&self, ctx: &TenantCtx, id: &str, now: Timestamp) -> Result<(), Error> {
        self.ledgers.change(ctx, &by_itself(), |documents, changes| {
            // It may have made room for another one.
            if let Some(mut alert) = documents.get::<Alert>(id)? {
                alert.resolved_at = Some(now);
                changes.put(&alert);
                tracing::info!(target: "traaviis::audit", rule = %alert.rule, "alert is resolved");
            }
            Ok(())
        })
    }
}
