//! Workflow files: read, checked, compiled; findings told with file, line and column.

use std::{
    collections::BTreeSet,
    fs,
    io::Read as _,
    path::{Path, PathBuf},
    sync::Arc,
};

use serde_json::json;
use traaviis_engine::{Machine, expand};
use traaviis_model::{
    Diagnostic, Severity,
    definition::Definition,
    document::{Format, Positions, read_tree},
    limits::DOCUMENT_BYTES_MAX,
};

use crate::{
    exit::{Exit, Failure},
    library::Library,
    output::Output,
    terminal::{Ink, Style, quoted},
};

/// The file that commands take when none is named, as `init` writes it.
const WORKFLOW_FILE: &str = "workflow.yaml";

/// A file after reading and analysis.
#[derive(Debug)]
pub struct Checked {
    /// As the user named it.
    pub file: String,
    /// The definition; absent when it could not be read.
    pub definition: Option<Arc<Definition>>,
    /// All findings, in the order of the text.
    pub diagnostics: Vec<Diagnostic>,
    /// Where the parts of the document stand.
    pub positions: Positions,
    /// Whether it can only be merged into others; it is checked as if it stood alone.
    pub is_component: bool,
}

impl Checked {
    /// Returns a file that does not even parse.
    pub fn refused(file: &Path, diagnostics: Vec<Diagnostic>) -> Checked {
        let positions = Positions::default();
        let file = file.display().to_string();
        Checked { file, definition: None, diagnostics, positions, is_component: false }
    }

    /// Prints the findings for whoever reads.
    pub fn print(&self, output: &Output) {
        match output.is_json() {
            true => output.json(&self.to_json()),
            false => output.text(&self.report(output.style())),
        };
    }

    /// Says whether the document cannot be used.
    pub fn has_errors(&self) -> bool {
        self.diagnostics.iter().any(|it| it.severity == Severity::Error)
    }

    /// Returns what does not keep the document from being used.
    pub fn warnings(&self) -> impl Iterator<Item = &Diagnostic> {
        self.diagnostics.iter().filter(|it| it.severity == Severity::Warning)
    }

    /// Returns one line about the warnings, for commands whose business they are not.
    pub fn warnings_line(&self) -> Option<String> {
        let codes: BTreeSet<&str> = self.warnings().map(|it| it.code).collect();
        let count = match self.warnings().count() {
            0 => return None,
            1 => "1 warning".to_string(),
            count => format!("{count} warnings"),
        };
        let codes = codes.into_iter().collect::<Vec<_>>().join(", ");
        let file = quoted(&self.file);
        Some(format!("{count} ({codes}); see `traaviis validate {file}`"))
    }

    /// Returns the findings as people read them, one `FILE:LINE:COL: CODE message` each.
    pub fn report(&self, style: Style) -> String {
        self.diagnostics.iter().map(|it| describe(&self.file, it, style)).collect()
    }

    /// Returns the findings as JSON.
    pub fn to_json(&self) -> serde_json::Value {
        let mut value = json!({
            "file": self.file,
            "valid": !self.has_errors(),
            "diagnostics": self.diagnostics,
        });
        if let (false, Some(definition)) = (self.has_errors(), &self.definition) {
            value["name"] = json!(definition.name);
            value["version"] = json!(definition.version.to_string());
            value["hash"] = json!(definition.hash);
        }
        value
    }
}

/// Returns the files that a command is about: those named, or the workflow of this folder.
pub fn asked(files: &[PathBuf]) -> Result<Vec<PathBuf>, Failure> {
    let own = PathBuf::from(WORKFLOW_FILE);
    match files {
        [] if own.is_file() => Ok(vec![own]),
        [] => {
            let message = format!("no file is named, and this folder has no `{WORKFLOW_FILE}`");
            Err(Failure::usage(message))
        }
        named => Ok(named.to_vec()),
    }
}

