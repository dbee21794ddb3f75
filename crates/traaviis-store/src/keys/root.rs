//! The root key, which wraps all others and is never in a data directory.
//!
//! It comes from the environment, or from a file that is its owner's alone; the file is made when
//! the first key is to be wrapped. Both may hold several keys: the first one wraps, the others only
//! unwrap what was wrapped before. Text between keys is a space, a comma or a new line, and a line
//! that begins with `#` is for people.
//!
//! Invariant: a key is durable in its file before anything is wrapped with it, and no key of a file
//! is ever replaced or taken out by us.

use std::{
    fmt,
    fs::{self, File},
    io::{self, Read as _},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use sha2::{Digest as _, Sha256};
use traaviis_model::limits::ROOT_KEYS_MAX;
use zeroize::Zeroizing;

use super::{
    Error, entropy, hold,
    seal::{KEY_BYTES, Key},
};
use crate::{
    checkpoint::write_atomically,
    disk::OsDisk,
    error::io_error,
    files::{hex, make_dir, unhex_into},
};

/// Bytes of a file of root keys; more is another file.
const FILE_BYTES_MAX: u64 = 16 << 10;
/// Rights of others in a file of root keys.
const OTHERS: u32 = 0o077;
/// What a file that we make says first.
const HEAD: &str = "# Root key of TRAAVIIS: it opens the secrets of every data directory made with it.\n\
                    # Keep a copy where no backup of the data is. Without it no secret can be read.\n";

/// Where root keys come from.
#[derive(Clone)]
pub enum RootSource {
    /// Handed in as text, from the environment.
    Given(Zeroizing<String>),
    /// A file, made at first use.
    File(PathBuf),
    /// There is no place for a root key; why.
    Nowhere(String),
}

impl RootSource {
    /// Returns a root key made by chance, for a directory that ends with this process.
    pub fn passing() -> Result<RootSource, Error> {
        let key = Zeroizing::new(entropy::<KEY_BYTES>()?);
        Ok(RootSource::Given(Zeroizing::new(hex(&*key))))
    }
}

impl fmt::Debug for RootSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for RootSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RootSource::Given(_) => f.write_str("the environment"),
            RootSource::File(path) => write!(f, "file `{}`", path.display()),
            RootSource::Nowhere(_) => f.write_str("nowhere"),
        }
    }
}

/// Names a root key without telling it: the beginning of a digest.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct RootId(String);

impl fmt::Display for RootId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Root keys; the first one wraps. Never empty.
#[derive(Debug)]
pub struct RootKeys(Vec<(RootId, Key)>);

impl RootKeys {
    /// Returns the key that wraps.
    pub fn newest(&self) -> (&RootId, &Key) {
        let (id, key) = &self.0[0];
        (id, key)
    }

    /// Returns the key of this name.
    pub fn find(&self, id: &RootId) -> Option<&Key> {
        self.0.iter().find(|it| it.0 == *id).map(|it| &it.1)
    }

    /// Returns the names, the newest first.
    pub fn ids(&self) -> impl Iterator<Item = &RootId> {
        self.0.iter().map(|it| &it.0)
    }

    fn read(text: &str, source: &RootSource) -> Result<RootKeys, Error> {
        let wrong = |why: String| Error::RootInvalid { origin: source.to_string(), why };
        let mut keys: Vec<(RootId, Key)> = Vec::new();
        let lines = text.lines().filter(|it| !it.trim_start().starts_with('#'));
        for word in lines.flat_map(|it| it.split([' ', '\t', ','])).filter(|it| !it.is_empty()) {
            let number = keys.len() + 1;
            let mut bytes = Zeroizing::new([0; KEY_BYTES]);
            if !unhex_into(word, &mut *bytes) {
                let digits = KEY_BYTES * 2;
                return Err(wrong(format!("key {number} is not {digits} hexadecimal digits")));
            }
            if bytes.iter().all(|it| *it == bytes[0]) {
                return Err(wrong(format!("key {number} was not made by chance")));
            }
            let key = Key(bytes);
            keys.push((id_of(&key), key));
        }
        match keys.len() {
            0 => Err(wrong("it holds no key".into())),
            1..=ROOT_KEYS_MAX => Ok(RootKeys(keys)),
            more => Err(wrong(format!("it holds {more} keys, more than {ROOT_KEYS_MAX}"))),
        }
    }
}

fn id_of(key: &Key) -> RootId {
    let mut hash = Sha256::new_with_prefix(b"traaviis root key\0");
    hash.update(key.0.as_slice());
    RootId(hex(&hash.finalize()[..8]))
}

