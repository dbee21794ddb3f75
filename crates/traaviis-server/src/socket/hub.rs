//! Who listens to which topic, and what they are told.
//!
//! A message is queued for each subscriber; one whose queue is full is too slow, and its socket is
//! closed rather than anybody waiting for it. What a subscriber may not see of a payload is masked
//! before it is queued.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
};

use serde_json::{Value as Json, json};
use tokio::sync::{
    Notify,
    mpsc::{self, error::TrySendError},
};
use traaviis_model::{Body, Record, Snapshot};
use traaviis_platform::{
    engine::Committed,
    tenant::{DataAccess, Payloads},
};

use super::frame::broadcast;
use crate::payloads;

/// Messages that wait for one socket; beyond it the socket is closed and its client reads anew.
pub const QUEUE_MAX: usize = 1_000;
/// Sockets of one process: at 8 KiB each, what the memory of a process leaves them.
pub const SOCKETS_MAX: usize = 10_000;

/// One socket on one topic.
#[derive(Clone, Debug)]
pub struct Subscriber {
    /// The socket.
    pub socket: u64,
    /// Its queue of text frames.
    pub queue: mpsc::Sender<Arc<str>>,
    /// Told when it does not keep up; called from any thread.
    pub slow: Arc<Notify>,
    /// What it may see.
    pub access: DataAccess,
}

/// Somebody who is present on a topic, by socket.
type Present = BTreeMap<String, BTreeMap<u64, Json>>;

/// All sockets.
#[derive(Debug, Default)]
pub struct Hub {
    topics: Mutex<HashMap<String, Vec<Subscriber>>>,
    present: Mutex<HashMap<String, Present>>,
    sockets: AtomicUsize,
    last: AtomicU64,
}

