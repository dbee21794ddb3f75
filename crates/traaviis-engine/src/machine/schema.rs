//! A compiled JSON Schema: checks payloads and fills defaults in.
//!
//! Of the formats one is checked, `duration`: a text that a timer would take. The others are notes
//! for people, as JSON Schema 2020-12 has them unless somebody asks for more.

use traaviis_model::{Map, Value};

/// Formats that are not checked.
const NOTES: &[&str] = &[
    "date",
    "date-time",
    "email",
    "hostname",
    "idn-email",
    "idn-hostname",
    "ipv4",
    "ipv6",
    "iri",
    "iri-reference",
    "json-pointer",
    "regex",
    "relative-json-pointer",
    "time",
    "uri",
    "uri-reference",
    "uri-template",
    "uuid",
];

/// A compiled schema.
#[derive(Debug)]
pub struct Schema {
    validator: jsonschema::Validator,
    source: Value,
}

impl Schema {
    /// Compiles a schema; the text tells what is wrong with it. References stay inside the schema.
    pub fn compile(source: &Value) -> Result<Schema, String> {
        let json = serde_json::Value::from(source);
        let mut options = jsonschema::options().should_validate_formats(true);
        for format in NOTES {
            options = options.with_format(*format, |_| true);
        }
        let is_duration = |text: &str| super::span_of(&Value::from(text)).is_ok();
        let options = options.with_format("duration", is_duration);
        let validator = options.build(&json).map_err(|error| error.to_string())?;
        Ok(Schema { validator, source: source.clone() })
    }

    /// Returns what is wrong with `value`, as `pointer: reason`, at most ten; empty when it fits.
    pub fn errors(&self, value: &Value) -> Vec<String> {
        let json = serde_json::Value::from(value);
        // Nearly always it fits, and then nothing has to be gathered.
        if self.validator.is_valid(&json) {
            return Vec::new();
        }
        self.validator
            .iter_errors(&json)
            .take(10)
            .map(|error| {
                let pointer = error.instance_path().to_string();
                format!("{}: {error}", if pointer.is_empty() { "/" } else { &pointer })
            })
            .collect()
    }

    /// Returns `value` with the defaults of missing properties, at every depth.
    pub fn fill_defaults(&self, value: Value) -> Value {
        fill(&self.source, value)
    }
}

fn fill(schema: &Value, value: Value) -> Value {
    let (Some(properties), Value::Map(map)) =
        (schema.get("properties").and_then(Value::as_map), &value)
    else {
        return value;
    };
    let mut filled: Map = (**map).clone();
    for (name, property) in properties.iter() {
        match (filled.remove(name), property.get("default")) {
            (Some(held), _) => {
                filled.insert(name.clone(), fill(property, held));
            }
            (None, Some(default)) => {
                filled.insert(name.clone(), default.clone());
            }
            (None, None) => {}
        }
    }
    Value::Map(filled.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn errors(schema: &str, value: &str) -> Vec<String> {
        let read = |text: &str| serde_json::from_str::<Value>(text).unwrap();
        Schema::compile(&read(schema)).unwrap().errors(&read(value))
    }

    #[test]
    fn a_duration_is_what_a_timer_takes() {
        let schema = r#"{"format": "duration"}"#;
        for good in [r#""30s""#, r#""1h30m""#, r#""PT30S""#, "250"] {
            assert_eq!(errors(schema, good), Vec::<String>::new(), "{good}");
        }
        for bad in [r#""soon""#, r#""30""#, r#""-5s""#, r#""9000d""#, r#""""#] {
            assert_eq!(errors(schema, bad), [format!("/: {bad} is not a \"duration\"")]);
        }
    }

    #[test]
    fn other_formats_are_notes() {
        let drafts = ["", r#""$schema": "http://json-schema.org/draft-07/schema#", "#];
        for (draft, format) in drafts.iter().flat_map(|it| NOTES.iter().map(move |of| (it, of))) {
            let schema = format!(r#"{{{draft}"format": "{format}"}}"#);
            assert_eq!(errors(&schema, r#""{ 7 }""#), Vec::<String>::new(), "{schema}");
        }
    }
}
