//! Acts on instances: what the log tells that somebody did, entered into the audit trails.
//!
//! A record that tells of an act from outside holds where it came from (`origin`), so an entry is
//! made of the record alone, at any time after the act was acknowledged. A follower reads the log
//! behind everyone who acts.
//!
//! ```text
//! log -> records with an origin -> by tenant -> entries + place, one change of its ledger
//! ```
//!
//! Invariant: the place that is kept with the entries of a tenant stands behind the last act that
//! they tell of, so after a crash no act is missing and none stands there twice. The place of the
//! platform, before which every tenant is done, is kept now and then, and bounds what is read
//! again.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, LazyLock, Mutex, PoisonError},
};

use memchr::memmem::Finder;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value as Json, json};
use traaviis_model::{
    InstanceId, Seq, TenantCtx, TenantId, Text, Timestamp,
    record::{Actor, ORIGIN_KEY, Origin},
};
use traaviis_ports::{Line, LogStore, Position};

use crate::{
    audit::{Act, By, PLACE, Via},
    error::Error,
    ledger::{Changes, Document, Documents, Ledgers},
    platform::{Platform, engine},
    repeated::{RequestKey, UsedKey},
};

/// Acts that are entered at once: about 250 KB, which the log takes in one frame while others wait
/// for it.
const ENTERED_MAX: usize = 256;
/// Tenants whose acts are entered at once: they share a sync and a transaction, and whoever changes
/// something in one of them waits for all.
const TENANTS_MAX: usize = 64;
/// Acts that are read before they are entered.
const READ_MAX: usize = 4_096;
/// The place of the platform is kept after so many records, which a start reads again at most.
const KEPT_EVERY: Position = 10_000;
/// Bytes in which the origin of a record begins: all that stands before it is ids and numbers.
const HEADER_BYTES: usize = 1_024;

static FINDER: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(ORIGIN_KEY));

/// How far the log was read for a ledger.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Place {
    /// All acts before this position stand in the trail.
    position: Position,
}

impl Document for Place {
    const KIND: &'static str = PLACE;

    fn id(&self) -> Text {
        ID.into()
    }
}

/// Id of the one place of a ledger.
const ID: &str = "acts";

/// Returns how far the log was read for a ledger, if it was.
pub(crate) fn place_of(ledgers: &Ledgers, ctx: &TenantCtx) -> Result<Option<Position>, Error> {
    Ok(ledgers.get::<Place>(ctx, ID)?.map(|it| it.it.position))
}

/// Says how far the log was read for a ledger that is in another log now.
pub(crate) fn put_place(changes: &mut Changes, position: Position) {
    changes.put(&Place { position });
}

/// Reads the log for acts.
pub(crate) struct Follower {
    log: Arc<dyn LogStore>,
    /// None until it has begun.
    reached: Mutex<Option<Reached>>,
}

/// How far a follower is.
#[derive(Clone, Copy, Debug)]
struct Reached {
    next: Position,
    /// The place of the platform that is durable.
    kept: Position,
}

impl Follower {
    pub(crate) fn new(log: Arc<dyn LogStore>) -> Follower {
        Follower { log, reached: Mutex::default() }
    }
}

impl fmt::Debug for Follower {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Follower").finish_non_exhaustive()
    }
}

/// An act, as its record tells of it. What a kind of record holds is any JSON here, so that one
/// that is new stops nobody.
#[derive(Debug, Deserialize)]
struct Told {
    tenant_id: TenantId,
    instance_id: InstanceId,
    seq: Seq,
    at: Timestamp,
    actor: Actor,
    #[serde(default)]
    origin: Option<Origin>,
    kind: Text,
    #[serde(default)]
    workflow: Option<Json>,
    #[serde(default)]
    version: Option<Json>,
    #[serde(default)]
    event: Option<Json>,
    #[serde(default)]
    effect: Option<Json>,
    #[serde(default)]
    path: Option<Json>,
    #[serde(default)]
    reason: Option<Json>,
    #[serde(default)]
    resolution: Option<Json>,
    #[serde(default)]
    terminate: Option<Json>,
    #[serde(default)]
    to: Option<Json>,
    #[serde(default)]
    decision: Option<Json>,
}

impl Told {
    /// Reads a line, if it tells of an act from outside.
    fn read(line: &[u8]) -> Result<Option<Told>, Error> {
        let head = &line[..line.len().min(HEADER_BYTES)];
        if FINDER.find(head).is_none() {
            return Ok(None);
        }
        let told: Told = serde_json::from_slice(line).map_err(|error| {
            let message = format!("a record that may tell of an act cannot be read: {error}");
            Error::new("record_unreadable", message)
        })?;
        // A value somewhere in the record may look like an origin.
        Ok(Some(told).filter(|it| it.origin.is_some()))
    }