/// The place of one socket, given back when it is dropped.
#[derive(Debug)]
pub struct Place {
    hub: Arc<Hub>,
    /// Number of the socket.
    pub socket: u64,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.hub.sockets.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Hub {
    /// Takes a socket in, unless there are too many.
    pub fn enter(self: &Arc<Hub>) -> Option<Place> {
        if self.sockets.fetch_add(1, Ordering::SeqCst) >= SOCKETS_MAX {
            self.sockets.fetch_sub(1, Ordering::SeqCst);
            return None;
        }
        let socket = self.last.fetch_add(1, Ordering::SeqCst) + 1;
        Some(Place { hub: Arc::clone(self), socket })
    }

    /// Returns how many sockets there are.
    pub fn count(&self) -> usize {
        self.sockets.load(Ordering::SeqCst)
    }

    /// Lets a socket hear a topic, in the place of what it heard there before.
    pub fn join(&self, topic: &str, subscriber: Subscriber) {
        let mut topics = self.topics();
        let heard = topics.entry(topic.to_owned()).or_default();
        heard.retain(|it| it.socket != subscriber.socket);
        heard.push(subscriber);
    }

    /// Lets a socket hear a topic no more.
    pub fn leave(&self, topic: &str, socket: u64) {
        let mut topics = self.topics();
        if let Some(heard) = topics.get_mut(topic) {
            heard.retain(|it| it.socket != socket);
            if heard.is_empty() {
                topics.remove(topic);
            }
        }
    }

    /// Says whether anybody listens to a topic.
    fn is_heard(&self, topic: &str) -> bool {
        self.topics().contains_key(topic)
    }

    /// Tells everybody on a topic but one socket.
    pub fn tell(&self, topic: &str, event: &str, payload: &Json, but: Option<u64>) {
        let topics = self.topics();
        let Some(heard) = topics.get(topic) else { return };
        // What is shown differs by right, not by socket.
        let mut texts: [Option<Arc<str>>; 3] = [None, None, None];
        for subscriber in heard.iter().filter(|it| Some(it.socket) != but) {
            let kind = match subscriber.access.payloads {
                Payloads::Full => 0,
                Payloads::Masked => 1,
                Payloads::None => 2,
            };
            let text = texts[kind].get_or_insert_with(|| {
                let (shown, _) = payloads::shown(payload.clone(), subscriber.access);
                broadcast(topic, event, &shown).into()
            });
            if let Err(TrySendError::Full(_)) = subscriber.queue.try_send(Arc::clone(text)) {
                subscriber.slow.notify_one();
            }
        }
    }

    /// Tells whoever listens what a durable step did.
    pub fn step(&self, committed: &Committed) {
        // Called for every step of every tenant, most of the time with nobody to tell.
        if self.topics().is_empty() {
            return;
        }
        let Committed { records, snapshot, .. } = committed;
        let (tenant, id) = (snapshot.tenant_id, snapshot.id);
        let machines = format!("fsm:{tenant}");
        if self.is_heard(&machines) {
            for (event, payload) in changes(snapshot, records) {
                self.tell(&machines, event, &payload, None);
            }
        }
        let one = format!("instance:{id}");
        if self.is_heard(&one) {
            for record in records.iter() {
                self.tell(&one, "record", &shown(record), None);
            }
            if snapshot.status.is_finished() {
                let payload = json!({ "status": snapshot.status, "output": snapshot.output });
                self.tell(&one, "finished", &payload, None);
            }
        }
        let people = format!("tasks:{tenant}");
        if self.is_heard(&people) {
            for record in records.iter() {
                let event = match record.body {
                    Body::TaskCreated { .. } => "task_created",
                    Body::TaskDecided { .. } => "task_decided",
                    Body::IncidentOpened { .. } => "incident_opened",
                    _ => continue,
                };
                let payload = json!({
                    "fsm_id": id,
                    "workflow": snapshot.workflow,
                    "seq": record.header.seq,
                    "timestamp": record.header.at,
                });
                self.tell(&people, event, &payload, None);
            }
        }
    }

    /// Notes that somebody is on a topic; returns who is there now.
    pub fn arrive(&self, topic: &str, key: &str, socket: u64, meta: &Json) -> Json {
        let state = {
            let mut present = self.present();
            let there = present.entry(topic.to_owned()).or_default();
            there.entry(key.to_owned()).or_default().insert(socket, meta.clone());
            state_of(there)
        };
        let diff = json!({ "joins": { key: { "metas": [meta] } }, "leaves": {} });
        self.tell(topic, "presence_diff", &diff, Some(socket));
        state
    }

    /// Notes that a socket has left a topic.
    pub fn depart(&self, topic: &str, key: &str, socket: u64) {
        let meta = {
            let mut present = self.present();
            let Some(there) = present.get_mut(topic) else { return };
            let meta = there.get_mut(key).and_then(|it| it.remove(&socket));
            there.retain(|_, it| !it.is_empty());
            if there.is_empty() {
                present.remove(topic);
            }
            meta
        };
        if let Some(meta) = meta {
            let diff = json!({ "joins": {}, "leaves": { key: { "metas": [meta] } } });
            self.tell(topic, "presence_diff", &diff, Some(socket));
        }
    }

    fn topics(&self) -> MutexGuard<'_, HashMap<String, Vec<Subscriber>>> {
        self.topics.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn present(&self) -> MutexGuard<'_, HashMap<String, Present>> {
        self.present.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn state_of(there: &Present) -> Json {
    let of = |metas: &BTreeMap<u64, Json>| json!({ "metas": metas.values().collect::<Vec<_>>() });
    there
        .iter()
        .map(|(key, metas)| (key.clone(), of(metas)))
        .collect::<serde_json::Map<_, _>>()
        .into()
}

/// Returns a record as the log has it.
fn shown(record: &Record) -> Json {
    let mut line = Vec::new();
    record.write_line(&mut line);
    let mut shown: Json = serde_json::from_slice(&line).unwrap_or_default();
    // Where an act came from is for those who read the audit trail.
    shown.as_object_mut().map(|it| it.remove("origin"));
    shown
}

/// Returns what the records of a step say about the machine: that it is there, and its transitions.
fn changes(snapshot: &Snapshot, records: &[Record]) -> Vec<(&'static str, Json)> {
    let mut told = Vec::new();
    for record in records {
        let (seq, at) = (record.header.seq, record.header.at);
        match &record.body {
            Body::Created { workflow, version, .. } => {
                let payload = json!({
                    "fsm_id": snapshot.id, "module": workflow, "version": version,
                    "timestamp": at, "seq": seq,
                });
                told.push(("fsm_created", payload));
            }
            Body::Transition { from, to, event, .. } => {
                let payload = json!({
                    "fsm_id": snapshot.id, "event": event, "from": from, "to": to,
                    "data": snapshot.data, "timestamp": at, "seq": seq,
                });
                told.push(("fsm_state_changed", payload));
            }
            Body::Finished { status, .. } => {
                let payload = json!({
                    "fsm_id": snapshot.id, "status": status, "timestamp": at, "seq": seq,
                });
                told.push(("fsm_destroyed", payload));
            }
            _ => {}
        }
    }
    told
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subscriber(
        socket: u64,
        payloads: Payloads,
    ) -> (Subscriber, mpsc::Receiver<Arc<str>>, Arc<Notify>) {
        let (queue, receiver) = mpsc::channel(2);
        let (slow, access) = (Arc::default(), DataAccess { payloads, pii_unmask: false });
        let told = Arc::clone(&slow);
        (Subscriber { socket, queue, slow, access }, receiver, told)
    }

    #[test]
    fn everybody_on_a_topic_is_told_what_they_may_see() {
        let hub = Hub::default();
        let (full, mut sees_all, _) = subscriber(1, Payloads::Full);
        let (masked, mut sees_less, _) = subscriber(2, Payloads::Masked);
        hub.join("fsm:a", full);
        hub.join("fsm:a", masked);
        let payload = json!({ "data": { "mail": "ada@example.org" } });
        hub.tell("fsm:a", "changed", &payload, None);
        hub.tell("fsm:b", "changed", &payload, None);
        assert!(sees_all.try_recv().unwrap().contains("ada@example.org"));
        assert!(sees_less.try_recv().unwrap().contains("[EMAIL]"));
        hub.leave("fsm:a", 1);
        hub.tell("fsm:a", "changed", &payload, Some(2));
        assert!(sees_all.try_recv().is_err());
        assert!(sees_less.try_recv().is_err());
    }

    #[tokio::test]
    async fn who_does_not_keep_up_is_told_so() {
        let hub = Hub::default();
        let (slow, _receiver, told) = subscriber(1, Payloads::Full);
        hub.join("t", slow);
        (0..3).for_each(|it| hub.tell("t", "n", &json!({ "n": it }), None));
        told.notified().await;
    }

    #[test]
    fn presence_is_by_person_and_ends_with_their_last_socket() {
        let hub = Hub::default();
        hub.arrive("t", "ada", 1, &json!({ "phx_ref": "1" }));
        let state = hub.arrive("t", "ada", 2, &json!({ "phx_ref": "2" }));
        assert_eq!(state["ada"]["metas"].as_array().unwrap().len(), 2);
        hub.depart("t", "ada", 1);
        let state = hub.arrive("t", "bob", 3, &json!({ "phx_ref": "3" }));
        assert_eq!(state["ada"]["metas"].as_array().unwrap().len(), 1);
        hub.depart("t", "ada", 2);
        hub.depart("t", "bob", 3);
        assert!(hub.present().is_empty());
    }
}
