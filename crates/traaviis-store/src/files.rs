//! Small things that several stores do with directories and bytes.

use std::{fs, io, os::unix::fs::DirBuilderExt, path::Path};

use traaviis_ports::LogError;

use crate::{
    disk::{Disk, OsDisk},
    error::io_error,
};

/// Makes a directory, and the ones above it, whose names are durable.
pub(crate) fn make_dir(dir: &Path) -> Result<(), LogError> {
    if dir.is_dir() {
        return Ok(());
    }
    if let Some(above) = dir.parent().filter(|it| !it.as_os_str().is_empty()) {
        make_dir(above)?;
    }
    // Data is the operator's alone.
    match fs::DirBuilder::new().mode(0o700).create(dir) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            return Err(io_error("create", dir, error));
        }
        _ => {}
    }
    sync_dir(dir.parent().filter(|it| !it.as_os_str().is_empty()).unwrap_or(Path::new(".")))
}

/// Lists a directory; one that is not there is empty.
pub(crate) fn list<D: Disk>(disk: &D, dir: &Path) -> io::Result<Vec<String>> {
    match disk.list(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        other => other,
    }
}

/// Makes the names in a directory durable.
pub(crate) fn sync_dir(dir: &Path) -> Result<(), LogError> {
    OsDisk.sync_dir(dir).map_err(|error| io_error("sync", dir, error))
}

/// Returns bytes in hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        text.push(char::from(DIGITS[usize::from(byte >> 4)]));
        text.push(char::from(DIGITS[usize::from(byte & 15)]));
    }
    text
}

/// Reads hexadecimal digits into bytes of a known number; says whether they are all there is.
pub(crate) fn unhex_into(text: &str, bytes: &mut [u8]) -> bool {
    let digits = text.as_bytes();
    if digits.len() != bytes.len() * 2 {
        return false;
    }
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks(2)) {
        let digit = |at: usize| char::from(pair[at]).to_digit(16);
        let (Some(high), Some(low)) = (digit(0), digit(1)) else { return false };
        *byte = (high << 4 | low) as u8;
    }
    true
}

/// Reads hexadecimal digits.
pub(crate) fn unhex(text: &str) -> Option<Vec<u8>> {
    let mut bytes = vec![0; text.len() / 2];
    unhex_into(text, &mut bytes).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_read_back() {
        let bytes: Vec<u8> = (0..=255).collect();
        assert_eq!(unhex(&hex(&bytes)), Some(bytes));
        for wrong in ["0", "0g", "+1", "é", "00 "] {
            assert_eq!(unhex(wrong), None, "{wrong}");
        }
    }
}
