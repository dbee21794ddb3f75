//! The document tree of a data directory, as the command line keeps, tells of and compares it.

use std::{path::Path, sync::Arc};

use serde::{Deserialize, Serialize};
use serde_json::{Value as Json, json};
use traaviis_ports::{LogStore, Position, Tree as _, TreeError};
use traaviis_runtime::tree::{Answers, News, Policy, TreeOptions, TreeStatus, show_all};
use traaviis_store::{
    LocalTree, ReadOnlyLog,
    tree::{TREE_DIR, verify::Found, verify::Verifier},
};

use crate::{
    connectors::ConnectorArgs,
    exit::{Exit, Failure},
    storage::StorageMode,
};

/// When a process writes instances into the tree.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TreeMode {
    // When they have rested for a second, or ended.
    Lazy,
    // After every step.
    Eager,
    // Never: there is no tree, or it stays as it is.
    #[default]
    Off,
}

impl TreeMode {
    /// Returns the word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            TreeMode::Lazy => "lazy",
            TreeMode::Eager => "eager",
            TreeMode::Off => "off",
        }
    }

    /// Returns what the last run in a directory did.
    pub fn remembered(dir: &Path) -> TreeMode {
        let run = ConnectorArgs::remembered(dir);
        match run.storage() {
            Some(StorageMode::JsonOnly) => TreeMode::Eager,
            Some(StorageMode::Embedded) | None => run.tree(),
        }
    }

    /// Returns what a runtime needs to feed the tree of a directory.
    pub fn options(self, dir: &Path) -> Option<TreeOptions> {
        let policy = match self {
            TreeMode::Lazy => Some(Policy::Lazy),
            TreeMode::Eager => Some(Policy::Eager),
            TreeMode::Off => None,
        };
        let tree = Arc::new(LocalTree::open(dir));
        if policy.is_none() && !tree.exists() {
            return None;
        }
        Some(TreeOptions { tree, policy, answers: Answers::AtOnce, on_news: Arc::new(tell) })
    }
}

/// Returns what a runtime needs that answers when the tree of a directory shows it.
pub fn shown_options(dir: &Path) -> TreeOptions {
    TreeOptions {
        tree: Arc::new(LocalTree::open(dir)),
        policy: Some(Policy::Eager),
        answers: Answers::WhenShown,
        on_news: Arc::new(tell),
    }
}

fn tell(news: &News) {
    match news {
        News::Met(notice) => {
            tracing::warn!(code = "tree_differs", "document tree: {notice}");
        }
        News::Failing(error) => {
            tracing::warn!(code = error.code(), "{error}; everything else goes on")
        }
        News::Healed => tracing::info!("the document tree is written again"),
        News::SetAside(aside) => tracing::info!(
            "the document tree knew more than the log, so it is of another one; it is \
             `{aside}` now, and a new one is made"
        ),
    }
}

/// Returns how the tree of a running process stands.
pub fn status(status: &TreeStatus) -> Json {
    json!({
        "policy": status.policy.as_str(),
        "lag": status.lag,
        "failing": status.failing.as_ref().map(ToString::to_string),
    })
}

/// Returns how the tree of a directory stands that no process holds; nothing when there is none.
pub fn resting(dir: &Path) -> Option<Json> {
    let tree = LocalTree::open(dir);
    if !tree.exists() {
        return None;
    }
    let log = ReadOnlyLog::open(dir).ok()?;
    let policy = TreeMode::remembered(dir);
    let (lag, failing) = match tree.position() {
        Ok(position) => (json!(log.tail().saturating_sub(position)), Json::Null),
        Err(error) => (Json::Null, json!(error.to_string())),
    };
    Some(json!({ "policy": policy, "lag": lag, "failing": failing }))
}

/// Refuses a directory without a tree, which would differ in everything.
pub fn needs_tree(dir: &Path) -> Result<(), Failure> {
    if LocalTree::open(dir).exists() {
        return Ok(());
    }
    let (shown, dir) = (dir.join(TREE_DIR), dir.display());
    let message = format!(
        "there is no document tree `{}`; `traaviis rebuild --tree --data {dir}` makes it, and \
         `traaviis run FILE --data {dir} --tree lazy` keeps it",
        shown.display()
    );
    Err(Failure::finding("tree_absent", message))
}

/// What a comparison gave.
#[derive(Debug)]
pub struct Compared {
    /// Differences.
    pub found: Found,
    /// Position after the last record.
    pub position: Position,
    /// Instances left out because their history is damaged.
    pub left_out: Vec<String>,
}

/// Compares the tree of a directory with its log; `progress` is told the position now and then.
pub fn compare(
    dir: &Path,
    log: &dyn LogStore,
    repairs: bool,
    progress: &dyn Fn(Position),
) -> Result<Compared, Failure> {
    let tree = LocalTree::open(dir);
    // Before anything is touched: one of a newer release is not ours to judge.
    tree.position().map_err(failed)?;
    let verifier = Verifier::new(tree, repairs);
    let shown = show_all(log, &verifier, progress)
        .map_err(|error| Failure::new(Exit::Finding, error.code(), error.to_string()))?;
    let found = verifier.finish(shown.position, &shown.damaged).map_err(failed)?;
    let left_out = shown.damaged.iter().map(ToString::to_string).collect();
    Ok(Compared { found, position: shown.position, left_out })
}

fn failed(error: TreeError) -> Failure {
    Failure::new(Exit::Finding, error.code(), error.to_string())
}
