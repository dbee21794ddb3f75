//! The one value type of data, events, effects and expressions.
//!
//! A value is a JSON value plus a few kinds that exist only while an expression runs (`Bytes`,
//! `Time`, `Span`, `Optional`, `Secret`). Cloning is cheap: text, lists and maps are shared and
//! copied on write. Maps are kept sorted by key, so equal values have equal bytes.

use std::{cmp::Ordering, fmt, sync::Arc};

use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{MapAccess, SeqAccess, Visitor},
    ser::{SerializeMap, SerializeSeq},
};

use crate::{
    ids::Text,
    time::{Span, Timestamp},
};

/// A JSON value, or an intermediate result of an expression.
#[derive(Clone, Debug, Default)]
pub enum Value {
    /// JSON null.
    #[default]
    Null,
    /// JSON true or false.
    Bool(bool),
    /// A whole number that fits 64 bits with sign.
    Int(i64),
    /// A whole number above `i64::MAX`, or a CEL `uint`.
    Uint(u64),
    /// Any other number; never NaN or infinite once it rests in data.
    Float(f64),
    /// Text.
    String(Text),
    /// Octets; base64 text in JSON. Only while an expression runs.
    Bytes(Arc<[u8]>),
    /// A point in time; RFC 3339 text in JSON. Only while an expression runs.
    Time(Timestamp),
    /// A length of time; text such as `90s` in JSON. Only while an expression runs.
    Span(Span),
    /// A value that may be absent (`a.?b`); null or the value in JSON. Only while an expression
    /// runs.
    Optional(Option<Arc<Value>>),
    /// A reference to a secret, resolved when the call leaves the process;
    /// `{"$secret": "NAME"}` in JSON.
    Secret(Text),
    /// A list.
    List(Arc<Vec<Value>>),
    /// A map with text keys.
    Map(Arc<Map>),
}

/// A map with text keys, sorted by key.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Map(Vec<(Text, Value)>);

impl Map {
    /// Returns an empty map.
    pub const fn new() -> Self {
        Map(Vec::new())
    }

    /// Returns the value of `key`.
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.find(key).ok().map(|at| &self.0[at].1)
    }

    /// Returns the value of `key` for change.
    pub fn get_mut(&mut self, key: &str) -> Option<&mut Value> {
        self.find(key).ok().map(|at| &mut self.0[at].1)
    }

    /// Sets `key` and returns what it held.
    pub fn insert(&mut self, key: impl Into<Text>, value: Value) -> Option<Value> {
        let key = key.into();
        match self.find(&key) {
            Ok(at) => Some(std::mem::replace(&mut self.0[at].1, value)),
            Err(at) => {
                self.0.insert(at, (key, value));
                None
            }
        }
    }

    /// Removes `key` and returns what it held.
    pub fn remove(&mut self, key: &str) -> Option<Value> {
        self.find(key).ok().map(|at| self.0.remove(at).1)
    }

    /// Says whether `key` is present.
    pub fn contains_key(&self, key: &str) -> bool {
        self.find(key).is_ok()
    }

    /// Returns the number of keys.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Says whether there are no keys.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Visits keys and values in key order.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (&Text, &Value)> + ExactSizeIterator {
        self.0.iter().map(|(key, value)| (key, value))
    }

    fn find(&self, key: &str) -> Result<usize, usize> {
        self.0.binary_search_by(|(have, _)| (**have).cmp(key))
    }
}

impl FromIterator<(Text, Value)> for Map {
    /// Collects pairs; the last of equal keys wins.
    fn from_iter<I: IntoIterator<Item = (Text, Value)>>(pairs: I) -> Self {
        let mut map = Map(pairs.into_iter().collect());
        if map.0.is_sorted_by(|a, b| a.0 < b.0) {
            return map;
        }
        map.0.sort_by(|a, b| a.0.cmp(&b.0));
        map.0.reverse();
        map.0.dedup_by(|later, earlier| later.0 == earlier.0);
        map.0.reverse();
        map
    }
}

impl Value {
    /// Returns an empty map.
    pub fn empty_map() -> Value {
        Value::Map(Arc::default())
    }

