//! The catalogue keeps what it promises: documents that pass strictly, tests that reach everything,
//! calls under contract, a table that is complete, and pictures of the present graphs.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use expect_test::expect_file;
use serde_json::{Map, Value, json};
use traaviis_connect::Connectors;
use traaviis_model::document::{Format, WORKFLOW_SCHEMA, read_tree};

use crate::cli::World;

fn project(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(path)
}

/// Every document of the catalogue by the name of its picture: its folders, and the one that lies
/// with its example. A component may have the name of a workflow.
fn documents() -> BTreeMap<String, PathBuf> {
    let mut documents = BTreeMap::new();
    for (folder, mark) in [("workflows", ""), ("components", "-component")] {
        for file in fs::read_dir(project("catalogue").join(folder)).unwrap() {
            let path = file.unwrap().path();
            let name = path.file_stem().unwrap().to_str().unwrap();
            documents.insert(format!("{name}{mark}"), path);
        }
    }
    documents.insert("OrderSaga".into(), project("examples/order-saga/workflow.yaml"));
    documents
}

/// The name without the mark of its picture.
fn name_of(picture: &str) -> &str {
    picture.strip_suffix("-component").unwrap_or(picture)
}

fn read(path: &Path) -> Value {
    let text = fs::read_to_string(path).unwrap();
    let tree = read_tree(&text, Format::Yaml).unwrap_or_else(|found| panic!("{path:?}: {found:?}"));
    Value::from(&tree.to_value())
}

/// Runs a command of the binary over every document and expects it to go well.
fn passes(line: &str) -> String {
    let documents = documents();
    let files = documents.values().map(|it| it.to_str().unwrap());
    let arguments: Vec<&str> = line.split(' ').chain(files).collect();
    let output = World::new().run(&arguments);
    let shown = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{line}\n{shown}{errors}");
    shown
}

#[test]
fn every_document_is_strictly_valid_and_formatted() {
    let shown = passes("validate --strict --deny-warnings");
    assert_eq!(shown.lines().count(), documents().len());
    passes("fmt --check");
}

#[test]
fn the_tests_of_every_document_pass_and_reach_everything() {
    passes("test --min-coverage 100");
}

#[test]
fn a_document_is_named_like_its_file() {
    for (name, path) in documents() {
        assert_eq!(read(&path)["name"], json!(name_of(&name)), "{path:?}");
    }
}

#[test]
fn the_table_names_every_document_and_the_pictures_are_of_now() {
    let table = fs::read_to_string(project("catalogue/README.md")).unwrap();
    let pictures = fs::read_dir(project("catalogue/pictures")).unwrap();
    assert_eq!(pictures.count(), documents().len(), "one picture for each document");
    for (name, path) in documents() {
        let link = format!("| [picture](pictures/{name}.svg) |");
        let head = format!("| [{}](", name_of(&name));
        let rows = table.lines().filter(|it| it.starts_with(&head));
        let rows: Vec<&str> = rows.filter(|it| it.ends_with(&link)).collect();
        assert_eq!(rows.len(), 1, "`{name}` has one row with `{link}` in catalogue/README.md");

        let output = World::new().run(&["graph", "--format", "svg", path.to_str().unwrap()]).stdout;
        let picture = project(&format!("catalogue/pictures/{name}.svg"));
        expect_file![picture].assert_eq(&String::from_utf8(output).unwrap());
    }
}

/// Sets a value below a document; the map or list above it exists.
fn set(document: &mut Value, pointer: &str, value: Value) {
    let (above, key) = pointer.rsplit_once('/').unwrap();
    let above = document.pointer_mut(above).unwrap_or_else(|| panic!("{pointer}"));
    match above {
        Value::Object(map) => drop(map.insert(key.into(), value)),
        Value::Array(items) => items[key.parse::<usize>().unwrap()] = value,
        _ => panic!("{pointer}"),
    }
}

