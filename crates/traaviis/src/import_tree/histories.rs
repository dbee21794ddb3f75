//! Histories of a document tree: checked one by one, and laid out as exports of their tenants.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
};

use serde_json::{Value as Json, json};
use sha2::{Digest as _, Sha256};
use traaviis_model::{
    Actor, Body, DefinitionHash, Header, InstanceId, Record, Seq, Snapshot, TenantId, Timestamp,
    Value,
    document::read_value,
    limits::TREE_FILE_RECORDS,
    record::{LineError, RECORD_VERSION},
};
use traaviis_ports::{
    Tree as _,
    tree::{Batch, Document, Lines, Place},
};
use traaviis_runtime::owner::definition_stream;
use traaviis_store::{
    ScratchTree,
    disk::ScratchDisk,
    transfer::{Entry, Manifest},
    tree::{FileDocument, TREE_DIR, read_document},
};

use super::{
    Said,
    files::{File, What},
    unreadable,
};
use crate::exit::{Exit, Failure};

/// Open holders of business keys: tenant, workflow in lower case, key.
pub type Keys = BTreeMap<(TenantId, String, String), InstanceId>;

/// Exports of tenants, as far as they are laid out.
pub struct Laid {
    scratch: PathBuf,
    tenants: BTreeMap<TenantId, OfTenant>,
}

/// The export of one tenant.
struct OfTenant {
    folder: PathBuf,
    tree: ScratchTree,
    definitions: BTreeMap<DefinitionHash, Vec<u8>>,
    instances: BTreeSet<InstanceId>,
    steps: Vec<Step>,
    records: u64,
}

/// Where a step stands among those of all instances: in the order of commit times.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Step {
    at: Timestamp,
    id: InstanceId,
    first: Seq,
    count: u32,
}

impl Laid {
    /// Begins in an empty folder.
    pub fn new(scratch: &Path) -> Laid {
        Laid { scratch: scratch.to_path_buf(), tenants: BTreeMap::new() }
    }

    fn tenant(&mut self, tenant: TenantId) -> &mut OfTenant {
        let folder = self.scratch.join(tenant.to_string());
        self.tenants.entry(tenant).or_insert_with(|| OfTenant {
            tree: ScratchTree::on(ScratchDisk, &folder, None),
            folder,
            definitions: BTreeMap::new(),
            instances: BTreeSet::new(),
            steps: Vec::new(),
            records: 0,
        })
    }

    /// Takes a definition.
    pub fn define(&mut self, tenant: TenantId, hash: DefinitionHash, body: &Value, at: Timestamp) {
        let record = Record {
            header: Header {
                origin: None,
                tenant_id: tenant,
                instance_id: definition_stream(&hash),
                seq: 1,
                v: RECORD_VERSION,
                at,
                step: 1,
                definition_hash: hash,
                actor: Actor::engine(),
                causation_id: None,
                correlation_id: None,
            },
            body: Body::DocumentPut {
                document: "definition".into(),
                id: hash.to_string().into(),
                body: body.clone(),
            },
        };
        let mut line = Vec::new();
        record.write_line(&mut line);
        self.tenant(tenant).definitions.entry(hash).or_insert(line);
    }

    /// Says whether a definition is there.
    pub fn has_definition(&self, tenant: TenantId, hash: &DefinitionHash) -> bool {
        self.tenants.get(&tenant).is_some_and(|it| it.definitions.contains_key(hash))
    }

    /// Says whether an instance of any tenant has an id.
    pub fn has(&self, id: InstanceId) -> bool {
        self.tenants.values().any(|it| it.instances.contains(&id))
    }

    /// Takes an instance with its whole history.
    pub fn put(&mut self, history: &History) -> Result<(), Failure> {
        let History { snapshot, lines, steps } = history;
        let (tenant, id, workflow) = (snapshot.tenant_id, snapshot.id, snapshot.workflow.clone());
        let of = self.tenant(tenant);
        let document = Document {
            tenant: Some(tenant),
            place: Place::Instance { workflow: workflow.clone(), id },
            version: snapshot.step,
            seq: snapshot.seq,
            updated_at: Some(snapshot.updated_at),
            body: snapshot.canonical(),
        };
        let size = usize::try_from(TREE_FILE_RECORDS).unwrap_or(usize::MAX);
        let files = lines.chunks(size).enumerate().map(|(at, some)| {
            let place = Place::Events { workflow: workflow.clone(), id, file: at as u64 + 1 };
            let first = at as u64 * TREE_FILE_RECORDS + 1;
            let lines = some.iter().flat_map(|it| [it.as_slice(), b"\n"].concat()).collect();
            Lines { tenant: Some(tenant), place, first, lines }
        });
        let batch = Batch { documents: vec![document], lines: files.collect(), ..Batch::default() };
        of.tree.write(&batch).map_err(|error| {
            Failure::new(Exit::Denied, error.code(), format!("cannot lay out: {error}"))
        })?;
        of.instances.insert(id);
        of.steps.extend(steps);
        of.records += lines.len() as u64;
        Ok(())
    }

