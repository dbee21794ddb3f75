//! A log whose records about people rest sealed, each with the key of its person.
//!
//! [`SealedLog`] stands before any log and its archive. A line about a person is written as what
//! may be read of it by anyone ([`traaviis_model::Record::withheld`]), with the whole line sealed
//! beside it; it is read as the whole line while the key is there, byte for byte, and as what is
//! left once the key is destroyed:
//!
//! ```text
//! {"tenant_id":..,"instance_id":..,"seq":7,"v":2,..,"sealed":"1.NAME.VERSION.BASE64"}
//! ```
//!
//! Documents are about nobody. Those of a tenant that has everything sealed are sealed as what is
//! about the tenant, but for the few that must be read without its key ([`OPEN_DOCUMENTS`]). What
//! is ready as lines, as in an import, rests as it comes.
//!
//! Nobody behind it sees a sealed line, and nobody before it a value: what a log, its archive, its
//! checkpoints and its backups hold of a person is gone with one key.
//!
//! Invariants: what is sealed is bound to its instance, and to its number in it; a key that is
//! missing without being destroyed fails a read and never looks like an erasure, and one that is
//! damaged makes only the instances of its person unavailable; a line that is not sealed costs a
//! look at its last bytes.

use std::{borrow::Cow, collections::BTreeSet, fmt, io::Read as _, ops::Range, sync::Arc};

use traaviis_model::{
    DefinitionHash, InstanceId, Record, Seq, TenantCtx, TenantId, Text, Timestamp,
    limits::BLOB_BYTES_MAX,
    record::{Body, ERASED, OPEN_DOCUMENTS, RECORD_VERSION, SEALED_VERSION, WHOLE},
    value::base64,
};
use traaviis_ports::{
    Append, Archive, ArchivedHistory, CommitSink, Compacted, Compaction, Line, Lines, LogError,
    LogStore, Part, Position, archive::ArchiveSize,
};

use crate::{
    keys::{
        self, entropy,
        seal::{self, Bound, NONCE_BYTES},
        subject::{Opened, SubjectName, Subjects},
    },
    line,
};

/// Kind of what is sealed.
const KIND: &str = "line";
/// Version of the form in which something sealed stands, here and in documents.
const FORM: &str = "1";
/// What stands before it, at the end of a line.
const MARK: &[u8] = b",\"sealed\":\"";
/// Effort of packing a line before it is sealed; nobody can pack it after.
const PACK_LEVEL: i32 = 1;

/// A log that seals.
pub struct SealedLog<L> {
    inner: Arc<L>,
    subjects: Arc<Subjects>,
}

impl<L: LogStore> SealedLog<L> {
    /// Returns a log that seals with these keys what goes into another one.
    pub fn new(inner: Arc<L>, subjects: Arc<Subjects>) -> SealedLog<L> {
        SealedLog { inner, subjects }
    }

    /// Returns the log behind it.
    pub fn inner(&self) -> &Arc<L> {
        &self.inner
    }

    /// Returns the keys.
    pub fn subjects(&self) -> &Subjects {
        &self.subjects
    }

    /// Returns the instances of which something is sealed with the key of a subject, in the log or
    /// its archive; reads all of both.
    pub fn instances_of(
        &self,
        ctx: &TenantCtx,
        name: SubjectName,
    ) -> Result<BTreeSet<InstanceId>, LogError> {
        let begin = format!("{FORM}.{name}.");
        let of = |bytes: &[u8]| {
            let ((tenant, id), _) = line::key(bytes)?;
            let is_it = split(bytes)?.1.starts_with(begin.as_bytes()) && tenant == ctx.tenant();
            is_it.then_some(id)
        };
        let mut found = BTreeSet::new();
        self.inner.scan(0, &mut |it| found.extend(of(it.bytes)))?;
        let Some(archive) = self.inner.archive() else { return Ok(found) };
        for id in archive.ids(ctx, None, usize::MAX)? {
            let Some(history) = archive.get(ctx, id)? else { continue };
            if history.lines.first().is_some_and(|it| of(it).is_some()) {
                found.insert(id);
            }
        }
        Ok(found)
    }

    /// Seals the lines of an append, if they are about a person or are documents to be sealed.
    fn sealed(&self, ctx: &TenantCtx, mut append: Append) -> Result<Append, LogError> {
        let tenant = ctx.tenant();
        let subject = match append.subject.take() {
            Some(subject) => subject,
            None if is_closed(&append.lines)
                && self.subjects.keys().seals_all(ctx).map_err(refused)? =>
            {
                WHOLE.into()
            }
            None => return Ok(append),
        };
        let records = match &append.lines {
            Lines::Of(records) => Cow::Borrowed(records.as_slice()),
            Lines::Ready(lines) => Cow::Owned(read(lines)?),
        };
        append.lines = self.seal_records((tenant, append.stream), &subject, &records)?.into();
        Ok(append)
    }

