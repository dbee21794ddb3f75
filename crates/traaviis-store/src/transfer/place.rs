//! Importing a checked export into a data directory.
//!
//! Stages: everything that is there is compared with what comes; a file says that an import is
//! under way; archive files, documents and records follow, in the order of the log they came from;
//! the file goes. Whatever ends it in between, the same import again goes on where it ended.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    fs, io,
    path::Path,
    sync::{Arc, Condvar, Mutex, PoisonError},
};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use traaviis_model::{InstanceId, Seq, TenantCtx, TenantId, limits::FRAME_BYTES_MAX};
use traaviis_ports::{
    Append, Archive as _, Commit, CommitSink, LogError, LogStore, Position,
    archive::ArchivedHistory,
};

use super::{
    Checked, Error,
    check::{Document, History},
    failed,
};
use crate::{
    archive::FileArchive,
    checkpoint::write_atomically,
    disk::OsDisk,
    error::io_error,
    files::{hex, sync_dir},
    line,
};

/// Name of the file that says that an import is under way.
const MARK: &str = "importing.json";
/// Bytes of one append; a larger step goes alone.
const APPEND_BYTES_MAX: usize = FRAME_BYTES_MAX / 4;

/// What an import did, or would do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Placed {
    /// Instances that came.
    pub instances: u64,
    /// Archived instances that came.
    pub archived: u64,
    /// Records that came.
    pub records: u64,
    /// Documents that came.
    pub documents: u64,
    /// Instances that were there, the same or gone on since.
    pub present: u64,
    /// A broken-off import of the same export was finished.
    pub is_resumed: bool,
}

/// An import that is under way.
#[derive(Debug, Serialize, Deserialize)]
struct Mark {
    tenant: TenantId,
    /// Hash of the export's manifest.
    export: String,
    file: String,
}

/// Returns the error of a directory in which an import was broken off.
pub fn unfinished(data: &Path) -> Result<(), Error> {
    match mark(data)? {
        None => Ok(()),
        Some(Mark { tenant, file, .. }) => {
            let command = match Path::new(&file).is_dir() {
                true => "admin import-tree",
                false => "tenant import",
            };
            Err(Error::Unfinished { data: data.display().to_string(), tenant, file, command })
        }
    }
}

fn mark(data: &Path) -> Result<Option<Mark>, Error> {
    let path = data.join(MARK);
    let text = match fs::read(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        other => other.map_err(failed("read", &path))?,
    };
    let wrong = |error: serde_json::Error| {
        LogError::Damaged(format!("`{}`: {error}", path.display()).into())
    };
    Ok(Some(serde_json::from_slice(&text).map_err(wrong)?))
}

/// What a directory has of an instance of the export.
#[derive(Default)]
struct Held {
    /// Records, the archive's or the log's.
    count: Seq,
    /// Hash of as many of them as the export has.
    hash: Sha256,
}

/// What is there, as far as it concerns an export.
struct There {
    held: HashMap<InstanceId, Held>,
    /// Streams of the tenant that are documents of the export.
    documents: HashSet<InstanceId>,
    collisions: Vec<String>,
}

/// Who holds which business key in a directory: open instances by tenant, workflow in lower case,
/// and key.
pub type Holders = BTreeMap<(TenantId, String, String), InstanceId>;

/// An import that was compared with what is there, and can be carried out.
pub struct Import<'a> {
    checked: &'a Checked,
    ctx: &'a TenantCtx,
    data: &'a Path,
    log: &'a dyn LogStore,
    export: String,
    there: There,
    placed: Placed,
}

