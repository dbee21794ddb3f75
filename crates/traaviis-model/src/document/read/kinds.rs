//! The table of effect kinds: parameters, their shapes, and the children of each.
//!
//! A new kind is one entry here, one compiled kind in the engine, and one branch in the schema.

mod mocked;

use crate::limits::{
    BATCH_ITEMS_MAX, BREAKER_FAILURES_MAX, LOOP_ITERATIONS_MAX, RATE_REQUESTS_MAX,
    RUNNING_EFFECTS_MAX, SIGNALS_MAX, TASK_QUORUM_MAX,
};

/// A kind of effect.
pub(super) struct Kind {
    pub(super) name: &'static str,
    pub(super) params: &'static [Param],
    pub(super) roles: &'static [Role],
}

/// A parameter that is no effect.
pub(super) struct Param {
    pub(super) name: &'static str,
    pub(super) shape: Shape,
    pub(super) need: Need,
}

/// Child effects under one key.
pub(super) struct Role {
    pub(super) name: &'static str,
    pub(super) form: Form,
    pub(super) need: Need,
}

/// Whether a key must be there.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Need {
    Must,
    May,
}
use Need::{May, Must};

/// What may stand at a parameter; where templates are allowed, text with `${` fits as well.
#[derive(Clone, Copy)]
pub(super) enum Shape {
    /// Any value; a template.
    Any,
    /// A CEL expression.
    Cel,
    /// Text; a template.
    Text,
    /// A dotted path in `data`; a template.
    Path,
    /// A duration; a template.
    Duration,
    /// A map; a template.
    Map,
    /// A list; a template.
    List,
    /// A list of texts.
    Texts,
    /// True or false.
    Flag,
    /// A whole number in a range, written out.
    Count(u64, u64),
    /// A number in a range; a template.
    Amount(f64, f64),
    /// One of a few words.
    Word(&'static [&'static str]),
    /// One of a few words in any case, read as lower case; a template.
    Method(&'static [&'static str]),
    /// The name of an event.
    Event,
    /// When people are told of a task again.
    Reminders,
    /// When more people are asked, and whom.
    Escalation,
    /// Part of the language that this release does not carry out.
    Later,
}
use Shape::{
    Amount, Any, Cel, Count, Duration, Escalation, Event, Flag, Later, List, Map, Method, Path,
    Reminders, Text, Texts, Word,
};

/// How child effects are written.
#[derive(Clone, Copy, PartialEq)]
pub enum Form {
    /// One effect.
    One,
    /// A list.
    List,
    /// A list, or a map by name.
    ListOrMap,
    /// A list of steps, each with `action` and `compensation`.
    Saga,
    /// A list of cases, each with `when` and `effect`.
    Cases,
}

/// What the value of a parameter says, for whoever rewrites documents.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum ParamUse {
    /// A CEL expression.
    Cel,
    /// A dotted path in `data`, or a template of one.
    Path,
    /// The name of an event, or a list of them.
    Event,
    /// Any value; texts in it are templates.
    Value,
}

/// Returns what a key of an effect of this kind says, common keys included.
pub fn param_use(kind: &str, key: &str) -> ParamUse {
    let known = KINDS.iter().chain(MOCKED).find(|it| it.name == kind);
    let param = known.and_then(|it| it.params.iter().find(|it| it.name == key));
    match (key, param.map(|it| it.shape)) {
        ("events", Some(Texts)) if kind == "wait_signal" => ParamUse::Event,
        ("when", None) | (_, Some(Cel)) => ParamUse::Cel,
        ("save", None) | (_, Some(Path)) => ParamUse::Path,
        (_, Some(Event)) => ParamUse::Event,
        _ => ParamUse::Value,
    }
}

