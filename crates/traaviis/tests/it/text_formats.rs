//! What json-only storage wrote is read for ever, as `formats` has it for packed storage.
//!
//! `tests/data/json-only/N/` holds a directory as text and what was said of it when it was written.

use std::{
    fs,
    path::{Path, PathBuf},
};

use serde_json::{Value as Json, json};

use crate::{
    cli::{DOOR, PURE, World},
    formats::{copy, hash, lasting},
};

fn home() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/json-only")
}

fn fixtures() -> Vec<PathBuf> {
    let entries = fs::read_dir(home()).into_iter().flatten();
    let mut found: Vec<PathBuf> = entries.map(|it| it.unwrap().path()).collect();
    found.sort();
    found
}

fn ok(world: &World, line: &str) -> Vec<u8> {
    let output = world.run(&line.split(' ').collect::<Vec<_>>());
    assert!(output.status.success(), "{line}: {}", world.shown(&output));
    output.stdout
}

fn answer(world: &World, line: &str) -> Json {
    serde_json::from_slice(&ok(world, &format!("{line} --json"))).unwrap()
}

fn said(world: &World) -> Json {
    let rows = lasting(answer(world, "ps --all --data d"));
    let mut histories = serde_json::Map::new();
    for row in rows.as_array().unwrap() {
        let id = row["id"].as_str().unwrap();
        let replayed = answer(world, &format!("replay {id} --data d"));
        assert_eq!(replayed["identical"], true, "{id}: {replayed}");
        histories.insert(id.into(), hash(&ok(world, &format!("export {id} --data d"))).into());
    }
    json!({ "log": hash(&ok(world, "log cat d")), "listed": rows, "histories": histories })
}

/// Reads the formats out of the text.
fn versions(dir: &Path) -> Json {
    let read = |path: PathBuf| fs::read_to_string(path).unwrap();
    let number = |text: &str, key: &str| {
        let rest = text.split(&format!("\"{key}\":")).nth(1).unwrap();
        rest.split([',', '}']).next().unwrap().trim().parse::<u32>().unwrap()
    };
    let segment = read(dir.join("log/00000000000000000000.seg"));
    let progress = read(dir.join("tree/progress.json"));
    json!({
        "directory": read(dir.join("FORMAT")).trim(),
        "frames": number(&segment, "traaviis_frame"),
        "record": number(&segment, "v"),
        "tree": number(&progress, "format"),
    })
}

fn make() -> World {
    let kept = "retention: {completed: 36500d, archive: 36500d}\n";
    let world = World::new()
        .file("pure.yaml", &format!("{PURE}\n{kept}"))
        .file("door.yaml", &format!("{DOOR}\n{kept}"));
    ok(&world, "run pure.yaml --data d --storage json-only");
    let line = ["run", "door.yaml", "--data", "d", "--event", "open"];
    assert_eq!(world.run(&line).status.code(), Some(1), "it waits");
    for name in ["LOCK", "system/keys/LOCK"] {
        let _ = fs::remove_file(world.path("d").join(name));
    }
    world
}

#[test]
fn the_present_text_format_has_a_fixture() {
    let world = make();
    let present = versions(&world.path("d"));
    let newest = fixtures().last().map(|it| versions(&it.join("d")));
    if newest.as_ref() == Some(&present) {
        return;
    }
    assert!(
        std::env::var_os(crate::formats::WRITE).is_some(),
        "a format was raised, from {newest:?} to {present}; run `cargo xtask fixtures` and commit \
         what it makes, so that it can be read for ever"
    );
    let to = home().join((fixtures().len() + 1).to_string());
    copy(&world.path("d"), &to.join("d"));
    let expected = json!({ "versions": present, "said": said(&world) });
    fs::write(to.join("expected.json"), format!("{expected:#}\n")).unwrap();
}

#[test]
fn every_text_ever_written_is_read_and_goes_on() {
    assert!(!fixtures().is_empty());
    for fixture in fixtures() {
        let world = World::new();
        copy(&fixture, &world.path("."));
        let expected: Json =
            serde_json::from_slice(&fs::read(world.path("expected.json")).unwrap()).unwrap();
        assert_eq!(versions(&fixture.join("d")), expected["versions"]);
        assert_eq!(said(&world), expected["said"], "{}", fixture.display());
        ok(&world, "view verify d");
        ok(&world, "rebuild --tree --data d");
        assert_eq!(said(&world), expected["said"], "{}", fixture.display());
        let rows = answer(&world, "ps --data d");
        let door = rows["instances"][0]["id"].as_str().unwrap();
        ok(&world, &format!("send {door} close {{}} --data d"));
        assert_eq!(answer(&world, &format!("replay {door} --data d"))["identical"], true);
    }
}
