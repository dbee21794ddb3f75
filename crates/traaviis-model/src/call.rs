//! A call, as the engine asks for it: to the outside, performed by a connector, or to another
//! instance of the tenant, performed by the owners among themselves.

use serde::{Deserialize, Serialize};

use crate::{
    ids::{InstanceId, Seq, Text},
    time::Span,
    value::Value,
};

/// Kinds of effects that go to a connector: to the outside.
pub const CALL_KINDS: &[&str] = &[
    "call",
    "call_api",
    "notify",
    "mcp_call",
    "call_llm",
    "embed_text",
    "vector_search",
    "rag_pipeline",
    "invoke_agent",
    "spawn_agent",
    "coordinate_agents",
    "quality_gate",
    "classify",
    "extract",
    "detect_pii",
    "store_document",
    "query_documents",
];

/// Parameters of a call that carry what is told to the other side, rather than where it is and how
/// it is asked: what `redact` is about.
pub const REDACTED_PARAMS: &[&str] = &[
    "args",
    "body",
    "query",
    "prompt",
    "messages",
    "system",
    "text",
    "texts",
    "task",
    "context",
    "subject",
    "value",
    "filters",
    "documents",
    "agents",
];

/// Says whether a kind of effect takes `redact`.
pub fn redacts(kind: &str) -> bool {
    CALL_KINDS.contains(&kind) && kind != "notify"
}

/// Returns the time of an attempt for which neither the workflow nor a function sets one: what a
/// person would wait for an answer of this kind.
pub fn default_timeout(kind: &str) -> Span {
    Span::secs(match kind {
        "call" => 5,
        "call_llm" | "mcp_call" => 60,
        "invoke_agent" | "spawn_agent" => 180,
        "coordinate_agents" => 300,
        _ => 30,
    })
}

/// One attempt of one call.
#[derive(Clone, Debug, PartialEq)]
pub struct Call {
    /// Which attempt this is.
    pub id: CallId,
    /// Workflow of the instance that asks.
    pub workflow: Text,
    /// Kind of the effect, such as `call_api` or `send_event`.
    pub kind: Text,
    /// Evaluated parameters; secrets are still references.
    pub input: Value,
    /// Idempotency key, stable over retries and restarts.
    pub key: Text,
    /// Time of this attempt; none means the kind's default.
    pub timeout: Option<Span>,
    /// Lists of hosts of the states around it; whatever it connects to must stand in each.
    pub hosts: Vec<Vec<Text>>,
}

/// Kinds of effects that ask another instance, and nobody outside. The receiver knows the key, so
/// asking again is harmless: after a crash they are simply asked again.
pub const BETWEEN_INSTANCES: &[&str] =
    &["send_event", "spawn_fsm", "invoke_fsm", "broadcast_event", "query_fsm"];

/// Says whether an effect of this kind asks another instance.
pub fn is_between_instances(kind: &str) -> bool {
    BETWEEN_INSTANCES.contains(&kind)
}

/// Kind of the calls that ask whether an effect may go on; authors cannot write it.
pub const GATE: &str = "gate";

/// Names one attempt.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CallId {
    /// Instance.
    pub instance: InstanceId,
    /// Tree.
    pub tree: Seq,
    /// Node.
    pub path: Text,
    /// `seq` of the record that scheduled the node: tells the rounds of a loop apart, which use
    /// the same paths again.
    pub scheduled: Seq,
    /// From 1.
    pub attempt: u32,
}

/// What may be promised about a call whose outcome is not recorded (20-effects 6 of the language).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeliveryClass {
    /// Reads: repeating is harmless.
    SafeRead,
    /// Writes whose receiver honours the key: repeating with the same key is harmless.
    KeyedWrite,
    /// Other writes: at most one unconfirmed attempt.
    OtherWrite,
}

/// Returns what may be promised about a call by its kind alone; kinds whose parameters say more
/// (`call_api`, `call`) count as the worst that they can be.
pub fn class_of(kind: &str) -> DeliveryClass {
    match kind {
        // Paid reads too: an answer that is recorded is never bought twice, and one that is not may
        // be, which costs money and changes nothing.
        "call_llm" | "invoke_agent" | "spawn_agent" | "coordinate_agents" | "quality_gate"
        | "rag_pipeline" | "embed_text" | "classify" | "extract" | "detect_pii"
        | "vector_search" | "query_documents" => DeliveryClass::SafeRead,
        // Every delivery and every document carries its key.
        "notify" | "store_document" => DeliveryClass::KeyedWrite,
        // What a tool does nobody knows.
        _ => DeliveryClass::OtherWrite,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_only_read_may_be_asked_again() {
        let of = |class| CALL_KINDS.iter().copied().filter(|it| class_of(it) == class).collect();
        let (keyed, other): (Vec<&str>, Vec<&str>) =
            (of(DeliveryClass::KeyedWrite), of(DeliveryClass::OtherWrite));
        assert_eq!(keyed, ["notify", "store_document"]);
        assert_eq!(other, ["call", "call_api", "mcp_call"]);
    }
}
