//! Keys of tenants: made by chance, wrapped by the root key, kept in versions.
//!
//! ```text
//! DATA/system/keys/{tenant}.json   versions of the tenant's key, each wrapped
//! DATA/system/keys/LOCK            held by who changes keys or secrets
//! DATA/system/keys/{tenant}/       keys of data subjects; see [`subject`]
//! DATA/system/reveals/             who had tokens turned back
//! ```
//!
//! What is sealed says with which version of the key. A new version seals from then on, and the
//! older ones stay, so everything that was sealed can be read. Wrapping anew changes the files of
//! keys and nothing that was sealed with them.
//!
//! From the first version another key is made, which redacts personal data ([`Keys::redaction`]).
//!
//! Nothing is remembered here: keys are read when they are needed, and overwritten in memory after.
//! Who reads takes no lock. A file is replaced as a whole, and whoever reads something sealed reads
//! it before the keys, and the keys before the root key; changes go the other way round.
//!
//! Invariants: no key is in the data directory unwrapped; no version is taken out of a tenant that
//! is not destroyed; a root key is not made while a directory holds keys that another one wraps.

pub(crate) mod moving;
mod redaction;
mod reveals;
pub mod root;
pub mod seal;
pub mod subject;

use std::{
    collections::BTreeMap,
    fs::{File, OpenOptions},
    io,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use rustix::fs::FlockOperation;
use serde::{Deserialize, Serialize};
use traaviis_model::{TenantCtx, TenantId, Timestamp, limits::KEY_VERSIONS_MAX};
use traaviis_ports::LogError;
use zeroize::Zeroizing;

use crate::{
    checkpoint::write_atomically,
    disk::OsDisk,
    error::io_error,
    files::{self, hex, make_dir, unhex, unhex_into},
    lock::LOCK_FILE,
    tree::envelope::{self, Envelope, Wrong},
};
pub use reveals::Reveal;
use root::{RootId, RootKeys, RootSource};
use seal::{Bound, KEY_BYTES, Key, NONCE_BYTES};

/// Directory of what belongs to no tenant.
const SYSTEM: &str = "system";
/// Directory of keys in it.
const KEYS: &str = "keys";
/// Kind of the document with the keys of a tenant, and of a wrapped key.
const KIND: &str = "keys";

/// Why keys cannot be had, or something sealed not be read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The operating system refused, or a newer release wrote a file.
    #[error(transparent)]
    Log(#[from] LogError),
    /// No root key is at hand, or not the one that is needed.
    #[error("the root key is missing: {0}")]
    RootMissing(String),
    /// What is at hand is no root key, or others can use it.
    #[error("the root key from {origin} is refused: {why}")]
    RootInvalid {
        /// Where it comes from.
        origin: String,
        /// What is wrong.
        why: String,
    },
    /// A file of keys, or something sealed, is not as it was written.
    #[error("`{path}` is damaged: {why}; restore that file from a backup")]
    Damaged {
        /// File.
        path: String,
        /// What is wrong.
        why: String,
    },
    /// A name or value of a secret that cannot be taken, or one too many.
    #[error("{0}")]
    Refused(String),
    /// A secret of this name is not set.
    #[error("secret `{0}` is not set; `traaviis secrets list` shows which are")]
    Absent(String),
    /// The operating system gives no random bytes.
    #[error("cannot make a key: the operating system gives no random bytes: {0}")]
    Entropy(String),
}

impl Error {
    /// Returns the stable code.
    pub fn code(&self) -> &'static str {
        match self {
            Error::Log(error) => error.code(),
            Error::RootMissing(_) => "root_key_missing",
            Error::RootInvalid { .. } => "root_key_invalid",
            Error::Damaged { .. } => "secret_unreadable",
            Error::Refused(_) => "secret_refused",
            Error::Absent(_) => "secret_missing",
            Error::Entropy(_) => "storage_failed",
        }
    }

    /// Says whether trying again can help: files and mounts come back, damage stays.
    pub fn is_retryable(&self) -> bool {
        match self {
            Error::Log(error) => matches!(error, LogError::Io { .. } | LogError::Full),
            Error::RootMissing(_) | Error::RootInvalid { .. } | Error::Entropy(_) => true,
            Error::Damaged { .. } | Error::Refused(_) | Error::Absent(_) => false,
        }
    }
}

