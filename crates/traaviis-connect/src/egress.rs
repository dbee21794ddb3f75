//! Decides which targets the process may speak to, by URL and again by resolved address.
//!
//! Responsible for: schemes, ports, names, the address tables, and the name resolver that hands the
//! HTTP client only addresses it has checked. Leaves sending and following redirects to
//! [`crate::http`], which asks [`EgressPolicy::check`] before every hop.
//!
//! Invariants:
//! - One parser, `url`, reads a target both for the check and for the connection.
//! - Names are looked up once; the client connects to the addresses of that answer (no rebinding).
//! - A name is let through to private addresses only if the operator listed that very name, and
//!   then only on the listed ports.

use std::{
    fmt, io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    pin::Pin,
    str::FromStr,
    sync::Arc,
};

use ipnet::{Ipv4Net, Ipv6Net};
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use url::{Host, Url};

/// What the operator allows beyond public hosts on the ports 80 and 443.
#[derive(Clone, Debug, Default)]
pub struct EgressPolicy {
    /// Single private targets, such as `127.0.0.1:8099` or `model.internal:11434`.
    ///
    /// An address opens that address and nothing else; `localhost` opens the name and the two
    /// addresses that it stands for, `127.0.0.1` and `[::1]`.
    pub allow_private: Vec<Target>,
    /// Public hosts on other ports than 80 and 443.
    pub allow_ports: Vec<Target>,
}

/// A host and a port as an operator writes them: `host:port`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    host: Host<String>,
    port: u16,
}

/// Why a target is refused. Becomes the effect error `egress_denied`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// The text is no absolute URL.
    #[error("`{0}` is not an absolute http or https URL")]
    NoUrl(String),
    /// Another scheme than http and https.
    #[error("scheme `{0}` is not allowed; use http or https")]
    Scheme(String),
    /// The URL carries a user name or password.
    #[error("the URL for `{0}` carries credentials; use the parameter `auth`")]
    Credentials(String),
    /// Neither 80 nor 443 nor listed.
    #[error("port {port} of `{host}` is not allowed; the operator can list it")]
    Port {
        /// Host.
        host: String,
        /// Port.
        port: u16,
    },
    /// A name that stands for this machine, a private network or a metadata service.
    #[error("host `{0}` is not public; the operator can list it with its port")]
    Name(String),
    /// An address outside global unicast.
    #[error(
        "host `{host}` has the address {addr}, which is not public; the operator can list it with its port"
    )]
    Address {
        /// Host as written.
        host: String,
        /// Offending address.
        addr: IpAddr,
    },
    /// A name with an address outside global unicast. Which one is not told: names of a private
    /// network are nothing that an author of workflows should find out about.
    #[error("host `{0}` has an address that is not public; the operator can list it with its port")]
    Resolves(String),
}

impl Denied {
    /// Returns what was to be reached: the host, or the scheme where that is what is wrong.
    pub fn target(&self) -> &str {
        match self {
            Denied::NoUrl(it) | Denied::Scheme(it) | Denied::Credentials(it) => it,
            Denied::Port { host, .. } | Denied::Address { host, .. } => host,
            Denied::Name(it) | Denied::Resolves(it) => it,
        }
    }
}

/// Addresses that are global by table and yet belong to a cloud's metadata service, or that stay
/// refused even where private targets are listed.
const METADATA: [IpAddr; 4] = [
    IpAddr::V4(Ipv4Addr::new(169, 254, 169, 254)),
    IpAddr::V4(Ipv4Addr::new(168, 63, 129, 16)),
    IpAddr::V4(Ipv4Addr::new(100, 100, 100, 200)),
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254)),
];

/// Names of metadata services; never reachable, listed or not.
const METADATA_NAMES: [&str; 7] = [
    "metadata",
    "metadata.google.internal",
    "metadata.goog",
    "metadata.azure.com",
    "metadata.azure.internal",
    "instance-data",
    "instance-data.ec2.internal",
];

