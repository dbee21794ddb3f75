//! The syntax tree to a tree that runs fast.
//!
//! Names become variables or slots of enclosing macros, chains of fields become one path, calls
//! become entries of the function table, literal patterns become compiled ones, and parts without
//! variables become their value. Everything that can be refused before running is refused here.

use regex::Regex;

use traaviis_model::{ids::Text, value::Value};

use super::{
    ParseError, ParseErrorKind, Scope, SecretUse, Var, eval,
    functions::{self, Function},
    parser::{Kind, Node, Operator},
};

/// A resolved expression.
#[derive(Debug)]
pub enum Code {
    /// A value known beforehand.
    Const(Value),
    /// A whole variable.
    Var(Var),
    /// Fields of a variable, at least one.
    Path(Var, Box<[Text]>),
    /// The variable of an enclosing macro.
    Local(Local),
    /// Fields of a macro variable, at least one.
    LocalPath(Local, Box<[Text]>),
    /// A field of anything else.
    Select(Box<Select>),
    /// An element.
    Index(Box<Index>),
    /// A list; the flag marks optional elements.
    List(Box<[(Code, bool)]>),
    /// A map; the flag marks optional entries.
    Map(Box<[(Code, Code, bool)]>),
    /// `!a`.
    Not(Box<Code>),
    /// `-a`.
    Negate(Box<Code>),
    /// Two operands.
    Binary(Operator, Box<(Code, Code)>),
    /// All parts must be true.
    And(Box<[Code]>),
    /// One part must be true.
    Or(Box<[Code]>),
    /// A condition and its two outcomes.
    If(Box<[Code; 3]>),
    /// Whether the last field of a path or selection is there.
    Has(Box<Code>),
    /// A macro over a list or the keys of a map.
    Loop(Box<Loop>),
    /// The first part that is there and not null; whether to give null when there is none.
    Coalesce(Box<[Code]>, bool),
    /// The content of an optional, or the other.
    OrValue(Box<(Code, Code)>),
    /// Whether a state is active.
    InState(Box<Code>),
    /// A text against a compiled pattern.
    Matches(Box<(Code, Regex)>),
    /// `uuid()` or `random()` with its place in the source.
    Draw(Function, u64),
    /// Any other function.
    Call(Function, Box<[Code]>),
}

/// A macro variable.
#[derive(Clone, Debug)]
pub struct Local {
    /// Position on the stack of macro variables.
    pub slot: usize,
    /// Name, for messages.
    pub name: Text,
}

/// A field of a computed value.
#[derive(Debug)]
pub struct Select {
    /// The value.
    pub of: Code,
    /// The field.
    pub field: Text,
    /// Whether missing gives an empty optional.
    pub optional: bool,
    /// The text of `of`, for messages.
    pub shown: Text,
}

/// An element of a computed value.
#[derive(Debug)]
pub struct Index {
    /// The list or map.
    pub of: Code,
    /// The position or key.
    pub key: Code,
    /// Whether missing gives an empty optional.
    pub optional: bool,
    /// The text of `of`, for messages.
    pub shown: Text,
}

/// A macro.
#[derive(Debug)]
pub struct Loop {
    /// What is walked.
    pub over: Code,
    /// What is made of it.
    pub kind: LoopKind,
    /// The condition of `map` with three arguments.
    pub test: Option<Code>,
    /// What is asked or computed for each element.
    pub body: Code,
}

/// The macros.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are CEL's")]
pub enum LoopKind {
    All,
    Exists,
    ExistsOne,
    Filter,
    Map,
}

/// Resolves `tree`; returns also which variables it reads.
pub fn compile(
    source: &str,
    tree: &Node,
    scope: Scope,
    secrets: SecretUse,
) -> Result<(Code, Scope), ParseError> {
    let mut compiler = Compiler { source, scope, secrets, locals: Vec::new(), reads: Scope::NONE };
    let code = compiler.node(tree)?;
    Ok((code, compiler.reads))
}

struct Compiler<'a> {
    source: &'a str,
    scope: Scope,
    secrets: SecretUse,
    locals: Vec<Text>,
    reads: Scope,
}

