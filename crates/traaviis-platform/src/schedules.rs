//! Schedules of a tenant: workflows that start at the times of a cron pattern.
//!
//! What carries a schedule out is an instance of the workflow `Schedule`, which is durable like any
//! other; the document gives it a name that stays when its pattern changes. A change is noted
//! first, together with the id of the instance that is to carry it out, and settled afterwards: so
//! what a crash leaves half done is settled by the next start.

use serde::{Deserialize, Serialize};
use serde_json::{Value as Json, json};
use traaviis_model::{
    InstanceId, Span, TenantCtx, TenantId, Text, Timestamp, UserId, Value, cron::Cron,
    record::Operation,
};

use crate::{
    ask::Ask,
    audit::Act,
    caller::{Caller, Entered},
    engine::Engine,
    error::Error,
    expected::Expected,
    ledger::{Document, Versioned},
    platform::{Platform, engine as by_itself},
    workflows::{Workflow, key_of},
};

/// Schedules of a tenant.
pub const SCHEDULES_MAX: usize = 1_000;
/// Times that are shown.
const UPCOMING: usize = 10;
/// The workflow that carries schedules out.
pub const CARRIER: &str = "Schedule";

/// A schedule.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Schedule {
    /// Identity.
    pub id: Text,
    /// What it starts, and when: the input of the workflow that carries it out.
    pub input: Json,
    /// The instance that carries it out.
    pub instance: InstanceId,
    /// The one before, until it is ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replaces: Option<InstanceId>,
    /// The instance runs, and the one before does not.
    #[serde(default)]
    pub settled: bool,
    /// When it was made.
    pub made_at: Timestamp,
    /// By whom.
    pub made_by: UserId,
    /// When it was last changed.
    pub updated_at: Timestamp,
}

impl Document for Schedule {
    const KIND: &'static str = "schedule";

    fn id(&self) -> Text {
        self.id.clone()
    }
}

impl Schedule {
    /// Returns the workflow that it starts.
    pub fn workflow(&self) -> &str {
        self.input["workflow"].as_str().unwrap_or_default()
    }

    /// Returns the next times, on the clock of its zone.
    pub fn upcoming(&self, now: Timestamp) -> Vec<String> {
        let Ok(cron) = cron_of(&self.input) else { return Vec::new() };
        cron.upcoming(now, UPCOMING).into_iter().map(|it| cron.local(it)).collect()
    }
}

fn cron_of(input: &Json) -> Result<Cron, String> {
    let pattern = input["cron"].as_str().unwrap_or_default();
    Cron::read(pattern, input["timezone"].as_str().unwrap_or("UTC"))
}

/// Refuses what the input schema of the workflow that carries it out takes, and its runs fail on.
fn check(input: &Json) -> Result<(), Error> {
    cron_of(input).map_err(|rule| Error::invalid("/cron", rule))?;
    for key in ["catch_up_window", "jitter"] {
        if let Some(text) = input[key].as_str() {
            let span = text.parse::<Span>();
            span.map_err(|rule| Error::invalid(&format!("/{key}"), rule))?;
        }
    }
    Ok(())
}

impl Platform {
    /// Returns the schedules of a tenant, the oldest first.
    pub fn schedules(&self, entered: &Entered) -> Result<Vec<Versioned<Schedule>>, Error> {
        self.ledgers.read(&entered.ctx, |it| it.list::<Schedule>(""))
    }

    /// Returns a schedule.
    pub fn schedule(&self, entered: &Entered, id: &str) -> Result<Versioned<Schedule>, Error> {
        let found = self.ledgers.get::<Schedule>(&entered.ctx, id)?;
        found.ok_or_else(|| absent(id))
    }

    /// Makes a schedule, or changes one that was read at version `expected`.
    pub fn put_schedule(
        &self,
        caller: &Caller,
        entered: &Entered,
        engine: &dyn Engine,
        input: Json,
        of: Option<(&str, Expected)>,
    ) -> Result<Versioned<Schedule>, Error> {
        check(&input)?;
        let (instance, now) = (InstanceId(self.fresh_id()?), self.now());
        let id = match &of {
            Some((id, _)) => Text::from(*id),
            None => self.fresh_id()?.to_string().into(),
        };
        let workflow = input["workflow"].as_str().unwrap_or_default().to_owned();
        self.ledgers.change(&entered.ctx, &entered.via, |documents, changes| {
            let known = documents.shared::<Workflow>(&key_of(documents, &workflow)?)?;
            if known.is_none_or(|it| it.versions.is_empty()) {
                let rule = "no version of such a workflow is published";
                return Err(Error::invalid("/workflow", rule));
            }
            let before = documents.versioned::<Schedule>(&id)?;
            let before = match (&of, before) {
                (None, _) if documents.count::<Schedule>() >= SCHEDULES_MAX => {
                    let message = format!("a tenant has at most {SCHEDULES_MAX} schedules");
                    return Err(Error::new("quota_exceeded", message));
                }
                (None, _) => None,
                (Some(_), None) => return Err(absent(&id)),
                (Some((_, expected)), Some(before)) => {
                    expected.check(&before)?;
                    Some(before.it)
                }
            };
            let is_new = before.is_none();
            changes.put(&Schedule {
                id: id.clone(),
                input: input.clone(),
                instance,
                replaces: before.as_ref().map(|it| it.instance),
                settled: false,
                made_at: before.as_ref().map_or(now, |it| it.made_at),
                made_by: before.as_ref().map_or(caller.user, |it| it.made_by),
                updated_at: now,
            });
            let action = if is_new { "schedule.created" } else { "schedule.changed" };
            let about = json!({ "workflow": input["workflow"], "cron": input["cron"] });
            changes.act(Act::done(action, Schedule::KIND, id.clone()).with(about));
            Ok(())
        })?;
        let made = self.schedule(entered, &id)?;
        if let Err(error) = self.settle(entered.ctx.tenant(), engine, &made.it) {
            if of.is_none() {
                // Its input is refused, and nothing was begun.
                self.forget_schedule(entered, &id)?;
            }
            return Err(error);
        }
        self.schedule(entered, &id)
    }

