//! Who listens to which topic, and what they are told.
//!
//! A topic is of a tenant, or of a user, by its type, so nothing that happens in one is ever told
//! in another. A message is written once for all who may see the same of it, and waits in the
//! [`Outbox`] of each.

mod places;
mod watching;

use std::{
    collections::{BTreeMap, HashMap},
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use axum::extract::ws::Utf8Bytes;
use serde_json::{Value as Json, json};
use traaviis_model::{Body, InstanceId, TenantId, UserId};
use traaviis_platform::{
    engine::Committed,
    tenant::{DataAccess, Payloads},
};

use super::{
    changes::{self, Counts, Progress},
    frame::broadcast,
    limits::BROADCAST_BYTES_MAX,
    news::News,
    only::Only,
    outbox::Outbox,
};
use crate::payloads;
use places::Places;
pub use places::{Full, Owner, Place};

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
    /// What becomes of calls.
    Effects(TenantId),
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
    /// All of it.
    pub const ALL: [Watched; 2] = [Watched::Instances, Watched::Security];

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
            | Topic::Effects(it)
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
            Topic::Effects(tenant) => write!(f, "tenant:{tenant}:effects"),
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
#[derive(Debug)]
pub struct Subscriber {
    /// The socket.
    pub socket: u64,
    /// What waits for it.
    pub outbox: Arc<Outbox>,
    /// What it may see.
    pub sees: Sees,
    /// Machines that it has chosen; it hears of all when it has not.
    pub only: Option<Only>,
}

impl Subscriber {
    /// Says whether it hears of a machine.
    fn hears(&self, machine: InstanceId) -> bool {
        self.only.as_ref().is_none_or(|it| it.has(machine))
    }
}

/// Who listens to one topic.
#[derive(Debug, Default)]
struct Heard {
    by: Vec<Subscriber>,
    /// Sockets that watch it on the topic of its tenant.
    through: Vec<Subscriber>,
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
    places: Places,
    /// Bytes that wait for all sockets.
    queued: Arc<AtomicUsize>,
    /// Machines that all sockets have chosen.
    followed: Arc<AtomicUsize>,
    /// What changes in documents.
    pub news: News,
    pub(super) is_begun: AtomicBool,
}

impl Hub {
    /// Returns where what one socket is told waits.
    pub fn outbox(&self) -> Arc<Outbox> {
        Arc::new(Outbox::of(&self.queued))
    }

    /// Lets a socket hear a topic, in the place of what it heard there before.
    pub fn join(&self, topic: Topic, subscriber: Subscriber) {
        let mut topics = self.topics(&topic);
        let heard = self.heard_of(&mut topics, topic);
        match heard.by.iter_mut().find(|it| it.socket == subscriber.socket) {
            Some(same) => *same = subscriber,
            None => heard.by.push(subscriber),
        }
    }

    fn heard_of<'t>(&self, topics: &'t mut Topics, topic: Topic) -> &'t mut Heard {
        topics.entry(topic).or_insert_with(|| {
            self.heard.fetch_add(1, Ordering::SeqCst);
            Heard::default()
        })
    }

    /// Takes a socket off a list of a topic; says whether it was there.
    fn take_off(
        &self,
        topics: &mut Topics,
        topic: &Topic,
        list: impl Fn(&mut Heard) -> &mut Vec<Subscriber>,
        socket: u64,
    ) -> bool {
        let Some(heard) = topics.get_mut(topic) else { return false };
        let (list, mut was_there) = (list(heard), false);
        list.retain(|it| {
            was_there |= it.socket == socket;
            it.socket != socket
        });
        if heard.by.is_empty() && heard.through.is_empty() {
            topics.remove(topic);
            self.heard.fetch_sub(1, Ordering::SeqCst);
        }
        was_there
    }

    /// Returns no machines, for a socket that chooses.
    pub fn only(&self) -> Only {
        Only::of(&self.followed)
    }

    /// Lets a socket choose machines that it hears of on a topic, or choose others; nothing when it
    /// is not on the topic.
    pub fn choose<T>(
        &self,
        topic: &Topic,
        socket: u64,
        change: impl FnOnce(&mut Option<Only>) -> T,
    ) -> Option<T> {
        let mut topics = self.topics(topic);
        let by = &mut topics.get_mut(topic)?.by;
        by.iter_mut().find(|it| it.socket == socket).map(|it| change(&mut it.only))
    }

    /// Says what a socket may see of a topic from now on.
    pub fn shows(&self, topic: &Topic, socket: u64, sees: Sees) {
        let mut topics = self.topics(topic);
        let mut show = |topic: &Topic, list: fn(&mut Heard) -> &mut Vec<Subscriber>| {
            let list = topics.get_mut(topic).map(list).into_iter().flatten();
            list.filter(|it| it.socket == socket).for_each(|it| it.sees = sees);
        };
        show(topic, |it| &mut it.by);
        if let Topic::Tenant(tenant) = topic {
            for what in Watched::ALL {
                show(&Topic::Monitoring(*tenant, what), |it| &mut it.through);
            }
        }
    }

    /// Lets a socket hear a topic no more.
    pub fn leave(&self, topic: &Topic, socket: u64) {
        self.take_off(&mut self.topics(topic), topic, |it| &mut it.by, socket);
    }

    /// Tells everybody on a topic but one socket.
    pub fn tell(&self, topic: Topic, event: &str, payload: &Json, but: Option<u64>) {
        self.tell_those(topic, event, payload, |it| Some(it.socket) != but);
    }

    /// Tells those on a topic who are meant.
    pub fn tell_those(
        &self,
        topic: Topic,
        event: &str,
        payload: &Json,
        is_meant: impl Fn(&Subscriber) -> bool,
    ) {
        if let Some(heard) = self.topics(&topic).get(&topic) {
            Telling::of(topic, event, payload).to(heard.by.iter().filter(|it| is_meant(it)));
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
            let by = || heard.by.iter().filter(|it| it.hears(id));
            // Of most machines nobody hears who has chosen others.
            if by().next().is_some() {
                for (event, payload) in changes::changes(snapshot, records) {
                    Telling::of(machines, event, &payload).to(by());
                }
            }
        }
        let one = Topic::Instance(tenant, id);
        if let Some(heard) = topics.get(&one) {
            for record in records.iter() {
                Telling::of(one, "record", &changes::shown(record)).to(&heard.by);
            }
        }
        tell_progress(&topics, committed);
        if let Some(heard) = topics.get(&one)
            && snapshot.status.is_finished()
        {
            let payload = json!({ "status": snapshot.status, "output": snapshot.output });
            Telling::of(one, "finished", &payload).to(&heard.by);
        }
        let people = Topic::Tasks(tenant);
        if let Some(heard) = topics.get(&people) {
            for (event, payload, hint) in changes::waits(snapshot, records) {
                let of =
                    |is_monitor| heard.by.iter().filter(move |it| it.sees.is_monitor == is_monitor);
                Telling::of(people, event, &payload).to(of(true));
                if let Some(hint) = hint {
                    Telling::of(people, event, &hint).to(of(false));
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
                    heard.tell_watched((tenant, Watched::Instances), "alert", &payload);
                }
            }
        }
    }

    /// Tells whoever watches what has happened since the last time.
    pub fn sample(&self, interval_ms: u64, now: &Json) {
        for shard in &self.shards {
            for (topic, heard) in lock(shard).iter_mut() {
                let Topic::Monitoring(tenant, what @ Watched::Instances) = topic else { continue };
                let payload = std::mem::take(&mut heard.counts).sample(interval_ms, now);
                heard.tell_watched((*tenant, *what), "sample", &payload);
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

/// Tells what became of calls to whoever listens.
fn tell_progress(topics: &Topics, committed: &Committed) {
    let (tenant, id) = (committed.snapshot.tenant_id, committed.snapshot.id);
    let all = [
        Topic::Machines(tenant),
        Topic::Instance(tenant, id),
        Topic::Effects(tenant),
        Topic::Tenant(tenant),
    ];
    let heard = all.map(|topic| topics.get(&topic).map(|it| (topic, it)));
    if heard.iter().all(Option::is_none) {
        return;
    }
    for Progress { status, payload } in changes::progress(committed) {
        for (topic, heard) in heard.iter().flatten() {
            let event = match topic {
                Topic::Effects(_) => &format!("effect:{status}"),
                Topic::Tenant(_) => "effects:progress",
                _ => "effect_progress",
            };
            // Of a tenant those hear, too, who may not see its instances.
            let may_see =
                |it: &&Subscriber| it.sees.is_monitor || !matches!(topic, Topic::Tenant(_));
            let by = heard.by.iter().filter(|it| it.hears(id)).filter(may_see);
            Telling::of(*topic, event, &payload).to(by);
        }
    }
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

    fn to<'s>(mut self, subscribers: impl IntoIterator<Item = &'s Subscriber>) {
        for subscriber in subscribers {
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

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn subscriber(hub: &Hub, socket: u64, payloads: Payloads) -> Subscriber {
        let access = DataAccess { payloads, pii_unmask: false };
        let sees = Sees { access, is_monitor: true };
        Subscriber { socket, outbox: hub.outbox(), sees, only: None }
    }

    async fn next(of: &Outbox) -> String {
        of.next().await.unwrap().as_str().to_owned()
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
        let less = masked.sees;
        let (of_full, of_masked) = (Arc::clone(&full.outbox), Arc::clone(&masked.outbox));
        hub.join(here, full);
        hub.join(here, masked);
        let payload = |mail: &str| json!({ "data": { "mail": mail } });
        hub.tell(there, "changed", &payload("eve@example.org"), None);
        hub.tell(here, "changed", &payload("ada@example.org"), None);
        assert!(next(&of_full).await.contains("ada@example.org"));
        assert!(next(&of_masked).await.contains("[EMAIL]"));
        hub.shows(&here, 1, less);
        hub.tell(here, "changed", &payload("ada@example.org"), Some(2));
        assert!(next(&of_full).await.contains("[EMAIL]"), "what may be seen has changed");
        hub.leave(&here, 1);
        hub.leave(&here, 2);
        assert_eq!(hub.heard.load(Ordering::SeqCst), 0);
    }

    #[tokio::test]
    async fn one_text_is_shared_and_a_large_one_says_what_it_is_about() {
        let hub = Hub::default();
        let topic = Topic::Machines(tenant(1));
        let join = |socket| {
            let subscriber = subscriber(&hub, socket, Payloads::Full);
            let outbox = Arc::clone(&subscriber.outbox);
            hub.join(topic, subscriber);
            outbox
        };
        let all: Vec<_> = (0..3).map(join).collect();
        let large = "x".repeat(BROADCAST_BYTES_MAX);
        hub.tell(topic, "changed", &json!({ "fsm_id": "7", "data": { "text": large } }), None);
        let mut texts = Vec::new();
        for it in &all {
            let text = it.next().await.unwrap();
            let told: Json = serde_json::from_str(&text).unwrap();
            assert_eq!(told[4], json!({ "fsm_id": "7", "omitted": true }));
            texts.push(text);
        }
        let place = |it: &Utf8Bytes| it.as_str().as_ptr();
        assert!(texts.iter().all(|it| place(it) == place(&texts[0])), "written once");
    }

    #[tokio::test]
    async fn what_is_watched_on_the_topic_of_a_tenant_ends_with_it() {
        let hub = Hub::default();
        let (own, sample) = (Topic::Tenant(tenant(1)), json!({ "started": 1 }));
        assert_eq!(hub.watch(tenant(1), 1, &Watched::ALL), None, "it has not joined");
        let ada = subscriber(&hub, 1, Payloads::Full);
        let of_ada = Arc::clone(&ada.outbox);
        hub.join(own, ada);
        hub.watch(tenant(1), 1, &[Watched::Security]).unwrap();
        hub.watch(tenant(1), 1, &[Watched::Instances]).unwrap();
        hub.tell_watched(tenant(1), Watched::Security, "alert", &json!({}));
        hub.tell_watched(tenant(1), Watched::Instances, "sample", &sample);
        let told: Json = serde_json::from_str(&next(&of_ada).await).unwrap();
        assert_eq!((&told[2], &told[3]), (&json!(own.to_string()), &json!("monitoring:sample")));
        assert_eq!(told[4], json!({ "started": 1, "resource_type": "instances" }));
        // Who has joined the topic itself hears of it there, too.
        hub.join(Topic::Monitoring(tenant(1), Watched::Instances), {
            let joined = subscriber(&hub, 1, Payloads::Full);
            Subscriber { outbox: Arc::clone(&of_ada), ..joined }
        });
        hub.tell_watched(tenant(1), Watched::Instances, "sample", &sample);
        let (first, second) = (next(&of_ada).await, next(&of_ada).await);
        assert!(first.contains(r#""sample""#) && second.contains(r#""monitoring:sample""#));
        assert!(hub.watch_no_more(tenant(1), 1) && !hub.watch_no_more(tenant(1), 1));
        hub.leave(&own, 1);
        hub.leave(&Topic::Monitoring(tenant(1), Watched::Instances), 1);
        assert_eq!(hub.heard.load(Ordering::SeqCst), 0);
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
}
