//! Functions of texts: letters, parts, patterns and slugs.

use regex::{Regex, RegexBuilder};

use traaviis_model::value::Value;

use super::{Function, conversion::text_in, count_of, list_of, text_of};
use crate::expr::eval::{Budget, Fault};

/// Compiles a pattern; its size is bounded, and matching takes linear time.
pub fn pattern(pattern: &str) -> Result<Regex, String> {
    RegexBuilder::new(pattern).size_limit(1 << 18).dfa_size_limit(1 << 20).build().map_err(
        |error| match error {
            regex::Error::CompiledTooBig(_) => "pattern is too large".to_owned(),
            error => {
                let text = error.to_string();
                let reason = text.lines().last().unwrap_or_default().trim();
                format!("pattern is not valid: {}", reason.trim_start_matches("error: "))
            }
        },
    )
}

/// Says whether a compiled pattern is found in a text.
pub(in crate::expr) fn matches(
    budget: &mut Budget,
    text: &Value,
    regex: &Regex,
) -> Result<Value, Fault> {
    let text = text_of(text, "matches")?;
    let pattern = regex.as_str();
    // Counted repetitions and classes unfold into many states, all of which a byte may visit.
    let heavy = pattern.len() > 32 || pattern.contains(['{', '\\']);
    budget.charge(4 + if heavy { text.len() } else { text.len() / 4 })?;
    Ok(Value::Bool(regex.is_match(text)))
}

pub(super) fn texts(
    function: Function,
    first: &Value,
    second: &Value,
    third: &Value,
    count: usize,
    budget: &mut Budget,
) -> Result<Value, Fault> {
    let name = function.name();
    if function == Function::Join {
        return join(first, if count > 1 { text_of(second, name)? } else { "" }, budget);
    }
    let text = text_of(first, name)?;
    budget.charge(text.len() / 16)?;
    match function {
        Function::Lower => {
            budget.charge(text.len() / 8)?;
            Ok(Value::from(text.to_lowercase()))
        }
        Function::Upper => {
            budget.charge(text.len() / 8)?;
            Ok(Value::from(text.to_uppercase()))
        }
        Function::Trim => Ok(Value::from(text.trim())),
        Function::Split => {
            let by = text_of(second, name)?;
            let parts =
                if by.is_empty() { text.chars().count() } else { text.matches(by).count() + 1 };
            budget.charge(parts)?;
            Ok(if by.is_empty() {
                Value::list(text.chars().map(|it| Value::from(&*it.encode_utf8(&mut [0; 4]))))
            } else {
                Value::list(text.split(by).map(Value::from))
            })
        }
        Function::Replace => {
            let (from, to) = (text_of(second, name)?, text_of(third, name)?);
            let found = text.matches(from).count();
            budget.charge(found + (text.len() + found.saturating_mul(to.len())) / 16)?;
            Ok(Value::from(text.replace(from, to)))
        }
        Function::Substring => {
            let from = count_of(second, name)?;
            let to = if count > 2 { count_of(third, name)? } else { usize::MAX };
            Ok(Value::from(
                text.chars().skip(from).take(to.saturating_sub(from)).collect::<String>(),
            ))
        }
        Function::Truncate => {
            let most = count_of(second, name)?;
            match text.char_indices().nth(most) {
                Some((end, _)) => Ok(Value::from(&text[..end])),
                None => Ok(first.clone()),
            }
        }
        _ => {
            budget.charge(text.len() / 4)?;
            Ok(Value::from(slug(text)))
        }
    }
}

fn join(list: &Value, by: &str, budget: &mut Budget) -> Result<Value, Fault> {
    let mut joined = String::new();
    for (at, item) in list_of(list, "join")?.iter().enumerate() {
        let text = text_in(item, budget)?;
        budget.charge(1 + (text.len() + by.len()) / 16)?;
        if at > 0 {
            joined.push_str(by);
        }
        joined.push_str(&text);
    }
    Ok(Value::from(joined))
}

/// Returns lower-case letters and digits with single hyphens between.
fn slug(text: &str) -> String {
    let mut slug = String::with_capacity(text.len());
    for letter in text.chars().flat_map(char::to_lowercase) {
        let plain = match letter {
            'à' | 'á' | 'â' | 'ã' | 'ä' | 'å' | 'ā' | 'ą' => "a",
            'æ' => "ae",
            'ç' | 'ć' | 'č' => "c",
            'ď' | 'đ' => "d",
            'è' | 'é' | 'ê' | 'ë' | 'ē' | 'ę' | 'ě' => "e",
            'ì' | 'í' | 'î' | 'ï' | 'ī' => "i",
            'ł' => "l",
            'ñ' | 'ń' | 'ň' => "n",
            'ò' | 'ó' | 'ô' | 'õ' | 'ö' | 'ø' | 'ō' | 'ő' => "o",
            'œ' => "oe",
            'ř' => "r",
            'ß' => "ss",
            'ś' | 'š' | 'ş' => "s",
            'ť' => "t",
            'ù' | 'ú' | 'û' | 'ü' | 'ū' | 'ů' | 'ű' => "u",
            'ý' | 'ÿ' => "y",
            'ź' | 'ż' | 'ž' => "z",
            letter if letter.is_alphanumeric() => {
                slug.push(letter);
                continue;
            }
            _ => {
                if !slug.is_empty() && !slug.ends_with('-') {
                    slug.push('-');
                }
                continue;
            }
        };
        slug.push_str(plain);
    }
    slug.truncate(slug.trim_end_matches('-').len());
    slug
}
