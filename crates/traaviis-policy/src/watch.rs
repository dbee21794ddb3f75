//! Rules over the audit stream: what of it somebody should be told.
//!
//! A [`Watch`] sees the entries of one trail in their order and says which of them raise an alert.
//! It depends on nothing but what it has seen, so the same entries raise the same alerts, whoever
//! looks and however often.
//!
//! Invariants: what it remembers has a bound; an alert of one rule about one actor is not repeated
//! within [`QUIET`].

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    net::IpAddr,
};

use traaviis_model::{Span, Timestamp};

use crate::countries::Country;

/// Within this an alert of the same rule about the same actor is not raised again.
pub const QUIET: Span = Span::secs(10 * 60);
/// Refusals of other tenants within a minute that are a probe.
pub const PROBES_MAX: u64 = 20;
/// Exports by one actor within [`EXPORT_WINDOW`] that are many.
pub const EXPORTS_MAX: usize = 5;
/// Time within which exports are counted.
pub const EXPORT_WINDOW: Span = Span::secs(10 * 60);
/// Things in one export that make it a mass export.
pub const EXPORTED_MAX: u64 = 10_000;
/// Networks that are remembered of a key; a key that moves more is told of once for each.
pub const NETWORKS_MAX: usize = 16;
/// Keys and actors that are remembered; of more, those that come first are forgotten.
const REMEMBERED_MAX: usize = 2_000;

/// What is looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rule {
    /// A login has succeeded after five that failed.
    LoginAfterFailures,
    /// Somebody became an owner.
    RaisedToOwner,
    /// Much was taken out.
    MassExport,
    /// Somebody has logged in from a country that they never logged in from.
    LoginFromNewCountry,
    /// An API key is used from a network that it was never used from.
    KeyFromNewNetwork,
    /// A refresh token was shown that was used up.
    TokenReused,
    /// Somebody asks for tenants that they are not in.
    TenantProbes,
    /// The trail is not whole.
    AuditGap,
}

impl Rule {
    /// Every one of them.
    pub const ALL: [Rule; 8] = [
        Rule::LoginAfterFailures,
        Rule::LoginFromNewCountry,
        Rule::RaisedToOwner,
        Rule::MassExport,
        Rule::KeyFromNewNetwork,
        Rule::TokenReused,
        Rule::TenantProbes,
        Rule::AuditGap,
    ];

    /// Returns its word.
    pub fn as_str(self) -> &'static str {
        match self {
            Rule::LoginAfterFailures => "login_after_failures",
            Rule::LoginFromNewCountry => "login_from_new_country",
            Rule::RaisedToOwner => "raised_to_owner",
            Rule::MassExport => "mass_export",
            Rule::KeyFromNewNetwork => "key_from_new_network",
            Rule::TokenReused => "token_reused",
            Rule::TenantProbes => "tenant_probes",
            Rule::AuditGap => "audit_gap",
        }
    }

    /// Returns how soon somebody should look: `critical`, `high` or `medium`.
    pub fn severity(self) -> &'static str {
        match self {
            Rule::AuditGap => "critical",
            Rule::LoginAfterFailures
            | Rule::LoginFromNewCountry
            | Rule::TokenReused
            | Rule::MassExport => "high",
            Rule::RaisedToOwner | Rule::KeyFromNewNetwork | Rule::TenantProbes => "medium",
        }
    }

    /// Returns what has happened, in a sentence.
    pub fn message(self) -> &'static str {
        match self {
            Rule::LoginAfterFailures => "a login has succeeded after at least five that failed",
            Rule::LoginFromNewCountry => {
                "somebody has logged in from a country that they have not logged in from"
            }
            Rule::RaisedToOwner => "somebody has become an owner of the tenant",
            Rule::MassExport => "one actor has taken out much, or often",
            Rule::KeyFromNewNetwork => "an API key acts from a network that it has not acted from",
            Rule::TokenReused => {
                "a refresh token was shown that was used up; its session has ended"
            }
            Rule::TenantProbes => "somebody asks again and again for tenants that they are not in",
            Rule::AuditGap => "an entry of the audit trail is not what it was, or is missing",
        }
    }
}

/// What the rules look at of an entry.
#[derive(Clone, Copy, Debug)]
pub struct Seen<'a> {
    /// When.
    pub at: Timestamp,
    /// Who, as `kind:id`.
    pub actor: &'a str,
    /// By an API key.
    pub is_key: bool,
    /// What was done.
    pub action: &'a str,
    /// Role that somebody was given.
    pub role: Option<&'a str>,
    /// How many times or things the entry stands for.
    pub count: u64,
    /// From where.
    pub address: Option<IpAddr>,
    /// From which country, where a list tells.
    pub country: Option<Country>,
}

