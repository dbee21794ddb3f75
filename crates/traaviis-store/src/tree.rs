//! The document tree of a data directory, behind the [`Tree`] port: files that people can read.
//!
//! Stages of a write: lines go on their files and documents into temporary files beside them; all
//! are synced; documents get their names; directories are synced; the position follows in the same
//! way. Many files are synced with one `syncfs`, few one by one.
//!
//! Invariants: the position is durable last, so whatever a crash leaves is written again; a file
//! that is not as it was written is moved aside and never read as truth; one of a newer release is
//! left as it is. The caller holds the data directory's lock.

mod copies;
pub(crate) mod envelope;
mod fan;
mod lines;
mod lists;
mod path;
pub mod verify;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fmt, io,
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
};

use traaviis_model::{InstanceId, TenantId, Text, Timestamp, limits::TREE_FILE_RECORDS};
use traaviis_ports::{
    Position, Tree, TreeError,
    disk::{Access, Disk, DiskFile, is_full},
    tree::{Asks, Batch, Checked, Document, Lines, Listed, Notice, Place, shown::CONFIG},
};

use crate::{
    disk::{OsDisk, ScratchDisk},
    files::list,
};
use envelope::{Envelope, FORMAT, Wrong};
use fan::Fans;
use lists::{Tenants, tenants_document};
use path::spot;

pub use path::TREE_DIR;
pub use verify::{Difference, Found, Verifier, What};

/// A document of a tree, as a file has it.
#[derive(Clone, Debug, PartialEq)]
pub struct FileDocument {
    /// Kind of document.
    pub kind: String,
    /// Tenant; none for what stands above them.
    pub tenant: Option<TenantId>,
    /// Id inside the kind.
    pub id: String,
    /// Last record that it reflects.
    pub seq: u64,
    /// When that was committed.
    pub updated_at: Option<Timestamp>,
    /// JSON, as it was written.
    pub body: Vec<u8>,
}

/// Reads a document of a tree; says what is wrong with it when it is not as it was written.
pub fn read_document(bytes: &[u8]) -> Result<FileDocument, String> {
    let read = Envelope::read(bytes).map_err(|wrong| match wrong {
        Wrong::Newer(found) => format!("it is in format {found}, this release reads {FORMAT}"),
        Wrong::Damaged(why) => why,
    })?;
    let Envelope { kind, tenant, id, seq, updated_at, body, .. } = read;
    Ok(FileDocument { kind, tenant, id, seq, updated_at, body })
}

/// Raised when more kinds are shown, so that a tree of before is filled.
const SHOWS: u64 = 3;
/// Writes that are synced one by one; more are synced with one call.
const SINGLY_MAX: usize = 16;

/// What is wrong with a document that fits its checksum and is not the one of the log.
const UNLIKE_LOG: &str = "it does not say what the log says";

/// The tree on the real disk.
pub type LocalTree = DiskTree<OsDisk>;

/// A tree that is packed or compared and thrown away.
pub type ScratchTree = DiskTree<ScratchDisk>;

/// The tree on any disk.
pub struct DiskTree<D: Disk> {
    disk: D,
    /// Data directory.
    data: PathBuf,
    state: Mutex<State>,
}

/// What is remembered between writes; all of it can be read from the directories again.
struct State {
    fans: Fans,
    /// Tenants that have a directory, and what their list says of them.
    tenants: Option<Tenants>,
    /// Open tasks and incidents of the tree, by tenant.
    asking: HashMap<TenantId, HashMap<InstanceId, Vec<PathBuf>>>,
}

impl DiskTree<OsDisk> {
    /// Returns the tree of a data directory; nothing is made before the first write.
    pub fn open(data: &Path) -> LocalTree {
        DiskTree::on(OsDisk, data, None)
    }
}

impl<D: Disk> DiskTree<D> {
    /// Returns the tree on a disk; `entries_max` replaces the limit of a directory.
    pub fn on(disk: D, data: &Path, entries_max: Option<usize>) -> DiskTree<D> {
        let state = State { fans: Fans::new(entries_max), tenants: None, asking: HashMap::new() };
        DiskTree { disk, data: data.to_path_buf(), state: Mutex::new(state) }
    }

