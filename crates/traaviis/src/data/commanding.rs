//! What is done to instances: starts, events, and the decisions of people.

use std::sync::Arc;

use traaviis_engine::{Fork, Machine, Resolution, Retry};
use traaviis_model::{
    Actor, InstanceId, Seq, Snapshot, Text, Value,
    record::{ActorKind, Operation},
};
use traaviis_runtime::{Accepted, Broadcast, Command, Error, Filter, Given, Started, Waited};

use super::{Data, after, refused};
use crate::{control::protocol::Wait, exit::Failure};

impl Data {
    /// Starts an instance that carries out a trigger: nobody in particular has started what it
    /// starts. It is durable when this returns.
    pub fn start_trigger(
        &self,
        machine: &Arc<Machine>,
        input: Value,
        kind: &str,
    ) -> Result<Started, Failure> {
        let by = Actor { kind: ActorKind::Engine, id: kind.into() }.text();
        self.handle.start_for(&self.ctx, machine, input, by).map_err(refused)
    }

    /// Starts an instance whose id a caller has chosen, or that is given more than its workflow
    /// says; it is durable when this returns.
    pub fn start_marked(
        &self,
        machine: &Arc<Machine>,
        id: Option<InstanceId>,
        input: Value,
        given: impl Into<Given>,
    ) -> Result<Started, Failure> {
        self.handle.start_marked(&self.ctx, machine, id, input, given).map_err(refused)
    }

    /// Starts an instance and tells its id when it is durable.
    pub fn start_then(
        &self,
        machine: &Arc<Machine>,
        input: Value,
        done: Box<dyn FnOnce(Result<InstanceId, Failure>) + Send>,
    ) {
        let reply =
            Box::new(move |it: Result<Started, Error>| done(it.map(|it| it.id).map_err(refused)));
        self.handle.start_instance_then(&self.ctx, machine, None, input, reply);
    }

    /// Sends an event; returns the state after it.
    pub fn send(&self, id: InstanceId, event: &str, data: Value) -> Result<Snapshot, Failure> {
        self.send_once(id, event, data, None)
    }

    /// As [`Data::send`]; an event with a deduplication id that was taken is not taken again.
    pub fn send_once(
        &self,
        id: InstanceId,
        event: &str,
        data: Value,
        event_id: Option<Text>,
    ) -> Result<Snapshot, Failure> {
        after(self.handle.send(&self.ctx, id, event, data, event_id))
    }

    /// Does something to an instance; returns the state after it.
    pub fn command(
        &self,
        id: InstanceId,
        command: Command,
    ) -> Result<(Accepted, Snapshot), Failure> {
        let accepted = self.handle.command(&self.ctx, id, command).map_err(refused)?;
        let after = (*accepted.snapshot).clone();
        Ok((accepted, after))
    }

    /// Does something to an instance and waits for what follows it.
    pub fn command_and_wait(
        &self,
        id: InstanceId,
        command: Command,
        wait: &Wait,
    ) -> Result<Waited, Failure> {
        let waited =
            self.handle.command_and_wait(&self.ctx, id, command, &wait.until, wait.timeout());
        waited.map_err(refused)
    }

    /// Sends an event to every open instance that fits.
    pub fn broadcast(
        &self,
        filter: &Filter,
        event: &Text,
        data: &Value,
        key: Option<&str>,
    ) -> Result<Broadcast, Failure> {
        self.handle.broadcast(&self.ctx, filter, event, data, key).map_err(refused)
    }

    /// Sends an event and tells when it is durable.
    pub fn send_then(
        &self,
        id: InstanceId,
        event: &Text,
        data: Value,
        done: Box<dyn FnOnce(Result<(), Failure>) + Send>,
    ) {
        let command = Command::Event { event: event.clone(), data, id: None };
        let reply =
            Box::new(move |it: Result<Accepted, Error>| done(it.map(drop).map_err(refused)));
        self.handle.command_then(&self.ctx, id, command, reply);
    }

    /// Asks for the end of an instance; returns the state after it.
    pub fn cancel(
        &self,
        id: InstanceId,
        terminate: bool,
        reason: Option<&str>,
    ) -> Result<Snapshot, Failure> {
        after(self.handle.cancel(&self.ctx, id, terminate, reason.map(Text::from)))
    }

    /// Lets an instance that has failed go on; returns the state after it.
    pub fn retry(&self, id: InstanceId, retry: Retry) -> Result<Snapshot, Failure> {
        let found = self.handle.retry(&self.ctx, id, retry).map_err(refused)?;
        Ok((*found).clone())
    }

    /// Starts a fork of an instance; returns its state.
    pub fn fork(
        &self,
        of: InstanceId,
        fork: impl FnOnce(InstanceId) -> Fork,
    ) -> Result<Snapshot, Failure> {
        let found = self.handle.fork(&self.ctx, of, fork).map_err(refused)?;
        Ok((*found).clone())
    }

    /// Answers an incident; returns the state after it.
    pub fn resolve(
        &self,
        id: InstanceId,
        tree: Seq,
        path: &str,
        resolution: Resolution,
        reason: Option<Text>,
    ) -> Result<Snapshot, Failure> {
        after(self.handle.resolve(&self.ctx, id, tree, path, resolution, reason))
    }

    /// Pauses, resumes, edits or moves an instance; returns the state after it.
    pub fn operate(&self, id: InstanceId, operation: Operation) -> Result<Snapshot, Failure> {
        after(self.handle.operate(&self.ctx, id, operation))
    }

    /// Takes an instance over to another version; returns the state after it.
    pub fn upgrade(&self, id: InstanceId, machine: &Arc<Machine>) -> Result<Snapshot, Failure> {
        after(self.handle.upgrade(&self.ctx, id, machine))
    }

    /// Takes an instance over to another version and tells when that is durable.
    pub fn upgrade_then(
        &self,
        id: InstanceId,
        machine: &Arc<Machine>,
        done: Box<dyn FnOnce(Result<(), Failure>) + Send>,
    ) {
        let reply =
            Box::new(move |it: Result<Accepted, Error>| done(it.map(drop).map_err(refused)));
        self.handle.upgrade_then(&self.ctx, id, machine, reply);
    }
}
