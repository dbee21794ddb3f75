//! Making a backup.

use std::{
    collections::{HashMap, HashSet},
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    time::UNIX_EPOCH,
};

use traaviis_model::Timestamp;
use traaviis_ports::{BackupTarget, LogError, Position, backups::Hold};

use super::{
    Entry, Error, Hashed, Manifest, OBJECTS, Progress, Recipients, SegmentEntry,
    documents::DocumentsCopy, failed, list, manifest, object, pour, read, refuse_inside,
};
use crate::{
    blobs,
    disk::{Access, Disk, OsDisk},
    documents::DOCUMENTS_DIR,
    keys::{self, root::RootId},
    lock::LOCK_FILE,
    log::{LOG_DIR, read_format},
    secrets,
    segment::{self, Found, Walker},
    snapshots::SNAPSHOTS_DIR,
    tree::TREE_DIR,
    walk::{Step, Walk},
};

/// Times that a copy begins again because the log was compacted meanwhile.
const TRIES_MAX: u32 = 5;

/// Directory in which a data directory says when it is backed up, and how that went.
pub const SCHEDULE_DIR: &str = "backups";
/// Directory of a tenant that holds what the log has no more.
const ARCHIVED: &str = "archived";
/// Directories that are made again from the log.
const DERIVED: &[&str] = &["index", "quarantine"];

/// A backup that was made.
#[derive(Clone, Debug)]
pub struct Taken {
    /// Its manifest.
    pub manifest: Manifest,
    /// Name of the manifest in the target.
    pub name: String,
    /// Bytes that no earlier backup had.
    pub bytes_new: u64,
}

/// How much of what is there already is believed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Extent {
    /// What looks as it did for the backup before is taken from there.
    #[default]
    New,
    /// Everything is read again.
    Full,
}

/// How a backup is made.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// For whom it is encrypted.
    pub recipients: Recipients,
    /// How much is read.
    pub extent: Extent,
}

/// Copies the log up to its present end, and the files beside it, into a target; encrypted when
/// there are recipients. A target whose newest backup is encrypted takes none in the open.
pub fn take(
    data: &Path,
    target: &dyn BackupTarget,
    options: &Options,
    now: Timestamp,
    progress: Progress<'_>,
) -> Result<Taken, Error> {
    if read_format(&OsDisk, data)?.is_none() {
        let why = format!("`{}` is no data directory", data.display());
        return Err(Error::Log(LogError::Damaged(why.into())));
    }
    if let Some(folder) = target.folder() {
        refuse_inside(folder, data)?;
    }
    let recipients = &options.recipients;
    let _held = target.hold(Hold::Adding)?;
    let names = list(target)?;
    // The newest that can be read says whether backups are encrypted here. Where a newer one
    // cannot, something has happened to the target, and everything is read again.
    let mut whole = names.iter().rev().filter_map(|it| Some((it, read(target, it).ok()?)));
    let (newest, before) = whole.next().unzip();
    let is_newest_whole = newest == names.last();
    if recipients.is_empty() && before.as_ref().is_some_and(Manifest::is_encrypted) {
        return Err(Error::Encrypted(format!(
            "the newest backup in `{}` is encrypted, and this one would be in the open; name its \
             recipients, or another place",
            target.show("")
        )));
    }
    // What others can open is no part of this one.
    let is_believed = options.extent == Extent::New && is_newest_whole;
    let before = before.filter(|it| is_believed && it.recipients == recipients.names());
    // What earlier backups wrote is believed to be there only if it is.
    let there = target.list(OBJECTS)?.into_iter().map(|it| (it.name, it.bytes)).collect();
    let (bytes_new, bytes_done, bytes_all) = (0, 0, 0);
    let mut copier =
        Copier { data, target, recipients, there, bytes_new, bytes_done, bytes_all, progress };
    for _ in 0..TRIES_MAX {
        match copier.all(before.as_ref(), now) {
            Ok(manifest) => {
                let name = manifest::write(target, &manifest)?;
                return Ok(Taken { manifest, name, bytes_new: copier.bytes_new });
            }
            Err(Copied::Gone) => {}
            Err(Copied::Failed(error)) => return Err(error),
        }
    }
    Err(Error::Moving(TRIES_MAX))
}

