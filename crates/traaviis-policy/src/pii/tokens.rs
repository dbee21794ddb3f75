//! What is recognised by its letters: e-mail, secrets, IBANs, wallets, hardware and web addresses.

use std::{net::Ipv6Addr, sync::LazyLock};

use regex::Regex;
use traaviis_model::privacy::PiiType;

use super::{Seen, checks, claims::Claims};

/// Characters of the local part of an e-mail address that are looked at.
const LOCAL_BYTES_MAX: usize = 128;
/// Characters of a domain that are looked at.
const DOMAIN_BYTES_MAX: usize = 253;

fn pattern(text: &str) -> Regex {
    Regex::new(text).expect("the pattern is constant")
}

/// What this module has put in the place of personal data.
static REDACTED: LazyLock<Regex> =
    LazyLock::new(|| pattern(r"\[[A-Z_]{2,14}(?:#[0-9a-f]{16}|:(?:[0-9a-f]{2}){17,})?\]"));

/// Says whether a whole text is what this module writes.
pub(super) fn is_replacement(text: &str) -> bool {
    if let Some(last) = text.strip_prefix("****") {
        return last.len() == 4 && last.bytes().all(|it| it.is_ascii_alphanumeric());
    }
    let whole = REDACTED.find(text).is_some_and(|it| it.len() == text.len());
    let word = text.trim_start_matches('[').split(['#', ':', ']']).next().unwrap_or_default();
    whole && PiiType::ALL.iter().any(|it| it.as_str() == word)
}

/// Returns the tokens in a text: where they begin and end.
pub(super) fn tokens(text: &str) -> impl Iterator<Item = (usize, usize)> {
    let found = REDACTED.find_iter(text).filter(|it| it.as_str().contains(':'));
    found.map(|it| (it.start(), it.end()))
}

/// Ids, digests and times of the platform.
static TECHNICAL: LazyLock<Regex> = LazyLock::new(|| {
    pattern(concat!(
        r"(?-u:\b)(?:",
        r"[0-9A-Fa-f]{8}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{12}",
        r"|[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9]{2}:[0-9]{2}(?::[0-9]{2}(?:\.[0-9]+)?)?Z?",
        r"|(?:[0-9a-f]{40}|[0-9a-f]{64}|[0-9a-f]{32})",
        r")(?-u:\b)",
    ))
});

/// Invariant: what is tried at one place ends before the next place where the same is tried, or
/// after some hundred characters. Whoever sends texts could otherwise have each of them read to its
/// end as often as a key seems to begin in it: a key ends before five dashes, the head of a token
/// is short.
static SECRET: LazyLock<Regex> = LazyLock::new(|| {
    pattern(concat!(
        r"-----BEGIN [A-Z ]*PRIVATE KEY-----(?:(?:-{0,4}[A-Za-z0-9+/=\s:,])*-----END [A-Z ]*PRIVATE KEY-----|[A-Za-z0-9+/=\s]*)",
        r"|(?-u:\b)(?:",
        r"(?:AKIA|ASIA)[0-9A-Z]{16}",
        r"|gh[pousr]_[A-Za-z0-9]{30,}|github_pat_[A-Za-z0-9_]{22,}|glpat-[A-Za-z0-9_-]{20,}",
        r"|xox[abeprs]-[A-Za-z0-9-]{10,}|npm_[A-Za-z0-9]{30,}|AIza[A-Za-z0-9_-]{35}",
        r"|sk-[A-Za-z0-9_-]{20,}|[rs]k_(?:live|test)_[A-Za-z0-9]{16,}",
        r"|SG\.[A-Za-z0-9_-]{16,}\.[A-Za-z0-9_-]{16,}|hf_[A-Za-z0-9]{30,}|ya29\.[A-Za-z0-9_-]{20,}",
        r"|eyJ[A-Za-z0-9_-]{8,512}\.[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}",
        r"|[A-Za-z][A-Za-z0-9+.-]{1,15}://[^\s:/@\x22'<>]*:[^\s/@\x22'<>]+@[^\s\x22'<>]+",
        r")",
    ))
});

