//! What a data directory's log says, read by folding records: no runtime, no change.
//!
//! Good for listing, showing and replaying, beside a running process or without one. The index says
//! where to look; where it cannot be used, the cost is a scan of the log.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::Arc,
};

use traaviis_engine::Machine;
use traaviis_model::{
    Body, DefinitionHash, InstanceId, Record, Seq, Snapshot, TenantCtx, TenantId, Value, document,
    record::{LineError, peek_line},
};
use traaviis_ports::{
    Position,
    index::{Count, Query, Row, count_rows},
};
use traaviis_runtime::{Fault, Summary, index::overlay::row_of, owner::definition_stream};
use traaviis_store::keys::subject::Erased;

use crate::{
    control::protocol::LIST_MAX,
    data::{About, People},
    exit::{Exit, Failure},
    lookup::Lookup,
    plugins::metrics::Metrics,
    secrets::TenantKeys,
};

/// Ids that a beginning or an end may fit before it is called ambiguous without counting on.
const IDS_MAX: usize = 1_000;

/// An archived instance, or why its file cannot be read.
pub type Archived = (InstanceId, Result<Summary, Failure>);

/// A log and whose records are read from it.
#[derive(Clone)]
pub struct Histories {
    log: Arc<dyn People>,
    ctx: TenantCtx,
    faults: Arc<[Fault]>,
    /// Those of all tenants.
    all_faults: Arc<[Fault]>,
    lookup: Option<Lookup>,
    /// What redacts in the directory.
    pub keys: TenantKeys,
}

fn of_tenant(faults: &[Fault], ctx: &TenantCtx) -> Arc<[Fault]> {
    faults.iter().filter(|it| it.tenant == ctx.tenant()).cloned().collect()
}

/// How far a history was read.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    /// Number of the next record.
    pub seq: Seq,
    /// Position before which the next records do not stand.
    pub position: Position,
    /// Others may follow at once.
    pub has_more: bool,
}

impl Place {
    /// Returns the place before a record, of which it is not known where in the log it stands.
    pub fn before(seq: Seq) -> Place {
        Place { seq, position: 0, has_more: true }
    }
}

/// An instance of which something is lost.
#[derive(Clone, Debug)]
pub struct Damaged {
    /// Instance.
    pub id: InstanceId,
    /// Last record that can be read.
    pub seq: Seq,
    /// State there; nothing when not even its beginning is left.
    pub snapshot: Option<Snapshot>,
    /// Stable word.
    pub code: String,
    /// What is lost.
    pub why: String,
}

impl Damaged {
    /// Returns why nothing can be done with it.
    pub fn failure(&self) -> Failure {
        let Damaged { id, seq, why, code, .. } = self;
        let message = format!("instance `{id}` is damaged after record {seq}: {why}");
        match code.as_str() {
            "blob_damaged" => {
                let next = "restore that file from a backup, and start again";
                Failure::finding(code, format!("{message}; {next}"))
            }
            _ => Failure::finding(code, message).with_hint(
                "`traaviis doctor` names the place; keep a copy of the data directory, then \
                 restore it whole from a backup",
            ),
        }
    }

    fn of_fault(fault: &Fault) -> Damaged {
        let Fault { id, seq, message, .. } = fault;
        let (code, why) = (fault.code().into(), message.to_string());
        Damaged { id: *id, seq: *seq, snapshot: None, code, why }
    }
}

/// Every instance of a log, oldest first.
#[derive(Debug, Default)]
pub struct Listed {
    /// Those whose history is whole.
    pub whole: Vec<Snapshot>,
    /// The others.
    pub damaged: Vec<Damaged>,
    /// Lines that belong to no instance, because they cannot be read at all.
    pub unreadable: Vec<String>,
}

/// One page of a list, the newest first.
#[derive(Debug, Default)]
pub struct Page {
    /// Those whose history is whole.
    pub rows: Vec<Row>,
    /// The others, all of them on the first page.
    pub damaged: Vec<Damaged>,
    /// Lines that belong to no instance.
    pub unreadable: Vec<String>,
    /// Where the next page begins, unless this was the last.
    pub next: Option<InstanceId>,
}

impl Histories {
    /// Returns the histories of one tenant in a log; `faults` are the instances of which something
    /// is known to be lost that the log alone does not tell.
    pub fn new(
        log: Arc<dyn People>,
        ctx: TenantCtx,
        faults: &[Fault],
        lookup: Option<Lookup>,
        keys: TenantKeys,
    ) -> Histories {
        let all_faults: Arc<[Fault]> = faults.into();
        let faults = of_tenant(&all_faults, &ctx);
        Histories { log, ctx, faults, all_faults, lookup, keys }
    }

