//! How records are counted: a follower of the log, in memory.

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet, HashMap},
};

use serde::{Deserialize, Serialize};
use traaviis_model::{InstanceId, TenantId, Text, Timestamp, Zone, record::ModelUse};
use traaviis_policy::{invoice::Month, spending::Amount};
use traaviis_ports::{Line, Position};

use super::{
    Counts, MonthCounts,
    counts::OTHER,
    line::{self, Hash, Head, Kind},
    open::{Open, Turn},
};
use crate::{
    budgets::{Purses, Settled},
    storage::Stored,
};

/// Definitions of a tenant whose workflow is remembered; what more of them use is under [`OTHER`].
const NAMES_MAX: usize = 5_000;
/// Records after which an instance is no copy of another one: a fork copies 16 MiB at most.
const COPIED_MAX: usize = 200_000;
/// Microseconds of a minute.
const MINUTE: u128 = 60_000_000;

/// What was counted.
#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) position: Position,
    /// Up to here an earlier release has counted, but for what is open.
    pub(super) counted_to: Position,
    pub(super) months: HashMap<(TenantId, Month), MonthCounts>,
    pub(super) standing: HashMap<TenantId, Standing>,
    pub(super) purses: Purses,
    /// What is not in a row yet.
    pub(super) changed: BTreeSet<(TenantId, Month)>,
    pub(super) stands: BTreeSet<TenantId>,
    pub(super) put_to: Position,
    /// Nothing is to be closed before.
    pub(super) closed_until: Option<Timestamp>,
    /// What was counted since the process began, of all tenants.
    pub(super) metered: Counts,
    calendars: HashMap<TenantId, Calendar>,
    /// The instance whose first records were read last.
    run: Option<Run>,
}

/// What stands beside the months of a tenant.
#[derive(Debug, Default)]
pub(super) struct Standing {
    pub(super) open: Open,
    /// Workflows by their definitions.
    names: HashMap<Hash, Text>,
    /// Bytes that are kept, up to when they are counted.
    stored: Option<(u64, Timestamp)>,
}

/// The same as it rests.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Resting {
    open: Open,
    names: BTreeMap<Text, Text>,
    stored: Option<(u64, Timestamp)>,
}

impl Resting {
    pub(super) fn of(standing: &Standing) -> Resting {
        let Standing { open, names, stored } = standing;
        let name = |(hash, name): (&Hash, &Text)| {
            Some((std::str::from_utf8(hash).ok()?.into(), name.clone()))
        };
        let names = names.iter().filter_map(name).collect();
        Resting { open: open.clone(), names, stored: *stored }
    }
}

impl From<Resting> for Standing {
    fn from(resting: Resting) -> Standing {
        let Resting { open, names, stored } = resting;
        let name = |(hash, name): (Text, Text)| Some((hash.as_bytes().try_into().ok()?, name));
        Standing { open, names: names.into_iter().filter_map(name).collect(), stored }
    }
}

/// The day of a tenant that was met last; most records are of the same.
#[derive(Clone, Debug)]
struct Calendar {
    zone: Zone,
    day: i64,
    begins: Timestamp,
    ends: Timestamp,
    month: Month,
    name: Text,
    /// Its time zone was not asked for since.
    is_old: bool,
}

impl Calendar {
    fn of(zone: Zone, at: Timestamp) -> Calendar {
        let day = zone.day_of(at);
        let month = Month::of_day(day);
        let name = format!("{month}-{:02}", day - month.first_day() + 1).into();
        let (begins, ends) = (zone.begins(day), zone.begins(day + 1));
        Calendar { zone, day, begins, ends, month, name, is_old: false }
    }
}

/// What was counted of an instance from its first record on, without another one between: if it
/// is a fork, these records are copies, and say so in the end.
#[derive(Debug)]
struct Run {
    tenant: TenantId,
    instance: InstanceId,
    records: usize,
    counted: Vec<(Month, Text, Text, Counts)>,
    models: Vec<(Month, Text, Counts)>,
    turns: Vec<(Turn, i64, Timestamp)>,
    spent: Vec<(Amount, Timestamp)>,
}

