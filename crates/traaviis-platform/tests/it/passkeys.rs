//! Passkeys from the first challenge to a login, by an authenticator of the tests.

use aws_lc_rs::{
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair as _},
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use ciborium::Value as Cbor;
use serde_json::{Value as Json, json};
use sha2::{Digest as _, Sha256};
use traaviis_model::Span;
use traaviis_platform::{Settings, accounts::LoggedIn};

use crate::world::{PASSWORD, World, code, via};

const ORIGIN: &str = "https://flows.example.org";

/// An authenticator with one passkey.
struct Device {
    key: EcdsaKeyPair,
    id: Vec<u8>,
    counter: u32,
    user: String,
}

fn encode(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

impl Device {
    fn new() -> Device {
        let key = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).unwrap();
        Device { key, id: vec![3; 20], counter: 0, user: String::new() }
    }

    fn data(&mut self, flags: u8) -> Vec<u8> {
        self.counter += 1;
        let mut data = Sha256::digest("flows.example.org").to_vec();
        data.push(flags);
        data.extend(self.counter.to_be_bytes());
        data
    }

    fn create(&mut self, options: &Json) -> Json {
        self.user = options["user"]["id"].as_str().unwrap().into();
        let point = self.key.public_key().as_ref();
        let cose = Cbor::Map(vec![
            (Cbor::from(1), Cbor::from(2)),
            (Cbor::from(3), Cbor::from(-7)),
            (Cbor::from(-1), Cbor::from(1)),
            (Cbor::from(-2), Cbor::Bytes(point[1..33].to_vec())),
            (Cbor::from(-3), Cbor::Bytes(point[33..].to_vec())),
        ]);
        let mut data = self.data(0x45);
        data.extend([0; 16]);
        data.extend((self.id.len() as u16).to_be_bytes());
        data.extend(&self.id);
        ciborium::into_writer(&cose, &mut data).unwrap();
        let object = Cbor::Map(vec![
            (Cbor::from("fmt"), Cbor::from("none")),
            (Cbor::from("attStmt"), Cbor::Map(vec![])),
            (Cbor::from("authData"), Cbor::Bytes(data)),
        ]);
        let mut attestation = Vec::new();
        ciborium::into_writer(&object, &mut attestation).unwrap();
        let client = client("webauthn.create", options);
        self.answer(json!({
            "clientDataJSON": encode(client), "attestationObject": encode(attestation),
        }))
    }

    fn get(&mut self, options: &Json) -> Json {
        let (data, client) = (self.data(0x05), client("webauthn.get", options));
        let signed = [data.as_slice(), &Sha256::digest(&client)].concat();
        let signature = self.key.sign(&SystemRandom::new(), &signed).unwrap();
        self.answer(json!({
            "clientDataJSON": encode(client), "authenticatorData": encode(data),
            "signature": encode(signature), "userHandle": self.user,
        }))
    }

    fn answer(&self, response: Json) -> Json {
        let id = encode(&self.id);
        json!({ "id": id, "rawId": id, "type": "public-key", "response": response })
    }
}

fn client(kind: &str, options: &Json) -> String {
    let challenge = &options["challenge"];
    json!({ "type": kind, "challenge": challenge, "origin": ORIGIN }).to_string()
}

fn world() -> World {
    World::new().with_settings(Settings { issuer: ORIGIN.into(), ..Settings::default() })
}

/// Gives somebody a passkey.
fn enrol(world: &World, who: &LoggedIn) -> Device {
    let (mut device, caller) = (Device::new(), world.caller(who));
    let (id, options) = world.platform.begin_passkey(&caller, Some("laptop")).unwrap();
    assert_eq!(options["rp"]["id"], "flows.example.org");
    let answer = device.create(&options);
    let shown = world.platform.confirm_passkey(&caller, id, &answer).unwrap();
    assert_eq!((shown.kind, shown.name.as_str()), ("webauthn", "laptop"));
    let again = world.platform.confirm_passkey(&caller, id, &answer);
    assert_eq!(code(again), "not_found", "a challenge works once");
    device
}

