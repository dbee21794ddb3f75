//! Handlers of what is found out about documents: differences, simulations, tests, other forms.

use serde_json::{Value as Json, json};
use traaviis_api::types::{
    Page,
    views::{CodeAnswer, ImportRequest, SimulateRequest, TestRequest},
};
use traaviis_model::{Value, document::effect_kinds};
use traaviis_platform::{
    Error,
    engine::{CodeIn, ExportForm, SimulatedStep, Study},
};

use super::{Answer, Call};
use crate::convert;

fn name<'a>(call: &'a Call<'_>) -> &'a str {
    call.request.part("name")
}

fn study(call: &Call<'_>, study: Study<'_>) -> Result<Json, Error> {
    call.engine().study(&call.entered()?.ctx, study)
}

/// Returns the text of a published version, or of the draft when none is named.
fn text_of(call: &Call<'_>, version: Option<&str>) -> Result<String, Error> {
    let (platform, entered) = (call.platform(), call.entered()?);
    Ok(match version {
        Some(version) => platform.version(entered, name(call), Some(version))?.it.text,
        None => platform.draft(entered, name(call))?.it.text,
    })
}

pub(super) fn diff(call: &Call<'_>) -> Result<Answer, Error> {
    let (platform, entered) = (call.platform(), call.entered()?);
    let named = |key: &str| call.request.query.get(key).map(String::as_str);
    let old = platform.version(entered, name(call), named("from"))?.it.document;
    let new = match named("to") {
        Some(version) => platform.version(entered, name(call), Some(version))?.it.document,
        None => {
            let draft = platform.draft(entered, name(call))?.it;
            let checked = call.engine().check(&entered.ctx, &draft.text);
            let diagnostics = json!({ "diagnostics": checked.diagnostics });
            checked.document.ok_or_else(|| {
                Error::new("definition_invalid", "the draft cannot be used, so it has no meaning")
                    .with_details(diagnostics)
            })?
        }
    };
    let told = study(call, Study::Diff { old: &old, new: &new })?;
    call.tell(&told)
}

pub(super) fn simulate(call: &Call<'_>) -> Result<Answer, Error> {
    let SimulateRequest { document, input, steps } = call.request.json()?;
    let text = match document {
        Json::String(text) => text,
        other => other.to_string(),
    };
    let read = |(at, it): (usize, Json)| {
        serde_json::from_value::<SimulatedStep>(it).map_err(|_| {
            let rule = r#"a step is `{"event": NAME, "data": ..}` or `{"advance": "3s"}`"#;
            Error::invalid(&format!("/steps/{at}"), rule)
        })
    };
    let steps = steps.into_iter().enumerate().map(read).collect::<Result<Vec<_>, _>>()?;
    let input = if input.is_null() { Value::empty_map() } else { Value::from(&input) };
    let told = study(call, Study::Simulate { text: &text, input, steps })?;
    call.tell(&told)
}

pub(super) fn test(call: &Call<'_>) -> Result<Answer, Error> {
    let TestRequest { version } = call.request.json_or_default()?;
    let text = text_of(call, version.as_deref())?;
    let told = study(call, Study::Test { text: &text })?;
    call.tell(&told)
}

pub(super) fn import(call: &Call<'_>) -> Result<Answer, Error> {
    let ImportRequest { from, document, dry_run } = call.request.json()?;
    if from != "scxml" {
        return Err(Error::invalid("/from", "this is `scxml`"));
    }
    let mut told = study(call, Study::Import { text: &document })?;
    let text = told["text"].as_str().unwrap_or_default().to_owned();
    if !dry_run {
        let (caller, entered) = (call.caller()?, call.entered()?);
        let made = call.platform().create_workflow(caller, entered, call.engine(), &text)?;
        told["workflow"] = json!(convert::workflow(&made.0.it, Some(made.1)));
    }
    call.tell(&told)
}

pub(super) fn export(call: &Call<'_>) -> Result<Answer, Error> {
    let named = |key: &str| call.request.query.get(key).map(String::as_str);
    let text = text_of(call, named("version"))?;
    let form = match named("format").unwrap_or("source") {
        "source" => return call.tell(&json!({ "format": "source", "text": text })),
        "yaml" => ExportForm::Yaml,
        "json" => ExportForm::Json,
        _ => return Err(Error::invalid("format", "this is `source`, `yaml` or `json`")),
    };
    let told = study(call, Study::Export { text: &text, form })?;
    call.tell(&told)
}

pub(super) fn code(call: &Call<'_>) -> Result<Answer, Error> {
    let named = |key: &str| call.request.query.get(key).map(String::as_str);
    let lang = match named("lang").unwrap_or("typescript") {
        "rust" => CodeIn::Rust,
        "typescript" => CodeIn::TypeScript,
        "python" => CodeIn::Python,
        "yaml" => CodeIn::Yaml,
        _ => {
            return Err(Error::invalid("lang", "this is `rust`, `typescript`, `python` or `yaml`"));
        }
    };
    let (platform, entered) = (call.platform(), call.entered()?);
    let found = platform.version(entered, name(call), named("version"))?.it;
    let told = study(call, Study::Code { document: &found.document, text: &found.text, lang })?;
    call.tell(&CodeAnswer {
        lang: named("lang").unwrap_or("typescript").into(),
        workflow: found.name.to_string(),
        version: found.published.version.to_string(),
        code: told["code"].as_str().unwrap_or_default().into(),
    })
}

/// Lists what can be started: the newest version of each workflow.
pub(super) fn modules(call: &Call<'_>) -> Result<Answer, Error> {
    let (platform, entered) = (call.platform(), call.entered()?);
    let mut items = Vec::new();
    for workflow in platform.workflows(entered)? {
        let Some(latest) = workflow.it.latest().cloned() else { continue };
        let name = &workflow.it.name;
        let document = || platform.document(&entered.ctx, name, &latest.version);
        let outline = study(call, Study::Outline { hash: &latest.hash, document: &document })?;
        items.push(json!({
            "name": name,
            "description": workflow.it.description,
            "version": latest.version,
            "hash": latest.hash,
            "states": outline["states"],
            "events": outline["events"],
        }));
    }
    call.tell(&Page::whole(items))
}

pub(super) fn kinds(call: &Call<'_>) -> Result<Answer, Error> {
    call.tell(&Page::whole(effect_kinds()))
}
