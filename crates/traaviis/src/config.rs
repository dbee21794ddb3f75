//! Settings of a server: read in layers, checked once, then typed.
//!
//! Reading order: [`keys`] (the table of settings), [`Config`] (what they become), [`layers`]
//! (where they come from). Invariants: an unknown key or a wrong value stops the start and says
//! where it stands; a secret is shown to nobody.

mod keys;
mod layers;
#[cfg(test)]
mod page;
mod production;

use std::{
    fmt,
    net::SocketAddr,
    path::{Path, PathBuf},
    str::FromStr,
};

use ipnet::IpNet;
use serde::{Deserialize, Deserializer, de::Error as _};
use serde_json::{Value as Json, json};
use traaviis_model::{Span, TenantId, form};
use traaviis_policy::{flag::Setting, plan::Plan};
use traaviis_server::limits::Attempts;
use url::Url;

pub use keys::schema;
pub use layers::{Flag, Variables, variables};

use crate::{exit::Failure, storage::StorageMode, tree::TreeMode};
use keys::{KEYS, Kind};
use layers::Layers;

/// Name of the file of settings.
const FILE_NAME: &str = "traaviis.toml";
/// Characters of a token for numbers: fewer can be guessed.
const METRICS_TOKEN_CHARS_MIN: usize = 16;
/// Shortest life of an access token: a shorter one ends on its way.
const ACCESS_TTL_MIN: Span = Span::secs(60);
/// Longest: for so long a signing key that was replaced must be kept.
const ACCESS_TTL_MAX: Span = Span::secs(24 * 3_600);
/// Shortest life of a session.
const REFRESH_TTL_MIN: Span = Span::secs(3_600);
/// Longest: people should log in once a year.
const REFRESH_TTL_MAX: Span = Span::secs(366 * 24 * 3_600);
/// Fewest bytes of states in memory: some thousand instances.
const HOT_BYTES_LEAST: u64 = 1 << 20;
/// Most bytes; more is a mistake of units.
const HOT_BYTES_MOST: u64 = 1 << 40;
/// Least memory of a process: what it takes without any instance, and some room.
const MEMORY_BYTES_LEAST: u64 = 64 << 20;
/// Most; more is a mistake of units.
const MEMORY_BYTES_MOST: u64 = 1 << 40;
/// Shortest time without use after which a state may go.
const HOT_TTL_MIN: Span = Span::secs(1);
/// Longest: what is not used for a month is not used.
const HOT_TTL_MAX: Span = Span::secs(30 * 24 * 3_600);
/// Attempts in a minute that somebody may allow; more is no limit against guessing.
const ATTEMPTS_MOST: u64 = 10_000;
/// Calls of one tenant at once: each has a connection and memory of its own.
const CALLS_MOST: u64 = 10_000;
/// Events of one tenant in a second: more than any log here has taken.
const EVENTS_MOST: u64 = 1_000_000;
/// Open instances of one tenant: each is found by a few hundred bytes in memory.
const INSTANCES_MOST: u64 = 10_000_000;

/// All settings.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Which defaults count, and what is refused; without one nothing is made easier, and nothing
    /// is demanded.
    #[serde(default)]
    pub profile: Option<Profile>,
    /// The way in.
    pub http: Http,
    /// Where data are.
    pub data: DataDir,
    /// How they are kept.
    pub storage: Storage,
    /// Documents for people.
    #[serde(default)]
    pub tree: Tree,
    /// Memory of the process.
    pub memory: Memory,
    /// States in memory.
    pub hot: Hot,
    /// How much somebody may do.
    pub limits: Limits,
    /// Features.
    pub features: Features,
    /// Tokens and sessions.
    pub auth: Auth,
    /// Mail.
    #[serde(default)]
    pub mail: Mail,
    /// What a new installation begins with.
    pub bootstrap: Bootstrap,
    /// Functions that `call` offers.
    #[serde(default)]
    pub connectors: ConnectorsFile,
    /// What workflows may reach.
    pub egress: Egress,
    /// Lines about what happens.
    pub log: Log,
    /// What leaves for a collector.
    pub telemetry: Telemetry,
}

/// Which defaults count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum Profile {
    /// For trying things out on one machine.
    Dev,
    /// For people who rely on it.
    Production,
}

impl Profile {
    /// Returns the word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Profile::Dev => "dev",
            Profile::Production => "production",
        }
    }
}

