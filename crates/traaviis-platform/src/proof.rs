//! Proof that a trail is what it was: entries in their chain, and what is signed over it.
//!
//! The same check reads exports and the log of a data directory. It needs no key and no network:
//! public keys stand beside what they have signed. Whoever changes a trail can make it look whole
//! only with a key of their own, so somebody who keeps a checkpoint elsewhere hands it in, and it
//! tells which key is to be trusted and what must stand in the trail.

use std::{borrow::Cow, collections::BTreeMap, fmt};

use serde::Deserialize;
use serde_json::Value as Json;
use traaviis_model::{
    Body, Record, TenantId, Text,
    record::{RECORD_VERSION, SEALED_VERSION},
    tenant::PLATFORM,
};
use traaviis_ports::LogStore;

use crate::{
    audit::{AUDIT, Broken, CHECKPOINT, Check, entries_of},
    checkpoints::{AuditKey, Checkpoint, PublicKey},
    error::Error,
    ledger::{Document as _, stream_of},
    trail_file::{Format, Item},
};

/// A checkpoint that was kept elsewhere, with the key that it names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// The checkpoint.
    pub checkpoint: Checkpoint,
    /// Its key, when it was kept beside it.
    pub key: Option<PublicKey>,
}

/// Checks one trail, from its first entry on.
#[derive(Debug, Default)]
pub struct Proof {
    check: Check,
    signed_to: u64,
    tenant: Option<TenantId>,
    end: Option<Checkpoint>,
    kept: Option<Kept>,
    kept_is_found: bool,
}

/// A trail that is what it was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proven {
    /// Whose.
    pub tenant: Option<TenantId>,
    /// Entries.
    pub count: u64,
    /// Hash of the last.
    pub hash: String,
    /// Entries up to this one are signed over; those behind it are only chained.
    pub signed_to: u64,
}

impl Proof {
    /// Begins, with a checkpoint that must be found in the trail.
    pub fn new(kept: Option<Kept>) -> Proof {
        Proof { kept, ..Proof::default() }
    }

    fn broken(&self, why: impl Into<String>) -> Broken {
        Broken { seq: self.check.head().seq + 1, why: why.into() }
    }

    /// Takes the tenant that everything that follows must be of.
    pub fn of_tenant(&mut self, tenant: TenantId) -> Result<(), Broken> {
        match self.tenant {
            Some(other) if other != tenant => {
                Err(self.broken(format!("it is of tenant {tenant}, and not of {other}")))
            }
            _ => {
                self.tenant = Some(tenant);
                Ok(())
            }
        }
    }

    /// Takes the next entry.
    pub fn entry(&mut self, entry: &Json) -> Result<(), Broken> {
        if self.end.is_some() {
            return Err(self.broken("it stands behind the end"));
        }
        let mut digits = [0; 36];
        if let Some(TenantId(id)) = self.tenant
            && entry["tenant_id"].as_str() != Some(&*id.hyphenated().encode_lower(&mut digits))
        {
            return Err(self.broken("it is of another tenant"));
        }
        self.check.entry(entry)?;
        let head = self.check.head();
        if let Some(Kept { checkpoint, .. }) = &self.kept
            && checkpoint.seq == head.seq
        {
            if checkpoint.hash != head.hash {
                return Err(self.changed(head.seq, "the checkpoint that was kept"));
            }
            self.kept_is_found = true;
        }
        Ok(())
    }

    /// Takes a checkpoint, which stands right behind its entry.
    pub fn checkpoint(
        &mut self,
        checkpoint: &Checkpoint,
        keys: &BTreeMap<String, PublicKey>,
    ) -> Result<(), Broken> {
        let key = self.key(checkpoint, keys)?;
        if !checkpoint.is_signed_by(&key) {
            return Err(self.changed(checkpoint.seq, "a checkpoint without a good signature"));
        }
        self.is_here(checkpoint)
    }

    /// Takes the end of an export.
    pub fn end(
        &mut self,
        end: &Checkpoint,
        keys: &BTreeMap<String, PublicKey>,
    ) -> Result<(), Broken> {
        let key = self.key(end, keys)?;
        if self.end.is_some() || !end.is_end_signed_by(&key) {
            return Err(self.changed(end.seq, "an end without a good signature"));
        }
        self.is_here(end)?;
        self.end = Some(end.clone());
        Ok(())
    }

    fn key(
        &self,
        checkpoint: &Checkpoint,
        keys: &BTreeMap<String, PublicKey>,
    ) -> Result<PublicKey, Broken> {
        // The key that was kept is trusted before one that stands in what is checked.
        let kept = self.kept.as_ref().and_then(|it| it.key.as_ref());
        if let Some(kept) = kept {
            return match kept.kid == checkpoint.kid {
                true => Ok(kept.clone()),
                false => Err(self.broken("it is signed with another key than the one kept")),
            };
        }
        let key = keys.get(&*checkpoint.kid).cloned();
        key.ok_or_else(|| self.broken(format!("its key `{}` is missing", checkpoint.kid)))
    }

