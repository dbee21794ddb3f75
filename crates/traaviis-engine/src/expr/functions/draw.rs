//! What is drawn: numbers and uuids that a replay draws again.

use sha2::{Digest, Sha256};

use traaviis_model::value::Value;

use super::Function;

/// Returns where a call stands, so that two calls draw differently.
pub(in crate::expr) fn place(source: &str, at: usize) -> u64 {
    let hash = source.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    hash ^ (at as u64).rotate_left(32)
}

/// Returns a uuid or a number from 0 up to 1, the same for the same arguments.
pub(in crate::expr) fn draw(function: Function, seed: (u64, u64), place: u64, count: u64) -> Value {
    let mut hash = Sha256::new();
    for part in [seed.0, seed.1, place, count] {
        hash.update(part.to_le_bytes());
    }
    let digest = hash.finalize();
    let mut octets = [0u8; 16];
    octets.copy_from_slice(&digest[..16]);
    if function == Function::Uuid {
        return Value::from(uuid::Builder::from_random_bytes(octets).into_uuid().to_string());
    }
    let bits = u128::from_le_bytes(octets) as u64 >> 11;
    Value::Float(bits as f64 / (1u64 << 53) as f64)
}
