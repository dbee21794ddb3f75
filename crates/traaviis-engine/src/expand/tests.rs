//! Components through the eyes of an author: texts in, the expanded document or findings out.

mod random;

use std::sync::Arc;

use expect_test::{Expect, expect};
use traaviis_model::document::{Format, tree::Node};

use super::*;
use crate::Machine;

/// Documents by name; the version is not looked at.
struct Documents(Vec<(String, Node)>);

impl Shelf for Documents {
    fn find(&self, reference: &str) -> Result<Found<'_>, String> {
        let name = reference.split('@').next().unwrap_or_default();
        let is_named = |tree: &Node| text_at(tree, "name").is_some_and(|it| **it == *name);
        match self.0.iter().find(|(_, tree)| is_named(tree)) {
            Some((file, tree)) => Ok(Found { file, tree }),
            None => Err(format!("there is no document `{name}`")),
        }
    }
}

fn read_all(host: &str, components: &[&str]) -> Read {
    let trees = components.iter().enumerate().map(|(at, text)| {
        let text = format!("{{traaviis: \"1\", version: 1.0.0, {text}}}");
        (format!("c{at}.yaml"), document::read_tree(&text, Format::Yaml).unwrap())
    });
    let host = format!("traaviis: \"1\"\nname: Host\nversion: 1.0.0\n{host}");
    read(&host, Format::Yaml, &Documents(trees.collect()))
}

/// Shows the expanded document, or the findings of reading and compiling it.
fn shown(read: &Read) -> String {
    let mut found = read.diagnostics.clone();
    if let Some(definition) = &read.definition
        && let Err(errors) = Machine::compile(Arc::new(definition.clone()))
    {
        found.extend(errors.into_iter().map(|mut it| {
            read.positions.place(&mut it);
            it
        }));
    }
    if found.is_empty() {
        let Some(definition) = &read.definition else { return "nothing".into() };
        let text = definition.document.as_str().unwrap_or_default();
        return text.replace("\"traaviis\":\"1\",\"name\":\"Host\",\"version\":\"1.0.0\",", "");
    }
    let line = |it: &Diagnostic| format!("{}: {it}", it.file.as_deref().unwrap_or("host"));
    found.iter().map(line).collect::<Vec<_>>().join("\n")
}

fn check(host: &str, components: &[&str], expected: Expect) {
    expected.assert_eq(&shown(&read_all(host, components)));
}

const HOST: &str = "initial: t_idle\nstates: {end: {type: final}}\n";
const TIMER: &str = "kind: component, name: Timer, initial: idle";

/// Uses a component whose only state holds `part`.
fn check_state(part: &str, expected: Expect) {
    let host = format!(
        "{HOST}events: {{halt: {{}}}}\ncomponents: [{{use: C, as: t, events: {{stop: halt}}, targets: {{out: end}}, with: {{n: 3, who: \"${{input.who}}\"}}}}]"
    );
    let component = format!(
        "kind: component, name: C, initial: idle, exits: [out], \
         parameters: {{properties: {{n: {{type: integer}}, who: {{}}, d: {{default: 5s}}}}}}, \
         events: {{go: {{}}, stop: {{}}, fam.*: {{}}}}, \
         effects: {{ask: {{type: value, value: \"${{param.x}}\"}}}}, \
         states: {{idle: {{{part}}}, run: {{initial: a, states: {{a: {{}}, idle: {{}}}}}}}}"
    );
    let shown = shown(&read_all(&host, &[&component]));
    let start = shown.find("\"t_idle\":").map_or(0, |it| it + "\"t_idle\":".len());
    let end = shown.find(",\"t_run\"").unwrap_or(shown.len());
    expected.assert_eq(&shown[start..end]);
}

