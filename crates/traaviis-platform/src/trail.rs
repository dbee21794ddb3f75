//! Use cases of the audit trail: reading it, checking that it is whole, taking it out.
//!
//! Whoever reads a trail first has everything entered that was acknowledged before.

use std::sync::Arc;

use serde_json::{Value as Json, json};
use traaviis_model::TenantCtx;
use traaviis_ports::DocumentQuery;

use crate::{
    audit::{AUDIT, Act, Broken, CHECKPOINT, Check, Head, entries_of, id_of},
    caller::Entered,
    checkpoints::{self, Checkpoint, PublicKey},
    error::Error,
    platform::Platform,
    trail_file::{Format, Item},
};

/// Documents read at once, each an entry or a sheet of up to [`SHEET_BYTES_MAX`].
///
/// [`SHEET_BYTES_MAX`]: crate::audit::SHEET_BYTES_MAX
const SHEETS: usize = 100;
/// Checkpoints read at once.
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
        self.enter_acts()?;
        let ctx = &entered.ctx;
        let mut entries = Vec::new();
        // The sheet on which the first of them stands may end behind `before`.
        if let Some(before) = before {
            let after = id_of(before.saturating_sub(1));
            entries.extend(self.sheets(ctx, Some(&after), false, 1)?.into_iter().flatten());
            entries.retain(|it| it["seq"].as_u64().is_some_and(|seq| seq < before));
            entries.reverse();
        }
        let mut after = before.map(id_of);
        // One may hold all that is asked for, or a single entry.
        let mut sheets_at_once = 1;
        while entries.len() < limit {
            let sheets = self.sheets(ctx, after.as_deref(), true, sheets_at_once)?;
            sheets_at_once = (sheets_at_once * 2).min(SHEETS);
            let Some(first) = sheets.last().and_then(|it| it.last()) else { break };
            after = Some(id_of(first["seq"].as_u64().unwrap_or_default()));
            entries.extend(sheets.into_iter().flat_map(|it| it.into_iter().rev()));
        }
        entries.truncate(limit);
        Ok(entries)
    }

    /// Checks the whole chain of a tenant, up to its last entry.
    pub fn verify_audit(&self, entered: &Entered) -> Result<Checked, Error> {
        self.enter_acts()?;
        // Read first: entries that come meanwhile stand behind it.
        let expected = self.ledgers.audit_head(&entered.ctx);
        let mut check = Check::default();
        loop {
            let page = self.entries_after(&entered.ctx, check.head().seq)?;
            if page.is_empty() {
                break;
            }
            for entry in &page {
                if let Err(broken) = check.entry(entry) {
                    return Ok(checked(&check, Some(broken)));
                }
            }
        }
        let found = check.head();
        let cut = (found.seq < expected.seq).then(|| Broken {
            seq: found.seq + 1,
            why: format!("the trail ends before entry {}", expected.seq),
        });
        Ok(checked(&check, cut))
    }

    /// Returns signed ends of the chain of a tenant, the newest first, before the one with number
    /// `before`.
    pub fn checkpoints(
        &self,
        entered: &Entered,
        before: Option<u64>,
        limit: usize,
    ) -> Result<Vec<Checkpoint>, Error> {
        self.checkpoints_of(&entered.ctx, before, limit.min(checkpoints::LISTED_MAX))
    }

    /// Begins to take out the trail of a tenant. That it is taken out is the last entry of it.
    pub fn export_audit(
        self: &Arc<Self>,
        entered: &Entered,
        format: Format,
    ) -> Result<Export, Error> {
        self.enter_acts()?;
        let ctx = &entered.ctx;
        let count = self.ledgers.audit_head(ctx).seq;
        self.ledgers.change(ctx, &entered.via, |_, changes| {
            let act = Act::done("audit.exported", "audit", ctx.tenant().to_string());
            changes.act(act.with(json!({ "format": format.as_str(), "count": count })));
            Ok(())
        })?;
        let head = self.ledgers.audit_head(ctx);
        self.sign_trail(ctx, true)?;
        Ok(Export {
            platform: Arc::clone(self),
            ctx: ctx.clone(),
            format,
            head,
            keys: self.audit_keys()?,
            next: Next::Begin,
        })
    }

    /// Returns entries of a tenant behind the one with number `after`, as many as are read at once;
    /// none when there are no more.
    pub(crate) fn entries_after(&self, ctx: &TenantCtx, after: u64) -> Result<Vec<Json>, Error> {
        let sheets = self.sheets(ctx, Some(&id_of(after)), false, SHEETS)?;
        let mut entries: Vec<Json> = sheets.into_iter().flatten().collect();
        // The sheet may begin before it.
        let known =
            entries.iter().take_while(|it| it["seq"].as_u64().is_some_and(|it| it <= after));
        entries.drain(..known.count());
        Ok(entries)
    }

    /// Returns the entries of documents.
    fn sheets(
        &self,
        ctx: &TenantCtx,
        after: Option<&str>,
        descending: bool,
        limit: usize,
    ) -> Result<Vec<Vec<Json>>, Error> {
        let query = DocumentQuery { kind: AUDIT, prefix: "", after, descending, limit };
        let rows = self.ledgers.rows(ctx, &query)?;
        rows.iter()
            .map(|row| {
                let body = row.body.as_deref().unwrap_or_default();
                serde_json::from_slice(body).map(entries_of).map_err(|error| {
                    let message = format!("audit entry `{}` cannot be read: {error}", row.id);
                    Error::new("documents_failed", message)
                })
            })
            .collect()
    }

    fn checkpoints_after(&self, ctx: &TenantCtx, after: u64) -> Result<Vec<Checkpoint>, Error> {
        let query = DocumentQuery {
            kind: CHECKPOINT,
            prefix: "",
            after: Some(&id_of(after)),
            descending: false,
            // No two name the same entry.
            limit: PAGE,
        };
        let rows = self.ledgers.rows(ctx, &query)?;
        rows.iter().map(|row| checkpoints::of_row(row.body.as_deref())).collect()
    }
}

