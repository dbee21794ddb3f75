//! Rules of tenants for alerts: documents that say which number is too high, and whom to tell.
//!
//! Reading order: here (what there is, and who may do what with it), [`follow`] (how they are
//! looked at), [`tell`] (how an alert gets to people).

pub mod follow;
pub(crate) mod tell;

use serde::{Deserialize, Serialize};
use serde_json::json;
use traaviis_model::{
    Span, Text, Timestamp,
    form::{self, ABOVE_MAX, SEVERITIES},
};
use traaviis_policy::rule::{COOL_DOWN_MAX, COOL_DOWN_MIN, Measure, WINDOW_MAX, WINDOW_MIN};
use traaviis_ports::Position;

use crate::{
    audit::Act,
    caller::Entered,
    error::Error,
    expected::Expected,
    ledger::{Document, Versioned},
    platform::Platform,
};

/// Rules of a tenant: each is asked for whatever happens.
pub const ALERT_RULES_MAX: usize = 100;
/// Kind of the documents that say when a rule was broken last.
pub(crate) const RULE_STATE: &str = "alert_rule_state";
/// Kind of the documents that say which alerts people are still to be written.
pub(crate) const ALERT_MAIL: &str = "alert_mail";
/// Kind of the documents that say of which shares of a plan somebody was told.
pub(crate) const PLAN_NOTICES: &str = "plan_notices";
/// Kind of the documents that say of which budgets somebody was told.
pub(crate) const NOTICES: &str = "budget_notices";

/// A rule.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AlertRule {
    /// Identity.
    pub id: Text,
    /// Name.
    pub name: String,
    /// What it is about.
    pub measure: Text,
    /// It is broken by more than this.
    pub above: u64,
    /// Over how long happenings are counted.
    pub window: Span,
    /// How long it rests when it was broken.
    pub cool_down: Span,
    /// How soon somebody should look.
    pub severity: Text,
    /// Owners and administrators are written to.
    pub mail: bool,
    /// It is kept, and nobody is told.
    pub muted: bool,
    /// What happened before this position of the log breaks it not.
    pub from: Position,
    /// When it was made.
    pub made_at: Timestamp,
}

impl Document for AlertRule {
    const KIND: &'static str = "alert_rule";

    fn id(&self) -> Text {
        self.id.clone()
    }
}

/// When a rule was broken last.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct RuleState {
    pub id: Text,
    pub last: Timestamp,
}

impl Document for RuleState {
    const KIND: &'static str = RULE_STATE;

    fn id(&self) -> Text {
        self.id.clone()
    }
}

/// What somebody wants of a rule; what is absent is as it was, or by default.
#[derive(Clone, Debug, Default)]
pub struct RuleChange {
    /// Name.
    pub name: Option<String>,
    /// What it is about; only for a new one.
    pub measure: Option<Measure>,
    /// It is broken by more than this.
    pub above: Option<u64>,
    /// Over how long happenings are counted; 5 minutes.
    pub window: Option<Span>,
    /// How long it rests when it was broken; 15 minutes.
    pub cool_down: Option<Span>,
    /// How soon somebody should look; `medium`.
    pub severity: Option<String>,
    /// Whether owners and administrators are written to.
    pub mail: Option<bool>,
    /// Whether nobody is told.
    pub muted: Option<bool>,
}

impl Platform {
    /// Makes a rule; it looks at what happens from now on.
    pub fn make_alert_rule(
        &self,
        entered: &Entered,
        wanted: RuleChange,
    ) -> Result<Versioned<AlertRule>, Error> {
        let measure = wanted.measure.ok_or_else(|| Error::invalid("/measure", "this is needed"))?;
        for (pointer, is_there) in
            [("/name", wanted.name.is_some()), ("/above", wanted.above.is_some())]
        {
            if !is_there {
                return Err(Error::invalid(pointer, "this is needed"));
            }
        }
        let id = Text::from(self.fresh_id()?.to_string());
        let mut rule = AlertRule {
            id: id.clone(),
            name: String::new(),
            measure: measure.as_str().into(),
            above: 0,
            window: Span::secs(5 * 60),
            cool_down: Span::secs(15 * 60),
            severity: "medium".into(),
            mail: false,
            muted: false,
            from: self.ledgers.tail(),
            made_at: self.now(),
        };
        rule.take(wanted)?;
        self.ledgers.change(&entered.ctx, &entered.via, |documents, changes| {
            if documents.count::<AlertRule>() >= ALERT_RULES_MAX {
                let message = format!("a tenant has at most {ALERT_RULES_MAX} rules for alerts");
                return Err(Error::new("quota_exceeded", message));
            }
            changes.put(&rule);
            let act = Act::done("alert_rule.created", AlertRule::KIND, id.clone());
            changes.act(act.with(json!({ "measure": rule.measure, "above": rule.above })));
            Ok(())
        })?;
        self.alert_rule(entered, &id)
    }

