//! States of open instances that were looked at a short while ago, as they are now.
//!
//! Whoever looks at an instance that is here is answered without asking its owner. Every durable
//! step passes [`Looked::step`] before whoever caused it is answered, so nobody sees less than they
//! were told.
//!
//! Invariant: a state that was asked for is kept only when no step came between the question and
//! the answer that would have taken it out.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use traaviis_model::{InstanceId, Snapshot, TenantId};
use traaviis_platform::engine::Committed;

/// Instances that are kept; beyond it all are forgotten, and asked for again when needed.
const INSTANCES_MAX: usize = 1_024;
/// Bytes of an answer about an instance that is kept: with the state itself all of them take 32 MB
/// at most, and about a tenth of that in practice.
const BYTES_MAX: usize = 16 << 10;

type Key = (TenantId, InstanceId);

/// How an instance is, and what is told of it to who may see everything.
type Seen = (Arc<Snapshot>, Option<Arc<[u8]>>);

/// What is known of an instance.
#[derive(Debug)]
enum Known {
    /// Somebody asks; the number tells one question from another.
    Asked(u64),
    /// How it is, and what is told of it to who may see everything.
    Is(Arc<Snapshot>, Option<Arc<[u8]>>),
}

/// States that were looked at.
#[derive(Debug, Default)]
pub(crate) struct Looked {
    states: Mutex<States>,
    /// How many there are: most steps are of none.
    count: AtomicUsize,
}

#[derive(Debug, Default)]
struct States {
    known: HashMap<Key, Known>,
    last: u64,
}

impl Looked {
    /// Returns how an instance is, and what is told of it to who may see everything.
    pub fn get(&self, key: Key) -> Option<Seen> {
        match self.states().known.get(&key)? {
            Known::Is(snapshot, body) => Some((Arc::clone(snapshot), body.clone())),
            Known::Asked(_) => None,
        }
    }

    /// Says that its owner is about to be asked; returns the number of the question.
    pub fn asks(&self, key: Key) -> u64 {
        let mut states = self.states();
        if states.known.len() >= INSTANCES_MAX {
            states.known.clear();
        }
        states.last += 1;
        let number = states.last;
        states.known.insert(key, Known::Asked(number));
        self.count.store(states.known.len(), Ordering::SeqCst);
        number
    }

    /// Keeps what its owner has answered.
    pub fn keep(&self, key: Key, number: u64, snapshot: &Arc<Snapshot>) {
        if let Some(known @ Known::Asked(_)) = self.states().known.get_mut(&key)
            && matches!(known, Known::Asked(it) if *it == number)
        {
            *known = Known::Is(Arc::clone(snapshot), None);
        }
    }

    /// Forgets an instance that its owner says nothing about: it has ended, or answers about it
    /// wait for more than its owner.
    pub fn forget(&self, key: Key) {
        self.states().known.remove(&key);
    }

    /// Keeps what is told of a state.
    pub fn keep_body(&self, key: Key, of: &Arc<Snapshot>, body: &[u8]) {
        let mut states = self.states();
        match states.known.get_mut(&key) {
            Some(Known::Is(snapshot, told)) if Arc::ptr_eq(snapshot, of) => {
                if body.len() <= BYTES_MAX {
                    *told = Some(body.into());
                } else {
                    states.known.remove(&key);
                }
            }
            _ => {}
        }
    }

    /// Takes a durable step in.
    pub fn step(&self, committed: &Committed) {
        if self.count.load(Ordering::SeqCst) == 0 {
            return;
        }
        let snapshot = &committed.snapshot;
        let key = (snapshot.tenant_id, snapshot.id);
        let mut states = self.states();
        let Some(known) = states.known.get_mut(&key) else { return };
        match snapshot.status.is_finished() {
            true => drop(states.known.remove(&key)),
            false => *known = Known::Is(Arc::clone(snapshot), None),
        }
        self.count.store(states.known.len(), Ordering::SeqCst);
    }

    fn states(&self) -> MutexGuard<'_, States> {
        self.states.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use traaviis_model::{Record, Seq, TenantCtx, Timestamp, Value};
    use uuid::Uuid;

    use super::*;

    fn state(seq: Seq) -> Arc<Snapshot> {
        let ctx = TenantCtx::for_test(1);
        let record = Record {
            header: traaviis_model::Header {
                origin: None,
                tenant_id: ctx.tenant(),
                instance_id: InstanceId(Uuid::from_u128(7)),
                seq: 1,
                v: traaviis_model::record::RECORD_VERSION,
                at: Timestamp(0),
                step: 1,
                definition_hash: traaviis_model::DefinitionHash([0; 32]),
                actor: ctx.actor().clone(),
                causation_id: None,
                correlation_id: None,
            },
            body: traaviis_model::Body::Created {
                workflow: "Door".into(),
                version: "1.0.0".into(),
                input: Value::Null,
                data: Value::Null,
                correlation: None,
                lineage: None,
                tags: Default::default(),
                labels: Default::default(),
                created_by: None,
                subject: None,
            },
        };
        let mut snapshot = Snapshot::create(&record).unwrap();
        snapshot.seq = seq;
        Arc::new(snapshot)
    }

    fn seen(looked: &Looked, key: Key) -> Option<Seq> {
        looked.get(key).map(|it| it.0.seq)
    }

    #[test]
    fn what_is_kept_is_never_older_than_a_step() {
        let (looked, first, second) = (Looked::default(), state(1), state(2));
        let key = (first.tenant_id, first.id);
        let step = |of: &Arc<Snapshot>| {
            let (records, snapshot) = (Arc::default(), Arc::clone(of));
            looked.step(&Committed { position: 0, records, snapshot, before: None });
        };
        step(&first);
        assert_eq!(seen(&looked, key), None, "nobody has asked");
        let number = looked.asks(key);
        step(&second);
        looked.keep(key, number, &first);
        assert_eq!(seen(&looked, key), Some(2), "the step came after the answer was made");
        looked.keep_body(key, &first, b"old");
        assert_eq!(looked.get(key).unwrap().1, None, "what is told is of another state");
        looked.keep_body(key, &second, b"new");
        assert_eq!(looked.get(key).unwrap().1.as_deref(), Some(b"new".as_slice()));
        let (early, _late) = (looked.asks(key), looked.asks(key));
        looked.keep(key, early, &first);
        assert_eq!(seen(&looked, key), None, "an answer to a question before the last one");
        looked.forget(key);
        assert_eq!(seen(&looked, key), None);
    }
}
