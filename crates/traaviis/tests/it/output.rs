use std::fs::OpenOptions;

use expect_test::expect;

use crate::cli::{DOOR, PURE, World};

fn world() -> World {
    let world = World::new().file("pure.yaml", PURE).file("door.yaml", DOOR);
    assert!(world.run(&["run", "pure.yaml", "--data", "d"]).status.success());
    world
}

/// What a command does whose standard output takes nothing.
fn into_full(world: &World, line: &str) -> String {
    let arguments: Vec<&str> = line.split(' ').collect();
    let full = OpenOptions::new().write(true).open("/dev/full").unwrap();
    let output = world.command(&arguments).stdout(full).output().unwrap();
    world.shown(&output)
}

#[test]
fn output_that_cannot_be_written_is_an_error() {
    let world = world();
    let told: Vec<String> = [
        "ps --all --data d",
        "ps --data d --json",
        "log cat d",
        "validate pure.yaml",
        "--help",
        "run --help",
    ]
    .map(|line| into_full(&world, line))
    .into();
    expect![[r#"
        exit 4
        error: cannot write to standard output: No space left on device (os error 28); what was written is not complete (output_failed)
    "#]].assert_eq(&told[0]);
    assert!(told.iter().all(|it| *it == told[0]), "{told:#?}");
    // What the result would have been is not lost with it.
    expect![[r#"
        exit 3
        error: cannot write to standard output: No space left on device (os error 28); what was written is not complete (output_failed)
        error: `none` holds no log; name a data directory (data_directory_absent)
    "#]].assert_eq(&into_full(&world, "ps --data none --json"));
}

#[test]
fn a_run_goes_on_without_its_output_and_closes_its_data() {
    let world = world();
    expect![[r#"
        exit 4
        error: cannot write to standard output: No space left on device (os error 28); what was written is not complete (output_failed)
    "#]].assert_eq(&into_full(&world, "run pure.yaml --data e"));
    world.check(
        "ps --all --data e",
        expect![[r#"
        exit 0
        ID                                    WORKFLOW  VERSION  STATUS     STATE  AGE  SEQ
        ID  Pure      1.0.0    completed  done   T  10
    "#]],
    );
    let closed = std::fs::read_dir(world.path("e/log")).unwrap();
    let names = closed.map(|it| it.unwrap().file_name().into_string().unwrap());
    assert!(names.into_iter().any(|it| it.ends_with(".checkpoint")));
}

#[test]
fn a_reader_that_went_away_is_no_error() {
    let world = world();
    for line in ["ps --all --data d", "log cat d", "run pure.yaml", "--help"] {
        let arguments: Vec<&str> = line.split(' ').collect();
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let output = world.command(&arguments).stdout(writer).output().unwrap();
        assert_eq!(world.shown(&output), "exit 0\n", "{line}");
    }
}

#[test]
fn standard_error_that_takes_nothing_changes_no_exit_code() {
    let world = world();
    let full = OpenOptions::new().write(true).open("/dev/full").unwrap();
    let output = world.command(&["ps", "--data", "none"]).stderr(full).output().unwrap();
    assert_eq!(output.status.code(), Some(3));
}

#[test]
fn a_command_line_that_cannot_be_read_is_told_to_programs_as_json() {
    let world = world();
    for line in ["ps --nope --json", "--json nope", "test --record --json", "schema nope --json"] {
        let output = world.run(&line.split(' ').collect::<Vec<_>>());
        assert_eq!(output.status.code(), Some(2), "{line}");
        let told: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(told["error"]["code"], "usage", "{line}: {told}");
        assert!(output.stderr.is_empty(), "{line}");
    }
}