    /// Returns the histories of another tenant in the same log.
    pub fn of(&self, ctx: TenantCtx) -> Histories {
        let faults = of_tenant(&self.all_faults, &ctx);
        Histories { ctx, faults, ..self.clone() }
    }

    /// Returns the instances known to be damaged without a look at the log.
    pub fn known_damaged(&self) -> Vec<Damaged> {
        self.faults.iter().map(Damaged::of_fault).collect()
    }

    /// Says whether an instance of any tenant is known to be damaged, without a look at the log.
    pub fn is_known_damaged(&self, ctx: &TenantCtx, id: InstanceId) -> bool {
        self.all_faults.iter().any(|it| it.id == id && it.tenant == ctx.tenant())
    }

    /// Returns a page of instances.
    pub fn page(&self, query: &Query) -> Result<Page, Failure> {
        if let Some(mut rows) = self.index_page(query) {
            let next = next_of(&rows, query);
            rows.retain(|it| self.refuse_damaged(it.id).is_ok());
            let damaged = self.known_damaged();
            return Ok(Page { rows, damaged, unreadable: Vec::new(), next });
        }
        let Listed { whole, damaged, unreadable } = self.list()?;
        let rows = whole.iter().rev().map(|it| row_of(it, None, 0));
        let rows: Vec<Row> = rows.filter(|it| query.takes(it)).take(query.limit).collect();
        let next = next_of(&rows, query);
        Ok(Page { rows, damaged, unreadable, next })
    }

    /// Counts instances by workflow, status and state.
    pub fn count(&self, query: &Query) -> Result<Vec<Count>, Failure> {
        if let Some(Ok(counts)) = self.lookup.as_ref().map(|it| it.count(&self.ctx, query)) {
            return Ok(counts);
        }
        let whole = self.list()?.whole;
        let rows: Vec<Row> = whole.iter().map(|it| row_of(it, None, 0)).collect();
        Ok(count_rows(rows.iter().filter(|it| query.takes(it))))
    }

    /// Returns the states of the open instances that wait for a person, oldest first.
    pub fn asking(&self) -> Result<Vec<Snapshot>, Failure> {
        let mut query = Query { asks: true, limit: LIST_MAX, ..Query::default() };
        if self.index_page(&query).is_none() {
            let mut whole = self.list()?.whole;
            whole.retain(|it| row_of(it, None, 0).asks);
            return Ok(whole);
        }
        let mut found = Vec::new();
        loop {
            let page = self.page(&query)?;
            for row in &page.rows {
                found.push(self.show(row.id)?);
            }
            query.after = page.next;
            if page.next.is_none() {
                break;
            }
        }
        found.reverse();
        Ok(found)
    }

    /// Returns a page from the index, if that can be used.
    fn index_page(&self, query: &Query) -> Option<Vec<Row>> {
        self.lookup.as_ref()?.page(&self.ctx, query).ok()
    }

    /// Returns what the index has of an instance.
    fn row(&self, id: InstanceId) -> Option<Row> {
        self.lookup.as_ref()?.row(&self.ctx, id).ok().flatten()
    }

    /// Says whether an instance is archived.
    pub fn is_archived(&self, id: InstanceId) -> Result<bool, Failure> {
        match self.log.archive() {
            Some(archive) => Ok(archive.holds(self.ctx.tenant(), id)?),
            None => Ok(false),
        }
    }

    /// Returns archived instances in short, the highest id first; of a damaged one what is wrong.
    pub fn archived(
        &self,
        after: Option<InstanceId>,
        limit: usize,
    ) -> Result<Vec<Archived>, Failure> {
        let Some(archive) = self.log.archive() else { return Ok(Vec::new()) };
        let ids = archive.ids(&self.ctx, after, limit)?;
        let read = |id| {
            let found = match archive.get(&self.ctx, id) {
                Ok(Some(history)) => serde_json::from_slice(&history.entry.summary)
                    .map_err(|error| Failure::finding("archive_damaged", error.to_string())),
                // It was deleted meanwhile.
                Ok(None) => return None,
                Err(error) => Err(error.into()),
            };
            Some((id, found))
        };
        Ok(ids.into_iter().filter_map(read).collect())
    }