    fn root(&self) -> PathBuf {
        self.data.join(TREE_DIR)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says whether there is a tree.
    pub fn exists(&self) -> bool {
        list(&self.disk, &self.root()).is_ok_and(|it| !it.is_empty())
    }

    /// Returns how much the tree shows; an earlier release showed less, or did not say.
    fn shows(&self) -> Io<Option<u64>> {
        let path = self.locate(&mut self.lock(), None, &Place::Progress)?;
        let read = self.read(&path)?.and_then(|it| Envelope::read(&it).ok());
        Ok(read.map_or(Some(SHOWS), |it| envelope::number_of(&it.body, "shows")))
    }

    /// Returns the file of a place as things are, and whether a new entry stands there.
    fn locate(&self, state: &mut State, tenant: Option<TenantId>, place: &Place) -> Io<PathBuf> {
        let spot = spot(tenant, place);
        let dir = spot.dirs.iter().fold(self.root(), |dir, it| dir.join(it));
        let dir = match &spot.digits {
            Some(digits) => state.fans.find(&self.disk, &dir, digits).at(&dir)?,
            None => dir,
        };
        Ok(spot.file.iter().fold(dir.join(&spot.entry), |path, it| path.join(it)))
    }

    /// Makes room for the file of a place that is not there, and returns it.
    fn make(
        &self,
        state: &mut State,
        tenant: Option<TenantId>,
        place: &Place,
        work: &mut Work<D>,
    ) -> Io<PathBuf> {
        let spot = spot(tenant, place);
        let base = spot.dirs.iter().fold(self.root(), |dir, it| dir.join(it));
        self.disk.create_dir(&base).at(&base)?;
        let is_old = spot.file.is_some() && {
            let dir = self.locate(state, tenant, place)?;
            !list(&self.disk, dir.parent().unwrap_or(&base)).at(&dir)?.is_empty()
        };
        if let Some(digits) = &spot.digits
            && !work.renames.is_empty()
            && state.fans.divides(&self.disk, &base, digits).at(&base)?
        {
            // What moves down must have its name already.
            self.settle(work)?;
        }
        let dir = match &spot.digits {
            Some(digits) if is_old => state.fans.find(&self.disk, &base, digits).at(&base)?,
            Some(digits) => state.fans.place(&self.disk, &base, digits).at(&base)?,
            None => base,
        };
        let entry = dir.join(&spot.entry);
        match &spot.file {
            Some(file) => {
                self.disk.create_dir(&entry).at(&entry)?;
                Ok(entry.join(file))
            }
            None => Ok(entry),
        }
    }

    fn read(&self, path: &Path) -> Io<Option<Vec<u8>>> {
        let file = match self.disk.open(path, Access::Read) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error).at(path),
        };
        let mut bytes = vec![0; file.len().at(path)? as usize];
        let read = file.read_full_at(&mut bytes, 0).at(path)?;
        bytes.truncate(read);
        Ok(Some(bytes))
    }

    /// Gives a file a name that says that it is not of the tree any more.
    fn quarantine(&self, path: &Path, why: &str) -> Io<Notice> {
        let dir = path.parent().unwrap_or(path);
        let taken = list(&self.disk, dir).at(dir)?;
        let is_taken =
            |to: &PathBuf| taken.iter().any(|it| to.file_name() == Some(std::ffi::OsStr::new(it)));
        let mut places = (1..u32::MAX).map(|number| aside(path, number));
        let to = places.find(|it| !is_taken(it)).unwrap_or(aside(path, u32::MAX));
        self.disk.rename(path, &to).at(path)?;
        let (path, to) = (path.display().to_string(), to.display().to_string());
        Ok(Notice::Quarantined { path, to, why: why.into() })
    }

    /// Puts a document into a temporary file, unless its file says the same.
    fn stage(&self, state: &mut State, document: &Document, work: &mut Work<D>) -> Io<()> {
        let path = self.locate(state, document.tenant, &document.place)?;
        let (mut unknown, mut is_new) = (Vec::new(), true);
        if let Some(bytes) = self.read(&path)? {
            match Envelope::read(&bytes) {
                Ok(envelope) if envelope.says(document) => return Ok(()),
                Ok(envelope) => {
                    is_new = false;
                    unknown = envelope.unknown;
                }
                Err(Wrong::Newer(found)) => {
                    let path = path.display().to_string();
                    work.notices.push(Notice::Newer { path, found, known: FORMAT });
                    return Ok(());
                }
                Err(Wrong::Damaged(why)) => {
                    is_new = false;
                    work.notices.push(self.quarantine(&path, &why)?);
                }
            }
        }
        let path = match is_new {
            true => self.make(state, document.tenant, &document.place, work)?,
            false => path,
        };
        self.put(&path, &Envelope::of(document, unknown).write(), work)
    }

    /// Compares a document with its file; what was never written there is replaced.
    fn compare(&self, state: &mut State, document: &Document) -> Io<Checked> {
        let path = self.locate(state, document.tenant, &document.place)?;
        let Some(bytes) = self.read(&path)? else { return Ok(Checked::Behind) };
        let why = match Envelope::read(&bytes) {
            Ok(envelope) if envelope.says(document) => return Ok(Checked::Same),
            Ok(envelope) if envelope.seq < document.seq => return Ok(Checked::Behind),
            Ok(envelope) if envelope.seq > document.seq => return Ok(Checked::Ahead),
            Ok(_) => UNLIKE_LOG.into(),
            Err(Wrong::Newer(found)) => {
                let path = path.display().to_string();
                return Err(TreeError::Newer { path, found, known: FORMAT });
            }
            Err(Wrong::Damaged(why)) => why,
        };
        self.replace(state, document, &why).map(Checked::Mended)
    }

    /// Moves aside what stands in the place of a document, and puts the document there.
    fn replace(&self, state: &mut State, document: &Document, why: &str) -> Io<Vec<Notice>> {
        let path = self.locate(state, document.tenant, &document.place)?;
        let mut work = Work::default();
        let path = match self.read(&path)? {
            Some(_) => {
                work.notices.push(self.quarantine(&path, why)?);
                path
            }
            None => {
                let path = self.make(state, document.tenant, &document.place, &mut work)?;
                work.notices.push(Notice::Missing { path: path.display().to_string() });
                path
            }
        };
        self.put(&path, &Envelope::of(document, Vec::new()).write(), &mut work)?;
        self.settle(&mut work)?;
        Ok(work.notices)
    }

    /// Makes the file beside another one that takes its name once it is synced.
    fn begin(&self, path: &Path) -> Io<(PathBuf, D::File)> {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let temporary = path.with_file_name(format!(".{name}.tmp"));
        let file = match self.disk.create(&temporary) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                // Of a write that a crash or a full disk ended.
                self.disk.remove(&temporary).at(&temporary)?;
                self.disk.create(&temporary)
            }
            other => other,
        };
        let file = file.at(&temporary)?;
        Ok((temporary, file))
    }

    /// Writes bytes that get their name once they are synced.
    fn put(&self, path: &Path, bytes: &[u8], work: &mut Work<D>) -> Io<()> {
        let (temporary, file) = self.begin(path)?;
        // The same document twice in a batch is one file: the later one is there.
        work.renames.insert(temporary.clone(), path.to_path_buf());
        file.write_all_at(bytes, 0).at(&temporary)?;
        work.wrote(file, path);
        Ok(())
    }

    /// Lets lines go on their file.
    fn append(&self, state: &mut State, lines: &Lines, work: &mut Work<D>) -> Io<()> {
        let Lines { tenant, place, first, lines: bytes } = lines;
        let mut path = self.locate(state, *tenant, place)?;
        let file = match self.disk.open(&path, Access::Write) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                path = self.make(state, *tenant, place, work)?;
                self.disk.create(&path)
            }
            other => other,
        }
        .at(&path)?;
        let end = lines::end_before(&file, *first).at(&path)?;
        if let (Place::Events { workflow, id, .. }, Some(tenant)) = (place, *tenant) {
            let begins = (first - 1).is_multiple_of(TREE_FILE_RECORDS);
            if !begins && end.last != Some(first - 1) {
                let (workflow, id) = (workflow.clone(), *id);
                work.notices.push(Notice::Gap { tenant, workflow, id });
                return Ok(());
            }
        }
        if file.len().at(&path)? > end.offset {
            file.truncate(end.offset).at(&path)?;
        }
        file.write_all_at(bytes, end.offset).at(&path)?;
        work.wrote(file, &path);
        Ok(())
    }

    /// Puts the tasks and incidents of an instance, and removes those that are no more.
    fn ask(&self, state: &mut State, asks: &Asks, work: &mut Work<D>) -> Io<()> {
        self.read_asking(state, asks.tenant)?;
        let known = state.asking.get(&asks.tenant).and_then(|it| it.get(&asks.instance));
        if known.is_none() && asks.documents.is_empty() {
            return Ok(());
        }
        let before = known.cloned().unwrap_or_default();
        let mut now = Vec::with_capacity(asks.documents.len());
        for document in &asks.documents {
            self.stage(state, document, work)?;
            now.push(self.locate(state, document.tenant, &document.place)?);
        }
        // A directory that fanned out since has moved its entries; the name is what counts.
        let names: Vec<_> = now.iter().filter_map(|it| it.file_name()).collect();
        let gone = before.iter().filter(|it| !it.file_name().is_some_and(|it| names.contains(&it)));
        for path in gone {
            let path = self.moved(state, path)?;
            self.remove(state, &path, work)?;
        }
        let asking = state.asking.entry(asks.tenant).or_default();
        match now.is_empty() {
            true => drop(asking.remove(&asks.instance)),
            false => drop(asking.insert(asks.instance, now)),
        }
        Ok(())
    }

    /// Returns where a task or incident stands now.
    fn moved(&self, state: &mut State, path: &Path) -> Io<PathBuf> {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let Some(digits) = path::digits_of(&name) else { return Ok(path.to_path_buf()) };
        let mut base = path.parent().unwrap_or(path);
        while base.file_name().is_some_and(|it| path::is_fan_name(&it.to_string_lossy())) {
            base = base.parent().unwrap_or(base);
        }
        Ok(state.fans.find(&self.disk, base, &digits).at(base)?.join(name))
    }

    /// Learns which tasks and incidents the tree shows as open.
    fn read_asking(&self, state: &mut State, tenant: TenantId) -> Io<()> {
        if state.asking.contains_key(&tenant) {
            return Ok(());
        }
        let mut found: HashMap<InstanceId, Vec<PathBuf>> = HashMap::new();
        let home = self.root().join(tenant.to_string());
        let mut dirs = vec![home.join("tasks"), home.join("incidents")];
        while let Some(dir) = dirs.pop() {
            for name in list(&self.disk, &dir).at(&dir)? {
                if path::is_fan_name(&name) {
                    dirs.push(dir.join(&name));
                } else if path::digits_of(&name).is_some()
                    && let Some(Ok(id)) = name.get(..36).map(str::parse)
                {
                    found.entry(id).or_default().push(dir.join(&name));
                }
            }
        }
        state.asking.insert(tenant, found);
        Ok(())
    }

    /// Brings the list of tenants up to date.
    fn name_tenants(&self, state: &mut State, batch: &Batch, work: &mut Work<D>) -> Io<()> {
        let (mut named, mut has_changed) = match state.tenants.take() {
            Some(known) => (known, false),
            None => (self.read_tenants(state)?, true),
        };
        let documents = batch.documents.iter().filter_map(|it| it.tenant);
        let lines = batch.lines.iter().filter_map(|it| it.tenant);
        for tenant in documents.chain(lines) {
            named.entry(tenant).or_insert_with(|| {
                has_changed = true;
                lists::unknown_tenant()
            });
        }
        for (tenant, told) in batch.documents.iter().filter_map(lists::tenant_of) {
            has_changed |= named.get(&tenant) != Some(&told);
            named.insert(tenant, told);
        }
        // Of very many tenants the list is long, and most batches change nothing in it.
        if has_changed && !named.is_empty() {
            self.stage(state, &tenants_document(&named), work)?;
        }
        state.tenants = Some(named);
        Ok(())
    }

    /// Learns which tenants have a directory, and what is told of them.
    fn read_tenants(&self, state: &mut State) -> Io<Tenants> {
        let root = self.root();
        let names = list(&self.disk, &root).at(&root)?;
        let listed = self.read(&self.locate(state, None, &Place::Tenants)?)?;
        let listed = listed.and_then(|it| Envelope::read(&it).ok());
        let mut listed = listed.and_then(|it| lists::tenants_of(&it.body)).unwrap_or_default();
        let mut found = Tenants::new();
        for id in names.iter().filter_map(|it| it.parse().ok()) {
            let told = match listed.remove(&id) {
                Some(told) => told,
                None => self.told_of(id)?,
            };
            found.insert(id, told);
        }
        Ok(found)
    }

    /// Returns what the document of a tenant says that is in the tree.
    fn told_of(&self, tenant: TenantId) -> Io<serde_json::Value> {
        let bytes = self.read(&self.root().join(tenant.to_string()).join(CONFIG))?;
        let read = bytes.and_then(|it| Envelope::read(&it).ok());
        Ok(read.map_or_else(lists::unknown_tenant, |it| lists::tenant_entry(&it.body)))
    }

    /// Puts what changes in a list into what its file says.
    fn put_listed(&self, state: &mut State, listed: &Listed, work: &mut Work<D>) -> Io<()> {
        let place = Place::List(listed.list);
        let path = self.locate(state, listed.tenant, &place)?;
        if listed.is_whole {
            return match lists::document(listed, None) {
                Some(document) => self.stage(state, &document, work),
                None => lacks(listed, work),
            };
        }
        let before = match self.read(&path)?.map(|it| Envelope::read(&it)) {
            None => None,
            Some(Ok(envelope)) => Some(envelope),
            // It stands aside, or is left alone, when the whole list comes.
            Some(Err(Wrong::Newer(_) | Wrong::Damaged(_))) => return lacks(listed, work),
        };
        let body = before.as_ref().map(|it| &*it.body);
        let Some(document) = lists::document(listed, body) else { return lacks(listed, work) };
        let Some(before) = before else { return self.stage(state, &document, work) };
        // Not staged: that would read it once more, and a list may be very long.
        let Envelope { seq, body, unknown, .. } = before;
        if seq == document.seq && body == document.body {
            return Ok(());
        }
        drop(body);
        self.put(&path, &Envelope::taking(document, unknown).write(), work)
    }

    /// Removes an entry, if it is there.
    fn remove(&self, state: &mut State, path: &Path, work: &mut Work<D>) -> Io<()> {
        match self.disk.remove(path) {
            Ok(()) => state.fans.removed(path.parent().unwrap_or(path)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(error).at(path),
        }
        work.touched(path);
        Ok(())
    }

    /// Removes what was moved aside from a place, damaged: who forgets an instance forgets all that
    /// shows it. Numbers are given without a gap, so the first that is not there ends the search.
    fn remove_asides(&self, path: &Path, work: &mut Work<D>) -> Io<()> {
        for number in 1.. {
            let aside = aside(path, number);
            match self.disk.remove(&aside) {
                Ok(()) => work.touched(&aside),
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
                Err(error) => return Err(error).at(&aside),
            }
        }
        Ok(())
    }

    /// Removes everything that shows an instance of a tenant. The names of workflows are those of
    /// directories: who asks may not know them any more.
    fn forget_one(
        &self,
        state: &mut State,
        (tenant, instance): (TenantId, InstanceId),
        work: &mut Work<D>,
    ) -> Io<()> {
        self.ask(state, &Asks { tenant, instance, documents: Vec::new() }, work)?;
        let digits = instance.0.simple().to_string();
        let home = self.root().join(tenant.to_string());
        for base in self.workflow_dirs(&home.join("workflows"))? {
            let dir = state.fans.find(&self.disk, &base, &digits).at(&base)?;
            let path = dir.join(format!("{instance}.json"));
            self.remove(state, &path, work)?;
            self.remove_asides(&path, work)?;
        }
        for base in self.workflow_dirs(&home.join("events"))? {
            let dir = state.fans.find(&self.disk, &base, &digits).at(&base)?;
            let entry = dir.join(instance.to_string());
            for name in list(&self.disk, &entry).at(&entry)? {
                let file = entry.join(name);
                self.disk.remove(&file).at(&file)?;
            }
            match self.disk.remove_dir(&entry) {
                Ok(()) => state.fans.removed(&dir),
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(error).at(&entry),
            }
            work.touched(&entry);
        }
        Ok(())
    }

    fn workflow_dirs(&self, dir: &Path) -> Io<Vec<PathBuf>> {
        let names = list(&self.disk, dir).at(dir)?;
        let is_workflow = |it: &&String| path::is_dir_name(it) && !path::is_reserved(it);
        Ok(names.iter().filter(is_workflow).map(|it| dir.join(it)).collect())
    }

    /// Makes durable what was written, and gives documents their names.
    fn settle(&self, work: &mut Work<D>) -> Io<()> {
        let root = self.root();
        let is_many = work.is_many() || work.dirs.len() > SINGLY_MAX;
        if is_many {
            self.disk.sync_all(&root).at(&root)?;
        } else {
            for (file, path) in &work.files {
                file.sync().at(path)?;
            }
        }
        work.files.clear();
        for (from, to) in std::mem::take(&mut work.renames) {
            self.disk.rename(&from, &to).at(&to)?;
        }
        if is_many {
            return self.disk.sync_all(&root).at(&root);
        }
        // A file's directory may be new as well, and so may the ones above it.
        let dirs: BTreeSet<&Path> = work
            .dirs
            .iter()
            .flat_map(|dir| dir.ancestors().take_while(|it| it.starts_with(&self.data)))
            .collect();
        for dir in dirs.into_iter().rev() {
            self.disk.sync_dir(dir).at(dir)?;
        }
        work.dirs.clear();
        Ok(())
    }

    fn write_all(&self, state: &mut State, batch: &Batch, work: &mut Work<D>) -> Io<()> {
        let root = self.root();
        self.disk.create_dir(&root).at(&root)?;
        for lines in &batch.lines {
            self.append(state, lines, work)?;
        }
        for (tenant, place) in &batch.removed {
            let path = self.locate(state, *tenant, place)?;
            self.remove(state, &path, work)?;
            self.remove_asides(&path, work)?;
        }
        for document in &batch.documents {
            self.stage(state, document, work)?;
        }
        for listed in &batch.listed {
            self.put_listed(state, listed, work)?;
        }
        for asks in &batch.asks {
            self.ask(state, asks, work)?;
        }
        self.name_tenants(state, batch, work)?;
        if work.has_any() {
            self.settle(work)?;
        }
        let mut last = Work::default();
        self.stage(state, &progress_document(batch.position, Some(SHOWS)), &mut last)?;
        if last.has_any() {
            self.settle(&mut last)?;
        }
        work.notices.append(&mut last.notices);
        Ok(())
    }
}

