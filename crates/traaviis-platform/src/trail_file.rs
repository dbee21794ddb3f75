//! The lines of an exported trail: JSON Lines, CSV and CloudEvents.
//!
//! ```text
//! export, keys, entries with checkpoints behind those that they name, end
//! ```
//!
//! Every format holds whole entries; what stands beside them for people is made of them, and
//! reading a line makes it again, so nothing can be changed where nobody looks.

use std::fmt::Write as _;

use serde::Deserialize;
use serde_json::{Value as Json, json};
use traaviis_model::{TenantId, Timestamp};

use crate::checkpoints::{Checkpoint, PublicKey};

/// Version of the form.
const FORM: &str = "traaviis.audit.v1";
/// First line of a CSV file.
const COLUMNS: &str = "record,seq,timestamp,actor_type,actor_id,via,action,resource_type,\
                       resource_id,outcome,ip_address,request_id,json";

/// A format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// A JSON object a line.
    Jsonl,
    /// Comma-separated values (RFC 4180).
    Csv,
    /// CloudEvents 1.0 in JSON, one a line.
    CloudEvents,
}

impl Format {
    /// Every one of them.
    pub const ALL: [Format; 3] = [Format::Jsonl, Format::Csv, Format::CloudEvents];

    /// Returns its word.
    pub fn as_str(self) -> &'static str {
        match self {
            Format::Jsonl => "jsonl",
            Format::Csv => "csv",
            Format::CloudEvents => "cloudevents",
        }
    }

    /// Returns the format of a word.
    pub fn of(word: &str) -> Option<Format> {
        Format::ALL.into_iter().find(|it| it.as_str() == word)
    }

    /// Returns its media type.
    pub fn media_type(self) -> &'static str {
        match self {
            Format::Jsonl => "application/x-ndjson",
            Format::Csv => "text/csv; charset=utf-8",
            Format::CloudEvents => "application/x-ndjson",
        }
    }

    /// Returns the format of a file by its first line.
    pub fn of_first_line(line: &str) -> Option<Format> {
        match line {
            _ if line.starts_with("record,") => Some(Format::Csv),
            _ if line.contains("\"specversion\"") => Some(Format::CloudEvents),
            _ if line.starts_with('{') => Some(Format::Jsonl),
            _ => None,
        }
    }
}

/// A line of an export.
#[derive(Clone, Debug, PartialEq)]
pub enum Item {
    /// What it is.
    Export {
        /// Whose trail.
        tenant: TenantId,
        /// When it was made.
        at: Timestamp,
    },
    /// A key that has signed something in it.
    Key(PublicKey),
    /// An entry.
    Entry(Json),
    /// A signed end of the chain up to here.
    Checkpoint(Checkpoint),
    /// The signed end of the export.
    End(Checkpoint),
}

