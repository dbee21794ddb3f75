//! What a call of a model may cost at most, and what it did cost: tokens, and money by the table of
//! prices.
//!
//! - The estimate counts the text that a model reads, about four letters a token, and all that it
//!   may write. A kind that asks models several times, such as `coordinate_agents`, counts each.
//! - A model that the table does not know costs nothing in money, and the estimate names it.
//! - What was spent stands in the value, or in the details of the error: `usage` and `cost_usd`.

use traaviis_model::{
    EffectError, Text, Value,
    budget::usd_micros,
    limits::BUDGET_TOKENS_LEAST,
    price::{Price, price_of},
};

use crate::expr::approx_tokens;

/// Tokens that a model may write when nothing says so.
const MAX_TOKENS: u64 = 1_000;

/// Errors of calls that a provider has refused or that never reached one: no model has worked.
const NOTHING_DONE: &[&str] = &[
    "budget_exceeded",
    "busy",
    "egress_denied",
    "feature_unavailable",
    "llm_error",
    "permission_denied",
    "provider_unavailable",
    "quota_exceeded",
    "rate_limit_exceeded",
    "validation_failed",
];

/// Kinds of effects that may ask a model somebody is paid for.
const PAID: &[&str] = &[
    "call_llm",
    "embed_text",
    "classify",
    "extract",
    "quality_gate",
    "rag_pipeline",
    "invoke_agent",
    "coordinate_agents",
];

/// Says whether a call of this kind may ask a model somebody is paid for.
pub fn asks_models(kind: &str) -> bool {
    PAID.contains(&kind)
}

/// What one attempt may cost at most.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Estimate {
    /// How often models are asked.
    asks: u64,
    /// Tokens that they read each time.
    input: u64,
    /// Tokens that they may write each time.
    pub(crate) output: u64,
    /// `output` is a parameter of the call, so that it can be given less.
    pub(crate) can_shrink: bool,
    price: Price,
    /// A model whose price is not known.
    pub(crate) unpriced: Option<Text>,
}

/// What an attempt did cost, as far as its outcome says.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Spent {
    /// In millionths of a US dollar.
    pub(crate) usd_micros: Option<u64>,
    pub(crate) tokens: Option<u64>,
    /// Those of them that models have written.
    pub(crate) output_tokens: Option<u64>,
}

/// What models are called together that the table of prices does not know. Their names are words of
/// authors and providers, and stand nowhere in the open.
pub(crate) const UNPRICED: &str = "unpriced";

/// Returns the model that a map names, parameters of a call or its value, if the table knows it.
pub(crate) fn model_of(of: &Value) -> Option<Text> {
    let text = |key: &str| of.get(key).and_then(Value::as_str);
    let model = text("model")?;
    price_of(text("provider"), model).map(|_| model.into())
}

impl Estimate {
    /// Returns the tokens when models write so many each time.
    pub(crate) fn tokens(&self, output: u64) -> u64 {
        self.input.saturating_add(output).saturating_mul(self.asks)
    }

    /// Returns the money when models write so many tokens each time.
    pub(crate) fn usd_micros(&self, output: u64) -> u64 {
        let all = |it: u64| it.saturating_mul(self.asks);
        self.price.cost(all(self.input), all(output))
    }

    /// Returns how many tokens a model may write so that money and tokens suffice.
    pub(crate) fn output_within(&self, usd_micros: Option<u64>, tokens: Option<u64>) -> u64 {
        let by_tokens = tokens.map(|it| (it / self.asks.max(1)).saturating_sub(self.input));
        let by_money = usd_micros.filter(|_| self.price.output > 0).map(|it| {
            let million = u128::from(it) * 1_000_000 / u128::from(self.asks.max(1));
            let left =
                million.saturating_sub(u128::from(self.price.input) * u128::from(self.input));
            u64::try_from(left / u128::from(self.price.output)).unwrap_or(u64::MAX)
        });
        by_tokens.into_iter().chain(by_money).min().unwrap_or(u64::MAX)
    }
}

