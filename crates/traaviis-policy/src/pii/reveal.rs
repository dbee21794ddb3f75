//! Tokens turned back into what they stand for.

use std::collections::BTreeMap;

use traaviis_model::privacy::{PiiType, RedactionKey};

use super::{keyed::Keyed, tokens};

/// A text with its tokens turned back.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Revealed {
    /// The text.
    pub text: String,
    /// How many tokens of each type were turned back.
    pub counts: BTreeMap<PiiType, usize>,
    /// Tokens that this key has not made; they stay as they are.
    pub strange: usize,
}

/// Turns back the tokens in a text that a key has made.
pub fn reveal(text: &str, key: &RedactionKey) -> Revealed {
    let keyed = Keyed::new(key);
    let mut revealed = Revealed::default();
    let mut from = 0;
    for (start, end) in tokens::tokens(text) {
        revealed.text.push_str(&text[from..start]);
        match keyed.revealed(&text[start..end]) {
            Some((kind, plain)) => {
                *revealed.counts.entry(kind).or_default() += 1;
                revealed.text.push_str(&plain);
            }
            None => {
                revealed.strange += 1;
                revealed.text.push_str(&text[start..end]);
            }
        }
        from = end;
    }
    revealed.text.push_str(&text[from..]);
    revealed
}
