//! The connectors file: which functions exist, where they live, and how one is called.
//!
//! Responsible for: reading the file with every finding placed, checking arguments and results by
//! schema, turning arguments into a request. Leaves sending to [`crate::http`].
//!
//! The file belongs to the operator, not to the author of a workflow. That is why it may name
//! private hosts, and why those are open to its functions only, not to `call_api`.

use std::{collections::BTreeMap, time::Duration};

use jsonschema::Validator;
use reqwest::Method;
use traaviis_model::{
    Call, DeliveryClass, Diagnostic, EffectError, Map, Span, Text, Value,
    document::{
        Format,
        tree::{Node, NodeKind},
    },
};
use traaviis_ports::Outcome;
use url::Url;

use crate::{
    egress::Target,
    http::{
        Client, Expect, REDIRECTS_MAX, RESPONSE_BYTES_DEFAULT, Reply, Request, add_identity,
        append_query, invalid, is_retryable, parse_method, read_headers, read_json, retry_after,
        scalar,
    },
    secret::Vault,
};

/// Time of a `call` attempt when neither workflow nor function sets one.
pub(crate) const CALL_TIMEOUT: Duration = Duration::from_secs(5);
/// Longest time of one attempt; longer work belongs into several calls.
const TIMEOUT_MAX: Duration = Duration::from_secs(3600);
/// Functions of one file; more is a generated file that should be split.
const FUNCTIONS_MAX: usize = 10_000;
/// Schema errors told at once.
const SCHEMA_ERRORS_MAX: usize = 5;
/// Names offered for an unknown function.
const NEAREST_MAX: usize = 3;

const FILE_KEYS: [&str; 6] = ["traaviis", "kind", "base_url", "headers", "egress", "functions"];
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

/// The functions an operator offers to workflows.
#[derive(Debug, Default)]
pub struct Functions {
    functions: BTreeMap<Text, Function>,
    allow_private: Vec<Target>,
}

/// One function: a request with blanks.
#[derive(Debug)]
pub struct Function {
    method: Method,
    /// Absolute URL; may hold `{name}` blanks in its path.
    url: String,
    side_effect: bool,
    idempotent: bool,
    timeout: Option<Duration>,
    headers: Map,
    args: Option<Validator>,
    result: Option<Validator>,
    error_code_field: Option<Text>,
}

impl Function {
    /// Returns what may be promised about a call whose outcome is not recorded.
    pub fn delivery_class(&self) -> DeliveryClass {
        if !self.side_effect {
            return DeliveryClass::SafeRead;
        }
        if self.idempotent || matches!(self.method, Method::PUT | Method::DELETE) {
            return DeliveryClass::KeyedWrite;
        }
        DeliveryClass::OtherWrite
    }

    /// Returns the time of an attempt for which the workflow sets none.
    pub(crate) fn timeout(&self) -> Duration {
        self.timeout.unwrap_or(CALL_TIMEOUT)
    }
}

impl Functions {
    /// Reads a connectors file; all findings are returned, each with its place.
    pub fn read(text: &str, format: Format) -> Result<Functions, Vec<Diagnostic>> {
        let node = traaviis_model::document::read_tree(text, format)?;
        Functions::from_tree(&node)
    }

    /// Reads a connectors file that was parsed already.
    pub fn from_tree(node: &Node) -> Result<Functions, Vec<Diagnostic>> {
        let mut reader = Reader { findings: Vec::new() };
        let functions = reader.file(node);
        if reader.findings.is_empty() { Ok(functions) } else { Err(reader.findings) }
    }

    /// Returns the function of that name.
    pub fn get(&self, name: &str) -> Option<&Function> {
        self.functions.get(name)
    }