impl Config {
    /// Returns how many attempts somebody may make: few, unless somebody has said that this is for
    /// trying things out.
    pub fn attempts(&self) -> Attempts {
        let usual = match self.profile {
            Some(Profile::Dev) => Attempts::DEV,
            Some(Profile::Production) | None => Attempts::STRICT,
        };
        Attempts {
            account: self.limits.login_per_account.unwrap_or(usual.account),
            address: self.limits.login_per_address.unwrap_or(usual.address),
        }
    }

    /// Returns the bytes of states in memory: three eighths of the process, unless somebody has
    /// said how many.
    pub fn hot_bytes(&self) -> u64 {
        self.hot.limit_bytes.unwrap_or(self.memory.limit_bytes / 8 * 3)
    }
}

/// `http`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Http {
    /// Address to listen on.
    pub listen: SocketAddr,
    /// Address under which people reach it.
    #[serde(default)]
    pub base_url: Option<String>,
    /// Address for operators.
    pub admin_listen: AdminListen,
    /// Who shows it reads numbers.
    #[serde(default)]
    pub metrics_token: Option<Hidden>,
    /// Proxies that are believed.
    #[serde(deserialize_with = "from_texts")]
    pub trust_proxy: Vec<IpNet>,
}

/// Text that nobody is shown.
#[derive(Clone, Deserialize)]
#[serde(transparent)]
pub struct Hidden(pub String);

impl fmt::Debug for Hidden {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// An address for operators, or none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub enum AdminListen {
    /// Nobody listens.
    Off,
    /// Somebody does.
    At(SocketAddr),
}

impl TryFrom<String> for AdminListen {
    type Error = String;

    fn try_from(text: String) -> Result<AdminListen, String> {
        match &*text {
            "off" => Ok(AdminListen::Off),
            text => text.parse().map(AdminListen::At).map_err(|_| {
                format!("`{text}` is neither `off` nor an address such as `127.0.0.1:9090`")
            }),
        }
    }
}

/// `data`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DataDir {
    /// Data directory.
    pub dir: PathBuf,
}

/// `storage`.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Storage {
    /// How the directory is kept; as before when absent.
    pub mode: Option<StorageMode>,
    /// How often what rests is checked; zero for never.
    pub scrub_every: Span,
}

/// `tree`.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tree {
    /// When instances are written; as before when absent.
    pub instances: Option<TreeMode>,
}

/// `memory`.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Memory {
    /// Bytes that the process is meant to keep to.
    pub limit_bytes: u64,
}

/// `limits`.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// Attempts to log in to one account in a minute.
    #[serde(default)]
    pub login_per_account: Option<u32>,
    /// Attempts to log in from one address in a minute.
    #[serde(default)]
    pub login_per_address: Option<u32>,
    /// Calls of one tenant that run at once.
    pub running_calls: usize,
    /// Events that callers of one tenant may send in a second.
    pub events_per_second: u32,
    /// Instances that one tenant may have open.
    pub open_instances: usize,
}

/// `features`: how flags are while nobody has set them.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Features {
    /// States of open instances are kept in memory.
    #[serde(deserialize_with = "from_text")]
    pub hot_store: Setting,
}

/// `hot`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Hot {
    /// Bytes of states in memory; a part of `memory.limit_bytes` when absent.
    #[serde(default)]
    pub limit_bytes: Option<u64>,
    /// Time without use after which a state goes first.
    pub ttl: Span,
    /// How many of the instances of each tenant stay in memory.
    #[serde(deserialize_with = "from_text")]
    pub share: Share,
    /// Tenants for which that is otherwise.
    #[serde(deserialize_with = "from_texts")]
    pub tenants: Vec<TenantShare>,
}

impl Hot {
    /// Says whether everything stays in memory.
    pub fn keeps_all(&self) -> bool {
        self.share.0 >= 100 && self.tenants.iter().all(|it| it.share.0 >= 100)
    }

    /// Returns how many in a hundred of the instances of a tenant stay in memory.
    pub fn share_of(&self, tenant: TenantId) -> u8 {
        let own = self.tenants.iter().find(|it| it.tenant == tenant);
        own.map_or(self.share, |it| it.share).0
    }
}

/// A part of the instances of a tenant, in hundredths.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share(pub u8);

impl FromStr for Share {
    type Err = String;

