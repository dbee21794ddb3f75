//! What of an export only those read who are meant to: keys, and what is about people.
//!
//! It is one entry of the export, in the format of `age`, for recipients or under a passphrase.
//! What it opens, sealed histories, secrets and keys of people, stands beside it as it rests.

use std::{
    fs,
    io::{BufReader, Read as _, Write as _},
    path::Path,
};

use age::{Decryptor, Encryptor, Identity, Recipient, scrypt, secrecy::SecretString};
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;
use traaviis_model::limits::EXPORT_LIST_BYTES_MAX;
use zeroize::Zeroizing;

use super::{Error, LOCKED, failed};
use crate::{
    backup::{Identities, Recipients},
    keys::moving::OpenKey,
};

/// Characters of the shortest passphrase: it stands alone between a file that is passed around and
/// every secret in it.
const PASSPHRASE_CHARS_MIN: usize = 12;
/// Most work that a passphrase may cost to be checked, as a power of two: a hostile file could ask
/// for hours.
const WORK_FACTOR_MAX: u8 = 22;
/// Word for a passphrase among those who can open an export.
const PASSPHRASE: &str = "passphrase";

/// For whom an export is locked.
#[derive(Debug)]
pub enum Lock {
    /// Recipients of age, whose identities open it.
    Recipients(Recipients),
    /// Whoever knows it.
    Passphrase(Passphrase),
}

/// A passphrase; it is not shown, and its memory is overwritten when it is dropped.
#[derive(Clone, Debug)]
pub struct Passphrase(SecretString);

impl Passphrase {
    /// Reads a passphrase from the first line of a file.
    pub fn read(path: &Path) -> Result<Passphrase, String> {
        let wrong =
            |why: String| format!("cannot use the passphrase in `{}`: {why}", path.display());
        let text = fs::read_to_string(path).map_err(|error| wrong(error.to_string()))?;
        let text = Zeroizing::new(text);
        let line = text.lines().next().unwrap_or_default().trim();
        if line.chars().count() < PASSPHRASE_CHARS_MIN {
            return Err(wrong(format!("it has fewer than {PASSPHRASE_CHARS_MIN} characters")));
        }
        Ok(Passphrase(SecretString::from(line.to_owned())))
    }
}

/// What opens a locked export; may be nothing.
#[derive(Debug, Default)]
pub struct Opener {
    /// Identities of age.
    pub identities: Identities,
    /// A passphrase.
    pub passphrase: Option<Passphrase>,
}

/// What stands in the locked entry.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Locked {
    /// Versions of the key of the tenant.
    #[serde(default)]
    pub(crate) keys: Vec<OpenKey>,
    /// All of its instances are sealed.
    #[serde(default)]
    pub(crate) seals_all: bool,
    /// People who are members, as the platform tells of them.
    #[serde(default)]
    pub people: Json,
}

impl Lock {
    /// Returns who can open it.
    pub(super) fn names(&self) -> Vec<String> {
        match self {
            Lock::Recipients(recipients) => recipients.names(),
            Lock::Passphrase(_) => vec![PASSPHRASE.into()],
        }
    }

    /// Writes the locked entry into the folder of an export.
    pub(super) fn write(&self, locked: &Locked, folder: &Path) -> Result<(), Error> {
        let path = folder.join(LOCKED);
        let wrong = failed("write", &path);
        let plain = serde_json::to_vec(locked).map_err(std::io::Error::other).map_err(&wrong)?;
        let plain = Zeroizing::new(plain);
        let file = fs::File::create(&path).map_err(&wrong)?;
        let encryptor = match self {
            Lock::Recipients(recipients) => {
                let all = recipients.all().map(|it| it as &dyn Recipient);
                Encryptor::with_recipients(all).map_err(std::io::Error::other).map_err(&wrong)?
            }
            Lock::Passphrase(Passphrase(secret)) => Encryptor::with_user_passphrase(secret.clone()),
        };
        let mut to = encryptor.wrap_output(file).map_err(&wrong)?;
        to.write_all(&plain).and_then(|()| to.finish().map(drop)).map_err(&wrong)
    }
}

impl Opener {
    /// Opens the locked entry of an unpacked export; `names` says who can.
    pub(super) fn open(&self, folder: &Path, names: &[String]) -> Result<Locked, Error> {
        let path = folder.join(LOCKED);
        let file = BufReader::new(fs::File::open(&path).map_err(failed("open", &path))?);
        let damaged = |why: String| Error::Damaged { file: LOCKED.into(), why };
        let decryptor = Decryptor::new_buffered(file).map_err(|it| damaged(it.to_string()))?;
        let passphrase = self.passphrase.as_ref().map(|it| {
            let mut identity = scrypt::Identity::new(it.0.clone());
            identity.set_max_work_factor(WORK_FACTOR_MAX);
            identity
        });
        let passphrase = passphrase.as_ref().map(|it| it as &dyn Identity);
        let opened = decryptor.decrypt(self.identities.all().chain(passphrase));
        let plain = opened.map_err(|error| match error {
            age::DecryptError::NoMatchingKeys
            | age::DecryptError::DecryptionFailed
            | age::DecryptError::KeyDecryptionFailed => self.refused(names),
            other => damaged(other.to_string()),
        })?;
        let mut bytes = Zeroizing::new(Vec::new());
        plain
            .take(EXPORT_LIST_BYTES_MAX)
            .read_to_end(&mut bytes)
            .map_err(|it| damaged(it.to_string()))?;
        serde_json::from_slice(&bytes).map_err(|_| damaged("it holds something else".into()))
    }

    fn refused(&self, names: &[String]) -> Error {
        let wanted: Vec<String> = names.iter().map(|it| format!("`{it}`")).collect();
        let wanted = wanted.join(" or ");
        let is_passphrase = names.iter().any(|it| it == PASSPHRASE);
        let option = if is_passphrase { "--passphrase-file FILE" } else { "--identity FILE" };
        let is_nothing = self.identities.is_empty() && self.passphrase.is_none();
        Error::Locked(match is_nothing {
            true => format!("its keys are locked for {wanted}; name what opens them: `{option}`"),
            false => format!("its keys are locked for {wanted}, and nothing that was given fits"),
        })
    }
}
