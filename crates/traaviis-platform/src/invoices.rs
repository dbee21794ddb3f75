//! Invoices: made from closed months whenever they are asked for, with what was paid and taken off.
//!
//! Nothing of an invoice is kept or changed. A credit note takes something off, a payment says that
//! somebody has paid; both are documents of the tenant's ledger. No provider of payments is
//! connected: a tenant can say by which reference it has paid, and who looks after the platform
//! confirms it.

use serde::{Deserialize, Serialize};
use serde_json::json;
use traaviis_model::{TenantCtx, TenantId, Text, Timestamp, Zone, form};
use traaviis_policy::{
    access::{Action, Freshness},
    invoice::{self, Changed, Credit, Facts, Invoice, Month, PriceBook, Status, decimal},
    plan::{Metric, Plan},
    spending::day_of,
};

use crate::{
    audit::Act,
    caller::{Caller, Entered, named_in},
    error::Error,
    ledger::{Changes, Document, Documents, Versioned},
    platform::Platform,
    tenant::Tenant,
    usage::Used,
};

/// Credit notes of one invoice.
pub const CREDITS_MAX: usize = 20;

/// A plan that took the place of another one; the last of a day stays.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PlanChange {
    /// When; the last time on its day.
    pub at: Timestamp,
    /// The day since 1970 in the time zone of the tenant; none of changes from before it was kept,
    /// which are those of UTC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub day: Option<i64>,
    /// The plan before the day.
    pub from: Text,
    /// The plan after.
    pub to: Text,
}

impl Document for PlanChange {
    const KIND: &'static str = "plan_change";

    fn id(&self) -> Text {
        // In the order of the days, also those of many years.
        format!("{:010}", self.on_day()).into()
    }
}

impl PlanChange {
    /// Notes that a tenant has another plan now.
    pub(crate) fn note(
        documents: &Documents,
        changes: &mut Changes,
        (at, zone): (Timestamp, &Zone),
        (from, to): (&str, &str),
    ) -> Result<(), Error> {
        if from == to {
            return Ok(());
        }
        let day = Some(zone.day_of(at));
        let mut change = PlanChange { at, day, from: from.into(), to: to.into() };
        if let Some(before) = documents.get::<PlanChange>(&change.id())? {
            change.from = before.from;
        }
        changes.put(&change);
        Ok(())
    }

    /// Returns the day that it was made on.
    pub(crate) fn on_day(&self) -> i64 {
        self.day.unwrap_or_else(|| day_of(self.at))
    }

    /// Returns it as invoices are made of it.
    pub(crate) fn changed(&self) -> Changed {
        Changed { day: self.on_day(), from: Plan::of(&self.from), to: Plan::of(&self.to) }
    }
}

/// A credit note.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CreditNote {
    /// Its number: that of the invoice, and which one it is.
    pub number: Text,
    /// How much it takes off, in millionths.
    pub micros: u64,
    /// Why.
    pub reason: String,
    /// When.
    pub at: Timestamp,
}

impl Document for CreditNote {
    const KIND: &'static str = "credit_note";

    fn id(&self) -> Text {
        self.number.clone()
    }
}

/// What is known of the payment of an invoice.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Payment {
    /// The invoice.
    pub invoice: Text,
    /// By what it is found on a statement of the bank.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reference: Option<String>,
    /// When the tenant said that it has paid.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub told_at: Option<Timestamp>,
    /// When who looks after the platform has seen that it is paid.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confirmed_at: Option<Timestamp>,
}

impl Document for Payment {
    const KIND: &'static str = "payment";

    fn id(&self) -> Text {
        self.invoice.clone()
    }
}

/// An invoice, and what is known of its payment.
#[derive(Clone, Debug, PartialEq)]
pub struct Billed {
    /// The invoice.
    pub invoice: Invoice,
    /// When its month begins and is over.
    pub period: (Timestamp, Timestamp),
    /// Its payment.
    pub payment: Option<Payment>,
}

impl Platform {
    /// Returns the invoice of a month.
    pub fn invoice(&self, entered: &Entered, month: Month) -> Result<Billed, Error> {
        self.invoice_in(&entered.ctx, month)
    }

    fn invoice_in(&self, ctx: &TenantCtx, month: Month) -> Result<Billed, Error> {
        let used = self.usage_in(ctx, Some(month))?;
        self.ledgers.read(ctx, |it| billed(it, ctx.tenant(), used))
    }

    /// Returns the invoices of a tenant, the newest first; the first is that of the present month.
    pub fn invoices(&self, entered: &Entered) -> Result<Vec<Billed>, Error> {
        self.months(entered)?.into_iter().map(|it| self.invoice(entered, it)).collect()
    }

    /// Notes by which reference a tenant has paid. The invoice stays open until it is confirmed.
    pub fn tell_payment(
        &self,
        entered: &Entered,
        month: Month,
        reference: &str,
    ) -> Result<Billed, Error> {
        let reference = reference_of(reference)?;
        let used = self.usage(entered, Some(month))?;
        let (tenant, now) = (entered.ctx.tenant(), self.now());
        self.ledgers.change(&entered.ctx, &entered.via, |documents, changes| {
            let mut payment = payable(documents, tenant, used)?;
            payment.reference = Some(reference.clone());
            payment.told_at = Some(now);
            changes.put(&payment);
            let act = Act::done("invoice.payment_told", Payment::KIND, payment.id());
            changes.act(act.with(json!({ "reference": reference })));
            Ok(())
        })?;
        self.invoice(entered, month)
    }

