//! What a checkpoint holds: one JSON line for each thing that is committed.
//!
//! A checkpoint belongs to a position of the log; it may hold more than that position, because
//! recovery skips records that a snapshot already has, and never less. With a snapshot store the
//! open instances are there, and the checkpoint says so.

use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use traaviis_model::{
    DefinitionHash, Emission, InstanceId, TenantId, Text, Value,
    record::{ERASED, WHOLE},
};
use traaviis_ports::{LogError, LogStore};

use crate::{
    error::Error,
    owner::{Collected, Outgoing, definition_stream},
    recovery::{Fault, Recovery},
    snapshots::{self, State},
    summary::Summary,
};

/// Version of the lines of a checkpoint that has everything.
const VERSION: u32 = 1;
/// Version of one whose open instances are in the snapshot store; the newest known.
pub(crate) const VERSION_BESIDE_SNAPSHOTS: u32 = 2;

/// A line as written.
#[derive(Serialize)]
#[serde(rename_all = "snake_case")]
enum Out<'a> {
    Checkpoint(Head),
    Definition {
        tenant: TenantId,
        hash: DefinitionHash,
        body: &'a Value,
    },
    Finished(&'a Summary),
    Fault(&'a Fault),
    Emission {
        tenant: TenantId,
        emission: &'a Emission,
        left: &'a BTreeSet<InstanceId>,
        #[serde(skip_serializing_if = "is_false")]
        is_sealed: bool,
    },
}

/// A line as read.
#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum In {
    Checkpoint(Head),
    Definition {
        tenant: TenantId,
        hash: DefinitionHash,
        body: Value,
    },
    Finished(Box<Summary>),
    Fault(Fault),
    Emission {
        tenant: TenantId,
        emission: Arc<Emission>,
        left: BTreeSet<InstanceId>,
        #[serde(default)]
        is_sealed: bool,
    },
    Instance(Box<State>),
}

#[derive(Serialize, Deserialize)]
struct Head {
    version: u32,
    /// Ended instances were forgotten, so an unknown id may still be in the log.
    #[serde(default)]
    forgets: bool,
}

/// Where the open instances of a checkpoint are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Instances {
    /// In it.
    Inside,
    /// In the snapshot store.
    Beside,
}

/// Writes what the owners hold; `log` seals what is sealed in it.
pub fn write(
    collected: &[Collected],
    forgets: bool,
    instances: Instances,
    log: &dyn LogStore,
) -> Result<Vec<u8>, LogError> {
    let mut body = Vec::new();
    let version = match instances {
        Instances::Inside => VERSION,
        Instances::Beside => VERSION_BESIDE_SNAPSHOTS,
    };
    put(&mut body, &Out::Checkpoint(Head { version, forgets }));
    // Every owner knows the definitions of all; once is enough.
    let definitions = collected.iter().flat_map(|it| &it.definitions);
    let definitions: BTreeMap<_, _> =
        definitions.map(|(tenant, hash, document)| ((*tenant, *hash), document)).collect();
    for ((tenant, hash), body_of) in definitions {
        let line = Out::Definition { tenant, hash, body: body_of };
        match log.documents_sealed_for(tenant)? {
            None => put(&mut body, &line),
            Some(subject) => {
                let shown = Out::Definition { tenant, hash, body: &Value::Null };
                let name = (tenant, definition_stream(&hash));
                put_sealed(&mut body, (&shown, &line), |shown, line| {
                    log.seal(name, &subject, shown, line)
                })?;
            }
        }
    }
    let mut finished: Vec<&Arc<Summary>> = collected.iter().flat_map(|it| &it.finished).collect();
    finished.sort_by_key(|it| it.finished_at);
    for summary in finished {
        put(&mut body, &Out::Finished(summary));
    }
    for part in collected {
        let mut faults: Vec<&Fault> = part.faults.iter().collect();
        faults.sort_unstable_by_key(|it| (it.tenant, it.id));
        for fault in faults {
            put(&mut body, &Out::Fault(fault));
        }
        for outgoing in &part.emissions {
            put_emission(&mut body, outgoing, log)?;
        }
        if instances == Instances::Beside {
            continue;
        }
        let mut instances: Vec<_> = part.instances.iter().collect();
        instances.sort_unstable_by_key(|(snapshot, _)| (snapshot.tenant_id, snapshot.id));
        for (snapshot, event_ids) in instances {
            body.extend(snapshots::line_of(snapshot, event_ids.as_deref(), log)?);
            body.push(b'\n');
        }
    }
    Ok(body)
}

