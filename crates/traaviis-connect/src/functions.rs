//! Functions: how one is called, and what its answer means.
//!
//! Responsible for checking arguments and results by schema, and turning arguments into a request.
//! Leaves reading the connectors file to [`crate::file`], and sending to [`crate::http`].

use std::{collections::BTreeMap, time::Duration};

use jsonschema::Validator;
use reqwest::Method;
use traaviis_model::{Call, DeliveryClass, EffectError, Map, Span, Text, Value};
use traaviis_ports::Outcome;
use url::Url;

use crate::{
    http::{
        Client, Expect, REDIRECTS_MAX, RESPONSE_BYTES_DEFAULT, Reply, Request, add_identity,
        append_query, invalid, is_retryable, read_headers, read_json, retry_after, scalar,
    },
    secret::Vault,
};

/// Time of a `call` attempt when neither workflow nor function sets one.
pub(crate) const CALL_TIMEOUT: Duration = Duration::from_secs(5);
/// Longest time of one attempt; longer work belongs into several calls.
const TIMEOUT_MAX: Duration = Duration::from_secs(3600);
/// Schema errors told at once.
const SCHEMA_ERRORS_MAX: usize = 5;
/// Names offered for an unknown function.
const NEAREST_MAX: usize = 3;

/// The functions an operator offers to workflows, by name.
#[derive(Debug, Default)]
pub struct Functions(pub(crate) BTreeMap<Text, Function>);

/// One function: a request with blanks.
#[derive(Debug)]
pub struct Function {
    pub(crate) method: Method,
    /// Absolute URL; may hold `{name}` blanks in its path.
    pub(crate) url: String,
    pub(crate) side_effect: bool,
    pub(crate) idempotent: bool,
    pub(crate) timeout: Option<Duration>,
    pub(crate) headers: Map,
    pub(crate) args: Option<Validator>,
    pub(crate) result: Option<Validator>,
    pub(crate) error_code_field: Option<Text>,
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
    /// Returns the function of that name.
    pub fn get(&self, name: &str) -> Option<&Function> {
        self.0.get(name)
    }

    /// Returns the names of all functions, in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(|it| &**it)
    }

    /// Returns the function that a `call` names, or the error with the nearest names.
    pub(crate) fn find(&self, input: &Value) -> Result<(&Text, &Function), EffectError> {
        let name = input
            .get("function")
            .and_then(Value::as_str)
            .ok_or_else(|| invalid("`function` is missing or not text"))?;
        self.0.get_key_value(name).ok_or_else(|| self.unknown(name))
    }

    fn unknown(&self, name: &str) -> EffectError {
        let nearest = self.nearest(name);
        let mut message = format!("function `{name}` is not in the connectors file");
        if self.0.is_empty() {
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
            .0
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
    let reply = client.send(request, &Expect::success(), &call.hosts).await?;
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
pub(crate) fn fill(template: &str, args: &mut Map) -> Result<String, EffectError> {
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
