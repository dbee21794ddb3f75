//! What the simulation knows of emitted events, and what must be true of them.

use std::collections::{BTreeMap, BTreeSet};

use traaviis_model::{
    Body, InstanceId, Record, Seq, Snapshot, Text, Timestamp,
    record::{Held, Status},
};

/// Who heard what.
#[derive(Default)]
pub struct Hearing {
    /// Counts what becomes true together.
    pub round: u64,
    /// In which round each emission that is subscribed to became true, and when it was decided.
    emitted: BTreeMap<(InstanceId, Seq), (u64, Timestamp)>,
    /// In which round each subscriber began.
    readers: BTreeMap<InstanceId, u64>,
    /// Emissions that a subscriber has kept or taken, and the latest of each publisher.
    heard: BTreeSet<(InstanceId, InstanceId, Seq)>,
    latest: BTreeMap<(InstanceId, InstanceId), Seq>,
    taken: BTreeSet<(InstanceId, InstanceId, Seq)>,
}

impl Hearing {
    /// Follows a record; says whether it is the first that tells of an emission.
    pub fn note(&mut self, record: &Record) -> bool {
        let (instance, seq) = (record.header.instance_id, record.header.seq);
        match &record.body {
            Body::Created { workflow, .. } if &**workflow == "Reader" => {
                self.readers.insert(instance, self.round);
            }
            Body::Emitted { event, .. } if &**event == "news" => {
                self.emitted.insert((instance, seq), (self.round, record.header.at));
            }
            _ => {}
        }
        let (id, is_taken) = match &record.body {
            Body::EventReceived { id: Some(id), .. }
            | Body::EventIgnored { id: Some(id), .. }
            | Body::EventDeferred { id: Some(id), .. } => (id, true),
            Body::InputHeld { held: Held::Event { id, .. } } => (id, false),
            _ => return false,
        };
        let Some((publisher, seq)) = named(id) else { return false };
        assert!(self.emitted.contains_key(&(publisher, seq)), "`{id}` was never emitted");
        if is_taken {
            let is_new = self.taken.insert((instance, publisher, seq));
            assert!(is_new, "`{instance}` took `{id}` twice");
        }
        let is_first = self.heard.insert((instance, publisher, seq));
        if is_first {
            let latest = self.latest.insert((instance, publisher), seq);
            assert!(latest < Some(seq), "`{instance}` heard `{id}` after {latest:?}");
        }
        is_first
    }

    /// Everybody who was there before an emission, and still is, has heard it.
    pub fn check(&self, folds: &BTreeMap<InstanceId, Snapshot>) {
        for (reader, begun) in &self.readers {
            let (status, created_at) = (folds[reader].status, folds[reader].created_at);
            if status.is_finished() || status == Status::Completing {
                continue;
            }
            for ((publisher, seq), (round, at)) in &self.emitted {
                let was_there = begun < round && created_at <= *at;
                let is_heard = self.heard.contains(&(*reader, *publisher, *seq));
                assert!(
                    is_heard || !was_there,
                    "`{reader}` of round {begun} missed `{publisher}:{seq}` of {round}: {:#?}",
                    folds[reader]
                );
            }
        }
    }
}

/// Says whether the id of an event is that of an emission.
pub fn is_emission(id: &Text) -> bool {
    named(id).is_some()
}

fn named(id: &Text) -> Option<(InstanceId, Seq)> {
    let (publisher, seq) = id.split_once(':')?;
    Some((publisher.parse().ok()?, seq.parse().ok()?))
}
