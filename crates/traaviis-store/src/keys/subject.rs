//! Keys of data subjects: one for each person of a tenant, destroyed when the person is erased.
//!
//! ```text
//! DATA/system/keys/{tenant}/{first 2}/{name}.json   sealed with the tenant's key
//! ```
//!
//! The name is a keyed hash of what the caller names the person by, so that it tells nothing: not
//! by itself, and not after the person is erased. A file holds the key in use, and which versions
//! were destroyed and when. A person who comes back gets another version.
//!
//! Keys are remembered, up to a limit, because every step of an instance needs one; what a process
//! destroys it forgets first.
//!
//! Invariants: a key is durable before anything is sealed with it; a version that was destroyed is
//! never made again; a key that is missing and not destroyed is an error and never looks like one
//! that is.

use std::{
    collections::HashMap,
    fmt,
    fs::File,
    io::{self, Seek as _, Write as _},
    path::PathBuf,
    str::FromStr,
    sync::{Mutex, MutexGuard, PoisonError},
};

use serde::{Deserialize, Serialize};
use traaviis_model::{TenantId, Text, Timestamp, limits::SUBJECT_KEYS_HELD_MAX};
use zeroize::Zeroizing;

use super::{
    Error, Keys, Sealed, damaged, entropy, list_dir, read_envelope,
    seal::{self, Bound, KEY_BYTES, Key, NONCE_BYTES, keyed_hash},
    write_envelope,
};
use crate::{
    disk::OsDisk,
    error::io_error,
    files::{hex, list, unhex_into},
    tree::envelope::Envelope,
};

/// Kind of the document with the key of a subject, and of a wrapped key.
const KIND: &str = "subject";
/// What the keyed hash of a subject is for.
const PURPOSE: &[u8] = b"traaviis/1 subject";

/// Names the key of a subject without telling who that is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SubjectName([u8; 16]);

impl fmt::Display for SubjectName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex(&self.0))
    }
}

impl FromStr for SubjectName {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let mut bytes = [0; 16];
        unhex_into(text, &mut bytes).then_some(SubjectName(bytes)).ok_or(())
    }
}

/// The key of a subject, as it stands in its document.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Wrapped {
    pub version: u64,
    #[serde(flatten)]
    sealed: Sealed,
}

/// A version that was destroyed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Destroyed {
    /// Version.
    pub version: u64,
    /// When.
    pub at: Timestamp,
}

#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Body {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<Wrapped>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub destroyed: Vec<Destroyed>,
}

/// The document of a subject.
pub(super) struct Held {
    pub path: PathBuf,
    tenant: TenantId,
    name: SubjectName,
    /// How often it was written.
    version: u64,
    unknown: Vec<(String, String)>,
    pub body: Body,
}

/// What a process remembers of a subject.
#[derive(Clone)]
pub(super) struct Known {
    pub key: Option<(u64, Key)>,
    destroyed: Vec<u64>,
}

/// What became of the key of a subject.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Erased {
    /// Name of the key.
    pub name: SubjectName,
    /// The versions that were destroyed, the oldest first.
    pub destroyed: Vec<Destroyed>,
    /// One of them was destroyed now.
    pub is_new: bool,
}

/// What the keys of the people of a tenant are like.
#[derive(Debug, Default)]
pub struct Inspected {
    /// Keys that are in use and can be read.
    pub keys: usize,
    /// Versions that were destroyed, and of whose key.
    pub destroyed: Vec<(SubjectName, Destroyed)>,
    /// What is wrong with the others.
    pub wrong: Vec<Error>,
}

/// What is behind a seal.
pub(crate) enum Opened {
    Plain(Zeroizing<Vec<u8>>),
    /// Its key is destroyed.
    Erased,
}

/// The keys of the subjects under a data directory.
#[derive(Debug)]
pub struct Subjects {
    keys: Keys,
    memory: Mutex<Memory>,
}

#[derive(Default)]
struct Memory {
    names: HashMap<(TenantId, Text), SubjectName>,
    known: HashMap<(TenantId, SubjectName), Known>,
}

impl fmt::Debug for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Memory").field("keys", &self.known.len()).finish_non_exhaustive()
    }
}

impl Subjects {
    /// Returns the keys of subjects that these keys seal.
    pub fn new(keys: Keys) -> Subjects {
        Subjects { keys, memory: Mutex::default() }
    }