/// A word for a secret, and the secret behind it.
static NAMED_SECRET: LazyLock<Regex> = LazyLock::new(|| {
    pattern(concat!(
        r"(?i-u:\b(?:password|passwd|pwd|passphrase|api[_ -]?key|secret|access[_ -]?token|",
        r"client[_ -]?secret|bearer)\b)[\x22']?(?:\s*[:=]\s*|\s+is\s+|\s+)([^\s\x22',;]{6,})",
    ))
});

static WALLET: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r"(?-u:\b)(?:bc1[02-9ac-hj-np-z]{11,71}|0x[0-9A-Fa-f]{40}|[13][1-9A-HJ-NP-Za-km-z]{25,34})(?-u:\b)",
    )
});

static MAC: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r"(?-u:\b)(?:[0-9A-Fa-f]{2}(?::[0-9A-Fa-f]{2}){5}|[0-9A-Fa-f]{2}(?:-[0-9A-Fa-f]{2}){5}|[0-9A-Fa-f]{4}\.[0-9A-Fa-f]{4}\.[0-9A-Fa-f]{4})(?-u:\b)",
    )
});

static IPV6: LazyLock<Regex> =
    LazyLock::new(|| pattern(r"[0-9A-Fa-f]{0,4}:[0-9A-Fa-f:]*:[0-9A-Fa-f:.]*"));

static URL: LazyLock<Regex> = LazyLock::new(|| pattern(r"(?-u:\b)https?://[^\s\x22'<>\\]+"));

static IBAN: LazyLock<Regex> =
    LazyLock::new(|| pattern(r"(?-u:\b)[A-Za-z]{2}[0-9]{2}[ -]?[A-Z0-9a-z]"));

/// A word for a document that carries a number, and the number behind it.
static NUMBERED: LazyLock<Regex> = LazyLock::new(|| {
    pattern(concat!(
        r"(?i-u:\b(?:(passport)|(driver'?s?'? licen[cs]e|driving licen[cs]e)|",
        r"(tax id|tin|vat id|vat number|tax number)|(national id|identity card|id card)|",
        r"(medical record|mrn|patient id|health insurance)|(account|bank account))\b)",
        r"(?i-u:(?: (?:number|no\.?|num|id))?(?:\s*[:=#]\s*| is | ))",
        r"([A-Za-z0-9][A-Za-z0-9-]{4,21})",
    ))
});
const NUMBERED_TYPES: [PiiType; 6] = [
    PiiType::Passport,
    PiiType::DriverLicense,
    PiiType::TaxId,
    PiiType::NationalId,
    PiiType::MedicalId,
    PiiType::BankAccount,
];

/// Takes what is redacted already.
pub(super) fn redacted(text: &str, claims: &mut Claims) {
    if text.contains('[') {
        REDACTED.find_iter(text).for_each(|it| claims.clear((it.start(), it.end())));
    }
}

pub(super) fn find(text: &str, seen: &Seen, claims: &mut Claims) {
    if seen.long {
        for it in SECRET.find_iter(text) {
            claims.take((it.start(), it.end()), PiiType::Secret, 0.95, "secret_shape");
        }
    }
    if seen.digit {
        TECHNICAL.find_iter(text).for_each(|it| claims.clear((it.start(), it.end())));
    }
    if seen.at {
        emails(text, claims);
    }
    if seen.colon {
        urls(text, claims);
        ipv6(text, claims);
        if seen.digit {
            named_secrets(text, claims);
        }
    }
    if !seen.digit {
        return;
    }
    if seen.long {
        for it in MAC.find_iter(text) {
            claims.take((it.start(), it.end()), PiiType::Mac, 0.95, "mac");
        }
        for it in WALLET.find_iter(text) {
            let is_short = it.as_str().starts_with(['1', '3']);
            if !is_short || checks::base58_address(it.as_str()) {
                claims.take((it.start(), it.end()), PiiType::Crypto, 0.9, "wallet");
            }
        }
    }
    ibans(text, claims);
    for it in NUMBERED.captures_iter(text) {
        let kind = (1..=6).find(|at| it.get(*at).is_some()).map(|at| NUMBERED_TYPES[at - 1]);
        let number =
            it.get(7).filter(|it| it.as_str().bytes().filter(u8::is_ascii_digit).count() > 3);
        if let (Some(kind), Some(number)) = (kind, number)
            && !(kind == PiiType::BankAccount && number.as_str().bytes().any(|it| it == b'-'))
        {
            claims.take((number.start(), number.end()), kind, 0.75, "number_by_word");
        }
    }
}

