//! `traaviis keys`: what seals secrets, listed and renewed.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value as Json, json};
use traaviis_model::{TenantCtx, TenantId, tenant::PLATFORM};
use traaviis_store::{
    LocalSecrets, RootSource,
    keys::{KeyInfo, root::RootId},
};

use crate::{
    clock,
    commands::secrets::Dir,
    exit::{Exit, Failure},
    output::{self, Output},
    secrets::kept,
    terminal::table,
};

/// Lists and renews the keys that seal secrets; never shows one.
///
/// Each tenant has a key in versions: the newest seals, older ones still open. The root key wraps
/// them. It comes from TRAAVIIS_ROOT_KEY, the file that TRAAVIIS_ROOT_KEY_FILE names, or
/// `traaviis/root.key` among your settings, made at first use.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Lists the keys, and the root key that wraps each.
    List(Dir),
    /// Makes a new version of the tenant's key and seals every secret with it.
    Rotate {
        /// Make a new root key in its file instead, and wrap every key with it; older ones stay in
        /// the file.
        #[arg(long)]
        root: bool,
        #[command(flatten)]
        whose: Whose,
        #[command(flatten)]
        dir: Dir,
    },
    /// Wraps every key with the first of the root keys.
    Rewrap(Dir),
    /// Says what instances rest sealed, or changes it for those that begin from now on.
    ///
    /// `people`: those that are about a person, which is how it is at first. `all`: the others,
    /// too, with one key for all of them, and documents such as definitions. Also beside a running
    /// process, which heeds it within a second.
    Encryption {
        /// What is sealed from now on.
        seals: Option<Seals>,
        #[command(flatten)]
        whose: Whose,
        #[command(flatten)]
        dir: Dir,
    },
}

/// Whose keys are meant.
#[derive(Clone, Copy, Debug, clap::Args)]
struct Whose {
    /// Tenant of a server, as `keys list` names it; without accounts there is only one.
    #[arg(long, value_name = "TENANT")]
    tenant: Option<TenantId>,
}

impl Whose {
    /// Returns the tenant in whose name keys are changed. In a directory of a server nobody is
    /// meant who is not named: it would be a tenant that nobody uses.
    fn ctx(self, secrets: &LocalSecrets) -> Result<TenantCtx, Failure> {
        let local = TenantCtx::local_operator();
        let known: BTreeSet<TenantId> = secrets
            .keys()
            .list()?
            .iter()
            .map(|it| it.tenant)
            .filter(|it| *it != PLATFORM)
            .collect();
        match self.tenant {
            Some(tenant) if tenant == local.tenant() || known.contains(&tenant) => {
                Ok(TenantCtx::operator_of(tenant))
            }
            Some(tenant) => {
                let message = format!(
                    "tenant `{tenant}` has no keys here; `traaviis keys list` names those that do"
                );
                Err(Failure::new(Exit::Unreachable, "tenant_absent", message))
            }
            None if known.iter().any(|it| *it != local.tenant()) => {
                let message = "this directory is that of a server; say whose keys are meant: \
                               `--tenant TENANT`, as `traaviis keys list` names it";
                Err(Failure::usage(message))
            }
            None => Ok(local),
        }
    }
}

/// What instances rest sealed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Seals {
    /// Those that are about a person.
    People,
    /// All.
    All,
}

/// Runs the command.
pub fn run(args: &Args, output: &Output) -> anyhow::Result<Exit> {
    match &args.command {
        Command::List(dir) => list(&kept(&dir.data), output),
        Command::Rotate { root: false, whose, dir } => rotate(&kept(&dir.data), *whose, output),
        Command::Rotate { root: true, dir, .. } => rotate_root(&kept(&dir.data), output),
        Command::Rewrap(dir) => rewrap(&kept(&dir.data), output),
        Command::Encryption { seals, whose, dir } => {
            encryption(&kept(&dir.data), *whose, *seals, output)
        }
    }
}

fn list(secrets: &LocalSecrets, output: &Output) -> anyhow::Result<Exit> {
    let keys = secrets.keys().list().map_err(Failure::from)?;
    let sealed = sealed(secrets)?;
    let (roots, exit): (Vec<RootId>, Exit) = match secrets.keys().roots() {
        Ok(found) => (found.iter().flat_map(|it| it.ids().cloned()).collect(), Exit::Ok),
        Err(error) => {
            output::warn(format_args!("warning: {error} ({})", error.code()));
            (Vec::new(), Exit::Finding)
        }
    };
    let is_missing = |it: &&KeyInfo| !roots.contains(&it.root);
    let exit = if keys.iter().any(|it| is_missing(&it)) { Exit::Finding } else { exit };
    let source = secrets.keys().source().to_string();
    if output.is_json() {
        let keys: Vec<Json> = keys.iter().map(|it| of(it, &roots, &sealed)).collect();
        let roots = json!({ "from": source, "keys": roots });
        output.json(&json!({ "root": roots, "keys": keys }));
        return Ok(exit);
    }
    let names: Vec<String> = roots.iter().map(|it| format!("`{it}`")).collect();
    output.line(&match (names.as_slice(), exit) {
        ([], Exit::Ok) => format!("root key: none yet, from {source}"),
        ([], _) => format!("root key: missing, from {source}"),
        (names, _) => format!("root key: {}, from {source}", names.join(", ")),
    });
    if keys.is_empty() {
        output.line("no keys yet; the first secret makes one");
        return Ok(exit);
    }
    let rows: Vec<Vec<String>> = keys
        .iter()
        .map(|it| {
            let root = match is_missing(&it) {
                true => format!("{} (missing)", it.root),
                false => it.root.to_string(),
            };
            vec![
                it.tenant.to_string(),
                it.version.to_string(),
                it.made_at.to_string(),
                root,
                if it.is_newest { "seals" } else { "opens" }.into(),
                sealed.get(&(it.tenant, it.version)).copied().unwrap_or(0).to_string(),
            ]
        })
        .collect();
    output.text(&table(&["TENANT", "VERSION", "MADE", "ROOT", "USE", "SECRETS"], &rows));
    Ok(exit)
}