    /// Returns the names of all functions, in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.functions.keys().map(|it| &**it)
    }

    /// Returns the private targets that the file opens to its functions.
    pub fn allow_private(&self) -> &[Target] {
        &self.allow_private
    }

    /// Returns the function that a `call` names, or the error with the nearest names.
    pub(crate) fn find(&self, input: &Value) -> Result<(&Text, &Function), EffectError> {
        let name = input
            .get("function")
            .and_then(Value::as_str)
            .ok_or_else(|| invalid("`function` is missing or not text"))?;
        self.functions.get_key_value(name).ok_or_else(|| self.unknown(name))
    }

    fn unknown(&self, name: &str) -> EffectError {
        let nearest = self.nearest(name);
        let mut message = format!("function `{name}` is not in the connectors file");
        if self.functions.is_empty() {
            message = format!("function `{name}` is not known: there is no connectors file");
        } else if !nearest.is_empty() {
            message.push_str("; did you mean ");
            message.push_str(
                &nearest.iter().map(|it| format!("`{it}`")).collect::<Vec<_>>().join(", "),
            );
            message.push('?');
        }
        let nearest = Value::list(nearest.into_iter().map(|it| Value::String(it.clone())));
        EffectError::new("unknown_function", message)
            .with_details(Value::map([("function", Value::from(name)), ("nearest", nearest)]))
    }

    fn nearest(&self, name: &str) -> Vec<&Text> {
        // A long name cannot be a slip of the pen, and distances cost its square.
        if name.len() > 128 {
            return Vec::new();
        }
        let mut scored: Vec<_> = self
            .functions
            .keys()
            .map(|have| (distance(name, have), have))
            .filter(|(distance, have)| *distance <= have.len().max(name.len()) / 2)
            .collect();
        scored.sort();
        scored.into_iter().take(NEAREST_MAX).map(|(_, have)| have).collect()
    }
}

/// Performs a `call`.
pub(crate) async fn call_function(
    client: &Client,
    functions: &Functions,
    call: &Call,
    vault: &mut Vault<'_>,
) -> Outcome {
    let (name, function) = functions.find(&call.input)?;
    let request = function.request(name, call, vault)?;
    let reply = client.send(request, &Expect::success()).await?;
    if !reply.status.is_success() {
        return Err(function.refused(name, &reply));
    }
    let value = read_json(&reply.body)?;
    check(function.result.as_ref(), &value)
        .map_err(|why| EffectError::new("output_invalid", format!("result of `{name}`: {why}")))?;
    Ok(value)
}

impl Function {
    fn request(
        &self,
        name: &str,
        call: &Call,
        vault: &mut Vault<'_>,
    ) -> Result<Request, EffectError> {
        let args = match call.input.get("args") {
            None | Some(Value::Null) => Value::empty_map(),
            Some(args) => args.clone().into_json(),
        };
        if args.holds_secret() {
            return Err(invalid(format!(
                "the arguments of `{name}` hold a secret; name it in `headers` of the connectors file"
            )));
        }
        let Some(map) = args.as_map() else {
            return Err(invalid(format!(
                "the arguments of `{name}` are {}, not an object",
                args.kind()
            )));
        };
        check(self.args.as_ref(), &args)
            .map_err(|why| invalid(format!("arguments of `{name}`: {why}")))?;
        let mut rest = map.clone();
        let url = fill(&self.url, &mut rest)?;
        let mut url = Url::parse(&url)
            .map_err(|_| invalid(format!("the address of `{name}` is no URL once filled in")))?;
        let mut headers = read_headers(Some(&Value::Map(self.headers.clone().into())), vault)?;
        let rest = Value::Map(rest.into());
        let mut body = None;
        if matches!(self.method, Method::POST | Method::PUT | Method::PATCH) {
            body = Some(rest.to_json().into_bytes());
            let media = Value::map([("content-type", Value::from("application/json"))]);
            headers.extend(read_headers(Some(&media), vault)?);
        } else {
            append_query(&mut url, &rest)?;
        }
        add_identity(&mut headers, call);
        Ok(Request {
            method: self.method.clone(),
            url,
            headers,
            body,
            redirects: REDIRECTS_MAX,
            response_bytes_max: RESPONSE_BYTES_DEFAULT,
        })
    }

    fn refused(&self, name: &str, reply: &Reply) -> EffectError {
        let status = reply.status.as_u16();
        let body = read_json(&reply.body)
            .unwrap_or_else(|_| Value::from(String::from_utf8_lossy(&reply.body).into_owned()));
        let code = self.error_code_field.as_ref().and_then(|field| body.at_path(field));
        let mut message = format!("function `{name}` answered with status {status}");
        let mut details = Map::new();
        if let Some(code) = code.and_then(scalar) {
            message.push_str(&format!(" and code `{code}`"));
            details.insert("code", Value::from(code));
        }
        details.insert("status", Value::Int(i64::from(status)));
        details.insert("body", body);
        if let Some(wait) = retry_after(&reply.headers) {
            details.insert("retry_after_ms", Value::Int(wait.as_millis() as i64));
        }
        let mut error = EffectError::new("call_failed", message);
        error.retryable = is_retryable(status);
        error.with_details(Value::Map(details.into()))
    }
}

