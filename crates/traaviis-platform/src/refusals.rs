//! Refusals in the audit trail: each is noted, and those that repeat are counted.
//!
//! The first refusal of a caller is entered at once. What is refused to the same caller for the
//! same reason within [`WINDOW`] is counted, and entered as one entry when the time is over: who
//! asks a thousand times a second writes two entries a minute. Counts that are not entered yet are
//! forgotten by a crash.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

use serde_json::{Value as Json, json};
use traaviis_model::{Span, TenantCtx, TenantId, Text, Timestamp};

use crate::{
    audit::{Act, By, Outcome, Via},
    platform::Platform,
};

/// Refusals of one caller within this are one entry.
pub const WINDOW: Span = Span::secs(60);
/// Callers whose refusals are counted at once, each about 500 bytes; beyond it they are entered as
/// they come.
const COUNTED_MAX: usize = 10_000;

/// What is counted together.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Key {
    tenant: TenantId,
    who: Text,
    address: Option<Text>,
    action: &'static str,
    what: Text,
}

/// Refusals of a caller since the first.
#[derive(Debug)]
struct Counted {
    since: Timestamp,
    /// Those after the first, which has an entry.
    more: u64,
    ctx: TenantCtx,
    via: Via,
    act: Act,
}

/// Refusals that are being counted.
#[derive(Debug, Default)]
pub(crate) struct Refusals {
    counted: Mutex<HashMap<Key, Counted>>,
}

impl Platform {
    /// Notes a refusal in the trail of a tenant, or counts it.
    pub(crate) fn note_refusal(&self, ctx: &TenantCtx, via: &Via, act: Act) {
        debug_assert!(act.outcome != Outcome::Ok);
        let key = Key {
            tenant: ctx.tenant(),
            who: ctx.actor().text(),
            address: via.ip_address.clone(),
            action: act.action,
            what: format!("{} {}", act.resource_type, act.resource_id).into(),
        };
        let now = self.now();
        let mut counted = self.counted();
        match counted.get_mut(&key) {
            Some(it) if now.since(it.since) < WINDOW => {
                it.more += 1;
                return;
            }
            Some(_) => {
                let over = counted.remove(&key);
                drop(counted);
                over.into_iter().for_each(|it| self.enter_counted(it));
                counted = self.counted();
            }
            None => {}
        }
        if counted.len() < COUNTED_MAX {
            let (ctx, via, act) = (ctx.clone(), via.clone(), act.clone());
            counted.insert(key, Counted { since: now, more: 0, ctx, via, act });
        }
        drop(counted);
        // What was done before it stands before it; what cannot be entered now will be later.
        drop(self.enter_acts());
        let noted = self.ledgers.change(ctx, via, |_, changes| {
            changes.act(act);
            Ok(())
        });
        // The refusal stands whether or not there was room to note it.
        drop(noted);
    }

    /// Enters the refusals whose time is over; all of them when the process ends.
    pub(crate) fn enter_refusals(&self, is_end: bool) {
        let now = self.now();
        let mut over = Vec::new();
        self.counted().retain(|_, it| {
            let is_over = is_end || now.since(it.since) >= WINDOW;
            if is_over && it.more > 0 {
                over.push(Counted {
                    since: it.since,
                    more: it.more,
                    ctx: it.ctx.clone(),
                    via: it.via.clone(),
                    act: it.act.clone(),
                });
            }
            !is_over
        });
        over.into_iter().for_each(|it| self.enter_counted(it));
    }

    fn enter_counted(&self, counted: Counted) {
        let Counted { since, more, ctx, via, act } = counted;
        if more == 0 {
            return;
        }
        let mut facts = act.metadata.as_object().cloned().unwrap_or_default();
        facts.insert("count".into(), json!(more));
        facts.insert("since".into(), json!(since));
        let by = By { actor: ctx.actor().clone(), via: via.clone(), at: self.now() };
        let noted = self.ledgers.change(&ctx, &via, |_, changes| {
            changes.act_by(act.with(Json::Object(facts)), by);
            Ok(())
        });
        drop(noted);
    }

    fn counted(&self) -> std::sync::MutexGuard<'_, HashMap<Key, Counted>> {
        self.auditing.refusals.counted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
