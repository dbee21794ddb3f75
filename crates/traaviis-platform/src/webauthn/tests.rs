//! An authenticator of the tests, and answers of it with one thing wrong.

use aws_lc_rs::{
    rand::SystemRandom,
    rsa::{KeyPair as RsaKeyPair, KeySize},
    signature::{
        ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _,
        RSA_PKCS1_SHA256,
    },
};
use serde_json::{Value as Json, json};

use super::*;

const CHALLENGE: &str = "dGhlIGNoYWxsZW5nZSBvZiB0aGlzIGxvZ2luLi4uLi4";

fn party() -> Party {
    Party::of("https://flows.example.org").unwrap()
}

enum Device {
    Es256(EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
    Rs256(RsaKeyPair),
}

impl Device {
    fn all() -> [Device; 3] {
        let rng = SystemRandom::new();
        let pkcs8 = Ed25519KeyPair::generate_pkcs8(&rng).unwrap();
        [
            Device::Es256(EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).unwrap()),
            Device::Ed25519(Ed25519KeyPair::from_pkcs8(pkcs8.as_ref()).unwrap()),
            Device::Rs256(RsaKeyPair::generate(KeySize::Rsa2048).unwrap()),
        ]
    }

    fn cose(&self) -> Fields {
        let pair = |label: i64, value: Cbor| (Cbor::from(label), value);
        let number = |label: i64, value: i64| pair(label, Cbor::from(value));
        match self {
            Device::Es256(key) => {
                let point = key.public_key().as_ref();
                vec![
                    number(1, 2),
                    number(3, ES256),
                    number(-1, 1),
                    pair(-2, Cbor::Bytes(point[1..33].to_vec())),
                    pair(-3, Cbor::Bytes(point[33..].to_vec())),
                ]
            }
            Device::Ed25519(key) => vec![
                number(1, 1),
                number(3, EDDSA),
                number(-1, 6),
                pair(-2, Cbor::Bytes(key.public_key().as_ref().to_vec())),
            ],
            Device::Rs256(key) => {
                // PKCS #1: a sequence of two numbers. The modulus has a zero in front.
                let der = key.public_key().as_ref();
                let (n, e) = (der[9..9 + 256].to_vec(), der[der.len() - 3..].to_vec());
                vec![
                    number(1, 3),
                    number(3, RS256),
                    pair(-1, Cbor::Bytes(n)),
                    pair(-2, Cbor::Bytes(e)),
                ]
            }
        }
    }

    fn sign(&self, message: &[u8]) -> Vec<u8> {
        let rng = SystemRandom::new();
        match self {
            Device::Es256(key) => key.sign(&rng, message).unwrap().as_ref().to_vec(),
            Device::Ed25519(key) => key.sign(message).as_ref().to_vec(),
            Device::Rs256(key) => {
                let mut signature = vec![0; 256];
                key.sign(&RSA_PKCS1_SHA256, &rng, message, &mut signature).unwrap();
                signature
            }
        }
    }
}

fn bytes(value: &Cbor) -> Vec<u8> {
    let mut out = Vec::new();
    ciborium::into_writer(value, &mut out).unwrap();
    out
}

/// Fields of a map of CBOR.
type Fields = Vec<(Cbor, Cbor)>;

/// Everything that an authenticator and a browser say; a test changes one thing.
struct Said {
    client: Json,
    party_id: String,
    flags: u8,
    counter: u32,
    credential: Vec<u8>,
    raw_id: Option<String>,
    cose: Fields,
    extensions: Vec<u8>,
    format: &'static str,
    /// What becomes of the statement.
    statement: fn(Fields) -> Fields,
    signature: fn(Vec<u8>) -> Vec<u8>,
    outer: fn(Json) -> Json,
}

