//! The table of settings: every key with its kind, default, variable and meaning.
//!
//! Defaults, the check for unknown keys, the JSON schema and the page of the reference are made of
//! it. Invariant: whatever stands here does something; a test compares it with [`super::Config`].

use serde_json::{Map, Value as Json, json};

/// What a setting holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Any text.
    Text,
    /// Text that nobody is shown.
    Secret,
    /// `ADDRESS:PORT`.
    Address,
    /// `ADDRESS:PORT`, or `off`.
    AddressOrOff,
    /// A file or a directory.
    Path,
    /// An address that begins with `http://` or `https://`.
    Url,
    /// A time such as `15m`.
    Duration,
    /// A number of bytes.
    Bytes,
    /// A number of things.
    Count,
    /// `true` or `false`.
    Switch,
    /// One of some words.
    Word(&'static [&'static str]),
    /// Several texts; in a variable with commas between them.
    Texts,
    /// Several networks, such as `10.0.0.0/8`, likewise.
    Networks,
}

/// A setting.
#[derive(Clone, Copy, Debug)]
pub struct Key {
    /// Its name; the dot separates table and key of `traaviis.toml`.
    pub name: &'static str,
    /// What it holds.
    pub kind: Kind,
    /// What it is unless somebody says otherwise; none when absence means something.
    pub default: Option<&'static str>,
    /// What it is in the production profile, where that differs.
    pub production: Option<&'static str>,
    /// A variable beside the one that is made of the name.
    pub variable: Option<&'static str>,
    /// What it does.
    pub what: &'static str,
}

const fn key(name: &'static str, kind: Kind, what: &'static str) -> Key {
    Key { name, kind, default: None, production: None, variable: None, what }
}

impl Key {
    const fn or(self, default: &'static str) -> Key {
        Key { default: Some(default), ..self }
    }

    const fn in_production(self, value: &'static str) -> Key {
        Key { production: Some(value), ..self }
    }

    const fn variable(self, variable: &'static str) -> Key {
        Key { variable: Some(variable), ..self }
    }
}

/// What variables of settings begin with.
pub const PREFIX: &str = "TRAAVIIS_";
/// Names the file of settings.
pub const FILE_VARIABLE: &str = "TRAAVIIS_CONFIG";
/// Sets the port of `http.listen`, as platforms that run containers do.
pub const PORT_VARIABLE: &str = "PORT";

