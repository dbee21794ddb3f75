//! Values that come in from the command line: JSON text, a file, or standard input.

use std::{fs, io::Read as _, path::Path};

use traaviis_model::{Value, limits::PAYLOAD_BYTES_MAX, record::PatchOp};

use crate::exit::Failure;

/// Reads JSON text that the user typed for `what`.
pub fn json(text: &str, what: &str) -> Result<Value, Failure> {
    check_size(text.len(), what)?;
    serde_json::from_str(text).map_err(|error| {
        let message = format!(
            "{what} is not JSON: {error}; write for example '{{\"amount\": 10}}' in single quotes"
        );
        Failure::new(crate::exit::Exit::Usage, "usage", message)
    })
}

/// Reads the payload of an event, JSON text or `-` for standard input; null when there is none.
pub fn payload(text: Option<&str>) -> Result<Value, Failure> {
    match text {
        None => Ok(Value::Null),
        // A large one fits no command line.
        Some("-") => value("-"),
        Some(text) => json(text, "the payload"),
    }
}

/// Reads `-`, a file name, or JSON text.
pub fn value(source: &str) -> Result<Value, Failure> {
    let (text, name) = match source {
        "-" => (read_limited(std::io::stdin().lock(), "standard input")?, "standard input".into()),
        _ if looks_like_json(source) && !Path::new(source).exists() => {
            return json(source, "the input");
        }
        file => {
            let open = fs::File::open(file).map_err(|error| {
                let message =
                    format!("cannot read input `{file}`: {error}; give a file, `-`, or JSON text");
                Failure::finding("file_unreadable", message)
            })?;
            (read_limited(open, file)?, format!("`{file}`"))
        }
    };
    check_size(text.len(), &name)?;
    serde_json::from_str(&text).map_err(|error| {
        let message = format!("input {name} is not JSON: {error}");
        Failure::finding("input_invalid", message)
    })
}

fn looks_like_json(text: &str) -> bool {
    matches!(text.trim_start().as_bytes().first(), Some(b'{' | b'[' | b'"' | b'0'..=b'9'))
        || matches!(text.trim(), "null" | "true" | "false")
}

fn read_limited(from: impl std::io::Read, name: &str) -> Result<String, Failure> {
    let mut text = String::new();
    from.take(PAYLOAD_BYTES_MAX as u64 + 1).read_to_string(&mut text).map_err(|error| {
        Failure::finding("file_unreadable", format!("cannot read input `{name}`: {error}"))
    })?;
    Ok(text)
}

fn check_size(bytes: usize, what: &str) -> Result<(), Failure> {
    if bytes <= PAYLOAD_BYTES_MAX {
        return Ok(());
    }
    let message = format!(
        "{what} has more than {PAYLOAD_BYTES_MAX} bytes; keep large things elsewhere and pass a \
         reference"
    );
    Err(Failure::finding("payload_too_large", message))
}

/// Reads a JSON Patch: a JSON file, `-` for standard input, or JSON text.
pub fn patch(text: &str) -> Result<Vec<PatchOp>, Failure> {
    let patch = value(text)?.to_json();
    serde_json::from_str(&patch).map_err(|error| {
        let rule = "write a list of `add`, `replace` (with `path` and `value`) and `remove` (with \
                    `path`)";
        Failure::usage(format!("the patch cannot be read: {error}; {rule}"))
    })
}