    /// Returns the state of every instance. A damaged one hides no other.
    pub fn list(&self) -> Result<Listed, Failure> {
        let mut folds: BTreeMap<InstanceId, Fold> = BTreeMap::new();
        let mut listed = Listed::default();
        self.log.scan(0, &mut |line| {
            if is_document(line.bytes) {
                return;
            }
            match peek_line(line.bytes) {
                Ok(key) if key.tenant_id == self.ctx.tenant() => {
                    folds.entry(key.instance_id).or_default().line(line.bytes);
                }
                Ok(_) => (),
                Err(error) => {
                    listed.unreadable.push(format!("record at position {}: {error}", line.position))
                }
            }
        })?;
        for fault in &*self.faults {
            // It says more than where the fold broke off: how much is missing, and where.
            let Damaged { code, why, .. } = Damaged::of_fault(fault);
            folds.entry(fault.id).or_default().damage = Some((code, why));
        }
        for (tenant, id) in self.log.damaged_streams() {
            if tenant == self.ctx.tenant()
                && let Some(fold) = folds.get_mut(&id)
            {
                fold.damage("history_broken", "records of it stand in a damaged place".into());
            }
        }
        let has_archive = match self.log.archive() {
            Some(archive) => !archive.is_empty()?,
            None => false,
        };
        for (id, Fold { snapshot, damage }) in folds {
            // The log may still hold some of its records.
            if has_archive && self.is_archived(id)? {
                continue;
            }
            match (damage, snapshot) {
                (None, Some(snapshot)) => listed.whole.push(snapshot),
                (None, None) => (),
                (Some((code, why)), snapshot) => {
                    let seq = snapshot.as_ref().map_or(0, |it| it.seq);
                    listed.damaged.push(Damaged { id, seq, snapshot, code, why });
                }
            }
        }
        Ok(listed)
    }

    /// Returns every tenant that has records in the log.
    pub fn tenants(&self) -> Result<BTreeSet<TenantId>, Failure> {
        let mut tenants = BTreeSet::new();
        self.log.scan(0, &mut |line| {
            // What cannot be read is told by the list of its tenant.
            if let Ok(key) = peek_line(line.bytes) {
                tenants.insert(key.tenant_id);
            }
        })?;
        Ok(tenants)
    }

    /// Returns the metrics of the workflows that ask for them, read off the whole log.
    pub fn metrics(&self) -> Result<String, Failure> {
        let mut metrics = Metrics::default();
        let archived: BTreeSet<InstanceId> = self.archived_ids()?.into_iter().collect();
        self.log.scan(0, &mut |line| {
            // What cannot be read is told by `ps` and `doctor`.
            if let Ok(key) = peek_line(line.bytes)
                && key.tenant_id == self.ctx.tenant()
                && !archived.contains(&key.instance_id)
                && let Ok(record) = Record::read_line(line.bytes)
            {
                metrics.record(&record);
            }
        })?;
        for id in archived {
            // A damaged one counts for nothing; `ps --archived` tells of it.
            let records = self.records(id).unwrap_or_default();
            records.iter().for_each(|record| metrics.record(record));
        }
        Ok(metrics.text())
    }

    /// Returns the id that `text` abbreviates: a prefix or suffix that only one instance has.
    pub fn find(&self, text: &str) -> Result<InstanceId, Failure> {
        // A whole id abbreviates nothing; whether it exists shows when its records are read.
        if let Ok(id) = text.parse() {
            return Ok(id);
        }
        if let Some(lookup) = &self.lookup
            && let Ok(mut ids) = lookup.ids(&self.ctx, &text.replace('-', ""), IDS_MAX)
        {
            ids.extend(self.faults.iter().map(|it| it.id));
            if ids.is_empty() {
                ids = self.archived_ids()?;
            }
            return pick_id(text, &ids);
        }
        // Not only first records: of a damaged history, the beginning may be what is lost.
        let mut ids: BTreeSet<InstanceId> = self.faults.iter().map(|it| it.id).collect();
        self.log.scan(0, &mut |line| {
            if let Ok(key) = peek_line(line.bytes)
                && key.tenant_id == self.ctx.tenant()
                && !is_document(line.bytes)
            {
                ids.insert(key.instance_id);
            }
        })?;
        ids.extend(self.archived_ids()?);
        pick_id(text, &ids.into_iter().collect::<Vec<_>>())
    }

    fn archived_ids(&self) -> Result<Vec<InstanceId>, Failure> {
        match self.log.archive() {
            Some(archive) => Ok(archive.ids(&self.ctx, None, usize::MAX)?),
            None => Ok(Vec::new()),
        }
    }

