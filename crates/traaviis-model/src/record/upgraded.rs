//! The record of an instance that goes on with another version.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::TimerKind;
use crate::{
    ids::{DefinitionHash, Seq, Text, Texts},
    value::Value,
};

/// An instance goes on with another version.
///
/// It says how everything stands afterwards, so that applying it needs neither definition.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Upgraded {
    /// Definition before.
    pub from: DefinitionHash,
    /// Version before.
    pub from_version: Text,
    /// Definition from now on.
    pub to: DefinitionHash,
    /// Version from now on.
    pub to_version: Text,
    /// The instance goes back to the version it had.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub rollback: bool,
    /// Nothing was given up, so it can be taken back until the next transition.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub reversible: bool,
    /// States that the instance named and that are called otherwise now: old and new path.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub states: Vec<(Text, Text)>,
    /// Active atomic states, in document order.
    pub configuration: Texts,
    /// What history states remember.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub history: BTreeMap<Text, Vec<Text>>,
    /// Timers of states that are kept, with what they are for now.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub timers: Vec<(Text, TimerKind)>,
    /// Effect trees that are kept.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub trees: Vec<TreePlace>,
    /// Data, when a migration changes them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<Value>,
}

/// Where an effect tree stands in a definition.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TreePlace {
    /// Tree.
    pub tree: Seq,
    /// State that owns it.
    pub state: Text,
    /// Pointer of the effect.
    pub pointer: Text,
}
