//! Runs resolved expressions.
//!
//! Each node costs one unit and each function what its work is worth, so that the whole is bounded
//! by the budget whatever the data looks like. Shared parts of values make small memory stand for
//! huge trees; therefore everything that walks a value pays while it walks.
//!
//! Invariants: a spent budget is never absorbed by `&&`, `||`, `default` or a macro; the stack of
//! macro variables has its old height after every node, failed or not.

use std::{cmp::Ordering, sync::Arc};

use regex::Regex;

use traaviis_model::{
    ids::Text,
    limits::EXPRESSION_COST_MAX,
    time::{Span, Timestamp},
    value::{Map, Value, compare_numbers},
};

use super::{
    Env, EvalError, Var,
    compile::{Code, Index, Loop, LoopKind, Select},
    functions,
    parser::Operator,
};

/// What evaluations may still spend, and how often they have drawn.
///
/// Sharing one budget among the expressions of a step keeps their `uuid()` apart;
/// [`Budget::refill`] gives the next of them the full cost again.
#[derive(Clone, Debug)]
pub struct Budget {
    left: u64,
    limit: u64,
    draws: u64,
}

impl Default for Budget {
    fn default() -> Self {
        Budget::new()
    }
}

impl Budget {
    /// Returns the budget of one evaluation.
    pub fn new() -> Self {
        Budget::with_cost(EXPRESSION_COST_MAX)
    }

    /// Returns a budget of `limit` units.
    pub fn with_cost(limit: u64) -> Self {
        Budget { left: limit, limit, draws: 0 }
    }

    /// Returns the units spent since the start or the last refill.
    pub fn spent(&self) -> u64 {
        self.limit - self.left
    }

    /// Restores the units and keeps the count of draws.
    pub fn refill(&mut self) {
        self.left = self.limit;
    }

    pub(super) fn draw(&mut self) -> u64 {
        self.draws += 1;
        self.draws
    }

    #[inline]
    pub(super) fn charge(&mut self, units: usize) -> Result<(), Fault> {
        match self.left.checked_sub(units as u64) {
            Some(left) => {
                self.left = left;
                Ok(())
            }
            None => {
                self.left = 0;
                Err(Fault::limit(format!("expression costs more than {} units", self.limit)))
            }
        }
    }
}

/// Why a node gave no value.
#[derive(Debug)]
pub struct Fault(Box<Problem>);

#[derive(Debug)]
struct Problem {
    sort: Sort,
    message: String,
}

#[derive(Debug, PartialEq, Eq)]
enum Sort {
    /// Something asked for is not there; `default` and `coalesce` absorb it.
    Missing,
    Limit,
    Other,
}

impl Fault {
    #[cold]
    pub(super) fn other(message: impl Into<String>) -> Fault {
        Fault(Box::new(Problem { sort: Sort::Other, message: message.into() }))
    }

    #[cold]
    pub(super) fn limit(message: impl Into<String>) -> Fault {
        Fault(Box::new(Problem { sort: Sort::Limit, message: message.into() }))
    }

    #[cold]
    pub(super) fn missing(message: impl Into<String>) -> Fault {
        Fault(Box::new(Problem { sort: Sort::Missing, message: message.into() }))
    }

    fn is_missing(&self) -> bool {
        self.0.sort == Sort::Missing
    }

    fn is_limit(&self) -> bool {
        self.0.sort == Sort::Limit
    }
}