/// Endings that are never public (RFC 6761, RFC 6762, RFC 8375, ICANN `.internal`).
const LOCAL_SUFFIXES: [&str; 8] =
    ["localhost", "local", "internal", "localdomain", "intranet", "lan", "home.arpa", "onion"];

const fn v4(a: u8, b: u8, c: u8, len: u8) -> Ipv4Net {
    Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, 0), len)
}

const fn v6(a: u16, b: u16, len: u8) -> Ipv6Net {
    Ipv6Net::new_assert(Ipv6Addr::new(a, b, 0, 0, 0, 0, 0, 0), len)
}

/// IPv4 outside global unicast: the IANA special-purpose registry, multicast and reserved space.
const V4_SPECIAL: [Ipv4Net; 15] = [
    v4(0, 0, 0, 8),       // this network
    v4(10, 0, 0, 8),      // private
    v4(100, 64, 0, 10),   // shared, carrier-grade NAT
    v4(127, 0, 0, 8),     // loopback
    v4(169, 254, 0, 16),  // link-local, metadata
    v4(172, 16, 0, 12),   // private
    v4(192, 0, 0, 24),    // protocol assignments
    v4(192, 0, 2, 24),    // documentation
    v4(192, 88, 99, 24),  // 6to4 relay
    v4(192, 168, 0, 16),  // private
    v4(198, 18, 0, 15),   // benchmarks
    v4(198, 51, 100, 24), // documentation
    v4(203, 0, 113, 24),  // documentation
    v4(224, 0, 0, 4),     // multicast
    v4(240, 0, 0, 4),     // reserved, broadcast
];

/// The only IPv6 space in use as global unicast; mapped, NAT64, ULA, link-local, site-local,
/// multicast and loopback all lie outside.
const V6_GLOBAL: Ipv6Net = v6(0x2000, 0, 3);

/// Exceptions inside [`V6_GLOBAL`].
const V6_SPECIAL: [Ipv6Net; 4] = [
    v6(0x2001, 0, 23),     // protocol assignments: Teredo, benchmarks, ORCHID
    v6(0x2001, 0xdb8, 32), // documentation
    v6(0x2002, 0, 16),     // 6to4 wraps IPv4
    v6(0x3fff, 0, 20),     // documentation
];

/// Private space that a listed name may resolve to.
const V4_PRIVATE: [Ipv4Net; 5] = [
    v4(10, 0, 0, 8),
    v4(100, 64, 0, 10),
    v4(127, 0, 0, 8),
    v4(172, 16, 0, 12),
    v4(192, 168, 0, 16),
];

/// Says whether an address is global unicast and no metadata service.
pub fn is_global(addr: IpAddr) -> bool {
    let by_table = match addr {
        IpAddr::V4(addr) => !V4_SPECIAL.iter().any(|net| net.contains(&addr)),
        IpAddr::V6(addr) => {
            V6_GLOBAL.contains(&addr) && !V6_SPECIAL.iter().any(|net| net.contains(&addr))
        }
    };
    by_table && !METADATA.contains(&addr)
}

fn is_listable_private(addr: IpAddr) -> bool {
    let private = match addr {
        IpAddr::V4(addr) => V4_PRIVATE.iter().any(|net| net.contains(&addr)),
        IpAddr::V6(addr) => addr.is_loopback() || addr.is_unique_local(),
    };
    private && !METADATA.contains(&addr)
}

impl EgressPolicy {
    /// Checks a target as text and returns the parsed URL, which alone may be used to connect.
    pub fn check_text(&self, text: &str) -> Result<Url, Denied> {
        let url = Url::parse(text).map_err(|_| Denied::NoUrl(text.chars().take(200).collect()))?;
        self.check(&url)?;
        Ok(url)
    }