impl<'a> Import<'a> {
    /// Compares an export with the log of a directory, whose lock the caller holds through `log`;
    /// changes nothing. `keys` are the open holders of business keys, and `taken` says what else of
    /// the export is something else there.
    pub fn compare(
        checked: &'a Checked,
        ctx: &'a TenantCtx,
        data: &'a Path,
        log: &'a dyn LogStore,
        (keys, taken): (&Holders, Vec<String>),
    ) -> Result<Import<'a>, Error> {
        let export = checked.manifest.hash();
        let is_resumed = mark(data)?.as_ref().is_some_and(|it| it.export == export);
        if !is_resumed {
            unfinished(data)?;
        }
        let mut there = look(checked, ctx, data, log)?;
        there.collisions.extend(taken);
        compare(checked, &mut there, keys, is_resumed)?;
        if !there.collisions.is_empty() {
            return Err(Error::Collision(there.collisions));
        }
        let mut placed = Placed { is_resumed, ..Placed::default() };
        count(checked, &there, &mut placed);
        Ok(Import { checked, ctx, data, log, export, there, placed })
    }

    /// Returns what comes.
    pub fn placed(&self) -> &Placed {
        &self.placed
    }

    /// Returns the tenant.
    pub fn tenant(&self) -> TenantId {
        self.ctx.tenant()
    }

    /// Says whether all of it is there, and nothing is left of an import that was broken off.
    pub fn is_present(&self) -> bool {
        let Placed { instances, archived, documents, is_resumed, .. } = self.placed;
        !is_resumed && instances + archived + documents == 0
    }

    /// Says whether the documents of a server have gone on there since they came.
    pub fn is_ledger_ahead(&self) -> bool {
        let ledgers = self.checked.ledgers.iter();
        ledgers.into_iter().any(|(id, it)| self.there.reached(*id) > it.count)
    }

    /// Notes that the import is under way: from here on the directory is used by nobody before
    /// [`Import::end`].
    pub fn begin(&self, file: &Path) -> Result<(), Error> {
        let data = self.data;
        let file = fs::canonicalize(file).unwrap_or_else(|_| file.to_path_buf());
        let (tenant, export) = (self.ctx.tenant(), self.export.clone());
        let mark = Mark { tenant, export, file: file.display().to_string() };
        let text = serde_json::to_vec(&mark);
        let text = text.map_err(io::Error::other).map_err(failed("mark", data))?;
        write_atomically(&OsDisk, data, MARK, &[&text])
            .map_err(|error| io_error("write", &data.join(MARK), error.into_io()).into())
    }

    /// Puts in what is not there.
    pub fn place(&self) -> Result<(), Error> {
        place(self.checked, self.ctx, self.data, self.log, &self.there)
    }

    /// Says where positions of the log that the export was made of are now: each is that of the
    /// first record of an instance that stands at or behind it.
    pub fn places(&self, of: &[Position]) -> Result<BTreeMap<Position, Position>, Error> {
        let mut first: BTreeMap<Position, (InstanceId, Seq)> = BTreeMap::new();
        let mut left: Vec<Position> = of.to_vec();
        left.sort_unstable_by(|a, b| b.cmp(a));
        self.checked.runs(&mut |run| {
            let Some(at) = run.at else { return Ok(()) };
            while let Some(position) = left.last().copied()
                && position < at + u64::from(run.count)
            {
                left.pop();
                first.insert(position, (run.id, run.first + position.saturating_sub(at)));
            }
            Ok(())
        })?;
        let mut found: HashMap<(InstanceId, Seq), Position> = HashMap::new();
        let wanted: HashSet<(InstanceId, Seq)> = first.values().copied().collect();
        self.log.scan(0, &mut |it| {
            if let Some(((tenant, id), seq)) = line::key(it.bytes)
                && tenant == self.ctx.tenant()
                && wanted.contains(&(id, seq))
            {
                found.entry((id, seq)).or_insert(it.position);
            }
        })?;
        let tail = self.log.tail();
        let now = |position: &Position| {
            let name = first.get(position);
            name.and_then(|it| found.get(it).copied()).unwrap_or(tail)
        };
        Ok(of.iter().map(|it| (*it, now(it))).collect())
    }

    /// Notes that it is done.
    pub fn end(self) -> Result<Placed, Error> {
        let path = self.data.join(MARK);
        fs::remove_file(&path).map_err(failed("remove", &path))?;
        sync_dir(self.data)?;
        Ok(self.placed)
    }
}

/// Imports an export of which nothing has keys or members, as [`Import`] does; changes nothing when
/// `dry`.
pub fn import(
    checked: &Checked,
    ctx: &TenantCtx,
    (data, file): (&Path, &Path),
    log: &dyn LogStore,
    keys: &Holders,
    dry: bool,
) -> Result<Placed, Error> {
    let import = Import::compare(checked, ctx, data, log, (keys, Vec::new()))?;
    if dry {
        return Ok(import.placed);
    }
    import.begin(file)?;
    import.place()?;
    import.end()
}

