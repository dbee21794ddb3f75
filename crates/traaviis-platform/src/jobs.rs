//! Jobs: one operation on many instances, carried out bit by bit, and gone on with after a restart.
//!
//! A job is a small document that says how far it has come; its plan, with every instance that was
//! meant, is a second one that never changes. Instances are done in order, so the number of those
//! that are done is all that must be remembered.
//!
//! Invariant: how far a job has come is noted after it is done, so after a crash some instances may
//! be done once more. Operations bear that: events carry the job as their deduplication id, and
//! whatever else there is refuses to be done twice.
//!
//! Reading order: [`action`] (what is done to each), here (what there is, and who may do what with
//! it), [`run`] (how it is carried on).

pub mod action;
pub mod run;

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use serde_json::{Value as Json, json};
use traaviis_model::{
    ApiKeyId, InstanceId, Span, Text, Timestamp, UserId, form,
    permission::{Permission, PermissionSet},
};

pub use action::Action;

use crate::{
    audit::Act,
    caller::{Caller, Entered, Proof},
    error::Error,
    ledger::{Document, JOB_PLAN, Versioned},
    platform::Platform,
};

/// Jobs of a tenant that are not over: each is looked at many times a second.
pub const JOBS_OPEN_MAX: usize = 10;
/// Jobs of a tenant that are remembered; beyond it the oldest that is over goes.
pub const JOBS_MAX: usize = 100;
/// Refusals that a job tells of one by one; all are counted.
pub const REFUSALS_MAX: usize = 50;
/// Instances in a second, unless a caller asks for another number.
pub const RATE: u32 = 50;
/// Most instances in a second: a tenth of what one disk makes durable at least.
pub const RATE_MAX: u32 = form::RATE_MAX;
/// Refusals after which a job pauses, unless a caller asks for another number.
pub const REFUSED_MAX: u32 = 10;

/// How a job stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JobStatus {
    /// It waits for somebody to start it.
    Planned,
    /// It is carried on.
    Running,
    /// It waits for somebody to let it go on.
    Paused,
    /// Every instance was done, or refused.
    Done,
    /// Somebody has ended it.
    Cancelled,
    /// It cannot go on.
    Failed,
}

impl JobStatus {
    /// Returns the word on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            JobStatus::Planned => "planned",
            JobStatus::Running => "running",
            JobStatus::Paused => "paused",
            JobStatus::Done => "done",
            JobStatus::Cancelled => "cancelled",
            JobStatus::Failed => "failed",
        }
    }

    /// Says whether it is over.
    pub fn is_over(self) -> bool {
        matches!(self, JobStatus::Done | JobStatus::Cancelled | JobStatus::Failed)
    }
}

/// Who has made a job: it is done with the rights that they have when it is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MadeBy {
    /// The user.
    pub user: UserId,
    /// The key that they used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<ApiKeyId>,
    /// What the token that they used was limited to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub within: Option<PermissionSet>,
}

impl MadeBy {
    /// Returns who calls.
    pub fn of(caller: &Caller) -> MadeBy {
        let (key, within) = match caller.proof {
            Proof::Key { id, .. } => (Some(id), None),
            Proof::Exchanged { scopes, .. } => (None, Some(scopes)),
            Proof::Session { .. } => (None, None),
        };
        MadeBy { user: caller.user, key, within }
    }
}

/// An instance that refused.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Refused {
    /// Instance.
    pub instance: InstanceId,
    /// Stable code.
    pub code: Text,
    /// Why.
    pub message: String,
}

/// The first instances of a job, which are watched before the others follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Canary {
    /// How many.
    pub count: u32,
    /// How long they are watched.
    pub hold: Span,
    /// When the watch ends; none before it has begun.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
    /// They have done no worse than the others.
    #[serde(default)]
    pub passed: bool,
}