    /// Says whether something of a tenant is, or was, sealed for a person.
    pub fn any(&self, tenant: TenantId) -> Result<bool, Error> {
        let dir = self.keys.dir().join(tenant.to_string());
        let names = list(&OsDisk, &dir).map_err(|error| damaged(&dir, &error.to_string()))?;
        Ok(!names.is_empty())
    }

    /// Returns the name of the key of a subject; none when the tenant has no key, and so nothing
    /// sealed.
    pub fn find(&self, tenant: TenantId, subject: &str) -> Result<Option<SubjectName>, Error> {
        match self.keys.ring(tenant)? {
            Some(_) => self.name(tenant, subject).map(Some),
            None => Ok(None),
        }
    }

    fn name(&self, tenant: TenantId, subject: &str) -> Result<SubjectName, Error> {
        let place = (tenant, Text::from(subject));
        if let Some(name) = self.memory().names.get(&place) {
            return Ok(*name);
        }
        let first = self.keys.first(tenant)?;
        let mut name = [0; 16];
        let key = Zeroizing::new(keyed_hash(&first.0, &[PURPOSE]));
        name.copy_from_slice(&keyed_hash(&key, &[subject.as_bytes()])[..16]);
        let mut memory = self.memory();
        if memory.names.len() >= SUBJECT_KEYS_HELD_MAX {
            memory.names.clear();
        }
        memory.names.insert(place, SubjectName(name));
        Ok(SubjectName(name))
    }

    /// Returns the name and version of the key in use, and the key, which is made when there is
    /// none.
    pub(crate) fn in_use(
        &self,
        tenant: TenantId,
        subject: &str,
        now: Timestamp,
    ) -> Result<(SubjectName, u64, Key), Error> {
        let known = self.memory().names.get(&(tenant, subject.into())).copied();
        let known = known
            .and_then(|name| Some((name, self.memory().known.get(&(tenant, name))?.key.clone()?)));
        if let Some((name, (version, key))) = known {
            return Ok((name, version, key));
        }
        let _held = self.keys.hold()?;
        self.keys.make(tenant, now)?;
        let name = self.name(tenant, subject)?;
        let mut held = match self.held(tenant, name)? {
            Some(held) => held,
            None => self.new_of(tenant, name),
        };
        if held.body.key.is_none() {
            let version = held.body.destroyed.last().map_or(1, |it| it.version + 1);
            let key = Zeroizing::new(entropy::<KEY_BYTES>()?);
            let id = name.to_string();
            let bound = Bound { tenant, kind: KIND, id: &id, version };
            let sealed = self.keys.seal_of(tenant, bound, &*key)?;
            held.body.key = Some(Wrapped { version, sealed });
            held.write(now)?;
        }
        let known = self.remember(&held)?;
        match known.key {
            Some((version, key)) => Ok((name, version, key)),
            None => Err(damaged(&held.path, "it holds no key")),
        }
    }

    /// Opens what was sealed with a version of the key of a subject.
    pub(crate) fn open(
        &self,
        tenant: TenantId,
        (name, version): (SubjectName, u64),
        nonce: &[u8; NONCE_BYTES],
        bound: Bound<'_>,
        sealed: &[u8],
    ) -> Result<Opened, Error> {
        let known = self.memory().known.get(&(tenant, name)).cloned();
        let is_current = |it: &Known| {
            it.destroyed.contains(&version) || it.key.as_ref().is_some_and(|it| it.0 == version)
        };
        let known = match known.filter(is_current) {
            Some(known) => known,
            None => match self.held(tenant, name)? {
                Some(held) => self.remember(&held)?,
                None => return Err(damaged(&self.path(tenant, name), "it is not there")),
            },
        };
        if known.destroyed.contains(&version) {
            return Ok(Opened::Erased);
        }
        let key = known.key.filter(|it| it.0 == version).map(|it| it.1);
        let path = self.path(tenant, name);
        let key = key.ok_or_else(|| damaged(&path, "that version of the key is not there"))?;
        match seal::open(&key, nonce, bound, sealed) {
            Some(plain) => Ok(Opened::Plain(plain)),
            None => Err(damaged(&path, "something does not open with this key")),
        }
    }

    /// Destroys the key of a subject, durably; none when the subject never had one.
    pub fn erase(
        &self,
        tenant: TenantId,
        subject: &str,
        now: Timestamp,
    ) -> Result<Option<Erased>, Error> {
        let _held = self.keys.hold()?;
        match self.find(tenant, subject)? {
            Some(name) => self.erase_named(tenant, name, now),
            None => Ok(None),
        }
    }

