//! What tenants use: counted from the log, held against their plan, and told as invoices.
//!
//! ```text
//! log -> follower with its position -> counts by tenant and month -> admission, usage, invoices
//! ```
//!
//! A month of a tenant is a row of counts; rows and the position up to which they count are put
//! down together, so that after a crash what was not put down is counted again, and nothing twice.
//! Once a month is over, its counts are a document of the ledger, which stays when the rows are
//! made anew from a log that has been compacted since.
//!
//! Money and tokens of models are counted from what attempts reserve and settle, and kept beside
//! the counts as what [`crate::budgets`] decides on. Requests are no records: they are counted as
//! they come, so a crash loses those of a minute at most.
//!
//! Invariant: what is counted, but for requests, is a function of the log up to the position.

use std::{
    collections::{BTreeSet, HashMap},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering},
    },
};

use serde::{Deserialize, Serialize};
use serde_json::json;
use traaviis_model::{Span, TenantCtx, TenantId, Text, Timestamp, tenant::PLATFORM};
use traaviis_policy::{
    invoice::{Month, plans},
    plan::{Admission, Metric, Plan},
};
use traaviis_ports::{DocumentQuery, DocumentRow, Line, Position};

use crate::{
    audit::Act,
    budgets::Purses,
    caller::{Entered, no_tenant},
    error::Error,
    invoices::PlanChange,
    ledger::{COUNTS, Document, Documents, Versioned},
    platform::{Platform, engine},
    storage::Stored,
    tenant::{Member, Tenant, TenantStatus},
};

/// How long after its end a month is closed: what was on its way to the log is there by then.
const CLOSED_AFTER: Span = Span::secs(10 * 60);
/// Months of rows that are kept in memory: the one that is counted, and the one before until it is
/// closed.
const MONTHS_HELD: usize = 2;
/// Id of the row with the position, which is of the platform.
const POSITION: &str = "position";

/// What was counted in a month.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Counts {
    /// Instances that were started.
    pub workflow_executions: u64,
    /// Transitions.
    pub state_transitions: u64,
    /// Effects that were begun; a further try of one is none.
    pub effect_executions: u64,
    /// Tasks for people.
    pub human_tasks: u64,
    /// Tokens of models.
    pub llm_tokens: u64,
    /// What models have cost, in millionths of a US dollar.
    pub llm_cost_micros: u64,
    /// Requests that were let in.
    pub api_calls: u64,
}

impl Counts {
    fn of(&self, metric: Metric) -> Option<u64> {
        match metric {
            Metric::WorkflowExecutions => Some(self.workflow_executions),
            Metric::StateTransitions => Some(self.state_transitions),
            Metric::EffectExecutions => Some(self.effect_executions),
            Metric::HumanTasks => Some(self.human_tasks),
            Metric::LlmTokens => Some(self.llm_tokens),
            Metric::LlmCost => Some(self.llm_cost_micros),
            Metric::ApiCalls => Some(self.api_calls),
            Metric::Members | Metric::Storage => None,
        }
    }

    /// Counts a record; says whether there was something to count.
    fn add(&mut self, kind: &str) -> bool {
        let count = match kind {
            "created" => &mut self.workflow_executions,
            "transition" => &mut self.state_transitions,
            "effect_scheduled" => &mut self.effect_executions,
            "task_created" => &mut self.human_tasks,
            _ => return false,
        };
        *count += 1;
        true
    }
}

/// A month that is over.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ClosedMonth {
    /// Which one.
    pub month: Text,
    /// Plan at its end.
    pub plan: Text,
    /// Plans of its days, in their order, and for how many; none in months that were closed before
    /// plans were kept by day, which had one plan.
    #[serde(default)]
    pub plans: Vec<(Text, u32)>,
    /// What was counted.
    pub counts: Counts,
    /// Members at its end.
    pub members: u64,
    /// Bytes that were kept at its end.
    #[serde(default)]
    pub storage: u64,
    /// When it was closed.
    pub closed_at: Timestamp,
}

impl Document for ClosedMonth {
    const KIND: &'static str = "usage_month";

    fn id(&self) -> Text {
        self.month.clone()
    }
}