    fn seal_records(
        &self,
        name: (TenantId, InstanceId),
        subject: &str,
        records: &[Record],
    ) -> Result<Vec<u8>, LogError> {
        let now = records.first().map(|it| it.header.at).unwrap_or_default();
        let sealer = self.sealer(name, subject, now)?;
        let (mark, mut out) = (Text::from(ERASED), Vec::new());
        let (mut line, mut shown) = (Vec::new(), Vec::new());
        for record in records {
            line.clear();
            shown.clear();
            record.write_line(&mut line);
            let mut left = record.withheld(&mark);
            if left == *record {
                // It holds no value.
                out.extend_from_slice(&line);
                continue;
            }
            left.header.v = SEALED_VERSION;
            left.write_line(&mut shown);
            sealer.seal(shown.trim_ascii_end(), line.trim_ascii_end(), &mut out)?;
            out.push(b'\n');
        }
        Ok(out)
    }

    fn sealer(
        &self,
        (tenant, id): (TenantId, InstanceId),
        subject: &str,
        now: Timestamp,
    ) -> Result<Sealer, LogError> {
        let (name, version, key) = self.subjects.in_use(tenant, subject, now).map_err(refused)?;
        Ok(Sealer { tenant, id, name, version, key })
    }

    /// Opens what a visitor is to see; the first failure ends it.
    fn visit(
        &self,
        it: Line<'_>,
        failed: &mut Option<LogError>,
        visit: &mut dyn FnMut(Line<'_>) -> bool,
    ) -> bool {
        match open_line(&self.subjects, it.bytes) {
            Ok(Cow::Borrowed(_)) => visit(it),
            Ok(bytes) => visit(Line { bytes: &bytes, is_sealed: true, ..it }),
            Err(error) => {
                *failed = Some(error);
                false
            }
        }
    }

    fn archive(&self) -> Result<&dyn Archive, LogError> {
        self.inner.archive().ok_or_else(|| LogError::Refused("it has no archive".into()))
    }
}

/// Seals lines about one instance.
struct Sealer {
    tenant: TenantId,
    id: InstanceId,
    name: SubjectName,
    version: u64,
    key: seal::Key,
}

impl Sealer {
    /// Appends what may be read of a line, with the whole line sealed at its end.
    fn seal(&self, shown: &[u8], line: &[u8], out: &mut Vec<u8>) -> Result<(), LogError> {
        let Some(open) = shown.strip_suffix(b"}") else {
            return Err(LogError::Refused("a line to be sealed is no object".into()));
        };
        let nonce = entropy::<NONCE_BYTES>().map_err(refused)?;
        let about = about(self.id, self.name);
        let bound = Bound { tenant: self.tenant, kind: KIND, id: &about, version: self.version };
        let packed = zstd::bulk::compress(line, PACK_LEVEL)
            .map_err(|error| LogError::Refused(error.to_string().into()))?;
        let sealed = seal::seal(&self.key, &nonce, bound, &packed)
            .ok_or_else(|| LogError::Refused("a line is too long to be sealed".into()))?;
        out.extend_from_slice(open);
        out.extend_from_slice(MARK);
        out.extend_from_slice(text(self.name, self.version, &nonce, &sealed).as_bytes());
        out.extend_from_slice(b"\"}");
        Ok(())
    }
}

/// Says whether lines hold a document that may be sealed.
fn is_closed(lines: &Lines) -> bool {
    let Lines::Of(records) = lines else { return false };
    records.iter().any(|it| match &it.body {
        Body::DocumentPut { document, .. } => !OPEN_DOCUMENTS.contains(&&**document),
        _ => false,
    })
}

/// Says whether a line is sealed.
pub(crate) fn is_sealed(bytes: &[u8]) -> bool {
    split(bytes).is_some()
}

/// Opens a line, or returns what is left of it.
pub(crate) fn open_line<'a>(
    subjects: &Subjects,
    bytes: &'a [u8],
) -> Result<Cow<'a, [u8]>, LogError> {
    let Some((head, text)) = split(bytes) else { return Ok(Cow::Borrowed(bytes)) };
    let place = line::key(bytes);
    match open_text(subjects, head, text) {
        Ok(Opened::Plain(plain)) if place.is_none() || line::key(&plain) == place => {
            Ok(Cow::Owned(plain.to_vec()))
        }
        Ok(Opened::Erased) => Ok(Cow::Owned(left(head))),
        Ok(Opened::Plain(_)) | Err(keys::Error::Damaged { .. }) if place.is_some() => {
            Ok(Cow::Owned(line::unreadable(head, NOT_AS_SEALED)))
        }
        Ok(Opened::Plain(_)) => Err(failed(&mismatch())),
        Err(error) => Err(failed(&error)),
    }
}

