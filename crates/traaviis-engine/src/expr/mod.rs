//! Expressions: a CEL evaluator that counts what it spends, and templates of `${CEL}`.
//!
//! An expression is parsed once per version of a definition and evaluated often. The stages are
//!
//! 1. [`lexer`]: text to tokens, literals already read;
//! 2. [`parser`]: tokens to a syntax tree of bounded depth;
//! 3. [`compile`]: variables, macros, functions and field paths resolved, constants folded;
//! 4. [`eval`]: the tree run against an [`Env`] under a [`Budget`], with [`functions`];
//! 5. [`template`]: JSON whose texts contain expressions.
//!
//! Invariants: no input makes it panic, overflow the stack or run past its budget; nothing reads a
//! clock or draws real randomness, so replaying an evaluation gives the same value.
//!
//! Where this goes beyond CEL, because JSON declares no types:
//!
//! - arithmetic of a whole number and a double gives a double, of `int` and `uint` whichever holds
//!   the result; overflow and division of whole numbers by zero stay errors;
//! - a timestamp meeting a text in a comparison or subtraction reads the text as RFC 3339, and a
//!   duration reads it as a duration, because both rest as text in data;
//! - an optional (`a?.b`, the same as CEL's `a.?b`) meeting anything else counts as its value, or
//!   as null;
//! - `type(x)` gives a text such as `"int"`; maps have text keys only.

pub mod compile;
pub mod eval;
pub mod functions;
pub mod lexer;
pub mod parser;
pub mod template;

#[cfg(test)]
mod oracle_tests;
#[cfg(test)]
mod tests;

use std::{fmt, ops::BitOr, sync::Arc};

use traaviis_model::{ids::Text, limits, value::Value};

pub(crate) use self::functions::approx_tokens;
use self::{compile::Code, eval::Evaluation};
pub use self::{
    eval::Budget,
    template::{SecretUse, Template, TemplateError},
};

/// A variable an expression can name.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Var {
    /// Instance data.
    Data,
    /// Start input.
    Input,
    /// The current event.
    Event,
    /// The value of the finished invoke or the previous step.
    Result,
    /// Earlier steps of the same tree.
    Steps,
    /// The current element of a batch or loop.
    Item,
    /// The position of `item`.
    Index,
    /// The last value of a loop.
    Loop,
    /// The tenant's public facts.
    Tenant,
    /// The instance's own facts.
    Workflow,
    /// The commit time of the step.
    Now,
    /// Parameters of a component.
    Param,
    /// The value being checked or changed.
    Value,
    /// Arguments of a call.
    Args,
    /// Status of a response.
    Status,
    /// Body of a response.
    Body,
    /// Headers of a response.
    Headers,
    /// Active states of an instance that is asked.
    Configuration,
    /// What is open in an instance that is asked.
    Pending,
}

impl Var {
    const ALL: [(Var, &'static str); 19] = [
        (Var::Data, "data"),
        (Var::Input, "input"),
        (Var::Event, "event"),
        (Var::Result, "result"),
        (Var::Steps, "steps"),
        (Var::Item, "item"),
        (Var::Index, "index"),
        (Var::Loop, "loop"),
        (Var::Tenant, "tenant"),
        (Var::Workflow, "workflow"),
        (Var::Now, "now"),
        (Var::Param, "param"),
        (Var::Value, "value"),
        (Var::Args, "args"),
        (Var::Status, "status"),
        (Var::Body, "body"),
        (Var::Headers, "headers"),
        (Var::Configuration, "configuration"),
        (Var::Pending, "pending"),
    ];

    /// Returns the name as written in expressions.
    pub fn name(self) -> &'static str {
        Var::ALL[self as usize].1
    }

    fn named(name: &str) -> Option<Var> {
        Var::ALL.iter().find(|(_, have)| *have == name).map(|(var, _)| *var)
    }

    const fn bit(self) -> u32 {
        1 << self as u8
    }
}

/// Which variables an expression may read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Scope(u32);