/// What a tenant has used in a month.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Used {
    /// Month.
    pub month: Month,
    /// Plan.
    pub plan: Plan,
    /// Plans of its days, in their order, and for how many.
    pub plans: Vec<(Plan, u32)>,
    /// By metric.
    pub used: Vec<(Metric, u64)>,
    /// What the bytes that are kept consist of; of the present month only.
    pub stored: Option<Stored>,
    /// The month is over.
    pub is_closed: bool,
}

/// Counts, as far as they reach.
#[derive(Debug, Default)]
pub(crate) struct UsageCounts {
    state: Mutex<State>,
    reserved: Arc<Mutex<HashMap<TenantId, u64>>>,
    /// Requests that are not among the counts yet; nobody who makes one waits for a scan.
    calls: Calls,
}

/// Requests of each tenant; whoever counts one shares the lock with all others who do.
#[derive(Debug, Default)]
struct Calls {
    counts: RwLock<HashMap<TenantId, AtomicU64>>,
}

impl Calls {
    fn count(&self, tenant: TenantId) {
        let counts = self.counts.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = counts.get(&tenant) {
            count.fetch_add(1, Ordering::Relaxed);
            return;
        }
        drop(counts);
        let mut counts = self.counts.write().unwrap_or_else(PoisonError::into_inner);
        *counts.entry(tenant).or_default().get_mut() += 1;
    }

    /// Returns what was counted since this was called last.
    fn take(&self) -> Vec<(TenantId, u64)> {
        let counts = self.counts.read().unwrap_or_else(PoisonError::into_inner);
        let taken = counts.iter().map(|(tenant, it)| (*tenant, it.swap(0, Ordering::Relaxed)));
        taken.filter(|it| it.1 > 0).collect()
    }
}

#[derive(Debug, Default)]
struct State {
    position: Position,
    months: HashMap<(TenantId, Month), Counts>,
    purses: Purses,
    /// What is not in a row yet.
    changed: BTreeSet<(TenantId, Month)>,
    put_to: Position,
    /// Months before this one are closed, for all tenants.
    closed_before: Option<Month>,
    /// What was counted since the process began, of all tenants.
    metered: Counts,
}

/// The right to start one instance, while it is being started.
#[derive(Debug)]
pub struct Admitted {
    tenant: TenantId,
    reserved: Arc<Mutex<HashMap<TenantId, u64>>>,
}

impl Drop for Admitted {
    fn drop(&mut self) {
        let mut reserved = lock(&self.reserved);
        if let Some(count) = reserved.get_mut(&self.tenant) {
            *count -= 1;
            if *count == 0 {
                reserved.remove(&self.tenant);
            }
        }
    }
}

/// What of a line is read.
#[derive(Deserialize)]
struct Peeked<'a> {
    tenant_id: TenantId,
    at: Timestamp,
    #[serde(borrow)]
    kind: std::borrow::Cow<'a, str>,
}

impl Platform {
    /// Reads how far was counted before.
    pub(crate) fn open_usage(&self) -> Result<(), Error> {
        let platform = TenantCtx::platform();
        let rows = |ctx: &TenantCtx, id: &str| {
            let query = DocumentQuery {
                kind: COUNTS,
                prefix: id,
                after: None,
                descending: true,
                limit: MONTHS_HELD,
            };
            self.ledgers.rows(ctx, &query)
        };
        let mut state = lock(&self.usage.state);
        state.purses.begin(self.ledgers.log().tail());
        let Some(position) = rows(&platform, POSITION)?.into_iter().next() else { return Ok(()) };
        // Rows of another log count nothing of this one.
        if position.version > self.ledgers.log().tail() {
            return Ok(());
        }
        state.position = position.version;
        state.put_to = position.version;
        for tenant in self.ledgers.tenants() {
            state.purses.take(tenant, self.purse_row(tenant)?);
            for row in rows(&TenantCtx::keeper_of(tenant), "")? {
                let counts = row.body.and_then(|it| serde_json::from_slice(&it).ok());
                if let (Some(counts), Ok(month)) = (counts, row.id.parse()) {
                    state.months.insert((tenant, month), counts);
                }
            }
        }
        Ok(())
    }

