//! Draws the examples, the SCXML cases and generated charts, and checks what every picture keeps.

use std::{collections::BTreeMap, fmt::Write as _};

use expect_test::expect;
use proptest::prelude::*;
use traaviis_design::{
    graph::{
        self, Picture,
        layout::{self, Rect},
        picture::NodeKind,
    },
    scxml,
};
use traaviis_model::{
    definition::Definition,
    document::{self, Format},
};

fn read(text: &str) -> Definition {
    let read = document::read(text, Format::Yaml);
    read.definition.unwrap_or_else(|| panic!("{:?}\n{text}", read.diagnostics))
}

/// Everything that must hold for the picture of any definition.
fn check(definition: &Definition) {
    let picture = Picture::of(definition);
    let layout = layout::of(&picture).unwrap();
    boxes_stand_apart(&picture, &layout);
    arrows_join_their_boxes(&picture, &layout);
    let svg = graph::svg(&picture).unwrap();
    assert_eq!(svg, graph::svg(&Picture::of(definition)).unwrap());
    everything_is_in_the_svg(&picture, &svg);
    let states = picture.nodes.iter().enumerate().skip(1).filter(|(_, it)| !it.kind.is_mark());
    let (mermaid, dot) = (graph::mermaid(&picture), graph::dot(&picture));
    for (at, node) in states {
        let declared = match node.children.is_empty() {
            true => format!("as s{at}\n"),
            false => format!("as s{at} {{\n"),
        };
        assert_eq!(mermaid.matches(&declared).count(), 1, "{declared}\n{mermaid}");
        assert_eq!(dot.matches(&format!("  n{at} [")).count(), 1, "{at}\n{dot}");
    }
    let begins = picture.edges.iter().filter(|it| picture.nodes[it.from].kind == NodeKind::Initial);
    let is_mark = |it: &str| it.trim().starts_with("[*]") || it.ends_with("--> [*]");
    let arrows = mermaid.lines().filter(|it| it.contains(" --> ") && !is_mark(it)).count();
    assert_eq!(arrows, picture.edges.len() - begins.count());
    assert_eq!(dot.matches(" -> n").count(), picture.edges.len());
}

fn boxes_stand_apart(picture: &Picture, layout: &layout::Layout) {
    for (at, node) in picture.nodes.iter().enumerate() {
        for (index, child) in node.children.iter().enumerate() {
            let inner = layout.boxes[*child];
            assert!(layout.boxes[at].contains(&inner), "{} leaves its parent", node.path);
            for other in &node.children[index + 1..] {
                assert!(!inner.overlaps(&layout.boxes[*other]), "{child} and {other} overlap");
            }
        }
    }
    let labels: Vec<Rect> = layout.routes.iter().filter_map(|it| it.label).collect();
    for (index, label) in labels.iter().enumerate() {
        assert!(layout.boxes[0].contains(label), "words leave the picture: {label:?}");
        for other in &labels[index + 1..] {
            assert!(!label.overlaps(other), "words overlap: {label:?} {other:?}");
        }
        for (at, node) in picture.nodes.iter().enumerate().skip(1) {
            let is_leaf = node.children.is_empty();
            assert!(!is_leaf || !label.overlaps(&layout.boxes[at]), "words on `{}`", node.path);
        }
    }
}

fn arrows_join_their_boxes(picture: &Picture, layout: &layout::Layout) {
    let touches = |at: &Rect, x: f64, y: f64| {
        let near = |a: f64, b: f64| (a - b).abs() < 0.01;
        at.x - 0.01 <= x
            && x <= at.x + at.width + 0.01
            && (near(y, at.y) || near(y, at.y + at.height))
    };
    for (edge, route) in picture.edges.iter().zip(&layout.routes) {
        if edge.from == edge.to {
            continue;
        }
        let (first, last) = (route.lanes[0], route.lanes[route.lanes.len() - 1]);
        assert!(touches(&layout.boxes[edge.from], first.0, first.1), "{edge:?} {route:?}");
        assert!(touches(&layout.boxes[edge.to], last.0, last.2), "{edge:?} {route:?}");
        // Straight pieces cross no box that neither end stands in.
        for (at, node) in picture.nodes.iter().enumerate().skip(1) {
            let is_passed =
                [edge.from, edge.to].iter().any(|it| *it == at || picture.is_inside(*it, at));
            if is_passed || !node.children.is_empty() {
                continue;
            }
            for (x, a, b) in &route.lanes {
                let lane = Rect { x: *x, y: a.min(*b), width: 0.01, height: (a - b).abs() };
                assert!(!lane.overlaps(&layout.boxes[at]), "{edge:?} crosses `{}`", node.path);
            }
        }
    }
}

