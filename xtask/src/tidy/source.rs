//! How a source file looks: its first line, the length of its lines, its own length.

use super::{File, Finding, is_test};

/// Characters of a line; what rustfmt aims at and cannot always reach.
const LINE_CHARS_MAX: usize = 100;
/// Lines of a file; more is two things.
const FILE_LINES_MAX: usize = 1_200;
/// Files that are longer, for now. The list may only shrink.
const LONG_FILES: &[&str] = &[];

/// Checks the first line and the length of lines.
pub(super) fn check(file: &File) -> Vec<Finding> {
    let mut findings = Vec::new();
    if !is_test(&file.path) && !file.text.starts_with("//!") {
        let message = "the file begins with `//!` and one sentence that says what it is";
        findings.push(Finding::new(&file.path, 1, message));
    }
    let literals = lines_with_literals(&file.text);
    for (number, line) in file.text.lines().enumerate() {
        let is_excused = line.contains("://") || literals[number];
        if line.chars().count() > LINE_CHARS_MAX && !is_excused {
            let message = format!("the line is longer than {LINE_CHARS_MAX} characters");
            findings.push(Finding::new(&file.path, number + 1, message));
        }
    }
    findings
}

/// Checks the length of files against the limit and its exceptions.
pub(super) fn check_lengths(files: &[File]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in files.iter().filter(|it| it.is_rust()) {
        let lines = file.text.lines().count();
        let is_known = LONG_FILES.contains(&file.path.as_str());
        let message = match (lines > FILE_LINES_MAX, is_known) {
            (true, false) => format!(
                "{lines} lines, more than {FILE_LINES_MAX}; split the file where its reason splits"
            ),
            (false, true) => "no longer too long; take it off the list in `tidy/source.rs`".into(),
            _ => continue,
        };
        findings.push(Finding::new(&file.path, 0, message));
    }
    findings
}

/// Checks that each file of an integration test is a module of its `main.rs`: one that nobody lists
/// is a test that nobody runs.
pub(super) fn check_listed(files: &[File]) -> Vec<Finding> {
    const MAIN: &str = "tests/it/main.rs";
    let mut findings = Vec::new();
    for main in files.iter().filter(|it| it.path.ends_with(MAIN)) {
        let folder = main.path.trim_end_matches("main.rs");
        let listed = |module: &str| main.text.lines().any(|it| it == format!("mod {module};"));
        for file in files.iter().filter(|it| it.path != main.path) {
            let name = file.path.strip_prefix(folder).and_then(|it| it.strip_suffix(".rs"));
            if name.is_some_and(|name| !name.contains('/') && !listed(name)) {
                let message = format!("nobody runs it; list it in `{}`", main.path);
                findings.push(Finding::new(&file.path, 0, message));
            }
        }
    }
    findings
}

/// Says for each line whether part of a string literal stands on it. Such a line cannot be broken
/// without changing what it says.
fn lines_with_literals(text: &str) -> Vec<bool> {
    let bytes = text.as_bytes();
    let mut marks = vec![false; text.lines().count() + 1];
    let (mut at, mut line) = (0, 0);
    while at < bytes.len() {
        let rest = &text.as_bytes()[at..];
        let end = match rest {
            [b'\n', ..] => {
                line += 1;
                at += 1;
                continue;
            }
            [b'/', b'/', ..] => {
                at += rest.iter().position(|it| *it == b'\n').unwrap_or(rest.len());
                continue;
            }
            // A quote as a character; lifetimes have no closing quote.
            [b'\'', b'"', b'\'', ..] => {
                at += 3;
                continue;
            }
            [b'\'', b'\\', _, b'\'', ..] => {
                at += 4;
                continue;
            }
            [b'r', b'"' | b'#', ..] => raw_string_end(rest),
            [b'"', ..] => string_end(rest),
            _ => 0,
        };
        if end == 0 {
            at += 1;
            continue;
        }
        let last = line + rest[..end].iter().filter(|it| **it == b'\n').count();
        marks[line..=last].fill(true);
        (at, line) = (at + end, last);
    }
    marks
}

/// Returns the length of the string that `rest` begins with.
fn string_end(rest: &[u8]) -> usize {
    let mut at = 1;
    while at < rest.len() && rest[at] != b'"' {
        at += if rest[at] == b'\\' { 2 } else { 1 };
    }
    (at + 1).min(rest.len())
}

/// Returns the length of the raw string that `rest` begins with; 0 when it is a raw identifier.
fn raw_string_end(rest: &[u8]) -> usize {
    let hashes = rest[1..].iter().take_while(|it| **it == b'#').count();
    if rest.get(1 + hashes) != Some(&b'"') {
        return 0;
    }
    let closing: Vec<u8> = [&b"\""[..], &vec![b'#'; hashes]].concat();
    let body = 2 + hashes;
    rest[body..]
        .windows(closing.len())
        .position(|it| it == closing)
        .map_or(rest.len(), |found| body + found + closing.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(path: &str, text: &str) -> Vec<usize> {
        check(&File { path: path.into(), text: text.into() }).iter().map(|it| it.line).collect()
    }

    #[test]
    fn a_file_says_what_it_is() {
        assert!(lines("crates/a/src/lib.rs", "//! Words.\n").is_empty());
        assert_eq!(lines("crates/a/src/lib.rs", "use std::fmt;\n"), [1]);
        assert!(lines("crates/a/tests/it/main.rs", "use std::fmt;\n").is_empty());
        assert!(lines("crates/a/src/step/tests.rs", "use super::*;\n").is_empty());
    }

    #[test]
    fn long_lines_are_found_unless_they_hold_text() {
        let long = "x".repeat(101);
        assert_eq!(lines("a.rs", &format!("//! A.\n// {long}\n")), [2]);
        assert!(lines("a.rs", &format!("//! A.\n// https://{long}\n")).is_empty());
        assert!(lines("a.rs", &format!("//! A.\nlet a = \"{long}\";\n")).is_empty());
        assert_eq!(lines("a.rs", &format!("//! A.\nlet a = r#\"\n{long}\n\"#;\n{long}\n")), [5]);
        assert_eq!(lines("a.rs", &format!("//! A.\nlet a = '\"';\n{long}\n")), [3]);
    }

    #[test]
    fn a_test_file_that_nobody_lists_is_found() {
        let file = |path: &str, text: &str| File { path: path.into(), text: text.into() };
        let main = || file("crates/a/tests/it/main.rs", "mod one;\n// mod two;\n");
        let one = || file("crates/a/tests/it/one.rs", "");
        assert!(check_listed(&[main(), one(), file("crates/b/tests/it/two.rs", "")]).is_empty());
        let found = check_listed(&[main(), one(), file("crates/a/tests/it/two.rs", "")]);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].path, "crates/a/tests/it/two.rs");
    }

    #[test]
    fn a_long_file_is_found() {
        let file = |lines| File { path: "a.rs".into(), text: "//\n".repeat(lines) };
        assert!(check_lengths(&[file(1_200)]).is_empty());
        assert_eq!(check_lengths(&[file(1_201)]).len(), 1);
    }
}