    /// Returns a map of the given pairs.
    pub fn map<K: Into<Text>>(pairs: impl IntoIterator<Item = (K, Value)>) -> Value {
        Value::Map(Arc::new(pairs.into_iter().map(|(key, value)| (key.into(), value)).collect()))
    }

    /// Returns a list of the given values.
    pub fn list(items: impl IntoIterator<Item = Value>) -> Value {
        Value::List(Arc::new(items.into_iter().collect()))
    }

    /// Says whether this is null.
    pub fn is_null(&self) -> bool {
        matches!(self, Value::Null)
    }

    /// Returns the text of a string.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Value::String(text) => Some(text),
            _ => None,
        }
    }

    /// Returns the truth value.
    pub fn as_bool(&self) -> Option<bool> {
        match self {
            Value::Bool(it) => Some(*it),
            _ => None,
        }
    }

    /// Returns a whole number.
    pub fn as_i64(&self) -> Option<i64> {
        match self {
            Value::Int(it) => Some(*it),
            Value::Uint(it) => i64::try_from(*it).ok(),
            Value::Float(it) if it.fract() == 0.0 && it.abs() < 9e15 => Some(*it as i64),
            _ => None,
        }
    }

    /// Returns any number.
    pub fn as_f64(&self) -> Option<f64> {
        match self {
            Value::Int(it) => Some(*it as f64),
            Value::Uint(it) => Some(*it as f64),
            Value::Float(it) => Some(*it),
            _ => None,
        }
    }

    /// Returns the items of a list.
    pub fn as_list(&self) -> Option<&[Value]> {
        match self {
            Value::List(items) => Some(items),
            _ => None,
        }
    }

    /// Returns the map.
    pub fn as_map(&self) -> Option<&Map> {
        match self {
            Value::Map(map) => Some(map),
            _ => None,
        }
    }

    /// Returns the value under `key` of a map.
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.as_map()?.get(key)
    }

    /// Returns the value at a dotted path of map keys and list positions.
    pub fn at_path(&self, path: &str) -> Option<&Value> {
        path.split('.').try_fold(self, |value, segment| match value {
            Value::Map(map) => map.get(segment),
            Value::List(items) => items.get(segment.parse::<usize>().ok()?),
            _ => None,
        })
    }

    /// Returns the value at an RFC 6901 pointer.
    pub fn at_pointer(&self, pointer: &str) -> Option<&Value> {
        if pointer.is_empty() {
            return Some(self);
        }
        pointer.strip_prefix('/')?.split('/').try_fold(self, |value, segment| {
            let segment = segment.replace("~1", "/").replace("~0", "~");
            match value {
                Value::Map(map) => map.get(&segment),
                Value::List(items) => items.get(segment.parse::<usize>().ok()?),
                _ => None,
            }
        })
    }

    /// Says whether a reference to a secret is somewhere inside.
    pub fn holds_secret(&self) -> bool {
        self.any(&|it| matches!(it, Value::Secret(_)))
    }

    /// Says whether something inside is no reference to a secret, but would read back from JSON as
    /// one.
    pub fn forges_secret(&self) -> bool {
        self.any(&|it| {
            it.as_map().is_some_and(|map| map.len() == 1 && map.get("$secret").is_some())
        })
    }

    /// Says whether a reference to a secret is somewhere inside, or what reads back as one.
    pub fn names_secret(&self) -> bool {
        self.holds_secret() || self.forges_secret()
    }

    /// Says whether `is` holds of this value or of one inside.
    fn any(&self, is: &impl Fn(&Value) -> bool) -> bool {
        is(self)
            || match self {
                Value::List(items) => items.iter().any(|it| it.any(is)),
                Value::Map(map) => map.iter().any(|(_, it)| it.any(is)),
                Value::Optional(Some(inner)) => inner.any(is),
                _ => false,
            }
    }

    /// Turns kinds that exist only in expressions into JSON kinds; secrets stay references.
    pub fn into_json(self) -> Value {
        match self {
            Value::Bytes(bytes) => Value::from(base64(&bytes)),
            Value::Time(at) => Value::from(at.to_string()),
            Value::Span(span) => Value::from(span.to_string()),
            Value::Optional(inner) => match inner {
                Some(inner) => (*inner).clone().into_json(),
                None => Value::Null,
            },
            Value::Float(it) if !it.is_finite() => Value::Null,
            Value::List(items) if items.iter().any(Value::is_transient) => {
                Value::list(items.iter().cloned().map(Value::into_json))
            }
            Value::Map(map) if map.iter().any(|(_, it)| it.is_transient()) => {
                Value::map(map.iter().map(|(key, value)| (key.clone(), value.clone().into_json())))
            }
            other => other,
        }
    }

    fn is_transient(&self) -> bool {
        match self {
            Value::Bytes(_) | Value::Time(_) | Value::Span(_) | Value::Optional(_) => true,
            Value::Float(it) => !it.is_finite(),
            Value::List(items) => items.iter().any(Value::is_transient),
            Value::Map(map) => map.iter().any(|(_, it)| it.is_transient()),
            _ => false,
        }
    }

    /// Returns the JSON text; keys in order, floats keep their point, so reading gives an equal
    /// value.
    pub fn to_json(&self) -> String {
        let mut out = Vec::new();
        self.write_json(&mut out);
        String::from_utf8(out).unwrap_or_default()
    }

    /// Appends the JSON text to `out`.
    pub fn write_json(&self, out: &mut Vec<u8>) {
        crate::json::value(self, out);
    }

    /// Returns the bytes this value takes as JSON, near enough for limits.
    pub fn json_len(&self) -> usize {
        match self {
            Value::Null => 4,
            Value::Bool(_) => 5,
            Value::Int(_) | Value::Uint(_) | Value::Float(_) => 8,
            Value::String(text) | Value::Secret(text) => text.len() + 2,
            Value::Bytes(bytes) => bytes.len() * 4 / 3 + 2,
            Value::Time(_) | Value::Span(_) => 30,
            Value::Optional(inner) => inner.as_ref().map_or(4, |it| it.json_len()),
            Value::List(items) => items.iter().map(|it| it.json_len() + 1).sum::<usize>() + 2,
            Value::Map(map) => {
                map.iter().map(|(key, it)| key.len() + 4 + it.json_len()).sum::<usize>() + 2
            }
        }
    }

    /// Returns the word for this kind of value, as used in messages.
    pub fn kind(&self) -> &'static str {
        match self {
            Value::Null => "null",
            Value::Bool(_) => "bool",
            Value::Int(_) => "int",
            Value::Uint(_) => "uint",
            Value::Float(_) => "double",
            Value::String(_) => "string",
            Value::Bytes(_) => "bytes",
            Value::Time(_) => "timestamp",
            Value::Span(_) => "duration",
            Value::Optional(_) => "optional",
            Value::Secret(_) => "secret",
            Value::List(_) => "list",
            Value::Map(_) => "map",
        }
    }
}

