//! The tree compared with what the log says, and mended: a [`Tree`] that is fed the whole log and
//! writes only what is wrong.
//!
//! Responsible for finding every difference; what it means is for the caller. Memory grows by some
//! bytes for each file, never by contents.
//!
//! Invariants: nothing is written unless asked to repair; what a repair replaces stands aside under
//! another name, unless it only was behind; a document of a newer release is never touched.

use std::{
    collections::{BTreeMap, HashMap, HashSet, hash_map::DefaultHasher},
    fmt,
    hash::{Hash as _, Hasher as _},
    io,
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
};

use traaviis_model::{InstanceId, TenantId, Text};
use traaviis_ports::{
    Position, Tree, TreeError,
    disk::{Access, Disk, DiskFile},
    tree::{
        Batch, Checked, Document, Lines, Notice, Place,
        shown::{CONFIG, DIRS, SYSTEM},
    },
};

use super::{
    At as _, DiskTree, Io, Work, copies,
    envelope::{Envelope, FORMAT, Wrong},
    lines::holds,
    lists::{self, Tenants, tenants_document},
    path::{TREE_DIR, digits_of, is_dir_name, is_fan_name},
    progress_document,
};
use crate::files::list;

/// Differences that are kept to be shown; more are only counted.
const SHOWN_MAX: usize = 1_000;
/// Bytes of documents that differ and may yet turn out well, because the log goes on.
const UNSURE_BYTES_MAX: usize = 32 << 20;
/// Documents written at once.
const BATCH_MAX: usize = 500;
/// Bytes copied at once.
const COPY_BYTES: usize = 1 << 20;
/// Directories of a tenant in which every file is the tree's, beside [`DIRS`].
const OWN_DIRS: [&str; 4] = ["workflows", "events", "tasks", "incidents"];

/// How a file differs from the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum What {
    /// It is not there.
    Missing,
    /// It is as it was some records ago.
    Behind,
    /// It was changed, or damaged.
    Changed,
    /// The log knows nothing of it.
    Unexpected,
    /// A newer release wrote it.
    Newer,
}

impl What {
    /// Every one of them.
    pub const ALL: [What; 5] =
        [What::Missing, What::Behind, What::Changed, What::Unexpected, What::Newer];

    /// Returns the word for people and programs.
    pub fn as_str(self) -> &'static str {
        match self {
            What::Missing => "missing",
            What::Behind => "behind",
            What::Changed => "changed",
            What::Unexpected => "unexpected",
            What::Newer => "newer",
        }
    }
}

/// A file that differs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// Path in the data directory.
    pub path: String,
    /// How.
    pub what: What,
    /// More about it.
    pub detail: String,
    /// It is mended.
    pub is_repaired: bool,
}

/// What a comparison found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// Documents that the log asks for.
    pub documents: u64,
    /// Files of lines that the log asks for.
    pub line_files: u64,
    /// Differences by kind.
    pub counts: BTreeMap<What, u64>,
    /// The first of them.
    pub differences: Vec<Difference>,
    /// Files that stand aside from earlier.
    pub set_aside: u64,
    /// Files that are none of the tree's.
    pub others: u64,
}

impl Found {
    /// Returns how many files differ.
    pub fn count(&self) -> u64 {
        self.counts.values().sum()
    }
}

/// Compares a tree with what it is fed.
pub struct Verifier<D: Disk> {
    tree: DiskTree<D>,
    repairs: bool,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// What the log asks for, by the hash of the path.
    expected: HashMap<u64, Expected>,
    /// Documents that differ from what the log said so far.
    unsure: BTreeMap<PathBuf, (Document, What, String)>,
    unsure_bytes: usize,
    /// Documents that are not there.
    missing: Vec<Document>,
    tenants: Tenants,
    found: Found,
}

impl State {
    /// Notes that a tenant is there.
    fn know(&mut self, tenant: Option<TenantId>) {
        if let Some(tenant) = tenant {
            self.tenants.entry(tenant).or_insert_with(lists::unknown_tenant);
        }
    }
}

#[derive(Clone, Copy, Default)]
struct Expected {
    /// Bytes, for a file of lines.
    len: Option<u64>,
    /// A difference was told, so another is not.
    is_told: bool,
}

