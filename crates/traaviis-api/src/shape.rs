//! How descriptions say what [`traaviis_model::form`] asks for: transforms for the attributes of
//! types on the wire. An optional field may be null, which each leaves as it is.

use schemars::{Schema, transform::Transform};
use serde_json::{Value as Json, json};
use traaviis_model::{
    form::Form,
    permission::{Permission, Role},
};

/// A text of a form.
pub(crate) struct Of(pub Form);

impl Transform for Of {
    fn transform(&mut self, schema: &mut Schema) {
        if self.0.least > 0 {
            schema.insert("minLength".into(), json!(self.0.least));
        }
        schema.insert("maxLength".into(), json!(self.0.most));
        if let Some(pattern) = self.0.pattern() {
            schema.insert("pattern".into(), json!(pattern));
        }
    }
}

/// One of some words.
pub(crate) struct Words<'a>(pub &'a [&'a str]);

impl Transform for Words<'_> {
    fn transform(&mut self, schema: &mut Schema) {
        let mut all: Vec<Json> = self.0.iter().map(|it| json!(it)).collect();
        if schema.get("type").and_then(Json::as_array).is_some_and(|it| it.contains(&json!("null")))
        {
            all.push(Json::Null);
        }
        schema.insert("enum".into(), Json::Array(all));
    }
}

/// One of the words for permissions.
pub(crate) struct PermissionWord;

impl Transform for PermissionWord {
    fn transform(&mut self, schema: &mut Schema) {
        let all: Vec<&str> = Permission::ALL.iter().map(|it| it.as_str()).collect();
        Words(&all).transform(schema);
    }
}

/// A role that is always there, by its word, or one of the tenant, by its id.
pub(crate) struct RoleName;

impl Transform for RoleName {
    fn transform(&mut self, schema: &mut Schema) {
        let all: Vec<&str> = Role::ALL.iter().map(|it| it.as_str()).collect();
        let text = schema.remove("type");
        let mut ways = vec![json!({ "enum": all }), json!({ "type": "string", "format": "uuid" })];
        if text.is_some_and(|it| it.is_array()) {
            ways.push(json!({ "type": "null" }));
        }
        schema.insert("anyOf".into(), Json::Array(ways));
    }
}

/// How high a role stands.
pub(crate) struct RoleWord;

impl Transform for RoleWord {
    fn transform(&mut self, schema: &mut Schema) {
        let all: Vec<&str> = Role::ALL.iter().map(|it| it.as_str()).collect();
        Words(&all).transform(schema);
    }
}

/// Every item of a list is so.
pub(crate) struct Each<T>(pub T);

impl<T: Transform> Transform for Each<T> {
    fn transform(&mut self, schema: &mut Schema) {
        let Some(items) = schema.get_mut("items") else { return };
        let items: Result<&mut Schema, _> = items.try_into();
        if let Ok(items) = items {
            self.0.transform(items);
        }
    }
}

/// What a whole type is besides its fields.
pub(crate) struct Also(pub fn() -> Json);

impl Transform for Also {
    fn transform(&mut self, schema: &mut Schema) {
        let Json::Object(more) = (self.0)() else { return };
        for (key, value) in more {
            // What a field says stays, and this adds to it.
            match (schema.get_mut(&key).and_then(Json::as_object_mut), value) {
                (Some(known), Json::Object(more)) => known.extend(more),
                (_, value) => drop(schema.insert(key, value)),
            }
        }
    }
}

/// Exactly one of two fields.
pub(crate) fn either((one, of_one): (&str, Json), (other, of_other): (&str, Json)) -> Json {
    json!({ "oneOf": [
        { "required": [one], "properties": { one: of_one } },
        { "required": [other], "properties": { other: of_other } },
    ] })
}

/// An effect, or a document: an object, or YAML as text.
pub(crate) fn tree() -> Json {
    json!({ "type": ["object", "string"] })
}

/// The same, or nothing.
pub(crate) fn tree_or_null() -> Json {
    json!({ "type": ["object", "string", "null"] })
}

/// An object, or nothing.
pub(crate) fn map_or_null() -> Json {
    json!({ "type": ["object", "null"] })
}

/// One operation of a patch (RFC 6902).
pub(crate) fn patch_step() -> Json {
    let path = json!({ "type": "string", "pattern": "^(/[\\s\\S]*)?$" });
    let sets = json!({
        "type": "object",
        "properties": { "op": { "enum": ["add", "replace"] }, "path": path, "value": {} },
        "required": ["op", "path", "value"],
    });
    let removes = json!({
        "type": "object",
        "properties": { "op": { "const": "remove" }, "path": path },
        "required": ["op", "path"],
    });
    json!({ "oneOf": [sets, removes] })
}
