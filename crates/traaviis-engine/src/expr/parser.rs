//! Tokens to a syntax tree.
//!
//! Invariant: no tree is deeper than `EXPRESSION_DEPTH_MAX`, and neither is the parser's own
//! recursion, so later stages may recurse freely. Chains of `&&` and `||` are one node.

use traaviis_model::{
    ids::Text,
    limits::{EXPRESSION_CHARS_MAX, EXPRESSION_DEPTH_MAX},
    value::Value,
};

use super::{
    ParseError,
    lexer::{self, Token, TokenKind},
};

/// A node of the syntax tree.
#[derive(Clone, Debug)]
pub struct Node {
    /// What it is.
    pub kind: Kind,
    /// First byte in the source.
    pub start: usize,
    /// Byte after the last.
    pub end: usize,
    depth: usize,
}

/// What a node is.
#[derive(Clone, Debug)]
pub enum Kind {
    /// A literal.
    Literal(Value),
    /// A bare name.
    Name(Text),
    /// `of.field`, or `of.?field`.
    Select {
        /// The left side.
        of: Box<Node>,
        /// The name after the point.
        field: Text,
        /// Whether a missing field gives an empty optional.
        optional: bool,
    },
    /// `of[key]`, or `of[?key]`.
    Index {
        /// The left side.
        of: Box<Node>,
        /// What stands in the brackets.
        key: Box<Node>,
        /// Whether a missing element gives an empty optional.
        optional: bool,
    },
    /// `name(args)`, or `target.name(args)`.
    Call {
        /// The function.
        name: Text,
        /// Where the name stands.
        name_at: usize,
        /// The left side of a method call.
        target: Option<Box<Node>>,
        /// The arguments.
        args: Vec<Node>,
    },
    /// `[a, ?b]`; the flag marks optional elements.
    List(Vec<(Node, bool)>),
    /// `{k: v, ?k: v}`; the flag marks optional entries.
    Map(Vec<(Node, Node, bool)>),
    /// `!a`.
    Not(Box<Node>),
    /// `-a`.
    Negate(Box<Node>),
    /// Two operands and an operator.
    Binary(Operator, Box<Node>, Box<Node>),
    /// `a && b && c`.
    And(Vec<Node>),
    /// `a || b || c`.
    Or(Vec<Node>),
    /// `a ? b : c`.
    If(Box<[Node; 3]>),
}

/// Operators of two operands, without the logical ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Operator {
    Add,
    Subtract,
    Multiply,
    Divide,
    Modulo,
    Equal,
    Unequal,
    Less,
    LessEqual,
    Greater,
    GreaterEqual,
    In,
}

/// Reads a whole expression.
pub fn parse(source: &str) -> Result<Node, ParseError> {
    if source.len() > EXPRESSION_CHARS_MAX && source.chars().count() > EXPRESSION_CHARS_MAX {
        return Err(ParseError::limit(
            0,
            format!("expression is longer than {EXPRESSION_CHARS_MAX} characters"),
        ));
    }
    let tokens = lexer::tokens(source)?;
    let mut parser = Parser { tokens, at: 0, nesting: 0 };
    if parser.peek() == &TokenKind::End {
        return Err(ParseError::syntax(0, "expression is empty"));
    }
    let node = parser.expression()?;
    match parser.peek() {
        TokenKind::End => Ok(node),
        _ => Err(parser.unexpected("the end")),
    }
}

struct Parser {
    tokens: Vec<Token>,
    at: usize,
    nesting: usize,
}

impl Parser {
    fn peek(&self) -> &TokenKind {
        &self.tokens[self.at.min(self.tokens.len() - 1)].kind
    }

    fn start(&self) -> usize {
        self.tokens[self.at.min(self.tokens.len() - 1)].start
    }

    fn last_end(&self) -> usize {
        self.at.checked_sub(1).map_or(0, |at| self.tokens[at].end)
    }

    fn take(&mut self, sign: &str) -> bool {
        let found = matches!(self.peek(), TokenKind::Sign(have) if *have == sign);
        self.at += usize::from(found);
        found
    }

    fn expect(&mut self, sign: &'static str) -> Result<(), ParseError> {
        if self.take(sign) { Ok(()) } else { Err(self.unexpected(&format!("`{sign}`"))) }
    }

    fn unexpected(&self, wanted: &str) -> ParseError {
        let found = match self.peek() {
            TokenKind::Name(name, _) => format!("`{name}`"),
            TokenKind::Literal(value) => format!("a {} literal", value.kind()),
            TokenKind::Whole(number) => format!("`{number}`"),
            TokenKind::Sign(sign) => format!("`{sign}`"),
            TokenKind::End => "the end".to_owned(),
        };
        let error =
            ParseError::syntax(self.start(), format!("expected {wanted} but found {found}"));
        match self.peek() {
            TokenKind::Name(name, false) => match &**name {
                "and" => error.with_hint("write `&&`"),
                "or" => error.with_hint("write `||`"),
                "not" => error.with_hint("write `!`"),
                _ => error,
            },
            _ => error,
        }
    }