impl Compiler<'_> {
    fn node(&mut self, node: &Node) -> Result<Code, ParseError> {
        let code = match &node.kind {
            Kind::Literal(value) => Code::Const(value.clone()),
            Kind::Name(name) => self.name(name, node.start)?,
            Kind::Select { of, field, optional } => {
                let shown = self.shown(of);
                field_of(self.node(of)?, field.clone(), *optional, shown)
            }
            Kind::Index { of, key, optional } => {
                let shown = self.shown(of);
                let of = self.node(of)?;
                match self.node(key)? {
                    Code::Const(Value::String(field))
                        if !optional && matches!(of, Code::Var(_) | Code::Path(..)) =>
                    {
                        field_of(of, field, false, shown)
                    }
                    key => Code::Index(Box::new(Index { of, key, optional: *optional, shown })),
                }
            }
            Kind::Call { name, name_at, target, args } => {
                self.call(name, *name_at, target.as_deref(), args)?
            }
            Kind::List(items) => Code::List(
                items
                    .iter()
                    .map(|(item, optional)| Ok((self.node(item)?, *optional)))
                    .collect::<Result<_, ParseError>>()?,
            ),
            Kind::Map(entries) => Code::Map(
                entries
                    .iter()
                    .map(|(key, value, optional)| {
                        Ok((self.key(key)?, self.node(value)?, *optional))
                    })
                    .collect::<Result<_, ParseError>>()?,
            ),
            Kind::Not(of) => Code::Not(Box::new(self.node(of)?)),
            Kind::Negate(of) => Code::Negate(Box::new(self.node(of)?)),
            Kind::Binary(operator, left, right) => {
                Code::Binary(*operator, Box::new((self.node(left)?, self.node(right)?)))
            }
            Kind::And(parts) => Code::And(self.nodes(parts)?),
            Kind::Or(parts) => Code::Or(self.nodes(parts)?),
            Kind::If(parts) => Code::If(Box::new([
                self.node(&parts[0])?,
                self.node(&parts[1])?,
                self.node(&parts[2])?,
            ])),
        };
        Ok(fold(code))
    }

    fn nodes(&mut self, nodes: &[Node]) -> Result<Box<[Code]>, ParseError> {
        nodes.iter().map(|it| self.node(it)).collect()
    }

    fn key(&mut self, key: &Node) -> Result<Code, ParseError> {
        match self.node(key)? {
            Code::Const(Value::String(text)) if &*text == "$secret" => {
                Err(ParseError::syntax(key.start, "a map cannot have the key `$secret`")
                    .with_hint("write secret(\"NAME\")"))
            }
            Code::Const(other) if other.as_str().is_none() => Err(ParseError::syntax(
                key.start,
                format!("map keys are texts, this is {}", other.kind()),
            )),
            code => Ok(code),
        }
    }

    /// Returns the text of a node for messages, shortened.
    fn shown(&self, node: &Node) -> Text {
        let text = self.source.get(node.start..node.end).unwrap_or_default().trim();
        match text.char_indices().nth(60) {
            Some((end, _)) => format!("{}…", &text[..end]).into(),
            None => text.into(),
        }
    }

    fn name(&mut self, name: &str, at: usize) -> Result<Code, ParseError> {
        if let Some(slot) = self.locals.iter().rposition(|have| &**have == name) {
            return Ok(Code::Local(Local { slot, name: name.into() }));
        }
        let var = Var::named(name);
        if let Some(var) = var
            && self.scope.has(var)
        {
            self.reads = self.reads.union(Scope(var.bit()));
            return Ok(Code::Var(var));
        }
        if var.is_none() && functions::TYPE_NAMES.contains(&name) {
            return Ok(Code::Const(Value::from(name)));
        }
        Err(self.unknown_variable(name, at, var.is_some()))
    }

    fn unknown_variable(&self, name: &str, at: usize, elsewhere: bool) -> ParseError {
        let available: Vec<&str> = self
            .scope
            .names()
            .map(|it| -> &str { it })
            .chain(self.locals.iter().map(|it| &**it))
            .collect();
        let listed = available.iter().map(|it| format!("`{it}`")).collect::<Vec<_>>().join(", ");
        let message = match (elsewhere, listed.is_empty()) {
            (true, false) => {
                format!("variable `{name}` is not available here; available are {listed}")
            }
            (false, false) => format!("unknown variable `{name}`; available are {listed}"),
            (true, true) => format!("variable `{name}` is not available here; there are none"),
            (false, true) => format!("unknown variable `{name}`; there are none here"),
        };
        let hint = nearest(name, available.iter().copied())
            .filter(|_| !elsewhere)
            .map(|near| format!("did you mean `{near}`?"))
            .or_else(|| {
                self.scope.has(Var::Data).then(|| format!("fields of the data are `data.{name}`"))
            })
            .filter(|_| !elsewhere);
        ParseError { message, offset: at, kind: ParseErrorKind::UnknownVariable, hint }
    }

    fn call(
        &mut self,
        name: &str,
        at: usize,
        target: Option<&Node>,
        args: &[Node],
    ) -> Result<Code, ParseError> {
        if let Some(target) = target {
            if let Some(kind) = loop_kind(name, args) {
                return self.loop_over(kind, target, args);
            }
            if let Kind::Name(space) = &target.kind
                && &**space == "optional"
                && !self.locals.contains(space)
            {
                return match (name, args) {
                    ("none", []) => Ok(Code::Const(Value::Optional(None))),
                    ("of", [arg]) => {
                        Ok(Code::Call(Function::OptionalOf, Box::new([self.node(arg)?])))
                    }
                    ("ofNonZeroValue", [arg]) => {
                        Ok(Code::Call(Function::OptionalOfNonZero, Box::new([self.node(arg)?])))
                    }
                    _ => Err(ParseError::syntax(
                        at,
                        format!("`optional.{name}` with {} arguments does not exist", args.len()),
                    )),
                };
            }
        }
        let all: Vec<&Node> = target.into_iter().chain(args).collect();
        match (name, all.as_slice()) {
            ("has", [of]) if target.is_none() => return self.has(of),
            ("default", [value, other]) => {
                let parts = Box::new([self.node(value)?, self.node(other)?]);
                return Ok(Code::Coalesce(parts, false));
            }
            ("coalesce", [_, ..]) => {
                let parts = all.iter().map(|it| self.node(it)).collect::<Result<_, _>>()?;
                return Ok(Code::Coalesce(parts, true));
            }
            ("orValue", [of, other]) if target.is_some() => {
                return Ok(Code::OrValue(Box::new((self.node(of)?, self.node(other)?))));
            }
            ("in_state", [path]) => return Ok(Code::InState(Box::new(self.node(path)?))),
            ("secret", all) => return self.secret(all, at),
            _ if functions::SPECIAL.contains(&name) => {
                let message = format!("`{name}` is not written with these arguments");
                return Err(ParseError::syntax(at, message).with_hint(special_usage(name)));
            }
            _ => {}
        }
        let codes: Box<[Code]> =
            all.iter().map(|it| self.node(it)).collect::<Result<_, ParseError>>()?;
        self.function(name, at, codes, args.last())
    }

    fn function(
        &mut self,
        name: &str,
        at: usize,
        codes: Box<[Code]>,
        last: Option<&Node>,
    ) -> Result<Code, ParseError> {
        let Some((_, function, least, most)) =
            functions::TABLE.iter().find(|(have, ..)| *have == name)
        else {
            let known = functions::TABLE.iter().map(|it| it.0).chain(functions::SPECIAL);
            let hint = nearest(name, known).map(|near| format!("did you mean `{near}`?"));
            return Err(ParseError {
                message: format!("unknown function `{name}`"),
                offset: at,
                kind: ParseErrorKind::UnknownFunction,
                hint,
            });
        };
        if codes.len() < *least || codes.len() > *most {
            let wanted = match (*least, *most) {
                (least, most) if least == most => format!("{least}"),
                (least, usize::MAX) => format!("at least {least}"),
                (least, most) => format!("{least} to {most}"),
            };
            let given = codes.len();
            return Err(ParseError::syntax(
                at,
                format!("`{name}` takes {wanted} arguments, {given} given"),
            ));
        }
        if matches!(function, Function::Uuid | Function::Random) {
            let place = functions::place(self.source, at);
            return Ok(Code::Draw(*function, place));
        }
        if let (Function::Matches, [_, Code::Const(Value::String(pattern))]) = (function, &*codes) {
            let regex = functions::pattern(pattern)
                .map_err(|message| ParseError::syntax(last.map_or(at, |it| it.start), message))?;
            let mut codes = codes.into_vec();
            return Ok(Code::Matches(Box::new((codes.swap_remove(0), regex))));
        }
        Ok(Code::Call(*function, codes))
    }

    fn has(&mut self, of: &Node) -> Result<Code, ParseError> {
        if !matches!(of.kind, Kind::Select { .. } | Kind::Index { .. }) {
            return Err(ParseError::syntax(of.start, "`has` asks for a field")
                .with_hint("write has(data.field)"));
        }
        Ok(match self.node(of)? {
            // A selection from a constant was folded away, so it exists.
            Code::Const(_) => Code::Const(Value::Bool(true)),
            code => Code::Has(Box::new(code)),
        })
    }

    fn secret(&mut self, args: &[&Node], at: usize) -> Result<Code, ParseError> {
        let [Node { kind: Kind::Literal(Value::String(name)), .. }] = args else {
            return Err(ParseError::syntax(at, "`secret` takes one literal name")
                .with_hint("write secret(\"NAME\")"));
        };
        match self.secrets {
            SecretUse::Allowed => Ok(Code::Const(Value::Secret(name.clone()))),
            SecretUse::Refused => Err(ParseError::syntax(at, "`secret` is not allowed here")
                .with_hint("secrets go into effect fields marked S in the reference")),
        }
    }

    fn loop_over(
        &mut self,
        kind: LoopKind,
        target: &Node,
        args: &[Node],
    ) -> Result<Code, ParseError> {
        let over = self.node(target)?;
        let Kind::Name(name) = &args[0].kind else {
            return Err(ParseError::syntax(
                args[0].start,
                "the first argument of a macro is a new name",
            )
            .with_hint("write for example list.all(it, it > 0)"));
        };
        self.locals.push(name.clone());
        let test = match args {
            [_, test, _] => Some(self.node(test)?),
            _ => None,
        };
        let body = self.node(&args[args.len() - 1])?;
        self.locals.pop();
        Ok(Code::Loop(Box::new(Loop { over, kind, test, body })))
    }
}

