//! Compares what came of a run with what was expected; each difference is one finding.

use std::collections::{BTreeMap, BTreeSet};

use traaviis_model::{
    Body, Record, Seq, Text, Value,
    budget::{Amounts, BudgetKind, BudgetScope},
    definition::{Expectations, ExpectedEvent},
    snapshot::{Incident, NodeStatus},
};

use super::{
    Finding,
    activities::{Activity, activities},
};
use crate::{
    Machine,
    cost::{self, Estimate, Spent},
    simulate::Simulation,
};

pub(super) fn check(
    machine: &Machine,
    expect: &Expectations,
    run: &Simulation<'_>,
    findings: &mut Vec<Finding>,
) {
    let checks = Checks { machine, expect, run, activities: activities(machine, run.records()) };
    findings.extend(checks.state());
    findings.extend(checks.status());
    let snapshot = run.snapshot();
    for (part, wanted, found) in
        [("data", &expect.data, &snapshot.data), ("output", &expect.output, &snapshot.output)]
    {
        if let Some(wanted) = wanted {
            let found = found.clone().into_json();
            differences(&checks.at(part), part, wanted, &found, findings);
        }
    }
    findings.extend(checks.called());
    findings.extend(checks.not_called());
    findings.extend(checks.order());
    findings.extend(checks.overlap());
    findings.extend(checks.virtual_delay());
    findings.extend(checks.emitted());
    findings.extend(checks.budgets());
    findings.extend(checks.incidents());
    findings.extend(checks.max_usd());
}

struct Checks<'a> {
    machine: &'a Machine,
    expect: &'a Expectations,
    run: &'a Simulation<'a>,
    activities: Vec<Activity>,
}

