//! Secrets of tenants, each sealed in a file of its own.
//!
//! ```text
//! DATA/tenants/{tenant}/secrets/{name}.json
//! ```
//!
//! Values go in through [`LocalSecrets::set`] and come out through the port alone, which a call
//! asks; nothing that lists secrets or checks them shows one. They stand beside the log and not in
//! it, so that a value that is deleted or replaced is gone.
//!
//! Invariants: a name is checked before it becomes part of a path; a file is replaced as a whole; a
//! value that cannot be read is an error and never looks like one that is not set.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use traaviis_model::{
    TenantCtx, Timestamp,
    limits::{SECRET_BYTES_MAX, SECRETS_MAX},
    secret::is_name,
};
use traaviis_ports::{Secret, SecretError, Secrets};
use zeroize::Zeroizing;

use crate::{
    error::io_error,
    files::sync_dir,
    keys::{Error, Keys, Sealed, damaged, list_dir, read_envelope, seal::Bound, write_envelope},
    tree::envelope::Envelope,
};

/// Directory of all tenants.
const TENANTS: &str = "tenants";
/// Directory of secrets in that of a tenant.
pub(crate) const SECRETS: &str = "secrets";
/// Kind of their documents.
const KIND: &str = "secret";
/// End of a file's name.
const SUFFIX: &str = ".json";

/// A secret, for people: everything but its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecretInfo {
    /// Name.
    pub name: String,
    /// How often it was set.
    pub version: u64,
    /// When it was set last.
    pub updated_at: Option<Timestamp>,
    /// Version of the tenant's key that seals it.
    pub key: u64,
}

/// A secret of a list: its name, and what is known of it, or why it cannot be read.
pub type Listed = (String, Result<SecretInfo, Error>);

/// The secrets under a data directory.
#[derive(Clone, Debug)]
pub struct LocalSecrets {
    keys: Keys,
}

/// A secret as it stands in its file.
struct Held {
    path: PathBuf,
    envelope: Envelope,
    sealed: Sealed,
}

impl LocalSecrets {
    /// Returns the secrets that these keys seal.
    pub fn new(keys: Keys) -> LocalSecrets {
        LocalSecrets { keys }
    }

    /// Returns the keys.
    pub fn keys(&self) -> &Keys {
        &self.keys
    }

    /// Sets a secret; the value before is gone.
    pub fn set(
        &self,
        ctx: &TenantCtx,
        name: &str,
        value: &str,
        now: Timestamp,
    ) -> Result<SecretInfo, Error> {
        check_name(name)?;
        if value.is_empty() || value.len() > SECRET_BYTES_MAX {
            let why = format!("a secret is text of 1 to {SECRET_BYTES_MAX} bytes");
            return Err(Error::Refused(why));
        }
        let _held = self.keys.hold()?;
        // One that cannot be read is replaced, which mends it.
        let before = match self.find(ctx, name) {
            Ok(found) => found.map(|it| it.envelope),
            Err(Error::Damaged { .. }) => None,
            Err(error) => return Err(error),
        };
        let count = self.names(ctx)?.len();
        if count > 0 {
            self.keys.require(ctx)?;
        }
        if before.is_none() && count >= SECRETS_MAX {
            return Err(Error::Refused(format!("there are {SECRETS_MAX} secrets already")));
        }
        let version = before.as_ref().map_or(1, |it| it.version + 1);
        let bound = Bound { tenant: ctx.tenant(), kind: KIND, id: name, version };
        let sealed = self.keys.seal(ctx, bound, value.as_bytes(), now)?;
        let envelope = Envelope {
            kind: KIND.into(),
            tenant: Some(ctx.tenant()),
            id: name.into(),
            version,
            // No record stands behind it.
            seq: 0,
            updated_at: Some(now),
            unknown: before.map(|it| it.unknown).unwrap_or_default(),
            body: Vec::new(),
        };
        let held = Held { path: self.path(ctx, name), envelope, sealed };
        held.write()?;
        Ok(held.info())
    }

