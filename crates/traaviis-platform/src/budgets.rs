//! Budgets of tenants: what all calls of models may cost in a day and in a month.
//!
//! ```text
//! engine: budget_reserved -> log -> call -> Gate: does it fit? -> provider
//!                                             | no: budget_exceeded
//! engine: budget_settled  -> log -> what is spent
//! ```
//!
//! What an attempt may cost, and what it did cost, are records of its instance, in one step with
//! what they are about; a purse is what they come to ([`traaviis_policy::spending`]). So nothing is
//! counted twice or lost by a kill. Calls are let out one after another, each when what is spent
//! and what is let out leave room for it.
//!
//! Invariant: what was let out and not settled is counted, also by a process that begins anew, for
//! which everything that is open was let out.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fmt,
    sync::{
        Arc, OnceLock,
        mpsc::{Receiver, SyncSender, TrySendError, sync_channel},
    },
    thread,
};

use serde::{Deserialize, Serialize};
use serde_json::json;
use traaviis_engine::asks_models;
use traaviis_model::{
    Call, CallId, DeliveryClass, EffectError, InstanceId, Seq, TenantCtx, TenantId, Text,
    Timestamp, Value,
    budget::{Amounts, BudgetKind, Limits},
    record::ModelUse,
};
use traaviis_policy::{
    plan::{Metric, Plan},
    spending::{Amount, Ceilings, Exceeded, Period, Reserved, Spending},
};
use traaviis_ports::{Connector, DocumentRow, Line, OnOutcome, Position};

use crate::{
    audit::Act,
    caller::Entered,
    error::Error,
    ledger::{Document, PURSE},
    platform::Platform,
};

/// Calls of models that wait to be let out. More are refused and can be tried again; each waits
/// for a look at the end of the log, which takes a millisecond.
pub const GATE_WAITS_MAX: usize = 4_096;
/// Id of the row of a tenant.
const ROW: &str = "purse";

/// What a tenant lets its calls of models cost.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Budgets {
    /// In a day.
    #[serde(default)]
    pub day: Limits,
    /// In a month.
    #[serde(default)]
    pub month: Limits,
}

impl Document for Budgets {
    const KIND: &'static str = "budgets";

    fn id(&self) -> Text {
        "budgets".into()
    }
}

impl Budgets {
    /// Returns them as they are decided on.
    pub fn ceilings(&self) -> Ceilings {
        Ceilings { day: self.day, month: self.month }
    }
}

/// A budget, and how it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stands {
    /// What it holds for.
    pub period: Period,
    /// What it counts.
    pub kind: BudgetKind,
    /// How much there may be; none without a limit.
    pub limit: Option<u64>,
    /// How much is spent.
    pub spent: u64,
    /// How much calls that run may still cost.
    pub reserved: u64,
    /// When it begins anew.
    pub ends: Timestamp,
}

impl Stands {
    /// Returns how much of it is spent, in hundredths; none without a limit.
    pub fn percent(&self) -> Option<u64> {
        match self.limit? {
            0 => Some(100),
            limit => u64::try_from(u128::from(self.spent) * 100 / u128::from(limit)).ok(),
        }
    }
}

/// A call of an instance, while it runs.
type CallKey = (InstanceId, Seq, Text);
/// What one tenant has spent.
type Purse = Spending<CallKey>;

/// What tenants have spent, as far as the log was read.
#[derive(Debug, Default)]
pub(crate) struct Purses {
    of: HashMap<TenantId, Purse>,
    changed: BTreeSet<TenantId>,
    /// Before this position calls may have gone out without this process.
    began_at: Position,
    /// Calls that count as let out although nobody here has decided it. One that comes to the gate
    /// is decided as any other.
    assumed: BTreeSet<CallKey>,
}

/// What of a record about a budget is read.
#[derive(Deserialize)]
struct Told {
    tenant_id: TenantId,
    instance_id: InstanceId,
    at: Timestamp,
    tree: Seq,
    path: Text,
    #[serde(default)]
    amounts: Amounts,
    #[serde(default)]
    cost: Amounts,
    #[serde(default)]
    model: Option<ModelUse>,
}

/// What an attempt was settled with.
#[derive(Clone, Debug)]
pub(crate) struct Settled {
    pub cost: Amount,
    pub model: Option<ModelUse>,
}

