//! One tenant taken out of a directory, and into another: everything comes, nothing is believed,
//! and what is broken off is finished.

use std::{
    fs,
    io::Read as _,
    path::Path,
    process::Stdio,
    time::{Duration, Instant},
};

use expect_test::expect;
use serde_json::{Value as Json, json};
use sha2::{Digest as _, Sha256};
use tar::EntryType;
use traaviis_model::{Seq, TenantCtx, TenantId};
use traaviis_ports::{Append, LogStore as _};
use traaviis_store::{LogCore, Options, ReadOnlyLog, disk::OsDisk, log::Entry};

use crate::cli::{DOOR, PURE, Process, World, wait_for_socket, wait_until};

const TENANT: &str = "00000000-0000-0000-0000-000000000001";

/// Waits for a while by itself.
const LATER: &str = r#"
traaviis: "1"
name: Later
version: 1.0.0
initial: waiting
states:
  waiting: {after: {2s: done}}
  done: {type: final}
"#;

/// Holds a business key until it is paid.
const ORDER: &str = r#"
traaviis: "1"
name: Order
version: 1.0.0
initial: open
correlation: {key: input.order_id, unique: true}
events: {pay: {}}
states:
  open: {on: {pay: paid}}
  paid: {type: final}
x-waive: {W209: an order may wait for ever}
"#;

fn ok(world: &World, line: &str) -> Vec<u8> {
    let output = world.run(&line.split(' ').collect::<Vec<_>>());
    assert!(output.status.success(), "{line}: {}", world.shown(&output));
    output.stdout
}

fn shown(world: &World, line: &str) -> String {
    world.shown(&world.run(&line.split(' ').collect::<Vec<_>>()))
}

/// Two archived instances, one that ended, and a door that is open.
fn world() -> World {
    let brief = format!("{PURE}\nretention: {{completed: 0s, archive: 1d}}\n");
    let world = World::new()
        .file("brief.yaml", &brief.replace("name: Pure", "name: Brief"))
        .file("pure.yaml", PURE)
        .file("door.yaml", DOOR)
        .file("order.yaml", ORDER)
        .file("later.yaml", LATER);
    for to in ["1", "2"] {
        ok(&world, &format!("run brief.yaml --data d --input {{\"to\":{to}}}"));
    }
    ok(&world, "compact d");
    ok(&world, "run pure.yaml --data d");
    world.run(&["run", "door.yaml", "--data", "d", "--event", "open"]);
    world
}

/// Returns the ids of instances, and everything that a directory says of them.
fn said(world: &World, dir: &str) -> Vec<(String, Vec<Json>, String)> {
    let mut all = Vec::new();
    for which in ["--all", "--archived"] {
        for row in world.json(&format!("ps {which} --data {dir}"))["instances"].as_array().unwrap()
        {
            let id = row["id"].as_str().unwrap().to_string();
            let mut row = row.clone();
            row.as_object_mut().unwrap().remove("age_ms");
            let told = world.json(&format!("show {id} --data {dir}"));
            let replayed = world.json(&format!("replay {id} --data {dir}"));
            assert_eq!(replayed["identical"], true, "{replayed}");
            assert_eq!(replayed["snapshot"], told["snapshot"]);
            let lines = ok(world, &format!("export {id} --data {dir}"));
            all.push((id, vec![row, told], String::from_utf8(lines).unwrap()));
        }
    }
    all.sort_by(|a, b| a.0.cmp(&b.0));
    all
}

fn find(world: &World, dir: &str, workflow: &str) -> String {
    let rows = world.json(&format!("ps --all --data {dir}"));
    let rows = rows["instances"].as_array().unwrap();
    let row = rows.iter().find(|it| it["workflow"] == workflow).unwrap();
    row["id"].as_str().unwrap().to_string()
}

