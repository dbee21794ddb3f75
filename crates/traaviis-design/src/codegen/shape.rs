//! What there is to declare for a workflow, whatever the language.

use std::collections::BTreeSet;

use super::is_hidden;
use traaviis_model::{
    Value,
    definition::{Definition, State, StateKind},
};

/// Levels of a schema that are followed; deeper parts are any JSON.
const DEPTH_MAX: usize = 16;
/// Maps that get a name; more are any JSON, so that references that lead back end.
const RECORDS_MAX: usize = 500;
/// Words of a choice that are spelt out; more is any text.
const WORDS_MAX: usize = 64;

/// Everything that is declared.
#[derive(Debug)]
pub struct Shapes {
    /// Name of the workflow.
    pub workflow: String,
    /// Its version.
    pub version: String,
    /// Named maps, each behind those that it is made of.
    pub records: Vec<Record>,
    /// Start input.
    pub input: Shape,
    /// Data of an instance.
    pub data: Shape,
    /// Events that a caller may send, with their payloads.
    pub events: Vec<(String, Payload)>,
    /// Paths of all states.
    pub states: Vec<String>,
}

/// What an event carries.
#[derive(Clone, Debug, PartialEq)]
pub enum Payload {
    /// Something, or nothing: no schema says.
    Open,
    /// What its schema says.
    Shape(Shape),
}

/// A named map.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    /// Name of the type.
    pub name: String,
    /// What it is, for people.
    pub about: String,
    /// Fields in the order of their names.
    pub fields: Vec<Field>,
}

/// A field of a map.
#[derive(Clone, Debug, PartialEq)]
pub struct Field {
    /// As it stands in JSON.
    pub key: String,
    /// What it holds.
    pub shape: Shape,
    /// It may be absent.
    pub is_optional: bool,
    /// What it is, for people; may be empty.
    pub about: String,
}

/// The type of a value.
#[derive(Clone, Debug, PartialEq)]
pub enum Shape {
    /// Any JSON.
    Any,
    /// True or false.
    Bool,
    /// A whole number.
    Int,
    /// A number.
    Number,
    /// Text.
    Text,
    /// One of some words.
    Words(Vec<String>),
    /// A list.
    List(Box<Shape>),
    /// A map from names to values of one type.
    Map(Box<Shape>),
    /// A named map.
    Record(String),
    /// That, or null.
    OrNull(Box<Shape>),
}

impl Shapes {
    /// Finds what there is to declare.
    pub fn of(definition: &Definition) -> Shapes {
        let mut made = Maker { records: Vec::new(), names: BTreeSet::new() };
        // Names of what every text declares beside the shapes.
        for taken in ["State", "Status", "Instance", "Changed", "Client", "Json", "Events", "Event"]
        {
            made.names.insert(taken.into());
        }
        let mut top = |schema: &Option<Value>, name: &str, about: &str| match schema {
            Some(schema) => made.shape(schema, schema, name, about, 0),
            None => Shape::Any,
        };
        let input = top(&definition.input_schema, "Input", "What an instance starts with.");
        let data = top(&definition.data_schema, "Data", "Data of an instance.");
        let mut events = Vec::new();
        for event in definition.events.iter().filter(|it| !it.internal) {
            // A family of events has no name that could be sent.
            if event.name.contains('*') {
                continue;
            }
            let payload = match &event.schema {
                Some(_) => {
                    let name = format!("{}Event", pascal(&event.name));
                    let about = format!("Payload of the event `{}`.", event.name);
                    Payload::Shape(top(&event.schema, &name, &about))
                }
                None => Payload::Open,
            };
            events.push((event.name.to_string(), payload));
        }
        let mut states = Vec::new();
        definition.states.iter().for_each(|it| add_state(it, "", &mut states));
        Shapes {
            workflow: definition.name.to_string(),
            version: definition.version.to_string(),
            records: made.records,
            input,
            data,
            events,
            states,
        }
    }
}

fn add_state(state: &State, above: &str, states: &mut Vec<String>) {
    let path = match above {
        "" => state.name.to_string(),
        above => format!("{above}.{}", state.name),
    };
    if !matches!(state.kind, StateKind::History { .. }) {
        states.push(path.clone());
    }
    if let StateKind::Compound { states: inner, .. } | StateKind::Parallel { states: inner } =
        &state.kind
    {
        inner.iter().for_each(|it| add_state(it, &path, states));
    }
}

/// Makes shapes, and names for maps.
struct Maker {
    records: Vec<Record>,
    names: BTreeSet<String>,
}

impl Maker {
    fn shape(
        &mut self,
        root: &Value,
        schema: &Value,
        name: &str,
        about: &str,
        depth: usize,
    ) -> Shape {
        if depth >= DEPTH_MAX || self.names.len() >= RECORDS_MAX {
            return Shape::Any;
        }
        if let Some(found) = schema.get("$ref").and_then(Value::as_str) {
            let found = found.strip_prefix('#').and_then(|it| root.at_pointer(it));
            return match found {
                Some(found) => self.shape(root, found, name, about, depth + 1),
                None => Shape::Any,
            };
        }
        if let Some(words) = words(schema) {
            return Shape::Words(words);
        }
        let Some(kinds) = kinds(schema) else { return Shape::Any };
        let mut named = kinds.iter().filter(|it| **it != "null");
        let shape = match (named.next().copied(), named.next()) {
            (Some("boolean"), None) => Shape::Bool,
            (Some("integer"), None) => Shape::Int,
            (Some("number"), None) => Shape::Number,
            (Some("string"), None) => Shape::Text,
            (Some("array"), None) => match schema.get("items") {
                Some(items @ Value::Map(_)) => {
                    let of = self.shape(root, items, &format!("{name}Item"), about, depth + 1);
                    Shape::List(Box::new(of))
                }
                _ => Shape::List(Box::new(Shape::Any)),
            },
            (Some("object"), None) => self.map(root, schema, name, about, depth),
            _ => return Shape::Any,
        };
        match kinds.contains(&"null") {
            true => Shape::OrNull(Box::new(shape)),
            false => shape,
        }
    }

