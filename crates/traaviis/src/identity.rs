//! How people prove who they are on a server: mail, confirmed addresses, issuers elsewhere.

use std::{
    collections::BTreeSet,
    env, fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use serde::Deserialize;
use tokio::runtime::Handle;
use traaviis_connect::{EgressPolicy, PlainHttp, mailer};
use traaviis_platform::{
    Platform,
    mail::Outbox,
    oidc::{Elsewhere, Issuer},
};
use traaviis_policy::countries::Countries;
use traaviis_ports::Secret;
use url::Url;

use crate::{
    config::{Config, Flag},
    exit::{Exit, Failure},
};

/// File of issuers in a data directory.
const ISSUERS_FILE: &str = "oidc.json";
/// Issuers of one installation.
const ISSUERS_MAX: usize = 50;
/// Characters of the name of an issuer.
const NAME_CHARS_MAX: usize = 40;

/// How people prove who they are.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct IdentityArgs {
    /// Where mail goes: `smtps://user:password@host`, `smtp://host`, or `file:FOLDER`. A password
    /// is safer in the setting `mail.smtp_url`: others on the machine see arguments.
    #[arg(long, value_name = "URL")]
    mail_url: Option<String>,
    /// Sender of mail. Default: `no-reply` at the host of `--base-url`.
    #[arg(long, value_name = "ADDRESS")]
    mail_from: Option<String>,
    /// New users confirm their address before they log in; needs `--mail-url`.
    #[arg(long)]
    require_email_verification: bool,
    /// File of issuers at which people may log in (OpenID Connect). Default: `oidc.json` in the
    /// data directory, if there is one.
    #[arg(long, value_name = "FILE")]
    oidc: Option<PathBuf>,
}

impl IdentityArgs {
    /// Returns what was given, by setting.
    pub fn given(&self) -> Vec<Flag> {
        let oidc = self.oidc.as_ref().map(|it| it.display().to_string());
        let texts = [
            ("mail.smtp_url", "--mail-url", self.mail_url.clone()),
            ("mail.from", "--mail-from", self.mail_from.clone()),
            ("auth.oidc_file", "--oidc", oidc),
        ];
        let mut given: Vec<Flag> =
            texts.into_iter().filter_map(|it| Some((it.0, it.1, it.2?.into()))).collect();
        if self.require_email_verification {
            let (key, flag) = ("auth.require_email_verification", "--require-email-verification");
            given.push((key, flag, true.into()));
        }
        given
    }
}

/// How people prove who they are, as the settings have it.
#[derive(Clone, Debug, Default)]
pub struct Identity {
    mail_url: Option<String>,
    mail_from: Option<String>,
    oidc: Option<PathBuf>,
    countries: Option<PathBuf>,
}

impl Identity {
    /// Reads the settings.
    pub fn of(config: &Config) -> Identity {
        Identity {
            mail_url: config.mail.smtp_url.as_ref().map(|it| it.0.clone()),
            mail_from: config.mail.from.clone(),
            oidc: config.auth.oidc_file.clone(),
            countries: config.auth.countries_file.clone(),
        }
    }

    /// Lets a platform send mail, and people log in elsewhere.
    pub fn join(
        &self,
        platform: Platform,
        dir: &Path,
        egress: EgressPolicy,
        handle: &Handle,
    ) -> Result<Platform, Failure> {
        let platform = match self.outbox(&platform.settings().issuer)? {
            Some(outbox) => platform.with_outbox(outbox),
            None => platform,
        };
        let platform = platform.with_countries(self.countries()?);
        let issuers = self.issuers(dir)?;
        for issuer in &issuers {
            egress.check_text(&issuer.url).map_err(|denied| {
                Failure::usage(format!("issuer `{}` cannot be reached: {denied}", issuer.name))
            })?;
        }
        let http = PlainHttp::new(egress, handle.clone()).map_err(|error| {
            Failure::new(Exit::Internal, "internal", format!("cannot make calls: {error}"))
        })?;
        Ok(platform.with_issuers(Elsewhere::at(issuers, Arc::new(http))))
    }

    fn outbox(&self, base_url: &str) -> Result<Option<Outbox>, Failure> {
        let Some(url) = &self.mail_url else { return Ok(None) };
        let from = self.mail_from.clone().unwrap_or_else(|| sender_at(base_url));
        let mailer = mailer(url, &from).map_err(|error| Failure::usage(error.to_string()))?;
        let tell = |line: &str| tracing::warn!("{line}");
        let outbox = Outbox::open(mailer, tell).map_err(|error| {
            Failure::new(Exit::Internal, "internal", format!("cannot begin: {error}"))
        })?;
        // Into files, mail is for whoever tries things out, who has to read it somewhere.
        Ok(Some(if url.starts_with("file:") { outbox } else { outbox.private() }))
    }

    fn countries(&self) -> Result<Countries, Failure> {
        let Some(file) = &self.countries else { return Ok(Countries::default()) };
        let wrong = |why: String| Failure::usage(format!("`{}`: {why}", file.display()));
        let text = fs::read_to_string(file).map_err(|error| wrong(error.to_string()))?;
        Countries::read(&text).map_err(wrong)
    }

