//! Shapes as Rust.

use super::{
    Shapes, literal, origin,
    shape::{Payload, Record, Shape, distinct, pascal, snake},
};

const KEYWORDS: &[&str] = &[
    "abstract", "as", "async", "await", "become", "box", "break", "const", "continue", "crate",
    "do", "dyn", "else", "enum", "extern", "false", "final", "fn", "for", "gen", "if", "impl",
    "in", "let", "loop", "macro", "match", "mod", "move", "mut", "override", "priv", "pub", "ref",
    "return", "self", "static", "struct", "super", "trait", "true", "try", "type", "typeof",
    "unsafe", "unsized", "use", "virtual", "where", "while", "yield",
];

const CLIENT: &str = r#"/// Carries requests to a server, with whatever library for HTTP.
pub trait Transport {
    /// What can go wrong.
    type Error: From<serde_json::Error>;

    /// Sends a request to a path below `/api/v1/tenants/{tenant}`, with a token, and returns the
    /// JSON of the answer. An answer with a status of 400 or more is an error.
    fn ask(&self, method: &str, path: &str, body: &Value) -> Result<Value, Self::Error>;
}

/// How an instance stands after a change.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Changed {
    #[serde(alias = "instance")]
    pub id: String,
    pub status: String,
    pub state: String,
    pub seq: u64,
    pub output: Value,
}

/// An instance as it is shown.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Instance {
    pub id: String,
    pub status: String,
    #[serde(rename = "configuration")]
    pub states: Vec<String>,
    pub seq: u64,
    pub data: Data,
    #[serde(default)]
    pub output: Value,
}

/// Starts instances of the workflow, sends them events, and asks them.
#[derive(Clone, Debug)]
pub struct Client<T>(pub T);

impl<T: Transport> Client<T> {
    /// Starts an instance. The same `id`, a UUID of version 7, starts nothing more.
    pub fn start(&self, input: &Input, id: Option<&str>) -> Result<Changed, T::Error> {
        let body = json!({ "workflow": WORKFLOW, "input": input, "id": id });
        Ok(serde_json::from_value(self.0.ask("POST", "/instances", &body)?)?)
    }

    /// Sends an event. The same `event_id` is not taken again.
    pub fn send(
        &self,
        id: &str,
        event: &Event,
        event_id: Option<&str>,
    ) -> Result<Changed, T::Error> {
        let (name, data) = event.parts()?;
        let body = json!({ "event": name, "data": data, "id": event_id });
        let path = format!("/instances/{id}/events");
        Ok(serde_json::from_value(self.0.ask("POST", &path, &body)?)?)
    }

    /// Evaluates an expression over the state of an instance.
    pub fn query(&self, id: &str, select: &str) -> Result<Value, T::Error> {
        let body = json!({ "select": select });
        Ok(self.0.ask("POST", &format!("/instances/{id}/query"), &body)?["value"].take())
    }

    /// Shows an instance.
    pub fn show(&self, id: &str) -> Result<Instance, T::Error> {
        let mut told = self.0.ask("GET", &format!("/instances/{id}"), &Value::Null)?;
        Ok(serde_json::from_value(told["snapshot"].take())?)
    }
}
"#;

pub(super) fn write(shapes: &Shapes) -> String {
    let mut out = format!("//! {}\n\n", origin(shapes));
    out += "use serde::{Deserialize, Serialize};\nuse serde_json::{Value, json};\n\n";
    out += &format!("pub const WORKFLOW: &str = {};\n", literal(&shapes.workflow));
    out += &format!("pub const VERSION: &str = {};\n", literal(&shapes.version));
    let states: Vec<String> = shapes.states.iter().map(|it| literal(it)).collect();
    out += &format!(
        "/// Paths of all states.\npub const STATES: &[&str] = &[{}];\n\n",
        states.join(", ")
    );
    for record in &shapes.records {
        out += &structure(record);
    }
    for (name, shape) in [("Input", &shapes.input), ("Data", &shapes.data)] {
        if *shape != Shape::Record(name.into()) {
            out += &format!("pub type {name} = {};\n\n", of(shape));
        }
    }
    out += &events(shapes);
    out + CLIENT
}

fn events(shapes: &Shapes) -> String {
    let variants = shapes.events.iter().map(|(name, _)| match pascal(name) {
        name if name == "Self" => "SelfEvent".into(),
        name => name,
    });
    let variants = distinct(variants, "");
    let mut out = String::from(
        "/// An event that a caller may send; one without a schema carries any JSON, or null.\n\
         #[derive(Clone, Debug, PartialEq)]\npub enum Event {\n",
    );
    for ((event, payload), variant) in shapes.events.iter().zip(&variants) {
        let shape = match payload {
            Payload::Open => "Value".into(),
            Payload::Shape(shape) => of(shape),
        };
        out += &format!("    /// `{event}`.\n    {variant}({shape}),\n");
    }
    out += "}\n\nimpl Event {\n    /// Returns its name and payload.\n    \
            pub fn parts(&self) -> serde_json::Result<(&'static str, Value)> {\n";
    if variants.is_empty() {
        return out + "        match *self {}\n    }\n}\n\n";
    }
    out += "        Ok(match self {\n";
    for ((event, _), variant) in shapes.events.iter().zip(&variants) {
        let name = literal(event);
        out += &format!(
            "            Event::{variant}(data) => ({name}, serde_json::to_value(data)?),\n"
        );
    }
    out + "        })\n    }\n}\n\n"
}

fn structure(record: &Record) -> String {
    let mut out = format!(
        "/// {}\n#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]\npub struct {} {{\n",
        record.about, record.name
    );
    let names = record.fields.iter().map(|it| match snake(&it.key) {
        name if KEYWORDS.contains(&&*name) => format!("{name}_"),
        name => name,
    });
    let names = distinct(names, "_");
    for (field, name) in record.fields.iter().zip(names) {
        if !field.about.is_empty() {
            out += &format!("    /// {}\n", field.about);
        }
        if let Shape::Words(words) = &field.shape {
            let words: Vec<String> = words.iter().map(|it| literal(it)).collect();
            out += &format!("    /// One of {}.\n", words.join(", "));
        }
        if field.key != name {
            out += &format!("    #[serde(rename = {})]\n", literal(&field.key));
        }
        let shape = match &field.shape {
            Shape::OrNull(of_what) if field.is_optional => of(of_what),
            shape => of(shape),
        };
        match field.is_optional {
            true => {
                out += "    #[serde(default, skip_serializing_if = \"Option::is_none\")]\n";
                out += &format!("    pub {name}: Option<{shape}>,\n");
            }
            false => out += &format!("    pub {name}: {shape},\n"),
        }
    }
    out + "}\n\n"
}

fn of(shape: &Shape) -> String {
    match shape {
        Shape::Any => "Value".into(),
        Shape::Bool => "bool".into(),
        Shape::Int => "i64".into(),
        Shape::Number => "f64".into(),
        Shape::Text | Shape::Words(_) => "String".into(),
        Shape::List(of_what) => format!("Vec<{}>", of(of_what)),
        Shape::Map(of_what) => format!("std::collections::BTreeMap<String, {}>", of(of_what)),
        Shape::Record(name) => name.clone(),
        Shape::OrNull(of_what) => format!("Option<{}>", of(of_what)),
    }
}
