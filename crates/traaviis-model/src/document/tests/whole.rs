//! Whole documents: the catalogue's as published, read back from a store, damaged, and placed.

use std::path::Path;

use super::{HEAD, check, check_effect, check_rest, check_state, good, good_effect, lines};
use crate::{
    definition::{ActionKind, Children, OnUnknown, StateKind},
    diagnostic::Diagnostic,
    document::{Format, Positions, definition_hash, read, read_value},
    value::Value,
};

/// The order saga of the catalogue, as published.
const ORDER_SAGA: &str = r##"traaviis: "1"
name: OrderSaga
version: 1.0.0
initial: validating
correlation: {key: input.order_id, unique: true}
input:
  schema:
    type: object
    required: [order_id, amount, card, items, address]
    properties: {order_id: {type: string}, amount: {type: number, exclusiveMinimum: 0}, card: {type: string}, address: {type: object},
                 items: {type: array, minItems: 1, items: {type: object, required: [sku, qty]}}}
data: {initial: {order: "${input}", charge_id: null, tracking: null}}
events: {cancel_order: {schema: {type: object, properties: {reason: {type: string}}}}}
defaults: {timeout: 20s, retry: {attempts: 4, backoff: exponential, base_delay: 500ms, max_delay: 10s, jitter: full}}
states:
  validating:
    always: [{target: fulfilling, guard: "data.order.items.all(i, i.qty > 0)"}, {target: rejected}]
  fulfilling:
    on: {cancel_order: cancelled}            # cancels the saga, which compensates first
    invoke:
      - id: fulfil
        effect:
          type: saga
          on_cancel: compensate
          steps:
            - id: reserve
              action: {type: call, function: inventory.reserve, args: {sku: "${data.order.items[0].sku}", qty: "${data.order.items[0].qty}"}}
              compensation: {type: call, function: inventory.release, args: {reservation_id: "${steps.reserve.value.reservation_id}"}}
            - id: charge
              action: {type: call, function: payment.charge, args: {amount: "${data.order.amount}", card: "${data.order.card}"}, on_unknown: ask}
              compensation: {type: call, function: payment.refund, args: {charge_id: "${steps.charge.value.charge_id}"}}
            - id: ship
              timeout: 2m
              action: {type: call, function: shipping.book, args: {order: "${data.order.order_id}", address: "${data.order.address}"}}
              compensation: {type: call, function: shipping.cancel, args: {tracking: "${steps.ship.value.tracking}"}}
        onDone: {target: completed, actions: [{assign: {charge_id: "${result.charge.charge_id}", tracking: "${result.ship.tracking}"}}]}
        onError: [{target: compensated, guard: event.data.compensated}, {target: failed}]
    after: {15m: failed}
  completed: {type: final, output: {tracking: "${data.tracking}", charge_id: "${data.charge_id}"}}
  compensated: {type: final, status: compensated, output: {cause: "${event.data.code}"}}
  cancelled: {type: final, status: cancelled}
  rejected: {type: final, status: failed, output: {cause: invalid_items}}
  failed: {type: final, status: failed}
tests:
  - name: refunds when shipping is down
    input: {order_id: o1, amount: 10, card: k, address: {}, items: [{sku: a, qty: 1}]}
    mocks: {inventory.reserve: [{reservation_id: r}], payment.charge: [{charge_id: c}], shipping.book: [{error: {code: call_failed, retryable: false}}], payment.refund: [{}], inventory.release: [{}]}
    expect: {status: compensated, called: {payment.refund: 1, inventory.release: 1}, order: [payment.refund, inventory.release]}
"##;

/// The smart door of the catalogue without what this release does not carry out.
const SMART_DOOR: &str = r##"traaviis: "1"
name: SmartDoor
version: 1.0.0
initial: normal.closed
input:
  schema: {type: object, required: [location], properties: {location: {type: string}, auto_close_delay: {type: string, default: 30s}}}
data:
  schema: {type: object, properties: {auto_closed: {type: boolean}, holds: {type: integer}}}
  initial: {location: "${input.location}", delay: "${input.auto_close_delay}", auto_closed: false, holds: 0}
