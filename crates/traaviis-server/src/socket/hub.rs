//! Who listens to which topic, and what they are told.
//!
//! A topic is of a tenant, or of a user, by its type, so nothing that happens in one is ever told
//! in another. A message is written once for all who may see the same of it, and waits in the
//! [`Outbox`] of each.

use std::{
    collections::{BTreeMap, HashMap},
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
};

use axum::extract::ws::Utf8Bytes;
use serde_json::{Value as Json, json};
use traaviis_model::{Body, InstanceId, Record, Snapshot, TenantId, UserId, record::Status};
use traaviis_platform::{
    engine::Committed,
    tenant::{DataAccess, Payloads},
};

use super::{frame::broadcast, limits::BROADCAST_BYTES_MAX, news::News, outbox::Outbox};
use crate::payloads;

/// Maps of topics, each with a lock: more than threads that tell something at once.
const SHARDS: usize = 32;
/// Characters of a text that is told although the rest of a message is left out.
const THIN_CHARS_MAX: usize = 200;

/// What can be listened to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Topic {
    /// What members of a tenant tell each other, and who is there.
    Tenant(TenantId),
    /// The machines of a tenant.
    Machines(TenantId),
    /// One instance, in its tenant: the same id may be another instance elsewhere.
    Instance(TenantId, InstanceId),
    /// What waits for people.
    Tasks(TenantId),
    /// Changes of workflows.
    Workflows(TenantId),
    /// How a tenant fares.
    Monitoring(TenantId, Watched),
    /// What concerns one user.
    Activity(UserId),
}

/// What is watched of a tenant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Watched {
    /// Its instances.
    Instances,
    /// Its audit trail.
    Security,
}

impl Watched {
    /// Returns the word on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Watched::Instances => "instances",
            Watched::Security => "security",
        }
    }
}

impl Topic {
    /// Returns the tenant that it is of.
    pub fn tenant(&self) -> Option<TenantId> {
        match self {
            Topic::Tenant(it)
            | Topic::Machines(it)
            | Topic::Instance(it, _)
            | Topic::Tasks(it)
            | Topic::Workflows(it)
            | Topic::Monitoring(it, _) => Some(*it),
            Topic::Activity(_) => None,
        }
    }

    /// Returns the map that it is in; topics of a tenant are in the same.
    fn shard(&self) -> usize {
        let id = match self {
            Topic::Activity(user) => user.0,
            other => other.tenant().map(|it| it.0).unwrap_or_default(),
        };
        // The end of an id is chance.
        id.as_u128() as usize % SHARDS
    }
}

impl fmt::Display for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Topic::Tenant(tenant) => write!(f, "tenant:{tenant}"),
            Topic::Machines(tenant) => write!(f, "fsm:{tenant}"),
            Topic::Instance(_, id) => write!(f, "instance:{id}"),
            Topic::Tasks(tenant) => write!(f, "tasks:{tenant}"),
            Topic::Workflows(tenant) => write!(f, "tenant:{tenant}:workflows"),
            Topic::Monitoring(tenant, what) => write!(f, "monitoring:{tenant}:{}", what.as_str()),
            Topic::Activity(user) => write!(f, "user_activity:{user}"),
        }
    }
}

/// What a socket may see on a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sees {
    /// What of the data.
    pub access: DataAccess,
    /// Whether every instance may be seen, or only what concerns oneself.
    pub is_monitor: bool,
}

/// One socket on one topic.
#[derive(Clone, Debug)]
pub struct Subscriber {
    /// The socket.
    pub socket: u64,
    /// What waits for it.
    pub outbox: Arc<Outbox>,
    /// What it may see.
    pub sees: Sees,
}

/// What happened to the instances of a tenant since the last sample.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Counts {
    started: u64,
    finished: u64,
    failed: u64,
    transitions: u64,
    tasks: u64,
    incidents: u64,
}

/// Who listens to one topic.
#[derive(Debug, Default)]
struct Heard {
    by: Vec<Subscriber>,
    counts: Counts,
}

type Topics = HashMap<Topic, Heard>;

/// Somebody who is present, by socket.
type Present = BTreeMap<String, BTreeMap<u64, Json>>;