impl Checks<'_> {
    fn at(&self, part: &str) -> String {
        format!("{}/{part}", self.expect.pointer)
    }

    fn state(&self) -> Option<Finding> {
        let snapshot = self.run.snapshot();
        let whole = snapshot.state();
        let is_active = |path: &Text| {
            // The whole configuration, in the words in which it is told.
            **path == *whole
                || snapshot.configuration.iter().any(|leaf| {
                    leaf.strip_prefix(&**path)
                        .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
                })
        };
        let missing: Vec<&Text> = self.expect.state.iter().filter(|it| !is_active(it)).collect();
        (!missing.is_empty()).then(|| {
            let found = format!("state `{whole}`");
            Finding::new(self.at("state"), format!("state {}", list(missing)), found)
        })
    }

    fn status(&self) -> Option<Finding> {
        let snapshot = self.run.snapshot();
        let wanted = self.expect.status.filter(|it| *it != snapshot.status)?;
        let mut found = format!("`{}` in state `{}`", snapshot.status.as_str(), snapshot.state());
        if let Some(error) = &snapshot.error {
            found += &format!(" ({}: {})", error.code, error.message);
        }
        for incident in &snapshot.incidents {
            found += &format!(" ({}: {})", incident.kind, incident.message);
        }
        found += &self.waits_for();
        let expected = format!("status `{}`", wanted.as_str());
        Some(Finding::new(self.at("status"), expected, found))
    }

    /// Says what an open run waits for: mostly it is time that nobody let pass.
    fn waits_for(&self) -> String {
        let snapshot = self.run.snapshot();
        if snapshot.status.is_finished() {
            return String::new();
        }
        let mut text = String::new();
        if let Some(due) = snapshot.next_due() {
            text += &format!("; its next timer is due in {}", due.since(self.run.now()));
        }
        let nodes = snapshot.trees.iter().flat_map(|tree| &tree.nodes);
        for (path, _) in nodes.filter(|(_, it)| it.status == NodeStatus::Started) {
            text += &format!("; call `{path}` is not answered yet");
        }
        text
    }

    fn count(&self, name: &str) -> u64 {
        self.activities.iter().filter(|it| it.is(name)).count() as u64
    }

    fn called(&self) -> impl Iterator<Item = Finding> {
        self.expect.called.iter().filter_map(|(name, wanted)| {
            let found = self.count(name);
            let pointer = format!("{}/{}", self.at("called"), escape(name));
            (found != *wanted).then(|| {
                let expected = format!("{} of `{name}`", calls(*wanted));
                Finding::new(pointer, expected, calls(found))
            })
        })
    }

    fn not_called(&self) -> impl Iterator<Item = Finding> {
        self.expect.not_called.iter().filter_map(|name| {
            let found = self.count(name);
            let expected = format!("no call of `{name}`");
            (found > 0).then(|| Finding::new(self.at("not_called"), expected, calls(found)))
        })
    }

    /// Compares which incidents are open, in any order.
    fn incidents(&self) -> Option<Finding> {
        let mut wanted: Vec<&Text> = self.expect.incidents.as_ref()?.iter().collect();
        let open = &self.run.snapshot().incidents;
        let mut found: Vec<&Text> = open.iter().map(|it| &it.kind).collect();
        wanted.sort();
        found.sort();
        if wanted == found {
            return None;
        }
        let expected = match wanted.is_empty() {
            true => "no open incident".to_string(),
            false => format!("open incidents {}", list(wanted)),
        };
        let about = |it: &Incident| format!("`{}` at `{}` ({})", it.kind, it.path, it.message);
        let found = match found.is_empty() {
            true => "none".to_string(),
            false => open.iter().map(about).collect::<Vec<_>>().join(", "),
        };
        Some(Finding::new(self.at("incidents"), expected, found))
    }

    fn max_usd(&self) -> Option<Finding> {
        let most = self.expect.max_usd_micros?;
        let at_most = |it: u64| format!("a cost of at most {}", BudgetKind::Usd.text(it));
        let (expected, found) = match cost_of(self.run.records()) {
            Ok(cost) if cost <= most => return None,
            Ok(cost) => (at_most(most), BudgetKind::Usd.text(cost)),
            Err((path, model)) => {
                let found = format!(
                    "no price for model `{model}` of `{path}`; let its mock say `cost_usd`"
                );
                (at_most(most), found)
            }
        };
        Some(Finding::new(self.at("max_usd"), expected, found))
    }

    fn budgets(&self) -> Vec<Finding> {
        let mut findings = Vec::new();
        for wanted in &self.expect.budgets {
            let place = &wanted.place;
            let Some((spent, reserved)) = self.budget(place) else {
                let expected = format!("a budget of `{place}`");
                findings.push(Finding::new(wanted.pointer.clone(), expected, "none"));
                continue;
            };
            let parts = [("spent", &wanted.spent, spent), ("reserved", &wanted.reserved, reserved)];
            for (part, amounts, found) in parts {
                for (kind, amount) in amounts.iter().filter(|(kind, it)| found.of(*kind) != *it) {
                    let (name, amount) = (kind.as_str(), kind.text(*amount));
                    let expected = format!("{part} `{name}: {amount}` of `{place}`");
                    let pointer = format!("{}/{part}/{name}", wanted.pointer);
                    findings.push(Finding::new(pointer, expected, kind.text(found.of(*kind))));
                }
            }
        }
        findings
    }

    /// Returns what was spent and is reserved of a budget; none when there is no such budget. One
    /// from which nothing was taken is not kept.
    fn budget(&self, place: &str) -> Option<(Amounts, Amounts)> {
        let is_run = place == "run";
        let found = self.run.snapshot().budgets.iter().find(|it| match &it.scope {
            BudgetScope::Run => is_run,
            other => other.place() == place,
        });
        let state = self.machine.by_path.get(place).map(|it| &self.machine.states[*it]);
        let has_budget = state.is_some_and(|it| it.budgets.is_some())
            || is_run && self.machine.definition().budgets.is_some();
        let amounts = found.map(|it| (it.spent, it.reserved));
        amounts.or_else(|| has_budget.then(Default::default))
    }

    fn order(&self) -> Option<Finding> {
        let mut rest = self.activities.iter();
        self.expect.order.iter().find(|name| !rest.any(|it| it.is(name)))?;
        let wanted = list(&self.expect.order);
        let named = |it: &Activity| self.expect.order.iter().find(|name| it.is(name)).cloned();
        let found: Vec<Text> = self.activities.iter().filter_map(named).collect();
        let found = match found.is_empty() {
            true => "none of them".to_string(),
            false => list(&found),
        };
        Some(Finding::new(self.at("order"), format!("the order {wanted}"), found))
    }

    fn overlap(&self) -> impl Iterator<Item = Finding> {
        self.expect.overlap.iter().filter(|group| !self.overlaps(group)).map(|group| {
            let expected = format!("{} at the same moment", list(group));
            let missing: Vec<&Text> = group.iter().filter(|it| self.count(it) == 0).collect();
            let found = match missing.is_empty() {
                true => "one only after another".to_string(),
                false => format!("no {}", list(missing)),
            };
            Finding::new(self.at("overlap"), expected, found)
        })
    }

    /// Says whether all of a group ran at one moment; a name given twice, twice.
    fn overlaps(&self, group: &[Text]) -> bool {
        // If there is such a moment, then also one at which some activity begins.
        self.activities.iter().map(|it| it.begun).any(|moment| {
            let runs = |it: &&Activity| it.begun <= moment && moment < it.ended;
            group.iter().all(|name| {
                let wanted = group.iter().filter(|it| *it == name).count();
                self.activities.iter().filter(runs).filter(|it| it.is(name)).count() >= wanted
            })
        })
    }

    fn virtual_delay(&self) -> Option<Finding> {
        let snapshot = self.run.snapshot();
        let found = snapshot.updated_at.since(snapshot.created_at);
        let least = self.expect.min_virtual_delay.filter(|it| found < *it);
        let most = self.expect.max_virtual_delay.filter(|it| found > *it);
        let (key, words, wanted) = match (least, most) {
            (Some(least), _) => ("min_virtual_delay", "at least", least),
            (None, Some(most)) => ("max_virtual_delay", "at most", most),
            (None, None) => return None,
        };
        let expected = format!("{words} {wanted} from start to end");
        Some(Finding::new(self.at(key), expected, found.to_string()))
    }

    fn emitted(&self) -> Option<Finding> {
        let emitted: Vec<(&Text, &Value, Option<&Text>)> = self
            .run
            .records()
            .iter()
            .filter_map(|it| match &it.body {
                Body::Emitted { event, data, subject } => Some((event, data, subject.as_ref())),
                _ => None,
            })
            .collect();
        let mut rest = emitted.iter();
        let missing = self.expect.emitted.iter().find(|it| !rest.any(|found| fits(it, found)))?;
        let mut expected = format!("event `{}` emitted", missing.event);
        if let Some(data) = &missing.data {
            expected += &format!(" with {data}");
        }
        let shown: Vec<String> =
            emitted.iter().map(|(event, data, _)| format!("`{event}` with {data}")).collect();
        let found = match shown.is_empty() {
            true => "none".to_string(),
            false => shown.join(", "),
        };
        Some(Finding::new(self.at("emitted"), expected, found))
    }
}

