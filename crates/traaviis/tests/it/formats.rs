//! What earlier releases wrote is read for ever, and what a newer one wrote is told from damage.
//!
//! `tests/data/formats/N/` holds a data directory, a backup of it and its root key, as the release
//! that began to write one of the formats differently made them, and what was said of them then.
//! They are never written again. When a format is raised, [`this_format_has_a_fixture`] asks for a
//! new one: `cargo xtask fixtures` makes it.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Output,
};

use expect_test::expect;
use serde_json::{Value as Json, json};
use sha2::{Digest as _, Sha256};
use traaviis_model::{Seq, TenantCtx};
use traaviis_ports::{Append, Compaction, LogStore as _, archive::Mode};
use traaviis_store::{
    FileArchive, LogCore, Options, ReadOnlyLog, disk::OsDisk, log::Entry, visit_frames,
};

use crate::cli::{DOOR, PURE, World};

/// Asks for a new fixture if the newest one is not of the present formats.
pub const WRITE: &str = "TRAAVIIS_WRITE_FIXTURES";
/// Bytes of a segment of a fixture, so that some are sealed and compacted.
const SEGMENT_BYTES: u64 = 4 << 10;

fn home() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/formats")
}

/// Returns the fixtures, the oldest first.
fn fixtures() -> Vec<PathBuf> {
    let entries = fs::read_dir(home()).into_iter().flatten();
    let mut found: Vec<PathBuf> = entries.map(|it| it.unwrap().path()).collect();
    found.sort_by_key(|it| it.file_name().unwrap().to_string_lossy().parse::<u32>().unwrap());
    found
}

pub fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let (from, to) = {
            let entry = entry.unwrap();
            (entry.path(), to.join(entry.file_name()))
        };
        if from.is_dir() {
            copy(&from, &to);
        } else {
            fs::copy(&from, &to).unwrap();
        }
    }
}

/// A world with a copy of a fixture in it.
fn opened(fixture: &Path) -> World {
    let world = World::embedded();
    copy(fixture, &world.path("."));
    fs::set_permissions(world.path("root.key"), owner_only()).unwrap();
    world
}

fn run(world: &World, line: &str) -> Output {
    let mut command = world.command(&line.split(' ').collect::<Vec<_>>());
    command.env("TRAAVIIS_ROOT_KEY_FILE", world.path("root.key")).output().unwrap()
}

fn ok(world: &World, line: &str) -> Vec<u8> {
    let output = run(world, line);
    assert!(output.status.success(), "{line}: {}", world.shown(&output));
    output.stdout
}

fn answer(world: &World, line: &str) -> Json {
    let output = run(world, &format!("{line} --json"));
    serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|_| panic!("{line}: {}", world.shown(&output)))
}

pub fn hash(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|it| format!("{it:02x}")).collect()
}

/// Takes out what is another value at every call.
pub fn lasting(mut listed: Json) -> Json {
    for row in listed["instances"].as_array_mut().unwrap() {
        row.as_object_mut().unwrap().remove("age_ms");
    }
    listed["instances"].take()
}

/// Says everything that a directory says, in a few lines.
fn said(world: &World, dir: &str) -> Json {
    let rows = lasting(answer(world, &format!("ps --all --data {dir}")));
    let archived = lasting(answer(world, &format!("ps --archived --data {dir}")));
    let mut states = serde_json::Map::new();
    for row in rows.as_array().unwrap().iter().chain(archived.as_array().unwrap()) {
        let id = row["id"].as_str().unwrap();
        let replayed = answer(world, &format!("replay {id} --data {dir}"));
        assert_eq!(replayed["identical"], true, "{id}: {replayed}");
        let shown = answer(world, &format!("show {id} --data {dir}"));
        assert_eq!(shown["snapshot"], replayed["snapshot"], "{id}");
        let lines = ok(world, &format!("export {id} --data {dir}"));
        let state = shown["snapshot"].to_string();
        let (state, history) = (hash(state.as_bytes()), hash(&lines));
        states.insert(id.into(), json!({ "state": state, "history": history }));
    }
    json!({
        "log": hash(&ok(world, &format!("log cat {dir}"))),
        "listed": rows,
        "archived": archived,
        "instances": states,
        "secrets": answer(world, &format!("secrets list --data {dir}")),
        "definitions": answer(world, &format!("doctor --data {dir}"))["checks"]
            .as_array().unwrap().iter().filter(|it| it["check"] == "secrets")
            .cloned().collect::<Json>(),
    })
}

