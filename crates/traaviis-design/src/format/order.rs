//! The order of keys, taken from the JSON Schema of the language: what stands first there stands
//! first here. `x-` keys and keys that the schema does not know come last, as they were; those of
//! the document itself come after its labels.

use std::sync::LazyLock;

use traaviis_model::document::{
    self, Format, WORKFLOW_SCHEMA,
    tree::{Node, NodeKind},
};

static SCHEMA: LazyLock<Option<Node>> =
    LazyLock::new(|| document::read_tree(WORKFLOW_SCHEMA, Format::Json).ok());

/// What a map or list of a document holds, by the schema.
#[derive(Clone, Copy)]
pub(super) struct Shape {
    schema: Option<&'static Node>,
}

/// What a value is, as far as the schema chooses by it.
#[derive(Clone, Copy)]
pub(super) enum Looks<'a> {
    /// A map, with the text at `type`.
    Map(Option<&'a str>),
    List,
}

impl Shape {
    /// Returns the shape of a document.
    pub(super) fn document() -> Shape {
        Shape { schema: SCHEMA.as_ref() }
    }

    /// Returns the shape of a value that looks like this: references followed, one of several
    /// forms chosen.
    pub(super) fn of(self, looks: Looks<'_>) -> Shape {
        let schema = self.schema.and_then(|it| chosen(it, looks, 0));
        Shape { schema }
    }

    /// Returns the place of a key among the keys of the language.
    ///
    /// The `x-` keys of a document say something about the whole of it, as its labels do.
    pub(super) fn rank(self, key: &str) -> usize {
        if key.starts_with("x-") && self.is_document() {
            return self.rank("labels") + 1;
        }
        let known = match self.get("properties").map(|it| &it.kind) {
            Some(NodeKind::Map(entries)) => entries.iter().position(|it| *it.0.text == *key),
            _ => None,
        };
        known.map_or(usize::MAX, |it| 2 * it)
    }

    fn is_document(self) -> bool {
        self.schema.zip(SCHEMA.as_ref()).is_some_and(|(own, document)| std::ptr::eq(own, document))
    }

    /// Returns the shape of the value at a key.
    pub(super) fn at(self, key: &str) -> Shape {
        let known = self.get("properties").and_then(|it| it.entry(key)).map(|it| &it.1);
        Shape { schema: known.or_else(|| self.get("additionalProperties")) }
    }

    /// Returns the shape of the items.
    pub(super) fn item(self) -> Shape {
        Shape { schema: self.get("items") }
    }

    fn get(self, key: &str) -> Option<&'static Node> {
        self.schema.and_then(|it| it.entry(key)).map(|it| &it.1)
    }
}

/// Longest chain of references that is followed.
const CHAIN_MAX: usize = 16;

fn chosen(schema: &'static Node, looks: Looks<'_>, depth: usize) -> Option<&'static Node> {
    if depth > CHAIN_MAX {
        return None;
    }
    let text = |node: &'static Node| match &node.kind {
        NodeKind::String(text) => Some(&**text),
        _ => None,
    };
    let get = |key: &str| schema.entry(key).map(|it| &it.1);
    if let Some(name) = get("$ref").and_then(text) {
        let name = name.strip_prefix("#/$defs/")?;
        let target = &SCHEMA.as_ref()?.entry("$defs")?.1.entry(name)?.1;
        return chosen(target, looks, depth + 1);
    }
    if let Some(NodeKind::List(forms)) = get("oneOf").map(|it| &it.kind) {
        return forms.iter().find_map(|it| chosen(it, looks, depth + 1));
    }
    if let (Some(NodeKind::List(rules)), Looks::Map(Some(kind))) =
        (get("allOf").map(|it| &it.kind), looks)
    {
        // `{if: {properties: {type: {const: KIND}}}, then: {..}}` for each kind.
        let path = ["if", "properties", "type", "const"];
        let is_for_kind = |rule: &&'static Node| {
            let found = path.iter().try_fold(*rule, |at, key| Some(&at.entry(key)?.1));
            found.and_then(text) == Some(kind)
        };
        if let Some(rule) = rules.iter().find(is_for_kind) {
            return chosen(&rule.entry("then")?.1, looks, depth + 1);
        }
    }
    let wanted = match looks {
        Looks::Map(_) => "object",
        Looks::List => "array",
    };
    (get("type").and_then(text) == Some(wanted)).then_some(schema)
}

/// Returns a tree with its keys in canonical order.
pub(super) fn sorted(node: &Node) -> Node {
    sorted_as(node, Shape::document())
}

fn sorted_as(node: &Node, shape: Shape) -> Node {
    let kind = match &node.kind {
        NodeKind::Map(entries) => {
            let kind = node.entry("type").and_then(|it| match &it.1.kind {
                NodeKind::String(text) => Some(&**text),
                _ => None,
            });
            let shape = shape.of(Looks::Map(kind));
            let mut entries = entries.clone();
            entries.sort_by_key(|(key, _)| shape.rank(&key.text));
            for (key, value) in &mut entries {
                *value = sorted_as(value, shape.at(&key.text));
            }
            NodeKind::Map(entries)
        }
        NodeKind::List(items) => {
            let item = shape.of(Looks::List).item();
            NodeKind::List(items.iter().map(|it| sorted_as(it, item)).collect())
        }
        other => other.clone(),
    };
    Node { kind, ..*node }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: &str) {
        let node = document::read_tree(text, Format::Yaml).unwrap();
        assert_eq!(sorted(&node).to_json(), expected);
    }

    #[test]
    fn keys_of_the_language_follow_the_schema() {
        check(
            "{x-a: 1, states: {b: {on: {z: {guard: g, target: t}, a: []}, type: final}, a: {}}, name: N}",
            r#"{"name":"N","x-a":1,"states":{"b":{"type":"final","on":{"z":{"target":"t","guard":"g"},"a":[]}},"a":{}}}"#,
        );
    }

    #[test]
    fn effects_follow_their_kind() {
        check(
            "{states: {a: {invoke: [{effect: {args: {z: 1, a: 2}, function: f, id: i, type: call}, id: x}]}}}",
            r#"{"states":{"a":{"invoke":[{"id":"x","effect":{"type":"call","id":"i","function":"f","args":{"z":1,"a":2}}}]}}}"#,
        );
        check(
            "{states: {a: {invoke: [{effect: {effects: {z: {value: 1, type: value}}, type: sequence}}]}}}",
            r#"{"states":{"a":{"invoke":[{"effect":{"type":"sequence","effects":{"z":{"type":"value","value":1}}}}]}}}"#,
        );
    }

    #[test]
    fn names_and_data_keep_their_order() {
        check(
            "{data: {initial: {z: 1, states: 2, name: 3}}, events: {z: {}, a: {}}}",
            r#"{"data":{"initial":{"z":1,"states":2,"name":3}},"events":{"z":{},"a":{}}}"#,
        );
    }
}