    /// Checks scheme, credentials, port, name and literal address of a target.
    pub fn check(&self, url: &Url) -> Result<(), Denied> {
        if !matches!(url.scheme(), "http" | "https") {
            return Err(Denied::Scheme(url.scheme().to_owned()));
        }
        let (Some(host), Some(port)) = (url.host(), url.port_or_known_default()) else {
            return Err(Denied::NoUrl(url.scheme().to_owned()));
        };
        let host = normal(host.to_owned());
        if !url.username().is_empty() || url.password().is_some() {
            return Err(Denied::Credentials(host.to_string()));
        }
        self.check_host(&host, port)
    }

    fn check_host(&self, host: &Host<String>, port: u16) -> Result<(), Denied> {
        if let Host::Domain(name) = host
            && METADATA_NAMES.contains(&name.as_str())
        {
            return Err(Denied::Name(name.clone()));
        }
        if self.allow_private.iter().any(|it| it.covers(host, port)) {
            return Ok(());
        }
        match host {
            Host::Domain(name) => {
                // The resolver does not see the port, so a name listed for some ports is closed on
                // all others here.
                if is_local_name(name) || self.lists_name(name) {
                    return Err(Denied::Name(name.clone()));
                }
            }
            Host::Ipv4(addr) => require_global(host, IpAddr::V4(*addr))?,
            Host::Ipv6(addr) => require_global(host, IpAddr::V6(*addr))?,
        }
        let listed = self.allow_ports.iter().any(|it| it.host == *host && it.port == port);
        if matches!(port, 80 | 443) || listed {
            return Ok(());
        }
        Err(Denied::Port { host: host.to_string(), port })
    }

    /// Checks the addresses a name resolved to: every one must be global, or the name be listed.
    pub fn check_resolved(&self, name: &str, addrs: &[IpAddr]) -> Result<(), Denied> {
        let name = name.trim_end_matches('.').to_ascii_lowercase();
        let loopback_listed =
            is_loopback_name(&name) && self.allow_private.iter().any(Target::is_localhost);
        let listed = self.lists_name(&name);
        for &addr in addrs {
            let admitted = is_global(addr)
                || (listed && is_listable_private(addr))
                || (loopback_listed && addr.is_loopback());
            if !admitted {
                return Err(Denied::Resolves(name));
            }
        }
        Ok(())
    }

    fn lists_name(&self, name: &str) -> bool {
        self.allow_private
            .iter()
            .any(|it| !it.is_localhost() && matches!(&it.host, Host::Domain(it) if it == name))
    }

    /// Returns this policy widened by further private targets.
    pub fn with_private(&self, more: &[Target]) -> EgressPolicy {
        let mut policy = self.clone();
        policy.allow_private.extend_from_slice(more);
        policy
    }
}

fn require_global(host: &Host<String>, addr: IpAddr) -> Result<(), Denied> {
    if is_global(addr) { Ok(()) } else { Err(Denied::Address { host: host.to_string(), addr }) }
}

/// Drops the final dot of a name; `url` has done everything else.
fn normal(host: Host<String>) -> Host<String> {
    match host {
        Host::Domain(name) => Host::Domain(name.trim_end_matches('.').to_ascii_lowercase()),
        other => other,
    }
}

fn is_loopback_name(name: &str) -> bool {
    name == "localhost"
}

fn is_local_name(name: &str) -> bool {
    name.is_empty()
        || LOCAL_SUFFIXES.iter().any(|suffix| {
            name.strip_suffix(suffix).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
        })
}

impl Target {
    fn is_localhost(&self) -> bool {
        matches!(&self.host, Host::Domain(name) if is_loopback_name(name))
    }

    fn covers(&self, host: &Host<String>, port: u16) -> bool {
        let never = match host {
            Host::Ipv4(addr) => METADATA.contains(&IpAddr::V4(*addr)),
            Host::Ipv6(addr) => METADATA.contains(&IpAddr::V6(*addr)),
            Host::Domain(_) => false,
        };
        let stands_for = match host {
            Host::Ipv4(addr) => self.is_localhost() && *addr == Ipv4Addr::LOCALHOST,
            Host::Ipv6(addr) => self.is_localhost() && *addr == Ipv6Addr::LOCALHOST,
            Host::Domain(_) => false,
        };
        !never && self.port == port && (self.host == *host || stands_for)
    }
}

