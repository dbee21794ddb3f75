//! What an unpacked export holds, read through before anything is imported.
//!
//! Every history is folded, and the state that comes out must be the one in its document; so what
//! goes on here is what stopped there.

use std::{
    borrow::Cow,
    collections::{BTreeMap, HashMap},
    fs::{self, File},
    io::{BufRead, BufReader, Seek as _, SeekFrom},
    path::{Path, PathBuf},
};

use sha2::{Digest, Sha256};
use traaviis_model::{
    Body, DefinitionHash, InstanceId, Record, Seq, Snapshot, document,
    record::{LineError, SEALED},
};
use traaviis_ports::{
    LogError,
    archive::ArchivedHistory,
    tree::shown::{CONFIG, DIRS},
};

use super::{Coming, DOCUMENTS, Error, Manifest, ORDER, Run, failed, source::sealed_path};
use crate::{
    archive,
    blobs::{self, Blobs},
    disk::OsDisk,
    files::hex,
    line, sealed, secrets,
    tree::{
        TREE_DIR,
        envelope::{self, Envelope, Wrong},
    },
};

/// An export that is whole.
pub struct Checked {
    /// What is in it.
    pub manifest: Manifest,
    pub(super) folder: PathBuf,
    pub(super) documents: Vec<Document>,
    /// Streams of more than one document, as a server keeps them.
    pub(super) ledgers: BTreeMap<InstanceId, Ledger>,
    pub(super) histories: BTreeMap<InstanceId, History>,
    /// Paths of archive files.
    pub(super) archived: BTreeMap<InstanceId, PathBuf>,
    /// Definitions that let one open instance have a business key.
    unique: HashMap<DefinitionHash, bool>,
    file: String,
    /// What opens records about people.
    coming: Option<Coming>,
}

/// A document of an export.
pub(super) struct Document {
    pub stream: InstanceId,
    pub seq: Seq,
    /// Number of the first record that was committed with it.
    pub step: Seq,
    pub line: Vec<u8>,
}

/// What is compared of a stream of documents.
#[derive(Default)]
pub(super) struct Ledger {
    pub count: Seq,
    hash: Sha256,
}

impl Ledger {
    pub fn hash(&self) -> String {
        hex(&self.hash.clone().finalize())
    }
}

/// A history of an export.
pub(super) struct History {
    /// Its files, the first records first.
    files: Vec<PathBuf>,
    /// Records.
    pub count: Seq,
    /// Hash of its lines.
    pub hash: String,
    /// Business key of an open instance that nobody else may have: workflow and key.
    pub key: Option<(String, String)>,
}

impl History {
    /// Hashes its first lines.
    pub fn hash_to(&self, count: Seq) -> Result<String, Error> {
        let mut hash = Sha256::new();
        let mut left = count;
        self.each(&mut |line| {
            if left > 0 {
                left -= 1;
                hash.update(line);
                hash.update(b"\n");
            }
            Ok(())
        })?;
        Ok(hex(&hash.finalize()))
    }

    fn each(&self, visit: &mut dyn FnMut(&[u8]) -> Result<(), Error>) -> Result<(), Error> {
        for path in &self.files {
            let mut file = BufReader::new(File::open(path).map_err(failed("open", path))?);
            let mut line = Vec::new();
            while file.read_until(b'\n', &mut line).map_err(failed("read", path))? > 0 {
                visit(line.strip_suffix(b"\n").unwrap_or(&line))?;
                line.clear();
            }
        }
        Ok(())
    }

    /// Returns what reads its lines one after another, opened anew for each run of them.
    pub fn reader(&self) -> Lines<'_> {
        Lines { files: &self.files, offset: 0 }
    }
}

/// Where reading a history stands.
pub(super) struct Lines<'a> {
    files: &'a [PathBuf],
    offset: u64,
}

impl Lines<'_> {
    /// Reads the next lines, each with its newline.
    pub fn take(&mut self, count: u32) -> Result<Vec<u8>, Error> {
        let (mut lines, mut left) = (Vec::new(), count);
        while left > 0 {
            let Some(path) = self.files.first() else { break };
            let mut file = File::open(path).map_err(failed("open", path))?;
            file.seek(SeekFrom::Start(self.offset)).map_err(failed("read", path))?;
            let mut file = BufReader::new(file);
            while left > 0 {
                let read = file.read_until(b'\n', &mut lines).map_err(failed("read", path))?;
                if read == 0 {
                    (self.files, self.offset) = (&self.files[1..], 0);
                    break;
                }
                self.offset += read as u64;
                left -= 1;
            }
        }
        Ok(lines)
    }
}