/// Something sealed, as it stands in a document.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Sealed {
    /// Version of the tenant's key.
    pub key: u64,
    nonce: String,
    sealed: String,
}

/// One version of a tenant's key, as it stands in its document.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Wrapped {
    version: u64,
    made_at: Timestamp,
    root: RootId,
    nonce: String,
    wrapped: String,
}

#[derive(Debug, Serialize, Deserialize)]
struct Body {
    keys: Vec<Wrapped>,
    /// Instances that are about nobody are sealed, too.
    #[serde(default, skip_serializing_if = "is_false")]
    seals_all: bool,
    /// At some time they were, and documents as well.
    #[serde(default, skip_serializing_if = "is_false")]
    has_sealed_all: bool,
}

fn is_false(it: &bool) -> bool {
    !it
}

/// The document with the keys of a tenant.
struct Ring {
    path: PathBuf,
    tenant: TenantId,
    /// How often it was written.
    version: u64,
    unknown: Vec<(String, String)>,
    /// The oldest first; versions are 1, 2, 3.
    keys: Vec<Wrapped>,
    seals_all: bool,
    has_sealed_all: bool,
}

/// One version of a tenant's key, for people.
#[derive(Clone, Debug)]
pub struct KeyInfo {
    /// Tenant.
    pub tenant: TenantId,
    /// Version.
    pub version: u64,
    /// When it was made.
    pub made_at: Timestamp,
    /// Root key that wraps it.
    pub root: RootId,
    /// It seals what is sealed from now on.
    pub is_newest: bool,
}

/// The keys under a data directory.
#[derive(Clone, Debug)]
pub struct Keys {
    data: PathBuf,
    root: RootSource,
}

impl Keys {
    /// Returns the keys under a data directory; nothing is read or made before one is needed.
    pub fn new(data: &Path, root: RootSource) -> Keys {
        Keys { data: data.to_path_buf(), root }
    }

    /// Returns where the root key comes from.
    pub fn source(&self) -> &RootSource {
        &self.root
    }

    /// Returns the data directory.
    pub fn data(&self) -> &Path {
        &self.data
    }

    fn dir(&self) -> PathBuf {
        self.data.join(SYSTEM).join(KEYS)
    }

    /// Holds keys and secrets against other processes that would change them.
    pub(crate) fn hold(&self) -> Result<File, Error> {
        make_dir(&self.dir())?;
        hold(&self.dir().join(LOCK_FILE))
    }

    /// Reads the root keys; nothing when the first one is still to be made.
    pub fn roots(&self) -> Result<Option<RootKeys>, Error> {
        self.root.read(&self.data)
    }

    /// Returns the versions of all keys, by tenant, the oldest first.
    pub fn list(&self) -> Result<Vec<KeyInfo>, Error> {
        let rings = self.rings()?;
        Ok(rings.iter().flat_map(Ring::infos).collect())
    }

    /// Says whether every version of every key can be unwrapped.
    pub fn check(&self) -> Result<(), Error> {
        let rings = self.rings()?;
        if rings.is_empty() {
            return Ok(());
        }
        let roots = self.needed_roots()?;
        for ring in &rings {
            ring.keys.iter().try_for_each(|it| ring.unwrap(it, &roots).map(drop))?;
        }
        Ok(())
    }

    /// Makes a new version of a tenant's key, which seals from now on; returns its number.
    ///
    /// The caller holds [`Keys::hold`].
    pub(crate) fn add_version(&self, ctx: &TenantCtx, now: Timestamp) -> Result<u64, Error> {
        self.add_version_of(ctx.tenant(), now)
    }

