//! The history checker: what must hold after any fault, as ten named invariants.
//!
//! It gets evidence, whoever collected it: the records that are durable, what clients were told,
//! what a receiver was asked, what the process answers now. It asks no clock and reads no file, so
//! that the simulation and the fault programme, with real processes and disks, share it.
//! Histories are lists that only grow, one for each instance, so each check is one pass.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fmt,
};

use traaviis_engine::{Machine, replay_versions};
use traaviis_model::{
    Body, CallId, InstanceId, Record, Seq, Snapshot, TenantId, Text, Timestamp, record::Status,
};

/// What must hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Invariant {
    /// An event that a client saw accepted is in the history, once; no event is there twice.
    AcceptedOnce,
    /// The numbers of an instance's records are dense, from 1.
    Dense,
    /// State is the fold of the history, and the process answers with it.
    StateIsFold,
    /// Replay decides as the live run did, byte for byte.
    ReplayAgrees,
    /// A call has one key; what undoes a step comes after it, the last step first.
    CallsOnce,
    /// A timer fires once, never early, and is not forgotten.
    TimersFire,
    /// Nothing of one tenant is in a record, list or answer of another.
    TenantsApart,
    /// What a client does not know is decided when the log is read, and stays so.
    UnknownDecided,
    /// The chain of frames verifies: nothing is missing, and nothing is damaged.
    ChainVerifies,
    /// Counts and lists are what the histories fold to.
    CountsAreFold,
}

impl Invariant {
    /// All of them, in the order of their numbers.
    pub const ALL: [Invariant; 10] = [
        Invariant::AcceptedOnce,
        Invariant::Dense,
        Invariant::StateIsFold,
        Invariant::ReplayAgrees,
        Invariant::CallsOnce,
        Invariant::TimersFire,
        Invariant::TenantsApart,
        Invariant::UnknownDecided,
        Invariant::ChainVerifies,
        Invariant::CountsAreFold,
    ];

    /// Returns its short name, `I1` to `I10`.
    pub fn name(self) -> String {
        format!("I{}", self as usize + 1)
    }
}

/// A breach of an invariant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Which.
    pub invariant: Invariant,
    /// What was found.
    pub what: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.invariant.name(), self.what)
    }
}

/// What a client knows of an event that it sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It was accepted.
    Ok,
    /// It was refused.
    Refused,
    /// No answer came, and the log was not read again since.
    Unknown,
    /// No answer came; when the log was read again, it was there.
    Decided,
    /// No answer came; when the log was read again, it was not there.
    Absent,
}

/// An event of a client.
#[derive(Clone, Debug)]
pub struct Told {
    /// Whose it is.
    pub tenant: TenantId,
    /// Its deduplication id; no other event has it.
    pub event: Text,
    /// What came back.
    pub answer: Answer,
}

/// A row of a list or count, and who asked for it.
#[derive(Clone, Debug)]
pub struct Listed {
    /// Who asked.
    pub asked_by: TenantId,
    /// Whose it is.
    pub tenant: TenantId,
    /// Instance.
    pub id: InstanceId,
    /// How it stands.
    pub status: Status,
    /// Its last record.
    pub seq: Seq,
}

/// What is known of a run. What is empty is not looked at.
#[derive(Default)]
pub struct Evidence<'a> {
    /// Definitions, for replay.
    pub machines: Vec<&'a Machine>,
    /// Durable records, in the order of the log.
    pub records: Vec<Record>,
    /// What clients were told.
    pub told: Vec<Told>,
    /// Attempts that reached a receiver, with the tenant they came for and their keys, in order.
    pub calls: Vec<(CallId, Text)>,
    /// States as the process answers them.
    pub states: Vec<Snapshot>,
    /// Lists as the process answers them; whole ones.
    pub listed: Option<Vec<Listed>>,
    /// Instances whose start a client saw accepted.
    pub started: Vec<InstanceId>,
    /// Instances in the archive, which no list of the others shows.
    pub archived: BTreeSet<InstanceId>,
    /// Words that only one tenant has.
    pub marks: Vec<(TenantId, Text)>,
    /// What the log says of itself that is not as it should be.
    pub damage: Vec<String>,
    /// Timers that were due by then must have fired.
    pub timers_until: Option<Timestamp>,
}

