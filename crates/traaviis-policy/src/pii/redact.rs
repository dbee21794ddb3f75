//! Redaction: what is found is replaced, and the shape of the value stays.

use std::{collections::BTreeMap, fmt};

use sha2::{Digest, Sha256};
use traaviis_model::{
    Map, Text, Value,
    privacy::{PiiMode, PiiType},
};

use super::{Span, number_spans, spans};

/// Rounds after which a text must hold nothing more; a replacement can change what a word beside
/// it says, and each round replaces something.
const ROUNDS_MAX: usize = 4;

/// What makes digests and tokens of one tenant differ from those of another.
#[derive(Clone, PartialEq, Eq)]
pub struct Key(pub [u8; 32]);

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(..)")
    }
}

/// A place that is redacted by name.
#[derive(Clone, Debug, PartialEq)]
pub struct Target {
    /// JSON pointer from the root of the value.
    pub pointer: Text,
    /// All that stands there is this. None: it is looked through for every type.
    pub kind: Option<PiiType>,
}

/// What is replaced, and by what.
#[derive(Clone, Debug, PartialEq)]
pub struct Policy {
    /// What is done with a finding.
    pub mode: PiiMode,
    /// Types that are looked for in the whole value.
    pub types: Vec<PiiType>,
    /// Places that are redacted beside them.
    pub targets: Vec<Target>,
    /// For digests and tokens; without one they are masks, which tell less.
    pub key: Option<Key>,
}

impl Policy {
    /// Looks for every type in the whole value.
    pub fn all(mode: PiiMode) -> Policy {
        Policy { mode, types: PiiType::ALL.to_vec(), targets: Vec::new(), key: None }
    }
}

/// A value after redaction.
#[derive(Clone, Debug, PartialEq)]
pub struct Redacted {
    /// The value.
    pub value: Value,
    /// How often each type was found.
    pub counts: BTreeMap<PiiType, usize>,
}

/// The value holds what [`PiiMode::Block`] refuses.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("personal data of type {} must not be here", words(types))]
pub struct Blocked {
    /// What it holds.
    pub types: Vec<PiiType>,
}

fn words(types: &[PiiType]) -> String {
    let words: Vec<String> = types.iter().map(|it| format!("`{}`", it.as_str())).collect();
    words.join(", ")
}

/// Redacts the texts of a value, and the numbers whose key or check digits make them personal.
pub fn redact(value: &Value, policy: &Policy) -> Result<Redacted, Blocked> {
    let mut work = Work { policy, counts: BTreeMap::new() };
    let mut value = value.clone();
    // First, so that a named place gets the type that the document names.
    for target in &policy.targets {
        let path: Vec<String> = target
            .pointer
            .split('/')
            .skip(1)
            .map(|it| it.replace("~1", "/").replace("~0", "~"))
            .collect();
        value = work.target(value, &path, target.kind);
    }
    if !policy.types.is_empty() {
        value = work.value(&value, &mut Vec::new(), &policy.types);
    }
    work.done(value)
}

/// Redacts text that stands alone; of a policy that blocks it is masked.
pub fn redact_text(text: &str, policy: &Policy) -> String {
    let mut work = Work { policy, counts: BTreeMap::new() };
    work.text(text, &[], &policy.types).unwrap_or_else(|| text.to_string())
}

struct Work<'p> {
    policy: &'p Policy,
    counts: BTreeMap<PiiType, usize>,
}