impl Scope {
    /// Nothing; constants only.
    pub const NONE: Scope = Scope(0);
    /// `data`.
    pub const DATA: Scope = Scope(Var::Data.bit());
    /// `input`.
    pub const INPUT: Scope = Scope(Var::Input.bit());
    /// `event`.
    pub const EVENT: Scope = Scope(Var::Event.bit());
    /// `result`.
    pub const RESULT: Scope = Scope(Var::Result.bit());
    /// `steps`.
    pub const STEPS: Scope = Scope(Var::Steps.bit());
    /// `item` and `index`.
    pub const ITEM: Scope = Scope(Var::Item.bit() | Var::Index.bit());
    /// `loop`.
    pub const LOOP: Scope = Scope(Var::Loop.bit());
    /// `tenant`.
    pub const TENANT: Scope = Scope(Var::Tenant.bit());
    /// `workflow`.
    pub const WORKFLOW: Scope = Scope(Var::Workflow.bit());
    /// `now`.
    pub const NOW: Scope = Scope(Var::Now.bit());
    /// `param`.
    pub const PARAM: Scope = Scope(Var::Param.bit());
    /// `value`.
    pub const VALUE: Scope = Scope(Var::Value.bit());
    /// `args`.
    pub const ARGS: Scope = Scope(Var::Args.bit());
    /// `status`, `body` and `headers`.
    pub const RESPONSE: Scope = Scope(Var::Status.bit() | Var::Body.bit() | Var::Headers.bit());
    /// `configuration`, `status` and `pending` of an instance that is asked.
    pub const QUERY: Scope =
        Scope(Var::Configuration.bit() | Var::Status.bit() | Var::Pending.bit());
    /// What every place can read.
    pub const EVERYWHERE: Scope = Scope::DATA
        .union(Scope::INPUT)
        .union(Scope::TENANT)
        .union(Scope::WORKFLOW)
        .union(Scope::NOW);

    /// Returns the variables of both.
    pub const fn union(self, other: Scope) -> Scope {
        Scope(self.0 | other.0)
    }

    /// Says whether every variable of `other` is here.
    pub const fn contains(self, other: Scope) -> bool {
        self.0 & other.0 == other.0
    }

    const fn has(self, var: Var) -> bool {
        self.0 & var.bit() != 0
    }

    fn names(self) -> impl Iterator<Item = &'static str> {
        Var::ALL.into_iter().filter(move |(var, _)| self.has(*var)).map(|(_, name)| name)
    }
}

impl BitOr for Scope {
    type Output = Scope;
    fn bitor(self, other: Scope) -> Scope {
        self.union(other)
    }
}

/// What an expression reads while it runs.
pub trait Env {
    /// Returns the value of a variable, or none where it is not bound.
    fn var(&self, var: Var) -> Option<Value>;

    /// Returns one field of a variable without building the whole: `Some(Some(value))`,
    /// `Some(None)` for known to be missing, none to fall back to [`Env::var`].
    fn field(&self, _var: Var, _field: &str) -> Option<Option<Value>> {
        None
    }

    /// Says whether the state at `path` is active.
    fn in_state(&self, _path: &str) -> bool {
        false
    }

    /// Returns what `uuid()` and `random()` are derived from, together with their place in the
    /// expression and the number of earlier draws on the same [`Budget`].
    fn random_seed(&self) -> (u64, u64);
}

/// A compiled expression; cloning shares it.
#[derive(Clone)]
pub struct Expr(Arc<Compiled>);

struct Compiled {
    source: Text,
    code: Code,
    reads: Scope,
}

impl Expr {
    /// Reads an expression that may name the variables of `scope`.
    pub fn parse(source: &str, scope: Scope) -> Result<Expr, ParseError> {
        Expr::parse_with(source, scope, SecretUse::Refused)
    }

    /// Reads an expression that may also call `secret("NAME")` where `secrets` allows.
    pub fn parse_with(source: &str, scope: Scope, secrets: SecretUse) -> Result<Expr, ParseError> {
        let tree = parser::parse(source)?;
        let (code, reads) = compile::compile(source, &tree, scope, secrets)?;
        Ok(Expr(Arc::new(Compiled { source: source.into(), code, reads })))
    }

    /// Returns the text this was read from.
    pub fn source(&self) -> &Text {
        &self.0.source
    }

    /// Returns the value under a fresh budget.
    pub fn eval(&self, env: &dyn Env) -> Result<Value, EvalError> {
        self.eval_with(env, &mut Budget::new())
    }