    /// Destroys all versions of a tenant's key; one that never had any is no error. Whoever calls
    /// holds [`Keys::hold`] and has destroyed what the key seals.
    fn remove_ring(&self, tenant: TenantId) -> Result<(), Error> {
        let path = self.path(tenant);
        let file = match File::options().write(true).open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(io_error("open", &path, error).into()),
        };
        std::fs::remove_file(&path)
            .and_then(|()| subject::overwrite(&file))
            .map_err(|error| io_error("remove", &path, error))?;
        Ok(files::sync_dir(&self.dir())?)
    }

    fn add_version_of(&self, tenant: TenantId, now: Timestamp) -> Result<u64, Error> {
        let ring = self.ring(tenant)?;
        let roots = match &ring {
            Some(ring) => {
                let roots = self.needed_roots()?;
                // Whoever cannot read the older ones must not go on with a new one.
                ring.keys.iter().try_for_each(|it| ring.unwrap(it, &roots).map(drop))?;
                roots
            }
            None if self.rings()?.is_empty() => self.root.read_or_make(&self.data)?,
            None => self.needed_roots()?,
        };
        let mut ring = ring.unwrap_or_else(|| Ring::new(self.path(tenant), tenant));
        if ring.keys.len() >= KEY_VERSIONS_MAX {
            let why = format!("the tenant has {KEY_VERSIONS_MAX} versions of its key already");
            return Err(Error::Refused(why));
        }
        let version = ring.keys.last().map_or(1, |it| it.version + 1);
        let key = Key(Zeroizing::new(entropy::<KEY_BYTES>()?));
        let wrapped = ring.wrap(version, now, &key, &roots)?;
        ring.keys.push(wrapped);
        ring.write(now)?;
        Ok(version)
    }

    /// Wraps every version of every key with the newest root key; returns how many were wrapped
    /// with another one.
    pub fn rewrap(&self, now: Timestamp) -> Result<usize, Error> {
        let _held = self.hold()?;
        let mut rings = self.rings()?;
        if rings.is_empty() {
            return Ok(0);
        }
        let roots = self.needed_roots()?;
        let mut count = 0;
        for ring in &mut rings {
            let mut keys = Vec::with_capacity(ring.keys.len());
            for held in &ring.keys {
                if held.root == *roots.newest().0 {
                    keys.push(held.clone());
                    continue;
                }
                let key = ring.unwrap(held, &roots)?;
                keys.push(ring.wrap(held.version, held.made_at, &key, &roots)?);
                count += 1;
            }
            ring.keys = keys;
            ring.write(now)?;
        }
        Ok(count)
    }

    /// Makes a new root key in front of those in the file, and wraps every key with it; returns how
    /// many.
    pub fn rotate_root(&self, now: Timestamp) -> Result<usize, Error> {
        // Whoever cannot read what is there must not put another key in front.
        self.check()?;
        self.root.add(&self.data)?;
        self.rewrap(now)
    }

    /// Seals bytes with the newest version of the tenant's key, which is made when there is none.
    ///
    /// The caller holds [`Keys::hold`].
    pub(crate) fn seal(
        &self,
        ctx: &TenantCtx,
        bound: Bound<'_>,
        plain: &[u8],
        now: Timestamp,
    ) -> Result<Sealed, Error> {
        self.make(ctx.tenant(), now)?;
        self.seal_of(ctx.tenant(), bound, plain)
    }

    /// Says whether a tenant has all of its instances sealed, also those that are about nobody.
    pub fn seals_all(&self, ctx: &TenantCtx) -> Result<bool, Error> {
        Ok(self.ring(ctx.tenant())?.is_some_and(|it| it.seals_all))
    }

    /// Says whether documents of a tenant may rest sealed: what is kept of them elsewhere must not
    /// stand in the open. Asks for no root key.
    pub(crate) fn has_sealed_all(&self, tenant: TenantId) -> Result<bool, Error> {
        Ok(self.ring(tenant)?.is_some_and(|it| it.has_sealed_all || it.seals_all))
    }

    /// Has all instances of a tenant sealed that begin from now on, and its documents, or no
    /// longer.
    pub fn set_seals_all(
        &self,
        ctx: &TenantCtx,
        is_all: bool,
        now: Timestamp,
    ) -> Result<(), Error> {
        let _held = self.hold()?;
        if is_all {
            self.make(ctx.tenant(), now)?;
        }
        match self.ring(ctx.tenant())? {
            Some(mut ring) if ring.seals_all != is_all => {
                ring.has_sealed_all |= ring.seals_all | is_all;
                ring.seals_all = is_all;
                ring.write(now)
            }
            _ => Ok(()),
        }
    }

    /// Makes the first version of a tenant's key, unless there is one.
    fn make(&self, tenant: TenantId, now: Timestamp) -> Result<(), Error> {
        match self.ring(tenant)? {
            Some(_) => Ok(()),
            None => self.add_version_of(tenant, now).map(drop),
        }
    }

    fn seal_of(&self, tenant: TenantId, bound: Bound<'_>, plain: &[u8]) -> Result<Sealed, Error> {
        let ring = self.needed_ring(tenant)?;
        let Some(newest) = ring.keys.last() else {
            return Err(ring.damaged("it holds no key"));
        };
        let key = ring.unwrap(newest, &self.needed_roots()?)?;
        let nonce = entropy::<NONCE_BYTES>()?;
        let sealed = seal::seal(&key, &nonce, bound, plain)
            .ok_or_else(|| Error::Refused("it is too long to be sealed".into()))?;
        Ok(Sealed { key: newest.version, nonce: hex(&nonce), sealed: hex(&sealed) })
    }

    /// Opens what was sealed; `path` is where it stands, for the error.
    pub(crate) fn open(
        &self,
        ctx: &TenantCtx,
        bound: Bound<'_>,
        sealed: &Sealed,
        path: &Path,
    ) -> Result<Zeroizing<Vec<u8>>, Error> {
        self.open_of(ctx.tenant(), bound, sealed, path)
    }

    fn open_of(
        &self,
        tenant: TenantId,
        bound: Bound<'_>,
        sealed: &Sealed,
        path: &Path,
    ) -> Result<Zeroizing<Vec<u8>>, Error> {
        let damaged = |why: &str| damaged(path, why);
        let ring = self.needed_ring(tenant)?;
        let Some(held) = ring.keys.iter().find(|it| it.version == sealed.key) else {
            return Err(damaged("it is sealed with a version of the key that is not there"));
        };
        let key = ring.unwrap(held, &self.needed_roots()?)?;
        let mut nonce = [0; NONCE_BYTES];
        let bytes = unhex(&sealed.sealed).filter(|_| unhex_into(&sealed.nonce, &mut nonce));
        let bytes = bytes.ok_or_else(|| damaged("it is not written in hexadecimal digits"))?;
        seal::open(&key, &nonce, bound, &bytes).ok_or_else(|| {
            damaged("it does not open with its key, or was sealed for another place")
        })
    }

    /// Reads the root keys of a directory that has keys.
    fn needed_roots(&self) -> Result<RootKeys, Error> {
        self.roots()?.ok_or_else(|| {
            let data = self.data.display();
            let why = format!("{} is not there, and the keys of `{data}` need it", self.root);
            Error::RootMissing(why)
        })
    }

    /// Refuses to go on without the keys of a tenant, of whom something is sealed already.
    pub(crate) fn require(&self, ctx: &TenantCtx) -> Result<(), Error> {
        self.needed_ring(ctx.tenant()).map(drop)
    }

    fn needed_ring(&self, tenant: TenantId) -> Result<Ring, Error> {
        let path = self.path(tenant);
        self.ring(tenant)?.ok_or_else(|| damaged(&path, "it is not there"))
    }

    /// Returns the first version of a tenant's key, which is never taken out.
    fn first(&self, tenant: TenantId) -> Result<Key, Error> {
        self.first_of(&self.needed_ring(tenant)?)
    }

    fn first_of(&self, ring: &Ring) -> Result<Key, Error> {
        match ring.keys.first() {
            Some(first) => ring.unwrap(first, &self.needed_roots()?),
            None => Err(ring.damaged("it holds no key")),
        }
    }

    fn path(&self, tenant: TenantId) -> PathBuf {
        self.dir().join(format!("{tenant}.json"))
    }

    fn ring(&self, tenant: TenantId) -> Result<Option<Ring>, Error> {
        let path = self.path(tenant);
        let Some(envelope) = read_envelope(&path, KIND, tenant, &tenant.to_string())? else {
            return Ok(None);
        };
        let body: Body = serde_json::from_slice(&envelope.body)
            .map_err(|error| damaged(&path, &error.to_string()))?;
        let Envelope { version, unknown, .. } = envelope;
        let Body { keys, seals_all, has_sealed_all } = body;
        let ring = Ring { path, tenant, version, unknown, keys, seals_all, has_sealed_all };
        let is_dense = (1..).zip(&ring.keys).all(|(number, it)| it.version == number);
        match is_dense && !ring.keys.is_empty() {
            true => Ok(Some(ring)),
            false => Err(ring.damaged("versions are missing")),
        }
    }

    fn rings(&self) -> Result<Vec<Ring>, Error> {
        let dir = self.dir();
        let mut rings = BTreeMap::new();
        for name in list_dir(&dir)? {
            let tenant = name.strip_suffix(".json").and_then(|it| it.parse().ok()).map(TenantId);
            if let Some(tenant) = tenant
                && let Some(ring) = self.ring(tenant)?
            {
                rings.insert(tenant, ring);
            }
        }
        Ok(rings.into_values().collect())
    }
}

