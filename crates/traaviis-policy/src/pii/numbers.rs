//! What is recognised by its digits: cards, telephones, social security, IPs, dates, ages.
//!
//! A text is cut into runs of digit groups; the groups of a run are tried together from the left,
//! the longest first. A group is looked at a bounded number of times.

use std::sync::LazyLock;

use regex::Regex;
use traaviis_model::privacy::PiiType;

use super::{
    checks::{self, Card},
    claims::Claims,
    keys::Hint,
};

/// Groups that are tried together.
const WINDOW: usize = 8;
/// Bytes before a number in which a word can say what it is.
const BEFORE: usize = 40;
/// Bytes after a number in which a word can say what it is.
const AFTER: usize = 12;

/// Digits that stand together.
#[derive(Clone, Copy)]
struct Group {
    start: usize,
    end: usize,
}

static DATE_WORDS: LazyLock<Regex> = LazyLock::new(|| {
    const MONTHS: &str = "(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Sept|Oct|Nov|Dec|January|February|\
        March|April|June|July|August|September|October|November|December)";
    let text = format!(
        r"(?i-u:\b(?:[0-9]{{1,2}}(?:st|nd|rd|th)? (?:of )?{MONTHS}\.?,? [0-9]{{4}}|{MONTHS}\.? [0-9]{{1,2}}(?:st|nd|rd|th)?,? [0-9]{{4}})\b)"
    );
    Regex::new(&text).expect("the pattern is constant")
});

static EXTENSION: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"^ ?(?:x|ext\.? ?)[0-9]{1,6}\b").expect("the pattern is constant")
});

static AGE: LazyLock<Regex> = LazyLock::new(|| {
    let text = concat!(
        r"(?i-u:\b(?:(?:aged?|age of|age is|turns?|turned|turning|i'm|i am|age:) ([0-9]{1,3})\b",
        r"|([0-9]{1,3})[ -]?(?:years?[ -]old|year[ -]old|y/o|yo|yrs? old)\b))",
    );
    Regex::new(text).expect("the pattern is constant")
});

pub(super) fn find(text: &str, hint: Option<Hint>, claims: &mut Claims) {
    let is_birth = |start: usize| {
        hint == Some(Hint::Type(PiiType::Dob))
            || says(before(text, start), &["born", "birth", "birthday", "dob", "birthdate"])
    };
    for it in DATE_WORDS.find_iter(text) {
        date(claims, (it.start(), it.end()), is_birth(it.start()));
    }
    let mut groups = Vec::new();
    let bytes = text.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        let is_begin = bytes[at].is_ascii_digit() || matches!(bytes[at], b'+' | b'(');
        let joins = at > 0 && (bytes[at - 1].is_ascii_alphanumeric() || bytes[at - 1] == b'_');
        if !is_begin || (joins && bytes[at].is_ascii_digit()) {
            // Digits inside a word belong to the word.
            let inside = bytes[at].is_ascii_digit();
            at += 1;
            while inside && at < bytes.len() && bytes[at].is_ascii_digit() {
                at += 1;
            }
            continue;
        }
        let end = run(bytes, at, &mut groups);
        if !groups.is_empty() {
            take_run(text, at, &groups, hint, &is_birth, claims);
        }
        at = end.max(at + 1);
    }
    for it in AGE.captures_iter(text) {
        let years =
            it.get(1).or(it.get(2)).filter(|it| it.as_str().parse().is_ok_and(|it: u8| it < 121));
        if let Some(years) = years {
            claims.take((years.start(), years.end()), PiiType::Age, 0.7, "age");
        }
    }
}

/// Collects the groups of digits that stand together, and returns where they end.
fn run(bytes: &[u8], start: usize, groups: &mut Vec<Group>) -> usize {
    groups.clear();
    let mut at = start;
    loop {
        let from = at;
        // Between two groups stand few separators.
        while at < bytes.len()
            && at - from < 3
            && matches!(bytes[at], b' ' | b'-' | b'.' | b'/' | b'(' | b')' | b'+')
        {
            at += 1;
        }
        if at == bytes.len() || !bytes[at].is_ascii_digit() {
            return from;
        }
        let start = at;
        while at < bytes.len() && bytes[at].is_ascii_digit() {
            at += 1;
        }
        groups.push(Group { start, end: at });
    }
}