impl PartialEq for Value {
    /// Compares by value; numbers of different kinds are equal when they stand for the same number.
    fn eq(&self, other: &Value) -> bool {
        use Value::*;
        match (self, other) {
            (Null, Null) => true,
            (Bool(a), Bool(b)) => a == b,
            (Int(a), Int(b)) => a == b,
            (Uint(a), Uint(b)) => a == b,
            (Float(a), Float(b)) => a == b,
            (Int(_) | Uint(_) | Float(_), Int(_) | Uint(_) | Float(_)) => {
                compare_numbers(self, other) == Some(Ordering::Equal)
            }
            (String(a), String(b)) | (Secret(a), Secret(b)) => a == b,
            (Bytes(a), Bytes(b)) => a == b,
            (Time(a), Time(b)) => a == b,
            (Span(a), Span(b)) => a == b,
            (Optional(a), Optional(b)) => a == b,
            (List(a), List(b)) => a == b,
            (Map(a), Map(b)) => a == b,
            _ => false,
        }
    }
}

/// Compares two numbers of any kind exactly; none for NaN or what is no number.
pub fn compare_numbers(a: &Value, b: &Value) -> Option<Ordering> {
    use Value::*;
    match (a, b) {
        (Int(a), Int(b)) => Some(a.cmp(b)),
        (Uint(a), Uint(b)) => Some(a.cmp(b)),
        (Float(a), Float(b)) => a.partial_cmp(b),
        (Int(a), Uint(b)) => Some(i128::from(*a).cmp(&i128::from(*b))),
        (Uint(a), Int(b)) => Some(i128::from(*a).cmp(&i128::from(*b))),
        (Int(a), Float(b)) => compare_whole(i128::from(*a), *b),
        (Uint(a), Float(b)) => compare_whole(i128::from(*a), *b),
        (Float(a), Int(b)) => compare_whole(i128::from(*b), *a).map(Ordering::reverse),
        (Float(a), Uint(b)) => compare_whole(i128::from(*b), *a).map(Ordering::reverse),
        _ => None,
    }
}

