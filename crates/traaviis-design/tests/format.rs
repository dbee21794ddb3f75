//! Formats every document of the repository and generated ones, and checks what formatting keeps.

use expect_test::{Expect, expect};
use proptest::prelude::*;
use traaviis_design::{
    format::{FormatError, format},
    scxml,
};
use traaviis_model::document::{self, Format, definition_hash};

fn show(text: &str, expected: Expect) {
    let formatted = keeps(text);
    expected.assert_eq(&formatted);
}

/// Formats, and checks that nothing is lost and that formatting again changes nothing.
fn keeps(text: &str) -> String {
    let formatted = format(text, Format::Yaml).unwrap_or_else(|error| panic!("{error:?}\n{text}"));
    let hash = |text: &str| {
        let node = document::read_tree(text, Format::Yaml).unwrap();
        definition_hash(&node.to_json().into())
    };
    assert_eq!(hash(text), hash(&formatted), "{text}\n---\n{formatted}");
    let again = format(&formatted, Format::Yaml).unwrap();
    assert_eq!(formatted, again, "from\n{text}");
    let json = document::read_tree(text, Format::Yaml).unwrap().to_json();
    let json = format(&json, Format::Json).unwrap();
    assert_eq!(hash(text), hash(&json));
    assert_eq!(json, format(&json, Format::Json).unwrap());
    formatted
}