/// Takes e-mail addresses: what stands on both sides of an `@`.
fn emails(text: &str, claims: &mut Claims) {
    let is_local = |it: char| it.is_alphanumeric() || "._%+-'".contains(it);
    for (at, _) in text.match_indices('@') {
        let before = &text[..at];
        let local = before.chars().rev().take(LOCAL_BYTES_MAX).take_while(|it| is_local(*it));
        let mut start = at - local.map(char::len_utf8).sum::<usize>();
        start +=
            text[start..at].len() - text[start..at].trim_start_matches(['.', '-', '\'', '%']).len();
        let domain: usize = text[at + 1..]
            .chars()
            .take(DOMAIN_BYTES_MAX)
            .take_while(|it| it.is_alphanumeric() || matches!(it, '.' | '-'))
            .map(char::len_utf8)
            .sum();
        let domain = text[at + 1..at + 1 + domain].trim_end_matches(['.', '-']);
        let top = domain.rsplit_once('.').map_or("", |it| it.1);
        let is_top = top.chars().count() >= 2 && top.chars().all(char::is_alphabetic);
        if start < at && is_top && !domain.starts_with('.') {
            claims.take((start, at + 1 + domain.len()), PiiType::Email, 0.98, "email");
        }
    }
}

fn urls(text: &str, claims: &mut Claims) {
    if !text.contains("://") {
        return;
    }
    for it in URL.find_iter(text) {
        let end =
            it.start() + it.as_str().trim_end_matches(['.', ',', ';', ')', ']', '?', '!']).len();
        claims.take((it.start(), end), PiiType::Url, 0.9, "url");
    }
}

fn ipv6(text: &str, claims: &mut Claims) {
    for it in IPV6.find_iter(text) {
        let found = it.as_str().trim_end_matches('.');
        let bytes = text.as_bytes();
        let is_alone = |at: Option<usize>| {
            at.and_then(|it| bytes.get(it))
                .is_none_or(|it| !it.is_ascii_alphanumeric() && *it != b':')
        };
        let (start, end) = (it.start(), it.start() + found.len());
        let fits = found.len() > 2 && found.bytes().any(|it| it.is_ascii_hexdigit());
        if fits
            && is_alone(start.checked_sub(1))
            && is_alone(Some(end))
            && found.parse::<Ipv6Addr>().is_ok()
        {
            claims.take((start, end), PiiType::Ip, 0.95, "ipv6");
        }
    }
}

fn named_secrets(text: &str, claims: &mut Claims) {
    for it in NAMED_SECRET.captures_iter(text) {
        let Some(secret) = it.get(1) else { continue };
        let word = secret.as_str().trim_end_matches(['.', ')', '!', '?']);
        let has = |is: fn(&u8) -> bool| word.bytes().any(|it| is(&it));
        if word.len() >= 6 && has(u8::is_ascii_digit) && has(u8::is_ascii_alphabetic) {
            let end = secret.start() + word.len();
            claims.take((secret.start(), end), PiiType::Secret, 0.8, "secret_by_word");
        }
    }
}

