//! Code for programs: the texts as they are, and that what is Rust among them compiles.

use expect_test::expect_file;
use traaviis_design::codegen::{Language, code};
use traaviis_model::{
    definition::Definition,
    document::{Format, read},
};

// What was written is compiled here as it stands; `rustfmt` would make it something else.
#[rustfmt::skip]
#[allow(dead_code)]
#[allow(clippy::enum_variant_names, reason = "its names are made to be odd")]
#[path = "codegen/odd.rs"]
mod odd;

fn definition() -> Definition {
    let read = read(include_str!("codegen/odd.yaml"), Format::Yaml);
    read.definition.unwrap_or_else(|| panic!("{:?}", read.diagnostics))
}

#[test]
fn odd_names_are_written_as_names_of_each_language() {
    let definition = definition();
    expect_file!["codegen/odd.rs"].assert_eq(&code(&definition, Language::Rust));
    expect_file!["codegen/odd.ts"].assert_eq(&code(&definition, Language::TypeScript));
    expect_file!["codegen/odd.py"].assert_eq(&code(&definition, Language::Python));
}

#[test]
fn schemas_that_lead_back_to_themselves_end() {
    let read = read(
        r##"{"traaviis": "1", "name": "Tree", "version": "1.0.0", "initial": "a", "states": {"a": {}},
            "input": {"schema": {"type": "object", "properties": {"l": {"$ref": "#"}, "r": {"$ref": "#"}}}}}"##,
        Format::Json,
    );
    let definition = read.definition.unwrap_or_else(|| panic!("{:?}", read.diagnostics));
    let text = code(&definition, Language::Rust);
    assert!(text.contains("pub struct Input {"), "{text}");
    assert!(text.len() < 200_000, "{}", text.len());
}

/// A transport that answers as a server does.
struct Canned;

impl odd::Transport for Canned {
    type Error = serde_json::Error;

    fn ask(
        &self,
        method: &str,
        path: &str,
        body: &serde_json::Value,
    ) -> Result<serde_json::Value, serde_json::Error> {
        let stands = |id: &str| serde_json::json!({ id: "1", "status": "running", "state": "a", "seq": 3, "output": null });
        Ok(match (method, path) {
            ("POST", "/instances") => {
                assert_eq!(body["workflow"], "Odd");
                assert_eq!(body["input"]["a-b"], 0.5);
                assert!(body["input"].get("class").is_none(), "what is absent is not sent");
                stands("id")
            }
            ("POST", "/instances/1/events") => {
                assert_eq!(body["event"], "import");
                assert_eq!(body["data"]["n"], 7);
                stands("instance")
            }
            _ => serde_json::json!({ "snapshot": {
                "id": "1", "status": "running", "configuration": ["a.b"], "seq": 3,
                "data": { "n": 0 },
            } }),
        })
    }
}

#[test]
fn the_client_sends_what_types_say_and_reads_what_servers_answer() {
    let input = serde_json::json!({
        "type": "t", "kind": "small", "a-b": 0.5, "people": [{ "name": "Ada" }],
    });
    let input: odd::Input = serde_json::from_value(input).unwrap();
    let client = odd::Client(Canned);
    let started = client.start(&input, None).unwrap();
    assert_eq!(started.id, "1");
    let event = odd::Event::Import(odd::ImportEvent { n: 7 });
    assert_eq!(client.send(&started.id, &event, None).unwrap().seq, 3);
    assert_eq!(client.show("1").unwrap().states, ["a.b"]);
    assert_eq!(odd::STATES, ["a", "a.b", "end"]);
}
