//! Who may make a `TenantCtx`: few places, each with an authority it rests on.

use super::{File, Finding, is_test};

/// Constructors and the folders whose files may call them.
const MAKERS: &[(&str, &[&str])] = &[
    // Whoever may read the files of a data directory is its operator.
    ("local_operator", &["crates/traaviis/src/"]),
    ("local_member", &["crates/traaviis/src/"]),
    // (Benchmarks make up the tenants of a directory that is thrown away.)
    (
        "operator_of",
        &[
            "crates/traaviis/src/commands/doctor.rs",
            "crates/traaviis/src/commands/keys.rs",
            "crates/traaviis/src/commands/tenant.rs",
            "crates/traaviis/src/control/protocol.rs",
            "crates/traaviis/src/import_tree",
            "crates/traaviis/src/bench/",
        ],
    ),
    // The platform has recognised who acts, or keeps documents of its own.
    ("authenticated", &["crates/traaviis-platform/src/caller.rs"]),
    ("keeper_of", &["crates/traaviis-platform/src/"]),
    ("platform", &["crates/traaviis-platform/src/"]),
    // The scheduler and replay act for committed records only.
    ("of_record", &["crates/traaviis-runtime/src/", "crates/traaviis-engine/src/replay.rs"]),
    (
        "for_test",
        &[
            "crates/traaviis-testkit/",
            "crates/traaviis-faults/",
            "crates/traaviis-runtime/examples/",
        ],
    ),
];

/// The file that defines them.
const HOME: &str = "crates/traaviis-model/src/tenant.rs";

/// Finds calls from anywhere else. Tests may make any tenant.
pub(super) fn check(file: &File) -> Vec<Finding> {
    if file.path == HOME || is_test(&file.path) || file.path.starts_with("xtask/") {
        return Vec::new();
    }
    let mut findings = Vec::new();
    for (number, line) in file.text.lines().enumerate() {
        if line.trim_start() == "#[cfg(test)]" {
            break;
        }
        for (maker, folders) in MAKERS {
            let is_call = line.contains(&format!("TenantCtx::{maker}"));
            if is_call && !folders.iter().any(|folder| file.path.starts_with(folder)) {
                let message = format!(
                    "`TenantCtx::{maker}` may be called only in {}; take the tenant as a parameter",
                    folders.join(", ")
                );
                findings.push(Finding::new(&file.path, number + 1, message));
            }
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(path: &str, text: &str) -> Vec<usize> {
        let file = File { path: path.into(), text: text.into() };
        check(&file).iter().map(|it| it.line).collect()
    }

    #[test]
    fn makers_are_called_where_their_authority_is() {
        let call = "let ctx = TenantCtx::local_operator();";
        assert!(lines("crates/traaviis/src/run.rs", call).is_empty());
        assert_eq!(lines("crates/traaviis-store/src/lib.rs", call), [1]);
        let call = "let ctx = TenantCtx::of_record(&header);";
        assert!(lines("crates/traaviis-runtime/src/lib.rs", call).is_empty());
        assert_eq!(lines("crates/traaviis/src/run.rs", call), [1]);
    }

    #[test]
    fn tests_may_make_tenants() {
        let call = "let ctx = TenantCtx::for_test(1);";
        assert!(lines("crates/traaviis-store/tests/it/main.rs", call).is_empty());
        let inline = format!("fn live() {{}}\n#[cfg(test)]\nmod tests {{ {call} }}");
        assert!(lines("crates/traaviis-store/src/lib.rs", &inline).is_empty());
        assert_eq!(lines("crates/traaviis-store/src/lib.rs", call), [1]);
    }
}
