//! One event to every open instance that fits: `broadcast_event`.
//!
//! Every owner names its instances, then each of them is sent the event like any other. The
//! deduplication id is the key of the call and the receiver, so a broadcast that is asked again
//! reaches nobody twice.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use traaviis_model::{
    Call, CallId, EffectError, InstanceId, TenantCtx, Text, Value, limits::BROADCAST_RECEIVERS_MAX,
};

use traaviis_ports::Outcome;

use super::{
    Accepted, Command, Key, Message, Owner, Post,
    between::{optional_text, refusal, text},
};
use crate::{
    error::Error,
    summary::{Filter, Summary},
};

/// A broadcast under way.
struct Broadcast {
    ctx: TenantCtx,
    call: CallId,
    key: Text,
    event: Text,
    data: Value,
    post: Arc<dyn Post>,
    so_far: Mutex<SoFar>,
}

#[derive(Default)]
struct SoFar {
    /// How many owners there are, once all were asked.
    owners: Option<usize>,
    /// Owners that have named their instances.
    named: usize,
    receivers: Vec<InstanceId>,
    /// Receivers that have not answered.
    left: usize,
    taken: i64,
}

impl Owner {
    /// Performs a `broadcast_event`.
    pub(super) fn broadcast(&self, ctx: &TenantCtx, call: &Call) -> Result<(), EffectError> {
        let to = call.input.get("match").cloned().unwrap_or_default();
        let filter = Filter {
            workflow: optional_text(&to, "workflow")?,
            state: optional_text(&to, "state")?,
            tags: optional_text(&to, "tag")?.into_iter().collect(),
            ended: Some(false),
            ..Filter::default()
        };
        let broadcast = Arc::new(Broadcast {
            ctx: ctx.clone(),
            call: call.id.clone(),
            key: call.key.clone(),
            event: text(&call.input, "event")?,
            data: call.input.get("data").cloned().unwrap_or_default(),
            post: Arc::clone(&self.settings.post),
            so_far: Mutex::default(),
        });
        let owners = self.settings.post.post_each(&mut || {
            let broadcast = Arc::clone(&broadcast);
            let reply = Box::new(move |found: Vec<Summary>| broadcast.named(&found));
            Message::List { ctx: ctx.clone(), filter: filter.clone(), reply }
        });
        broadcast.so_far().owners = Some(owners);
        broadcast.go();
        Ok(())
    }
}

impl Broadcast {
    /// An owner has named its instances.
    fn named(self: Arc<Self>, found: &[Summary]) {
        let sender = self.call.instance;
        let mut so_far = self.so_far();
        so_far.named += 1;
        so_far.receivers.extend(found.iter().map(|it| it.id).filter(|it| *it != sender));
        drop(so_far);
        self.go();
    }

    /// Sends the event once all owners have named their instances.
    fn go(self: &Arc<Self>) {
        let mut so_far = self.so_far();
        if so_far.owners != Some(so_far.named) {
            return;
        }
        so_far.owners = None;
        let mut receivers = std::mem::take(&mut so_far.receivers);
        so_far.left = receivers.len();
        drop(so_far);
        if receivers.len() > BROADCAST_RECEIVERS_MAX {
            let message = format!(
                "over {BROADCAST_RECEIVERS_MAX} instances fit; narrow `match`, or use `traaviis bulk send`"
            );
            return self.answer(Err(EffectError::new("too_many_receivers", message)));
        }
        if receivers.is_empty() {
            return self.answer(Ok(counted(0)));
        }
        receivers.sort_unstable();
        for id in receivers {
            let command = Command::Event {
                event: self.event.clone(),
                data: self.data.clone(),
                id: Some(format!("{}.{id}", self.key).into()),
            };
            let broadcast = Arc::clone(self);
            let reply = Box::new(move |answer: Result<Accepted, Error>| broadcast.told(&answer));
            let ctx = self.ctx.clone();
            let to = Key { tenant: ctx.tenant(), id };
            self.post.post(to, Message::Deliver { ctx, id, command, reply });
        }
    }

    /// A receiver has taken the event, or refused it.
    fn told(&self, answer: &Result<Accepted, Error>) {
        // Who cannot answer is asked again by the next process.
        if answer.as_ref().is_err_and(|error| refusal(error).is_none()) {
            return;
        }
        let mut so_far = self.so_far();
        so_far.taken += i64::from(answer.is_ok());
        so_far.left -= 1;
        let (left, taken) = (so_far.left, so_far.taken);
        drop(so_far);
        if left == 0 {
            self.answer(Ok(counted(taken)));
        }
    }

    fn answer(&self, outcome: Outcome) {
        let (tenant, call) = (self.ctx.tenant(), self.call.clone());
        let to = Key { tenant, id: call.instance };
        self.post.post(to, Message::Outcome { tenant, call, outcome });
    }

    fn so_far(&self) -> MutexGuard<'_, SoFar> {
        // No code panics while it holds the lock; a poisoned one is still whole.
        self.so_far.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn counted(taken: i64) -> Value {
    Value::map([("count", Value::Int(taken))])
}
