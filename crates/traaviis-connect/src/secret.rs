//! Reveals secrets at the moment of a call, and takes them out of whatever comes back.
//!
//! Invariant: a revealed value lives only in the request and in the [`Vault`] of its call; every
//! outcome passes [`Vault::mask`] before it leaves the connector.

use traaviis_model::{EffectError, Map, TenantCtx, Value, secret::is_name, value::base64};
use traaviis_ports::{Outcome, Secret, Secrets};
use zeroize::Zeroizing;

/// Returns the value of the environment variable `TRAAVIIS_SECRET_NAME`, name in capitals: a source
/// of secrets that needs no set-up.
pub fn secret_from_environment(name: &str) -> Option<String> {
    std::env::var(variable(name)).ok()
}

fn variable(name: &str) -> String {
    format!("TRAAVIIS_SECRET_{}", name.to_ascii_uppercase())
}

/// The secrets of one call.
pub(crate) struct Vault<'a> {
    secrets: &'a dyn Secrets,
    ctx: &'a TenantCtx,
    workflow: &'a str,
    needles: Vec<Zeroizing<String>>,
}

impl<'a> Vault<'a> {
    pub(crate) fn new(
        secrets: &'a dyn Secrets,
        ctx: &'a TenantCtx,
        workflow: &'a str,
    ) -> Vault<'a> {
        Vault { secrets, ctx, workflow, needles: Vec::new() }
    }

    /// Returns the value of a secret and remembers it for masking.
    pub(crate) fn reveal(&mut self, name: &str) -> Result<Secret, EffectError> {
        let found = match is_name(name) {
            true => self.secrets.reveal_to(self.ctx, self.workflow, name),
            false => Ok(None),
        };
        let found = found.map_err(|error| {
            let make = match error.is_retryable() {
                true => EffectError::retryable,
                false => EffectError::new,
            };
            make("secret_unreadable", error.to_string())
        })?;
        let Some(value) = found.filter(|it| !it.expose().is_empty()) else {
            let message = format!(
                "secret `{name}` is not set; set it with `traaviis secrets set {name}`, or the \
                 environment variable `{}`",
                variable(name)
            );
            return Err(EffectError::new("secret_missing", message));
        };
        self.hide(value.expose());
        Ok(value)
    }

    /// Remembers a value, and its usual encodings, for masking.
    pub(crate) fn hide(&mut self, value: &str) {
        let owned = |it: &str| Zeroizing::new(it.to_owned());
        let base64 = Zeroizing::new(base64(value.as_bytes()));
        let percent: String = url::form_urlencoded::byte_serialize(value.as_bytes()).collect();
        let percent = Zeroizing::new(percent);
        let percent_upper = Zeroizing::new(percent.replace('+', "%20"));
        let unpadded = owned(base64.trim_end_matches('='));
        for needle in [owned(value), base64, unpadded, percent, percent_upper] {
            if !needle.is_empty() && !self.needles.contains(&needle) {
                self.needles.push(needle);
            }
        }
        // Longest first, so that no rest of a longer needle stays behind.
        self.needles.sort_by_key(|it| std::cmp::Reverse(it.len()));
    }

    /// Returns the outcome with every revealed value replaced by `***`.
    pub(crate) fn mask(&self, outcome: Outcome) -> Outcome {
        if self.needles.is_empty() {
            return outcome;
        }
        match outcome {
            Ok(value) => Ok(self.mask_value(&value)),
            Err(mut error) => {
                error.message = self.mask_text(&error.message).into();
                error.details = self.mask_value(&error.details);
                error.cause = match error.cause.take() {
                    Some(cause) => self.mask(Err(*cause)).err().map(Box::new),
                    None => None,
                };
                Err(error)
            }
        }
    }

    /// Returns octets with every revealed value replaced by `***`.
    pub(crate) fn mask_bytes(&self, bytes: &[u8]) -> Vec<u8> {
        let mut out = bytes.to_vec();
        for needle in &self.needles {
            let mut kept = Vec::with_capacity(out.len());
            let mut rest = out.as_slice();
            while let Some(at) =
                rest.windows(needle.len()).position(|window| window == needle.as_bytes())
            {
                kept.extend_from_slice(&rest[..at]);
                kept.extend_from_slice(b"***");
                rest = &rest[at + needle.len()..];
            }
            kept.extend_from_slice(rest);
            out = kept;
        }
        out
    }

    fn mask_text(&self, text: &str) -> String {
        let whole = self.needles.iter().fold(text.to_owned(), |text, needle| {
            if text.contains(needle.as_str()) { text.replace(needle.as_str(), "***") } else { text }
        });
        self.mask_end(whole)
    }

    /// Masks the beginning of a value at the end of a text, which is what cutting the text leaves.
    /// A letter or two tell nothing and end many texts by chance.
    fn mask_end(&self, mut text: String) -> String {
        const TELLING: usize = 4;
        let begun = |needle: &Zeroizing<String>| {
            (TELLING..needle.len())
                .rev()
                .filter(|it| needle.is_char_boundary(*it))
                .find(|it| text.ends_with(&needle[..*it]))
        };
        if let Some(longest) = self.needles.iter().filter_map(begun).max() {
            text.truncate(text.len() - longest);
            text.push_str("***");
        }
        text
    }

    fn mask_value(&self, value: &Value) -> Value {
        match value {
            Value::String(text) => Value::from(self.mask_text(text)),
            Value::List(items) => Value::list(items.iter().map(|it| self.mask_value(it))),
            Value::Map(map) => Value::Map(
                map.iter()
                    .map(|(key, it)| (self.mask_text(key).into(), self.mask_value(it)))
                    .collect::<Map>()
                    .into(),
            ),
            other => other.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use traaviis_ports::SecretError;

    use super::*;

    fn secrets() -> impl Secrets {
        |name: &str| match name {
            "key" => Some("s3cr et/".into()),
            "empty" => Some(String::new()),
            _ => None,
        }
    }

    #[test]
    fn values_and_their_encodings_are_masked_everywhere() {
        let (secrets, ctx) = (secrets(), TenantCtx::for_test(1));
        let mut vault = Vault::new(&secrets, &ctx, "Order");
        assert_eq!(vault.reveal("key").unwrap().expose(), "s3cr et/");
        let value = Value::map([
            ("a", Value::list([Value::from("x s3cr et/ y"), Value::from("s3cr%20et%2F")])),
            ("s3cr et/", Value::from(base64(b"s3cr et/"))),
        ]);
        assert_eq!(
            vault.mask(Ok(value)).unwrap().to_json(),
            r#"{"***":"***","a":["x *** y","***"]}"#
        );
        let error =
            EffectError::new("a", "s3cr et/").caused_by(EffectError::new("b", "s3cr+et%2F"));
        let error = vault.mask(Err(error)).unwrap_err();
        assert_eq!((&*error.message, &*error.cause.unwrap().message), ("***", "***"));
        assert_eq!(vault.mask_bytes(b"\xffs3cr et/\xff"), b"\xff***\xff");
    }

    #[test]
    fn missing_empty_and_misnamed_secrets_are_an_error_without_a_retry() {
        let (secrets, ctx) = (secrets(), TenantCtx::for_test(1));
        for name in ["nope", "empty", "KEY", "../key", ""] {
            let error = Vault::new(&secrets, &ctx, "Order").reveal(name).unwrap_err();
            assert_eq!((&*error.code, error.retryable), ("secret_missing", false), "{name}");
        }
    }

    #[test]
    fn a_secret_that_cannot_be_read_is_not_taken_for_unset() {
        struct Broken(SecretError);
        impl Secrets for Broken {
            fn reveal(&self, _: &TenantCtx, _: &str) -> Result<Option<Secret>, SecretError> {
                Err(self.0.clone())
            }
        }
        let ctx = TenantCtx::for_test(1);
        for (error, retryable) in [
            (SecretError::Unreachable("no disk".into()), true),
            (SecretError::Unreadable("no key".into()), false),
        ] {
            let broken = Broken(error);
            let error = Vault::new(&broken, &ctx, "Order").reveal("key").unwrap_err();
            assert_eq!((&*error.code, error.retryable), ("secret_unreadable", retryable));
        }
    }
}