/// All sockets.
#[derive(Debug, Default)]
pub struct Hub {
    shards: [Mutex<Topics>; SHARDS],
    /// Topics that anybody listens to: most steps are of none.
    heard: AtomicUsize,
    present: Mutex<HashMap<Topic, Present>>,
    sockets: AtomicUsize,
    last: AtomicU64,
    /// Bytes that wait for all sockets.
    queued: Arc<AtomicUsize>,
    /// What changes in documents.
    pub news: News,
    pub(super) is_begun: AtomicBool,
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
    pub fn enter(self: &Arc<Hub>, sockets_max: usize) -> Option<Place> {
        if self.sockets.fetch_add(1, Ordering::SeqCst) >= sockets_max {
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

    /// Returns where what one socket is told waits.
    pub fn outbox(&self) -> Arc<Outbox> {
        Arc::new(Outbox::of(&self.queued))
    }

    /// Lets a socket hear a topic, in the place of what it heard there before.
    pub fn join(&self, topic: Topic, subscriber: Subscriber) {
        let mut topics = self.topics(&topic);
        let before = topics.len();
        let heard = topics.entry(topic).or_default();
        match heard.by.iter_mut().find(|it| it.socket == subscriber.socket) {
            Some(same) => *same = subscriber,
            None => heard.by.push(subscriber),
        }
        self.heard.fetch_add(topics.len() - before, Ordering::SeqCst);
    }

    /// Says what a socket may see of a topic from now on.
    pub fn shows(&self, topic: &Topic, socket: u64, sees: Sees) {
        if let Some(heard) = self.topics(topic).get_mut(topic)
            && let Some(it) = heard.by.iter_mut().find(|it| it.socket == socket)
        {
            it.sees = sees;
        }
    }

    /// Lets a socket hear a topic no more.
    pub fn leave(&self, topic: &Topic, socket: u64) {
        let mut topics = self.topics(topic);
        if let Some(heard) = topics.get_mut(topic) {
            heard.by.retain(|it| it.socket != socket);
            if heard.by.is_empty() {
                topics.remove(topic);
                self.heard.fetch_sub(1, Ordering::SeqCst);
            }
        }
    }

    /// Tells everybody on a topic but one socket.
    pub fn tell(&self, topic: Topic, event: &str, payload: &Json, but: Option<u64>) {
        if let Some(heard) = self.topics(&topic).get(&topic) {
            Telling::of(topic, event, payload).to(&heard.by, but);
        }
    }

    /// Tells whoever listens what a durable step did.
    pub fn step(&self, committed: &Committed) {
        // Called for every step of every tenant, most of the time with nobody to tell.
        if self.heard.load(Ordering::Relaxed) == 0 {
            return;
        }
        let Committed { records, snapshot, .. } = committed;
        let (tenant, id) = (snapshot.tenant_id, snapshot.id);
        let machines = Topic::Machines(tenant);
        let mut topics = self.topics(&machines);
        if topics.is_empty() {
            return;
        }
        if let Some(heard) = topics.get(&machines) {
            for (event, payload) in changes(snapshot, records) {
                Telling::of(machines, event, &payload).to(&heard.by, None);
            }
        }
        let one = Topic::Instance(tenant, id);
        if let Some(heard) = topics.get(&one) {
            for record in records.iter() {
                Telling::of(one, "record", &shown(record)).to(&heard.by, None);
            }
            if snapshot.status.is_finished() {
                let payload = json!({ "status": snapshot.status, "output": snapshot.output });
                Telling::of(one, "finished", &payload).to(&heard.by, None);
            }
        }
        let people = Topic::Tasks(tenant);
        if let Some(heard) = topics.get(&people) {
            for (event, payload, hint) in waits(snapshot, records) {
                let (monitors, others): (Vec<_>, Vec<_>) =
                    heard.by.iter().cloned().partition(|it| it.sees.is_monitor);
                Telling::of(people, event, &payload).to(&monitors, None);
                if let Some(hint) = hint {
                    Telling::of(people, event, &hint).to(&others, None);
                }
            }
        }
        let watched = Topic::Monitoring(tenant, Watched::Instances);
        if let Some(heard) = topics.get_mut(&watched) {
            heard.counts.add(snapshot, records);
            for record in records.iter() {
                if let Body::IncidentOpened { incident, .. } = &record.body {
                    let payload = json!({
                        "type": "incident", "kind": incident, "fsm_id": id,
                        "workflow": snapshot.workflow, "seq": record.header.seq,
                        "timestamp": record.header.at,
                    });
                    Telling::of(watched, "alert", &payload).to(&heard.by, None);
                }
            }
        }
    }

    /// Tells whoever watches what has happened since the last time.
    pub fn sample(&self, interval_ms: u64, now: &Json) {
        for shard in &self.shards {
            for (topic, heard) in lock(shard).iter_mut() {
                let Topic::Monitoring(_, Watched::Instances) = topic else { continue };
                let Counts { started, finished, failed, transitions, tasks, incidents } =
                    std::mem::take(&mut heard.counts);
                let payload = json!({
                    "interval_ms": interval_ms, "started": started, "finished": finished,
                    "failed": failed, "transitions": transitions, "tasks": tasks,
                    "incidents": incidents, "timestamp": now,
                });
                Telling::of(*topic, "sample", &payload).to(&heard.by, None);
            }
        }
    }

    /// Notes that somebody is on a topic; returns who is there now.
    pub fn arrive(&self, topic: Topic, key: &str, socket: u64, meta: &Json) -> Json {
        let state = {
            let mut present = lock(&self.present);
            let there = present.entry(topic).or_default();
            there.entry(key.to_owned()).or_default().insert(socket, meta.clone());
            state_of(there)
        };
        let diff = json!({ "joins": { key: { "metas": [meta] } }, "leaves": {} });
        self.tell(topic, "presence_diff", &diff, Some(socket));
        state
    }

    /// Notes that a socket has left a topic.
    pub fn depart(&self, topic: Topic, key: &str, socket: u64) {
        let meta = {
            let mut present = lock(&self.present);
            let Some(there) = present.get_mut(&topic) else { return };
            let meta = there.get_mut(key).and_then(|it| it.remove(&socket));
            there.retain(|_, it| !it.is_empty());
            if there.is_empty() {
                present.remove(&topic);
            }
            meta
        };
        if let Some(meta) = meta {
            let diff = json!({ "joins": {}, "leaves": { key: { "metas": [meta] } } });
            self.tell(topic, "presence_diff", &diff, Some(socket));
        }
    }

    fn topics(&self, of: &Topic) -> MutexGuard<'_, Topics> {
        lock(&self.shards[of.shard()])
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One message to many: written once for all who may see the same of it.
struct Telling<'a> {
    topic: Topic,
    event: &'a str,
    payload: &'a Json,
    /// By what is shown of it.
    texts: [Option<Utf8Bytes>; 3],
}

impl Telling<'_> {
    fn of<'a>(topic: Topic, event: &'a str, payload: &'a Json) -> Telling<'a> {
        Telling { topic, event, payload, texts: [const { None }; 3] }
    }

    fn to(mut self, subscribers: &[Subscriber], but: Option<u64>) {
        for subscriber in subscribers.iter().filter(|it| Some(it.socket) != but) {
            let access = subscriber.sees.access;
            let kind = match access.payloads {
                Payloads::Full => 0,
                Payloads::Masked => 1,
                Payloads::None => 2,
            };
            let text = self.texts[kind].get_or_insert_with(|| {
                let shown = payloads::shown(self.payload.clone(), access).0;
                written(&shown, |it| broadcast(&self.topic.to_string(), self.event, it))
            });
            subscriber.outbox.push(text.clone());
        }
    }
}

/// Writes a message; of one that is too large only what it is about.
pub(super) fn written(payload: &Json, write: impl Fn(&Json) -> String) -> Utf8Bytes {
    let text = write(payload);
    if text.len() <= BROADCAST_BYTES_MAX {
        return text.into();
    }
    write(&thin(payload)).into()
}

/// Leaves of a payload what names things, and says that the rest is left out.
fn thin(payload: &Json) -> Json {
    let is_short = |it: &Json| match it {
        Json::String(text) => text.len() <= THIN_CHARS_MAX,
        Json::Array(_) | Json::Object(_) => false,
        _ => true,
    };
    let kept = payload.as_object().into_iter().flatten().filter(|it| is_short(it.1));
    let mut thin: serde_json::Map<_, _> = kept.map(|(key, it)| (key.clone(), it.clone())).collect();
    thin.insert("omitted".into(), true.into());
    thin.into()
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

/// Returns what the records of a step say about what waits for people: to those who may see every
/// instance, and to those who must look whether it concerns them.
fn waits(snapshot: &Snapshot, records: &[Record]) -> Vec<(&'static str, Json, Option<Json>)> {
    let of = |record: &Record| {
        let (event, path, is_for_all) = match &record.body {
            Body::TaskCreated { path, .. } => ("task_created", path, true),
            Body::TaskDecided { path, .. } => ("task_decided", path, true),
            Body::IncidentOpened { path, .. } => ("incident_opened", path, false),
            _ => return None,
        };
        let at = record.header.at;
        let payload = json!({
            "fsm_id": snapshot.id, "workflow": snapshot.workflow, "path": path,
            "seq": record.header.seq, "timestamp": at,
        });
        Some((event, payload, is_for_all.then(|| json!({ "timestamp": at }))))
    };
    records.iter().filter_map(of).collect()
}

impl Counts {
    fn add(&mut self, snapshot: &Snapshot, records: &[Record]) {
        for record in records {
            match &record.body {
                Body::Created { .. } => self.started += 1,
                Body::Transition { .. } => self.transitions += 1,
                Body::TaskCreated { .. } => self.tasks += 1,
                Body::IncidentOpened { .. } => self.incidents += 1,
                Body::Finished { .. } => {
                    self.finished += 1;
                    self.failed += u64::from(snapshot.status == Status::Failed);
                }
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn subscriber(hub: &Hub, socket: u64, payloads: Payloads) -> Subscriber {
        let access = DataAccess { payloads, pii_unmask: false };
        Subscriber { socket, outbox: hub.outbox(), sees: Sees { access, is_monitor: true } }
    }

    async fn next(of: &Subscriber) -> String {
        of.outbox.next().await.unwrap().as_str().to_owned()
    }

    fn tenant(number: u128) -> TenantId {
        TenantId(Uuid::from_u128(number))
    }

    #[tokio::test]
    async fn everybody_on_a_topic_is_told_what_they_may_see() {
        let hub = Hub::default();
        let (here, there) = (Topic::Machines(tenant(1)), Topic::Machines(tenant(2)));
        let full = subscriber(&hub, 1, Payloads::Full);
        let masked = subscriber(&hub, 2, Payloads::Masked);
        hub.join(here, full.clone());
        hub.join(here, masked.clone());
        let payload = |mail: &str| json!({ "data": { "mail": mail } });
        hub.tell(there, "changed", &payload("eve@example.org"), None);
        hub.tell(here, "changed", &payload("ada@example.org"), None);
        assert!(next(&full).await.contains("ada@example.org"));
        assert!(next(&masked).await.contains("[EMAIL]"));
        hub.shows(&here, 1, masked.sees);
        hub.tell(here, "changed", &payload("ada@example.org"), Some(2));
        assert!(next(&full).await.contains("[EMAIL]"), "what may be seen has changed");
        hub.leave(&here, 1);
        hub.leave(&here, 2);
        assert_eq!(hub.heard.load(Ordering::SeqCst), 0);
    }

    #[tokio::test]
    async fn one_text_is_shared_and_a_large_one_says_what_it_is_about() {
        let hub = Hub::default();
        let topic = Topic::Machines(tenant(1));
        let all: Vec<_> = (0..3).map(|it| subscriber(&hub, it, Payloads::Full)).collect();
        all.iter().for_each(|it| hub.join(topic, it.clone()));
        let large = "x".repeat(BROADCAST_BYTES_MAX);
        hub.tell(topic, "changed", &json!({ "fsm_id": "7", "data": { "text": large } }), None);
        let mut texts = Vec::new();
        for it in &all {
            let text = it.outbox.next().await.unwrap();
            let told: Json = serde_json::from_str(&text).unwrap();
            assert_eq!(told[4], json!({ "fsm_id": "7", "omitted": true }));
            texts.push(text);
        }
        let place = |it: &Utf8Bytes| it.as_str().as_ptr();
        assert!(texts.iter().all(|it| place(it) == place(&texts[0])), "written once");
    }

    #[test]
    fn presence_is_by_person_and_ends_with_their_last_socket() {
        let hub = Hub::default();
        let topic = Topic::Tenant(tenant(1));
        hub.arrive(topic, "ada", 1, &json!({ "phx_ref": "1" }));
        let state = hub.arrive(topic, "ada", 2, &json!({ "phx_ref": "2" }));
        assert_eq!(state["ada"]["metas"].as_array().unwrap().len(), 2);
        hub.depart(topic, "ada", 1);
        let state = hub.arrive(topic, "bob", 3, &json!({ "phx_ref": "3" }));
        assert_eq!(state["ada"]["metas"].as_array().unwrap().len(), 1);
        hub.depart(topic, "ada", 2);
        hub.depart(topic, "bob", 3);
        assert!(lock(&hub.present).is_empty());
    }

    #[test]
    fn so_many_sockets_and_no_more() {
        let hub = Arc::new(Hub::default());
        let places: Vec<_> = (0..2).map(|_| hub.enter(2).unwrap()).collect();
        assert!(hub.enter(2).is_none());
        drop(places);
        assert_eq!(hub.count(), 0);
        assert!(hub.enter(2).is_some());
    }
}
