//! Which fields the items of a list have, as its schema says: what may be sorted by and chosen.

use std::{
    collections::{BTreeSet, HashMap},
    sync::LazyLock,
};

use schemars::SchemaGenerator;
use serde_json::Value as Json;

use super::{OPERATIONS, Op, Operation};

/// Fields of items by the operation that lists them; none where an item is anything.
static FIELDS: LazyLock<HashMap<Op, BTreeSet<String>>> = LazyLock::new(|| {
    let named = OPERATIONS.iter().filter_map(|row| Some((row.op, fields_of(row)?)));
    named.collect()
});

impl Operation {
    /// Says whether the items of this list may have a field; where the schema says nothing of them,
    /// any.
    pub fn may_have_field(&self, name: &str) -> bool {
        FIELDS.get(&self.op).is_none_or(|it| it.contains(name))
    }
}

fn fields_of(row: &Operation) -> Option<BTreeSet<String>> {
    let mut generator = SchemaGenerator::default();
    let answer = row.answer?(&mut generator).to_value();
    let known = Json::Object(generator.take_definitions(true));
    let resolved = |schema: &Json| {
        let name = schema["$ref"].as_str().and_then(|it| it.rsplit('/').next());
        name.map_or_else(|| schema.clone(), |name| known[name].clone())
    };
    let items = resolved(&answer)["properties"]["items"]["items"].clone();
    let fields = resolved(&items)["properties"].as_object()?.keys().cloned().collect();
    Some(fields)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_have_the_fields_of_their_schema() {
        for (op, name, may) in [
            (Op::Roles, "name", true),
            (Op::Roles, "nobody", false),
            (Op::Members, "user_id", true),
            // What the pages about instances tell more of.
            (Op::Tasks, "anything", true),
        ] {
            assert_eq!(op.row().may_have_field(name), may, "{op:?} {name}");
        }
    }
}
