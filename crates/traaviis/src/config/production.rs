//! What the production profile refuses: whatever is good for trying things out and nothing else.
//!
//! Each refusal names the setting, why, and what to set in its place. What is checked elsewhere for
//! every profile is not repeated: an operators' address that others reach needs a token.

use std::{collections::BTreeSet, fs};

use url::{Host, Url};

use super::{Settings, Variables, layers};
use crate::{
    exit::Failure,
    secrets::{ROOT_KEY, ROOT_KEY_FILE},
};

/// Different digits of a root key: of 64 by chance it has nearly all that there are.
const KEY_LETTERS_MIN: usize = 8;

/// Texts that stand in examples, which everybody knows.
const KNOWN_SECRETS: [&str; 8] =
    ["changeme", "change-me", "secret", "password", "example", "default", "insecure", "0123456789"];

/// Refuses what people cannot rely on.
pub(super) fn check(settings: &Settings, variables: &Variables) -> Result<(), Failure> {
    let config = &settings.config;
    if config.http.base_url.is_none() {
        let why = "production needs the address under which people reach it, such as \
                   `https://flows.example.org`";
        return settings.refuse("http.base_url", why);
    }
    let urls = [("http.base_url", &config.http.base_url), ("auth.issuer", &config.auth.issuer)];
    let has_proxy = !config.http.trust_proxy.is_empty();
    for (key, url) in urls {
        if url.as_deref().is_some_and(is_open) && !has_proxy {
            let why = "tokens and passwords would go over the network in the clear; give the \
                       address that begins with https://, or name the proxy that does that in \
                       `http.trust_proxy`";
            return settings.refuse(key, why);
        }
    }
    if let Some(token) = &config.http.metrics_token {
        let token = token.0.to_lowercase();
        if KNOWN_SECRETS.iter().any(|it| token.contains(it)) {
            let why = "it is made of a word that stands in examples, which everybody knows; take \
                       one made by chance, such as `openssl rand -hex 32` prints";
            return settings.refuse("http.metrics_token", why);
        }
    }
    if config.mail.smtp_url.as_ref().is_some_and(|it| it.0.starts_with("file:")) {
        let why = "letters hold tokens that let their reader in, and nobody would get them; name \
                   a mail server, such as `smtps://user:password@mail.example.org`";
        return settings.refuse("mail.smtp_url", why);
    }
    check_root_key(settings, variables)
}

/// Says whether what goes to an address can be read on the way.
fn is_open(url: &str) -> bool {
    let Ok(url) = Url::parse(url) else { return true };
    let is_here = match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    };
    url.scheme() == "http" && !is_here
}

/// Refuses a root key that nobody has made by chance, such as one of zeros.
fn check_root_key(settings: &Settings, variables: &Variables) -> Result<(), Failure> {
    let why = "production needs a key that was made by chance, such as `openssl rand -hex 32` \
               prints";
    if let Some(text) = variables.get(ROOT_KEY) {
        return match is_guessed(text) {
            false => Ok(()),
            true => Err(layers::invalid(format!("environment variable `{ROOT_KEY}`: {why}"))),
        };
    }
    // What cannot be read is told by whoever needs it; without a file one is made.
    let file = settings.config.auth.root_key_file.as_ref();
    let text = file.and_then(|it| fs::read_to_string(it).ok()).unwrap_or_default();
    match is_guessed(&text) {
        false => Ok(()),
        true => settings.refuse("auth.root_key_file", &format!("{why} (`{ROOT_KEY_FILE}`)")),
    }
}

fn is_guessed(keys: &str) -> bool {
    let few = |key: &str| key.chars().collect::<BTreeSet<char>>().len() < KEY_LETTERS_MIN;
    let mut keys = keys.split([' ', ',', '\n']).map(str::trim);
    keys.any(|it| !it.is_empty() && few(it))
}