impl<D: Disk> Tree for DiskTree<D> {
    fn position(&self) -> Result<Position, TreeError> {
        let path = self.locate(&mut self.lock(), None, &Place::Progress)?;
        let Some(bytes) = self.read(&path)? else { return Ok(0) };
        match Envelope::read(&bytes) {
            // One of a release that showed less is filled from the start.
            Ok(it) if envelope::number_of(&it.body, "shows") != Some(SHOWS) => Ok(0),
            Ok(it) => Ok(envelope::number_of(&it.body, "position").unwrap_or(0)),
            Err(Wrong::Newer(found)) => {
                Err(TreeError::Newer { path: path.display().to_string(), found, known: FORMAT })
            }
            // The next write moves it aside and says so.
            Err(Wrong::Damaged(_)) => Ok(0),
        }
    }

    fn write(&self, batch: &Batch) -> Result<Vec<Notice>, TreeError> {
        // Before anything is touched: a newer release may keep the tree in another way.
        self.position()?;
        let state = &mut *self.lock();
        let mut work = Work::default();
        match self.write_all(state, batch, &mut work) {
            Ok(()) => Ok(work.notices),
            Err(error) => {
                // Half of it may have happened; it is read from the directories again.
                state.fans.forget();
                state.tenants = None;
                state.asking.clear();
                for temporary in work.renames.keys() {
                    // Frees space on a full disk; what stays is removed by the next write.
                    let _ = self.disk.remove(temporary);
                }
                Err(error)
            }
        }
    }