pub(crate) fn loop_kind(name: &str, args: &[Node]) -> Option<LoopKind> {
    match (name, args.len()) {
        ("all", 2) => Some(LoopKind::All),
        ("exists", 2) => Some(LoopKind::Exists),
        ("exists_one" | "existsOne", 2) => Some(LoopKind::ExistsOne),
        ("filter", 2) => Some(LoopKind::Filter),
        ("map", 2 | 3) => Some(LoopKind::Map),
        _ => None,
    }
}

fn special_usage(name: &str) -> &'static str {
    match name {
        "all" => "list.all(it, condition)",
        "exists" => "list.exists(it, condition)",
        "exists_one" | "existsOne" => "list.exists_one(it, condition)",
        "filter" => "list.filter(it, condition)",
        "map" => "list.map(it, value) or list.map(it, condition, value)",
        "has" => "has(data.field)",
        "default" => "default(value, otherwise)",
        "coalesce" => "coalesce(a, b)",
        "orValue" => "data.?field.orValue(otherwise)",
        "in_state" => "in_state(\"path\")",
        _ => "secret(\"NAME\")",
    }
}

fn field_of(of: Code, field: Text, optional: bool, shown: Text) -> Code {
    let extended = |fields: Box<[Text]>, field| {
        let mut fields = fields.into_vec();
        fields.push(field);
        fields.into_boxed_slice()
    };
    match of {
        Code::Var(var) if !optional => Code::Path(var, Box::new([field])),
        Code::Path(var, fields) if !optional => Code::Path(var, extended(fields, field)),
        Code::Local(local) if !optional => Code::LocalPath(local, Box::new([field])),
        Code::LocalPath(local, fields) if !optional => {
            Code::LocalPath(local, extended(fields, field))
        }
        of => Code::Select(Box::new(Select { of, field, optional, shown })),
    }
}