impl Ring {
    fn new(path: PathBuf, tenant: TenantId) -> Ring {
        let (unknown, keys) = (Vec::new(), Vec::new());
        let (seals_all, has_sealed_all) = (false, false);
        Ring { path, tenant, version: 0, unknown, keys, seals_all, has_sealed_all }
    }

    fn damaged(&self, why: &str) -> Error {
        damaged(&self.path, why)
    }

    fn infos(&self) -> impl Iterator<Item = KeyInfo> {
        let newest = self.keys.last().map(|it| it.version);
        self.keys.iter().map(move |it| KeyInfo {
            tenant: self.tenant,
            version: it.version,
            made_at: it.made_at,
            root: it.root.clone(),
            is_newest: Some(it.version) == newest,
        })
    }

    fn bound<'a>(&self, root: &'a str, version: u64) -> Bound<'a> {
        Bound { tenant: self.tenant, kind: KIND, id: root, version }
    }

    fn wrap(
        &self,
        version: u64,
        made_at: Timestamp,
        key: &Key,
        roots: &RootKeys,
    ) -> Result<Wrapped, Error> {
        let (root, root_key) = roots.newest();
        let nonce = entropy::<NONCE_BYTES>()?;
        let name = root.to_string();
        let wrapped = seal::seal(root_key, &nonce, self.bound(&name, version), &*key.0)
            .ok_or_else(|| self.damaged("a key cannot be wrapped"))?;
        let (nonce, wrapped) = (hex(&nonce), hex(&wrapped));
        Ok(Wrapped { version, made_at, root: root.clone(), nonce, wrapped })
    }

    fn unwrap(&self, held: &Wrapped, roots: &RootKeys) -> Result<Key, Error> {
        let Some(root) = roots.find(&held.root) else {
            let known: Vec<String> = roots.ids().map(|it| format!("`{it}`")).collect();
            let why = format!(
                "`{}` is wrapped with `{}`, and at hand is {}",
                self.path.display(),
                held.root,
                known.join(", ")
            );
            return Err(Error::RootMissing(why));
        };
        let mut nonce = [0; NONCE_BYTES];
        let bytes = unhex(&held.wrapped).filter(|_| unhex_into(&held.nonce, &mut nonce));
        let bytes = bytes.ok_or_else(|| self.damaged("a key is not hexadecimal digits"))?;
        let name = held.root.to_string();
        let opened = seal::open(root, &nonce, self.bound(&name, held.version), &bytes);
        let key = opened.and_then(|it| Key::read(&it));
        key.ok_or_else(|| self.damaged("a key does not open with its root key"))
    }

    fn write(&mut self, now: Timestamp) -> Result<(), Error> {
        self.version += 1;
        let Ring { seals_all, has_sealed_all, .. } = *self;
        let body = serde_json::to_vec(&Body { keys: self.keys.clone(), seals_all, has_sealed_all })
            .map_err(|error| self.damaged(&error.to_string()))?;
        let envelope = Envelope {
            kind: KIND.into(),
            tenant: Some(self.tenant),
            id: self.tenant.to_string(),
            version: self.version,
            // No record stands behind it.
            seq: 0,
            updated_at: Some(now),
            unknown: self.unknown.clone(),
            body,
        };
        write_envelope(&self.path, &envelope)
    }
}

