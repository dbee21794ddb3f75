//! People, places, companies and addresses, by words and by what stands beside them.
//!
//! Lists of given names, places and everyday words are the gazetteer; the rest is told by form.
//! Without a model this stays guessing, so every finding says how sure it is.

use std::{collections::BTreeSet, sync::LazyLock};

use regex::Regex;
use traaviis_model::privacy::PiiType;

use super::{claims::Claims, keys::Hint};

static GIVEN: LazyLock<BTreeSet<&str>> = LazyLock::new(|| list(include_str!("words/given.txt")));
static PLACES: LazyLock<BTreeSet<&str>> = LazyLock::new(|| list(include_str!("words/places.txt")));
static COMMON: LazyLock<BTreeSet<&str>> = LazyLock::new(|| list(include_str!("words/common.txt")));

/// Places of two words, of which one alone says little.
static PAIRS: LazyLock<BTreeSet<&str>> =
    LazyLock::new(|| include_str!("words/pairs.txt").lines().collect());

fn list(words: &'static str) -> BTreeSet<&'static str> {
    words.split_ascii_whitespace().collect()
}

/// Words before the name of a person.
const TITLES: &[&str] = &[
    "mr",
    "mrs",
    "ms",
    "miss",
    "dr",
    "prof",
    "professor",
    "sir",
    "madam",
    "mme",
    "herr",
    "frau",
    "señor",
    "señora",
    "signor",
    "signora",
    "doctor",
];
/// Words after which a capitalised name is the name of a person.
const CUES: &[&str] = &[
    "customer",
    "name",
    "named",
    "attention",
    "attn",
    "contact",
    "call",
    "dear",
    "hi",
    "hello",
    "user",
    "by",
    "client",
    "patient",
    "employee",
    "colleague",
    "i'm",
    "im",
    "under",
    "add",
    "starring",
    "features",
    "driver",
    "sincerely",
    "regards",
    "cc",
    "mother",
    "father",
    "brother",
    "sister",
    "wife",
    "husband",
    "friend",
    "partner",
    "manager",
    "recipient",
    "sender",
    "signed",
    "assigned",
    "approved",
    "author",
    "guest",
    "passenger",
    "why is",
    "me",
    "assistant",
    "producer",
    "says",
    "cheers",
    "thanks",
    "beneficiary",
    "not by",
    "on the",
];
/// What people do, and little else.
const ACTS: &[&str] = &[
    "lives",
    "lived",
    "said",
    "says",
    "shouted",
    "asked",
    "asks",
    "told",
    "wrote",
    "writes",
    "works",
    "worked",
    "spent",
    "thinks",
    "wants",
    "wanted",
    "replied",
    "agreed",
    "married",
    "called",
    "calls",
    "reported",
    "complained",
    "ordered",
    "bought",
];
/// How a sentence goes on that speaks to somebody.
const ASKS: &[&str] =
    &["can", "could", "please", "would", "will", "do", "did", "are", "you", "we", "what"];
/// Words that stand inside a name in lower case.
const PARTICLES: &[&str] = &[
    "van", "von", "de", "der", "den", "del", "della", "di", "da", "dos", "la", "le", "el", "bin",
    "al", "ten", "ter", "zu", "du",
];
/// Last words of companies and institutions.
const COMPANIES: &[&str] = &[
    "incorporated",
    "consulting",
    "analytics",
    "agency",
    "company",
    "media",
    "networks",
    "software",
    "logistics",
    "energy",
    "motors",
    "foods",
    "ventures",
    "securities",
    "tv",
    "studios",
    "services",
    "inc",
    "llc",
    "ltd",
    "limited",
    "gmbh",
    "ag",
    "corp",
    "corporation",
    "co",
    "plc",
    "sa",
    "spa",
    "srl",
    "bv",
    "nv",
    "oy",
    "ab",
    "kg",
    "bank",
    "group",
    "holdings",
    "university",
    "hospital",
    "orchestra",
    "foundation",
    "institute",
    "partners",
    "associates",
    "labs",
    "technologies",
    "capital",
    "insurance",
    "airlines",
    "industries",
    "solutions",
    "systems",
];
/// Words after which a place is named.
const PLACE_CUES: &[&str] = &[
    "from", "in", "to", "live", "lives", "near", "visit", "southern", "northern", "eastern",
    "western",
];

/// Two words after which a company is named.
const AT_COMPANIES: &[&str] = &[
    "works at",
    "worked at",
    "working at",
    "work at",
    "works for",
    "worked for",
    "working for",
    "work for",
    "employed at",
    "employed by",
    "hired by",
    "owned by",
    "acquired by",
    "bought by",
    "job at",
    "year at",
    "years at",
    "months at",
    "position at",
    "career at",
    "intern at",
    "internship at",
    "engineer at",
    "manager at",
    "director at",
    "consultant at",
    "ceo of",
    "cfo of",
    "cto of",
    "founder of",
    "president of",
    "chairman of",
    "employee of",
    "employees of",
    "subsidiary of",
    "shares of",
    "later became",
];
/// Words after the name of a company, and little else.
const OF_COMPANIES: &[&str] = &[
    "office",
    "offices",
    "headquarters",
    "orchestra",
    "employees",
    "shares",
    "shareholders",
    "stock",
    "invested",
    "announced",
    "acquired",
    "employs",
    "manufactures",
    "subsidiary",
];
/// What a company is said to be.
const KINDS_OF_COMPANIES: &[&str] = &[
    "multinational",
    "company",
    "corporation",
    "startup",
    "start-up",
    "nonprofit",
    "non-profit",
    "firm",
    "manufacturer",
    "retailer",
    "supplier",
    "conglomerate",
    "bank",
    "insurer",
];

fn pattern(text: &str) -> Regex {
    Regex::new(text).expect("the pattern is constant")
}

/// One capitalised word.
const CAP: &str = r"\p{Lu}[\p{L}'’-]*";
/// The end of a street's name.
const ROAD: &str = "Bypass|Summit|Pass|Trail|Mill|Harbor|Pike|Route|Row|Walk|Grove|Gardens|Hill|Ridge|Loop|Circle|Path|Mews|Quay|str|Str|Street|St|Avenue|Ave|Road|Rd|Boulevard|Blvd|Lane|Ln|Drive|Dr|Court|Ct|Square|Sq|Terrace|Way|Parkway|Pkwy|Highway|Hwy|Crescent|Close|Alley|Strasse|Straße|Allee|Platz|Gasse|Weg|Gatan|utca|út|tér|straat|laan";
/// The beginning of a street's name.
const RUE: &str = "Rue|Via|Viale|Calle|Avenida|Avenue|Av|Plaza|Piazza|Boulevard|Rua|Place|Chemin|Corso|Carrer|Largo|Ulica|ul";

static ADDRESS: LazyLock<Regex> = LazyLock::new(|| {
    let word = format!(r"(?:{CAP}|[dD]e|du|des|la|le|del|della)");
    let number = r"[0-9]{1,5}[A-Za-z]?";
    let road = format!(
        r"(?:{CAP} ){{1,4}}(?:{ROAD})\b\.?|\p{{Lu}}\p{{L}}+(?:stra(?:ß|ss)e|str\.|gasse|weg|platz|allee|gatan|gata|vägen|straat|laan|vej|gade|veien)\b|(?:{RUE})\.? (?:{word} ?){{1,4}}"
    );
    let tail = format!(
        r"(?:,? (?:Apt|Apartment|Suite|Ste|Unit|Flat|#)\.? ?[0-9A-Za-z-]{{1,6}})?(?:[,\s]{{1,3}}(?:[0-9]{{4,6}} {CAP}(?: {CAP})?|(?:{CAP}[ ,]{{1,2}}){{1,3}}(?:[A-Z]{{2}},? )?[0-9]{{4,6}}))?"
    );
    let boxes = r"(?:P\.? ?O\.? Box|PSC|Box|Postfach|Suite|Apt\.?) [0-9]{1,6}(?:, Box [0-9]{1,6})?(?:\s(?:APO|FPO|DPO) A[AEP] [0-9]{5})?";
    pattern(&format!(r"(?:{number},? (?:{road})|(?:{road}),? ?{number}\b){tail}|\b(?:{boxes})\b"))
});

/// Words after which an address follows, whatever its form.
static ADDRESS_CUE: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r"(?i-u:\b(?:address(?: of [a-z ,]{1,40})? is|address:|address to|address\? it is|lives? (?:at|on)|meet (?:you|me|us) at|returns? to|office is at|sent to|ship to|deliver(?:ed)? to|resides? at|located at|moved to)\s+)",
    )
});

