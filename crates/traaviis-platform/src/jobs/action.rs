//! What a job does to each instance.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use traaviis_model::{
    EffectError, InstanceId, Snapshot, Text, Value,
    record::{Operation, PatchOp, Status},
};

use crate::ask::Ask;

/// What a job does to each instance.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "action", rename_all = "snake_case")]
pub enum Action {
    /// Asks for the end.
    Cancel {
        /// No exit actions, no compensation.
        #[serde(default)]
        terminate: bool,
    },
    /// Stops it between two steps.
    Pause,
    /// Lets it go on.
    Resume,
    /// Tries again what failed.
    Retry,
    /// Leaves out what failed.
    Skip {
        /// What the effect gives.
        #[serde(default)]
        value: Value,
    },
    /// Sends an event.
    Send {
        /// Name.
        event: String,
        /// Payload.
        #[serde(default)]
        data: Value,
    },
    /// Changes the data.
    Edit {
        /// How.
        patch: Vec<PatchOp>,
    },
    /// Puts it into other states.
    Move {
        /// Which.
        to: Vec<Text>,
    },
    /// Changes the tags.
    Tag {
        /// Tags that it shall have.
        #[serde(default)]
        add: BTreeSet<Text>,
        /// Tags that it shall not have.
        #[serde(default)]
        remove: BTreeSet<Text>,
    },
    /// Goes on with another version.
    Upgrade {
        /// Document of the version.
        definition: Value,
    },
}

impl Action {
    /// Returns the word on the command line.
    pub fn word(&self) -> &'static str {
        match self {
            Action::Cancel { .. } => "cancel",
            Action::Pause => "pause",
            Action::Resume => "resume",
            Action::Retry => "retry",
            Action::Skip { .. } => "skip",
            Action::Send { .. } => "send",
            Action::Edit { .. } => "edit",
            Action::Move { .. } => "move",
            Action::Tag { .. } => "tag",
            Action::Upgrade { .. } => "upgrade",
        }
    }

    /// Says whether somebody must say why.
    pub fn needs_reason(&self) -> bool {
        matches!(self, Action::Skip { .. } | Action::Edit { .. } | Action::Move { .. })
    }

    /// Says whether it can be about an instance that stands so.
    pub fn fits(&self, status: Status) -> bool {
        match self {
            Action::Retry | Action::Skip { .. } => {
                matches!(status, Status::Failed | Status::Incident)
            }
            _ => !status.is_finished(),
        }
    }

    /// Returns what is asked of an instance; `places` are the effects that are to be left out.
    pub fn asks(
        &self,
        job: &str,
        reason: Option<&Text>,
        id: InstanceId,
        places: Vec<Text>,
    ) -> Vec<Ask> {
        let (id, reason) = (id.to_string(), reason.cloned());
        let operate = |operation| Ask::Operate { id: id.clone(), operation };
        let why = reason.clone().unwrap_or_default();
        let ask = match self {
            Action::Cancel { terminate } => {
                let reason = reason.map(|it| it.to_string());
                Ask::Cancel { id, terminate: *terminate, reason }
            }
            Action::Pause => operate(Operation::Pause { reason }),
            Action::Resume => operate(Operation::Resume { reason }),
            Action::Retry => Ask::Retry { id, reason, as_new: false, paused: false },
            Action::Send { event, data } => Ask::Send {
                id,
                event: event.clone(),
                data: data.clone(),
                event_id: Some(format!("job:{job}").into()),
                if_seq: None,
                wait: None,
            },
            Action::Edit { patch } => {
                operate(Operation::EditData { patch: patch.clone(), reason: why })
            }
            Action::Move { to } => operate(Operation::Move { to: to.clone(), reason: why }),
            Action::Tag { add, remove } => {
                operate(Operation::Tag { add: add.clone(), remove: remove.clone() })
            }
            Action::Upgrade { definition } => Ask::Upgrade { id, definition: definition.clone() },
            Action::Skip { value } => {
                let skip = |path| Ask::Skip {
                    id: id.clone(),
                    path,
                    value: value.clone(),
                    reason: why.clone(),
                };
                return places.into_iter().map(skip).collect();
            }
        };
        vec![ask]
    }

    /// Returns the effects of an instance that are to be left out: those that its incidents (of one
    /// kind, or all) are about, or the one in which it has failed.
    pub fn places(snapshot: &Snapshot, kind: Option<&Text>) -> Vec<Text> {
        if snapshot.status == Status::Failed {
            // The error of an unhandled failure carries that of the effect.
            let path = |error: &EffectError| {
                error.details.get("path").and_then(Value::as_str).map(Text::from)
            };
            return snapshot.error.as_deref().and_then(path).into_iter().collect();
        }
        let meant = snapshot.incidents.iter().filter(|it| kind.is_none_or(|kind| *kind == it.kind));
        meant.map(|it| it.path.clone()).collect()
    }
}