/// Names the root keys that wrap the keys in a file; nothing when it cannot be read.
pub(crate) fn roots_of(bytes: &[u8]) -> Vec<RootId> {
    let body = Envelope::read(bytes).ok().filter(|it| it.kind == KIND).map(|it| it.body);
    let body = body.and_then(|it| serde_json::from_slice::<Body>(&it).ok());
    body.into_iter().flat_map(|it| it.keys).map(|it| it.root).collect()
}

/// Says whether a path in a data directory holds keys.
pub(crate) fn is_key(path: &Path) -> bool {
    path.starts_with(Path::new(SYSTEM).join(KEYS))
}

/// Reads a document that must be of this kind, tenant and id; nothing when there is none.
pub(crate) fn read_envelope(
    path: &Path,
    kind: &str,
    tenant: TenantId,
    id: &str,
) -> Result<Option<Envelope>, Error> {
    let bytes = match std::fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(io_error("read", path, error).into()),
    };
    let envelope = match Envelope::read(&bytes) {
        Ok(envelope) => envelope,
        Err(Wrong::Damaged(why)) => return Err(damaged(path, &why)),
        Err(Wrong::Newer(found)) => {
            let (found, known) = (found as u32, envelope::FORMAT as u32);
            let path = path.display().to_string();
            return Err(LogError::Newer { path, found, known }.into());
        }
    };
    let is_it = envelope.kind == kind && envelope.tenant == Some(tenant) && envelope.id == id;
    match is_it {
        true => Ok(Some(envelope)),
        false => Err(damaged(path, "it is the file of something else")),
    }
}

