//! Tickets: a token for a socket that works once, within half a minute, so that no access token
//! stands in an address.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

use traaviis_model::{Span, Text, Timestamp};
use traaviis_platform::{Caller, Error, Platform, token::hash_of};

/// How long a ticket works.
pub const TICKET_LIFE: Span = Span::secs(30);
/// Tickets that may be open at once; beyond it the oldest goes.
const TICKETS_MAX: usize = 20_000;

/// Open tickets, by the hash of each.
#[derive(Debug, Default)]
pub(crate) struct Tickets {
    open: Mutex<HashMap<Text, (Caller, Timestamp)>>,
}

impl Tickets {
    /// Makes a ticket for a caller.
    pub fn make(&self, caller: &Caller, platform: &Platform) -> Result<String, Error> {
        let (ticket, hash) = platform.ticket(caller)?;
        let now = platform.now();
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if open.len() >= TICKETS_MAX {
            open.retain(|_, it| now.since(it.1) <= TICKET_LIFE);
            if open.len() >= TICKETS_MAX
                && let Some(oldest) =
                    open.iter().min_by_key(|it| it.1.1).map(|(hash, _)| hash.clone())
            {
                open.remove(&oldest);
            }
        }
        open.insert(hash, (caller.clone(), now));
        Ok(ticket)
    }

    /// Uses a ticket up.
    pub fn take(&self, ticket: &str, now: Timestamp) -> Option<Caller> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let (caller, made) = open.remove(&hash_of(ticket))?;
        (now.since(made) <= TICKET_LIFE).then_some(caller)
    }
}
