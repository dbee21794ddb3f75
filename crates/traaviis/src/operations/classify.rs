//! Which open instances of a workflow can go on with another version, and what keeps the others.

use std::collections::{BTreeMap, btree_map::Entry};

use serde_json::{Value as Json, json};
use traaviis_engine::{Class, Machine, classify};
use traaviis_model::{DefinitionHash, Text, Value};
use traaviis_ports::index::Query;

use super::{query_of, snapshot_of};
use crate::{
    control::protocol::{LIST_MAX, ListFilter},
    data::Data,
    exit::Failure,
    histories::{Histories, compile_document},
};

/// Classifies every open instance, the newest first.
pub fn answer(
    histories: &Histories,
    data: Option<&Data>,
    workflow: Text,
    definition: &Value,
) -> Result<Json, Failure> {
    let new = compile_document(definition)?;
    let mut versions: BTreeMap<DefinitionHash, Machine> = BTreeMap::new();
    let mut found = Vec::new();
    let all = query_of(false, &ListFilter { limit: LIST_MAX, ..ListFilter::default() });
    let mut query = Query { workflow: Some(workflow), ..all };
    loop {
        let page = histories.page(&query)?;
        for row in &page.rows {
            let snapshot = snapshot_of(histories, data, &row.id.to_string())?;
            let hash = snapshot.definition_hash;
            let old = match versions.entry(hash) {
                Entry::Occupied(known) => known.into_mut(),
                Entry::Vacant(place) => {
                    place.insert(compile_document(&histories.definition(hash)?)?)
                }
            };
            let class = classify(old, &new, &snapshot);
            let reasons: Vec<String> = match &class {
                Class::NeedsMapping(gaps) => gaps.iter().map(ToString::to_string).collect(),
                Class::Blocked(reasons) => reasons.iter().map(ToString::to_string).collect(),
                Class::Current | Class::Safe(_) => Vec::new(),
            };
            found.push(json!({
                "id": snapshot.id,
                "version": snapshot.version,
                "state": snapshot.state(),
                "class": class.as_str(),
                "reasons": reasons,
            }));
        }
        query.after = page.next;
        if page.next.is_none() {
            return Ok(json!({ "instances": found }));
        }
    }
}
