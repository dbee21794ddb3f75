//! A server elsewhere, as the command line calls it: who has logged in there, and requests with
//! their token.
//!
//! The tokens of a login rest in `traaviis/login.json` below the settings of the person, readable
//! by them alone.
//!
//! Every command finds its server in the same order: what `--server` says, `TRAAVIIS_SERVER`, that
//! of the last login. A token is sent to the server that gave it out, and to no other.

pub mod asking;

use std::{
    cell::RefCell,
    env, fs,
    io::Write as _,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    time::Duration,
};

use reqwest::{Client, Method, StatusCode, header};
use serde::{Deserialize, Serialize};
use serde_json::{Value as Json, json};

use crate::{
    exit::{Exit, Failure},
    secrets::settings_dir,
};

/// File below the settings of the person.
const LOGIN: &str = "traaviis/login.json";
/// Holds a token in the place of a login, for programs.
const TOKEN: &str = "TRAAVIIS_TOKEN";
/// Names the server that the token is for.
const SERVER: &str = "TRAAVIIS_SERVER";
/// Where a server is that nobody names: what `traaviis serve` listens on.
const USUAL: &str = "http://127.0.0.1:4000";
/// Longest wait for an answer: waits on the server end before.
const ANSWER_WAIT: Duration = Duration::from_secs(100);
/// Path before every operation.
const BASE: &str = "/api/v1";

/// Who has logged in where.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Login {
    /// Address of the server.
    pub server: String,
    /// Access token, or an API key.
    pub access_token: String,
    /// Refresh token; a key has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refresh_token: Option<String>,
}

/// Which server a command asks.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct ServerArgs {
    /// Address of the server; otherwise that in `TRAAVIIS_SERVER`, or that of the last login.
    #[arg(long, value_name = "URL")]
    server: Option<String>,
}

impl ServerArgs {
    /// Returns the server to log in to.
    pub fn address(&self) -> String {
        self.named().or_else(|| Some(Login::kept()?.server)).unwrap_or_else(|| USUAL.into())
    }

    /// Returns the server that is named for this command.
    fn named(&self) -> Option<String> {
        let named = self.server.clone().or_else(|| variable(SERVER));
        named.map(|it| it.trim_end_matches('/').to_owned())
    }
}

fn variable(name: &str) -> Option<String> {
    env::var(name).ok().filter(|it| !it.is_empty())
}

/// An answer of a server.
#[derive(Clone, Debug)]
pub struct Answered {
    /// HTTP status.
    pub status: u16,
    /// Version of what is shown.
    pub etag: Option<String>,
    /// Body; null when there is none.
    pub body: Json,
}

/// What is asked for.
#[derive(Clone, Debug)]
pub struct Asked<'a> {
    /// Method.
    pub method: &'a str,
    /// Path below the base of the API.
    pub path: &'a str,
    /// Body.
    pub body: Option<&'a Json>,
    /// Version that was read.
    pub if_match: Option<&'a str>,
}

/// A server elsewhere.
#[derive(Debug)]
pub struct Remote {
    client: Client,
    runtime: tokio::runtime::Runtime,
    server: String,
}

impl Remote {
    /// Returns a server by its address.
    pub fn new(server: &str) -> Result<Remote, Failure> {
        let internal = |it: &dyn std::fmt::Display| {
            Failure::new(Exit::Internal, "internal", format!("cannot make requests: {it}"))
        };
        let client = Client::builder().timeout(ANSWER_WAIT).no_proxy().build();
        let client = client.map_err(|error| internal(&error))?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| internal(&error))?;
        Ok(Remote { client, runtime, server: server.trim_end_matches('/').into() })
    }

    /// Sends one request.
    pub fn ask(&self, token: Option<&str>, asked: &Asked<'_>) -> Result<Answered, Failure> {
        let method = asked.method.to_uppercase().parse::<Method>();
        let method =
            method.map_err(|_| Failure::usage("a method is GET, POST, PUT, PATCH or DELETE"))?;
        let mut request =
            self.client.request(method, format!("{}{BASE}{}", self.server, asked.path));
        if let Some(token) = token {
            request = request.bearer_auth(token);
        }
        if let Some(etag) = asked.if_match {
            request = request.header(header::IF_MATCH, etag);
        }
        if let Some(body) = asked.body {
            request = request.json(body);
        }
        let answered = self.runtime.block_on(async {
            let response = request.send().await?;
            let status = response.status().as_u16();
            let etag = response.headers().get(header::ETAG).and_then(|it| it.to_str().ok());
            let etag = etag.map(str::to_owned);
            let bytes = response.bytes().await?;
            Ok::<_, reqwest::Error>((status, etag, bytes))
        });
        let (status, etag, bytes) = answered.map_err(|error| {
            let message = format!("`{}` does not answer: {}", self.server, reason(&error));
            Failure::new(Exit::Unreachable, "server_unreachable", message)
        })?;
        let body = serde_json::from_slice(&bytes).unwrap_or_default();
        Ok(Answered { status, etag, body })
    }

    /// Returns the address.
    pub fn server(&self) -> &str {
        &self.server
    }
}

fn reason(error: &reqwest::Error) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(found) = cause {
        text = found.to_string();
        cause = found.source();
    }
    text
}

/// Sends a request as who has logged in; a token that has expired is renewed once.
pub fn ask_as_login(server: &ServerArgs, asked: &Asked<'_>) -> Result<Answered, Failure> {
    Session::open(server)?.ask(asked)
}

/// A server, as who has logged in there.
#[derive(Debug)]
pub struct Session {
    remote: Remote,
    login: RefCell<Login>,
}

