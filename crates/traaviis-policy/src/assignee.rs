//! Whom a task asks, and whether somebody is one of them.
//!
//! A task names people and roles: `user:ID`, `user:ADDRESS`, `role:NAME`. A task that names nobody
//! asks whoever may operate instances.

/// Says whether who goes by `names` may answer a task that asks `assignees`; `may_operate` is what
/// they may where nobody is named.
///
/// Names are compared without case, since addresses and roles are typed by people.
pub fn is_asked<'a>(
    assignees: impl IntoIterator<Item = &'a str>,
    names: &[impl AsRef<str>],
    may_operate: bool,
) -> bool {
    let mut names_anybody = false;
    for assignee in assignees {
        names_anybody = true;
        let fits = |it: &str| it.to_lowercase() == assignee.to_lowercase();
        if names.iter().any(|it| fits(it.as_ref())) {
            return true;
        }
    }
    !names_anybody && may_operate
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_task_is_answered_by_who_is_named_and_one_for_nobody_by_who_operates() {
        let names = ["user:7", "user:ada@example.org", "role:Finance", "role:viewer"];
        for (assignees, may_operate, expected) in [
            (vec!["user:7"], false, true),
            (vec!["user:8", "role:finance"], false, true),
            (vec!["user:ADA@example.org"], false, true),
            (vec!["user:8"], true, false),
            (vec!["finance"], true, false),
            (vec![], true, true),
            (vec![], false, false),
        ] {
            assert_eq!(is_asked(assignees.clone(), &names, may_operate), expected, "{assignees:?}");
        }
    }
}
