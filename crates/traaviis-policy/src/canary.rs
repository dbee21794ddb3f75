//! Canaries of an upgrade: some instances go first, and the others, who are still on their version,
//! are what they are compared with.

use std::collections::BTreeSet;

use traaviis_model::InstanceId;

/// Percentage points by which more of the first than of the others may be in trouble.
const WORSE_BY: usize = 2;

/// Says what is wrong with the first `count` of `instances`, if they do worse than the others.
/// In trouble is who is so `now` and was not `before` the first ones went.
pub fn worse(
    instances: &[InstanceId],
    count: usize,
    before: &BTreeSet<InstanceId>,
    now: &BTreeSet<InstanceId>,
) -> Option<String> {
    let in_trouble = |ids: &[InstanceId]| {
        ids.iter().filter(|it| now.contains(it) && !before.contains(it)).count()
    };
    let (first, others) = instances.split_at(count.min(instances.len()));
    let (bad, bad_others) = (in_trouble(first), in_trouble(others));
    // Shares are compared as products, so that nothing is rounded.
    let (count, rest) = (first.len(), others.len().max(1));
    let is_worse = 100 * bad * rest > 100 * bad_others * count + WORSE_BY * count * rest;
    is_worse.then(|| {
        format!(
            "{bad} of {count} that went first have failed or have an incident, {bad_others} of {} \
             others",
            others.len()
        )
    })
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[test]
    fn the_first_may_do_a_little_worse() {
        let ids = |range: std::ops::Range<u128>| -> BTreeSet<InstanceId> {
            range.map(|it| InstanceId(Uuid::from_u128(it))).collect()
        };
        let all: Vec<InstanceId> = ids(0..1_000).into_iter().collect();
        // The first 50 are canaries.
        for (bad, bad_others, known, expected) in [
            (0..0, 100..100, 0..0, false),
            (0..1, 100..100, 0..0, false),
            (0..2, 100..100, 0..0, true),
            (0..2, 100..138, 0..0, false),
            (0..20, 100..100, 0..20, false),
            (0..22, 100..100, 0..20, true),
        ] {
            let now = &ids(bad.clone()) | &ids(bad_others.clone());
            let found = worse(&all, 50, &ids(known.clone()), &now);
            assert_eq!(found.is_some(), expected, "{bad:?} {bad_others:?} {known:?} {found:?}");
        }
    }
}