/// Returns how the effects under a key are written; none where the key holds none.
pub fn child_form(kind: &str, key: &str) -> Option<Form> {
    let known = KINDS.iter().chain(MOCKED).find(|it| it.name == kind);
    let role = known.and_then(|it| it.roles.iter().find(|it| it.name == key));
    match (key, role) {
        (_, Some(role)) => Some(role.form),
        ("compensation", None) => Some(Form::One),
        _ => None,
    }
}

/// A kind of effect, for whoever lists them.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct KindFacts {
    /// Name.
    pub kind: &'static str,
    /// Parameters that must be there.
    pub required: Vec<&'static str>,
    /// Parameters that may be there, without the common ones.
    pub optional: Vec<&'static str>,
    /// Keys that hold other effects.
    pub children: Vec<&'static str>,
    /// This release carries it out; others are checked, and answered by mocks in tests.
    pub is_performed: bool,
}

/// Returns every kind of effect that a document may have, by name.
pub fn effect_kinds() -> Vec<KindFacts> {
    let performed = KINDS.iter().map(|it| (it, true));
    let all = performed.chain(MOCKED.iter().map(|it| (it, false)));
    let mut facts: Vec<KindFacts> = all
        .map(|(kind, is_performed)| {
            let shown = || kind.params.iter().filter(|it| !matches!(it.shape, Later));
            let of = |need| shown().filter(move |it| it.need == need).map(|it| it.name).collect();
            KindFacts {
                kind: kind.name,
                required: of(Must),
                optional: of(May),
                children: kind.roles.iter().map(|it| it.name).collect(),
                is_performed,
            }
        })
        .collect();
    facts.sort_by_key(|it| it.kind);
    facts
}

const fn param(name: &'static str, shape: Shape, need: Need) -> Param {
    Param { name, shape, need }
}

const fn role(name: &'static str, form: Form, need: Need) -> Role {
    Role { name, form, need }
}

const RATE_LIMIT: &[Param] = &[
    param("key", Text, Must),
    param("requests", Amount(1.0, RATE_REQUESTS_MAX as f64), Must),
    param("window", Duration, Must),
    param("algorithm", Word(&["token_bucket", "sliding_window", "fixed_window"]), May),
    param("burst_limit", Amount(1.0, RATE_REQUESTS_MAX as f64), May),
    param("on_limit", Word(&["wait", "fail"]), May),
];

const CACHE: &[Param] = &[
    param("key", Text, Must),
    param("ttl", Duration, May),
    param("namespace", Text, May),
    param("invalidate_on", Texts, May),
];

/// Common keys that put an effect behind a gate, the innermost first.
pub(super) const GATES: &[Kind] = &[
    Kind { name: "rate_limit", params: RATE_LIMIT, roles: &[] },
    Kind {
        name: "concurrency",
        params: &[
            param("key", Text, Must),
            param("limit", Amount(1.0, RUNNING_EFFECTS_MAX as f64), Must),
            param("scope", Word(&["workflow", "tenant"]), May),
        ],
        roles: &[],
    },
    Kind { name: "cache", params: CACHE, roles: &[] },
];
pub(super) use mocked::MOCKED;