/// Returns what a call of this kind may cost; none when no model is paid for it.
pub(crate) fn estimate(kind: &str, input: &Value) -> Option<Estimate> {
    let default = &Value::Null;
    let get = |key: &str| input.get(key).unwrap_or(default);
    let read = |keys: &[&str]| keys.iter().map(|it| tokens_of(get(it))).sum::<u64>();
    let (asks, tokens, models) = match kind {
        "call_llm" => {
            let keys = ["system", "prompt", "messages", "tools", "response_schema"];
            let fallbacks = get("fallbacks").as_list().unwrap_or_default();
            (1, read(&keys), [input].into_iter().chain(fallbacks).collect())
        }
        "embed_text" | "classify" | "extract" if is_builtin(get("provider")) => return None,
        "embed_text" => (1, read(&["text", "texts"]), vec![input]),
        "classify" => (1, read(&["text", "labels"]), vec![input]),
        "extract" => (1, read(&["text", "schema"]), vec![input]),
        "quality_gate" => (1, read(&["subject", "criteria"]), vec![get("judge")]),
        "rag_pipeline" => {
            let context = count(get("max_context_tokens"), 8_000);
            (1, read(&["query"]).saturating_add(context), vec![get("answer")])
        }
        "invoke_agent" => (count(get("max_steps"), 20), read(&["task", "context"]), vec![input]),
        "coordinate_agents" => {
            let agents = get("agents").as_list().unwrap_or_default();
            (asks_of(input, agents.len() as u64), read(&["agents"]), agents.iter().collect())
        }
        _ => return None,
    };
    let writes = match kind {
        "embed_text" => 0,
        "call_llm" => count(get("max_tokens"), MAX_TOKENS),
        "quality_gate" => count(get("judge").get("max_tokens").unwrap_or(default), MAX_TOKENS),
        "rag_pipeline" => count(get("answer").get("max_tokens").unwrap_or(default), MAX_TOKENS),
        _ => MAX_TOKENS,
    };
    let (price, unpriced) = dearest(&models);
    let can_shrink = kind == "call_llm";
    Some(Estimate { asks, input: tokens, output: writes, can_shrink, price, unpriced })
}

/// What even the smallest attempt of a call needs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Least {
    /// In millionths of a US dollar.
    pub(crate) usd_micros: u64,
    pub(crate) tokens: u64,
}

/// Returns what an attempt of this kind needs at least, whatever the expressions in its parameters
/// give; none when no model need be paid for it.
pub(crate) fn least(kind: &str, params: &[(Text, Value)]) -> Option<Least> {
    let is_open = |key: &str| {
        let mut named = params.iter().filter(|(name, _)| &**name == key);
        named.any(|(_, value)| is_expression(value))
    };
    if is_open("provider") && !matches!(kind, "call_llm" | "invoke_agent") {
        return None;
    }
    let filled = Value::map(params.iter().map(|(name, value)| (&**name, smallest(name, value))));
    let mut estimate = estimate(kind, &filled)?;
    if is_open("provider") || is_open("model") {
        // It may be one that costs nothing.
        estimate.price = Price::default();
    }
    let output = match estimate.can_shrink {
        true => estimate.output.min(BUDGET_TOKENS_LEAST),
        false => estimate.output,
    };
    Some(Least { usd_micros: estimate.usd_micros(output), tokens: estimate.tokens(output) })
}

fn is_expression(value: &Value) -> bool {
    value.as_str().is_some_and(|text| text.contains("${"))
}

/// Returns the parameter with the smallest that its expressions can give.
fn smallest(name: &str, value: &Value) -> Value {
    match value {
        it if is_expression(it) => match name {
            "max_tokens" | "max_context_tokens" | "max_steps" | "max_iterations" | "rounds" => {
                Value::Int(0)
            }
            _ => Value::from(""),
        },
        Value::List(list) => Value::list(list.iter().map(|it| smallest(name, it))),
        Value::Map(map) => Value::map(map.iter().map(|(key, it)| (&**key, smallest(key, it)))),
        other => other.clone(),
    }
}

/// Says whether nothing is paid: classes and vectors come from the models of the release unless
/// another provider is named.
fn is_builtin(provider: &Value) -> bool {
    provider.is_null() || provider.as_str() == Some("builtin")
}

/// Returns how often a team asks models.
fn asks_of(input: &Value, agents: u64) -> u64 {
    let times = |key: &str| count(input.get(key).unwrap_or(&Value::Null), 3);
    match input.get("coordination").and_then(Value::as_str) {
        Some("consensus") => agents.saturating_mul(times("max_iterations")),
        Some("debate") => agents.saturating_mul(times("rounds")).saturating_add(1),
        // The lead splits the task into ten parts at most and puts them together again.
        Some("hierarchical") => 12,
        Some("competitive") => agents.saturating_add(1),
        _ => agents,
    }
}

/// Returns the highest price of these models, and the first of which none is known.
fn dearest(models: &[&Value]) -> (Price, Option<Text>) {
    let mut price = Price::default();
    let mut unpriced = None;
    for model in models {
        match price_in(model) {
            Ok(found) => price = price.or_higher(found),
            Err(name) => drop(unpriced.get_or_insert(name)),
        }
    }
    (price, unpriced)
}

/// Returns the price of the model that a map names, or what to call it when none is known.
fn price_in(of: &Value) -> Result<Price, Text> {
    let text = |key: &str| of.get(key).and_then(Value::as_str);
    let (provider, model) = (text("provider"), text("model").unwrap_or_default());
    price_of(provider, model).ok_or_else(|| match (model, text("tier"), text("agent")) {
        ("", Some(tier), _) => format!("tier {tier}").into(),
        ("", None, Some(agent)) => format!("agent {agent}").into(),
        ("", None, None) => "default".into(),
        (model, ..) => model.into(),
    })
}

