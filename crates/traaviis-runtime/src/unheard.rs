//! What a restart sends again: emissions that not all subscribers are known to be done with.
//!
//! Those that the checkpoint lists, and those that stand after it. Who is done with one shows
//! in the
//! log: the records of its step name the emission as their cause. Nothing else of the log is
//! needed,
//! so emitting costs no record beside the event itself.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    sync::Arc,
};

use traaviis_engine::Machine;
use traaviis_model::{
    Body, Emission, Header, InstanceId, Record, Seq, TenantId, Text, Timestamp, Value,
};

use crate::owner::{Key, Outgoing, SeededHasher};

/// Emissions, while the log is read.
#[derive(Default)]
pub(crate) struct Unheard {
    /// Events to which a definition of the tenant subscribes; others concern nobody.
    names: HashSet<(TenantId, Text), SeededHasher>,
    emissions: BTreeMap<(Key, Seq), Unsent>,
}

/// An open instance that may hear emissions.
pub(crate) struct Hearer<'a> {
    pub tenant: TenantId,
    pub id: InstanceId,
    pub created_at: Timestamp,
    pub machine: &'a Machine,
}

struct Unsent {
    emission: Arc<Emission>,
    /// Who was not done with it at the checkpoint; none when it was emitted later.
    left: Option<BTreeSet<InstanceId>>,
    /// Who has recorded since then what came of it.
    heard: BTreeSet<InstanceId>,
    is_sealed: bool,
}

impl Unheard {
    /// Learns which events a definition hears.
    pub(crate) fn definition(&mut self, tenant: TenantId, body: &Value) {
        // A definition rests as the text of its canonical JSON.
        let Some(text) = body.as_str().filter(|it| it.contains("\"subscribe\"")) else { return };
        let document: Value = serde_json::from_str(text).unwrap_or_default();
        let items = document.get("subscribe").and_then(Value::as_list).unwrap_or_default();
        for event in items.iter().filter_map(|it| it.get("event")).filter_map(Value::as_str) {
            self.names.insert((tenant, event.into()));
        }
    }

    /// Takes an emission that the checkpoint lists.
    pub(crate) fn put(&mut self, outgoing: Outgoing) {
        let Outgoing { tenant, emission, left, is_sealed } = outgoing;
        let name = (Key { tenant, id: emission.publisher }, emission.seq);
        let unsent = Unsent { emission, left: Some(left), heard: BTreeSet::new(), is_sealed };
        self.emissions.insert(name, unsent);
    }

    /// Follows the cause of a record.
    pub(crate) fn cause(&mut self, by: Key, cause: &str) {
        if self.emissions.is_empty() {
            return;
        }
        let Some((publisher, seq)) = cause.rsplit_once(':') else { return };
        let (Ok(id), Ok(seq)) = (publisher.parse::<InstanceId>(), seq.parse::<Seq>()) else {
            return;
        };
        let publisher = Key { tenant: by.tenant, id };
        if let Some(unsent) = self.emissions.get_mut(&(publisher, seq)) {
            unsent.heard.insert(by.id);
        }
    }

    /// Follows a record of an instance of `workflow`, whose records may be sealed.
    pub(crate) fn record(
        &mut self,
        key: Key,
        record: &Record,
        (workflow, is_sealed): (&Text, bool),
    ) {
        match &record.body {
            Body::Emitted { event, .. } if self.names.contains(&(key.tenant, event.clone())) => {
                let Some(emission) = Emission::of(record, workflow) else { return };
                self.emissions.entry((key, emission.seq)).or_insert_with(|| Unsent {
                    emission: emission.into(),
                    left: None,
                    heard: BTreeSet::new(),
                    is_sealed,
                });
            }
            // What it has in common with its original was sent when that emitted it.
            Body::Forked(_) => {
                let of_fork = (key, 0)..(key, record.header.seq);
                let copied: Vec<_> = self.emissions.range(of_fork).map(|it| *it.0).collect();
                copied.iter().for_each(|it| drop(self.emissions.remove(it)));
            }
            _ => {}
        }
    }

    /// Follows a line whose record is in the checkpoint already.
    pub(crate) fn known(&mut self, key: Key, header: &Header, line: &[u8], of: (&Text, bool)) {
        let names = |kind: &[u8]| line.windows(kind.len()).any(|it| it == kind);
        if self.names.is_empty() || !(names(b"\"emitted\"") || names(b"\"forked\"")) {
            return;
        }
        if let Ok(body) = serde_json::from_slice::<Body>(line) {
            self.record(key, &Record { header: header.clone(), body }, of);
        }
    }

    /// Returns what is to be sent again, and to whom: open instances that were there when it was
    /// emitted and run a version that hears it.
    pub(crate) fn take<'a>(&mut self, open: impl Iterator<Item = Hearer<'a>>) -> Vec<Outgoing> {
        let emissions = std::mem::take(&mut self.emissions);
        if emissions.is_empty() {
            return Vec::new();
        }
        type Subscriber = (InstanceId, Timestamp);
        let mut subscribers: HashMap<(TenantId, &Text), Vec<Subscriber>, SeededHasher> =
            HashMap::default();
        for Hearer { tenant, id, created_at, machine } in open {
            for event in machine.hears() {
                subscribers.entry((tenant, event)).or_default().push((id, created_at));
            }
        }
        // Who has recorded what came of one is done with all that its publisher emitted before it,
        // also where it took nothing and recorded nothing.
        let mut heard_to: HashMap<(Key, InstanceId), Seq, SeededHasher> = HashMap::default();
        for ((publisher, seq), unsent) in &emissions {
            heard_to.extend(unsent.heard.iter().map(|by| ((*publisher, *by), *seq)));
        }
        let mut again = Vec::new();
        for ((publisher, seq), Unsent { emission, left, is_sealed, .. }) in emissions {
            let tenant = publisher.tenant;
            let of = || subscribers.get(&(tenant, &emission.event)).into_iter().flatten();
            let mut left = left.unwrap_or_else(|| {
                let was_there = of().filter(|(_, created)| *created <= emission.at);
                was_there.map(|it| it.0).filter(|it| *it != publisher.id).collect()
            });
            left.retain(|it| heard_to.get(&(publisher, *it)).is_none_or(|to| *to < seq));
            if !left.is_empty() {
                again.push(Outgoing { tenant, emission, left, is_sealed });
            }
        }
        again
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    /// One that began while an event was on its way has heard a later one: the order of the
    /// publisher would be broken if it got the first now.
    #[test]
    fn what_stands_before_something_heard_is_not_sent_again() {
        let id = |it| InstanceId(Uuid::from_u128(it));
        let (tenant, publisher) = (TenantId(Uuid::nil()), id(9));
        let mut unheard = Unheard::default();
        for seq in [7, 11, 15] {
            let emission = Emission {
                publisher,
                workflow: "News".into(),
                seq,
                at: Timestamp(0),
                event: "news".into(),
                data: Value::Null,
                subject: None,
                correlation_id: None,
            };
            let left = BTreeSet::from([id(1), id(2)]);
            let emission = emission.into();
            unheard.put(Outgoing { tenant, emission, left, is_sealed: false });
        }
        unheard.cause(Key { tenant, id: id(1) }, &format!("{publisher}:11"));
        let again = unheard.take(std::iter::empty());
        let again: Vec<_> = again.into_iter().map(|it| (it.emission.seq, it.left)).collect();
        let (one, both) = (BTreeSet::from([id(2)]), BTreeSet::from([id(1), id(2)]));
        assert_eq!(again, [(7, one.clone()), (11, one), (15, both)]);
    }
}
