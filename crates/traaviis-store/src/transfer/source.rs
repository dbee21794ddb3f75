//! A tenant as one log up to a position: what is there of others is not seen.

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
    fs::File,
    io::{BufWriter, Write as _},
    ops::Range,
    path::{Path, PathBuf},
    sync::Arc,
};

use serde::Deserialize;
use traaviis_model::{InstanceId, Seq, TenantCtx, TenantId};
use traaviis_ports::{Append, Archive, CommitSink, Line, LogError, LogStore, Part, Position};

use super::{DOCUMENTS, Error, ORDER, Run, SEALED, failed, pack::Needs};
use crate::{
    archive::{FileArchive, file_name},
    blobs,
    disk::OsDisk,
    files::make_dir,
    line,
    read_only::ReadOnlyLog,
    sealed,
};

/// Tenants that an error names; a directory may hold very many.
const NAMED_MAX: usize = 10;

/// One tenant of a data directory, also of one that is in use.
pub struct Source {
    data: PathBuf,
    ctx: TenantCtx,
    log: Arc<ReadOnlyLog>,
    end: Position,
    archive: FileArchive<OsDisk>,
    archived: BTreeSet<InstanceId>,
}

/// What an export must know of a line.
#[derive(Deserialize)]
struct Head<'a> {
    instance_id: InstanceId,
    seq: Seq,
    step: u64,
    #[serde(borrow)]
    kind: Cow<'a, str>,
}

/// Kind of a record that holds a document.
const DOCUMENT: &str = "document_put";

/// What was written beside the tree.
#[derive(Clone, Debug, Default)]
pub(super) struct Written {
    pub instances: u64,
    pub records: u64,
    pub archived: u64,
    /// Records of documents that a server keeps.
    pub ledger: u64,
    pub needs: Needs,
}

/// Bytes of sealed histories that are gathered before they are written.
const GATHERED_MAX: usize = 8 << 20;

/// Sealed histories on their way into files of their own.
struct SealedFiles<'a> {
    folder: &'a Path,
    gathered: BTreeMap<InstanceId, Vec<u8>>,
    bytes: usize,
}

impl SealedFiles<'_> {
    /// Takes a line, if it is the first of a sealed history, or one of which the first was taken.
    fn take(&mut self, id: InstanceId, seq: Seq, line: &[u8]) -> std::io::Result<()> {
        if seq == 1 && sealed::is_sealed(line) {
            self.gathered.insert(id, Vec::new());
        }
        let Some(lines) = self.gathered.get_mut(&id) else { return Ok(()) };
        lines.extend_from_slice(line);
        lines.push(b'\n');
        self.bytes += line.len() + 1;
        if self.bytes > GATHERED_MAX { self.write() } else { Ok(()) }
    }

    fn write(&mut self) -> std::io::Result<()> {
        for (id, lines) in self.gathered.iter_mut().filter(|it| !it.1.is_empty()) {
            let path = self.folder.join(sealed_path(*id));
            path.parent().map_or(Ok(()), std::fs::create_dir_all)?;
            let mut file = File::options().create(true).append(true).open(path)?;
            file.write_all(lines)?;
            *lines = Vec::new();
        }
        self.bytes = 0;
        Ok(())
    }
}

/// Returns where a sealed history stands in the folder of an export.
pub(super) fn sealed_path(id: InstanceId) -> String {
    let digits = id.0.simple().to_string();
    // The last digits of an id are made by chance.
    format!("{SEALED}/{}/{id}.jsonl", &digits[digits.len() - 2..])
}

impl Source {
    /// Fixes the position that an export reaches; none when instances were archived meanwhile, so
    /// that it has to be tried again.
    pub fn open(data: &Path, ctx: &TenantCtx) -> Result<Option<Source>, Error> {
        let archive = FileArchive::new(OsDisk, data);
        let before = ids(&archive, ctx)?;
        let log = Arc::new(ReadOnlyLog::open(data)?);
        let end = log.tail();
        let archived = ids(&archive, ctx)?;
        // What was archived before the end was fixed ended before it.
        let is_same = before == archived;
        let (data, ctx) = (data.to_path_buf(), ctx.clone());
        Ok(is_same.then_some(Source { data, ctx, log, end, archive, archived }))
    }

    /// Returns the position that it reaches.
    pub fn position(&self) -> Position {
        self.end
    }

    /// Returns the tenant.
    pub fn tenant(&self) -> TenantId {
        self.ctx.tenant()
    }

    /// Returns the log, in which everything is seen.
    pub fn log(&self) -> &Arc<ReadOnlyLog> {
        &self.log
    }

