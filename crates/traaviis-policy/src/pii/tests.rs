//! What is found in small texts, and the laws of redaction.

use expect_test::{Expect, expect};
use traaviis_model::{
    Value,
    privacy::{PiiMode, PiiType, RedactionKey},
};

use super::{Policy, Revealed, Target, find, find_in_text, redact, redact_text, reveal};

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
        expect![[r#"
            EMAIL jürgen.o'neil+x@bücher.example (email)
            EMAIL a@b.example (email)
            CREDIT_CARD 4111 1111 1111 1111 (luhn)
            IBAN GB82 WEST 1234 5698 7654 32 (iban)
            SSN 458-93-5727 (ssn)
            IP 10.20.30.40 (ipv4)
            IP fe80::1ff:fe23:4567:890a (ipv6)
            MAC 00:1B:44:11:3A:B7 (mac)
            SECRET AKIAICPHKQDLMTTNS4LR (secret_shape)
            SECRET postgres://svc:hJOUVf7zQjtA@db.internal:5432/app (secret_shape)
            DOB 10 July 1958 (date_by_word)
        "#]],
    );
}

#[test]
fn words_and_forms_find_people_places_and_companies() {
    check(
        "Please call Anna Fischer on (684) 555-0143 about the contract.\n\
         Ship to Hauptstraße 187, 74911 Vienna, attention Maria Fischer.\n\
         ms. Yilmaz of Acme Logistics lives in New Zealand, she is 42 years old.\n\
         Will Call Pickup, Payment Service, Error in Order Service",
        expect![[r#"
            PERSON Anna Fischer (name)
            PHONE (684) 555-0143 (phone)
            ADDRESS Hauptstraße 187, 74911 Vienna (address_by_word)
            PERSON Maria Fischer (name)
            PERSON Yilmaz (name_by_title)
            ORGANIZATION Acme Logistics (company_by_word)
            LOCATION New Zealand (place)
            AGE 42 (age)
        "#]],
    );
    // What is said of companies tells one that is called like nothing.
    check(
        "She worked for Brightmoor until May, then her job at Quellwerk began.\n\
         The Zentaro office is closed. Zentaro announced it.\n\
         Veloxa is a Danish manufacturer; Ludmila is a Danish teacher.\n\
         The Payment office is open. The Error is a company matter.",
        expect![[r#"
            ORGANIZATION Brightmoor (company_by_context)
            ORGANIZATION Quellwerk (company_by_context)
            ORGANIZATION Zentaro (company_by_context)
            ORGANIZATION Zentaro (company_by_context)
            ORGANIZATION Veloxa (company_by_context)
        "#]],
    );
    check("The Quick Start Guide says: Press Start. Total Amount 31117.55 EUR", expect![[""]]);
}

#[test]
fn keys_tell_what_stands_under_them() {
    let value = value(
        r#"{"customer": {"name": "Xq Zz", "phone": "40123", "age": 44, "password": "hunter2"},
            "product": {"name": "Xq Zz", "age": "44"}, "dob": "1.2.1980", "started": "1.2.1980",
            "ean": "4111111111111111", "card": 4111111111111111, "count": 4111111111111112}"#,
    );
    let mut shown = String::new();
    for it in find(&value) {
        shown.push_str(&format!("{} {}\n", it.pointer, it.kind.as_str()));
    }
    expect![[r#"
        /card CREDIT_CARD
        /customer/age AGE
        /customer/name PERSON
        /customer/password SECRET
        /customer/phone PHONE
        /dob DOB
        /product/age AGE
    "#]]
    .assert_eq(&shown);
}

#[test]
fn identifiers_of_the_platform_are_no_findings() {
    for text in [
        "019353b4-5b3a-7000-8000-0123456789ab.12.work/0",
        "2026-11-29T16:20:01.123456Z",
        "9be29d4b3b4c31519890e0dc5cd82375f0d2199f",
        "order 6889650767 of ORD50749528, tracking 1ZHQMOE95B9EE0VBGI, version 18.12.57.326",
        "work/step_2#3 at /states/a/invoke/0 took 1500 ms",
    ] {
        assert!(find_in_text(text).is_empty(), "{text}: {:?}", find_in_text(text));
    }
}

fn key(byte: u8) -> RedactionKey {
    RedactionKey::new([byte; 32].into())
}

fn policy(mode: PiiMode) -> Policy {
    Policy { key: Some(key(7)), ..Policy::all(mode) }
}

const NOTE: &str = "Anna Fischer, card 4111 1111 1111 1111, ann@example.com";

#[test]
fn each_mode_replaces_in_its_way() {
    let mut shown = String::new();
    for mode in PiiMode::ALL {
        shown.push_str(&format!("{}: {}\n", mode.as_str(), redact_text(NOTE, &policy(*mode))));
    }
    expect![[r#"
        mask: [PERSON], card [CREDIT_CARD], [EMAIL]
        partial: [PERSON], card ****1111, [EMAIL]
        hash: [PERSON#4a4958b99526e672], card [CREDIT_CARD#7a63e4185759b41b], [EMAIL#3180904a9d73ed85]
        tokenise: [PERSON:d6037068630ba4662978b5a8b45c6b7053c572a9d6a54d35cdf084ff], card [CREDIT_CARD:6e3fddd8a85863246406d664f2eab807259b930661a9217c65f6c652f7c0ae7f05347d], [EMAIL:59b83e4813a646406d97651abf0b86a591d0e913d86434da038924223b1c2c]
        drop: , card , 
        block: [PERSON], card [CREDIT_CARD], [EMAIL]
    "#]].assert_eq(&shown);
    let blocked = redact(&Value::from(NOTE), &policy(PiiMode::Block)).unwrap_err();
    assert_eq!(
        blocked.to_string(),
        "personal data of type `PERSON`, `EMAIL`, `CREDIT_CARD` must not be here"
    );
    assert_eq!(redact(&Value::from("fine"), &policy(PiiMode::Block)).unwrap().counts.len(), 0);
}

#[test]
fn a_digest_is_the_same_for_the_same_thing_of_one_tenant() {
    let digest = |text: &str, by: u8| {
        redact_text(text, &Policy { key: Some(key(by)), ..Policy::all(PiiMode::Hash) })
    };
    assert_eq!(digest("4111 1111 1111 1111", 1), digest("4111111111111111", 1));
    assert_eq!(digest("Ann@Example.com", 1), digest("ann@example.com", 1));
    // Only writers of numbers put points where they like.
    assert_ne!(digest("a.nn@example.com", 1), digest("ann@example.com", 1));
    assert_ne!(digest("4111111111111111", 1), digest("4111111111111111", 2));
    assert_ne!(digest("4111111111111111", 1), digest("5555555555554444", 1));
    // Without a key there is nothing that could be told apart.
    assert_eq!(redact_text("4111111111111111", &Policy::all(PiiMode::Hash)), "[CREDIT_CARD]");
}

#[test]
fn a_token_is_turned_back_by_the_key_that_made_it_alone() {
    let note = "Anna Fischer, card 4111 1111 1111 1111, ann@example.com, again ann@example.com";
    let told = redact_text(note, &policy(PiiMode::Tokenise));
    assert_eq!(told, redact_text(note, &policy(PiiMode::Tokenise)));
    assert!(!told.contains("Fischer") && !told.contains("4111"), "{told}");
    let revealed = reveal(&told, &key(7));
    assert_eq!(revealed.text, note);
    assert_eq!(revealed.counts[&PiiType::Email], 2);
    assert_eq!(revealed.strange, 0);

    let strange = Revealed { text: told.clone(), strange: 4, ..Revealed::default() };
    assert_eq!(reveal(&told, &key(8)), strange);
    // The type is sealed with the text, and so is every digit.
    for (from, to) in [("[EMAIL:", "[PHONE:"), ("]", "0]"), ("]", "00]")] {
        let changed = told.replace(from, to);
        assert!(!reveal(&changed, &key(7)).text.contains("ann@"), "{changed}");
    }
    let token = redact_text("ann@example.com", &policy(PiiMode::Tokenise));
    for at in "[EMAIL:".len()..token.len() - 1 {
        let digit = if &token[at..=at] == "0" { "1" } else { "0" };
        let changed = format!("{}{digit}{}", &token[..at], &token[at + 1..]);
        assert_eq!(reveal(&changed, &key(7)).strange, 1, "{changed}");
    }
    assert_eq!(redact_text("4111111111111111", &Policy::all(PiiMode::Tokenise)), "[CREDIT_CARD]");
}

#[test]
fn the_cipher_of_tokens_is_the_one_of_the_standard() {
    // RFC 5297, A.1, has a key of 32 bytes; tokens take the same cipher with a key of 64.
    use aes_siv::{KeyInit as _, siv::Aes128Siv};
    let bytes = |digits: &str| -> Vec<u8> {
        let pair = |at: usize| u8::from_str_radix(&digits[at..at + 2], 16).unwrap();
        (0..digits.len()).step_by(2).map(pair).collect()
    };
    let key = bytes("fffefdfcfbfaf9f8f7f6f5f4f3f2f1f0f0f1f2f3f4f5f6f7f8f9fafbfcfdfeff");
    let header = bytes("101112131415161718191a1b1c1d1e1f2021222324252627");
    let sealed = Aes128Siv::new_from_slice(&key)
        .unwrap()
        .encrypt([header], &bytes("112233445566778899aabbccddee"))
        .unwrap();
    assert_eq!(sealed, bytes("85632d07c6e8f37f950acd320a2ecc9340c02b9690c4dc04daef7f6afe5c"));
}

#[test]
fn what_looks_like_a_replacement_and_is_none_is_replaced() {
    let target = |pointer: &str| Target { pointer: pointer.into(), kind: Some(PiiType::Person) };
    let policy = Policy { targets: ["/a", "/b", "/c"].map(target).into(), ..policy(PiiMode::Mask) };
    let value =
        value(r#"{"a": "[PERSON: Anna Fischer]", "b": "****9xZ1", "c": "**** Anna Fischer"}"#);
    let redacted = redact(&value, &policy).unwrap().value;
    assert_eq!(redacted.to_json(), r#"{"a":"[PERSON]","b":"****9xZ1","c":"[PERSON]"}"#);
}

#[test]
fn keys_of_maps_are_redacted_and_stay_apart() {
    let given = value(
        r#"{"ann@example.com": 1, "bob@example.com": {"4111 1111 1111 1111": "x"}, "[EMAIL]": 2,
            "Anna Fischer": 3, "2026-05-28": 4, "https://schema.org/name": 5, "address1": 6}"#,
    );
    let shown = |mode| redact(&given, &policy(mode)).unwrap().value.to_json();
    expect![[r#"{"2026-05-28":4,"Anna Fischer":3,"[EMAIL]":2,"[EMAIL]_2":1,"[EMAIL]_3":{"[CREDIT_CARD]":"x"},"address1":6,"https://schema.org/name":5}"#]]
        .assert_eq(&shown(PiiMode::Mask));
    assert_eq!(shown(PiiMode::Drop), shown(PiiMode::Mask));
    let twice =
        redact(&redact(&given, &policy(PiiMode::Hash)).unwrap().value, &policy(PiiMode::Hash));
    assert_eq!(twice.unwrap().value.to_json(), shown(PiiMode::Hash));
    let blocks = Policy { types: vec![PiiType::Email], ..policy(PiiMode::Block) };
    assert!(redact(&given, &blocks).is_err());
}

#[test]
fn named_places_are_replaced_whole_or_looked_through() {
    let target = |pointer: &str, kind| Target { pointer: pointer.into(), kind };
    let policy = Policy {
        types: Vec::new(),
        targets: vec![
            target("/a~1b/0", Some(PiiType::Custom)),
            target("/who", Some(PiiType::Person)),
            target("/note", None),
            target("/absent/x", None),
        ],
        ..Policy::all(PiiMode::Mask)
    };
    let value = value(
        r#"{"a/b": [{"x": [1, "y", true, null, ""]}, 2], "who": "q", "note": "hi a@b.example", "other": "a@b.example"}"#,
    );
    let redacted = redact(&value, &policy).unwrap();
    expect![[r#"{"a/b":[{"x":["[CUSTOM]","[CUSTOM]",true,null,""]},2],"note":"hi [EMAIL]","other":"a@b.example","who":"[PERSON]"}"#]].assert_eq(&redacted.value.to_json());
    assert_eq!(redact(&redacted.value, &policy).unwrap().value, redacted.value);
}

mod laws {
    use proptest::prelude::*;

    use super::*;

    /// Text of pieces that rules look for, which meet in any way.
    fn text() -> impl Strategy<Value = String> {
        let piece = prop_oneof![
            "[a-zA-Z0-9 @.:/+()-]{0,12}",
            "[0-9 -]{5,22}",
            prop::sample::select(vec![
                "ann@example.com",
                "4111 1111 1111 1111",
                "+44 20 7946 0958",
                "Anna Fischer",
                "Dr. ",
                "call ",
                "name is ",
                "GB82 WEST 1234 5698 7654 32",
                "12 Main Street, ",
                "458-93-5727",
                "born 1980-02-01",
                "[EMAIL]",
                "[",
                "]",
                "****1111",
                "\n",
                "é",
                "’s ",
                "AKIAIOSFODNN7EXAMPLE",
                "https://a.example/x",
                "password: hunter22",
                "ext. 5",
            ])
            .prop_map(str::to_string),
        ];
        prop::collection::vec(piece, 0..8).prop_map(|it| it.concat())
    }

    fn shape(value: &Value) -> Value {
        match value {
            Value::List(items) => Value::list(items.iter().map(shape)),
            Value::Map(map) => {
                // Keys are redacted, too, so only what stands under them is compared.
                let mut items: Vec<Value> = map.iter().map(|(_, it)| shape(it)).collect();
                items.sort_by_key(Value::to_json);
                Value::list(items)
            }
            Value::String(_) | Value::Int(_) | Value::Uint(_) | Value::Float(_) => {
                Value::from("scalar")
            }
            other => other.clone(),
        }
    }

    proptest! {
        #[test]
        fn redacting_twice_is_redacting_once(
            text in text(),
            key in "email|phone|name|card|note|x",
            other in text(),
        ) {
            let inner = Value::map([
                (key.as_str(), Value::from(text.as_str())),
                (other.as_str(), Value::Int(1)),
            ]);
            let value = Value::map([("customer", inner)]);
            for mode in PiiMode::ALL.iter().filter(|it| **it != PiiMode::Block) {
                let once = redact(&value, &policy(*mode)).unwrap().value;
                let twice = redact(&once, &policy(*mode)).unwrap().value;
                prop_assert_eq!(&twice, &once, "{:?} of {:?}", mode, text);
                prop_assert_eq!(shape(&once), shape(&value));
            }
        }

        #[test]
        fn findings_are_parts_of_the_text_in_order(text in text()) {
            let count = text.chars().count();
            let mut before = 0;
            for it in find_in_text(&text) {
                prop_assert!(before <= it.start && it.start < it.end && it.end <= count);
                before = it.end;
            }
        }
    }
}
