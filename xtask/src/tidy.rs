//! The house rules that the compiler does not know.
//!
//! Each rule is a pure function from text to findings in a module of its own, so that its tests
//! need no files; [`check`] reads the repository and asks them all. A rule with known exceptions
//! keeps them in a list that may only shrink: an exception that is no longer needed is a finding.

use std::{
    fmt, fs,
    path::{Path, PathBuf},
};

use crate::{Error, metadata};

mod edges;
mod error_pages;
mod links;
mod source;
mod tenant;
mod words;

/// One breach of a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// File, relative to the workspace; empty when the finding is about no file.
    pub path: String,
    /// Line, from 1; 0 when the whole file is meant.
    pub line: usize,
    /// What is wrong and what to do.
    pub message: String,
}

impl Finding {
    fn new(path: &str, line: usize, message: impl Into<String>) -> Finding {
        Finding { path: path.into(), line, message: message.into() }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.path.as_str(), self.line) {
            ("", _) => f.write_str(&self.message),
            (path, 0) => write!(f, "{path}: {}", self.message),
            (path, line) => write!(f, "{path}:{line}: {}", self.message),
        }
    }
}

/// A text file of the repository.
struct File {
    /// Relative to the workspace, with `/` between parts.
    path: String,
    text: String,
}

impl File {
    fn is_rust(&self) -> bool {
        self.path.ends_with(".rs")
    }
}

/// Says whether a file holds nothing but tests, benchmarks or fuzz targets.
fn is_test(path: &str) -> bool {
    path.ends_with("/tests.rs")
        || path.split('/').any(|part| matches!(part, "tests" | "benches" | "fuzz"))
}

/// Folders that hold nothing written by people.
const SKIPPED: &[&str] = &["target", "node_modules", "data", "dist", "corpus", "artifacts"];
/// Kinds of files that people write.
const TEXT: &[&str] =
    &["rs", "md", "toml", "yaml", "yml", "json", "ts", "tsx", "css", "html", "sh", "txt"];

/// Checks every rule on the repository at `root`.
pub fn check(root: &Path) -> Result<Vec<Finding>, Error> {
    let mut files = Vec::new();
    collect(root, root, &mut files)?;
    files.sort_by(|a, b| a.path.cmp(&b.path));

    let mut findings = edges::check(&metadata()?);
    findings.extend(error_pages::check(&files));
    findings.extend(source::check_lengths(&files));
    findings.extend(source::check_listed(&files));
    for file in &files {
        findings.extend(words::check(file));
        if file.is_rust() {
            findings.extend(source::check(file));
            findings.extend(tenant::check(file));
        }
        if file.path.ends_with(".md") {
            findings.extend(links::check(root, file));
        }
    }
    Ok(findings)
}

fn collect(root: &Path, folder: &Path, files: &mut Vec<File>) -> Result<(), Error> {
    let cannot = |path: &Path, error| format!("cannot read `{}`: {error}", path.display());
    let entries = fs::read_dir(folder).map_err(|error| cannot(folder, error))?;
    for entry in entries {
        let path: PathBuf = entry.map_err(|error| cannot(folder, error))?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if path.is_symlink() {
            continue;
        }
        if path.is_dir() {
            let is_hidden = name.starts_with('.') && name != ".ci" && name != ".cargo";
            if !is_hidden && !SKIPPED.contains(&name.as_str()) {
                collect(root, &path, files)?;
            }
            continue;
        }
        let kind = path.extension().unwrap_or_default().to_string_lossy().into_owned();
        let is_text =
            TEXT.contains(&kind.as_str()) || folder.file_name().is_some_and(|it| it == ".ci");
        if !is_text {
            continue;
        }
        // Test inputs may hold deliberately broken text; rules are about what people read.
        let Ok(text) = fs::read_to_string(&path) else { continue };
        let relative = path.strip_prefix(root).unwrap_or(&path);
        let path = relative.to_string_lossy().replace('\\', "/");
        files.push(File { path, text });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_repository_is_tidy() {
        let findings = check(&crate::root()).unwrap();
        let lines: Vec<String> = findings.iter().map(Finding::to_string).collect();
        assert!(lines.is_empty(), "{}", lines.join("\n"));
    }

    #[test]
    fn a_finding_names_its_place() {
        assert_eq!(Finding::new("a.rs", 3, "wrong").to_string(), "a.rs:3: wrong");
        assert_eq!(Finding::new("a.rs", 0, "wrong").to_string(), "a.rs: wrong");
        assert_eq!(Finding::new("", 0, "wrong").to_string(), "wrong");
    }
}
