//! JSON whose texts contain `${CEL}`, compiled.
//!
//! A text that is only `${...}` keeps the type of its value; otherwise values become text and are
//! joined: null is empty, lists and maps are JSON. `$${` writes `${`. Keys are taken as they are.
//! What holds no expression is kept as one shared value, so rendering it costs a clone.
//!
//! Invariant: a rendered value is JSON, at most as large as one result may be.

use std::sync::Arc;

use traaviis_model::{ids::Text, limits::EXPRESSION_RESULT_BYTES_MAX, value::Value};

use super::{Budget, Env, EvalError, Expr, ParseError, Scope, functions, lexer};

/// Whether `secret("NAME")` may be written here.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SecretUse {
    /// The field is resolved when the call leaves the process.
    Allowed,
    /// The field is stored or shown.
    Refused,
}

/// Why a JSON value is not a template.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("cannot read the template at `{pointer}`")]
pub struct TemplateError {
    /// RFC 6901 pointer of the text.
    pub pointer: String,
    /// What is wrong in it; the offset counts in the whole text.
    #[source]
    pub error: ParseError,
}

/// A compiled template; cloning shares it.
#[derive(Clone, Debug)]
pub struct Template(Arc<Part>);

#[derive(Debug)]
enum Part {
    Constant(Value),
    Expr(Expr),
    Text(Vec<Piece>),
    List(Vec<Part>),
    Map(Vec<(Text, Part)>),
}

#[derive(Debug)]
enum Piece {
    Plain(Text),
    Expr(Expr),
}

impl Template {
    /// Compiles the texts of a JSON value.
    pub fn compile(
        json: &Value,
        scope: Scope,
        secrets: SecretUse,
    ) -> Result<Template, TemplateError> {
        let mut pointer = String::new();
        match compile(json, scope, secrets, &mut pointer) {
            Ok(part) => Ok(Template(Arc::new(part))),
            Err(error) => Err(TemplateError { pointer, error }),
        }
    }

    /// Compiles one text that may not name secrets.
    pub fn compile_text(text: &str, scope: Scope) -> Result<Template, ParseError> {
        compile_text(text, scope, SecretUse::Refused).map(|part| Template(Arc::new(part)))
    }

    /// Returns a template that always gives `value`.
    pub fn constant(value: Value) -> Template {
        Template(Arc::new(Part::Constant(value)))
    }

    /// Returns a template that always gives null.
    pub fn null() -> Template {
        Template::constant(Value::Null)
    }

    /// Says whether rendering gives the same everywhere.
    pub fn is_constant(&self) -> bool {
        matches!(*self.0, Part::Constant(_))
    }

    /// Returns the value of a constant template.
    pub fn as_constant(&self) -> Option<&Value> {
        match &*self.0 {
            Part::Constant(value) => Some(value),
            _ => None,
        }
    }

    /// Returns the value with every expression replaced by its result.
    pub fn render(&self, env: &dyn Env) -> Result<Value, EvalError> {
        match &*self.0 {
            Part::Constant(value) => Ok(value.clone()),
            _ => self.render_with(env, &mut Budget::new()),
        }
    }

    /// Renders with a budget that is refilled for each expression; its count of draws goes on.
    pub fn render_with(&self, env: &dyn Env, budget: &mut Budget) -> Result<Value, EvalError> {
        let mut bytes = 0;
        render(&self.0, env, budget, &mut bytes)
    }
}

fn compile(
    json: &Value,
    scope: Scope,
    secrets: SecretUse,
    pointer: &mut String,
) -> Result<Part, ParseError> {
    match json {
        Value::String(text) => compile_text(text, scope, secrets),
        Value::Secret(_) if secrets == SecretUse::Refused => {
            Err(ParseError::syntax(0, "a secret is not allowed here"))
        }
        // The reader of JSON made this of `{"$secret": "${...}"}`.
        Value::Secret(name) if name.contains("${") => {
            Err(ParseError::syntax(0, "the name of a secret must be a plain text"))
        }
        Value::List(items) => {
            let mut parts = Vec::with_capacity(items.len());
            for (at, item) in items.iter().enumerate() {
                let end = pointer.len();
                pointer.push_str(&format!("/{at}"));
                parts.push(compile(item, scope, secrets, pointer)?);
                pointer.truncate(end);
            }
            if !parts.iter().all(is_constant) {
                return Ok(Part::List(parts));
            }
            Ok(Part::Constant(Value::list(parts.into_iter().filter_map(into_constant))))
        }
        Value::Map(map) => {
            let mut parts = Vec::with_capacity(map.len());
            for (key, item) in map.iter() {
                let end = pointer.len();
                pointer.push('/');
                pointer.push_str(&key.replace('~', "~0").replace('/', "~1"));
                parts.push((key.clone(), compile(item, scope, secrets, pointer)?));
                pointer.truncate(end);
            }
            if map.len() == 1 && map.contains_key("$secret") {
                return Err(ParseError::syntax(0, "the name of a secret must be a plain text"));
            }
            if !parts.iter().all(|(_, part)| is_constant(part)) {
                return Ok(Part::Map(parts));
            }
            Ok(Part::Constant(Value::map(
                parts.into_iter().filter_map(|(key, part)| Some((key, into_constant(part)?))),
            )))
        }
        other => Ok(Part::Constant(other.clone().into_json())),
    }
}

