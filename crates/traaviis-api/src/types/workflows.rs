//! Workflows on the wire.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;
use uuid::Uuid;

use traaviis_model::form;

use crate::shape::Words;

/// A document: YAML or JSON as text, or JSON as it is.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DocumentRequest {
    /// The document. A text is YAML or JSON; an object is the document itself.
    pub document: Json,
}

/// `POST /tenants/{t}/workflows/{name}/publish`.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PublishRequest {
    /// What is new.
    #[serde(default)]
    pub notes: Option<String>,
    /// What becomes of open instances of older versions: `none` (they stay), `plan` (a plan is made
    /// that somebody starts), or `safe` (it is started at once); `none` when it is absent.
    #[serde(default)]
    #[schemars(transform = Words(&["none", "plan", "safe"]))]
    pub upgrade: Option<String>,
}

/// `POST /tenants/{t}/workflows/{name}/rename`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RenameRequest {
    /// Its new name.
    #[schemars(regex(pattern = form::WORKFLOW_NAME))]
    pub name: String,
}

/// `PATCH /tenants/{t}/workflows/{name}/draft`: a merge patch of the document (RFC 7396).
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct DraftPatch(pub serde_json::Map<String, Json>);

/// A workflow.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct WorkflowAnswer {
    /// Name.
    pub name: String,
    /// Names that it had before, the oldest first; they go on to mean it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub former_names: Vec<String>,
    /// What it does.
    pub description: Option<String>,
    /// When it was made.
    pub created_at: String,
    /// Who made it.
    pub created_by: Uuid,
    /// Whether there is a draft that is not published.
    pub has_draft: bool,
    /// Version that a start takes which names none.
    pub latest: Option<String>,
    /// Published versions, the oldest first.
    pub versions: Vec<VersionBrief>,
    /// Findings in the document that was sent.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub diagnostics: Vec<Json>,
}

/// A published version in short.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct VersionBrief {
    /// Version.
    pub version: String,
    /// Hash of the definition.
    pub hash: String,
    /// When it was published.
    pub published_at: String,
    /// By whom.
    pub published_by: Uuid,
    /// What is new.
    pub notes: Option<String>,
    /// Job that takes open instances over to it, when one was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upgrade_plan: Option<Uuid>,
}

/// A published version with its document.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct VersionAnswer {
    /// Name of the workflow.
    pub name: String,
    /// The version.
    #[serde(flatten)]
    pub version: VersionBrief,
    /// The text as its author wrote it.
    pub text: String,
}

/// A draft.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct DraftAnswer {
    /// Name of the workflow.
    pub name: String,
    /// The text.
    pub text: String,
    /// When it was last changed.
    pub updated_at: String,
    /// By whom.
    pub updated_by: Uuid,
    /// Findings in it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub diagnostics: Vec<Json>,
}

/// What was found in a document.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CheckAnswer {
    /// Whether it can be used.
    pub valid: bool,
    /// Name.
    pub name: Option<String>,
    /// Version.
    pub version: Option<String>,
    /// Hash of the definition.
    pub hash: Option<String>,
    /// Findings, in the order of the text.
    pub diagnostics: Vec<Json>,
}

/// A picture.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PictureAnswer {
    /// `mermaid`, `dot` or `svg`.
    pub format: String,
    /// The picture as text.
    pub picture: String,
}
