//! Cookies by which a browser is known again.

use super::Call;

/// A cookie that is sent to this very host alone, and that no script reads.
pub(super) struct Cookie {
    pub name: String,
    rest: &'static str,
    same_site: &'static str,
}

impl Cookie {
    /// A browser keeps a cookie with the prefix only from this very host over TLS; without TLS, as
    /// where one tries things out, there is none of that to have.
    pub fn of(call: &Call<'_>, what: &str, same_site: &'static str) -> Cookie {
        let (prefix, rest) = match call.platform().settings().issuer.starts_with("https://") {
            true => ("__Host-", "Path=/; Secure"),
            false => ("", "Path=/"),
        };
        Cookie { name: format!("{prefix}trv_{what}"), rest, same_site }
    }

    /// Returns what a browser is told to keep for some seconds.
    pub fn text(&self, value: &str, seconds: i64) -> String {
        let Cookie { name, rest, same_site } = self;
        format!("{name}={value}; {rest}; HttpOnly; SameSite={same_site}; Max-Age={seconds}")
    }
}
