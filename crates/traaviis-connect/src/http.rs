//! Sends HTTP requests under the egress policy; what each effect sends is in files of its own.
//!
//! Invariants:
//! - Every hop passes the policy; credentials never cross an origin and do not come back.
//! - At most `max_response` bytes of a response are held; of an unexpected one 4 KiB.
//! - What a peer sends becomes plain data: it can never become a reference to a secret.

mod call_api;
mod expect;
mod failing;
mod identity;
mod params;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use reqwest::{
    Method, StatusCode,
    header::{self, HeaderMap, HeaderName, HeaderValue},
};
use url::Url;

use traaviis_model::{
    EffectError, Text, Value,
    grant::{fits_any, host_name},
};

use crate::egress::{EgressPolicy, Names, Resolver, SystemNames};
pub(crate) use call_api::{API_TIMEOUT, call_api, read_json};
pub(crate) use expect::Expect;
pub(crate) use failing::{egress_denied, invalid, is_retryable, retry_after};
use failing::{place, send_error};
pub(crate) use identity::add_identity;
pub(crate) use params::{append_query, parse_method, read_headers, read_method, scalar};

/// Time to reach a peer; longer means it is away.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Bytes of a response unless the call sets another bound.
pub(crate) const RESPONSE_BYTES_DEFAULT: u64 = 10 << 20;
/// Bytes of an unexpected response that go into the error.
const ERROR_BODY_BYTES: usize = 4 << 10;
/// Redirects of one call; more is a loop.
pub(crate) const REDIRECTS_MAX: u64 = 5;

tokio::task_local! {
    /// Bytes that the attempt has sent which runs here.
    pub(crate) static SENT: Arc<AtomicU64>;
}

/// An HTTP client bound to one egress policy.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    policy: Arc<EgressPolicy>,
    http: reqwest::Client,
}

/// A request that is ready to leave.
#[derive(Debug)]
pub(crate) struct Request {
    pub method: Method,
    pub url: Url,
    pub headers: Vec<RequestHeader>,
    pub body: Option<Vec<u8>>,
    pub redirects: u64,
    pub response_bytes_max: u64,
}

impl Request {
    /// Returns how many bytes it has: address, headers and body.
    fn bytes(&self) -> u64 {
        let headers = self.headers.iter().map(|it| it.name.as_str().len() + it.value.len());
        let body = self.body.as_ref().map_or(0, Vec::len);
        (self.url.as_str().len() + headers.sum::<usize>() + body) as u64
    }
}

/// A header of a request.
#[derive(Debug)]
pub(crate) struct RequestHeader {
    pub name: HeaderName,
    pub value: HeaderValue,
    /// Must not cross an origin.
    pub credential: bool,
}

/// What came back; the body is cut to 4 KiB when the status was not expected.
#[derive(Debug)]
pub(crate) struct Reply {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
    pub duration: Duration,
}

impl Client {
    /// Builds the client: no proxy, no automatic redirect or retry, names through the policy.
    pub(crate) fn new(policy: EgressPolicy) -> Result<Client, reqwest::Error> {
        Client::with_names(policy, Arc::new(SystemNames))
    }

    /// The same, with names looked up by this.
    pub(crate) fn with_names(
        policy: EgressPolicy,
        names: Arc<dyn Names>,
    ) -> Result<Client, reqwest::Error> {
        let policy = Arc::new(policy);
        let builder = || {
            reqwest::Client::builder()
                .no_proxy()
                .redirect(reqwest::redirect::Policy::none())
                .retry(reqwest::retry::never())
                .referer(false)
                // Another crate asks reqwest for HTTP/2; peers see what they always saw.
                .http1_only()
                .connect_timeout(CONNECT_TIMEOUT)
                .user_agent(concat!("traaviis/", env!("CARGO_PKG_VERSION")))
                .dns_resolver(Resolver::new(Arc::clone(&policy), Arc::clone(&names)))
        };
        // A machine without root certificates still speaks plain HTTP; https fails there per call.
        let http = builder().build().or_else(|_| builder().tls_certs_only([]).build())?;
        Ok(Client { policy, http })
    }

    /// Sends a request, follows redirects, and reads the response within its bounds; each target
    /// must stand in every list of hosts.
    pub(crate) async fn send(
        &self,
        mut request: Request,
        expect: &Expect,
        hosts: &[Vec<Text>],
    ) -> Result<Reply, EffectError> {
        let started = Instant::now();
        let mut hops = 0;
        loop {
            self.policy.check(&request.url).map_err(|denied| egress_denied(&denied))?;
            is_granted(&request.url, hosts)?;
            let response = self.send_once(&request).await?;
            let next = redirect_target(&request, &response);
            let Some(next) = next.filter(|_| request.redirects > 0) else {
                return read_reply(response, &request, expect, started).await;
            };
            hops += 1;
            if hops > request.redirects {
                let status = i64::from(response.status().as_u16());
                let message = format!("more than {} redirects", request.redirects);
                let details =
                    Value::map([("status", Value::Int(status)), ("body", Value::from(""))]);
                return Err(EffectError::new("http_error", message).with_details(details));
            }
            follow(&mut request, response.status(), next?);
        }
    }

    async fn send_once(&self, request: &Request) -> Result<reqwest::Response, EffectError> {
        // Not of an attempt: nobody counts it.
        let _ = SENT.try_with(|it| it.fetch_add(request.bytes(), Ordering::Relaxed));
        let mut builder = self.http.request(request.method.clone(), request.url.clone());
        for header in &request.headers {
            builder = builder.header(header.name.clone(), header.value.clone());
        }
        if let Some(body) = &request.body {
            builder = builder.body(body.clone());
        }
        builder.send().await.map_err(|error| send_error(error, request))
    }
}

