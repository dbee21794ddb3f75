//! What is found out about documents without doing anything: differences, simulations, tests, other
//! forms of the same.

use std::sync::Arc;

use serde_json::{Value as Json, json};
use traaviis_design::{
    codegen::{self, Language},
    scxml,
    tree::Tree,
};
use traaviis_engine::{
    Machine, Rejection, Request,
    simulate::Simulation,
    testing::{self, Coverage, Share},
};
use traaviis_model::{
    DeliveryClass, InstanceId, Span, TenantCtx, Timestamp, Value,
    definition::Definition,
    document::{
        Format, read_tree,
        tree::{Key, Node, NodeKind},
    },
    form::SIMULATED_STEPS_MAX,
};
use traaviis_platform::engine::{CodeIn, ExportForm, SimulatedStep, Study};

use crate::{
    document,
    exit::{Failure, error_json},
    histories::compile_document,
    library::Library,
};

/// Longest time that passes in one step of a simulation.
const ADVANCE_MAX: Span = Span::secs(366 * 24 * 3_600);

/// Finds something out.
pub fn answer(ctx: &TenantCtx, study: Study<'_>) -> Result<Json, Failure> {
    match study {
        Study::Diff { old, new } => {
            let (old, new) = (compile_document(old)?, compile_document(new)?);
            let (old, new) = (old.definition(), new.definition());
            let side =
                |it: &Definition| json!({ "version": it.version.to_string(), "hash": it.hash });
            let differences = traaviis_engine::diff(old, new);
            Ok(json!({ "from": side(old), "to": side(new), "differences": differences }))
        }
        Study::Simulate { text, input, steps } => simulate(ctx, &machine(text)?, input, steps),
        Study::Test { text } => test(ctx, &machine(text)?),
        Study::Outline { document, .. } => {
            let document = document().map_err(|it| Failure::finding(&it.code, it.message))?;
            Ok(outline(&compile_document(&document)?))
        }
        Study::Import { text } => {
            let imported = scxml::import(text)
                .map_err(|error| Failure::finding("import_failed", error.to_string()))?;
            Ok(json!({ "text": imported.document.to_yaml(), "loss": imported.loss }))
        }
        Study::Merge { text, patch } => {
            let mut node = read(text)?;
            merge(&mut node, patch);
            let tree = Tree::of(&node);
            Ok(json!({ "text": match format_of(text) {
                Format::Yaml => tree.to_yaml(),
                Format::Json => tree.to_json(),
            }}))
        }
        Study::Export { text, form } => {
            let tree = Tree::of(&read(text)?);
            let (word, text) = match form {
                ExportForm::Yaml => ("yaml", tree.to_yaml()),
                ExportForm::Json => ("json", tree.to_json()),
            };
            Ok(json!({ "format": word, "text": text }))
        }
        Study::Code { document, text, lang } => {
            let language = match lang {
                CodeIn::Rust => Language::Rust,
                CodeIn::TypeScript => Language::TypeScript,
                CodeIn::Python => Language::Python,
                CodeIn::Yaml => return Ok(json!({ "code": Tree::of(&read(text)?).to_yaml() })),
            };
            let machine = compile_document(document)?;
            Ok(json!({ "code": codegen::code(machine.definition(), language) }))
        }
    }
}

fn read(text: &str) -> Result<Node, Failure> {
    read_tree(text, format_of(text)).map_err(|found| {
        let why = found.first().map(ToString::to_string).unwrap_or_default();
        Failure::finding("definition_invalid", why)
    })
}

/// Merges a patch into a document (RFC 7396); what is new comes last.
fn merge(node: &mut Node, patch: &Json) {
    let Json::Object(patch) = patch else {
        *node = Node::from_value(&Value::from(patch));
        return;
    };
    if !matches!(node.kind, NodeKind::Map(_)) {
        node.kind = NodeKind::Map(Vec::new());
    }
    let NodeKind::Map(entries) = &mut node.kind else { return };
    for (name, change) in patch {
        let at = entries.iter().position(|(key, _)| *key.text == **name);
        match (at, change) {
            (Some(at), Json::Null) => drop(entries.remove(at)),
            (None, Json::Null) => {}
            (Some(at), change) => merge(&mut entries[at].1, change),
            (None, change) => {
                let mut made = Node::from_value(&Value::Null);
                merge(&mut made, change);
                entries.push((Key { text: name.as_str().into(), line: 1, column: 1 }, made));
            }
        }
    }
}

/// Returns the states of a machine, and the events that it takes.
pub fn outline(machine: &Machine) -> Json {
    json!({
        "states": machine.state_paths().collect::<Vec<_>>(),
        "events": machine.callers_events().collect::<Vec<_>>(),
    })
}

