//! An event that an instance published, as subscribers hear of it.

use serde::{Deserialize, Serialize};

use crate::{
    ids::{InstanceId, Seq, Text},
    record::{Body, Record},
    time::Timestamp,
    value::Value,
};

/// An event that an instance published: its record `emitted`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Emission {
    /// The instance.
    pub publisher: InstanceId,
    /// Its workflow.
    pub workflow: Text,
    /// The record.
    pub seq: Seq,
    /// When.
    pub at: Timestamp,
    /// Name of the event.
    pub event: Text,
    /// Payload.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub data: Value,
    /// Subject.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<Text>,
    /// Request or root of the step; absent when that is the publisher.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub correlation_id: Option<Text>,
}

impl Emission {
    /// Returns what a record of an instance of `workflow` publishes, if anything.
    pub fn of(record: &Record, workflow: &Text) -> Option<Emission> {
        let Body::Emitted { event, data, subject } = &record.body else { return None };
        Some(Emission {
            publisher: record.header.instance_id,
            workflow: workflow.clone(),
            seq: record.header.seq,
            at: record.header.at,
            event: event.clone(),
            data: data.clone(),
            subject: subject.clone(),
            correlation_id: record.header.correlation_id.clone(),
        })
    }

    /// Returns its name as subscribers know it: the deduplication id, and the cause of what
    /// follows.
    pub fn id(&self) -> Text {
        format!("{}:{}", self.publisher, self.seq).into()
    }

    /// Returns the request or root that it belongs to.
    pub fn belongs_to(&self) -> Text {
        self.correlation_id.clone().unwrap_or_else(|| self.publisher.to_string().into())
    }
}