impl FromStr for Target {
    type Err = String;

    /// Reads `host:port`; the port is required.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || format!("`{text}` is not `host:port`, such as `127.0.0.1:8099`");
        let (host, port) = text.rsplit_once(':').ok_or_else(wrong)?;
        let port = port.parse().ok().filter(|port| *port != 0).ok_or_else(wrong)?;
        if host.contains(['/', '@', '?', '#', '*']) {
            return Err(wrong());
        }
        // Through the same parser as targets, so that both spell a host alike.
        let url = Url::parse(&format!("http://{host}:{port}/")).map_err(|_| wrong())?;
        let host = normal(url.host().ok_or_else(wrong)?.to_owned());
        Ok(Target { host, port })
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

/// What finds the addresses of a name.
pub(crate) trait Names: fmt::Debug + Send + Sync {
    /// Looks a name up, once.
    fn look_up(&self, name: &str) -> LookedUp;
}

/// Addresses to come.
pub(crate) type LookedUp = Pin<Box<dyn Future<Output = io::Result<Vec<SocketAddr>>> + Send>>;

/// The resolver of the operating system.
#[derive(Debug)]
pub(crate) struct SystemNames;

impl Names for SystemNames {
    fn look_up(&self, name: &str) -> LookedUp {
        let name = name.to_owned();
        Box::pin(async move { Ok(tokio::net::lookup_host((name, 0)).await?.collect()) })
    }
}

/// The name resolver of the HTTP client: looks a name up once and answers only checked addresses.
#[derive(Clone, Debug)]
pub(crate) struct Resolver {
    policy: Arc<EgressPolicy>,
    names: Arc<dyn Names>,
}

impl Resolver {
    pub(crate) fn new(policy: Arc<EgressPolicy>, names: Arc<dyn Names>) -> Resolver {
        Resolver { policy, names }
    }
}

impl Resolve for Resolver {
    fn resolve(&self, name: Name) -> Resolving {
        let policy = Arc::clone(&self.policy);
        let found = self.names.look_up(name.as_str());
        Box::pin(async move {
            let found = found.await?;
            let addrs: Vec<IpAddr> = found.iter().map(SocketAddr::ip).collect();
            policy.check_resolved(name.as_str(), &addrs)?;
            Ok(Box::new(found.into_iter()) as Addrs)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// URLs that must never be spoken to, without asking any name server.
    const HOSTILE: &str = "
        http://127.0.0.1/ http://127.1/ http://127.0.1/ http://2130706433/ http://0x7f000001/
        http://0x7f.1/ http://0177.0.0.1/ http://017700000001/ http://127.0.0.1./ http://127.255.255.254/
        http://0/ http://0.0.0.0/ http://0.1.2.3/ http://0x0/ http://00000000000/
        http://10.0.0.1/ http://10.255.255.255/ http://167772161/ http://0xa.0.0.1/ http://012.1/
        http://172.16.0.1/ http://172.31.255.255/ http://192.168.0.1/ http://192.168.1.254/ http://0xc0a80001/
        http://100.64.0.1/ http://100.127.255.255/ http://100.100.100.200/ http://169.254.169.254/ http://169.254.0.1/
        http://2852039166/ http://0xa9fea9fe/ http://0251.0376.0251.0376/ http://168.63.129.16/ http://169.254.170.2/
        http://192.0.0.1/ http://192.0.0.192/ http://192.0.2.1/ http://198.51.100.7/ http://203.0.113.9/
        http://192.88.99.1/ http://198.18.0.1/ http://198.19.255.255/ http://224.0.0.1/ http://239.255.255.250/
        http://240.0.0.1/ http://255.255.255.255/ http://4294967295/ http://①②⑦.⓪.⓪.①/ http://127。0。0。1/
        http://[::1]/ http://[::]/ http://[0:0:0:0:0:0:0:1]/ http://[::ffff:127.0.0.1]/ http://[::ffff:7f00:1]/
        http://[::ffff:10.0.0.1]/ http://[::ffff:169.254.169.254]/ http://[::ffff:8.8.8.8]/ http://[::127.0.0.1]/ http://[::ffff:0:127.0.0.1]/
        http://[64:ff9b::7f00:1]/ http://[64:ff9b::8.8.8.8]/ http://[64:ff9b:1::1]/ http://[100::1]/ http://[5f00::1]/
        http://[2002:7f00:1::]/ http://[2002:a9fe:a9fe::1]/ http://[2001::1]/ http://[2001:0:7f00:1::]/ http://[2001:2::1]/
        http://[2001:10::1]/ http://[2001:20::1]/ http://[2001:db8::1]/ http://[3fff::1]/ http://[fc00::1]/
        http://[fd00:ec2::254]/ http://[fdff::1]/ http://[fe80::1]/ http://[febf::1]/ http://[fec0::1]/
        http://[ff02::1]/ http://[ff0e::1]/ http://[4000::1]/ http://[e000::1]/ http://[1::1]/
        http://localhost/ http://LOCALHOST/ http://localhost./ http://foo.localhost/ http://ⓛocalhost/
        http://metadata/ http://metadata.google.internal/ http://METADATA.google.internal./ http://metadata.goog/ http://instance-data/
        http://db.internal/ http://host.docker.internal/ http://printer.local/ http://router.lan/ http://a.home.arpa/
        http://kubernetes.default.svc.cluster.local/ http://x.onion/ http://localhost.localdomain/ http://instance-data.ec2.internal/ http://wiki.intranet/
        http://example.com:22/ http://example.com:8080/ https://example.com:6379/ http://8.8.8.8:53/ http://example.com:0/
        http://user:pw@example.com/ http://example.com@127.0.0.1/ http://user@example.com/ http://127.0.0.1\\@example.com/ http://localhost:80#@example.com/
        http://localhost%00.example.com/ http:127.0.0.1 http:/\\127.0.0.1/ http://127.0.0.1%2f@localhost/ http://[::1%25lo]/
        file:///etc/passwd gopher://127.0.0.1/ ftp://example.com/ data:text/plain,x javascript:alert(1)
        ws://example.com/ unix:/var/run/docker.sock //example.com/ example.com http://
        http:// https://:443/ http://?x http://127.0.0.1:8100/ http://127.0.0.1:80/
    ";

    fn policy(private: &[&str]) -> EgressPolicy {
        EgressPolicy {
            allow_private: private.iter().map(|it| it.parse().unwrap()).collect(),
            allow_ports: vec!["example.org:8443".parse().unwrap()],
        }
    }

    #[test]
    fn hostile_urls_are_refused_with_and_without_a_listed_loopback_port() {
        let mut count = 0;
        for policy in [policy(&[]), policy(&["127.0.0.1:8099", "model.internal:11434"])] {
            for text in HOSTILE.split_whitespace() {
                assert!(policy.check_text(text).is_err(), "`{text}` was let through");
                count += 1;
            }
        }
        assert!(count >= 160, "{count}");
    }

    #[test]
    fn public_urls_pass_on_usual_and_listed_ports() {
        for text in [
            "http://example.com/",
            "https://example.com/a?b=c",
            "https://example.com:443/",
            "http://example.com:443/",
            "https://example.org:8443/",
            "http://8.8.8.8/",
            "http://1.1.1.1:80/",
            "https://[2606:4700:4700::1111]/",
            "https://[2a00:1450::1]/",
            "http://172.15.0.1/",
            "http://172.32.0.1/",
            "http://100.128.0.1/",
            "http://localhost.example.com/",
            "http://notlocal/",
        ] {
            assert_eq!(policy(&[]).check_text(text).map(|_| ()), Ok(()), "{text}");
        }
    }

    #[test]
    fn an_address_opens_itself_and_localhost_opens_both_of_its_addresses() {
        let loopbacks = ["127.0.0.1:8099", "localhost:8099", "[::1]:8099"];
        for (entry, opened) in [
            ("127.0.0.1:8099", &loopbacks[..1]),
            ("localhost:8099", &loopbacks[..]),
            ("[::1]:8099", &loopbacks[2..]),
            ("127.0.0.2:8099", &[]),
        ] {
            let policy = policy(&[entry]);
            for target in loopbacks {
                let is_open = policy.check_text(&format!("http://{target}/x")).is_ok();
                assert_eq!(is_open, opened.contains(&target), "{entry} {target}");
            }
            for text in [
                "http://127.0.0.1/",
                "http://127.0.0.1:8098/",
                "http://127.0.0.3:8099/",
                "http://10.0.0.1:8099/",
                "http://[::ffff:127.0.0.1]:8099/",
                "http://a.localhost:8099/",
                "http://example.com:8099/",
            ] {
                assert!(policy.check_text(text).is_err(), "{entry} {text}");
            }
            let is_name = entry.starts_with("localhost");
            for addr in ["127.0.0.1", "::1"] {
                let addr: IpAddr = addr.parse().unwrap();
                assert_eq!(policy.check_resolved("localhost", &[addr]).is_ok(), is_name, "{entry}");
                assert!(policy.check_resolved("evil.example", &[addr]).is_err());
            }
        }
        let private: IpAddr = "10.0.0.1".parse().unwrap();
        assert!(policy(&["localhost:8099"]).check_resolved("localhost", &[private]).is_err());
    }

    #[test]
    fn a_listed_name_opens_only_its_ports_and_never_link_local() {
        let policy = policy(&["model.internal:11434", "10.0.0.5:5000"]);
        assert!(policy.check_text("http://model.internal:11434/").is_ok());
        assert!(policy.check_text("http://model.internal/").is_err());
        assert!(policy.check_text("http://10.0.0.5:5000/").is_ok());
        assert!(policy.check_text("http://10.0.0.5/").is_err());
        assert!(policy.check_text("http://10.0.0.6:5000/").is_err());
        let resolved =
            |addr: &str| policy.check_resolved("model.internal", &[addr.parse().unwrap()]);
        assert!(resolved("10.1.2.3").is_ok());
        assert!(resolved("fd12::1").is_ok());
        assert!(resolved("169.254.169.254").is_err());
        assert!(resolved("fd00:ec2::254").is_err());
        assert!(resolved("100.100.100.200").is_err());
        assert!(resolved("0.0.0.0").is_err());
    }

    #[test]
    fn metadata_stays_closed_even_when_listed() {
        let policy = policy(&["169.254.169.254:80", "metadata.google.internal:80"]);
        assert!(policy.check_text("http://169.254.169.254/").is_err());
        assert!(policy.check_text("http://metadata.google.internal/").is_err());
    }

    #[test]
    fn one_private_address_among_the_resolved_refuses_the_name() {
        let addrs: Vec<IpAddr> =
            ["8.8.8.8", "127.0.0.1"].iter().map(|it| it.parse().unwrap()).collect();
        assert!(policy(&[]).check_resolved("127.0.0.1.nip.io", &addrs).is_err());
        assert!(policy(&[]).check_resolved("example.com", &addrs[..1]).is_ok());
    }

    #[test]
    fn entries_need_host_and_port() {
        for text in
            ["", "localhost", ":80", "a:b", "http://a:80", "a/b:80", "*:80", "u@h:80", "a:0"]
        {
            assert!(text.parse::<Target>().is_err(), "{text}");
        }
        assert_eq!("LocalHost:80".parse::<Target>().unwrap().to_string(), "localhost:80");
        assert_eq!("[::1]:8099".parse::<Target>().unwrap().to_string(), "[::1]:8099");
    }
}