impl From<Fault> for EvalError {
    fn from(fault: Fault) -> EvalError {
        let code = if fault.is_limit() { EvalError::LIMIT } else { EvalError::ERROR };
        EvalError { code, message: fault.0.message }
    }
}

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

    fn path(&self, var: Var, fields: &[Text]) -> Result<Value, Fault> {
        match self.env.field(var, &fields[0]) {
            Some(Some(value)) if fields.len() == 1 => Ok(value),
            Some(Some(value)) => {
                walk(&value, &fields[1..]).map_err(|stop| stop.fault(var.name(), fields, 1))
            }
            Some(None) => Err(Stop::Absent(0).fault(var.name(), fields, 0)),
            None => {
                let root = self.env.var(var).ok_or_else(|| unbound(var))?;
                walk(&root, fields).map_err(|stop| stop.fault(var.name(), fields, 0))
            }
        }
    }

    /// Returns the value at a path, or none when a step of it is missing; builds no message.
    fn path_if_there(&self, var: Var, fields: &[Text]) -> Result<Option<Value>, Fault> {
        let (walked, skipped) = match self.env.field(var, &fields[0]) {
            Some(Some(value)) => (walk(&value, &fields[1..]), 1),
            Some(None) => return Ok(None),
            None => match self.env.var(var) {
                Some(root) => (walk(&root, fields), 0),
                None => return Ok(None),
            },
        };
        match walked {
            Ok(value) => Ok(Some(value)),
            Err(Stop::Absent(_) | Stop::Null(_)) => Ok(None),
            Err(stop) => Err(stop.fault(var.name(), fields, skipped)),
        }
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

    fn select(&mut self, select: &Select) -> Result<Value, Fault> {
        let of = self.run(&select.of)?;
        let fields = std::slice::from_ref(&select.field);
        if !select.optional {
            return walk(&of, fields).map_err(|stop| stop.fault(&select.shown, fields, 0));
        }
        match walk(&of, fields) {
            Ok(value @ Value::Optional(_)) if matches!(of, Value::Optional(_)) => Ok(value),
            Ok(value) => Ok(Value::Optional(Some(Arc::new(value)))),
            Err(Stop::Absent(_) | Stop::Null(_)) => Ok(Value::Optional(None)),
            Err(stop) => Err(stop.fault(&select.shown, fields, 0)),
        }
    }

    fn index(&mut self, index: &Index) -> Result<Value, Fault> {
        let of = self.run(&index.of)?;
        let key = plain(self.run(&index.key)?);
        let (of, in_optional) = match of {
            Value::Optional(None) => return Ok(Value::Optional(None)),
            Value::Optional(Some(inner)) => ((*inner).clone(), true),
            of => (of, false),
        };
        match element(&of, &key, &index.shown) {
            Ok(value) if index.optional || in_optional => {
                Ok(Value::Optional(Some(Arc::new(value))))
            }
            Ok(value) => Ok(value),
            Err(fault) if fault.is_missing() && (index.optional || in_optional) => {
                Ok(Value::Optional(None))
            }
            Err(fault) => Err(fault),
        }
    }

    fn has(&mut self, of: &Code) -> Result<bool, Fault> {
        let (holder, field, shown) = match of {
            Code::Path(var, fields) => {
                let (field, holders) = split_last(fields)?;
                if holders.is_empty()
                    && let Some(found) = self.env.field(*var, field)
                {
                    return Ok(found.is_some());
                }
                let holder = match holders {
                    [] => self.env.var(*var).ok_or_else(|| unbound(*var))?,
                    holders => self.path(*var, holders)?,
                };
                (holder, field, var.name())
            }
            Code::LocalPath(local, fields) => {
                let (field, holders) = split_last(fields)?;
                let holder = walk(self.local(local.slot), holders)
                    .map_err(|stop| stop.fault(&local.name, holders, 0))?;
                (holder, field, &*local.name)
            }
            Code::Select(select) => (self.run(&select.of)?, &select.field, &*select.shown),
            Code::Index(index) => {
                let of = self.run(&index.of)?;
                let key = plain(self.run(&index.key)?);
                return match element(&plain(of), &key, &index.shown) {
                    Ok(_) => Ok(true),
                    Err(fault) if fault.is_missing() => Ok(false),
                    Err(fault) => Err(fault),
                };
            }
            code => return self.run(code).map(|_| true),
        };
        match &holder {
            Value::Map(map) => Ok(map.contains_key(field)),
            Value::Optional(None) => Ok(false),
            Value::Optional(Some(inner)) => Ok(inner.get(field).is_some()),
            Value::Null => Err(Fault::missing(format!(
                "cannot look for `{field}`: what holds it in `{shown}` is null"
            ))),
            other => Err(Fault::other(format!("cannot look for `{field}` in {}", other.kind()))),
        }
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

    fn binary(&mut self, operator: Operator, left: Value, right: Value) -> Result<Value, Fault> {
        // Whole numbers first: most guards compare them.
        if let (Value::Int(a), Value::Int(b)) = (&left, &right) {
            return whole(operator, *a, *b);
        }
        let (left, right) = match operator {
            Operator::Equal | Operator::Unequal => match (left, right) {
                (a @ Value::Optional(_), b @ Value::Optional(_)) => (a, b),
                (a, b) => (plain(a), plain(b)),
            },
            _ => (plain(left), plain(right)),
        };
        let ordered = |wanted: fn(Ordering) -> bool, sign: &str, run: &mut Self| match run
            .order(&left, &right)
        {
            Some(Ok(ordering)) => Ok(Value::Bool(ordering.is_some_and(wanted))),
            Some(Err(fault)) => Err(fault),
            None => Err(mismatch("compare", &left, sign, &right)),
        };
        match operator {
            Operator::Equal => self.equal_loosely(&left, &right).map(Value::Bool),
            Operator::Unequal => self.equal_loosely(&left, &right).map(|it| Value::Bool(!it)),
            Operator::Less => ordered(Ordering::is_lt, "<", self),
            Operator::LessEqual => ordered(Ordering::is_le, "<=", self),
            Operator::Greater => ordered(Ordering::is_gt, ">", self),
            Operator::GreaterEqual => ordered(Ordering::is_ge, ">=", self),
            Operator::In => self.is_in(&left, &right).map(Value::Bool),
            Operator::Add => self.add(&left, &right),
            Operator::Subtract => subtract(&left, &right),
            Operator::Multiply | Operator::Divide | Operator::Modulo => {
                arithmetic(operator, &left, &right)
            }
        }
    }

    /// Compares; none when the kinds have no order, inner none for NaN.
    pub(super) fn order(
        &mut self,
        left: &Value,
        right: &Value,
    ) -> Option<Result<Option<Ordering>, Fault>> {
        let ordering = match (left, right) {
            (
                Value::Int(_) | Value::Uint(_) | Value::Float(_),
                Value::Int(_) | Value::Uint(_) | Value::Float(_),
            ) => compare_numbers(left, right),
            (Value::String(a), Value::String(b)) => {
                if let Err(fault) = self.budget.charge(a.len().min(b.len()) / 64) {
                    return Some(Err(fault));
                }
                Some(a.cmp(b))
            }
            (Value::Bytes(a), Value::Bytes(b)) => {
                if let Err(fault) = self.budget.charge(a.len().min(b.len()) / 64) {
                    return Some(Err(fault));
                }
                Some(a.cmp(b))
            }
            (Value::Bool(a), Value::Bool(b)) => Some(a.cmp(b)),
            (Value::Time(a), Value::Time(b)) => Some(a.cmp(b)),
            (Value::Span(a), Value::Span(b)) => Some(a.cmp(b)),
            (Value::Time(a), Value::String(b)) => match b.parse::<Timestamp>() {
                Ok(b) => Some(a.cmp(&b)),
                Err(message) => return Some(Err(Fault::other(message))),
            },
            (Value::Span(a), Value::String(b)) => match b.parse::<Span>() {
                Ok(b) => Some(a.cmp(&b)),
                Err(message) => return Some(Err(Fault::other(message))),
            },
            (Value::String(_), Value::Time(_) | Value::Span(_)) => {
                return self
                    .order(right, left)
                    .map(|it| it.map(|ordering| ordering.map(Ordering::reverse)));
            }
            _ => return None,
        };
        Some(Ok(ordering))
    }

    fn equal_loosely(&mut self, left: &Value, right: &Value) -> Result<bool, Fault> {
        match (left, right) {
            (Value::Time(at), Value::String(text)) | (Value::String(text), Value::Time(at)) => {
                Ok(text.parse::<Timestamp>().is_ok_and(|it| it == *at))
            }
            (Value::Span(span), Value::String(text)) | (Value::String(text), Value::Span(span)) => {
                Ok(text.parse::<Span>().is_ok_and(|it| it == *span))
            }
            _ => self.equal(left, right),
        }
    }

    /// Compares by value and pays for what it looks at.
    pub(super) fn equal(&mut self, left: &Value, right: &Value) -> Result<bool, Fault> {
        match (left, right) {
            (Value::String(a), Value::String(b)) => {
                if a.len() != b.len() {
                    return Ok(false);
                }
                self.budget.charge(a.len() / 64)?;
                Ok(a == b)
            }
            (Value::List(a), Value::List(b)) => {
                if a.len() != b.len() {
                    return Ok(false);
                }
                for (a, b) in a.iter().zip(b.iter()) {
                    self.budget.charge(1)?;
                    if !self.equal(a, b)? {
                        return Ok(false);
                    }
                }
                Ok(true)
            }
            (Value::Map(a), Value::Map(b)) => {
                if a.len() != b.len() {
                    return Ok(false);
                }
                for ((key, a), (other, b)) in a.iter().zip(b.iter()) {
                    self.budget.charge(1)?;
                    if key != other || !self.equal(a, b)? {
                        return Ok(false);
                    }
                }
                Ok(true)
            }
            (Value::Optional(Some(a)), Value::Optional(Some(b))) => {
                self.budget.charge(1)?;
                self.equal(a, b)
            }
            _ => Ok(left == right),
        }
    }

    pub(super) fn is_in(&mut self, item: &Value, holder: &Value) -> Result<bool, Fault> {
        match holder {
            Value::List(items) => {
                for have in items.iter() {
                    self.budget.charge(1)?;
                    if self.equal(item, have)? {
                        return Ok(true);
                    }
                }
                Ok(false)
            }
            Value::Map(map) => match item {
                Value::String(key) => Ok(map.contains_key(key)),
                _ => Ok(false),
            },
            Value::String(_) => Err(Fault::other(
                "`in` looks into a list or a map; for texts write text.contains(part)",
            )),
            other => {
                Err(Fault::other(format!("`in` looks into a list or a map, not {}", other.kind())))
            }
        }
    }

    pub(super) fn add(&mut self, left: &Value, right: &Value) -> Result<Value, Fault> {
        match (left, right) {
            (Value::String(a), Value::String(b)) => {
                self.budget.charge((a.len() + b.len()) / 16)?;
                let mut text = String::with_capacity(a.len() + b.len());
                text.push_str(a);
                text.push_str(b);
                Ok(Value::from(text))
            }
            (Value::Bytes(a), Value::Bytes(b)) => {
                self.budget.charge((a.len() + b.len()) / 16)?;
                Ok(Value::Bytes([&a[..], &b[..]].concat().into()))
            }
            (Value::List(a), Value::List(b)) => {
                self.budget.charge((a.len() + b.len()) / 4)?;
                Ok(Value::List(Arc::new([&a[..], &b[..]].concat())))
            }
            (Value::Time(at), Value::Span(span)) | (Value::Span(span), Value::Time(at)) => {
                moved(*at, span.0)
            }
            (Value::Span(a), Value::Span(b)) => {
                a.0.checked_add(b.0)
                    .map(|it| Value::Span(Span(it)))
                    .ok_or_else(|| Fault::other("duration is out of range"))
            }
            _ => arithmetic(Operator::Add, left, right),
        }
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

/// Returns the size of a value as JSON, or none when it is over `limit`; stops looking there.
pub(super) fn measure(value: &Value, limit: usize) -> Option<usize> {
    fn left_after(value: &Value, left: usize) -> Option<usize> {
        match value {
            Value::List(items) => items.iter().try_fold(left.checked_sub(2)?, |left, item| {
                left_after(item, left.checked_sub(1)?)
            }),
            Value::Map(map) => map.iter().try_fold(left.checked_sub(2)?, |left, (key, item)| {
                left_after(item, left.checked_sub(key.len() + 4)?)
            }),
            Value::Optional(Some(inner)) => left_after(inner, left.checked_sub(1)?),
            scalar => left.checked_sub(scalar.json_len()),
        }
    }
    left_after(value, limit).map(|left| limit - left)
}

/// Returns the size of a result, refusing what is too large or stands for a secret.
pub(super) fn check_result(value: &Value, limit: usize) -> Result<usize, EvalError> {
    if let Value::Bool(_) | Value::Int(_) | Value::Float(_) = value {
        return Ok(8);
    }
    let size = measure(value, limit).ok_or_else(|| EvalError {
        code: EvalError::LIMIT,
        message: format!("result is larger than {limit} bytes"),
    })?;
    if value.forges_secret() {
        return Err(EvalError {
            code: EvalError::ERROR,
            message: "a map with the key `$secret` is no value; write secret(\"NAME\")".to_owned(),
        });
    }
    Ok(size)
}

/// Where a walk along fields ended without a value.
pub(super) enum Stop {
    /// The map has no such key.
    Absent(usize),
    /// Null holds nothing.
    Null(usize),
    /// This kind of value has no fields.
    Kind(usize, &'static str),
}

impl Stop {
    #[cold]
    fn fault(self, root: &str, fields: &[Text], skipped: usize) -> Fault {
        let (Stop::Absent(at) | Stop::Null(at) | Stop::Kind(at, _)) = self;
        let at = (at + skipped).min(fields.len().saturating_sub(1));
        let mut holder = root.to_owned();
        for field in &fields[..at] {
            holder.push('.');
            holder.push_str(field);
        }
        let field = fields.get(at).map_or("", |it| it);
        match self {
            Stop::Absent(_) => Fault::missing(format!("no such key `{field}` in `{holder}`")),
            Stop::Null(_) => Fault::missing(format!("no such key `{field}`: `{holder}` is null")),
            Stop::Kind(_, kind) => {
                Fault::other(format!("cannot read `{field}`: `{holder}` is {kind}, not a map"))
            }
        }
    }
}

/// Follows `fields` and clones only what stands at their end.
fn walk(root: &Value, fields: &[Text]) -> Result<Value, Stop> {
    let mut value = root;
    for (at, field) in fields.iter().enumerate() {
        value = match value {
            Value::Map(map) => map.get(field).ok_or(Stop::Absent(at))?,
            Value::Null => return Err(Stop::Null(at)),
            Value::Optional(None) => return Ok(Value::Optional(None)),
            Value::Optional(Some(inner)) => {
                return match walk(inner, &fields[at..]) {
                    Ok(found @ Value::Optional(_)) => Ok(found),
                    Ok(found) => Ok(Value::Optional(Some(Arc::new(found)))),
                    Err(Stop::Absent(_) | Stop::Null(_)) => Ok(Value::Optional(None)),
                    Err(Stop::Kind(further, kind)) => Err(Stop::Kind(at + further, kind)),
                };
            }
            other => return Err(Stop::Kind(at, other.kind())),
        };
    }
    Ok(value.clone())
}

fn split_last(fields: &[Text]) -> Result<(&Text, &[Text]), Fault> {
    fields.split_last().ok_or_else(|| Fault::other("path is empty"))
}

#[cold]
fn unbound(var: Var) -> Fault {
    Fault::missing(format!("variable `{}` is not available here", var.name()))
}

/// Returns one element of a list or map.
fn element(of: &Value, key: &Value, shown: &str) -> Result<Value, Fault> {
    match (of, key) {
        (Value::Map(map), Value::String(key)) => map
            .get(key)
            .cloned()
            .ok_or_else(|| Fault::missing(format!("no such key `{key}` in `{shown}`"))),
        (Value::Map(_), key) => {
            Err(Fault::other(format!("keys of `{shown}` are texts, not {}", key.kind())))
        }
        (Value::List(items), key) => {
            let at = key.as_i64().ok_or_else(|| {
                Fault::other(format!(
                    "positions in `{shown}` are whole numbers, not {}",
                    key.kind()
                ))
            })?;
            usize::try_from(at).ok().and_then(|at| items.get(at)).cloned().ok_or_else(|| {
                Fault::missing(format!("no position {at} in `{shown}`, it has {}", items.len()))
            })
        }
        (Value::Null, _) => Err(Fault::missing(format!("no such element: `{shown}` is null"))),
        (other, _) => Err(Fault::other(format!(
            "cannot take an element: `{shown}` is {}, not a list or map",
            other.kind()
        ))),
    }
}

#[cold]
fn mismatch(verb: &str, left: &Value, sign: &str, right: &Value) -> Fault {
    let hint = match (left, right) {
        (Value::String(_), Value::Null | Value::Secret(_))
        | (Value::Null | Value::Secret(_), Value::String(_)) => "",
        (Value::Time(_) | Value::Span(_), Value::String(text))
        | (Value::String(text), Value::Time(_) | Value::Span(_))
            if text.parse::<Span>().is_ok() =>
        {
            "; `data` holds durations as text, read it with duration(x)"
        }
        (Value::Time(_) | Value::Span(_), Value::String(text))
        | (Value::String(text), Value::Time(_) | Value::Span(_))
            if text.parse::<Timestamp>().is_ok() =>
        {
            "; `data` holds times as text, read it with timestamp(x)"
        }
        (Value::String(_), _) | (_, Value::String(_)) if sign == "+" => {
            "; turn it into text with string(x)"
        }
        _ => "",
    };
    Fault::other(format!("cannot {verb} {} {sign} {}{hint}", left.kind(), right.kind()))
}

#[inline]
fn whole(operator: Operator, a: i64, b: i64) -> Result<Value, Fault> {
    let made = match operator {
        Operator::Equal => return Ok(Value::Bool(a == b)),
        Operator::Unequal => return Ok(Value::Bool(a != b)),
        Operator::Less => return Ok(Value::Bool(a < b)),
        Operator::LessEqual => return Ok(Value::Bool(a <= b)),
        Operator::Greater => return Ok(Value::Bool(a > b)),
        Operator::GreaterEqual => return Ok(Value::Bool(a >= b)),
        Operator::Add => a.checked_add(b),
        Operator::Subtract => a.checked_sub(b),
        Operator::Multiply => a.checked_mul(b),
        Operator::Divide | Operator::Modulo if b == 0 => return Err(by_zero()),
        Operator::Divide => a.checked_div(b),
        // The smallest number modulo -1 is 0, though the division overflows.
        Operator::Modulo => Some(a.wrapping_rem(b)),
        Operator::In => {
            return Err(Fault::other("`in` looks into a list or a map, not int"));
        }
    };
    made.map(Value::Int).ok_or_else(|| Fault::other("whole number overflows 64 bits"))
}

#[cold]
fn by_zero() -> Fault {
    Fault::other("division by zero")
}

/// Computes with two numbers of any kinds.
pub(super) fn arithmetic(operator: Operator, left: &Value, right: &Value) -> Result<Value, Fault> {
    let sign = match operator {
        Operator::Add => "+",
        Operator::Subtract => "-",
        Operator::Multiply => "*",
        Operator::Divide => "/",
        _ => "%",
    };
    let wrong = || mismatch("compute", left, sign, right);
    if let (Value::Int(a), Value::Int(b)) = (left, right) {
        return whole(operator, *a, *b);
    }
    if let (Some(a), Some(b)) = (wide(left), wide(right)) {
        let made = match operator {
            Operator::Add => Some(a + b),
            Operator::Subtract => Some(a - b),
            Operator::Multiply => a.checked_mul(b),
            _ if b == 0 => return Err(by_zero()),
            Operator::Divide => Some(a / b),
            _ => Some(a % b),
        };
        let unsigned = matches!((left, right), (Value::Uint(_), Value::Uint(_)));
        return made
            .and_then(|made| match (unsigned, i64::try_from(made)) {
                (false, Ok(made)) => Some(Value::Int(made)),
                _ => u64::try_from(made).ok().map(Value::Uint),
            })
            .ok_or_else(|| Fault::other("whole number overflows 64 bits"));
    }
    let (Some(a), Some(b)) = (left.as_f64(), right.as_f64()) else {
        return Err(wrong());
    };
    Ok(Value::Float(match operator {
        Operator::Add => a + b,
        Operator::Subtract => a - b,
        Operator::Multiply => a * b,
        Operator::Divide => a / b,
        _ => return Err(wrong()),
    }))
}

fn wide(value: &Value) -> Option<i128> {
    match value {
        Value::Int(it) => Some(i128::from(*it)),
        Value::Uint(it) => Some(i128::from(*it)),
        _ => None,
    }
}

fn negate(value: Value) -> Result<Value, Fault> {
    let negated = match &value {
        Value::Int(it) => it.checked_neg().map(Value::Int),
        Value::Uint(it) => i64::try_from(-i128::from(*it)).ok().map(Value::Int),
        Value::Float(it) => Some(Value::Float(-it)),
        Value::Span(it) => it.0.checked_neg().map(|it| Value::Span(Span(it))),
        other => return Err(Fault::other(format!("cannot negate {}", other.kind()))),
    };
    negated.ok_or_else(|| Fault::other("whole number overflows 64 bits"))
}

fn subtract(left: &Value, right: &Value) -> Result<Value, Fault> {
    let range = || Fault::other("duration is out of range");
    match (left, right) {
        (Value::Time(a), Value::Time(b)) => {
            a.0.checked_sub(b.0).map(|it| Value::Span(Span(it))).ok_or_else(range)
        }
        (Value::Time(at), Value::Span(span)) => moved(*at, span.0.checked_neg().ok_or_else(range)?),
        (Value::Span(a), Value::Span(b)) => {
            a.0.checked_sub(b.0).map(|it| Value::Span(Span(it))).ok_or_else(range)
        }
        (Value::Time(_), Value::String(text)) => {
            if text.parse::<Span>().is_ok() {
                return Err(mismatch("compute", left, "-", right));
            }
            let other = functions::read_time(text)?;
            subtract(left, &Value::Time(other))
        }
        (Value::String(text), Value::Time(_) | Value::Span(_)) => {
            let at = functions::read_time(text)?;
            subtract(&Value::Time(at), right)
        }
        _ => arithmetic(Operator::Subtract, left, right),
    }
}

/// Returns a time moved by microseconds, within the years 1 to 9999.
pub(super) fn moved(at: Timestamp, micros: i64) -> Result<Value, Fault> {
    const YEARS: std::ops::RangeInclusive<i64> = -62_135_596_800_000_000..=253_402_300_799_999_999;
    at.0.checked_add(micros)
        .filter(|it| YEARS.contains(it))
        .map(|it| Value::Time(Timestamp(it)))
        .ok_or_else(|| Fault::other("time is outside the years 1 to 9999"))
}
