//! What every layer does after its fault: opens the directory again, lets everything come to rest,
//! and hands all that can be known to the history checker.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::{Duration, Instant},
};

use traaviis_model::{CallId, InstanceId, Record, TenantCtx, TenantId, Text, Value};
use traaviis_ports::{Clock as _, LogStore, index::Query};
use traaviis_runtime::Effort;
use traaviis_testkit::history::{Evidence, Listed, check, event_id};

use crate::{
    child::Story,
    world::{How, World, is_json_only, tenant},
};

/// Longest wait until nothing moves: what does not rest by then is stuck.
const REST_MAX: Duration = Duration::from_secs(10);
/// States that are asked for one by one; the oldest are left out.
const STATES_MAX: usize = 60;

/// What is asked of a directory.
#[derive(Clone, Copy, Debug)]
pub struct Ask {
    /// Tenants that worked in it.
    pub tenants: u64,
    /// How it is opened.
    pub how: How,
    /// Archives and compacts first; takes long where many instances are due.
    pub upkeep: bool,
}

/// Records as they are durable, and the instances that are in the archive.
pub struct Durable {
    /// In the order of the log; of the archive before them.
    pub records: Vec<Record>,
    /// Instances in the archive.
    pub archived: BTreeSet<InstanceId>,
    /// What cannot be read.
    pub damage: Vec<String>,
}

/// Reads every record of a log and its archive.
pub fn read_all(log: &dyn LogStore, tenants: u64) -> Durable {
    let mut durable =
        Durable { records: Vec::new(), archived: BTreeSet::new(), damage: Vec::new() };
    for ctx in (0..tenants).map(|it| tenant(it).0) {
        read_archive(log, &ctx, &mut durable);
    }
    let mut lines = Vec::new();
    if let Err(error) = log.scan(0, &mut |line| lines.push(line.bytes.to_vec())) {
        durable.damage.push(format!("the log cannot be read: {error}"));
    }
    for line in lines.iter().filter(|it| !it.is_empty()) {
        match Record::read_line(line) {
            // The archive has it whole; the log has what compaction left.
            Ok(record) if durable.archived.contains(&record.header.instance_id) => {}
            Ok(record) => durable.records.push(record),
            Err(error) => durable.damage.push(format!("a record cannot be read: {error}")),
        }
    }
    durable
}

fn read_archive(log: &dyn LogStore, ctx: &TenantCtx, durable: &mut Durable) {
    let Some(archive) = log.archive() else { return };
    let ids = match archive.ids(ctx, None, usize::MAX) {
        Ok(ids) => ids,
        Err(error) => return durable.damage.push(format!("the archive cannot be listed: {error}")),
    };
    for id in ids {
        let history = match archive.get(ctx, id) {
            Ok(history) => history,
            Err(error) => {
                durable.damage.push(format!("an archive file cannot be read: {error}"));
                continue;
            }
        };
        durable.archived.insert(id);
        for line in history.iter().flat_map(|it| &it.lines) {
            durable.records.extend(Record::read_line(line));
        }
    }
}

/// Returns the ids of the events in records.
pub fn events(records: &[Record]) -> BTreeSet<Text> {
    records.iter().filter_map(event_id).cloned().collect()
}

/// Opens a directory, lets it rest, and returns everything that is not as it must be.
pub fn verify(dir: &Path, story: &mut Story, ask: Ask) -> Vec<String> {
    let calls: Arc<Mutex<Vec<(CallId, Text)>>> = Arc::default();
    let heard = Arc::clone(&calls);
    let on_call = Arc::new(move |id: &CallId, key: &Text| {
        let mut calls = heard.lock().unwrap_or_else(PoisonError::into_inner);
        calls.push((id.clone(), key.clone()));
    });
    let world = match World::open(dir, ask.how, on_call) {
        Ok(world) => world,
        Err(error) => return vec![format!("the directory does not open: {error:#}")],
    };
    let there = events(&read_all(&*world.log, ask.tenants).records);
    story.decide(|event| there.contains(event));
    // What a kill left between archive and index is put right by the next look after the log.
    if ask.upkeep
        && let Err(error) = world.handle.upkeep(Effort::Full, &mut |_| ())
    {
        return vec![format!("the log cannot be looked after: {error}")];
    }
    let begun = Instant::now();
    let mut findings = loop {
        let findings = look(&world, story, &calls, ask.tenants);
        if findings.is_empty() || begun.elapsed() >= REST_MAX {
            break findings;
        }
        thread::sleep(Duration::from_millis(20));
    };
    if findings.is_empty() {
        findings = poke(&world, ask.tenants);
    }
    if findings.is_empty() {
        // Once more while the index has not taken up what was just sent.
        findings = look(&world, story, &calls, ask.tenants);
    }
    world.close();
    story.calls.append(&mut calls.lock().unwrap_or_else(PoisonError::into_inner));
    findings
}