impl<D: Disk> Verifier<D> {
    /// Returns a comparison of a tree; with `repairs` it mends what it finds.
    pub fn new(tree: DiskTree<D>, repairs: bool) -> Verifier<D> {
        Verifier { tree, repairs, state: Mutex::default() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks at what is in the tree beside what the log asks for, and ends the comparison at a
    /// position. Files of the instances in `left_out` are left as they are.
    pub fn finish(self, position: Position, left_out: &[InstanceId]) -> Result<Found, TreeError> {
        {
            let state = &mut *self.lock();
            if !state.tenants.is_empty() {
                self.document(state, &tenants_document(&state.tenants.clone()))?;
            }
            if position > 0 {
                // What an earlier release wrote is right as far as it goes; what it does not show
                // is missing.
                let shows = self.tree.shows()?;
                self.document(state, &progress_document(position, shows))?;
            }
            self.decide(state)?;
            self.mend_missing(state)?;
            let left_out: HashSet<String> = left_out.iter().map(|it| it.to_string()).collect();
            self.walk(state, &self.tree.root(), &left_out)?;
        }
        if self.repairs && self.tree.exists() {
            let root = self.tree.root();
            self.tree.disk.sync_all(&root).at(&root)?;
            self.tree.write(&Batch { position, ..Batch::default() })?;
        }
        let state = self.state.into_inner().unwrap_or_else(PoisonError::into_inner);
        Ok(state.found)
    }

    fn tell(&self, state: &mut State, path: &Path, what: What, detail: &str) {
        let told = state.expected.entry(hash_of(path)).or_default();
        if std::mem::replace(&mut told.is_told, true) {
            return;
        }
        *state.found.counts.entry(what).or_default() += 1;
        if state.found.differences.len() < SHOWN_MAX {
            let root = self.tree.root();
            let path = path.strip_prefix(&root).unwrap_or(path).display();
            state.found.differences.push(Difference {
                path: format!("{TREE_DIR}/{path}"),
                what,
                detail: detail.into(),
                is_repaired: self.repairs && what != What::Newer,
            });
        }
    }

    // --- Documents --------------------------------------------------------------------------

    fn document(&self, state: &mut State, document: &Document) -> Io<()> {
        let path = self.locate(document.tenant, &document.place)?;
        if !state.expected.contains_key(&hash_of(&path)) {
            state.found.documents += 1;
            state.expected.insert(hash_of(&path), Expected::default());
        }
        if let Some((before, ..)) = state.unsure.remove(&path) {
            state.unsure_bytes -= before.body.len();
        }
        let Some(bytes) = self.tree.read(&path)? else {
            self.tell(state, &path, What::Missing, "");
            if self.repairs {
                state.missing.push(document.clone());
            }
            if state.missing.len() >= BATCH_MAX {
                self.mend_missing(state)?;
            }
            return Ok(());
        };
        let (what, detail) = match Envelope::read(&bytes) {
            Ok(envelope) if envelope.says(document) => return Ok(()),
            Ok(envelope) if envelope.seq < document.seq => {
                let (held, last) = (envelope.seq, document.seq);
                (What::Behind, format!("at record {held} of {last}"))
            }
            Ok(_) => (What::Changed, "says something else than the log".into()),
            Err(Wrong::Newer(found)) => {
                let detail = format!("format `{found}`, this release reads up to `{FORMAT}`");
                self.tell(state, &path, What::Newer, &detail);
                return Ok(());
            }
            Err(Wrong::Damaged(why)) => (What::Changed, why),
        };
        state.unsure_bytes += document.body.len();
        state.unsure.insert(path, (document.clone(), what, detail));
        if state.unsure_bytes > UNSURE_BYTES_MAX {
            self.decide(state)?;
        }
        Ok(())
    }

    /// Tells of the documents that differ from the last that the log said of them.
    fn decide(&self, state: &mut State) -> Io<()> {
        state.unsure_bytes = 0;
        let unsure = std::mem::take(&mut state.unsure);
        let mut documents = Vec::new();
        for (path, (document, what, detail)) in unsure {
            self.tell(state, &path, what, &detail);
            if !self.repairs {
                continue;
            }
            if what == What::Changed {
                self.tree.quarantine(&path, &detail)?;
            }
            documents.push(document);
        }
        // What was moved aside is counted no more.
        self.tree.lock().fans.forget();
        self.put(documents)
    }

    fn mend_missing(&self, state: &mut State) -> Io<()> {
        self.put(std::mem::take(&mut state.missing))
    }

    /// Writes documents; the position goes back, so that a repair that is ended too soon is made
    /// whole by the next process.
    fn put(&self, mut documents: Vec<Document>) -> Io<()> {
        // The position follows at the end.
        documents.retain(|it| it.place != Place::Progress);
        if !documents.is_empty() {
            self.tree.write(&Batch { documents, ..Batch::default() })?;
        }
        Ok(())
    }

    /// Compares the copy of an hour.
    fn copy(&self, state: &mut State, hour: &Text, of: &[&Document]) -> Io<()> {
        let path = self.locate(None, &Place::Copy { hour: hour.clone() })?;
        state.found.documents += 1;
        state.expected.insert(hash_of(&path), Expected::default());
        let held = self.tree.read(&path)?;
        match &held {
            Some(bytes) => match copies::unpack(bytes) {
                Some(text) if text == copies::text_of(hour, of).at(&path)? => return Ok(()),
                Some(_) => {
                    self.tell(state, &path, What::Changed, "says something else than the log");
                }
                None => self.tell(state, &path, What::Changed, "it is damaged"),
            },
            None => self.tell(state, &path, What::Missing, ""),
        }
        if !self.repairs {
            return Ok(());
        }
        if held.is_some() {
            self.tree.quarantine(&path, "it differs from the log")?;
        }
        self.tree.write_copy(&mut self.tree.lock(), hour, Some(of)).map(drop)
    }

    // --- Lines ------------------------------------------------------------------------------

    fn lines(&self, state: &mut State, lines: &Lines) -> Io<()> {
        let path = self.locate(lines.tenant, &lines.place)?;
        let known = state.expected.get(&hash_of(&path)).copied().unwrap_or_default();
        let offset = known.len.unwrap_or_else(|| {
            state.found.line_files += 1;
            0
        });
        let len = Some(offset + lines.lines.len() as u64);
        state.expected.insert(hash_of(&path), Expected { len, ..known });
        if known.is_told && !self.repairs {
            return Ok(());
        }
        let access = if self.repairs { Access::Write } else { Access::Read };
        let file = match self.tree.disk.open(&path, access) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.tell(state, &path, What::Missing, "");
                if self.repairs {
                    let path = self.make(lines)?;
                    let file = self.tree.disk.create(&path).at(&path)?;
                    file.write_all_at(&lines.lines, 0).at(&path)?;
                }
                return Ok(());
            }
            Err(error) => return Err(error).at(&path),
        };
        if holds(&file, offset, &lines.lines).at(&path)? {
            return Ok(());
        }
        let held = file.len().at(&path)?.saturating_sub(offset);
        let held = usize::try_from(held).unwrap_or(usize::MAX);
        let is_behind =
            held < lines.lines.len() && holds(&file, offset, &lines.lines[..held]).at(&path)?;
        match is_behind {
            true => self.tell(state, &path, What::Behind, "ends too soon"),
            false => self.tell(state, &path, What::Changed, "says something else than the log"),
        }
        if !self.repairs {
            return Ok(());
        }
        let file = match is_behind {
            true => file,
            false => self.keep_start(&path, &file, offset)?,
        };
        file.write_all_at(&lines.lines, offset).at(&path)
    }