    fn is_here(&mut self, checkpoint: &Checkpoint) -> Result<(), Broken> {
        if let Some(tenant) = self.tenant
            && checkpoint.tenant_id != tenant
        {
            return Err(self.broken("a checkpoint is of another tenant"));
        }
        let head = self.check.head();
        if checkpoint.seq != head.seq {
            let seq = checkpoint.seq;
            let last = head.seq;
            return Err(self.broken(format!("entry {last} is the last before what ends at {seq}")));
        }
        if checkpoint.hash != head.hash {
            return Err(self.changed(checkpoint.seq, "a checkpoint"));
        }
        self.signed_to = checkpoint.seq;
        Ok(())
    }

    /// Something between the last good signature and this entry is not what it was, and the chain
    /// was computed anew behind it.
    fn changed(&self, to: u64, by: &str) -> Broken {
        let from = self.signed_to + 1;
        let why = format!("one of the entries {from} to {to} is not what was signed: {by} tells");
        Broken { seq: from, why }
    }

    /// Ends; an export must have its end.
    pub fn finish(&self, is_export: bool) -> Result<Proven, Broken> {
        if is_export && self.end.is_none() {
            return Err(self.broken("the export breaks off: its end is missing"));
        }
        if let Some(Kept { checkpoint, .. }) = &self.kept
            && !self.kept_is_found
        {
            let seq = checkpoint.seq;
            return Err(self.broken(format!("the trail ends before entry {seq}, which was kept")));
        }
        let head = self.check.head();
        let (tenant, signed_to) = (self.tenant, self.signed_to);
        Ok(Proven { tenant, count: head.seq, hash: head.hash.to_string(), signed_to })
    }
}

/// Checks an export line by line.
#[derive(Debug)]
pub struct ExportProof {
    proof: Proof,
    format: Option<Format>,
    keys: BTreeMap<String, PublicKey>,
    has_begun: bool,
    lines: u64,
}

impl ExportProof {
    /// Begins, with a checkpoint that must be found in the trail.
    pub fn new(kept: Option<Kept>) -> ExportProof {
        let (keys, has_begun, lines) = (BTreeMap::new(), false, 0);
        ExportProof { proof: Proof::new(kept), format: None, keys, has_begun, lines }
    }

    /// Takes the next line.
    pub fn line(&mut self, line: &str) -> Result<(), Broken> {
        self.lines += 1;
        let format = match self.format {
            Some(format) => format,
            None => {
                let format = Format::of_first_line(line);
                let format = format.ok_or_else(|| self.proof.broken("this is no export"))?;
                self.format = Some(format);
                if format == Format::Csv {
                    return Ok(());
                }
                format
            }
        };
        let number = self.lines;
        let item = Item::read(format, self.proof.tenant, line);
        let item = item.map_err(|why| self.proof.broken(format!("line {number}: {why}")))?;
        if self.proof.end.is_some() {
            return Err(self.proof.broken("something stands behind the end"));
        }
        match item {
            Item::Export { tenant, .. } if !self.has_begun => {
                self.has_begun = true;
                self.proof.of_tenant(tenant)
            }
            Item::Export { .. } => Err(self.proof.broken("a second export begins")),
            _ if !self.has_begun => Err(self.proof.broken("the beginning is missing")),
            Item::Key(key) => {
                self.keys.insert(key.kid.to_string(), key);
                Ok(())
            }
            Item::Entry(entry) => self.proof.entry(&entry),
            Item::Checkpoint(it) => self.proof.checkpoint(&it, &self.keys),
            Item::End(it) => self.proof.end(&it, &self.keys),
        }
    }

    /// Ends.
    pub fn finish(&self) -> Result<Proven, Broken> {
        self.proof.finish(true)
    }

    /// Returns whose trail it says that it is.
    pub fn tenant(&self) -> Option<TenantId> {
        self.proof.tenant
    }

    /// Returns the keys that were met.
    pub fn keys(&self) -> impl Iterator<Item = &PublicKey> {
        self.keys.values()
    }
}

/// What a document of a ledger is for whoever reads trails.
pub enum Part {
    /// A key of the installation.
    Key(AuditKey),
    /// An entry.
    Entry(Json),
    /// A checkpoint.
    Checkpoint(Checkpoint),
}

impl fmt::Debug for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Part::Key(_) => "Key",
            Part::Entry(_) => "Entry",
            Part::Checkpoint(_) => "Checkpoint",
        })
    }
}

