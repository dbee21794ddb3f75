//! Handlers of workflows: drafts, versions, pictures.

use serde_json::{Value as Json, json};
use traaviis_api::types::{
    Page,
    jobs::UpgradePlanRequest,
    workflows::{
        DocumentRequest, DraftPatch, PictureAnswer, PublishRequest, RenameRequest, VersionAnswer,
    },
};
use traaviis_platform::{
    Error,
    ask::{Ask, ListFilter},
    engine::{Picture, Study},
    jobs::JobStatus,
};

use super::{Answer, Call, jobs};
use crate::convert;

/// Returns the text of a document: a text as it is, anything else as JSON.
fn text(call: &Call<'_>) -> Result<String, Error> {
    let DocumentRequest { document } = call.request.json()?;
    Ok(match document {
        Json::String(text) => text,
        other => serde_json::to_string_pretty(&other).unwrap_or_default(),
    })
}

fn name<'a>(call: &'a Call<'_>) -> &'a str {
    call.request.part("name")
}

pub(super) fn list(call: &Call<'_>) -> Result<Answer, Error> {
    let workflows = call.platform().workflows(call.entered()?)?;
    call.tell(&Page::whole(workflows.iter().map(|it| convert::workflow(&it.it, None)).collect()))
}

pub(super) fn create(call: &Call<'_>) -> Result<Answer, Error> {
    let (text, entered) = (text(call)?, call.entered()?);
    let (workflow, checked) =
        call.platform().create_workflow(call.caller()?, entered, call.engine(), &text)?;
    call.versioned(&convert::workflow(&workflow.it, Some(checked)), workflow.version)
}

pub(super) fn validate(call: &Call<'_>) -> Result<Answer, Error> {
    let text = text(call)?;
    let checked = call.engine().check(&call.entered()?.ctx, &text);
    call.tell(&convert::checked(checked))
}

pub(super) fn show(call: &Call<'_>) -> Result<Answer, Error> {
    let workflow = call.platform().workflow(call.entered()?, name(call))?;
    call.versioned(&convert::workflow(&workflow.it, None), workflow.version)
}

pub(super) fn delete(call: &Call<'_>) -> Result<Answer, Error> {
    let (expected, entered) = (call.request.expected()?, call.entered()?);
    let workflow = call.platform().workflow(entered, name(call))?.it;
    let mut open = 0;
    for name in workflow.names() {
        let filter = ListFilter { workflow: Some(name.to_string()), ..ListFilter::default() };
        let counted = call.engine().ask(&entered.ctx, Ask::Count { all: false, filter })?;
        let counts = counted["counts"].as_array().map(Vec::as_slice).unwrap_or_default();
        open += counts.iter().filter_map(|it| it["count"].as_u64()).sum::<u64>();
    }
    call.platform().delete_workflow(entered, &workflow.name, expected, open)?;
    call.done()
}

pub(super) fn draft(call: &Call<'_>) -> Result<Answer, Error> {
    let draft = call.platform().draft(call.entered()?, name(call))?;
    call.versioned(&convert::draft(&draft.it, None), draft.version)
}

pub(super) fn replace_draft(call: &Call<'_>) -> Result<Answer, Error> {
    let expected = call.request.expected()?;
    let (text, entered) = (text(call)?, call.entered()?);
    let put = (text.as_str(), expected);
    let (draft, checked) =
        call.platform().put_draft(call.caller()?, entered, call.engine(), name(call), put)?;
    call.versioned(&convert::draft(&draft.it, Some(checked)), draft.version)
}

/// Returns the text of a document with a merge patch.
fn merged(call: &Call<'_>, text: &str, patch: &Json) -> Result<String, Error> {
    let told = call.engine().study(&call.entered()?.ctx, Study::Merge { text, patch })?;
    Ok(told["text"].as_str().unwrap_or_default().to_owned())
}

