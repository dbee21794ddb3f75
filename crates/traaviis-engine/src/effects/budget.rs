//! Budgets: what an attempt may cost is reserved before it begins, and settled when it ends.
//!
//! - Attempts of calls to the outside are charged to every budget around them: effects, active
//!   states, the run. Whatever is asked of other instances and of gates costs nothing.
//! - What a model is paid for is reserved and settled also where no budget is around it: the
//!   records are what the tenant's usage is counted from, and its own budgets.
//! - What does not fit is not begun: the node fails with `budget_exceeded`, and the innermost
//!   budget that lacks says what else follows ([`OnExceeded`]).
//! - What undoes is charged and never refused; nothing may stay half done for want of budget.
//! - Money and tokens are estimated ([`crate::cost`]). A call that takes `max_tokens` is
//!   given fewer before it is refused.

use traaviis_model::{
    Body, EffectError, Seq, Span, Text, Value,
    budget::{Amounts, BudgetKind, BudgetScope, Limits},
    call::{GATE, default_timeout, is_between_instances},
    definition::OnExceeded,
    limits::BUDGET_TOKENS_LEAST,
    record::{BudgetExceeded, BudgetReserved, ModelUse},
    snapshot::NodeStatus,
};

use super::{End, child_path, scope::descend};
use crate::{
    cost::{self, Estimate, Spent},
    machine::{EffectDef, EffectKind},
    step::{InternalEvent, Origin, Run},
};

/// Event that is emitted once when four fifths of a budget are spent.
pub(crate) const BUDGET_WARNING: &str = "budget.warning";

/// What an attempt may cost, and whom.
struct Charge {
    amounts: Amounts,
    /// The budgets around it, the innermost first.
    around: Vec<Around>,
    /// Its time limit, where time is counted.
    limit: Option<Span>,
    /// What it may write, where that is less than it wanted.
    max_tokens: Option<u64>,
    unpriced: Option<Text>,
}

/// What an attempt is given that is about to begin.
pub(super) struct Grant {
    pub(super) timeout: Option<Span>,
    pub(super) max_tokens: Option<u64>,
}

