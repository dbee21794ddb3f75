//! Types on the wire. Requests refuse fields that they do not know; answers may grow.

pub mod admin;
pub mod effects;
pub mod factors;
pub mod governance;
pub mod hooks;
pub mod identity;
pub mod instances;
pub mod issuers;
pub mod jobs;
pub mod tenants;
pub mod usage;
pub mod views;
pub mod workflows;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

/// A page of a list.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Page<T> {
    /// What is on it.
    pub items: Vec<T>,
    /// Where the next page begins; null when this is the last.
    pub next_cursor: Option<String>,
}

impl<T> Page<T> {
    /// Returns a list that fits one page.
    pub fn whole(items: Vec<T>) -> Page<T> {
        Page { items, next_cursor: None }
    }
}

/// Any JSON, of which the pages about instances tell more.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Anything(pub Json);
