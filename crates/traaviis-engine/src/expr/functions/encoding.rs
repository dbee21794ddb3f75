//! Texts written another way and read back, and two measures of text.

use std::cmp::Ordering;

use sha2::{Digest, Sha256};

use traaviis_model::value::{Value, base64};

use super::{Function, conversion::json, wrong};
use crate::expr::eval::{Budget, Fault};

pub(super) fn encode(
    function: Function,
    value: &Value,
    budget: &mut Budget,
) -> Result<Value, Fault> {
    let name = function.name();
    if function == Function::JsonEncode {
        return json(value, budget).map(Value::from);
    }
    let octets: &[u8] = match value {
        Value::String(text) => text.as_bytes(),
        Value::Bytes(bytes) => bytes,
        other => return Err(wrong(name, "a text or bytes", other)),
    };
    budget.charge(5 + octets.len() / 4)?;
    match function {
        Function::JsonDecode => {
            budget.charge(octets.len() / 4)?;
            let decoded: Value = serde_json::from_slice(octets)
                .map_err(|error| Fault::other(format!("text is not JSON: {error}")))?;
            if decoded.names_secret() {
                return Err(Fault::other("decoded JSON names a secret, which text cannot do"));
            }
            Ok(decoded)
        }
        Function::Base64Encode => Ok(Value::from(base64(octets))),
        Function::Base64Decode => {
            let decoded =
                base64_decode(octets).ok_or_else(|| Fault::other("text is not base64"))?;
            Ok(match String::from_utf8(decoded) {
                Ok(text) => Value::from(text),
                Err(error) => Value::Bytes(error.into_bytes().into()),
            })
        }
        Function::Sha256 => Ok(Value::from(
            Sha256::digest(octets)
                .iter()
                .flat_map(|it| [it >> 4, it & 15])
                .filter_map(|it| char::from_digit(u32::from(it), 16))
                .collect::<String>(),
        )),
        _ => {
            let mut encoded = String::with_capacity(octets.len());
            for octet in octets {
                match octet {
                    b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                        encoded.push(char::from(*octet));
                    }
                    octet => {
                        const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
                        encoded.push('%');
                        encoded.push(char::from(DIGITS[usize::from(octet >> 4)]));
                        encoded.push(char::from(DIGITS[usize::from(octet & 15)]));
                    }
                }
            }
            Ok(Value::from(encoded))
        }
    }
}

/// Reads the standard and the URL-safe alphabet, with or without padding.
fn base64_decode(text: &[u8]) -> Option<Vec<u8>> {
    let text = text.trim_ascii();
    let end = text.iter().rposition(|it| *it != b'=').map_or(0, |at| at + 1);
    if text.len() - end > 2 || end % 4 == 1 {
        return None;
    }
    let mut octets = Vec::with_capacity(end * 3 / 4);
    for chunk in text[..end].chunks(4) {
        let mut word = 0u32;
        for digit in chunk {
            let value = match digit {
                b'A'..=b'Z' => digit - b'A',
                b'a'..=b'z' => digit - b'a' + 26,
                b'0'..=b'9' => digit - b'0' + 52,
                b'+' | b'-' => 62,
                b'/' | b'_' => 63,
                _ => return None,
            };
            word = word << 6 | u32::from(value);
        }
        word <<= 6 * (4 - chunk.len());
        octets.extend_from_slice(&word.to_be_bytes()[1..chunk.len()]);
    }
    Some(octets)
}

/// Returns about how many tokens a language model makes of a text.
///
/// Four letters a token for Latin scripts, one token a letter beyond them.
pub(crate) fn approx_tokens(text: &str) -> i64 {
    let (mut narrow, mut wide) = (0i64, 0i64);
    for letter in text.chars() {
        if (letter as u32) < 0x250 { narrow += 1 } else { wide += 1 }
    }
    (narrow + 3) / 4 + wide
}

/// Returns how many pairs of letters two texts share, 0 to 1 (Sørensen and Dice).
pub(super) fn similarity(a: &str, b: &str) -> f64 {
    fn pairs(text: &str) -> Vec<(char, char)> {
        let letters: Vec<char> = text.chars().flat_map(char::to_lowercase).collect();
        let mut pairs: Vec<_> = letters.windows(2).map(|it| (it[0], it[1])).collect();
        pairs.sort_unstable();
        pairs
    }
    if a.to_lowercase() == b.to_lowercase() {
        return 1.0;
    }
    let (left, right) = (pairs(a), pairs(b));
    let total = left.len() + right.len();
    if total == 0 {
        return 0.0;
    }
    let (mut i, mut j, mut shared) = (0, 0, 0usize);
    while let (Some(x), Some(y)) = (left.get(i), right.get(j)) {
        match x.cmp(y) {
            Ordering::Less => i += 1,
            Ordering::Greater => j += 1,
            Ordering::Equal => {
                shared += 1;
                i += 1;
                j += 1;
            }
        }
    }
    2.0 * shared as f64 / total as f64
}
