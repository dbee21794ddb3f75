//! How a command ends: exit codes, and failures that carry one.

use std::{fmt, process::ExitCode};

use traaviis_ports::LogError;

/// Exit codes of the command line. Scripts rely on them; a number never changes its meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// Everything went as asked.
    Ok,
    /// The command worked and found something wrong, or the run did not complete.
    Finding,
    /// The command line cannot be understood.
    Usage,
    /// The data, or the process that holds it, cannot be reached.
    Unreachable,
    /// The operating system or the process refuses.
    Denied,
    /// A defect of this program, or the log stopped because the disk failed.
    Internal,
    /// Stopped by Ctrl-C, as shells expect it.
    Interrupted,
}

impl Exit {
    /// Returns the number.
    pub fn code(self) -> u8 {
        match self {
            Exit::Ok => 0,
            Exit::Finding => 1,
            Exit::Usage => 2,
            Exit::Unreachable => 3,
            Exit::Denied => 4,
            Exit::Internal => 70,
            Exit::Interrupted => 130,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(exit.code())
    }
}

/// Why a command could not do its work, for the person who typed it.
#[derive(Clone, Debug)]
pub struct Failure {
    /// How the process ends.
    pub exit: Exit,
    /// Stable word for scripts.
    pub code: String,
    /// What happened, where, and what to do next.
    pub message: String,
    /// Facts for programs, such as the code of a validation; null when there are none.
    pub details: serde_json::Value,
    /// Bytes of the message before what helps at a command line alone, if there is such a part.
    plain_bytes: Option<usize>,
}

impl Failure {
    /// Returns a failure.
    pub fn new(exit: Exit, code: &str, message: impl Into<String>) -> Failure {
        let (code, message, details) = (code.into(), message.into(), Default::default());
        Failure { exit, code, message, details, plain_bytes: None }
    }

    /// Returns the failure with another message.
    pub fn saying(self, message: String) -> Failure {
        Failure { message, plain_bytes: None, ..self }
    }

    /// Returns the failure with what somebody at a command line does next.
    pub fn with_hint(self, hint: &str) -> Failure {
        let plain_bytes = Some(self.message.len());
        Failure { message: format!("{}; {hint}", self.message), plain_bytes, ..self }
    }

    /// Returns the message for whoever has no command line here.
    pub fn plain(&self) -> &str {
        self.plain_bytes.map_or(&*self.message, |it| &self.message[..it])
    }

    /// Returns the failure with facts for programs.
    pub fn with_details(self, details: serde_json::Value) -> Failure {
        Failure { details, ..self }
    }

    /// Returns the failure as programs read it.
    pub fn to_json(&self) -> serde_json::Value {
        error_json(&self.code, &self.message, &self.details)
    }

    /// Returns the failure for something wrong in what was given.
    pub fn finding(code: &str, message: impl Into<String>) -> Failure {
        Failure::new(Exit::Finding, code, message)
    }

    /// Returns the failure for a command line that makes no sense.
    pub fn usage(message: impl Into<String>) -> Failure {
        Failure::new(Exit::Usage, "usage", message)
    }

    /// Finds the failure inside an error; what nobody foresaw is a defect.
    pub fn of(error: &anyhow::Error) -> Failure {
        for cause in error.chain() {
            if let Some(failure) = cause.downcast_ref::<Failure>() {
                return failure.clone();
            }
            if let Some(log) = cause.downcast_ref::<LogError>() {
                return Failure::from(log.clone()).saying(format!("{error:#}"));
            }
        }
        Failure::new(Exit::Internal, "internal", format!("{error:#}"))
    }
}

/// Returns why something was refused as programs read it.
pub fn error_json(code: &str, message: &str, details: &serde_json::Value) -> serde_json::Value {
    let mut error = serde_json::json!({ "code": code, "message": message });
    if !details.is_null() {
        error["details"] = details.clone();
    }
    error
}

impl From<LogError> for Failure {
    fn from(error: LogError) -> Failure {
        let exit = match &error {
            LogError::Locked { .. } => Exit::Unreachable,
            LogError::Io { .. } => Exit::Denied,
            LogError::Failed(_) => Exit::Internal,
            _ => Exit::Finding,
        };
        Failure::new(exit, error.code(), error.to_string())
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Failure {}
