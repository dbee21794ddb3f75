//! States that rest: read when a record needs them, put back when memory gets full.

use traaviis_ports::{LogStore, SnapshotError, SnapshotStore};

use super::{Recovery, parts::context_of};
use crate::{
    error::Error,
    limits::RECOVERY_BYTES_MAX,
    owner::Key,
    snapshots::{self, State},
};

/// Where states rest, and what opens those that are sealed.
#[derive(Clone, Copy)]
pub(crate) struct States<'a> {
    pub store: &'a dyn SnapshotStore,
    pub log: &'a dyn LogStore,
}

impl Recovery {
    /// Reads the state of an instance that rests.
    pub(crate) fn load(
        &self,
        key: Key,
        states: Option<States<'_>>,
    ) -> Result<Option<State>, Error> {
        let (Some(States { store, log }), Some(head)) = (states, self.resting.get(&key)) else {
            return Ok(None);
        };
        let ctx = self.contexts.get(&key.tenant).cloned();
        let ctx = ctx.unwrap_or_else(|| context_of(key, head.definition, head.seq));
        let body = store.get(&ctx, key.id).map_err(Error::Snapshots)?;
        let state = body.map_or(Ok(None), |it| snapshots::read(&it, log))?;
        let state = state.filter(|it| Key::of(&it.snapshot) == key && it.snapshot.seq == head.seq);
        let why = || format!("the state of instance `{}` is not there", key.id);
        state.map(Some).ok_or_else(|| Error::Snapshots(SnapshotError::Damaged(why().into())))
    }

    /// Lets an instance go on whose state rests.
    pub(super) fn activate(&mut self, key: Key, states: Option<States<'_>>) -> Result<(), Error> {
        if let Some(State { snapshot, event_ids }) = self.load(key, states)? {
            self.resting.remove(&key);
            self.put_open(snapshot, event_ids, true);
        }
        Ok(())
    }

    /// Puts states into the snapshot store when they have grown too large for memory.
    pub(super) fn spill(&mut self, states: Option<States<'_>>) -> Result<(), Error> {
        let Some(States { store, log }) = states.filter(|_| self.grown > RECOVERY_BYTES_MAX) else {
            return Ok(());
        };
        self.grown = 0;
        let open = self.instances.values();
        let open = open.map(|it| (&it.snapshot, it.event_ids.as_deref())).collect();
        let sizes = match snapshots::put_rows(store, std::iter::empty(), open, None, log) {
            Ok(sizes) => sizes,
            // They stay in memory as long as there is no space.
            Err(Error::Snapshots(SnapshotError::Full)) => return Ok(()),
            Err(error) => return Err(error),
        };
        for (key, bytes) in sizes {
            if let Some(open) = self.instances.remove(&key) {
                self.put_head(snapshots::head_of(&open.snapshot, bytes));
            }
        }
        Ok(())
    }
}
