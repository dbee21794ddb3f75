//! How jobs are carried on: one thread, a little of each at a time.
//!
//! Whoever has made a job is looked up again for every part of it, so a job does nothing that they
//! may not do any more.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
    time::{Duration, Instant},
};

use serde_json::json;
use traaviis_model::{
    InstanceId, SessionId, Snapshot, TenantCtx, TenantId, Text, Timestamp, permission::Permission,
    record::Status,
};
use traaviis_policy::{
    access::{Action as Right, Freshness},
    canary::worse,
};

use super::{Action, Job, JobPlan, JobStatus, MadeBy, REFUSALS_MAX, Refused};
use crate::{
    ask::{Ask, Filter},
    audit::{Act, Via},
    caller::{Caller, Proof},
    engine::Engine,
    error::Error,
    ledger::Document as _,
    platform::{Platform, engine},
    rules::SessionAge,
    tenant::ApiKey,
    user::PlatformRole,
};

/// How often the progress of a job is noted; what was done since may be done once more after a
/// crash.
const NOTE_EVERY: Duration = Duration::from_secs(1);
/// Refusals that say nothing about the instance: the job waits until they are over.
const PASSING: &[&str] = &[
    "stopping",
    "busy",
    "timeout",
    "storage_full",
    "memory_pressure",
    "rate_limit_exceeded",
    "instance_backlog_full",
];

/// Carries jobs on.
#[derive(Debug, Default)]
pub struct JobRunner {
    under_way: HashMap<(TenantId, Text), UnderWay>,
}

/// A job that is carried on.
#[derive(Debug)]
struct UnderWay {
    job: Job,
    plan: Arc<JobPlan>,
    /// Instances before this number may have been done before a restart.
    perhaps_done: u32,
    /// When something was last done; what the rate allows is counted from there.
    worked_at: Instant,
    noted_at: Instant,
}

/// Why a job does not go on now.
enum Stop {
    /// Nothing is wrong; the rate, or a passing trouble of the process.
    ForNow,
    /// It becomes something else.
    Becomes(JobStatus, Option<String>),
}

impl JobRunner {
    /// Carries every open job on a little; says whether there is any.
    pub fn carry_on(&mut self, platform: &Platform, engine: &dyn Engine) -> Result<bool, Error> {
        let open = platform.open_jobs();
        let ended: Vec<_> =
            self.under_way.keys().filter(|it| !open.contains(it)).cloned().collect();
        for key in ended {
            if let Some(UnderWay { job, .. }) = self.under_way.remove(&key) {
                platform.note_job(&TenantCtx::keeper_of(key.0), &job, None, None)?;
            }
        }
        // One that fails keeps no other from going on.
        let mut failed = None;
        for key in &open {
            failed = failed.or(self.one(platform, engine, key).err());
        }
        failed.map_or(Ok(!open.is_empty()), Err)
    }

    fn one(
        &mut self,
        platform: &Platform,
        engine: &dyn Engine,
        key: &(TenantId, Text),
    ) -> Result<(), Error> {
        let keeper = TenantCtx::keeper_of(key.0);
        let under_way = match self.under_way.get_mut(key) {
            Some(found) => {
                found.heed(platform, &keeper)?;
                found
            }
            None => {
                let (job, plan) = (
                    platform.ledgers.get::<Job>(&keeper, &key.1)?,
                    platform.ledgers.get::<JobPlan>(&keeper, &key.1)?,
                );
                let (Some(job), Some(plan)) = (job, plan) else { return Ok(()) };
                let now = Instant::now();
                let (job, plan) = (job.it, Arc::new(plan.it));
                let perhaps_done = job.done.saturating_add(job.rate);
                let fresh = UnderWay { job, plan, perhaps_done, worked_at: now, noted_at: now };
                self.under_way.entry(key.clone()).or_insert(fresh)
            }
        };
        let before = under_way.job.done;
        let stop = under_way.work(platform, engine, key.0);
        let (becomes, error) = match stop {
            Stop::ForNow if under_way.job.done == under_way.job.total => {
                (Some(JobStatus::Done), None)
            }
            Stop::ForNow => (None, None),
            Stop::Becomes(status, error) => (Some(status), error),
        };
        let is_due = under_way.noted_at.elapsed() >= NOTE_EVERY && under_way.job.done > 0;
        if becomes.is_some() || is_due || (before == 0 && under_way.job.canary.is_some()) {
            under_way.noted_at = Instant::now();
            platform.note_job(&keeper, &under_way.job, becomes, error)?;
        }
        Ok(())
    }
}

