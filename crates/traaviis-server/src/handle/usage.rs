//! Handlers of plans, usage and invoices.

use traaviis_api::types::{
    Page,
    admin::{CreditRequest, PaidRequest},
    usage::{
        CreditAnswer, InvoiceAnswer, InvoiceLine, MetricAnswer, PayRequest, PaymentAnswer,
        PlanRequest, StorageAnswer, UsageAnswer, UsagePart,
    },
};
use traaviis_model::{Text, budget::micros};
use traaviis_platform::{
    Error,
    invoices::Billed,
    usage::{Counts, Used},
};
use traaviis_policy::{
    invoice::{Credit, Month, decimal},
    plan::{Metric, Plan},
};

use super::{Answer, Call, tenants::tell_tenant};
use crate::convert::time;

pub(super) fn show(call: &Call<'_>) -> Result<Answer, Error> {
    let month = call.request.query::<Month>("month", "a month such as `2026-11`")?;
    let part = call.request.query::<Part>("by", "`day`, `workflow` or `model`")?;
    let used = call.platform().usage(call.entered()?, month)?;
    let metric = |(metric, used_of): &(Metric, u64)| {
        let quota = used.plan.quota(*metric);
        MetricAnswer {
            metric: metric.as_str().into(),
            used: *used_of,
            included: quota.included,
            hard: quota.hard,
            percent: quota.percent(*used_of),
            unit: metric.unit().into(),
            forecast: used.forecast(*metric, *used_of),
        }
    };
    call.tell(&UsageAnswer {
        month: used.month.to_string(),
        timezone: used.timezone.to_string(),
        from: time(used.month_begins()),
        to: time(used.until),
        cost_usd: decimal(used.counts.total.llm_cost_micros),
        parts: part.map(|it| parts(&used, it)),
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

/// In which parts usage is told.
#[derive(Clone, Copy)]
enum Part {
    Day,
    Workflow,
    Model,
}

impl std::str::FromStr for Part {
    type Err = String;

    fn from_str(text: &str) -> Result<Part, String> {
        match text {
            "day" => Ok(Part::Day),
            "workflow" => Ok(Part::Workflow),
            "model" => Ok(Part::Model),
            _ => Err(format!("`{text}` is none of them")),
        }
    }
}

fn parts(used: &Used, part: Part) -> Vec<UsagePart> {
    let all = match part {
        Part::Day => &used.counts.by_day,
        Part::Workflow => &used.counts.by_workflow,
        Part::Model => &used.counts.by_model,
    };
    let part = |(key, counts): (&Text, &Counts)| {
        let of = |it: &Metric| Some((it.as_str().to_owned(), counts.of(*it)?));
        let used = Metric::ALL.iter().filter_map(of).filter(|it| it.1 > 0).collect();
        UsagePart { key: key.to_string(), used }
    };
    all.iter().map(part).collect()
}

pub(super) fn change_plan(call: &Call<'_>) -> Result<Answer, Error> {
    let PlanRequest { plan } = call.request.json()?;
    let plan: Plan = plan.parse().map_err(|error: String| Error::invalid("/plan", error))?;
    tell_tenant(call, &call.platform().choose_plan(call.entered()?, plan)?)
}

fn answer(billed: &Billed) -> InvoiceAnswer {
    let Billed { invoice: it, period: (from, to), payment } = billed;
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
        from: time(*from),
        to: time(*to),
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