/// How an attempt ended, for what it cost.
#[derive(Clone, Copy)]
pub(crate) enum Ended<'v> {
    /// With this value.
    Done(&'v Value),
    /// With this error.
    Failed(&'v EffectError),
    /// Nobody knows: it was called off, or the process died.
    Unknown,
}

/// A budget around an attempt.
struct Around {
    scope: BudgetScope,
    limits: Limits,
    /// Nothing for a budget of an effect, and for what would move the states.
    on_exceeded: Option<OnExceeded>,
}

impl<'m> Run<'m> {
    /// Says whether the next attempt of a call is not begun for want of budget; then all that
    /// follows has been done.
    pub(super) fn is_refused(&mut self, tree: Seq, path: &Text, timeout: Option<Span>) -> bool {
        // An attempt of unknown outcome has held its reservation until now.
        self.settle_attempt(tree, path, Ended::Unknown);
        if undoes(path) {
            return false;
        }
        let Some(charge) = self.charge(tree, path, timeout) else { return false };
        let lacking = charge.around.iter().find_map(|it| {
            let budget = self.snapshot.budgets.with(&it.scope, it.limits);
            Some((it, budget.lacks(&charge.amounts)?))
        });
        match lacking {
            Some((budget, lacks)) => self.exceeded(tree, path, budget, lacks, charge.amounts),
            None => return false,
        }
        true
    }

    /// Reserves what an attempt may cost that was not refused; returns what it is given.
    pub(super) fn reserve(&mut self, tree: Seq, path: &Text, timeout: Option<Span>) -> Grant {
        let Some(charge) = self.charge(tree, path, timeout) else {
            return Grant { timeout, max_tokens: None };
        };
        let Charge { amounts, around, limit, max_tokens, unpriced } = charge;
        let of = around.into_iter().map(|it| (it.scope, it.limits)).collect();
        let path = path.clone();
        let reserved = BudgetReserved { tree, path, amounts, of, max_tokens, unpriced };
        self.emit(Body::BudgetReserved(Box::new(reserved)));
        // What is reserved is what it gets, also where a connector would give it longer.
        Grant { timeout: limit.or(timeout), max_tokens }
    }

    fn charge(&self, tree: Seq, path: &Text, timeout: Option<Span>) -> Option<Charge> {
        let node = self.node(tree, path)?;
        let kind = &*node.kind;
        if kind == GATE || is_between_instances(kind) {
            return None;
        }
        let around = self.budgets_around(tree, path);
        let estimate = cost::estimate(kind, &node.input);
        if around.is_empty() && estimate.is_none() {
            return None;
        }
        let is_timed = around.iter().any(|it| it.limits.wall_time_us.is_some());
        let limit = is_timed.then(|| timeout.unwrap_or_else(|| default_timeout(kind)));
        let wall_time_us = limit.map_or(0, |it| u64::try_from(it.0).unwrap_or(0));
        let mut amounts = Amounts { calls: 1, wall_time_us, ..Amounts::default() };
        let in_usd = around.iter().any(|it| it.limits.usd_micros.is_some());
        let (mut max_tokens, mut unpriced) = (None, None);
        if let Some(estimate) = estimate {
            let output = match estimate.can_shrink && !undoes(path) {
                true => self.output_left(&estimate, &around),
                false => estimate.output,
            };
            max_tokens = (output < estimate.output).then_some(output);
            amounts.usd_micros = estimate.usd_micros(output);
            amounts.tokens = estimate.tokens(output);
            unpriced = estimate.unpriced.filter(|_| in_usd);
        }
        Some(Charge { amounts, around, limit, max_tokens, unpriced })
    }

    /// Returns how many tokens a call may write: what it wants, or what every budget leaves, but
    /// enough for an answer.
    fn output_left(&self, estimate: &Estimate, around: &[Around]) -> u64 {
        let wanted = estimate.output;
        let within = |it: &Around| {
            let budget = self.snapshot.budgets.with(&it.scope, it.limits);
            estimate.output_within(budget.left(BudgetKind::Usd), budget.left(BudgetKind::Tokens))
        };
        let left = around.iter().map(within).min().unwrap_or(u64::MAX);
        left.clamp(wanted.min(BUDGET_TOKENS_LEAST), wanted)
    }

    /// Settles what the attempt that ends now has cost.
    pub(crate) fn settle_attempt(&mut self, tree: Seq, path: &Text, ended: Ended<'_>) {
        let Some(node) = self.node(tree, path) else { return };
        let Some(reservation) = &node.reserved else { return };
        let estimate = cost::estimate(&node.kind, &node.input);
        let spent = match (&estimate, ended) {
            // What a function of somebody calls `cost_usd` is no price of a model.
            (None, _) | (_, Ended::Unknown) => Spent::default(),
            (Some(estimate), Ended::Done(value)) => estimate.spent(value),
            (Some(estimate), Ended::Failed(error)) => estimate.spent_by_failure(error),
        };
        let mut cost = reservation.cost(self.now);
        cost.usd_micros = spent.usd_micros.unwrap_or(cost.usd_micros);
        cost.tokens = spent.tokens.unwrap_or(cost.tokens);
        let reservation = reservation.clone();
        let before: Vec<_> = reservation
            .scopes
            .iter()
            .filter_map(|it| self.snapshot.budgets.get(it).cloned())
            .collect();
        let model = estimate.map(|it| {
            let told = match ended {
                Ended::Done(value) => Some(value),
                Ended::Failed(_) | Ended::Unknown => None,
            };
            let input_tokens = match spent.output_tokens {
                Some(written) => cost.tokens.saturating_sub(written),
                // Whatever is beyond the text that it was given it may have written.
                None => it.tokens(0).min(cost.tokens),
            };
            let model = told.and_then(cost::model_of).or_else(|| cost::model_of(&node.input));
            Box::new(ModelUse {
                model: model.unwrap_or_else(|| cost::UNPRICED.into()),
                input_tokens,
                output_tokens: cost.tokens - input_tokens,
            })
        });
        self.emit(Body::BudgetSettled { tree, path: path.clone(), cost, model });
        for before in before {
            let Some(after) = self.snapshot.budgets.get(&before.scope).cloned() else { continue };
            for kind in BudgetKind::ALL {
                let Some(limit) = after.limit(kind) else { continue };
                let is_near = |spent: u64| u128::from(spent) * 5 >= u128::from(limit) * 4;
                if !is_near(before.spent.of(kind)) && is_near(after.spent.of(kind)) {
                    let data = told(&after, kind, path);
                    let event = BUDGET_WARNING.into();
                    self.emit(Body::Emitted { event, data, subject: None });
                }
            }
        }
    }

    /// Returns the budgets that an attempt is charged to, the innermost first.
    fn budgets_around(&self, tree: Seq, path: &Text) -> Vec<Around> {
        let mut around = Vec::new();
        let Some(found) = self.snapshot.tree(tree) else { return around };
        if let Some((place, root)) = self.machine.effect_of(found) {
            self.effects_around(tree, &found.invoke, root, path, &mut around);
            // A tree whose state was left is no longer that state's.
            let place = place.map_or(0, |it| it.state);
            let states = self.machine.ancestors(place).filter(|_| !found.orphaned);
            for state in states.filter(|it| self.active[*it]) {
                let def = &self.machine.states[state];
                around.extend(def.budgets.map(|it| Around {
                    scope: BudgetScope::State { state: def.path.clone() },
                    limits: it.limits,
                    on_exceeded: Some(it.on_exceeded),
                }));
            }
        }
        // What runs outside of the states ends when it costs too much, and moves no state by that;
        // a pause asks a person, whoever wanted more.
        let moves = |it: &OnExceeded| found.asked.is_none() || *it == OnExceeded::Pause;
        around.extend(self.machine.definition().budgets.map(|it| Around {
            scope: BudgetScope::Run,
            limits: it.limits,
            on_exceeded: Some(it.on_exceeded).filter(moves),
        }));
        around
    }

    fn effects_around(
        &self,
        tree: Seq,
        root: &Text,
        def: &EffectDef,
        path: &Text,
        around: &mut Vec<Around>,
    ) {
        let mut at = root.clone();
        let mut def = def;
        let rest = path.strip_prefix(&**root).unwrap_or_default();
        let mut found = Vec::new();
        for segment in rest.split('/').filter(|it| !it.is_empty()) {
            if let EffectKind::Budget { limits, .. } = &def.kind
                && !self.is_over(tree, &at)
            {
                let scope = BudgetScope::Effect { tree, path: at.clone() };
                found.push(Around { scope, limits: *limits, on_exceeded: None });
            }
            let Some(next) = descend(def, segment) else { break };
            (def, at) = (next, child_path(&at, segment));
        }
        around.extend(found.into_iter().rev());
    }

    fn exceeded(
        &mut self,
        tree: Seq,
        path: &Text,
        budget: &Around,
        lacks: BudgetKind,
        wanted: Amounts,
    ) {
        let (of, limits, action) = (budget.scope.clone(), budget.limits, budget.on_exceeded);
        let stands = self.snapshot.budgets.with(&of, limits);
        let data = told(&stands, lacks, path);
        let limit = stands.limit(lacks).unwrap_or_default();
        let (spent, reserved) = (stands.spent.of(lacks), stands.reserved.of(lacks));
        let message = format!(
            "{} has a budget of `{}: {}`; spent {}, reserved by what runs {}, and this attempt may \
             need {}",
            of.words(),
            lacks.as_str(),
            lacks.text(limit),
            lacks.text(spent),
            lacks.text(reserved),
            lacks.text(wanted.of(lacks)),
        );
        // Many attempts of one step meet the same end; it is told once.
        if action.is_none() || !self.told_budgets.contains(&of) {
            let path = path.clone();
            let record =
                BudgetExceeded { tree, path, of: of.clone(), limits, lacks, wanted, action };
            self.emit(Body::BudgetExceeded(Box::new(record)));
            self.told_budgets.push(of);
            let origin = match action {
                Some(OnExceeded::Event) => Some(Origin::None),
                Some(OnExceeded::Fail) => Some(Origin::Fatal),
                Some(OnExceeded::Pause) | None => None,
            };
            if let Some(origin) = origin {
                let data = with_message(&data, &message);
                self.queue.push_back(InternalEvent::internal("budget.exceeded", data, origin));
            }
        }
        if action == Some(OnExceeded::Pause) && !self.is_ended() {
            self.pause_after.get_or_insert(message.into());
            return;
        }
        let mut error = EffectError::new("budget_exceeded", message).with_details(data);
        // A further try of a call that failed before.
        if let Some(node) = self.node(tree, path)
            && node.status == NodeStatus::Waiting
            && let Some(cause) = node.error.clone()
        {
            error = error.caused_by(cause);
        }
        if let Some(def) = self.def_of(tree, path) {
            self.finish_node(tree, path, def, End::Failed(error));
        }
    }

    /// Grants once more what has paused the instance.
    pub(crate) fn grant_budgets(&mut self) {
        let paused = self.snapshot.budgets.iter().filter(|it| it.paused);
        let scopes: Vec<BudgetScope> = paused.map(|it| it.scope.clone()).collect();
        for of in scopes {
            self.emit(Body::BudgetGranted { of });
        }
    }
}

/// Says whether a node undoes something.
fn undoes(path: &str) -> bool {
    path.split('/').any(|it| it.starts_with("undo:"))
}

/// Returns what events and errors tell about a budget.
fn told(budget: &traaviis_model::budget::Budget, kind: BudgetKind, path: &Text) -> Value {
    Value::map([
        ("scope", Value::from(budget.scope.as_str())),
        ("place", Value::from(budget.scope.place())),
        ("kind", Value::from(kind.as_str())),
        ("limit", kind.value(budget.limit(kind).unwrap_or_default())),
        ("spent", kind.value(budget.spent.of(kind))),
        ("reserved", kind.value(budget.reserved.of(kind))),
        ("effect_id", Value::String(path.clone())),
    ])
}

fn with_message(data: &Value, message: &str) -> Value {
    let mut data = data.as_map().cloned().unwrap_or_default();
    data.insert("code", Value::from("budget_exceeded"));
    data.insert("message", Value::from(message));
    Value::Map(data.into())
}