#[test]
fn a_tenant_comes_with_everything_and_goes_on() {
    let world = world();
    let mut set = world.command(&["secrets", "set", "stripe", "--data", "d"]);
    set.stdin(fs::File::open(world.path("pure.yaml")).unwrap());
    assert!(set.output().unwrap().status.success());
    // Beside a process that works.
    let mut run = world.command(&["run", "later.yaml", "--data", "d"]);
    let mut run = Process(run.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap());
    wait_for_socket(&world.path("d"));
    wait_until("the timer is set", || {
        let rows = world.json("ps --all --data d");
        rows["instances"].as_array().unwrap().iter().any(|it| it["workflow"] == "Later")
    });
    let exported = world.json(&format!("tenant export {TENANT} x.tar.gz --data d"));
    run.0.kill().unwrap();
    run.0.wait().unwrap();
    assert_eq!((&exported["instances"], &exported["archived"]), (&json!(3), &json!(2)));
    assert_eq!(exported["secrets_left_out"], json!(["stripe"]));

    // It is a folder that people can read, with the tree as it is elsewhere.
    let names: Vec<String> = entries(&world, "x.tar.gz").into_iter().map(|it| it.0).collect();
    assert_eq!(names[0], "manifest.json");
    let door = find(&world, "d", "Door");
    let state = format!("tree/{TENANT}/workflows/Door/{door}.json");
    assert!(names.contains(&state), "{names:?}");

    let dry = world.json("tenant import x.tar.gz --data e --dry-run");
    assert_eq!(dry["came"]["instances"], 3);
    assert!(!world.path("e").exists());
    let imported = world.json("tenant import x.tar.gz --data e");
    assert_eq!(imported["came"], dry["came"]);
    assert_eq!(imported["secrets_left_out"], json!(["stripe"]));
    let before = said(&world, "d");
    assert_eq!(said(&world, "e"), before);
    assert_eq!(ok(&world, "log cat e").len(), {
        // All but the records of archived instances, which are not in the log.
        let archived = |it: &&str| {
            before.iter().any(|row| row.1[0]["archived"] == true && it.contains(&row.0))
        };
        let lines = String::from_utf8(ok(&world, "log cat d")).unwrap();
        lines.split_inclusive('\n').filter(|it| !archived(it)).map(str::len).sum::<usize>()
    });
    ok(&world, "doctor --data e");
    ok(&world, "rebuild --tree --data e");
    ok(&world, "view verify e");

    // Events are taken, and the timer fires.
    ok(&world, &format!("send {door} close {{}} --data e"));
    assert_eq!(world.json(&format!("show {door} --data e"))["state"], "closed");
    let later = find(&world, "e", "Later");
    let mut run = world.command(&["run", "door.yaml", "--new", "--data", "e", "--wait"]);
    let _run = Process(run.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap());
    wait_until("the timer has fired", || {
        world.json(&format!("show {later} --data e"))["state"] == "done"
    });
}

