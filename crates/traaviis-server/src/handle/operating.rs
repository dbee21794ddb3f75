//! Handlers of running the installation: feature flags, numbers, jobs, maintenance, backups.

use std::{collections::BTreeMap, sync::atomic::Ordering};

use traaviis_api::{
    Access, Method, Op, Operation,
    types::{
        Page,
        admin::{
            AdminJobAnswer, BackupsAnswer, FlagAnswer, FlagRequest, MaintenanceAnswer,
            MaintenanceRequest, NodeAnswer, NodePart, NumberAnswer, NumbersAnswer,
        },
    },
};
use traaviis_model::TenantId;
use traaviis_platform::{
    Error,
    engine::{Component, ComponentStatus},
    flags::{FlagChange, FlagSet},
    jobs::Job,
    operating::Maintenance,
};
use traaviis_policy::flag::{Flag, Setting};

use super::{Answer, Call};
use crate::{
    App,
    convert::time,
    operate::{BackupAsk, Backups},
};

/// Refuses a change during maintenance. Reading goes on, people log in and out, and who looks after
/// the platform can end it.
pub(super) fn admit(app: &App, row: &Operation) -> Result<(), Error> {
    match changes(row) {
        true => app.platform.refuse_in_maintenance(),
        false => Ok(()),
    }
}

/// Says whether an operation changes anything but who has logged in.
fn changes(row: &Operation) -> bool {
    let only_reads = matches!(
        row.op,
        Op::QueryInstance
            | Op::ValidateEvent
            | Op::ValidateWorkflow
            | Op::SimulateWorkflow
            | Op::TestWorkflow
            | Op::VerifyAudit
            | Op::DetectPersonal
            | Op::ExportSubject
            | Op::ExportMe
    );
    let logs_in = matches!(
        row.op,
        Op::Login
            | Op::Refresh
            | Op::Logout
            | Op::Switch
            | Op::Reauthenticate
            | Op::SocketTicket
            | Op::AskPasskey
            | Op::LoginByPasskey
            | Op::FinishElsewhere
    );
    row.method != Method::Get && row.access != Access::Platform && !only_reads && !logs_in
}

fn flag(call: &Call<'_>, (flag, set): &(&'static Flag, FlagSet)) -> FlagAnswer {
    FlagAnswer {
        name: flag.name.into(),
        what: flag.what.into(),
        default: call.platform().flags().default_of(flag).to_string(),
        setting: set.setting.as_ref().map(ToString::to_string),
        tenants: set.tenants.iter().map(|(id, it)| (id.0, it.to_string())).collect(),
    }
}

pub(super) fn flags(call: &Call<'_>) -> Result<Answer, Error> {
    let set = call.platform().flags_set(call.caller()?)?;
    call.tell(&Page::whole(set.iter().map(|it| flag(call, it)).collect()))
}

pub(super) fn set_flag(call: &Call<'_>) -> Result<Answer, Error> {
    let FlagRequest { setting, tenants } = call.request.json()?;
    let read = |pointer: &str, text: &str| {
        text.parse::<Setting>().map_err(|rule| Error::invalid(pointer, rule))
    };
    let setting = match setting.as_deref() {
        None => None,
        Some("default") => Some(None),
        Some(text) => Some(Some(read("/setting", text)?)),
    };
    let mut change = FlagChange { setting, tenants: BTreeMap::new() };
    for (id, text) in tenants {
        let setting = text.as_deref().map(|it| read(&format!("/tenants/{id}"), it));
        change.tenants.insert(TenantId(id), setting.transpose()?);
    }
    let name = call.request.part("name");
    let set = call.platform().set_flag(call.caller()?, name, &change)?;
    call.tell(&flag(call, &set))
}

pub(super) fn numbers(call: &Call<'_>) -> Result<Answer, Error> {
    let text = call.app.metrics.text(call.app);
    call.tell(&NumbersAnswer { items: text.lines().filter_map(number).collect() })
}

/// Reads a line of the text format of Prometheus; buckets are left out.
fn number(line: &str) -> Option<NumberAnswer> {
    let (series, value) = line.rsplit_once(' ').filter(|_| !line.starts_with('#'))?;
    let (name, labels) = series.split_once('{').unwrap_or((series, "}"));
    let mut rest = labels.strip_suffix('}')?;
    let mut found = BTreeMap::new();
    while let Some((label, quoted)) = rest.split_once("=\"") {
        let end = quoted.find('"')?;
        found.insert(label.to_owned(), quoted[..end].to_owned());
        rest = quoted[end + 1..].trim_start_matches(',');
    }
    let value = value.parse().ok().filter(|it: &f64| it.is_finite())?;
    let is_bucket = found.contains_key("le");
    (!is_bucket).then(|| NumberAnswer { name: name.into(), labels: found, value })
}

