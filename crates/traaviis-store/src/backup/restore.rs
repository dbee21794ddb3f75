//! Checking a backup, and making a data directory from one.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use serde::Deserialize;
use traaviis_model::Timestamp;
use traaviis_ports::{
    BackupTarget, Position,
    disk::{Access, Disk as _, DiskFile as _},
};

use super::{
    Error, Hashed, Identities, Manifest, PIECE_BYTES, Progress, create, documents::DocumentsCopy,
    failed, make_dir, manifest::Object, object, pour, refuse_inside, span, sync_dir,
};
use crate::{
    disk::OsDisk,
    documents::DOCUMENTS_DIR,
    error::io_error,
    log::{FORMAT_FILE, LOG_DIR},
    segment,
    snapshots::SNAPSHOTS_DIR,
    walk::{Mark, Step, Walk},
};

/// How far a restored directory goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Until {
    /// To the end of the backup.
    End,
    /// Before the record at this position.
    Position(Position),
    /// To the last step that was committed by then.
    Time(Timestamp),
}

/// A directory that was restored.
#[derive(Clone, Debug)]
pub struct Restored {
    /// Position that it goes on from.
    pub position: Position,
    /// Bytes written.
    pub bytes: u64,
    /// Files and segments written.
    pub files: usize,
}

/// Reads every object of a backup and compares it with its name; returns what does not fit. Nothing
/// is decrypted for it.
pub fn check(
    target: &dyn BackupTarget,
    manifest: &Manifest,
    progress: Progress<'_>,
) -> Result<Vec<String>, Error> {
    let (mut problems, mut done, all) = (Vec::new(), 0, manifest.bytes());
    for wanted in manifest.objects() {
        let (name, what) = (object(wanted.sha256), &wanted.what);
        let shown = target.show(&name);
        match target.open(&name)? {
            None => problems.push(format!("{what}: `{shown}` is missing")),
            Some(from) => {
                let mut from = Hashed::new(from);
                pour(&mut from, &mut io::sink(), u64::MAX)
                    .map_err(failed("read", Path::new(&shown)))?;
                if !fits(from, &wanted) {
                    problems.push(format!("{what}: `{shown}` holds other bytes"));
                }
            }
        }
        done += wanted.bytes;
        progress(done, all);
    }
    Ok(problems)
}

/// Says whether all that was read is what was stored.
fn fits<T>(read: Hashed<T>, wanted: &Object<'_>) -> bool {
    let (_, bytes, sha256) = read.done();
    bytes == wanted.bytes_stored && sha256 == wanted.sha256
}

/// Makes a data directory from a backup. What is made stands beside it until it is whole.
pub fn restore(
    target: &dyn BackupTarget,
    manifest: &Manifest,
    identities: &Identities,
    until: Until,
    data: &Path,
    progress: Progress<'_>,
) -> Result<Restored, Error> {
    // Behind a link stands the directory that is meant.
    let real = data.is_symlink().then(|| data.canonicalize().ok()).flatten();
    let data = real.as_deref().unwrap_or(data);
    let place = Place::of(data)?;
    refuse_used(data, place)?;
    if let Some(folder) = target.folder() {
        refuse_inside(data, folder)?;
    }
    if manifest.is_encrypted() && identities.is_empty() {
        return Err(identities.refused(manifest));
    }
    let beside = place.beside(data);
    if beside.exists() {
        refuse_foreign(&beside)?;
        fs::remove_dir_all(&beside).map_err(failed("remove", &beside))?;
    }
    make_dir(&beside)?;
    let (mut done, all) = (0, manifest.bytes());
    let segments = manifest.segments.iter();
    let segments = segments.map(|it| format!("{LOG_DIR}/{}", segment::name(it.first)));
    let paths = segments.chain(manifest.files.iter().map(|it| it.path.clone()));
    let mut files = 0;
    let open = (manifest, identities);
    for (wanted, path) in manifest.objects().zip(paths) {
        if !is_wanted(&path, manifest, until) {
            continue;
        }
        place_file(target, open, &wanted, &beside, &path)?;
        done += wanted.bytes;
        files += 1;
        progress(done, all);
    }
    let position = match until {
        Until::End => manifest.position,
        until => cut(&beside.join(LOG_DIR), manifest, until)?,
    };
    sync_dirs(&beside)?;
    place.give(&beside, data)?;
    Ok(Restored { position, bytes: done, files })
}

