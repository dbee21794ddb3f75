//! Every code that a person can meet has a page in `docs/errors/`.

use std::collections::BTreeMap;

use super::{File, Finding, is_test};

/// Codes that nobody meets, with the reason. The list may only shrink.
const UNSEEN: &[&str] = &[
    // Stands for the outcome that a replay does not know and that changes nothing.
    "late",
];

/// Finds codes without a page, and pages without their code as title.
pub(super) fn check(files: &[File]) -> Vec<Finding> {
    let mut first_use: BTreeMap<&str, (&str, usize)> = BTreeMap::new();
    let sources = files.iter().filter(|it| it.is_rust() && it.path.starts_with("crates/"));
    for file in sources.filter(|it| !is_test(&it.path) && !it.path.contains("testkit")) {
        for (line, code) in codes(&file.text) {
            first_use.entry(code).or_insert((&file.path, line));
        }
    }
    let mut findings = Vec::new();
    for (code, (path, line)) in first_use.into_iter().filter(|it| !UNSEEN.contains(&it.0)) {
        let page = format!("docs/errors/{code}.md");
        if !files.iter().any(|it| it.path == page) {
            findings.push(Finding::new(path, line, format!("code `{code}` has no page `{page}`")));
        }
    }
    for file in files {
        let Some(name) = file.path.strip_prefix("docs/errors/") else { continue };
        let code = name.trim_end_matches(".md");
        if code != "README" && !file.text.starts_with(&format!("# {code}\n")) {
            let message = format!("the page begins with the line `# {code}`");
            findings.push(Finding::new(&file.path, 1, message));
        }
    }
    findings
}

/// Returns the codes named before the tests of a file begin, with their lines.
fn codes(text: &str) -> Vec<(usize, &str)> {
    let live = text.find("\n#[cfg(test)]").map_or(text, |end| &text[..end]);
    let mut found = Vec::new();
    for (at, _) in live.match_indices('"') {
        let Some(code) = live[at + 1..].split('"').next() else { continue };
        if is_diagnostic(code) || follows_error_constructor(&live[..at]) && is_word(code) {
            found.push((live[..at].lines().count().max(1), code));
        }
    }
    found
}

/// Says whether `code` reads like a finding of analysis: `E102`, `W190`.
fn is_diagnostic(code: &str) -> bool {
    matches!(code.as_bytes(), [b'E' | b'W', b'1' | b'2', rest @ ..]
        if rest.len() == 2 && rest.iter().all(u8::is_ascii_digit))
}

fn is_word(code: &str) -> bool {
    !code.is_empty() && code.bytes().all(|it| it.is_ascii_lowercase() || it == b'_')
}

/// Says whether the text before a literal makes the literal the code of an error.
fn follows_error_constructor(before: &str) -> bool {
    let before = before.trim_end();
    // `Failure::new` takes the exit code, a path, before the code.
    let is_path = |it: char| it.is_ascii_alphanumeric() || it == ':' || it.is_whitespace();
    let exit = before.strip_suffix(',').map_or("", |it| it.trim_end_matches(is_path));
    ["EffectError::new(", "EffectError::retryable(", "Failure::finding("]
        .iter()
        .any(|it| before.ends_with(it))
        || exit.ends_with("Failure::new(")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_read_from_literals() {
        let text = "\
            Diagnostic::error(\"E102\", path, \"no `E1`\");\n\
            EffectError::new(\n    \"http_error\", \"cannot\");\n\
            EffectError::retryable(\"timeout\", \"too late\");\n\
            Failure::new(Exit::Denied, \"control_denied\", \"no\");\n\
            other(\"E1024\", \"E9\");\n\
            #[cfg(test)]\nmod tests { \"E199\" }";
        assert_eq!(
            codes(text),
            [(1, "E102"), (3, "http_error"), (4, "timeout"), (5, "control_denied")]
        );
    }

    #[test]
    fn a_code_without_a_page_is_found() {
        let source = File { path: "crates/a/src/lib.rs".into(), text: "f(\"E102\")".into() };
        let page = |text: &str| File { path: "docs/errors/E102.md".into(), text: text.into() };
        assert_eq!(check(&[source]).len(), 1);
        let source = File { path: "crates/a/src/lib.rs".into(), text: "f(\"E102\")".into() };
        assert!(check(&[source, page("# E102\n\nText.")]).is_empty());
        assert_eq!(check(&[page("# Other\n")]).len(), 1);
    }
}
