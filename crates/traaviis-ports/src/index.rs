//! Lists of instances without a look at the log: a projection that can be lost and made again.
//!
//! Responsible for the vocabulary of the index only. `traaviis-store` keeps one in SQLite,
//! `traaviis-testkit` one in memory; `traaviis-runtime` feeds it from committed steps.
//!
//! Invariants an implementation keeps: rows and position of one [`Index::put`] become visible
//! together or not at all; a row never goes back to an earlier record; nothing in it is the only
//! copy of anything.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use traaviis_model::{InstanceId, Seq, TenantCtx, TenantId, Text, Timestamp, record::Status};

use crate::Position;

/// An instance as the index knows it.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// Tenant.
    pub tenant: TenantId,
    /// Identity.
    pub id: InstanceId,
    /// Workflow name.
    pub workflow: Text,
    /// Workflow version.
    pub version: Text,
    /// How it stands.
    pub status: Status,
    /// Active states as one text.
    pub state: Text,
    /// Business key.
    pub correlation: Option<Text>,
    /// Request or root that it belongs to; none when that is itself.
    pub correlation_id: Option<Text>,
    /// Words that it is found by.
    pub tags: BTreeSet<Text>,
    /// The instance that started it.
    pub parent: Option<InstanceId>,
    /// Who started it, as `kind:id`.
    pub created_by: Option<Text>,
    /// It waits for a person: an incident or a task is open.
    pub asks: bool,
    /// Nothing but timers, people and events can move it.
    pub waits: bool,
    /// Last record.
    pub seq: Seq,
    /// When it was created.
    pub created_at: Timestamp,
    /// Commit time of the last step.
    pub updated_at: Timestamp,
    /// When it ended.
    pub finished_at: Option<Timestamp>,
    /// Due time of the earliest timer.
    pub due: Option<Timestamp>,
    /// Position of its first record; none keeps what the index has.
    pub first: Option<Position>,
    /// Position of its last record.
    pub last: Position,
    /// The whole state as JSON, when the instance has ended or waits for a person. Lists leave it
    /// out.
    pub snapshot: Option<Vec<u8>>,
}

impl Row {
    /// Says whether it belongs to a request or root, or is it.
    pub fn belongs_to(&self, correlation: &Text) -> bool {
        match &self.correlation_id {
            Some(of) => of == correlation,
            None => correlation.parse().is_ok_and(|it: InstanceId| it == self.id),
        }
    }
}

/// Which instances a list shows, the newest id first: a child's id is as old as its parent's.
/// Everything given must hold.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Query {
    /// Workflow name, without regard to the case of ASCII letters.
    pub workflow: Option<Text>,
    /// Workflow version.
    pub version: Option<Text>,
    /// How it stands: one of these; empty means any.
    pub statuses: Vec<Status>,
    /// Active states as one text.
    pub state: Option<Text>,
    /// Business key.
    pub correlation: Option<Text>,
    /// Request or root that it belongs to, or is.
    pub correlation_id: Option<Text>,
    /// Tags that it has, all of them.
    pub tags: BTreeSet<Text>,
    /// Only those that wait for a person.
    pub asks: bool,
    /// Only ids before this one: the last of the page before. An id never changes, so pages neither
    /// repeat nor miss what was there all the time.
    pub after: Option<InstanceId>,
    /// How many at most.
    pub limit: usize,
}

impl Query {
    /// Says whether a row belongs to the list.
    pub fn takes(&self, row: &Row) -> bool {
        self.after.is_none_or(|after| row.id < after)
            && (self.statuses.is_empty() || self.statuses.contains(&row.status))
            && self.workflow.as_ref().is_none_or(|it| it.eq_ignore_ascii_case(&row.workflow))
            && self.version.as_ref().is_none_or(|it| *it == row.version)
            && self.state.as_ref().is_none_or(|it| *it == row.state)
            && self.tags.is_subset(&row.tags)
            && (self.correlation.is_none() || self.correlation == row.correlation)
            && self.correlation_id.as_ref().is_none_or(|it| row.belongs_to(it))
            && (!self.asks || row.asks)
    }
}

/// How many instances stand alike.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Count {
    /// Workflow name.
    pub workflow: Text,
    /// How they stand.
    pub status: Status,
    /// Active states as one text.
    pub state: Text,
    /// How many.
    pub count: u64,
    /// Commit time of the last step of any of them.
    pub updated_at: Timestamp,
}

/// Counts rows by workflow, status and state, in this order.
pub fn count_rows<'a>(rows: impl IntoIterator<Item = &'a Row>) -> Vec<Count> {
    let mut counts: BTreeMap<(&Text, &str, &Text), Count> = BTreeMap::new();
    for row in rows {
        let key = (&row.workflow, row.status.as_str(), &row.state);
        let count = counts.entry(key).or_insert_with(|| Count {
            workflow: row.workflow.clone(),
            status: row.status,
            state: row.state.clone(),
            count: 0,
            updated_at: row.updated_at,
        });
        count.count += 1;
        count.updated_at = count.updated_at.max(row.updated_at);
    }
    counts.into_values().collect()
}

/// Why the index cannot be used. The log is whole all the same.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum IndexError {
    /// No space; trying again later can help.
    #[error("the disk that holds the index is full; free space and it goes on by itself")]
    Full,
    /// What is in it cannot be read or trusted; it must be made again from the log.
    #[error("the index is damaged: {0}")]
    Damaged(Arc<str>),
    /// The system or another program stands in the way.
    #[error("the index cannot be used: {0}")]
    Failed(Arc<str>),
}

/// The index of a data directory.
pub trait Index: Send + Sync {
    /// Returns the position before which every record is reflected in the rows.
    fn position(&self) -> Result<Position, IndexError>;

    /// Puts rows, the later record winning, and the position with them.
    fn put(
        &self,
        rows: &mut dyn Iterator<Item = Row>,
        position: Position,
    ) -> Result<(), IndexError>;

    /// Takes rows out: their instances are archived.
    fn remove(
        &self,
        rows: &mut dyn Iterator<Item = (TenantId, InstanceId)>,
    ) -> Result<(), IndexError>;

    /// Returns rows of one tenant, the newest id first, without their snapshots.
    fn list(&self, ctx: &TenantCtx, query: &Query) -> Result<Vec<Row>, IndexError>;

    /// Counts the rows of one tenant that a list without end would show, by workflow, status and
    /// state, in this order.
    fn count(&self, ctx: &TenantCtx, query: &Query) -> Result<Vec<Count>, IndexError>;

    /// Returns one row, with its snapshot if it has one of the row's last record.
    fn get(&self, ctx: &TenantCtx, id: InstanceId) -> Result<Option<Row>, IndexError>;

    /// Returns at most `limit` ids whose 32 hexadecimal digits begin or end with `digits`.
    fn ids(
        &self,
        ctx: &TenantCtx,
        digits: &str,
        limit: usize,
    ) -> Result<Vec<InstanceId>, IndexError>;

    /// Makes everything put so far durable.
    fn sync(&self) -> Result<(), IndexError>;

    /// Forgets everything, damaged or not: the position is 0 again.
    fn clear(&self) -> Result<(), IndexError>;
}
