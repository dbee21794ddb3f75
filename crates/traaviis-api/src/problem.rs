//! Refusals as RFC 9457 problem details, and which status each code has.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A refusal on the wire: `application/problem+json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Problem {
    /// Page that explains the code.
    #[serde(rename = "type")]
    pub kind: String,
    /// Short words for the status.
    pub title: String,
    /// HTTP status.
    pub status: u16,
    /// What could not be done, and the next step.
    pub detail: String,
    /// Path of the request.
    pub instance: String,
    /// Stable code.
    pub code: String,
    /// Id of the request, for questions to an operator.
    pub request_id: String,
    /// What is wrong with single fields.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<FieldError>,
    /// Facts for programs.
    #[serde(default, skip_serializing_if = "serde_json::Value::is_null")]
    pub details: serde_json::Value,
}

/// What is wrong with one field.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FieldError {
    /// RFC 6901 pointer into the body.
    pub pointer: String,
    /// Stable code.
    pub code: String,
    /// The rule that is broken.
    pub message: String,
}

/// Status of every code that an answer can have, in the order of the status.
pub const STATUSES: &[(u16, &[&str])] = &[
    (400, &["bad_request"]),
    (
        401,
        &[
            "not_authenticated",
            "invalid_token",
            "token_expired",
            "session_expired",
            "user_inactive",
            "invalid_credentials",
            "mfa_required",
            "hook_not_verified",
        ],
    ),
    (402, &["budget_exceeded"]),
    (
        403,
        &[
            "forbidden",
            "insufficient_permissions",
            "permission_denied",
            "separation_of_duties",
            "no_tenant_context",
            "platform_admin_required",
            "break_glass_required",
            "not_assigned",
            "reauthentication_required",
            "csrf_header_required",
            "email_not_verified",
            "second_factor_required",
            "login_elsewhere_failed",
            "egress_denied",
            "feature_unavailable",
        ],
    ),
    (404, &["not_found", "history_absent", "definition_absent", "subject_unknown"]),
    (405, &["method_not_allowed"]),
    (408, &["request_timeout"]),
    (
        409,
        &[
            "already_exists",
            "invalid_state",
            "event_not_accepted",
            "event_rejected",
            // Going on would not come to rest: what stands must be changed first.
            "macrostep_overrun",
            "instance_finished",
            "instance_paused",
            "has_open_instances",
            "last_owner",
            "correlation_conflict",
            "task_claimed",
            "upgrade_blocked",
            "upgrade_needs_mapping",
            "request_in_progress",
            "idempotency_answer_lost",
            "history_broken",
            "archived",
            "archive_damaged",
            "subject_in_use",
        ],
    ),
    (412, &["precondition_failed", "seq_mismatch"]),
    (413, &["payload_too_large"]),
    (415, &["unsupported_media_type"]),
    (421, &["wrong_host"]),
    (
        422,
        &[
            "validation_failed",
            "unknown_field",
            "input_invalid",
            "unknown_event",
            "event_payload_invalid",
            "definition_invalid",
            "definition_missing",
            "effect_invalid",
            "unknown_effect",
            "expression_error",
            "expression_limit",
            "idempotency_key_reused",
            "id_ambiguous",
            "unknown_function",
            "tag_limit",
            "subject_erased",
            "subject_invalid",
            "no_tests",
            "import_failed",
            "simulation_overrun",
        ],
    ),
    (428, &["precondition_required"]),
    (
        429,
        &[
            "too_many_attempts",
            "rate_limit_exceeded",
            "rate_limited",
            "quota_exceeded",
            "instance_backlog_full",
            "deferred_queue_full",
            "effect_limit",
        ],
    ),
    (431, &["headers_too_large"]),
    (
        503,
        &[
            "stopping",
            "busy",
            "memory_pressure",
            "maintenance",
            "index_failed",
            "documents_failed",
            "not_shown",
            "timeout",
        ],
    ),
    (507, &["storage_full"]),
];

/// Returns the status of a code; what nobody foresaw is a defect.
pub fn status_of(code: &str) -> u16 {
    let found = STATUSES.iter().find(|(_, codes)| codes.contains(&code));
    found.map_or(500, |(status, _)| *status)
}

/// Returns the short words for a status.
pub fn title_of(status: u16) -> &'static str {
    match status {
        400 => "Bad request",
        401 => "Not authenticated",
        402 => "Payment required",
        403 => "Forbidden",
        404 => "Not found",
        405 => "Method not allowed",
        408 => "Request timeout",
        409 => "Conflict",
        412 => "Precondition failed",
        413 => "Payload too large",
        415 => "Unsupported media type",
        421 => "Misdirected request",
        422 => "Unprocessable content",
        428 => "Precondition required",
        429 => "Too many requests",
        431 => "Request header fields too large",
        503 => "Service unavailable",
        507 => "Insufficient storage",
        _ => "Internal error",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_has_one_status() {
        let mut all: Vec<&str> = STATUSES.iter().flat_map(|it| it.1.iter().copied()).collect();
        let count = all.len();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), count);
        assert_eq!(status_of("not_found"), 404);
        assert_eq!(status_of("anything_else"), 500);
        for (status, _) in STATUSES {
            assert_ne!(title_of(*status), "Internal error", "{status}");
        }
    }
}