    fn map(
        &mut self,
        root: &Value,
        schema: &Value,
        name: &str,
        about: &str,
        depth: usize,
    ) -> Shape {
        let Some(properties) = schema.get("properties").and_then(Value::as_map) else {
            let of = match schema.get("additionalProperties") {
                Some(of @ Value::Map(_)) => {
                    self.shape(root, of, &format!("{name}Value"), about, depth + 1)
                }
                _ => Shape::Any,
            };
            return Shape::Map(Box::new(of));
        };
        let name = self.free(name);
        let required: BTreeSet<&str> = schema
            .get("required")
            .and_then(Value::as_list)
            .map(|it| it.iter().filter_map(Value::as_str).collect())
            .unwrap_or_default();
        let mut fields = Vec::new();
        for (key, of) in properties.iter() {
            let told = of.get("description").and_then(Value::as_str).unwrap_or_default();
            let inner = format!("{name}{}", pascal(key));
            let about_inner = said(&format!("`{key}` of `{name}`."));
            fields.push(Field {
                key: key.to_string(),
                shape: self.shape(root, of, &inner, &about_inner, depth + 1),
                is_optional: !required.contains(&**key),
                about: said(told),
            });
        }
        self.records.push(Record { name: name.clone(), about: about.into(), fields });
        Shape::Record(name)
    }

    /// Returns a name that nothing has yet.
    fn free(&mut self, name: &str) -> String {
        let mut free = name.to_string();
        let mut number = 1;
        while !self.names.insert(free.clone()) {
            number += 1;
            free = format!("{name}{number}");
        }
        free
    }
}

/// Returns the words that a schema allows, if it allows nothing else.
fn words(schema: &Value) -> Option<Vec<String>> {
    let one = schema.get("const").map(std::slice::from_ref);
    let all = schema.get("enum").and_then(Value::as_list).or(one)?;
    let words: Option<Vec<String>> = all.iter().map(|it| it.as_str().map(str::to_owned)).collect();
    words.filter(|it| !it.is_empty() && it.len() <= WORDS_MAX)
}

fn kinds(schema: &Value) -> Option<Vec<&str>> {
    match schema.get("type") {
        Some(Value::String(kind)) => Some(vec![&**kind]),
        Some(Value::List(kinds)) => kinds.iter().map(Value::as_str).collect(),
        // A schema with properties and without a type is about a map, and allows all else too.
        _ => None,
    }
}

/// Returns a text for a comment, on one line and without what would end it.
fn said(text: &str) -> String {
    let plain = |it: char| match it {
        it if is_hidden(it) => ' ',
        '"' => '\'',
        '\\' => '/',
        it => it,
    };
    let text: String = text.chars().map(plain).collect();
    text.split_whitespace().collect::<Vec<_>>().join(" ").replace("*/", "* /")
}

/// Returns a name as types have it; never empty, and a letter first.
pub fn pascal(name: &str) -> String {
    let words = name.split(|it: char| !it.is_ascii_alphanumeric()).filter(|it| !it.is_empty());
    let word = |it: &str| it[..1].to_ascii_uppercase() + &it[1..];
    let made: String = words.map(word).collect();
    match made.chars().next() {
        Some(first) if first.is_ascii_alphabetic() => made,
        _ => format!("X{made}"),
    }
}

/// Returns a name as functions and fields have it; never empty, and a letter first.
pub fn snake(name: &str) -> String {
    let mut made = String::new();
    let mut was_low = false;
    for it in name.chars() {
        match it {
            it if it.is_ascii_uppercase() => {
                if was_low {
                    made.push('_');
                }
                made.push(it.to_ascii_lowercase());
                was_low = false;
            }
            it if it.is_ascii_alphanumeric() => {
                made.push(it);
                was_low = true;
            }
            _ => {
                if !made.is_empty() && !made.ends_with('_') {
                    made.push('_');
                }
                was_low = false;
            }
        }
    }
    let made = made.trim_end_matches('_');
    match made.chars().next() {
        Some(first) if first.is_ascii_alphabetic() => made.to_string(),
        _ => format!("x_{made}").trim_end_matches('_').to_string(),
    }
}

/// Returns names that are all different: what comes twice gets a number behind a separator.
pub fn distinct(names: impl Iterator<Item = String>, separator: &str) -> Vec<String> {
    let mut taken = BTreeSet::new();
    let free = |name: String| {
        let mut free = name.clone();
        let mut number = 1;
        while !taken.insert(free.clone()) {
            number += 1;
            free = format!("{name}{separator}{number}");
        }
        free
    };
    names.map(free).collect()
}
