//! What a backup writes, encrypted: files in the format of `age`, which its own tools open as well.
//!
//! A backup is made for recipients, who are public, and opened with an identity, which stays with
//! the operator. Whoever makes backups can therefore not read them.

use std::{fmt, fs, io, path::Path, str::FromStr};

use age::{Decryptor, Encryptor, Identity, IdentityFile, Recipient, stream::StreamWriter, x25519};

use super::{Error, Manifest};

/// Those for whom a backup is encrypted; for nobody, it is in the open.
#[derive(Clone, Default)]
pub struct Recipients(Vec<x25519::Recipient>);

impl Recipients {
    /// Reads recipients, each `age1...`; the same ones in another order are the same.
    pub fn read(names: &[String]) -> Result<Recipients, String> {
        let mut all = Vec::new();
        for name in names {
            let read = x25519::Recipient::from_str(name.trim());
            all.push(read.map_err(|why| format!("`{name}` is no recipient of age: {why}"))?);
        }
        all.sort_by_cached_key(x25519::Recipient::to_string);
        all.dedup();
        Ok(Recipients(all))
    }

    /// Says whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns them as people write them.
    pub fn names(&self) -> Vec<String> {
        self.0.iter().map(x25519::Recipient::to_string).collect()
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = &x25519::Recipient> {
        self.0.iter()
    }

    /// Returns a writer that encrypts; what it writes is whole once it is finished.
    pub(super) fn seal<W: io::Write>(&self, to: W) -> io::Result<StreamWriter<W>> {
        let recipients = self.0.iter().map(|it| it as &dyn Recipient);
        Encryptor::with_recipients(recipients).map_err(io::Error::other)?.wrap_output(to)
    }
}

impl fmt::Debug for Recipients {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.names()).finish()
    }
}

/// What opens encrypted backups; may be nothing.
#[derive(Default)]
pub struct Identities(Vec<Box<dyn Identity + Send + Sync>>);

impl Identities {
    /// Reads files of identities, as `age-keygen` writes them.
    pub fn read(paths: &[impl AsRef<Path>]) -> Result<Identities, String> {
        let mut all = Vec::new();
        for path in paths {
            let shown = path.as_ref().display();
            let wrong = |why: String| format!("cannot read identities in `{shown}`: {why}");
            let file = fs::File::open(path).map_err(|it| wrong(it.to_string()))?;
            // What is wrong with a line is told by its number, never by what it holds.
            let file = IdentityFile::from_buffer(io::BufReader::new(file))
                .map_err(|it| wrong(it.to_string()))?;
            all.extend(file.into_identities().map_err(|it| wrong(it.to_string()))?);
        }
        Ok(Identities(all))
    }

    /// Says whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = &dyn Identity> {
        self.0.iter().map(|it| &**it as &dyn Identity)
    }

    /// Opens what is stored; nothing when it is not what was written.
    pub(super) fn open<R: io::BufRead>(
        &self,
        from: R,
        manifest: &Manifest,
    ) -> Result<Option<impl io::Read + use<R>>, Error> {
        let Ok(file) = Decryptor::new_buffered(from) else { return Ok(None) };
        let identities = self.0.iter().map(|it| &**it as &dyn Identity);
        match file.decrypt(identities) {
            Ok(open) => Ok(Some(open)),
            Err(age::DecryptError::NoMatchingKeys) => Err(self.refused(manifest)),
            Err(_) => Ok(None),
        }
    }

    /// Says whose identity is wanted.
    pub(super) fn refused(&self, manifest: &Manifest) -> Error {
        let wanted: Vec<String> = manifest.recipients.iter().map(|it| format!("`{it}`")).collect();
        let wanted = wanted.join(" or ");
        Error::Encrypted(match self.is_empty() {
            true => format!(
                "the backup is encrypted for {wanted}; name the file of its identity with \
                 `--identity FILE`"
            ),
            false => format!(
                "the backup is encrypted for {wanted}, and no identity that was given is theirs"
            ),
        })
    }
}

impl fmt::Debug for Identities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Identities({})", self.0.len())
    }
}
