//! Countries that addresses belong to, by a list that an operator has.
//!
//! A list has a line for each part of the network: `NETWORK,CC`, or `FIRST,LAST,CC` as others
//! publish it; `CC` are the two letters of a country. Nothing is said of an address that no line
//! holds. Of IPv6 the first 64 bits count: nothing smaller is given to anybody.

use std::net::IpAddr;

/// Parts of the network in a list; published ones have fewer than 800,000. Each takes 24 bytes.
pub const PARTS_MAX: usize = 1_000_000;

/// Two letters of a country.
pub type Country = [u8; 2];

/// A part of the network that belongs to a country.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Part {
    first: u64,
    last: u64,
    country: Country,
}

/// Countries by address.
#[derive(Clone, Debug, Default)]
pub struct Countries {
    v4: Vec<Part>,
    v6: Vec<Part>,
}

impl Countries {
    /// Reads a list; an error says in which line it is no list.
    pub fn read(text: &str) -> Result<Countries, String> {
        let mut countries = Countries::default();
        for (at, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let (is_v4, part) = part(line).ok_or_else(|| {
                format!("line {} is neither `NETWORK,CC` nor `FIRST,LAST,CC`", at + 1)
            })?;
            let parts = if is_v4 { &mut countries.v4 } else { &mut countries.v6 };
            parts.push(part);
            if countries.v4.len() + countries.v6.len() > PARTS_MAX {
                return Err(format!("it has more than {PARTS_MAX} lines"));
            }
        }
        for parts in [&mut countries.v4, &mut countries.v6] {
            parts.sort_unstable();
            if parts.windows(2).any(|it| it[0].last >= it[1].first) {
                return Err("two of its lines hold the same address".into());
            }
            parts.shrink_to_fit();
        }
        Ok(countries)
    }

    /// Returns the country of an address.
    pub fn of(&self, address: IpAddr) -> Option<Country> {
        let (is_v4, key) = key(address);
        let parts = if is_v4 { &self.v4 } else { &self.v6 };
        let behind = parts.partition_point(|it| it.first <= key);
        parts[..behind].last().filter(|it| key <= it.last).map(|it| it.country)
    }
}

/// Says whether an address is one of IPv4, and where it stands among its like.
fn key(address: IpAddr) -> (bool, u64) {
    match address.to_canonical() {
        IpAddr::V4(it) => (true, u64::from(u32::from(it))),
        IpAddr::V6(it) => (false, (u128::from(it) >> 64) as u64),
    }
}

fn part(line: &str) -> Option<(bool, Part)> {
    let words: Vec<&str> = line.split(',').map(|it| it.trim().trim_matches('"')).collect();
    let (first, last, country) = match *words {
        [network, country] => {
            let (first, last) = ends(network)?;
            (first, last, country)
        }
        [first, last, country] => (first.parse().ok()?, last.parse().ok()?, country),
        _ => return None,
    };
    let country: Country = country.as_bytes().try_into().ok()?;
    let ((is_v4, first), (is_same, last)) = (key(first), key(last));
    let is_good = is_v4 == is_same && first <= last;
    let is_country = country.iter().all(u8::is_ascii_uppercase);
    (is_good && is_country).then_some((is_v4, Part { first, last, country }))
}

/// The first and the last address of a network.
fn ends(network: &str) -> Option<(IpAddr, IpAddr)> {
    let (address, bits) = network.split_once('/')?;
    let (address, bits) = (address.parse::<IpAddr>().ok()?, bits.parse::<u32>().ok()?);
    match address {
        IpAddr::V4(it) if bits <= 32 => {
            let mask = u32::MAX.checked_shr(bits).unwrap_or(0);
            let it = u32::from(it);
            Some((IpAddr::V4((it & !mask).into()), IpAddr::V4((it | mask).into())))
        }
        IpAddr::V6(it) if bits <= 128 => {
            let mask = u128::MAX.checked_shr(bits).unwrap_or(0);
            let it = u128::from(it);
            Some((IpAddr::V6((it & !mask).into()), IpAddr::V6((it | mask).into())))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_have_the_country_of_their_line() {
        let list = "# from somewhere\n192.0.2.0/25,DE\n\"192.0.2.128\",\"192.0.2.200\",\"FR\"\n\n\
                    2001:db8::/32,NO\n198.51.100.0/24, US\n";
        let countries = Countries::read(list).unwrap();
        for (address, expected) in [
            ("192.0.2.0", "DE"),
            ("192.0.2.127", "DE"),
            ("::ffff:192.0.2.1", "DE"),
            ("192.0.2.128", "FR"),
            ("192.0.2.200", "FR"),
            ("192.0.2.201", "-"),
            ("198.51.100.255", "US"),
            ("0.0.0.0", "-"),
            ("2001:db8:ffff::1", "NO"),
            ("2001:db9::1", "-"),
            ("::1", "-"),
        ] {
            let found = countries.of(address.parse().unwrap());
            let found = found.map_or("-".into(), |it| String::from_utf8(it.to_vec()).unwrap());
            assert_eq!(found, expected, "{address}");
        }
    }

    #[test]
    fn what_is_no_list_is_refused_with_its_line() {
        for (list, part) in [
            ("192.0.2.0/24,DE\nnetwork,country", "line 2"),
            ("192.0.2.0/33,DE", "line 1"),
            ("192.0.2.0/24,Germany", "line 1"),
            ("192.0.2.9,192.0.2.1,DE", "line 1"),
            ("192.0.2.9,2001:db8::1,DE", "line 1"),
            ("192.0.2.0/24,DE\n192.0.2.255,192.0.3.0,FR", "two of its lines"),
        ] {
            let error = Countries::read(list).unwrap_err();
            assert!(error.contains(part), "{list}: {error}");
        }
    }
}
