//! Where a command writes: text for people or JSON for programs, never both on one stream.
//!
//! Invariant: after a write to standard output failed, nothing more is written to it, and
//! [`exit_of`] says how the process ends. A reader that went away is no error; anything else is
//! told once, because a script would take half a result for a whole one.

use std::{
    fmt,
    io::{self, ErrorKind, IsTerminal as _, Write as _},
    sync::OnceLock,
};

use crate::{
    exit::{Exit, Failure},
    terminal::Style,
};

/// Why nobody gets standard output any more.
static LOST: OnceLock<Lost> = OnceLock::new();

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lost {
    /// The reader went away, as `head` does when it has enough.
    ReaderGone,
    /// The operating system does not take it.
    Refused,
}

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
        io::stdout().is_terminal() && io::stdin().is_terminal()
    }

    /// Writes text that ends with its newline. Says whether anybody still reads.
    pub fn text(self, text: &str) -> bool {
        self.bytes(text.as_bytes())
    }

    /// Writes one line.
    pub fn line(self, line: &str) -> bool {
        self.bytes(format!("{line}\n").as_bytes())
    }

    /// Writes bytes as they are.
    pub fn bytes(self, bytes: &[u8]) -> bool {
        if LOST.get().is_some() {
            return false;
        }
        let mut out = io::stdout().lock();
        match out.write_all(bytes).and_then(|()| out.flush()) {
            Ok(()) => true,
            Err(error) => {
                lose(&error);
                false
            }
        }
    }

    /// Writes one line of JSON.
    pub fn json(self, value: &serde_json::Value) -> bool {
        self.line(&value.to_string())
    }

    /// Tells the person something beside the result: standard output for people, standard error
    /// when programs read the former.
    pub fn note(self, line: &str) {
        if self.is_json {
            warn(line);
        } else {
            self.line(line);
        }
    }

    /// Tells why the command did not do its work.
    pub fn failure(self, failure: &Failure) {
        let (code, message) = (&failure.code, &failure.message);
        let is_told = self.is_json && self.json(&serde_json::json!({ "error": failure.to_json() }));
        if !is_told {
            warn(format_args!("error: {message} ({code})"));
        }
    }
}

/// Writes a line to standard error. Nobody can be told that nobody reads it.
pub fn warn(line: impl fmt::Display) {
    let _ = writeln!(io::stderr().lock(), "{line}");
}

/// Notes that standard output takes nothing more; says why unless its reader just left.
pub fn lose(error: &io::Error) {
    let lost = match error.kind() {
        ErrorKind::BrokenPipe => Lost::ReaderGone,
        _ => Lost::Refused,
    };
    if LOST.set(lost).is_ok() && lost == Lost::Refused {
        let failure = Failure::new(
            Exit::Denied,
            "output_failed",
            format!("cannot write to standard output: {error}; what was written is not complete"),
        );
        warn(format_args!("error: {} ({})", failure.message, failure.code));
    }
}

/// Returns how the process ends, after `exit`, with what became of standard output.
pub fn exit_of(exit: Exit) -> Exit {
    match (LOST.get(), exit) {
        (Some(Lost::Refused), Exit::Ok | Exit::Finding) => Exit::Denied,
        _ => exit,
    }
}
