//! `traaviis member`: who is in a tenant of a server, and what they may do.

use serde_json::{Value as Json, json};
use uuid::Uuid;

use super::role::role_named;
use crate::{
    exit::Exit,
    output::{self, Output},
    remote::asking::{Column, InTenant, TenantArgs, cell, find, show_list, show_one},
};

const COLUMNS: &[Column] = &[
    ("ID", "/user_id"),
    ("NAME", "/name"),
    ("ROLE", "/role"),
    ("STATUS", "/status"),
    ("PERMISSIONS", "/permissions"),
    ("JOINED", "/joined_at"),
];

const FACTS: &[Column] = &[
    ("id", "/user_id"),
    ("name", "/name"),
    ("role", "/role"),
    ("permissions", "/permissions"),
    ("data access", "/data_access"),
    ("status", "/status"),
    ("service account", "/service_account"),
    ("joined", "/joined_at"),
    ("invited by", "/invited_by"),
];

const INVITATIONS: &[Column] = &[
    ("ID", "/id"),
    ("EMAIL", "/email"),
    ("ROLE", "/role"),
    ("SENT", "/sent_count"),
    ("EXPIRES", "/expires_at"),
];

/// Lists, invites, changes and removes members of a tenant.
///
/// They are those of the server that `traaviis login` was for. A member is named by their id, a
/// unique beginning or end of it, or their name; addresses are told to nobody.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Lists members.
    #[command(after_help = "Example: traaviis member list --tenant acme")]
    List {
        #[command(flatten)]
        tenant: TenantArgs,
    },
    /// Shows a member.
    #[command(after_help = "Example: traaviis member show bob")]
    Show(Who),
    /// Invites somebody for seven days; prints the token where the server sends no letters.
    #[command(after_help = "Example: traaviis member invite bob@example.org --role developer")]
    Invite {
        /// Their address.
        email: String,
        /// Role to come: owner, admin, developer, viewer, or one that the tenant has made.
        #[arg(long, default_value = "viewer")]
        role: String,
        /// Permission in the place of those of the role; may be repeated, or several with commas.
        #[arg(long, value_name = "PERMISSION", value_delimiter = ',')]
        permission: Vec<String>,
        #[command(flatten)]
        tenant: TenantArgs,
    },
    /// Lists open invitations.
    #[command(after_help = "Example: traaviis member invitations")]
    Invitations {
        #[command(flatten)]
        tenant: TenantArgs,
    },
    /// Takes an invitation back.
    #[command(after_help = "Example: traaviis member withdraw bob@example.org")]
    Withdraw {
        /// Address of who was invited, or the id of the invitation.
        invitation: String,
        #[command(flatten)]
        tenant: TenantArgs,
    },
    /// Gives a member another role, or permissions of their own in its place.
    #[command(after_help = "Example: traaviis member role bob admin")]
    Role {
        #[command(flatten)]
        who: Who,
        /// Role: owner, admin, developer, viewer, or one that the tenant has made.
        role: String,
        /// Permission in the place of those of the role; may be repeated, or several with commas.
        #[arg(long, value_name = "PERMISSION", value_delimiter = ',')]
        permission: Vec<String>,
    },
    /// Keeps a member out until they are activated again.
    #[command(after_help = "Example: traaviis member suspend bob")]
    Suspend(Who),
    /// Lets a suspended member in again.
    #[command(after_help = "Example: traaviis member activate bob")]
    Activate(Who),
    /// Takes a member out of the tenant; what they have started goes on.
    #[command(after_help = "Example: traaviis member remove bob")]
    Remove(Who),
}

#[derive(Debug, clap::Args)]
struct Who {
    /// Member: their id, a unique beginning or end of it, or their name.
    member: String,
    #[command(flatten)]
    tenant: TenantArgs,
}

impl Who {
    fn find(&self) -> anyhow::Result<(InTenant, Json)> {
        let tenant = self.tenant.open()?;
        let members = tenant.all("/members")?;
        let found = find(&members, "user_id", &self.member, "member")?.clone();
        Ok((tenant, found))
    }
}