events: {open_command: {}, fully_open: {}, close_command: {}, auto_close: {}, hold: {}, fully_closed: {}, obstruction: {}, emergency_lock: {}, emergency_clear: {}}
states:
  normal:
    initial: closed
    on: {emergency_lock: locked}
    states:
      closed: {on: {open_command: opening}}
      opening: {on: {fully_open: open, obstruction: closed}}
      open:
        after: [{delay: "${data.delay}", actions: [{raise: {event: auto_close}}]}]
        on:
          close_command: {target: closing, actions: [{assign: {auto_closed: false}}]}
          auto_close: {target: closing, actions: [{assign: {auto_closed: true}}]}
          hold: {target: open, guard: "data.holds < 3", actions: [{assign: {holds: "${data.holds + 1}"}}]}   # re-entry restarts the timer
        exit: [{log: {message: "leaving open at ${data.location}"}}]
      closing:
        after: {5s: {guard: data.auto_closed, actions: [{raise: {event: fully_closed}}]}}
        on: {fully_closed: {target: closed, actions: [{assign: {holds: 0}}]}, obstruction: opening}
  locked: {on: {emergency_clear: normal}}
tests:
  - {name: closes by itself, input: {location: hall}, steps: [{send: open_command}, {send: fully_open}, {advance: 30s}, {advance: 5s}], expect: {state: normal.closed}}
"##;

#[test]
fn the_order_saga_reads() {
    let definition = good(ORDER_SAGA);
    assert_eq!(definition.states.len(), 7);
    assert!(definition.correlation.as_ref().unwrap().unique);
    assert_eq!(definition.defaults.retry.as_ref().unwrap().attempts, 4);
    let invoke = &definition.states[1].invoke[0];
    let [(role, Children::Saga(steps))] = invoke.effect.children.as_slice() else { panic!() };
    assert_eq!(&**role, "steps");
    assert_eq!(steps[1].action.on_unknown, Some(OnUnknown::Ask));
    assert_eq!(steps[2].action.timeout, Some(Value::from("2m")));
    assert_eq!(&*steps[2].action.pointer, "/states/fulfilling/invoke/0/effect/steps/2/action");
    assert_eq!(&*definition.states[1].after[0].pointer, "/states/fulfilling/after/15m");
}

#[test]
fn the_smart_door_reads_without_what_is_not_available() {
    let definition = good(SMART_DOOR);
    let StateKind::Compound { initial, states, .. } = &definition.states[0].kind else { panic!() };
    assert_eq!(&*initial[0], "closed");
    let names: Vec<&str> = states.iter().map(|it| &*it.name).collect();
    assert_eq!(names, ["closed", "opening", "open", "closing"]);
    assert_eq!(states[3].after[0].delay, Value::from("5s"));
    assert_eq!(states[2].after[0].delay, Value::from("${data.delay}"));
    let ActionKind::Raise { event, .. } = &states[2].after[0].candidates[0].actions[0].kind else {
        panic!()
    };
    assert_eq!(&**event, "auto_close");
}

#[test]
fn a_stored_document_gives_the_same_definition() {
    for text in [ORDER_SAGA, SMART_DOOR] {
        let definition = good(text);
        let back = read_value(&definition.document);
        assert_eq!(lines(&back), "");
        let back = back.definition.unwrap();
        assert_eq!(format!("{back:?}"), format!("{definition:?}"));
        assert_eq!(definition_hash(&definition.document), definition.hash);
        let Value::String(json) = &definition.document else { panic!() };
        let value: Value = serde_json::from_str(json).unwrap();
        assert_eq!(definition_hash(&value), definition.hash);
        assert_eq!(read(json, Format::Json).definition.unwrap().hash, definition.hash);
    }
}

#[test]
fn the_hash_leaves_out_extensions_and_layout_and_nothing_else() {
    let hash = |rest: &str| good(&format!("{HEAD}initial: s\n{rest}")).hash;
    let plain = hash("states: {s: {on: {a: s}}}");
    assert_eq!(hash("layout: {s: [1, 2]}\nx-note: 1\nstates: {s: {on: {a: s}, x-y: 2}}"), plain);
    assert_eq!(
        hash("states: {s: {on: {a: {x-why: no, target: s}}}}"),
        hash("states: {s: {on: {a: {target: s}}}}")
    );
    assert_ne!(hash("states: {s: {on: {a: s}}, x-ray: {}}"), plain);
    let header = |name: &str| {
        hash(&format!(
            "states: {{s: {{invoke: [{{id: i, effect: {{type: call_api, url: u, headers: {{{name}: k}}}}}}]}}}}"
        ))
    };
    assert_ne!(header("x-one"), header("x-two"));
}

