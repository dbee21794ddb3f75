//! Upgrades: the definition is made durable first, then the instance goes on with it.
//!
//! The version is changed by the owner when the command's turn comes, with the state of that
//! moment; what a caller saw before may be out of date.

use std::sync::Arc;

use traaviis_engine::{Input, Machine, Rejection, Step, StepContext};
use traaviis_model::{
    Body, DefinitionHash, Record, Snapshot, TenantId, Timestamp, record::Operation,
};

use super::{
    Command, Key, Origin, Outbox, Owner, Upgrade, definition_stream, guarded, starting::Needs,
};
use crate::recovery;

impl Owner {
    pub(super) fn upgrade(&mut self, upgrade: Upgrade, now: Timestamp, outbox: &mut dyn Outbox) {
        let key = Key { tenant: upgrade.ctx.tenant(), id: upgrade.id };
        if let Err(error) = self.find(key.tenant, key.id) {
            return (upgrade.reply)(Err(error));
        }
        let machine = Arc::clone(&upgrade.machine);
        if !self.is_stored(key.tenant, &machine) {
            return self.wait_for_definition(Needs::Upgrade(upgrade), now, outbox);
        }
        let to = machine.definition().hash;
        self.definitions.machines.entry(to).or_insert(machine);
        let Upgrade { ctx, id, reply, .. } = upgrade;
        let command = Command::Operate(Operation::Upgrade { to });
        self.command(id, command, Origin::Caller(ctx, reply), now, outbox);
    }

    /// Decides an input that changes the version; none when it is another one.
    pub(super) fn change_version(
        &mut self,
        machine: &Machine,
        snapshot: &Snapshot,
        input: &Input,
        context: &StepContext,
    ) -> Option<Result<Step, Rejection>> {
        let to = match input {
            Input::Operate(Operation::Upgrade { to }) => *to,
            // Without one to take back, its own version says so.
            Input::Operate(Operation::Rollback) => {
                snapshot.undo.as_ref().map_or(snapshot.definition_hash, |it| it.to)
            }
            _ => return None,
        };
        let Some(other) = self.version(snapshot.tenant_id, to) else {
            return Some(Err(Rejection {
                code: "definition_missing",
                message: format!("version `{to}` is not in the log, or this release refuses it"),
                details: Default::default(),
            }));
        };
        Some(match input {
            Input::Operate(Operation::Rollback) => {
                guarded::ask(|| traaviis_engine::roll_back(&other, snapshot, context))
            }
            _ => guarded::ask(|| traaviis_engine::upgrade(machine, &other, snapshot, context)),
        })
    }

    /// Returns the machine of a definition in the log.
    pub(super) fn version(
        &mut self,
        tenant: TenantId,
        hash: DefinitionHash,
    ) -> Option<Arc<Machine>> {
        if let Some(found) = self.definitions.machines.get(&hash) {
            return Some(Arc::clone(found));
        }
        let machine = match self.definitions.stored.get(&(tenant, hash)) {
            Some(body) => recovery::compile(body)?,
            None => self.version_in_log(tenant, hash)?,
        };
        self.definitions.machines.insert(hash, Arc::clone(&machine));
        Some(machine)
    }

    /// Returns the machine of a definition that only another shard has met.
    fn version_in_log(&self, tenant: TenantId, hash: DefinitionHash) -> Option<Arc<Machine>> {
        match self.first_in_stream(tenant, hash)? {
            Body::DocumentPut { body, .. } => recovery::compile(&body),
            _ => None,
        }
    }

    /// Returns what the first record in the stream of a definition says.
    pub(super) fn first_in_stream(&self, tenant: TenantId, hash: DefinitionHash) -> Option<Body> {
        let (log, ctx) = (self.settings.past.as_ref()?.log(), &self.tenants.get(&tenant)?.ctx);
        let lines = log.read(ctx, definition_stream(&hash), 1, 1).ok()?;
        Record::read_line(lines.first()?).ok().map(|it| it.body)
    }
}
