//! Sends plain requests under the egress policy, for who waits for the answer.

use std::time::Duration;

use reqwest::{Method, header};
use tokio::runtime::Handle;
use traaviis_ports::{Http, HttpAsk, HttpError, HttpReply};
use url::form_urlencoded;

use crate::{
    egress::EgressPolicy,
    http::{Client, Expect, Request, RequestHeader},
};

/// Time of one request; who logs in waits for it.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Bytes of an answer: descriptions and key sets have a few KiB.
const REPLY_BYTES_MAX: u64 = 256 << 10;

/// Sends plain requests. May be asked on any thread that may wait.
pub struct PlainHttp {
    client: Client,
    handle: Handle,
}

impl PlainHttp {
    /// Returns one that goes where a policy allows.
    pub fn new(policy: EgressPolicy, handle: Handle) -> Result<PlainHttp, reqwest::Error> {
        Ok(PlainHttp::over(Client::new(policy)?, handle))
    }

    pub(crate) fn over(client: Client, handle: Handle) -> PlainHttp {
        PlainHttp { client, handle }
    }
}

impl Http for PlainHttp {
    fn ask(&self, ask: &HttpAsk) -> Result<HttpReply, HttpError> {
        let request = request(ask).ok_or_else(|| HttpError::Failed("this is no URL".into()))?;
        let expect = Expect::any();
        let sent =
            async { tokio::time::timeout(TIMEOUT, self.client.send(request, &expect, &[])).await };
        match self.handle.block_on(sent) {
            Ok(Ok(reply)) => Ok(HttpReply { status: reply.status.as_u16(), body: reply.body }),
            Ok(Err(error)) if &*error.code == "egress_denied" => {
                Err(HttpError::Denied((&*error.message).into()))
            }
            Ok(Err(error)) => Err(HttpError::Failed((&*error.message).into())),
            Err(_) => Err(HttpError::Failed("no answer in time".into())),
        }
    }
}

fn request(ask: &HttpAsk) -> Option<Request> {
    let url = ask.url.parse().ok()?;
    let mut headers = vec![plain(header::ACCEPT, "application/json")?];
    if let Some(value) = &ask.authorization {
        headers.push(RequestHeader { credential: true, ..plain(header::AUTHORIZATION, value)? });
    }
    let body = ask.form.as_ref().map(|fields| {
        let mut form = form_urlencoded::Serializer::new(String::new());
        form.extend_pairs(fields);
        form.finish().into_bytes()
    });
    if body.is_some() {
        headers.push(plain(header::CONTENT_TYPE, "application/x-www-form-urlencoded")?);
    }
    let method = if body.is_some() { Method::POST } else { Method::GET };
    let response_bytes_max = REPLY_BYTES_MAX;
    Some(Request { method, url, headers, body, redirects: 0, response_bytes_max })
}

fn plain(name: header::HeaderName, value: &str) -> Option<RequestHeader> {
    let value = header::HeaderValue::from_str(value).ok()?;
    Some(RequestHeader { name, value, credential: false })
}