    /// Destroys every key of a tenant, those of its people and its own; returns of how many people.
    /// What was sealed with them is read by nobody any more.
    pub fn erase_all(&self, tenant: TenantId, now: Timestamp) -> Result<usize, Error> {
        let _held = self.keys.hold()?;
        let dir = self.keys.dir().join(tenant.to_string());
        let mut count = 0;
        for part in list_dir(&dir)? {
            let files = list_dir(&dir.join(&part))?;
            for name in files.iter().filter_map(|it| it.strip_suffix(".json")?.parse().ok()) {
                let erased = self.erase_named(tenant, name, now)?;
                count += usize::from(erased.is_some_and(|it| it.is_new));
            }
        }
        self.keys.remove_ring(tenant)?;
        self.memory().names.retain(|it, _| it.0 != tenant);
        Ok(count)
    }

    /// Returns the keys that seal these.
    pub fn keys(&self) -> &Keys {
        &self.keys
    }

    fn erase_named(
        &self,
        tenant: TenantId,
        name: SubjectName,
        now: Timestamp,
    ) -> Result<Option<Erased>, Error> {
        let Some(mut held) = self.held(tenant, name)? else { return Ok(None) };
        let is_new = held.body.key.is_some();
        if let Some(Wrapped { version, .. }) = held.body.key.take() {
            held.body.destroyed.push(Destroyed { version, at: now });
            self.forget(tenant, name);
            // Held open, so that the file with the key can be overwritten once it has no name.
            let before = File::options().write(true).open(&held.path);
            held.write(now)?;
            before
                .and_then(|it| overwrite(&it))
                .map_err(|error| io_error("overwrite", &held.path, error))?;
        }
        self.forget(tenant, name);
        Ok(Some(Erased { name, destroyed: held.body.destroyed, is_new }))
    }

    /// Returns which versions of the key of a subject were destroyed; none when it never had one.
    pub fn status(&self, tenant: TenantId, subject: &str) -> Result<Option<Erased>, Error> {
        let Some(name) = self.find(tenant, subject)? else { return Ok(None) };
        let held = self.held(tenant, name)?;
        Ok(held.map(|it| Erased { name, destroyed: it.body.destroyed, is_new: false }))
    }

    /// Looks at every key of the people of a tenant.
    pub fn inspect(&self, tenant: TenantId) -> Result<Inspected, Error> {
        let dir = self.keys.dir().join(tenant.to_string());
        let mut found = Inspected::default();
        for part in list_dir(&dir)? {
            let mut files = list_dir(&dir.join(&part))?;
            files.sort();
            let names = files.iter().filter_map(|it| it.strip_suffix(".json")?.parse().ok());
            for name in names {
                match self.inspect_one(tenant, name) {
                    Ok(Some(held)) => {
                        found.keys += usize::from(held.body.key.is_some());
                        found.destroyed.extend(held.body.destroyed.iter().map(|it| (name, *it)));
                    }
                    Ok(None) => {}
                    Err(error) => found.wrong.push(error),
                }
            }
        }
        Ok(found)
    }

    /// Reads a key, and says no when one that was destroyed is there.
    fn inspect_one(&self, tenant: TenantId, name: SubjectName) -> Result<Option<Held>, Error> {
        let Some(held) = self.held(tenant, name)? else { return Ok(None) };
        self.remember(&held)?;
        let version = held.body.key.as_ref().map(|it| it.version);
        match held.body.destroyed.iter().any(|it| Some(it.version) == version) {
            true => Err(damaged(&held.path, "it holds a key that was destroyed")),
            false => Ok(Some(held)),
        }
    }

    pub(super) fn forget(&self, tenant: TenantId, name: SubjectName) {
        let mut memory = self.memory();
        memory.known.remove(&(tenant, name));
        memory.names.retain(|_, it| *it != name);
    }

