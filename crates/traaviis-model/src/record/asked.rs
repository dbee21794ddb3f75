//! An effect that somebody has an instance run outside of its states.

use serde::{Deserialize, Serialize};

use crate::{ids::Text, value::Value};

/// Root path of a tree that was given as it is; one of a name has the name.
const UNNAMED: &str = "effect";

/// What to run: a named effect of the document, or a tree that is given.
///
/// The record of it is all that such a tree is known by, so it holds the whole of it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Asked {
    /// The name by which it was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub effect: Option<Text>,
    /// The tree as JSON text, whose keys keep their order; absent when the document has it under
    /// the name.
    #[serde(default, rename = "do", skip_serializing_if = "Option::is_none")]
    pub tree: Option<Text>,
    /// What the tree reads as `param`.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub with: Value,
}

impl Asked {
    /// Returns the path of the root of its tree.
    pub fn root(&self) -> Text {
        self.effect.clone().unwrap_or_else(|| UNNAMED.into())
    }
}