/// Returns what all attempts of a run have cost, in millionths of a US dollar: what their outcomes
/// say, and the most that they may have cost where these say nothing. Where that is not known
/// either, returns the call and its model.
fn cost_of(records: &[Record]) -> Result<u64, (Text, Text)> {
    let mut calls: BTreeMap<(Seq, &Text), (&Text, &Value)> = BTreeMap::new();
    let mut running: BTreeSet<(Seq, &Text)> = BTreeSet::new();
    let mut sum = 0u64;
    let most_of = |node: &(Seq, &Text), most: &Estimate| match &most.unpriced {
        Some(model) => Err((node.1.clone(), model.clone())),
        None => Ok(most.usd_micros(most.output)),
    };
    for record in records {
        let Some(node) = record.body.node() else { continue };
        if let Body::EffectScheduled { effect, input, key: Some(_), .. } = &record.body {
            calls.insert(node, (effect, input));
        }
        let Some(most) = calls.get(&node).and_then(|(kind, input)| cost::estimate(kind, input))
        else {
            continue;
        };
        let told = match &record.body {
            // The former attempt, if it still runs, was never heard of again.
            Body::EffectStarted { .. } if running.insert(node) => continue,
            Body::EffectStarted { .. } => Spent::default(),
            _ if !running.contains(&node) => continue,
            Body::EffectCompleted { value, .. } => most.spent(value),
            Body::EffectAttemptFailed { error, .. } | Body::EffectFailed { error, .. } => {
                most.spent_by_failure(error)
            }
            Body::EffectCancelled { .. } => Spent::default(),
            _ => continue,
        };
        if !matches!(record.body, Body::EffectStarted { .. }) {
            running.remove(&node);
        }
        let cost = told.usd_micros.map_or_else(|| most_of(&node, &most), Ok)?;
        sum = sum.saturating_add(cost);
    }
    // What still runs may cost as much.
    for node in running {
        let most = calls.get(&node).and_then(|(kind, input)| cost::estimate(kind, input));
        sum = sum.saturating_add(most.map_or(Ok(0), |it| most_of(&node, &it))?);
    }
    Ok(sum)
}

fn fits(wanted: &ExpectedEvent, found: &(&Text, &Value, Option<&Text>)) -> bool {
    let mut findings = Vec::new();
    if let Some(data) = &wanted.data {
        differences("", "", data, &found.1.clone().into_json(), &mut findings);
    }
    wanted.event == *found.0
        && findings.is_empty()
        && wanted.subject.as_ref().is_none_or(|it| Some(it) == found.2)
}

/// Compares part by part: of a map the keys that are wanted, everything else whole.
fn differences(
    pointer: &str,
    name: &str,
    wanted: &Value,
    found: &Value,
    findings: &mut Vec<Finding>,
) {
    let (Some(keys), Some(map)) = (wanted.as_map(), found.as_map()) else {
        if wanted != found {
            let found = found.to_string();
            findings.push(Finding::new(pointer, format!("`{name}` to be {wanted}"), found));
        }
        return;
    };
    for (key, wanted) in keys.iter() {
        let pointer = format!("{pointer}/{}", escape(key));
        let name = format!("{name}.{key}");
        match map.get(key) {
            Some(found) => differences(&pointer, &name, wanted, found, findings),
            None => {
                let expected = format!("`{name}` to be {wanted}");
                findings.push(Finding::new(pointer, expected, "nothing"));
            }
        }
    }
}

fn calls(count: u64) -> String {
    match count {
        0 => "no call".into(),
        1 => "1 call".into(),
        count => format!("{count} calls"),
    }
}

fn list<'a>(names: impl IntoIterator<Item = &'a Text>) -> String {
    let names: Vec<String> = names.into_iter().map(|it| format!("`{it}`")).collect();
    names.join(", ")
}

fn escape(key: &str) -> String {
    key.replace('~', "~0").replace('/', "~1")
}