impl Run {
    fn of(head: &Head) -> Run {
        Run {
            tenant: head.tenant,
            instance: head.instance,
            records: 0,
            counted: Vec::new(),
            models: Vec::new(),
            turns: Vec::new(),
            spent: Vec::new(),
        }
    }

    fn count(&mut self, day: &Calendar, workflow: &Text, counts: &Counts) {
        match self.counted.last_mut() {
            Some(last) if last.1 == day.name && last.2 == *workflow => last.3.add(counts),
            _ => {
                let place = (day.month, day.name.clone(), workflow.clone(), counts.clone());
                self.counted.push(place);
            }
        }
    }
}

type ZoneOf<'a> = &'a dyn Fn(TenantId) -> Zone;

impl State {
    /// Asks for the time zone of each tenant anew when it is met next.
    pub(super) fn look_again(&mut self) {
        self.calendars.values_mut().for_each(|it| it.is_old = true);
    }

    fn calendar(&mut self, tenant: TenantId, at: Timestamp, zone_of: ZoneOf<'_>) -> Calendar {
        if let Some(it) = self.calendars.get_mut(&tenant) {
            if it.is_old {
                let zone = zone_of(tenant);
                it.is_old = false;
                if zone != it.zone {
                    *it = Calendar::of(zone, at);
                }
            }
            if !(it.begins <= at && at < it.ends) {
                *it = Calendar::of(it.zone.clone(), at);
            }
            return it.clone();
        }
        let calendar = Calendar::of(zone_of(tenant), at);
        self.calendars.insert(tenant, calendar.clone());
        calendar
    }

    /// Counts something that no record tells of.
    pub(super) fn add(
        &mut self,
        tenant: TenantId,
        at: Timestamp,
        counts: &Counts,
        zone_of: ZoneOf<'_>,
    ) {
        let day = self.calendar(tenant, at, zone_of);
        self.months.entry((tenant, day.month)).or_default().add(&day.name, counts);
        self.metered.add(counts);
        self.changed.insert((tenant, day.month));
    }

    /// Notes how many bytes are kept of each tenant from now on, and counts those before up to now,
    /// also for the time in which no process was there.
    pub(super) fn note_stored(
        &mut self,
        stored: &HashMap<TenantId, Stored>,
        now: Timestamp,
        zone_of: ZoneOf<'_>,
    ) {
        let known = self.standing.iter().filter(|it| it.1.stored.is_some()).map(|it| *it.0);
        let tenants: BTreeSet<TenantId> = known.chain(stored.keys().copied()).collect();
        for tenant in tenants {
            let bytes = stored.get(&tenant).map_or(0, Stored::sum);
            let standing = self.standing.entry(tenant).or_default();
            // While it stays as it is, whoever reads counts it up to then.
            if standing.stored.is_some_and(|it| it.0 == bytes) {
                continue;
            }
            let before = standing.stored.replace((bytes, now));
            self.stands.insert(tenant);
            let Some((bytes, mut from)) = before.filter(|it| it.0 > 0) else { continue };
            while from < now {
                let to = self.calendar(tenant, from, zone_of).ends.min(now);
                self.add(tenant, from, &kept(bytes, from, to), zone_of);
                from = to;
            }
        }
    }