    /// Writes what stands beside the trees, and returns the exports.
    pub fn finish(self) -> Result<Vec<(TenantId, PathBuf, Manifest)>, Failure> {
        self.tenants.into_iter().map(|(tenant, of)| of.finish(tenant)).collect()
    }
}

impl OfTenant {
    fn finish(mut self, tenant: TenantId) -> Result<(TenantId, PathBuf, Manifest), Failure> {
        let mut documents = Vec::new();
        self.definitions.values().for_each(|it| documents.extend_from_slice(it));
        self.steps.sort_unstable();
        let mut order = Vec::new();
        for Step { id, first, count, .. } in &self.steps {
            let run = json!({ "id": id, "first": first, "count": count });
            order.extend_from_slice(format!("{run}\n").as_bytes());
        }
        let tree = self.folder.join(TREE_DIR).join(tenant.to_string());
        fs::create_dir_all(&tree).map_err(|error| unreadable(&tree, &error))?;
        for (name, bytes) in [("documents.jsonl", &documents), ("order.jsonl", &order)] {
            let path = self.folder.join(name);
            fs::write(&path, bytes).map_err(|error| unreadable(&path, &error))?;
        }
        let mut files = Vec::new();
        entries(&tree, &format!("{TREE_DIR}/{tenant}"), &mut files)?;
        files.push(entry(&self.folder.join("documents.jsonl"), "documents.jsonl")?);
        files.sort_by(|a, b| a.path.cmp(&b.path));
        let manifest = Manifest {
            tenant,
            // The same tree has the same manifest, by which a broken-off import is known again.
            created_at: Timestamp(0),
            position: 0,
            instances: self.instances.len() as u64,
            archived: 0,
            records: self.records,
            ledger: 0,
            locked_for: Vec::new(),
            secrets_left_out: Vec::new(),
            damaged_left_out: Vec::new(),
            damage: Vec::new(),
            files,
        };
        Ok((tenant, self.folder, manifest))
    }
}

fn entries(dir: &Path, name: &str, files: &mut Vec<Entry>) -> Result<(), Failure> {
    for found in fs::read_dir(dir).map_err(|error| unreadable(dir, &error))? {
        let found = found.map_err(|error| unreadable(dir, &error))?;
        let name = format!("{name}/{}", found.file_name().to_string_lossy());
        match found.path().is_dir() {
            true => entries(&found.path(), &name, files)?,
            false => files.push(entry(&found.path(), &name)?),
        }
    }
    Ok(())
}

fn entry(path: &Path, name: &str) -> Result<Entry, Failure> {
    let bytes = fs::read(path).map_err(|error| unreadable(path, &error))?;
    let sha256 = Sha256::digest(&bytes).iter().map(|it| format!("{it:02x}")).collect();
    Ok(Entry { path: name.into(), bytes: bytes.len() as u64, sha256 })
}

/// A history that is whole, with the state that follows from it.
pub struct History {
    /// State.
    pub snapshot: Snapshot,
    lines: Vec<Vec<u8>>,
    steps: Vec<Step>,
}

impl History {
    /// Folds records of one instance; says what is wrong with them.
    pub fn of(records: &[Record]) -> Result<History, String> {
        let lines = records.iter().map(|it| {
            let mut line = Vec::new();
            it.write_line(&mut line);
            line.pop();
            line
        });
        let first = records.first().ok_or("there is no record")?;
        History::read(lines.collect(), first.header.tenant_id, first.header.instance_id)
    }

    /// Reads lines of one instance and folds them; says what is wrong with them.
    fn read(lines: Vec<Vec<u8>>, tenant: TenantId, id: InstanceId) -> Result<History, String> {
        let mut folded: Option<Snapshot> = None;
        let mut steps: Vec<Step> = Vec::new();
        let mut last = 0;
        for (at, line) in lines.iter().enumerate() {
            let seq = at as u64 + 1;
            let record = Record::read_line(line).map_err(|error| match error {
                LineError::Sealed | LineError::WithoutValues => SEALED.to_owned(),
                other => format!("record {seq}: {other}"),
            })?;
            let Header { tenant_id, instance_id, .. } = record.header;
            if (tenant_id, instance_id) != (tenant, id) {
                return Err(format!("record {seq} is of instance `{instance_id}`"));
            }
            if record.header.seq != seq {
                return Err(format!("record {seq} is missing; {} stands there", record.header.seq));
            }
            let wrong = |it: &dyn ToString| format!("record {seq}: {}", it.to_string());
            match folded.as_ref().and_then(|_| Snapshot::reopen(&record)) {
                Some(reopened) => folded = Some(reopened),
                None => match &mut folded {
                    Some(it) => it.apply(&record).map_err(|error| wrong(&error))?,
                    None => {
                        folded = Some(Snapshot::create(&record).map_err(|error| wrong(&error))?);
                    }
                },
            }
            match steps.last_mut() {
                Some(step) if last == record.header.step => step.count += 1,
                _ => steps.push(Step { at: record.header.at, id, first: seq, count: 1 }),
            }
            last = record.header.step;
        }
        let snapshot = folded.ok_or("there is no record")?;
        match snapshot.subject.is_some() {
            true => Err(SEALED.into()),
            false => Ok(History { snapshot, lines, steps }),
        }
    }
}