/// Every setting, in the order in which people are shown them.
pub static KEYS: &[Key] = &[
    key(
        "profile",
        Kind::Word(&["dev", "production"]),
        "Which defaults count, and what is refused. Without one a server listens to this machine \
         alone, as `dev` does, and is as strict as `production`; see \
         [profiles](#profiles).",
    ),
    key("http.listen", Kind::Address, "Address to listen on. `PORT` sets its port alone.")
        .or("127.0.0.1:4000")
        .in_production("0.0.0.0:8080"),
    key(
        "http.base_url",
        Kind::Url,
        "Address under which people reach the server; made of `http.listen` when absent. \
         Production needs it.",
    )
    .variable("TRAAVIIS_BASE_URL"),
    key(
        "http.admin_listen",
        Kind::AddressOrOff,
        "Address on which operators reach `/metrics`, `/health` and `/ready`. One that is not a \
         loopback address needs `http.metrics_token`.",
    )
    .or("127.0.0.1:9090"),
    key(
        "http.metrics_token",
        Kind::Secret,
        "Who shows it as `Authorization: Bearer TOKEN` reads `/metrics` on `http.listen`, too; \
         without it nobody does. At least 16 characters.",
    ),
    key(
        "http.trust_proxy",
        Kind::Networks,
        "Networks of proxies that are believed where a request comes from (`X-Forwarded-For`).",
    )
    .or("[]"),
    key("data.dir", Kind::Path, "Data directory; made when it is not there.")
        .or("./data")
        .variable("DATA_ROOT_PATH"),
    key(
        "storage.mode",
        Kind::Word(&["embedded", "json_only"]),
        "How the directory is kept; as it was kept before when absent.",
    ),
    key(
        "storage.scrub_every",
        Kind::Duration,
        "How often everything that rests is read again, slowly, and checked; `0s` for never.",
    )
    .or("1d"),
    key(
        "tree.instances",
        Kind::Word(&["lazy", "eager", "off"]),
        "When instances are written into the document tree; as the last run did when absent.",
    ),
    key(
        "memory.limit_bytes",
        Kind::Bytes,
        "Bytes that the process is meant to keep to. Three eighths of them are for states of \
         instances, and `/ready` tells when the process takes more.",
    )
    .or("268435456"),
    key(
        "hot.limit_bytes",
        Kind::Bytes,
        "Bytes of states of instances in memory; beyond it they go to disk, and a third more \
         makes callers wait. Three eighths of `memory.limit_bytes` when absent.",
    ),
    key(
        "hot.ttl",
        Kind::Duration,
        "When memory is short, states that were not used for so long go to disk before all others.",
    )
    .or("1h"),
    key(
        "hot.share",
        Kind::Text,
        "How many of the instances of each tenant stay in memory as long as there is room: `on`, \
         `off`, or a share such as `25%`. The others go to disk a second after they rest.",
    )
    .or("on"),
    key("hot.tenants", Kind::Texts, "The same for single tenants, each as `TENANT=SHARE`.")
        .or("[]"),
    key(
        "limits.login_per_account",
        Kind::Count,
        "Attempts to log in to one account in a minute; 10 when absent, 600 in `dev`.",
    ),
    key(
        "limits.login_per_address",
        Kind::Count,
        "Attempts to log in, or to register, from one address in a minute; 60 when absent, 600 in \
         `dev`.",
    ),
    key(
        "limits.running_calls",
        Kind::Count,
        "Calls to the outside of one tenant that run at once, spread over the cores, one on each \
         at least; others wait for their turn.",
    )
    .or("256"),
    key(
        "limits.events_per_second",
        Kind::Count,
        "Events that callers of one tenant may send in a second; four times as many after a rest.",
    )
    .or("5000"),
    key(
        "limits.open_instances",
        Kind::Count,
        "Instances that one tenant may have open; further starts are refused.",
    )
    .or("100000"),
    key(
        "features.hot_store",
        Kind::Text,
        "How the flag `hot_store` is while nobody has set it with `traaviis admin flags`: `on`, \
         `off`, or a share of the tenants such as `25%`.",
    )
    .or("on"),
    key("auth.issuer", Kind::Url, "Issuer of access tokens; the base URL when absent."),
    key("auth.access_ttl", Kind::Duration, "Life of an access token.").or("15m"),
    key("auth.refresh_ttl", Kind::Duration, "Longest life of a session.").or("30d"),
    key("auth.session_idle", Kind::Duration, "A session that is not used for so long ends.")
        .or("24h"),
    key(
        "auth.password_length_min",
        Kind::Count,
        "Characters of the shortest password that is taken, from 8 to 128; passwords that are set \
         already stay good.",
    )
    .or("8"),
    key(
        "auth.root_key_file",
        Kind::Path,
        "File that holds the root key, which opens all others; made when it is not there. \
         `traaviis/root.key` below the settings of the person when absent. The variable \
         `TRAAVIIS_ROOT_KEY` can hold the key itself. Commands that work on the files find it by \
         the same variable.",
    )
    .variable("TRAAVIIS_ROOT_KEY_FILE"),
    key(
        "auth.require_email_verification",
        Kind::Switch,
        "New users confirm their address before they log in; needs `mail.smtp_url`.",
    )
    .or("false"),
    key(
        "auth.oidc_file",
        Kind::Path,
        "File of issuers at which people may log in (OpenID Connect); `oidc.json` in the data \
         directory, if there is one, when absent.",
    ),
    key(
        "auth.countries_file",
        Kind::Path,
        "List of countries by network, with lines `NETWORK,CC` or `FIRST,LAST,CC`: a login from a \
         country that is new for somebody raises an alert. Nobody is told of it when absent.",
    ),
    key(
        "mail.smtp_url",
        Kind::Secret,
        "Where mail goes: `smtps://user:password@host`, `smtp://host`, or `file:FOLDER`; nowhere \
         when absent.",
    ),
    key(
        "mail.from",
        Kind::Text,
        "Sender of mail; `no-reply` at the host of the base URL when absent.",
    ),
    key(
        "bootstrap.admin_email",
        Kind::Text,
        "Who looks after the platform. An account that is there is raised; otherwise one is made, \
         with the password in `TRAAVIIS_ADMIN_PASSWORD`, or one that is told once.",
    ),
    key(
        "bootstrap.plan",
        Kind::Word(&["free", "starter", "pro", "enterprise", "self_hosted"]),
        "Plan of new tenants.",
    )
    .or("self_hosted"),
    key("connectors.file", Kind::Path, "Connectors file: the functions that `call` offers."),
    key(
        "egress.allow_private",
        Kind::Texts,
        "Private or loopback targets, as `HOST:PORT`, that workflows may reach.",
    )
    .or("[]"),
    key(
        "log.level",
        Kind::Text,
        "Least level that is logged: `error`, `warn`, `info`, `debug` or `trace`; for a part of \
         the program as in `info,traaviis_server=debug`.",
    )
    .or("info"),
    key("log.format", Kind::Word(&["json", "text"]), "Lines for programs, or for people.")
        .or("json"),
    key(
        "telemetry.otlp_endpoint",
        Kind::Url,
        "Collector that gets traces, numbers and log lines by OTLP over HTTP; `/v1/traces`, \
         `/v1/metrics` and `/v1/logs` are added. Nothing leaves when absent.",
    )
    .variable("OTEL_EXPORTER_OTLP_ENDPOINT"),
    key("telemetry.traces", Kind::Switch, "The collector gets traces.").or("true"),
    key("telemetry.metrics", Kind::Switch, "The collector gets numbers.").or("true"),
    key("telemetry.logs", Kind::Switch, "The collector gets log lines.").or("true"),
];