impl Checked {
    /// Reads an unpacked export through; `coming` are its keys.
    pub fn read(
        file: &Path,
        manifest: Manifest,
        folder: &Path,
        coming: Option<Coming>,
    ) -> Result<Checked, Error> {
        let mut checked = Checked {
            manifest,
            folder: folder.to_path_buf(),
            documents: Vec::new(),
            ledgers: BTreeMap::new(),
            histories: BTreeMap::new(),
            archived: BTreeMap::new(),
            unique: HashMap::new(),
            file: file.display().to_string(),
            coming,
        };
        checked.read_documents()?;
        checked.read_tree()?;
        checked.read_archive()?;
        let runs = checked.runs(&mut |_| Ok(()))?;
        let manifest = &checked.manifest;
        let ledger = checked.ledgers.values().map(|it| it.count).sum::<Seq>();
        let found = (checked.histories.len() as u64, checked.archived.len() as u64, runs, ledger);
        let told = (manifest.instances, manifest.archived, manifest.records, manifest.ledger);
        if found != told {
            return Err(checked.damaged("its manifest counts other instances or records"));
        }
        Ok(checked)
    }

    fn damaged(&self, why: impl Into<String>) -> Error {
        Error::Damaged { file: self.file.clone(), why: why.into() }
    }

    /// Hashes the first documents of a stream of them.
    pub(super) fn ledger_to(&self, stream: InstanceId, count: Seq) -> String {
        let mut ledger = Ledger::default();
        for it in self.documents.iter().filter(|it| it.stream == stream && it.seq <= count) {
            ledger.hash.update(&it.line);
            ledger.hash.update(b"\n");
        }
        ledger.hash()
    }

    /// Returns the keys that come with it.
    pub fn coming(&self) -> Option<&Coming> {
        self.coming.as_ref()
    }

