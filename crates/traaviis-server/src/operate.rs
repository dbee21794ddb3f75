//! What operators add to a server: numbers of what runs behind it, traces, a token for numbers.

use std::fmt;

use sha2::{Digest as _, Sha256};
use traaviis_model::Timestamp;
use traaviis_platform::Error;
use tracing::Span;
use uuid::Uuid;

use crate::metrics::Exposition;

/// Ids of a trace and of a span in it, in hexadecimal digits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TraceIds {
    /// Trace: 32 digits.
    pub trace: String,
    /// Span: 16 digits.
    pub span: String,
}

/// Puts the span of a request into the trace that its caller named, and returns its ids; none when
/// no trace takes it.
pub type OnRequest = fn(&Span, Option<&TraceIds>) -> Option<TraceIds>;

/// What operators add to a server.
pub struct Operations {
    /// Adds numbers of what runs behind the server.
    pub numbers: Box<dyn Fn(&mut Exposition) + Send + Sync>,
    /// What traces learn of requests; nothing when none are kept.
    pub on_request: Option<OnRequest>,
    /// Who shows it may read numbers where everybody comes in; none: nobody may.
    pub metrics_token: Option<MetricsToken>,
    /// Operators must show it, too: others than this machine reach their address.
    pub asks_operators: bool,
    /// Says how backups stand, and lets one be made.
    pub backups: Box<dyn Fn(BackupAsk) -> Result<Backups, Error> + Send + Sync>,
}

/// What is asked about backups.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BackupAsk {
    /// How they stand.
    Look,
    /// One shall be made now.
    Make,
}

/// How backups stand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backups {
    /// Where they are kept.
    pub target: String,
    /// One is asked for or being made.
    pub is_running: bool,
    /// When the last one was made.
    pub made_at: Option<Timestamp>,
    /// Position of the log that it reaches.
    pub position: Option<u64>,
    /// Why none succeeds.
    pub failing: Option<String>,
}

impl Default for Operations {
    fn default() -> Operations {
        Operations {
            numbers: Box::new(|_| ()),
            on_request: None,
            metrics_token: None,
            asks_operators: false,
            backups: Box::new(|_| Err(Error::new("invalid_state", "this server keeps no backups"))),
        }
    }
}

impl fmt::Debug for Operations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Operations").finish_non_exhaustive()
    }
}

/// The token of operators, as its hash.
#[derive(Clone, Copy, Debug)]
pub struct MetricsToken([u8; 32]);

impl MetricsToken {
    /// Returns the token with this text.
    pub fn new(text: &str) -> MetricsToken {
        MetricsToken(Sha256::digest(text).into())
    }

    /// Says whether somebody has shown it. Hashes are compared, so the time tells nothing of it.
    pub fn is(&self, shown: &str) -> bool {
        let shown: [u8; 32] = Sha256::digest(shown).into();
        self.0 == shown
    }
}

/// Longest id of a request that is taken from its caller.
const REQUEST_ID_CHARS_MAX: usize = 64;

/// Returns the id of a request: its caller's, when it is one, or a new one.
pub fn request_id(given: Option<&str>) -> String {
    let is_part = |it: u8| it.is_ascii_alphanumeric() || matches!(it, b'-' | b'_' | b'.');
    let fits =
        |it: &&str| (1..=REQUEST_ID_CHARS_MAX).contains(&it.len()) && it.bytes().all(is_part);
    given.filter(fits).map_or_else(|| Uuid::now_v7().to_string(), str::to_owned)
}

impl TraceIds {
    /// Reads `traceparent` (W3C Trace Context); what is no such header is nothing.
    pub fn read(header: &str) -> Option<TraceIds> {
        let mut parts = header.trim().split('-');
        let (version, trace, span) = (parts.next()?, parts.next()?, parts.next()?);
        let flags = parts.next()?;
        let is_hex = |it: &str, len: usize| {
            it.len() == len && it.bytes().all(|it| matches!(it, b'0'..=b'9' | b'a'..=b'f'))
        };
        let is_zero = |it: &str| it.bytes().all(|it| it == b'0');
        let fits = is_hex(version, 2)
            && version != "ff"
            && is_hex(trace, 32)
            && !is_zero(trace)
            && is_hex(span, 16)
            && !is_zero(span)
            && is_hex(flags, 2);
        // Version 00 has four parts; a later one may have more.
        let is_whole = version != "00" || parts.next().is_none();
        (fits && is_whole).then(|| TraceIds { trace: trace.into(), span: span.into() })
    }

    /// Returns ids for a request of which no traces are kept: in the trace of its caller, or in a
    /// new one, so that its lines can be found all the same.
    pub fn fresh(caller: Option<TraceIds>) -> TraceIds {
        let chance = Uuid::now_v7().simple().to_string();
        let span = chance[16..].to_owned();
        let trace = caller.map_or_else(|| Uuid::now_v7().simple().to_string(), |it| it.trace);
        TraceIds { trace, span }
    }

    /// Returns the header.
    pub fn header(&self) -> String {
        format!("00-{}-{}-01", self.trace, self.span)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
    const SPAN: &str = "b7ad6b7169203331";

    #[test]
    fn traceparent_is_read_as_the_standard_says_or_passed_over() {
        let good = format!("00-{TRACE}-{SPAN}-01");
        let read = TraceIds::read(&good).unwrap();
        assert_eq!((&*read.trace, &*read.span, read.header()), (TRACE, SPAN, good));
        assert!(TraceIds::read(&format!("01-{TRACE}-{SPAN}-00-more")).is_some());
        for bad in [
            "".to_owned(),
            format!("00-{TRACE}-{SPAN}"),
            format!("00-{TRACE}-{SPAN}-01-more"),
            format!("ff-{TRACE}-{SPAN}-01"),
            format!("00-{}-{SPAN}-01", "0".repeat(32)),
            format!("00-{TRACE}-{}-01", "0".repeat(16)),
            format!("00-{}-{SPAN}-01", TRACE.to_uppercase()),
            format!("00-{TRACE}{SPAN}-01"),
        ] {
            assert_eq!(TraceIds::read(&bad), None, "{bad}");
        }
    }

    #[test]
    fn a_request_without_a_trace_gets_one() {
        let fresh = TraceIds::fresh(None);
        assert_eq!(TraceIds::read(&fresh.header()), Some(fresh));
        let caller = TraceIds { trace: TRACE.into(), span: SPAN.into() };
        let below = TraceIds::fresh(Some(caller));
        assert_eq!(below.trace, TRACE);
        assert_ne!(below.span, SPAN);
    }

    #[test]
    fn the_id_of_a_request_is_its_callers_when_it_is_one() {
        assert_eq!(request_id(Some("abc-1.2_X")), "abc-1.2_X");
        let long = "x".repeat(65);
        for bad in [None, Some(""), Some("a b"), Some("a\"b"), Some(&*long)] {
            assert_eq!(request_id(bad).len(), 36);
        }
    }

    #[test]
    fn only_the_token_itself_is_the_token() {
        let token = MetricsToken::new("Jc0lWn4vQ2sX9bT7");
        assert!(token.is("Jc0lWn4vQ2sX9bT7"));
        assert!(!token.is("Jc0lWn4vQ2sX9bT8") && !token.is(""));
    }
}
