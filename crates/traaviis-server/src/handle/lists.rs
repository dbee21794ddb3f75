//! Pages of lists that are put together whole: of members, keys, tasks and the like, of which a
//! tenant has hundreds rather than millions.
//!
//! A cursor names the last item of the page before, so what comes or goes meanwhile moves no other
//! item over the border between two pages; where that item itself is gone, the page begins where it
//! stood.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::Serialize;
use serde_json::{Value as Json, json};
use traaviis_api::Operation;
use traaviis_platform::Error;

use super::chosen;
use crate::request::Request;

/// Fields by which an item is told from the others of its list.
const NAMES: &[&str] = &["id", "user_id", "name", "version", "instance", "path"];

/// Returns the page of a list that a request asks for.
pub(super) fn page_of(
    row: &Operation,
    request: &Request,
    list: &impl Serialize,
) -> Result<Json, Error> {
    let mut list = written_out(list)?;
    let limit = request.limit()?;
    let mut items = list["items"].as_array_mut().map(std::mem::take).unwrap_or_default();
    chosen::sort(row, request, &mut items)?;
    let begin = match request.query.get("cursor") {
        None => 0,
        Some(cursor) => {
            let (place, key) = read(cursor).ok_or_else(|| {
                Error::invalid("cursor", "this is the `next_cursor` of the page before")
            })?;
            let last = items.iter().position(|it| key_of(it) == key);
            last.map_or(place, |it| it + 1)
        }
    };
    let end = begin.saturating_add(limit).min(items.len());
    let next = (begin < end && end < items.len()).then(|| written(end - 1, &items[end - 1]));
    let page: Vec<Json> = items.into_iter().take(end).skip(begin).collect();
    (list["items"], list["next_cursor"]) = (Json::Array(page), json!(next));
    Ok(list)
}

/// Returns an answer as it goes out.
pub(super) fn written_out(list: &impl Serialize) -> Result<Json, Error> {
    serde_json::to_value(list)
        .map_err(|error| Error::new("internal", format!("an answer cannot be written: {error}")))
}

fn key_of(item: &Json) -> String {
    let parts = NAMES.iter().filter_map(|name| item[name].as_str());
    parts.collect::<Vec<_>>().join("/")
}

fn written(place: usize, item: &Json) -> String {
    URL_SAFE_NO_PAD.encode(format!("{place} {}", key_of(item)))
}

fn read(cursor: &str) -> Option<(usize, String)> {
    let text = String::from_utf8(URL_SAFE_NO_PAD.decode(cursor).ok()?).ok()?;
    let (place, key) = text.split_once(' ')?;
    Some((place.parse().ok()?, key.to_owned()))
}

#[cfg(test)]
mod tests {
    use traaviis_api::Op;

    use super::*;

    fn list(names: &[&str]) -> Json {
        let items: Vec<Json> = names.iter().map(|it| json!({ "name": it })).collect();
        json!({ "items": items, "next_cursor": null })
    }

    fn page(names: &[&str], limit: &str, cursor: Option<&str>) -> (String, Option<String>) {
        let mut request = Request::default();
        request.query.insert("limit".into(), limit.into());
        request.query.extend(cursor.map(|it| ("cursor".to_owned(), it.to_owned())));
        let page = page_of(Op::Roles.row(), &request, &list(names)).unwrap();
        let names = page["items"].as_array().unwrap().iter();
        let names: Vec<&str> = names.map(|it| it["name"].as_str().unwrap()).collect();
        (names.concat(), page["next_cursor"].as_str().map(str::to_owned))
    }

    #[test]
    fn pages_go_on_behind_the_last_item() {
        let all = ["a", "b", "c", "d", "e"];
        let (first, cursor) = page(&all, "2", None);
        assert_eq!(first, "ab");
        let (second, next) = page(&all, "2", cursor.as_deref());
        assert_eq!(second, "cd");
        assert_eq!(page(&all, "2", next.as_deref()), ("e".into(), None));
        assert_eq!(page(&all, "5", None), ("abcde".into(), None));
        // One came before the border, one went, and the last of the page itself went.
        let cursor = cursor.as_deref();
        assert_eq!(page(&["x", "a", "b", "c", "d", "e"], "2", cursor).0, "cd");
        assert_eq!(page(&["b", "c", "d", "e"], "2", cursor).0, "cd");
        assert_eq!(page(&["a", "c", "d", "e"], "2", cursor).0, "cd");
        assert_eq!(page(&[], "2", cursor), (String::new(), None));
    }

    #[test]
    fn a_cursor_that_no_page_gave_is_refused() {
        for cursor in ["", "x", "MQ", "!!", "OTk5OTk5OTk5OTk5OTk5OTk5OTk5OTk5OSBh"] {
            let mut request = Request::default();
            request.query.insert("cursor".into(), cursor.into());
            let error = page_of(Op::Roles.row(), &request, &list(&["a"])).unwrap_err();
            assert_eq!(error.code, "validation_failed", "{cursor}");
        }
    }
}
