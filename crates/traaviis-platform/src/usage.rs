//! What tenants use: counted from the log, held against their plan, and told as invoices.
//!
//! ```text
//! log -> follower with its position -> counts by tenant and month -> admission, usage, invoices
//! ```
//!
//! A month of a tenant is a row of counts; rows and the position up to which they count are put
//! down together, so that after a crash what was not put down is counted again, and nothing twice.
//! Days and months are those of the tenant's time zone. Once a month is over, its counts are a
//! document of the ledger, which stays when the rows are made anew from a log that has been
//! compacted since.
//!
//! Money and tokens of models are counted from what attempts reserve and settle, and kept beside
//! the counts as what [`crate::budgets`] decides on. What no record tells of is counted as it
//! comes, so a crash loses that of a minute at most.
//!
//! Reading order: here (what is asked for), [`counts`], `follow` (how records are counted), `line`,
//! `open` (how long instances are open), `live` (what no record tells of), `notices` (who is told
//! that a plan is used up).
//!
//! Invariants: what is counted from records is a function of the log up to the position; a record
//! that a fork has copied is counted where it was made, and nowhere else.

pub mod counts;
mod follow;
mod line;
mod live;
mod notices;
mod open;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use serde::{Deserialize, Serialize};
use serde_json::json;
use traaviis_model::{
    Span, TenantCtx, TenantId, Text, Timestamp, Zone, tenant::PLATFORM, zone::UTC,
};
use traaviis_policy::{
    invoice::{Month, PRICES, decimal, plans},
    plan::{Admission, Metric, Plan, forecast},
};
use traaviis_ports::{DocumentQuery, DocumentRow};

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

pub use counts::{Counts, MonthCounts};
use follow::{Resting, State};
use live::{Live, Sockets};
pub(crate) use notices::Noticed;

/// How long after its end a month is closed: what was on its way to the log is there by then.
const CLOSED_AFTER: Span = Span::secs(10 * 60);
/// Months of rows that are kept in memory: the one that is counted, and the one before until it is
/// closed.
const MONTHS_HELD: usize = 2;
/// Id of the row with the position, which is of the platform.
const POSITION: &str = "position";
/// Id of the row with what stands beside the months of a tenant; before all months.
const STANDING: &str = "0-standing";
/// What rows hold: 2 has what is open beside the months.
const ROWS: u64 = 2;

/// A month that is over.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ClosedMonth {
    /// Which one.
    pub month: Text,
    /// It changes no more.
    #[serde(default = "yes")]
    pub closed: bool,
    /// Time zone whose days it has.
    #[serde(default = "utc")]
    pub timezone: Text,
    /// Plan at its end.
    pub plan: Text,
    /// Plans of its days, in their order, and for how many; none in months that were closed before
    /// plans were kept by day, which had one plan.
    #[serde(default)]
    pub plans: Vec<(Text, u32)>,
    /// Price book by which it is billed.
    #[serde(default = "first_prices")]
    pub price_book: Text,
    /// How much of everything was used, by its word.
    #[serde(default)]
    pub totals: BTreeMap<Text, u64>,
    /// What models have cost, in US dollars.
    #[serde(default)]
    pub cost_usd: String,
    /// What was counted.
    pub counts: Counts,
    /// The same by day.
    #[serde(default)]
    pub by_day: BTreeMap<Text, Counts>,
    /// The same by workflow.
    #[serde(default)]
    pub by_workflow: BTreeMap<Text, Counts>,
    /// The same by model.
    #[serde(default)]
    pub by_model: BTreeMap<Text, Counts>,
    /// Members at its end.
    pub members: u64,
    /// Bytes that were kept at its end.
    #[serde(default)]
    pub storage: u64,
    /// When it was closed.
    pub closed_at: Timestamp,
}

fn yes() -> bool {
    true
}

fn utc() -> Text {
    UTC.into()
}

/// Months that were closed before price books were kept with them.
fn first_prices() -> Text {
    "1".into()
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
    /// Time zone whose days it has.
    pub timezone: Text,
    /// Plan.
    pub plan: Plan,
    /// Plans of its days, in their order, and for how many.
    pub plans: Vec<(Plan, u32)>,
    /// Price book by which it is billed.
    pub price_book: Text,
    /// By metric.
    pub used: Vec<(Metric, u64)>,
    /// What was counted, by day, workflow and model.
    pub counts: MonthCounts,
    /// What the bytes that are kept consist of; of the present month only.
    pub stored: Option<Stored>,
    /// The month is over.
    pub is_closed: bool,
    /// Since when, and until when, it is counted in this month.
    pub from: Timestamp,
    /// When the month is over.
    pub until: Timestamp,
    /// When this was looked at.
    pub now: Timestamp,
}