fn open_text(subjects: &Subjects, head: &[u8], text: &[u8]) -> Result<Opened, keys::Error> {
    let (tenant, id) = whose(head).ok_or_else(mismatch)?;
    let (name, version, bytes) = str::from_utf8(text).ok().and_then(parts).ok_or_else(mismatch)?;
    let (nonce, sealed) = bytes.split_at_checked(NONCE_BYTES).ok_or_else(mismatch)?;
    let nonce: &[u8; NONCE_BYTES] = nonce.try_into().map_err(|_| mismatch())?;
    let about = about(id, name);
    let bound = Bound { tenant, kind: KIND, id: &about, version };
    match subjects.open(tenant, (name, version), nonce, bound, sealed)? {
        Opened::Erased => Ok(Opened::Erased),
        Opened::Plain(packed) => {
            let plain = unpack(&packed).ok_or_else(mismatch)?;
            Ok(Opened::Plain(plain.into()))
        }
    }
}

/// Names what is sealed.
fn about(id: InstanceId, name: SubjectName) -> String {
    format!("{id}/{name}")
}

/// Divides a sealed line into what may be read of it, without its last brace, and what is sealed.
fn split(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let rest = bytes.strip_suffix(b"\"}")?;
    let start = memchr::memrchr(b'"', rest)? + 1;
    Some((rest[..start].strip_suffix(MARK)?, &rest[start..]))
}

/// Returns the stream that a line is about: a record, or a state, a definition or an emission in a
/// checkpoint.
fn whose(head: &[u8]) -> Option<(TenantId, InstanceId)> {
    #[derive(serde::Deserialize)]
    #[serde(rename_all = "snake_case")]
    enum Kept {
        Instance { snapshot: Name },
        Definition { tenant: TenantId, hash: DefinitionHash },
        Emission { tenant: TenantId, emission: Publisher },
    }
    #[derive(serde::Deserialize)]
    struct Name {
        id: InstanceId,
        tenant_id: TenantId,
    }
    #[derive(serde::Deserialize)]
    struct Publisher {
        publisher: InstanceId,
    }
    let line = [head, b"}"].concat();
    if let Some((name, _)) = line::key(&line) {
        return Some(name);
    }
    Some(match serde_json::from_slice(&line).ok()? {
        Kept::Instance { snapshot: Name { id, tenant_id } } => (tenant_id, id),
        // Its stream in the log.
        Kept::Definition { tenant, hash } => (tenant, InstanceId::of_hash(&hash.0)),
        Kept::Emission { tenant, emission } => (tenant, emission.publisher),
    })
}

/// Returns what is sealed as text: by whose key, and the nonce with the bytes.
pub(crate) fn text(
    name: SubjectName,
    version: u64,
    nonce: &[u8; NONCE_BYTES],
    sealed: &[u8],
) -> String {
    format!("{FORM}.{name}.{version}.{}", base64(&[nonce, sealed].concat()))
}

/// Takes the text of something sealed apart.
pub(crate) fn parts(text: &str) -> Option<(SubjectName, u64, Vec<u8>)> {
    let mut parts = text.split('.');
    let (form, name, version, bytes) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    if form != FORM || parts.next().is_some() {
        return None;
    }
    Some((name.parse().ok()?, version.parse().ok()?, unbase64(bytes)?))
}

/// Reads the standard alphabet of base64, padded.
fn unbase64(text: &str) -> Option<Vec<u8>> {
    let digit = |it: u8| match it {
        b'A'..=b'Z' => Some(it - b'A'),
        b'a'..=b'z' => Some(it - b'a' + 26),
        b'0'..=b'9' => Some(it - b'0' + 52),
        b'+' => Some(62),
        b'/' => Some(63),
        _ => None,
    };
    if !text.len().is_multiple_of(4) {
        return None;
    }
    let digits = text.trim_end_matches('=');
    if text.len() - digits.len() > 2 {
        return None;
    }
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3);
    for group in digits.as_bytes().chunks(4) {
        let mut bits: u32 = 0;
        for at in 0..4 {
            let value = match group.get(at) {
                Some(it) => digit(*it)?,
                None => 0,
            };
            bits = bits << 6 | u32::from(value);
        }
        bytes.extend_from_slice(&bits.to_be_bytes()[1..group.len()]);
    }
    Some(bytes)
}