/// Every kind that can be carried out.
pub(super) const KINDS: &[Kind] = &[
    Kind {
        name: "sequence",
        params: &[param("returns", Word(&["all", "last"]), May)],
        roles: &[role("effects", Form::ListOrMap, Must)],
    },
    Kind {
        name: "parallel",
        params: &[param("max", Count(1, BATCH_ITEMS_MAX as u64), May)],
        roles: &[role("effects", Form::ListOrMap, Must)],
    },
    Kind { name: "race", params: &[], roles: &[role("effects", Form::List, Must)] },
    Kind {
        name: "fallback",
        params: &[param("on", Texts, May)],
        roles: &[role("effects", Form::List, Must)],
    },
    // The keys of `retry` stand on the node itself and become its policy.
    Kind { name: "retry", params: &[], roles: &[role("effect", Form::One, Must)] },
    Kind {
        name: "timeout",
        params: &[param("duration", Duration, May), param("ms", Duration, May)],
        roles: &[role("effect", Form::One, Must)],
    },
    Kind {
        name: "with_compensation",
        params: &[param("on_cancel", Word(&["compensate", "abandon"]), May)],
        roles: &[role("action", Form::One, Must), role("compensation", Form::One, Must)],
    },
    Kind {
        name: "saga",
        params: &[
            param("mode", Word(&["sequential", "parallel"]), May),
            param("on_cancel", Word(&["compensate", "abandon"]), May),
            param("on_compensation_error", Word(&["incident", "continue"]), May),
        ],
        roles: &[role("steps", Form::Saga, Must)],
    },
    Kind { name: "rate_limit", params: RATE_LIMIT, roles: &[role("effect", Form::One, Must)] },
    Kind {
        name: "circuit_breaker",
        params: &[
            param("name", Text, Must),
            param("failure_threshold", Amount(1.0, BREAKER_FAILURES_MAX as f64), May),
            param("window", Duration, May),
            param("recovery_timeout", Duration, May),
            param("half_open_max", Amount(1.0, BREAKER_FAILURES_MAX as f64), May),
            param("expected_errors", Texts, May),
        ],
        roles: &[role("effect", Form::One, Must)],
    },
    Kind { name: "cache", params: CACHE, roles: &[role("effect", Form::One, Must)] },
    Kind {
        name: "if_condition",
        params: &[param("cond", Cel, Must)],
        roles: &[role("then", Form::One, Must), role("else", Form::One, May)],
    },
    Kind {
        name: "case_condition",
        params: &[param("value", Any, Must)],
        roles: &[role("cases", Form::Cases, Must), role("default", Form::One, May)],
    },
    Kind {
        name: "while_loop",
        params: &[
            param("cond", Cel, Must),
            // Missing or wrong is E142 and told by the reader of effects.
            param("max_iterations", Count(1, LOOP_ITERATIONS_MAX), May),
            param("delay", Duration, May),
        ],
        roles: &[role("effect", Form::One, Must)],
    },
    Kind {
        name: "batch",
        params: &[
            param("items", List, May),
            param("concurrency", Count(1, BATCH_ITEMS_MAX as u64), May),
            param("fail_fast", Flag, May),
            param("collect_results", Flag, May),
            param("max_items", Count(1, BATCH_ITEMS_MAX as u64), May),
        ],
        roles: &[role("effect", Form::One, May), role("effects", Form::List, May)],
    },
    Kind { name: "value", params: &[param("value", Any, Must)], roles: &[] },
    Kind {
        name: "delay",
        params: &[
            param("duration", Duration, May),
            param("ms", Duration, May),
            param("until", Text, May),
        ],
        roles: &[],
    },
    Kind {
        name: "log",
        params: &[
            param("level", Word(&["debug", "info", "warn", "error"]), May),
            param("message", Any, Must),
            param("data", Any, May),
        ],
        roles: &[],
    },
    Kind {
        name: "put_data",
        params: &[param("key", Path, Must), param("value", Any, Must)],
        roles: &[],
    },
    Kind { name: "merge_data", params: &[param("value", Map, Must)], roles: &[] },
    Kind {
        name: "get_data",
        params: &[param("key", Path, Must), param("default", Any, May)],
        roles: &[],
    },
    Kind {
        name: "update_data",
        params: &[param("key", Path, Must), param("expr", Cel, Must)],
        roles: &[],
    },
    Kind { name: "delete_data", params: &[param("key", Path, Must)], roles: &[] },
    Kind { name: "get_result", params: &[param("step", Text, May)], roles: &[] },
    Kind { name: "transform", params: &[param("expr", Cel, Must)], roles: &[] },
    Kind {
        name: "emit",
        params: &[param("event", Event, Must), param("data", Any, May), param("subject", Any, May)],
        roles: &[],
    },
    Kind {
        name: "use",
        params: &[param("effect", Text, Must), param("with", Map, May)],
        roles: &[],
    },
    Kind {
        name: "wait_signal",
        params: &[
            param("event", Event, May),
            param("events", Texts, May),
            param("match", Cel, May),
            param("count", Count(1, SIGNALS_MAX), May),
            param("exclusive", Flag, May),
        ],
        roles: &[],
    },
    Kind {
        name: "human_task",
        params: &[
            param("title", Text, Must),
            param("description", Text, May),
            param("assignees", List, May),
            param("form", Map, May),
            param("defaults", Map, May),
            param("outcomes", Texts, May),
            param("deadline", Duration, May),
            param("quorum", Count(1, TASK_QUORUM_MAX), May),
            param("reminders", Reminders, May),
            param("escalation", Escalation, May),
            param("separation", Flag, May),
            param("attachments", Map, May),
        ],
        roles: &[],
    },
    Kind {
        name: "approval",
        params: &[
            param("title", Text, Must),
            param("description", Text, May),
            param("assignees", List, May),
            param("form", Map, May),
            param("defaults", Map, May),
            param("deadline", Duration, May),
            param("quorum", Count(1, TASK_QUORUM_MAX), May),
            param("deny_is_error", Flag, May),
            param("reminders", Reminders, May),
            param("escalation", Escalation, May),
            param("separation", Flag, May),
            param("attachments", Map, May),
        ],
        roles: &[],
    },
    Kind {
        name: "send_event",
        params: &[
            param("instance_id", Text, May),
            param("correlation", Map, May),
            param("event", Text, Must),
            param("data", Any, May),
        ],
        roles: &[],
    },
    Kind {
        name: "spawn_fsm",
        params: &[
            param("workflow", Text, Must),
            param("version", Text, May),
            param("input", Any, May),
            param("correlation", Text, May),
            param("tags", List, May),
            param("wait", Flag, May),
            param("parent_close", Word(&["cancel", "abandon", "request_cancel"]), May),
        ],
        roles: &[],
    },
    Kind {
        name: "invoke_fsm",
        params: &[
            param("instance_id", Text, May),
            param("correlation", Map, May),
            param("event", Text, Must),
            param("data", Any, May),
            param("until", Text, May),
        ],
        roles: &[],
    },
    Kind {
        name: "broadcast_event",
        params: &[param("event", Text, Must), param("data", Any, May), param("match", Map, May)],
        roles: &[],
    },
    Kind {
        name: "query_fsm",
        params: &[param("instance_id", Text, Must), param("select", Cel, Must)],
        roles: &[],
    },
    Kind {
        name: "call",
        params: &[param("function", Text, Must), param("args", Map, May)],
        roles: &[],
    },
    Kind {
        name: "notify",
        params: &[
            param("to", List, Must),
            param("message", Text, Must),
            param("title", Text, May),
            param("data", Any, May),
        ],
        roles: &[],
    },
    Kind {
        name: "call_api",
        params: &[
            param("url", Text, Must),
            param(
                "method",
                Method(&["get", "post", "put", "patch", "delete", "head", "options"]),
                May,
            ),
            param("headers", Map, May),
            param("query", Map, May),
            param("body", Any, May),
            param("body_type", Word(&["json", "form", "text", "multipart"]), May),
            param("auth", Map, May),
            param("expect", Any, May),
            param("response", Word(&["json", "text", "bytes", "auto"]), May),
            param("max_response", Any, May),
            param("redirects", Count(0, 20), May),
            param("idempotent", Flag, May),
        ],
        roles: &[],
    },
];

/// Keys that every effect may have.
pub(super) const COMMON: &[&str] = &[
    "type",
    "id",
    "when",
    "timeout",
    "deadline",
    "retry",
    "on_unknown",
    "idempotency_key",
    "compensation",
    "save",
    "waive",
    "priority",
    "rate_limit",
    "concurrency",
    "cache",
    "budget",
    "redact",
];