#[test]
fn everything_of_a_component_is_merged() {
    check(
        "initial: t_idle\nstates: {end: {type: final}}\ncomponents: [{use: Timer@1, as: t}]",
        &["kind: component, name: Timer, title: T, initial: idle, \
           data: {schema: {type: object, properties: {n: {$ref: '#/$defs/n'}}, $defs: {n: {type: integer}}}, initial: {n: 1}}, \
           events: {go: {}}, effects: {e: {type: value, value: 1}}, \
           validations: [{name: v, check: data.n > 0, message: 'n is ${data.n}'}], \
           states: {idle: {on: {go: run}}, run: {on: {go: idle}}}, tests: []"],
        expect![[
            r##"{"initial":"t_idle","states":{"end":{"type":"final"},"t_idle":{"on":{"t.go":"#t_run"}},"t_run":{"on":{"t.go":"#t_idle"}}},"events":{"t.go":{}},"effects":{"t_e":{"type":"value","value":1}},"validations":[{"name":"t_v","check":"data.t.n > 0","message":"n is ${data.t.n}","events":["t.*"]}],"data":{"initial":{"t":{"n":1}},"schema":{"type":"object","properties":{"t":{"type":"object","properties":{"n":{"$ref":"#/properties/t/$defs/n"}},"$defs":{"n":{"type":"integer"}}}}}}}"##
        ]],
    );
}

