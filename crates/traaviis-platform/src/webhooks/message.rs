//! What is told to a webhook, and its signature (Standard Webhooks 1.0, HMAC-SHA256).
//!
//! A message says what happened and where to look; values of instances stay here, but for those
//! that a workflow emits, which are made for the outside.

use aws_lc_rs::hmac;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value as Json, json};
use traaviis_model::{Body, InstanceId, Record, Seq, Text, Timestamp};
use traaviis_ports::Position;

use crate::alerts::ALERT;

/// Something that is told.
#[derive(Clone, Debug, PartialEq)]
pub struct Message {
    /// Position of the record in the log.
    pub position: Position,
    /// Instance.
    pub instance: InstanceId,
    /// Record.
    pub seq: Seq,
    /// Kind of the record.
    pub kind: Text,
    /// The body, as it is signed.
    pub body: String,
}

impl Message {
    /// Returns what is told of a record.
    pub fn of(record: &Record, position: Position) -> Message {
        let header = &record.header;
        let kind = told_as(record);
        let mut data = json!({
            "tenant_id": header.tenant_id,
            "instance": header.instance_id,
            "seq": header.seq,
        });
        let mut put = |key: &str, value: Json| data[key] = value;
        match &record.body {
            Body::Created { workflow, version, .. } => {
                put("workflow", json!(workflow));
                put("version", json!(version));
            }
            Body::Transition { from, to, event, .. } => {
                put("from", json!(from));
                put("to", json!(to));
                put("event", json!(event));
            }
            Body::Emitted { event, data, subject, .. } => {
                put("event", json!(event));
                put("data", json!(data));
                put("subject", json!(subject));
            }
            Body::Finished { status, .. } => put("status", json!(status)),
            Body::DocumentPut { body, .. } if kind == ALERT => {
                let alert = Json::from(body);
                data = json!({ "tenant_id": header.tenant_id });
                for key in ["id", "rule", "rule_id", "severity", "message", "at", "value"] {
                    data[key] = alert[key].clone();
                }
            }
            _ => {}
        }
        let body = json!({
            "type": format!("traaviis.{kind}"),
            "timestamp": header.at,
            "data": data,
        });
        let (instance, seq) = (header.instance_id, header.seq);
        Message { position, instance, seq, kind: kind.into(), body: body.to_string() }
    }

    /// Returns the id by which a receiver knows a repetition.
    pub fn id(&self) -> String {
        format!("msg_{}_{}", self.instance.0.simple(), self.seq)
    }

    /// Returns the headers of an attempt.
    pub fn headers(&self, secret: &[u8], now: Timestamp) -> [(&'static str, String); 3] {
        let (id, at) = (self.id(), now.0 / 1_000_000);
        let signature = sign(secret, &id, at, &self.body);
        [
            ("webhook-id", id),
            ("webhook-timestamp", at.to_string()),
            ("webhook-signature", signature),
        ]
    }
}

/// Returns what a record is told as: its kind, or the document that it puts for the first time.
pub fn told_as(record: &Record) -> &'static str {
    match &record.body {
        // Whoever acknowledges an alert puts it once more.
        Body::DocumentPut { document, body, .. }
            if &**document == ALERT
                && body.get("id").is_some()
                && body.get("acknowledged_at").is_none() =>
        {
            ALERT
        }
        body => body.kind(),
    }
}

fn sign(secret: &[u8], id: &str, at: i64, body: &str) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
    let tag = hmac::sign(&key, format!("{id}.{at}.{body}").as_bytes());
    format!("v1,{}", STANDARD.encode(tag.as_ref()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of the specification.
    #[test]
    fn a_signature_is_that_of_the_specification() {
        let secret = STANDARD.decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        let body = r#"{"test": 2432232314}"#;
        let signed = sign(&secret, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, body);
        assert_eq!(signed, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }
}
