//! How rules are looked at: a follower of the log for what happens, a look now and then for numbers
//! as they stand.
//!
//! ```text
//! log -> happenings of tenants with rules -> windows -> broken: alert + when, in one change
//! ```
//!
//! The position and the windows are put down together. A kill leaves happenings that are read once
//! more; the rule that they broke rests since then, so nothing is raised twice, and a rule that is
//! found broken late is told of with the time at which it was.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{MutexGuard, PoisonError},
};

use memchr::memmem;
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;
use traaviis_model::{
    Body, Record, Span, TenantCtx, TenantId, Text, Timestamp, UserId, Value, budget::BudgetKind,
    record::Status, tenant::PLATFORM,
};
use traaviis_policy::{
    rule::{Measure, Window, is_rested},
    spending::{NOTICES as SHARES, notice},
};
use traaviis_ports::{DocumentRow, Position};

use super::{AlertRule, NOTICES, RuleState, tell::AlertMail};
use crate::{
    alerts::{Alert, oldest},
    ask::Ask,
    audit::{AUDIT, entries_of},
    budgets::Stands,
    engine::Engine,
    error::Error,
    ledger::{ALERT_FEED, Document},
    platform::{Platform, engine as by_itself},
};

/// Records that are looked at before others have a turn.
const PAGE: usize = 50_000;
/// Numbers as they stand are looked at this often.
const LOOK_EVERY: Span = Span::secs(10);
/// Positions after which it is put down how far the log was read, when nothing happened.
const PUT_AFTER: Position = 100_000;
/// Ids of rows.
const POSITION: &str = "position";
const WINDOWS: &str = "windows";

/// How far the log was read.
#[derive(Debug, Default)]
pub(crate) struct Feed {
    /// What rests was read.
    is_open: bool,
    position: Position,
    put_to: Position,
    windows: HashMap<TenantId, BTreeMap<Text, Window>>,
    changed: BTreeSet<TenantId>,
    looked_at: Option<Timestamp>,
}

/// Something that rules count.
#[derive(Clone, Debug, PartialEq)]
struct Happening {
    tenants: Vec<TenantId>,
    /// Whose tenants those are, where only that is known.
    user: Option<UserId>,
    measure: Measure,
    at: Timestamp,
    position: Position,
    count: u64,
}

/// Of which budgets somebody was told: by period and kind, for which one, and of what share.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct BudgetNotices {
    told: BTreeMap<Text, (Timestamp, u64)>,
}

impl Document for BudgetNotices {
    const KIND: &'static str = NOTICES;

    fn id(&self) -> Text {
        "notices".into()
    }
}

type Rules = HashMap<TenantId, Vec<AlertRule>>;

impl Platform {
    /// Looks at what happened since, raises alerts and writes to people; called again and again by
    /// one thread. Says whether there is more to be read at once.
    pub fn keep_alerts(&self, engine: &dyn Engine) -> Result<bool, Error> {
        let rules = self.all_rules()?;
        let mut feed = self.feed();
        let more = self.look_on(&mut feed, &rules);
        if more.is_err() {
            // What was counted and not put down is read again.
            *feed = Feed { looked_at: feed.looked_at, ..Feed::default() };
        }
        let now = self.now();
        if feed.looked_at.is_none_or(|it| now.since(it) >= LOOK_EVERY) {
            feed.looked_at = Some(now);
            drop(feed);
            self.look_at_rules(engine, &rules, now)?;
            self.look_at_budgets(now)?;
            self.look_at_plans(now)?;
            self.look_at_standing(engine, now)?;
        }
        self.write_to_people()?;
        more
    }

    fn feed(&self) -> MutexGuard<'_, Feed> {
        self.feed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn all_rules(&self) -> Result<Rules, Error> {
        let mut rules = Rules::new();
        for tenant in self.lookup(|it| it.with_rules()) {
            let all =
                self.ledgers.read(&TenantCtx::keeper_of(tenant), |it| it.list::<AlertRule>(""))?;
            let awake = all.into_iter().map(|it| it.it).filter(|it| !it.muted).collect();
            rules.insert(tenant, awake);
        }
        Ok(rules)
    }