    /// Moves a file aside and makes it again with the bytes before an offset.
    fn keep_start(&self, path: &Path, old: &D::File, offset: u64) -> Io<D::File> {
        let disk = &self.tree.disk;
        self.tree.quarantine(path, "it differs from the log")?;
        let file = disk.create(path).at(path)?;
        let mut at = 0;
        while at < offset {
            let mut bytes = vec![0; COPY_BYTES.min((offset - at) as usize)];
            let read = old.read_full_at(&mut bytes, at).at(path)?;
            file.write_all_at(&bytes[..read], at).at(path)?;
            at += read as u64;
            if read == 0 {
                break;
            }
        }
        Ok(file)
    }

    // --- Files ------------------------------------------------------------------------------

    fn locate(&self, tenant: Option<TenantId>, place: &Place) -> Io<PathBuf> {
        self.tree.locate(&mut self.tree.lock(), tenant, place)
    }

    fn make(&self, lines: &Lines) -> Io<PathBuf> {
        let work = &mut Work::default();
        self.tree.make(&mut self.tree.lock(), lines.tenant, &lines.place, work)
    }

    fn walk(&self, state: &mut State, dir: &Path, left_out: &HashSet<String>) -> Io<()> {
        let names = match list(&self.tree.disk, dir) {
            Err(error) if error.kind() == io::ErrorKind::NotADirectory => {
                state.found.others += 1;
                return Ok(());
            }
            names => names.at(dir)?,
        };
        for name in names {
            let path = dir.join(&name);
            match is_dir_name(&name) {
                true => self.walk(state, &path, left_out)?,
                false => self.file(state, &path, &name, left_out)?,
            }
        }
        Ok(())
    }

