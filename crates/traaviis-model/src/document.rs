//! Reads workflow documents: YAML or JSON text in, a typed [`Definition`] or findings out.
//!
//! Text becomes a [`tree`] with places, the tree becomes a definition, and everything wrong on the
//! way is collected with its JSON pointer, line, column and, where we know one, a hint. What needs
//! other parts of the document to judge (targets, declared events, expressions) is left to the
//! engine's compiler, which places its own findings through [`Positions`].
//!
//! Invariants: a definition is returned only when no finding is an error; reading back
//! [`Definition::document`] gives the same definition and hash; no input, however hostile, takes
//! more memory or stack than the document limits allow.

pub mod tree;

mod json;
mod yaml;

pub mod canonical;
mod read;

use std::path::Path;

use crate::{
    definition::Definition,
    diagnostic::{Diagnostic, Severity},
    limits::{DOCUMENT_BYTES_MAX, DOCUMENT_NODES_MAX},
    value::Value,
};

pub use canonical::{canonical, definition_hash};
pub use read::Form as ChildForm;
pub use read::{
    KindFacts, ParamUse, child_form, effect_kinds, is_event_name, is_name, nearest, param_use,
};
use tree::{Node, NodeKind, place_of};

/// The JSON Schema (2020-12) of workflow documents, for editors.
pub const WORKFLOW_SCHEMA: &str = include_str!("../../../schemas/workflow-1.json");

/// How a document is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// YAML 1.2, core schema.
    Yaml,
    /// JSON, RFC 8259.
    Json,
}

impl Format {
    /// Returns the format of a file by its name: `.json` is JSON, everything else YAML.
    pub fn of_path(path: &Path) -> Format {
        match path.extension() {
            Some(extension) if extension.eq_ignore_ascii_case("json") => Format::Json,
            _ => Format::Yaml,
        }
    }
}

/// What reading a document gave.
#[derive(Debug)]
pub struct Read {
    /// The definition; absent when a finding is an error.
    pub definition: Option<Definition>,
    /// All findings, in the order of the text.
    pub diagnostics: Vec<Diagnostic>,
    /// Where the parts of the document stand.
    pub positions: Positions,
}

impl Read {
    /// Returns what is told about a document that cannot be used.
    pub fn refused(node: Node, files: Vec<String>, mut diagnostics: Vec<Diagnostic>) -> Read {
        diagnostics.sort_by(|a, b| (&a.file, a.line, a.column).cmp(&(&b.file, b.line, b.column)));
        let positions = Positions { root: Some(node), files };
        Read { definition: None, diagnostics, positions }
    }
}

/// Where the parts of a document stand in its text.
#[derive(Clone, Debug, Default)]
pub struct Positions {
    // The tree itself: a table of all pointers would be far larger than the document.
    root: Option<Node>,
    // Names of what was merged into it, by `Node::file` without the document itself.
    files: Vec<String>,
}

impl Positions {
    /// Returns line and column of a JSON pointer, or of its nearest existing ancestor.
    pub fn find(&self, pointer: &str) -> Option<(u32, u32)> {
        self.walk(pointer).map(|(place, _)| place)
    }

    /// Returns the file of a JSON pointer, when it is not the document itself.
    pub fn file(&self, pointer: &str) -> Option<&str> {
        self.walk(pointer).and_then(|(_, file)| file).map(String::as_str)
    }

    /// Returns the place of a pointer, and the file when it is not the document itself.
    fn walk(&self, pointer: &str) -> Option<((u32, u32), Option<&String>)> {
        let mut node = self.root.as_ref()?;
        let mut place = (node.line, node.column);
        for segment in pointer.split('/').skip(1) {
            let segment = segment.replace("~1", "/").replace("~0", "~");
            let child = match &node.kind {
                NodeKind::List(items) => segment
                    .parse::<usize>()
                    .ok()
                    .and_then(|at| items.get(at))
                    .map(|item| (None, item)),
                _ => node.entry(&segment).map(|(key, item)| (Some(key), item)),
            };
            let Some((key, child)) = child else { break };
            place = place_of(key, child);
            node = child;
        }
        let file = usize::from(node.file).checked_sub(1).and_then(|at| self.files.get(at));
        Some((place, file))
    }

    /// Gives a finding its file, line and column, unless it has them.
    pub fn place(&self, diagnostic: &mut Diagnostic) {
        let Some(((line, column), file)) = self.walk(&diagnostic.path) else { return };
        if diagnostic.line.is_none() {
            (diagnostic.line, diagnostic.column) = (Some(line), Some(column));
        }
        if diagnostic.file.is_none() {
            diagnostic.file = file.cloned();
        }
    }
}

/// Reads a document as a person or program wrote it.
pub fn read(text: &str, format: Format) -> Read {
    if text.len() > DOCUMENT_BYTES_MAX {
        return refuse(text.len(), DOCUMENT_BYTES_MAX);
    }
    finish(parse(text, format))
}

fn parse(text: &str, format: Format) -> Parsed {
    match format {
        Format::Yaml => yaml::parse(text),
        Format::Json => json::parse(text),
    }
}

/// Reads a document as it comes back from a store: the text in [`Definition::document`].
///
/// Its JSON may be longer than the YAML it came from, so only the stored size is bounded. A map is
/// read too, but has lost the order of its states.
pub fn read_value(document: &Value) -> Read {
    // A value of JSON written from n bytes of YAML is largest for control
    // characters, one byte that becomes six, repeated by aliases.
    const STORED_BYTES_MAX: usize = 6 * DOCUMENT_BYTES_MAX + 8 * DOCUMENT_NODES_MAX;
    match document {
        Value::String(text) if text.len() > STORED_BYTES_MAX => {
            refuse(text.len(), STORED_BYTES_MAX)
        }
        Value::String(text) => finish(json::parse(text)),
        _ => finish(json::parse(&document.to_json())),
    }
}