impl Session {
    /// Finds who has logged in at a server.
    pub fn open(server: &ServerArgs) -> Result<Session, Failure> {
        let login = Login::find(server)?;
        Ok(Session { remote: Remote::new(&login.server)?, login: RefCell::new(login) })
    }

    /// Sends a request; a token that has expired is renewed once.
    pub fn ask(&self, asked: &Asked<'_>) -> Result<Answered, Failure> {
        let Login { access_token, refresh_token, .. } = self.login.borrow().clone();
        let answered = self.remote.ask(Some(&access_token), asked)?;
        let has_expired = answered.status == StatusCode::UNAUTHORIZED.as_u16()
            && answered.body["code"] == "token_expired";
        let Some(refresh) = refresh_token.filter(|_| has_expired) else { return Ok(answered) };
        let body = json!({ "refresh_token": refresh });
        let path = "/auth/refresh";
        let asked_anew = Asked { method: "POST", path, body: Some(&body), if_match: None };
        self.take(&self.remote.ask(None, &asked_anew)?)?;
        let token = self.access_token();
        self.remote.ask(Some(&token), asked)
    }

    /// Takes the tokens of an answer from now on, and keeps them for later commands.
    pub fn take(&self, answered: &Answered) -> Result<(), Failure> {
        let login = Login::of(self.remote.server(), answered)?;
        login.keep()?;
        *self.login.borrow_mut() = login;
        Ok(())
    }

    /// Returns the token that is sent.
    pub fn access_token(&self) -> String {
        self.login.borrow().access_token.clone()
    }

    /// Says whether the token is one of a login, rather than given for a program.
    pub fn is_login(&self) -> bool {
        self.login.borrow().refresh_token.is_some()
    }
}

impl Login {
    /// Reads what a login gave.
    pub fn of(server: &str, answered: &Answered) -> Result<Login, Failure> {
        let text = |key: &str| answered.body[key].as_str().map(str::to_owned);
        match text("access_token") {
            Some(access_token) => {
                let refresh_token = text("refresh_token");
                Ok(Login { server: server.into(), access_token, refresh_token })
            }
            None => Err(refused(answered)),
        }
    }

    /// Finds who has logged in: what the environment says, or the last login.
    fn find(server: &ServerArgs) -> Result<Login, Failure> {
        let named = server.named();
        if let Some(access_token) = variable(TOKEN) {
            let server = named.ok_or_else(|| {
                Failure::usage(format!(
                    "`{TOKEN}` is set; name its server in `{SERVER}`, or with `--server`"
                ))
            })?;
            return Ok(Login { server, access_token, refresh_token: None });
        }
        let denied = |message| Failure::new(Exit::Denied, "not_authenticated", message);
        let kept = Login::kept().ok_or_else(|| {
            denied("nobody has logged in here; begin with `traaviis login EMAIL`".into())
        })?;
        match named {
            Some(named) if named != kept.server => {
                let message = format!(
                    "the last login was at `{}`; log in with `traaviis login EMAIL --server \
                     {named}`",
                    kept.server
                );
                Err(denied(message))
            }
            _ => Ok(kept),
        }
    }

    /// Returns the last login.
    fn kept() -> Option<Login> {
        let bytes = fs::read(path().ok()?).ok()?;
        serde_json::from_slice(&bytes).ok()
    }

    /// Keeps it for later commands.
    pub fn keep(&self) -> Result<(), Failure> {
        let path = path()?;
        let failed = |error: std::io::Error| {
            let message = format!("cannot write `{}`: {error}", path.display());
            Failure::new(Exit::Denied, "storage_failed", message)
        };
        fs::create_dir_all(path.parent().unwrap_or(Path::new("."))).map_err(failed)?;
        let fresh = path.with_extension("new");
        // A file that was left behind may be readable by others.
        let _ = fs::remove_file(&fresh);
        let mut options = fs::OpenOptions::new();
        let mut file =
            options.write(true).create_new(true).mode(0o600).open(&fresh).map_err(failed)?;
        let text = serde_json::to_vec_pretty(self).unwrap_or_default();
        file.write_all(&text).map_err(failed)?;
        fs::rename(&fresh, &path).map_err(failed)
    }
}

fn path() -> Result<PathBuf, Failure> {
    settings_dir().map(|it| it.join(LOGIN)).ok_or_else(|| {
        Failure::usage("there is no home directory to keep a login in; set `XDG_CONFIG_HOME`")
    })
}

/// Says why a server refused.
pub fn refused(answered: &Answered) -> Failure {
    let text = |key: &str| answered.body[key].as_str().unwrap_or_default();
    let exit = match answered.status {
        401 | 403 => Exit::Denied,
        500.. => Exit::Unreachable,
        _ => Exit::Finding,
    };
    let (code, detail) = match (text("code"), text("detail")) {
        ("", _) => ("server_unreachable", "the server answers something else than it should"),
        found => found,
    };
    let details = match &answered.body["errors"] {
        Json::Null => answered.body["details"].clone(),
        errors => json!({ "errors": errors }),
    };
    let failure = Failure::new(exit, code, format!("{detail} (HTTP {})", answered.status));
    let failure = match next_step(code) {
        Some(hint) => failure.with_hint(hint),
        None => failure,
    };
    failure.with_details(details)
}

/// Says what somebody at a command line does about a refusal that they can do something about.
fn next_step(code: &str) -> Option<&'static str> {
    Some(match code {
        "reauthentication_required" => "prove it with `traaviis login EMAIL`, then try again",
        "invalid_token" | "session_expired" | "token_expired" | "not_authenticated" => {
            "log in with `traaviis login EMAIL`"
        }
        "no_tenant_context" => "`traaviis tenant list` names the tenants that you are in",
        "platform_admin_required" => {
            "whoever may read the data directory names who does, with `traaviis user promote`"
        }
        _ => return None,
    })
}