/// Each state and each transition once, with their words as they are.
fn everything_is_in_the_svg(picture: &Picture, svg: &str) {
    let xml = roxmltree::Document::parse(svg).unwrap();
    let mut states: BTreeMap<&str, usize> = BTreeMap::new();
    let mut transitions: BTreeMap<&str, usize> = BTreeMap::new();
    for node in xml.descendants() {
        if let Some(path) = node.attribute("data-path") {
            *states.entry(path).or_default() += 1;
        }
        if let Some(pointer) = node.attribute("data-transition") {
            *transitions.entry(pointer).or_default() += 1;
        }
    }
    let wanted = picture.nodes.iter().skip(1).filter(|it| !it.kind.is_mark());
    let wanted: BTreeMap<&str, usize> = wanted.map(|it| (&*it.path, 1)).collect();
    assert_eq!(states, wanted);
    let wanted = picture.edges.iter().filter_map(|it| it.transition.as_deref());
    let wanted: BTreeMap<&str, usize> = wanted.map(|it| (it, 1)).collect();
    assert_eq!(transitions, wanted);
    let titles: Vec<&str> = xml
        .descendants()
        .filter(|it| it.has_tag_name("title"))
        .filter_map(|it| it.text())
        .collect();
    for edge in picture.edges.iter().filter(|it| it.transition.is_some()) {
        let words = edge.label.text();
        assert!(titles.iter().any(|it| it.ends_with(&words)), "{words} is not in {titles:?}");
    }
}

#[test]
fn the_examples_are_drawn() {
    for text in [
        include_str!("../../../catalogue/workflows/SmartDoor.yaml"),
        include_str!("../../../examples/order-saga/workflow.yaml"),
        include_str!("../../../examples/delivery-tour/workflow.yaml"),
    ] {
        check(&read(text));
    }
}

#[test]
fn the_charts_of_others_are_drawn() {
    for line in include_str!("scxml/cases.jsonl").lines() {
        let case: serde_json::Value = serde_json::from_str(line).unwrap();
        let imported = scxml::import(case["scxml"].as_str().unwrap()).unwrap();
        let read = document::read(&imported.document.to_yaml(), Format::Yaml);
        if let Some(definition) = read.definition {
            check(&definition);
        }
    }
}

const SMALL: &str = r#"
traaviis: "1"
name: Small
version: 1.0.0
initial: a
events: {go: {}}
states:
  a:
    entry: [{log: {message: in}}]
    invoke: [{id: i, effect: {type: call, function: f.g}, onError: c}]
    on: {go: [{target: b, guard: 'data.x == "<&>"'}, {target: a}, {actions: [{raise: {event: go, delay: 2s}}]}]}
    after: {30s: {target: [b.l.m, b.r]}}
  b:
    type: parallel
    onDone: c
    states:
      l: {initial: m, states: {m: {type: final}}}
      r: {}
  c: {type: final, status: failed}
"#;