fn put(body: &mut Vec<u8>, line: &Out<'_>) {
    // Writing to a vector cannot fail and no key is anything but text.
    let written = serde_json::to_writer(&mut *body, line);
    debug_assert!(written.is_ok());
    body.push(b'\n');
}

fn is_false(it: &bool) -> bool {
    !it
}

/// Puts an emission, sealed where its record is: with the key of the tenant, since that of a person
/// may be destroyed by now and must not be made again for it.
fn put_emission(
    body: &mut Vec<u8>,
    outgoing: &Outgoing,
    log: &dyn LogStore,
) -> Result<(), LogError> {
    let Outgoing { tenant, emission, left, is_sealed } = outgoing;
    let (tenant, is_sealed) = (*tenant, *is_sealed);
    let line = Out::Emission { tenant, emission, left, is_sealed };
    if !is_sealed {
        put(body, &line);
        return Ok(());
    }
    let mark = Text::from(ERASED);
    let left_of_it = Emission {
        data: Value::String(mark.clone()),
        subject: emission.subject.as_ref().map(|_| mark),
        ..(**emission).clone()
    };
    let shown = Out::Emission { tenant, emission: &left_of_it, left, is_sealed: false };
    let (name, subject) = ((tenant, emission.publisher), WHOLE.into());
    put_sealed(body, (&shown, &line), |shown, line| log.seal(name, &subject, shown, line))
}

/// Puts a line of which only what is `shown` may be read by anyone.
fn put_sealed(
    body: &mut Vec<u8>,
    (shown, line): (&Out<'_>, &Out<'_>),
    seal: impl FnOnce(&[u8], &[u8]) -> Result<Vec<u8>, LogError>,
) -> Result<(), LogError> {
    let (mut open, mut whole) = (Vec::new(), Vec::new());
    put(&mut open, shown);
    put(&mut whole, line);
    body.extend(seal(&open, &whole)?);
    body.push(b'\n');
    Ok(())
}

/// Says whether a checkpoint names instances that cannot be worked on, without reading it whole.
pub(crate) fn has_faults(body: &[u8]) -> bool {
    body.split(|byte| *byte == b'\n').any(|line| line.starts_with(br#"{"fault":"#))
}

/// Returns the version of a checkpoint that a newer release wrote.
pub(crate) fn newer(body: &[u8]) -> Option<u32> {
    let line = body.split(|byte| *byte == b'\n').next()?;
    match serde_json::from_slice(line) {
        Ok(In::Checkpoint(head)) if head.version > VERSION_BESIDE_SNAPSHOTS => Some(head.version),
        _ => None,
    }
}

/// Reads a checkpoint into a recovery; says whether the open instances are in it.
pub(crate) fn read(
    body: &[u8],
    recovery: &mut Recovery,
    log: &dyn LogStore,
) -> Result<bool, Error> {
    let lines = body.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    let mut found = None;
    for (at, line) in lines.enumerate() {
        let wrong = |why: String| Error::Checkpoint { line: at + 1, why: why.into() };
        let line = log.unseal(line)?;
        match serde_json::from_slice(&line).map_err(|error| wrong(error.to_string()))? {
            In::Checkpoint(Head { version, .. }) if version > VERSION_BESIDE_SNAPSHOTS => {
                let newest = VERSION_BESIDE_SNAPSHOTS;
                return Err(wrong(format!("version `{version}` is newer than `{newest}`")));
            }
            In::Checkpoint(head) => {
                found = Some(head.version == VERSION);
                if head.forgets {
                    recovery.set_forgets();
                }
            }
            // Its key is destroyed, and with it everything that it could be for.
            In::Definition { body: Value::Null, .. } => {}
            In::Definition { tenant, hash, body } => recovery.put_definition(tenant, hash, body),
            In::Finished(summary) => recovery.put_finished(*summary),
            In::Fault(fault) => recovery.put_fault(fault),
            In::Emission { tenant, emission, left, is_sealed } => {
                recovery.put_emission(Outgoing { tenant, emission, left, is_sealed });
            }
            In::Instance(state) => recovery.put_instance(state.snapshot, state.event_ids),
        }
    }
    found.ok_or_else(|| Error::Checkpoint { line: 1, why: "the first line is missing".into() })
}
