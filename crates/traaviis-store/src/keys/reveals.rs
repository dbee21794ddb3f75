//! Who had tokens turned back: a file of lines for each tenant, chained by hashes.
//!
//! ```text
//! DATA/system/reveals/{tenant}.jsonl
//! ```
//!
//! Invariants: an entry is durable before what it is about is shown; it holds no personal data;
//! each carries the hash of the one before.

use std::{
    fs::{self, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::PathBuf,
};

use serde_json::{Value as Json, json};
use sha2::{Digest as _, Sha256};
use traaviis_model::{TenantCtx, Timestamp, Value, limits::REVEALS_BYTES_MAX};

use super::{Error, Keys, SYSTEM, damaged};
use crate::{
    error::io_error,
    files::{hex, make_dir, sync_dir},
};

/// Directory of the files.
const REVEALS: &str = "reveals";

/// One time that somebody had tokens turned back.
#[derive(Clone, Debug)]
pub struct Reveal<'a> {
    /// Why.
    pub reason: &'a str,
    /// How many of each type, as `{TYPE: count}`.
    pub types: Json,
    /// The text with the tokens, of which only a digest is kept.
    pub text: &'a str,
}

impl Keys {
    /// Notes that whoever acts is about to see what tokens stand for.
    ///
    /// Returns the hash of the entry.
    pub fn note_reveal(
        &self,
        ctx: &TenantCtx,
        reveal: &Reveal<'_>,
        now: Timestamp,
    ) -> Result<String, Error> {
        let _held = self.hold()?;
        let path = self.reveals_path(ctx);
        let dir = path.parent().unwrap_or(&path);
        make_dir(dir)?;
        let before = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(io_error("read", &path, error).into()),
        };
        if before.len() >= REVEALS_BYTES_MAX {
            let path = path.display();
            return Err(Error::Refused(format!(
                "`{path}` has {REVEALS_BYTES_MAX} bytes; keep it somewhere else and take it away"
            )));
        }
        // A torn line is of an entry that was not durable, so nothing was shown for it.
        let whole = before.iter().rposition(|it| *it == b'\n').map_or(0, |it| it + 1);
        let last = String::from_utf8_lossy(&before[..whole]);
        let last = match last.lines().next_back() {
            Some(line) => {
                Some(read(line).ok_or_else(|| damaged(&path, "its last line was changed"))?)
            }
            None => None,
        };
        let mut entry = json!({
            "timestamp": now.to_string(),
            "tenant_id": ctx.tenant().to_string(),
            "actor": ctx.actor().text(),
            "action": "reveal",
            "reason": reveal.reason,
            "types": reveal.types,
            "digest": hex(&Sha256::digest(reveal.text)),
            "prev_hash": last.unwrap_or_else(|| "0".repeat(64)),
        });
        let hash = hash_of(&entry);
        entry["hash"] = json!(hash);
        let line = format!("{entry}\n");
        let failed = |error| io_error("write", &path, error);
        let mut file =
            OpenOptions::new().append(true).create(true).mode(0o600).open(&path).map_err(failed)?;
        if whole < before.len() {
            file.set_len(whole as u64).map_err(failed)?;
        }
        file.write_all(line.as_bytes()).and_then(|()| file.sync_all()).map_err(failed)?;
        sync_dir(dir)?;
        Ok(hash)
    }

    fn reveals_path(&self, ctx: &TenantCtx) -> PathBuf {
        self.data().join(SYSTEM).join(REVEALS).join(format!("{}.jsonl", ctx.tenant()))
    }
}

/// Returns the hash of a line, if it is the right one.
fn read(line: &str) -> Option<String> {
    let mut entry: Json = serde_json::from_str(line).ok()?;
    let hash = entry.as_object_mut()?.remove("hash")?;
    let hash = hash.as_str()?;
    (hash_of(&entry) == hash).then(|| hash.to_owned())
}

/// Returns the hash of an entry without its own: over JSON with sorted keys.
fn hash_of(entry: &Json) -> String {
    hex(&Sha256::digest(Value::from(entry).to_json()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::root::RootSource;

    #[test]
    fn entries_are_chained_and_a_changed_one_is_noticed() {
        let dir = tempfile::tempdir().unwrap();
        let keys = Keys::new(dir.path(), RootSource::Nowhere("unused".into()));
        let ctx = TenantCtx::for_test(1);
        let reveal =
            Reveal { reason: "a court asks", types: json!({ "EMAIL": 1 }), text: "[EMAIL:00]" };
        let first = keys.note_reveal(&ctx, &reveal, Timestamp(0)).unwrap();
        keys.note_reveal(&ctx, &reveal, Timestamp(1)).unwrap();
        let path = keys.reveals_path(&ctx);
        let text = fs::read_to_string(&path).unwrap();
        assert_eq!(text.lines().count(), 2);
        assert!(text.lines().nth(1).unwrap().contains(&format!(r#""prev_hash":"{first}""#)));
        assert!(text.lines().all(|it| read(it).is_some() && !it.contains("[EMAIL:")));
        assert!(read(&text.lines().next().unwrap().replace("court", "count")).is_none());

        // An entry that was torn by a crash makes room for the next.
        fs::write(&path, &text[..text.len() - 9]).unwrap();
        keys.note_reveal(&ctx, &reveal, Timestamp(1)).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), text);

        // Nothing is revealed that cannot be noted.
        fs::write(&path, text.replace("court", "count")).unwrap();
        let refused = keys.note_reveal(&ctx, &reveal, Timestamp(2)).unwrap_err();
        assert_eq!(refused.code(), "secret_unreadable");
        fs::write(&path, vec![b'\n'; REVEALS_BYTES_MAX]).unwrap();
        let refused = keys.note_reveal(&ctx, &reveal, Timestamp(2)).unwrap_err();
        assert_eq!(refused.code(), "secret_refused");
    }
}
