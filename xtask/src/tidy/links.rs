//! Links from one Markdown file to another must lead somewhere.

use std::path::Path;

use super::{File, Finding};

/// Finds relative links whose target does not exist.
pub(super) fn check(root: &Path, file: &File) -> Vec<Finding> {
    let folder = root.join(&file.path);
    let folder = folder.parent().unwrap_or(root);
    let mut findings = Vec::new();
    for (line, target) in targets(&file.text) {
        if !folder.join(target).exists() {
            let message = format!("link to `{target}`, which does not exist");
            findings.push(Finding::new(&file.path, line, message));
        }
    }
    findings
}

/// Returns the files that links name, with their lines; code blocks hold no links.
fn targets(text: &str) -> Vec<(usize, &str)> {
    let mut found = Vec::new();
    let mut is_code = false;
    for (number, line) in text.lines().enumerate() {
        if line.trim_start().starts_with("```") {
            is_code = !is_code;
        }
        if is_code {
            continue;
        }
        for (at, _) in line.match_indices("](") {
            let Some(target) = line[at + 2..].split(')').next() else { continue };
            let path = target.split('#').next().unwrap_or_default();
            if !path.is_empty() && !path.contains("://") && !path.starts_with("mailto:") {
                found.push((number + 1, path));
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_to_files_are_read() {
        let text = "[a](b.md#c), [web](https://example.com)\n```\n[no](no.md)\n```\n[d](#e)";
        assert_eq!(targets(text), [(1, "b.md")]);
    }
}