/// Why copying ends early.
enum Copied {
    /// A file of the log is there no more.
    Gone,
    Failed(Error),
}

impl From<Error> for Copied {
    fn from(error: Error) -> Copied {
        Copied::Failed(error)
    }
}

impl From<LogError> for Copied {
    fn from(error: LogError) -> Copied {
        Copied::Failed(error.into())
    }
}

/// Something that the target has.
struct Stored {
    bytes: u64,
    sha256: String,
    bytes_stored: Option<u64>,
}

impl Stored {
    fn of(bytes: u64, sha256: &str, bytes_stored: Option<u64>) -> Stored {
        Stored { bytes, sha256: sha256.into(), bytes_stored }
    }

    fn parts(self) -> (u64, String, Option<u64>) {
        (self.bytes, self.sha256, self.bytes_stored)
    }
}

struct Copier<'a> {
    data: &'a Path,
    target: &'a dyn BackupTarget,
    recipients: &'a Recipients,
    /// Objects that the target had at the beginning, with their lengths.
    there: HashMap<String, u64>,
    bytes_new: u64,
    bytes_done: u64,
    bytes_all: u64,
    progress: Progress<'a>,
}

impl Copier<'_> {
    fn all(&mut self, before: Option<&Manifest>, now: Timestamp) -> Result<Manifest, Copied> {
        let dir = self.data.join(LOG_DIR);
        // Before the log, so that they know nothing that it does not.
        let documents = DocumentsCopy::take(self.data)?;
        let blobs = blobs::names(self.data)?;
        let firsts = segment::list(&OsDisk, &dir).map_err(failed("list", &dir))?;
        let times = self.times(&firsts)?;
        let known = |first: Position| {
            let old = before?.segments.iter().find(|it| it.first == first && it.is_sealed)?;
            if !self.has(&old.sha256, old.bytes_stored.unwrap_or(old.bytes)) {
                return None;
            }
            let is_same = times.contains(&(first, old.changed_at));
            // Backups of earlier builds left out the end of a compacted segment.
            let is_whole = link_bytes(&dir.join(segment::name(first)), old.bytes).ok() == Some(0);
            (is_same && is_whole).then_some(old)
        };
        // What has not changed since was read through when it was copied.
        let skip = firsts.iter().take_while(|first| known(**first).is_some()).count();
        let mut segments: Vec<SegmentEntry> =
            firsts[..skip].iter().filter_map(|it| known(*it).cloned()).collect();
        let (lengths, position, damage) = measure(&dir, &firsts[skip..])?;
        self.bytes_done = 0;
        self.bytes_all = lengths.iter().map(|it| it.bytes).sum::<u64>();
        for (mut entry, (_, changed_at)) in lengths.into_iter().zip(&times[skip..]) {
            let path = dir.join(segment::name(entry.first));
            // Nothing was appended to the newest one since; encrypted, it would be stored again.
            let same = before.into_iter().flat_map(|it| &it.segments).find(|it| {
                it.first == entry.first
                    && it.bytes == entry.bytes
                    && it.is_sealed == entry.is_sealed
                    && it.changed_at == *changed_at
                    && self.has(&it.sha256, it.bytes_stored.unwrap_or(it.bytes))
            });
            let stored = match same {
                Some(it) => {
                    self.tell(it.bytes);
                    Stored::of(it.bytes, &it.sha256, it.bytes_stored)
                }
                None => self.object(&path, entry.bytes)?,
            };
            (entry.bytes, entry.sha256, entry.bytes_stored) = stored.parts();
            // Only what is appended to changes without being replaced.
            if entry.is_sealed && changed(&path)? != *changed_at {
                return Err(Copied::Gone);
            }
            segments.push(SegmentEntry { changed_at: *changed_at, ..entry });
        }
        // After the segments: what compaction takes out of them stands in a file before.
        let files = self.files()?;
        // A line that was copied may name one that was swept since.
        let there: HashSet<&str> = files.iter().map(|it| &*it.1.path).collect();
        if blobs.iter().any(|it| !there.contains(&**it)) {
            return Err(Copied::Gone);
        }
        self.bytes_all += files.iter().map(|it| it.1.bytes).sum::<u64>();
        // Nothing is said of what it takes when it cannot be looked at: copying it will say why.
        let of_copy = |it: &DocumentsCopy| fs::metadata(it.path()).map_or(0, |it| it.len());
        self.bytes_all += documents.as_ref().map_or(0, of_copy);
        let mut entries = Vec::new();
        if let Some(copy) = documents {
            let (bytes, sha256, bytes_stored) = self.object(&copy.path(), u64::MAX)?.parts();
            let (path, changed_at) = (DocumentsCopy::stands_for(), now);
            entries.push(Entry { path, bytes, sha256, bytes_stored, changed_at });
        }
        for (path, entry) in files {
            let held = before.and_then(|it| {
                let same = |old: &&Entry| {
                    old.path == entry.path
                        && old.bytes == entry.bytes
                        && old.changed_at == entry.changed_at
                        && self.has(&old.sha256, old.bytes_stored.unwrap_or(old.bytes))
                };
                it.files.iter().find(same)
            });
            if let Some(held) = held {
                self.tell(held.bytes);
                entries.push(held.clone());
                continue;
            }
            let (bytes, sha256, bytes_stored) = self.object(&path, u64::MAX)?.parts();
            entries.push(Entry { bytes, sha256, bytes_stored, ..entry });
        }
        let position = position.or(segments.last().map(|it| it.end)).unwrap_or(0);
        let root_keys = self.root_keys(&entries)?;
        let recipients = self.recipients.names();
        let (created_at, files) = (now, entries);
        Ok(Manifest { created_at, position, damage, segments, files, root_keys, recipients })
    }

    /// Names the root keys that the files of keys need, once each. They are copied last, so what
    /// the directory has now is what was copied.
    fn root_keys(&self, entries: &[Entry]) -> Result<Vec<RootId>, Copied> {
        let mut roots = Vec::new();
        for entry in entries.iter().filter(|it| keys::is_key(Path::new(&it.path))) {
            let path = self.data.join(&entry.path);
            let bytes = match fs::read(&path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(Copied::Gone),
                other => other.map_err(failed("read", &path))?,
            };
            for root in keys::roots_of(&bytes) {
                if !roots.contains(&root) {
                    roots.push(root);
                }
            }
        }
        Ok(roots)
    }

    /// Returns the segments with the times of their last changes.
    fn times(&self, firsts: &[Position]) -> Result<Vec<(Position, Timestamp)>, Copied> {
        let dir = self.data.join(LOG_DIR);
        let time = |first: &Position| Ok((*first, changed(&dir.join(segment::name(*first)))?));
        firsts.iter().map(time).collect()
    }

    /// Copies the beginning of a file into the target.
    fn object(&mut self, path: &Path, len: u64) -> Result<Stored, Copied> {
        let mut file = match File::open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(Copied::Gone),
            other => other.map_err(failed("open", path))?,
        };
        let mut to = Hashed::new(self.target.draft().map_err(Error::from)?);
        let bytes = match self.recipients.is_empty() {
            true => pour(&mut file, &mut to, len),
            false => self.recipients.seal(&mut to).and_then(|mut sealed| {
                let bytes = pour(&mut file, &mut sealed, len)?;
                sealed.finish()?;
                Ok(bytes)
            }),
        };
        let bytes = bytes.map_err(failed("copy", path))?;
        self.tell(bytes);
        let (draft, stored, sha256) = to.done();
        let name = object(&sha256);
        let is_there = match self.there.get(&name) {
            Some(bytes) => *bytes == stored,
            None => self.target.has(&name).map_err(Error::from)?,
        };
        if !is_there {
            draft.keep(&name).map_err(Error::from)?;
            self.bytes_new += stored;
        }
        Ok(Stored { bytes, sha256, bytes_stored: (stored != bytes).then_some(stored) })
    }

    /// Says whether the target has an object that an earlier backup names, in its full length.
    fn has(&self, sha256: &str, bytes_stored: u64) -> bool {
        self.there.get(&object(sha256)) == Some(&bytes_stored)
    }

    fn tell(&mut self, bytes: u64) {
        self.bytes_done += bytes;
        (self.progress)(self.bytes_done, self.bytes_all);
    }

    /// Finds the files that only this directory has.
    fn files(&self) -> Result<Vec<(PathBuf, Entry)>, Copied> {
        let mut found = Vec::new();
        let mut folders = vec![PathBuf::new()];
        while let Some(folder) = folders.pop() {
            let dir = self.data.join(&folder);
            for entry in fs::read_dir(&dir).map_err(failed("list", &dir))? {
                let entry = entry.map_err(failed("list", &dir))?;
                let Ok(name) = entry.file_name().into_string() else { continue };
                let place = folder.join(&name);
                let meta = match entry.metadata() {
                    Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                    other => other.map_err(failed("look at", &entry.path()))?,
                };
                if meta.is_dir() && !DERIVED.contains(&&*name) {
                    folders.push(place);
                } else if meta.is_file() && is_kept(&place) {
                    let changed_at = time_of(&meta);
                    let path = place.to_string_lossy().into_owned();
                    let (bytes, sha256, bytes_stored) = (meta.len(), String::new(), None);
                    let it = Entry { path, bytes, sha256, bytes_stored, changed_at };
                    found.push((entry.path(), it));
                }
            }
        }
        // Keys come last: whatever is sealed when it is copied, its key was made before.
        found.sort_by_cached_key(|(_, it)| (keys::is_key(Path::new(&it.path)), it.path.clone()));
        Ok(found)
    }
}

