//! Numbers about what runs: steps, calls, appends, memory. Counted where it happens, told when
//! somebody asks.
//!
//! Invariant: there are few series, whatever tenants and workflows there are.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Instant, SystemTime},
};

use traaviis_model::{
    Body, Call, CallId, DeliveryClass, TenantCtx, TenantId, Value, call::CALL_KINDS,
    record::Status, times::Times,
};
use traaviis_ports::{Connector, OnOutcome};
use traaviis_runtime::owner::Committed;
use traaviis_server::metrics::{Exposition, Kind};

use super::{
    Exports,
    collector::Sent,
    happened::Happened,
    line,
    traces::{Attempt, Step, Traces},
};
use crate::{data::Data, memory};

/// Tenants that numbers are told of by their id: the first that are seen. All others are `other`.
const TENANTS_MAX: usize = 100;

/// What is counted of a tenant.
#[derive(Clone, Copy, Debug, Default)]
struct OfTenant {
    transitions: u64,
    records: u64,
    created: u64,
    ended: [u64; Status::ALL.len()],
}

#[derive(Debug, Default)]
struct Tenants {
    named: HashMap<TenantId, OfTenant>,
    others: OfTenant,
}

/// What is counted of a kind of effect.
#[derive(Debug, Default)]
struct OfEffect {
    started: AtomicU64,
    completed: AtomicU64,
    failed: AtomicU64,
    times: Times,
}

/// All numbers.
#[derive(Debug)]
pub struct Numbers {
    tenants: Mutex<Tenants>,
    /// By kind; the last is of kinds that have no name here.
    effects: Vec<OfEffect>,
    egress_denied: AtomicU64,
    happened: Happened,
}

impl Default for Numbers {
    fn default() -> Numbers {
        let effects = (0..=CALL_KINDS.len()).map(|_| OfEffect::default()).collect();
        Numbers {
            tenants: Mutex::default(),
            effects,
            egress_denied: AtomicU64::default(),
            happened: Happened::default(),
        }
    }
}

impl Numbers {
    /// Counts a step that is durable.
    pub fn step(&self, step: &Committed) {
        self.happened.step(step);
        let mut tenants = self.tenants.lock().unwrap_or_else(PoisonError::into_inner);
        let Tenants { named, others } = &mut *tenants;
        let room = named.len() < TENANTS_MAX;
        let of = match named.get_mut(&step.snapshot.tenant_id) {
            Some(of) => of,
            None if room => named.entry(step.snapshot.tenant_id).or_default(),
            None => others,
        };
        of.records += step.records.len() as u64;
        for record in step.records.iter() {
            match record.body {
                Body::Created { .. } => of.created += 1,
                Body::Transition { .. } => of.transitions += 1,
                Body::Finished { .. } => {
                    let status = step.snapshot.status;
                    let at = Status::ALL.iter().position(|it| *it == status).unwrap_or_default();
                    of.ended[at] += 1;
                }
                _ => {}
            }
        }
    }

    fn effect(&self, kind: &str) -> &OfEffect {
        let at = CALL_KINDS.iter().position(|it| *it == kind).unwrap_or(CALL_KINDS.len());
        &self.effects[at]
    }

    /// Tells everything.
    pub fn tell(&self, out: &mut Exposition, data: &Data, exports: &Exports) {
        self.tell_steps(out);
        self.tell_effects(out);
        self.happened.tell(out);
        let written = data.log().inner().written();
        let help = "bytes that were appended to the log";
        out.one("traaviis_fsm_event_store_append_bytes_total", Kind::Counter, help, || {
            written.bytes() as f64
        });
        let name = "traaviis_fsm_event_store_fsync_duration_seconds";
        out.family(name, Kind::Histogram, "time of a sync, which all who wait share");
        out.times(&[], &written.syncs.counted());
        if let Ok(stats) = data.memory() {
            memory::tell(&stats, out);
        }
        if let Some(tree) = data.tree() {
            let help = "records that the document tree is behind";
            out.one("traaviis_tree_lag_records", Kind::Gauge, help, || tree.lag as f64);
        }
        let help = "log lines that were left out, because the same came too often";
        out.one("traaviis_log_lines_left_out_total", Kind::Counter, help, || {
            line::left_out() as f64
        });
        let Exports { traces, records, readings } = exports;
        let mut tell_sent = |name: &str, help: &str, sent: Option<&Sent>| {
            let Some(sent) = sent else { return };
            out.family(name, Kind::Counter, help);
            for (result, count) in sent.counts() {
                out.sample(&[("result", result)], count as f64);
            }
        };
        let help = "spans for the collector by what became of them";
        let sent = traces.as_ref().map(|it| &*it.sent);
        tell_sent("traaviis_telemetry_spans_total", help, sent);
        let help = "log lines for the collector by what became of them";
        let sent = records.as_ref().map(|it| &*it.sent);
        tell_sent("traaviis_telemetry_log_records_total", help, sent);
        let help = "pushes of numbers to the collector by what became of them";
        let sent = readings.as_ref().map(|it| &*it.1);
        tell_sent("traaviis_telemetry_pushes_total", help, sent);
    }

