//! Logging in elsewhere, at an issuer of the tests that keeps to the standard unless it is told not
//! to.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex},
};

use aws_lc_rs::{
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _},
};
use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use serde_json::{Value as Json, json};
use sha2::{Digest as _, Sha256};
use traaviis_model::{Span, Timestamp};
use traaviis_platform::{
    Error, Settings,
    accounts::LoggedIn,
    oidc::{Elsewhere, Finish, Issuer, Proved, Returned},
};
use traaviis_ports::{Http, HttpAsk, HttpError, HttpReply, Secret};

use crate::world::{PASSWORD, World, code, via};

pub const ISSUER: &str = "https://login.example";
const NAME: &str = "acme";

/// The issuer.
pub struct Peer {
    key: Mutex<(String, EcdsaKeyPair)>,
    /// What was asked with each code.
    codes: Mutex<HashMap<String, BTreeMap<String, String>>>,
    /// Claims that are put over those of a good token.
    pub says: Mutex<Json>,
    pub description: Mutex<Json>,
    pub now: Mutex<Timestamp>,
    asked: Mutex<Vec<String>>,
}

fn fresh_key() -> EcdsaKeyPair {
    EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap()
}

impl Peer {
    pub fn new() -> Arc<Peer> {
        Arc::new(Peer {
            key: Mutex::new(("k1".into(), fresh_key())),
            codes: Mutex::default(),
            says: Mutex::new(json!({})),
            description: Mutex::new(json!({
                "issuer": ISSUER,
                "authorization_endpoint": "https://login.example/authorize?tenant=1",
                "token_endpoint": "https://login.example/token",
                "jwks_uri": "https://login.example/keys",
            })),
            now: Mutex::new(Timestamp(0)),
            asked: Mutex::default(),
        })
    }

    /// A person logs in there; returns the code.
    pub fn authorise(&self, location: &str) -> (String, String) {
        let url = url::Url::parse(location).unwrap();
        let asked: BTreeMap<String, String> = url.query_pairs().into_owned().collect();
        assert_eq!(asked["response_type"], "code");
        assert_eq!(asked["client_id"], "traaviis");
        assert_eq!(asked["code_challenge_method"], "S256");
        assert_eq!(asked["tenant"], "1", "what the address had stays");
        let (state, code) = (asked["state"].clone(), format!("code of {}", asked["nonce"]));
        self.codes.lock().unwrap().insert(code.clone(), asked);
        (state, code)
    }

    fn token(&self, ask: &HttpAsk) -> (u16, Json) {
        let form: HashMap<String, String> = ask.form.clone().unwrap().into_iter().collect();
        let expected = format!("Basic {}", STANDARD.encode("traaviis:s3cret%2B"));
        if ask.authorization.as_deref() != Some(&expected) {
            return (401, json!({ "error": "invalid_client" }));
        }
        let asked = self.codes.lock().unwrap().remove(&form["code"]);
        let hash = Sha256::digest(form["code_verifier"].as_bytes());
        match asked {
            Some(asked)
                if asked["redirect_uri"] == form["redirect_uri"]
                    && asked["code_challenge"] == URL_SAFE_NO_PAD.encode(hash) =>
            {
                (200, json!({ "access_token": "x", "id_token": self.id_token(&asked["nonce"]) }))
            }
            _ => (400, json!({ "error": "invalid_grant" })),
        }
    }

    fn id_token(&self, nonce: &str) -> String {
        let seconds = self.now.lock().unwrap().0 / 1_000_000;
        let mut claims = json!({
            "iss": ISSUER, "sub": "u-1", "aud": "traaviis", "nonce": nonce, "iat": seconds,
            "exp": seconds + 300, "email": "Ada@Acme.example", "email_verified": true,
            "name": "Ada Lovelace",
        });
        for (name, value) in self.says.lock().unwrap().as_object().unwrap() {
            claims[name] = value.clone();
        }
        let key = self.key.lock().unwrap();
        let part = |it: &Json| URL_SAFE_NO_PAD.encode(it.to_string());
        let message =
            format!("{}.{}", part(&json!({ "alg": "ES256", "kid": key.0 })), part(&claims));
        let signature = key.1.sign(&SystemRandom::new(), message.as_bytes()).unwrap();
        format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature))
    }

    fn keys(&self) -> Json {
        let key = self.key.lock().unwrap();
        let point = key.1.public_key().as_ref();
        let encode = |it: &[u8]| URL_SAFE_NO_PAD.encode(it);
        json!({ "keys": [
            { "kty": "strange", "kid": 7 },
            {
                "kty": "EC", "crv": "P-256", "use": "sig", "kid": key.0,
                "x": encode(&point[1..33]), "y": encode(&point[33..]),
            },
        ] })
    }
}

