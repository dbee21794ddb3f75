//! What somebody sees of the data of instances: all of it, with personal data masked, or nothing.

use std::collections::BTreeMap;

use serde_json::Value as Json;
use traaviis_model::{
    Value,
    privacy::{PiiMode, PiiType},
};
use traaviis_platform::tenant::{DataAccess, Payloads};
use traaviis_policy::pii::{Policy, redact};

/// Stands in the place of what is not shown.
const WITHHELD: &str = "[WITHHELD]";

/// Keys under which answers hold what callers, calls and expressions gave.
const HOLD: &[&str] = &[
    "data",
    "input",
    "output",
    "value",
    "form",
    "defaults",
    "details",
    "patch",
    "decision",
    "labels",
    "error",
    "description",
    "attachments",
    "deferred",
    "with",
    "do",
];

/// Keys under which texts of callers stand by which instances and tasks are found and told apart:
/// personal data in them is masked for whoever does not see it, and the rest stays.
const NAME: &[&str] =
    &["correlation", "correlation_id", "tags", "title", "comments", "comment", "reason"];

/// Leaves in an answer what somebody may see; returns what was masked, too.
pub(crate) fn shown(mut answer: Json, access: DataAccess) -> (Json, BTreeMap<PiiType, usize>) {
    let mut found = BTreeMap::new();
    if access.payloads == Payloads::Full {
        return (answer, found);
    }
    each(&mut answer, &mut |key, it| match access.payloads {
        Payloads::None if HOLD.contains(&key) => {
            if !it.is_null() {
                *it = Json::from(WITHHELD);
            }
        }
        _ => mask(it, &mut found),
    });
    (answer, found)
}

fn mask(it: &mut Json, found: &mut BTreeMap<PiiType, usize>) {
    *it = match redact(&Value::from(&*it), &Policy::all(PiiMode::Mask)) {
        Ok(redacted) => {
            for (kind, count) in redacted.counts {
                *found.entry(kind).or_default() += count;
            }
            Json::from(&redacted.value)
        }
        Err(_) => Json::from(WITHHELD),
    };
}

/// Visits everything that stands under one of the keys.
fn each(value: &mut Json, visit: &mut dyn FnMut(&str, &mut Json)) {
    match value {
        Json::Object(map) => {
            for (key, value) in map {
                match [HOLD, NAME].iter().any(|it| it.contains(&&**key)) {
                    true => visit(key, value),
                    false => each(value, visit),
                }
            }
        }
        Json::Array(items) => items.iter_mut().for_each(|it| each(it, visit)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn payloads_are_shown_masked_or_withheld() {
        let answer = || {
            json!({
                "snapshot": { "id": "7", "data": { "mail": "ada@example.org", "sum": 3 } },
                "state": "open", "tags": ["urgent", "bob@example.org"],
                "tasks": [{ "title": "Call ada@example.org", "description": "now" }],
            })
        };
        let shown = |payloads| shown(answer(), DataAccess { payloads, pii_unmask: false }).0;
        assert_eq!(shown(Payloads::Full), answer());
        let masked = shown(Payloads::Masked);
        assert_eq!(masked["snapshot"]["data"], json!({ "mail": "[EMAIL]", "sum": 3 }));
        assert_eq!(masked["tasks"][0], json!({ "title": "Call [EMAIL]", "description": "now" }));
        let none = shown(Payloads::None);
        let task = json!({ "title": "Call [EMAIL]", "description": WITHHELD });
        assert_eq!(none["tasks"][0], task);
        assert_eq!(none["tags"], json!(["urgent", "[EMAIL]"]));
        assert_eq!(none["snapshot"]["data"], WITHHELD);
        assert_eq!((&none["snapshot"]["id"], &none["state"]), (&json!("7"), &json!("open")));
    }
}
