//! What the history checker, which the fault programme uses too, says of a run at its end.

use traaviis_testkit::history::{self, Answer, Evidence, Told};

use super::{OpState, Sim, What, event_id};
use crate::support::ctx;

impl Sim<'_> {
    /// What the checker that the fault programme uses says of all histories.
    pub(super) fn check_histories(&self) {
        let events = self.ops.iter().enumerate();
        let events = events.filter(|(_, op)| matches!(op.what, What::Event(_)));
        let told = events.map(|(at, op)| Told {
            tenant: ctx().tenant(),
            event: event_id(at),
            answer: match op.state {
                OpState::Acknowledged => Answer::Ok,
                OpState::Refused => Answer::Refused,
                OpState::Ready | OpState::Sent | OpState::LeftAlone => Answer::Unknown,
            },
        });
        let evidence = Evidence {
            machines: self.machines.iter().map(|it| &**it).collect(),
            records: self.histories.values().flatten().cloned().collect(),
            told: told.collect(),
            calls: self.asked.clone(),
            timers_until: Some(self.now),
            ..Evidence::default()
        };
        let findings = history::check(&evidence);
        assert!(findings.is_empty(), "{findings:#?}");
        for (id, records) in &self.histories {
            let is_sorted = records.is_sorted_by_key(|it| it.header.at);
            assert!(is_sorted, "time goes back in `{id}`");
        }
    }
}