    fn from_str(text: &str) -> Result<Share, String> {
        let percent = |it: &str| it.parse().ok().filter(|it| *it <= 100);
        match text {
            "on" => Ok(Share(100)),
            "off" => Ok(Share(0)),
            _ => text.strip_suffix('%').and_then(percent).map(Share).ok_or_else(|| {
                format!("`{text}` is neither `on` nor `off`, nor a share such as `25%`")
            }),
        }
    }
}

/// The share of one tenant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TenantShare {
    tenant: TenantId,
    share: Share,
}

impl FromStr for TenantShare {
    type Err = String;

    fn from_str(text: &str) -> Result<TenantShare, String> {
        let (tenant, share) =
            text.split_once('=').ok_or_else(|| format!("`{text}` is not `TENANT=SHARE`"))?;
        let tenant = tenant.parse().map_err(|_| format!("`{tenant}` is no id of a tenant"))?;
        Ok(TenantShare { tenant, share: share.parse()? })
    }
}

/// `auth`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Auth {
    /// Issuer of access tokens.
    #[serde(default)]
    pub issuer: Option<String>,
    /// Life of an access token.
    pub access_ttl: Span,
    /// Longest life of a session.
    pub refresh_ttl: Span,
    /// A session that is not used for so long ends.
    pub session_idle: Span,
    /// Characters of the shortest password.
    pub password_length_min: usize,
    /// File that holds the root key.
    #[serde(default)]
    pub root_key_file: Option<PathBuf>,
    /// New users confirm their address.
    pub require_email_verification: bool,
    /// File of issuers.
    #[serde(default)]
    pub oidc_file: Option<PathBuf>,
    /// File of countries.
    #[serde(default)]
    pub countries_file: Option<PathBuf>,
}

/// `bootstrap`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bootstrap {
    /// Who looks after the platform.
    #[serde(default)]
    pub admin_email: Option<String>,
    /// Plan of new tenants.
    #[serde(deserialize_with = "from_text")]
    pub plan: Plan,
}

/// `mail`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mail {
    /// Where it goes.
    pub smtp_url: Option<Hidden>,
    /// Sender.
    pub from: Option<String>,
}

/// `connectors`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConnectorsFile {
    /// The file.
    pub file: Option<PathBuf>,
}

/// `egress`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Egress {
    /// Private targets that workflows may reach.
    pub allow_private: Vec<String>,
}

/// `log`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Log {
    /// Least level, or levels of parts of the program.
    pub level: String,
    /// For whom lines are.
    pub format: LogFormat,
}

/// For whom log lines are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogFormat {
    /// Programs.
    Json,
    /// People.
    Text,
}

/// `telemetry`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Telemetry {
    /// Collector that gets what follows.
    #[serde(default)]
    pub otlp_endpoint: Option<String>,
    /// It gets traces.
    pub traces: bool,
    /// It gets numbers.
    pub metrics: bool,
    /// It gets log lines.
    pub logs: bool,
}

/// Settings, and where each comes from.
pub struct Settings {
    /// All settings.
    pub config: Config,
    layers: Layers,
}

impl Settings {
    /// Reads the settings; `defaults` are those of the command where it has its own.
    pub fn read(
        file: Option<&Path>,
        variables: &Variables,
        defaults: &[Flag],
        flags: &[Flag],
    ) -> Result<Settings, Failure> {
        let layers = Layers::read(file, variables, defaults, flags)?;
        let config: Config = layers.figment.extract().map_err(|error| layers.wrong(&error))?;
        let settings = Settings { config, layers };
        settings.check()?;
        if settings.config.profile == Some(Profile::Production) {
            production::check(&settings, variables)?;
        }
        Ok(settings)
    }

    /// Says whether somebody has chosen a setting, rather than a default.
    pub fn is_chosen(&self, key: &str) -> bool {
        !self.layers.source(key).starts_with("default")
    }