impl UnderWay {
    /// Takes in what somebody has decided about it meanwhile.
    fn heed(&mut self, platform: &Platform, keeper: &TenantCtx) -> Result<(), Error> {
        let found = platform.ledgers.read(keeper, |it| it.shared::<Job>(&self.job.id))?;
        if let Some(found) = found {
            self.job.refused_max = found.refused_max;
            if let (Some(canary), Some(found)) = (&mut self.job.canary, &found.canary) {
                canary.passed |= found.passed;
            }
        }
        Ok(())
    }

    /// Does as much as the rate allows.
    fn work(&mut self, platform: &Platform, engine: &dyn Engine, tenant: TenantId) -> Stop {
        let needed = match self.plan.action {
            Action::Upgrade { .. } => Permission::WorkflowDeploy,
            _ => Permission::WorkflowExecute,
        };
        let ctx = match platform.ctx_of(self.job.made_by, tenant, needed) {
            Ok(ctx) => ctx,
            Err(error) => return Stop::Becomes(JobStatus::Failed, Some(error.message)),
        };
        let waited = self.worked_at.elapsed().as_secs_f64().min(1.0);
        let allowed = (waited * f64::from(self.job.rate)) as usize;
        let (plan, from) = (Arc::clone(&self.plan), self.job.done as usize);
        for id in plan.instances.iter().skip(from).take(allowed) {
            if let Some(stop) = self.watch(platform, engine, &ctx) {
                return stop;
            }
            self.worked_at = Instant::now();
            let refused = match done(&plan, engine, &ctx, *id) {
                Err(error) if PASSING.contains(&&*error.code) => return Stop::ForNow,
                // What was done already refuses to be done again.
                Err(error)
                    if error.code == "invalid_state" && self.job.done < self.perhaps_done =>
                {
                    None
                }
                done => done.err(),
            };
            self.job.done += 1;
            if let Some(Error { code, message, .. }) = refused {
                self.job.refused += 1;
                if self.job.refusals.len() < REFUSALS_MAX {
                    let code = Text::from(&*code);
                    self.job.refusals.push(Refused { instance: *id, code, message });
                }
                if self.job.refused >= self.job.refused_max && self.job.done < self.job.total {
                    let why = format!("{} instances have refused", self.job.refused);
                    return Stop::Becomes(JobStatus::Paused, Some(why));
                }
            }
        }
        Stop::ForNow
    }

    /// Watches those that went first; returns why the others do not follow now.
    fn watch(&mut self, platform: &Platform, engine: &dyn Engine, ctx: &TenantCtx) -> Option<Stop> {
        let now = platform.now();
        let canary = self.job.canary.as_mut()?;
        if canary.passed || self.job.done < canary.count {
            return None;
        }
        let until = *canary.until.get_or_insert(now.plus(canary.hold));
        let name = self.job.about["workflow"].as_str().unwrap_or_default();
        let troubled = match troubled(engine, ctx, name) {
            Ok(troubled) => troubled,
            Err(_) => return Some(Stop::ForNow),
        };
        let JobPlan { instances, troubled: before, .. } = &*self.plan;
        if let Some(why) = worse(instances, canary.count as usize, before, &troubled) {
            return Some(Stop::Becomes(JobStatus::Paused, Some(why)));
        }
        if now < until {
            return Some(Stop::ForNow);
        }
        canary.passed = true;
        None
    }
}

fn done(plan: &JobPlan, engine: &dyn Engine, ctx: &TenantCtx, id: InstanceId) -> Result<(), Error> {
    let places = match plan.action {
        Action::Skip { .. } => {
            let shown = engine.ask(ctx, Ask::Show { id: id.to_string() })?;
            let snapshot: Snapshot = serde_json::from_value(shown["snapshot"].clone())
                .map_err(|error| Error::new("internal", error.to_string()))?;
            Action::places(&snapshot, None)
        }
        _ => Vec::new(),
    };
    for ask in plan.action.asks(&plan.id, plan.reason.as_ref(), id, places) {
        engine.ask(ctx, ask)?;
    }
    Ok(())
}