/// Runs the command.
pub fn run(args: &Args, output: &Output) -> anyhow::Result<Exit> {
    match &args.command {
        Command::List { tenant } => {
            let tenant = tenant.open()?;
            let mut members = tenant.all("/members")?;
            if !output.is_json() {
                name_roles(&tenant, &mut members)?;
            }
            show_list(output, &members, COLUMNS, "no members");
        }
        Command::Show(who) => show_one(output, &who.find()?.1, FACTS),
        Command::Invite { email, role, permission, tenant } => {
            invite(email, role, permission, &tenant.open()?, output)?;
        }
        Command::Invitations { tenant } => {
            let open = tenant.open()?.all("/invitations")?;
            show_list(output, &open, INVITATIONS, "no open invitations");
        }
        Command::Withdraw { invitation, tenant } => {
            withdraw(invitation, &tenant.open()?, output)?;
        }
        Command::Role { who, role, permission } => {
            let (tenant, member) = who.find()?;
            let mut body = json!({ "role": role_named(&tenant, role)? });
            if !permission.is_empty() {
                body["permissions"] = json!(permission);
            }
            let below = format!("/members/{}", cell(&member, "/user_id"));
            let changed = tenant.change("PATCH", &below, |_| Some(body))?.body;
            tell(output, &changed, &format!("has the role {} now", cell(&changed, "/role")));
        }
        Command::Suspend(who) => {
            let changed = act(who, "suspend")?;
            tell(output, &changed, "is kept out");
        }
        Command::Activate(who) => {
            let changed = act(who, "activate")?;
            tell(output, &changed, "is let in again");
        }
        Command::Remove(who) => {
            let (tenant, member) = who.find()?;
            let id = cell(&member, "/user_id");
            tenant.ask("DELETE", &format!("/members/{id}"), None)?;
            match output.is_json() {
                true => output.json(&json!({ "removed": id })),
                false => output.line(&format!("{} is no member any more", cell(&member, "/name"))),
            };
        }
    }
    Ok(Exit::Ok)
}

/// Puts the names of roles that the tenant has made in the place of their ids.
fn name_roles(tenant: &InTenant, members: &mut [Json]) -> anyhow::Result<()> {
    let is_own = |it: &Json| it["role"].as_str().is_some_and(|it| it.parse::<Uuid>().is_ok());
    if !members.iter().any(is_own) {
        return Ok(());
    }
    let roles = tenant.all("/roles")?;
    for member in members {
        if let Some(role) = roles.iter().find(|it| it["id"] == member["role"]) {
            member["role"] = role["name"].clone();
        }
    }
    Ok(())
}

fn act(who: &Who, what: &str) -> anyhow::Result<Json> {
    let (tenant, member) = who.find()?;
    let below = format!("/members/{}/{what}", cell(&member, "/user_id"));
    Ok(tenant.ask("POST", &below, None)?.body)
}

fn tell(output: &Output, member: &Json, what: &str) {
    match output.is_json() {
        true => output.json(member),
        false => output.line(&format!("{} {what}", cell(member, "/name"))),
    };
}

fn invite(
    email: &str,
    role: &str,
    permissions: &[String],
    tenant: &InTenant,
    output: &Output,
) -> anyhow::Result<()> {
    let mut body = json!({ "email": email, "role": role_named(tenant, role)? });
    if !permissions.is_empty() {
        body["permissions"] = json!(permissions);
    }
    let made = tenant.ask("POST", "/invitations", Some(&body))?.body;
    if output.is_json() {
        output.json(&made);
        return Ok(());
    }
    let until = cell(&made, "/expires_at");
    // Where letters go out, only who gets them is told the token.
    let Some(token) = made["token"].as_str() else {
        output.line(&format!("a letter to {email} says how to accept until {until}"));
        return Ok(());
    };
    // The token alone goes to standard output, for `token=$(...)`.
    output.line(token);
    output::warn(format_args!(
        "{email} accepts with it until {until}: `traaviis login {email} --invitation TOKEN`"
    ));
    Ok(())
}

fn withdraw(meant: &str, tenant: &InTenant, output: &Output) -> anyhow::Result<()> {
    let id = match meant.parse::<Uuid>() {
        Ok(id) => id.to_string(),
        Err(_) => {
            let open = tenant.all("/invitations")?;
            let low = meant.to_lowercase();
            let by_email = open.iter().find(|it| cell(it, "/email").to_lowercase() == low);
            match by_email {
                Some(found) => cell(found, "/id"),
                None => cell(find(&open, "id", meant, "invitation")?, "/id"),
            }
        }
    };
    tenant.ask("DELETE", &format!("/invitations/{id}"), None)?;
    match output.is_json() {
        true => output.json(&json!({ "withdrawn": id })),
        false => output.line("the invitation is taken back"),
    };
    Ok(())
}