fn time_of(meta: &fs::Metadata) -> Timestamp {
    let since = meta.modified().ok().and_then(|it| it.duration_since(UNIX_EPOCH).ok());
    Timestamp(since.map_or(0, |it| it.as_micros() as i64))
}

/// Returns when a file of the log was changed last.
fn changed(path: &Path) -> Result<Timestamp, Copied> {
    match fs::metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Err(Copied::Gone),
        other => Ok(time_of(&other.map_err(failed("look at", path))?)),
    }
}

/// Says whether a file belongs into a backup: segments have entries of their own, checkpoints are
/// made again by reading the log, and so are states, the document tree and what a tenant has beside
/// its archive, its blobs and its secrets. Keys are wrapped, and the root key is in no data
/// directory.
fn is_kept(path: &Path) -> bool {
    let name = path.file_name().and_then(|it| it.to_str()).unwrap_or_default();
    let is_log = path.starts_with(LOG_DIR);
    let first = path.iter().next().and_then(|it| it.to_str()).unwrap_or_default();
    // Also one that stands aside.
    let is_tree = first.split('.').next() == Some(TREE_DIR);
    let is_archive = path.iter().nth(2) == Some(ARCHIVED.as_ref());
    let is_only_here = is_archive || secrets::is_secret(path) || blobs::is_blob(path);
    let is_view = is_tree || path.starts_with("tenants") && !is_only_here;
    let is_made_again = is_log && (name.ends_with(".seg") || name.ends_with(".checkpoint"));
    // Where backups go concerns the original alone: a restored copy would back up over it.
    let is_schedule = path.starts_with(SCHEDULE_DIR);
    // Databases that a process writes to: states are made again, documents are copied as a whole.
    let is_database = path.starts_with(SNAPSHOTS_DIR) || path.starts_with(DOCUMENTS_DIR);
    !(is_database
        || name == LOCK_FILE
        || name.ends_with(".tmp")
        || is_view
        || is_made_again
        || is_schedule)
}

