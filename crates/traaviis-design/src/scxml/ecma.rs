//! ECMAScript expressions of SCXML, as far as they have the same meaning in CEL.
//!
//! The text is parsed, not patched: whatever is not understood is refused, and the caller reports
//! it as loss. Variables of the data model become fields of `data`; a variable that always holds
//! the same function is written out where it is called.

use std::fmt::Write as _;

use traaviis_model::limits;

/// Deepest nesting of an expression.
const DEPTH_MAX: usize = 64;
/// Longest function that is written out, and longest expression that comes of it.
const INLINED_CHARS_MAX: usize = 4_096;
/// States among which `In` finds one by an expression; more would make the expression too long.
pub const IN_STATES_MAX: usize = 256;
/// Functions that call functions.
const INLINED_DEPTH_MAX: usize = 8;

/// What SCXML calls the machinery that carries events between charts.
pub const PROCESSOR: &str = "http://www.w3.org/TR/scxml/#SCXMLEventProcessor";
/// CEL for the address of the running chart.
pub const OWN_ADDRESS: &str = "('#_scxml_' + workflow.instance_id)";

/// What a name outside the data model stands for.
pub trait Names {
    /// Says whether the document's data model has this variable.
    fn is_variable(&self, name: &str) -> bool;
    /// Returns the path of the state with this id.
    fn state_path(&self, id: &str) -> Option<String>;
    /// Returns ids and paths of all states.
    fn state_paths(&self) -> Vec<(String, String)>;
    /// Returns the field of `data` for a variable.
    fn field(&self, name: &str) -> String;
    /// Says whether a variable holds text whenever it is read.
    fn is_text(&self, name: &str) -> bool;
    /// Returns the function that a variable always holds.
    fn function(&self, name: &str) -> Option<&str>;
    /// Returns the name that an event has in the workflow.
    fn event(&self, name: &str) -> String;
}

/// A translated expression.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cel {
    /// CEL text.
    pub text: String,
    /// Says whether the value depends on data or events, and is not known at the start.
    pub reads: bool,
    kind: Kind,
    /// CEL for what ECMAScript takes as true, where that is shorter to say.
    truth: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Bool,
    Text,
    Other,
}

impl Cel {
    fn new(text: String, kind: Kind) -> Cel {
        Cel { text, kind, reads: false, truth: None }
    }

    fn bool(text: String) -> Cel {
        Cel::new(text, Kind::Bool)
    }

    /// Returns the expression as a condition, true for what ECMAScript takes as true.
    pub fn condition(self) -> String {
        if self.kind == Kind::Bool {
            return self.text;
        }
        if let Some(truth) = self.truth {
            return truth;
        }
        let it = &self.text;
        format!("({it} != null && {it} != false && {it} != 0 && {it} != '')")
    }

    /// Says whether the value is always text.
    pub fn is_text(&self) -> bool {
        self.kind == Kind::Text
    }

    /// Returns the expression as a part of text.
    fn as_text(&self) -> String {
        if self.kind == Kind::Text { self.text.clone() } else { format!("string({})", self.text) }
    }
}

/// Refuses what the engine would refuse; also keeps hostile nesting from growing without end.
fn short(cel: Cel) -> Result<Cel, String> {
    if cel.text.len() > limits::EXPRESSION_CHARS_MAX {
        return Err(format!("longer than {} characters", limits::EXPRESSION_CHARS_MAX));
    }
    Ok(cel)
}

/// Translates an expression; the error says what is not understood.
pub fn translate(source: &str, names: &dyn Names) -> Result<Cel, String> {
    let tokens = tokens(source)?;
    let mut parser =
        Parser { tokens, at: 0, depth: 0, names, reads: false, arguments: Vec::new(), inlined: 0 };
    let cel = parser.ternary()?;
    match parser.peek() {
        None => Ok(Cel { reads: parser.reads, ..cel }),
        Some(token) => Err(format!("`{}` is not translated", token.shown())),
    }
}

/// Says whether an expression is a function, also one that cannot be written out.
pub fn is_function(source: &str) -> bool {
    match tokens(source).unwrap_or_default().as_slice() {
        [Token::Name(word), ..] if word == "function" => true,
        [Token::Name(_), Token::Sign("=>"), ..] => true,
        all @ [Token::Sign("("), ..] => {
            let end = all.iter().position(|it| *it == Token::Sign(")"));
            end.is_some_and(|end| all.get(end + 1) == Some(&Token::Sign("=>")))
        }
        _ => source.trim_start().starts_with("function"),
    }
}

