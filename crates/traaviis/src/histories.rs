//! What a data directory's log says, read by folding records: no runtime, no change.
//!
//! Good for listing, showing and replaying, beside a running process or without one. The cost is a
//! scan of the log; the live process answers from memory where it can.

use std::{collections::BTreeMap, sync::Arc};

use traaviis_engine::Machine;
use traaviis_model::{
    Body, DefinitionHash, InstanceId, Record, Seq, Snapshot, TenantCtx, Value, document,
    record::peek_line,
};
use traaviis_ports::LogStore;

use crate::exit::{Exit, Failure};

/// A log and whose records are read from it.
#[derive(Clone, Debug)]
pub struct Histories {
    log: Arc<dyn LogStore>,
    ctx: TenantCtx,
}

impl Histories {
    /// Returns the histories of one tenant in a log.
    pub fn new(log: Arc<dyn LogStore>, ctx: TenantCtx) -> Histories {
        Histories { log, ctx }
    }

    /// Returns the state of every instance, oldest first.
    pub fn list(&self) -> Result<Vec<Snapshot>, Failure> {
        let mut snapshots: BTreeMap<InstanceId, Snapshot> = BTreeMap::new();
        let mut trouble = None;
        self.log.scan(0, &mut |line| {
            if trouble.is_none() && !is_document(line.bytes) {
                trouble = fold_line(&mut snapshots, line.bytes).err();
            }
        })?;
        match trouble {
            Some(failure) => Err(failure),
            None => Ok(snapshots.into_values().collect()),
        }
    }

    /// Returns the id that `text` abbreviates: a prefix or suffix that only one instance has.
    pub fn find(&self, text: &str) -> Result<InstanceId, Failure> {
        let mut ids: Vec<InstanceId> = Vec::new();
        self.log.scan(0, &mut |line| {
            if let Ok(key) = peek_line(line.bytes)
                && key.seq == 1
                && key.tenant_id == self.ctx.tenant()
                && !is_document(line.bytes)
            {
                ids.push(key.instance_id);
            }
        })?;
        pick_id(text, &ids)
    }

    /// Returns the state of one instance.
    pub fn show(&self, id: InstanceId) -> Result<Snapshot, Failure> {
        let records = self.records(id)?;
        match Snapshot::fold(&records) {
            Ok(Some(snapshot)) => Ok(snapshot),
            Ok(None) => Err(absent(&id.to_string())),
            Err(error) => Err(Failure::finding("history_broken", error.to_string())),
        }
    }

    /// Returns record lines of one instance.
    pub fn lines(&self, id: InstanceId, from: Seq, limit: usize) -> Result<Vec<Vec<u8>>, Failure> {
        Ok(self.log.read(&self.ctx, id, from, limit)?)
    }

    /// Returns the whole history of one instance.
    pub fn records(&self, id: InstanceId) -> Result<Vec<Record>, Failure> {
        let lines = self.lines(id, 1, usize::MAX)?;
        lines.iter().map(|line| read_record(line)).collect()
    }

    /// Returns a definition document as it was stored.
    pub fn definition(&self, hash: DefinitionHash) -> Result<Value, Failure> {
        let mut found = None;
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
    Record::read_line(line).map_err(|it| Failure::finding("record_unreadable", it.to_string()))
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

fn absent(text: &str) -> Failure {
    let message = format!("no instance has id `{text}`; `traaviis ps --all` lists them");
    Failure::finding("not_found", message)
}

fn fold_line(snapshots: &mut BTreeMap<InstanceId, Snapshot>, line: &[u8]) -> Result<(), Failure> {
    let record = read_record(line)?;
    let broken = |it: traaviis_model::snapshot::ApplyError| {
        Failure::finding("history_broken", it.to_string())
    };
    match snapshots.get_mut(&record.header.instance_id) {
        Some(snapshot) => snapshot.apply(&record).map_err(broken),
        None => {
            let snapshot = Snapshot::create(&record).map_err(broken)?;
            snapshots.insert(snapshot.id, snapshot);
            Ok(())
        }
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
