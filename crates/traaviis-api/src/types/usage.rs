//! Plans, usage and invoices on the wire.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use traaviis_model::form;

use crate::shape::{Of, Words};

/// How much was used in a month.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct UsageAnswer {
    /// The month, such as `2026-11`, in the time zone of the tenant.
    pub month: String,
    /// That time zone.
    pub timezone: String,
    /// First moment of the month.
    pub from: String,
    /// First moment after it.
    pub to: String,
    /// The plan; of a month that is over the one at its end.
    pub plan: String,
    /// The month is over.
    pub closed: bool,
    /// What was counted.
    pub metrics: Vec<MetricAnswer>,
    /// What models have cost, in US dollars.
    pub cost_usd: String,
    /// What the bytes that are kept now consist of; only of the present month.
    pub storage: Option<StorageAnswer>,
    /// The parts of it, by what `by` names; absent without it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parts: Option<Vec<UsagePart>>,
}

/// What a day, a workflow or a model has used.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct UsagePart {
    /// The day, the workflow or the model; `other` for those that are beyond the list.
    pub key: String,
    /// How much, by metric; what is nothing is left out.
    pub used: BTreeMap<String, u64>,
}

/// Bytes that are kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct StorageAnswer {
    /// Records in the log, as lines before they are packed.
    pub log: u64,
    /// Large values beside it.
    pub blobs: u64,
    /// Histories of ended instances.
    pub archive: u64,
}

/// How much of something was used.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct MetricAnswer {
    /// `workflow_executions`, `state_transitions`, `effect_executions`, `human_tasks`, `members`,
    /// `storage`, `storage_time`, `llm_tokens`, `llm_input_tokens`, `llm_output_tokens`,
    /// `llm_cost`, `api_calls`, `active_machines`, `socket_minutes` or `egress`.
    pub metric: String,
    /// What one of it is, such as `byte`.
    pub unit: String,
    /// How much.
    pub used: u64,
    /// What is in the plan; null without a limit.
    pub included: Option<u64>,
    /// Beyond it nothing more is taken in; null when that never happens.
    pub hard: Option<u64>,
    /// Hundredths of what is in the plan.
    pub percent: Option<u64>,
    /// How much it will be at the end of the month if it goes on like that; null of a month that is
    /// over, of members and storage, and in the first hour.
    pub forecast: Option<u64>,
}

/// `PUT /tenants/{t}/plan`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PlanRequest {
    /// `free`, `starter` or `pro`.
    #[schemars(transform = Words(form::PLANS))]
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
    /// `draft`, `open`, `paid` or `void`.
    pub status: String,
    /// Lines.
    pub lines: Vec<InvoiceLine>,
    /// Sum of the lines.
    pub subtotal: String,
    /// Tax.
    pub tax: String,
    /// Both together.
    pub total: String,
    /// What was taken off later.
    pub credits: Vec<CreditAnswer>,
    /// What is still to be paid.
    pub due: String,
    /// What is known of its payment.
    pub payment: Option<PaymentAnswer>,
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

/// A credit note.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CreditAnswer {
    /// Its number.
    pub number: String,
    /// How much it takes off.
    pub amount: String,
    /// Why.
    pub reason: String,
    /// When.
    pub at: String,
}

/// What is known of the payment of an invoice. No provider of payments is connected.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PaymentAnswer {
    /// By what it is found on a statement of the bank.
    pub reference: Option<String>,
    /// When the tenant said that it has paid.
    pub told_at: Option<String>,
    /// When who looks after the platform has seen that it is paid.
    pub confirmed_at: Option<String>,
}

/// `POST /tenants/{t}/invoices/{id}/pay`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PayRequest {
    /// By what the payment is found on a statement of the bank.
    #[schemars(transform = Of(form::REFERENCE))]
    pub reference: String,
}

/// Budgets of a tenant for calls of models, and how they stand.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct BudgetsAnswer {
    /// Of today, in UTC.
    pub day: BudgetAnswer,
    /// Of this month, in UTC.
    pub month: BudgetAnswer,
}

/// A budget of a time, and how it stands. Money is decimal text in US dollars.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct BudgetAnswer {
    /// Money that may be spent; null without a limit.
    pub usd: Option<String>,
    /// Tokens that may be spent; null without a limit.
    pub tokens: Option<u64>,
    /// Money that is spent.
    pub spent_usd: String,
    /// Tokens that are spent.
    pub spent_tokens: u64,
    /// Money that running calls may still cost.
    pub reserved_usd: String,
    /// Tokens that running calls may still cost.
    pub reserved_tokens: u64,
    /// The higher of the shares that are spent, in hundredths.
    pub percent: Option<u64>,
    /// When it begins anew.
    pub ends: String,
}

/// `PUT /tenants/{t}/budgets`; what is absent has no limit.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BudgetsRequest {
    /// In a day, in UTC.
    #[serde(default)]
    pub day: BudgetLimits,
    /// In a month, in UTC.
    #[serde(default)]
    pub month: BudgetLimits,
}

/// What may be spent.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BudgetLimits {
    /// US dollars as text with at most 6 decimals, such as `5.00`.
    #[serde(default)]
    #[schemars(regex(pattern = form::MONEY))]
    pub usd: Option<String>,
    /// Tokens.
    #[serde(default)]
    pub tokens: Option<u64>,
}
