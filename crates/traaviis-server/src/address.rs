//! From which address a request comes: that of the connection, or what a proxy says that the
//! operator trusts.

use std::net::IpAddr;

use ipnet::IpNet;

/// Returns the address of a caller: going back through `X-Forwarded-For`, the first one that is no
/// trusted proxy. Whoever connects directly can say what they like; nothing of it is believed.
pub(crate) fn of(connection: IpAddr, forwarded: &str, trusted: &[IpNet]) -> IpAddr {
    let mut address = connection.to_canonical();
    let mut hops = forwarded.rsplit(',');
    while trusted.iter().any(|it| it.contains(&address)) {
        let Some(hop) = hops.next().and_then(|it| it.trim().parse::<IpAddr>().ok()) else { break };
        address = hop.to_canonical();
    }
    address
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_forwarded_is_believed_of_trusted_proxies_only() {
        let trusted: Vec<IpNet> =
            ["127.0.0.0/8", "10.0.0.0/24"].iter().map(|it| it.parse().unwrap()).collect();
        for (connection, forwarded, expected) in [
            ("127.0.0.1", "192.0.2.7", "192.0.2.7"),
            ("127.0.0.1", "6.6.6.6, 192.0.2.7", "192.0.2.7"),
            ("::ffff:127.0.0.1", "6.6.6.6, 192.0.2.7, 10.0.0.9", "192.0.2.7"),
            ("192.0.2.1", "6.6.6.6", "192.0.2.1"),
            ("127.0.0.1", "unknown", "127.0.0.1"),
            ("127.0.0.1", "192.0.2.7, unknown", "127.0.0.1"),
            ("127.0.0.1", "", "127.0.0.1"),
            ("127.0.0.1", "10.0.0.2, 10.0.0.3", "10.0.0.2"),
        ] {
            let found = of(connection.parse().unwrap(), forwarded, &trusted);
            assert_eq!(found.to_string(), expected, "{connection} {forwarded}");
        }
        let direct = of("127.0.0.1".parse().unwrap(), "192.0.2.7", &[]);
        assert_eq!(direct.to_string(), "127.0.0.1", "nobody is trusted unless named");
    }
}
