//! Analysis finds every planted defect: each example is free of findings, and one mutation gives
//! exactly one code.

use std::collections::BTreeSet;

use traaviis_model::{
    Diagnostic,
    document::{self, Format, tree::Node},
};

use crate::{
    Machine,
    expand::{self, Found, Shelf},
};

const DOOR: &str = include_str!("../../../../../catalogue/workflows/SmartDoor.yaml");
const ORDER: &str = include_str!("../../../../../examples/order-saga/workflow.yaml");
const TOUR: &str = include_str!("../../../../../examples/delivery-tour/workflow.yaml");
const INVOICE: &str = include_str!("../../../../../examples/reminders/workflow.yaml");
const CHAT: &str = include_str!("../../../../../catalogue/workflows/AICustomerService.yaml");
const REMINDER: &str = include_str!("../../../../../examples/reminders/components/reminder.yaml");
const CODES: &str = include_str!("../../../../../docs/errors/README.md");

/// Code, text that stands once, what it becomes.
type Mutation = (&'static str, &'static str, String);

/// The component that the invoice uses.
struct Reminder(Node);

impl Shelf for Reminder {
    fn find(&self, reference: &str) -> Result<Found<'_>, String> {
        match reference {
            "Reminder@1" => Ok(Found { file: "reminder.yaml", tree: &self.0 }),
            _ => Err(format!("there is no document `{reference}`")),
        }
    }
}

fn findings(document: &str) -> Vec<Diagnostic> {
    let shelf = Reminder(document::read_tree(REMINDER, Format::Yaml).unwrap());
    let read = expand::read(document, Format::Yaml, &shelf);
    let mut found = read.diagnostics;
    found.extend(read.definition.iter().flat_map(Machine::analyse));
    found
}

fn mutations(pairs: &[(&'static str, &'static str, &str)]) -> Vec<Mutation> {
    pairs.iter().map(|(code, from, to)| (*code, *from, (*to).to_string())).collect()
}

#[test]
fn the_examples_are_free_of_findings() {
    for document in [DOOR, ORDER, TOUR, INVOICE, CHAT] {
        let found: Vec<String> = findings(document).iter().map(ToString::to_string).collect();
        assert!(found.is_empty(), "{found:#?}");
    }
}

/// Mutates a document by replacing text that stands once in it, and expects only findings of the
/// given code.
fn plant(document: &str, mutations: &[Mutation]) {
    for (code, from, to) in mutations {
        assert_eq!(document.matches(from).count(), 1, "`{from}` must stand once");
        let found = findings(&document.replacen(from, to, 1));
        let shown: Vec<String> = found.iter().map(ToString::to_string).collect();
        let others = found.iter().filter(|it| it.code != *code).count();
        assert!(others == 0 && !found.is_empty(), "{code} by `{to}`: {shown:#?}");
    }
}

#[test]
fn every_defect_planted_in_the_door_is_found() {
    plant(DOOR, &door());
}

fn door() -> Vec<Mutation> {
    let events = "  hold: {schema: {type: object, properties: {by: {type: string}}}}\n";
    let waiver = "x-waive: {W202: a door serves as long as the house stands}\n";
    let reach = "opening: {on: {fully_open: open, obstruction: closed}, ";
    let hold = "hold: {target: open, guard: \"data.holds < 3\", ";
    mutations(&[
        ("E101", "title: Door", "titel: Door"),
        ("E102", "{on: {open_command: opening}", "{on: {open_command: opnening}"),
        ("E103", "initial: normal.closed", "initial: normal.clsed"),
        ("E105", "initial: normal.closed", "initial: [normal.closed, locked]"),
        ("E106", events, ""),
        ("E108", "  locked: {", "  locked: {always: {actions: []}, "),
        ("E109", "  hold: {schema", "  error.hold: {}\n  hold: {schema"),
        ("E109", "{raise: {event: auto_close}}", "{raise: {event: done.close}}"),
        ("E110", "{raise: {event: auto_close}}", "{raise: {event: hold, data: {by: 5}}}"),
        ("E130", "guard: \"data.holds < 3\"", "guard: \"data.holds <\""),
        ("E130", "guard: \"data.holds < 3\"", "guard: \"data.holds + 3\""),
        ("E131", "guard: \"data.holds < 3\"", "guard: \"holds < 3\""),
        ("E101", "title: Door", "budgets: {}\ntitle: Door"),
        ("W190", "title: Door", "retention: {payloads: 1d}\ntitle: Door"),
        ("W201", "  locked: {", "  broken: {}\n  locked: {"),
        ("W202", waiver, ""),
        ("W203", hold, "hold: {target: open, guard: \"data.holds < 3 && false\", "),
        ("W203", hold, "hold: {target: open, guard: in_state(\"normal.opn\"), "),
        (
            "W204",
            "{guard: data.auto_closed, actions: [{raise: {event: fully_closed}}]}",
            "[{guard: 'data.holds > 1', actions: [{raise: {event: fully_closed}}]}, {guard: 'data.holds < 1'}]",
        ),
        (
            "W205",
            reach,
            "opening: {invoke: [{id: motor, effect: {type: call, function: open}}], on: {fully_open: open, obstruction: closed}, ",
        ),
        ("W208", "  hold: {schema", "  knock: {}\n  hold: {schema"),
        ("W211", "event.data.location == data.location", "'false'"),
        ("W209", ", x-waive: {W209: nobody has to come in}", ""),
        (
            "W209",
            "        after: {5s: {guard: data.auto_closed, actions: [{raise: {event: fully_closed}}]}}\n",
            "",
        ),
    ])
}

