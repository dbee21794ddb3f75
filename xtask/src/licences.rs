//! Where dependencies come from and what their licences allow, compared with `deny.toml`.
//!
//! `cargo deny` says more (advisories, duplicate versions) and runs as well where it is installed.

use serde_json::Value;

use crate::{Error, cargo, output, root};

/// The only place that dependencies come from.
const REGISTRY: &str = "registry+https://github.com/rust-lang/crates.io-index";
/// The platform that is shipped; others pull in crates that are not even downloaded here.
const PLATFORM: &str = "x86_64-unknown-linux-gnu";

/// Checks every dependency of the workspace.
pub fn check() -> Result<(), Error> {
    let text = output(&mut cargo(&[
        "metadata",
        "--locked",
        "--format-version",
        "1",
        "--filter-platform",
        PLATFORM,
    ]))?;
    let metadata: Value = serde_json::from_str(&text)
        .map_err(|error| format!("cannot read `cargo metadata`: {error}"))?;
    let policy = std::fs::read_to_string(root().join("deny.toml"))
        .map_err(|error| format!("cannot read `deny.toml`: {error}"))?;
    let allowed = allowed_licences(&policy);
    let packages = metadata["packages"].as_array().map(Vec::as_slice).unwrap_or_default();
    let findings: Vec<String> = packages.iter().filter_map(|it| finding(it, &allowed)).collect();
    if findings.is_empty() {
        println!("{} packages, licences {}", packages.len(), allowed.join(", "));
        return Ok(());
    }
    Err(format!("{}\nsee `deny.toml`", findings.join("\n")))
}

fn finding(package: &Value, allowed: &[String]) -> Option<String> {
    let text = |key: &str| package[key].as_str();
    // Our own crates have no source.
    let source = text("source")?;
    let name = format!("{} {}", text("name")?, text("version")?);
    if source != REGISTRY {
        return Some(format!("`{name}` comes from `{source}`, not from crates.io"));
    }
    match text("license") {
        Some(licence) if is_allowed(licence, allowed) => None,
        licence => Some(format!("`{name}` has licence `{}`", licence.unwrap_or("none named"))),
    }
}

/// Reads the quoted names of `allow = [..]`.
fn allowed_licences(policy: &str) -> Vec<String> {
    let list = policy.split_once("allow = [").map_or("", |it| it.1);
    let list = list.split_once(']').map_or("", |it| it.0);
    list.lines().filter_map(|line| line.split('"').nth(1)).map(str::to_string).collect()
}

/// Says whether an SPDX expression can be met: one side of each `OR`, both sides of each `AND`.
fn is_allowed(expression: &str, allowed: &[String]) -> bool {
    let text = expression.replace('/', " OR ").replace('(', " ( ").replace(')', " ) ");
    let words: Vec<&str> = text.split_whitespace().collect();
    let mut at = 0;
    let met = either(&words, &mut at, allowed);
    met && at == words.len()
}

fn either(words: &[&str], at: &mut usize, allowed: &[String]) -> bool {
    let mut met = both(words, at, allowed);
    while words.get(*at) == Some(&"OR") {
        *at += 1;
        met |= both(words, at, allowed);
    }
    met
}

fn both(words: &[&str], at: &mut usize, allowed: &[String]) -> bool {
    let mut met = one(words, at, allowed);
    while words.get(*at) == Some(&"AND") {
        *at += 1;
        met &= one(words, at, allowed);
    }
    met
}

fn one(words: &[&str], at: &mut usize, allowed: &[String]) -> bool {
    let Some(word) = words.get(*at) else { return false };
    *at += 1;
    if *word == "(" {
        let met = either(words, at, allowed);
        *at += 1; // the closing bracket
        return met;
    }
    let mut name = (*word).to_string();
    if words.get(*at) == Some(&"WITH") {
        name = format!("{name} WITH {}", words.get(*at + 1).unwrap_or(&""));
        *at += 2;
    }
    allowed.contains(&name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expressions_are_met_as_spdx_says() {
        let allowed =
            allowed_licences("x\nallow = [\n  \"MIT\", # text\n  \"A WITH E\",\n]\n\"GPL\"");
        assert_eq!(allowed, ["MIT", "A WITH E"]);
        for (expression, met) in [
            ("MIT", true),
            ("GPL", false),
            ("GPL OR MIT", true),
            ("GPL/MIT", true),
            ("GPL AND MIT", false),
            ("(GPL OR MIT) AND A WITH E", true),
            ("MIT AND (GPL OR BSD)", false),
            ("", false),
            ("MIT MIT", false),
        ] {
            assert_eq!(is_allowed(expression, &allowed), met, "{expression}");
        }
    }
}
