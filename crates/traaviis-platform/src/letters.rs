//! How many letters to strangers somebody may have sent: whoever invites chooses whom they go to,
//! and all letters of a server wait in one queue.
//!
//! Counted in memory by who asks and by address; a restart forgets the counts, which gives an
//! attacker no more than an hour's letters.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

use traaviis_model::{Span, TenantId, Text, Timestamp};

use crate::error::Error;

/// Time in which letters are counted together.
pub const LETTERS_WINDOW: Span = Span::secs(3_600);
/// Letters that one user or key has sent in that time: a whole department is invited at once.
pub const LETTERS_BY_ONE_MAX: u32 = 200;
/// Letters of one tenant to one address in that time: the first, and a few that were lost. Others
/// write to it all the same, or somebody could keep them from it.
pub const LETTERS_TO_ONE_MAX: u32 = 5;
/// Senders and addresses that are counted, about 150 bytes each; beyond it those whose time is over
/// are forgotten, and if there are none, nobody writes until there are.
const COUNTED_MAX: usize = 50_000;

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Counted {
    By(Text),
    To(TenantId, Text),
}

impl Counted {
    fn limit(&self) -> u32 {
        match self {
            Counted::By(_) => LETTERS_BY_ONE_MAX,
            Counted::To(..) => LETTERS_TO_ONE_MAX,
        }
    }
}

/// The counts.
#[derive(Debug, Default)]
pub(crate) struct Letters {
    counts: Mutex<HashMap<Counted, (Timestamp, u32)>>,
}

impl Letters {
    /// Counts a letter, or refuses it; one that is refused counts for nothing.
    pub fn admit(
        &self,
        by: &str,
        (tenant, to): (TenantId, &str),
        now: Timestamp,
    ) -> Result<(), Error> {
        let both = [Counted::By(by.into()), Counted::To(tenant, to.into())];
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        // An hour has few invitations, so all are looked at for each.
        counts.retain(|_, it| now.since(it.0) < LETTERS_WINDOW);
        let mut wait = None;
        for counted in &both {
            if let Some((since, count)) = counts.get(counted)
                && *count >= counted.limit()
            {
                wait = wait.max(Some(LETTERS_WINDOW.0 - now.since(*since).0));
            }
        }
        if counts.len() + both.len() > COUNTED_MAX {
            wait = wait.or(Some(LETTERS_WINDOW.0));
        }
        if let Some(wait) = wait {
            let seconds = (wait / 1_000_000 + 1).to_string();
            let message = format!(
                "there were as many letters as may be in an hour, to this address or from you; \
                 try again in {seconds} s"
            );
            let details = serde_json::json!({ "retry_after": seconds });
            return Err(Error::new("too_many_attempts", message).with_details(details));
        }
        for counted in both {
            counts.entry(counted).or_insert((now, 0)).1 += 1;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tenant(number: u128) -> TenantId {
        TenantId(uuid::Uuid::from_u128(number))
    }

    #[test]
    fn letters_to_one_and_by_one_are_counted_for_an_hour() {
        let letters = Letters::default();
        let admit = |by: &str, to: &str, minutes: i64| {
            letters.admit(by, (tenant(1), to), Timestamp(minutes * 60_000_000)).is_ok()
        };
        for number in 0..LETTERS_TO_ONE_MAX {
            assert!(admit(&format!("user:{number}"), "bob@example.org", 0), "{number}");
        }
        assert!(!admit("user:9", "bob@example.org", 59), "from whomever in the tenant");
        let elsewhere = (tenant(2), "bob@example.org");
        assert!(letters.admit("user:8", elsewhere, Timestamp(59 * 60_000_000)).is_ok());
        assert!(admit("user:9", "carl@example.org", 59), "what was refused counts for nothing");
        assert!(admit("user:9", "bob@example.org", 60));
        for number in 0..LETTERS_BY_ONE_MAX {
            assert!(admit("user:1", &format!("{number}@example.org"), 200), "{number}");
        }
        assert!(!admit("user:1", "new@example.org", 201));
        assert!(admit("user:2", "new@example.org", 201));
        let error =
            letters.admit("user:1", (tenant(1), "new@example.org"), Timestamp(201 * 60_000_000));
        let error = error.unwrap_err();
        assert_eq!(
            (&*error.code, &error.details["retry_after"]),
            ("too_many_attempts", &"3541".into())
        );
    }

    #[test]
    fn what_is_counted_has_a_bound() {
        let letters = Letters::default();
        let mut admitted = 0;
        {
            let mut counts = letters.counts.lock().unwrap();
            let fill = (0..COUNTED_MAX - 3)
                .map(|it| (Counted::To(tenant(1), it.to_string().into()), (Timestamp(0), 1)));
            counts.extend(fill);
        }
        for number in 0..9 {
            let to = format!("{number}@example.org");
            admitted += u32::from(letters.admit("user:1", (tenant(1), &to), Timestamp(1)).is_ok());
        }
        assert_eq!(admitted, 1, "there is room for one and its sender");
        assert!(
            letters
                .admit("user:1", (tenant(1), "a@example.org"), Timestamp(LETTERS_WINDOW.0 + 9))
                .is_ok()
        );
    }
}
