//! Schedules and webhooks on the wire.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;
use uuid::Uuid;

use traaviis_model::form;

use crate::shape::{Also, Each, Words, map_or_null};

/// `POST /tenants/{t}/schedules`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ScheduleRequest {
    /// Name of the workflow that is started.
    pub workflow: String,
    /// Range of its versions; any when it is absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Cron pattern of 5 or 6 fields, or a word such as `@hourly`.
    #[schemars(length(min = 1))]
    pub cron: String,
    /// IANA name of the time zone; `UTC` when it is absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timezone: Option<String>,
    /// What each run starts with.
    #[serde(default, skip_serializing_if = "Json::is_null")]
    #[schemars(transform = Also(map_or_null))]
    pub input: Json,
    /// Key of the input under which a run finds the time that it is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1))]
    pub time_as: Option<String>,
    /// When a run is open still: `skip`, `queue`, `allow` or `cancel_running`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(transform = Words(form::OVERLAPS))]
    pub overlap: Option<String>,
    /// Runs that were missed: `latest`, `all` or `none`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(transform = Words(form::CATCH_UPS))]
    pub catch_up: Option<String>,
    /// How long ago a missed run may be, such as `1h`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = form::SPAN))]
    pub catch_up_window: Option<String>,
    /// Runs are put off by chance by up to so long, such as `30s`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = form::SPAN))]
    pub jitter: Option<String>,
}

/// `PATCH /tenants/{t}/schedules/{id}`: what is given replaces what was, and null leaves it out.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SchedulePatch(pub serde_json::Map<String, Json>);

/// The fields are those of a schedule that is made, of which none is needed.
impl JsonSchema for SchedulePatch {
    fn schema_name() -> Cow<'static, str> {
        "SchedulePatch".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let mut schema = ScheduleRequest::json_schema(generator);
        schema.remove("required");
        let told = "`PATCH /tenants/{t}/schedules/{id}`: what is given replaces what was, and null \
                    leaves it out.";
        schema.insert("description".into(), told.into());
        schema
    }
}

/// A schedule.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ScheduleAnswer {
    /// Identity.
    pub id: Uuid,
    /// What it starts, and when.
    pub input: Json,
    /// Instance that carries it out; its history tells every run.
    pub instance: Uuid,
    /// `running`, `paused`, or how the instance has ended.
    pub status: String,
    /// Runs that it has started.
    pub started: Json,
    /// Runs that were left out because one was open.
    pub skipped: Json,
    /// Runs that could not be started.
    pub failed: Json,
    /// The next times, on the clock of its zone.
    pub next: Vec<String>,
    /// When it was made.
    pub made_at: String,
    /// By whom.
    pub made_by: Uuid,
    /// When it was last changed.
    pub updated_at: String,
}

/// `POST /tenants/{t}/webhooks`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WebhookRequest {
    /// Where it is told: an address of `http` or `https`.
    #[schemars(regex(pattern = "^https?://"), length(max = form::URL_CHARS_MAX))]
    pub url: String,
    /// What is told, such as `emitted`, `finished` or `incident_opened`.
    #[schemars(transform = Each(Words(form::WEBHOOK_EVENTS)), length(min = 1))]
    pub events: Vec<String>,
    /// What it is for.
    #[serde(default)]
    pub description: Option<String>,
}

/// A webhook.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct WebhookAnswer {
    /// Identity.
    pub id: Uuid,
    /// Where it is told.
    pub url: String,
    /// What is told.
    pub events: Vec<String>,
    /// What it is for.
    pub description: Option<String>,
    /// `active`, or `gone` when the receiver has answered 410.
    pub status: String,
    /// Secret that signs what is told; only in the answer that makes it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<String>,
    /// When it was made.
    pub made_at: String,
    /// By whom.
    pub made_by: Uuid,
}

/// What became of one thing that was told.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct DeliveryAnswer {
    /// Number, by which it can be told again.
    pub id: u64,
    /// What was told.
    pub event: String,
    /// Instance.
    pub instance: Uuid,
    /// Record.
    pub seq: u64,
    /// Whether the receiver has taken it.
    pub delivered: bool,
    /// Attempts.
    pub attempts: u32,
    /// Status of the last answer.
    pub status: Option<u16>,
    /// Why there was none.
    pub error: Option<String>,
    /// When the last attempt was.
    pub at: String,
}

/// `POST /tenants/{t}/webhooks/{id}/redeliver`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RedeliverRequest {
    /// Number of the delivery.
    pub delivery: u64,
}

/// What was done with a message to a hook.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct HookAnswer {
    /// Instance that was started, or at which the event has arrived.
    pub instance: Uuid,
    /// How it has ended, where the hook answers with the result and it has ended in time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<String>,
    /// What it gave then.
    #[serde(default, skip_serializing_if = "Json::is_null")]
    pub output: Json,
    /// Code of the error that it ended with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}
