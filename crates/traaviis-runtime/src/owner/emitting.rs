//! Emitted events on their way to subscribers.
//!
//! The owner of the publisher posts a committed emission to the owner of each subscriber and keeps
//! it until all have told that they are done with it; checkpoints list what is kept, and the next
//! process posts it again. Each subscriber looks at it when its turn comes, by the state and the
//! version of that moment.
//!
//! Invariants: a subscriber hears the emissions of one publisher in their order; it is done
//! with one
//! only when what it decided is durable; whoever cannot take an event records why and holds up
//! nobody else.

use std::{collections::BTreeSet, sync::Arc};

use traaviis_engine::{Input, Machine};
use traaviis_model::{
    Body, EffectError, Emission, InstanceId, Record, Seq, Snapshot, TenantId, Value,
    limits::MAILBOX_MAX,
};

use super::{Accepted, Job, Key, Mailbox, Message, Origin, Owner, between::refusal};
use crate::error::Error;

/// An emission and the subscribers that are not done with it.
#[derive(Clone, Debug)]
pub struct Outgoing {
    /// Tenant.
    pub tenant: TenantId,
    /// The emission.
    pub emission: Arc<Emission>,
    /// Who is not done with it.
    pub left: BTreeSet<InstanceId>,
    /// Its record is sealed, so what is kept of it is as well.
    pub is_sealed: bool,
}

impl Outgoing {
    pub(super) fn name(&self) -> (Key, Seq) {
        let id = self.emission.publisher;
        (Key { tenant: self.tenant, id }, self.emission.seq)
    }
}

impl Owner {
    /// Sends what a committed step emitted. What a fork has in common with its original was sent
    /// when that emitted it.
    pub(super) fn send_emitted(&mut self, key: Key, snapshot: &Snapshot, records: &[Record]) {
        let shared = records.iter().rposition(|it| matches!(it.body, Body::Forked(_)));
        for record in &records[shared.unwrap_or(0)..] {
            let Body::Emitted { event, .. } = &record.body else { continue };
            let mut left = self.settings.subscribers.of(key.tenant, event);
            left.remove(&key.id);
            if left.is_empty() {
                continue;
            }
            if let Some(emission) = Emission::of(record, &snapshot.workflow) {
                self.send_emission(Outgoing {
                    tenant: key.tenant,
                    emission: emission.into(),
                    left,
                    is_sealed: snapshot.sealed_for().is_some(),
                });
            }
        }
    }

    /// Sends an emission to everyone who is not done with it.
    pub(super) fn send_emission(&mut self, outgoing: Outgoing) {
        let tenant = outgoing.tenant;
        for to in &outgoing.left {
            let emission = Arc::clone(&outgoing.emission);
            let message = Message::Emission { tenant, to: *to, emission };
            self.settings.post.post(Key { tenant, id: *to }, message);
        }
        self.emissions.insert(outgoing.name(), outgoing);
    }

    /// A subscriber is done with an emission.
    pub(super) fn heard(&mut self, publisher: Key, seq: Seq, by: InstanceId) {
        let Some(outgoing) = self.emissions.get_mut(&(publisher, seq)) else { return };
        outgoing.left.remove(&by);
        if outgoing.left.is_empty() {
            self.emissions.remove(&(publisher, seq));
        }
    }

    /// Puts an emission into the mailbox of a subscriber.
    pub(super) fn hear(&mut self, to: Key, emission: Arc<Emission>) {
        let reply = self.when_heard(to, &emission);
        self.activate(to);
        let (Some(instance), Some(tenant)) =
            (self.instances.get_mut(&to), self.tenants.get(&to.tenant))
        else {
            return reply(Err(Error::NotFound { id: to.id }));
        };
        let mailbox = instance.mailbox.get_or_insert_default();
        if mailbox.len() >= MAILBOX_MAX {
            mailbox.miss(&emission);
            return reply(Ok(Accepted::with(&instance.snapshot)));
        }
        let ctx = tenant.ctx.because_of(emission.publisher, emission.seq);
        let ctx = ctx.belonging_to(emission.belongs_to());
        // Which event it is here is decided when its turn comes.
        let (event, id) = (emission.event.clone(), emission.id());
        let input = Input::Delivered { event, data: Value::Null, id, refused: None };
        let origin = Origin::Emission(ctx, emission, reply);
        mailbox.push(Job { input, origin, if_seq: None });
        self.ready.push_back(to);
    }

    /// Returns what tells the publisher that a subscriber is done with an emission. When the
    /// process is ending it tells nothing, and the next one sends the emission again.
    fn when_heard(&self, by: Key, emission: &Emission) -> super::Reply<Accepted> {
        let post = Arc::clone(&self.settings.post);
        let publisher = Key { tenant: by.tenant, id: emission.publisher };
        let seq = emission.seq;
        Box::new(move |answer| {
            let is_done = match &answer {
                Ok(_) => true,
                Err(error) => refusal(error).is_some(),
            };
            if is_done {
                post.post(publisher, Message::Heard { publisher, seq, by: by.id });
            }
        })
    }
}

impl Job {
    /// Makes an emission the event that it is for this instance; gives the job back when it is
    /// none.
    pub(super) fn arrived(mut self, machine: &Machine, snapshot: &Snapshot) -> Result<Job, Job> {
        let Origin::Emission(_, emission, _) = &self.origin else { return Ok(self) };
        let Some(event) = machine.arrives_as(snapshot, emission) else { return Err(self) };
        let (data, id) = (emission.data.clone(), emission.id());
        self.input = Input::Delivered { event, data, id, refused: None };
        Ok(self)
    }
}

impl Mailbox {
    /// Notes an emission for which there is no room. The instance will record how many there were.
    fn miss(&mut self, emission: &Emission) {
        let missed = match self.last_event() {
            Some(Input::Delivered { data, refused: Some(_), .. }) => data.get("missed").cloned(),
            _ => None,
        };
        let count = match missed {
            Some(Value::Int(count)) => {
                self.drop_last_event();
                count + 1
            }
            _ => 1,
        };
        let message = format!(
            "{count} emitted events came while {MAILBOX_MAX} inputs waited, the last is this one"
        );
        let refused = Some(Box::new(EffectError::new("instance_backlog_full", message)));
        let data = Value::map([("missed", Value::Int(count))]);
        let (event, id) = (emission.event.clone(), emission.id());
        self.push(Job::runtime(Input::Delivered { event, data, id, refused }));
    }
}
