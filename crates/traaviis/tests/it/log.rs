use std::{fs, path::PathBuf};

use expect_test::expect;

use crate::cli::{DOOR, PURE, World};

fn world() -> World {
    begun(World::new())
}

fn begun(world: World) -> World {
    let world = world.file("pure.yaml", PURE).file("door.yaml", DOOR);
    assert!(world.run(&["run", "pure.yaml", "--data", "d"]).status.success());
    world
}

fn segment(world: &World) -> PathBuf {
    let mut found: Vec<PathBuf> = fs::read_dir(world.path("d/log"))
        .unwrap()
        .map(|it| it.unwrap().path())
        .filter(|it| it.extension().is_some_and(|it| it == "seg"))
        .collect();
    found.sort();
    found.remove(0)
}

#[test]
fn records_and_frames_can_be_read() {
    let world = world();
    let lines = world.run(&["log", "cat", "d"]);
    let text = String::from_utf8(lines.stdout).unwrap();
    assert!(text.lines().all(|it| it.starts_with(r#"{"tenant_id":"#)), "{text}");
    assert!(text.contains(r#""kind":"finished""#));
    let finished = world.run(&["log", "cat", "d", "--kind", "finished"]);
    assert_eq!(String::from_utf8(finished.stdout).unwrap().lines().count(), 1);
    let frames = world.run(&["log", "cat", "d", "--headers", "--json"]);
    assert!(frames.status.success());
    let frames = String::from_utf8(frames.stdout).unwrap();
    assert!(frames.lines().count() >= 1, "{frames}");
    let has_codec =
        |it: &str| it.contains(r#""codec":"packed""#) || it.contains(r#""codec":"text""#);
    assert!(frames.lines().all(has_codec), "{frames}");
}

#[test]
fn a_history_in_a_file_replays() {
    let world = world();
    let lines = world.run(&["log", "cat", "d"]);
    fs::write(world.path("history.jsonl"), &lines.stdout).unwrap();
    world.check(
        "replay history.jsonl",
        expect![[r#"
        exit 0
        instance  ID
        record    10
        status    completed
        state     done
        data      {"at":3,"to":3}
        10 records, 1 steps: byte-identical
    "#]],
    );
    world.check(
        "replay history.jsonl --until 3",
        expect![[r#"
        exit 0
        instance  ID
        record    3
        status    running
        state     counting
        data      {"at":0,"to":3}
        10 records, 1 steps: byte-identical
    "#]],
    );
    let text = String::from_utf8(lines.stdout).unwrap();
    // A history that somebody improved.
    let forged = text.replace(r#""counted":3"#, r#""counted":4"#);
    assert_ne!(forged, text);
    fs::write(world.path("forged.jsonl"), forged).unwrap();
    let output = world.run(&["replay", "forged.jsonl"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        String::from_utf8_lossy(&output.stdout).contains("diverges"),
        "{}",
        world.shown(&output)
    );
    // Without the definition in the file, the workflow file must be named, and be the right one.
    let only: String = text
        .lines()
        .filter(|it| !it.contains("document_put"))
        .map(|it| format!("{it}\n"))
        .collect();
    fs::write(world.path("only.jsonl"), only).unwrap();
    world.check("replay only.jsonl", expect![[r#"
        exit 1
        error: the file holds no definition with hash `HASH`; name it with `--workflow FILE` (definition_absent)
    "#]]);
    world.check("replay only.jsonl --workflow door.yaml", expect![[r#"
        exit 1
        error: `door.yaml` has hash `HASH`, the history was decided by `HASH`; give the version that ran (definition_differs)
    "#]]);
    assert!(world.run(&["replay", "only.jsonl", "--workflow", "pure.yaml"]).status.success());
    world.check("replay pure.yaml", expect![[r#"
        exit 1
        error: pure.yaml:2: a record line cannot be read: expected ident at line 1 column 3 (record_unreadable)
    "#]]);
}

#[test]
fn a_torn_tail_is_cut_and_the_run_goes_on() {
    let world = world();
    let path = segment(&world);
    let whole = fs::metadata(&path).unwrap().len();
    // A crash in the middle of a write leaves something after the last frame that is no frame.
    let bytes = fs::read(&path).unwrap();
    let used = bytes.iter().rposition(|it| *it != 0).unwrap() + 1;
    let mut torn = bytes[..used].to_vec();
    torn.extend_from_slice(&bytes[..40]);
    torn.resize(whole.max(torn.len() as u64) as usize, 0);
    fs::write(&path, torn).unwrap();
    let output = world.run(&["run", "pure.yaml", "--data", "d"]);
    assert_eq!(output.status.code(), Some(0), "{}", world.shown(&output));
}

#[test]
fn a_truncated_segment_loses_only_what_was_cut() {
    let world = world();
    let path = segment(&world);
    let bytes = fs::read(&path).unwrap();
    let used = bytes.iter().rposition(|it| *it != 0).unwrap() + 1;
    let file = fs::OpenOptions::new().write(true).open(&path).unwrap();
    file.set_len(used as u64 - 10).unwrap();
    let output = world.run(&["run", "pure.yaml", "--data", "d"]);
    // Either the frame is missing from the end, which a crash can do, or a checkpoint knows that it
    // was there, which only damage can explain. Never silence about something acknowledged.
    assert!(matches!(output.status.code(), Some(0 | 1)), "{}", world.shown(&output));
    if output.status.code() == Some(1) {
        assert!(world.shown(&output).contains("damaged"), "{}", world.shown(&output));
    }
}

#[test]
fn a_corrupted_frame_is_reported_for_ever() {
    let world = begun(World::embedded());
    let path = segment(&world);
    // More frames follow, so the damage below cannot be a torn tail.
    assert!(world.run(&["run", "pure.yaml", "--data", "d", "--new"]).status.success());
    for entry in fs::read_dir(world.path("d/log")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|it| it != "seg") {
            fs::remove_file(path).unwrap();
        }
    }
    let mut bytes = fs::read(&path).unwrap();
    // In the second frame, which holds the first run; the first holds the definition.
    bytes[700] ^= 0x40;
    fs::write(&path, bytes).unwrap();
    // What is whole goes on, what is lost is said.
    world.check("run pure.yaml --data d", expect![[r#"
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
        warning: the log is damaged and was left as it is: segment 0 offset N: the checksum of the payload does not fit; the records at positions N to M are lost; copy the directory, then run `traaviis doctor` (data_directory_damaged)
    "#]]);
    world.check(
        "ps --all --data d",
        expect![[r#"
        exit 0
        ID                                    WORKFLOW  VERSION  STATUS     STATE  AGE  SEQ
        ID  Pure      1.0.0    completed  done   T  10
    "#]],
    );
    // Whoever looks later, past a checkpoint, sees it too.
    let output = world.run(&["doctor", "--data", "d"]);
    assert_eq!(output.status.code(), Some(1), "{}", world.shown(&output));
    assert!(world.shown(&output).contains("the records at positions N to M are lost"));
    assert_eq!(world.run(&["log", "cat", "d"]).status.code(), Some(1));
}
