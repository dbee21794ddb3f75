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

fn policy(mode: PiiMode) -> Policy {
    Policy { key: Some(Key([7; 32])), ..Policy::all(mode) }
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
        hash: [PERSON#e33db40056ab2a18], card [CREDIT_CARD#e71d27398b2d47a3], [EMAIL#48008b4183d84dea]
        tokenise: [PERSON:ffbdc0da912dec5b], card [CREDIT_CARD:ff0e064ac5864987], [EMAIL:e6a6816e2aedd19b]
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
fn a_token_is_the_same_for_the_same_number_and_differs_by_key() {
    let token = |text: &str, key: u8| {
        redact_text(text, &Policy { key: Some(Key([key; 32])), ..Policy::all(PiiMode::Tokenise) })
    };
    assert_eq!(token("4111 1111 1111 1111", 1), token("4111111111111111", 1));
    assert_ne!(token("4111111111111111", 1), token("4111111111111111", 2));
    assert_ne!(token("4111111111111111", 1), token("5555555555554444", 1));
    // Without a key there is nothing that could be told apart.
    assert_eq!(redact_text("4111111111111111", &Policy::all(PiiMode::Tokenise)), "[CREDIT_CARD]");
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
                let items = map.iter().map(|(key, it)| (key.clone(), shape(it)));
                Value::Map(items.collect::<traaviis_model::Map>().into())
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
        ) {
            let inner = Value::map([(key.as_str(), Value::from(text.as_str()))]);
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