/// Reads and analyses a file; findings are part of the answer, only an unreadable file is an error.
pub fn check(file: &Path) -> Result<Checked, Failure> {
    let text = read_text(file)?;
    let name = file.display().to_string();
    Ok(check_text(name, &text, Format::of_path(file), &Library::beside(file)))
}

/// Analyses the text of a document; `file` is where it stands, for findings.
pub fn check_text(file: String, text: &str, format: Format, library: &Library) -> Checked {
    let read = expand::read(text, format, library);
    let mut diagnostics = read.diagnostics;
    let definition = read.definition.map(Arc::new);
    if let Some(definition) = &definition {
        let found = Machine::analyse(definition);
        diagnostics.extend(found.into_iter().map(|it| placed(it, &read.positions)));
        diagnostics.sort_by(|a, b| (&a.file, a.line, a.column).cmp(&(&b.file, b.line, b.column)));
    }
    let is_component = text.contains("component")
        && read_tree(text, format).is_ok_and(|it| expand::is_component(&it));
    Checked { file, definition, diagnostics, positions: read.positions, is_component }
}

/// Returns the machine of a checked file, or all of its findings as one failure.
pub fn compile(checked: &Checked) -> Result<Machine, Failure> {
    let refuse = || {
        let count = checked.diagnostics.iter().filter(|it| it.severity == Severity::Error).count();
        let message = format!("`{}` has {count} error(s); nothing was done", checked.file);
        Failure::finding("definition_invalid", message)
    };
    match &checked.definition {
        Some(definition) if !checked.has_errors() => {
            Machine::compile(Arc::clone(definition)).map_err(|_| refuse())
        }
        _ => Err(refuse()),
    }
}

fn placed(mut diagnostic: Diagnostic, positions: &Positions) -> Diagnostic {
    positions.place(&mut diagnostic);
    diagnostic
}

fn describe(file: &str, diagnostic: &Diagnostic, style: Style) -> String {
    let file = diagnostic.file.as_deref().unwrap_or(file);
    let place = match (diagnostic.line, diagnostic.column) {
        (Some(line), Some(column)) => format!("{file}:{line}:{column}"),
        _ => file.to_string(),
    };
    let (ink, warning) = match diagnostic.severity {
        Severity::Error => (Ink::Bad, ""),
        Severity::Warning => (Ink::Care, "warning "),
    };
    let code = style.paint(ink, &format!("{warning}{}", diagnostic.code));
    let mut text = format!("{place}: {code} {}\n", diagnostic.message);
    if let Some(hint) = &diagnostic.hint {
        text += &format!("  hint: {hint}\n");
    }
    text
}

/// Reads at most one byte more than a document may have: the reader names the limit itself.
pub fn read_text(file: &Path) -> Result<String, Failure> {
    let fail = |error: std::io::Error| {
        let exit = match error.kind() {
            std::io::ErrorKind::PermissionDenied => Exit::Denied,
            _ => Exit::Finding,
        };
        let message = format!("cannot read `{}`: {error}", file.display());
        Failure::new(exit, "file_unreadable", message)
    };
    let mut bytes = Vec::new();
    let limit = DOCUMENT_BYTES_MAX as u64 + 1;
    fs::File::open(file).and_then(|it| it.take(limit).read_to_end(&mut bytes)).map_err(fail)?;
    String::from_utf8(bytes).or_else(|error| {
        let valid = error.utf8_error().valid_up_to();
        let bytes = error.into_bytes();
        if bytes.len() > DOCUMENT_BYTES_MAX {
            // Cut in the middle of a character; the reader refuses by size before it looks.
            return Ok(String::from_utf8_lossy(&bytes).into_owned());
        }
        let line = 1 + bytes[..valid].iter().filter(|it| **it == b'\n').count();
        let message = format!(
            "`{}` is not UTF-8 text: byte {valid} on line {line}; save it as UTF-8",
            file.display()
        );
        Err(Failure::finding("file_not_utf8", message))
    })
}
