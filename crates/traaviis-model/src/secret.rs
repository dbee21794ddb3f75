//! Names of secrets.

use crate::limits::SECRET_NAME_CHARS_MAX;

/// Says whether a text can name a secret: a small letter, then small letters, digits and `_`. A
/// name is also part of a path and of the name of an environment variable.
pub fn is_name(text: &str) -> bool {
    let is_inner = |it: char| it.is_ascii_lowercase() || it.is_ascii_digit() || it == '_';
    text.starts_with(|it: char| it.is_ascii_lowercase())
        && text.len() <= SECRET_NAME_CHARS_MAX
        && text.chars().all(is_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_plain_words() {
        let longest = "a".repeat(SECRET_NAME_CHARS_MAX);
        for name in ["a", "stripe_key", "k2", &longest] {
            assert!(is_name(name), "{name}");
        }
        for name in
            ["", "_a", "2a", "Key", "a-b", "../a", "a.b", "a\n", "ä", &format!("{longest}a")]
        {
            assert!(!is_name(name), "{name}");
        }
    }
}