#[derive(Clone, Debug, PartialEq)]
enum Token {
    Name(String),
    Number(String),
    Text(String),
    Sign(&'static str),
}

impl Token {
    fn shown(&self) -> String {
        match self {
            Token::Name(text) | Token::Number(text) | Token::Text(text) => text.clone(),
            Token::Sign(sign) => (*sign).to_string(),
        }
    }
}

const SIGNS: [&str; 32] = [
    "===", "!==", "==", "!=", "<=", ">=", "&&", "||", "++", "--", "+=", "-=", "=>", "<", ">", "+",
    "-", "*", "/", "%", "!", "?", ":", ".", ",", "(", ")", "[", "]", "{", "}", ";",
];

fn tokens(source: &str) -> Result<Vec<Token>, String> {
    let mut found = Vec::new();
    let mut rest = source.trim();
    while let Some(first) = rest.chars().next() {
        let length = match first {
            it if it.is_whitespace() => it.len_utf8(),
            '\'' | '"' => {
                let (text, length) = literal(rest, first)?;
                found.push(Token::Text(text));
                length
            }
            it if it.is_alphabetic() || it == '_' || it == '$' => {
                let is_part = |it: char| it.is_alphanumeric() || it == '_' || it == '$';
                let length = rest.find(|it| !is_part(it)).unwrap_or(rest.len());
                found.push(Token::Name(rest[..length].into()));
                length
            }
            it if it.is_ascii_digit() || (it == '.' && follows_digit(rest)) => {
                let is_part = |it: char| it.is_ascii_digit() || it == '.';
                let length = rest.find(|it| !is_part(it)).unwrap_or(rest.len());
                if rest[length..].starts_with(|it: char| it.is_alphabetic()) {
                    return Err(format!("number `{}`", &rest[..length + 1]));
                }
                found.push(Token::Number(rest[..length].into()));
                length
            }
            _ => {
                let sign = SIGNS.iter().find(|it| rest.starts_with(**it));
                let sign = sign.ok_or_else(|| format!("`{first}` is not translated"))?;
                found.push(Token::Sign(sign));
                sign.len()
            }
        };
        rest = &rest[length..];
    }
    Ok(found)
}

fn follows_digit(rest: &str) -> bool {
    rest[1..].starts_with(|it: char| it.is_ascii_digit())
}

/// Reads a text literal; returns it with the bytes it takes.
fn literal(source: &str, quote: char) -> Result<(String, usize), String> {
    let mut text = String::new();
    let mut letters = source.char_indices().skip(1);
    while let Some((at, letter)) = letters.next() {
        match letter {
            it if it == quote => return Ok((text, at + 1)),
            '\\' => match letters.next().map(|it| it.1) {
                Some('n') => text.push('\n'),
                Some('t') => text.push('\t'),
                Some(it @ ('\\' | '\'' | '"' | '/')) => text.push(it),
                other => return Err(format!("escape `\\{}`", other.unwrap_or(' '))),
            },
            it => text.push(it),
        }
    }
    Err("a text without its end".into())
}

/// Writes a CEL text literal.
pub fn quote(text: &str) -> String {
    let mut out = String::from("'");
    for letter in text.chars() {
        match letter {
            '\'' => out.push_str("\\'"),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            it if it.is_control() => {
                let _ = write!(out, "\\u{:04x}", u32::from(it));
            }
            it => out.push(it),
        }
    }
    out.push('\'');
    out
}

struct Parser<'n> {
    tokens: Vec<Token>,
    at: usize,
    depth: usize,
    names: &'n dyn Names,
    /// Set when data or events are read.
    reads: bool,
    /// Parameters of the function being written out, with their values.
    arguments: Vec<(String, Cel)>,
    /// How many functions are being written out inside each other.
    inlined: usize,
}