    /// Counts a line of the log.
    pub(super) fn count(&mut self, line: Line<'_>, zone_of: ZoneOf<'_>) {
        let Some(head) = line::read(line.bytes) else { return };
        let is_counted = line.position < self.counted_to;
        if head.kind == Kind::Reserved {
            if !is_counted {
                self.purses.reserve(line);
            }
            return;
        }
        let day = self.calendar(head.tenant, head.at, zone_of);
        match &self.run {
            _ if head.seq == 1 => self.run = Some(Run::of(&head)),
            Some(it) if it.instance == head.instance && it.tenant == head.tenant => {}
            _ => self.run = None,
        }
        if head.kind == Kind::Forked {
            self.take_back(&day.zone);
        }
        let workflow = self.workflow(&head, line.bytes);
        let turn = match head.kind {
            Kind::Created | Kind::Retried | Kind::Forked => Some(Turn::Opens),
            Kind::Finished => Some(Turn::Closes),
            _ => None,
        };
        if let Some(turn) = turn {
            let standing = self.standing.entry(head.tenant).or_default();
            standing.open.note(turn, day.day, &day.zone, head.at);
            self.stands.insert(head.tenant);
        }
        let mut counts = Counts::default();
        let mut settled = None;
        match head.kind {
            // An earlier release has counted it.
            _ if is_counted => {}
            Kind::Created | Kind::Forked => counts.workflow_executions = 1,
            Kind::Transition => counts.state_transitions = 1,
            Kind::EffectScheduled => counts.effect_executions = 1,
            Kind::TaskCreated => counts.human_tasks = 1,
            Kind::Settled => {
                settled = self.purses.settle(line);
                if let Some(it) = &settled {
                    counts = counts_of(it);
                }
            }
            Kind::Finished | Kind::Retried | Kind::Upgraded | Kind::Reserved => {}
        }
        self.remember(&head, &day, &workflow, (&counts, turn, settled.as_ref()));
        if counts == Counts::default() {
            return;
        }
        let month = self.months.entry((head.tenant, day.month)).or_default();
        month.add_of(&day.name, &workflow, &counts);
        if let Some(model) = settled.as_ref().and_then(|it| it.model.as_ref()) {
            month.add_model(&model.model, &counts);
        }
        self.metered.add(&counts);
        self.changed.insert((head.tenant, day.month));
    }

    /// Remembers what was counted, for the case that it turns out to be copied.
    fn remember(
        &mut self,
        head: &Head,
        day: &Calendar,
        workflow: &Text,
        (counts, turn, settled): (&Counts, Option<Turn>, Option<&Settled>),
    ) {
        let Some(run) = &mut self.run else { return };
        run.records += 1;
        if run.records > COPIED_MAX || head.kind == Kind::Forked {
            self.run = None;
            return;
        }
        run.turns.extend(turn.map(|it| (it, day.day, head.at)));
        run.count(day, workflow, counts);
        if let Some(settled) = settled {
            run.spent.push((settled.cost, head.at));
            let model = settled.model.as_ref();
            run.models.extend(model.map(|it| (day.month, it.model.clone(), counts.clone())));
        }
    }

    /// Takes back what the copies of a fork have counted.
    fn take_back(&mut self, zone: &Zone) {
        let Some(run) = self.run.take() else { return };
        for (month, day, workflow, counts) in &run.counted {
            if let Some(it) = self.months.get_mut(&(run.tenant, *month)) {
                it.take_back(day, workflow, counts);
                self.changed.insert((run.tenant, *month));
            }
            self.metered.take_back(counts);
        }
        for (month, model, counts) in &run.models {
            let of = self.months.get_mut(&(run.tenant, *month));
            if let Some(it) = of.and_then(|it| it.by_model.get_mut(model)) {
                it.take_back(counts);
            }
        }
        let standing = self.standing.entry(run.tenant).or_default();
        for (turn, day, at) in run.turns {
            standing.open.take_back(turn, day, zone, at);
        }
        for (cost, at) in run.spent {
            self.purses.take_back(run.tenant, cost, at);
        }
    }