impl Used {
    /// Returns when the month begins.
    pub fn month_begins(&self) -> Timestamp {
        self.month.begins_in(&Zone::read(&self.timezone).unwrap_or(Zone::utc()))
    }

    /// Returns how much of something it will be at the end of the month if it goes on like that;
    /// none of a month that is over, of what is as it stands, and when too little is known.
    pub fn forecast(&self, metric: Metric, used: u64) -> Option<u64> {
        let is_due = !self.is_closed && metric.is_of_a_month();
        let micros = |it: Span| u64::try_from(it.0).unwrap_or(0);
        let (gone, left) = (self.now.since(self.from), self.until.since(self.now));
        is_due.then(|| forecast(used, micros(gone), micros(left)))?
    }
}

/// Counts, as far as they reach.
#[derive(Debug, Default)]
pub(crate) struct UsageCounts {
    state: Mutex<State>,
    reserved: Arc<Mutex<HashMap<TenantId, u64>>>,
    /// What is not among the counts yet; nobody who makes a request waits for a scan.
    live: Live,
    pub(crate) noticed: Mutex<Noticed>,
}

/// A socket of a tenant, which is counted for as long as this is there.
#[derive(Debug)]
pub struct OpenSocket {
    tenant: TenantId,
    sockets: Arc<Sockets>,
    platform: Arc<Platform>,
}

impl OpenSocket {
    /// Begins to count a socket.
    pub fn of(platform: &Arc<Platform>, tenant: TenantId) -> OpenSocket {
        let sockets = Arc::clone(&platform.usage.live.sockets);
        sockets.open(tenant, platform.now());
        OpenSocket { tenant, sockets, platform: Arc::clone(platform) }
    }

    /// Returns whose it is.
    pub fn tenant(&self) -> TenantId {
        self.tenant
    }
}

impl Drop for OpenSocket {
    fn drop(&mut self) {
        self.sockets.close(self.tenant, self.platform.now());
    }
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

impl Platform {
    /// Returns the time zone of a tenant: whose days and months it is billed by.
    pub(crate) fn zone_of(&self, tenant: TenantId) -> (Text, Zone) {
        self.lookup(|it| it.zone(tenant))
    }

    /// Returns the present month of a tenant.
    fn month_of(&self, tenant: TenantId, at: Timestamp) -> Month {
        Month::of_day(self.zone_of(tenant).1.day_of(at))
    }