    fn tell_steps(&self, out: &mut Exposition) {
        let tenants = self.tenants.lock().unwrap_or_else(PoisonError::into_inner);
        let mut all: Vec<(String, OfTenant)> =
            tenants.named.iter().map(|(id, it)| (id.to_string(), *it)).collect();
        all.sort_by(|a, b| a.0.cmp(&b.0));
        all.push(("other".into(), tenants.others));
        drop(tenants);
        type Counter = fn(&OfTenant) -> u64;
        let counters: [(&str, &str, Counter); 3] = [
            ("traaviis_fsm_transition_completed_total", "transitions", |it| it.transitions),
            ("traaviis_fsm_event_store_append_total", "records that are durable", |it| it.records),
            ("traaviis_fsm_workflow_created_total", "instances that began", |it| it.created),
        ];
        for (name, help, count) in counters {
            out.family(name, Kind::Counter, help);
            for (tenant, of) in &all {
                out.sample(&[("tenant_id", tenant)], count(of) as f64);
            }
        }
        let name = "traaviis_fsm_workflow_executed_total";
        out.family(name, Kind::Counter, "instances that ended by how they did");
        for (tenant, of) in &all {
            for (status, count) in Status::ALL.iter().zip(of.ended).filter(|it| it.1 > 0) {
                let labels = [("tenant_id", &**tenant), ("status", status.as_str())];
                out.sample(&labels, count as f64);
            }
        }
    }

    fn tell_effects(&self, out: &mut Exposition) {
        let kinds = || CALL_KINDS.iter().copied().chain(["other"]).zip(&self.effects);
        type Counter = fn(&OfEffect) -> &AtomicU64;
        let counters: [(&str, &str, Counter); 3] = [
            ("traaviis_fsm_effect_started_total", "calls that went out", |it| &it.started),
            ("traaviis_fsm_effect_completed_total", "calls that went well", |it| &it.completed),
            ("traaviis_fsm_effect_failed_total", "calls that failed", |it| &it.failed),
        ];
        for (name, help, count) in counters {
            out.family(name, Kind::Counter, help);
            for (kind, of) in kinds().filter(|it| it.1.started.load(Ordering::Relaxed) > 0) {
                let count = count(of).load(Ordering::Relaxed) as f64;
                out.sample(&[("effect_type", kind)], count);
            }
        }
        let name = "traaviis_fsm_effect_duration_seconds";
        out.family(name, Kind::Histogram, "time of a call");
        for (kind, of) in kinds() {
            out.times(&[("effect_type", kind)], &of.times.counted());
        }
        let help = "calls to places that nobody allows";
        out.one("traaviis_security_egress_denied_total", Kind::Counter, help, || {
            self.egress_denied.load(Ordering::Relaxed) as f64
        });
    }
}

/// Counts and traces what goes out.
pub struct Observed {
    inner: Arc<dyn Connector>,
    numbers: Arc<Numbers>,
    traces: Option<Traces>,
}

impl Observed {
    /// Returns a connector that counts.
    pub fn new(
        inner: Arc<dyn Connector>,
        numbers: Arc<Numbers>,
        traces: Option<Traces>,
    ) -> Arc<Observed> {
        Arc::new(Observed { inner, numbers, traces })
    }
}