#[test]
fn a_passkey_logs_in_alone_and_a_password_alone_does_not_any_more() {
    let world = world();
    let ada = world.register("ada@example.org");
    let mut device = enrol(&world, &ada);
    let password = world.platform.log_in("ada@example.org", PASSWORD, None, &via());
    let refused = password.unwrap_err();
    assert_eq!(
        (&*refused.code, &refused.details["methods"][0]),
        ("mfa_required", &"webauthn".into())
    );
    let settings = Settings { issuer: ORIGIN.into(), ..Settings::default() };
    let world = world.with_settings(settings);
    let options = world.platform.ask_for_passkey().unwrap();
    let answer = device.get(&options);
    let log_in = |answer: &Json| world.platform.log_in_by_passkey(answer, None, &via());
    let logged_in = log_in(&answer).unwrap();
    assert_eq!(logged_in.account.user.id, ada.account.user.id);
    assert!(logged_in.tenant.is_some(), "scoped to the only tenant");
    let sessions = world.platform.sessions(&world.caller(&logged_in)).unwrap();
    assert!(sessions.iter().any(|it| it.is_mfa()));
    assert_eq!(code(log_in(&answer)), "invalid_credentials", "an answer works once");
    // A copy of the authenticator counts from where it was copied.
    device.counter -= 1;
    let options = world.platform.ask_for_passkey().unwrap();
    assert_eq!(code(log_in(&device.get(&options))), "invalid_credentials", "it did not count on");
    device.counter += 5;
    let options = world.platform.ask_for_passkey().unwrap();
    assert_eq!(code(log_in(&device.get(&options))), "ok");
}

#[test]
fn what_is_not_asked_for_is_not_taken() {
    let world = world();
    let ada = world.register("ada@example.org");
    let mut device = enrol(&world, &ada);
    let log_in = |answer: &Json| code(world.platform.log_in_by_passkey(answer, None, &via()));
    let options = || world.platform.ask_for_passkey().unwrap();
    let own = json!({ "challenge": encode([0; 32]) });
    assert_eq!(log_in(&device.get(&own)), "invalid_credentials", "a challenge of one's own");
    let late = options();
    world.clock.advance(Span::secs(5 * 60 + 1));
    assert_eq!(log_in(&device.get(&late)), "invalid_credentials", "five minutes are over");
    let mut of_nobody = device.get(&options());
    of_nobody["response"]["userHandle"] = json!(encode([1; 16]));
    assert_eq!(log_in(&of_nobody), "invalid_credentials");
    let eve = world.register("eve@example.org");
    let mut of_eve = device.get(&options());
    of_eve["response"]["userHandle"] = json!(encode(eve.account.user.id.0.as_bytes()));
    assert_eq!(log_in(&of_eve), "invalid_credentials", "a key opens the account it belongs to");
    assert_eq!(log_in(&json!({ "id": "x" })), "invalid_credentials");
    assert_eq!(log_in(&device.get(&options())), "ok");
    // Removed means gone.
    let caller = world.caller(&ada);
    let (factors, _) = world.platform.factors(&caller).unwrap();
    world.platform.remove_factor(&caller, factors[0].id).unwrap();
    assert_eq!(log_in(&device.get(&options())), "invalid_credentials");
    assert!(world.platform.log_in("ada@example.org", PASSWORD, None, &via()).is_ok());
}

#[test]
fn a_registration_that_is_not_good_leaves_nothing() {
    let world = world();
    let ada = world.register("ada@example.org");
    let (caller, mut device) = (world.caller(&ada), Device::new());
    let (id, options) = world.platform.begin_passkey(&caller, None).unwrap();
    let eve = world.register("eve@example.org");
    let answer = device.create(&options);
    let stolen = world.platform.confirm_passkey(&world.caller(&eve), id, &answer);
    assert_eq!(code(stolen), "not_found", "it is somebody else's");
    let (id, options) = world.platform.begin_passkey(&caller, None).unwrap();
    let mut other = options.clone();
    other["challenge"] = json!(encode([0; 32]));
    let refused = world.platform.confirm_passkey(&caller, id, &device.create(&other));
    assert_eq!(code(refused), "validation_failed");
    assert!(world.platform.factors(&caller).unwrap().0.is_empty());
    // Where the address is no name behind TLS there are none.
    let plain = World::new();
    let ada = plain.register("ada@example.org");
    assert_eq!(
        plain.platform.begin_passkey(&plain.caller(&ada), None).unwrap_err().code,
        "feature_unavailable"
    );
}
