//! Effects that a tenant keeps under a name, for whoever has an instance run one.
//!
//! They are documents of the tenant. An instance that runs one keeps the tree in its record, so
//! nothing that is changed here changes what runs already. No document of a workflow uses one: what
//! a version does is decided when it is published.

use serde::{Deserialize, Serialize};
use serde_json::json;
use traaviis_engine::Machine;
use traaviis_model::{Text, Timestamp, document::is_name, form};

use crate::{
    audit::Act,
    caller::Entered,
    error::Error,
    expected::Expected,
    ledger::{Document, Versioned},
    platform::Platform,
};

/// Named effects of a tenant; they are in memory, and each has at most 64 KiB.
pub const NAMED_EFFECTS_MAX: usize = 100;
/// Characters of a name, as of those in workflows.
const NAME_CHARS_MAX: usize = 63;

/// A named effect.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NamedEffect {
    /// Name.
    pub name: Text,
    /// What it does, in a sentence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// The tree as JSON text, whose keys have their order.
    #[serde(rename = "do")]
    pub tree: Text,
    /// When it was made.
    pub made_at: Timestamp,
    /// When it was changed last.
    pub changed_at: Timestamp,
}

impl Document for NamedEffect {
    const KIND: &'static str = "named_effect";

    fn id(&self) -> Text {
        self.name.clone()
    }
}

/// What somebody wants of one: what it does in a sentence, and the tree.
type Wanted = (Option<String>, Text);

impl Platform {
    /// Returns the named effects of a tenant, by name.
    pub fn named_effects(&self, entered: &Entered) -> Result<Vec<Versioned<NamedEffect>>, Error> {
        self.ledgers.read(&entered.ctx, |it| it.list::<NamedEffect>(""))
    }

    /// Returns a named effect, if there is one.
    pub fn find_named_effect(
        &self,
        entered: &Entered,
        name: &str,
    ) -> Result<Option<Versioned<NamedEffect>>, Error> {
        self.ledgers.get::<NamedEffect>(&entered.ctx, name)
    }

    /// Keeps an effect under a name that is free.
    pub fn make_named_effect(
        &self,
        entered: &Entered,
        name: &str,
        wanted: Wanted,
    ) -> Result<Versioned<NamedEffect>, Error> {
        if !is_name(name) || name.len() > NAME_CHARS_MAX {
            let rule = format!(
                "a name has a letter or `_`, then letters, digits, `_` and `-`; at most \
                 {NAME_CHARS_MAX}"
            );
            return Err(Error::invalid("/name", rule));
        }
        let now = self.now();
        let (description, tree) = checked(wanted)?;
        let name = Text::from(name);
        let effect =
            NamedEffect { name: name.clone(), description, tree, made_at: now, changed_at: now };
        self.ledgers.change(&entered.ctx, &entered.via, |documents, changes| {
            if documents.get::<NamedEffect>(&name)?.is_some() {
                let message = format!("there is an effect `{name}`; replace it, or choose a name");
                return Err(Error::new("already_exists", message));
            }
            if documents.count::<NamedEffect>() >= NAMED_EFFECTS_MAX {
                let message = format!("a tenant has at most {NAMED_EFFECTS_MAX} named effects");
                return Err(Error::new("quota_exceeded", message));
            }
            changes.put(&effect);
            changes.act(Act::done("named_effect.created", NamedEffect::KIND, name.clone()));
            Ok(())
        })?;
        self.named_effect(entered, &name)
    }

    /// Replaces a named effect that has the version which is expected.
    pub fn replace_named_effect(
        &self,
        entered: &Entered,
        (name, expected): (&str, Expected),
        wanted: Wanted,
    ) -> Result<Versioned<NamedEffect>, Error> {
        let (description, tree) = checked(wanted)?;
        let now = self.now();
        self.ledgers.change(&entered.ctx, &entered.via, |documents, changes| {
            let found = documents.versioned::<NamedEffect>(name)?.ok_or_else(|| absent(name))?;
            expected.check(&found)?;
            let before = found.version;
            changes.put(&NamedEffect { description, tree, changed_at: now, ..found.it });
            let act = Act::done("named_effect.changed", NamedEffect::KIND, name);
            changes.act(act.with(json!({ "from_version": before })));
            Ok(())
        })?;
        self.named_effect(entered, name)
    }

    /// Deletes a named effect; what runs already goes on.
    pub fn delete_named_effect(
        &self,
        entered: &Entered,
        name: &str,
        expected: &Expected,
    ) -> Result<(), Error> {
        self.ledgers.change(&entered.ctx, &entered.via, |documents, changes| {
            let found = documents.versioned::<NamedEffect>(name)?.ok_or_else(|| absent(name))?;
            expected.check(&found)?;
            changes.remove::<NamedEffect>(name);
            changes.act(Act::done("named_effect.deleted", NamedEffect::KIND, name));
            Ok(())
        })
    }

    /// Returns a named effect.
    pub fn named_effect(
        &self,
        entered: &Entered,
        name: &str,
    ) -> Result<Versioned<NamedEffect>, Error> {
        self.find_named_effect(entered, name)?.ok_or_else(|| absent(name))
    }
}

fn checked((description, tree): Wanted) -> Result<Wanted, Error> {
    if description.as_ref().is_some_and(|it| form::DESCRIPTION.read(it).is_none()) {
        let rule = format!("this has at most {} characters", form::DESCRIPTION.most);
        return Err(Error::invalid("/description", rule));
    }
    match Machine::check_effect(&tree) {
        found if found.is_empty() => Ok((description, tree)),
        found => {
            let message = format!("the effect cannot be used: {} findings", found.len());
            let details = json!({ "diagnostics": found });
            Err(Error::new("effect_invalid", message).with_details(details))
        }
    }
}

fn absent(name: &str) -> Error {
    Error::not_found("named effect", name)
}
