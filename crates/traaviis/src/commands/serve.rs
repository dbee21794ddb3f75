//! `traaviis serve`: a data directory for many tenants, over HTTP.

mod beside;
mod composing;
mod listening;

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
};

use ipnet::IpNet;
use serde_json::json;

use traaviis_policy::plan::Plan;

use crate::{
    config::{Config, Flag, Hidden, Profile, Settings, variables},
    connectors::ConnectorArgs,
    exit::{Exit, Failure},
    identity::IdentityArgs,
    output::Output,
    tree::TreeMode,
};
use composing::{Seeds, start};

/// Serves a data directory over HTTP until it is stopped.
///
/// Each setting comes from a flag, a variable, the file `traaviis.toml` or a default, in this
/// order; `--print-config` shows all of them.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: traaviis serve --data ./data --listen 127.0.0.1:4000")]
pub struct Args {
    /// Data directory; made when it is not there. Default: ./data
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Address to listen on. Default: 127.0.0.1:4000, in production 0.0.0.0:8080
    #[arg(long, value_name = "ADDRESS:PORT")]
    listen: Option<SocketAddr>,
    /// Address on which operators reach numbers (`/metrics`), or `off`. Default: 127.0.0.1:9090
    #[arg(long, value_name = "ADDRESS:PORT")]
    admin_listen: Option<String>,
    /// Address under which people reach it, the issuer of tokens; made of `--listen` when absent.
    #[arg(long, value_name = "URL")]
    base_url: Option<String>,
    /// When to write the documents under `DIR/tree`, which people can read. Default: as the last
    /// run in `DIR` was told, or off.
    #[arg(long, value_name = "WHEN")]
    tree: Option<TreeMode>,
    /// Address of who looks after the platform. An account that is there is raised; otherwise one
    /// is made, with the password in `TRAAVIIS_ADMIN_PASSWORD`, or one that is told once.
    #[arg(long, value_name = "EMAIL")]
    admin_email: Option<String>,
    /// Plan of new tenants: free, starter, pro, enterprise or self_hosted. Default: self_hosted
    #[arg(long, value_name = "PLAN")]
    default_plan: Option<Plan>,
    /// Network of a proxy that is believed where a request comes from (`X-Forwarded-For`); may be
    /// given several times.
    #[arg(long, value_name = "NETWORK")]
    trust_proxy: Vec<IpNet>,
    #[command(flatten)]
    identity: IdentityArgs,
    #[command(flatten)]
    connectors: ConnectorArgs,
    /// Which defaults count, and what is refused. Without one: this machine alone, and as strict as
    /// production
    #[arg(long, value_name = "PROFILE")]
    profile: Option<Profile>,
    /// File of settings. Default: what TRAAVIIS_CONFIG names, or traaviis.toml if it is here
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Show every setting with where it comes from, and start nothing.
    #[arg(long)]
    print_config: bool,
}

/// Serves a data directory for trying things out: an empty one gets an account, a tenant and
/// workflows to start from.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: traaviis dev")]
pub struct DevArgs {
    /// Data directory; made when it is not there. Default: ./data
    #[arg(value_name = "DIR")]
    data: Option<PathBuf>,
    /// Address to listen on. Default: 127.0.0.1:4000
    #[arg(long, value_name = "ADDRESS:PORT")]
    listen: Option<SocketAddr>,
}

/// Runs `traaviis dev`.
pub fn dev(args: &DevArgs, output: &Output) -> anyhow::Result<Exit> {
    let args = Args {
        data: args.data.clone(),
        listen: args.listen,
        admin_listen: None,
        base_url: None,
        tree: None,
        admin_email: None,
        default_plan: None,
        trust_proxy: Vec::new(),
        identity: IdentityArgs::default(),
        connectors: ConnectorArgs::default(),
        profile: Some(Profile::Dev),
        config: None,
        print_config: false,
    };
    let for_people = [("log.format", "default of `traaviis dev`", "text".into())];
    let mut settings = args.settings(&for_people)?;
    let Config { mail, data, .. } = &mut settings.config;
    // Mail is put into a folder, for trying things out.
    let folder = || Hidden(format!("file:{}", data.dir.join("mail").display()));
    mail.smtp_url.get_or_insert_with(folder);
    start(&settings, Seeds::Demo, output)
}

/// Runs `traaviis serve`.
pub fn run(args: &Args, output: &Output) -> anyhow::Result<Exit> {
    let settings = args.settings(&[])?;
    match args.print_config {
        true => Ok(print(&settings, output)),
        false => start(&settings, Seeds::Nothing, output),
    }
}

impl Args {
    /// Reads the settings that count, with the flags before all others.
    fn settings(&self, defaults: &[Flag]) -> Result<Settings, Failure> {
        let mut flags: Vec<Flag> = Vec::new();
        let mut put = |key, flag, text: Option<String>| {
            flags.extend(text.map(|it| (key, flag, it.into())));
        };
        let word = |it: &Path| it.display().to_string();
        let (connectors, allow_private) = self.connectors.given();
        put("data.dir", "--data", self.data.as_deref().map(word));
        put("http.listen", "--listen", self.listen.map(|it| it.to_string()));
        put("http.admin_listen", "--admin-listen", self.admin_listen.clone());
        put("http.base_url", "--base-url", self.base_url.clone());
        put("tree.instances", "--tree", self.tree.map(|it| it.as_str().into()));
        put("connectors.file", "--connectors", connectors.map(word));
        put("profile", "--profile", self.profile.map(|it| it.as_str().into()));
        put("bootstrap.admin_email", "--admin-email", self.admin_email.clone());
        put("bootstrap.plan", "--default-plan", self.default_plan.map(|it| it.as_str().into()));
        flags.extend(self.identity.given());
        if !self.trust_proxy.is_empty() {
            let networks: Vec<String> = self.trust_proxy.iter().map(IpNet::to_string).collect();
            flags.push(("http.trust_proxy", "--trust-proxy", networks.into()));
        }
        if !allow_private.is_empty() {
            let targets: Vec<&str> = allow_private.iter().map(String::as_str).collect();
            flags.push(("egress.allow_private", "--allow-private", targets.into()));
        }
        Settings::read(self.config.as_deref(), &variables(), defaults, &flags)
    }
}

fn print(settings: &Settings, output: &Output) -> Exit {
    let shown = settings.shown();
    if output.is_json() {
        let all: serde_json::Map<String, serde_json::Value> = shown
            .into_iter()
            .map(|(key, value, source)| (key.into(), json!({ "value": value, "source": source })))
            .collect();
        output.json(&all.into());
        return Exit::Ok;
    }
    for (key, value, source) in shown {
        output.line(&format!("{key:24} {value:32} {source}", value = value.to_string()));
    }
    Exit::Ok
}
