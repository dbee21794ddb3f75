//! The log of a data directory: opened with its lock, behind the keys of people, damaged or not.

use std::{collections::BTreeSet, ops::Range, path::Path, sync::Arc};

use traaviis_model::{InstanceId, TenantCtx, TenantId};
use traaviis_ports::{LogStore, Position};
use traaviis_store::{
    Damage, LocalLog, ReadOnlyLog, Recovery, SealedLog, keys::subject::Erased, transfer,
};

use crate::{
    exit::{Exit, Failure},
    secrets,
    storage::StorageMode,
};

/// A log that says which histories it damaged.
pub trait Records: LogStore {
    /// Returns the streams of which records are lost, as far as reading has told so far.
    fn damaged_streams(&self) -> Vec<(TenantId, InstanceId)>;
}

/// A log that tells which histories are about a person.
pub trait People: Records {
    /// Returns the key of a person; none when there never was one.
    fn key_of(&self, ctx: &TenantCtx, subject: &str) -> Result<Option<Erased>, Failure>;

    /// Returns what is kept about a person; none when there never was a key of theirs.
    fn about(&self, ctx: &TenantCtx, subject: &str) -> Result<Option<About>, Failure>;
}

/// What is kept about a person.
#[derive(Clone, Debug)]
pub struct About {
    /// Their key.
    pub erased: Erased,
    /// Instances of which something is sealed with it, or was.
    pub instances: BTreeSet<InstanceId>,
}

impl<L: Records> Records for SealedLog<L> {
    fn damaged_streams(&self) -> Vec<(TenantId, InstanceId)> {
        self.inner().damaged_streams()
    }
}

impl<L: Records> People for SealedLog<L> {
    fn key_of(&self, ctx: &TenantCtx, subject: &str) -> Result<Option<Erased>, Failure> {
        Ok(self.subjects().status(ctx.tenant(), subject)?)
    }

    fn about(&self, ctx: &TenantCtx, subject: &str) -> Result<Option<About>, Failure> {
        let Some(erased) = self.key_of(ctx, subject)? else { return Ok(None) };
        let instances = self.instances_of(ctx, erased.name)?;
        Ok(Some(About { erased, instances }))
    }
}

/// Puts the keys of a data directory before its log.
pub fn sealed<L: LogStore>(dir: &Path, log: Arc<L>) -> Arc<SealedLog<L>> {
    Arc::new(SealedLog::new(log, Arc::new(secrets::subjects(dir))))
}

impl Records for LocalLog {
    fn damaged_streams(&self) -> Vec<(TenantId, InstanceId)> {
        LocalLog::damaged_streams(self)
    }
}

impl Records for ReadOnlyLog {
    fn damaged_streams(&self) -> Vec<(TenantId, InstanceId)> {
        ReadOnlyLog::damaged_streams(self)
    }
}

/// Refuses a directory without a log, before anything is made in it.
pub fn needs_log(dir: &Path) -> Result<(), Failure> {
    if dir.join("log").is_dir() {
        return Ok(());
    }
    let message = format!("`{}` holds no log; name a data directory", dir.display());
    Err(Failure::new(Exit::Unreachable, "data_directory_absent", message))
}

/// Opens the log of a data directory as it is kept, taking its lock.
pub fn open_log(dir: &Path) -> Result<(Arc<LocalLog>, Recovery), Failure> {
    open_log_in(dir, StorageMode::resolve(dir, None)?)
}

pub(super) fn open_log_in(
    dir: &Path,
    storage: StorageMode,
) -> Result<(Arc<LocalLog>, Recovery), Failure> {
    let opened = open_half_imported_in(dir, storage)?;
    // Under the lock: no import is under way any more, one may have been broken off.
    transfer::unfinished(dir)?;
    Ok(opened)
}

/// The same for finishing an import.
pub fn open_half_imported(dir: &Path) -> Result<(Arc<LocalLog>, Recovery), Failure> {
    open_half_imported_in(dir, StorageMode::resolve(dir, None)?)
}

fn open_half_imported_in(
    dir: &Path,
    storage: StorageMode,
) -> Result<(Arc<LocalLog>, Recovery), Failure> {
    if let Some(found) = dir.ancestors().find(|it| it.exists()).filter(|it| !it.is_dir()) {
        let message = format!(
            "`{}` is no directory, so `{}` cannot hold data; name a directory with `--data DIR`",
            found.display(),
            dir.display()
        );
        return Err(Failure::new(Exit::Unreachable, "data_directory_absent", message));
    }
    let codec = storage.codec();
    Ok(LocalLog::open(dir, traaviis_store::Options { codec, ..Default::default() })?)
}

/// Returns the positions whose records are lost.
pub fn lost(damage: &[Damage]) -> Vec<Range<Position>> {
    damage.iter().filter(|it| it.from < it.to).map(|it| it.from..it.to).collect()
}
