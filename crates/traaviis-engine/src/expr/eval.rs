//! Runs resolved expressions.
//!
//! Each node costs one unit and each function what its work is worth, so that the whole is bounded
//! by the budget whatever the data looks like. Shared parts of values make small memory stand for
//! huge trees; therefore everything that walks a value pays while it walks.
//!
//! This file walks the nodes; what a node means for values is with its family.
//!
//! Invariants: a spent budget is never absorbed by `&&`, `||`, `default` or a macro; the stack of
//! macro variables has its old height after every node, failed or not.

mod bounds;
mod budget;
mod fault;
mod operators;
mod reading;

use std::sync::Arc;

use regex::Regex;

use traaviis_model::{
    ids::Text,
    value::{Map, Value},
};

use super::{
    Env, Var,
    compile::{Code, Loop, LoopKind},
    functions,
};
pub(super) use bounds::{check_result, measure};
pub use budget::Budget;
pub use fault::Fault;
use operators::negate;
pub(super) use operators::{arithmetic, moved};
use reading::{unbound, walk};

/// One run of one expression.
pub struct Evaluation<'a> {
    env: &'a dyn Env,
    pub(super) budget: &'a mut Budget,
    locals: Vec<Value>,
    /// The last computed pattern; loops ask for the same one again and again.
    pattern: Option<(Text, Regex)>,
}

impl<'a> Evaluation<'a> {
    /// Returns a run that reads `env` and pays from `budget`.
    pub fn new(env: &'a dyn Env, budget: &'a mut Budget) -> Self {
        Evaluation { env, budget, locals: Vec::new(), pattern: None }
    }

    /// Returns the value of `code`.
    pub fn run(&mut self, code: &Code) -> Result<Value, Fault> {
        self.budget.charge(1)?;
        match code {
            Code::Const(value) => Ok(value.clone()),
            Code::Var(var) => self.env.var(*var).ok_or_else(|| unbound(*var)),
            Code::Path(var, fields) => self.path(*var, fields),
            Code::Local(local) => Ok(self.local(local.slot).clone()),
            Code::LocalPath(local, fields) => walk(self.local(local.slot), fields)
                .map_err(|stop| stop.fault(&local.name, fields, 0)),
            Code::Binary(operator, sides) => {
                let left = self.run(&sides.0)?;
                let right = self.run(&sides.1)?;
                self.binary(*operator, left, right)
            }
            Code::And(parts) => self.logic(parts, false),
            Code::Or(parts) => self.logic(parts, true),
            Code::Not(of) => match plain(self.run(of)?) {
                Value::Bool(it) => Ok(Value::Bool(!it)),
                other => {
                    Err(Fault::other(format!("cannot negate {}, `!` takes bool", other.kind())))
                }
            },
            Code::If(parts) => match plain(self.run(&parts[0])?) {
                Value::Bool(true) => self.run(&parts[1]),
                Value::Bool(false) => self.run(&parts[2]),
                other => Err(Fault::other(format!(
                    "the condition before `?` is {}, not bool",
                    other.kind()
                ))),
            },
            _ => self.run_rare(code),
        }
    }

    /// The nodes that cost more than a call anyway; apart so that the frame of `run` stays small.
    #[inline(never)]
    fn run_rare(&mut self, code: &Code) -> Result<Value, Fault> {
        match code {
            Code::Select(select) => self.select(select),
            Code::Index(index) => self.index(index),
            Code::List(items) => self.list(items),
            Code::Map(entries) => self.map(entries),
            Code::Negate(of) => negate(plain(self.run(of)?)),
            Code::Has(of) => self.has(of).map(Value::Bool),
            Code::Loop(it) => self.loop_over(it),
            Code::Coalesce(parts, or_null) => self.coalesce(parts, *or_null),
            Code::OrValue(sides) => match self.run(&sides.0)? {
                Value::Optional(None) => self.run(&sides.1),
                Value::Optional(Some(value)) => Ok((*value).clone()),
                value => Ok(value),
            },
            Code::InState(path) => match plain(self.run(path)?) {
                Value::String(path) => Ok(Value::Bool(self.env.in_state(&path))),
                other => {
                    Err(Fault::other(format!("`in_state` takes a text, not {}", other.kind())))
                }
            },
            Code::Matches(it) => {
                let text = plain(self.run(&it.0)?);
                functions::matches(self.budget, &text, &it.1)
            }
            Code::Draw(function, place) => {
                let seed = self.env.random_seed();
                self.budget.charge(10)?;
                Ok(functions::draw(*function, seed, *place, self.budget.draw()))
            }
            Code::Call(function, args) => self.call(*function, args),
            // `run` has the others.
            _ => Err(Fault::other("expression is not complete")),
        }
    }