    /// Notes that an invoice is paid, as who looks after the platform has seen.
    pub fn confirm_payment(
        &self,
        caller: &Caller,
        id: TenantId,
        month: Month,
        reference: Option<&str>,
    ) -> Result<Billed, Error> {
        let reference = reference.map(reference_of).transpose()?;
        let ctx = self.billing(caller, id)?;
        let (used, now) = (self.usage_in(&ctx, Some(month))?, self.now());
        self.ledgers.change(&ctx, &caller.via, |documents, changes| {
            let mut payment = payable(documents, id, used)?;
            payment.reference = reference.clone().or(payment.reference);
            payment.confirmed_at = Some(now);
            changes.put(&payment);
            let act = Act::done("invoice.paid", Payment::KIND, payment.id());
            changes.act(act.with(json!({ "reference": payment.reference })));
            Ok(())
        })?;
        self.tell_platform(caller, "invoice.paid", id, json!({ "invoice": month.to_string() }))?;
        self.invoice_in(&ctx, month)
    }

    /// Takes something off an invoice whose month is over.
    pub fn credit(
        &self,
        caller: &Caller,
        id: TenantId,
        month: Month,
        (micros, reason): (u64, &str),
    ) -> Result<Billed, Error> {
        let Some(reason) = form::CREDIT_REASON.read(reason) else {
            let rule = format!("a reason has 1 to {} characters", form::CREDIT_REASON.most);
            return Err(Error::invalid("/reason", rule));
        };
        if micros == 0 {
            return Err(Error::invalid("/amount", "this is more than nothing"));
        }
        let ctx = self.billing(caller, id)?;
        let (used, now) = (self.usage_in(&ctx, Some(month))?, self.now());
        let number = self.ledgers.change(&ctx, &caller.via, |documents, changes| {
            let Billed { invoice, .. } = billed(documents, id, used)?;
            if invoice.status == Status::Draft {
                let message = "the month is not over; nothing can be taken off a draft";
                return Err(Error::new("invalid_state", message));
            }
            let credited: u64 = invoice.credits.iter().map(|it| it.micros).sum();
            let left = invoice.total - credited.min(invoice.total);
            if micros > left {
                let rule = format!("{} of the invoice are left", decimal(left));
                return Err(Error::invalid("/amount", rule));
            }
            let count = invoice.credits.len();
            if count >= CREDITS_MAX {
                let message = format!("an invoice has at most {CREDITS_MAX} credit notes");
                return Err(Error::new("quota_exceeded", message));
            }
            let number: Text = format!("{month}-C{:02}", count + 1).into();
            let note =
                CreditNote { number: number.clone(), micros, reason: reason.into(), at: now };
            changes.put(&note);
            let act = Act::done("invoice.credited", CreditNote::KIND, number.clone());
            changes.act(act.with(json!({ "amount": decimal(micros) })));
            Ok(number)
        })?;
        self.tell_platform(caller, "invoice.credited", id, json!({ "credit_note": number }))?;
        self.invoice_in(&ctx, month)
    }

    /// Lets who looks after the platform into what a tenant is billed.
    fn billing(&self, caller: &Caller, id: TenantId) -> Result<TenantCtx, Error> {
        self.permit(caller, Action::Platform, Freshness::Fresh)?;
        let ctx = named_in(caller, id);
        match self.ledgers.get::<Tenant>(&ctx, "tenant")? {
            Some(_) => Ok(ctx),
            None => Err(Error::not_found(Tenant::KIND, &id.to_string())),
        }
    }
}

fn reference_of(text: &str) -> Result<String, Error> {
    match form::REFERENCE.read(text) {
        Some(reference) => Ok(reference.into()),
        None => {
            let most = form::REFERENCE.most;
            let rule = format!("a reference has 1 to {most} characters, in one line");
            Err(Error::invalid("/reference", rule))
        }
    }
}

fn billed(documents: &Documents, tenant: TenantId, used: Used) -> Result<Billed, Error> {
    let prices = PriceBook::of(&used.price_book);
    let zone = Zone::read(&used.timezone).unwrap_or(Zone::utc());
    let (from, until) = (used.month.begins_in(&zone), used.until);
    let Used { month, plan, plans, mut used, counts, is_closed, .. } = used;
    // Billed is what was kept on average, not what is kept when somebody looks.
    let minutes = u64::try_from((until.0 - from.0) / 60_000_000).unwrap_or(0).max(1);
    for (metric, used) in &mut used {
        if *metric == Metric::Storage {
            *used = counts.total.stored_byte_minutes / minutes;
        }
    }
    let number = month.to_string();
    let credit = |it: Versioned<CreditNote>| Credit {
        number: it.it.number.to_string(),
        micros: it.it.micros,
        reason: it.it.reason,
        at: it.it.at,
    };
    let credits = documents.list::<CreditNote>(&format!("{number}-"))?;
    let credits = credits.into_iter().map(credit).collect();
    let payment = documents.get::<Payment>(&number)?;
    let is_paid = payment.as_ref().is_some_and(|it| it.confirmed_at.is_some());
    let facts = Facts { tenant, month, plan, plans, used, is_closed, credits, is_paid };
    Ok(Billed { invoice: invoice::invoice(&facts, &prices), period: (from, until), payment })
}

/// Returns what is known of the payment of an invoice that is to be paid.
fn payable(documents: &Documents, tenant: TenantId, used: Used) -> Result<Payment, Error> {
    let Billed { invoice, payment, .. } = billed(documents, tenant, used)?;
    let why = match invoice.status {
        Status::Open => {
            let number = invoice.number.into();
            return Ok(payment.unwrap_or(Payment { invoice: number, ..Payment::default() }));
        }
        Status::Draft => "the month is not over, so the invoice is a draft",
        Status::Paid => "nothing is to be paid any more",
        Status::Void => "all of it was taken off",
    };
    Err(Error::new("invalid_state", why))
}
