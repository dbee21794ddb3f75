//! What a caller sent, checked: path, query, body. Nothing here knows what is asked for.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use serde::de::{DeserializeOwned, IgnoredAny};
use traaviis_api::{
    Access, Operation,
    openapi::MERGE_PATCH,
    operation::{Form, Param},
};
use traaviis_model::Text;
use traaviis_platform::{Error, audit::Via, expected::Expected};
use url::form_urlencoded;

use crate::{limits::Pace, whole};

/// Bytes of a body.
pub const BODY_BYTES_MAX: usize = 1 << 20;
/// Bytes of a body that holds a definition.
pub const DEFINITION_BODY_BYTES_MAX: usize = 2 << 20;
/// Media type of a form.
const FORM: &str = "application/x-www-form-urlencoded";
/// How deep a body may be nested.
pub const DEPTH_MAX: usize = 64;
/// Items of a page at most.
pub const PAGE_MAX: usize = 200;
/// Items of a page unless a caller asks for another number.
pub const PAGE_DEFAULT: usize = 50;
/// Characters of a user agent that are kept.
const USER_AGENT_CHARS: usize = 200;

/// What a sender to a hook says of its message (Standard Webhooks).
#[derive(Clone, Debug, Default)]
pub struct MessageHeaders {
    /// `webhook-id`.
    pub id: Option<String>,
    /// `webhook-timestamp`.
    pub timestamp: Option<String>,
    /// `webhook-signature`.
    pub signature: Option<String>,
    /// `webhook-token`.
    pub token: Option<String>,
}

/// A request after its body has arrived.
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// Path as it was asked for.
    pub path: String,
    /// Parts of the path by name.
    pub parts: BTreeMap<String, String>,
    /// Query by name; the last of several counts.
    pub query: BTreeMap<String, String>,
    /// `Authorization`.
    pub authorization: Option<String>,
    /// Tenants that are named besides the path: by `X-Tenant-Id`, by `tenant` in the query.
    pub tenants: Vec<String>,
    /// Tenant whose name stands before that of the server in its host.
    pub host_tenant: Option<String>,
    /// `If-Match`.
    pub if_match: Option<String>,
    /// `If-None-Match`.
    pub if_none_match: Option<String>,
    /// `Idempotency-Key`.
    pub idempotency_key: Option<String>,
    /// `Last-Event-ID`.
    pub last_event_id: Option<String>,
    /// What a sender to a hook says of its message.
    pub message: MessageHeaders,
    /// `Content-Type`.
    pub content_type: Option<String>,
    /// `User-Agent`.
    pub user_agent: Option<String>,
    /// `Cookie`.
    pub cookie: Option<String>,
    /// `X-Trv-Csrf`.
    pub csrf: Option<String>,
    /// Address of the caller.
    pub address: Option<String>,
    /// Its own id.
    pub id: String,
    /// Body.
    pub body: Vec<u8>,
    /// How the caller stands to their limit, once that was looked at.
    pub pace: Arc<Mutex<Option<Pace>>>,
}

impl Request {
    /// Says whether it was counted for the caller already.
    pub fn is_paced(&self) -> bool {
        self.pace.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    /// Says whether a tenant is named besides the path.
    pub fn names_tenant(&self) -> bool {
        !self.tenants.is_empty() || self.host_tenant.is_some()
    }

    /// Returns the token that the caller shows.
    pub fn token(&self) -> Option<&str> {
        bearer(self.authorization.as_deref()?)
    }

    /// Returns where it comes from.
    pub fn via(&self) -> Via {
        let agent = self.user_agent.as_ref();
        let agent = agent.map(|it| it.chars().take(USER_AGENT_CHARS).collect::<String>());
        Via {
            way: "request",
            ip_address: self.address.as_deref().map(Text::from),
            user_agent: agent.map(Text::from),
            request_id: Some(self.id.as_str().into()),
            request_key: None,
        }
    }

    /// Returns a part of the path.
    pub fn part(&self, name: &str) -> &str {
        self.parts.get(name).map_or("", String::as_str)
    }

    /// Returns a part of the path that is an id; what is none names nothing.
    pub fn id<T: std::str::FromStr>(&self, name: &str, what: &str) -> Result<T, Error> {
        let text = self.part(name);
        // Only the one way of writing it that answers use.
        let is_plain = text.len() == 36 && !text.contains(|it: char| it.is_ascii_uppercase());
        let id = text.parse().ok().filter(|_| is_plain);
        id.ok_or_else(|| Error::not_found(what, text))
    }

    /// Returns a cookie.
    pub fn cookie(&self, name: &str) -> Option<&str> {
        let all = self.cookie.as_deref()?.split(';').map(str::trim);
        all.filter_map(|it| it.split_once('=')).find(|it| it.0 == name).map(|it| it.1)
    }

    /// Returns the versions that `If-Match` names, which must be there.
    pub fn expected(&self) -> Result<Expected, Error> {
        let Some(given) = &self.if_match else {
            return Err(Error::new(
                "precondition_required",
                "send the `ETag` of what you have read as `If-Match`, so that no change of \
                 somebody else is lost",
            ));
        };
        Ok(versions(given))
    }

    /// Returns the versions that `If-Match` names; any, where it is absent.
    pub fn expected_if_given(&self) -> Expected {
        self.if_match.as_deref().map_or(Expected::ANY, versions)
    }

    /// Reads the body, an object.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, Error> {
        self.json_as("application/json")
    }

