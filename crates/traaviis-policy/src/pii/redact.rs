//! Redaction: what is found is replaced, and the shape of the value stays.

use std::{cell::OnceCell, collections::BTreeMap};

use traaviis_model::{
    Map, Text, Value,
    privacy::{PiiMode, PiiType, RedactionKey},
};

use super::{Span, keyed::Keyed, number_spans, spans, tokens::is_replacement};

/// Rounds after which a text must hold nothing more; a replacement can change what a word beside
/// it says, and each round replaces something.
const ROUNDS_MAX: usize = 4;

/// Types that have a form of their own or a check digit. Words for people and places are none:
/// where a program names its own things by words, they would be taken for personal data.
pub const WITH_FORM: &[PiiType] = &[
    PiiType::Email,
    PiiType::Phone,
    PiiType::Ssn,
    PiiType::CreditCard,
    PiiType::Iban,
    PiiType::Crypto,
    PiiType::Ip,
    PiiType::Mac,
    PiiType::Secret,
];

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
    pub key: Option<RedactionKey>,
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
    redact_at(value, &[], policy)
}

/// As [`redact`], for a value that stands under these keys, which tell what it is.
pub fn redact_at(value: &Value, keys: &[&str], policy: &Policy) -> Result<Redacted, Blocked> {
    let mut work = Work::new(policy);
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
        value = work.value(&value, &mut keys.to_vec(), &policy.types);
    }
    work.done(value)
}

/// Redacts text that stands alone; of a policy that blocks it is masked.
pub fn redact_text(text: &str, policy: &Policy) -> String {
    let mut work = Work::new(policy);
    work.text(text, &[], &policy.types).unwrap_or_else(|| text.to_string())
}

struct Work<'p> {
    policy: &'p Policy,
    counts: BTreeMap<PiiType, usize>,
    /// Made when something is found: most values hold nothing.
    keyed: OnceCell<Option<Keyed>>,
}

impl<'p> Work<'p> {
    fn new(policy: &'p Policy) -> Work<'p> {
        Work { policy, counts: BTreeMap::new(), keyed: OnceCell::new() }
    }

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
            Value::String(text) if text.is_empty() || is_replacement(&text) => Value::String(text),
            Value::String(text) => self.replacement(&text, kind).into(),
            Value::Int(_) | Value::Uint(_) | Value::Float(_) => {
                self.replacement(&value.to_json(), kind).into()
            }
            Value::List(items) => Value::list(items.iter().map(|it| self.whole(it.clone(), kind))),
            Value::Map(map) => {
                let keys = self.keys(&map, PiiType::ALL);
                let items = keys.into_iter().zip(map.iter());
                let items = items.map(|(key, (_, it))| (key, self.whole(it.clone(), kind)));
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
                let keys = self.keys(map, types);
                for ((key, item), kept) in map.iter().zip(keys) {
                    path.push(key);
                    redacted.insert(kept, self.value(item, path, types));
                    path.pop();
                }
                Value::Map(redacted.into())
            }
            other => other.clone(),
        }
    }

    /// Returns the keys of a map in its order, redacted; those that become the same are numbered.
    fn keys(&mut self, map: &Map, types: &[PiiType]) -> Vec<Text> {
        let types: Vec<PiiType> =
            // Expressions name keys by words.
            WITH_FORM.iter().copied().filter(|it| types.contains(it)).collect();
        let mut numbers: BTreeMap<String, usize> = BTreeMap::new();
        let mut keys = Vec::with_capacity(map.len());
        for (key, _) in map.iter() {
            let may_hold = |it: u8| it.is_ascii_digit() || matches!(it, b'@' | b':');
            let found = key.bytes().any(may_hold).then(|| self.key(key, &types)).flatten();
            keys.push(match found {
                None => key.clone(),
                Some(name) => loop {
                    let number = numbers.entry(name.clone()).or_default();
                    *number += 1;
                    let numbered = match *number {
                        1 => name.clone(),
                        number => format!("{name}_{number}"),
                    };
                    if !map.contains_key(&numbered) {
                        break numbered.into();
                    }
                },
            });
        }
        keys
    }

    /// Redacts a key; none when it holds nothing. A key that is dropped would take its value along,
    /// so it is masked.
    fn key(&mut self, key: &str, types: &[PiiType]) -> Option<String> {
        match self.policy.mode {
            PiiMode::Drop => {
                let policy = Policy { mode: PiiMode::Mask, ..self.policy.clone() };
                let mut masks = Work::new(&policy);
                let name = masks.text(key, &[], types);
                masks.counts.into_iter().for_each(|(kind, count)| {
                    *self.counts.entry(kind).or_default() += count;
                });
                name
            }
            _ => self.text(key, &[], types),
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
        let keyed = || {
            let made = self.keyed.get_or_init(|| self.policy.key.as_ref().map(Keyed::new));
            made.as_ref()
        };
        let replaced = match self.policy.mode {
            PiiMode::Drop => Some(String::new()),
            PiiMode::Partial => partial(text, kind),
            PiiMode::Hash => keyed().map(|it| it.digest(kind, text)),
            PiiMode::Tokenise => keyed().and_then(|it| it.token(kind, text)),
            PiiMode::Mask | PiiMode::Block => None,
        };
        replaced.unwrap_or_else(|| format!("[{}]", kind.as_str()))
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