    fn issuers(&self, dir: &Path) -> Result<Vec<Issuer>, Failure> {
        let usual = dir.join(ISSUERS_FILE);
        let file = match &self.oidc {
            Some(file) => file,
            None if usual.exists() => &usual,
            None => return Ok(Vec::new()),
        };
        let wrong = |why: String| Failure::usage(format!("`{}`: {why}", file.display()));
        let text = fs::read_to_string(file).map_err(|error| wrong(error.to_string()))?;
        let written: Written =
            serde_json::from_str(&text).map_err(|error| wrong(error.to_string()))?;
        if written.issuers.len() > ISSUERS_MAX {
            return Err(wrong(format!("at most {ISSUERS_MAX} issuers")));
        }
        let mut names = BTreeSet::new();
        let folder = file.parent().unwrap_or(Path::new("."));
        let mut issuers = Vec::new();
        for issuer in written.issuers {
            let name = issuer.name.clone();
            if !names.insert(name.clone()) {
                return Err(wrong(format!("issuer `{name}` stands twice")));
            }
            let read = issuer.read(folder);
            issuers.push(read.map_err(|why| wrong(format!("issuer `{name}`: {why}")))?);
        }
        Ok(issuers)
    }
}

/// The file of issuers.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    issuers: Vec<WrittenIssuer>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenIssuer {
    name: String,
    url: String,
    client_id: String,
    #[serde(default)]
    client_secret: Option<SecretFrom>,
    #[serde(default)]
    domains: Vec<String>,
}

/// Where a secret is, so that the file itself is none.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
enum SecretFrom {
    Env(String),
    File(PathBuf),
}

impl WrittenIssuer {
    fn read(self, folder: &Path) -> Result<Issuer, String> {
        let is_letter = |it: char| it.is_ascii_lowercase() || it.is_ascii_digit() || it == '-';
        let is_good = (1..=NAME_CHARS_MAX).contains(&self.name.len());
        if !is_good || !self.name.chars().all(is_letter) {
            return Err(format!("a name has 1 to {NAME_CHARS_MAX} of a-z, 0-9 and `-`"));
        }
        let url = Url::parse(&self.url).map_err(|error| error.to_string())?;
        if url.query().is_some() || url.fragment().is_some() {
            return Err("`url` is the issuer as it calls itself, without a query".into());
        }
        let client_secret = match self.client_secret {
            None => None,
            Some(SecretFrom::Env(name)) => {
                let value =
                    env::var(&name).map_err(|_| format!("the variable `{name}` is not set"));
                Some(Secret::new(value?))
            }
            Some(SecretFrom::File(path)) => {
                let path = folder.join(path);
                let read = fs::read_to_string(&path);
                let text = read.map_err(|error| format!("`{}`: {error}", path.display()))?;
                Some(Secret::new(text.trim_end().to_owned()))
            }
        };
        let WrittenIssuer { name, url, client_id, domains, .. } = self;
        Ok(Issuer { name, tenant: None, url, client_id, client_secret, domains })
    }
}

fn sender_at(base_url: &str) -> String {
    let url = Url::parse(base_url).ok();
    let host = url.as_ref().and_then(Url::domain).unwrap_or("localhost");
    format!("TRAAVIIS <no-reply@{host}>")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn issuers(text: &str) -> Result<Vec<Issuer>, String> {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(ISSUERS_FILE), text).unwrap();
        fs::write(folder.path().join("secret"), "s3cret\n").unwrap();
        Identity::default().issuers(folder.path()).map_err(|it| it.message)
    }

    #[test]
    fn issuers_are_read_and_their_secrets_from_elsewhere() {
        let text = r#"{"issuers": [{
            "name": "acme", "url": "https://login.acme.example", "client_id": "traaviis",
            "client_secret": {"file": "secret"}, "domains": ["acme.example"]
        }]}"#;
        let read = issuers(text).unwrap();
        assert_eq!(read[0].client_secret.as_ref().unwrap().expose(), "s3cret");
        assert!(!format!("{read:?}").contains("s3cret"));
        for (from, to, part) in [
            ("\"acme\"", "\"Acme\"", "a-z"),
            ("https://login.acme.example", "login", "relative URL"),
            ("https://login.acme.example", "https://a.example?x=1", "query"),
            ("{\"file\": \"secret\"}", "\"s3cret\"", "unknown variant"),
            ("\"secret\"", "\"missing\"", "missing"),
            ("\"domains\"", "\"domain\"", "unknown field"),
            ("{\"file\": \"secret\"}", "{\"env\": \"TRAAVIIS_NOT_SET\"}", "is not set"),
        ] {
            assert!(text.contains(from), "{from}");
            let refused = issuers(&text.replace(from, to)).unwrap_err();
            assert!(refused.contains(part), "{refused}");
        }
        let one = text.split_once('[').unwrap().1.rsplit_once(']').unwrap().0;
        let twice = format!("{{\"issuers\": [{one}, {one}]}}");
        assert!(issuers(&twice).unwrap_err().contains("twice"));
        assert!(Identity::default().issuers(Path::new("/nowhere")).unwrap().is_empty());
    }

    #[test]
    fn mail_comes_from_the_host_of_the_server() {
        assert_eq!(sender_at("https://flows.example.org"), "TRAAVIIS <no-reply@flows.example.org>");
        assert_eq!(sender_at("http://127.0.0.1:4000"), "TRAAVIIS <no-reply@localhost>");
    }
}