/// A purse as it rests: amounts are dollars in millionths, then tokens.
#[derive(Default, Serialize, Deserialize)]
struct Resting {
    days: BTreeMap<i64, (u64, u64)>,
    months: BTreeMap<String, (u64, u64)>,
    open: Vec<(InstanceId, Seq, Text, u64, u64)>,
}

impl Purses {
    /// Notes where the log ended when the process began.
    pub fn begin(&mut self, tail: Position) {
        self.began_at = tail;
    }

    /// Counts a record that reserves.
    pub fn reserve(&mut self, line: Line<'_>) {
        let Ok(told) = serde_json::from_slice::<Told>(line.bytes) else { return };
        let key = (told.instance_id, told.tree, told.path);
        let amount = Amount::of_amounts(&told.amounts);
        if amount != Amount::default() {
            let purse = self.of.entry(told.tenant_id).or_default();
            purse.reserve(key.clone(), amount);
            if line.position < self.began_at {
                purse.let_out(&key);
                self.assumed.insert(key);
            }
            self.changed.insert(told.tenant_id);
        }
    }

    /// Counts a record that settles; returns what was spent by it.
    pub fn settle(&mut self, line: Line<'_>) -> Option<Settled> {
        let told: Told = serde_json::from_slice(line.bytes).ok()?;
        let key = (told.instance_id, told.tree, told.path);
        self.assumed.remove(&key);
        let cost = Amount::of_amounts(&told.cost);
        let purse = self.of.get_mut(&told.tenant_id)?;
        if !purse.open.contains_key(&key) {
            return None;
        }
        purse.settle(&key, cost, told.at);
        self.changed.insert(told.tenant_id);
        Some(Settled { cost, model: told.model })
    }

    /// Takes back what was spent by a record that is a copy.
    pub fn take_back(&mut self, tenant: TenantId, cost: Amount, at: Timestamp) {
        if let Some(purse) = self.of.get_mut(&tenant) {
            purse.take_back(cost, at);
            self.changed.insert(tenant);
        }
    }

    /// Takes over a purse as it rested: whatever is open in it was let out.
    pub fn take(&mut self, tenant: TenantId, purse: Option<Purse>) {
        if let Some(purse) = purse {
            self.of.insert(tenant, purse);
        }
    }

    /// Returns the purse of a tenant.
    pub fn purse(&mut self, tenant: TenantId) -> &mut Purse {
        self.of.entry(tenant).or_default()
    }

    /// Counts everything of a tenant that is open as let out.
    fn assume(&mut self, tenant: TenantId) {
        for (key, it) in &mut self.of.entry(tenant).or_default().open {
            if !it.is_granted {
                it.is_granted = true;
                self.assumed.insert(key.clone());
            }
        }
    }

    /// Decides whether a call goes out.
    fn decide(
        &mut self,
        tenant: TenantId,
        key: &CallKey,
        ceilings: &Ceilings,
        now: Timestamp,
    ) -> Result<(), Exceeded> {
        let purse = self.of.entry(tenant).or_default();
        if self.assumed.remove(key)
            && let Some(it) = purse.open.get_mut(key)
        {
            it.is_granted = false;
        }
        match undoes(&key.2) {
            true => {
                purse.let_out(key);
                Ok(())
            }
            false => purse.grant(key, ceilings, now),
        }
    }

    /// Returns the rows that are not as they rest.
    pub fn rows(&self, version: Position) -> Vec<DocumentRow> {
        let row = |tenant: &TenantId| {
            let resting = self.of.get(tenant).map(Resting::of).unwrap_or_default();
            DocumentRow {
                tenant: *tenant,
                kind: PURSE.into(),
                id: ROW.into(),
                version,
                body: serde_json::to_vec(&resting).ok(),
            }
        };
        self.changed.iter().map(row).collect()
    }

    /// Notes that they rest as they are.
    pub fn are_kept(&mut self) {
        self.changed.clear();
    }
}

impl Resting {
    fn of(purse: &Purse) -> Resting {
        let pair = |it: &Amount| (it.usd_micros, it.tokens);
        let open = |((instance, tree, path), it): (&CallKey, &Reserved)| {
            (*instance, *tree, path.clone(), it.amount.usd_micros, it.amount.tokens)
        };
        Resting {
            days: purse.days.iter().map(|(day, it)| (*day, pair(it))).collect(),
            months: purse.months.iter().map(|(month, it)| (month.to_string(), pair(it))).collect(),
            open: purse.open.iter().map(open).collect(),
        }
    }

