//! Jobs on the wire.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;
use uuid::Uuid;

use super::views::InstanceFilter;

/// `POST /tenants/{t}/instances/bulk`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BulkRequest {
    /// What is done to each: `{"action": "cancel", "terminate": false}`, `{"action": "pause"}`,
    /// `resume`, `retry`, `{"action": "skip", "value": ..}`, `{"action": "send", "event": NAME,
    /// "data": ..}`, `{"action": "edit", "patch": [..]}`, `{"action": "move", "to": [..]}` or
    /// `{"action": "tag", "add": [..], "remove": [..]}`.
    pub operation: Json,
    /// Which instances.
    pub filter: InstanceFilter,
    /// Why; kept in each history.
    #[serde(default)]
    pub reason: Option<String>,
    /// Instances in a second, 1 to 1,000; 50 when it is absent.
    #[serde(default)]
    pub rate: Option<u32>,
    /// Refusals after which the job pauses; 10 when it is absent.
    #[serde(default)]
    pub max_failures: Option<u32>,
    /// Only count the instances.
    #[serde(default)]
    pub dry_run: bool,
}

/// How far a job has come.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct JobProgress {
    /// Instances that are meant.
    pub total: u32,
    /// Instances that were done or have refused.
    pub done: u32,
    /// Instances that have refused.
    pub refused: u32,
}

/// A job.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct JobAnswer {
    /// Identity; of none when it is only a dry run.
    pub id: Option<Uuid>,
    /// `bulk` or `upgrade`.
    pub kind: String,
    /// `planned`, `running`, `paused`, `done`, `cancelled` or `failed`.
    pub status: String,
    /// How far it has come.
    pub progress: JobProgress,
    /// What it is about.
    pub about: Json,
    /// What it has led to: the first instances that have refused.
    pub result: Json,
    /// Why it pauses or has failed.
    pub error: Option<String>,
    /// When it was made.
    pub made_at: Option<String>,
    /// When something last changed.
    pub updated_at: Option<String>,
    /// When it was over.
    pub ended_at: Option<String>,
}

/// `POST /tenants/{t}/workflows/{name}/upgrade-plan`.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct UpgradePlanRequest {
    /// Published version to go on with; the newest one when it is absent.
    #[serde(default)]
    pub version: Option<String>,
    /// Percent that go first, 1 to 50; 5 when it is absent, and 0 for all at once.
    #[serde(default)]
    pub canary_percent: Option<u8>,
    /// Seconds for which those are watched before the others follow; 600 when it is absent.
    #[serde(default)]
    pub hold_s: Option<u32>,
    /// Instances in a second, 1 to 1,000; 50 when it is absent.
    #[serde(default)]
    pub rate: Option<u32>,
}
