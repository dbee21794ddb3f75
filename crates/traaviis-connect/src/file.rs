//! The connectors file: which functions exist, where they live, and how people are told things.
//!
//! The file belongs to the operator, not to the author of a workflow. That is why it may name
//! private hosts, and why those are open to what it names only, not to `call_api`.

use std::time::Duration;

use jsonschema::Validator;
use reqwest::Method;
use traaviis_model::{
    Diagnostic, Map, Text, Value, builtin,
    document::{
        Format,
        tree::{Node, NodeKind},
    },
};
use url::Url;

use crate::{
    egress::Target,
    functions::{Function, Functions, fill, read_timeout},
    http::{parse_method, scalar},
    notify::Channels,
};

/// Functions of one file; more is a generated file that should be split.
const FUNCTIONS_MAX: usize = 10_000;
const FILE_KEYS: [&str; 7] =
    ["traaviis", "kind", "base_url", "headers", "egress", "functions", "notify"];
const FUNCTION_KEYS: [&str; 12] = [
    "method",
    "path",
    "url",
    "side_effect",
    "idempotent",
    "timeout",
    "args",
    "result",
    "headers",
    "error_code_field",
    "title",
    "description",
];

/// What an operator offers to workflows.
#[derive(Debug, Default)]
pub struct Connectors {
    /// What `call` offers.
    pub functions: Functions,
    /// Where `notify` delivers.
    pub channels: Channels,
    /// Private targets that are open to functions and channels.
    pub allow_private: Vec<Target>,
}

impl Connectors {
    /// Reads a connectors file; all findings are returned, each with its place.
    pub fn read(text: &str, format: Format) -> Result<Connectors, Vec<Diagnostic>> {
        let node = traaviis_model::document::read_tree(text, format)?;
        let mut reader = Reader { findings: Vec::new() };
        let connectors = reader.file(&node);
        if reader.findings.is_empty() { Ok(connectors) } else { Err(reader.findings) }
    }
}

/// Reads the tree of a connectors file and collects what is wrong with it.
pub(crate) struct Reader {
    findings: Vec<Diagnostic>,
}

impl Reader {
    pub(crate) fn wrong(&mut self, node: &Node, path: &str, message: impl Into<String>) {
        self.findings.push(Diagnostic::error("E101", path, message).at(node.line, node.column));
    }