/// Visits the trails of all tenants as they stand in the log, each in its order.
pub fn visit_trails(
    log: &dyn LogStore,
    visit: &mut dyn FnMut(TenantId, Result<Part, String>) -> bool,
) -> Result<(), Error> {
    let mut streams = BTreeMap::new();
    log.scan_while(0, &mut |line| {
        let Ok(key) = traaviis_model::record::peek_line(line.bytes) else { return true };
        let tenant = key.tenant_id;
        let stream = *streams.entry(tenant).or_insert_with(|| stream_of(tenant));
        if key.instance_id != stream {
            return true;
        }
        match parts_of(line.bytes) {
            Ok(parts) => parts.into_iter().all(|part| visit(tenant, Ok(part))),
            Err(why) => visit(tenant, Err(why)),
        }
    })?;
    Ok(())
}

/// What a line tells of a document, read in one go: a record would be made of all of it first.
#[derive(Deserialize)]
struct PutLine<'a> {
    v: u32,
    #[serde(borrow)]
    kind: Cow<'a, str>,
    #[serde(borrow, default)]
    document: Cow<'a, str>,
    #[serde(default)]
    body: Json,
}

/// Returns the document that a line puts, with its kind.
fn put_of(line: &[u8]) -> Result<Option<(Text, Json)>, String> {
    // Of a sealed line the kind is there, and the trail is never sealed.
    let put = serde_json::from_slice(line);
    if let Ok(PutLine { v: RECORD_VERSION | SEALED_VERSION, kind, document, body }) = put
        && kind == "document_put"
    {
        return Ok(Some(((&*document).into(), body)));
    }
    // Whatever else it is, and whatever is wrong with it.
    let record = Record::read_line(line).map_err(|error| error.to_string())?;
    let Body::DocumentPut { document, body, .. } = record.body else { return Ok(None) };
    Ok(Some((document, Json::from(&body))))
}

fn parts_of(line: &[u8]) -> Result<Vec<Part>, String> {
    let Some((document, body)) = put_of(line)? else { return Ok(Vec::new()) };
    if body.is_null() {
        return match &*document {
            AUDIT | CHECKPOINT | AuditKey::KIND => Err("a part of the trail was removed".into()),
            _ => Ok(Vec::new()),
        };
    }
    let told = |error: serde_json::Error| error.to_string();
    Ok(match &*document {
        AUDIT => entries_of(body).into_iter().map(Part::Entry).collect(),
        CHECKPOINT => vec![Part::Checkpoint(serde_json::from_value(body).map_err(told)?)],
        AuditKey::KIND => vec![Part::Key(serde_json::from_value(body).map_err(told)?)],
        _ => Vec::new(),
    })
}

/// What was found of the trails of a data directory.
#[derive(Debug, Default)]
pub struct Found {
    /// Trails that are what they were, by tenant.
    pub proven: Vec<Proven>,
    /// Trails that are not, with the first entry that is not.
    pub broken: Vec<(Option<TenantId>, Broken)>,
    /// Keys that have signed.
    pub keys: Vec<PublicKey>,
}

/// Checks the trails in a log, of all tenants or of one; `each` is told of every entry.
pub fn prove_log(
    log: &dyn LogStore,
    only: Option<TenantId>,
    kept: Option<&Kept>,
    each: &mut dyn FnMut(),
) -> Result<Found, Error> {
    let mut proofs: BTreeMap<TenantId, Result<Proof, Broken>> = BTreeMap::new();
    let mut keys: BTreeMap<String, PublicKey> = BTreeMap::new();
    let kept_of = |tenant| kept.filter(|it| it.checkpoint.tenant_id == tenant).cloned();
    visit_trails(log, &mut |tenant, part| {
        if let Ok(Part::Key(key)) = &part {
            if tenant == PLATFORM {
                keys.insert(key.kid.to_string(), key.public());
            }
            return true;
        }
        if only.is_some_and(|it| it != tenant) {
            return true;
        }
        let found = proofs.entry(tenant).or_insert_with(|| {
            let mut proof = Proof::new(kept_of(tenant));
            proof.of_tenant(tenant).map(|()| proof)
        });
        let Ok(proof) = found else { return true };
        let taken = match part {
            Ok(Part::Entry(entry)) => {
                each();
                proof.entry(&entry)
            }
            Ok(Part::Checkpoint(it)) => proof.checkpoint(&it, &keys),
            Ok(Part::Key(_)) => Ok(()),
            Err(why) => Err(proof.broken(why)),
        };
        if let Err(broken) = taken {
            *found = Err(broken);
        }
        true
    })?;
    // What was kept of a trail that is not there at all.
    if let Some(kept) = kept {
        let tenant = kept.checkpoint.tenant_id;
        proofs.entry(tenant).or_insert_with(|| Ok(Proof::new(Some(kept.clone()))));
    }
    let mut told = Found { keys: keys.into_values().collect(), ..Found::default() };
    for (tenant, proof) in proofs {
        match proof.and_then(|it| it.finish(false)) {
            Ok(proven) => told.proven.push(proven),
            Err(broken) => told.broken.push((Some(tenant), broken)),
        }
    }
    Ok(told)
}
