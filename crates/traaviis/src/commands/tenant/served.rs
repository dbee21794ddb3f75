//! The tenants of a server: one's own, and all of them for who looks after the platform.

use serde_json::{Value as Json, json};
use uuid::Uuid;

use traaviis_policy::plan::Plan;

use crate::{
    exit::{Exit, Failure},
    output::Output,
    remote::{
        ServerArgs, Session,
        asking::{Column, TenantArgs, cell, show_list, show_one, tenant_word},
    },
};

const MINE: &[Column] = &[
    ("ID", "/id"),
    ("SHORT NAME", "/slug"),
    ("NAME", "/name"),
    ("ROLE", "/role"),
    ("STATUS", "/status"),
];

const ALL: &[Column] = &[
    ("ID", "/id"),
    ("SHORT NAME", "/slug"),
    ("NAME", "/name"),
    ("STATUS", "/status"),
    ("PLAN", "/plan"),
    ("MEMBERS", "/member_count"),
    ("CREATED", "/created_at"),
    ("DELETING SINCE", "/deleting_since"),
];

const FACTS: &[Column] = &[
    ("id", "/id"),
    ("short name", "/slug"),
    ("name", "/name"),
    ("domain", "/domain"),
    ("owner", "/owner_id"),
    ("status", "/status"),
    ("plan", "/plan"),
    ("members", "/member_count"),
    ("created", "/created_at"),
];

#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Lists the tenants that you are in, or all of a server.
    #[command(after_help = "Example: traaviis tenant list --all")]
    List {
        /// All of the server, for who looks after the platform.
        #[arg(long)]
        all: bool,
        #[command(flatten)]
        server: ServerArgs,
    },
    /// Shows a tenant.
    #[command(after_help = "Example: traaviis tenant show --tenant acme")]
    Show {
        #[command(flatten)]
        tenant: TenantArgs,
    },
    /// Makes a tenant, whose owner you are.
    #[command(after_help = "Example: traaviis tenant create 'Acme Corp' --slug acme")]
    Create {
        /// Name.
        name: String,
        /// Short name; made of the name when it is absent.
        #[arg(long)]
        slug: Option<String>,
        #[command(flatten)]
        server: ServerArgs,
    },
    /// Acts in another tenant from now on.
    #[command(after_help = "Example: traaviis tenant switch acme")]
    Switch(Which),
    /// Marks a tenant for deletion; for 30 days it can be brought back.
    #[command(after_help = "Example: traaviis tenant delete acme --confirm acme")]
    Delete {
        #[command(flatten)]
        which: Which,
        /// The short name of the tenant, typed once more.
        #[arg(long, value_name = "SLUG")]
        confirm: String,
    },
    /// Brings a tenant back that was marked for deletion.
    #[command(after_help = "Example: traaviis tenant undelete acme")]
    Undelete(Which),
    /// Keeps everybody out of a tenant, for who looks after the platform; what runs goes on.
    #[command(after_help = "Example: traaviis tenant suspend acme")]
    Suspend(Which),
    /// Opens a suspended tenant again, for who looks after the platform.
    #[command(after_help = "Example: traaviis tenant activate acme")]
    Activate(Which),
    /// Gives a tenant a plan, for who looks after the platform.
    #[command(after_help = "Example: traaviis tenant plan acme starter")]
    Plan {
        #[command(flatten)]
        which: Which,
        /// Plan: free, starter, pro, enterprise or self_hosted.
        plan: Plan,
    },
}

#[derive(Debug, clap::Args)]
pub struct Which {
    /// Tenant: its id or its short name.
    #[arg(value_name = "TENANT", value_parser = tenant_word)]
    which: String,
    #[command(flatten)]
    server: ServerArgs,
}

impl Which {
    fn path(&self) -> String {
        format!("/tenants/{}", self.which)
    }

