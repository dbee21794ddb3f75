//! Bits that flip and files that end too soon: in the log, in checkpoints, in the archive, in
//! blobs, in the document tree.
//!
//! A directory is filled once; each damage is done to a copy of it. Nothing may be read that was
//! never written, and what is lost must be told, with every instance that did not lose a record as
//! it was. The index is left out: it has no checksums, nothing is decided from it, and `rebuild`
//! makes it again.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::Context as _;
use traaviis_model::{
    InstanceId, Record, Span, TenantCtx, TenantId, Value, limits::BLOB_BYTES_MIN, record::LineError,
};
use traaviis_ports::{LogStore, Position};
use traaviis_runtime::tree::show_all;
use traaviis_store::{
    LocalTree, ReadOnlyLog,
    tree::{TREE_DIR, verify::Found, verify::Verifier},
};
use traaviis_testkit::rng::Rng;

use super::{Size, run};
use crate::{
    child::{Running, Story},
    report::Row,
    verify::{Ask, verify},
    worker::Work,
    world::{How, World, tenant},
};

/// Tenants of the directory.
const TENANTS: u64 = 6;
/// Small segments, so that there are several.
const HOW: How = How { segment_bytes: 16 << 10, ahead: Span(0) };

/// A part of a directory, with checks of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Log,
    Archive,
    Blob,
    Tree,
}

/// What is done to a file.
#[derive(Clone, Copy, Debug)]
enum Harm {
    Flip,
    Truncate,
}

/// What a damage came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Seen {
    /// It was told.
    Told,
    /// Nothing that is read was changed by it.
    Harmless,
}

/// Runs the layer.
pub fn layer(size: Size, rounds: Option<u64>, seed: u64) -> Vec<Row> {
    let each = rounds.unwrap_or(size.of(100, 1_000));
    let scratch = match quick_dir() {
        Ok(scratch) => scratch,
        Err(error) => return vec![Row::skipped("corruption", error.to_string())],
    };
    let whole = match Whole::make(scratch.path()) {
        Ok(whole) => whole,
        Err(error) => return vec![run("corruption", |_| Err(error))],
    };
    [(Harm::Flip, "flipped bits"), (Harm::Truncate, "files cut short")]
        .into_iter()
        .map(|(harm, name)| run(name, |row| damage(row, &whole, harm, each, seed)))
        .collect()
}

/// Makes a folder in memory where there is one: nothing here depends on what a disk forgets.
fn quick_dir() -> std::io::Result<tempfile::TempDir> {
    match Path::new("/dev/shm").is_dir() {
        true => tempfile::tempdir_in("/dev/shm"),
        false => tempfile::tempdir(),
    }
}

/// An intact directory and all that it says.
struct Whole {
    dir: PathBuf,
    lines: BTreeMap<Position, Vec<u8>>,
    states: BTreeMap<InstanceId, (TenantCtx, Vec<u8>)>,
    archived: BTreeMap<InstanceId, (TenantCtx, Vec<Vec<u8>>)>,
    files: Vec<(Part, PathBuf)>,
}

