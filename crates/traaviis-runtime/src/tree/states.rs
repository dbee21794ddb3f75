//! Where the projector gets states from: the owners of a running process, the log, or a fold of the
//! whole log.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use traaviis_model::{InstanceId, Record, Snapshot, TenantCtx};

use crate::{
    error::Error,
    handle::Handle,
    owner::{Key, SeededHasher},
    past::Past,
};

/// What is known of an instance.
#[derive(Debug)]
pub enum State {
    /// Its state, after the records that the projector has seen or later.
    Known(Arc<Snapshot>),
    /// Its history is damaged; the tree leaves it as it is.
    Unknown,
    /// Nobody answers now.
    Later,
}

/// Where states come from.
pub trait States {
    /// Says whether [`States::note`] wants to see every record.
    fn notes(&self) -> bool {
        false
    }

    /// Takes a record of an instance, in the order of the log.
    fn note(&mut self, _: Key, _: &[u8]) {}

    /// Learns that the tree shows everything that was noted of an instance.
    fn shown(&mut self, _: &Key) {}

    /// Returns states in the order asked for.
    fn states(&mut self, asked: &[(TenantCtx, InstanceId)]) -> Vec<State>;
}

/// The owners of a running process.
pub(crate) struct Live(pub Handle);

impl States for Live {
    fn states(&mut self, asked: &[(TenantCtx, InstanceId)]) -> Vec<State> {
        self.0.states(asked).into_iter().map(state_of).collect()
    }
}

/// The log alone, one history at a time.
pub struct FromLog(pub Past);

impl States for FromLog {
    fn states(&mut self, asked: &[(TenantCtx, InstanceId)]) -> Vec<State> {
        asked.iter().map(|(ctx, id)| state_of(self.0.state(ctx, *id))).collect()
    }
}

fn state_of(found: Result<Option<Arc<Snapshot>>, Error>) -> State {
    match found {
        Ok(Some(snapshot)) => State::Known(snapshot),
        Ok(None) => State::Unknown,
        Err(error) if error.is_retryable() || matches!(error, Error::Stopping) => State::Later,
        Err(_) => State::Unknown,
    }
}

/// A fold of the whole log; holds the open instances, and the ended ones until they are shown.
#[derive(Default)]
pub(crate) struct Folded {
    states: HashMap<Key, Arc<Snapshot>, SeededHasher>,
    pub damaged: HashSet<Key, SeededHasher>,
}

impl Folded {
    /// Returns the instances that are held, in order.
    pub(crate) fn keys(&self) -> Vec<Key> {
        let mut keys: Vec<Key> = self.states.keys().copied().collect();
        keys.sort_unstable();
        keys
    }

    /// Returns a state.
    pub(crate) fn get(&self, key: &Key) -> Option<&Arc<Snapshot>> {
        self.states.get(key)
    }

    /// Applies a record; false when it does not fit.
    fn apply(&mut self, key: Key, line: &[u8]) -> bool {
        let Ok(record) = Record::read_line(line) else { return false };
        if let Some(held) = self.states.get_mut(&key)
            && record.header.seq <= held.seq
        {
            // A log that moves records forward shows some of them again.
            return true;
        }
        if let Some(snapshot) = Snapshot::reopen(&record) {
            self.states.insert(key, Arc::new(snapshot));
            return true;
        }
        match self.states.get_mut(&key) {
            Some(held) => Arc::make_mut(held).apply(&record).is_ok(),
            None => match Snapshot::create(&record) {
                Ok(snapshot) => self.states.insert(key, Arc::new(snapshot)).is_none(),
                Err(_) => false,
            },
        }
    }
}

impl States for Folded {
    fn notes(&self) -> bool {
        true
    }

    fn note(&mut self, key: Key, line: &[u8]) {
        if self.damaged.contains(&key) {
            return;
        }
        if !self.apply(key, line) {
            self.states.remove(&key);
            self.damaged.insert(key);
        }
    }

    fn shown(&mut self, key: &Key) {
        if self.states.get(key).is_some_and(|it| it.status.is_finished()) {
            self.states.remove(key);
        }
    }

    fn states(&mut self, asked: &[(TenantCtx, InstanceId)]) -> Vec<State> {
        let find = |(ctx, id): &(TenantCtx, InstanceId)| {
            let key = Key { tenant: ctx.tenant(), id: *id };
            self.states.get(&key).map_or(State::Unknown, |it| State::Known(Arc::clone(it)))
        };
        asked.iter().map(find).collect()
    }
}