    /// Returns the rules of a tenant.
    pub fn alert_rules(&self, entered: &Entered) -> Result<Vec<Versioned<AlertRule>>, Error> {
        self.ledgers.read(&entered.ctx, |it| it.list::<AlertRule>(""))
    }

    /// Returns a rule.
    pub fn alert_rule(&self, entered: &Entered, id: &str) -> Result<Versioned<AlertRule>, Error> {
        self.ledgers.get::<AlertRule>(&entered.ctx, id)?.ok_or_else(|| absent(id))
    }

    /// Changes a rule that has the version which is expected.
    pub fn change_alert_rule(
        &self,
        entered: &Entered,
        (id, expected): (&str, Expected),
        wanted: RuleChange,
    ) -> Result<Versioned<AlertRule>, Error> {
        self.ledgers.change(&entered.ctx, &entered.via, |documents, changes| {
            let found = documents.versioned::<AlertRule>(id)?.ok_or_else(|| absent(id))?;
            expected.check(&found)?;
            let mut rule = found.it;
            rule.take(wanted)?;
            changes.put(&rule);
            let act = Act::done("alert_rule.changed", AlertRule::KIND, id);
            changes.act(act.with(json!({ "above": rule.above, "muted": rule.muted })));
            Ok(())
        })?;
        self.alert_rule(entered, id)
    }

    /// Removes a rule; alerts that it has raised stay.
    pub fn remove_alert_rule(
        &self,
        entered: &Entered,
        id: &str,
        expected: &Expected,
    ) -> Result<(), Error> {
        self.ledgers.change(&entered.ctx, &entered.via, |documents, changes| {
            let found = documents.versioned::<AlertRule>(id)?.ok_or_else(|| absent(id))?;
            expected.check(&found)?;
            changes.remove::<AlertRule>(id);
            changes.remove::<RuleState>(id);
            changes.act(Act::done("alert_rule.removed", AlertRule::KIND, id));
            Ok(())
        })
    }
}

impl AlertRule {
    /// Returns what it is about; none for a word of another release.
    pub fn about(&self) -> Option<Measure> {
        self.measure.parse().ok()
    }

    /// Takes over what somebody wants, if it is within its limits.
    fn take(&mut self, wanted: RuleChange) -> Result<(), Error> {
        if let Some(name) = wanted.name {
            let Some(name) = form::RULE_NAME.read(&name) else {
                let most = form::RULE_NAME.most;
                let rule = format!("a name has 1 to {most} characters, in one line");
                return Err(Error::invalid("/name", rule));
            };
            self.name = name.into();
        }
        self.above = wanted.above.unwrap_or(self.above);
        if self.above > ABOVE_MAX {
            return Err(Error::invalid("/above", format!("this is at most {ABOVE_MAX}")));
        }
        let within = |pointer: &str, span: Span, (least, most): (Span, Span)| {
            let rule = || format!("this is from {least} to {most}");
            match (least..=most).contains(&span) {
                true => Ok(span),
                false => Err(Error::invalid(pointer, rule())),
            }
        };
        let window = wanted.window.unwrap_or(self.window);
        self.window = within("/window", window, (WINDOW_MIN, WINDOW_MAX))?;
        let cool_down = wanted.cool_down.unwrap_or(self.cool_down);
        self.cool_down = within("/cool_down", cool_down, (COOL_DOWN_MIN, COOL_DOWN_MAX))?;
        if let Some(severity) = wanted.severity {
            if !SEVERITIES.contains(&severity.as_str()) {
                let rule = format!("this is one of {}", SEVERITIES.join(", "));
                return Err(Error::invalid("/severity", rule));
            }
            self.severity = severity.into();
        }
        self.mail = wanted.mail.unwrap_or(self.mail);
        self.muted = wanted.muted.unwrap_or(self.muted);
        Ok(())
    }
}

fn absent(id: &str) -> Error {
    Error::not_found(AlertRule::KIND, id)
}