/// Checks all invariants and returns every breach.
pub fn check(evidence: &Evidence<'_>) -> Vec<Finding> {
    let mut checker = Checker { evidence, findings: Vec::new(), histories: BTreeMap::new() };
    for record in &evidence.records {
        // A document has a stream of its own and is no instance.
        if !matches!(record.body, Body::DocumentPut { .. }) {
            checker.histories.entry(record.header.instance_id).or_default().push(record);
        }
    }
    checker.dense();
    let folds = checker.folds();
    checker.accepted_once();
    checker.state_is_fold(&folds);
    checker.replay_agrees();
    checker.calls_once();
    checker.timers_fire(&folds);
    checker.tenants_apart();
    let damage = evidence.damage.iter();
    damage.for_each(|it| checker.find(Invariant::ChainVerifies, it.clone()));
    checker.counts_are_fold(&folds);
    checker.findings
}

/// Returns the id of the event that a record takes, keeps or refuses.
pub fn event_id(record: &Record) -> Option<&Text> {
    match &record.body {
        Body::EventReceived { id, .. }
        | Body::EventIgnored { id, .. }
        | Body::EventDeferred { id, .. } => id.as_ref(),
        _ => None,
    }
}

struct Checker<'a, 'm> {
    evidence: &'a Evidence<'m>,
    findings: Vec<Finding>,
    histories: BTreeMap<InstanceId, Vec<&'a Record>>,
}

