//! Where a restart begins: the newest checkpoint, the rows beside it, and what both know better
//! than the log.

use std::{collections::HashMap, ops::Range, sync::Arc};

use traaviis_model::{DefinitionHash, EventIds, Seq, Snapshot, TenantId, Value, record::peek_line};
use traaviis_ports::{LogStore, Position, SnapshotError, SnapshotHead, SnapshotRow, SnapshotStore};

use super::{Open, Recovery, Rows, Sources, report::Fault};
use crate::{
    checkpoint,
    error::Error,
    owner::{Key, Outgoing, SeededHasher},
    summary::Summary,
};

impl Recovery {
    /// Reads the newest checkpoint, and what the snapshot store knows if it belongs to it; returns
    /// the position from which records are to be read.
    pub(super) fn read_checkpoint(
        &mut self,
        sources: Sources<'_>,
        rows: Rows,
    ) -> Result<Position, Error> {
        let Sources { log, lost, snapshots, .. } = sources;
        let Some((position, body)) = log.checkpoint()? else {
            // What states there may be belong to nothing.
            snapshots.map_or(Ok(()), SnapshotStore::clear).map_err(Error::Snapshots)?;
            return Ok(0);
        };
        if let Some(found) = checkpoint::newer(&body) {
            // Everything in it is in the log, or in the archive.
            snapshots.map_or(Ok(()), SnapshotStore::clear).map_err(Error::Snapshots)?;
            let newest = checkpoint::VERSION_BESIDE_SNAPSHOTS;
            self.report.checkpoint_newer = Some((position, found, newest));
            return Ok(0);
        }
        let stands_alone = checkpoint::read(&body, self, log)?;
        if self.faults.values().any(|it| it.is_mendable) {
            // What could not be read then is looked for once more.
            snapshots.map_or(Ok(()), SnapshotStore::clear).map_err(Error::Snapshots)?;
            *self = Recovery::new(self.finished_max);
            return Ok(0);
        }
        match snapshots {
            Some(snapshots) if stands_alone => snapshots.clear().map_err(Error::Snapshots)?,
            None if stands_alone => {}
            Some(snapshots) if rows == Rows::Usable => {
                self.read_rows(snapshots, position, log.tail())?;
            }
            // They are somewhere else, or lost: everything is in the log.
            _ => {
                *self = Recovery::new(self.finished_max);
                return Ok(0);
            }
        }
        self.compare(log, position, lost)?;
        self.report.checkpoint = Some(position);
        Ok(position)
    }

    /// Reads what the snapshot store knows of every instance.
    pub(super) fn read_rows(
        &mut self,
        snapshots: &dyn SnapshotStore,
        checkpoint: Position,
        tail: Position,
    ) -> Result<(), Error> {
        let unfit = |why: &str| Error::Snapshots(SnapshotError::Damaged(why.into()));
        match snapshots.covers().map_err(Error::Snapshots)? {
            None => return Err(unfit("they are missing, or not complete")),
            Some(covers) if !covers.contains(&checkpoint) => {
                return Err(unfit("they do not belong to the checkpoint"));
            }
            Some(covers) if *covers.end() > tail => return Err(unfit("they are ahead of the log")),
            Some(_) => {}
        }
        let mut unreadable = None;
        let visited = snapshots.visit(&mut |row| match row {
            SnapshotRow::Open(head, _) => self.put_head(head),
            SnapshotRow::Ended { id, summary, .. } => {
                match serde_json::from_slice::<Summary>(&summary) {
                    Ok(summary) => self.put_ended(summary),
                    Err(_) => unreadable = Some(id),
                }
            }
        });
        visited.map_err(Error::Snapshots)?;
        match unreadable {
            Some(id) => Err(unfit(&format!("the row of instance `{id}` cannot be read"))),
            None => Ok(()),
        }
    }

