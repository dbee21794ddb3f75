//! Tokens of an issuer of the tests, with one thing wrong.

use aws_lc_rs::{
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _},
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Value as Json, json};

use super::*;

const NOW: Timestamp = Timestamp(1_800_000_000_000_000);
const EXPECTED: Expected<'_> =
    Expected { issuer: "https://login.example", client_id: "traaviis", nonce: "n0" };

struct Issuer {
    ec: EcdsaKeyPair,
    ed: Ed25519KeyPair,
}

impl Issuer {
    fn new() -> Issuer {
        let pkcs8 = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap();
        Issuer {
            ec: EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap(),
            ed: Ed25519KeyPair::from_pkcs8(pkcs8.as_ref()).unwrap(),
        }
    }

    fn keys(&self) -> Vec<Jwk> {
        let point = self.ec.public_key().as_ref();
        let encode = |it: &[u8]| URL_SAFE_NO_PAD.encode(it);
        let keys = json!([
            {
                "kty": "EC", "crv": "P-256", "kid": "ec", "alg": "ES256", "use": "sig",
                "x": encode(&point[1..33]), "y": encode(&point[33..]),
            },
            {
                "kty": "OKP", "crv": "Ed25519", "kid": "ed",
                "x": encode(self.ed.public_key().as_ref()),
            },
            { "kty": "EC", "crv": "P-256", "kid": "enc", "use": "enc",
                "x": encode(&point[1..33]), "y": encode(&point[33..]) },
        ]);
        serde_json::from_value(keys).unwrap()
    }

    fn token(&self, header: &Json, claims: &Json) -> String {
        let part = |it: &Json| URL_SAFE_NO_PAD.encode(it.to_string());
        let message = format!("{}.{}", part(header), part(claims));
        let signature = match header["kid"].as_str() {
            Some("ed") => self.ed.sign(message.as_bytes()).as_ref().to_vec(),
            _ => self.ec.sign(&SystemRandom::new(), message.as_bytes()).unwrap().as_ref().to_vec(),
        };
        format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature))
    }
}

fn header() -> Json {
    json!({ "alg": "ES256", "kid": "ec", "typ": "JWT" })
}

fn claims() -> Json {
    json!({
        "iss": "https://login.example", "sub": "u-1", "aud": "traaviis", "nonce": "n0",
        "iat": 1_800_000_000, "exp": 1_800_000_300, "email": "ada@example.org",
        "email_verified": true, "name": "Ada",
    })
}

#[test]
fn a_good_token_says_who_it_is() {
    let issuer = Issuer::new();
    let keys = issuer.keys();
    let told = check(&issuer.token(&header(), &claims()), &keys, &EXPECTED, NOW).unwrap();
    assert_eq!((told.sub.as_str(), told.email_verified), ("u-1", true));
    let ed = json!({ "alg": "EdDSA", "kid": "ed" });
    assert!(check(&issuer.token(&ed, &claims()), &keys, &EXPECTED, NOW).is_ok());
    let unnamed = json!({ "alg": "ES256" });
    let token = issuer.token(&unnamed, &claims());
    assert!(check(&token, &keys, &EXPECTED, NOW).is_ok(), "the only one of its kind that signs");
    let mut several = claims();
    several["aud"] = json!(["traaviis", "other"]);
    several["azp"] = json!("traaviis");
    assert!(check(&issuer.token(&header(), &several), &keys, &EXPECTED, NOW).is_ok());
    // Only the word `true` of the issuer counts.
    for word in [json!("true"), json!(1), json!(null), json!(false)] {
        let mut claims = claims();
        claims["email_verified"] = word;
        let told = check(&issuer.token(&header(), &claims), &keys, &EXPECTED, NOW).unwrap();
        assert!(!told.email_verified);
    }
}

#[test]
fn a_token_with_one_thing_wrong_is_refused() {
    let issuer = Issuer::new();
    let keys = issuer.keys();
    let refused = |token: &str| check(token, &keys, &EXPECTED, NOW).unwrap_err();
    for (field, value, expected) in [
        ("alg", json!("none"), Refused::Algorithm),
        ("alg", json!("HS256"), Refused::Algorithm),
        ("alg", json!("RS256"), Refused::Algorithm),
        ("alg", json!("EdDSA"), Refused::Algorithm),
        ("alg", json!("es256"), Refused::Algorithm),
        ("kid", json!("ed"), Refused::Algorithm),
        ("kid", json!("enc"), Refused::Algorithm),
        ("kid", json!("other"), Refused::Key),
        ("kid", json!(""), Refused::Key),
        ("crit", json!(["exp"]), Refused::Form),
        ("alg", json!(7), Refused::Form),
    ] {
        let mut header = header();
        header[field] = value;
        assert_eq!(refused(&issuer.token(&header, &claims())), expected, "{header}");
    }
    for (field, value, expected) in [
        ("iss", json!("https://login.example/"), Refused::Issuer),
        ("iss", json!("https://evil.example"), Refused::Issuer),
        ("aud", json!("other"), Refused::Audience),
        ("aud", json!(["other"]), Refused::Audience),
        ("aud", json!(["traaviis", "other"]), Refused::Audience),
        ("azp", json!("other"), Refused::Audience),
        ("exp", json!(1_799_999_940), Refused::Time),
        ("iat", json!(1_800_000_061), Refused::Time),
        ("nbf", json!(1_800_000_061), Refused::Time),
        ("exp", json!("1800000300"), Refused::Form),
        ("exp", json!(null), Refused::Form),
        ("iat", json!(null), Refused::Form),
        ("nonce", json!("n1"), Refused::Nonce),
        ("nonce", json!(null), Refused::Form),
        ("sub", json!(""), Refused::Subject),
        ("sub", json!("x".repeat(256)), Refused::Subject),
        ("sub", json!(null), Refused::Form),
    ] {
        let mut claims = claims();
        claims[field] = value;
        assert_eq!(refused(&issuer.token(&header(), &claims)), expected, "{claims}");
    }
    let good = issuer.token(&header(), &claims());
    for text in ["", "a", "a.b", "a.b.c", ".."] {
        assert_eq!(refused(text), Refused::Form, "{text}");
    }
    assert_eq!(refused(&"x".repeat(BYTES_MAX + 1)), Refused::Form);
    let stranger = Issuer::new().token(&header(), &claims());
    assert_eq!(refused(&stranger), Refused::Signature);
    let (message, _) = good.rsplit_once('.').unwrap();
    assert_eq!(refused(&format!("{message}.")), Refused::Signature);
    // Two keys of one name: nobody can say which one is meant.
    let twice = [keys.clone(), keys.clone()].concat();
    assert_eq!(check(&good, &twice, &EXPECTED, NOW), Err(Refused::Key));
    assert!(names_unknown(&issuer.token(&json!({ "alg": "ES256", "kid": "x" }), &claims()), &keys));
    assert!(!names_unknown(&good, &keys));
}

#[test]
fn no_changed_letter_passes() {
    let issuer = Issuer::new();
    let (keys, good) = (issuer.keys(), issuer.token(&header(), &claims()));
    for at in 0..good.len() {
        let mut bytes = good.clone().into_bytes();
        bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
        let changed = String::from_utf8(bytes).unwrap();
        assert!(check(&changed, &keys, &EXPECTED, NOW).is_err(), "letter {at}");
    }
}