/// A job as it stands.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Job {
    /// Identity.
    pub id: Text,
    /// `bulk` or `upgrade`.
    pub kind: Text,
    /// How it stands.
    pub status: JobStatus,
    /// Who has made it.
    pub made_by: MadeBy,
    /// When.
    pub made_at: Timestamp,
    /// When something last changed.
    pub updated_at: Timestamp,
    /// When it was over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<Timestamp>,
    /// Instances that are meant.
    pub total: u32,
    /// Instances that were done or have refused.
    pub done: u32,
    /// Instances that have refused.
    pub refused: u32,
    /// The first of them.
    #[serde(default)]
    pub refusals: Vec<Refused>,
    /// Instances in a second.
    pub rate: u32,
    /// Refusals after which it pauses.
    pub refused_max: u32,
    /// Some go first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub canary: Option<Canary>,
    /// Why it pauses or has failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// What it is about, for people and programs.
    pub about: Json,
}

impl Document for Job {
    const KIND: &'static str = "job";

    fn id(&self) -> Text {
        self.id.clone()
    }
}

/// What a job does, and to whom.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct JobPlan {
    /// The job.
    pub id: Text,
    /// What is done to each.
    pub action: Action,
    /// Why; kept in each history.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Text>,
    /// The instances, in the order in which they are done.
    pub instances: Vec<InstanceId>,
    /// Those that were in trouble before it began.
    #[serde(default)]
    pub troubled: BTreeSet<InstanceId>,
}

impl Document for JobPlan {
    const KIND: &'static str = JOB_PLAN;

    fn id(&self) -> Text {
        self.id.clone()
    }
}

/// A job that is asked for.
#[derive(Clone, Debug)]
pub struct JobAsk {
    /// `bulk` or `upgrade`.
    pub kind: &'static str,
    /// What is done to each.
    pub action: Action,
    /// Why.
    pub reason: Option<Text>,
    /// To whom.
    pub instances: Vec<InstanceId>,
    /// Those in trouble now.
    pub troubled: BTreeSet<InstanceId>,
    /// Instances in a second.
    pub rate: Option<u32>,
    /// Refusals after which it pauses.
    pub refused_max: Option<u32>,
    /// Some go first.
    pub canary: Option<Canary>,
    /// What it is about.
    pub about: Json,
    /// Whether it begins at once, or waits for somebody to start it.
    pub begins: JobStatus,
}

impl Platform {
    /// Makes a job.
    pub fn make_job(
        &self,
        caller: &Caller,
        entered: &Entered,
        ask: JobAsk,
    ) -> Result<Versioned<Job>, Error> {
        let rate = ask.rate.unwrap_or(RATE);
        if !(1..=RATE_MAX).contains(&rate) {
            return Err(Error::invalid("/rate", format!("this is 1 to {RATE_MAX} a second")));
        }
        let (id, now) = (Text::from(self.fresh_id()?.to_string()), self.now());
        let mut job = Job {
            id: id.clone(),
            kind: ask.kind.into(),
            status: ask.begins,
            made_by: MadeBy::of(caller),
            made_at: now,
            updated_at: now,
            ended_at: None,
            total: u32::try_from(ask.instances.len()).unwrap_or(u32::MAX),
            done: 0,
            refused: 0,
            refusals: Vec::new(),
            rate,
            refused_max: ask.refused_max.unwrap_or(REFUSED_MAX),
            canary: ask.canary,
            error: None,
            about: ask.about,
        };
        if job.total == 0 && job.status == JobStatus::Running {
            (job.status, job.ended_at) = (JobStatus::Done, Some(now));
        }
        let JobAsk { action, reason, instances, troubled, .. } = ask;
        let plan = JobPlan { id: id.clone(), action, reason, instances, troubled };
        self.ledgers.change(&entered.ctx, &entered.via, |documents, changes| {
            let all = documents.list::<Job>("")?;
            let open = all.iter().filter(|it| !it.it.status.is_over()).count();
            if open >= JOBS_OPEN_MAX {
                let message = format!("{JOBS_OPEN_MAX} jobs are not over; end one of them first");
                return Err(Error::new("quota_exceeded", message));
            }
            let over = all.iter().filter(|it| it.it.status.is_over());
            if all.len() >= JOBS_MAX
                && let Some(oldest) = over.min_by_key(|it| it.it.made_at)
            {
                changes.remove::<Job>(&oldest.it.id);
                changes.remove::<JobPlan>(&oldest.it.id);
            }
            changes.put(&job);
            changes.put(&plan);
            let act = Act::done("job.created", Job::KIND, id.clone());
            changes.act(act.with(json!({ "kind": job.kind, "about": job.about })));
            Ok(())
        })?;
        self.job(caller, entered, &id)
    }