/// Refuses a target that a state around the effect does not list.
fn is_granted(url: &Url, hosts: &[Vec<Text>]) -> Result<(), EffectError> {
    let host = url.host_str().unwrap_or_default();
    let name = host_name(host, url.port_or_known_default().unwrap_or_default());
    if hosts.iter().all(|it| fits_any(it, &name)) {
        return Ok(());
    }
    let message =
        format!("`permissions.hosts` of a state around the effect does not list `{name}`");
    let details = Value::map([("kind", Value::from("host")), ("name", Value::String(name))]);
    Err(EffectError::new("permission_denied", message).with_details(details))
}

/// Returns where a response redirects to; none if it does not.
fn redirect_target(
    request: &Request,
    response: &reqwest::Response,
) -> Option<Result<Url, EffectError>> {
    if !matches!(response.status().as_u16(), 301 | 302 | 303 | 307 | 308) {
        return None;
    }
    let location = response.headers().get(header::LOCATION)?;
    let target = location.to_str().ok().and_then(|it| request.url.join(it).ok());
    Some(target.ok_or_else(|| {
        EffectError::new("network_error", "the peer redirects to something that is no URL")
    }))
}

/// Turns a request into the one for the next hop.
fn follow(request: &mut Request, status: StatusCode, next: Url) {
    if request.url.origin() != next.origin() {
        request.headers.retain(|it| !it.credential);
    }
    let to_get = match status.as_u16() {
        303 => request.method != Method::HEAD,
        301 | 302 => request.method == Method::POST,
        _ => false,
    };
    if to_get {
        request.method = Method::GET;
        request.body = None;
        request.headers.retain(|it| it.name != header::CONTENT_TYPE);
    }
    request.url = next;
}

async fn read_reply(
    mut response: reqwest::Response,
    request: &Request,
    expect: &Expect,
    started: Instant,
) -> Result<Reply, EffectError> {
    let status = response.status();
    let expected = expect.accepts(status.as_u16());
    let limit = if expected {
        usize::try_from(request.response_bytes_max).unwrap_or(usize::MAX)
    } else {
        ERROR_BODY_BYTES
    };
    let too_large = || {
        EffectError::new(
            "payload_too_large",
            format!("the response of `{}` is larger than {limit} bytes", place(request)),
        )
        .with_details(Value::map([("limit", Value::Int(limit as i64))]))
    };
    if expected
        && request.method != Method::HEAD
        && response.content_length().is_some_and(|it| it > limit as u64)
    {
        return Err(too_large());
    }
    let headers = response.headers().clone();
    let mut body = Vec::new();
    loop {
        match response.chunk().await {
            Ok(Some(chunk)) if body.len() + chunk.len() <= limit => body.extend_from_slice(&chunk),
            Ok(Some(_)) if expected => return Err(too_large()),
            Ok(Some(chunk)) => {
                body.extend_from_slice(&chunk[..limit - body.len()]);
                break;
            }
            Ok(None) => break,
            // The status is known, so it says more than the broken body does.
            Err(_) if !expected => break,
            Err(error) => return Err(send_error(error, request)),
        }
    }
    Ok(Reply { status, headers, body, duration: started.elapsed() })
}

#[cfg(test)]
mod tests {
    use super::{params::request_header, *};

    #[test]
    fn credentials_do_not_cross_an_origin_and_post_becomes_get() {
        let mut request = Request {
            method: Method::POST,
            url: "https://a.example/x".parse().unwrap(),
            headers: vec![
                request_header(header::AUTHORIZATION, "Bearer x", true).unwrap(),
                request_header(header::COOKIE, "a=b", false).unwrap(),
                request_header(HeaderName::from_static("x-key"), "k", true).unwrap(),
                request_header(header::CONTENT_TYPE, "application/json", false).unwrap(),
                request_header(HeaderName::from_static("x-plain"), "p", false).unwrap(),
            ],
            body: Some(b"{}".to_vec()),
            redirects: 5,
            response_bytes_max: 1,
        };
        follow(
            &mut request,
            StatusCode::TEMPORARY_REDIRECT,
            "https://a.example/y".parse().unwrap(),
        );
        assert_eq!((request.headers.len(), &request.method), (5, &Method::POST));
        follow(&mut request, StatusCode::FOUND, "http://a.example/y".parse().unwrap());
        let names: Vec<_> = request.headers.iter().map(|it| it.name.as_str()).collect();
        assert_eq!(names, ["x-plain"]);
        assert_eq!((&request.method, &request.body), (&Method::GET, &None));
    }

    /// The URL passes, the name resolves to loopback: only the resolver can refuse.
    #[tokio::test]
    async fn a_name_that_resolves_to_a_private_address_is_denied_while_connecting() {
        let strict = Client::new(EgressPolicy::default()).unwrap();
        let open = EgressPolicy {
            allow_private: vec!["localhost:8099".parse().unwrap()],
            ..EgressPolicy::default()
        };
        let client = Client { policy: Arc::new(open), http: strict.http };
        let request = Request {
            method: Method::GET,
            url: "http://localhost:8099/".parse().unwrap(),
            headers: Vec::new(),
            body: None,
            redirects: 0,
            response_bytes_max: 1,
        };
        let error = client.send(request, &Expect::success(), &[]).await.unwrap_err();
        assert_eq!((&*error.code, error.retryable), ("egress_denied", false), "{error:?}");
    }
}