fn take_run(
    text: &str,
    run_start: usize,
    groups: &[Group],
    hint: Option<Hint>,
    is_birth: &dyn Fn(usize) -> bool,
    claims: &mut Claims,
) {
    let bytes = text.as_bytes();
    let mut first = 0;
    while first < groups.len() {
        let from = if first == 0 { run_start } else { groups[first - 1].end };
        // Only a space parts two numbers.
        let is_begin = first == 0 || bytes[from] == b' ';
        let last = (first + WINDOW).min(groups.len());
        let taken = (first + 1..=last).rev().filter(|_| is_begin).find(|to| {
            let end = groups[*to - 1].end;
            let is_end = match bytes.get(end) {
                None => true,
                // The extension of a telephone.
                Some(b'x') => bytes.get(end + 1).is_some_and(u8::is_ascii_digit),
                Some(b'-' | b'.' | b'/') => !bytes.get(end + 1).is_some_and(u8::is_ascii_digit),
                Some(byte) => !byte.is_ascii_alphanumeric() && *byte != b'_',
            };
            let window = Window { text, from, groups: &groups[first..*to] };
            is_end && !claims.overlaps(window.start(), end) && window.take(hint, is_birth, claims)
        });
        first = taken.unwrap_or(first + 1);
    }
}

fn date(claims: &mut Claims, part: (usize, usize), is_birth: bool) {
    match is_birth {
        true => claims.take(part, PiiType::Dob, 0.9, "date_by_word"),
        false => claims.clear(part),
    }
}

/// Groups that are tried as one number.
struct Window<'t> {
    text: &'t str,
    /// Behind the group before.
    from: usize,
    groups: &'t [Group],
}

impl Window<'_> {
    /// Where the number begins, with the sign or bracket before its digits.
    fn start(&self) -> usize {
        let digits = self.groups[0].start;
        let lead = &self.text[self.from..digits];
        let at = lead.find('+').or_else(|| {
            // A bracket belongs to the number when it closes inside it.
            lead.rfind('(').filter(|_| self.text[digits..self.end()].contains(')'))
        });
        at.map_or(digits, |it| self.from + it)
    }

    fn end(&self) -> usize {
        self.groups[self.groups.len() - 1].end
    }

    fn sizes(&self) -> impl Iterator<Item = usize> {
        self.groups.iter().map(|it| it.end - it.start)
    }

    fn digits(&self) -> Vec<u8> {
        self.groups.iter().flat_map(|it| &self.text.as_bytes()[it.start..it.end]).copied().collect()
    }

    /// Says whether the groups have these sizes, parted by this.
    fn is(&self, sizes: &[usize], separator: &str) -> bool {
        self.sizes().eq(sizes.iter().copied()) && self.is_parted(|it| it == separator)
    }

    fn is_parted(&self, fits: impl Fn(&str) -> bool) -> bool {
        self.groups.windows(2).all(|it| fits(&self.text[it[0].end..it[1].start]))
    }

    fn take(
        &self,
        hint: Option<Hint>,
        is_birth: &dyn Fn(usize) -> bool,
        claims: &mut Claims,
    ) -> bool {
        let part = (self.groups[0].start, self.end());
        if self.is_date() {
            date(claims, part, is_birth(part.0));
            return true;
        }
        if self.groups.len() == 4 && self.is_parted(|it| it == ".") {
            if self.is_ip() && hint != Some(Hint::Version) {
                claims.take(part, PiiType::Ip, 0.9, "ipv4");
            } else if self.sizes().all(|it| it <= 4) {
                claims.clear(part);
            }
            return claims.overlaps(part.0, part.1);
        }
        let digits = self.digits();
        let before = before(self.text, part.0);
        let by_word =
            says(before, &["ssn", "social", "security"]) || hint == Some(Hint::Type(PiiType::Ssn));
        let is_ssn = self.is(&[3, 2, 4], "-")
            || by_word && (self.is(&[3, 2, 4], " ") || self.groups.len() == 1);
        if is_ssn && checks::ssn(&digits) {
            claims.take(part, PiiType::Ssn, 0.9, "ssn");
            return true;
        }
        if self.is_parted(|it| it == " ") || self.is_parted(|it| it == "-") {
            let doubtful = || says(before, &["card", "credit", "cc", "debit", "visa", "maestro"]);
            let is_card = match checks::card(&digits) {
                Some(Card::Certain) => self.sizes().all(|it| it >= 3 || self.groups.len() == 1),
                Some(Card::Doubtful) => doubtful() || hint == Some(Hint::Type(PiiType::CreditCard)),
                None => false,
            };
            if is_card && hint != Some(Hint::Other) {
                claims.take(part, PiiType::CreditCard, 0.97, "luhn");
                return true;
            }
        }
        let Some(confidence) = self.phone(&digits, before, hint) else { return false };
        let extension = EXTENSION.find(&self.text[self.end()..]).map_or(0, |it| it.end());
        claims.take((self.start(), self.end() + extension), PiiType::Phone, confidence, "phone");
        true
    }

    fn is_date(&self) -> bool {
        let sizes: Vec<usize> = self.sizes().collect();
        let parted = ["-", "/", "."].iter().any(|it| self.is_parted(|have| have == *it));
        if self.groups.len() != 3 || !parted {
            return false;
        }
        let number = |at: usize| {
            let group: Group = self.groups[at];
            self.text[group.start..group.end].parse::<u32>().unwrap_or(u32::MAX)
        };
        let is_year = |it: u32| (1900..=2100).contains(&it);
        let is_day =
            |a: u32, b: u32| (1..=31).contains(&a) && (1..=31).contains(&b) && a.min(b) <= 12;
        match sizes[..] {
            [4, 1..=2, 1..=2] => is_year(number(0)) && is_day(number(1), number(2)),
            [1..=2, 1..=2, 4] => is_year(number(2)) && is_day(number(0), number(1)),
            _ => false,
        }
    }

    fn is_ip(&self) -> bool {
        self.groups.iter().all(|it| {
            let text = &self.text[it.start..it.end];
            text.parse::<u8>().is_ok() && (text.len() == 1 || !text.starts_with('0'))
        })
    }

    /// Says how certainly digits are a telephone number.
    fn phone(&self, digits: &[u8], before: &str, hint: Option<Hint>) -> Option<f32> {
        let count = digits.len();
        if !(5..=16).contains(&count) {
            return None;
        }
        let whole = &self.text[self.start()..self.end()];
        if whole.starts_with('+') {
            return (7..=15).contains(&count).then_some(0.95).filter(|_| digits[0] != b'0');
        }
        // A social security number that nobody gives out is no telephone number.
        if whole.contains('+') || hint == Some(Hint::Other) || self.is(&[3, 2, 4], "-") {
            return None;
        }
        let sizes: Vec<usize> = self.sizes().collect();
        let area = if sizes[0] == 1 && digits[0] == b'1' { 1 } else { 0 };
        let is_north_american = matches!(sizes[area..], [3, 3, 4])
            && digits[area] >= b'2'
            && self.is_parted(|it| matches!(it, "-" | "." | " " | ") " | ")" | " (" | "-(" | ")-"));
        let is_dotted = !self.is_parted(|it| it == " " || it == "-");
        let is_grouped = self.is_parted(|it| matches!(it, " " | "-" | "/" | "." | ") " | ")"));
        let is_national = digits[0] == b'0'
            && sizes.len() >= 2
            && is_grouped
            && (9..=12).contains(&count)
            && sizes.iter().all(|it| *it >= 2)
            && sizes[0] >= 2;
        let is_bracketed = whole.starts_with('(') && sizes.len() >= 2 && is_grouped && count >= 7;
        let after = after(self.text, self.end());
        let by_word = hint == Some(Hint::Type(PiiType::Phone))
            || says(before, PHONE_WORDS)
            || says(after, &["fax", "office", "mobile", "desk", "phone", "tel", "cell"]);
        match (is_north_american || is_bracketed, is_national, by_word) {
            (true, ..) => Some(0.85),
            (_, true, _) => Some(if is_dotted { 0.7 } else { 0.8 }),
            (_, _, true) if is_grouped && count >= 6 => Some(0.75),
            _ => None,
        }
    }
}

