//! Text to tokens; literals come out as values.
//!
//! Leaves the sign of numbers to the parser, so that `-9223372036854775808` can be read.

use std::sync::Arc;

use traaviis_model::value::Value;

use super::ParseError;

/// One token and where it starts and ends, in bytes.
#[derive(Clone, Debug)]
pub struct Token {
    /// What it is.
    pub kind: TokenKind,
    /// First byte.
    pub start: usize,
    /// Byte after the last.
    pub end: usize,
}

/// What a token is.
#[derive(Clone, Debug, PartialEq)]
pub enum TokenKind {
    /// A name; the flag says it was written in backquotes.
    Name(Arc<str>, bool),
    /// A finished literal: double, uint, string, bytes.
    Literal(Value),
    /// A whole number without sign or suffix.
    Whole(u64),
    /// An operator or bracket.
    Sign(&'static str),
    /// The end of the text.
    End,
}

/// Longest first, so that the first match is the right one.
const SIGNS: [&str; 26] = [
    "==", "!=", "<=", ">=", "&&", "||", "?.", "+", "-", "*", "/", "%", "<", ">", "!", "?", ":",
    ".", ",", "(", ")", "[", "]", "{", "}", "=",
];

/// Returns the tokens of `source`, the last being [`TokenKind::End`].
pub fn tokens(source: &str) -> Result<Vec<Token>, ParseError> {
    let mut lexer = Lexer { source, at: 0 };
    let mut tokens = Vec::new();
    loop {
        lexer.skip_blank();
        let start = lexer.at;
        let kind = lexer.next()?;
        let done = kind == TokenKind::End;
        tokens.push(Token { kind, start, end: lexer.at });
        if done {
            return Ok(tokens);
        }
    }
}

/// Returns the byte after the `}` that closes a `${` whose content starts at `start`.
///
/// Braces inside texts and comments do not count.
pub(crate) fn closing_brace(source: &str, start: usize) -> Result<usize, ParseError> {
    let mut lexer = Lexer { source, at: start };
    let mut depth = 0usize;
    loop {
        lexer.skip_blank();
        match lexer.next()? {
            TokenKind::Sign("{") => depth += 1,
            TokenKind::Sign("}") if depth == 0 => return Ok(lexer.at),
            TokenKind::Sign("}") => depth -= 1,
            TokenKind::End => {
                return Err(ParseError::syntax(
                    start.saturating_sub(2),
                    "`${` has no matching `}`",
                )
                .with_hint("write `$${` for the characters `${`"));
            }
            _ => {}
        }
    }
}

struct Lexer<'a> {
    source: &'a str,
    at: usize,
}