fn compare_whole(whole: i128, float: f64) -> Option<Ordering> {
    if float.is_nan() {
        return None;
    }
    if float >= 1.8446744073709552e19 {
        return Some(Ordering::Less);
    }
    if float <= -9.3e18 {
        return Some(Ordering::Greater);
    }
    let floor = float.floor();
    Some(whole.cmp(&(floor as i128)).then(if float > floor {
        Ordering::Less
    } else {
        Ordering::Equal
    }))
}

/// Returns octets in the standard alphabet of base64, padded.
pub fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let word = u32::from(chunk[0]) << 16
            | u32::from(*chunk.get(1).unwrap_or(&0)) << 8
            | u32::from(*chunk.get(2).unwrap_or(&0));
        for at in 0..4 {
            if at <= chunk.len() {
                text.push(ALPHABET[(word >> (18 - 6 * at)) as usize & 63] as char);
            } else {
                text.push('=');
            }
        }
    }
    text
}

impl From<bool> for Value {
    fn from(it: bool) -> Self {
        Value::Bool(it)
    }
}
impl From<i64> for Value {
    fn from(it: i64) -> Self {
        Value::Int(it)
    }
}
impl From<f64> for Value {
    fn from(it: f64) -> Self {
        Value::Float(it)
    }
}
impl From<&str> for Value {
    fn from(it: &str) -> Self {
        Value::String(it.into())
    }
}
impl From<String> for Value {
    fn from(it: String) -> Self {
        Value::String(it.into())
    }
}
impl From<Text> for Value {
    fn from(it: Text) -> Self {
        Value::String(it)
    }
}
impl From<&serde_json::Value> for Value {
    fn from(it: &serde_json::Value) -> Self {
        match it {
            serde_json::Value::Null => Value::Null,
            serde_json::Value::Bool(it) => Value::Bool(*it),
            serde_json::Value::Number(it) => match (it.as_i64(), it.as_u64(), it.as_f64()) {
                (Some(it), ..) => Value::Int(it),
                (None, Some(it), _) => Value::Uint(it),
                (None, None, it) => Value::Float(it.unwrap_or_default()),
            },
            serde_json::Value::String(it) => Value::from(it.as_str()),
            serde_json::Value::Array(items) => Value::list(items.iter().map(Value::from)),
            serde_json::Value::Object(map) => {
                Value::map(map.iter().map(|(key, it)| (key.as_str(), Value::from(it))))
            }
        }
    }
}
impl From<&Value> for serde_json::Value {
    fn from(it: &Value) -> Self {
        serde_json::to_value(it).unwrap_or_default()
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_json())
    }
}

