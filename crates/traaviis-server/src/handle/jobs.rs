//! Handlers of jobs: one thing done to many instances, and upgrades.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value as Json, json};
use traaviis_api::{
    operation::BASE,
    types::{
        Page,
        jobs::{BulkRequest, JobAnswer, JobProgress, UpgradePlanRequest},
    },
};
use traaviis_model::{InstanceId, Span, Text, form::CANARY_PERCENT_MAX, record::Status};
use traaviis_platform::{
    Error,
    ask::{Ask, Filter},
    jobs::{Action, Canary, Job, JobAsk, JobStatus, run::troubled},
};

use super::{Answer, Call, instances::ask, looks::filter_of};
use crate::convert;

/// Percent of the instances that go first, unless a caller says otherwise.
const CANARY_PERCENT: u8 = 5;
/// Seconds for which those are watched.
const HOLD_S: u32 = 600;

/// Returns the instances in a list that an operation can be about, the oldest first.
fn found(listed: &Json, fits: impl Fn(&Json) -> bool) -> Vec<InstanceId> {
    let items = listed["instances"].as_array().into_iter().flatten();
    let ids = items.filter(|it| fits(it)).filter_map(|it| it["id"].as_str()?.parse().ok());
    let mut ids: Vec<InstanceId> = ids.collect();
    ids.sort_unstable();
    ids
}

pub(super) fn bulk(call: &Call<'_>) -> Result<Answer, Error> {
    let asked: BulkRequest = call.request.json()?;
    let action: Action = serde_json::from_value(asked.operation.clone())
        .map_err(|error| Error::invalid("/operation", error.to_string()))?;
    if let Action::Upgrade { .. } = action {
        let rule = "plan an upgrade with `POST /workflows/{name}/upgrade-plan`";
        return Err(Error::invalid("/operation/action", rule));
    }
    if action.needs_reason() && asked.reason.is_none() {
        return Err(Error::invalid("/reason", "say why; it is kept in the histories"));
    }
    let filter = filter_of(&asked.filter, call.platform().now())?;
    let revives = matches!(action, Action::Retry | Action::Skip { .. });
    let filter = if revives { Filter { ended: None, ..filter } } else { filter };
    let fits = |it: &Json| {
        serde_json::from_value::<Status>(it["status"].clone()).is_ok_and(|it| action.fits(it))
    };
    let instances = found(&ask(call, Ask::List { filter })?, fits);
    let about = json!({ "operation": asked.operation, "filter": asked.filter });
    if asked.dry_run {
        let total = u32::try_from(instances.len()).unwrap_or(u32::MAX);
        let shown: Vec<&InstanceId> = instances.iter().take(100).collect();
        return call.shown(json!(JobAnswer {
            id: None,
            kind: "bulk".into(),
            status: "planned".into(),
            progress: JobProgress { total, done: 0, refused: 0 },
            about,
            result: json!({ "instances": shown }),
            error: None,
            made_at: None,
            updated_at: None,
            ended_at: None,
        }));
    }
    let made = call.platform().make_job(
        call.caller()?,
        call.entered()?,
        JobAsk {
            kind: "bulk",
            action,
            reason: asked.reason.map(Text::from),
            instances,
            troubled: Default::default(),
            rate: asked.rate,
            refused_max: asked.max_failures,
            canary: None,
            about,
            begins: JobStatus::Running,
        },
    )?;
    tell(call, &made.it)
}

/// Answers with a job, and where it is shown.
fn tell(call: &Call<'_>, job: &Job) -> Result<Answer, Error> {
    let tenant = call.request.part("t");
    let location = Some(format!("{BASE}/tenants/{tenant}/jobs/{}", job.id));
    Ok(Answer { location, ..call.shown(json!(convert::job(job)))? })
}

pub(super) fn list(call: &Call<'_>) -> Result<Answer, Error> {
    let jobs = call.platform().jobs(call.caller()?, call.entered()?)?;
    call.shown(json!(Page::whole(jobs.iter().map(|it| convert::job(&it.it)).collect())))
}

/// Returns the id of the job; below a workflow it must be about that.
fn id_of(call: &Call<'_>) -> Result<String, Error> {
    let id = call.request.part("id");
    if let Some(name) = call.request.parts.get("name") {
        let job = call.platform().job(call.caller()?, call.entered()?, id)?.it;
        let workflow = job.about["workflow"].as_str().unwrap_or_default();
        if &*job.kind != "upgrade" || !workflow.eq_ignore_ascii_case(name) {
            return Err(Error::not_found("job", id));
        }
    }
    Ok(id.to_owned())
}