    /// Refuses values that have the right form and make no sense.
    fn check(&self) -> Result<(), Failure> {
        let Config { http, auth, telemetry, log, .. } = &self.config;
        let urls = [
            ("http.base_url", &http.base_url),
            ("auth.issuer", &auth.issuer),
            ("telemetry.otlp_endpoint", &telemetry.otlp_endpoint),
        ];
        for (key, url) in urls {
            let Some(url) = url else { continue };
            let read = Url::parse(url).ok().filter(|it| matches!(it.scheme(), "http" | "https"));
            if read.is_none_or(|it| it.host_str().is_none()) {
                return self.refuse(key, "it is no address that begins with http:// or https://");
            }
        }
        let spans = [
            ("auth.access_ttl", auth.access_ttl, ACCESS_TTL_MIN, ACCESS_TTL_MAX),
            ("auth.refresh_ttl", auth.refresh_ttl, REFRESH_TTL_MIN, REFRESH_TTL_MAX),
            ("auth.session_idle", auth.session_idle, ACCESS_TTL_MIN, REFRESH_TTL_MAX),
            ("hot.ttl", self.config.hot.ttl, HOT_TTL_MIN, HOT_TTL_MAX),
        ];
        for (key, span, least, most) in spans {
            if !(least..=most).contains(&span) {
                return self.refuse(key, &format!("`{span}` is not between {least} and {most}"));
            }
        }
        self.check_counts()?;
        if let Err(error) = tracing_subscriber::EnvFilter::try_new(&log.level) {
            return self.refuse("log.level", &error.to_string());
        }
        if auth.require_email_verification && self.config.mail.smtp_url.is_none() {
            let why = "it needs `mail.smtp_url`: without mail nobody could ever log in";
            return self.refuse("auth.require_email_verification", why);
        }
        let token = http.metrics_token.as_ref();
        if token.is_some_and(|it| it.0.chars().count() < METRICS_TOKEN_CHARS_MIN) {
            let why = format!("it has fewer than {METRICS_TOKEN_CHARS_MIN} characters");
            return self.refuse("http.metrics_token", &why);
        }
        match http.admin_listen {
            AdminListen::At(at) if !at.ip().is_loopback() && token.is_none() => self.refuse(
                "http.admin_listen",
                "others than this machine reach it, so `http.metrics_token` is needed",
            ),
            _ => Ok(()),
        }
    }

    /// Refuses numbers that are too low to work, or so high that they are a mistake.
    fn check_counts(&self) -> Result<(), Failure> {
        let Config { memory, hot, limits, auth, .. } = &self.config;
        let count = |it: Option<u32>| it.map_or(1, u64::from);
        let chars = (form::PASSWORD_CHARS_MIN as u64, form::PASSWORD_CHARS_MAX as u64);
        for (key, value, (least, most)) in [
            ("memory.limit_bytes", memory.limit_bytes, (MEMORY_BYTES_LEAST, MEMORY_BYTES_MOST)),
            ("hot.limit_bytes", self.config.hot_bytes(), (HOT_BYTES_LEAST, HOT_BYTES_MOST)),
            ("auth.password_length_min", auth.password_length_min as u64, chars),
            ("limits.login_per_account", count(limits.login_per_account), (1, ATTEMPTS_MOST)),
            ("limits.login_per_address", count(limits.login_per_address), (1, ATTEMPTS_MOST)),
            ("limits.running_calls", limits.running_calls as u64, (1, CALLS_MOST)),
            ("limits.events_per_second", limits.events_per_second.into(), (1, EVENTS_MOST)),
            ("limits.open_instances", limits.open_instances as u64, (1, INSTANCES_MOST)),
        ] {
            if !(least..=most).contains(&value) {
                return self.refuse(key, &format!("it is not between {least} and {most}"));
            }
        }
        if hot.limit_bytes.is_some_and(|it| it > memory.limit_bytes) {
            let why = format!(
                "it is more than the whole process is meant to take; raise `memory.limit_bytes`, \
                 which is {}",
                memory.limit_bytes
            );
            return self.refuse("hot.limit_bytes", &why);
        }
        Ok(())
    }

    fn refuse(&self, key: &str, why: &str) -> Result<(), Failure> {
        Err(self.layers.refuse(key, why))
    }

    /// Returns every setting with its value, masked where it is a secret, and its source.
    pub fn shown(&self) -> Vec<(&'static str, Json, String)> {
        let shown = |key: &keys::Key| {
            let value = self.layers.figment.find_value(key.name).ok();
            let value = value.and_then(|it| serde_json::to_value(it).ok());
            match (value, key.kind) {
                (None, _) => (key.name, Json::Null, "not set".into()),
                (Some(_), Kind::Secret) => (key.name, json!("***"), self.layers.source(key.name)),
                (Some(value), _) => (key.name, value, self.layers.source(key.name)),
            }
        };
        KEYS.iter().map(shown).collect()
    }
}

fn from_text<'de, T, D>(deserializer: D) -> Result<T, D::Error>
where
    T: FromStr<Err: fmt::Display>,
    D: Deserializer<'de>,
{
    String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
}

