//! JSON text written straight into a buffer, byte for byte what `serde_json` writes.
//!
//! Records and values become text on the hot path, where going through a serializer that looks at
//! every byte of every key costs as much as the step itself. What is rare is left to `serde_json`.

use uuid::Uuid;

use crate::{ids::Text, time::Timestamp, value::Value};

/// Appends text with its quotes.
pub(crate) fn text(text: &str, out: &mut Vec<u8>) {
    if !is_plain(text.as_bytes()) {
        return rare(text, out);
    }
    out.push(b'"');
    out.extend_from_slice(text.as_bytes());
    out.push(b'"');
}

/// Appends a list of texts.
pub(crate) fn texts(texts: &[Text], out: &mut Vec<u8>) {
    list(texts, out, |it, out| text(it, out));
}

/// Appends a list.
pub(crate) fn list<T>(items: &[T], out: &mut Vec<u8>, mut write: impl FnMut(&T, &mut Vec<u8>)) {
    out.push(b'[');
    for (at, item) in items.iter().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        write(item, out);
    }
    out.push(b']');
}

/// Appends an object with these keys, in this order.
pub(crate) fn object<'a, T: 'a>(
    entries: impl Iterator<Item = (&'a str, &'a T)>,
    out: &mut Vec<u8>,
    mut write: impl FnMut(&T, &mut Vec<u8>),
) {
    out.push(b'{');
    for (at, (key, item)) in entries.enumerate() {
        if at > 0 {
            out.push(b',');
        }
        text(key, out);
        out.push(b':');
        write(item, out);
    }
    out.push(b'}');
}

/// Appends a whole number.
pub(crate) fn number(number: impl itoa::Integer, out: &mut Vec<u8>) {
    out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}

/// Appends an id without quotes.
pub(crate) fn uuid(id: &Uuid, out: &mut Vec<u8>) {
    let mut digits = [0; 36];
    out.extend_from_slice(id.hyphenated().encode_lower(&mut digits).as_bytes());
}

/// Appends a point in time with its quotes.
pub(crate) fn time(at: Timestamp, out: &mut Vec<u8>) {
    let Some(digits) = at.digits() else { return rare(&at, out) };
    out.push(b'"');
    out.extend_from_slice(&digits);
    out.push(b'"');
}

/// Appends a value.
pub(crate) fn value(value: &Value, out: &mut Vec<u8>) {
    match value {
        Value::Null => out.extend_from_slice(b"null"),
        Value::Bool(true) => out.extend_from_slice(b"true"),
        Value::Bool(false) => out.extend_from_slice(b"false"),
        Value::Int(it) => number(*it, out),
        Value::Uint(it) => number(*it, out),
        Value::String(it) => text(it, out),
        Value::List(items) => list(items.as_slice(), out, self::value),
        Value::Map(it) => object(it.iter().map(|(key, it)| (&**key, it)), out, self::value),
        Value::Float(_)
        | Value::Bytes(_)
        | Value::Time(_)
        | Value::Span(_)
        | Value::Optional(_)
        | Value::Secret(_) => rare(value, out),
    }
}

/// Appends what is not worth a way of its own.
pub(crate) fn rare<T: serde::Serialize + ?Sized>(it: &T, out: &mut Vec<u8>) {
    // Writing to a vector cannot fail and no key is anything but text.
    let written = serde_json::to_writer(out, it);
    debug_assert!(written.is_ok());
}

/// Says whether text stands in JSON as it is: no control characters, quotes or backslashes.
fn is_plain(bytes: &[u8]) -> bool {
    const ONES: u64 = u64::MAX / 255;
    const TOPS: u64 = ONES * 0x80;
    // Whether one of eight bytes is below 0x20, or zero; bytes from 0x80 on are never.
    let below = |word: u64, limit: u64| word.wrapping_sub(ONES * limit) & !word & TOPS;
    let (words, rest) = bytes.as_chunks::<8>();
    let is_special = |word: &[u8; 8]| {
        let word = u64::from_le_bytes(*word);
        let quotes = below(word ^ (ONES * u64::from(b'"')), 1);
        let slashes = below(word ^ (ONES * u64::from(b'\\')), 1);
        below(word, 0x20) | quotes | slashes != 0
    };
    !words.iter().any(is_special) && !rest.iter().any(|it| *it < 0x20 || matches!(it, b'"' | b'\\'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Span;

    fn check(it: &Value) {
        let mut out = Vec::new();
        value(it, &mut out);
        assert_eq!(String::from_utf8(out).unwrap(), serde_json::to_string(it).unwrap());
    }

    #[test]
    fn every_character_is_written_as_serde_json_does() {
        for character in (0..0x250).chain([0x2028, 0xd7ff, 0xfffd, 0x1f600]) {
            let Some(character) = char::from_u32(character) else { continue };
            for length in 0..20 {
                for at in [0, length / 2, length] {
                    let mut text = "a".repeat(length);
                    text.insert(at, character);
                    check(&Value::from(text.as_str()));
                }
            }
        }
    }

    #[test]
    fn every_kind_of_value_is_written_as_serde_json_does() {
        let leaves = [
            Value::Null,
            Value::Bool(true),
            Value::Bool(false),
            Value::Int(i64::MIN),
            Value::Int(7),
            Value::Uint(u64::MAX),
            Value::Float(0.1),
            Value::Float(1.0),
            Value::Float(1e300),
            Value::from(""),
            Value::from("a \"b\" \\ c\n"),
            Value::Bytes([1, 2, 3].into()),
            Value::Time(Timestamp(1)),
            Value::Span(Span(90_000_000)),
            Value::Optional(None),
            Value::Optional(Some(Value::Int(1).into())),
            Value::Secret("KEY".into()),
            Value::empty_map(),
            Value::list([]),
        ];
        leaves.iter().for_each(check);
        let all = Value::list(leaves.clone());
        check(&all);
        check(&Value::map([("list", all), ("a\"b", leaves[4].clone()), ("", leaves[9].clone())]));
    }
}
