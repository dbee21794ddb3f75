//! What expressions read during a step.

use traaviis_model::{Seq, Snapshot, Text, Timestamp, Value, record::Lineage};

use crate::{
    expr::{Env, Var},
    machine::Machine,
    step::run::{InternalEvent, Origin},
};

/// Variables of guards, actions and templates, built when they are read.
pub(crate) struct StepEnv<'a> {
    pub machine: &'a Machine,
    pub snapshot: &'a Snapshot,
    pub active: &'a [bool],
    pub now: Timestamp,
    pub event: Option<&'a InternalEvent>,
    /// Node whose templates are read: tree and path.
    pub node: Option<(Seq, &'a str)>,
    /// Bound by `case_condition` and `update_data`.
    pub value: Option<&'a Value>,
}

impl StepEnv<'_> {
    fn event_value(&self, event: &InternalEvent) -> Value {
        Value::map([
            ("name", Value::String(event.name.clone())),
            ("data", event.data.clone()),
            ("id", event.id.clone().map_or(Value::Null, Value::String)),
            ("source", Value::from(source_of(event))),
            ("time", Value::Time(self.now)),
        ])
    }

    fn workflow(&self) -> Value {
        Value::map([
            ("name", Value::String(self.snapshot.workflow.clone())),
            ("version", Value::String(self.snapshot.version.clone())),
            ("instance_id", Value::from(self.snapshot.id.to_string())),
            ("correlation", self.snapshot.correlation.clone().map_or(Value::Null, Value::String)),
            ("parent_id", parent_value(self.snapshot.lineage.as_deref())),
            ("started_at", Value::Time(self.snapshot.created_at)),
            ("attempt", Value::Int(1)),
        ])
    }
}

/// Returns the id of the parent as templates read it.
pub(crate) fn parent_value(lineage: Option<&Lineage>) -> Value {
    lineage.map_or(Value::Null, |it| Value::from(it.parent_id.to_string()))
}

fn source_of(event: &InternalEvent) -> &'static str {
    match event.origin {
        _ if event.external => "external",
        Origin::Timer => "timer",
        _ => "internal",
    }
}

/// What the actions of a `for_each` read: the step, and the item they are run for.
pub(crate) struct ItemEnv<'a> {
    pub step: StepEnv<'a>,
    pub item: &'a (Value, usize),
}

impl Env for ItemEnv<'_> {
    fn var(&self, var: Var) -> Option<Value> {
        match var {
            Var::Item => Some(self.item.0.clone()),
            Var::Index => Some(Value::Int(self.item.1 as i64)),
            _ => self.step.var(var),
        }
    }

    fn field(&self, var: Var, field: &str) -> Option<Option<Value>> {
        self.step.field(var, field)
    }

    fn in_state(&self, path: &str) -> bool {
        self.step.in_state(path)
    }

    fn random_seed(&self) -> (u64, u64) {
        self.step.random_seed()
    }
}

impl Env for StepEnv<'_> {
    fn var(&self, var: Var) -> Option<Value> {
        match var {
            Var::Data => Some(self.snapshot.data.clone()),
            Var::Input => Some(self.snapshot.input.clone()),
            Var::Now => Some(Value::Time(self.now)),
            Var::Event => self.event.map(|event| self.event_value(event)),
            Var::Tenant => Some(Value::map([
                ("id", Value::from(self.snapshot.tenant_id.to_string())),
                ("slug", Value::from("local")),
            ])),
            Var::Workflow => Some(self.workflow()),
            Var::Value => self.value.cloned(),
            Var::Result => match self.node {
                Some((tree, path)) => {
                    Some(crate::effects::scope::previous_result(self, tree, path))
                }
                // The value of the finished invoke, in its `onDone`.
                None => {
                    self.event.filter(|it| it.name.starts_with("done.")).map(|it| it.data.clone())
                }
            },
            Var::Steps => self.node.map(|(tree, at)| crate::effects::scope::steps(self, tree, at)),
            Var::Item | Var::Index | Var::Loop | Var::Param => {
                let (tree, path) = self.node?;
                crate::effects::scope::enclosing(self, var, tree, path)
            }
            _ => None,
        }
    }

    fn field(&self, var: Var, field: &str) -> Option<Option<Value>> {
        match (var, field) {
            (Var::Data, _) => Some(self.snapshot.data.as_map()?.get(field).cloned()),
            (Var::Input, _) => Some(self.snapshot.input.as_map()?.get(field).cloned()),
            (Var::Event, "data") => Some(Some(self.event?.data.clone())),
            (Var::Event, "name") => Some(Some(Value::String(self.event?.name.clone()))),
            (Var::Steps, _) => {
                let (tree, at) = self.node?;
                Some(crate::effects::scope::step_named(self, tree, at, field))
            }
            _ => None,
        }
    }

    fn in_state(&self, path: &str) -> bool {
        let found: Option<&usize> = self.machine.by_path.get(path.trim_start_matches('#'));
        found.is_some_and(|state| self.active.get(*state).copied().unwrap_or(false))
    }

    fn random_seed(&self) -> (u64, u64) {
        let (high, low) = self.snapshot.id.0.as_u64_pair();
        let place: Text =
            self.node.map_or_else(|| "".into(), |(tree, path)| format!("{tree}/{path}").into());
        let salt = place.bytes().fold(0xcbf2_9ce4_8422_2325u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
        (high ^ salt, low ^ self.snapshot.seq.wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }
}
