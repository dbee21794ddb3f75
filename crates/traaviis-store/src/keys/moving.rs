//! Keys of a tenant that moves to another installation.
//!
//! The versions of the tenant's key are wrapped by the root key, which stays; they go along in the
//! open, inside something that is sealed for who takes them in. The keys of its people are sealed
//! with the tenant's key, so their files go along as they are, and so does what says which of them
//! were destroyed.
//!
//! Invariant: what was destroyed on either side is destroyed where both meet.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use traaviis_model::{TenantCtx, Timestamp};
use zeroize::{Zeroize as _, Zeroizing};

use super::{
    Error, KEY_BYTES, KEYS, Key, Keys, Ring, SYSTEM, damaged, list_dir,
    subject::{Body, Destroyed, Held, SubjectName, Subjects, Wrapped, overwrite},
};
use crate::{
    error::io_error,
    files::{hex, unhex_into},
};

/// One version of a tenant's key in the open; its memory is overwritten when it is dropped.
#[derive(Serialize, Deserialize)]
pub struct OpenKey {
    version: u64,
    made_at: Timestamp,
    key: String,
}

impl Drop for OpenKey {
    fn drop(&mut self) {
        self.key.zeroize();
    }
}

impl std::fmt::Debug for OpenKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OpenKey").field("version", &self.version).finish_non_exhaustive()
    }
}

impl OpenKey {
    fn read(&self) -> Result<Key, Error> {
        let mut bytes = Zeroizing::new([0; KEY_BYTES]);
        match unhex_into(&self.key, &mut *bytes) {
            true => Ok(Key(bytes)),
            false => Err(Error::Refused("a key that comes is no key".into())),
        }
    }
}

impl Keys {
    /// Returns all versions of a tenant's key in the open, for something that is sealed at once;
    /// none when it has no key.
    pub(crate) fn opened(&self, ctx: &TenantCtx) -> Result<Vec<OpenKey>, Error> {
        let Some(ring) = self.ring(ctx.tenant())? else { return Ok(Vec::new()) };
        let roots = self.needed_roots()?;
        let open = |held: &super::Wrapped| {
            let key = ring.unwrap(held, &roots)?;
            Ok(OpenKey { version: held.version, made_at: held.made_at, key: hex(&*key.0) })
        };
        ring.keys.iter().map(open).collect()
    }

