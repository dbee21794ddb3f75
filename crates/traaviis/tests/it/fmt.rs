use expect_test::expect;

use crate::cli::World;

const MESSY: &str = "name:   Door # its name\ntraaviis: '1'\nstates: {a: {}}\ninitial: 'a'\n\n\n# Last.\nversion: 1.0.0\n";

#[test]
fn the_canonical_layout_is_printed() {
    let world = World::new().file("door.yaml", MESSY);
    world.check(
        "fmt door.yaml",
        expect![[r#"
        exit 0
        traaviis: '1'
        name: Door # its name

        # Last.
        version: 1.0.0
        initial: a
        states: {a: {}}
    "#]],
    );
    assert_eq!(std::fs::read_to_string(world.path("door.yaml")).unwrap(), MESSY);
}

#[test]
fn check_names_what_would_change_and_write_changes_it() {
    let world = World::new().file("door.yaml", MESSY).file("other.json", "{\"name\": \"x\"}");
    world.check(
        "fmt --check door.yaml other.json",
        expect![[r#"
        exit 1
        door.yaml
        other.json
    "#]],
    );
    world.check(
        "fmt --write door.yaml other.json --json",
        expect![[r#"
        exit 0
        {"changed":true,"file":"door.yaml"}
        {"changed":true,"file":"other.json"}
    "#]],
    );
    world.check(
        "fmt --check door.yaml other.json",
        expect![[r#"
        exit 0
    "#]],
    );
    world.check(
        "fmt --write door.yaml",
        expect![[r#"
        exit 0
    "#]],
    );
    let mut names: Vec<_> = std::fs::read_dir(world.path("."))
        .unwrap()
        .map(|it| it.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    assert_eq!(names, ["door.yaml", "other.json"]);
    world.check(
        "fmt --write --check door.yaml",
        expect![[r#"
        exit 2
        error: the argument '--write' cannot be used with '--check'

        Usage: traaviis fmt --write <FILES>...

        For more information, try '--help'.
    "#]],
    );
}

/// YAML 1.1 takes some plain texts for truth values and numbers, and some readers take a `?` before
/// a bracket for a key.
#[test]
fn quotes_stay_where_other_readers_differ() {
    let world = World::new().file(
        "a.yaml",
        "labels: {a: \"yes\", b: 'on', c: \"what?\", d: ['is it?', \"NO\", 'y', \"0o14\", \"12:30\", '1_000', \".5\", \"~\", \"=\", '-']}\nname: \"A\"\n",
    );
    world.check("fmt a.yaml", expect![[r#"
        exit 0
        name: A
        labels: {a: "yes", b: 'on', c: "what?", d: ['is it?', "NO", 'y', "0o14", "12:30", '1_000', ".5", "~", "=", '-']}
    "#]]);
}

#[test]
fn keys_of_the_author_follow_the_labels() {
    let world = World::new().file(
        "a.yaml",
        "tests: []\n# Why.\nx-note: n\nx-waive: {W202: r}\ninput: {}\nname: A\nstates: {a: {x-b: 1, on: {}}}\nlabels: {a: b}\n",
    );
    world.check(
        "fmt a.yaml",
        expect![[r#"
        exit 0
        name: A
        labels: {a: b}
        # Why.
        x-note: n
        x-waive: {W202: r}
        input: {}
        states: {a: {on: {}, x-b: 1}}
        tests: []
    "#]],
    );
}

#[test]
fn what_does_not_parse_is_refused_with_its_place() {
    let world = World::new()
        .file("door.yaml", "name: [Door\nversion: 1.0.0\n")
        .file("ok.yaml", "name: x\n");
    world.check(
        "fmt door.yaml ok.yaml",
        expect![[r#"
        exit 1
        door.yaml:2:8: E101 the YAML does not parse: illegal placement of ':' indicator
        name: x
    "#]],
    );
    world.check("fmt --write door.yaml --json", expect![[r#"
        exit 1
        {"diagnostics":[{"code":"E101","column":8,"line":2,"message":"the YAML does not parse: illegal placement of ':' indicator","path":"","severity":"error"}],"file":"door.yaml","valid":false}
    "#]]);
    world.check(
        "fmt missing.yaml",
        expect![[r#"
        exit 1
        error: cannot read `missing.yaml`: No such file or directory (os error 2) (file_unreadable)
    "#]],
    );
}

#[cfg(unix)]
#[test]
fn a_rewritten_file_keeps_its_permissions_and_links() {
    use std::os::unix::fs::PermissionsExt as _;
    let world = World::new().file("door.yaml", MESSY);
    let file = world.path("door.yaml");
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o640)).unwrap();
    std::os::unix::fs::symlink(&file, world.path("link.yaml")).unwrap();
    assert!(world.run(&["fmt", "--write", "link.yaml"]).status.success());
    let mode = std::fs::metadata(&file).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o640);
    assert!(std::fs::symlink_metadata(world.path("link.yaml")).unwrap().is_symlink());
    assert!(std::fs::read_to_string(&file).unwrap().starts_with("traaviis:"));
}
