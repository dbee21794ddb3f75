//! Control nodes with more than a list of children: sagas, cases, batches, named effects.

use traaviis_model::{
    Value,
    definition::{Children, Effect},
    limits,
};

use super::{Build, TREE};
use crate::{
    expr::{Expr, Scope, Template},
    machine::effect::{CaseTest, EffectDef, EffectKind},
};

impl Build<'_> {
    /// Compiles the named effect in place of its use.
    pub(super) fn used(&mut self, effect: &Effect, scope: Scope, depth: usize) -> EffectKind {
        let mut params = self.params(effect, scope);
        let name = params.text("effect", "");
        let with = params.template("with");
        let with = with.unwrap_or_else(|| Template::constant(Value::empty_map()));
        let pointer = format!("{}/effect", effect.pointer);
        let body = self.named(&name, &pointer, depth);
        EffectKind::Use { body: Box::new(body), with }
    }

    /// Compiles a named effect as the body of what uses it, which says so at `pointer`.
    pub(super) fn named(&mut self, name: &str, pointer: &str, depth: usize) -> EffectDef {
        let segment = "body".into();
        let definition = self.definition;
        match definition.effects.iter().find(|it| *it.name == *name) {
            _ if self.inside.contains(&name) => {
                let way = [&self.inside[..], &[name]].concat().join("` -> `");
                let message = format!("the named effect `{name}` uses itself: `{way}`");
                self.compiler.error("E141", pointer, message);
                self.leaf(&segment, EffectKind::Value(Template::null()))
            }
            Some(named) => {
                self.inside.push(&named.name);
                let body = self.node(&named.effect, &segment, TREE.union(Scope::PARAM), depth + 1);
                self.inside.pop();
                body
            }
            None => {
                let message = format!("`effects` has no effect `{name}`");
                let names = definition.effects.iter().map(|it| &*it.name);
                match crate::machine::nearest(name, names) {
                    Some(near) => {
                        let hint = format!("did you mean `{near}`?");
                        self.compiler.error_with_hint("E140", pointer, message, &hint);
                    }
                    None => self.compiler.error("E140", pointer, message),
                }
                self.leaf(&segment, EffectKind::Value(Template::null()))
            }
        }
    }

    pub(super) fn saga(&mut self, effect: &Effect, scope: Scope, depth: usize) -> EffectKind {
        let mut steps = Vec::new();
        if let Some((_, Children::Saga(written))) =
            effect.children.iter().find(|(name, _)| **name == *"steps")
        {
            for step in written {
                let mut def = self.node(&step.action, &step.id, scope, depth + 1);
                def.id = Some(step.id.clone());
                if let Some(compensation) = &step.compensation {
                    let undo = format!("undo:{}", step.id).into();
                    let undo = self.node(compensation, &undo, scope, depth + 1);
                    def.compensation = Some(Box::new(undo));
                    def.undoes = true;
                }
                steps.push(def);
            }
        }
        if steps.is_empty() {
            self.compiler.error(
                "E140",
                &effect.pointer,
                "effect `saga` needs `steps`, at least one".into(),
            );
        }
        let mut params = self.params(effect, scope);
        EffectKind::Saga {
            parallel: params.word("mode", "parallel", "sequential", "sequential"),
            on_cancel: params.word("on_cancel", "compensate", "abandon", "compensate"),
            incident: params.word("on_compensation_error", "incident", "continue", "incident"),
            steps,
        }
    }

    pub(super) fn case(&mut self, effect: &Effect, scope: Scope, depth: usize) -> EffectKind {
        let value = self.params(effect, scope).template_or_null("value");
        let inner = scope.union(Scope::VALUE);
        let mut cases = Vec::new();
        if let Some((_, Children::Cases(written))) =
            effect.children.iter().find(|(name, _)| **name == *"cases")
        {
            for (at, (test, child)) in written.iter().enumerate() {
                let def = self.node(child, &format!("case{at}").into(), inner, depth + 1);
                // Text that reads as an expression over `value` is one; any other is a literal.
                let test = match test {
                    Value::String(text) => match Expr::parse(text, inner) {
                        Ok(expr) if expr.reads(crate::expr::Var::Value) => CaseTest::Cond(expr),
                        _ => CaseTest::Literal(test.clone()),
                    },
                    literal => CaseTest::Literal(literal.clone()),
                };
                cases.push((test, def));
            }
        }
        let default = self.one(effect, "default", "default", inner, depth).map(Box::new);
        EffectKind::Case { value, cases, default }
    }

    pub(super) fn batch(&mut self, effect: &Effect, scope: Scope, depth: usize) -> EffectKind {
        let items = self.params(effect, scope).template("items");
        let inner = scope.union(Scope::ITEM);
        let bodies = match &items {
            Some(_) => vec![*self.required(effect, "effect", "item", inner, depth)],
            None => self.many(effect, inner, depth).0,
        };
        let mut params = self.params(effect, scope);
        EffectKind::Batch {
            items,
            bodies,
            concurrency: params.count("concurrency", 10, limits::RUNNING_EFFECTS_MAX),
            fail_fast: params.flag("fail_fast", true),
            collect: params.flag("collect_results", true),
            max_items: params.count("max_items", limits::BATCH_ITEMS_MAX, limits::BATCH_ITEMS_MAX),
        }
    }
}
