//! Commands: those that return at once and tell a reply function, and those that wait.

use std::sync::{Arc, atomic::Ordering};

use traaviis_engine::{
    Birth, Branch, Fork, Input, Machine, Marks, Resolution, Retry, plan_fork, plan_retry,
};
use traaviis_model::{
    InstanceId, Record, Seq, Snapshot, TenantCtx, Text, Value, record::Operation,
};
use traaviis_ports::Position;

use super::{Accepted, Handle, Started, wait};
use crate::{
    error::Error,
    owner::{Command, Key, Message, Reopen, Reply, Start, StartOutcome, Upgrade},
};

/// What a caller gives an instance besides its input.
#[derive(Clone, Debug, Default)]
pub struct Given {
    /// More tags and labels than its workflow has.
    pub marks: Marks,
    /// Business key in the place of the one that its workflow computes.
    pub correlation: Option<Text>,
}

impl From<Marks> for Given {
    fn from(marks: Marks) -> Given {
        Given { marks, ..Given::default() }
    }
}

impl Given {
    fn birth(self, machine: &Machine) -> Result<Birth, Error> {
        let Given { marks, correlation } = self;
        let marks = Marks::of(machine.definition()).with(marks).map_err(Error::Rejected)?;
        Ok(Birth { marks: Some(marks), correlation, ..Birth::default() })
    }
}

/// How a message is handed over, and who is told.
type How<T> = (fn(&Handle, &TenantCtx, InstanceId, Message), Reply<T>);

impl Handle {
    /// Starts an instance; `reply` is told after the commit. Returns the id it will have.
    pub fn start_instance_then(
        &self,
        ctx: &TenantCtx,
        machine: &Arc<Machine>,
        id: Option<InstanceId>,
        input: Value,
        reply: Reply<Started>,
    ) -> InstanceId {
        self.start_born(ctx, machine, id, input, Birth::default(), (Handle::send_message, reply))
    }

    /// As [`Handle::start_instance_then`], for one that is given more than its workflow says and a
    /// caller who keeps no thread for the wait.
    pub fn start_marked_then(
        &self,
        ctx: &TenantCtx,
        machine: &Arc<Machine>,
        input: Value,
        given: impl Into<Given>,
        reply: Reply<Started>,
    ) {
        match given.into().birth(machine) {
            Ok(birth) => {
                let how: How<Started> = (Handle::lay_message, reply);
                self.start_born(ctx, machine, None, input, birth, how);
            }
            Err(error) => reply(Err(error)),
        }
    }

    fn start_born(
        &self,
        ctx: &TenantCtx,
        machine: &Arc<Machine>,
        id: Option<InstanceId>,
        input: Value,
        birth: Birth,
        (send, reply): How<Started>,
    ) -> InstanceId {
        let inner = &self.inner;
        let named = id.is_some();
        let id = id.unwrap_or_else(|| inner.shared.ports.ids.instance_id());
        if named && inner.forgets.load(Ordering::SeqCst) && self.is_forgotten(ctx, id) {
            reply(Err(Error::has_ended(id)));
            return id;
        }
        let handle = self.clone();
        let tenant = ctx.clone();
        let reply = Box::new(move |outcome: Result<StartOutcome, Error>| {
            let started = outcome.and_then(|StartOutcome { existing, found }| {
                let snapshot = handle.whole(&tenant, found)?;
                Ok(Started { id, existing, snapshot })
            });
            reply(started);
        });
        let machine = Arc::clone(machine);
        let start = Start { ctx: ctx.clone(), machine, id, input, birth, reply };
        send(self, ctx, id, Message::Start(start));
        id
    }

    /// Does something to an instance; `reply` is told after the commit. It is for callers who keep
    /// no thread for the wait, and is handed over together with what others of them ask.
    pub fn command_then(
        &self,
        ctx: &TenantCtx,
        id: InstanceId,
        command: Command,
        reply: Reply<Accepted>,
    ) {
        let message = Message::Command { ctx: ctx.clone(), id, command, reply };
        self.lay_message(ctx, id, message);
    }

    /// Takes an instance over to another version.
    pub fn upgrade_then(
        &self,
        ctx: &TenantCtx,
        id: InstanceId,
        machine: &Arc<Machine>,
        reply: Reply<Accepted>,
    ) {
        let upgrade = Upgrade { ctx: ctx.clone(), id, machine: Arc::clone(machine), reply };
        self.send_message(ctx, id, Message::Upgrade(upgrade));
    }

    /// Starts an instance and waits until that is durable. The same id, workflow and input again
    /// give the instance that is there.
    pub fn start_instance(
        &self,
        ctx: &TenantCtx,
        machine: &Arc<Machine>,
        id: Option<InstanceId>,
        input: Value,
    ) -> Result<Started, Error> {
        wait(|reply| {
            self.start_instance_then(ctx, machine, id, input, reply);
        })
    }

