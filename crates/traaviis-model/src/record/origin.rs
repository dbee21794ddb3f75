//! From where an act came: what only a request knows, kept beside the record that tells of it.

use serde::{Deserialize, Serialize};

use crate::ids::Text;

/// From where an act came.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// How it came in, such as `session` or `api_key`.
    pub via: Text,
    /// Address of the caller.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ip_address: Option<Text>,
    /// What the caller says it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_agent: Option<Text>,
    /// Id of the request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<Text>,
    /// By what a repetition of the request is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_key: Option<Text>,
}