    /// Returns the entries of a map, after telling about keys that are not known.
    pub(crate) fn entries<'n>(
        &mut self,
        node: &'n Node,
        path: &str,
        known: &[&str],
    ) -> Vec<(&'n str, &'n Node, String)> {
        let NodeKind::Map(entries) = &node.kind else {
            self.wrong(node, path, format!("this is {}, not an object", node.words()));
            return Vec::new();
        };
        let mut found = Vec::new();
        for (key, value) in entries {
            let at = join(path, &key.text);
            if known.is_empty() || known.contains(&&*key.text) {
                found.push((&*key.text, value, at));
                continue;
            }
            let finding =
                Diagnostic::error("E101", at, format!("key `{}` is not known here", key.text))
                    .at(key.line, key.column)
                    .hint(format!("known are {}", known.join(", ")));
            self.findings.push(finding);
        }
        found
    }

    pub(crate) fn text(&mut self, node: &Node, path: &str) -> Option<Text> {
        match &node.kind {
            NodeKind::String(text) => Some(text.clone()),
            _ => {
                self.wrong(node, path, format!("this is {}, not text", node.words()));
                None
            }
        }
    }

    fn truth(&mut self, node: &Node, path: &str) -> Option<bool> {
        match node.kind {
            NodeKind::Bool(it) => Some(it),
            _ => {
                self.wrong(node, path, format!("this is {}, not true or false", node.words()));
                None
            }
        }
    }

    fn file(&mut self, node: &Node) -> Connectors {
        let mut read = Connectors::default();
        let mut base = None;
        let mut headers = Map::new();
        let mut functions = None;
        let mut version = None;
        let mut kind = None;
        for (key, value, path) in self.entries(node, "", &FILE_KEYS) {
            match key {
                "traaviis" => version = scalar(&value.to_value()),
                "kind" => kind = self.text(value, &path),
                "base_url" => base = self.base_url(value, &path),
                "headers" => headers = self.headers(value, &path),
                "egress" => read.allow_private = self.egress(value, &path),
                "notify" => read.channels = Channels::read(self, value, &path),
                _ => functions = Some((value, path)),
            }
        }
        if !matches!(node.kind, NodeKind::Map(_)) {
            return read;
        }
        if version.as_deref() != Some("1") {
            self.wrong(node, "/traaviis", "a connectors file starts with `traaviis: \"1\"`");
        }
        if kind.as_deref() != Some("connectors") {
            self.wrong(node, "/kind", "a connectors file has `kind: connectors`");
        }
        let Some((value, path)) = functions else {
            if read.channels.is_empty() {
                self.wrong(node, "/functions", "`functions` is missing");
            }
            return read;
        };
        let entries = self.entries(value, &path, &[]);
        if entries.len() > FUNCTIONS_MAX {
            self.wrong(value, &path, format!("more than {FUNCTIONS_MAX} functions"));
            return read;
        }
        for (name, value, path) in entries {
            if !is_function_name(name) {
                self.wrong(
                    value,
                    &path,
                    format!("`{name}` is not a function name such as `payment.charge`"),
                );
            }
            if name.starts_with(builtin::PREFIX) {
                let prefix = builtin::PREFIX;
                let message = format!("`{prefix}` begins the names of built-in functions only");
                self.wrong(value, &path, message);
            }
            if let Some(function) = self.function(value, &path, base.as_ref(), &headers) {
                read.functions.0.insert(name.into(), function);
            }
        }
        read
    }

    fn base_url(&mut self, node: &Node, path: &str) -> Option<Url> {
        let text = self.text(node, path)?;
        let url = Url::parse(&text).ok().filter(|url| {
            matches!(url.scheme(), "http" | "https")
                && url.query().is_none()
                && url.fragment().is_none()
                && url.username().is_empty()
                && url.password().is_none()
        });
        if url.is_none() {
            self.wrong(
                node,
                path,
                format!("`{text}` is not a base URL such as `https://api.example.com/v1`"),
            );
        }
        url
    }

    pub(crate) fn headers(&mut self, node: &Node, path: &str) -> Map {
        let mut map = Map::new();
        for (name, value, path) in self.entries(node, path, &[]) {
            let secret = value.entry("$secret").map(|(_, it)| it.to_value());
            match (&value.kind, secret) {
                (NodeKind::Map(entries), Some(Value::String(secret))) if entries.len() == 1 => {
                    map.insert(name, Value::Secret(secret));
                }
                _ if value.is_plain() => {
                    map.insert(name, value.to_value());
                }
                _ => self.wrong(value, &path, "a header is text or `{$secret: NAME}`"),
            }
        }
        map
    }

    fn egress(&mut self, node: &Node, path: &str) -> Vec<Target> {
        let mut targets = Vec::new();
        for (_, value, path) in self.entries(node, path, &["allow_private"]) {
            let NodeKind::List(items) = &value.kind else {
                self.wrong(
                    value,
                    &path,
                    format!("this is {}, not a list of `host:port`", value.words()),
                );
                continue;
            };
            for (at, item) in items.iter().enumerate() {
                let path = join(&path, &at.to_string());
                let Some(text) = self.text(item, &path) else { continue };
                match text.parse() {
                    Ok(target) => targets.push(target),
                    Err(why) => self.wrong(item, &path, why),
                }
            }
        }
        targets
    }

    fn function(
        &mut self,
        node: &Node,
        path: &str,
        base: Option<&Url>,
        headers: &Map,
    ) -> Option<Function> {
        let mut method = Method::POST;
        let mut url = None;
        let mut side_effect = None;
        let mut idempotent = false;
        let mut timeout = None;
        let mut headers = headers.clone();
        let (mut args, mut result, mut error_code_field) = (None, None, None);
        for (key, value, path) in self.entries(node, path, &FUNCTION_KEYS) {
            match key {
                "method" => method = self.method(value, &path).unwrap_or(method),
                "path" => url = self.joined(value, &path, base).or(url),
                "url" => url = self.text(value, &path).map(|it| it.to_string()).or(url),
                "side_effect" => side_effect = self.truth(value, &path),
                "idempotent" => idempotent = self.truth(value, &path).unwrap_or(false),
                "timeout" => timeout = self.timeout(value, &path),
                "args" => args = self.schema(value, &path),
                "result" => result = self.schema(value, &path),
                "headers" => {
                    for (name, value) in self.headers(value, &path).iter() {
                        headers.insert(name.clone(), value.clone());
                    }
                }
                "error_code_field" => error_code_field = self.text(value, &path),
                _ => {
                    self.text(value, &path);
                }
            }
        }
        if node.entry("path").is_some() && node.entry("url").is_some() {
            self.wrong(node, path, "a function has `path` or `url`, not both");
        }
        let Some(url) = url else {
            if node.entry("path").is_none() && node.entry("url").is_none() {
                self.wrong(node, path, "a function needs `path` (below `base_url`) or `url`");
            }
            return None;
        };
        self.check_url(node, path, &url);
        // Said nothing, a function that is not a read counts as one that changes the world.
        let side_effect =
            side_effect.unwrap_or(!matches!(method, Method::GET | Method::HEAD | Method::OPTIONS));
        Some(Function {
            method,
            url,
            side_effect,
            idempotent,
            timeout,
            headers,
            args,
            result,
            error_code_field,
        })
    }

    fn method(&mut self, node: &Node, path: &str) -> Option<Method> {
        let text = self.text(node, path)?;
        let method = parse_method(&text);
        if method.is_none() {
            self.wrong(
                node,
                path,
                format!("`{text}` is not a method such as get, post, put, patch or delete"),
            );
        }
        method
    }

    fn joined(&mut self, node: &Node, path: &str, base: Option<&Url>) -> Option<String> {
        let text = self.text(node, path)?;
        let Some(base) = base else {
            self.wrong(node, path, "`path` needs `base_url` at the top of the file");
            return None;
        };
        if !text.starts_with('/') {
            self.wrong(node, path, format!("`{text}` does not start with `/`"));
            return None;
        }
        Some(format!("{}{text}", base.as_str().trim_end_matches('/')))
    }

    /// Blanks may stand in the path only, so that arguments never choose the host.
    fn check_url(&mut self, node: &Node, path: &str, url: &str) {
        let sample = Map::from_iter(blanks(url).map(|it| (Text::from(it), Value::from("x"))));
        let parsed = fill(url, &mut sample.clone()).ok().and_then(|it| Url::parse(&it).ok());
        let head = url.split(['{', '?', '#']).next().unwrap_or_default();
        let head_fixed = head.split_once("://").is_some_and(|(_, rest)| rest.contains('/'));
        let balanced = url.matches('{').count() == url.matches('}').count();
        let blank_in_path = url.split(['?', '#']).skip(1).all(|it| !it.contains('{'));
        let named = blanks(url).all(|it| !it.is_empty() && !it.contains('{'));
        let http = parsed.is_some_and(|it| matches!(it.scheme(), "http" | "https"));
        if !http || !balanced || !named || !blank_in_path || (url.contains('{') && !head_fixed) {
            self.wrong(
                node,
                path,
                format!(
                    "`{url}` is not an http or https URL with `{{name}}` blanks in its path only"
                ),
            );
        }
    }

    fn timeout(&mut self, node: &Node, path: &str) -> Option<Duration> {
        let timeout = read_timeout(&node.to_value());
        if timeout.is_none() {
            self.wrong(node, path, "this is not a time up to one hour, such as 5s");
        }
        timeout
    }

    fn schema(&mut self, node: &Node, path: &str) -> Option<Validator> {
        let json = serde_json::Value::from(&node.to_value());
        match jsonschema::draft202012::new(&json) {
            Ok(schema) => Some(schema),
            Err(error) => {
                self.wrong(node, path, format!("this is no usable JSON Schema: {error}"));
                None
            }
        }
    }
}

fn blanks(url: &str) -> impl Iterator<Item = &str> {
    url.split('{').skip(1).map(|it| it.split('}').next().unwrap_or_default())
}

fn is_function_name(name: &str) -> bool {
    name.len() <= 128
        && name.split('.').all(|part| {
            part.starts_with(|it: char| it.is_ascii_alphabetic() || it == '_')
                && part.chars().all(|it| it.is_ascii_alphanumeric() || matches!(it, '_' | '-'))
        })
}

pub(crate) fn join(path: &str, key: &str) -> String {
    format!("{path}/{}", key.replace('~', "~0").replace('/', "~1"))
}