    fn look_on(&self, feed: &mut Feed, rules: &Rules) -> Result<bool, Error> {
        if !feed.is_open {
            self.open_feed(feed, rules)?;
        }
        let is_counted = |it: &AlertRule| it.about().is_some_and(Measure::is_counted);
        if !rules.values().flatten().any(is_counted) {
            // A rule that is made later looks at nothing before it.
            feed.position = self.ledgers.tail();
            return Ok(false);
        }
        let (happenings, read_to, more) = self.happenings(feed.position, rules)?;
        for it in &happenings {
            for tenant in &it.tenants {
                self.count(feed, *tenant, rules.get(tenant).map_or(&[][..], Vec::as_slice), it)?;
            }
        }
        feed.position = read_to;
        self.put_feed(feed, rules)?;
        Ok(more)
    }

    fn open_feed(&self, feed: &mut Feed, rules: &Rules) -> Result<(), Error> {
        let platform = TenantCtx::platform();
        let row = self.ledgers.row(&platform, ALERT_FEED, POSITION)?;
        let tail = self.ledgers.tail();
        // Rows of another log say nothing about this one; without any, rules say where they begin.
        let known = row.map(|it| it.version).filter(|it| *it <= tail);
        let first = rules.values().flatten().map(|it| it.from).min();
        feed.position = known.or(first).unwrap_or(tail);
        feed.put_to = feed.position;
        for tenant in rules.keys().filter(|_| known.is_some()) {
            let row = self.ledgers.row(&TenantCtx::keeper_of(*tenant), ALERT_FEED, WINDOWS)?;
            let times = row.and_then(|it| {
                serde_json::from_slice::<BTreeMap<Text, Vec<Timestamp>>>(&it.body?).ok()
            });
            let windows = times.unwrap_or_default().into_iter();
            feed.windows.insert(*tenant, windows.map(|(id, it)| (id, Window::of(it))).collect());
        }
        feed.is_open = true;
        Ok(())
    }

    /// Reads what happened to tenants with rules; says up to where, and whether there is more.
    fn happenings(
        &self,
        from: Position,
        rules: &Rules,
    ) -> Result<(Vec<Happening>, Position, bool), Error> {
        let (mut found, mut read_to, mut count) = (Vec::new(), from, 0);
        self.ledgers.scan_while(from, &mut |line| {
            read_to = line.position + 1;
            count += 1;
            for mut it in happenings_of(line.bytes, line.position) {
                if let Some(user) = it.user {
                    it.tenants = self.lookup(|all| all.tenants(user));
                }
                it.tenants.retain(|tenant| rules.contains_key(tenant));
                if !it.tenants.is_empty() {
                    found.push(it);
                }
            }
            count < PAGE
        })?;
        Ok((found, read_to, count >= PAGE))
    }

    fn count(
        &self,
        feed: &mut Feed,
        tenant: TenantId,
        rules: &[AlertRule],
        it: &Happening,
    ) -> Result<(), Error> {
        for rule in rules {
            if rule.about() != Some(it.measure) || it.position < rule.from {
                continue;
            }
            let windows = feed.windows.entry(tenant).or_default();
            let window = windows.entry(rule.id.clone()).or_default();
            feed.changed.insert(tenant);
            // More of one entry than it takes say nothing more.
            let times = it.count.min(rule.above + 1);
            let broken = (0..times)
                .fold(false, |broken, _| window.see(it.at, rule.above, rule.window) || broken);
            if broken {
                self.raise_by_rule(tenant, rule, it.at, None)?;
            }
        }
        Ok(())
    }