/// Reads the version of each format out of the bytes of a fixture.
fn versions(fixture: &Path) -> Json {
    let data = fixture.join("d");
    let mut frames: Vec<u32> = Vec::new();
    visit_frames(&data, &mut |info, _| {
        let path = data.join(format!("log/{:020}.seg", info.segment));
        let bytes = fs::read(path).unwrap();
        let at = info.offset as usize + 8;
        frames.push(u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap()));
    })
    .unwrap();
    frames.sort_unstable();
    frames.dedup();
    let checkpoint = fs::read(last(&data.join("log"), ".checkpoint")).unwrap();
    // Its lines begin behind a header of this length.
    let body = checkpoint[97..].split(|it| *it == b'{').nth(2).unwrap();
    let database = fs::read(data.join("index/index.sqlite")).unwrap();
    let text = |path: PathBuf| fs::read_to_string(path).unwrap();
    let format =
        |path: PathBuf| serde_json::from_str::<Json>(&text(path)).unwrap()["format"].clone();
    let packed = fs::read(last(&data.join(TENANT).join("archived/instances"), ".gz")).unwrap();
    let mut archived = Vec::new();
    std::io::Read::read_to_end(&mut flate2::read::GzDecoder::new(&*packed), &mut archived).unwrap();
    let archived: Json = serde_json::from_slice(&archived).unwrap();
    let record = archived["body"]["records"][0]["v"].clone();
    json!({
        "directory": text(data.join("FORMAT")).trim(),
        "frames": frames,
        "checkpoint": String::from_utf8_lossy(&checkpoint[..8]),
        "checkpoint_lines": String::from_utf8_lossy(body).split('}').next(),
        "index": u32::from_be_bytes(database[60..64].try_into().unwrap()),
        "archive": archived["format"],
        "record": record,
        "tree": format(data.join("tree/progress.json")),
        "keys": format(last(&data.join("system/keys"), ".json")),
        "manifest": format(last(&fixture.join("backup/manifests"), ".json")),
    })
}

const TENANT: &str = "tenants/00000000-0000-0000-0000-000000000001";

/// Returns the last file with this ending below a directory.
fn last(dir: &Path, ending: &str) -> PathBuf {
    let entries = fs::read_dir(dir).unwrap().map(|it| it.unwrap().path());
    entries.filter(|it| it.to_string_lossy().ends_with(ending)).max().unwrap()
}

