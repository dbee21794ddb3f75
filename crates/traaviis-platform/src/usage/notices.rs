//! Who is told that a plan is used up: at half of it, at four fifths and at its end, once each in a
//! month.
//!
//! What was told stands in a document beside the alert, in one change, so a kill tells nobody twice
//! and forgets nobody. Only when a share is reached that this process does not know to be told is
//! that document looked at.

use std::collections::{BTreeMap, HashMap};

use serde::{Deserialize, Serialize};
use traaviis_model::{TenantCtx, TenantId, Text, Timestamp, permission::Permission};
use traaviis_policy::{
    invoice::Month,
    plan::{Metric, Plan, notice},
};

use super::lock;
use crate::{
    alert_rules::{PLAN_NOTICES, tell::AlertMail},
    alerts::{Alert, oldest},
    error::Error,
    ledger::Document,
    platform::{Platform, engine},
    tenant::Member,
};

/// Word of the rule.
const RULE: &str = "plan";

/// What this process knows to be told.
pub(crate) type Noticed = HashMap<TenantId, Told>;

/// Which shares somebody was told of, by metric, and in which month.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Told {
    month: Text,
    shares: BTreeMap<Text, u64>,
}

impl Document for Told {
    const KIND: &'static str = PLAN_NOTICES;

    fn id(&self) -> Text {
        "notices".into()
    }
}

impl Told {
    fn knows(&self, month: Month, metric: Metric, share: u64) -> bool {
        let told = self.shares.get(metric.as_str()).is_some_and(|it| *it >= share);
        told && *self.month == *month.to_string()
    }
}

impl Platform {
    /// Tells tenants whose plans are used up for the most part; called from time to time.
    pub(crate) fn look_at_plans(&self, now: Timestamp) -> Result<(), Error> {
        let plans = self.lookup(|it| it.with_plans());
        let limited = plans
            .into_iter()
            .filter(|it| Metric::ALL.iter().any(|metric| it.1.quota(*metric).included.is_some()));
        let limited: Vec<_> = limited.collect();
        if limited.is_empty() {
            return Ok(());
        }
        self.follow_usage()?;
        for (tenant, plan) in limited {
            let month = self.month_of(tenant, now);
            let reached = self.reached(tenant, plan, month)?;
            let is_known = |told: &Told| reached.iter().all(|it| told.knows(month, it.0, it.2));
            if lock(&self.usage.noticed).get(&tenant).is_some_and(is_known) {
                continue;
            }
            let told = self.tell_of_plan(tenant, plan, month, (&reached, now))?;
            lock(&self.usage.noticed).insert(tenant, told);
        }
        Ok(())
    }

    /// Returns the shares that are reached: of what, how much is used, and which share.
    fn reached(
        &self,
        tenant: TenantId,
        plan: Plan,
        month: Month,
    ) -> Result<Vec<(Metric, u64, u64)>, Error> {
        let total = {
            let state = lock(&self.usage.state);
            state.months.get(&(tenant, month)).map(|it| it.total.clone()).unwrap_or_default()
        };
        let ctx = TenantCtx::keeper_of(tenant);
        let members = self.ledgers.read(&ctx, |it| Ok::<_, Error>(it.count::<Member>() as u64))?;
        let storage = self.stored(tenant).sum();
        let reached = |metric: &Metric| {
            let used = super::quantity(&total, *metric, members, storage);
            Some((*metric, used, notice(plan.quota(*metric), used)?))
        };
        Ok(Metric::ALL.iter().filter_map(reached).collect())
    }

    fn tell_of_plan(
        &self,
        tenant: TenantId,
        plan: Plan,
        month: Month,
        (reached, now): (&[(Metric, u64, u64)], Timestamp),
    ) -> Result<Told, Error> {
        self.ledgers.change(&TenantCtx::keeper_of(tenant), &engine(), |documents, changes| {
            let before = documents.get::<Told>("notices")?.unwrap_or_default();
            let mut told = Told { month: month.to_string().into(), shares: BTreeMap::new() };
            if told.month == before.month {
                told = before.clone();
            }
            for (metric, used, share) in reached {
                if told.knows(month, *metric, *share) {
                    continue;
                }
                told.shares.insert(metric.as_str().into(), *share);
                let (name, quota) = (metric.as_str(), plan.quota(*metric));
                let id = Text::from(format!("plan-{name}-{month}-{share}"));
                let included = quota.included.unwrap_or_default();
                let then = match (quota.hard, share) {
                    (Some(hard), 100) => format!("; beyond {hard} nothing more is taken in"),
                    (None, 100) => "; what goes beyond is billed".into(),
                    _ => String::new(),
                };
                let message = format!(
                    "{share} % of the {included} {name} of the plan `{}` are used in {month}: \
                     {used}{then}",
                    plan.as_str()
                );
                if let Some(oldest) = oldest(documents)? {
                    changes.remove::<Alert>(&oldest);
                }
                let severity = if *share >= 100 { "high" } else { "medium" };
                changes.put(&Alert {
                    message: message.clone(),
                    value: Some(*used),
                    ..Alert::by_itself(id.clone(), RULE, severity, now)
                });
                let mail = AlertMail::new(id, message, now);
                changes.put(&mail.for_who_may(Permission::TenantBilling));
            }
            if told != before && !told.shares.is_empty() {
                changes.put(&told);
            }
            Ok(told)
        })
    }
}