    /// Returns the state of one instance.
    pub fn show(&self, id: InstanceId) -> Result<Snapshot, Failure> {
        self.refuse_damaged(id)?;
        let body = self.row(id).and_then(|it| it.snapshot);
        if let Some(snapshot) = body.and_then(|it| serde_json::from_slice(&it).ok()) {
            return Ok(snapshot);
        }
        let folded = self.records(id).and_then(|records| {
            Snapshot::fold(&records)
                .map_err(|it| Failure::finding("history_broken", it.to_string()))
        });
        match folded {
            Ok(Some(snapshot)) => Ok(snapshot),
            Ok(None) => Err(absent(&id.to_string())),
            // The list says the same of it, and where it breaks off.
            Err(failure) if failure.code == "archive_damaged" => Err(failure),
            Err(failure) => {
                let damaged = self.list()?.damaged;
                Err(damaged.iter().find(|it| it.id == id).map_or(failure, Damaged::failure))
            }
        }
    }

    /// Refuses an instance that is known to be damaged.
    pub fn refuse_damaged(&self, id: InstanceId) -> Result<(), Failure> {
        match self.faults.iter().find(|it| it.id == id) {
            Some(fault) => Err(Damaged::of_fault(fault).failure()),
            None => Ok(()),
        }
    }

    /// Returns the next record lines of one instance, and moves the place behind them: at most
    /// `limit`, and fewer when they are large.
    pub fn lines(
        &self,
        id: InstanceId,
        place: &mut Place,
        limit: usize,
    ) -> Result<Vec<Vec<u8>>, Failure> {
        let within = match self.row(id) {
            Some(row) if place.seq > row.seq => {
                place.has_more = false;
                return Ok(Vec::new());
            }
            Some(Row { first: Some(first), last, .. }) => first.max(place.position)..last + 1,
            _ => place.position..Position::MAX,
        };
        let part = self.log.read_within(&self.ctx, id, place.seq, limit, within)?;
        if part.lines.first().is_some_and(|it| is_document(it)) {
            // A stream of documents, such as the ledger of a tenant, is no instance.
            place.has_more = false;
            return Ok(Vec::new());
        }
        let has_more = part.is_cut || part.lines.len() == limit;
        *place = Place { seq: place.seq + part.lines.len() as Seq, position: part.next, has_more };
        Ok(part.lines)
    }

    /// Returns the key of a person, without a look at what it opens.
    pub fn key_of(&self, subject: &str) -> Result<Option<Erased>, Failure> {
        self.log.key_of(&self.ctx, subject)
    }

    /// Returns what is kept about a person; none when there never was a key of theirs.
    pub fn about(&self, subject: &str) -> Result<Option<About>, Failure> {
        self.log.about(&self.ctx, subject)
    }

    /// Returns who reads.
    pub fn ctx(&self) -> &TenantCtx {
        &self.ctx
    }

    /// Returns the whole history of one instance.
    pub fn records(&self, id: InstanceId) -> Result<Vec<Record>, Failure> {
        let (mut place, mut records) = (Place::before(1), Vec::new());
        while place.has_more {
            for line in self.lines(id, &mut place, usize::MAX)? {
                records.push(read_record(&line)?);
            }
        }
        Ok(records)
    }

    /// Returns a definition document as it was stored.
    pub fn definition(&self, hash: DefinitionHash) -> Result<Value, Failure> {
        // It stands before the first instance that it decides, in a stream of its own.
        let stream = definition_stream(&hash);
        let lines = self.log.read(&self.ctx, stream, 1, 1).unwrap_or_default();
        let mut found = lines.first().and_then(|line| document_of(line, hash));
        if let Some(body) = found {
            return Ok(body);
        }
        self.log.scan(0, &mut |line| {
            if found.is_none() && is_document(line.bytes) {
                found = document_of(line.bytes, hash);
            }
        })?;
        found.ok_or_else(|| {
            let message = format!("the log holds no definition with hash `{hash}`");
            Failure::finding("definition_absent", message)
        })
    }
}

impl fmt::Debug for Histories {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Histories").field("faults", &self.faults).finish_non_exhaustive()
    }
}

/// Compiles a stored definition document.
pub fn compile_document(body: &Value) -> Result<Machine, Failure> {
    let refuse = |why: String| {
        let message = format!("the stored definition cannot be used: {why}");
        Failure::finding("definition_invalid", message)
    };
    let read = document::read_value(body);
    let why = || read.diagnostics.first().map(ToString::to_string).unwrap_or_default();
    let Some(definition) = read.definition else { return Err(refuse(why())) };
    Machine::compile(Arc::new(definition))
        .map_err(|it| refuse(it.first().map(ToString::to_string).unwrap_or_default()))
}

