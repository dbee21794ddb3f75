//! Findings of what a workflow says of itself: its head, permissions, plugins, budgets, waivers.

use super::{HEAD, check, check_effect, check_rest, check_state, good};

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
    for (priority, found) in [("11", "`11`"), ("-11", "`-11`"), ("1.5", "`1.5`"), ("high", "text")]
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
fn retention_is_read_and_has_a_limit() {
    let text =
        |retention: &str| format!("{HEAD}initial: s\nstates: {{s: {{}}}}\nretention: {retention}");
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
fn no_document_can_forge_a_secret() {
    check_rest(
        "initial: s\nstates: {s: {}}\ndata: {initial: {key: {$secret: stripe}}}",
        "6:24: E101 the key `$secret` is reserved (at /data/initial/key/$secret); write `${secret(\"NAME\")}` in a field that takes secrets",
    );
}