impl<'a> Lexer<'a> {
    fn rest(&self) -> &'a str {
        &self.source[self.at..]
    }

    fn peek(&self, ahead: usize) -> u8 {
        self.source.as_bytes().get(self.at + ahead).copied().unwrap_or(0)
    }

    fn skip_blank(&mut self) {
        loop {
            let rest = self.rest();
            let trimmed =
                rest.trim_start_matches([' ', '\t', '\n', '\r', '\u{c}', '\u{feff}', '\u{a0}']);
            self.at += rest.len() - trimmed.len();
            if !trimmed.starts_with("//") {
                return;
            }
            self.at += trimmed.find('\n').unwrap_or(trimmed.len());
        }
    }

    fn next(&mut self) -> Result<TokenKind, ParseError> {
        let first = self.peek(0);
        if self.at >= self.source.len() {
            return Ok(TokenKind::End);
        }
        if let Some(literal) = self.text()? {
            return Ok(TokenKind::Literal(literal));
        }
        if first.is_ascii_digit() || (first == b'.' && self.peek(1).is_ascii_digit()) {
            return self.number();
        }
        if first.is_ascii_alphabetic() || first == b'_' {
            let rest = self.rest();
            let end =
                rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(rest.len());
            self.at += end;
            return Ok(TokenKind::Name(rest[..end].into(), false));
        }
        if first == b'`' {
            let rest = &self.rest()[1..];
            let end = rest
                .find('`')
                .filter(|end| *end > 0)
                .ok_or_else(|| ParseError::syntax(self.at, "name in backquotes does not end"))?;
            self.at += end + 2;
            return Ok(TokenKind::Name(rest[..end].into(), true));
        }
        let rest = self.rest();
        match SIGNS.iter().find(|sign| rest.starts_with(**sign)) {
            Some(&"=") => {
                Err(ParseError::syntax(self.at, "`=` is no operator")
                    .with_hint("compare with `==`"))
            }
            // `a ?.5 : b` is a condition followed by a number.
            Some(&"?.") if self.peek(2).is_ascii_digit() => {
                self.at += 1;
                Ok(TokenKind::Sign("?"))
            }
            Some(sign) => {
                self.at += sign.len();
                Ok(TokenKind::Sign(sign))
            }
            None => {
                let shown = rest.chars().next().unwrap_or_default();
                let hint = match shown {
                    '&' => Some("write `&&`"),
                    '|' => Some("write `||`"),
                    '“' | '”' | '‘' | '’' => Some("write straight quotes"),
                    _ => None,
                };
                let error = ParseError::syntax(self.at, format!("unexpected character `{shown}`"));
                Err(match hint {
                    Some(hint) => error.with_hint(hint),
                    None => error,
                })
            }
        }
    }

    fn number(&mut self) -> Result<TokenKind, ParseError> {
        let start = self.at;
        if self.peek(0) == b'0' && matches!(self.peek(1), b'x' | b'X') {
            self.at += 2;
            let digits = self.take_while(|it| it.is_ascii_hexdigit());
            let whole = u64::from_str_radix(digits, 16);
            return self.whole(start, whole.ok());
        }
        self.take_while(|it| it.is_ascii_digit());
        let mut is_float = false;
        if self.peek(0) == b'.' && self.peek(1).is_ascii_digit() {
            is_float = true;
            self.at += 1;
            self.take_while(|it| it.is_ascii_digit());
        }
        if matches!(self.peek(0), b'e' | b'E') {
            let sign = usize::from(matches!(self.peek(1), b'+' | b'-'));
            if self.peek(1 + sign).is_ascii_digit() {
                is_float = true;
                self.at += 1 + sign;
                self.take_while(|it| it.is_ascii_digit());
            }
        }
        let text = &self.source[start..self.at];
        if !is_float {
            return self.whole(start, text.parse().ok());
        }
        let float: f64 = text
            .parse()
            .map_err(|_| ParseError::syntax(start, format!("`{text}` is no number")))?;
        self.no_letter(start)?;
        Ok(TokenKind::Literal(Value::Float(float)))
    }

    fn whole(&mut self, start: usize, whole: Option<u64>) -> Result<TokenKind, ParseError> {
        let unsigned = matches!(self.peek(0), b'u' | b'U');
        self.at += usize::from(unsigned);
        let Some(whole) = whole else {
            let text = &self.source[start..self.at];
            return Err(ParseError::syntax(
                start,
                format!("`{text}` is no whole number of 64 bits"),
            ));
        };
        self.no_letter(start)?;
        Ok(if unsigned { TokenKind::Literal(Value::Uint(whole)) } else { TokenKind::Whole(whole) })
    }

    fn no_letter(&self, start: usize) -> Result<(), ParseError> {
        let next = self.peek(0);
        if next.is_ascii_alphanumeric() || next == b'_' {
            let text = &self.source[start..=self.at];
            return Err(ParseError::syntax(start, format!("`{text}` is no number")));
        }
        Ok(())
    }

    fn take_while(&mut self, wanted: impl Fn(&u8) -> bool) -> &'a str {
        let start = self.at;
        while self.at < self.source.len() && wanted(&self.peek(0)) {
            self.at += 1;
        }
        &self.source[start..self.at]
    }

    /// Reads a text or bytes literal if one starts here.
    fn text(&mut self) -> Result<Option<Value>, ParseError> {
        let start = self.at;
        let (mut raw, mut bytes, mut prefix) = (false, false, 0);
        while prefix < 2 {
            match self.peek(prefix) {
                b'r' | b'R' if !raw => raw = true,
                b'b' | b'B' if !bytes => bytes = true,
                _ => break,
            }
            prefix += 1;
        }
        let quote = self.peek(prefix);
        if quote != b'"' && quote != b'\'' {
            return Ok(None);
        }
        let triple = self.peek(prefix + 1) == quote && self.peek(prefix + 2) == quote;
        self.at += prefix + if triple { 3 } else { 1 };
        let mut out = Vec::new();
        loop {
            let Some(next) = self.rest().chars().next() else {
                return Err(ParseError::syntax(start, "text does not end"));
            };
            if next == char::from(quote) {
                if !triple {
                    self.at += 1;
                    break;
                }
                if self.peek(1) == quote && self.peek(2) == quote {
                    self.at += 3;
                    break;
                }
            }
            if !triple && (next == '\n' || next == '\r') {
                return Err(ParseError::syntax(start, "text does not end on its line")
                    .with_hint("write `\\n`, or three quotes around it"));
            }
            if next == '\\' && !raw {
                self.escape(bytes, &mut out)?;
                continue;
            }
            self.at += next.len_utf8();
            out.extend_from_slice(next.encode_utf8(&mut [0; 4]).as_bytes());
        }
        if bytes {
            return Ok(Some(Value::Bytes(out.into())));
        }
        let text = String::from_utf8(out)
            .map_err(|_| ParseError::syntax(start, "text is not valid Unicode"))?;
        Ok(Some(Value::from(text)))
    }

    fn escape(&mut self, bytes: bool, out: &mut Vec<u8>) -> Result<(), ParseError> {
        let start = self.at;
        let wrong = || {
            ParseError::syntax(start, "unknown escape in text")
                .with_hint("write `\\\\` for a backslash, or put `r` before the quote")
        };
        let kind = self.peek(1);
        self.at += 2;
        let simple = match kind {
            b'a' => 7,
            b'b' => 8,
            b'f' => 12,
            b'n' => b'\n',
            b'r' => b'\r',
            b't' => b'\t',
            b'v' => 11,
            b'\\' | b'?' | b'"' | b'\'' | b'`' => kind,
            b'x' | b'X' | b'u' | b'U' | b'0'..=b'3' => 0,
            _ => return Err(wrong()),
        };
        if simple != 0 {
            out.push(simple);
            return Ok(());
        }
        let (length, radix) = match kind {
            b'x' | b'X' => (2, 16),
            b'u' => (4, 16),
            b'U' => (8, 16),
            _ => {
                self.at -= 1;
                (3, 8)
            }
        };
        let digits = self.source.get(self.at..self.at + length).ok_or_else(wrong)?;
        if !digits.bytes().all(|it| it.is_ascii_hexdigit()) {
            return Err(wrong());
        }
        let code = u32::from_str_radix(digits, radix).map_err(|_| wrong())?;
        self.at += length;
        if bytes {
            // In bytes the short forms name octets; the Unicode forms are refused.
            let octet = u8::try_from(code).ok().filter(|_| length < 4).ok_or_else(wrong)?;
            out.push(octet);
        } else {
            let letter = char::from_u32(code).ok_or_else(wrong)?;
            out.extend_from_slice(letter.encode_utf8(&mut [0; 4]).as_bytes());
        }
        Ok(())
    }
}
