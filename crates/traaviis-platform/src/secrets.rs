//! Use cases of secrets: values that only calls are told, set and deleted, never shown.
//!
//! Values rest behind a port, beside the log, so that one that is replaced is gone. Which workflows
//! may use a secret, who set it and when it was used stands in the ledger.
//!
//! Invariants: no use case returns a value; whatever is done to a secret stands in the audit trail
//! before it is done.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, OnceLock, PoisonError},
};

use serde::{Deserialize, Serialize};
use serde_json::json;
use traaviis_model::{Span, TenantCtx, TenantId, Text, Timestamp, form, secret::is_name};
use traaviis_ports::Secret;

use crate::{
    audit::{Act, By, Via},
    caller::Entered,
    error::Error,
    ledger::Document,
    platform::{Platform, engine},
};

/// A use is noted once in this time: who reads it wants to know whether a secret is still needed.
const USED_EVERY: Span = Span::secs(24 * 3_600);
/// Workflows that a secret may be limited to.
const WORKFLOWS_MAX: usize = form::SECRET_WORKFLOWS_MAX;
/// Uses that wait to be noted; more than there are secrets of busy tenants in a second.
const USES_MAX: usize = 10_000;

/// What is known of a value at rest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// Name.
    pub name: String,
    /// How often it was set.
    pub version: u64,
    /// When it was set last.
    pub updated_at: Option<Timestamp>,
}

/// Where values rest.
pub trait SecretKeeper: Send + Sync {
    /// Sets a value; the one before is gone.
    fn set(&self, ctx: &TenantCtx, name: &str, value: &str, now: Timestamp) -> Result<Kept, Error>;

    /// Returns what there is, by name.
    fn list(&self, ctx: &TenantCtx) -> Result<Vec<Kept>, Error>;

    /// Deletes a value.
    fn delete(&self, ctx: &TenantCtx, name: &str) -> Result<(), Error>;

    /// Tells a value, to check what somebody has signed with it.
    fn reveal(&self, ctx: &TenantCtx, name: &str) -> Result<Option<Secret>, Error>;
}

/// What the ledger holds of a secret.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Noted {
    name: Text,
    /// Workflows that may use it; all when it is empty.
    #[serde(default)]
    workflows: BTreeSet<Text>,
    #[serde(default)]
    set_by: Option<Text>,
    #[serde(default)]
    used_at: Option<Timestamp>,
}

impl Document for Noted {
    const KIND: &'static str = "secret";

    fn id(&self) -> Text {
        self.name.clone()
    }
}

/// A secret, for people: everything but its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecretShown {
    /// What is known of the value.
    pub kept: Kept,
    /// Workflows that may use it; all when it is empty.
    pub workflows: Vec<Text>,
    /// Who set it last, as `kind:id`.
    pub set_by: Option<Text>,
    /// When it was last used, to the day.
    pub used_at: Option<Timestamp>,
}

/// Where values rest, and which uses are not noted yet.
#[derive(Default)]
pub(crate) struct SecretUses {
    keeper: OnceLock<Arc<dyn SecretKeeper>>,
    used: Mutex<BTreeMap<(TenantId, Text), (Timestamp, Text)>>,
}

impl std::fmt::Debug for SecretUses {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SecretUses").finish_non_exhaustive()
    }
}

impl Platform {
    /// Tells where the values of secrets rest.
    pub fn keep_secrets(&self, keeper: Arc<dyn SecretKeeper>) {
        // Called once.
        let _ = self.auditing.secrets.keeper.set(keeper);
    }

    fn keeper(&self) -> Result<&dyn SecretKeeper, Error> {
        let keeper = self.auditing.secrets.keeper.get().map(|it| &**it);
        keeper.ok_or_else(|| Error::new("feature_unavailable", "this server keeps no secrets"))
    }

    /// Returns the secrets of a tenant, by name.
    pub fn secrets(&self, entered: &Entered) -> Result<Vec<SecretShown>, Error> {
        let kept = self.keeper()?.list(&entered.ctx)?;
        self.ledgers.read(&entered.ctx, |documents| {
            kept.into_iter()
                .map(|kept| {
                    let noted = documents.get::<Noted>(&kept.name)?.unwrap_or_default();
                    let Noted { workflows, set_by, used_at, .. } = noted;
                    let workflows = workflows.into_iter().collect();
                    Ok(SecretShown { kept, workflows, set_by, used_at })
                })
                .collect()
        })
    }

    /// Returns what is known of a secret.
    pub fn secret(&self, entered: &Entered, name: &str) -> Result<SecretShown, Error> {
        let all = self.secrets(entered)?;
        let found = all.into_iter().find(|it| it.kept.name == name);
        found.ok_or_else(|| Error::not_found("secret", name))
    }

