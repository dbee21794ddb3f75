//! Instances that send an event and wait for what follows: `invoke_fsm`.
//!
//! The owner of the receiver notes who waits, then takes the event. The step that takes it is the
//! first that counts; it or a later one answers. Nothing of this is durable: whoever asked asks
//! again after a crash, and the receiver knows the event by its deduplication id.

use std::sync::Arc;

use traaviis_model::{
    Body, Call, CallId, EffectError, InstanceId, Record, Snapshot, TenantCtx, Text, Timestamp,
    Value, limits::MAILBOX_MAX, record::Status,
};

use super::{
    Accepted, Command, Found, Key, Message, Origin, Outbox, Owner,
    between::{optional_text, refusal, text},
};
use crate::{error::Error, past::Past};

/// Waits for the step that takes the event only.
const STEP: &str = "step";
/// Waits for the end.
const FINAL: &str = "final";

/// An event, and who waits for what follows it.
pub struct Invoke {
    ctx: TenantCtx,
    id: InstanceId,
    event: Text,
    data: Value,
    key: Text,
    until: Text,
    call: CallId,
}

/// What became of an event when no step tells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settled {
    /// It was taken before.
    Known,
    /// It was refused, and who sent it has been told.
    Refused,
}

/// Somebody who waits.
pub(super) struct Awaiting {
    call: CallId,
    key: Text,
    until: Text,
    /// The event was taken.
    is_taken: bool,
}

impl Owner {
    /// Performs an `invoke_fsm`.
    pub(super) fn invoke(&self, ctx: &TenantCtx, call: &Call) -> Result<(), EffectError> {
        let id = self.receiver(ctx, &call.input)?;
        let invoke = Invoke {
            ctx: ctx.clone(),
            id,
            event: text(&call.input, "event")?,
            data: call.input.get("data").cloned().unwrap_or_default(),
            key: call.key.clone(),
            until: optional_text(&call.input, "until")?.unwrap_or_else(|| FINAL.into()),
            call: call.id.clone(),
        };
        let to = Key { tenant: ctx.tenant(), id };
        self.settings.post.post(to, Message::Invoke(Box::new(invoke)));
        Ok(())
    }

    /// Takes the event for which another instance waits.
    pub(super) fn take_invoke(&mut self, invoke: Invoke, now: Timestamp, outbox: &mut dyn Outbox) {
        let Invoke { ctx, id, event, data, key: event_id, until, call } = invoke;
        let (tenant, asker) = (ctx.tenant(), Key { tenant: ctx.tenant(), id: call.instance });
        let key = Key { tenant, id };
        let waiting = self.awaiting.entry(key).or_default();
        waiting.retain(|it| it.call != call);
        if waiting.len() >= MAILBOX_MAX {
            let message = format!("{MAILBOX_MAX} others wait for instance `{id}` already");
            let outcome = Err(EffectError::new("instance_backlog_full", message));
            return self.settings.post.post(asker, Message::Outcome { tenant, call, outcome });
        }
        let known = event_id.clone();
        waiting.push(Awaiting {
            call: call.clone(),
            key: event_id.clone(),
            until,
            is_taken: false,
        });
        let (post, past) = (Arc::clone(&self.settings.post), self.settings.past.clone());
        let reader = ctx.clone();
        let reply = Box::new(move |answer: Result<Accepted, Error>| {
            let how = match &answer {
                // Who waits for another instance keeps no slot.
                Ok(accepted) => {
                    post.post(asker, Message::Yield { tenant, call: call.clone() });
                    if !accepted.replayed {
                        return;
                    }
                    Settled::Known
                }
                Err(error) => {
                    let ended = past.and_then(|past| took(&past, &reader, id, &known));
                    let outcome = match (ended, refusal(error)) {
                        (Some(snapshot), _) => ending(&snapshot),
                        (None, Some(refused)) => Err(refused),
                        // The process is ending, and the next one asks again.
                        (None, None) => return,
                    };
                    let call = call.clone();
                    post.post(asker, Message::Outcome { tenant, call, outcome });
                    Settled::Refused
                }
            };
            post.post(key, Message::Settle { tenant, of: id, call, how });
        });
        let command = Command::Event { event, data, id: Some(event_id) };
        self.command(id, command, Origin::Instance(ctx, reply), now, outbox);
    }

