//! Use cases of personal data: what was found where, what a value holds, what is kept about a
//! person, and its erasure.
//!
//! Nothing about a person leaves, and nothing of it is destroyed, before the audit trail says so.
//! The trail names a person by the keyed hash that names their key, never by who they are.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
};

use serde::{Deserialize, Serialize};
use serde_json::{Value as Json, json};
use traaviis_model::{
    InstanceId, Span, TenantCtx, TenantId, Text, Timestamp, Value, privacy::PiiType,
};
use traaviis_policy::{
    access::{Action, Freshness},
    pii::{Finding, find},
};

use crate::{
    ask::Ask,
    audit::Act,
    caller::{Caller, Entered},
    engine::Engine,
    error::Error,
    ledger::Document,
    platform::{Platform, engine},
};

/// Findings of one answer; a value that holds more is cut up by whoever asks.
pub const FINDINGS_MAX: usize = 10_000;
/// Counts are kept after so long, and at the end of the process; those in between are lost by a
/// crash.
const KEPT_EVERY: Span = Span::secs(60);
/// Kind of the document that holds the counts.
pub(crate) const REPORT: &str = "privacy_report";

/// Where personal data was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Sink {
    /// Facts of audit entries, where it is masked.
    Audit,
    /// Answers to who sees masked data.
    Answer,
}

impl Sink {
    /// Every one of them.
    pub const ALL: [Sink; 2] = [Sink::Audit, Sink::Answer];

    /// Returns its word.
    pub fn as_str(self) -> &'static str {
        match self {
            Sink::Audit => "audit",
            Sink::Answer => "answer",
        }
    }
}

/// Counts by sink and type.
pub type Counts = BTreeMap<Text, BTreeMap<Text, u64>>;

/// What was found so far.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Report {
    counts: Counts,
}

impl Document for Report {
    const KIND: &'static str = REPORT;

    fn id(&self) -> Text {
        "report".into()
    }
}

/// What was found since it was last kept.
#[derive(Debug, Default)]
pub(crate) struct Sightings {
    fresh: Mutex<Fresh>,
}

#[derive(Debug, Default)]
struct Fresh {
    counts: BTreeMap<TenantId, Counts>,
    kept_at: Option<Timestamp>,
}

impl Sightings {
    /// Counts what a sink has masked.
    pub fn count(&self, tenant: TenantId, sink: Sink, found: &BTreeMap<PiiType, usize>) {
        if found.is_empty() {
            return;
        }
        let mut fresh = self.fresh.lock().unwrap_or_else(PoisonError::into_inner);
        let counts = fresh.counts.entry(tenant).or_default();
        let counts = counts.entry(sink.as_str().into()).or_default();
        for (kind, count) in found {
            *counts.entry(kind.as_str().into()).or_default() += *count as u64;
        }
    }
}

fn add(into: &mut Counts, more: &Counts) {
    for (sink, counts) in more {
        let of_sink = into.entry(sink.clone()).or_default();
        for (kind, count) in counts {
            *of_sink.entry(kind.clone()).or_default() += count;
        }
    }
}

impl Platform {
    /// Counts what an answer has masked.
    pub fn note_masked(&self, ctx: &TenantCtx, found: &BTreeMap<PiiType, usize>) {
        self.ledgers.sightings().count(ctx.tenant(), Sink::Answer, found);
    }

    /// Returns how often personal data was found, by sink and type.
    pub fn privacy_report(&self, entered: &Entered) -> Result<Counts, Error> {
        let kept = self.ledgers.get::<Report>(&entered.ctx, "report")?;
        let mut counts = kept.map(|it| it.it.counts).unwrap_or_default();
        let fresh = self.ledgers.sightings().fresh.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(more) = fresh.counts.get(&entered.ctx.tenant()) {
            add(&mut counts, more);
        }
        Ok(counts)
    }

    /// Keeps what was found since the last time.
    pub(crate) fn keep_sightings(&self, is_end: bool) -> Result<(), Error> {
        let now = self.now();
        let fresh = {
            let mut fresh =
                self.ledgers.sightings().fresh.lock().unwrap_or_else(PoisonError::into_inner);
            let since = *fresh.kept_at.get_or_insert(now);
            if fresh.counts.is_empty() || !is_end && now.since(since) < KEPT_EVERY {
                return Ok(());
            }
            fresh.kept_at = Some(now);
            std::mem::take(&mut fresh.counts)
        };
        for (tenant, more) in fresh {
            let ctx = TenantCtx::keeper_of(tenant);
            self.ledgers.change(&ctx, &engine(), |documents, changes| {
                let mut report = documents.get::<Report>("report")?.unwrap_or_default();
                add(&mut report.counts, &more);
                changes.put(&report);
                Ok(())
            })?;
        }
        Ok(())
    }

    /// Destroys the key of a person. The trail tells before that it was asked for, and after, what
    /// came of it.
    pub fn erase_subject(
        &self,
        entered: &Entered,
        engine: &dyn Engine,
        subject: &str,
        terminate: bool,
    ) -> Result<Json, Error> {
        let known = engine.ask(&entered.ctx, Ask::NameSubject { subject: subject.into() });
        let name = name_of(&known);
        let asked = Act::done("subject.erasure_asked", "subject", name.clone());
        self.note_in(entered, asked.with(json!({ "terminate": terminate })))?;
        let ask = Ask::EraseSubject { subject: subject.into(), terminate };
        let erased = engine.ask(&entered.ctx, ask);
        let act = Act::done("subject.erased", "subject", name);
        let act = match &erased {
            Ok(found) => {
                let count = |key: &str| found[key].as_array().map_or(0, Vec::len);
                let (instances, terminated) = (count("instances"), count("terminated"));
                act.with(json!({ "count": instances, "terminated": terminated }))
            }
            Err(error) => act.failed().with(json!({ "code": error.code })),
        };
        self.note_in(entered, act)?;
        if erased.is_ok() {
            self.forget_answers(&entered.ctx)?;
        }
        erased
    }

    /// Lets somebody see personal data of an instance that they see masked otherwise: who may, and
    /// has proved who they are a short while ago. It stands in the audit trail before they see it.
    pub fn unmask(
        &self,
        caller: &Caller,
        entered: &Entered,
        instance: InstanceId,
    ) -> Result<(), Error> {
        if !entered.data_access.pii_unmask {
            let act = Act::done("data.unmasked", "instance", instance.to_string()).denied();
            self.note_refusal(&entered.ctx, &entered.via, act);
            let message = "this needs `pii_unmask` in the data access of your membership";
            return Err(Error::new("insufficient_permissions", message));
        }
        self.permit(caller, Action::Own, Freshness::Fresh)?;
        self.note_in(entered, Act::done("data.unmasked", "instance", instance.to_string()))
    }

    pub(crate) fn note_in(&self, entered: &Entered, act: Act) -> Result<(), Error> {
        self.ledgers.change(&entered.ctx, &entered.via, |_, changes| {
            changes.act(act);
            Ok(())
        })
    }
}

/// Returns the personal data in a value.
pub fn detect(value: &Json) -> Result<Vec<Finding>, Error> {
    let found = find(&Value::from(value));
    match found.len() > FINDINGS_MAX {
        true => {
            let message =
                format!("the value holds more than {FINDINGS_MAX} findings; ask in parts");
            Err(Error::new("payload_too_large", message))
        }
        false => Ok(found),
    }
}

/// Returns the name of the key of a person.
fn name_of(found: &Result<Json, Error>) -> String {
    let name = found.as_ref().ok().and_then(|it| it["key"].as_str());
    name.unwrap_or("unknown").to_owned()
}