impl Item {
    fn name(&self) -> &'static str {
        match self {
            Item::Export { .. } => "export",
            Item::Key(_) => "key",
            Item::Entry(_) => "entry",
            Item::Checkpoint(_) => "checkpoint",
            Item::End(_) => "end",
        }
    }

    fn json(&self) -> Json {
        match self {
            Item::Export { tenant, at } => {
                json!({ "form": FORM, "tenant_id": tenant, "at": at })
            }
            Item::Key(key) => json!(key),
            Item::Entry(entry) => entry.clone(),
            Item::Checkpoint(it) | Item::End(it) => json!(it),
        }
    }

    fn of(name: &str, json: Json) -> Result<Item, String> {
        fn read<T: for<'a> Deserialize<'a>>(json: Json) -> Result<T, String> {
            serde_json::from_value(json).map_err(|error| error.to_string())
        }
        #[derive(Deserialize)]
        struct Head {
            form: String,
            tenant_id: TenantId,
            at: Timestamp,
        }
        match name {
            "export" => {
                let Head { form, tenant_id: tenant, at } = read(json)?;
                match &*form {
                    FORM => Ok(Item::Export { tenant, at }),
                    other => Err(format!("its form is `{other}`, and not `{FORM}`")),
                }
            }
            "key" => read(json).map(Item::Key),
            "entry" => Ok(Item::Entry(json)),
            "checkpoint" => read(json).map(Item::Checkpoint),
            "end" => read(json).map(Item::End),
            other => Err(format!("`{other}` is no part of an export")),
        }
    }

    /// Appends it to `out` as a line, before the first of a file with what a format begins with.
    pub fn write(&self, format: Format, tenant: TenantId, out: &mut String) {
        match format {
            Format::Jsonl => {
                let json = match self {
                    Item::Entry(entry) => entry.clone(),
                    other => json!({ other.name(): other.json() }),
                };
                let _ = write!(out, "{json}");
            }
            Format::Csv => {
                if matches!(self, Item::Export { .. }) {
                    out.push_str(COLUMNS);
                    out.push('\n');
                }
                self.write_row(out);
            }
            Format::CloudEvents => {
                let _ = write!(out, "{}", self.envelope(tenant));
            }
        }
        out.push('\n');
    }

    /// Reads a line. The first line of a CSV file is none of them.
    pub fn read(format: Format, tenant: Option<TenantId>, line: &str) -> Result<Item, String> {
        let told = |error: serde_json::Error| format!("it is no JSON: {error}");
        let item = match format {
            Format::Jsonl => {
                let json: Json = serde_json::from_str(line).map_err(told)?;
                let only = json.as_object().filter(|it| it.len() == 1);
                match only.and_then(|it| it.iter().next()) {
                    Some((name, inner)) => Item::of(name, inner.clone())?,
                    None => Item::Entry(json),
                }
            }
            Format::Csv => {
                let fields = fields(line)?;
                let [name, .., json] = fields.as_slice() else {
                    return Err("a row has too few columns".into());
                };
                Item::of(name, serde_json::from_str(json).map_err(told)?)?
            }
            Format::CloudEvents => {
                let json: Json = serde_json::from_str(line).map_err(told)?;
                let kind = json["type"].as_str().unwrap_or_default();
                let name = kind.strip_prefix(CONTROL).unwrap_or("entry");
                Item::of(name, json["data"].clone())?
            }
        };
        let tenant = match (&item, tenant) {
            (Item::Export { tenant, .. }, _) => *tenant,
            (_, Some(tenant)) => tenant,
            (_, None) => return Ok(item),
        };
        let is_same = match format {
            Format::Jsonl => true,
            Format::Csv => {
                let mut row = String::new();
                item.write_row(&mut row);
                row == line
            }
            Format::CloudEvents => {
                serde_json::from_str::<Json>(line).is_ok_and(|it| it == item.envelope(tenant))
            }
        };
        match is_same {
            true => Ok(item),
            false => Err("what stands beside the entry is not what the entry says".into()),
        }
    }

    fn write_row(&self, out: &mut String) {
        let json = self.json();
        let field = |pointer: &str| match json.pointer(pointer) {
            Some(Json::String(text)) => text.clone(),
            Some(Json::Null) | None => String::new(),
            Some(other) => other.to_string(),
        };
        let is_entry = matches!(self, Item::Entry(_));
        let time = if is_entry { "/timestamp" } else { "/at" };
        let cells = [
            self.name().to_owned(),
            field("/seq"),
            field(time),
            field("/actor/type"),
            field("/actor/id"),
            field("/actor/via"),
            field("/action"),
            field("/resource_type"),
            field("/resource_id"),
            field("/outcome"),
            field("/ip_address"),
            field("/request_id"),
        ];
        for cell in cells {
            write_cell(&cell, out);
            out.push(',');
        }
        out.push('"');
        out.push_str(&json.to_string().replace('"', "\"\""));
        out.push('"');
    }

    fn envelope(&self, tenant: TenantId) -> Json {
        let json = self.json();
        let text = |key: &str| json[key].as_str().unwrap_or_default();
        let (id, kind, time, subject) = match self {
            Item::Entry(_) => (
                format!("{tenant}:{}", json["seq"]),
                format!("traaviis.audit.{}", text("action")),
                json["timestamp"].clone(),
                json!(format!("{}/{}", text("resource_type"), text("resource_id"))),
            ),
            Item::Key(key) => {
                let id = format!("{tenant}:key:{}", key.kid);
                (id, format!("{CONTROL}key"), Json::Null, Json::Null)
            }
            other => (
                format!("{tenant}:{}:{}", other.name(), json["seq"]),
                format!("{CONTROL}{}", other.name()),
                json["at"].clone(),
                Json::Null,
            ),
        };
        let mut envelope = json!({
            "specversion": "1.0",
            "id": id,
            "source": format!("/tenants/{tenant}/audit"),
            "type": kind,
            "datacontenttype": "application/json",
            "data": json,
        });
        if !time.is_null() {
            envelope["time"] = time;
        }
        if !subject.is_null() {
            envelope["subject"] = subject;
        }
        envelope
    }
}

