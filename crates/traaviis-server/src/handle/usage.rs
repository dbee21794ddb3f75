//! Handlers of plans, usage and invoices.

use traaviis_api::types::{
    Page,
    admin::{CreditRequest, PaidRequest},
    usage::{
        CreditAnswer, InvoiceAnswer, InvoiceLine, MetricAnswer, PayRequest, PaymentAnswer,
        PlanRequest, StorageAnswer, UsageAnswer,
    },
};
use traaviis_model::budget::micros;
use traaviis_platform::{Error, invoices::Billed};
use traaviis_policy::{
    invoice::{Credit, Month, decimal},
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
        storage: used.stored.map(|it| StorageAnswer {
            log: it.log,
            blobs: it.blobs,
            archive: it.archive,
        }),
    })
}

pub(super) fn change_plan(call: &Call<'_>) -> Result<Answer, Error> {
    let PlanRequest { plan } = call.request.json()?;
    let plan: Plan = plan.parse().map_err(|error: String| Error::invalid("/plan", error))?;
    tell_tenant(call, &call.platform().choose_plan(call.entered()?, plan)?)
}

fn answer(billed: &Billed) -> InvoiceAnswer {
    let Billed { invoice: it, payment } = billed;
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
        credits: it.credits.iter().map(credit_note).collect(),
        due: decimal(it.due),
        payment: payment.as_ref().map(|it| PaymentAnswer {
            reference: it.reference.clone(),
            told_at: it.told_at.map(time),
            confirmed_at: it.confirmed_at.map(time),
        }),
        currency: it.prices.currency.into(),
        price_book_version: it.prices.version.into(),
    }
}

pub(super) fn invoices(call: &Call<'_>) -> Result<Answer, Error> {
    let made = call.platform().invoices(call.entered()?)?;
    call.tell(&Page::whole(made.iter().map(answer).collect()))
}

fn credit_note(it: &Credit) -> CreditAnswer {
    CreditAnswer {
        number: it.number.clone(),
        amount: decimal(it.micros),
        reason: it.reason.clone(),
        at: time(it.at),
    }
}

fn month(call: &Call<'_>, part: &str) -> Result<Month, Error> {
    let text = call.request.part(part);
    text.parse().map_err(|_| Error::not_found("invoice", text))
}

pub(super) fn invoice(call: &Call<'_>) -> Result<Answer, Error> {
    call.tell(&answer(&call.platform().invoice(call.entered()?, month(call, "id")?)?))
}

pub(super) fn pay(call: &Call<'_>) -> Result<Answer, Error> {
    let PayRequest { reference } = call.request.json()?;
    let month = month(call, "id")?;
    call.tell(&answer(&call.platform().tell_payment(call.entered()?, month, &reference)?))
}

pub(super) fn paid(call: &Call<'_>) -> Result<Answer, Error> {
    let PaidRequest { reference } = call.request.json_or_default()?;
    let (id, month) = (call.request.id("id", "tenant")?, month(call, "month")?);
    let platform = call.platform();
    let billed = platform.confirm_payment(call.caller()?, id, month, reference.as_deref())?;
    call.tell(&answer(&billed))
}

pub(super) fn credit(call: &Call<'_>) -> Result<Answer, Error> {
    let CreditRequest { amount, reason } = call.request.json()?;
    let micros = micros(&amount).ok_or_else(|| {
        Error::invalid("/amount", "this is an amount such as `4.50`, with at most 6 decimals")
    })?;
    let (id, month) = (call.request.id("id", "tenant")?, month(call, "month")?);
    let credited = call.platform().credit(call.caller()?, id, month, (micros, &reason))?;
    call.tell(&answer(&credited))
}
