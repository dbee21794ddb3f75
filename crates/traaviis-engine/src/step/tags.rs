//! Tags and labels: what an instance is found by beside its state.
//!
//! They are given when it is born: those of the workflow and those of whoever starts it. An
//! operator changes tags later; labels stay.

use std::collections::{BTreeMap, BTreeSet};

use traaviis_model::{
    Body, Text, Value,
    definition::Definition,
    limits::{LABELS_MAX, TAG_CHARS_MAX, TAGS_MAX},
};

use crate::step::{Rejection, Run};

/// Tags and labels of an instance.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Marks {
    /// Words that it is found by.
    pub tags: BTreeSet<Text>,
    /// Facts about it for people, by name.
    pub labels: BTreeMap<Text, Value>,
}

impl Marks {
    /// Returns those of every instance of a workflow.
    pub fn of(definition: &Definition) -> Marks {
        Marks { tags: definition.tags.clone(), labels: definition.labels.clone() }
    }

    /// Returns these with what somebody gives besides; a label that is given wins.
    pub fn with(mut self, given: Marks) -> Result<Marks, Rejection> {
        given.tags.iter().try_for_each(|it| check_tag(it))?;
        self.tags.extend(given.tags);
        self.labels.extend(given.labels);
        check_count(&self.tags)?;
        if self.labels.len() > LABELS_MAX {
            let (count, message) = (self.labels.len(), "labels of an instance; at most");
            let message = format!("{count} {message} {LABELS_MAX} are allowed");
            return Err(Rejection::new("validation_failed", message));
        }
        Ok(self)
    }
}

impl Run<'_> {
    /// Changes the tags. Nothing is recorded when they are so already.
    pub(super) fn tag(
        &mut self,
        mut add: BTreeSet<Text>,
        mut remove: BTreeSet<Text>,
    ) -> Result<(), Rejection> {
        add.iter().try_for_each(|it| check_tag(it))?;
        if let Some(both) = add.intersection(&remove).next() {
            let message = format!("tag `{both}` cannot be added and removed at once");
            return Err(Rejection::new("validation_failed", message));
        }
        let tags = &self.snapshot.tags;
        add.retain(|it| !tags.contains(it));
        remove.retain(|it| tags.contains(it));
        if add.is_empty() && remove.is_empty() {
            return Ok(());
        }
        let after = tags.difference(&remove).chain(&add).cloned().collect();
        check_count(&after)?;
        self.emit(Body::Tagged { add, remove });
        Ok(())
    }
}

fn check_count(tags: &BTreeSet<Text>) -> Result<(), Rejection> {
    if tags.len() <= TAGS_MAX {
        return Ok(());
    }
    let message =
        format!("the instance would have {} tags; at most {TAGS_MAX} are allowed", tags.len());
    Err(Rejection::new("tag_limit", message))
}

/// Refuses what nobody could type or tell from another tag.
fn check_tag(tag: &str) -> Result<(), Rejection> {
    let is_clean = !tag.is_empty() && tag.trim() == tag && !tag.chars().any(char::is_control);
    if is_clean && tag.chars().count() <= TAG_CHARS_MAX {
        return Ok(());
    }
    let shown: String = tag.chars().filter(|it| !it.is_control()).take(TAG_CHARS_MAX).collect();
    let message = format!(
        "`{shown}` is no tag: write 1 to {TAG_CHARS_MAX} characters without space around them"
    );
    Err(Rejection::new("validation_failed", message))
}

#[cfg(test)]
mod tests {
    use traaviis_model::{InstanceId, TenantCtx, Timestamp, record::Operation};

    use super::*;
    use crate::{
        step::Input,
        tests::{context, machine, with_head},
    };

    const WORKFLOW: &str =
        "tags: [shop, eu]\nlabels: {team: sales, cost: 7}\ninitial: a\nstates: {a: {}}";

    fn marks(tags: &[&str]) -> Marks {
        let tags = tags.iter().copied().map(Text::from).collect();
        Marks { tags, labels: BTreeMap::from([("team".into(), Value::from("support"))]) }
    }

    #[test]
    fn an_instance_has_the_tags_of_its_workflow_and_those_given() {
        let machine = machine(&with_head(WORKFLOW));
        let both = Marks::of(machine.definition()).with(marks(&["vip", "eu"])).unwrap();
        assert_eq!(both.tags.iter().map(|it| &**it).collect::<Vec<_>>(), ["eu", "shop", "vip"]);
        let labels = serde_json::to_string(&both.labels).unwrap();
        assert_eq!(labels, r#"{"cost":7,"team":"support"}"#);
    }

    #[test]
    fn tags_have_limits() {
        let many: Vec<String> = (0..=TAGS_MAX).map(|it| it.to_string()).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        let code = |tags: &[&str]| Marks::default().with(marks(tags)).err().map(|it| it.code);
        assert_eq!(code(&many[1..]), None);
        assert_eq!(code(&many), Some("tag_limit"));
        assert_eq!(code(&[&"x".repeat(TAG_CHARS_MAX)]), None);
        for bad in ["", " a", "a\n", "a\tb", &"x".repeat(TAG_CHARS_MAX + 1)] {
            assert_eq!(code(&[bad]), Some("validation_failed"), "{bad:?}");
        }
        let labels = (0..=LABELS_MAX).map(|it| (it.to_string().into(), Value::Null)).collect();
        let many = Marks { labels, ..Marks::default() };
        assert_eq!(Marks::default().with(many).map_err(|it| it.code), Err("validation_failed"));
    }

    #[test]
    fn an_operator_changes_tags() {
        let machine = machine(&with_head(WORKFLOW));
        let context = context(Timestamp(0));
        let (ctx, id) = (TenantCtx::for_test(1), InstanceId(uuid::Uuid::from_u128(7)));
        let first = crate::start(&machine, &ctx, id, Value::empty_map(), &context).unwrap();
        let set = |tags: &[&str]| tags.iter().copied().map(Text::from).collect::<BTreeSet<Text>>();
        let change = |add: &[&str], remove: &[&str]| {
            let operation = Operation::Tag { add: set(add), remove: set(remove) };
            crate::step(&machine, &first.snapshot, Input::Operate(operation), &context)
        };
        let step = change(&["vip", "shop"], &["eu", "absent"]).unwrap();
        assert_eq!(step.snapshot.tags, set(&["shop", "vip"]));
        // The record holds only what changed.
        let expected = Body::Tagged { add: set(&["vip"]), remove: set(&["eu"]) };
        assert_eq!(step.records.iter().map(|it| &it.body).collect::<Vec<_>>(), [&expected]);
        assert!(change(&["shop"], &["absent"]).unwrap().records.is_empty());
        assert_eq!(change(&["a"], &["a"]).unwrap_err().code, "validation_failed");
        assert_eq!(change(&[" a"], &[]).unwrap_err().code, "validation_failed");
    }
}