pub(super) fn show(call: &Call<'_>) -> Result<Answer, Error> {
    let id = id_of(call)?;
    tell(call, &call.platform().job(call.caller()?, call.entered()?, &id)?.it)
}

pub(super) fn turn(call: &Call<'_>, to: JobStatus) -> Result<Answer, Error> {
    let id = id_of(call)?;
    tell(call, &call.platform().turn_job(call.caller()?, call.entered()?, &id, to)?.it)
}

pub(super) fn plan_upgrade(call: &Call<'_>) -> Result<Answer, Error> {
    let asked: UpgradePlanRequest = call.request.json_or_default()?;
    let made = plan(call, call.request.part("name"), asked, JobStatus::Planned)?;
    tell(call, &made)
}

/// Plans to take the open instances of a workflow over that are safe.
pub(super) fn plan(
    call: &Call<'_>,
    name: &str,
    asked: UpgradePlanRequest,
    begins: JobStatus,
) -> Result<Job, Error> {
    let entered = call.entered()?;
    let found_version = call.platform().version(entered, name, asked.version.as_deref())?.it;
    let workflow = found_version.name.clone();
    let definition = found_version.document;
    // Instances have the name that the workflow had when their version was published.
    let names = call.platform().names_of_workflow(&entered.ctx, &workflow)?;
    let (mut instances, mut in_trouble) = (Vec::new(), BTreeSet::new());
    for workflow in names {
        in_trouble.extend(troubled(call.engine(), &entered.ctx, &workflow)?);
        let mut classified = ask(call, Ask::Classify { workflow, definition: definition.clone() })?;
        instances.append(classified["instances"].as_array_mut().unwrap_or(&mut Vec::new()));
    }
    let classified = json!({ "instances": instances });
    let safe = found(&classified, |it| it["class"] == "safe");
    let percent = asked.canary_percent.unwrap_or(CANARY_PERCENT);
    if percent > CANARY_PERCENT_MAX {
        let rule = format!("at most {CANARY_PERCENT_MAX} percent go first");
        return Err(Error::invalid("/canary_percent", rule));
    }
    let first = (safe.len() * usize::from(percent)).div_ceil(100);
    let canary = (percent > 0).then(|| Canary {
        count: u32::try_from(first).unwrap_or(u32::MAX),
        hold: Span::secs(i64::from(asked.hold_s.unwrap_or(HOLD_S))),
        until: None,
        passed: false,
    });
    let about = json!({
        "workflow": workflow,
        "version": found_version.published.version,
        "counts": counts(&classified),
        "groups": groups(&classified),
    });
    let made = call.platform().make_job(
        call.caller()?,
        entered,
        JobAsk {
            kind: "upgrade",
            action: Action::Upgrade { definition },
            reason: None,
            instances: safe,
            troubled: in_trouble,
            rate: asked.rate,
            refused_max: None,
            canary,
            about,
            begins,
        },
    )?;
    Ok(made.it)
}

fn counts(classified: &Json) -> BTreeMap<&str, usize> {
    let mut counts: BTreeMap<&str, usize> =
        ["current", "safe", "needs_mapping", "blocked"].map(|it| (it, 0)).into();
    for it in classified["instances"].as_array().into_iter().flatten() {
        *counts.entry(it["class"].as_str().unwrap_or_default()).or_default() += 1;
    }
    counts
}

/// Groups of a plan that are told; more say nothing that a person would read.
const GROUPS_MAX: usize = 100;

/// Tells once what is the same of many: version, state, class and what keeps them.
fn groups(classified: &Json) -> Vec<Json> {
    let mut groups: BTreeMap<String, (Json, usize)> = BTreeMap::new();
    for it in classified["instances"].as_array().into_iter().flatten() {
        let group = json!({
            "version": it["version"],
            "state": it["state"],
            "class": it["class"],
            "reasons": it["reasons"],
        });
        groups.entry(group.to_string()).or_insert((group, 0)).1 += 1;
    }
    let mut groups: Vec<(Json, usize)> = groups.into_values().collect();
    groups.sort_by_key(|it| std::cmp::Reverse(it.1));
    let told = groups.into_iter().take(GROUPS_MAX).map(|(mut group, count)| {
        group["count"] = json!(count);
        group
    });
    told.collect()
}
