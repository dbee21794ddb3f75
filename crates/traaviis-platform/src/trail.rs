//! Use cases of the audit trail: reading it, and checking that it is whole.

use serde_json::Value as Json;
use traaviis_ports::DocumentQuery;

use crate::{
    audit::{AUDIT, Broken, Check, Head, id_of},
    caller::Entered,
    error::Error,
    platform::Platform,
};

/// Entries read at once.
const PAGE: usize = 1_000;

/// What a check of a trail found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checked {
    /// Entries that were found good.
    pub count: u64,
    /// End of the chain that was found.
    pub head: Head,
    /// The first that is not good.
    pub broken: Option<Broken>,
}

impl Platform {
    /// Returns entries of a tenant, the newest first, before the one with number `before`.
    pub fn audit(
        &self,
        entered: &Entered,
        before: Option<u64>,
        limit: usize,
    ) -> Result<Vec<Json>, Error> {
        let after = before.map(id_of);
        let query = DocumentQuery {
            kind: AUDIT,
            prefix: "",
            after: after.as_deref(),
            descending: true,
            limit,
        };
        self.entries(entered, &query)
    }

    /// Checks the whole chain of a tenant, up to its last entry.
    pub fn verify_audit(&self, entered: &Entered) -> Result<Checked, Error> {
        // Read first: entries that come meanwhile stand behind it.
        let expected = self.ledgers.audit_head(&entered.ctx);
        let (mut check, mut after) = (Check::default(), id_of(0));
        loop {
            let query = DocumentQuery {
                kind: AUDIT,
                prefix: "",
                after: Some(&after),
                descending: false,
                limit: PAGE,
            };
            let page = self.entries(entered, &query)?;
            let is_last = page.len() < PAGE;
            for entry in &page {
                if let Err(broken) = check.entry(entry) {
                    return Ok(checked(&check, Some(broken)));
                }
            }
            after = id_of(check.head().seq);
            if is_last {
                break;
            }
        }
        let found = check.head();
        let cut = (found.seq < expected.seq).then(|| Broken {
            seq: found.seq + 1,
            why: format!("the trail ends before entry {}", expected.seq),
        });
        Ok(checked(&check, cut))
    }

    fn entries(&self, entered: &Entered, query: &DocumentQuery<'_>) -> Result<Vec<Json>, Error> {
        let rows = self.ledgers.rows(&entered.ctx, query)?;
        rows.iter()
            .map(|row| {
                let body = row.body.as_deref().unwrap_or_default();
                serde_json::from_slice(body).map_err(|error| {
                    let message = format!("audit entry `{}` cannot be read: {error}", row.id);
                    Error::new("documents_failed", message)
                })
            })
            .collect()
    }
}

fn checked(check: &Check, broken: Option<Broken>) -> Checked {
    Checked { count: check.head().seq, head: check.head().clone(), broken }
}
