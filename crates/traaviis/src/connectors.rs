//! Which calls to the outside a command may make: the connectors file and private targets.
//!
//! A kept run remembers both beside its data, so that commands without a process judge unknown
//! outcomes as the run itself would.

use std::{
    collections::BTreeSet,
    fs,
    io::ErrorKind,
    path::{Path, PathBuf},
    sync::Arc,
};

use serde::{Deserialize, Serialize};
use traaviis_connect::{Connectors, EgressPolicy, HttpConnector, OnSent, Options, Target};
use traaviis_model::{
    Text, builtin,
    document::{Format, read_tree, tree::NodeKind},
};
use traaviis_ports::{Connector, Secrets};
use url::Url;

use crate::{
    exit::{Exit, Failure},
    storage::StorageMode,
    tree::TreeMode,
};

/// Name of the connectors file that lies beside a workflow.
const FILE_NAME: &str = "connectors.yaml";
/// Name of the file in a data directory that remembers the arguments.
const REMEMBERED: &str = "run.json";

/// Arguments of commands that may call the outside.
#[derive(Clone, Debug, Default, clap::Args, Serialize, Deserialize)]
pub struct ConnectorArgs {
    /// Connectors file: the functions that `call` offers. Default: `connectors.yaml` beside the
    /// workflow file, if there is one.
    #[arg(long, value_name = "FILE")]
    connectors: Option<PathBuf>,
    /// Lets `call_api` reach a private or loopback target; may be repeated. An address opens only
    /// itself, `localhost:PORT` opens 127.0.0.1 and `::1`.
    #[arg(long, value_name = "HOST:PORT")]
    allow_private: Vec<String>,
    /// The workflow file of the run that was kept.
    #[arg(skip)]
    #[serde(default)]
    workflow: Option<PathBuf>,
    /// When the run that was kept writes the document tree.
    #[arg(skip)]
    #[serde(default)]
    tree: TreeMode,
    /// How the run that was kept keeps the directory.
    #[arg(skip)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    storage: Option<StorageMode>,
}

impl ConnectorArgs {
    /// Returns the arguments with a connectors file and private targets.
    pub fn of(connectors: Option<PathBuf>, allow_private: Vec<String>) -> ConnectorArgs {
        ConnectorArgs { connectors, allow_private, ..ConnectorArgs::default() }
    }

    /// Returns the connectors file and the private targets that were given.
    pub fn given(&self) -> (Option<&Path>, &[String]) {
        (self.connectors.as_deref(), &self.allow_private)
    }

    /// Makes the connector; `beside` is the folder of the workflow file, `secrets` is asked at each
    /// call.
    pub fn connector(
        &self,
        beside: Option<&Path>,
        secrets: Arc<dyn Secrets>,
    ) -> Result<Arc<dyn Connector>, Failure> {
        self.counted(beside, secrets, None)
    }

    /// The same, which tells somebody how many bytes calls have sent.
    pub fn counted(
        &self,
        beside: Option<&Path>,
        secrets: Arc<dyn Secrets>,
        sent: Option<Arc<dyn OnSent>>,
    ) -> Result<Arc<dyn Connector>, Failure> {
        let connectors = match self.file(beside) {
            Some(file) => read(&file)?,
            None => Connectors::default(),
        };
        let egress = self.egress()?;
        let options = Options { egress, connectors, secrets, sent, ..Options::default() };
        let connector = HttpConnector::new(options).map_err(|error| {
            Failure::new(Exit::Internal, "internal", format!("cannot make calls: {error}"))
        })?;
        Ok(Arc::new(connector))
    }

    /// Returns where calls may go.
    pub fn egress(&self) -> Result<EgressPolicy, Failure> {
        let allow_private = self
            .allow_private
            .iter()
            .map(|text| text.parse::<Target>().map_err(|it| Failure::usage(it.to_string())))
            .collect::<Result<Vec<_>, _>>()?;
        Ok(EgressPolicy { allow_private, ..EgressPolicy::default() })
    }