impl<'a> Checker<'a, '_> {
    fn find(&mut self, invariant: Invariant, what: String) {
        self.findings.push(Finding { invariant, what });
    }

    fn accepted_once(&mut self) {
        for id in &self.evidence.started {
            if !self.histories.contains_key(id) {
                self.find(Invariant::AcceptedOnce, format!("instance `{id}` is lost"));
            }
        }
        let mut taken: HashMap<&Text, usize> = HashMap::new();
        for id in self.evidence.records.iter().filter_map(event_id) {
            *taken.entry(id).or_default() += 1;
        }
        for Told { event, answer, .. } in &self.evidence.told {
            let count = taken.get(event).copied().unwrap_or(0);
            if *answer == Answer::Ok && count == 0 {
                self.find(Invariant::AcceptedOnce, format!("event `{event}` is lost"));
            }
            if *answer == Answer::Decided && count == 0 {
                let what = format!("event `{event}` was there when the log was read again");
                self.find(Invariant::UnknownDecided, what);
            }
            if *answer == Answer::Absent && count > 0 {
                let what = format!("event `{event}` was not there when the log was read again");
                self.find(Invariant::UnknownDecided, what);
            }
            if count > 1 {
                let what = format!("event `{event}` was taken {count} times");
                self.find(Invariant::AcceptedOnce, what);
            }
        }
    }

    fn dense(&mut self) {
        let mut breaches = Vec::new();
        for (id, records) in &self.histories {
            let numbers = records.iter().map(|it| it.header.seq);
            if let Some((at, found)) = (1..).zip(numbers).find(|(at, found)| at != found) {
                breaches.push(format!("record `{found}` of `{id}` stands where `{at}` should"));
            }
        }
        breaches.into_iter().for_each(|it| self.find(Invariant::Dense, it));
    }

    fn folds(&mut self) -> BTreeMap<InstanceId, Snapshot> {
        let mut folds = BTreeMap::new();
        let mut breaches = Vec::new();
        for (id, records) in &self.histories {
            match Snapshot::fold(records.iter().copied()) {
                Ok(Some(folded)) => drop(folds.insert(*id, folded)),
                Ok(None) => {}
                Err(error) => breaches.push(format!("`{id}` does not fold: {error}")),
            }
        }
        breaches.into_iter().for_each(|it| self.find(Invariant::StateIsFold, it));
        folds
    }

    fn state_is_fold(&mut self, folds: &BTreeMap<InstanceId, Snapshot>) {
        for state in &self.evidence.states {
            let folded = folds.get(&state.id).map(Snapshot::canonical);
            if folded.as_ref() != Some(&state.canonical()) {
                let seq = folds.get(&state.id).map_or(0, |it| it.seq);
                let what = format!("`{}` is at `{}`, its history at `{seq}`", state.id, state.seq);
                self.find(Invariant::StateIsFold, what);
            }
        }
    }

    fn replay_agrees(&mut self) {
        if self.evidence.machines.is_empty() {
            return;
        }
        let mut breaches = Vec::new();
        for (id, records) in &self.histories {
            let records: Vec<Record> = records.iter().map(|it| (*it).clone()).collect();
            let folded = Snapshot::fold(&records).ok().flatten().map(|it| it.canonical());
            match replay_versions(&self.evidence.machines, &records, None) {
                Ok(replayed) if replayed.as_ref().map(Snapshot::canonical) == folded => {}
                Ok(_) => breaches.push(format!("replay of `{id}` gives another state")),
                Err(error) => breaches.push(format!("replay of `{id}`: {error}")),
            }
        }
        breaches.into_iter().for_each(|it| self.find(Invariant::ReplayAgrees, it));
    }

    fn calls_once(&mut self) {
        let mut keys: HashMap<(InstanceId, Seq, &Text, Seq), &Text> = HashMap::new();
        for (id, key) in &self.evidence.calls {
            let node = (id.instance, id.tree, &id.path, id.scheduled);
            let first = *keys.entry(node).or_insert(key);
            if first != key {
                let what =
                    format!("`{}` of `{}` has keys `{first}`, `{key}`", id.path, id.instance);
                self.find(Invariant::CallsOnce, what);
            }
        }
        let mut asked: HashMap<InstanceId, Vec<&CallId>> = HashMap::new();
        for (id, _) in &self.evidence.calls {
            asked.entry(id.instance).or_default().push(id);
        }
        let mut breaches = Vec::new();
        for (id, records) in &self.histories {
            let asked = asked.remove(id).unwrap_or_default();
            undone_in_order(records, |what| breaches.push(format!("`{id}`: {what}")));
            started_before_asked(records, &asked, |what| breaches.push(format!("`{id}`: {what}")));
        }
        let absent = asked.keys().map(|id| format!("`{id}` made a call and has no history"));
        breaches.extend(absent);
        breaches.into_iter().for_each(|it| self.find(Invariant::CallsOnce, it));
    }

    fn timers_fire(&mut self, folds: &BTreeMap<InstanceId, Snapshot>) {
        let mut breaches = Vec::new();
        for (id, records) in &self.histories {
            let mut due: HashMap<&Text, Timestamp> = HashMap::new();
            for record in records {
                match &record.body {
                    Body::TimerScheduled { timer, due: at, .. } => {
                        due.insert(timer, *at);
                    }
                    Body::TimerFired { timer } => match due.remove(timer) {
                        Some(at) if record.header.at < at => {
                            breaches.push(format!("timer `{timer}` of `{id}` fired early"));
                        }
                        Some(_) => {}
                        None => breaches.push(format!("timer `{timer}` of `{id}` fired twice")),
                    },
                    _ => {}
                }
            }
        }
        let is_awake = |it: &&Snapshot| {
            !it.status.is_finished() && !matches!(it.status, Status::Paused | Status::Incident)
        };
        let until = self.evidence.timers_until.unwrap_or(Timestamp(i64::MIN));
        for folded in folds.values().filter(is_awake) {
            if let Some(due) = folded.next_due().filter(|due| *due < until) {
                let late = until.since(due);
                breaches.push(format!("a timer of `{}` is late by {late}", folded.id));
            }
        }
        breaches.into_iter().for_each(|it| self.find(Invariant::TimersFire, it));
    }

    fn tenants_apart(&mut self) {
        let mut breaches = Vec::new();
        for (id, records) in &self.histories {
            let tenants: BTreeSet<_> = records.iter().map(|it| it.header.tenant_id).collect();
            if tenants.len() > 1 {
                breaches.push(format!("`{id}` has records of {} tenants", tenants.len()));
            }
        }
        let whose: HashMap<&Text, TenantId> =
            self.evidence.told.iter().map(|it| (&it.event, it.tenant)).collect();
        for record in &self.evidence.records {
            let tenant = record.header.tenant_id;
            if let Some(id) = event_id(record)
                && whose.get(id).is_some_and(|it| *it != tenant)
            {
                breaches.push(format!("event `{id}` is in the history of tenant `{tenant}`"));
            }
            let mut line = Vec::new();
            record.write_line(&mut line);
            let line = String::from_utf8_lossy(&line);
            let foreign = self.evidence.marks.iter().filter(|(of, _)| *of != tenant);
            for (of, mark) in foreign.filter(|(_, mark)| line.contains(&**mark)) {
                breaches.push(format!("`{mark}` of `{of}` is in a record of `{tenant}`"));
            }
        }
        for row in self.evidence.listed.iter().flatten().filter(|it| it.asked_by != it.tenant) {
            breaches
                .push(format!("`{}` of `{}` is listed for `{}`", row.id, row.tenant, row.asked_by));
        }
        breaches.into_iter().for_each(|it| self.find(Invariant::TenantsApart, it));
    }

    fn counts_are_fold(&mut self, folds: &BTreeMap<InstanceId, Snapshot>) {
        let Some(listed) = &self.evidence.listed else { return };
        let rows = listed.iter().filter(|it| it.asked_by == it.tenant);
        let rows: BTreeMap<_, _> = rows.map(|it| (it.id, (it.status, it.seq))).collect();
        let folded: BTreeMap<_, _> =
            folds.iter().map(|(id, it)| (*id, (it.status, it.seq))).collect();
        let folded: BTreeMap<_, _> =
            folded.into_iter().filter(|(id, _)| !self.evidence.archived.contains(id)).collect();
        if rows.len() != folded.len() {
            let what = format!("{} instances are listed of {}", rows.len(), folded.len());
            self.find(Invariant::CountsAreFold, what);
        }
        for (id, row) in rows.iter().filter(|(id, row)| folded.get(id) != Some(row)) {
            let what = format!("`{id}` is listed as {row:?}, not {:?}", folded.get(id));
            self.find(Invariant::CountsAreFold, what);
        }
    }
}

