//! How well personal data is found: predictions against marked data.
//!
//! A prediction is right when its type is that of a mark and both share at least half of what they
//! cover together. Leak: marks of which less than nine tenths of the characters are covered by any
//! prediction. Over-redaction: characters outside of marks that are covered.

use std::{collections::BTreeMap, fmt::Write as _};

use serde_json::Value as Json;
use traaviis_model::{Value, privacy::PiiType};
use traaviis_policy::pii::{Finding, find};

/// Generated payloads with marks by pointer.
pub const PAYLOADS: &str = include_str!("../../tests/data/payload.dev.jsonl");
/// Generated sentences with marks.
pub const SENTENCES: &str = include_str!("../../tests/data/presidio_synth.dev.jsonl");
/// Telephone numbers, IBANs and cards of many countries, with twins that are wrong.
pub const VECTORS: &str = include_str!("../../tests/data/vectors.jsonl");

/// Types that patterns and check digits tell.
pub const STRUCTURED: &[&str] =
    &["EMAIL", "PHONE", "CREDIT_CARD", "IBAN", "SSN", "IP", "MAC", "SECRET", "CRYPTO"];

/// A part of a text that is marked or predicted.
#[derive(Clone, Debug, PartialEq)]
struct Mark {
    pointer: String,
    start: usize,
    end: usize,
    kind: String,
}

/// What is counted for a type.
#[derive(Clone, Copy, Debug, Default)]
pub struct Count {
    right: usize,
    predicted: usize,
    marked: usize,
}

impl Count {
    /// Share of the predictions that are right.
    pub fn precision(&self) -> f64 {
        self.right as f64 / self.predicted.max(1) as f64
    }

    /// Share of the marks that are found.
    pub fn recall(&self) -> f64 {
        self.right as f64 / self.marked.max(1) as f64
    }

    /// Harmonic mean of both.
    pub fn f1(&self) -> f64 {
        2.0 * self.right as f64 / (self.predicted + self.marked).max(1) as f64
    }
}

/// The counts of one set.
#[derive(Debug, Default)]
pub struct Score {
    /// By type.
    pub types: BTreeMap<String, Count>,
    leaked: usize,
    marks: usize,
    covered_outside: usize,
    outside: usize,
    /// Texts with something wrong, for who works on the rules.
    pub wrong: Vec<String>,
}

impl Score {
    /// Adds up types.
    pub fn sum(&self, kinds: impl Fn(&str) -> bool) -> Count {
        let counts = self.types.iter().filter(|it| kinds(it.0)).map(|it| it.1);
        counts.fold(Count::default(), |sum, it| Count {
            right: sum.right + it.right,
            predicted: sum.predicted + it.predicted,
            marked: sum.marked + it.marked,
        })
    }

    /// Share of the marks that are not covered.
    pub fn leak(&self) -> f64 {
        self.leaked as f64 / self.marks.max(1) as f64
    }

    /// Share of the other characters that are covered.
    pub fn over(&self) -> f64 {
        self.covered_outside as f64 / self.outside.max(1) as f64
    }

    /// Returns the counts as a table.
    pub fn table(&self) -> String {
        let mut text =
            String::from("| type | marks | precision | recall | F1 |\n|---|---|---|---|---|\n");
        let mut row = |name: &str, it: &Count| {
            let _ = writeln!(
                text,
                "| {name} | {} | {:.3} | {:.3} | {:.3} |",
                it.marked,
                it.precision(),
                it.recall(),
                it.f1()
            );
        };
        self.types.iter().for_each(|(name, it)| row(name, it));
        row("structured", &self.sum(|it| STRUCTURED.contains(&it)));
        row("all", &self.sum(|_| true));
        let _ = writeln!(text, "\nleak {:.3}, over-redaction {:.4}", self.leak(), self.over());
        text
    }

    fn add(&mut self, texts: &BTreeMap<String, String>, marks: &[Mark], found: &[Mark]) {
        let mut taken = vec![false; marks.len()];
        let mut wrong = Vec::new();
        for it in found {
            self.types.entry(it.kind.clone()).or_default().predicted += 1;
            let fits = |mark: &Mark| {
                let shared = it.end.min(mark.end).saturating_sub(it.start.max(mark.start));
                let both = it.end.max(mark.end) - it.start.min(mark.start);
                mark.pointer == it.pointer && mark.kind == it.kind && shared * 2 >= both
            };
            match (0..marks.len()).find(|at| !taken[*at] && fits(&marks[*at])) {
                Some(at) => {
                    taken[at] = true;
                    self.types.entry(it.kind.clone()).or_default().right += 1;
                }
                None => wrong.push(format!("+{}", shown(texts, it))),
            }
        }
        for (mark, taken) in marks.iter().zip(taken) {
            self.types.entry(mark.kind.clone()).or_default().marked += 1;
            if !taken {
                wrong.push(format!("-{}", shown(texts, mark)));
            }
            let covered = (mark.start..mark.end).filter(|at| covers(found, &mark.pointer, *at));
            self.leaked += usize::from(covered.count() * 10 < (mark.end - mark.start) * 9);
        }
        self.marks += marks.len();
        for (pointer, text) in texts {
            for at in (0..text.chars().count()).filter(|at| !covers(marks, pointer, *at)) {
                self.outside += 1;
                self.covered_outside += usize::from(covers(found, pointer, at));
            }
        }
        if !wrong.is_empty() {
            self.wrong.push(wrong.join("  "));
        }
    }
}

