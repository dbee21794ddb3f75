//! The table of kinds that ask models, agents, indexes and MCP servers.
//!
//! They are checked like the others and tests answer them with mocks; nothing performs them in this
//! release, so a run answers `feature_unavailable`.

use super::{
    Kind,
    Need::{May, Must},
    Param,
    Shape::{Amount, Any, Flag, List, Map, Text, Texts, Word},
    param,
};

const PROVIDERS: &[&str] = &["openai", "anthropic", "google", "local", "huggingface", "mock"];
const TOKENS_MAX: f64 = 1e9;

const fn kind(name: &'static str, params: &'static [Param]) -> Kind {
    Kind { name, params, roles: &[] }
}

pub(in super::super) const MOCKED: &[Kind] = &[
    kind(
        "mcp_call",
        &[param("server", Text, Must), param("tool", Text, Must), param("args", Map, May)],
    ),
    kind(
        "call_llm",
        &[
            param("provider", Word(PROVIDERS), May),
            param("model", Text, May),
            param("tier", Word(&["small", "medium", "large"]), May),
            param("prompt", Text, May),
            param("messages", List, May),
            param("prompt_ref", Text, May),
            param("system", Text, May),
            param("max_tokens", Amount(1.0, TOKENS_MAX), May),
            param("temperature", Amount(0.0, 2.0), May),
            param("top_p", Amount(0.0, 1.0), May),
            param("stop", List, May),
            param("response_schema", Map, May),
            param("repair_attempts", Amount(0.0, 10.0), May),
            param("tools", List, May),
            param("max_tool_rounds", Amount(1.0, 100.0), May),
            param("tool_approval", Word(&["none", "side_effects", "all"]), May),
            param("stream", Flag, May),
            param("fallbacks", List, May),
            param("cache", Any, May),
            param("guardrails", Any, May),
        ],
    ),
    kind(
        "embed_text",
        &[
            param("text", Text, May),
            param("texts", List, May),
            param("provider", Text, May),
            param("model", Text, May),
            param("dimensions", Amount(1.0, 65_536.0), May),
        ],
    ),
    kind(
        "vector_search",
        &[
            param("index", Text, Must),
            param("query", Any, Must),
            param("top_k", Amount(1.0, 1_000.0), May),
            param("similarity_threshold", Amount(-1.0, 1.0), May),
            param("filters", Map, May),
            param("rerank", Flag, May),
        ],
    ),
    kind(
        "rag_pipeline",
        &[
            param("query", Text, Must),
            param(
                "retrieval_strategy",
                Word(&["semantic", "keyword", "hybrid", "graph_traversal"]),
                May,
            ),
            param("knowledge_bases", List, Must),
            param("top_k", Amount(1.0, 1_000.0), May),
            param("max_context_tokens", Amount(1.0, TOKENS_MAX), May),
            param("rerank", Flag, May),
            param(
                "fusion_method",
                Word(&["concatenate", "rank_fusion", "weighted_combination"]),
                May,
            ),
            param("relevance_floor", Amount(-1.0, 1.0), May),
            param("max_hops", Amount(1.0, 16.0), May),
            param("answer", Map, May),
        ],
    ),
    kind(
        "invoke_agent",
        &[
            param("agent", Text, Must),
            param("task", Text, Must),
            param("context", Any, May),
            param("max_steps", Amount(1.0, 1_000.0), May),
        ],
    ),
    kind(
        "spawn_agent",
        &[
            param("role", Text, Must),
            param("model", Text, May),
            param("task", Text, Must),
            param("context", Any, May),
        ],
    ),
    kind(
        "coordinate_agents",
        &[
            param("agents", List, Must),
            param(
                "coordination",
                Word(&[
                    "sequential",
                    "parallel",
                    "consensus",
                    "debate",
                    "hierarchical",
                    "competitive",
                ]),
                May,
            ),
            param("consensus_threshold", Amount(0.0, 1.0), May),
            param("max_iterations", Amount(1.0, 100.0), May),
            param("rounds", Amount(1.0, 100.0), May),
            param("success_criteria", Text, May),
            param("lead", Text, May),
            param("judge", Any, May),
            param("stop_when", super::Shape::Later, May),
        ],
    ),
    kind(
        "quality_gate",
        &[
            param("subject", Any, Must),
            param("criteria", Any, Must),
            param("threshold", Amount(0.0, 1.0), May),
            param("judge", Map, May),
        ],
    ),
    kind(
        "classify",
        &[
            param("text", Text, Must),
            param("labels", List, Must),
            param("provider", Word(&["builtin", "llm"]), May),
            param("threshold", Amount(0.0, 1.0), May),
        ],
    ),
    kind(
        "extract",
        &[param("text", Text, Must), param("schema", Map, Must), param("provider", Text, May)],
    ),
    kind(
        "detect_pii",
        &[param("value", Any, Must), param("types", Texts, May), param("mode", Text, May)],
    ),
    kind(
        "store_document",
        &[
            param("index", Text, Must),
            param("id", Text, May),
            param("text", Text, Must),
            param("metadata", Map, May),
            param("chunk", Map, May),
        ],
    ),
    kind(
        "query_documents",
        &[
            param("collection", Text, Must),
            param("filter", Map, May),
            param("limit", Amount(1.0, 10_000.0), May),
        ],
    ),
];
