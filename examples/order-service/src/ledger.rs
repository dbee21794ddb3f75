//! What was delivered and what was executed, by idempotency key, in memory and in a file.
//!
//! The file is append-only JSON lines: `{"execution": ...}` synced before it counts, and
//! `{"delivery": ...}` unsynced, since losing one in a power cut changes nothing but a number.

use std::{
    collections::BTreeMap,
    fs::{File, OpenOptions},
    io::{BufRead, BufReader, Seek, SeekFrom, Write},
    path::Path,
};

use anyhow::{Context, bail};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::operation::Operation;

/// One idempotency key.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Entry {
    /// Name of the operation.
    pub operation: String,
    /// Requests that arrived.
    pub deliveries: u64,
    /// Times it was done; never above 1.
    pub executions: u64,
    /// When it was first seen, RFC 3339.
    pub first_at: String,
    /// Answer of the execution; null before.
    pub response: Value,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
enum Line {
    Delivery { key: String, operation: String, at: String },
    Execution { key: String, operation: String, at: String, request: Value, response: Value },
}

/// All keys.
#[derive(Debug, Default)]
pub struct Ledger {
    entries: BTreeMap<String, Entry>,
    executed: BTreeMap<String, u64>,
    file: Option<File>,
}

impl Ledger {
    /// Opens the file, or makes it, and takes up what it holds; a torn last line is cut off.
    pub fn open(path: &Path) -> anyhow::Result<Ledger> {
        let mut file = OpenOptions::new()
            .read(true)
            .append(true)
            .create(true)
            .open(path)
            .with_context(|| format!("cannot open the ledger `{}`", path.display()))?;
        let mut ledger = Ledger::default();
        let mut reader = BufReader::new(&mut file);
        let (mut good, mut text) = (0u64, String::new());
        loop {
            text.clear();
            let bytes = reader.read_line(&mut text)? as u64;
            if bytes == 0 || !text.ends_with('\n') {
                break;
            }
            let Ok(line) = serde_json::from_str(&text) else {
                bail!("the ledger `{}` is damaged at byte {good}", path.display());
            };
            ledger.take(line);
            good += bytes;
        }
        file.set_len(good)?;
        file.seek(SeekFrom::End(0))?;
        ledger.file = Some(file);
        Ok(ledger)
    }

    /// Returns all entries by key.
    pub fn entries(&self) -> &BTreeMap<String, Entry> {
        &self.entries
    }

    /// Returns the entry of a key.
    pub(crate) fn get(&self, key: &str) -> Option<&Entry> {
        self.entries.get(key)
    }

    /// Counts a request.
    pub(crate) fn deliver(&mut self, key: &str, operation: Operation) -> anyhow::Result<()> {
        let operation = operation.name().to_owned();
        let line = Line::Delivery { key: key.to_owned(), operation, at: now() };
        self.write(&line)?;
        self.take(line);
        Ok(())
    }

    /// Does the operation for a key that was not executed: decides the response and syncs it.
    pub(crate) fn execute(
        &mut self,
        key: &str,
        operation: Operation,
        request: Value,
    ) -> anyhow::Result<Value> {
        let number = self.executed.get(operation.name()).copied().unwrap_or(0) + 1;
        let response = operation.response(number);
        let line = Line::Execution {
            key: key.to_owned(),
            operation: operation.name().to_owned(),
            at: now(),
            request,
            response: response.clone(),
        };
        self.write(&line)?;
        if let Some(file) = &self.file {
            file.sync_data().context("cannot sync the ledger")?;
        }
        self.take(line);
        Ok(response)
    }

    fn write(&mut self, line: &Line) -> anyhow::Result<()> {
        let Some(file) = &mut self.file else { return Ok(()) };
        let mut text = serde_json::to_string(line)?;
        text.push('\n');
        file.write_all(text.as_bytes()).context("cannot write the ledger")
    }

    fn take(&mut self, line: Line) {
        match line {
            Line::Delivery { key, operation, at } => self.entry(key, operation, at).deliveries += 1,
            Line::Execution { key, operation, at, response, .. } => {
                *self.executed.entry(operation.clone()).or_default() += 1;
                let entry = self.entry(key, operation, at);
                entry.executions += 1;
                entry.response = response;
            }
        }
    }

    fn entry(&mut self, key: String, operation: String, at: String) -> &mut Entry {
        self.entries.entry(key).or_insert(Entry {
            operation,
            deliveries: 0,
            executions: 0,
            first_at: at,
            response: Value::Null,
        })
    }
}

fn now() -> String {
    jiff::Timestamp::now().to_string()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_reopened_ledger_knows_its_keys_and_drops_a_torn_line() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ledger.jsonl");
        let mut ledger = Ledger::open(&path).unwrap();
        ledger.deliver("k", Operation::Charge).unwrap();
        let first = ledger.execute("k", Operation::Charge, json!({})).unwrap();
        let before = ledger.entries().clone();
        drop(ledger);
        OpenOptions::new().append(true).open(&path).unwrap().write_all(b"{\"deli").unwrap();
        let mut ledger = Ledger::open(&path).unwrap();
        assert_eq!(ledger.entries(), &before);
        assert_eq!(ledger.get("k").unwrap().response, first);
        assert_eq!(
            ledger.execute("l", Operation::Charge, json!({})).unwrap(),
            json!({"charge_id": "ch-000002"})
        );
        drop(ledger);
        assert_eq!(Ledger::open(&path).unwrap().entries().len(), 2);
    }
}