/// Checks that what undoes a step is begun after the step, and the last step first.
fn undone_in_order(records: &[&Record], mut breach: impl FnMut(String)) {
    // Where each step of a saga was completed, by tree and path.
    let mut done: HashMap<(Seq, String), Seq> = HashMap::new();
    let mut last: HashMap<(Seq, String), Seq> = HashMap::new();
    for record in records {
        match &record.body {
            Body::EffectCompleted { tree, path, .. } => {
                if !path.contains("/undo:") {
                    // A step that is done once more begins its saga anew.
                    let of =
                        |saga: &str| path.strip_prefix(saga).is_some_and(|it| it.starts_with('/'));
                    last.retain(|(at, saga), _| at != tree || !of(saga));
                }
                done.insert((*tree, path.to_string()), record.header.seq);
            }
            Body::EffectScheduled { tree, path, .. } => {
                // Of `SAGA/undo:STEP`; what is below it belongs to the same compensation.
                let Some((saga, step)) = path.split_once("/undo:") else { continue };
                if step.contains('/') {
                    continue;
                }
                let step = format!("{saga}/{}", step.replace('>', "/"));
                let Some(at) = done.get(&(*tree, step.clone())).copied() else {
                    breach(format!("`{step}` is undone and was never done"));
                    continue;
                };
                let before = last.insert((*tree, saga.to_string()), at);
                if before.is_some_and(|before| before < at) {
                    breach(format!("`{step}` is undone after a step that came before it"));
                }
            }
            _ => {}
        }
    }
}

/// Checks that a receiver was asked only for attempts that are in the history.
fn started_before_asked(records: &[&Record], asked: &[&CallId], mut breach: impl FnMut(String)) {
    if asked.is_empty() {
        return;
    }
    let started: BTreeSet<(Seq, &Text, u32)> = records
        .iter()
        .filter_map(|it| match &it.body {
            Body::EffectStarted { tree, path, attempt } => Some((*tree, path, *attempt)),
            _ => None,
        })
        .collect();
    for call in asked.iter().filter(|it| !started.contains(&(it.tree, &it.path, it.attempt))) {
        breach(format!("`{}` went out and its attempt is not durable", call.path));
    }
}

#[cfg(test)]
mod tests;
