//! Nodes that wait: for an event, and for people.

use traaviis_model::{Text, Value, definition::Effect, limits};

use super::Build;
use crate::{
    expr::Scope,
    machine::{
        Descriptor,
        effect::{EffectKind, SignalDef, TaskDef},
    },
};

impl Build<'_> {
    pub(super) fn wait_signal(&mut self, effect: &Effect, scope: Scope) -> EffectKind {
        let mut params = self.params(effect, scope);
        let mut names = params.texts("events");
        if params.raw("event").is_some() {
            names.push(params.text("event", ""));
        }
        let has_test = params.raw("match").is_some();
        let test = has_test.then(|| params.expr("match", scope.union(Scope::EVENT)));
        let count = params.count("count", 1, limits::SIGNALS_MAX as usize);
        let exclusive = params.flag("exclusive", false);
        for name in &names {
            self.compiler.declared_event(name, &effect.pointer);
        }
        let events = names.iter().map(|it| Descriptor::parse(it)).collect();
        EffectKind::WaitSignal(Box::new(SignalDef { events, test, count, exclusive }))
    }

    pub(super) fn task(&mut self, effect: &Effect, scope: Scope) -> EffectKind {
        let is_approval = &*effect.kind == "approval";
        let mut params = self.params(effect, scope);
        let shown = ["title", "description", "assignees", "form", "defaults", "attachments"]
            .into_iter()
            .filter_map(|name| Some((Text::from(name), params.template(name)?)))
            .collect();
        let mut outcomes = params.texts("outcomes");
        if outcomes.is_empty() {
            outcomes = vec!["approved".into(), "denied".into()];
        }
        let deadline = params.duration("deadline");
        let quorum = params.count("quorum", 1, limits::TASK_QUORUM_MAX as usize);
        let error = (is_approval && params.flag("deny_is_error", true)).then_some("denied");
        let separation = params.flag("separation", true);
        let (reminders, escalation) = (params.reminders(), params.escalation());
        if let Some(form @ Value::Map(_)) = params.raw("form").cloned()
            && !form.to_json().contains("${")
        {
            let pointer = format!("{}/form", effect.pointer);
            self.compiler.schema(Some(&form), &pointer);
        }
        EffectKind::Task(Box::new(TaskDef {
            shown,
            outcomes,
            deadline,
            quorum,
            separation,
            reminders,
            escalation,
            error,
        }))
    }
}