/// Types of what is no entry begin with this.
const CONTROL: &str = "traaviis.audit.trail:";

/// Writes a cell so that no program takes it for a formula, on one line.
fn write_cell(text: &str, out: &mut String) {
    let plain = text.chars().map(|it| if it.is_control() { ' ' } else { it });
    let is_formula = text.starts_with(['=', '+', '-', '@', '\t', '\r']);
    let is_simple = !is_formula && !text.contains(['"', ',']);
    if is_simple {
        return out.extend(plain);
    }
    out.push('"');
    if is_formula {
        out.push('\'');
    }
    for letter in plain {
        if letter == '"' {
            out.push('"');
        }
        out.push(letter);
    }
    out.push('"');
}

/// Returns the cells of a row.
fn fields(line: &str) -> Result<Vec<String>, String> {
    let (mut cells, mut cell, mut is_quoted) = (Vec::new(), String::new(), false);
    let mut letters = line.chars().peekable();
    while let Some(letter) = letters.next() {
        match letter {
            '"' if is_quoted && letters.peek() == Some(&'"') => {
                cell.push('"');
                letters.next();
            }
            '"' => is_quoted = !is_quoted,
            ',' if !is_quoted => cells.push(std::mem::take(&mut cell)),
            letter => cell.push(letter),
        }
    }
    if is_quoted {
        return Err("a row breaks off".into());
    }
    cells.push(cell);
    Ok(cells)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn items() -> Vec<Item> {
        let tenant = TenantId(uuid::Uuid::from_u128(7));
        let entry = json!({
            "seq": 1, "timestamp": "2026-01-01T00:00:00Z", "action": "member.invited",
            "actor": { "type": "user", "id": "=1+2", "via": "session" },
            "resource_type": "member", "resource_id": "a \"b\",\nc", "outcome": "ok",
            "metadata": { "share": 0.5 }, "ip_address": null, "hash": "x", "prev_hash": "y",
        });
        let checkpoint = Checkpoint {
            tenant_id: tenant,
            seq: 1,
            hash: "x".into(),
            at: Timestamp(5),
            kid: "k".into(),
            signature: "s".into(),
        };
        vec![
            Item::Export { tenant, at: Timestamp(1) },
            Item::Key(PublicKey { kid: "k".into(), x: "x".into() }),
            Item::Entry(entry),
            Item::Checkpoint(checkpoint.clone()),
            Item::End(checkpoint),
        ]
    }

    #[test]
    fn what_is_written_is_read_back_in_every_format() {
        let tenant = TenantId(uuid::Uuid::from_u128(7));
        for format in Format::ALL {
            let mut text = String::new();
            items().iter().for_each(|it| it.write(format, tenant, &mut text));
            let mut lines: Vec<&str> = text.lines().collect();
            assert_eq!(Format::of_first_line(lines[0]), Some(format));
            if format == Format::Csv {
                assert_eq!(lines.remove(0), COLUMNS);
            }
            let read: Result<Vec<Item>, String> =
                lines.iter().map(|it| Item::read(format, Some(tenant), it)).collect();
            assert_eq!(read.unwrap(), items(), "{format:?}");
        }
    }

    #[test]
    fn what_stands_beside_an_entry_cannot_say_something_else() {
        let tenant = TenantId(uuid::Uuid::from_u128(7));
        for (format, before, after) in [
            (Format::Csv, "member.invited,member", "member.removed,member"),
            (Format::Csv, ",session,", ",api_key,"),
            (Format::CloudEvents, "audit.member.invited", "audit.member.removed"),
            (Format::CloudEvents, "\"subject\":\"member/", "\"subject\":\"user/"),
        ] {
            let mut line = String::new();
            items()[2].write(format, tenant, &mut line);
            let changed = line.trim_end().replacen(before, after, 1);
            assert_ne!(changed, line.trim_end(), "{line}");
            let error = Item::read(format, Some(tenant), &changed).unwrap_err();
            assert!(error.contains("beside"), "{error}");
        }
    }

    #[test]
    fn a_cell_is_no_formula() {
        let mut out = String::new();
        for text in ["=1", "@x", "plain", "a,b"] {
            write_cell(text, &mut out);
            out.push(';');
        }
        assert_eq!(out, "\"'=1\";\"'@x\";plain;\"a,b\";");
    }
}
