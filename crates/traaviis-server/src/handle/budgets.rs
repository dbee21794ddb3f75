//! Handlers of what a tenant lets its calls of models cost.

use traaviis_api::types::usage::{BudgetAnswer, BudgetLimits, BudgetsAnswer, BudgetsRequest};
use traaviis_model::budget::{BudgetKind, Limits, micros};
use traaviis_platform::{
    Error,
    budgets::{Budgets, Stands},
};
use traaviis_policy::{invoice::decimal, spending::Period};

use super::{Answer, Call};
use crate::convert::time;

fn answer(stands: &[Stands]) -> BudgetsAnswer {
    let of = |period: Period| {
        let mut told = BudgetAnswer::default();
        for it in stands.iter().filter(|it| it.period == period) {
            match it.kind {
                BudgetKind::Usd => {
                    told.usd = it.limit.map(decimal);
                    told.spent_usd = decimal(it.spent);
                    told.reserved_usd = decimal(it.reserved);
                }
                _ => {
                    told.tokens = it.limit;
                    told.spent_tokens = it.spent;
                    told.reserved_tokens = it.reserved;
                }
            }
            told.percent = told.percent.max(it.percent());
            told.ends = time(it.ends);
        }
        told
    };
    BudgetsAnswer { day: of(Period::Day), month: of(Period::Month) }
}

pub(super) fn show(call: &Call<'_>) -> Result<Answer, Error> {
    call.tell(&answer(&call.platform().budgets(call.entered()?)?))
}

pub(super) fn set(call: &Call<'_>) -> Result<Answer, Error> {
    let BudgetsRequest { day, month } = call.request.json()?;
    let read = |pointer: &str, BudgetLimits { usd, tokens }: BudgetLimits| {
        let usd_micros = usd.map(|it| {
            micros(&it).ok_or_else(|| {
                let rule = "this is an amount such as `5.00`, with at most 6 decimals";
                Error::invalid(pointer, rule)
            })
        });
        Ok::<_, Error>(Limits { usd_micros: usd_micros.transpose()?, tokens, ..Limits::default() })
    };
    let budgets = Budgets { day: read("/day/usd", day)?, month: read("/month/usd", month)? };
    call.tell(&answer(&call.platform().set_budgets(call.entered()?, &budgets)?))
}
