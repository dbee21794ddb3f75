//! Kinds that are over at once: data, log, emit, value. One record each.

use traaviis_model::{Body, Seq, Text, Value, limits, record::PatchOp};

use super::End;
use crate::{
    expr::{EvalError, Template},
    machine::{EffectDef, EffectKind},
    privacy::logged,
    step::Run,
};

pub(super) fn is_instant(kind: &EffectKind) -> bool {
    use EffectKind::*;
    matches!(
        kind,
        Value(_)
            | Log { .. }
            | PutData { .. }
            | MergeData(_)
            | GetData { .. }
            | UpdateData { .. }
            | DeleteData { .. }
            | GetResult { .. }
            | Transform(_)
            | Emit { .. }
    )
}

impl<'m> Run<'m> {
    pub(super) fn run_instant(&mut self, tree: Seq, path: &Text, def: &'m EffectDef) {
        match self.instant_value(tree, path, &def.kind) {
            Ok((value, after)) => {
                // A result that is too large fails the node, which must then have done nothing.
                let fits = value.json_len() <= limits::RESULT_BYTES_MAX;
                self.finish_node(tree, path, def, End::Completed(value));
                if let Some(body) = after.filter(|_| fits) {
                    self.emit(body);
                }
            }
            Err(error) => self.fail_expression(tree, path, def, &error),
        }
    }

    /// Computes the value, and the record that follows the node's own.
    fn instant_value(
        &mut self,
        tree: Seq,
        path: &Text,
        kind: &EffectKind,
    ) -> Result<(Value, Option<Body>), EvalError> {
        let render =
            |run: &Self, template: &Template| template.render(&run.node_env(tree, path, None));
        let key_of = |run: &Self, template: &Template| {
            render(run, template).map(|key| crate::step::text_of(&key))
        };
        let value = match kind {
            EffectKind::Value(template) => render(self, template)?,
            EffectKind::Transform(expr) => expr.eval(&self.node_env(tree, path, None))?.into_json(),
            EffectKind::Log { level, message, data } => {
                let message = crate::step::text_of(&render(self, message)?);
                let data = render(self, data)?;
                return Ok((Value::Null, Some(logged(level, &message, &data))));
            }
            EffectKind::Emit { event, data, subject } => {
                let data = self.published(event, render(self, data)?)?;
                let subject = match subject {
                    Some(subject) => Some(key_of(self, subject)?),
                    None => None,
                };
                return Ok((
                    Value::Null,
                    Some(Body::Emitted { event: event.clone(), data, subject }),
                ));
            }
            EffectKind::PutData { key, value } => {
                let (key, value) = (key_of(self, key)?, render(self, value)?);
                let body = self.data_patch(&key, value.clone(), path)?;
                return Ok((value, Some(body)));
            }
            EffectKind::MergeData(value) => {
                let value = render(self, value)?;
                let Some(map) = value.as_map() else {
                    return Err(EvalError {
                        code: "expression_error",
                        message: format!(
                            "only a map can be merged into `data`, this is {}",
                            value.kind()
                        ),
                    });
                };
                let mut data = self.snapshot.data.as_map().cloned().unwrap_or_default();
                let mut patch = Vec::new();
                for (key, value) in map.iter() {
                    let pointer = format!("/{}", key.replace('~', "~0").replace('/', "~1")).into();
                    let value = value.clone();
                    patch.push(match data.insert(key.clone(), value.clone()) {
                        Some(_) => PatchOp::Replace { path: pointer, value },
                        None => PatchOp::Add { path: pointer, value },
                    });
                }
                let body = Body::DataChanged { patch, cause: path.clone() };
                return Ok((Value::Map(data.into()), Some(body)));
            }
            EffectKind::GetData { key, default } => {
                let key = key_of(self, key)?;
                match self.snapshot.data.at_path(&key) {
                    Some(value) => value.clone(),
                    None => render(self, default)?,
                }
            }
            EffectKind::UpdateData { key, expr } => {
                let key = key_of(self, key)?;
                let held = self.snapshot.data.at_path(&key).cloned().unwrap_or_default();
                let value = expr.eval(&self.node_env(tree, path, Some(&held)))?.into_json();
                let body = self.data_patch(&key, value.clone(), path)?;
                return Ok((value, Some(body)));
            }
            EffectKind::DeleteData { key } => {
                let key = key_of(self, key)?;
                let Some(held) = self.snapshot.data.at_path(&key).cloned() else {
                    return Ok((Value::Null, None));
                };
                let pointer: String = key.split('.').map(|it| format!("/{it}")).collect();
                let patch = vec![PatchOp::Remove { path: pointer.into() }];
                return Ok((held, Some(Body::DataChanged { patch, cause: path.clone() })));
            }
            EffectKind::GetResult { step } => match step {
                None => super::scope::previous_result(&self.node_env(tree, path, None), tree, path),
                Some(step) => {
                    let name = key_of(self, step)?;
                    let env = self.node_env(tree, path, None);
                    let step = super::scope::step_named(&env, tree, path, &name);
                    step.and_then(|it| it.get("value").cloned()).unwrap_or_default()
                }
            },
            _ => Value::Null,
        };
        Ok((value, None))
    }

    /// Returns the record that sets a dotted key of `data`, without writing it.
    fn data_patch(&mut self, key: &str, value: Value, cause: &Text) -> Result<Body, EvalError> {
        let patch = vec![crate::step::put_op(&self.snapshot.data, key, value)?];
        Ok(Body::DataChanged { patch, cause: cause.clone() })
    }
}