impl Parser<'_> {
    fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.at)
    }

    fn takes(&mut self, sign: &str) -> bool {
        let found = matches!(self.peek(), Some(Token::Sign(it)) if *it == sign);
        self.at += usize::from(found);
        found
    }

    fn is_at(&self, sign: &str) -> bool {
        matches!(self.peek(), Some(Token::Sign(it)) if *it == sign)
    }

    fn takes_word(&mut self, word: &str) -> bool {
        let found = matches!(self.peek(), Some(Token::Name(it)) if it == word);
        self.at += usize::from(found);
        found
    }

    fn word(&mut self, what: &str) -> Result<String, String> {
        let Some(Token::Name(name)) = self.peek().cloned() else { return Err(what.into()) };
        self.at += 1;
        Ok(name)
    }

    fn needs(&mut self, sign: &str) -> Result<(), String> {
        if self.takes(sign) {
            return Ok(());
        }
        let found = self.peek().map_or_else(|| "the end".into(), Token::shown);
        Err(format!("`{sign}` expected, `{found}` found"))
    }

    fn ternary(&mut self) -> Result<Cel, String> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err(format!("nested deeper than {DEPTH_MAX}"));
        }
        let cond = self.binary(0)?;
        let result = if self.takes("?") {
            let then = self.ternary()?;
            self.needs(":")?;
            let other = self.ternary()?;
            let kind = if then.kind == other.kind { then.kind } else { Kind::Other };
            Cel::new(format!("({} ? {} : {})", cond.condition(), then.text, other.text), kind)
        } else {
            cond
        };
        self.depth -= 1;
        short(result)
    }

    fn binary(&mut self, level: usize) -> Result<Cel, String> {
        const LEVELS: [&[&str]; 6] = [
            &["||"],
            &["&&"],
            &["===", "!==", "==", "!="],
            &["<=", ">=", "<", ">"],
            &["+", "-"],
            &["*", "/", "%"],
        ];
        let Some(signs) = LEVELS.get(level) else { return self.unary() };
        let mut left = self.binary(level + 1)?;
        loop {
            // The words stand where `<` stands.
            if signs.contains(&"<") {
                if self.takes_word("instanceof") {
                    left = self.instance_of(&left)?;
                    continue;
                }
                if self.takes_word("in") {
                    left = self.contained_in(&left)?;
                    continue;
                }
            }
            let Some(sign) = signs.iter().find(|it| self.takes(it)) else { return Ok(left) };
            let right = self.binary(level + 1)?;
            left = short(match *sign {
                "||" | "&&" => either_or_both(left, right, sign),
                "===" | "==" => self.equality(&left, &right, "=="),
                "!==" | "!=" => self.equality(&left, &right, "!="),
                "+" if left.kind == Kind::Text || right.kind == Kind::Text => {
                    let text = format!("({} + {})", left.as_text(), right.as_text());
                    Cel::new(text, Kind::Text)
                }
                "/" => Cel::new(format!("(double({}) / {})", left.text, right.text), Kind::Other),
                sign => {
                    let is_order = matches!(sign, "<" | ">" | "<=" | ">=");
                    let kind = if is_order { Kind::Bool } else { Kind::Other };
                    Cel::new(format!("({} {sign} {})", left.text, right.text), kind)
                }
            })?;
        }
    }

    /// Names of events are compared as the workflow knows them.
    fn equality(&self, left: &Cel, right: &Cel, sign: &str) -> Cel {
        let known = |side: &Cel, other: &Cel| match literal_text(side) {
            Some(name) if other.text == EVENT_NAME => quote(&self.names.event(&name)),
            _ => side.text.clone(),
        };
        Cel::bool(format!("({} {sign} {})", known(left, right), known(right, left)))
    }

    fn instance_of(&mut self, left: &Cel) -> Result<Cel, String> {
        let class = self.word("`instanceof` without a class")?;
        match class.as_str() {
            "Array" => Ok(is_of_type(left, &["list"])),
            "Object" => Ok(is_of_type(left, &["list", "map"])),
            _ => Err(format!("`instanceof {class}`")),
        }
    }

    /// Fields of an event are there with every event, also when they are empty.
    fn contained_in(&mut self, key: &Cel) -> Result<Cel, String> {
        const FIELDS: [&str; 7] =
            ["name", "type", "sendid", "origin", "origintype", "invokeid", "data"];
        let of_event = matches!(self.peek(), Some(Token::Name(it)) if it == "_event")
            && !matches!(self.tokens.get(self.at + 1), Some(Token::Sign("." | "[")));
        if of_event && let Some(field) = literal_text(key) {
            self.at += 1;
            return Ok(Cel::bool(FIELDS.contains(&&*field).to_string()));
        }
        let of = self.binary(4)?;
        Ok(Cel::bool(format!("({} in {})", key.text, of.text)))
    }

    fn unary(&mut self) -> Result<Cel, String> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err(format!("nested deeper than {DEPTH_MAX}"));
        }
        let result = if self.takes("!") {
            Cel::new(format!("!{}", self.unary()?.condition()), Kind::Bool)
        } else if self.takes("-") {
            Cel::new(format!("-{}", self.unary()?.text), Kind::Other)
        } else if self.takes_word("typeof") {
            self.type_of()?
        } else {
            self.postfix()?
        };
        self.depth -= 1;
        short(result)
    }

    /// Undefined becomes null, so the type of null is "undefined".
    fn type_of(&mut self) -> Result<Cel, String> {
        const TYPES: &str = "{'int': 'number', 'uint': 'number', 'double': 'number', \
            'string': 'string', 'bool': 'boolean', 'list': 'object', 'map': 'object', \
            'null_type': 'undefined'}";
        if let Some(Token::Name(name)) = self.peek()
            && self.names.function(name).is_some()
            && !matches!(self.tokens.get(self.at + 1), Some(Token::Sign("(")))
        {
            self.at += 1;
            return Ok(Cel::new("'function'".into(), Kind::Text));
        }
        let of = self.unary()?;
        let before = self.at;
        let is_equal = self.takes("===") || self.takes("==");
        if is_equal || self.takes("!==") || self.takes("!=") {
            if let Some(Token::Text(word)) = self.peek()
                && word == "undefined"
            {
                self.at += 1;
                let sign = if is_equal { "==" } else { "!=" };
                return Ok(Cel::bool(format!("(default({}, null) {sign} null)", of.text)));
            }
            self.at = before;
        }
        Ok(Cel::new(format!("{TYPES}[type(default({}, null))]", of.text), Kind::Text))
    }

    fn postfix(&mut self) -> Result<Cel, String> {
        let mut value = self.primary()?;
        loop {
            if self.takes(".") {
                let name = self.word("a field without name")?;
                value = if self.is_at("(") {
                    self.method(&value, &name)?
                } else if name == "length" {
                    Cel::new(format!("size({})", value.text), Kind::Other)
                } else {
                    Cel::new(format!("{}.{name}", value.text), Kind::Other)
                };
            } else if self.takes("[") {
                let index = self.ternary()?;
                self.needs("]")?;
                value = Cel::new(format!("{}[{}]", value.text, index.text), Kind::Other);
            } else if self.is_at("(") {
                return Err("a call of a function".into());
            } else {
                return Ok(value);
            }
        }
    }

    /// Methods that change nothing and have a counterpart.
    fn method(&mut self, of: &Cel, name: &str) -> Result<Cel, String> {
        let arguments = self.arguments()?;
        let it = &of.text;
        let texts: Vec<&str> = arguments.iter().map(|it| &*it.text).collect();
        let (text, kind) = match (name, texts.as_slice()) {
            ("concat", more) if of.kind == Kind::Text => {
                let parts = arguments.iter().map(Cel::as_text);
                let parts: Vec<String> = std::iter::once(it.clone()).chain(parts).collect();
                debug_assert_eq!(parts.len(), more.len() + 1);
                (format!("({})", parts.join(" + ")), Kind::Text)
            }
            ("concat", lists) => (
                lists.iter().fold(it.clone(), |acc, list| format!("({acc} + {list})")),
                Kind::Other,
            ),
            ("toUpperCase", []) => (format!("upper({it})"), Kind::Text),
            ("toLowerCase", []) => (format!("lower({it})"), Kind::Text),
            ("trim", []) => (format!("trim({it})"), Kind::Text),
            ("toString", []) => (format!("string({it})"), Kind::Text),
            ("join", []) => (format!("join({it}, ',')"), Kind::Text),
            ("join", [between]) => (format!("join({it}, {between})"), Kind::Text),
            ("split", [between]) => (format!("split({it}, {between})"), Kind::Other),
            ("includes", [part]) => (format!("{it}.contains({part})"), Kind::Bool),
            ("startsWith", [part]) => (format!("{it}.startsWith({part})"), Kind::Bool),
            ("endsWith", [part]) => (format!("{it}.endsWith({part})"), Kind::Bool),
            ("hasOwnProperty", [key]) => (format!("({key} in {it})"), Kind::Bool),
            _ => return Err(format!("method `{name}`")),
        };
        Ok(Cel::new(text, kind))
    }

    fn arguments(&mut self) -> Result<Vec<Cel>, String> {
        self.needs("(")?;
        let mut found = Vec::new();
        while !self.takes(")") {
            found.push(self.ternary()?);
            if !self.takes(",") {
                self.needs(")")?;
                break;
            }
        }
        Ok(found)
    }

    fn primary(&mut self) -> Result<Cel, String> {
        let Some(token) = self.peek().cloned() else {
            return Err("the expression ends too soon".into());
        };
        self.at += 1;
        match token {
            Token::Number(text) => {
                if text.parse::<f64>().is_err() {
                    return Err(format!("number `{text}`"));
                }
                let text = if text.ends_with('.') { format!("{text}0") } else { text };
                let text = if text.starts_with('.') { format!("0{text}") } else { text };
                Ok(Cel::new(text, Kind::Other))
            }
            Token::Text(text) => Ok(Cel::new(quote(&text), Kind::Text)),
            Token::Name(name) => self.name(&name),
            Token::Sign("(") => {
                let inner = self.ternary()?;
                self.needs(")")?;
                Ok(inner)
            }
            Token::Sign("[") => {
                let mut items = Vec::new();
                while !self.takes("]") {
                    items.push(self.ternary()?.text);
                    if !self.takes(",") {
                        self.needs("]")?;
                        break;
                    }
                }
                Ok(Cel::new(format!("[{}]", items.join(", ")), Kind::Other))
            }
            Token::Sign("{") => self.object(),
            token => Err(format!("`{}` is not translated", token.shown())),
        }
    }

    /// What stands behind a name of the language, such as `Math`.
    fn library(&mut self, object: &str) -> Result<Cel, String> {
        const POWER_MAX: usize = 8;
        self.needs(".")?;
        let name = self.word("a name is missing")?;
        let arguments = self.arguments()?;
        let texts: Vec<&str> = arguments.iter().map(|it| &*it.text).collect();
        let text = match (object, name.as_str(), texts.as_slice()) {
            // A whole power is a product.
            ("Math", "pow", [base, power]) => match power.parse::<usize>() {
                Ok(power @ 1..=POWER_MAX) => format!("({})", vec![*base; power].join(" * ")),
                _ => return Err(format!("a power that is not 1 to {POWER_MAX}")),
            },
            ("Math", "floor" | "ceil" | "abs" | "round", [of]) => format!("{name}({of})"),
            ("Math", "min" | "max", [_, ..]) => format!("{name}({})", texts.join(", ")),
            ("JSON", "stringify", [of]) => {
                return Ok(Cel::new(format!("json_encode({of})"), Kind::Text));
            }
            ("JSON", "parse", [of]) => format!("json_decode({of})"),
            ("Array", "isArray", _) if arguments.len() == 1 => {
                return Ok(is_of_type(&arguments[0], &["list"]));
            }
            _ => return Err(format!("`{object}.{name}`")),
        };
        Ok(Cel::new(text, Kind::Other))
    }

    /// `String(x)`, `Number(x)`, `Boolean(x)`.
    fn converted(&mut self, name: &str) -> Result<Cel, String> {
        let mut arguments = self.arguments()?;
        match (name, arguments.pop(), arguments.len()) {
            ("String", Some(of), 0) => Ok(Cel::new(of.as_text(), Kind::Text)),
            ("Number", Some(of), 0) => Ok(Cel::new(format!("double({})", of.text), Kind::Other)),
            ("Boolean", Some(of), 0) => Ok(Cel::bool(of.condition())),
            _ => Err(format!("`{name}` of something else than one value")),
        }
    }

    /// Writes the result of a function in the place of its call.
    fn inlined(&mut self, name: &str, function: &str) -> Result<Cel, String> {
        let refused = |why: &str| Err(format!("the function `{name}` {why}"));
        let mut values = self.arguments()?;
        if function.len() > INLINED_CHARS_MAX || self.inlined >= INLINED_DEPTH_MAX {
            return refused("is too long, or calls itself");
        }
        let mut inner = Parser {
            tokens: tokens(function)?,
            at: 0,
            depth: self.depth,
            names: self.names,
            reads: false,
            arguments: Vec::new(),
            inlined: self.inlined + 1,
        };
        let parameters = inner.function_head()?;
        values.resize(parameters.len(), Cel::new("null".into(), Kind::Other));
        inner.arguments = parameters.into_iter().zip(values).collect();
        let result = inner.ternary()?;
        inner.takes(";");
        inner.takes("}");
        if inner.peek().is_some() {
            return refused("does more than return one expression");
        }
        if result.text.len() > INLINED_CHARS_MAX {
            return refused("becomes too long");
        }
        self.reads |= inner.reads;
        Ok(result)
    }

    /// Reads `function (a, b) { return` or `(a, b) =>`; returns the parameters.
    fn function_head(&mut self) -> Result<Vec<String>, String> {
        const WHAT: &str = "a parameter without name";
        let is_long = self.takes_word("function");
        if !is_long && !self.is_at("(") {
            let one = self.word(WHAT)?;
            self.needs("=>")?;
            return Ok(vec![one]);
        }
        if is_long && !self.is_at("(") {
            self.word(WHAT)?;
        }
        self.needs("(")?;
        let mut parameters = Vec::new();
        while !self.takes(")") {
            parameters.push(self.word(WHAT)?);
            if !self.takes(",") {
                self.needs(")")?;
                break;
            }
        }
        self.needs(if is_long { "{" } else { "=>" })?;
        if is_long && !self.takes_word("return") {
            return Err("a function that does more than return one expression".into());
        }
        Ok(parameters)
    }

    fn object(&mut self) -> Result<Cel, String> {
        let mut pairs = Vec::new();
        while !self.takes("}") {
            let key = match self.peek().cloned() {
                Some(Token::Name(key) | Token::Text(key)) => key,
                _ => return Err("a key of an object".into()),
            };
            self.at += 1;
            self.needs(":")?;
            pairs.push(format!("{}: {}", quote(&key), self.ternary()?.text));
            if !self.takes(",") {
                self.needs("}")?;
                break;
            }
        }
        Ok(Cel::new(format!("{{{}}}", pairs.join(", ")), Kind::Other))
    }

    fn name(&mut self, name: &str) -> Result<Cel, String> {
        let other = |text: &str, kind| Ok(Cel::new(text.to_string(), kind));
        if let Some((_, value)) = self.arguments.iter().find(|(own, _)| own == name) {
            return Ok(value.clone());
        }
        match name {
            "true" | "false" => other(name, Kind::Bool),
            "null" | "undefined" => other("null", Kind::Other),
            "_name" => other("workflow.name", Kind::Text),
            "_sessionid" => other("workflow.instance_id", Kind::Text),
            "_event" => self.event(),
            "_ioprocessors" => Ok(self.processors()),
            "In" => self.in_state(),
            "Math" | "JSON" | "Array" => self.library(name),
            "String" | "Number" | "Boolean" => self.converted(name),
            "function" | "new" | "return" | "var" | "let" | "const" | "instanceof" | "this"
            | "void" | "delete" => Err(format!("`{name}`")),
            _ if name.starts_with('_') && !self.names.is_variable(name) => {
                Err(format!("the system variable `{name}`"))
            }
            _ if self.is_at("(") => match self.names.function(name) {
                Some(function) => self.inlined(name, function),
                None => Err("a call of a function".into()),
            },
            _ => {
                self.reads = true;
                let kind = if self.names.is_text(name) { Kind::Text } else { Kind::Other };
                other(&format!("data.{}", self.names.field(name)), kind)
            }
        }
    }

    /// The current event, or a field of it.
    fn event(&mut self) -> Result<Cel, String> {
        self.reads = true;
        let field = match (self.tokens.get(self.at), self.tokens.get(self.at + 1)) {
            (Some(Token::Sign(".")), Some(Token::Name(field))) => field.clone(),
            (Some(Token::Sign("[")), Some(Token::Text(field))) => field.clone(),
            _ => {
                let fields = ["name", "type", "sendid", "origin", "origintype", "invokeid", "data"]
                    .map(|it| format!("'{it}': {}", event_field(it).text));
                let fields = fields.join(", ");
                // Before the first event there is none.
                let truth = "(default(event, null) != null)";
                let text = format!("({truth} ? {{{fields}}} : null)");
                return Ok(Cel { truth: Some(truth.into()), ..Cel::new(text, Kind::Other) });
            }
        };
        let is_index = self.is_at("[");
        self.at += 2;
        if is_index {
            self.needs("]")?;
        }
        Ok(event_field(&field))
    }

    /// The one way by which a chart is reached, under its long and its short name.
    fn processors(&mut self) -> Cel {
        let location = format!("{{'location': {OWN_ADDRESS}}}");
        if let [Token::Sign("["), Token::Text(name), Token::Sign("]"), ..] = &self.tokens[self.at..]
            && (name == "scxml" || name == PROCESSOR)
        {
            self.at += 3;
            return Cel::new(location, Kind::Other);
        }
        Cel::new(format!("{{'scxml': {location}, '{PROCESSOR}': {location}}}"), Kind::Other)
    }

    fn in_state(&mut self) -> Result<Cel, String> {
        self.reads = true;
        let arguments = self.arguments()?;
        let [id] = arguments.as_slice() else {
            return Err("`In` of something else than one state".into());
        };
        if let Some(id) = literal_text(id) {
            let path = self.names.state_path(&id).ok_or_else(|| format!("no state `{id}`"))?;
            return Ok(Cel::bool(format!("in_state({})", quote(&path))));
        }
        let paths = self.names.state_paths();
        if paths.len() > IN_STATES_MAX {
            return Err(format!("`In` of one of more than {IN_STATES_MAX} states"));
        }
        let paths: Vec<String> =
            paths.iter().map(|(id, path)| format!("{}: {}", quote(id), quote(path))).collect();
        Ok(Cel::bool(format!("in_state(default({{{}}}[{}], ''))", paths.join(", "), id.text)))
    }
}