    fn enter(&mut self) -> Result<(), ParseError> {
        self.nesting += 1;
        if self.nesting > EXPRESSION_DEPTH_MAX {
            return Err(too_deep(self.start()));
        }
        Ok(())
    }

    fn node(&self, kind: Kind, start: usize) -> Result<Node, ParseError> {
        let depth = 1 + kind.children_depth();
        if depth > EXPRESSION_DEPTH_MAX {
            return Err(too_deep(start));
        }
        Ok(Node { kind, start, end: self.last_end(), depth })
    }

    fn expression(&mut self) -> Result<Node, ParseError> {
        self.enter()?;
        let start = self.start();
        let mut node = self.binary(0)?;
        if self.take("?") {
            let then = self.binary(0)?;
            self.expect(":")?;
            let otherwise = self.expression()?;
            node = self.node(Kind::If(Box::new([node, then, otherwise])), start)?;
        }
        self.nesting -= 1;
        Ok(node)
    }

    /// Reads operators that bind tighter than `level`.
    fn binary(&mut self, level: u8) -> Result<Node, ParseError> {
        let start = self.start();
        let mut left = self.unary()?;
        loop {
            let (sign, strength) = match self.peek() {
                TokenKind::Sign(sign) => match *sign {
                    "||" => (*sign, 1),
                    "&&" => (*sign, 2),
                    "==" | "!=" | "<" | "<=" | ">" | ">=" => (*sign, 3),
                    "+" | "-" => (*sign, 4),
                    "*" | "/" | "%" => (*sign, 5),
                    _ => return Ok(left),
                },
                TokenKind::Name(name, false) if &**name == "in" => ("in", 3),
                _ => return Ok(left),
            };
            if strength <= level {
                return Ok(left);
            }
            self.at += 1;
            let right = self.binary(strength)?;
            let kind = match (sign, left) {
                ("||", Node { kind: Kind::Or(mut parts), .. }) => {
                    parts.push(right);
                    Kind::Or(parts)
                }
                ("||", left) => Kind::Or(vec![left, right]),
                ("&&", Node { kind: Kind::And(mut parts), .. }) => {
                    parts.push(right);
                    Kind::And(parts)
                }
                ("&&", left) => Kind::And(vec![left, right]),
                (sign, left) => Kind::Binary(operator(sign), Box::new(left), Box::new(right)),
            };
            left = self.node(kind, start)?;
        }
    }

    fn unary(&mut self) -> Result<Node, ParseError> {
        let start = self.start();
        if self.take("!") {
            self.enter()?;
            let of = self.unary()?;
            self.nesting -= 1;
            return self.node(Kind::Not(Box::new(of)), start);
        }
        if self.take("-") {
            if matches!(self.peek(), TokenKind::Whole(_) | TokenKind::Literal(Value::Float(_))) {
                let number = self.negative(start)?;
                return self.postfix(number, start);
            }
            self.enter()?;
            let of = self.unary()?;
            self.nesting -= 1;
            return self.node(Kind::Negate(Box::new(of)), start);
        }
        let node = self.primary()?;
        self.postfix(node, start)
    }

    fn negative(&mut self, start: usize) -> Result<Node, ParseError> {
        let value = match self.peek() {
            TokenKind::Whole(whole) => match 0i64.checked_sub_unsigned(*whole) {
                Some(value) => Value::Int(value),
                None => {
                    return Err(ParseError::syntax(start, format!("`-{whole}` is too small")));
                }
            },
            TokenKind::Literal(Value::Float(float)) => Value::Float(-float),
            _ => return Err(self.unexpected("a number")),
        };
        self.at += 1;
        self.node(Kind::Literal(value), start)
    }

    fn primary(&mut self) -> Result<Node, ParseError> {
        let start = self.start();
        if self.take("(") {
            let inner = self.expression()?;
            self.expect(")")?;
            return Ok(inner);
        }
        if self.take("[") {
            let items = self.list()?;
            return self.node(Kind::List(items), start);
        }
        if self.take("{") {
            let entries = self.map()?;
            return self.node(Kind::Map(entries), start);
        }
        // CEL's leading point means "from the outermost names", which all our variables are.
        self.take(".");
        let kind = match self.peek().clone() {
            TokenKind::Literal(value) => Kind::Literal(value),
            TokenKind::Whole(whole) => match i64::try_from(whole) {
                Ok(whole) => Kind::Literal(Value::Int(whole)),
                Err(_) => {
                    return Err(ParseError::syntax(start, format!("`{whole}` is too large"))
                        .with_hint("put `u` after it for an unsigned number"));
                }
            },
            TokenKind::Name(name, quoted) => {
                self.at += 1;
                if !quoted && self.take("(") {
                    let args = self.arguments(")")?;
                    return self
                        .node(Kind::Call { name, name_at: start, target: None, args }, start);
                }
                self.at -= 1;
                match &*name {
                    _ if quoted => Kind::Name(name),
                    "true" => Kind::Literal(Value::Bool(true)),
                    "false" => Kind::Literal(Value::Bool(false)),
                    "null" => Kind::Literal(Value::Null),
                    "in" => return Err(self.unexpected("a value")),
                    _ => Kind::Name(name),
                }
            }
            _ => return Err(self.unexpected("a value")),
        };
        self.at += 1;
        self.node(kind, start)
    }