fn is_constant(part: &Part) -> bool {
    matches!(part, Part::Constant(_))
}

fn into_constant(part: Part) -> Option<Value> {
    match part {
        Part::Constant(value) => Some(value),
        _ => None,
    }
}

fn compile_text(text: &str, scope: Scope, secrets: SecretUse) -> Result<Part, ParseError> {
    if !text.contains("${") {
        return Ok(Part::Constant(Value::from(text)));
    }
    let mut pieces = Vec::new();
    let mut plain = String::new();
    let mut at = 0;
    while let Some(found) = text[at..].find("${").map(|found| at + found) {
        if found > at && text.as_bytes()[found - 1] == b'$' {
            plain.push_str(&text[at..found - 1]);
            plain.push_str("${");
            at = found + 2;
            continue;
        }
        plain.push_str(&text[at..found]);
        let start = found + 2;
        let end = lexer::closing_brace(text, start)?;
        let mut expr = Expr::parse_with(&text[start..end - 1], scope, secrets)
            .map_err(|error| ParseError { offset: error.offset + start, ..error });
        if found == 0 && end == text.len() {
            let expr = expr?;
            return Ok(match expr.constant() {
                Some(value) => Part::Constant(value.clone().into_json()),
                None => Part::Expr(expr),
            });
        }
        if let Ok(Some(Value::Secret(name))) = expr.as_ref().map(Expr::constant) {
            let message = format!("secret `{name}` must be the whole text, not part of one");
            expr = Err(ParseError::syntax(start, message));
        }
        if !plain.is_empty() {
            pieces.push(Piece::Plain(std::mem::take(&mut plain).into()));
        }
        pieces.push(Piece::Expr(expr?));
        at = end;
    }
    plain.push_str(&text[at..]);
    if pieces.is_empty() {
        return Ok(Part::Constant(Value::from(plain)));
    }
    if !plain.is_empty() {
        pieces.push(Piece::Plain(plain.into()));
    }
    Ok(Part::Text(pieces))
}

fn render(
    part: &Part,
    env: &dyn Env,
    budget: &mut Budget,
    bytes: &mut usize,
) -> Result<Value, EvalError> {
    match part {
        Part::Constant(value) => Ok(value.clone()),
        Part::Expr(expr) => {
            budget.refill();
            let (value, size) = expr.eval_measured(env, budget)?;
            grow(bytes, size)?;
            Ok(value.into_json())
        }
        Part::Text(pieces) => {
            let mut text = String::new();
            for piece in pieces {
                match piece {
                    Piece::Plain(plain) => text.push_str(plain),
                    Piece::Expr(expr) => {
                        budget.refill();
                        let (value, size) = expr.eval_measured(env, budget)?;
                        grow(bytes, size)?;
                        text.push_str(&functions::text_in(&value, budget)?);
                    }
                }
            }
            Ok(Value::from(text))
        }
        Part::List(parts) => {
            let items = parts.iter().map(|it| render(it, env, budget, bytes));
            Ok(Value::List(Arc::new(items.collect::<Result<_, _>>()?)))
        }
        Part::Map(parts) => {
            let pairs =
                parts.iter().map(|(key, it)| Ok((key.clone(), render(it, env, budget, bytes)?)));
            let map = pairs.collect::<Result<_, EvalError>>()?;
            Ok(Value::Map(Arc::new(map)))
        }
    }
}

fn grow(bytes: &mut usize, size: usize) -> Result<(), EvalError> {
    *bytes += size;
    if *bytes > EXPRESSION_RESULT_BYTES_MAX {
        return Err(EvalError {
            code: EvalError::LIMIT,
            message: format!("rendered value is larger than {EXPRESSION_RESULT_BYTES_MAX} bytes"),
        });
    }
    Ok(())
}
