//! Handlers of rules for alerts.

use traaviis_api::types::{
    Page,
    governance::{AlertRuleAnswer, AlertRuleRequest, ChangeAlertRuleRequest},
};
use traaviis_model::Span;
use traaviis_platform::{
    Error,
    alert_rules::{AlertRule, RuleChange},
};

use super::{Answer, Call};

fn rule(it: &AlertRule) -> AlertRuleAnswer {
    AlertRuleAnswer {
        id: it.id.parse().unwrap_or_default(),
        name: it.name.clone(),
        measure: it.measure.to_string(),
        above: it.above,
        window: it.window.to_string(),
        cool_down: it.cool_down.to_string(),
        severity: it.severity.to_string(),
        mail: it.mail,
        muted: it.muted,
        made_at: it.made_at.to_string(),
    }
}

fn span(pointer: &str, text: Option<String>) -> Result<Option<Span>, Error> {
    let read = |it: String| it.parse().map_err(|error: String| Error::invalid(pointer, error));
    text.map(read).transpose()
}

pub(super) fn list(call: &Call<'_>) -> Result<Answer, Error> {
    let all = call.platform().alert_rules(call.entered()?)?;
    call.tell(&Page::whole(all.iter().map(|it| rule(&it.it)).collect()))
}

pub(super) fn show(call: &Call<'_>) -> Result<Answer, Error> {
    let found = call.platform().alert_rule(call.entered()?, call.request.part("id"))?;
    call.versioned(&rule(&found.it), found.version)
}

pub(super) fn create(call: &Call<'_>) -> Result<Answer, Error> {
    let AlertRuleRequest { name, measure, above, window, cool_down, severity, mail, muted } =
        call.request.json()?;
    let measure = measure.parse().map_err(|error: String| Error::invalid("/measure", error))?;
    let wanted = RuleChange {
        name: Some(name),
        measure: Some(measure),
        above: Some(above),
        window: span("/window", window)?,
        cool_down: span("/cool_down", cool_down)?,
        severity,
        mail,
        muted,
    };
    let made = call.platform().make_alert_rule(call.entered()?, wanted)?;
    call.versioned(&rule(&made.it), made.version)
}

pub(super) fn change(call: &Call<'_>) -> Result<Answer, Error> {
    let ChangeAlertRuleRequest { name, above, window, cool_down, severity, mail, muted } =
        call.request.json()?;
    let (entered, id) = (call.entered()?, call.request.part("id"));
    let expected = call.request.expected()?;
    let wanted = RuleChange {
        name,
        measure: None,
        above,
        window: span("/window", window)?,
        cool_down: span("/cool_down", cool_down)?,
        severity,
        mail,
        muted,
    };
    let changed = call.platform().change_alert_rule(entered, (id, expected), wanted)?;
    call.versioned(&rule(&changed.it), changed.version)
}

pub(super) fn remove(call: &Call<'_>) -> Result<Answer, Error> {
    let expected = call.request.expected_if_given();
    let id = call.request.part("id");
    call.platform().remove_alert_rule(call.entered()?, id, &expected)?;
    call.done()
}
