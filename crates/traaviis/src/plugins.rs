//! The plugins that documents ask for: what they make of committed records.
//!
//! Everything here is read off the log, so it can be asked for at any time, and says the same after
//! a crash. Nothing here is kept anywhere else.

pub mod audit;
pub mod metrics;

use serde_json::{Value as Json, json};
use traaviis_model::{
    Body, Record, Text, Value,
    definition::{Definition, Plugin},
    privacy::PiiMode,
};
use traaviis_policy::pii::{Policy, redact};

/// Returns the line that the logger of a document writes about a record.
pub fn log_line(definition: &Definition, record: &Record, data: &Value) -> Option<Json> {
    let logger = definition.plugins.iter().find_map(|it| match it {
        Plugin::Logger { level, include_data } => Some((level, *include_data)),
        _ => None,
    });
    let (level, include_data) = logger?;
    let Body::Transition { from, to, event, .. } = &record.body else { return None };
    let header = &record.header;
    let mut line = json!({
        "ts": header.at,
        "level": level,
        "target": "plugin.logger",
        "msg": "transition",
        "tenant_id": header.tenant_id,
        "instance_id": header.instance_id,
        "workflow": definition.name,
        "seq": header.seq,
        "from": from,
        "to": to,
        "event": event,
    });
    if include_data {
        // A log line is masked, whatever the records hold.
        let policy = Policy::all(PiiMode::Mask);
        let redacted = redact(data, &policy).map(|it| it.value);
        line["data"] = json!(redacted.unwrap_or_default());
    }
    Some(line)
}

/// Says whether descriptors, of which none means all, fit an event; `always` and the first entry
/// have none and fit only all.
fn fits(descriptors: &[Text], event: Option<&Text>) -> bool {
    if descriptors.is_empty() || descriptors.iter().any(|it| &**it == "*") {
        return true;
    }
    let Some(event) = event else { return false };
    descriptors.iter().any(|it| match it.strip_suffix(".*") {
        Some(prefix) => {
            event.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        }
        None => it == event,
    })
}
