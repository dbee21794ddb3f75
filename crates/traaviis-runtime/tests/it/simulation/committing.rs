//! The log and its disk: groups are committed, checkpoints written, writes fail; and what the log
//! has acknowledged is noted, to compare the owners with.

use traaviis_model::{Body, CallId, InstanceId, Record, Snapshot, record::Held};
use traaviis_ports::{Commit, LogError, LogStore, Position};
use traaviis_runtime::{clock::CLOCK_JUMP, owner::Message};
use traaviis_store::Entry;
use traaviis_testkit::disk::Fault;

use super::Sim;
use crate::{simulated_hearing::is_emission, support::lines};

impl Sim<'_> {
    pub(super) fn plan_fault(&mut self) {
        let faults = [Fault::Crash, Fault::Crash, Fault::Eio, Fault::Enospc, Fault::ShortWrite];
        let fault = faults[self.rng.index(faults.len())];
        let at = self.disk.calls() + 1 + self.rng.below(8);
        self.disk.fail_at(at, fault);
    }

    pub(super) fn squeeze(&mut self) {
        self.squeezed = !self.squeezed;
        self.disk.set_space(self.squeezed.then_some(0));
    }

    /// The index catches up with what the owners published: everything in the log.
    pub(super) fn drain(&mut self) {
        let Some(index) = &mut self.index else { return };
        index.drain(self.log.tail());
        index.check_list(&self.folds);
    }

    pub(super) fn checkpoint(&mut self) {
        let Some(position) = self.checkpoint_from.take() else {
            // The content is collected later and may hold more.
            self.checkpoint_from = Some(self.log.tail());
            return;
        };
        self.put_checkpoint(position);
    }

    /// Says whether the checkpoint is durable and the process lives.
    pub(super) fn put_checkpoint(&mut self, position: Position) -> bool {
        let body = self.checkpoint_body(position);
        let Some(body) = body else { return false };
        let written = self.log.put_checkpoint(position, &body);
        if written.is_ok() {
            self.checkpoints = [self.checkpoints[1], position];
            self.states_lost = false;
        }
        self.trace.add([u8::from(written.is_ok())]);
        if self.disk.is_crashed() {
            self.crash(true);
            return false;
        }
        written.is_ok()
    }

    pub(super) fn commit(&mut self) {
        let mut entries = Vec::new();
        let mut owners = Vec::new();
        for _ in 0..=self.rng.index(8) {
            let at = self.rng.index(self.shards.len());
            if let Some((ctx, mut append, token)) = self.shards[at].1.appends.pop_front() {
                append.lines.write();
                entries.push(Entry { tenant: ctx.tenant(), append });
                owners.push((at, token));
            }
        }
        if entries.is_empty() {
            return;
        }
        self.hearing.round += 1;
        let mut outcomes: Vec<Commit> = Vec::new();
        self.log.0.lock().unwrap().commit(&entries, &mut outcomes);
        assert_eq!(outcomes.len(), entries.len());
        for (entry, outcome) in entries.iter().zip(&outcomes) {
            match outcome {
                Ok(_) => self.acknowledge(entry.append.lines.written()),
                Err(LogError::Full) => self.facts.full += 1,
                Err(LogError::Failed(_)) => {}
                Err(LogError::SeqMismatch { first: 1, .. }) => {}
                Err(error) => panic!("the log refuses a good append: {error}"),
            }
        }
        if self.disk.is_crashed() {
            return self.crash(true);
        }
        for (at, (owner, outside)) in self.shards.iter_mut().enumerate() {
            let told: Vec<(u64, Commit)> = owners
                .iter()
                .zip(&outcomes)
                .filter(|((whose, _), _)| *whose == at)
                .map(|((_, token), outcome)| (*token, outcome.clone()))
                .collect();
            owner.handle(Message::Committed(told), self.now, outside);
        }
        self.settle();
    }

    pub(super) fn acknowledge(&mut self, bytes: &[u8]) {
        self.trace.add(bytes);
        for record in lines(bytes) {
            self.note(record);
        }
        let text = bytes.strip_suffix(b"\n").unwrap_or(bytes);
        self.acknowledged.extend(text.split(|byte| *byte == b'\n').map(<[u8]>::to_vec));
    }

    /// Takes a durable record into what the owners are compared with.
    pub(super) fn note(&mut self, record: Record) {
        let instance = record.header.instance_id;
        self.facts.heard += u64::from(self.hearing.note(&record));
        match &record.body {
            Body::DocumentPut { document, .. } => {
                self.facts.jumped += u64::from(**document == *CLOCK_JUMP);
                return;
            }
            Body::EventReceived { id: Some(id), .. }
            | Body::EventIgnored { id: Some(id), .. }
            | Body::EventDeferred { id: Some(id), .. }
                if !is_emission(id) =>
            {
                *self.taken.entry(id.clone()).or_default() += 1;
            }
            Body::EffectStarted { tree, path, attempt } => {
                let (tree, path, attempt) = (*tree, path.clone(), *attempt);
                let fold = self.folds.get(&instance);
                let node = fold.and_then(|it| it.node(tree, &path));
                let scheduled = node.map_or(0, |it| it.scheduled);
                self.started.insert(CallId { instance, tree, path, scheduled, attempt });
            }
            Body::EffectCompleted { tree, path, .. } => {
                self.completed.insert((instance, *tree, path.clone()));
            }
            Body::InputHeld { held } => self.note_held(instance, held),
            Body::Upgraded(_) => self.facts.upgraded += 1,
            Body::Retried(_) => self.facts.retried += 1,
            Body::IncidentOpened { held: Some(held), .. } => self.note_held(instance, held),
            _ => {}
        }
        let number = self.histories.get(&instance).map_or(0, Vec::len) as u64 + 1;
        assert_eq!(record.header.seq, number, "numbers of `{instance}` are not dense");
        match self.folds.get_mut(&instance) {
            Some(snapshot) => snapshot.apply(&record).unwrap(),
            None => {
                self.folds.insert(instance, Snapshot::create(&record).unwrap());
            }
        }
        let was_let_in =
            matches!(&record.body, Body::EffectCompleted { path, .. } if path.ends_with("/ask"));
        self.histories.entry(instance).or_default().push(record);
        if was_let_in {
            self.check_gates();
        }
    }

    /// What is known to have happened must not happen again, though no step has taken it.
    pub(super) fn note_held(&mut self, instance: InstanceId, held: &Held) {
        self.facts.held += 1;
        if let Held::Outcome { tree, path, error: None, .. } = held {
            self.completed.insert((instance, *tree, path.clone()));
        }
    }
}
