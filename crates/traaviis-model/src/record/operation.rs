//! What operators and people do to an instance; what comes of it is records.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::{Asked, PatchOp};
use crate::{
    ids::{DefinitionHash, Seq, Text},
    value::Value,
};

/// What an operator does to an instance by hand.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "action", rename_all = "snake_case")]
pub enum Operation {
    /// No new steps and no new attempts until it is resumed. Running attempts end and are kept.
    Pause {
        /// Why.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<Text>,
    },
    /// Goes on.
    Resume {
        /// Why.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<Text>,
    },
    /// Changes the data.
    EditData {
        /// RFC 6902 patch.
        patch: Vec<PatchOp>,
        /// Why.
        reason: Text,
    },
    /// Does something about a task that waits for people.
    Task {
        /// Tree.
        tree: Seq,
        /// Node.
        path: Text,
        /// What to do.
        act: TaskAct,
    },
    /// Gives an open incident to somebody, or to nobody in particular.
    Assign {
        /// Number of the record that opened the incident.
        incident: Seq,
        /// Who looks after it from now on.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        to: Option<Text>,
    },
    /// Goes on with another version.
    Upgrade {
        /// Definition from now on.
        to: DefinitionHash,
    },
    /// Goes back to the version before the last upgrade.
    Rollback,
    /// Puts a paused instance into other states.
    Move {
        /// Paths of states; what is inside them and around them follows.
        to: Vec<Text>,
        /// Why.
        reason: Text,
    },
    /// Changes the tags.
    Tag {
        /// Tags that it shall have.
        #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
        add: BTreeSet<Text>,
        /// Tags that it shall not have.
        #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
        remove: BTreeSet<Text>,
    },
    /// Runs an effect outside of the states.
    RunEffect {
        /// Which one.
        asked: Box<Asked>,
    },
    /// Calls off an effect that runs outside of the states.
    CancelEffect {
        /// Tree: number of the record that asked for it.
        tree: Seq,
        /// Why.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<Text>,
    },
}

/// What a person does about a task.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TaskAct {
    /// Takes it, so that nobody else answers.
    Claim,
    /// Gives it back.
    Release,
    /// Hands it to somebody else, who has claimed it from then on.
    Delegate {
        /// To whom, as `user:ID`.
        to: Text,
        /// Why, for others to read.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        comment: Option<Text>,
    },
    /// Says something to it, and answers nothing.
    Comment {
        /// What is said.
        text: Text,
    },
    /// Answers it.
    Decide {
        /// One of the outcomes of the task.
        outcome: Text,
        /// Fits the form of the task.
        #[serde(default, skip_serializing_if = "Value::is_null")]
        form: Value,
        /// For others to read.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        comment: Option<Text>,
    },
}
