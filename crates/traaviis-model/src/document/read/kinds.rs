//! The table of effect kinds: parameters, their shapes, and the children of each.
//!
//! A new kind is one entry here, one compiled kind in the engine, and one branch in the schema.

mod mocked;

use crate::limits::{BATCH_ITEMS_MAX, LOOP_ITERATIONS_MAX, SIGNALS_MAX, TASK_QUORUM_MAX};

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
    /// Part of the language that this release does not carry out.
    Later,
}
use Shape::{
    Any, Cel, Count, Duration, Event, Flag, Later, List, Map, Method, Path, Text, Texts, Word,
};

/// How child effects are written.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Form {
    One,
    List,
    ListOrMap,
    Saga,
    Cases,
}

const fn param(name: &'static str, shape: Shape, need: Need) -> Param {
    Param { name, shape, need }
}

const fn role(name: &'static str, form: Form, need: Need) -> Role {
    Role { name, form, need }
}

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
            param("reminders", Later, May),
            param("escalation", Later, May),
            param("separation", Later, May),
            param("attachments", Later, May),
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
            param("reminders", Later, May),
            param("escalation", Later, May),
            param("separation", Later, May),
            param("attachments", Later, May),
        ],
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

/// Kinds of the language that this release does not carry out.
pub(super) const UNAVAILABLE: &[&str] = &[
    "circuit_breaker",
    "cache",
    "rate_limit",
    "send_event",
    "broadcast_event",
    "spawn_fsm",
    "invoke_fsm",
    "query_fsm",
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
];

/// Common keys of the language that this release does not carry out.
pub(super) const COMMON_UNAVAILABLE: &[&str] =
    &["budget", "concurrency", "rate_limit", "cache", "redact"];
