//! Permissions: an effect that reaches for what is not granted is not begun.
//!
//! The workflow grants what its document spells out or lists; the states around an effect narrow
//! that, also after they were left while it goes on. What undoes is no exception.

use traaviis_model::{
    EffectError, Seq, Text, Value,
    grant::{GrantKind, fits_any},
};

use super::End;
use crate::{
    machine::{StateDef, reached},
    step::Run,
};

impl<'m> Run<'m> {
    /// Says whether the next attempt of a call is not begun for want of permission; then its node
    /// has failed.
    pub(super) fn is_denied(&mut self, tree: Seq, path: &Text) -> bool {
        let Some(node) = self.node(tree, path) else { return false };
        let refused = reached(&node.kind, &node.input)
            .into_iter()
            .find_map(|(kind, name)| Some((self.refused(tree, kind, &name)?, kind, name)));
        let Some(((by, message), kind, name)) = refused else { return false };
        let details = Value::map([
            ("kind", Value::from(kind.one())),
            ("name", Value::String(name)),
            ("by", Value::from(by)),
        ]);
        let error = EffectError::new("permission_denied", message).with_details(details);
        if let Some(def) = self.def_of(tree, path) {
            self.finish_node(tree, path, def, End::Failed(error));
        }
        true
    }

    /// Returns who refuses, and why.
    fn refused(&self, tree: Seq, kind: GrantKind, name: &str) -> Option<(Text, String)> {
        let (list, one) = (kind.as_str(), kind.one());
        if !self.machine.granted.allows(kind, name) {
            let message = format!(
                "the {one} `{name}` was computed, and `permissions.{list}` of the workflow does not \
                 list it"
            );
            return Some(("workflow".into(), message));
        }
        let state = self.states_around(tree).find(|it| {
            let names = it.grant.list(kind);
            names.is_some_and(|it| !fits_any(it, name))
        })?;
        let path = &state.path;
        let message = format!("`permissions.{list}` of state `{path}` does not list `{name}`");
        Some((path.clone(), message))
    }

    /// Returns the lists of hosts that whatever a call connects to must stand in.
    pub(super) fn hosts_around(&self, tree: Seq) -> Vec<Vec<Text>> {
        let lists = self.states_around(tree).filter_map(|it| it.grant.list(GrantKind::Hosts));
        lists.map(<[Text]>::to_vec).collect()
    }

    fn states_around(&self, tree: Seq) -> impl Iterator<Item = &'m StateDef> + use<'m> {
        let machine = self.machine;
        let found = self.snapshot.tree(tree).and_then(|it| machine.effect_of(it)?.0);
        let place = found.map_or(0, |it| it.state);
        machine.ancestors(place).map(|it| &machine.states[it])
    }
}
