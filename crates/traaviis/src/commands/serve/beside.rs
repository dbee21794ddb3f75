//! What a server does beside requests: looks after what is over, carries jobs on, raises alerts,
//! weighs what is kept, tells webhooks. Each has a thread, which ends with [`Beside`].

use std::{sync::Arc, thread, time::Duration};

use traaviis_platform::{
    Platform,
    engine::{Component, ComponentStatus, Engine},
    jobs::run::JobRunner,
    webhooks::send::WebhookSender,
};
use traaviis_server::App;

use crate::{
    defects,
    exit::{Exit, Failure},
};

/// How often what is over is taken out.
const UPKEEP: Duration = Duration::from_secs(60);

/// Rest between two parts of a job: short, so that many instances a second go evenly.
const JOBS_BUSY: Duration = Duration::from_millis(20);
/// Rest while there is no job: one that is made begins before anybody notices.
const JOBS_IDLE: Duration = Duration::from_millis(200);
/// Rest between two looks at what rules for alerts count: nobody reads an alert sooner.
const ALERTS_REST: Duration = Duration::from_secs(1);
/// Rest between two looks at how the parts of the server stand.
const PARTS_REST: Duration = Duration::from_secs(1);
/// Longest wait for an answer of a receiver before the log is looked at again.
const WEBHOOKS_REST: Duration = Duration::from_millis(50);

/// Rest after a turn that met a defect: it may meet the same again.
const DEFECT_REST: Duration = Duration::from_secs(5);

/// What is done beside requests, for as long as the server lives.
pub(super) struct Beside {
    pub platform: Arc<Platform>,
    pub engine: Arc<dyn Engine>,
    pub app: Arc<App>,
}

impl Beside {
    /// Begins everything.
    pub(super) fn begin(self) -> Result<Arc<Beside>, Failure> {
        warn(self.platform.forget_destroyed(&*self.engine));
        warn(self.platform.settle_schedules(&*self.engine));
        let beside = Arc::new(self);
        beside.again_and_again("platform", |it| {
            it.keep_up();
            UPKEEP
        })?;
        let mut jobs = JobRunner::default();
        beside.again_and_again("jobs", move |it| {
            match jobs.carry_on(&it.platform, &*it.engine) {
                Ok(true) => JOBS_BUSY,
                Ok(false) => JOBS_IDLE,
                Err(error) => {
                    tracing::warn!(code = &*error.code, "jobs: {error}");
                    JOBS_IDLE
                }
            }
        })?;
        beside.again_and_again("alerts", |it| match it.platform.keep_alerts(&*it.engine) {
            Ok(true) => Duration::ZERO,
            Ok(false) => ALERTS_REST,
            Err(error) => {
                tracing::warn!(code = &*error.code, "alerts: {error}");
                ALERTS_REST
            }
        })?;
        beside.again_and_again("storage", |it| {
            warn(it.platform.weigh(&*it.engine));
            UPKEEP
        })?;
        let mut before = Vec::new();
        beside.again_and_again("parts", move |it| {
            let mut parts = it.engine.components();
            parts.extend(it.platform.components());
            tell_changes(&before, &parts);
            before = parts;
            PARTS_REST
        })?;
        let mut webhooks = WebhookSender::default();
        beside.again_and_again("webhooks", move |it| {
            match webhooks.carry_on(&it.platform, &*it.engine, WEBHOOKS_REST) {
                // It has waited for an answer itself.
                Ok(_) => Duration::ZERO,
                Err(error) => {
                    tracing::warn!(code = &*error.code, "webhooks: {error}");
                    JOBS_IDLE
                }
            }
        })?;
        Ok(beside)
    }

    /// Does something on a thread of its own, and rests for as long as that says, until this is
    /// dropped.
    fn again_and_again(
        self: &Arc<Self>,
        name: &str,
        mut work: impl FnMut(&Beside) -> Duration + Send + 'static,
    ) -> Result<(), Failure> {
        let (beside, name) = (Arc::downgrade(self), name.to_owned());
        let begun = thread::Builder::new().name(name.clone()).spawn(move || {
            while let Some(it) = beside.upgrade() {
                let rest = defects::outlive(&name, || work(&it)).unwrap_or(DEFECT_REST);
                drop(it);
                thread::sleep(rest);
            }
        });
        begun.map(drop).map_err(|error| Failure::new(Exit::Internal, "internal", error.to_string()))
    }

    /// Looks after what is over, what was used, and what is to go.
    fn keep_up(&self) {
        let Beside { platform, engine, app } = self;
        app.limits.tidy();
        // One that fails keeps no other from being done.
        for kept in [
            platform.end_old_sessions().map(drop),
            platform.end_old_invitations(),
            platform.end_old_tokens(),
            platform.end_old_glasses(),
            platform.rotate_keys_when_due(),
            platform.note_key_use(),
            platform.forget_old_keys(),
            platform.keep_usage(),
            platform.finish_deletions(&**engine),
            platform.finish_departures(&**engine).map(drop),
        ] {
            warn(kept);
        }
    }
}

/// Says which parts of the server stand otherwise than before: who is woken at night reads the log
/// before anything else.
fn tell_changes(before: &[Component], now: &[Component]) {
    for part in now {
        let was = before.iter().find(|it| it.name == part.name).map(|it| it.status);
        let (name, why) = (part.name, part.why.as_deref().unwrap_or_default());
        match part.status {
            it if was.unwrap_or(ComponentStatus::Ok) == it => {}
            ComponentStatus::Ok => tracing::info!("`{name}` works again"),
            it => tracing::warn!("`{name}` is {}: {why}", it.as_str()),
        }
    }
}

/// Says what went wrong; it is tried again later.
pub(super) fn warn(done: Result<(), traaviis_platform::Error>) {
    if let Err(error) = done {
        tracing::warn!(code = &*error.code, "{error}");
    }
}
