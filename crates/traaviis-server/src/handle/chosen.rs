//! What a list is sorted by, and which fields of its items are told: `sort` and `fields`.

use std::cmp::Ordering;

use serde_json::{Map, Value as Json};
use traaviis_api::Operation;
use traaviis_platform::Error;

use crate::request::Request;

/// Sorts items by the field that a request names, backwards after a `-`. What does not have it is
/// last, and what is the same stays in the order of the list.
pub(super) fn sort(row: &Operation, request: &Request, items: &mut [Json]) -> Result<(), Error> {
    let Some(given) = request.query.get("sort") else { return Ok(()) };
    let (name, is_backwards) = match given.strip_prefix('-') {
        Some(name) => (name, true),
        None => (&**given, false),
    };
    known(row, "sort", name)?;
    items.sort_by(|a, b| match (&a[name], &b[name]) {
        (Json::Null, Json::Null) => Ordering::Equal,
        (Json::Null, _) => Ordering::Greater,
        (_, Json::Null) => Ordering::Less,
        (a, b) if is_backwards => compared(b, a),
        (a, b) => compared(a, b),
    });
    Ok(())
}

fn compared(a: &Json, b: &Json) -> Ordering {
    match (a, b) {
        (Json::Number(a), Json::Number(b)) => match (a.as_i64(), b.as_i64()) {
            (Some(a), Some(b)) => a.cmp(&b),
            _ => a.as_f64().unwrap_or_default().total_cmp(&b.as_f64().unwrap_or_default()),
        },
        (Json::String(a), Json::String(b)) => a.cmp(b),
        (Json::Bool(a), Json::Bool(b)) => a.cmp(b),
        (a, b) => a.to_string().cmp(&b.to_string()),
    }
}

/// Leaves of the items of a list the fields that a request names, if it names any.
pub(super) fn cut(row: &Operation, request: &Request, list: &mut Json) -> Result<(), Error> {
    let Some(given) = request.query.get("fields") else { return Ok(()) };
    let names: Vec<&str> = given.split(',').collect();
    names.iter().try_for_each(|it| known(row, "fields", it))?;
    for item in list["items"].as_array_mut().into_iter().flatten() {
        let kept = names.iter().filter_map(|it| Some(((*it).to_owned(), item.get(*it)?.clone())));
        *item = Json::Object(kept.collect::<Map<_, _>>());
    }
    Ok(())
}

fn known(row: &Operation, parameter: &str, name: &str) -> Result<(), Error> {
    let is_name = |it: char| it.is_ascii_lowercase() || it.is_ascii_digit() || it == '_';
    match !name.is_empty() && name.chars().all(is_name) && row.may_have_field(name) {
        true => Ok(()),
        false => Err(Error::invalid(parameter, "this names fields that items of this list have")),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use traaviis_api::Op;

    use super::*;

    fn request(name: &str, value: &str) -> Request {
        Request { query: [(name.to_owned(), value.to_owned())].into(), ..Request::default() }
    }

    fn sorted(by: &str, items: &Json) -> Result<Json, Error> {
        let mut items = items.as_array().unwrap().clone();
        sort(Op::Tasks.row(), &request("sort", by), &mut items)?;
        Ok(items.into_iter().map(|it| it["id"].clone()).collect())
    }

    #[test]
    fn items_stand_in_the_order_of_a_field() {
        let items = json!([
            { "id": 1, "n": 10, "t": "b" }, { "id": 2, "t": "B" }, { "id": 3, "n": 9, "t": "a" },
            { "id": 4, "n": 10.5, "t": null },
        ]);
        for (by, order) in [
            ("n", json!([3, 1, 4, 2])),
            ("-n", json!([4, 1, 3, 2])),
            ("t", json!([2, 3, 1, 4])),
            ("-t", json!([1, 3, 2, 4])),
            ("none", json!([1, 2, 3, 4])),
        ] {
            assert_eq!(sorted(by, &items).unwrap(), order, "{by}");
        }
        for bad in ["", "-", "--n", "n,t", "N", "a b", "/n"] {
            assert_eq!(sorted(bad, &items).unwrap_err().code, "validation_failed", "{bad}");
        }
    }

    #[test]
    fn items_have_the_fields_that_are_named() {
        let list = || json!({ "items": [{ "id": 1, "n": 2 }, { "n": 3 }], "next_cursor": null });
        for (fields, items) in
            [("id", json!([{ "id": 1 }, {}])), ("n,id,x", json!([{ "id": 1, "n": 2 }, { "n": 3 }]))]
        {
            let mut list = list();
            cut(Op::Tasks.row(), &request("fields", fields), &mut list).unwrap();
            assert_eq!(list, json!({ "items": items, "next_cursor": null }), "{fields}");
        }
        for bad in ["", "id,", "id, n", "nobody"] {
            let refused = cut(Op::Roles.row(), &request("fields", bad), &mut list()).unwrap_err();
            assert_eq!(refused.code, "validation_failed", "{bad}");
        }
    }
}