impl Http for Peer {
    fn ask(&self, ask: &HttpAsk) -> Result<HttpReply, HttpError> {
        self.asked.lock().unwrap().push(ask.url.clone());
        let (status, body) = match ask.url.strip_prefix(ISSUER) {
            Some("/.well-known/openid-configuration") => {
                (200, self.description.lock().unwrap().clone())
            }
            Some("/keys") => (200, self.keys()),
            Some("/token") => self.token(ask),
            _ => (404, json!(null)),
        };
        Ok(HttpReply { status, body: body.to_string().into_bytes() })
    }
}

struct Here {
    world: World,
    peer: Arc<Peer>,
    browser: Mutex<String>,
}

fn here() -> Here {
    let settings = Settings { issuer: "https://flows.example.org".into(), ..Settings::default() };
    let world = World::new().with_settings(settings);
    let peer = Peer::new();
    let issuer = Issuer {
        name: NAME.into(),
        tenant: None,
        url: ISSUER.into(),
        client_id: "traaviis".into(),
        client_secret: Some(Secret::new("s3cret+".to_owned())),
        domains: vec!["acme.example".into()],
    };
    let elsewhere = Elsewhere::at(vec![issuer], Arc::clone(&peer) as Arc<_>);
    let platform = Arc::into_inner(world.platform).unwrap().with_issuers(elsewhere);
    let platform = Arc::new(platform);
    let here = Here { world: World { platform, ..world }, peer, browser: Mutex::default() };
    here.keep_time();
    here
}

impl Here {
    fn keep_time(&self) {
        *self.peer.now.lock().unwrap() = self.world.platform.now();
    }

    fn says(&self, claims: Json) {
        *self.peer.says.lock().unwrap() = claims;
    }