impl Whole {
    fn make(scratch: &Path) -> anyhow::Result<Whole> {
        let dir = scratch.join("whole");
        let work = Work {
            dir: dir.clone(),
            seed: 1,
            ops: 50,
            clients: 4,
            tenants: TENANTS,
            upkeep: true,
            large: 0,
            how: HOW,
        };
        let mut story = Story::default();
        let status = Running::start(&work, &[])?.wait(&mut story)?;
        anyhow::ensure!(status.is_some_and(|it| it.success()), "the worker fails");
        // What is still on its way would go on in each copy, and be another state than here.
        let findings = verify(&dir, &mut story, Ask { tenants: TENANTS, how: HOW, upkeep: true });
        anyhow::ensure!(findings.is_empty(), "the whole directory is not whole: {findings:?}");
        with_large_values(&dir)?;
        let log = ReadOnlyLog::open(&dir)?;
        compare(&dir, &log, true)?;
        let mut lines = BTreeMap::new();
        log.scan(0, &mut |it| drop(lines.insert(it.position, it.bytes.to_vec())))?;
        let contexts = contexts();
        let mut archived = BTreeMap::new();
        let archive = log.archive().context("a log has an archive")?;
        for ctx in contexts.values() {
            for id in archive.ids(ctx, None, usize::MAX)? {
                let history = archive.get(ctx, id)?.context("a listed file is there")?;
                archived.insert(id, (ctx.clone(), history.lines));
            }
        }
        let mut states = BTreeMap::new();
        let copied = scratch.join("first");
        copy(&dir, &copied)?;
        let world = World::open(&copied, HOW, Arc::new(|_, _| ()))?;
        let records = lines.values().filter_map(|it| Record::read_line(it).ok());
        let named: BTreeMap<InstanceId, TenantCtx> = records
            .filter_map(|it| {
                Some((it.header.instance_id, contexts.get(&it.header.tenant_id)?.clone()))
            })
            .collect();
        for (id, ctx) in named {
            if let Some(state) = world.handle.get(&ctx, id)? {
                states.insert(id, (ctx, state.canonical()));
            }
        }
        world.close();
        fs::remove_dir_all(&copied)?;
        let mut files = Vec::new();
        collect(&dir, &dir, &mut files)?;
        files.sort();
        let files = files.into_iter().filter_map(|it| Some((part_of(&it)?, it))).collect();
        let whole = Whole { dir, lines, states, archived, files };
        anyhow::ensure!(whole.archived.len() > 3, "too little is archived");
        anyhow::ensure!(whole.files_of(Part::Log).len() > 3, "the log has too few files");
        anyhow::ensure!(whole.files_of(Part::Blob).len() == 2, "there are no large values");
        Ok(whole)
    }

    fn files_of(&self, part: Part) -> Vec<&Path> {
        self.files.iter().filter(|it| it.0 == part).map(|it| &*it.1).collect()
    }
}

/// Starts instances whose input is large.
fn with_large_values(dir: &Path) -> anyhow::Result<()> {
    let world = World::open(dir, HOW, Arc::new(|_, _| ()))?;
    for letter in ["a", "b"] {
        let mark = letter.repeat(BLOB_BYTES_MIN);
        let input = Value::map([("mark", Value::from(mark.as_str())), ("fails", false.into())]);
        let (ctx, _) = tenant(0);
        world.handle.start_instance(&ctx, &world.machines[0], None, input)?;
    }
    world.close();
    Ok(())
}

fn contexts() -> BTreeMap<TenantId, TenantCtx> {
    (0..TENANTS).map(|it| tenant(it).0).map(|it| (it.tenant(), it)).collect()
}

/// Says to which part a file belongs, by its path in the directory.
fn part_of(path: &Path) -> Option<Part> {
    let text = path.to_string_lossy();
    let end = path.extension().unwrap_or_default().to_string_lossy().into_owned();
    match end.as_str() {
        "seg" | "checkpoint" => Some(Part::Log),
        "gz" => Some(Part::Archive),
        "json" | "jsonl" if text.starts_with(TREE_DIR) => Some(Part::Tree),
        "" if text.contains("/blobs/") => Some(Part::Blob),
        _ => None,
    }
}

fn collect(root: &Path, dir: &Path, files: &mut Vec<PathBuf>) -> anyhow::Result<()> {
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        match path.is_dir() {
            true => collect(root, &path, files)?,
            false => files.push(path.strip_prefix(root)?.to_path_buf()),
        }
    }
    Ok(())
}

fn copy(from: &Path, to: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let path = entry?.path();
        let beside = to.join(path.file_name().context("a file has a name")?);
        match path.is_dir() {
            true => copy(&path, &beside)?,
            false if path.is_file() => drop(fs::copy(&path, &beside)?),
            false => {}
        }
    }
    Ok(())
}