    /// Reads how far was counted before.
    pub(crate) fn open_usage(&self) -> Result<(), Error> {
        let platform = TenantCtx::platform();
        let tail = self.ledgers.log().tail();
        let mut state = lock(&self.usage.state);
        state.purses.begin(tail);
        let Some(position) = self.ledgers.row(&platform, COUNTS, POSITION)? else { return Ok(()) };
        // Rows of another log count nothing of this one.
        if position.version > tail {
            return Ok(());
        }
        state.position = position.version;
        state.put_to = position.version;
        let body: serde_json::Value =
            position.body.and_then(|it| serde_json::from_slice(&it).ok()).unwrap_or_default();
        if body["rows"].as_u64() != Some(ROWS) {
            // An earlier release has not counted what is open; all else it has.
            state.counted_to = std::mem::take(&mut state.position);
        }
        for tenant in self.ledgers.tenants() {
            let ctx = TenantCtx::keeper_of(tenant);
            state.purses.take(tenant, self.purse_row(tenant)?);
            let row = self.ledgers.row(&ctx, COUNTS, STANDING)?.and_then(|it| it.body);
            if let Some(it) = row.and_then(|it| serde_json::from_slice::<Resting>(&it).ok()) {
                state.standing.insert(tenant, it.into());
            }
            let query = DocumentQuery {
                kind: COUNTS,
                prefix: "",
                after: None,
                descending: true,
                limit: MONTHS_HELD,
            };
            for row in self.ledgers.rows(&ctx, &query)? {
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
        state.look_again();
        let zone_of = |tenant| self.zone_of(tenant).1;
        let from = state.position;
        let to = self.ledgers.log().scan(from, &mut |line| state.count(line, &zone_of))?;
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
        self.count_live(&mut state);
        if state.put_to == state.position && state.changed.is_empty() && state.stands.is_empty() {
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
        let mut rows = vec![row(PLATFORM, POSITION.into(), json!({ "rows": ROWS }).to_string())];
        for key @ (tenant, month) in &state.changed {
            let counts = state.months.get(key).cloned().unwrap_or_default();
            rows.push(row(*tenant, month.to_string(), json!(counts).to_string()));
        }
        for tenant in &state.stands {
            let Some(resting) = state.standing.get(tenant).map(Resting::of) else { continue };
            rows.push(row(*tenant, STANDING.into(), json!(resting).to_string()));
        }
        rows.extend(state.purses.rows(position));
        self.ledgers.keep_rows(&rows)?;
        state.changed.clear();
        state.stands.clear();
        state.purses.are_kept();
        state.put_to = position;
        Ok(())
    }

    /// Takes over what was counted as it came.
    fn count_live(&self, state: &mut State) {
        let now = self.now();
        state.look_again();
        let zone_of = |tenant| self.zone_of(tenant).1;
        for (tenant, counts) in self.usage.live.take(now) {
            state.add(tenant, now, &counts, &zone_of);
        }
    }

    /// Notes how many bytes are kept of each tenant, from now on.
    pub(crate) fn note_stored(&self, stored: &HashMap<TenantId, Stored>) {
        let now = self.now();
        let mut state = lock(&self.usage.state);
        state.look_again();
        let zone_of = |tenant| self.zone_of(tenant).1;
        state.note_stored(stored, now, &zone_of);
    }

    /// Puts months that are over into the ledgers of their tenants, once each, also those in which
    /// nothing was used.
    fn close_months(&self) -> Result<(), Error> {
        let now = self.now();
        if lock(&self.usage.state).closed_until.is_some_and(|it| now < it) {
            return Ok(());
        }
        let until = Timestamp(now.0 - CLOSED_AFTER.0);
        // No tenant that is made meanwhile is due before that.
        let mut next = Month::of(until).ends();
        for id in self.ledgers.tenants() {
            let ctx = TenantCtx::keeper_of(id);
            let (name, zone) = self.zone_of(id);
            let open = Month::of_day(zone.day_of(until));
            while let Some(month) = self.ledgers.read(&ctx, |it| due_month(it, open, &zone))? {
                let counts = self.counts(id, month);
                self.close_month(&ctx, month, (name.clone(), counts), now)?;
            }
            next = next.min(open.ends_in(&zone));
            let mut state = lock(&self.usage.state);
            state.months.retain(|it, _| it.0 != id || it.1 >= open);
            if let Some(it) = state.standing.get_mut(&id) {
                it.open.forget_before(open.first_day());
            }
        }
        lock(&self.usage.state).closed_until = Some(next.plus(CLOSED_AFTER));
        Ok(())
    }

    /// Has months looked at again: somebody has another time zone.
    pub(crate) fn zone_has_changed(&self) {
        lock(&self.usage.state).closed_until = None;
    }

    fn close_month(
        &self,
        ctx: &TenantCtx,
        month: Month,
        (timezone, counts): (Text, MonthCounts),
        now: Timestamp,
    ) -> Result<(), Error> {
        let zone = Zone::read(&timezone).unwrap_or(Zone::utc());
        self.ledgers.change(ctx, &engine(), |documents, changes| {
            let id = month.to_string();
            let Some(tenant) = documents.get::<Tenant>("tenant")? else { return Ok(()) };
            // Somebody else may have done it meanwhile.
            if documents.get::<ClosedMonth>(&id)?.is_some() {
                return Ok(());
            }
            let plans = plans_of(documents, &tenant, month, &zone)?;
            let last = plans.last().map_or(tenant.plan, |it| it.0.as_str().into());
            let members = documents.count::<Member>() as u64;
            let storage = self.stored(ctx.tenant()).sum();
            let MonthCounts { total, by_day, by_workflow, by_model } = counts.clone();
            let quantity = |it: &Metric| quantity(&total, *it, members, storage);
            let totals = Metric::ALL.iter().map(|it| (it.as_str().into(), quantity(it)));
            changes.put(&ClosedMonth {
                month: id.as_str().into(),
                closed: true,
                timezone: timezone.clone(),
                plan: last,
                plans: plans.iter().map(|(plan, days)| (plan.as_str().into(), *days)).collect(),
                price_book: PRICES.version.into(),
                totals: totals.collect(),
                cost_usd: decimal(total.llm_cost_micros),
                counts: total,
                by_day,
                by_workflow,
                by_model,
                members,
                storage,
                closed_at: now,
            });
            // What comes after it says how it was before.
            let ends = month.next().first_day();
            for old in documents.list::<PlanChange>("")? {
                if old.it.on_day() < ends {
                    changes.remove::<PlanChange>(&old.it.id());
                }
            }
            changes.act(Act::done("usage.closed", ClosedMonth::KIND, id));
            Ok(())
        })
    }

    /// Refuses a time zone in which a month goes on that is closed: what is used until it is over
    /// would be in no month.
    pub(crate) fn check_zone(&self, documents: &Documents, zone: &Zone) -> Result<(), Error> {
        let month = Month::of_day(zone.day_of(self.now()));
        if documents.get::<ClosedMonth>(&month.to_string())?.is_none() {
            return Ok(());
        }
        let until = month.ends_in(zone);
        let message = format!("`{month}` is billed already, and goes on there until {until}; wait");
        Err(Error::new("invalid_state", message))
    }

    /// Refuses one more of something that the plan of a tenant holds no more of.
    pub(crate) fn admit(
        &self,
        documents: &Documents,
        metric: Metric,
        used: u64,
    ) -> Result<(), Error> {
        let tenant = documents.get::<Tenant>("tenant")?.ok_or_else(no_tenant)?;
        admitted(Plan::of(&tenant.plan), metric, used, self.until(tenant.id, self.now()))
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
        let used = self.executions(tenant, now).saturating_add(others);
        admitted(plan, Metric::WorkflowExecutions, used, self.until(tenant, now))?;
        Ok(Some(admitted_one))
    }

    /// Returns when the present month of a tenant is over.
    fn until(&self, tenant: TenantId, now: Timestamp) -> Timestamp {
        self.month_of(tenant, now).ends_in(&self.zone_of(tenant).1)
    }

    fn executions(&self, tenant: TenantId, now: Timestamp) -> u64 {
        let key = (tenant, self.month_of(tenant, now));
        lock(&self.usage.state).months.get(&key).map_or(0, |it| it.total.workflow_executions)
    }

    fn counts(&self, tenant: TenantId, month: Month) -> MonthCounts {
        let mut state = lock(&self.usage.state);
        self.count_live(&mut state);
        state.month(tenant, month, &self.zone_of(tenant).1, self.now())
    }

    /// Returns what was counted since the process began, of all tenants together.
    pub fn metered(&self) -> Vec<(Metric, u64)> {
        // What the log holds by now; if it cannot be read, what was counted before.
        let _ = self.follow_usage();
        let mut state = lock(&self.usage.state);
        self.count_live(&mut state);
        // How long instances are open is summed up by tenant alone.
        let all = Metric::ALL.iter().filter(|it| **it != Metric::ActiveMachines);
        all.filter_map(|it| Some((*it, state.metered.of(*it)?))).collect()
    }

    /// Counts a request that was let in; it waits for nothing.
    pub fn count_call(&self, entered: &Entered) {
        self.usage.live.calls.add(entered.ctx.tenant(), 1);
    }

    /// Counts bytes that an effect or a webhook has sent; it waits for nothing.
    pub fn count_sent(&self, tenant: TenantId, bytes: u64) {
        self.usage.live.egress.add(tenant, bytes);
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
        let now = self.now();
        let (timezone, zone) = self.zone_of(ctx.tenant());
        let present = Month::of_day(zone.day_of(now));
        let month = month.unwrap_or(present);
        let absent = || Error::not_found("usage of the month", &month.to_string());
        let (tenant, closed, members) = self.ledgers.read(ctx, |documents| {
            let tenant = documents.get::<Tenant>("tenant")?.ok_or_else(no_tenant)?;
            let closed = documents.get::<ClosedMonth>(&month.to_string())?;
            Ok::<_, Error>((tenant, closed, documents.count::<Member>() as u64))
        })?;
        if let Some(closed) = closed {
            return Ok(used_before(month, closed, now));
        }
        // It was before the tenant, or is still to come.
        if month > present || month.ends_in(&zone) <= tenant.created_at {
            return Err(absent());
        }
        let plans = self.ledgers.read(ctx, |it| plans_of(it, &tenant, month, &zone))?;
        let (counts, stored) = (self.counts(tenant.id, month), self.stored(tenant.id));
        let of = |it: &Metric| (*it, quantity(&counts.total, *it, members, stored.sum()));
        Ok(Used {
            month,
            timezone,
            plan: Plan::of(&tenant.plan),
            plans,
            price_book: PRICES.version.into(),
            used: Metric::ALL.iter().map(of).collect(),
            counts,
            stored: (month == present).then_some(stored),
            is_closed: false,
            from: month.begins_in(&zone).max(tenant.created_at),
            until: month.ends_in(&zone),
            now,
        })
    }

    /// Returns the months of a tenant that there are invoices of, the newest first.
    pub(crate) fn months(&self, entered: &Entered) -> Result<Vec<Month>, Error> {
        self.follow_usage()?;
        self.close_months()?;
        let (_, zone) = self.zone_of(entered.ctx.tenant());
        let present = Month::of_day(zone.day_of(self.now()));
        let (closed, due) = self.ledgers.read(&entered.ctx, |it| {
            Ok::<_, Error>((it.list::<ClosedMonth>("")?, due_month(it, present, &zone)?))
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
            let (_, zone) = self.zone_of(tenant.id);
            let change = (before.as_ref(), tenant.plan.as_ref());
            PlanChange::note(documents, changes, (self.now(), &zone), change)?;
            let act = Act::done("plan.chosen", Tenant::KIND, tenant.id.to_string());
            changes.act(act.with(json!({ "from": before, "to": tenant.plan })));
            Ok(())
        })?;
        self.tenant(&entered.ctx)
    }
}

/// Returns how much of something was used.
fn quantity(counts: &Counts, metric: Metric, members: u64, storage: u64) -> u64 {
    match counts.of(metric) {
        Some(used) => used,
        None if metric == Metric::Storage => storage,
        None => members,
    }
}

/// Returns what was used in a month that is closed.
fn used_before(month: Month, closed: ClosedMonth, now: Timestamp) -> Used {
    let plan = Plan::of(&closed.plan);
    let plans = match closed.plans.is_empty() {
        true => vec![(plan, month.days())],
        false => closed.plans.iter().map(|(it, days)| (Plan::of(it), *days)).collect(),
    };
    let zone = Zone::read(&closed.timezone).unwrap_or(Zone::utc());
    let ClosedMonth { counts, by_day, by_workflow, by_model, members, storage, .. } = closed;
    let of = |it: &Metric| (*it, quantity(&counts, *it, members, storage));
    let used = Metric::ALL.iter().map(of).collect();
    Used {
        month,
        timezone: closed.timezone,
        plan,
        plans,
        price_book: closed.price_book,
        used,
        counts: MonthCounts { total: counts, by_day, by_workflow, by_model },
        stored: None,
        is_closed: true,
        from: month.begins_in(&zone),
        until: month.ends_in(&zone),
        now,
    }
}

/// Returns the plans of the days of a month.
fn plans_of(
    documents: &Documents,
    tenant: &Tenant,
    month: Month,
    zone: &Zone,
) -> Result<Vec<(Plan, u32)>, Error> {
    let changes = documents.list::<PlanChange>("")?;
    let changes: Vec<_> = changes.iter().map(|it| it.it.changed()).collect();
    Ok(plans(month, zone.day_of(tenant.created_at), &changes, Plan::of(&tenant.plan)))
}

/// Returns the first month of a tenant that is over and not closed.
fn due_month(documents: &Documents, open: Month, zone: &Zone) -> Result<Option<Month>, Error> {
    let Some(tenant) = documents.get::<Tenant>("tenant")? else { return Ok(None) };
    if tenant.status == TenantStatus::Destroyed {
        return Ok(None);
    }
    let closed = documents.list::<ClosedMonth>("")?;
    let last = closed.last().and_then(|it| it.it.month.parse::<Month>().ok());
    let first = || Month::of_day(zone.day_of(tenant.created_at));
    let next = last.map_or_else(first, Month::next);
    Ok(Some(next).filter(|it| *it < open))
}

/// Refuses what a plan holds no more of, and says how much, of how much, and until when.
fn admitted(plan: Plan, metric: Metric, used: u64, until: Timestamp) -> Result<(), Error> {
    let quota = plan.quota(metric);
    if quota.admit(used) != Admission::Refused {
        return Ok(());
    }
    let (name, what) = (plan.as_str(), metric.as_str());
    let included = quota.included.unwrap_or_default();
    let (until, hint) = match metric {
        Metric::Members => (None, "remove somebody, or choose a larger plan".to_owned()),
        Metric::Storage => (None, "keep ended runs for less long, or choose a larger plan".into()),
        _ => (Some(until), format!("wait until {until}, or choose a larger plan")),
    };
    let message = format!("the plan `{name}` holds {included} {what}, and {used} are used; {hint}");
    Err(Error::new("quota_exceeded", message).with_details(json!({
        "metric": what, "used": used, "included": included, "hard": quota.hard, "until": until,
    })))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