    /// Counts what the log holds behind what is counted.
    pub fn follow_usage(&self) -> Result<(), Error> {
        let mut state = lock(&self.usage.state);
        if self.ledgers.log().tail() == state.position {
            return Ok(());
        }
        self.count_on(&mut state)
    }

    fn count_on(&self, state: &mut State) -> Result<(), Error> {
        let from = state.position;
        let to = self.ledgers.log().scan(from, &mut |line| state.count(line))?;
        state.position = to;
        Ok(())
    }

    /// Counts, puts the counts down, and closes months that are over; called from time to time.
    pub fn keep_usage(&self) -> Result<(), Error> {
        self.follow_usage()?;
        self.put_usage()?;
        self.close_months()
    }

    fn put_usage(&self) -> Result<(), Error> {
        let mut state = lock(&self.usage.state);
        state.count_calls(&self.usage.calls, Month::of(self.now()));
        if state.put_to == state.position && state.changed.is_empty() {
            return Ok(());
        }
        let position = state.position;
        let row = |tenant, id: String, body: String| DocumentRow {
            tenant,
            kind: COUNTS.into(),
            id: id.into(),
            version: position,
            body: Some(body.into_bytes()),
        };
        let mut rows = vec![row(PLATFORM, POSITION.into(), "{}".into())];
        for key @ (tenant, month) in &state.changed {
            let counts = state.months.get(key).cloned().unwrap_or_default();
            rows.push(row(*tenant, month.to_string(), json!(counts).to_string()));
        }
        rows.extend(state.purses.rows(position));
        self.ledgers.keep_rows(&rows)?;
        state.changed.clear();
        state.purses.are_kept();
        state.put_to = position;
        Ok(())
    }

    /// Puts months that are over into the ledgers of their tenants, once each, also those in which
    /// nothing was used.
    fn close_months(&self) -> Result<(), Error> {
        let now = self.now();
        let open = Month::of(Timestamp(now.0 - CLOSED_AFTER.0));
        if lock(&self.usage.state).closed_before == Some(open) {
            return Ok(());
        }
        for id in self.ledgers.tenants() {
            let ctx = TenantCtx::keeper_of(id);
            while let Some(month) = self.ledgers.read(&ctx, |it| due_month(it, open))? {
                let counts = self.counts(id, month);
                self.close_month(&ctx, month, counts, now)?;
            }
        }
        let mut state = lock(&self.usage.state);
        state.closed_before = Some(open);
        state.months.retain(|it, _| it.1 >= open);
        Ok(())
    }

    fn close_month(
        &self,
        ctx: &TenantCtx,
        month: Month,
        counts: Counts,
        now: Timestamp,
    ) -> Result<(), Error> {
        self.ledgers.change(ctx, &engine(), |documents, changes| {
            let id = month.to_string();
            let Some(tenant) = documents.get::<Tenant>("tenant")? else { return Ok(()) };
            // Somebody else may have done it meanwhile.
            if documents.get::<ClosedMonth>(&id)?.is_some() {
                return Ok(());
            }
            let plans = plans_of(documents, &tenant, month)?;
            let last = plans.last().map_or(tenant.plan, |it| it.0.as_str().into());
            changes.put(&ClosedMonth {
                month: id.as_str().into(),
                plan: last,
                plans: plans.iter().map(|(plan, days)| (plan.as_str().into(), *days)).collect(),
                counts,
                members: documents.count::<Member>() as u64,
                storage: self.stored(ctx.tenant()).sum(),
                closed_at: now,
            });
            // What comes after it says how it was before.
            for old in documents.list::<PlanChange>("")? {
                if old.it.at < month.ends() {
                    changes.remove::<PlanChange>(&old.it.id());
                }
            }
            changes.act(Act::done("usage.closed", ClosedMonth::KIND, id));
            Ok(())
        })
    }

    /// Refuses one more of something that the plan of a tenant holds no more of.
    pub(crate) fn admit(
        &self,
        documents: &Documents,
        metric: Metric,
        used: u64,
    ) -> Result<(), Error> {
        let tenant = documents.get::<Tenant>("tenant")?.ok_or_else(no_tenant)?;
        admitted(Plan::of(&tenant.plan), metric, used, self.now())
    }