    fn postfix(&mut self, mut node: Node, start: usize) -> Result<Node, ParseError> {
        loop {
            let kind = if self.take("?.") {
                if self.take("[") {
                    self.index(node, true)?
                } else {
                    let field = self.field()?;
                    Kind::Select { of: Box::new(node), field, optional: true }
                }
            } else if self.take(".") {
                let optional = self.take("?");
                let name_at = self.start();
                let name = self.field()?;
                if !optional && self.take("(") {
                    let args = self.arguments(")")?;
                    Kind::Call { name, name_at, target: Some(Box::new(node)), args }
                } else {
                    Kind::Select { of: Box::new(node), field: name, optional }
                }
            } else if self.take("[") {
                let optional = self.take("?");
                self.index(node, optional)?
            } else if matches!(self.peek(), TokenKind::Sign("{")) {
                return Err(ParseError::syntax(self.start(), "typed messages are not supported")
                    .with_hint("write a map such as {\"key\": 1}"));
            } else {
                return Ok(node);
            };
            node = self.node(kind, start)?;
        }
    }

    fn index(&mut self, of: Node, optional: bool) -> Result<Kind, ParseError> {
        let key = Box::new(self.expression()?);
        self.expect("]")?;
        Ok(Kind::Index { of: Box::new(of), key, optional })
    }

    fn field(&mut self) -> Result<Text, ParseError> {
        let TokenKind::Name(name, _) = self.peek() else {
            return Err(self.unexpected("a field name"));
        };
        let name = name.clone();
        self.at += 1;
        Ok(name)
    }

    fn arguments(&mut self, close: &'static str) -> Result<Vec<Node>, ParseError> {
        let mut args = Vec::new();
        if self.take(close) {
            return Ok(args);
        }
        loop {
            args.push(self.expression()?);
            if self.take(close) {
                return Ok(args);
            }
            self.expect(",")?;
        }
    }

    fn list(&mut self) -> Result<Vec<(Node, bool)>, ParseError> {
        let mut items = Vec::new();
        while !self.take("]") {
            let optional = self.take("?");
            items.push((self.expression()?, optional));
            if !self.take(",") {
                self.expect("]")?;
                break;
            }
        }
        Ok(items)
    }

    fn map(&mut self) -> Result<Vec<(Node, Node, bool)>, ParseError> {
        let mut entries = Vec::new();
        while !self.take("}") {
            let optional = self.take("?");
            let key = self.expression()?;
            self.expect(":")?;
            entries.push((key, self.expression()?, optional));
            if !self.take(",") {
                self.expect("}")?;
                break;
            }
        }
        Ok(entries)
    }
}

impl Kind {
    fn children_depth(&self) -> usize {
        let deepest = |nodes: &[Node]| nodes.iter().map(|it| it.depth).max().unwrap_or(0);
        match self {
            Kind::Literal(_) | Kind::Name(_) => 0,
            Kind::Select { of, .. } => of.depth,
            Kind::Index { of, key, .. } => of.depth.max(key.depth),
            Kind::Call { target, args, .. } => {
                deepest(args).max(target.as_ref().map_or(0, |it| it.depth))
            }
            Kind::List(items) => items.iter().map(|(it, _)| it.depth).max().unwrap_or(0),
            Kind::Map(entries) => {
                entries.iter().map(|(key, it, _)| key.depth.max(it.depth)).max().unwrap_or(0)
            }
            Kind::Not(of) | Kind::Negate(of) => of.depth,
            Kind::Binary(_, left, right) => left.depth.max(right.depth),
            Kind::And(parts) | Kind::Or(parts) => deepest(parts),
            Kind::If(parts) => deepest(&parts[..]),
        }
    }
}

fn operator(sign: &str) -> Operator {
    match sign {
        "+" => Operator::Add,
        "-" => Operator::Subtract,
        "*" => Operator::Multiply,
        "/" => Operator::Divide,
        "%" => Operator::Modulo,
        "==" => Operator::Equal,
        "!=" => Operator::Unequal,
        "<" => Operator::Less,
        "<=" => Operator::LessEqual,
        ">" => Operator::Greater,
        ">=" => Operator::GreaterEqual,
        _ => Operator::In,
    }
}

fn too_deep(at: usize) -> ParseError {
    ParseError::limit(at, format!("expression is nested deeper than {EXPRESSION_DEPTH_MAX}"))
        .with_hint("split it into several assignments")
}