/// Reads what a directory has of the instances and documents of an export.
fn look(
    checked: &Checked,
    ctx: &TenantCtx,
    data: &Path,
    log: &dyn LogStore,
) -> Result<There, Error> {
    let archive = FileArchive::new(OsDisk, data);
    let mut there =
        There { held: HashMap::new(), documents: HashSet::new(), collisions: Vec::new() };
    let documents = checked.documents.iter().map(|it| it.stream);
    let documents: HashSet<InstanceId> =
        documents.filter(|it| !checked.ledgers.contains_key(it)).collect();
    // Of an archived one all that is there is compared.
    let wanted = |id: &InstanceId| match (checked.histories.get(id), checked.ledgers.get(id)) {
        (Some(it), _) => Some(it.count),
        (None, Some(it)) => Some(it.count),
        (None, None) => checked.archived.contains_key(id).then_some(Seq::MAX),
    };
    let mut in_archive: HashSet<InstanceId> = HashSet::new();
    let others = archive.tenants()?;
    for id in checked.histories.keys().chain(checked.archived.keys()) {
        if let Some(ArchivedHistory { lines, .. }) = archive.get(ctx, *id)? {
            let held = there.held.entry(*id).or_default();
            lines.iter().for_each(|it| held.take(it, wanted(id)));
            in_archive.insert(*id);
        }
        for other in others.iter().filter(|it| **it != ctx.tenant()) {
            if archive.holds(*other, *id)? {
                there.collisions.push(format!("instance `{id}` is one of tenant `{other}`"));
            }
        }
    }
    let mut foreign: BTreeMap<InstanceId, TenantId> = BTreeMap::new();
    log.scan(0, &mut |it| {
        let Some(((tenant, id), _)) = line::key(it.bytes) else { return };
        let count = wanted(&id);
        if tenant != ctx.tenant() {
            if count.is_some() {
                foreign.insert(id, tenant);
            }
        } else if documents.contains(&id) {
            there.documents.insert(id);
        } else if count.is_some() && !in_archive.contains(&id) {
            there.held.entry(id).or_default().take(it.bytes, count);
        }
    })?;
    let foreign = foreign.iter().map(|(id, it)| format!("instance `{id}` is one of tenant `{it}`"));
    there.collisions.extend(foreign);
    Ok(there)
}

impl Held {
    fn take(&mut self, bytes: &[u8], wanted: Option<Seq>) {
        self.count += 1;
        if wanted.is_none_or(|it| self.count <= it) {
            self.hash.update(bytes);
            self.hash.update(b"\n");
        }
    }
}

/// Finds what is there and is something else.
fn compare(
    checked: &Checked,
    there: &mut There,
    keys: &Holders,
    is_resumed: bool,
) -> Result<(), Error> {
    for (id, held) in &there.held {
        let found = hex(&held.hash.clone().finalize());
        if let Some(ledger) = checked.ledgers.get(id) {
            let is_less = held.count < ledger.count;
            let expected = if is_less { checked.ledger_to(*id, held.count) } else { ledger.hash() };
            let tenant = checked.manifest.tenant;
            if found != expected {
                let why = format!("tenant `{tenant}` is there with other documents");
                there.collisions.push(why);
            } else if is_less && !is_resumed {
                let why = format!(
                    "tenant `{tenant}` is there with fewer documents, so it went on \
                                   elsewhere"
                );
                there.collisions.push(why);
            }
            continue;
        }
        let (count, expected) = match checked.histories.get(id) {
            Some(it) if held.count < it.count => (it.count, it.hash_to(held.count)?),
            Some(it) => (it.count, it.hash.clone()),
            None => {
                let lines = checked.archived(*id)?.lines;
                (lines.len() as Seq, hash_of(lines.iter().take(held.count as usize)))
            }
        };
        // What is archived comes whole, or was there before.
        let may_lack = is_resumed && checked.histories.contains_key(id);
        if found != expected {
            there.collisions.push(format!("instance `{id}` is there with another history"));
        } else if held.count < count && !may_lack {
            let why =
                format!("instance `{id}` is there with fewer records, so it went on elsewhere");
            there.collisions.push(why);
        }
    }
    let tenant = checked.manifest.tenant;
    for (id, history) in &checked.histories {
        let Some((workflow, key)) = &history.key else { continue };
        // One that has gone on here may have left its key to another one since.
        let is_here = there.held.get(id).is_some_and(|it| it.count >= history.count);
        let name = (tenant, workflow.clone(), key.clone());
        if let Some(holder) = keys.get(&name).filter(|it| *it != id && !is_here) {
            let why = format!("instance `{id}` has the business key of `{holder}`, which is open");
            there.collisions.push(why);
        }
    }
    there.collisions.sort();
    Ok(())
}

fn hash_of<'a>(lines: impl Iterator<Item = &'a Vec<u8>>) -> String {
    let mut hash = Sha256::new();
    for line in lines {
        hash.update(line);
        hash.update(b"\n");
    }
    hex(&hash.finalize())
}

impl There {
    fn reached(&self, id: InstanceId) -> Seq {
        self.held.get(&id).map_or(0, |it| it.count)
    }
}