impl Estimate {
    /// Returns what the value of the call says that it has cost.
    pub(crate) fn spent(&self, value: &Value) -> Spent {
        let count =
            |key: &str| -> Option<u64> { value.get("usage")?.get(key)?.as_i64()?.try_into().ok() };
        let (read, written) = (count("input_tokens"), count("output_tokens"));
        let both = read.or(written).map(|_| (read.unwrap_or(0), written.unwrap_or(0)));
        // A fallback may have answered; its name then stands in the value.
        let price = price_in(value).ok().or(self.unpriced.is_none().then_some(self.price));
        let priced = || Some(price?.cost(both?.0, both?.1));
        Spent {
            usd_micros: value.get("cost_usd").and_then(usd_micros).or_else(priced),
            tokens: both
                .map(|(read, written)| read.saturating_add(written))
                .or_else(|| count("total_tokens")),
            output_tokens: both.map(|it| it.1),
        }
    }

    /// Returns what the error of the call says that it has cost.
    pub(crate) fn spent_by_failure(&self, error: &EffectError) -> Spent {
        let last = error.cause.as_deref().filter(|_| &*error.code == "max_retries_exceeded");
        let error = last.unwrap_or(error);
        let told = self.spent(&error.details);
        match NOTHING_DONE.contains(&&*error.code) {
            false => told,
            true => {
                let (usd_micros, tokens) = (told.usd_micros.or(Some(0)), told.tokens.or(Some(0)));
                Spent { usd_micros, tokens, ..told }
            }
        }
    }
}

fn tokens_of(value: &Value) -> u64 {
    let tokens = match value {
        Value::Null => 0,
        Value::String(text) => approx_tokens(text),
        other => approx_tokens(&other.to_json()),
    };
    u64::try_from(tokens).unwrap_or_default()
}