fn unpack(packed: &[u8]) -> Option<Vec<u8>> {
    let mut plain = Vec::new();
    let decoder = zstd::stream::read::Decoder::new(packed).ok()?;
    let limit = BLOB_BYTES_MAX;
    let read = decoder.take(limit + 1).read_to_end(&mut plain).ok()?;
    (read as u64 <= limit).then_some(plain)
}

/// Returns what is left of a line whose key is destroyed.
fn left(head: &[u8]) -> Vec<u8> {
    let mut line = with_plain_version(head);
    line.push(b'}');
    line
}

/// Why a line cannot be read although its key is there.
const NOT_AS_SEALED: &str = "what is sealed in the record is not as it was written";

/// Sets the version of a record back to the one of lines that are not sealed.
fn with_plain_version(head: &[u8]) -> Vec<u8> {
    let mut head = head.to_vec();
    line::set_version(&mut head, SEALED_VERSION, RECORD_VERSION);
    head
}

/// Reads lines that are written already.
fn read(lines: &[u8]) -> Result<Vec<Record>, LogError> {
    let records = line::each(lines).map(Record::read_line);
    let records: Result<Vec<Record>, _> = records.collect();
    records.map_err(|error| LogError::Refused(error.to_string().into()))
}

/// Returns the person whom archived lines are about, and the records, when there is one.
fn about_person(lines: &[Vec<u8>]) -> Option<(Text, Vec<Record>)> {
    let first = Record::read_line(lines.first()?).ok()?;
    let Body::Created { subject: Some(subject), .. } = first.body else { return None };
    if *subject == *ERASED {
        return None;
    }
    let records: Result<Vec<Record>, _> = lines.iter().map(|it| Record::read_line(it)).collect();
    Some((subject, records.ok()?))
}

fn mismatch() -> keys::Error {
    keys::Error::Damaged { path: "log".into(), why: "something sealed is not as written".into() }
}

fn refused(error: keys::Error) -> LogError {
    match error {
        keys::Error::Log(error) => LogError::Refused(error.to_string().into()),
        error => LogError::Refused(format!("{error} ({})", error.code()).into()),
    }
}

fn failed(error: &keys::Error) -> LogError {
    LogError::Sealed { code: error.code(), why: error.to_string().into() }
}

impl<L: LogStore> LogStore for SealedLog<L> {
    fn append(&self, ctx: &TenantCtx, append: Append, sink: &Arc<dyn CommitSink>, token: u64) {
        match self.sealed(ctx, append) {
            Ok(append) => self.inner.append(ctx, append, sink, token),
            Err(error) => sink.committed(&mut std::iter::once((token, Err(error)))),
        }
    }

    fn append_all(&self, appends: &mut Vec<(TenantCtx, Append, u64)>, sink: &Arc<dyn CommitSink>) {
        if appends.iter().any(|it| it.1.subject.is_some() || is_closed(&it.1.lines)) {
            // One by one in their order, which counts for each stream.
            return appends.drain(..).for_each(|(ctx, append, token)| {
                self.append(&ctx, append, sink, token);
            });
        }
        self.inner.append_all(appends, sink);
    }

    fn read(
        &self,
        ctx: &TenantCtx,
        stream: InstanceId,
        from: Seq,
        limit: usize,
    ) -> Result<Vec<Vec<u8>>, LogError> {
        let lines = self.inner.read(ctx, stream, from, limit)?;
        lines.into_iter().map(|it| Ok(open_line(&self.subjects, &it)?.into_owned())).collect()
    }

    fn read_within(
        &self,
        ctx: &TenantCtx,
        stream: InstanceId,
        from: Seq,
        limit: usize,
        within: Range<Position>,
    ) -> Result<Part, LogError> {
        let mut part = self.inner.read_within(ctx, stream, from, limit, within)?;
        for line in &mut part.lines {
            if let Cow::Owned(opened) = open_line(&self.subjects, line)? {
                *line = opened;
            }
        }
        Ok(part)
    }

