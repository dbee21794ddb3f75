//! `audit`: an entry for each transition and each refusal of a permission, chained by hashes.
//!
//! The chain is that of one instance: each entry carries the hash of the one before, so whoever
//! keeps the last hash of an export can tell whether an earlier entry was changed since.

use serde_json::{Value as Json, json};
use sha2::{Digest as _, Sha256};
use traaviis_model::{
    Body, Record, Value,
    definition::{Definition, Plugin},
};

/// Returns the entries of an instance; none when its document asks for no audit.
pub fn entries(definition: &Definition, records: &[Record]) -> Option<Vec<Json>> {
    let events = definition.plugins.iter().find_map(|it| match it {
        Plugin::Audit { events } => Some(events),
        _ => None,
    })?;
    let mut entries = Vec::new();
    let mut before = "0".repeat(64);
    for record in records {
        let (action, outcome, metadata) = match &record.body {
            Body::Transition { from, to, event, .. } if super::fits(events, event.as_ref()) => {
                let metadata =
                    json!({ "workflow": definition.name, "from": from, "to": to, "event": event });
                ("transition", "ok", metadata)
            }
            // What is around the node that was refused fails with the same error.
            Body::EffectFailed { path, error, .. }
                if &*error.code == "permission_denied" && error.path == *path =>
            {
                let metadata = json!({
                    "workflow": definition.name,
                    "effect": path,
                    "kind": error.kind,
                    "message": error.message,
                    "details": error.details,
                });
                ("effect", "denied", metadata)
            }
            _ => continue,
        };
        let header = &record.header;
        let mut entry = json!({
            "seq": header.seq,
            "timestamp": header.at,
            "tenant_id": header.tenant_id,
            "actor": header.actor,
            "action": action,
            "resource_type": "instance",
            "resource_id": header.instance_id,
            "outcome": outcome,
            "metadata": metadata,
            "prev_hash": before,
        });
        before = hash(&entry);
        entry["hash"] = json!(before);
        entries.push(entry);
    }
    Some(entries)
}

/// Returns the hash of an entry without its own: over JSON with sorted keys.
fn hash(entry: &Json) -> String {
    let sorted: Value = serde_json::from_value(entry.clone()).unwrap_or_default();
    Sha256::digest(sorted.to_json()).iter().map(|it| format!("{it:02x}")).collect()
}
