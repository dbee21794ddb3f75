//! What is told when it is durable, to callers that keep no thread for the wait.

use std::sync::Arc;

use traaviis_engine::Machine;
use traaviis_model::{InstanceId, Snapshot, TenantCtx, Value};
use traaviis_runtime::{Accepted, Command, Error, Given, Started};

use super::{Data, refused};
use crate::exit::Failure;

/// Told once what became of something, on a thread of a shard.
pub type Reply<T> = Box<dyn FnOnce(Result<T, Failure>) + Send>;

/// Returns the reply of the runtime that tells somebody in the words of this program.
fn of<T: 'static>(reply: Reply<T>) -> Box<dyn FnOnce(Result<T, Error>) + Send> {
    Box::new(move |told| reply(told.map_err(refused)))
}

impl Data {
    /// Starts an instance that is given more than its workflow says.
    pub fn start_marked_then(
        &self,
        ctx: &TenantCtx,
        machine: &Arc<Machine>,
        input: Value,
        given: impl Into<Given>,
        reply: Reply<Started>,
    ) {
        self.handle.start_marked_then(ctx, machine, input, given, of(reply));
    }

    /// Does something to an instance.
    pub fn command_then(
        &self,
        ctx: &TenantCtx,
        id: InstanceId,
        command: Command,
        reply: Reply<Accepted>,
    ) {
        self.handle.command_then(ctx, id, command, of(reply));
    }

    /// Tells the state of an open instance; nothing of one that has ended or is not there.
    pub fn find_open_then(
        &self,
        ctx: &TenantCtx,
        id: InstanceId,
        reply: Reply<Option<Arc<Snapshot>>>,
    ) {
        self.handle.find_open_then(ctx, id, of(reply));
    }
}
