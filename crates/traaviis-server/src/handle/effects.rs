//! Handlers of effects: those that are open, those that are asked for, those that have a name.

use serde_json::{Value as Json, json};
use traaviis_api::{
    operation::BASE,
    types::{
        Page,
        effects::{EffectRequest, NamedEffectAnswer, NamedEffectReplacement, NamedEffectRequest},
    },
};
use traaviis_model::{
    Diagnostic, InstanceId, Seq, Text, Value,
    document::{Format, read_tree, tree::NodeKind},
    record::Asked,
};
use traaviis_platform::{
    Error,
    ask::{Ask, EffectFilter},
    ledger::Versioned,
    named_effects::NamedEffect,
};

use super::{
    Answer, Call,
    instances::{ask, id, page},
};

pub(super) fn list(call: &Call<'_>) -> Result<Answer, Error> {
    let text = |name: &str| call.request.query.get(name).cloned();
    let instance: Option<InstanceId> = call.request.query("instance", "the id of an instance")?;
    let filter = EffectFilter {
        instance: instance.map(|it| it.to_string()),
        kind: text("kind").map(Text::from),
        status: text("status").map(Text::from),
        limit: call.request.limit()?,
        cursor: text("cursor"),
    };
    let mut found = ask(call, Ask::OpenEffects { filter })?;
    let items: Vec<Json> = found["effects"].as_array_mut().map(std::mem::take).unwrap_or_default();
    let next_cursor = found["next"].as_str().map(str::to_owned);
    page(call, items, next_cursor)
}

pub(super) fn show(call: &Call<'_>) -> Result<Answer, Error> {
    let text = call.request.part("id");
    let absent = || Error::not_found("effect", text);
    let (instance, seq) = text.split_once(':').ok_or_else(absent)?;
    let is_good = instance.len() == 36
        && instance.parse::<InstanceId>().is_ok()
        && seq.parse::<Seq>().is_ok();
    if !is_good || call.platform().is_deleted(call.entered()?.ctx.tenant(), instance) {
        return Err(absent());
    }
    told(call, Ask::Effect { id: text.into() })
}

/// Answers with the one effect that a question is about.
fn told(call: &Call<'_>, question: Ask) -> Result<Answer, Error> {
    let mut found = ask(call, question)?;
    let effect = found["effect"].take();
    let tenant = call.request.part("t");
    let location = effect["id"].as_str().map(|it| format!("{BASE}/tenants/{tenant}/effects/{it}"));
    let answer = call.shown(effect)?;
    Ok(Answer { location: location.filter(|_| call.row.status == 202), ..answer })
}

pub(super) fn run(call: &Call<'_>) -> Result<Answer, Error> {
    let EffectRequest { effect, with, .. } = call.request.json()?;
    let tree = tree_of(call)?;
    if effect.is_some() == tree.is_some() {
        let rule = "say what to run: an `effect` by its name, or a tree under `do`, and not both";
        return Err(Error::invalid("/effect", rule));
    }
    if !(with.is_null() || with.is_object()) {
        return Err(Error::invalid(
            "/with",
            "this is an object, whose keys are read as `param.KEY`",
        ));
    }
    let shared = match &effect {
        Some(name) => call.platform().find_named_effect(call.entered()?, name)?,
        None => None,
    };
    let asked = Asked { effect: effect.map(Text::from), tree, with: Value::from(&with) };
    let shared = shared.map(|it| it.it.tree);
    told(call, Ask::RunEffect { id: id(call)?, asked: Box::new(asked), shared })
}

/// Tells of an effect whose first request had no answer.
pub(super) fn begun(call: &Call<'_>, id: InstanceId, seq: Seq) -> Result<Answer, Error> {
    told(call, Ask::EffectBegun { id: id.to_string(), seq })
}

pub(super) fn cancel(call: &Call<'_>) -> Result<Answer, Error> {
    let (id, text) = (id(call)?, call.request.part("eid"));
    let own = text.strip_prefix(&*id).and_then(|it| it.strip_prefix(':'));
    let seq = own.unwrap_or(text).parse().map_err(|_| Error::not_found("effect", text))?;
    told(call, Ask::CancelEffect { id, seq, reason: None })
}

/// Returns the tree of the body as JSON text. It is read by the reader of documents, which keeps
/// the order of keys: a map of steps is run in it.
fn tree_of(call: &Call<'_>) -> Result<Option<Text>, Error> {
    let body = std::str::from_utf8(&call.request.body).unwrap_or_default();
    let body = read_tree(body, Format::Json).map_err(|it| unusable(&it))?;
    let Some((_, tree)) = body.entry("do") else { return Ok(None) };
    match tree.as_text() {
        // What is null is left out, as everywhere.
        None if matches!(tree.kind, NodeKind::Null) => Ok(None),
        Some(text) => {
            let read = read_tree(text, Format::Yaml).map_err(|it| unusable(&it))?;
            Ok(Some(read.to_json().into()))
        }
        None => Ok(Some(tree.to_json().into())),
    }
}

fn unusable(found: &[Diagnostic]) -> Error {
    let first = found.first().map(|it| it.message.clone()).unwrap_or_default();
    Error::new("effect_invalid", format!("the effect cannot be read: {first}"))
        .with_details(json!({ "diagnostics": found }))
}

fn needed(tree: Option<Text>) -> Result<Text, Error> {
    tree.ok_or_else(|| Error::invalid("/do", "this is an effect"))
}

fn name<'a>(call: &'a Call<'_>) -> &'a str {
    call.request.part("name")
}

fn answer(it: &NamedEffect) -> NamedEffectAnswer {
    NamedEffectAnswer {
        name: it.name.to_string(),
        description: it.description.clone(),
        tree: it.tree.to_string(),
        made_at: it.made_at.to_string(),
        changed_at: it.changed_at.to_string(),
    }
}

fn versioned(call: &Call<'_>, found: &Versioned<NamedEffect>) -> Result<Answer, Error> {
    call.versioned(&answer(&found.it), found.version)
}

pub(super) fn named(call: &Call<'_>) -> Result<Answer, Error> {
    let all = call.platform().named_effects(call.entered()?)?;
    call.tell(&Page::whole(all.iter().map(|it| answer(&it.it)).collect()))
}

pub(super) fn create_named(call: &Call<'_>) -> Result<Answer, Error> {
    let NamedEffectRequest { name, description, .. } = call.request.json()?;
    let tree = needed(tree_of(call)?)?;
    let made = call.platform().make_named_effect(call.entered()?, &name, (description, tree))?;
    versioned(call, &made)
}

pub(super) fn show_named(call: &Call<'_>) -> Result<Answer, Error> {
    versioned(call, &call.platform().named_effect(call.entered()?, name(call))?)
}

pub(super) fn replace_named(call: &Call<'_>) -> Result<Answer, Error> {
    let NamedEffectReplacement { description, .. } = call.request.json()?;
    let expected = call.request.expected()?;
    let (entered, tree) = (call.entered()?, needed(tree_of(call)?)?);
    let wanted = (description, tree);
    let changed = call.platform().replace_named_effect(entered, (name(call), expected), wanted)?;
    versioned(call, &changed)
}

pub(super) fn delete_named(call: &Call<'_>) -> Result<Answer, Error> {
    let expected = call.request.expected_if_given();
    call.platform().delete_named_effect(call.entered()?, name(call), &expected)?;
    call.done()
}