    /// Goes there and comes back with everything right, but for what `change` changes.
    fn back_with(&self, change: impl FnOnce(&mut Returned<'_>)) -> Result<Proved, Error> {
        let started = self.world.platform.start_elsewhere(NAME, Some("/app"))?;
        *self.browser.lock().unwrap() = started.browser.clone();
        let (state, code) = self.peer.authorise(&started.location);
        let mut returned = Returned {
            state: Some(&state),
            code: Some(&code),
            browser: Some(&started.browser),
            ..Returned::default()
        };
        change(&mut returned);
        self.world.platform.return_from(NAME, &returned, &via())
    }

    /// Ends a login in the browser that began the last one.
    fn finish(&self, proved: &Proved, code: Option<&str>) -> Result<LoggedIn, Error> {
        let browser = self.browser.lock().unwrap().clone();
        self.finish_in(Some(&browser), proved, code)
    }

    fn finish_in(
        &self,
        browser: Option<&str>,
        proved: &Proved,
        code: Option<&str>,
    ) -> Result<LoggedIn, Error> {
        let finish = Finish { ticket: &proved.ticket, browser, code, tenant: None };
        self.world.platform.finish_elsewhere(&finish, &via())
    }

    fn log_in(&self) -> Result<LoggedIn, Error> {
        self.finish(&self.back_with(|_| {})?, None)
    }
}

#[test]
fn somebody_new_gets_an_account_and_is_known_again_by_issuer_and_subject() {
    let here = here();
    let proved = here.back_with(|_| {}).unwrap();
    assert_eq!(proved.return_to.as_deref(), Some("/app"));
    for other in [None, Some("other")] {
        let stolen = here.finish_in(other, &proved, None);
        assert_eq!(code(stolen), "invalid_token", "a ticket is good in its browser only");
    }
    let ada = here.finish(&proved, None).unwrap();
    assert_eq!(code(here.finish(&proved, None)), "invalid_token", "a ticket works once");
    let personal = &ada.account.personal;
    assert_eq!((&*personal.email, &*personal.name), ("ada@acme.example", "Ada Lovelace"));
    assert!(personal.email_verified && personal.password.is_none() && ada.tenant.is_some());
    // Under another address, and with none at all, it is the same person.
    here.says(json!({ "email": "eve@elsewhere.example", "email_verified": false }));
    assert_eq!(here.log_in().unwrap().account.user.id, ada.account.user.id);
    let Here { world, peer, .. } = here;
    let refused = world.platform.log_in("ada@acme.example", PASSWORD, None, &via());
    assert_eq!(code(refused), "invalid_credentials", "there is no password");
    assert_eq!(
        peer.asked.lock().unwrap().iter().filter(|it| it.ends_with("configuration")).count(),
        1,
        "what an issuer says about itself is kept for a while"
    );
}

#[test]
fn an_address_links_only_if_it_is_confirmed_by_an_issuer_of_its_domain() {
    let here = here();
    let ada = here.world.register("ada@acme.example");
    let bob = here.world.register("bob@other.example");
    here.says(json!({ "email_verified": false }));
    assert_eq!(code(here.log_in()), "email_not_verified");
    here.says(json!({ "email": "bob@other.example", "sub": "u-2" }));
    assert_eq!(code(here.log_in()), "already_exists", "it does not speak for that domain");
    here.says(json!({ "email": "x@evil.example@acme.example", "sub": "u-3" }));
    assert_eq!(code(here.log_in()), "validation_failed");
    here.says(json!({}));
    let linked = here.log_in().unwrap();
    assert_eq!(linked.account.user.id, ada.account.user.id);
    // Nobody had proved that the address was theirs, so what they had set is void.
    let before = here.world.platform.authenticate(&ada.access_token, via());
    assert_eq!(code(before), "session_expired");
    let password = here.world.platform.log_in("ada@acme.example", PASSWORD, None, &via());
    assert_eq!(code(password), "invalid_credentials");
    assert!(here.world.platform.authenticate(&bob.access_token, via()).is_ok());
    // An address of no domain of the issuer makes an account whose address is not confirmed.
    here.says(json!({ "email": "new@other.example", "sub": "u-4" }));
    assert!(!here.log_in().unwrap().account.personal.email_verified);
}

#[test]
fn what_comes_back_must_be_what_was_begun_in_this_browser() {
    let here = here();
    let refused = "login_elsewhere_failed";
    let back = |change: fn(&mut Returned<'_>)| code(here.back_with(change));
    assert_eq!(back(|it| it.state = None), refused);
    assert_eq!(back(|it| it.state = Some("other")), refused);
    assert_eq!(back(|it| it.browser = None), refused, "a link that somebody sends");
    assert_eq!(back(|it| it.browser = Some("other")), refused);
    assert_eq!(back(|it| it.code = None), refused);
    assert_eq!(back(|it| it.code = Some("other")), refused);
    assert_eq!(back(|it| it.iss = Some("https://evil.example")), refused, "mixed up");
    assert_eq!(back(|it| it.error = Some("access_denied")), refused);
    assert_eq!(back(|it| it.iss = Some(ISSUER)), "ok");
    let platform = &here.world.platform;
    assert_eq!(platform.start_elsewhere("other", None).map(drop).unwrap_err().code, "not_found");
    let away = platform.start_elsewhere(NAME, Some("https://evil.example"));
    assert_eq!(away.map(drop).unwrap_err().code, "validation_failed");

    // A state works once, and not after ten minutes.
    let started = platform.start_elsewhere(NAME, None).unwrap();
    let (state, first) = here.peer.authorise(&started.location);
    let returned = |it: &str| {
        let (state, browser) = (Some(state.as_str()), Some(started.browser.as_str()));
        let returned = Returned { state, browser, code: Some(it), ..Returned::default() };
        code(platform.return_from(NAME, &returned, &via()))
    };
    assert_eq!(returned(&first), "ok");
    let (_, second) = here.peer.authorise(&started.location);
    assert_eq!(returned(&second), refused, "spent");
    let started = platform.start_elsewhere(NAME, None).unwrap();
    let (state, code_) = here.peer.authorise(&started.location);
    here.world.clock.advance(Span::secs(601));
    here.keep_time();
    let late = Returned {
        state: Some(&state),
        code: Some(&code_),
        browser: Some(&started.browser),
        ..Returned::default()
    };
    assert_eq!(code(platform.return_from(NAME, &late, &via())), refused);
}

#[test]
fn a_token_that_is_not_good_lets_nobody_in() {
    let here = here();
    for claims in [
        json!({ "iss": "https://evil.example" }),
        json!({ "aud": "other" }),
        json!({ "nonce": "of another login" }),
        json!({ "exp": 1 }),
        json!({ "sub": "" }),
    ] {
        here.says(claims.clone());
        assert_eq!(code(here.log_in()), "login_elsewhere_failed", "{claims}");
    }
    here.says(json!({}));
    assert_eq!(code(here.log_in()), "ok");
    // A key that is replaced is found by its name, at most once a minute.
    here.world.clock.advance(Span::secs(61));
    here.keep_time();
    *here.peer.key.lock().unwrap() = ("k2".into(), fresh_key());
    assert_eq!(code(here.log_in()), "ok");
    *here.peer.key.lock().unwrap() = ("k3".into(), fresh_key());
    assert_eq!(code(here.log_in()), "login_elsewhere_failed", "not so soon again");
    // The same name with another key is no key of the issuer that was asked.
    *here.peer.key.lock().unwrap() = ("k2".into(), fresh_key());
    assert_eq!(code(here.log_in()), "login_elsewhere_failed");
}

#[test]
fn an_issuer_that_is_another_one_than_configured_is_not_believed() {
    for (field, value) in [
        ("issuer", "https://evil.example"),
        ("issuer", "https://login.example/"),
        ("token_endpoint", "http://login.example/token"),
        ("jwks_uri", "http://login.example/keys"),
        ("jwks_uri", "https://login.example/absent"),
        ("authorization_endpoint", "nothing"),
    ] {
        let here = here();
        here.peer.description.lock().unwrap()[field] = json!(value);
        assert_eq!(code(here.log_in()), "login_elsewhere_failed", "{field}");
    }
    // Whoever promises to name themselves must do so (RFC 9207).
    let here = here();
    here.peer.description.lock().unwrap()["authorization_response_iss_parameter_supported"] =
        json!(true);
    assert_eq!(code(here.log_in()), "login_elsewhere_failed");
    assert_eq!(code(here.back_with(|it| it.iss = Some(ISSUER))), "ok");
}

#[test]
fn a_second_factor_here_is_asked_for_unless_the_issuer_vouches_for_one() {
    let here = here();
    let ada = here.log_in().unwrap();
    here.world.add_app(&here.world.caller(&ada));
    let proved = here.back_with(|_| {}).unwrap();
    assert_eq!(code(here.finish(&proved, None)), "mfa_required");
    assert_eq!(code(here.finish(&proved, Some("000000"))), "invalid_credentials");
    let caller = here.world.caller(&ada);
    let codes = here.world.platform.make_recovery_codes(&caller).unwrap();
    let logged_in = here.finish(&proved, Some(&codes[0])).unwrap();
    let sessions = here.world.platform.sessions(&here.world.caller(&logged_in)).unwrap();
    assert!(sessions.iter().any(|it| it.is_mfa() && it.amr.iter().any(|it| &**it == "fed")));
    here.says(json!({ "amr": ["pwd", "mfa"] }));
    assert_eq!(code(here.log_in()), "ok");
    // Too late, the ticket is void.
    let proved = here.back_with(|_| {}).unwrap();
    here.world.clock.advance(Span::secs(301));
    assert_eq!(code(here.finish(&proved, None)), "invalid_token");
}
