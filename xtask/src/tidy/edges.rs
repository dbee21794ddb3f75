//! Which crate may use which: the architecture as a table, compared with `cargo metadata`.
//!
//! Adding an edge here is a reviewed decision with its own commit.

use serde_json::Value;

use super::Finding;

/// The allowed edges. The binary stands for "everything".
const EDGES: &[(&str, &[&str])] = &[
    ("traaviis-model", &[]),
    ("traaviis-policy", &["traaviis-model"]),
    ("traaviis-engine", &["traaviis-policy", "traaviis-model"]),
    ("traaviis-design", &["traaviis-model", "traaviis-engine"]),
    ("traaviis-ports", &["traaviis-model"]),
    ("traaviis-store", &["traaviis-ports", "traaviis-model"]),
    ("traaviis-connect", &["traaviis-ports", "traaviis-model"]),
    ("traaviis-runtime", &["traaviis-engine", "traaviis-ports", "traaviis-model"]),
    (
        "traaviis-platform",
        &[
            "traaviis-runtime",
            "traaviis-policy",
            "traaviis-engine",
            "traaviis-ports",
            "traaviis-model",
        ],
    ),
    ("traaviis-api", &["traaviis-model"]),
    (
        "traaviis-server",
        &["traaviis-api", "traaviis-platform", "traaviis-policy", "traaviis-model"],
    ),
    ("traaviis-testkit", &["traaviis-ports", "traaviis-engine", "traaviis-model"]),
    (
        "traaviis",
        &[
            "traaviis-model",
            "traaviis-policy",
            "traaviis-engine",
            "traaviis-design",
            "traaviis-ports",
            "traaviis-store",
            "traaviis-connect",
            "traaviis-runtime",
            "traaviis-platform",
            "traaviis-api",
            "traaviis-server",
        ],
    ),
    (
        "traaviis-faults",
        &[
            "traaviis-model",
            "traaviis-engine",
            "traaviis-ports",
            "traaviis-store",
            "traaviis-runtime",
            "traaviis-testkit",
        ],
    ),
    ("traaviis-fuzz", &["traaviis-model", "traaviis-engine", "traaviis-store"]),
    ("order-service", &[]),
    ("xtask", &[]),
];

/// May stand in the dev-dependencies of every crate, and nowhere else.
const TESTKIT: &str = "traaviis-testkit";

/// Edges of tests only: the simulation runs owners over the real log on the simulated disk.
const DEV_EDGES: &[(&str, &str)] = &[("traaviis-runtime", "traaviis-store")];

/// Compares the table with what the manifests say.
pub(super) fn check(metadata: &Value) -> Vec<Finding> {
    let packages = metadata["packages"].as_array().map(Vec::as_slice).unwrap_or_default();
    let ours: Vec<&str> = packages.iter().filter_map(|it| it["name"].as_str()).collect();
    let mut findings = Vec::new();
    for package in packages {
        let name = package["name"].as_str().unwrap_or_default();
        let Some((_, allowed)) = EDGES.iter().find(|(known, _)| *known == name) else {
            let message = format!(
                "crate `{name}` has no row in `xtask/src/tidy/edges.rs`; say there what it may use"
            );
            findings.push(Finding::new("", 0, message));
            continue;
        };
        for dependency in package["dependencies"].as_array().into_iter().flatten() {
            let used = dependency["name"].as_str().unwrap_or_default();
            let is_dev = dependency["kind"].as_str() == Some("dev");
            let is_test_edge = used == TESTKIT || DEV_EDGES.contains(&(name, used));
            let is_allowed = allowed.contains(&used) || (is_dev && is_test_edge);
            if ours.contains(&used) && !is_allowed {
                let message = format!(
                    "crate `{name}` may not use `{used}`; turn the edge round with a port, \
                     or add it to `xtask/src/tidy/edges.rs` in a commit of its own"
                );
                findings.push(Finding::new("", 0, message));
            }
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn findings(name: &str, used: &str, kind: Value) -> usize {
        check(&json!({ "packages": [
            { "name": name, "dependencies": [{ "name": used, "kind": kind }] },
            { "name": "traaviis-model", "dependencies": [] },
            { "name": "traaviis-store", "dependencies": [] },
            { "name": "traaviis-testkit", "dependencies": [] },
        ] }))
        .len()
    }

    #[test]
    fn an_edge_of_the_table_is_allowed() {
        assert_eq!(findings("traaviis-engine", "traaviis-model", Value::Null), 0);
        assert_eq!(findings("traaviis-engine", "serde", Value::Null), 0);
    }

    #[test]
    fn any_other_edge_is_found() {
        assert_eq!(findings("traaviis-engine", "traaviis-store", Value::Null), 1);
        assert_eq!(findings("traaviis-engine", "traaviis-store", json!("dev")), 1);
        assert_eq!(findings("traaviis-engine", "traaviis-store", json!("build")), 1);
    }

    #[test]
    fn the_test_kit_is_for_tests() {
        assert_eq!(findings("traaviis-runtime", "traaviis-testkit", json!("dev")), 0);
        assert_eq!(findings("traaviis-runtime", "traaviis-testkit", Value::Null), 1);
    }

    #[test]
    fn a_crate_without_a_row_is_found() {
        assert_eq!(findings("traaviis-new", "serde", Value::Null), 1);
    }

    #[test]
    fn the_table_has_no_cycle() {
        for (name, allowed) in EDGES {
            for used in *allowed {
                let (_, back) = EDGES.iter().find(|(it, _)| it == used).unwrap();
                assert!(!back.contains(name), "{name} and {used} use each other");
            }
        }
    }
}
