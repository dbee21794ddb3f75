//! The records of budgets that carry more than a few words.

use serde::{Deserialize, Serialize};

use crate::{
    budget::{Amounts, BudgetKind, BudgetScope, Limits},
    definition::OnExceeded,
    ids::{Seq, Text},
};

/// An attempt that is about to begin takes this much from every budget around it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BudgetReserved {
    /// Tree.
    pub tree: Seq,
    /// Node.
    pub path: Text,
    /// At most.
    pub amounts: Amounts,
    /// The budgets around it with their limits, the innermost first.
    pub of: Vec<(BudgetScope, Limits)>,
    /// What the call is given as `max_tokens`, where the budgets leave less than it wanted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_tokens: Option<u64>,
    /// A model whose price nobody knows, so that it counts as nothing in `usd`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unpriced: Option<Text>,
}

/// What a model has done for an attempt.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelUse {
    /// The model that answered, or that was asked when nobody knows which one did.
    pub model: Text,
    /// Tokens that it has read.
    pub input_tokens: u64,
    /// Tokens that it has written; both together are the tokens of the cost.
    pub output_tokens: u64,
}

/// A budget has not enough left for an attempt.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BudgetExceeded {
    /// Tree.
    pub tree: Seq,
    /// Node.
    pub path: Text,
    /// Whose budget.
    pub of: BudgetScope,
    /// Its limits.
    pub limits: Limits,
    /// Of what there is not enough.
    pub lacks: BudgetKind,
    /// What the attempt may cost.
    pub wanted: Amounts,
    /// What follows; nothing but the failure of the effect when it is the effect's own budget.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub action: Option<OnExceeded>,
}
