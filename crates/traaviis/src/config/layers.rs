//! Where settings come from: defaults, file, variables, flags; and the place of each.

use std::{
    collections::BTreeMap,
    env,
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
};

use figment::{
    Figment, Metadata, Profile as Selected, Provider,
    providers::{Format as _, Toml},
    value::{Dict, Map, Value},
};
use traaviis_model::document::nearest;

use super::{
    FILE_NAME,
    keys::{self, FILE_VARIABLE, KEYS, Kind, PORT_VARIABLE, PREFIX},
};
use crate::exit::{Exit, Failure};

/// Variables of this process by name.
pub type Variables = BTreeMap<String, String>;

/// What variables begin with that hold secrets for calls, whatever their names.
const SECRET_PREFIX: &str = "TRAAVIIS_SECRET_";

/// Returns the variables of this process; one that is no text is no setting of ours.
pub fn variables() -> Variables {
    let text =
        |(name, it): (OsString, OsString)| Some((name.into_string().ok()?, it.into_string().ok()?));
    env::vars_os().filter_map(text).collect()
}

/// A setting that a flag gives: key, flag, value.
pub type Flag = (&'static str, &'static str, Value);

/// Some settings from one place.
struct Layer {
    from: String,
    settings: Dict,
}

impl Provider for Layer {
    fn metadata(&self) -> Metadata {
        Metadata::named(self.from.clone())
    }

    fn data(&self) -> figment::error::Result<Map<Selected, Dict>> {
        Ok(Map::from([(Selected::Default, self.settings.clone())]))
    }
}

/// All settings, the later before the earlier.
pub struct Layers {
    /// What counts.
    pub figment: Figment,
    file: Option<File>,
}

/// The file of settings.
struct File {
    path: PathBuf,
    text: String,
}

/// Returns the failure of settings that cannot be used.
pub fn invalid(message: impl Into<String>) -> Failure {
    Failure::new(Exit::Usage, "config_invalid", message)
}

impl Layers {
    /// Reads all places.
    pub fn read(
        file: Option<&Path>,
        variables: &Variables,
        defaults: &[Flag],
        flags: &[Flag],
    ) -> Result<Layers, Failure> {
        let file = File::find(file, variables)?;
        let mut above = Figment::new();
        if let Some(file) = &file {
            above = above.merge(file.layer()?);
        }
        above = with_variables(above, variables)?;
        for (key, flag, value) in flags {
            above = above.merge(one(format!("flag `{flag}`"), key, value.clone()));
        }
        let profile = above.find_value("profile").ok();
        let is_production = profile.is_some_and(|it| it.as_str() == Some("production"));
        let mut figment = Figment::new();
        for key in KEYS {
            if let Some(text) = key.default {
                figment = figment.merge(one("default".into(), key.name, value(key.kind, text)));
            }
        }
        for (key, from, value) in defaults {
            figment = figment.merge(one((*from).into(), key, value.clone()));
        }
        for key in KEYS.iter().filter(|_| is_production) {
            if let Some(text) = key.production {
                let from = "default in production".into();
                figment = figment.merge(one(from, key.name, value(key.kind, text)));
            }
        }
        figment = figment.merge(&above);
        // The port of a platform is weaker than an address that somebody has written for us.
        if let Some(port) = variables.get(PORT_VARIABLE)
            && !["environment", "flag"]
                .iter()
                .any(|it| source(&figment, "http.listen").starts_with(it))
        {
            let listen = with_port(&figment, port)?;
            let from = format!("environment variable `{PORT_VARIABLE}`");
            figment = figment.merge(one(from, "http.listen", Value::from(listen)));
        }
        Ok(Layers { figment, file })
    }

    /// Returns where a setting comes from.
    pub fn source(&self, key: &str) -> String {
        let source = source(&self.figment, key);
        match &self.file {
            Some(file) if source == file.name() => file.place(key),
            _ => source,
        }
    }

    /// Says what is wrong with a value.
    pub fn wrong(&self, error: &figment::Error) -> Failure {
        let key = error.path.join(".");
        let what = match keys::find(&key).map(|it| it.kind) {
            // What it holds may be what nobody is shown.
            Some(Kind::Secret) => "it is no text".to_owned(),
            Some(Kind::Word(words)) => format!("it is none of `{}`", words.join("`, `")),
            _ => error.kind.to_string(),
        };
        self.refuse(&key, &what)
    }

    /// Says that a setting cannot be what it is.
    pub fn refuse(&self, key: &str, why: &str) -> Failure {
        match self.figment.find_value(key) {
            Ok(_) => invalid(format!("`{key}` from {}: {why}", self.source(key))),
            Err(_) => invalid(format!("`{key}` is not set: {why}")),
        }
    }
}

fn source(figment: &Figment, key: &str) -> String {
    figment.find_metadata(key).map_or_else(|| "default".to_owned(), |it| it.name.to_string())
}

fn with_port(figment: &Figment, port: &str) -> Result<String, Failure> {
    let port: u16 = port
        .parse()
        .map_err(|_| invalid(format!("environment variable `{PORT_VARIABLE}`: no port")))?;
    let listen = figment.find_value("http.listen").ok();
    let listen = listen.as_ref().and_then(|it| it.as_str()).unwrap_or_default();
    let host = listen.rsplit_once(':').map_or("127.0.0.1", |it| it.0);
    Ok(format!("{host}:{port}"))
}