/// Segments with their lengths, the end of the log if one was read, and what is damaged.
type Measured = (Vec<SegmentEntry>, Option<Position>, Vec<String>);

/// Reads segments through: where each ends, and what in them is damaged.
fn measure(dir: &Path, firsts: &[Position]) -> Result<Measured, Copied> {
    let entry = |(at, first): (usize, &Position)| SegmentEntry {
        first: *first,
        end: *first,
        bytes: 0,
        sha256: String::new(),
        bytes_stored: None,
        is_sealed: at + 1 < firsts.len(),
        changed_at: Timestamp(0),
    };
    let mut entries: Vec<SegmentEntry> = firsts.iter().enumerate().map(entry).collect();
    let mut damage = Vec::new();
    let Some(first) = firsts.first() else { return Ok((entries, None, damage)) };
    let disk = OsDisk;
    let mut walk = Walk::new(&disk, dir, firsts.to_vec(), *first)?;
    let mut reach = |segment: Position, bytes: u64, end: Position| {
        if let Ok(at) = firsts.binary_search(&segment) {
            entries[at].bytes = entries[at].bytes.max(bytes);
            entries[at].end = entries[at].end.max(end);
        }
    };
    loop {
        match walk.step() {
            Ok(Step::Frame { at, header }) => {
                reach(at.segment, at.offset + header.frame_bytes(), header.end());
            }
            Ok(Step::Damage(it)) => {
                reach(it.segment, it.offset + it.bytes, it.to);
                damage.push(it.to_string());
            }
            Ok(Step::Tail { .. }) => break,
            Err(LogError::Io { path, .. }) if !Path::new(&path).exists() => {
                return Err(Copied::Gone);
            }
            Err(error) => return Err(error.into()),
        }
    }
    let end = walk.mark.position;
    for entry in &mut entries {
        let path = dir.join(segment::name(entry.first));
        entry.bytes += link_bytes(&path, entry.bytes)?;
    }
    Ok((entries, Some(end), damage))
}

