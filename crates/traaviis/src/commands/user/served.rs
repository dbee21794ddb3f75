//! The users of a server, for who looks after the platform.

use std::path::PathBuf;

use serde_json::{Value as Json, json};
use uuid::Uuid;

use crate::{
    commands::privacy::export::write,
    exit::{Exit, Failure},
    output::Output,
    remote::{
        ServerArgs, Session,
        asking::{Column, cell, quoted, show_list},
    },
};

const COLUMNS: &[Column] = &[
    ("ID", "/id"),
    ("NAME", "/name"),
    ("STATUS", "/status"),
    ("PLATFORM ROLE", "/platform_role"),
    ("TENANTS", "/tenant_count"),
    ("CREATED", "/created_at"),
    ("LAST LOGIN", "/last_login"),
];

#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Lists users of a server. Addresses are not told: who knows one finds the user by it.
    #[command(after_help = "Example: traaviis user list --email ada@example.org")]
    List {
        /// Only who has this address.
        #[arg(long, value_name = "EMAIL")]
        email: Option<String>,
        #[command(flatten)]
        server: ServerArgs,
    },
    /// Prints everything that a server keeps about who has logged in there, in all tenants, as
    /// JSON.
    #[command(after_help = "Example: traaviis user export --out me.json")]
    Export {
        /// File to write, which only you can read; standard output without it.
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
        #[command(flatten)]
        server: ServerArgs,
    },
    /// Keeps a user out of a server; what they have started goes on.
    #[command(after_help = "Example: traaviis user suspend ada@example.org")]
    Suspend(Who),
    /// Lets a suspended user in again.
    #[command(after_help = "Example: traaviis user activate ada@example.org")]
    Activate(Who),
    /// Takes all second factors of a user away who has lost them; their sessions end.
    ///
    /// Make sure of who asks: whoever knows the password comes in then.
    #[command(after_help = "Example: traaviis user reset-factors ada@example.org \
                            --reason 'lost phone, called back'")]
    ResetFactors {
        #[command(flatten)]
        who: Who,
        /// Why; it stands in the audit trail of the platform.
        #[arg(long)]
        reason: String,
    },
}

#[derive(Debug, clap::Args)]
pub struct Who {
    /// User: their address or their id.
    user: String,
    #[command(flatten)]
    server: ServerArgs,
}

impl Who {
    /// Returns the server, and the id of the user there.
    fn find(&self) -> Result<(Session, Uuid), Failure> {
        let session = Session::open(&self.server)?;
        if let Ok(id) = self.user.parse() {
            return Ok((session, id));
        }
        let path = format!("/admin/users?email={}", quoted(&self.user));
        let found = session.all(&path)?;
        let id = found.first().and_then(|it| it["id"].as_str()?.parse().ok());
        let id = id.ok_or_else(|| {
            let message = format!("there is no user with the address `{}`", self.user);
            Failure::finding("not_found", message)
        })?;
        Ok((session, id))
    }

    fn change(&self, status: &str) -> Result<Json, Failure> {
        let (session, id) = self.find()?;
        let body = json!({ "status": status });
        Ok(session.good("PATCH", &format!("/admin/users/{id}"), Some(&body))?.body)
    }
}

/// Runs the command.
pub fn run(command: &Command, output: &Output) -> anyhow::Result<Exit> {
    let changed = match command {
        Command::List { email, server } => {
            let only = email.as_ref().map(|it| format!("?email={}", quoted(it)));
            let path = format!("/admin/users{}", only.unwrap_or_default());
            show_list(output, &Session::open(server)?.all(&path)?, COLUMNS, "no such user");
            return Ok(Exit::Ok);
        }
        Command::Export { out, server } => {
            let found = Session::open(server)?.good("POST", "/me/export", None)?.body;
            return write(&found, out.as_deref(), output);
        }
        Command::Suspend(who) => who.change("suspended")?,
        Command::Activate(who) => who.change("active")?,
        Command::ResetFactors { who, reason } => {
            let (session, id) = who.find()?;
            let path = format!("/admin/users/{id}/reset-factors");
            session.good("POST", &path, Some(&json!({ "reason": reason })))?.body
        }
    };
    let told = match command {
        Command::ResetFactors { .. } => "has no second factor any more".to_owned(),
        _ => format!("is {} now", cell(&changed, "/status")),
    };
    match output.is_json() {
        true => output.json(&changed),
        false => output.line(&format!("{} {told}", cell(&changed, "/name"))),
    };
    Ok(Exit::Ok)
}