    /// Says whether keys that come are other ones than those that are here.
    pub(crate) fn differ(&self, ctx: &TenantCtx, keys: &[OpenKey]) -> Result<bool, Error> {
        let Some(ring) = self.ring(ctx.tenant())? else { return Ok(false) };
        let roots = self.needed_roots()?;
        for (held, comes) in ring.keys.iter().zip(keys) {
            if ring.unwrap(held, &roots)? != comes.read()? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Wraps the versions of a tenant's key that are not here with the root key of this
    /// installation, which is made when there is none.
    pub(crate) fn take_in(
        &self,
        ctx: &TenantCtx,
        (keys, seals_all): (&[OpenKey], bool),
        now: Timestamp,
    ) -> Result<(), Error> {
        let _held = self.hold()?;
        let tenant = ctx.tenant();
        let mut ring = match self.ring(tenant)? {
            Some(ring) => ring,
            None => Ring::new(self.path(tenant), tenant),
        };
        if ring.keys.len() >= keys.len() {
            return Ok(());
        }
        // What its owner has said here stays.
        ring.seals_all |= ring.keys.is_empty() && seals_all;
        let roots = match self.rings()?.is_empty() {
            true => self.root.read_or_make(&self.data)?,
            false => self.needed_roots()?,
        };
        for comes in &keys[ring.keys.len()..] {
            if comes.version != ring.keys.len() as u64 + 1 {
                return Err(Error::Refused("versions of the keys that come are missing".into()));
            }
            let wrapped = ring.wrap(comes.version, comes.made_at, &comes.read()?, &roots)?;
            ring.keys.push(wrapped);
        }
        ring.write(now)
    }
}

impl Subjects {
    /// Returns the files of the keys of the people of a tenant, below the data directory.
    pub(crate) fn files(&self, ctx: &TenantCtx) -> Result<Vec<PathBuf>, Error> {
        let tenant = ctx.tenant().to_string();
        let dir = self.keys().dir().join(&tenant);
        let mut files = Vec::new();
        for part in list_dir(&dir)? {
            let names = list_dir(&dir.join(&part))?;
            let names = names.iter().filter(|it| it.ends_with(".json"));
            files.extend(
                names.map(|it| [SYSTEM, KEYS, &tenant, &part, it].iter().collect::<PathBuf>()),
            );
        }
        Ok(files)
    }

    fn names(&self, ctx: &TenantCtx) -> Result<Vec<SubjectName>, Error> {
        let files = self.files(ctx)?;
        let name = |it: &PathBuf| it.file_stem()?.to_str()?.parse().ok();
        Ok(files.iter().filter_map(name).collect())
    }

    /// Names the people whose key is another one here and in a directory that comes, under the same
    /// key of the tenant.
    pub(crate) fn differing(
        &self,
        ctx: &TenantCtx,
        comes: &Subjects,
    ) -> Result<Vec<SubjectName>, Error> {
        let mut all = Vec::new();
        for name in comes.names(ctx)? {
            let (here, there) = (self.held(ctx.tenant(), name)?, comes.held(ctx.tenant(), name)?);
            let (Some(here), Some(there)) = (here, there) else { continue };
            let key = |of: &Subjects, held: &Held| Ok::<_, Error>(of.remember(held)?.key);
            let (here, there) = (key(self, &here)?, key(comes, &there)?);
            if let (Some(here), Some(there)) = (here, there)
                && here.0 == there.0
                && here.1 != there.1
            {
                all.push(name);
            }
        }
        Ok(all)
    }

    /// Takes in the keys of the people of a tenant from a directory that comes; returns how many
    /// are new or were changed.
    pub(crate) fn take_in(
        &self,
        ctx: &TenantCtx,
        comes: &Subjects,
        now: Timestamp,
    ) -> Result<usize, Error> {
        let _held = self.keys().hold()?;
        let (tenant, mut count) = (ctx.tenant(), 0);
        for name in comes.names(ctx)? {
            let Some(there) = comes.held(tenant, name)? else { continue };
            let here = self.held(tenant, name)?;
            let merged = merge(here.as_ref().map(|it| &it.body), &there.body);
            if here.as_ref().is_some_and(|it| it.body == merged) {
                continue;
            }
            count += 1;
            let is_destroyed = here.as_ref().is_some_and(|it| it.body.key != merged.key);
            let mut held = here.unwrap_or_else(|| self.new_of(tenant, name));
            held.body = merged;
            self.forget(tenant, name);
            // As an erasure does: a key that is destroyed leaves no bytes in the file before.
            let before = match is_destroyed {
                true => Some(std::fs::File::options().write(true).open(&held.path)),
                false => None,
            };
            held.write(now)?;
            let overwritten = before.map_or(Ok(()), |it| it.and_then(|it| overwrite(&it)));
            overwritten.map_err(|error| io_error("overwrite", &held.path, error))?;
        }
        Ok(count)
    }
}

/// Returns what both sides know of the key of a person.
fn merge(here: Option<&Body>, there: &Body) -> Body {
    let mut destroyed: Vec<Destroyed> = there.destroyed.clone();
    let ours = here.map(|it| it.destroyed.as_slice()).unwrap_or_default();
    for it in ours {
        if !destroyed.iter().any(|other| other.version == it.version) {
            destroyed.push(*it);
        }
    }
    destroyed.sort_by_key(|it| it.version);
    let is_left = |it: &&Wrapped| !destroyed.iter().any(|gone| gone.version == it.version);
    // What is here stays, unless what comes has gone on.
    let keys = [here.and_then(|it| it.key.as_ref()), there.key.as_ref()];
    let keys = keys.into_iter().flatten().filter(is_left);
    let key = keys.reduce(|a, b| if b.version > a.version { b } else { a }).cloned();
    Body { key, destroyed }
}

/// Checks that a file that comes is one of the keys of this tenant's people.
pub(crate) fn check_file(comes: &Subjects, ctx: &TenantCtx) -> Result<(), Error> {
    for file in comes.files(ctx)? {
        let name = file.file_stem().and_then(|it| it.to_str()?.parse().ok());
        let name = name.ok_or_else(|| damaged(&file, "it is named like no key of a person"))?;
        if let Some(held) = comes.held(ctx.tenant(), name)? {
            comes.remember(&held)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::root::RootSource;

    const NOW: Timestamp = Timestamp(5);

    fn subjects(dir: &std::path::Path, root: char) -> Subjects {
        let rest = "0102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";
        let root = format!("{root}{root}{rest}");
        Subjects::new(Keys::new(dir, RootSource::Given(root.into())))
    }

    /// Makes a directory of the keys of `from` as they come in an export.
    fn export(from: &Subjects, ctx: &TenantCtx, dir: &std::path::Path) -> Subjects {
        let comes = subjects(dir, 'c');
        let open = from.keys().opened(ctx).unwrap();
        comes.keys().take_in(ctx, (&open, false), NOW).unwrap();
        for file in from.files(ctx).unwrap() {
            std::fs::create_dir_all(dir.join(&file).parent().unwrap()).unwrap();
            std::fs::copy(from.keys().data().join(&file), dir.join(&file)).unwrap();
        }
        comes
    }

    #[test]
    fn keys_come_under_another_root_and_open_the_same() {
        let dirs = [(); 3].map(|()| tempfile::tempdir().unwrap());
        let (ctx, from) = (TenantCtx::for_test(1), subjects(dirs[0].path(), 'a'));
        let (anna, version, key) = from.in_use(ctx.tenant(), "anna", NOW).unwrap();
        from.keys().add_version(&ctx, NOW).unwrap();
        let comes = export(&from, &ctx, dirs[1].path());
        check_file(&comes, &ctx).unwrap();
        let to = subjects(dirs[2].path(), 'b');
        let take = || {
            let keys = from.keys().opened(&ctx).unwrap();
            assert!(!to.keys().differ(&ctx, &keys).unwrap());
            to.keys().take_in(&ctx, (&keys, true), NOW).unwrap();
            assert!(to.keys().seals_all(&ctx).unwrap());
            assert!(to.differing(&ctx, &comes).unwrap().is_empty());
            to.take_in(&ctx, &comes, NOW).unwrap()
        };
        assert_eq!((take(), take()), (1, 0), "again changes nothing");
        assert!(to.in_use(ctx.tenant(), "anna", NOW).unwrap() == (anna, version, key));
        let text = std::fs::read_to_string(to.keys().path(ctx.tenant())).unwrap();
        let root = |it: &Subjects| it.keys().roots().unwrap().unwrap().newest().0.to_string();
        assert!(text.contains(&root(&to)) && !text.contains(&root(&from)), "{text}");
        // A key made there by itself is another one.
        let other = subjects(tempfile::tempdir().unwrap().path(), 'd');
        other.in_use(ctx.tenant(), "anna", NOW).unwrap();
        assert!(other.keys().differ(&ctx, &from.keys().opened(&ctx).unwrap()).unwrap());
    }

    #[test]
    fn who_is_erased_on_either_side_stays_erased() {
        for erased_there in [true, false] {
            let dirs = [(); 4].map(|()| tempfile::tempdir().unwrap());
            let (ctx, from) = (TenantCtx::for_test(1), subjects(dirs[0].path(), 'a'));
            let tenant = ctx.tenant();
            let (_, version, _) = from.in_use(tenant, "anna", NOW).unwrap();
            let comes = export(&from, &ctx, dirs[1].path());
            let to = subjects(dirs[2].path(), 'b');
            let keys = from.keys().opened(&ctx).unwrap();
            to.keys().take_in(&ctx, (&keys, false), NOW).unwrap();
            to.take_in(&ctx, &comes, NOW).unwrap();
            let side = if erased_there { &from } else { &to };
            side.erase(tenant, "anna", NOW).unwrap().unwrap();
            let comes = export(&from, &ctx, dirs[3].path());
            to.take_in(&ctx, &comes, NOW).unwrap();
            let status = to.status(tenant, "anna").unwrap().unwrap();
            assert_eq!(status.destroyed, [Destroyed { version, at: NOW }], "{erased_there}");
            let (_, next, _) = to.in_use(tenant, "anna", NOW).unwrap();
            assert_eq!(next, version + 1, "{erased_there}");
        }
    }
}
