//! `traaviis admin import-tree`: a document tree, or data of an earlier layout, into a data
//! directory.
//!
//! ```text
//! files -> found (what each is) -> plan (checked, in a scratch folder) -> compared -> placed
//! ```
//!
//! Everything is read and checked before anything is changed. Instances are laid out in a scratch
//! folder as an export of their tenant, so that what an import of a tenant checks is checked here,
//! too, and a broken-off import is finished by the same command.
//!
//! Invariants: every file is taken, passed over with a reason, or left out with a reason; ids stay;
//! nothing is changed when an id is taken by something else, or when something is left out that
//! nobody has agreed to leave out.

mod earlier;
mod files;
mod histories;
mod kept;
mod people;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
};

use serde_json::{Value as Json, json};
use traaviis_model::{Body, Record, TenantCtx, TenantId, Value, document::read_value};
use traaviis_platform::ledger::VERSION;
use traaviis_ports::LogStore;
use traaviis_store::{
    ReadOnlyLog,
    transfer::{self, Checked, Placed},
};

use crate::{
    commands::tenant::keys,
    data::{lost, open_half_imported, sealed},
    exit::{Exit, Failure},
    secrets,
};
use earlier::Known;
use files::Found;
use histories::Laid;
use people::{People, Peopled};

/// A file that something is said about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Said {
    /// Path below the directory that is imported.
    pub path: String,
    /// What is said.
    pub why: String,
}

impl Said {
    fn new(path: impl Into<String>, why: impl Into<String>) -> Said {
        Said { path: path.into(), why: why.into() }
    }

    fn json(&self) -> Json {
        json!({ "path": self.path, "why": self.why })
    }
}

/// What is imported, checked.
pub struct Plan {
    /// The directory.
    source: PathBuf,
    tenants: Vec<(TenantId, Checked)>,
    people: People,
    /// Files that nothing is taken from, because they hold nothing of their own.
    pub passed_over: Vec<Said>,
    /// Files that should have been taken and cannot be.
    pub left_out: Vec<Said>,
    /// What came otherwise than it was.
    pub changed: Vec<Said>,
}

/// What an import did, or would do.
#[derive(Debug, Default)]
pub struct Imported {
    /// Instances, records, definitions.
    pub placed: Placed,
    /// Users, tenants, members.
    pub people: Peopled,
}

impl Imported {
    /// Says whether anything comes that is not there.
    pub fn changes(&self) -> bool {
        let Placed { instances, archived, records, documents, is_resumed, .. } = self.placed;
        instances + archived + records + documents > 0 || is_resumed || self.people.changes()
    }
}

/// Reads a directory and checks everything in it; `scratch` takes what is laid out.
pub fn plan(source: &Path, data: &Path, scratch: &Path) -> Result<Plan, Failure> {
    let Found { files, mut passed_over, mut left_out, root } = files::find(source)?;
    let mut changed = Vec::new();
    // Whose keys open what is about the users of a tree.
    let keys_of = if source.join("log").is_dir() { source } else { data };
    let vault = secrets::subjects(keys_of);
    let people = people::read(&root, &files, &vault, &mut left_out, &mut changed);
    let known = known(data)?;
    let mut laid = Laid::new(&scratch.join("tenants"));
    histories::lay_out(&root, &files, &mut laid, &mut left_out);
    let told = (&mut left_out, &mut changed);
    earlier::lay_out(&root, &files, &known, &mut laid, told);
    let mut tenants = Vec::new();
    for (tenant, folder, manifest) in laid.finish()? {
        let checked = Checked::read(source, manifest, &folder, None).map_err(Failure::from)?;
        tenants.push((tenant, checked));
    }
    passed_over.sort();
    left_out.sort();
    changed.sort();
    let source = source.to_path_buf();
    Ok(Plan { source, tenants, people, passed_over, left_out, changed })
}

impl Plan {
    /// Returns the failure of an import that would leave something out.
    pub fn refusal(&self) -> Option<Failure> {
        if self.left_out.is_empty() {
            return None;
        }
        let shown: Vec<String> = self
            .left_out
            .iter()
            .take(5)
            .map(|it| {
                let Said { path, why } = it;
                format!("`{path}`: {why}")
            })
            .collect();
        let message = format!(
            "nothing was imported, because {} files cannot be taken: {}; `--dry-run` lists all of \
             them, `--force` leaves them out",
            self.left_out.len(),
            shown.join("; "),
        );
        let failure = Failure::finding("import_refused", message);
        Some(failure.with_details(json!({ "left_out": said(&self.left_out) })))
    }