    fn scan(&self, from: Position, visit: &mut dyn FnMut(Line<'_>)) -> Result<Position, LogError> {
        let mut failed = None;
        let end = self.inner.scan(from, &mut |it| {
            if failed.is_none() {
                self.visit(it, &mut failed, &mut |it| {
                    visit(it);
                    true
                });
            }
        })?;
        failed.map_or(Ok(end), Err)
    }

    fn scan_while(
        &self,
        from: Position,
        visit: &mut dyn FnMut(Line<'_>) -> bool,
    ) -> Result<(), LogError> {
        let mut failed = None;
        self.inner.scan_while(from, &mut |it| self.visit(it, &mut failed, visit))?;
        failed.map_or(Ok(()), Err)
    }

    fn archive(&self) -> Option<&dyn Archive> {
        self.inner.archive().map(|_| self as &dyn Archive)
    }

    fn compact(&self, compaction: &mut Compaction<'_>) -> Result<Compacted, LogError> {
        self.inner.compact(compaction)
    }

    fn tail(&self) -> Position {
        self.inner.tail()
    }

    fn lost(&self) -> Vec<Range<Position>> {
        self.inner.lost()
    }

    fn seed(&self, streams: &mut dyn Iterator<Item = (TenantId, InstanceId, Seq)>) {
        self.inner.seed(streams);
    }

    fn sync(&self) -> Result<(), LogError> {
        self.inner.sync()
    }

    fn seal(
        &self,
        name: (TenantId, InstanceId),
        subject: &Text,
        shown: &[u8],
        line: &[u8],
    ) -> Result<Vec<u8>, LogError> {
        let mut out = Vec::new();
        // Its first record has made the key.
        let sealer = self.sealer(name, subject, Timestamp::default())?;
        sealer.seal(shown.trim_ascii_end(), line.trim_ascii_end(), &mut out)?;
        Ok(out)
    }

    fn documents_sealed_for(&self, tenant: TenantId) -> Result<Option<Text>, LogError> {
        let is_any = self.subjects.keys().has_sealed_all(tenant).map_err(|it| failed(&it))?;
        Ok(is_any.then(|| WHOLE.into()))
    }

    fn unseal<'a>(&self, line: &'a [u8]) -> Result<Cow<'a, [u8]>, LogError> {
        open_line(&self.subjects, line)
    }

    fn put_checkpoint(&self, position: Position, body: &[u8]) -> Result<(), LogError> {
        self.inner.put_checkpoint(position, body)
    }

    fn checkpoint(&self) -> Result<Option<(Position, Vec<u8>)>, LogError> {
        self.inner.checkpoint()
    }
}

impl<L: LogStore> Archive for SealedLog<L> {
    /// Seals the records anew; what they say stays the same byte for byte.
    fn put(&self, ctx: &TenantCtx, history: &ArchivedHistory) -> Result<(), LogError> {
        let archive = SealedLog::archive(self)?;
        let Some((subject, records)) = about_person(&history.lines) else {
            return archive.put(ctx, history);
        };
        let name = (ctx.tenant(), history.entry.id);
        let lines = self.seal_records(name, &subject, &records)?;
        let lines = line::each(&lines).map(<[u8]>::to_vec).collect();
        archive.put(ctx, &ArchivedHistory { entry: history.entry.clone(), lines })
    }

    fn get(&self, ctx: &TenantCtx, id: InstanceId) -> Result<Option<ArchivedHistory>, LogError> {
        let Some(mut history) = SealedLog::archive(self)?.get(ctx, id)? else { return Ok(None) };
        for line in &mut history.lines {
            if let Cow::Owned(opened) = open_line(&self.subjects, line)? {
                *line = opened;
            }
        }
        Ok(Some(history))
    }

    fn ids(
        &self,
        ctx: &TenantCtx,
        after: Option<InstanceId>,
        limit: usize,
    ) -> Result<Vec<InstanceId>, LogError> {
        SealedLog::archive(self)?.ids(ctx, after, limit)
    }

    fn holds(&self, tenant: TenantId, id: InstanceId) -> Result<bool, LogError> {
        SealedLog::archive(self)?.holds(tenant, id)
    }

    fn whole(&self, tenant: TenantId, id: InstanceId) -> Result<Option<Seq>, LogError> {
        SealedLog::archive(self)?.whole(tenant, id)
    }

    fn expired(
        &self,
        now: Timestamp,
        limit: usize,
    ) -> Result<Vec<(TenantId, InstanceId)>, LogError> {
        SealedLog::archive(self)?.expired(now, limit)
    }

    fn remove(&self, tenant: TenantId, id: InstanceId) -> Result<(), LogError> {
        SealedLog::archive(self)?.remove(tenant, id)
    }

    fn is_empty(&self) -> Result<bool, LogError> {
        SealedLog::archive(self)?.is_empty()
    }

    fn size(&self) -> Result<ArchiveSize, LogError> {
        SealedLog::archive(self)?.size()
    }
}

impl<L> fmt::Debug for SealedLog<L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SealedLog").field("subjects", &self.subjects).finish_non_exhaustive()
    }
}