/// Collects evidence and checks it.
fn look(
    world: &World,
    story: &Story,
    calls: &Mutex<Vec<(CallId, Text)>>,
    tenants: u64,
) -> Vec<String> {
    let now = world.clock.now();
    // Without an index a list is the fold of the histories, and has nothing to differ in.
    let listed = (!is_json_only()).then(|| listed(world, tenants));
    let durable = read_all(&*world.log, tenants);
    let mut damage = durable.damage;
    damage.extend(world.recovery.damage.iter().map(ToString::to_string));
    let mut all = story.calls.clone();
    all.extend(calls.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned());
    let whose: BTreeMap<InstanceId, TenantId> =
        durable.records.iter().map(|it| (it.header.instance_id, it.header.tenant_id)).collect();
    let contexts: BTreeMap<TenantId, TenantCtx> =
        (0..tenants).map(|it| tenant(it).0).map(|it| (it.tenant(), it)).collect();
    let states = whose.iter().rev().take(STATES_MAX).filter_map(|(id, tenant)| {
        // Documents have streams that are no instances.
        world.handle.get(contexts.get(tenant)?, *id).ok().flatten()
    });
    let states = states.map(|it| (*it).clone()).collect();
    let evidence = Evidence {
        machines: world.machines.iter().map(|it| &**it).collect(),
        records: durable.records,
        told: story.told(),
        started: story.started.clone(),
        calls: all,
        states,
        listed,
        archived: durable.archived,
        marks: (0..tenants).map(tenant).map(|(ctx, mark)| (ctx.tenant(), mark)).collect(),
        damage,
        timers_until: Some(now),
    };
    let mut findings: Vec<String> = check(&evidence).iter().map(ToString::to_string).collect();
    findings.extend(still_moves(&evidence.records));
    findings
}

/// Says which instances, beside those that wait for events, have not come to their end.
fn still_moves(records: &[Record]) -> Vec<String> {
    use traaviis_model::Body;
    let mut open: BTreeMap<InstanceId, &str> = BTreeMap::new();
    for record in records {
        match &record.body {
            Body::Created { workflow, .. } if &**workflow != "Noted" => {
                open.insert(record.header.instance_id, workflow);
            }
            Body::Finished { .. } => {
                open.remove(&record.header.instance_id);
            }
            _ => {}
        }
    }
    open.iter().map(|(id, workflow)| format!("stuck: `{id}` of {workflow} does not end")).collect()
}

/// Lists all instances for every tenant.
fn listed(world: &World, tenants: u64) -> Vec<Listed> {
    let mut listed = Vec::new();
    for ctx in (0..tenants).map(|it| tenant(it).0) {
        let mut query = Query { limit: 1_000, ..Query::default() };
        while let Ok(rows) = world.handle.page(&ctx, &query) {
            query.after = rows.last().map(|it| it.id);
            let count = rows.len();
            listed.extend(rows.into_iter().map(|row| Listed {
                asked_by: ctx.tenant(),
                tenant: row.tenant,
                id: row.id,
                status: row.status,
                seq: row.seq,
            }));
            if count < query.limit {
                break;
            }
        }
    }
    listed
}

/// Sends an event to an open instance of each tenant: what cannot take one is stuck.
fn poke(world: &World, tenants: u64) -> Vec<String> {
    let mut findings = Vec::new();
    for ctx in (0..tenants).map(|it| tenant(it).0) {
        let filter = traaviis_runtime::Filter {
            workflow: Some("Noted".into()),
            ended: Some(false),
            limit: 1,
            ..Default::default()
        };
        let found = world.handle.list(&ctx, &filter).unwrap_or_default();
        for id in found.iter().map(|it| it.id) {
            let sent = world.handle.send(&ctx, id, "bump", Value::empty_map(), None);
            findings
                .extend(sent.err().map(|error| format!("stuck: `{id}` takes no event: {error}")));
        }
    }
    findings
}
