//! Functions of maps: merged, reduced to some keys, and looked into.

use std::collections::{BTreeMap, BTreeSet};

use traaviis_model::{ids::Text, value::Value};

use super::{Function, map_of, text_of};
use crate::expr::eval::{Evaluation, Fault};

pub(super) fn maps(
    function: Function,
    args: &[Value],
    run: &mut Evaluation<'_>,
) -> Result<Value, Fault> {
    let first = &args[0];
    match function {
        Function::Merge => {
            let mut merged: BTreeMap<Text, Value> = BTreeMap::new();
            for arg in args {
                if arg.is_null() {
                    continue;
                }
                let map = map_of(arg, "merge")?;
                run.budget.charge(map.len())?;
                merged.extend(map.iter().map(|(key, value)| (key.clone(), value.clone())));
            }
            Ok(Value::map(merged))
        }
        Function::Pick | Function::Omit => {
            let name = if function == Function::Pick { "pick" } else { "omit" };
            let map = map_of(first, name)?;
            let keys = match &args[1..] {
                [Value::List(keys)] => keys.as_slice(),
                keys => keys,
            };
            let wanted =
                keys.iter().map(|it| text_of(it, name)).collect::<Result<BTreeSet<_>, _>>()?;
            run.budget.charge(map.len() / 2 + keys.len())?;
            let keep = function == Function::Pick;
            Ok(Value::map(
                map.iter()
                    .filter(|(key, _)| wanted.contains(&***key) == keep)
                    .map(|(key, value)| (key.clone(), value.clone())),
            ))
        }
        Function::Get => {
            let path = text_of(&args[1], "get")?;
            run.budget.charge(path.len() / 16)?;
            Ok(first.at_path(path).or(args.get(2)).cloned().unwrap_or_default())
        }
        Function::Keys => {
            let map = map_of(first, "keys")?;
            run.budget.charge(map.len() / 4)?;
            Ok(Value::list(map.iter().map(|(key, _)| Value::String(key.clone()))))
        }
        _ => {
            let map = map_of(first, "values")?;
            run.budget.charge(map.len() / 4)?;
            Ok(Value::list(map.iter().map(|(_, value)| value.clone())))
        }
    }
}