    /// Says whether nothing was archived since; then nothing was compacted away either that is not
    /// archived, and what was read is whole.
    pub(super) fn stands(&self) -> Result<bool, Error> {
        Ok(ids(&self.archive, &self.ctx)? == self.archived)
    }

    /// Refuses a tenant of whom there is nothing.
    pub fn require(&self) -> Result<(), Error> {
        let mut held: BTreeSet<TenantId> = self.archive.tenants()?.into_iter().collect();
        self.log.scan(0, &mut |it| {
            held.extend(line::key(it.bytes).map(|((tenant, _), _)| tenant));
        })?;
        if held.contains(&self.tenant()) {
            return Ok(());
        }
        let (data, tenant) = (self.data.display().to_string(), self.tenant());
        Err(Error::Absent { data, tenant, held: named(&held) })
    }

    /// Writes documents, the order of records, and archive files into a folder, except for
    /// `damaged` instances.
    pub(super) fn write(&self, folder: &Path, damaged: &[InstanceId]) -> Result<Written, Error> {
        let mut written = Written::default();
        let (documents, order) = (folder.join(DOCUMENTS), folder.join(ORDER));
        let open =
            |path: &Path| File::create(path).map(BufWriter::new).map_err(failed("create", path));
        let (mut documents_to, mut order_to) = (open(&documents)?, open(&order)?);
        let mut run: Option<(Run, u64)> = None;
        let mut outcome = Ok(());
        let mut seen: BTreeSet<InstanceId> = BTreeSet::new();
        let mut ledgers: BTreeSet<InstanceId> = BTreeSet::new();
        let mut has_sealed = false;
        let mut sealed = SealedFiles { folder, gathered: BTreeMap::new(), bytes: 0 };
        self.scan(0, &mut |it| {
            let mut take = || -> std::io::Result<()> {
                let head: Head = serde_json::from_slice(it.bytes)?;
                let id = head.instance_id;
                if self.archived.contains(&id) || damaged.contains(&id) {
                    return Ok(());
                }
                if head.kind == DOCUMENT {
                    // A definition is one record; only what a server keeps has more.
                    if head.seq > 1 {
                        written.ledger += 1 + u64::from(ledgers.insert(id));
                    }
                    has_sealed |= sealed::is_sealed(it.bytes);
                    documents_to.write_all(it.bytes)?;
                    return documents_to.write_all(b"\n");
                }
                sealed.take(id, head.seq, it.bytes)?;
                written.records += 1;
                written.instances += u64::from(seen.insert(id));
                match &mut run {
                    Some((run, step))
                        if run.id == id
                            && *step == head.step
                            && run.first + u64::from(run.count) == head.seq =>
                    {
                        run.count += 1;
                    }
                    _ => {
                        // Only documents of a server name positions.
                        let at = (written.ledger > 0).then_some(it.position);
                        let next = Run { id, first: head.seq, count: 1, at };
                        if let Some((done, _)) = run.replace((next, head.step)) {
                            put(&mut order_to, &done)?;
                        }
                    }
                }
                Ok(())
            };
            if outcome.is_ok() {
                outcome = take();
            }
        })?;
        if let (Some((done, _)), Ok(())) = (run, &outcome) {
            outcome = put(&mut order_to, &done);
        }
        outcome.and_then(|()| sealed.write()).map_err(failed("write", &order))?;
        has_sealed |= !sealed.gathered.is_empty();
        written.needs = Needs { sealed: has_sealed, ledger: written.ledger > 0 };
        for (to, path) in [(documents_to, documents), (order_to, order)] {
            to.into_inner().map_err(|it| failed("write", &path)(it.into_error()))?;
        }
        written.archived = self.write_archive(folder, &mut written)?;
        Ok(written)
    }

    fn write_archive(&self, folder: &Path, written: &mut Written) -> Result<u64, Error> {
        let dir = archive_dir(folder, self.tenant());
        for id in &self.archived {
            // One that is gone since is noticed when all is read.
            let Some((packed, _)) = self.archive.file(self.tenant(), *id)? else { continue };
            make_dir(&dir)?;
            let path = dir.join(file_name(*id));
            std::fs::write(&path, &packed).map_err(failed("write", &path))?;
            let history = self.archive.get(&self.ctx, *id)?;
            let first = history.as_ref().and_then(|it| it.lines.first());
            written.needs.sealed |= first.is_some_and(|it| sealed::is_sealed(it));
            for name in self.archive.blobs_of(self.tenant(), *id)? {
                self.write_blob(folder, name)?;
            }
        }
        Ok(self.archived.len() as u64)
    }

