//! JSON with its format and a checksum beside it: manifests of backups and of exports.
//!
//! ```text
//! {"format":1,"checksum":"SHA-256 of the text of body","body":{..}}
//! ```

use serde::Deserialize;
use serde_json::Value as Json;
use sha2::{Digest as _, Sha256};

use crate::files::hex;

#[derive(Deserialize)]
struct Envelope {
    format: u32,
    checksum: String,
    /// Its text is the same however it was laid out: keys are sorted.
    body: Json,
}

/// What is wrong with a text.
pub(crate) enum Wrong {
    /// It is not JSON of this form.
    Form(serde_json::Error),
    /// A newer release wrote it, in this format.
    Newer(u32),
    /// It is not as it was written.
    Checksum,
}

/// Returns the text of a body, and its checksum.
pub(crate) fn text_of(body: &Json) -> (String, String) {
    let text = body.to_string();
    let checksum = hex(&Sha256::digest(&text));
    (text, checksum)
}

/// Returns a line that says in which format its body is.
pub(crate) fn write(format: u32, body: &Json) -> String {
    let (body, checksum) = text_of(body);
    format!("{{\"format\":{format},\"checksum\":\"{checksum}\",\"body\":{body}}}\n")
}

/// Reads the body of a text whose format is at most `known`.
pub(crate) fn read(text: &[u8], known: u32) -> Result<Json, Wrong> {
    let Envelope { format, checksum, body } = serde_json::from_slice(text).map_err(Wrong::Form)?;
    if format > known {
        return Err(Wrong::Newer(format));
    }
    match text_of(&body).1 == checksum {
        true => Ok(body),
        false => Err(Wrong::Checksum),
    }
}
