//! Questions: states, lists, histories, and changes as they come.

use std::{
    sync::{
        Arc,
        mpsc::{RecvTimeoutError, channel},
    },
    time::{Duration, Instant},
};

use traaviis_model::{InstanceId, Record, Snapshot, TenantCtx, Text};
use traaviis_ports::{
    IndexError,
    index::{Count, Query, Row},
};

use super::{ANSWER_MAX, Handle, waited};
use crate::{
    correlation::Holder,
    error::Error,
    owner::{Found, Message, Reply},
    summary::{Filter, Summary, newest},
    tree::TreeStatus,
    watch::{OnStep, Watch},
};

impl Handle {
    /// Tells the state of an open instance as its owner has it. Of one that has ended or is not
    /// there, and where callers wait for the document tree, nothing is told: see [`Handle::get`].
    pub fn find_open_then(
        &self,
        ctx: &TenantCtx,
        id: InstanceId,
        reply: Reply<Option<Arc<Snapshot>>>,
    ) {
        if self.inner.shown().is_some() {
            return reply(Ok(None));
        }
        let reply = Box::new(move |found: Result<Found, Error>| {
            reply(match found {
                Ok(Found::Open(snapshot)) => Ok(Some(snapshot)),
                Ok(Found::Ended(_)) | Err(Error::NotFound { .. }) => Ok(None),
                Err(error) => Err(error),
            });
        });
        self.lay_message(ctx, id, Message::Find { ctx: ctx.clone(), id, reply });
    }

    /// Returns the state of an instance, open or ended.
    pub fn get(&self, ctx: &TenantCtx, id: InstanceId) -> Result<Option<Arc<Snapshot>>, Error> {
        let ask = || {
            let found = self.find(ctx, id);
            self.state_of(ctx, id, found)
        };
        match self.inner.shown() {
            Some(tree) => tree.read(&ask),
            None => ask(),
        }
    }

    /// Returns the states of several instances, asked for together.
    pub(crate) fn states(
        &self,
        asked: &[(TenantCtx, InstanceId)],
    ) -> Vec<Result<Option<Arc<Snapshot>>, Error>> {
        let (sender, receiver) = channel();
        for (at, (ctx, id)) in asked.iter().enumerate() {
            let sender = sender.clone();
            let reply = Box::new(move |found| {
                // The wait may have run out.
                let _ = sender.send((at, found));
            });
            self.send_message(ctx, *id, Message::Find { ctx: ctx.clone(), id: *id, reply });
        }
        drop(sender);
        let mut answers: Vec<Result<Option<Arc<Snapshot>>, Error>> =
            asked.iter().map(|_| Err(Error::TimedOut)).collect();
        while let Ok((at, found)) = receiver.recv_timeout(ANSWER_MAX) {
            let (ctx, id) = &asked[at];
            answers[at] = self.state_of(ctx, *id, found);
        }
        answers
    }

    /// Returns how the document tree stands, if there is one.
    pub fn tree(&self) -> Option<TreeStatus> {
        self.inner.tree.get().and_then(|it| it.status())
    }

    /// Says whether the index still follows the log, if there is one.
    pub fn has_index(&self) -> Option<bool> {
        self.inner.feeder().map(|it| !it.is_given_up())
    }

    /// Returns instances in short, the newest first.
    pub fn list(&self, ctx: &TenantCtx, filter: &Filter) -> Result<Vec<Summary>, Error> {
        let (sender, receiver) = channel();
        for shard in &self.inner.shards {
            let sender = sender.clone();
            let reply = Box::new(move |summaries| {
                // Whoever asked may have given up.
                let _ = sender.send(summaries);
            });
            let message = Message::List { ctx: ctx.clone(), filter: filter.clone(), reply };
            self.send_to(ctx, shard, message);
        }
        drop(sender);
        let mut summaries = Vec::new();
        for _ in &self.inner.shards {
            summaries.extend(receiver.recv_timeout(ANSWER_MAX).map_err(waited)?);
        }
        Ok(newest(summaries, filter.limit()))
    }

    /// Returns a page of instances from the index, everything committed included.
    pub fn page(&self, ctx: &TenantCtx, query: &Query) -> Result<Vec<Row>, IndexError> {
        self.feeder()?.list(ctx, query)
    }

    /// Counts instances by workflow, status and state, everything committed included.
    pub fn count(&self, ctx: &TenantCtx, query: &Query) -> Result<Vec<Count>, IndexError> {
        self.feeder()?.count(ctx, query)
    }

    /// Returns what the index has of one instance, everything committed included.
    pub fn row(&self, ctx: &TenantCtx, id: InstanceId) -> Result<Option<Row>, IndexError> {
        self.feeder()?.get(ctx, id)
    }

    /// Returns ids that begin or end with some hexadecimal digits.
    pub fn ids(
        &self,
        ctx: &TenantCtx,
        digits: &str,
        limit: usize,
    ) -> Result<Vec<InstanceId>, IndexError> {
        self.feeder()?.ids(ctx, digits, limit)
    }

    /// Returns who holds a business key.
    pub fn find_correlation(&self, ctx: &TenantCtx, workflow: &str, key: &Text) -> Option<Holder> {
        self.inner.correlations.find(ctx.tenant(), workflow, key)
    }

    /// Tells somebody every step of every tenant from now on; see [`OnStep`].
    pub fn listen(&self, on_step: OnStep) {
        self.inner.shared.watchers.listen(on_step);
    }

    /// Watches one instance, or all of a tenant. Ends when the reader is too slow.
    pub fn watch(&self, ctx: &TenantCtx, id: Option<InstanceId>) -> Result<Watch, Error> {
        self.inner.shared.watchers.add(ctx.tenant(), id)
    }

    /// Returns the whole history of an instance; empty when there is none in this tenant.
    pub fn history(&self, ctx: &TenantCtx, id: InstanceId) -> Result<Vec<Record>, Error> {
        self.inner.shared.past.history(ctx, id)
    }

    /// Waits until `holds` is true of an instance's state; none when the time runs out before.
    pub fn wait_for(
        &self,
        ctx: &TenantCtx,
        id: InstanceId,
        mut holds: impl FnMut(&Snapshot) -> bool,
        timeout: Duration,
    ) -> Result<Option<Arc<Snapshot>>, Error> {
        let end = Instant::now() + timeout;
        loop {
            // Watch first, so that no change falls between the look and the wait.
            let watch = self.watch(ctx, Some(id))?;
            let snapshot = self.get(ctx, id)?.ok_or(Error::NotFound { id })?;
            if holds(&snapshot) {
                return Ok(Some(snapshot));
            }
            loop {
                let rest = end.saturating_duration_since(Instant::now());
                match watch.next_timeout(rest) {
                    Ok(change) if holds(&change.snapshot) => {
                        return Ok(Some(Arc::clone(&change.snapshot)));
                    }
                    Ok(_) => {}
                    Err(RecvTimeoutError::Timeout) => return Ok(None),
                    Err(RecvTimeoutError::Disconnected) if rest.is_zero() => return Ok(None),
                    // Too slow; look again.
                    Err(RecvTimeoutError::Disconnected) => break,
                }
            }
        }
    }
}