    fn act(&self) -> Act {
        let (action, kind) = match &*self.kind {
            "created" => ("instance.started", "instance"),
            "event_received" | "event_ignored" | "event_deferred" => ("event.sent", "instance"),
            "input_held" => ("event.sent", "instance"),
            "cancel_requested" if self.terminate == Some(json!(true)) => {
                ("instance.terminated", "instance")
            }
            "cancel_requested" => ("instance.cancelled", "instance"),
            "paused" => ("instance.paused", "instance"),
            "resumed" => ("instance.resumed", "instance"),
            "data_edited" => ("instance.data_edited", "instance"),
            "moved" => ("instance.moved", "instance"),
            "tagged" => ("instance.tagged", "instance"),
            "upgraded" => ("instance.upgraded", "instance"),
            "forked" => ("instance.forked", "instance"),
            "retried" => ("instance.retried", "instance"),
            "task_claimed" => ("task.claimed", "task"),
            "task_released" => ("task.released", "task"),
            "task_delegated" => ("task.delegated", "task"),
            "task_commented" => ("task.commented", "task"),
            "task_decided" => ("task.decided", "task"),
            "incident_resolved" => ("incident.resolved", "incident"),
            "incident_assigned" => ("incident.assigned", "incident"),
            "effect_requested" => ("effect.asked", "instance"),
            "effect_cancel_requested" => ("effect.cancelled", "instance"),
            "budget_granted" => ("budget.granted", "instance"),
            _ => ("instance.changed", "instance"),
        };
        Act::done(action, kind, self.instance_id.to_string()).with(Json::Object(self.facts()))
    }

    fn facts(&self) -> Map<String, Json> {
        let mut facts = Map::new();
        facts.insert("seq".into(), json!(self.seq));
        for (key, it) in [
            ("workflow", &self.workflow),
            ("version", &self.version),
            ("event", &self.event),
            ("effect", &self.effect),
            ("path", &self.path),
            ("reason", &self.reason),
            ("resolution", &self.resolution),
        ] {
            if let Some(it) = it {
                facts.insert(key.into(), it.clone());
            }
        }
        if let Some(to) = &self.to {
            facts.insert("to".into(), to.clone());
        }
        let outcome = self.decision.as_ref().and_then(|it| it.get("outcome"));
        if let Some(outcome) = outcome {
            facts.insert("outcome".into(), outcome.clone());
        }
        match &*self.kind {
            "event_ignored" => drop(facts.insert("taken".into(), json!("ignored"))),
            "event_deferred" => drop(facts.insert("taken".into(), json!("deferred"))),
            "input_held" => drop(facts.insert("taken".into(), json!("held"))),
            _ => {}
        }
        facts
    }

    /// Returns what says that the request with the key of the act, which is `action`, was carried
    /// out.
    fn used_key(&self, action: &str) -> Option<UsedKey> {
        let key = RequestKey::read(self.origin.as_ref()?.request_key.as_ref()?)?;
        Some(UsedKey::of_record(&key, action, self.instance_id, self.seq, self.at))
    }

    fn by(self) -> By {
        let via = self.origin.map(Via::of_origin).unwrap_or_default();
        By { actor: self.actor, via, at: self.at }
    }
}

/// What was read of the log.
#[derive(Default)]
struct Batch {
    acts: BTreeMap<TenantId, Vec<(Position, Told)>>,
    count: usize,
    next: Position,
    broken: Option<Error>,
}

impl Batch {
    /// Takes a line; says whether there is room for more.
    fn take(&mut self, line: Line<'_>) -> bool {
        match Told::read(line.bytes) {
            Ok(None) => {}
            Ok(Some(told)) => {
                self.acts.entry(told.tenant_id).or_default().push((line.position, told));
                self.count += 1;
            }
            Err(error) => {
                self.broken = Some(error);
                return false;
            }
        }
        self.next = line.position + 1;
        self.count < READ_MAX
    }
}

impl Platform {
    /// Tells which log holds what is done to instances, as it may be read without any key.
    pub fn follow(&self, log: Arc<dyn LogStore>) {
        // Called once.
        let _ = self.auditing.follower.set(Follower::new(log));
    }

    /// Enters what was done to instances into the trails, as far as it was acknowledged before the
    /// call; returns how many entries that made.
    pub fn enter_acts(&self) -> Result<usize, Error> {
        let Some(follower) = self.auditing.follower.get() else { return Ok(0) };
        let mut reached = follower.reached.lock().unwrap_or_else(PoisonError::into_inner);
        let end = follower.log.tail();
        let mut at = match *reached {
            Some(at) => at,
            None => self.begin()?,
        };
        let mut count = 0;
        while at.next < end {
            let mut batch = Batch { next: at.next, ..Batch::default() };
            let mut is_full = false;
            follower.log.scan_while(at.next, &mut |line| {
                is_full = line.position < end && !batch.take(line);
                line.position < end && !is_full
            })?;
            count += self.enter_all(std::mem::take(&mut batch.acts))?;
            // Behind what was read there may be records that are no more.
            at.next = if is_full { batch.next } else { batch.next.max(end) };
            *reached = Some(at);
            if let Some(error) = batch.broken {
                return Err(error);
            }
        }
        if at.next - at.kept >= KEPT_EVERY {
            let place = Place { position: at.next };
            self.ledgers.change(&TenantCtx::platform(), &engine(), |_, changes| {
                changes.put(&place);
                Ok(())
            })?;
            at.kept = at.next;
        }
        *reached = Some(at);
        Ok(count)
    }