/// Reads any YAML or JSON of ours into a tree with positions, such as a connectors file.
pub fn read_tree(text: &str, format: Format) -> Result<Node, Vec<Diagnostic>> {
    if text.len() > DOCUMENT_BYTES_MAX {
        return Err(refuse(text.len(), DOCUMENT_BYTES_MAX).diagnostics);
    }
    let parsed = parse(text, format);
    match parsed.node {
        Some(node) if parsed.diagnostics.is_empty() => Ok(node),
        _ => Err(parsed.diagnostics),
    }
}

/// What a format's reader hands on: the tree if there is one, and its own findings.
pub(crate) struct Parsed {
    pub(crate) node: Option<Node>,
    pub(crate) diagnostics: Vec<Diagnostic>,
}

fn refuse(bytes: usize, bytes_max: usize) -> Read {
    let message = format!("the document has {bytes} bytes; at most {bytes_max} are allowed");
    let diagnostics = vec![Diagnostic::error("E160", "", message)];
    Read { definition: None, diagnostics, positions: Positions::default() }
}

fn finish(parsed: Parsed) -> Read {
    let Parsed { node, mut diagnostics } = parsed;
    let Some(node) = node else {
        return Read { definition: None, diagnostics, positions: Positions::default() };
    };
    let mut read = read_merged(node, Vec::new());
    diagnostics.append(&mut read.diagnostics);
    diagnostics.sort_by_key(|it| (it.line, it.column));
    if diagnostics.iter().any(|it| it.severity == Severity::Error) {
        read.definition = None;
    }
    Read { diagnostics, ..read }
}

/// Returns what is wrong with the form of a component whose parameters have their values.
pub fn check_written(root: &Node) -> Vec<Diagnostic> {
    read::written(root)
}

/// Returns what is wrong with how a document uses components, or is one; the rest is read when they
/// are merged, because their parameters may stand anywhere.
pub fn check_uses(root: &Node) -> Vec<Diagnostic> {
    read::uses(root)
}