/// Says whether a file of a backup belongs into what is restored from it. States are made again
/// from the log. Documents must know nothing that the log does not, and those that earlier releases
/// copied file by file may not fit together.
fn is_wanted(path: &str, manifest: &Manifest, until: Until) -> bool {
    let path = Path::new(path);
    if path.starts_with(DOCUMENTS_DIR) {
        let copied = DocumentsCopy::stands_for();
        let is_alone = |it: &super::Entry| {
            !Path::new(&it.path).starts_with(DOCUMENTS_DIR) || it.path == copied
        };
        return until == Until::End && manifest.files.iter().all(is_alone);
    }
    !path.starts_with(SNAPSHOTS_DIR)
}

/// Where a directory is made before it gets its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// Beside it, under another name.
    Beside,
    /// In it, because it is the root of a file system, which cannot be given another name.
    Within,
}

/// Name of what is made within a directory.
const WITHIN: &str = ".restoring";
/// What file systems put into their roots themselves.
const OF_FILE_SYSTEM: &str = "lost+found";

impl Place {
    fn of(data: &Path) -> Result<Place, Error> {
        use std::os::unix::fs::MetadataExt;
        let device =
            |path: &Path| fs::metadata(path).map(|it| it.dev()).map_err(failed("look at", path));
        match data.exists() && device(data)? != device(above(data))? {
            true => Ok(Place::Within),
            false => Ok(Place::Beside),
        }
    }

    fn beside(self, data: &Path) -> PathBuf {
        match self {
            Place::Within => data.join(WITHIN),
            Place::Beside => beside(data),
        }
    }

    /// Gives what was made its name. Of what is made within, the log comes last: without it the
    /// directory is not one that anybody would carry on.
    fn give(self, made: &Path, data: &Path) -> Result<(), Error> {
        match self {
            Place::Beside => {
                if data.exists() {
                    fs::remove_dir(data).map_err(failed("replace", data))?;
                }
                fs::rename(made, data).map_err(failed("rename", made))?;
                Ok(sync_dir(above(data))?)
            }
            Place::Within => {
                let mut names = Vec::new();
                for entry in fs::read_dir(made).map_err(failed("list", made))? {
                    names.push(entry.map_err(failed("list", made))?.file_name());
                }
                names.sort_by_key(|it| (&**it == LOG_DIR, it.clone()));
                for name in names {
                    let from = made.join(&name);
                    fs::rename(&from, data.join(&name)).map_err(failed("rename", &from))?;
                }
                fs::remove_dir(made).map_err(failed("remove", made))?;
                Ok(sync_dir(data)?)
            }
        }
    }
}