/// A part of the network, as those of one place share it: 24 bits of an IPv4 address, 48 of IPv6.
pub fn network_of(address: IpAddr) -> String {
    match address {
        IpAddr::V4(it) => {
            let [a, b, c, _] = it.octets();
            format!("{a}.{b}.{c}.0/24")
        }
        IpAddr::V6(it) => match it.to_ipv4_mapped() {
            Some(it) => network_of(IpAddr::V4(it)),
            None => {
                let [a, b, c, ..] = it.segments();
                format!("{a:x}:{b:x}:{c:x}::/48")
            }
        },
    }
}

/// Networks that keys have acted from, or countries that people have logged in from, by actor.
pub type Networks = BTreeMap<String, BTreeSet<String>>;

/// Sees a trail.
#[derive(Clone, Debug, Default)]
pub struct Watch {
    networks: Networks,
    countries: Networks,
    exports: VecDeque<(Timestamp, String)>,
    raised: BTreeMap<(Rule, String), Timestamp>,
}

impl Watch {
    /// Returns one that knows where keys have acted from, and people have logged in from.
    pub fn knowing(networks: Networks, countries: Networks) -> Watch {
        Watch { networks, countries, ..Watch::default() }
    }

    /// Returns where keys have acted from.
    pub fn networks(&self) -> &Networks {
        &self.networks
    }

    /// Returns from which countries people have logged in.
    pub fn countries(&self) -> &Networks {
        &self.countries
    }

    /// Takes the next entry; returns the rule that it breaks.
    pub fn see(&mut self, seen: &Seen<'_>) -> Option<Rule> {
        let from_elsewhere = self.is_from_new_network(seen);
        let rule = match seen.action {
            "login.after_failures" => Some(Rule::LoginAfterFailures),
            "login.succeeded" if self.is_from_new_country(seen) => Some(Rule::LoginFromNewCountry),
            "token.reused" => Some(Rule::TokenReused),
            "tenant.transferred" => Some(Rule::RaisedToOwner),
            "member.changed" | "member.joined" if seen.role == Some("owner") => {
                Some(Rule::RaisedToOwner)
            }
            "tenant.refused" if seen.count > PROBES_MAX => Some(Rule::TenantProbes),
            "audit.exported" | "subject.exported" if self.is_mass_export(seen) => {
                Some(Rule::MassExport)
            }
            _ if from_elsewhere => Some(Rule::KeyFromNewNetwork),
            _ => None,
        };
        rule.filter(|it| self.is_news(*it, seen))
    }

    /// Says whether an alert is not a repetition, and remembers it.
    pub fn is_news(&mut self, rule: Rule, seen: &Seen<'_>) -> bool {
        // Each network of a key, and each country of a user, is news of its own.
        if matches!(rule, Rule::KeyFromNewNetwork | Rule::LoginFromNewCountry) {
            return true;
        }
        let key = (rule, seen.actor.to_owned());
        let is_news = self.raised.get(&key).is_none_or(|it| seen.at.since(*it) >= QUIET);
        if is_news {
            if self.raised.len() >= REMEMBERED_MAX {
                self.raised.retain(|_, it| seen.at.since(*it) < QUIET);
            }
            if self.raised.len() >= REMEMBERED_MAX {
                self.raised.pop_first();
            }
            self.raised.insert(key, seen.at);
        }
        is_news
    }

    fn is_from_new_network(&mut self, seen: &Seen<'_>) -> bool {
        let Some(address) = seen.address.filter(|_| seen.is_key) else { return false };
        is_new(&mut self.networks, seen.actor, network_of(address))
    }

    fn is_from_new_country(&mut self, seen: &Seen<'_>) -> bool {
        let Some([a, b]) = seen.country else { return false };
        let country = [char::from(a), char::from(b)].into_iter().collect();
        is_new(&mut self.countries, seen.actor, country)
    }

    fn is_mass_export(&mut self, seen: &Seen<'_>) -> bool {
        self.exports.retain(|it| seen.at.since(it.0) < EXPORT_WINDOW);
        if self.exports.len() >= REMEMBERED_MAX {
            self.exports.pop_front();
        }
        self.exports.push_back((seen.at, seen.actor.to_owned()));
        let often = self.exports.iter().filter(|it| it.1 == seen.actor).count();
        often > EXPORTS_MAX || seen.count > EXPORTED_MAX
    }
}