/// Reads a document into which its components are merged; `files` names theirs, in the order of
/// [`Node::file`] from 1.
pub fn read_merged(node: Node, files: Vec<String>) -> Read {
    let (mut definition, mut diagnostics) = read::definition(&node);
    if let Some(definition) = &definition {
        diagnostics.retain(|it| {
            it.severity == Severity::Error || definition.waivers.reason(it.code, &it.path).is_none()
        });
    }
    let positions = Positions { root: Some(node), files };
    diagnostics.iter_mut().for_each(|it| positions.place(it));
    diagnostics.sort_by(|a, b| (&a.file, a.line, a.column).cmp(&(&b.file, b.line, b.column)));
    if diagnostics.iter().any(|it| it.severity == Severity::Error) {
        definition = None;
    }
    Read { definition, diagnostics, positions }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::definition::{ActionKind, Children, OnUnknown, StateKind};

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

    const HEAD: &str = "traaviis: \"1\"\nname: W\nversion: 1.0.0\n";

    fn lines(read: &Read) -> String {
        let lines: Vec<String> = read.diagnostics.iter().map(|it| it.to_string()).collect();
        lines.join("\n")
    }

    /// Checks the findings of a whole YAML document.
    fn check(text: &str, expected: &str) {
        let read = read(text, Format::Yaml);
        assert_eq!(lines(&read), expected, "{text}");
        let has_error = read.diagnostics.iter().any(|it| it.severity == Severity::Error);
        assert_eq!(read.definition.is_none(), has_error, "{text}");
    }

    /// Checks the findings of a document that starts with a good head; the first line is line 4.
    fn check_rest(rest: &str, expected: &str) {
        check(&format!("{HEAD}{rest}"), expected);
    }

    /// Checks the findings of one state `s`, written in flow form; its text starts at 5:14.
    fn check_state(state: &str, expected: &str) {
        check_rest(&format!("initial: s\nstates: {{s: {state}}}"), expected);
    }

    /// Checks the findings of one effect; its text starts at 5:41.
    fn check_effect(effect: &str, expected: &str) {
        check_state(&format!("{{invoke: [{{id: run, effect: {effect}}}]}}"), expected);
    }

    fn good(text: &str) -> Definition {
        let read = read(text, Format::Yaml);
        assert_eq!(lines(&read), "", "{text}");
        read.definition.unwrap()
    }

    fn good_effect(effect: &str) -> crate::definition::Effect {
        let text =
            format!("{HEAD}initial: s\nstates: {{s: {{invoke: [{{id: run, effect: {effect}}}]}}}}");
        good(&text).states[0].invoke[0].effect.clone()
    }

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
        let StateKind::Compound { initial, states, .. } = &definition.states[0].kind else {
            panic!()
        };
        assert_eq!(&*initial[0], "closed");
        let names: Vec<&str> = states.iter().map(|it| &*it.name).collect();
        assert_eq!(names, ["closed", "opening", "open", "closing"]);
        assert_eq!(states[3].after[0].delay, Value::from("5s"));
        assert_eq!(states[2].after[0].delay, Value::from("${data.delay}"));
        let ActionKind::Raise { event, .. } = &states[2].after[0].candidates[0].actions[0].kind
        else {
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
        assert_eq!(
            hash("layout: {s: [1, 2]}\nx-note: 1\nstates: {s: {on: {a: s}, x-y: 2}}"),
            plain
        );
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
    fn the_head_is_checked() {
        check(
            "a: [",
            "2:1: E101 the YAML does not parse: while parsing a node, did not find expected node content",
        );
        check("[]", "1:1: E101 the document must be a workflow written as a map, found a list");
        check(
            "traaviis: 1\nname: 1st\nversion: 1.0\ninitial: s\nstates: {s: {}}",
            "1:11: E101 `traaviis` must be text, found a number (at /traaviis); write it in quotes: \"1\"\n\
             2:7: E109 `1st` is not a name for a workflow (at /name); use a letter, then letters, digits, `_` and `-`; at most 63\n\
             3:10: E101 `version` must be a version, found a number (at /version); write three numbers, such as 1.0.0",
        );
        check(
            "traaviis: \"2\"\nversion: 1\nstats: {}",
            "1:1: E101 `name` is missing in the workflow\n\
             1:1: E101 `states` is missing in the workflow\n\
             1:1: E103 `initial` is missing in the workflow\n\
             1:11: E101 `traaviis` is `2`; this release reads format `1` (at /traaviis)\n\
             2:10: E101 `version` must be a version, found a number (at /version); write three numbers, such as 1.0.0\n\
             3:1: E101 unknown key `stats` in a workflow (at /stats); did you mean `states`?",
        );
        check_rest(
            "initial: []\nstates: {s: {}}",
            "4:1: E103 `initial` is empty in the workflow (at /initial)",
        );
        check_rest(
            "states: {s: {}}",
            "1:1: E103 `initial` is missing in the workflow; for example `initial: s`",
        );
        check_rest(
            "initial: s\nstates: {}",
            "5:1: E101 `states` is empty (at /states); a workflow needs a state",
        );
        check_rest(
            "initial: s\nstates: {s: {}}\ninput: {schema: 5, exmples: []}\ndata: {initial: []}\nerrors: {unhandled: incidnt}\nunhandled: drop\ncorrelation: {unique: yes}",
            "6:17: E101 `schema` must be a JSON Schema, found a number (at /input/schema)\n\
             6:20: E101 unknown key `exmples` in `input` (at /input/exmples); did you mean `examples`?\n\
             7:8: E101 `initial` must be a map or a template, found a list (at /data/initial)\n\
             8:21: E101 `unhandled` must be one of `fail`, `incident`, `ignore`, not `incidnt` (at /errors/unhandled); did you mean `incident`?\n\
             9:12: E101 `unhandled` must be one of `reject`, `ignore`, `defer`, not `drop` (at /unhandled)\n\
             10:1: E101 `key` is missing in `correlation` (at /correlation)\n\
             10:23: E101 `unique` must be true or false, found text (at /correlation/unique)",
        );
    }

    #[test]
    fn what_is_not_available_is_said() {
        check_rest(
            "initial: s\nstates: {s: {}}\nretention: {payloads: 30d}",
            "6:13: W190 feature_unavailable: `payloads` is kept but not applied in this release (at /retention/payloads)",
        );
        check_effect(
            "{type: value, value: 1, redact: {}}",
            "5:65: E190 feature_unavailable: `redact of value` is part of the language but not available in this release (at /states/s/invoke/0/effect/redact)",
        );
    }

    #[test]
    fn personal_data_is_named_by_type_and_place() {
        check_rest(
            "initial: s\nstates: {s: {}}\nplugins: [{use: redaction, with: {mode: block, types: [EMAIL, IBAN], fields: [/a/b]}, phase: before}]\nevents: {a: {pii: {/mail: EMAIL, /note: auto}}}",
            "",
        );
        check_effect("{type: call, function: f, redact: {in: mask, out: none}}", "");
        check_effect("{type: call, function: f, redact: {in: tokenise, out: hash}}", "");
        check_rest(
            "initial: s\nstates: {s: {}}\nplugins: [{use: redaction, with: {mode: tokenise}}]",
            "",
        );
        for (rest, finding) in [
            (
                "plugins: [{use: redaction, phase: after}]",
                "6:35: E101 `redaction` has the phase `before`: what is taken is redacted (at /plugins/0/phase); leave out `phase`",
            ),
            (
                "plugins: [{use: redaction, with: {fields: [mail]}}]",
                "6:44: E101 `mail` is no JSON pointer into the payload (at /plugins/0/with/fields/0); write it as `/customer/email`",
            ),
            (
                "events: {a: {pii: {/: auto}}}",
                "6:20: E101 `/` is no JSON pointer into the payload (at /events/a/pii/~1); write it as `/customer/email`",
            ),
        ] {
            check_rest(&format!("initial: s\nstates: {{s: {{}}}}\n{rest}"), finding);
        }
        let fields = vec!["/a"; crate::limits::PII_FIELDS_MAX + 1].join(", ");
        check_rest(
            &format!(
                "initial: s\nstates: {{s: {{}}}}\nplugins: [{{use: redaction, with: {{fields: [{fields}]}}}}]"
            ),
            "6:35: E160 101 fields; at most 100 are allowed (at /plugins/0/with/fields)",
        );
    }

    #[test]
    fn permissions_list_names_and_patterns() {
        check_rest(
            "initial: s\nstates: {s: {permissions: {hosts: [], tools: ['mcp:crm/*']}}}\npermissions: {models: ['openai/gpt-*'], hosts: [api.example.com], secrets: [key], workflows: [Billing], approve_untrusted: true}",
            "6:105: W190 feature_unavailable: `approve_untrusted` is kept but not applied in this release (at /permissions/approve_untrusted)",
        );
        for (permissions, finding) in [
            (
                "{host: []}",
                "6:15: E101 unknown key `host` in `permissions` (at /permissions/host); did you mean `hosts`?",
            ),
            ("{hosts: a}", "6:22: E101 `hosts` must be a list, found text (at /permissions/hosts)"),
            (
                "{hosts: ['https://a/']}",
                "6:23: E101 `https://a/` is not a host (at /permissions/hosts/0); write host and port without a path, such as api.example.com:443",
            ),
            (
                "{tools: ['${input.f}']}",
                "6:23: E101 item 0 of `tools` must not be computed (at /permissions/tools/0); write the name, or a pattern in which `*` stands for any characters",
            ),
            (
                "{tools: ['']}",
                "6:23: E101 item 0 of `tools` must not be empty (at /permissions/tools/0)",
            ),
        ] {
            let rest = format!("initial: s\nstates: {{s: {{}}}}\npermissions: {permissions}");
            check_rest(&rest, finding);
        }
        check_state(
            "{type: final, permissions: {}}",
            "5:27: E104 `permissions` does not belong to a final state (at /states/s/permissions); a final state ends its parent; leave it out",
        );
        let names = vec!["a"; crate::limits::GRANT_NAMES_MAX + 1].join(", ");
        check_rest(
            &format!("initial: s\nstates: {{s: {{}}}}\npermissions: {{tools: [{names}]}}"),
            "6:15: E160 201 names; at most 200 are allowed (at /permissions/tools)",
        );
    }

    #[test]
    fn plugins_are_checked_by_name() {
        check_rest(
            "initial: s\nstates: {s: {}}\nevents: {a: {}}\nplugins:\n- {use: logger, with: {level: debug, include_data: true}}\n- {use: audit, with: {events: [a]}, phase: after}\n- {use: metrics, with: {labels: {team: ops}}}",
            "",
        );
        for (plugin, finding) in [
            (
                "{use: loger}",
                "6:17: E101 there is no plugin `loger` (at /plugins/0/use); did you mean `logger`?",
            ),
            (
                "{use: logger, with: {level: loud}}",
                "6:39: E101 `level` must be one of `debug`, `info`, `warn`, `error`, not `loud` (at /plugins/0/with/level)",
            ),
            (
                "{use: logger}, {use: logger}",
                "6:32: E107 the plugin `logger` stands twice (at /plugins/1/use)",
            ),
            (
                "{use: audit, phase: before}",
                "6:24: E190 feature_unavailable: `phase: before` is part of the language but not available in this release (at /plugins/0/phase)",
            ),
            (
                "{use: metrics, with: {labels: {state: x}}}",
                "6:42: E109 `state` is not a name for a label (at /plugins/0/with/labels/state); use a letter or `_`, then letters, digits and `_`; `workflow`, `from`, `to`, `event`, `state`, `status` are taken",
            ),
            (
                "{use: metrics, with: {labels: {team: '${data.x}'}}}",
                "6:48: E101 `team` must be text of 1 to 64 characters without an expression (at /plugins/0/with/labels/team)",
            ),
            (
                "{use: metrics, with: {labels: {a: 1, b: 1, c: 1, d: 1, e: 1}}}",
                "6:33: E160 5 labels of a plugin; at most 4 are allowed (at /plugins/0/with/labels)",
            ),
        ] {
            check_rest(&format!("initial: s\nstates: {{s: {{}}}}\nplugins: [{plugin}]"), finding);
        }
    }

    #[test]
    fn budgets_name_limits_that_can_be_kept() {
        check_rest(
            "initial: s\nstates: {s: {budgets: {calls: 2, on_exceeded: pause}}}\nbudgets: {calls: 3, wall_time: 1h30m}",
            "",
        );
        check_rest("initial: s\nstates: {s: {}}\nbudgets: {usd: \"0.50\", tokens: 100}", "");
        for (budgets, finding) in [
            (
                "{}",
                "6:1: E101 `budgets` names no limit (at /budgets); for example `calls: 10` or `wall_time: 5m`",
            ),
            (
                "{on_exceeded: fail}",
                "6:1: E101 `budgets` names no limit (at /budgets); for example `calls: 10` or `wall_time: 5m`",
            ),
            (
                "{calls: 0}",
                "6:18: E101 `calls` must be a whole number from 1 to 1000000000000, not `0` (at /budgets/calls)",
            ),
            (
                "{calls: 1.5}",
                "6:18: E101 `calls` must be a whole number from 1 to 1000000000000, not `1.5` (at /budgets/calls)",
            ),
            (
                "{usd: 0}",
                "6:16: E101 `usd` must be dollars with at most 6 decimals, such as 0.50, not `0` (at /budgets/usd)",
            ),
            (
                "{usd: 0.5000001}",
                "6:16: E101 `usd` must be dollars with at most 6 decimals, such as 0.50, not `0.5000001` (at /budgets/usd)",
            ),
            (
                "{wall_time: 0s}",
                "6:22: E101 `wall_time` must be a time without an expression, such as 30s or 5m, not `0s` (at /budgets/wall_time)",
            ),
            (
                "{wall_time: '${input.t}'}",
                "6:22: E101 `wall_time` must be a time without an expression, such as 30s or 5m, not `${input.t}` (at /budgets/wall_time)",
            ),
            (
                "{calls: 1, on_exceeded: stop}",
                "6:34: E101 `on_exceeded` must be one of `event`, `fail`, `pause`, not `stop` (at /budgets/on_exceeded)",
            ),
            (
                "{call: 1}",
                "6:1: E101 `budgets` names no limit (at /budgets); for example `calls: 10` or `wall_time: 5m`\n6:11: E101 unknown key `call` in `budgets` (at /budgets/call); did you mean `calls`?",
            ),
        ] {
            check_rest(&format!("initial: s\nstates: {{s: {{}}}}\nbudgets: {budgets}"), finding);
        }
        check_state(
            "{type: final, budgets: {calls: 1}}",
            "5:27: E104 `budgets` does not belong to a final state (at /states/s/budgets); a final state ends its parent; leave it out",
        );
    }

    #[test]
    fn priorities_are_written_out_and_small() {
        check_effect("{type: call, function: f, priority: -10}", "");
        check_rest("initial: s\nstates: {s: {}}\ndefaults: {priority: 10}", "");
        for (priority, found) in
            [("11", "`11`"), ("-11", "`-11`"), ("1.5", "`1.5`"), ("high", "text")]
        {
            check_rest(
                &format!("initial: s\nstates: {{s: {{}}}}\ndefaults: {{priority: {priority}}}"),
                &format!(
                    "6:22: E101 `priority` must be a whole number from -10 to 10, found {found} (at /defaults/priority)"
                ),
            );
        }
        check_effect(
            "{type: value, value: 1, priority: 300}",
            "5:75: E140 `priority` must be a whole number from -10 to 10, found `300` (at /states/s/invoke/0/effect/priority)",
        );
    }

    #[test]
    fn states_have_only_what_their_type_takes() {
        check_state(
            "{type: final, on: {a: s}}",
            "5:27: E104 `on` does not belong to a final state (at /states/s/on); a final state ends its parent; leave it out",
        );
        check_state(
            "{status: failed}",
            "5:14: E101 `status` does not belong to a state without children (at /states/s/status); add `type: final`",
        );
        check_state(
            "{type: atomic}",
            "5:20: E101 `type` must not be `atomic` (at /states/s/type); leave `type` out; it follows from `states`",
        );
        check_state(
            "{type: finl}",
            "5:20: E101 `type` must be one of `parallel`, `final`, `history`, not `finl` (at /states/s/type); did you mean `final`?",
        );
        check_state(
            "{type: parallel, initial: a}",
            "5:10: E101 `states` is missing in parallel state `s` (at /states/s)\n5:30: E101 `initial` does not belong to a parallel state (at /states/s/initial)",
        );
        check_state(
            "{type: history}",
            "5:10: E101 `target` is missing in history state `s` (at /states/s)",
        );
        check_state(
            "{states: {a: {}}}",
            "5:10: E103 `initial` is missing in state `s` (at /states/s); for example `initial: a`",
        );
        check_state(
            "{on_done: s}",
            "5:14: E101 unknown key `on_done` in a state (at /states/s/on_done); did you mean `onDone`?",
        );
        check_state(
            "7",
            "5:13: E101 `s` must be a state written as a map, found a number (at /states/s)",
        );
        check_rest(
            "initial: s\nstates: {s: {}, 2nd: {}}",
            "5:17: E109 `2nd` is not a name for a state (at /states/2nd); use a letter or `_`, then letters, digits, `_` and `-`",
        );
    }

    #[test]
    fn candidates_and_timers_have_their_forms() {
        check_state(
            "{on: {a: {tagret: s}}}",
            "5:23: E101 unknown key `tagret` in a candidate (at /states/s/on/a/tagret); did you mean `target`?",
        );
        check_state(
            "{on: {a: }, always: [5]}",
            "5:19: E101 `a` must be a state name or a candidate such as `{target: STATE}`, found nothing (at /states/s/on/a)\n5:34: E101 item 0 of `always` must be a state name or a candidate such as `{target: STATE}`, found a number (at /states/s/always/0)",
        );
        check_state(
            "{on: {a: {target: [], guard: 5}}}",
            "5:23: E101 `target` is empty (at /states/s/on/a/target); leave `target` out for actions only\n5:42: E101 `guard` must be text, found a number (at /states/s/on/a/guard); write it in quotes: \"5\"",
        );
        check_state(
            "{after: [{target: s}]}",
            "5:22: E101 `delay` is missing in the timer (at /states/s/after/0); for example `{delay: 30s, target: STATE}`",
        );
        check_state(
            "{after: 5s}",
            "5:21: E101 `after` must be a map of delays or a list of candidates with `delay`, found text (at /states/s/after)",
        );
        check_state(
            "{on: {a: [{guard: true, target: [s, .t]}, {actions: []}], b.*: s, '*': s, error.*: s}, after: {5: s, 5s: {}}}",
            "",
        );
    }

    #[test]
    fn actions_have_one_kind() {
        check_state(
            "{entry: [{assign: {a: 1}, log: {message: x}}]}",
            "5:22: E101 an action has one of `assign`, `merge`, `raise`, `cancel`, `log`, `emit`, \
             `choose`, `for_each`, `block` (at /states/s/entry/0); write one map for each action",
        );
        check_state(
            "{entry: {log: {message: x}}}",
            "5:14: E101 `entry` must be a list, found a map (at /states/s/entry); put the map into brackets: `[{...}]`",
        );
        check_state(
            "{entry: [{asign: {a: 1}}]}",
            "5:23: E101 unknown key `asign` in an action (at /states/s/entry/0/asign); did you mean `assign`?",
        );
        check_state(
            "{entry: [{assign: {a..b: 1}}, {assign: {a: 1, remove: [b]}}]}",
            "5:32: E101 `a..b` is not a path such as `order.items` (at /states/s/entry/0/assign/a..b)\n5:59: E101 `remove` stands beside other keys of `assign` (at /states/s/entry/1/assign/remove); write it as an action of its own: `{assign: {remove: [path]}}`",
        );
        check_state(
            "{entry: [{raise: {event: a b}}, {log: {level: loud}}]}",
            "5:38: E109 `a b` is not a name for an event (at /states/s/entry/0/raise/event); segments joined by dots; in each use a letter or `_`, then letters, digits, `_` and `-`\n5:46: E101 `message` is missing in `log` (at /states/s/entry/1/log)\n5:59: E101 `level` must be one of `debug`, `info`, `warn`, `error`, not `loud` (at /states/s/entry/1/log/level)",
        );
        let definition = good(&format!(
            "{HEAD}initial: s\nstates: {{s: {{entry: [{{assign: {{remove: [a.b]}}}}, {{assign: {{b: 1, a: 2}}, when: true}}]}}}}"
        ));
        let entry = &definition.states[0].entry;
        assert_eq!(entry[0].kind_debug(), "Remove([\"a.b\"])");
        assert_eq!(entry[1].kind_debug(), "Assign([(\"b\", Int(1)), (\"a\", Int(2))])");
        assert_eq!(entry[1].when.as_deref(), Some("true"));
    }

    trait KindDebug {
        fn kind_debug(&self) -> String;
    }
    impl KindDebug for crate::definition::Action {
        fn kind_debug(&self) -> String {
            format!("{:?}", self.kind)
        }
    }

    #[test]
    fn actions_that_hold_actions_have_their_forms() {
        let entry = |actions: &str, expected: &str| {
            check_state(&format!("{{entry: [{actions}]}}"), expected);
        };
        entry("{choose: [{when: a, actions: []}, {actions: [{merge: {}}]}]}", "");
        entry("{for_each: {in: [1], actions: [{block: [{merge: {}}]}]}}", "");
        entry("{raise: {event: '${data.name}', id: '${item}'}}", "");
        entry("{choose: []}", "5:23: E101 `choose` is empty (at /states/s/entry/0/choose)");
        entry(
            "{choose: [{actions: []}, {when: a, actions: []}]}",
            "5:47: E101 a branch without `when` stands before others, which are never taken (at /states/s/entry/0/choose/1); put it at the end",
        );
        entry(
            "{choose: [{when: a, then: []}]}",
            "5:32: E101 `actions` is missing in the branch (at /states/s/entry/0/choose/0)\n\
             5:42: E101 unknown key `then` in a branch of `choose` (at /states/s/entry/0/choose/0/then); did you mean `when`?",
        );
        entry(
            "{for_each: {in: [1], actions: [{assign: {}}]}}",
            "5:54: E101 `assign` is empty (at /states/s/entry/0/for_each/actions/0/assign)",
        );
        entry(
            "{for_each: {actions: [], index: i}}",
            "5:23: E101 `in` is missing in `for_each` (at /states/s/entry/0/for_each)\n\
             5:34: E101 `actions` is empty (at /states/s/entry/0/for_each/actions)\n\
             5:47: E101 unknown key `index` in `for_each` (at /states/s/entry/0/for_each/index); known keys: `in`, `actions`",
        );
        entry("{block: []}", "5:23: E101 `block` is empty (at /states/s/entry/0/block)");
    }

    #[test]
    fn defaults_may_have_actions() {
        let below = "states: {t: {}, h: {type: history, target: t, actions: [{merge: {}}]}}";
        check_state(&format!("{{initial: {{target: t, actions: []}}, {below}}}"), "");
        check_state(
            &format!("{{initial: {{actions: []}}, {below}}}"),
            "5:14: E101 `target` is missing in `initial` of state `s` (at /states/s/initial)",
        );
        check_state(
            &format!("{{initial: {{target: t, to: t}}, {below}}}"),
            "5:35: E101 unknown key `to` in `initial` (at /states/s/initial/to); known keys: `target`, `actions`",
        );
        check_state(
            "{actions: []}",
            "5:14: E101 `actions` does not belong to a state without children (at /states/s/actions)",
        );
        check_rest(
            "initial: {target: s}\nstates: {s: {}}",
            "4:1: E101 `initial` must be text, found a map (at /initial)",
        );
    }

    #[test]
    fn families_of_events_can_be_declared() {
        check_rest("initial: s\nevents: {order.*: {}, '*': {}}\nstates: {s: {}}", "");
        check_rest(
            "initial: s\nevents: {error.*: {}, 'o*': {}}\nstates: {s: {}}",
            "5:10: E109 the event name `error.*` is reserved (at /events/error.*); names starting with \
             `error` belong to the engine; errors of your own are raised without being declared\n\
             5:23: E109 `o*` is not a name for an event (at /events/o*); segments joined by dots; in \
             each use a letter or `_`, then letters, digits, `_` and `-`",
        );
    }

    #[test]
    fn names_of_events_and_ids_are_checked() {
        check_rest(
            "initial: s\nstates: {s: {on: {a..b: s}}}\nevents: {done.x: {}, a b: {}}\nvalidations: [{name: v, check: a, message: m}, {name: v, check: b, message: m}]",
            "5:19: E109 `a..b` is not a name for an event (at /states/s/on/a..b); segments joined by dots; in each use a letter or `_`, then letters, digits, `_` and `-`\n\
             6:10: E109 the event name `done.x` is reserved (at /events/done.x); names starting with `done` belong to the engine\n\
             6:22: E109 `a b` is not a name for an event (at /events/a b); segments joined by dots; in each use a letter or `_`, then letters, digits, `_` and `-`\n\
             7:55: E107 the validation `v` stands twice (at /validations/1/name)",
        );
        check_state(
            "{invoke: [{id: a, effect: {type: value, value: 1}}, {id: a, effect: {type: value, value: 1}}]}",
            "5:70: E107 the invoke id `a` stands twice in this state (at /states/s/invoke/1/id)",
        );
        check_effect(
            "{type: sequence, effects: [{type: value, value: 1, id: a}, {type: value, value: 1, id: a}, {type: value, value: 1, id: a/b}]}",
            "5:128: E107 the effect id `a` stands twice in this tree (at /states/s/invoke/0/effect/effects/1/id)\n5:160: E109 `a/b` is not an id for an effect (at /states/s/invoke/0/effect/effects/2/id); it must not be empty or contain `/`",
        );
        check_effect(
            "{type: saga, steps: [{id: a, action: {type: value, value: 1}}, {id: a, action: {type: value, value: 1}}]}",
            "5:109: E107 the step id `a` stands twice in this saga (at /states/s/invoke/0/effect/steps/1/id)",
        );
    }

    #[test]
    fn what_is_reserved_or_named_twice_is_refused() {
        check_state(
            "{entry: [{raise: {event: done.card}}]}",
            "5:38: E109 `done.card` cannot be raised, the name is reserved (at /states/s/entry/0/raise/event); names starting with `done` belong to the engine",
        );
        check_rest(
            "initial: s\nstates: {s: {id: one}, t: {id: one}}",
            "5:32: E107 the state id `one` stands twice (at /states/t/id)",
        );
        check_state(
            "{invoke: [{id: a, effect: {type: value, value: 1}, onProgress: s}]}",
            "5:64: W190 feature_unavailable: `onProgress` is kept but not applied in this release (at /states/s/invoke/0/onProgress)",
        );
    }

    #[test]
    fn retention_is_read_and_has_a_limit() {
        let text = |retention: &str| {
            format!("{HEAD}initial: s\nstates: {{s: {{}}}}\nretention: {retention}")
        };
        let definition = good(&text("{completed: 12h, archive: 3d}"));
        let hours = |count: i64| crate::time::Span::secs(count * 3_600);
        assert_eq!(definition.retention.completed, hours(12));
        assert_eq!(definition.retention.archive, hours(72));
        let most = crate::limits::RETENTION_MAX;
        good(&text(&format!("{{completed: {most}}}")));
        check_rest(
            &format!(
                "initial: s\nstates: {{s: {{}}}}\nretention: {{completed: {most}1s, archive: soon}}"
            ),
            "6:24: E101 `completed` must be a time without an expression, such as 30d; at most 36600d, found text (at /retention/completed)\n\
             6:43: E101 `archive` must be a time without an expression, such as 30d; at most 36600d, found text (at /retention/archive)",
        );
    }

    #[test]
    fn waivers_name_a_warning_and_a_reason() {
        let text = format!(
            "{HEAD}x-waive: {{W202: it runs for ever, W190: later}}\nretention: {{payloads: 1d}}\n\
             initial: s\nstates: {{s: {{x-waive: {{W209: a person}}}}}}"
        );
        let definition = good(&text);
        let waived = |code, pointer| definition.waivers.reason(code, pointer).map(|it| &**it);
        assert_eq!(waived("W202", "/states/s/on/a"), Some("it runs for ever"));
        assert_eq!(waived("W209", "/states/s"), Some("a person"));
        assert_eq!(waived("W209", "/states/s/on"), Some("a person"));
        assert_eq!(waived("W209", "/states/st"), None);
        assert_eq!(waived("W209", ""), None);
        let plain = good(&format!("{HEAD}initial: s\nstates: {{s: {{}}}}"));
        let same = good(&format!("{HEAD}x-waive: {{W202: so}}\ninitial: s\nstates: {{s: {{}}}}"));
        assert_eq!(plain.hash, same.hash);
        check_rest(
            "initial: s\nstates: {s: {}}\nx-waive: {W20: no, E102: no, W201: '', W209: 5, W8: x}",
            "6:11: E101 `W20` is not a warning that can be waived (at /x-waive/W20); did you mean `W201`?\n\
             6:20: E101 `E102` is not a warning that can be waived (at /x-waive/E102); errors must be repaired\n\
             6:36: E101 `W201` must not be empty (at /x-waive/W201)\n\
             6:46: E101 `W209` must be text, found a number (at /x-waive/W209); write it in quotes: \"5\"\n\
             6:49: E101 `W8` is not a warning that can be waived (at /x-waive/W8); warnings are `W190`, `W201`, `W202`, `W203`, `W204`, `W205`, `W206`, `W207`, `W208`, `W209`, `W210`, `W211`",
        );
    }

    #[test]
    fn effects_are_checked_by_the_table_of_kinds() {
        check_effect(
            "{type: cal, function: f}",
            "5:48: E140 unknown effect kind `cal` (at /states/s/invoke/0/effect/type); did you mean `call`?",
        );
        check_effect(
            "{function: f}",
            "5:33: E140 `type` is missing in the effect (at /states/s/invoke/0/effect)",
        );
        check_effect(
            "{type: call, functon: f}",
            "5:33: E140 `function` is missing in effect `call` (at /states/s/invoke/0/effect)\n5:54: E140 unknown key `functon` in effect `call` (at /states/s/invoke/0/effect/functon); did you mean `function`?",
        );
        check_effect(
            "{type: call_api, url: u, method: GOT, redirects: 99, retry: {attempts: 0}}",
            "5:74: E140 `method` must be one of `get`, `post`, `put`, `patch`, `delete`, `head`, `options`, not `GOT` (at /states/s/invoke/0/effect/method); did you mean `get`?\n5:90: E140 `redirects` of effect `call_api` must be a whole number from 0 to 20, found `99` (at /states/s/invoke/0/effect/redirects)\n5:112: E140 `attempts` must be a whole number from 1 (at /states/s/invoke/0/effect/retry/attempts); 1 means a single try",
        );
        check_effect(
            "{type: while_loop, cond: true, effect: {type: value, value: 1}}",
            "5:33: E142 `max_iterations` is missing in effect `while_loop` (at /states/s/invoke/0/effect); give a whole number from 1 to 10000",
        );
        check_effect(
            "{type: while_loop, cond: true, max_iterations: 10001, effect: {type: value, value: 1}}",
            "5:88: E142 `max_iterations` cannot be `10001` (at /states/s/invoke/0/effect/max_iterations); give a whole number from 1 to 10000",
        );
        check_effect(
            "{type: delay}",
            "5:33: E140 effect `delay` takes exactly one of `duration`, `ms`, `until` (at /states/s/invoke/0/effect)",
        );
        check_effect(
            "{type: race, effects: {a: {type: value, value: 1}}}",
            "5:54: E140 `effects` must be a list of effects, found a map (at /states/s/invoke/0/effect/effects)",
        );
        check_effect(
            "{type: parallel, effects: []}",
            "5:58: E140 `effects` is empty (at /states/s/invoke/0/effect/effects)",
        );
        check_effect(
            "{type: batch, effect: {type: value, value: 1}}",
            "5:33: E140 `items` is missing in effect `batch` (at /states/s/invoke/0/effect)",
        );
        check_effect(
            "{type: retry, retry: {}, effect: {type: value, value: 1}}",
            "5:55: E140 `retry` does not belong on effect `retry` (at /states/s/invoke/0/effect/retry); write its keys on the effect itself: `attempts`, `backoff`, ...",
        );
        check_effect(
            "{type: saga, steps: [{id: a, timeout: 1s, action: {type: value, value: 1, timeout: 2s}}]}",
            "5:70: E140 `timeout` stands on the step and on its action (at /states/s/invoke/0/effect/steps/0/timeout); keep one of them",
        );
    }

    #[test]
    fn effects_that_only_mocks_answer_are_checked_like_the_others() {
        let at = "5:48: W190 feature_unavailable: effect";
        let rest = "is checked, and tests answer it with mocks, but this release does not perform it (at /states/s/invoke/0/effect/type)";
        check_effect(
            "{type: call_llm, prompt: hi, temperature: \"${data.t}\"}",
            &format!("{at} `call_llm` {rest}"),
        );
        check_effect(
            "{type: call_llm, prompt: hi, prompt_ref: p, temperature: 3, tier: huge}",
            &format!(
                "5:33: E140 effect `call_llm` takes exactly one of `prompt`, `messages`, `prompt_ref` (at /states/s/invoke/0/effect)\n\
                 {at} `call_llm` {rest}\n\
                 5:98: E140 `temperature` of effect `call_llm` must be a number from 0 to 2 or a template, found `3` (at /states/s/invoke/0/effect/temperature)\n\
                 5:107: E140 `tier` must be one of `small`, `medium`, `large`, not `huge` (at /states/s/invoke/0/effect/tier)"
            ),
        );
        check_effect(
            "{type: coordinate_agents, agents: [{id: a, role: r, task: t}, {id: a, rôle: r, task: t}]}",
            &format!(
                "{at} `coordinate_agents` {rest}\n\
                 5:103: E140 `role` is missing in the agent (at /states/s/invoke/0/effect/agents/1)\n\
                 5:108: E107 another agent has this id already (at /states/s/invoke/0/effect/agents/1/id)\n\
                 5:111: E140 unknown key `rôle` in an agent (at /states/s/invoke/0/effect/agents/1/rôle); did you mean `role`?"
            ),
        );
    }

    #[test]
    fn effects_read_into_params_and_children() {
        let effect = good_effect(
            "{type: retry, attempts: 5, on: [timeout], effect: {type: call_api, url: u, method: POST, save: a.b}}",
        );
        let policy = effect.retry.as_ref().unwrap();
        assert_eq!((policy.attempts, &*policy.on[0]), (5, "timeout"));
        let [(_, Children::One(child))] = effect.children.as_slice() else { panic!() };
        assert_eq!(
            format!("{:?}", child.params),
            r#"[("url", String("u")), ("method", String("post"))]"#
        );
        let effect = good_effect(
            "{type: batch, items: \"${data.l}\", concurrency: 3, effect: {type: delay, ms: 5}}",
        );
        assert_eq!(
            format!("{:?}", effect.params),
            r#"[("items", String("${data.l}")), ("concurrency", Int(3))]"#
        );
        let [(_, Children::One(child))] = effect.children.as_slice() else { panic!() };
        assert_eq!(format!("{:?}", child.params), r#"[("duration", Int(5))]"#);
        let effect = good_effect(
            "{type: case_condition, value: 1, cases: [{when: 1, effect: {type: value, value: null}}], default: {type: sequence, effects: {z: {type: transform, expr: 1}, a: {type: get_result}}}}",
        );
        let [(_, Children::Cases(cases)), (_, Children::One(default))] = effect.children.as_slice()
        else {
            panic!()
        };
        assert_eq!((cases.len(), &cases[0].0), (1, &Value::Int(1)));
        let [(_, Children::Map(effects))] = default.children.as_slice() else { panic!() };
        assert_eq!((&*effects[0].0, &*effects[1].0), ("z", "a"));
        let effect = good_effect(
            "{type: with_compensation, action: {type: value, value: 1, compensation: {type: get_result}}, compensation: {type: get_result}}",
        );
        assert!(effect.compensation.is_none());
        let [(_, Children::One(action)), (role, _)] = effect.children.as_slice() else { panic!() };
        assert!(action.compensation.is_some());
        assert_eq!(&**role, "compensation");
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
        check(
            &"#".repeat(2 << 20),
            "E160 the document has 2097152 bytes; at most 1048576 are allowed",
        );
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
    fn no_document_can_forge_a_secret() {
        check_rest(
            "initial: s\nstates: {s: {}}\ndata: {initial: {key: {$secret: stripe}}}",
            "6:24: E101 the key `$secret` is reserved (at /data/initial/key/$secret); write `${secret(\"NAME\")}` in a field that takes secrets",
        );
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
}