#[test]
fn limits_are_told_once() {
    let nested = |count: usize| {
        let open = "{type: retry, effect: ".repeat(count);
        format!("{open}{{type: value, value: 1}}{}", "}".repeat(count))
    };
    assert_eq!(good_effect(&nested(31)).children.len(), 1);
    let found = read(
        &format!(
            "{HEAD}initial: s\nstates: {{s: {{invoke: [{{id: i, effect: {}}}]}}}}",
            nested(40)
        ),
        Format::Yaml,
    );
    assert_eq!(found.diagnostics.len(), 1);
    assert_eq!(found.diagnostics[0].message, "effects are nested deeper than 32");
    let many = format!("{{type: parallel, effects: [{}]}}", "{type: get_result},".repeat(600));
    check_effect(
        &many,
        "5:9549: E141 the effect tree has more than 500 nodes (at /states/s/invoke/0/effect/effects/499)",
    );
    let states = format!(
        "{{{}}}",
        (0..1001).map(|at| format!("s{at}: {{}}")).collect::<Vec<_>>().join(", ")
    );
    check_rest(
        &format!("initial: s0\nstates: {states}"),
        "1:1: E160 the workflow has 1001 states; at most 1000 are allowed",
    );
    let mut deep = "{}".to_string();
    for _ in 0..16 {
        deep = format!("{{initial: s, states: {{s: {deep}}}}}");
    }
    let found = read(&format!("{HEAD}initial: s\nstates: {{s: {deep}}}"), Format::Yaml);
    assert_eq!(found.diagnostics.len(), 1);
    assert_eq!(found.diagnostics[0].message, "states are nested deeper than 16");
    let events = (0..501).map(|at| format!("e{at}: {{}}")).collect::<Vec<_>>().join(", ");
    check_rest(
        &format!("initial: s\nevents: {{{events}}}\nstates: {{s: {{}}}}"),
        "5:1: E160 501 events; at most 500 are allowed (at /events)",
    );
    let actions = "{cancel: a},".repeat(101);
    check_state(
        &format!("{{entry: [{actions}]}}"),
        "5:14: E160 101 actions in one block; at most 100 are allowed (at /states/s/entry)",
    );
    check(&"#".repeat(2 << 20), "E160 the document has 2097152 bytes; at most 1048576 are allowed");
}

/// Cuts and swaps turn every part into something unexpected; none of it may panic.
#[test]
fn damaged_documents_are_refused_without_a_panic() {
    let Value::String(json) = good(ORDER_SAGA).document else { panic!() };
    for (text, format) in [(ORDER_SAGA, Format::Yaml), (&*json, Format::Json)] {
        for at in (0..text.len()).step_by(17).filter(|at| text.is_char_boundary(*at)) {
            read(&text[..at], format);
            for other in ["[", "}", "7", "~", "\"", "é"] {
                read(&format!("{}{other}{}", &text[..at], &text[at + 1..]), format);
            }
        }
    }
}

#[test]
fn positions_fall_back_to_the_nearest_ancestor() {
    let read = read("a/b:\n  - c: 1\n    d: {}", Format::Yaml);
    let find = |pointer| read.positions.find(pointer);
    assert_eq!(find(""), Some((1, 1)));
    assert_eq!(find("/a~1b"), Some((1, 1)));
    assert_eq!(find("/a~1b/0"), Some((2, 5)));
    assert_eq!(find("/a~1b/0/c"), Some((2, 8)));
    assert_eq!(find("/a~1b/0/d/x/y"), Some((3, 5)));
    let mut diagnostic = Diagnostic::error("E102", "/a~1b/0/c", "no");
    read.positions.place(&mut diagnostic);
    assert_eq!(diagnostic.to_string(), "2:8: E102 no (at /a~1b/0/c)");
    assert_eq!(Positions::default().find("/a"), None);
}

#[test]
fn the_format_follows_the_name_of_the_file() {
    assert_eq!(Format::of_path(Path::new("a/b.JSON")), Format::Json);
    assert_eq!(Format::of_path(Path::new("b.yml")), Format::Yaml);
    assert_eq!(Format::of_path(Path::new("json")), Format::Yaml);
}