    /// Reads a body that is a merge patch (RFC 7396).
    pub fn merge_patch<T: DeserializeOwned>(&self) -> Result<T, Error> {
        self.json_as(MERGE_PATCH)
    }

    fn json_as<T: DeserializeOwned>(&self, media_type: &str) -> Result<T, Error> {
        // A list would be taken for the fields of an object, in the order in which we write them.
        if self.body.trim_ascii_start().starts_with(b"[") {
            self.any_json_as::<IgnoredAny>(media_type)?;
            let message = "the body is a list in the place of an object";
            return Err(Error::new("validation_failed", message));
        }
        self.any_json_as(media_type)
    }

    fn any_json_as<T: DeserializeOwned>(&self, media_type: &str) -> Result<T, Error> {
        if !self.content_type.as_deref().is_some_and(|it| is_of(it, media_type)) {
            let message = format!("send the body as JSON, with `Content-Type: {media_type}`");
            return Err(Error::new("unsupported_media_type", message));
        }
        check_depth(&self.body)?;
        whole::read(&self.body).map_err(|error| unreadable(&error))
    }

    /// Says whether the body is a form.
    pub fn is_form(&self) -> bool {
        self.content_type.as_deref().is_some_and(|it| is_of(it, FORM))
    }

    /// Reads a body that is a form, in which some fields are whole numbers.
    pub fn form<T: DeserializeOwned>(&self, numbers: &[&str]) -> Result<T, Error> {
        let mut fields = serde_json::Map::new();
        for (name, text) in form_urlencoded::parse(&self.body) {
            let value = match text.parse::<u64>() {
                Ok(number) if numbers.contains(&&*name) => number.into(),
                _ => text.into_owned().into(),
            };
            if fields.insert(name.to_string(), value).is_some() {
                return Err(Error::invalid(&format!("/{name}"), "this field stands twice"));
            }
        }
        serde_json::from_value(fields.into()).map_err(|error| unreadable(&error))
    }

    /// Reads a body that may be left out.
    pub fn json_or_default<T: DeserializeOwned + Default>(&self) -> Result<T, Error> {
        if self.body.is_empty() { Ok(T::default()) } else { self.json() }
    }

    /// Reads a body that may be left out, and is whatever its sender likes.
    pub fn any_json_or_default<T: DeserializeOwned + Default>(&self) -> Result<T, Error> {
        match self.body.is_empty() {
            true => Ok(T::default()),
            false => self.any_json_as("application/json"),
        }
    }