#[test]
fn every_defect_planted_in_the_order_is_found() {
    plant(ORDER, &order());
}

fn order() -> Vec<Mutation> {
    let reserve = "action: {type: call, function: inventory.reserve, args: {sku: \"${data.order.items[0].sku}\", qty: \"${data.order.items[0].qty}\"}}\n              \
        compensation: {type: call, function: inventory.release, args: {reservation_id: \"${steps.reserve.value.reservation_id}\"}}\n";
    mutations(&[
        ("E102", "{15m: failed}", "{15m: faild}"),
        (
            "E104",
            "cancelled: {type: final, ",
            "cancelled: {type: final, on: {cancel_order: failed}, ",
        ),
        ("E107", "- id: charge", "- id: reserve"),
        ("E131", "{cause: \"${event.data.code}\"}", "{cause: \"${steps.charge}\"}"),
        ("E140", "type: saga", "type: sage"),
        ("E140", "on_cancel: compensate", "budget: {calls: -1}"),
        ("E153", "on_cancel: compensate", "budget: {wall_time: 19s}"),
        ("E152", "initial: validating", "migrations: [{from: '>=1.0.0'}]\ninitial: validating"),
        ("E190", "on_cancel: compensate", "redact: {in: mask}"),
        ("E151", "  fulfilling:\n", "  fulfilling:\n    permissions: {hosts: [a.org]}\n"),
        (
            "E150",
            "  fulfilling:\n",
            "  fulfilling:\n    permissions: {tools: ['shipping.*', 'inventory.*']}\n",
        ),
        ("E150", "function: shipping.book", "function: '${data.order.card}'"),
        ("W201", "{target: rejected}", "{target: failed}"),
        ("W202", "after: {15m: failed}\n", "after: {15m: asked}\n  asked: {after: {1d: asked}}\n"),
        ("W203", "guard: event.data.compensated}, {target: failed}", "}, {target: failed}"),
        (
            "W205",
            "      - id: fulfil\n",
            "      - {id: mail, effect: {type: call, function: mail.send}}\n      - id: fulfil\n",
        ),
        (
            "W212",
            "      - id: fulfil\n",
            "      - {id: ask, onError: failed, effect: {type: human_task, title: T, deadline: 1d, \
             reminders: [12h, {before: 1d}], escalation: {after: 25h, to: [a]}}}\n      - id: fulfil\n",
        ),
        (
            "W207",
            reserve,
            "action: {type: call_api, method: post, url: 'https://stock.example/'}\n",
        ),
        ("W210", "events:\n", "events:\n  changed: {merge: true, pii: {/order: auto}}\n"),
        ("W208", "events:\n", "events:\n  order_paid: {source: internal}\n"),
    ])
}

#[test]
fn every_defect_planted_in_the_tour_is_found() {
    plant(TOUR, &tour());
}