    fn file(
        &self,
        state: &mut State,
        path: &Path,
        name: &str,
        left_out: &HashSet<String>,
    ) -> Io<()> {
        if name.contains(".damaged-") {
            state.found.set_aside += 1;
            return Ok(());
        }
        if name.starts_with('.') && name.ends_with(".tmp") {
            // Of a write that a crash ended.
            if self.repairs {
                self.tree.disk.remove(path).at(path)?;
            }
            return Ok(());
        }
        if is_of(path, left_out) {
            state.found.others += 1;
            return Ok(());
        }
        match state.expected.get(&hash_of(path)).copied() {
            Some(Expected { len: None, .. }) => Ok(()),
            Some(Expected { len: Some(len), is_told }) => {
                let file = self.tree.disk.open(path, Access::Read).at(path)?;
                if file.len().at(path)? <= len || (is_told && !self.repairs) {
                    return Ok(());
                }
                self.tell(state, path, What::Changed, "goes on after its last record");
                if self.repairs {
                    self.keep_start(path, &file, len)?;
                }
                Ok(())
            }
            None if self.is_own(path) => {
                self.tell(state, path, What::Unexpected, "");
                if self.repairs {
                    self.tree.quarantine(path, "the log knows nothing of it")?;
                }
                Ok(())
            }
            None => {
                state.found.others += 1;
                Ok(())
            }
        }
    }

    /// Says whether only the tree puts files where this one is.
    fn is_own(&self, path: &Path) -> bool {
        let root = self.tree.root();
        let mut parts = path.strip_prefix(&root).unwrap_or(path).components();
        let (above, dir) = (parts.next(), parts.next());
        let end = path.extension().unwrap_or_default();
        let is_file = end == "json" || end == "jsonl" || end == "gz";
        if above.is_some_and(|it| it.as_os_str() == SYSTEM) {
            return is_file;
        }
        let is_ours = |it: std::path::Component<'_>| {
            let own = it.as_os_str();
            let mut dirs = OWN_DIRS.iter().chain(&DIRS);
            dirs.any(|it| own == *it) || (own == CONFIG && parts.next().is_none())
        };
        is_file && dir.is_some_and(is_ours)
    }
}

impl<D: Disk> Tree for Verifier<D> {
    fn position(&self) -> Result<Position, TreeError> {
        self.tree.position().map(|_| 0)
    }

    fn write(&self, batch: &Batch) -> Result<Vec<Notice>, TreeError> {
        let state = &mut *self.lock();
        for lines in &batch.lines {
            state.know(lines.tenant);
            self.lines(state, lines)?;
        }
        let asked = batch.asks.iter().flat_map(|it| &it.documents);
        for document in batch.documents.iter().chain(asked) {
            state.know(document.tenant);
            state.tenants.extend(lists::tenant_of(document));
            self.document(state, document)?;
        }
        for listed in &batch.listed {
            let whole = TreeError::Failed("a list can be compared only whole".into());
            let document = lists::document(listed, None).filter(|_| listed.is_whole);
            self.document(state, &document.ok_or(whole)?)?;
        }
        Ok(Vec::new())
    }

    fn check(&self, document: &Document) -> Result<Checked, TreeError> {
        self.tree.check(document)
    }

    fn mend(&self, document: &Document) -> Result<Vec<Notice>, TreeError> {
        self.tree.mend(document)
    }

    fn keep_copy(&self, hour: &Text, of: Option<&[&Document]>) -> Result<Vec<Notice>, TreeError> {
        let whole = TreeError::Failed("a copy can be compared only with its documents".into());
        self.copy(&mut self.lock(), hour, of.ok_or(whole)?)?;
        Ok(Vec::new())
    }

    fn forget(&self, _: &[(TenantId, InstanceId)]) -> Result<(), TreeError> {
        Err(TreeError::Failed("a comparison forgets nothing".into()))
    }

    fn set_aside(&self) -> Result<String, TreeError> {
        Err(TreeError::Failed("a comparison moves nothing aside".into()))
    }
}

impl<D: Disk> fmt::Debug for Verifier<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Verifier").field("repairs", &self.repairs).finish_non_exhaustive()
    }
}

/// Names a file in few bytes, wherever its directory has been divided meanwhile.
fn hash_of(path: &Path) -> u64 {
    let mut hasher = DefaultHasher::new();
    let parts: Vec<_> = path.iter().map(|it| it.to_string_lossy()).collect();
    for (at, part) in parts.iter().enumerate() {
        let below = parts[at..].iter().find(|it| !is_fan_name(it));
        let divides = is_fan_name(part) && below.is_some_and(|it| digits_of(it).is_some());
        if !divides {
            part.hash(&mut hasher);
        }
    }
    hasher.finish()
}

fn is_of(path: &Path, left_out: &HashSet<String>) -> bool {
    !left_out.is_empty()
        && path
            .iter()
            .any(|it| it.to_string_lossy().get(..36).is_some_and(|it| left_out.contains(it)))
}