/// Lists the nodes, of which there is one.
pub(super) fn nodes(call: &Call<'_>) -> Result<Answer, Error> {
    let app = call.app;
    let parts = app.components();
    let part = |it: &Component| NodePart {
        name: it.name.into(),
        status: it.status.as_str().into(),
        why: it.why.clone(),
    };
    let node = NodeAnswer {
        name: "local".into(),
        version: app.version.into(),
        started_at: time(app.begun_at),
        ready: parts.iter().all(|it| it.status != ComponentStatus::Failed),
        components: parts.iter().map(part).collect(),
        sockets: app.hub.count(),
        streams: app.streams.load(Ordering::SeqCst),
        waiting: app.waits.load(Ordering::SeqCst),
    };
    call.tell(&Page::whole(vec![node]))
}

fn job((tenant, it): &(TenantId, Job)) -> AdminJobAnswer {
    AdminJobAnswer {
        id: it.id.parse().unwrap_or_default(),
        tenant_id: tenant.0,
        kind: it.kind.to_string(),
        status: it.status.as_str().into(),
        total: it.total,
        done: it.done,
        refused: it.refused,
        made_at: time(it.made_at),
        updated_at: time(it.updated_at),
    }
}

pub(super) fn jobs(call: &Call<'_>) -> Result<Answer, Error> {
    let limit = call.request.limit()?;
    let jobs = call.platform().all_jobs(call.caller()?, limit)?;
    call.tell(&Page::whole(jobs.iter().map(job).collect()))
}

fn maintained(it: Option<Maintenance>) -> MaintenanceAnswer {
    MaintenanceAnswer {
        on: it.as_ref().is_some_and(|it| it.is_on),
        reason: it.as_ref().and_then(|it| it.reason.clone()),
        since: it.map(|it| time(it.since)),
    }
}

pub(super) fn maintenance(call: &Call<'_>) -> Result<Answer, Error> {
    call.tell(&maintained(call.platform().maintenance(call.caller()?)?))
}

pub(super) fn maintain(call: &Call<'_>) -> Result<Answer, Error> {
    let MaintenanceRequest { on, reason } = call.request.json()?;
    let told = call.platform().maintain(call.caller()?, on, reason.as_deref())?;
    call.tell(&maintained(Some(told)))
}

fn backed_up(it: Backups) -> BackupsAnswer {
    BackupsAnswer {
        target: it.target,
        running: it.is_running,
        made_at: it.made_at.map(time),
        position: it.position,
        failing: it.failing,
    }
}

pub(super) fn backups(call: &Call<'_>) -> Result<Answer, Error> {
    call.tell(&backed_up((call.app.operations.backups)(BackupAsk::Look)?))
}

pub(super) fn back_up(call: &Call<'_>) -> Result<Answer, Error> {
    // Whether there is a place for it comes before anybody reads that it was asked for.
    (call.app.operations.backups)(BackupAsk::Look)?;
    call.platform().note_backup(call.caller()?)?;
    call.tell(&backed_up((call.app.operations.backups)(BackupAsk::Make)?))
}

#[cfg(test)]
mod tests {
    use traaviis_api::operation::OPERATIONS;

    use super::*;

    #[test]
    fn numbers_are_read_without_buckets() {
        let read = |line| number(line).map(|it| (it.name, it.labels.len(), it.value));
        assert_eq!(read("a_total 3"), Some(("a_total".into(), 0, 3.0)));
        assert_eq!(read(r#"a{b="c, d",e="f"} 0.5"#), Some(("a".into(), 2, 0.5)));
        for line in ["# HELP a b 1", r#"a_bucket{le="0.1"} 4"#, "", "a NaN", "a{b 1"] {
            assert_eq!(read(line), None, "{line}");
        }
    }

    #[test]
    fn during_maintenance_nothing_is_changed_and_everything_is_read() {
        for row in OPERATIONS {
            match (row.method, row.access) {
                (Method::Get, _) | (_, Access::Platform) => assert!(!changes(row), "{row:?}"),
                (Method::Put | Method::Patch | Method::Delete, _) => {
                    assert!(changes(row), "{row:?}");
                }
                (Method::Post, _) => {}
            }
        }
        for op in [Op::Start, Op::SendEvent, Op::Register, Op::Publish, Op::BulkInstances] {
            assert!(changes(op.row()));
        }
        for op in [Op::Login, Op::QueryInstance, Op::SimulateWorkflow] {
            assert!(!changes(op.row()));
        }
    }
}