fn refuse_used(data: &Path, place: Place) -> Result<(), Error> {
    let is_ours = |entry: &fs::DirEntry| {
        let name = entry.file_name();
        place == Place::Beside || name != OF_FILE_SYSTEM && name != WITHIN
    };
    match fs::read_dir(data) {
        Ok(entries) => match entries.flatten().any(|it| is_ours(&it)) {
            false => Ok(()),
            true => Err(Error::NotEmpty(data.display().to_string())),
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(failed("list", data)(error)),
    }
}

fn above(data: &Path) -> &Path {
    data.parent().filter(|it| !it.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Refuses to make something where somebody else keeps files: what a restore left has the log in
/// it, or at least says that it is a data directory.
fn refuse_foreign(beside: &Path) -> Result<(), Error> {
    let is_empty = || fs::read_dir(beside).is_ok_and(|mut it| it.next().is_none());
    match beside.join(LOG_DIR).is_dir() || beside.join(FORMAT_FILE).is_file() || is_empty() {
        true => Ok(()),
        false => Err(Error::NotEmpty(beside.display().to_string())),
    }
}

/// Returns the name beside a directory under which it is made.
fn beside(data: &Path) -> PathBuf {
    let name = data.file_name().map(|it| it.to_string_lossy().into_owned()).unwrap_or_default();
    above(data).join(format!("{name}.restoring"))
}

/// Writes one file of a backup, checked while it is copied.
fn place_file(
    target: &dyn BackupTarget,
    (manifest, identities): (&Manifest, &Identities),
    wanted: &Object<'_>,
    dir: &Path,
    path: &str,
) -> Result<(), Error> {
    let is_inside =
        Path::new(path).components().all(|it| matches!(it, std::path::Component::Normal(_)));
    if !is_inside {
        return Err(Error::Damaged(format!(
            "it names `{path}`, which is no file below a directory"
        )));
    }
    let name = object(wanted.sha256);
    let shown = target.show(&name);
    let Some(from) = target.open(&name)? else {
        return Err(Error::Damaged(format!("`{shown}` of `{path}` is missing")));
    };
    let place = dir.join(path);
    place.parent().map_or(Ok(()), make_dir)?;
    let mut to = create(&place)?;
    let wrong = || Error::Damaged(format!("`{shown}` of `{path}` holds other bytes"));
    let mut from = Hashed::new(from);
    let written = match manifest.is_encrypted() {
        false => pour(&mut from, &mut to, u64::MAX).map_err(failed("write", &place))?,
        true => {
            let from = io::BufReader::with_capacity(PIECE_BYTES, &mut from);
            let mut open = identities.open(from, manifest)?.ok_or_else(wrong)?;
            match pour(&mut open, &mut to, u64::MAX) {
                // That is how the cipher says that bytes are not those that were written.
                Err(it) if it.kind() == io::ErrorKind::InvalidData => return Err(wrong()),
                other => other.map_err(failed("write", &place))?,
            }
        }
    };
    pour(&mut from, &mut io::sink(), u64::MAX).map_err(failed("read", Path::new(&shown)))?;
    if written != wanted.bytes || !fits(from, wanted) {
        return Err(wrong());
    }
    to.sync_all().map_err(failed("sync", &place))
}

/// Makes every name under a directory durable.
fn sync_dirs(dir: &Path) -> Result<(), Error> {
    for entry in fs::read_dir(dir).map_err(failed("list", dir))? {
        let path = entry.map_err(failed("list", dir))?.path();
        if path.is_dir() {
            sync_dirs(&path)?;
        }
    }
    Ok(sync_dir(dir)?)
}

/// The time of a record, which every line has.
#[derive(Deserialize)]
struct Stamp {
    at: Timestamp,
}

/// Cuts a log between two commits; returns where.
fn cut(dir: &Path, manifest: &Manifest, until: Until) -> Result<Position, Error> {
    let mark = find_cut(dir, manifest, until)?;
    for entry in manifest.segments.iter().filter(|it| it.first > mark.segment) {
        let path = dir.join(segment::name(entry.first));
        fs::remove_file(&path).map_err(failed("remove", &path))?;
    }
    let path = dir.join(segment::name(mark.segment));
    let file = OsDisk.open(&path, Access::Write).map_err(failed("open", &path))?;
    file.truncate(mark.offset).and_then(|()| file.sync()).map_err(failed("cut", &path))?;
    Ok(mark.position)
}

fn find_cut(dir: &Path, manifest: &Manifest, until: Until) -> Result<Mark, Error> {
    let firsts: Vec<Position> = manifest.segments.iter().map(|it| it.first).collect();
    let oldest = firsts.first().copied().unwrap_or(0);
    let held = span(oldest, manifest.position);
    let outside = |asked: String| {
        Error::OutOfRange(format!("{asked} lies outside of the backup, which holds {held}"))
    };
    if let Until::Position(position) = until
        && !(oldest..=manifest.position).contains(&position)
    {
        return Err(outside(format!("position {position}")));
    }
    let disk = OsDisk;
    let mut walk = Walk::new(&disk, dir, firsts, oldest)?;
    loop {
        let mark = walk.mark;
        match walk.step()? {
            Step::Frame { at, header } => {
                let is_behind = match until {
                    Until::End => false,
                    Until::Position(position) => header.end() > position,
                    Until::Time(time) => first_time(&mut walk, dir)? > time,
                };
                if is_behind && at.position == oldest && matches!(until, Until::Time(_)) {
                    return Err(outside("a time before its first record".into()));
                }
                if is_behind {
                    return Ok(at);
                }
            }
            Step::Damage(_) => {}
            Step::Tail { .. } => return Ok(mark),
        }
    }
}

/// Returns when the first step of the frame at hand was committed.
fn first_time(walk: &mut Walk<'_, OsDisk>, dir: &Path) -> Result<Timestamp, Error> {
    let unreadable = |why: String| {
        let why = io::Error::other(why);
        Error::Log(io_error("read a time in", dir, why))
    };
    let lines = walk.lines().map_err(|error| unreadable(error.to_string()))?;
    let line = lines.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let stamp: Result<Stamp, _> = serde_json::from_slice(line);
    stamp.map(|it| it.at).map_err(|error| unreadable(error.to_string()))
}
