//! Handlers of plans, usage and invoices.

use traaviis_api::types::{
    Page,
    usage::{InvoiceAnswer, InvoiceLine, MetricAnswer, PlanRequest, UsageAnswer},
};
use traaviis_platform::Error;
use traaviis_policy::{
    invoice::{Invoice, Month, decimal},
    plan::Plan,
};

use super::{Answer, Call, tenants::tell_tenant};
use crate::convert::time;

pub(super) fn show(call: &Call<'_>) -> Result<Answer, Error> {
    let month = call.request.query::<Month>("month", "a month such as `2026-11`")?;
    let used = call.platform().usage(call.entered()?, month)?;
    let metric = |(metric, used_of): &(traaviis_policy::plan::Metric, u64)| {
        let quota = used.plan.quota(*metric);
        MetricAnswer {
            metric: metric.as_str().into(),
            used: *used_of,
            included: quota.included,
            hard: quota.hard,
            percent: quota.percent(*used_of),
        }
    };
    call.tell(&UsageAnswer {
        month: used.month.to_string(),
        plan: used.plan.as_str().into(),
        closed: used.is_closed,
        metrics: used.used.iter().map(metric).collect(),
    })
}

pub(super) fn change_plan(call: &Call<'_>) -> Result<Answer, Error> {
    let PlanRequest { plan } = call.request.json()?;
    let plan: Plan = plan.parse().map_err(|error: String| Error::invalid("/plan", error))?;
    tell_tenant(call, &call.platform().choose_plan(call.entered()?, plan)?)
}

fn answer(it: &Invoice) -> InvoiceAnswer {
    let tenant = it.tenant.0.simple().to_string();
    let line = |line: &traaviis_policy::invoice::Line| InvoiceLine {
        what: line.what.clone(),
        quantity: line.quantity,
        price: decimal(line.price.micros),
        per: line.price.per,
        amount: decimal(line.micros),
    };
    InvoiceAnswer {
        id: it.number.clone(),
        // The end of an id is its chance; the beginning is the time.
        number: format!("{}-{}", it.number, &tenant[tenant.len() - 12..]),
        tenant_id: it.tenant.0,
        plan: it.plan.as_str().into(),
        from: time(it.month.begins()),
        to: time(it.month.ends()),
        status: it.status.as_str().into(),
        lines: it.lines.iter().map(line).collect(),
        subtotal: decimal(it.subtotal),
        tax: decimal(it.tax),
        total: decimal(it.total),
        currency: it.prices.currency.into(),
        price_book_version: it.prices.version.into(),
    }
}

pub(super) fn invoices(call: &Call<'_>) -> Result<Answer, Error> {
    let made = call.platform().invoices(call.entered()?)?;
    call.tell(&Page::whole(made.iter().map(answer).collect()))
}

pub(super) fn invoice(call: &Call<'_>) -> Result<Answer, Error> {
    let text = call.request.part("id");
    let month = text.parse().map_err(|_| Error::not_found("invoice", text))?;
    call.tell(&answer(&call.platform().invoice(call.entered()?, month)?))
}