pub(super) fn patch_draft(call: &Call<'_>) -> Result<Answer, Error> {
    let expected = call.request.expected()?;
    let DraftPatch(patch) = call.request.merge_patch()?;
    let entered = call.entered()?;
    let draft = call.platform().draft(entered, name(call))?;
    let text = merged(call, &draft.it.text, &Json::Object(patch))?;
    let put = (text.as_str(), expected.after_reading(draft.version));
    let (draft, checked) =
        call.platform().put_draft(call.caller()?, entered, call.engine(), name(call), put)?;
    call.versioned(&convert::draft(&draft.it, Some(checked)), draft.version)
}

pub(super) fn rename(call: &Call<'_>) -> Result<Answer, Error> {
    let RenameRequest { name: to } = call.request.json()?;
    let entered = call.entered()?;
    let draft = call.platform().draft(entered, name(call))?;
    let text = match renamed(&draft.it.text, &draft.it.name, &to) {
        Some(text) => text,
        None => merged(call, &draft.it.text, &json!({ "name": to }))?,
    };
    let renaming = (&to.into(), text.as_str(), draft.version);
    let workflow = call.platform().rename_workflow(
        call.caller()?,
        entered,
        call.engine(),
        name(call),
        renaming,
    )?;
    call.versioned(&convert::workflow(&workflow.it, None), workflow.version)
}

/// Returns the text of a YAML document with another name, all else as its author wrote it; nothing
/// where the name does not stand in a line of its own.
fn renamed(text: &str, from: &str, to: &str) -> Option<String> {
    let line = format!("name: {from}");
    let is_word = !to.is_empty() && to.chars().all(|it| it.is_ascii_alphanumeric() || it == '_');
    let mut found = text.lines().filter(|it| it.trim_end() == line);
    let (first, second) = (found.next(), found.next());
    if first.is_none() || second.is_some() || !is_word {
        return None;
    }
    let lines = text.lines().map(|it| match it.trim_end() == line {
        true => format!("name: {to}\n"),
        false => format!("{it}\n"),
    });
    Some(lines.collect())
}

pub(super) fn publish(call: &Call<'_>) -> Result<Answer, Error> {
    let PublishRequest { notes, upgrade } = call.request.json_or_default()?;
    let begins = match upgrade.as_deref() {
        None | Some("none") => None,
        Some("plan") => Some(JobStatus::Planned),
        Some("safe") => Some(JobStatus::Running),
        Some(_) => return Err(Error::invalid("/upgrade", "this is `none`, `plan` or `safe`")),
    };
    let (caller, entered) = (call.caller()?, call.entered()?);
    let published = call.platform().publish(caller, entered, call.engine(), name(call), notes)?;
    let mut told = convert::version(&published);
    if let Some(begins) = begins {
        let version = Some(published.version.to_string());
        let asked = UpgradePlanRequest { version, ..UpgradePlanRequest::default() };
        told.upgrade_plan = jobs::plan(call, name(call), asked, begins)?.id.parse().ok();
    }
    call.tell(&told)
}

pub(super) fn versions(call: &Call<'_>) -> Result<Answer, Error> {
    let workflow = call.platform().workflow(call.entered()?, name(call))?;
    call.tell(&Page::whole(workflow.it.versions.iter().map(convert::version).collect()))
}

pub(super) fn version(call: &Call<'_>) -> Result<Answer, Error> {
    let wanted = Some(call.request.part("v"));
    let found = call.platform().version(call.entered()?, name(call), wanted)?.it;
    call.tell(&VersionAnswer {
        name: found.name.to_string(),
        version: convert::version(&found.published),
        text: found.text,
    })
}

pub(super) fn draw(call: &Call<'_>) -> Result<Answer, Error> {
    let format = call.request.query.get("format").map_or("mermaid", String::as_str);
    let picture = match format {
        "mermaid" => Picture::Mermaid,
        "dot" => Picture::Dot,
        "svg" => Picture::Svg,
        _ => return Err(Error::invalid("format", "this is `mermaid`, `dot` or `svg`")),
    };
    let (entered, wanted) = (call.entered()?, Some(call.request.part("v")));
    let found = call.platform().version(entered, name(call), wanted)?.it;
    let picture = call.engine().draw(&entered.ctx, &found.document, picture)?;
    call.tell(&PictureAnswer { format: format.into(), picture })
}
