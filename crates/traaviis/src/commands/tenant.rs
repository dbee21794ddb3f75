//! `traaviis tenant`: one tenant taken out of a data directory, and into another; and the tenants
//! of a server.

mod people;
mod served;

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Range,
    path::{Path, PathBuf},
    sync::Arc,
};

use serde_json::json;
use traaviis_model::{InstanceId, Snapshot, TenantCtx, TenantId};
use traaviis_platform::moving::{Met, Moved};
use traaviis_ports::{LogStore, Position};
use traaviis_runtime::{recovery::Recovery, tree::show_all};
use traaviis_store::{
    ReadOnlyLog, ScratchTree,
    backup::{Identities, Recipients},
    disk::ScratchDisk,
    transfer::{
        self, Checked, Coming, Import, LeftOut, Lock, Manifest, Opener, Packed, Passphrase, Placed,
        Source,
    },
};

use crate::{
    clock,
    commands::{backup::size, secrets::Dir},
    data::{checkpoint_faults, lost, needs_log, open_half_imported, sealed},
    exit::{Exit, Failure},
    output::{self, Output},
    scratch::Scratch,
    secrets::{kept, subjects},
};

/// Times that an export begins again because instances were archived meanwhile.
const TRIES_MAX: u32 = 5;

/// Looks after tenants of a server, and takes one out of a data directory, and into another one.
///
/// `export` and `import` work on the files. The others ask the server that `traaviis login` was
/// for.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Writes everything of a tenant into one file, also beside a running process.
    ///
    /// The file is a `.tar.gz` with the tenant's document tree, its definitions, the whole
    /// histories of its instances, archived ones too, and a manifest with hashes. It reaches one
    /// position of the log.
    ///
    /// With --recipient or --passphrase-file everything goes along that is sealed: secrets, what is
    /// kept about people, and of a tenant of a server its members, with their passwords. The keys
    /// that open it are locked for whoever is named. Without, secrets are left out and named, and a
    /// tenant that has more than those is refused.
    Export {
        /// Tenant; without accounts there is one, 00000000-0000-0000-0000-000000000001.
        tenant: TenantId,
        /// File to write; it must not exist.
        file: PathBuf,
        /// Lock keys for this recipient of age, such as `age1...`; may be repeated.
        #[arg(long, value_name = "RECIPIENT")]
        recipient: Vec<String>,
        /// Lock keys with the passphrase in the first line of this file.
        #[arg(long, value_name = "FILE", conflicts_with = "recipient")]
        passphrase_file: Option<PathBuf>,
        #[command(flatten)]
        dir: Dir,
    },
    /// Puts a tenant that was exported into a data directory, which is made if need be.
    ///
    /// Everything is checked before anything is changed. Instances that are there already, the same
    /// or gone on since, stay as they are; anything else with the same id refuses the import. No
    /// process may hold the directory, except for --dry-run. Whoever opens the directory next
    /// carries on what is open in it; if the original still runs, both do the same work.
    Import {
        /// File that `tenant export` wrote.
        file: PathBuf,
        /// Change nothing; say what would come.
        #[arg(long)]
        dry_run: bool,
        /// Open keys with an identity of age in this file; may be repeated.
        #[arg(long, value_name = "FILE")]
        identity: Vec<PathBuf>,
        /// Open keys with the passphrase in the first line of this file.
        #[arg(long, value_name = "FILE")]
        passphrase_file: Option<PathBuf>,
        #[command(flatten)]
        dir: Dir,
    },
    #[command(flatten)]
    Served(served::Command),
}

impl From<transfer::Error> for Failure {
    fn from(error: transfer::Error) -> Failure {
        let error = match error {
            transfer::Error::Keys(error) => return Failure::from(error),
            other => other,
        };
        let exit = match &error {
            transfer::Error::Log(log) => return Failure::from(log.clone()),
            transfer::Error::Absent { .. } => Exit::Unreachable,
            transfer::Error::KeysNeeded(..) | transfer::Error::Locked(_) => Exit::Denied,
            transfer::Error::Keys(_)
            | transfer::Error::Damaged { .. }
            | transfer::Error::Collision(_)
            | transfer::Error::Unfinished { .. }
            | transfer::Error::Moving(_) => Exit::Finding,
        };
        let failure = Failure::new(exit, error.code(), error.to_string());
        match error {
            transfer::Error::Collision(all) => failure.with_details(json!({ "collisions": all })),
            _ => failure,
        }
    }
}

