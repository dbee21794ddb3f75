//! ECMAScript expressions of SCXML, as far as they have the same meaning in CEL.
//!
//! The text is parsed, not patched: whatever is not understood is refused, and the caller reports
//! it as loss. Variables of the data model become fields of `data`.

use std::fmt::Write as _;

/// Deepest nesting of an expression.
const DEPTH_MAX: usize = 64;

/// What a name outside the data model stands for.
pub trait Names {
    /// Says whether the document's data model has this variable.
    fn is_variable(&self, name: &str) -> bool;
    /// Returns the path of the state with this id.
    fn state_path(&self, id: &str) -> Option<String>;
    /// Returns the field of `data` for a variable.
    fn field(&self, name: &str) -> String;
}

/// A translated expression.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cel {
    /// CEL text.
    pub text: String,
    kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Bool,
    Text,
    Other,
}

impl Cel {
    fn new(text: String, kind: Kind) -> Cel {
        Cel { text, kind }
    }

    /// Returns the expression as a condition, true for what ECMAScript takes as true.
    pub fn condition(self) -> String {
        if self.kind == Kind::Bool {
            return self.text;
        }
        let it = &self.text;
        format!("({it} != null && {it} != false && {it} != 0 && {it} != '')")
    }

    /// Returns the expression as a part of text.
    fn as_text(&self) -> String {
        if self.kind == Kind::Text { self.text.clone() } else { format!("string({})", self.text) }
    }
}

