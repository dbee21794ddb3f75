//! What the screen shows: colour when it is a terminal, and tables of text.

use std::io::IsTerminal as _;

/// Colours of the terminal, or none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Style {
    is_coloured: bool,
}

/// What a piece of text means; the style decides how it looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ink {
    /// Went well.
    Good,
    /// Went wrong.
    Bad,
    /// Needs attention.
    Care,
    /// Names that the eye looks for.
    Name,
    /// Background facts.
    Dim,
}

impl Style {
    /// No colours.
    pub const PLAIN: Style = Style { is_coloured: false };

    /// Returns the style for standard output: coloured only on a terminal and without `NO_COLOR`.
    pub fn of_stdout() -> Style {
        let is_refused = std::env::var_os("NO_COLOR").is_some_and(|it| !it.is_empty());
        Style { is_coloured: std::io::stdout().is_terminal() && !is_refused }
    }

    /// Returns `text` in the colour of its meaning.
    pub fn paint(self, ink: Ink, text: &str) -> String {
        if !self.is_coloured || text.is_empty() {
            return text.to_string();
        }
        let code = match ink {
            Ink::Good => "32",
            Ink::Bad => "31",
            Ink::Care => "33",
            Ink::Name => "1",
            Ink::Dim => "2",
        };
        format!("\u{1b}[{code}m{text}\u{1b}[0m")
    }
}

/// Lays out rows under headings; numbers-like columns are the caller's matter.
pub fn table(headings: &[&str], rows: &[Vec<String>]) -> String {
    let mut widths: Vec<usize> = headings.iter().map(|it| it.chars().count()).collect();
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut text = String::new();
    let headings: Vec<String> = headings.iter().map(|it| it.to_string()).collect();
    for row in std::iter::once(&headings).chain(rows) {
        let mut line = String::new();
        for (at, (cell, width)) in row.iter().zip(&widths).enumerate() {
            if at > 0 {
                line.push_str("  ");
            }
            line.push_str(cell);
            line.extend(std::iter::repeat_n(' ', width - cell.chars().count()));
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// Shortens `text` to `chars_max` characters, with an ellipsis where something was cut, and keeps
/// control characters of foreign text away from the terminal.
pub fn clip(text: &str, chars_max: usize) -> String {
    let mut clipped: String =
        text.chars().map(|it| if it.is_control() { ' ' } else { it }).take(chars_max + 1).collect();
    if clipped.chars().count() > chars_max {
        clipped.pop();
        clipped.pop();
        clipped.push('…');
    }
    clipped
}

/// Returns an argument as a shell reads it.
pub fn quoted(argument: &str) -> String {
    let is_plain = |it: char| it.is_ascii_alphanumeric() || "-_./=:,@%+".contains(it);
    if !argument.is_empty() && argument.chars().all(is_plain) {
        return argument.to_string();
    }
    format!("'{}'", argument.replace('\'', r"'\''"))
}

/// Writes a number of bytes for people.
pub fn bytes(count: u64) -> String {
    match count {
        0..10_240 => format!("{count} B"),
        10_240..10_485_760 => format!("{} KiB", count >> 10),
        _ => format!("{} MiB", count >> 20),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_quoted_for_a_shell() {
        assert_eq!(quoted("--data=/tmp/x"), "--data=/tmp/x");
        assert_eq!(quoted(r#"{"a": "it's"}"#), r#"'{"a": "it'\''s"}'"#);
    }

    #[test]
    fn cells_stand_under_their_headings() {
        let rows = vec![vec!["a".into(), "ünï".into()], vec!["long".into(), "".into()]];
        assert_eq!(table(&["X", "Y"], &rows), "X     Y\na     ünï\nlong\n");
    }

    #[test]
    fn long_text_is_cut_and_control_characters_vanish() {
        assert_eq!(clip("abcdef", 4), "abc…");
        assert_eq!(clip("a\u{1b}[2Jb", 10), "a [2Jb");
        assert_eq!(clip("abcd", 4), "abcd");
    }
}