    fn purse(self) -> Purse {
        let amount = |(usd_micros, tokens)| Amount { usd_micros, tokens };
        let months = self.months.into_iter();
        let open = self.open.into_iter().map(|(instance, tree, path, usd_micros, tokens)| {
            let reserved = Reserved { amount: amount((usd_micros, tokens)), is_granted: true };
            ((instance, tree, path), reserved)
        });
        Spending {
            days: self.days.into_iter().map(|(day, it)| (day, amount(it))).collect(),
            months: months
                .filter_map(|(month, it)| Some((month.parse().ok()?, amount(it))))
                .collect(),
            open: open.collect(),
        }
    }
}

impl Platform {
    /// Reads what a tenant had spent before.
    pub(crate) fn purse_row(&self, tenant: TenantId) -> Result<Option<Purse>, Error> {
        let row = self.ledgers.row(&TenantCtx::keeper_of(tenant), PURSE, ROW)?;
        let resting = row.and_then(|it| serde_json::from_slice::<Resting>(&it.body?).ok());
        Ok(resting.map(Resting::purse))
    }

    /// Returns the budgets of a tenant, and how each stands.
    pub fn budgets(&self, entered: &Entered) -> Result<Vec<Stands>, Error> {
        self.budgets_of(entered.ctx.tenant())
    }

    pub(crate) fn budgets_of(&self, tenant: TenantId) -> Result<Vec<Stands>, Error> {
        let ceilings = self.lookup(|it| it.budgets(tenant)).unwrap_or_default();
        let now = self.now();
        self.with_purses(|purses| {
            let purse = purses.purse(tenant);
            let reserved = purse.granted();
            let all = Period::ALL.into_iter().flat_map(|it| Amount::KINDS.map(|kind| (it, kind)));
            all.map(|(period, kind)| Stands {
                period,
                kind,
                limit: ceilings.of(period).of(kind),
                spent: purse.spent(period, now).of(kind),
                reserved: reserved.of(kind),
                ends: period.ends(now),
            })
            .collect()
        })
    }

    /// Sets the budgets of a tenant; what runs already is counted in them.
    pub fn set_budgets(&self, entered: &Entered, budgets: &Budgets) -> Result<Vec<Stands>, Error> {
        self.ledgers.change(&entered.ctx, &entered.via, |_, changes| {
            changes.put(budgets);
            let act = Act::done("budgets.set", Budgets::KIND, budgets.id());
            changes.act(act.with(json!(budgets)));
            Ok(())
        })?;
        let tenant = entered.ctx.tenant();
        // While there was no budget nobody asked whether it fits.
        self.with_purses(|purses| purses.assume(tenant))?;
        self.budgets_of(tenant)
    }

    /// Returns what limits the calls of models of a tenant: its budgets, and the end of its plan.
    fn ceilings(&self, tenant: TenantId) -> Option<(Ceilings, Plan)> {
        let plan = self.plan_of(Some(tenant));
        let hard = plan.quota(Metric::LlmTokens).hard;
        let own = self.lookup(|it| it.budgets(tenant));
        if own.is_none() && hard.is_none() {
            return None;
        }
        let mut ceilings = own.unwrap_or_default();
        ceilings.month.tokens = ceilings.month.tokens.into_iter().chain(hard).min();
        Some((ceilings, plan))
    }

    /// Lets a call of a model out, if there is enough for it.
    fn let_out(&self, tenant: TenantId, id: &CallId) -> Result<(), EffectError> {
        let Some((ceilings, plan)) = self.ceilings(tenant) else { return Ok(()) };
        let key = (id.instance, id.tree, id.path.clone());
        let now = self.now();
        let granted = self.with_purses(|it| it.decide(tenant, &key, &ceilings, now));
        match granted {
            Ok(Ok(())) => Ok(()),
            Ok(Err(exceeded)) => Err(refusal(&exceeded, plan, now)),
            Err(error) => {
                let message = format!("nobody can tell what is spent: {}", error.message);
                Err(EffectError { retryable: true, ..EffectError::new("busy", message) })
            }
        }
    }
}

/// Says whether a call undoes something, which is never refused for want of budget.
fn undoes(path: &str) -> bool {
    path.split('/').any(|it| it.starts_with("undo:"))
}

