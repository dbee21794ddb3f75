//! Plans, usage and invoices on the wire.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// How much was used in a month.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct UsageAnswer {
    /// The month, such as `2026-11`, in UTC.
    pub month: String,
    /// The plan; of a month that is over the one at its end.
    pub plan: String,
    /// The month is over.
    pub closed: bool,
    /// What was counted.
    pub metrics: Vec<MetricAnswer>,
}

/// How much of something was used.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct MetricAnswer {
    /// `workflow_executions`, `state_transitions`, `effect_executions`, `human_tasks` or `members`.
    pub metric: String,
    /// How much.
    pub used: u64,
    /// What is in the plan; null without a limit.
    pub included: Option<u64>,
    /// Beyond it nothing more is taken in; null when that never happens.
    pub hard: Option<u64>,
    /// Hundredths of what is in the plan.
    pub percent: Option<u64>,
}

/// `PUT /tenants/{t}/plan`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PlanRequest {
    /// `free`, `starter` or `pro`.
    pub plan: String,
}

/// An invoice. Amounts are decimal texts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct InvoiceAnswer {
    /// Its month, by which it is asked for.
    pub id: String,
    /// Number on the paper.
    pub number: String,
    /// Whose it is.
    pub tenant_id: Uuid,
    /// Plan.
    pub plan: String,
    /// First moment of the month.
    pub from: String,
    /// First moment after it.
    pub to: String,
    /// `draft`, `open` or `paid`.
    pub status: String,
    /// Lines.
    pub lines: Vec<InvoiceLine>,
    /// Sum of the lines.
    pub subtotal: String,
    /// Tax.
    pub tax: String,
    /// Both together.
    pub total: String,
    /// Currency.
    pub currency: String,
    /// Price book that it was made with.
    pub price_book_version: String,
}

/// A line of an invoice.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct InvoiceLine {
    /// What it is for.
    pub what: String,
    /// How many.
    pub quantity: u64,
    /// Price of `per` of them.
    pub price: String,
    /// How many the price is for.
    pub per: u64,
    /// What it comes to.
    pub amount: String,
}