    /// Deletes a secret.
    pub fn delete(&self, ctx: &TenantCtx, name: &str) -> Result<(), Error> {
        check_name(name)?;
        let _held = self.keys.hold()?;
        let path = self.path(ctx, name);
        match fs::remove_file(&path) {
            Ok(()) => Ok(sync_dir(&self.dir(ctx))?),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Err(Error::Absent(name.into()))
            }
            Err(error) => Err(io_error("remove", &path, error).into()),
        }
    }

    /// Returns what is known of all secrets, by name; one that cannot be read as its error.
    pub fn list(&self, ctx: &TenantCtx) -> Result<Vec<Listed>, Error> {
        let mut infos = Vec::new();
        for name in self.names(ctx)? {
            // One may have been deleted meanwhile.
            if let Some(found) = self.find(ctx, &name).transpose() {
                infos.push((name, found.map(|it| it.info())));
            }
        }
        Ok(infos)
    }

    /// Opens every secret and forgets it at once; returns the names of those that do not open.
    pub fn check(&self, ctx: &TenantCtx) -> Result<Vec<(String, Error)>, Error> {
        let mut closed = Vec::new();
        for name in self.names(ctx)? {
            if let Err(error) = self.value(ctx, &name) {
                closed.push((name, error));
            }
        }
        Ok(closed)
    }

    /// Makes a new version of the tenant's key and seals every secret with it; returns the version,
    /// and how many secrets.
    pub fn rotate(&self, ctx: &TenantCtx, now: Timestamp) -> Result<(u64, usize), Error> {
        let _held = self.keys.hold()?;
        // All or none: a secret that does not open keeps its key in use.
        let mut all = Vec::new();
        for name in self.names(ctx)? {
            if let Some(found) = self.find(ctx, &name)? {
                all.push((self.open(ctx, &found)?, found));
            }
        }
        let version = self.keys.add_version(ctx, now)?;
        let count = all.len();
        for (value, mut held) in all {
            let (name, version) = (held.envelope.id.clone(), held.envelope.version);
            let bound = Bound { tenant: ctx.tenant(), kind: KIND, id: &name, version };
            held.sealed = self.keys.seal(ctx, bound, &value, now)?;
            held.write()?;
        }
        Ok((version, count))
    }

    /// Returns the files of the secrets, below the data directory.
    pub(crate) fn files(&self, ctx: &TenantCtx) -> Result<Vec<PathBuf>, Error> {
        let dir = Path::new(TENANTS).join(ctx.tenant().to_string()).join(SECRETS);
        Ok(self.names(ctx)?.iter().map(|it| dir.join(format!("{it}{SUFFIX}"))).collect())
    }

    /// Takes in the secrets of another directory under the same key, each unless one of its name is
    /// here; returns how many came.
    pub(crate) fn take_in(&self, ctx: &TenantCtx, from: &LocalSecrets) -> Result<usize, Error> {
        let _held = self.keys.hold()?;
        let mut count = 0;
        for name in from.names(ctx)? {
            let Some(comes) = from.find(ctx, &name)? else { continue };
            if self.find(ctx, &name)?.is_none() {
                Held { path: self.path(ctx, &name), ..comes }.write()?;
                count += 1;
            }
        }
        Ok(count)
    }

    fn dir(&self, ctx: &TenantCtx) -> PathBuf {
        self.keys.data().join(TENANTS).join(ctx.tenant().to_string()).join(SECRETS)
    }

    fn path(&self, ctx: &TenantCtx, name: &str) -> PathBuf {
        self.dir(ctx).join(format!("{name}{SUFFIX}"))
    }

    /// Returns the names that have a file, sorted.
    fn names(&self, ctx: &TenantCtx) -> Result<Vec<String>, Error> {
        let names = list_dir(&self.dir(ctx))?;
        let names = names.iter().filter_map(|it| it.strip_suffix(SUFFIX));
        Ok(names.filter(|it| is_name(it)).map(str::to_owned).collect())
    }

    fn find(&self, ctx: &TenantCtx, name: &str) -> Result<Option<Held>, Error> {
        let path = self.path(ctx, name);
        let Some(envelope) = read_envelope(&path, KIND, ctx.tenant(), name)? else {
            return Ok(None);
        };
        let sealed = serde_json::from_slice(&envelope.body)
            .map_err(|error| damaged(&path, &error.to_string()))?;
        Ok(Some(Held { path, envelope, sealed }))
    }

    fn open(&self, ctx: &TenantCtx, held: &Held) -> Result<Zeroizing<Vec<u8>>, Error> {
        let Envelope { id, version, .. } = &held.envelope;
        let bound = Bound { tenant: ctx.tenant(), kind: KIND, id, version: *version };
        self.keys.open(ctx, bound, &held.sealed, &held.path)
    }

    fn value(&self, ctx: &TenantCtx, name: &str) -> Result<Option<Secret>, Error> {
        let Some(held) = self.find(ctx, name)? else { return Ok(None) };
        let bytes = self.open(ctx, &held)?;
        let text = str::from_utf8(&bytes).map_err(|_| damaged(&held.path, "it is no text"))?;
        Ok(Some(Secret::new(text.to_owned())))
    }
}

impl Secrets for LocalSecrets {
    /// Reads three small files: short enough to be done where a call is made.
    fn reveal(&self, ctx: &TenantCtx, name: &str) -> Result<Option<Secret>, SecretError> {
        if !is_name(name) {
            return Ok(None);
        }
        self.value(ctx, name).map_err(|error| {
            let why = format!("secret `{name}`: {error}").into();
            match error.is_retryable() {
                true => SecretError::Unreachable(why),
                false => SecretError::Unreadable(why),
            }
        })
    }
}

impl Held {
    fn info(&self) -> SecretInfo {
        SecretInfo {
            name: self.envelope.id.clone(),
            version: self.envelope.version,
            updated_at: self.envelope.updated_at,
            key: self.sealed.key,
        }
    }

    fn write(&self) -> Result<(), Error> {
        let body = serde_json::to_vec(&self.sealed)
            .map_err(|error| damaged(&self.path, &error.to_string()))?;
        write_envelope(&self.path, &Envelope { body, ..self.envelope.clone() })
    }
}

fn check_name(name: &str) -> Result<(), Error> {
    if is_name(name) {
        return Ok(());
    }
    let name: String = name.chars().take(80).collect();
    Err(Error::Refused(format!(
        "`{name}` cannot name a secret; use a small letter, then small letters, digits and `_`, at \
         most 63 characters"
    )))
}

/// Says whether a path in a data directory holds a secret.
pub(crate) fn is_secret(path: &Path) -> bool {
    let mut parts = path.iter();
    parts.next().is_some_and(|it| it == TENANTS) && parts.nth(1).is_some_and(|it| it == SECRETS)
}