/// Takes addresses: streets with a number, boxes, and what follows a word for them.
pub(super) fn addresses(text: &str, claims: &mut Claims) {
    for it in POSTCODE.captures_iter(text).filter_map(|it| it.get(1)) {
        claims.take((it.start(), it.end()), PiiType::Address, 0.8, "postcode_by_word");
    }
    for it in ADDRESS_CUE.find_iter(text) {
        let end = address_end(text, it.end());
        let part = &text[it.end()..end];
        // `Step 2` and `10 May` are no addresses.
        let word = words(part).into_iter().find(|it| it.is_capital);
        let is_named = word.is_some_and(|it| !is_common(&it));
        if is_named && part.contains(|it: char| it.is_ascii_digit()) {
            claims.take((it.end(), end), PiiType::Address, 0.7, "address_by_word");
        }
    }
    let mut is_block = false;
    for it in ADDRESS.find_iter(text) {
        let end = it.start() + it.as_str().trim_end_matches([',', ' ', '\n']).len();
        claims.take((it.start(), end), PiiType::Address, 0.8, "street");
        is_block = true;
    }
    if is_block && text.contains('\n') {
        block(text, claims);
    }
}

/// Takes the lines beside a street as the rest of a postal address.
fn block(text: &str, claims: &mut Claims) {
    let mut at = 0;
    // Whether the line before belongs to the address.
    let mut inside = false;
    for line in text.split_inclusive('\n') {
        let start = at + line.len() - line.trim_start_matches([' ', ',']).len();
        let end = at + line.trim_end().len();
        at += line.len();
        if start >= end {
            continue;
        }
        if claims.overlaps(start, end) {
            let before = text[start..].find(|it: char| !it.is_ascii_digit()).unwrap_or(0);
            if before > 0 && text[start + before..].starts_with(' ') {
                claims.take((start, start + before), PiiType::Address, 0.6, "address_line");
            }
            inside = true;
            continue;
        }
        let is_numbered = text[start..end].starts_with(|it: char| it.is_ascii_digit());
        if let Some(town) = TOWN.captures(&text[start..end]).filter(|_| inside) {
            let part = |at: usize| town.get(at).map(|it| (start + it.start(), start + it.end()));
            if let Some(words) = part(1) {
                claims.take(words, PiiType::Location, 0.6, "address_line");
            }
            if let Some(postcode) = part(2) {
                claims.take(postcode, PiiType::Address, 0.6, "address_line");
            }
        } else if is_numbered && text[start..end].contains(char::is_uppercase) {
            claims.take((start, end), PiiType::Address, 0.6, "address_line");
            inside = true;
        } else {
            inside = false;
        }
    }
}