/// Returns the instances of a workflow that have failed or have an incident.
pub fn troubled(
    engine: &dyn Engine,
    ctx: &TenantCtx,
    workflow: &str,
) -> Result<BTreeSet<InstanceId>, Error> {
    let mut found = BTreeSet::new();
    for status in [Status::Failed, Status::Incident] {
        let (workflow, status) = (Some(workflow.into()), Some(status));
        let filter = Filter { workflow, status, ..Filter::default() };
        let listed = engine.ask(ctx, Ask::List { filter })?;
        let ids = listed["instances"].as_array().into_iter().flatten();
        found.extend(ids.filter_map(|it| it["id"].as_str()?.parse::<InstanceId>().ok()));
    }
    Ok(found)
}

impl Platform {
    /// Returns the jobs that are carried on, of all tenants.
    fn open_jobs(&self) -> BTreeSet<(TenantId, Text)> {
        self.lookup(|it| it.open_jobs().clone())
    }

    /// Lets whoever has made something act, without them being there: with the rights that they
    /// have now.
    pub(crate) fn ctx_of(
        &self,
        by: MadeBy,
        tenant: TenantId,
        needed: Permission,
    ) -> Result<TenantCtx, Error> {
        let gone = || Error::new("user_inactive", "whoever has made this may not act any more");
        let user = self.user(by.user)?.ok_or_else(gone)?;
        crate::caller::active(&user)?;
        // Their sessions come and go; what they may do is looked up either way.
        // Whoever made it was let in, by two factors where the tenant asks for them.
        let (session, is_mfa, confined) = (SessionId(uuid::Uuid::nil()), true, None);
        let age = SessionAge::default();
        let proof = match (by.key, by.within) {
            (None, None) => Proof::Session { id: session, is_fresh: false, is_mfa, confined, age },
            // What it was limited to stays; the token was for letting it in.
            (None, Some(scopes)) => {
                let (id, until) = (session, Timestamp(i64::MAX));
                Proof::Exchanged { id, tenant, scopes, until, is_mfa, confined, age }
            }
            (Some(id), _) => {
                let keeper = TenantCtx::keeper_of(tenant);
                let key = self.ledgers.read(&keeper, |it| it.get::<ApiKey>(&id.to_string()))?;
                let key = key.filter(|it| it.expires_at > self.now()).ok_or_else(gone)?;
                Proof::Key { id, tenant, scopes: key.scopes }
            }
        };
        let via = Via { way: "job", ..Via::default() };
        let platform_role = PlatformRole::User;
        let caller = Caller { user: user.id, platform_role, proof, scoped_to: Some(tenant), via };
        let entered = self.enter(&caller, tenant, Right::Needs(needed), Freshness::Any)?;
        Ok(entered.ctx)
    }

    /// Notes how far a job has come. What somebody has made of it meanwhile stays.
    fn note_job(
        &self,
        keeper: &TenantCtx,
        job: &Job,
        becomes: Option<JobStatus>,
        error: Option<String>,
    ) -> Result<(), Error> {
        let now = self.now();
        self.ledgers.change(keeper, &engine(), |documents, changes| {
            let Some(found) = documents.get::<Job>(&job.id)? else { return Ok(()) };
            let mut noted = Job { status: found.status, updated_at: now, ..job.clone() };
            noted.refused_max = found.refused_max;
            if let (Some(canary), Some(found)) = (&mut noted.canary, &found.canary) {
                canary.passed |= found.passed;
            }
            (noted.ended_at, noted.error) = (found.ended_at, found.error);
            if let Some(status) = becomes.filter(|_| found.status == JobStatus::Running) {
                noted.status = status;
                noted.error = error;
                noted.ended_at = status.is_over().then_some(now);
                let action = match status {
                    JobStatus::Done => "job.done",
                    JobStatus::Paused => "job.held",
                    _ => "job.failed",
                };
                let counts = json!({ "done": noted.done, "refused": noted.refused });
                changes.act(Act::done(action, Job::KIND, noted.id.clone()).with(counts));
            }
            changes.put(&noted);
            Ok(())
        })
    }
}