/// Puts arguments into the `{name}` blanks of a URL, and takes them out of `args`.
fn fill(template: &str, args: &mut Map) -> Result<String, EffectError> {
    let mut url = String::with_capacity(template.len());
    let mut used = Vec::new();
    let mut rest = template;
    while let Some((before, after)) = rest.split_once('{') {
        url.push_str(before);
        let (name, after) = after.split_once('}').unwrap_or((after, ""));
        rest = after;
        let text = args.get(name).and_then(scalar).unwrap_or_default();
        // Dots would climb out of the path, also when they are percent-encoded.
        if matches!(text.as_str(), "" | "." | "..") {
            return Err(invalid(format!(
                "argument `{name}` stands in the path and cannot be `{text}`"
            )));
        }
        let encoded: String = text
            .bytes()
            .map(|it| match it {
                b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                    char::from(it).to_string()
                }
                _ => format!("%{it:02X}"),
            })
            .collect();
        url.push_str(&encoded);
        used.push(name);
    }
    url.push_str(rest);
    used.into_iter().for_each(|name| {
        args.remove(name);
    });
    Ok(url)
}

fn check(schema: Option<&Validator>, value: &Value) -> Result<(), String> {
    let Some(schema) = schema else { return Ok(()) };
    let json = serde_json::Value::from(value);
    if schema.is_valid(&json) {
        return Ok(());
    }
    let errors: Vec<String> = schema
        .iter_errors(&json)
        .take(SCHEMA_ERRORS_MAX)
        .map(|error| {
            // Without the offending value: it can be long, and can be personal.
            let place = error.instance_path().to_string();
            let place = if place.is_empty() { "/".to_owned() } else { place };
            format!("{} at `{place}`", error.masked())
        })
        .collect();
    Err(errors.join("; "))
}

/// Levenshtein distance in characters.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, to) in b.iter().enumerate() {
            let above = row[j + 1];
            row[j + 1] = (above + 1).min(row[j] + 1).min(diagonal + usize::from(from != *to));
            diagonal = above;
        }
    }
    row[b.len()]
}

/// Reads the tree of a connectors file and collects what is wrong with it.
struct Reader {
    findings: Vec<Diagnostic>,
}

impl Reader {
    fn wrong(&mut self, node: &Node, path: &str, message: impl Into<String>) {
        self.findings.push(Diagnostic::error("E101", path, message).at(node.line, node.column));
    }

    /// Returns the entries of a map, after telling about keys that are not known.
    fn entries<'n>(
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

    fn text(&mut self, node: &Node, path: &str) -> Option<Text> {
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

    fn file(&mut self, node: &Node) -> Functions {
        let mut read = Functions::default();
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
            self.wrong(node, "/functions", "`functions` is missing");
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
            if let Some(function) = self.function(value, &path, base.as_ref(), &headers) {
                read.functions.insert(name.into(), function);
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

    fn headers(&mut self, node: &Node, path: &str) -> Map {
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

/// Reads the time of an attempt: text such as `5s`, milliseconds, or a duration.
pub(crate) fn read_timeout(value: &Value) -> Option<Duration> {
    let span = match value {
        Value::Span(span) => *span,
        Value::String(text) => text.parse::<Span>().ok()?,
        other => Span::millis(other.as_i64()?),
    };
    span_duration(span)
}

/// Returns the time of an attempt within its bounds; none if it is not positive.
pub(crate) fn span_duration(span: Span) -> Option<Duration> {
    let micros = u64::try_from(span.0).ok().filter(|it| *it > 0)?;
    let duration = Duration::from_micros(micros);
    (duration <= TIMEOUT_MAX).then_some(duration)
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

fn join(path: &str, key: &str) -> String {
    format!("{path}/{}", key.replace('~', "~0").replace('/', "~1"))
}