    /// Copies what an archive file refers to; histories of the log have their values in them.
    fn write_blob(&self, folder: &Path, name: blobs::Name) -> Result<(), Error> {
        let (below, from) = self.archive.blobs().path_of(name);
        let to = folder.join(below);
        to.parent().map_or(Ok(()), make_dir)?;
        match std::fs::copy(&from, &to) {
            // Swept with its archive file, which is noticed when all is read; or lost, which
            // whoever reads the export is told.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
            other => other.map(drop).map_err(failed("copy", &from)),
        }
    }
}

/// Returns the folder of archive files in the folder of an export.
pub(super) fn archive_dir(folder: &Path, tenant: TenantId) -> PathBuf {
    folder.join("tenants").join(tenant.to_string()).join("archived").join("instances")
}

fn put(to: &mut BufWriter<File>, run: &Run) -> std::io::Result<()> {
    serde_json::to_writer(&mut *to, run)?;
    to.write_all(b"\n")
}

fn ids(archive: &FileArchive<OsDisk>, ctx: &TenantCtx) -> Result<BTreeSet<InstanceId>, LogError> {
    Ok(archive.ids(ctx, None, usize::MAX)?.into_iter().collect())
}

impl LogStore for Source {
    fn append(&self, ctx: &TenantCtx, append: Append, sink: &Arc<dyn CommitSink>, token: u64) {
        self.log.append(ctx, append, sink, token);
    }

    fn read(
        &self,
        ctx: &TenantCtx,
        stream: InstanceId,
        from: Seq,
        limit: usize,
    ) -> Result<Vec<Vec<u8>>, LogError> {
        let mut part = self.read_within(ctx, stream, from, limit, 0..self.end)?;
        let mut lines = std::mem::take(&mut part.lines);
        while part.is_cut && lines.len() < limit {
            let (from, limit) = (from + lines.len() as Seq, limit - lines.len());
            part = self.read_within(ctx, stream, from, limit, part.next..self.end)?;
            lines.append(&mut part.lines);
        }
        Ok(lines)
    }

    fn read_within(
        &self,
        ctx: &TenantCtx,
        stream: InstanceId,
        from: Seq,
        limit: usize,
        within: Range<Position>,
    ) -> Result<Part, LogError> {
        let within = within.start.min(self.end)..within.end.min(self.end);
        match ctx.tenant() == self.tenant() {
            true => self.log.read_within(ctx, stream, from, limit, within),
            false => Ok(Part::default()),
        }
    }

    fn scan(&self, from: Position, visit: &mut dyn FnMut(Line<'_>)) -> Result<Position, LogError> {
        self.log.scan(from, &mut |it| {
            let tenant = line::key(it.bytes).map(|((tenant, _), _)| tenant);
            if it.position < self.end && tenant == Some(self.tenant()) {
                visit(it);
            }
        })?;
        Ok(self.end)
    }

    fn archive(&self) -> Option<&dyn Archive> {
        Some(&self.archive)
    }

    fn tail(&self) -> Position {
        self.end
    }

    fn seed(&self, _: &mut dyn Iterator<Item = (TenantId, InstanceId, Seq)>) {}

    fn put_checkpoint(&self, position: Position, body: &[u8]) -> Result<(), LogError> {
        self.log.put_checkpoint(position, body)
    }

    fn checkpoint(&self) -> Result<Option<(Position, Vec<u8>)>, LogError> {
        Ok(None)
    }
}

/// Names some tenants for people, and how many more there are.
fn named(tenants: &BTreeSet<TenantId>) -> String {
    if tenants.is_empty() {
        return "no tenant yet".into();
    }
    let names = tenants.iter().take(NAMED_MAX).map(|it| format!("`{it}`"));
    let names = names.collect::<Vec<_>>().join(", ");
    match tenants.len().checked_sub(NAMED_MAX) {
        None | Some(0) => names,
        Some(more) => format!("{names} and {more} more"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn very_many_tenants_are_counted_and_not_named() {
        let tenants = |count: u128| -> BTreeSet<TenantId> {
            (1..=count).map(|it| TenantId(uuid::Uuid::from_u128(it))).collect()
        };
        assert_eq!(named(&tenants(0)), "no tenant yet");
        assert_eq!(named(&tenants(1)), "`00000000-0000-0000-0000-000000000001`");
        assert_eq!(named(&tenants(10)).matches('`').count(), 20);
        assert!(named(&tenants(10_000)).ends_with("00a` and 9990 more"));
    }
}
