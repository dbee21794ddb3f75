//! Canonical JSON (RFC 8785) and the identity of a definition.
//!
//! Two documents that say the same have the same hash, whatever their format, order of keys or
//! layout. Numbers are written as JavaScript writes them, so whole numbers above 2^53 are rounded
//! to the nearest double, as the RFC demands.

use serde_json::Value as Json;
use sha2::{Digest, Sha256};

use crate::{
    document::{read, tree::Node},
    ids::DefinitionHash,
    json,
    value::Value,
};

/// Returns the canonical JSON text of a value.
pub fn canonical(value: &Value) -> String {
    let mut out = Vec::new();
    write(value, &mut out);
    // Everything that is written is text.
    String::from_utf8(out).unwrap_or_default()
}

/// Appends the canonical JSON text of a JSON object without one of its keys; of anything else all
/// of it. The same as [`canonical`] writes, without making a value first.
pub fn canonical_without(json: &Json, key: &str, out: &mut Vec<u8>) {
    match json {
        Json::Object(map) => write_object(map, Some(key), out),
        other => write_json(other, out),
    }
}

fn write_json(json: &Json, out: &mut Vec<u8>) {
    match json {
        Json::String(it) => json::text(it, out),
        Json::Array(items) => json::list(items, out, write_json),
        Json::Object(map) => write_object(map, None, out),
        Json::Null | Json::Bool(_) | Json::Number(_) => write(&Value::from(json), out),
    }
}

fn write_object(map: &serde_json::Map<String, Json>, but: Option<&str>, out: &mut Vec<u8>) {
    let mut entries: Vec<(&String, &Json)> = map.iter().collect();
    entries.retain(|it| Some(&**it.0) != but);
    // As a rule they stand in this order already.
    entries.sort_by(|(a, _), (b, _)| match a.is_ascii() && b.is_ascii() {
        true => a.cmp(b),
        false => a.encode_utf16().cmp(b.encode_utf16()),
    });
    json::object(entries.into_iter().map(|(key, it)| (&**key, it)), out, write_json);
}

/// Returns the identity of a document: SHA-256 of its canonical JSON without `x-` keys and
/// `layout`.
///
/// Takes the document as a map or as the JSON text that
/// [`Definition::document`](crate::definition::Definition::document) holds. An `x-` key is left out
/// where the language has keys of its own; where keys are names or data (states, headers,
/// arguments) it is an ordinary key and counts.
pub fn definition_hash(document: &Value) -> DefinitionHash {
    let node = match document {
        Value::String(text) => super::json::parse(text).node,
        _ => Some(Node::from_value(document)),
    };
    match node {
        Some(node) => read::hash(&node),
        None => hash_of(document),
    }
}

/// Returns the SHA-256 of the canonical JSON of a value.
pub(crate) fn hash_of(value: &Value) -> DefinitionHash {
    DefinitionHash(Sha256::digest(canonical(value).as_bytes()).into())
}

fn write(value: &Value, out: &mut Vec<u8>) {
    match value {
        Value::Int(it) if it.unsigned_abs() > 1 << 53 => write_float(*it as f64, out),
        Value::Uint(it) if *it > 1 << 53 => write_float(*it as f64, out),
        Value::Float(it) => write_float(*it, out),
        Value::List(items) => json::list(items.as_slice(), out, write),
        Value::Map(map) if map.iter().all(|(key, _)| key.is_ascii()) => {
            // They stand in the order of their octets, which is that of their code units.
            json::object(map.iter().map(|(key, it)| (&**key, it)), out, write);
        }
        Value::Map(map) => {
            let mut entries: Vec<_> = map.iter().collect();
            entries.sort_by(|(a, _), (b, _)| a.encode_utf16().cmp(b.encode_utf16()));
            json::object(entries.into_iter().map(|(key, it)| (&**key, it)), out, write);
        }
        _ => json::value(value, out),
    }
}

fn write_float(it: f64, out: &mut Vec<u8>) {
    let mut digits = ryu_js::Buffer::new();
    let text = if it.is_finite() { digits.format_finite(it) } else { "null" };
    out.extend_from_slice(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: &str) {
        // Not through serde_json, which reads some numbers one digit off.
        let node = crate::document::json::parse(text).node.unwrap();
        assert_eq!(canonical(&node.to_value()), expected);
    }

    #[test]
    fn json_is_written_as_the_value_that_it_stands_for() {
        for text in [
            "null",
            "[1,-7,0.5,1e21,18446744073709551615,9007199254740993]",
            r#"{"b":{"z":[],"a":{}},"a":"é\u0001\"\\/","hash":7,"€":1,"\r":2,"😀":3,"ö":4,"דּ":5}"#,
            r#"{"a":{"hash":1}}"#,
        ] {
            let mut json: Json = serde_json::from_str(text).unwrap();
            let mut out = Vec::new();
            canonical_without(&json, "hash", &mut out);
            json.as_object_mut().map(|it| it.remove("hash"));
            assert_eq!(String::from_utf8(out).unwrap(), canonical(&Value::from(&json)), "{text}");
        }
    }

    #[test]
    fn the_example_of_the_rfc_comes_out() {
        check(
            r#"{"numbers":[333333333.33333329,1E30,4.50,2e-3,0.000000000000000000000000001],
                "string":"\u20ac$\u000F\u000aA'\u0042\u0022\u005c\\\"\/","literals":[null,true,false]}"#,
            "{\"literals\":[null,true,false],\"numbers\":[333333333.3333333,1e+30,4.5,0.002,1e-27],\"string\":\"€$\\u000f\\nA'B\\\"\\\\\\\\\\\"/\"}",
        );
    }

    #[test]
    fn keys_sort_by_utf_16_code_units() {
        check(
            r#"{"\u20ac":1,"\r":2,"\ufb33":3,"1":4,"\ud83d\ude00":5,"\u0080":6,"\u00f6":7}"#,
            "{\"\\r\":2,\"1\":4,\"\u{80}\":6,\"ö\":7,\"€\":1,\"😀\":5,\"\u{fb33}\":3}",
        );
    }

    #[test]
    fn numbers_are_written_as_in_javascript() {
        check(
            "[0,-0,-0.0,1.0,1e21,1e20,9007199254740993,-9007199254740993,18446744073709551615,5e-324]",
            "[0,0,0,1,1e+21,100000000000000000000,9007199254740992,-9007199254740992,18446744073709552000,5e-324]",
        );
    }
}