    fn check(&self, document: &Document) -> Result<Checked, TreeError> {
        self.compare(&mut self.lock(), document)
    }

    fn mend(&self, document: &Document) -> Result<Vec<Notice>, TreeError> {
        self.replace(&mut self.lock(), document, UNLIKE_LOG)
    }

    fn keep_copy(&self, hour: &Text, of: Option<&[&Document]>) -> Result<Vec<Notice>, TreeError> {
        // Before anything is touched: a newer release may keep the tree in another way.
        self.position()?;
        self.copy(&mut self.lock(), hour, of)
    }

    fn forget(&self, instances: &[(TenantId, InstanceId)]) -> Result<(), TreeError> {
        if !self.exists() {
            return Ok(());
        }
        // Before anything is touched: a newer release may keep the tree in another way.
        self.position()?;
        let state = &mut *self.lock();
        let mut work = Work::default();
        let mut all = instances.iter();
        let forgotten = all.try_for_each(|it| self.forget_one(state, *it, &mut work));
        let forgotten = match forgotten {
            Ok(()) if work.has_any() => self.settle(&mut work),
            other => other,
        };
        if forgotten.is_err() {
            state.fans.forget();
            state.asking.clear();
        }
        forgotten
    }

    fn set_aside(&self) -> Result<String, TreeError> {
        let state = &mut *self.lock();
        state.fans.forget();
        state.tenants = None;
        state.asking.clear();
        let taken = list(&self.disk, &self.data).at(&self.data)?;
        let free = |number: &u32| !taken.contains(&format!("{TREE_DIR}.stale-{number}"));
        let number = (1..).find(free).unwrap_or(u32::MAX);
        let to = self.data.join(format!("{TREE_DIR}.stale-{number}"));
        self.disk.rename(&self.root(), &to).at(&to)?;
        self.disk.sync_dir(&self.data).at(&self.data)?;
        Ok(to.display().to_string())
    }
}