fn covers(marks: &[Mark], pointer: &str, at: usize) -> bool {
    marks.iter().any(|it| it.pointer == pointer && (it.start..it.end).contains(&at))
}

fn shown(texts: &BTreeMap<String, String>, mark: &Mark) -> String {
    let text = texts.get(&mark.pointer).map(String::as_str).unwrap_or_default();
    let part: String = text.chars().skip(mark.start).take(mark.end - mark.start).collect();
    format!("{}({part:?} in {text:?})", mark.kind)
}

fn texts_of(value: &Json, pointer: &str, texts: &mut BTreeMap<String, String>) {
    match value {
        Json::String(text) => drop(texts.insert(pointer.to_string(), text.clone())),
        Json::Number(it) => drop(texts.insert(pointer.to_string(), it.to_string())),
        Json::Array(items) => {
            let items = items.iter().enumerate();
            items.for_each(|(at, it)| texts_of(it, &format!("{pointer}/{at}"), texts));
        }
        Json::Object(map) => {
            map.iter().for_each(|(key, it)| texts_of(it, &format!("{pointer}/{key}"), texts));
        }
        _ => {}
    }
}

fn rows(data: &str) -> impl Iterator<Item = Json> {
    data.lines().map(|it| serde_json::from_str(it).expect("each line is JSON"))
}

fn found_in(value: &Json, skipped: &[&str]) -> Vec<Mark> {
    let value: Value = serde_json::from_str(&value.to_string()).expect("JSON is a value");
    let mark = |it: Finding| Mark {
        pointer: it.pointer.to_string(),
        start: it.start,
        end: it.end,
        kind: it.kind.as_str().to_string(),
    };
    find(&value).into_iter().map(mark).filter(|it| !skipped.contains(&&*it.kind)).collect()
}

/// Scores the payloads, of which `take` says which rows.
pub fn payloads(take: impl Fn(usize) -> bool) -> Score {
    let mut score = Score::default();
    for (_, row) in rows(PAYLOADS).enumerate().filter(|it| take(it.0)) {
        let mut texts = BTreeMap::new();
        texts_of(&row["payload"], "", &mut texts);
        let marks = row["pii"].as_array().map(Vec::as_slice).unwrap_or_default();
        let marks: Vec<Mark> = marks
            .iter()
            .map(|it| Mark {
                pointer: it["pointer"].as_str().unwrap_or_default().to_string(),
                start: it["start"].as_u64().unwrap_or_default() as usize,
                end: it["end"].as_u64().unwrap_or_default() as usize,
                kind: it["type"].as_str().unwrap_or_default().to_string(),
            })
            .collect();
        score.add(&texts, &marks, &found_in(&row["payload"], &[]));
    }
    score
}

/// Scores the sentences. Marks of types that the language does not have are left out.
pub fn sentences(take: impl Fn(usize) -> bool) -> Score {
    let mut score = Score::default();
    for (_, row) in rows(SENTENCES).enumerate().filter(|it| take(it.0)) {
        let kind = |it: &str| {
            PiiType::ALL.iter().map(|it| it.as_str()).find(|known| *known == it).or(match it {
                "STREET_ADDRESS" | "ZIP_CODE" => Some("ADDRESS"),
                "GPE" => Some("LOCATION"),
                "PHONE_NUMBER" => Some("PHONE"),
                "EMAIL_ADDRESS" => Some("EMAIL"),
                "US_SSN" => Some("SSN"),
                "IBAN_CODE" => Some("IBAN"),
                "IP_ADDRESS" => Some("IP"),
                "DOMAIN_NAME" => Some("URL"),
                "US_DRIVER_LICENSE" => Some("DRIVER_LICENSE"),
                _ => None,
            })
        };
        let marks: Vec<Mark> = row["spans"]
            .as_array()
            .map(Vec::as_slice)
            .unwrap_or_default()
            .iter()
            .filter_map(|it| {
                Some(Mark {
                    pointer: String::new(),
                    start: it[0].as_u64()? as usize,
                    end: it[1].as_u64()? as usize,
                    kind: kind(it[2].as_str()?)?.to_string(),
                })
            })
            .collect();
        let texts = [(String::new(), row["text"].as_str().unwrap_or_default().to_string())].into();
        score.add(&texts, &marks, &found_in(&row["text"], &["DOB"]));
    }
    score
}

/// Scores the numbers, each in a sentence that says what it is.
pub fn vectors() -> Score {
    let mut score = Score::default();
    for row in rows(VECTORS) {
        let kind = row["type"].as_str().unwrap_or_default();
        let values: Vec<&str> = match kind {
            "PHONE" => ["e164", "international", "national"]
                .iter()
                .filter_map(|it| row[*it].as_str())
                .collect(),
            _ => row["value"].as_str().or(row["iban"].as_str()).into_iter().collect(),
        };
        for value in values {
            let before = match kind {
                "PHONE" => "Please call me on ",
                "CREDIT_CARD" => "The card ",
                _ => "Pay to ",
            };
            let text = format!("{before}{value} today.");
            let mark = Mark {
                pointer: String::new(),
                start: before.chars().count(),
                end: before.chars().count() + value.chars().count(),
                kind: kind.to_string(),
            };
            let is_valid = row["valid"].as_bool().unwrap_or_default();
            let marks: Vec<Mark> = is_valid.then_some(mark).into_iter().collect();
            let found = found_in(&Json::String(text.clone()), &[]);
            score.add(&[(String::new(), text)].into(), &marks, &found);
        }
    }
    score
}