    /// Lets a caller start an instance, if the plan of the tenant holds one more this month; the
    /// place is kept until what is returned is dropped, when the instance is in the log.
    pub fn admit_start(&self, entered: &Entered) -> Result<Option<Admitted>, Error> {
        let (tenant, now) = (entered.ctx.tenant(), self.now());
        let plan = self.plan_of(Some(tenant));
        if plan.quota(Metric::Storage).hard.is_some() {
            admitted(plan, Metric::Storage, self.stored(tenant).sum(), now)?;
        }
        if plan.quota(Metric::WorkflowExecutions).hard.is_none() {
            return Ok(None);
        }
        // Reserved before it is counted: whoever counts sees a start here or in the log.
        let reserved = Arc::clone(&self.usage.reserved);
        *lock(&reserved).entry(tenant).or_default() += 1;
        let admitted_one = Admitted { tenant, reserved };
        let others = lock(&self.usage.reserved).get(&tenant).copied().unwrap_or(1) - 1;
        self.follow_usage()?;
        let counts = self.counts(tenant, Month::of(now));
        let used = counts.workflow_executions.saturating_add(others);
        admitted(plan, Metric::WorkflowExecutions, used, now)?;
        Ok(Some(admitted_one))
    }

    fn counts(&self, tenant: TenantId, month: Month) -> Counts {
        let mut state = lock(&self.usage.state);
        state.count_calls(&self.usage.calls, Month::of(self.now()));
        state.months.get(&(tenant, month)).cloned().unwrap_or_default()
    }

    /// Returns what was counted since the process began, of all tenants together.
    pub fn metered(&self) -> Vec<(Metric, u64)> {
        // What the log holds by now; if it cannot be read, what was counted before.
        let _ = self.follow_usage();
        let mut state = lock(&self.usage.state);
        state.count_calls(&self.usage.calls, Month::of(self.now()));
        Metric::ALL.iter().filter_map(|it| Some((*it, state.metered.of(*it)?))).collect()
    }

    /// Counts a request that was let in; it waits for nothing.
    pub fn count_call(&self, entered: &Entered) {
        self.usage.calls.count(entered.ctx.tenant());
    }

    /// Asks what tenants have spent on models, up to the end of the log.
    pub(crate) fn with_purses<T>(&self, ask: impl FnOnce(&mut Purses) -> T) -> Result<T, Error> {
        let mut state = lock(&self.usage.state);
        // A log tells its new end after whoever waited for it, who may ask here at once.
        self.count_on(&mut state)?;
        Ok(ask(&mut state.purses))
    }

    /// Returns what a tenant has used in a month, the present one unless another is asked for.
    pub fn usage(&self, entered: &Entered, month: Option<Month>) -> Result<Used, Error> {
        self.usage_in(&entered.ctx, month)
    }

    pub(crate) fn usage_in(&self, ctx: &TenantCtx, month: Option<Month>) -> Result<Used, Error> {
        self.follow_usage()?;
        self.close_months()?;
        let present = Month::of(self.now());
        let month = month.unwrap_or(present);
        let absent = || Error::not_found("usage of the month", &month.to_string());
        let (tenant, closed, members) = self.ledgers.read(ctx, |documents| {
            let tenant = documents.get::<Tenant>("tenant")?.ok_or_else(no_tenant)?;
            let closed = documents.get::<ClosedMonth>(&month.to_string())?;
            Ok::<_, Error>((tenant, closed, documents.count::<Member>() as u64))
        })?;
        let is_closed = closed.is_some();
        let stored = self.stored(tenant.id);
        let (plan, plans, counts, members, storage) = match closed {
            Some(it) => {
                let plan = Plan::of(&it.plan);
                let plans: Vec<_> = match it.plans.is_empty() {
                    true => vec![(plan, month.days())],
                    false => it.plans.iter().map(|(it, days)| (Plan::of(it), *days)).collect(),
                };
                (plan, plans, it.counts, it.members, it.storage)
            }
            None if month <= present && month.ends() > tenant.created_at => {
                let plans = self.ledgers.read(ctx, |it| plans_of(it, &tenant, month))?;
                let plan = Plan::of(&tenant.plan);
                (plan, plans, self.counts(tenant.id, month), members, stored.sum())
            }
            // It was before the tenant, or is still to come.
            None => return Err(absent()),
        };
        let used = |it: &Metric| match counts.of(*it) {
            Some(used) => (*it, used),
            None if *it == Metric::Storage => (*it, storage),
            None => (*it, members),
        };
        let used = Metric::ALL.iter().map(used).collect();
        let stored = (month == present).then_some(stored);
        Ok(Used { month, plan, plans, used, stored, is_closed })
    }

