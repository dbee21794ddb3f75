//! Instances leave for the archive and the log is compacted, in the steps in which upkeep does it.

use std::sync::mpsc::channel;

use traaviis_model::{InstanceId, Seq, Span};
use traaviis_ports::{Archive, Archived, ArchivedHistory, Compaction, LogStore, archive::Mode};
use traaviis_runtime::{
    owner::{Key, Leave, Message},
    summary::Summary,
};

use super::{Sim, show};
use crate::support::ctx;

impl Sim<'_> {
    /// Some instances that ended leave for the archive, in the steps in which upkeep does it.
    pub(super) fn archive(&mut self) {
        let ended = self.folds.values().filter(|it| it.status.is_finished());
        let ended = ended.filter(|it| !self.archived.contains(&it.id));
        let ended: Vec<(InstanceId, Seq)> = ended.map(|it| (it.id, it.seq)).collect();
        for (id, seq) in ended {
            let life = self.life;
            if self.rng.chance(1, 2) {
                self.archive_one(id, seq);
            }
            if self.life != life {
                return;
            }
        }
    }

    fn archive_one(&mut self, id: InstanceId, seq: Seq) {
        let key = Key { tenant: ctx().tenant(), id };
        let (reply, answers) = channel();
        self.handle(id, Message::Retire { ended: vec![(key, seq)], reply });
        let (leave, _) = answers.recv().unwrap();
        if !matches!(leave[0], Leave::Yes | Leave::Forgotten) {
            return;
        }
        let lines = self.histories[&id].iter().map(|it| show(it).into_bytes()).collect();
        let summary = serde_json::to_vec(&Summary::of(&self.folds[&id])).unwrap();
        let (finished_at, delete_at) = (self.now, self.now.plus(Span::secs(1 << 30)));
        let entry = Archived { id, seq, finished_at, delete_at, summary };
        let put = self.log.1.put(&ctx(), &ArchivedHistory { entry, lines });
        self.trace.add([u8::from(put.is_ok())]);
        if put.is_ok() {
            self.archived.insert(id);
            self.facts.archived += 1;
        } else {
            self.half_archived.push(id);
        }
        if self.disk.is_crashed() {
            return self.crash(true);
        }
        let (archived, kept) = if put.is_ok() { (vec![key], vec![]) } else { (vec![], vec![key]) };
        let (reply, answers) = channel();
        self.handle(id, Message::Retired { archived, kept, reply });
        answers.recv().unwrap();
    }

    /// A file whose writing failed counts when it is there and whole: the log may drop its records.
    pub(super) fn look_for_half_archived(&mut self) {
        for id in std::mem::take(&mut self.half_archived) {
            let found = self.log.1.whole(ctx().tenant(), id).expect("the archive is readable");
            self.archived.extend(found.map(|_| id));
        }
    }

    /// The log drops what the archive has, once a checkpoint without it is durable.
    pub(super) fn compact(&mut self) {
        self.checkpoint_from = None;
        if !self.put_checkpoint(self.log.tail()) {
            return;
        }
        let (pace, tell) = (&mut |_| true, &mut |_| ());
        let mut compaction = Compaction { expired: &[], mode: Mode::Write, pace, tell };
        let compacted = self.log.compact(&mut compaction);
        self.trace.add([u8::from(compacted.is_ok())]);
        self.facts.dropped += compacted.map_or(0, |it| it.records);
        if self.disk.is_crashed() {
            self.crash(true);
        }
    }

    /// What the archive has of an instance is its whole history.
    pub(super) fn check_archived(&self, id: InstanceId) {
        let found = self.log.1.get(&ctx(), id).expect("the archive is readable");
        let lines = found.unwrap_or_else(|| panic!("the file of `{id}` is gone")).lines;
        let wanted = self.histories[&id].iter().map(|it| show(it).into_bytes());
        assert!(lines.into_iter().eq(wanted), "the file of `{id}` holds another history");
    }
}