    /// Returns the workflow whose definition has decided.
    fn workflow(&mut self, head: &Head, line: &[u8]) -> Text {
        let known = self.standing.get(&head.tenant).and_then(|it| it.names.get(&head.hash));
        match (known, head.kind) {
            (_, Kind::Upgraded) => self.learn_upgrade(head, line),
            (Some(name), _) => return name.clone(),
            (None, Kind::Created) => {
                if let Ok(made) = serde_json::from_slice::<Made<'_>>(line) {
                    let name = Text::from(&*made.workflow);
                    self.learn(head.tenant, head.hash, name.clone());
                    return name;
                }
            }
            (None, _) => {}
        }
        OTHER.into()
    }

    fn learn(&mut self, tenant: TenantId, hash: Hash, name: Text) {
        let names = &mut self.standing.entry(tenant).or_default().names;
        if names.len() < NAMES_MAX && names.insert(hash, name).is_none() {
            self.stands.insert(tenant);
        }
    }

    /// The definition after an upgrade is of the workflow that the one before was of.
    fn learn_upgrade(&mut self, head: &Head, line: &[u8]) {
        let Ok(turned) = serde_json::from_slice::<Turned<'_>>(line) else { return };
        let hash = |it: &str| Hash::try_from(it.as_bytes()).ok();
        let (Some(from), Some(to)) = (hash(&turned.from), hash(&turned.to)) else { return };
        let names = self.standing.get(&head.tenant).map(|it| &it.names);
        let Some(names) = names.filter(|it| !it.contains_key(&to)) else { return };
        if let Some(name) = names.get(&from).cloned() {
            self.learn(head.tenant, to, name);
        }
    }

    /// Returns what was counted in a month, with how long instances were open up to now.
    pub(super) fn month(
        &self,
        tenant: TenantId,
        month: Month,
        zone: &Zone,
        now: Timestamp,
    ) -> MonthCounts {
        let mut counts = self.months.get(&(tenant, month)).cloned().unwrap_or_default();
        let Some(standing) = self.standing.get(&tenant) else { return counts };
        let (from, to) = (month.first_day(), month.next().first_day());
        for (day, active_us) in standing.open.of_days((from, to), zone, now) {
            if active_us > 0 {
                let name = format!("{month}-{:02}", day - from + 1).into();
                counts.add(&name, &Counts { active_us, ..Counts::default() });
            }
        }
        let Some((bytes, since)) = standing.stored.filter(|it| it.0 > 0) else { return counts };
        for day in zone.day_of(since).max(from)..to.min(zone.day_of(now) + 1) {
            let name = format!("{month}-{:02}", day - from + 1).into();
            let (begins, ends) = (zone.begins(day).max(since), zone.begins(day + 1).min(now));
            counts.add(&name, &kept(bytes, begins, ends));
        }
        counts
    }
}

/// What of a first record is read.
#[derive(Deserialize)]
struct Made<'a> {
    #[serde(borrow)]
    workflow: Cow<'a, str>,
}

/// What of the record of an upgrade is read.
#[derive(Deserialize)]
struct Turned<'a> {
    #[serde(borrow)]
    from: Cow<'a, str>,
    #[serde(borrow)]
    to: Cow<'a, str>,
}

/// Returns what so many bytes count that are kept from a time to another.
fn kept(bytes: u64, from: Timestamp, to: Timestamp) -> Counts {
    let micros = u128::try_from(to.0 - from.0).unwrap_or(0);
    let minutes = u64::try_from(u128::from(bytes) * micros / MINUTE).unwrap_or(u64::MAX);
    Counts { stored_byte_minutes: minutes, ..Counts::default() }
}