/// Counts what would come.
fn count(checked: &Checked, there: &There, placed: &mut Placed) {
    for (id, history) in &checked.histories {
        match history.count.checked_sub(there.reached(*id)).filter(|it| *it > 0) {
            Some(records) => {
                placed.instances += 1;
                placed.records += records;
            }
            None => placed.present += 1,
        }
    }
    for id in checked.archived.keys() {
        match there.held.contains_key(id) {
            true => placed.present += 1,
            false => placed.archived += 1,
        }
    }
    let comes = |it: &&Document| match checked.ledgers.contains_key(&it.stream) {
        true => it.seq > there.reached(it.stream),
        false => !there.documents.contains(&it.stream),
    };
    placed.documents = checked.documents.iter().filter(comes).count() as u64;
}

fn place(
    checked: &Checked,
    ctx: &TenantCtx,
    data: &Path,
    log: &dyn LogStore,
    there: &There,
) -> Result<(), Error> {
    let archive = FileArchive::new(OsDisk, data);
    for id in checked.archived.keys().filter(|it| !there.held.contains_key(it)) {
        archive.put(ctx, &checked.archived(*id)?)?;
    }
    // So that the log does not look for what a stream has that is new, or goes on.
    let is_stream =
        |id: &InstanceId| checked.histories.contains_key(id) || checked.ledgers.contains_key(id);
    let held = there.held.iter().filter(|it| is_stream(it.0));
    log.seed(&mut held.map(|(id, it)| (ctx.tenant(), *id, it.count)));
    let mut appender = Appender { log, ctx, sink: Arc::default(), count: 0 };
    let mut done: HashSet<InstanceId> = there.documents.clone();
    // What was committed together is so again.
    for step in checked.documents.chunk_by(|a, b| (a.stream, a.step) == (b.stream, b.step)) {
        let first = &step[0];
        let comes = match checked.ledgers.contains_key(&first.stream) {
            true => first.seq > there.reached(first.stream),
            false => done.insert(first.stream),
        };
        if comes {
            let lines = step.iter().flat_map(|it| [it.line.as_slice(), b"\n"].concat()).collect();
            appender.append(first.stream, first.seq, step.len() as u32, lines)?;
        }
    }
    let mut readers: HashMap<InstanceId, _> = HashMap::new();
    checked.runs(&mut |run| {
        let Some(history) = checked.histories.get(&run.id) else { return Ok(()) };
        let reader = readers.entry(run.id).or_insert_with(|| History::reader(history));
        let lines = reader.take(run.count)?;
        match run.first > there.reached(run.id) {
            true => appender.append(run.id, run.first, run.count, lines),
            false => Ok(()),
        }
    })?;
    appender.finish()
}

/// Appends and waits until everything is durable.
struct Appender<'a> {
    log: &'a dyn LogStore,
    ctx: &'a TenantCtx,
    sink: Arc<Outcomes>,
    count: u64,
}

/// What became of appends.
#[derive(Default)]
struct Outcomes {
    told: Mutex<(u64, Option<LogError>)>,
    changed: Condvar,
}

impl CommitSink for Outcomes {
    fn committed(&self, outcomes: &mut dyn Iterator<Item = (u64, Commit)>) {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        for (_, outcome) in outcomes {
            told.0 += 1;
            if let Err(error) = outcome {
                told.1.get_or_insert(error);
            }
        }
        self.changed.notify_all();
    }
}

impl Appender<'_> {
    fn append(
        &mut self,
        stream: InstanceId,
        first_seq: Seq,
        count: u32,
        lines: Vec<u8>,
    ) -> Result<(), Error> {
        let is_large = lines.len() > APPEND_BYTES_MAX;
        let known_to = self.log.tail();
        let lines = lines.into();
        let append =
            Append { stream, first_seq, count, lines, ends_stream: false, known_to, subject: None };
        let sink = Arc::clone(&self.sink) as Arc<dyn CommitSink>;
        self.log.append(self.ctx, append, &sink, self.count);
        self.count += 1;
        match is_large {
            true => self.finish(),
            false => self.check(),
        }
    }

    /// Stops at the first append that was refused.
    fn check(&self) -> Result<(), Error> {
        let told = self.sink.told.lock().unwrap_or_else(PoisonError::into_inner);
        told.1.clone().map_or(Ok(()), |error| Err(error.into()))
    }

    fn finish(&self) -> Result<(), Error> {
        let told = self.sink.told.lock().unwrap_or_else(PoisonError::into_inner);
        let told = self.sink.changed.wait_while(told, |it| it.0 < self.count);
        let told = told.unwrap_or_else(PoisonError::into_inner);
        told.1.clone().map_or(Ok(()), |error| Err(error.into()))
    }
}