/// Runs the command.
pub fn run(args: &Args, output: &Output) -> anyhow::Result<Exit> {
    match &args.command {
        Command::Export { tenant, file, recipient, passphrase_file, dir } => {
            let lock = lock(recipient, passphrase_file.as_deref())?;
            export(*tenant, file, &dir.data, lock.as_ref(), output)
        }
        Command::Import { file, dry_run, identity, passphrase_file, dir } => {
            let passphrase = passphrase_file.as_deref().map(passphrase).transpose()?;
            let identities = Identities::read(identity).map_err(Failure::usage)?;
            let opener = Opener { identities, passphrase };
            import(file, &dir.data, (*dry_run, &opener), output)
        }
        Command::Served(command) => served::run(command, output),
    }
}

fn lock(recipients: &[String], file: Option<&Path>) -> Result<Option<Lock>, Failure> {
    match (recipients, file) {
        (_, Some(file)) => Ok(Some(Lock::Passphrase(passphrase(file)?))),
        ([], None) => Ok(None),
        (names, None) => {
            Ok(Some(Lock::Recipients(Recipients::read(names).map_err(Failure::usage)?)))
        }
    }
}

fn passphrase(file: &Path) -> Result<Passphrase, Failure> {
    Passphrase::read(file).map_err(Failure::usage)
}

