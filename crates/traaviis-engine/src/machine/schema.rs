//! A compiled JSON Schema: checks payloads and fills defaults in.

use traaviis_model::{Map, Value};

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
        let validator = jsonschema::validator_for(&json).map_err(|error| error.to_string())?;
        Ok(Schema { validator, source: source.clone() })
    }

    /// Returns what is wrong with `value`, as `pointer: reason`, at most ten; empty when it fits.
    pub fn errors(&self, value: &Value) -> Vec<String> {
        let json = serde_json::Value::from(value);
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
