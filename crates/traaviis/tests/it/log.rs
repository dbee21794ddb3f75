use std::{fs, path::PathBuf};

use expect_test::expect;

use crate::cli::{DOOR, PURE, World};

fn world() -> World {
    let world = World::new().file("pure.yaml", PURE).file("door.yaml", DOOR);
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
}

#[test]
fn a_history_in_a_file_replays() {
    let world = world();
    let lines = world.run(&["log", "cat", "d"]);
    fs::write(world.path("history.jsonl"), &lines.stdout).unwrap();
    world.check("replay history.jsonl", expect![""]);
    world.check("replay history.jsonl --until 3", expect![""]);
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
    world.check("replay only.jsonl", expect![""]);
    world.check("replay only.jsonl --workflow door.yaml", expect![""]);
    assert!(world.run(&["replay", "only.jsonl", "--workflow", "pure.yaml"]).status.success());
    world.check("replay pure.yaml", expect![""]);
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
fn a_corrupted_segment_is_refused() {
    let world = world();
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
    bytes[150] ^= 0x40;
    fs::write(&path, bytes).unwrap();
    let output = world.run(&["run", "pure.yaml", "--data", "d"]);
    assert_eq!(output.status.code(), Some(1), "{}", world.shown(&output));
    assert!(world.shown(&output).contains("data_directory_damaged"), "{}", world.shown(&output));
}