    /// Ends a schedule; runs that it has started go on.
    pub fn end_schedule(
        &self,
        entered: &Entered,
        engine: &dyn Engine,
        id: &str,
        expected: &Expected,
    ) -> Result<(), Error> {
        let found = self.schedule(entered, id)?;
        expected.check(&found)?;
        let found = found.it;
        let ctx = TenantCtx::keeper_of(entered.ctx.tenant()).as_engine();
        for instance in found.replaces.into_iter().chain([found.instance]) {
            end(engine, &ctx, instance)?;
        }
        self.forget_schedule(entered, id)
    }

    fn forget_schedule(&self, entered: &Entered, id: &str) -> Result<(), Error> {
        self.ledgers.change(&entered.ctx, &entered.via, |_, changes| {
            changes.remove::<Schedule>(id);
            changes.act(Act::done("schedule.ended", Schedule::KIND, id));
            Ok(())
        })
    }

    /// Pauses a schedule, or lets it go on.
    pub fn turn_schedule(
        &self,
        entered: &Entered,
        engine: &dyn Engine,
        id: &str,
        operation: Operation,
    ) -> Result<Json, Error> {
        let found = self.schedule(entered, id)?.it;
        let ctx = TenantCtx::keeper_of(entered.ctx.tenant()).as_engine();
        let action = match operation {
            Operation::Pause { .. } => "schedule.paused",
            _ => "schedule.resumed",
        };
        let turned =
            engine.ask(&ctx, Ask::Operate { id: found.instance.to_string(), operation })?;
        self.ledgers.change(&entered.ctx, &entered.via, |_, changes| {
            changes.act(Act::done(action, Schedule::KIND, id));
            Ok(())
        })?;
        Ok(turned)
    }

    /// Settles what a crash has left half done, of all tenants; called at a start.
    /// One that cannot be settled keeps no other from it, and stays as it is until the next start.
    pub fn settle_schedules(&self, engine: &dyn Engine) -> Result<(), Error> {
        let mut failed = None;
        for tenant in self.ledgers.tenants() {
            let keeper = TenantCtx::keeper_of(tenant);
            match self.ledgers.read(&keeper, |it| it.list::<Schedule>("")) {
                Ok(all) => {
                    for schedule in all.into_iter().filter(|it| !it.it.settled) {
                        failed = failed.or(self.settle(tenant, engine, &schedule.it).err());
                    }
                }
                Err(error) => failed = failed.or(Some(error)),
            }
        }
        failed.map_or(Ok(()), Err)
    }

    fn settle(
        &self,
        tenant: TenantId,
        engine: &dyn Engine,
        schedule: &Schedule,
    ) -> Result<(), Error> {
        let keeper = TenantCtx::keeper_of(tenant);
        let ctx = keeper.as_engine();
        let input = Value::from(&schedule.input);
        engine.start_built_in(&ctx, CARRIER, schedule.instance, input)?;
        if let Some(before) = schedule.replaces {
            end(engine, &ctx, before)?;
        }
        self.ledgers.change(&keeper, &by_itself(), |documents, changes| {
            let found = documents.get::<Schedule>(&schedule.id)?;
            if let Some(mut found) = found.filter(|it| it.instance == schedule.instance) {
                (found.settled, found.replaces) = (true, None);
                changes.put(&found);
            }
            Ok(())
        })
    }
}

/// Ends what carries a schedule out; one that has ended already is no error.
fn end(engine: &dyn Engine, ctx: &TenantCtx, id: InstanceId) -> Result<(), Error> {
    let reason = Some("its schedule was changed or ended".to_owned());
    let ask = Ask::Cancel { id: id.to_string(), terminate: false, reason };
    match engine.ask(ctx, ask) {
        Err(error) if error.code != "invalid_state" && error.code != "not_found" => Err(error),
        _ => Ok(()),
    }
}

fn absent(id: &str) -> Error {
    Error::not_found(Schedule::KIND, id)
}