impl Connector for Observed {
    fn perform(&self, ctx: &TenantCtx, call: Call, done: OnOutcome) {
        let (numbers, traces) = (Arc::clone(&self.numbers), self.traces.clone());
        let (tenant_id, id, kind) = (ctx.tenant(), call.id.instance, call.kind.clone());
        let CallId { tree, path, attempt, .. } = &call.id;
        let name = traces.is_some().then(|| format!("{tree}:{path}#{attempt}"));
        numbers.effect(&kind).started.fetch_add(1, Ordering::Relaxed);
        let (clock, begun) = (Instant::now(), SystemTime::now());
        let told: OnOutcome = Box::new(move |outcome| {
            let of = numbers.effect(&kind);
            of.times.note(clock.elapsed());
            let error = outcome.as_ref().err().map(|it| it.code.to_string());
            let counter = if error.is_none() { &of.completed } else { &of.failed };
            counter.fetch_add(1, Ordering::Relaxed);
            if error.as_deref() == Some("egress_denied") {
                numbers.egress_denied.fetch_add(1, Ordering::Relaxed);
            }
            if let (Some(traces), Some(call)) = (&traces, &name) {
                let error = error.as_deref();
                traces.attempt(&Attempt { tenant_id, id, kind: &kind, call, begun, error });
            }
            done(outcome);
        });
        self.inner.perform(ctx, call, told);
    }

    fn abandon(&self, ctx: &TenantCtx, id: &CallId) {
        self.inner.abandon(ctx, id);
    }

    fn delivery_class(&self, ctx: &TenantCtx, kind: &str, input: &Value) -> DeliveryClass {
        self.inner.delivery_class(ctx, kind, input)
    }
}

/// Tells of a step.
pub fn trace_step(traces: &Traces, step: &Committed) {
    let snapshot = &step.snapshot;
    traces.step(&Step {
        tenant_id: snapshot.tenant_id,
        id: snapshot.id,
        workflow: &snapshot.workflow,
        status: snapshot.status.as_str(),
        number: snapshot.step,
        records: step.records.len(),
        at: snapshot.updated_at,
    });
}

#[cfg(test)]
mod tests {
    use traaviis_model::{
        Actor, DefinitionHash, Header, InstanceId, Record, Snapshot, Timestamp,
        record::RECORD_VERSION,
    };
    use uuid::Uuid;

    use super::*;

    fn begun(tenant: u128) -> Committed {
        let (tenant_id, instance_id) =
            (TenantId(Uuid::from_u128(tenant)), InstanceId(Uuid::from_u128(tenant << 64)));
        let header = Header {
            origin: None,
            tenant_id,
            instance_id,
            seq: 1,
            v: RECORD_VERSION,
            at: Timestamp(1),
            step: 1,
            definition_hash: DefinitionHash([1; 32]),
            actor: Actor::engine(),
            causation_id: None,
            correlation_id: None,
        };
        let body = Body::Created {
            workflow: "Order".into(),
            version: "1.0.0".into(),
            input: Value::Null,
            data: Value::Null,
            correlation: None,
            lineage: None,
            tags: Default::default(),
            labels: Default::default(),
            created_by: None,
            subject: None,
        };
        let record = Record { header, body };
        let snapshot = Arc::new(Snapshot::create(&record).unwrap());
        Committed { position: 1, records: Arc::new(vec![record]), snapshot, before: None }
    }

    #[test]
    fn tenants_beyond_the_limit_share_one_name() {
        let numbers = Numbers::default();
        let count = TENANTS_MAX as u128 + 50;
        (1..=count).for_each(|it| numbers.step(&begun(it)));
        numbers.step(&begun(1));
        let mut out = Exposition::default();
        numbers.tell_steps(&mut out);
        let text = out.text();
        let series: Vec<&str> = text
            .lines()
            .filter(|it| it.starts_with("traaviis_fsm_workflow_created_total{"))
            .collect();
        assert_eq!(series.len(), TENANTS_MAX + 1);
        assert!(series.contains(&"traaviis_fsm_workflow_created_total{tenant_id=\"other\"} 50"));
        assert_eq!(series.iter().filter(|it| it.ends_with("} 2")).count(), 1);
    }
}
