use expect_test::expect;

use crate::cli::{DOOR, PURE, Process, World, wait_for_socket};

fn world() -> World {
    World::new().file("pure.yaml", PURE).file("door.yaml", DOOR)
}

#[test]
fn a_finished_run_is_reported_and_not_run_again() {
    let world = world();
    world.check(
        "run pure.yaml --data d",
        expect![[r#"
        exit 0
        T  ● Pure 1.0.0
        T  → counting
        T  counting → counting
        T  data at=1
        T  counting → counting
        T  data at=2
        T  counting → counting
        T  data at=3
        T  counting → done  [data.at >= data.to]
        completed in state done after T  output {"counted":3}
    "#]],
    );
    world.check(
        "run pure.yaml --data d",
        expect![[r#"
        exit 0
        ID has finished before; `--new` runs it again
        T  ● Pure 1.0.0
        T  → counting
        T  counting → counting
        T  data at=1
        T  counting → counting
        T  data at=2
        T  counting → counting
        T  data at=3
        T  counting → done  [data.at >= data.to]
        completed in state done after T  output {"counted":3}
    "#]],
    );
    world.check(
        "ps --data d",
        expect![[r#"
        exit 0
        no instances in `d`; `--all` shows finished ones
    "#]],
    );
    world.check(
        "ps --data d --all",
        expect![[r#"
        exit 0
        ID                                    WORKFLOW  VERSION  STATUS     STATE  AGE  SEQ
        ID  Pure      1.0.0    completed  done   T  10
    "#]],
    );
    assert_eq!(world.run(&["run", "pure.yaml", "--data", "d", "--new"]).status.code(), Some(0));
    let listed = world.run(&["ps", "--data", "d", "--all"]);
    assert_eq!(String::from_utf8(listed.stdout).unwrap().lines().count(), 3);
}

#[test]
fn another_input_is_another_run() {
    let world = world();
    assert!(world.run(&["run", "pure.yaml", "--data", "d"]).status.success());
    world.check(
        r#"run pure.yaml --data d --input {"to":1}"#,
        expect![[r#"
        exit 0
        T  ● Pure 1.0.0
        T  → counting
        T  counting → counting
        T  data at=1
        T  counting → done  [data.at >= data.to]
        completed in state done after T  output {"counted":1}
    "#]],
    );
}

#[test]
fn an_open_run_goes_on_where_it_was() {
    let world = world();
    world.check("run door.yaml --data d --event open", expect![[r#"
        exit 1
        T  ● Door 1.0.0
        T  → closed
        T  ⇢ event open
        T  closed → opened  on open
        T  data opened=1
        error: the instance waits in state `opened` for `close`; `traaviis send ID NAME JSON --data d`, then run again; `--wait` stays (waiting_for_event)
    "#]]);
    world.check(
        "ps --data d",
        expect![[r#"
        exit 0
        ID                                    WORKFLOW  VERSION  STATUS   STATE   AGE  SEQ
        ID  Door      1.0.0    running  opened  T  5
    "#]],
    );
    // As after a crash: the same command line sends only what was not taken.
    world.check("run door.yaml --data d --event open", expect![[r#"
        exit 1
        continuing ID from record 5 (state opened)
        not sent again: `open`, which this run has taken; another goes by `traaviis send ID NAME`
        error: the instance waits in state `opened` for `close`; `traaviis send ID NAME JSON --data d`, then run again; `--wait` stays (waiting_for_event)
    "#]]);
    world.check(
        r#"run door.yaml --data d --event close --event lock={"by":"x"}"#,
        expect![[r#"
        exit 0
        continuing ID from record 5 (state opened)
        T  ⇢ event close
        T  opened → closed  on close
        T  ⇢ event lock  {"by":"x"}
        T  closed → locked  on lock
        completed in state locked after T  output {"opened":1}
    "#]],
    );
}

#[test]
fn events_reach_a_run_without_a_process() {
    let world = world();
    world.run(&["run", "door.yaml", "--data", "d"]);
    let listed = world.run(&["ps", "--data", "d", "--json"]);
    let listed: serde_json::Value = serde_json::from_slice(&listed.stdout).unwrap();
    let id = listed["instances"][0]["id"].as_str().unwrap();
    let short = &id[id.len() - 6..];
    world.check(
        &format!("send {short} open --data d"),
        expect![[r#"
        exit 0
        event `open` taken: ID is running in `opened` at record 5
        no process runs `d`; it goes on with the next `traaviis run FILE --data d`
    "#]],
    );
    world.check(&format!("send {short} knock --data d"), expect![[r#"
        exit 1
        error: event `knock` is not declared in workflow `Door`; declared are: close, lock, open (unknown_event)
    "#]]);
    world.check(
        &format!("show {short} --data d"),
        expect![[r#"
            exit 0
            instance  ID
            workflow  Door 1.0.0
            by        user:local
            status    running, waiting, record 5, created T ago
            moved     2 transitions, the last T ago, T apart on average
            state     opened
            data      {"opened":1}
            last 5 records
            T  ● Door 1.0.0
            T  → closed
            T  ⇢ event open
            T  closed → opened  on open
            T  data opened=1
        "#]],
    );
    world.check(&format!("resolve {short} a/b --retry --data d"), expect![[r#"
        exit 1
        error: instance `ID` has no incident about `a/b`; nothing waits for a decision (invalid_state)
    "#]]);
    world.check(
        &format!("cancel {short} --data d --reason enough"),
        expect![[r#"
        exit 0
        cancellation asked for: ID is cancelled at record 8
    "#]],
    );
    world.check(
        &format!("cancel {short} --data d"),
        expect![[r#"
        exit 1
        error: instance `ID` has ended as cancelled; it takes nothing more (invalid_state)
    "#]],
    );
    world.check(
        "show ffffffffffff --data d",
        expect![[r#"
        exit 1
        error: no instance has id `ffffffffffff`; `traaviis ps --all` lists them (not_found)
    "#]],
    );
    world.check(
        &format!("replay {short} --data d"),
        expect![[r#"
        exit 0
        instance  ID
        record    8
        status    cancelled
        state     
        data      {"opened":1}
        8 records, 3 steps: byte-identical
    "#]],
    );
    world.check(
        &format!("replay {short} --data d --until 2"),
        expect![[r#"
        exit 0
        instance  ID
        record    2
        status    running
        state     closed
        data      {"opened":0}
        2 records, 1 steps: byte-identical
    "#]],
    );
}

#[test]
fn a_second_process_is_refused() {
    let world = world();
    let _held =
        Process(world.command(&["run", "door.yaml", "--data", "d", "--wait"]).spawn().unwrap());
    wait_for_socket(&world.path("d"));
    world.check("run pure.yaml --data d", expect![[r#"
        exit 3
        error: the data directory `d` is in use by process PID; stop it, or talk to it through its control socket (data_directory_locked)
    "#]]);
}

#[test]
fn a_directory_that_cannot_be_written_is_refused() {
    // As root every directory can be written, so a file stands where the directory should be too.
    let world = world().file("d", "no directory");
    let output = world.run(&["run", "pure.yaml", "--data", "d"]);
    assert_ne!(output.status.code(), Some(0));
    assert!(String::from_utf8_lossy(&output.stderr).contains("`d"), "{}", world.shown(&output));
    if let Some(output) = as_nobody(&world) {
        assert_eq!(output.status.code(), Some(4), "{}", world.shown(&output));
        assert!(String::from_utf8_lossy(&output.stderr).contains("ermission denied"));
    }
}

/// Runs with a read-only data directory as a user who may not write it; none when that user
/// cannot be had.
fn as_nobody(world: &World) -> Option<std::process::Output> {
    use std::os::unix::{fs::PermissionsExt as _, process::CommandExt as _};
    let readonly = world.path("readonly");
    std::fs::create_dir(&readonly).ok()?;
    std::fs::set_permissions(&readonly, std::fs::Permissions::from_mode(0o555)).ok()?;
    std::fs::set_permissions(world.path("."), std::fs::Permissions::from_mode(0o755)).ok()?;
    // The binary itself must be reachable for that user.
    let binary = world.path("traaviis");
    std::fs::copy(env!("CARGO_BIN_EXE_traaviis"), &binary).ok()?;
    let is_root = std::fs::read_to_string("/proc/self/status").ok()?.contains("Uid:\t0\t");
    let mut command = std::process::Command::new(binary);
    command.args(["run", "pure.yaml", "--data", "readonly"]).current_dir(world.path("."));
    if is_root {
        command.uid(65_534).gid(65_534);
    }
    command.output().ok()
}

#[test]
fn questions_about_nothing_say_so() {
    let world = world();
    world.check(
        "ps --data nowhere",
        expect![[r#"
        exit 3
        error: `nowhere` holds no log; name a data directory (data_directory_absent)
    "#]],
    );
    world.check(
        "show 01 --data nowhere",
        expect![[r#"
        exit 3
        error: `nowhere` holds no log; name a data directory (data_directory_absent)
    "#]],
    );
    assert!(!world.path("nowhere").exists());
}
