//! The OpenAPI 3.1 document, made from the table of operations.

use schemars::{Schema, generate::SchemaSettings, transform::RecursiveTransform};
use serde_json::{Map, Value as Json, json};
use traaviis_model::form;

use crate::{
    example,
    operation::{Access, BASE, CSRF, CSRF_VALUE, Form, Method, OPERATIONS, Op, Operation},
    problem::{self, Problem},
};

/// What holds for every operation.
const ABOUT: &str = "AI workflows as durable state machines, for many tenants.

Every refusal is `application/problem+json` (RFC 9457): a program looks at `code`, and at `errors` \
for the fields that are wrong. A body has no fields and a query no parameters but those that are \
described. Lists come in pages: as long as `next_cursor` is not null, it is the `cursor` of the \
next one. A POST with an `Idempotency-Key` is carried out once in 24 hours. What has an `ETag` is \
changed with it as `If-Match`, and is not sent again (304) to who reads with it as \
`If-None-Match`. `Retry-After` says when to try again what was too much.";

/// Returns the document.
pub fn document(version: &str) -> Json {
    let settings = SchemaSettings::draft2020_12().with(|it| {
        it.definitions_path = "/components/schemas".into();
        it.meta_schema = None;
        it.transforms.push(Box::new(RecursiveTransform(bounded)));
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
            "description": ABOUT,
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

/// Says of a number how large it may be: what is kept in 64 bits has an end.
fn bounded(schema: &mut Schema) {
    let (least, most) = match schema.get("format").and_then(Json::as_str) {
        Some("uint8") => (json!(0), json!(u8::MAX)),
        Some("uint16") => (json!(0), json!(u16::MAX)),
        Some("uint32") => (json!(0), json!(u32::MAX)),
        Some("uint64" | "uint") => (json!(0), json!(u64::MAX)),
        Some("int64") => (json!(i64::MIN), json!(i64::MAX)),
        _ => return,
    };
    for (key, bound) in [("minimum", least), ("maximum", most)] {
        if schema.get(key).is_none() {
            schema.insert(key.into(), bound);
        }
    }
}

/// Media type of a merge patch (RFC 7396).
pub const MERGE_PATCH: &str = "application/merge-patch+json";

/// Media type of a form, which RFC 8693 asks for.
const FORM: &str = "application/x-www-form-urlencoded";

fn describe(row: &Operation, generator: &mut schemars::SchemaGenerator) -> Json {
    let mut responses = Map::new();
    let mut good = json!({ "description": "Done." });
    if let Some(answer) = row.answer {
        good["content"] = match row.op {
            Op::StreamInstance | Op::StreamEffect => {
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
        if row.op == Op::ExchangeToken {
            let schema = body(generator);
            described["requestBody"]["content"][FORM] = json!({ "schema": schema });
        }
        if let Some(example) = example::of(row.op) {
            described["requestBody"]["content"][media_type]["example"] = example;
        }
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
        let (what, form) = part(row, name);
        json!({
            "name": name, "in": "path", "required": true, "description": what,
            "schema": schema_of(form),
        })
    });
    let query = row.query.iter().map(|it| {
        let schema = schema_of(it.form);
        json!({ "name": it.name, "in": "query", "description": it.what, "schema": schema })
    });
    let mut all: Vec<Json> = path.chain(query).collect();
    if row.asks.wants_match() || row.may_match() {
        all.push(json!({
            "name": "If-Match", "in": "header", "required": row.asks.wants_match(),
            "description": "the `ETag` of what was read, or several with commas between; `*`: \
                whatever is there",
            "schema": { "type": "string" },
        }));
    }
    if row.is_about_refresh_token() {
        all.push(json!({
            "name": CSRF, "in": "header",
            "description": "has the refresh token kept in a cookie, which only this server reads, \
                in the place of a field of the answer",
            "schema": { "type": "string", "enum": [CSRF_VALUE] },
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

fn schema_of(form: Form) -> Json {
    match form {
        Form::Text => json!({ "type": "string", "minLength": 1 }),
        Form::Like(pattern) => json!({ "type": "string", "pattern": pattern }),
        Form::Whole(from, to) => json!({ "type": "integer", "minimum": from, "maximum": to }),
        Form::OneOf(words) => json!({ "type": "string", "enum": words }),
        Form::Id => json!({ "type": "string", "format": "uuid" }),
    }
}

/// Says what a part of a path is, and what may stand there. What nothing can be named is answered
/// like what is not there, so only what makes something under its name is held to a form.
fn part(row: &Operation, name: &str) -> (&'static str, Form) {
    let before = row.path.split(&format!("/{{{name}}}")).next().unwrap_or_default();
    let kind = before.rsplit('/').next().unwrap_or_default();
    match (kind, name) {
        (_, "t") => ("tenant: its id, its short name, or `current`", Form::Text),
        ("secrets", "name") => ("name of the secret", Form::Like(form::SECRET_NAME)),
        ("issuers", "name") => ("name of the issuer", Form::Like(form::ISSUER_NAME)),
        ("workflows", "name") => ("name of the workflow, or one that it had before", Form::Text),
        ("named", "name") => ("name of the effect", Form::Text),
        ("flags", "name") => ("name of the flag", Form::Text),
        (_, "name") => ("name of the hook", Form::Text),
        (_, "issuer") => ("name of the issuer", Form::Text),
        (_, "v") => ("version, such as `1.2.0`", Form::Text),
        (_, "month") => ("month, such as `2026-11`", Form::Like(form::MONTH)),
        (_, "eid") => ("number of the record that began the effect, or its id", Form::Text),
        ("invoices", "id") => ("month of the invoice, such as `2026-11`", Form::Text),
        ("effects", "id") => ("id of the effect: `INSTANCE:SEQ`", Form::Text),
        ("incidents", "id") => {
            ("id of the incident: `INSTANCE:NUMBER`, or of an instance that has one", Form::Text)
        }
        ("tasks", "id") => ("id of the instance that asks", Form::Id),
        ("instances", "id") => ("id of the instance", Form::Id),
        ("mfa", "id") => ("id of the second factor", Form::Id),
        ("sessions", "id") => ("id of the session", Form::Id),
        ("members", "id") => ("id of the user", Form::Id),
        ("roles", "id") => ("id of the role", Form::Id),
        ("invitations", "id") => ("id of the invitation", Form::Id),
        ("api-keys", "id") => ("id of the API key", Form::Id),
        ("service-accounts", "id") => ("id of the service account", Form::Id),
        ("upgrade-plan", "id") => ("id of the upgrade, which is a job", Form::Id),
        ("jobs", "id") => ("id of the job", Form::Id),
        ("schedules", "id") => ("id of the schedule", Form::Id),
        ("webhooks", "id") => ("id of the webhook", Form::Id),
        ("rules", "id") => ("id of the rule", Form::Id),
        ("alerts", "id") => ("id of the alert", Form::Text),
        ("users", "id") => ("id of the user", Form::Id),
        ("tenants", "id") => ("id of the tenant", Form::Id),
        _ => ("", Form::Text),
    }
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
        let parameters = document.pointer("/paths").unwrap().as_object().unwrap().values();
        for it in parameters.flat_map(|it| it.as_object().unwrap().values()) {
            for it in it["parameters"].as_array().unwrap() {
                assert_ne!(it["description"], "", "{it}");
            }
        }
        let text = document.to_string();
        for part in text.split("\"$ref\":\"#").skip(1) {
            let pointer = part.split('"').next().unwrap();
            assert!(document.pointer(pointer).is_some(), "{pointer}");
        }
    }
}