fn tour() -> Vec<Mutation> {
    mutations(&[
        (
            "E102",
            "called_off}\n    after: {8h: failed}",
            "called_off}\n    after: {8h: '#tour.day.nowhere'}",
        ),
        ("E103", "        initial: working\n", ""),
        ("E107", "- id: sign\n              action", "- id: count\n              action"),
        ("E108", "returning: {type: final}", "returning: {always: returning}"),
        ("E130", "cond: \"data.checked < size(data.stops)\"", "cond: \"size(data.stops)) > 1\""),
        ("E140", "type: race", "type: rase"),
        ("E142", "              max_iterations: 20\n", ""),
        ("W201", "    onDone: signing\n", ""),
        (
            "W203",
            "- {target: home}\n",
            "- {target: home}\n                        - {target: driving}\n",
        ),
        ("W205", "        onError: failed\n    on", "    on"),
        (
            "W207",
            "action: {type: transform, expr: \"{'stops': size(data.stops), 'parcels': size(data.parcels)}\"}",
            "action: {type: call_api, method: post, url: 'https://count.example/'}",
        ),
        ("W208", "  arrived: {source: internal}\n", "  arrived: {source: internal}\n  lost: {}\n"),
    ])
}

#[test]
fn every_defect_planted_in_the_use_of_a_component_is_found() {
    plant(INVOICE, &invoice());
}

fn invoice() -> Vec<Mutation> {
    mutations(&[
        ("E120", "data: {initial: {number", "data: {initial: {reminder: 1, number"),
        ("E121", "use: Reminder@1", "use: Remainder@1"),
    ])
}

#[test]
fn every_defect_planted_in_the_conversation_is_found() {
    plant(CHAT, &chat());
}

fn chat() -> Vec<Mutation> {
    let budgets = "budgets: {usd: \"0.50\", tokens: 40000}\n";
    mutations(&[
        ("W206", budgets, ""),
        // The price of a tier is not known, so money alone limits nothing.
        ("W206", budgets, "budgets: {usd: \"0.50\"}\n"),
    ])
}

#[test]
fn what_is_too_much_is_found() {
    plant(ORDER, &too_much());
}

fn too_much() -> Vec<Mutation> {
    let deep = format!(
        "      - {{id: deep, onError: failed, effect: {}{{type: value, value: 1}}{}}}\n      - id: fulfil\n",
        "{type: timeout, duration: 1s, effect: ".repeat(40),
        "}".repeat(40)
    );
    let tags = format!("tags: [{}]\ninitial: validating", vec!["a"; 21].join(", "));
    vec![("E141", "      - id: fulfil\n", deep), ("E160", "initial: validating", tags)]
}

/// A code without a mutation is one that nobody has seen being found.
#[test]
fn every_code_of_the_list_is_planted_somewhere() {
    let is_code = |it: &&str| it.starts_with(['E', 'W']) && it[1..].parse::<u16>().is_ok();
    let rows = CODES.lines().filter_map(|it| it.strip_prefix("| [")?.split(']').next());
    let listed: BTreeSet<&str> = rows.filter(is_code).collect();
    let planted = [door(), order(), tour(), invoice(), chat(), too_much()];
    let planted: BTreeSet<&str> = planted.iter().flatten().map(|it| it.0).collect();
    assert!(listed.len() > 30, "{listed:?}");
    assert_eq!(listed, planted);
}

/// The page of each warning holds a document with the finding, and one without.
#[test]
fn the_pages_of_the_warnings_show_what_they_say() {
    const PAGES: [(&str, &str); 12] = [
        ("W201", include_str!("../../../../../docs/errors/W201.md")),
        ("W202", include_str!("../../../../../docs/errors/W202.md")),
        ("W203", include_str!("../../../../../docs/errors/W203.md")),
        ("W204", include_str!("../../../../../docs/errors/W204.md")),
        ("W205", include_str!("../../../../../docs/errors/W205.md")),
        ("W206", include_str!("../../../../../docs/errors/W206.md")),
        ("W207", include_str!("../../../../../docs/errors/W207.md")),
        ("W208", include_str!("../../../../../docs/errors/W208.md")),
        ("W209", include_str!("../../../../../docs/errors/W209.md")),
        ("W210", include_str!("../../../../../docs/errors/W210.md")),
        ("W211", include_str!("../../../../../docs/errors/W211.md")),
        ("W212", include_str!("../../../../../docs/errors/W212.md")),
    ];
    for (code, page) in PAGES {
        let documents: Vec<&str> =
            page.split("```yaml\n").skip(1).filter_map(|it| it.split("```").next()).collect();
        let [bad, good] = documents.as_slice() else { panic!("{code} needs two documents") };
        let codes = |it: &str| findings(it).iter().map(|it| it.code).collect::<Vec<_>>();
        assert_eq!(codes(bad), [code], "{code}: {:#?}", findings(bad));
        assert!(findings(good).is_empty(), "{code}: {:#?}", findings(good));
    }
}