impl Work<'_> {
    fn done(self, value: Value) -> Result<Redacted, Blocked> {
        if self.policy.mode == PiiMode::Block && !self.counts.is_empty() {
            return Err(Blocked { types: self.counts.into_keys().collect() });
        }
        Ok(Redacted { value, counts: self.counts })
    }

    fn target(&mut self, value: Value, path: &[String], kind: Option<PiiType>) -> Value {
        let Some((step, rest)) = path.split_first() else {
            return match kind {
                Some(kind) => self.whole(value, kind),
                None => self.value(&value, &mut Vec::new(), PiiType::ALL),
            };
        };
        // The key above tells what stands under it, as it does for the whole value.
        match value {
            Value::Map(mut map) => {
                let Some(item) = map.get(step).cloned() else { return Value::Map(map) };
                let item = match (rest, kind) {
                    ([], None) => self.value(&item, &mut vec![step], PiiType::ALL),
                    _ => self.target(item, rest, kind),
                };
                std::sync::Arc::make_mut(&mut map).insert(step.as_str(), item);
                Value::Map(map)
            }
            Value::List(mut items) => {
                let at = step.parse::<usize>().ok().filter(|at| *at < items.len());
                if let Some(at) = at {
                    let item = std::sync::Arc::make_mut(&mut items);
                    item[at] = self.target(std::mem::take(&mut item[at]), rest, kind);
                }
                Value::List(items)
            }
            other => other,
        }
    }

    /// Replaces every text and number of a value.
    fn whole(&mut self, value: Value, kind: PiiType) -> Value {
        match value {
            Value::String(text) if text.is_empty() || is_redacted(&text) => Value::String(text),
            Value::String(text) => self.replacement(&text, kind).into(),
            Value::Int(_) | Value::Uint(_) | Value::Float(_) => {
                self.replacement(&value.to_json(), kind).into()
            }
            Value::List(items) => Value::list(items.iter().map(|it| self.whole(it.clone(), kind))),
            Value::Map(map) => {
                let items = map.iter().map(|(key, it)| (key.clone(), self.whole(it.clone(), kind)));
                Value::Map(items.collect::<Map>().into())
            }
            other => other,
        }
    }

    fn value<'v>(&mut self, value: &'v Value, path: &mut Vec<&'v str>, types: &[PiiType]) -> Value {
        match value {
            Value::String(text) => match self.text(text, path, types) {
                Some(text) => text.into(),
                None => value.clone(),
            },
            Value::Int(_) | Value::Uint(_) => {
                let text = value.to_json();
                let found = number_spans(&text, path);
                match found.iter().filter_map(|it| it.kind).find(|it| types.contains(it)) {
                    Some(kind) => self.replacement(&text, kind).into(),
                    None => value.clone(),
                }
            }
            Value::List(items) => Value::list(items.iter().map(|it| self.value(it, path, types))),
            Value::Map(map) => {
                let mut redacted = Map::new();
                for (key, item) in map.iter() {
                    path.push(key);
                    redacted.insert(key.clone(), self.value(item, path, types));
                    path.pop();
                }
                Value::Map(redacted.into())
            }
            other => other.clone(),
        }
    }

    /// Redacts a text; none when it holds nothing.
    fn text(&mut self, text: &str, path: &[&str], types: &[PiiType]) -> Option<String> {
        let mut redacted: Option<String> = None;
        for _ in 0..ROUNDS_MAX {
            let now = redacted.as_deref().unwrap_or(text);
            let mut found = spans(now, path);
            found.retain(|it| it.kind.is_some_and(|kind| types.contains(&kind)));
            if found.is_empty() {
                break;
            }
            redacted = Some(self.replaced(now, &found));
        }
        redacted
    }

    fn replaced(&mut self, text: &str, found: &[Span]) -> String {
        let mut redacted = String::with_capacity(text.len());
        let mut from = 0;
        for span in found {
            let Some(kind) = span.kind else { continue };
            redacted.push_str(&text[from..span.start]);
            redacted.push_str(&self.replacement(&text[span.start..span.end], kind));
            from = span.end;
        }
        redacted.push_str(&text[from..]);
        redacted
    }

    fn replacement(&mut self, text: &str, kind: PiiType) -> String {
        *self.counts.entry(kind).or_default() += 1;
        let word = kind.as_str();
        match (self.policy.mode, &self.policy.key) {
            (PiiMode::Drop, _) => String::new(),
            (PiiMode::Partial, _) => partial(text, kind).unwrap_or_else(|| format!("[{word}]")),
            (PiiMode::Hash, Some(key)) => format!("[{word}#{}]", digest(key, "hash", kind, text)),
            (PiiMode::Tokenise, Some(key)) => {
                format!("[{word}:{}]", digest(key, "token", kind, &plain(text)))
            }
            _ => format!("[{word}]"),
        }
    }
}

/// Returns the last four characters of a number; of other types they would tell too much.
fn partial(text: &str, kind: PiiType) -> Option<String> {
    use PiiType::*;
    let is_number = matches!(
        kind,
        CreditCard
            | Iban
            | BankAccount
            | Phone
            | Ssn
            | Passport
            | NationalId
            | TaxId
            | DriverLicense
    );
    let letters: Vec<char> = text.chars().filter(char::is_ascii_alphanumeric).collect();
    (is_number && letters.len() >= 8)
        .then(|| format!("****{}", letters[letters.len() - 4..].iter().collect::<String>()))
}

/// Says whether a whole text is a replacement.
fn is_redacted(text: &str) -> bool {
    let inner = text.strip_prefix('[').and_then(|it| it.strip_suffix(']'));
    let word = inner.map(|it| it.split(['#', ':']).next().unwrap_or_default());
    text.starts_with("****")
        || word.is_some_and(|it| PiiType::ALL.iter().any(|kind| kind.as_str() == it))
}

/// Returns a text without what writers of the same thing do differently.
fn plain(text: &str) -> String {
    text.chars().filter(|it| !" -()./".contains(*it)).flat_map(char::to_lowercase).collect()
}

/// Returns the first half of the HMAC-SHA-256 of a text.
fn digest(key: &Key, purpose: &str, kind: PiiType, text: &str) -> String {
    let block = |with: u8| {
        let mut block = [with; 64];
        block.iter_mut().zip(key.0).for_each(|(at, byte)| *at = with ^ byte);
        block
    };
    let inner = Sha256::new()
        .chain_update(block(0x36))
        .chain_update(purpose)
        .chain_update([0])
        .chain_update(kind.as_str())
        .chain_update([0])
        .chain_update(text)
        .finalize();
    let outer = Sha256::new().chain_update(block(0x5c)).chain_update(inner).finalize();
    outer[..8].iter().map(|it| format!("{it:02x}")).collect()
}
