//! The real log on the simulated disk.

use std::{
    path::Path,
    sync::{Arc, Mutex},
};

use traaviis_model::{InstanceId, Seq, TenantCtx, TenantId};
use traaviis_ports::{
    Append, Archive, CommitSink, Compacted, Compaction, Line, LogError, LogStore, Position,
};
use traaviis_store::{Codec, FileArchive, LogCore, Options};
use traaviis_testkit::disk::SimDisk;

/// The log as recovery reads it, and its archive.
pub(super) struct CoreLog(pub(super) Mutex<LogCore<SimDisk>>, pub(super) FileArchive<SimDisk>);

impl LogStore for CoreLog {
    fn append(&self, _: &TenantCtx, _: Append, _: &Arc<dyn CommitSink>, _: u64) {
        unreachable!("the simulation commits by itself");
    }
    fn read(
        &self,
        ctx: &TenantCtx,
        stream: InstanceId,
        from: Seq,
        limit: usize,
    ) -> Result<Vec<Vec<u8>>, LogError> {
        if let Some(history) = self.1.get(ctx, stream)? {
            return Ok(history.lines.into_iter().skip(from as usize - 1).take(limit).collect());
        }
        self.0.lock().unwrap().read((ctx.tenant(), stream), from, limit)
    }
    fn archive(&self) -> Option<&dyn Archive> {
        Some(&self.1)
    }
    fn compact(&self, compaction: &mut Compaction<'_>) -> Result<Compacted, LogError> {
        self.0.lock().unwrap().compact(&self.1, compaction)
    }
    fn scan(&self, from: Position, visit: &mut dyn FnMut(Line<'_>)) -> Result<Position, LogError> {
        self.0.lock().unwrap().scan(from, visit)
    }
    fn tail(&self) -> Position {
        self.0.lock().unwrap().tail()
    }
    fn seed(&self, streams: &mut dyn Iterator<Item = (TenantId, InstanceId, Seq)>) {
        self.0.lock().unwrap().seed(streams);
    }
    fn put_checkpoint(&self, position: Position, body: &[u8]) -> Result<(), LogError> {
        self.0.lock().unwrap().put_checkpoint(position, body)
    }
    fn checkpoint(&self) -> Result<Option<(Position, Vec<u8>)>, LogError> {
        self.0.lock().unwrap().checkpoint()
    }
}

/// Of five seeds three write packed frames, one writes text, and one changes with every restart.
pub(super) fn codecs(seed: u64) -> [Codec; 2] {
    match seed % 5 {
        3 => [Codec::Text, Codec::Text],
        4 => [Codec::Packed, Codec::Text],
        _ => [Codec::Packed, Codec::Packed],
    }
}

pub(super) fn open(disk: &SimDisk, codec: Codec) -> Result<Arc<CoreLog>, LogError> {
    let options = Options { segment_bytes: 64 << 10, codec, ..Options::default() };
    let (core, recovery) = LogCore::open(disk.clone(), Path::new("/data"), options)?;
    assert!(recovery.damage.is_empty(), "{:?}", recovery.damage);
    let archive = FileArchive::new(disk.clone(), Path::new("/data"));
    Ok(Arc::new(CoreLog(Mutex::new(core), archive)))
}