/// Translates an expression; the error says what is not understood.
pub fn translate(source: &str, names: &dyn Names) -> Result<Cel, String> {
    let tokens = tokens(source)?;
    let mut parser = Parser { tokens, at: 0, depth: 0, names };
    let cel = parser.ternary()?;
    match parser.peek() {
        None => Ok(cel),
        Some(token) => Err(format!("`{}` is not translated", token.shown())),
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
            it if it.is_ascii_digit() => {
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
        Ok(result)
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
        while let Some(sign) = signs.iter().find(|it| self.takes(it)) {
            let right = self.binary(level + 1)?;
            left = match *sign {
                "||" | "&&" => {
                    let text = format!("({} {sign} {})", left.condition(), right.condition());
                    Cel::new(text, Kind::Bool)
                }
                "===" | "==" => Cel::new(format!("({} == {})", left.text, right.text), Kind::Bool),
                "!==" | "!=" => Cel::new(format!("({} != {})", left.text, right.text), Kind::Bool),
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
            };
        }
        Ok(left)
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
        } else if matches!(self.peek(), Some(Token::Name(name)) if name == "typeof") {
            self.at += 1;
            self.type_of()?
        } else {
            self.postfix()?
        };
        self.depth -= 1;
        Ok(result)
    }

    /// Only the question whether something is defined has a counterpart: undefined becomes null.
    fn type_of(&mut self) -> Result<Cel, String> {
        let of = match (&self.tokens[self.at..].iter().map(Token::shown).collect::<Vec<_>>())[..] {
            // Fields of an event that only other processors fill.
            [ref event, ref dot, ref field, ..]
                if event == "_event"
                    && dot == "."
                    && matches!(&**field, "origin" | "origintype" | "invokeid" | "sendid") =>
            {
                self.at += 3;
                Cel::new("null".into(), Kind::Other)
            }
            _ => self.postfix()?,
        };
        let is_equal = self.takes("===") || self.takes("==");
        if !is_equal && !self.takes("!==") && !self.takes("!=") {
            return Err("`typeof` outside a comparison with 'undefined'".into());
        }
        match self.peek() {
            Some(Token::Text(word)) if word == "undefined" => self.at += 1,
            _ => return Err("`typeof` compared with something else than 'undefined'".into()),
        }
        let sign = if is_equal { "==" } else { "!=" };
        Ok(Cel::new(format!("(default({}, null) {sign} null)", of.text), Kind::Bool))
    }

    fn postfix(&mut self) -> Result<Cel, String> {
        let mut value = self.primary()?;
        loop {
            if self.takes(".") {
                let Some(Token::Name(name)) = self.peek().cloned() else {
                    return Err("a field without name".into());
                };
                self.at += 1;
                value = match name.as_str() {
                    "length" => Cel::new(format!("size({})", value.text), Kind::Other),
                    "concat" => {
                        let mut text = value.text;
                        for list in self.arguments()? {
                            text = format!("({text} + {})", list.text);
                        }
                        Cel::new(text, Kind::Other)
                    }
                    _ if matches!(self.peek(), Some(Token::Sign("("))) => {
                        return Err(format!("method `{name}`"));
                    }
                    _ => Cel::new(format!("{}.{name}", value.text), Kind::Other),
                };
            } else if self.takes("[") {
                let index = self.ternary()?;
                self.needs("]")?;
                value = Cel::new(format!("{}[{}]", value.text, index.text), Kind::Other);
            } else if matches!(self.peek(), Some(Token::Sign("("))) {
                return Err("a call of a function".into());
            } else {
                return Ok(value);
            }
        }
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

    /// A whole power is a product; nothing else of `Math` is needed by conditions.
    fn math(&mut self) -> Result<Cel, String> {
        const POWER_MAX: usize = 8;
        self.needs(".")?;
        let name = self.peek().map_or_else(String::new, Token::shown);
        self.at += 1;
        let arguments = self.arguments()?;
        match (name.as_str(), arguments.as_slice()) {
            ("pow", [base, power]) => match power.text.parse::<usize>() {
                Ok(power @ 1..=POWER_MAX) => {
                    let product = vec![&*base.text; power].join(" * ");
                    Ok(Cel::new(format!("({product})"), Kind::Other))
                }
                _ => Err(format!("a power that is not 1 to {POWER_MAX}")),
            },
            _ => Err(format!("`Math.{name}`")),
        }
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
        match name {
            "true" | "false" => other(name, Kind::Bool),
            "null" | "undefined" => other("null", Kind::Other),
            "_name" => other("workflow.name", Kind::Text),
            "_sessionid" => other("workflow.instance_id", Kind::Text),
            "Math" => self.math(),
            "_event" => {
                self.needs(".")?;
                match self.peek().cloned() {
                    Some(Token::Name(field)) if matches!(&*field, "name" | "data") => {
                        self.at += 1;
                        let kind = if field == "name" { Kind::Text } else { Kind::Other };
                        other(&format!("event.{field}"), kind)
                    }
                    _ => Err("a field of `_event` other than `name` and `data`".into()),
                }
            }
            "In" => {
                let arguments = self.arguments()?;
                let [Cel { text, kind: Kind::Text }] = arguments.as_slice() else {
                    return Err("`In` of something else than one text".into());
                };
                let id = text.trim_matches('\'');
                let path = self.names.state_path(id).ok_or_else(|| format!("no state `{id}`"))?;
                other(&format!("in_state({})", quote(&path)), Kind::Bool)
            }
            "function" | "new" | "return" | "var" | "let" | "const" | "instanceof" => {
                Err(format!("`{name}`"))
            }
            _ if name.starts_with('_') && !self.names.is_variable(name) => {
                Err(format!("the system variable `{name}`"))
            }
            _ => other(&format!("data.{}", self.names.field(name)), Kind::Other),
        }
    }
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
        fn field(&self, name: &str) -> String {
            name.into()
        }
    }

    #[test]
    fn what_is_understood_has_the_same_meaning() {
        for (source, cel) in [
            ("Var1 === 1 && !In('a')", "((data.Var1 == 1) && !in_state('top.a'))"),
            ("x + 1 * 2", "(data.x + (1 * 2))"),
            ("'a' + x", "('a' + string(data.x))"),
            ("{p: 'v', \"q\": [1, 2.5]}", "{'p': 'v', 'q': [1, 2.5]}"),
            ("[].concat(a, [4])", "(([] + data.a) + [4])"),
            ("typeof x === 'undefined'", "(default(data.x, null) == null)"),
            ("typeof _event.origin === 'undefined'", "(default(null, null) == null)"),
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
            "x instanceof Array",
            "1 2",
            "",
            "'a",
        ] {
            assert!(translate(source, &Every).is_err(), "{source}");
        }
        let deep = "(".repeat(5_000) + "1" + &")".repeat(5_000);
        assert!(translate(&deep, &Every).is_err());
        assert!(translate(&"!".repeat(5_000), &Every).is_err());
    }
}