/// Writes a document durably in the place of the one before.
pub(crate) fn write_envelope(path: &Path, envelope: &Envelope) -> Result<(), Error> {
    let dir = path.parent().unwrap_or(Path::new("."));
    make_dir(dir)?;
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    write_atomically(&OsDisk, dir, &name, &[&envelope.write()])
        .map_err(|error| io_error("write", path, error.into_io()).into())
}

/// Returns the names in a directory; none when it is not there.
pub(crate) fn list_dir(dir: &Path) -> Result<Vec<String>, Error> {
    files::list(&OsDisk, dir).map_err(|error| io_error("list", dir, error).into())
}

pub(crate) fn damaged(path: &Path, why: &str) -> Error {
    Error::Damaged { path: path.display().to_string(), why: why.into() }
}

/// Returns bytes that nobody can foretell.
pub(crate) fn entropy<const N: usize>() -> Result<[u8; N], Error> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|error| Error::Entropy(error.to_string()))?;
    Ok(bytes)
}

/// Waits for a lock file and holds it until the returned file is dropped.
fn hold(path: &Path) -> Result<File, Error> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false).mode(0o600);
    let file = options.open(path).map_err(|error| io_error("open", path, error))?;
    rustix::fs::flock(&file, FlockOperation::LockExclusive)
        .map_err(|error| io_error("lock", path, error.into()))?;
    Ok(file)
}