/// A town or country on a line of its own, perhaps with its postcode.
static TOWN: LazyLock<Regex> = LazyLock::new(|| {
    pattern(&format!(r"^({CAP}(?: {CAP}){{0,3}}),?(?: ([0-9]{{4,6}}(?:-[0-9]{{3,4}})?))?$"))
});

/// A postcode that says that it is one.
static POSTCODE: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r"(?i-u:\b(?:zip|zip code|zipcode|postcode|postal code|post code|plz)\b)(?:\s*[:=]\s*| is | )([0-9][0-9A-Za-z-]{2,9}(?: [0-9A-Z]{2,4}\b)?)",
    )
});

/// Returns where an address ends that begins at a byte: at the first everyday word.
fn address_end(text: &str, start: usize) -> usize {
    /// Words of one address.
    const WORDS: usize = 16;
    let mut end = start;
    let mut at = start;
    for word in text[start..].split_inclusive(char::is_whitespace).take(WORDS) {
        let bare = word.trim();
        let first = bare.chars().next();
        let is_part = first.is_some_and(|it| it.is_uppercase() || it.is_ascii_digit())
            || PARTICLES.contains(&bare)
            || bare.chars().count() <= 4 && bare.ends_with(['.', ','])
            || matches!(bare, "u." | "utca" | "út" | "tér" | "str" | "and" | "na");
        if !bare.is_empty() && !is_part {
            break;
        }
        at += word.len();
        if !bare.is_empty() {
            end = at - (word.len() - word.trim_end().len());
        }
        if bare.ends_with(['?', '!']) {
            break;
        }
    }
    start + text[start..end].trim_end_matches(['?', '!', '.', ',']).len()
}