    /// Says whether there is nothing to be taken.
    pub fn is_empty(&self) -> bool {
        self.tenants.is_empty() && self.people.is_empty()
    }

    /// Says what would come into a data directory; changes nothing.
    pub fn compare(&self, data: &Path, scratch: &Path) -> Result<Imported, Failure> {
        if data.join("log").is_dir() {
            let log = Arc::new(ReadOnlyLog::open(data)?);
            let opened = sealed(data, Arc::clone(&log));
            let keys = keys(&*opened, &log.damaged_streams(), &lost(&log.damage()))?;
            let placed = self.histories(data, &*log, &keys, true)?;
            let people = self.people.compare(data, scratch)?;
            return Ok(Imported { placed, people });
        }
        let empty = scratch.join("empty");
        let (log, _) = open_half_imported(&empty)?;
        let placed = self.histories(&empty, &*log, &BTreeMap::new(), true);
        log.close();
        Ok(Imported { placed: placed?, people: self.people.all_new() })
    }

    /// Imports; everything is compared before the first thing is changed.
    pub fn import(&self, data: &Path, scratch: &Path) -> Result<Imported, Failure> {
        if data.join("log").is_dir() {
            self.compare(data, scratch)?;
        }
        let (log, found) = open_half_imported(data)?;
        let opened = sealed(data, Arc::clone(&log));
        let keys = keys(&*opened, &found.damaged_streams, &lost(&found.damage))?;
        let imported = self.histories(data, &*log, &keys, true).and_then(|_| {
            let people = self.people.import(data, &log)?;
            let placed = self.histories(data, &*log, &keys, false)?;
            Ok(Imported { placed, people })
        });
        log.close();
        imported
    }

    fn histories(
        &self,
        data: &Path,
        log: &dyn LogStore,
        keys: &histories::Keys,
        dry: bool,
    ) -> Result<Placed, Failure> {
        let mut all = Placed::default();
        let mut collisions = Vec::new();
        for (tenant, checked) in &self.tenants {
            let ctx = TenantCtx::operator_of(*tenant);
            match transfer::import(checked, &ctx, (data, &self.source), log, keys, dry) {
                Ok(placed) => {
                    all.instances += placed.instances;
                    all.records += placed.records;
                    all.documents += placed.documents;
                    all.present += placed.present;
                    all.is_resumed |= placed.is_resumed;
                }
                Err(transfer::Error::Collision(some)) if dry => collisions.extend(some),
                Err(error) => return Err(error.into()),
            }
        }
        match collisions.is_empty() {
            true => Ok(all),
            false => Err(transfer::Error::Collision(collisions).into()),
        }
    }
}

/// Returns the workflows that a data directory has, the newest of each name last: those that
/// instances run, and those that were published.
fn known(data: &Path) -> Result<Vec<Known>, Failure> {
    if !data.join("log").is_dir() {
        return Ok(Vec::new());
    }
    let log = ReadOnlyLog::open(data)?;
    let mut known = Vec::new();
    log.scan(0, &mut |line| {
        // Most lines are of instances; only documents are read as a whole.
        let is_document = std::str::from_utf8(line.bytes).is_ok_and(|it| it.contains(DOCUMENT));
        if is_document && let Ok(record) = Record::read_line(line.bytes) {
            known.extend(known_of(&record));
        }
    })?;
    known.sort_by(|a, b| (&a.0, &a.1.version).cmp(&(&b.0, &b.1.version)));
    Ok(known.into_iter().map(|it| it.1).collect())
}

/// What the line of a document has.
const DOCUMENT: &str = r#""kind":"document_put""#;

fn known_of(record: &Record) -> Option<(semver::Version, Known)> {
    let Body::DocumentPut { document, body, .. } = &record.body else { return None };
    // Recorded as the text that it is, or by older releases as a value.
    let body = match body.as_str() {
        Some(text) => serde_json::from_str(text).ok()?,
        None => Json::from(body),
    };
    let document = match &**document {
        "definition" => Value::from(&body),
        VERSION => Value::from(&body["document"]),
        _ => return None,
    };
    let found = read_value(&document).definition?;
    let known = Known {
        tenant: record.header.tenant_id,
        name: found.name.clone(),
        version: found.version.to_string().into(),
        hash: found.hash,
        document,
    };
    Some((found.version, known))
}

/// Returns what is said about files, for programs.
pub fn said(all: &[Said]) -> Vec<Json> {
    all.iter().map(Said::json).collect()
}

/// Returns a failure of the operating system.
fn unreadable(path: &Path, error: &std::io::Error) -> Failure {
    let message = format!("cannot read `{}`: {error}", path.display());
    Failure::new(Exit::Denied, "file_unreadable", message)
}