    fn put_feed(&self, feed: &mut Feed, rules: &Rules) -> Result<(), Error> {
        if feed.changed.is_empty() && feed.position - feed.put_to < PUT_AFTER {
            return Ok(());
        }
        let position = feed.position;
        let row = |tenant, id: &str, body: String| DocumentRow {
            tenant,
            kind: ALERT_FEED.into(),
            id: id.into(),
            version: position,
            body: Some(body.into_bytes()),
        };
        let mut rows = vec![row(PLATFORM, POSITION, "{}".into())];
        for tenant in &feed.changed {
            let of = rules.get(tenant).map_or(&[][..], Vec::as_slice);
            let windows = feed.windows.entry(*tenant).or_default();
            windows.retain(|id, _| of.iter().any(|it| it.id == *id));
            let times: BTreeMap<&Text, Vec<Timestamp>> =
                windows.iter().map(|(id, it)| (id, it.times().collect())).collect();
            rows.push(row(*tenant, WINDOWS, serde_json::json!(times).to_string()));
        }
        self.ledgers.keep_rows(&rows)?;
        feed.changed.clear();
        feed.put_to = position;
        Ok(())
    }

    /// Raises the alert of a rule, unless it rests; the alert and when it was are one change.
    fn raise_by_rule(
        &self,
        tenant: TenantId,
        rule: &AlertRule,
        at: Timestamp,
        value: Option<u64>,
    ) -> Result<(), Error> {
        let Some(measure) = rule.about() else { return Ok(()) };
        let keeper = TenantCtx::keeper_of(tenant);
        self.ledgers.change(&keeper, &by_itself(), |documents, changes| {
            // Somebody may have changed or removed it meanwhile.
            let Some(rule) = documents.get::<AlertRule>(&rule.id)? else { return Ok(()) };
            let last = documents.get::<RuleState>(&rule.id)?.map(|it| it.last);
            if rule.muted || !is_rested(last, rule.cool_down, at) {
                return Ok(());
            }
            if let Some(oldest) = oldest(documents)? {
                changes.remove::<Alert>(&oldest);
            }
            let id = Text::from(format!("rule-{}-{}", rule.id, at.0));
            let message = measure.message(rule.above, rule.window);
            changes.put(&Alert {
                message: format!("{}: {message}", rule.name),
                rule_id: Some(rule.id.clone()),
                value,
                ..Alert::by_itself(id.clone(), measure.as_str(), &rule.severity, at)
            });
            changes.put(&RuleState { id: rule.id.clone(), last: at });
            if rule.mail {
                changes.put(&AlertMail::new(id, message.clone(), self.now()));
            }
            Ok(())
        })
    }

    fn look_at_rules(
        &self,
        engine: &dyn Engine,
        rules: &Rules,
        now: Timestamp,
    ) -> Result<(), Error> {
        for (tenant, rules) in rules {
            let keeper = TenantCtx::keeper_of(*tenant);
            for measure in Measure::ALL.into_iter().filter(|it| !it.is_counted()) {
                let mut rules = rules.iter().filter(|it| it.about() == Some(measure)).peekable();
                if rules.peek().is_none() {
                    continue;
                }
                let value = match measure {
                    Measure::IncidentsOpen => {
                        let told = engine.ask(&keeper, Ask::Incidents)?;
                        told["incidents"].as_array().map_or(0, |it| it.len() as u64)
                    }
                    Measure::UsagePercent => {
                        let used = self.usage_in(&keeper, None)?;
                        let share = |it: &(_, u64)| used.plan.quota(it.0).percent(it.1);
                        used.used.iter().filter_map(share).max().unwrap_or(0)
                    }
                    Measure::QueueAge => {
                        let waits = engine.oldest_work(&keeper)?;
                        // Whatever waits now has waited until after the look was begun.
                        let age = waits.map_or(0, |it| self.now().since(it).as_millis() / 1_000);
                        u64::try_from(age).unwrap_or(0)
                    }
                    _ => self
                        .budgets_of(*tenant)?
                        .iter()
                        .filter_map(Stands::percent)
                        .max()
                        .unwrap_or(0),
                };
                for rule in rules.filter(|it| value > it.above) {
                    self.raise_by_rule(*tenant, rule, now, Some(value))?;
                }
            }
        }
        Ok(())
    }