/// A word of a text.
#[derive(Clone, Copy)]
struct Word<'t> {
    text: &'t str,
    start: usize,
    end: usize,
    is_capital: bool,
    /// Stands at the beginning of a sentence or line.
    is_first: bool,
}

impl Word<'_> {
    fn lower(&self) -> String {
        self.text.to_lowercase()
    }
}

/// Takes names of people, places and companies: runs of capitalised words.
pub(super) fn find(text: &str, hint: Option<Hint>, claims: &mut Claims) {
    let words = words(text);
    let mut at = 0;
    while at < words.len() {
        if !words[at].is_capital || claims.overlaps(words[at].start, words[at].end) {
            at += 1;
            continue;
        }
        let mut end = at + 1;
        while end < words.len() && joins(text, &words, end, claims) {
            end += 1;
        }
        while !words[end - 1].is_capital {
            end -= 1;
        }
        Run { text, words: &words, at, end, hint }.take(claims);
        at = end;
    }
    mentions(&words, claims);
}

/// Takes a last name that stands alone where the full name stands, too.
fn mentions(words: &[Word<'_>], claims: &mut Claims) {
    let is_person =
        |it: &&Word<'_>| claims.at(it.start).is_some_and(|it| it.kind == Some(PiiType::Person));
    let known: BTreeSet<&str> = words
        .iter()
        .filter(is_person)
        .filter(|it| it.is_capital && it.text.chars().count() > 2 && !is_common(it))
        .map(|it| it.text)
        .collect();
    let again = words.iter().filter(|it| known.contains(it.text) && claims.at(it.start).is_none());
    for word in again.copied().collect::<Vec<_>>() {
        claims.take((word.start, word.end), PiiType::Person, 0.6, "name_again");
    }
}

/// Says whether a word goes on with the name before it.
fn joins(text: &str, words: &[Word<'_>], at: usize, claims: &Claims) -> bool {
    let (before, word) = (words[at - 1], words[at]);
    let gap = &text[before.end..word.start];
    let is_initial = before.text.chars().count() <= 2 && before.is_capital;
    let is_title = TITLES.contains(&before.lower().as_str());
    let is_near = gap == " " || gap == ". " && (is_initial || is_title);
    is_near
        && !claims.overlaps(word.start, word.end)
        && (word.is_capital
            || PARTICLES.contains(&word.text)
                && words
                    .get(at + 1)
                    .is_some_and(|it| it.is_capital || PARTICLES.contains(&it.text)))
}

fn words(text: &str) -> Vec<Word<'_>> {
    let mut words: Vec<Word<'_>> = Vec::new();
    let mut start = None;
    for (at, letter) in text.char_indices().chain([(text.len(), ' ')]) {
        let inner = start.is_some() && matches!(letter, '\'' | '’' | '-');
        match (start, letter.is_alphabetic() || inner) {
            (None, true) => start = Some(at),
            (Some(from), false) => {
                start = None;
                let part = text[from..at].trim_end_matches(['\'', '’', '-']);
                let part = part.strip_suffix("'s").or(part.strip_suffix("’s")).unwrap_or(part);
                let gap = words.last().map_or("\n", |it: &Word<'_>| &text[it.end..from]);
                // Letters inside a token of digits are no word.
                let is_token = |it: Option<char>| {
                    it.is_some_and(|it| it.is_ascii_digit() || it == '_' || it == '@')
                };
                if is_token(text[..from].chars().next_back()) || is_token(text[at..].chars().next())
                {
                    continue;
                }
                words.push(Word {
                    text: part,
                    start: from,
                    end: from + part.len(),
                    is_capital: part.starts_with(char::is_uppercase),
                    is_first: gap.contains(['.', '!', '?', '\n']) && !gap.ends_with(". ")
                        || gap.contains("? "),
                });
            }
            _ => {}
        }
    }
    words
}

/// Words that stand together and are capitalised.
struct Run<'a, 't> {
    text: &'t str,
    words: &'a [Word<'t>],
    at: usize,
    end: usize,
    hint: Option<Hint>,
}

impl Run<'_, '_> {
    /// Cuts the run at everyday words, and takes what is left.
    fn take(&self, claims: &mut Claims) {
        let all = &self.words[self.at..self.end];
        let last = all[all.len() - 1].lower();
        if all.len() >= 2 && COMPANIES.contains(&last.as_str()) {
            let first = all.iter().position(|it| !is_common(it) || !it.is_first).unwrap_or(0);
            let part = (all[first].start, all[all.len() - 1].end);
            if all.len() - first >= 2 {
                claims.take(part, PiiType::Organization, 0.7, "company_by_word");
            }
            return;
        }
        for pair in all.windows(2) {
            let both = format!("{} {}", pair[0].lower(), pair[1].lower());
            if PAIRS.contains(both.as_str()) {
                claims.take((pair[0].start, pair[1].end), PiiType::Location, 0.8, "place");
            }
        }
        let mut from = self.at;
        let mut titled = false;
        // Everyday words beside the run's names make them a title or a heading.
        let everyday = all.iter().skip(1).filter(|it| is_common(it)).count();
        for at in self.at..=self.end {
            let is_cut = at == self.end
                || is_common(&self.words[at])
                || is_title(&self.words[at])
                || claims.overlaps(self.words[at].start, self.words[at].end);
            if !is_cut {
                continue;
            }
            if from < at {
                self.name(from, at, titled, everyday > 0, claims);
            }
            titled = at < self.end && is_title(&self.words[at]);
            from = at + 1;
        }
    }

    fn name(
        &self,
        mut from: usize,
        mut to: usize,
        titled: bool,
        heading: bool,
        claims: &mut Claims,
    ) {
        while from < to && PARTICLES.contains(&self.words[from].text) {
            from += 1;
        }
        while from < to && !self.words[to - 1].is_capital {
            to -= 1;
        }
        if from == to {
            return;
        }
        let words = &self.words[from..to];
        let lower: Vec<String> = words.iter().map(Word::lower).collect();
        let part = (words[0].start, words[words.len() - 1].end);
        let long = words.iter().filter(|it| it.text.chars().count() > 1).count();
        let is_place = |it: &String| PLACES.contains(it.as_str());
        let is_given = GIVEN.contains(lower[0].split('-').next().unwrap_or_default());
        let cued = self.cued(from) || self.acts(from, to) || self.speaks(from, to);
        let titled = titled || self.before(from).is_some_and(|it| TITLES.contains(&it.as_str()));
        if titled && words.len() <= 4 {
            return claims.take(part, PiiType::Person, 0.85, "name_by_title");
        }
        if lower.iter().all(is_place) && !(is_given && cued) {
            return claims.take(part, PiiType::Location, 0.75, "place");
        }
        if words.len() <= 5 && self.is_company(from, to, is_given) {
            return claims.take(part, PiiType::Organization, 0.6, "company_by_context");
        }
        if words.len() == 1
            && self.before(from).is_some_and(|it| PLACE_CUES.contains(&it.as_str()))
            && !is_given
        {
            return claims.take(part, PiiType::Location, 0.5, "place_by_word");
        }
        let is_shouted =
            part.1 - part.0 > 2 && words.iter().all(|it| it.text.chars().all(char::is_uppercase));
        let is_name = words.len() <= 4 && !lower.iter().any(is_place);
        let confidence = match (words.len(), is_given) {
            (2..=4, true) => 0.85,
            (1, true) if !is_shouted => 0.65,
            (1..=4, false) if cued && is_name && !is_shouted => 0.6,
            // Under the key of a product or title, unknown words are its name.
            (2..=3, false) if self.hint == Some(Hint::Other) => return,
            (2..=3, false) if is_name && long >= 1 && !heading && !is_shouted => 0.5,
            _ => return,
        };
        claims.take(part, PiiType::Person, confidence, "name");
    }

    /// Says whether what stands beside a name is said of companies. A given name is a person's who
    /// works there, unless the company is named as such.
    fn is_company(&self, from: usize, to: usize, is_given: bool) -> bool {
        /// Words between `is a` and what it is.
        const BETWEEN: usize = 4;
        let before = self.before(from).unwrap_or_default();
        let two = from.checked_sub(2).map(|it| format!("{} {before}", self.words[it].lower()));
        if two.is_some_and(|it| AT_COMPANIES.contains(&it.as_str())) {
            return true;
        }
        let near = |at: usize| {
            let word = self.words.get(at)?;
            let gap = &self.text[self.words[at - 1].end..word.start];
            (gap == " ").then(|| word.lower())
        };
        let Some(next) = near(to) else { return false };
        if OF_COMPANIES.contains(&next.as_str()) {
            return !is_given || before == "the";
        }
        let is_said = matches!(next.as_str(), "is" | "was")
            && near(to + 1).is_some_and(|it| matches!(it.as_str(), "a" | "an" | "the"));
        is_said
            && (to + 2..to + 2 + BETWEEN)
                .map_while(near)
                .any(|it| KINDS_OF_COMPANIES.contains(&it.as_str()))
    }

    /// Returns the word before in the same sentence.
    fn before(&self, at: usize) -> Option<String> {
        let word = &self.words[at];
        let before = at.checked_sub(1).map(|it| self.words[it])?;
        let gap = &self.text[before.end..word.start];
        if gap == ". " && is_title(&before) {
            return Some(before.lower());
        }
        (gap.len() <= 6 && !gap.contains(['!', '?', '.'])).then(|| before.lower())
    }

    /// Says whether what follows is what people do.
    fn acts(&self, from: usize, to: usize) -> bool {
        let Some(next) = self.words.get(to).filter(|_| self.words[from].is_first) else {
            return false;
        };
        let gap = &self.text[self.words[to - 1].end..next.start];
        match gap {
            " " => ACTS.contains(&next.text),
            ", " => ASKS.contains(&next.text),
            _ => false,
        }
    }

    /// Says whether a line begins with who speaks.
    fn speaks(&self, from: usize, to: usize) -> bool {
        let before = &self.text[..self.words[from].start];
        let after = &self.text[self.words[to - 1].end..];
        (before.is_empty() || before.ends_with('\n')) && after.starts_with(": ")
    }

    fn cued(&self, at: usize) -> bool {
        let Some(before) = self.before(at) else { return false };
        let two = at.checked_sub(2).map(|it| format!("{} {before}", self.words[it].lower()));
        let is_is = |it: &String| {
            matches!(it.as_str(), "name is" | "i am" | "is called" | "it to" | "why is" | "who is")
        };
        CUES.contains(&before.as_str()) || two.as_ref().is_some_and(is_is)
    }
}

fn is_title(word: &Word<'_>) -> bool {
    TITLES.contains(&word.lower().as_str())
}

fn is_common(word: &Word<'_>) -> bool {
    let lower = word.lower();
    let stem = lower.split(['\'', '’']).next().unwrap_or_default().trim_end_matches('n');
    let is_initial = word.text.len() == 1 && word.text != "I" && word.text != "A";
    !is_title(word)
        && word.is_capital
        && !is_initial
        && (COMMON.contains(lower.as_str()) || stem.len() < lower.len() && COMMON.contains(stem))
}