fn counts_of(settled: &Settled) -> Counts {
    let Amount { usd_micros, tokens } = settled.cost;
    let ModelUse { input_tokens, output_tokens, .. } = settled.model.clone().unwrap_or_default();
    Counts {
        llm_tokens: tokens,
        llm_cost_micros: usd_micros,
        llm_input_tokens: input_tokens,
        llm_output_tokens: output_tokens,
        ..Counts::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(kind: &str, at: &str, more: &str) -> Vec<u8> {
        let (tenant, hash) = (tenant(), "ab".repeat(32));
        let head = format!(
            r#"{{"tenant_id":"{tenant}","instance_id":"{tenant}","seq":2,"v":1,"at":"{at}","#
        );
        let actor = r#""actor":{"type":"engine","id":"e"}"#;
        let rest =
            format!(r#""step":2,"definition_hash":"{hash}",{actor},"kind":"{kind}"{more}}}"#);
        (head + &rest).into()
    }

    fn tenant() -> TenantId {
        TenantId(uuid::Uuid::from_u128(7))
    }

    fn count(state: &mut State, position: Position, bytes: &[u8]) {
        state.count(Line { position, bytes, is_sealed: false }, &|_| Zone::utc());
    }

    fn of(state: &State, month: &str) -> Counts {
        let key = (tenant(), month.parse().unwrap());
        state.months.get(&key).map(|it| it.total.clone()).unwrap_or_default()
    }

    #[test]
    fn what_begins_is_counted_in_its_month_and_nothing_else_is() {
        let mut state = State::default();
        let november = "2026-11-30T23:59:59.999999Z";
        for kind in ["created", "transition", "transition", "effect_scheduled", "task_created"] {
            count(&mut state, 0, &line(kind, november, r#","data":{"kind":"created"}"#));
        }
        for kind in ["effect_started", "document_put", "task_decided"] {
            count(&mut state, 0, &line(kind, november, ""));
        }
        count(&mut state, 0, &line("created", "2026-12-01T00:00:00.000000Z", ""));
        count(&mut state, 0, b"no record");
        let expected = Counts {
            workflow_executions: 1,
            state_transitions: 2,
            effect_executions: 1,
            human_tasks: 1,
            ..Counts::default()
        };
        assert_eq!(of(&state, "2026-11"), expected);
        let expected = Counts { workflow_executions: 1, ..Counts::default() };
        assert_eq!(of(&state, "2026-12"), expected);
        assert_eq!(state.months.len(), 2);
    }

    #[test]
    fn what_an_earlier_release_has_counted_is_read_again_for_what_is_open_alone() {
        let mut state = State { counted_to: 3, ..State::default() };
        let at = "2026-11-30T12:00:00.000000Z";
        for (position, kind) in [(0, "created"), (1, "transition"), (2, "budget_reserved")] {
            count(&mut state, position, &line(kind, at, r#","workflow":"Order""#));
        }
        count(&mut state, 3, &line("transition", at, ""));
        let expected = Counts { state_transitions: 1, ..Counts::default() };
        assert_eq!(of(&state, "2026-11"), expected);
        let now = "2026-11-30T13:00:00Z".parse().unwrap();
        let month = state.month(tenant(), "2026-11".parse().unwrap(), &Zone::utc(), now);
        assert_eq!(month.total.active_us, 3_600_000_000);
        assert_eq!(month.by_workflow["Order"].state_transitions, 1);
    }

    #[test]
    fn bytes_are_counted_for_as_long_as_they_are_kept_also_while_nobody_is_there() {
        let (mut state, hour) = (State::default(), 3_600_000_000);
        let (utc, begins) = (|_| Zone::utc(), "2026-11-29T12:00:00Z".parse::<Timestamp>().unwrap());
        let note = |state: &mut State, bytes, hours: i64| {
            let log = Stored { log: bytes, ..Stored::default() };
            let stored = [(tenant(), log)].into_iter().filter(|it| it.1.log > 0).collect();
            state.look_again();
            state.note_stored(&stored, Timestamp(begins.0 + hours * hour), &utc);
        };
        let hours = |state: &State, month: &str, at: i64| {
            let now = Timestamp(begins.0 + at * hour);
            let month = state.month(tenant(), month.parse().unwrap(), &Zone::utc(), now);
            let days = month.by_day.values().map(|it| it.stored_byte_minutes).sum::<u64>();
            assert_eq!(days, month.total.stored_byte_minutes);
            month.total.stored_byte_minutes / 60
        };
        note(&mut state, 100, 0);
        note(&mut state, 100, 1);
        assert_eq!(hours(&state, "2026-11", 2), 200);
        // A process that is away for a day finds what was kept meanwhile.
        let text = serde_json::to_string(&Resting::of(&state.standing[&tenant()])).unwrap();
        let resting: Resting = serde_json::from_str(&text).unwrap();
        state.standing.insert(tenant(), resting.into());
        note(&mut state, 50, 24);
        assert_eq!(hours(&state, "2026-11", 24), 2_400);
        note(&mut state, 0, 40);
        assert_eq!(hours(&state, "2026-11", 40), 2_400 + 12 * 50);
        assert_eq!(hours(&state, "2026-12", 90), 4 * 50, "until it was gone");
        note(&mut state, 0, 41);
        assert_eq!(hours(&state, "2026-12", 90), 4 * 50);
    }

    #[test]
    fn a_line_costs_a_few_microseconds_at_most() {
        const LINES: u32 = 100_000;
        let (mut state, mut transition) = (State::default(), String::new());
        (0..10).for_each(|it| transition += &format!(r#","key{it}":"{}""#, "x".repeat(20)));
        let transition = line("transition", "2026-11-30T23:59:59.999999Z", &transition);
        let begun = std::time::Instant::now();
        (0..LINES).for_each(|_| count(&mut state, 0, &transition));
        let each = begun.elapsed() / LINES;
        println!("a line of {} bytes takes {each:?}", transition.len());
        assert!(each < std::time::Duration::from_micros(100), "{each:?}");
    }
}