#[test]
fn candidates_follow_their_states() {
    check_state(
        "on: {go: run, stop: run.a, fam.x: out, go.x: nowhere}",
        expect!["c0.yaml: 1:315: E102 target `nowhere` names no state that can be seen from here"],
    );
    check_state(
        "on: {'*': run, stop: idle}, after: {'${param.d}': '#run.a'}",
        expect![[r##"{"on":{"t.*":"#t_run","halt":"#t_idle"},"after":{"5s":"#t_run.a"}}"##]],
    );
    check_state(
        "on: {fam.*: {target: run, guard: \"in_state('run.a') && data.n < param.n\"}}",
        expect![[
            r##"{"on":{"t.fam.*":{"target":"#t_run","guard":"in_state(\"t_run.a\") && data.t.n < 3"}}}"##
        ]],
    );
}

#[test]
fn actions_write_below_their_key() {
    check_state(
        "entry: [{assign: {a.b: '${data.x}'}}, {assign: {remove: [a]}}, {merge: {a: 1, b: '${data.a}'}}, {merge: '${event.data}', when: data.on}]",
        expect![[
            r#"{"entry":[{"assign":{"t.a.b":"${data.t.x}"}},{"assign":{"remove":["t.a"]}},{"assign":{"t":"${merge(data.t, {\"a\": 1, \"b\": (data.t.a)})}"}},{"assign":{"t":"${merge(data.t, (event.data))}"},"when":"data.t.on"}]}"#
        ]],
    );
    check_state(
        "entry: [{raise: {event: stop, id: r, data: '${param}'}}, {cancel: r}, {emit: {event: told}}, {log: {message: 'n ${param.n} $${data.n}'}}]",
        expect![[
            r#"{"entry":[{"raise":{"event":"halt","id":"t_r","data":{"d":"5s","n":3,"who":"${input.who}"}}},{"cancel":"t_r"},{"emit":{"event":"t.told"}},{"log":{"message":"n ${3} $${data.n}"}}]}"#
        ]],
    );
    check_state(
        "entry: [{choose: [{when: data.a, actions: [{assign: {x: 1}}]}]}, {for_each: {in: '${data.l}', actions: [{assign: {x: '${item}'}}]}}]",
        expect![[
            r#"{"entry":[{"choose":[{"when":"data.t.a","actions":[{"assign":{"t.x":1}}]}]},{"for_each":{"in":"${data.t.l}","actions":[{"assign":{"t.x":"${item}"}}]}}]}"#
        ]],
    );
}

#[test]
fn effects_follow_the_table_of_kinds() {
    check_state(
        "invoke: [{id: i, when: data.on, onDone: run, effect: {type: sequence, save: r, effects: [{type: put_data, key: a, value: '${data.b}'}, {type: merge_data, value: {a: 1}}, {type: use, effect: ask, with: {x: '${param.who}'}}, {type: wait_signal, events: [go, stop], match: data.x == event.data.x}]}}]",
        expect![[
            r##"{"invoke":[{"id":"i","when":"data.t.on","onDone":"#t_run","effect":{"type":"sequence","save":"t.r","effects":[{"type":"put_data","key":"t.a","value":"${data.t.b}"},{"type":"put_data","key":"t","value":"${merge(data.t, {\"a\": 1})}"},{"type":"use","effect":"t_ask","with":{"x":"${input.who}"}},{"type":"wait_signal","events":["t.go","halt"],"match":"data.t.x == event.data.x"}]}}]}"##
        ]],
    );
    check_state(
        "invoke: [{id: i, effect: {type: case_condition, value: '${data.x}', cases: [{when: value > data.y, effect: {type: batch, items: '${data.l}', concurrency: '${param.n}', effect: {type: value, value: '${item}'}}}, {when: plain, effect: {type: value, value: 1}}]}}]",
        expect![[
            r#"{"invoke":[{"id":"i","effect":{"type":"case_condition","value":"${data.t.x}","cases":[{"when":"value > data.t.y","effect":{"type":"batch","items":"${data.t.l}","concurrency":3,"effect":{"type":"value","value":"${item}"}}},{"when":"plain","effect":{"type":"value","value":1}}]}}]}"#
        ]],
    );
}

#[test]
fn regions_and_states_take_components() {
    let part = "kind: component, name: T, initial: a, states: {a: {always: {target: b, guard: in_state('a')}}, b: {type: final}}";
    check(
        "initial: s\nstates: {s: {onDone: e}, e: {type: final}}\ncomponents: [{use: T, as: t, at: s}]",
        &[part],
        expect![[
            r##"{"initial":"s","states":{"s":{"onDone":"e","initial":"t_a","states":{"t_a":{"always":{"target":"#s.t_b","guard":"in_state(\"s.t_a\")"}},"t_b":{"type":"final"}}},"e":{"type":"final"}},"data":{"initial":{"t":{}}}}"##
        ]],
    );
    check(
        "initial: s\nstates: {s: {type: parallel, states: {p: {}}, onDone: e}, e: {type: final}}\ncomponents: [{use: T, as: t, at: s, mode: region}]",
        &[part],
        expect![[
            r##"{"initial":"s","states":{"s":{"type":"parallel","states":{"p":{},"t":{"initial":"t_a","states":{"t_a":{"always":{"target":"#s.t.t_b","guard":"in_state(\"s.t.t_a\")"}},"t_b":{"type":"final"}}}},"onDone":"e"},"e":{"type":"final"}},"data":{"initial":{"t":{}}}}"##
        ]],
    );
    check(
        "initial: s\nstates: {s: {}}\ncomponents: [{use: T, as: t, at: s, mode: region}, {use: T, as: u, at: t}]",
        &[part],
        expect!["host: 6:72: E102 `t` is no state of this document; write its path from the top"],
    );
}

const WATCH: &str = "kind: component, name: W, initial: a, exits: [out], events: {stop: {}, on: {}}, states: {a: {on: {stop: out, on: b}}, b: {type: final}}";

/// Everything that the document says of its states is said of where they are now.
#[test]
fn a_region_stands_beside_states_that_had_none() {
    check(
        "initial: s.a\nevents: {go: {}, on: {}}\nstates: {s: {initial: a, onDone: [{target: .b, guard: data.again}, {target: e}], on: {go: .b, on: .a}, \
         states: {a: {on: {go: b, on: s.b}, always: {target: e, guard: \"in_state('s.b') && in_state('s')\"}}, b: {initial: c, states: {c: {type: final}}, onDone: s}}}, \
         t: {on: {go: s.b.c, done.state.s.b: s, done.state.s: e}}, e: {type: final}}\n\
         data: {initial: {again: false}}\n\
         migrations: [{from: '<1.0.0', states: {old: s.b}}]\n\
         tests: [{name: one, expect: {state: [s.a, s], budgets: {s.b: {}, run: {}}}}]\n\
         components: [{use: W, as: w, at: s, mode: region, targets: {out: s.b}}, {use: W, as: v, at: s.b, targets: {out: t}}]",
        &[WATCH],
        expect![[
            r##"{"initial":"s.main.a","events":{"go":{},"on":{},"w.stop":{},"w.on":{},"v.stop":{},"v.on":{}},"states":{"s":{"on":{"go":".main.b","on":".main.a"},"type":"parallel","states":{"main":{"initial":"a","states":{"a":{"on":{"go":"b","on":"#s.main.b"},"always":{"target":"e","guard":"in_state(\"s.main.b\") && in_state(\"s\")"}},"b":{"initial":"c","states":{"c":{"type":"final"},"v_a":{"on":{"v.stop":"#t","v.on":"#s.main.b.v_b"}},"v_b":{"type":"final"}},"onDone":"s"}},"onDone":[{"target":".b","guard":"data.again"},{"target":"e"}]},"w":{"initial":"w_a","states":{"w_a":{"on":{"w.stop":"#s.main.b","w.on":"#s.w.w_b"}},"w_b":{"type":"final"}}}}},"t":{"on":{"go":"#s.main.b.c","done.state.s.main.b":"s","done.state.s.main":"e"}},"e":{"type":"final"}},"data":{"initial":{"again":false,"w":{},"v":{}}},"migrations":[{"from":"<1.0.0","states":{"old":"s.main.b"}}],"tests":[{"name":"one","expect":{"state":["s.main.a","s"],"budgets":{"s.main.b":{},"run":{}}}}]}"##
        ]],
    );
    check(
        "initial: a\nstates: {a: {always: e}, e: {type: final}}\n\
         components: [{use: W, as: w, mode: region, targets: {out: e}, events: {on: go}}, {use: W, as: v, mode: region, targets: {out: a}}]",
        &[WATCH],
        expect![[
            r##"{"initial":"all","states":{"all":{"type":"parallel","states":{"main":{"initial":"a","states":{"a":{"always":"e"}}},"w":{"initial":"w_a","states":{"w_a":{"on":{"w.stop":"#e","go":"#all.w.w_b"}},"w_b":{"type":"final"}}},"v":{"initial":"v_a","states":{"v_a":{"on":{"v.stop":"#all.main.a","v.on":"#all.v.v_b"}},"v_b":{"type":"final"}}}}},"e":{"type":"final"}},"events":{"w.stop":{},"go":{},"v.stop":{},"v.on":{}},"data":{"initial":{"w":{},"v":{}}}}"##
        ]],
    );
    // A state without children has an empty region beside the new one.
    check(
        "initial: a\nstates: {a: {on: {w.stop: t}}, t: {type: final}}\n\
         components: [{use: W, as: w, at: a, mode: region, targets: {out: t}}]",
        &[WATCH],
        expect![[
            r##"{"initial":"a","states":{"a":{"on":{"w.stop":"t"},"type":"parallel","states":{"main":{},"w":{"initial":"w_a","states":{"w_a":{"on":{"w.stop":"#t","w.on":"#a.w.w_b"}},"w_b":{"type":"final"}}}}},"t":{"type":"final"}},"events":{"w.stop":{},"w.on":{}},"data":{"initial":{"w":{}}}}"##
        ]],
    );
}

#[test]
fn a_region_is_refused_where_there_is_no_room() {
    let uses =
        |rest: &str| format!("components: [{{use: W, mode: region, targets: {{out: e}}, {rest}}}]");
    for (host, expected) in [
        (
            format!("initial: e\nstates: {{e: {{type: final}}}}\n{}", uses("as: w")),
            expect!["host: 6:60: E120 the document starts in a final state, so no region runs"],
        ),
        (
            format!("initial: a\nstates: {{a: {{}}, e: {{type: final}}}}\n{}", uses("as: main")),
            expect![
                "host: 6:60: E120 `main` is the region of the states that are there already; use the component under another name with `as`"
            ],
        ),
        (
            format!(
                "initial: a\nstates: {{a: {{}}, e: {{type: final}}}}\n{}",
                uses("as: w, at: e")
            ),
            expect!["host: 6:67: E120 a final or history state takes no component"],
        ),
        (
            format!("initial: all\nstates: {{all: {{}}, e: {{type: final}}}}\n{}", uses("as: w")),
            expect![
                "host: 6:60: E120 the state `all` exists, and the regions would stand in one; rename it, or name a state in `at`"
            ],
        ),
        (
            format!(
                "initial: a\nstates: {{a: {{always: {{target: e, guard: in_state(input.s)}}}}, e: {{type: final}}}}\n{}",
                uses("as: w")
            ),
            expect![
                "host: 5:41: E120 `in_state` beside a component in a region of its own takes a literal path, not what starts at byte 0"
            ],
        ),
    ] {
        check(&host, &[WATCH], expected);
    }
}

#[test]
fn tests_of_a_component_start_where_it_starts() {
    let part = "kind: component, name: T, initial: a, exits: [out], parameters: {properties: {d: {}}}, events: {go: {}}, states: {a: {after: {'${param.d}': out}, on: {go: b}}, b: {}}, \
                tests: [{name: waits, mocks: {f: '${param.d}'}, steps: [{advance: '${param.d}'}, {send: go, refused: event_not_accepted}], expect: {state: out, status: completed, data: {n: 1}, emitted: [told, {event: go}]}}, \
                {name: ends, expect: {status: completed}}, {name: goes, start: b, input: {a: 1}, expect: {status: running, budgets: {a: {}, run: {}}}}]";
    let host = "initial: s\ninput: {examples: [{k: 1}]}\nstates: {s: {}, e: {type: final}}\n";
    check(
        &format!(
            "{host}components: [{{use: T, as: t, at: s, with: {{d: 5s}}, targets: {{out: e}}}}]"
        ),
        &[part],
        expect![[
            r##"{"initial":"s","input":{"examples":[{"k":1}]},"states":{"s":{"initial":"t_a","states":{"t_a":{"after":{"5s":"#e"},"on":{"t.go":"#s.t_b"}},"t_b":{}}},"e":{"type":"final"}},"events":{"t.go":{}},"data":{"initial":{"t":{}}},"tests":[{"name":"t: waits","mocks":{"f":"5s"},"steps":[{"advance":"5s"},{"send":"t.go","refused":"event_not_accepted"}],"expect":{"state":"e","data":{"t":{"n":1}},"emitted":["t.told",{"event":"t.go"}]},"start":"s.t_a","input":{"k":1}},{"name":"t: goes","start":"s.t_b","input":{"a":1},"expect":{"status":"running","budgets":{"s.t_a":{},"run":{}}}}]}"##
        ]],
    );
    check(
        &format!(
            "{host}components: [{{use: T, as: t, tests: skip, with: {{d: 5s}}, targets: {{out: e}}}}]"
        ),
        &[part],
        expect![[
            r##"{"initial":"s","input":{"examples":[{"k":1}]},"states":{"s":{},"e":{"type":"final"},"t_a":{"after":{"5s":"#e"},"on":{"t.go":"#t_b"}},"t_b":{}},"events":{"t.go":{}},"data":{"initial":{"t":{}}}}"##
        ]],
    );
}

#[test]
fn triggers_of_a_component_start_the_workflow() {
    check(
        "initial: s\ntriggers: [{type: manual}]\nstates: {s: {}}\ncomponents: [{use: T, as: t, with: {c: '@daily'}}]",
        &[
            "kind: component, name: T, initial: a, parameters: {properties: {c: {}}}, states: {a: {}}, triggers: [{type: schedule, cron: '${param.c}'}, {type: event, event: paid, match: \"event.data.every == param.c\"}]",
        ],
        expect![[
            r#"{"initial":"s","triggers":[{"type":"manual"},{"type":"schedule","cron":"@daily"},{"type":"event","event":"paid","match":"event.data.every == \"@daily\""}],"states":{"s":{},"t_a":{}},"data":{"initial":{"t":{}}}}"#
        ]],
    );
}

#[test]
fn components_have_components() {
    let inner = "kind: component, name: In, initial: a, exits: [out], parameters: {properties: {d: {}}}, events: {go: {}}, states: {a: {on: {go: out}, entry: [{assign: {n: '${param.d + data.n}'}}]}}";
    let outer = "kind: component, name: Out, initial: x_a, parameters: {properties: {d: {}}}, states: {end: {type: final}}, components: [{use: In, as: x, with: {d: '${param.d + data.k}'}, targets: {out: end}}]";
    check(
        "initial: o_x_a\nstates: {s: {}}\ncomponents: [{use: Out, as: o, with: {d: 2}}]",
        &[inner, outer],
        expect![[
            r##"{"initial":"o_x_a","states":{"s":{},"o_end":{"type":"final"},"o_x_a":{"on":{"o.x.go":"#o_end"},"entry":[{"assign":{"o.x.n":"${(2 + data.o.k) + data.o.x.n}"}}]}},"events":{"o.x.go":{}},"data":{"initial":{"o":{"x":{}}}}}"##
        ]],
    );
}

#[test]
fn what_cannot_be_merged_is_told_at_its_place() {
    let timer = format!(
        "{TIMER}, exits: [out], parameters: {{required: [d], properties: {{d: {{type: string}}}}}}, events: {{go: {{}}}}, data: {{initial: {{n: 1}}}}, states: {{idle: {{on: {{go: out}}}}}}"
    );
    for (host, expected) in [
        (
            "components: [{use: Clock, as: t}]",
            expect![[r#"host: 6:20: E121 there is no document `Clock`"#]],
        ),
        (
            "components: [{use: Flow, as: t}]",
            expect![[r#"host: 6:20: E121 `Flow` is a workflow; only a component can be merged"#]],
        ),
        (
            "components: [{use: Timer, as: t}]",
            expect![[
                r#"host: 6:14: E121 the parameters do not fit: /: "d" is a required property"#
            ]],
        ),
        (
            "components: [{use: Timer, as: t, with: {d: 5}, targets: {out: end}}]",
            expect![[
                r#"host: 6:40: E121 the parameters do not fit: /d: 5 is not of type "string""#
            ]],
        ),
        (
            "components: [{use: Timer, as: t, with: {d: a, x: 1}, targets: {out: end}}]",
            expect![
                "host: 6:40: E121 the parameters do not fit: there is no parameter `x`; there is `d`"
            ],
        ),
        (
            "components: [{use: Timer, as: t, with: {d: '${event.x}'}, targets: {out: end}}]",
            expect![
                "host: 6:40: E131 the value of a parameter cannot read `event`; it can read `data`, `input`, `tenant`, `workflow` and `now`"
            ],
        ),
        (
            "components: [{use: Timer, as: t, with: {d: a}}]",
            expect![
                "host: 6:14: E121 the exit `out` of the component leads nowhere; name a state for it in `targets`"
            ],
        ),
        (
            "components: [{use: Timer, as: t, with: {d: a}, targets: {out: end, off: end}, events: {stop: halt}}]",
            expect![[r#"
                host: 6:57: E121 the component has no exit `off`
                host: 6:87: E121 the component has no event `stop`"#]],
        ),
        (
            "components: [{use: Timer, as: t, with: {d: a}, targets: {out: nowhere}}]",
            expect![
                "host: 6:57: E102 `nowhere` is no state of this document; write its path from the top"
            ],
        ),
        (
            "components: [{use: Timer, as: t, with: {d: a}, targets: {out: end}, at: none}]",
            expect![
                "host: 6:73: E102 `none` is no state of this document; write its path from the top"
            ],
        ),
        (
            "components: [{use: Timer, as: a-b}, {use: Timer, as: error}, {use: Timer, as: t}, {use: Timer, as: t}, {as: x, uze: 1}]",
            expect![[r#"
                host: 6:31: E109 `a-b` is not a name for a component (at /components/0/as); use a letter or `_`, then letters, digits and `_`; names of the engine, such as `error`, are reserved
                host: 6:54: E109 `error` is not a name for a component (at /components/1/as); use a letter or `_`, then letters, digits and `_`; names of the engine, such as `error`, are reserved
                host: 6:100: E120 two components are used as `t` (at /components/3/as)
                host: 6:104: E101 `use` is missing in the use of a component (at /components/4)
                host: 6:112: E101 unknown key `uze` in a use of a component (at /components/4/uze); did you mean `use`?"#]],
        ),
        (
            "data: {initial: {t: 1}}\nevents: {t.go: {}}\ncomponents: [{use: Timer, as: t, with: {d: a}, targets: {out: end}}]",
            expect![[r#"
                host: 8:31: E120 the event `t.go` that the component brings exists already; use the component under another name with `as`
                host: 8:31: E120 the key of `data` `t` that the component brings exists already; use the component under another name with `as`"#]],
        ),
        (
            "data: {initial: '${input}'}\ncomponents: [{use: Timer, as: t, with: {d: a}, targets: {out: end}}]",
            expect![
                "host: 6:17: E120 the `initial` of `data` is computed as a whole, so no component can add to it; write it as a map, with one template for each key"
            ],
        ),
    ] {
        let host = format!("initial: end\nstates: {{end: {{type: final}}}}\n{host}");
        let flow = "name: Flow, initial: a, states: {a: {}}";
        check(&host, &[&timer, flow], expected);
    }
}

#[test]
fn findings_inside_a_component_name_its_file() {
    check(
        &format!("{HOST}components: [{{use: Timer, as: t}}]"),
        &[&format!("{TIMER}, statess: {{}}, states: {{idle: {{onn: {{}}}}}}, defaults: {{}}")],
        expect![[
            r#"c0.yaml: 1:118: E101 `defaults` does not belong to a component (at /defaults); it is set by the workflow that uses the component"#
        ]],
    );
    check(
        &format!("{HOST}components: [{{use: Timer, as: t}}]"),
        &[&format!(
            "{TIMER}, states: {{idle: {{always: {{target: nowhere, guard: 'data.x +'}}}}}}"
        )],
        expect!["c0.yaml: 1:111: E102 target `nowhere` names no state that can be seen from here"],
    );
}

#[test]
fn circles_and_chains_of_components_end() {
    let a = "kind: component, name: A, initial: s, states: {s: {}}, components: [{use: B, as: b}]";
    let b = "kind: component, name: B, initial: s, states: {s: {}}, components: [{use: A, as: a}]";
    check(
        &format!("{HOST}components: [{{use: A, as: t}}]"),
        &[a, b],
        expect![
            "c1.yaml: 1:107: E121 components use each other in a circle: c0.yaml -> c1.yaml -> c0.yaml"
        ],
    );
    let chain: Vec<String> = (0..10).map(|at| format!("kind: component, name: C{at}, initial: s, states: {{s: {{}}}}, components: [{{use: C{}, as: c}}]", at + 1)).collect();
    let chain: Vec<&str> = chain.iter().map(String::as_str).collect();
    check(
        &format!("{HOST}components: [{{use: C0, as: t}}]"),
        &chain,
        expect![
            "c7.yaml: 1:108: E160 components are nested deeper than 8: c0.yaml -> c1.yaml -> c2.yaml -> c3.yaml -> c4.yaml -> c5.yaml -> c6.yaml -> c7.yaml -> c8.yaml"
        ],
    );
    // Each of eight components uses the next a hundred times.
    let wide: Vec<String> = (0..8)
        .map(|at| {
            let uses: String =
                (0..100).map(|it| format!("{{use: C{}, as: c{it}}},", at + 1)).collect();
            let uses = if at < 7 { format!(", components: [{uses}]") } else { String::new() };
            format!("kind: component, name: C{at}, initial: s, states: {{s: {{}}}}{uses}")
        })
        .collect();
    let wide: Vec<&str> = wide.iter().map(String::as_str).collect();
    let read = read_all(&format!("{HOST}components: [{{use: C0, as: t}}]"), &wide);
    assert!(read.diagnostics.iter().all(|it| it.code == "E160"), "{:?}", read.diagnostics);
}

#[test]
fn a_component_alone_is_a_workflow_with_its_exits_as_ends() {
    let alone = |rest: &str| {
        let text = format!("traaviis: \"1\"\nkind: component\nname: Host\nversion: 1.0.0\n{rest}");
        shown(&read(&text, Format::Yaml, &Documents(Vec::new())))
    };
    expect![[r#"{"initial":"a","states":{"a":{"after":{"5s":"out"},"on":{"*":"out"}},"out":{"type":"final"}}}"#]].assert_eq(&alone("initial: a\nexits: [out]\nparameters: {properties: {d: {}}, examples: [{d: 5s}]}\nstates: {a: {after: {'${param.d}': out}, on: {'*': out}}}"));
    expect![[r#"host: 6:13: E121 the parameters have no values to check with: /: "d" is a required property; give the schema `examples` whose first fits, or defaults"#]].assert_eq(&alone(
        "initial: a\nparameters: {properties: {d: {}}, required: [d]}\nstates: {a: {}}",
    ));
}

#[test]
fn waivers_of_a_component_hold_for_its_states() {
    let part = "kind: component, name: T, initial: a, x-waive: {W209: people decide}, \
                states: {a: {x-waive: {W201: later}}, b: {}}";
    check(
        "initial: t_a\nstates: {s: {}}\ncomponents: [{use: T, as: t}]",
        &[part],
        expect![[
            r#"{"initial":"t_a","states":{"s":{},"t_a":{"x-waive":{"W209":"people decide","W201":"later"}},"t_b":{"x-waive":{"W209":"people decide"}}},"data":{"initial":{"t":{}}}}"#
        ]],
    );
}

#[test]
fn names_of_the_workflow_are_no_names_of_a_component() {
    check_state(
        "always: end",
        expect!["c0.yaml: 1:278: E102 target `end` names no state that can be seen from here"],
    );
}

#[test]
fn the_number_of_components_is_bounded() {
    let uses: String = (0..101).map(|at| format!("{{use: T, as: t{at}}},")).collect();
    check(
        &format!("{HOST}components: [{uses}]"),
        &["kind: component, name: T, initial: a, states: {a: {}}"],
        expect![[r#"host: 6:1: E160 101 components; at most 100 are allowed (at /components)"#]],
    );
}

/// Cuts and swaps turn every part into something unexpected; none of it may panic.
#[test]
fn damaged_components_are_refused_without_a_panic() {
    let host = "initial: a\nstates: {a: {}, end: {type: final}}\ndata: {schema: {type: object}}\nvalidations: []\n\
        components: [{use: C, as: t, at: a, events: {go: done_it}, targets: {out: end}, with: {d: 5s}}]";
    let part = "traaviis: \"1\"\nkind: component\nname: C\nversion: 1.0.0\ninitial: a\nexits: [out]\n\
        parameters: {properties: {d: {type: string}}}\ndata: {schema: {properties: {n: {$ref: '#/x'}}}, initial: {n: 1}}\n\
        events: {go: {}}\nvalidations: [{name: v, check: data.n > 0, message: m}]\neffects: {e: {type: value, value: 1}}\n\
        states: {a: {on: {'*': out}, after: {'${param.d}': {target: out, guard: \"in_state('a')\"}}, entry: [{merge: {x: '${data.n}'}}],\
        invoke: [{id: i, effect: {type: sequence, effects: [{type: use, effect: e}]}}]}}";
    let head = "traaviis: \"1\"\nname: Host\nversion: 1.0.0\n";
    let read_with = |host: &str, part: &str| {
        let Ok(tree) = document::read_tree(part, Format::Yaml) else { return };
        let shelf = Documents(vec![("c".into(), tree)]);
        let read = read(&format!("{head}{host}"), Format::Yaml, &shelf);
        if let Some(definition) = read.definition {
            let _ = Machine::compile(Arc::new(definition));
        }
    };
    let changed = |text: &str, at: usize| {
        let end = text[at..].find([',', '}', ']', '\n']).map_or(text.len(), |it| at + it);
        ["7", "~", "[]", "{}", "'${x'", "[{}]"]
            .map(|it| format!("{}{it}{}", &text[..at], &text[end..]))
    };
    for (at, _) in part.match_indices([' ', '{', '[']) {
        changed(part, at + 1).iter().for_each(|it| read_with(host, it));
    }
    for (at, _) in host.match_indices([' ', '{', '[']) {
        changed(host, at + 1).iter().for_each(|it| read_with(it, part));
    }
}

#[test]
fn a_definition_never_has_components() {
    for text in ["components: []", "kind: component", "exits: [a]"] {
        let text = format!(
            "traaviis: \"1\"\nname: A\nversion: 1.0.0\ninitial: s\nstates: {{s: {{}}}}\n{text}"
        );
        assert!(document::read(&text, Format::Yaml).definition.is_none(), "{text}");
    }
}
