//! Grants: what a workflow may reach. Documents write them as `permissions`.
//!
//! What a person may do is another matter: see [`permission`](crate::permission).

use std::collections::BTreeMap;

use crate::ids::Text;

/// What can be reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum GrantKind {
    /// `provider/model`.
    Models,
    /// Functions of the connectors file, and `mcp:server/tool`.
    Tools,
    /// `host:port`.
    Hosts,
    /// Names of secrets.
    Secrets,
    /// Names of workflows.
    Workflows,
}

impl GrantKind {
    /// All of them.
    pub const ALL: [GrantKind; 5] = [
        GrantKind::Models,
        GrantKind::Tools,
        GrantKind::Hosts,
        GrantKind::Secrets,
        GrantKind::Workflows,
    ];

    /// Returns the key in documents.
    pub fn as_str(self) -> &'static str {
        match self {
            GrantKind::Models => "models",
            GrantKind::Tools => "tools",
            GrantKind::Hosts => "hosts",
            GrantKind::Secrets => "secrets",
            GrantKind::Workflows => "workflows",
        }
    }

    /// Returns the word for one of them.
    pub fn one(self) -> &'static str {
        self.as_str().trim_end_matches('s')
    }
}

/// Lists of names and patterns by kind; `*` in a pattern stands for any characters.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Grant {
    lists: BTreeMap<GrantKind, Vec<Text>>,
    /// Tool calls with untrusted arguments need a person.
    pub approve_untrusted: bool,
}

impl Grant {
    /// Keeps the list of a kind.
    pub fn insert(&mut self, kind: GrantKind, names: Vec<Text>) {
        self.lists.insert(kind, names);
    }

    /// Returns the list of a kind, where there is one.
    pub fn list(&self, kind: GrantKind) -> Option<&[Text]> {
        self.lists.get(&kind).map(Vec::as_slice)
    }
}

/// Says whether one of the patterns fits a name, or covers another pattern.
pub fn fits_any(patterns: &[Text], name: &str) -> bool {
    patterns.iter().any(|it| fits(it, name))
}

/// Says whether a pattern fits a name. A name that is a pattern itself fits only where all that it
/// can stand for does, because its `*` is met by no letter, only by another `*`.
pub fn fits(pattern: &str, name: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(mut rest) = name.strip_prefix(parts.next().unwrap_or_default()) else { return false };
    let mut parts: Vec<&str> = parts.collect();
    let Some(last) = parts.pop() else { return rest.is_empty() };
    for part in parts {
        // The first place leaves the most for what follows.
        let Some(at) = rest.find(part) else { return false };
        rest = &rest[at + part.len()..];
    }
    rest.ends_with(last)
}

/// Returns the name of a host, as patterns see it.
pub fn host_name(host: &str, port: u16) -> Text {
    format!("{}:{port}", host.trim_end_matches('.').to_ascii_lowercase()).into()
}

/// Returns the pattern of hosts that was written; without a port it fits all of them.
pub fn host_pattern(written: &str) -> Text {
    let lower = written.to_ascii_lowercase();
    let after_address = lower.rsplit_once(']').map_or(&*lower, |(_, rest)| rest);
    match after_address.contains(':') {
        true => lower.into(),
        false => format!("{lower}:*").into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_fit_names_and_narrower_patterns() {
        for (pattern, name, expected) in [
            ("openai/gpt-*", "openai/gpt-5", true),
            ("openai/gpt-*", "openai/o3", false),
            ("openai/gpt-*", "openai/gpt-5-*", true),
            ("openai/gpt-5", "openai/gpt-*", false),
            ("*", "anything:at/all", true),
            ("*", "", true),
            ("", "", true),
            ("", "a", false),
            ("a", "ab", false),
            ("*/*", "openai/gpt", true),
            ("*/*", "openai", false),
            ("a*b*c", "aXbYbZc", true),
            ("a*bc*c", "abc", false),
            ("mcp:crm/*", "mcp:crm/find", true),
            ("*.example.com:443", "api.example.com:443", true),
            ("*.example.com:443", "example.com:443", false),
            ("*.example.com:443", "api.example.com.evil.org:443", false),
        ] {
            assert_eq!(fits(pattern, name), expected, "{pattern} {name}");
        }
    }

    #[test]
    fn hosts_are_named_with_their_port() {
        for (written, expected) in [
            ("API.example.com", "api.example.com:*"),
            ("api.example.com:443", "api.example.com:443"),
            ("[::1]", "[::1]:*"),
            ("[::1]:80", "[::1]:80"),
            ("*", "*:*"),
        ] {
            assert_eq!(&*host_pattern(written), expected);
        }
        assert_eq!(&*host_name("Api.Example.com.", 443), "api.example.com:443");
    }
}
