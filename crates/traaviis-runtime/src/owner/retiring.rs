//! Instances that leave the log for the archive.
//!
//! The archive asks before it writes: from the answer until it says what became of it, an instance
//! does not begin again. After that its file stands in the way.

use std::sync::atomic::Ordering;

use traaviis_model::{Seq, Span, Timestamp};

use super::{Key, Owner};
use crate::error::Error;

/// How long a retired instance is remembered: longer than a message that was sent before can be on
/// its way.
const REMEMBERED: Span = Span::secs(120);

/// Whether an instance may leave the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leave {
    /// It has ended with the record that was named.
    Yes,
    /// It is not open here, and memory has forgotten with which record it ended.
    Forgotten,
    /// It is open, goes on, or is damaged.
    No,
    /// Something that it emitted is still on its way.
    Later,
}

impl Owner {
    /// Says which instances may leave the log, and keeps those as they are.
    pub(super) fn retire(&mut self, ended: &[(Key, Seq)], now: Timestamp) -> Vec<Leave> {
        self.retired.retain(|_, at| now.since(*at) < REMEMBERED);
        let answers: Vec<Leave> = ended.iter().map(|it| self.may_leave(*it)).collect();
        let leaves = |it: Leave| matches!(it, Leave::Yes | Leave::Forgotten);
        let leaving = ended.iter().zip(&answers).filter(|(_, it)| leaves(**it));
        self.retired.extend(leaving.map(|((key, _), _)| (*key, now)));
        answers
    }

    fn may_leave(&self, (key, seq): (Key, Seq)) -> Leave {
        let emits = self.emissions.range((key, 0)..=(key, Seq::MAX)).next().is_some();
        let is_here = self.instances.contains_key(&key)
            || self.hot.rests(&key)
            || self.starting.contains_key(&key)
            || self.unborn.contains_key(&key)
            || self.faults.contains_key(&key);
        if is_here {
            return Leave::No;
        }
        match self.finished.get(&key) {
            Some(summary) if summary.seq != seq => Leave::No,
            _ if emits => Leave::Later,
            Some(_) => Leave::Yes,
            None => Leave::Forgotten,
        }
    }

    /// Forgets instances that are archived now, and lets go of those that are not.
    pub(super) fn retired(&mut self, archived: &[Key], kept: &[Key]) {
        self.retired.retain(|key, _| !kept.contains(key));
        if !archived.is_empty() {
            self.settings.forgets.store(true, Ordering::SeqCst);
        }
        let mut is_any = false;
        for key in archived {
            let Some(summary) = self.finished.remove(key) else { continue };
            is_any = true;
            if let Some(correlation) = &summary.correlation {
                let correlations = &self.settings.correlations;
                correlations.forget(key.tenant, &summary.workflow, correlation, key.id);
            }
        }
        if is_any {
            self.finished_order.retain(|key| self.finished.contains_key(key));
        }
    }

    /// Refuses an instance that is archived, or about to be.
    pub(super) fn refuse_archived(&self, key: Key) -> Result<(), Error> {
        let archive = self.settings.past.as_ref().and_then(|it| it.log().archive());
        let is_archived = match archive {
            _ if self.retired.contains_key(&key) => true,
            Some(archive) => archive.holds(key.tenant, key.id)?,
            None => false,
        };
        if is_archived { Err(Error::archived(key.id)) } else { Ok(()) }
    }
}