impl Serialize for Value {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match self {
            Value::Null => to.serialize_unit(),
            Value::Bool(it) => to.serialize_bool(*it),
            Value::Int(it) => to.serialize_i64(*it),
            Value::Uint(it) => to.serialize_u64(*it),
            Value::Float(it) => to.serialize_f64(*it),
            Value::String(it) => to.serialize_str(it),
            Value::Bytes(it) => to.serialize_str(&base64(it)),
            Value::Time(it) => to.collect_str(it),
            Value::Span(it) => to.collect_str(it),
            Value::Optional(Some(it)) => it.serialize(to),
            Value::Optional(None) => to.serialize_unit(),
            Value::Secret(name) => {
                let mut map = to.serialize_map(Some(1))?;
                map.serialize_entry("$secret", &**name)?;
                map.end()
            }
            Value::List(items) => {
                let mut seq = to.serialize_seq(Some(items.len()))?;
                for item in items.iter() {
                    seq.serialize_element(item)?;
                }
                seq.end()
            }
            Value::Map(it) => {
                let mut map = to.serialize_map(Some(it.len()))?;
                for (key, value) in it.iter() {
                    map.serialize_entry(&**key, value)?;
                }
                map.end()
            }
        }
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Reader;
        impl<'de> Visitor<'de> for Reader {
            type Value = Value;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON value")
            }
            fn visit_unit<E>(self) -> Result<Value, E> {
                Ok(Value::Null)
            }
            fn visit_none<E>(self) -> Result<Value, E> {
                Ok(Value::Null)
            }
            fn visit_some<D: Deserializer<'de>>(self, from: D) -> Result<Value, D::Error> {
                Value::deserialize(from)
            }
            fn visit_bool<E>(self, it: bool) -> Result<Value, E> {
                Ok(Value::Bool(it))
            }
            fn visit_i64<E>(self, it: i64) -> Result<Value, E> {
                Ok(Value::Int(it))
            }
            fn visit_u64<E>(self, it: u64) -> Result<Value, E> {
                Ok(i64::try_from(it).map_or(Value::Uint(it), Value::Int))
            }
            fn visit_f64<E>(self, it: f64) -> Result<Value, E> {
                Ok(Value::Float(it))
            }
            fn visit_str<E>(self, it: &str) -> Result<Value, E> {
                Ok(Value::from(it))
            }
            fn visit_string<E>(self, it: String) -> Result<Value, E> {
                Ok(Value::from(it))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
                let mut items = Vec::with_capacity(seq.size_hint().unwrap_or(0).min(4096));
                while let Some(item) = seq.next_element()? {
                    items.push(item);
                }
                Ok(Value::List(Arc::new(items)))
            }
            fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
                let mut pairs: Vec<(Text, Value)> = Vec::new();
                let mut sorted = true;
                while let Some((key, value)) = access.next_entry::<Text, Value>()? {
                    sorted = sorted && pairs.last().is_none_or(|(last, _)| *last < key);
                    pairs.push((key, value));
                }
                if let [(key, Value::String(name))] = pairs.as_slice()
                    && &**key == "$secret"
                {
                    return Ok(Value::Secret(name.clone()));
                }
                let map = if sorted { Map(pairs) } else { pairs.into_iter().collect() };
                Ok(Value::Map(Arc::new(map)))
            }
        }
        from.deserialize_any(Reader)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_round_trips_and_keeps_floats_apart_from_integers() {
        for text in [
            r#"{"a":[1,1.0,-2,18446744073709551615,"x\n",true,null],"b":{"c":{}}}"#,
            r#"{"$secret":"key"}"#,
            "1e300",
        ] {
            let value: Value = serde_json::from_str(text).unwrap();
            assert_eq!(value.to_json(), text.replace("1e300", "1e+300"));
        }
    }

    #[test]
    fn the_last_of_equal_keys_wins_and_keys_are_sorted() {
        let map: Value = serde_json::from_str(r#"{"b":1,"a":2,"b":3}"#).unwrap();
        assert_eq!(map.to_json(), r#"{"a":2,"b":3}"#);
    }

    #[test]
    fn numbers_of_different_kinds_compare_exactly() {
        assert_eq!(Value::Int(1), Value::Float(1.0));
        assert_ne!(Value::Int(9007199254740993), Value::Float(9007199254740992.0));
        assert_eq!(
            compare_numbers(&Value::Uint(u64::MAX), &Value::Int(-1)),
            Some(Ordering::Greater)
        );
        assert_eq!(compare_numbers(&Value::Int(-1), &Value::Float(-0.5)), Some(Ordering::Less));
    }

    #[test]
    fn bytes_become_base64() {
        assert_eq!(Value::Bytes(b"ab".as_slice().into()).to_json(), r#""YWI=""#);
        assert_eq!(Value::Bytes(b"abc".as_slice().into()).to_json(), r#""YWJj""#);
    }
}