    pub(super) fn put_head(&mut self, mut head: SnapshotHead) {
        let key = Key { tenant: head.tenant, id: head.id };
        let has_ended = self.finished.get(&key).is_some_and(|it| it.seq >= head.seq);
        if has_ended || self.faults.contains_key(&key) {
            return;
        }
        if self.finished.remove(&key).is_some() {
            // It began again after the checkpoint.
            self.finished_order.retain(|it| *it != key);
        }
        head.workflow = self.texts.share(&head.workflow);
        self.resting.insert(head);
    }

    /// Takes an instance that ended after the checkpoint, or before.
    fn put_ended(&mut self, summary: Summary) {
        let key = Key { tenant: summary.tenant_id, id: summary.id };
        if self.finished.get(&key).is_none_or(|it| it.seq < summary.seq) {
            self.put_finished(summary);
        }
    }

    pub(crate) fn put_instance(&mut self, snapshot: Snapshot, event_ids: Option<Box<EventIds>>) {
        self.put_open(snapshot, event_ids, false);
    }

    pub(super) fn put_open(
        &mut self,
        mut snapshot: Snapshot,
        event_ids: Option<Box<EventIds>>,
        has_row: bool,
    ) {
        self.texts.share_in(&mut snapshot);
        self.instances.insert(Key::of(&snapshot), Open { snapshot, event_ids, has_row });
    }

    pub(crate) fn put_finished(&mut self, summary: Summary) {
        let key = Key { tenant: summary.tenant_id, id: summary.id };
        if self.finished.insert(key, Arc::new(summary)).is_none() {
            self.finished_order.push_back(key);
        }
        while self.finished.len() > self.finished_max
            && let Some(oldest) = self.finished_order.pop_front()
        {
            self.finished.remove(&oldest);
            self.forgets = true;
        }
    }

    pub(crate) fn put_definition(&mut self, tenant: TenantId, hash: DefinitionHash, body: Value) {
        self.unheard.definition(tenant, &body);
        self.definitions.insert((tenant, hash), body);
    }

    pub(crate) fn put_fault(&mut self, fault: Fault) {
        self.faults.insert(Key { tenant: fault.tenant, id: fault.id }, fault);
    }

    pub(crate) fn put_emission(&mut self, outgoing: Outgoing) {
        self.unheard.put(outgoing);
    }

    pub(crate) fn set_forgets(&mut self) {
        self.forgets = true;
    }

    /// Sets aside what the checkpoint knows better than the log: a state whose records are lost
    /// can be neither shown, replayed nor continued.
    pub(super) fn compare(
        &mut self,
        log: &dyn LogStore,
        position: Position,
        lost: &[Range<Position>],
    ) -> Result<(), Error> {
        let Some(gap) = lost.iter().find(|it| it.start < position && it.start < it.end) else {
            return Ok(());
        };
        let open = self.instances.iter().map(|(key, it)| (*key, it.snapshot.seq));
        let open = open.chain(self.resting.iter().map(|it| (it.key, it.seq)));
        let ended = self.finished.iter().map(|(key, it)| (*key, it.seq));
        let known: Vec<(Key, Seq)> = open.chain(ended).collect();
        let mut held: HashMap<Key, Seq, SeededHasher> =
            known.iter().map(|(key, _)| (*key, 0)).collect();
        log.scan(0, &mut |line| {
            let Ok(line) = peek_line(line.bytes) else { return };
            let key = Key { tenant: line.tenant_id, id: line.instance_id };
            if let Some(last) = held.get_mut(&key)
                && (line.seq == *last + 1 || line.seq == 1)
            {
                *last = line.seq;
            }
        })?;
        for (key, seq) in known {
            let last = held.get(&key).copied().unwrap_or(0);
            let is_archived = match log.archive() {
                Some(archive) if last < seq => archive.holds(key.tenant, key.id)?,
                _ => false,
            };
            if last < seq && !is_archived {
                let first = last + 1;
                let (from, to) = (gap.start, gap.end - 1);
                self.finished.remove(&key);
                let message = format!(
                    "records {first} to {seq} of its history are missing: the log has lost \
                     positions {from} to {to}, its checkpoint at position {position} counts on them"
                );
                self.damage(key, last, &message);
            }
        }
        Ok(())
    }
}