const PHONE_WORDS: &[&str] = &[
    "phone",
    "telephone",
    "tel",
    "mobile",
    "cell",
    "cellphone",
    "call",
    "calling",
    "fax",
    "desk",
    "office",
    "whatsapp",
    "sms",
    "text",
    "dial",
    "ring",
    "reach",
    "contact",
    "registered",
    "answering",
    "hotline",
    "landline",
    "phones",
    "telefon",
    "handy",
    "gsm",
    "msisdn",
    "pager",
];

/// Returns what stands before a byte in the same sentence or line.
fn before(text: &str, end: usize) -> &str {
    let mut start = end.saturating_sub(BEFORE);
    while !text.is_char_boundary(start) {
        start += 1;
    }
    let near = &text[start..end];
    near.rfind(['\n', ';', '?', '!']).map_or(near, |it| &near[it..])
}

fn after(text: &str, start: usize) -> &str {
    let mut end = (start + AFTER).min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    let near = &text[start..end];
    near.find(['\n', '.', ';']).map_or(near, |it| &near[..it])
}

/// Says whether one of these words stands in a text.
fn says(text: &str, words: &[&str]) -> bool {
    text.split(|it: char| !it.is_alphanumeric())
        .any(|it| !it.is_empty() && words.iter().any(|word| word.eq_ignore_ascii_case(it)))
}
