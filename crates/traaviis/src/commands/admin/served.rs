//! What is done to a server by who looks after the platform.

use serde_json::json;
use uuid::Uuid;

use crate::{
    exit::{Exit, Failure},
    output::Output,
    remote::{
        ServerArgs, Session,
        asking::{Column, cell, show_list, tenant_word},
    },
};

const FLAGS: &[Column] = &[
    ("FLAG", "/name"),
    ("SETTING", "/setting"),
    ("DEFAULT", "/default"),
    ("SINGLE TENANTS", "/tenants"),
    ("WHAT IT DECIDES", "/what"),
];

#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Lists feature flags, or sets one for all tenants or for a single one.
    #[command(after_help = "Examples: traaviis admin flags\n          \
                            traaviis admin flags hot_store 25%\n          \
                            traaviis admin flags hot_store off --for TENANT-ID")]
    Flags {
        /// Flag to set; all are listed without one.
        #[arg(requires = "setting")]
        flag: Option<String>,
        /// `on`, `off`, a share of the tenants such as `25%`, or `default`.
        setting: Option<String>,
        /// Only for the tenant with this id; `default` is then as for all others.
        #[arg(long = "for", value_name = "ID", requires = "flag")]
        only: Option<Uuid>,
        #[command(flatten)]
        server: ServerArgs,
    },
    /// Lets you read in a tenant for an hour; its audit trail tells who, when and why.
    #[command(after_help = "Example: traaviis admin break-glass acme \
                            --reason 'ticket 4711: runs do not end'")]
    BreakGlass {
        /// Tenant: its id or its short name.
        #[arg(value_parser = tenant_word)]
        tenant: String,
        /// Why; its members read it.
        #[arg(long)]
        reason: String,
        #[command(flatten)]
        server: ServerArgs,
    },
    /// Refuses changes while reading and what runs go on, or lets them in again.
    #[command(
        after_help = "Examples: traaviis admin maintenance on --reason 'a new disk'\n          \
                            traaviis admin maintenance off"
    )]
    Maintenance {
        /// Whether changes are refused; how it stands is shown without it.
        #[arg(value_parser = ["on", "off"])]
        how: Option<String>,
        /// Why; everybody who is refused reads it.
        #[arg(long, requires = "how")]
        reason: Option<String>,
        #[command(flatten)]
        server: ServerArgs,
    },
}

/// Runs the command.
pub fn run(command: &Command, output: &Output) -> anyhow::Result<Exit> {
    match command {
        Command::Flags { flag: Some(flag), setting, only, server } => {
            let setting = setting.as_deref().unwrap_or("default");
            set_flag(flag, setting, *only, &Session::open(server)?, output)
        }
        Command::Flags { server, .. } => {
            let listed = Session::open(server)?.good("GET", "/admin/flags", None)?.body;
            let flags = listed["items"].as_array().map(Vec::as_slice).unwrap_or_default();
            show_list(output, flags, FLAGS, "no flags");
            Ok(Exit::Ok)
        }
        Command::BreakGlass { tenant, reason, server } => {
            let body = json!({ "tenant": tenant, "reason": reason });
            let session = Session::open(server)?;
            let broken = session.good("POST", "/admin/break-glass", Some(&body))?.body;
            let (id, until) = (cell(&broken, "/tenant_id"), cell(&broken, "/until"));
            match output.is_json() {
                true => output.json(&broken),
                false => output.line(&format!(
                    "you may read in tenant {id} until {until}, and change nothing; every look \
                     stands in its audit trail"
                )),
            };
            Ok(Exit::Ok)
        }
        Command::Maintenance { how, reason, server } => {
            let session = Session::open(server)?;
            let told = match how {
                None => session.good("GET", "/admin/maintenance", None)?.body,
                Some(how) => {
                    let body = json!({ "on": how == "on", "reason": reason });
                    session.good("POST", "/admin/maintenance", Some(&body))?.body
                }
            };
            let why = told["reason"].as_str().map(|it| format!(": {it}")).unwrap_or_default();
            match (output.is_json(), told["on"] == true) {
                (true, _) => output.json(&told),
                (false, true) => output.line(&format!("changes are refused{why}")),
                (false, false) => output.line("changes are let in"),
            };
            Ok(Exit::Ok)
        }
    }
}

fn set_flag(
    flag: &str,
    setting: &str,
    only: Option<Uuid>,
    session: &Session,
    output: &Output,
) -> anyhow::Result<Exit> {
    let body = match only {
        None => json!({ "setting": setting }),
        Some(tenant) => {
            let setting = Some(setting).filter(|it| *it != "default");
            json!({ "tenants": { tenant.to_string(): setting } })
        }
    };
    let flag = flag_name(flag)?;
    let set = session.good("PATCH", &format!("/admin/flags/{flag}"), Some(&body))?.body;
    if output.is_json() {
        output.json(&set);
        return Ok(Exit::Ok);
    }
    let for_all = match set["setting"].as_str() {
        Some(setting) => setting.to_owned(),
        None => format!("{} (the default)", cell(&set, "/default")),
    };
    let single = set["tenants"].as_object().map_or(0, serde_json::Map::len);
    output.line(&format!("flag `{flag}` is {for_all}; set for single tenants: {single}"));
    Ok(Exit::Ok)
}

/// Reads the name of a flag, which is a part of an address.
fn flag_name(flag: &str) -> Result<&str, Failure> {
    let is_name = |it: u8| it.is_ascii_lowercase() || it.is_ascii_digit() || it == b'_';
    match !flag.is_empty() && flag.bytes().all(is_name) {
        true => Ok(flag),
        false => Err(Failure::usage(format!(
            "`{flag}` is no name of a flag; `traaviis admin flags` lists them"
        ))),
    }
}