    /// Tells of budgets that are spent for the most part, and of those that are spent: once each.
    fn look_at_budgets(&self, now: Timestamp) -> Result<(), Error> {
        for tenant in self.lookup(|it| it.with_budgets()) {
            let due: Vec<(Stands, u64)> = self
                .budgets_of(tenant)?
                .into_iter()
                .filter_map(|it| Some((it, notice(it.spent, it.limit?)?)))
                .collect();
            if due.is_empty() {
                continue;
            }
            self.ledgers.change(
                &TenantCtx::keeper_of(tenant),
                &by_itself(),
                |documents, changes| {
                    let mut notices =
                        documents.get::<BudgetNotices>("notices")?.unwrap_or_default();
                    let before = notices.clone();
                    for (stands, share) in &due {
                        let Stands { period, kind, ends, .. } = *stands;
                        let name = Text::from(format!("{} {}", period.as_str(), kind.as_str()));
                        let told = notices.told.get(&name).filter(|it| it.0 == ends).map(|it| it.1);
                        if told.is_some_and(|it| it >= *share) {
                            continue;
                        }
                        notices.told.insert(name.clone(), (ends, *share));
                        let id = format!(
                            "budget-{}-{}-{}-{share}",
                            period.as_str(),
                            kind.as_str(),
                            ends.0
                        );
                        let severity = if *share >= SHARES[1] { "high" } else { "medium" };
                        let limit = kind.text(stands.limit.unwrap_or_default());
                        let message = format!(
                            "{share} % of the budget of {limit}{} a {} are spent",
                            if kind == BudgetKind::Tokens { " tokens" } else { "" },
                            period.as_str()
                        );
                        changes.put(&Alert {
                            message: message.clone(),
                            value: Some(stands.spent),
                            ..Alert::by_itself(id.as_str().into(), "budget", severity, now)
                        });
                        changes.put(&AlertMail::new(id.into(), message, now));
                    }
                    if notices != before {
                        changes.put(&notices);
                    }
                    Ok(())
                },
            )?;
        }
        Ok(())
    }
}

/// Returns what rules count of a record.
fn happenings_of(line: &[u8], position: Position) -> Vec<Happening> {
    // Most lines hold none of these words, and are not read any further.
    let holds = |word: &[u8]| memmem::find(line, word).is_some();
    if holds(LOGIN_FAILED.as_bytes()) {
        return failed_logins(line, position);
    }
    let words = [
        br#""kind":"finished""#.as_slice(),
        br#""kind":"incident_opened""#,
        br#""missed":true"#,
        BREAKER.as_bytes(),
    ];
    if !words.into_iter().any(holds) {
        return Vec::new();
    }
    let Ok(Record { header, body }) = Record::read_line(line) else { return Vec::new() };
    let measure = match body {
        Body::EffectCompleted { value, .. } if is_missed(&value) => Measure::SchedulesMissed,
        Body::Emitted { event, data, .. }
            if &*event == BREAKER && data.get("to").and_then(Value::as_str) == Some("open") =>
        {
            Measure::BreakersOpened
        }
        Body::Finished { status: Status::Failed, .. } => Measure::FailedInstances,
        Body::IncidentOpened { .. } => Measure::IncidentsOpened,
        _ => return Vec::new(),
    };
    let (tenants, at) = (vec![header.tenant_id], header.at);
    vec![Happening { tenants, user: None, measure, at, position, count: 1 }]
}

/// Event of a circuit breaker that opens, is tried or closes.
const BREAKER: &str = "traaviis.breaker";

/// Says whether a value is what a schedule was told of its times, and some of them had passed
/// without a run.
fn is_missed(value: &Value) -> bool {
    let is_told = ["runs", "settled"].iter().all(|it| value.get(it).is_some());
    is_told && value.get("missed") == Some(&Value::Bool(true))
}

/// Action of a login that has failed; entries of it stand in the trail of the platform.
const LOGIN_FAILED: &str = "login.failed";

