//! Handlers of webhooks.

use traaviis_api::types::{
    Page,
    hooks::{DeliveryAnswer, RedeliverRequest, WebhookAnswer, WebhookRequest},
};
use traaviis_platform::{
    Error,
    webhooks::{Delivery, URL_CHARS_MAX, Webhook, WebhookAsk},
};
use url::Url;

use super::{Answer, Call};

fn id<'a>(call: &'a Call<'_>) -> &'a str {
    call.request.part("id")
}

fn told(it: &Webhook, secret: Option<String>) -> WebhookAnswer {
    WebhookAnswer {
        id: it.id.parse().unwrap_or_default(),
        url: it.url.clone(),
        events: it.events.iter().map(ToString::to_string).collect(),
        description: it.description.clone(),
        status: if it.is_gone { "gone" } else { "active" }.to_owned(),
        secret,
        made_at: it.made_at.to_string(),
        made_by: it.made_by.0,
    }
}

fn delivery(it: &Delivery) -> DeliveryAnswer {
    DeliveryAnswer {
        id: it.position,
        event: it.kind.to_string(),
        instance: it.instance.0,
        seq: it.seq,
        delivered: it.delivered,
        attempts: it.attempts,
        status: it.status,
        error: it.error.clone(),
        at: it.at.to_string(),
    }
}

pub(super) fn list(call: &Call<'_>) -> Result<Answer, Error> {
    let all = call.platform().webhooks(call.entered()?)?;
    call.tell(&Page::whole(all.iter().map(|it| told(&it.it, None)).collect()))
}

pub(super) fn create(call: &Call<'_>) -> Result<Answer, Error> {
    let WebhookRequest { url, events, description } = call.request.json()?;
    let is_good = url.len() <= URL_CHARS_MAX
        && Url::parse(&url).is_ok_and(|it| {
            matches!(it.scheme(), "http" | "https")
                && it.has_host()
                && it.username().is_empty()
                && it.password().is_none()
        });
    if !is_good {
        let rule = "this is an address of `http` or `https`, without a name or a password";
        return Err(Error::invalid("/url", rule));
    }
    let ask = WebhookAsk { url, events, description };
    let (made, secret) = call.platform().make_webhook(call.caller()?, call.entered()?, ask)?;
    call.tell(&told(&made.it, Some(secret)))
}

pub(super) fn remove(call: &Call<'_>) -> Result<Answer, Error> {
    call.platform().remove_webhook(call.entered()?, id(call))?;
    call.done()
}

pub(super) fn deliveries(call: &Call<'_>) -> Result<Answer, Error> {
    let limit = call.request.limit()?;
    let all = call.platform().deliveries(call.entered()?, id(call), limit)?;
    call.tell(&Page::whole(all.iter().map(delivery).collect()))
}

pub(super) fn redeliver(call: &Call<'_>) -> Result<Answer, Error> {
    let RedeliverRequest { delivery: number } = call.request.json()?;
    let entered = call.entered()?;
    let told = call.platform().redeliver(entered, call.engine(), id(call), number)?;
    call.tell(&delivery(&told))
}