/// How many secrets a version of a tenant's key seals.
type Counts = BTreeMap<(TenantId, u64), usize>;

fn sealed(secrets: &LocalSecrets) -> Result<Counts, Failure> {
    let tenants: BTreeSet<TenantId> = secrets.keys().list()?.iter().map(|it| it.tenant).collect();
    let mut counts = Counts::new();
    for tenant in tenants {
        for (_, found) in secrets.list(&TenantCtx::operator_of(tenant))? {
            if let Ok(it) = found {
                *counts.entry((tenant, it.key)).or_default() += 1;
            }
        }
    }
    Ok(counts)
}

fn of(it: &KeyInfo, roots: &[RootId], sealed: &Counts) -> Json {
    json!({
        "tenant": it.tenant,
        "version": it.version,
        "made_at": it.made_at,
        "root": it.root,
        "root_at_hand": roots.contains(&it.root),
        "is_newest": it.is_newest,
        "secrets": sealed.get(&(it.tenant, it.version)).copied().unwrap_or(0),
    })
}

fn rotate(secrets: &LocalSecrets, whose: Whose, output: &Output) -> anyhow::Result<Exit> {
    let ctx = whose.ctx(secrets)?;
    let (version, count) = secrets.rotate(&ctx, clock::now()).map_err(Failure::from)?;
    match output.is_json() {
        true => output.json(&json!({ "version": version, "secrets": count })),
        false => output.line(&format!(
            "version {version} of the key seals from now on; secrets sealed with it: {count}"
        )),
    };
    Ok(Exit::Ok)
}

fn rotate_root(secrets: &LocalSecrets, output: &Output) -> anyhow::Result<Exit> {
    let keys = secrets.keys();
    if let RootSource::Given(_) = keys.source() {
        let message = "the root key comes from TRAAVIIS_ROOT_KEY; put the new one in front of the \
                       old one there, then `traaviis keys rewrap`";
        return Err(Failure::usage(message).into());
    }
    let count = keys.rotate_root(clock::now()).map_err(Failure::from)?;
    let newest = newest(secrets)?;
    match output.is_json() {
        true => output.json(&json!({ "root": newest, "wrapped": count })),
        false => output.line(&format!(
            "root key `{newest}` wraps from now on; keys wrapped anew: {count}; the one before \
             stays in {}, for backups and other directories",
            keys.source()
        )),
    };
    Ok(Exit::Ok)
}

fn rewrap(secrets: &LocalSecrets, output: &Output) -> anyhow::Result<Exit> {
    let count = secrets.keys().rewrap(clock::now()).map_err(Failure::from)?;
    let newest = newest(secrets)?;
    match output.is_json() {
        true => output.json(&json!({ "root": newest, "wrapped": count })),
        false => {
            output.line(&format!("root key `{newest}` wraps every key; wrapped anew: {count}"))
        }
    };
    Ok(Exit::Ok)
}

fn encryption(
    secrets: &LocalSecrets,
    whose: Whose,
    seals: Option<Seals>,
    output: &Output,
) -> anyhow::Result<Exit> {
    let (keys, ctx) = (secrets.keys(), whose.ctx(secrets)?);
    if let Some(seals) = seals {
        keys.set_seals_all(&ctx, seals == Seals::All, clock::now()).map_err(Failure::from)?;
    }
    let is_all = keys.seals_all(&ctx).map_err(Failure::from)?;
    let (word, told) = match is_all {
        true => ("all", "all instances that begin from now on rest sealed"),
        false => ("people", "instances that are about a person rest sealed, others do not"),
    };
    match output.is_json() {
        true => output.json(&json!({ "encryption": word })),
        false => output.line(&format!("encryption `{word}`: {told}")),
    };
    Ok(Exit::Ok)
}

fn newest(secrets: &LocalSecrets) -> Result<RootId, Failure> {
    let missing = || {
        let message = "the root key is missing: none was made yet, the first secret makes one";
        Failure::new(Exit::Unreachable, "root_key_missing", message)
    };
    let roots = secrets.keys().roots()?.ok_or_else(missing)?;
    Ok(roots.newest().0.clone())
}
