//! By which name a request was sent: a page of somebody else can point a name of theirs at this
//! machine, and a browser then takes what answers there for theirs.
//!
//! An address and `localhost` cannot be pointed anywhere, so they are always believed; of names
//! only the one under which the operator says that people reach the server, once that is said, and
//! those that are one word longer: the word is the short name of a tenant.

use std::net::Ipv4Addr;

use axum::http::{HeaderMap, header};
use traaviis_platform::Error;
use url::{Host, Url};

/// Which names are believed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum Known {
    /// Any: nobody has said how the server is called.
    #[default]
    Any,
    /// This one.
    Only(String),
    /// None.
    Nothing,
}

impl Known {
    /// Returns the name in an address.
    pub fn of(address: &str) -> Known {
        let url = Url::parse(address).ok();
        match url.as_ref().and_then(Url::host) {
            Some(Host::Domain(name)) => Known::Only(name.to_owned()),
            // Whoever is reached by an address has no name that a page could take for its own.
            Some(_) => Known::Nothing,
            None => Known::Any,
        }
    }

    /// Refuses a request that was sent by another name, or by something that is none.
    pub fn check(&self, headers: &HeaderMap) -> Result<(), Error> {
        let mut all = headers.get_all(header::HOST).iter();
        // A program may send none; a browser always does.
        let Some(given) = all.next() else { return Ok(()) };
        let unreadable = || Error::new("bad_request", "`Host` is no host with a port, sent once");
        if all.next().is_some() {
            return Err(unreadable());
        }
        let given = given.to_str().map_err(|_| unreadable())?;
        if self.is_plain(given) {
            return Ok(());
        }
        if given.contains(['@', '/', '\\', '?', '#', ' ', '\t', '%']) {
            return Err(unreadable());
        }
        let url = Url::parse(&format!("http://{given}/")).map_err(|_| unreadable())?;
        let name = match url.host() {
            Some(Host::Domain(name)) => name.trim_end_matches('.'),
            Some(_) => return Ok(()),
            None => return Err(unreadable()),
        };
        match self {
            Known::Any => Ok(()),
            _ if name == "localhost" => Ok(()),
            Known::Only(own) if name == own || label_before(name, own).is_some() => Ok(()),
            Known::Only(_) | Known::Nothing => {
                let message = "this server is not called so; `http.base_url` says how it is called";
                Err(Error::new("wrong_host", message))
            }
        }
    }
}

/// Names before that of a server which are those of no tenant.
const OF_NOBODY: &[&str] = &["www", "api", "app"];

/// Returns the one word that stands before the name of a server.
fn label_before<'a>(name: &'a str, own: &str) -> Option<&'a str> {
    let label = name.strip_suffix(own)?.strip_suffix('.')?;
    (!label.is_empty() && !label.contains('.')).then_some(label)
}

impl Known {
    /// Returns the short name of a tenant that stands before the name of the server.
    pub fn tenant_of(&self, headers: &HeaderMap) -> Option<String> {
        let Known::Only(own) = self else { return None };
        let host = headers.get(header::HOST)?.to_str().ok()?;
        let name = host.split_once(':').map_or(host, |it| it.0).to_ascii_lowercase();
        let label = label_before(name.trim_end_matches('.'), own)?;
        (!OF_NOBODY.contains(&label)).then(|| label.to_owned())
    }

    /// Says whether a host is believed at first sight, as nearly all are: an address of four
    /// numbers or the name itself, with a port or without.
    fn is_plain(&self, given: &str) -> bool {
        let (name, port) = given.split_once(':').unwrap_or((given, "80"));
        let is_port = port.bytes().all(|it| it.is_ascii_digit()) && port.parse::<u16>().is_ok();
        let is_own = matches!(self, Known::Only(own) if own == name);
        is_port && (is_own || name.parse::<Ipv4Addr>().is_ok())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(known: &Known, hosts: &[&str]) -> String {
        let mut headers = HeaderMap::new();
        for host in hosts {
            headers.append(header::HOST, host.parse().unwrap());
        }
        known.check(&headers).map_or_else(|it| it.code.into_owned(), |()| "ok".into())
    }

    #[test]
    fn a_server_with_a_name_answers_to_it_and_to_addresses_alone() {
        let named = Known::of("https://flows.example.org/x");
        let addressed = Known::of("http://127.0.0.1:4000");
        for (host, to_any, to_name, to_address) in [
            ("flows.example.org", "ok", "ok", "wrong_host"),
            ("FLOWS.example.org.:8443", "ok", "ok", "wrong_host"),
            ("evil.example", "ok", "wrong_host", "wrong_host"),
            ("flows.example.org.evil.example", "ok", "wrong_host", "wrong_host"),
            ("xflows.example.org", "ok", "wrong_host", "wrong_host"),
            ("acme.flows.example.org", "ok", "ok", "wrong_host"),
            ("a.acme.flows.example.org", "ok", "wrong_host", "wrong_host"),
            (".flows.example.org", "ok", "wrong_host", "wrong_host"),
            ("localhost:4000", "ok", "ok", "ok"),
            ("127.0.0.1:4000", "ok", "ok", "ok"),
            ("[::1]:4000", "ok", "ok", "ok"),
            ("10.1.2.3", "ok", "ok", "ok"),
            ("evil.example@flows.example.org", "bad_request", "bad_request", "bad_request"),
            ("flows.example.org/x", "bad_request", "bad_request", "bad_request"),
            ("flows.example.org#x", "bad_request", "bad_request", "bad_request"),
            ("flows.example.org:x", "bad_request", "bad_request", "bad_request"),
            ("a b", "bad_request", "bad_request", "bad_request"),
            ("", "bad_request", "bad_request", "bad_request"),
        ] {
            let all = [&Known::Any, &named, &addressed].map(|it| told(it, &[host]));
            assert_eq!(all, [to_any, to_name, to_address], "{host}");
        }
        let tenant = |host: &str| {
            let mut headers = HeaderMap::new();
            headers.append(header::HOST, host.parse().unwrap());
            named.tenant_of(&headers)
        };
        assert_eq!(tenant("Acme.flows.example.org:8443").as_deref(), Some("acme"));
        for none in ["flows.example.org", "www.flows.example.org", "api.flows.example.org", "[::1]"]
        {
            assert_eq!(tenant(none), None, "{none}");
        }
        assert_eq!(told(&named, &[]), "ok");
        assert_eq!(told(&Known::Any, &["a.example", "b.example"]), "bad_request");
    }
}
