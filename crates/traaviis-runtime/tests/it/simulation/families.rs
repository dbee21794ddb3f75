//! What instances know of each other, once everything has come to its end.

use std::collections::BTreeMap;

use traaviis_model::{
    Body,
    record::{ParentClose, Status},
};

use super::Sim;

impl Sim<'_> {
    /// A message that its sender saw accepted was taken once, and no message was taken twice.
    pub(super) fn check_messages(&mut self) {
        for (id, count) in &self.taken {
            assert!(*count == 1, "event `{id}` was taken {count} times");
        }
        for record in self.histories.values().flatten() {
            let Body::EffectCompleted { tree, path, value } = &record.body else { continue };
            if value.get("accepted").is_some() {
                let key = format!("{}.{tree}.{path}", record.header.instance_id);
                assert!(self.taken.contains_key(&*key), "message `{key}` is lost");
                self.facts.told += 1;
            }
        }
    }

    /// A child whose parent has ended is ending, unless it was left to itself.
    pub(super) fn check_orphans(&self) {
        for child in self.folds.values().filter(|it| !it.status.is_finished()) {
            let Some(lineage) = &child.lineage else { continue };
            let parent = &self.folds[&lineage.parent_id];
            let is_listed = parent.children.get(&child.id).is_some_and(|it| !it.closing);
            let is_alone = lineage.parent_close == ParentClose::Abandon;
            assert!(
                is_listed || is_alone || child.status == Status::Completing,
                "child `{}` goes on without its parent: {child:#?}",
                child.id
            );
        }
    }

    /// What a parent knows of a child is what happened there.
    pub(super) fn check_families(&mut self) {
        for (parent, records) in &self.histories {
            let mut started = BTreeMap::new();
            for record in records {
                match &record.body {
                    Body::ChildStarted { tree, path, child, .. } => {
                        // Another one for a child that failed.
                        started.retain(|_, it| *it != (*tree, path));
                        assert!(started.insert(*child, (*tree, path)).is_none(), "started twice");
                    }
                    Body::ChildFinished { child, status, .. } => {
                        let Some(folded) = self.folds.get(child) else {
                            assert_ne!(*status, Status::Completed, "`{child}` never was");
                            continue;
                        };
                        let lineage = folded.lineage.as_ref().expect("a child has a parent");
                        assert_eq!(lineage.parent_id, *parent);
                        assert_eq!(folded.status, *status, "end of `{child}`");
                    }
                    Body::EffectCompleted { tree, path, value } => {
                        let node = (*tree, path);
                        let child = started.iter().find(|(_, it)| **it == node).map(|it| it.0);
                        if let Some(child) = child.filter(|_| value.get("instance_id").is_none()) {
                            let folded = &self.folds[child];
                            assert_eq!(folded.status, Status::Completed);
                            assert_eq!(folded.output, *value);
                            self.facts.raised += 1;
                        }
                    }
                    _ => {}
                }
            }
        }
    }
}
