//! Changes of data as RFC 6902 writes them.

use serde::{Deserialize, Serialize};

use crate::{ids::Text, value::Value};

/// What one RFC 6902 operation does. Only `add`, `replace` and `remove` are ever written.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "lowercase")]
pub enum PatchOp {
    /// Sets the value at a pointer, making it when absent.
    Add {
        /// RFC 6901 pointer.
        path: Text,
        /// New value.
        value: Value,
    },
    /// Replaces the value at a pointer.
    Replace {
        /// RFC 6901 pointer.
        path: Text,
        /// New value.
        value: Value,
    },
    /// Removes the value at a pointer.
    Remove {
        /// RFC 6901 pointer.
        path: Text,
    },
}
