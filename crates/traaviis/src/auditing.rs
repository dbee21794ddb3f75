//! What the audit trails and secrets of a served directory need of this process: a thread that
//! keeps the trails up, and where values of secrets rest.

use std::{
    path::Path,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use traaviis_model::{TenantCtx, Timestamp};
use traaviis_platform::{
    Error, Platform,
    secrets::{Kept, SecretKeeper},
};
use traaviis_ports::{LogStore, Secret, SecretError, Secrets};
use traaviis_store::{LocalSecrets, SecretInfo, keys};

use crate::{
    defects,
    exit::{Exit, Failure},
    secrets,
};

/// How often the log is read for acts. Whoever asks for a trail is told everything at once, so this
/// bounds what a start reads again, and how late an alert is. Acts of one tenant that gather are
/// one change of its trail.
const EVERY: Duration = Duration::from_secs(1);
/// After a failure it is tried again after so long.
const AGAIN: Duration = Duration::from_secs(5);

/// Keeps the trails up until it is ended.
#[derive(Debug)]
pub struct Auditor {
    ends: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Auditor {
    /// Begins. Acts are read off `log`, as it rests: values of people are never opened for it.
    pub fn begin(platform: &Arc<Platform>, log: Arc<dyn LogStore>) -> Result<Auditor, Failure> {
        platform.follow(log);
        let (platform, ends) = (Arc::clone(platform), Arc::<AtomicBool>::default());
        let asked = Arc::clone(&ends);
        let begun = thread::Builder::new().name("audit".into()).spawn(move || {
            let mut is_told = false;
            while !asked.load(Ordering::SeqCst) {
                let wait = match defects::outlive("audit", || platform.keep_audit()) {
                    Some(Ok(())) => {
                        is_told = false;
                        EVERY
                    }
                    None => AGAIN,
                    Some(Err(error)) => {
                        if !is_told {
                            tell(&error);
                        }
                        is_told = true;
                        AGAIN
                    }
                };
                thread::park_timeout(wait);
            }
            if let Err(error) = platform.end_audit() {
                tell(&error);
            }
        });
        let thread = begun.map_err(|error| {
            Failure::new(Exit::Internal, "internal", format!("cannot begin: {error}"))
        })?;
        Ok(Auditor { ends, thread: Some(thread) })
    }
}

impl Drop for Auditor {
    /// Waits until everything is entered.
    fn drop(&mut self) {
        self.ends.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            // A thread that has panicked has said so.
            let _ = thread.join();
        }
    }
}

fn tell(error: &Error) {
    tracing::warn!(code = &*error.code, "the audit trail waits: {error}");
}

/// The secrets of a served directory: values in files, sealed; who may use them in the ledgers.
pub struct ServedSecrets {
    kept: LocalSecrets,
    platform: OnceLock<Arc<Platform>>,
}

impl ServedSecrets {
    /// Returns the secrets of a data directory.
    pub fn of(dir: &Path) -> ServedSecrets {
        ServedSecrets { kept: secrets::kept(dir), platform: OnceLock::new() }
    }

    /// Tells who may use them, once the platform is open.
    pub fn serve(self: &Arc<Self>, platform: &Arc<Platform>) {
        platform.keep_secrets(Arc::new(Keeper(self.kept.clone())));
        // Called once.
        let _ = self.platform.set(Arc::clone(platform));
    }
}

impl Secrets for ServedSecrets {
    /// Without a workflow there is nobody who may use one.
    fn reveal(&self, _: &TenantCtx, _: &str) -> Result<Option<Secret>, SecretError> {
        Ok(None)
    }

    fn reveal_to(
        &self,
        ctx: &TenantCtx,
        workflow: &str,
        name: &str,
    ) -> Result<Option<Secret>, SecretError> {
        let Some(platform) = self.platform.get() else {
            return Err(SecretError::Unreachable("the platform is not open yet".into()));
        };
        let found = self.kept.reveal(ctx, name)?;
        Ok(found.filter(|_| platform.use_secret(ctx, workflow, name)))
    }
}

struct Keeper(LocalSecrets);

impl SecretKeeper for Keeper {
    fn set(&self, ctx: &TenantCtx, name: &str, value: &str, now: Timestamp) -> Result<Kept, Error> {
        self.0.set(ctx, name, value, now).map(kept).map_err(refused)
    }

    fn list(&self, ctx: &TenantCtx) -> Result<Vec<Kept>, Error> {
        let listed = self.0.list(ctx).map_err(refused)?;
        listed.into_iter().map(|(_, found)| found.map(kept).map_err(refused)).collect()
    }

    fn delete(&self, ctx: &TenantCtx, name: &str) -> Result<(), Error> {
        self.0.delete(ctx, name).map_err(refused)
    }

    fn reveal(&self, ctx: &TenantCtx, name: &str) -> Result<Option<Secret>, Error> {
        self.0.reveal(ctx, name).map_err(|error| Error::new("secret_unreadable", error.to_string()))
    }
}

fn kept(info: SecretInfo) -> Kept {
    let SecretInfo { name, version, updated_at, key: _ } = info;
    Kept { name, version, updated_at }
}

fn refused(error: keys::Error) -> Error {
    match error {
        keys::Error::Refused(why) => Error::invalid("/value", why),
        keys::Error::Absent(name) => Error::not_found("secret", &name),
        error => Error::new(error.code(), error.to_string()),
    }
}