    /// Returns the months of a tenant that there are invoices of, the newest first.
    pub(crate) fn months(&self, entered: &Entered) -> Result<Vec<Month>, Error> {
        self.follow_usage()?;
        self.close_months()?;
        let present = Month::of(self.now());
        let (closed, due) = self.ledgers.read(&entered.ctx, |it| {
            Ok::<_, Error>((it.list::<ClosedMonth>("")?, due_month(it, present)?))
        })?;
        let closed = closed.iter().filter_map(|it| it.it.month.parse::<Month>().ok());
        let months: BTreeSet<Month> = closed.chain(due).chain([present]).collect();
        Ok(months.into_iter().rev().collect())
    }

    /// Chooses a plan that is for sale; what the tenant has must fit into it.
    pub fn choose_plan(&self, entered: &Entered, plan: Plan) -> Result<Versioned<Tenant>, Error> {
        if !plan.is_for_sale() {
            let message = "this plan is given by who looks after the platform; ask them";
            return Err(Error::new("forbidden", message));
        }
        self.ledgers.change(&entered.ctx, &entered.via, |documents, changes| {
            let mut tenant = documents.get::<Tenant>("tenant")?.ok_or_else(no_tenant)?;
            let members = documents.count::<Member>() as u64;
            let hard = plan.quota(Metric::Members).hard;
            if hard.is_some_and(|it| members > it) {
                let message = format!(
                    "the plan `{}` holds {} members, and there are {members}",
                    plan.as_str(),
                    hard.unwrap_or_default()
                );
                return Err(Error::new("invalid_state", message));
            }
            let before = std::mem::replace(&mut tenant.plan, plan.as_str().into());
            changes.put(&tenant);
            PlanChange::note(documents, changes, self.now(), &before, &tenant.plan)?;
            let act = Act::done("plan.chosen", Tenant::KIND, tenant.id.to_string());
            changes.act(act.with(json!({ "from": before, "to": tenant.plan })));
            Ok(())
        })?;
        self.tenant(&entered.ctx)
    }
}

/// Returns the plans of the days of a month.
fn plans_of(
    documents: &Documents,
    tenant: &Tenant,
    month: Month,
) -> Result<Vec<(Plan, u32)>, Error> {
    let changes = documents.list::<PlanChange>("")?;
    let changes: Vec<_> = changes.iter().map(|it| it.it.changed()).collect();
    Ok(plans(month, tenant.created_at, &changes, Plan::of(&tenant.plan)))
}

/// Returns the first month of a tenant that is over and not closed.
fn due_month(documents: &Documents, open: Month) -> Result<Option<Month>, Error> {
    let Some(tenant) = documents.get::<Tenant>("tenant")? else { return Ok(None) };
    if tenant.status == TenantStatus::Destroyed {
        return Ok(None);
    }
    let closed = documents.list::<ClosedMonth>("")?;
    let last = closed.last().and_then(|it| it.it.month.parse::<Month>().ok());
    let next = last.map_or(Month::of(tenant.created_at), Month::next);
    Ok(Some(next).filter(|it| *it < open))
}

impl State {
    /// Takes over the requests that were counted meanwhile.
    fn count_calls(&mut self, calls: &Calls, now: Month) {
        for (tenant, count) in calls.take() {
            self.months.entry((tenant, now)).or_default().api_calls += count;
            self.metered.api_calls += count;
            self.changed.insert((tenant, now));
        }
    }