    fn local(&self, slot: usize) -> &Value {
        const NULL: &Value = &Value::Null;
        debug_assert!(slot < self.locals.len());
        self.locals.get(slot).unwrap_or(NULL)
    }

    fn logic(&mut self, parts: &[Code], decided: bool) -> Result<Value, Fault> {
        let mut failed = None;
        for part in parts {
            match self.run(part).map(plain) {
                Ok(Value::Bool(it)) if it == decided => return Ok(Value::Bool(decided)),
                Ok(Value::Bool(_)) => {}
                Ok(other) => {
                    failed = failed.or_else(|| {
                        let sign = if decided { "||" } else { "&&" };
                        Some(Fault::other(format!("`{sign}` takes bool, not {}", other.kind())))
                    });
                }
                Err(fault) if fault.is_limit() => return Err(fault),
                Err(fault) => failed = failed.or(Some(fault)),
            }
        }
        match failed {
            Some(fault) => Err(fault),
            None => Ok(Value::Bool(!decided)),
        }
    }

    fn coalesce(&mut self, parts: &[Code], or_null: bool) -> Result<Value, Fault> {
        for (at, part) in parts.iter().enumerate() {
            let last = at + 1 == parts.len();
            if last && !or_null {
                return self.run(part);
            }
            let value = match part {
                Code::Path(var, fields) => {
                    self.budget.charge(1)?;
                    self.path_if_there(*var, fields)?
                }
                part => match self.run(part) {
                    Ok(value) => Some(value),
                    Err(fault) if fault.is_missing() => None,
                    Err(fault) => return Err(fault),
                },
            };
            match value.map(plain) {
                None | Some(Value::Null) => {}
                Some(value) => return Ok(value),
            }
        }
        Ok(Value::Null)
    }

    fn list(&mut self, items: &[(Code, bool)]) -> Result<Value, Fault> {
        let mut list = Vec::with_capacity(items.len());
        for (item, optional) in items {
            match (self.run(item)?, optional) {
                (Value::Optional(inner), true) => list.extend(inner.map(|it| (*it).clone())),
                (value, _) => list.push(value),
            }
        }
        Ok(Value::List(Arc::new(list)))
    }

    fn map(&mut self, entries: &[(Code, Code, bool)]) -> Result<Value, Fault> {
        let mut pairs: Vec<(Text, Value)> = Vec::with_capacity(entries.len());
        for (key, value, optional) in entries {
            let key = match plain(self.run(key)?) {
                Value::String(key) => key,
                other => {
                    return Err(Fault::other(format!("map keys are texts, not {}", other.kind())));
                }
            };
            match (self.run(value)?, optional) {
                (Value::Optional(inner), true) => {
                    pairs.extend(inner.map(|it| (key, (*it).clone())));
                }
                (value, _) => pairs.push((key, value)),
            }
        }
        let count = pairs.len();
        let map: Map = pairs.into_iter().collect();
        if map.len() < count {
            return Err(Fault::other("a key stands twice in the map"));
        }
        Ok(Value::Map(Arc::new(map)))
    }

    fn loop_over(&mut self, it: &Loop) -> Result<Value, Fault> {
        let over = plain(self.run(&it.over)?);
        if it.kind == LoopKind::Filter || it.kind == LoopKind::Map {
            let size = over.as_list().map_or(0, <[Value]>::len);
            self.budget.charge(size / 8)?;
        }
        self.locals.push(Value::Null);
        let made = match &over {
            Value::List(items) => self.loop_items(it, items.iter().cloned()),
            Value::Map(map) => {
                self.loop_items(it, map.iter().map(|(key, _)| Value::String(key.clone())))
            }
            other => {
                Err(Fault::other(format!("a macro walks a list or a map, not {}", other.kind())))
            }
        };
        self.locals.pop();
        made
    }

