//! What one instance reads of another: an expression over the latest committed state.

use traaviis_model::{Snapshot, Text, Value, snapshot::NodeStatus};

use crate::expr::{Env, EvalError, Expr, ParseError, Scope, Var};

/// What a query may read.
pub(crate) const SCOPE: Scope = Scope::DATA.union(Scope::QUERY);

/// Why a query has no value.
#[derive(Debug, thiserror::Error)]
pub enum QueryError {
    /// It is no expression over what can be read.
    #[error("{0}")]
    Parse(#[from] ParseError),
    /// It cannot be evaluated in this state.
    #[error("{}", .0.message)]
    Eval(EvalError),
}

impl QueryError {
    /// Returns the stable code.
    pub fn code(&self) -> &'static str {
        match self {
            QueryError::Parse(_) => EvalError::ERROR,
            QueryError::Eval(error) => error.code,
        }
    }
}

/// Evaluates `select` over `data`, `configuration`, `status` and `pending`.
pub fn query(snapshot: &Snapshot, select: &str) -> Result<Value, QueryError> {
    let expr = Expr::parse(select, SCOPE)?;
    expr.eval(&QueryEnv { snapshot }).map(Value::into_json).map_err(QueryError::Eval)
}

struct QueryEnv<'a> {
    snapshot: &'a Snapshot,
}

impl Env for QueryEnv<'_> {
    fn var(&self, var: Var) -> Option<Value> {
        match var {
            Var::Data => Some(self.snapshot.data.clone()),
            Var::Configuration => Some(texts(self.snapshot.configuration.iter())),
            Var::Status => Some(Value::from(self.snapshot.status.as_str())),
            Var::Pending => Some(pending(self.snapshot)),
            _ => None,
        }
    }

    fn in_state(&self, path: &str) -> bool {
        self.snapshot.is_in(path)
    }

    fn random_seed(&self) -> (u64, u64) {
        self.snapshot.id.0.as_u64_pair()
    }
}

/// Returns what is open in an instance.
fn pending(snapshot: &Snapshot) -> Value {
    let timers = snapshot
        .timers
        .iter()
        .map(|it| Value::map([("id", Value::String(it.id.clone())), ("due", Value::Time(it.due))]));
    let is_open = |status: NodeStatus| !status.is_over();
    let calls = snapshot.calls().filter(|(_, _, node)| is_open(node.status));
    let effects = calls.map(|(_, path, node)| {
        Value::map([
            ("path", Value::String(path.clone())),
            ("kind", Value::String(node.kind.clone())),
            ("status", Value::from(node.status.as_str())),
        ])
    });
    Value::map([
        ("timers", Value::list(timers)),
        ("effects", Value::list(effects)),
        ("tasks", texts(snapshot.open_tasks().map(|(_, path, _)| path))),
        ("children", Value::list(snapshot.children.keys().map(|it| Value::from(it.to_string())))),
        ("deferred", texts(snapshot.deferred.iter().map(|(name, _)| name))),
    ])
}

fn texts<'a>(texts: impl Iterator<Item = &'a Text>) -> Value {
    Value::list(texts.cloned().map(Value::String))
}

#[cfg(test)]
mod tests {
    use traaviis_model::{InstanceId, TenantCtx, Timestamp};

    use super::*;
    use crate::tests::{context, machine, with_head};

    #[test]
    fn queries_read_the_state_and_nothing_else() {
        let machine = machine(&with_head(
            "initial: a\ndata: {initial: {n: 2}}\nstates: {a: {initial: b, states: {b: {after: {1h: c}}, c: {}}}}",
        ));
        let context = context(Timestamp(0));
        let id = InstanceId(uuid::Uuid::from_u128(7));
        let ctx = TenantCtx::for_test(1);
        let step = crate::start(&machine, &ctx, id, Value::empty_map(), &context).unwrap();
        let found = |select: &str| match query(&step.snapshot, select) {
            Ok(value) => value.to_json(),
            Err(error) => error.code().to_string(),
        };
        for (select, expected) in [
            ("data.n + 1", "3"),
            ("configuration", r#"["a.b"]"#),
            ("status == 'running' && in_state('a')", "true"),
            ("pending.timers.map(it, it.due)", r#"["1970-01-01T01:00:00.000000Z"]"#),
            ("size(pending.children) + size(pending.effects) + size(pending.tasks)", "0"),
            ("data.absent", "expression_error"),
            ("input.n", "expression_error"),
            ("data.", "expression_error"),
        ] {
            assert_eq!(found(select), expected, "{select}");
        }
    }
}