fn from_texts<'de, T, D>(deserializer: D) -> Result<Vec<T>, D::Error>
where
    T: FromStr<Err: fmt::Display>,
    D: Deserializer<'de>,
{
    let texts = Vec::<String>::deserialize(deserializer)?;
    texts.iter().map(|it| it.parse().map_err(D::Error::custom)).collect()
}

#[cfg(test)]
mod tests {
    use expect_test::{expect, expect_file};
    use figment::value::Value;

    use super::*;
    use crate::secrets::ROOT_KEY;

    fn read(toml: &str, variables: &[(&str, &str)], flags: &[Flag]) -> Result<Settings, Failure> {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join(FILE_NAME);
        std::fs::write(&file, toml).unwrap();
        let variables = variables.iter().map(|(name, it)| ((*name).into(), (*it).into())).collect();
        Settings::read(Some(&file), &variables, &[], flags).map_err(|mut it| {
            it.message = it.message.replace(&folder.path().display().to_string(), "DIR");
            it
        })
    }

    #[test]
    fn the_schema_and_the_page_are_current() {
        let schema = serde_json::to_string_pretty(&schema()).unwrap() + "\n";
        expect_file!["../../../schemas/config-1.json"].assert_eq(&schema);
        expect_file!["../../../docs/reference/configuration.md"].assert_eq(&page::page());
    }

    /// Every key reaches a field, and every field has a key: unknown ones are refused by serde.
    #[test]
    fn the_table_and_the_types_are_the_same() {
        let sample = |key: &keys::Key| match key.kind {
            _ if ["hot.share", "features.hot_store"].contains(&key.name) => "25%".into(),
            _ if key.name == "memory.limit_bytes" => "100000000".into(),
            _ if key.name == "hot.tenants" => format!("{}=off", TenantId(uuid::Uuid::nil())),
            Kind::Word(words) => words[0].to_owned(),
            Kind::Text => "warn".into(),
            Kind::Secret => "0c7a52f6f9d64f5c".into(),
            Kind::Address | Kind::AddressOrOff => "127.0.0.1:1".into(),
            Kind::Path => "some/where".into(),
            Kind::Url => "http://localhost:1".into(),
            Kind::Duration => "2h".into(),
            Kind::Bytes => "2000000".into(),
            Kind::Count => "20".into(),
            Kind::Texts => "a:1,b:2".into(),
            Kind::Networks => "10.0.0.0/8,192.168.0.0/16".into(),
            Kind::Switch => "true".into(),
        };
        let variables: Variables =
            KEYS.iter().map(|it| (page::made_variable(it), sample(it))).collect();
        let settings =
            Settings::read(None, &variables, &[], &[]).unwrap_or_else(|it| panic!("{it}"));
        let debug = format!("{:?}", settings.config);
        for (key, _, source) in settings.shown() {
            assert!(source.starts_with("environment"), "{key}: {source}");
            let field = key.rsplit('.').next().unwrap();
            assert!(debug.contains(&format!("{field}: ")), "{key} in {debug}");
        }
    }

    #[test]
    fn flags_win_over_variables_over_the_file_over_defaults() {
        let toml = "[http]\nlisten = \"127.0.0.1:1\"\n\n[log]\nlevel = \"warn\"\n";
        let from = |variables: &[(&str, &str)], flags: &[Flag]| {
            let settings = read(toml, variables, flags).unwrap();
            settings.config.http.listen.to_string()
        };
        let variable = ("TRAAVIIS_HTTP__LISTEN", "127.0.0.1:2");
        let flag = ("http.listen", "--listen", Value::from("127.0.0.1:3"));
        let port = ("PORT", "4");
        assert_eq!(from(&[], &[]), "127.0.0.1:1");
        assert_eq!(from(&[port], &[]), "127.0.0.1:4", "the port alone");
        assert_eq!(from(&[variable, port], &[]), "127.0.0.1:2");
        assert_eq!(from(&[variable, port], &[flag]), "127.0.0.1:3");
        let settings = read(toml, &[variable], &[]).unwrap();
        let shown: Vec<String> = settings
            .shown()
            .into_iter()
            .filter(|it| ["http.listen", "log.level", "log.format"].contains(&it.0))
            .map(|(key, value, source)| format!("{key} = {value} ({source})\n"))
            .collect();
        let shown = shown.concat();
        assert!(shown.contains("traaviis.toml`, line 5)"), "{shown}");
        assert!(shown.contains("(environment variable `TRAAVIIS_HTTP__LISTEN`)"), "{shown}");
        assert!(shown.contains("log.format = \"json\" (default)"), "{shown}");
    }