/// Why an instance about a person is left out.
const SEALED: &str = "it is about a person, and their key, with which it is sealed, is in no tree; \
                      move the directory with `traaviis backup` and `traaviis restore`";

/// Lays out what stands in documents of ours; files of earlier layouts are left for others.
pub fn lay_out(root: &Path, files: &[File], laid: &mut Laid, left_out: &mut Vec<Said>) {
    for file in files {
        if let What::Definition(tenant) = &file.what
            && let Err(why) = definition(&root.join(&file.path), *tenant, laid)
        {
            left_out.push(Said::new(&file.path, why));
        }
    }
    let mut records: BTreeMap<(TenantId, InstanceId), Vec<&File>> = BTreeMap::new();
    let mut states: BTreeMap<(TenantId, InstanceId), &File> = BTreeMap::new();
    for file in files {
        match &file.what {
            What::Records(tenant, id) => records.entry((*tenant, *id)).or_default().push(file),
            What::State(tenant, Some(id)) => drop(states.insert((*tenant, *id), file)),
            _ => {}
        }
    }
    for ((tenant, id), mut parts) in records {
        parts.sort_by(|a, b| name(&a.path).cmp(name(&b.path)));
        let state = states.get(&(tenant, id)).copied();
        if let Err(why) = instance(root, (tenant, id), &parts, state, laid) {
            let said = |it: &&File| Said::new(&it.path, why.clone());
            left_out.extend(parts.iter().map(said));
            left_out.extend(state.iter().map(said));
        }
    }
}

fn name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

fn instance(
    root: &Path,
    (tenant, id): (TenantId, InstanceId),
    parts: &[&File],
    state: Option<&File>,
    laid: &mut Laid,
) -> Result<(), String> {
    if laid.has(id) {
        return Err(format!("instance `{id}` stands there twice, in two tenants"));
    }
    let mut lines = Vec::new();
    for part in parts {
        let file = fs::File::open(root.join(&part.path)).map_err(|it| it.to_string())?;
        for line in BufReader::new(file).split(b'\n') {
            lines.push(line.map_err(|it| it.to_string())?);
        }
    }
    let history = History::read(lines, tenant, id)?;
    if let Some(state) = state {
        let bytes = fs::read(root.join(&state.path)).map_err(|it| it.to_string())?;
        let document = read_document(&bytes).map_err(|why| format!("its state: {why}"))?;
        agree(&document, &history.snapshot)?;
    }
    let hash = history.snapshot.definition_hash;
    if !laid.has_definition(tenant, &hash) {
        return Err(format!("its definition `{hash}` is not in the tree, so it could not go on"));
    }
    laid.put(&history).map_err(|failure| failure.message)
}

/// Refuses a state that does not follow its history; one that is behind it is no wonder.
fn agree(document: &FileDocument, snapshot: &Snapshot) -> Result<(), String> {
    let FileDocument { seq, body, tenant, id, .. } = document;
    if *tenant != Some(snapshot.tenant_id) || *id != snapshot.id.to_string() {
        return Err(format!("its state is that of `{id}`"));
    }
    if *seq > snapshot.seq {
        let has = snapshot.seq;
        return Err(format!("its state follows record {seq}, and its history ends at {has}"));
    }
    match *seq == snapshot.seq && *body != snapshot.canonical() {
        true => Err("its state does not follow from its history".into()),
        false => Ok(()),
    }
}

fn definition(path: &Path, tenant: TenantId, laid: &mut Laid) -> Result<(), String> {
    let bytes = fs::read(path).map_err(|it| it.to_string())?;
    let document = read_document(&bytes)?;
    if document.tenant != Some(tenant) {
        return Err("it is of another tenant".into());
    }
    let body: Json = serde_json::from_slice(&document.body).map_err(|it| it.to_string())?;
    let hash = body["definition_hash"].as_str().and_then(|it| it.parse::<DefinitionHash>().ok());
    let hash = hash.ok_or("it names no hash")?;
    let definition = Value::from(&body["definition"]);
    match read_value(&definition).definition {
        Some(found) if found.hash == hash => {}
        Some(found) => return Err(format!("its hash is `{}`, not `{hash}`", found.hash)),
        None => return Err("this release cannot read the workflow in it".into()),
    }
    laid.define(tenant, hash, &definition, document.updated_at.unwrap_or(Timestamp(0)));
    Ok(())
}