/// Returns the logins that have failed, of the audit entries that a record holds.
fn failed_logins(line: &[u8], position: Position) -> Vec<Happening> {
    let Ok(Record { header, body }) = Record::read_line(line) else { return Vec::new() };
    let Body::DocumentPut { document, body, .. } = body else { return Vec::new() };
    if header.tenant_id != PLATFORM || &*document != AUDIT {
        return Vec::new();
    }
    let entries = entries_of(Json::from(&body)).into_iter();
    entries
        .filter(|it| it["action"] == LOGIN_FAILED)
        .filter_map(|it| {
            let at = serde_json::from_value(it["timestamp"].clone()).ok()?;
            let user = Some(it["resource_id"].as_str()?.parse().ok()?);
            let count = it["metadata"]["count"].as_u64().unwrap_or(1);
            let (tenants, measure) = (Vec::new(), Measure::LoginFailures);
            Some(Happening { tenants, user, measure, at, position, count })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use traaviis_model::{DefinitionHash, Header, InstanceId, record::RECORD_VERSION};
    use uuid::Uuid;

    use super::*;
    use crate::platform::engine;

    fn put(tenant: TenantId, kind: &str, body: &Json) -> Vec<u8> {
        let header = Header {
            tenant_id: tenant,
            instance_id: InstanceId(Uuid::nil()),
            seq: 1,
            v: RECORD_VERSION,
            at: Timestamp(9),
            step: 1,
            definition_hash: DefinitionHash([0; 32]),
            actor: TenantCtx::platform().actor().clone(),
            causation_id: None,
            correlation_id: engine().request_id,
            origin: None,
        };
        let (document, id) = (kind.into(), "1".into());
        let body = Body::DocumentPut { document, id, body: Value::from(body) };
        let mut line = Vec::new();
        Record { header, body }.write_line(&mut line);
        line
    }

    #[test]
    fn failed_logins_are_found_alone_and_on_sheets() {
        let entry = |action: &str, user: u128, count: Option<u64>| {
            json!({
                "action": action, "resource_id": UserId(Uuid::from_u128(user)).to_string(),
                "timestamp": Timestamp(7), "metadata": { "count": count },
            })
        };
        let failed = |user, count| entry(LOGIN_FAILED, user, count);
        let sheet = json!([failed(1, None), entry("session.ended", 2, None), failed(3, Some(4))]);
        let other = TenantId(Uuid::from_u128(5));
        for (line, expected) in [
            (put(PLATFORM, AUDIT, &failed(1, None)), vec![(1, 1)]),
            (put(PLATFORM, AUDIT, &sheet), vec![(1, 1), (3, 4)]),
            (put(other, AUDIT, &failed(1, None)), vec![]),
            (put(PLATFORM, "note", &failed(1, None)), vec![]),
            (put(PLATFORM, AUDIT, &Json::Null), vec![]),
            (b"no record of login.failed".to_vec(), vec![]),
        ] {
            let found = happenings_of(&line, 3).into_iter();
            let found: Vec<(u128, u64)> =
                found.map(|it| (it.user.unwrap().0.as_u128(), it.count)).collect();
            assert_eq!(found, expected, "{}", String::from_utf8_lossy(&line));
        }
    }

    #[test]
    fn breakers_that_open_and_times_that_were_missed_are_found_in_records() {
        let tenant = TenantId(Uuid::from_u128(5));
        let of = |body: Body| {
            let put = put(tenant, "note", &Json::Null);
            let Record { header, .. } = Record::read_line(&put).unwrap();
            let mut line = Vec::new();
            Record { header, body }.write_line(&mut line);
            let found = happenings_of(&line, 3);
            found.iter().map(|it| (it.measure, it.tenants.clone(), it.count)).collect::<Vec<_>>()
        };
        let breaker = |to: &str| Body::Emitted {
            event: BREAKER.into(),
            data: Value::from(&json!({ "name": "peer", "from": "closed", "to": to })),
            subject: None,
        };
        let told = |value: Json| Body::EffectCompleted {
            tree: 1,
            path: "next".into(),
            value: Value::from(&value),
        };
        assert_eq!(of(breaker("open")), [(Measure::BreakersOpened, vec![tenant], 1)]);
        assert!(of(breaker("half_open")).is_empty());
        let missed = |it: bool| json!({ "runs": [], "missed": it, "settled": "x", "next": null });
        assert_eq!(of(told(missed(true))), [(Measure::SchedulesMissed, vec![tenant], 1)]);
        assert!(of(told(missed(false))).is_empty());
        assert!(of(told(json!({ "missed": true }))).is_empty(), "the value of something else");
    }
}
