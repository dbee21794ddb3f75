//! Where the root key and secrets come from, as the environment of this process says.

use std::{
    collections::HashMap,
    env,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, OnceLock, PoisonError},
    time::{Duration, Instant},
};

use traaviis_connect::secret_from_environment;
use traaviis_engine::Machine;
use traaviis_model::{TenantCtx, TenantId, Timestamp, privacy::RedactionKey};
use traaviis_ports::{RedactionKeys, Secret, SecretError, Secrets};
use traaviis_store::{
    Keys, LocalSecrets, RootSource, Subjects,
    keys::{self, Reveal},
};

use crate::{
    clock,
    exit::{Exit, Failure},
};

/// Holds root keys themselves.
pub const ROOT_KEY: &str = "TRAAVIIS_ROOT_KEY";
/// Names the file that holds them.
pub const ROOT_KEY_FILE: &str = "TRAAVIIS_ROOT_KEY_FILE";
/// The file below the settings of a person, when neither is set.
const ROOT_KEY_HOME: &str = "traaviis/root.key";

/// The file that settings of a server name; the environment of a process is read in many places,
/// and this stands beside it.
static CHOSEN_FILE: OnceLock<PathBuf> = OnceLock::new();

/// Takes root keys from this file from now on, unless the environment holds the keys themselves.
pub fn take_root_key_from(file: &Path) {
    // Called once, before anything is opened.
    let _ = CHOSEN_FILE.set(file.to_path_buf());
}

/// Returns the secrets that are kept in a data directory.
pub fn kept(dir: &Path) -> LocalSecrets {
    LocalSecrets::new(Keys::new(dir, root_source()))
}

/// Returns the keys of the people whom a data directory is about.
pub fn subjects(dir: &Path) -> Subjects {
    Subjects::new(Keys::new(dir, root_source()))
}

/// Returns what calls ask: the secrets of a data directory, then the environment.
pub fn sources(dir: &Path) -> Arc<dyn Secrets> {
    Arc::new(Sources { kept: kept(dir) })
}

/// Returns what redacts in a data directory.
pub fn redaction(dir: &Path) -> TenantKeys {
    TenantKeys { keys: Keys::new(dir, root_source()), sealing: Arc::default() }
}

/// Returns what redacts in a directory that ends with this process; it leaves no key behind.
pub fn passing_redaction(dir: &Path) -> Result<TenantKeys, Failure> {
    let keys = Keys::new(dir, RootSource::passing()?);
    Ok(TenantKeys { keys, sealing: Arc::default() })
}

/// The keys with which personal data in a data directory is redacted.
#[derive(Clone, Debug)]
pub struct TenantKeys {
    keys: Keys,
    /// Tenants that have everything sealed, or not, and when that was read.
    sealing: Arc<Mutex<HashMap<TenantId, (Instant, bool)>>>,
}

/// How long it is remembered whether a tenant has everything sealed: every start asks.
const SEALING_KNOWN: Duration = Duration::from_secs(1);
/// Tenants of whom that is remembered; beyond it all are read again.
const SEALING_TENANTS_MAX: usize = 10_000;

impl TenantKeys {
    /// Returns the key of a tenant, for somebody who only reads; nothing when there is none yet.
    pub fn known(&self, ctx: &TenantCtx) -> Result<Option<RedactionKey>, Failure> {
        Ok(self.keys.known_redaction(ctx)?)
    }

    /// Notes that somebody is about to see what tokens stand for.
    pub fn note(
        &self,
        ctx: &TenantCtx,
        reveal: &Reveal<'_>,
        now: Timestamp,
    ) -> Result<(), Failure> {
        self.keys.note_reveal(ctx, reveal, now)?;
        Ok(())
    }

    /// Returns the key of a tenant if some of these machines need it. Nothing is made.
    pub fn needed(
        &self,
        ctx: &TenantCtx,
        machines: &[&Machine],
    ) -> Result<Option<RedactionKey>, Failure> {
        if !machines.iter().any(|it| it.needs_key()) {
            return Ok(None);
        }
        let known = self.known(ctx)?;
        let data = self.keys.data().display();
        known.map(Some).ok_or_else(|| {
            let message = format!(
                "the workflow redacts with the key of the tenant, and `{data}` holds none; name                  the data directory of the history with `--data DIR`"
            );
            Failure::new(Exit::Unreachable, "redaction_key_missing", message)
        })
    }
}

impl RedactionKeys for TenantKeys {
    fn redaction_key(&self, ctx: &TenantCtx) -> Result<RedactionKey, SecretError> {
        self.keys.redaction(ctx, clock::now()).map_err(|it| told(&it))
    }

    fn seals_all(&self, ctx: &TenantCtx) -> Result<bool, SecretError> {
        let mut sealing = self.sealing.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        if let Some((at, is_all)) = sealing.get(&ctx.tenant())
            && now.duration_since(*at) < SEALING_KNOWN
        {
            return Ok(*is_all);
        }
        let is_all = self.keys.seals_all(ctx).map_err(|it| told(&it))?;
        if sealing.len() >= SEALING_TENANTS_MAX {
            sealing.clear();
        }
        sealing.insert(ctx.tenant(), (now, is_all));
        Ok(is_all)
    }
}

fn told(error: &keys::Error) -> SecretError {
    let why = error.to_string().into();
    match error.is_retryable() {
        true => SecretError::Unreachable(why),
        false => SecretError::Unreadable(why),
    }
}

struct Sources {
    kept: LocalSecrets,
}

impl Secrets for Sources {
    fn reveal(&self, ctx: &TenantCtx, name: &str) -> Result<Option<Secret>, SecretError> {
        match self.kept.reveal(ctx, name)? {
            Some(secret) => Ok(Some(secret)),
            None => secret_from_environment.reveal(ctx, name),
        }
    }
}

/// Returns where settings of a person are; nothing where they have no home directory.
pub fn settings_dir() -> Option<PathBuf> {
    let dir = |name: &str| env::var_os(name).map(PathBuf::from).filter(|it| it.is_absolute());
    dir("XDG_CONFIG_HOME").or_else(|| Some(dir("HOME")?.join(".config")))
}

fn root_source() -> RootSource {
    if let Some(text) = env::var_os(ROOT_KEY) {
        // What is no text is no key either, and is refused as one.
        return RootSource::Given(text.into_string().unwrap_or_default().into());
    }
    if let Some(file) = CHOSEN_FILE.get() {
        return RootSource::File(file.clone());
    }
    if let Some(file) = env::var_os(ROOT_KEY_FILE) {
        return match file.is_empty() {
            false => RootSource::File(file.into()),
            true => RootSource::Nowhere(format!("`{ROOT_KEY_FILE}` names no file")),
        };
    }
    match settings_dir() {
        Some(settings) => RootSource::File(settings.join(ROOT_KEY_HOME)),
        None => RootSource::Nowhere(format!(
            "there is no home directory to keep it in; name a file in `{ROOT_KEY_FILE}`"
        )),
    }
}

impl From<keys::Error> for Failure {
    fn from(error: keys::Error) -> Failure {
        let exit = match &error {
            keys::Error::Log(log) => return Failure::from(log.clone()),
            keys::Error::RootMissing(_) => Exit::Unreachable,
            keys::Error::Refused(_) => Exit::Usage,
            keys::Error::Entropy(_) => Exit::Denied,
            keys::Error::RootInvalid { .. }
            | keys::Error::Damaged { .. }
            | keys::Error::Absent(_) => Exit::Finding,
        };
        Failure::new(exit, error.code(), error.to_string())
    }
}