/// CEL for the name of the current event.
const EVENT_NAME: &str = "event.name";

/// Fields that an event does not have are undefined.
fn event_field(field: &str) -> Cel {
    let (text, kind) = match field {
        "name" => (EVENT_NAME.into(), Kind::Text),
        "data" => ("event.data".into(), Kind::Other),
        "sendid" => ("event.id".into(), Kind::Other),
        "type" => {
            let platform = "event.name.startsWith('error.') || event.name.startsWith('done.')";
            let inside = format!("({platform} ? 'platform' : 'internal')");
            (format!("(event.source == 'internal' ? {inside} : 'external')"), Kind::Text)
        }
        // Only what the chart sent itself has an address that it can answer to.
        "origin" => (format!("(event.source == 'timer' ? {OWN_ADDRESS} : null)"), Kind::Other),
        "origintype" => {
            (format!("(event.source == 'internal' ? null : '{PROCESSOR}')"), Kind::Other)
        }
        _ => ("null".into(), Kind::Other),
    };
    Cel::new(text, kind)
}

/// `||` and `&&` give one of their sides; as a condition they are the same in CEL.
fn either_or_both(left: Cel, right: Cel, sign: &str) -> Cel {
    let truth = format!("({} {sign} {})", left.clone().condition(), right.clone().condition());
    if left.kind == Kind::Bool && right.kind == Kind::Bool {
        return Cel::bool(truth);
    }
    let (own, other) = (left.text.clone(), right.text);
    let kind = if left.kind == right.kind { left.kind } else { Kind::Other };
    let first = left.condition();
    let text = match sign {
        "||" => format!("({first} ? {own} : {other})"),
        _ => format!("({first} ? {other} : {own})"),
    };
    Cel { truth: Some(truth), ..Cel::new(text, kind) }
}

