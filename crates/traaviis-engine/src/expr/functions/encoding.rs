//! Base64 and two measures of text, without a dependency of their own.

use std::cmp::Ordering;

/// Reads the standard and the URL-safe alphabet, with or without padding.
pub(super) fn base64_decode(text: &[u8]) -> Option<Vec<u8>> {
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
