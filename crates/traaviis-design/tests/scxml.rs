//! Imports the SCXML cases, runs them on the virtual clock, and compares the active states.

#[path = "scxml/charts.rs"]
mod charts;

use std::{collections::BTreeMap, sync::Arc};

use serde::Deserialize;
use traaviis_design::scxml;
use traaviis_engine::{Machine, simulate::Simulation};
use traaviis_model::{
    InstanceId, Snapshot, Span, TenantCtx, Timestamp, Value,
    document::{self, Format},
};

#[derive(Deserialize)]
struct Case {
    id: String,
    scxml: String,
    script: Script,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Script {
    initial_configuration: Vec<String>,
    events: Vec<Sent>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Sent {
    after: Option<i64>,
    event: Name,
    next_configuration: Vec<String>,
}

#[derive(Deserialize)]
struct Name {
    name: String,
}

/// Returns what differs first.
fn run(case: &Case) -> Result<(), String> {
    let imported = scxml::import(&case.scxml).map_err(|error| error.to_string())?;
    let read = document::read(&imported.document.to_yaml(), Format::Yaml);
    let definition = read.definition.ok_or_else(|| format!("{:?}", read.diagnostics))?;
    let machine =
        Machine::compile(Arc::new(definition)).map_err(|found| format!("refused: {found:?}"))?;
    let as_json = document::read(&imported.document.to_json(), Format::Json);
    let hash = as_json.definition.map(|it| it.hash);
    assert_eq!(hash, Some(machine.definition().hash), "{}: YAML and JSON differ", case.id);
    let id = InstanceId(uuid::Uuid::from_u128(1));
    let (ctx, input) = (TenantCtx::for_test(1), Value::empty_map());
    let mut run = Simulation::start(&machine, &ctx, id, input, Timestamp(0))
        .map_err(|why| why.to_string())?;
    compare(run.snapshot(), &case.script.initial_configuration)?;
    for sent in &case.script.events {
        if let Some(after) = sent.after {
            run.advance(Span::millis(after)).map_err(|why| why.to_string())?;
        }
        // A refused event is one that no state takes.
        let _ = run.send(sent.event.name.as_str().into(), Value::Null);
        compare(run.snapshot(), &sent.next_configuration)
            .map_err(|why| format!("{why} after `{}`", sent.event.name))?;
    }
    Ok(())
}

fn compare(snapshot: &Snapshot, wanted: &[String]) -> Result<(), String> {
    let last = |path: &str| path.rsplit('.').next().unwrap_or_default().to_string();
    let mut found: Vec<String> = snapshot.configuration.iter().map(|it| last(it)).collect();
    // Names have no dots; the loss report tells of ids that do.
    let mut wanted: Vec<String> = wanted.iter().map(|it| it.replace('.', "_")).collect();
    found.sort();
    wanted.sort();
    if found == wanted { Ok(()) } else { Err(format!("{found:?} instead of {wanted:?}")) }
}

#[test]
fn cases_give_the_expected_states_or_stand_on_the_list() {
    let differing: BTreeMap<&str, &str> = include_str!("scxml/differing.txt")
        .lines()
        .filter_map(|line| line.split_once(": "))
        .collect();
    let (mut count, mut wrong) = (0, Vec::new());
    for line in include_str!("scxml/cases.jsonl").lines() {
        let case: Case = serde_json::from_str(line).unwrap();
        count += 1;
        match (run(&case), differing.get(&*case.id)) {
            (Ok(()), None) | (Err(_), Some(_)) => {}
            (Ok(()), Some(_)) => wrong.push(format!("{} works now, take it out", case.id)),
            (Err(why), None) => wrong.push(format!("{}: {why}", case.id)),
        }
    }
    assert_eq!(count, 154);
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn hostile_documents_are_refused() {
    let deep =
        format!("<scxml>{}{}</scxml>", r#"<state id="a">"#.repeat(500), "</state>".repeat(500));
    let content = format!(
        r#"<scxml><state id="a"><onentry>{}{}</onentry></state></scxml>"#,
        r#"<if cond="true">"#.repeat(500),
        "</if>".repeat(500)
    );
    let many: String = (0..4_000)
        .map(|it| format!(r#"<transition event="e{it}"/><transition event="*"/>"#))
        .collect();
    let wide = format!(r#"<scxml><state id="a">{many}</state></scxml>"#);
    for (source, why) in [
        (&*wide, "too many events"),
        ("", "root"),
        ("<html/>", "begins with `<scxml>`"),
        ("<scxml/>", "no state"),
        ("<scxml><state></scxml>", "expected"),
        (
            r#"<!DOCTYPE s [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]><scxml><state id="&b;"/></scxml>"#,
            "DTD",
        ),
        (r#"<scxml initial="b"><state id="a"/></scxml>"#, "no state has the id `b`"),
        (
            r#"<scxml><state id="a"><transition event="e" target="z"/></state></scxml>"#,
            "line 1: no state has the id `z`",
        ),
        (&deep, "deeper than 64"),
        (&content, "deeper than 64"),
        (&" ".repeat(scxml::SOURCE_BYTES_MAX + 1), "at most 1048576"),
    ] {
        let error = scxml::import(source).unwrap_err().to_string();
        assert!(error.contains(why), "{error}");
    }
}

#[test]
fn a_chart_reads_as_a_person_would_write_it() {
    let imported = scxml::import(
        r#"<scxml name="Door" datamodel="ecmascript" xmlns="http://www.w3.org/2005/07/scxml">
          <datamodel><data id="count" expr="0"/></datamodel>
          <state id="closed">
            <transition event="open" cond="count &lt; 3" target="opened">
              <assign location="count" expr="count + 1"/>
            </transition>
          </state>
          <state id="opened">
            <onentry><send event="close" delay="1.5s" id="t"/><script>alert(1)</script></onentry>
            <onexit><cancel sendid="t"/></onexit>
            <transition event="close" target="closed"/>
          </state>
        </scxml>"#,
    )
    .unwrap();
    expect_test::expect![[r##"
        traaviis: "1"
        name: Door
        version: "1.0.0"
        unhandled: ignore
        errors: {"unhandled":"ignore"}
        initial: closed
        data: {"initial":{"count":0}}
        events: {"close.*":{},"open.*":{}}
        states:
          closed:
            on:
              "open.*":
                target: "#opened"
                guard: "(data.count < 3)"
                actions: [{"assign":{"count":"${(data.count + 1)}"}}]
          opened:
            entry:
              - {"raise":{"event":"close","delay":"1500ms","id":"t"}}
              - {"assign":{"not_converted":"${data.not_converted.field}"}}
            exit: [{"cancel":"t"}]
            on: {"close.*":{"target":"#closed"}}
    "##]]
    .assert_eq(&imported.document.to_yaml());
    expect_test::expect![[r#"
        10 elements kept, 0 approximated, 1 dropped
        9:63: <script> dropped: `script` has no counterpart; it fails when it is run
    "#]]
    .assert_eq(&imported.loss.to_string());
}
