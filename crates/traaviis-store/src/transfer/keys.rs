//! Keys, secrets and people of a tenant, on their way from one installation into another.
//!
//! Invariant: what comes is opened and compared in a directory of its own, under a root key of its
//! own, before anything of it is put under the root key of this installation.

use std::{fs, path::Path};

use serde_json::Value as Json;
use traaviis_model::{TenantCtx, Timestamp};

use super::{Error, Lock, Locked, Manifest, Opener, failed};
use crate::{
    files::make_dir,
    keys::{
        self, Keys,
        moving::{OpenKey, check_file},
        root::RootSource,
        subject::Subjects,
    },
    secrets::LocalSecrets,
};

/// Lays the keys of a tenant and its secrets into the folder of an export, with what is known of
/// its people, which only those read for whom it is locked; returns who that is.
pub fn take_out(
    ctx: &TenantCtx,
    subjects: &Subjects,
    people: Json,
    lock: &Lock,
    folder: &Path,
) -> Result<Vec<String>, Error> {
    let keys = subjects.keys();
    let open = keys.opened(ctx)?;
    if !open.is_empty() {
        // So that no key is changed before all are copied that it seals.
        let _held = keys.hold()?;
        let secrets = LocalSecrets::new(keys.clone());
        for file in subjects.files(ctx)?.into_iter().chain(secrets.files(ctx)?) {
            let (from, to) = (keys.data().join(&file), folder.join(&file));
            to.parent().map_or(Ok(()), make_dir)?;
            fs::copy(&from, &to).map_err(failed("copy", &from))?;
        }
        let (keys, seals_all) = (keys.opened(ctx)?, keys.seals_all(ctx)?);
        lock.write(&Locked { keys, seals_all, people }, folder)?;
    } else {
        lock.write(&Locked { people, ..Locked::default() }, folder)?;
    }
    Ok(lock.names())
}

/// Keys that come with an export, opened.
#[derive(Debug)]
pub struct Coming {
    keys: Vec<OpenKey>,
    seals_all: bool,
    people: Json,
    subjects: Subjects,
    secrets: LocalSecrets,
}

impl Coming {
    /// Opens the keys of an unpacked export and reads everything that they seal; none when there
    /// are none in it.
    pub fn open(
        manifest: &Manifest,
        ctx: &TenantCtx,
        folder: &Path,
        opener: &Opener,
    ) -> Result<Option<Coming>, Error> {
        if !manifest.has_keys() {
            return Ok(None);
        }
        let Locked { keys: open, seals_all, people } = opener.open(folder, &manifest.locked_for)?;
        let keys = Keys::new(folder, RootSource::passing()?);
        keys.take_in(ctx, (&open, seals_all), manifest.created_at)?;
        let subjects = Subjects::new(keys.clone());
        let secrets = LocalSecrets::new(keys);
        let damaged = |error: keys::Error| Error::Damaged {
            file: folder.display().to_string(),
            why: error.to_string(),
        };
        check_file(&subjects, ctx).map_err(damaged)?;
        if let Some((name, error)) = secrets.check(ctx)?.into_iter().next() {
            let why = format!("secret `{name}`: {error}");
            return Err(Error::Damaged { file: folder.display().to_string(), why });
        }
        Ok(Some(Coming { keys: open, seals_all, people, subjects, secrets }))
    }

    /// Returns what is known of its people.
    pub fn people(&self) -> &Json {
        &self.people
    }

    /// Returns the keys of its people.
    pub fn subjects(&self) -> &Subjects {
        &self.subjects
    }

    /// Says what of the keys is another one in the data directory of `to`.
    pub fn collisions(&self, ctx: &TenantCtx, to: &Subjects) -> Result<Vec<String>, Error> {
        if to.keys().differ(ctx, &self.keys)? {
            let tenant = ctx.tenant();
            let why = format!("tenant `{tenant}` has a key of its own there, which is another one");
            return Ok(vec![why]);
        }
        let differing = to.differing(ctx, &self.subjects)?;
        let told = |name| format!("key `{name}` of a person is another one there");
        Ok(differing.into_iter().map(told).collect())
    }

    /// Takes keys and secrets into the data directory of `to`. What is there stays, and who was
    /// erased on either side stays erased.
    pub fn take_in(&self, ctx: &TenantCtx, to: &Subjects, now: Timestamp) -> Result<usize, Error> {
        to.keys().take_in(ctx, (&self.keys, self.seals_all), now)?;
        to.take_in(ctx, &self.subjects, now)?;
        Ok(LocalSecrets::new(to.keys().clone()).take_in(ctx, &self.secrets)?)
    }
}