/// Returns the length of the frame without records that stands behind the last one with some: a
/// compacted segment ends with it, and without it the next segment follows nothing. A walk passes
/// over it without telling.
fn link_bytes(path: &Path, offset: u64) -> Result<u64, Copied> {
    let file = match OsDisk.open(path, Access::Read) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(Copied::Gone),
        other => other.map_err(failed("open", path))?,
    };
    match Walker::new(file, offset).step().map_err(failed("read", path))? {
        Found::Frame { header, .. } if header.is_link() => Ok(header.frame_bytes()),
        _ => Ok(0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_can_be_made_again_is_left_out() {
        let tenant = traaviis_model::TenantCtx::for_test(1).tenant();
        let blob = |digits| format!("tenants/{tenant}/blobs/aa/{}", "a".repeat(digits));
        let kept = [
            "FORMAT",
            "run.json",
            "log/epoch",
            "tenants/t/archived/instances/i.json.gz",
            "tenants/t/secrets/stripe.json",
            &blob(64),
            "system/keys/t.json",
        ];
        let left_out = [
            "LOCK",
            "backups/schedule.json",
            "documents/documents.sqlite",
            "documents/documents.sqlite-wal",
            "snapshots/snapshots.sqlite",
            "system/keys/LOCK",
            "tenants/t/secrets/stripe.json.tmp",
            "doctor-1.tmp",
            "log/00000000000000000000.seg",
            "log/00000000000000000006.checkpoint",
            "tree/index.json",
            "tree.stale-1/t/workflows/W/i.json",
            &blob(63),
            &blob(65),
            &format!("{}.tmp", blob(64)),
            "tenants/index.json",
            "tenants/t/workflows/W/i.json",
        ];
        assert!(kept.iter().all(|it| is_kept(Path::new(it))));
        assert!(!left_out.iter().any(|it| is_kept(Path::new(it))));
    }
}
