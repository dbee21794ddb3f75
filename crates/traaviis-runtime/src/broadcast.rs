//! One event of a caller to every open instance that fits a filter.
//!
//! Nothing of it is durable but what the receivers take. With a key, asking once more after a crash
//! reaches nobody twice, because each receiver knows the event by its deduplication id.

use std::{
    sync::mpsc::channel,
    time::{Duration, Instant},
};

use traaviis_model::{InstanceId, TenantCtx, Text, Value, limits::BROADCAST_RECEIVERS_MAX};

use crate::{error::Error, handle::Handle, owner::Command, summary::Filter};

/// Longest time for all answers together; longer means that the disk stands still.
const ANSWERS_MAX: Duration = Duration::from_secs(60);

/// What became of a broadcast.
#[derive(Debug)]
pub struct Broadcast {
    /// Instances that have taken the event.
    pub taken: Vec<InstanceId>,
    /// Instances that have not, and why, in the order of their ids.
    pub refused: Vec<(InstanceId, Error)>,
}

impl Handle {
    /// Sends an event to every open instance that fits, at most [`BROADCAST_RECEIVERS_MAX`], and
    /// waits until all have answered. Too many are refused before anybody is told.
    pub fn broadcast(
        &self,
        ctx: &TenantCtx,
        filter: &Filter,
        event: &Text,
        data: &Value,
        key: Option<&str>,
    ) -> Result<Broadcast, Error> {
        let open = Filter { ended: Some(false), limit: 0, ..filter.clone() };
        let mut receivers: Vec<InstanceId> =
            self.list(ctx, &open)?.into_iter().map(|it| it.id).collect();
        if receivers.len() > BROADCAST_RECEIVERS_MAX {
            let message = format!(
                "over {BROADCAST_RECEIVERS_MAX} instances fit; narrow the filter, or send at a rate with `traaviis bulk send`"
            );
            return Err(Error::rejected("too_many_receivers", message, Value::Null));
        }
        receivers.sort_unstable();
        let (sender, answers) = channel();
        for id in &receivers {
            let (sender, id) = (sender.clone(), *id);
            let (event, data) = (event.clone(), data.clone());
            let event_id = key.map(|key| format!("broadcast.{key}.{id}").into());
            let command = Command::Event { event, data, id: event_id };
            let reply = Box::new(move |answer| {
                // Whoever asked may have given up.
                let _ = sender.send((id, answer));
            });
            self.command_then(ctx, id, command, reply);
        }
        drop(sender);
        let (mut taken, mut refused) = (Vec::new(), Vec::new());
        let end = Instant::now() + ANSWERS_MAX;
        for _ in &receivers {
            match answers.recv_timeout(end.saturating_duration_since(Instant::now())) {
                Ok((id, Ok(_))) => taken.push(id),
                Ok((id, Err(error))) => refused.push((id, error)),
                Err(_) => break,
            }
        }
        // Nobody knows about those that have not answered.
        let answered: std::collections::BTreeSet<InstanceId> =
            taken.iter().chain(refused.iter().map(|(id, _)| id)).copied().collect();
        let silent = receivers.iter().filter(|it| !answered.contains(it));
        refused.extend(silent.map(|it| (*it, Error::TimedOut)));
        taken.sort_unstable();
        refused.sort_unstable_by_key(|it| it.0);
        Ok(Broadcast { taken, refused })
    }
}
