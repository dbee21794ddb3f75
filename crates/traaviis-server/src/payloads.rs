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

/// Leaves in an answer what somebody may see; returns what was masked, too.
pub(crate) fn shown(mut answer: Json, access: DataAccess) -> (Json, BTreeMap<PiiType, usize>) {
    let mut found = BTreeMap::new();
    match access.payloads {
        Payloads::Full => {}
        Payloads::Masked => each(&mut answer, &mut |it| {
            let value = Value::from(&*it);
            *it = match redact(&value, &Policy::all(PiiMode::Mask)) {
                Ok(redacted) => {
                    for (kind, count) in redacted.counts {
                        *found.entry(kind).or_default() += count;
                    }
                    Json::from(&redacted.value)
                }
                Err(_) => Json::from(WITHHELD),
            };
        }),
        Payloads::None => each(&mut answer, &mut |it| {
            if !it.is_null() {
                *it = Json::from(WITHHELD);
            }
        }),
    }
    (answer, found)
}

/// Visits everything that stands under one of the keys.
fn each(value: &mut Json, visit: &mut dyn FnMut(&mut Json)) {
    match value {
        Json::Object(map) => {
            for (key, value) in map {
                match HOLD.contains(&&**key) {
                    true => visit(value),
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
                "state": "open",
            })
        };
        let shown = |payloads| shown(answer(), DataAccess { payloads, pii_unmask: false }).0;
        assert_eq!(shown(Payloads::Full), answer());
        let masked = shown(Payloads::Masked);
        assert_eq!(masked["snapshot"]["data"], json!({ "mail": "[EMAIL]", "sum": 3 }));
        let none = shown(Payloads::None);
        assert_eq!(none["snapshot"]["data"], WITHHELD);
        assert_eq!((&none["snapshot"]["id"], &none["state"]), (&json!("7"), &json!("open")));
    }
}
