//! `traaviis tenant`: one tenant taken out of a data directory, and into another.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Range,
    path::{Path, PathBuf},
    sync::Arc,
};

use serde_json::json;
use traaviis_model::{InstanceId, Snapshot, TenantCtx, TenantId};
use traaviis_ports::{LogStore, Position};
use traaviis_runtime::{recovery::Recovery, tree::show_all};
use traaviis_store::{
    ReadOnlyLog, ScratchTree,
    disk::ScratchDisk,
    transfer::{self, Checked, LeftOut, Manifest, Packed, Placed, Source},
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

/// Takes one tenant out of a data directory, and into another one, with all its ids.
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
    /// position of the log. Secrets are left out and named.
    Export {
        /// Tenant; without accounts there is one, 00000000-0000-0000-0000-000000000001.
        tenant: TenantId,
        /// File to write; it must not exist.
        file: PathBuf,
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
        #[command(flatten)]
        dir: Dir,
    },
}

impl From<transfer::Error> for Failure {
    fn from(error: transfer::Error) -> Failure {
        let exit = match &error {
            transfer::Error::Log(log) => return Failure::from(log.clone()),
            transfer::Error::Absent { .. } => Exit::Unreachable,
            transfer::Error::Damaged { .. }
            | transfer::Error::Collision(_)
            | transfer::Error::Unfinished { .. }
            | transfer::Error::Ledger(_)
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
        Command::Export { tenant, file, dir } => export(*tenant, file, &dir.data, output),
        Command::Import { file, dry_run, dir } => import(file, &dir.data, *dry_run, output),
    }
}

fn above(path: &Path) -> &Path {
    path.parent().filter(|it| !it.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

fn export(tenant: TenantId, file: &Path, data: &Path, output: &Output) -> anyhow::Result<Exit> {
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
    let packed = take(&TenantCtx::operator_of(tenant), file, data)?;
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
    }
    let is_whole = manifest.damaged_left_out.is_empty() && manifest.damage.is_empty();
    Ok(if is_whole { Exit::Ok } else { Exit::Finding })
}

fn take(ctx: &TenantCtx, file: &Path, data: &Path) -> Result<Packed, Failure> {
    if subjects(data).any(ctx.tenant())? {
        let message = format!(
            "tenant `{}` has instances about people, whose values are sealed, and an export cannot \
             take the keys of people along; move the whole directory with `traaviis backup`",
            ctx.tenant()
        );
        return Err(Failure::finding("sealed_not_exported", message));
    }
    for _ in 0..TRIES_MAX {
        let Some(source) = Source::open(data, ctx)? else { continue };
        source.require()?;
        let scratch = Scratch::below(above(file))?;
        let tree = ScratchTree::on(ScratchDisk, scratch.dir(), None);
        let shown = show_all(&source, &tree, &|_| ())
            .map_err(|error| Failure::finding(error.code(), error.to_string()))?;
        let secrets = kept(data).list(ctx)?.into_iter().map(|(name, _)| name).collect();
        // What a start would set aside must not go on elsewhere from an earlier state.
        let faults = checkpoint_faults(data, &sealed(data, Arc::clone(source.log())))?;
        let faults = faults.iter().filter(|it| it.tenant == ctx.tenant()).map(|it| it.id);
        let lost = source.log().damaged_streams().into_iter();
        let lost = lost.filter(|it| it.0 == ctx.tenant()).map(|it| it.1);
        let damaged: BTreeSet<InstanceId> =
            shown.damaged.into_iter().chain(faults).chain(lost).collect();
        let damage = source.log().damage().iter().map(ToString::to_string).collect();
        let left_out = LeftOut { damaged: damaged.into_iter().collect(), damage, secrets };
        if let Some(packed) = transfer::pack(&source, scratch.dir(), left_out, clock::now(), file)?
        {
            return Ok(packed);
        }
    }
    Err(transfer::Error::Moving(TRIES_MAX).into())
}

fn import(file: &Path, data: &Path, dry: bool, output: &Output) -> anyhow::Result<Exit> {
    let scratch = Scratch::below(above(data))?;
    let folder = scratch.dir().join("export");
    let manifest = transfer::unpack(file, &folder).map_err(Failure::from)?;
    let checked = Checked::read(file, manifest, &folder).map_err(Failure::from)?;
    let placed = place(&checked, file, data, (dry, &scratch))?;
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
        });
        told["present"] = json!(placed.present);
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
    tell_secrets(manifest, output, "not in it; `traaviis secrets set NAME` sets one");
    Ok(Exit::Ok)
}

fn place(
    checked: &Checked,
    file: &Path,
    data: &Path,
    (dry, scratch): (bool, &Scratch),
) -> Result<Placed, Failure> {
    let ctx = TenantCtx::operator_of(checked.manifest.tenant);
    if dry && data.join("log").is_dir() {
        let log = ReadOnlyLog::open(data)?;
        let keys = keys(&log, &log.damaged_streams(), &lost(&log.damage()))?;
        return Ok(transfer::import(checked, &ctx, (data, file), &log, &keys, true)?);
    }
    // Of a directory that is not there, nothing is made to look into it.
    let empty = scratch.dir().join("empty");
    let (log, found) = open_half_imported(if dry { &empty } else { data })?;
    let keys = keys(&*log, &found.damaged_streams, &lost(&found.damage))?;
    let placed = transfer::import(checked, &ctx, (data, file), &*log, &keys, dry);
    log.close();
    Ok(placed?)
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