#[test]
fn keys_are_sorted_and_comments_go_with_them() {
    show(
        r#"# What it is for.
# Second line.

name:   "Door"   # its name
traaviis: '1'


# Where it stands.
states:
    closed: # shut
        on: {open: 'opened', 'close':   closed}   # both ways
        # The end of closed.
    # Above opened.
    opened:
        entry:
        - log: {message: "x: y", level: "info"}   # said
        # Second action.
        - assign: {a: 1}
        description: |
            Long text,
              as it was.

        type: final
initial: closed
version: 1.0.0
# The end.
"#,
        expect![[r##"
            # What it is for.
            # Second line.

            traaviis: '1'
            name: Door # its name
            version: 1.0.0
            initial: closed

            # Where it stands.
            states:
              closed: # shut
                on: {open: opened, close: closed} # both ways
                # The end of closed.
              # Above opened.
              opened:
                type: final
                description: |
                  Long text,
                    as it was.
                entry:
                  - log: {message: "x: y", level: info} # said
                  # Second action.
                  - assign: {a: 1}
            # The end.
        "##]],
    );
}

#[test]
fn brackets_over_several_lines_become_lines() {
    show(
        "tests: [\n  {name: a, steps: [{send: x}]}, # first\n  # second\n  {name: b,\n   input: {a: 1}}\n] # end\nname: x\n",
        expect![[r#"
            name: x
            tests:
              - {name: a, steps: [{send: x}]} # first
              # second
              - name: b
                input: {a: 1} # end
        "#]],
    );
}

#[test]
fn texts_stay_as_they_were() {
    show(
        "a: >-\n   folded\n   text\n\n   more\nb: |2\n   one space\nc: |+\n  kept\n\nd: plain\n     over lines\ne: \"quoted \\\n   over\n   lines\"\nf: 'it''s'\ng: 'true'\nh: \"plain words\"\ni: \"${data.x}\"\nj:\nk: ~\nl: |\n",
        expect![[r#"
            a: >-
              folded
              text

              more
            b: |2
               one space
            c: |+
              kept

            d: plain
              over lines
            e: "quoted \
              over
              lines"
            f: 'it''s'
            g: 'true'
            h: plain words
            i: "${data.x}"
            j:
            k: ~
            l: |
        "#]],
    );
}

#[test]
fn anchors_keep_the_order() {
    show(
        "name: &n Door\ntraaviis: *n\nlabels: &l # here\n  z: 1\nx-copy: [*n , *l ]\n",
        expect![[r#"
            name: &n Door
            traaviis: *n
            labels: &l # here
              z: 1
            x-copy: [*n , *l ]
        "#]],
    );
}

#[test]
fn what_does_not_parse_is_refused() {
    for text in ["a: [", "a: 1\na: 2", "", "a: !!str x", "a: 1\n--- \nb: 2"] {
        let error = format(text, Format::Yaml).unwrap_err();
        assert!(matches!(error, FormatError::Syntax(found) if !found.is_empty()), "{text}");
    }
    assert!(matches!(format("{", Format::Json), Err(FormatError::Syntax(_))));
}

#[test]
fn json_has_two_spaces() {
    expect![[r#"
        {
          "name": "x",
          "x-n": [
            1,
            2.5
          ],
          "states": {
            "b": {},
            "a": {
              "on": {}
            }
          },
          "tests": []
        }
    "#]]
    .assert_eq(
        &format(
            r#"{"states":{"b":{},"a":{"on":{}}},"tests":[],"name":"x","x-n":[1,2.50]}"#,
            Format::Json,
        )
        .unwrap(),
    );
}

fn documents() -> Vec<String> {
    let mut documents: Vec<String> = [
        include_str!("../../../catalogue/workflows/SmartDoor.yaml"),
        include_str!("../../../examples/order-saga/workflow.yaml"),
        include_str!("../../../examples/delivery-tour/workflow.yaml"),
        include_str!("../../../examples/order-saga/connectors.yaml"),
    ]
    .map(str::to_string)
    .into();
    // The documents of the guides.
    for page in [
        include_str!("../../../docs/guides/first-workflow.md"),
        include_str!("../../../docs/guides/connectors.md"),
    ] {
        let blocks = page.split("```yaml\n").skip(1).filter_map(|it| it.split("```").next());
        documents.extend(blocks.map(str::to_string));
    }
    for line in include_str!("scxml/cases.jsonl").lines() {
        let case: serde_json::Value = serde_json::from_str(line).unwrap();
        let imported = scxml::import(case["scxml"].as_str().unwrap()).unwrap();
        documents.push(imported.document.to_yaml());
    }
    documents
}

#[test]
fn every_document_of_the_repository_is_kept() {
    for text in documents() {
        keeps(&text);
        keeps(&text.replace('\n', "\r\n"));
    }
}

/// Plants comments where they change nothing; elsewhere they would be text.
fn planted(text: &str, seeds: &[(prop::sample::Index, bool, usize)]) -> String {
    let mut text = text.to_string();
    let values = |text: &str| document::read_tree(text, Format::Yaml).map(|it| it.to_json()).ok();
    let wanted = values(&text);
    for (number, (at, is_alone, depth)) in seeds.iter().enumerate() {
        let mut lines: Vec<String> = text.lines().map(str::to_string).collect();
        let at = at.index(lines.len());
        match is_alone {
            true => lines.insert(at, format!("{}# planted {number}", " ".repeat(*depth))),
            false => lines[at] += &format!(" # planted {number}"),
        }
        let with = lines.join("\n") + "\n";
        if values(&with) == wanted {
            text = with;
        }
    }
    text
}

/// A value in one of the ways to write it, at an indentation.
fn written(
    value: &serde_json::Value,
    styles: &mut dyn Iterator<Item = u8>,
    indent: usize,
) -> String {
    use serde_json::Value as Json;
    let style = styles.next().unwrap_or_default();
    let pad = " ".repeat(indent);
    match value {
        Json::Object(map) if !map.is_empty() && !style.is_multiple_of(4) => {
            let mut out = String::from("\n");
            for (key, value) in map {
                let key = match styles.next().unwrap_or_default() % 3 {
                    0 => format!("\"{key}\""),
                    1 => format!("'{key}'"),
                    _ => key.clone(),
                };
                if style % 5 == 1 {
                    out += "\n";
                }
                let value = written(value, styles, indent + 1 + usize::from(style % 3));
                out += &format!("{pad}{key}:{value}\n");
            }
            out.trim_end_matches('\n').to_string()
        }
        Json::Array(list) if !list.is_empty() && !style.is_multiple_of(4) => {
            let mut out = String::from("\n");
            for value in list {
                let value = written(value, styles, indent + 2);
                // A list or map may begin behind the dash when it stands as deep as that.
                let value = match style % 2 {
                    0 => value.trim_start_matches('\n').to_string(),
                    _ => value,
                };
                let value = if value.starts_with('\n') || style % 2 == 1 {
                    value
                } else {
                    format!(" {}", value.trim_start())
                };
                out += &format!("{pad}-{value}\n");
            }
            out.trim_end_matches('\n').to_string()
        }
        Json::String(text)
            if style.is_multiple_of(5)
                && text.is_ascii()
                && !text.starts_with([' ', '\n'])
                && !text.is_empty() =>
        {
            let lines: Vec<String> =
                text.lines().map(|it| format!("{}{it}", " ".repeat(indent + 2))).collect();
            format!(" |-\n{}", lines.join("\n"))
        }
        other if style.is_multiple_of(2) => format!(" {other}"),
        other => format!(
            " {}",
            other.to_string().replace(',', ",\n ").replace('\n', &format!("\n{pad}  "))
        ),
    }
}

fn values() -> impl Strategy<Value = serde_json::Value> {
    use serde_json::Value as Json;
    let words = prop::sample::select(vec![
        "x",
        "true",
        "on",
        "two words",
        "# no comment",
        "a: b",
        "${data.x}",
        "- a",
        "",
        "1.0",
        "it's",
        "line\nline",
        "{",
        "é",
        "null",
        "a #b",
        "tab\tin",
        "~",
        "-",
        "|",
        "&a",
        "*a",
        "%",
        "@",
        "`",
    ]);
    let leaf = prop_oneof![
        words.prop_map(Json::from),
        any::<i32>().prop_map(Json::from),
        any::<bool>().prop_map(Json::from),
        Just(Json::Null),
    ];
    let keys = prop::sample::select(vec![
        "name", "states", "on", "type", "initial", "target", "guard", "x-a", "a", "b", "1", "true",
        "tests",
    ]);
    leaf.prop_recursive(5, 40, 5, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Json::from),
            prop::collection::btree_map(keys.clone(), inner, 0..5).prop_map(|it| {
                it.into_iter()
                    .map(|(key, value)| (key.to_string(), value))
                    .collect::<serde_json::Map<_, _>>()
                    .into()
            }),
        ]
    })
}

type Seeds = Vec<(prop::sample::Index, bool, usize)>;

fn seeds(count_max: usize) -> impl Strategy<Value = Seeds> {
    let seed = (any::<prop::sample::Index>(), any::<bool>(), 0usize..12);
    prop::collection::vec(seed, 0..count_max)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn planted_comments_are_kept(
        which in any::<prop::sample::Index>(),
        seeds in seeds(10),
    ) {
        let documents = documents();
        let text = planted(&documents[which.index(documents.len())], &seeds);
        let formatted = keeps(&text);
        prop_assert_eq!(text.matches("# planted").count(), formatted.matches("# planted").count());
    }

    #[test]
    fn generated_documents_are_kept(
        value in values(),
        styles in prop::collection::vec(any::<u8>(), 0..60),
        seeds in seeds(6),
    ) {
        let text = written(&serde_json::json!({"name": value}), &mut styles.into_iter(), 0);
        let text = text.trim_start_matches('\n').to_string() + "\n";
        prop_assume!(document::read_tree(&text, Format::Yaml).is_ok());
        let text = planted(&text, &seeds);
        let formatted = keeps(&text);
        prop_assert_eq!(text.matches("# planted").count(), formatted.matches("# planted").count());
    }
}
