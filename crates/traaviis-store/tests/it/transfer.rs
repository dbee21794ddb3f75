//! Exports of a tenant while instances go to the archive.

use std::path::Path;

use traaviis_model::{InstanceId, Timestamp};
use traaviis_ports::{Append, Archive, Archived, ArchivedHistory};
use traaviis_store::{
    FileArchive, LogCore,
    disk::OsDisk,
    transfer::{LeftOut, Source, pack},
};

use crate::support::{ctx, entry, small, stream};

fn line(id: InstanceId) -> String {
    let tenant = ctx().tenant();
    format!(
        "{{\"tenant_id\":\"{tenant}\",\"instance_id\":\"{id}\",\"seq\":1,\"step\":1,\
         \"kind\":\"created\"}}"
    )
}

fn archive(dir: &Path, id: InstanceId) {
    let (finished_at, delete_at) = (Timestamp(1), Timestamp(2));
    let entry = Archived { id, seq: 1, finished_at, delete_at, summary: b"{}".to_vec() };
    let history = ArchivedHistory { entry, lines: vec![line(id).into_bytes()] };
    FileArchive::new(OsDisk, dir).put(&ctx(), &history).unwrap();
}

#[test]
fn what_is_archived_meanwhile_is_noticed() {
    let folder = tempfile::tempdir().unwrap();
    let (dir, file) = (folder.path().join("d"), folder.path().join("x.tar.gz"));
    let (mut core, _) = LogCore::open(OsDisk, &dir, small()).unwrap();
    for number in 1..=3 {
        let (stream, mut outcomes) = (stream(number), Vec::new());
        let lines = (line(stream) + "\n").into_bytes().into();
        let append = Append {
            stream,
            first_seq: 1,
            count: 1,
            lines,
            ends_stream: false,
            known_to: 0,
            subject: None,
        };
        core.commit(&[entry(append)], &mut outcomes);
        outcomes[0].as_ref().unwrap();
    }
    archive(&dir, stream(1));
    let packed = |source: &Source, name: &str| {
        let scratch = folder.path().join(name);
        std::fs::create_dir(&scratch).unwrap();
        let told = (LeftOut::default(), Vec::new());
        pack(source, &scratch, told, Timestamp(1), &file).unwrap()
    };
    let source = Source::open(&dir, &ctx()).unwrap().unwrap();
    archive(&dir, stream(2));
    // Its records may be gone from the log by now, and it was no archived one when this began.
    assert!(packed(&source, "a").is_none());
    assert!(!file.exists());
    let source = Source::open(&dir, &ctx()).unwrap().unwrap();
    let manifest = packed(&source, "b").unwrap().manifest;
    assert_eq!((manifest.instances, manifest.archived, manifest.records), (1, 2, 1));
    assert!(file.exists());
}