impl Said {
    fn of(device: &Device, kind: &str) -> Said {
        let flags = USER_PRESENT | USER_VERIFIED;
        Said {
            client: json!({
                "type": kind, "challenge": CHALLENGE, "origin": "https://flows.example.org",
                "crossOrigin": false,
            }),
            party_id: "flows.example.org".into(),
            flags: if kind == "webauthn.create" { flags | HAS_CREDENTIAL } else { flags },
            counter: 5,
            credential: vec![7; 32],
            raw_id: None,
            cose: device.cose(),
            extensions: Vec::new(),
            format: "none",
            statement: |it| it,
            signature: |it| it,
            outer: |it| it,
        }
    }

    fn data(&self) -> Vec<u8> {
        let mut data = Sha256::digest(self.party_id.as_bytes()).to_vec();
        data.push(self.flags);
        data.extend(self.counter.to_be_bytes());
        if self.flags & HAS_CREDENTIAL != 0 {
            data.extend([0; 16]);
            data.extend((self.credential.len() as u16).to_be_bytes());
            data.extend(&self.credential);
            data.extend(bytes(&Cbor::Map(self.cose.clone())));
        }
        data.extend(&self.extensions);
        data
    }

    fn answer(&self, device: &Device) -> Json {
        let client = self.client.to_string().into_bytes();
        let data = self.data();
        let signed = [data.as_slice(), &Sha256::digest(&client)].concat();
        let signature = (self.signature)(device.sign(&signed));
        let encode = |it: &[u8]| URL_SAFE_NO_PAD.encode(it);
        let response = if self.client["type"] == "webauthn.create" {
            let algorithm = Key::read(&bytes(&Cbor::Map(device.cose()))).unwrap().algorithm();
            let statement = match self.format {
                "none" => vec![],
                _ => vec![
                    (Cbor::from("alg"), Cbor::from(algorithm)),
                    (Cbor::from("sig"), Cbor::Bytes(signature)),
                ],
            };
            let object = Cbor::Map(vec![
                (Cbor::from("fmt"), Cbor::from(self.format)),
                (Cbor::from("attStmt"), Cbor::Map((self.statement)(statement))),
                (Cbor::from("authData"), Cbor::Bytes(data)),
            ]);
            json!({
                "clientDataJSON": encode(&client),
                "attestationObject": encode(&bytes(&object)),
                "transports": ["internal"],
            })
        } else {
            json!({
                "clientDataJSON": encode(&client),
                "authenticatorData": encode(&data),
                "signature": encode(&signature),
                "userHandle": encode(&[9; 16]),
            })
        };
        let id = self.raw_id.clone().unwrap_or_else(|| encode(&self.credential));
        (self.outer)(json!({
            "id": id, "rawId": id, "type": "public-key", "response": response,
            "clientExtensionResults": {}, "authenticatorAttachment": "platform",
        }))
    }
}

fn register(device: &Device, change: impl FnOnce(&mut Said)) -> Result<Made, Refused> {
    let mut said = Said::of(device, "webauthn.create");
    change(&mut said);
    Answer::read(&said.answer(device))?.check_registration(&party(), CHALLENGE)
}

fn assert(device: &Device, counter: u32, change: impl FnOnce(&mut Said)) -> Result<u32, Refused> {
    let mut said = Said::of(device, "webauthn.get");
    change(&mut said);
    let key = bytes(&Cbor::Map(device.cose()));
    Answer::read(&said.answer(device))?.check_assertion(&party(), CHALLENGE, (&key, counter))
}

#[test]
fn a_passkey_of_each_kind_is_made_and_used() {
    for device in Device::all() {
        let made = register(&device, |_| {}).unwrap();
        assert_eq!((made.credential, made.counter), (vec![7; 32], 5));
        assert_eq!(made.key, bytes(&Cbor::Map(device.cose())));
        let attested = register(&device, |it| it.format = "packed");
        assert!(attested.is_ok(), "{attested:?}");
        assert_eq!(assert(&device, 4, |_| {}), Ok(5));
        assert_eq!(assert(&device, 0, |it| it.counter = 0), Ok(0), "it does not count");
        assert_eq!(assert(&device, 0, |_| {}), Ok(5), "it begins to count");
        let synced = |it: &mut Said| it.flags |= MAY_BE_BACKED_UP | BACKED_UP;
        assert_eq!(assert(&device, 4, synced), Ok(5));
        let extended = |it: &mut Said| {
            it.flags |= HAS_EXTENSIONS;
            it.extensions = bytes(&Cbor::Map(vec![(Cbor::from("credProtect"), Cbor::from(2))]));
        };
        assert_eq!(assert(&device, 4, extended), Ok(5));
        assert!(register(&device, extended).is_ok());
    }
}

