//! Handlers of what a tenant is looked after with: signed ends of the audit trail, exports of it,
//! alerts, secrets, personal data.

use traaviis_api::types::{
    Page,
    governance::{
        AlertAnswer, CheckpointAnswer, CheckpointsAnswer, DetectAnswer, DetectRequest,
        EraseRequest, FindingAnswer, PrivacyReport, SecretAnswer, SecretRequest, SubjectRequest,
    },
};
use traaviis_model::{Text, permission::Permission};
use traaviis_platform::{
    Error,
    alerts::Alert,
    checkpoints::{Checkpoint, key_set},
    ledger::Versioned,
    privacy,
    secrets::SecretShown,
    trail_file::Format,
};

use super::{Answer, Call};
use crate::parts::Parts;

fn checkpoint(it: Checkpoint) -> CheckpointAnswer {
    let Checkpoint { tenant_id, seq, hash, at, kid, signature } = it;
    CheckpointAnswer {
        tenant_id: tenant_id.0,
        seq,
        hash: hash.to_string(),
        at: at.to_string(),
        kid: kid.to_string(),
        signature: signature.to_string(),
    }
}

pub(super) fn checkpoints(call: &Call<'_>) -> Result<Answer, Error> {
    let limit = call.request.limit()?;
    let before = call.request.query::<u64>("cursor", "the `next_cursor` of the page before")?;
    let found = call.platform().checkpoints(call.entered()?, before, limit)?;
    let last = found.last().filter(|_| found.len() == limit);
    let next_cursor = last.map(|it| it.seq.to_string());
    let items = found.into_iter().map(checkpoint).collect();
    let keys = key_set(&call.platform().audit_keys()?);
    call.tell(&CheckpointsAnswer { items, next_cursor, keys })
}

pub(super) fn export(call: &Call<'_>) -> Result<Answer, Error> {
    let format = match call.request.query.get("format") {
        None => Format::Jsonl,
        Some(word) => Format::of(word)
            .ok_or_else(|| Error::invalid("format", "this is `jsonl`, `csv` or `cloudevents`"))?,
    };
    // A reader may be slow, and holds a thread.
    let place = call.app.wait()?;
    let parts = call.app.platform.export_audit(call.entered()?, format)?;
    let parts = parts.inspect(move |_| {
        let _held = &place;
    });
    let mut answer = call.done()?;
    answer.parts = Some(Parts::of(format.media_type(), parts));
    Ok(answer)
}

fn alert(it: Alert) -> AlertAnswer {
    AlertAnswer {
        id: it.id.to_string(),
        rule: it.rule.to_string(),
        severity: it.severity.to_string(),
        message: it.message.to_string(),
        at: it.at.to_string(),
        actor: it.actor.to_string(),
        trail: it.trail.to_string(),
        entry: it.entry,
        rule_id: it.rule_id.map(|it| it.to_string()),
        value: it.value,
        resolved_at: it.resolved_at.map(|it| it.to_string()),
        acknowledged_at: it.acknowledged_at.map(|it| it.to_string()),
        acknowledged_by: it.acknowledged_by.map(|it| it.to_string()),
    }
}

pub(super) fn alerts(call: &Call<'_>) -> Result<Answer, Error> {
    page(call, call.platform().alerts(call.entered()?)?)
}

pub(super) fn platform_alerts(call: &Call<'_>) -> Result<Answer, Error> {
    page(call, call.platform().platform_alerts(call.caller()?)?)
}

fn page(call: &Call<'_>, all: Vec<Versioned<Alert>>) -> Result<Answer, Error> {
    let limit = call.request.limit()?;
    let cursor = call.request.query.get("cursor");
    let all = all.into_iter().map(|it| it.it);
    let from = |it: &Alert| cursor.is_some_and(|id| *it.id != **id);
    let skipped = usize::from(cursor.is_some());
    let mut rest = all.skip_while(from).skip(skipped).peekable();
    let items: Vec<AlertAnswer> = rest.by_ref().take(limit).map(alert).collect();
    let more = rest.peek().is_some();
    let next_cursor = items.last().filter(|_| more).map(|it| it.id.clone());
    call.tell(&Page { items, next_cursor })
}

