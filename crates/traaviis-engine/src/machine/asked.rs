//! Effects that somebody has an instance run outside of its states.
//!
//! They stand in no document, so no machine holds them: whoever decides a step makes a machine of
//! the instance, which has its definition and, compiled anew, what runs outside of its states.
//! Invariant: what such a tree compiles to depends on its record and the definition alone.

use std::{borrow::Cow, sync::Arc};

use traaviis_model::{
    Diagnostic, Seq, Snapshot,
    definition::Effect,
    document::{Format, read, read_effect, read_tree},
    limits::ASKED_TREE_BYTES_MAX,
    record::Asked,
};

use super::{EffectDef, Machine, compile, grant};

/// A workflow that declares every event, to check by it what is for any workflow.
const ANY: &str = "traaviis: '1'\nname: Any\nversion: 1.0.0\ninitial: s\nevents: {'*': {}}\n\
                   states: {s: {}}\n";

impl Machine {
    /// Returns the machine with what an instance runs outside of its states. What does not compile
    /// any more is left out, and never goes on.
    pub fn of_instance<'m>(&'m self, snapshot: &Snapshot) -> Cow<'m, Machine> {
        if snapshot.trees.iter().all(|it| it.asked.is_none()) {
            return Cow::Borrowed(self);
        }
        let mut machine = self.clone();
        for tree in &snapshot.trees {
            if let Some(asked) = &tree.asked
                && let Ok(effect) = self.compiled(asked)
            {
                machine.asked.insert(tree.id, Arc::new(effect));
            }
        }
        Cow::Owned(machine)
    }

    /// Adds what is asked for by the record `tree`, or says what is wrong with it.
    pub(crate) fn with_asked(&self, tree: Seq, asked: &Asked) -> Result<Machine, Vec<Diagnostic>> {
        let mut machine = self.clone();
        machine.asked.insert(tree, Arc::new(self.compiled(asked)?));
        Ok(machine)
    }

    /// Returns what is wrong with an effect that any workflow may be asked to run: as much of it as
    /// can be known without the workflow.
    pub fn check_effect(text: &str) -> Vec<Diagnostic> {
        let definition = read(ANY, Format::Yaml).definition;
        let machine = definition.and_then(|it| Machine::compile(Arc::new(it)).ok());
        // What it may reach is for the workflow to say.
        match (read_given(text), machine) {
            (Err(found), _) => found,
            (Ok(_), None) => Vec::new(),
            (Ok(given), Some(machine)) => {
                let asked = Asked::default();
                compile::compile_asked(&machine, &asked, Some(&given)).err().unwrap_or_default()
            }
        }
    }

    fn compiled(&self, asked: &Asked) -> Result<EffectDef, Vec<Diagnostic>> {
        let given = asked.tree.as_deref().map(|it| self.given(it)).transpose()?;
        compile::compile_asked(self, asked, given.as_ref())
    }

    /// Reads a tree that was given, which may reach what the workflow may reach.
    fn given(&self, text: &str) -> Result<Effect, Vec<Diagnostic>> {
        let effect = read_given(text)?;
        match grant::check_given(&self.granted, &effect) {
            found if found.is_empty() => Ok(effect),
            found => Err(found),
        }
    }
}

fn read_given(text: &str) -> Result<Effect, Vec<Diagnostic>> {
    let bytes = text.len();
    if bytes > ASKED_TREE_BYTES_MAX {
        let message =
            format!("the effect has {bytes} bytes; at most {ASKED_TREE_BYTES_MAX} are allowed");
        return Err(vec![Diagnostic::error("E160", "", message)]);
    }
    read_effect(&read_tree(text, Format::Json)?)
}
