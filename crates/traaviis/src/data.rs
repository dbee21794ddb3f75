//! A data directory, opened: with a runtime that carries on what is there, or for reading only.
//!
//! This is where the store, the runtime and the connectors meet. [`Data`] holds the directory's
//! lock; [`Resting`] and what stands beside it read beside whoever holds it.

mod asking;
mod commanding;
mod later;
mod log;
mod opening;
mod resting;

use std::{
    fmt,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use traaviis_model::{InstanceId, Snapshot, TenantCtx};
use traaviis_ports::{Clock, Compacted, LogError};
use traaviis_runtime::{Accepted, Effort, Error, Handle, Upkept, watch::OnStep};
use traaviis_store::{LocalLog, SealedLog};

use crate::{
    control::protocol::By,
    exit::{Exit, Failure},
    histories::Histories,
};
pub use log::{About, People, lost, needs_log, open_half_imported, open_log, sealed};
pub use opening::{Life, Serving};
pub use resting::{
    Frame, FrameFacts, Resting, checkpoint_faults, each_frame, inspect, lock_holder, sizes,
    would_compact,
};

/// Longest wait for running calls when a command closes the directory.
const DRAIN: Duration = Duration::from_secs(5);

/// Told after every commit; with the reason when the log has failed.
pub type OnCommit = Box<dyn Fn(Option<Failure>) + Send + Sync>;

/// An open data directory whose instances run.
pub struct Data {
    /// Records as they are in the log.
    pub histories: Histories,
    handle: Handle,
    log: Arc<SealedLog<LocalLog>>,
    ctx: TenantCtx,
    fatal: Arc<Mutex<Option<LogError>>>,
    is_closed: Arc<AtomicBool>,
    recovered_count: usize,
}

impl Data {
    /// Archives what is due and compacts the log, as fast as it goes.
    pub fn upkeep(&self, tell: &mut dyn FnMut(Compacted)) -> Result<Upkept, Failure> {
        self.handle.upkeep(Effort::Full, tell).map_err(refused)
    }

    /// Returns who acts.
    pub fn ctx(&self) -> &TenantCtx {
        &self.ctx
    }

    /// Returns the log.
    pub fn log(&self) -> &Arc<SealedLog<LocalLog>> {
        &self.log
    }

    /// Returns the same directory, in which somebody else acts.
    pub fn acting_as(&self, by: &By) -> Data {
        self.acting_in(by.ctx())
    }

    /// Returns the same directory, in which somebody acts, perhaps in another tenant.
    pub fn acting_in(&self, ctx: TenantCtx) -> Data {
        Data {
            histories: self.histories.of(ctx.clone()),
            handle: self.handle.clone(),
            log: Arc::clone(&self.log),
            ctx,
            fatal: Arc::clone(&self.fatal),
            is_closed: Arc::clone(&self.is_closed),
            recovered_count: self.recovered_count,
        }
    }

    /// Ends the runtime: running calls get a moment, the state is kept as a checkpoint.
    pub fn close(&self) -> Result<(), Failure> {
        if self.is_closed.swap(true, Ordering::SeqCst) {
            return Ok(());
        }
        let ended = self.handle.clone().shutdown(DRAIN);
        self.log.inner().close();
        match self.fatal.lock().unwrap_or_else(PoisonError::into_inner).clone() {
            Some(error) => Err(stopped(&error)),
            // That a checkpoint is missing costs the next start time, and nobody anything else.
            None => match ended {
                Err(error) if error.code() == "storage_full" => {
                    tracing::warn!(
                        code = "storage_full",
                        "the disk is full: everything that was acknowledged is saved, and no \
                         checkpoint is, so the next start reads more of the log; free space before"
                    );
                    Ok(())
                }
                ended => ended.map_err(refused),
            },
        }
    }

    /// Returns the time of the process, which is one for all that it does.
    pub fn clock(&self) -> Arc<dyn Clock> {
        self.handle.clock()
    }

    /// Returns how many open instances were found at opening.
    pub fn recovered_count(&self) -> usize {
        self.recovered_count
    }

    /// Says why the log takes nothing more, when it has failed.
    pub fn log_failure(&self) -> Option<Failure> {
        let fatal = self.fatal.lock().unwrap_or_else(PoisonError::into_inner).clone();
        // Whoever appends without an owner is told by the log alone.
        let failed = fatal.or_else(|| self.log.inner().failed().map(LogError::Failed));
        failed.as_ref().map(stopped)
    }

    /// Keeps nothing any more of the tenant that it acts in; upkeep drops what has ended.
    pub fn forget(&self) {
        self.handle.forget(&self.ctx);
    }

    /// Keeps nothing any more of an instance that has ended; upkeep drops it.
    pub fn discard(&self, id: InstanceId) {
        self.handle.discard(&self.ctx, id);
    }

    /// Says whether an instance is not kept, and something of it is left.
    pub fn is_discarded(&self, id: InstanceId) -> bool {
        self.handle.is_discarded(&self.ctx, id)
    }

    /// Tells somebody every step of every tenant from now on.
    pub fn listen(&self, on_step: OnStep) {
        self.handle.listen(on_step);
    }

    /// Tells of commits from now on.
    pub fn on_commit(&self, told: OnCommit) {
        let handle = self.handle.clone();
        let fatal = Arc::clone(&self.fatal);
        let is_closed = Arc::clone(&self.is_closed);
        let ctx = self.ctx.clone();
        let begun = thread::Builder::new().name("commits".into()).spawn(move || {
            // A slow reader loses its watch; a new one and one telling make up for what it missed.
            while !is_closed.load(Ordering::SeqCst) {
                let Ok(watch) = handle.watch(&ctx, None) else { return };
                told(None);
                while watch.next().is_some() {
                    told(None);
                }
                if let Some(error) = &*fatal.lock().unwrap_or_else(PoisonError::into_inner) {
                    return told(Some(stopped(error)));
                }
                if handle.is_dead() {
                    return;
                }
            }
        });
        drop(begun);
    }
}

impl fmt::Debug for Data {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Data").finish_non_exhaustive()
    }
}

/// Returns the state after the step that a change made, whatever has happened since.
fn after(accepted: Result<Accepted, Error>) -> Result<Snapshot, Failure> {
    accepted.map(|it| Arc::unwrap_or_clone(it.snapshot)).map_err(refused)
}

fn stopped(error: &LogError) -> Failure {
    let message = format!("{error}; nothing acknowledged is lost, start again once it is mended");
    Failure::new(Exit::Internal, error.code(), message)
}

/// Returns what an error says, with what stands behind it.
fn told_whole(error: &Error) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(found) = cause {
        text += &format!(": {found}");
        cause = found.source();
    }
    text
}

fn refused(error: Error) -> Failure {
    let exit = match error.code() {
        "storage_failed" => Exit::Internal,
        "permission_denied" => Exit::Denied,
        "redaction_key_missing" => Exit::Unreachable,
        _ => Exit::Finding,
    };
    let failure = Failure::new(exit, error.code(), told_whole(&error));
    match &error {
        Error::Rejected(why) => failure.with_details(serde_json::Value::from(&why.details)),
        _ => failure,
    }
}