/// Returns where a damaged file of a place stands.
fn aside(path: &Path, number: u32) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!("{name}.damaged-{number}"))
}

impl<D: Disk> fmt::Debug for DiskTree<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DiskTree").field("data", &self.data).finish_non_exhaustive()
    }
}

/// What a write has to make durable.
struct Work<D: Disk> {
    /// Files, as long as they are few.
    files: Vec<(D::File, PathBuf)>,
    count: usize,
    renames: BTreeMap<PathBuf, PathBuf>,
    dirs: BTreeSet<PathBuf>,
    notices: Vec<Notice>,
}

impl<D: Disk> Default for Work<D> {
    fn default() -> Self {
        let (files, renames) = (Vec::new(), BTreeMap::new());
        Work { files, count: 0, renames, dirs: BTreeSet::new(), notices: Vec::new() }
    }
}

impl<D: Disk> Work<D> {
    fn wrote(&mut self, file: D::File, path: &Path) {
        self.count += 1;
        match self.is_many() {
            true => self.files.clear(),
            false => self.files.push((file, path.to_path_buf())),
        }
        self.touched(path);
    }

    fn touched(&mut self, path: &Path) {
        if !self.is_many() {
            self.dirs.extend(path.parent().map(Path::to_path_buf));
        }
    }