    /// Returns which of these functions nobody binds.
    pub fn unbound<'n>(
        &self,
        beside: Option<&Path>,
        names: impl Iterator<Item = &'n Text>,
    ) -> Result<Vec<&'n Text>, Failure> {
        let bound = match self.file(beside) {
            Some(file) => read(&file)?.functions,
            None => Connectors::default().functions,
        };
        let is_elsewhere = |it: &Text| it.starts_with(builtin::PREFIX) || it.starts_with("mcp:");
        Ok(names.filter(|it| !is_elsewhere(it) && bound.get(it).is_none()).collect())
    }

    /// Keeps the arguments in a data directory, with the workflow file of the run, what it does for
    /// the document tree and how it keeps the directory.
    pub fn remember(
        &self,
        dir: &Path,
        workflow: &Path,
        tree: TreeMode,
        storage: StorageMode,
    ) -> Result<(), Failure> {
        let absolute = |file: PathBuf| fs::canonicalize(&file).unwrap_or(file);
        let kept = ConnectorArgs {
            connectors: self.file(workflow.parent()).map(absolute),
            allow_private: self.allow_private.clone(),
            workflow: Some(absolute(workflow.to_path_buf())),
            tree,
            storage: Some(storage),
        };
        kept.keep(dir)
    }

    /// Keeps how a server was told to keep a directory, beside what is remembered of it.
    pub fn remember_kept(
        dir: &Path,
        tree: Option<TreeMode>,
        storage: Option<StorageMode>,
    ) -> Result<(), Failure> {
        if tree.is_none() && storage.is_none() {
            return Ok(());
        }
        let before = ConnectorArgs::remembered(dir);
        let (tree, storage) = (tree.unwrap_or(before.tree), storage.or(before.storage));
        ConnectorArgs { tree, storage, ..before }.keep(dir)
    }

    fn keep(&self, dir: &Path) -> Result<(), Failure> {
        let text = serde_json::to_vec_pretty(self).unwrap_or_default();
        // A torn file is replaced by the next run and only read by commands without one.
        fs::write(dir.join(REMEMBERED), text).map_err(|error| {
            let message = format!("cannot write `{}`: {error}", dir.join(REMEMBERED).display());
            Failure::new(Exit::Denied, "storage_failed", message)
        })
    }

    /// Returns what the last run in `dir` was given; nothing when that cannot be known.
    pub fn remembered(dir: &Path) -> ConnectorArgs {
        let kept = fs::read(dir.join(REMEMBERED)).ok();
        kept.and_then(|text| serde_json::from_slice(&text).ok()).unwrap_or_default()
    }

    /// Returns what the last run did for the document tree.
    pub fn tree(&self) -> TreeMode {
        self.tree
    }

    /// Returns how the last run kept the directory.
    pub fn storage(&self) -> Option<StorageMode> {
        self.storage
    }

    /// Returns the workflow file of the last run.
    pub fn workflow(&self) -> Option<&Path> {
        self.workflow.as_deref()
    }

    /// Returns host and port of everything the connectors file names.
    pub fn targets(&self) -> Result<BTreeSet<(String, u16)>, Failure> {
        let mut targets = BTreeSet::new();
        let Some(file) = &self.connectors else { return Ok(targets) };
        read(file)?;
        let text = read_text(file)?;
        let Ok(root) = read_tree(&text, Format::of_path(file)) else { return Ok(targets) };
        let mut add = |text: &str| {
            if let Ok(url) = Url::parse(text)
                && let (Some(host), Some(port)) = (url.host_str(), url.port_or_known_default())
            {
                targets.insert((host.to_string(), port));
            }
        };
        let text_of = |node: &traaviis_model::document::tree::Node| match &node.kind {
            NodeKind::String(text) => Some(text.clone()),
            _ => None,
        };
        if let Some(base) = root.entry("base_url").and_then(|(_, it)| text_of(it)) {
            add(&base);
        }
        if let Some((_, functions)) = root.entry("functions")
            && let NodeKind::Map(entries) = &functions.kind
        {
            let urls = entries.iter().filter_map(|(_, it)| text_of(&it.entry("url")?.1.clone()));
            urls.for_each(|it| add(&it));
        }
        Ok(targets)
    }

    fn file(&self, beside: Option<&Path>) -> Option<PathBuf> {
        let found = || beside.map(|it| it.join(FILE_NAME)).filter(|it| it.is_file());
        self.connectors.clone().or_else(found)
    }
}

fn read_text(file: &Path) -> Result<String, Failure> {
    fs::read_to_string(file).map_err(|error| {
        let exit = match error.kind() {
            ErrorKind::PermissionDenied => Exit::Denied,
            _ => Exit::Finding,
        };
        let message = format!("cannot read connectors `{}`: {error}", file.display());
        Failure::new(exit, "file_unreadable", message)
    })
}

fn read(file: &Path) -> Result<Connectors, Failure> {
    let text = read_text(file)?;
    let mut connectors = Connectors::read(&text, Format::of_path(file)).map_err(|found| {
        let lines: Vec<String> =
            found.iter().map(|it| format!("{}:{it}", file.display())).collect();
        Failure::finding("connectors_invalid", lines.join("\n"))
    })?;
    connectors.channels.beside(file.parent().unwrap_or(Path::new("")));
    Ok(connectors)
}