#[test]
fn mermaid_has_one_line_for_each() {
    expect![[r#"
        ---
        title: "Small 1.0.0"
        ---
        stateDiagram-v2
          state "a" as s1
          s1 : entry / log
          s1 : invoke i#58; call f.g
          s1 : go [else] / raise go after 2s
          state "b" as s2 {
            state "l" as s3 {
              state "m" as s4
              [*] --> s4
              s4 --> [*]
            }
            --
            state "r" as s5
          }
          state "c" as s6
          state s8 <<fork>>
          [*] --> s1
          s6 --> [*]
          s1 --> s2 : go<br/>[data.x == #34;#60;#38;#62;#34;]
          s1 --> s1 : go<br/>[else]
          s1 --> s8 : after 30s
          s8 --> s4
          s8 --> s5
          s1 --> s6 : onError i
          s2 --> s6 : onDone
    "#]]
    .assert_eq(&graph::mermaid(&Picture::of(&read(SMALL))));
}

#[test]
fn dot_has_a_cluster_for_each_composite() {
    expect![[r#"
        digraph "Small 1.0.0" {
          compound=true;
          fontname="Helvetica";
          labeljust=l;
          label="Small 1.0.0";
          node [shape=box, style=rounded, fontname="Helvetica", fontsize=12];
          edge [fontname="Helvetica", fontsize=10];
          n7 [shape=circle, style=filled, fillcolor=black, width=0.15, label=""];
          n1 [label="a\lentry / log\linvoke i: call f.g\lgo [else] / raise go after 2s\l"];
          subgraph cluster_2 {
            label="b"; style=rounded;
            n2 [shape=point, style=invis, width=0, label=""];
            subgraph cluster_3 {
              label="l"; style="rounded,dashed";
              n3 [shape=point, style=invis, width=0, label=""];
              n9 [shape=circle, style=filled, fillcolor=black, width=0.15, label=""];
              n4 [peripheries=2, label="m"];
            }
            n5 [label="r"];
          }
          n6 [peripheries=2, label="c"];
          n8 [shape=box, style=filled, fillcolor=black, height=0.06, width=0.8, label=""];
          n7 -> n1 [];
          n1 -> n2 [label="go\l[data.x == \"<&>\"]\l", lhead=cluster_2];
          n1 -> n1 [label="go\l[else]\l"];
          n1 -> n8 [label="after 30s"];
          n8 -> n4 [];
          n8 -> n5 [];
          n1 -> n6 [label="onError i"];
          n2 -> n6 [label="onDone", ltail=cluster_2];
          n9 -> n4 [];
        }
    "#]]
    .assert_eq(&graph::dot(&Picture::of(&read(SMALL))));
}

#[test]
fn hostile_words_stay_words() {
    for hostile in [
        "</text><script>alert(1)</script>",
        "\\\"]; evil [label=\\\"",
        "]]> & &amp; %% --> : ; #59; <br/>",
        "\u{202e}\u{0} \u{7f} \u{ffff} 語 😀",
        "*/ end note } -- [*]",
    ] {
        let guard = serde_json::to_string(hostile).unwrap().replace("\\u0000", "");
        let guard = guard.replace(['\u{7f}', '\u{ffff}'], "");
        let text = format!(
            "traaviis: '1'\nname: H\nversion: 1.0.0\ninitial: a\nstates:\n  a: {{on: {{e: [{{target: b, guard: {guard}}}, {{guard: {guard}}}]}}}}\n  b: {{type: final}}\nevents: {{e: {{}}}}\n"
        );
        let definition = read(&text);
        check(&definition);
        let picture = Picture::of(&definition);
        let mermaid = graph::mermaid(&picture);
        assert!(!mermaid.contains("<script") && !mermaid.contains("end note"), "{mermaid}");
        let png = graph::png(&picture).unwrap();
        assert!(png.starts_with(b"\x89PNG"));
    }
}

#[test]
fn what_is_too_large_is_refused() {
    let states: String = (0..900)
        .map(|at| format!("  s{at}: {{on: {{n: s{}, b: s0}}}}\n", (at + 1) % 900))
        .collect();
    let text = format!(
        "traaviis: '1'\nname: L\nversion: 1.0.0\ninitial: s0\nevents: {{n: {{}}, b: {{}}}}\nstates:\n{states}"
    );
    let picture = Picture::of(&read(&text));
    let error = graph::svg(&picture).unwrap_err().to_string();
    assert!(error.contains("at most 200000"), "{error}");
    assert!(graph::mermaid(&picture).contains("s900"));
}

/// A chart: for each state its parent among those before it and its kind, and arrows between any.
#[derive(Clone, Debug)]
struct Chart {
    states: Vec<(usize, u8)>,
    arrows: Vec<(usize, usize, u8)>,
}

fn charts() -> impl Strategy<Value = Chart> {
    let states = prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..14);
    let arrows = prop::collection::vec((0usize..14, 0usize..14, any::<u8>()), 0..24);
    (states, arrows).prop_map(|(states, arrows)| {
        let states = states.into_iter().enumerate();
        let states = states.map(|(at, (parent, kind))| (parent.index(at + 1), kind)).collect();
        Chart { states, arrows }
    })
}

impl Chart {
    /// Numbers states from 1; 0 is the root.
    fn children(&self, of: usize) -> Vec<usize> {
        (1..=self.states.len()).filter(|it| self.states[it - 1].0 == of).collect()
    }

    fn path(&self, at: usize) -> String {
        match self.states[at - 1].0 {
            0 => format!("s{at}"),
            parent => format!("{}.s{at}", self.path(parent)),
        }
    }

    fn write(&self, out: &mut String, of: usize, depth: usize) {
        let indent = "  ".repeat(depth);
        let children = self.children(of);
        let is_parallel = of > 0 && self.states[of - 1].1.is_multiple_of(3);
        match is_parallel {
            true => writeln!(out, "{indent}type: parallel").unwrap(),
            false => writeln!(out, "{indent}initial: s{}", children[0]).unwrap(),
        }
        writeln!(out, "{indent}states:").unwrap();
        for child in children {
            writeln!(out, "{indent}  s{child}:").unwrap();
            if !self.children(child).is_empty() {
                self.write(out, child, depth + 2);
            }
            let arrows = self.arrows.iter().filter(|it| it.0 % self.states.len() + 1 == child);
            let arrows: Vec<String> = arrows
                .map(|(_, to, words)| {
                    let to = self.path(to % self.states.len() + 1);
                    let guard =
                        ", guard: 'data.value > 100 && data.other'".repeat((words % 2).into());
                    format!("{{target: \"#{to}\"{guard}}}")
                })
                .collect();
            writeln!(out, "{indent}    on: {{go: [{}]}}", arrows.join(", ")).unwrap();
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn any_chart_is_drawn(chart in charts()) {
        let mut text = String::from("traaviis: '1'\nname: G\nversion: 1.0.0\nevents: {go: {}}\n");
        chart.write(&mut text, 0, 0);
        check(&read(&text));
    }
}