pub(super) fn acknowledge(call: &Call<'_>) -> Result<Answer, Error> {
    let id = call.request.part("id");
    let found = call.platform().acknowledge(call.entered()?, id)?;
    call.versioned(&alert(found.it), found.version)
}

fn secret(it: SecretShown) -> SecretAnswer {
    SecretAnswer {
        name: it.kept.name,
        version: Some(it.kept.version),
        updated_at: it.kept.updated_at.map(|it| it.to_string()),
        workflows: Some(it.workflows.iter().map(ToString::to_string).collect()),
        set_by: it.set_by.map(|it| it.to_string()),
        used_at: it.used_at.map(|it| it.to_string()),
    }
}

pub(super) fn secrets(call: &Call<'_>) -> Result<Answer, Error> {
    let entered = call.entered()?;
    let sees_all = entered.standing.permissions.has(Permission::TenantSettings);
    let shown = |it: SecretShown| match sees_all {
        true => secret(it),
        false => SecretAnswer {
            name: it.kept.name,
            version: None,
            updated_at: None,
            workflows: None,
            set_by: None,
            used_at: None,
        },
    };
    let all = call.platform().secrets(entered)?;
    call.tell(&Page::whole(all.into_iter().map(shown).collect()))
}

pub(super) fn show_secret(call: &Call<'_>) -> Result<Answer, Error> {
    let found = call.platform().secret(call.entered()?, call.request.part("name"))?;
    call.tell(&secret(found))
}

pub(super) fn set_secret(call: &Call<'_>) -> Result<Answer, Error> {
    let SecretRequest { value, workflows } = call.request.json()?;
    let workflows = workflows.into_iter().map(Text::from).collect();
    let name = call.request.part("name");
    let set = call.platform().set_secret(call.entered()?, name, &value, workflows)?;
    call.tell(&secret(set))
}

pub(super) fn delete_secret(call: &Call<'_>) -> Result<Answer, Error> {
    call.platform().delete_secret(call.entered()?, call.request.part("name"))?;
    call.done()
}

pub(super) fn report(call: &Call<'_>) -> Result<Answer, Error> {
    let found = call.platform().privacy_report(call.entered()?)?;
    let counts = found.into_iter().map(|(sink, counts)| {
        (sink.to_string(), counts.into_iter().map(|(kind, it)| (kind.to_string(), it)).collect())
    });
    call.tell(&PrivacyReport { counts: counts.collect() })
}

pub(super) fn detect(call: &Call<'_>) -> Result<Answer, Error> {
    let DetectRequest { value } = call.request.json()?;
    let findings = privacy::detect(&value)?;
    let findings = findings
        .into_iter()
        .map(|it| FindingAnswer {
            pointer: it.pointer.to_string(),
            start: it.start,
            end: it.end,
            kind: it.kind.as_str().into(),
            confidence: it.confidence,
            detector: it.detector.into(),
        })
        .collect();
    call.tell(&DetectAnswer { findings })
}

pub(super) fn export_subject(call: &Call<'_>) -> Result<Answer, Error> {
    let SubjectRequest { subject } = call.request.json()?;
    let entered = call.entered()?;
    let found = call.platform().export_subject(entered, call.engine(), &subject)?;
    call.shown(found)
}

pub(super) fn erase_subject(call: &Call<'_>) -> Result<Answer, Error> {
    let EraseRequest { subject, terminate } = call.request.json()?;
    let entered = call.entered()?;
    let found = call.platform().erase_subject(entered, call.engine(), &subject, terminate)?;
    call.app.answers.forget();
    call.tell(&found)
}