    /// Holds the query to what the row of the operation says of it.
    ///
    /// Ids are looked at where they are read. A name that the row does not have is refused, or a
    /// typing error in a filter would list everything; an issuer that sends somebody back, and a
    /// sender to a hook, may add what they like.
    pub fn check_query(&self, row: &Operation) -> Result<(), Error> {
        let is_known = |name: &str| row.query.iter().any(|it| it.name == name);
        let unknown = self.query.keys().find(|it| row.access != Access::Public && !is_known(it));
        if let Some(name) = unknown {
            let known: Vec<&str> = row.query.iter().map(|it| it.name).collect();
            let rule = match known.is_empty() {
                true => "there is nothing to ask here in the query".to_owned(),
                false => format!("here one asks by `{}`", known.join("`, `")),
            };
            return Err(Error::invalid(shortened(name), rule));
        }
        for Param { name, form, .. } in row.query {
            let Some(given) = self.query.get(*name) else { continue };
            match form {
                Form::Text | Form::Like(_) if given.is_empty() => {
                    return Err(Error::invalid(name, "leave it out, or say something"));
                }
                Form::OneOf(words) if !words.contains(&given.as_str()) => {
                    let words = words.join("`, `");
                    return Err(Error::invalid(name, format!("this is one of `{words}`")));
                }
                // What is no number, or has more digits than any, is refused where it is read.
                Form::Whole(_, to) if given.parse::<u64>().is_ok_and(|it| it > *to) => {
                    return Err(Error::invalid(name, format!("this is at most {to}")));
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Returns how many items a page shall have.
    pub fn limit(&self) -> Result<usize, Error> {
        let Some(text) = self.query.get("limit") else { return Ok(PAGE_DEFAULT) };
        match text.parse() {
            Ok(limit) if (1..=PAGE_MAX).contains(&limit) => Ok(limit),
            _ => Err(Error::invalid("limit", format!("a page has 1 to {PAGE_MAX} items"))),
        }
    }

    /// Returns a parameter of the query that is read as something.
    pub fn query<T: std::str::FromStr>(&self, name: &str, what: &str) -> Result<Option<T>, Error> {
        let given = self.query.get(name).map(|it| it.parse());
        given.transpose().map_err(|_| Error::invalid(name, format!("this is {what}")))
    }
}

/// Returns the beginning of a name that somebody sent, which is repeated to them.
fn shortened(name: &str) -> &str {
    const CHARS: usize = 40;
    name.char_indices().nth(CHARS).map_or(name, |(at, _)| &name[..at])
}

/// Reads `If-Match`: `*`, or tags with commas between. A tag that no answer has had is none of what
/// is there. One that a proxy has marked as weak, since it has compressed the answer, still names
/// the version, as a version is told apart by its number alone.
fn versions(if_match: &str) -> Expected {
    if if_match.trim() == "*" {
        return Expected::ANY;
    }
    let tags = if_match.split(',').map(|it| it.trim().trim_start_matches("W/").trim_matches('"'));
    tags.filter_map(|it| it.parse().ok()).collect::<Vec<u64>>().into()
}

/// Says whether `If-None-Match` names a version, by itself or among others.
pub(crate) fn names_version(if_none_match: &str, version: u64) -> bool {
    let tag = format!("\"{version}\"");
    let mut all = if_none_match.split(',').map(|it| it.trim().trim_start_matches("W/"));
    all.any(|it| it == "*" || it == tag)
}

/// Returns the token in an `Authorization` header.
pub(crate) fn bearer(header: &str) -> Option<&str> {
    let (scheme, token) = header.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// Says whether a content type is a media type in UTF-8.
fn is_of(content_type: &str, media_type: &str) -> bool {
    let mut parts = content_type.split(';').map(str::trim);
    let is_it = parts.next().is_some_and(|it| it.eq_ignore_ascii_case(media_type));
    is_it && parts.all(|it| it.eq_ignore_ascii_case("charset=utf-8"))
}

/// Refuses what is nested too deep before anything recurses into it.
fn check_depth(body: &[u8]) -> Result<(), Error> {
    let (mut depth, mut in_text, mut escaped) = (0_usize, false, false);
    for byte in body {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_text => escaped = true,
            b'"' => in_text = !in_text,
            b'{' | b'[' if !in_text => {
                depth += 1;
                if depth > DEPTH_MAX {
                    let message = format!("the body is nested deeper than {DEPTH_MAX}");
                    return Err(Error::new("bad_request", message));
                }
            }
            b'}' | b']' if !in_text => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    Ok(())
}

/// Reads what a request and something that was there make together, as a body would be read.
pub(crate) fn merged<T: DeserializeOwned>(value: serde_json::Value) -> Result<T, Error> {
    serde_json::from_value(value).map_err(|error| unreadable(&error))
}

/// Says what is wrong with a body. What it holds is not repeated: it may be a password.
fn unreadable(error: &serde_json::Error) -> Error {
    // A form has no lines.
    let place = match error.line() {
        0 => "the body".to_owned(),
        line => format!("line {line} column {}", error.column()),
    };
    if !error.is_data() {
        return Error::new("bad_request", format!("the body is no JSON: it breaks off at {place}"));
    }
    let text = error.to_string();
    let field = text.split('`').nth(1).map(str::to_owned);
    match field {
        Some(field) if text.starts_with("unknown field") => {
            let pointer = format!("/{field}");
            let message = format!("`{pointer}` is no field of this request ({place})");
            Error::new("unknown_field", message).with_details(serde_json::json!({
                "errors": [{
                    "pointer": pointer, "code": "unknown_field", "message": "unknown field",
                }],
            }))
        }
        Some(field) if text.starts_with("missing field") => {
            Error::invalid(&format!("/{field}"), "this field is needed")
        }
        Some(field) if text.starts_with("duplicate field") => {
            Error::invalid(&format!("/{field}"), "this field stands twice")
        }
        _ => Error::new("validation_failed", format!("a value at {place} has the wrong type")),
    }
}

#[cfg(test)]
mod tests {
    use traaviis_api::{Op, types::identity::LoginRequest};

    use super::*;

    fn read(body: &str) -> Result<LoginRequest, Error> {
        let content_type = Some("application/json; charset=utf-8".into());
        Request { body: body.into(), content_type, ..Request::default() }.json()
    }

    #[test]
    fn a_bad_body_is_refused_with_the_place_and_without_its_content() {
        assert!(read(r#"{"email":"a@b.co","password":"s3cret"}"#).is_ok());
        for (body, code, part) in [
            (r#"{"email":"a@b.co","password":"s3cret""#, "bad_request", "column"),
            ("", "bad_request", "line"),
            (r#"["a@b.co", "s3cret"]"#, "validation_failed", "list"),
            (r#"["a@b.co", "s3cret""#, "bad_request", "column"),
            (r#"{"email":"a","password":"s3cret","admin":true}"#, "unknown_field", "/admin"),
            (r#"{"email":"a"}"#, "validation_failed", "/password"),
            (r#"{"email":"a","password":"s3cret","password":"x"}"#, "validation_failed", "twice"),
            (r#"{"email":"a","password":["s3cret"]}"#, "validation_failed", "wrong type"),
            (r#"["s3cret"]"#, "validation_failed", ""),
            (&"[".repeat(65), "bad_request", "deeper"),
        ] {
            let error = read(body).unwrap_err();
            assert_eq!(error.code, code, "{body}");
            assert!(error.message.contains(part), "{error}");
            assert!(!format!("{error:?}").contains("s3cret"), "{error:?}");
        }
        let plain = Request { body: b"{}".to_vec(), ..Request::default() };
        for content_type in [None, Some("text/plain"), Some("application/json; charset=latin1")] {
            let content_type = content_type.map(str::to_owned);
            let request = Request { content_type, ..plain.clone() };
            let error = request.json::<LoginRequest>().unwrap_err();
            assert_eq!(error.code, "unsupported_media_type");
        }
        assert!(
            check_depth(br#"{"a":"[[[[\"{{{{"}"#).is_ok(),
            "what stands in texts is no nesting"
        );
    }

    #[test]
    fn a_change_is_about_the_versions_that_are_named() {
        for (given, expected) in [
            (r#""7""#, 7.into()),
            (r#"W/"7""#, 7.into()),
            ("7", 7.into()),
            (r#""3", "7""#, vec![3, 7].into()),
            (r#""x" , "7""#, 7.into()),
            (r#""*""#, vec![].into()),
            ("", vec![].into()),
            (" * ", Expected::ANY),
        ] {
            assert_eq!(versions(given), expected, "{given}");
        }
    }

    #[test]
    fn a_version_is_found_among_others() {
        for (given, is_named) in [
            (r#""7""#, true),
            (r#"W/"7""#, true),
            (r#""1", "7""#, true),
            ("*", true),
            (r#""17""#, false),
            ("7", false),
            ("", false),
        ] {
            assert_eq!(names_version(given, 7), is_named, "{given}");
        }
    }

    #[test]
    fn a_query_is_held_to_its_row() {
        let check = |query: &str| {
            let query = query.split('&').filter_map(|it| it.split_once('='));
            let query = query.map(|(name, value)| (name.to_string(), value.to_string())).collect();
            Request { query, ..Request::default() }.check_query(Op::Instances.row())
        };
        for good in ["", "limit=200&workflow=Door&all=true", "limit=x", "cursor="] {
            assert!(check(good).is_ok(), "{good}");
        }
        for bad in [
            "nobody=",
            "limit=1&workflw=Door",
            "limit=201",
            "limit=18446744073709551615",
            "workflow=",
            "state=&limit=1",
        ] {
            assert_eq!(check(bad).unwrap_err().code, "validation_failed", "{bad}");
        }
    }
}