    fn is_many(&self) -> bool {
        self.count > SINGLY_MAX
    }

    fn has_any(&self) -> bool {
        self.count > 0 || !self.dirs.is_empty()
    }
}

/// Returns the document that says up to where the tree follows the log, and how much it shows.
fn progress_document(position: Position, shows: Option<u64>) -> Document {
    let shows = shows.map_or_else(String::new, |it| format!(r#","shows":{it}"#));
    Document {
        tenant: None,
        place: Place::Progress,
        version: 1,
        seq: position,
        updated_at: None,
        body: format!(r#"{{"position":{position}{shows}}}"#).into_bytes(),
    }
}

/// Asks for the whole of a list.
fn lacks<D: Disk>(listed: &Listed, work: &mut Work<D>) -> Io<()> {
    let Listed { tenant, list, .. } = listed;
    work.notices.push(Notice::Lacking { tenant: *tenant, list });
    Ok(())
}

/// A result of the tree.
type Io<T> = Result<T, TreeError>;

/// Says where the system refused; a full disk stays recognisable.
trait At<T> {
    fn at(self, path: &Path) -> Io<T>;
}

impl<T> At<T> for io::Result<T> {
    fn at(self, path: &Path) -> Io<T> {
        self.map_err(|error| match is_full(&error) {
            true => TreeError::Full,
            false => TreeError::Failed(format!("`{}`: {error}", path.display()).into()),
        })
    }
}
