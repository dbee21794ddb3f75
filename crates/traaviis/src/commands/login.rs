//! `traaviis login`: logs in to a server, or registers there, for `traaviis api`.

use std::{env, io::Read as _};

use serde_json::json;

use crate::{
    exit::{Exit, Failure},
    output::Output,
    remote::{Asked, Login, Remote, ServerArgs},
};

/// Holds the password, for programs.
const PASSWORD: &str = "TRAAVIIS_PASSWORD";
/// Longest password that is read.
const PASSWORD_BYTES_MAX: u64 = 1_024;

/// Logs in to a server; the tokens are kept for `traaviis api`.
///
/// The password is read from the variable `TRAAVIIS_PASSWORD`, or from standard input. Without
/// another server, one at http://127.0.0.1:4000 is meant.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: traaviis login ada@example.org --register")]
pub struct Args {
    /// E-mail address.
    email: String,
    #[command(flatten)]
    server: ServerArgs,
    /// Make an account, and a tenant for it.
    #[arg(long)]
    register: bool,
    /// Name of the tenant that is made.
    #[arg(long, value_name = "NAME", requires = "register")]
    organisation: Option<String>,
    /// Accept an invitation with a new account.
    #[arg(long, value_name = "TOKEN", conflicts_with = "register")]
    invitation: Option<String>,
    /// Short name or id of the tenant to act in.
    #[arg(long, value_name = "TENANT", conflicts_with = "register")]
    tenant: Option<String>,
    /// Code of an authenticator app, or a recovery code, for who has a second factor.
    #[arg(long, value_name = "CODE", conflicts_with_all = ["register", "invitation"])]
    code: Option<String>,
}

/// Runs the command.
pub fn run(args: &Args, output: &Output) -> anyhow::Result<Exit> {
    let password = password()?;
    let email = &args.email;
    let (path, body) = match (&args.invitation, args.register) {
        (Some(token), _) => {
            ("/invitations/accept", json!({ "token": token, "password": password }))
        }
        (None, true) => {
            let organisation = &args.organisation;
            let body =
                json!({ "email": email, "password": password, "organisation": organisation });
            ("/auth/register", body)
        }
        (None, false) => {
            let body = json!({
                "email": email, "password": password, "tenant": args.tenant, "totp": args.code,
            });
            ("/auth/login", body)
        }
    };
    let remote = Remote::new(&args.server.address())?;
    let asked = Asked { method: "POST", path, body: Some(&body), if_match: None };
    let answered = remote.ask(None, &asked)?;
    Login::of(remote.server(), &answered)?.keep()?;
    let (user, tenant) = (&answered.body["user"], &answered.body["tenant"]);
    if output.is_json() {
        output.json(&json!({ "server": remote.server(), "user": user, "tenant": tenant }));
        return Ok(Exit::Ok);
    }
    let name = user["name"].as_str().unwrap_or_default();
    let place = match tenant["slug"].as_str() {
        Some(slug) => format!(" in tenant `{slug}`"),
        None => "; choose a tenant with `--tenant`".into(),
    };
    output.line(&format!("logged in as {name}{place}"));
    Ok(Exit::Ok)
}

fn password() -> Result<String, Failure> {
    if let Ok(password) = env::var(PASSWORD) {
        return Ok(password);
    }
    let mut text = String::new();
    let read = std::io::stdin().take(PASSWORD_BYTES_MAX).read_to_string(&mut text);
    match read.is_ok() && !text.trim_end_matches('\n').is_empty() {
        true => Ok(text.trim_end_matches(['\r', '\n']).to_owned()),
        false => {
            Err(Failure::usage(format!("give the password in `{PASSWORD}`, or on standard input")))
        }
    }
}