    /// An event was taken before, or refused.
    pub(super) fn settle_wait(&mut self, key: Key, call: &CallId, how: Settled) {
        if how == Settled::Refused {
            if let Some(waiting) = self.awaiting.get_mut(&key) {
                waiting.retain(|it| it.call != *call);
            }
            return self.drop_idle_waits(key);
        }
        for it in self.awaiting.get_mut(&key).into_iter().flatten() {
            it.is_taken |= it.call == *call;
        }
        if let Ok(Found::Open(snapshot)) = self.find(key.tenant, key.id) {
            self.tell_waiting(key, &[], &snapshot);
        }
    }

    /// Answers who waits for what a step has led to.
    pub(super) fn tell_waiting(&mut self, key: Key, records: &[Record], snapshot: &Snapshot) {
        let Some(waiting) = self.awaiting.get_mut(&key) else { return };
        for it in waiting.iter_mut() {
            it.is_taken |= records.iter().any(|record| is_event(record, &it.key));
        }
        let is_over = snapshot.status.is_finished();
        let comes = |it: &mut Awaiting| it.is_taken && (is_over || is_there(&it.until, snapshot));
        for it in waiting.extract_if(.., comes) {
            let outcome = match is_there(&it.until, snapshot) {
                true if &*it.until != FINAL => Ok(value(snapshot)),
                _ => ending(snapshot),
            };
            let asker = Key { tenant: key.tenant, id: it.call.instance };
            let message = Message::Outcome { tenant: key.tenant, call: it.call, outcome };
            self.settings.post.post(asker, message);
        }
        self.drop_idle_waits(key);
    }

    fn drop_idle_waits(&mut self, key: Key) {
        if self.awaiting.get(&key).is_some_and(Vec::is_empty) {
            self.awaiting.remove(&key);
        }
    }
}

fn is_event(record: &Record, key: &Text) -> bool {
    matches!(
        &record.body,
        Body::EventReceived { id: Some(id), .. }
        | Body::EventIgnored { id: Some(id), .. }
        | Body::EventDeferred { id: Some(id), .. } if id == key
    )
}

fn is_there(until: &str, snapshot: &Snapshot) -> bool {
    match until {
        STEP => true,
        FINAL => snapshot.status.is_finished(),
        path => snapshot.is_in(path),
    }
}

fn value(snapshot: &Snapshot) -> Value {
    Value::map([
        ("state", Value::from(snapshot.state())),
        ("output", snapshot.output.clone()),
        ("status", Value::from(snapshot.status.as_str())),
    ])
}

/// Returns what the end of an instance means for who waited for it.
fn ending(snapshot: &Snapshot) -> Result<Value, EffectError> {
    if snapshot.status == Status::Completed {
        return Ok(value(snapshot));
    }
    let (id, status) = (snapshot.id, snapshot.status.as_str());
    let error = EffectError::new("child_failed", format!("instance `{id}` ended as {status}"));
    let error = error.with_details(Value::map([
        ("instance_id", Value::from(id.to_string())),
        ("status", Value::from(status)),
    ]));
    Err(match snapshot.error.as_deref().cloned() {
        Some(cause) => error.caused_by(cause),
        None => error,
    })
}

/// Returns an ended instance that has taken the event.
fn took(past: &Past, ctx: &TenantCtx, id: InstanceId, key: &Text) -> Option<Snapshot> {
    let records = past.history(ctx, id).ok()?;
    let snapshot = Snapshot::fold(&records).ok()??;
    let took = records.iter().any(|it| is_event(it, key));
    (took && snapshot.status.is_finished()).then_some(snapshot)
}