    /// Changes it as who looks after the platform, who knows tenants by their ids.
    fn change(&self, body: &Json) -> Result<Json, Failure> {
        let session = Session::open(&self.server)?;
        let id = match self.which.parse::<Uuid>() {
            Ok(id) => id.to_string(),
            Err(_) => {
                let all = session.all("/admin/tenants")?;
                let found = all.iter().find(|it| it["slug"] == *self.which);
                let id = found.and_then(|it| it["id"].as_str());
                let message = format!("there is no tenant `{}`", self.which);
                id.ok_or_else(|| {
                    Failure::finding("not_found", message)
                        .with_hint("`traaviis tenant list --all` names those there are")
                })?
                .to_owned()
            }
        };
        Ok(session.good("PATCH", &format!("/admin/tenants/{id}"), Some(body))?.body)
    }
}

/// Runs the command.
pub fn run(command: &Command, output: &Output) -> anyhow::Result<Exit> {
    let changed = match command {
        Command::List { all, server } => {
            let session = Session::open(server)?;
            match all {
                true => show_list(output, &session.all("/admin/tenants")?, ALL, "no tenants"),
                false => {
                    let none = "you are in no tenant; `traaviis tenant create NAME` makes one";
                    show_list(output, &session.all("/me/tenants")?, MINE, none);
                }
            }
            return Ok(Exit::Ok);
        }
        Command::Show { tenant } => {
            show_one(output, &tenant.open()?.ask("GET", "", None)?.body, FACTS);
            return Ok(Exit::Ok);
        }
        Command::Switch(which) => return switch(which, output),
        Command::Create { name, slug, server } => {
            let mut body = json!({ "name": name });
            if let Some(slug) = slug {
                body["slug"] = json!(slug);
            }
            Session::open(server)?.good("POST", "/tenants", Some(&body))?.body
        }
        Command::Delete { which, confirm } => {
            let body = json!({ "confirm": confirm });
            Session::open(&which.server)?.good("DELETE", &which.path(), Some(&body))?.body
        }
        Command::Undelete(which) => {
            let path = format!("{}/restore", which.path());
            Session::open(&which.server)?.good("POST", &path, None)?.body
        }
        Command::Suspend(which) => which.change(&json!({ "status": "suspended" }))?,
        Command::Activate(which) => which.change(&json!({ "status": "active" }))?,
        Command::Plan { which, plan } => which.change(&json!({ "plan": plan.as_str() }))?,
    };
    if output.is_json() {
        output.json(&changed);
        return Ok(Exit::Ok);
    }
    let (slug, id) = (cell(&changed, "/slug"), cell(&changed, "/id"));
    let (status, plan) = (cell(&changed, "/status"), cell(&changed, "/plan"));
    output.line(&match command {
        Command::Create { .. } => format!("tenant `{slug}` is made: {id}"),
        Command::Delete { .. } => {
            format!("tenant `{slug}` goes in 30 days; `traaviis tenant undelete {slug}` keeps it")
        }
        Command::Plan { .. } => format!("tenant `{slug}` has the plan {plan} now"),
        _ => format!("tenant `{slug}` is {status} now"),
    });
    Ok(Exit::Ok)
}

fn switch(which: &Which, output: &Output) -> anyhow::Result<Exit> {
    let session = Session::open(&which.server)?;
    if !session.is_login() {
        let message = "a token of a program is for one tenant; unset `TRAAVIIS_TOKEN`, and log in \
                       with `traaviis login EMAIL`";
        return Err(Failure::new(Exit::Denied, "forbidden", message).into());
    }
    let body = json!({ "tenant": which.which });
    let switched = session.good("POST", "/auth/switch", Some(&body))?;
    session.take(&switched)?;
    let tenant = &switched.body["tenant"];
    match output.is_json() {
        true => output.json(tenant),
        false => output.line(&format!("acting in tenant `{}` now", cell(tenant, "/slug"))),
    };
    Ok(Exit::Ok)
}