    #[test]
    fn a_wrong_setting_stops_the_start_with_its_place() {
        let mut all = String::new();
        for (toml, variables) in [
            ("[http]\nlistn = \"x\"", &[][..]),
            ("[htpt]\nlisten = \"x\"", &[]),
            ("\nlisten = \"x\"", &[]),
            ("[http]\nlisten = \"x\"", &[]),
            ("http = 3", &[]),
            ("[http\nlisten = 3", &[]),
            ("[log]\nformat = \"yaml\"", &[]),
            ("[log]\nlevel = \"a=b=c\"", &[]),
            ("[auth]\naccess_ttl = \"15 minutes\"", &[]),
            ("[auth]\naccess_ttl = \"1s\"", &[]),
            ("[hot]\nlimit_bytes = 3", &[]),
            ("[hot]\nlimit_bytes = 300000000", &[]),
            ("[hot]\nttl = \"1ms\"", &[]),
            ("[memory]\nlimit_bytes = 1000000", &[]),
            ("[auth]\npassword_length_min = 7", &[]),
            ("[limits]\nrunning_calls = 0", &[]),
            ("[features]\nhot_store = \"maybe\"", &[]),
            ("", &[("TRAAVIIS_LIMITS__LOGIN_PER_ACCOUNT", "many")]),
            ("[hot]\nshare = \"101%\"", &[]),
            ("[hot]\ntenants = [\"acme=off\"]", &[]),
            ("[http]\nbase_url = \"example.org\"", &[]),
            ("[http]\nadmin_listen = \"0.0.0.0:9090\"", &[]),
            ("[http]\nmetrics_token = 12345678901234567890", &[]),
            ("[http]\nmetrics_token = 1234567890123456", &[]),
            ("[http]\nmetrics_token = \"short\"", &[]),
            ("profile = \"production\"", &[]),
            ("", &[("TRAAVIIS_HTTP__LISTN", "x")]),
            ("", &[("PORT", "http")]),
        ] {
            let failure = read(toml, variables, &[]).map(|it| it.config).unwrap_err();
            assert_eq!(failure.code, "config_invalid");
            all += &format!("{}\n", failure.message);
        }
        expect![[r#"
            there is no setting `http.listn` (`DIR/traaviis.toml`, line 2); did you mean `http.listen`?
            there is no setting `htpt` (`DIR/traaviis.toml`, line 1); `traaviis schema config` lists those that there are
            there is no setting `listen` (`DIR/traaviis.toml`, line 2); `traaviis schema config` lists those that there are
            `http.listen` from `DIR/traaviis.toml`, line 2: invalid socket address syntax
            there is no setting `http` (`DIR/traaviis.toml`, line 1); `traaviis schema config` lists those that there are
            `DIR/traaviis.toml` cannot be read: TOML parse error at line 1, column 6; invalid table header; expected `.`, `]`
            `log.format` from `DIR/traaviis.toml`, line 2: it is none of `json`, `text`
            `log.level` from `DIR/traaviis.toml`, line 2: error parsing level filter: expected one of "off", "error", "warn", "info", "debug", "trace", or a number 0-5
            `auth.access_ttl` from `DIR/traaviis.toml`, line 2: `15 minutes` is not a duration; write for example 250ms, 30s, 1h30m, 7d or PT30S
            `auth.access_ttl` from `DIR/traaviis.toml`, line 2: `1s` is not between 1m and 1d
            `hot.limit_bytes` from `DIR/traaviis.toml`, line 2: it is not between 1048576 and 1099511627776
            `hot.limit_bytes` from `DIR/traaviis.toml`, line 2: it is more than the whole process is meant to take; raise `memory.limit_bytes`, which is 268435456
            `hot.ttl` from `DIR/traaviis.toml`, line 2: `1ms` is not between 1s and 30d
            `memory.limit_bytes` from `DIR/traaviis.toml`, line 2: it is not between 67108864 and 1099511627776
            `auth.password_length_min` from `DIR/traaviis.toml`, line 2: it is not between 8 and 128
            `limits.running_calls` from `DIR/traaviis.toml`, line 2: it is not between 1 and 10000
            `features.hot_store` from `DIR/traaviis.toml`, line 2: this is `on`, `off`, or a share such as `25%`
            `limits.login_per_account` from environment variable `TRAAVIIS_LIMITS__LOGIN_PER_ACCOUNT`: invalid type: found string "many", expected u32
            `hot.share` from `DIR/traaviis.toml`, line 2: `101%` is neither `on` nor `off`, nor a share such as `25%`
            `hot.tenants` from `DIR/traaviis.toml`, line 2: `acme` is no id of a tenant
            `http.base_url` from `DIR/traaviis.toml`, line 2: it is no address that begins with http:// or https://
            `http.admin_listen` from `DIR/traaviis.toml`, line 2: others than this machine reach it, so `http.metrics_token` is needed
            `DIR/traaviis.toml` cannot be read: TOML parse error at line 2, column 17; number too large to fit in target type
            `http.metrics_token` from `DIR/traaviis.toml`, line 2: it is no text
            `http.metrics_token` from `DIR/traaviis.toml`, line 2: it has fewer than 16 characters
            `http.base_url` is not set: production needs the address under which people reach it, such as `https://flows.example.org`
            there is no setting `http.listn` (environment variable `TRAAVIIS_HTTP__LISTN`); did you mean `http.listen`?
            environment variable `PORT`: no port
        "#]].assert_eq(&all);
        assert!(!all.contains("1234567890123456") && !all.contains("short"), "{all}");
    }

    #[test]
    fn production_has_its_own_defaults_and_refuses_known_secrets() {
        let base = ("TRAAVIIS_BASE_URL", "https://flows.example.org");
        let toml = "profile = \"production\"";
        let settings = read(toml, &[base], &[]).unwrap();
        assert_eq!(settings.config.http.listen.to_string(), "0.0.0.0:8080");
        let token = ("TRAAVIIS_HTTP__METRICS_TOKEN", "changeme-changeme");
        let refused = read(toml, &[base, token], &[]).map(|it| it.config).unwrap_err();
        assert!(refused.message.contains("everybody knows"), "{refused}");
        let token = ("TRAAVIIS_HTTP__METRICS_TOKEN", "Jc0lWn4vQ2sX9bT7");
        let zeros = (ROOT_KEY, &*"0".repeat(64));
        let refused = read(toml, &[base, zeros], &[]).map(|it| it.config).unwrap_err();
        assert!(refused.message.contains("made by chance"), "{refused}");
        let settings = read(toml, &[base, token], &[]).unwrap();
        let shown = format!("{:?}", settings.shown());
        assert!(shown.contains("***") && !shown.contains("Jc0lWn4v"), "{shown}");
    }

    #[test]
    fn only_the_profile_for_trying_out_allows_many_attempts() {
        let attempts = |toml: &str| {
            let Attempts { account, address } = read(toml, &[], &[]).unwrap().config.attempts();
            (account, address)
        };
        let production =
            "profile = \"production\"\n[http]\nbase_url = \"https://flows.example.org\"\n";
        assert_eq!(attempts(""), (10, 60));
        assert_eq!(attempts(production), (10, 60));
        assert_eq!(attempts("profile = \"dev\""), (600, 600));
        assert_eq!(attempts("profile = \"dev\"\n[limits]\nlogin_per_account = 5"), (5, 600));
    }

    #[test]
    fn states_take_three_eighths_of_the_memory_unless_somebody_says_otherwise() {
        let hot = |toml: &str| read(toml, &[], &[]).unwrap().config.hot_bytes();
        assert_eq!(hot(""), traaviis_runtime::limits::HOT_BYTES_MAX as u64);
        assert_eq!(hot("[memory]\nlimit_bytes = 800000000"), 300_000_000);
        assert_eq!(hot("[hot]\nlimit_bytes = 2000000"), 2_000_000);
    }

    #[test]
    fn a_file_that_was_named_must_be_there() {
        let refused = Settings::read(Some(Path::new("/no/such")), &Variables::new(), &[], &[]);
        assert!(refused.map(|it| it.config).unwrap_err().message.contains("cannot read settings"));
        assert!(Settings::read(None, &Variables::new(), &[], &[]).is_ok());
        let secret = ("TRAAVIIS_SECRET_A__B".into(), "x".into());
        let secret = Settings::read(None, &Variables::from([secret]), &[], &[]);
        assert!(secret.is_ok(), "a secret is no setting, whatever its name");
    }
}
