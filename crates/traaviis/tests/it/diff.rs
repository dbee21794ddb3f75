//! `diff`: what two files do differently, as people and programs read it.

use expect_test::expect;

use crate::cli::World;

const DOOR: &str = r#"
traaviis: "1"
name: Door
version: 1.0.0
initial: closed
events: {open: {}, close: {}}
states:
  closed: {on: {open: opened}}
  opened: {id: o, after: {30s: closed}, on: {close: closed}}
"#;

fn world(change: impl Fn(&str) -> String) -> World {
    World::new().file("a.yaml", DOOR).file("b.yaml", &change(DOOR))
}

#[test]
fn equal_files_differ_in_nothing() {
    let world = world(|it| it.replace("1.0.0", "1.0.1"));
    world.check(
        "diff a.yaml b.yaml",
        expect![[r#"
        exit 0
        Door 1.0.0 -> Door 1.0.1
        no difference
    "#]],
    );
}

#[test]
fn a_renamed_state_with_an_id_is_one_difference() {
    let world = world(|it| it.replace("opened", "ajar").replace("30s", "1m"));
    world.check(
        "diff a.yaml b.yaml",
        expect![[r#"
        exit 1
        Door 1.0.0 -> Door 1.0.0
        states
          ~ ajar: was `opened`
        timers
          - ajar after 30s: -> closed
          + ajar after 1m: -> closed
    "#]],
    );
    world.check("diff a.yaml b.yaml --json", expect![[r#"
        exit 1
        {"differences":[{"after":"ajar","before":"opened","change":"moved","part":"state","place":"ajar"},{"before":{"target":["closed"]},"change":"removed","part":"timer","place":"ajar after 30s"},{"after":{"target":["closed"]},"change":"added","part":"timer","place":"ajar after 1m"}],"new":{"hash":"HASH","name":"Door","version":"1.0.0"},"old":{"hash":"HASH","name":"Door","version":"1.0.0"}}
    "#]]);
}

#[test]
fn a_file_that_is_not_valid_is_refused() {
    let world = world(|it| it.replace("30s: closed", "30s: nowhere"));
    world.check(
        "diff a.yaml b.yaml",
        expect![[r#"
        exit 1
        b.yaml:9:32: E102 target `nowhere` names no state that can be seen from here
        error: `b.yaml` has 1 error(s); nothing was done (definition_invalid)
    "#]],
    );
}
