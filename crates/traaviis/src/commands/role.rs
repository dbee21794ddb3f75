//! `traaviis role`: roles of a tenant of a server.

use serde_json::{Value as Json, json};
use traaviis_model::permission::Role;
use uuid::Uuid;

use crate::{
    exit::{Exit, Failure},
    output::Output,
    remote::asking::{Column, InTenant, TenantArgs, cell, find, show_list, show_one},
};

const COLUMNS: &[Column] = &[
    ("ID", "/id"),
    ("NAME", "/name"),
    ("BASE", "/base"),
    ("CUSTOM", "/custom"),
    ("SEES", "/data_access/payloads"),
    ("MAY", "/permissions"),
];

const FACTS: &[Column] = &[
    ("id", "/id"),
    ("name", "/name"),
    ("base", "/base"),
    ("made here", "/custom"),
    ("sees", "/data_access/payloads"),
    ("may unmask", "/data_access/pii_unmask"),
    ("may", "/permissions"),
];

/// Lists roles of a tenant, and makes, changes and deletes its own.
///
/// They are those of the server that `traaviis login` was for.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Lists roles: the four that every tenant has, and those that it has made.
    #[command(after_help = "Example: traaviis role list")]
    List {
        #[command(flatten)]
        tenant: TenantArgs,
    },
    /// Shows a role with everything that it may.
    #[command(after_help = "Example: traaviis role show developer")]
    Show {
        #[command(flatten)]
        which: Which,
    },
    /// Makes a role.
    #[command(after_help = "Example: traaviis role create finance --base viewer \
                            --permission analytics_view,analytics_export")]
    Create {
        /// Name.
        name: String,
        /// How high it stands: nobody changes a member above their own role.
        #[arg(long, value_name = "ROLE", default_value = "viewer")]
        base: Role,
        #[command(flatten)]
        what: What,
        #[command(flatten)]
        tenant: TenantArgs,
    },
    /// Changes a role that the tenant has made; what is not named stays.
    #[command(after_help = "Example: traaviis role update finance --permission analytics_view")]
    Update {
        #[command(flatten)]
        which: Which,
        /// Another name.
        #[arg(long)]
        name: Option<String>,
        /// How high it stands.
        #[arg(long, value_name = "ROLE")]
        base: Option<Role>,
        #[command(flatten)]
        what: What,
    },
    /// Deletes a role that nobody has.
    #[command(after_help = "Example: traaviis role delete finance")]
    Delete {
        #[command(flatten)]
        which: Which,
    },
}

#[derive(Debug, clap::Args)]
struct Which {
    /// Role: its word, its id, a unique beginning or end of that, or its name.
    role: String,
    #[command(flatten)]
    tenant: TenantArgs,
}

impl Which {
    fn find(&self) -> Result<(InTenant, Json), Failure> {
        let tenant = self.tenant.open()?;
        let roles = tenant.all("/roles")?;
        let found = find(&roles, "id", &self.role, "role")?.clone();
        Ok((tenant, found))
    }

    /// Finds one that can be changed.
    fn find_own(&self) -> Result<(InTenant, Json), Failure> {
        let (tenant, found) = self.find()?;
        match found["custom"] == true {
            true => Ok((tenant, found)),
            false => {
                let message = format!(
                    "every tenant has the role `{}`, so it stays as it is; make one of your own \
                     with `traaviis role create`",
                    cell(&found, "/id")
                );
                Err(Failure::finding("invalid_state", message))
            }
        }
    }
}

/// What a role may, and sees.
#[derive(Debug, clap::Args)]
struct What {
    /// Permission that it carries; may be repeated, or several with commas. All in their place.
    #[arg(long, value_name = "PERMISSION", value_delimiter = ',')]
    permission: Vec<String>,
    /// What it sees of the data of instances: full, masked or none.
    #[arg(long, value_name = "HOW", value_parser = ["full", "masked", "none"])]
    payloads: Option<String>,
    /// Whether it may be shown what is masked, after a fresh proof.
    #[arg(long, value_name = "true|false")]
    unmask: Option<bool>,
}

impl What {
    /// Puts what is named into a role.
    fn put_into(&self, role: &mut Json) {
        if !self.permission.is_empty() {
            role["permissions"] = json!(self.permission);
        }
        if self.payloads.is_none() && self.unmask.is_none() {
            return;
        }
        if role["data_access"].is_null() {
            // Who says only half of it sees less rather than more.
            role["data_access"] = json!({ "payloads": "masked", "pii_unmask": false });
        }
        if let Some(payloads) = &self.payloads {
            role["data_access"]["payloads"] = json!(payloads);
        }
        if let Some(unmask) = self.unmask {
            role["data_access"]["pii_unmask"] = json!(unmask);
        }
    }
}

/// Runs the command.
pub fn run(args: &Args, output: &Output) -> anyhow::Result<Exit> {
    match &args.command {
        Command::List { tenant } => {
            show_list(output, &tenant.open()?.all("/roles")?, COLUMNS, "no roles");
        }
        Command::Show { which } => show_one(output, &which.find()?.1, FACTS),
        Command::Create { name, base, what, tenant } => {
            let mut role = json!({ "name": name, "base": base.as_str(), "permissions": [] });
            what.put_into(&mut role);
            let made = tenant.open()?.ask("POST", "/roles", Some(&role))?.body;
            tell(output, &made, "is made");
        }
        Command::Update { which, name, base, what } => {
            let (tenant, role) = which.find_own()?;
            let below = format!("/roles/{}", cell(&role, "/id"));
            let change = |read: &Json| {
                let mut role = json!({
                    "name": read["name"], "base": read["base"],
                    "permissions": read["permissions"], "data_access": read["data_access"],
                });
                if let Some(name) = name {
                    role["name"] = json!(name);
                }
                if let Some(base) = base {
                    role["base"] = json!(base.as_str());
                }
                what.put_into(&mut role);
                Some(role)
            };
            let changed = tenant.change("PUT", &below, change)?.body;
            tell(output, &changed, "is changed");
        }
        Command::Delete { which } => {
            let (tenant, role) = which.find_own()?;
            let id = cell(&role, "/id");
            tenant.change("DELETE", &format!("/roles/{id}"), |_| None)?;
            match output.is_json() {
                true => output.json(&json!({ "deleted": id })),
                false => output.line(&format!("role `{}` is deleted", cell(&role, "/name"))),
            };
        }
    }
    Ok(Exit::Ok)
}

fn tell(output: &Output, role: &Json, what: &str) {
    match output.is_json() {
        true => output.json(role),
        false => {
            let (name, id) = (cell(role, "/name"), cell(role, "/id"));
            output.line(&format!("role `{name}` {what}: {id}"))
        }
    };
}

/// Returns what a server calls a role that a person names: a word and an id are told as they are.
pub fn role_named(tenant: &InTenant, meant: &str) -> Result<String, Failure> {
    if meant.parse::<Role>().is_ok() || meant.parse::<Uuid>().is_ok() {
        return Ok(meant.into());
    }
    Ok(cell(find(&tenant.all("/roles")?, "id", meant, "role")?, "/id"))
}