fn ibans(text: &str, claims: &mut Claims) {
    let bytes = text.as_bytes();
    let mut from = 0;
    while let Some(found) = IBAN.find_at(text, from) {
        from = found.start() + 4;
        let Some(count) = checks::iban_len(&bytes[found.start()..found.start() + 2]) else {
            continue;
        };
        let mut letters = [0u8; 34];
        let (mut have, mut at) = (0, found.start());
        while have < count && at < bytes.len() {
            match bytes[at] {
                byte if byte.is_ascii_alphanumeric() => {
                    letters[have] = byte;
                    have += 1;
                }
                b' ' | b'-' if have > 0 && !matches!(bytes[at - 1], b' ' | b'-') => {}
                _ => break,
            }
            at += 1;
        }
        let is_end = bytes.get(at).is_none_or(|it| !it.is_ascii_alphanumeric() && *it < 0x80);
        if have == count && is_end {
            match checks::iban(&letters[..count]) {
                true => claims.take((found.start(), at), PiiType::Iban, 0.99, "iban"),
                // Its digits are no telephone number either.
                false => claims.clear((found.start(), at)),
            }
            from = at;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use traaviis_model::privacy::PiiMode;

    use super::*;
    use crate::pii::{Policy, redact_text};

    /// Bytes of each text: half of what a request may have.
    const BYTES: usize = 512 << 10;
    /// A pattern reads such a text in some thousandths of a second; where each place is read on to
    /// the end, it takes half a minute. Nothing in between happens on a busy machine either.
    const LONGEST: Duration = Duration::from_secs(5);

    #[test]
    #[expect(clippy::disallowed_methods, reason = "a test may measure")]
    fn no_text_is_read_again_and_again() {
        let patterns: [(&str, &Regex); 10] = [
            ("redacted", &REDACTED),
            ("technical", &TECHNICAL),
            ("secret", &SECRET),
            ("named_secret", &NAMED_SECRET),
            ("wallet", &WALLET),
            ("mac", &MAC),
            ("ipv6", &IPV6),
            ("url", &URL),
            ("iban", &IBAN),
            ("numbered", &NUMBERED),
        ];
        for part in [
            "-----BEGIN PRIVATE KEY-----",
            "-----BEGIN PRIVATE KEY-----:",
            "-----BEGIN PRIVATE KEY-----\nMIIE\n-----END ",
            "-----BEGIN A ",
            "eyJaaaaaaaa-AKIA0123456789ABCDEF-",
            "eyJaaaaaaaa.AKIA0123456789ABCDEF-",
            "ab://x:AKIA0123456789ABCDEF,",
            "SG.aaaaaaaaaaaaaaaa-AKIA0123456789ABCDEF-",
            "sk-a-AKIA0123456789ABCDEF_",
            "password \t",
            "password\n\n: abcdef",
            "passport\n\n\n",
            "account # ",
            "[A",
            "[EMAIL:0a",
            "http://a:",
            "::",
            "0a:0a:",
            "DE00 ",
            "1",
        ] {
            let text = part.repeat(BYTES / part.len());
            for (name, pattern) in patterns {
                let begun = Instant::now();
                let count = pattern.find_iter(&text).count();
                let took = begun.elapsed();
                assert!(took < LONGEST, "{name} finds {count} of {part:?} after {took:?}");
            }
        }
    }

    #[test]
    fn keys_are_found_to_their_end() {
        let policy = Policy::all(PiiMode::Mask);
        let (head, end) = ("-----BEGIN RSA PRIVATE KEY-----", "-----END RSA PRIVATE KEY-----");
        let body = "MIIEpA+/0".repeat(7);
        let more = "Proc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,0A\n\n";
        for (text, expected) in [
            (format!("a {head}\n{body}\nabcd\n{end} b"), "a [SECRET] b"),
            (format!("a {head}\n{more}{body}\n{end} b"), "a [SECRET] b"),
            (format!("{head}\n{body}\n{end}{head}\n{body}\n{end}!"), "[SECRET][SECRET]!"),
            (format!("{head}{body}.{head}{body}\n{end}!"), "[SECRET].[SECRET]!"),
        ] {
            assert_eq!(redact_text(&text, &policy), expected, "{text}");
        }
        let token = format!("eyJ{}.{}.{}", "a".repeat(300), "b".repeat(9_000), "c".repeat(86));
        assert_eq!(redact_text(&format!("see {token};"), &policy), "see [SECRET];");
    }
}
