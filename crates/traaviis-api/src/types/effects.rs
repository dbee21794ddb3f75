//! Effects that instances are asked for, and those that a tenant keeps under a name, on the wire.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value as Json, json};

use traaviis_model::form;

use crate::shape::{Also, Of, map_or_null, tree, tree_or_null};

/// `POST /tenants/{t}/instances/{id}/effects`: either a name or a tree.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(transform = Also(name_or_tree))]
pub struct EffectRequest {
    /// Name of an effect of the workflow, or of the tenant.
    #[serde(default)]
    pub effect: Option<String>,
    /// An effect as workflows have them: an object, or its YAML as text.
    #[serde(default, rename = "do")]
    #[schemars(transform = Also(tree_or_null))]
    pub tree: Json,
    /// What it reads as `param`.
    #[serde(default)]
    #[schemars(transform = Also(map_or_null))]
    pub with: Json,
}

/// `POST /tenants/{t}/effects/named`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NamedEffectRequest {
    /// Name.
    #[schemars(regex(pattern = form::EFFECT_NAME))]
    pub name: String,
    /// What it does, in a sentence.
    #[serde(default)]
    #[schemars(transform = Of(form::DESCRIPTION))]
    pub description: Option<String>,
    /// An effect as workflows have them: an object, or its YAML as text.
    #[serde(rename = "do")]
    #[schemars(transform = Also(tree))]
    pub tree: Json,
}

/// `PUT /tenants/{t}/effects/named/{name}`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NamedEffectReplacement {
    /// What it does, in a sentence.
    #[serde(default)]
    #[schemars(transform = Of(form::DESCRIPTION))]
    pub description: Option<String>,
    /// An effect as workflows have them: an object, or its YAML as text.
    #[serde(rename = "do")]
    #[schemars(transform = Also(tree))]
    pub tree: Json,
}

/// An effect that a tenant keeps under a name.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct NamedEffectAnswer {
    /// Name.
    pub name: String,
    /// What it does, in a sentence.
    pub description: Option<String>,
    /// The effect as JSON text, whose keys have their order.
    #[serde(rename = "do")]
    pub tree: String,
    /// When it was made.
    pub made_at: String,
    /// When it was changed last.
    pub changed_at: String,
}

/// Names an effect or describes one.
fn name_or_tree() -> Json {
    let nothing = || json!({ "type": "null" });
    json!({ "oneOf": [
        {
            "required": ["effect"],
            "properties": { "effect": { "type": "string" }, "do": nothing() },
        },
        { "required": ["do"], "properties": { "do": tree(), "effect": nothing() } },
    ] })
}
