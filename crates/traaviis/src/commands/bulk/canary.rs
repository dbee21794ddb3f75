//! Canaries of `bulk upgrade`: some instances go first, and the others follow when those have done
//! no worse for a while.
//!
//! In trouble is who has failed or has an incident, and had not when the job began. The others, who
//! are still on their version, are what the canaries are compared with.

use std::{
    collections::BTreeSet,
    io::IsTerminal as _,
    thread,
    time::{Duration, Instant},
};

use serde_json::Value as Json;
use traaviis_model::{InstanceId, Span, record::Status};
use traaviis_policy::canary::worse;
use traaviis_runtime::Filter;

use crate::{
    control::protocol::Ask,
    exit::Failure,
    jobs::{Canary, Job},
    output,
};

/// Time between two looks.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Asks the process that runs the directory.
pub(super) type AskFn<'a> = &'a mut dyn FnMut(Ask) -> Result<Json, Failure>;

#[derive(Debug, clap::Args)]
pub(super) struct CanaryArgs {
    /// Take these percent over first, and the others once those have done no worse for `--hold`.
    #[arg(long, value_name = "PERCENT", value_parser = clap::value_parser!(u8).range(1..=50))]
    canary: Option<u8>,
    /// How long the first ones are watched.
    #[arg(long, value_name = "DURATION", default_value = "10m", requires = "canary")]
    hold: Span,
}

impl CanaryArgs {
    /// Says who goes first of `count`; none when all go at once.
    pub(super) fn of(
        &self,
        count: usize,
        filter: &Filter,
        ask: AskFn<'_>,
    ) -> Result<Option<Canary>, Failure> {
        let Some(percent) = self.canary else { return Ok(None) };
        let first = (count * usize::from(percent)).div_ceil(100);
        let troubled = troubled(filter, ask)?;
        Ok(Some(Canary { count: first, hold: self.hold, troubled }))
    }
}

/// Watches the canaries; returns what is wrong with them, if they do worse than the others.
pub(super) fn watch(job: &Job, canary: &Canary, ask: AskFn<'_>) -> Result<Option<String>, Failure> {
    let hold = Duration::from_micros(canary.hold.0.unsigned_abs());
    let begun = Instant::now();
    if std::io::stderr().is_terminal() {
        output::warn(format_args!("{} went first, watched for {}", canary.count, canary.hold));
    }
    loop {
        let now = troubled(&job.plan.filter, ask)?;
        if let Some(worse) = worse(&job.plan.instances, canary.count, &canary.troubled, &now) {
            return Ok(Some(worse));
        }
        let rest = hold.saturating_sub(begun.elapsed());
        if rest.is_zero() {
            return Ok(None);
        }
        thread::sleep(rest.min(LOOK_EVERY));
    }
}

/// Returns who has failed or has an incident.
fn troubled(filter: &Filter, ask: AskFn<'_>) -> Result<BTreeSet<InstanceId>, Failure> {
    let mut found = BTreeSet::new();
    for status in [Status::Failed, Status::Incident] {
        let filter =
            Filter { workflow: filter.workflow.clone(), status: Some(status), ..Filter::default() };
        let answer = ask(Ask::List { filter })?;
        let items = answer["instances"].as_array().into_iter().flatten();
        found.extend(
            items.filter_map(|it| serde_json::from_value::<InstanceId>(it["id"].clone()).ok()),
        );
    }
    Ok(found)
}