    /// Sets a secret, and which workflows may use it: all of them when none is named.
    pub fn set_secret(
        &self,
        entered: &Entered,
        name: &str,
        value: &str,
        workflows: Vec<Text>,
    ) -> Result<SecretShown, Error> {
        if !is_name(name) {
            let rule = "a small letter, then small letters, digits and `_`, 63 at most";
            return Err(Error::invalid("/name", rule));
        }
        if workflows.len() > WORKFLOWS_MAX {
            let rule = format!("a secret is limited to at most {WORKFLOWS_MAX} workflows");
            return Err(Error::invalid("/workflows", rule));
        }
        let keeper = self.keeper()?;
        let workflows: BTreeSet<Text> = workflows.into_iter().collect();
        self.ledgers.change(&entered.ctx, &entered.via, |documents, changes| {
            let before = documents.get::<Noted>(name)?.unwrap_or_default();
            let set_by = Some(entered.ctx.actor().text());
            let used_at = before.used_at;
            changes.put(&Noted {
                name: name.into(),
                workflows: workflows.clone(),
                set_by,
                used_at,
            });
            let act = Act::done("secret.set", Noted::KIND, name);
            changes.act(act.with(json!({ "workflows": workflows })));
            Ok(())
        })?;
        let set = keeper.set(&entered.ctx, name, value, self.now());
        self.or_failed(entered, "secret.set", name, set)?;
        self.secret(entered, name)
    }

    /// Deletes a secret.
    pub fn delete_secret(&self, entered: &Entered, name: &str) -> Result<(), Error> {
        self.secret(entered, name)?;
        self.ledgers.change(&entered.ctx, &entered.via, |_, changes| {
            changes.remove::<Noted>(name);
            changes.act(Act::done("secret.deleted", Noted::KIND, name));
            Ok(())
        })?;
        let deleted = self.keeper()?.delete(&entered.ctx, name);
        self.or_failed(entered, "secret.deleted", name, deleted)
    }

    /// Notes that what the trail tells was not done after all.
    fn or_failed<T>(
        &self,
        entered: &Entered,
        action: &'static str,
        name: &str,
        done: Result<T, Error>,
    ) -> Result<T, Error> {
        if let Err(error) = &done {
            let act = Act::done(action, Noted::KIND, name).failed();
            let act = act.with(json!({ "code": error.code }));
            self.ledgers.change(&entered.ctx, &entered.via, |_, changes| {
                changes.act(act);
                Ok(())
            })?;
        }
        done
    }

    /// Says whether a workflow may use a secret of its tenant, and remembers that it does.
    pub fn use_secret(&self, ctx: &TenantCtx, workflow: &str, name: &str) -> bool {
        let Ok(noted) = self.ledgers.read(ctx, |it| it.get::<Noted>(name)) else { return false };
        // What was set on the command line is for every workflow.
        let noted = noted.unwrap_or_default();
        if !noted.workflows.is_empty() && !noted.workflows.contains(workflow) {
            return false;
        }
        let now = self.now();
        if noted.used_at.is_none_or(|it| now.since(it) >= USED_EVERY) {
            let mut used = self.used();
            if used.len() < USES_MAX {
                used.entry((ctx.tenant(), name.into())).or_insert((now, workflow.into()));
            }
        }
        true
    }

    /// Returns a secret that a sender shares, if the workflow of the hook may use it.
    pub(crate) fn shared_secret(
        &self,
        ctx: &TenantCtx,
        workflow: &str,
        name: &str,
    ) -> Result<Option<Secret>, Error> {
        let found = self.keeper()?.reveal(ctx, name)?;
        Ok(found.filter(|_| self.use_secret(ctx, workflow, name)))
    }

    /// Notes which secrets were used since the last time.
    pub(crate) fn enter_uses(&self) -> Result<(), Error> {
        let used = std::mem::take(&mut *self.used());
        for ((tenant, name), (at, workflow)) in used {
            let ctx = TenantCtx::keeper_of(tenant);
            self.ledgers.change(&ctx, &engine(), |documents, changes| {
                let mut noted = documents.get::<Noted>(&name)?.unwrap_or_default();
                if noted.used_at.is_some_and(|it| at.since(it) < USED_EVERY) {
                    return Ok(());
                }
                noted.name = name.clone();
                noted.used_at = Some(at);
                changes.put(&noted);
                let act = Act::done("secret.used", Noted::KIND, name.clone());
                let actor = ctx.actor().clone();
                let by = By { actor, via: Via { way: "engine", ..Via::default() }, at };
                changes.act_by(act.with(json!({ "workflow": workflow })), by);
                Ok(())
            })?;
        }
        Ok(())
    }

    fn used(&self) -> std::sync::MutexGuard<'_, BTreeMap<(TenantId, Text), (Timestamp, Text)>> {
        self.auditing.secrets.used.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