fn count(value: &Value, default: u64) -> u64 {
    let whole = value.as_i64().or_else(|| value.as_f64().map(|it| it.ceil() as i64));
    whole.and_then(|it| u64::try_from(it).ok()).unwrap_or(default)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_estimated_but_what_may_be_paid() {
        for kind in traaviis_model::call::CALL_KINDS {
            let is_estimated = [r#"{}"#, r#"{"provider": "openai", "model": "gpt-4o"}"#]
                .iter()
                .any(|it| estimate(kind, &json(it)).is_some());
            assert_eq!(is_estimated, asks_models(kind), "{kind}");
        }
    }

    fn json(text: &str) -> Value {
        serde_json::from_str(text).unwrap()
    }

    fn of(kind: &str, input: &str) -> (u64, u64, Option<String>) {
        let it = estimate(kind, &json(input)).unwrap();
        let unpriced = it.unpriced.as_deref().map(String::from);
        (it.tokens(it.output), it.usd_micros(it.output), unpriced)
    }

    #[test]
    fn an_estimate_counts_what_is_read_and_all_that_may_be_written() {
        let mini = r#""provider": "openai", "model": "gpt-4o-mini""#;
        let call =
            format!(r#"{{{mini}, "prompt": "12345678", "system": "abcd", "max_tokens": 97}}"#);
        assert_eq!(of("call_llm", &call), (100, 59, None), "3 x 0.15 + 97 x 0.60");
        assert_eq!(
            of("call_llm", r#"{"prompt": "", "tier": "small"}"#),
            (1_000, 0, Some("tier small".into()))
        );
        assert_eq!(of("call_llm", r#"{"prompt": "", "model": "x"}"#), (1_000, 0, Some("x".into())));
        assert_eq!(
            of("call_llm", r#"{"prompt": "", "provider": "local", "model": "x"}"#),
            (1_000, 0, None)
        );
        let dear = r#"{"prompt": "", "model": "gpt-4o-mini", "max_tokens": 100, "fallbacks": [{"model": "gpt-4o"}]}"#;
        assert_eq!(of("call_llm", dear), (100, 1_000, None));
        let embed =
            r#"{"provider": "openai", "model": "text-embedding-3-small", "texts": ["abcd"]}"#;
        assert_eq!(of("embed_text", embed), (2, 1, None));
        assert_eq!(estimate("embed_text", &json(r#"{"text": "a"}"#)), None);
        assert_eq!(estimate("call", &json("{}")), None);
        assert_eq!(
            of("invoke_agent", r#"{"agent": "a", "task": "abcd", "max_steps": 3}"#).0,
            3_003
        );
        let team =
            r#"{"agents": [{"id": "a"}, {"id": "b"}], "coordination": "debate", "rounds": 2}"#;
        let read = tokens_of(&json(r#"[{"id": "a"}, {"id": "b"}]"#));
        assert_eq!(of("coordinate_agents", team).0, 5 * (1_000 + read));
    }

    #[test]
    fn the_least_counts_nothing_that_an_expression_decides() {
        let least = |kind: &str, params: &str| {
            let params = json(params);
            let params: Vec<(Text, Value)> = params
                .as_map()
                .unwrap()
                .iter()
                .map(|(key, it)| (key.clone(), it.clone()))
                .collect();
            least(kind, &params).map(|it| (it.tokens, it.usd_micros))
        };
        let text = "x".repeat(400);
        let call = |prompt: &str, more: &str| format!(r#"{{"prompt": "{prompt}", {more}}}"#);
        let model = r#""model": "gpt-4o""#;
        // 2.50 x 100 + 10.00 x 64.
        assert_eq!(least("call_llm", &call(&text, model)), Some((164, 890)));
        assert_eq!(least("call_llm", &call(&(text.clone() + "${x}"), model)), Some((64, 640)));
        let few = format!(r#"{model}, "max_tokens": 10"#);
        assert_eq!(least("call_llm", &call(&text, &few)), Some((110, 350)));
        let open = format!(r#"{model}, "max_tokens": "${{x}}""#);
        assert_eq!(least("call_llm", &call(&text, &open)), Some((100, 250)));
        let open = format!(r#"{model}, "provider": "${{x}}""#);
        assert_eq!(least("call_llm", &call(&text, &open)), Some((164, 0)));
        let agent = r#"{"agent": "a", "task": "t", "max_steps": "${x}"}"#;
        assert_eq!(least("invoke_agent", agent), Some((0, 0)));
        assert_eq!(least("classify", r#"{"text": "t", "provider": "${x}"}"#), None);
        assert_eq!(least("call", r#"{"function": "f"}"#), None);
        let team = r#"{"agents": "${x}", "coordination": "consensus"}"#;
        assert_eq!(least("coordinate_agents", team), Some((0, 0)));
    }

    #[test]
    fn what_is_left_bounds_what_may_be_written() {
        let call = r#"{"prompt": "abcd", "model": "gpt-4o", "max_tokens": 5000}"#;
        let it = estimate("call_llm", &json(call)).unwrap();
        assert_eq!(it.output_within(None, None), u64::MAX);
        assert_eq!(it.output_within(None, Some(100)), 99);
        assert_eq!(it.output_within(Some(1_000), None), 99);
        assert_eq!(it.output_within(Some(1_000), Some(50)), 49);
        for left in [0, 1, 2, 3, 12, 13, 999, 12_345] {
            let output = it.output_within(Some(left), None);
            assert!(output == 0 || it.usd_micros(output) <= left, "{left}: {output}");
            assert!(it.usd_micros(output + 1) > left, "{left}: {output}");
        }
    }

    #[test]
    fn an_outcome_says_what_it_cost() {
        let call = estimate("call_llm", &json(r#"{"prompt": "", "model": "gpt-4o"}"#)).unwrap();
        let of = |value: &str| {
            let it = call.spent(&json(value));
            (it.usd_micros, it.tokens)
        };
        assert_eq!(of(r#"{"text": "hi"}"#), (None, None));
        assert_eq!(of(r#"{"cost_usd": 0.02}"#), (Some(20_000), None));
        assert_eq!(
            of(r#"{"usage": {"input_tokens": 4, "output_tokens": 1}}"#),
            (Some(20), Some(5))
        );
        assert_eq!(
            of(r#"{"usage": {"output_tokens": 1}, "cost_usd": 1}"#),
            (Some(1_000_000), Some(1))
        );
        assert_eq!(
            of(r#"{"model": "gpt-4o-mini", "usage": {"input_tokens": 20}}"#),
            (Some(3), Some(20))
        );
        assert_eq!(of(r#"{"usage": {"total_tokens": 7}}"#), (None, Some(7)));
        assert_eq!(of(r#"{"usage": {"input_tokens": -4}}"#), (None, None));
        let failed = |code: &str| {
            let it = call.spent_by_failure(&EffectError::new(code, "no"));
            (it.usd_micros, it.tokens)
        };
        assert_eq!(failed("timeout"), (None, None));
        assert_eq!(failed("rate_limit_exceeded"), (Some(0), Some(0)));
        let unknown = estimate("call_llm", &json(r#"{"prompt": "", "tier": "small"}"#)).unwrap();
        let value = json(r#"{"usage": {"input_tokens": 4, "output_tokens": 1}}"#);
        assert_eq!(
            unknown.spent(&value),
            Spent { usd_micros: None, tokens: Some(5), output_tokens: Some(1) }
        );
    }
}
