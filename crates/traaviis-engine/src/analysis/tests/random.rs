//! Random machines: analysis neither panics nor changes its mind, and stays fast at the limits.

use std::{collections::BTreeSet, fmt::Write, sync::Arc};

use proptest::prelude::*;
use traaviis_model::document::{self, Format};

use super::{super::analyse, findings};
use crate::{Machine, tests::with_head};

/// Makes a document from bytes; each choice takes one, so that shrinking bytes shrinks the machine.
struct Maker<'b> {
    bytes: &'b [u8],
    names: Vec<String>,
}

impl Maker<'_> {
    fn pick(&mut self, most: usize) -> usize {
        let Some((first, rest)) = self.bytes.split_first() else { return 0 };
        self.bytes = rest;
        usize::from(*first) % most.max(1)
    }

    fn document(bytes: &[u8]) -> String {
        let mut maker = Maker { bytes, names: Vec::new() };
        maker.shape("#", 0);
        let names = std::mem::take(&mut maker.names);
        maker.bytes = bytes;
        maker.names = names;
        let mut out = String::from(
            "data: {schema: {properties: {k: {enum: [a, b, 3]}, t: {type: boolean}}}}\n\
             events: {e: {}, f: {source: internal}, g.h: {}}\nx-waive: {W208: random}\n",
        );
        maker.states("#", 0, 0, &mut out);
        out
    }

    /// Draws the same choices as `states` to learn the names before targets are written.
    fn shape(&mut self, above: &str, depth: usize) {
        let mut unused = String::new();
        self.states(above, depth, 0, &mut unused);
    }

    fn states(&mut self, above: &str, depth: usize, indent: usize, out: &mut String) {
        let count = 1 + self.pick(4);
        let pad = " ".repeat(indent);
        writeln!(out, "{pad}initial: s0\n{pad}states:").unwrap();
        for at in 0..count {
            self.state(&format!("{above}s{at}"), at, depth, indent, out);
        }
    }

    fn state(&mut self, path: &str, at: usize, depth: usize, indent: usize, out: &mut String) {
        if !self.names.contains(&path.to_string()) {
            self.names.push(path.to_string());
        }
        let (pad, inner) = (" ".repeat(indent + 1), " ".repeat(indent + 2));
        writeln!(out, "{pad}s{at}:").unwrap();
        match self.pick(6) {
            0 if at > 0 => writeln!(out, "{inner}type: final").unwrap(),
            1 if at > 0 => {
                let history = format!("{inner}type: history\n{inner}target: s0");
                writeln!(out, "{history}").unwrap();
            }
            kind @ (2 | 3) if depth < 3 => {
                self.keys(&inner, out);
                let mut below = String::new();
                self.states(&format!("{path}."), depth + 1, indent + 2, &mut below);
                if kind == 3 {
                    let initial = format!("{inner}initial: s0\n");
                    below = below.replacen(&initial, &format!("{inner}type: parallel\n"), 1);
                }
                out.push_str(&below);
            }
            _ => self.keys(&inner, out),
        }
    }

    fn keys(&mut self, pad: &str, out: &mut String) {
        writeln!(out, "{pad}title: t").unwrap();
        let choices = self.pick(64);
        for (bit, key) in ["on: {e: ", "always: ", "after: {1s: ", "onError: "].iter().enumerate() {
            if choices & (1 << bit) != 0 {
                let close = if key.contains('{') { "}" } else { "" };
                let list = self.candidates();
                writeln!(out, "{pad}{key}{list}{close}").unwrap();
            }
        }
        if choices & 16 != 0 {
            let effect = [
                "{type: call, function: f}",
                "{type: sequence, effects: [{type: call_api, url: u, method: post}, {type: call, function: f}]}",
                "{type: value, value: 1}",
            ][self.pick(3)];
            let list = self.candidates();
            writeln!(out, "{pad}invoke: [{{id: i, effect: {effect}, onDone: {list}}}]").unwrap();
        }
        if choices & 32 != 0 {
            writeln!(out, "{pad}entry: [{{raise: {{event: f}}}}]").unwrap();
        }
    }

    fn candidates(&mut self) -> String {
        let count = 1 + self.pick(3);
        let list: Vec<String> = (0..count)
            .map(|_| {
                let target = self.pick(self.names.len() + 1);
                let target = self.names.get(target).cloned();
                let target = target.map_or_else(String::new, |it| format!("target: '{it}', "));
                let guard = [
                    "true",
                    "data.t",
                    "!data.t",
                    "data.n > 3",
                    "data.n < 5",
                    "data.n == 4",
                    "data.k == \"a\"",
                    "data.k in [\"b\", 3]",
                    "false && data.t",
                    "data.x > data.n",
                ][self.pick(10)];
                format!("{{{target}guard: '{guard}'}}")
            })
            .collect();
        format!("[{}]", list.join(", "))
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn analysis_never_panics_and_is_deterministic(
        bytes in proptest::collection::vec(any::<u8>(), 0..200),
    ) {
        let document = with_head(&Maker::document(&bytes));
        let first = findings(&document);
        // Only what the generator cannot avoid may be refused: cycles of `always`, and several
        // transitions that history or final states do not take.
        let known = |code: &str| code.starts_with('W') || code == "E108";
        prop_assert!(first.iter().all(|it| known(it.code)), "{document}\n{first:#?}");
        prop_assert_eq!(first, findings(&document));
    }
}