impl RootSource {
    /// Reads the root keys; nothing when they are to be made at first use.
    ///
    /// A file in `data` is refused: each copy of the directory would hold the key to it.
    pub fn read(&self, data: &Path) -> Result<Option<RootKeys>, Error> {
        match self {
            RootSource::Given(text) => RootKeys::read(text, self).map(Some),
            RootSource::Nowhere(why) => Err(Error::RootMissing(why.clone())),
            RootSource::File(path) => {
                self.refuse_inside(path, data)?;
                let text = self.text(path)?;
                text.map(|it| RootKeys::read(&it, self)).transpose()
            }
        }
    }

    /// Reads the root keys, and makes the first one when there is none yet.
    pub fn read_or_make(&self, data: &Path) -> Result<RootKeys, Error> {
        if let Some(keys) = self.read(data)? {
            return Ok(keys);
        }
        let RootSource::File(path) = self else {
            return Err(Error::RootMissing(self.to_string()));
        };
        let _held = hold_file(path)?;
        // Somebody else may have been first.
        if let Some(keys) = self.read(data)? {
            return Ok(keys);
        }
        write(path, HEAD)?;
        self.read(data)?.ok_or_else(|| Error::RootMissing(self.to_string()))
    }

    /// Puts a fresh key in front of those in a file.
    pub fn add(&self, data: &Path) -> Result<(), Error> {
        let RootSource::File(path) = self else {
            return Err(Error::RootMissing(format!("no file to add one to: {self}")));
        };
        let _held = hold_file(path)?;
        let found = self.read(data)?;
        if found.is_some_and(|it| it.0.len() >= ROOT_KEYS_MAX) {
            let why = format!(
                "it holds {ROOT_KEYS_MAX} keys already; take out the oldest lines once \
                 `traaviis keys list` names them nowhere"
            );
            return Err(Error::RootInvalid { origin: self.to_string(), why });
        }
        let text = self.text(path)?;
        match text {
            Some(text) => {
                // The comment stays on top.
                let is_comment = |line: &&str| line.starts_with('#');
                let head: usize =
                    text.split_inclusive('\n').take_while(is_comment).map(str::len).sum();
                let (head, rest) = text.split_at(head);
                write_parts(path, head, rest)
            }
            None => write(path, HEAD),
        }
    }

    fn refuse_inside(&self, path: &Path, data: &Path) -> Result<(), Error> {
        let resolve = |path: &Path| resolved(path).map_err(|error| io_error("find", path, error));
        if resolve(path)?.starts_with(resolve(data)?) {
            let why = "it lies in the data directory, and each copy of that would hold it".into();
            return Err(Error::RootInvalid { origin: self.to_string(), why });
        }
        Ok(())
    }

    /// Reads a file that must be its owner's alone; nothing when there is none.
    fn text(&self, path: &Path) -> Result<Option<Zeroizing<String>>, Error> {
        let wrong = |why: String| Error::RootInvalid { origin: self.to_string(), why };
        let mut file = match File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(io_error("open", path, error).into()),
        };
        let meta = file.metadata().map_err(|error| io_error("look at", path, error))?;
        if meta.mode() & OTHERS != 0 {
            let mode = meta.mode() & 0o777;
            let shown = path.display();
            return Err(wrong(format!(
                "its mode is {mode:03o}, others can use it; chmod 600 {shown}"
            )));
        }
        if meta.len() > FILE_BYTES_MAX {
            return Err(wrong(format!("it is {} bytes long; that is no file of keys", meta.len())));
        }
        // Reserved, so that no copy is left behind by growing.
        let mut text = Zeroizing::new(String::with_capacity(FILE_BYTES_MAX as usize + 1));
        match (&mut file).take(FILE_BYTES_MAX).read_to_string(&mut text) {
            Ok(_) => Ok(Some(text)),
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                Err(wrong("it is no text".into()))
            }
            Err(error) => Err(io_error("read", path, error).into()),
        }
    }
}

/// Returns where a path leads, as far as it exists.
fn resolved(path: &Path) -> io::Result<PathBuf> {
    let path = std::path::absolute(path)?;
    let found = path.ancestors().find_map(|it| Some((it.canonicalize().ok()?, it)));
    let Some((real, above)) = found else { return Ok(path) };
    let rest = path.strip_prefix(above).unwrap_or(Path::new(""));
    // An empty rest would add a slash.
    Ok(if rest.as_os_str().is_empty() { real } else { real.join(rest) })
}

/// Holds a file of keys against other processes that would change it.
fn hold_file(path: &Path) -> Result<File, Error> {
    if let Some(above) = path.parent().filter(|it| !it.as_os_str().is_empty()) {
        make_dir(above)?;
    }
    hold(&path.with_added_extension("lock"))
}

fn write(path: &Path, head: &str) -> Result<(), Error> {
    write_parts(path, head, "")
}