/// Compares the tree of a directory with its log.
fn compare(dir: &Path, log: &dyn LogStore, repairs: bool) -> anyhow::Result<Found> {
    let verifier = Verifier::new(LocalTree::open(dir), repairs);
    let shown = show_all(log, &verifier, &|_| ())?;
    Ok(verifier.finish(shown.position, &[])?)
}

fn damage(row: &mut Row, whole: &Whole, harm: Harm, count: u64, seed: u64) -> anyhow::Result<()> {
    let mut dice = Rng::new(seed);
    let scratch = quick_dir()?;
    let mut seen: BTreeMap<Seen, u64> = BTreeMap::new();
    for number in 0..count {
        row.runs += 1;
        let part = [Part::Log, Part::Log, Part::Log, Part::Archive, Part::Blob, Part::Tree];
        let part = part[dice.index(6)];
        let files = whole.files_of(part);
        let file = files[dice.index(files.len())];
        let dir = scratch.path().join(number.to_string());
        copy(&whole.dir, &dir)?;
        let what = spoil(&dir.join(file), harm, &mut dice)?;
        let checked = match part {
            Part::Log => check_log(whole, &dir),
            Part::Archive => check_archive(whole, &dir, file),
            Part::Blob => check_blob(whole, &dir),
            Part::Tree => check_tree(whole, &dir, file),
        };
        fs::remove_dir_all(&dir)?;
        match checked? {
            Ok(it) => *seen.entry(it).or_default() += 1,
            Err(why) => row.findings.push(format!("{what} of `{}`: {why}", file.display())),
        }
    }
    let of = |it| seen.get(&it).copied().unwrap_or(0);
    let (told, harmless) = (of(Seen::Told), of(Seen::Harmless));
    row.figures = format!("{told} told, {harmless} in bytes that nothing rests on, 0 wrong reads");
    anyhow::ensure!(told > 0, "no damage was met");
    Ok(())
}

/// Damages a file; says how.
fn spoil(path: &Path, harm: Harm, dice: &mut Rng) -> anyhow::Result<String> {
    let mut bytes = fs::read(path)?;
    // Behind the tail of a segment there are zeros; most damage should meet something.
    let used = bytes.iter().rposition(|it| *it != 0).map_or(0, |at| at + 1).max(1);
    let at = dice.index(used);
    let what = match harm {
        Harm::Flip => {
            let bit = dice.index(8);
            bytes[at] ^= 1 << bit;
            format!("bit {bit} of byte {at}")
        }
        Harm::Truncate => {
            bytes.truncate(at);
            format!("all but {at} bytes")
        }
    };
    fs::write(path, bytes)?;
    Ok(what)
}

type Checked = anyhow::Result<Result<Seen, String>>;

fn check_log(whole: &Whole, dir: &Path) -> Checked {
    let world = match World::open(dir, HOW, Arc::new(|_, _| ())) {
        Ok(world) => world,
        // Refusing to open is telling, but one bad frame must not take everything away.
        Err(error) => return Ok(Err(format!("the directory does not open: {error:#}"))),
    };
    let mut found: BTreeMap<Position, Vec<u8>> = BTreeMap::new();
    world.log.scan(0, &mut |it| drop(found.insert(it.position, it.bytes.to_vec())))?;
    let told = world.log.damage();
    let verdict = judge_log(whole, &world, &found, &told);
    world.close();
    Ok(verdict)
}

fn judge_log(
    whole: &Whole,
    world: &World,
    found: &BTreeMap<Position, Vec<u8>>,
    told: &[traaviis_store::Damage],
) -> Result<Seen, String> {
    let mut lost: BTreeSet<InstanceId> = BTreeSet::new();
    for (position, line) in &whole.lines {
        match found.get(position) {
            Some(read) if read == line => continue,
            Some(_) if !line.is_empty() => {
                return Err(format!("position {position} reads wrongly"));
            }
            _ => {}
        }
        let Ok(record) = Record::read_line(line) else { continue };
        lost.insert(record.header.instance_id);
        if !told.iter().any(|it| (it.from..it.to).contains(position)) {
            return Err(format!("the loss of position {position} is not told"));
        }
    }
    for (id, (ctx, before)) in &whole.states {
        match world.handle.get(ctx, *id) {
            Ok(Some(state)) if state.canonical() == *before => {}
            // What lost records may be refused; it may not be something else.
            Err(_) if lost.contains(id) => {}
            other => {
                let lost = if lost.contains(id) { "lost" } else { "kept all its" };
                let other = other.map(|it| it.map(|it| it.seq));
                return Err(format!("instance `{id}`, which {lost} records, is {other:?}"));
            }
        }
    }
    let is_told = !told.is_empty() || world.recovery.cut.is_some();
    Ok(if is_told { Seen::Told } else { Seen::Harmless })
}