/// A check, what breaks it, and how it is refused.
type Case = (&'static str, fn(&mut Said), Refused);

const FORM: fn(&'static str) -> Refused = Refused::Form;

#[test]
fn every_check_of_a_registration_refuses() {
    let cases: Vec<Case> = vec![
        ("type", |it| it.client["type"] = json!("webauthn.get"), Refused::Type),
        ("challenge", |it| it.client["challenge"] = json!("AAAA"), Refused::Challenge),
        (
            "padding",
            |it| it.client["challenge"] = json!(format!("{CHALLENGE}=")),
            Refused::Challenge,
        ),
        ("origin", |it| it.client["origin"] = json!("https://evil.example"), Refused::Origin),
        ("scheme", |it| it.client["origin"] = json!("http://flows.example.org"), Refused::Origin),
        (
            "port",
            |it| it.client["origin"] = json!("https://flows.example.org:8443"),
            Refused::Origin,
        ),
        (
            "sub-domain",
            |it| it.client["origin"] = json!("https://x.flows.example.org"),
            Refused::Origin,
        ),
        ("frame", |it| it.client["crossOrigin"] = json!(true), Refused::Embedded),
        ("top", |it| it.client["topOrigin"] = json!("https://evil.example"), Refused::Embedded),
        ("party", |it| it.party_id = "example.org".into(), Refused::Party),
        ("present", |it| it.flags &= !USER_PRESENT, Refused::NotPresent),
        ("verified", |it| it.flags &= !USER_VERIFIED, Refused::NotVerified),
        ("backup", |it| it.flags |= BACKED_UP, Refused::Flags),
        ("no credential", |it| it.flags &= !HAS_CREDENTIAL, FORM("authData")),
        ("rest", |it| it.extensions = vec![0], FORM("authenticatorData")),
        ("extensions", |it| it.flags |= HAS_EXTENSIONS, FORM("authenticatorData")),
        (
            "list as extensions",
            |it| {
                it.flags |= HAS_EXTENSIONS;
                it.extensions = vec![0x80];
            },
            FORM("authenticatorData"),
        ),
        ("long id", |it| it.credential = vec![7; 1_024], FORM("rawId")),
        ("other id", |it| it.raw_id = Some("AAAA".into()), FORM("rawId")),
        ("format", |it| it.format = "android-safetynet", Refused::Attestation),
        (
            "statement of none",
            |it| it.statement = |_| vec![(Cbor::from("sig"), Cbor::Bytes(vec![]))],
            Refused::Attestation,
        ),
        (
            "certificates",
            |it| {
                it.format = "packed";
                it.statement = |mut it| {
                    it.push((Cbor::from("x5c"), Cbor::Array(vec![])));
                    it
                };
            },
            Refused::Attestation,
        ),
        (
            "other algorithm",
            |it| {
                it.format = "packed";
                it.statement = |mut it| {
                    it[0].1 = Cbor::from(-37);
                    it
                };
            },
            Refused::Attestation,
        ),
        (
            "two algorithms",
            |it| {
                it.format = "packed";
                it.statement = |mut it| {
                    it.push(it[0].clone());
                    it
                };
            },
            Refused::Attestation,
        ),
        (
            "no signature",
            |it| {
                it.format = "packed";
                it.statement = |mut it| {
                    it.pop();
                    it
                };
            },
            Refused::Attestation,
        ),
        (
            "attestation",
            |it| {
                it.format = "packed";
                it.signature = |mut it| {
                    it[12] ^= 1;
                    it
                };
            },
            Refused::Signature,
        ),
        ("key without algorithm", |it| drop(it.cose.remove(1)), Refused::Key),
        ("algorithm of the key", |it| it.cose[1].1 = Cbor::from(-39), Refused::Key),
        ("kind of key", |it| it.cose[0].1 = Cbor::from(4), Refused::Key),
        ("kind as text", |it| it.cose[0].1 = Cbor::from("2"), Refused::Key),
        ("two kinds", |it| it.cose.push(it.cose[0].clone()), Refused::Key),
        (
            "short key",
            |it| {
                if let Some(bytes) = it.cose.last_mut().unwrap().1.as_bytes_mut() {
                    bytes.clear();
                }
            },
            Refused::Key,
        ),
        (
            "kind of answer",
            |it| {
                it.outer = |mut it| {
                    it["type"] = json!("password");
                    it
                };
            },
            FORM("credential"),
        ),
        (
            "two ids",
            |it| {
                it.outer = |mut it| {
                    it["id"] = json!("AAAA");
                    it
                };
            },
            FORM("credential"),
        ),
        (
            "no attestation",
            |it| {
                it.outer = |mut it| {
                    it["response"]["attestationObject"] = json!(null);
                    it
                };
            },
            FORM("attestationObject"),
        ),
        (
            "rest behind the attestation",
            |it| {
                it.outer = |mut it| {
                    let text = it["response"]["attestationObject"].as_str().unwrap();
                    let mut object = URL_SAFE_NO_PAD.decode(text).unwrap();
                    object.push(0);
                    it["response"]["attestationObject"] = json!(URL_SAFE_NO_PAD.encode(object));
                    it
                };
            },
            FORM("attestationObject"),
        ),
        (
            "padded base64",
            |it| {
                it.outer = |mut it| {
                    let text = it["response"]["clientDataJSON"].as_str().unwrap().to_owned();
                    it["response"]["clientDataJSON"] = json!(text + "=");
                    it
                };
            },
            FORM("clientDataJSON"),
        ),
        (
            "huge",
            |it| {
                it.outer = |mut it| {
                    it["response"]["attestationObject"] = json!("A".repeat(100_000));
                    it
                };
            },
            FORM("attestationObject"),
        ),
    ];
    for device in Device::all() {
        for (name, change, expected) in &cases {
            assert_eq!(register(&device, change), Err(*expected), "{name}");
        }
    }
}

#[test]
fn every_check_of_a_login_refuses() {
    let cases: Vec<Case> = vec![
        ("challenge", |it| it.client["challenge"] = json!("AAAA"), Refused::Challenge),
        ("origin", |it| it.client["origin"] = json!("https://evil.example"), Refused::Origin),
        ("frame", |it| it.client["crossOrigin"] = json!(true), Refused::Embedded),
        ("party", |it| it.party_id = "evil.example".into(), Refused::Party),
        ("present", |it| it.flags &= !USER_PRESENT, Refused::NotPresent),
        ("verified", |it| it.flags &= !USER_VERIFIED, Refused::NotVerified),
        ("backup", |it| it.flags |= BACKED_UP, Refused::Flags),
        ("same count", |it| it.counter = 4, Refused::Counter),
        ("lower count", |it| it.counter = 3, Refused::Counter),
        ("no count any more", |it| it.counter = 0, Refused::Counter),
        ("rest", |it| it.extensions = vec![0], FORM("authenticatorData")),
        (
            "signature",
            |it| {
                it.signature = |mut it| {
                    it[20] ^= 1;
                    it
                };
            },
            Refused::Signature,
        ),
        ("no signature", |it| it.signature = |_| Vec::new(), Refused::Signature),
    ];
    for device in Device::all() {
        for (name, change, expected) in &cases {
            assert_eq!(assert(&device, 4, change), Err(*expected), "{name}");
        }
        let answer = Said::of(&device, "webauthn.create").answer(&device);
        let answer = Answer::read(&answer).unwrap();
        let key = bytes(&Cbor::Map(device.cose()));
        let refused = answer.check_assertion(&party(), CHALLENGE, (&key, 0));
        assert_eq!(refused, Err(Refused::Type), "a registration is no login");
    }
    let [one, ..] = Device::all();
    let [other, ..] = Device::all();
    let answer = Answer::read(&Said::of(&one, "webauthn.get").answer(&one)).unwrap();
    let key = bytes(&Cbor::Map(other.cose()));
    let refused = answer.check_assertion(&party(), CHALLENGE, (&key, 0));
    assert_eq!(refused, Err(Refused::Signature), "the key of somebody else");
    assert_eq!(answer.user_handle(), Ok(vec![9; 16]));
    assert_eq!(answer.challenge().as_deref(), Ok(CHALLENGE));
}

/// Whichever bit of what is signed or of the signature is another one, nobody is let in.
#[test]
fn no_changed_bit_passes() {
    for device in Device::all() {
        let answer = Said::of(&device, "webauthn.get").answer(&device);
        let key = bytes(&Cbor::Map(device.cose()));
        for part in ["clientDataJSON", "authenticatorData", "signature"] {
            let text = answer["response"][part].as_str().unwrap();
            let plain = URL_SAFE_NO_PAD.decode(text).unwrap();
            for at in 0..plain.len() {
                let mut changed = plain.clone();
                changed[at] ^= 1 << (at % 8);
                let mut answer = answer.clone();
                answer["response"][part] = json!(URL_SAFE_NO_PAD.encode(changed));
                let checked = Answer::read(&answer)
                    .and_then(|it| it.check_assertion(&party(), CHALLENGE, (&key, 4)));
                assert!(checked.is_err(), "{part} {at}");
            }
        }
        // A key that is cut or changed never lets more in, and nothing here panics.
        for at in 0..key.len() {
            let mut changed = key.clone();
            changed[at] ^= 1 << (at % 8);
            let answer = Answer::read(&answer).unwrap();
            let cut = answer.check_assertion(&party(), CHALLENGE, (&key[..at], 4));
            assert!(cut.is_err(), "{at}");
            assert!(answer.check_assertion(&party(), CHALLENGE, (&changed, 4)).is_err(), "{at}");
        }
    }
}

/// Attestation objects that are anything at all are refused without a panic.
#[test]
fn no_bytes_break_the_reader() {
    let [device, ..] = Device::all();
    let answer = Said::of(&device, "webauthn.create").answer(&device);
    let text = answer["response"]["attestationObject"].as_str().unwrap();
    let object = URL_SAFE_NO_PAD.decode(text).unwrap();
    let check = |object: &[u8]| {
        let mut answer = answer.clone();
        answer["response"]["attestationObject"] = json!(URL_SAFE_NO_PAD.encode(object));
        Answer::read(&answer).and_then(|it| it.check_registration(&party(), CHALLENGE))
    };
    assert!(check(&object).is_ok());
    for at in 0..object.len() {
        assert!(check(&object[..at]).is_err(), "{at}");
        for bit in 0..8 {
            let mut changed = object.clone();
            changed[at] ^= 1 << bit;
            // Without attestation the model and the key may be anything, which then can do nothing.
            let _ = check(&changed);
        }
    }
    // Nesting without end, and lengths that nobody has.
    for bytes in [vec![0x81; 60_000], vec![0xbb, 0xff, 0xff, 0xff, 0xff], vec![0x5f; 1_000]] {
        assert!(check(&bytes).is_err());
    }
}

#[test]
fn only_names_behind_tls_have_passkeys() {
    let of = |it: &str| Party::of(it).map(|it| (it.id, it.origin));
    let named = |id: &str, origin: &str| Some((id.to_owned(), origin.to_owned()));
    for (address, expected) in [
        ("https://flows.example.org", named("flows.example.org", "https://flows.example.org")),
        ("https://a.example:8443/x", named("a.example", "https://a.example:8443")),
        ("http://localhost:4000", named("localhost", "http://localhost:4000")),
        ("http://flows.example.org", None),
        ("http://127.0.0.1:4000", None),
        ("https://10.0.0.1", None),
        ("nothing", None),
    ] {
        assert_eq!(of(address), expected, "{address}");
    }
}