/// Were most random machines refused, the test above would say nothing about warnings.
#[test]
fn most_random_machines_come_to_analysis() {
    let (mut analysed, mut codes) = (0, BTreeSet::new());
    let mut next = 1_u64;
    for _ in 0..200 {
        let bytes: Vec<u8> = std::iter::repeat_with(|| {
            next = next
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (next >> 56) as u8
        })
        .take(200)
        .collect();
        let found = findings(&with_head(&Maker::document(&bytes)));
        analysed += usize::from(found.iter().all(|it| it.code.starts_with('W')));
        codes.extend(found.iter().map(|it| it.code));
    }
    assert!(analysed > 100, "{analysed} of 200");
    let codes: Vec<&str> = codes.into_iter().collect();
    assert_eq!(codes, ["E108", "W201", "W202", "W203", "W204", "W205", "W207", "W209"]);
}

fn machine(document: &str) -> Machine {
    let read = document::read(&with_head(document), Format::Yaml);
    let definition = read.definition.unwrap_or_else(|| panic!("{:?}", read.diagnostics));
    Machine::compile(Arc::new(definition)).unwrap_or_else(|found| panic!("{found:?}"))
}

/// Returns documents at the limit of states, each hard for one group of findings.
fn large() -> Vec<(&'static str, String)> {
    let states = |of: &dyn Fn(usize) -> String| -> String {
        (0..999).map(|at| format!("  s{at}: {}\n", of(at))).collect()
    };
    let whole = |states: String| {
        format!(
            "events: {{e: {{}}, f: {{}}}}\ninitial: s0\nstates:\n{states}  end: {{type: final}}\n"
        )
    };
    let chain = states(&|at| {
        format!(
            "{{on: {{e: s{}, f: end}}, invoke: [{{id: i, effect: {{type: call, function: f}}}}]}}",
            (at + 1) % 999
        )
    });
    let trap = states(&|at| format!("{{on: {{e: s{}}}}}", (at + 1) % 999));
    let guards = |count: usize| -> String {
        (0..count).map(|it| format!("{{target: end, guard: data.n == {it}}},")).collect()
    };
    let tables = states(&|_| format!("{{on: {{e: [{}]}}}}", guards(20)));
    let history = states(&|at| match at % 2 {
        0 => format!("{{on: {{e: s{}, f: end}}}}", (at + 1) % 999),
        _ => "{type: history, target: s0}".to_string(),
    });
    let table = format!("  s0: {{on: {{e: [{}]}}}}\n", guards(15_000));
    let table_of_100 = states(&|at| match at < 200 {
        true => format!("{{on: {{e: [{}]}}}}", guards(100)),
        false => "{}".to_string(),
    });
    vec![
        ("chain", whole(chain)),
        ("trap", whole(trap)),
        ("history", whole(history)),
        ("tables of 20 guards", whole(tables)),
        ("tables of 100 guards", whole(table_of_100)),
        ("one table of 15,000 guards", whole(table)),
    ]
}

/// Measures with `cargo test --release -p traaviis-engine --lib large_machines -- --nocapture`. The
/// bound is generous, since tests share their cores, and still far below anything quadratic.
#[test]
fn large_machines_are_analysed_at_once() {
    #[expect(clippy::disallowed_methods, reason = "a test may measure")]
    let now = std::time::Instant::now;
    for (name, document) in large() {
        let machine = machine(&document);
        let begun = now();
        let found = analyse(&machine).len();
        let took = begun.elapsed();
        println!("{name}: {} bytes, {found} findings in {took:?}", document.len());
        assert!(took.as_millis() < 5_000, "{name} took {took:?}");
    }
}
