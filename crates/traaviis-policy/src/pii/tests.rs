//! What is found in small texts, and the laws of redaction.

use expect_test::{Expect, expect};
use traaviis_model::{
    Value,
    privacy::{PiiMode, PiiType},
};

use super::{Key, Policy, Target, find, find_in_text, redact, redact_text};

fn check(text: &str, expect: Expect) {
    let mut shown = String::new();
    for line in text.lines() {
        for it in find_in_text(line) {
            let part: String = line.chars().skip(it.start).take(it.end - it.start).collect();
            shown.push_str(&format!("{} {part} ({})\n", it.kind.as_str(), it.detector));
        }
    }
    expect.assert_eq(&shown);
}

fn value(json: &str) -> Value {
    serde_json::from_str(json).unwrap()
}

#[test]
fn patterns_and_check_digits_find_what_has_them() {
    check(
        "mail jürgen.o'neil+x@bücher.example, twice: a@b.example.\n\
         card 4111 1111 1111 1111, not 4111 1111 1111 1112\n\
         IBAN GB82 WEST 1234 5698 7654 32, not GB82WEST12345698765433\n\
         SSN 458-93-5727, not 000-12-3456\n\
         from 10.20.30.40 and fe80::1ff:fe23:4567:890a, version 18.12.57.326\n\
         nic 00:1B:44:11:3A:B7\n\
         key AKIAICPHKQDLMTTNS4LR, postgres://svc:hJOUVf7zQjtA@db.internal:5432/app\n\
         born 10 July 1958, started 2026-05-28T00:08:02Z, due 2026-05-28",
        expect![[""]],
    );
}