    fn begin(&self) -> Result<Reached, Error> {
        let found = self.ledgers.get::<Place>(&TenantCtx::platform(), ID)?;
        let next = found.map_or(0, |it| it.it.position);
        Ok(Reached { next, kept: next })
    }

    /// Enters acts, some of several tenants at a time.
    fn enter_all(&self, acts: BTreeMap<TenantId, Vec<(Position, Told)>>) -> Result<usize, Error> {
        let (mut count, mut size, mut round) = (0, 0, Round::new());
        for (tenant, acts) in acts {
            let ctx = TenantCtx::keeper_of(tenant);
            let done = self.ledgers.get::<Place>(&ctx, ID)?.map_or(0, |it| it.it.position);
            let mut acts = acts.into_iter().filter(|it| it.0 >= done).peekable();
            while acts.peek().is_some() {
                let some: Vec<_> = acts.by_ref().take(ENTERED_MAX - size).collect();
                size += some.len();
                round.insert(tenant, (ctx.clone(), some));
                // Where a tenant has more, this is full.
                if size == ENTERED_MAX || round.len() == TENANTS_MAX {
                    count += size;
                    size = 0;
                    self.enter_round(std::mem::take(&mut round))?;
                }
            }
        }
        self.enter_round(round)?;
        Ok(count + size)
    }

    fn enter_round(&self, round: Round) -> Result<(), Error> {
        let of = |(tenant, (ctx, acts)): (TenantId, (TenantCtx, Vec<(Position, Told)>))| {
            let position = acts.last().map_or(0, |it| it.0 + 1);
            let decide = move |_: &Documents, changes: &mut Changes| {
                changes.put(&Place { position });
                for (_, told) in acts {
                    let act = told.act();
                    if let Some(used) = told.used_key(act.action) {
                        changes.put(&used);
                    }
                    changes.act_by(act, told.by());
                }
                Ok(())
            };
            (tenant, (ctx, decide))
        };
        self.ledgers.change_each(&engine(), round.into_iter().map(of).collect())
    }
}

/// Acts of several tenants that are entered at once; those of one are not none.
type Round = BTreeMap<TenantId, (TenantCtx, Vec<(Position, Told)>)>;

#[cfg(test)]
mod tests {
    use super::*;

    const ORIGIN: &str = r#","origin":{"via":"session","ip_address":"192.0.2.1"}"#;

    fn line(origin: &str, body: &str) -> String {
        format!(
            r#"{{"tenant_id":"00000000-0000-0000-0000-000000000001","instance_id":"00000000-0000-0000-0000-000000000002","seq":9,"v":1,"at":"1970-01-01T00:00:01.500000Z","step":4,"definition_hash":"{}","actor":{{"type":"user","id":"7"}}{origin},{body}}}"#,
            "ab".repeat(32)
        )
    }

    #[test]
    fn a_record_tells_of_an_act_if_it_has_an_origin() {
        for (origin, body, expected) in [
            (ORIGIN, r#""kind":"created","workflow":"Door","version":"1.0.0""#, "instance.started"),
            (ORIGIN, r#""kind":"event_received","event":"open","data":{}"#, "event.sent"),
            (ORIGIN, r#""kind":"cancel_requested","reason":"late"#, ""),
            (ORIGIN, r#""kind":"cancel_requested","terminate":true"#, "instance.terminated"),
            (ORIGIN, r#""kind":"task_decided","path":"x","decision":"[SEALED]""#, "task.decided"),
            (ORIGIN, r#""kind":"something_new""#, "instance.changed"),
            ("", r#""kind":"event_received","event":"open","data":{}"#, "none"),
            ("", r#""kind":"event_received","data":{"a":1,"origin":{"via":"x"}}"#, "none"),
        ] {
            let told = Told::read(line(origin, body).as_bytes());
            let action = match &told {
                Ok(Some(told)) => told.act().action,
                Ok(None) => "none",
                Err(_) => "error",
            };
            // What breaks off is no record: a log hands out whole ones.
            assert!(action == expected || expected.is_empty(), "{body}: {action}");
        }
    }

    #[test]
    fn facts_of_a_decision_are_its_outcome_and_no_form() {
        let body = r#""kind":"task_decided","tree":3,"path":"ask","decision":{"outcome":"approve","form":{"mail":"ada@example.org"}}"#;
        let told = Told::read(line(ORIGIN, body).as_bytes()).unwrap().unwrap();
        let act = told.act();
        assert_eq!(act.metadata, json!({ "seq": 9, "path": "ask", "outcome": "approve" }));
        assert_eq!(told.by().via.ip_address.as_deref(), Some("192.0.2.1"));
    }
}