fn above(path: &Path) -> &Path {
    path.parent().filter(|it| !it.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

fn export(
    tenant: TenantId,
    file: &Path,
    data: &Path,
    lock: Option<&Lock>,
    output: &Output,
) -> anyhow::Result<Exit> {
    needs_log(data)?;
    transfer::unfinished(data).map_err(Failure::from)?;
    if file.exists() {
        let message = format!("`{}` exists; name another file", file.display());
        return Err(Failure::finding("file_exists", message).into());
    }
    if !above(file).is_dir() {
        let message = format!("there is no directory for `{}`", file.display());
        return Err(Failure::new(Exit::Denied, "file_unwritable", message).into());
    }
    let packed = take(&TenantCtx::operator_of(tenant), file, data, lock)?;
    let Packed { manifest, bytes } = &packed;
    tell_damage(manifest);
    if output.is_json() {
        let mut told = of(manifest);
        told["file"] = json!(file);
        told["bytes"] = json!(bytes);
        output.json(&told);
    } else {
        output.line(&format!(
            "tenant `{tenant}` up to position {}: {} instances with {} records, {} archived, in \
             `{}` ({})",
            manifest.position,
            manifest.instances,
            manifest.records,
            manifest.archived,
            file.display(),
            size(*bytes),
        ));
        tell_secrets(manifest, output, "left out; set them where it is imported");
        if !manifest.locked_for.is_empty() {
            let names: Vec<String> =
                manifest.locked_for.iter().map(|it| format!("`{it}`")).collect();
            output.line(&format!("keys and secrets in it are locked for {}", names.join(", ")));
        }
    }
    let is_whole = manifest.damaged_left_out.is_empty() && manifest.damage.is_empty();
    Ok(if is_whole { Exit::Ok } else { Exit::Finding })
}

fn take(ctx: &TenantCtx, file: &Path, data: &Path, lock: Option<&Lock>) -> Result<Packed, Failure> {
    for _ in 0..TRIES_MAX {
        let Some(source) = Source::open(data, ctx)? else { continue };
        let source = Arc::new(source);
        source.require()?;
        let scratch = Scratch::below(above(file))?;
        let tree = ScratchTree::on(ScratchDisk, scratch.dir(), None);
        let opened = sealed(data, Arc::clone(&source));
        let shown = show_all(&*opened, &tree, &|_| ())
            .map_err(|error| Failure::finding(error.code(), error.to_string()))?;
        // What a start would set aside must not go on elsewhere from an earlier state.
        let faults = checkpoint_faults(data, &sealed(data, Arc::clone(source.log())))?;
        let faults = faults.iter().filter(|it| it.tenant == ctx.tenant()).map(|it| it.id);
        let lost = source.log().damaged_streams().into_iter();
        let lost = lost.filter(|it| it.0 == ctx.tenant()).map(|it| it.1);
        let damaged: BTreeSet<InstanceId> =
            shown.damaged.into_iter().chain(faults).chain(lost).collect();
        let damage = source.log().damage().iter().map(ToString::to_string).collect();
        let damaged = damaged.into_iter().collect();
        let (secrets, locked_for) = match lock {
            None => (kept(data).list(ctx)?.into_iter().map(|(name, _)| name).collect(), Vec::new()),
            Some(lock) => {
                let people = people::take_out(data, ctx.tenant(), scratch.dir())?;
                let subjects = subjects(data);
                let for_whom = transfer::take_out(ctx, &subjects, people, lock, scratch.dir())?;
                (Vec::new(), for_whom)
            }
        };
        let left_out = LeftOut { damaged, damage, secrets };
        let told = (left_out, locked_for);
        if let Some(packed) = transfer::pack(&source, scratch.dir(), told, clock::now(), file)? {
            return Ok(packed);
        }
    }
    Err(transfer::Error::Moving(TRIES_MAX).into())
}

fn import(
    file: &Path,
    data: &Path,
    (dry, opener): (bool, &Opener),
    output: &Output,
) -> anyhow::Result<Exit> {
    if !file.is_file() {
        let message = format!("`{}` is no file", file.display());
        return Err(Failure::new(Exit::Unreachable, "file_unreadable", message).into());
    }
    let scratch = Scratch::below(above(data))?;
    let folder = scratch.dir().join("export");
    let manifest = transfer::unpack(file, &folder).map_err(Failure::from)?;
    let ctx = TenantCtx::operator_of(manifest.tenant);
    let coming = Coming::open(&manifest, &ctx, &folder, opener).map_err(Failure::from)?;
    let checked = Checked::read(file, manifest, &folder, coming).map_err(Failure::from)?;
    let (placed, met) = place(&checked, file, data, (dry, &scratch))?;
    let manifest = &checked.manifest;
    tell_damage(manifest);
    if output.is_json() {
        let mut told = of(manifest);
        told["dry_run"] = json!(dry);
        told["came"] = json!({
            "instances": placed.instances,
            "archived": placed.archived,
            "records": placed.records,
            "documents": placed.documents,
            "users": met.new,
        });
        told["present"] = json!(placed.present);
        told["users_present"] = json!(met.present);
        told["resumed"] = json!(placed.is_resumed);
        output.json(&told);
        return Ok(Exit::Ok);
    }
    output.line(&format!(
        "tenant `{}` {} `{}`: {} instances with {} records, {} archived; {} were there already",
        manifest.tenant,
        if dry { "would come into" } else { "came into" },
        data.display(),
        placed.instances,
        placed.records,
        placed.archived,
        placed.present,
    ));
    if manifest.ledger > 0 {
        output.line(&format!(
            "users: {} {}, {} are there already",
            met.new,
            if dry { "would come" } else { "came" },
            met.present
        ));
    }
    tell_secrets(manifest, output, "not in it; `traaviis secrets set NAME` sets one");
    Ok(Exit::Ok)
}

fn place(
    checked: &Checked,
    file: &Path,
    data: &Path,
    (dry, scratch): (bool, &Scratch),
) -> Result<(Placed, Met), Failure> {
    let ctx = TenantCtx::operator_of(checked.manifest.tenant);
    let moved = checked.coming().map(|it| people::read(it.people())).transpose()?.flatten();
    if dry && data.join("log").is_dir() {
        let log = Arc::new(ReadOnlyLog::open(data)?);
        let opened = sealed(data, Arc::clone(&log));
        let keys = keys(&*opened, &log.damaged_streams(), &lost(&log.damage()))?;
        let (met, taken) = meet(checked, &ctx, data, moved.as_ref(), scratch)?;
        let import = Import::compare(checked, &ctx, data, &*log, (&keys, taken))?;
        return Ok((import.placed().clone(), met));
    }
    // Of a directory that is not there, nothing is made to look into it.
    let empty = scratch.dir().join("empty");
    let to = if dry { &*empty } else { data };
    let (log, found) = open_half_imported(to)?;
    let opened = sealed(to, Arc::clone(&log));
    let placed = keys(&*opened, &found.damaged_streams, &lost(&found.damage)).and_then(|keys| {
        let (met, taken) = meet(checked, &ctx, data, moved.as_ref(), scratch)?;
        let import = Import::compare(checked, &ctx, to, &*log, (&keys, taken))?;
        if dry {
            return Ok((import.placed().clone(), met));
        }
        if import.is_present() {
            let present = Met { present: met.present + met.new, ..Met::default() };
            return Ok((import.placed().clone(), present));
        }
        import.begin(file)?;
        if let Some(coming) = checked.coming() {
            coming.take_in(&ctx, &subjects(to), clock::now())?;
        }
        if let Some(moved) = &moved {
            people::take_keys(to, &log, moved)?;
        }
        import.place()?;
        let met = match &moved {
            Some(moved) if !import.is_ledger_ahead() => people::take_in(to, &log, moved, &import)?,
            _ => met,
        };
        Ok((import.end()?, met))
    });
    log.close();
    placed
}

/// Compares keys and people that come with those that are there; changes nothing.
fn meet(
    checked: &Checked,
    ctx: &TenantCtx,
    data: &Path,
    moved: Option<&Moved>,
    scratch: &Scratch,
) -> Result<(Met, Vec<String>), Failure> {
    let mut taken = match checked.coming() {
        Some(coming) => coming.collisions(ctx, &subjects(data))?,
        None => Vec::new(),
    };
    let mut met = match moved {
        Some(moved) => people::meet(data, ctx.tenant(), moved, scratch.dir())?,
        None => Met::default(),
    };
    taken.append(&mut met.collisions);
    Ok((met, taken))
}

/// Returns who holds business keys: open instances, of whatever tenant.
pub fn keys(
    log: &dyn LogStore,
    damaged: &[(TenantId, InstanceId)],
    lost: &[Range<Position>],
) -> Result<BTreeMap<(TenantId, String, String), InstanceId>, Failure> {
    let recovery = Recovery::read(log, 0, damaged, lost)
        .map_err(|error| Failure::finding(error.code(), error.to_string()))?;
    let key = |it: &Snapshot| {
        let key = it.correlation.as_ref()?.to_string();
        Some(((it.tenant_id, it.workflow.to_lowercase(), key), it.id))
    };
    Ok(recovery.snapshots().filter_map(key).collect())
}

fn of(manifest: &Manifest) -> serde_json::Value {
    json!({
        "tenant": manifest.tenant,
        "position": manifest.position,
        "created_at": manifest.created_at,
        "instances": manifest.instances,
        "archived": manifest.archived,
        "records": manifest.records,
        "ledger": manifest.ledger,
        "locked_for": manifest.locked_for,
        "secrets_left_out": manifest.secrets_left_out,
        "damaged_left_out": manifest.damaged_left_out,
        "damage": manifest.damage,
    })
}

fn tell_damage(manifest: &Manifest) {
    for damage in &manifest.damage {
        output::warn(format_args!(
            "warning: the log that the export is made of is damaged: {damage} \
             (data_directory_damaged)"
        ));
    }
    for id in &manifest.damaged_left_out {
        output::warn(format_args!(
            "warning: instance {id} is left out, because its history is damaged (history_broken)"
        ));
    }
}

fn tell_secrets(manifest: &Manifest, output: &Output, what: &str) {
    let names: Vec<String> = manifest.secrets_left_out.iter().map(|it| format!("`{it}`")).collect();
    if !names.is_empty() {
        output.line(&format!("secrets {}: {what}", names.join(", ")));
    }
}