fn refusal(exceeded: &Exceeded, plan: Plan, now: Timestamp) -> EffectError {
    let Exceeded { period, kind, limit, spent, reserved, wanted } = *exceeded;
    let hard = plan.quota(Metric::LlmTokens).hard;
    let is_of_plan = period == Period::Month && kind == BudgetKind::Tokens && hard == Some(limit);
    let (code, whose) = match is_of_plan {
        true => ("quota_exceeded", format!("the plan `{}` holds", plan.as_str())),
        false => ("budget_exceeded", "the tenant has a budget of".to_owned()),
    };
    let message = format!(
        "{whose} `{}: {}` a {}; spent {}, reserved by what runs {}, and this attempt may need {}",
        kind.as_str(),
        kind.text(limit),
        period.as_str(),
        kind.text(spent),
        kind.text(reserved),
        kind.text(wanted),
    );
    EffectError::new(code, message).with_details(Value::map([
        ("scope", Value::from("tenant")),
        ("place", Value::from(period.as_str())),
        ("kind", Value::from(kind.as_str())),
        ("limit", kind.value(limit)),
        ("spent", kind.value(spent)),
        ("reserved", kind.value(reserved)),
        ("until", Value::from(period.ends(now).to_string())),
    ]))
}

/// A call that waits to be let out.
struct Waiting {
    ctx: TenantCtx,
    call: Call,
    done: OnOutcome,
}

/// Stands before a connector and lets calls of models out that their tenant has a budget for.
///
/// Whatever asks no model, or belongs to a tenant without limits, passes at once. The others wait
/// for a thread that looks at the end of the log.
pub struct Gate {
    inner: Arc<dyn Connector>,
    platform: Arc<OnceLock<Arc<Platform>>>,
    queue: SyncSender<Waiting>,
}

impl Gate {
    /// Returns a gate before a connector.
    pub fn before(inner: Arc<dyn Connector>) -> std::io::Result<Arc<Gate>> {
        let (queue, waiting) = sync_channel(GATE_WAITS_MAX);
        let platform: Arc<OnceLock<Arc<Platform>>> = Arc::default();
        let (outside, whose) = (Arc::clone(&inner), Arc::clone(&platform));
        let keep = move || keep(&*outside, &whose, &waiting);
        thread::Builder::new().name("budgets".into()).spawn(keep)?;
        Ok(Arc::new(Gate { inner, platform, queue }))
    }

    /// Tells whose budgets they are, once the platform is open.
    pub fn serve(&self, platform: &Arc<Platform>) {
        // Called once.
        let _ = self.platform.set(Arc::clone(platform));
    }
}

fn keep(inner: &dyn Connector, whose: &OnceLock<Arc<Platform>>, waiting: &Receiver<Waiting>) {
    while let Ok(Waiting { ctx, call, done }) = waiting.recv() {
        // What goes on with the process waits until somebody can tell what may be spent.
        match whose.wait().let_out(ctx.tenant(), &call.id) {
            Ok(()) => inner.perform(&ctx, call, done),
            Err(error) => done(Err(error)),
        }
    }
}

impl Connector for Gate {
    fn perform(&self, ctx: &TenantCtx, call: Call, done: OnOutcome) {
        if !asks_models(&call.kind) {
            return self.inner.perform(ctx, call, done);
        }
        if self.platform.get().is_some_and(|it| it.ceilings(ctx.tenant()).is_none()) {
            return self.inner.perform(ctx, call, done);
        }
        let waiting = Waiting { ctx: ctx.clone(), call, done };
        if let Err(TrySendError::Full(it) | TrySendError::Disconnected(it)) =
            self.queue.try_send(waiting)
        {
            let message = format!("{GATE_WAITS_MAX} calls of models wait to be let out");
            let error = EffectError::new("busy", message);
            (it.done)(Err(EffectError { retryable: true, ..error }));
        }
    }

    fn abandon(&self, ctx: &TenantCtx, id: &CallId) {
        self.inner.abandon(ctx, id);
    }

    fn delivery_class(&self, ctx: &TenantCtx, kind: &str, input: &Value) -> DeliveryClass {
        self.inner.delivery_class(ctx, kind, input)
    }
}

impl fmt::Debug for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gate").finish_non_exhaustive()
    }
}