    /// Opens a line about a person, with the keys that come.
    fn opened<'a>(&self, bytes: &'a [u8]) -> Result<Cow<'a, [u8]>, Error> {
        if !sealed::is_sealed(bytes) {
            return Ok(Cow::Borrowed(bytes));
        }
        match &self.coming {
            Some(coming) => Ok(sealed::open_line(coming.subjects(), bytes)?),
            None => Err(self.damaged("it has records about people and no keys")),
        }
    }

    fn record(&self, bytes: &[u8]) -> Result<Record, Error> {
        let opened = self.opened(bytes)?;
        let record = Record::read_line(&opened).map_err(|error| match error {
            LineError::Newer { found } => {
                let known = traaviis_model::record::RECORD_VERSION;
                Error::Log(LogError::Newer { path: self.file.clone(), found, known })
            }
            other => self.damaged(other.to_string()),
        })?;
        // A line that is no prefix of ours would be refused by the log.
        if record.header.tenant_id != self.manifest.tenant || line::key(bytes).is_none() {
            return Err(self.damaged("a record in it belongs to another tenant"));
        }
        Ok(record)
    }

    fn read_documents(&mut self) -> Result<(), Error> {
        let path = self.folder.join(DOCUMENTS);
        let text = fs::read(&path).map_err(failed("read", &path))?;
        for bytes in text.split(|it| *it == b'\n').filter(|it| !it.is_empty()) {
            let record = self.record(bytes)?;
            let Body::DocumentPut { document, body, .. } = &record.body else {
                return Err(self.damaged(format!("a record in `{DOCUMENTS}` is no document")));
            };
            let (stream, seq) = (record.header.instance_id, record.header.seq);
            let ledger = self.ledgers.entry(stream).or_default();
            if seq != ledger.count + 1 {
                return Err(self.damaged(format!("documents are missing in `{DOCUMENTS}`")));
            }
            ledger.count = seq;
            ledger.hash.update(bytes);
            ledger.hash.update(b"\n");
            if &**document == "definition" {
                let hash = record.header.definition_hash;
                match document::read_value(body).definition {
                    Some(found) if found.hash != hash => {
                        let why = format!("definition `{hash}` does not fit its hash");
                        return Err(self.damaged(why));
                    }
                    Some(found) => {
                        let unique = found.correlation.as_ref().is_some_and(|it| it.unique);
                        self.unique.insert(hash, unique);
                    }
                    // Of an older release; its instances wait for a person, as where it came from.
                    None => {}
                }
            }
            let (step, line) = (record.header.step, bytes.to_vec());
            self.documents.push(Document { stream, seq, step, line });
        }
        // One alone is a definition or a note, which is the same wherever it is.
        self.ledgers.retain(|_, it| it.count > 1);
        Ok(())
    }

    /// Finds the histories and states in the tree and folds each history.
    fn read_tree(&mut self) -> Result<(), Error> {
        let tree = format!("{TREE_DIR}/{}/", self.manifest.tenant);
        let mut events: BTreeMap<InstanceId, Vec<PathBuf>> = BTreeMap::new();
        let mut states: BTreeMap<InstanceId, PathBuf> = BTreeMap::new();
        for entry in &self.manifest.files {
            let Some(rest) = entry.path.strip_prefix(&tree) else { continue };
            let parts: Vec<&str> = rest.split('/').collect();
            let path = self.folder.join(&entry.path);
            match &*parts {
                ["events", .., id, _] => match id.parse() {
                    // By name, which is by number: the manifest is sorted.
                    Ok(id) => events.entry(id).or_default().push(path),
                    Err(_) => return Err(self.damaged(format!("`{rest}` is no history"))),
                },
                ["workflows", "definitions", ..] | ["tasks" | "incidents", ..] => {}
                // What they show comes as records of the ledger.
                [CONFIG] => {}
                [dir, _, ..] if DIRS.contains(dir) => {}
                ["workflows", .., name] => {
                    match name.strip_suffix(".json").and_then(|it| it.parse().ok()) {
                        Some(id) => drop(states.insert(id, path)),
                        None => return Err(self.damaged(format!("`{rest}` is no state"))),
                    }
                }
                _ => return Err(self.damaged(format!("`{rest}` in its tree is not known"))),
            }
        }
        for (id, files) in events {
            let Some(state) = states.remove(&id) else {
                return Err(self.damaged(format!("the state of `{id}` is missing")));
            };
            // What the tree shows of people is no history of theirs.
            let sealed = self.folder.join(sealed_path(id));
            let files = if sealed.exists() { vec![sealed] } else { files };
            let history = self.fold(id, files, &state)?;
            self.histories.insert(id, history);
        }
        match states.into_keys().next() {
            Some(id) => Err(self.damaged(format!("the history of `{id}` is missing"))),
            None => Ok(()),
        }
    }

    fn fold(&self, id: InstanceId, files: Vec<PathBuf>, state: &Path) -> Result<History, Error> {
        let mut history = History { files, count: 0, hash: String::new(), key: None };
        let (mut folded, mut count, mut hash): (Option<Snapshot>, Seq, _) =
            (None, 0, Sha256::new());
        history.each(&mut |bytes| {
            count += 1;
            let record = self.record(bytes)?;
            if line::key(bytes) != Some(((self.manifest.tenant, id), count)) {
                return Err(self.damaged(format!("the history of `{id}` has a hole at {count}")));
            }
            hash.update(bytes);
            hash.update(b"\n");
            let wrong = |it: &dyn ToString| {
                self.damaged(format!("the history of `{id}`: {}", it.to_string()))
            };
            if let Some(reopened) = folded.as_ref().and_then(|_| Snapshot::reopen(&record)) {
                folded = Some(reopened);
                return Ok(());
            }
            match &mut folded {
                Some(it) => it.apply(&record).map_err(|error| wrong(&error)),
                None => {
                    folded = Some(Snapshot::create(&record).map_err(|error| wrong(&error))?);
                    Ok(())
                }
            }
        })?;
        let Some(snapshot) = folded else {
            return Err(self.damaged(format!("the history of `{id}` is empty")));
        };
        let bytes = fs::read(state).map_err(failed("read", state))?;
        let envelope = Envelope::read(&bytes).map_err(|wrong| match wrong {
            Wrong::Damaged(why) => self.damaged(format!("the state of `{id}`: {why}")),
            Wrong::Newer(found) => {
                let (found, known) = (found as u32, envelope::FORMAT as u32);
                let path = format!("{}:{}", self.file, state.display());
                Error::Log(LogError::Newer { path, found, known })
            }
        })?;
        let shown = match &snapshot.subject {
            Some(_) => snapshot.withheld(&SEALED.into()).canonical(),
            None => snapshot.canonical(),
        };
        if envelope.body != shown {
            return Err(self.damaged(format!("the state of `{id}` does not follow its history")));
        }
        let is_unique = self.unique.get(&snapshot.definition_hash).copied().unwrap_or(false);
        let key = snapshot.correlation.as_ref().filter(|_| is_unique);
        let key = key.filter(|_| !snapshot.status.is_finished());
        history.key = key.map(|it| (snapshot.workflow.to_lowercase(), it.to_string()));
        (history.count, history.hash) = (count, hex(&hash.finalize()));
        Ok(history)
    }

    fn read_archive(&mut self) -> Result<(), Error> {
        let dir = format!("tenants/{}/archived/instances/", self.manifest.tenant);
        for entry in &self.manifest.files {
            let path = &entry.path;
            // Its bytes have the hash of the manifest; whoever refers to it compares them again.
            let is_other = blobs::is_blob(Path::new(path)) || secrets::is_secret(Path::new(path));
            if !path.starts_with("tenants/") || is_other {
                continue;
            }
            let name = path.strip_prefix(&dir).and_then(archive::id_of);
            let Some(id) = name.filter(|it| !self.histories.contains_key(it)) else {
                let why = format!("`{path}` is no archive file, or of an instance that is open");
                return Err(self.damaged(why));
            };
            self.archived.insert(id, self.folder.join(path));
        }
        for id in self.archived.keys() {
            self.archived(*id)?;
        }
        Ok(())
    }

    /// Reads an archived history.
    pub(super) fn archived(&self, id: InstanceId) -> Result<ArchivedHistory, Error> {
        let path = &self.archived[&id];
        let packed = fs::read(path).map_err(failed("read", path))?;
        let key = (self.manifest.tenant, id);
        let mut history = archive::read_file(key, path, &packed).map_err(|error| match error {
            LogError::ArchiveDamaged { why, .. } => {
                self.damaged(format!("the archive file of `{id}`: {why}"))
            }
            other => Error::Log(other),
        })?;
        // Its large values stand in the folder as they do in a data directory.
        Blobs::new(OsDisk, &self.folder).make_whole(&mut history.lines)?;
        for line in &history.lines {
            if let Err(LineError::Unreadable(why)) = Record::read_line(&self.opened(line)?) {
                return Err(self.damaged(format!("the archive file of `{id}`: {why}")));
            }
        }
        Ok(history)
    }

    /// Visits the runs of records in the order of the log they came from; returns how many records
    /// they have. They are all records of all histories, each once.
    pub(super) fn runs(
        &self,
        visit: &mut dyn FnMut(Run) -> Result<(), Error>,
    ) -> Result<u64, Error> {
        let path = self.folder.join(ORDER);
        let file = BufReader::new(File::open(&path).map_err(failed("open", &path))?);
        let mut reached: HashMap<InstanceId, Seq> = HashMap::new();
        let mut records = 0;
        for bytes in file.split(b'\n') {
            let bytes = bytes.map_err(failed("read", &path))?;
            let run: Run = serde_json::from_slice(&bytes)
                .map_err(|error| self.damaged(format!("`{ORDER}`: {error}")))?;
            let at = reached.entry(run.id).or_default();
            let last = run.first + u64::from(run.count).saturating_sub(1);
            let held = self.histories.get(&run.id).map_or(0, |it| it.count);
            if run.count == 0 || run.first != *at + 1 || last > held {
                return Err(self.damaged(format!("`{ORDER}` does not fit `{}`", run.id)));
            }
            *at = last;
            records += u64::from(run.count);
            visit(run)?;
        }
        let all: u64 = self.histories.values().map(|it| it.count).sum();
        match records == all {
            true => Ok(records),
            false => Err(self.damaged(format!("`{ORDER}` leaves out records"))),
        }
    }
}
