//! What commands that ask a server have in common: whose tenant is meant, lists to their end, and
//! how an answer is shown.

use serde_json::{Value as Json, json};
use traaviis_model::TenantId;
use url::form_urlencoded;
use uuid::Uuid;

use super::{Answered, Asked, ServerArgs, Session, refused, variable};
use crate::{
    exit::Failure,
    output::Output,
    terminal::{clip, table},
};

/// Names a tenant for every command.
const TENANT: &str = "TRAAVIIS_TENANT";
/// Items of a page: as many as a server gives.
const PAGE: usize = 200;
/// Pages of one list that are read: more than a person reads, and a server that never ends ends
/// here.
const PAGES_MAX: usize = 500;
/// Characters of a cell of a table.
const CELL_CHARS_MAX: usize = 60;
/// Most characters of the short name of a tenant.
const SLUG_CHARS_MAX: usize = 40;

/// Which server, and which tenant there, a command is about.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct TenantArgs {
    #[command(flatten)]
    server: ServerArgs,
    /// Tenant, by its id or short name; otherwise that in `TRAAVIIS_TENANT`, or that of the login.
    #[arg(long, value_name = "TENANT", value_parser = tenant_word)]
    tenant: Option<String>,
}

impl TenantArgs {
    /// Says whether the command names one, for those that work on files otherwise.
    pub fn is_named(&self) -> bool {
        self.server.server.is_some() || self.tenant.is_some()
    }

    /// Returns the tenant that is named on the command line, for a data directory, which knows
    /// tenants by their ids alone.
    pub fn named_id(&self) -> Result<Option<TenantId>, Failure> {
        let read = |it: &String| {
            let id = it.parse::<TenantId>();
            id.map_err(|_| Failure::usage("a data directory knows a tenant by its id"))
        };
        self.tenant.as_ref().map(read).transpose()
    }

    /// Opens the server.
    pub fn open(&self) -> Result<InTenant, Failure> {
        let tenant = match (&self.tenant, variable(TENANT)) {
            (Some(tenant), _) => tenant.clone(),
            (None, Some(tenant)) => tenant_word(&tenant)
                .map_err(|why| Failure::usage(format!("`{TENANT}` is no tenant: {why}")))?,
            (None, None) => "current".into(),
        };
        Ok(InTenant { session: Session::open(&self.server)?, tenant })
    }
}

/// A tenant of a server, as who has logged in there.
pub struct InTenant {
    session: Session,
    tenant: String,
}

impl InTenant {
    /// Returns the server.
    pub fn session(&self) -> &Session {
        &self.session
    }

    /// Returns the tenant as it is named.
    pub fn tenant(&self) -> &str {
        &self.tenant
    }

    /// Returns a path below the tenant.
    pub fn path(&self, below: &str) -> String {
        format!("/tenants/{}{below}", self.tenant)
    }

    /// Sends one request about the tenant.
    pub fn ask(&self, method: &str, below: &str, body: Option<&Json>) -> Result<Answered, Failure> {
        self.session.good(method, &self.path(below), body)
    }

    /// Sends one request that changes what was read just before.
    pub fn change(
        &self,
        method: &str,
        below: &str,
        change: impl FnOnce(&Json) -> Option<Json>,
    ) -> Result<Answered, Failure> {
        let path = self.path(below);
        let read = self.session.good("GET", &path, None)?;
        let body = change(&read.body);
        let if_match = read.etag.as_deref();
        let asked = Asked { method, path: &path, body: body.as_ref(), if_match };
        checked(self.session.ask(&asked)?)
    }

    /// Reads a list to its end.
    pub fn all(&self, below: &str) -> Result<Vec<Json>, Failure> {
        self.session.all(&self.path(below))
    }
}

impl Session {
    /// Sends one request that must go well.
    pub fn good(&self, method: &str, path: &str, body: Option<&Json>) -> Result<Answered, Failure> {
        checked(self.ask(&Asked { method, path, body, if_match: None })?)
    }

    /// Reads a list to its end.
    pub fn all(&self, path: &str) -> Result<Vec<Json>, Failure> {
        let sign = if path.contains('?') { '&' } else { '?' };
        let (mut items, mut cursor) = (Vec::new(), None::<String>);
        for _ in 0..PAGES_MAX {
            let after = cursor.map(|it| format!("&cursor={}", quoted(&it))).unwrap_or_default();
            let mut page = self.good("GET", &format!("{path}{sign}limit={PAGE}{after}"), None)?;
            if let Json::Array(more) = page.body["items"].take() {
                items.extend(more);
            }
            cursor = page.body["next_cursor"].as_str().map(str::to_owned);
            if cursor.is_none() {
                return Ok(items);
            }
        }
        let message = format!("the list has more than {} items", PAGES_MAX * PAGE);
        Err(Failure::finding("payload_too_large", message))
    }
}

fn checked(answered: Answered) -> Result<Answered, Failure> {
    match answered.status {
        0..400 => Ok(answered),
        _ => Err(refused(&answered)),
    }
}

/// Returns a text as a part of an address.
pub fn quoted(text: &str) -> String {
    form_urlencoded::byte_serialize(text.as_bytes()).collect()
}

