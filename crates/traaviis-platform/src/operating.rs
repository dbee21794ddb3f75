//! Use cases of running the installation: maintenance, during which nothing is changed from
//! outside, and the jobs of all tenants.

use serde::{Deserialize, Serialize};
use serde_json::json;
use traaviis_model::{TenantCtx, TenantId, Text, Timestamp, form};
use traaviis_policy::access::{Action, Freshness};

use crate::{
    audit::Act, caller::Caller, error::Error, jobs::Job, ledger::Document, platform::Platform,
};

/// Whether changes are refused.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Maintenance {
    /// They are.
    pub is_on: bool,
    /// Why; everybody who is refused reads it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Since when it is so.
    pub since: Timestamp,
}

impl Document for Maintenance {
    const KIND: &'static str = "maintenance";

    fn id(&self) -> Text {
        "maintenance".into()
    }
}

impl Maintenance {
    /// Returns the refusal of a change.
    pub fn refusal(&self) -> Error {
        let why = self.reason.as_deref().unwrap_or("it is being looked after");
        let message =
            format!("nothing is changed for now: {why}; reading goes on, try again later");
        Error::new("maintenance", message).with_details(json!({ "since": self.since }))
    }
}

impl Platform {
    /// Refuses a change during maintenance.
    pub fn refuse_in_maintenance(&self) -> Result<(), Error> {
        match self.lookup(|it| it.maintenance().filter(|it| it.is_on).map(Maintenance::refusal)) {
            Some(refusal) => Err(refusal),
            None => Ok(()),
        }
    }

    /// Returns whether there is maintenance; none when there never was.
    pub fn maintenance(&self, caller: &Caller) -> Result<Option<Maintenance>, Error> {
        self.permit(caller, Action::Platform, Freshness::Any)?;
        Ok(self.lookup(|it| it.maintenance().cloned()))
    }

    /// Begins or ends maintenance. It lasts over restarts.
    pub fn maintain(
        &self,
        caller: &Caller,
        is_on: bool,
        reason: Option<&str>,
    ) -> Result<Maintenance, Error> {
        self.permit(caller, Action::Platform, Freshness::Fresh)?;
        let Some(reason) = form::MAINTENANCE_REASON.read(reason.unwrap_or_default()) else {
            let rule = format!("a reason has at most {} characters", form::MAINTENANCE_REASON.most);
            return Err(Error::invalid("/reason", rule));
        };
        let reason = Some(reason.to_owned()).filter(|it| is_on && !it.is_empty());
        let now = self.now();
        self.ledgers.change(&caller.on_platform(), &caller.via, |documents, changes| {
            let before = documents.get::<Maintenance>("maintenance")?;
            let since = before.filter(|it| it.is_on == is_on).map_or(now, |it| it.since);
            let maintenance = Maintenance { is_on, reason, since };
            changes.put(&maintenance);
            let action = if is_on { "maintenance.begun" } else { "maintenance.ended" };
            let act = Act::done(action, Maintenance::KIND, maintenance.id());
            changes.act(act.with(json!({ "reason": maintenance.reason })));
            Ok(maintenance)
        })
    }

    /// Notes who asks for a backup.
    pub fn note_backup(&self, caller: &Caller) -> Result<(), Error> {
        self.permit(caller, Action::Platform, Freshness::Fresh)?;
        self.ledgers.change(&caller.on_platform(), &caller.via, |_, changes| {
            changes.act(Act::done("backup.asked", "backup", "now"));
            Ok(())
        })
    }

    /// Returns the jobs of all tenants, those that changed last first; nothing of what they are
    /// about.
    pub fn all_jobs(&self, caller: &Caller, limit: usize) -> Result<Vec<(TenantId, Job)>, Error> {
        self.permit(caller, Action::Platform, Freshness::Any)?;
        let mut jobs = Vec::new();
        for tenant in self.ledgers.tenants() {
            let all = self.ledgers.read(&TenantCtx::keeper_of(tenant), |it| it.list::<Job>(""))?;
            jobs.extend(all.into_iter().map(|it| (tenant, it.it)));
        }
        jobs.sort_by(|a, b| (b.1.updated_at, &b.1.id).cmp(&(a.1.updated_at, &a.1.id)));
        jobs.truncate(limit);
        Ok(jobs)
    }
}