/// Replaces what has only constant parts by its value, if it has one and it is small.
fn fold(code: Code) -> Code {
    let constant = |it: &Code| matches!(it, Code::Const(_));
    let foldable = match &code {
        Code::Select(it) => constant(&it.of),
        Code::Index(it) => constant(&it.of) && constant(&it.key),
        Code::List(items) => items.iter().all(|(it, _)| constant(it)),
        Code::Map(entries) => entries.iter().all(|(key, it, _)| constant(key) && constant(it)),
        Code::Not(of) | Code::Negate(of) => constant(of),
        Code::Binary(_, sides) | Code::OrValue(sides) => constant(&sides.0) && constant(&sides.1),
        Code::And(parts) | Code::Or(parts) => parts.iter().all(constant),
        Code::If(parts) => parts.iter().all(constant),
        Code::Matches(it) => constant(&it.0),
        Code::Call(_, args) => args.iter().all(constant),
        _ => false,
    };
    if !foldable {
        return code;
    }
    match eval::run_constant(&code) {
        Some(value) => Code::Const(value),
        None => code,
    }
}

/// Returns the candidate closest to `name`, if any is close.
pub(super) fn nearest<'a>(
    name: &str,
    candidates: impl Iterator<Item = &'a str>,
) -> Option<&'a str> {
    let far = name.chars().count().div_ceil(3).clamp(1, 3);
    candidates
        .map(|candidate| (distance(name, candidate), candidate))
        .filter(|(distance, _)| *distance <= far)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// Returns the number of edits between two short words; case is no edit.
fn distance(left: &str, right: &str) -> usize {
    if left.len() > 64 {
        return usize::MAX;
    }
    let right: Vec<char> = right.to_lowercase().chars().collect();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (line, a) in left.to_lowercase().chars().enumerate() {
        let mut corner = row[0];
        row[0] = line + 1;
        for (column, b) in right.iter().enumerate() {
            let replaced = corner + usize::from(a != *b);
            corner = row[column + 1];
            row[column + 1] = replaced.min(corner + 1).min(row[column] + 1);
        }
    }
    row[right.len()]
}
