//! Callers who send an event and wait for what follows it.

use std::{
    sync::{Arc, mpsc::RecvTimeoutError},
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};
use traaviis_model::{InstanceId, Seq, Snapshot, TenantCtx, Text};

use crate::{
    error::Error,
    handle::{Accepted, Handle},
    limits::CALLER_WAIT_MAX,
    owner::Command,
    watch::Watch,
};

/// For what a caller waits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Until {
    /// For the step that takes the event.
    Step,
    /// For a state that is active then or later, by its path.
    State(Text),
    /// For the end.
    Final,
}

impl Until {
    /// Says whether an instance has come there.
    pub fn is_met(&self, snapshot: &Snapshot) -> bool {
        match self {
            Until::Step => true,
            Until::State(path) => snapshot.is_in(path),
            Until::Final => snapshot.status.is_finished(),
        }
    }
}

/// What a caller has waited for. The event is taken in any case.
#[derive(Clone, Debug)]
pub struct Waited {
    /// What the event was taken with.
    pub accepted: Accepted,
    /// The instance as it was when the wait ended.
    pub snapshot: Arc<Snapshot>,
    /// The wait ended because the instance came there, not because time ran out or because it
    /// ended elsewhere.
    pub is_met: bool,
}

impl Handle {
    /// Does something to an instance and waits for what follows, at most [`CALLER_WAIT_MAX`].
    ///
    /// States between two steps count, states inside a step do not. An instance that is there
    /// already once the command is taken has come there.
    pub fn command_and_wait(
        &self,
        ctx: &TenantCtx,
        id: InstanceId,
        command: Command,
        until: &Until,
        timeout: Duration,
    ) -> Result<Waited, Error> {
        let end = Instant::now() + timeout.min(CALLER_WAIT_MAX);
        // Watched first, so that no change falls between the command and the wait.
        let mut watch = self.watch(ctx, Some(id))?;
        let accepted = self.command(ctx, id, command)?;
        let mut snapshot = match told(&watch, accepted.seq) {
            Some(snapshot) => snapshot,
            // A command that changes nothing, or that was taken before, is told to nobody.
            None => self.get(ctx, id)?.ok_or(Error::NotFound { id })?,
        };
        loop {
            let is_met = until.is_met(&snapshot);
            if is_met || snapshot.status.is_finished() {
                return Ok(Waited { accepted, snapshot, is_met });
            }
            match watch.next_timeout(end.saturating_duration_since(Instant::now())) {
                Ok(change) if change.snapshot.seq > snapshot.seq => {
                    snapshot = Arc::clone(&change.snapshot);
                }
                Ok(_) => {}
                Err(RecvTimeoutError::Timeout) => {
                    return Ok(Waited { accepted, snapshot, is_met: false });
                }
                // Too slow, or the process is stopping: look again, if that is possible.
                Err(RecvTimeoutError::Disconnected) => {
                    let again = self.watch(ctx, Some(id));
                    let (Ok(again), Ok(Some(now))) = (again, self.get(ctx, id)) else {
                        return Ok(Waited { accepted, snapshot, is_met: false });
                    };
                    (watch, snapshot) = (again, now);
                }
            }
        }
    }
}

/// Returns the state after record `seq`, if the step that wrote it was told. Steps are told before
/// their callers are answered, so it is there already or never.
fn told(watch: &Watch, seq: Seq) -> Option<Arc<Snapshot>> {
    std::iter::from_fn(|| watch.try_next())
        .find(|it| it.snapshot.seq >= seq)
        .map(|it| Arc::clone(&it.snapshot))
}
