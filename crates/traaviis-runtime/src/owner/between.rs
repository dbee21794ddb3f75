//! What instances ask of each other: calls whose receiver is another instance of the tenant.
//!
//! The owner of the sender performs such a call by posting a message to the owner of the receiver;
//! the answer comes back as the outcome of the attempt, as a connector's does. The idempotency key
//! of the call goes along as the deduplication id, so a call that is asked again after a crash is
//! answered like the first time.
//!
//! Invariant: an answer is given only for what is durable at the receiver, or refused there for
//! good. When the process is ending there is no answer, and the next one asks again.

use std::sync::Arc;

use traaviis_engine::query;
use traaviis_model::{Call, EffectError, InstanceId, TenantCtx, Text, Value};
use traaviis_ports::{LogError, Outcome};

use super::{Accepted, Command, Found, Key, Message, Owner, Reply};
use crate::error::Error;

/// The way from an owner to every owner of the process, itself included. What one sender posts to
/// one owner arrives in the order it was posted.
pub trait Post: Send + Sync {
    /// Sends a message to the owner of an instance. A message that is lost is sent again by the
    /// next process, because its call has no outcome.
    fn post(&self, to: Key, message: Message);

    /// Sends a message to every owner of the process; returns how many there are.
    fn post_each(&self, make: &mut dyn FnMut() -> Message) -> usize;
}

/// Delivers nothing: for owners that are alone.
#[derive(Debug)]
pub struct NoPost;

impl Post for NoPost {
    fn post(&self, _: Key, _: Message) {}

    fn post_each(&self, _: &mut dyn FnMut() -> Message) -> usize {
        0
    }
}

impl Owner {
    /// Performs a call to another instance, which learns the record that scheduled it as the cause,
    /// and the request or root that it belongs to.
    pub(super) fn ask_instance(&self, ctx: &TenantCtx, call: Call) {
        let mut ctx = ctx.because_of(call.id.instance, call.id.scheduled);
        let sender = Key { tenant: ctx.tenant(), id: call.id.instance };
        if let Some(sender) = self.instances.get(&sender) {
            ctx = ctx.belonging_to(sender.snapshot.tree_belongs_to(call.id.tree));
        }
        let ctx = &ctx;
        let asked = match &*call.kind {
            "send_event" => self.send_event(ctx, &call),
            "spawn_fsm" => self.spawn(ctx, &call),
            "query_fsm" => self.query(ctx, &call),
            "invoke_fsm" => self.invoke(ctx, &call),
            "broadcast_event" => self.broadcast(ctx, &call),
            other => Err(unknown_kind(other)),
        };
        match asked {
            Ok(()) => {}
            Err(error) if &*call.kind == "spawn_fsm" => self.refuse_spawn(ctx, call, error),
            Err(error) => self.answer(ctx, call, Err(error)),
        }
    }

    /// Tells the instance that asked.
    pub(super) fn answer(&self, ctx: &TenantCtx, call: Call, outcome: Outcome) {
        let to = Key { tenant: ctx.tenant(), id: call.id.instance };
        self.settings.post.post(to, Message::Outcome { tenant: to.tenant, call: call.id, outcome });
    }

    fn send_event(&self, ctx: &TenantCtx, call: &Call) -> Result<(), EffectError> {
        let id = self.receiver(ctx, &call.input)?;
        let event = text(&call.input, "event")?;
        let data = call.input.get("data").cloned().unwrap_or_default();
        let command = Command::Event { event, data, id: Some(call.key.clone()) };
        let to = Key { tenant: ctx.tenant(), id };
        let reply = self.reply_to(ctx, call, move |it: Accepted| {
            Value::map([
                ("accepted", Value::Bool(true)),
                ("seq", Value::Int(it.seq.cast_signed())),
                ("instance_id", Value::from(id.to_string())),
            ])
        });
        self.settings.post.post(to, Message::Deliver { ctx: ctx.clone(), id, command, reply });
        Ok(())
    }