/// Returns how a text is written that no file name tells it of.
pub fn format_of(text: &str) -> Format {
    match text.trim_start().starts_with('{') {
        true => Format::Json,
        false => Format::Yaml,
    }
}

fn machine(text: &str) -> Result<Machine, Failure> {
    let library = Library::built_in();
    let checked = document::check_text("document".into(), text, format_of(text), &library);
    document::compile(&checked).map_err(|failure| {
        let diagnostics: Vec<Json> = checked.diagnostics.iter().map(|it| json!(it)).collect();
        failure.with_details(json!({ "diagnostics": diagnostics }))
    })
}

fn simulate(
    ctx: &TenantCtx,
    machine: &Machine,
    input: Value,
    steps: Vec<SimulatedStep>,
) -> Result<Json, Failure> {
    let refuse = |rule: String| Err(Failure::finding("validation_failed", rule));
    if steps.len() > SIMULATED_STEPS_MAX {
        return refuse(format!("a simulation has at most {SIMULATED_STEPS_MAX} steps"));
    }
    let rejected = |why: Rejection| {
        Failure::finding(why.code, why.message).with_details(Json::from(&why.details))
    };
    // The same document and steps give the same answer: time and id begin alike.
    let id = InstanceId(uuid::Uuid::from_u128(1));
    let mut run = Simulation::start(machine, ctx, id, input, Timestamp(0)).map_err(rejected)?;
    let mut trace = vec![shown(&mut run, None)];
    for step in steps {
        let refusal = match step {
            SimulatedStep::Event { event, data } => run.send(event, data).err(),
            SimulatedStep::Advance { advance } => {
                if !(Span(0)..=ADVANCE_MAX).contains(&advance) {
                    return refuse("time passes by 0 to 366 days in a step".into());
                }
                run.advance(advance).err()
            }
        };
        if let Some(why) = refusal.as_ref().filter(|it| it.code == "simulation_overrun") {
            return Err(rejected(why.clone()));
        }
        trace.push(shown(&mut run, refusal));
    }
    Ok(json!({ "trace": trace, "records": run.records().len() }))
}

/// Returns where a simulation stands, with the calls that it would have made since.
fn shown(run: &mut Simulation<'_>, refusal: Option<Rejection>) -> Json {
    let calls = run.take_requests().into_iter().filter_map(|it| match it {
        Request::Perform(call) => {
            Some(json!({ "path": call.id.path, "kind": call.kind, "input": call.input }))
        }
        _ => None,
    });
    let calls: Vec<Json> = calls.collect();
    let snapshot = run.snapshot();
    let mut shown = json!({
        "at": run.now(),
        "status": snapshot.status,
        "state": snapshot.state(),
        "configuration": snapshot.configuration,
        "data": snapshot.data,
        "output": snapshot.output,
        "calls": calls,
    });
    if let Some(why) = refusal {
        shown["refused"] = error_json(why.code, &why.message, &Json::from(&why.details));
    } else if let Some(error) = &snapshot.error {
        shown["error"] = json!(error);
    }
    shown
}

fn test(ctx: &TenantCtx, machine: &Machine) -> Result<Json, Failure> {
    let definition = Arc::clone(machine.definition());
    if definition.tests.is_empty() {
        let message = format!("`{}` has no tests; write them under `tests`", definition.name);
        return Err(Failure::finding("no_tests", message));
    }
    let mut coverage = Coverage::of(machine);
    let mut passed = 0;
    // A call that a crash interrupts may have happened: nobody is asked here.
    let class = |_: &str, _: &Value| DeliveryClass::OtherWrite;
    let tests: Vec<Json> = definition
        .tests
        .iter()
        .map(|test| {
            let run = testing::run(machine, ctx, test, &class);
            coverage.add_run(&run);
            passed += usize::from(run.is_passed());
            let findings = run.findings.iter().map(
                |it| json!({ "pointer": it.pointer, "expected": it.expected, "found": it.found }),
            );
            json!({
                "name": test.name,
                "passed": run.is_passed(),
                "virtual_time": run.elapsed.to_string(),
                "records": run.records.len(),
                "findings": findings.collect::<Vec<_>>(),
            })
        })
        .collect();
    let share =
        |it: Share| json!({ "covered": it.covered, "total": it.total, "percent": it.percent() });
    Ok(json!({
        "version": definition.version.to_string(),
        "passed": passed,
        "failed": tests.len() - passed,
        "tests": tests,
        "coverage": {
            "transitions": share(coverage.transitions()),
            "guard_outcomes": share(coverage.guard_outcomes()),
        },
    }))
}
