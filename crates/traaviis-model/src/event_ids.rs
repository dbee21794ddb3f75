//! Deduplication ids of events that one instance took lately.
//!
//! The memory follows from the records alone, so that it is the same after a restart. Ids are kept
//! as 128-bit hashes of fixed size.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use crate::{
    ids::{Seq, Text},
    limits::{EVENT_ID_WINDOW_MAX, EVENT_IDS_MAX},
    record::{Body, Held, Record},
    time::{Span, Timestamp},
};

/// Ids taken lately, oldest first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct EventIds(VecDeque<Taken>);

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Taken {
    #[serde(with = "hex")]
    hash: u128,
    /// Last record of the step that took it.
    seq: Seq,
    step: u64,
    at: Timestamp,
}

impl EventIds {
    /// Says whether nothing is remembered.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns the last record of the step that took the event with this id, within the window.
    pub fn find(&self, id: &str, now: Timestamp, window: Span) -> Option<Seq> {
        let hash = hash(id);
        let taken = self.0.iter().rev().find(|it| it.hash == hash)?;
        (now.since(taken.at) < window).then_some(taken.seq)
    }

    /// Returns what is remembered after a history.
    pub fn of(records: &[Record]) -> Option<Box<EventIds>> {
        let mut ids = None;
        records.iter().for_each(|it| EventIds::note(&mut ids, it));
        ids
    }

    /// Follows a record.
    pub fn note(ids: &mut Option<Box<EventIds>>, record: &Record) {
        let header = &record.header;
        if let Body::Retried(retried) = &record.body {
            *ids = retried.event_ids.clone();
        }
        if let Some(it) = ids
            && let Some(last) = it.0.back_mut()
            && last.step == header.step
        {
            last.seq = header.seq;
        }
        if let Some(id) = event_id(&record.body) {
            let it = &mut ids.get_or_insert_default().0;
            if it.len() == EVENT_IDS_MAX {
                it.pop_front();
            }
            while it.front().is_some_and(|old| header.at.since(old.at) >= EVENT_ID_WINDOW_MAX) {
                it.pop_front();
            }
            let (seq, step, at) = (header.seq, header.step, header.at);
            it.push_back(Taken { hash: hash(id), seq, step, at });
        }
    }
}

/// Returns the deduplication id of the event that a record tells of; of an emission also while it
/// is kept for later.
fn event_id(body: &Body) -> Option<&Text> {
    match body {
        Body::EventReceived { id, .. }
        | Body::EventIgnored { id, .. }
        | Body::EventDeferred { id, .. } => id.as_ref(),
        Body::InputHeld { held: Held::Event { id, .. } } => Some(id),
        Body::IncidentOpened { held: Some(held), .. } => match &**held {
            Held::Event { id, .. } => Some(id),
            _ => None,
        },
        _ => None,
    }
}

/// FNV-1a with 128 bits; written to checkpoints, so it never changes.
fn hash(id: &str) -> u128 {
    id.bytes().fold(0x6c62_272e_07bb_0142_62b8_2175_6295_c58d, |hash, byte| {
        (hash ^ u128::from(byte)).wrapping_mul(0x0000_0000_0100_0000_0000_0000_0000_013b)
    })
}

/// JSON has no numbers of this size.
mod hex {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub fn serialize<S: Serializer>(it: &u128, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(&format_args!("{it:032x}"))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<u128, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(from)?;
        u128::from_str_radix(&text, 16).map_err(D::Error::custom)
    }
}