    pub(super) fn remember(&self, held: &Held) -> Result<Known, Error> {
        let (tenant, name) = (held.tenant, held.name);
        let destroyed = held.body.destroyed.iter().map(|it| it.version).collect();
        let mut known = Known { key: None, destroyed };
        if let Some(wrapped) = &held.body.key {
            let id = name.to_string();
            let bound = Bound { tenant, kind: KIND, id: &id, version: wrapped.version };
            let opened = self.keys.open_of(tenant, bound, &wrapped.sealed, &held.path)?;
            let key = Key::read(&opened)
                .ok_or_else(|| damaged(&held.path, "the key has another length"))?;
            known.key = Some((wrapped.version, key));
        }
        let mut memory = self.memory();
        if memory.known.len() >= SUBJECT_KEYS_HELD_MAX {
            memory.known.clear();
        }
        memory.known.insert((tenant, name), known.clone());
        Ok(known)
    }

    fn path(&self, tenant: TenantId, name: SubjectName) -> PathBuf {
        let name = name.to_string();
        let dir = self.keys.dir().join(tenant.to_string()).join(&name[..2]);
        dir.join(format!("{name}.json"))
    }

    pub(super) fn new_of(&self, tenant: TenantId, name: SubjectName) -> Held {
        let (path, body) = (self.path(tenant, name), Body::default());
        Held { path, tenant, name, version: 0, unknown: Vec::new(), body }
    }

