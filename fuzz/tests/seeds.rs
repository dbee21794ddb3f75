//! Every seed as it is, and thousands of mutations of it: a short fuzz in each test run.
//! `FUZZ_ROUNDS` asks for more.

use std::{fs, path::Path};

use traaviis_testkit::rng::Rng;

/// Mutations of each seed.
const ROUNDS: u64 = 300;

/// Pieces that mean something to one of the readers.
const PIECES: [&[u8]; 20] = [
    b"\n",
    b"  ",
    b": ",
    b"- ",
    b"{",
    b"}",
    b"[",
    b"]",
    b"\"",
    b"'",
    b"${",
    b"&a ",
    b"*a",
    b"!!binary ",
    b"9223372036854775807",
    b"1e309",
    b"\\u0000",
    b"null",
    b"\xef\xbb\xbf",
    b"\xf0\x9f\x92\xa9",
];

fn drive(target: &str, body: fn(&[u8])) {
    let rounds = std::env::var("FUZZ_ROUNDS").ok().and_then(|it| it.parse().ok()).unwrap_or(ROUNDS);
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("seeds").join(target);
    let mut seeds: Vec<_> = fs::read_dir(&folder).unwrap().map(|it| it.unwrap().path()).collect();
    seeds.sort();
    assert!(!seeds.is_empty(), "no seeds in {}", folder.display());
    let mut rng = Rng::new(1);
    for path in seeds {
        let seed = fs::read(&path).unwrap();
        body(&seed);
        for round in 0..rounds {
            let mut bytes = seed.clone();
            for _ in 0..1 + rng.index(4) {
                mutate(&mut bytes, &mut rng);
            }
            let shown = std::panic::AssertUnwindSafe(&bytes);
            if let Err(panic) = std::panic::catch_unwind(|| body(&shown)) {
                let text = String::from_utf8_lossy(&bytes);
                eprintln!("{target}: {} round {round}: {text}", path.display());
                std::panic::resume_unwind(panic);
            }
        }
    }
}

fn mutate(bytes: &mut Vec<u8>, rng: &mut Rng) {
    if bytes.is_empty() {
        return bytes.extend_from_slice(PIECES[rng.index(PIECES.len())]);
    }
    let at = rng.index(bytes.len());
    let end = bytes.len().min(at + 1 + rng.index(12));
    match rng.below(6) {
        0 => bytes[at] ^= 1 << rng.below(8),
        1 => drop(bytes.drain(at..end)),
        2 => {
            let piece = PIECES[rng.index(PIECES.len())];
            drop(bytes.splice(at..at, piece.iter().copied()));
        }
        3 => {
            let copy = bytes[at..end].to_vec();
            let to = rng.index(bytes.len());
            drop(bytes.splice(to..to, copy));
        }
        4 => bytes.truncate(at),
        _ => bytes[at..end].reverse(),
    }
}

#[test]
fn documents() {
    drive("document", traaviis_fuzz::document);
}

#[test]
fn expressions() {
    drive("expression", traaviis_fuzz::expression);
}

#[test]
fn records() {
    drive("record", traaviis_fuzz::record);
}

#[test]
fn frames() {
    drive("frame", traaviis_fuzz::frame);
}
