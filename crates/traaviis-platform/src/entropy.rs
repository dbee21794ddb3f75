//! Randomness for secrets: from the operating system, or seeded for a test.

use std::sync::{Arc, Mutex, PoisonError};

use crate::error::Error;

/// Fills bytes with chance, or says why not.
type Fill = dyn Fn(&mut [u8]) -> Result<(), String> + Send + Sync;

/// A source of random bytes.
#[derive(Clone)]
pub struct Entropy {
    fill: Arc<Fill>,
}

impl Entropy {
    /// Returns the operating system's.
    pub fn system() -> Entropy {
        let fill = |bytes: &mut [u8]| getrandom::fill(bytes).map_err(|error| error.to_string());
        Entropy { fill: Arc::new(fill) }
    }

    /// Returns one that gives the same bytes for the same seed, for tests.
    pub fn seeded(seed: u64) -> Entropy {
        let state = Mutex::new(seed);
        let fill = move |bytes: &mut [u8]| {
            let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
            for byte in bytes {
                *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                *byte = (*state >> 56) as u8;
            }
            Ok(())
        };
        Entropy { fill: Arc::new(fill) }
    }

    /// Returns random bytes.
    pub fn bytes<const N: usize>(&self) -> Result<[u8; N], Error> {
        let mut bytes = [0; N];
        (self.fill)(&mut bytes).map_err(|error| {
            let message = format!("the operating system gives no random bytes: {error}");
            Error::new("internal", message)
        })?;
        Ok(bytes)
    }

    /// Returns a fresh UUIDv7 of a time.
    pub fn uuid(&self, now: traaviis_model::Timestamp) -> Result<uuid::Uuid, Error> {
        let millis = u64::try_from(now.0 / 1_000).unwrap_or_default();
        let random = self.bytes::<10>()?;
        Ok(uuid::Builder::from_unix_timestamp_millis(millis, &random).into_uuid())
    }
}

impl std::fmt::Debug for Entropy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Entropy")
    }
}
