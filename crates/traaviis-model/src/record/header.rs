//! What every record carries beside what happened.

use serde::{Deserialize, Serialize};

use super::{Origin, actor::Actor};
use crate::{
    ids::{DefinitionHash, InstanceId, Seq, TenantId, Text},
    time::Timestamp,
};

/// What every record of an instance carries.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// Tenant; repeated in each record, a mismatch stops the process.
    pub tenant_id: TenantId,
    /// Instance.
    pub instance_id: InstanceId,
    /// Number in the instance's history, dense from 1.
    pub seq: Seq,
    /// Schema version of the record.
    pub v: u32,
    /// Commit time of the step.
    pub at: Timestamp,
    /// Number of the step, dense from 1; records of one step are committed together or not at all.
    pub step: u64,
    /// Definition that decided.
    pub definition_hash: DefinitionHash,
    /// Who caused the step.
    pub actor: Actor,
    /// Record that caused the step, when it was not the step's own first record.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub causation_id: Option<Text>,
    /// Request or root that this belongs to; absent when it is the instance itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub correlation_id: Option<Text>,
    /// From where the act came that this record tells of; of the records of a step only the first
    /// can have it, and it has one if somebody outside did this through an interface.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<Box<Origin>>,
}