#[test]
fn the_same_again_changes_nothing() {
    let world = world();
    ok(&world, &format!("tenant export {TENANT} x.tar.gz --data d"));
    ok(&world, &format!("tenant export {TENANT} y.tar.gz --data d"));
    let files = |name| entries(&world, name).into_iter().skip(1).collect::<Vec<_>>();
    assert_eq!(files("x.tar.gz"), files("y.tar.gz"));
    ok(&world, "tenant import x.tar.gz --data e");
    let door = find(&world, "e", "Door");
    ok(&world, &format!("send {door} close {{}} --data e"));
    let before = (said(&world, "e"), ok(&world, "log cat e"));
    // Into where it went on, and into where it came from.
    for dir in ["e", "d"] {
        let again = world.json(&format!("tenant import x.tar.gz --data {dir}"));
        assert_eq!(again["came"]["instances"], 0, "{again}");
        assert_eq!(
            (&again["came"]["archived"], &again["came"]["documents"]),
            (&json!(0), &json!(0))
        );
        assert_eq!(again["present"], 4);
    }
    assert_eq!((said(&world, "e"), ok(&world, "log cat e")), before);
    world.check(
        "tenant import x.tar.gz --data e",
        expect![[r#"
        exit 0
        tenant `ID` came into `e`: 0 instances with 0 records, 0 archived; 4 were there already
    "#]],
    );
}

#[test]
fn what_collides_is_named_and_nothing_changes() {
    let world = world();
    ok(&world, &format!("tenant export {TENANT} x.tar.gz --data d"));
    ok(&world, "tenant import x.tar.gz --data e");
    let door = find(&world, "d", "Door");
    ok(&world, &format!("send {door} close {{}} --data d"));
    ok(&world, &format!("tenant export {TENANT} y.tar.gz --data d"));
    let before = ok(&world, "log cat e");
    world.check("tenant import y.tar.gz --data e", expect![[r#"
        exit 1
        error: nothing was imported, because of what is there already (1): instance `ID` is there with fewer records, so it went on elsewhere (import_collision)
    "#]]);
    // It went on here too, in another way.
    ok(&world, &format!("send {door} close {{}} --data e"));
    let gone_on = ok(&world, "log cat e");
    assert_ne!(gone_on, before);
    world.check("tenant import y.tar.gz --data e --dry-run", expect![[r#"
        exit 1
        error: nothing was imported, because of what is there already (1): instance `ID` is there with another history (import_collision)
    "#]]);
    world.check("tenant import y.tar.gz --data e", expect![[r#"
        exit 1
        error: nothing was imported, because of what is there already (1): instance `ID` is there with another history (import_collision)
    "#]]);
    assert_eq!(ok(&world, "log cat e"), gone_on);
    // Another instance has the key.
    for dir in ["o", "p"] {
        let line = format!("run order.yaml --data {dir} --input {{\"order_id\":\"7\"}}");
        assert_eq!(world.run(&line.split(' ').collect::<Vec<_>>()).status.code(), Some(1));
    }
    ok(&world, &format!("tenant export {TENANT} o.tar.gz --data o"));
    let before = ok(&world, "log cat p");
    world.check("tenant import o.tar.gz --data p", expect![[r#"
        exit 1
        error: nothing was imported, because of what is there already (1): instance `ID` has the business key of `ID`, which is open (import_collision)
    "#]]);
    assert_eq!(ok(&world, "log cat p"), before);
    // Once it is free, it comes.
    ok(&world, &format!("send {} pay {{}} --data p", find(&world, "p", "Order")));
    ok(&world, "tenant import o.tar.gz --data p");
    let held = world.json("ps --data p");
    assert_eq!(held["instances"][0]["id"], json!(find(&world, "o", "Order")));
}

#[test]
fn what_cannot_be_exported_is_said() {
    let world = world();
    let other = TENANT.replace("01", "09");
    world.check(
        &format!("tenant export {other} x.tar.gz --data d"),
        expect![[r#"
        exit 3
        error: `d` holds nothing of tenant `ID`; it holds `ID` (tenant_absent)
    "#]],
    );
    world.check(
        &format!("tenant export {TENANT} pure.yaml --data d"),
        expect![[r#"
        exit 1
        error: `pure.yaml` exists; name another file (file_exists)
    "#]],
    );
    world.check(
        &format!("tenant export {TENANT} no/x.tar.gz --data d"),
        expect![[r#"
        exit 4
        error: there is no directory for `no/x.tar.gz` (file_unwritable)
    "#]],
    );
    world.check(
        &format!("tenant export {TENANT} x.tar.gz --data nowhere"),
        expect![[r#"
        exit 3
        error: `nowhere` holds no log; name a data directory (data_directory_absent)
    "#]],
    );
    world.check(
        "tenant import x.tar.gz --data e",
        expect![[r#"
        exit 3
        error: `x.tar.gz` is no file (file_unreadable)
    "#]],
    );
    assert!(!world.path("x.tar.gz").exists() && !world.path("e").exists());
}

// --- Files that somebody tampered with ----------------------------------------------------------

type Packed = Vec<(String, EntryType, Vec<u8>)>;

fn entries(world: &World, name: &str) -> Packed {
    let file = fs::File::open(world.path(name)).unwrap();
    let mut archive = tar::Archive::new(flate2::read::GzDecoder::new(file));
    let entries = archive.entries().unwrap().map(|it| {
        let mut entry = it.unwrap();
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes).unwrap();
        let name = String::from_utf8(entry.path_bytes().into_owned()).unwrap();
        (name, entry.header().entry_type(), bytes)
    });
    entries.collect()
}

fn hash(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|it| format!("{it:02x}")).collect()
}

/// Packs `x.tar.gz` again into `y.tar.gz` after a change of its manifest and its entries; the
/// checksum of the manifest fits what it says then.
fn tamper(world: &World, change: impl FnOnce(&mut Json, &mut Packed)) {
    let mut packed = entries(world, "x.tar.gz");
    let mut manifest: Json = serde_json::from_slice(&packed.remove(0).2).unwrap();
    change(&mut manifest, &mut packed);
    manifest["checksum"] = hash(manifest["body"].to_string().as_bytes()).into();
    let text = manifest.to_string().into_bytes();
    packed.insert(0, ("manifest.json".into(), EntryType::Regular, text));
    let file = fs::File::create(world.path("y.tar.gz")).unwrap();
    let packer = flate2::write::GzEncoder::new(file, flate2::Compression::default());
    let mut tar = tar::Builder::new(packer);
    for (name, kind, bytes) in packed {
        let mut header = tar::Header::new_ustar();
        if header.set_path(&name).is_err() {
            // Names that the packer refuses too.
            header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
        }
        if kind == EntryType::Symlink {
            header.set_link_name("/etc/passwd").unwrap();
        }
        header.set_entry_type(kind);
        header.set_size(bytes.len() as u64);
        header.set_mode(0o600);
        header.set_cksum();
        tar.append(&header, &*bytes).unwrap();
    }
    tar.into_inner().unwrap().finish().unwrap();
}

/// Makes an entry's bytes and what the manifest says of them fit again.
fn fit(manifest: &mut Json, name: &str, bytes: &[u8]) {
    let files = manifest["body"]["files"].as_array_mut().unwrap();
    let entry = files.iter_mut().find(|it| it["path"] == name).unwrap();
    entry["bytes"] = bytes.len().into();
    entry["sha256"] = hash(bytes).into();
}

fn events(packed: &mut Packed) -> &mut (String, EntryType, Vec<u8>) {
    packed.iter_mut().find(|it| it.0.contains("/events/Door/")).unwrap()
}

#[test]
fn a_damaged_or_hostile_file_changes_nothing() {
    let world = world();
    ok(&world, &format!("tenant export {TENANT} x.tar.gz --data d"));
    let mut told = String::new();
    let mut check = |what: &str, change: &dyn Fn(&mut Json, &mut Packed)| {
        tamper(&world, change);
        told += &format!("{what}: {}", shown(&world, "tenant import y.tar.gz --data e"));
        assert!(!world.path("e").exists(), "{what}");
    };
    check("other bytes", &|_, packed| events(packed).2[300] ^= 1);
    check("longer", &|_, packed| events(packed).2.push(b'\n'));
    check("missing", &|_, packed| drop(packed.pop()));
    check("twice", &|_, packed| {
        let entry = events(packed).clone();
        packed.push(entry);
    });
    check("unknown", &|_, packed| {
        packed.push(("tree/more.json".into(), EntryType::Regular, b"{}".to_vec()));
    });
    check("link", &|_, packed| {
        let entry = events(packed);
        (entry.1, entry.2) = (EntryType::Symlink, Vec::new());
    });
    for name in ["../evil", "/tmp/evil", "tree/../../evil", "importing.json", "FORMAT"] {
        check(name, &|manifest, packed| {
            let entry = json!({ "path": name, "bytes": 4, "sha256": hash(b"evil") });
            manifest["body"]["files"].as_array_mut().unwrap().push(entry);
            packed.push((name.into(), EntryType::Regular, b"evil".to_vec()));
        });
        assert!(!world.path("../evil").exists() && !Path::new("/tmp/evil").exists());
    }
    check("bomb", &|manifest, _| {
        let entry = json!({
            "path": format!("tree/{TENANT}/zeros"), "bytes": 1_u64 << 50, "sha256": hash(b""),
        });
        manifest["body"]["files"].as_array_mut().unwrap().push(entry);
    });
    check("newer", &|manifest, _| manifest["format"] = 5.into());
    check("hole", &|manifest, packed| {
        let (name, _, bytes) = events(packed);
        let lines: Vec<&[u8]> = bytes.split_inclusive(|it| *it == b'\n').collect();
        let left = [lines[..2].concat(), lines[3..].concat()].concat();
        *bytes = left;
        fit(manifest, &name.clone(), &bytes.clone());
    });
    check("shorter", &|manifest, packed| {
        let (name, _, bytes) = events(packed);
        let lines: Vec<&[u8]> = bytes.split_inclusive(|it| *it == b'\n').collect();
        *bytes = lines[..lines.len() - 1].concat();
        fit(manifest, &name.clone(), &bytes.clone());
    });
    check("other tenant", &|manifest, packed| {
        let (name, _, bytes) = events(packed);
        let text = String::from_utf8(bytes.clone()).unwrap();
        *bytes = text.replace(TENANT, &TENANT.replace("01", "02")).into_bytes();
        fit(manifest, &name.clone(), &bytes.clone());
    });
    check("order", &|manifest, packed| {
        let (name, _, bytes) = packed.iter_mut().find(|it| it.0 == "order.jsonl").unwrap();
        let lines: Vec<&[u8]> = bytes.split_inclusive(|it| *it == b'\n').collect();
        *bytes = lines[1..].concat();
        fit(manifest, &name.clone(), &bytes.clone());
    });
    check("archive", &|manifest, packed| {
        let (name, _, bytes) = packed.iter_mut().find(|it| it.0.ends_with(".gz")).unwrap();
        *bytes = b"no gzip".to_vec();
        fit(manifest, &name.clone(), &bytes.clone());
    });
    expect![[r#"
        other bytes: exit 1
        error: export `y.tar.gz` is damaged: `tree/ID/events/Door/ID/000001.jsonl` in it holds other bytes; nothing was imported, make it again (export_damaged)
        longer: exit 1
        error: export `y.tar.gz` is damaged: `tree/ID/events/Door/ID/000001.jsonl` in it has another length; nothing was imported, make it again (export_damaged)
        missing: exit 1
        error: export `y.tar.gz` is damaged: `tree/ID/workflows/definitions/Pure/1.0.0.json` is missing in it; nothing was imported, make it again (export_damaged)
        twice: exit 1
        error: export `y.tar.gz` is damaged: `tree/ID/events/Door/ID/000001.jsonl` in it is not in its manifest; nothing was imported, make it again (export_damaged)
        unknown: exit 1
        error: export `y.tar.gz` is damaged: `tree/more.json` in it is not in its manifest; nothing was imported, make it again (export_damaged)
        link: exit 1
        error: export `y.tar.gz` is damaged: `tree/ID/events/Door/ID/000001.jsonl` in it is no plain file; nothing was imported, make it again (export_damaged)
        ../evil: exit 1
        error: export `y.tar.gz` is damaged: it names `../evil`, which is no file of an export; nothing was imported, make it again (export_damaged)
        /tmp/evil: exit 1
        error: export `y.tar.gz` is damaged: it names `/tmp/evil`, which is no file of an export; nothing was imported, make it again (export_damaged)
        tree/../../evil: exit 1
        error: export `y.tar.gz` is damaged: it names `tree/../../evil`, which is no file of an export; nothing was imported, make it again (export_damaged)
        importing.json: exit 1
        error: export `y.tar.gz` is damaged: it names `importing.json`, which is no file of an export; nothing was imported, make it again (export_damaged)
        FORMAT: exit 1
        error: export `y.tar.gz` is damaged: it names `FORMAT`, which is no file of an export; nothing was imported, make it again (export_damaged)
        bomb: exit 1
        error: export `y.tar.gz` is damaged: it claims to hold more than 1100 times its own size; nothing was imported, make it again (export_damaged)
        newer: exit 1
        error: `y.tar.gz:manifest.json` is in format `5`, this release reads up to `4`; use the release that wrote it, or a newer one (data_format_newer)
        hole: exit 1
        error: export `y.tar.gz` is damaged: the history of `ID` has a hole at 3; nothing was imported, make it again (export_damaged)
        shorter: exit 1
        error: export `y.tar.gz` is damaged: the state of `ID` does not follow its history; nothing was imported, make it again (export_damaged)
        other tenant: exit 1
        error: export `y.tar.gz` is damaged: a record in it belongs to another tenant; nothing was imported, make it again (export_damaged)
        order: exit 1
        error: export `y.tar.gz` is damaged: `order.jsonl` leaves out records; nothing was imported, make it again (export_damaged)
        archive: exit 1
        error: export `y.tar.gz` is damaged: the archive file of `ID`: unexpected end of file; nothing was imported, make it again (export_damaged)
    "#]].assert_eq(&told);
}

#[test]
fn a_file_that_is_cut_or_flipped_anywhere_changes_nothing() {
    let world = world();
    ok(&world, &format!("tenant export {TENANT} x.tar.gz --data d"));
    let whole = fs::read(world.path("x.tar.gz")).unwrap();
    let refused = |bytes: &[u8], what: &str| {
        fs::write(world.path("y.tar.gz"), bytes).unwrap();
        let told = shown(&world, "tenant import y.tar.gz --data e");
        assert!(
            told.starts_with("exit 1\n") && told.contains("(export_damaged)"),
            "{what}: {told}"
        );
        assert!(!world.path("e").exists(), "{what}");
    };
    // A first entry that claims to be longer than memory.
    let mut header = tar::Header::new_ustar();
    header.set_path("manifest.json").unwrap();
    header.set_size(1 << 40);
    header.set_entry_type(EntryType::Regular);
    header.set_cksum();
    let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    std::io::Write::write_all(&mut packer, header.as_bytes()).unwrap();
    refused(&packer.finish().unwrap(), "a long manifest");
    assert!(shown(&world, "tenant import y.tar.gz --data e").contains("longer than one may be"));
    for part in 0..20 {
        refused(&whole[..whole.len() * part / 20], &format!("cut to {part} of 20"));
        let mut flipped = whole.clone();
        // Behind the header of gzip, of which most says nothing, and before the zeros at the end.
        let at = 10 + (whole.len() - 200) * part / 20;
        flipped[at] ^= 0x10;
        refused(&flipped, &format!("byte {at}"));
    }
}

/// Returns all that an import writes: the records and the archive files.
fn bytes(world: &World, dir: &str) -> (Vec<u8>, Vec<(String, Vec<u8>)>) {
    let archive = world.path(dir).join(format!("tenants/{TENANT}/archived/instances"));
    let mut files: Vec<(String, Vec<u8>)> = fs::read_dir(archive)
        .unwrap()
        .map(|it| it.unwrap())
        .map(|it| (it.file_name().to_string_lossy().into_owned(), fs::read(it.path()).unwrap()))
        .collect();
    files.sort();
    (ok(world, &format!("log cat {dir}")), files)
}

#[test]
fn an_import_that_is_killed_is_finished_by_the_next() {
    let world = World::new()
        .file("brief.yaml", &format!("{PURE}\nretention: {{completed: 0s, archive: 1d}}\n"))
        .file("pure.yaml", PURE)
        .file("door.yaml", DOOR);
    for _ in 0..6 {
        ok(&world, "run brief.yaml --data d --new");
    }
    ok(&world, "compact d");
    for _ in 0..4 {
        ok(&world, "run pure.yaml --data d --new --input {\"to\":60}");
    }
    world.run(&["run", "door.yaml", "--data", "d", "--event", "open"]);
    ok(&world, &format!("tenant export {TENANT} x.tar.gz --data d"));
    ok(&world, "run pure.yaml --data other");
    ok(&world, &format!("tenant export {TENANT} other.tar.gz --data other"));
    ok(&world, "tenant import x.tar.gz --data whole");
    let expected = bytes(&world, "whole");
    let mut broken_off = 0;
    for attempt in 0..6 {
        let dir = format!("e{attempt}");
        let mark = world.path(&dir).join("importing.json");
        let arguments = ["tenant", "import", "x.tar.gz", "--data", &dir];
        let mut import = Process(world.command(&arguments).stdout(Stdio::null()).spawn().unwrap());
        let begun = Instant::now();
        while !mark.exists() && begun.elapsed() < Duration::from_secs(20) {
            std::hint::spin_loop();
        }
        std::thread::sleep(Duration::from_micros(700) * attempt);
        import.0.kill().unwrap();
        import.0.wait().unwrap();
        if mark.exists() {
            broken_off += 1;
            let refused = shown(&world, &format!("run door.yaml --data {dir}"));
            assert!(refused.contains("(import_unfinished)"), "{refused}");
            let refused = shown(&world, &format!("tenant import other.tar.gz --data {dir}"));
            assert!(refused.contains("(import_unfinished)"), "{refused}");
            let again = world.json(&format!("tenant import x.tar.gz --data {dir}"));
            assert_eq!(again["resumed"], true, "{again}");
        } else {
            ok(&world, &format!("tenant import x.tar.gz --data {dir}"));
        }
        assert!(!mark.exists());
        assert_eq!(bytes(&world, &dir), expected, "{dir}");
    }
    assert_eq!(said(&world, "e0"), said(&world, "d"));
    assert!(broken_off > 0, "no kill came in the middle");
}

// --- Several tenants ----------------------------------------------------------------------------

/// Makes a directory in which everything belongs to another tenant.
fn as_tenant(world: &World, from: &str, to: &str, number: u128) -> TenantId {
    let ctx = TenantCtx::for_test(number);
    let log = ReadOnlyLog::open(&world.path(from)).unwrap();
    let (mut core, _) = LogCore::open(OsDisk, &world.path(to), Options::default()).unwrap();
    log.scan(0, &mut |line| {
        let record = traaviis_model::Record::read_line(line.bytes).unwrap();
        let text = String::from_utf8(line.bytes.to_vec()).unwrap() + "\n";
        let text = text.replace(TENANT, &ctx.tenant().to_string());
        let append = Append {
            stream: record.header.instance_id,
            first_seq: record.header.seq as Seq,
            count: 1,
            lines: text.into_bytes().into(),
            ends_stream: false,
            known_to: 0,
            subject: None,
        };
        let mut outcomes = Vec::new();
        core.commit(&[Entry { tenant: ctx.tenant(), append }], &mut outcomes);
        outcomes.remove(0).unwrap();
    })
    .unwrap();
    ctx.tenant()
}

#[test]
fn tenants_live_beside_each_other() {
    let world = world();
    ok(&world, "run pure.yaml --data two");
    let other = as_tenant(&world, "two", "t", 2);
    ok(&world, &format!("tenant export {other} t.tar.gz --data t"));
    let (before, listed) = (ok(&world, "log cat d"), said(&world, "d"));
    ok(&world, "tenant import t.tar.gz --data d");
    // Only the new records are behind the old ones, and nothing of the first tenant changed.
    let after = ok(&world, "log cat d");
    assert!(after.starts_with(&before) && after.len() > before.len());
    assert_eq!(said(&world, "d"), listed);
    // Each comes out again as it came in.
    ok(&world, &format!("tenant export {other} u.tar.gz --data d"));
    let files = |name| entries(&world, name).into_iter().skip(1).collect::<Vec<_>>();
    assert_eq!(files("t.tar.gz"), files("u.tar.gz"));
    assert!(files("u.tar.gz").iter().all(|it| !String::from_utf8_lossy(&it.2).contains(TENANT)));
    // An id is one instance in all tenants.
    ok(&world, &format!("tenant export {TENANT} two.tar.gz --data two"));
    let refused = shown(&world, "tenant import two.tar.gz --data d");
    assert!(
        refused.contains("is one of tenant") && refused.contains("(import_collision)"),
        "{refused}"
    );
    ok(&world, "run pure.yaml --new --data d");
}

#[test]
fn directories_that_fan_out_come_too() {
    let world = world();
    ok(&world, &format!("tenant export {TENANT} x.tar.gz --data d"));
    // As the tree has it where one directory would have too many entries.
    tamper(&world, |manifest, packed| {
        let deeper = |path: &str| path.replace("/Door/", "/Door/7f/23/");
        packed.iter_mut().for_each(|it| it.0 = deeper(&it.0));
        let files = manifest["body"]["files"].as_array_mut().unwrap();
        for file in files.iter_mut() {
            file["path"] = deeper(file["path"].as_str().unwrap()).into();
        }
        files.sort_by_key(|it| it["path"].as_str().unwrap().to_string());
    });
    assert!(entries(&world, "y.tar.gz").iter().any(|it| it.0.contains("/Door/7f/23/")));
    ok(&world, "tenant import y.tar.gz --data e");
    assert_eq!(said(&world, "e"), said(&world, "d"));
}

#[test]
fn a_damaged_history_is_left_out_and_named() {
    let world = world();
    let door = find(&world, "d", "Door");
    ok(&world, "run pure.yaml --data d --new");
    let mut place = None;
    traaviis_store::visit_frames(&world.path("d"), &mut |info, lines| {
        let text = String::from_utf8_lossy(lines);
        // Its second step; what made it stands before.
        if text.contains(&door) && !text.contains("\"kind\":\"created\"") {
            place = place.or(Some((info.segment, info.offset)));
        }
    })
    .unwrap();
    let (segment, offset) = place.unwrap();
    let path = world.path("d/log").join(format!("{segment:020}.seg"));
    let mut bytes = fs::read(&path).unwrap();
    bytes[offset as usize + 90] ^= 1;
    fs::write(&path, bytes).unwrap();
    let told = world.run(&["tenant", "export", TENANT, "x.tar.gz", "--data", "d", "--json"]);
    assert_eq!(told.status.code(), Some(1), "{}", world.shown(&told));
    let exported: Json = serde_json::from_slice(&told.stdout).unwrap();
    assert_eq!(exported["damaged_left_out"], json!([door]));
    assert_eq!(exported["damage"].as_array().unwrap().len(), 1);
    assert_eq!((&exported["instances"], &exported["archived"]), (&json!(2), &json!(2)));
    let imported = world.json("tenant import x.tar.gz --data e");
    assert_eq!(imported["damaged_left_out"], json!([door]));
    assert_eq!(said(&world, "e").len(), 4);
}