/// Returns the setting of a name.
pub fn find(name: &str) -> Option<&'static Key> {
    KEYS.iter().find(|it| it.name == name)
}

/// Says whether a name is a table of settings.
pub fn is_table(name: &str) -> bool {
    KEYS.iter().any(|it| it.name.strip_prefix(name).is_some_and(|rest| rest.starts_with('.')))
}

/// Returns the JSON schema of `traaviis.toml`.
pub fn schema() -> Json {
    let mut tables: Map<String, Json> = Map::new();
    let mut top: Map<String, Json> = Map::new();
    for key in KEYS {
        let mut it = of_kind(key.kind);
        it["description"] = json!(key.what);
        match (key.kind, key.default) {
            (Kind::Bytes | Kind::Count, Some(text)) => {
                it["default"] = json!(text.parse::<u64>().unwrap_or(0))
            }
            (Kind::Texts | Kind::Networks, Some(_)) => it["default"] = json!([]),
            (Kind::Switch, Some(text)) => it["default"] = json!(text == "true"),
            (_, Some(text)) => it["default"] = json!(text),
            (_, None) => {}
        }
        match key.name.split_once('.') {
            None => drop(top.insert(key.name.into(), it)),
            Some((table, name)) => {
                let table = tables.entry(table).or_insert_with(
                    || json!({ "type": "object", "additionalProperties": false, "properties": {} }),
                );
                table["properties"][name] = it;
            }
        }
    }
    top.append(&mut tables);
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": "https://traaviis.dev/schemas/config-1.json",
        "title": "Settings of a TRAAVIIS server",
        "description": "The file `traaviis.toml`, read as JSON.",
        "type": "object",
        "additionalProperties": false,
        "properties": top,
    })
}

fn of_kind(kind: Kind) -> Json {
    match kind {
        Kind::Text | Kind::Path | Kind::Address | Kind::AddressOrOff => json!({ "type": "string" }),
        Kind::Secret => json!({ "type": "string", "minLength": 16, "writeOnly": true }),
        Kind::Url => json!({ "type": "string", "pattern": "^https?://" }),
        Kind::Duration => json!({
            "type": "string",
            "pattern": "^([0-9]+(\\.[0-9]+)?(w|d|h|m|s|ms|us))+$",
        }),
        Kind::Bytes => json!({ "type": "integer", "minimum": 0 }),
        Kind::Count => json!({ "type": "integer", "minimum": 1 }),
        Kind::Switch => json!({ "type": "boolean" }),
        Kind::Word(words) => json!({ "type": "string", "enum": words }),
        Kind::Texts | Kind::Networks => {
            json!({ "type": "array", "items": { "type": "string" } })
        }
    }
}