/// Makes a fixture: something of everything, in segments so small that some are compacted.
fn make() -> World {
    let old = "retention: {completed: 0s, archive: 36500d}\n";
    let kept = "retention: {completed: 36500d, archive: 36500d}\n";
    let world = World::embedded()
        .file("brief.yaml", &format!("{PURE}\n{old}").replace("name: Pure", "name: Brief"))
        .file("pure.yaml", &format!("{PURE}\n{kept}"))
        .file("door.yaml", &format!("{DOOR}\n{kept}"));
    // It seals nothing but the value in the fixture.
    let key = hash(b"the root key of the fixtures") + "\n";
    fs::write(world.path("root.key"), key).unwrap();
    fs::set_permissions(world.path("root.key"), owner_only()).unwrap();
    for to in ["40", "60", "80"] {
        let input = format!(r#"{{"to":{to}}}"#);
        ok(&world, &format!("run brief.yaml --data from --tree eager --input {input}"));
    }
    ok(&world, "run pure.yaml --data from");
    assert_eq!(run(&world, "run door.yaml --data from --event open").status.code(), Some(1));
    ok(&world, "compact from");
    let mut set = world.command(&["secrets", "set", "stripe", "--data", "from"]);
    set.env("TRAAVIIS_ROOT_KEY_FILE", world.path("root.key"));
    fs::write(world.path("value"), "a value").unwrap();
    set.stdin(fs::File::open(world.path("value")).unwrap());
    assert!(set.output().unwrap().status.success());
    reframe(&world.path("from"), &world.path("d"));
    for name in ["index/index.sqlite", "tree", "system", "tenants"] {
        let (from, to) = (world.path("from").join(name), world.path("d").join(name));
        if from.is_dir() {
            copy(&from, &to);
        } else {
            fs::create_dir_all(to.parent().unwrap()).unwrap();
            fs::copy(&from, &to).unwrap();
        }
    }
    fs::write(world.path("d/run.json"), r#"{"connectors":null,"allow_private":[],"tree":"eager"}"#)
        .unwrap();
    compact(&world.path("d"));
    ok(&world, "backup backup --data d");
    for name in ["from", "config"] {
        let _ = fs::remove_dir_all(world.path(name));
    }
    for name in ["brief.yaml", "pure.yaml", "door.yaml", "value", "d/LOCK", "d/system/keys/LOCK"] {
        let _ = fs::remove_file(world.path(name));
    }
    world
}

fn owner_only() -> fs::Permissions {
    std::os::unix::fs::PermissionsExt::from_mode(0o600)
}

fn small() -> Options {
    Options { segment_bytes: SEGMENT_BYTES, ..Options::default() }
}

/// Writes the records of a log into another one, commit by commit, with its checkpoint.
fn reframe(from: &Path, to: &Path) {
    let log = ReadOnlyLog::open(from).unwrap();
    let (mut core, _) = LogCore::open(OsDisk, to, small()).unwrap();
    let mut steps: Vec<(Append, TenantCtx, u64)> = Vec::new();
    log.scan(0, &mut |line| {
        let record = traaviis_model::Record::read_line(line.bytes).unwrap();
        let bytes = [line.bytes, b"\n"].concat();
        let header = &record.header;
        if let Some((append, _, step)) = steps.last_mut()
            && append.stream == header.instance_id
            && *step == header.step
        {
            let mut lines = append.lines.written().to_vec();
            lines.extend(bytes);
            append.lines = lines.into();
            append.count += 1;
            return;
        }
        let append = Append {
            stream: header.instance_id,
            first_seq: header.seq as Seq,
            count: 1,
            lines: bytes.into(),
            ends_stream: false,
            known_to: 0,
            subject: None,
        };
        steps.push((append, TenantCtx::for_test(1), header.step));
    })
    .unwrap();
    for (append, ctx, _) in steps {
        let mut outcomes = Vec::new();
        core.commit(&[Entry { tenant: ctx.tenant(), append }], &mut outcomes);
        outcomes.remove(0).unwrap();
    }
    let (_, body) = log.checkpoint().unwrap().unwrap();
    for _ in 0..2 {
        core.put_checkpoint(core.tail(), &body).unwrap();
    }
}

fn compact(dir: &Path) {
    let (core, _) = LogCore::open(OsDisk, dir, small()).unwrap();
    let (pace, tell) = (&mut |_| true, &mut |_| ());
    let mut compaction = Compaction { expired: &[], mode: Mode::Write, pace, tell };
    let done = core.compact(&FileArchive::new(OsDisk, dir), &mut compaction).unwrap();
    assert!(done.replaced > 0, "{done:?}");
}

#[test]
fn this_format_has_a_fixture() {
    let world = make();
    let present = versions(&world.path("."));
    let newest = fixtures().last().map(|it| versions(it));
    if newest.as_ref() == Some(&present) {
        return;
    }
    assert!(
        std::env::var_os(WRITE).is_some(),
        "a format was raised, from {newest:?} to {present}; run `cargo xtask fixtures` and commit \
         what it makes, so that it can be read for ever"
    );
    let said = said(&world, "d");
    for name in ["LOCK", "system/keys/LOCK", "index/index.sqlite-shm", "index/index.sqlite-wal"] {
        let _ = fs::remove_file(world.path("d").join(name));
    }
    let to = home().join((fixtures().len() + 1).to_string());
    copy(&world.path("."), &to);
    let text = format!("{:#}\n", json!({ "versions": present, "said": said }));
    fs::write(to.join("expected.json"), text).unwrap();
}

#[test]
fn every_format_ever_written_is_read() {
    assert!(!fixtures().is_empty());
    for fixture in fixtures() {
        let world = opened(&fixture);
        let expected: Json =
            serde_json::from_slice(&fs::read(world.path("expected.json")).unwrap()).unwrap();
        assert_eq!(versions(&fixture), expected["versions"]);
        // As it lies there, after a start that writes, and from its backup.
        assert_eq!(said(&world, "d"), expected["said"], "{}", fixture.display());
        ok(&world, "view verify d");
        ok(&world, "rebuild --tree --data d");
        assert_eq!(said(&world, "d"), expected["said"], "{}", fixture.display());
        let verified = answer(&world, "backup verify backup --against d");
        assert_eq!(verified["problems"], json!([]), "{verified}");
        ok(&world, "restore backup --data r");
        assert_eq!(said(&world, "r"), expected["said"], "{}", fixture.display());
    }
}

#[test]
fn instances_of_every_format_go_on() {
    for fixture in fixtures() {
        let world = opened(&fixture);
        let rows = answer(&world, "ps --data d");
        let door = rows["instances"][0]["id"].as_str().unwrap().to_string();
        ok(&world, &format!("send {door} close {{}} --data d"));
        ok(&world, &format!("send {door} lock {{\"by\":\"me\"}} --data d"));
        let shown = answer(&world, &format!("show {door} --data d"));
        assert_eq!(
            (&shown["state"], &shown["snapshot"]["status"]),
            (&"locked".into(), &"completed".into())
        );
        assert_eq!(answer(&world, &format!("replay {door} --data d"))["identical"], true);
        ok(&world, "view verify d");
        ok(&world, "compact d");
    }
}

/// Changes one file of a copy of the newest fixture and shows what commands say to it.
fn newer(change: impl FnOnce(&World), lines: &[&str]) -> String {
    let world = opened(fixtures().last().unwrap());
    // Its name tells when the fixture was made.
    let manifest = last(&world.path("backup/manifests"), ".json");
    change(&world);
    let mut text = String::new();
    for line in lines {
        text += &format!("$ {line}\n{}", world.shown(&run(&world, line)));
    }
    text.replace(&*manifest.file_name().unwrap().to_string_lossy(), "MANIFEST.json")
}

fn replace(path: PathBuf, from: &str, to: &str) {
    let text = fs::read_to_string(&path).unwrap();
    assert!(text.contains(from), "{text}");
    fs::write(path, text.replacen(from, to, 1)).unwrap();
}

/// Makes a document one of a newer format, which it says twice.
pub fn make_newer(path: PathBuf, format: u32) {
    replace(path.clone(), "\"format\": 1", &format!("\"format\": {format}"));
    replace(path, "\"checksum\": \"", &format!("\"checksum\": \"{format}:"));
}

/// Writes another number over the format of the first frame, with the checksum that fits.
fn renumber(path: &Path) {
    let mut bytes = fs::read(path).unwrap();
    bytes[8] = 9;
    let crc = crc32c::crc32c(&bytes[..80]);
    bytes[80..84].copy_from_slice(&crc.to_le_bytes());
    fs::write(path, bytes).unwrap();
}

#[test]
fn a_newer_directory_is_refused() {
    let change = |world: &World| fs::write(world.path("d/FORMAT"), "7\n").unwrap();
    expect![[r#"
        $ ps --data d
        exit 1
        error: `d/FORMAT` is in format `7`, this release reads up to `2`; use the release that wrote it, or a newer one (data_format_newer)
        $ compact d
        exit 1
        error: `d/FORMAT` is in format `7`, this release reads up to `2`; use the release that wrote it, or a newer one (data_format_newer)
        $ backup b --data d
        exit 1
        error: `d/FORMAT` is in format `7`, this release reads up to `2`; use the release that wrote it, or a newer one (data_format_newer)
    "#]].assert_eq(&newer(change, &["ps --data d", "compact d", "backup b --data d"]));
}

#[test]
fn a_newer_segment_is_refused() {
    let change = |world: &World| renumber(&last(&world.path("d/log"), "00.seg"));
    expect![[r#"
        $ log cat d
        exit 1
        error: `d/log/00000000000000000000.seg` is in format `9`, this release reads up to `3`; use the release that wrote it, or a newer one (data_format_newer)
        $ rebuild --data d
        exit 1
        error: `d/log/00000000000000000000.seg` is in format `9`, this release reads up to `3`; use the release that wrote it, or a newer one (data_format_newer)
    "#]].assert_eq(&newer(change, &["log cat d", "rebuild --data d"]));
    // In the last one, which every start reads.
    let change = |world: &World| renumber(&last(&world.path("d/log"), ".seg"));
    expect![[r#"
        $ compact d
        exit 1
        error: `d/log/00000000000000000387.seg` is in format `9`, this release reads up to `3`; use the release that wrote it, or a newer one (data_format_newer)
        $ backup b --data d
        exit 1
        error: `d/log/00000000000000000387.seg` is in format `9`, this release reads up to `3`; use the release that wrote it, or a newer one (data_format_newer)
    "#]].assert_eq(&newer(change, &["compact d", "backup b --data d"]));
}

#[test]
fn a_newer_archive_file_concerns_one_instance() {
    let change = |world: &World| {
        let path = last(&world.path("d").join(TENANT).join("archived/instances"), ".gz");
        let mut text = Vec::new();
        let packed = fs::read(&path).unwrap();
        std::io::Read::read_to_end(&mut flate2::read::GzDecoder::new(&*packed), &mut text).unwrap();
        let text = String::from_utf8(text).unwrap().replacen("\"format\":1", "\"format\":4", 1);
        let packer = flate2::Compression::default();
        let mut packer = flate2::write::GzEncoder::new(fs::File::create(&path).unwrap(), packer);
        std::io::Write::write_all(&mut packer, text.as_bytes()).unwrap();
        packer.finish().unwrap();
        let id = path.file_name().unwrap().to_string_lossy().replace(".json.gz", "");
        fs::write(world.path("id"), id).unwrap();
    };
    let world = opened(fixtures().last().unwrap());
    change(&world);
    let id = fs::read_to_string(world.path("id")).unwrap();
    let shown = world.shown(&run(&world, &format!("show {id} --data d")));
    expect![[r#"
        exit 1
        error: `d/tenants/ID/archived/instances/ID.json.gz` is in format `4`, this release reads up to `1`; use the release that wrote it, or a newer one (data_format_newer)
    "#]].assert_eq(&shown);
    let archived = answer(&world, "ps --archived --data d");
    assert_eq!(archived["instances"].as_array().unwrap().len(), 3, "{archived}");
}

#[test]
fn newer_keys_and_secrets_are_refused() {
    let keys = |world: &World| {
        make_newer(last(&world.path("d/system/keys"), ".json"), 3);
    };
    expect![[r#"
        $ keys list --data d
        exit 1
        error: `d/system/keys/ID.json` is in format `3`, this release reads up to `1`; use the release that wrote it, or a newer one (data_format_newer)
        $ keys rotate --data d
        exit 1
        error: `d/system/keys/ID.json` is in format `3`, this release reads up to `1`; use the release that wrote it, or a newer one (data_format_newer)
    "#]].assert_eq(&newer(keys, &["keys list --data d", "keys rotate --data d"]));
    let secret = |world: &World| {
        let dir = world.path("d").join(TENANT).join("secrets");
        make_newer(last(&dir, ".json"), 3);
    };
    expect![[r#"
        $ secrets list --data d
        exit 1
        no secrets in `d`
        warning: `d/tenants/ID/secrets/stripe.json` is in format `3`, this release reads up to `1`; use the release that wrote it, or a newer one (data_format_newer)
        $ keys rotate --data d
        exit 1
        error: `d/tenants/ID/secrets/stripe.json` is in format `3`, this release reads up to `1`; use the release that wrote it, or a newer one (data_format_newer)
    "#]].assert_eq(&newer(secret, &["secrets list --data d", "keys rotate --data d"]));
}

#[test]
fn a_newer_manifest_is_refused() {
    let change = |world: &World| {
        replace(last(&world.path("backup/manifests"), ".json"), "\"format\":1", "\"format\":5");
    };
    let lines = ["backup list backup", "backup verify backup", "restore backup --data r"];
    expect![[r#"
        $ backup list backup
        exit 1
        MADE  POSITION  SIZE               SEGMENTS  FILES  ENCRYPTED
              390       data_format_newer
        warning: manifest `backup/manifests/MANIFEST.json` is in format `5`, this release reads up to `2`; use the release that wrote it, or a newer one (data_format_newer)
        $ backup verify backup
        exit 1
        error: manifest `backup/manifests/MANIFEST.json` is in format `5`, this release reads up to `2`; use the release that wrote it, or a newer one (data_format_newer)
        $ restore backup --data r
        exit 1
        error: manifest `backup/manifests/MANIFEST.json` is in format `5`, this release reads up to `2`; use the release that wrote it, or a newer one (data_format_newer)
    "#]].assert_eq(&newer(change, &lines));
}

#[test]
fn a_newer_checkpoint_stands_aside_and_the_log_is_read() {
    let container = |world: &World| {
        let path = last(&world.path("d/log"), ".checkpoint");
        let mut bytes = fs::read(&path).unwrap();
        bytes[7] = b'2';
        fs::write(&path, bytes).unwrap();
    };
    let lines = ["compact d", "compact d"];
    expect![[r#"
        $ compact d
        exit 0
        0 instances archived, 0 archive files deleted; 0 records dropped from 0 of 2 sealed segments, 0 B freed
        warning: checkpoint `d/log/00000000000000000390.checkpoint` is in format `2`, this release reads up to `1`; it is `d/log/00000000000000000390.checkpoint.newer-2` now, and what is in it was read from the log (data_format_newer)
        $ compact d
        exit 0
        0 instances archived, 0 archive files deleted; 0 records dropped from 0 of 2 sealed segments, 0 B freed
    "#]].assert_eq(&newer(container, &lines));
    let body = |world: &World| {
        let path = last(&world.path("d/log"), ".checkpoint");
        let mut bytes = fs::read(&path).unwrap();
        let at = bytes.windows(11).position(|it| it == b"\"version\":2").unwrap();
        bytes[at + 10] = b'6';
        let crc = crc32c::crc32c(&bytes[97..]);
        bytes[89..93].copy_from_slice(&crc.to_le_bytes());
        let crc = crc32c::crc32c(&bytes[..93]);
        bytes[93..97].copy_from_slice(&crc.to_le_bytes());
        fs::write(&path, bytes).unwrap();
    };
    expect![[r#"
        $ compact d
        exit 0
        0 instances archived, 0 archive files deleted; 0 records dropped from 0 of 2 sealed segments, 0 B freed
        warning: checkpoint `log/00000000000000000390.checkpoint` holds version `6`, this release reads up to `2`; it was passed over, and the whole log was read (data_format_newer)
        $ compact d
        exit 0
        0 instances archived, 0 archive files deleted; 0 records dropped from 0 of 2 sealed segments, 0 B freed
    "#]].assert_eq(&newer(body, &lines));
}

#[test]
fn a_newer_index_stands_aside_and_is_made_again() {
    let change = |world: &World| {
        let path = world.path("d/index/index.sqlite");
        let mut bytes = fs::read(&path).unwrap();
        bytes[60..64].copy_from_slice(&9_u32.to_be_bytes());
        fs::write(&path, bytes).unwrap();
    };
    expect![[r#"
        $ compact d
        exit 0
        0 instances archived, 0 archive files deleted; 0 records dropped from 0 of 2 sealed segments, 0 B freed
        warning: index `d/index/index.sqlite` is in format `9`, this release reads up to `5`; it was moved to `d/index/index.sqlite.newer-1` and nothing is lost; it is made again (index_failed)
        note: the states of open instances were made again from the log, because they are missing, or not complete
        $ compact d
        exit 0
        0 instances archived, 0 archive files deleted; 0 records dropped from 0 of 2 sealed segments, 0 B freed
    "#]].assert_eq(&newer(change, &["compact d", "compact d"]));
}

/// A document of the tree about an instance.
fn door(world: &World) -> PathBuf {
    let dir = world.path("d/tree").join(TENANT.trim_start_matches("tenants/"));
    last(&dir.join("workflows/Door"), ".json")
}

#[test]
fn a_newer_document_of_the_tree_is_left_as_it_is() {
    let one = |world: &World| make_newer(door(world), 2);
    expect![[r#"
        $ view verify d
        exit 1
        WHAT   FILE                                                                                                DETAIL
        newer  tree/ID/workflows/Door/ID.json  format `2`, this release reads up to `1`
        1 of 7 documents and 2 files of lines in `d` differ; `traaviis view verify d --repair` makes them again
        $ view verify d --repair
        exit 1
        WHAT   FILE                                                                                                DETAIL
        newer  tree/ID/workflows/Door/ID.json  format `2`, this release reads up to `1`
        1 of 7 documents and 2 files of lines in `d` differed
    "#]].assert_eq(&newer(one, &["view verify d", "view verify d --repair"]));
    let whole = |world: &World| make_newer(world.path("d/tree/progress.json"), 2);
    expect![[r#"
        $ view verify d --repair
        exit 1
        error: the document tree `d/tree/progress.json` is in format `2`, this release writes `1`; use the release that wrote it, or move the directory away to have it made again (data_format_newer)
        $ rebuild --data d
        exit 1
        error: the document tree `d/tree/progress.json` is in format `2`, this release writes `1`; use the release that wrote it, or move the directory away to have it made again (data_format_newer)
    "#]].assert_eq(&newer(whole, &["view verify d --repair", "rebuild --data d"]));
}

#[test]
fn a_flipped_number_of_a_format_is_damage() {
    // One bit makes it a larger number.
    let flip = |path: PathBuf| replace(path, "\"format\": 1", "\"format\": 3");
    let one = |world: &World| flip(door(world));
    expect![[r#"
        $ view verify d
        exit 1
        WHAT     FILE                                                                                                DETAIL
        changed  tree/ID/workflows/Door/ID.json  its checksum is not one of format `3`
        1 of 7 documents and 2 files of lines in `d` differ; `traaviis view verify d --repair` makes them again
        $ view verify d --repair
        exit 0
        WHAT     FILE                                                                                                DETAIL
        changed  tree/ID/workflows/Door/ID.json  its checksum is not one of format `3`  made again
        1 of 7 documents and 2 files of lines in `d` differed
        1 files stand aside as `*.damaged-N`; look at them, then delete them
        $ view verify d
        exit 0
        7 documents and 2 files of lines in `d` say what the log says
        1 files stand aside as `*.damaged-N`; look at them, then delete them
    "#]]
        .assert_eq(&newer(one, &["view verify d", "view verify d --repair", "view verify d"]));
    let whole = |world: &World| flip(world.path("d/tree/progress.json"));
    expect![[r#"
        $ view verify d --repair
        exit 0
        WHAT     FILE                DETAIL
        changed  tree/progress.json  its checksum is not one of format `3`  made again
        1 of 7 documents and 2 files of lines in `d` differed
        1 files stand aside as `*.damaged-N`; look at them, then delete them
        $ view verify d
        exit 0
        7 documents and 2 files of lines in `d` say what the log says
        1 files stand aside as `*.damaged-N`; look at them, then delete them
    "#]]
    .assert_eq(&newer(whole, &["view verify d --repair", "view verify d"]));
}
