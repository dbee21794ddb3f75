//! The parameters of one effect, each read as what it must be; what is wrong is reported.

use traaviis_model::{Text, Value, definition::Effect};

use super::Build;
use crate::{
    expr::{Expr, Scope, SecretUse, Template},
    machine::{compile::Compiler, effect::ReminderDef},
};

/// Reads parameters of one effect and reports what is wrong with them.
pub(super) struct Params<'a, 'c> {
    effect: &'a Effect,
    compiler: &'c mut Compiler,
    scope: Scope,
}

impl Params<'_, '_> {
    pub(super) fn raw(&self, name: &str) -> Option<&Value> {
        self.effect.params.iter().find(|(key, _)| **key == *name).map(|(_, value)| value)
    }

    fn pointer(&self, name: &str) -> String {
        format!("{}/{name}", self.effect.pointer)
    }

    pub(super) fn template(&mut self, name: &str) -> Option<Template> {
        let value = self.raw(name)?.clone();
        let pointer = self.pointer(name);
        Some(self.compiler.template(&value, self.scope, SecretUse::Refused, &pointer))
    }

    pub(super) fn template_or_null(&mut self, name: &str) -> Template {
        self.template(name).unwrap_or_else(Template::null)
    }

    pub(super) fn expr(&mut self, name: &str, scope: Scope) -> Expr {
        let source = match self.raw(name) {
            Some(Value::String(text)) => text.to_string(),
            Some(other) => other.to_json(),
            None => {
                self.wrong(name, "is required; give a CEL expression");
                "null".into()
            }
        };
        let pointer = self.pointer(name);
        self.compiler.expr(&source, scope, &pointer)
    }

    pub(super) fn cond(&mut self, scope: Scope) -> Expr {
        let expr = self.expr("cond", scope);
        let pointer = self.pointer("cond");
        self.compiler.decides(&expr, &pointer);
        expr
    }

    pub(super) fn wrong(&mut self, name: &str, rule: &str) {
        let pointer = self.pointer(name);
        let kind = self.effect.kind.clone();
        self.compiler.error("E140", &pointer, format!("`{name}` of effect `{kind}` {rule}"));
    }

    pub(super) fn count(&mut self, name: &str, default: usize, most: usize) -> usize {
        match self.raw(name).map(|it| (it.clone(), it.as_i64())) {
            None => default,
            Some((_, Some(count))) if count >= 1 && count as usize <= most => count as usize,
            Some(_) => {
                self.wrong(name, &format!("must be a whole number from 1 to {most}"));
                default
            }
        }
    }

    pub(super) fn flag(&mut self, name: &str, default: bool) -> bool {
        match self.raw(name) {
            None => default,
            Some(Value::Bool(it)) => *it,
            Some(_) => {
                self.wrong(name, "must be true or false");
                default
            }
        }
    }

    /// Reads one of two words; true for the first.
    pub(super) fn word(&mut self, name: &str, first: &str, second: &str, default: &str) -> bool {
        match self.raw(name).map(|it| it.as_str().unwrap_or_default().to_string()) {
            None => default == first,
            Some(word) if word == first => true,
            Some(word) if word == second => false,
            Some(_) => {
                self.wrong(name, &format!("must be `{first}` or `{second}`"));
                default == first
            }
        }
    }

    pub(super) fn text(&mut self, name: &str, default: &str) -> Text {
        match self.raw(name) {
            None => default.into(),
            Some(Value::String(text)) => text.clone(),
            Some(_) => {
                self.wrong(name, "must be text");
                default.into()
            }
        }
    }

    pub(super) fn texts(&mut self, name: &str) -> Vec<Text> {
        let texts = match self.raw(name) {
            None => return Vec::new(),
            Some(Value::List(items)) => items
                .iter()
                .map(|it| if let Value::String(text) = it { Some(text.clone()) } else { None })
                .collect::<Option<Vec<_>>>(),
            Some(_) => None,
        };
        texts.unwrap_or_else(|| {
            self.wrong(name, "must be a list of texts");
            Vec::new()
        })
    }

    pub(super) fn reminders(&mut self) -> Vec<ReminderDef> {
        let Some(Value::List(items)) = self.raw("reminders").cloned() else { return Vec::new() };
        let mut reminders = Vec::with_capacity(items.len());
        for (at, item) in items.iter().enumerate() {
            let (before, span, key) = match (item.get("before"), item.get("after")) {
                (Some(span), _) => (true, span, "/before"),
                (None, Some(span)) => (false, span, "/after"),
                (None, None) => (false, item, ""),
            };
            let pointer = format!("{}/{at}{key}", self.pointer("reminders"));
            let span = self.compiler.duration(span, self.scope, &pointer);
            reminders.push(ReminderDef { before, span });
        }
        reminders
    }

    pub(super) fn escalation(&mut self) -> Option<(Template, Template)> {
        let written = self.raw("escalation")?.clone();
        let (after, to) = (written.get("after")?, written.get("to")?);
        let pointer = self.pointer("escalation");
        let after = self.compiler.duration(after, self.scope, &format!("{pointer}/after"));
        let to =
            self.compiler.template(to, self.scope, SecretUse::Refused, &format!("{pointer}/to"));
        Some((after, to))
    }

    pub(super) fn duration(&mut self, name: &str) -> Option<Template> {
        let (name, value) = match (self.raw(name), self.raw("ms")) {
            (Some(value), _) => (name, value.clone()),
            (None, Some(value)) => ("ms", value.clone()),
            (None, None) => return None,
        };
        let pointer = self.pointer(name);
        Some(self.compiler.duration(&value, self.scope, &pointer))
    }
}

impl Build<'_> {
    pub(super) fn params<'a>(&'a mut self, effect: &'a Effect, scope: Scope) -> Params<'a, 'a> {
        Params { effect, compiler: self.compiler, scope }
    }
}