fn is_of_type(of: &Cel, types: &[&str]) -> Cel {
    let types: Vec<String> = types.iter().map(|it| quote(it)).collect();
    Cel::bool(match types.as_slice() {
        [one] => format!("(type({}) == {one})", of.text),
        _ => format!("(type({}) in [{}])", of.text, types.join(", ")),
    })
}

/// Returns the text of a literal.
fn literal_text(cel: &Cel) -> Option<String> {
    let inner = cel.text.strip_prefix('\'')?.strip_suffix('\'')?;
    let is_one = cel.kind == Kind::Text && quote(inner) == cel.text;
    is_one.then(|| inner.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Every;

    impl Names for Every {
        fn is_variable(&self, _: &str) -> bool {
            true
        }
        fn state_path(&self, id: &str) -> Option<String> {
            Some(format!("top.{id}"))
        }
        fn state_paths(&self) -> Vec<(String, String)> {
            vec![("a".into(), "top.a".into())]
        }
        fn field(&self, name: &str) -> String {
            name.into()
        }
        fn is_text(&self, name: &str) -> bool {
            name == "words"
        }
        fn function(&self, name: &str) -> Option<&str> {
            match name {
                "inc" => Some("function (n) { return n + 1; }"),
                "twice" => Some("n => inc(inc(n))"),
                "again" => Some("n => again(n)"),
                "busy" => Some("function (n) { n = 2; return n; }"),
                _ => None,
            }
        }
        fn event(&self, name: &str) -> String {
            name.replace("error.execution", "error.expression")
        }
    }

    #[test]
    fn what_is_understood_has_the_same_meaning() {
        for (source, cel) in [
            ("Var1 === 1 && !In('a')", "((data.Var1 == 1) && !in_state('top.a'))"),
            ("x + 1 * 2", "(data.x + (1 * 2))"),
            ("'a' + x", "('a' + string(data.x))"),
            ("words + x", "(data.words + string(data.x))"),
            ("{p: 'v', \"q\": [1, 2.5]}", "{'p': 'v', 'q': [1, 2.5]}"),
            ("[].concat(a, [4])", "(([] + data.a) + [4])"),
            ("typeof x === 'undefined'", "(default(data.x, null) == null)"),
            ("typeof _event.invokeid === 'undefined'", "(default(null, null) == null)"),
            ("_event.name == 'error.execution'", "(event.name == 'error.expression')"),
            ("'error.execution' != x", "('error.execution' != data.x)"),
            ("'sendid' in _event && 'me' in _event", "(true && false)"),
            ("'k' in x", "('k' in data.x)"),
            ("x instanceof Array", "(type(data.x) == 'list')"),
            (
                "_ioprocessors['scxml'].location",
                "{'location': ('#_scxml_' + workflow.instance_id)}.location",
            ),
            ("In(x)", "in_state(default({'a': 'top.a'}[data.x], ''))"),
            ("x.toUpperCase().startsWith('A')", "upper(data.x).startsWith('A')"),
            ("inc(x)", "(data.x + 1)"),
            ("twice(.5)", "((0.5 + 1) + 1)"),
            (
                "a || 'none'",
                "((data.a != null && data.a != false && data.a != 0 && data.a != '') ? data.a : 'none')",
            ),
            ("Math.pow(x, 3)", "(data.x * data.x * data.x)"),
            (
                "_event.data.n > 3 ? 'it\\'s' : a[0].b",
                "((event.data.n > 3) ? 'it\\'s' : data.a[0].b)",
            ),
        ] {
            assert_eq!(translate(source, &Every).unwrap().text, cel);
        }
        let truthy = translate("x", &Every).unwrap().condition();
        assert_eq!(truthy, "(data.x != null && data.x != false && data.x != 0 && data.x != '')");
    }

    #[test]
    fn the_rest_is_refused() {
        for source in [
            "++x",
            "f(1)",
            "a | b",
            "function(a) { return a }",
            "x instanceof Date",
            "again(1)",
            "busy(1)",
            "x.push(1)",
            "1 2",
            "",
            "'a",
        ] {
            assert!(translate(source, &Every).is_err(), "{source}");
        }
        let deep = "(".repeat(5_000) + "1" + &")".repeat(5_000);
        assert!(translate(&deep, &Every).is_err());
        assert!(translate(&"!".repeat(5_000), &Every).is_err());
        // Each level would be four times as long as the one inside.
        let wide = format!("{}x{}", "(".repeat(30), " ? 1 : 0)".repeat(30));
        assert!(translate(&wide, &Every).is_err());
    }
}
