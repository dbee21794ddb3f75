//! Files about all documents of a kind: what changes in one, put into what it says, and which
//! tenants there are.
//!
//! A list goes on from its file, which is believed only as it was written; one that is not is
//! asked for whole. So nothing of it has to be held in memory between writes.

use std::{borrow::Cow, collections::BTreeMap};

use serde_json::{Value as Json, json};
use traaviis_model::TenantId;
use traaviis_ports::tree::{
    Document, Listed, Place,
    shown::{List, TENANT},
};

use super::envelope::members;

/// The tenants that there are, as their list tells of them.
pub(super) type Tenants = BTreeMap<TenantId, Json>;

type Entries<'a> = BTreeMap<String, Cow<'a, [u8]>>;

/// Returns the document of a list that goes on from a body; none when that cannot be read. Entries
/// that do not change are taken as they stand: of very many, nothing is read but where they end.
pub(super) fn document(listed: &Listed, before: Option<&[u8]>) -> Option<Document> {
    let Listed { tenant, list, entries: changes, is_whole: _, seq, updated_at } = listed;
    let mut entries = match before {
        Some(body) => read(list, body)?,
        None => Entries::new(),
    };
    for (id, entry) in changes {
        match entry {
            Some(entry) => {
                let entry: Json = serde_json::from_slice(entry).ok()?;
                entries.insert(id.to_string(), Cow::Owned(entry.to_string().into_bytes()));
            }
            None => drop(entries.remove(&**id)),
        }
    }
    // `count` stands first, where a person sees it however long the list is.
    let head = format!(r#"{{"count":{},"{}":{{"#, entries.len(), list.entries);
    let each = |(id, entry): (&String, &Cow<'_, [u8]>)| id.len() + entry.len() + 4;
    let mut body = Vec::with_capacity(head.len() + entries.iter().map(each).sum::<usize>() + 2);
    body.extend_from_slice(head.as_bytes());
    for (at, (id, entry)) in entries.iter().enumerate() {
        if at > 0 {
            body.push(b',');
        }
        serde_json::to_writer(&mut body, id).ok()?;
        body.push(b':');
        body.extend_from_slice(entry);
    }
    body.extend_from_slice(b"}}");
    let (tenant, seq, updated_at) = (*tenant, *seq, *updated_at);
    Some(Document { tenant, place: Place::List(list), version: seq, seq, updated_at, body })
}

fn read<'a>(list: &List, body: &'a [u8]) -> Option<Entries<'a>> {
    let (_, entries) = members(body)?.into_iter().find(|(name, _)| name == list.entries)?;
    Some(members(entries)?.into_iter().map(|(id, entry)| (id, Cow::Borrowed(entry))).collect())
}

/// Returns what the list of tenants says of one of which nothing is known but that it is there.
pub(super) fn unknown_tenant() -> Json {
    json!({ "status": "active" })
}

/// Returns what the list of tenants says of one, by the document that holds it.
pub(super) fn tenant_of(document: &Document) -> Option<(TenantId, Json)> {
    let Place::Kept { kind, .. } = &document.place else { return None };
    if kind.kind != TENANT {
        return None;
    }
    Some((document.tenant?, tenant_entry(&document.body)))
}

/// Returns what the list of tenants says of one, by the body of its document.
pub(super) fn tenant_entry(body: &[u8]) -> Json {
    let body: Json = serde_json::from_slice(body).unwrap_or_default();
    match body["status"].as_str() {
        Some(status) => json!({ "name": body["name"], "slug": body["slug"], "status": status }),
        None => unknown_tenant(),
    }
}

/// Returns the document that lists tenants.
pub(super) fn tenants_document(tenants: &Tenants) -> Document {
    let entries: BTreeMap<String, &Json> =
        tenants.iter().map(|(id, it)| (id.to_string(), it)).collect();
    let count = tenants.len() as u64;
    Document {
        tenant: None,
        place: Place::Tenants,
        version: count,
        seq: count,
        updated_at: None,
        body: json!({ "count": count, "tenants": entries }).to_string().into_bytes(),
    }
}

/// Reads the tenants that a list names.
pub(super) fn tenants_of(body: &[u8]) -> Option<Tenants> {
    let mut body: BTreeMap<String, Json> = serde_json::from_slice(body).ok()?;
    serde_json::from_value(body.remove("tenants")?).ok()
}

#[cfg(test)]
mod tests {
    use traaviis_ports::tree::shown::LISTS;

    use super::*;

    fn listed(entries: &[(&str, Option<&str>)], seq: u64) -> Listed {
        let entry =
            |(id, it): &(&str, Option<&str>)| ((*id).into(), it.map(|it| it.as_bytes().to_vec()));
        let entries = entries.iter().map(entry).collect();
        let (tenant, list, updated_at) = (None, &LISTS[0], None);
        Listed { tenant, list, entries, is_whole: false, seq, updated_at }
    }

    #[test]
    fn a_list_goes_on_from_what_it_says() {
        let one = listed(&[("b", Some(r#"{"status":"x"}"#)), ("a", Some("\"[SEALED]\""))], 4);
        let made = document(&one, None).unwrap();
        let text = r#"{"count":2,"users":{"a":"[SEALED]","b":{"status":"x"}}}"#;
        assert_eq!(String::from_utf8_lossy(&made.body), text);
        let next = listed(&[("b", None), ("c", Some("{}")), ("d", None)], 9);
        let made = document(&next, Some(&made.body)).unwrap();
        assert_eq!(made.seq, 9);
        let text = r#"{"count":2,"users":{"a":"[SEALED]","c":{}}}"#;
        assert_eq!(String::from_utf8_lossy(&made.body), text);
        assert_eq!(document(&next, Some(br#"{"count":1}"#)), None);
    }

    #[test]
    fn tenants_read_back() {
        let id = TenantId(uuid::Uuid::from_u128(7));
        let entry = tenant_entry(br#"{"name":"Acme","slug":"acme","status":"suspended","x":1}"#);
        let tenants = Tenants::from([(id, entry), (TenantId(uuid::Uuid::nil()), unknown_tenant())]);
        let document = tenants_document(&tenants);
        assert_eq!(tenants_of(&document.body), Some(tenants));
        assert_eq!(tenant_entry(b"\"[SEALED]\""), unknown_tenant());
    }
}