/// Writes a file with a fresh key between two texts.
fn write_parts(path: &Path, head: &str, rest: &str) -> Result<(), Error> {
    let key = Zeroizing::new(entropy::<KEY_BYTES>()?);
    let line = Zeroizing::new(hex(&*key));
    // A link stays a link: secrets of machines are often mounted as such.
    let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_path_buf());
    let dir = path.parent().filter(|it| !it.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let parts = [head.as_bytes(), line.as_bytes(), b"\n", rest.as_bytes()];
    write_atomically(&OsDisk, dir, &name, &parts)
        .map_err(|error| io_error("write", &path, error.into_io()).into())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    const ONE: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";
    const TWO: &str = "100102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";

    fn given(text: &str) -> Result<RootKeys, String> {
        let source = RootSource::Given(text.to_owned().into());
        let read = source.read(Path::new("/nowhere")).map_err(|it| it.to_string());
        read.map(|it| it.unwrap())
    }

    #[test]
    fn the_first_key_wraps_and_the_others_are_found() {
        let keys = given(&format!("# old and new\n{TWO}, {ONE}\n")).unwrap();
        let [new, old] = [TWO, ONE].map(|it| given(it).unwrap().newest().0.clone());
        assert_eq!(keys.newest().0, &new);
        assert_eq!(keys.ids().collect::<Vec<_>>(), [&new, &old]);
        assert!(keys.find(&old).is_some_and(|it| it == given(ONE).unwrap().newest().1));
        assert_ne!(new, old);
        assert!(!format!("{keys:?}").contains("0203"), "{keys:?}");
    }

    #[test]
    fn what_is_no_key_is_refused_and_not_told() {
        for (text, why) in [
            ("", "it holds no key"),
            ("hunter2", "key 1 is not 64 hexadecimal digits"),
            (&format!("{ONE} {}", &TWO[1..]), "key 2 is not 64 hexadecimal digits"),
            (&"0".repeat(64), "key 1 was not made by chance"),
            (&[ONE; 17].join("\n"), "it holds 17 keys, more than 16"),
        ] {
            let error = given(text).unwrap_err();
            assert!(error.contains(why), "{error}");
            assert!(text.is_empty() || !error.contains(text), "{error}");
        }
    }

    #[test]
    fn a_file_is_made_once_and_grows_at_its_front() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config/root.key");
        let (source, data) = (RootSource::File(path.clone()), dir.path().join("data"));
        assert!(source.read(&data).unwrap().is_none());
        let made = source.read_or_make(&data).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        assert_eq!(source.read_or_make(&data).unwrap().newest().0, made.newest().0);

        source.add(&data).unwrap();
        let grown = source.read(&data).unwrap().unwrap();
        assert_eq!(grown.ids().count(), 2);
        assert_eq!(grown.ids().nth(1), Some(made.newest().0));
        assert!(fs::read_to_string(&path).unwrap().starts_with(HEAD));
        assert!(grown.find(made.newest().0) == Some(made.newest().1));
        let left = fs::read_dir(path.parent().unwrap()).unwrap().count();
        assert_eq!(left, 2, "the file and its lock");
    }

    #[test]
    fn a_file_stops_growing() {
        let dir = tempfile::tempdir().unwrap();
        let source = RootSource::File(dir.path().join("root.key"));
        let data = dir.path().join("data");
        (0..ROOT_KEYS_MAX).for_each(|_| source.add(&data).unwrap());
        let error = source.add(&data).unwrap_err().to_string();
        assert!(error.contains("16 keys already"), "{error}");
        assert_eq!(source.read(&data).unwrap().unwrap().ids().count(), ROOT_KEYS_MAX);
    }

    #[test]
    fn a_file_that_others_can_use_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("root.key");
        fs::write(&path, ONE).unwrap();
        let source = RootSource::File(path.clone());
        for (mode, is_taken) in [(0o600, true), (0o400, true), (0o640, false), (0o604, false)] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            let read = source.read(&dir.path().join("data"));
            assert_eq!(read.is_ok(), is_taken, "{mode:o}");
            if let Err(error) = read {
                assert_eq!(error.code(), "root_key_invalid");
                assert!(error.to_string().contains("chmod 600"), "{error}");
            }
        }
    }

    #[test]
    fn a_file_inside_the_data_directory_is_refused_also_before_it_is_made() {
        let dir = tempfile::tempdir().unwrap();
        let data = dir.path().join("data");
        fs::create_dir_all(data.join("system")).unwrap();
        let link = dir.path().join("link");
        std::os::unix::fs::symlink(&data, &link).unwrap();
        let inside = ["root.key", "system/root.key", "not/there/root.key", "../data/root.key"];
        let inside = inside.map(|it| data.join(it));
        for path in inside.into_iter().chain([link.join("root.key")]) {
            let error = RootSource::File(path.clone()).read_or_make(&data).unwrap_err();
            assert!(error.to_string().contains("in the data directory"), "{error}");
            assert!(!path.exists());
        }
    }
}