    /// Performs a `query_fsm`: the owner of the other one evaluates it where the state is.
    fn query(&self, ctx: &TenantCtx, call: &Call) -> Result<(), EffectError> {
        let id = self.receiver(ctx, &call.input)?;
        let select = text(&call.input, "select")?;
        let (post, past) = (Arc::clone(&self.settings.post), self.settings.past.clone());
        let asker = Key { tenant: ctx.tenant(), id: call.id.instance };
        let (reader, call) = (ctx.clone(), call.id.clone());
        let reply = Box::new(move |found: Result<Found, Error>| {
            let ended = |known| match &past {
                Some(past) => past.ended(&reader, id, known),
                None => Ok(None),
            };
            let state = match found {
                Ok(Found::Open(snapshot)) => Ok(Some(snapshot)),
                // What has ended is not whole in memory.
                Ok(Found::Ended(summary)) => ended(summary.seq),
                Err(Error::NotFound { .. }) => ended(0),
                Err(error) => Err(error),
            };
            let outcome = match state {
                Ok(Some(snapshot)) => query(&snapshot, &select)
                    .map_err(|error| EffectError::new(error.code(), error.to_string())),
                Ok(None) => {
                    let error = Error::NotFound { id };
                    Err(EffectError::new("not_found", error.to_string()))
                }
                Err(error) => Err(EffectError::new(error.code(), error.to_string())),
            };
            post.post(asker, Message::Outcome { tenant: asker.tenant, call, outcome });
        });
        let to = Key { tenant: ctx.tenant(), id };
        self.settings.post.post(to, Message::Find { ctx: ctx.clone(), id, reply });
        Ok(())
    }

    /// Returns a reply that becomes the outcome of `call`.
    fn reply_to<T: 'static>(
        &self,
        ctx: &TenantCtx,
        call: &Call,
        value: impl FnOnce(T) -> Value + Send + 'static,
    ) -> Reply<T> {
        let post = Arc::clone(&self.settings.post);
        let to = Key { tenant: ctx.tenant(), id: call.id.instance };
        let call = call.id.clone();
        Box::new(move |answer| {
            let outcome = match answer {
                Ok(it) => Ok(value(it)),
                Err(error) => match refusal(&error) {
                    Some(refused) => Err(refused),
                    None => return,
                },
            };
            post.post(to, Message::Outcome { tenant: to.tenant, call, outcome });
        })
    }

    /// Finds the instance that a call names, by its id or its business key.
    pub(super) fn receiver(
        &self,
        ctx: &TenantCtx,
        input: &Value,
    ) -> Result<InstanceId, EffectError> {
        if input.get("instance_id").is_some() {
            let id = text(input, "instance_id")?;
            return id.parse().map_err(|_| {
                let message = format!("`instance_id` is `{id}`, which is no id of an instance");
                EffectError::new("not_found", message)
            });
        }
        let name = input.get("correlation").cloned().unwrap_or_default();
        let (workflow, key) = (text(&name, "workflow")?, text(&name, "key")?);
        let found = self.settings.correlations.find(ctx.tenant(), &workflow, &key);
        found.map(|it| it.id).ok_or_else(|| {
            let message =
                format!("no instance of workflow `{workflow}` has the correlation key `{key}`");
            EffectError::new("not_found", message)
        })
    }
}

fn unknown_kind(kind: &str) -> EffectError {
    EffectError::new("feature_unavailable", format!("effect `{kind}` cannot be carried out"))
}

/// Returns a text that may be left out.
pub(super) fn optional_text(input: &Value, name: &str) -> Result<Option<Text>, EffectError> {
    match input.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(_) => text(input, name).map(Some),
    }
}

/// Returns a text of the evaluated parameters.
pub(super) fn text(input: &Value, name: &str) -> Result<Text, EffectError> {
    match input.get(name) {
        Some(Value::String(text)) if !text.is_empty() => Ok(text.clone()),
        found => {
            let found = found.cloned().unwrap_or_default().to_json();
            let message = format!("`{name}` must be text that is not empty, found `{found}`");
            Err(EffectError::new("validation_failed", message))
        }
    }
}

/// Returns what a refusal means for whoever asked; none when it says nothing about the receiver.
pub(super) fn refusal(error: &Error) -> Option<EffectError> {
    let details = match error {
        Error::NotFound { .. } => return Some(EffectError::new("not_found", error.to_string())),
        Error::Rejected(rejection) => rejection.details.clone(),
        Error::Unavailable { .. } | Error::Log(LogError::Refused(_)) => Value::Null,
        _ => return None,
    };
    let mut refused = EffectError::new("event_rejected", error.to_string());
    refused.retryable = error.is_retryable();
    Some(
        refused
            .with_details(Value::map([("code", Value::from(error.code())), ("details", details)])),
    )
}
