//! Whom a task may be handed to: a member with a login, who is active.
//!
//! A service account takes nothing that is handed to it: it acts through keys, each under a name of
//! its own, so nobody could say who has the task.

use traaviis_model::{Text, UserId, permission::Permission};

use crate::{
    ask::Taker, caller::Entered, caller::standing_of, error::Error, platform::Platform,
    tenant::ServiceAccount,
};

impl Platform {
    /// Finds the member that is meant by an id or an address, with or without `user:` before it;
    /// returns the name by which a task knows them.
    ///
    /// Who is no member is answered like who is nobody, so this tells nothing about accounts.
    pub fn taker_of(&self, entered: &Entered, meant: &str) -> Result<(Text, Taker), Error> {
        let meant = meant.trim();
        let word = meant.strip_prefix("user:").unwrap_or(meant);
        let id: Option<UserId> = match word.parse() {
            Ok(id) => Some(id),
            Err(_) => self.lookup(|it| it.user(&word.to_lowercase())),
        };
        let nobody = || {
            let rule = "this is `user:ID` or `user:ADDRESS` of a member who is active";
            Error::invalid("/to", rule)
        };
        let id = id.ok_or_else(nobody)?;
        let standing = self.ledgers.read(&entered.ctx, |documents| {
            if documents.get::<ServiceAccount>(&id.to_string())?.is_some() {
                let rule = "a service account takes no task that is handed to it";
                return Err(Error::invalid("/to", rule));
            }
            standing_of(documents, id)
        })?;
        let (standing, _) = standing.filter(|it| it.0.is_member_active).ok_or_else(nobody)?;
        let may_operate = standing.permissions.has(Permission::WorkflowExecute);
        let names = self.names_of_member(id, entered)?;
        Ok((format!("user:{id}").into(), Taker { names, may_operate }))
    }
}
