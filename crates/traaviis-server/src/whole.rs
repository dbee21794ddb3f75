//! Whole numbers that are written with a fraction or an exponent, such as `846.0` and `1e3`.
//!
//! JSON Schema takes them for integers, and so do programs that know no other numbers than floats;
//! serde does not. A body is read as it was sent first. Only where a field that asks for a whole
//! number refuses it, that one number is written as an integer, and the body is read again: what a
//! caller sends as data of their own never is, and stays what was sent.

use serde::de::DeserializeOwned;

/// Numbers of one body that are written anew; no request has more fields that are numbers.
const NUMBERS_MAX: usize = 16;
/// Largest whole number that everybody who reads JSON has exactly (RFC 8259).
const WHOLE_MAX: u64 = 1 << 53;
/// How serde begins to say it.
const REFUSED: &str = "invalid type: floating point";

/// Reads a body.
pub(crate) fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, serde_json::Error> {
    let mut refused = match serde_json::from_slice(body) {
        Err(error) if error.to_string().starts_with(REFUSED) => error,
        read => return read,
    };
    let mut body = body.to_vec();
    for _ in 0..NUMBERS_MAX {
        // What is no whole number is refused as it was first.
        let Some(()) = write_whole(&mut body, &refused) else { return Err(refused) };
        match serde_json::from_slice(&body) {
            Err(error) if error.to_string().starts_with(REFUSED) => refused = error,
            read => return read,
        }
    }
    Err(refused)
}

/// Writes the number behind which an error stands as an integer, if it is a whole one.
fn write_whole(body: &mut Vec<u8>, refused: &serde_json::Error) -> Option<()> {
    let lines = body.split_inclusive(|it| *it == b'\n');
    let line_begins: usize = lines.take(refused.line().checked_sub(1)?).map(<[u8]>::len).sum();
    let end = line_begins + refused.column();
    let before = body.get(..end)?;
    let is_part = |it: &u8| it.is_ascii_digit() || b"+-.eE".contains(it);
    let begin = end - before.iter().rev().take_while(|it| is_part(it)).count();
    let whole = whole(std::str::from_utf8(&before[begin..]).ok()?)?;
    body.splice(begin..end, whole.into_bytes());
    Some(())
}

/// Returns a JSON number as an integer, if it is one; by its digits, since a float may be rounded
/// to a whole number.
fn whole(number: &str) -> Option<String> {
    let (sign, number) = number.strip_prefix('-').map_or(("", number), |it| ("-", it));
    let (digits, exponent) = match number.split_once(['e', 'E']) {
        Some((digits, exponent)) => (digits, exponent.parse::<i32>().ok()?),
        None => (number, 0),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let digits = format!("{whole}{fraction}");
    let zeros = exponent.checked_sub(i32::try_from(fraction.len()).ok()?)?;
    let digits = match usize::try_from(zeros) {
        Ok(more) if more <= 16 => digits + &"0".repeat(more),
        Ok(_) => return None,
        Err(_) => {
            let less = usize::try_from(zeros.unsigned_abs()).ok()?;
            let (kept, cut) = digits.split_at(digits.len().saturating_sub(less));
            if cut.bytes().any(|it| it != b'0') {
                return None;
            }
            kept.to_owned()
        }
    };
    let value: u64 = if digits.is_empty() { 0 } else { digits.parse().ok()? };
    match value {
        0 => Some("0".into()),
        1..=WHOLE_MAX => Some(format!("{sign}{value}")),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;
    use serde_json::{Value as Json, json};

    use super::*;

    #[test]
    fn numbers_are_whole_by_their_digits() {
        for (number, expected) in [
            ("846.0", Some("846")),
            ("1e3", Some("1000")),
            ("1E+3", Some("1000")),
            ("1.25e2", Some("125")),
            ("1200e-2", Some("12")),
            ("-7.00", Some("-7")),
            ("-0.0", Some("0")),
            ("0e99", None),
            ("9007199254740992.0", Some("9007199254740992")),
            ("9007199254740993.0", None),
            ("4503599627370497.3", None),
            ("1.5", None),
            ("1e-3", None),
            ("1e17", None),
            ("1e99999999999", None),
        ] {
            assert_eq!(whole(number).as_deref(), expected, "{number}");
        }
    }

    #[derive(Debug, Deserialize)]
    struct Asked {
        count: u32,
        #[serde(default)]
        offset: Option<i64>,
        #[serde(default)]
        data: Json,
    }

    #[test]
    fn only_fields_that_ask_for_whole_numbers_are_read_so() {
        let body = b"{\"data\": {\"a\": 1.0, \"b\": 1e3},\n \"count\": 846.0,\n \"offset\":-2e1}";
        let read: Asked = read(body).unwrap();
        assert_eq!((read.count, read.offset), (846, Some(-20)));
        assert_eq!(read.data.to_string(), r#"{"a":1.0,"b":1000.0}"#);
        assert!(read.data["a"].is_f64() && read.data["b"].is_f64());
    }

    #[test]
    fn what_is_no_whole_number_is_refused_as_before() {
        for body in [r#"{"count": 1.5}"#, r#"{"count": 1e17}"#, r#"{"count": -1.0}"#] {
            read::<Asked>(body.as_bytes()).unwrap_err();
        }
        let error = read::<Asked>(br#"{"count": 1.5}"#).unwrap_err().to_string();
        assert!(error.starts_with("invalid type: floating point `1.5`"), "{error}");
    }

    #[test]
    fn a_body_with_too_many_of_them_is_refused() {
        let numbers = |count| json!(vec![1.0; count]).to_string();
        assert_eq!(read::<Vec<u8>>(numbers(NUMBERS_MAX).as_bytes()).unwrap().len(), NUMBERS_MAX);
        read::<Vec<u8>>(numbers(NUMBERS_MAX + 1).as_bytes()).unwrap_err();
    }
}
