//! The versions of a document that a change may be about: what somebody has read before.

use serde_json::json;

use crate::{error::Error, ledger::Versioned};

/// Versions that are good; none means any that is there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Expected(Option<Vec<u64>>);

impl From<u64> for Expected {
    fn from(version: u64) -> Expected {
        Expected(Some(vec![version]))
    }
}

impl From<Vec<u64>> for Expected {
    fn from(versions: Vec<u64>) -> Expected {
        Expected(Some(versions))
    }
}

impl Expected {
    /// Whatever version is there.
    pub const ANY: Expected = Expected(None);

    /// Returns what is expected once somebody has read a version to make their change of it: where
    /// any was good, that one now.
    #[must_use]
    pub fn after_reading(self, version: u64) -> Expected {
        Expected(self.0.or(Some(vec![version])))
    }

    /// Refuses a change of a document that has changed since it was looked at.
    pub fn check<T>(&self, found: &Versioned<T>) -> Result<(), Error> {
        match &self.0 {
            Some(good) if !good.contains(&found.version) => {
                let version = found.version;
                let good: Vec<String> = good.iter().map(|it| format!("`{it}`")).collect();
                let good = good.join(" or ");
                let message = format!(
                    "it was changed meanwhile: its version is `{version}`, not {good}; read it \
                     again and repeat the change"
                );
                Err(Error::new("precondition_failed", message)
                    .with_details(json!({ "version": version.to_string() })))
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_good_that_was_read_or_any() {
        let found = Versioned { it: (), version: 7 };
        for (expected, is_good) in [
            (Expected::ANY, true),
            (7.into(), true),
            (vec![3, 7].into(), true),
            (8.into(), false),
            (vec![].into(), false),
            (Expected::ANY.after_reading(7), true),
            (Expected::ANY.after_reading(6), false),
            (Expected::from(6).after_reading(7), false),
        ] {
            assert_eq!(expected.check(&found).is_ok(), is_good, "{expected:?}");
        }
    }
}