/// Reads a record line.
pub fn read_record(line: &[u8]) -> Result<Record, Failure> {
    Record::read_line(line).map_err(|error| {
        let code = match error {
            LineError::Unreadable(_) => "blob_damaged",
            _ => "record_unreadable",
        };
        Failure::finding(code, error.to_string())
    })
}

/// Returns the definition in a line, when it is the one with this hash.
pub fn document_of(line: &[u8], hash: DefinitionHash) -> Option<Value> {
    let record = Record::read_line(line).ok()?;
    let Body::DocumentPut { body, .. } = record.body else { return None };
    (record.header.definition_hash == hash || hash_of(&body) == Some(hash)).then_some(body)
}

fn hash_of(body: &Value) -> Option<DefinitionHash> {
    document::read_value(body).definition.map(|it| it.hash)
}

/// Says whether a line holds a document rather than a step of an instance, without reading it
/// whole.
pub fn is_document(line: &[u8]) -> bool {
    const MARK: &[u8] = br#""kind":"document_put""#;
    // The header comes first and is short; the same words in a payload would stand escaped.
    line[..line.len().min(600)].windows(MARK.len()).any(|it| it == MARK)
}

/// Returns the only id among `ids` that begins or ends with `text`.
pub fn pick_id(text: &str, ids: &[InstanceId]) -> Result<InstanceId, Failure> {
    let text = text.to_ascii_lowercase();
    let fits = |id: &&InstanceId| {
        let id = id.to_string();
        id.starts_with(&text) || id.ends_with(&text)
    };
    let found: Vec<&InstanceId> = ids.iter().filter(fits).collect();
    match found.as_slice() {
        _ if text.is_empty() => Err(Failure::usage("the instance id is empty")),
        [one] => Ok(**one),
        [] => Err(absent(&text)),
        many => {
            let message = format!(
                "`{text}` fits {} instances, such as `{}` and `{}`; write more of the id",
                many.len(),
                many[0],
                many[1]
            );
            Err(Failure::new(Exit::Usage, "id_ambiguous", message))
        }
    }
}

/// Returns where the page after this one begins; a full page may have one.
fn next_of(rows: &[Row], query: &Query) -> Option<InstanceId> {
    rows.last().filter(|_| rows.len() >= query.limit).map(|it| it.id)
}

/// Says that there is no such instance.
pub fn absent(text: &str) -> Failure {
    let failure = Failure::finding("not_found", format!("no instance has id `{text}`"));
    failure.with_hint("`traaviis ps --all` lists them")
}

/// One history as far as it can be followed.
#[derive(Default)]
struct Fold {
    snapshot: Option<Snapshot>,
    damage: Option<(String, String)>,
}

impl Fold {
    fn line(&mut self, line: &[u8]) {
        if self.damage.is_some() {
            return;
        }
        let record = match read_record(line) {
            Ok(record) => record,
            Err(failure) => return self.damage(&failure.code, failure.message),
        };
        let applied = match &mut self.snapshot {
            Some(snapshot) => snapshot.apply(&record),
            None => Snapshot::create(&record).map(|it| self.snapshot = Some(it)),
        };
        if let Err(error) = applied {
            self.damage("history_broken", error.to_string());
        }
    }

    /// Keeps the first thing that is wrong.
    fn damage(&mut self, code: &str, why: String) {
        self.damage.get_or_insert((code.into(), why));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_may_be_cut_at_either_end_while_it_stays_unique() {
        let ids: Vec<InstanceId> = [
            "0199a000-0000-7000-8000-0000000000aa",
            "0199a000-0000-7000-8000-0000000000ab",
            "0299a000-0000-7000-8000-0000000000ab",
        ]
        .iter()
        .map(|it| it.parse().unwrap())
        .collect();
        assert_eq!(pick_id("02", &ids).unwrap(), ids[2]);
        assert_eq!(pick_id("AA", &ids).unwrap(), ids[0]);
        assert_eq!(pick_id("0199", &ids).unwrap_err().code, "id_ambiguous");
        assert_eq!(pick_id("ff", &ids).unwrap_err().code, "not_found");
        assert_eq!(pick_id("", &ids).unwrap_err().code, "usage");
    }
}
