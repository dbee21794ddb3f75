//! The state of an instance after a record, and the one function that changes it:
//! [`Snapshot::apply`].
//!
//! Invariants: folding an instance's records from `created` gives this state byte for byte; nothing
//! else changes it, live or in replay. Collections keep a fixed order, so equal states have equal
//! canonical bytes ([`Snapshot::canonical`]).

mod about;
mod apply;
mod create;
mod effects;
mod erased;
mod fork;
mod patch;
mod reading;
mod tree;
mod upgrade;
mod waiting;

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::{
    budget::Budgets,
    effect_error::EffectError,
    ids::{DefinitionHash, InstanceId, Seq, TenantId, Text, Texts},
    record::{Held, Lineage, Status, Upgraded},
    time::Timestamp,
    value::Value,
};

pub use about::Performance;
pub use apply::ApplyError;
pub use fork::Origin;
pub use patch::{NoSuchPlace, apply_patch};
pub use tree::{Node, NodeStatus, Tree};
pub use waiting::{Child, Incident, Timer};

/// State of an instance after its record `seq`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Snapshot {
    /// Identity.
    pub id: InstanceId,
    /// Tenant.
    pub tenant_id: TenantId,
    /// Workflow name.
    pub workflow: Text,
    /// Workflow version.
    pub version: Text,
    /// Definition that decides.
    pub definition_hash: DefinitionHash,
    /// How it stands.
    pub status: Status,
    /// Last record.
    pub seq: Seq,
    /// Last step.
    pub step: u64,
    /// Paths of the active atomic states, in document order.
    pub configuration: Texts,
    /// Start input.
    pub input: Value,
    /// Instance data.
    pub data: Value,
    /// Output once it ends or is about to.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub output: Value,
    /// Error once it ends or is about to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<Box<EffectError>>,
    /// Status to come while `completing`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ending: Option<Status>,
    /// Business key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub correlation: Option<Text>,
    /// Request or root that it was created for; absent when that is itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub correlation_id: Option<Text>,
    /// Its parent, when another instance started it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lineage: Option<Box<Lineage>>,
    /// Words that it is found by.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub tags: BTreeSet<Text>,
    /// Facts about it for people, by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<Text, Value>,
    /// Who started it, as `kind:id`; absent in histories from before it was kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created_by: Option<Text>,
    /// The person whom it is about, with whose key its values are sealed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<Text>,
    /// Where it comes from, when it is a fork.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub forked_from: Option<Box<Origin>>,
    /// Children that have not ended.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub children: BTreeMap<InstanceId, Child>,
    /// What history states remember.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub history: BTreeMap<Text, Vec<Text>>,
    /// Open timers, in the order they were set.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub timers: Vec<Timer>,
    /// Effect trees that still run, by the `seq` that started them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub trees: Vec<Tree>,
    /// Events kept for later, oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub deferred: Vec<(Text, Value)>,
    /// Budgets from which something was reserved or spent.
    #[serde(default, skip_serializing_if = "Budgets::is_empty")]
    pub budgets: Budgets,
    /// Open incidents.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub incidents: Vec<Incident>,
    /// Ends of attempts that wait until the instance is resumed, oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub held: Vec<Held>,
    /// It was ended without exit actions and compensation.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub terminated: bool,
    /// What takes the last upgrade back, as long as that is possible.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub undo: Option<Box<Upgraded>>,
    /// Transitions so far.
    pub transition_count: u64,
    /// Commit time of the last one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_transition_at: Option<Timestamp>,
    /// When it was created.
    pub created_at: Timestamp,
    /// Commit time of the last step.
    pub updated_at: Timestamp,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finished_at: Option<Timestamp>,
}

fn is_zero_u64(it: &u64) -> bool {
    *it == 0
}