    fn count(&mut self, line: Line<'_>) {
        let Ok(peeked) = serde_json::from_slice::<Peeked<'_>>(line.bytes) else { return };
        let key = (peeked.tenant_id, Month::of(peeked.at));
        if let "budget_reserved" | "budget_settled" = &*peeked.kind {
            let Some(cost) = self.purses.count(&peeked.kind, line) else { return };
            let counts = self.months.entry(key).or_default();
            for counts in [counts, &mut self.metered] {
                counts.llm_tokens = counts.llm_tokens.saturating_add(cost.tokens);
                counts.llm_cost_micros = counts.llm_cost_micros.saturating_add(cost.usd_micros);
            }
            self.changed.insert(key);
            return;
        }
        // Looked up only when there is something to count: most records are of other kinds.
        if self.metered.add(&peeked.kind) {
            self.months.entry(key).or_default().add(&peeked.kind);
            self.changed.insert(key);
        }
    }
}

/// Refuses what a plan holds no more of, and says how much, of how much, and until when.
fn admitted(plan: Plan, metric: Metric, used: u64, now: Timestamp) -> Result<(), Error> {
    let quota = plan.quota(metric);
    if quota.admit(used) != Admission::Refused {
        return Ok(());
    }
    let (name, what) = (plan.as_str(), metric.as_str());
    let included = quota.included.unwrap_or_default();
    let (until, hint) = match metric {
        Metric::Members => (None, "remove somebody, or choose a larger plan".to_owned()),
        Metric::Storage => (None, "keep ended runs for less long, or choose a larger plan".into()),
        _ => {
            let until = Month::of(now).ends();
            (Some(until), format!("wait until {until}, or choose a larger plan"))
        }
    };
    let message = format!("the plan `{name}` holds {included} {what}, and {used} are used; {hint}");
    Err(Error::new("quota_exceeded", message).with_details(json!({
        "metric": what, "used": used, "included": included, "hard": quota.hard, "until": until,
    })))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Counts a line, wherever it stands.
    fn count(state: &mut State, bytes: &[u8]) {
        state.count(Line { position: 0, bytes, is_sealed: false });
    }

    fn line(kind: &str, at: &str, more: &str) -> Vec<u8> {
        let tenant = TenantId(uuid::Uuid::from_u128(7));
        format!(r#"{{"tenant_id":"{tenant}","at":"{at}","seq":1,"kind":"{kind}"{more}}}"#).into()
    }

    #[test]
    fn what_begins_is_counted_in_its_month_and_nothing_else_is() {
        let mut state = State::default();
        let november = "2026-11-30T23:59:59.999999Z";
        for kind in ["created", "transition", "transition", "effect_scheduled", "task_created"] {
            count(&mut state, &line(kind, november, r#","data":{"kind":"created"}"#));
        }
        for kind in ["effect_started", "finished", "document_put", "task_decided"] {
            count(&mut state, &line(kind, november, ""));
        }
        count(&mut state, &line("created", "2026-12-01T00:00:00Z", ""));
        count(&mut state, b"no record");
        let of = |text: &str| {
            let key = (TenantId(uuid::Uuid::from_u128(7)), text.parse().unwrap());
            state.months.get(&key).cloned().unwrap_or_default()
        };
        let expected = Counts {
            workflow_executions: 1,
            state_transitions: 2,
            effect_executions: 1,
            human_tasks: 1,
            ..Counts::default()
        };
        assert_eq!(of("2026-11"), expected);
        assert_eq!(of("2026-12"), Counts { workflow_executions: 1, ..Counts::default() });
        assert_eq!(state.months.len(), 2);
    }

    #[test]
    fn a_line_costs_a_few_microseconds_at_most() {
        const LINES: u32 = 100_000;
        let (mut state, mut transition) = (State::default(), String::new());
        (0..10).for_each(|it| transition += &format!(r#","key{it}":"{}""#, "x".repeat(20)));
        let transition = line("transition", "2026-11-30T23:59:59.999999Z", &transition);
        let begun = std::time::Instant::now();
        (0..LINES).for_each(|_| count(&mut state, &transition));
        let each = begun.elapsed() / LINES;
        println!("a line of {} bytes takes {each:?}", transition.len());
        assert!(each < std::time::Duration::from_micros(100), "{each:?}");
    }
}
