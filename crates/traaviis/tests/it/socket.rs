use std::{
    io::{BufRead as _, BufReader, Write as _},
    os::unix::{fs::PermissionsExt as _, net::UnixStream},
};

use expect_test::expect;

use crate::cli::{DOOR, Process, World, wait_for_socket, wait_until};

#[test]
fn commands_talk_to_the_running_process() {
    let world = World::new().file("door.yaml", DOOR);
    let mut run =
        Process(world.command(&["run", "door.yaml", "--data", "d", "--wait"]).spawn().unwrap());
    wait_for_socket(&world.path("d"));
    let socket = world.path("d/control.sock");
    assert_eq!(socket.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    let mut id = String::new();
    wait_until("the run has begun", || {
        let listed = world.run(&["ps", "--data", "d", "--json"]);
        let listed: serde_json::Value = serde_json::from_slice(&listed.stdout).unwrap();
        id = listed["instances"][0]["id"].as_str().unwrap_or_default().to_string();
        !id.is_empty()
    });
    world.check(
        "ps --data d",
        expect![[r#"
        exit 0
        ID                                    WORKFLOW  VERSION  STATUS   STATE   AGE  SEQ
        ID  Door      1.0.0    running  closed  T  2
    "#]],
    );
    world.check(
        &format!("send {id} open --data d"),
        expect![[r#"
        exit 0
        event `open` taken: ID is running in `opened` at record 5
    "#]],
    );
    world.check(
        &format!("show {id} --data d"),
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
    world.check(
        &format!("replay {id} --data d"),
        expect![[r#"
        exit 0
        instance  ID
        record    5
        status    running
        state     opened
        data      {"opened":1}
        5 records, 2 steps: byte-identical
    "#]],
    );
    world.check(
        &format!("send {id} close --data d"),
        expect![[r#"
        exit 0
        event `close` taken: ID is running in `closed` at record 7
    "#]],
    );
    let payload = r#"{"by":"me"}"#;
    let sent = world.run(&["send", &id, "lock", payload, "--data", "d"]);
    assert_eq!(sent.status.code(), Some(0), "{}", world.shown(&sent));
    assert_eq!(run.0.wait().unwrap().code(), Some(0));
    assert!(!socket.exists());
}

#[test]
fn another_release_is_told_so() {
    let world = World::new().file("door.yaml", DOOR);
    let _run =
        Process(world.command(&["run", "door.yaml", "--data", "d", "--wait"]).spawn().unwrap());
    wait_for_socket(&world.path("d"));
    let mut stream = UnixStream::connect(world.path("d/control.sock")).unwrap();
    let mut answers = BufReader::new(stream.try_clone().unwrap()).lines();
    for (line, code) in [
        (r#"{"v":9,"op":"fly"}"#, "control_version"),
        (r#"{"v":3,"op":"fly"}"#, "control_request"),
        ("not json", "control_request"),
    ] {
        stream.write_all(format!("{line}\n").as_bytes()).unwrap();
        let answer: serde_json::Value =
            serde_json::from_str(&answers.next().unwrap().unwrap()).unwrap();
        assert_eq!(answer["error"]["code"], code);
    }
}

#[test]
fn ctrl_c_stops_cleanly_and_tells_how_to_go_on() {
    let world = World::new().file("door.yaml", DOOR);
    let mut command = world.command(&["run", "door.yaml", "--data", "d", "--wait"]);
    let child = command
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    wait_for_socket(&world.path("d"));
    wait_until("the run has begun", || {
        let listed = world.run(&["ps", "--data", "d", "--json"]);
        String::from_utf8_lossy(&listed.stdout).contains("closed")
    });
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    let output = child.wait_with_output().unwrap();
    expect![[r#"
        exit 130
        T  ● Door 1.0.0
        T  → closed
        waits for `lock`, `open`: traaviis send ID NAME JSON --data d
        stopped in state closed at record 2; go on with: traaviis run door.yaml --data d --wait
    "#]]
    .assert_eq(&world.shown(&output));
}