/// A trail that is being taken out, a part at a time; it ends where it ended when that began.
pub struct Export {
    platform: Arc<Platform>,
    ctx: TenantCtx,
    format: Format,
    head: Head,
    keys: Vec<PublicKey>,
    next: Next,
}

/// What comes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    Begin,
    /// Entries behind this one.
    Entries(u64),
    End,
    Nothing,
}

impl Export {
    /// Returns its format.
    pub fn format(&self) -> Format {
        self.format
    }

    fn begin(&self, out: &mut String) {
        let (tenant, at) = (self.ctx.tenant(), self.platform.now());
        Item::Export { tenant, at }.write(self.format, tenant, out);
        for key in &self.keys {
            Item::Key(key.clone()).write(self.format, tenant, out);
        }
    }

    /// Writes entries, and checkpoints behind those that they name; returns the last.
    fn entries(&self, after: u64, out: &mut String) -> Result<u64, Error> {
        let tenant = self.ctx.tenant();
        let entries = self.platform.entries_after(&self.ctx, after)?;
        let signed = self.platform.checkpoints_after(&self.ctx, after)?;
        let mut signed = signed.into_iter().peekable();
        let mut last = after;
        for entry in entries {
            let seq = entry["seq"].as_u64().unwrap_or_default();
            if seq > self.head.seq {
                break;
            }
            last = seq;
            Item::Entry(entry).write(self.format, tenant, out);
            while let Some(checkpoint) = signed.next_if(|it| it.seq <= seq) {
                Item::Checkpoint(checkpoint).write(self.format, tenant, out);
            }
        }
        match last > after {
            true => Ok(last),
            false => {
                let message = format!("the trail ends before entry {}", self.head.seq);
                Err(Error::new("documents_failed", message))
            }
        }
    }

    fn part(&mut self) -> Result<String, Error> {
        let mut out = String::new();
        self.next = match self.next {
            Next::Begin => {
                self.begin(&mut out);
                Next::Entries(0)
            }
            Next::Entries(after) => match self.entries(after, &mut out)? {
                last if last < self.head.seq => Next::Entries(last),
                _ => Next::End,
            },
            Next::End | Next::Nothing => {
                let (tenant, now) = (self.ctx.tenant(), self.platform.now());
                let end = self.platform.audit_signer()?.end(tenant, &self.head, now);
                Item::End(end).write(self.format, tenant, &mut out);
                Next::Nothing
            }
        };
        Ok(out)
    }
}

impl Iterator for Export {
    type Item = Result<String, Error>;

    fn next(&mut self) -> Option<Result<String, Error>> {
        if self.next == Next::Nothing {
            return None;
        }
        let part = self.part();
        if part.is_err() {
            self.next = Next::Nothing;
        }
        Some(part)
    }
}

impl std::fmt::Debug for Export {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Export").field("next", &self.next).finish_non_exhaustive()
    }
}

fn checked(check: &Check, broken: Option<Broken>) -> Checked {
    Checked { count: check.head().seq, head: check.head().clone(), broken }
}
