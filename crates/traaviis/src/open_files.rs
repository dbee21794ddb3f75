//! How many files this process may open: each connection and each socket is one.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Files that are enough for everything a server has limits for.
const ENOUGH: u64 = 32_768;

/// Raises the number as far as it is useful and allowed; returns it, or nothing where there is no
/// limit.
pub fn raise() -> Option<u64> {
    let limit = getrlimit(Resource::Nofile);
    let wanted = limit.maximum.map_or(ENOUGH, |most| most.min(ENOUGH));
    if limit.current.is_some_and(|it| it < wanted) {
        // Where it is refused, what there is must do.
        let _ = setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), ..limit });
    }
    getrlimit(Resource::Nofile).current
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_as_are_useful_and_allowed() {
        let most = getrlimit(Resource::Nofile).maximum.unwrap_or(u64::MAX);
        assert!(raise().is_none_or(|it| it >= most.min(ENOUGH)));
    }
}