#[test]
fn the_published_schema_takes_every_document_and_no_planted_mistake() {
    let schema: Value = serde_json::from_str(WORKFLOW_SCHEMA).unwrap();
    let schema = jsonschema::validator_for(&schema).unwrap();
    let mut documents = documents();
    documents.insert("Invoice".into(), project("examples/reminders/workflow.yaml"));
    for path in documents.values() {
        let found: Vec<String> = schema.iter_errors(&read(path)).map(|it| it.to_string()).collect();
        assert!(found.is_empty(), "{path:?}: {found:#?}");
    }
    let saga = "/states/fulfilling/invoke/0/effect";
    for (name, pointer, wrong) in [
        ("SmartDoor", "/titel", json!("a door")),
        ("SmartDoor", "/traaviis", json!("2")),
        ("SmartDoor", "/kind", json!("workflw")),
        ("SmartDoor", "/version", json!(1)),
        ("SmartDoor", "/name", json!("1st")),
        ("SmartDoor", "/initial", json!(5)),
        ("SmartDoor", "/unhandled", json!("refuse")),
        ("SmartDoor", "/states", json!([])),
        ("SmartDoor", "/states/locked/onn", json!({})),
        ("SmartDoor", "/states/locked/type", json!("paralel")),
        ("SmartDoor", "/states/locked/on/emergency_clear", json!(7)),
        ("SmartDoor", "/states/normal/states/open/after/0/gaurd", json!("true")),
        ("SmartDoor", "/states/normal/states/open/exit/0", json!({"lgo": {}})),
        ("SmartDoor", "/subscribe/0/mach", json!("true")),
        ("SmartDoor", "/tests/0/expect/stat", json!("a")),
        ("SmartDoor", "/tests/0/steps/0", json!({"sned": "a"})),
        ("SmartDoor", "/tests/0", json!({"name": "a"})),
        ("OrderSaga", "/errors", json!({"unhandled": "stop"})),
        ("OrderSaga", "/correlation", json!({"unique": true})),
        ("OrderSaga", &format!("{saga}/type"), json!("sage")),
        ("OrderSaga", &format!("{saga}/stpes"), json!([])),
        ("OrderSaga", &format!("{saga}/steps"), json!({})),
        ("Invoice", "/components/0/uze", json!("T")),
        ("Invoice", "/components/0/mode", json!("side")),
        ("Invoice", "/components/0/as", json!("a-b")),
    ] {
        let mut document = read(&documents[name]);
        set(&mut document, pointer, wrong.clone());
        assert!(!schema.is_valid(&document), "{name}: the schema takes {wrong} at {pointer}");
        let world = World::new().file("a.json", &document.to_string());
        let output = world.run(&["validate", "a.json"]);
        assert_eq!(output.status.code(), Some(1), "{name}: validate takes {wrong} at {pointer}");
    }
    for key in ["traaviis", "name", "version", "initial", "states"] {
        let mut document = read(&documents["SmartDoor"]);
        document.as_object_mut().unwrap().remove(key);
        assert!(!schema.is_valid(&document), "the schema does not ask for `{key}`");
    }
}

#[test]
fn functions_are_contracts_that_a_connectors_file_can_take_over() {
    let contracts = contracts();
    let mut functions = Map::new();
    for (name, contract) in &contracts {
        let mut function = contract.clone();
        if let Some(undo) = function.remove("undone_by") {
            let undo = &contracts[undo.as_str().unwrap()];
            assert_eq!(undo["side_effect"], json!(true), "{name} is undone by a read");
        }
        assert!(!function.contains_key("idempotent") || function.contains_key("side_effect"));
        for key in ["paid", "waits"] {
            function.remove(key);
        }
        function.insert("path".into(), json!(format!("/{name}")));
        functions.insert(name.clone(), function.into());
    }
    let file = json!({
        "traaviis": "1", "kind": "connectors",
        "base_url": "https://functions.example.com", "functions": functions,
    });
    let read = Connectors::read(&file.to_string(), Format::Json).unwrap();
    assert_eq!(read.functions.names().count(), contracts.len());
}

#[test]
fn calls_and_mocks_keep_to_the_contracts() {
    let contracts = contracts();
    for (name, path) in documents() {
        let document = read(&path);
        let mut calls = Vec::new();
        for key in ["states", "effects"] {
            find_calls(&document[key], &mut calls);
        }
        // What every process offers needs no contract: a wrong argument fails the tests.
        calls.retain(|(function, _)| !function.starts_with("traaviis."));
        for (function, args) in calls {
            let Some(contract) = contracts.get(function) else {
                panic!("{name}: `{function}` is not in catalogue/functions.yaml");
            };
            let given: Vec<&String> = args.iter().flat_map(|it| it.keys()).collect();
            for key in required(&contract["args"]) {
                assert!(given.iter().any(|it| **it == key), "{name}: {function} without `{key}`");
            }
            for key in given {
                let known = contract["args"]["properties"].get(key).is_some();
                assert!(known, "{name}: `{function}` has no argument `{key}`");
            }
        }
        for test in document["tests"].as_array().unwrap() {
            for (function, mock) in test["mocks"].as_object().into_iter().flatten() {
                let Some(contract) = contracts.get(function) else { continue };
                for answer in mock.as_array().unwrap_or(&vec![mock.clone()]) {
                    let ends = ["error", "delay"].iter().any(|it| answer.get(it).is_some());
                    let value = if ends { answer.get("value") } else { Some(answer) };
                    let Some(value) = value else { continue };
                    for key in required(&contract["result"]) {
                        let has = value.get(&key).is_some();
                        assert!(has, "{name}, {}: {function} without `{key}`", test["name"]);
                    }
                }
            }
        }
    }
}

fn contracts() -> BTreeMap<String, Map<String, Value>> {
    let file = read(&project("catalogue/functions.yaml"));
    let functions = file["functions"].as_object().unwrap();
    functions.iter().map(|(name, it)| (name.clone(), it.as_object().unwrap().clone())).collect()
}

fn required(schema: &Value) -> Vec<String> {
    let keys = schema["required"].as_array().into_iter().flatten();
    keys.map(|it| it.as_str().unwrap().to_owned()).collect()
}

/// Finds every `call` whose function is written out, with its arguments.
fn find_calls<'v>(value: &'v Value, found: &mut Vec<(&'v str, Option<&'v Map<String, Value>>)>) {
    match value {
        Value::Array(items) => items.iter().for_each(|it| find_calls(it, found)),
        Value::Object(map) => {
            if map.get("type") == Some(&json!("call")) {
                let function = map["function"].as_str().unwrap();
                if !function.contains("${") {
                    found.push((function, map.get("args").and_then(Value::as_object)));
                }
            }
            map.values().for_each(|it| find_calls(it, found));
        }
        _ => {}
    }
}