    pub(super) fn held(&self, tenant: TenantId, name: SubjectName) -> Result<Option<Held>, Error> {
        let path = self.path(tenant, name);
        let Some(envelope) = read_envelope(&path, KIND, tenant, &name.to_string())? else {
            return Ok(None);
        };
        let body = serde_json::from_slice(&envelope.body)
            .map_err(|error| damaged(&path, &error.to_string()))?;
        let Envelope { version, unknown, .. } = envelope;
        Ok(Some(Held { path, tenant, name, version, unknown, body }))
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        // What it guards is a cache; whatever a panic left in it is true.
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Held {
    pub(super) fn write(&mut self, now: Timestamp) -> Result<(), Error> {
        self.version += 1;
        let body = serde_json::to_vec(&self.body)
            .map_err(|error| damaged(&self.path, &error.to_string()))?;
        let envelope = Envelope {
            kind: KIND.into(),
            tenant: Some(self.tenant),
            id: self.name.to_string(),
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

/// Writes zeros over a file that has no name any more. What the disk below makes of that is its own
/// matter; the key in the file is wrapped all the same.
pub(super) fn overwrite(mut file: &File) -> io::Result<()> {
    let len = usize::try_from(file.metadata()?.len()).unwrap_or_default();
    file.rewind()?;
    file.write_all(&vec![0; len])?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use traaviis_model::TenantCtx;
    use traaviis_ports::vault::{Place, Unsealed, Vault};

    use super::*;
    use crate::keys::root::RootSource;

    const ONE: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";
    const NOW: Timestamp = Timestamp(1_000_000);

    fn tenant(number: u128) -> TenantId {
        TenantCtx::for_test(number).tenant()
    }

    fn subjects(dir: &std::path::Path) -> Subjects {
        Subjects::new(Keys::new(dir, RootSource::Given(ONE.to_owned().into())))
    }

    #[test]
    fn the_hash_is_the_one_of_the_standard() {
        // RFC 4231, test case 2 has a shorter key; zeros fill it up to the same block.
        let mut key = [0; 32];
        key[..4].copy_from_slice(b"Jefe");
        let expected = "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843";
        assert_eq!(hex(&keyed_hash(&key, &[b"what do ya want for nothing?"])), expected);
    }

    #[test]
    fn a_key_is_made_once_kept_wrapped_and_named_after_nobody() {
        let dir = tempfile::tempdir().unwrap();
        let (name, version, key) =
            subjects(dir.path()).in_use(tenant(1), "anna@example.org", NOW).unwrap();
        let again = subjects(dir.path()).in_use(tenant(1), "anna@example.org", NOW).unwrap();
        assert!(again == (name, version, key.clone()));
        let other = subjects(dir.path()).in_use(tenant(2), "anna@example.org", NOW).unwrap();
        assert!(other.0 != name && other.2 != key);
        let text = fs::read_to_string(subjects(dir.path()).path(tenant(1), name)).unwrap();
        assert!(!text.contains("anna") && !text.contains(&hex(&*key.0)), "{text}");
    }

    #[test]
    fn all_keys_of_a_tenant_go_at_once_and_those_of_others_stay() {
        let dir = tempfile::tempdir().unwrap();
        let vault = subjects(dir.path());
        let (here, there) = (TenantCtx::for_test(1), TenantCtx::for_test(2));
        let place = |subject| Place { subject, kind: "note", id: "7" };
        let seal = |ctx: &TenantCtx, who| vault.seal(ctx, place(who), b"secret", NOW).unwrap();
        let sealed = ["anna", "berta"].map(|who| (who, seal(&here, who)));
        let other = seal(&there, "anna");
        assert_eq!(vault.erase_all(here.tenant(), NOW).unwrap(), 2);
        assert_eq!(vault.erase_all(here.tenant(), NOW).unwrap(), 0, "again is no error");
        assert_eq!(vault.erase_all(tenant(3), NOW).unwrap(), 0, "nor is a tenant without keys");
        // Also for a process that has never seen them.
        for vault in [&vault, &subjects(dir.path())] {
            let open = |ctx: &TenantCtx, who, sealed: &str| {
                Vault::open(vault, ctx, place(who), sealed).unwrap()
            };
            for (who, sealed) in &sealed {
                assert!(matches!(open(&here, who, sealed), Unsealed::Erased), "{who}");
            }
            assert!(matches!(open(&there, "anna", &other), Unsealed::Plain(_)));
        }
        assert!(
            !vault.keys.path(here.tenant()).exists() && vault.keys.path(there.tenant()).exists()
        );
    }

    #[test]
    fn a_destroyed_key_is_gone_and_the_next_one_is_another() {
        let dir = tempfile::tempdir().unwrap();
        let subjects = subjects(dir.path());
        assert_eq!(subjects.erase(tenant(1), "anna", NOW).unwrap(), None);
        let (name, version, key) = subjects.in_use(tenant(1), "anna", NOW).unwrap();
        assert_eq!(subjects.erase(tenant(1), "berta", NOW).unwrap(), None);
        let erased = subjects.erase(tenant(1), "anna", NOW).unwrap().unwrap();
        let destroyed = vec![Destroyed { version, at: NOW }];
        assert_eq!(erased, Erased { name, destroyed: destroyed.clone(), is_new: true });
        let again = subjects.erase(tenant(1), "anna", Timestamp(7)).unwrap().unwrap();
        assert_eq!(again, Erased { name, destroyed, is_new: false });

        let bound = Bound { tenant: tenant(1), kind: "k", id: "i", version: 1 };
        let opened = subjects.open(tenant(1), (name, version), &[0; NONCE_BYTES], bound, b"x");
        assert!(matches!(opened, Ok(Opened::Erased)));
        let (_, next, new) = subjects.in_use(tenant(1), "anna", NOW).unwrap();
        assert!(next == version + 1 && new != key);
    }

    #[test]
    fn every_key_is_looked_at() {
        let dir = tempfile::tempdir().unwrap();
        let all = subjects(dir.path());
        let (anna, version, _) = all.in_use(tenant(1), "anna", NOW).unwrap();
        let (berta, ..) = all.in_use(tenant(1), "berta", NOW).unwrap();
        let before = fs::read(all.path(tenant(1), anna)).unwrap();
        all.erase(tenant(1), "anna", NOW).unwrap();
        let check = || {
            let found = subjects(dir.path()).inspect(tenant(1)).unwrap();
            let wrong = found.wrong.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
            (found.keys, found.destroyed, wrong)
        };
        let destroyed = vec![(anna, Destroyed { version, at: NOW })];
        assert_eq!(check(), (1, destroyed.clone(), String::new()));
        // A file from a backup brings back what was destroyed, and that looks like a key in use.
        fs::write(all.path(tenant(1), anna), before).unwrap();
        assert_eq!(check(), (2, Vec::new(), String::new()));
        fs::write(all.path(tenant(1), berta), b"{}").unwrap();
        let (keys, _, wrong) = check();
        assert!(keys == 1 && wrong.contains(&berta.to_string()), "{wrong}");
    }

    #[test]
    fn a_key_that_is_lost_is_no_erasure() {
        let dir = tempfile::tempdir().unwrap();
        let (name, version, _) = subjects(dir.path()).in_use(tenant(1), "anna", NOW).unwrap();
        let subjects = subjects(dir.path());
        let open = || {
            let bound = Bound { tenant: tenant(1), kind: "k", id: "i", version: 1 };
            let opened = subjects.open(tenant(1), (name, version), &[0; NONCE_BYTES], bound, b"x");
            opened.err().unwrap()
        };
        fs::remove_file(subjects.path(tenant(1), name)).unwrap();
        assert!(matches!(open(), Error::Damaged { .. }), "{:?}", open());
    }
}