/// Says whether somebody comes from where they have not come from, and remembers it.
fn is_new(places: &mut Networks, who: &str, place: String) -> bool {
    if !places.contains_key(who) && places.len() >= REMEMBERED_MAX {
        places.pop_first();
    }
    let known = places.entry(who.to_owned()).or_default();
    // Where somebody first comes from is where they belong.
    let is_first = known.is_empty();
    if known.contains(&place) {
        return false;
    }
    if known.len() >= NETWORKS_MAX {
        known.pop_first();
    }
    known.insert(place);
    !is_first
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads `SECONDS ACTOR ACTION [role=R] [count=N] [ip=A]` a line; returns what each raises.
    fn check(stream: &str) -> Vec<&'static str> {
        let mut watch = Watch::default();
        let see = |line: &str| {
            let mut words = line.split_whitespace();
            let at = Timestamp(words.next().unwrap().parse::<i64>().unwrap() * 1_000_000);
            let (actor, action) = (words.next().unwrap(), words.next().unwrap());
            let mut seen = Seen {
                at,
                actor,
                is_key: actor.starts_with("key:"),
                action,
                role: None,
                count: 1,
                address: None,
                country: None,
            };
            for word in words {
                match word.split_once('=').unwrap() {
                    ("role", it) => seen.role = Some(it),
                    ("count", it) => seen.count = it.parse().unwrap(),
                    ("from", it) => seen.country = Some(it.as_bytes().try_into().unwrap()),
                    ("ip", it) => seen.address = Some(it.parse().unwrap()),
                    other => panic!("{other:?}"),
                }
            }
            watch.see(&seen).map_or("-", Rule::as_str)
        };
        stream.lines().map(str::trim).filter(|it| !it.is_empty()).map(see).collect()
    }

    #[test]
    fn each_rule_is_raised_by_what_breaks_it_and_by_nothing_beside() {
        for (stream, expected) in [
            ("0 user:a login.succeeded\n1 user:a login.after_failures", "- login_after_failures"),
            ("0 user:a token.reused", "token_reused"),
            (
                "0 user:a member.changed role=admin\n1 user:a member.changed role=owner",
                "- raised_to_owner",
            ),
            ("0 user:a tenant.transferred", "raised_to_owner"),
            (
                "0 user:a tenant.refused\n60 user:a tenant.refused count=20\n\
              120 user:a tenant.refused count=21",
                "- - tenant_probes",
            ),
            (
                "0 user:a audit.exported count=10000\n1 user:b audit.exported count=10001",
                "- mass_export",
            ),
            (
                "0 user:a audit.exported\n1 user:a audit.exported\n2 user:a audit.exported\n\
              3 user:a audit.exported\n4 user:b audit.exported\n5 user:a audit.exported\n\
              6 user:a subject.exported",
                "- - - - - - mass_export",
            ),
            (
                "0 user:a audit.exported\n1 user:a audit.exported\n2 user:a audit.exported\n\
              3 user:a audit.exported\n4 user:a audit.exported\n700 user:a audit.exported",
                "- - - - - -",
            ),
            (
                "0 key:k event.sent ip=192.0.2.1\n1 key:k event.sent ip=192.0.2.200\n\
              2 key:k event.sent ip=198.51.100.1\n3 key:k event.sent ip=198.51.100.9\n\
              4 key:k event.sent ip=2001:db8::1\n5 key:m event.sent ip=203.0.113.1",
                "- - key_from_new_network - key_from_new_network -",
            ),
            (
                "0 user:a login.succeeded from=DE\n1 user:a login.succeeded from=DE\n\
              2 user:b login.succeeded from=FR\n3 user:a login.succeeded from=FR\n\
              4 user:a login.succeeded from=DE\n5 user:a login.succeeded from=NO\n\
              6 user:a login.failed from=US\n7 user:a login.succeeded",
                "- - - login_from_new_country - login_from_new_country - -",
            ),
            ("0 user:a event.sent ip=192.0.2.1\n1 user:a event.sent ip=198.51.100.1", "- -"),
        ] {
            assert_eq!(check(stream).join(" "), expected, "{stream}");
        }
    }

    #[test]
    fn the_same_about_the_same_actor_is_told_once_in_ten_minutes() {
        let stream = "0 user:a token.reused\n599 user:a token.reused\n599 user:b token.reused\n\
                      600 user:a token.reused";
        assert_eq!(check(stream), ["token_reused", "-", "token_reused", "token_reused"]);
    }

    #[test]
    fn what_is_remembered_has_a_bound() {
        let mut watch = Watch::default();
        for number in 0..REMEMBERED_MAX as u32 + 50 {
            let actor = format!("key:{number:05}");
            for action in ["token.reused", "audit.exported", "login.succeeded"] {
                watch.see(&Seen {
                    at: Timestamp(0),
                    actor: &actor,
                    is_key: true,
                    action,
                    role: None,
                    count: 1,
                    address: Some(IpAddr::V4((0x0a00_0000 + number * 256).into())),
                    country: Some(*b"DE"),
                });
            }
        }
        assert_eq!(watch.networks.len(), REMEMBERED_MAX);
        assert_eq!(watch.countries.len(), REMEMBERED_MAX);
        assert_eq!(watch.raised.len(), REMEMBERED_MAX);
        assert_eq!(watch.exports.len(), REMEMBERED_MAX);
        let words: BTreeSet<&str> = Rule::ALL.iter().map(|it| it.as_str()).collect();
        assert_eq!(words.len(), Rule::ALL.len());
    }
}