/// Reads a tenant: its id, or its short name.
pub fn tenant_word(text: &str) -> Result<String, String> {
    let is_slug = |it: u8| it.is_ascii_lowercase() || it.is_ascii_digit() || it == b'-';
    let is_short = (1..=SLUG_CHARS_MAX).contains(&text.len());
    match text.parse::<Uuid>().is_ok() || is_short && text.bytes().all(is_slug) {
        true => Ok(text.into()),
        false => Err("this is the id of a tenant, or a short name such as `acme`".into()),
    }
}

/// Finds who or what is meant among what there is: by its id, a unique beginning or end of that,
/// or its name.
pub fn find<'i>(items: &'i [Json], id: &str, meant: &str, what: &str) -> Result<&'i Json, Failure> {
    let text = |it: &Json, key: &str| it[key].as_str().unwrap_or_default().to_lowercase();
    let meant_low = meant.to_lowercase();
    let is = |it: &&Json| text(it, id) == meant_low || text(it, "name") == meant_low;
    let looks_like = |it: &&Json| {
        let id = text(it, id);
        id.starts_with(&meant_low) || id.ends_with(&meant_low)
    };
    let mut found: Vec<&Json> = items.iter().filter(is).collect();
    if found.is_empty() {
        found = items.iter().filter(looks_like).collect();
    }
    match found.as_slice() {
        [one] => Ok(one),
        [] => {
            let message = format!("there is no {what} `{meant}`");
            Err(Failure::finding("not_found", message).with_hint("the list names those there are"))
        }
        several => {
            let message = format!("`{meant}` is the {what} of {} that there are", several.len());
            Err(Failure::finding("id_ambiguous", message).with_hint("give the whole id"))
        }
    }
}

/// A column of a table: its heading, and where its cells stand in an item.
pub type Column = (&'static str, &'static str);

/// Shows a list: a table for people, the items for programs.
pub fn show_list(output: &Output, items: &[Json], columns: &[Column], none: &str) {
    if output.is_json() {
        output.json(&json!({ "items": items }));
    } else if items.is_empty() {
        output.line(none);
    } else {
        let headings: Vec<&str> = columns.iter().map(|it| it.0).collect();
        let row = |it: &Json| columns.iter().map(|column| cell(it, column.1)).collect();
        let rows: Vec<Vec<String>> = items.iter().map(row).collect();
        output.text(&table(&headings, &rows));
    }
}

/// Shows one thing: a line for each fact for people, the whole for programs.
pub fn show_one(output: &Output, item: &Json, facts: &[Column]) {
    if output.is_json() {
        output.json(item);
        return;
    }
    let rows: Vec<Vec<String>> = facts
        .iter()
        .map(|(name, place)| vec![name.to_string(), whole(item, place)])
        .filter(|row| !row[1].is_empty())
        .collect();
    let width = rows.iter().map(|it| it[0].chars().count()).max().unwrap_or_default();
    for row in rows {
        output.line(&format!("{:width$}  {}", row[0], row[1]));
    }
}

/// Returns what stands at a place, short enough for a table.
pub fn cell(item: &Json, place: &str) -> String {
    clip(&whole(item, place), CELL_CHARS_MAX)
}

fn whole(item: &Json, place: &str) -> String {
    let Some(found) = item.pointer(place) else { return String::new() };
    let text = match found {
        Json::Null => String::new(),
        Json::String(text) => text.clone(),
        Json::Bool(is) => if *is { "yes" } else { "no" }.into(),
        Json::Array(items) => {
            let words: Vec<String> = items.iter().map(|it| whole(it, "")).collect();
            words.join(", ")
        }
        Json::Object(map) => {
            let words: Vec<String> =
                map.iter().map(|(key, it)| format!("{key}={}", whole(it, ""))).collect();
            words.join(", ")
        }
        number => number.to_string(),
    };
    clip(&text, usize::MAX - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tenant_is_an_id_or_a_short_name() {
        for good in ["acme", "a-1", "01890000-0000-7000-8000-000000000001"] {
            assert!(tenant_word(good).is_ok(), "{good}");
        }
        for bad in ["", "Acme", "../x", "a/b", "a?b", &"a".repeat(41)] {
            assert!(tenant_word(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn what_is_meant_is_found_by_id_end_or_name_and_never_by_chance() {
        let items = [
            json!({ "id": "018a-1", "name": "Ada" }),
            json!({ "id": "018b-2", "name": "Bob" }),
            json!({ "id": "018c-3", "name": "Bob" }),
        ];
        let id = |meant: &str| match find(&items, "id", meant, "member") {
            Ok(it) => it["id"].as_str().unwrap().to_owned(),
            Err(failure) => failure.code,
        };
        for (meant, found) in [
            ("018a-1", "018a-1"),
            ("ada", "018a-1"),
            ("018b", "018b-2"),
            ("-3", "018c-3"),
            ("Bob", "id_ambiguous"),
            ("018", "id_ambiguous"),
            ("eve", "not_found"),
        ] {
            assert_eq!(id(meant), found, "{meant}");
        }
    }

    #[test]
    fn cells_hold_no_control_characters_and_lists_are_words() {
        let item = json!({ "a": ["x", "y"], "b": true, "c": null, "d": "e\u{1b}[2J", "n": 3 });
        let shown = ["/a", "/b", "/c", "/d", "/n", "/none"].map(|it| cell(&item, it));
        assert_eq!(shown, ["x, y", "yes", "", "e [2J", "3", ""]);
    }
}