    /// Returns the value, paid from `budget`.
    pub fn eval_with(&self, env: &dyn Env, budget: &mut Budget) -> Result<Value, EvalError> {
        self.eval_measured(env, budget).map(|(value, _)| value)
    }

    /// Returns the truth value; any other kind is an error.
    pub fn eval_bool(&self, env: &dyn Env) -> Result<bool, EvalError> {
        match self.eval(env)? {
            Value::Bool(it) => Ok(it),
            other => match eval::plain(other) {
                Value::Bool(it) => Ok(it),
                other => Err(EvalError {
                    code: EvalError::ERROR,
                    message: format!("`{}` gives {}, not bool", self.source(), other.kind()),
                }),
            },
        }
    }

    /// Says whether the expression names `var`.
    pub fn reads(&self, var: Var) -> bool {
        self.0.reads.has(var)
    }

    /// Returns the value when it does not depend on anything.
    pub fn constant(&self) -> Option<&Value> {
        match &self.0.code {
            Code::Const(value) => Some(value),
            _ => None,
        }
    }

    /// Returns what the expression gives when that can never be a truth value.
    ///
    /// Null is left out: the compiler puts it where an expression could not be read.
    pub(crate) fn never_bool(&self) -> Option<&'static str> {
        fn of(code: &Code) -> Option<&'static str> {
            use parser::Operator::{Add, Divide, Modulo, Multiply, Subtract};
            match code {
                Code::Const(Value::Null | Value::Bool(_) | Value::Optional(_)) => None,
                Code::Const(value) => Some(value.kind()),
                Code::List(_) => Some("list"),
                Code::Map(_) => Some("map"),
                Code::Negate(_) => Some("a number"),
                Code::Binary(Add | Subtract | Multiply | Divide | Modulo, _) => {
                    Some("the result of a calculation")
                }
                Code::If(parts) => of(&parts[1]).and(of(&parts[2])),
                _ => None,
            }
        }
        of(&self.0.code)
    }

    /// Returns the resolved expression, for analysis.
    pub(crate) fn code(&self) -> &Code {
        &self.0.code
    }

    fn eval_measured(
        &self,
        env: &dyn Env,
        budget: &mut Budget,
    ) -> Result<(Value, usize), EvalError> {
        let mut evaluation = Evaluation::new(env, budget);
        let value = evaluation.run(&self.0.code).map_err(EvalError::from)?;
        let size = eval::check_result(&value, limits::EXPRESSION_RESULT_BYTES_MAX)?;
        Ok((value, size))
    }
}

impl fmt::Debug for Expr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Expr").field(&self.0.source).finish()
    }
}

/// Why a text is not an expression here.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ParseError {
    /// What is wrong, naming the word.
    pub message: String,
    /// Byte in the source where it was noticed.
    pub offset: usize,
    /// Which sort of mistake.
    pub kind: ParseErrorKind,
    /// What to write instead, where known.
    pub hint: Option<String>,
}

/// Sorts of [`ParseError`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ParseErrorKind {
    /// The text is not CEL.
    Syntax,
    /// A variable that does not exist, or not at this place.
    UnknownVariable,
    /// Too long or too deep.
    Limit,
    /// A function that does not exist.
    UnknownFunction,
}

impl ParseError {
    fn syntax(offset: usize, message: impl Into<String>) -> ParseError {
        ParseError { message: message.into(), offset, kind: ParseErrorKind::Syntax, hint: None }
    }

    fn limit(offset: usize, message: impl Into<String>) -> ParseError {
        ParseError { kind: ParseErrorKind::Limit, ..ParseError::syntax(offset, message) }
    }

    fn with_hint(mut self, hint: impl Into<String>) -> ParseError {
        self.hint = Some(hint.into());
        self
    }
}

/// Why an evaluation gave no value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct EvalError {
    /// `expression_error` or `expression_limit`.
    pub code: &'static str,
    /// What could not be done, naming the path as far as known.
    pub message: String,
}

impl EvalError {
    /// The code of a failure that is no limit.
    pub const ERROR: &'static str = "expression_error";
    /// The code of a limit that was passed.
    pub const LIMIT: &'static str = "expression_limit";
}
