//! A look at everything that rests, while it is in use: the log from its first record to its end,
//! the archive, large values.
//!
//! Bytes change on disks without being touched, and a start reads nothing before its checkpoint.
//! What is found is only told: whatever works goes on, and who reads what is damaged is refused as
//! before.

use traaviis_ports::{LogError, Position, disk::Disk};

use crate::{
    FileArchive,
    reader::Reader,
    walk::{Step, Walk},
};

/// What a look found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scrubbed {
    /// Bytes read.
    pub bytes: u64,
    /// What is damaged, each with its place.
    pub damaged: Vec<String>,
}

/// Reads everything; nothing when `pace`, which is told how many bytes were read, wants no more.
pub(crate) fn scrub<D: Disk + Clone>(
    reader: &Reader<D>,
    archive: &FileArchive<D>,
    pace: &mut dyn FnMut(u64) -> bool,
) -> Result<Option<Scrubbed>, LogError> {
    let mut found = Scrubbed::default();
    let mut counted = 0;
    let mut counting = |bytes| {
        counted += bytes;
        pace(bytes)
    };
    if !log(reader, &mut found.damaged, &mut counting)? {
        return Ok(None);
    }
    let Some(files) = archive.check(&mut counting)? else { return Ok(None) };
    let Some(values) = archive.blobs().check(&mut counting)? else { return Ok(None) };
    let of_kind = [("archive file", files), ("large value", values)];
    found.damaged.extend(of_kind.into_iter().flat_map(|(what, it)| {
        it.damaged.into_iter().map(move |path| format!("{what} `{}`", path.display()))
    }));
    found.bytes = counted;
    Ok(Some(found))
}

/// Reads the log up to where it is durable now; says whether to go on.
fn log<D: Disk>(
    reader: &Reader<D>,
    damaged: &mut Vec<String>,
    pace: &mut dyn FnMut(u64) -> bool,
) -> Result<bool, LogError> {
    let end: Position = reader.durable();
    let segments = reader.segments.read().unwrap_or_else(|it| it.into_inner()).clone();
    let mut walk = Walk::new(&reader.disk, &reader.dir, segments, 0)?;
    while walk.mark.position < end {
        let read = match walk.step()? {
            Step::Frame { at, header } => {
                if let Err(error) = walk.lines() {
                    damaged.push(walk.damage_of_frame(at, &header, error).to_string());
                }
                header.frame_bytes()
            }
            Step::Damage(damage) => {
                damaged.push(damage.to_string());
                damage.bytes
            }
            Step::Tail { .. } => {
                damaged.push(reader.lost_tail(walk.mark, end).to_string());
                break;
            }
        };
        if !pace(read) {
            return Ok(false);
        }
    }
    Ok(true)
}