    /// As [`Handle::start_instance`], for one that is given more than its workflow says.
    pub fn start_marked(
        &self,
        ctx: &TenantCtx,
        machine: &Arc<Machine>,
        id: Option<InstanceId>,
        input: Value,
        given: impl Into<Given>,
    ) -> Result<Started, Error> {
        let birth = given.into().birth(machine)?;
        wait(|reply| {
            self.start_born(ctx, machine, id, input, birth, (Handle::send_message, reply));
        })
    }

    /// As [`Handle::start_instance`], for one that somebody else than the caller counts as having
    /// started, written as `kind:id`.
    pub fn start_for(
        &self,
        ctx: &TenantCtx,
        machine: &Arc<Machine>,
        input: Value,
        created_by: Text,
    ) -> Result<Started, Error> {
        let birth = Birth { created_by: Some(created_by), ..Birth::default() };
        wait(|reply| {
            self.start_born(ctx, machine, None, input, birth, (Handle::send_message, reply));
        })
    }

    /// Sends an event and waits until it is durable.
    pub fn send(
        &self,
        ctx: &TenantCtx,
        id: InstanceId,
        event: impl Into<Text>,
        data: Value,
        dedup_id: Option<Text>,
    ) -> Result<Accepted, Error> {
        self.command(ctx, id, Command::Event { event: event.into(), data, id: dedup_id })
    }

    /// Asks for the end of an instance; `terminate` skips exit actions and compensation.
    pub fn cancel(
        &self,
        ctx: &TenantCtx,
        id: InstanceId,
        terminate: bool,
        reason: Option<Text>,
    ) -> Result<Accepted, Error> {
        self.command(ctx, id, Command::Cancel { terminate, reason })
    }

    /// Answers an incident.
    pub fn resolve(
        &self,
        ctx: &TenantCtx,
        id: InstanceId,
        tree: Seq,
        path: impl Into<Text>,
        resolution: Resolution,
        reason: Option<Text>,
    ) -> Result<Accepted, Error> {
        self.command(ctx, id, Command::Resolve { tree, path: path.into(), resolution, reason })
    }

    /// Pauses, resumes, edits or moves an instance by hand.
    pub fn operate(
        &self,
        ctx: &TenantCtx,
        id: InstanceId,
        operation: Operation,
    ) -> Result<Accepted, Error> {
        self.command(ctx, id, Command::Operate(operation))
    }

    /// Takes an instance over to another version of its workflow.
    pub fn upgrade(
        &self,
        ctx: &TenantCtx,
        id: InstanceId,
        machine: &Arc<Machine>,
    ) -> Result<Accepted, Error> {
        wait(|reply| self.upgrade_then(ctx, id, machine, reply))
    }

    /// Lets an instance that has failed go on where it failed.
    pub fn retry(
        &self,
        ctx: &TenantCtx,
        id: InstanceId,
        retry: Retry,
    ) -> Result<Arc<Snapshot>, Error> {
        if self.inner.shared.past.is_archived(ctx, id)? {
            return Err(Error::archived(id));
        }
        let (records, read_to) = self.inner.shared.past.history_to(ctx, id)?;
        let folded = Snapshot::fold(&records);
        let base = folded.map_err(|error| Error::Damaged { id, source: Arc::new(error) })?;
        let base = base.ok_or(Error::NotFound { id })?;
        let connector = &self.inner.shared.ports.connector;
        let class = |kind: &str, input: &Value| connector.delivery_class(ctx, kind, input);
        let retried = plan_retry(&records, retry, class).map_err(Error::Rejected)?;
        self.reopen(ctx, base, Vec::new(), Input::Reopen(retried), read_to)
    }

    /// Starts a fork of an instance; it is durable when this returns.
    pub fn fork(
        &self,
        ctx: &TenantCtx,
        of: InstanceId,
        fork: impl FnOnce(InstanceId) -> Fork,
    ) -> Result<Arc<Snapshot>, Error> {
        let records = self.history(ctx, of)?;
        let fork = fork(self.inner.shared.ports.ids.instance_id());
        let Branch { copied, base, forked } = plan_fork(&records, fork).map_err(Error::Rejected)?;
        self.reopen(ctx, base, copied, Input::Fork(forked), 0)
    }

    fn reopen(
        &self,
        ctx: &TenantCtx,
        base: Snapshot,
        copied: Vec<Record>,
        input: Input,
        read_to: Position,
    ) -> Result<Arc<Snapshot>, Error> {
        let (ctx, key) = (ctx.clone(), Key::of(&base));
        let outcome: StartOutcome = wait(|reply| {
            let reopen = Reopen { ctx: ctx.clone(), base, copied, input, read_to, reply };
            self.send_message(&ctx, key.id, Message::Reopen(Box::new(reopen)));
        })?;
        self.whole(&ctx, outcome.found)
    }

    /// Does something to an instance and waits until it is durable.
    pub fn command(
        &self,
        ctx: &TenantCtx,
        id: InstanceId,
        command: Command,
    ) -> Result<Accepted, Error> {
        wait(|reply| {
            let message = Message::Command { ctx: ctx.clone(), id, command, reply };
            self.send_message(ctx, id, message);
        })
    }
}
