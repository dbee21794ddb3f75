//! Feature flags: whether something is on for a tenant.
//!
//! A share of the tenants is chosen by a hash of flag and tenant, so each flag chooses others, the
//! same tenant gets the same answer in every process, and whoever is in stays in while the share
//! grows.

use std::fmt;

use sha2::{Digest as _, Sha256};
use traaviis_model::TenantId;

/// How a flag is set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Setting {
    /// For nobody.
    Off,
    /// For everybody.
    On,
    /// For so many of a hundred tenants.
    Percentage(u8),
}

/// A flag that something reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flag {
    /// Its name.
    pub name: &'static str,
    /// What it decides.
    pub what: &'static str,
    /// How it is while nobody has set it.
    pub default: Setting,
}

/// States of open instances of a tenant are kept in memory.
pub const HOT_STORE: &str = "hot_store";

/// All flags. One that is not here would be set and read by nothing.
pub const FLAGS: &[Flag] = &[Flag {
    name: HOT_STORE,
    what: "states of open instances are kept in memory",
    default: Setting::On,
}];

/// Finds a flag by its name.
pub fn flag(name: &str) -> Option<&'static Flag> {
    FLAGS.iter().find(|it| it.name == name)
}

impl Setting {
    /// Says whether a flag that is set like this is on for a tenant.
    pub fn is_on(self, name: &str, tenant: TenantId) -> bool {
        match self {
            Setting::Off => false,
            Setting::On => true,
            Setting::Percentage(share) => place(name, tenant) < share,
        }
    }
}

impl fmt::Display for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Setting::Off => f.write_str("off"),
            Setting::On => f.write_str("on"),
            Setting::Percentage(share) => write!(f, "{share}%"),
        }
    }
}

impl std::str::FromStr for Setting {
    type Err = String;

    fn from_str(text: &str) -> Result<Setting, String> {
        let share = |text: &str| {
            let is_number = !text.is_empty() && text.bytes().all(|it| it.is_ascii_digit());
            text.parse().ok().filter(|it| is_number && *it <= 100)
        };
        match text {
            "off" => Ok(Setting::Off),
            "on" => Ok(Setting::On),
            _ => text
                .strip_suffix('%')
                .and_then(share)
                .map(Setting::Percentage)
                .ok_or_else(|| "this is `on`, `off`, or a share such as `25%`".to_owned()),
        }
    }
}

/// Returns where a tenant stands among a hundred.
fn place(name: &str, tenant: TenantId) -> u8 {
    let mut hash = Sha256::new();
    hash.update(name.as_bytes());
    // A name holds no zero, so no other name and tenant give the same bytes.
    hash.update([0]);
    hash.update(tenant.0.as_bytes());
    let digest = hash.finalize();
    let number = digest.iter().take(8).fold(0_u64, |sum, it| sum << 8 | u64::from(*it));
    u8::try_from(number % 100).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use uuid::Uuid;

    use super::*;

    fn tenant(number: u128) -> TenantId {
        TenantId(Uuid::from_u128(number))
    }

    #[test]
    fn settings_are_read_back_and_nothing_else_is_taken() {
        for text in ["on", "off", "0%", "25%", "100%"] {
            assert_eq!(text.parse::<Setting>().unwrap().to_string(), text);
        }
        for bad in ["", "%", "ON", "101%", "-1%", "+5%", "25", "2.5%", "1 %", "256%"] {
            assert!(bad.parse::<Setting>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_share_is_about_as_many_tenants_and_each_flag_chooses_others() {
        let on = |name: &str, share| {
            let is_on = |it: &u128| Setting::Percentage(share).is_on(name, tenant(*it));
            (0..10_000).filter(is_on).collect::<Vec<_>>()
        };
        for share in [1, 25, 50, 99] {
            let count = on("a", share).len();
            let expected = usize::from(share) * 100;
            assert!(count.abs_diff(expected) < 250, "{share}: {count}");
        }
        assert_ne!(on("a", 50), on("b", 50));
        // Written down: another release must choose the same ones.
        assert_eq!((place(HOT_STORE, tenant(1)), place(HOT_STORE, tenant(2))), PLACES);
    }

    const PLACES: (u8, u8) = (30, 43);

    #[test]
    fn names_are_found_and_differ() {
        for it in FLAGS {
            assert_eq!(flag(it.name), Some(it));
        }
        assert_eq!(flag("nothing"), None);
    }

    proptest! {
        #[test]
        fn who_is_in_stays_in_while_the_share_grows(number: u128, share in 0_u8..100) {
            let is_on = |share| Setting::Percentage(share).is_on("a", tenant(number));
            prop_assert!(!is_on(0) && is_on(100));
            prop_assert!(!is_on(share) || is_on(share + 1));
        }
    }
}