    /// Returns the jobs of a tenant that somebody may see, the newest first.
    pub fn jobs(&self, caller: &Caller, entered: &Entered) -> Result<Vec<Versioned<Job>>, Error> {
        let mut jobs = self.ledgers.read(&entered.ctx, |it| it.list::<Job>(""))?;
        jobs.retain(|it| sees(caller, entered, &it.it));
        jobs.reverse();
        Ok(jobs)
    }

    /// Returns a job.
    pub fn job(
        &self,
        caller: &Caller,
        entered: &Entered,
        id: &str,
    ) -> Result<Versioned<Job>, Error> {
        let found = self.ledgers.get::<Job>(&entered.ctx, id)?;
        found.filter(|it| sees(caller, entered, &it.it)).ok_or_else(|| absent(id))
    }

    /// Starts, pauses or ends a job.
    pub fn turn_job(
        &self,
        caller: &Caller,
        entered: &Entered,
        id: &str,
        to: JobStatus,
    ) -> Result<Versioned<Job>, Error> {
        let now = self.now();
        self.ledgers.change(&entered.ctx, &entered.via, |documents, changes| {
            let found = documents.get::<Job>(id)?;
            let found = found.filter(|it| sees(caller, entered, it));
            let mut job = found.ok_or_else(|| absent(id))?;
            if job.status == to {
                return Ok(());
            }
            let is_good = match to {
                JobStatus::Running => {
                    matches!(job.status, JobStatus::Planned | JobStatus::Paused)
                }
                JobStatus::Paused => job.status == JobStatus::Running,
                JobStatus::Cancelled => !job.status.is_over(),
                JobStatus::Planned | JobStatus::Done | JobStatus::Failed => false,
            };
            if !is_good {
                let (is, word) = (word(job.status), word(to));
                let message = format!("job `{id}` is {is}; it cannot become {word}");
                return Err(Error::new("invalid_state", message));
            }
            if to == JobStatus::Running {
                // Somebody has looked at what held it.
                job.error = None;
                job.refused_max = job.refused_max.saturating_add(job.refused);
                if let Some(canary) = job.canary.as_mut().filter(|it| it.until.is_some()) {
                    canary.passed = true;
                }
            }
            job.status = to;
            job.updated_at = now;
            job.ended_at = to.is_over().then_some(now);
            changes.put(&job);
            let action = match to {
                JobStatus::Running => "job.started",
                JobStatus::Paused => "job.paused",
                _ => "job.cancelled",
            };
            changes.act(Act::done(action, Job::KIND, job.id.clone()));
            Ok(())
        })?;
        self.job(caller, entered, id)
    }
}

fn word(status: JobStatus) -> String {
    json!(status).as_str().unwrap_or_default().to_owned()
}

/// Says whether somebody may see a job: their own, or all for who looks after the tenant.
fn sees(caller: &Caller, entered: &Entered, job: &Job) -> bool {
    job.made_by.user == caller.user || entered.standing.permissions.has(Permission::TenantSettings)
}

fn absent(id: &str) -> Error {
    Error::not_found(Job::KIND, id)
}
