//! The OpenAPI 3.1 document, made from the table of operations.

use schemars::generate::SchemaSettings;
use serde_json::{Map, Value as Json, json};

use crate::{
    operation::{Access, BASE, Form, Method, OPERATIONS, Op, Operation},
    problem::{self, Problem},
};

/// Returns the document.
pub fn document(version: &str) -> Json {
    let settings = SchemaSettings::draft2020_12().with(|it| {
        it.definitions_path = "/components/schemas".into();
        it.meta_schema = None;
    });
    let mut generator = settings.into_generator();
    let problem = generator.subschema_for::<Problem>();
    let mut paths: Map<String, Json> = Map::new();
    for row in OPERATIONS {
        let path = format!("{BASE}{}", row.path);
        let item = paths.entry(path).or_insert_with(|| json!({}));
        item[row.method.as_str().to_lowercase()] = describe(row, &mut generator);
    }
    let schemas = generator.take_definitions(true);
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "TRAAVIIS",
            "version": version,
            "description": "AI workflows as durable state machines, for many tenants.",
            "license": { "name": "MIT", "identifier": "MIT" },
        },
        "servers": [{ "url": "/" }],
        "security": [{ "bearer": [] }],
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {
                "bearer": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "An access token, or an API key.",
                },
            },
            "responses": {
                "Problem": {
                    "description": "Why not.",
                    "content": { "application/problem+json": { "schema": problem } },
                },
            },
        },
    })
}

/// Media type of a merge patch (RFC 7396).
pub const MERGE_PATCH: &str = "application/merge-patch+json";

fn describe(row: &Operation, generator: &mut schemars::SchemaGenerator) -> Json {
    let mut responses = Map::new();
    let mut good = json!({ "description": "Done." });
    if let Some(answer) = row.answer {
        good["content"] = match row.op {
            Op::StreamInstance => {
                // A schema would be one of each event or of the whole, as readers see it.
                json!({ "text/event-stream": {} })
            }
            // Which of them, the query says.
            Op::ExportAudit => json!({
                "application/x-ndjson": { "schema": { "type": "string" } },
                "text/csv": { "schema": { "type": "string" } },
            }),
            _ => json!({ "application/json": { "schema": answer(generator) } }),
        };
    }
    if row.op == Op::ReceiveHook {
        // What it has led to, where the trigger says `reply: result`.
        responses.insert("200".into(), good.clone());
    }
    responses.insert(row.status.to_string(), good);
    for status in refusals(row) {
        let response = json!({ "$ref": "#/components/responses/Problem" });
        responses.insert(status.to_string(), response);
    }
    let mut described = json!({
        "operationId": row.name,
        "summary": row.summary,
        "tags": [tag(row)],
        "parameters": parameters(row),
        "responses": responses,
        "x-access": row.access.word(),
    });
    if let Some(body) = row.body {
        let media_type = match row.op {
            Op::PatchDraft => MERGE_PATCH,
            _ => "application/json",
        };
        described["requestBody"] = json!({
            "required": !row.is_body_optional,
            "content": { media_type: { "schema": body(generator) } },
        });
    }
    match row.access {
        Access::Public => described["security"] = json!([]),
        Access::Either => described["security"] = json!([{}, { "bearer": [] }]),
        _ => {}
    }
    described
}

fn parameters(row: &Operation) -> Vec<Json> {
    let path = row.path.split('/').filter_map(|it| it.strip_prefix('{')?.strip_suffix('}'));
    let path = path.map(|name| {
        let what = if name == "t" { "tenant: id, short name, or `current`" } else { name };
        let schema = json!({ "type": "string", "minLength": 1 });
        json!({
            "name": name, "in": "path", "required": true, "description": what, "schema": schema,
        })
    });
    let query = row.query.iter().map(|it| {
        let schema = match it.form {
            Form::Text => json!({ "type": "string", "minLength": 1 }),
            Form::Whole(from, to) => json!({ "type": "integer", "minimum": from, "maximum": to }),
            Form::OneOf(words) => json!({ "type": "string", "enum": words }),
            Form::Id => json!({ "type": "string", "format": "uuid" }),
        };
        json!({ "name": it.name, "in": "query", "description": it.what, "schema": schema })
    });
    let mut all: Vec<Json> = path.chain(query).collect();
    if row.asks.wants_match() {
        all.push(json!({
            "name": "If-Match", "in": "header", "required": true,
            "description": "the `ETag` of what was read",
            "schema": { "type": "string" },
        }));
    }
    // A key is known together with who asks; what anybody may ask knows nobody.
    if row.method == Method::Post && row.access != Access::Public {
        all.push(json!({
            "name": "Idempotency-Key", "in": "header",
            "description": "the same key with the same body again gets the first answer again",
            "schema": { "type": "string", "minLength": 1, "maxLength": 128 },
        }));
    }
    all
}

/// Statuses that a refusal of this operation can have: those of its kind, and those of everything.
fn refusals(row: &Operation) -> Vec<u16> {
    let is_public = row.access == Access::Public;
    problem::STATUSES
        .iter()
        .map(|it| it.0)
        .filter(|status| match status {
            401 | 403 => true,
            // What a path names may not be there.
            404 => !is_public || row.path.contains('{'),
            405 => false,
            412 | 428 => row.asks.wants_match() || row.method != Method::Get,
            415 | 413 => row.body.is_some(),
            402 => false,
            _ => true,
        })
        .chain([500])
        .collect()
}

fn tag(row: &Operation) -> &'static str {
    let parts: Vec<&str> = row.path.split('/').filter(|it| !it.is_empty()).collect();
    match parts.as_slice() {
        ["tenants", "{t}", what, ..] if !matches!(*what, "restore" | "transfer" | "leave") => what,
        [first, ..] => first,
        [] => "other",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_is_described_and_every_reference_resolves() {
        let document = document("1.2.3");
        let count: usize = document["paths"]
            .as_object()
            .unwrap()
            .values()
            .map(|it| it.as_object().unwrap().len())
            .sum();
        assert_eq!(count, OPERATIONS.len());
        let text = document.to_string();
        for part in text.split("\"$ref\":\"#").skip(1) {
            let pointer = part.split('"').next().unwrap();
            assert!(document.pointer(pointer).is_some(), "{pointer}");
        }
    }
}
