//! Where a command writes: text for people or JSON for programs, never both on one stream.

use std::io::{IsTerminal as _, Write as _};

use crate::{exit::Failure, terminal::Style};

/// Standard output in the form that was asked for.
#[derive(Clone, Copy, Debug)]
pub struct Output {
    is_json: bool,
    style: Style,
}

impl Output {
    /// Returns the output of this process.
    pub fn new(is_json: bool) -> Output {
        let style = if is_json { Style::PLAIN } else { Style::of_stdout() };
        Output { is_json, style }
    }

    /// Says whether programs read it.
    pub fn is_json(self) -> bool {
        self.is_json
    }

    /// Returns the colours.
    pub fn style(self) -> Style {
        self.style
    }

    /// Says whether a person sits at both ends.
    pub fn is_terminal(self) -> bool {
        std::io::stdout().is_terminal() && std::io::stdin().is_terminal()
    }

    /// Writes text that ends with its newline. Says whether anybody still reads.
    pub fn text(self, text: &str) -> bool {
        self.bytes(text.as_bytes())
    }

    /// Writes one line.
    pub fn line(self, line: &str) -> bool {
        self.bytes(format!("{line}\n").as_bytes())
    }

    /// Writes bytes as they are. A reader that went away is no error of ours.
    pub fn bytes(self, bytes: &[u8]) -> bool {
        let mut out = std::io::stdout().lock();
        out.write_all(bytes).and_then(|()| out.flush()).is_ok()
    }

    /// Writes one line of JSON.
    pub fn json(self, value: &serde_json::Value) -> bool {
        self.line(&value.to_string())
    }

    /// Tells the person something beside the result: standard output for people, standard error
    /// when programs read the former.
    pub fn note(self, line: &str) {
        if self.is_json {
            eprintln!("{line}");
        } else {
            self.line(line);
        }
    }

    /// Tells why the command did not do its work.
    pub fn failure(self, failure: &Failure) {
        if self.is_json {
            let (code, message) = (&failure.code, &failure.message);
            self.json(&serde_json::json!({ "error": { "code": code, "message": message } }));
        } else {
            eprintln!("error: {} ({})", failure.message, failure.code);
        }
    }
}