    fn loop_items(
        &mut self,
        it: &Loop,
        items: impl Iterator<Item = Value>,
    ) -> Result<Value, Fault> {
        let slot = self.locals.len() - 1;
        let mut failed = None;
        let mut count = 0usize;
        let mut made = Vec::new();
        for item in items {
            self.budget.charge(1)?;
            self.locals[slot] = item;
            if let Some(test) = &it.test
                && !self.truth(test)?
            {
                continue;
            }
            match it.kind {
                LoopKind::Map => made.push(self.run(&it.body)?),
                LoopKind::Filter => {
                    if self.truth(&it.body)? {
                        made.push(std::mem::take(&mut self.locals[slot]));
                    }
                }
                LoopKind::ExistsOne => count += usize::from(self.truth(&it.body)?),
                LoopKind::All | LoopKind::Exists => match self.truth(&it.body) {
                    Ok(found) if found == (it.kind == LoopKind::Exists) => {
                        return Ok(Value::Bool(found));
                    }
                    Ok(_) => {}
                    Err(fault) if fault.is_limit() => return Err(fault),
                    Err(fault) => failed = failed.or(Some(fault)),
                },
            }
        }
        if let Some(fault) = failed {
            return Err(fault);
        }
        Ok(match it.kind {
            LoopKind::All => Value::Bool(true),
            LoopKind::Exists => Value::Bool(false),
            LoopKind::ExistsOne => Value::Bool(count == 1),
            LoopKind::Filter | LoopKind::Map => Value::List(Arc::new(made)),
        })
    }

    fn truth(&mut self, code: &Code) -> Result<bool, Fault> {
        match plain(self.run(code)?) {
            Value::Bool(it) => Ok(it),
            other => Err(Fault::other(format!("a macro asks for bool, not {}", other.kind()))),
        }
    }

    fn call(&mut self, function: functions::Function, args: &[Code]) -> Result<Value, Fault> {
        let keep_optional = function.takes_optional();
        let ready = |value| if keep_optional { value } else { plain(value) };
        if args.len() <= 3 {
            let mut values: [Value; 3] = Default::default();
            for (value, arg) in values.iter_mut().zip(args) {
                *value = ready(self.run(arg)?);
            }
            return functions::apply(function, &values[..args.len()], self);
        }
        let mut values = Vec::with_capacity(args.len());
        for arg in args {
            values.push(ready(self.run(arg)?));
        }
        functions::apply(function, &values, self)
    }

    /// Returns the compiled form of a pattern that was computed.
    pub(super) fn pattern(&mut self, pattern: &Text) -> Result<Regex, Fault> {
        if let Some((have, regex)) = &self.pattern
            && have == pattern
        {
            return Ok(regex.clone());
        }
        // Classes, repetitions and flags can take a millisecond to unfold.
        let heavy = pattern.contains(['\\', '{', '[']) || pattern.contains("(?");
        self.budget.charge(if heavy { 15_000 } else { 1_000 } + pattern.len() * 20)?;
        let regex = functions::pattern(pattern).map_err(Fault::other)?;
        self.pattern = Some((pattern.clone(), regex.clone()));
        Ok(regex)
    }
}

/// Returns the value of code without variables, if it has one that is cheap and small.
pub(super) fn run_constant(code: &Code) -> Option<Value> {
    struct Nothing;
    impl Env for Nothing {
        fn var(&self, _var: Var) -> Option<Value> {
            None
        }
        fn random_seed(&self) -> (u64, u64) {
            (0, 0)
        }
    }
    let mut budget = Budget::with_cost(500);
    let value = Evaluation::new(&Nothing, &mut budget).run(code).ok()?;
    check_result(&value, 2_048).ok().map(|_| value)
}

/// Returns the value of an optional, null when it is empty, and anything else as it is.
#[inline]
pub(super) fn plain(value: Value) -> Value {
    match value {
        Value::Optional(inner) => inner_of(inner),
        value => value,
    }
}

#[cold]
fn inner_of(optional: Option<Arc<Value>>) -> Value {
    optional.map_or(Value::Null, |inner| plain((*inner).clone()))
}