/// Returns the layer of one setting.
fn one(from: String, key: &str, value: Value) -> Layer {
    let settings = match key.split_once('.') {
        None => Dict::from([(key.to_owned(), value)]),
        Some((table, name)) => {
            let inner = Dict::from([(name.to_owned(), value)]);
            Dict::from([(table.to_owned(), Value::from(inner))])
        }
    };
    Layer { from, settings }
}

/// Reads the text of a setting as a variable has it.
fn value(kind: Kind, text: &str) -> Value {
    match kind {
        Kind::Bytes | Kind::Count => {
            text.parse::<u64>().map_or_else(|_| Value::from(text), Value::from)
        }
        Kind::Switch => text.parse::<bool>().map_or_else(|_| Value::from(text), Value::from),
        Kind::Texts | Kind::Networks => {
            let plain = text.trim().trim_start_matches('[').trim_end_matches(']');
            let items = plain.split(',').map(|it| it.trim().trim_matches('"'));
            let items: Vec<&str> = items.filter(|it| !it.is_empty()).collect();
            Value::from(items)
        }
        _ => Value::from(text),
    }
}

fn with_variables(mut figment: Figment, variables: &Variables) -> Result<Figment, Failure> {
    // The short names first: one that is made of the key says the same thing more exactly.
    let short = |it: &&keys::Key| it.variable.is_some();
    for key in KEYS.iter().filter(short) {
        let variable = key.variable.unwrap_or_default();
        if let Some(text) = variables.get(variable).filter(|it| !it.is_empty()) {
            let from = format!("environment variable `{variable}`");
            figment = figment.merge(one(from, key.name, value(key.kind, text)));
        }
    }
    for (variable, text) in variables {
        let Some(rest) = variable.strip_prefix(PREFIX) else { continue };
        if variable.starts_with(SECRET_PREFIX) {
            continue;
        }
        let name = rest.replace("__", ".").to_lowercase();
        match keys::find(&name) {
            Some(key) => {
                let from = format!("environment variable `{variable}`");
                figment = figment.merge(one(from, key.name, value(key.kind, text)));
            }
            // What has no table is not ours alone: commands have variables of their own.
            None if rest.contains("__") => {
                return Err(unknown(&name, &format!("environment variable `{variable}`")));
            }
            None => {}
        }
    }
    Ok(figment)
}

fn unknown(name: &str, place: &str) -> Failure {
    let hint = match nearest(name, KEYS.iter().map(|it| it.name)) {
        Some(meant) => format!("did you mean `{meant}`?"),
        None => "`traaviis schema config` lists those that there are".to_owned(),
    };
    invalid(format!("there is no setting `{name}` ({place}); {hint}"))
}

impl File {
    /// Finds and reads the file; one that was named must be there.
    fn find(named: Option<&Path>, variables: &Variables) -> Result<Option<File>, Failure> {
        let by_variable = variables.get(FILE_VARIABLE).filter(|it| !it.is_empty());
        let named = named.or_else(|| by_variable.map(Path::new));
        let path = named.unwrap_or(Path::new(FILE_NAME));
        match fs::read_to_string(path) {
            Ok(text) => Ok(Some(File { path: path.to_path_buf(), text })),
            Err(error) if named.is_none() && error.kind() == std::io::ErrorKind::NotFound => {
                Ok(None)
            }
            Err(error) => {
                Err(invalid(format!("cannot read settings `{}`: {error}", path.display())))
            }
        }
    }

    fn name(&self) -> String {
        format!("`{}`", self.path.display())
    }

    /// Returns the place of a setting.
    fn place(&self, key: &str) -> String {
        match self.line(key) {
            Some(line) => format!("{}, line {line}", self.name()),
            None => self.name(),
        }
    }

    fn layer(&self) -> Result<Layer, Failure> {
        let read = Toml::string(&self.text).data();
        let mut read = read.map_err(|error| {
            // What it quotes of the file may be a secret.
            let text = error.kind.to_string();
            let told: Vec<&str> = text
                .lines()
                .map(str::trim)
                .filter(|it| !it.is_empty() && !it.contains('|'))
                .collect();
            invalid(format!("{} cannot be read: {}", self.name(), told.join("; ")))
        })?;
        let settings = read.remove(&Selected::Default).unwrap_or_default();
        self.check("", &settings)?;
        Ok(Layer { from: self.name(), settings })
    }

    /// Refuses what is no setting.
    fn check(&self, above: &str, settings: &Dict) -> Result<(), Failure> {
        for (name, value) in settings {
            let name = if above.is_empty() { name.clone() } else { format!("{above}.{name}") };
            match value {
                _ if keys::find(&name).is_some() => {}
                Value::Dict(_, inner) if keys::is_table(&name) => self.check(&name, inner)?,
                _ => return Err(unknown(&name, &self.place(&name))),
            }
        }
        Ok(())
    }

    /// Returns the line of a setting or a table, as far as it stands on one of its own.
    fn line(&self, wanted: &str) -> Option<usize> {
        let plain = |it: &str| it.replace([' ', '"', '\''], "");
        let mut table = String::new();
        for (at, line) in self.text.lines().enumerate() {
            let line = line.trim();
            let name = if let Some(head) = line.strip_prefix('[') {
                table = plain(head.split(']').next().unwrap_or_default());
                table.clone()
            } else {
                let Some((name, _)) = line.split_once('=') else { continue };
                let name = plain(name);
                if table.is_empty() { name } else { format!("{table}.{name}") }
            };
            let is_inside = wanted.strip_prefix(&*name).is_some_and(|it| it.starts_with('.'));
            if name == wanted || is_inside && !line.starts_with('[') {
                return Some(at + 1);
            }
        }
        None
    }
}