/// A blob damages the records that name it, and nothing else.
fn check_blob(whole: &Whole, dir: &Path) -> Checked {
    let world = World::open(dir, HOW, Arc::new(|_, _| ()))?;
    let mut found: BTreeMap<Position, Vec<u8>> = BTreeMap::new();
    world.log.scan(0, &mut |it| drop(found.insert(it.position, it.bytes.to_vec())))?;
    let verdict = judge_blob(whole, &world, &found);
    world.close();
    Ok(verdict)
}

fn judge_blob(
    whole: &Whole,
    world: &World,
    found: &BTreeMap<Position, Vec<u8>>,
) -> Result<Seen, String> {
    let mut lost: BTreeSet<InstanceId> = BTreeSet::new();
    for (position, line) in &whole.lines {
        let read = found.get(position).ok_or_else(|| format!("position {position} is gone"))?;
        if read == line {
            continue;
        }
        match Record::read_line(read) {
            Err(LineError::Unreadable(_)) => {
                let record = Record::read_line(line).map_err(|it| it.to_string())?;
                lost.insert(record.header.instance_id);
            }
            _ => return Err(format!("position {position} reads wrongly")),
        }
    }
    for (id, (ctx, before)) in &whole.states {
        match world.handle.get(ctx, *id) {
            Ok(Some(state)) if state.canonical() == *before => {}
            Err(_) if lost.contains(id) => {}
            other => {
                let other = other.map(|it| it.map(|it| it.seq));
                return Err(format!("instance `{id}` is {other:?}"));
            }
        }
    }
    if lost.len() == 1 { Ok(Seen::Told) } else { Err(format!("{lost:?} are told")) }
}

fn check_archive(whole: &Whole, dir: &Path, file: &Path) -> Checked {
    let log = ReadOnlyLog::open(dir)?;
    let archive = log.archive().context("a log has an archive")?;
    let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let mut seen = Seen::Harmless;
    for (id, (ctx, lines)) in &whole.archived {
        match archive.get(ctx, *id) {
            Ok(Some(history)) if history.lines == *lines => {}
            Err(_) if name.starts_with(&id.to_string()) => seen = Seen::Told,
            Err(error) => return Ok(Err(format!("another file is refused: {error}"))),
            Ok(_) => return Ok(Err(format!("`{id}` reads wrongly"))),
        }
    }
    Ok(Ok(seen))
}

fn check_tree(whole: &Whole, dir: &Path, file: &Path) -> Checked {
    let log = ReadOnlyLog::open(dir)?;
    let spoiled = fs::read(dir.join(file))?;
    let intact = fs::read(whole.dir.join(file))?;
    let found = match compare(dir, &log, false) {
        Ok(found) => found,
        Err(error) => return Ok(Err(format!("the tree cannot be compared: {error:#}"))),
    };
    let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
    if let Some(other) = found.differences.iter().find(|it| !it.path.ends_with(&name)) {
        return Ok(Err(format!("`{}` differs too", other.path)));
    }
    if found.count() == 0 {
        return Ok(match spoiled == intact || file.ends_with("progress.json") {
            true => Ok(Seen::Harmless),
            false => Err("nothing is told".into()),
        });
    }
    compare(dir, &log, true)?;
    if fs::read(dir.join(file))? != intact {
        return Ok(Err("it is not made again as it was".into()));
    }
    Ok(Ok(Seen::Told))
}
