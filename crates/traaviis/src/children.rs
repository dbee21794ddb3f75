//! What children run: documents beside the workflow file of the run, the built-in catalogue, and
//! definitions that the data directory holds already, in this order.

use std::{
    collections::HashMap,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
};

use semver::{Version, VersionReq};
use traaviis_engine::{Machine, expand};
use traaviis_model::{Body, Diagnostic, Record, TenantCtx, Value, document::Format};
use traaviis_ports::LogStore;

use crate::{
    histories::{compile_document, is_document},
    library::{Entry, Library},
};

/// Name and range of versions, as a parent asks for them.
type Name = (String, Option<String>);

/// The definitions that children may run.
pub struct Children {
    /// The workflow file of the run.
    file: Option<PathBuf>,
    log: Arc<dyn LogStore>,
    /// What was found; a process keeps to it.
    found: Mutex<HashMap<Name, Arc<Machine>>>,
}

impl Children {
    /// Returns what a run of this file may start.
    pub fn new(file: Option<PathBuf>, log: Arc<dyn LogStore>) -> Children {
        Children { file, log, found: Mutex::default() }
    }

    fn look_up(&self, ctx: &TenantCtx, name: &Name) -> Result<Machine, String> {
        let library = self.file.as_deref().map_or_else(Library::built_in, Library::beside);
        let (workflow, range) = name;
        let reference = match range {
            Some(range) => format!("{workflow}@{range}"),
            None => workflow.clone(),
        };
        let compiled = match library.find(&reference) {
            Ok(entry) if entry.is_component => {
                return Err(format!("`{workflow}` is a component, which is not started by itself"));
            }
            Ok(entry) => compile_entry(entry, &library).map_err(|it| (entry.file.clone(), it)),
            Err(why) => match self.stored(ctx, workflow, range.as_deref()) {
                Some(body) => compile_document(&body)
                    .map_err(|it| ("the data directory".into(), it.message.clone())),
                None => return Err(why),
            },
        };
        compiled.map_err(|(place, why)| format!("`{workflow}` in {place}: {why}"))
    }

    /// Returns the newest definition that some instance has been started with.
    fn stored(&self, ctx: &TenantCtx, workflow: &str, range: Option<&str>) -> Option<Value> {
        let range = VersionReq::parse(range.unwrap_or("*")).ok()?;
        let mut best: Option<(Version, Value)> = None;
        let scanned = self.log.scan(0, &mut |line| {
            if is_document(line.bytes)
                && let Ok(record) = Record::read_line(line.bytes)
                && record.header.tenant_id == ctx.tenant()
                && let Body::DocumentPut { body, .. } = record.body
                && let Some(version) = version_of(&body, workflow)
                && range.matches(&version)
                && best.as_ref().is_none_or(|(it, _)| *it < version)
            {
                best = Some((version, body));
            }
        });
        scanned.ok().and(best).map(|(_, body)| body)
    }
}

/// Compiles a document of the library with its components.
pub fn compile_entry(entry: &Entry, library: &Library) -> Result<Machine, String> {
    let read = expand::read(&entry.tree.to_value().to_json(), Format::Json, library);
    let first = |found: &[Diagnostic]| found.first().map(ToString::to_string).unwrap_or_default();
    let definition = read.definition.ok_or_else(|| first(&read.diagnostics))?;
    Machine::compile(Arc::new(definition)).map_err(|found| first(&found))
}

impl traaviis_runtime::Library for Children {
    fn find(
        &self,
        ctx: &TenantCtx,
        workflow: &str,
        version: Option<&str>,
    ) -> Result<Arc<Machine>, String> {
        let name = (workflow.to_lowercase(), version.map(str::to_string));
        let mut found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(machine) = found.get(&name) {
            return Ok(Arc::clone(machine));
        }
        let machine = Arc::new(self.look_up(ctx, &(workflow.to_string(), name.1.clone()))?);
        found.insert(name, Arc::clone(&machine));
        Ok(machine)
    }
}

/// Returns the version of a document when it has this name.
fn version_of(body: &Value, workflow: &str) -> Option<Version> {
    let text = |key: &str| body.get(key).and_then(Value::as_str);
    let is_it = text("name").is_some_and(|it| it.eq_ignore_ascii_case(workflow));
    text("version").filter(|_| is_it)?.parse().ok()
}
