//! Words that must not stand in any file: places that exist on one machine only.

use super::{File, Finding};

/// Written in two parts, so that this file does not hold them.
const FORBIDDEN: &[(&str, &str)] = &[("../", "shared"), ("/wo", "rk/"), ("issues", " show")];

/// Finds references to places outside the repository.
pub(super) fn check(file: &File) -> Vec<Finding> {
    let forbidden: Vec<String> =
        FORBIDDEN.iter().map(|(head, tail)| format!("{head}{tail}")).collect();
    let mut findings = Vec::new();
    for (number, line) in file.text.lines().enumerate() {
        for word in forbidden.iter().filter(|word| line.contains(word.as_str())) {
            let message = format!("`{word}` is not part of the project; say what is meant instead");
            findings.push(Finding::new(&file.path, number + 1, message));
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_outside_is_found() {
        let text = format!("fine\nsee {}/STYLE.md\n", concat!("../", "shared"));
        let findings = check(&File { path: "a.md".into(), text });
        assert_eq!(findings.iter().map(|it| it.line).collect::<Vec<_>>(), [2]);
    }
}
